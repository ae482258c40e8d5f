"""Jets whose energies or masses were changed after they were clustered."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np

from tnt_coffea.config import JetSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.jets.clustering import Clusters, leading_rows
from tnt_coffea.jets.kinematics import invariant_mass
from tnt_coffea.jets.momenta import COORDINATES, WITH_UNITS, momentum_lists
from tnt_coffea.typing import Float64Array

__all__ = ["leading_clusters", "scaled_clusters", "scaled_jets"]

_MASSES = frozenset({"soft_drop_mass"})


def scaled_clusters(clusters: Clusters, energy: Float64Array, mass: Float64Array) -> Clusters:
    """Return jets with their four-momenta and those of their constituents scaled.

    Parameters
    ----------
    clusters
        All jets of the events.
    energy
        (jet,) factors on four-momenta, of the jet and of its constituents.
    mass
        (jet,) further factors on the jet's mass, at the same momentum; constituents keep theirs.

    Returns
    -------
    Clusters
        In the order of the jets given; `leading_clusters` puts them into that of their pT.
    """
    p4 = clusters.p4 * energy
    changed = mass != 1.0
    if changed.any():
        p4[3, changed] = _energy(p4[:3, changed], mass[changed] * invariant_mass(p4[:, changed]))
    per_particle = np.ones(len(clusters.particles.layout.content))
    per_particle[clusters.members] = np.repeat(energy, clusters.sizes)
    return replace(
        clusters,
        particles=_scaled(clusters.particles, per_particle),
        p4=p4,
        mass_factor=mass if changed.any() else None,
    )


def leading_clusters(clusters: Clusters, settings: JetSettings, leading: int) -> Clusters:
    """Return the jets of the largest pT, in descending order, that pass the cuts on single jets.

    Parameters
    ----------
    clusters
        All jets of the events, in any order.
    settings
        Lowest jet pT and largest abs(eta); objects of several jets keep all jets.
    leading
        Most jets kept in an event.

    Raises
    ------
    ConfigError
        Masses vary, and objects of several jets are asked for.
    """
    several = settings.object_radius is not None
    if several and clusters.mass_factor is not None:
        msg = (
            "variations of jet masses are of single jets: objects of several "
            "(skim.jets.object_radius) add up four-momenta; set it to null, or leave them out"
        )
        raise ConfigError(msg)
    most = len(clusters.sizes) if several else leading
    chosen, per_event = leading_rows(
        clusters.p4, clusters.per_event, settings, most, settings.pt_min
    )
    factor = clusters.mass_factor
    return replace(
        clusters,
        per_event=per_event,
        p4=clusters.p4[:, chosen],
        sizes=clusters.sizes[chosen],
        members=clusters.members_of(chosen),
        mass_factor=None if factor is None else factor[chosen],
    )


def scaled_jets(jets: ak.Array, energy: Float64Array, mass: Float64Array) -> ak.Array:
    """Return jets of a source with their four-momenta scaled, and their constituents with them.

    Parameters
    ----------
    jets
        (event, jet) with pt, eta, phi, mass [GeV], maybe `constituents` (event, jet, particle)
        and further fields; of these `soft_drop_mass` is scaled as masses are.
    energy, mass
        (jet,) as in `scaled_clusters`.
    """
    lists = momentum_lists(jets, "jets")
    counts, flat = ak.num(lists), ak.flatten(lists)
    fields = {name: flat[name] for name in flat.fields if name not in COORDINATES}
    fields |= {"pt": flat.pt * energy, "eta": flat.eta, "phi": flat.phi}
    fields["mass"] = flat.mass * (energy * mass)
    if "constituents" in fields:
        inner = momentum_lists(flat.constituents, "constituents")
        fields["constituents"] = _scaled(inner, np.repeat(energy, ak.to_numpy(ak.num(inner))))
        if (mass != 1.0).any():
            fields["mass_factor"] = ak.Array(mass)
    for name in _MASSES & set(fields):
        fields[name] = fields[name] * (energy * mass)
    return ak.unflatten(ak.zip(fields, depth_limit=1, with_name="Momentum4D"), counts)


def _energy(momentum: Float64Array, mass: Float64Array) -> Float64Array:
    squared = (momentum**2).sum(axis=0) + mass * np.abs(mass)
    result: Float64Array = np.sqrt(np.maximum(squared, 0.0))
    return result


def _scaled(particles: ak.Array, factor: Float64Array) -> ak.Array:
    """Return packed lists of four-momenta with everything that has a unit of energy scaled."""
    layout = particles.layout
    record = layout.content
    contents = [
        ak.contents.NumpyArray(np.asarray(content.data) * factor) if name in WITH_UNITS else content
        for name, content in zip(record.fields, record.contents, strict=True)
    ]
    scaled = ak.contents.RecordArray(
        contents, record.fields, length=len(record), parameters=record.parameters
    )
    return ak.Array(
        ak.contents.ListOffsetArray(layout.offsets, scaled), behavior=particles.behavior
    )
