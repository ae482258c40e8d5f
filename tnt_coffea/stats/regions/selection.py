"""The four regions of the score plane: counts, closure, and the test in a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.spectra import edge_index
from tnt_coffea.stats.plane import Plane, mass_bins, passing_bins, score_plane
from tnt_coffea.stats.regions.counting import abcd
from tnt_coffea.stats.regions.dependence import distance_correlation, pearson, spearman
from tnt_coffea.stats.regions.results import (
    AbcdCounts,
    AbcdRefusal,
    AbcdResult,
    Closure,
    RegionClosure,
)

__all__ = ["abcd_counts", "abcd_in_window", "closure"]

Array = NDArray[np.float64]
Range = tuple[float, float]


def abcd_counts(
    histogram: Any,
    thresholds: Mapping[int, float],
    background_quantile: float,
    mass_range: Range,
) -> AbcdCounts:
    """Return the four regions of the score plane in a range of m_jj, folds summed.

    Parameters
    ----------
    histogram
        The search histogram, one window of it; datasets are summed.
    thresholds
        X of every fold: a jet passes above it.
    background_quantile
        A jet is low below it.
    mass_range
        Range in m_jj [GeV].

    Raises
    ------
    FitError
        An edge or a threshold is missing, pass and low overlap, or what the regions hold
        is no count.

    Source
    ------
    arXiv:2002.12376, section 4.1.
    """
    return _counts(score_plane(histogram), thresholds, background_quantile, mass_range)


def closure(
    histogram: Any,
    thresholds: Mapping[int, float],
    background_quantile: float,
    fit_range: Range,
    window: Range,
) -> Closure:
    """Return how well B C / D predicts A at the same efficiency beside the window.

    Parameters
    ----------
    histogram, thresholds, background_quantile
        As in `abcd_counts`.
    fit_range
        Range of the search in m_jj [GeV].
    window
        Where the signal is looked for [GeV]: left out.

    Raises
    ------
    FitError
        As in `abcd_counts`; or a region is empty beside the window.
    """
    found = _closure(score_plane(histogram), thresholds, background_quantile, fit_range, window)
    if isinstance(found, str):
        msg = f"{found}: use a looser selection or a wider fit range"
        raise FitError(msg)
    return found


def abcd_in_window(
    histogram: Any,
    thresholds: Mapping[int, float],
    background_quantile: float,
    fit_range: Range,
    window: Range,
    *,
    systematic_floor: float = 0.03,
    closure_limit: float = 0.5,
    toys: int = 0,
    seed: int = 1,
) -> AbcdResult | AbcdRefusal:
    """Test for a signal in a window with the background from the score plane, or refuse.

    The prediction is kappa B C / D with kappa of `closure`. Its relative
    systematic is the largest of the floor, kappa's own relative statistical
    uncertainty, and `Closure.spread`, the disagreement between the regions beside
    the window beyond their statistics.

    Parameters
    ----------
    histogram, thresholds, background_quantile, fit_range, window
        As in `closure`.
    systematic_floor
        Least relative uncertainty; 3 % in the paper.
    closure_limit
        Largest abs(kappa - 1) with which an estimate is given.
    toys, seed
        As in `abcd`.

    Returns
    -------
    The test, or the reason why there is none.

    Raises
    ------
    FitError
        As in `abcd_counts`.
    """
    plane = score_plane(histogram)
    counts = _counts(plane, thresholds, background_quantile, window)
    found = _closure(plane, thresholds, background_quantile, fit_range, window)
    if isinstance(found, str):
        return AbcdRefusal(found, counts)
    if abs(found.kappa - 1) > closure_limit:
        reason = (
            f"A D / (B C) is {found.kappa:.2f} +- {found.uncertainty:.2f} beside the window, "
            f"further from 1 than the limit of {closure_limit:g}: the scores are not independent"
        )
        return AbcdRefusal(reason, counts, found)
    empty = [name for name in "BCD" if getattr(counts, name.lower()) <= 0]
    if empty:
        reason = f"region {', '.join(empty)} is empty in the window"
        return AbcdRefusal(reason, counts, found)
    systematic = max(systematic_floor, found.uncertainty / found.kappa, found.spread)
    return abcd(
        counts.a,
        counts.b,
        counts.c,
        counts.d,
        systematic=systematic,
        closure_factor=found.kappa,
        toys=toys,
        seed=seed,
        counts=counts,
        closure=found,
    )


def _counts(
    plane: Plane, thresholds: Mapping[int, float], background_quantile: float, mass_range: Range
) -> AbcdCounts:
    bins = mass_bins(plane, mass_range)
    low_heavy = edge_index(plane.heavy, background_quantile, "background quantile on q_heavy")
    low_light = edge_index(plane.light, background_quantile, "background quantile on q_light")
    sums = np.zeros(7)
    tables = []
    for index, fold in enumerate(plane.folds):
        heavy, light = passing_bins(plane, thresholds, fold)
        if heavy < low_heavy or light < low_light:
            msg = (
                f"fold {fold}: X = {thresholds[fold]:g} is below the background quantile "
                f"{background_quantile:g}, so an event could pass and be low: use a tighter "
                "selection"
            )
            raise FitError(msg)
        table = plane.counts[index, bins].sum(axis=0)
        regions = (
            table[heavy:, light:],
            table[heavy:, :low_light],
            table[:low_heavy, light:],
            table[:low_heavy, :low_light],
            table[:low_heavy],
            table[:, :low_light],
            table,
        )
        sums += [region.sum() for region in regions]
        rows = (slice(0, low_heavy), slice(low_heavy, heavy), slice(heavy, None))
        columns = (slice(0, low_light), slice(low_light, light), slice(light, None))
        tables.append(tuple(tuple(float(table[r, c].sum()) for c in columns) for r in rows))
    if not np.isfinite(sums).all() or sums.min() < 0:
        named = dict(zip("ABCD", sums.tolist(), strict=False))
        msg = (
            f"{mass_range[0]:g}-{mass_range[1]:g} GeV: the regions of the score plane must hold "
            f"counts, 0 or more, got {named} and {sums[-1]:g} in all"
        )
        raise FitError(msg)
    a, b, c, d, heavy_low, light_low, total = map(float, sums)
    eps1, eps1_uncertainty = _efficiency(b, light_low)
    eps2, eps2_uncertainty = _efficiency(c, heavy_low)
    return AbcdCounts(
        a=a,
        b=b,
        c=c,
        d=d,
        eps1=eps1,
        eps2=eps2,
        eps1_uncertainty=eps1_uncertainty,
        eps2_uncertainty=eps2_uncertainty,
        total=total,
        mass_range=(float(mass_range[0]), float(mass_range[1])),
        tables=tuple(tables),
        weighted=not np.allclose(plane.variances[:, bins], plane.counts[:, bins]),
    )


def _efficiency(passed: float, total: float) -> tuple[float, float]:
    if total <= 0:
        return 0.0, 0.0
    share = passed / total
    # Negative weights can lift a part above its whole.
    return share, float(np.sqrt(max(share * (1 - share), 0.0) / total))


def _closure(
    plane: Plane,
    thresholds: Mapping[int, float],
    background_quantile: float,
    fit_range: Range,
    window: Range,
) -> Closure | str:
    """Return the closure beside the window, or why there is none."""
    if not fit_range[0] <= window[0] < window[1] <= fit_range[1]:
        msg = (
            f"the window {window[0]:g}-{window[1]:g} GeV does not lie inside the fit range "
            f"{fit_range[0]:g}-{fit_range[1]:g} GeV: change one of them"
        )
        raise FitError(msg)
    sides = [(fit_range[0], window[0]), (window[1], fit_range[1])]
    sides = [side for side in sides if side[0] < side[1]]
    if not sides:
        return "the window fills the fit range: nothing is left to test the closure on"
    counts = [_counts(plane, thresholds, background_quantile, side) for side in sides]
    sums = [sum(getattr(part, name) for part in counts) for name in "abcd"]
    kappa, uncertainty = _kappa(*sums)
    if kappa is None or uncertainty is None:
        names = ", ".join(name for name, n in zip("ABCD", sums, strict=True) if n <= 0)
        return f"region {names} is empty beside the window, so the closure cannot be tested"
    regions = tuple(
        RegionClosure(side, n.a, n.b, n.c, n.d, *_kappa(n.a, n.b, n.c, n.d))
        for side, n in zip(sides, counts, strict=True)
    )
    beside = np.sum(
        [plane.counts[:, mass_bins(plane, side)].sum(axis=(0, 1)) for side in sides], axis=0
    )
    centres = (_centres(plane.heavy), _centres(plane.light))
    return Closure(
        kappa=kappa,
        uncertainty=uncertainty,
        regions=regions,
        spread=_spread(kappa, regions),
        pearson=pearson(beside, *centres),
        spearman=spearman(beside),
        distance=distance_correlation(beside, *centres),
    )


def _kappa(a: float, b: float, c: float, d: float) -> tuple[float | None, float | None]:
    if min(a, b, c, d) <= 0:
        return None, None
    kappa = a * d / (b * c)
    return kappa, float(kappa * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d))


def _spread(kappa: float, regions: tuple[RegionClosure, ...]) -> float:
    beyond = [
        (region.kappa - kappa) ** 2 - region.uncertainty**2
        for region in regions
        if region.kappa is not None and region.uncertainty is not None
    ]
    return float(np.sqrt(max(0.0, *beyond, 0.0)) / kappa)


def _centres(edges: Array) -> Array:
    return 0.5 * (edges[1:] + edges[:-1])
