"""The dijet of an event: two jets, and which of them is heavy."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import JetOrder, JetSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.jets.clustering import find_clusters
from tnt_coffea.jets.kinematics import invariant_mass, transverse_momentum
from tnt_coffea.jets.objects import with_objects

__all__ = ["JETS", "OBSERVABLES", "find_dijets", "select_dijets"]

JETS = ("heavy", "light")
OBSERVABLES = SkimSettings().of_jet
"""What a skim holds of either jet unless it is told otherwise."""

_ALL = 2**31
"""More jets than an event has."""

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


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
    """
    several = settings.object_radius is not None
    found = find_clusters(particles, settings, _ALL if several else leading)
    cuts = _cuts(transverse_momentum(found.p4), found.per_event, settings)
    if settings.object_radius is not None:
        found = with_objects(found, settings.object_radius, leading)
    jet = _order(found.p4, found.per_event, settings, coin)
    kept = cuts["two_jets"] & cuts["trigger"]
    chosen = jet[np.repeat(kept, found.per_event)]
    return found.jets(chosen, found.per_event[kept]), cuts


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
    """
    if settings.object_radius is not None:
        msg = (
            "objects of several jets (skim.jets.object_radius) need particles, and these jets "
            "were clustered by their source; set it to null, or cluster particles"
        )
        raise InputError(msg)
    kept = jets.pt >= settings.pt_min
    if settings.eta_max is not None:
        kept = kept & (np.abs(jets.eta) <= settings.eta_max)
    jets = jets[kept]
    jets = jets[ak.argsort(jets.pt, axis=1, ascending=False, stable=True)][:, :leading]
    per_event = ak.to_numpy(ak.num(jets)).astype(np.int64)
    flat = ak.flatten(jets)
    p4 = np.stack([ak.to_numpy(getattr(flat, name)) for name in ("px", "py", "pz", "E")])
    p4 = p4.astype(np.float64)
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
