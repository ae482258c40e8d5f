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
    "AugmentationSettings",
    "Autoencoder",
    "AutoencoderSettings",
    "Axes",
    "BackgroundFamily",
    "BumpSettings",
    "ClassifierInput",
    "ClassifierSettings",
    "CwolaSettings",
    "DetectorSettings",
    "FitSettings",
    "FoldMode",
    "FoldSettings",
    "GenerateSettings",
    "ImageChannel",
    "ImageSettings",
    "Initial",
    "InitialSettings",
    "JetAlgorithm",
    "JetOrder",
    "JetSettings",
    "JetsFrom",
    "MassRange",
    "Network",
    "OptimizerSettings",
    "Reweighting",
    "SearchConfig",
    "SearchSettings",
    "Settings",
    "ShowerSettings",
    "SignalKind",
    "SignalModel",
    "SkimSettings",
    "SourceSettings",
    "Spacing",
    "SubstructureSettings",
    "SupervisedSettings",
    "TntSettings",
    "TrainSettings",
    "WindowScan",
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


class FoldMode(StrEnum):
    """Which events train the taggers that score an event."""

    CROSS_VALIDATION = "cross_validation"
    PREQUENTIAL = "prequential"
    SPLIT = "split"


class FoldSettings(_Grown):
    """Outer folds are scored, inner folds are tagged."""

    LATER = frozenset({"mode"})

    outer: int = Field(2, ge=2, le=20, description="outer folds K")
    inner: int = Field(4, ge=2, le=20, description="inner folds; used where one fold trains")
    mode: FoldMode = Field(
        FoldMode.CROSS_VALIDATION,
        description="who trains: cross_validation, prequential, split (docs/methods.md)",
    )


class Autoencoder(StrEnum):
    """Kinds of first tagger."""

    LINEAR = "linear"
    CONVOLUTIONAL = "convolutional"
    VARIATIONAL = "variational"


class OptimizerSettings(Settings):
    """Adam with inverse-time decay, as the paper's authors ran it."""

    learning_rate: Positive = Field(1e-3, description="of the first step")
    beta1: Fraction = Field(0.8, description="decay of the gradient's running mean, a step")
    beta2: Fraction = Field(0.99, description="decay of its running square, a step")
    decay: float = Field(5e-4, ge=0, description="learning rate / (1 + decay * step)")
    batch: int = Field(200, ge=1, description="jets per step")
    validation: Fraction = Field(0.1, description="share kept for early stopping")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss")


class AutoencoderSettings(_Grown):
    """The first tagger, trained on all jets of a sample."""

    LATER = frozenset({"kl_weight"})

    kind: Autoencoder = Field(
        Autoencoder.LINEAR, description="linear, convolutional or variational"
    )
    latent: int = Field(6, ge=1, description="size of the latent space")
    epochs: int = Field(30, ge=1, description="most epochs; the linear kind has none")
    kl_weight: Positive = Field(1e-4, description="variational: weight of the divergence")


class Network(StrEnum):
    """What tells signal-rich from background-rich."""

    CONVOLUTIONAL = "convolutional"
    DENSE = "dense"
    TREES = "trees"


class ClassifierInput(StrEnum):
    """What a classifier sees of a jet."""

    IMAGE = "image"
    FEATURES = "features"
    BOTH = "both"


class AugmentationSettings(Settings):
    """Changes of the training images that leave their class alone, arXiv:2412.00198."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest turn, either way [degrees]")
    reflection: bool = Field(False, description="mirror either axis, each every second time")
    pt_smearing: float = Field(
        0.0, ge=0, lt=1, description="relative width of a Gaussian on every pixel"
    )

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return bool(self.rotation or self.reflection or self.pt_smearing)


class ClassifierSettings(Settings):
    """Network and inputs of a classifier; the default is the paper's, on images."""

    network: Network = Field(
        Network.CONVOLUTIONAL,
        description="convolutional, dense or trees",
    )
    input: ClassifierInput = Field(ClassifierInput.IMAGE, description="image, features or both")
    features: tuple[str, ...] = Field(
        ("rescaled_mass", "tau21"),
        min_length=1,
        description="of a jet; rescaled_mass: arXiv:2101.08320, eq. 4.2",
    )
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (128, 128, 128, 128), min_length=1, description="dense: nodes of the hidden layers"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="dense: share dropped between layers")
    trees: int = Field(100, ge=1, description="trees: most boosting rounds")
    leaves: int = Field(8, ge=2, description="trees: leaves of a tree")
    shrinkage: Fraction = Field(0.1, description="trees: learning rate")
    augmentation: AugmentationSettings = AugmentationSettings()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wants_image = self.network is Network.CONVOLUTIONAL
        if wants_image != (self.input is not ClassifierInput.FEATURES):
            msg = f"network {self.network} cannot be fed with {self.input}"
            raise ValueError(msg)
        return self


class Initial(StrEnum):
    """What labels the first iteration of Tag N' Train."""

    AUTOENCODER = "autoencoder"
    FILES = "files"
    FEATURE = "feature"


class InitialSettings(Settings):
    """The first labels of Tag N' Train, arXiv:2002.12376, section 2."""

    kind: Initial = Field(Initial.AUTOENCODER, description="autoencoder, files or feature")
    heavy: str = Field("", description="files: tagger of the heavy jet, an ONNX file")
    light: str = Field("", description="files: tagger of the light jet, an ONNX file")
    independent: bool = Field(
        False, description="files: promised to be trained on none of these events"
    )
    feature: str = Field("mass", description="feature: an observable of either jet")
    descending: bool = Field(False, description="feature: low values are anomalous")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.kind is Initial.FILES and not (self.heavy and self.light):
            msg = "initial.kind 'files' needs initial.heavy and initial.light"
            raise ValueError(msg)
        return self


class Reweighting(StrEnum):
    """What of the right jet the background-rich sample is made to follow."""

    NONE = "none"
    PT = "pt"
    M_JJ = "m_jj"


class TntSettings(_Grown):
    """Tag N' Train, arXiv:2002.12376, sections 2 and 4.1."""

    LATER = frozenset({"classifier", "initial", "reweight", "soft_labels", "shared"})

    iterations: int = Field(1, ge=1, description="label-and-train rounds")
    signal_rich: tuple[Fraction, ...] = Field(
        (0.2, 0.1), min_length=1, description="top share of the other jet; the last one repeats"
    )
    background_rich: Fraction = Field(0.4, description="lowest share of the other jet")
    mass_window: bool = Field(True, description="signal-rich events lie in the window as well")
    epochs: int = Field(40, ge=1, description="most epochs")
    pixel_scale: Positive = Field(100.0, description="factor on pixels inside the network")
    classifier: ClassifierSettings = ClassifierSettings()
    initial: InitialSettings = InitialSettings()
    reweight: Reweighting = Field(
        Reweighting.NONE, description="background-rich as signal-rich in none, pt, m_jj"
    )
    soft_labels: bool = Field(False, description="targets: quantiles instead of 0 and 1")
    shared: bool = Field(False, description="one network for both jets")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if max(self.signal_rich) + self.background_rich > 1:
            msg = (
                f"signal_rich and background_rich overlap: {max(self.signal_rich)} + "
                f"{self.background_rich} is above 1"
            )
            raise ValueError(msg)
        return self


class Spacing(StrEnum):
    """How the width of a sideband is counted."""

    LINEAR = "linear"
    LOGARITHMIC = "logarithmic"


class CwolaSettings(Settings):
    """CWoLa hunting: signal region against sidebands; the default is arXiv:2002.12376's."""

    sideband: Positive = Field(0.5, description="width of either sideband, in window widths")
    spacing: Spacing = Field(Spacing.LINEAR, description="widths in m_jj or in its logarithm")
    classifier: ClassifierSettings = ClassifierSettings()
    pixel_scale: Positive = Field(100.0, description="factor on pixels inside the network")
    epochs: int = Field(30, ge=1, description="most epochs")
    batch: int | None = Field(None, ge=1, description="events per step; null: optimizer.batch")
    patience: int | None = Field(
        None, ge=1, description="epochs without a better one; null: optimizer.patience"
    )
    candidates: int = Field(1, ge=1, description="networks tried, of which the best is kept")
    choose_by_efficiency: bool = Field(
        False,
        description="epoch by efficiency on the inner fold left out, not by loss",
    )
    sideband_efficiency: Fraction = Field(0.01, description="where that efficiency is taken")

    @classmethod
    def olympics(cls) -> Self:
        """Return the settings of arXiv:2101.08320, section 4.1; folds: outer 5.

        The window is three of 16 logarithmic bins, either sideband two. tau32 belongs to
        the features where the skim holds it.
        """
        return cls(
            sideband=2 / 3,
            spacing=Spacing.LOGARITHMIC,
            classifier=ClassifierSettings(
                network=Network.DENSE,
                input=ClassifierInput.FEATURES,
                features=("rescaled_mass", "tau21", "tau32"),
            ),
            epochs=700,
            batch=5000,
            patience=250,
            candidates=3,
            choose_by_efficiency=True,
        )

    def sidebands(self, window: MassRange) -> tuple[MassRange, MassRange]:
        """Return the lower and the upper sideband of a signal region."""
        low, high = window.low, window.high
        if self.spacing is Spacing.LOGARITHMIC:
            factor = (high / low) ** self.sideband
            return MassRange(low=low / factor, high=low), MassRange(low=high, high=high * factor)
        width = self.sideband * (high - low)
        if width >= low:
            msg = f"the lower sideband of window {window.name} would begin below zero"
            raise ConfigError(msg)
        return MassRange(low=low - width, high=low), MassRange(low=high, high=high + width)


class SupervisedSettings(Settings):
    """References that are trained with the truth; no search accepts them."""

    classifier: ClassifierSettings = ClassifierSettings()
    pixel_scale: Positive = Field(100.0, description="factor on pixels inside the network")
    epochs: int = Field(40, ge=1, description="most epochs")


class WindowScan(StrEnum):
    """Sets of m_jj windows with a tagger set each."""

    SINGLE = "single"
    OLYMPICS = "olympics"
    STAGGERED = "staggered"
    CWOLA = "cwola"


class TrainSettings(_Grown):
    """Training of the taggers on the unlabelled data."""

    LATER = frozenset({"methods", "members", "windows", "cwola", "supervised"})

    folds: FoldSettings = FoldSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    tnt: TntSettings = TntSettings()
    methods: tuple[str, ...] = Field(
        ("autoencoder", "tnt"), min_length=1, description="tagger sets to train, by method"
    )
    members: int = Field(1, ge=1, description="trainings of each network, with seeds of their own")
    windows: WindowScan = Field(
        WindowScan.SINGLE,
        description="m_jj windows: single (search.window), olympics, staggered, cwola",
    )
    cwola: CwolaSettings = CwolaSettings()
    supervised: SupervisedSettings = SupervisedSettings()


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
