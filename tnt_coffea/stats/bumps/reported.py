"""The fits whose numbers a bump hunt reports: the pyhf model of its channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.histfactory import HistFactoryTest, background_test
from tnt_coffea.stats.fitting.likelihood import Channel, nuisance_names
from tnt_coffea.stats.fitting.modifiers import SHAPE_PARAMETERS, smooth_model
from tnt_coffea.stats.fitting.poisson import Discovery

__all__ = ["Reported", "asimov_closure", "mu_interval", "pyhf_test"]

Array = NDArray[np.float64]

_INJECTED_SIGMAS = 3.0
_DOUBLINGS = 30
# Where no background is left mu needs a scale all the same [events].
_SMALLEST_SCALE = 0.1


@dataclass(frozen=True, eq=False)
class Reported:
    """A test in pyhf and what its parameters mean.

    Attributes
    ----------
    channels
        The channels it was made of.
    model
        The pyhf model; its mu counts in units of `scale`.
    test
        Its result.
    scale
        Signal events at mu = 1.
    """

    channels: tuple[Channel, ...]
    model: Any
    test: HistFactoryTest
    scale: float

    @property
    def mu_hat(self) -> float:
        """Fitted signal events over all channels."""
        return self.test.mu_hat * self.scale

    @property
    def alpha(self) -> tuple[float, ...]:
        """Nuisance parameters of the signal at the maximum."""
        if not nuisance_names(self.channels):
            return ()
        return tuple(self.test.best[self.model.config.par_slice(SHAPE_PARAMETERS)].tolist())

    @property
    def mu_uncertainty(self) -> float:
        """Uncertainty of the signal events from the curvature of the likelihood."""
        phi = [self.phi(channel, self.test.best) for channel in self.channels]
        return poisson.signal_uncertainty(self.channels, self.mu_hat, phi, self.alpha)

    def phi(self, channel: Channel, parameters: Array) -> Array:
        """Return a channel's background parameters."""
        return np.asarray(parameters[self.model.config.par_slice(f"phi_{channel.name}")])

    def background(self, channel: Channel) -> Array:
        """Return a channel's expectation in the background-only fit, shape (bins,)."""
        return channel.background.expected(self.phi(channel, self.test.background))

    def full(self, channel: Channel) -> Array:
        """Return a channel's expectation in the fit with a signal, shape (bins,)."""
        expected = channel.background.expected(self.phi(channel, self.test.best))
        return np.asarray(expected + self.mu_hat * channel.moved_signal(np.array([self.alpha]))[0])


def pyhf_test(channels: Sequence[Channel], check: Discovery) -> Reported:
    """Test mu = 0 with pyhf, mu in units of its own uncertainty.

    Parameters
    ----------
    channels
        Spectra, signals and backgrounds.
    check
        The numpy engine's result, which sets the scale of mu and, where the signal
        can move, the place from which its fit begins.
    """
    scale = max(poisson.signal_uncertainty(channels, 0.0, check.background.phi), _SMALLEST_SCALE)
    if not np.isfinite(scale):
        msg = "the data say nothing about a signal here: use a range with more events around it"
        raise FitError(msg)
    most = 10 + 2 * sum(float(c.observed.sum()) for c in channels) / scale
    model = smooth_model(channels, scale, most)
    start = None
    if nuisance_names(channels):
        start = {"mu": [check.best.mu / scale], SHAPE_PARAMETERS: list(check.best.alpha)}
        for channel, phi in zip(channels, check.best.phi, strict=True):
            start[f"phi_{channel.name}"] = phi.tolist()
    counts = {channel.name: channel.observed for channel in channels}
    test = background_test(
        model, _joined(model, counts), best_start=start, moved=_movable(channels, model)
    )
    return Reported(tuple(channels), model, test, scale)


def asimov_closure(reported: Reported) -> float:
    """Return fitted over injected signal on the expectation of a three-sigma signal."""
    expected = {
        channel.name: reported.background(channel)
        + _INJECTED_SIGMAS * reported.scale * channel.signal
        for channel in reported.channels
    }
    test = background_test(
        reported.model,
        _joined(reported.model, expected),
        moved=_movable(reported.channels, reported.model),
    )
    return test.mu_hat / _INJECTED_SIGMAS


def mu_interval(
    channels: Sequence[Channel], best: poisson.Fit, sigma: float
) -> tuple[float, float]:
    """Return where ln L falls by one half on both sides of the best mu >= 0.

    Parameters
    ----------
    channels
        Spectra, signals and backgrounds.
    best
        The fit of mu.
    sigma
        Its uncertainty, the first step of the search.
    """
    start = _repeated(channels, best)
    counts = [channel.observed[None] for channel in channels]

    def rise(mu: float) -> float:
        fit = poisson.signal_fits(channels, counts, start, mu=mu)
        return float(fit.nll[0]) - best.nll - 0.5

    high = best.mu + sigma
    for _ in range(_DOUBLINGS):
        if not np.isfinite(high) or rise(high) > 0:
            break
        high = best.mu + 2 * (high - best.mu)
    if not np.isfinite(high) or not rise(high) > 0:
        msg = f"ln L does not fall above mu = {best.mu:g}: the signal has no upper bound here"
        raise FitError(msg)
    upper = brentq(rise, best.mu, high, xtol=1e-4 * sigma)
    lower = 0.0 if best.mu == 0 or rise(0.0) <= 0 else brentq(rise, 0.0, best.mu, xtol=1e-4 * sigma)
    return float(lower), float(upper)


def _repeated(channels: Sequence[Channel], fit: poisson.Fit) -> poisson.Fits:
    alpha = np.zeros((1, len(nuisance_names(channels))))
    alpha[0, : len(fit.alpha)] = fit.alpha
    return poisson.Fits(
        np.array([fit.mu]),
        alpha,
        tuple(phi[None] for phi in fit.phi),
        np.array([fit.nll]),
        np.array([fit.edm]),
        np.array([fit.converged]),
    )


def _movable(channels: Sequence[Channel], model: Any) -> Callable[[Array], Array]:
    def moved(parameters: Array) -> Array:
        parameters = parameters.copy()
        for channel in channels:
            place = model.config.par_slice(f"phi_{channel.name}")
            parameters[place] = channel.background.movable(parameters[place])
        return parameters

    return moved


def _joined(model: Any, counts: Mapping[str, Array]) -> list[float]:
    observed = [float(n) for name in model.config.channels for n in counts[name]]
    return [*observed, *model.config.auxdata]
