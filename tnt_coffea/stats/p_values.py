"""p-values and significances of plain numbers: what needs no fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincc, ndtr, ndtri, xlogy

from tnt_coffea.errors import FitError
from tnt_coffea.stats.quantities import check_level, check_numbers, check_whole

__all__ = [
    "asimov_significance",
    "counting_limit",
    "feldman_cousins",
    "gross_vitells_p_value",
    "li_ma_significance",
    "normal_p_value",
    "paper_significance",
    "poisson_p_value",
    "significance",
    "theta_q0",
    "toys_p_value",
]

Array = NDArray[np.float64]

# Points of an integral over a background, which reaches so many standard deviations.
_LEGENDRE_POINTS = 400
_FARTHEST = 12.0
_MOST_IN_LIMIT = 10_000_000


def normal_p_value(z: float) -> float:
    """Return the probability that a standard normal variable exceeds z."""
    return float(ndtr(-z))


def significance(p: float, least: float = 0.0) -> float:
    """Return a p-value in standard deviations, by default 0 where it is a half or more.

    Parameters
    ----------
    p
        The p-value; 0 is taken for the smallest positive number.
    least
        Smallest value that is returned.
    """
    return max(least, float(-ndtri(max(p, np.finfo(float).tiny))))


def toys_p_value(reached: int, toys: int) -> float:
    """Return (k + 1) / (N + 1): the data are one more experiment of the null hypothesis.

    Parameters
    ----------
    reached, toys
        Toys k that are at least as extreme as the data, and all of them, N.
    """
    return (reached + 1) / (toys + 1)


def theta_q0(n: Any, b: Any, sigma: Any) -> Array:
    """Return q0 of Poisson(n | b + theta + mu) exp(-theta^2 / 2 sigma^2).

    At mu = 0 the best theta solves a quadratic equation; at the best mu = n - b it
    is 0. Where n <= b, q0 is 0.

    Parameters
    ----------
    n, b, sigma
        Observed events; expected ones, above 0; their uncertainty. They broadcast.

    Raises
    ------
    FitError
        A number is not finite or out of range.

    Source
    ------
    Benkendorfer, Le Pottier, Nachman, arXiv:2009.02205, equations 2.5 and 2.6.
    """
    n, b, sigma = (np.asarray(value, dtype=float) for value in (n, b, sigma))
    if not np.all(np.isfinite(n) & np.isfinite(b) & np.isfinite(sigma)):
        msg = f"observed, expected and uncertainty must be numbers, got {n}, {b}, {sigma}"
        raise FitError(msg)
    if np.any(n < 0) or np.any(b <= 0) or np.any(sigma < 0):
        msg = f"expected n >= 0, b > 0 and sigma >= 0, got {n}, {b}, {sigma}"
        raise FitError(msg)
    # mean^2 + (sigma^2 - b) mean - n sigma^2 = 0 for mean = b + theta, without cancellation.
    half = 0.5 * (b - sigma**2)
    root = np.sqrt(half**2 + n * sigma**2)
    mean = np.where(half > 0, half + root, n * sigma**2 / np.maximum(root - half, 1e-300))
    theta = mean - b
    pull = np.divide(theta, sigma, out=np.zeros_like(mean), where=sigma > 0)
    q0 = 2 * (mean - n + xlogy(n, n / np.maximum(mean, 1e-300))) + pull**2
    return np.asarray(np.where(n > b, np.maximum(q0, 0.0), 0.0))


def poisson_p_value(n: float, b: float, sigma: float) -> float:
    """Return the probability of n events or more where b +- sigma are expected.

    The uncertainty is integrated over as a normal distribution cut off at 0.

    Raises
    ------
    FitError
        A number is none, or out of range.

    Source
    ------
    Collins, Howe, Nachman, arXiv:1805.02664 and arXiv:1902.02634.
    """
    check_numbers({"n": n, "b": b, "sigma": sigma}, 0)
    if n <= 0:
        return 1.0
    means, weights = _cut_normal(b, sigma)
    return float(np.sum(weights * gammainc(n, means)))


# Parts of a log-normal factor on a signal.
_PARTS = 100


def _cut_normal(b: float, sigma: float) -> tuple[Array, Array]:
    """Return nodes and weights of a normal distribution cut off at 0: the weights add up to 1."""
    nodes, weights = leggauss(_LEGENDRE_POINTS)
    low, high = max(0.0, b - _FARTHEST * sigma), b + _FARTHEST * sigma
    means = 0.5 * (low + high) + 0.5 * (high - low) * nodes
    if sigma > 0:
        weights = weights * np.exp(-0.5 * ((means - b) / sigma) ** 2)
    return means, weights / weights.sum()


def paper_significance(
    observed: float, predicted: float, statistical: float, systematic: float = 0.03
) -> float:
    """Return the paper's significance (N_obs - N_pred) / sqrt(N_obs + sigma_b^2).

    It is no likelihood ratio: with the observed count in its variance it lies below
    one for small excesses, and above one for large excesses on few control events.

    Parameters
    ----------
    observed, predicted
        Events seen and background estimated.
    statistical
        Statistical uncertainty of the estimate [events].
    systematic
        Relative systematic uncertainty of the estimate.

    Raises
    ------
    FitError
        A number is not finite, or the count negative.

    Source
    ------
    arXiv:2002.12376, equation 4.1.

    Examples
    --------
    >>> round(paper_significance(130, 100, 5), 2)
    2.34
    """
    check_numbers({"predicted": predicted})
    check_numbers({"observed": observed, "statistical": statistical, "systematic": systematic}, 0)
    variance = observed + statistical**2 + (systematic * predicted) ** 2
    return (observed - predicted) / float(np.sqrt(variance)) if variance > 0 else 0.0


def li_ma_significance(n_on: float, n_off: float, alpha: float) -> float:
    """Return the significance of a count against one beside it, 0 where there is no excess.

    Parameters
    ----------
    n_on, n_off
        Events where the signal is expected, and where there is background alone.
    alpha
        Background in the first over background in the second.

    Raises
    ------
    FitError
        A number is none, or out of range.

    Source
    ------
    Li, Ma, Astrophys. J. 272 (1983) 317, equation 17.

    Examples
    --------
    >>> round(li_ma_significance(140, 100, 1), 3)
    2.588
    """
    check_numbers({"n_on": n_on, "n_off": n_off}, 0)
    check_numbers({"alpha": alpha}, 0, above=True)
    total = n_on + n_off
    if n_on <= alpha * n_off:
        return 0.0
    on = xlogy(n_on, (1 + alpha) / alpha * (n_on / total))
    off = xlogy(n_off, (1 + alpha) * (n_off / total))
    return float(np.sqrt(2 * max(0.0, on + off)))


def asimov_significance(s: float, b: float, sigma: float = 0.0) -> float:
    """Return the median significance that a signal is expected to have in a count.

    Parameters
    ----------
    s, b
        Signal and background events.
    sigma
        Uncertainty of the background [events].

    Raises
    ------
    FitError
        A number is none, or out of range.

    Source
    ------
    Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equation 97; with an uncertainty: Cowan,
    Discovery sensitivity for a counting experiment with background uncertainty (2012), equation 20.

    Examples
    --------
    >>> round(asimov_significance(30, 100), 3), round(asimov_significance(50, 100, 10), 3)
    (2.866, 3.173)
    """
    check_numbers({"s": s, "sigma": sigma}, 0)
    check_numbers({"b": b}, 0, above=True)
    # x = s / b, r = sigma^2 / b.
    x, r = s / b, sigma**2 / b
    if r:
        q0 = (s + b) * np.log1p(x / (1 + r + r * x)) - b / r * np.log1p(r * x / (1 + r))
    else:
        q0 = (s + b) * np.log1p(x) - s
    return float(np.sqrt(2 * max(0.0, float(q0))))


def gross_vitells_p_value(z: float, upcrossings: float, level: float = 0.5) -> float:
    """Return the global p-value of the largest local significance of a scan.

    It is p_local + upcrossings x exp(-(z^2 - level) / 2), an upper bound that is exact for large
    z, at most 1. It holds for a q0 that is a chi-square at every mass, all of one background model,
    in steps that are small against its width.

    Parameters
    ----------
    z
        Largest local significance sqrt(q0).
    upcrossings
        How often q0 rises through `level` in a scan without signal, on average.
    level
        q0 at which they were counted.

    Raises
    ------
    FitError
        A number is none, or out of range.

    Source
    ------
    Gross, Vitells, arXiv:1005.1891, equation 3.

    Examples
    --------
    >>> f"{gross_vitells_p_value(4, 4.34, 0.5):.2g}"
    '0.0019'
    """
    check_numbers({"z": z, "upcrossings": upcrossings, "level": level}, 0)
    return min(1.0, normal_p_value(z) + upcrossings * float(np.exp(-0.5 * (z**2 - level))))


_MOST_COUNTED = 1000
# How far counts reach, in standard deviations.
_REACH = 8.0
# The upper end jumps with b, at most this far apart; backgrounds looked at, again between the best
# one and that before it.
_PERIOD = 2.0
_BACKGROUNDS = 65
_REFINED = 3


def feldman_cousins(n: int, b: float, level: float = 0.9) -> tuple[float, float]:
    """Return the interval of the signal in a count, one-sided or two-sided by itself.

    Parameters
    ----------
    n
        Events seen, at most 1000: the interval is that of the likelihood ratio above.
    b
        Background events, at most 1000, known exactly.
    level
        Confidence level.

    Returns
    -------
    Lower and upper end [events]. The upper one is the largest of all backgrounds of b or more, so
    that it falls with b, as in the paper's tables.

    Raises
    ------
    FitError
        A number is none, or out of range.

    Source
    ------
    Feldman, Cousins, physics/9711021, section IV.

    Examples
    --------
    >>> [round(end, 2) for end in feldman_cousins(3, 0.5)]
    [0.6, 6.92]
    """
    check_whole({"n": n}, _MOST_COUNTED)
    check_numbers({"b": b}, 0)
    check_level(level)
    if b > _MOST_COUNTED:
        msg = f"b is {b:g}, expected at most {_MOST_COUNTED}: take the likelihood ratio there"
        raise FitError(msg)
    low, high = _lower_end(n, b, level), _upper_end(n, b, level)
    first, last = float(b), b + _PERIOD
    for _ in range(_REFINED):
        backgrounds = np.linspace(first, last, _BACKGROUNDS)
        ends = [_upper_end(n, float(background), level) for background in backgrounds]
        best = int(np.argmax(ends))
        high = max(high, ends[best])
        first, last = backgrounds[max(best - 1, 0)], backgrounds[best]
    return max(0.0, low), max(0.0, high)


def _upper_end(n: int, b: float, level: float) -> float:
    """Return the largest accepted strength.

    Counts k above n rank before it from the mean ties[k] on. Between two such means the counts
    that do are n + 1 to the same k; their probability rises and falls again.
    """
    most = n + b + _REACH * (np.sqrt(n + b) + 2)
    above = np.arange(n + 1, int(most + 3 * _REACH * np.sqrt(most)) + 2, dtype=float)
    ties = np.exp((_ln_best(above, b) - _ln_best(n, b)) / (above - n))
    starts, stops, last = ties[:-1], ties[1:], above[:-1]

    def before(mean: Any, k: Any) -> Any:
        return gammaincc(k + 1, mean) - gammaincc(n + 1, mean)

    accepted = np.flatnonzero((before(starts, last) < level) | (before(stops, last) < level))
    if not accepted.size:
        return float(ties[0] - b)
    place = accepted[-1]
    k, start, stop = last[place], starts[place], stops[place]
    if before(stop, k) < level:
        return float(stop - b)
    return float(brentq(lambda mean: before(mean, k) - level, start, stop) - b)


def _lower_end(n: int, b: float, level: float) -> float:
    """Return the smallest accepted strength; the counts that rank before n are k to n - 1."""
    if n <= b or gammaincc(n, b) < level:
        return 0.0
    below = np.arange(n, dtype=float)
    stops = np.exp((_ln_best(n, b) - _ln_best(below, b)) / (n - below))
    starts = np.concatenate([[0.0], stops[:-1]])

    def before(mean: Any, k: Any) -> Any:
        lower = np.where(k > 0, gammaincc(np.maximum(k, 1), mean), 0.0)
        return gammaincc(n, mean) - lower

    inside = stops > b
    starts, stops, below = np.maximum(starts[inside], b), stops[inside], below[inside]
    accepted = (before(starts, below) < level) | (before(stops, below) < level)
    place = int(np.argmax(accepted))
    k, start, stop = below[place], starts[place], stops[place]
    if before(start, k) < level:
        return float(start - b)
    return float(brentq(lambda mean: before(mean, k) - level, start, stop) - b)


def _ln_best(k: Any, b: float) -> Any:
    """Return ln L at the best strength, without the factorial."""
    best = np.maximum(k, b)
    return xlogy(k, best) - best


def counting_limit(
    n: int, b: float, sigma: float = 0.0, level: float = 0.95, signal: float = 0.0
) -> float:
    """Return the CLs upper limit on the signal in a count.

    CLs is the probability of n events or fewer with a signal over that without. An uncertainty
    of the background is integrated over as a normal distribution cut off at 0.

    Parameters
    ----------
    n
        Events seen, up to ten million.
    b, sigma
        Background events and their uncertainty.
    level
        Confidence level.
    signal
        Standard deviation of the logarithm of the signal's norm, integrated over as well.

    Raises
    ------
    FitError
        A number is none, or out of range.

    Source
    ------
    Read, J. Phys. G 28 (2002) 2693; Zech, Nucl. Instrum. Meth. A 277 (1989) 608.

    Examples
    --------
    >>> round(counting_limit(0, 0), 2), round(counting_limit(3, 3, 3), 2)
    (3.0, 6.17)
    """
    check_whole({"n": n}, _MOST_IN_LIMIT)
    check_numbers({"b": b, "sigma": sigma, "signal": signal}, 0)
    check_level(level)
    means, weights = _cut_normal(b, sigma)
    factors = np.ones(1)
    if signal > 0:
        # Parts of equal probability.
        factors = np.exp(signal * ndtri((np.arange(_PARTS) + 0.5) / _PARTS))[:, None]

    def ln_below(mu: float) -> float:
        """Return the logarithm of the probability of n events or fewer."""
        # gammaincc underflows, far below anything that n can be: CLs is 0 / 0 there.
        below = gammaincc(n + 1, mu * factors + means)
        return float(np.log(np.sum(weights * below) / len(factors)))

    with np.errstate(divide="ignore"):
        nothing = ln_below(0.0)
        if not np.isfinite(nothing):
            msg = f"{n} events are impossible with {b:g} +- {sigma:g} of background: no limit"
            raise FitError(msg)
        target = nothing + np.log1p(-level)
        high = 1.0
        while ln_below(high) > target:
            high *= 2
        return float(brentq(lambda mu: max(ln_below(mu), -1e4) - target, 0.0, high, rtol=1e-10))
