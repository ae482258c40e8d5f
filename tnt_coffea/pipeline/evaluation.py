"""The stage `report`: plots, HTML, and the evaluation against truth."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tnt_coffea.config import SearchConfig
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import OUT, begun, earlier_seconds, one_writer, report_stage
from tnt_coffea.products import Histograms, Skim, Taggers, as_skim
from tnt_coffea.results import SearchResult
from tnt_coffea.storage import written
from tnt_coffea.typing import BoolArray

if TYPE_CHECKING:
    from tnt_coffea.reporting import Evaluation

__all__ = ["references_beside", "report", "report_once"]


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
        histograms=(histograms, Histograms),
        skim=(skim, Skim, Sample),
        taggers=(taggers, Taggers),
        references=(references, Taggers),
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
        if not scored.all():  # folds that only train, in split and prequential mode
            sample = sample.select(scored)
            ranks = {name: found.select(scored) for name, found in ranks.items()}
        views = reporting.event_views(
            sample,
            {name: ranks[name] for name in (main, *taggers.sets)},
            {**histograms.points, **told.working_points()},
            config.search,
            {name: ranks[name] for name in told.sets},
        )
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
            points=histograms.points,
            views=views,
            histories=tuple(taggers.histories.items()) if taggers is not None else (),
            accounting=accounting,
            duplicates=None if skim is None else skim.duplicates,
            stage_seconds=seconds or {},
        ),
    )
    return views.evaluation


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
    stage = report_stage(result, config, histograms, out, skim=skim, taggers=sets)
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
