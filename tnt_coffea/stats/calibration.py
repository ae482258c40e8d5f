"""From q0 to a p-value: asymptotic where that holds, from toys or null chains elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from tnt_coffea.config.parameter_names import SIGNAL_SCALE
from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Fit
from tnt_coffea.stats.envelope import Envelope, Functions, enveloped
from tnt_coffea.stats.likelihood import Channel, nuisance_names
from tnt_coffea.stats.model import SpectrumModel
from tnt_coffea.stats.p_values import normal_p_value, significance, toys_p_value
from tnt_coffea.stats.results import NULL_CHAINS
from tnt_coffea.stats.validity import why_not_asymptotic

__all__ = ["DEFAULT_TOYS", "Calibration", "calibrated", "from_null_chains"]

Array = NDArray[np.float64]

DEFAULT_TOYS = 1000
"""Background-only toys that are thrown where the formulae do not hold."""

# With fewer toys as extreme as the data, toys with a signal are thrown as well.
_ENOUGH = 10
_WITH_SIGNAL = 2000
# Null chains of which the largest tenth tells the tail beyond them.
_LEAST_CHAINS, _TAIL = 200, 0.1
# Where: between the fits without and with a signal, shifted by sigmas of an uncertain mass.
_STRENGTHS = (0.6, 1.0)
_SHIFTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
# q0 of toys and data that differ by no more than this are the same number.
_TIE = 1e-6
# Toys between two reports of progress: the fits' own batch.
_BATCH = 256


@dataclass(frozen=True)
class Calibration:
    """A p-value and where it comes from.

    Attributes
    ----------
    p_value
        Probability of such a q0 or a larger one.
    z
        The same in standard deviations, 0 where it is a half or more.
    uncertainty
        Statistical uncertainty of the p-value, 0 where it is not from experiments.
    kind
        'asymptotic', 'toys' or 'null chains'.
    experiments
        How many there were.
    failed
        Toys with a fit that did not converge; they count as they stand.
    reached
        Background-only experiments whose q0 reaches that of the data.
    with_signal
        Toys that were thrown with a signal and weighted.
    reasons
        Why the asymptotic formula does not give the p-value.
    width
        Of sqrt(q0) in the null chains' tail, where the p-value lies beyond what they count.
    """

    p_value: float
    z: float
    uncertainty: float = 0.0
    kind: str = "asymptotic"
    experiments: int = 0
    failed: int = 0
    reached: int = 0
    with_signal: int = 0
    reasons: tuple[str, ...] = ()
    width: float | None = None


def from_null_chains(q0: float, chains: Sequence[float]) -> Calibration:
    """Return the p-value of q0 among those of null chains.

    It is (k + 1) / (N + 1) with k of N chains at or above the data. Where fewer than 10 of at least
    200 are, the tail beyond is that of a normal distribution whose width the upper 10 % of the
    chains tell, by maximum likelihood; the uncertainty holds that of the width.

    Parameters
    ----------
    q0
        Of the data.
    chains
        Of the same test in every chain, shape (chains,).

    Source
    ------
    Folds that train each other's taggers widen Z, and a sum over folds stays nearly normal.

    Examples
    --------
    >>> from_null_chains(1.0, [0.0, 0.5, 2.0]).p_value
    0.5
    """
    values = np.asarray(chains, np.float64)
    reached = int(np.sum(values >= q0 - _TIE))
    counted = _counted(reached, len(values), NULL_CHAINS)
    if reached >= _ENOUGH or len(values) < _LEAST_CHAINS:
        return counted
    z = np.sort(np.sqrt(values))[::-1]
    above = z[: int(_TAIL * len(z))]
    start = float(above[-1])
    if start <= 0 or np.sqrt(q0) <= start:
        return counted
    width, error = _tail_width(above, start)

    def beyond(sigma: float) -> float:
        tail = normal_p_value(float(np.sqrt(q0)) / sigma) / normal_p_value(start / sigma)
        return len(above) / len(z) * tail

    p = beyond(width)
    spread = (beyond(width + error) - beyond(width - error)) / 2
    return replace(
        counted,
        p_value=p,
        z=significance(p),
        uncertainty=float(np.hypot(spread, p / np.sqrt(len(above)))),
        width=width,
    )


def _tail_width(above: Array, start: float) -> tuple[float, float]:
    """Return the width of a normal distribution from its values above a start, with its error."""

    def unlikely(sigma: float) -> float:
        log = len(above) * (np.log(sigma) + np.log(normal_p_value(start / sigma)))
        return float(np.sum((above / sigma) ** 2) / 2 + log)

    width = float(minimize_scalar(unlikely, bounds=(0.2, 5.0), method="bounded").x)
    step = 0.01 * width
    curvature = (unlikely(width + step) - 2 * unlikely(width) + unlikely(width - step)) / step**2
    # A tail that tells no more than this tells nothing.
    return width, min(float(1 / np.sqrt(max(curvature, 1e-9))), 0.5 * width)


def calibrated(
    model: SpectrumModel,
    test: Envelope,
    q0: float,
    toys: int | None,
    random: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Return the p-value of a test.

    Parameters
    ----------
    model
        The model. Toys keep its functions.
    test
        The test of the data in the numpy engine, with which its toys are compared.
    q0
        The reported test statistic, for the asymptotic formula.
    toys
        Background-only toys; 0 takes the asymptotic formula. None takes it where it holds
        and else throws 1000; where fewer than 10 of them reach the data, 2000 with a
        signal are added, each weighted by its probability without one.
    random
        Generator of the toys.
    progress
        Called with the toys that are done, and all of them.

    Source
    ------
    p = (w + sum of the weights of toys that reach the data) / (N + 1), with the weight w of
    the data: Harrison, Biometrika 99 (2012) 57, arXiv:1004.2910; without signals all
    weights are 1.
    """
    functions = model.functions
    null = test.background.expected(functions)
    reasons = why_not_asymptotic(next(iter(functions.values())), null, model.signal)
    if toys == 0 or (toys is None and not reasons):
        z = float(np.sqrt(q0))
        return Calibration(normal_p_value(z), z, reasons=reasons)
    least = float(test.q0[0]) - _TIE
    number = DEFAULT_TOYS if toys is None else toys
    at_null = test.background.fit()
    counts = engine.toy_counts(null, number, random)
    centres = engine.toy_centres(at_null.alpha, number, random)
    reaches, failed = _tested(functions, counts, centres, least, progress)
    reached = int(reaches.sum())
    if toys is not None or reached >= _ENOUGH:
        return _counted(reached, number, "toys", failed, reasons)
    means = [null, *_with_signal(functions[test.best.function()], null, test.best.fit())]
    # Auxiliary measurements are those of background in all of them: they have no weight.
    centres = engine.toy_centres(at_null.alpha, _WITH_SIGNAL, random)
    sizes = [number, *map(len, np.array_split(np.arange(_WITH_SIGNAL), len(means) - 1))]
    parts = [engine.toy_counts(m, n, random) for m, n in zip(means[1:], sizes[1:], strict=True)]
    counts = [np.concatenate(same) for same in zip(counts, *parts, strict=True)]
    more, more_failed = _tested(functions, [n[number:] for n in counts], centres, least, progress)
    reaches = np.concatenate([reaches, more])
    weights = _weights(counts, means, sizes) * reaches
    own = float(_weights(model.counts, means, sizes)[0])
    total = len(weights)
    p = min(1.0, (own + float(weights.sum())) / (total + 1))
    return Calibration(
        p_value=p,
        z=significance(p),
        uncertainty=float(weights.std() / np.sqrt(total)),
        kind="toys",
        experiments=total,
        failed=failed + more_failed,
        reached=reached,
        with_signal=_WITH_SIGNAL,
        reasons=reasons,
    )


def _tested(
    functions: Functions,
    counts: Sequence[Array],
    centres: Array,
    least: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.bool_], int]:
    """Return which toys reach a q0, and how many had a failed fit."""
    toys, reaches, failed = len(counts[0]), [], 0
    if progress is not None:
        progress(0, toys)
    for first in range(0, toys, _BATCH):
        part = slice(first, first + _BATCH)
        tests = enveloped(functions, [n[part] for n in counts], centres=centres[part])
        reaches.append(tests.q0 >= least)
        failed += int(np.sum(~tests.converged))
        if progress is not None:
            progress(min(first + _BATCH, toys), toys)
    return np.concatenate(reaches), failed


def _counted(
    reached: int, number: int, kind: str, failed: int = 0, reasons: tuple[str, ...] = ()
) -> Calibration:
    p = toys_p_value(reached, number)
    return Calibration(
        p_value=p,
        z=significance(p),
        uncertainty=float(np.sqrt(p * (1 - p) / number)),
        kind=kind,
        experiments=number,
        failed=failed,
        reached=reached,
        reasons=reasons,
    )


def _with_signal(
    channels: Sequence[Channel], null: Sequence[Array], best: Fit
) -> Iterator[list[Array]]:
    """Yield expectations between the background-only fit and that with a signal.

    Of all counts with such a q0, those near the best fit are the likeliest without a signal:
    their background-only fit is that of the data.
    """
    names = nuisance_names(channels)
    alpha = np.array([best.alpha])
    background = [
        channel.expected(np.zeros(1), alpha, phi[None])[0]
        for channel, phi in zip(channels, best.phi, strict=True)
    ]
    for strength, shift in itertools.product(
        _STRENGTHS, _SHIFTS if SIGNAL_SCALE in names else (0.0,)
    ):
        if SIGNAL_SCALE in names:
            alpha = np.where(np.array(names) == SIGNAL_SCALE, shift, alpha)
        yield [
            (1 - strength) * b0 + strength * (b + best.mu * channel.moved_signal(alpha)[0])
            for b0, b, channel in zip(null, background, channels, strict=True)
        ]


def _weights(
    counts: Sequence[Array], means: Sequence[Sequence[Array]], sizes: Sequence[int]
) -> Array:
    """Return the probability of counts without a signal over that in the mixture, per toy."""
    ratios = [engine.log_ratios(counts, mean, means[0]) for mean in means]
    shares = np.array(sizes) / np.sum(sizes)
    return np.asarray(np.exp(-logsumexp(np.array(ratios), b=shares[:, None], axis=0)))
