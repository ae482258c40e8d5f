"""The dijet of an event: two jets, which of them is heavy, and what is known of each."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import JetSettings, SkimSettings
from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.images import sparse_images
from tnt_coffea.jets.substructure import n_subjettiness, subjettiness_ratio

__all__ = ["JETS", "OBSERVABLES", "dijet_columns", "find_dijets"]

JETS = ("heavy", "light")
OBSERVABLES = ("pt", "eta", "phi", "mass", "tau21", "n_constituents")


def find_dijets(
    particles: ak.Array, settings: JetSettings
) -> tuple[ak.Array, dict[str, npt.NDArray[np.bool_]]]:
    """Return the two leading jets of the selected events, the heavier one first, and the cuts.

    Parameters
    ----------
    particles
        (event, particle) `Momentum4D`, GeV.
    settings
        Clustering and trigger.

    Returns
    -------
    jets
        (selected event, 2) jets as `clustering.cluster` gives them, ordered by mass
        event by event.
    cuts
        (event,) bool for every cut by name, in the order of the cutflow: `two_jets`, `trigger`.
    """
    jets = cluster(particles, settings)
    cuts = {
        "two_jets": ak.to_numpy(ak.num(jets) >= 2),
        "trigger": ak.to_numpy(ak.fill_none(ak.firsts(jets.pt) > settings.trigger_pt, False)),
    }
    pair = jets[cuts["two_jets"] & cuts["trigger"]]
    order = ak.argsort(pair.mass, axis=1, ascending=False, stable=True)
    return pair[order], cuts


def dijet_columns(jets: ak.Array, settings: SkimSettings) -> dict[str, ak.Array]:
    """Return the flat columns that a skim holds of a dijet.

    Parameters
    ----------
    jets
        (event, 2) heavy and light jet, of `find_dijets`.
    settings
        The image to make.

    Returns
    -------
    dict
        `m_jj` (event,) float64 GeV; for each of `heavy` and `light`: `_pt`, `_eta`, `_phi`,
        `_mass` (GeV), `_tau21`, `_n_constituents` (event,) float32, and the sparse image
        `_image_index`, `_image_value` (event, pixel).
    """
    columns: dict[str, ak.Array] = {"m_jj": _dijet_mass(jets)}
    for i, name in enumerate(JETS):
        jet = jets[:, i]
        constituents = ak.with_name(jet.constituents, "Momentum4D")
        tau = n_subjettiness(constituents, (1, 2), radius=settings.jets.radius)
        image = sparse_images(constituents, settings.images)
        columns |= {
            f"{name}_pt": ak.values_astype(jet.pt, np.float32),
            f"{name}_eta": ak.values_astype(jet.eta, np.float32),
            f"{name}_phi": ak.values_astype(jet.phi, np.float32),
            f"{name}_mass": ak.values_astype(jet.mass, np.float32),
            f"{name}_tau21": ak.Array(subjettiness_ratio(tau[:, 1], tau[:, 0]).astype(np.float32)),
            f"{name}_n_constituents": ak.values_astype(ak.num(constituents), np.float32),
            f"{name}_image_index": ak.unflatten(image.index, image.counts),
            f"{name}_image_value": ak.unflatten(image.value, image.counts),
        }
    return columns


def _dijet_mass(jets: ak.Array) -> ak.Array:
    total = jets[:, 0] + jets[:, 1]
    return ak.without_parameters(total.mass)
