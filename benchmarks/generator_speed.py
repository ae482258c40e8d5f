"""The time of the generator by its parts, and its rate beside a bare PYTHIA script's.

    python benchmarks/generator_speed.py
    python benchmarks/generator_speed.py --unvetoed slow.h5 --background 2000
    python benchmarks/generator_speed.py --losses --background 4000
    python benchmarks/generator_speed.py --bias --background 400

The second writes background without the vetoes, for `generated_events.py --same`. The third
counts, among triggered events of which the early veto dropped none, those that it would drop.
The fourth measures what weighted events would gain.

CPU seconds of one process. The bare script is PYTHIA's own loop with the same settings and
the same veto before hadronisation, and PYTHIA's own jets of final particles as trigger: the
least that makes triggered events, without any detector.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea.config import GenerateSettings
from tnt_coffea.generator import generate_block, join, plan, processes, pythia
from tnt_coffea.generator.processes import process_named
from tnt_coffea.generator.pythia import parton_veto

PARTS = {
    "started": "PYTHIA's start",
    "nextBatch": "PYTHIA's events, veto included",
    "final_state": "columns of particles",
    "reconstruct": "detector",
    "triggered": "trigger",
}


class Clock:
    """Adds up the CPU time of some functions."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts its time."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            result = function(*arguments, **named)
            self.seconds[name] += time.process_time() - start
            return result

        return wrapped


class TimedPythia:
    """PYTHIA, whose batches are timed."""

    def __init__(self, own: Any, clock: Clock) -> None:
        self.own = own
        self.nextBatch = clock.timed("nextBatch", own.nextBatch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


def ours(settings: GenerateSettings) -> tuple[float, dict[str, float]]:
    """Return accepted events a second, and each part's share of the time."""
    clock = Clock()
    known = {name: getattr(pythia, name) for name in PARTS if hasattr(pythia, name)}
    for name, function in known.items():
        setattr(pythia, name, clock.timed(name, function))
    plain_start = pythia.started
    pythia.started = lambda *arguments: TimedPythia(plain_start(*arguments), clock)
    start = time.process_time()
    made = sum(generate_block(task).record.n_passed for task in plan(settings, 1))
    seconds = time.process_time() - start
    for name, function in known.items():
        setattr(pythia, name, function)
    return made / seconds, {name: part / seconds for name, part in clock.seconds.items()}


def bare(settings: GenerateSettings, process: str, events: int) -> float:
    """Return accepted events a second of PYTHIA's own loop."""
    module = pythia.pythia_module()
    start = time.process_time()
    generator = module.Pythia("", False)
    for line in process_named(process).lines(settings):
        generator.readString(line)
    veto = parton_veto(module, 1050.0, 0.0, np.inf)
    generator.setUserHooksPtr(veto)
    generator.init()
    accepted_weights(generator, events, settings.leading_pt)
    return events / (time.process_time() - start)


def accepted_weights(generator: Any, events: int, leading_pt: float) -> npt.NDArray[np.float64]:
    """Return the weights of so many events with a hard jet of final particles."""
    jets = pythia.pythia_module().SlowJet(-1, 1.0, leading_pt, 5.0, 2)
    weights: list[float] = []
    while len(weights) < events:
        if generator.next():
            jets.analyze(generator.event)
            if jets.sizeJet():
                weights.append(generator.infoPython().weight())
    return np.array(weights)


def biased(events: int, power: float, seed: int) -> str:
    """Return the gain from a bias of the hard scattering by a power of its pT."""
    settings = GenerateSettings()
    lines = process_named("qcd").lines(settings)
    if power:
        lines += ("PhaseSpace:bias2Selection = on", f"PhaseSpace:bias2SelectionPow = {power}")
    veto = parton_veto(pythia.pythia_module(), 1050.0, 1025.0, np.inf)
    generator = pythia.started(lines, seed, veto)
    start = time.process_time()
    weight = accepted_weights(generator, events, settings.leading_pt)
    seconds = time.process_time() - start
    # Down to equal weights: those above the last percent's would be kept whole.
    rates = events, weight.sum() ** 2 / (weight**2).sum(), weight.sum() / np.percentile(weight, 99)
    text = " ".join(f"{rate / seconds:.0f}" for rate in rates)
    return f"{text}; tried per event {veto.n_tried / events:.1f}"


def unvetoed(path: Path, events: int) -> None:
    """Write background of which nothing was vetoed that could pass the trigger."""
    own = processes._PARTON_JET_SHARE, processes._EARLY_JET_SHARE
    # A jet of 700 GeV of partons never becomes one of 1200 GeV.
    processes._PARTON_JET_SHARE, processes._EARLY_JET_SHARE = 700 / 1200, 0.0
    settings = GenerateSettings(background=events, signal=0)
    join([generate_block(task) for task in plan(settings, 2)], path, settings, 2)
    processes._PARTON_JET_SHARE, processes._EARLY_JET_SHARE = own


def early_jets(events: int) -> npt.NDArray[np.float64]:
    """Return pT of the hardest jet in the middle of the showers of triggered events, unvetoed."""
    own, found = pythia.parton_veto, []

    def recording(*arguments: Any) -> Any:
        class Recording(type(own(*arguments))):  # type: ignore[misc]
            """Looks and never drops."""

            def __init__(self) -> None:
                super().__init__()
                self.now, self.known = 0.0, []

            def doVetoPT(self, _: int, event: Any) -> bool:
                self.early.analyze(event)
                self.now = self.early.pT(0) if self.early.sizeJet() else 0.0
                return False

            def doVetoPartonLevel(self, event: Any) -> bool:
                vetoed = super().doVetoPartonLevel(event)
                if not vetoed:
                    self.known.append(self.now)
                return bool(vetoed)

            def near(self, triggered: Any) -> Any:
                known, self.known = np.array(self.known), []
                if known.size == triggered.size:
                    found.append(known[triggered])
                return super().near(triggered)

        return Recording()

    settings = GenerateSettings()
    lines = process_named("qcd").lines(settings)
    pythia.parton_veto = recording
    pythia.accepted_events(
        pythia.Request(lines, 4, events, settings.leading_pt, 1050.0, early_jet_pt=300.0)
    )
    pythia.parton_veto = own
    return np.concatenate(found)


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, and the smallest and largest value in brackets."""
    low, middle, high = (format(v, form) for v in np.percentile(values, (0, 50, 100)))
    return f"{middle} ({low}, {high})"


def main() -> None:
    """Measure background and signal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--background", type=int, default=1000)
    parser.add_argument("--signal", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5, help="of ours and the bare script")
    parser.add_argument("--unvetoed", type=Path, help="write background without vetoes instead")
    parser.add_argument("--losses", action="store_true", help="of the early veto instead")
    parser.add_argument("--bias", action="store_true", help="gain of weighted events instead")
    chosen = parser.parse_args()
    if chosen.bias:
        for power in (0, 2, 4, 6):
            found = [biased(chosen.background, power, seed) for seed in (11, 12)]
            print(f"power {power}: events, effective, with equal weights / s: {found}")
        return
    if chosen.losses:
        jets = early_jets(chosen.background)
        for least in (950, 1000, 1025, 1050, 1075):
            print(f"below {least} GeV: {np.sum(jets < least)} of {jets.size} triggered events")
        return
    if chosen.unvetoed:
        unvetoed(chosen.unvetoed, chosen.background)
        return
    # The first block of a process imports what the others have.
    for task in plan(GenerateSettings(background=2, signal=2), 3):
        generate_block(task)
    table = Table(title=f"CPU time of one process, median of {chosen.rounds} (smallest, largest)")
    for name in ("process", "accepted / s", "bare script / s", "ratio", "PYTHIA", *PARTS.values()):
        table.add_column(name)
    for process, counts in (
        ("qcd", {"background": chosen.background, "signal": 0}),
        ("wprime_wz", {"background": 0, "signal": chosen.signal}),
    ):
        settings = GenerateSettings(**counts, block=max(counts.values()))
        # In turn: the machine's other load changes while this runs.
        rounds = [
            (*ours(settings), bare(settings, process, max(counts.values())))
            for _ in range(chosen.rounds)
        ]
        shares = {name: np.median([own[name] for _, own, _ in rounds]) for name in PARTS}
        whole = [own["started"] + own["nextBatch"] for _, own, _ in rounds]
        table.add_row(
            process,
            spread([rate for rate, _, _ in rounds], ".0f"),
            spread([other for _, _, other in rounds], ".0f"),
            spread([rate / other for rate, _, other in rounds], ".2f"),
            spread(whole, ".1%"),
            *(f"{share:.1%}" for share in shares.values()),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
