"""Pure kernels from particles to jets, dijets, observables and images.

Which one when:

- Particles to dijets: `find_dijets`. Jets that a source has clustered already: `select_dijets`.
  Jets alone, for something else than a dijet: `cluster`.
- All columns of a skim, of dijets: `dijet_columns`.
- Images: `jet_images`, dense; `sparse_images` where there are many jets, of which a batch at a time
  is expanded. The hardest constituents as a list: `leading_constituents` of `framed` jets,
  or all jets boosted to one mass and energy: `aligned_jets`.
- The whole event: `event_images` of all particles; `jet_sequences`, its leading jets as a list.
- Substructure: `n_subjettiness` for one exponent, `subjettiness_table` for several at the cost of
  one, `subjettiness_ratio` for tau21 and the like; `soft_drop_mass`; `exclusive_subjets`,
  `count_subjets`, `wide_subjets`; `energy_rings`; `energy_flow_polynomials`, all correlations of
  a jet up to a degree; every splitting of a jet: `jet_splittings`, in one number `mass_drop_sum`.

Kernels of single jets take their constituents, (jet, particle) `Momentum4D` in GeV: for dijets
`ak.flatten(dijets.constituents)`.

Every kernel takes lists of records with the names of `vector`, `pt`, `eta`, `phi`, `mass` or
`px`, `py`, `pz`, `E`, of any behaviour or none (NanoAODSchema's collections too), sliced, masked,
virtual, regular or of other numbers than float64. Particles that are missing (None) are left out;
anything else is an `InputError` that says what came.
"""

from __future__ import annotations

from tnt_coffea.jets.alignment import AlignedJets, aligned_jets
from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.declustering import JetSplittings, jet_splittings, mass_drop_sum
from tnt_coffea.jets.dijets import find_dijets, select_dijets
from tnt_coffea.jets.energy_flow import energy_flow_polynomials
from tnt_coffea.jets.frames import Framed, LeadingConstituents, framed, leading_constituents
from tnt_coffea.jets.grooming import soft_drop_mass
from tnt_coffea.jets.images import SparseImages, event_images, jet_images, sparse_images
from tnt_coffea.jets.observables import dijet_columns
from tnt_coffea.jets.rings import energy_rings
from tnt_coffea.jets.sequences import JetSequences, jet_sequences
from tnt_coffea.jets.substructure import (
    Axes,
    count_subjets,
    exclusive_subjets,
    n_subjettiness,
    subjettiness_ratio,
    subjettiness_table,
    wide_subjets,
)

__all__ = [
    "AlignedJets",
    "Axes",
    "Framed",
    "JetSequences",
    "JetSplittings",
    "LeadingConstituents",
    "SparseImages",
    "aligned_jets",
    "cluster",
    "count_subjets",
    "dijet_columns",
    "energy_flow_polynomials",
    "energy_rings",
    "event_images",
    "exclusive_subjets",
    "find_dijets",
    "framed",
    "jet_images",
    "jet_sequences",
    "jet_splittings",
    "leading_constituents",
    "mass_drop_sum",
    "n_subjettiness",
    "select_dijets",
    "soft_drop_mass",
    "sparse_images",
    "subjettiness_ratio",
    "subjettiness_table",
    "wide_subjets",
]
