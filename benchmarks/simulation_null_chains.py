"""Whole searches with simulation where there is nothing to find: how often SALAD claims something.

    python benchmarks/simulation_null_chains.py OUT --data qcd/*.h5 --simulation other/*.h5

Every chain draws events of either pool without repetition, trains DCTR and SALAD, searches and
fits: the bump hunt of the selected spectrum, and the direct estimate of its background. Data are
background of one shower, simulation that of another. A chain takes less than 5 % of a pool, so
that its fluctuations are its own. Resumable; nothing is left out of
`OUT/simulation-null-chains.json`.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest, kstest

from tnt_coffea import Fileset, Resources, SearchConfig, Skim, pipeline, seeds
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.storage import written

# A small network for the weights, trees for the search: a chain takes seconds.
SETTINGS = """
skim: {images: null}
search: {efficiencies: [0.3, 0.1, 0.03]}
fit: {bump: {efficiency: 0.1}, limit: {enabled: false}}
train:
  folds: {inner: 2}
  methods:
    dctr:
      kind: dctr
      classifier:
        network: dense
        features: [light_mass, mass_difference, tau21, m_jj]
        layers: [32, 32]
        activations: [relu]
        dropout: 0
        epochs: 40
        optimizer: {learning_rate: 0.001, beta1: 0.9, beta2: 0.999, decay: 0}
    salad:
      kind: salad
      after: dctr
      classifier: {network: trees, features: [light_mass, mass_difference, tau21]}
"""
LEVELS = (0.32, 0.1, 0.05, 0.01)
SEED = 1000
RESOURCES = Resources(executor="iterative", progress=False)


def pools(out: Path, data: list[str], simulation: list[str]) -> tuple[Sample, Sample]:
    """Return the dijets of both roles, skimmed once."""
    files = Fileset.from_paths(
        {"data": data, "simulation": simulation}, roles={"simulation": "simulation"}
    )
    config = SearchConfig.from_text("skim: {images: null}")
    skim = pipeline.skim(files, config, out=out / "pool", resources=Resources(progress=False))
    return read_parts(skim.by_role["data"]), read_parts(skim.by_role["simulation"])


def drawn(pool: Sample, events: int, number: int, what: str) -> Sample:
    """Return so many events of a pool for one chain, none twice."""
    chosen = seeds.generator(SEED, "chain", number, what).permutation(len(pool))[:events]
    return pool.select(np.sort(chosen))


def chain(number: int, data: Sample, simulation: Sample) -> dict[str, Any]:
    """Return what the tests of one chain say."""
    config = SearchConfig.from_text(f"seed: {SEED + number}\n{SETTINGS}")
    with TemporaryDirectory() as out:
        skim = Skim.from_sample(data, simulation=simulation)
        taggers = pipeline.train(skim, config, out=out, resources=RESOURCES)
        histograms = pipeline.search(skim, taggers, config, out=out, resources=RESOURCES)
        result = pipeline.fit(histograms, config, out=out)
    hunt, direct = result.after["salad"], result.direct["salad"]
    kept = ("observed", "predicted", "uncertainty", "z", "p_value", "reason", "calibration")
    return {
        "fit": {"z": hunt.z, "p_value": hunt.p_value, "converged": hunt.converged},
        "direct": {name: getattr(direct, name) for name in kept if hasattr(direct, name)},
    }


_POOLS: dict[Path, tuple[Sample, Sample]] = {}


def task(out: Path, files: tuple[list[str], list[str]], events: int, number: int) -> dict[str, Any]:
    """Return one chain in a process of its own, which reads the pools once."""
    if out not in _POOLS:
        _POOLS[out] = pools(out, *files)
    data, simulation = _POOLS[out]
    return chain(
        number,
        drawn(data, events, number, "data"),
        drawn(simulation, events, number, "simulation"),
    )


def summary(chains: dict[str, Any]) -> dict[str, Any]:
    """Return false-positive rates with their errors, and how the direct estimate closes."""
    found: dict[str, Any] = {}
    for test in ("fit", "direct"):
        rows = [one[test] for one in chains.values() if "p_value" in one[test]]
        p = np.array([row["p_value"] for row in rows])
        rates = {}
        for level in LEVELS:
            low = int((p < level).sum())
            interval = binomtest(low, len(p)).proportion_ci(0.68)
            rates[f"{level:g}"] = [low / len(p), float(interval.low), float(interval.high)]
        found[test] = {"chains": len(p), "refused": len(chains) - len(p), "rates_68": rates}
    rows = [one["direct"] for one in chains.values() if "p_value" in one["direct"]]
    pulls = np.array([(r["observed"] - r["predicted"]) for r in rows])
    total = np.array([np.hypot(r["uncertainty"], np.sqrt(r["predicted"])) for r in rows])
    ratio = np.array([r["observed"] / r["predicted"] for r in rows])
    found["direct"] |= {
        "mean_ratio": [float(ratio.mean()), float(ratio.std(ddof=1) / np.sqrt(len(ratio)))],
        "pull": [float((pulls / total).mean()), float((pulls / total).std(ddof=1))],
        "mean_observed": float(np.mean([r["observed"] for r in rows])),
        "mean_relative_uncertainty": float(
            np.mean([r["uncertainty"] / r["predicted"] for r in rows])
        ),
    }
    uniform = [one["fit"]["p_value"] for one in chains.values() if one["fit"]["p_value"] < 0.5]
    found["fit"]["uniform_below_half"] = float(kstest(np.array(uniform) / 0.5, "uniform").pvalue)
    return found


def main() -> None:
    """Run the chains that are not there yet, and write and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--simulation", nargs="+", required=True)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--events", type=int, default=4800, help="of either pool in a chain")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = (arguments.data, arguments.simulation)
    sizes = [len(pool) for pool in pools(arguments.out, *files)]
    record = arguments.out / "simulation-null-chains.json"
    chains: dict[str, Any] = json.loads(record.read_text())["chains"] if record.exists() else {}
    wanted = [i for i in range(arguments.chains) if str(i) not in chains]
    with ProcessPoolExecutor(arguments.workers) as workers:
        runs = {i: workers.submit(task, arguments.out, files, arguments.events, i) for i in wanted}
        for i, run in runs.items():
            chains[str(i)] = run.result()
            content = {
                "events": arguments.events,
                "pools": sizes,
                "settings": SETTINGS,
                "summary": summary(chains) if len(chains) > 1 else {},
                "chains": chains,
            }
            with written(record) as partial:
                partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    found = summary(chains)
    table = Table("test", "chains", "refused", *(f"p < {level:g}" for level in LEVELS))
    for test in ("fit", "direct"):
        rates = found[test]["rates_68"].values()
        cells = [f"{rate:.3f} ({low:.3f} to {high:.3f})" for rate, low, high in rates]
        table.add_row(test, str(found[test]["chains"]), str(found[test]["refused"]), *cells)
    Console(width=140).print(table)
    Console(width=140).print(found["direct"])


if __name__ == "__main__":
    main()
