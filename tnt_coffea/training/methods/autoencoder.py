"""Autoencoders of either jet, the first taggers of Tag N' Train."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea import seeds
from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Images
from tnt_coffea.training import backend, networks
from tnt_coffea.training.fitting import History, OptimizerSettings, model_output, trimmed
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.linear import PrincipalComponents, principal_components
from tnt_coffea.training.method import Job, Method, Scorer
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels
from tnt_coffea.typing import Float32Array

__all__ = ["Autoencoder", "AutoencoderNetwork"]

PIXEL_SCALE = 100.0
"""Factor on the autoencoder's input: a filled pixel is then of order one."""


class AutoencoderNetwork(StrEnum):
    """Kind of the autoencoder of a jet's image."""

    LINEAR = "linear"
    DENSE = "dense"
    CONVOLUTIONAL = "convolutional"
    VARIATIONAL = "variational"


class Autoencoder(Method):
    """Autoencoder of each jet's image, trained on all events; its score is the error.

    Assumes that what is rare is reconstructed badly.

    Source: arXiv:2002.12376, sections 3.1 and 3.2.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training import Job
    >>> job = Job(testing.make_sample(100), "heavy", seed=1)
    >>> scorer = Autoencoder(latent=3).train(job)  # principal components, without Keras
    >>> sorted(scorer.summary), len(scorer.history["variances"])
    (['explained_variance', 'loss'], 3)
    """

    kind: Literal["autoencoder"] = "autoencoder"
    network: AutoencoderNetwork = Field(
        AutoencoderNetwork.LINEAR, description="linear, dense, convolutional or variational"
    )
    latent: int = Field(6, ge=1, description="size of the latent space")
    epochs: int = Field(30, ge=1, description="most epochs; the linear one passes once")
    networks: int = Field(
        1, ge=1, description="networks in one tagger, whose score is their harmonic mean"
    )
    keep: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0,),
        min_length=1,
        description="fraction of each batch, the best reconstructed jets, that enters the loss, "
        "by network; begins anew where there are more networks",
    )
    kl_weight: Positive = Field(1e-4, description="variational: weight of the divergence")
    optimizer: OptimizerSettings = OptimizerSettings()

    orientation: ClassVar[str] = "reconstruction error"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.is_linear and (self.keep != (1.0,) or self.networks != 1):
            msg = (
                "networks and keep are for autoencoders that are trained in batches; the linear "
                "one is not, so drop them or choose another network"
            )
            raise ValueError(msg)
        return self

    @property
    def is_linear(self) -> bool:
        """Whether it consists of principal components."""
        return self.network is AutoencoderNetwork.LINEAR

    @property
    def is_random(self) -> bool:
        """Whether members differ: principal components have no random numbers."""
        return not self.is_linear

    @property
    def passes(self) -> int:
        """Most epochs of all networks; principal components take one pass."""
        return 1 if self.is_linear else self.epochs * self.networks

    @property
    def libraries(self) -> tuple[str, ...]:
        """scipy, or Keras."""
        return ("numpy", "onnx", "scipy") if self.is_linear else backend.libraries()

    def check(self, sample: Sample, scope: str) -> None:
        """Refuse a skim without images that sum to one."""
        if not sample.image_settings.normalise:
            msg = (
                "autoencoders compare images that sum to one, but the skim was made with "
                "skim.images.normalise: false; make the skim with true"
            )
            raise ConfigError(msg)

    def train(self, job: Job) -> Scorer:
        """Return the autoencoder of one jet."""
        images = Images.of(job.scope, job.data)
        if self.is_linear:
            components = principal_components(images.reader(job.data), job.data.weight, self.latent)
            return _linear(images, components)
        every = np.ones(len(job.data), dtype=np.bool_)
        labels = WeakLabels((SampleClass("events", job.data, every, 0.0),))
        models, histories = [], []
        for number in range(self.networks):
            seed = job.seed if not number else seeds.integer(job.seed, "network", number)
            score, loss = self._models(images, seed)
            history = job.fit(
                loss,
                (images,),
                labels,
                epochs=self.epochs,
                optimizer=self.optimizer,
                loss=trimmed(model_output, self.keep[number % len(self.keep)]),
                seed=seed,
            )
            models.append(score)
            histories.append(history)
        return _several(networks.harmonic_mean(models, images), images, histories)

    def _models(self, images: Images, seed: int) -> tuple[object, object]:
        if self.network is AutoencoderNetwork.VARIATIONAL:
            return networks.variational_autoencoder(
                images,
                latent=self.latent,
                pixel_scale=PIXEL_SCALE,
                kl_weight=self.kl_weight,
                seed=seed,
            )
        build = (
            networks.dense_autoencoder
            if self.network is AutoencoderNetwork.DENSE
            else networks.convolutional_autoencoder
        )
        model = build(images, latent=self.latent, pixel_scale=PIXEL_SCALE, seed=seed)
        return model, model


def _several(model: object, images: Images, histories: list[History]) -> Scorer:
    figures = [history.summary() for history in histories]
    return Scorer(
        model,
        (images,),
        histories[0].to_dict()
        if len(histories) == 1
        else {"networks": [history.to_dict() for history in histories]},
        {name: float(np.mean([each[name] for each in figures])) for name in figures[0]},
        seconds=tuple(seconds for history in histories for seconds in history.seconds),
    )


def _linear(images: Images, components: PrincipalComponents) -> Scorer:
    summary = {
        "loss": components.mean_squared_error,
        "explained_variance": float(components.variances.sum() / components.total_variance),
    }

    def predict(inputs: dict[str, Float32Array]) -> Float32Array:
        image = inputs["image"]
        centred = image.reshape(len(image), -1) - components.mean
        residual = centred - centred @ components.axes.T @ components.axes
        out: Float32Array = (residual**2).sum(axis=1).astype(np.float32)
        return out

    return Scorer(
        linear_graph(images, components),
        (images,),
        summary | {"variances": components.variances.tolist()},
        summary,
        predict,
    )


def linear_graph(images: Images, components: PrincipalComponents) -> object:
    """Return the ONNX model whose score is the squared error of principal components."""
    graph = Graph(images)
    mean = graph.constant(components.mean)
    encoder, decoder = graph.constant(components.axes.T), graph.constant(components.axes)
    flat = graph.add("Flatten", "image")
    centred = graph.add("Sub", flat, mean)
    decoded = graph.add("MatMul", graph.add("MatMul", centred, encoder), decoder)
    residual = graph.add("Sub", flat, graph.add("Add", decoded, mean))
    square = graph.add("Mul", residual, residual)
    return graph.model(graph.add("ReduceSum", square, graph.constant([1]), keepdims=0))
