"""Signal-rich and background-rich jets from the score of the other jet.

Source: arXiv:2002.12376, section 2, and its public code for the fractions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.identity import hashed

__all__ = ["Labels", "rich_labels", "score_order"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """Which events of one inner fold train the tagger of a jet, and as what.

    Attributes
    ----------
    signal_rich
        (event,) bool.
    background_rich
        (event,) bool, never true where `signal_rich` is.
    tagged
        (event,) bool: signal-rich but for the window.
    """

    signal_rich: BoolArray
    background_rich: BoolArray
    tagged: BoolArray


def score_order(
    scores: npt.ArrayLike, event_id: npt.NDArray[np.uint64], tagger: str
) -> npt.NDArray[np.int64]:
    """Return the events' positions from lowest to highest score, ties in the order of a hash.

    Parameters
    ----------
    scores
        (event,) of one tagger.
    event_id
        (event,) uint64.
    tagger
        SHA-256 of the tagger; it names the hash, so no event is favoured twice.

    Raises
    ------
    TrainingError
        A score is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        msg = f"{bad} of {len(values)} scores of tagger {tagger[:12]} are not finite"
        raise TrainingError(msg)
    # The id itself is last: without it two events with equal hashes would be
    # ordered by position.
    return np.lexsort((event_id, hashed(event_id, 0, "ties", tagger), values))


def rich_labels(
    order: npt.NDArray[np.int64],
    m_jj: npt.ArrayLike,
    *,
    signal_rich: float,
    background_rich: float,
    window: MassRange | None = None,
) -> Labels:
    """Return the labels of the events of one inner fold.

    Parameters
    ----------
    order
        (event,) positions from lowest to highest score of the **other** jet.
    m_jj
        (event,) dijet mass [GeV].
    signal_rich
        Share of events at the top.
    background_rich
        Share of events at the bottom; any mass.
    window
        Signal-rich events lie in it as well (TNT + m_jj), the share being of all events.

    Raises
    ------
    TrainingError
        The two shares overlap.
    """
    if signal_rich + background_rich > 1:
        msg = (
            f"the signal-rich share {signal_rich} and the background-rich share "
            f"{background_rich} overlap: lower one of them in train.tnt"
        )
        raise TrainingError(msg)
    n = len(order)
    tagged = _mask(order[n - round(signal_rich * n) :], n)
    top = tagged
    if window is not None:
        mass = np.asarray(m_jj, dtype=np.float64)
        top = tagged & (mass >= window.low) & (mass < window.high)
    return Labels(top, _mask(order[: round(background_rich * n)], n), tagged)


def _mask(positions: npt.NDArray[np.int64], n: int) -> BoolArray:
    mask = np.zeros(n, dtype=np.bool_)
    mask[positions] = True
    return mask
