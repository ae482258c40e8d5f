"""Features: arithmetic of a skim's columns, computed inside the tagger's own graph.

A feature is a column (`tau21`), or an expression of columns: `mass / m_jj`,
`log(heavy_mass / light_mass)`, `heavy_mass - light_mass`. A jet's observable without `heavy_` or
`light_` before it is that of the jet that is looked at; for the scope `event` such a feature is
there once for each jet. So a tagger asks for nothing but columns of a skim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ungrouped
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.expressions import Expression
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers.inputs import Columns, jets_of
from tnt_coffea.typing import Float32Array

__all__ = [
    "NAMED_FEATURES",
    "FeatureSet",
    "Standardisation",
    "check_features",
    "check_independent",
]

_DEPENDENT = 1e-6
"""Variance that a combination of standardised features keeps, below which it has none."""
_OF_A_JET = tuple(f"{jet}_" for jet in JETS)

NAMED_FEATURES = {
    "rescaled_mass": "(mass - 30) / m_jj + 0.01",
    # The larger of rescaled_mass and 1e-4, which it is below for a mass of zero and m_jj < 3 TeV.
    "log_rescaled_mass": (
        "log10(((mass - 30) / m_jj + 0.0101 + abs((mass - 30) / m_jj + 0.0099)) / 2)"
    ),
    "mass_difference": "heavy_mass - light_mass",
    "mass_sum": "heavy_mass + light_mass",
    # Delta phi brought to [0, pi].
    "delta_r": (
        "sqrt((heavy_eta - light_eta)**2"
        " + (3.14159265 - abs(3.14159265 - abs(heavy_phi - light_phi)))**2)"
    ),
}
"""Expressions with a name; rescaled_mass [1]: arXiv:2101.08320, equation 4.2; delta_r [1]
is that of the two jets, which depends on m_jj: arXiv:2411.00085."""


@dataclass(frozen=True)
class FeatureSet:
    """Features of a jet or an event, and the columns that they are computed from.

    Attributes
    ----------
    expressions
        One a feature, of full column names.
    names
        Features as they were asked for, with the jet before them.
    input
        The columns, the tagger's input.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(3)
    >>> features = FeatureSet.of(("tau21", "log(mass)"), "heavy", sample)
    >>> features.names, features.input.columns
    (('heavy_tau21', 'heavy_log(mass)'), ('heavy_tau21', 'heavy_mass'))
    >>> columns = features.input.reader(sample)(np.arange(3))
    >>> features.computed(columns).shape
    (3, 2)
    """

    expressions: tuple[Expression, ...]
    names: tuple[str, ...]
    input: Columns

    @classmethod
    def of(cls, features: Sequence[str], scope: str, sample: Sample) -> FeatureSet:
        """Return the features of a scope's jets.

        A name that is no column of the sample is an observable of the scope's jet (`mass` is
        `heavy_mass`); for the scope `event` there is one for each jet. Columns by their full
        names, such as `m_jj` and `light_mass`, are there once, whatever the scope.

        Parameters
        ----------
        features
            Columns, expressions of them, or names in `NAMED_FEATURES` (`rescaled_mass`,
            `log_rescaled_mass`, `mass_difference`, `mass_sum`, `delta_r`), or in
            `OBSERVABLE_GROUPS` (`subjettiness`, `energy_flow`).
        scope
            heavy, light or event.
        sample
            Any events with these columns.

        Raises
        ------
        ConfigError
            A feature is no expression, or the skim does not hold a column.
        """
        of_event: dict[str, Expression] = {}
        of_jets: dict[str, dict[str, Expression]] = {jet: {} for jet in jets_of(scope)}
        for feature in ungrouped(features):
            expression = Expression(NAMED_FEATURES.get(feature, feature))
            if not expression.columns:
                msg = f"feature {feature!r} names no column of the skim"
                raise ConfigError(msg)
            of_jet = [name for name in expression.columns if name not in sample.columns]
            if not of_jet:
                of_event[feature] = expression
            for jet in of_jets if of_jet else ():
                full = {name: f"{jet}_{name}" for name in of_jet if not name.startswith(_OF_A_JET)}
                of_jets[jet][f"{jet}_{feature}"] = expression.renamed(full)
        every = {name: item for jet in of_jets.values() for name, item in jet.items()} | of_event
        columns = dict.fromkeys(name for item in every.values() for name in item.columns)
        return cls(tuple(every.values()), tuple(every), Columns.of(tuple(columns), sample))

    def __len__(self) -> int:
        return len(self.expressions)

    def some(self, numbers: npt.NDArray[np.int64]) -> FeatureSet:
        """Return some of the features, which need their own columns alone.

        >>> from tnt_coffea import testing
        >>> features = FeatureSet.of(("tau21", "mass"), "heavy", testing.make_sample(3))
        >>> features.some(np.array([1])).input.columns
        ('heavy_mass',)
        """
        if len(numbers) == len(self):
            return self
        expressions, names = ([of[i] for i in numbers] for of in (self.expressions, self.names))
        columns = dict.fromkeys(name for item in expressions for name in item.columns)
        own = self.input.model_copy(update={"columns": tuple(columns)})
        return FeatureSet(tuple(expressions), tuple(names), own)

    def values(self, sample: Sample) -> Float32Array:
        """Return (event, feature) float32 of every event of a sample."""
        return self.computed(self.input.read(sample))

    def computed(self, columns: Float32Array) -> Float32Array:
        """Return (event, feature) float32 of (event, column)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = self._values(lambda i: columns[:, i], np)
        return np.stack([np.broadcast_to(v, len(columns)) for v in values], axis=1, dtype="f4")

    def tensor(self, columns: Any) -> Any:
        """Return the (n, feature) Keras tensor of one of (n, column): part of a model."""
        from keras import ops

        return ops.stack(self._values(lambda i: columns[:, i], ops), axis=1)

    def add(self, graph: Any, columns: str) -> str:
        """Return the name of the (n, feature) features appended to a `graph.Graph`."""
        values = self._values(lambda i: graph.slice(columns, i), graph.ops)
        name: str = graph.add("Concat", *values, axis=1)
        return name

    def _values(self, column: Callable[[int], Any], ops: Any) -> list[Any]:
        values = {name: column(i) for i, name in enumerate(self.input.columns)}
        return [expression(values, ops) for expression in self.expressions]


@dataclass(frozen=True)
class Standardisation:
    """Mean and width of every feature on the events trained on.

    Attributes
    ----------
    mean, scale
        (feature,) float32; `scale` is one over the width.

    Examples
    --------
    >>> import numpy as np
    >>> masses = np.array([[100.0], [300.0]], np.float32)
    >>> Standardisation.of(masses).applied(masses).tolist()
    [[-1.0], [1.0]]
    """

    mean: Float32Array
    scale: Float32Array

    @classmethod
    def of(cls, values: Float32Array, weights: npt.ArrayLike | None = None) -> Standardisation:
        """Return that of (event, feature) values; a constant feature keeps its scale.

        >>> import numpy as np
        >>> Standardisation.of(np.array([[1.0], [3.0]], "f4")).mean.tolist()
        [2.0]
        """
        given = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
        weight = np.abs(given)
        total = weight.sum()
        mean = (weight[:, None] * values).sum(axis=0) / total
        width = np.sqrt((weight[:, None] * (values - mean) ** 2).sum(axis=0) / total)
        width[width == 0] = 1.0
        return cls(mean.astype(np.float32), (1 / width).astype(np.float32))

    def applied(self, values: Float32Array) -> Float32Array:
        """Return (values - mean) x scale."""
        out: Float32Array = (values - self.mean) * self.scale
        return out

    def tensor(self, features: Any) -> Any:
        """Return the standardised Keras tensor of one of (n, feature)."""
        return (features - self.mean) * self.scale

    def add(self, graph: Any, features: str) -> str:
        """Return the name of standardised features (n, feature) appended to a `graph.Graph`."""
        centred = graph.ops.subtract(features, self.mean)
        name: str = graph.ops.multiply(centred, self.scale)
        return name


def check_features(
    values: Float32Array, names: Sequence[str], way_out: str = "leave it out"
) -> None:
    """Refuse (event, feature) values from which nothing can be learned.

    `way_out` is what to do about a constant one.

    Raises
    ------
    TrainingError
        A feature, named in the message, is constant, or not finite for some events.
    """
    for name, column in zip(names, values.T, strict=True):
        wrong = int((~np.isfinite(column)).sum())
        if wrong:
            msg = (
                f"feature {name} is not finite for {wrong} of {len(column)} events, for "
                "example the logarithm of a mass of zero; write another expression"
            )
            raise TrainingError(msg)
        if not len(column) or column.min() == column.max():
            msg = f"feature {name} is the same for all events to train on; {way_out}"
            raise TrainingError(msg)


def check_independent(values: npt.NDArray[Any], names: Sequence[str]) -> None:
    """Refuse (event, feature) values that all lie on a surface.

    Raises
    ------
    TrainingError
        Features, named in the message, are the same, or linear combinations of one another.
    """
    n, d = values.shape
    if d < 2 or n <= d:
        return
    variances, turned = np.linalg.eigh(np.corrcoef(values, rowvar=False))
    part = np.square(turned[:, variances < _DEPENDENT]).sum(axis=1)
    found = [name for name, share in zip(names, part, strict=True) if share > 0.01]
    if found:
        msg = (
            f"features {', '.join(found)} are the same, or linear combinations of one another; "
            "leave one out"
        )
        raise TrainingError(msg)
