"""Energy flow polynomials beside EnergyFlow's: the time, and how far the values are apart.

    python -m venv energyflow
    energyflow/bin/pip install energyflow==1.4.0 numpy==1.26.4
    OMP_NUM_THREADS=1 python benchmarks/energy_flow.py events.h5 --python energyflow/bin/python

EnergyFlow has an environment of its own, because this version needs a numpy before 2. Both see
the same jets of a file, the leading two of its first events, in turns: first of any number of
constituents, then of 80 to 100. CPU times of one core, the best of several rounds. `--values 3`
prints what EnergyFlow finds for the first three jets, which a test holds.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.config import ENERGY_FLOW_GRAPHS, SkimSettings
from tnt_coffea.events.sources import particles_of, source_of
from tnt_coffea.jets import energy_flow_polynomials, find_dijets

TARGET = 0.5
"""Most milliseconds a jet."""
CLOSE = 1e-5
"""Largest relative distance of a value."""

THEIRS = """
import sys, time
import energyflow, numpy as np
efps = energyflow.EFPSet("d<=5", "p==1", measure="hadr", beta=1, normed=True, coords="ptyphim")
given = np.load(sys.argv[1])
jets = np.split(given["rows"], np.cumsum(given["counts"])[:-1])
start = time.process_time()
values = np.array([efps.compute(jet) for jet in jets])
seconds = time.process_time() - start
names = [f"efp_{n}_{d}_{k}" for n, d, k in efps.specs[:, [0, 2, 4]]]
np.savez(sys.argv[2], values=values, names=names, seconds=seconds, version=energyflow.__version__)
"""


def leading_jets(path: Path, events: int) -> ak.Array:
    """Return (jet, particle) constituents of the two leading jets of a file's first events."""
    settings = SkimSettings()
    source = source_of(path)
    stop = min(events, source.entries(path))
    metadata = {"dataset": "data", "filename": str(path), "entrystart": 0, "entrystop": stop}
    particles = particles_of(source.load(path, 0, stop, metadata))
    dijets, _ = find_dijets(particles.p4, settings.jets)
    return ak.flatten(dijets.constituents)


def energyflow(python: Path, jets: ak.Array) -> dict[str, Any]:
    """Return what EnergyFlow finds in a process of its own, and in how many seconds."""
    flat = ak.flatten(jets)
    rows = [ak.to_numpy(values) for values in (flat.pt, flat.rapidity, flat.phi)]
    rows.append(np.zeros(len(flat)))
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "jets.npz", Path(folder) / "found.npz"
        np.savez(given, rows=np.stack(rows, axis=1), counts=ak.to_numpy(ak.num(jets)))
        subprocess.run([python, "-c", THEIRS, given, found], check=True)
        with np.load(found) as content:
            return dict(content)


def ordered(found: dict[str, Any]) -> Any:
    """Return EnergyFlow's values in the order of ours."""
    names = found["names"].tolist()
    return found["values"][:, [names.index(name) for name in ENERGY_FLOW_GRAPHS]]


def compared(python: Path, jets: ak.Array, rounds: int) -> str:
    """Return the rows of a table: times a jet, and the largest relative distance of a value."""
    ours, theirs = [], []
    for _ in range(rounds):
        start = time.process_time()
        values = energy_flow_polynomials(jets)
        ours.append(1e3 * (time.process_time() - start) / len(jets))
        found = energyflow(python, jets)
        theirs.append(1e3 * float(found["seconds"]) / len(jets))
    expected = ordered(found)
    apart = np.abs(values - expected) / np.where(expected > 0, expected, 1.0)
    verdict = "met" if min(ours) <= TARGET else "**not met**"
    return (
        f"| {len(jets):,} jets of {ak.mean(ak.num(jets)):.0f} constituents | {min(ours):.3f} ms | "
        f"at most {TARGET} ms | {verdict} |\n"
        f"| EnergyFlow {found['version']}, the same jets | {min(theirs):.2f} ms | | |\n"
        f"| EnergyFlow / ours | {min(theirs) / min(ours):.1f} | | |\n"
        f"| largest relative distance of {values.size:,} values | {apart.max():.1e} | "
        f"at most {CLOSE:.0e} | {'met' if apart.max() <= CLOSE else '**not met**'} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="of any source with particles")
    parser.add_argument("--python", type=Path, required=True, help="interpreter with EnergyFlow")
    parser.add_argument("--events", type=int, default=5000, help="of the file that are read")
    parser.add_argument("--jets", type=int, default=1000, help="most that are compared")
    parser.add_argument("--values", type=int, default=0, help="jets whose values are printed")
    parser.add_argument("--rounds", type=int, default=3, help="the best time of each counts")
    chosen = parser.parse_args(arguments)
    jets = leading_jets(chosen.file, chosen.events)
    if chosen.values:
        for row in ordered(energyflow(chosen.python, jets[: chosen.values])):
            print(", ".join(f"{value:.6e}" for value in row))
        return
    counts = ak.num(jets)
    for some in (jets, jets[(counts >= 80) & (counts <= 100)]):
        print(compared(chosen.python, some[: chosen.jets], chosen.rounds))


if __name__ == "__main__":
    main()
