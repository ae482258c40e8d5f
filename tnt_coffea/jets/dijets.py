"""The dijet of an event: two jets, or two objects of several jets, and which of them is heavy.

Objects of several jets: arXiv:2002.12376, footnote 1.
"""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np

from tnt_coffea.config import JetOrder, JetSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.jets.clustering import Clusters, find_clusters
from tnt_coffea.jets.kinematics import invariant_mass, rapidity, transverse_momentum
from tnt_coffea.jets.momenta import CARTESIAN, momentum_lists
from tnt_coffea.typing import BoolArray, Float64Array, IntArray

__all__ = [
    "JETS",
    "OBSERVABLES",
    "dijets_of",
    "find_dijets",
    "owners",
    "select_dijets",
    "with_objects",
]

JETS = ("heavy", "light")
OBSERVABLES = SkimSettings().of_jet
"""Observables of either jet that a skim holds by default."""

_ALL = 2**31
"""More jets than an event has."""


def find_dijets(
    particles: ak.Array,
    settings: JetSettings,
    *,
    coin: BoolArray | None = None,
    leading: int = 2,
) -> tuple[ak.Array, dict[str, BoolArray]]:
    """Return the leading jets of the selected events, the heavy one first, and the cuts.

    Parameters
    ----------
    particles
        (event, particle) `Momentum4D`, GeV.
    settings
        Clustering, cuts, trigger, objects and order. The trigger looks at the leading jet, not
        at the object that it becomes part of.
    coin
        (event,) True puts the softer of the two leading jets first; needed where
        `settings.order` is random, unused elsewhere.
    leading
        Most jets kept in an event.

    Returns
    -------
    jets
        (selected event, 2 to `leading`) jets as `clustering.cluster` gives them: heavy and
        light, which are the two of largest pT in the order of the settings, and then the
        others in descending pT.
    cuts
        (event,) bool for every cut by name, in the order of the cutflow: `two_jets`, `trigger`.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> particles = vector.zip({  # one event of four particles
    ...     "pt": ak.Array([[900.0, 300.0, 1150.0, 2.0]]),
    ...     "eta": ak.Array([[0.1, 0.5, 0.2, 0.1]]),
    ...     "phi": ak.Array([[0.0, 0.2, -3.1, 0.3]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0, 0.0]]),
    ... })
    >>> from tnt_coffea.config import JetSettings
    >>> jets, cuts = find_dijets(particles, JetSettings(trigger_pt=1000.0))
    >>> jets.pt.to_numpy().round(1).tolist()  # heavy, light
    [[1197.4, 1150.0]]
    >>> {name: passed.tolist() for name, passed in cuts.items()}
    {'two_jets': [True], 'trigger': [True]}
    """
    several = settings.object_radius is not None
    clusters = find_clusters(particles, settings, _ALL if several else leading)
    return dijets_of(clusters, settings, coin=coin, leading=leading)


def dijets_of(
    clusters: Clusters,
    settings: JetSettings,
    *,
    coin: BoolArray | None = None,
    leading: int = 2,
) -> tuple[ak.Array, dict[str, BoolArray]]:
    """Return dijets of jets in descending pT; parameters otherwise, and returns, as `find_dijets`.

    Parameters
    ----------
    clusters
        Jets of the events: all where objects are made of them, else at most `leading` in each.
    settings, coin, leading
        As in `find_dijets`.
    """
    cuts = _cuts(transverse_momentum(clusters.p4), clusters.per_event, settings)
    if settings.object_radius is not None:
        clusters = with_objects(clusters, settings.object_radius, leading)
    jet = _order(clusters.p4, clusters.per_event, settings, coin)
    kept = cuts["two_jets"] & cuts["trigger"]
    chosen = jet[np.repeat(kept, clusters.per_event)]
    return clusters.jets(chosen, clusters.per_event[kept]), cuts


def select_dijets(
    jets: ak.Array,
    settings: JetSettings,
    *,
    coin: BoolArray | None = None,
    leading: int = 2,
) -> tuple[ak.Array, dict[str, BoolArray]]:
    """Return dijets of jets that a source has clustered already; otherwise as `find_dijets`.

    Parameters
    ----------
    jets
        (event, jet) `Momentum4D`, GeV, in any order; further fields stay with their jet.
    settings
        Cuts, trigger and order; algorithm and radius are the source's own.
    coin, leading
        As in `find_dijets`.

    Raises
    ------
    InputError
        Objects of several jets are asked for: what a source computed of its jets cannot be
        added up.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> from tnt_coffea.config import JetSettings
    >>> jets = vector.zip({
    ...     "pt": ak.Array([[1300.0, 1250.0, 90.0], [1400.0]]),
    ...     "eta": ak.Array([[0.2, -0.6, 1.0], [0.3]]),
    ...     "phi": ak.Array([[0.0, 3.1, 1.2], [2.0]]),
    ...     "mass": ak.Array([[80.0, 310.0, 20.0], [95.0]]),
    ... })
    >>> dijets, cuts = select_dijets(jets, JetSettings())
    >>> dijets.mass.to_numpy().round(1).tolist()
    [[310.0, 80.0]]
    >>> cuts["two_jets"].tolist()
    [True, False]
    """
    if settings.object_radius is not None:
        msg = (
            "objects of several jets (skim.jets.object_radius) need particles, and these jets "
            "were clustered by their source; set it to null, or cluster particles"
        )
        raise InputError(msg)
    jets = momentum_lists(jets, "jets")
    kept = jets.pt >= settings.pt_min
    if settings.eta_max is not None:
        kept = kept & (np.abs(jets.eta) <= settings.eta_max)
    jets = jets[kept]
    jets = jets[ak.argsort(jets.pt, axis=1, ascending=False, stable=True)][:, :leading]
    per_event = ak.to_numpy(ak.num(jets)).astype(np.int64)
    flat = ak.flatten(jets)
    p4 = np.stack([ak.to_numpy(getattr(flat, name)) for name in CARTESIAN])
    cuts = _cuts(ak.to_numpy(flat.pt), per_event, settings)
    order = _order(p4, per_event, settings, coin)
    ordered = ak.unflatten(flat[order], per_event)
    return ordered[cuts["two_jets"] & cuts["trigger"]], cuts


def _cuts(pt: Float64Array, per_event: IntArray, settings: JetSettings) -> dict[str, BoolArray]:
    leading = np.full(len(per_event), -np.inf)
    leading[per_event > 0] = pt[_starts(per_event)[per_event > 0]]
    return {"two_jets": per_event >= 2, "trigger": leading > settings.trigger_pt}


def _order(
    p4: Float64Array, per_event: IntArray, settings: JetSettings, coin: BoolArray | None
) -> IntArray:
    # The rows of jets that lie in descending pT, with the first two of an event exchanged
    # where the order of the settings wants it.
    order = np.arange(int(per_event.sum()))
    if settings.order is JetOrder.PT:
        return order
    events = np.flatnonzero(per_event >= 2)
    first = _starts(per_event)[events]
    if settings.order is JetOrder.MASS:
        mass = invariant_mass(p4)
        swap = mass[first + 1] > mass[first]
    elif coin is None:
        msg = "jets in random order need a coin, (event,) bool; none was given"
        raise ValueError(msg)
    else:
        swap = np.asarray(coin, dtype=bool)[events]
    order[first[swap]], order[first[swap] + 1] = first[swap] + 1, first[swap]
    return order


def _starts(per_event: IntArray) -> IntArray:
    starts: IntArray = np.cumsum(per_event) - per_event
    return starts


def owners(p4: Float64Array, per_event: IntArray, radius: float) -> IntArray:
    """Return (jet,) the row of the jet that each jet is merged into, its own if it is not merged.

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


def with_objects(clusters: Clusters, radius: float, leading: int) -> Clusters:
    """Return the jets with the further ones added to the two leading ones.

    Parameters
    ----------
    clusters
        All jets of the events, in descending pT.
    radius
        As in `owners`.
    leading
        Most jets kept in an event: the two objects in descending pT, then the other jets.

    Returns
    -------
    Clusters
        Momenta of objects are sums; their constituents are those of all their jets, the
        hardest jet's first.
    """
    owner = owners(clusters.p4, clusters.per_event, radius)
    kept, place = np.unique(owner, return_inverse=True)
    p4 = np.stack([np.bincount(place, part, len(kept)) for part in clusters.p4]).astype(np.float64)
    event = np.repeat(np.arange(len(clusters.per_event)), clusters.per_event)[kept]
    alone = kept - (np.cumsum(clusters.per_event) - clusters.per_event)[event] >= 2
    order = np.lexsort((-transverse_momentum(p4), alone, event))
    per_event = np.bincount(event, minlength=len(clusters.per_event))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(per_event) - per_event, per_event)
    order = order[rank < leading]
    # Constituents by object, and within it by jet: both sorts are stable.
    new_place = np.full(len(kept), len(order))
    new_place[order] = np.arange(len(order))
    object_of = np.repeat(new_place[place], clusters.sizes)
    members = np.argsort(object_of, kind="stable")[: int((object_of < len(order)).sum())]
    return replace(
        clusters,
        per_event=np.minimum(per_event, leading),
        p4=p4[:, order],
        sizes=np.bincount(object_of, minlength=len(order))[: len(order)],
        members=clusters.members[members],
    )
