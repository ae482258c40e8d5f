"""The paper authors' two networks, for images of any size.

Keras is channels-last, `(row, column, channel)`; the exported graphs are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.errors import ConfigError
from tnt_coffea.training import backend

__all__ = ["convolutional_autoencoder", "jet_classifier"]

# Two convolutions without padding and two poolings leave one pixel of ten.
_SMALLEST = 10


def jet_classifier(*, pixels: int, channels: int, pixel_scale: float, seed: int) -> Any:
    """Return the classifier of one jet's image: 7,637 parameters at 40 pixels, one channel.

    Parameters
    ----------
    pixels
        Pixels along each side.
    channels
        Channels of the image.
    pixel_scale
        Factor on the pixels, which sum to one, inside the network.
    seed
        Seed of the initial weights.

    Returns
    -------
    keras.Sequential
        (n, row, column, channel) float32 to (n, 1) probability of signal-rich.

    Source: arXiv:2002.12376, section 3.2, and the authors' public code for the layers.
    """
    if pixels < _SMALLEST:
        msg = f"the classifier needs images of at least {_SMALLEST} pixels a side, got {pixels}"
        raise ConfigError(msg)
    keras = _keras()
    layers, initial = keras.layers, _initialisers(keras, seed)

    def convolution(filters: int, padding: str) -> Any:
        return layers.Conv2D(
            filters, 3, padding=padding, activation="relu", kernel_initializer=initial()
        )

    return keras.Sequential(
        [
            keras.Input((pixels, pixels, channels)),
            layers.Rescaling(pixel_scale),
            convolution(32, "same"),
            convolution(8, "valid"),
            layers.MaxPooling2D(2),
            convolution(8, "same"),
            convolution(4, "valid"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(16, activation="relu", kernel_initializer=initial()),
            layers.Dense(1, activation="sigmoid", kernel_initializer=initial()),
        ]
    )


def convolutional_autoencoder(*, pixels: int, latent: int, pixel_scale: float, seed: int) -> Any:
    """Return the autoencoder: 19,839 parameters at 40 pixels and a latent space of 6.

    Parameters
    ----------
    pixels
        Pixels along each side, a multiple of 4.
    latent
        Size of the latent space.
    pixel_scale
        Factor on the pixels, which sum to one, before the first layer.
    seed
        Seed of the initial weights.

    Returns
    -------
    keras.Sequential
        (n, row, column, 1) float32 to (n, row x column), summing to one.

    Source: arXiv:2002.12376, section 3.1, and the authors' public code for the layers.
    """
    if pixels % 4:
        msg = f"the convolutional autoencoder needs a multiple of 4 pixels a side, got {pixels}"
        raise ConfigError(msg)
    keras = _keras()
    layers, initial, small = keras.layers, _initialisers(keras, seed), pixels // 4

    def convolution(filters: int, activation: str = "relu") -> Any:
        return layers.Conv2D(
            filters, 3, padding="same", activation=activation, kernel_initializer=initial()
        )

    def dense(units: int) -> Any:
        return layers.Dense(units, activation="relu", kernel_initializer=initial())

    return keras.Sequential(
        [
            keras.Input((pixels, pixels, 1)),
            layers.Rescaling(pixel_scale),
            convolution(32),
            layers.MaxPooling2D(2),
            convolution(16),
            layers.MaxPooling2D(2),
            convolution(4),
            layers.Flatten(),
            dense(16),
            dense(latent),
            dense(16),
            dense(4 * small**2),
            layers.Reshape((small, small, 4)),
            convolution(4),
            layers.UpSampling2D(2),
            convolution(16),
            layers.UpSampling2D(2),
            convolution(1, "linear"),
            layers.Flatten(),
            layers.Softmax(),
        ]
    )


def _keras() -> Any:
    backend.tensorflow()
    import keras

    return keras


def _initialisers(keras: Any, seed: int) -> Callable[[], Any]:
    # A seed of its own for every layer: Keras' global one would change the
    # random numbers of whoever calls, and depend on what was built before.
    count = iter(range(1000))
    return lambda: keras.initializers.GlorotUniform(
        seed=seeds.integer(seed, "initial", next(count))
    )
