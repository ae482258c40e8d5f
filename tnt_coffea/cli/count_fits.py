"""Counts of one stored histogram: ABCD and direct estimates, transfer factors, windows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.fit_commands import (
    histogram_command,
    keep,
    keep_all,
    show,
    show_files,
    stored_at,
)
from tnt_coffea.cli.fit_options import (
    bins_and_width_options,
    bins_options,
    blind_options,
    blinded,
    changed,
    hs3_option,
    mass_option,
    plot_option,
    shape_options,
    toys_option,
    workspace_option,
)
from tnt_coffea.cli.options import PATH

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.histogram_fits import StoredHistogram
    from tnt_coffea.stats import WindowTest

__all__ = ["abcd", "direct", "transfer", "window"]


@histogram_command(
    blind_options,
    click.option("--passing", type=float, help="On a plane: a jet passes above this score."),
    click.option("--low", type=float, help="On a plane: a jet is low below this score."),
    click.option("--toys", type=click.IntRange(0), default=0, help="Toys for the p-value."),
    workspace_option,
    hs3_option,
)
def abcd(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    passing: float | None,
    low: float | None,
    toys: int,
    workspace: Path | None,
    hs3: Path | None,
    json_path: Path | None,
    out: Path | None,
    **blinding: Any,
) -> None:
    """Estimate the background in region A from B, C and D."""
    from tnt_coffea import histogram_counts

    config, stored = blinded(config, blinding), stored_at(histogram, name)
    result = histogram_counts.fit_abcd(stored, config, toys=toys, passing=passing, low=low)
    p_value = getattr(result.result, "p_value", None)
    keep(histogram, stored, config, "abcd", p_value, toys=toys)
    show(result, json_path)
    _written(stored, config, result, workspace, hs3)


@histogram_command(blind_options, workspace_option, hs3_option, plot_option)
def direct(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    workspace: Path | None,
    hs3: Path | None,
    plot: Path | None,
    json_path: Path | None,
    out: Path | None,
    **blinding: Any,
) -> None:
    """Count the selected events in the window against weighted simulation or a template.

    HISTOGRAM is the folder of a search stage of data and simulation, with taggers whose method
    has weights, such as salad; or of data, with taggers trained against a template.
    """
    from tnt_coffea import histogram_counts

    config, stored = blinded(config, blinding), stored_at(histogram, name)
    result = histogram_counts.fit_direct(stored, config)
    keep(histogram, stored, config, "direct", getattr(result, "p_value", None))
    show(result, json_path)
    _written(stored, config, result, workspace, hs3, plot)


@histogram_command(
    mass_option,
    bins_and_width_options,
    blind_options,
    click.option(
        "--fail",
        "failed",
        type=PATH,
        help="File with the histogram of the events that do not pass.  [default: HISTOGRAM]",
    ),
    click.option("--fail-name", help="That histogram, where its file has several."),
    click.option("--order", type=click.IntRange(0, 8), help="Order of the polynomial."),
    click.option(
        "--denominator",
        type=click.Choice(["fail", "all"]),
        help="What the polynomial is the ratio of pass to.",
    ),
    click.option(
        "--signal-in-fail",
        type=click.FloatRange(0),
        help="Signal events that fail per one that passes.",
    ),
    toys_option,
    workspace_option,
    hs3_option,
    plot_option,
)
def transfer(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    failed: Path | None,
    fail_name: str | None,
    order: int | None,
    denominator: str | None,
    signal_in_fail: float | None,
    toys: int | None,
    workspace: Path | None,
    hs3: Path | None,
    plot: Path | None,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Test what passes against what fails, times a polynomial in the mass.

    HISTOGRAM is the folder of a search stage, or the spectrum of the events that pass; that of
    the others is FAIL_NAME in its file or in another (--fail).
    """
    from tnt_coffea import histogram_counts

    config, stored = changed(config, spectrum), stored_at(histogram, name)
    given = {
        "order": order,
        "denominator": denominator,
        "signal_in_fail": signal_in_fail,
        "toys": toys,
    }
    given = {option: value for option, value in given.items() if value is not None}
    settings = config.fit.transfer.model_copy(update=given)
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"transfer": settings})})
    rest = None
    if failed is not None or fail_name is not None:
        rest = stored_at(failed or histogram, fail_name)
    result = histogram_counts.fit_transfer(stored, config, rest)
    keep(histogram, stored, config, "transfer", getattr(result, "p_value", None), **given)
    show(result, json_path)
    _written(stored, config, result, workspace, hs3, plot)


@histogram_command(
    click.option(
        "--window",
        nargs=2,
        type=float,
        help="The window [GeV].  [default: that which the taggers were trained for, else "
        "search.window]",
    ),
    bins_options,
    shape_options,
    click.option("--blind/--no-blind", default=None, help="Whether fit.blind refuses this test."),
    plot_option,
)
def window(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    window: tuple[float, float] | None,
    plot: Path | None,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Count the events in a window against a fit of the bins beside it.

    Of a search all dijets and every selection are tested, with the NAME of a method in the windows
    of all its tagger sets.
    """
    from tnt_coffea import fit_files, histogram_counts, stats

    config, stored = changed(config, spectrum | {"window": None}), stored_at(histogram, name)
    result = histogram_counts.fit_window(stored, config, window or None)
    if isinstance(result, stats.WindowTests):
        p_values = {_tested(test): test.result.p_poisson for test in result.tests}
        keep_all(histogram, stored, config, "window", p_values, window=window)
    show(result, json_path)
    if plot is not None:
        show_files("figure", [fit_files.write_plot(plot, result)])


def _tested(test: WindowTest) -> str:
    low, high = test.result.window
    return f"{test.taggers} {test.selected}, {low:g}-{high:g} GeV"


def _written(
    stored: StoredHistogram,
    config: SearchConfig,
    result: Any,
    workspace: Path | None,
    hs3: Path | None,
    plot: Path | None = None,
) -> None:
    """Write the files that were asked for, and list them."""
    from tnt_coffea import fit_files

    if workspace is not None:
        show_files("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if hs3 is not None:
        show_files("HS3", fit_files.write_hs3(hs3, stored, config, result))
    if plot is not None:
        show_files("figure", [fit_files.write_plot(plot, result)])
