"""The folders of the stages: what each is keyed by, whether it is complete."""

from __future__ import annotations

import functools
import hashlib
import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tnt_coffea.checkpoints import Checkpoints
from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.errors import InputError, MissingExtraError
from tnt_coffea.events.roles import SIMULATION, is_signal
from tnt_coffea.events.selection import EventSelection
from tnt_coffea.execution import OnError, Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.jets.corrections import JetCorrections
from tnt_coffea.metrics import Metrics, prometheus
from tnt_coffea.pipeline.null_chains import fit_values
from tnt_coffea.pipeline.template_events import predicts
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import note_config, note_sources
from tnt_coffea.stages import Stage, manifest
from tnt_coffea.storage import file_sha256, held, stored, written
from tnt_coffea.taggers import QuantileMap
from tnt_coffea.visibility import marked

__all__ = [
    "OUT",
    "STAGES",
    "VERSIONS",
    "begun",
    "done",
    "earlier_seconds",
    "fit_stage",
    "generate_stage",
    "kept_items",
    "note_metrics",
    "one_writer",
    "report_stage",
    "search_stage",
    "skim_stage",
    "stage_metrics",
    "stage_seconds",
    "train_stage",
    "variations_digest",
]

OUT = "tnt-coffea-output"
VERSIONS = ("tnt-coffea", "coffea", "fastjet", "pyhf", "numpy")
"""Packages whose versions a result names."""
CODE = 1
"""Who changes what the same histograms and settings fit to, or a report shows, raises it."""
P = ParamSpec("P")
R = TypeVar("R")
STAGES = ("generate", "skim", "train", "search", "fit", "report")


def one_writer(stage: Callable[P, R]) -> Callable[P, R]:
    """Let a function that writes into its argument `out` be the only writer there."""
    default = inspect.signature(stage).parameters["out"].default

    @functools.wraps(stage)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        out: Any = kwargs.get("out", default)
        with nullcontext() if out is None else held(Path(out)):
            return stage(*args, **kwargs)

    return alone


def generate_stage(config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `generate`, keyed by what decides its content."""
    inputs = {"settings": config.generate.model_dump(mode="json"), "seed": config.seed}
    return Stage("generate", Path(out) / "generate", inputs | {"pythia": _extra("pythia8mc")})


def variations_digest(config: SearchConfig) -> str:
    """Return the SHA-256 of all that varies simulated signals, files of corrections included.

    Raises
    ------
    ConfigError
        As `JetCorrections.read`.
    """
    values = config.systematics.model_dump(mode="json", exclude={"signals"})
    return digest([values, JetCorrections.read(config.systematics).hashes])


def skim_stage(
    fileset: Fileset, config: SearchConfig, out: str | Path, resources: Resources
) -> Stage:
    """Return the folder of `skim`, keyed by what decides its content."""
    inputs = {
        "settings": config.skim.model_dump(mode="json"),
        "files": fileset.content_hashes(skip_bad=resources.on_error is OnError.SKIP),
        "roles": {dataset: fileset.role(dataset) for dataset in fileset.files},
        "on_error": resources.on_error.value,
        **_selection(config),
        **({"systematics": variations_digest(config)} if fileset.of_signals().files else {}),
    }
    return Stage("skim", Path(out) / "skim", inputs)


def _selection(config: SearchConfig) -> dict[str, str]:
    # A function of the same name may be another one, and a file of certified runs too.
    return EventSelection(config.skim).digests


def train_stage(skim: Skim, config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `train`, keyed by what decides its content."""
    inputs: dict[str, Any] = {
        "settings": config.train.model_dump(mode="json"),
        "window": config.search.window.model_dump(),
        "fit_range": config.search.fit_range.model_dump(),
        "efficiencies": list(config.search.efficiencies),
        "cuts": {name: cut.model_dump() for name, cut in config.search.cuts.items()},
        "variable": config.search.variable,
        "seed": config.seed,
        "skim": {role: sha256 for role, sha256 in skim.contents.items() if not is_signal(role)},
        # A file of the same name may be another tagger.
        "content": {
            name: content
            for name, method in config.train.methods.items()
            if (content := method.content())
        },
    }
    return Stage("train", Path(out) / "train", inputs)


def search_stage(
    source: Skim | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    out: str | Path,
    resources: Resources,
    signals: Fileset | None = None,
) -> Stage:
    """Return the folder of `search`, keyed by what decides its content.

    Files of signals are given beside those of data; a skim has them in it.
    """
    skip = resources.on_error is OnError.SKIP
    scored: dict[str, Any] = (
        {"skim": source.content}
        if isinstance(source, Skim)
        else {"files": source.content_hashes(skip_bad=skip)}
    )
    if taggers.weights and isinstance(source, Skim) and SIMULATION in source.contents:
        scored["simulation"] = source.contents[SIMULATION]
    inputs = {
        "settings": config.search.model_dump(mode="json"),
        "skim_settings": config.skim.model_dump(mode="json"),
        "source": scored,
        "taggers": {name: tagger_set.digest for name, tagger_set in taggers.sets.items()},
        "quantiles": _quantiles(taggers),
        **(
            {"weights": {name: one.digest for name, one in taggers.weights.items()}}
            if taggers.weights
            else {}
        ),
        # Of the events that templates draw.
        **({"seed": config.seed} if any(map(predicts, taggers.sets.values())) else {}),
        "on_error": resources.on_error.value,
        **_selection(config),
        **_signals(source, signals, config, skip),
    }
    return Stage("search", Path(out) / "search", inputs)


def _signals(
    source: Skim | Fileset, signals: Fileset | None, config: SearchConfig, skip: bool
) -> dict[str, Any]:
    """Return what decides the histograms of simulated signals; nothing where there are none."""
    found: dict[str, Any] = {}
    if isinstance(source, Skim):
        of_roles = {r: one for r, one in source.contents.items() if is_signal(r)}
        found = {"contents": of_roles, "varied": dict(source.varied)} if of_roles else {}
    elif signals is not None and signals.files:
        found = {
            "files": signals.content_hashes(skip_bad=skip),
            "roles": {name: signals.role(name) for name in signals.files},
            "variations": variations_digest(config),
        }
    settings = config.systematics.model_dump(mode="json")
    return {"signals": {**found, "settings": settings}} if found else {}


def fit_stage(histograms: Histograms, config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `fit`, keyed by what decides its content."""
    inputs = {
        "settings": fit_values(config),
        "data": config.data.model_dump(mode="json"),
        "search": config.search.model_dump(mode="json"),
        "seed": config.seed,
        "histograms": histograms.digest,
        "provenance": dict(histograms.provenance),
        "versions": {name: version(name) for name in (*VERSIONS, "scipy")},
        "code": CODE,
    }
    trigger = config.fit.bump.trigger
    if trigger is not None and trigger.file is not None:
        try:
            inputs["trigger"] = file_sha256(Path(trigger.file))
        except OSError as error:
            msg = f"{trigger.file}: the trigger's efficiency cannot be read: {error.strerror}"
            raise InputError(msg) from error
    return Stage("fit", Path(out) / "fit", inputs, "Run `tnt-coffea fit`, which fits again")


def report_stage(
    result: SearchResult,
    config: SearchConfig,
    histograms: Histograms,
    out: str | Path,
    *,
    skim: Skim | None,
    taggers: Sequence[Taggers],
    retrained: Sequence[Mapping[str, Any]] = (),
) -> Stage:
    """Return the folder of `report`, keyed by what it shows; truth, times and trials included."""
    inputs = {
        "settings": config.model_dump(mode="json"),
        "result": digest(result.to_dict()),
        "trials": [result.trial, *(trial.key for trial in result.trials)],
        "histograms": histograms.digest,
        "accounting": histograms.accounting.to_dict(),
        "skim": skim and [skim.fileset().content_hashes(), skim.accounting.to_dict()],
        "taggers": [
            [{n: s.digest for n, s in one.sets.items()}, _quantiles(one), digest(one.histories)]
            for one in taggers
        ],
        "seconds": earlier_seconds(out),
        "versions": {name: version(name) for name in (*VERSIONS, "matplotlib", "mplhep")},
        "code": CODE,
        **({"retrained": digest(list(retrained))} if retrained else {}),
    }
    return Stage("report", Path(out) / "report", inputs)


def _quantiles(taggers: Taggers) -> dict[str, str | None]:
    """Return the hash of every set's quantile map: its thresholds and reference scores."""
    return {
        name: None if tagger_set.quantiles is None else _hash_of(tagger_set.quantiles)
        for name, tagger_set in taggers.sets.items()
    }


def _hash_of(quantiles: QuantileMap) -> str:
    made_from = [quantiles.tagger_set, quantiles.sample, quantiles.variable]
    about = [*made_from, quantiles.mass_range.edges, quantiles.points.to_list()]
    found = hashlib.sha256(digest(about).encode())
    for fold, scopes in sorted(quantiles.references.items()):
        for scope, reference in sorted(scopes.items()):
            found.update(f"{fold} {scope}".encode() + reference.scores.tobytes())
            for score, hashes in sorted(reference.plateaus.items()):
                found.update(repr(score).encode() + hashes.tobytes())
    return found.hexdigest()


def stage_seconds(out: str | Path) -> dict[str, float]:
    """Return how long each complete stage in a search's folder took, in seconds."""
    return {
        name: Stage(name, Path(out) / name, {}).seconds()
        for name in STAGES
        if (Path(out) / name / "manifest.json").exists()
    }


def earlier_seconds(out: str | Path) -> dict[str, float]:
    """Return how long the stages before the report took, in seconds."""
    return {name: took for name, took in stage_seconds(out).items() if name != "report"}


def done(stage: Stage, resources: Resources) -> bool:
    """Tell whether a stage is complete, after clearing it where that was asked for and needed.

    That is where it is of other settings, or a file of it was changed or is gone.
    """
    if resources.overwrite and not stage.intact():
        stage.clear()
    if stage.finished() is None:
        return False
    shutil.rmtree(stage.parts, ignore_errors=True)  # of a run that was killed in the end
    return True


def begun(stage: Stage, config: SearchConfig | None) -> Path:
    """Begin a stage, note the settings in the search's folder, and return where parts go.

    Results and report that stand there are of what was before, and are removed. A stage that
    notes its settings once it is complete gives none.
    """
    out = stage.folder.parent
    for later in ("fit", "report"):
        if STAGES.index(later) > STAGES.index(stage.name):
            Stage(later, out / later, {}).clear()
    parts = stage.begin()
    if config is not None:
        note_config(out, config)  # for commands that go on in this folder
    if stage.name == "search":
        note_sources(out)
    return parts


@contextmanager
def kept_items(stage: Stage) -> Iterator[Checkpoints]:
    """Give where the work items of a stage that was begun lie until it is complete."""
    folder = stage.parts / "items"
    with stored(folder):
        folder.mkdir(exist_ok=True)
    with marked(stage.parts) as mark:
        yield Checkpoints(str(folder.resolve()), stage.key, mark)


def stage_metrics(out: str | Path) -> dict[str, Metrics]:
    """Return what the pass of each complete stage with one in a search's folder cost."""
    known = {name: manifest(Path(out) / name) for name in STAGES}
    return {
        name: Metrics.from_dict(one.metrics)
        for name, one in known.items()
        if one is not None and one.metrics is not None
    }


def note_metrics(out: str | Path) -> None:
    """Write the metrics of a search's stages for Prometheus' textfile collector."""
    with written(Path(out) / "metrics.prom") as path:
        path.write_text(prometheus(stage_metrics(out)))


def _extra(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingExtraError(package, "generate") from error
