"""BuHuLaSpa: one learned number of an event, given its mass."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.latent_mass import (
    LatentMass,
    encoded_features,
    evenness,
    latent_loss,
)
from tnt_coffea.training.method import Job, Method, Scope, Scorer
from tnt_coffea.training.orientation import Orientation, skewness
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels, check_weights

__all__ = ["AdadeltaSettings", "Buhulaspa"]

_FEWEST = 100


class AdadeltaSettings(OptimizerSettings):
    """Adadelta at Keras' constants; patience counts epochs without more even errors.

    Examples
    --------
    >>> AdadeltaSettings().kind, AdadeltaSettings(kind="adam").model_dump()["kind"]
    ('adadelta', 'adam')
    """

    # Stored always, as it is not the kind of the base.
    kind: Literal["adam", "adadelta"] = Field("adadelta", description="adam or adadelta")
    decay: float = Field(0.0, ge=0, description="learning rate / (1 + decay * step)")
    batch: int = Field(128, ge=1, description="events per step")
    patience: int = Field(10, ge=1, description="epochs without a smaller variance of the errors")


class Buhulaspa(Method):
    """Variational autoencoder with one learned number z, whose decoder is given the mass.

    Assumes that z is left with what background has in common beside the mass, and that an anomaly
    makes its longer tail.

    Source: arXiv:2101.08320, section 3.3; arXiv:2103.06595.

    Examples
    --------
    >>> method = Buhulaspa(score="distance", optimizer={"kind": "adam"})
    >>> method.scopes, method.reads.window, method.optimizer.batch
    (('event',), False, 128)
    """

    kind: Literal["buhulaspa"] = "buhulaspa"
    features: tuple[str, ...] = Field(
        ("mass", "tau21", "tau32", "mass_drop_sum"),
        min_length=1,
        description="columns or expressions of them, without the mass of the search",
    )
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (100, 100), description="nodes of the encoder's hidden layers, and of the decoder's"
    )
    reconstruction: Positive = Field(
        5000.0, description="weight of the mean squared error; that of the divergence is 1"
    )
    mass_noise: float = Field(
        0.1, ge=0, description="relative width of the mass that the decoder is given in training"
    )
    give_mass: bool = Field(True, description="false: the decoder is not given it, a control")
    score: Literal["oriented", "distance"] = Field(
        "oriented",
        description="oriented: z less its median, along its longer tail; distance: its modulus",
    )
    epochs: int = Field(100, ge=1, description="most epochs")
    optimizer: AdadeltaSettings = Field(AdadeltaSettings(), description="Adadelta, or Adam")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "skewness, or distance from the median"

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        encoded_features(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the encoder, with the side of its number that is anomalous."""
        data = job.data
        check_weights(data.weight, "a loss")
        network = LatentMass.of(self.features, job.scope, data, layers=self.layers, seed=job.seed)
        used = int(((data.mass > 0) & (data.weight > 0)).sum())
        if used < _FEWEST:
            msg = f"{used} events to train on, at least {_FEWEST} are needed: use more events"
            raise TrainingError(msg)
        every = SampleClass("events", data, data.mass > 0, 0.0)
        history = job.fit(
            network.trained(mass_noise=self.mass_noise, seed=job.seed, give_mass=self.give_mass),
            network.shown.input,
            WeakLabels((every,)),
            epochs=self.epochs,
            optimizer=self.optimizer,
            loss=latent_loss(self.reconstruction),
            merit=evenness,
        )
        z = network.z(data)
        rule = Orientation.by_skewness if self.score == "oriented" else Orientation.by_distance
        orientation = rule(z, data.weight)
        notes = {"median": orientation.middle, "skewness": skewness(z, data.weight)}
        return Scorer(
            network.scored(orientation),
            (network.features.input,),
            history.to_dict() | {"events": len(every)},
            history.summary() | notes,
            seconds=history.seconds,
        )
