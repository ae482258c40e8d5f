"""The files of a fit: result, pyhf workspace, HEPData tables, figure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tnt_coffea import pipeline, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError, StorageError
from tnt_coffea.histogram_counts import AbcdStudy
from tnt_coffea.histogram_fits import StoredHistogram, fit_from_edge
from tnt_coffea.stats.results import Result
from tnt_coffea.stats.transfer import norm_in_range
from tnt_coffea.storage import written

__all__ = [
    "check_place",
    "figure_format",
    "write_card",
    "write_hs3",
    "write_plot",
    "write_result",
    "write_tables",
    "write_workspace",
]

_FORMATS = ("png", "pdf", "svg")


def write_result(path: Path, result: Result) -> None:
    """Write a result as JSON.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    with written(path) as partial:
        partial.write_text(json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n")


def write_workspace(
    path: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    result: stats.BumpHuntResult
    | stats.ScanResult
    | stats.DirectEstimate
    | stats.DirectRefusal
    | stats.TransferEstimate
    | stats.TransferRefusal
    | AbcdStudy,
) -> list[Path]:
    """Write the pyhf workspace of a test, for a scan with its patchset.

    Parameters
    ----------
    path
        The workspace; the patchset of a scan goes beside it, as NAME.patchset.json.
    stored, config
        What was fitted, and how.
    result
        Its result.

    Returns
    -------
    The files.

    Raises
    ------
    ConfigError
        The result is of several selections.
    FitError
        A workspace cannot be made of these histograms, or the estimate was refused.
    """
    contents = _workspaces(path, stored, config, result)
    for file, content in contents.items():
        _write(file, content)
    return list(contents)


def write_hs3(
    path: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    result: stats.DirectEstimate
    | stats.DirectRefusal
    | stats.TransferEstimate
    | stats.TransferRefusal
    | AbcdStudy,
) -> list[Path]:
    """Write the HS3 document of an estimate.

    Parameters
    ----------
    path, stored, config, result
        As for `write_workspace`.

    Returns
    -------
    The file.

    Raises
    ------
    FitError
        The estimate was refused, or has no form in HS3.
    """
    workspace = _workspaces(path, stored, config, result)[path]
    _write(path, stats.hs3_document(workspace))
    return [path]


def write_card(
    path: Path, stored: StoredHistogram, config: SearchConfig, result: stats.BumpHuntResult
) -> list[Path]:
    """Write the CMS Combine card of a bump hunt, with its histograms beside it.

    Parameters
    ----------
    path
        The card; the histograms go into the same name with the suffix .root.
    stored, config, result
        As for `write_workspace`.

    Returns
    -------
    Both files.

    Raises
    ------
    FitError
        The bump hunt has no form as a card.
    """
    return stats.write_combine(
        path,
        stored.spectra(config.fit.bump.selection),
        mass=result.mass,
        width=result.width,
        fit=replace(stored.fit(config), range=result.fit_range),
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    with written(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _workspaces(
    path: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    result: stats.BumpHuntResult
    | stats.ScanResult
    | stats.DirectEstimate
    | stats.DirectRefusal
    | stats.TransferEstimate
    | stats.TransferRefusal
    | AbcdStudy,
) -> dict[Path, dict[str, Any]]:
    known = _systematics(stored, config, result)
    if isinstance(result, stats.DirectRefusal):
        msg = f"{path}: no workspace without a direct estimate: {result.reason}"
        raise FitError(msg)
    if isinstance(result, stats.TransferRefusal):
        msg = f"{path}: no workspace without a transfer factor: {result.reason}"
        raise FitError(msg)
    if isinstance(result, AbcdStudy):
        if isinstance(result.result, stats.AbcdRefusal):
            msg = f"{path}: no workspace without an ABCD estimate: {result.result.reason}"
            raise FitError(msg)
        return {path: stats.abcd_workspace(result.result, systematics=known)}
    if isinstance(result, stats.DirectEstimate):
        return {path: stats.direct_workspace(result, known)}
    if isinstance(result, stats.TransferEstimate):
        return {path: stats.transfer_workspace(result, known)}
    return _spectrum_workspaces(path, stored, config, result)


def _systematics(
    stored: StoredHistogram, config: SearchConfig, result: object
) -> dict[str, float | tuple[float, float]]:
    """Return the uncertainties of the signal's norm in the limit of an estimate."""
    if isinstance(result, stats.TransferEstimate):
        fit = (
            pipeline.spectrum_fit(config)
            if stored.search is None
            else pipeline.search_fit(
                stored.search, config, stored.sets[0], config.fit.transfer_selection
            )
        )
        return {**norm_in_range(fit, fit.signal(result.mass, result.width))}
    if stored.search is None or config.fit.signal is None:
        return pipeline.norm_systematics(config)
    search, name, settings = stored.search, stored.sets[0], config.fit
    if isinstance(result, AbcdStudy):
        where, selection = config.search.window.edges, settings.abcd.selection
    elif isinstance(result, stats.DirectEstimate):
        where, selection = search.simulation[name].window, settings.direct_selection
    else:
        return {}
    return pipeline.count_systematics(search, config, name, selection, where)


def _spectrum_workspaces(
    path: Path,
    stored: StoredHistogram,
    config: SearchConfig,
    result: stats.BumpHuntResult | stats.ScanResult,
) -> dict[Path, dict[str, Any]]:
    bump = config.fit.bump
    spectra = stored.spectra(bump.selection)
    if isinstance(result, stats.BumpHuntResult):
        hunted = replace(stored.fit(config), range=result.fit_range)
        workspace = stats.bump_workspace(spectra, mass=result.mass, width=result.width, fit=hunted)
        return {path: workspace}
    if len({point.selection for point in result.points}) > 1:
        msg = "a patchset is of one selection: scan one tagger set, without --nested"
        raise ConfigError(msg)
    fit = fit_from_edge(stored, config, spectra)
    masses = [point.mass for point in result.points]
    workspace, patches = stats.mass_patchset(spectra, masses=masses, width=bump.width, fit=fit)
    return {path: workspace, path.with_suffix(".patchset.json"): patches}


def check_place(path: Path) -> None:
    """Refuse a file that could not be written, before what takes minutes.

    Raises
    ------
    StorageError
        It is a folder, or there is none for it.
    """
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder, not a file" if path.is_dir() else f"no folder {path.parent}"
        msg = f"{path}: {why}"
        raise StorageError(msg)


def figure_format(path: Path) -> str:
    """Return the format of a figure, by its file's suffix.

    Raises
    ------
    ConfigError
        There is no such format.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in _FORMATS:
        msg = f"{path}: a figure is a file in {', '.join(_FORMATS)}"
        raise ConfigError(msg)
    return form


def write_plot(
    path: Path,
    result: stats.BumpHuntResult
    | stats.ScanResult
    | stats.Expectation
    | stats.ExpectationScan
    | stats.DirectEstimate
    | stats.DirectRefusal
    | stats.TransferEstimate
    | stats.TransferRefusal
    | stats.WindowTests
    | stats.WindowResult
    | stats.BiasStudy
    | stats.RetrainedLimit,
) -> Path:
    """Write the figure of a result.

    That of a bump hunt is its spectrum with both fits, of a scan its p-values, of an expectation
    the sidebands, of a scan of these the expected limits, of a bias study pulls and linearity, of
    a direct estimate data and weighted simulation, of a transfer factor what passes with its
    prediction, of counts in windows the p-values, in a single one the spectra, of a limit with
    retraining CLs and efficiency.

    Parameters
    ----------
    path
        The figure; its suffix is the format.
    result
        The result.

    Raises
    ------
    ConfigError
        There is no such format.
    FitError
        A direct estimate or a transfer factor was refused.
    StorageError
        The file cannot be written.
    """
    from tnt_coffea.reporting import (
        direct_figures,
        mass_figures,
        retrained_figures,
        review_figures,
        transfer_figures,
        window_figures,
    )

    form = figure_format(path)
    match result:
        case stats.DirectRefusal():
            msg = f"{path}: no figure without a direct estimate: {result.reason}"
            raise FitError(msg)
        case stats.TransferRefusal():
            msg = f"{path}: no figure without a transfer factor: {result.reason}"
            raise FitError(msg)
        case stats.TransferEstimate():
            figure = transfer_figures.transfer_spectrum(result, "events that pass")
        case stats.WindowTests():
            named = {window_figures.window_name(x.selection): x.result for x in result.tests}
            figure = (
                window_figures.window_p_values(result)
                if len(result.windows) > 1
                else window_figures.window_spectra(named, result.tests[0].taggers)
            )
        case stats.WindowResult():
            figure = window_figures.window_spectra({"events": result})
        case stats.BumpHuntResult():
            window = (result.mass - 2 * result.width, result.mass + 2 * result.width)
            figure = mass_figures.mass_spectrum(result, window)
        case stats.Expectation():
            figure = review_figures.blinded_spectrum(result)
        case stats.ExpectationScan():
            figure = review_figures.expected_band(result)
        case stats.DirectEstimate():
            figure = direct_figures.direct_spectrum(result, "selected events")
        case stats.BiasStudy():
            figure = review_figures.bias_figure(result, f"{result.mass:g} GeV")
        case stats.RetrainedLimit():
            figure = retrained_figures.retrained_limit_figure(result)
        case _:
            figure = mass_figures.local_p_values({"data": result})
    with written(path) as partial:
        figure.savefig(partial, format=form)
    return path


def write_tables(
    folder: Path, result: stats.BumpHuntResult | stats.LimitResult, config: SearchConfig
) -> list[Path]:
    """Write the HEPData tables of a bump hunt (spectra and fits) or of a limit.

    Parameters
    ----------
    folder
        Where; it is made.
    result
        The result.
    config
        `data.sqrt_s` is read.

    Returns
    -------
    The files, submission.yaml first.
    """
    energy = config.data.energy
    if isinstance(result, stats.BumpHuntResult):
        return stats.write_hepdata(folder, stats.hepdata_spectrum(result, energy))
    return stats.write_hepdata(folder, {"limits": stats.hepdata_limits([result], energy)})
