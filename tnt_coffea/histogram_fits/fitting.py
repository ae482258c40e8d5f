"""What is done with a stored histogram: a bump hunt, ABCD, a scan, a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tnt_coffea import pipeline, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError
from tnt_coffea.histogram_fits.planes import abcd_of_plane, abcd_of_search
from tnt_coffea.histogram_fits.stored import Stored, stored_spectra

__all__ = ["FitOptions", "FitResult", "Method", "fit_histogram"]


class Method(StrEnum):
    """What is done with a histogram."""

    BUMP = "bump"
    ABCD = "abcd"
    SCAN = "scan"
    LIMIT = "limit"


class FitResult(Protocol):
    """What every result can do."""

    def summary(self) -> str:
        """Return it as text."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        ...


@dataclass(frozen=True)
class FitOptions:
    """What differs from the settings, or is in none.

    Attributes
    ----------
    masses
        Masses of a scan [GeV]; by default those of `fit.scan`.
    toys
        Toys; by default those of the settings, or what the method takes.
    efficiency, luminosity
        Selected over produced signal, and luminosity [1/fb], for cross sections.
    passing, low
        On a plane of two scores: a jet passes above the first and is low below the
        second.
    nested
        Scan every selection of `search.efficiencies`, not only `fit.bump.efficiency`.
    progress
        Called with the toys that are done, and all of them.
    """

    masses: tuple[float, ...] = ()
    toys: int | None = None
    efficiency: float | None = None
    luminosity: float | None = None
    passing: float | None = None
    low: float | None = None
    nested: bool = False
    progress: Callable[[int, int], None] | None = None


def fit_histogram(
    stored: Stored, method: Method, config: SearchConfig, options: FitOptions | None = None
) -> FitResult:
    """Return the result of one method on one histogram.

    Parameters
    ----------
    stored
        A spectrum in m_jj; a plane of two scores, for `abcd`; or a search's histogram,
        of which the share `fit.bump.efficiency` is fitted.
    method
        What to do.
    config
        `fit` and, for the range, `search` are read.
    options
        What differs.

    Raises
    ------
    FitError
        The histogram does not suit the method.
    ConfigError
        An option is missing.
    """
    options = options or FitOptions()
    if method is Method.ABCD:
        return _abcd(_only(stored, method), config, options)
    if method is Method.SCAN:
        return _scan(stored, config, options)
    bump = config.fit.bump
    spectra = stored_spectra(_only(stored, method), bump.efficiency)
    fit = pipeline.spectrum_fit(config)
    if method is Method.BUMP:
        return stats.bump_hunt(
            spectra,
            mass=bump.mass,
            width=bump.width,
            fit=fit,
            seed=config.seed,
            toys=bump.toys if options.toys is None else options.toys,
            envelope=bump.envelope,
            lower_edges=bump.lower_edges,
            progress=options.progress,
        )
    return stats.upper_limit(
        spectra,
        mass=bump.mass,
        width=bump.width,
        fit=fit,
        seed=config.seed,
        toys=options.toys,
        efficiency=options.efficiency,
        luminosity=options.luminosity,
    )


def _only(stored: Stored, method: Method) -> Stored:
    """Return a histogram that is one, not one a window."""
    if len(stored.sets) > 1:
        msg = (
            f"{method.value} is of one tagger set; name one of {', '.join(stored.sets)}, or scan "
            "them all"
        )
        raise ConfigError(msg)
    return stored


def _scan(stored: Stored, config: SearchConfig, options: FitOptions) -> FitResult:
    masses = options.masses or config.fit.scan.masses
    if not masses:
        msg = "a scan needs masses: give --masses LOW HIGH STEP, or fit.scan.masses"
        raise ConfigError(msg)
    chosen: dict[str, Any] = {
        "masses": masses,
        "toys": config.fit.scan.toys if options.toys is None else options.toys,
        "progress": options.progress,
    }
    if stored.search is None:
        if options.nested:
            msg = "--nested is for the folder of a search stage: a spectrum holds one selection"
            raise ConfigError(msg)
        spectra = {"data": stored_spectra(stored, config.fit.bump.efficiency)}
        return stats.scan(
            spectra,
            width=config.fit.bump.width,
            fit=pipeline.spectrum_fit(config),
            seed=config.seed,
            **chosen,
        )
    efficiencies = sorted(stored.thresholds or {}, reverse=True) if options.nested else ()
    selections = {
        (f"{name} {efficiency:g}" if options.nested else name): (name, efficiency)
        for name in stored.sets
        for efficiency in efficiencies or (config.fit.bump.efficiency,)
    }
    if len(selections) == 1:
        selections = {"data": next(iter(selections.values()))}
    return pipeline.scan(stored.search, config, selections, **chosen)


def _abcd(stored: Stored, config: SearchConfig, options: FitOptions) -> FitResult:
    toys = options.toys or 0
    if len(stored.histogram.axes) == 2:
        return abcd_of_plane(stored.histogram, config, options.passing, options.low, toys)
    return abcd_of_search(stored.histogram, stored.thresholds, config, toys)
