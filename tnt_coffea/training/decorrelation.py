"""Scores that do not follow the mass: a penalty for training, and a step behind it.

A score that follows the mass shapes the spectrum that it selects.

| | where | for |
|---|---|---|
| `distance_correlation` | in the loss | networks that are trained to follow the mass less |
| `decorrelated` | behind any training | every score of the event: `decorrelate: true` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.stats.correlations import spearman
from tnt_coffea.taggers.inputs import Columns, Input, Reader, readers
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training.graph import OPSET, Graph
from tnt_coffea.training.method import Scorer
from tnt_coffea.training.orientation import quantile
from tnt_coffea.training.weak_labels import FEWEST
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["MassDependence", "decorrelated", "distance_correlation"]

_BATCH = 4096
_WIDTH = 0.68
"""Share of the events that is closer to the median than one width."""
_PIECES, _EVENTS_A_PIECE = 8, 200
"""Most pieces with the same number of events, and the fewest events of a piece. Where there are
enough events the last piece is halved again and again, so that the tail has pieces as well."""
_SWEEPS, _CONVERGED = 40, 1e-4
_LEAST_WIDTH = 0.1
"""Of the width over all masses: no event is blown up by a width that chance made small."""
_LEAST_SPREAD = 1e-4
"""Of the width of the score itself, below which it is nothing but a function of the mass."""
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


@dataclass(frozen=True)
class MassDependence:
    """Median and width of a score as continuous, piecewise linear functions of the mass.

    Beyond the masses that it was fitted to both stay constant.

    Attributes
    ----------
    knots
        (knot,) float32 masses [GeV], ascending.
    median, width
        (knot,) float32, of (score - `middle`) x `scale`.
    middle, scale
        Median of the score over all masses, and one over its width.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> mass = rng.uniform(3000, 5000, 4000)
    >>> score = mass / 100 + rng.normal(size=4000)
    >>> flat = MassDependence.of(score, mass).applied(score, mass)
    >>> [abs(float(np.median(flat[low < mass]))) < 0.1 for low in (3000, 4000, 4800)]
    [True, True, True]
    """

    knots: Float32Array
    median: Float32Array
    width: Float32Array
    middle: float
    scale: float

    @classmethod
    def of(
        cls, score: npt.ArrayLike, mass: npt.ArrayLike, weight: npt.ArrayLike | None = None
    ) -> MassDependence:
        """Return that of some events.

        Parameters
        ----------
        score, mass
            (event,).
        weight
            (event,), its modulus counts; 1 if not given.

        Raises
        ------
        TrainingError
            There are too few events, or the score is the same for most of them, or nothing but a
            function of the mass.
        """
        s, m = np.asarray(score, np.float64), np.asarray(mass, np.float32).astype(np.float64)
        w = np.ones(len(s)) if weight is None else np.abs(np.asarray(weight, np.float64))
        s, m, w = (each[w > 0] for each in (s, m, w))
        if len(s) < FEWEST or np.ptp(m) == 0:
            msg = (
                f"decorrelate: {len(s)} events of {len(np.unique(m))} masses show how the score "
                f"follows the mass, at least {FEWEST} are needed: use more events"
            )
            raise TrainingError(msg)
        middle = quantile(s, 0.5, w)
        size = quantile(np.abs(s - middle), _WIDTH, w)
        if size == 0:
            msg = "decorrelate: the score is the same for most events, it has no width"
            raise TrainingError(msg)
        t, knots = (s - middle) / size, _knots(m, w)
        median = _quantile_curve(m, t, w, knots, 0.5)
        away = np.abs(t - np.interp(m, knots, median))
        spread = quantile(away, _WIDTH, w)
        if spread < _LEAST_SPREAD:
            msg = "decorrelate: the score is a function of the mass, nothing is left without it"
            raise TrainingError(msg)
        width = np.maximum(_quantile_curve(m, away, w, knots, _WIDTH), _LEAST_WIDTH * spread)
        return cls(
            np.asarray(knots, np.float32),
            np.asarray(median, np.float32),
            np.asarray(width, np.float32),
            middle=float(np.float32(middle)),
            scale=float(np.float32(1 / size)),
        )

    def applied(self, score: npt.ArrayLike, mass: npt.ArrayLike) -> Float32Array:
        """Return the (event,) float32 scores of events, in widths from the median at their mass.

        Parameters
        ----------
        score, mass
            (event,).
        """
        s, m = (np.asarray(each, np.float32) for each in (score, mass))
        place = np.clip((m[:, None] - self.knots[:-1]) * self._slopes, 0, 1)
        median, width = (
            values[0] + (place * np.diff(values)).sum(axis=1, dtype=np.float32)
            for values in (self.median, self.width)
        )
        scaled = (s - np.float32(self.middle)) * np.float32(self.scale)
        return np.asarray((scaled - median) / width, np.float32)

    def add(self, graph: Graph, score: str, mass: str) -> str:
        """Return the name (n,) of the same, appended to a graph, of (n,) and (n, 1)."""
        ops = graph.ops
        place = ops.multiply(ops.subtract(mass, self.knots[:-1]), self._slopes)
        place = graph.add("Clip", place, *(graph.constant(edge) for edge in (0.0, 1.0)))
        median, width = (
            graph.flat(
                ops.add(
                    graph.add("MatMul", place, graph.constant(np.diff(values)[:, None])),
                    values[:1],
                )
            )
            for values in (self.median, self.width)
        )
        scaled = ops.multiply(ops.subtract(score, np.float32(self.middle)), np.float32(self.scale))
        return ops.divide(ops.subtract(scaled, median), width)

    @property
    def _slopes(self) -> Float32Array:
        return np.asarray(1 / np.diff(self.knots), np.float32)


def decorrelated(
    scorer: Scorer, model: Any, sample: Sample, beside: BoolArray
) -> tuple[Scorer, Any]:
    """Return a scorer of the event whose score does not follow the mass, and its ONNX model.

    The order of events of one mass stays. Where the model has no column of the mass it gets one.

    Parameters
    ----------
    scorer, model
        Outcome of a training run, and the onnx.ModelProto exported from it.
    sample
        Events that it was trained on; the mass is that of the search, `Sample.mass`.
    beside
        (event,) bool, events to see how the score follows the mass.

    Raises
    ------
    TrainingError
        As `MassDependence.of`; or the model has another opset than 17.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training import Job
    >>> from tnt_coffea.training.methods.norm import EventNorm
    >>> sample = testing.make_sample(400)
    >>> scorer = EventNorm(features=("tau21",)).train(Job(sample, "event", seed=1))
    >>> flat, model = decorrelated(scorer, scorer.model, sample, np.ones(400, np.bool_))
    >>> scorer.inputs[0].columns, flat.inputs[0].columns
    (('heavy_tau21', 'light_tau21'), ('heavy_tau21', 'light_tau21', 'm_jj'))
    """
    versions = {item.domain: item.version for item in model.opset_import}
    if versions.get("") != OPSET:
        msg = f"decorrelate: the model is of ONNX's opset {versions.get('')}, expected {OPSET}"
        raise TrainingError(msg)
    tagger, rows = Tagger(model.SerializeToString(), "the model"), np.flatnonzero(beside)
    score = _scores(tagger, readers(scorer.inputs, sample), rows)
    mass, weight = sample.mass[rows], np.abs(sample.weight[rows])
    dependence = MassDependence.of(score, mass, weight)

    inputs, own = _with_mass(scorer.inputs, sample)
    place = next(each for each in inputs if isinstance(each, Columns)).columns.index(
        sample.variable
    )
    graph = Graph(*inputs)
    values = {each.name: each.name for each in scorer.inputs}
    if Columns.name in values:
        chosen = graph.constant(np.arange(own))
        values[Columns.name] = graph.add("Gather", Columns.name, chosen, axis=1)
    outputs = graph.include(model, values)
    raw = graph.flat(graph.cast(outputs[0], "float"))
    flat = dependence.add(graph, raw, graph.slice(Columns.name, place))

    def predict(shown: dict[str, Float32Array]) -> Float32Array:
        given = {name: shown[name] for name in values}
        if Columns.name in given:
            given[Columns.name] = shown[Columns.name][:, :own]
        return dependence.applied(tagger.score(given), shown[Columns.name][:, place])

    before, after = (
        spearman(each.astype(np.float64), mass, weight)[0]
        for each in (score, dependence.applied(score, mass))
    )
    notes = {"mass_correlation": before, "mass_correlation_decorrelated": after}
    made = graph.model(flat, *outputs[1:])
    summary = {**scorer.summary, **{name: value or 0.0 for name, value in notes.items()}}
    return replace(scorer, model=made, inputs=inputs, predict=predict, summary=summary), made


def _scores(tagger: Tagger, reading: Mapping[str, Reader], rows: IntArray) -> Float32Array:
    parts = [
        tagger.score({name: read(rows[i : i + _BATCH]) for name, read in reading.items()})
        for i in range(0, max(len(rows), 1), _BATCH)
    ]
    return np.concatenate(parts)


def _with_mass(inputs: tuple[Input, ...], sample: Sample) -> tuple[tuple[Input, ...], int]:
    """Return the inputs with the mass among the columns, and the number of columns before."""
    for number, each in enumerate(inputs):
        if isinstance(each, Columns):
            own = len(each.columns)
            if sample.variable in each.columns:
                return inputs, own
            more = Columns.of((*each.columns, sample.variable), sample)
            return (*inputs[:number], more, *inputs[number + 1 :]), own
    return (*inputs, Columns.of((sample.variable,), sample)), 0


def _knots(mass: Float64Array, weight: Float64Array) -> Float64Array:
    """Return ascending masses between which there are enough events each."""
    pieces = int(np.clip(len(mass) // _EVENTS_A_PIECE, 1, _PIECES))
    shares, rest = [i / pieces for i in range(pieces)], 1 / pieces
    while rest * len(mass) / 2 >= _EVENTS_A_PIECE:
        rest /= 2
        shares.append(1 - rest)
    found = [quantile(mass, share, weight) for share in shares[1:]]
    return np.unique(np.array([mass.min(), *found, mass.max()], np.float32)).astype(np.float64)


def _quantile_curve(
    x: Float64Array, y: Float64Array, weight: Float64Array, knots: Float64Array, share: float
) -> Float64Array:
    """Return the (knot,) values of the continuous, piecewise linear quantile of y for given x.

    At the minimum of the loss of a quantile regression (Koenker, Bassett, Econometrica 46 (1978)
    33) the weighted quantile of what is left is zero around every knot, with the tent function of
    the knot as the weight: so one knot after the other is moved there, until none moves.
    """
    values = np.full(len(knots), quantile(y, share, weight))
    tents = []
    for i in range(len(knots)):
        tent = np.interp(x, knots, np.eye(len(knots))[i])
        rows = np.flatnonzero(tent > 0)
        tents.append((rows, tent[rows]))
    left = y - values[0]
    for _ in range(_SWEEPS):
        largest = 0.0
        for i, (rows, tent) in enumerate(tents):
            # Divided by the tent: a move of the knot moves the events by as much as it is high.
            step = quantile(left[rows] / tent, share, weight[rows] * tent)
            values[i] += step
            left[rows] -= step * tent
            largest = max(largest, abs(step))
        if largest < _CONVERGED:
            break
    return values
