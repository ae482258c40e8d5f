"""The stages of a search as functions.

Every stage leaves a folder under `out` and is not run again while its settings and
inputs stay the same. What a stage may use of the machine is in `execution.Resources`,
which no result depends on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import Initial, SearchConfig
from tnt_coffea.errors import ConfigError, InputError, MissingExtraError
from tnt_coffea.execution import Resources, map_tasks
from tnt_coffea.execution import run as run_pass
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import note_config, note_files
from tnt_coffea.stages import Stage

if TYPE_CHECKING:
    from tnt_coffea.reporting import Evaluation
    from tnt_coffea.training.costs import Costs

__all__ = [
    "OUT",
    "STAGES",
    "fit",
    "generate",
    "generate_stage",
    "report",
    "search",
    "search_stage",
    "skim",
    "skim_stage",
    "stage_seconds",
    "train",
    "train_stage",
    "training_costs",
]

OUT = "tnt-coffea-output"
STAGES = ("generate", "skim", "train", "search", "fit", "report")


def generate(
    config: SearchConfig, *, out: str | Path = OUT, resources: Resources | None = None
) -> Fileset:
    """Return a fileset of freshly generated LHC-Olympics-like events.

    Parameters
    ----------
    config
        `seed` and `generate` are read.
    out
        Folder of the search; the events go to `generate/events.h5`.
    resources
        What may be used.

    Raises
    ------
    MissingExtraError
        PYTHIA is not installed.
    GeneratorError
        PYTHIA refuses the settings.
    """
    from tnt_coffea import generator

    resources = resources or Resources()
    stage = generate_stage(config, out)
    path = stage.folder / "events.h5"
    if not _done(stage, resources):
        parts = _begun(stage, config)
        tasks = [
            (task, str((parts / task.name).resolve()))
            for task in generator.plan(config.generate, config.seed)
        ]
        with resources.open() as executor:
            blocks = map_tasks(_generated, tasks, executor, "Generating")
        generator.join(blocks, path, config.generate, config.seed)
        stage.finish({"file": path.name})
    return Fileset.from_paths({"data": [path]})


def skim(
    fileset: Fileset,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Skim:
    """Return the dijets, observables and images of a fileset.

    Parameters
    ----------
    fileset
        Files of any source with particles.
    config
        `skim` is read.
    out
        Folder of the search; the dijets go to `skim/parts`.
    resources
        What may be used.

    Raises
    ------
    InputError
        A file cannot be read or holds impossible values, or no event has a dijet.
    """
    from tnt_coffea.processors import SkimProcessor

    resources = resources or Resources()
    stage = skim_stage(fileset, config, out, resources)
    if not _done(stage, resources):
        work = _begun(stage, config) / "parts"
        note_files(out, fileset)
        shutil.rmtree(work, ignore_errors=True)  # of a pass that was killed
        work.mkdir()
        with stage.undone_on_bad_input(), resources.open() as executor:
            output, accounting = run_pass(
                fileset,
                SkimProcessor(config.skim, work.resolve()),
                executor,
                chunk_size=resources.chunk_size,
                on_error=resources.on_error,
                description="Skimming",
            )
            if not output["parts"]:
                msg = f"none of {accounting.events} events has a dijet: {accounting.to_dict()}"
                raise InputError(msg)
        parts = {dataset: sorted(names) for dataset, names in sorted(output["parts"].items())}
        shutil.rmtree(stage.folder / "parts", ignore_errors=True)
        work.rename(stage.folder / "parts")
        paths = {d: tuple(stage.folder / "parts" / n for n in names) for d, names in parts.items()}
        made = Skim(paths, "", 0, accounting)
        sample = made.sample()
        stage.finish(
            {
                "parts": parts,
                "content": sample.content_hash(),
                "duplicates": len(sample) - len(set(sample.event_id.tolist())),
                "accounting": accounting.to_dict(),
            }
        )
    return Skim.load(stage.folder)


def train(
    skim: Skim,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Taggers:
    """Return the tagger sets of `train.methods`, trained on the unlabelled dijets.

    Each event is scored only by taggers that neither it nor any event of its fold had a
    part in. The quantile maps and working points are made here as well. References, which
    are trained with the truth, go to `train/references` and are not returned. What the
    methods assume and the data do not show is in `train/assumptions.json`.

    Parameters
    ----------
    skim
        The dijets; their labels are read for references alone.
    config
        `seed`, `train` and `search` are read.
    out
        Folder of the search; the taggers go to `train`.
    resources
        What may be used.

    Raises
    ------
    MissingExtraError
        TensorFlow is not installed.
    TrainingError
        A training cannot start or gives nothing usable.
    """
    from tnt_coffea.training import assumptions, cross_validate

    resources = resources or Resources()
    chosen = config.search
    stage = train_stage(skim, config, out)
    if not _done(stage, resources):
        parts = _begun(stage, config)
        with resources.open() as executor:

            def run_tasks(tasks: Sequence[Any], function: Callable[[Any], Any]) -> list[Any]:
                return map_tasks(function, tasks, executor, f"Training {tasks[0].set_name}")

            outcomes = cross_validate(
                [path.resolve() for path in skim.paths], config, run_tasks, parts.resolve()
            )
        with resources.announced("Ranking every fold's events by its own taggers"):
            sample = skim.sample()
            made, references = (
                replace(
                    kind,
                    sets={
                        name: s.calibrated(sample, chosen.fit_range, chosen.efficiencies)
                        for name, s in kind.sets.items()
                    },
                )
                for kind in _tagger_sets(outcomes, config)
            )
            noted = {
                name: assumptions(
                    s,
                    sample,
                    chosen.window,
                    chosen.fit_range,
                    [item.history for item in outcomes[name]],
                ).to_dict()
                for name, s in made.sets.items()
            }
        made.save(stage.folder)
        text = json.dumps(noted, indent=1, sort_keys=True) + "\n"
        (stage.folder / "assumptions.json").write_text(text)
        if references.sets:
            (stage.folder / "references").mkdir(exist_ok=True)
            references.save(stage.folder / "references")
        stage.finish({"sets": {name: s.digest for name, s in made.sets.items()}})
    return Taggers.load(stage.folder)


def training_costs(
    skim: Skim, config: SearchConfig, *, resources: Resources | None = None
) -> Costs:
    """Return the networks that `train` would train, with their measured cost; none is trained.

    Parameters
    ----------
    skim
        The dijets; their labels are not read.
    config
        As for `train`.
    resources
        How many workers there would be.
    """
    from tnt_coffea.training import training_costs as costs_of

    return costs_of(skim.paths, config, workers=(resources or Resources()).workers)


def search(
    source: Skim | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Histograms:
    """Return the histograms of m_jj against both jets' quantiles, every event scored out of fold.

    Parameters
    ----------
    source
        A skim, or files with particles, which are clustered on the way.
    taggers
        Tagger sets with quantile maps.
    config
        `skim` and `search` are read.
    out
        Folder of the search; the histograms go to `search`.
    resources
        What may be used.

    Raises
    ------
    TaggerError
        A tagger does not fit these jets and images.
    LeakError
        A tagger would score events that had a part in its training.
    """
    from tnt_coffea.processors import SearchProcessor

    resources = resources or Resources()
    processor = SearchProcessor(config, taggers.sets.values())
    fileset = source.fileset() if isinstance(source, Skim) else source
    scored: dict[str, Any] = {"skim": source.content} if isinstance(source, Skim) else {}
    sets = {name: tagger_set.digest for name, tagger_set in taggers.sets.items()}
    stage = search_stage(source, taggers, config, out, resources)
    if not _done(stage, resources):
        _begun(stage, config)
        with stage.undone_on_bad_input(), resources.open() as executor:
            output, accounting = run_pass(
                fileset,
                processor,
                executor,
                chunk_size=resources.chunk_size,
                on_error=resources.on_error,
                description="Searching",
            )
        provenance = {
            **scored,
            "taggers": sets,
            "settings": config.search.digest(),
            "skim_settings": config.skim.digest(),
        }
        made = Histograms(output["hists"], taggers.thresholds(), accounting, provenance)
        made.save(stage.folder)
        stage.finish({})
    return Histograms.load(stage.folder)


def fit(
    histograms: Histograms,
    config: SearchConfig,
    *,
    out: str | Path | None = None,
) -> SearchResult:
    """Return p-values: bump hunts before and after selection, and ABCD estimates.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search` and `fit` are read.
    out
        Folder of the search, for `fit/result.json`; nothing is written without it.

    Raises
    ------
    FitError
        A model cannot be built from these histograms.
    """
    from tnt_coffea import stats

    bump, chosen = config.fit.bump, config.search
    inputs = {"settings": config.fit.model_dump(mode="json"), **histograms.provenance}
    stage = Stage("fit", Path(out) / "fit", inputs) if out is not None else None
    if stage is not None:
        stage.clear()  # it takes seconds, and all it needs is in the search's folder
        _begun(stage, config)
    fit_range = (chosen.fit_range.low, chosen.fit_range.high)

    def hunt(channels: Any, name: str) -> Any:
        return stats.bump_hunt(
            channels,
            mass=bump.mass,
            width=bump.width,
            fit_range=fit_range,
            bin_width=bump.bin_width,
            min_parameters=bump.min_parameters,
            max_parameters=bump.max_parameters,
            f_test=bump.f_test,
            toys=bump.toys,
            seed=seeds.integer(config.seed, "fit", "bump", name),
            family=bump.family,
            envelope=bump.envelope,
            shape=bump.shape,
            scale_uncertainty=bump.scale_uncertainty,
            width_uncertainty=bump.width_uncertainty,
            lower_edges=bump.lower_edges,
        )

    def scanned(channels: Any, name: str) -> Any:
        return stats.scan(
            {name: channels},
            masses=config.fit.scan.masses,
            width=bump.width,
            fit_range=fit_range,
            bin_width=bump.bin_width,
            family=bump.family,
            min_parameters=bump.min_parameters,
            max_parameters=bump.max_parameters,
            f_test=bump.f_test,
            shape=bump.shape,
            scale_uncertainty=bump.scale_uncertainty,
            width_uncertainty=bump.width_uncertainty,
            toys=config.fit.scan.toys,
            seed=seeds.integer(config.seed, "fit", "scan", name),
        )

    hists = histograms.hists
    if not hists:
        msg = "no histogram to fit: the search was made without tagger sets"
        raise ConfigError(msg)
    x = histograms.thresholds
    abcd = config.fit.abcd
    inclusive = stats.inclusive_spectrum(next(iter(hists.values())))
    selected = {
        name: stats.selected_spectrum(h, x[name][bump.efficiency]) for name, h in hists.items()
    }
    result = SearchResult(
        before=hunt(inclusive, "before"),
        after={name: hunt(spectra, name) for name, spectra in selected.items()},
        scans={
            name: scanned(spectra, name)
            for name, spectra in (
                {"before": inclusive, **selected} if config.fit.scan.masses else {}
            ).items()
        },
        abcd={
            name: stats.abcd_in_window(
                h,
                x[name][abcd.efficiency],
                chosen.background_quantile,
                fit_range,
                (chosen.window.low, chosen.window.high),
                systematic_floor=abcd.systematic,
                closure_limit=abcd.closure_limit,
                seed=seeds.integer(config.seed, "fit", "abcd", name),
            )
            for name, h in hists.items()
        },
        provenance={
            **histograms.provenance,
            "fit_settings": config.fit.digest(),
            "seed": config.seed,
            "versions": {
                name: version(name) for name in ("tnt-coffea", "coffea", "fastjet", "pyhf", "numpy")
            },
        },
    )
    if stage is not None:
        result.save(stage.folder / "result.json")
        stage.finish({})
    return result


def report(
    result: SearchResult,
    path: str | Path,
    config: SearchConfig,
    histograms: Histograms,
    *,
    skim: Skim | None = None,
    taggers: Taggers | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Evaluation | None:
    """Write the HTML report with its plots, and return the evaluation against truth.

    Parameters
    ----------
    result
        Of `fit`.
    path
        The HTML file; plots and their data go to `plots` beside it.
    config
        The configuration, for the record.
    histograms
        Of `search`.
    skim, taggers
        With both, events and jets are shown and, where the labels are known, the taggers
        are evaluated. This is the only place where labels are read.
    seconds
        Stage times.
    """
    from tnt_coffea import reporting

    path = Path(path)
    views = reporting.EventViews()
    if skim is not None and taggers is not None:
        sample = skim.sample(truth=True)
        ranks = {name: tagger_set.ranks(sample) for name, tagger_set in taggers.sets.items()}
        scored = _scored(ranks)
        if not scored.all():  # folds that only train, in split and prequential mode
            sample = sample.select(scored)
            ranks = {name: found.select(scored) for name, found in ranks.items()}
        views = reporting.event_views(sample, ranks, histograms.thresholds, config.search)
    accounting = {"search": histograms.accounting.to_dict()}
    if skim is not None:
        accounting = {"skim": skim.accounting.to_dict(), **accounting}
    path.parent.mkdir(parents=True, exist_ok=True)
    reporting.write_report(
        path,
        reporting.ReportContents(
            result=result,
            config=config,
            hists=histograms.hists,
            thresholds=histograms.thresholds,
            views=views,
            histories=tuple(taggers.histories.items()) if taggers is not None else (),
            accounting=accounting,
            duplicates=None if skim is None else skim.duplicates,
            stage_seconds=seconds or {},
        ),
    )
    return views.evaluation


def generate_stage(config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `generate`, keyed by what decides its content."""
    inputs = {"settings": config.generate.model_dump(mode="json"), "seed": config.seed}
    return Stage("generate", Path(out) / "generate", inputs | {"pythia": _extra("pythia8mc")})


def skim_stage(
    fileset: Fileset, config: SearchConfig, out: str | Path, resources: Resources
) -> Stage:
    """Return the folder of `skim`, keyed by what decides its content."""
    inputs = {
        "settings": config.skim.model_dump(mode="json"),
        "files": fileset.content_hashes(),
        "on_error": resources.on_error.value,
    }
    return Stage("skim", Path(out) / "skim", inputs)


def train_stage(skim: Skim, config: SearchConfig, out: str | Path) -> Stage:
    """Return the folder of `train`, keyed by what decides its content."""
    inputs: dict[str, Any] = {
        "settings": config.train.model_dump(mode="json"),
        "window": config.search.window.model_dump(),
        "fit_range": config.search.fit_range.model_dump(),
        "efficiencies": list(config.search.efficiencies),
        "seed": config.seed,
        "skim": skim.content,
    }
    initial = config.train.tnt.initial
    if initial.kind is Initial.FILES:
        # A file of the same name may be another tagger.
        inputs["initial"] = [_sha256(path) for path in (initial.heavy, initial.light)]
    return Stage("train", Path(out) / "train", inputs)


def search_stage(
    source: Skim | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    out: str | Path,
    resources: Resources,
) -> Stage:
    """Return the folder of `search`, keyed by what decides its content."""
    scored: dict[str, Any] = (
        {"skim": source.content} if isinstance(source, Skim) else {"files": source.content_hashes()}
    )
    inputs = {
        "settings": config.search.model_dump(mode="json"),
        "skim_settings": config.skim.model_dump(mode="json"),
        "source": scored,
        "taggers": {name: tagger_set.digest for name, tagger_set in taggers.sets.items()},
        "quantiles": {n: s.quantiles and s.quantiles.sample for n, s in taggers.sets.items()},
        "on_error": resources.on_error.value,
    }
    return Stage("search", Path(out) / "search", inputs)


def stage_seconds(out: str | Path) -> dict[str, float]:
    """Return how long each complete stage in a search's folder took, in seconds."""
    return {
        name: Stage(name, Path(out) / name, {}).seconds()
        for name in STAGES
        if (Path(out) / name / "manifest.json").exists()
    }


def _done(stage: Stage, resources: Resources) -> bool:
    if resources.overwrite and not stage.matches():
        stage.clear()
    return stage.finished() is not None


def _begun(stage: Stage, config: SearchConfig) -> Path:
    parts = stage.begin()
    note_config(stage.folder.parent, config)  # for commands that go on in this folder
    return parts


def _generated(task_and_path: tuple[Any, str]) -> str:
    from tnt_coffea import generator

    task, path = task_and_path
    if not Path(path).exists():  # a block that an earlier, killed run has made
        generator.write_block(path, generator.generate_block(task))
    return path


def _scored(ranks: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    unscored = np.isnan([found.both for found in ranks.values()])
    return np.logical_not(unscored.any(axis=0))


def _tagger_sets(
    outcomes: Mapping[str, Sequence[Any]], config: SearchConfig
) -> tuple[Taggers, Taggers]:
    """Return the tagger sets of a search, and those of references."""
    from tnt_coffea.taggers import Member, Tagger, TaggerSet

    made: tuple[Taggers, Taggers] = (Taggers({}, {}), Taggers({}, {}))
    for name, members in outcomes.items():
        reference = any(item.uses_truth for item in members)
        kind = made[reference]
        places, histories = [], {}
        for item in members:
            number = f"-{item.member}" if item.member else ""
            label = f"{item.scope}-{item.scored}-{item.inner}{number}"
            tagger = Tagger.from_file(item.path, sha256=item.sha256)
            places.append(Member(tagger, item.scope, item.scored, label))
            where = f"{item.scope}/{item.scored}-{item.inner}{number}"
            histories[f"{name} {where}"] = item.history
        found = TaggerSet(name, config.train.folds, config.seed, tuple(places), reference=reference)
        changed = Taggers({**kind.sets, name: found}, {**kind.histories, **histories})
        made = (made[0], changed) if reference else (changed, made[1])
    return made


def _sha256(path: str) -> str:
    from tnt_coffea.taggers import Tagger

    return Tagger.from_file(path).sha256


def _extra(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingExtraError(package, "generate") from error
