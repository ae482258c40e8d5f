"""The tables of a report, as text: tests, limits, cutflows, and taggers against the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import SearchConfig
from tnt_coffea.metrics import STEPS, Metrics
from tnt_coffea.reporting.anomalous_jets import AnomalousEvent
from tnt_coffea.reporting.correlations import RankCorrelation, ScoreCorrelations
from tnt_coffea.reporting.evaluation import Evaluation, SelectionEvaluation
from tnt_coffea.reporting.figures_of_merit import TIGHT, Improvement
from tnt_coffea.reporting.wording import cut_text, duration, p_text, percent, selection_text
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.abcd_results import AbcdLimit, AbcdRefusal, AbcdResult
from tnt_coffea.stats.direct_results import DirectEstimate, DirectLimit, DirectRefusal
from tnt_coffea.stats.impact_results import ImpactRefusal, NuisanceImpact
from tnt_coffea.stats.limit_results import LimitRefusal, LimitResult
from tnt_coffea.stats.results import BumpHuntResult, FitRefusal
from tnt_coffea.stats.search_histogram import mass_bins, passing_bins, score_plane
from tnt_coffea.stats.transfer_results import TransferEstimate, TransferLimit, TransferRefusal
from tnt_coffea.stats.window_results import WindowTests
from tnt_coffea.working_points import Selection, WorkingPoints

__all__ = [
    "EvaluationRow",
    "LimitRow",
    "Step",
    "Summary",
    "SummaryRow",
    "correlation_rows",
    "cutflow",
    "evaluation_rows",
    "event_rows",
    "fitted_rows",
    "limit_rows",
    "metric_rows",
    "selection_flow",
    "summary",
]

_EVENT_COLUMNS = {
    "mass": ("mass [GeV]", ".0f"),
    "tau21": ("τ21", ".2f"),
    "pt": ("pT [GeV]", ".0f"),
    "n_constituents": ("particles", ".0f"),
}

NOT_CONVERGED = ", not converged"
"""What stands behind the number of a fit in trouble; its notes have the reason."""

Range = tuple[float, float]

AnyLimit = LimitResult | AbcdLimit | DirectLimit | TransferLimit | LimitRefusal


@dataclass(frozen=True)
class LimitRow:
    """One upper limit, in one unit, as a row of a table.

    Attributes
    ----------
    selection
        The tagger set.
    kept
        Share of events selected.
    observed, expected
        Upper limit on the signal, and what background alone would give, with the range
        that it has in 68 % of cases; a dash where it was refused, and "not converged" behind a
        number that did not.
    unit
        'events' selected, or 'fb' produced.
    calibration
        How it was calibrated, or 'refused'.
    notes
        Numbers of what must be known before quoting it.
    knowledge
        What the taggers knew beside the data; empty without taggers.
    """

    selection: str
    kept: str
    observed: str
    expected: str
    unit: str
    calibration: str
    notes: tuple[int, ...]
    knowledge: str = ""


def limit_rows(
    name: str, kept: str, limit: AnyLimit, notes: list[str], knowledge: str = ""
) -> Iterator[LimitRow]:
    """Yield a limit as rows, one a unit.

    Parameters
    ----------
    name
        Of the tagger set, and its test where that is another than the bump hunt; 'before' is the
        spectrum of all dijets.
    kept
        Share of events that a set selects.
    limit
        The limit.
    notes
        All notes of a table, to which its own are added.
    knowledge
        What the taggers knew beside the data.
    """
    selection, kept = ("none", "100 %") if name == "before" else (name, kept)
    texts = (limit.reason,) if isinstance(limit, LimitRefusal) else getattr(limit, "notes", ())
    numbers = tuple(range(len(notes) + 1, len(notes) + 1 + len(texts)))
    notes += [f"limit, {selection}: {text}" for text in texts]
    if isinstance(limit, LimitRefusal):
        yield LimitRow(selection, kept, "-", "-", "events", "refused", numbers, knowledge)
        return
    toys = getattr(limit, "toys", 0)
    kind = f"{toys} toys" if toys else limit.calibration
    values = [("events", limit.observed, limit.expected)]
    if (
        isinstance(limit, LimitResult)
        and limit.observed_cross_section is not None
        and limit.expected_cross_section is not None
    ):
        values.append(("fb", limit.observed_cross_section, limit.expected_cross_section))
    for unit, observed, expected in values:
        band = f"{expected[2]:.3g} ({expected[1]:.3g} to {expected[3]:.3g})"
        seen = f"{observed:.3g}{'' if limit.converged else NOT_CONVERGED}"
        yield LimitRow(selection, kept, seen, band, unit, kind, numbers, knowledge)


@dataclass(frozen=True)
class SummaryRow:
    """One test as a row of a table.

    Attributes
    ----------
    test
        'bump hunt', 'ABCD', 'direct estimate', 'transfer factor' or 'window test'.
    selection
        By which taggers.
    kept
        Share of events selected (bump hunt) or passing (ABCD).
    z, p_value, signal
        As text; a dash where the test was refused. Z of a fit in trouble says "not converged".
    calibration
        How the p-value was calibrated, or 'refused'.
    notes
        Numbers, from 1, of what must be known before quoting it, in `Summary.notes`.
    knowledge
        What the taggers knew beside the data; empty without taggers.
    """

    test: str
    selection: str
    kept: str
    z: str
    p_value: str
    signal: str
    calibration: str
    notes: tuple[int, ...]
    knowledge: str = ""


@dataclass(frozen=True)
class Summary:
    """Every test of a search as rows, and the notes they refer to, each once.

    Attributes
    ----------
    rows
        In the order: before, after, ABCD, direct estimate, transfer factor, window tests.
    notes
        Texts; the first is number 1.
    limits
        Upper limits, if they were set.
    """

    rows: tuple[SummaryRow, ...]
    notes: tuple[str, ...]
    limits: tuple[LimitRow, ...] = ()


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


def summary(result: SearchResult, config: SearchConfig | None = None) -> Summary:
    """Return every test of a search as a row.

    Parameters
    ----------
    result
        The search.
    config
        Where the shares of events kept are named from, if given.
    """
    notes: list[str] = []
    kept = "" if config is None else selection_text(config.fit.bump.selection)
    passed = "" if config is None else selection_text(config.fit.abcd.selection)
    counted = "" if config is None else selection_text(config.fit.direct_selection)
    transferred = "" if config is None else selection_text(config.fit.transfer_selection)
    shares = {"ABCD": passed, "direct estimate": counted, "transfer factor": transferred}
    rows = [
        _bump_row("none", "100 %", result.before, result.impacts.get("before"), notes),
        *(
            replace(
                _bump_row(name, kept, test, result.impacts.get(name), notes),
                knowledge=result.knowledge(name),
            )
            for name, test in result.after.items()
        ),
        *(
            replace(_abcd_row(name, passed, test, notes), knowledge=result.knowledge(name))
            for name, test in result.abcd.items()
        ),
        *(
            replace(_direct_row(name, counted, one, notes), knowledge=result.knowledge(name))
            for name, one in result.direct.items()
        ),
        *(
            replace(_transfer_row(name, transferred, one, notes), knowledge=result.knowledge(name))
            for name, one in result.transfer.items()
        ),
        *(
            replace(row, knowledge=result.knowledge(row.selection))
            for name, tests in result.window.items()
            for row in _window_rows(name, tests, notes)
        ),
        *(
            replace(
                _refused_row(refusal, shares.get(refusal.test, kept), notes),
                knowledge=result.knowledge(refusal.selection),
            )
            for refusal in result.refusals
        ),
    ]
    limits = [
        row
        for name, limit in result.limits.items()
        for row in limit_rows(name, kept, limit, notes, result.knowledge(name))
    ] + [
        row
        for name, test in result.abcd.items()
        if isinstance(test, AbcdResult) and test.limit is not None
        for row in limit_rows(f"{name}, ABCD", passed, test.limit, notes, result.knowledge(name))
    ]
    limits += [
        row
        for name, one in result.direct.items()
        if isinstance(one, DirectEstimate) and one.limit is not None
        for row in limit_rows(f"{name}, direct", counted, one.limit, notes, result.knowledge(name))
    ]
    limits += [
        row
        for name, found in result.transfer.items()
        if isinstance(found, TransferEstimate) and found.limit is not None
        for row in limit_rows(
            f"{name}, transfer", transferred, found.limit, notes, result.knowledge(name)
        )
    ]
    return Summary(tuple(rows), tuple(notes), tuple(limits))


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


def _bump_row(
    selection: str,
    kept: str,
    hunt: BumpHuntResult,
    impacts: Sequence[NuisanceImpact] | ImpactRefusal | None,
    notes: list[str],
) -> SummaryRow:
    digits = 0 if hunt.mu_uncertainty >= 10 else 1
    texts = list(hunt.notes)
    if isinstance(impacts, ImpactRefusal):
        texts.append(f"no impacts on the signal, {selection}: {impacts.reason}")
    return SummaryRow(
        test="bump hunt",
        selection=selection,
        kept=kept,
        z=f"{hunt.z:.2f}{'' if hunt.converged else NOT_CONVERGED}",
        p_value=p_text(hunt.p_value),
        signal=f"{hunt.mu_hat:.{digits}f} ± {hunt.mu_uncertainty:.{digits}f}",
        calibration=_calibration(hunt),
        notes=_numbered(texts, notes),
    )


def _refused_row(refusal: FitRefusal, kept: str, notes: list[str]) -> SummaryRow:
    why = _numbered((f"{refusal.test}, {refusal.selection}: {refusal.reason}",), notes)
    selection, kept = (
        ("none", "100 %") if refusal.selection == "before" else (refusal.selection, kept)
    )
    return SummaryRow(refusal.test, selection, kept, "-", "-", "-", "refused", why)


def _abcd_row(
    selection: str, kept: str, estimate: AbcdResult | AbcdRefusal, notes: list[str]
) -> SummaryRow:
    if isinstance(estimate, AbcdRefusal):
        return _no_estimate("ABCD", selection, kept, estimate.reason, notes)
    counting = (
        f"{estimate.a:g} events seen, {estimate.expected:.1f} expected "
        f"± {percent(estimate.systematic)}; Z of the paper's equation 4.1: {estimate.z_paper:.2f}"
    )
    spread = _abcd_uncertainty(estimate)
    return _estimate_row("ABCD", selection, kept, estimate, counting, spread, notes)


def _direct_row(
    selection: str, kept: str, estimate: DirectEstimate | DirectRefusal, notes: list[str]
) -> SummaryRow:
    if isinstance(estimate, DirectRefusal):
        return _no_estimate("direct estimate", selection, kept, estimate.reason, notes)
    made, other = "simulated", f"members {estimate.member_spread:.1f}"
    if estimate.template:
        made, other = "synthetic", f"events in the window {percent(estimate.normalisation)}"
    counting = (
        f"{estimate.observed:g} events seen, "
        f"{estimate.predicted:.1f} ± {estimate.uncertainty:.1f} predicted by "
        f"{estimate.simulated:g} {made} ones worth {estimate.effective:.0f} "
        f"(statistics {estimate.statistical:.1f}, {other}, "
        f"closure {percent(estimate.systematic)})"
    )
    spread = math.hypot(math.sqrt(estimate.observed * estimate.scale), estimate.uncertainty)
    return _estimate_row("direct estimate", selection, kept, estimate, counting, spread, notes)


def _transfer_row(
    selection: str, kept: str, estimate: TransferEstimate | TransferRefusal, notes: list[str]
) -> SummaryRow:
    if isinstance(estimate, TransferRefusal):
        return _no_estimate("transfer factor", selection, kept, estimate.reason, notes)
    low, high = estimate.window
    counting = (
        f"{estimate.observed:g} events pass in {low:g}-{high:g} "
        f"GeV, {estimate.predicted:.1f} ± {estimate.uncertainty:.1f} predicted by a ratio to "
        f"{estimate.denominator} of order {estimate.order} (goodness of fit p = "
        f"{p_text(estimate.goodness_of_fit)}); in two steps, as published, "
        f"Z = {estimate.two_step.z:.2f}"
    )
    spread = estimate.mu_uncertainty
    return _estimate_row("transfer factor", selection, kept, estimate, counting, spread, notes)


def _window_rows(method: str, tests: WindowTests, notes: list[str]) -> Iterator[SummaryRow]:
    """Yield the most significant window of a method at every selection."""
    number = len(tests.windows)
    for selection in tests.selections:
        test = tests.best(selection)
        found = test.result
        low, high = found.window
        several = f", the smallest of {number} windows'" if number > 1 else ""
        counted = (
            f"window test of {test.taggers}, {low:g}-{high:g} GeV"
            f"{'' if selection is None else f', {selection_text(selection)}'}: "
            f"{found.observed:g} events seen, {found.expected:.1f} ± {found.uncertainty:.1f} "
            f"expected from a fit beside them (goodness of fit p = "
            f"{p_text(found.goodness_of_fit)}); the p-value is local{several}, by likelihood "
            f"{p_text(found.p_value)}"
        )
        yield SummaryRow(
            test="window test",
            selection="none" if selection is None else test.taggers,
            kept="100 %" if selection is None else selection_text(selection),
            z=f"{test.z:.2f}{'' if found.converged else NOT_CONVERGED}",
            p_value=p_text(found.p_poisson),
            signal=f"{found.observed - found.expected:.1f} ± "
            f"{math.hypot(math.sqrt(found.observed), found.uncertainty):.1f}",
            calibration="Poisson",
            notes=_numbered((counted, *found.notes), notes),
        )


def _no_estimate(test: str, selection: str, kept: str, reason: str, notes: list[str]) -> SummaryRow:
    why = _numbered((f"{test} with {selection}: {reason}",), notes)
    return SummaryRow(test, selection, kept, "-", "-", "-", "refused", why)


def _estimate_row(
    test: str,
    selection: str,
    kept: str,
    estimate: AbcdResult | DirectEstimate | TransferEstimate,
    counting: str,
    uncertainty: float,
    notes: list[str],
) -> SummaryRow:
    """Return the row of an estimate, whose first note says what was counted."""
    found = (f"{test} with {selection}: {counting}", *estimate.notes)
    return SummaryRow(
        test=test,
        selection=selection,
        kept=kept,
        z=f"{estimate.z:.2f}{'' if estimate.converged else NOT_CONVERGED}",
        p_value=p_text(estimate.p_value),
        signal=f"{estimate.mu_hat:.1f} ± {uncertainty:.1f}",
        calibration=_calibration(estimate),
        notes=_numbered(found, notes),
    )


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


def _abcd_uncertainty(estimate: AbcdResult) -> float:
    """Return the uncertainty of the events in A over the prediction, to first order."""
    regions = sum(1 / n for n in (estimate.b, estimate.c, estimate.d) if n > 0)
    return math.sqrt(estimate.a + estimate.expected**2 * (estimate.systematic**2 + regions))


def _calibration(test: BumpHuntResult | AbcdResult | DirectEstimate | TransferEstimate) -> str:
    if isinstance(test, DirectEstimate) or test.calibration not in ("toys", "null chains"):
        return test.calibration
    return f"{test.toys} {test.calibration}"


def _numbered(texts: Iterable[str], notes: list[str]) -> tuple[int, ...]:
    """Return the texts' places among the notes, adding those that are new."""
    notes += [text for text in texts if text not in notes]
    return tuple(notes.index(text) + 1 for text in texts)
