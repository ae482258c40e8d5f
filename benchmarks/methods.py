"""Every method on the same events: the comparisons of arXiv:2002.12376 on a small sample.

    python benchmarks/methods.py events.h5 study-output --seeds 1 2 3 --network trees

Figure 2 (AUC of TNT, TNT + m_jj, CWoLa hunting, autoencoders and the supervised
references), figure 4 (correlation of the two scores on background, TNT against pure
CWoLa) and figure 7 (retraining with the same jet). Every event is scored out of fold. A
study that was stopped goes on where it was; the figures are in `methods-NETWORK.json`.
Truth decides nothing here but the figures, and the methods marked with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, skim
from tnt_coffea.config import (
    ClassifierSettings,
    CwolaSettings,
    FoldSettings,
    SupervisedSettings,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.execution import map_tasks
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.training import cross_validate, method_of

NETWORKS = {
    "convolutional": ClassifierSettings(),
    "trees": ClassifierSettings(network="trees", input="features"),
    "dense": ClassifierSettings(network="dense", input="features"),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "autoencoder": ("autoencoder", {}),
    "TNT": ("tnt", {"mass_window": False}),
    "TNT, 2 iterations": ("tnt", {"mass_window": False, "iterations": 2}),
    "TNT + m_jj": ("tnt", {}),
    "CWoLa hunting, both jets": ("cwola", {}),
    "CWoLa hunting, per jet": ("cwola_per_jet", {}),
    "same jet": ("same_jet", {"mass_window": False}),
    "same jet, 3 iterations": ("same_jet", {"mass_window": False, "iterations": 3}),
    "pure CWoLa": ("pure_cwola", {}),
    "supervised, separate": ("supervised", {}),
    "supervised, both jets": ("supervised_both_jets", {}),
}
EFFICIENCIES = (0.1, 0.03)


def configured(seed: int, network: str, method: str, tnt: dict[str, Any]) -> SearchConfig:
    """Return the settings of one training; two inner folds, to fit a small machine."""
    classifier = NETWORKS[network]
    training = TrainSettings(
        folds=FoldSettings(inner=2),
        methods=(method,),
        tnt=TntSettings(classifier=classifier, **tnt),
        cwola=CwolaSettings(classifier=classifier),
        supervised=SupervisedSettings(classifier=classifier),
    )
    return SearchConfig(seed=seed, train=training)


def auc(signal: npt.NDArray[Any], background: npt.NDArray[Any]) -> float:
    """Return the share of pairs in the right order, ties half."""
    both = np.concatenate([signal, background])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n, m = len(signal), len(background)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def figures(sample: Any, outcomes: Sequence[Any], config: SearchConfig) -> dict[str, float]:
    """Return the figures of one tagger set against truth, out of fold."""
    members = tuple(
        Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
        for i, item in enumerate(outcomes)
    )
    made = TaggerSet("study", config.train.folds, config.seed, members, reference=True)
    made = made.calibrated(sample, config.search.fit_range, EFFICIENCIES)
    ranks = made.ranks(sample)
    signal, window = sample.label == 1, config.search.window
    found = {
        f"auc_{name}": auc(q[signal], q[~signal])
        for name, q in (("heavy", ranks.heavy), ("light", ranks.light), ("both", ranks.both))
    }
    inside = (sample.m_jj >= window.low) & (sample.m_jj < window.high)
    for efficiency in EFFICIENCIES:
        x = made.quantiles.x(efficiency) if made.quantiles else {}
        kept = np.array([rank > x[t] for rank, t in zip(ranks.both, ranks.fold, strict=True)])
        eps_s, eps_b = (float(kept[inside & which].mean()) for which in (signal, ~signal))
        found[f"improvement_{efficiency:g}"] = eps_s / np.sqrt(eps_b) if eps_b else float("nan")
    if made.scopes != ("event",):
        heavy, light = ranks.heavy[~signal], ranks.light[~signal]
        found["correlation"] = float(np.corrcoef(heavy, light)[0, 1])
    tied = [item.history.get("tied", 0.0) for item in outcomes]
    return found | {"tied": float(np.mean(tied))}


def main() -> None:
    """Train what is not there yet, and print the table after every method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--network", choices=sorted(NETWORKS), default="trees")
    parser.add_argument("--only", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--executor", default="iterative")
    arguments = parser.parse_args()
    resources = Resources(executor=arguments.executor)
    fileset = Fileset.from_paths({"data": [arguments.events]})
    made = skim(fileset, SearchConfig(), out=arguments.out, resources=resources)
    sample = made.sample(truth=True)
    record = arguments.out / f"methods-{arguments.network}.json"
    done: dict[str, dict[str, Any]] = json.loads(record.read_text()) if record.exists() else {}
    paths = [path.resolve() for path in made.paths]
    for name in arguments.only:
        method, tnt = VARIANTS[name]
        for seed in arguments.seeds:
            if str(seed) in done.get(name, {}):
                continue
            config = configured(seed, arguments.network, method, tnt)
            with resources.open() as executor:

                def run_tasks(tasks: Any, function: Callable[..., Any], on: Any = executor) -> Any:
                    return map_tasks(function, tasks, on, f"Training {tasks[0].set_name}")

                sets = cross_validate(paths, config, run_tasks, arguments.out / "taggers")
            done.setdefault(name, {})[str(seed)] = figures(sample, sets[method], config)
            record.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        Console(width=140).print(table(done))


def table(done: dict[str, dict[str, Any]]) -> Table:
    """Return mean and half the spread over seeds of every figure."""
    columns = ("auc_heavy", "auc_light", "auc_both", "improvement_0.03", "correlation", "tied")
    shown = Table("method", "seeds", *columns)
    for name, seeds in done.items():
        cells = []
        for column in columns:
            values = [row[column] for row in seeds.values() if column in row]
            spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "")
        mark = " (truth)" if method_of(VARIANTS[name][0]).uses_truth else ""
        shown.add_row(name + mark, ", ".join(seeds), *cells)
    return shown


if __name__ == "__main__":
    main()
