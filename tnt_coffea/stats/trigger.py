"""The efficiency of a trigger in m_jj: a turn-on with its errors, or a measured histogram.

It multiplies what is expected, background and signal alike, so that the smooth function describes
the spectrum before the trigger, and fitted signals are events before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import curve_fit
from scipy.special import chdtrc, log_expit, log_ndtr

from tnt_coffea.errors import FitError

__all__ = ["TURN_ONS", "TriggerEfficiency"]

Array = NDArray[np.float64]

TURN_ONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"error_function": log_ndtr, "logistic": log_expit}
)
"""ln of the efficiency on a plateau of 1 at (mass - turn_on) / width, by the function's name."""

# A function is tabulated this many widths around its turn-on, where both have their last 1e-9.
_REACH, _STEPS = 21.0, 20
# Steps from a curve through the bins' means to one that has these means: an eighth is left by each.
_CORRECTIONS = 4
# Below, a spectrum is the tail of its trigger: an error of its shape is larger than itself.
_LEAST = 0.01
# p-value of a turn-on's fit to a histogram below which the function does not describe it.
_LEAST_GOODNESS = 0.01


@dataclass(frozen=True)
class TriggerEfficiency:
    """The probability that an event of a mass passes the trigger, in bins of the mass.

    It is made by `of_function`, `fitted` or `measured`.

    Attributes
    ----------
    edges
        Edges of the bins in which it is known [GeV], shape (bins + 1,). Above the last it stays
        the same, below the first it is unknown.
    efficiencies
        Mean efficiency per bin, in (0, 1], shape (bins,).
    variations
        Change of its logarithm by one standard deviation of each independent nuisance parameter,
        shape (bins, nuisances); two at most.
    source
        What it is, for notes.

    Raises
    ------
    FitError
        The edges do not rise, or an efficiency does not lie in (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import stats
    >>> trigger = stats.TriggerEfficiency.of_function(turn_on=2450, width=150)
    >>> efficiency, _ = trigger.binned(np.array([2599.0, 2601.0, 2799.0, 2801.0]))
    >>> efficiency[[0, 2]].round(3)  # 1 and 2.33 widths above the turn-on
    array([0.841, 0.99 ])
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40, trigger=trigger)
    """

    edges: tuple[float, ...] = field(repr=False)
    efficiencies: tuple[float, ...] = field(repr=False)
    variations: tuple[tuple[float, ...], ...] = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        edges, values = np.asarray(self.edges), np.asarray(self.efficiencies)
        variations = np.asarray(self.variations, dtype=float)
        if len(edges) < 2 or not (np.isfinite(edges).all() and np.all(np.diff(edges) > 0)):
            msg = "a trigger efficiency needs edges that rise, two or more"
            raise FitError(msg)
        if values.shape != (len(edges) - 1,) or variations.shape[:1] != values.shape:
            msg = (
                f"a trigger efficiency needs a value and its variations for each of "
                f"{len(edges) - 1} bins, got shapes {values.shape} and {variations.shape}"
            )
            raise FitError(msg)
        if not (np.all((values > 0) & (values <= 1)) and np.isfinite(variations).all()):
            bad = edges[:-1][~((values > 0) & (values <= 1))]
            where = f": not so from {bad[0]:g} GeV on" if len(bad) else ", and finite errors"
            msg = f"a trigger efficiency must lie above 0 and not above 1 in every bin{where}"
            raise FitError(msg)

    @classmethod
    def of_function(
        cls,
        turn_on: float,
        width: float,
        *,
        plateau: float = 1.0,
        shape: str = "error_function",
        errors: tuple[float, float] = (0.0, 0.0),
        correlation: float = 0.0,
    ) -> Self:
        """Return plateau * (1 + erf((m - turn_on) / (sqrt(2) width))) / 2, or a logistic function.

        Errors of turn-on point and width move all bins together: their covariance gives one
        nuisance parameter along each of its axes. The plateau has none: the function's
        normalisation takes it up in the background, and in a signal it is an error of the
        signal's efficiency.

        Parameters
        ----------
        turn_on
            Mass of half the plateau [GeV].
        width
            Standard deviation of the error function, or the logistic function's scale [GeV].
        plateau
            Efficiency at high masses, in (0, 1].
        shape
            A key of `TURN_ONS`.
        errors
            Standard deviations of turn-on point and width [GeV].
        correlation
            Their correlation, in [-1, 1].

        Raises
        ------
        FitError
            One of them is out of its range.

        Examples
        --------
        >>> from tnt_coffea import stats
        >>> trigger = stats.TriggerEfficiency.of_function(2450, 150, errors=(10, 0))
        >>> trigger.nuisances, trigger.source
        (1, 'error_function, turn-on 2450 +- 10 GeV, width 150 +- 0 GeV, plateau 1')
        """
        numbers = {
            "turn_on": turn_on,
            "width": width,
            "plateau": plateau,
            "an error": max(errors),
            "the correlation": correlation,
        }
        for name, value in numbers.items():
            if isinstance(value, bool) or not np.isfinite(value):
                msg = f"the trigger's turn-on: {name} must be a number, got {value}"
                raise FitError(msg)
        if not (turn_on > 0 and width > 0 and 0 < plateau <= 1 and min(errors) >= 0):
            msg = (
                "the trigger's turn-on needs turn_on and width above 0 GeV, a plateau in (0, 1] "
                f"and errors of 0 GeV or more, got {turn_on:g}, {width:g}, {plateau:g}, "
                f"{errors[0]:g} and {errors[1]:g}"
            )
            raise FitError(msg)
        if errors[1] >= width or abs(correlation) > 1:
            msg = (
                f"the trigger's turn-on: a width of {width:g} +- {errors[1]:g} GeV with a "
                f"correlation of {correlation:g} is not known: the error must be below the width, "
                "the correlation in [-1, 1]"
            )
            raise FitError(msg)
        if shape not in TURN_ONS:
            msg = f"the trigger's turn-on is one of {', '.join(TURN_ONS)}, got {shape!r}"
            raise FitError(msg)
        logarithm = TURN_ONS[shape]
        low = max(0.0, turn_on - _REACH * width)
        edges = np.linspace(low, turn_on + _REACH * width, int(2 * _REACH * _STEPS) + 1)
        centres = 0.5 * (edges[1:] + edges[:-1])
        kept = logarithm((centres - turn_on) / width) > np.log(1e-9)

        def at(t: float, w: float) -> Array:
            return np.asarray(logarithm((centres[kept] - t) / w))

        off = correlation * errors[0] * errors[1]
        squares, axes = np.linalg.eigh([[errors[0] ** 2, off], [off, errors[1] ** 2]])
        moves = [
            np.sqrt(s) * axis
            for s, axis in zip(squares, axes.T, strict=True)
            if s > 1e-9 * max(1e-9, squares[-1])
        ]
        here = np.array([turn_on, width])
        variations = [0.5 * (at(*(here + move)) - at(*(here - move))) for move in moves[::-1]]
        return cls(
            edges=(*edges[:-1][kept].tolist(), float(edges[-1])),
            efficiencies=tuple((plateau * np.exp(at(turn_on, width))).tolist()),
            variations=_rows(variations, int(kept.sum())),
            source=f"{shape}, turn-on {turn_on:g} +- {errors[0]:g} GeV, width {width:g} +- "
            f"{errors[1]:g} GeV, plateau {plateau:g}",
        )

    @classmethod
    def measured(cls, efficiency: Any, total: Any = None) -> Self:
        """Return the efficiency in a histogram as it stands.

        Its errors make one nuisance parameter, which moves every bin by its own standard
        deviation at once, as what is wrong with a measured turn-on does. Independent errors of
        the bins are no part of it: they would be bumps in the spectrum, so an efficiency
        that scatters from bin to bin must be `fitted` instead.

        Parameters
        ----------
        efficiency
            `hist.Hist` in the mass [GeV] of efficiencies with their variances; or, where `total`
            is given, of the events that passed.
        total
            All events, in the same bins.

        Raises
        ------
        FitError
            The histograms are no efficiency, or come without its errors.

        Examples
        --------
        >>> import hist
        >>> from tnt_coffea import stats
        >>> axis = hist.axis.Variable([2600, 2800, 3000, 7000])
        >>> passed, total = hist.Hist(axis, data=[80, 99, 98]), hist.Hist(axis, data=[98, 99, 98])
        >>> stats.TriggerEfficiency.measured(passed, total).nuisances
        1
        """
        edges, values, errors = _measured(efficiency, total)
        return cls(
            edges=tuple(edges.tolist()),
            efficiencies=tuple(values.tolist()),
            variations=_rows([errors / np.where(values > 0, values, 1.0)], len(values)),
            source=f"histogram of {len(values)} bins from {edges[0]:g} GeV on",
        )

    @classmethod
    def fitted(cls, efficiency: Any, total: Any = None, *, shape: str = "error_function") -> Self:
        """Return the turn-on that is fitted to a histogram's efficiency.

        Its bins' independent errors become those of turn-on point and width.

        Parameters
        ----------
        efficiency, total
            As of `measured`.
        shape
            A key of `TURN_ONS`.

        Raises
        ------
        FitError
            The histograms are no efficiency, or this function does not describe it.

        Examples
        --------
        >>> import hist, numpy as np
        >>> from tnt_coffea import stats
        >>> axis = hist.axis.Regular(40, 2200, 3800)
        >>> total = np.full(40, 4000)
        >>> truth, _ = stats.TriggerEfficiency.of_function(2450, 150).binned(axis.edges)
        >>> passed = np.random.default_rng(1).binomial(total, truth)
        >>> found = stats.TriggerEfficiency.fitted(
        ...     hist.Hist(axis, data=passed), hist.Hist(axis, data=total)
        ... )
        >>> found.nuisances, found.source[:41]
        (2, 'error_function, turn-on 2449.15 +- 0.9505')
        """
        if shape not in TURN_ONS:
            msg = f"the trigger's turn-on is one of {', '.join(TURN_ONS)}, got {shape!r}"
            raise FitError(msg)
        edges, values, errors = _measured(efficiency, total)
        centres, top = 0.5 * (edges[1:] + edges[:-1]), float(values.max())
        if len(values) < 4 or not np.all(errors > 0):
            msg = (
                "a turn-on is fitted to 4 or more bins with errors above 0 each, got "
                f"{len(values)}, {int(np.sum(errors > 0))} of them with an error"
            )
            raise FitError(msg)

        def curve(mass: Array, turn_on: float, width: float, plateau: float) -> Array:
            return np.asarray(plateau * np.exp(TURN_ONS[shape]((mass - turn_on) / width)))

        half = float(centres[np.argmin(np.abs(values - 0.5 * top))])
        start, low = (half, float(np.ptp(edges)) / 10, min(top, 1.0)), (0.0, 1e-3, 1e-3)
        bounds = (low, (float(edges[-1]), 10 * float(np.ptp(edges)), 1.0))
        try:
            for _ in range(2):
                best, covariance = curve_fit(
                    curve, centres, values, start, errors, absolute_sigma=True, bounds=bounds
                )
                if total is not None:
                    # Observed errors would pull towards bins where all events passed.
                    errors = _binomial_errors(
                        curve(centres, *best), _contents(total)[: len(values)]
                    )
                start = tuple(best)
        except (RuntimeError, ValueError) as error:
            msg = f"no turn-on can be fitted to the trigger efficiency: {error}"
            raise FitError(msg) from error
        chi2 = float(np.sum(((values - curve(centres, *best)) / errors) ** 2))
        p_value = float(chdtrc(len(values) - 3, chi2))
        if p_value < _LEAST_GOODNESS or not np.isfinite(covariance).all():
            msg = (
                f"no {shape} describes the trigger efficiency (p = {p_value:.2g}): try the other "
                f"of {', '.join(TURN_ONS)}, begin its histogram higher, or take it as measured"
            )
            raise FitError(msg)
        sigmas = np.sqrt(np.diag(covariance))
        return cls.of_function(
            float(best[0]),
            float(best[1]),
            plateau=float(best[2]),
            shape=shape,
            errors=(float(sigmas[0]), float(min(sigmas[1], 0.99 * best[1]))),
            correlation=float(np.clip(covariance[0, 1] / (sigmas[0] * sigmas[1]), -1, 1)),
        )

    @property
    def nuisances(self) -> int:
        """Number of nuisance parameters."""
        return len(self.variations[0])

    def binned(self, edges: Array) -> tuple[Array, Array]:
        """Return mean efficiency and log-variations in bins.

        Within a bin all masses count the same, which is exact to 0.1 % in bins a quarter
        of the turn-on's width.

        Parameters
        ----------
        edges
            Edges of the bins [GeV], shape (bins + 1,).

        Returns
        -------
        Efficiencies, shape (bins,), and changes of their logarithms by one standard deviation,
        shape (bins, nuisances).

        Raises
        ------
        FitError
            The bins begin where the efficiency is unknown, or below 1 %.
        """
        edges = np.asarray(edges, dtype=float)
        if edges[0] < self.edges[0] - 1e-9 * abs(self.edges[0]):
            msg = (
                f"the trigger efficiency is known from {self.edges[0]:g} GeV on, and the fit "
                f"begins at {edges[0]:g} GeV: begin it higher"
            )
            raise FitError(msg)
        values = np.asarray(self.efficiencies)
        mean = np.minimum(self._means(values, edges), 1.0)
        if mean.min() < _LEAST:
            first = float(edges[int(np.argmax(mean >= _LEAST))]) if mean.max() >= _LEAST else np.inf
            msg = (
                f"the trigger efficiency is below {_LEAST:.0%} at {edges[0]:g} GeV: begin the fit "
                f"at {first:g} GeV or higher"
            )
            raise FitError(msg)
        moved = [
            np.log(self._means(values * np.exp(variation), edges) / mean)
            for variation in np.asarray(self.variations).T
        ]
        return mean, np.reshape(moved, (len(moved), len(mean))).T

    def _means(self, values: Array, edges: Array) -> Array:
        """Return the means over bins of a smooth curve that has these means in its own bins.

        It rises where the values do, and stays the same beyond the last.
        """
        own = np.asarray(self.edges)
        centres, end = 0.5 * (own[1:] + own[:-1]), max(float(edges[-1]), own[-1]) + 1.0
        top, nodes = (
            max(1.0, float(values.max())),
            np.concatenate([own[:1], centres, [own[-1], end]]),
        )

        def means(heights: Array, bins: Array) -> Array:
            first = heights[0]
            if len(heights) > 1:
                first -= (
                    (heights[1] - heights[0]) * (centres[0] - own[0]) / (centres[1] - centres[0])
                )
            curve = np.concatenate([[np.clip(first, 0.0, top)], heights, heights[[-1, -1]]])
            integral = PchipInterpolator(nodes, curve).antiderivative()
            return np.asarray(np.diff(integral(bins)) / np.diff(bins))

        heights = values
        for _ in range(_CORRECTIONS):
            heights = np.clip(heights + values - means(heights, own), 0.0, top)
        return means(heights, edges)


def _rows(variations: list[Array], bins: int) -> tuple[tuple[float, ...], ...]:
    table = np.reshape(variations, (len(variations), bins)).T
    return tuple(tuple(row) for row in table.tolist())


def _measured(efficiency: Any, total: Any) -> tuple[Array, Array, Array]:
    """Return edges, efficiencies and their errors; without bins at the end that are empty."""
    given = {"efficiency": efficiency} if total is None else {"passed": efficiency, "total": total}
    for name, histogram in given.items():
        if any(not hasattr(histogram, part) for part in ("axes", "values", "variances")) or (
            len(histogram.axes) != 1
        ):
            msg = (
                f"trigger, {name}: expected a histogram in the mass alone (hist.Hist), got "
                f"{type(histogram).__name__}"
            )
            raise FitError(msg)
    edges, values = np.asarray(efficiency.axes[0].edges, dtype=float), _contents(efficiency)
    if total is None:
        variances = efficiency.variances()
        if variances is None or np.array_equal(variances, values):
            msg = (
                "trigger: the efficiencies come without their variances: store them in a histogram "
                "of Weight storage (TH1::Sumw2), or give the events that passed, and all"
            )
            raise FitError(msg)
        variances = np.asarray(variances, dtype=float)
        if not (np.isfinite(variances).all() and np.all(variances >= 0)):
            msg = "trigger: a variance of the efficiencies is negative or not finite"
            raise FitError(msg)
        known = np.flatnonzero(values != 0)
        bins = slice(None, int(known[-1]) + 1 if known.size else 0)
        return _checked(edges, values, np.sqrt(variances), bins)
    counts = _contents(total)
    if not np.array_equal(edges, np.asarray(total.axes[0].edges, dtype=float)):
        msg = "trigger: the events that passed and all events have different bins"
        raise FitError(msg)
    whole = all(np.array_equal(np.rint(v), v) and np.all(v >= 0) for v in (values, counts))
    if not whole or np.any(values > counts):
        msg = (
            "trigger: the events that passed must be counts, none above all events in their bin; "
            "of weighted events give the efficiency with its variances"
        )
        raise FitError(msg)
    seen = np.flatnonzero(counts)
    bins = slice(None, int(seen[-1]) + 1 if seen.size else 0)
    ratios = values / np.maximum(counts, 1.0)
    return _checked(edges, ratios, _binomial_errors(ratios, counts), bins)


def _checked(edges: Array, values: Array, errors: Array, bins: slice) -> tuple[Array, Array, Array]:
    values, errors = values[bins], errors[bins]
    if not len(values) or not np.all((values >= 0) & (values <= 1)):
        msg = "trigger: efficiencies must lie between 0 and 1, and one above 0"
        raise FitError(msg)
    return edges[: len(values) + 1], values, errors


def _contents(histogram: Any) -> Array:
    return np.asarray(histogram.values(), dtype=float)


def _binomial_errors(ratios: Array, counts: Array) -> Array:
    """Return the standard deviations of efficiencies given k of n, which no k makes zero.

    Source
    ------
    Ullrich, Xu, arXiv:physics/0701199, the variance with a uniform prior.
    """
    k, n = ratios * counts, counts
    return np.asarray(np.sqrt((k + 1) * (k + 2) / ((n + 2) * (n + 3)) - ((k + 1) / (n + 2)) ** 2))
