"""Autoencoders of one jet's images: linear, dense, convolutional and variational."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import hmean

from tnt_coffea import seeds
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

__all__ = ["PIXEL_SCALE", "autoencoder", "check_images"]

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
        Kind and size, and how the kinds but the linear one are fitted.
    seed
        Seed of this training.

    Raises
    ------
    ConfigError
        The images do not sum to one.
    TrainingError
        There are too few events, or the loss is not finite.

    Source: arXiv:2002.12376, section 3.1; the trimmed loss as in `fitting.trimmed`.
    """
    check_images(sample)
    images = SparseImages.of(sample, jet)
    if settings.kind is Autoencoder.LINEAR:
        trained = _linear(sample, images, settings.latent)
    else:
        trained = _networks(sample, images, settings, optimizer, seed)
    return checked(
        trained, lambda rows: {"image": _channels_first(images, rows)}, np.arange(len(sample))
    )


def check_images(sample: Sample) -> None:
    """Refuse a skim whose images no autoencoder is trained with.

    Raises
    ------
    ConfigError
        They do not sum to one.
    InputError
        There are none.
    """
    if not sample.image_settings.normalise:
        msg = (
            "autoencoders compare images that sum to one, but the skim was made with "
            "skim.images.normalise: false; make the skim with true"
        )
        raise ConfigError(msg)


def _channels_first(images: SparseImages, rows: Int64Array) -> Float32Array:
    return np.ascontiguousarray(images.expanded(rows).transpose(0, 3, 1, 2))


def _linear(sample: Sample, images: SparseImages, latent: int) -> Trained:
    components = principal_components(
        lambda rows: _channels_first(images, rows), sample.weight, latent
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


@dataclass(frozen=True)
class _Built:
    """A network of its kind, and how it is fed, fitted and exported.

    Attributes
    ----------
    network
        Keras network.
    inputs
        Function from row numbers to what it is fed with.
    chain
        keras.Sequential from the image to its reconstruction, one after the other.
    loss
        Of every jet.
    change
        Of every training batch.
    """

    network: Any
    inputs: Callable[[Int64Array], fitting.Inputs]
    chain: tuple[Any, ...]
    loss: fitting.Loss
    change: fitting.Change | None = None

    def decoded(self, rows: Int64Array) -> Float32Array:
        """Return the (row number, pixel) reconstructions."""
        value = self.inputs(rows)[0]
        for part in self.chain:
            value = part(value, training=False)
        out: Float32Array = backend.array(value)
        return out


def _built(images: SparseImages, settings: AutoencoderSettings, keep: float, seed: int) -> _Built:
    size: dict[str, Any] = {
        "pixels": images.shape[1],
        "latent": settings.latent,
        "pixel_scale": PIXEL_SCALE,
        "seed": seed,
    }

    def alone(rows: Int64Array) -> fitting.Inputs:
        return (images.expanded(rows),)

    def with_noise(rows: Int64Array) -> fitting.Inputs:
        return images.expanded(rows), np.zeros((len(rows), settings.latent), np.float32)

    if settings.kind is Autoencoder.VARIATIONAL:
        parts = networks.variational_autoencoder(**size)
        chain = (parts.encoder, parts.mean, parts.decoder)
        loss = fitting.trimmed(fitting.variational_loss(settings.kl_weight), keep)
        return _Built(parts.network, with_noise, chain, loss, _noisy)
    make = {
        Autoencoder.DENSE: networks.dense_autoencoder,
        Autoencoder.CONVOLUTIONAL: networks.convolutional_autoencoder,
    }[settings.kind]
    network = make(**size)
    loss = fitting.trimmed(fitting.reconstruction_loss, keep)
    return _Built(network, alone, (network,), loss)


def _networks(
    sample: Sample,
    images: SparseImages,
    settings: AutoencoderSettings,
    optimizer: OptimizerSettings,
    seed: int,
) -> Trained:
    chances = [
        seed,
        *(seeds.integer(seed, "network", i) for i in range(1, len(settings.keep))),
    ]
    built = [
        _built(images, settings, keep, chance)
        for keep, chance in zip(settings.keep, chances, strict=True)
    ]
    histories = [
        _fitted(one, sample, optimizer, settings.epochs, chance)
        for one, chance in zip(built, chances, strict=True)
    ]

    def predict(rows: Int64Array) -> Float32Array:
        flat = images.expanded(rows).reshape(len(rows), -1)
        errors = [((flat - one.decoded(rows)) ** 2).sum(axis=1) for one in built]
        out: Float32Array = errors[0] if len(errors) == 1 else hmean(errors, axis=0)
        return out

    figures = [history.summary() for history in histories]
    return Trained(
        export.autoencoder_model([one.chain for one in built]),
        {name: float(np.mean([each[name] for each in figures])) for name in figures[0]},
        histories[0].to_dict()
        if len(histories) == 1
        else {"networks": [history.to_dict() for history in histories]},
        predict,
        tuple(seconds for history in histories for seconds in history.seconds),
    )


def _fitted(
    built: _Built,
    sample: Sample,
    optimizer: OptimizerSettings,
    epochs: int,
    seed: int,
) -> fitting.History:
    everything = np.ones(len(sample), dtype=np.bool_)
    kept_back = held_back(sample.event_id, everything, optimizer.validation, seed)
    training, validation = (
        weighted_jets(built.inputs, np.flatnonzero(part), np.zeros(len(sample)), sample.weight)
        for part in (~kept_back, kept_back)
    )
    return fitting.fit(
        built.network,
        built.loss,
        replace(training, change=built.change),
        validation,
        optimizer=optimizer,
        epochs=epochs,
        seed=seed,
    )


def _noisy(inputs: fitting.Inputs, rng: np.random.Generator) -> fitting.Inputs:
    return inputs[0], rng.standard_normal(inputs[1].shape, dtype=np.float32)
