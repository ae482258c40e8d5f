"""Fits: of a whole search, or of one stored histogram."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import (
    configured,
    configured_by_search,
    histograms_option,
    options,
    out_option,
    search_of,
)
from tnt_coffea.cli.progress import toys_shown
from tnt_coffea.cli.retrained_limits import with_retraining

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.histogram_fits import StoredHistogram
    from tnt_coffea.stats import WindowTest

__all__ = ["fit"]

PATH = click.Path(path_type=Path)

_histogram = click.argument("histogram", type=PATH)
_name = click.option("--name", help="Histogram in the file, or tagger set of the search.")
_json = click.option("--json", "json_path", type=PATH, help="File for the result as JSON.")
_out = click.option(
    "--out",
    type=PATH,
    help="Folder of a search, for its settings.  [default: that which HISTOGRAM is of, if any]",
)
_quiet = click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
_toys = click.option("--toys", type=click.IntRange(0), help="Toys, instead of the settings'.")
_hepdata = click.option("--hepdata", type=PATH, help="Folder for HEPData tables.")
_mass = click.option("--mass", type=float, help="Mass of the signal [GeV].")
_bins_alone = options(
    click.option("--fit-range", nargs=2, type=float, help="Range of the fit [GeV]."),
    click.option("--bin-width", type=float, help="Bins of the fit [GeV]."),
    click.option(
        "--native-bins", is_flag=True, help="Fit in the histogram's own bins, of any widths."
    ),
)
_bins = options(
    click.option("--width", type=float, help="Gaussian width of the signal [GeV]."),
    _bins_alone,
)
_shape = options(
    click.option(
        "--family", help="Background functions: dijet, exponential, power_law, bernstein."
    ),
    click.option("--sqrt-s", type=float, help="Centre-of-mass energy of the data [TeV]."),
)
_spectrum = options(
    _bins,
    click.option(
        "--find-lower-edge",
        is_flag=True,
        help="Begin the fit where the spectrum starts to fall smoothly, within the range.",
    ),
    click.option(
        "--trigger",
        type=PATH,
        metavar="FILE",
        help="Efficiency of the trigger in the mass, a histogram with its errors: part of the "
        "model.",
    ),
    _shape,
)
_workspace = click.option("--workspace", type=PATH, help="File for the pyhf workspace.")
_hs3 = click.option("--hs3", type=PATH, help="File for the HS3 document.")
_blind = options(
    click.option(
        "--blind/--no-blind",
        default=None,
        help="Hide the events in a window, and show what the sidebands alone let expect.  "
        "[default: fit.blind]",
    ),
    click.option(
        "--window",
        nargs=2,
        type=float,
        help="Range in mass that --blind hides [GeV].  [default: mass +- 2 widths, of a search "
        "with search.window]",
    ),
)
_plot = click.option("--plot", type=PATH, help="File for a figure (.png, .pdf, .svg).")


@click.command()
@histograms_option
@out_option
@_blind
@configured_by_search
def _stage(config: SearchConfig, out: Path, search_folder: Path | None, **blinding: Any) -> None:
    from tnt_coffea import pipeline
    from tnt_coffea.products import Histograms

    config = _blinded(config, blinding)
    report = out / "report" / "report.html"
    reported = report.exists()
    histograms = Histograms.load(search_folder or out / "search")
    result = (
        pipeline.blind_fit(histograms, config, out=out)
        if config.fit.blind
        else pipeline.fit(histograms, config, out=out)
    )
    click.echo(result.summary())
    click.echo(f"result: {out / 'fit' / 'result.json'}")
    if reported and not report.exists():
        click.echo(f"report: {report} was of another fit and is removed; `tnt-coffea report`")


@click.group(invoke_without_command=True, params=_stage.params)
@click.pass_context
def fit(context: click.Context, /, **stage: Any) -> None:
    """Fit the histograms of a search, or one histogram of your own.

    Without COMMAND this is the stage: bump hunts, ABCD and direct estimates, transfer factors and
    counts in windows if asked for, limits and, if the settings have masses, scans of OUT/search.
    Each COMMAND does one of these to one HISTOGRAM: a ROOT file with a TH1 in mass (for `abcd` a
    TH2 of two scores), a UHI file (.json, .h5), counts (.csv or .npy: low, high, count a bin; of
    weighted events, sumw2 as a fourth column), or the folder of a search stage. `null-chains`
    collects searches of background for `bump`.
    """
    if context.invoked_subcommand is None:
        context.invoke(_stage, **stage)
        return
    typed = click.core.ParameterSource.COMMANDLINE
    if any(context.get_parameter_source(name) is typed for name in stage):
        msg = f"options go behind the command: fit {context.invoked_subcommand} ..."
        raise click.UsageError(msg)


def _command(*own: Callable[..., Any]) -> Callable[..., click.Command]:
    """Make a function a command on one histogram: options of its own, then those of all."""

    def decorate(function: Callable[..., None]) -> click.Command:
        alone = configured(_only_writer(function))
        return fit.command()(options(_histogram, _name, *own, _json, _out)(alone))

    return decorate


def _only_writer(function: Callable[..., None]) -> Callable[..., None]:
    """Hold the folder of the search that a histogram is of: the test is added to its list."""

    @functools.wraps(function)
    def alone(histogram: Path, **rest: Any) -> None:
        from tnt_coffea.storage import held

        _check_outputs(rest)
        out = search_of(histogram)
        with held(out) if out and os.access(out, os.W_OK) else nullcontext():
            function(histogram=histogram, **rest)

    return alone


def _check_outputs(given: dict[str, Any]) -> None:
    """Refuse files that could not be written, before a fit that may take minutes."""
    from tnt_coffea import fit_files

    if given.get("plot") is not None:
        fit_files.figure_format(given["plot"])
    for name in ("plot", "workspace", "json_path", "impacts", "combine", "hs3"):
        if given.get(name) is not None:
            fit_files.check_place(given[name])


@_command(
    _mass,
    _spectrum,
    _blind,
    _toys,
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
    _workspace,
    click.option(
        "--combine",
        type=PATH,
        help="File for a card of CMS Combine (.txt); its histograms go beside it (.root).",
    ),
    _hepdata,
    _plot,
    _quiet,
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
    config, stored = _changed(config, spectrum), _stored(histogram, name)
    if config.fit.blind:
        chains = spectrum["null_chains"]
        files = {"impacts": impacts, "workspace": workspace, "combine": combine}
        _refuse(toys=toys, null_chains=chains, **files, hepdata=hepdata)
        _expected(histogram, stored, config, "bump", json_path, plot)
        return
    with toys_shown(quiet) as progress:
        result = histogram_fits.fit_bump(stored, config, toys=toys, progress=progress)
    _keep(histogram, stored, config, "bump", result.p_value, toys=toys)
    _show(result, json_path)
    if impacts is not None:
        _show(histogram_fits.fit_impacts(stored, config, result), impacts)
    if combine is not None:
        _list("card", fit_files.write_card(combine, stored, config, result))
    if workspace is not None:
        _list("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if hepdata is not None:
        _list("table", fit_files.write_tables(hepdata, result, config))
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, result)])


@_command(
    click.option(
        "--masses",
        nargs=3,
        type=float,
        help="Lowest, highest, step [GeV].  [default: the settings', or the fit range in steps of "
        "half a width]",
    ),
    _spectrum,
    _blind,
    click.option(
        "--nested", is_flag=True, help="Scan each share of search.efficiencies of a search."
    ),
    click.option(
        "--all",
        "whole",
        is_flag=True,
        help="Scan all tagger sets of a search and all dijets, with one global p-value.",
    ),
    _toys,
    click.option(
        "--workspace", type=PATH, help="File for the pyhf workspace; its patchset goes beside it."
    ),
    _plot,
    _quiet,
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
    from tnt_coffea import fit_files, histogram_fits

    if whole and name is not None:
        msg = "--all takes every tagger set, --name one of them: give one of these"
        raise click.UsageError(msg)
    config, stored = _changed(config, spectrum), _stored(histogram, name, whole=whole)
    if config.fit.blind:
        _refuse(toys=toys, workspace=workspace, nested=nested or None, all=whole or None)
        found = histogram_fits.fit_expected_scan(stored, config, masses=_masses(masses))
        tested = [point.mass for point in found.points]
        _keep(histogram, stored, config, "scan", None, masses=tested)
        _show(found, json_path)
        if plot is not None:
            _list("figure", [fit_files.write_plot(plot, found)])
        return
    with toys_shown(quiet) as progress:
        result = histogram_fits.fit_scan(
            stored, config, masses=_masses(masses), nested=nested, toys=toys, progress=progress
        )
    tested = [point.mass for point in result.points]
    _keep(
        histogram, stored, config, "scan", result.p_global, masses=tested, nested=nested, toys=toys
    )
    _show(result, json_path)
    if workspace is not None:
        _list("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, result)])


@with_retraining
@_command(
    _mass,
    _spectrum,
    _blind,
    _toys,
    click.option("--efficiency", type=float, help="Selected over produced signal events."),
    click.option(
        "--luminosity", type=float, help="Of the data [1/fb]; that of the settings by default."
    ),
    _hepdata,
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

    config, stored = _changed(config, spectrum), _stored(histogram, name)
    if config.fit.blind:
        _refuse(hepdata=hepdata)
        produced = {"efficiency": efficiency, "luminosity": luminosity}
        _expected(histogram, stored, config, "limit", json_path, None, toys=toys, **produced)
        return
    result = histogram_fits.fit_limit(
        stored, config, toys=toys, efficiency=efficiency, luminosity=luminosity
    )
    _keep(histogram, stored, config, "limit", None, toys=toys)
    _show(result, json_path)
    if hepdata is not None:
        _list("table", fit_files.write_tables(hepdata, result, config))


@_command(
    _mass,
    _spectrum,
    _blind,
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
    _plot,
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
    config, stored = _changed(config, spectrum), _stored(histogram, name)
    given = {"efficiency": efficiency, "luminosity": luminosity, "signals": signals}
    _expected(histogram, stored, config, "expected", json_path, plot, toys=toys, **given)


@_command(
    _mass,
    _spectrum,
    _blind,
    click.option(
        "--truth",
        "truths",
        multiple=True,
        help="Background of the toys: a family, or 'family parameters'; may be repeated.  "
        "[default: every family]",
    ),
    click.option(
        "--strengths",
        callback=lambda _, __, text: _numbers(text),
        help="Injected signals in their expected uncertainties, with commas.  [default: 0,1,2,3,5]",
    ),
    click.option(
        "--toys", type=click.IntRange(2), help="Toys of a truth and a strength.  [default: 500]"
    ),
    click.option(
        "--rechoose", is_flag=True, help="Choose the functions that compete anew in every toy."
    ),
    click.option("--all-bins", is_flag=True, help="Fit the toys' backgrounds to the window, too."),
    _plot,
    _quiet,
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

    config, stored = _changed(config, spectrum), _stored(histogram, name)
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
    _show(result, json_path)
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, result)])


@_command(
    _blind,
    click.option("--passing", type=float, help="On a plane: a jet passes above this score."),
    click.option("--low", type=float, help="On a plane: a jet is low below this score."),
    click.option("--toys", type=click.IntRange(0), default=0, help="Toys for the p-value."),
    _workspace,
    _hs3,
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
    from tnt_coffea import fit_files, histogram_fits

    config, stored = _blinded(config, blinding), _stored(histogram, name)
    result = histogram_fits.fit_abcd(stored, config, toys=toys, passing=passing, low=low)
    p_value = getattr(result.result, "p_value", None)
    _keep(histogram, stored, config, "abcd", p_value, toys=toys)
    _show(result, json_path)
    if workspace is not None:
        _list("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if hs3 is not None:
        _list("HS3", fit_files.write_hs3(hs3, stored, config, result))


@_command(_blind, _workspace, _hs3, _plot)
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
    from tnt_coffea import fit_files, histogram_fits

    config, stored = _blinded(config, blinding), _stored(histogram, name)
    result = histogram_fits.fit_direct(stored, config)
    _keep(histogram, stored, config, "direct", getattr(result, "p_value", None))
    _show(result, json_path)
    if workspace is not None:
        _list("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if hs3 is not None:
        _list("HS3", fit_files.write_hs3(hs3, stored, config, result))
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, result)])


@_command(
    _mass,
    _bins,
    _blind,
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
    _toys,
    _workspace,
    _hs3,
    _plot,
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
    from tnt_coffea import fit_files, histogram_fits

    config, stored = _changed(config, spectrum), _stored(histogram, name)
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
        rest = histogram_fits.stored_histogram(failed or histogram, fail_name)
    result = histogram_fits.fit_transfer(stored, config, rest)
    _keep(histogram, stored, config, "transfer", getattr(result, "p_value", None), **given)
    _show(result, json_path)
    if workspace is not None:
        _list("workspace", fit_files.write_workspace(workspace, stored, config, result))
    if hs3 is not None:
        _list("HS3", fit_files.write_hs3(hs3, stored, config, result))
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, result)])


@_command(
    click.option(
        "--window",
        nargs=2,
        type=float,
        help="The window [GeV].  [default: that which the taggers were trained for, else "
        "search.window]",
    ),
    _bins_alone,
    _shape,
    click.option("--blind/--no-blind", default=None, help="Whether fit.blind refuses this test."),
    _plot,
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
    from tnt_coffea import fit_files, histogram_fits, stats

    config, stored = _changed(config, spectrum | {"window": None}), _stored(histogram, name)
    result = histogram_fits.fit_window(stored, config, window or None)
    if isinstance(result, stats.WindowTests):
        p_values = {_tested(test): test.result.p_poisson for test in result.tests}
        _keep_all(histogram, stored, config, "window", p_values, window=window)
    _show(result, json_path)
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, result)])


def _tested(test: WindowTest) -> str:
    low, high = test.result.window
    return f"{test.taggers} {test.selected}, {low:g}-{high:g} GeV"


@fit.command("null-chains")
@click.argument("folders", nargs=-1, required=True, type=PATH)
@click.option("--to", type=PATH, default=Path("null-chains.json"), show_default=True, help="File.")
def null_chains(folders: tuple[Path, ...], to: Path) -> None:
    """Collect q0 of whole searches of background, in FOLDERS, for `fit bump --null-chains`.

    Each searched events of its own without a signal and trained its taggers on them, with the
    settings of the search whose p-value they give (`fit.bump.null_chains`).
    """
    from tnt_coffea import pipeline

    chains = pipeline.NullChains.collected(folders)
    chains.save(to)
    click.echo(f"null chains: {to}: {len(folders)} searches of {', '.join(chains.q0)}")


def _stored(path: Path, name: str | None, *, whole: bool = False) -> StoredHistogram:
    from tnt_coffea import histogram_fits

    return histogram_fits.stored_histogram(path, name, whole=whole)


def _expected(
    histogram: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    test: str,
    json_path: Path | None,
    plot: Path | None,
    **given: Any,
) -> None:
    """Show what background alone lets expect, and note that it was looked at."""
    from tnt_coffea import fit_files, histogram_fits

    found = histogram_fits.fit_expected(stored, config, **given)
    _keep(histogram, stored, config, test, None, **given)
    _show(found, json_path)
    if plot is not None:
        _list("figure", [fit_files.write_plot(plot, found)])


def _refuse(**given: Any) -> None:
    """Refuse options that a blinded fit has no use for, or that would show the window."""
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            msg = f"--{option} is not for a blinded fit (--blind, fit.blind): leave it out"
            raise click.UsageError(msg)


def _blinded(config: SearchConfig, options: dict[str, Any]) -> SearchConfig:
    """Return the settings with what the command line says of the window."""
    from tnt_coffea.config import MassRange

    changes: dict[str, Any] = {}
    if options["blind"] is not None:
        changes["blind"] = options["blind"]
    if options["window"]:
        low, high = options["window"]
        changes["blind_window"] = _checked(MassRange, {"low": low, "high": high}, "window")
        if not changes.get("blind", config.fit.blind):
            msg = "--window hides a range of a blinded fit: give --blind as well"
            raise click.UsageError(msg)
    return config.model_copy(update={"fit": config.fit.model_copy(update=changes)})


def _numbers(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError as error:
        msg = f"--strengths are numbers with commas, such as 0,1,2, got {text}"
        raise click.UsageError(msg) from error


def _keep(
    histogram: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    test: str,
    p_value: float | None,
    **settings: Any,
) -> None:
    """Add a test on a search's histogram to the list of those that were made on the search."""
    of = _of(stored)
    p_values = {} if p_value is None else {of: p_value}
    _keep_all(histogram, stored, config, test, p_values, **settings)


def _of(stored: StoredHistogram) -> str:
    """Return in words which tagger sets of a search are meant."""
    return ", ".join(("all dijets", *stored.sets) if stored.whole else stored.sets)


def _keep_all(
    histogram: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    test: str,
    p_values: dict[str, float],
    **settings: Any,
) -> None:
    """Add a test to the list with its p-values, by what was tested."""
    from tnt_coffea import pipeline
    from tnt_coffea.search_folder import note_trial, noted_trials

    out = search_of(histogram)
    if stored.search is None or out is None:
        return
    if not os.access(out, os.W_OK):
        click.echo(f"{out}: not ours to write, so its list of tests lacks this one", err=True)
        return
    typed = {name: value for name, value in settings.items() if value}
    made = pipeline.trial(stored.search, config, test, p_values, _of(stored), **typed)
    note_trial(out, made)
    if (number := len(noted_trials(out, made.data))) > 1:
        click.echo(
            f"{number} tests were made on these data; `tnt-coffea fit` has the global p-value "
            "that counts them"
        )


def _show(result: Any, json_path: Path | None) -> None:
    from tnt_coffea import fit_files

    click.echo(result.summary())
    if json_path is not None:
        fit_files.write_result(json_path, result)
        _list("result", [json_path])


def _list(kind: str, paths: list[Path]) -> None:
    for path in paths:
        click.echo(f"{kind}: {path}")


def _changed(config: SearchConfig, spectrum: dict[str, Any]) -> SearchConfig:
    """Return the settings with what the command line says of one spectrum.

    Each is checked by itself: the bins, and a mass beside the window, are those of one's own
    histogram, which no search was made of.
    """
    from tnt_coffea.config import MassRange

    config = _blinded(config, spectrum)
    names = ("mass", "width", "bin_width", "family")
    typed = {name: spectrum.get(name) for name in names}
    typed = {name: value for name, value in typed.items() if value is not None}
    if (chains := spectrum.get("null_chains")) is not None:
        words = {"none": None, "auto": "auto"}
        typed["null_chains"] = words.get(str(chains), str(chains.absolute()))
    if spectrum.get("native_bins") and "bin_width" in typed:
        msg = "--native-bins and --bin-width: give one of them"
        raise click.UsageError(msg)
    if spectrum.get("native_bins"):
        typed |= {"bin_width": None, "edges": ()}
    elif "bin_width" in typed:
        typed["edges"] = ()
    if spectrum.get("find_lower_edge"):
        typed["lower_edges"] = "auto"
    if spectrum.get("trigger") is not None:
        typed["trigger"] = {"file": str(spectrum["trigger"])}
    bump = config.fit.bump
    changed = _checked(type(bump), bump.model_dump(mode="json") | typed)
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"bump": changed})})
    if spectrum.get("sqrt_s") is not None:
        values = config.data.model_dump() | {"sqrt_s": spectrum["sqrt_s"]}
        config = config.model_copy(update={"data": _checked(type(config.data), values)})
    if spectrum["fit_range"]:
        low, high = spectrum["fit_range"]
        fit_range = _checked(MassRange, {"low": low, "high": high}, "fit-range")
        search = config.search.model_copy(update={"fit_range": fit_range})
        config = config.model_copy(update={"search": search})
    return config


def _checked(model: type[Any], values: dict[str, Any], option: str = "") -> Any:
    """Return settings made of options.

    Raises
    ------
    ConfigError
        One of them is no such setting.
    """
    from pydantic import ValidationError

    from tnt_coffea.errors import ConfigError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = option or str(first["loc"][0]).replace("_", "-")
        message = first["msg"].removeprefix("Value error, ")
        msg = f"--{name}: {message[0].lower()}{message[1:]}, got {first['input']}"
        raise ConfigError(msg) from error


def _masses(steps: tuple[float, float, float] | None) -> tuple[float, ...]:
    import numpy as np

    if not steps:
        return ()
    low, high, step = steps
    if not (0 < low <= high and step > 0 and (high - low) / step <= 10_000):
        msg = f"--masses LOW HIGH STEP must rise, got {low:g} {high:g} {step:g}"
        raise click.UsageError(msg)
    return tuple(float(mass) for mass in np.arange(low, high + 0.5 * step, step))
