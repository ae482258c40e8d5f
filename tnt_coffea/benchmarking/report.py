"""The results of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tnt_coffea.benchmarking.machine import Machine
from tnt_coffea.benchmarking.timing import Timing

__all__ = ["BenchmarkReport", "FileTimes", "Linearity", "Ratio", "ScoringTimes"]


@dataclass(frozen=True)
class Ratio:
    """A figure against a peer.

    Attributes
    ----------
    name
        What is compared.
    value
        The ratio.
    target
        What it has to be, None where it is for information.
    at_most
        Whether the target is a limit from above, or else from below.
    """

    name: str
    value: float
    target: float | None = None
    at_most: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True)
class FileTimes:
    """What was measured on one file.

    Attributes
    ----------
    file
        Name and number format, without its folder.
    times
        By what was done; the roads start from the file.
    judged
        Whether the targets are meant for this file, or its figures stand beside them.
    """

    file: str
    times: Mapping[str, Timing]
    judged: bool = True

    def ratios(self) -> Iterator[Ratio]:
        """Yield the figures of this file against its peers."""
        for ratio in self._against_peers():
            yield ratio if self.judged else replace(ratio, target=None)

    def _against_peers(self) -> Iterator[Ratio]:
        one = {name: timing.per_event for name, timing in self.times.items()}
        bare = one["binding"]
        yield Ratio("file to dijets / bare binding", one["dijets"] / bare, 1.25)
        yield Ratio("file to two images / bare binding", one["images"] / bare, 1.4)
        taus = one["subjettiness"] - one["dijets"]
        yield Ratio("tau1 to tau4 of both jets / bare binding", taus / bare, 2.0)
        if "literal" in one:
            faster = one["literal"] / one["images"]
            yield Ratio("literal script / file to two images", faster, 30.0, at_most=False)
            for manner in ("literal by rows", "literal on numpy"):
                yield Ratio(f"{manner} / file to two images", one[manner] / one["images"])
        if "energyflow" in one:
            yield Ratio("EnergyFlow's pixelate / our images", one["energyflow"] / one["pixels"])
        if "native" in one:
            yield Ratio("file to two images / C++ FastJet", one["images"] / one["native"])

    def profile(self) -> Iterator[tuple[str, float]]:
        """Yield where the time of the road goes: step and CPU milliseconds an event."""
        one = {name: 1e3 * timing.per_event for name, timing in self.times.items()}
        yield "read and decompress", one["loaded"]
        yield "checks, float32, identities", one["particles"] - one["loaded"]
        yield "cluster and choose", one["dijets"] - one["particles"]
        yield "images", one["images"] - one["dijets"]
        yield "tau1 to tau4", one["subjettiness"] - one["dijets"]


@dataclass(frozen=True)
class ScoringTimes:
    """Two one-jet taggers on the images of a skim.

    Attributes
    ----------
    scored
        From the sparse images to the scores of both jets.
    bare
        ONNX Runtime on images that are dense already, at its best batch size, in turns with it.
    best_batch
        That batch size.
    by_batch
        ONNX Runtime at every batch size that was tried.
    """

    scored: Timing
    bare: Timing
    best_batch: int
    by_batch: Mapping[int, Timing]

    def ratio(self) -> Ratio:
        """Return our time against ONNX Runtime's best."""
        value = self.scored.seconds / self.bare.seconds
        return Ratio("two taggers / ONNX Runtime alone", value, 1.1)


@dataclass(frozen=True)
class Linearity:
    """CPU time of file to images over the number of events.

    Attributes
    ----------
    events, seconds
        The points.
    exponent
        p of seconds = c * events^p, by least squares in the logarithms.
    spread
        Largest relative distance of a point from the line through the origin.
    """

    events: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float
    spread: float

    @classmethod
    def of(cls, times: list[Timing]) -> Linearity:
        """Return the fit to the points."""
        n = np.array([timing.events for timing in times], dtype=float)
        t = np.array([timing.seconds for timing in times])
        exponent = float(np.polyfit(np.log(n), np.log(t), 1)[0])
        slope = np.exp(np.log(t / n).mean())
        spread = float(np.abs(t / (slope * n) - 1).max())
        return cls(tuple(timing.events for timing in times), tuple(map(float, t)), exponent, spread)


@dataclass(frozen=True)
class BenchmarkReport:
    """All figures of one run.

    Attributes
    ----------
    date
        Day of the run, ISO.
    machine
        What it ran on.
    files
        One entry a file.
    scoring
        Taggers against ONNX Runtime; None without packaged taggers.
    peak_memory
        Of an inference worker [MiB] by the number of events; empty where it was not measured.
    linearity
        Time over events; None where it was not measured.
    """

    date: str
    machine: Machine
    files: tuple[FileTimes, ...]
    scoring: ScoringTimes | None
    peak_memory: Mapping[int, float]
    linearity: Linearity | None

    def ratios(self) -> Iterator[tuple[str, Ratio]]:
        """Yield every figure with the file it was taken on, or with nothing."""
        for file in self.files:
            yield from ((file.file, ratio) for ratio in file.ratios())
        if self.scoring is not None:
            yield "", self.scoring.ratio()
        if self.peak_memory:
            worst = max(self.peak_memory.values())
            yield "", Ratio("peak memory of an inference worker [GiB]", worst / 1024, 1.0)
        if self.linearity is not None:
            yield "", Ratio("exponent of time over events", self.linearity.exponent)

    @property
    def met(self) -> bool:
        """Whether every target is met."""
        return all(ratio.met is not False for _, ratio in self.ratios())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            **asdict(self),
            "ratios": [{"file": file, **asdict(ratio)} for file, ratio in self.ratios()],
        }
