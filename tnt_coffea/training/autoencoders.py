"""Autoencoders of one jet's images: linear, convolutional and variational."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import Autoencoder, AutoencoderSettings, OptimizerSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend, export, fitting, networks
from tnt_coffea.training.checks import checked
from tnt_coffea.training.classifiers import weighted_jets
from tnt_coffea.training.linear import principal_components
from tnt_coffea.training.selection import held_back
from tnt_coffea.training.sparse import SparseImages
from tnt_coffea.training.trained import Trained

__all__ = ["PIXEL_SCALE", "autoencoder"]

PIXEL_SCALE = 100.0
"""Factor on the autoencoder's input: a filled pixel is then of order one."""

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


def autoencoder(
    sample: Sample,
    jet: str,
    settings: AutoencoderSettings,
    optimizer: OptimizerSettings,
    seed: int,
) -> Trained:
    """Return an autoencoder of one jet's images, trained on every event given.

    Parameters
    ----------
    sample
        Events to train on; nothing of it but the images, ids and weights is read.
    jet
        `heavy` or `light`.
    settings, optimizer
        Kind and size, and how the convolutional kinds are fitted.
    seed
        Seed of this training.

    Raises
    ------
    ConfigError
        The images do not sum to one.
    TrainingError
        There are too few events, or the loss is not finite.

    Source: arXiv:2002.12376, section 3.1; the linear kind is the stronger first
    tagger on small samples.
    """
    made_with = sample.image_settings
    if not made_with.normalise:
        msg = (
            "autoencoders compare images that sum to one, but the skim was made with "
            "skim.images.normalise: false; make the skim with true"
        )
        raise ConfigError(msg)
    images = SparseImages.of(sample, jet)
    train = _linear if settings.kind is Autoencoder.LINEAR else _network
    trained = train(sample, images, settings, optimizer, seed)
    return checked(
        trained, lambda rows: {"image": _channels_first(images, rows)}, np.arange(len(sample))
    )


def _channels_first(images: SparseImages, rows: Int64Array) -> Float32Array:
    return np.ascontiguousarray(images.expanded(rows).transpose(0, 3, 1, 2))


def _linear(
    sample: Sample,
    images: SparseImages,
    settings: AutoencoderSettings,
    optimizer: OptimizerSettings,
    seed: int,
) -> Trained:
    components = principal_components(
        lambda rows: _channels_first(images, rows), sample.weight, settings.latent
    )
    summary = {
        "loss": components.mean_squared_error,
        "explained_variance": float(components.variances.sum() / components.total_variance),
    }

    def predict(rows: Int64Array) -> Float32Array:
        centred = images.expanded(rows).reshape(len(rows), -1) - components.mean
        residual = centred - centred @ components.axes.T @ components.axes
        out: Float32Array = (residual**2).sum(axis=1).astype(np.float32)
        return out

    history = summary | {"variances": components.variances.tolist()}
    return Trained(export.linear_model(components), summary, history, predict)


def _network(
    sample: Sample,
    images: SparseImages,
    settings: AutoencoderSettings,
    optimizer: OptimizerSettings,
    seed: int,
) -> Trained:
    size: dict[str, Any] = {
        "pixels": images.shape[1],
        "latent": settings.latent,
        "pixel_scale": PIXEL_SCALE,
        "seed": seed,
    }
    everything = np.ones(len(sample), dtype=np.bool_)
    kept_back = held_back(sample.event_id, everything, optimizer.validation, seed)
    if settings.kind is Autoencoder.VARIATIONAL:
        variational = networks.variational_autoencoder(**size)
        network, loss = variational.network, fitting.variational_loss(settings.kl_weight)

        def inputs(rows: Int64Array) -> fitting.Inputs:
            return images.expanded(rows), np.zeros((len(rows), settings.latent), np.float32)

        def decoded(rows: Int64Array) -> Float32Array:
            images_of: Float32Array = backend.array(network(list(inputs(rows)), training=False)[0])
            return images_of

        def model() -> Any:
            return export.variational_model(variational)
    else:
        network, loss = networks.convolutional_autoencoder(**size), fitting.reconstruction_loss

        def inputs(rows: Int64Array) -> fitting.Inputs:
            return (images.expanded(rows),)

        def decoded(rows: Int64Array) -> Float32Array:
            images_of: Float32Array = backend.array(network(images.expanded(rows), training=False))
            return images_of

        def model() -> Any:
            return export.convolutional_model(network)

    def predict(rows: Int64Array) -> Float32Array:
        residual = images.expanded(rows).reshape(len(rows), -1) - decoded(rows)
        out: Float32Array = (residual**2).sum(axis=1)
        return out

    training, validation = (
        weighted_jets(inputs, np.flatnonzero(part), np.zeros(len(sample)), sample.weight)
        for part in (~kept_back, kept_back)
    )
    if settings.kind is Autoencoder.VARIATIONAL:
        training = replace(training, change=_noisy)
    history = fitting.fit(
        network,
        loss,
        training,
        validation,
        optimizer=optimizer,
        epochs=settings.epochs,
        seed=seed,
    )
    return Trained(model(), history.summary(), history.to_dict(), predict, history.seconds)


def _noisy(inputs: fitting.Inputs, rng: np.random.Generator) -> fitting.Inputs:
    return inputs[0], rng.standard_normal(inputs[1].shape, dtype=np.float32)
