"""What the generator spends its time on, and its rate beside a bare PYTHIA script's.

    python benchmarks/generator_speed.py

CPU seconds of one process. The bare script is PYTHIA's own loop with the same settings and
the same veto before hadronisation, and PYTHIA's own jets of final particles as trigger: the
least that makes triggered events, without any detector.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from tnt_coffea.config import GenerateSettings
from tnt_coffea.generator import generate_block, plan, pythia
from tnt_coffea.generator.processes import process_named

PARTS = {
    "nextBatch": "PYTHIA, veto included",
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

    def started(request: Any) -> Any:
        own, veto = known["_started"](request)
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


def main() -> None:
    """Measure background and signal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--background", type=int, default=1000)
    parser.add_argument("--signal", type=int, default=2000)
    chosen = parser.parse_args()
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
