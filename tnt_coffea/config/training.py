"""Settings of training: folds, methods, windows."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from tnt_coffea.config.networks import (
    AutoencoderSettings,
    ClassifierInput,
    ClassifierSettings,
    Network,
    OptimizerSettings,
)
from tnt_coffea.config.settings import Fraction, Grown, MassRange, Positive, Settings
from tnt_coffea.errors import ConfigError

__all__ = [
    "CwolaSettings",
    "FoldMode",
    "FoldSettings",
    "Initial",
    "InitialSettings",
    "Reweighting",
    "Spacing",
    "SupervisedSettings",
    "TntSettings",
    "TrainSettings",
    "WindowScan",
]


class FoldMode(StrEnum):
    """Which events train the taggers that score an event."""

    CROSS_VALIDATION = "cross_validation"
    PREQUENTIAL = "prequential"
    SPLIT = "split"


class FoldSettings(Grown):
    """Outer folds are scored, inner folds are tagged."""

    LATER = frozenset({"mode"})

    outer: int = Field(2, ge=2, le=20, description="outer folds K")
    inner: int = Field(4, ge=2, le=20, description="inner folds; used where one fold trains")
    mode: FoldMode = Field(
        FoldMode.CROSS_VALIDATION,
        description="who trains: cross_validation, prequential, split (docs/methods.md)",
    )


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
    MASS = "mass"
    M_JJ = "m_jj"


class TntSettings(Grown):
    """Tag N' Train, arXiv:2002.12376, sections 2 and 4.1."""

    LATER = frozenset({"classifier", "initial", "soft_labels", "shared"})

    iterations: int = Field(1, ge=1, description="label-and-train rounds")
    signal_rich: tuple[Fraction, ...] = Field(
        (0.2, 0.1), min_length=1, description="top share of the other jet; the last one repeats"
    )
    background_rich: Fraction | tuple[Fraction, ...] = Field(
        0.4, description="lowest share of the other jet, in every iteration or in each"
    )
    mass_window: bool = Field(True, description="signal-rich events lie in the window as well")
    epochs: int = Field(40, ge=1, description="most epochs")
    pixel_scale: Positive = Field(100.0, description="factor on pixels inside the network")
    classifier: ClassifierSettings = ClassifierSettings()
    initial: InitialSettings = InitialSettings()
    reweight: Reweighting = Field(
        Reweighting.MASS, description="background-rich as signal-rich in none, pt, mass, m_jj"
    )
    reweight_beside: bool = Field(
        True, description="pt and mass: as beside the window, where the signal has no part"
    )
    soft_labels: bool = Field(False, description="targets: quantiles instead of 0 and 1")
    shared: bool = Field(False, description="one network for both jets")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if self.background_rich == ():
            msg = "background_rich is empty: name at least one share"
            raise ValueError(msg)
        shares = self.signal_rich, self.background_shares
        for iteration in range(1, 1 + max(map(len, shares))):
            rich, poor = self.shares(iteration)
            if rich + poor > 1:
                msg = f"signal_rich and background_rich overlap: {rich} + {poor} is above 1"
                raise ValueError(msg)
        return self

    @property
    def measures_beside(self) -> bool:
        """Whether weights depend on the window, by what lies beside it."""
        return self.reweight_beside and self.reweight in {Reweighting.PT, Reweighting.MASS}

    @property
    def background_shares(self) -> tuple[float, ...]:
        """Background-rich shares by iteration; the last one repeats."""
        given = self.background_rich
        return given if isinstance(given, tuple) else (given,)

    def shares(self, iteration: int) -> tuple[float, float]:
        """Return the signal-rich and the background-rich share of an iteration, from 1."""
        by_iteration = self.signal_rich, self.background_shares
        rich, poor = (given[min(iteration, len(given)) - 1] for given in by_iteration)
        return rich, poor


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


class TrainSettings(Grown):
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
