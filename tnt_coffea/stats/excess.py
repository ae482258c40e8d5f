"""What events of a bump have in common: a feature of theirs, less that of the events beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError

__all__ = ["Peak", "peak"]

Array = NDArray[np.float64]

BINS = 40
TRIALS = 200
_TAILS = 0.005
"""Share of the events beyond either end of the histogram."""
_FEWEST = 10
"""Events that make a distribution."""


@dataclass(frozen=True)
class Peak:
    """Where a bump's events lie in one feature, beyond those of the background.

    Attributes
    ----------
    edges
        (bins + 1,) edges of the histograms, in units of the feature.
    window, beside
        (bins,) events in the window, and those beside it times `scale`: the background expected.
    interval
        The range of bins that stands out most.
    events, events_uncertainty
        Excess in it.
    value, uncertainty
        Median of the excess in it, and half of the central 68 % over events drawn again.
    background
        Median of the events beside the window.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> beside = rng.exponential(200, 4000)
    >>> window = np.concatenate([rng.exponential(200, 1000), rng.normal(500, 25, 200)])
    >>> found = peak(window, beside, 0.25)
    >>> round(found.value), round(found.uncertainty), round(found.events)
    (498, 4, 192)
    """

    edges: tuple[float, ...]
    window: tuple[float, ...]
    beside: tuple[float, ...]
    interval: tuple[float, float]
    events: float
    events_uncertainty: float
    value: float
    uncertainty: float
    background: float

    @property
    def z(self) -> float:
        """Excess over its uncertainty: how clear the peak is, no test, for the range was chosen."""
        return self.events / self.events_uncertainty


def peak(
    window: Array,
    beside: Array,
    scale: float,
    *,
    scale_uncertainty: float = 0.0,
    bins: int = BINS,
    trials: int = TRIALS,
    seed: int = 1,
) -> Peak:
    """Return where the events of a window exceed the scaled ones beside it most.

    The range of bins is that of the largest excess over its uncertainty. The value is the median
    of the excess there; both are found again with events drawn again (Poisson weights) and
    `scale` drawn within its uncertainty.

    Parameters
    ----------
    window, beside
        (event,) the feature in the window, and beside it.
    scale
        Background expected in the window over the events beside it.
    scale_uncertainty
        Of `scale`.
    bins
        Of equal width, from the 0.5 % to the 99.5 % quantile of all events.
    trials
        Times that events are drawn again.
    seed
        Of the drawing.

    Raises
    ------
    FitError
        Either has fewer than 10 events, the feature is constant or not finite, or there is no
        excess at all.
    """
    for name, values in (("in the window", window), ("beside it", beside)):
        if len(values) < _FEWEST:
            msg = f"{len(values)} selected events {name}, at least {_FEWEST} are needed"
            raise FitError(msg)
        if not np.isfinite(values).all():
            msg = f"the feature is not a number for selected events {name}"
            raise FitError(msg)
    both = np.concatenate([window, beside]).astype(np.float64)
    low, high = np.quantile(both, (_TAILS, 1 - _TAILS))
    if not low < high:
        msg = f"the feature is {low:g} for all selected events"
        raise FitError(msg)
    edges = np.linspace(low, high, bins + 1)
    place = np.clip(np.searchsorted(edges, both, side="right") - 1, -1, bins)
    place[both == high] = bins - 1
    inside = np.arange(len(both)) < len(window)
    order = np.argsort(both, kind="stable")

    def found(weight: Array, factor: float, error: float) -> tuple[slice, float, float, float]:
        return _excess(both, order, place, inside, weight, factor, error, bins)

    once = np.ones(len(both))
    where, events, uncertainty, value = found(once, scale, scale_uncertainty)
    if events <= 0:
        msg = "the events in the window are nowhere more than those beside it"
        raise FitError(msg)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(trials):
        weight = rng.poisson(1.0, len(both)).astype(np.float64)
        factor = max(0.0, rng.normal(scale, scale_uncertainty))
        again.append(found(weight, factor, scale_uncertainty)[3])
    first, last = np.quantile(again, (0.16, 0.84)) if again else (value, value)
    counts = [
        np.bincount(place[part & (place >= 0) & (place < bins)], minlength=bins)
        for part in (inside, ~inside)
    ]
    return Peak(
        tuple(map(float, edges)),
        tuple(map(float, counts[0])),
        tuple(map(float, scale * counts[1])),
        (float(edges[where.start]), float(edges[where.stop])),
        events,
        uncertainty,
        value,
        float(last - first) / 2,
        float(np.median(beside)),
    )


def _excess(
    both: Array,
    order: NDArray[np.intp],
    place: NDArray[np.intp],
    inside: NDArray[np.bool_],
    weight: Array,
    scale: float,
    error: float,
    bins: int,
) -> tuple[slice, float, float, float]:
    """Return the range of bins of the clearest excess, the excess, its uncertainty, its median."""
    seen = (place >= 0) & (place < bins)
    n, b = (
        np.concatenate(
            [[0.0], np.cumsum(np.bincount(place[part], weights=weight[part], minlength=bins))]
        )
        for part in (seen & inside, seen & ~inside)
    )
    n, b = (total[None, :] - total[:, None] for total in (n, b))  # of bins i to j
    above = n - scale * b
    sigma = np.sqrt(np.triu(n + scale**2 * b + (error * b) ** 2))
    clear = np.where(np.triu(sigma, 1) > 0, above / np.where(sigma > 0, sigma, 1.0), -np.inf)
    i, j = np.unravel_index(int(np.argmax(clear)), clear.shape)
    rows = order[(place[order] >= i) & (place[order] < j)]
    signed = np.where(inside[rows], weight[rows], -scale * weight[rows])
    # Fluctuations let the sum fall on its way up; what it has reached counts.
    total = np.maximum.accumulate(np.cumsum(signed))
    middle = int(np.searchsorted(total, max(float(above[i, j]), 0.0) / 2))
    value = float(both[rows[min(middle, len(rows) - 1)]]) if len(rows) else float("nan")
    return slice(int(i), int(j)), float(above[i, j]), float(sigma[i, j]), value
