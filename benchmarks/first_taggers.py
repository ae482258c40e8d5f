"""First taggers for Tag N' Train, compared without truth.

    python benchmarks/first_taggers.py OUT events.h5 --seeds 1 2 3
    python benchmarks/first_taggers.py OUT events.h5 --other tiny.h5 --only "linear, 6"

Each candidate is trained on half of the events, by their ids, and scores the other half.

The tag decides what the chain can learn. The metric that chooses, named before anything was
run: the **window surplus** of coincidences. An event coincides where both jets are in the
top 20 % of their autoencoder: the share that Tag N' Train takes as signal-rich. Its surplus
in the window over the sidebands is `purity.window_surplus`: larger for a purer tag wherever
there is a resonance in the window, whatever it is made of, and about 0 where there is none.
Truth has no part in it. The candidate with the largest mean over the seeds is chosen.

Where the file has labels, AUC and the share of signal kept at 20 % of the background are
printed beside it, for the record; `--other` adds them for labelled events of another file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from purity import window_surplus
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, skim
from tnt_coffea.events.identity import fold_of
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.evaluation import roc_curve
from tnt_coffea.storage import written
from tnt_coffea.taggers.inputs import readers
from tnt_coffea.training import Job, keras_graph
from tnt_coffea.training.methods.autoencoder import Autoencoder

TOP = 0.2
BLOCK = 512
SIX: dict[str, Any] = {"network": "dense", "networks": 6}
CANDIDATES: dict[str, dict[str, Any]] = {
    "linear, 4": {"latent": 4},
    "linear, 6": {"latent": 6},
    "linear, 10": {"latent": 10},
    "linear, 16": {"latent": 16},
    "dense, 6, 1 0.3 x 3": {"network": "dense", "latent": 6, "networks": 6, "keep": (1, 0.3)},
    "dense, 8, 1 0.3 x 3": {"network": "dense", "latent": 8, "networks": 6, "keep": (1, 0.3)},
    "dense, 8, 1 0.5 0.3 x 2": {
        "network": "dense",
        "latent": 8,
        "networks": 6,
        "keep": (1, 0.5, 0.3),
    },
    "dense, 10, 1 0.5 0.3 x 2": {
        "network": "dense",
        "latent": 10,
        "networks": 6,
        "keep": (1, 0.5, 0.3),
    },
    "convolutional, 2": {"network": "convolutional", "latent": 2},
    "convolutional, 6": {"network": "convolutional", "latent": 6},
    "convolutional, 16": {"network": "convolutional", "latent": 16},
    "variational, 6": {"network": "variational", "latent": 6},
}

Float64Array = npt.NDArray[np.float64]


def trained(events: Any, jet: str, settings: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
    """Return the scorer of one jet's autoencoder, and its ONNX graph."""
    job = Job(data=events, scope=jet, seed=seed)  # type: ignore[arg-type]
    scorer = Autoencoder(**settings).train(job)
    graph = scorer.model if hasattr(scorer.model, "graph") else keras_graph(scorer.model)
    return scorer, graph


def scored(scorer: Any, graph: Any, sample: Any) -> Float64Array:
    """Return the (event,) score of one jet by an autoencoder."""
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    reading = readers(scorer.inputs, sample)
    parts = []
    for start in range(0, len(sample), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(sample)))
        inputs = {name: read(rows) for name, read in reading.items()}
        parts.append(session.run(["score"], inputs)[0])
    return np.concatenate(parts).astype(np.float64)


def figures(sample: Any, scores: dict[str, Float64Array], config: SearchConfig) -> dict[str, Any]:
    """Return the metric, and AUC and signal kept at 20 % of background where there are labels."""
    search, m_jj = config.search, sample.m_jj
    use = (m_jj >= search.fit_range.low) & (m_jj < search.fit_range.high)
    both = np.ones(len(sample), dtype=np.bool_)
    for score in scores.values():
        both &= score > np.quantile(score[use], 1 - TOP)
    found: dict[str, Any] = {"surplus": window_surplus(m_jj[use], both[use], search.window)}
    if not (sample.label[use] > 0).any():
        return found
    for jet, score in scores.items():
        roc = roc_curve(score[use], sample.label[use] > 0, sample.weight[use])
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
    config = SearchConfig()
    samples = {}
    for name, path in (("events", arguments.events), ("other", arguments.other)):
        if path is not None:
            files = Fileset.from_paths({"data": [path]})
            made = skim(files, config, out=arguments.out / name, resources=resources)
            samples[name] = made.sample(truth=True)
    events = samples["events"]
    record = arguments.out / "first-taggers.json"
    rows: list[dict[str, Any]] = json.loads(record.read_text()) if record.exists() else []
    for seed in arguments.seeds:
        half = fold_of(events.event_id, 2, seed) == 0
        samples["events"] = events.select(~half)
        for name in arguments.only:
            if any((row["candidate"], row["seed"]) == (name, seed) for row in rows):
                continue
            started = time.perf_counter()
            of_jets = {
                jet: trained(events.select(half), jet, CANDIDATES[name], seed) for jet in JETS
            }
            row: dict[str, Any] = {"candidate": name, "seed": seed}
            row["seconds"] = round(time.perf_counter() - started, 1)
            row["loss"] = {jet: scorer.summary["loss"] for jet, (scorer, _) in of_jets.items()}
            for which, sample in samples.items():
                scores = {jet: scored(*of_jets[jet], sample) for jet in JETS}
                row[which] = figures(sample, scores, config)
            rows.append(row)
            with written(record) as partial:
                partial.write_text(json.dumps(rows, indent=1) + "\n")
            Console(width=140).print(shown(rows))


def shown(rows: list[dict[str, Any]]) -> Table:
    """Return a line a training."""
    table = Table("candidate", "seed", "window surplus", "seconds", "truth", "other events' truth")
    for row in rows:
        texts = [
            ", ".join(f"{k} {v:.3f}" for k, v in row.get(part, {}).items() if k != "surplus")
            for part in ("events", "other")
        ]
        surplus, seconds = f"{row['events']['surplus']:.2f}", f"{row['seconds']:.0f}"
        table.add_row(row["candidate"], str(row["seed"]), surplus, seconds, *texts)
    return table


if __name__ == "__main__":
    main()
