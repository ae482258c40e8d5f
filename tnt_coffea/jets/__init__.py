"""Pure kernels from constituents to jets, dijets, observables and images."""

from __future__ import annotations

from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.dijets import dijet_columns, find_dijets
from tnt_coffea.jets.images import SparseImages, jet_images, sparse_images
from tnt_coffea.jets.substructure import Axes, n_subjettiness, subjettiness_ratio

__all__ = [
    "Axes",
    "SparseImages",
    "cluster",
    "dijet_columns",
    "find_dijets",
    "jet_images",
    "n_subjettiness",
    "sparse_images",
    "subjettiness_ratio",
]
