"""Methods against each other as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tnt_coffea.reporting.comparison import Band, Comparison
from tnt_coffea.reporting.wording import p_text, set_name

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["comparison_table"]

_COLUMNS = {
    "auc_heavy": "AUC heavy",
    "auc_light": "light",
    "auc_both": "both",
    "improvement_0.1": "SIC 10 %",
    "improvement_0.01": "1 %",
    "pearson": "corr.",
    "distance": "dist.",
    "sculpting_p_0.01": "flat p",
}


def comparison_table(comparison: Comparison) -> Table:
    """Return a row a method: AUC, eps_S / sqrt(eps_B), correlations, sculpting.

    Parameters
    ----------
    comparison
        With several trainings of a method, its medians and half the width of the 68 % band.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{comparison.signal} signal and {comparison.background} background events, "
        "out of fold; * uses the truth",
        caption="SIC: eps_S/sqrt(eps_B) in the window at this share of background. corr., dist.: "
        "Pearson and distance correlation of both jets on background. flat p: m_jj at 1 %.",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("method", no_wrap=True)
    for name in _COLUMNS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for method in comparison.methods:
        bands = comparison.bands(method)
        mark = "*" if method in comparison.truth else ""
        table.add_row(f"{set_name(method)}{mark}", *(_text(name, bands) for name in _COLUMNS))
    return table


def _text(name: str, bands: Mapping[str, Band]) -> str:
    if name not in bands:
        return "-"
    found = bands[name]
    if name.startswith("sculpting"):
        return p_text(found.median)
    digits = 2 if name.startswith(("pearson", "improvement")) else 3
    if found.seeds == 1:
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f}±{(found.high - found.low) / 2:.{digits}f}"
