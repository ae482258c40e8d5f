"""How much purer a tag makes a window in m_jj: a figure for choices, without truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.typing import BoolArray


def window_surplus(m_jj: npt.ArrayLike, passed: BoolArray, window: MassRange) -> float:
    """Return by how many standard deviations tagged events are more frequent in a window.

    Parameters
    ----------
    m_jj
        (event,) dijet mass [GeV].
    passed
        (event,) which events the tag keeps.
    window
        Where a resonance may be. Sidebands are half as wide, on either side of it.

    Returns
    -------
    float
        With n of N events kept in the window and m of M in the sidebands,
        (n - m N / M) / sqrt(n + m (N / M)^2): about 0 without a resonance, if the tag does
        not follow m_jj, and larger the purer the tag is. 0 with empty sidebands.

    Notes
    -----
    It looks at the window: for choices on samples that are not searched themselves, and on
    training folds.
    """
    mass = np.asarray(m_jj, dtype=np.float64)
    half = 0.5 * (window.high - window.low)
    inside = window.contains(mass)
    beside = ~inside & (mass >= window.low - half) & (mass < window.high + half)
    if not beside.any():
        return 0.0
    n, m = int((passed & inside).sum()), int((passed & beside).sum())
    scale = inside.sum() / beside.sum()
    return float((n - m * scale) / np.sqrt(max(n + m * scale**2, 1.0)))
