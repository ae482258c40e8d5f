"""What a report shows of the events themselves, gathered in one pass over the sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tnt_coffea.config import SearchSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.anomalous_jets import JetImages, mean_images
from tnt_coffea.reporting.anomaly import most_anomalous
from tnt_coffea.reporting.correlations import ScoreCorrelations, score_correlations
from tnt_coffea.reporting.evaluation import Evaluation, evaluate
from tnt_coffea.reporting.mass_tau21 import COLUMNS, JetShapes, TrueShapes, jet_shapes, true_shapes
from tnt_coffea.reporting.single_events import AnomalousEvent, anomalous_events
from tnt_coffea.taggers import Ranks

__all__ = ["EventViews", "event_views"]


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
    evaluation: Evaluation | None = None
    true_shapes: TrueShapes | None = None
    events_are_signal: tuple[bool, ...] = ()


def event_views(
    sample: Sample,
    ranks: Mapping[str, Ranks],
    thresholds: Mapping[str, Mapping[float, Mapping[int, float]]],
    search: SearchSettings,
    references: Mapping[str, Ranks] | None = None,
) -> EventViews:
    """Return everything that a report shows of events.

    Parameters
    ----------
    sample
        Dijets, read with `truth=True` if an evaluation is wanted. Labels go into the
        evaluation and what is named true or signal, and nowhere else.
    ranks
        Out-of-fold quantiles by tagger set, at least one.
    thresholds
        X by tagger set, efficiency and fold; of references too.
    search
        The window and the fit range.
    references
        Quantiles by sets that were trained with the truth; they are evaluated, and nothing else.

    Raises
    ------
    TaggerError
        The ranks are not those of this sample, or a fold has no threshold.
    """
    window, fit_range = search.window, search.fit_range
    told = references or {}
    evaluation = evaluate(sample, {**ranks, **told}, thresholds, window, fit_range, tuple(told))
    shown = "tnt" if "tnt" in ranks else next(iter(ranks))
    correlations = {
        name: score_correlations(sample, found, window, fit_range)
        for name, found in ranks.items()
        # One score an event stands in both columns.
        if not np.array_equal(found.heavy, found.light)
    }
    in_fit = (sample.m_jj >= fit_range.low) & (sample.m_jj < fit_range.high)
    if not in_fit.any():
        return EventViews(shown=shown, evaluation=evaluation)
    seen, by = sample.select(in_fit), ranks[shown].select(in_fit)
    events, settings = anomalous_events(seen, by), sample.settings
    shapes = jet_shapes(seen, by) if set(COLUMNS) <= set(settings.of_jet) else None
    known = evaluation is not None
    signal = seen.label[most_anomalous(seen, by, len(events))] > 0
    return EventViews(
        shown=shown,
        correlations=correlations,
        images=None if settings.images is None else mean_images(seen, by),
        events=events,
        shapes=shapes,
        evaluation=evaluation,
        true_shapes=true_shapes(seen, by, shapes) if known and shapes is not None else None,
        events_are_signal=tuple(signal.tolist()) if known else (),
    )
