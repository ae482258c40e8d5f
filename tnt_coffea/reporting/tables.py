"""The tables of a report, as text: cutflows, events, costs, and taggers against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.metrics import STEPS, Metrics
from tnt_coffea.reporting.anomalous_jets import AnomalousEvent
from tnt_coffea.reporting.correlations import RankCorrelation, ScoreCorrelations
from tnt_coffea.reporting.evaluation import Evaluation, SelectionEvaluation
from tnt_coffea.reporting.figures_of_merit import TIGHT, Improvement
from tnt_coffea.reporting.wording import cut_text, duration, percent, selection_text
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.search_histogram import mass_bins, passing_bins, score_plane
from tnt_coffea.working_points import Selection, WorkingPoints

__all__ = [
    "EvaluationRow",
    "Step",
    "correlation_rows",
    "cutflow",
    "evaluation_rows",
    "event_rows",
    "fitted_rows",
    "metric_rows",
    "selection_flow",
    "weight_rows",
]

_EVENT_COLUMNS = {
    "mass": ("mass [GeV]", ".0f"),
    "tau21": ("τ21", ".2f"),
    "pt": ("pT [GeV]", ".0f"),
    "n_constituents": ("particles", ".0f"),
}

Range = tuple[float, float]


@dataclass(frozen=True)
class EvaluationRow:
    """One tagger set against the truth as rows of a table.

    Attributes
    ----------
    name
        The set's name for readers.
    aucs
        AUC with uncertainty as text by 'heavy jet', 'light jet', 'both jets'.
    merits
        What the taggers knew beside the data; largest eps_S / sqrt(eps_B) in the window with its
        eps_B, and that at eps_B = 0.1 %.
    points
        For every working point: share kept, S and B in the window before and after, S / B
        before and after, eps_S, eps_B, eps_S / sqrt(eps_B) with uncertainty; as text.
    """

    name: str
    aucs: Mapping[str, str]
    merits: Mapping[str, str]
    points: tuple[Mapping[str, str], ...]


def evaluation_rows(evaluation: Evaluation | None) -> list[EvaluationRow]:
    """Return every tagger set against the truth as text; none where there is no truth."""
    if evaluation is None:
        return []
    names = {"heavy": "heavy jet", "light": "light jet", "both": "both jets"}
    return [
        EvaluationRow(
            name=evaluation.shown(name),
            aucs={
                shown: f"{roc.auc:.3f} ± {roc.auc_uncertainty:.3f}"
                for shown, roc in ((names[jet], tagger_set.rocs[jet]) for jet in names)
            },
            merits={
                "simulation used": evaluation.known(name),
                "max SIC": _improvement_text(tagger_set.max_sic),
                "at ε_B": _efficiency_text(tagger_set.max_sic),
                f"SIC at ε_B = {percent(TIGHT)}": _improvement_text(tagger_set.sic_at_tight),
            },
            points=tuple(map(_point_texts, tagger_set.working_points)),
        )
        for name, tagger_set in evaluation.sets.items()
    ]


def _improvement_text(found: Improvement) -> str:
    if found.value is None:
        return "-"
    return f"{found.value:.2f}" + (f" ± {found.uncertainty:.2f}" if found.uncertainty else "")


def _efficiency_text(found: Improvement) -> str:
    return "-" if found.value is None else percent(found.efficiency)


def fitted_rows(
    result: SearchResult, evaluation: Evaluation | None, selection: Selection
) -> list[dict[str, str]]:
    """Return the fitted signal of every bump hunt beside the true one; none without truth.

    Parameters
    ----------
    result
        The search.
    evaluation
        Against the truth.
    selection
        Whose spectra were fitted.
    """
    if evaluation is None:
        return []
    true = {"all dijets": (result.before, evaluation.signal, "1")}
    for name, hunt in result.after.items():
        for point in evaluation.sets[name].working_points if name in evaluation.sets else ():
            if point.selection == selection:
                gain = _point_texts(point)["improvement"]
                true[f"selected by {name}"] = (hunt, point.signal_in_fit_range, gain)
    z = result.before.z
    return [
        {
            "spectrum": name,
            "fitted signal": f"{hunt.mu_hat:.0f} ± {hunt.mu_uncertainty:.0f}",
            "true signal": f"{signal:,.0f}",
            "Z": f"{hunt.z:.2f}",
            "Z / Z of all dijets": f"{hunt.z / z:.2f}" if z > 0 else "-",
            "ε_S/√ε_B": gain,
        }
        for name, (hunt, signal, gain) in true.items()
    ]


def correlation_rows(correlations: Mapping[str, ScoreCorrelations]) -> list[dict[str, str]]:
    """Return Spearman's coefficients as text: `taggers`, and one column a region."""
    return [
        {"taggers": name} | {r.region: _correlation_text(r) for r in correlation.regions}
        for name, correlation in correlations.items()
    ]


def event_rows(events: Iterable[AnomalousEvent]) -> list[dict[str, str]]:
    """Return the most anomalous events as text, one row each; 'a / b' is heavy / light jet."""

    def both(event: AnomalousEvent, name: str) -> str:
        values = [jet.observables[name] for jet in event.jets.values()]
        return " / ".join(f"{value:{_EVENT_COLUMNS[name][1]}}" for value in values)

    return [
        {
            "#": f"{number}",
            "m_jj [GeV]": f"{event.m_jj:.0f}",
            **{
                shown: both(event, name)
                for name, (shown, _) in _EVENT_COLUMNS.items()
                if name in event.jets["heavy"].observables
            },
            "quantile": " / ".join(f"{jet.quantile:.4f}" for jet in event.jets.values()),
            "fold": f"{event.fold}",
            **(
                {":".join(event.numbers): ":".join(map(str, event.numbers.values()))}
                if event.numbers
                else {}
            ),
            "event id": event.event_id,
        }
        for number, event in enumerate(events, start=1)
    ]


@dataclass(frozen=True)
class Step:
    """The events after a cut.

    Attributes
    ----------
    cut
        Its name.
    events
        How many pass it and all before it; weighted where a histogram is counted.
    of_previous, of_all
        Shares; None where there was nothing before.
    """

    cut: str
    events: float
    of_previous: float | None
    of_all: float | None


def metric_rows(metrics: Mapping[str, Metrics]) -> tuple[list[str], list[list[str]]]:
    """Return what passes cost, as text: the heads of the columns, and a row a stage."""
    steps = [step for step in STEPS if any(step in one.steps for one in metrics.values())]
    heads = ["stage", "work items", "events", "read [MB]", "time", "events/s", *steps]
    rows = [
        [
            stage,
            f"{one.items}" + (f" ({one.kept} kept)" if one.kept else ""),
            f"{one.events}",
            "" if one.bytes_read is None else f"{one.bytes_read / 1e6:.1f}",
            duration(one.seconds),
            one.rate,
            *(percent(one.share(step)) if step in one.steps else "" for step in steps),
        ]
        for stage, one in metrics.items()
    ]
    return heads, rows


def cutflow(account: Accounting) -> tuple[Step, ...]:
    """Return a pass as steps: all events, those that could be read, those after each cut."""
    left = account.events
    counts = [("events read", left)]
    if account.n_lost:
        left -= account.n_lost
        counts.append(("could be read", left))
    for cut, n in account.rejected.items():
        left -= n
        counts.append((cut_text(cut), left))
    return _steps([*counts, ("selected", account.selected)])


def selection_flow(
    histogram: Any,
    points: WorkingPoints,
    fit_range: Range,
    window: Range,
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the events that selections by a tagger set keep in the fit range and in the window.

    Parameters
    ----------
    histogram
        As `SearchProcessor` fills it.
    points
        Working points. Those that are shares of events are nested: a smaller one keeps part of
        a larger. Pairs of cuts stand beside them.
    fit_range, window
        Ranges in mass [GeV], edges of the histogram's axis.

    Raises
    ------
    FitError
        The histogram lacks an axis or an edge.
    """
    plane = score_plane(histogram)

    def flow(mass_range: Range) -> tuple[Step, ...]:
        bins = mass_bins(plane, mass_range)
        whole = ("no selection", float(plane.counts[:, bins].sum()))
        counts: dict[Selection, tuple[str, float]] = {}
        for point in points:
            kept = 0.0
            for index, fold in enumerate(plane.folds):
                heavy, light = passing_bins(plane, point, fold)
                kept += float(plane.counts[index, bins, heavy:, light:].sum())
            counts[point.selection] = (f"{selection_text(point.selection)} selection", kept)
        nested = _steps([whole, *(counts.pop(share) for share in points.efficiencies)])
        return (*nested, *(_steps([whole, count])[1] for count in counts.values()))

    return flow(fit_range), flow(window)


def _steps(counts: list[tuple[str, Any]]) -> tuple[Step, ...]:
    first = counts[0][1]
    before = [None, *(events for _, events in counts[:-1])]
    return tuple(
        Step(
            cut=cut,
            events=events,
            of_previous=events / previous if previous else None,
            of_all=events / first if first else None,
        )
        for (cut, events), previous in zip(counts, before, strict=True)
    )


def _correlation_text(correlation: RankCorrelation) -> str:
    if correlation.coefficient is None:
        return "-"
    return f"{correlation.coefficient:+.3f} ± {correlation.uncertainty:.3f}"


def _point_texts(point: SelectionEvaluation) -> dict[str, str]:
    def ratio(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    improvement = ratio(point.improvement)
    if point.improvement_uncertainty is not None:
        improvement = f"{point.improvement:.2f} ± {point.improvement_uncertainty:.2f}"
    return {
        "kept": selection_text(point.selection),
        "before": f"{point.signal_before:,.0f} / {point.background_before:,.0f}",
        "after": f"{point.signal_after:,.0f} / {point.background_after:,.0f}",
        "purity_before": ratio(point.purity_before),
        "purity_after": ratio(point.purity_after),
        "eps_signal": f"{point.eps_signal:.3f}",
        "eps_background": f"{point.eps_background:.4f}",
        "improvement": improvement,
    }


def weight_rows(
    histories: Sequence[tuple[str, Mapping[str, Any]]],
) -> list[dict[str, str]]:
    """Return how the weights of simulation are distributed, a row a set: least to largest.

    Parameters
    ----------
    histories
        Name and history of every training; those of weights have `weight_effective`.
    """
    by_set: dict[str, list[Mapping[str, Any]]] = {}
    for name, history in histories:
        if "weight_effective" in history:
            by_set.setdefault(name.partition(" ")[0], []).append(history)
    columns = {
        "smallest": "weight_least",
        "99.9 %": "weight_high",
        "largest": "weight_largest",
        "effective": "weight_effective",
        "in the top 1 %": "weight_top",
        "AUC before": "closure_auc_before",
        "AUC after": "closure_auc_after",
    }
    rows = []
    for name, found in by_set.items():
        row = {"weights": name, "trainings": str(len(found))}
        for title, key in columns.items():
            values = [float(one[key]) for one in found if key in one]
            low, high = (f"{each(values):.3g}" if values else "-" for each in (min, max))
            row[title] = low if low == high else f"{low} to {high}"
        rows.append(row)
    return rows
