"""Networks: the paper authors' two for images of any size, and those for features.

Keras is channels-last, `(row, column, channel)`; the exported graphs are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.errors import ConfigError
from tnt_coffea.training import backend

__all__ = [
    "TwoBranches",
    "Variational",
    "convolutional_autoencoder",
    "dense_autoencoder",
    "dense_classifier",
    "jet_classifier",
    "two_branch_classifier",
    "variational_autoencoder",
]

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
    keras = backend.keras()
    initial = backend.initialisers(seed)
    return keras.Sequential(
        [
            *_image_layers(keras, initial, pixels, channels, pixel_scale),
            keras.layers.Dense(1, activation="sigmoid", kernel_initializer=initial()),
        ]
    )


def dense_classifier(*, features: int, layers: Sequence[int], dropout: float, seed: int) -> Any:
    """Return a classifier of standardised features.

    Parameters
    ----------
    features
        Number of features.
    layers
        Nodes of the hidden layers: leaky ReLU (0.1) in the first, ELU in the others.
    dropout
        Share dropped between every two hidden layers.
    seed
        Seed of the initial weights and of the dropout.

    Returns
    -------
    keras.Sequential
        (n, feature) float32 to (n, 1) probability of signal-rich.

    Source: arXiv:2101.08320, section 4.1.1 (four layers of 128, dropout 0.1).
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)
    stack = [keras.Input((features,))]
    for i, nodes in enumerate(layers):
        if i and dropout:
            chance = seeds.integer(seed, "dropout", i)
            stack.append(keras.layers.Dropout(dropout, seed=chance))
        activation = "elu" if i else "linear"
        stack.append(keras.layers.Dense(nodes, activation=activation, kernel_initializer=initial()))
        if not i:
            stack.append(keras.layers.LeakyReLU(negative_slope=0.1))
    stack.append(keras.layers.Dense(1, activation="sigmoid", kernel_initializer=initial()))
    return keras.Sequential(stack)


@dataclass(frozen=True)
class TwoBranches:
    """A classifier of image and features.

    Attributes
    ----------
    network
        keras.Model from [image, features] to (n, 1).
    image, features, head
        Its parts, keras.Sequential; the head takes image and features side by side.
    """

    network: Any
    image: Any
    features: Any
    head: Any


def two_branch_classifier(
    *, pixels: int, channels: int, pixel_scale: float, features: int, seed: int
) -> TwoBranches:
    """Return a classifier of image and standardised features: the paper's, and 16 nodes more.

    Parameters
    ----------
    pixels, channels, pixel_scale
        As in `jet_classifier`.
    features
        Number of features.
    seed
        Seed of the initial weights.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)

    def dense(units: int, activation: str = "relu") -> Any:
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

    image = keras.Sequential(_image_layers(keras, initial, pixels, channels, pixel_scale))
    beside = keras.Sequential([keras.Input((features,)), dense(16)])
    head = keras.Sequential([keras.Input((32,)), dense(16), dense(1, "sigmoid")])
    inputs = [keras.Input((pixels, pixels, channels)), keras.Input((features,))]
    joined = keras.layers.Concatenate()([image(inputs[0]), beside(inputs[1])])
    return TwoBranches(keras.Model(inputs, head(joined)), image, beside, head)


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
    keras = backend.keras()
    initial = backend.initialisers(seed)
    return keras.Sequential(
        [
            *_encoder(keras, initial, pixels, pixel_scale),
            keras.layers.Dense(latent, activation="relu", kernel_initializer=initial()),
            *_decoder(keras, initial, pixels),
        ]
    )


def dense_autoencoder(*, pixels: int, latent: int, pixel_scale: float, seed: int) -> Any:
    """Return the autoencoder with a dense encoder and a linear decoder.

    Parameters
    ----------
    pixels
        Pixels along each side.
    latent
        Size of the latent space.
    pixel_scale
        Factor on the pixels, which sum to one, before the first layer, undone after the last.
    seed
        Seed of the initial weights.

    Returns
    -------
    keras.Sequential
        (n, row, column, 1) float32 to (n, row x column).

    Notes
    -----
    What it describes lies in a plane, as with principal components, but where in that plane
    a jet lies may depend on it in any way: so rare jets may be left out of it, `trimmed`.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)

    def dense(units: int, activation: str = "linear") -> Any:
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

    return keras.Sequential(
        [
            keras.Input((pixels, pixels, 1)),
            keras.layers.Flatten(),
            keras.layers.Rescaling(pixel_scale),
            dense(32, "relu"),
            dense(latent),
            dense(pixels**2),
            keras.layers.Rescaling(1 / pixel_scale),
        ]
    )


@dataclass(frozen=True)
class Variational:
    """A variational autoencoder.

    Attributes
    ----------
    network
        keras.Model from [image, noise (n, latent)] to [decoded image (n, pixel), mean
        (n, latent), logarithm of the variance (n, latent)]. The noise comes from outside, so
        the random numbers are those of the caller.
    encoder, mean, decoder
        The way of an image without noise, keras.Sequential each.
    """

    network: Any
    encoder: Any
    mean: Any
    decoder: Any


def variational_autoencoder(
    *, pixels: int, latent: int, pixel_scale: float, seed: int
) -> Variational:
    """Return the autoencoder with a Gaussian latent space; parameters as in the plain one.

    Source: arXiv:1312.6114; suggested for Tag N' Train in arXiv:2002.12376, section 5.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)

    def linear() -> Any:
        dense = keras.layers.Dense(latent, kernel_initializer=initial())
        return keras.Sequential([keras.Input((16,)), dense])

    encoder = keras.Sequential(_encoder(keras, initial, pixels, pixel_scale))
    mean, log_variance = linear(), linear()
    decoder = keras.Sequential([keras.Input((latent,)), *_decoder(keras, initial, pixels)])
    image, noise = keras.Input((pixels, pixels, 1)), keras.Input((latent,))
    encoded = encoder(image)
    centre, width = mean(encoded), log_variance(encoded)
    drawn = centre + keras.ops.exp(0.5 * width) * noise
    network = keras.Model([image, noise], [decoder(drawn), centre, width])
    return Variational(network, encoder, mean, decoder)


def _image_layers(
    keras: Any, initial: Callable[[], Any], pixels: int, channels: int, pixel_scale: float
) -> list[Any]:
    if pixels < _SMALLEST:
        msg = f"the classifier needs images of at least {_SMALLEST} pixels a side, got {pixels}"
        raise ConfigError(msg)
    layers = keras.layers

    def convolution(filters: int, padding: str) -> Any:
        return layers.Conv2D(
            filters, 3, padding=padding, activation="relu", kernel_initializer=initial()
        )

    return [
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
    ]


def _encoder(keras: Any, initial: Callable[[], Any], pixels: int, pixel_scale: float) -> list[Any]:
    if pixels % 4:
        msg = f"the convolutional autoencoder needs a multiple of 4 pixels a side, got {pixels}"
        raise ConfigError(msg)
    layers = keras.layers

    def convolution(filters: int) -> Any:
        return layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer=initial()
        )

    return [
        keras.Input((pixels, pixels, 1)),
        layers.Rescaling(pixel_scale),
        convolution(32),
        layers.MaxPooling2D(2),
        convolution(16),
        layers.MaxPooling2D(2),
        convolution(4),
        layers.Flatten(),
        layers.Dense(16, activation="relu", kernel_initializer=initial()),
    ]


def _decoder(keras: Any, initial: Callable[[], Any], pixels: int) -> list[Any]:
    layers, small = keras.layers, pixels // 4

    def convolution(filters: int, activation: str = "relu") -> Any:
        return layers.Conv2D(
            filters, 3, padding="same", activation=activation, kernel_initializer=initial()
        )

    def dense(units: int) -> Any:
        return layers.Dense(units, activation="relu", kernel_initializer=initial())

    return [
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
