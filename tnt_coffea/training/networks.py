"""Networks as Keras models from a tagger's own inputs to its score.

A classifier gives the probability (n,) of the positive class, an autoencoder the error (n,) of
every jet. What comes before and after the layers (the order of an image's axes, features,
standardisation, the error itself) is part of the model, so the model that is trained is the
tagger. Inside, images are (row, column, channel), as Keras has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.errors import ConfigError
from tnt_coffea.taggers.inputs import Constituents, Images, Input
from tnt_coffea.training import backend
from tnt_coffea.training.features import FeatureSet, Standardisation

__all__ = [
    "clipped",
    "convolutional_autoencoder",
    "convolutional_classifier",
    "dense_autoencoder",
    "dense_classifier",
    "dense_head",
    "harmonic_mean",
    "input_tensor",
    "particle_flow_classifier",
    "variational_autoencoder",
]

# Two convolutions without padding and two poolings leave one pixel of ten.
_SMALLEST = 10
_LEAST_SHARE = 1e-4
"""Share of a jet's pT below which constituents are alike."""
_SCALE, _OFFSET = (0.5, 5.0, 5.0), (2.0, 0.0, 0.0)
"""Of log s, eta and phi, which bring them to the order of one; without them learning is slow."""
_PARTICLE = (64, 64, 32)
_HEAD = (64, 64)


def input_tensor(each: Input) -> Any:
    """Return the keras.Input of a tagger's input, with its name and shape."""
    return backend.keras().Input(each.shape, name=each.name)


def convolutional_classifier(
    images: Images,
    *,
    pixel_scale: float,
    seed: int,
    features: FeatureSet | None = None,
    standardisation: Standardisation | None = None,
    output: str = "sigmoid",
) -> Any:
    """Return the classifier of images: 7,637 parameters at 40 pixels, one jet and channel.

    Parameters
    ----------
    images
        The images.
    pixel_scale
        Factor on the pixels, which sum to one, inside the network.
    seed
        Seed of the initial weights.
    features, standardisation
        Features beside the image, seen through 16 nodes more.
    output
        Activation of the output: sigmoid gives the probability, linear the logarithm of the odds.

    Returns
    -------
    keras.Model
        From `image`, and `features` where there are any.

    Source: arXiv:2002.12376, section 3.2, and the authors' public code for the layers.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)

    def dense(units: int, activation: str = "relu") -> Any:
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

    channels, pixels, _ = images.shape
    image = input_tensor(images)
    layers = _image_layers(keras, initial, pixels, channels, pixel_scale)
    seen = keras.Sequential(layers)(_channels_last(keras, image))
    if features is None or standardisation is None:
        return keras.Model([image], _flat(keras, dense(1, output)(seen)))
    columns = input_tensor(features.input)
    beside = dense(16)(standardisation.tensor(features.tensor(columns)))
    head = dense(16)(keras.layers.Concatenate()([seen, beside]))
    return keras.Model([image, columns], _flat(keras, dense(1, output)(head)))


def dense_classifier(
    features: FeatureSet,
    standardisation: Standardisation,
    *,
    layers: Sequence[int],
    dropout: float,
    seed: int,
    activations: Sequence[str] = ("leaky_relu", "elu"),
    clip: float | None = None,
    initial_biases: Sequence[float] = (),
    output: str = "sigmoid",
) -> Any:
    """Return a classifier of standardised features.

    Parameters
    ----------
    features, standardisation
        Features, and their mean and width on the events trained on.
    layers
        Nodes of the hidden layers.
    dropout
        Share dropped between every two hidden layers.
    seed
        Seed of the initial weights and of the dropout.
    activations
        Of the hidden layers; the last one goes on. A leaky ReLU has the slope 0.1.
    clip
        Largest size of a standardised feature; None: any.
    initial_biases
        Standard deviations of the layers' first biases, the output's too; the last one goes on.
    output
        As in `convolutional_classifier`.

    Source: arXiv:2101.08320, section 4.1.1 (four layers of 128, dropout 0.1).
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)
    columns = input_tensor(features.input)
    value = standardisation.tensor(features.tensor(columns))
    if clip is not None:
        value = keras.ops.clip(value, -clip, clip)
    head = dense_head(
        value,
        initial,
        layers=layers,
        dropout=dropout,
        seed=seed,
        activations=activations,
        initial_biases=initial_biases,
        output=output,
    )
    return keras.Model([columns], head)


def dense_head(
    value: Any,
    initial: Callable[[], Any],
    *,
    layers: Sequence[int],
    dropout: float,
    seed: int,
    activations: Sequence[str],
    initial_biases: Sequence[float] = (),
    output: str = "sigmoid",
) -> Any:
    """Return the tensor (n,) behind dense layers and an output of one node.

    Parameters
    ----------
    value
        Tensor (n, feature).
    initial
        Gives the initialiser of one layer after the other.
    layers, dropout, seed, activations, initial_biases, output
        As in `dense_classifier`.
    """
    keras = backend.keras()

    def biases(i: int) -> Any:
        width = initial_biases[min(i, len(initial_biases) - 1)] if initial_biases else 0.0
        if not width:
            return "zeros"
        return keras.initializers.RandomNormal(0.0, width, seed=seeds.integer(seed, "bias", i))

    for i, nodes in enumerate(layers):
        if i and dropout:
            chance = seeds.integer(seed, "dropout", i)
            value = keras.layers.Dropout(dropout, seed=chance)(value)
        wanted = activations[min(i, len(activations) - 1)]
        leaky = wanted == "leaky_relu"
        activation = "linear" if leaky else wanted
        layer = keras.layers.Dense(
            nodes,
            activation=activation,
            kernel_initializer=initial(),
            bias_initializer=biases(i),
        )
        value = layer(value)
        if leaky:
            value = keras.layers.LeakyReLU(negative_slope=0.1)(value)
    last = keras.layers.Dense(
        1,
        activation=output,
        kernel_initializer=initial(),
        bias_initializer=biases(len(layers)),
    )
    return _flat(keras, last(value))


def particle_flow_classifier(
    constituents: Constituents, *, seed: int, output: str = "sigmoid"
) -> Any:
    """Return a classifier of constituents, f(sum_i s_i phi(log s_i, eta_i, phi_i)).

    One network phi serves all constituents of all jets; f sees the sums of all jets.

    Parameters
    ----------
    constituents
        Leading constituents; those with a share of pT of zero are padding.
    seed
        Seed of the initial weights.
    output
        As in `convolutional_classifier`.

    Source: arXiv:1810.05165; the weights are those of its energy flow network.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)

    def dense(units: int, activation: str = "relu") -> Any:
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

    shown = input_tensor(constituents)
    share, place = shown[..., :1], shown[..., 1:]
    # Only the weight, which is zero, tells a constituent that is not there from a soft one.
    log_share = keras.ops.log(keras.ops.maximum(share, _LEAST_SHARE))
    value = keras.layers.Rescaling(_SCALE, _OFFSET)(
        keras.ops.concatenate([log_share, place], axis=-1)
    )
    for units in _PARTICLE:
        value = dense(units)(value)
    summed = keras.ops.sum(share * value, axis=2)
    value = keras.ops.reshape(summed, (-1, constituents.shape[0] * _PARTICLE[-1]))
    for units in _HEAD:
        value = dense(units)(value)
    return keras.Model([shown], _flat(keras, dense(1, output)(value)))


def convolutional_autoencoder(images: Images, *, latent: int, pixel_scale: float, seed: int) -> Any:
    """Return the paper's autoencoder: 19,839 parameters at 40 pixels, latent space of 6.

    Parameters
    ----------
    images
        Images of one channel, with a multiple of 4 pixels along each side.
    latent
        Size of the latent space.
    pixel_scale
        Factor on the pixels, which sum to one, before the first layer.
    seed
        Seed of the initial weights.

    Returns
    -------
    keras.Model
        From `image` to the squared error (n,), summed over pixels.

    Source: arXiv:2002.12376, section 3.1, and the authors' public code for the layers.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)
    pixels = _one_channel(images)
    network = keras.Sequential(
        [
            *_encoder(keras, initial, pixels, pixel_scale),
            keras.layers.Dense(latent, activation="relu", kernel_initializer=initial()),
            *_decoder(keras, initial, pixels),
        ]
    )
    image = input_tensor(images)
    return keras.Model([image], _squared_error(keras, image, network(_channels_last(keras, image))))


def dense_autoencoder(images: Images, *, latent: int, pixel_scale: float, seed: int) -> Any:
    """Return the autoencoder with a dense encoder and a linear decoder.

    Parameters
    ----------
    images, latent, seed
        As in `convolutional_autoencoder`, with any number of pixels.
    pixel_scale
        Factor on the pixels, which sum to one, before the first layer, undone after the last.

    Notes
    -----
    Its reconstructions lie in a plane, as with principal components; the place in that plane is
    any function of the jet. So rare jets can be left out of it, `fitting.trimmed`.
    """
    keras = backend.keras()
    initial = backend.initialisers(seed)
    pixels = _one_channel(images)

    def dense(units: int, activation: str = "linear") -> Any:
        return keras.layers.Dense(units, activation=activation, kernel_initializer=initial())

    network = keras.Sequential(
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
    image = input_tensor(images)
    return keras.Model([image], _squared_error(keras, image, network(_channels_last(keras, image))))


def variational_autoencoder(
    images: Images, *, latent: int, pixel_scale: float, kl_weight: float, seed: int
) -> tuple[Any, Any]:
    """Return the autoencoder with a Gaussian latent space, and the model of its loss.

    Parameters
    ----------
    images, latent, pixel_scale, seed
        As in `convolutional_autoencoder`.
    kl_weight
        Weight of the Kullback-Leibler divergence from a unit Gaussian (beta of a beta-VAE).

    Returns
    -------
    score : keras.Model
        From `image` to the squared error (n,) without noise.
    loss : keras.Model
        From `image` to squared error plus weighted divergence (n,), with noise in training; its
        weights are those of `score`.

    Source: arXiv:1312.6114, equation 10 and appendix B; suggested for Tag N' Train in
    arXiv:2002.12376, section 5.
    """
    keras = backend.keras()
    ops, initial = keras.ops, backend.initialisers(seed)
    pixels = _one_channel(images)

    class Noise(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Draws from a Gaussian of given mean and logarithm of the variance, in training."""

        def __init__(self) -> None:
            super().__init__()
            self.numbers = keras.random.SeedGenerator(seeds.integer(seed, "noise"))

        def call(self, mean: Any, log_variance: Any, training: bool = False) -> Any:
            if not training:
                return mean
            noise = keras.random.normal(ops.shape(mean), seed=self.numbers)
            return mean + ops.exp(0.5 * log_variance) * noise

    image = input_tensor(images)
    encoded = keras.Sequential(_encoder(keras, initial, pixels, pixel_scale))(
        _channels_last(keras, image)
    )
    mean, log_variance = (
        keras.layers.Dense(latent, kernel_initializer=initial())(encoded) for _ in range(2)
    )
    decoder = keras.Sequential([keras.Input((latent,)), *_decoder(keras, initial, pixels)])
    drawn = Noise()(mean, log_variance)
    divergence = 0.5 * ops.sum(
        ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, axis=1
    )
    loss = _squared_error(keras, image, decoder(drawn)) + kl_weight * divergence
    score = _squared_error(keras, image, decoder(mean))
    return keras.Model([image], score), keras.Model([image], loss)


def clipped(model: Any, limit: float, less: float = 0.0) -> Any:
    """Return the model whose outputs are those of another one less a constant, within +- limit."""
    keras = backend.keras()
    return keras.Model(model.inputs, keras.ops.clip(model.output - less, -limit, limit))


def harmonic_mean(models: Sequence[Any], images: Images) -> Any:
    """Return the model whose score is the harmonic mean of the errors of several models.

    It is small where one of the errors is: a jet that any of the models describes is ordinary.

    Parameters
    ----------
    models
        keras.Model each, from `image` to the error (n,).
    images
        Input of all models.
    """
    if len(models) == 1:
        return models[0]
    keras = backend.keras()
    image = input_tensor(images)
    inverse = keras.ops.stack([1.0 / model([image]) for model in models], axis=0)
    return keras.Model([image], 1.0 / keras.ops.mean(inverse, axis=0))


def _channels_last(keras: Any, image: Any) -> Any:
    return keras.ops.transpose(image, (0, 2, 3, 1))


def _flat(keras: Any, value: Any) -> Any:
    return keras.ops.reshape(value, (-1,))


def _squared_error(keras: Any, image: Any, reconstruction: Any) -> Any:
    # The sum over pixels, not the mean: of pixels that sum to one the mean is so small that
    # its gradients would be lost in Adam's epsilon.
    flat = keras.ops.reshape(image, (-1, reconstruction.shape[-1]))
    return keras.ops.sum(keras.ops.square(flat - reconstruction), axis=1)


def _one_channel(images: Images) -> int:
    channels, pixels, _ = images.shape
    if channels != 1:
        msg = (
            f"this autoencoder takes images of one channel, these have {channels}; use "
            "network: linear, or skim.images.channels: [pt]"
        )
        raise ConfigError(msg)
    return pixels


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
