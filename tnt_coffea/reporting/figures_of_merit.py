"""Figures of merit of a score: the significance improvement eps_S / sqrt(eps_B), its largest value.

Pure kernels of scores and of who is signal; evaluation, comparison and studies share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tnt_coffea.typing import BoolArray, Float64Array

__all__ = [
    "FEWEST_BACKGROUND",
    "LARGEST_ERROR",
    "TIGHT",
    "Improvement",
    "improvement_uncertainty",
    "max_sic",
    "passing",
    "sic_at",
    "tie_rates",
]

FEWEST_BACKGROUND = 10
"""Background events below which an improvement is not quoted."""
LARGEST_ERROR = 0.2
"""Largest relative statistical uncertainty of eps_B at which the maximum is looked for."""
TIGHT = 1e-3
"""Background efficiency at which the field quotes the significance improvement."""


@dataclass(frozen=True)
class Improvement:
    """The significance improvement of a selection by its share of background in the window.

    Attributes
    ----------
    efficiency
        Share of the background in the window that is kept.
    value, uncertainty
        eps_S / sqrt(eps_B) and its statistical uncertainty; None with fewer background events
        left than the figure asks for. Where no signal is left, 0, and what one event would give.
    """

    efficiency: float
    value: float | None
    uncertainty: float | None


def max_sic(
    score: Float64Array, is_signal: BoolArray, weight: Float64Array | None = None
) -> Improvement:
    r"""Return the largest eps_S / sqrt(eps_B) over all cuts that leave enough background.

    Enough are 25 events: the relative statistical uncertainty of eps_B, 1 / sqrt(events), is then
    20 %. The largest of many values is biased upwards, so a score that knows nothing has a little
    more than 1.

    Parameters
    ----------
    score
        (event,), higher = more signal-like.
    is_signal
        (event,) the truth.
    weight
        (event,), positive; 1 for all if not given. The number of events left is the share kept
        of the effective number (sum w)^2 / sum w^2.

    Returns
    -------
    Improvement
        With the background efficiency of its cut; no value where signal is missing or fewer
        than 25 background events are there.

    Source: the figure and its cut on the uncertainty as in arXiv:2309.13111 and 2109.00546.

    Examples
    --------
    >>> import numpy as np
    >>> score = np.concatenate([np.linspace(0, 1, 1000), np.linspace(0.9, 1, 10)])
    >>> found = max_sic(score, np.arange(1010) >= 1000)
    >>> round(found.efficiency, 3), round(found.value, 2)
    (0.1, 3.16)
    """
    weight = np.ones(len(score)) if weight is None else weight
    n_signal, n_background = (_effective(weight[kind]) for kind in (is_signal, ~is_signal))
    if not n_signal or n_background * LARGEST_ERROR**2 < 1 - 1e-9:
        return Improvement(1.0, None, None)
    eps_background, eps_signal = tie_rates(score, is_signal, weight)
    # One part in 10^9, as an effective number of equal weights is not to the last bit a whole one.
    known = eps_background * n_background * LARGEST_ERROR**2 >= 1 - 1e-9
    eps_background, eps_signal = eps_background[known], eps_signal[known]
    values = eps_signal / np.sqrt(eps_background)
    best = int(values.argmax())
    s, b = float(eps_signal[best]), float(eps_background[best])
    uncertainty = improvement_uncertainty(s, b, n_signal, n_background)
    return Improvement(b, float(values[best]), uncertainty)


def sic_at(
    efficiency: float,
    score: Float64Array,
    is_signal: BoolArray,
    weight: Float64Array | None = None,
) -> Improvement:
    """Return eps_S / sqrt(eps_B) where a share of the background is kept.

    Parameters
    ----------
    efficiency
        Share of the background, above 0, at most 1; equal scores may keep more.
    score, is_signal, weight
        As for `max_sic`.

    Returns
    -------
    Improvement
        Of the efficiency asked for; no value where fewer than 10 background events are left or
        signal is missing.

    Examples
    --------
    >>> import numpy as np
    >>> score = np.concatenate([np.linspace(0, 1, 1000), np.linspace(0.9, 1, 10)])
    >>> is_signal = np.arange(1010) >= 1000
    >>> round(sic_at(0.1, score, is_signal).value, 2), sic_at(1e-3, score, is_signal).value
    (2.85, None)
    """
    own = None if weight is None else weight[~is_signal]
    kept = passing(score[~is_signal], efficiency, own)(score)
    w = np.ones(len(score)) if weight is None else weight
    n_signal, n_background = (_effective(w[kind]) for kind in (is_signal, ~is_signal))
    if not n_signal or _effective(w[kept & ~is_signal]) < FEWEST_BACKGROUND - 1e-9:
        return Improvement(efficiency, None, None)
    s, b = (float(w[kept & kind].sum() / w[kind].sum()) for kind in (is_signal, ~is_signal))
    if not s:  # as uncertain as if one event were left
        return Improvement(efficiency, 0.0, 1 / n_signal / float(np.sqrt(b)))
    return Improvement(
        efficiency, s / float(np.sqrt(b)), improvement_uncertainty(s, b, n_signal, n_background)
    )


def tie_rates(
    score: Float64Array, is_signal: BoolArray, weight: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the shares of background and of signal above every cut, from 0 to 1.

    Parameters
    ----------
    score, is_signal, weight
        As for `max_sic`; both kinds occur.

    Examples
    --------
    >>> import numpy as np
    >>> score, is_signal = np.array([3.0, 2, 2, 1]), np.array([True, True, False, False])
    >>> [rate.tolist() for rate in tie_rates(score, is_signal, np.ones(4))]
    [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    order = np.argsort(-score, kind="stable")
    # A cut cannot part equal scores, so a point stands behind the last of each.
    last = np.append(np.diff(score[order]) != 0, True)

    def rate(kind: BoolArray) -> Float64Array:
        passed = np.cumsum(np.where(kind, weight, 0.0)[order])[last]
        return np.concatenate([[0.0], passed / passed[-1]])

    return rate(~is_signal), rate(is_signal)


def passing(
    score: Float64Array, share: float, weight: Float64Array | None = None
) -> Callable[[Float64Array], BoolArray]:
    """Return the cut that keeps a share of scores, or as little more as ties allow.

    Parameters
    ----------
    score
        (event,) of the events that the share is one of.
    share
        Above 0, at most 1.
    weight
        (event,) that the share is one of the sum of; 1 for all if not given.

    Returns
    -------
    A function of scores, which says of each whether it passes.

    Examples
    --------
    >>> import numpy as np
    >>> passing(np.arange(10.0), 0.3)(np.arange(10.0)).tolist().count(True)
    3
    """
    if share == 1:
        cut = -np.inf
    else:
        if weight is None:
            kept = min(round(share * len(score)), len(score))
        else:
            own = weight[np.argsort(-score, kind="stable")]
            kept = int(np.count_nonzero(np.cumsum(own) - own / 2 < share * own.sum()))
        cut = np.sort(score)[len(score) - kept] if kept else np.inf
    return lambda values: np.asarray(values >= cut)


def improvement_uncertainty(
    eps_signal: float, eps_background: float, n_signal: float, n_background: float
) -> float | None:
    r"""Return the statistical uncertainty of eps_S / sqrt(eps_B); None if either is 0.

    With binomial counts, k of n events kept, to first order:

    (sigma / improvement)^2 = (1 - eps_S) / (n_S eps_S) + (1 - eps_B) / (4 n_B eps_B)

    Parameters
    ----------
    eps_signal, eps_background
        Shares kept.
    n_signal, n_background
        Effective numbers of events before the selection.

    Examples
    --------
    >>> round(improvement_uncertainty(0.5, 0.01, n_signal=100, n_background=10_000), 2)
    0.56
    """
    if min(eps_signal, eps_background) <= 0:
        return None
    relative = (1 - eps_signal) / (n_signal * eps_signal)
    relative += (1 - eps_background) / (4 * n_background * eps_background)
    return float(eps_signal / np.sqrt(eps_background) * np.sqrt(relative))


def _effective(weight: Float64Array) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0
