"""Results of the kernels' benchmark: timings, the machine, and both as a table."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """A figure against a peer.

    Attributes
    ----------
    name
        The comparison.
    value
        The ratio.
    target
        The value to reach; None where the ratio is for information.
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
    """The measurements on one file.

    Attributes
    ----------
    file
        Name and number format, without its folder.
    times
        By what was done; chains start from the file.
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
        """Yield where the time of the chain goes: step and CPU milliseconds an event."""
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
        The machine of the run.
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


_NAMES = {
    "binding": "FastJet's binding alone",
    "loaded": "file to columns",
    "particles": "file to particles",
    "dijets": "file to dijets with constituents",
    "images": "file to two images",
    "subjettiness": "file to tau1 to tau4",
    "pixels": "our images alone",
    "literal": "literal script, value by value from a frame",
    "literal by rows": "the same, a pandas series an event",
    "literal on numpy": "the same on numpy rows",
    "energyflow": "EnergyFlow's pixelate alone",
    "native": "C++ FastJet",
}


def markdown(report: BenchmarkReport) -> str:
    """Return the report as Markdown: ratios first, then rates, profile, memory and fit."""
    sections = [
        f"{report.date}. {report.machine.summary()}",
        _table(("figure", "file", "value", "target", ""), _ratio_rows(report)),
        *(_file(times) for times in report.files),
    ]
    if report.scoring is not None:
        sections.append(_scoring(report.scoring))
    if report.peak_memory:
        rows = [(f"{n:,}", f"{peak:.0f}") for n, peak in report.peak_memory.items()]
        sections.append("Inference worker\n\n" + _table(("events", "peak memory [MiB]"), rows))
    if report.linearity is not None:
        sections.append(_linearity(report.linearity))
    return "\n\n".join(sections) + "\n"


def _ratio_rows(report: BenchmarkReport) -> Iterator[tuple[str, ...]]:
    for file, ratio in report.ratios():
        target = ""
        if ratio.target is not None:
            target = f"{'at most' if ratio.at_most else 'at least'} {ratio.target:g}"
        verdict = {True: "met", False: "**not met**", None: ""}[ratio.met]
        yield ratio.name, file, f"{ratio.value:.3g}", target, verdict


def _file(file: FileTimes) -> str:
    rates = (
        (_NAMES[name], f"{timing.events:,}", f"{timing.rate:,.0f}", f"{1e3 * timing.per_event:.3f}")
        for name, timing in file.times.items()
    )
    steps = ((step, f"{milliseconds:.3f}") for step, milliseconds in file.profile())
    return (
        f"{file.file}\n\n"
        + _table(("work", "events", "events/s", "CPU ms/event"), rates)
        + "\n\n"
        + _table(("step of the chain", "CPU ms/event"), steps)
    )


def _scoring(scoring: ScoringTimes) -> str:
    rows = [
        ("from the skim", "", f"{scoring.scored.rate:,.0f}"),
        ("ONNX Runtime alone, in turns", str(scoring.best_batch), f"{scoring.bare.rate:,.0f}"),
    ]
    rows += [
        ("ONNX Runtime alone", str(batch), f"{timing.rate:,.0f}")
        for batch, timing in scoring.by_batch.items()
    ]
    return "Taggers of both jets\n\n" + _table(("", "batch", "events/s"), rows)


def _linearity(fit: Linearity) -> str:
    rows = (
        (f"{n:,}", f"{seconds:.2f}", f"{1e3 * seconds / n:.3f}")
        for n, seconds in zip(fit.events, fit.seconds, strict=True)
    )
    table = _table(("events", "CPU s, file to two images", "ms/event"), rows)
    return (
        f"{table}\n\nseconds = c events^{fit.exponent:.3f}; largest distance from a straight line "
        f"{100 * fit.spread:.1f} %"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PACKAGES = ("tnt-coffea", "numpy", "awkward", "fastjet", "onnxruntime", "coffea", "h5py")


@dataclass(frozen=True)
class Machine:
    """Processor, memory, system and versions.

    Attributes
    ----------
    processor
        Its name, as the system gives it.
    cores
        Logical cores.
    memory
        Installed memory [GiB], 0 where the system does not say.
    system
        Operating system and architecture.
    load
        Processes that wanted a core in the last minute, or -1: above the cores, the machine
        was busy.
    versions
        Python and the packages that do the work.
    """

    processor: str
    cores: int
    memory: float
    system: str
    load: float
    versions: Mapping[str, str]

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        return cls(
            processor=_processor(),
            cores=os.cpu_count() or 1,
            memory=_memory(),
            system=f"{platform.system()} {platform.machine()}",
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0,
            versions={"python": platform.python_version()}
            | {name: found for name in PACKAGES if (found := _version(name))},
        )

    def summary(self) -> str:
        """Return two lines of text."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.processor}, {self.cores} logical cores, {self.memory:.0f} GiB, {self.system}, "
            f"load {self.load:.1f}\n{versions}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the machine as JSON values."""
        return asdict(self)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return 0.0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Timing:
    """How long one piece of work took.

    Attributes
    ----------
    events
        Events it worked on.
    seconds
        CPU time of the best repetition, which no other process lengthens.
    repetitions
        CPU time of every repetition, in their order.
    """

    events: int
    seconds: float
    repetitions: tuple[float, ...]

    @property
    def per_event(self) -> float:
        """Seconds an event."""
        return self.seconds / self.events

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def interleaved(
    work: Mapping[str, tuple[int, Callable[[], object]]], repetitions: int
) -> dict[str, Timing]:
    """Return the timing of every piece of work by name.

    Parameters
    ----------
    work
        By name: the events it works on, and the work itself, in this process and one thread.
    repetitions
        Rounds; in each every piece runs once, so a busy minute of the machine hits all alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repetitions):
        for name, (_, function) in work.items():
            gc.collect()
            start = time.process_time()
            function()
            taken[name].append(time.process_time() - start)
    return {
        name: Timing(work[name][0], min(seconds), tuple(seconds)) for name, seconds in taken.items()
    }
