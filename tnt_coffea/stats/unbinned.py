"""A bump hunt repeated without bins, as a cross-check: every event's own mass in the likelihood.

The extended likelihood of the events i of channel c is
-ln L = sum_c (nu_c - sum_i ln f_c(m_i)), f_c = b_c + mu share_c s and nu_c its integral over the
range of the fit, with the functions, the signal and the shares that the binned fit had. Minuit
minimises it with analytic gradients. Binned fits say where it starts and scale its parameters, and
have no other part in it.

Source
------
Barlow, Nucl. Instrum. Meth. A 297 (1990) 496: extended maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline, make_interp_spline

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.engine import check_informative, fitted_background
from tnt_coffea.stats.families import family_named
from tnt_coffea.stats.results import BumpHuntResult, ChannelResult, Result
from tnt_coffea.stats.signals import SHAPES, SignalShape
from tnt_coffea.stats.spectrum_fit import SpectrumFit

__all__ = ["UnbinnedChannel", "UnbinnedResult", "unbinned_check"]

Array = NDArray[np.float64]

# Densities come from integrals over at least this many bins, by splines of fifth degree: those of
# a dijet function from 1 to 8 TeV are right to 1e-7.
_LEAST_BINS = 1000
_DEGREE = 5
# Densities below this are taken for it: Minuit's trial steps may go there.
_TINY = 1e-150
# Masses that were rounded to float32 may lie in the next bin.
_ROUNDED = 1e-3
# Minuit stops 0.002 x this x 0.5 above the minimum of -ln L.
_TOLERANCE = 0.01
# Masses that all lie below this are no dijet masses in GeV.
_LEAST_MASS = 50.0


@dataclass(frozen=True)
class UnbinnedChannel(Result):
    """One channel of an unbinned fit.

    Attributes
    ----------
    name
        The channel.
    events
        Events in the range of the fit.
    ignored
        Events outside it, which have no part in the fit.
    parameters
        Parameters of the background function, normalisation included.
    background
        Expectation of the background-only fit in the bins of the binned fit.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.stats import UnbinnedChannel
    >>> UnbinnedChannel('all', 3, 1, 2, (1.5, 1.0, 0.5)).events
    3
    """

    name: str
    events: int
    ignored: int
    parameters: int
    background: tuple[float, ...]


@dataclass(frozen=True)
class UnbinnedResult(Result):
    """A bump hunt's test repeated without bins.

    Attributes
    ----------
    mass, width
        Of the signal [GeV].
    fit_range
        Lower and upper edge of the fit [GeV].
    channels
        The channels and their fits, of the function that is best without a signal.
    q0
        Test statistic of arXiv:1007.1727, equation 12.
    mu_hat, mu_uncertainty
        Signal events over all channels, mu >= 0; the uncertainty is from the curvature of the
        likelihood.
    binned_q0, binned_mu_hat, binned_mu_uncertainty
        The same of the binned fit.
    family
        Family of the background functions; that of the best fit where several compete.
    nuisances
        Nuisance parameters of the signal at the maximum, by name.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> spectrum = (3500.0, 120.0, (2600.0, 7000.0), ())
    >>> check = stats.UnbinnedResult(*spectrum, 9.0, 100.0, 30.0, 8.41, 98.0, 31.0)
    >>> round(check.z_asymptotic, 2), round(check.z_difference, 2), check.mu_difference
    (3.0, 0.1, 2.0)
    >>> stats.UnbinnedResult.from_dict(check.to_dict()) == check
    True
    """

    mass: float
    width: float
    fit_range: tuple[float, float]
    channels: tuple[UnbinnedChannel, ...]
    q0: float
    mu_hat: float
    mu_uncertainty: float
    binned_q0: float
    binned_mu_hat: float
    binned_mu_uncertainty: float
    family: str = "dijet"
    nuisances: tuple[tuple[str, float], ...] = ()
    kind: Literal["unbinned"] = field(default="unbinned", kw_only=True)

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula holds."""
        return float(self.q0**0.5)

    @property
    def z_difference(self) -> float:
        """sqrt(q0) less that of the binned fit."""
        return float(self.q0**0.5 - self.binned_q0**0.5)

    @property
    def mu_difference(self) -> float:
        """Fitted signal events less those of the binned fit."""
        return self.mu_hat - self.binned_mu_hat

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        binned_z = self.binned_q0**0.5
        lines = [
            f"unbinned fit at {self.mass:g} GeV, width {self.width:g} GeV, fit range "
            f"{self.fit_range[0]:g}-{self.fit_range[1]:g} GeV",
            f"  sqrt of q0 {self.z_asymptotic:.3f}, binned {binned_z:.3f}",
            f"  signal {self.mu_hat:.1f} +- {self.mu_uncertainty:.1f} events, binned "
            f"{self.binned_mu_hat:.1f} +- {self.binned_mu_uncertainty:.1f}",
        ]
        lines += [
            f"  {channel.name}: {channel.events} events, {channel.ignored} outside the range, "
            f"{channel.parameters} background parameters"
            for channel in self.channels
        ]
        return "\n".join(lines)


def unbinned_check(
    masses: ArrayLike | Mapping[str, ArrayLike],
    result: BumpHuntResult,
    fit: SpectrumFit | None = None,
) -> UnbinnedResult:
    """Repeat the test of a bump hunt with the masses of its events instead of their histogram.

    Range, background functions with their numbers of parameters, shares of the channels and the
    signal are those of the binned result. The two differ by what the bins do not see: by about
    0.01 in Z, either way, where they are a twenty-fourth of the signal's width, and by 0.1 where
    they are a third of it.

    Parameters
    ----------
    masses
        m_jj of the events [GeV], shape (events,); of several channels by the channel's name. Events
        outside the range of the fit are counted and ignored.
    result
        The bump hunt.
    fit
        How the result was fitted. It is needed where the signal is no plain Gaussian: a result
        does not hold its tails, and the uncertainties of its mass and width.

    Returns
    -------
    The asymptotic test, beside that of the result. It is not calibrated by toys: compare it with
    `z_asymptotic` of the bump hunt.

    Raises
    ------
    FitError
        The masses are no numbers or are not those of the histogram, the events have weights, the
        fit is another one, or Minuit finds no maximum.

    Examples
    --------
    >>> import hist
    >>> import numpy as np
    >>> from tnt_coffea import stats
    >>> random = np.random.default_rng(1)
    >>> masses = np.append(2600 + random.exponential(600, 5000), random.normal(3500, 120, 100))
    >>> histogram = hist.Hist(hist.axis.Regular(880, 2600, 7000)).fill(masses)
    >>> fit = stats.SpectrumFit((2600, 7000))
    >>> check = stats.unbinned_check(
    ...     masses, stats.bump_hunt(histogram, mass=3500, width=120, fit=fit)
    ... )
    >>> abs(check.z_difference) < 0.02, abs(check.mu_difference) < 1
    (True, True)
    """
    _check_kinds(result, fit)
    _check_unweighted(result)
    _check_nuisances(result)
    signal = _signal(result, fit)
    low, high = result.fit_range
    inside, ignored = {}, {}
    for channel, values in _by_channel(masses, result.channels):
        kept = (values >= low) & (values < high)
        _check_same(channel, values, values[kept])
        inside[channel.name] = values[kept]
        ignored[channel.name] = int(np.count_nonzero(~kept))
    tests = [
        _tested(_likelihood(result, signal, inside, function), function[0], result)
        for function in _functions(result)
    ]
    # Of several functions the best one counts, with and without a signal (arXiv:1408.6865).
    null = min(tests, key=lambda test: test.null_nll)
    best = min(tests, key=lambda test: test.best_nll)
    alpha = best.best[1 : best.likelihood.shared]
    return UnbinnedResult(
        mass=result.mass,
        width=result.width,
        fit_range=result.fit_range,
        channels=tuple(
            UnbinnedChannel(
                channel.name,
                len(inside[channel.name]),
                ignored[channel.name],
                own.background.parameters,
                tuple(own.rebinned(null.null[place], channel.edges).tolist()),
            )
            for channel, own, place in zip(
                result.channels, null.likelihood.channels, null.likelihood.places, strict=True
            )
        ),
        q0=max(0.0, 2 * (null.null_nll - best.best_nll)),
        mu_hat=float(best.best[0]),
        mu_uncertainty=best.mu_uncertainty,
        binned_q0=result.q0,
        binned_mu_hat=result.mu_hat,
        binned_mu_uncertainty=result.mu_uncertainty,
        family=best.family,
        nuisances=tuple(zip(signal.nuisances, alpha.tolist(), strict=True)),
    )


def _check_kinds(result: object, fit: object) -> None:
    if not isinstance(result, BumpHuntResult):
        msg = f"result is a {type(result).__name__}, expected the BumpHuntResult to check"
        raise FitError(msg)
    if not isinstance(fit, SpectrumFit | None):
        msg = f"fit is a {type(fit).__name__}, expected the SpectrumFit of the result"
        raise FitError(msg)


# Nuisance parameters that an unbinned likelihood of this module has as well.
_KNOWN = ("signal_scale", "signal_width")


def _check_nuisances(result: BumpHuntResult) -> None:
    other = [name for name, _ in result.nuisances if name not in _KNOWN]
    if other:
        msg = f"{', '.join(other)} of the binned fit is not part of an unbinned likelihood"
        raise FitError(msg)


def _check_unweighted(result: BumpHuntResult) -> None:
    weighted = [channel.name for channel in result.channels if channel.scale]
    if weighted:
        msg = (
            f"{', '.join(weighted)}: the events have weights, and q0 of an unbinned likelihood of "
            "weighted events is no chi-square: check a fit of events without weights"
        )
        raise FitError(msg)


def _signal(result: BumpHuntResult, fit: SpectrumFit | None) -> SignalShape:
    """Return the signal that a result was fitted with."""
    names = tuple(name for name, _ in result.nuisances)
    if fit is None:
        if result.shape != "gaussian" or names:
            msg = (
                "a result does not hold its signal's tails and uncertainties: give its fit as well"
            )
            raise FitError(msg)
        return SignalShape(result.mass, result.width)
    signal = fit.signal(result.mass, result.width)
    if not isinstance(signal, SignalShape):
        msg = "a signal template has bins: there is no unbinned likelihood of it"
        raise FitError(msg)
    if signal.kind != result.shape or signal.nuisances != names:
        msg = (
            f"the result has a signal of shape '{result.shape}' with nuisance parameters "
            f"{list(names)}, the fit one of shape '{signal.kind}' with {list(signal.nuisances)}: "
            "give the fit of the result"
        )
        raise FitError(msg)
    return signal


def _by_channel(
    masses: Any, channels: Sequence[ChannelResult]
) -> list[tuple[ChannelResult, Array]]:
    """Return every channel's masses as numbers."""
    names = [channel.name for channel in channels]
    if not isinstance(masses, Mapping) and len(names) == 1:
        masses = {names[0]: masses}
    if not isinstance(masses, Mapping) or set(masses) != set(names):
        what = f"those of {list(masses)}" if isinstance(masses, Mapping) else "one array"
        msg = f"expected masses by channel, {names}, and got {what}"
        raise FitError(msg)
    return [(channel, _numbers(channel.name, masses[channel.name])) for channel in channels]


def _numbers(name: str, masses: Any) -> Array:
    try:
        values = np.asarray(masses)
        numeric = values.ndim == 1 and values.dtype.kind in "iuf"
    except (TypeError, ValueError):  # rows of different lengths
        numeric = False
    if not numeric:
        msg = f"{name}: expected masses as numbers of shape (events,) [GeV]"
        raise FitError(msg)
    values = values.astype(float)
    wrong = np.count_nonzero(~np.isfinite(values))
    if wrong:
        msg = f"{name}: {wrong} of {values.size} masses are not finite: leave such events out"
        raise FitError(msg)
    return values


def _check_same(channel: ChannelResult, masses: Array, inside: Array) -> None:
    """Refuse masses that are not those of the binned events."""
    observed = np.asarray(channel.observed)
    counts, _ = np.histogram(inside, np.asarray(channel.edges))
    moved = float(np.abs(counts - observed).sum())
    if moved <= 2 + _ROUNDED * observed.sum() and inside.size:
        return
    msg = (
        f"{channel.name}: {inside.size} of {masses.size} masses lie in the bins of the fit, whose "
        f"contents are {observed.sum():g} events, and {moved:g} are missing or too many in their "
        "bins: give the masses of the events in the histogram"
    )
    if masses.size and masses.max() < _LEAST_MASS:
        msg += "; if they are in TeV, give them in GeV, times 1000"
    raise FitError(msg)


def _functions(result: BumpHuntResult) -> list[tuple[str, tuple[int, ...]]]:
    """Return the background functions of a result: family, and parameters in every channel."""
    if not result.envelope:
        return [(result.family, tuple(channel.parameters for channel in result.channels))]
    channels = len(result.channels)
    return [(one.family, (one.parameters,) * channels) for one in result.envelope]


@dataclass(frozen=True, eq=False)
class _Events:
    """The events of one channel, and what they are expected to be.

    Attributes
    ----------
    share
        Share of the signal in this channel.
    masses
        m_jj [GeV], shape (events,).
    edges
        Narrow bins [GeV] over the range; all edges of the binned fit are among them.
    background
        The function over the narrow bins, whitened.
    """

    share: float
    masses: Array
    edges: Array
    background: Background

    @classmethod
    def of(
        cls, channel: ChannelResult, masses: Array, signal: SignalShape, family: str, order: int
    ) -> _Events:
        """Return the events of a channel with a function."""
        widest = (channel.edges[-1] - channel.edges[0]) / _LEAST_BINS
        pieces = [
            np.linspace(low, high, int(np.ceil((high - low) / widest)), endpoint=False)
            for low, high in pairwise(channel.edges)
        ]
        edges = np.append(np.concatenate(pieces), channel.edges[-1])
        counts = np.histogram(masses, edges)[0].astype(float)
        everywhere = np.ones(counts.size, dtype=bool)
        built = family_named(family).build(edges, order, counts, everywhere)
        return cls(channel.share, masses, edges, fitted_background(built, counts)[0])

    @cached_property
    def _knots(self) -> Array:
        nothing = np.zeros_like(self.edges)
        return np.asarray(make_interp_spline(self.edges, nothing, _DEGREE).derivative().t)

    @cached_property
    def points(self) -> Any:
        """From coefficients of splines to densities at the masses, (events, coefficients)."""
        return BSpline.design_matrix(self.masses, self._knots, _DEGREE - 1).tocsr()

    def coefficients(self, integrals: Array) -> Array:
        """Return the coefficients of the densities whose integrals over the bins are given.

        Shapes (coefficients, ...) and (bins, ...). The density is the derivative of the spline
        through the integrals up to every edge, so that it has exactly these integrals. They are
        taken from the upper end on: from the lower one a falling tail would drown in rounding.
        """
        below_end = np.cumsum(integrals[::-1], axis=0)[::-1]
        summed = np.concatenate([-below_end, np.zeros_like(integrals[:1])])
        spline = make_interp_spline(self.edges, summed, _DEGREE).derivative()
        return np.asarray(spline.c[: self.points.shape[1]])  # the rest is padding

    def rebinned(self, phi: Array, edges: Sequence[float]) -> Array:
        """Return the background's expectation in wider bins, shape (bins,)."""
        starts = np.searchsorted(self.edges, np.asarray(edges[:-1]))
        return np.asarray(np.add.reduceat(self.background.expected(phi), starts))


@dataclass(frozen=True, eq=False)
class _UnbinnedLikelihood:
    """-ln L of the events of all channels, with one function in each.

    Its parameters are mu, the nuisance parameters of the signal and those of each background.
    """

    signal: SignalShape
    channels: tuple[_Events, ...]

    @property
    def shared(self) -> int:
        """Number of parameters that all channels share."""
        return 1 + len(self.signal.nuisances)

    @property
    def places(self) -> list[slice]:
        """Where each channel's background parameters stand."""
        sizes = (channel.background.parameters for channel in self.channels)
        ends = accumulate(sizes, initial=self.shared)
        return [slice(a, b) for a, b in pairwise(ends)]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.places[-1].stop)

    def value(self, x: Array) -> float:
        """Return -ln L."""
        alpha = x[1 : self.shared]
        total = 0.5 * float(alpha @ alpha)
        for channel, place in zip(self.channels, self.places, strict=True):
            strength = x[0] * channel.share
            signal = _moved(self.signal, alpha, channel)
            expected = channel.background.expected(x[place])
            density = channel.points @ channel.coefficients(expected) + strength * signal.density
            total += float(expected.sum() + strength * signal.inside)
            total -= float(np.log(np.maximum(density, _TINY)).sum())
        return total

    def gradient(self, x: Array) -> Array:
        """Return the gradient of -ln L."""
        alpha = x[1 : self.shared]
        gradient = np.concatenate([[0.0], alpha, np.zeros(self.size - self.shared)])
        for channel, place in zip(self.channels, self.places, strict=True):
            strength = x[0] * channel.share
            signal = _moved(self.signal, alpha, channel)
            here = channel.background.evaluated(x[place])
            coefficients = channel.coefficients(np.column_stack([here.expected, here.jacobian]))
            density = channel.points @ coefficients[:, 0] + strength * signal.density
            inverse = 1 / np.maximum(density, _TINY)
            gradient[0] += channel.share * (signal.inside - signal.density @ inverse)
            gradient[1 : self.shared] += strength * (
                signal.inside_slopes - signal.density_slopes @ inverse
            )
            pulls = (channel.points.T @ inverse) @ coefficients[:, 1:]
            gradient[place] += here.jacobian.sum(axis=0) - pulls
        return gradient


@dataclass(frozen=True, eq=False)
class _Moved:
    """The signal at some values of its nuisance parameters.

    Attributes
    ----------
    density, density_slopes
        At the masses [1/GeV], shapes (events,) and (nuisances, events).
    inside, inside_slopes
        Its part in the range, and the slopes of shape (nuisances,).
    """

    density: Array
    density_slopes: Array
    inside: float
    inside_slopes: Array


def _moved(signal: SignalShape, alpha: Array, channel: _Events) -> _Moved:
    """Return the signal for one channel."""
    standard = SHAPES[signal.kind](signal.tails)
    moved = dict(zip(signal.nuisances, alpha, strict=True))
    mass = signal.mass * np.exp(signal.scale_uncertainty * moved.get("signal_scale", 0.0))
    width = signal.width * np.exp(signal.width_uncertainty * moved.get("signal_width", 0.0))
    t, ends = (channel.masses - mass) / width, (channel.edges[[0, -1]] - mass) / width
    density = standard.pdf(t) / width
    slopes, inside_slopes = np.empty((alpha.size, t.size)), np.empty(alpha.size)
    for row, name in enumerate(moved):
        # How t and ln width change with the parameter.
        if name == "signal_scale":
            shift, stretch = -signal.scale_uncertainty * mass / width, 0.0
        else:
            shift, stretch = 0.0, signal.width_uncertainty
        slopes[row] = standard.slope(t) / width * (shift - stretch * t) - stretch * density
        inside_slopes[row] = np.diff(standard.pdf(ends) * (shift - stretch * ends))[0]
    return _Moved(density, slopes, float(np.diff(standard.cdf(ends))[0]), inside_slopes)


def _likelihood(
    result: BumpHuntResult,
    signal: SignalShape,
    masses: Mapping[str, Array],
    function: tuple[str, tuple[int, ...]],
) -> _UnbinnedLikelihood:
    """Return the likelihood of the events in the range, with one function."""
    family, orders = function
    channels = (
        _Events.of(channel, masses[channel.name], signal, family, order)
        for channel, order in zip(result.channels, orders, strict=True)
    )
    return _UnbinnedLikelihood(signal, tuple(channels))


@dataclass(frozen=True, eq=False)
class _Fits:
    """The fits of one function.

    Attributes
    ----------
    family, likelihood
        The function's family, and -ln L with it.
    null, best
        All parameters at mu = 0 and at the best mu >= 0.
    null_nll, best_nll
        -ln L + background parameters / 2 there.
    mu_uncertainty
        From the curvature at the best mu.
    """

    family: str
    likelihood: _UnbinnedLikelihood
    null: Array
    best: Array
    null_nll: float
    best_nll: float
    mu_uncertainty: float


def _tested(likelihood: _UnbinnedLikelihood, family: str, result: BumpHuntResult) -> _Fits:
    """Return the fits of one function without and with a signal."""
    shared = likelihood.shared
    null = _minimum(likelihood, np.zeros(likelihood.size), result.mu_uncertainty, held=shared)
    best = null
    # Where -ln L rises from mu = 0 on there is no signal, unless one that moved was found.
    if likelihood.gradient(null)[0] < 0 or (shared > 1 and result.mu_hat > 0):
        start = null.copy()
        for channel, place in zip(likelihood.channels, likelihood.places, strict=True):
            start[place] = channel.background.movable(null[place])
        start[:shared] = [result.mu_hat, *(alpha for _, alpha in result.nuisances)]
        found = _minimum(likelihood, start, result.mu_uncertainty)
        if found[0] > 0 and likelihood.value(found) < likelihood.value(null):
            best = found
    penalty = 0.5 * (likelihood.size - shared)
    return _Fits(
        family,
        likelihood,
        null,
        best,
        likelihood.value(null) + penalty,
        likelihood.value(best) + penalty,
        _mu_uncertainty(likelihood, best, result.mu_uncertainty),
    )


def _minuit(likelihood: _UnbinnedLikelihood, start: Array, scale: float) -> Any:
    from iminuit import Minuit

    minuit = Minuit(likelihood.value, start, grad=likelihood.gradient)
    minuit.errordef = Minuit.LIKELIHOOD
    minuit.tol = _TOLERANCE
    minuit.errors = [scale, *np.ones(likelihood.size - 1)]
    return minuit


def _minimum(likelihood: _UnbinnedLikelihood, start: Array, scale: float, held: int = 0) -> Array:
    """Return where -ln L is least, the first parameters held where they are."""
    minuit = _minuit(likelihood, start, scale)
    minuit.fixed[:held] = True
    # Its careful mode gets through where the first stalls.
    for minuit.strategy in (1, 2):
        if minuit.migrad().valid:
            return np.asarray(minuit.values)
    msg = (
        "Minuit finds no maximum of the unbinned likelihood: use fewer parameters or a range with "
        "more events"
    )
    raise FitError(msg)


def _mu_uncertainty(likelihood: _UnbinnedLikelihood, x: Array, scale: float) -> float:
    """Return the uncertainty of mu from the curvature, all else profiled."""
    uncertainty = float(_minuit(likelihood, x, scale).hesse().errors[0])
    check_informative(uncertainty)
    return uncertainty
