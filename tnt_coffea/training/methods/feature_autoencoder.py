"""Dense autoencoder of a few features of an event, or of each jet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.features import FeatureSet, Standardisation, check_features
from tnt_coffea.training.fitting import OptimizerSettings, model_output
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

__all__ = ["FeatureAutoencoder", "FeatureAutoencoderPerJet"]


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
    # Left out of what is stored at its default: settings from before it have the same digest.
    most_events: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda number: number is None,
        description="events that it is trained on, drawn by the seed; null: all",
    )
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

    def trained_on(self, events: Mapping[str, int], scope: Scope) -> int:
        """Return the events that are read, at most those that are drawn of them.

        In a window nothing says how many of the events drawn are read; all of them are counted.
        """
        read = super().trained_on(events, scope)
        if self.most_events is None or self.mass_window:
            return read
        return min(read, self.most_events)

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
        if self.most_events is not None and shown.sum() > self.most_events:
            order = seeds.generator(job.seed, "events").permutation(np.flatnonzero(shown))
            shown = np.isin(np.arange(len(shown)), order[: self.most_events])
        features = FeatureSet.of(self.features, job.scope, job.data)
        check_features(features.values(job.data)[shown], features.names)
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


class FeatureAutoencoderPerJet(FeatureAutoencoder):
    """Dense autoencoder of standardised features of each jet; combined as in Tag N' Train.

    Source: arXiv:2101.08320, section 4.2.

    Examples
    --------
    >>> FeatureAutoencoderPerJet().scopes
    ('heavy', 'light')
    """

    kind: Literal["feature_autoencoder_per_jet"] = "feature_autoencoder_per_jet"  # type: ignore[assignment]
    features: tuple[str, ...] = Field(
        ("mass", "tau21"), min_length=1, description="columns or expressions of them"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")

    @classmethod
    def comparison(cls) -> Self:
        """Return the settings of arXiv:2101.08320, section 4.2; `train.members` is 20 there.

        Eight features, 8-64-32-16-1-16-32-64-8, 50,000 events, one epoch in batches of 5120: ten
        steps. After these the error is the squared distance from the mean, up to a rank
        correlation of 0.9996: `norm` on the same features stands beside it, and `epochs: 200` is
        one that has learned. The data have no charges, so that the number of constituents stands
        for that of tracks; the optimiser's rate is not published.

        Examples
        --------
        >>> FeatureAutoencoderPerJet.comparison().layers
        (64, 32, 16)
        """
        return cls(
            features=(
                *("pt", "eta", "mass", "tau1_width", "tau21", "tau32", "tau43"),
                "n_constituents",
            ),
            layers=(64, 32, 16),
            latent=1,
            epochs=1,
            most_events=50_000,
            optimizer=OptimizerSettings(batch=5120, keep="last"),
        )
