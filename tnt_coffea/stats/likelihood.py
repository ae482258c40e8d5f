"""The Poisson likelihood of channels that share a signal, for many sets of counts at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.signals import Template

__all__ = ["Channel", "Likelihood", "nuisance_names"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

# Expectations below this are taken for it, and an event there pulls no longer: a function may
# fall by hundreds of powers of e. Its square is still a number.
_TINY = 1e-150
# No nuisance parameter is ever this many sigmas off: it keeps trial steps finite.
_FARTHEST = 10.0
# Rounding of a log-likelihood sum, relative to the events in it.
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
    template
        The signal's shape where it has nuisance parameters; they are shared by
        all channels.
    """

    name: str
    observed: Array
    signal: Array
    background: Background
    template: Template | None = None

    def moved_signal(self, alpha: Array) -> Array:
        """Return the signal per unit mu for nuisance parameters of shape (points, nuisances)."""
        if self.template is None:
            return np.broadcast_to(self.signal, (len(alpha), self.signal.size))
        return self.template.varied(alpha)[0]


def nuisance_names(channels: Sequence[Channel]) -> tuple[str, ...]:
    """Return the names of the signal's nuisance parameters, the same in all channels."""
    shapes = {channel.template.shape.nuisances if channel.template else () for channel in channels}
    if len(shapes) != 1:
        msg = f"channels must share the signal's nuisance parameters, got {sorted(shapes)}"
        raise FitError(msg)
    return shapes.pop()


@dataclass(frozen=True, eq=False)
class Likelihood:
    """-ln L of every toy relative to the saturated model, as an objective for Newton's method.

    All parameters in a row are mu, the nuisance parameters of the signal and the
    parameters of each channel's background; those in `free` are what is minimised over.

    Attributes
    ----------
    channels
        The model; its own observations play no part.
    observed
        Counts of every channel, shape (toys, bins).
    fixed
        Values of all parameters, shape (toys, parameters); the free ones are ignored.
    free
        Positions of the free parameters.
    least
        Lower bound of mu.
    """

    channels: Sequence[Channel]
    observed: Sequence[Array]
    fixed: Array
    free: NDArray[np.intp]
    least: float = 0.0

    @cached_property
    def nuisances(self) -> int:
        """Number of nuisance parameters of the signal."""
        return len(nuisance_names(self.channels))

    @cached_property
    def places(self) -> list[slice]:
        """Where each channel's background parameters stand."""
        first = 1 + self.nuisances
        sizes = np.cumsum([first, *(c.background.parameters for c in self.channels)])
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(sizes)]

    @cached_property
    def rounding(self) -> Array:
        """Rounding error of the value of every toy."""
        return np.asarray(_ROUNDING * (1 + sum(n.sum(axis=1) for n in self.observed)))

    def full(self, x: Array, rows: Rows) -> Array:
        """Return all parameters of some toys."""
        parameters = self.fixed[rows]
        parameters[:, self.free] = x
        return parameters

    def projected(self, x: Array) -> Array:
        """Return the free parameters, mu not below its bound and alpha within +-10."""
        for column, position in enumerate(self.free):
            if position > self.nuisances:
                break
            low, high = (self.least, np.inf) if position == 0 else (-_FARTHEST, _FARTHEST)
            x[:, column] = np.clip(x[:, column], low, high)
        return x

    def value(self, x: Array, rows: Rows) -> Array:
        """Return -ln L of some toys; infinity where an expectation is negative."""
        parameters = self.full(x, rows)
        mu, alpha = parameters[:, :1], parameters[:, 1 : 1 + self.nuisances]
        total = 0.5 * np.square(alpha).sum(axis=1)
        forbidden = np.zeros(len(rows), dtype=bool)
        for channel, counts, place in zip(self.channels, self.observed, self.places, strict=True):
            n = _rows(counts, rows)
            mean = channel.background.expected(parameters[:, place])
            mean = mean + mu * channel.moved_signal(alpha)
            forbidden = forbidden | (mean < 0).any(axis=1)
            # A tail may underflow to zero: that costs nothing where nothing was seen.
            mean = np.maximum(mean, _TINY)
            total = total + (mean - n - xlogy(n, mean) + xlogy(n, n)).sum(axis=1)
        return np.where(forbidden | ~np.isfinite(total), np.inf, total)

    def derivatives(self, x: Array, rows: Rows) -> tuple[Array, Array]:
        """Return gradient and Hessian in the free parameters."""
        parameters = self.full(x, rows)
        gradient, hessian, _ = self.all_derivatives(parameters, rows)
        held = np.flatnonzero((parameters[:, 0] <= self.least) & (gradient[:, 0] > 0))
        gradient[held, 0] = 0.0
        hessian[held, 0, :] = 0.0
        hessian[held, :, 0] = 0.0
        hessian[held, 0, 0] = 1.0
        pairs = np.ix_(self.free, self.free)
        return gradient[:, self.free], hessian[:, pairs[0], pairs[1]]

    def all_derivatives(
        self, parameters: Array, rows: Rows
    ) -> tuple[Array, Array, list[tuple[Array, Array]]]:
        """Return gradient and Hessian in all parameters, and each channel's (slopes, mean)."""
        size, shared = parameters.shape[1], 1 + self.nuisances
        mu, alpha = parameters[:, 0], parameters[:, 1:shared]
        gradient = np.zeros((len(rows), size))
        hessian = np.zeros((len(rows), size, size))
        gradient[:, 1:shared] = alpha
        for i in range(1, shared):
            hessian[:, i, i] = 1.0
        kept = []
        for channel, counts, place in zip(self.channels, self.observed, self.places, strict=True):
            n = _rows(counts, rows)
            here = channel.background.evaluated(parameters[:, place])
            signal, by_alpha, twice = _signal(channel, alpha)
            mean = np.maximum(here.expected + mu[:, None] * signal, _TINY)
            ratio = n / mean
            excess = 1 - ratio
            slopes = np.concatenate(
                [
                    np.broadcast_to(signal, mean.shape)[..., None],
                    mu[:, None, None] * by_alpha,
                    here.jacobian,
                ],
                axis=2,
            )
            own = np.r_[0:shared, place]
            gradient[:, own] += _weighted(excess, slopes)
            hessian[:, own[:, None], own] += _outer(slopes, ratio / mean)
            hessian[:, place, place] += here.curvature(excess)
            if shared > 1:
                crossed = _weighted(excess, by_alpha)
                hessian[:, 0, 1:shared] += crossed
                hessian[:, 1:shared, 0] += crossed
                curved = np.einsum("tb,tbij->tij", excess, twice)
                hessian[:, 1:shared, 1:shared] += mu[:, None, None] * curved
            kept.append((slopes, mean))
        return gradient, hessian, kept

    def information(self, kept: list[tuple[Array, Array]], rows: Rows) -> Array:
        """Return the Fisher information in all parameters from (slopes, mean) of the channels."""
        shared = 1 + self.nuisances
        size = self.fixed.shape[1]
        information = np.zeros((len(rows), size, size))
        for i in range(1, shared):
            information[:, i, i] = 1.0
        for (slopes, mean), place in zip(kept, self.places, strict=True):
            own = np.r_[0:shared, place]
            information[:, own[:, None], own] += _outer(slopes[rows], 1 / mean[rows])
        return information


def _rows(values: Array, rows: Rows) -> Array:
    return values if len(rows) == len(values) else values[rows]


def _signal(channel: Channel, alpha: Array) -> tuple[Array, Array, Array]:
    if channel.template is None:
        none = np.zeros((len(alpha), channel.signal.size, 0))
        return channel.signal, none, none[..., None]
    return channel.template.varied(alpha)


def _weighted(weights: Array, slopes: Array) -> Array:
    return np.asarray(np.matmul(weights[:, None, :], slopes)[:, 0])


def _outer(slopes: Array, weights: Array) -> Array:
    return np.asarray(np.matmul((slopes * weights[..., None]).swapaxes(1, 2), slopes))
