"""Fits with pyhf and Minuit: the models whose results are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Discovery
from tnt_coffea.stats.likelihood import Channel, free_without_signal
from tnt_coffea.stats.pyhf_model import (
    joined_data,
    nuisance_positions,
    numpy_backend,
    smooth_model,
)

__all__ = [
    "HistFactoryTest",
    "PyhfTest",
    "asimov_closure",
    "background_test",
    "pyhf_test",
    "start_values",
]

Array = NDArray[np.float64]

# Calls of the likelihood after which a minimiser has failed. Fits take up to a thousand; where the
# expectation is nothing over many bins one may go on for as long as it is let.
_MOST_CALLS = 10_000


@dataclass(frozen=True, eq=False)
class HistFactoryTest:
    """Test of mu = 0 against mu > 0 with a pyhf model.

    Attributes
    ----------
    q0
        Twice the difference of the log-likelihoods; 0 where the score at mu = 0
        is not positive.
    background, best
        All parameters at mu = 0 and at the maximum, in the model's order.
    mu_hat, mu_uncertainty
        The parameter of interest at the maximum; the uncertainty is Minuit's
        parabolic one, and None where there was no such fit.
    edm
        Larger estimated distance to the minimum of the fits, in ln L; None where
        SciPy had to step in, which does not give one.
    minimiser
        'minuit', or 'scipy' where Minuit failed.
    """

    q0: float
    background: Array
    best: Array
    mu_hat: float
    mu_uncertainty: float | None
    edm: float | None
    minimiser: str

    @property
    def z(self) -> float:
        """Asymptotic significance, sqrt(q0)."""
        return float(np.sqrt(self.q0))


def background_test(
    model: Any,
    data: Sequence[float],
    *,
    start: Mapping[str, float] | None = None,
    best_start: Array | None = None,
    moved: Callable[[Array], Array] | None = None,
) -> HistFactoryTest:
    """Test mu = 0 of any pyhf model whose signal is linear in its parameter of interest.

    Parameters
    ----------
    model
        `pyhf.Model` with a parameter of interest.
    data
        Observed counts and auxiliary data, in the model's order.
    start
        First values of scalar parameters that differ from the model's own.
    best_start
        All parameters from which the fit of mu begins where a signal is known to move
        with nuisance parameters, or events are few: the score at mu = 0 and the nominal
        signal does not tell then whether there is a maximum at mu > 0, and the fit is always
        made.
    moved
        From the parameters at mu = 0 to where the fit of mu begins, where that must not
        be the same place.

    Raises
    ------
    FitError
        Neither Minuit nor SciPy finds a minimum.
    """
    with numpy_backend():
        poi = model.config.poi_index
        values = start_values(model, start or {}).tolist()
        fixed = list(model.config.suggested_fixed())
        null, null_nll, _, null_edm, null_by = _fit(
            model, data, [*values[:poi], 0.0, *values[poi + 1 :]], _with(fixed, poi, True)
        )
        nothing = HistFactoryTest(0.0, null, null, 0.0, None, null_edm, null_by)
        if best_start is None and _score(model, data, null) <= 0:
            return nothing
        if best_start is None:
            first = (null if moved is None else moved(null)).tolist()
            first[poi] = values[poi]
        else:
            first = best_start.tolist()
        best, best_nll, errors, best_edm, best_by = _fit(model, data, first, fixed)
        if best_start is not None and best_nll >= null_nll:
            return nothing
    return HistFactoryTest(
        q0=max(0.0, null_nll - best_nll),
        background=null,
        best=best,
        mu_hat=float(best[poi]),
        mu_uncertainty=None if errors is None else float(errors[poi]),
        edm=None if null_edm is None or best_edm is None else max(null_edm, best_edm),
        minimiser="scipy" if "scipy" in (null_by, best_by) else "minuit",
    )


def start_values(model: Any, known: Mapping[str, float]) -> Array:
    """Return the first values of a fit of a pyhf model: its own but for some scalar parameters."""
    values = np.array(model.config.suggested_init(), dtype=float)
    for name, value in known.items():
        values[model.config.par_slice(name)] = value
    return values


def _with(fixed: Sequence[bool], index: int, value: bool) -> list[bool]:
    return [value if position == index else old for position, old in enumerate(fixed)]


def _score(model: Any, data: Sequence[float], null: Array) -> float:
    """Return d ln L / d mu at mu = 0 and the backgrounds fitted there."""
    one = null.copy()
    one[model.config.poi_index] = 1.0
    expected = np.asarray(model.expected_actualdata(null))
    signal = np.asarray(model.expected_actualdata(one)) - expected
    observed = np.asarray(data[: model.config.nmaindata])
    seen = np.maximum(expected, np.finfo(float).tiny)
    return float(np.sum(signal * (observed / seen - 1)))


def _fit(
    model: Any, data: Sequence[float], start: Sequence[float], fixed: Sequence[bool]
) -> tuple[Array, float, Array | None, float | None, str]:
    """Return parameters, -2 ln L, uncertainties, EDM in ln L and the minimiser."""
    import pyhf

    if all(fixed):
        # Minuit fails with nothing to do.
        value = float(-2 * model.logpdf(list(start), list(data))[0])
        return np.asarray(start, dtype=float), value, None, 0.0, "minuit"
    options = {
        "init_pars": list(start),
        "fixed_params": list(fixed),
        "return_fitted_val": True,
        "return_result_obj": True,
        "maxiter": _MOST_CALLS,
    }
    # Numerical gradients stall Minuit once in a while; its careful mode gets through.
    for strategy in (1, 2):
        try:
            pars, value, result = pyhf.infer.mle.fit(
                list(data), model, strategy=strategy, **options
            )
        except pyhf.exceptions.FailedMinimization:
            continue
        # Minuit returns NaN at a bound now and then.
        if np.all(np.isfinite(pars)) and np.isfinite(value):
            edm = 0.5 * float(result.minuit.fmin.edm)
            return np.asarray(pars), float(value), np.asarray(result.unc), edm, "minuit"
    backend, minuit = pyhf.get_backend()
    pyhf.set_backend(backend, pyhf.optimize.scipy_optimizer(tolerance=1e-10))
    try:
        pars, value, _ = pyhf.infer.mle.fit(list(data), model, **options)
        failed = not (np.all(np.isfinite(pars)) and np.isfinite(value))
    except pyhf.exceptions.FailedMinimization:
        failed = True
    finally:
        pyhf.set_backend(backend, minuit)
    if failed:
        msg = (
            "neither Minuit nor SciPy finds the maximum of the likelihood: use wider bins, fewer "
            "parameters or a range with more events"
        )
        raise FitError(msg)
    return np.asarray(pars), float(value), None, None, "scipy"


_INJECTED_SIGMAS = 3.0
# Where no background is left mu needs a scale all the same [events].
_SMALLEST_SCALE = 0.1


@dataclass(frozen=True, eq=False)
class PyhfTest:
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
    start
        All parameters from which fits of mu begin, where that is not the model's own place.
    """

    channels: tuple[Channel, ...]
    model: Any
    test: HistFactoryTest
    scale: float
    start: Array | None = None

    @property
    def mu_hat(self) -> float:
        """Fitted signal events over all channels."""
        return self.test.mu_hat * self.scale

    @property
    def alpha(self) -> tuple[float, ...]:
        """Nuisance parameters at the maximum, in the order of `nuisance_names`."""
        return tuple(self.test.best[nuisance_positions(self.model)].tolist())

    @property
    def mu_uncertainty(self) -> float:
        """Uncertainty of the signal events from the curvature of the likelihood."""
        phi = [self.phi(channel, self.test.best) for channel in self.channels]
        return engine.signal_uncertainty(self.channels, self.mu_hat, phi, self.alpha)

    def phi(self, channel: Channel, parameters: Array) -> Array:
        """Return a channel's background parameters."""
        return np.asarray(parameters[self.model.config.par_slice(f"phi_{channel.name}")])

    def background(self, channel: Channel) -> Array:
        """Return a channel's expectation in the background-only fit, shape (bins,)."""
        return self._expected(channel, 0.0, self.test.background)

    def full(self, channel: Channel) -> Array:
        """Return a channel's expectation in the fit with a signal, shape (bins,)."""
        return self._expected(channel, self.mu_hat, self.test.best)

    def _expected(self, channel: Channel, mu: float, parameters: Array) -> Array:
        alpha = parameters[nuisance_positions(self.model)][None]
        phi = self.phi(channel, parameters)[None]
        return np.asarray(channel.expected(np.array([mu]), alpha, phi)[0])


def pyhf_test(channels: Sequence[Channel], check: Discovery) -> PyhfTest:
    """Test mu = 0 with pyhf, mu in units of its own uncertainty.

    Parameters
    ----------
    channels
        Spectra, signals and backgrounds.
    check
        The numpy engine's result, which sets the scale of mu and, where the signal can move or
        a second maximum may be, the place from which its fit begins.
    """
    scale = engine.signal_uncertainty(channels, 0.0, check.background.phi, check.background.alpha)
    scale = max(scale, _SMALLEST_SCALE)
    engine.check_informative(scale)
    most = 10 + 2 * sum(float(c.observed.sum()) for c in channels) / scale
    model = smooth_model(channels, scale, most)
    start = None
    sparse = engine.is_sparse([np.asarray(c.observed, dtype=float)[None] for c in channels])
    if channels[0].shape_nuisances or (sparse[0] and check.best.mu > 0):
        start = np.zeros(model.config.npars)
        start[model.config.poi_index] = check.best.mu / scale
        start[nuisance_positions(model)] = check.best.alpha
        for channel, phi in zip(channels, check.best.phi, strict=True):
            start[model.config.par_slice(f"phi_{channel.name}")] = phi
    counts = {channel.name: channel.observed for channel in channels}
    test = background_test(
        model, joined_data(model, counts), best_start=start, moved=_movable(channels, model)
    )
    return PyhfTest(tuple(channels), model, test, scale, start)


def asimov_closure(reported: PyhfTest) -> float:
    """Return fitted over injected signal on the expectation of a three-sigma signal."""
    channels, null = reported.channels, reported.test.background
    signals, measured = [channel.signal for channel in channels], None
    if free_without_signal(channels):
        # The expectation of the fitted nuisance parameters includes what measures them.
        alpha, measured = null[nuisance_positions(reported.model)][None], null
        signals = [channel.moved_signal(alpha)[0] for channel in channels]
    expected = {
        channel.name: reported.background(channel) + _INJECTED_SIGMAS * reported.scale * signal
        for channel, signal in zip(channels, signals, strict=True)
    }
    test = background_test(
        reported.model,
        joined_data(reported.model, expected, measured),
        moved=_movable(channels, reported.model),
    )
    return test.mu_hat / _INJECTED_SIGMAS


def _movable(channels: Sequence[Channel], model: Any) -> Callable[[Array], Array]:
    def moved(parameters: Array) -> Array:
        parameters = parameters.copy()
        for channel in channels:
            place = model.config.par_slice(f"phi_{channel.name}")
            parameters[place] = channel.background.movable(parameters[place])
        return parameters

    return moved
