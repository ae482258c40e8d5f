"""The stage `report`: plots, HTML, and the evaluation against truth."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import FitError
from tnt_coffea.events.roles import DATA
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.fit_settings import spectrum_fit
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    earlier_seconds,
    one_writer,
    report_stage,
    stage_metrics,
)
from tnt_coffea.pipeline.retrained_limits import limits_of_search
from tnt_coffea.products import Histograms, Skim, Taggers, as_skim
from tnt_coffea.results import SearchResult
from tnt_coffea.storage import written
from tnt_coffea.typing import BoolArray

if TYPE_CHECKING:
    from tnt_coffea.reporting import Evaluation

__all__ = ["accounting_of", "noted_facts", "references_beside", "report", "report_once"]

_MOST_MASSES = 25
_SECONDS_A_FIT, _LONGEST_SCAN = 0.02, 60.0
"""What a mass takes by channel, and what a scan that nobody asked for may take."""


def report(
    result: SearchResult,
    path: str | Path,
    config: SearchConfig,
    histograms: Histograms,
    *,
    skim: Skim | Sample | None = None,
    taggers: Taggers | None = None,
    references: Taggers | None = None,
    seconds: Mapping[str, float] | None = None,
    folder: str | Path | None = None,
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
    references
        Of `references_beside`: they are evaluated beside the others and marked.
    seconds
        Stage times.
    folder
        Of the search: the report names the files in its notes, and the day of the fits.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import tnt_coffea as tnt
    >>> from tnt_coffea import SearchConfig, testing
    >>> text = "{train: {methods: {mass: {kind: feature}}}, fit: {limit: {enabled: false}}}"
    >>> config, sample = SearchConfig.from_text(text), testing.make_sample(2000)
    >>> with TemporaryDirectory() as out:
    ...     histograms = tnt.search(sample, tnt.train(sample, config, out=out), config, out=out)
    ...     page = Path(out, "report.html")
    ...     _ = report(tnt.fit(histograms, config), page, config, histograms)
    ...     page.exists()
    True
    """
    from tnt_coffea import reporting

    check_types(
        result=(result, SearchResult),
        config=(config, SearchConfig),
        histograms=(histograms, Histograms, NoneType),
        skim=(skim, Skim, Sample, NoneType),
        taggers=(taggers, Taggers, NoneType),
        references=(references, Taggers, NoneType),
    )
    path, skim = Path(path), None if skim is None else as_skim(skim)
    views = reporting.EventViews()
    if skim is not None and taggers is not None:
        sample = skim.sample(truth=True, numbers=True).with_variable(config.search.variable)
        told = Taggers({}, {}) if references is None else references
        sets = {**taggers.sets, **told.sets}
        ranks = {name: tagger_set.ranks(sample) for name, tagger_set in sets.items()}
        main = reporting.main_set(taggers.sets, config)
        scored = _scored(ranks)
        if not scored.all():  # folds that only train
            sample = sample.select(scored)
            ranks = {name: found.select(scored) for name, found in ranks.items()}
        views = reporting.event_views(
            sample,
            {name: ranks[name] for name in (main, *taggers.sets)},
            {**histograms.points, **told.working_points()},
            config.search,
            {name: ranks[name] for name in told.sets},
            {name: tagger_set.knowledge for name, tagger_set in sets.items()},
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    reporting.write_report(
        path,
        reporting.ReportContents(
            result=result,
            config=config,
            hists=histograms.hists,
            points=histograms.points,
            views=views,
            histories=tuple(taggers.histories.items()) if taggers is not None else (),
            accounting=accounting_of(histograms, skim),
            warnings={} if taggers is None else taggers.warnings,
            duplicates=None if skim is None else skim.duplicates,
            stage_seconds=seconds or {},
            **noted_facts(folder),
            retrained=_retrained(folder, histograms, config),
            scans={} if result.scans else _scans(result, histograms, config),
        ),
    )
    return views.evaluation


def accounting_of(histograms: Histograms, skim: Skim | None) -> dict[str, dict[str, Any]]:
    """Return where every event went, by stage and kind of events: values of `to_dict`."""
    every = {
        "skim": None if skim is None else skim.accounting,
        "search": histograms.accounting,
        "search of simulation": histograms.simulation_accounting,
        "simulated signals": histograms.signal_accounting,
    }
    return {name: own.to_dict() for name, own in every.items() if own is not None}


def _retrained(
    folder: str | Path | None, histograms: Histograms, config: SearchConfig
) -> tuple[stats.RetrainedLimit, ...]:
    """Return the limits with retraining that stand in a search's folder."""
    return () if folder is None else limits_of_search(folder, histograms, config)


def noted_facts(folder: str | Path | None) -> dict[str, Any]:
    """Return what a search's folder says of its files and dates: fields of `ReportContents`."""
    from tnt_coffea.reporting import SearchedFiles

    out = Path() if folder is None else Path(folder)
    result, names, manifest = (
        out / name for name in ("fit/result.json", "files.json", "skim/manifest.json")
    )
    found: dict[str, Any] = {}
    if folder is None or not result.exists():
        return found
    made = datetime.fromtimestamp(result.stat().st_mtime, UTC)
    found["metrics"] = stage_metrics(out)
    found["date"] = made.strftime("%Y-%m-%d %H:%M UTC")
    try:
        files = json.loads(names.read_text())["files"]
        inputs = json.loads(manifest.read_text())["inputs"]
        found["files"] = [
            SearchedFiles(
                dataset,
                inputs["roles"][dataset],
                tuple(Path(path).name for path in files[dataset]),
                _size(files[dataset]),
                hashes[0]
                if len(hashes) == 1
                else hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
            )
            for dataset, hashes in inputs["files"].items()
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return found  # a folder that was put together by hand has no such notes
    own = (out / "generate").resolve()
    found["generated"] = all(
        own in Path(path).resolve().parents
        for dataset, role in inputs["roles"].items()
        for path in files[dataset]
        if role == DATA
    )
    return found


def _size(paths: Sequence[str]) -> int | None:
    try:
        return sum(Path(path).stat().st_size for path in paths)
    except OSError:
        return None


def _scans(
    result: SearchResult, histograms: Histograms, config: SearchConfig
) -> dict[str, stats.ScanResult]:
    """Return local p-values over the mass, or nothing where they would take longer than a minute.

    The masses are those that all spectra have sidebands for, the mass of the search among them.
    """
    from tnt_coffea.reporting.mass_figures import last_seen

    before = result.before
    low, high = before.fit_range[0], last_seen(before, config.search.window.edges)
    step = max(before.width, (high - low) / _MOST_MASSES)
    first, last = (
        math.ceil((low + 3 * before.width - before.mass) / step),
        math.floor((high - 3 * before.width - before.mass) / step),
    )
    masses = [round(before.mass + i * step, 3) for i in range(first, last + 1)]
    spectra = {"before": before, **result.after}
    fits = len(masses) * sum(len(hunt.channels) for hunt in spectra.values())
    if not masses or not histograms.hists or fits * _SECONDS_A_FIT > _LONGEST_SCAN:
        return {}
    found = {}
    for name, hunt in spectra.items():
        if name == "before":
            channels = stats.inclusive_spectrum(next(iter(histograms.hists.values())))
        elif name in histograms.hists:
            point = histograms.points[name][config.fit.bump.selection]
            channels = stats.selected_spectrum(histograms.hists[name], point)
        else:
            continue
        try:
            found[name] = stats.scan(
                {name: channels},
                masses=masses,
                width=hunt.width,
                fit=replace(spectrum_fit(config, with_signal=False), range=hunt.fit_range),
                toys=0,
            )
        except FitError:
            continue  # the result says what is wrong with this spectrum
    return found


@one_writer
def report_once(
    result: SearchResult,
    config: SearchConfig,
    histograms: Histograms,
    *,
    out: str | Path = OUT,
    skim: Skim | None = None,
    taggers: Taggers | None = None,
    references: Taggers | None = None,
    resources: Resources | None = None,
) -> tuple[Path, Evaluation | None]:
    """Write the report of a search into its folder, unless the very same stands there.

    Parameters
    ----------
    result, config, histograms, skim, taggers, references
        As for `report`.
    out
        Folder of the search; the report goes to `report/report.html`.
    resources
        Whether it is announced.

    Returns
    -------
    The HTML file, and the evaluation against truth where it is known.
    """
    sets = [one for one in (taggers, references) if one is not None]
    retrained = [one.to_dict() for one in _retrained(out, histograms, config)]
    stage = report_stage(
        result, config, histograms, out, skim=skim, taggers=sets, retrained=retrained
    )
    path, noted = stage.folder / "report.html", stage.folder / "evaluation.json"
    form: TypeAdapter[Evaluation | None] = _evaluation()
    if stage.matches() and stage.finished() is not None:
        with suppress(OSError, ValidationError):  # somebody tidied up: it is drawn again
            if path.exists():
                return path, form.validate_json(noted.read_bytes())
    stage.clear()
    begun(stage, config)
    with (resources or Resources()).announced("Drawing the report"):
        evaluation = report(
            result,
            path,
            config,
            histograms,
            skim=skim,
            taggers=taggers,
            references=references,
            seconds=earlier_seconds(out),
            folder=out,
        )
    with written(noted) as partial:
        partial.write_bytes(form.dump_json(evaluation))
    stage.finish({})
    return path, evaluation


def _evaluation() -> TypeAdapter[Evaluation | None]:
    from tnt_coffea.reporting import Evaluation

    return TypeAdapter(Evaluation | None)


def references_beside(folder: str | Path) -> Taggers | None:
    """Return the sets beside a search's taggers that were trained with the truth, if any.

    Parameters
    ----------
    folder
        Of the stage `train`.

    Raises
    ------
    TaggerError
        One of them is damaged.
    """
    found = Path(folder) / "references"
    return Taggers.load(found) if any(found.glob("*/set.json")) else None


def _scored(ranks: Mapping[str, Any]) -> BoolArray:
    unscored = np.isnan([found.both for found in ranks.values()])
    return np.logical_not(unscored.any(axis=0))
