"""Whole searches where there is nothing to find: the distribution of their significances.

    python benchmarks/null_chains.py OUT qcd-1.h5 qcd-2.h5 --chains 20 --events 10000

Every chain has events of its own and trains, searches and fits them as data; one after the
other, resumable. Modes: cross-validated Tag N' Train + m_jj with its autoencoders and CWoLa
hunting in one search, and the prequential mode of Tag N' Train. Nothing is left out of
`OUT/null-chains.json`; `OUT/MODE.json` is for `fit.bump.null_chains` of a search with the same
settings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from tnt_coffea import Fileset, Resources, SearchConfig, pipeline
from tnt_coffea.config import FoldSettings, TrainSettings
from tnt_coffea.storage import written

TREES = {"network": "trees"}
METHODS = {
    "autoencoder": {"kind": "autoencoder"},
    "tnt": {"kind": "tag_n_train", "after": "autoencoder", "classifier": TREES},
    "cwola": {"kind": "cwola", "classifier": TREES},
}
MODES = {
    "cross-validation": (("autoencoder", "tnt", "cwola"), FoldSettings(inner=2)),
    "prequential": (
        ("autoencoder", "tnt"),
        FoldSettings(outer=3, inner=2, mode="prequential"),
    ),
}
LEVEL = 0.05


def config_of(mode: str, seed: int) -> SearchConfig:
    """Return the settings of a chain: the defaults, but trees on features and other folds."""
    methods, folds = MODES[mode]
    training = TrainSettings(folds=folds, methods={name: METHODS[name] for name in methods})
    return SearchConfig(seed=seed, train=training)


def samples(files: list[Path], events: int) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield disjoint rows of the files and the name of their table."""
    for path in files:
        with h5py.File(path) as file:
            (name,) = (key for key, item in file.items() if isinstance(item, h5py.Dataset))
            for start in range(0, len(file[name]) - events + 1, events):
                yield name, file[name][start : start + events]


def chain(events: Path, config: SearchConfig, out: Path) -> dict[str, dict[str, Any]]:
    """Return Z, p-value, signal and flags of the bump hunt after every tagger set."""
    resources = Resources(executor="iterative", progress=False)
    skim = pipeline.skim(
        Fileset.from_paths({"data": [events]}), config, out=out, resources=resources
    )
    taggers = pipeline.train(skim, config, out=out, resources=resources)
    histograms = pipeline.search(skim, taggers, config, out=out, resources=resources)
    result = pipeline.fit(histograms, config, out=out)
    hunts = {"no selection": result.before, **result.after}
    return {
        name: {
            "z": hunt.z,
            "q0": hunt.q0,
            "p_value": hunt.p_value,
            "calibration": hunt.calibration,
            "mu_hat": hunt.mu_hat,
            "mu_uncertainty": hunt.mu_uncertainty,
            "events": sum(sum(channel.observed) for channel in hunt.channels),
            "converged": hunt.converged,
        }
        for name, hunt in hunts.items()
    }


def summary(done: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return, by mode and taggers, how often p < 0.05, the largest Z and the mean pull."""
    found: dict[str, dict[str, Any]] = {}
    for mode, chains in done.items():
        for name in next(iter(chains.values())):
            rows = [one[name] for one in chains.values()]
            low = sum(one["p_value"] < LEVEL for one in rows)
            pulls = [one["mu_hat"] / one["mu_uncertainty"] for one in rows]
            interval = binomtest(low, len(rows)).proportion_ci()
            found[f"{mode}: {name}"] = {
                "chains": len(rows),
                "p_below_0.05": low,
                "rate_95": [float(interval.low), float(interval.high)],
                "z": sorted((round(one["z"], 2) for one in rows), reverse=True),
                "mean_pull": float(np.mean(pulls)),
                "pull_width": float(np.std(pulls, ddof=1)) if len(pulls) > 1 else None,
                "mean_events": float(np.mean([one["events"] for one in rows])),
            }
    return found


def main() -> None:
    """Run the chains that are not there yet, and write and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--chains", type=int, default=20)
    parser.add_argument("--events", type=int, default=10_000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.out / "null-chains.json"
    done: dict[str, Any] = json.loads(record.read_text())["chains"] if record.exists() else {}
    for i, (name, rows) in enumerate(samples(arguments.files, arguments.events)):
        if i == arguments.chains:
            break
        folder = arguments.out / f"chain-{i:02d}"
        folder.mkdir(exist_ok=True)
        with written(folder / "events.h5") as partial, h5py.File(partial, "w") as file:
            file.create_dataset(name, data=rows, chunks=(256, rows.shape[1]), **hdf5plugin.Blosc())
        for mode in MODES:
            chains = done.setdefault(mode, {})
            if str(i) in chains:
                continue
            # Seeds were fixed before the first run: the number of the chain.
            chains[str(i)] = chain(folder / "events.h5", config_of(mode, 1000 + i), folder / mode)
            content = {"summary": summary(done), "chains": done}
            record.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    for mode in MODES:
        folders = sorted(arguments.out.glob(f"chain-*/{mode}"))
        pipeline.NullChains.collected(folders).save(arguments.out / f"{mode}.json")
    shown = Table("search", "chains", "p < 0.05", "largest Z", "pull")
    for name, found in summary(done).items():
        pull = f"{found['mean_pull']:+.2f} +- {found['pull_width'] or 0:.2f}"
        largest = ", ".join(f"{z:.2f}" for z in found["z"][:3])
        shown.add_row(name, f"{found['chains']}", f"{found['p_below_0.05']}", largest, pull)
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
