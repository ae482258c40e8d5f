"""Tables for the terminal, and how wide it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.comparison import Band, Comparison, band
from tnt_coffea.reporting.evaluation import Evaluation
from tnt_coffea.reporting.figures_of_merit import TIGHT
from tnt_coffea.reporting.summary import LimitRow, Summary, SummaryRow, summary
from tnt_coffea.reporting.tables import evaluation_rows
from tnt_coffea.reporting.wording import duration, p_text, percent
from tnt_coffea.results import SearchResult
from tnt_coffea.stats.limit_results import LimitResult

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

__all__ = ["comparison_table", "plain_table", "results_table", "wide_console"]


_WIDEST = 10_000
_NARROW = 12
_WITH_WORDS = " (in brackets: simulation that the taggers used)"
_WITHOUT = " (simulation that the taggers used: none)"
_COLUMNS = {
    "auc_heavy": "AUC heavy",
    "auc_light": "light",
    "auc_both": "both",
    "pearson": "corr.",
    "distance": "dist.",
    "sculpting_p_0.01": "flat p",
}
_GAINS = {
    "improvement_0.1": "10 %",
    "improvement_0.01": "1 %",
    "improvement_0.001": "0.1 %",
    "max_sic": "max SIC",
}


def results_table(
    result: SearchResult,
    evaluation: Evaluation | None = None,
    stage_seconds: Mapping[str, float] | None = None,
    config: SearchConfig | None = None,
) -> Group:
    """Return the tests, the evaluation and the times of a search, for a `rich` console.

    Parameters
    ----------
    result
        The search.
    evaluation
        Against the truth, where it is known.
    stage_seconds
        Duration by stage [s].
    config
        Names the shares of events kept, if given.
    """
    from rich.console import Group

    shown = summary(result, config)
    tables: list[Table] = [_tests(shown)]
    if shown.limits:
        level = next((x.level for x in result.limits.values() if isinstance(x, LimitResult)), None)
        tables.append(_limits(shown, level))
    if shown.notes:
        tables.append(_notes(shown))
    if evaluation is not None:
        tables += [_aucs(evaluation), _merits(evaluation), _working_points(evaluation)]
    if stage_seconds:
        tables.append(_times(stage_seconds))
    return Group(*tables)


def _tests(shown: Summary) -> Table:
    informed = _informed(shown.rows)
    table = plain_table(
        f"Tests{_WITH_WORDS if informed else _WITHOUT}",
        ("test", "taggers"),
        ("eff.", "Z", "local p", "signal"),
        ("calibration",),
        ("notes",),
    )
    for row in shown.rows:
        notes = ", ".join(map(str, row.notes))
        _add(
            table,
            row.test.removesuffix(" hunt").removesuffix(" estimate"),
            _known(row) if informed else row.selection,
            row.kept,
            _folded(row.z),
            row.p_value,
            row.signal,
            row.calibration,
            notes,
        )
    return table


def _informed(rows: Iterable[SummaryRow | LimitRow]) -> bool:
    """Return whether any taggers used simulation: eighty columns have to do, so else none say."""
    return any(row.knowledge not in ("", "none") for row in rows)


def _limits(shown: Summary, level: float | None) -> Table:
    informed = _informed(shown.limits)
    table = plain_table(
        f"Upper limits on the signal{'' if level is None else f' ({percent(level)} CLs)'}",
        ("taggers",),
        ("eff.", "observed", "expected (68 %)"),
        ("unit", "calibration"),
        ("notes",),
    )
    for row in shown.limits:
        seen = _folded(row.observed)
        selection = _known(row) if informed else row.selection
        cells = (selection, row.kept, seen, row.expected, row.unit, row.calibration)
        _add(table, *cells, ", ".join(map(str, row.notes)))
    return table


def _folded(number: str) -> str:
    """Return a number with what stands behind it on a line of its own: columns are narrow."""
    return number.replace(", ", ",\n").replace("not converged", "not\nconverged")


def _narrow(knowledge: str) -> str:
    """Return what taggers used on lines of one word."""
    return knowledge.replace(" ", "\n") or "-"


def _known(row: SummaryRow | LimitRow) -> str:
    """Return a row's taggers with what they used on narrow lines below."""
    return _narrow_name(f"{row.selection} ({row.knowledge})" if row.knowledge else row.selection)


def _narrow_name(name: str) -> str:
    """Return a set's name with what stands behind it on narrow lines below."""
    own, _, mark = name.partition(" (")
    return "\n".join([own, *wrap(f"({mark}", _NARROW)] if mark else [own])


def _notes(shown: Summary) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for number, note in enumerate(shown.notes, start=1):
        _add(table, f"{number}", note)
    _add(table, "", "")
    return table


def _aucs(evaluation: Evaluation) -> Table:
    rows = evaluation_rows(evaluation)
    jets = tuple(rows[0].aucs) if rows else ()
    table = plain_table("AUC (uses the truth, evaluation only)", ("taggers", "simulation"), jets)
    for row in rows:
        known = row.merits["simulation used"]
        _add(table, _narrow_name(row.name), _narrow(known), *row.aucs.values())
    return table


def _merits(evaluation: Evaluation) -> Table:
    low, high = evaluation.window
    table = plain_table(
        f"Significance improvement in {low:g}-{high:g} GeV (uses the truth, evaluation only)",
        ("taggers", "simulation"),
        ("max SIC", "at eps_B", f"SIC {percent(TIGHT)}"),
    )
    table.caption = (
        "SIC: eps_S/sqrt(eps_B). max: of all cuts with an eps_B known to 20 %, biased upwards."
    )
    table.caption_justify = "left"
    for row in evaluation_rows(evaluation):
        known, *numbers = row.merits.values()
        _add(table, _narrow_name(row.name), _narrow(known), *numbers)
    return table


def _working_points(evaluation: Evaluation) -> Table:
    low, high = evaluation.window
    table = plain_table(
        f"Selections in {low:g}-{high:g} GeV (uses the truth, evaluation only)",
        ("taggers",),
        ("eff.", "S / B events", "S/B", "eps_S", "eps_B", "eps_S/sqrt(eps_B)"),
    )
    rows = evaluation_rows(evaluation)
    for point in rows[0].points[:1] if rows else ():
        _add(table, "none", "100 %", point["before"], point["purity_before"], "1", "1", "1")
    wanted = ("kept", "after", "purity_after", "eps_signal", "eps_background", "improvement")
    for row in rows:
        for i, point in enumerate(row.points):
            _add(table, "" if i else _narrow_name(row.name), *(point[name] for name in wanted))
    return table


def _times(stage_seconds: Mapping[str, float]) -> Table:
    table = plain_table("Time", ("stage",), ("time",))
    for stage, seconds in stage_seconds.items():
        _add(table, stage, duration(seconds))
    _add(table, "together", duration(sum(stage_seconds.values())))
    return table


def wide_console() -> Console:
    """Return a console as wide as its terminal, and wide enough for everything in a pipe or file.

    A width in the environment variable COLUMNS is kept.
    """
    from rich.console import Console

    made = Console()
    return made if made.is_terminal or os.environ.get("COLUMNS") else Console(width=_WIDEST)


def plain_table(
    title: str,
    texts: tuple[str, ...],
    numbers: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    folded: tuple[str, ...] = (),
) -> Table:
    """Return a table without rows.

    Parameters
    ----------
    title
        Above it.
    texts, numbers, more, folded
        Columns in this order: of text, of numbers to the right, of text, of text that breaks.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in more:
        table.add_column(name, no_wrap=True)
    for name in folded:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    from rich.text import Text

    # As text, not markup: a note may hold square brackets.
    table.add_row(*map(Text, cells))


def comparison_table(comparison: Comparison) -> Group:
    """Return a row a method in two tables: AUC, correlations, sculpting; significance improvement.

    Parameters
    ----------
    comparison
        With several training runs of a method, their medians and half the width of the 68 % band.
    """
    from rich.console import Group

    areas = plain_table(
        f"{comparison.signal} signal and {comparison.background} background events, "
        "out of fold; * uses the truth",
        ("method", "simulation"),
        tuple(_COLUMNS.values()),
    )
    areas.caption = (
        "corr., dist.: Pearson and distance correlation of both jets on background. flat p: "
        f"{comparison.variable} at 1 %. Below the line: single features, learned from nothing."
    )
    low, high = comparison.window
    gains = plain_table(
        f"Significance improvement (SIC) in {low:g}-{high:g} GeV, by the background kept",
        ("method", "simulation used"),
        tuple(_GAINS.values()),
    )
    gains.caption = (
        "SIC: eps_S/sqrt(eps_B). max: of all cuts with an eps_B known to 20 %, biased upwards."
    )
    if poor := comparison.no_better():
        gains.caption += f" Not better than the best single feature: {', '.join(poor)}."
    rows = {
        f"{name}{'*' if name in comparison.truth else ''}": (
            comparison.knowledge.get(name, "none"),
            comparison.bands(name),
        )
        for name in comparison.methods
    }
    features = {
        feature: {name: band([x]) for name, x in figures.numbers().items() if x is not None}
        for feature, figures in comparison.baselines.items()
    }
    for method, (known, bands) in rows.items():
        _add(areas, method, _narrow(known), *(_text(name, bands) for name in _COLUMNS))
        _add(gains, method, known, *(_text(name, bands) for name in _GAINS))
    for table in (areas, gains):
        table.caption_justify = "left"
        table.add_section()
    for feature, single in features.items():
        _add(areas, feature, "none", *(_text(name, single) for name in _COLUMNS))
        _add(gains, feature, "none", *(_text(name, single) for name in _GAINS))
    return Group(areas, gains)


def _text(name: str, bands: Mapping[str, Band]) -> str:
    if name not in bands:
        return "-"
    found = bands[name]
    if name.startswith("sculpting"):
        return p_text(found.median)
    digits = 2 if name.startswith(("pearson", "improvement", "max_sic")) else 3
    if found.seeds == 1:
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f}±{(found.high - found.low) / 2:.{digits}f}"
