"""The distance correlation as a penalty in losses, so that a score does not follow the mass.

Whatever a score was trained with, a tagger set can rank it among events of the same mass:
`taggers.mass_dependence`.
"""

from __future__ import annotations

from typing import Any

__all__ = ["distance_correlation"]

_LEAST = 1e-12
"""Of squared distances in units of their mean, below which a column counts as constant."""


def distance_correlation(a: Any, b: Any, weight: Any | None = None) -> Any:
    """Return the squared distance correlation dCorr^2 of two columns of a batch, differentiable.

    It is 0 for independent columns alone, and 1 for linear ones; the penalty DisCo of a loss is a
    coefficient times it. Of n independent events it is about 1 / n, never 0. A constant column
    gives 0. `stats.correlations.distance_correlation` is its square root.

    Parameters
    ----------
    a, b
        (n,) Keras tensors, any units: for example an error and m_jj [GeV].
    weight
        (n,) positive; 1 if not given.

    Returns
    -------
    Scalar tensor, in [0, 1].

    Source: arXiv:2001.05310; Szekely, Rizzo, Bakirov, Annals of Statistics 35 (2007) 2769.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.training import backend
    >>> keras, x = backend.keras(), np.linspace(-1, 1, 101, dtype=np.float32)
    >>> round(float(distance_correlation(x, 3 * x + 1)), 4)
    1.0
    >>> 0.2 < float(distance_correlation(x, x**2)) < 0.3  # its linear correlation is 0
    True
    """
    from keras import ops

    a = ops.convert_to_tensor(a, "float32")
    b = ops.convert_to_tensor(b, "float32")
    w = ops.ones_like(a) if weight is None else ops.convert_to_tensor(weight, "float32")
    share = w / ops.sum(w)

    def centred(values: Any) -> Any:
        distances = ops.abs(ops.expand_dims(values, 1) - ops.expand_dims(values, 0))
        means = ops.matmul(distances, share)
        mean = ops.sum(share * means)
        distances = distances - ops.expand_dims(means, 1) - ops.expand_dims(means, 0) + mean
        # The result has no units, so a constant scale changes nothing but the rounding.
        return distances / ops.stop_gradient(ops.maximum(mean, 1e-30))

    def product(first: Any, second: Any) -> Any:
        return ops.sum(share * ops.matmul(first * second, share))

    first, second = centred(a), centred(b)
    variances = [ops.maximum(product(each, each), _LEAST) for each in (first, second)]
    return ops.maximum(product(first, second), 0.0) / ops.sqrt(variances[0] * variances[1])
