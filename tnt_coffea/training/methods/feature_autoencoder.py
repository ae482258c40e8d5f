"""Dense autoencoder of a few features of an event."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.fitting import OptimizerSettings, model_output
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

__all__ = ["FeatureAutoencoder"]


class FeatureAutoencoder(Method):
    """Dense autoencoder of standardised features of the event; its score is the mean squared error.

    The decoder mirrors the encoder. The default is that of PRD 104 (2021) 035003, 4-64-2-64-4;
    `layers: [64, 32, 16], latent: 1` that of arXiv:2101.08320, section 4.2. The paper trains it
    on background of the signal region (`pure` and `mass_window`), a reference. Assumes that what
    is rare is reconstructed badly; `event_norm` with the same features says what of it is
    learned.

    Source: PRD 104 (2021) 035003, section IV; arXiv:2101.08320, section 4.2.

    Examples
    --------
    >>> FeatureAutoencoder().reads.truth, FeatureAutoencoder(pure=True).reads.truth
    (False, True)
    """

    kind: Literal["feature_autoencoder"] = "feature_autoencoder"
    features: tuple[str, ...] = Field(
        ("light_mass", "mass_difference", "tau21"),
        min_length=1,
        description="columns or expressions of them",
    )
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (64,), description="nodes of the encoder's hidden layers; the decoder's are mirrored"
    )
    latent: int = Field(2, ge=1, description="size of the latent space")
    latent_activation: Literal["linear", "relu"] = Field(
        "linear", description="of the latent space; the authors' code has relu"
    )
    epochs: int = Field(30, ge=1, description="most epochs")
    mass_window: bool = Field(False, description="trained on the window alone")
    pure: bool = Field(False, description="a reference: trained on background alone, by its labels")
    optimizer: OptimizerSettings = OptimizerSettings()

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "reconstruction error"

    @property
    def reads(self) -> Reads:
        """The truth and the window where it is trained on a part of the events."""
        return Reads(truth=self.pure, window=self.mass_window)

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the autoencoder of the events."""
        shown = job.in_window if self.mass_window else np.ones(len(job.data), dtype=np.bool_)
        if self.pure:
            if (job.data.label < 0).any():
                msg = f"{self.kind} (pure) is trained with the truth; these events have no labels"
                raise TrainingError(msg)
            shown = shown & (job.data.label == 0)
        if not shown.any():
            msg = f"{self.kind}: no event to train on: use more events, or a wider search.window"
            raise TrainingError(msg)
        features = FeatureSet.of(self.features, job.scope, job.data)
        labels = WeakLabels((SampleClass("events", job.data, shown, 0.0),))
        standard = Standardisation.of(features.values(job.data)[shown], job.data.weight[shown])
        model = self._model(features, standard, job.seed)
        history = job.fit(
            model,
            features.input,
            labels,
            epochs=self.epochs,
            optimizer=self.optimizer,
            loss=model_output,
        )
        return Scorer.of(model, features.input, history, **labels.counts)

    def _model(self, features: FeatureSet, standard: Standardisation, seed: int) -> Any:
        keras = backend.keras()
        initial = backend.initialisers(seed)

        def dense(units: int, activation: str) -> Any:
            return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

        columns = input_tensor(features.input)
        value = asked = standard.tensor(features.tensor(columns))
        for nodes in self.layers:
            value = dense(nodes, "relu")(value)
        value = dense(self.latent, self.latent_activation)(value)
        for nodes in reversed(self.layers):
            value = dense(nodes, "relu")(value)
        squares = keras.ops.square(asked - dense(len(features), "linear")(value))
        total = backend.total(squares[:, i] for i in range(len(features)))
        return keras.Model([columns], total / len(features))
