"""The tables of a report, as text: tests, and taggers against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.evaluation import Evaluation, WorkingPoint
from tnt_coffea.reporting.wording import p_text, percent, set_name
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.abcd_results import AbcdRefusal, AbcdResult
from tnt_coffea.stats.bump_results import BumpHuntResult

__all__ = ["EvaluationRow", "Summary", "SummaryRow", "evaluation_rows", "summary"]


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
    """

    rows: tuple[SummaryRow, ...]
    notes: tuple[str, ...]


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
        _bump_row("none", "100 %", result.before, notes),
        *(_bump_row(set_name(name), kept, test, notes) for name, test in result.after.items()),
        *(_abcd_row(set_name(name), passed, test, notes) for name, test in result.abcd.items()),
    ]
    return Summary(tuple(rows), tuple(notes))


def evaluation_rows(evaluation: Evaluation | None) -> list[EvaluationRow]:
    """Return every tagger set against the truth as text; none where there is no truth."""
    if evaluation is None:
        return []
    names = {"heavy": "heavy jet", "light": "light jet", "both": "both jets"}
    return [
        EvaluationRow(
            name=set_name(name),
            aucs={
                shown: f"{found.rocs[jet].auc:.3f} ± {found.rocs[jet].auc_uncertainty:.3f}"
                for jet, shown in names.items()
            },
            points=tuple(map(_point_texts, found.working_points)),
        )
        for name, found in evaluation.sets.items()
    ]


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


def _bump_row(selection: str, kept: str, found: BumpHuntResult, notes: list[str]) -> SummaryRow:
    digits = 0 if found.mu_uncertainty >= 10 else 1
    return SummaryRow(
        test="bump hunt",
        selection=selection,
        kept=kept,
        z=f"{found.z:.2f}",
        p_value=p_text(found.p_value),
        signal=f"{found.mu_hat:.{digits}f} ± {found.mu_uncertainty:.{digits}f}",
        calibration=_calibration(found),
        notes=_numbered(found.notes, notes),
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
