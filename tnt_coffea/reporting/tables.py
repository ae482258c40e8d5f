"""The tables of a report, as text: tests, and taggers against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.correlations import RankCorrelation, ScoreCorrelations
from tnt_coffea.reporting.evaluation import Evaluation, WorkingPoint
from tnt_coffea.reporting.limits import LimitRow, limit_rows
from tnt_coffea.reporting.single_events import AnomalousEvent
from tnt_coffea.reporting.wording import p_text, percent, set_name
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.abcd_results import AbcdRefusal, AbcdResult
from tnt_coffea.stats.results import BumpHuntResult, ImpactRefusal, NuisanceImpact

__all__ = [
    "EvaluationRow",
    "Summary",
    "SummaryRow",
    "correlation_rows",
    "evaluation_rows",
    "event_rows",
    "summary",
]

_EVENT_COLUMNS = {
    "mass": ("mass [GeV]", ".0f"),
    "tau21": ("τ21", ".2f"),
    "pt": ("pT [GeV]", ".0f"),
    "n_constituents": ("particles", ".0f"),
}


@dataclass(frozen=True)
class SummaryRow:
    """One test as a row of a table.

    Attributes
    ----------
    test
        What was done, 'bump hunt' or 'ABCD'.
    selection
        By which taggers.
    kept
        Share of events selected (bump hunt) or passing (ABCD).
    z, p_value, signal
        As text; a dash where the test was refused.
    calibration
        How the p-value was calibrated, or 'refused'.
    notes
        Numbers, from 1, of what must be known before quoting it, in `Summary.notes`.
    """

    test: str
    selection: str
    kept: str
    z: str
    p_value: str
    signal: str
    calibration: str
    notes: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """Every test of a search as rows, and the notes they refer to, each once.

    Attributes
    ----------
    rows
        In the order: before, after, ABCD.
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
        What readers call the set.
    aucs
        AUC with uncertainty as text by 'heavy jet', 'light jet', 'both jets'.
    points
        For every working point: share kept, S and B in the window before and after, S / B
        before and after, eps_S, eps_B, eps_S / sqrt(eps_B) with uncertainty; as text.
    """

    name: str
    aucs: Mapping[str, str]
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
    kept = "" if config is None else percent(config.fit.bump.efficiency)
    passed = "" if config is None else percent(config.fit.abcd.efficiency)
    rows = [
        _bump_row("none", "100 %", result.before, result.impacts.get("before"), notes),
        *(
            _bump_row(set_name(name), kept, test, result.impacts.get(name), notes)
            for name, test in result.after.items()
        ),
        *(_abcd_row(set_name(name), passed, test, notes) for name, test in result.abcd.items()),
    ]
    limits = [
        row for name, found in result.limits.items() for row in limit_rows(name, kept, found, notes)
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
                shown: f"{found.rocs[jet].auc:.3f} ± {found.rocs[jet].auc_uncertainty:.3f}"
                for jet, shown in names.items()
            },
            points=tuple(map(_point_texts, found.working_points)),
        )
        for name, found in evaluation.sets.items()
    ]


def correlation_rows(correlations: Mapping[str, ScoreCorrelations]) -> list[dict[str, str]]:
    """Return Spearman's coefficients as text: `taggers`, and one column a region."""
    return [
        {"taggers": set_name(name)} | {r.region: _correlation_text(r) for r in found.regions}
        for name, found in correlations.items()
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


def _correlation_text(found: RankCorrelation) -> str:
    if found.coefficient is None:
        return "-"
    return f"{found.coefficient:+.3f} ± {found.uncertainty:.3f}"


def _point_texts(point: WorkingPoint) -> dict[str, str]:
    def ratio(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    improvement = ratio(point.improvement)
    if point.improvement_uncertainty is not None:
        improvement = f"{point.improvement:.2f} ± {point.improvement_uncertainty:.2f}"
    return {
        "kept": percent(point.efficiency),
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
    found: BumpHuntResult,
    impacts: Sequence[NuisanceImpact] | ImpactRefusal | None,
    notes: list[str],
) -> SummaryRow:
    digits = 0 if found.mu_uncertainty >= 10 else 1
    texts = list(found.notes)
    if isinstance(impacts, ImpactRefusal):
        texts.append(f"no impacts on the signal, {selection}: {impacts.reason}")
    return SummaryRow(
        test="bump hunt",
        selection=selection,
        kept=kept,
        z=f"{found.z:.2f}",
        p_value=p_text(found.p_value),
        signal=f"{found.mu_hat:.{digits}f} ± {found.mu_uncertainty:.{digits}f}",
        calibration=_calibration(found),
        notes=_numbered(texts, notes),
    )


def _abcd_row(
    selection: str, kept: str, found: AbcdResult | AbcdRefusal, notes: list[str]
) -> SummaryRow:
    if isinstance(found, AbcdRefusal):
        why = _numbered((f"ABCD with {selection}: {found.reason}",), notes)
        return SummaryRow("ABCD", selection, kept, "-", "-", "-", "refused", why)
    counting = (
        f"ABCD with {selection}: {found.a:g} events seen, {found.expected:.1f} expected "
        f"± {percent(found.systematic)}; Z of the paper's equation 4.1: {found.z_paper:.2f}"
    )
    return SummaryRow(
        test="ABCD",
        selection=selection,
        kept=kept,
        z=f"{found.z:.2f}",
        p_value=p_text(found.p_value),
        signal=f"{found.mu_hat:.1f}",
        calibration=_calibration(found),
        notes=_numbered((counting, *found.notes), notes),
    )


def _calibration(found: BumpHuntResult | AbcdResult) -> str:
    return f"{found.toys} toys" if found.calibration == "toys" else found.calibration


def _numbered(texts: Iterable[str], notes: list[str]) -> tuple[int, ...]:
    """Return the texts' places among the notes, adding those that are new."""
    notes += [text for text in texts if text not in notes]
    return tuple(notes.index(text) + 1 for text in texts)
