"""Every method on the same events: the comparisons of arXiv:2002.12376, one cell at a time.

    python benchmarks/methods.py OUT --background qcd.h5 --signal signal.h5 \
        --events 100000 --share 0.09 --seeds 1 2 3 --network trees

A cell is a number of background events, a share of signal and a kind of network. Every
event is scored out of fold; a study that was stopped goes on where it was. Figures of all
trainings and their bands over seeds are in `OUT/methods-NETWORK-SIZE-SHARE.json`, with what
is needed to repeat them. Truth decides nothing here but the figures, and the methods marked
with it.

`--unseen` names a signal-free file of which the last events, in none of the cells, are scored
by the same taggers: the correlation of the two scores and the spectrum in m_jj as an analysis
would find them on events that had no part in any training.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from purity import window_surplus
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, skim
from tnt_coffea.config import (
    FoldSettings,
    JetSettings,
    SkimSettings,
    TrainSettings,
    method_kinds,
)
from tnt_coffea.execution import map_tasks
from tnt_coffea.reporting import MethodFigures, compare
from tnt_coffea.reporting.comparison import EFFICIENCIES, band, dependence
from tnt_coffea.reporting.evaluation import sculpting
from tnt_coffea.storage import written
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.training import assumptions, cross_validate
from tnt_coffea.training.classifiers import (
    Classifier,
    Convolutional,
    Dense,
    ParticleFlow,
    Trees,
)

NETWORKS: Mapping[str, Classifier] = {
    "convolutional": Convolutional(),
    "trees": Trees(),
    "dense": Dense(),
    "constituents": ParticleFlow(),
}
CONSTITUENTS = 50
"""Constituents of a jet that the skim keeps for the network of constituents."""


@dataclass(frozen=True)
class Variant:
    """Methods of one cell: the last one is looked at, the others are those that it builds on.

    Attributes
    ----------
    methods
        Settings by name; those with a classifier get the cell's.
    """

    methods: Mapping[str, Mapping[str, Any]]

    def settings(self, classifier: Classifier) -> dict[str, Any]:
        """Return the settings with a classifier."""
        kinds = method_kinds()
        return {
            name: {**settings, "classifier": classifier}
            if "classifier" in kinds[settings["kind"]].model_fields
            else dict(settings)
            for name, settings in self.methods.items()
        }

    @property
    def kind(self) -> str:
        """Kind of the method that is looked at."""
        return str(list(self.methods.values())[-1]["kind"])


def alone(kind: str, **settings: Any) -> Variant:
    """Return a method that builds on no other."""
    return Variant({kind: {"kind": kind, **settings}})


def chain(
    kind: str, first: Mapping[str, Any] | None = None, n: int = 1, **settings: Any
) -> Variant:
    """Return a method after an autoencoder, and after itself with half the signal-rich share."""
    methods: dict[str, Any] = {"autoencoder": {"kind": "autoencoder", **(first or {})}}
    for number in range(1, n + 1):
        name, before = f"{kind}-{number}", list(methods)[-1]
        later = {"signal_rich": 0.1} if number > 1 else {}
        methods[name] = {"kind": kind, "after": before, **settings, **later}
    return Variant(methods)


PAPER = {"reweight": "none"}
PLAIN = {"mass_window": False, **PAPER}
IN_PT = {"mass_window": False, "reweight": "pt", "sidebands_only": False}
IN_MASS = {"mass_window": False}
VARIANTS = {
    "autoencoder": alone("autoencoder"),
    "TNT": chain("tag_n_train", **PLAIN),
    "TNT, 2 iterations": chain("tag_n_train", n=2, **PLAIN),
    "TNT, reweighted in pT": chain("tag_n_train", **IN_PT),
    "TNT, reweighted in mass": chain("tag_n_train", **IN_MASS),
    "TNT, reweighted in mass, 2 iterations": chain("tag_n_train", n=2, **IN_MASS),
    "TNT + m_jj": chain("tag_n_train", **PAPER),
    "TNT + m_jj, reweighted in mass": chain("tag_n_train"),
    "TNT + m_jj, reweighted in mass, 2 iterations": chain("tag_n_train", n=2),
    "CWoLa hunting, both jets": alone("cwola"),
    "CWoLa hunting, per jet": alone("cwola_per_jet"),
    "same jet": chain("same_jet", **PAPER),
    "same jet, 3 iterations": chain("same_jet", n=3, **PAPER),
    "pure CWoLa": chain("pure_cwola"),
    "supervised, separate": alone("supervised"),
    "supervised, both jets": alone("supervised_both_jets"),
}
SEVERAL = {"network": "dense", "latent": 6, "networks": 6, "keep": (1, 0.3)}
"""First taggers of six networks, `benchmarks/first_taggers.py`."""
AUTOENCODERS = {
    "autoencoder, 16 components": alone("autoencoder", latent=16),
    "autoencoder, convolutional": alone("autoencoder", network="convolutional"),
    "autoencoder, variational": alone("autoencoder", network="variational"),
    "autoencoder, several networks": alone("autoencoder", **SEVERAL),
    "TNT, reweighted in mass, after several networks": chain("tag_n_train", SEVERAL, **IN_MASS),
    "TNT + m_jj, reweighted in mass, after several networks": chain("tag_n_train", SEVERAL),
}
ALL = VARIANTS | AUTOENCODERS
TRUTH = ("pure_cwola", "supervised", "supervised_both_jets")
SHOWN = ("auc_heavy", "auc_light", "auc_both", "improvement_0.03", "improvement_0.01", "pearson")


def copied(parts: Sequence[tuple[Path, slice]], path: Path) -> None:
    """Write some events of some files into one, in the same layout.

    Parameters
    ----------
    parts
        Files of `tnt-coffea generate`, and which of their events.
    path
        What is written.
    """
    chosen = []
    for source, which in parts:
        with h5py.File(source) as file:
            (name,) = (key for key, item in file.items() if isinstance(item, h5py.Dataset))
            wanted = which.stop or -which.start
            if len(file[name]) < wanted:
                msg = f"{source}: {len(file[name])} events, {wanted} are wanted"
                raise SystemExit(msg)
            # h5py knows no negative start.
            chosen.append(file[name][slice(*which.indices(len(file[name])))])
    with written(path) as partial, h5py.File(partial, "w") as out:
        chunks = (256, chosen[0].shape[1])
        out.create_dataset(name, data=np.concatenate(chosen), chunks=chunks, **hdf5plugin.Blosc())


def configured(seed: int, classifier: Classifier, members: int, variant: Variant) -> SearchConfig:
    """Return the settings of one training; two inner folds, to fit a small machine."""
    training = TrainSettings(
        folds=FoldSettings(inner=2), methods=variant.settings(classifier), members=members
    )
    return SearchConfig(seed=seed, train=training)


def trained(
    paths: Sequence[Path], config: SearchConfig, resources: Resources, folder: Path
) -> TaggerSet:
    """Return the tagger set of a configuration's last method, without a quantile map."""
    with resources.open() as executor:

        def run_tasks(tasks: Any, function: Callable[..., Any]) -> Any:
            return map_tasks(function, tasks, executor, f"Training {tasks[0].set_name}")

        sets = cross_validate(paths, config, run_tasks, folder)
    members = tuple(
        Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
        for i, item in enumerate(sets[list(config.train.methods)[-1]])
    )
    return TaggerSet("study", config.train.folds, config.seed, members, reference=True)


def figures(sample: Any, made: TaggerSet, config: SearchConfig) -> MethodFigures:
    """Return the figures of one tagger set with quantile map against truth, out of fold."""
    search, ranks = config.search, made.ranks(sample)
    found = compare(sample, {"one": {"one": ranks}}, search.window, search.fit_range)
    return found.methods["one"]["one"]


def background_alone(sample: Any, made: TaggerSet, config: SearchConfig) -> dict[str, Any]:
    """Return correlation and sculpting of signal-free events.

    Parameters
    ----------
    sample
        Events that no tagger was trained on; each is scored by the taggers of its own fold.
    made
        Tagger set with the quantile map of the events it was trained for.
    config
        Its `search.fit_range` is looked at.
    """
    search = config.search.fit_range
    use = (sample.m_jj >= search.low) & (sample.m_jj < search.high)
    ranks, m_jj = made.ranks(sample).select(use), sample.m_jj[use]
    found: dict[str, Any] = {"events": int(use.sum())}
    if made.scopes != ("event",):
        found["dependence"] = asdict(dependence(ranks.heavy, ranks.light))
    shares = [share for share in EFFICIENCIES if share < 1]
    found["sculpting"] = [asdict(sculpting(share, ranks.both, m_jj)) for share in shares]
    return found


def without_truth(sample: Any, made: TaggerSet, config: SearchConfig) -> dict[str, Any]:
    """Return what can be known of a tagger set where no event has a label.

    These may decide between settings: correlation and sculpting beside the window, and the
    surplus in it of events with both jets in their top 10 %.
    """
    search = config.search
    beside = assumptions(made, sample, search.window, search.fit_range)
    return {
        "correlation": beside.correlation,
        "sculpting_p": beside.sculpting,
        "surplus": window_surplus(sample.m_jj, made.ranks(sample).both > 0.9, search.window),
    }


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
        mark = " (truth)" if ALL[name].kind in TRUTH else ""
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
    parser.add_argument("--unseen", type=Path, help="signal-free file, its last events")
    parser.add_argument("--unseen-events", type=int, default=100_000)
    parser.add_argument("--executor", default="iterative")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    cell = f"{arguments.events // 1000}k-{100 * arguments.share:g}pct"
    cell += "-random-order" if arguments.order == "random" else ""
    kept = CONSTITUENTS if arguments.network == "constituents" else None
    suffix = "-constituents" if kept else ""
    folder = arguments.out / f"{cell}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    events = folder / "events.h5"
    if not events.exists():
        n_signal = round(arguments.events * arguments.share / (1 - arguments.share))
        copied(
            [
                (arguments.background, slice(arguments.events)),
                (arguments.signal, slice(n_signal)),
            ],
            events,
        )
    resources = Resources(executor=arguments.executor, workers=arguments.workers, progress=False)
    jets = SkimSettings(jets=JetSettings(order=arguments.order), constituents=kept)
    plain = SearchConfig(skim=jets)
    made = skim(Fileset.from_paths({"data": [events]}), plain, out=folder)
    sample = made.sample(truth=True)
    unseen = None
    if arguments.unseen:
        last = folder.parent / f"unseen-{arguments.order}{suffix}"
        last.mkdir(exist_ok=True)
        if not (last / "events.h5").exists():
            copied([(arguments.unseen, slice(-arguments.unseen_events, None))], last / "events.h5")
        unseen = skim(Fileset.from_paths({"data": [last / "events.h5"]}), plain, out=last).sample()
        if np.isin(unseen.event_id, sample.event_id).any():
            msg = f"{arguments.unseen}: its last events are among those trained on"
            raise SystemExit(msg)
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
            found = rows["trainings"].get(str(seed), {})
            if found and (unseen is None or "unseen" in found):
                continue
            started = time.perf_counter()
            config = configured(seed, classifier, arguments.members, ALL[name])
            tagger_set = trained(paths, config, resources, folder / "taggers")
            seconds = time.perf_counter() - started
            tagger_set = tagger_set.calibrated(sample, config.search.fit_range, ())
            if not found:
                found = row(figures(sample, tagger_set, config), seconds)
                found["without_truth"] = without_truth(sample, tagger_set, config)
            if unseen is not None:
                found["unseen"] = background_alone(unseen, tagger_set, config)
            rows["trainings"][str(seed)] = found
            rows["bands"] = bands(rows["trainings"])
            record.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        Console(width=140).print(table(done["methods"]))


if __name__ == "__main__":
    main()
