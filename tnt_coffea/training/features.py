"""Features of jets as a network sees them, computed from the skim's own columns.

What a feature needs beyond its column (the dijet mass in the rescaled jet mass, mean and
width) goes into the tagger's graph, so a tagger asks for nothing but columns of a skim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample

if TYPE_CHECKING:
    from tnt_coffea.training.graph import Graph

__all__ = ["RESCALED_MASS", "FeatureSet", "Standardisation"]

RESCALED_MASS = "rescaled_mass"
_OFFSET, _REFERENCE = 30.0, 3000.0
"""GeV: m' = (m - 30) / m_jj + 30 / 3000, arXiv:2101.08320, equation 4.2."""

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSet:
    """Features and the columns that they are computed from.

    Attributes
    ----------
    names
        The features, jet by jet.
    columns
        Columns of the skim, the tagger's input in this order.
    places
        For every feature the columns it needs: one, or jet mass and dijet mass.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, features: Sequence[str], jets: Sequence[str], sample: Sample) -> FeatureSet:
        """Return the features of the jets, by observables' names.

        Raises
        ------
        ConfigError
            The skim does not hold an observable.
        """
        columns: list[str] = []
        places: list[tuple[int, ...]] = []
        names = [f"{jet}_{feature}" for jet in jets for feature in features]

        def place(column: str) -> int:
            if column not in sample.columns:
                known = ", ".join(sorted(sample.columns))
                msg = f"the skim holds no '{column}', only {known}; add it to skim.observables"
                raise ConfigError(msg)
            if column not in columns:
                columns.append(column)
            return columns.index(column)

        for jet in jets:
            for feature in features:
                if feature == RESCALED_MASS:
                    places.append((place(f"{jet}_mass"), place("m_jj")))
                else:
                    places.append((place(f"{jet}_{feature}"),))
        return cls(tuple(names), tuple(columns), tuple(places))

    def raw(self, sample: Sample, rows: npt.NDArray[np.int64]) -> Float32Array:
        """Return (row number, column) float32, the tagger's input."""
        return np.stack(
            [sample.columns[name][rows].astype(np.float32) for name in self.columns], axis=1
        )

    def computed(self, raw: Float32Array) -> Float32Array:
        """Return (event, feature) float32 of (event, column)."""
        out = np.empty((len(raw), len(self.places)), np.float32)
        for i, place in enumerate(self.places):
            out[:, i] = raw[:, place[0]]
            if len(place) == 2:
                shifted = (out[:, i] - np.float32(_OFFSET)) / raw[:, place[1]]
                out[:, i] = shifted + np.float32(_OFFSET / _REFERENCE)
        return out

    def add(self, graph: Graph, value: str) -> str:
        """Return the name of `computed` appended to a graph; `value` is (n, column)."""
        parts = []
        for place in self.places:
            columns = [
                graph.add("Gather", value, graph.constant(np.array([i])), axis=1) for i in place
            ]
            if len(columns) == 2:
                shifted = graph.add("Sub", columns[0], graph.constant(_OFFSET))
                ratio = graph.add("Div", shifted, columns[1])
                columns = [graph.add("Add", ratio, graph.constant(_OFFSET / _REFERENCE))]
            parts.append(columns[0])
        return graph.add("Concat", *parts, axis=1)


@dataclass(frozen=True)
class Standardisation:
    """Mean and width of every feature on the events trained on.

    Attributes
    ----------
    mean, scale
        (feature,) float32; `scale` is one over the width.
    """

    mean: Float32Array
    scale: Float32Array

    @classmethod
    def of(cls, values: Float32Array, weights: npt.NDArray[np.float64]) -> Standardisation:
        """Return that of (event, feature) values; a constant feature keeps its scale."""
        total = weights.sum()
        mean = (weights[:, None] * values).sum(axis=0) / total
        width = np.sqrt((weights[:, None] * (values - mean) ** 2).sum(axis=0) / total)
        width[width == 0] = 1.0
        return cls(mean.astype(np.float32), (1 / width).astype(np.float32))

    def applied(self, values: Float32Array) -> Float32Array:
        """Return (values - mean) x scale."""
        out: Float32Array = (values - self.mean) * self.scale
        return out

    def add(self, graph: Graph, value: str) -> str:
        """Return the name of `applied` appended to a graph."""
        centred = graph.add("Sub", value, graph.constant(self.mean))
        return graph.add("Mul", centred, graph.constant(self.scale))
