"""Fits: of a whole search, or of one stored histogram."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import configured, histograms_option, out_option
from tnt_coffea.cli.progress import toys_shown

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.histogram_fits import FitResult

__all__ = ["fit"]

PATH = click.Path(path_type=Path)
_ONE = "For one HISTOGRAM: "


@click.command()
@click.argument("histogram", required=False, type=PATH)
@click.option(
    "--method",
    type=click.Choice(["bump", "abcd", "scan", "limit"]),
    help=f"{_ONE}what to do with it.  [default: bump]",
)
@click.option(
    "--name",
    help=f"{_ONE}which one in the file, or which tagger set; a method with several windows can be "
    "scanned in all of them.",
)
@click.option("--mass", type=float, help=f"{_ONE}mass of the signal [GeV].")
@click.option("--width", type=float, help=f"{_ONE}width of the signal [GeV].")
@click.option("--fit-range", nargs=2, type=float, help=f"{_ONE}range of the fit [GeV].")
@click.option("--bin-width", type=float, help=f"{_ONE}bins of the fit [GeV].")
@click.option("--masses", nargs=3, type=float, help="For a scan: lowest, highest, step [GeV].")
@click.option(
    "--nested", is_flag=True, help="For a scan of a search: every share of search.efficiencies."
)
@click.option("--toys", type=click.IntRange(0), help=f"{_ONE}toys, instead of the settings'.")
@click.option("--efficiency", type=float, help="For a limit: selected over produced signal.")
@click.option("--luminosity", type=float, help="For a limit: of the data [1/fb].")
@click.option("--passing", type=float, help="For ABCD on a plane of scores: a jet passes above.")
@click.option("--low", type=float, help="For ABCD on a plane of scores: a jet is low below.")
@click.option("--json", "json_path", type=PATH, help=f"{_ONE}where the result goes as JSON.")
@click.option(
    "--workspace",
    type=PATH,
    help="For a bump hunt: where its pyhf workspace goes; for a scan: and its patchset beside it.",
)
@click.option(
    "--hepdata", type=PATH, help="For a bump hunt or limit: folder for its HEPData tables."
)
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@histograms_option
@out_option
@configured
def fit(
    config: SearchConfig,
    out: Path,
    search_folder: Path | None,
    histogram: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Fit a search's histograms, or one HISTOGRAM of your own.

    Without HISTOGRAM: bump hunts, ABCD estimates and, if asked for, scans of OUT/search.
    HISTOGRAM is a ROOT file with a TH1 in m_jj (or, for ABCD, a TH2 of two scores), a UHI
    file (.json, .h5), or the folder of a search stage.
    """
    if histogram is None:
        _search(config, out, search_folder, options)
    else:
        _one(histogram, _changed(config, options), options, quiet)


def _search(
    config: SearchConfig, out: Path, search_folder: Path | None, options: dict[str, Any]
) -> None:
    from tnt_coffea import pipeline
    from tnt_coffea.products import Histograms

    given = sorted(name.replace("_", "-") for name, value in options.items() if value)
    if given:
        msg = f"--{given[0]} is for one HISTOGRAM; the fit of a search takes its settings"
        raise click.UsageError(msg)
    result = pipeline.fit(Histograms.load(search_folder or out / "search"), config, out=out)
    click.echo(result.summary())
    click.echo(f"result: {out / 'fit' / 'result.json'}")


def _one(path: Path, config: SearchConfig, options: dict[str, Any], quiet: bool) -> None:
    from tnt_coffea import histogram_fits
    from tnt_coffea.histogram_fits import FitOptions, Method

    stored = histogram_fits.stored_histogram(path, options["name"])
    with toys_shown(quiet) as progress:
        found = histogram_fits.fit_histogram(
            stored,
            Method(options["method"] or "bump"),
            config,
            FitOptions(
                masses=_masses(options["masses"]),
                toys=options["toys"],
                efficiency=options["efficiency"],
                luminosity=options["luminosity"],
                passing=options["passing"],
                low=options["low"],
                nested=options["nested"],
                progress=progress,
            ),
        )
    click.echo(found.summary())
    if options["json_path"] is not None:
        _write(options["json_path"], found)
    if options["workspace"] is not None:
        for file in histogram_fits.write_workspace(options["workspace"], stored, config, found):
            click.echo(f"workspace: {file}")
    if options["hepdata"] is not None:
        for file in histogram_fits.write_tables(options["hepdata"], found):
            click.echo(f"table: {file}")


def _write(path: Path, found: FitResult) -> None:
    from tnt_coffea.storage import written

    with written(path) as partial:
        text = json.dumps(found.to_dict(), indent=1, sort_keys=True, allow_nan=False)
        partial.write_text(text + "\n")
    click.echo(f"result: {path}")


def _changed(config: SearchConfig, options: dict[str, Any]) -> SearchConfig:
    """Return the settings with what the command line says, checked as settings are."""
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.errors import ConfigError

    values = config.model_dump(mode="json")
    bump = {name: options[name] for name in ("mass", "width", "bin_width") if options[name]}
    values["fit"]["bump"] |= bump
    if options["fit_range"]:
        low, high = options["fit_range"]
        values["search"]["fit_range"] = {"low": low, "high": high}
        values["search"]["window"] = _inside(values["search"]["window"], low, high)
    if options["bin_width"]:
        # The bins of one's own histogram are not those of a search.
        values["search"]["bin_width"] = options["bin_width"]
    try:
        return SearchConfig.model_validate(values)
    except ValueError as error:
        msg = f"the options do not go together: {' '.join(str(error).split())}"
        raise ConfigError(msg) from error


def _inside(window: dict[str, float], low: float, high: float) -> dict[str, float]:
    if low <= window["low"] and window["high"] <= high:
        return window
    third = (high - low) / 3
    return {"low": low + third, "high": high - third}


def _masses(steps: tuple[float, float, float] | None) -> tuple[float, ...]:
    import numpy as np

    if not steps:
        return ()
    low, high, step = steps
    if not (0 < low <= high and step > 0 and (high - low) / step <= 10_000):
        msg = f"--masses LOW HIGH STEP must rise, got {low:g} {high:g} {step:g}"
        raise click.UsageError(msg)
    return tuple(float(mass) for mass in np.arange(low, high + 0.5 * step, step))
