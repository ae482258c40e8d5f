"""Every test and limit of a search as rows of text, and the notes they refer to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.wording import p_text, percent, selection_text
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.abcd_results import AbcdLimit, AbcdRefusal, AbcdResult
from tnt_coffea.stats.direct_results import DirectEstimate, DirectLimit, DirectRefusal
from tnt_coffea.stats.impact_results import ImpactRefusal, NuisanceImpact
from tnt_coffea.stats.limit_results import LimitRefusal, LimitResult
from tnt_coffea.stats.results import BumpHuntResult, FitRefusal
from tnt_coffea.stats.transfer_results import TransferEstimate, TransferLimit, TransferRefusal
from tnt_coffea.stats.window_results import WindowTests

__all__ = ["LimitRow", "Summary", "SummaryRow", "limit_rows", "summary"]

NOT_CONVERGED = ", not converged"
"""What stands behind the number of a fit in trouble; its notes have the reason."""

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
