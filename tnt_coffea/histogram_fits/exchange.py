"""What others can read of a fit: pyhf workspaces and HEPData tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tnt_coffea import pipeline, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError
from tnt_coffea.histogram_fits.stored import Stored, stored_spectra
from tnt_coffea.storage import written

__all__ = ["write_tables", "write_workspace"]


def write_workspace(path: Path, stored: Stored, config: SearchConfig, result: Any) -> list[Path]:
    """Write the pyhf workspace of a bump hunt, or that of a scan and its patchset.

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
        The result is of another method, or of several selections.
    FitError
        A workspace cannot be made of these histograms.
    """
    bump, fit = config.fit.bump, pipeline.spectrum_fit(config)
    if isinstance(result, stats.BumpHuntResult):
        spectra = stored_spectra(stored, bump.efficiency)
        hunted = replace(fit, range=result.fit_range).with_family(result.family)
        workspace = stats.bump_workspace(spectra, mass=result.mass, width=result.width, fit=hunted)
        contents = {path: workspace}
    elif isinstance(result, stats.ScanResult):
        if len({point.selection for point in result.points}) > 1:
            msg = "a patchset is of one selection: scan one tagger set, without --nested"
            raise ConfigError(msg)
        masses = [point.mass for point in result.points]
        spectra = stored_spectra(stored, bump.efficiency)
        workspace, patches = stats.mass_patchset(spectra, masses=masses, width=bump.width, fit=fit)
        contents = {path: workspace, path.with_suffix(".patchset.json"): patches}
    else:
        msg = "--workspace is for bump hunts and scans: ABCD and limits have none to exchange"
        raise ConfigError(msg)
    for file, content in contents.items():
        with written(file) as partial:
            partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return list(contents)


def write_tables(folder: Path, result: Any) -> list[Path]:
    """Write the HEPData tables of a bump hunt (spectra and fits) or of a limit.

    Parameters
    ----------
    folder
        Where; it is made.
    result
        The result.

    Returns
    -------
    The files, submission.yaml first.

    Raises
    ------
    ConfigError
        The result is of another method.
    """
    if isinstance(result, stats.BumpHuntResult):
        return stats.write_hepdata(folder, stats.hepdata_spectrum(result))
    if isinstance(result, stats.LimitResult):
        return stats.write_hepdata(folder, {"limits": stats.hepdata_limits([result])})
    msg = "--hepdata is for bump hunts (spectra and fits) and limits"
    raise ConfigError(msg)
