"""Augmentation of jet images for training: rotation, reflection and pT smearing.

It acts on sparse images, not on constituents. Training reads the skim, which holds no
constituents; and an image made anew of rotated or reflected constituents is the same image,
because its steps take out just that. A filled pixel is treated as a particle that is somewhere
inside it: it is moved by a uniform offset before it is turned, so that turning leaves no
pattern of the grid behind.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tnt_coffea.jets.images import SparseImages

__all__ = ["augmented", "reflected", "rotated", "smeared"]

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

HCAL_CONSTANT = 0.05
HCAL_STOCHASTIC = 1.5
"""Relative resolution of the published Delphes CMS card's hadron calorimeter,
sqrt(0.05^2 + 1.5^2 GeV / E)."""


def augmented(
    images: SparseImages,
    pt: npt.ArrayLike,
    generator: np.random.Generator,
    *,
    rotation: bool = True,
    reflection: bool = True,
    smearing: bool = True,
) -> SparseImages:
    """Return every image smeared, reflected with probability 1/2 a side, and turned at random.

    Parameters
    ----------
    images
        As `sparse_images` or `Sample.sparse_images` gives them.
    pt
        (jet,) pT of the jets [GeV]: the scale of pixels that were divided by their sum.
    generator
        Where the random numbers come from; the same state gives the same images.
    rotation, reflection, smearing
        Which steps are taken, in the order smearing, reflection, rotation.

    Source: arXiv:2412.00198, section 3; arXiv:2108.04253, section 2.
    """
    jets = len(images.counts)
    if smearing:
        images = smeared(images, pt, generator)
    if reflection:
        sides = generator.random((2, jets)) < 0.5
        images = reflected(images, sides[0], sides[1])
    if rotation:
        images = rotated(images, generator.uniform(0, 2 * np.pi, jets), generator)
    return images


def reflected(images: SparseImages, eta: npt.ArrayLike, phi: npt.ArrayLike) -> SparseImages:
    """Return the images mirrored about their middle, exactly.

    Parameters
    ----------
    images
        The images.
    eta, phi
        (jet,) bool: which of them are mirrored in columns (eta) and in rows (phi).
    """
    jet, channel, row, column = _places(images)
    size = images.shape[1]
    column = np.where(np.asarray(eta, dtype=bool)[jet], size - 1 - column, column)
    row = np.where(np.asarray(phi, dtype=bool)[jet], size - 1 - row, row)
    return _collected(images, jet, channel, row, column)


def rotated(
    images: SparseImages, angle: npt.ArrayLike, generator: np.random.Generator | None = None
) -> SparseImages:
    """Return the images turned about their middle.

    Parameters
    ----------
    images
        The images. What is turned out of the frame is lost, and a channel that summed to 1
        does so again.
    angle
        (jet,) radians, from columns (eta) towards rows (phi).
    generator
        Where in its pixel each entry sits before it is turned; without one it is the middle.
    """
    jet, channel, row, column = _places(images)
    size = images.shape[1]
    # The channels of a pixel stay together.
    pixels, which = np.unique((jet * size + row) * size + column, return_inverse=True)
    if generator is None:
        inside = np.full((2, len(pixels)), 0.5)
    else:
        inside = generator.random((2, len(pixels)))
    x = column + inside[0][which] - size / 2
    y = row + inside[1][which] - size / 2
    cos, sin = np.cos(np.asarray(angle))[jet], np.sin(np.asarray(angle))[jet]
    turned_column = np.floor(cos * x - sin * y + size / 2).astype(np.int64)
    turned_row = np.floor(sin * x + cos * y + size / 2).astype(np.int64)
    return _collected(images, jet, channel, turned_row, turned_column)


def smeared(
    images: SparseImages,
    pt: npt.ArrayLike,
    generator: np.random.Generator,
    *,
    constant: float = HCAL_CONSTANT,
    stochastic: float = HCAL_STOCHASTIC,
) -> SparseImages:
    """Return the images with the pT of every pixel drawn anew within a calorimeter's resolution.

    Parameters
    ----------
    images
        The images; channels after the first are left alone.
    pt
        (jet,) pT of the jets [GeV].
    generator
        Where the random numbers come from.
    constant, stochastic
        sigma = sqrt(constant^2 pT^2 + stochastic^2 pT GeV); negative draws become 0.
    """
    jet, channel, row, column = _places(images)
    first = channel == 0
    value = images.value.astype(np.float64)
    total = np.bincount(jet[first], value[first], minlength=len(images.counts))
    scale = np.ones(len(images.counts))
    np.divide(np.asarray(pt, dtype=np.float64), total, out=scale, where=total > 0)
    gev = value * scale[jet]
    sigma = np.sqrt(constant**2 * gev**2 + stochastic**2 * gev)
    drawn = np.maximum(gev + sigma * generator.standard_normal(len(gev)), 0.0)
    value = np.where(first, drawn / scale[jet], value)
    return _collected(images, jet, channel, row, column, value)


def _places(images: SparseImages) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    jet = np.repeat(np.arange(len(images.counts)), images.counts)
    channel, row, column = np.unravel_index(images.index.astype(np.int64), images.shape)
    return jet, channel, row, column


def _collected(
    images: SparseImages,
    jet: IntArray,
    channel: IntArray,
    row: IntArray,
    column: IntArray,
    value: Float64Array | None = None,
) -> SparseImages:
    # Entries of one pixel add up; channels that summed to 1 do so again.
    channels, size, _ = images.shape
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    before = images.value.astype(np.float64)
    value = before if value is None else value
    layer = jet * channels + channel
    address = (layer * size + row) * size + column
    cells, slot = np.unique(address[inside], return_inverse=True)
    summed = np.bincount(slot, value[inside], minlength=len(cells))
    owner = cells // (size * size)
    layers = len(images.counts) * channels
    was = np.bincount(layer, before, minlength=layers)
    now = np.bincount(owner, summed, minlength=layers)
    norm = np.where((np.abs(was - 1) < _UNIT) & (now > 0), now, 1.0)
    summed = summed / norm[owner]
    filled = summed > 0
    return SparseImages(
        counts=np.bincount(owner[filled] // channels, minlength=len(images.counts)),
        index=(cells[filled] % (channels * size * size)).astype(images.index.dtype),
        value=summed[filled].astype(np.float32),
        shape=images.shape,
    )


_UNIT = 1e-4
"""How far the sum of an image's float32 pixels may be from 1 where it was divided by its sum."""
