"""The four regions of the score plane: counts, closure, and the test in a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_likelihood import abcd
from tnt_coffea.stats.abcd_limits import limit_or_reason
from tnt_coffea.stats.abcd_results import (
    AbcdCounts,
    AbcdRefusal,
    AbcdResult,
    Closure,
    ClosurePoint,
    ClosureScan,
    RegionClosure,
)
from tnt_coffea.stats.correlations import binned_spearman, distance_correlation, pearson
from tnt_coffea.stats.quantities import (
    check_kind,
    check_level,
    check_numbers,
    check_ranges,
    check_whole,
)
from tnt_coffea.stats.search_histogram import Plane, mass_bins, passing_bins, score_plane
from tnt_coffea.stats.spectrum import (
    ENOUGH_EFFECTIVE,
    check_counts,
    edge_index,
    squared_weights,
)
from tnt_coffea.stats.validity import MOST_TOYS
from tnt_coffea.working_points import Cut, WorkingPoint, WorkingPoints

__all__ = ["abcd_counts", "abcd_in_window", "closure", "closure_scan", "plane_counts"]

EVENT_SCORE = (
    "not defined for scores of the whole event: both jets have the same one, so that regions B and "
    "C are empty by construction"
)
"""Why a tagger set of scope `event` has no ABCD estimate."""

Array = NDArray[np.float64]
Range = tuple[float, float]


def abcd_counts(
    histogram: Any,
    point: WorkingPoint,
    background_quantile: float,
    mass_range: Range,
) -> AbcdCounts:
    """Return the four regions of the score plane in a range of mass, folds summed.

    Parameters
    ----------
    histogram
        The search histogram; datasets are summed.
    point
        The working point: a jet passes above its X.
    background_quantile
        A jet is low below it.
    mass_range
        Range in mass [GeV].

    Raises
    ------
    FitError
        An edge is missing, pass and low overlap, or what the regions hold is no count.
    TaggerError
        The working point lacks a fold.

    Source
    ------
    arXiv:2002.12376, section 4.1.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> stats.abcd_counts(search, stats.WorkingPoint.at({0: 0.9, 1: 0.9}), 0.4, (3300, 3700)).a
    191.0
    """
    _check(point, background_quantile, mass_range=mass_range)
    return _counts(score_plane(histogram), point, background_quantile, mass_range)


def closure(
    histogram: Any,
    point: WorkingPoint,
    background_quantile: float,
    fit_range: Range,
    window: Range,
) -> Closure:
    """Return how well B C / D predicts A at the same efficiency in the sidebands.

    Parameters
    ----------
    histogram, point, background_quantile
        As in `abcd_counts`.
    fit_range
        Range of the search in mass [GeV].
    window
        Where the signal is looked for [GeV]: left out.

    Raises
    ------
    FitError
        As in `abcd_counts`; or a region is empty in the sidebands.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> point, where = stats.WorkingPoint.at({0: 0.9, 1: 0.9}), (0.4, (2600, 5000), (3300, 3700))
    >>> round(stats.closure(search, point, *where).kappa, 1)
    1.0
    """
    _check(point, background_quantile, fit_range=fit_range, window=window)
    outcome = _closure(score_plane(histogram), point, background_quantile, fit_range, window)
    if isinstance(outcome, str):
        advice = "" if outcome == EVENT_SCORE else ": use a looser selection or a wider fit range"
        msg = f"{outcome}{advice}"
        raise FitError(msg)
    return outcome


def abcd_in_window(
    histogram: Any,
    point: WorkingPoint,
    background_quantile: float,
    fit_range: Range,
    window: Range,
    *,
    systematic_floor: float = 0.03,
    closure_limit: float = 0.5,
    toys: int = 0,
    seed: int = 1,
    level: float | None = None,
    limit_toys: int | None = None,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> AbcdResult | AbcdRefusal:
    """Test for a signal in a window with the background from the score plane, or refuse.

    The prediction is kappa B C / D with kappa of `closure`. Its relative
    systematic is the largest of the floor, kappa's own relative statistical
    uncertainty, and `Closure.spread`, the disagreement between the regions beside
    the window beyond their statistics.

    Parameters
    ----------
    histogram, point, background_quantile, fit_range, window
        As in `closure`.
    systematic_floor
        Least relative uncertainty; 3 % in the paper.
    closure_limit
        Largest abs(kappa - 1) with which an estimate is given.
    toys, seed
        As in `abcd`.
    level, limit_toys
        Confidence level and toys of an upper limit, as `level` and `toys` of `abcd_limit`; None
        sets no limit.
    systematics
        Uncertainties of the signal's norm in the limit, as `SpectrumFit.systematics`.

    Returns
    -------
    The test, or the reason why there is none.

    Raises
    ------
    FitError
        As in `abcd_counts`.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> point, where = stats.WorkingPoint.at({0: 0.9, 1: 0.9}), (0.4, (2600, 5000), (3300, 3700))
    >>> result = stats.abcd_in_window(search, point, *where)
    >>> result.a, round(result.expected), round(result.systematic, 2)
    (191.0, 81, 0.25)
    """
    _check(point, background_quantile, fit_range=fit_range, window=window)
    check_numbers({"systematic_floor": systematic_floor, "closure_limit": closure_limit}, 0)
    if level is not None:
        check_level(level)
    check_whole({} if limit_toys is None else {"limit_toys": limit_toys}, MOST_TOYS)
    plane = score_plane(histogram)
    counts = _counts(plane, point, background_quantile, window)
    outcome = _closure(plane, point, background_quantile, fit_range, window)
    if isinstance(outcome, str):  # the reason
        return AbcdRefusal(outcome, counts)
    if abs(outcome.kappa - 1) > closure_limit:
        reason = (
            f"A D / (B C) is {outcome.kappa:.2f} +- {outcome.uncertainty:.2f} in the sidebands, "
            f"further from 1 than the limit of {closure_limit:g}: the scores are not independent"
        )
        return AbcdRefusal(reason, counts, outcome)
    empty = [name for name in "BCD" if getattr(counts, name.lower()) <= 0]
    if empty:
        reason = f"region {', '.join(empty)} is empty in the window"
        return AbcdRefusal(reason, counts, outcome)
    systematic = max(systematic_floor, outcome.uncertainty / outcome.kappa, outcome.spread)
    settings: dict[str, Any] = {
        "systematic": systematic,
        "closure_factor": outcome.kappa,
        "seed": seed,
    }
    result = abcd(*counts.regions, toys=toys, counts=counts, closure=outcome, **settings)
    if level is None:
        return result
    settings["systematics"] = systematics
    return replace(result, limit=limit_or_reason(counts, level=level, toys=limit_toys, **settings))


def _check(point: WorkingPoint, background_quantile: float, **ranges: Range) -> None:
    check_kind(WorkingPoint, {"point": point})
    check_numbers({"background_quantile": background_quantile}, 0)
    check_ranges(ranges)


def _counts(
    plane: Plane, point: WorkingPoint, background_quantile: float, mass_range: Range
) -> AbcdCounts:
    bins = mass_bins(plane, mass_range)
    low_heavy = edge_index(plane.heavy, background_quantile, "background quantile on q_heavy")
    low_light = edge_index(plane.light, background_quantile, "background quantile on q_light")
    tables, squares = [], []
    for index, fold in enumerate(plane.folds):
        heavy, light = passing_bins(plane, point, fold)
        if heavy < low_heavy or light < low_light:
            msg = (
                f"fold {fold}: X = {_cut_text(point.cut(fold))} is below the background quantile "
                f"{background_quantile:g}, so an event could pass and be low: use a tighter "
                "selection"
            )
            raise FitError(msg)
        cuts = ((low_heavy, heavy), (low_light, light))
        tables.append(_three_by_three(plane.counts[index, bins].sum(axis=0), *cuts))
        squares.append(_three_by_three(plane.variances[index, bins].sum(axis=0), *cuts))
    weighted = not np.allclose(plane.variances[:, bins], plane.counts[:, bins], rtol=1e-5, atol=0)
    where = (float(mass_range[0]), float(mass_range[1]))
    return _counts_of_tables(tables, where, squares if weighted else None)


def _cut_text(cut: Cut) -> str:
    return f"{cut.heavy:g}" if cut.heavy == cut.light else f"{cut.heavy:g} and {cut.light:g}"


def plane_counts(histogram: Any, passing: float, low: float) -> AbcdCounts:
    """Return the four regions of a plane of two scores of one's own, in no range of mass.

    Parameters
    ----------
    histogram
        `hist.Hist` of two scores.
    passing, low
        A jet passes above the first and is low below the second; edges of both axes.

    Raises
    ------
    FitError
        The cuts overlap or are no edges, or the plane holds what is no count.
    """
    check_numbers({"passing": passing, "low": low})
    check_counts("plane", histogram)
    if not low <= passing:
        msg = f"a jet cannot be low below {low:g} and pass above {passing:g}: lower the first"
        raise FitError(msg)
    counts = np.asarray(histogram.values(), dtype=float)
    if not np.isfinite(counts).all() or counts.min() < 0:
        msg = "a bin of the plane is negative or not finite: only counts can be used"
        raise FitError(msg)
    cuts = []
    for axis, what in zip(histogram.axes, ("first", "second"), strict=True):
        edges = np.asarray(axis.edges, dtype=float)
        cuts.append(tuple(edge_index(edges, cut, f"{what} axis") for cut in (low, passing)))
    squares = squared_weights("plane", histogram)
    return _counts_of_tables(
        [_three_by_three(counts, *cuts)],
        (0.0, 0.0),
        None if squares is None else [_three_by_three(squares, *cuts)],
    )


def _three_by_three(table: Array, rows: tuple[int, ...], columns: tuple[int, ...]) -> Array:
    """Return the events whose (heavy, light) jet is low, between or passing, shape (3, 3)."""
    parts = [np.split(part, columns, axis=1) for part in np.split(table, rows)]
    return np.array([[cell.sum() for cell in row] for row in parts])


def _counts_of_tables(
    tables: Sequence[Array], mass_range: Range, squares: Sequence[Array] | None
) -> AbcdCounts:
    """Return the regions of 3 x 3 tables, one a fold, summed.

    `squares` are the tables of squared weights; None where all events have weight one.
    """
    total = np.sum(tables, axis=0)
    named = dict(zip("ABCD", (total[2, 2], total[2, 0], total[0, 2], total[0, 0]), strict=True))
    heavy_low, light_low, everything = total[0].sum(), total[:, 0].sum(), total.sum()
    sums = np.array([*named.values(), heavy_low, light_low, everything])
    if not np.isfinite(sums).all() or sums.min() < 0:
        values = {name: float(n) for name, n in named.items()}
        msg = (
            f"{mass_range[0]:g}-{mass_range[1]:g} GeV: the regions of the score plane must hold "
            f"counts, 0 or more, got {values} and {everything:g} in all"
        )
        raise FitError(msg)
    a, b, c, d = map(float, named.values())
    scales, unit = _scales(total, squares)
    eps1, eps1_uncertainty = _efficiency(b, float(light_low), unit)
    eps2, eps2_uncertainty = _efficiency(c, float(heavy_low), unit)
    return AbcdCounts(
        a=a,
        b=b,
        c=c,
        d=d,
        eps1=eps1,
        eps2=eps2,
        eps1_uncertainty=eps1_uncertainty,
        eps2_uncertainty=eps2_uncertainty,
        total=float(everything),
        mass_range=mass_range,
        tables=tuple(tuple(map(tuple, table.tolist())) for table in tables),
        weighted=squares is not None,
        scales=scales,
    )


def _scales(
    total: Array, squares: Sequence[Array] | None
) -> tuple[tuple[float, float, float, float], float]:
    """Return the weight of an effective event in A, B, C and D, and in the whole plane."""
    everything = float(total.sum())
    if squares is None or everything <= 0:
        return (1.0, 1.0, 1.0, 1.0), 1.0
    summed = np.sum(squares, axis=0)
    unit = float(summed.sum()) / everything
    if not (np.isfinite(unit) and unit > 0):
        msg = "the events of the score plane have no sum of squared weights above 0: fill it again"
        raise FitError(msg)

    def scale(i: int, j: int) -> float:
        s, v = float(total[i, j]), float(summed[i, j])
        return v / s if s > 0 and v > 0 and s**2 >= ENOUGH_EFFECTIVE * v else unit

    return (scale(2, 2), scale(2, 0), scale(0, 2), scale(0, 0)), unit


def _efficiency(passed: float, total: float, unit: float) -> tuple[float, float]:
    if total <= 0:
        return 0.0, 0.0
    share = passed / total
    # Negative weights can lift a part above its whole.
    return share, float(np.sqrt(max(share * (1 - share), 0.0) / (total / unit)))


def _closure(
    plane: Plane,
    point: WorkingPoint,
    background_quantile: float,
    fit_range: Range,
    window: Range,
) -> Closure | str:
    """Return the closure in the sidebands, or the reason why there is none."""
    if not fit_range[0] <= window[0] < window[1] <= fit_range[1]:
        msg = (
            f"the window {window[0]:g}-{window[1]:g} GeV does not lie inside the fit range "
            f"{fit_range[0]:g}-{fit_range[1]:g} GeV: change one of them"
        )
        raise FitError(msg)
    if _is_event_score(plane):
        return EVENT_SCORE
    sides = [(fit_range[0], window[0]), (window[1], fit_range[1])]
    sides = [side for side in sides if side[0] < side[1]]
    if not sides:
        return "the window fills the fit range: nothing is left to test the closure on"
    counts = [_counts(plane, point, background_quantile, side) for side in sides]
    sums = [sum(getattr(part, name) for part in counts) for name in "abcd"]
    kappa, uncertainty = _kappa(sums, [_squares(part) for part in counts])
    if kappa is None or uncertainty is None:
        names = ", ".join(name for name, n in zip("ABCD", sums, strict=True) if n <= 0)
        return f"region {names} is empty in the sidebands, so the closure cannot be tested"
    regions = tuple(
        RegionClosure(side, n.a, n.b, n.c, n.d, *_kappa((n.a, n.b, n.c, n.d), [_squares(n)]))
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
        spearman=binned_spearman(beside),
        distance=distance_correlation(beside, *centres),
    )


def _is_event_score(plane: Plane) -> bool:
    """Return whether all events may have the same quantile for both jets: their bins overlap."""
    events = plane.counts.sum(axis=(0, 1))
    heavy, light = plane.heavy, plane.light
    apart = (heavy[:-1, None] >= light[1:]) | (heavy[1:, None] <= light[:-1])
    return bool(events.any() and not events[apart].any())


def _squares(counts: AbcdCounts) -> Array:
    """Return the sums of squared weights of A, B, C and D."""
    return np.array([counts.a, counts.b, counts.c, counts.d]) * counts.scales


def _kappa(sums: Sequence[float], squares: Sequence[Array]) -> tuple[float | None, float | None]:
    """Return A D / (B C) and its uncertainty, from sums of weights and of squared ones."""
    if min(sums) <= 0:
        return None, None
    a, b, c, d = sums
    kappa = a * d / (b * c)
    # Effective counts; those of unweighted events are the events themselves.
    na, nb, nc, nd = np.square(sums) / np.sum(squares, axis=0)
    return float(kappa), float(kappa * np.sqrt(1 / na + 1 / nb + 1 / nc + 1 / nd))


def _spread(kappa: float, regions: tuple[RegionClosure, ...]) -> float:
    beyond = [
        (region.kappa - kappa) ** 2 - region.uncertainty**2
        for region in regions
        if region.kappa is not None and region.uncertainty is not None
    ]
    return float(np.sqrt(max(0.0, *beyond, 0.0)) / kappa)


def _centres(edges: Array) -> Array:
    return 0.5 * (edges[1:] + edges[:-1])


def closure_scan(
    histogram: Any,
    points: WorkingPoints,
    background_quantile: float,
    fit_range: tuple[float, float],
    window: tuple[float, float],
    quantiles: Sequence[float] = (),
) -> ClosureScan:
    """Return the closure in the sidebands at every efficiency.

    Parameters
    ----------
    histogram, background_quantile, fit_range, window
        As for `closure`.
    points
        Working points, of which those with both jets above the same X are looked at. Where X
        lies below the background quantile there is no closure, as where a region is empty.
    quantiles
        Further X, common to all folds, each an edge of the histogram.

    Raises
    ------
    FitError
        No selection lies above the background quantile, or both jets have the same score.

    Source
    ------
    arXiv:2002.12376, figure 5: efficiencies of 10 % to 0.1 %.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> points = stats.WorkingPoints((stats.WorkingPoint.at({0: 0.9, 1: 0.9}, 0.01),))
    >>> scan = stats.closure_scan(search, points, 0.4, (2600, 5000), (3300, 3700), [0.8])
    >>> len(scan.points)
    2
    """
    check_kind(WorkingPoints, {"points": points})
    check_kind(Sequence, {"quantiles": quantiles})
    check_numbers({f"quantile {i}": q for i, q in enumerate(quantiles)}, 0)
    for point in points.points:
        _check(point, background_quantile, fit_range=fit_range, window=window)
    plane = score_plane(histogram)
    wanted: list[tuple[float, float | None, WorkingPoint]] = [
        (share, None, points[share]) for share in points.efficiencies
    ]
    for common in quantiles:
        everywhere = WorkingPoint.at(dict.fromkeys(plane.folds, common))
        try:
            share = _share(plane, everywhere, fit_range)
        except FitError:  # the histogram has no such edge, as the point will say
            share = 0.0
        wanted.append((share or (1 - common) ** 2, float(common), everywhere))
    if not any(
        min(cut.heavy for cut in point.cuts.values()) >= background_quantile
        for _, _, point in wanted
    ):
        msg = "no efficiency has X above the background quantile: use tighter selections"
        raise FitError(msg)
    if _is_event_score(plane):
        raise FitError(EVENT_SCORE)
    found = []
    for efficiency, common_x, point in sorted(wanted, key=lambda choice: -choice[0]):
        counts, beside, refusal = None, None, ""
        try:
            counts = abcd_counts(histogram, point, background_quantile, window)
            beside = closure(histogram, point, background_quantile, fit_range, window)
        except FitError as error:
            refusal = str(error)
        found.append(ClosurePoint(efficiency, beside, counts, refusal, common_x))
    return ClosureScan(tuple(found))


def _share(plane: Plane, point: WorkingPoint, fit_range: tuple[float, float]) -> float:
    """Return the share of the fit range's events with both jets above X."""
    inside = plane.counts[:, mass_bins(plane, fit_range)].sum(axis=1)
    passed = 0.0
    for table, fold in zip(inside, plane.folds, strict=True):
        heavy, light = passing_bins(plane, point, fold)
        passed += table[heavy:, light:].sum()
    total = inside.sum()
    # Bins that hold no counts are for the regions to refuse.
    return float(passed / total) if 0 < passed <= total < np.inf else 0.0
