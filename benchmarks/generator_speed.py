"""What the generator spends its time on, and its rate beside a bare PYTHIA script's.

    python benchmarks/generator_speed.py
    python benchmarks/generator_speed.py --unvetoed slow.h5 --background 2000
    python benchmarks/generator_speed.py --losses --background 4000

The second writes background without the vetoes, for `generated_events.py --same`. The third
counts, among triggered events of which the early veto dropped none, those that it would drop.

CPU seconds of one process. The bare script is PYTHIA's own loop with the same settings and
the same veto before hadronisation, and PYTHIA's own jets of final particles as trigger: the
least that makes triggered events, without any detector.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea.config import GenerateSettings
from tnt_coffea.generator import generate_block, join, plan, processes, pythia
from tnt_coffea.generator.processes import process_named

PARTS = {
    "init": "PYTHIA's start",
    "nextBatch": "PYTHIA's events, veto included",
    "_final_state": "columns of particles",
    "reconstruct": "detector",
    "leading_jet_pt": "trigger",
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
    known = {name: getattr(pythia, name) for name in (*PARTS, "_started") if hasattr(pythia, name)}

    start_pythia = clock.timed("init", known["_started"])

    def started(request: Any) -> Any:
        own, veto = start_pythia(request)
        return TimedPythia(own, clock), veto

    pythia._started = started
    for name in PARTS:
        if name in known:
            setattr(pythia, name, clock.timed(name, known[name]))
    start = time.process_time()
    made = sum(generate_block(task).record.n_passed for task in plan(settings, 1))
    seconds = time.process_time() - start
    for name, function in known.items():
        setattr(pythia, name, function)
    return made / seconds, {name: part / seconds for name, part in clock.seconds.items()}


def bare(settings: GenerateSettings, process: str, events: int) -> float:
    """Return accepted events a second of PYTHIA's own loop."""
    request = pythia.Request(
        process_named(process).lines(settings), 1, events, settings.leading_pt, 1050.0
    )
    start = time.process_time()
    generator, _ = pythia._started(request)
    jets = pythia._imported().SlowJet(-1, 1.0, settings.leading_pt, 5.0, 2)
    made = 0
    while made < events:
        if generator.next():
            jets.analyze(generator.event)
            made += jets.sizeJet() > 0
    return made / (time.process_time() - start)


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
    own, found = pythia._parton_veto, []

    def recording(module: Any, request: pythia.Request) -> Any:
        class Recording(type(own(module, request))):  # type: ignore[misc]
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
    pythia._parton_veto = recording
    pythia.accepted_events(
        pythia.Request(lines, 4, events, settings.leading_pt, 1050.0, early_jet_pt=300.0)
    )
    pythia._parton_veto = own
    return np.concatenate(found)


def main() -> None:
    """Measure background and signal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--background", type=int, default=1000)
    parser.add_argument("--signal", type=int, default=2000)
    parser.add_argument("--unvetoed", type=Path, help="write background without vetoes instead")
    parser.add_argument("--losses", action="store_true", help="of the early veto instead")
    chosen = parser.parse_args()
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
    table = Table(title="CPU time of one process")
    for name in ("process", "accepted / s", "bare script / s", *PARTS.values()):
        table.add_column(name)
    for process, counts in (
        ("qcd", {"background": chosen.background, "signal": 0}),
        ("wprime_wz", {"background": 0, "signal": chosen.signal}),
    ):
        settings = GenerateSettings(**counts, block=max(counts.values()))
        rate, shares = ours(settings)
        other = bare(settings, process, max(counts.values()))
        cells = [f"{shares[name]:.1%}" for name in PARTS]
        table.add_row(process, f"{rate:.1f}", f"{other:.1f}", *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
