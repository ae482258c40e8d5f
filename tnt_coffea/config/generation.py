"""Settings of generated events: signal, shower, detector."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from tnt_coffea.config.settings import Fraction, Positive, Settings

__all__ = ["DetectorSettings", "GenerateSettings", "ShowerSettings", "SignalModel"]


_MOST = 100_000_000
"""Events: a year of one core each; more is a slip."""


class SignalModel(StrEnum):
    """Decays of the resonance; `generator/processes.py` has the settings of each."""

    TWO_PRONG = "two-prong"
    THREE_PRONG = "three-prong"
    GRAVITON = "graviton"


class ShowerSettings(Settings):
    """PYTHIA's tune, parton densities and showers: the rows of arXiv:2101.08320, table 1."""

    tune: int = Field(14, ge=-1, description="Tune:pp; 14 is Monash")
    pdf: int = Field(13, ge=1, description="PDF:pSet, set after the tune; 13 is NNPDF2.3 LO")
    alpha_s: Fraction = Field(0.1365, description="alphaSvalue of both showers, at the Z mass")
    renorm_factor: Positive = Field(1.0, description="renormMultFac of both showers")
    factor_factor: Positive = Field(1.0, description="factorMultFac of both showers")
    time_pt_max_match: int = Field(
        1, ge=0, le=2, description="TimeShower:pTmaxMatch; 2 is a power shower"
    )
    space_pt_max_match: int = Field(
        0, ge=0, le=2, description="SpaceShower:pTmaxMatch; 2 is a power shower"
    )


class DetectorSettings(Settings):
    """Variations of the CMS card, as factors on its formulae."""

    track_efficiency: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="on the efficiency of charged hadrons"
    )
    track_resolution: Positive = Field(1.0, description="on the resolution of charged hadrons")
    hcal_resolution: Positive = Field(1.0, description="on the HCAL's energy resolution")


class GenerateSettings(Settings):
    """LHC-Olympics-like events: a resonance that decays to jets on QCD dijets at 13 TeV."""

    background: int = Field(
        10_000, ge=0, le=_MOST, description="QCD dijet events; if blind, all events"
    )
    signal: int = Field(310, ge=0, le=_MOST, description="signal events; if blind, drawn")
    model: SignalModel = Field(
        SignalModel.TWO_PRONG, description="two-prong, three-prong (X, Y -> qqq) or graviton"
    )
    resonance_mass: Positive = Field(3500.0, description="mass of the W' or graviton [GeV]")
    heavy_mass: Positive = Field(500.0, description="mass of X, or of the graviton's R [GeV]")
    light_mass: Positive = Field(100.0, description="mass of Y [GeV]")
    resonance_width: Positive = Field(0.01, description="width of the resonance over its mass")
    daughter_width: float = Field(
        0.0,
        ge=0,
        description="width of X, Y and R over their mass; 0: a W's, Z's (1 % for others)",
    )
    dijet_share: float = Field(
        0.375, ge=0, le=1, description="share of gravitons that decay to gg, not to R g"
    )
    leading_pt: Positive = Field(1200.0, description="trigger: R = 1 jet above this pT [GeV]")
    pt_hat_min: float = Field(
        0.0, ge=0, description="least pT of the hard QCD scattering [GeV]; 0: 2/3 of leading_pt"
    )
    block: int = Field(250, ge=1, le=1_000_000, description="accepted events a seeded block makes")
    hidden: bool = Field(False, description="no truth bit: truth goes to key.json beside the file")
    blind: bool = Field(
        False, description="signal, shower and detector are drawn from the seed; see docs/data.md"
    )
    mantissa_bits: int = Field(
        23, ge=12, le=23, description="bits kept of every pT, eta and phi; 23 keeps all"
    )
    shower: ShowerSettings = ShowerSettings()
    detector: DetectorSettings = DetectorSettings()

    @model_validator(mode="after")
    def _blind_is_hidden(self) -> Self:
        if self.blind and not self.hidden:
            msg = "blind needs hidden: true, a drawn box with a truth bit is not blind"
            raise ValueError(msg)
        return self
