"""What a selection does to the background's spectrum in m_jj."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2 as chi2_law

__all__ = ["Sculpting", "passing", "sculpting"]

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]

_SLICES = 10


@dataclass(frozen=True)
class Sculpting:
    """What a selection does to the background's spectrum in m_jj.

    Attributes
    ----------
    efficiency
        Share of the background in the fit range that is kept.
    edges
        Of slices in m_jj that hold equal shares of the background [GeV].
    ratio, uncertainty
        Share kept in every slice over the share kept in all, and its binomial uncertainty.
    chi2, dof, p_value
        Of a constant ratio.
    """

    efficiency: float
    edges: tuple[float, ...]
    ratio: tuple[float, ...]
    uncertainty: tuple[float, ...]
    chi2: float
    dof: int
    p_value: float


def passing(score: Float64Array, share: float) -> Callable[[Float64Array], BoolArray]:
    """Return the cut that keeps a share of scores, or as little more as ties allow.

    Parameters
    ----------
    score
        (event,) of the events that the share is one of.
    share
        Above 0, at most 1.

    Returns
    -------
    A function of scores, which says of each whether it passes.
    """
    cut = np.sort(score)[max(len(score) - round(share * len(score)), 0)] if share < 1 else -np.inf
    return lambda values: np.asarray(values >= cut)


def sculpting(efficiency: float, score: Float64Array, m_jj: Float64Array) -> Sculpting:
    """Return what the tightest share of background events looks like in m_jj.

    Parameters
    ----------
    efficiency
        Share that is kept.
    score, m_jj
        (event,) of background events in the fit range; m_jj [GeV].
    """
    passed = passing(score, efficiency)(score)
    edges = np.unique(np.quantile(m_jj, np.linspace(0, 1, _SLICES + 1)))
    before = np.histogram(m_jj, edges)[0].astype(float)
    after = np.histogram(m_jj[passed], edges)[0].astype(float)
    share = after.sum() / before.sum()
    expected, variance = share * before, share * (1 - share) * before
    dof = max(len(before) - 1, 1)
    value = float(((after - expected) ** 2 / np.maximum(variance, 1e-12)).sum()) if share < 1 else 0
    return Sculpting(
        efficiency=efficiency,
        edges=tuple(edges.tolist()),
        ratio=tuple((after / expected).tolist()),
        uncertainty=tuple((np.sqrt(np.maximum(after, 1.0)) / expected).tolist()),
        chi2=float(value),
        dof=dof,
        p_value=float(chi2_law.sf(value, dof)),
    )
