"""Closure of ABCD at every selection efficiency: figure 5 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tnt_coffea.errors import FitError
from tnt_coffea.stats.records import Record
from tnt_coffea.stats.regions.results import AbcdCounts, Closure
from tnt_coffea.stats.regions.selection import abcd_counts, closure

__all__ = ["ClosurePoint", "ClosureScan", "closure_scan"]


@dataclass(frozen=True)
class ClosurePoint(Record):
    """Closure at one efficiency.

    Attributes
    ----------
    efficiency
        Share of events that pass with both jets.
    closure
        A D / (B C) beside the window; None where a region is empty there.
    counts
        The regions in the window.
    refusal
        Why there is no closure.
    """

    efficiency: float
    closure: Closure | None
    counts: AbcdCounts
    refusal: str = ""

    @property
    def predicted(self) -> float | None:
        """Events expected in A of the window; None without a closure factor."""
        if self.closure is None or self.counts.d <= 0:
            return None
        return self.closure.kappa * self.counts.b * self.counts.c / self.counts.d

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the point that `to_dict` wrote."""
        found = values["closure"]
        return super().from_dict(
            {
                **values,
                "closure": None if found is None else Closure.from_dict(found),
                "counts": AbcdCounts.from_dict(values["counts"]),
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
            text = (
                f"none: {point.refusal}"
                if point.closure is None
                else f"{point.closure.kappa:.3f} +- {point.closure.uncertainty:.3f}, spread "
                f"{point.closure.spread:.3f}"
            )
            predicted = "-" if point.predicted is None else f"{point.predicted:.2f}"
            lines.append(
                f"  {100 * point.efficiency:g} %: {text}; in the window {point.counts.a:g} seen, "
                f"{predicted} predicted"
            )
        return "\n".join(lines)


def closure_scan(
    histogram: Any,
    thresholds: Mapping[float, Mapping[int, float]],
    background_quantile: float,
    fit_range: tuple[float, float],
    window: tuple[float, float],
) -> ClosureScan:
    """Return the closure beside the window at every efficiency.

    Parameters
    ----------
    histogram, background_quantile, fit_range, window
        As for `closure`.
    thresholds
        X by efficiency and fold. Efficiencies whose X lies below the background
        quantile are refused, like those that leave a region empty.

    Source
    ------
    arXiv:2002.12376, figure 5: efficiencies of 10 % to 0.1 %.
    """
    points = []
    for efficiency in sorted(thresholds, reverse=True):
        x = thresholds[efficiency]
        if min(x.values()) < background_quantile:
            continue
        counts = abcd_counts(histogram, x, background_quantile, window)
        try:
            found, refusal = closure(histogram, x, background_quantile, fit_range, window), ""
        except FitError as error:
            found, refusal = None, str(error)
        points.append(ClosurePoint(float(efficiency), found, counts, refusal))
    if not points:
        msg = "no efficiency has X above the background quantile: use tighter selections"
        raise FitError(msg)
    return ClosureScan(tuple(points))
