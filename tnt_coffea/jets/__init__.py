"""Pure kernels from constituents to jets, dijets, observables and images."""

from __future__ import annotations

from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.dijets import find_dijets, select_dijets
from tnt_coffea.jets.frames import Framed, LeadingConstituents, framed, leading_constituents
from tnt_coffea.jets.grooming import soft_drop_mass
from tnt_coffea.jets.images import SparseImages, jet_images, sparse_images
from tnt_coffea.jets.observables import dijet_columns
from tnt_coffea.jets.substructure import (
    Axes,
    exclusive_subjets,
    n_subjettiness,
    subjettiness_ratio,
    subjettiness_table,
)

__all__ = [
    "Axes",
    "Framed",
    "LeadingConstituents",
    "SparseImages",
    "cluster",
    "dijet_columns",
    "exclusive_subjets",
    "find_dijets",
    "framed",
    "jet_images",
    "leading_constituents",
    "n_subjettiness",
    "select_dijets",
    "soft_drop_mass",
    "sparse_images",
    "subjettiness_ratio",
    "subjettiness_table",
]
