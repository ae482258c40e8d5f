"""The contents of a report: a search, and views of its events from one pass over the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tnt_coffea.config import SearchConfig, SearchSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.metrics import Metrics
from tnt_coffea.reporting.anomalous_jets import (
    AnomalousEvent,
    JetImages,
    anomalous_events,
    mean_images,
    most_anomalous,
)
from tnt_coffea.reporting.correlations import ScoreCorrelations, score_correlations
from tnt_coffea.reporting.evaluation import Evaluation, evaluate
from tnt_coffea.reporting.jet_planes import PLANES, JetPlanes, jet_planes
from tnt_coffea.reporting.mass_tau21 import COLUMNS, JetShapes, TrueShapes, jet_shapes, true_shapes
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import RetrainedLimit, ScanResult
from tnt_coffea.taggers import Ranks
from tnt_coffea.working_points import WorkingPoints

__all__ = ["EventViews", "ReportContents", "SearchedFiles", "event_views"]


@dataclass(frozen=True, eq=False)
class EventViews:
    """Views of the events in the fit range; those of single events are by one tagger set.

    Attributes
    ----------
    shown
        The set by which events are 'most anomalous'.
    correlations
        Of the two jets' scores, by tagger set; sets with one score an event have none.
    images, events, shapes
        Mean images; the most anomalous events; mass and tau21 of the most anomalous jets.
        None or empty where no event is in the fit range, or the skim lacks what they need.
    planes
        Both jets of the events in the signal region; None where the skim lacks tau32, for example.
    evaluation
        Against the truth; None where it is not known.
    true_shapes, events_are_signal
        The truth of `shapes` and of `events`; None and empty where it is not known.
    """

    shown: str = ""
    correlations: Mapping[str, ScoreCorrelations] = field(default_factory=dict)
    images: JetImages | None = None
    events: tuple[AnomalousEvent, ...] = ()
    shapes: JetShapes | None = None
    planes: JetPlanes | None = None
    evaluation: Evaluation | None = None
    true_shapes: TrueShapes | None = None
    events_are_signal: tuple[bool, ...] = ()


def event_views(
    sample: Sample,
    ranks: Mapping[str, Ranks],
    points: Mapping[str, WorkingPoints],
    search: SearchSettings,
    references: Mapping[str, Ranks] | None = None,
    knowledge: Mapping[str, str] | None = None,
) -> EventViews:
    """Return everything that a report shows of events.

    Parameters
    ----------
    sample
        Dijets, read with `truth=True` if an evaluation is wanted. Labels go into the
        evaluation and what is named true or signal, and nowhere else.
    ranks
        Out-of-fold quantiles by tagger set, at least one; events and jets are shown of the first.
    points
        Working points by tagger set; of references too.
    search
        The window and the fit range.
    references
        Quantiles by sets that were trained with the truth; they are evaluated, and nothing else.
    knowledge
        What the taggers of a set knew beside the data, by its name; `none` for those not named.

    Raises
    ------
    TaggerError
        The ranks are not those of this sample, or a working point lacks a fold.
    """
    window, fit_range = search.window, search.fit_range
    references = references or {}
    evaluation = evaluate(
        sample,
        {**ranks, **references},
        points,
        window,
        fit_range,
        tuple(references),
        knowledge,
    )
    shown = next(iter(ranks))
    correlations = {
        name: score_correlations(sample, set_ranks, window, fit_range)
        for name, set_ranks in ranks.items()
        # One score an event stands in both columns.
        if not np.array_equal(set_ranks.heavy, set_ranks.light)
    }
    in_fit = fit_range.contains(sample.mass)
    if not in_fit.any():
        return EventViews(shown=shown, evaluation=evaluation)
    settings = sample.settings
    sample, set_ranks = sample.select(in_fit), ranks[shown].select(in_fit)
    events = anomalous_events(sample, set_ranks)
    shapes = jet_shapes(sample, set_ranks) if set(COLUMNS) <= set(settings.of_jet) else None
    planes = None
    if set(PLANES) <= set(settings.of_jet):
        planes = jet_planes(sample, set_ranks, window)
    truth_known = evaluation is not None
    signal = sample.label[most_anomalous(sample, set_ranks, len(events))] > 0
    return EventViews(
        shown=shown,
        correlations=correlations,
        images=None if settings.images is None else mean_images(sample, set_ranks),
        events=events,
        shapes=shapes,
        planes=planes,
        evaluation=evaluation,
        true_shapes=true_shapes(sample, set_ranks, shapes) if truth_known and shapes else None,
        events_are_signal=tuple(signal.tolist()) if truth_known else (),
    )


@dataclass(frozen=True)
class SearchedFiles:
    """The files of one data set.

    Attributes
    ----------
    dataset, role
        Its name, and what it was there for.
    names
        Of the files, without their folders.
    size
        Of all files [bytes]; None where one is gone.
    sha256
        Of the file, or of the sorted hashes of several.
    """

    dataset: str
    role: str
    names: tuple[str, ...]
    size: int | None
    sha256: str


@dataclass(frozen=True, eq=False)
class ReportContents:
    """A search, as `write_report` takes it.

    Attributes
    ----------
    result, config
        The tests, and the settings they were made with.
    hists
        Search histograms by tagger set, `hist.Hist`.
    points
        Working points by tagger set.
    views
        Views of the events; empty where the skim is not available.
    histories
        'kind/which' and history of every training, JSON values.
    accounting
        Where every event went, by stage: values of `accounting.Accounting.to_dict`.
    duplicates
        Dijets with the id of an earlier one; None where it is not known.
    stage_seconds
        Duration of every stage [s].
    metrics
        What passes over events cost, by stage.
    files
        What was searched, and what methods learned from beside it.
    date
        When the fits were made, as text; empty where it is not known.
    generated
        Whether all data are simulated, by the generator of this package.
    warnings
        What the training said against the tagger sets, by their name.
    scans
        Local p-values over the mass that were made for the report, where the search has none.
    retrained
        Limits on stated signals, with taggers trained anew at each strength.
    """

    result: SearchResult
    config: SearchConfig
    hists: Mapping[str, Any] = field(default_factory=dict)
    points: Mapping[str, WorkingPoints] = field(default_factory=dict)
    views: EventViews = field(default_factory=EventViews)
    histories: Sequence[tuple[str, Mapping[str, Any]]] = ()
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    accounting: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    duplicates: int | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    files: Sequence[SearchedFiles] = ()
    date: str = ""
    generated: bool = False
    scans: Mapping[str, ScanResult] = field(default_factory=dict)
    retrained: Sequence[RetrainedLimit] = ()
