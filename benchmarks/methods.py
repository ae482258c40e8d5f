"""Every method on the same events: the comparisons of arXiv:2002.12376, one cell at a time.

    python -P benchmarks/methods.py OUT --background qcd.h5 --signal signal.h5 \
        --events 100000 --share 0.09 --seeds 1 2 3 --network trees

A cell is a number of background events, a share of signal and a kind of network. Every
event is scored out of fold; a study that was stopped goes on where it was. Figures of all
trainings and their bands over seeds are in `OUT/methods-NETWORK-SIZE-SHARE.json`, with what
is needed to repeat them. Truth decides nothing here but the figures, and the methods marked
with it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, skim
from tnt_coffea.config import (
    AutoencoderSettings,
    ClassifierSettings,
    CwolaSettings,
    FoldSettings,
    JetSettings,
    SkimSettings,
    SupervisedSettings,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.execution import map_tasks
from tnt_coffea.reporting import MethodFigures, compare
from tnt_coffea.reporting.comparison import band
from tnt_coffea.storage import written
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.training import cross_validate, method_of

NETWORKS = {
    "convolutional": ClassifierSettings(),
    "trees": ClassifierSettings(network="trees", input="features"),
    "dense": ClassifierSettings(network="dense", input="features"),
}


@dataclass(frozen=True)
class Variant:
    """A method, and what of its settings is not the default."""

    method: str
    tnt: Mapping[str, Any] = field(default_factory=dict)
    autoencoder: Mapping[str, Any] = field(default_factory=dict)


PLAIN = {"mass_window": False}
VARIANTS = {
    "autoencoder": Variant("autoencoder"),
    "TNT": Variant("tnt", PLAIN),
    "TNT, 2 iterations": Variant("tnt", {**PLAIN, "iterations": 2}),
    "TNT, reweighted in pT": Variant("tnt", {**PLAIN, "reweight": "pt"}),
    "TNT + m_jj": Variant("tnt"),
    "CWoLa hunting, both jets": Variant("cwola"),
    "CWoLa hunting, per jet": Variant("cwola_per_jet"),
    "same jet": Variant("same_jet", PLAIN),
    "same jet, 3 iterations": Variant("same_jet", {**PLAIN, "iterations": 3}),
    "pure CWoLa": Variant("pure_cwola"),
    "supervised, separate": Variant("supervised"),
    "supervised, both jets": Variant("supervised_both_jets"),
}
AUTOENCODERS = {
    "autoencoder, 16 components": Variant("autoencoder", autoencoder={"latent": 16}),
    "autoencoder, convolutional": Variant("autoencoder", autoencoder={"kind": "convolutional"}),
    "autoencoder, variational": Variant("autoencoder", autoencoder={"kind": "variational"}),
}
ALL = VARIANTS | AUTOENCODERS
SHOWN = ("auc_heavy", "auc_light", "auc_both", "improvement_0.03", "improvement_0.01", "pearson")


def mixed(background: Path, signal: Path, events: int, share: float, path: Path) -> None:
    """Write the first background events and as many of the first signal events as the share asks.

    Parameters
    ----------
    background, signal
        Files of `tnt-coffea generate`.
    events
        Background events.
    share
        Signal over all events.
    path
        What is written, in the same layout.
    """
    wanted = round(events * share / (1 - share))
    with written(path) as partial, h5py.File(partial, "w") as out:
        parts = []
        for source, n in ((background, events), (signal, wanted)):
            with h5py.File(source) as file:
                (name,) = (key for key, item in file.items() if isinstance(item, h5py.Dataset))
                if len(file[name]) < n:
                    msg = f"{source}: {len(file[name])} events, {n} are wanted"
                    raise SystemExit(msg)
                parts.append(file[name][:n])
        out.create_dataset(
            name, data=np.concatenate(parts), chunks=(256, parts[0].shape[1]), **hdf5plugin.Blosc()
        )


def configured(
    seed: int, classifier: ClassifierSettings, members: int, variant: Variant
) -> SearchConfig:
    """Return the settings of one training; two inner folds, to fit a small machine."""
    training = TrainSettings(
        folds=FoldSettings(inner=2),
        methods=(variant.method,),
        members=members,
        autoencoder=AutoencoderSettings(**variant.autoencoder),
        tnt=TntSettings(classifier=classifier, **variant.tnt),
        cwola=CwolaSettings(classifier=classifier),
        supervised=SupervisedSettings(classifier=classifier),
    )
    return SearchConfig(seed=seed, train=training)


def trained(
    paths: Sequence[Path], config: SearchConfig, resources: Resources, folder: Path
) -> TaggerSet:
    """Return the tagger set of a configuration's one method, without a quantile map."""
    with resources.open() as executor:

        def run_tasks(tasks: Any, function: Callable[..., Any]) -> Any:
            return map_tasks(function, tasks, executor, f"Training {tasks[0].set_name}")

        sets = cross_validate(paths, config, run_tasks, folder)
    members = tuple(
        Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
        for i, item in enumerate(sets[config.train.methods[0]])
    )
    return TaggerSet("study", config.train.folds, config.seed, members, reference=True)


def figures(sample: Any, made: TaggerSet, config: SearchConfig) -> MethodFigures:
    """Return the figures of one tagger set against truth, out of fold."""
    search = config.search
    ranks = made.calibrated(sample, search.fit_range, ()).ranks(sample)
    found = compare(sample, {"one": {"one": ranks}}, search.window, search.fit_range)
    return found.methods["one"]["one"]


def row(found: MethodFigures, seconds: float) -> dict[str, Any]:
    """Return what is kept of a training: all figures but the curves."""
    return {
        "figures": found.numbers(),
        "auc_uncertainty": {name: roc.auc_uncertainty for name, roc in found.rocs.items()},
        "improvements": [asdict(one) for one in found.improvements],
        "seconds": round(seconds, 1),
    }


def bands(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return median and central 68 % over seeds of every figure that all seeds have."""
    numbers = [one["figures"] for one in rows.values()]
    names = [name for name in numbers[0] if all(n.get(name) is not None for n in numbers)]
    return {name: asdict(band([n[name] for n in numbers])) for name in names}


def table(methods: dict[str, Any]) -> Table:
    """Return medians and half the width of the 68 % bands."""
    shown = Table("method", "seeds", *SHOWN)
    for name, found in methods.items():
        cells = [
            f"{b['median']:.3f} +- {(b['high'] - b['low']) / 2:.3f}" if b else ""
            for b in (found["bands"].get(column) for column in SHOWN)
        ]
        mark = " (truth)" if method_of(ALL[name].method).uses_truth else ""
        shown.add_row(name + mark, ", ".join(found["trainings"]), *cells)
    return shown


def main() -> None:
    """Train what is not there yet, and write and print the figures after every training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--background", type=Path, required=True)
    parser.add_argument("--signal", type=Path, required=True)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--features", nargs="+", help="instead of the network's own")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--order", choices=("mass", "random"), default="mass")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="trees")
    parser.add_argument("--only", nargs="+", choices=sorted(ALL), default=list(VARIANTS))
    parser.add_argument("--executor", default="iterative")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    cell = f"{arguments.events // 1000}k-{100 * arguments.share:g}pct"
    cell += "-random-order" if arguments.order == "random" else ""
    folder = arguments.out / cell
    folder.mkdir(parents=True, exist_ok=True)
    events = folder / "events.h5"
    if not events.exists():
        mixed(arguments.background, arguments.signal, arguments.events, arguments.share, events)
    resources = Resources(executor=arguments.executor, workers=arguments.workers, progress=False)
    jets = SkimSettings(jets=JetSettings(order=arguments.order))
    made = skim(Fileset.from_paths({"data": [events]}), SearchConfig(skim=jets), out=folder)
    sample = made.sample(truth=True)
    classifier, kind = NETWORKS[arguments.network], arguments.network
    if arguments.features:
        classifier = classifier.model_copy(update={"features": tuple(arguments.features)})
        kind += f"-{'-'.join(arguments.features)}"
    kind += f"-{arguments.members}-members" if arguments.members > 1 else ""
    record = arguments.out / f"methods-{kind}-{cell}.json"
    done: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {"methods": {}}
    done |= {
        "background": int((sample.label == 0).sum()),
        "signal": int((sample.label == 1).sum()),
        "skim": made.content,
        "versions": {name: version(name) for name in ("tnt-coffea", "numpy", "keras")},
        "machine": platform.machine(),
    }
    paths = [path.resolve() for path in made.paths]
    for seed in arguments.seeds:
        for name in arguments.only:
            rows = done["methods"].setdefault(name, {"trainings": {}, "bands": {}})
            if str(seed) in rows["trainings"]:
                continue
            started = time.perf_counter()
            config = configured(seed, classifier, arguments.members, ALL[name])
            tagger_set = trained(paths, config, resources, folder / "taggers")
            seconds = time.perf_counter() - started
            found = figures(sample, tagger_set, config)
            rows["trainings"][str(seed)] = row(found, seconds)
            rows["bands"] = bands(rows["trainings"])
            record.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        Console(width=140).print(table(done["methods"]))


if __name__ == "__main__":
    main()
