"""Objects of several jets: what flies beside one of the two leading jets becomes part of it.

Source: arXiv:2002.12376, footnote 1: the objects that are tagged may be several jets each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tnt_coffea.jets.clustering import Clusters
from tnt_coffea.jets.kinematics import rapidity, transverse_momentum

__all__ = ["owners", "with_objects"]

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def owners(p4: Float64Array, per_event: IntArray, radius: float) -> IntArray:
    """Return (jet,) the row of the jet that every jet becomes part of, its own where of none.

    Parameters
    ----------
    p4
        (4, jet) px, py, pz, E [GeV], in descending pT within an event.
    per_event
        (event,) jets of every event.
    radius
        Largest Delta R, in rapidity and phi, to the nearer one of the first two. Of two that
        are equally near it is the harder one.
    """
    rows = np.arange(p4.shape[1])
    first = np.repeat(np.cumsum(per_event) - per_event, per_event)
    several = np.repeat(per_event >= 2, per_event)
    further = np.flatnonzero(several & (rows - first >= 2))
    leading = first[further] + np.array([[0], [1]])
    y, phi = rapidity(p4), np.arctan2(p4[1], p4[0])
    turn = np.remainder(phi[further] - phi[leading] + np.pi, 2 * np.pi) - np.pi
    distance = np.hypot(y[further] - y[leading], turn)
    nearer = distance.argmin(axis=0)
    of = np.arange(len(further))
    rows[further] = np.where(distance[nearer, of] <= radius, leading[nearer, of], further)
    return rows


def with_objects(found: Clusters, radius: float, leading: int) -> Clusters:
    """Return the jets with the further ones added to the two leading ones.

    Parameters
    ----------
    found
        All jets of the events, in descending pT.
    radius
        As in `owners`.
    leading
        Most jets kept in an event: the two objects in descending pT, then what is left.

    Returns
    -------
    Clusters
        Momenta of objects are sums; their constituents are those of all their jets, the
        hardest jet's first.
    """
    owner = owners(found.p4, found.per_event, radius)
    kept, place = np.unique(owner, return_inverse=True)
    p4 = np.stack([np.bincount(place, part, len(kept)) for part in found.p4]).astype(np.float64)
    event = np.repeat(np.arange(len(found.per_event)), found.per_event)[kept]
    alone = kept - (np.cumsum(found.per_event) - found.per_event)[event] >= 2
    order = np.lexsort((-transverse_momentum(p4), alone, event))
    per_event = np.bincount(event, minlength=len(found.per_event))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(per_event) - per_event, per_event)
    order = order[rank < leading]
    # Constituents by object, and within it by jet: both sorts are stable.
    new_place = np.full(len(kept), len(order))
    new_place[order] = np.arange(len(order))
    object_of = np.repeat(new_place[place], found.sizes)
    members = np.argsort(object_of, kind="stable")[: int((object_of < len(order)).sum())]
    return replace(
        found,
        per_event=np.minimum(per_event, leading),
        p4=p4[:, order],
        sizes=np.bincount(object_of, minlength=len(order))[: len(order)],
        members=found.members[members],
    )
