"""Settings of networks: autoencoders, classifiers, and how they are fitted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from tnt_coffea.config.settings import Fraction, Grown, Positive, Settings

__all__ = [
    "AugmentationSettings",
    "Autoencoder",
    "AutoencoderSettings",
    "ClassifierInput",
    "ClassifierSettings",
    "Network",
    "OptimizerSettings",
]


class Autoencoder(StrEnum):
    """Kinds of first tagger."""

    LINEAR = "linear"
    DENSE = "dense"
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


class AutoencoderSettings(Grown):
    """The first tagger, trained on all jets of a sample."""

    LATER = frozenset({"kl_weight", "keep"})

    kind: Autoencoder = Field(
        Autoencoder.LINEAR, description="linear, dense, convolutional or variational"
    )
    latent: int = Field(6, ge=1, description="size of the latent space")
    epochs: int = Field(30, ge=1, description="most epochs; the linear kind has none")
    kl_weight: Positive = Field(1e-4, description="variational: weight of the divergence")
    keep: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0,),
        min_length=1,
        description="networks, by the share of a batch that each learns from: the jets it "
        "describes best",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind is Autoencoder.LINEAR and self.keep != (1.0,):
            msg = (
                "keep is for autoencoders that are trained in batches; the linear one is not, "
                "so drop it or choose another kind"
            )
            raise ValueError(msg)
        return self


class Network(StrEnum):
    """What tells signal-rich from background-rich."""

    CONVOLUTIONAL = "convolutional"
    DENSE = "dense"
    TREES = "trees"
    PARTICLE_FLOW = "particle_flow"


class ClassifierInput(StrEnum):
    """What a classifier sees of a jet."""

    IMAGE = "image"
    FEATURES = "features"
    BOTH = "both"
    CONSTITUENTS = "constituents"

    @property
    def has_image(self) -> bool:
        """Whether images are shown."""
        return self in (ClassifierInput.IMAGE, ClassifierInput.BOTH)

    @property
    def has_features(self) -> bool:
        """Whether features are shown."""
        return self in (ClassifierInput.FEATURES, ClassifierInput.BOTH)


_FEEDS = {
    Network.CONVOLUTIONAL: (ClassifierInput.IMAGE, ClassifierInput.BOTH),
    Network.DENSE: (ClassifierInput.FEATURES,),
    Network.TREES: (ClassifierInput.FEATURES,),
    Network.PARTICLE_FLOW: (ClassifierInput.CONSTITUENTS,),
}


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
        description="convolutional, dense, trees or particle_flow",
    )
    input: ClassifierInput = Field(
        ClassifierInput.IMAGE, description="image, features, both or constituents"
    )
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
        if self.input not in _FEEDS[self.network]:
            takes = " or ".join(_FEEDS[self.network])
            msg = f"network {self.network} cannot be fed with {self.input}, it takes {takes}"
            raise ValueError(msg)
        if self.input is ClassifierInput.CONSTITUENTS and self.augmentation.active:
            msg = "augmentation changes images, and a network of constituents has none; drop it"
            raise ValueError(msg)
        return self
