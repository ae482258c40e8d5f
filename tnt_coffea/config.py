"""Settings of a search: one frozen model a stage, joined in `SearchConfig`.

A setting's unit stands in its description. What changes a stage's output is in
that stage's model and therefore in its digest; executor, paths and verbosity
are in none.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tnt_coffea.errors import ConfigError
from tnt_coffea.settings_text import SettingsText, commented

__all__ = [
    "AbcdSettings",
    "Autoencoder",
    "AutoencoderSettings",
    "BumpSettings",
    "DetectorSettings",
    "FitSettings",
    "FoldSettings",
    "GenerateSettings",
    "ImageSettings",
    "JetAlgorithm",
    "JetSettings",
    "MassRange",
    "OptimizerSettings",
    "SearchConfig",
    "SearchSettings",
    "Settings",
    "ShowerSettings",
    "SignalModel",
    "SkimSettings",
    "TntSettings",
    "TrainSettings",
]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown names, a digest of its values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return the SHA-256 of the settings as canonical JSON (64 hexadecimal digits)."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """Return the SHA-256 of any JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class MassRange(Settings):
    """A half-open range [low, high) in m_jj."""

    low: Positive = Field(description="[GeV]")
    high: Positive = Field(description="[GeV]")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            msg = f"low must be below high, got {self.low} >= {self.high}"
            raise ValueError(msg)
        return self

    @property
    def name(self) -> str:
        """The range as text, for the window axis: '3300-3700'."""
        return f"{self.low:g}-{self.high:g}"


class JetAlgorithm(StrEnum):
    """Sequential clustering algorithms, by their FastJet names."""

    ANTIKT = "antikt"
    CAMBRIDGE = "cambridge"
    KT = "kt"


class JetSettings(Settings):
    """Clustering and the choice of the dijet."""

    algorithm: JetAlgorithm = Field(JetAlgorithm.ANTIKT, description="clustering algorithm")
    radius: Positive = Field(1.0, description="jet radius R")
    pt_min: Positive = Field(20.0, description="lowest jet pT kept [GeV]")
    trigger_pt: float = Field(
        0.0, ge=0, description="lowest pT of the leading jet [GeV]; 0 where the data are triggered"
    )


class ImageSettings(Settings):
    """Jet images, arXiv:2002.12376, section 3.1: every step can be switched off."""

    pixels: int = Field(40, ge=2, le=256, description="pixels along each side")
    half_width: Positive = Field(0.7, description="image covers +- this in eta and phi")
    centre: bool = Field(True, description="put the pT-weighted centroid at the origin")
    rotate: bool = Field(True, description="turn the principal axis to 12 o'clock")
    flip: bool = Field(True, description="reflect the hardest constituent into the upper left")
    normalise: bool = Field(True, description="divide by the sum of the pixels")


class SkimSettings(Settings):
    """From particles to dijets, observables and images."""

    jets: JetSettings = JetSettings()
    images: ImageSettings = ImageSettings()


class FoldSettings(Settings):
    """Cross-validation: outer folds are scored, inner folds are tagged."""

    outer: int = Field(2, ge=2, le=20, description="outer folds K")
    inner: int = Field(4, ge=2, le=20, description="inner folds; used where K = 2")


class Autoencoder(StrEnum):
    """Kinds of first tagger."""

    LINEAR = "linear"
    CONVOLUTIONAL = "convolutional"


class OptimizerSettings(Settings):
    """Adam with inverse-time decay, as the paper's authors ran it."""

    learning_rate: Positive = Field(1e-3, description="of the first step")
    beta1: Fraction = Field(0.8, description="decay of the gradient's running mean, a step")
    beta2: Fraction = Field(0.99, description="decay of its running square, a step")
    decay: float = Field(5e-4, ge=0, description="learning rate / (1 + decay * step)")
    batch: int = Field(200, ge=1, description="jets per step")
    validation: Fraction = Field(0.1, description="share kept for early stopping")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss")


class AutoencoderSettings(Settings):
    """The first tagger, trained on all jets of a sample."""

    kind: Autoencoder = Field(Autoencoder.LINEAR, description="linear or convolutional")
    latent: int = Field(6, ge=1, description="size of the latent space")
    epochs: int = Field(30, ge=1, description="most epochs; the linear kind has none")


class TntSettings(Settings):
    """Tag N' Train, arXiv:2002.12376, sections 2 and 4.1."""

    iterations: int = Field(1, ge=1, description="label-and-train rounds")
    signal_rich: tuple[Fraction, ...] = Field(
        (0.2, 0.1), min_length=1, description="top share of the other jet; the last one repeats"
    )
    background_rich: Fraction = Field(0.4, description="lowest share of the other jet")
    mass_window: bool = Field(True, description="signal-rich events lie in the window as well")
    epochs: int = Field(40, ge=1, description="most epochs")
    pixel_scale: Positive = Field(100.0, description="factor on pixels inside the network")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if max(self.signal_rich) + self.background_rich > 1:
            msg = (
                f"signal_rich and background_rich overlap: {max(self.signal_rich)} + "
                f"{self.background_rich} is above 1"
            )
            raise ValueError(msg)
        return self


class TrainSettings(Settings):
    """Training of the taggers on the unlabelled data."""

    folds: FoldSettings = FoldSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    tnt: TntSettings = TntSettings()


class SearchSettings(Settings):
    """Where the search looks, and how much it keeps: fixed before anything is looked at."""

    window: MassRange = MassRange(low=3300.0, high=3700.0)
    fit_range: MassRange = MassRange(low=2600.0, high=7000.0)
    efficiencies: tuple[Fraction, ...] = Field(
        (0.3, 0.1, 0.03), min_length=1, description="shares of events with both jets above X"
    )
    background_quantile: Fraction = Field(
        0.4, description="both-jet quantile below which the ABCD regions are 'low'"
    )
    m_jj: MassRange = Field(
        MassRange(low=2000.0, high=8000.0), description="range of the stored histogram"
    )
    bin_width: Positive = Field(20.0, description="bins of the stored histogram in m_jj [GeV]")


class BumpSettings(Settings):
    """Bump hunt at one mass hypothesis."""

    mass: Positive = Field(3500.0, description="mean of the signal in m_jj [GeV]")
    width: Positive = Field(120.0, description="Gaussian width of the signal in m_jj [GeV]")
    bin_width: Positive = Field(40.0, description="bins of the fit [GeV]")
    efficiency: Fraction = Field(0.03, description="selection whose spectrum is fitted")
    min_parameters: int = Field(3, ge=2, le=4, description="fewest of the dijet function")
    max_parameters: int = Field(4, ge=2, le=4, description="most of the dijet function")
    f_test: Fraction = Field(0.05, description="p below which one more parameter is taken")


class AbcdSettings(Settings):
    """Background of the doubly tagged region from the other three."""

    efficiency: Fraction = Field(0.1, description="selection that defines 'pass'")
    systematic: Fraction = Field(0.03, description="least relative closure uncertainty")
    closure_limit: Positive = Field(
        0.5, description="largest |closure factor - 1| with which the estimate is given"
    )


class FitSettings(Settings):
    """From histograms to p-values."""

    bump: BumpSettings = BumpSettings()
    abcd: AbcdSettings = AbcdSettings()


class SignalModel(StrEnum):
    """What the resonance decays to; `generator/processes.py` says how each is made."""

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

    background: int = Field(10_000, ge=0, description="QCD dijet events; if blind, all events")
    signal: int = Field(310, ge=0, description="signal events; if blind, drawn")
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
    block: int = Field(250, ge=1, description="accepted events a seeded block makes")
    hidden: bool = Field(False, description="no truth bit: truth goes to key.json beside the file")
    blind: bool = Field(
        False, description="signal, shower and detector are drawn from the seed; see docs/data.md"
    )
    shower: ShowerSettings = ShowerSettings()
    detector: DetectorSettings = DetectorSettings()

    @model_validator(mode="after")
    def _blind_is_hidden(self) -> Self:
        if self.blind and not self.hidden:
            msg = "blind needs hidden: true, a drawn box with a truth bit is not blind"
            raise ValueError(msg)
        return self


class SearchConfig(Settings):
    """Everything a search is made of, one section a stage."""

    seed: int = Field(1, ge=0, description="the one root of all random numbers")
    generate: GenerateSettings = GenerateSettings()
    skim: SkimSettings = SkimSettings()
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    fit: FitSettings = FitSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = self.search.efficiencies
        for name, wanted in (
            ("fit.bump.efficiency", self.fit.bump.efficiency),
            ("fit.abcd.efficiency", self.fit.abcd.efficiency),
        ):
            if wanted not in known:
                msg = f"{name} is {wanted}, which is not among search.efficiencies {list(known)}"
                raise ValueError(msg)
        if self.fit.bump.bin_width % self.search.bin_width:
            msg = (
                f"fit.bump.bin_width ({self.fit.bump.bin_width} GeV) must be a multiple of "
                f"search.bin_width ({self.search.bin_width} GeV)"
            )
            raise ValueError(msg)
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Return the configuration in a YAML file; what it leaves out keeps its default.

        Raises
        ------
        ConfigError
            The file cannot be read, is not YAML, or holds a wrong setting; the line is named.
        """
        path = Path(path)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            msg = f"{path}: cannot read the configuration: {reason}"
            raise ConfigError(msg) from error
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, name: str = "settings") -> Self:
        """Return the configuration in YAML text; errors as `from_yaml`, under the name given."""
        settings = SettingsText.parsed(text, name)
        try:
            return cls.model_validate(settings.values)
        except ValidationError as error:
            raise settings.complaint(error, cls()) from error

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, every setting with its meaning beside it."""
        return commented(self)
