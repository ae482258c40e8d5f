"""Tests and limits on one stored histogram, a search's or anyone's own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.products import Histograms
from tnt_coffea.stats.exchange.histogram_files import read_histogram
from tnt_coffea.stats.fitting.spectra import edge_index
from tnt_coffea.stats.regions.results import AbcdCounts

__all__ = ["FitOptions", "Method", "Stored", "fit_histogram", "stored_histogram"]

_PLANE = ("fold", "m_jj", "q_heavy", "q_light")


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
    """

    masses: tuple[float, ...] = ()
    toys: int | None = None
    efficiency: float | None = None
    luminosity: float | None = None
    passing: float | None = None
    low: float | None = None


@dataclass(frozen=True, eq=False)
class Stored:
    """A histogram and, where it is a search's, X by efficiency and fold."""

    histogram: Any
    thresholds: dict[float, dict[int, float]] | None = None


def stored_histogram(path: str | Path, name: str | None = None) -> Stored:
    """Return a histogram from a file, or from the folder of a search stage.

    Parameters
    ----------
    path
        ROOT, JSON or HDF5 file; or a folder with histograms.h5 and search.json.
    name
        The histogram, or the tagger set, where there are several.

    Raises
    ------
    InputError, StageError
        There is no such histogram.
    """
    path = Path(path)
    if path.is_dir() or path.name == "histograms.h5":
        found = Histograms.load(path if path.is_dir() else path.parent)
        names = sorted(found.hists)
        chosen = names[0] if name is None and len(names) == 1 else name
        if chosen not in names:
            msg = f"{path}: name the tagger set, one of {', '.join(names)}"
            raise ConfigError(msg)
        by = found.thresholds[str(chosen)]
        return Stored(found.hists[str(chosen)], {eff: dict(x) for eff, x in by.items()})
    return Stored(read_histogram(path, name))


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
        return _abcd(stored, config, options)
    bump = config.fit.bump
    common: dict[str, Any] = {
        "width": bump.width,
        "fit_range": (config.search.fit_range.low, config.search.fit_range.high),
        "bin_width": bump.bin_width,
        "family": bump.family,
        "min_parameters": bump.min_parameters,
        "max_parameters": bump.max_parameters,
        "f_test": bump.f_test,
        "shape": bump.shape,
        "scale_uncertainty": bump.scale_uncertainty,
        "width_uncertainty": bump.width_uncertainty,
        "seed": config.seed,
    }
    spectra = _spectra(stored, config)
    if method is Method.BUMP:
        return stats.bump_hunt(
            spectra,
            mass=bump.mass,
            toys=bump.toys if options.toys is None else options.toys,
            envelope=bump.envelope,
            lower_edges=bump.lower_edges,
            **common,
        )
    if method is Method.LIMIT:
        return stats.upper_limit(
            spectra,
            mass=bump.mass,
            toys=options.toys,
            efficiency=options.efficiency,
            luminosity=options.luminosity,
            **common,
        )
    masses = options.masses or config.fit.scan.masses
    if not masses:
        msg = "a scan needs masses: give --masses LOW HIGH STEP, or fit.scan.masses"
        raise ConfigError(msg)
    toys = config.fit.scan.toys if options.toys is None else options.toys
    return stats.scan({"data": spectra}, masses=masses, toys=toys, **common)


def _spectra(stored: Stored, config: SearchConfig) -> Any:
    names = [axis.name for axis in stored.histogram.axes]
    if not set(_PLANE) <= set(names):
        return stored.histogram
    efficiency = config.fit.bump.efficiency
    if stored.thresholds is None or efficiency not in stored.thresholds:
        msg = (
            f"the search has no selection of {efficiency:g} (it has "
            f"{sorted(stored.thresholds or {})}): set fit.bump.efficiency to one of them, and give "
            "the folder of the search stage"
        )
        raise ConfigError(msg)
    return stats.selected_spectrum(stored.histogram, stored.thresholds[efficiency])


def _abcd(stored: Stored, config: SearchConfig, options: FitOptions) -> FitResult:
    settings, search = config.fit.abcd, config.search
    if len(stored.histogram.axes) == 2:
        return _plane_of_two(stored.histogram, config, options)
    if stored.thresholds is None or settings.efficiency not in stored.thresholds:
        msg = (
            "ABCD needs a plane of two scores (a TH2), or the folder of a search stage with a "
            f"selection of fit.abcd.efficiency = {settings.efficiency:g}"
        )
        raise FitError(msg)
    return stats.abcd_in_window(
        stored.histogram,
        stored.thresholds[settings.efficiency],
        search.background_quantile,
        (search.fit_range.low, search.fit_range.high),
        (search.window.low, search.window.high),
        systematic_floor=settings.systematic,
        closure_limit=settings.closure_limit,
        toys=options.toys or 0,
        seed=config.seed,
    )


def _plane_of_two(histogram: Any, config: SearchConfig, options: FitOptions) -> FitResult:
    """Test a plane of two scores, the closure only its systematic: no other events are known."""
    if options.passing is None or options.low is None or not options.low <= options.passing:
        msg = (
            "a plane of two scores needs --passing X (a jet passes above it) and --low Y (it is "
            "low below it), with Y not above X"
        )
        raise ConfigError(msg)
    counts = np.asarray(histogram.values(), dtype=float)
    if not np.isfinite(counts).all() or counts.min() < 0:
        msg = "a bin of the plane is negative or not finite: only counts can be used"
        raise FitError(msg)
    cuts = []
    for axis, what in zip(histogram.axes, ("first", "second"), strict=True):
        edges = np.asarray(axis.edges, dtype=float)
        low = edge_index(edges, options.low, f"--low on the {what} axis")
        passing = edge_index(edges, options.passing, f"--passing on the {what} axis")
        cuts.append((slice(0, low), slice(low, passing), slice(passing, None)))
    table = tuple(tuple(float(counts[r, c].sum()) for c in cuts[1]) for r in cuts[0])
    total = np.array(table)
    a, b, c, d = total[2, 2], total[2, 0], total[0, 2], total[0, 0]
    if min(b, c, d) <= 0:
        # One message for empty regions, that of the test itself.
        return stats.abcd(a, b, c, d)
    eps1, eps2 = b / total[:, 0].sum(), c / total[0].sum()
    found = AbcdCounts(
        a=float(a),
        b=float(b),
        c=float(c),
        d=float(d),
        eps1=float(eps1),
        eps2=float(eps2),
        eps1_uncertainty=float(np.sqrt(eps1 * (1 - eps1) / total[:, 0].sum())),
        eps2_uncertainty=float(np.sqrt(eps2 * (1 - eps2) / total[0].sum())),
        total=float(total.sum()),
        mass_range=(0.0, 0.0),
        tables=(table,),
    )
    return stats.abcd(
        found.a,
        found.b,
        found.c,
        found.d,
        systematic=config.fit.abcd.systematic,
        toys=options.toys or 0,
        seed=config.seed,
        counts=found,
    )
