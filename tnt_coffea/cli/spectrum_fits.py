"""Fits of one stored spectrum: bump hunts, scans, limits, expectations, bias studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.fit_commands import (
    histogram_command,
    keep,
    keep_all,
    of_sets,
    refuse,
    show,
    show_expected,
    show_files,
    stored_at,
)
from tnt_coffea.cli.fit_options import (
    blind_options,
    changed,
    hepdata_option,
    mass_option,
    masses_of,
    numbers_of,
    plot_option,
    quiet_option,
    spectrum_options,
    toys_option,
    workspace_option,
)
from tnt_coffea.cli.options import PATH
from tnt_coffea.cli.progress import toys_shown
from tnt_coffea.cli.retrained_limits import with_retraining

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig

__all__ = ["bias", "bump", "expected", "limit", "scan"]


@histogram_command(
    mass_option,
    spectrum_options,
    blind_options,
    toys_option,
    click.option(
        "--null-chains",
        type=PATH,
        help="File of `fit null-chains`, for the p-value instead of toys; auto: those of the "
        "package, none: toys.",
    ),
    click.option(
        "--impacts",
        type=PATH,
        help="File for pulls and impacts of the nuisance parameters (JSON); they are shown too.",
    ),
    workspace_option,
    click.option(
        "--combine",
        type=PATH,
        help="File for a card of CMS Combine (.txt); its histograms go beside it (.root).",
    ),
    hepdata_option,
    plot_option,
    quiet_option,
)
def bump(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    toys: int | None,
    impacts: Path | None,
    workspace: Path | None,
    combine: Path | None,
    hepdata: Path | None,
    plot: Path | None,
    quiet: bool,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Test one mass in a spectrum: p-value and signal."""
    from tnt_coffea import fit_files, histogram_fits

    if toys is not None and spectrum["null_chains"] not in (None, Path("none")):
        msg = "--toys and --null-chains: give one of them"
        raise click.UsageError(msg)
    config, stored = changed(config, spectrum), stored_at(histogram, name)
    if config.fit.blind:
        chains = spectrum["null_chains"]
        files = {"impacts": impacts, "workspace": workspace, "combine": combine}
        refuse(toys=toys, null_chains=chains, **files, hepdata=hepdata)
        show_expected(histogram, stored, config, "bump", json_path, plot)
        return
    with toys_shown(quiet) as progress:
        result = histogram_fits.fit_bump(stored, config, toys=toys, progress=progress)
    keep(histogram, stored, config, "bump", result.p_value, toys=toys)
    show(result, json_path)
    if impacts is not None:
        show(histogram_fits.fit_impacts(stored, config, result), impacts)
    if combine is not None:
        show_files("card", fit_files.write_card(combine, stored, config, result))
    if workspace is not None:
        show_files("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if hepdata is not None:
        show_files("table", fit_files.write_tables(hepdata, result, config))
    if plot is not None:
        show_files("figure", [fit_files.write_plot(plot, result)])


@histogram_command(
    click.option(
        "--masses",
        nargs=3,
        type=float,
        help="Lowest, highest, step [GeV].  [default: the settings', or the fit range in steps of "
        "half a width]",
    ),
    spectrum_options,
    blind_options,
    click.option(
        "--nested", is_flag=True, help="Scan each share of search.efficiencies of a search."
    ),
    click.option(
        "--all",
        "whole",
        is_flag=True,
        help="Scan all tagger sets of a search and all dijets, with one global p-value.",
    ),
    toys_option,
    click.option(
        "--workspace", type=PATH, help="File for the pyhf workspace; its patchset goes beside it."
    ),
    plot_option,
    quiet_option,
)
def scan(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    masses: tuple[float, float, float] | None,
    nested: bool,
    whole: bool,
    toys: int | None,
    workspace: Path | None,
    plot: Path | None,
    quiet: bool,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Test many masses in a spectrum: local p-values and the global one.

    The NAME of a method stands for its tagger sets of all windows, scanned together; with --all
    it is every tagger set and all dijets, and with --nested each selection of them.
    """
    from tnt_coffea import fit_files, histogram_fits, pipeline

    if whole and name is not None:
        msg = "--all takes every tagger set, --name one of them: give one of these"
        raise click.UsageError(msg)
    config, stored = changed(config, spectrum), stored_at(histogram, name, whole=whole)
    if config.fit.blind:
        refuse(toys=toys, workspace=workspace, nested=nested or None, all=whole or None)
        found = histogram_fits.fit_expected_scan(stored, config, masses=masses_of(masses))
        tested = [point.mass for point in found.points]
        keep(histogram, stored, config, "scan", None, masses=tested)
        show(found, json_path)
        if plot is not None:
            show_files("figure", [fit_files.write_plot(plot, found)])
        return
    with toys_shown(quiet) as progress:
        result = histogram_fits.fit_scan(
            stored, config, masses=masses_of(masses), nested=nested, toys=toys, progress=progress
        )
    tested = [point.mass for point in result.points]
    p_values = pipeline.scan_p_values(of_sets(stored), result)
    keep_all(histogram, stored, config, "scan", p_values, masses=tested, nested=nested, toys=toys)
    show(result, json_path)
    if workspace is not None:
        show_files("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if plot is not None:
        show_files("figure", [fit_files.write_plot(plot, result)])


@with_retraining
@histogram_command(
    mass_option,
    spectrum_options,
    blind_options,
    toys_option,
    click.option("--efficiency", type=float, help="Selected over produced signal events."),
    click.option(
        "--luminosity", type=float, help="Of the data [1/fb]; that of the settings by default."
    ),
    hepdata_option,
)
def limit(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    toys: int | None,
    efficiency: float | None,
    luminosity: float | None,
    hepdata: Path | None,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Set a CLs upper limit on a signal in a spectrum.

    With efficiency and luminosity it is a limit on the cross section, too. With --retrain it is
    that on a simulated signal in the search of --out, whose taggers are trained anew at each
    strength; a command that was cut goes on.
    """
    from tnt_coffea import fit_files, histogram_fits

    config, stored = changed(config, spectrum), stored_at(histogram, name)
    if config.fit.blind:
        refuse(hepdata=hepdata)
        produced = {"efficiency": efficiency, "luminosity": luminosity}
        show_expected(histogram, stored, config, "limit", json_path, None, toys=toys, **produced)
        return
    result = histogram_fits.fit_limit(
        stored, config, toys=toys, efficiency=efficiency, luminosity=luminosity
    )
    keep(histogram, stored, config, "limit", None, toys=toys)
    show(result, json_path)
    if hepdata is not None:
        show_files("table", fit_files.write_tables(hepdata, result, config))


@histogram_command(
    mass_option,
    spectrum_options,
    blind_options,
    click.option(
        "--signal",
        "signals",
        type=float,
        multiple=True,
        metavar="EVENTS",
        help="Signal events whose expected significance is wanted; may be repeated.",
    ),
    click.option("--toys", type=click.IntRange(0), help="Toys of the limit, as for `limit`."),
    click.option("--efficiency", type=float, help="Selected over produced signal events."),
    click.option(
        "--luminosity", type=float, help="Of the data [1/fb]; that of the settings by default."
    ),
    plot_option,
)
def expected(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    signals: tuple[float, ...],
    toys: int | None,
    efficiency: float | None,
    luminosity: float | None,
    plot: Path | None,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Show expected significances of signals, and the expected limit, of background alone.

    The background is the fit without a signal of all bins, with --blind of the sidebands.
    """
    config, stored = changed(config, spectrum), stored_at(histogram, name)
    given = {"efficiency": efficiency, "luminosity": luminosity, "signals": signals}
    show_expected(histogram, stored, config, "expected", json_path, plot, toys=toys, **given)


@histogram_command(
    mass_option,
    spectrum_options,
    blind_options,
    click.option(
        "--truth",
        "truths",
        multiple=True,
        help="Background of the toys: a family, or 'family parameters'; may be repeated.  "
        "[default: every family]",
    ),
    click.option(
        "--strengths",
        callback=lambda _, __, text: numbers_of(text),
        help="Injected signals in their expected uncertainties, with commas.  [default: 0,1,2,3,5]",
    ),
    click.option(
        "--toys", type=click.IntRange(2), help="Toys of a truth and a strength.  [default: 500]"
    ),
    click.option(
        "--rechoose", is_flag=True, help="Choose the functions that compete anew in every toy."
    ),
    click.option("--all-bins", is_flag=True, help="Fit the toys' backgrounds to the window, too."),
    plot_option,
    quiet_option,
)
def bias(
    config: SearchConfig,
    histogram: Path,
    name: str | None,
    truths: tuple[str, ...],
    strengths: tuple[float, ...],
    toys: int | None,
    rechoose: bool,
    all_bins: bool,
    plot: Path | None,
    quiet: bool,
    json_path: Path | None,
    out: Path | None,
    **spectrum: Any,
) -> None:
    """Fit toys from other functions: bias, coverage and linearity of the signal.

    Their backgrounds are fitted beside the window, and their signals are known.
    """
    from tnt_coffea import fit_files, histogram_fits

    config, stored = changed(config, spectrum), stored_at(histogram, name)
    with toys_shown(quiet) as progress:
        result = histogram_fits.fit_bias(
            stored,
            config,
            truths=truths,
            strengths=strengths,
            toys=toys,
            rechoose=rechoose,
            all_bins=all_bins,
            progress=progress,
        )
    show(result, json_path)
    if plot is not None:
        show_files("figure", [fit_files.write_plot(plot, result)])
