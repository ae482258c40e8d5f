"""Clusters of embedded events, and what a window does to them.

Events are drawn to centroids beside the loss of their embedding:

    L_cluster = sum_k pi_k d_k^2,     pi_k = exp(-alpha d_k) / sum_k' exp(-alpha d_k')

with d_k the distance of an event from centroid k.

Source: arXiv:2010.07106; arXiv:2101.08320, section 3.9.1, equations 3.17 to 3.19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.stats import norm, random_table

from tnt_coffea import seeds
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend
from tnt_coffea.training.embedding import EmbeddingNetwork
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = [
    "Occupancy",
    "assignment",
    "cluster_loss",
    "clustering_model",
    "k_means",
    "nearest",
    "occupancy_model",
]

_TINY = 1e-12
"""Added to squared distances, whose root has no derivative at zero."""
_STARTS, _ROUNDS = 4, 100
"""Starts of K-Means, of which the best is kept, and its most iterations."""
_LOTS = 2000
_PSEUDO_EVENTS = 10.0
"""Expected events by which ratios of occupancies are shrunk."""
_SHARPNESS = 10.0
"""alpha of the assignment that the score is made of."""


def _distances(embedded: Any, centroids: Any) -> Any:
    """Return (n, cluster) distances of (n, dimension) events from (cluster, dimension) places."""
    ops = backend.keras().ops
    squares = (
        ops.square(embedded[:, i : i + 1] - centroids[None, :, i])
        for i in range(centroids.shape[1])
    )
    return ops.sqrt(backend.total(squares) + _TINY)


def assignment(embedded: Any, centroids: Any, alpha: Any) -> Any:
    """Return (n, cluster) weights pi of events in clusters, which sum to one.

    Parameters
    ----------
    embedded
        (n, dimension) tensor.
    centroids
        (cluster, dimension).
    alpha
        Sharpness: the larger, the more the nearest centroid counts alone.

    Source: arXiv:2101.08320, equation 3.18.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.training import backend
    >>> keras = backend.keras()
    >>> x, mu = np.array([[0.0], [1.0]], "f4"), np.array([[0.0], [2.0]], "f4")
    >>> backend.array(assignment(x, mu, 1.0))[1].tolist()  # the one in the middle
    [0.5, 0.5]
    """
    ops = backend.keras().ops
    return ops.softmax(-alpha * _distances(embedded, centroids), axis=-1)


def cluster_loss(embedded: Any, centroids: Any, alpha: Any) -> Any:
    """Return (n,) sums over clusters of pi times the squared distance from the centroid.

    Parameters
    ----------
    embedded, centroids, alpha
        As in `assignment`.

    Source: arXiv:2101.08320, equation 3.17.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.training import backend
    >>> keras = backend.keras()
    >>> x, mu = np.array([[1.0]], "f4"), np.array([[0.0], [2.0]], "f4")
    >>> backend.array(cluster_loss(x, mu, 1.0)).round(3).tolist()
    [1.0]
    """
    ops = backend.keras().ops
    distances = _distances(embedded, centroids)
    return ops.sum(ops.softmax(-alpha * distances, axis=-1) * ops.square(distances), axis=-1)


def k_means(points: npt.NDArray[Any], clusters: int, seed: int) -> Float64Array:
    """Return (cluster, dimension) centroids of (event, dimension) points: the best of four starts.

    Raises
    ------
    TrainingError
        A cluster of each start lost all its points: they lie in fewer places than clusters.

    Source: K-Means++, D. Arthur and S. Vassilvitskii, SODA 2007, 1027.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> sorted(k_means(points, 2, seed=1).ravel().tolist())
    [0.5, 10.5]
    """
    best: tuple[float, Float64Array] | None = None
    values = np.asarray(points, np.float64)
    for start in range(_STARTS):
        chance = seeds.integer(seed, "k-means", start)
        try:
            with np.errstate(invalid="ignore"):  # of more clusters than places
                centroids, where = kmeans2(
                    values, clusters, iter=_ROUNDS, minit="++", missing="raise", seed=chance
                )
        except ClusterError:
            continue
        spread = float(np.square(values - centroids[where]).sum())
        if best is None or spread < best[0]:
            best = spread, centroids
    if best is None:
        msg = (
            f"K-Means finds fewer than {clusters} clusters among {len(values)} embedded events: "
            "use fewer clusters, or more events"
        )
        raise TrainingError(msg)
    return best[1]


def nearest(points: npt.NDArray[Any], centroids: npt.NDArray[Any]) -> IntArray:
    """Return (event,) number of the nearest of (cluster, dimension) centroids.

    >>> nearest(np.array([[0.2], [7.0]]), np.array([[0.0], [10.0]])).tolist()
    [0, 1]
    """
    apart = [np.square(points - each).sum(axis=1) for each in np.asarray(centroids, np.float64)]
    out: IntArray = np.argmin(apart, axis=0)
    return out


@dataclass(frozen=True)
class Occupancy:
    """Share of the events of a window in every cluster over that of its sidebands.

    Either sideband counts half, whatever its number of events: so an occupancy that changes
    linearly with the mass has a ratio near one.

    Attributes
    ----------
    log_ratio
        (cluster,) ln (n + c) / (E + c), n events in the window, E expected, c = 10.
    pulls
        (cluster,) (n - E) over its uncertainty.
    p_value
        Chance that regions drawn by lot have a pull as large as the largest one.

    Examples
    --------
    >>> cluster = np.repeat([0, 1], 300)
    >>> region = np.tile([0, 1, 2], 200)  # lower sideband, window, upper sideband
    >>> even = Occupancy.of(cluster, region, np.ones(600), clusters=2, seed=1)
    >>> even.log_ratio.tolist(), even.p_value
    ([0.0, 0.0], 1.0)
    """

    log_ratio: Float64Array
    pulls: Float64Array
    p_value: float

    @classmethod
    def of(
        cls,
        cluster: IntArray,
        region: IntArray,
        weight: npt.NDArray[Any],
        *,
        clusters: int,
        seed: int,
    ) -> Occupancy:
        """Return that of events.

        Parameters
        ----------
        cluster
            (event,) cluster.
        region
            (event,) 0 in the lower sideband, 1 in the window, 2 in the upper sideband.
        weight
            (event,) above zero: of the ratios. Pulls are those of numbers of events.
        clusters
            Number of clusters.
        seed
            Seed of the lots.
        """
        cells = region * clusters + cluster
        size = 3 * clusters
        counts = np.bincount(cells, minlength=size).reshape(3, clusters)
        sums = np.bincount(cells, weight / weight.mean(), minlength=size).reshape(3, clusters)
        expected = _expected(sums)
        log_ratio = np.log((sums[1] + _PSEUDO_EVENTS) / (expected + _PSEUDO_EVENTS))
        pulls = _pulls(counts)
        lots = random_table(counts.sum(axis=1), counts.sum(axis=0))
        drawn = lots.rvs(_LOTS, random_state=seeds.generator(seed, "occupancy"))
        # Not below rounding: the same table gives the same pull.
        largest = np.abs(pulls).max() - _TINY
        reached = int((np.abs(_pulls(drawn)).max(axis=-1) >= largest).sum())
        return cls(log_ratio, pulls, (1 + reached) / (1 + _LOTS))

    @property
    def significance(self) -> float:
        """Z of the largest pull after trials, from 0 (p above 1/2 as well) to 3.3 (2000 lots)."""
        return max(float(norm.isf(self.p_value)), 0.0)


def _expected(counts: npt.NDArray[Any]) -> Float64Array:
    """Return (..., cluster) events expected in the window of (..., region, cluster) counts."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    window = counts[..., 1, :].sum(axis=-1, keepdims=True)
    return np.asarray(window * (share[..., 0, :] + share[..., 2, :]) / 2, np.float64)


def _pulls(counts: IntArray) -> Float64Array:
    lower, window, upper = np.moveaxis(counts.sum(axis=-1, keepdims=True), -2, 0)
    share = counts.sum(axis=-2) / (lower + window + upper)
    variance = share * (1 - share) * (window + window**2 / 4 * (1 / lower + 1 / upper))
    out = np.zeros(share.shape)
    apart = counts[..., 1, :] - _expected(counts)
    np.divide(apart, np.sqrt(variance), out=out, where=variance > 0)
    return out


def clustering_model(
    network: EmbeddingNetwork, centroids: Float64Array, strength: float, alpha: float
) -> tuple[Any, Any, Any]:
    """Return the model of both losses, and its variables: centroids and alpha.

    Parameters
    ----------
    network
        Network whose weights it shares.
    centroids
        (cluster, dimension) centroids to start from; they are trained as well.
    strength
        beta, the factor on the clustering loss.
    alpha
        Sharpness to start from, as in `assignment`.

    Source: arXiv:2101.08320, equation 3.19.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Columns, Constituents
    >>> from tnt_coffea.training.embedding import COLUMNS, EventRanges
    >>> sample = testing.make_sample(100, constituents=5)
    >>> inputs = Constituents.of("event", sample), Columns.of(COLUMNS, sample)
    >>> ranges = EventRanges.of(inputs[1].read(sample), np.ones(100))
    >>> network = EmbeddingNetwork.of(*inputs, ranges, size=8, seed=1)
    >>> model, centroids, alpha = clustering_model(network, np.zeros((5, 8)), 10.0, 1.0)
    >>> model.output.shape, tuple(centroids.shape), float(alpha)
    ((None,), (5, 8), 1.0)
    """
    keras = backend.keras()

    class Attraction(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """The clustering loss of embedded events, with the centroids as weights."""

        def __init__(self) -> None:
            super().__init__()
            self.centroids = self.add_weight(shape=centroids.shape, initializer="zeros")
            self.alpha = self.add_weight(shape=(), initializer="ones", trainable=False)

        def call(self, embedded: Any) -> Any:
            return cluster_loss(embedded, self.centroids, self.alpha)

    layer = Attraction()
    layer.centroids.assign(centroids)
    layer.alpha.assign(alpha)
    model = network.model(network.loss + strength * layer(network.embedded))
    return model, layer.centroids, layer.alpha


def occupancy_model(
    network: EmbeddingNetwork, centroids: Float32Array, log_ratio: Float64Array
) -> Any:
    """Return the model from the inputs to the score (n,) and the embedding (n, dimension).

    The score is sum_k pi_k log r_k with alpha = 10: between clusters it changes continuously.

    Parameters
    ----------
    network
        Trained network.
    centroids
        (cluster, dimension).
    log_ratio
        (cluster,) of `Occupancy`.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Columns, Constituents
    >>> from tnt_coffea.training.embedding import COLUMNS, EventRanges
    >>> sample = testing.make_sample(100, constituents=5)
    >>> inputs = Constituents.of("event", sample), Columns.of(COLUMNS, sample)
    >>> ranges = EventRanges.of(inputs[1].read(sample), np.ones(100))
    >>> network = EmbeddingNetwork.of(*inputs, ranges, size=8, seed=1)
    >>> model = occupancy_model(network, np.zeros((5, 8), "f4"), np.ones(5))
    >>> [output.shape for output in model.outputs]
    [(None,), (None, 8)]
    """
    ops = backend.keras().ops
    shares = assignment(network.embedded, np.asarray(centroids, np.float32), _SHARPNESS)
    score = ops.matmul(shares, log_ratio.astype(np.float32)[:, None])[:, 0]
    return network.model([score, network.embedded])
