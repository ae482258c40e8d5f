"""Jet substructure observables."""

from __future__ import annotations

from enum import StrEnum

import awkward as ak
import numpy as np
import numpy.typing as npt

__all__ = ["Axes", "n_subjettiness", "subjettiness_ratio"]


class Axes(StrEnum):
    """N-subjettiness axes by FastJet-contrib's names; its binding ignores unknown ones silently."""

    KT = "KT_Axes"
    WTA_KT = "WTA_KT_Axes"
    ONE_PASS_KT = "OnePass_KT_Axes"
    ONE_PASS_WTA_KT = "OnePass_WTA_KT_Axes"


def n_subjettiness(
    constituents: ak.Array,
    n: tuple[int, ...] = (1, 2),
    *,
    beta: float = 1.0,
    radius: float = 1.0,
    axes: Axes = Axes.WTA_KT,
) -> npt.NDArray[np.float64]:
    """Return tau_N in the normalised measure.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    n
        Numbers of axes N.
    beta
        Angular exponent.
    radius
        R0 of the normalisation, sum pT R0^beta.
    axes
        How the axes are found.

    Returns
    -------
    (jet, len(n)) float64, 0 for a jet with no more constituents than axes.

    Source: arXiv:1011.2268, equations 2.1 and 2.2.
    """
    import fastjet

    axes = Axes(axes)
    taus = np.zeros((len(constituents), len(n)))
    # Jets with fewer particles than axes have tau = 0 by definition; FastJet
    # warns about them, so they never get there.
    counts = ak.to_numpy(ak.num(constituents))
    many = np.flatnonzero(counts > max(n, default=0))
    few = np.flatnonzero((counts <= max(n, default=0)) & (counts > 0))
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    for rows, wanted in ((many, n), *(((few[i : i + 1]), n) for i in range(len(few)))):
        if not len(rows):
            continue
        possible = tuple(k for k in wanted if k < counts[rows].min())
        if not possible:
            continue
        sequence = fastjet.ClusterSequence(ak.to_packed(constituents[rows]), definition)
        values = sequence.njettiness(
            measure_definition="NormalizedMeasure",
            axes_definition=axes.value,
            njets=list(possible),
            beta=beta,
            R0=radius,
        )
        columns = np.array([n.index(k) for k in possible])
        taus[rows[:, None], columns] = ak.to_numpy(values)
    return taus


def subjettiness_ratio(
    numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return tau_N / tau_M per jet, 0 where tau_M is 0 (a jet of M particles has no M-th prong)."""
    out = np.zeros_like(denominator)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
