"""The report of a blinded fit: the sidebands, and what background alone lets one expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.config import SearchConfig
from tnt_coffea.reporting.document import page_environment, panel_of
from tnt_coffea.reporting.figures import Plot, Section, stamp
from tnt_coffea.reporting.review_figures import blinded_spectrum, expected_band, summed_bins
from tnt_coffea.reporting.wording import chosen_by, mass_name, p_text, percent, plot_label
from tnt_coffea.results import BlindedSearch
from tnt_coffea.stats import Expectation
from tnt_coffea.storage import stored

__all__ = ["write_blinded_report"]


def write_blinded_report(
    path: Path, result: BlindedSearch, config: SearchConfig, *, generated: bool = False
) -> list[Path]:
    """Write the report of a blinded fit and return its files, the HTML first.

    Parameters
    ----------
    path
        The HTML file; plots go to `plots/` beside it as PNG, PDF, and numbers in JSON.
    result, config
        The expectations, and the settings they were made with.
    generated
        Whether all data are simulated, by the generator of this package.

    Returns
    -------
    The files. The same result gives the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    panels = []
    for plot in _plots(result, config, generated):
        with stored(path.parent / "plots" / plot.name):
            saved = plot.save(path.parent / "plots")
        written += saved
        panels.append(panel_of(plot, saved))
    low, high = result.window
    page = (
        page_environment()
        .get_template("blinded.html")
        .render(
            window=f"{low:g} to {high:g} GeV",
            mass=next(iter(result.fits.values())).mass,
            name=mass_name(config.search.variable),
            rows=[
                {"known": result.knowledge(name) or "-", **row}
                for name, one in result.fits.items()
                for row in _rows(name, one, config)
            ],
            notes={
                _chosen(name, config): one.notes for name, one in result.fits.items() if one.notes
            }
            | ({"what is left out": result.notes} if result.notes else {}),
            plots=panels,
            settings=config.to_yaml(),
            version=version("tnt-coffea"),
        )
    )
    with stored(path):
        path.write_text(page, encoding="utf-8")
    return [path, *written]


def _chosen(name: str, config: SearchConfig) -> str:
    return "all dijets" if name == "before" else chosen_by(config.fit.bump.selection, name)


def _rows(name: str, one: Expectation, config: SearchConfig) -> Iterator[Mapping[str, str]]:
    """Yield one row an expected number."""
    chosen = _chosen(name, config)
    for signal in one.signals:
        yield _row(chosen, f"significance of {signal.events:g} events", f"Z = {signal.z:.2f}")
    for signal in one.reach:
        yield _row(chosen, f"signal of Z = {signal.z:g}", f"{signal.events:.3g} events")
    if one.limit is not None:
        _, low, middle, high, _ = one.limit.events
        text = f"{middle:.3g} events ({low:.3g} to {high:.3g})"
        if one.limit.cross_section is not None:
            text += f", {one.limit.cross_section[2]:.3g} fb"
        yield _row(chosen, f"{percent(one.limit.level)} CLs limit (68 % of cases)", text)
    for channel in one.channels:
        yield _row(
            chosen,
            f"goodness of fit beside the window, {channel.name}",
            f"p = {p_text(channel.goodness_of_fit)} ({channel.goodness_calibration}), "
            f"{one.functions[0].replace('_', ' ')} parameters",
        )
    yield _row(chosen, "fits", "converged" if one.converged else "NOT CONVERGED")


def _row(chosen: str, what: str, value: str) -> Mapping[str, str]:
    return {"selection": chosen, "expected": what, "value": value}


def _plots(result: BlindedSearch, config: SearchConfig, generated: bool) -> Iterator[Plot]:
    label = plot_label(config, generated=generated)
    for plot in (*_spectra(result, config), *_bands(result, config)):
        stamp(plot.figure, label)
        yield plot


def _spectra(result: BlindedSearch, config: SearchConfig) -> Iterator[Plot]:
    for name, one in result.fits.items():
        chosen = _chosen(name, config)
        several = " The channels (folds) are summed for the eye." if len(one.channels) > 1 else ""
        yield Plot(
            f"spectrum-{'before' if name == 'before' else f'after-{name}'}",
            f"Sidebands: {chosen}",
            "Spectrum beside the hidden window with the background-only fit of the sidebands. "
            f"Below: signed root of each bin's deviance.{several}",
            blinded_spectrum(one, f"{chosen[0].upper()}{chosen[1:]}", config.search.variable),
            one.to_dict(),
            Section.MASS,
            f"Spectrum of {chosen} with a hidden window and the background-only fit.",
            columns=_columns(one),
        )


def _bands(result: BlindedSearch, config: SearchConfig) -> Iterator[Plot]:
    for name, scan in result.scans.items():
        chosen = _chosen(name, config)
        yield Plot(
            f"expected-{'before' if name == 'before' else f'after-{name}'}",
            f"Expected by mass: {chosen}",
            "Expected limits by mass with their bands of one and two standard deviations, and "
            "the signals of an expected significance of 3 and 5.",
            expected_band(scan, f"{chosen[0].upper()}{chosen[1:]}"),
            scan.to_dict(),
            Section.MASS,
            f"Expected limits of {chosen} at {len(scan.points)} masses.",
        )


def _columns(one: Expectation) -> Mapping[str, Sequence[Any]]:
    bins = summed_bins(one)
    shown = {
        name: ["" if np.isnan(value) else value for value in bins[name].tolist()]
        for name in ("observed", "background", "pull")
    }
    return {"low": bins["edges"][:-1].tolist(), "high": bins["edges"][1:].tolist(), **shown}
