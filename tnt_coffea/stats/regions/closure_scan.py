"""Closure of ABCD at every selection efficiency: figure 5 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.plane import Plane, mass_bins, passing_bins, score_plane
from tnt_coffea.stats.records import Record
from tnt_coffea.stats.regions.results import AbcdCounts, Closure
from tnt_coffea.stats.regions.selection import abcd_counts, closure

__all__ = ["ClosurePoint", "ClosureScan", "closure_scan"]

# With fewer events in A beside the window kappa is known to no better than a third.
_FEW = 10


@dataclass(frozen=True)
class ClosurePoint(Record):
    """Closure at one efficiency.

    Attributes
    ----------
    efficiency
        Share of events that pass with both jets; where X was given and no event
        passes, that of independent scores, (1 - X)^2.
    closure
        A D / (B C) beside the window; None where a region is empty there.
    counts
        The regions in the window; None where the selection has no four regions.
    refusal
        Why there is no closure.
    x
        The quantile above which both jets lie; None where the folds differ.
    """

    efficiency: float
    closure: Closure | None
    counts: AbcdCounts | None
    refusal: str = ""
    x: float | None = None

    @property
    def predicted(self) -> float | None:
        """Events expected in A of the window; None without a closure factor."""
        if self.closure is None or self.counts is None or self.counts.d <= 0:
            return None
        return self.closure.kappa * self.counts.b * self.counts.c / self.counts.d

    @property
    def beside(self) -> float:
        """Events in A beside the window."""
        return 0.0 if self.closure is None else sum(region.a for region in self.closure.regions)

    @property
    def outcome(self) -> str:
        """The closure in words, or why there is none."""
        if self.closure is None:
            return f"none: {self.refusal}"
        few = f" (few: {self.beside:g} events in A)" if self.beside < _FEW else ""
        return (
            f"{self.closure.kappa:.3f} +- {self.closure.uncertainty:.3f}{few}, spread "
            f"{self.closure.spread:.3f}"
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the point that `to_dict` wrote."""
        found, counts = values["closure"], values["counts"]
        return super().from_dict(
            {
                **values,
                "closure": None if found is None else Closure.from_dict(found),
                "counts": None if counts is None else AbcdCounts.from_dict(counts),
            }
        )


@dataclass(frozen=True)
class ClosureScan(Record):
    """Closure over efficiencies, falling."""

    points: tuple[ClosurePoint, ...]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the scan that `to_dict` wrote."""
        return cls(tuple(ClosurePoint.from_dict(point) for point in values["points"]))

    def summary(self) -> str:
        """Return the scan as a few lines of text."""
        lines = ["ABCD closure A D / (B C) beside the window, by efficiency"]
        for point in self.points:
            inside = ""
            if point.counts is not None:
                predicted = "-" if point.predicted is None else f"{point.predicted:.2f}"
                inside = f"; in the window {point.counts.a:g} seen, {predicted} predicted"
            lines.append(f"  {100 * point.efficiency:.3g} %: {point.outcome}{inside}")
        return "\n".join(lines)


def closure_scan(
    histogram: Any,
    thresholds: Mapping[float, Mapping[int, float]],
    background_quantile: float,
    fit_range: tuple[float, float],
    window: tuple[float, float],
    quantiles: Sequence[float] = (),
) -> ClosureScan:
    """Return the closure beside the window at every efficiency.

    Parameters
    ----------
    histogram, background_quantile, fit_range, window
        As for `closure`.
    thresholds
        X by efficiency and fold. Efficiencies whose X lies below the background
        quantile have no closure, like those that leave a region empty.
    quantiles
        Further X, common to all folds, each an edge of the histogram.

    Raises
    ------
    FitError
        No selection lies above the background quantile.

    Source
    ------
    arXiv:2002.12376, figure 5: efficiencies of 10 % to 0.1 %.
    """
    plane = score_plane(histogram)
    wanted: list[tuple[float, float | None, Mapping[int, float]]] = [
        (float(efficiency), None, x) for efficiency, x in thresholds.items()
    ]
    for common in quantiles:
        everywhere = dict.fromkeys(plane.folds, float(common))
        try:
            share = _share(plane, everywhere, fit_range)
        except FitError:  # the histogram has no such edge, as the point will say
            share = 0.0
        wanted.append((share or (1 - common) ** 2, float(common), everywhere))
    if not any(min(x.values()) >= background_quantile for _, _, x in wanted):
        msg = "no efficiency has X above the background quantile: use tighter selections"
        raise FitError(msg)
    points = []
    for efficiency, common_x, x in sorted(wanted, key=lambda choice: -choice[0]):
        counts, found, refusal = None, None, ""
        try:
            counts = abcd_counts(histogram, x, background_quantile, window)
            found = closure(histogram, x, background_quantile, fit_range, window)
        except FitError as error:
            refusal = str(error)
        points.append(ClosurePoint(efficiency, found, counts, refusal, common_x))
    return ClosureScan(tuple(points))


def _share(plane: Plane, x: Mapping[int, float], fit_range: tuple[float, float]) -> float:
    """Return the share of the fit range's events with both jets above X."""
    inside = plane.counts[:, mass_bins(plane, fit_range)].sum(axis=1)
    passed = 0.0
    for table, fold in zip(inside, plane.folds, strict=True):
        heavy, light = passing_bins(plane, x, fold)
        passed += table[heavy:, light:].sum()
    total = inside.sum()
    # Bins that hold no counts are for the regions to refuse.
    return float(passed / total) if 0 < passed <= total < np.inf else 0.0
