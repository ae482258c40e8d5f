"""Ratios of conditional densities: scores of events that are denser here than beside.

| ratio | compares the density at an event's mass with |
|---|---|
| `WindowRatio` | that learned beside the window |
| `SmoothedRatio` | itself at masses around |

Both are logarithms, and functions of scaled features and masses (`densities`). The volume's change
of the scaling is the same above and below, and falls out.

Source: arXiv:2001.04990; arXiv:2101.08320, sections 3.2 and 3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.densities.interface import ConditionalDensity
from tnt_coffea.training.densities.scaling import Scaling, point_masses
from tnt_coffea.training.features import FeatureSet, Standardisation, check_independent
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Scorer
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = ["DensityEvents", "Ratio", "SmoothedRatio", "WindowRatio", "features_and_mass"]

_SHIFTS = 10
_MOST_SHIFT = 2.0
"""Number of shifts, from minus to plus so many sigma."""


class Ratio(Protocol):
    """Logarithm of a ratio of densities, in numpy and in a graph."""

    def log_ratio(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (event,) of (event, feature) scaled features and (event,) scaled masses."""
        ...

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name (n,) of it, appended to a graph, of (n, feature) and (n, 1)."""
        ...


@dataclass(frozen=True)
class WindowRatio:
    """ln p_inside(x | m') - ln p_beside(x | m'), m' the mass clipped to the window.

    Beyond the window the inner density was never trained: unclipped, the ratio would
    shape the sidebands that the background is fitted to.

    Attributes
    ----------
    inside, beside
        Densities of the events in the window and of those beside it.
    low, high
        Scaled edges of the window.

    Examples
    --------
    >>> import numpy as np
    >>> class Exponential:
    ...     def __init__(self, slope):
    ...         self.slope = slope
    ...     def log_prob(self, x, m):
    ...         return np.log(self.slope) - self.slope * x[:, 0]
    >>> ratio = WindowRatio(Exponential(2.0), Exponential(1.0), -1.0, 1.0)
    >>> ratio.log_ratio(np.zeros((1, 1)), np.zeros(1)).round(6).tolist()  # ln 2
    [0.693147]
    """

    inside: ConditionalDensity
    beside: ConditionalDensity
    low: float
    high: float

    def log_ratio(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (event,) ln of the ratio."""
        there = np.clip(m, self.low, self.high)
        inside, beside = (each.log_prob(x, there) for each in (self.inside, self.beside))
        return np.asarray(inside - beside)

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name (n,) of ln of the ratio, appended to a graph."""
        there = graph.add("Clip", m, *(graph.constant(e) for e in (self.low, self.high)))
        inside, beside = (each.add(graph, x, there) for each in (self.inside, self.beside))
        name: str = graph.ops.subtract(inside, beside)
        return name


@dataclass(frozen=True)
class SmoothedRatio:
    """ln of the density averaged near an event's mass over that averaged further away.

    With d_k ten shifts from -2 to 2 sigma and g_k = exp(-d_k^2 / 2 sigma^2), it is the ratio of
    sum g_k p(x | m + d_k) / sum g_k and sum (1 - g_k) p(x | m + d_k) / sum (1 - g_k).
    Shifted masses are clipped to the range trained on.

    Attributes
    ----------
    density
        Density of all events.
    sigma
        Scaled width.
    low, high
        Scaled masses of the first and last event trained on.

    Examples
    --------
    >>> import numpy as np
    >>> class Flat:
    ...     def log_prob(self, x, m):
    ...         return np.zeros(len(x))
    >>> SmoothedRatio(Flat(), 0.5, -1.0, 1.0).log_ratio(np.zeros((1, 2)), np.zeros(1)).round(9)
    array([0.])
    """

    density: ConditionalDensity
    sigma: float
    low: float
    high: float

    @property
    def shifts(self) -> Float64Array:
        """(shift,) scaled."""
        return self.sigma * np.linspace(-_MOST_SHIFT, _MOST_SHIFT, _SHIFTS)

    @property
    def log_weights(self) -> tuple[Float64Array, Float64Array]:
        """(shift,) ln of the weights near and further away, either of sum 1."""
        near = np.exp(-0.5 * (self.shifts / self.sigma) ** 2)
        return np.log(near / near.sum()), np.log((1 - near) / (1 - near).sum())

    def log_ratio(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (event,) ln of the ratio."""
        masses = np.clip(m[:, None] + self.shifts.astype(m.dtype), self.low, self.high)
        each = np.stack([self.density.log_prob(x, there) for there in masses.T])
        near, away = (logsumexp(each + w[:, None], axis=0) for w in self.log_weights)
        return np.asarray(near - away)

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name (n,) of ln of the ratio: shifts ride on the axis of the events."""
        ops = graph.ops
        shifted = [ops.add(m, np.float32(shift)) for shift in self.shifts]
        there = graph.add("Concat", *shifted, axis=0)
        there = graph.add("Clip", there, *(graph.constant(e) for e in (self.low, self.high)))
        repeated = graph.add("Tile", x, graph.constant([_SHIFTS, 1]))
        each = self.density.add(graph, repeated, there)
        each = graph.add("Reshape", each, graph.constant([_SHIFTS, -1]))
        near, away = (
            graph.add("ReduceLogSumExp", ops.add(each, w[:, None]), axes=[0], keepdims=0)
            for w in self.log_weights
        )
        name: str = ops.subtract(near, away)
        return name


def features_and_mass(features: tuple[str, ...], scope: str, sample: Sample) -> FeatureSet:
    """Return the features and, behind them, the mass of the search, for densities of both.

    Parameters
    ----------
    features
        As in `FeatureSet.of`.
    scope
        heavy, light or event.
    sample
        Any events with these columns.

    Raises
    ------
    ConfigError
        The skim lacks a column, or a feature is the mass itself.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> features_and_mass(("heavy_mass", "tau21"), "event", testing.make_sample(1)).names
    ('heavy_tau21', 'light_tau21', 'heavy_mass', 'm_jj')
    """
    if sample.variable in features:
        msg = f"features hold {sample.variable}, the mass, which enters on its own; leave it out"
        raise ConfigError(msg)
    return FeatureSet.of((*features, sample.variable), scope, sample)


@dataclass(frozen=True)
class DensityEvents:
    """Events of a training as densities take them, with what brings any event there.

    Attributes
    ----------
    features
        Features, the mass last.
    scaling, mass
        Of the features, and of the mass.
    x
        (event, feature) scaled features.
    m
        (event,) scaled masses.
    weight
        (event,).
    usable
        (event,) bool: no value is one that many events share.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(500)
    >>> events = DensityEvents.of(features_and_mass(("tau21",), "event", sample), sample)
    >>> events.x.shape, bool(events.usable.all())
    ((500, 2), True)
    """

    features: FeatureSet
    scaling: Scaling
    mass: Standardisation
    x: Float64Array
    m: Float64Array
    weight: Float64Array
    usable: BoolArray

    @classmethod
    def of(cls, features: FeatureSet, sample: Sample) -> DensityEvents:
        """Return those of a sample.

        Raises
        ------
        TrainingError
            A feature is constant, not finite, or takes few values only.
        """
        values, weight = features.values(sample), np.asarray(sample.weight, np.float64)
        names = features.names[:-1]
        x, m = values[:, :-1], values[:, -1:]
        if not (np.isfinite(m).all() and np.isfinite(weight).all() and weight.any()):
            msg = "masses and weights of all events have to be finite, and some weight above zero"
            raise TrainingError(msg)
        usable = np.zeros(0, np.bool_)
        if len(x):
            # Constant features are refused first, by their scaling.
            Scaling.of(x, names=names)
            usable = ~point_masses(x, names)
        scaling = Scaling.of(x[usable], weight[usable], names=names)
        mass = Standardisation.of(m[usable], weight[usable])
        if np.ptp(m[usable]) == 0:
            msg = f"{features.names[-1]} is the same for all events to train on"
            raise TrainingError(msg)
        return cls(
            features,
            scaling,
            mass,
            scaling.applied(x),
            mass.applied(m)[:, 0].astype(np.float64),
            weight,
            usable,
        )

    def window(self, window: MassRange) -> tuple[float, float]:
        """Return the scaled edges of a window."""
        low, high = self.mass.applied(np.array([window.edges], np.float32).T)[:, 0].tolist()
        return low, high

    def fitted(self, density: Any, where: BoolArray, seed: int) -> ConditionalDensity:
        """Return the density, by its settings, of the usable events of a region.

        Raises
        ------
        TrainingError
            Some features are a linear combination of others, or what the density refuses.
        """
        # A density is infinite where all events lie on a surface.
        check_independent(self.scaling.inverse(self.x[self.usable]), self.features.names[:-1])
        rows = where & self.usable & (self.weight != 0)
        fitted: ConditionalDensity = density.fit(
            self.x[rows], self.m[rows], self.weight[rows], seed
        )
        return fitted

    def scorer(self, ratio: Ratio, **notes: float) -> Scorer:
        """Return the scorer of a ratio; notes go to its history and card."""
        graph, d = Graph(self.features.input), len(self.features) - 1
        values = self.features.add(graph, "features")
        x = graph.add("Gather", values, graph.constant(np.arange(d)), axis=1)
        m = self.mass.add(graph, graph.slice(values, d))
        model = graph.model(ratio.add(graph, self.scaling.add(graph, x), m))

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            values = self.features.computed(inputs["features"])
            m = self.mass.applied(values[:, -1:])[:, 0]
            x = self.scaling.applied(values[:, :-1]).astype(np.float32)
            return ratio.log_ratio(x, m).astype(np.float32)

        return Scorer(model, (self.features.input,), history=notes, summary=notes, predict=predict)
