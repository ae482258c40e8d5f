"""Options of fits, and what they change of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import PATH, options

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig

__all__ = [
    "bins_and_width_options",
    "bins_options",
    "blind_options",
    "blinded",
    "changed",
    "hepdata_option",
    "histogram_argument",
    "hs3_option",
    "json_option",
    "mass_option",
    "masses_of",
    "name_option",
    "numbers_of",
    "out_of_search_option",
    "plot_option",
    "quiet_option",
    "shape_options",
    "spectrum_options",
    "toys_option",
    "workspace_option",
]

histogram_argument = click.argument("histogram", type=PATH)
name_option = click.option("--name", help="Histogram in the file, or tagger set of the search.")
json_option = click.option("--json", "json_path", type=PATH, help="File for the result as JSON.")
out_of_search_option = click.option(
    "--out",
    type=PATH,
    help="Folder of a search, for its settings.  [default: that which HISTOGRAM is of, if any]",
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
toys_option = click.option("--toys", type=click.IntRange(0), help="Toys, instead of the settings'.")
hepdata_option = click.option("--hepdata", type=PATH, help="Folder for HEPData tables.")
mass_option = click.option("--mass", type=float, help="Mass of the signal [GeV].")
bins_options = options(
    click.option("--fit-range", nargs=2, type=float, help="Range of the fit [GeV]."),
    click.option("--bin-width", type=float, help="Bins of the fit [GeV]."),
    click.option(
        "--native-bins", is_flag=True, help="Fit in the histogram's own bins, of any widths."
    ),
)
bins_and_width_options = options(
    click.option("--width", type=float, help="Gaussian width of the signal [GeV]."),
    bins_options,
)
shape_options = options(
    click.option(
        "--family", help="Background functions: dijet, exponential, power_law, bernstein."
    ),
    click.option("--sqrt-s", type=float, help="Centre-of-mass energy of the data [TeV]."),
)
spectrum_options = options(
    bins_and_width_options,
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
    shape_options,
)
workspace_option = click.option("--workspace", type=PATH, help="File for the pyhf workspace.")
hs3_option = click.option("--hs3", type=PATH, help="File for the HS3 document.")
blind_options = options(
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
plot_option = click.option("--plot", type=PATH, help="File for a figure (.png, .pdf, .svg).")


def blinded(config: SearchConfig, options: dict[str, Any]) -> SearchConfig:
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


def numbers_of(text: str | None) -> tuple[float, ...]:
    """Return strengths of signals that are given as text."""
    try:
        return tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError as error:
        msg = f"--strengths are numbers with commas, such as 0,1,2, got {text}"
        raise click.UsageError(msg) from error


def changed(config: SearchConfig, spectrum: dict[str, Any]) -> SearchConfig:
    """Return the settings with what the command line says of one spectrum.

    Each is checked by itself: the bins, and a mass beside the window, are those of one's own
    histogram, which no search was made of.
    """
    from tnt_coffea.config import MassRange

    config = blinded(config, spectrum)
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
    own = _checked(type(bump), bump.model_dump(mode="json") | typed)
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"bump": own})})
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

    from tnt_coffea.errors import ConfigError, fault

    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = option or str(first["loc"][0]).replace("_", "-")
        msg = f"--{name}: {fault(first)}"
        raise ConfigError(msg) from error


def masses_of(steps: tuple[float, float, float] | None) -> tuple[float, ...]:
    """Return masses from the lowest, the highest and the step [GeV]."""
    import numpy as np

    if not steps:
        return ()
    low, high, step = steps
    if not (0 < low <= high and step > 0 and (high - low) / step <= 10_000):
        msg = f"--masses LOW HIGH STEP must rise, got {low:g} {high:g} {step:g}"
        raise click.UsageError(msg)
    return tuple(float(mass) for mass in np.arange(low, high + 0.5 * step, step))
