"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.views import EventViews
from tnt_coffea.results import SearchResult

__all__ = ["ReportContents"]


@dataclass(frozen=True, eq=False)
class ReportContents:
    """A search, ready to be written down.

    Attributes
    ----------
    result, config
        The tests, and the settings they were made with.
    hists
        Search histograms by tagger set, `hist.Hist`.
    thresholds
        X by tagger set, efficiency and fold.
    views
        What is shown of the events themselves; empty where they are not at hand.
    histories
        'kind/which' and history of every training, JSON values.
    accounting
        Where every event went, by stage: values of `accounting.Accounting.to_dict`.
    duplicates
        Dijets whose id an earlier one has; None where it is not known.
    stage_seconds
        Duration of every stage [s].
    """

    result: SearchResult
    config: SearchConfig
    hists: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[float, Mapping[int, float]]] = field(default_factory=dict)
    views: EventViews = field(default_factory=EventViews)
    histories: Sequence[tuple[str, Mapping[str, Any]]] = ()
    accounting: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    duplicates: int | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
