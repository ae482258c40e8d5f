"""Training settings for a sample of the demo's size, compared without truth.

    python benchmarks/small_samples.py events.h5 study-output

The metric that decides, named before anything was run: the **weak-label AUC out of
fold**. In each scored fold the events are labelled as Tag N' Train labels them (by the
autoencoder's rank of the other jet, and the window), by autoencoders that never saw the
fold; the metric is the AUC with which the fold's own taggers tell the two classes apart,
averaged over folds, jets and seeds. Needs no truth. Where the file has labels, the AUC
and the significance improvement against truth are printed beside it, for the record.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, skim, train
from tnt_coffea.config import FoldSettings, TrainSettings
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting import evaluate
from tnt_coffea.training import OptimizerSettings
from tnt_coffea.training.classifiers import Convolutional
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.tag_n_train import TagNTrain

SEEDS = (1, 2)
CANDIDATES = {
    "inner 2, batch 200, validation 10 %": (2, 200, 0.1),
    "inner 4, batch 200, validation 10 %": (4, 200, 0.1),
    "inner 4, batch 50, validation 10 %": (4, 50, 0.1),
    "inner 4, batch 50, validation 25 %": (4, 50, 0.25),
}


def auc(signal: npt.NDArray[Any], background: npt.NDArray[Any]) -> float:
    """Return the share of pairs in the right order."""
    ranks = np.argsort(np.argsort(np.concatenate([signal, background]))) + 1.0
    n, m = len(signal), len(background)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def weak_label_auc(sample: Any, sets: Any, config: SearchConfig) -> float:
    """Return the metric of one training; see the module's text."""
    first, trained = (sets[name].ranks(sample) for name in ("autoencoder", "tnt"))
    tnt, window = config.train.methods["tnt"], config.search.window
    inside = window.contains(sample.m_jj)
    found = []
    for jet, other in zip(JETS, JETS[::-1], strict=True):
        tag, score = getattr(first, other), getattr(trained, jet)
        assert isinstance(tnt, TagNTrain)
        rich, poor = (tag > 1 - tnt.signal_rich) & inside, tag < tnt.background_rich
        for fold in range(config.train.folds.outer):
            mine = first.fold == fold
            found.append(auc(score[mine & rich], score[mine & poor]))
    return float(np.mean(found))


def main() -> None:
    """Train every candidate with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    table = Table("candidate", "seed", "weak-label AUC", "truth: AUC heavy, light", "truth: SIC")
    record = []
    for name, (inner, batch, validation) in CANDIDATES.items():
        for seed in SEEDS:
            optimizer = OptimizerSettings(batch=batch, validation=validation)
            classifier = Convolutional(optimizer=optimizer)
            training = TrainSettings(
                folds=FoldSettings(inner=inner),
                methods={
                    "autoencoder": Autoencoder(),
                    "tnt": TagNTrain(after="autoencoder", classifier=classifier),
                },
            )
            config = SearchConfig(seed=seed, train=training)
            out = arguments.out / f"{inner}-{batch}-{validation:g}-{seed}"
            resources = Resources()
            fileset = Fileset.from_paths({"data": [arguments.events]})
            made = skim(fileset, config, out=arguments.out / f"skim-{seed}", resources=resources)
            taggers = train(made, config, out=out, resources=resources)
            sample = made.sample(truth=True)
            ranks = {key: value.ranks(sample) for key, value in taggers.sets.items()}
            truth = evaluate(
                sample,
                ranks,
                taggers.working_points(),
                config.search.window,
                config.search.fit_range,
            )
            row: dict[str, Any] = {
                "candidate": name,
                "seed": seed,
                "weak_label_auc": weak_label_auc(sample, taggers.sets, config),
                "truth": truth.to_dict()["sets"] if truth else None,
            }
            record.append(row)
            (arguments.out / "small_samples.json").write_text(json.dumps(record, indent=1) + "\n")
            found = truth.sets["tnt"] if truth else None
            point = found and next(p for p in found.working_points if p.selection == 0.03)
            table.add_row(
                name,
                str(seed),
                f"{row['weak_label_auc']:.4f}",
                ", ".join(f"{found.rocs[jet].auc:.3f}" for jet in JETS) if found else "",
                f"{point.improvement:.2f} +- {point.improvement_uncertainty:.2f}" if point else "",
            )
            Console(width=120).print(table)


if __name__ == "__main__":
    main()
