"""Classifiers of weakly labelled events: each kind is its settings and builds one model.

| `network` | inputs | model |
|---|---|---|
| `convolutional` | images, and features beside them | the paper's, 7,637 parameters on one jet |
| `dense` | features | layers of nodes with dropout |
| `trees` | features | boosted trees, without Keras |
| `particle_flow` | constituents, in any order and number | a sum over constituents |
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeFloat, model_validator

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.config.settings import Fraction, Positive
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Columns, Constituents, Images, Input, Sequence
from tnt_coffea.training import backend, networks
from tnt_coffea.training.argos import argos_merit
from tnt_coffea.training.augmentation import AugmentationSettings, augmented
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.fitting import (
    Batches,
    Change,
    History,
    Merit,
    OptimizerSettings,
    cross_entropy,
    fit,
    log_odds_entropy,
)
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.jet_sequences import momentum_classifier
from tnt_coffea.training.method import Method, Scope, Scorer
from tnt_coffea.training.trees import FEWEST_TREES, boosted_trees
from tnt_coffea.training.weak_labels import WeakLabels
from tnt_coffea.typing import Float32Array, IntArray

__all__ = [
    "CLASSIFIER_NETWORKS",
    "AnyClassifier",
    "Classifier",
    "ClassifierMethod",
    "Convolutional",
    "Dense",
    "Momenta",
    "ParticleFlow",
    "Stopping",
    "Trees",
    "signal_efficiency",
]


_Activation = Literal["relu", "elu", "leaky_relu", "tanh"]
_Nodes = Annotated[int, Field(ge=1)]
_LOG_ODDS = ("linear", log_odds_entropy)
_Standardise = Callable[[FeatureSet], Standardisation]
"""Function from features to their mean and width on the events trained on."""


class Stopping(StrEnum):
    """What chooses the epoch, or the number of trees, on the events kept for it."""

    CROSS_ENTROPY = "cross_entropy"
    ARGOS = "argos"


class Classifier(Settings):
    """Base of all classifiers.

    ARGOS, arXiv:2511.14832, asks how well a cut on the score finds more of the positive class than
    of the other one, whatever the scores of most events are. It needs a larger `validation` than
    the loss: at least 25 events of the negative class, and hundreds for a cut that is worth it.
    """

    network: str
    # Left out of what is stored at its default: settings from before it have the same digest.
    stopping: Stopping = Field(
        Stopping.CROSS_ENTROPY,
        exclude_if=lambda stopping: stopping == Stopping.CROSS_ENTROPY,
        description="what chooses the epoch, or the number of trees: cross_entropy or argos",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Say what `network` is in every file of settings."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.model_fields[
            "network"
        ].description = "convolutional, dense, trees, particle_flow or momenta"

    @property
    @abstractmethod
    def passes(self) -> int:
        """Most passes over the events: epochs, or trees."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages that have a part in the outcome."""
        return backend.libraries()

    def merit(self, validation: Batches) -> Merit | None:
        """Return the figure of merit of validation events; None where their loss decides."""
        return argos_merit(validation.weights) if self.stopping is Stopping.ARGOS else None

    @abstractmethod
    def inputs(self, scope: str, sample: Sample) -> tuple[Input, ...]:
        """Return its inputs of the events of a sample.

        Raises
        ------
        ConfigError, InputError
            The skim does not hold one of them.
        """

    @abstractmethod
    def train(
        self,
        labels: WeakLabels,
        scope: str,
        seed: int,
        *,
        merit: Merit | None = None,
        candidates: int = 1,
        log_odds: float | None = None,
    ) -> Scorer:
        """Return a classifier of weakly labelled events.

        Parameters
        ----------
        labels
            Classes of events.
        scope
            heavy, light or event.
        seed
            Seed of this training run.
        merit
            Figure by which epoch and candidate are chosen; the validation loss without it.
        candidates
            Number of networks trained, of which the best is kept.
        log_odds
            The score is the logarithm of the odds, within +- this, instead of the probability.

        Raises
        ------
        TrainingError
            A class has too few events, or the loss is not finite.

        Source: arXiv:2002.12376, sections 2 and 3.2; arXiv:2101.08320, section 4.1.1.
        """


class KerasClassifier(Classifier):
    """Base of classifiers that Keras trains."""

    epochs: int = Field(40, ge=1, description="most epochs")
    # Left out of what is stored at its default: settings from before it have the same digest.
    min_epoch: int = Field(
        0,
        ge=0,
        exclude_if=lambda epoch: epoch == 0,
        description="first epoch, from 0, whose weights may be kept",
    )
    optimizer: OptimizerSettings = OptimizerSettings()

    @model_validator(mode="after")
    def _reached(self) -> Self:
        if self.min_epoch >= self.epochs:
            msg = f"min_epoch is {self.min_epoch}, and the epochs are 0 to {self.epochs - 1}"
            raise ValueError(msg)
        if self.stopping is Stopping.ARGOS and self.optimizer.keep == "last":
            msg = "stopping: argos chooses an epoch, keep: last takes the last; set keep: best"
            raise ValueError(msg)
        return self

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    @abstractmethod
    def model(
        self,
        scope: str,
        sample: Sample,
        standardisation: _Standardise,
        seed: int,
        output: str = "sigmoid",
    ) -> Any:
        """Return the keras.Model from named inputs to the probability (n,), or to its logit."""

    def change(self) -> Change | None:
        """Return the random change of training batches, if any."""
        return None

    def train(
        self,
        labels: WeakLabels,
        scope: str,
        seed: int,
        *,
        merit: Merit | None = None,
        candidates: int = 1,
        log_odds: float | None = None,
    ) -> Scorer:
        """Return the best of its candidates; see `Classifier.train`."""
        sample = labels.classes[0].sample
        inputs = self.inputs(scope, sample)
        training, validation = labels.split(inputs, self.optimizer.validation, seed)
        output, loss = ("sigmoid", cross_entropy) if log_odds is None else _LOG_ODDS
        merit = self.merit(validation) if merit is None else merit
        best: tuple[float, Scorer] | None = None
        for number in range(candidates):
            chance = seed if not number else seeds.integer(seed, "candidate", number)
            model = self.model(scope, sample, _standardised(training), chance, output)
            history = fit(
                model,
                loss,
                training,
                validation,
                optimizer=self.optimizer,
                epochs=self.epochs,
                seed=chance,
                merit=merit,
                first=self.min_epoch,
                change=self.change(),
            )
            kept = history.best_epoch
            value = history.merit[kept] if history.merit else -history.validation_loss[kept]
            shown = model if log_odds is None else networks.clipped(model, log_odds)
            scorer = Scorer.of(shown, inputs, history, **labels.counts, **labels.notes)
            if best is None or value > best[0]:
                best = (value, scorer)
        assert best is not None
        return best[1]


def _standardised(training: Batches) -> _Standardise:
    def of(features: FeatureSet) -> Standardisation:
        columns = training.inputs(np.arange(len(training)))[features.input.name]
        return Standardisation.of(features.computed(columns), training.weights)

    return of


class Convolutional(KerasClassifier):
    """The network of arXiv:2002.12376, section 3.2, on images, and on features where named."""

    network: Literal["convolutional"] = "convolutional"
    features: tuple[str, ...] = Field((), description="shown beside the image; none: image alone")
    pixel_scale: Positive = Field(100.0, description="factor on pixels inside the network")
    augmentation: AugmentationSettings = AugmentationSettings()

    def inputs(self, scope: str, sample: Sample) -> tuple[Input, ...]:
        """Return the images, and the columns of the features."""
        images = Images.of(scope, sample)
        if not self.features:
            return (images,)
        return images, FeatureSet.of(self.features, scope, sample).input

    def model(
        self,
        scope: str,
        sample: Sample,
        standardisation: _Standardise,
        seed: int,
        output: str = "sigmoid",
    ) -> Any:
        """Return the network."""
        features = FeatureSet.of(self.features, scope, sample) if self.features else None
        return networks.convolutional_classifier(
            Images.of(scope, sample),
            pixel_scale=self.pixel_scale,
            features=features,
            standardisation=None if features is None else standardisation(features),
            seed=seed,
            output=output,
        )

    def change(self) -> Change | None:
        """Return the augmentation of the images, if any is asked for."""
        if not self.augmentation.active:
            return None

        def changed(
            inputs: dict[str, Float32Array], rng: np.random.Generator
        ) -> dict[str, Float32Array]:
            return inputs | {"image": augmented(inputs["image"], self.augmentation, rng)}

        return changed


class Dense(KerasClassifier):
    """Layers of nodes on standardised features; defaults of arXiv:2101.08320, section 4.1.1.

    Its public code clips the inputs and starts the biases from random numbers, which the text does
    not mention: `clip` and `initial_biases`.

    Examples
    --------
    >>> Dense(layers=(64, 32, 16, 4), activations=("relu", "elu"), dropout=0.2).activations
    ('relu', 'elu')
    """

    network: Literal["dense"] = "dense"
    features: tuple[str, ...] = Field(
        ("rescaled_mass", "tau21"), min_length=1, description="columns or expressions of them"
    )
    layers: tuple[_Nodes, ...] = Field(
        (128, 128, 128, 128), min_length=1, description="nodes of the hidden layers"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped between layers")
    activations: tuple[_Activation, ...] = Field(
        ("leaky_relu", "elu"), min_length=1, description="of the layers; the last one goes on"
    )
    # Left out of what is stored at their defaults, as min_epoch.
    clip: Positive | None = Field(
        None,
        exclude_if=lambda limit: limit is None,
        description="largest size of a standardised input [widths]; null: any",
    )
    initial_biases: tuple[NonNegativeFloat, ...] = Field(
        (),
        exclude_if=lambda widths: not widths,
        description="standard deviation of the first biases, by layer, the output's too; the last "
        "one goes on; none: all zero",
    )

    @classmethod
    def paper(cls, *features: str) -> Self:
        """Return the network of arXiv:2009.02205, section III.

        Three layers of 64, 20 epochs, Adam without decay, the weights of the last epoch.
        """
        return cls(
            features=features,
            layers=(64, 64, 64),
            dropout=0.0,
            activations=("relu",),
            epochs=20,
            optimizer=OptimizerSettings(beta1=0.9, beta2=0.999, decay=0.0, keep="last"),
        )

    def inputs(self, scope: str, sample: Sample) -> tuple[Input, ...]:
        """Return the columns of the features."""
        return (FeatureSet.of(self.features, scope, sample).input,)

    def model(
        self,
        scope: str,
        sample: Sample,
        standardisation: _Standardise,
        seed: int,
        output: str = "sigmoid",
    ) -> Any:
        """Return the network."""
        features = FeatureSet.of(self.features, scope, sample)
        return networks.dense_classifier(
            features,
            standardisation(features),
            layers=self.layers,
            dropout=self.dropout,
            activations=self.activations,
            clip=self.clip,
            initial_biases=self.initial_biases,
            seed=seed,
            output=output,
        )


class ParticleFlow(KerasClassifier):
    """A network of constituents, arXiv:1810.05165."""

    network: Literal["particle_flow"] = "particle_flow"

    def inputs(self, scope: str, sample: Sample) -> tuple[Input, ...]:
        """Return the constituents."""
        return (Constituents.of(scope, sample),)

    def model(
        self,
        scope: str,
        sample: Sample,
        standardisation: _Standardise,
        seed: int,
        output: str = "sigmoid",
    ) -> Any:
        """Return the network."""
        constituents = Constituents.of(scope, sample)
        return networks.particle_flow_classifier(constituents, seed=seed, output=output)


class Momenta(KerasClassifier):
    """Layers of nodes on the four-momenta of the leading jets over the mass of all of them.

    The jets are those of `skim.sequence`, the mass is a column of the event that belongs to them.
    The network sees no mass, but what is left of it: shapes of events change with the mass.

    Source: arXiv:2101.08320, section 4.1.3.

    Examples
    --------
    >>> Momenta().jets, Momenta().mass
    (10, 'm_multijet')
    """

    network: Literal["momenta"] = "momenta"
    jets: int = Field(10, ge=1, description="leading jets of skim.sequence shown, at most")
    mass: str = Field("m_multijet", description="column of the event by which they are divided")
    layers: tuple[_Nodes, ...] = Field(
        (512, 512, 512, 512), min_length=1, description="nodes of the hidden layers"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped between layers")
    activations: tuple[_Activation, ...] = Field(
        ("leaky_relu", "elu"), min_length=1, description="of the layers; the last one goes on"
    )

    def inputs(self, scope: str, sample: Sample) -> tuple[Input, ...]:
        """Return the jets in sequence, and the column of the mass."""
        return Sequence.of(sample), Columns.of((self.mass,), sample)

    def model(
        self,
        scope: str,
        sample: Sample,
        standardisation: _Standardise,
        seed: int,
        output: str = "sigmoid",
    ) -> Any:
        """Return the network."""
        return momentum_classifier(
            Sequence.of(sample),
            Columns.of((self.mass,), sample),
            layers=self.layers,
            activations=self.activations,
            dropout=self.dropout,
            seed=seed,
            most=self.jets,
            output=output,
        )


class Trees(Classifier):
    """Boosted decision trees on features.

    With a `feature_share` below one every training run sees some of the features alone, drawn from
    its seed (attribute bagging: R. Bryll et al., Pattern Recognition 36 (2003) 1291); with
    `train.members` each member has others. The tagger reads only their columns.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> shown = Trees(features=("mass", "tau21", "pt"), feature_share=0.5)
    >>> sample = testing.make_sample(10)
    >>> [shown.kept("event", sample, seed).tolist() for seed in (1, 2)]
    [[0, 1, 4], [0, 3, 4]]
    """

    network: Literal["trees"] = "trees"
    features: tuple[str, ...] = Field(
        ("rescaled_mass", "tau21"), min_length=1, description="columns or expressions of them"
    )
    trees: int = Field(100, ge=1, description="most boosting rounds")
    leaves: int = Field(8, ge=2, description="leaves of a tree")
    shrinkage: Fraction = Field(0.1, description="learning rate")
    validation: Fraction = Field(0.1, description="share kept to choose the number of trees")
    patience: int = Field(5, ge=1, description="rounds without a better validation loss")
    # Left out of what is stored at its default, as min_epoch.
    feature_share: float = Field(
        1.0,
        gt=0,
        le=1,
        exclude_if=lambda share: share == 1,
        description="share of the features drawn for a training run, at least one of them",
    )

    @property
    def passes(self) -> int:
        """Most trees."""
        return self.trees

    @property
    def libraries(self) -> tuple[str, ...]:
        """Numpy computes, onnx writes."""
        return ("numpy", "onnx")

    def inputs(self, scope: str, sample: Sample) -> tuple[Input, ...]:
        """Return the columns of the features."""
        return (FeatureSet.of(self.features, scope, sample).input,)

    def kept(self, scope: str, sample: Sample, seed: int) -> IntArray:
        """Return the numbers of the features that a training run of this seed sees, ascending."""
        n = len(FeatureSet.of(self.features, scope, sample))
        if self.feature_share == 1:
            return np.arange(n)
        some = max(1, round(self.feature_share * n))
        return np.sort(seeds.generator(seed, "features").choice(n, some, replace=False))

    def train(
        self,
        labels: WeakLabels,
        scope: str,
        seed: int,
        *,
        merit: Merit | None = None,
        candidates: int = 1,
        log_odds: float | None = None,
    ) -> Scorer:
        """Return the trees; see `Classifier.train`."""
        if log_odds is not None:
            msg = "boosted trees give probabilities; choose a network"
            raise ConfigError(msg)
        sample = labels.classes[0].sample
        features = FeatureSet.of(self.features, scope, sample)
        kept = self.kept(scope, sample, seed)
        parts = labels.split((features.input,), self.validation, seed)
        values = [part.inputs(np.arange(len(part)))[features.input.name] for part in parts]
        trees = boosted_trees(
            (features.computed(values[0])[:, kept], features.computed(values[1])[:, kept]),
            (parts[0].targets, parts[1].targets),
            (parts[0].weights, parts[1].weights),
            rounds=self.trees,
            leaves=self.leaves,
            shrinkage=self.shrinkage,
            patience=self.patience,
            merit=self.merit(parts[1]) if merit is None else merit,
        )
        history = History(
            trees.loss,
            trees.validation_loss,
            trees.merit,
            first=min(len(trees.trees), FEWEST_TREES) - 1,
        )
        features = features.some(kept)
        graph = Graph(features.input)
        odds = graph.add_trees(features.add(graph, "features"), trees.trees, trees.base)
        return Scorer(
            graph.model(graph.flat(graph.add("Sigmoid", odds))),
            (features.input,),
            history.to_dict() | labels.counts | dict(labels.notes),
            history.summary(),
            predict=lambda inputs: trees(features.computed(inputs["features"])),
        )


AnyClassifier = Annotated[
    Convolutional | Dense | Trees | ParticleFlow | Momenta, Field(discriminator="network")
]


CLASSIFIER_NETWORKS = "network: convolutional, dense, trees, particle_flow or momenta"
"""Description of a setting that is any of them."""


class ClassifierMethod(Method):
    """Base of the methods whose tagger is one classifier, their setting `classifier`."""

    if TYPE_CHECKING:  # a field of each, with its own default
        classifier: AnyClassifier

    @property
    def passes(self) -> int:
        """Most epochs, or trees."""
        return self.classifier.passes

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the classifier."""
        return self.classifier.libraries

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the classifier's inputs."""
        self.classifier.inputs(scope, sample)


def signal_efficiency(sideband_efficiency: float) -> Merit:
    """Return the merit that is the efficiency of the signal region at one of the sidebands.

    Parameters
    ----------
    sideband_efficiency
        Share of the sideband events above the cut on the score.

    Source: arXiv:2101.08320, section 4.1.1.
    """

    def merit(targets: Float32Array, scores: Float32Array) -> float:
        region, sideband = scores[targets > 0.5], scores[targets < 0.5]
        cut = np.quantile(sideband, 1 - sideband_efficiency, method="higher")
        return float((region > cut).mean())

    return merit
