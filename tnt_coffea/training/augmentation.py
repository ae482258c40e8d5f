"""Augmentation of training batches: changes that keep the class of a jet, and mixtures of events.

Source: arXiv:2412.00198 (smearing and rotation lower the signal needed for learning);
arXiv:1710.09412 (MixUp).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from tnt_coffea.config import Settings
from tnt_coffea.typing import Float32Array

__all__ = ["AugmentationSettings", "augmented", "mixed_up"]


class AugmentationSettings(Settings):
    """Random changes of the training images that keep the class of a jet, arXiv:2412.00198."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest turn, either way [degrees]")
    reflection: bool = Field(False, description="mirror either axis, each every second time")
    pt_smearing: float = Field(
        0.0, ge=0, lt=1, description="relative width of a Gaussian on every pixel"
    )

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return bool(self.rotation or self.reflection or self.pt_smearing)


def augmented(
    images: Float32Array, settings: AugmentationSettings, rng: np.random.Generator
) -> Float32Array:
    """Return images turned, mirrored and smeared; every channel keeps its sum.

    Parameters
    ----------
    images
        (image, channel, row, column) float32, not negative; rows are phi, columns eta.
    settings
        What is changed, and how much.
    rng
        Random numbers; every image gets changes of its own.

    Notes
    -----
    Only filled pixels are touched. A pixel goes to the one that its turned centre lies in;
    what leaves the image is lost before the sum is restored.
    """
    n, channels, height, width = images.shape
    image, channel, row, column = np.nonzero(images)
    value = images[image, channel, row, column].astype(np.float64)
    y, x = row - (height - 1) / 2, column - (width - 1) / 2
    if settings.rotation:
        angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, n))[image]
        x, y = (
            np.cos(angle) * x - np.sin(angle) * y,
            np.sin(angle) * x + np.cos(angle) * y,
        )
    if settings.reflection:
        signs = rng.choice([-1.0, 1.0], (2, n))[:, image]
        x, y = signs[0] * x, signs[1] * y
    if settings.pt_smearing:
        value = np.maximum(value * rng.normal(1.0, settings.pt_smearing, len(value)), 0.0)
    # To 6 decimals: the centre of a pixel turned by nothing is that centre exactly.
    row = np.rint((y + (height - 1) / 2).round(6)).astype(np.int64)
    column = np.rint((x + (width - 1) / 2).round(6)).astype(np.int64)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = ((image * channels + channel) * height + row) * width + column
    out = np.bincount(place[inside], value[inside], minlength=images.size).reshape(images.shape)
    before, after = images.sum(axis=(2, 3), dtype=np.float64), out.sum(axis=(2, 3))
    # A channel of which nothing is left stays empty.
    out *= (before / np.where(after > 0, after, 1.0))[:, :, None, None]
    return out.astype(np.float32)


def mixed_up(
    inputs: Mapping[str, Float32Array],
    targets: Float32Array,
    weights: Float32Array,
    alpha: float,
    rng: np.random.Generator,
) -> tuple[dict[str, Float32Array], Float32Array, Float32Array]:
    """Return a batch in which every event is mixed with another one of it.

    The share l of the event itself is drawn from Beta(alpha, alpha) and is at least one half. An
    event has the inputs l x + (1 - l) x', and target and weight with which its cross-entropy is l
    times that of the one target and 1 - l times that of the other.

    Parameters
    ----------
    inputs
        (event, ...) by name.
    targets, weights
        (event,); weights are not negative.
    alpha
        Parameter of the draw: small ones hardly mix, 1 is uniform.
    rng
        Random numbers.

    Source: arXiv:1710.09412, equation 1.

    Examples
    --------
    >>> import numpy as np
    >>> columns, ones = np.array([[0.0], [1.0]], np.float32), np.ones(2, np.float32)
    >>> rng = np.random.default_rng(1)
    >>> mixed, targets, _ = mixed_up({"features": columns}, columns[:, 0], ones, 0.4, rng)
    >>> bool((mixed["features"][:, 0] == targets).all())
    True
    """
    n = len(targets)
    other, share = rng.permutation(n), rng.beta(alpha, alpha, n).astype(np.float32)
    own = np.maximum(share, 1 - share)

    def mix(values: Float32Array) -> Float32Array:
        of_own = own.reshape(-1, *[1] * (values.ndim - 1))
        mixed = of_own * values + (1 - of_own) * values[other]
        return mixed.astype(np.float32)

    weight = mix(weights)
    target = mix(weights * targets) / np.where(weight > 0, weight, 1)
    return {name: mix(each) for name, each in inputs.items()}, target.astype(np.float32), weight
