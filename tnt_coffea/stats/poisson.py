"""Maximum-likelihood fits of binned counts in plain numpy: fast enough for toys.

Channels share one signal strength mu (a number of events) and have backgrounds
of their own. Newton's method with the analytic gradient and Hessian of the
Poisson likelihood; every fit says how far from the minimum it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tnt_coffea.stats.background import LogLinear

__all__ = [
    "Channel",
    "Discovery",
    "Fit",
    "background_fit",
    "deviance",
    "discovery",
    "fitted_background",
    "pulls",
    "signal_fit",
    "signal_uncertainty",
    "toy_channels",
]

Array = NDArray[np.float64]

# In units of ln L: a thousandth of it moves Z by less than 1e-5.
_EDM_GOAL = 1e-8
_MAX_STEPS = 100
_MAX_HALVINGS = 40
# Rounding of a log-likelihood sum, relative to its size.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Channel:
    """One spectrum, the signal's share of it and its background family.

    Attributes
    ----------
    name
        What the channel is called in results.
    observed
        Events per bin, shape (bins,); not necessarily whole (Asimov data).
    signal
        Expected signal per bin and unit mu, shape (bins,).
    background
        The background, whitened.
    """

    name: str
    observed: Array
    signal: Array
    background: LogLinear


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a fit ended.

    Attributes
    ----------
    mu
        Signal strength: events over all channels.
    phi
        Background parameters of each channel.
    nll
        Negative log-likelihood without the terms of the data alone.
    edm
        Estimated vertical distance to the minimum, in ln L.
    converged
        Whether that distance is below the goal.
    """

    mu: float
    phi: tuple[Array, ...]
    nll: float
    edm: float
    converged: bool


@dataclass(frozen=True, eq=False)
class Discovery:
    """Test of mu = 0 against mu > 0."""

    background: Fit
    best: Fit
    q0: float

    @property
    def z(self) -> float:
        """Asymptotic local significance, sqrt(q0)."""
        return float(np.sqrt(self.q0))

    @property
    def converged(self) -> bool:
        """Whether both fits converged."""
        return self.background.converged and self.best.converged


def background_fit(channels: Sequence[Channel]) -> Fit:
    """Fit the backgrounds at mu = 0, starting where they were whitened."""
    return _newton(channels, 0.0, tuple(np.zeros(c.background.parameters) for c in channels), False)


def signal_fit(channels: Sequence[Channel], start: Fit) -> Fit:
    """Fit mu >= 0 and the backgrounds, starting from a background fit of positive score."""
    return _newton(channels, start.mu, start.phi, True)


def discovery(channels: Sequence[Channel]) -> Discovery:
    """Test mu = 0; where the score there is not positive q0 is 0 without another fit.

    Source
    ------
    Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equation 12.
    """
    background = background_fit(channels)
    gradient, _, _ = _derivatives(channels, 0.0, background.phi, True)
    if -gradient[0] <= 0:
        return Discovery(background, background, 0.0)
    best = signal_fit(channels, background)
    return Discovery(background, best, max(0.0, 2 * (background.nll - best.nll)))


def signal_uncertainty(channels: Sequence[Channel], mu: float, phi: Sequence[Array]) -> float:
    """Return the uncertainty of mu from the curvature of the likelihood, backgrounds profiled."""
    _, hessian, fisher = _derivatives(channels, mu, phi, True)
    for curvature in (hessian, fisher):
        try:
            variance = float(np.linalg.inv(curvature)[0, 0])
        except np.linalg.LinAlgError:
            continue
        if variance > 0:
            return float(np.sqrt(variance))
    return float("inf")


def fitted_background(family: LogLinear, observed: Array) -> tuple[LogLinear, Fit]:
    """Fit a family as it stands to one spectrum, and whiten it around the result.

    The maximum exists and is unique where at least as many bins are occupied as
    there are parameters: a function of such a family cannot be zero there and
    negative everywhere else.
    """
    flat = np.zeros(family.parameters)
    flat[0] = np.log(observed.sum() / family.expected(flat).sum())
    start = family.whitened(flat)
    nothing = np.zeros_like(observed)
    fit = background_fit([Channel("", observed, nothing, start)])
    return start.whitened(fit.phi[0]), fit


def deviance(observed: Array, expected: Array) -> float:
    """Return the likelihood ratio to the saturated model, 2 sum(n ln(n / b) - n + b)."""
    return float(np.sum(_deviances(observed, expected)))


def pulls(observed: Array, expected: Array) -> Array:
    """Return each bin's signed root of its deviance: a pull that holds at low counts too."""
    terms = np.maximum(_deviances(observed, expected), 0.0)
    return np.asarray(np.sign(observed - expected) * np.sqrt(terms))


def toy_channels(
    channels: Sequence[Channel], expected: Sequence[Array], random: np.random.Generator
) -> list[Channel]:
    """Return the channels with Poisson counts around the expectations in place of the data."""
    return [
        replace(channel, observed=random.poisson(mean).astype(float))
        for channel, mean in zip(channels, expected, strict=True)
    ]


def _deviances(observed: Array, expected: Array) -> Array:
    expected = np.maximum(expected, np.finfo(float).tiny)
    return np.asarray(2 * (xlogy(observed, observed / expected) - observed + expected))


def _nll(channels: Sequence[Channel], mu: float, phi: Sequence[Array]) -> float:
    total = 0.0
    for channel, parameters in zip(channels, phi, strict=True):
        mean = mu * channel.signal + channel.background.expected(parameters)
        # A tail may underflow to zero: that costs nothing where nothing was seen.
        total += float(np.sum(mean - xlogy(channel.observed, mean)))
    return total


def _derivatives(
    channels: Sequence[Channel], mu: float, phi: Sequence[Array], signal: bool
) -> tuple[Array, Array, Array]:
    """Return gradient, Hessian and Fisher information; mu is the first of the parameters."""
    sizes = [channel.background.parameters for channel in channels]
    size = 1 + sum(sizes)
    gradient, hessian, fisher = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
    first = 1
    for channel, parameters in zip(channels, phi, strict=True):
        family = channel.background
        own = np.r_[0, first : first + family.parameters]
        rates = family.rates(parameters)
        mean = np.maximum(mu * channel.signal + rates.sum(axis=1), np.finfo(float).tiny)
        slopes = np.column_stack([channel.signal, family.jacobian(rates)])
        excess = 1 - channel.observed / mean
        gradient[own] += excess @ slopes
        fisher[np.ix_(own, own)] += (slopes / mean[:, None]).T @ slopes
        observed = (slopes * (channel.observed / mean / mean)[:, None]).T @ slopes
        nodes = family.features.reshape(-1, family.parameters)
        observed[1:, 1:] += (nodes * (excess[:, None] * rates).reshape(-1, 1)).T @ nodes
        hessian[np.ix_(own, own)] += observed
        first += family.parameters
    kept = slice(0 if signal else 1, None)
    return gradient[kept], hessian[kept, kept], fisher[kept, kept]


def _step(gradient: Array, hessian: Array, fisher: Array) -> tuple[Array, float]:
    """Return the step downhill and the estimated distance to the minimum."""
    try:
        np.linalg.cholesky(hessian)
        step = -np.linalg.solve(hessian, gradient)
    except np.linalg.LinAlgError:
        # Away from the minimum the likelihood need not be convex; the Fisher
        # information always points downhill.
        step = -np.linalg.lstsq(fisher, gradient, rcond=None)[0]
    return np.asarray(step, dtype=np.float64), float(-0.5 * gradient @ step)


def _newton(channels: Sequence[Channel], mu: float, phi: tuple[Array, ...], signal: bool) -> Fit:
    nll, edm, cuts = _nll(channels, mu, phi), float("inf"), np.cumsum([len(p) for p in phi])[:-1]
    for _ in range(_MAX_STEPS):
        step, edm = _step(*_derivatives(channels, mu, phi, signal))
        if edm < _EDM_GOAL:
            return Fit(mu, phi, nll, edm, True)
        change = step[0] if signal else 0.0
        moves = np.split(step[1:] if signal else step, cuts)
        for halving in range(_MAX_HALVINGS):
            scale = 0.5**halving
            trial_mu = mu + scale * float(change)
            trial = tuple(p + scale * move for p, move in zip(phi, moves, strict=True))
            value = _nll(channels, trial_mu, trial) if trial_mu >= 0 else float("inf")
            if value <= nll - 1e-4 * scale * edm + _ROUNDING * abs(nll):
                mu, phi, nll = trial_mu, trial, value
                break
        else:
            break
    return Fit(mu, phi, nll, edm, False)
