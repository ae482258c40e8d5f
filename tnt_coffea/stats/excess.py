"""What events of a bump have in common: a feature of theirs, less that of the events beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError

__all__ = ["Peak", "median", "peak"]

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
        (bins,) events in the window, and those beside it scaled to the background expected.
    window_errors
        (bins,) uncertainties of the events in the window.
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
    >>> found = peak(window, beside, 1000, uncertainty=16)
    >>> round(found.value), round(found.uncertainty), round(found.events)
    (498, 4, 192)
    """

    edges: tuple[float, ...]
    window: tuple[float, ...]
    beside: tuple[float, ...]
    window_errors: tuple[float, ...]
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
    expected: float,
    *,
    uncertainty: float = 0.0,
    weights: tuple[Array, Array] | None = None,
    bins: int = BINS,
    trials: int = TRIALS,
    seed: int = 1,
) -> Peak:
    """Return where the events of a window exceed the scaled ones beside it most.

    The range of bins is that of the largest excess over its uncertainty. The value is the median
    of the excess there; both are found again with events drawn again (Poisson weights) and
    `expected` drawn within its uncertainty.

    Parameters
    ----------
    window, beside
        (event,) the feature in the window, and beside it.
    expected
        Background events in the window, as a fit to those beside it has them.
    uncertainty
        Of `expected`, the number of events beside the window included: only their distribution
        over the feature is uncertain beside it.
    weights
        (event,) of the events in the window, and of those beside it; None: all are one.
    bins
        Of equal width, from the 0.5 % to the 99.5 % quantile of all events.
    trials
        Times that events are drawn again.
    seed
        Of the drawing.

    Raises
    ------
    FitError
        Either has fewer than 10 events or no weight, the feature is constant or not finite, or
        there is no excess at all.
    """
    for name, values in (("in the window", window), ("beside it", beside)):
        if len(values) < _FEWEST:
            msg = f"{len(values)} selected events {name}, at least {_FEWEST} are needed"
            raise FitError(msg)
        if not np.isfinite(values).all():
            msg = f"the feature is not a number for selected events {name}"
            raise FitError(msg)
    both = np.concatenate([window, beside]).astype(np.float64)
    own = np.ones(len(both)) if weights is None else np.concatenate(weights).astype(np.float64)
    low, high = np.quantile(both, (_TAILS, 1 - _TAILS))
    if not low < high:
        msg = f"the feature is {low:g} for all selected events"
        raise FitError(msg)
    edges = np.linspace(low, high, bins + 1)
    place = np.clip(np.searchsorted(edges, both, side="right") - 1, -1, bins)
    place[both == high] = bins - 1
    inside = np.arange(len(both)) < len(window)
    if not own[~inside].sum() > 0:
        msg = "the weights of the selected events beside the window add up to nothing"
        raise FitError(msg)
    events = _Events(both, np.argsort(both, kind="stable"), place, inside, own, bins)
    once = np.ones(len(both))
    where, above, sigma, value = events.excess(once, expected, uncertainty)
    if above <= 0:
        msg = "the events in the window are nowhere more than those beside it"
        raise FitError(msg)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(trials):
        times = rng.poisson(1.0, len(both)).astype(np.float64)
        drawn = max(0.0, rng.normal(expected, uncertainty))
        again.append(events.excess(times, drawn, uncertainty)[3])
    first, last = np.quantile(again, (0.16, 0.84)) if again else (value, value)
    n, b = events.filled(inside, own), events.filled(~inside, own)
    return Peak(
        tuple(map(float, edges)),
        tuple(map(float, n)),
        tuple(map(float, expected / own[~inside].sum() * b)),
        tuple(map(float, np.sqrt(events.filled(inside, own**2)))),
        (float(edges[where.start]), float(edges[where.stop])),
        above,
        sigma,
        value,
        float(last - first) / 2,
        median(np.asarray(beside, np.float64), own[~inside]),
    )


def median(values: Array, weights: Array) -> float:
    """Return the median of weighted events.

    Parameters
    ----------
    values, weights
        (event,), one event or more.

    Examples
    --------
    >>> median(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 5.0]))
    3.0
    """
    if np.ptp(weights) == 0:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(total, total[-1] / 2), len(values) - 1)])


@dataclass(frozen=True, eq=False)
class _Events:
    """Events in the window and beside it, in bins of a feature.

    Attributes
    ----------
    feature
        (event,) the feature.
    order
        (event,) the events as the feature rises.
    place
        (event,) its bin; -1 or `bins` outside.
    inside
        (event,) whether it lies in the window.
    weight
        (event,) its weight.
    bins
        Their number.
    """

    feature: Array
    order: NDArray[np.intp]
    place: NDArray[np.intp]
    inside: NDArray[np.bool_]
    weight: Array
    bins: int

    def filled(self, part: NDArray[np.bool_], weights: Array) -> Array:
        """Return the sums of weights of some events by bin, shape (bins,)."""
        kept = part & (self.place >= 0) & (self.place < self.bins)
        sums = np.bincount(self.place[kept], weights=weights[kept], minlength=self.bins)
        return np.asarray(sums, np.float64)

    def excess(
        self, times: Array, expected: float, uncertainty: float
    ) -> tuple[slice, float, float, float]:
        """Return the range of bins of the clearest excess, the excess, its uncertainty, its median.

        Parameters
        ----------
        times
            (event,) how often each event counts.
        expected, uncertainty
            As of `peak`.
        """
        weight, inside = times * self.weight, self.inside
        squares = times * self.weight**2
        total, spread = float(weight[~inside].sum()), float(squares[~inside].sum())
        scale = expected / total if total > 0 else 0.0
        n, b, var_n, var_b = (
            self._of_ranges(self.filled(part, of))
            for of in (weight, squares)
            for part in (inside, ~inside)
        )
        share = b / total if total > 0 else np.zeros_like(b)
        above = n - scale * b
        # A share of `expected`: how many there are beside the window is in its uncertainty.
        distribution = scale**2 * np.maximum(0.0, (1 - 2 * share) * var_b + share**2 * spread)
        sigma = np.sqrt(np.triu(var_n + distribution + (share * uncertainty) ** 2))
        clear = np.where(np.triu(sigma, 1) > 0, above / np.where(sigma > 0, sigma, 1.0), -np.inf)
        i, j = np.unravel_index(int(np.argmax(clear)), clear.shape)
        places = self.place[self.order]
        rows = self.order[(places >= i) & (places < j)]
        signed = np.where(inside[rows], weight[rows], -scale * weight[rows])
        # Fluctuations let the sum fall on its way up; what it has reached counts.
        reached = np.maximum.accumulate(np.cumsum(signed))
        middle = int(np.searchsorted(reached, max(float(above[i, j]), 0.0) / 2))
        value = float(self.feature[rows[min(middle, len(rows) - 1)]]) if len(rows) else float("nan")
        return slice(int(i), int(j)), float(above[i, j]), float(sigma[i, j]), value

    @staticmethod
    def _of_ranges(values: Array) -> Array:
        """Return the sums over bins i to j, shape (bins + 1, bins + 1)."""
        summed = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(summed[None, :] - summed[:, None])
