"""The Poisson likelihood of channels that share a signal, for many sets of counts at once.

Expected in a bin: (b(phi) + (mu + spurious theta) S(alpha)) exp(factors . epsilon). The
nuisance parameters alpha (the signal's shape), theta (the spurious signal) and epsilon (the
trigger's efficiency) have unit normal constraints and are shared by all channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tnt_coffea.config.parameter_names import SPURIOUS, TRIGGER
from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.signals import Template

__all__ = [
    "Channel",
    "Likelihood",
    "free_without_signal",
    "nuisance_names",
]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

# Expectations below this are taken for it, and an event there pulls no longer: a function may
# fall by hundreds of powers of e. Its square is still a number.
_TINY = 1e-150
# No nuisance parameter is ever this many sigmas off: it keeps trial steps finite.
_FARTHEST = 10.0
# exp() of more than this is no efficiency but a minimiser's trial step.
_LARGEST_EXPONENT = 300.0
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
    spurious
        Spurious signal: what a nuisance parameter of one standard deviation adds to mu
        [events over all channels], the same in all channels; 0: there is none.
    factors
        Uncertainty of the trigger's efficiency, shape (bins, parameters): one standard
        deviation of parameter k multiplies all that is expected by exp(factors[:, k]). The
        parameters are the same in all channels. The nominal efficiency is part of signal
        and background.

    Raises
    ------
    FitError
        The spurious signal or the factors are no finite numbers, or not of these shapes.
    """

    name: str
    observed: Array
    signal: Array
    background: Background
    template: Template | None = None
    spurious: float = 0.0
    factors: Array | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.spurious) and self.spurious >= 0):
            msg = f"{self.name}: a spurious signal is 0 events or more, got {self.spurious:g}"
            raise FitError(msg)
        if self.factors is None:
            return
        bins = self.signal.size
        shape = np.shape(self.factors)
        if len(shape) != 2 or shape[0] != bins or not np.isfinite(self.factors).all():
            msg = (
                f"{self.name}: the uncertainty of the trigger's efficiency is a finite number per "
                f"bin and parameter, shape ({bins}, parameters), got shape {shape}"
            )
            raise FitError(msg)

    @property
    def shape_nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters of the signal's shape, the first of all."""
        return self.template.shape.nuisances if self.template else ()

    @property
    def efficiency_nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters of the trigger's efficiency, the last of all."""
        efficiencies = 0 if self.factors is None else self.factors.shape[1]
        return tuple(f"{TRIGGER}_{k}" for k in range(efficiencies))

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of all nuisance parameters, in order."""
        spurious = (SPURIOUS,) if self.spurious else ()
        return (*self.shape_nuisances, *spurious, *self.efficiency_nuisances)

    def strength(self, mu: Array, alpha: Array) -> Array:
        """Return mu and the spurious signal together, shape (points,).

        Parameters
        ----------
        mu
            Signal strengths, shape (points,).
        alpha
            Nuisance parameters, shape (points, nuisances).
        """
        if not self.spurious:
            return mu
        return np.asarray(mu + self.spurious * alpha[:, len(self.shape_nuisances)])

    def efficiency(self, alpha: Array) -> Array | None:
        """Return what the trigger's nuisance parameters multiply, shape (points, bins); or None."""
        if self.factors is None:
            return None
        first = alpha.shape[1] - self.factors.shape[1]
        exponent = alpha[:, first:] @ self.factors.T
        return np.asarray(np.exp(np.clip(exponent, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)))

    def moved_signal(self, alpha: Array) -> Array:
        """Return the signal per unit mu, shape (points, bins), for nuisance parameters `alpha`.

        Their shape is (points, nuisances); the trigger's efficiency is in it, the spurious
        signal is not.
        """
        signal = self._shaped_signal(alpha)
        efficiency = self.efficiency(alpha)
        return signal if efficiency is None else signal * efficiency

    def expected(self, mu: Array, alpha: Array, phi: Array) -> Array:
        """Return all that is expected, shape (points, bins).

        Parameters
        ----------
        mu
            Signal strengths, shape (points,).
        alpha
            Nuisance parameters, shape (points, nuisances).
        phi
            Parameters of the background, shape (points, parameters).
        """
        mean = self.background.expected(phi)
        mean = mean + self.strength(mu, alpha)[:, None] * self._shaped_signal(alpha)
        efficiency = self.efficiency(alpha)
        return np.asarray(mean if efficiency is None else mean * efficiency)

    def _shaped_signal(self, alpha: Array) -> Array:
        if self.template is None:
            return np.broadcast_to(self.signal, (len(alpha), self.signal.size))
        return self.template.varied(alpha[:, : len(self.shape_nuisances)])[0]


def nuisance_names(channels: Sequence[Channel]) -> tuple[str, ...]:
    """Return the names of the nuisance parameters, the same in all channels.

    In this order: 'signal_scale', 'signal_width', 'spurious_signal',
    'trigger_efficiency_0', ...; each only where it exists.

    Raises
    ------
    FitError
        The channels have not the same ones, or not the same spurious signal.
    """
    names = {channel.nuisances for channel in channels}
    if len(names) != 1:
        msg = f"channels must share the nuisance parameters, got {sorted(names)}"
        raise FitError(msg)
    if len(spurious := {channel.spurious for channel in channels}) != 1:
        msg = f"channels must share the spurious signal, got {sorted(spurious)} events"
        raise FitError(msg)
    return names.pop()


def free_without_signal(channels: Sequence[Channel]) -> tuple[int, ...]:
    """Return the positions of the nuisance parameters that change what mu = 0 expects.

    The signal's shape is among them where there is a spurious signal.
    """
    names, shapes = nuisance_names(channels), channels[0].shape_nuisances
    return tuple(range(0 if SPURIOUS in names else len(shapes), len(names)))


@dataclass(frozen=True, eq=False)
class Likelihood:
    """-ln L of every toy relative to the saturated model, as an objective for Newton's method.

    All parameters in a row are mu, the nuisance parameters and the
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
    centres
        Where the constraints of the nuisance parameters have their centres: the results of
        the auxiliary measurements, shape (toys, nuisances); None: 0.
    """

    channels: Sequence[Channel]
    observed: Sequence[Array]
    fixed: Array
    free: NDArray[np.intp]
    least: float = 0.0
    centres: Array | None = None

    @cached_property
    def nuisances(self) -> int:
        """Number of nuisance parameters."""
        return len(nuisance_names(self.channels))

    @cached_property
    def places(self) -> list[slice]:
        """Where each channel's background parameters stand."""
        first = 1 + self.nuisances
        sizes = np.cumsum([first, *(c.background.parameters for c in self.channels)])
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(sizes)]

    @cached_property
    def _own(self) -> list[tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp]]]]:
        """Where the shared parameters and those of each channel stand, and their pairs."""
        shared = np.arange(1 + self.nuisances)
        own = [np.r_[shared, place] for place in self.places]
        return [(each, (each[:, None], each)) for each in own]

    @cached_property
    def _free_pairs(self) -> tuple[slice, NDArray[np.intp], NDArray[np.intp]]:
        return slice(None), self.free[:, None], self.free

    @cached_property
    def rounding(self) -> Array:
        """Rounding error of the value of every toy."""
        return np.asarray(_ROUNDING * (1 + sum(n.sum(axis=1) for n in self.observed)))

    @cached_property
    def saturated(self) -> list[Array]:
        """Counts n as n ln n of every channel, shape (toys, bins)."""
        return [xlogy(n, n) for n in self.observed]

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
        mu, alpha = parameters[:, 0], parameters[:, 1 : 1 + self.nuisances]
        total = 0.5 * np.square(self._pulls(alpha, rows)).sum(axis=1)
        forbidden = np.zeros(len(rows), dtype=bool)
        for channel, counts, top, place in zip(
            self.channels, self.observed, self.saturated, self.places, strict=True
        ):
            n = _rows(counts, rows)
            mean = channel.expected(mu, alpha, parameters[:, place])
            forbidden = forbidden | (mean < 0).any(axis=1)
            # A tail may underflow to zero: that costs nothing where nothing was seen.
            mean = np.maximum(mean, _TINY)
            total = total + (mean - n - xlogy(n, mean) + _rows(top, rows)).sum(axis=1)
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
        return gradient[:, self.free], hessian[self._free_pairs]

    def all_derivatives(
        self, parameters: Array, rows: Rows
    ) -> tuple[Array, Array, list[tuple[Array, Array]]]:
        """Return gradient and Hessian in all parameters, and each channel's (slopes, mean)."""
        size, shared = parameters.shape[1], 1 + self.nuisances
        shapes = 1 + len(self.channels[0].shape_nuisances)
        mu, alpha = parameters[:, 0], parameters[:, 1:shared]
        gradient = np.zeros((len(rows), size))
        hessian = np.zeros((len(rows), size, size))
        gradient[:, 1:shared] = self._pulls(alpha, rows)
        for i in range(1, shared):
            hessian[:, i, i] = 1.0
        kept = []
        for channel, counts, place, (own, pairs) in zip(
            self.channels, self.observed, self.places, self._own, strict=True
        ):
            n = _rows(counts, rows)
            here = channel.background.evaluated(parameters[:, place])
            signal, by_alpha, twice = _signal(channel, alpha[:, : shapes - 1])
            strength = channel.strength(mu, alpha)
            background, jacobian = here.expected, here.jacobian
            efficiency = channel.efficiency(alpha)
            if efficiency is not None:
                each = efficiency[..., None]
                background, jacobian = background * efficiency, jacobian * each
                signal, by_alpha, twice = (
                    signal * efficiency,
                    by_alpha * each,
                    twice * each[..., None],
                )
            mean = np.maximum(background + strength[:, None] * signal, _TINY)
            ratio = n / mean
            excess = 1 - ratio
            by_mu = np.broadcast_to(signal, mean.shape)[..., None]
            columns = [by_mu, strength[:, None, None] * by_alpha]
            if channel.spurious:
                columns.append(channel.spurious * by_mu)
            if channel.factors is not None:
                columns.append(channel.factors * mean[..., None])
            slopes = np.concatenate([*columns, jacobian], axis=2)
            gradient[:, own] += _weighted(excess, slopes)
            hessian[:, *pairs] += _outer(slopes, ratio / mean)
            weights = excess if efficiency is None else excess * efficiency
            hessian[:, place, place] += here.curvature(weights)
            if shapes > 1:
                crossed = _weighted(excess, by_alpha)
                hessian[:, 0, 1:shapes] += crossed
                hessian[:, 1:shapes, 0] += crossed
                if channel.spurious:
                    hessian[:, shapes, 1:shapes] += channel.spurious * crossed
                    hessian[:, 1:shapes, shapes] += channel.spurious * crossed
                curved = np.einsum("tb,tbij->tij", excess, twice)
                hessian[:, 1:shapes, 1:shapes] += strength[:, None, None] * curved
            if channel.factors is not None:
                # A second derivative by the trigger's parameters is a first one times a factor.
                first = shared - channel.factors.shape[1]
                rest = np.r_[0:first, shared : own.size]
                mixed = np.matmul((excess[..., None] * channel.factors).swapaxes(1, 2), slopes)
                hessian[:, first:shared, own] += mixed
                hessian[:, own[rest], first:shared] += mixed[..., rest].swapaxes(1, 2)
            kept.append((slopes, mean))
        return gradient, hessian, kept

    def information(self, kept: list[tuple[Array, Array]], rows: Rows) -> Array:
        """Return the Fisher information in all parameters from (slopes, mean) of the channels."""
        shared = 1 + self.nuisances
        size = self.fixed.shape[1]
        information = np.zeros((len(rows), size, size))
        for i in range(1, shared):
            information[:, i, i] = 1.0
        for (slopes, mean), (_, pairs) in zip(kept, self._own, strict=True):
            information[:, *pairs] += _outer(slopes[rows], 1 / mean[rows])
        return information

    def _pulls(self, alpha: Array, rows: Rows) -> Array:
        """Return how far nuisance parameters are from the centres of their constraints."""
        return alpha if self.centres is None else alpha - _rows(self.centres, rows)


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
