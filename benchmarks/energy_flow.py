"""Energy flow polynomials beside EnergyFlow's: the time, and how far the values are apart.

    python -m venv energyflow
    energyflow/bin/pip install energyflow==1.4.0 numpy==1.26.4
    python benchmarks/energy_flow.py events.h5 --python energyflow/bin/python

EnergyFlow has an environment of its own, because this version needs a numpy before 2. Both see the same
jets, the leading two of a file's first events, in turns; CPU times of one core, the best of several
rounds. `--print 2` gives the values of two jets, which a test holds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import awkward as ak
import numpy as np
from kernel_report import interleaved

from tnt_coffea.config import ENERGY_FLOW_GRAPHS, SkimSettings
from tnt_coffea.events.sources import particles_of, source_of
from tnt_coffea.jets import energy_flow_polynomials, find_dijets

TARGET = 0.5
"""Most milliseconds a jet."""

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


def leading_jets(path: Path, number: int) -> ak.Array:
    """Return (jet, particle) constituents of the two leading jets of a file's first events."""
    settings = SkimSettings()
    source = source_of(path)
    stop = min(number, source.entries(path))
    metadata = {"dataset": "data", "filename": str(path), "entrystart": 0, "entrystop": stop}
    particles = particles_of(source.load(path, 0, stop, metadata))
    dijets, _ = find_dijets(particles.p4, settings.jets)
    return ak.flatten(dijets.constituents)[:number]


def written_rows(jets: ak.Array, path: Path) -> None:
    """Write pT, rapidity, phi and a mass of 0 of all constituents, and how many a jet has."""
    flat = ak.flatten(jets)
    rows = [ak.to_numpy(values) for values in (flat.pt, flat.rapidity, flat.phi)]
    rows.append(np.zeros(len(flat)))
    np.savez(path, rows=np.stack(rows, axis=1), counts=ak.to_numpy(ak.num(jets)))


def energyflow(python: Path, rows: Path) -> dict[str, Any]:
    """Return what EnergyFlow finds in a process of its own, and in how many seconds."""
    found = rows.with_name("found.npz")
    subprocess.run([python, "-c", THEIRS, rows, found], check=True)
    with np.load(found) as content:
        return dict(content)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="of any source with particles")
    parser.add_argument("--python", type=Path, required=True, help="interpreter with EnergyFlow")
    parser.add_argument("--jets", type=int, default=1000, help="how many are compared")
    parser.add_argument("--rounds", type=int, default=3, help="the best time of each counts")
    parser.add_argument("--print", type=int, default=0, help="jets whose values are printed")
    chosen = parser.parse_args(arguments)
    jets = leading_jets(chosen.file, chosen.jets)
    ours, theirs, times = energy_flow_polynomials(jets), {}, []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "jets.npz"
        written_rows(jets, rows)
        for _ in range(chosen.rounds):
            work = {"ours": (len(jets), lambda: energy_flow_polynomials(jets))}
            times.append(interleaved(work, 1)["ours"].seconds)
            theirs = min(theirs, energyflow(chosen.python, rows), key=lambda f: f.get("seconds", 1e9))
    order = [list(theirs["names"]).index(name) for name in ENERGY_FLOW_GRAPHS]
    values = theirs["values"][:, order]
    apart = np.abs(ours / np.where(values > 0, values, 1) - (values > 0)).max()
    mine, other = (1e3 * seconds / len(jets) for seconds in (min(times), float(theirs["seconds"])))
    print(
        f"{len(jets)} jets of {ak.mean(ak.num(jets)):.0f} constituents, {values.shape[1]} polynomials\n"
        f"| ours | {mine:.3f} ms a jet | at most {TARGET} | {'met' if mine <= TARGET else '**not met**'} |\n"
        f"| EnergyFlow {theirs['version']} | {other:.2f} ms a jet | | |\n"
        f"| EnergyFlow / ours | {other / mine:.1f} | | |\n"
        f"largest relative distance {apart:.1e}"
    )
    for jet in range(chosen.print):
        print(f"jet {jet}:", *(f"{value:.7e}" for value in values[jet]))


if __name__ == "__main__":
    main()
