"""The linear autoencoder: principal components, the best reconstruction of its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.sparse import csr_array

from tnt_coffea.errors import TrainingError
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["PrincipalComponents", "principal_components"]

_DECIMALS = 7  # of an axis' elements: what float32 holds of the largest ones

Images = Callable[[IntArray], Float32Array]


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean image and the axes of largest variance.

    Attributes
    ----------
    shape
        (channel, row, column) of an image.
    mean
        (pixel,) float64.
    axes
        (component, pixel) float64, orthonormal to 7 decimals, largest variance first.
    variances
        (component,) float64, variance along each axis.
    total_variance
        Sum of the variances of all pixels.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]], "f4").reshape(3, 1, 2, 2)
    >>> components = principal_components(lambda rows: images[rows], np.ones(3), latent=1)
    >>> abs(components.axes).round(3).tolist(), round(components.total_variance, 3)
    ([[0.5, 0.5, 0.5, 0.5]], 0.889)
    """

    shape: tuple[int, int, int]
    mean: Float64Array
    axes: Float64Array
    variances: Float64Array
    total_variance: float

    @property
    def mean_squared_error(self) -> float:
        """Mean over the training images of the squared error summed over pixels."""
        return float(self.total_variance - self.variances.sum())


def principal_components(
    images: Images, weights: npt.ArrayLike, latent: int, *, batch: int = 512
) -> PrincipalComponents:
    """Return the `latent` principal components of images.

    Parameters
    ----------
    images
        Function from row numbers to their images, (row number, channel, row, column)
        float32: only `batch` images are held at a time.
    weights
        (n,) weight of every image.
    latent
        Number of components.
    batch
        Images expanded at a time.

    Raises
    ------
    TrainingError
        There are not more images than components.

    Source: a linear autoencoder with squared loss spans the principal components
    (Baldi, Hornik, Neural Networks 2 (1989) 53).

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Images
    >>> sample = testing.make_sample(50)
    >>> images = Images.of("heavy", sample).reader(sample)
    >>> components = principal_components(images, sample.weight, latent=6)
    >>> components.axes.shape, components.mean_squared_error < components.total_variance
    ((6, 144), True)
    """
    weight = np.asarray(weights, dtype=np.float64)
    if len(weight) <= latent:
        msg = (
            f"a linear autoencoder of {latent} components needs more than {latent} images, "
            f"got {len(weight)}; use fewer folds or more events"
        )
        raise TrainingError(msg)
    shape, mean, second = _moments(images, weight, batch)
    covariance = second - np.outer(mean, mean)
    pixels = len(mean)
    if latent > pixels:
        msg = f"{latent} components were asked for, but an image has {pixels} pixels"
        raise TrainingError(msg)
    variances, axes = eigh(covariance, subset_by_index=[pixels - latent, pixels - 1])
    return PrincipalComponents(
        shape=shape,
        mean=mean,
        # The solver's last digits depend on its number of threads.
        axes=_signed(axes.T[::-1]).round(_DECIMALS),
        variances=variances[::-1].copy(),
        total_variance=float(np.trace(covariance)),
    )


def _moments(
    images: Images, weight: Float64Array, batch: int
) -> tuple[tuple[int, int, int], Float64Array, Float64Array]:
    first: Float64Array | None = None
    second = np.zeros(())
    shape = (0, 0, 0)
    for start in range(0, len(weight), batch):
        rows = np.arange(start, min(start + batch, len(weight)))
        block = images(rows)
        shape = block.shape[1:]
        flat = block.reshape(len(rows), -1).astype(np.float64)
        weighted = flat * weight[rows, None]
        if first is None:
            first, second = np.zeros(flat.shape[1]), np.zeros((flat.shape[1],) * 2)
        first += weighted.sum(axis=0)
        # Few pixels are filled; and a sparse product sums in the same order on
        # any number of threads, which a dense one does not.
        second += (csr_array(weighted).T @ csr_array(flat)).toarray()
    total = weight.sum()
    if first is None or total <= 0:
        msg = f"the weights of {len(weight)} images sum to {total}, expected more than 0"
        raise TrainingError(msg)
    return shape, first / total, second / total


def _signed(axes: Float64Array) -> Float64Array:
    # An axis and its opposite are the same component; the libraries choose
    # differently, the bytes must not.
    largest = np.abs(axes).argmax(axis=1)
    signs: Float64Array = np.sign(axes[np.arange(len(axes)), largest])
    return axes * signs[:, None]
