"""Settings of a search: one frozen model a stage, joined in `SearchConfig`.

A setting's unit stands in its description. What changes a stage's output is in
that stage's model and therefore in its digest; executor, paths and verbosity
are in none.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from tnt_coffea.errors import ConfigError
from tnt_coffea.settings_text import COMPLETE, SettingsText, commented

__all__ = [
    "EVENT_OBSERVABLES",
    "JET_OBSERVABLES",
    "AbcdSettings",
    "Autoencoder",
    "AutoencoderSettings",
    "Axes",
    "BackgroundFamily",
    "BumpSettings",
    "FitSettings",
    "FoldSettings",
    "GenerateSettings",
    "ImageChannel",
    "ImageSettings",
    "JetAlgorithm",
    "JetOrder",
    "JetSettings",
    "JetsFrom",
    "MassRange",
    "OptimizerSettings",
    "SearchConfig",
    "SearchSettings",
    "Settings",
    "SignalKind",
    "SkimSettings",
    "SourceSettings",
    "SubstructureSettings",
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


class JetOrder(StrEnum):
    """Which of the two leading jets comes first and is called heavy."""

    MASS = "mass"
    PT = "pt"
    RANDOM = "random"


class _Grown(Settings):
    """Settings that gained fields after the first taggers and skims had been written.

    Such a field is left out of the JSON at its default: cards, digests and stages from
    before it stay what they are. `to_yaml` writes it all the same.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _as_before(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if info.context == COMPLETE:
            return values
        fields = type(self).model_fields
        return {
            name: value
            for name, value in values.items()
            if name not in self.LATER or getattr(self, name) != fields[name].default
        }


class JetSettings(_Grown):
    """Clustering and the choice of the dijet."""

    LATER = frozenset({"eta_max", "order", "order_seed"})

    algorithm: JetAlgorithm = Field(JetAlgorithm.ANTIKT, description="clustering algorithm")
    radius: Positive = Field(1.0, description="jet radius R")
    pt_min: Positive = Field(20.0, description="lowest jet pT kept [GeV]")
    eta_max: Positive | None = Field(None, description="largest abs(eta) of a jet; null: any")
    trigger_pt: float = Field(
        0.0, ge=0, description="lowest pT of the leading jet [GeV]; 0 where the data are triggered"
    )
    order: JetOrder = Field(
        JetOrder.MASS, description="what makes one of the two leading jets the heavy one"
    )
    order_seed: int = Field(0, ge=0, description="seed of the coin where the order is random")


class ImageChannel(StrEnum):
    """What a pixel adds up."""

    PT = "pt"
    MULTIPLICITY = "multiplicity"


class ImageSettings(_Grown):
    """Jet images, arXiv:2002.12376, section 3.1: every step can be switched off."""

    LATER = frozenset({"channels"})

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
    """N-subjettiness axes by FastJet-contrib's names; its binding ignores unknown ones silently."""

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


_BETAS = ("", "_beta05", "_beta2")
JET_OBSERVABLES = (
    *("pt", "eta", "phi", "mass", "rescaled_mass", "n_constituents", "soft_drop_mass"),
    *("subjet1_pt", "subjet1_mass", "subjet2_pt", "subjet2_mass"),
    *("subjet3_pt", "subjet3_mass", "subjet4_pt", "subjet4_mass"),
    "tau1_width",
    *(f"tau{n}{beta}" for beta in _BETAS for n in range(1, 10)),
    *(f"tau{n + 1}{n}{beta}" for beta in _BETAS for n in range(1, 9)),
)
"""Observables of a jet that a skim can hold; `jets.observables` says what each of them is."""
EVENT_OBSERVABLES = ("delta_eta", "delta_phi", "pt_balance", "m_jjj")
"""Observables of an event that a skim can hold beside m_jj."""


class JetsFrom(StrEnum):
    """Where the jets of a source come from that holds both particles and jets."""

    PARTICLES = "particles"
    FILE = "file"


class SourceSettings(Settings):
    """Choices that a source leaves; sources that do not leave one ignore it."""

    jets: JetsFrom = Field(
        JetsFrom.PARTICLES,
        description="cluster the particles, or take the large-radius jets of the file",
    )
    puppi: bool = Field(True, description="scale particles by their PUPPI weights, where present")


class SkimSettings(_Grown):
    """From particles to dijets, observables and images."""

    LATER = frozenset({"observables", "source", "substructure"})

    source: SourceSettings = SourceSettings()
    jets: JetSettings = JetSettings()
    images: ImageSettings | None = Field(
        ImageSettings(), description="the image of either jet; null: no images"
    )
    observables: tuple[str, ...] = Field(
        ("pt", "eta", "phi", "mass", "tau21", "n_constituents"),
        description="columns of either jet and of the event, beside m_jj",
    )
    substructure: SubstructureSettings = SubstructureSettings()

    @field_validator("observables")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in (*JET_OBSERVABLES, *EVENT_OBSERVABLES)]
        if unknown:
            plain = [name for name in JET_OBSERVABLES if not name.startswith("tau")]
            msg = (
                f"unknown {unknown}; known are {', '.join((*plain, *EVENT_OBSERVABLES))}, "
                "tau1_width, tau1 to tau9 and the ratios tau21 to tau98, "
                "which also come with _beta05 and _beta2"
            )
            raise ValueError(msg)
        if len(set(names)) != len(names):
            msg = f"an observable is named twice in {list(names)}"
            raise ValueError(msg)
        return names

    @model_validator(mode="after")
    def _subjets(self) -> Self:
        asked = max(
            (int(name[6]) for name in self.observables if name.startswith("subjet")), default=0
        )
        if asked > self.substructure.subjets:
            msg = f"subjet{asked} is asked for; substructure.subjets is {self.substructure.subjets}"
            raise ValueError(msg)
        return self

    @property
    def leading_jets(self) -> int:
        """How many jets of an event the observables look at."""
        return 3 if "m_jjj" in self.observables else 2

    @property
    def of_jet(self) -> tuple[str, ...]:
        """The observables of either jet, in their order."""
        return tuple(name for name in self.observables if name in JET_OBSERVABLES)

    @property
    def of_event(self) -> tuple[str, ...]:
        """The observables of the event beside m_jj, in their order."""
        return tuple(name for name in self.observables if name in EVENT_OBSERVABLES)


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

    window: MassRange = Field(
        MassRange(low=3300.0, high=3700.0), description="where the resonance is looked for in m_jj"
    )
    fit_range: MassRange = Field(
        MassRange(low=2600.0, high=7000.0), description="m_jj that is fitted, window included"
    )
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


class BackgroundFamily(StrEnum):
    """Families of smooth backgrounds fit for a search."""

    DIJET = "dijet"
    EXPONENTIAL = "exponential"
    POWER_LAW = "power_law"
    BERNSTEIN = "bernstein"


class SignalKind(StrEnum):
    """Shapes of a resonance."""

    GAUSSIAN = "gaussian"
    DOUBLE_CRYSTAL_BALL = "double_crystal_ball"


class BumpSettings(_Grown):
    """Bump hunt at one mass hypothesis."""

    LATER = frozenset(
        {
            "envelope",
            "family",
            "lower_edges",
            "scale_uncertainty",
            "shape",
            "toys",
            "width_uncertainty",
        }
    )

    mass: Positive = Field(3500.0, description="mean of the signal in m_jj [GeV]")
    width: Positive = Field(120.0, description="Gaussian width of the signal in m_jj [GeV]")
    bin_width: Positive = Field(40.0, description="bins of the fit [GeV]")
    efficiency: Fraction = Field(0.03, description="selection whose spectrum is fitted")
    family: BackgroundFamily = Field(
        BackgroundFamily.DIJET, description="family of the background functions"
    )
    envelope: tuple[BackgroundFamily, ...] = Field(
        (), description="further families to profile over"
    )
    min_parameters: int = Field(3, ge=2, le=4, description="fewest of the background function")
    max_parameters: int = Field(4, ge=2, le=4, description="most of the background function")
    f_test: Fraction = Field(0.05, description="p below which one more parameter is taken")
    lower_edges: tuple[Positive, ...] = Field(
        (), description="lower edges of the fit to choose from by fit quality [GeV]; none: as set"
    )
    shape: SignalKind = Field(SignalKind.GAUSSIAN, description="shape of the signal")
    scale_uncertainty: float = Field(
        0.0, ge=0, description="relative uncertainty of the signal's mass"
    )
    width_uncertainty: float = Field(
        0.0, ge=0, description="relative uncertainty of the signal's width"
    )
    toys: int = Field(0, ge=0, description="background-only toys for the p-value; 0: asymptotic")


class AbcdSettings(Settings):
    """Background of the doubly tagged region from the other three."""

    efficiency: Fraction = Field(0.1, description="selection that defines 'pass'")
    systematic: Fraction = Field(0.03, description="least relative closure uncertainty")
    closure_limit: Positive = Field(
        0.5, description="largest |closure factor - 1| with which the estimate is given"
    )


class ScanSettings(Settings):
    """Bump hunts over masses, with the settings of `bump` otherwise."""

    masses: tuple[Positive, ...] = Field((), description="masses to test [GeV], rising; none: off")
    toys: int = Field(1000, ge=0, description="background-only toys of the scan for the global p")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(high <= low for low, high in itertools.pairwise(self.masses)):
            msg = f"masses must rise, got {list(self.masses)}"
            raise ValueError(msg)
        return self


class FitSettings(_Grown):
    """From histograms to p-values."""

    LATER = frozenset({"scan"})

    bump: BumpSettings = BumpSettings()
    abcd: AbcdSettings = AbcdSettings()
    scan: ScanSettings = ScanSettings()


class GenerateSettings(Settings):
    """LHC-Olympics-like events: W' -> X Y -> four quarks on QCD dijets at 13 TeV."""

    background: int = Field(10_000, ge=0, description="QCD dijet events")
    signal: int = Field(310, ge=0, description="signal events")
    resonance_mass: Positive = Field(3500.0, description="mass of the W' [GeV]")
    heavy_mass: Positive = Field(500.0, description="mass of X [GeV]")
    light_mass: Positive = Field(100.0, description="mass of Y [GeV]")
    leading_pt: Positive = Field(1200.0, description="trigger: R = 1 jet above this pT [GeV]")
    block: int = Field(250, ge=1, description="accepted events a seeded block makes")


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
