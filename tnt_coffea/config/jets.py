"""Settings of jets: clustering, images, substructure."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from tnt_coffea.config.settings import Fraction, Positive, Settings

__all__ = [
    "EVENT_OBSERVABLES",
    "JET_OBSERVABLES",
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


JET_OBSERVABLES = (
    *("pt", "eta", "phi", "mass", "rescaled_mass", "n_constituents", "soft_drop_mass"),
    *("subjet1_pt", "subjet1_mass", "subjet2_pt", "subjet2_mass"),
    *("subjet3_pt", "subjet3_mass", "subjet4_pt", "subjet4_mass"),
    *("pt_sum", "mass_drop_sum", "n_subjets_inclusive", "n_subjets_exclusive"),
    *("energy", "n_subjets_wide"),
    *(f"delta_r{pair}" for pair in ("12", "13", "14", "23", "24", "34")),
    *(f"ring{k}" for k in range(10)),
    "tau1_width",
    *(f"tau{n}{beta}" for beta in _BETAS for n in range(1, 10)),
    *(f"tau{n + 1}{n}{beta}" for beta in _BETAS for n in range(1, 9)),
)


EVENT_OBSERVABLES = ("delta_eta", "delta_phi", "pt_balance", "m_jjj", "m_multijet")
