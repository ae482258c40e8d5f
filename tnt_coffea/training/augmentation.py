"""Augmentation of training images: random changes that keep the class of a jet.

Source: arXiv:2412.00198 (smearing and rotation lower the signal needed for learning).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tnt_coffea.config import Settings
from tnt_coffea.typing import Float32Array

__all__ = ["AugmentationSettings", "augmented"]


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
