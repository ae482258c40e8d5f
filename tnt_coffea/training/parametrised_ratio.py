"""Density ratio of a class of signals to background: a network that is given their parameters.

The parameters are the masses of the two daughters of a resonance, and the prongs of their jets.

Source: arXiv:1601.07913 (parametrised networks); arXiv:2405.08889.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config.signal_points import SignalPoint, point_named
from tnt_coffea.errors import ConfigError
from tnt_coffea.training.features import Standardisation
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.stacked import StackedNetworks, train_stacked
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["LOG_MASSES", "ParametrisedRatio", "log_masses", "points_of"]

LOG_MASSES = ("log(heavy_mass + 1)", "log(light_mass + 1)")
"""Logarithms of the jets' masses [GeV], the last two features that a network is shown; the 1 GeV
keeps a jet without mass finite."""
_NEAR = 0.2
"""Width of the differences of logarithms of masses: a jet's mass is known to about 10 %."""
_ROWS = 2048


def log_masses(point: SignalPoint) -> Float64Array:
    """Return the (2,) logarithms of the masses of X and Y [GeV], as those of jets are shown.

    Examples
    --------
    >>> log_masses(SignalPoint(heavy_mass=500, light_mass=100)).round(2).tolist()
    [6.22, 4.62]
    """
    return np.log1p([point.heavy_mass, point.light_mass])


@dataclass(frozen=True, eq=False)
class ParametrisedRatio:
    """Ln of the density of a signal over that of background, for any parameters of the signal.

    The network sees the standardised features, the parameters, and the logarithms of the jets'
    masses over those of X and Y. All enter its first layer alone, so that other parameters
    change nothing but the biases of that layer.

    Attributes
    ----------
    standard
        Mean and width of the features on background.
    prongs
        Numbers of prongs that it knows, ascending.
    parameters
        Mean and width of the logarithms of the masses of X and Y among the points.
    networks
        Their logits are averaged.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> def jets(n, heavy, light):
    ...     return np.log1p(rng.normal([heavy, light], [30.0, 10.0], (n, 2))).astype(np.float32)
    >>> background = np.log1p(rng.exponential([250, 100], (500, 2))).astype(np.float32)
    >>> points = [SignalPoint(heavy_mass=m, light_mass=100) for m in (300, 500)]
    >>> signals = [jets(200, 300, 100), jets(200, 500, 100)]
    >>> ratio = ParametrisedRatio.of(
    ...     background, np.ones(500), signals, [np.ones(200)] * 2, points, seeds=(1,), epochs=8
    ... )
    >>> first = ratio.first(jets(100, 300, 100))
    >>> light, heavy = (ratio.log_ratio(first, log_masses(point), 2).mean() for point in points)
    >>> bool(light > heavy)
    True
    """

    standard: Standardisation
    prongs: tuple[int, ...]
    parameters: Standardisation
    networks: StackedNetworks

    @classmethod
    def of(
        cls,
        background: Float32Array,
        background_weight: Float64Array,
        signals: Sequence[Float32Array],
        signal_weights: Sequence[Float64Array],
        points: Sequence[SignalPoint],
        *,
        seeds: Sequence[int],
        epochs: int,
        pairs: int = 200_000,
        hidden: Sequence[int] = (64, 64),
        optimizer: OptimizerSettings | None = None,
    ) -> Self:
        """Return networks trained on simulated signals against background.

        All points have one weight. Background has the parameters of points drawn at random: in
        the ratio their distribution cancels.

        Parameters
        ----------
        background
            (event, feature) values, the last two `LOG_MASSES`.
        background_weight
            (event,) not negative.
        signals, signal_weights
            The same of every point.
        points
            Parameters of the signals.
        seeds
            A seed a network.
        epochs, hidden, optimizer
            As in `stacked.train_stacked`.
        pairs
            Pairs of a background event and a point that are shown.
        """
        standard = Standardisation.of(background, background_weight)
        known = tuple(sorted({point.prongs for point in points}))
        masses = np.array([log_masses(point) for point in points])
        parameters = Standardisation.of(masses.astype(np.float32))
        chosen, of_point = _pairs(len(background), len(points), pairs, seeds[0])
        values = np.concatenate([*signals, background[chosen]])
        number = np.concatenate(
            [*(np.full(len(signal), i) for i, signal in enumerate(signals)), of_point]
        )
        inputs = np.empty((len(values), values.shape[1] + 4 + len(known) - 1), np.float32)
        inputs[:, : values.shape[1]] = standard.applied(values)
        inputs[:, values.shape[1] :] = _shown(parameters, known, points)[number]
        inputs[:, values.shape[1] : values.shape[1] + 2] += values[:, -2:] / np.float32(_NEAR)
        weights = [each / each.sum() / len(points) for each in signal_weights]
        weights.append(background_weight[chosen] / background_weight[chosen].sum())
        weight = np.concatenate(weights)
        targets = np.arange(len(values)) < len(values) - len(chosen)
        networks = train_stacked(
            inputs,
            np.tile(np.arange(len(values)), (len(seeds), 1)),
            targets,
            weight / weight.mean(),
            seeds=seeds,
            epochs=epochs,
            hidden=hidden,
            optimizer=optimizer or OptimizerSettings(keep="last", batch=500),
        )
        return cls(standard, known, parameters, networks)

    @property
    def kernel(self) -> Float32Array:
        """(network, feature, node) of the first layer, from standardised features."""
        kernel, _ = self.networks.layers()[0]
        features = len(self.standard.mean)
        own = kernel[:, :features].astype(np.float64)
        width = 1 / self.standard.scale[-2:].astype(np.float64)
        own[:, -2:] += kernel[:, features : features + 2] * (width / _NEAR)[:, None]
        return own.astype(np.float32)

    def biases(self, masses: Float64Array, prongs: int) -> Float32Array:
        """Return the (network, node) biases of the first layer at parameters of a signal."""
        kernel, bias = self.networks.layers()[0]
        features = len(self.standard.mean)
        shown = _parameters(self.parameters, self.prongs, masses, prongs)
        shown[:2] += self.standard.mean[-2:].astype(np.float64) / _NEAR
        added = shown @ kernel[:, features:].astype(np.float64)
        return np.asarray(bias + added, np.float32)

    def first(self, values: Float32Array) -> Float32Array:
        """Return the (network, event, node) sums of the first layer, of (event, feature) values.

        They are the same for all parameters of a signal, whose biases are added.
        """
        sums: Float32Array = np.matmul(self.standard.applied(values), self.kernel)
        return sums

    def log_ratio(self, first: Float32Array, masses: Float64Array, prongs: int) -> Float32Array:
        """Return the (event,) logarithms at parameters of a signal, of what `first` gives."""
        layers = self.networks.layers()
        biases = self.biases(masses, prongs)
        out = np.empty(first.shape[1], np.float32)
        for start in range(0, len(out), _ROWS):
            nodes = first[:, start : start + _ROWS] + biases[:, None]
            np.maximum(nodes, 0, out=nodes)
            for kernel, bias in layers[1:-1]:
                nodes = np.matmul(nodes, kernel)
                nodes += bias[:, None]
                np.maximum(nodes, 0, out=nodes)
            kernel, bias = layers[-1]
            logits = np.matmul(nodes, kernel)[..., 0] + bias
            out[start : start + _ROWS] = logits.mean(axis=0)
        return out

    def add(self, graph: Graph, values: str, masses: Float64Array, prongs: int) -> str:
        """Return the name of the logarithms (n, 1) of features (n, feature) in a graph."""
        standard = self.standard.add(graph, values)
        layers = self.networks.layers()
        biases, kernels = self.biases(masses, prongs), self.kernel
        logits = []
        for member in range(len(self.networks)):
            each = [(kernels[member], biases[member])]
            each += [(kernel[member], bias[member]) for kernel, bias in layers[1:]]
            nodes = standard
            for number, (kernel, bias) in enumerate(each):
                nodes = graph.add("Relu", nodes) if number else nodes
                nodes = graph.ops.add(graph.add("MatMul", nodes, graph.constant(kernel)), bias)
            logits.append(nodes)
        mean: str = graph.ops.divide(graph.ops.total(logits), np.float32(len(logits)))
        return mean


def _pairs(events: int, points: int, pairs: int, seed: int) -> tuple[IntArray, IntArray]:
    """Return background events, each as often as all others or once more, and a point for each."""
    rng = seeds.generator(seed, "pairs")
    order = np.concatenate([rng.permutation(events) for _ in range(-(-pairs // events))])[:pairs]
    return order, rng.integers(0, points, len(order))


def _parameters(
    standard: Standardisation, known: Sequence[int], masses: Float64Array, prongs: int
) -> Float64Array:
    differences = -np.asarray(masses) / _NEAR
    scaled = (np.asarray(masses) - standard.mean) * standard.scale
    flags = [float(prongs == other) for other in known[1:]]
    return np.concatenate([differences, scaled, flags])


def _shown(
    standard: Standardisation, known: Sequence[int], points: Sequence[SignalPoint]
) -> Float32Array:
    shown = [_parameters(standard, known, log_masses(point), point.prongs) for point in points]
    return np.array(shown, np.float32)


def points_of(names: Sequence[str], given: Mapping[str, SignalPoint]) -> list[SignalPoint]:
    """Return the points of simulated signals, given or said by their names.

    Raises
    ------
    ConfigError
        A name is not among those given and says none.

    Examples
    --------
    >>> [point.prongs for point in points_of(["a", "x200-y80-3prong"], {"a": SignalPoint(
    ...     heavy_mass=500, light_mass=100)})]
    [2, 3]
    """
    try:
        return [given[name] if name in given else point_named(name) for name in names]
    except ConfigError as error:
        msg = f"{error}; give it under such a name with --prior NAME=FILE, or its point in points"
        raise ConfigError(msg) from error
