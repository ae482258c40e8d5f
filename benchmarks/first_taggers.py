"""First taggers for Tag N' Train, compared without truth.

    python -P benchmarks/first_taggers.py OUT events.h5 --seeds 1 2 3
    python -P benchmarks/first_taggers.py OUT events.h5 --other tiny.h5 --only "linear, 6"

The tag decides what the chain can learn. The metric that chooses, named before anything was
run: the **window surplus** of coincidences. An event coincides where both jets are in the
top 20 % of their autoencoder, out of fold: the share that Tag N' Train takes as signal-rich.
With n of N events coinciding in the window, and m of M in the sidebands, half a window wide on
either side, z = (n - m N / M) / sqrt(n + m (N / M)^2). A purer tag has a larger z wherever
there is a resonance in the window, whatever it is made of, and z is about 0 where there is
none. Truth has no part in it.

Where the file has labels, AUC and the share of signal kept at 20 % of the background are
printed beside it, for the record; `--other` adds them for labelled events of another file,
which every tagger of the first file is new to.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, skim, train
from tnt_coffea.config import AutoencoderSettings, MassRange, OptimizerSettings, TrainSettings
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.roc import roc_curve
from tnt_coffea.storage import written
from tnt_coffea.taggers import Ranks
from tnt_coffea.training import window_surplus

TOP = 0.2
SLOW = {"epochs": 100}
CANDIDATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "linear, 4": ({"latent": 4}, {}),
    "linear, 6": ({"latent": 6}, {}),
    "linear, 10": ({"latent": 10}, {}),
    "linear, 16": ({"latent": 16}, {}),
    "convolutional, 6": ({"kind": "convolutional", **SLOW}, {"patience": 10}),
    "convolutional, 16": ({"kind": "convolutional", "latent": 16, **SLOW}, {"patience": 10}),
    "convolutional, 6, batches of 50": (
        {"kind": "convolutional", **SLOW},
        {"patience": 10, "batch": 50},
    ),
    "variational, 6": ({"kind": "variational", **SLOW}, {"patience": 10}),
    "variational, 6, weak divergence": (
        {"kind": "variational", "kl_weight": 1e-6, **SLOW},
        {"patience": 10},
    ),
}


def against_truth(sample: Any, ranks: Ranks, fit_range: MassRange) -> dict[str, float]:
    """Return AUC and signal kept at 20 % of background, by jet, in the fit range."""
    use = (sample.m_jj >= fit_range.low) & (sample.m_jj < fit_range.high)
    found = {}
    for jet in JETS:
        score = getattr(ranks, jet)[use]
        roc = roc_curve(score, sample.label[use] > 0, sample.weight[use])
        found[f"auc_{jet}"] = roc.auc
        found[f"kept_{jet}"] = float(np.interp(TOP, roc.false_positive, roc.true_positive))
    return found


def main() -> None:
    """Train every candidate with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("events", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=sorted(CANDIDATES), default=list(CANDIDATES))
    arguments = parser.parse_args()
    resources = Resources(executor="iterative", workers=1, progress=False)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.out / "first-taggers.json"
    rows: list[dict[str, Any]] = json.loads(record.read_text()) if record.exists() else []
    for seed in arguments.seeds:
        plain = SearchConfig(seed=seed)
        search = plain.search
        made = skim(
            Fileset.from_paths({"data": [arguments.events]}),
            plain,
            out=arguments.out / f"skim-{seed}",
            resources=resources,
        )
        sample = made.sample(truth=True)
        other = None
        if arguments.other:
            fileset = Fileset.from_paths({"data": [arguments.other]})
            out = arguments.out / "other"
            other = skim(fileset, plain, out=out, resources=resources).sample(truth=True)
        for name in arguments.only:
            if any((row["candidate"], row["seed"]) == (name, seed) for row in rows):
                continue
            autoencoder, optimizer = CANDIDATES[name]
            training = TrainSettings(
                methods=("autoencoder",),
                autoencoder=AutoencoderSettings(**autoencoder),
                optimizer=OptimizerSettings(**optimizer),
            )
            config = plain.model_copy(update={"train": training})
            started = time.perf_counter()
            out = arguments.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            (found,) = train(made, config, out=out, resources=resources).sets.values()
            row: dict[str, Any] = {
                "candidate": name,
                "seed": seed,
                "window_surplus": window_surplus(
                    sample.m_jj, found.ranks(sample).both > 1 - TOP, search.window
                ),
                "seconds": round(time.perf_counter() - started, 1),
            }
            if (sample.label > 0).any():
                row["truth"] = against_truth(sample, found.ranks(sample), search.fit_range)
            if other is not None:
                row["other"] = against_truth(
                    other,
                    found.calibrated(sample, search.fit_range, ()).ranks(other),
                    search.fit_range,
                )
            rows.append(row)
            with written(record) as partial:
                partial.write_text(json.dumps(rows, indent=1) + "\n")
            Console(width=140).print(shown(rows))


def shown(rows: list[dict[str, Any]]) -> Table:
    """Return a line a training."""
    table = Table("candidate", "seed", "window surplus", "seconds", "truth", "other events' truth")
    for row in rows:
        texts = [
            ", ".join(f"{name} {value:.3f}" for name, value in row.get(part, {}).items())
            for part in ("truth", "other")
        ]
        table.add_row(
            row["candidate"],
            str(row["seed"]),
            f"{row['window_surplus']:.2f}",
            f"{row['seconds']:.0f}",
            *texts,
        )
    return table


if __name__ == "__main__":
    main()
