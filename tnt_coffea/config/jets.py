"""Settings of jets: clustering, images, substructure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from tnt_coffea.config.settings import Fraction, Positive, Settings

__all__ = [
    "ENERGY_FLOW_GRAPHS",
    "EVENT_OBSERVABLES",
    "JET_OBSERVABLES",
    "OBSERVABLE_GROUPS",
    "Axes",
    "Branches",
    "EventImageSettings",
    "ImageChannel",
    "ImageSettings",
    "JetAlgorithm",
    "JetOrder",
    "JetSettings",
    "SequenceSettings",
    "SplittingSettings",
    "SubstructureSettings",
    "ungrouped",
]


class JetAlgorithm(StrEnum):
    """Sequential clustering algorithms, by their FastJet names."""

    ANTIKT = "antikt"
    CAMBRIDGE = "cambridge"
    KT = "kt"


class JetOrder(StrEnum):
    """Which of the two leading jets comes first and is called heavy."""

    MASS = "mass"
    PT = "pt"
    RANDOM = "random"


class JetSettings(Settings):
    """Clustering and the choice of the dijet."""

    algorithm: JetAlgorithm = Field(JetAlgorithm.ANTIKT, description="clustering algorithm")
    radius: Positive = Field(1.0, description="jet radius R")
    pt_min: Positive = Field(20.0, description="lowest jet pT kept [GeV]")
    eta_max: Positive | None = Field(None, description="largest abs(eta) of a jet; null: any")
    trigger_pt: float = Field(
        0.0, ge=0, description="lowest pT of the leading jet [GeV]; 0 where the data are triggered"
    )
    object_radius: Positive | None = Field(
        None,
        description="largest Delta R at which a further jet becomes part of the nearer one of the "
        "two leading jets; null: an object is one jet",
    )
    order: JetOrder = Field(
        JetOrder.MASS, description="what makes one of the two leading jets the heavy one"
    )
    order_seed: int = Field(
        0, ge=0, lt=2**63, description="seed of the coin where the order is random"
    )


class ImageChannel(StrEnum):
    """The quantity that a pixel adds up."""

    PT = "pt"
    MULTIPLICITY = "multiplicity"


class ImageSettings(Settings):
    """Jet images, arXiv:2002.12376, section 3.1: every step can be switched off."""

    pixels: int = Field(40, ge=2, le=256, description="pixels along each side")
    half_width: Positive = Field(0.7, description="image covers +- this in eta and phi")
    centre: bool = Field(True, description="put the pT-weighted centroid at the origin")
    rotate: bool = Field(True, description="turn the principal axis to 12 o'clock")
    flip: bool = Field(True, description="reflect the hardest constituent into the upper left")
    normalise: bool = Field(True, description="divide every channel by the sum of its pixels")
    channels: tuple[ImageChannel, ...] = Field(
        (ImageChannel.PT,), description="layers of the image; pT is the first"
    )

    @model_validator(mode="after")
    def _channels(self) -> Self:
        if self.channels[:1] != (ImageChannel.PT,) or len(set(self.channels)) != len(self.channels):
            msg = f"channels must start with pt and name each once, got {list(self.channels)}"
            raise ValueError(msg)
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, row, column)."""
        return len(self.channels), self.pixels, self.pixels


class Axes(StrEnum):
    """N-subjettiness axes by FastJet-contrib's names; its binding ignores unknown ones silently.

    Examples
    --------
    >>> Axes.WTA_KT.value
    'WTA_KT_Axes'
    """

    KT = "KT_Axes"
    WTA_KT = "WTA_KT_Axes"
    ONE_PASS_KT = "OnePass_KT_Axes"
    ONE_PASS_WTA_KT = "OnePass_WTA_KT_Axes"


class SubstructureSettings(Settings):
    """How the substructure observables are computed."""

    axes: Axes = Field(Axes.WTA_KT, description="axes of N-subjettiness")
    soft_drop_beta: float = Field(0.0, ge=-10, le=10, description="angular exponent of soft drop")
    soft_drop_zcut: Fraction = Field(0.1, description="least momentum share of soft drop")
    subjets: int = Field(2, ge=1, le=4, description="exclusive kt subjets that a jet is split into")


class SequenceSettings(Settings):
    """The leading anti-kt jets of the event, clustered for this alone."""

    radius: Positive = Field(0.7, description="jet radius R")
    jets: int = Field(10, ge=1, le=100, description="leading jets that are kept")
    pt_min: Positive = Field(20.0, description="lowest jet pT kept [GeV]")


class Branches(StrEnum):
    """Which branches of a jet are followed when its clustering is undone."""

    ALL = "all"
    HARDER = "harder"


class SplittingSettings(Settings):
    """The splittings of a jet by Cambridge/Aachen, arXiv:2101.08320, section 3.6.

    The defaults are those of its mass basis; its Lund basis is `branches: harder, mass_min: 0`.
    """

    most: int = Field(30, ge=1, le=1000, description="splittings kept of a jet, those undone first")
    branches: Branches = Field(
        Branches.ALL, description="all branches, or the harder one alone: the primary Lund plane"
    )
    mass_min: float = Field(30.0, ge=0, description="lowest mass of what splits [GeV]")


class EventImageSettings(Settings):
    """The image of all particles of an event, arXiv:2101.08320, section 5.1."""

    pixels: int = Field(64, ge=2, le=256, description="pixels along each side")
    eta_max: Positive = Field(5.0, description="image covers +- this in eta, and all of phi")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, row, column)."""
        return 1, self.pixels, self.pixels


_BETAS = ("", "_beta05", "_beta2")


ENERGY_FLOW_GRAPHS = {
    "efp_1_0_0": "",
    "efp_2_1_0": "ab",
    "efp_2_2_0": "ab ab",
    "efp_3_2_0": "ab ac",
    "efp_2_3_0": "ab ab ab",
    "efp_3_3_0": "ab ac ac",
    "efp_3_3_1": "ab ac bc",
    "efp_4_3_0": "ab ac ad",
    "efp_4_3_1": "ab ac bd",
    "efp_2_4_0": "ab ab ab ab",
    "efp_3_4_0": "ab ac ac ac",
    "efp_3_4_1": "ab ab ac ac",
    "efp_3_4_2": "ab ac ac bc",
    "efp_4_4_0": "ab ac ac ad",
    "efp_4_4_1": "ab ac ac bd",
    "efp_4_4_2": "ab ab ac bd",
    "efp_4_4_3": "ab ac ad bc",
    "efp_4_4_4": "ab ac bd cd",
    "efp_5_4_0": "ab ac ad ae",
    "efp_5_4_1": "ab ac ad be",
    "efp_5_4_2": "ab ac bd ce",
    "efp_2_5_0": "ab ab ab ab ab",
    "efp_3_5_0": "ab ab ab ab ac",
    "efp_3_5_1": "ab ab ab ac ac",
    "efp_3_5_2": "ab ac bc bc bc",
    "efp_3_5_3": "ab ac ac bc bc",
    "efp_4_5_0": "ab ac ad ad ad",
    "efp_4_5_1": "ab ac ac ad ad",
    "efp_4_5_2": "ab ac bd bd bd",
    "efp_4_5_3": "ab ab ab ac bd",
    "efp_4_5_4": "ab ac ac bd bd",
    "efp_4_5_5": "ab ab ac ac bd",
    "efp_4_5_6": "ab ac ad bc bc",
    "efp_4_5_7": "ab ab ac ad bc",
    "efp_4_5_8": "ab ac ad ad bc",
    "efp_4_5_9": "ab ac bd bd cd",
    "efp_4_5_10": "ab ac ad bc bd",
    "efp_5_5_0": "ab ac ad ad ae",
    "efp_5_5_1": "ab ac ad ad be",
    "efp_5_5_2": "ab ab ac ad be",
    "efp_5_5_3": "ab ac ad be be",
    "efp_5_5_4": "ab ac bd bd ce",
    "efp_5_5_5": "ab ab ac bd ce",
    "efp_5_5_6": "ab ac ad ae bc",
    "efp_5_5_7": "ab ac ad bc be",
    "efp_5_5_8": "ab ac ad bc de",
    "efp_5_5_9": "ab ac ae bd cd",
    "efp_5_5_10": "ab ac bd ce de",
    "efp_6_5_0": "ab ac ad ae af",
    "efp_6_5_1": "ab ac ad ae bf",
    "efp_6_5_2": "ab ac ad be bf",
    "efp_6_5_3": "ab ac ad be cf",
    "efp_6_5_4": "ab ac ad be ef",
    "efp_6_5_5": "ab ac bd ce df",
}
"""The connected multigraphs of at most five edges by the names of their energy flow polynomials.

`efp_3_4_1` has 3 vertices, 4 edges and the number 1 among those with as many: n, d and k of
EnergyFlow 1.4's `EFPSet`. A graph is its edges, each as its two vertices.

Source: arXiv:1712.07124, equation 1.1; as many of each number of edges as OEIS A076864 has.
"""


OBSERVABLE_GROUPS = {
    "subjettiness": tuple(f"tau{n}{beta}" for beta in _BETAS for n in range(1, 10)),
    "energy_flow": tuple(ENERGY_FLOW_GRAPHS)[1:],
}
"""Observables of a jet that one name stands for; the polynomial of a single vertex is always 1."""


def ungrouped(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of observables or features, each of `OBSERVABLE_GROUPS` as what it stands for.

    Examples
    --------
    >>> len(ungrouped(["mass", "subjettiness"])), len(ungrouped(["energy_flow"]))
    (28, 53)
    """
    return tuple(one for name in names for one in OBSERVABLE_GROUPS.get(name, (name,)))


JET_OBSERVABLES = (
    *("pt", "eta", "phi", "mass", "rescaled_mass", "n_constituents", "soft_drop_mass"),
    *("c2", "d2"),
    *("subjet1_pt", "subjet1_mass", "subjet2_pt", "subjet2_mass"),
    *("subjet3_pt", "subjet3_mass", "subjet4_pt", "subjet4_mass"),
    *("pt_sum", "mass_drop_sum", "n_subjets_inclusive", "n_subjets_exclusive"),
    *("energy", "n_subjets_wide"),
    *(f"delta_r{pair}" for pair in ("12", "13", "14", "23", "24", "34")),
    *(f"ring{k}" for k in range(10)),
    "tau1_width",
    *OBSERVABLE_GROUPS["subjettiness"],
    *(f"tau{n + 1}{n}{beta}" for beta in _BETAS for n in range(1, 9)),
    *OBSERVABLE_GROUPS["energy_flow"],
)


EVENT_OBSERVABLES = ("delta_eta", "delta_phi", "pt_balance", "m_jjj", "m_multijet")
