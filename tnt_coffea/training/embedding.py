"""Embedding of events: a network of the constituents of both jets that learns their masses.

For every constituent it learns to tell the mass of its jet:

    L_focal = mean over constituents of -(1 - p_m)^gamma ln p_m         m the interval of the mass

No truth enters: masses of jets are inputs.

Source: arXiv:2010.07106; arXiv:2101.08320, section 3.9.1, equation 3.16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers.inputs import Columns, Constituents
from tnt_coffea.training import backend
from tnt_coffea.training.features import Standardisation
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.typing import Float32Array

__all__ = [
    "COLUMNS",
    "MASS_CLASSES",
    "EmbeddingNetwork",
    "EventRanges",
    "focal_loss",
    "mass_class",
]

COLUMNS = tuple(f"{jet}_{name}" for name in ("pt", "eta", "mass", "tau21") for jet in JETS)
"""Columns beside the constituents: pT and mass in GeV."""
_FLOOR = np.repeat(np.array([1.0, -np.inf, 1.0, -np.inf], np.float32), len(JETS))
"""Least pT and mass [GeV], of which logarithms are taken."""
_LEAST_MASS, _INTERVAL, _INTERVALS = 10.0, 49.5, 20
MASS_CLASSES = _INTERVALS + 1
"""20 equal intervals from 10 to 1000 GeV, and one above; lower masses are in the first."""
_PARTICLE, _HEAD = (64, 64, 32), 64
_LEAST_SHARE, _FARTHEST = 1e-4, 5.0
"""Bounds of a constituent's share of pT, and of its eta and phi."""
_SCALE = (0.5, 0.5, 0.5, 0.5, 5.0, 5.0, 5.0)
_OFFSET = (2.0, 2.0, 2.0, 2.0, 0.0, 0.0, -1.0)
"""Of four logarithms, eta, phi and Delta R, which bring them to the order of one."""
_MOMENTUM = 0.95


def focal_loss(logits: Any, classes: Any, gamma: float = 2.0) -> Any:
    """Return the focal loss of logits (..., class) and true classes (...), integers.

    With gamma = 0 it is the cross-entropy.

    Source: arXiv:1708.02002; arXiv:2101.08320, equation 3.16.

    Examples
    --------
    >>> from tnt_coffea.training import backend
    >>> keras = backend.keras()
    >>> loss = focal_loss(keras.ops.zeros((1, 2)), keras.ops.zeros((1,), "int32"))  # p = 1/2
    >>> round(float(loss[0]) / 0.6931, 3)
    0.25
    """
    ops = backend.keras().ops
    log_p = ops.log_softmax(logits, axis=-1)
    wanted = ops.one_hot(classes, logits.shape[-1], dtype=log_p.dtype)
    log_p = ops.sum(wanted * log_p, axis=-1)
    return -log_p if gamma == 0 else -ops.power(1.0 - ops.exp(log_p), gamma) * log_p


def mass_class(mass: Any) -> Any:
    """Return the class of jets of masses [GeV], of any shape: what constituents are labelled by.

    Examples
    --------
    >>> from tnt_coffea.training import backend
    >>> keras = backend.keras()
    >>> masses = np.array([0.0, 59.0, 60.0, 999.0, 3000.0], np.float32)
    >>> backend.array(mass_class(masses)).tolist()
    [0, 0, 1, 19, 20]
    """
    ops = backend.keras().ops
    classes = ops.clip(ops.floor((mass - _LEAST_MASS) / _INTERVAL), 0, _INTERVALS)
    return ops.cast(classes, "int32")


@dataclass(frozen=True)
class EventRanges:
    """Ranges of the columns, and means and widths of what is made of them.

    Attributes
    ----------
    low, high
        (column,) float32, extremes of the events trained on, to which values are clipped.
    standard
        Of the logarithms of both masses and of both tau21.
    scale
        Mean logarithms of a jet's pT and of its energy [GeV].

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(100)
    >>> ranges = EventRanges.of(Columns.of(COLUMNS, sample).read(sample), np.ones(100))
    >>> ranges.low.shape, ranges.standard.mean.shape
    ((8,), (4,))
    """

    low: Float32Array
    high: Float32Array
    standard: Standardisation
    scale: tuple[float, float]

    @classmethod
    def of(cls, values: Float32Array, weight: npt.NDArray[Any]) -> EventRanges:
        """Return those of (event, column) values of `COLUMNS`.

        Raises
        ------
        TrainingError
            A column is constant, or not finite for some events.
        """
        for name, column in zip(COLUMNS, values.T, strict=True):
            wrong = int((~np.isfinite(column)).sum())
            if wrong:
                msg = f"{name} is not finite for {wrong} of {len(column)} events"
                raise TrainingError(msg)
            if not len(column) or column.min() == column.max():
                msg = f"{name} is the same for all events to train on: nothing to learn from"
                raise TrainingError(msg)
        clipped = np.maximum(values, _FLOOR)
        pt, eta, mass, tau21 = _by_name(clipped)
        of_event = np.concatenate([np.log(mass), tau21], axis=1)
        energy = np.hypot(pt * np.cosh(eta), mass)
        return cls(
            clipped.min(axis=0),
            clipped.max(axis=0),
            Standardisation.of(of_event, weight),
            (float(np.log(pt).mean()), float(np.log(energy).mean())),
        )


def _by_name(columns: Any) -> tuple[Any, ...]:
    """Return pT, eta, mass and tau21, (n, jet) each, of (n, column)."""
    jets = len(JETS)
    return tuple(columns[:, jets * i : jets * (i + 1)] for i in range(4))


@dataclass(frozen=True)
class EmbeddingNetwork:
    """Keras tensors from a tagger's inputs to the embedding and to the focal loss.

    Attributes
    ----------
    inputs
        Constituents and columns.
    raw
        (n, dimension) embedding before it is normalised.
    norm
        Layer that gives each dimension a mean of zero and a width of one.
    embedded
        (n, dimension) embedding of the event.
    loss
        (n,) focal loss, mean over the event's constituents.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(100, constituents=5)
    >>> inputs = Constituents.of("event", sample), Columns.of(COLUMNS, sample)
    >>> ranges = EventRanges.of(inputs[1].read(sample), np.ones(100))
    >>> network = EmbeddingNetwork.of(*inputs, ranges, size=8, seed=1)
    >>> network.embedded.shape, network.loss.shape
    ((None, 8), (None,))
    """

    inputs: tuple[Any, Any]
    raw: Any
    norm: Any
    embedded: Any
    loss: Any

    @classmethod
    def of(
        cls,
        constituents: Constituents,
        columns: Columns,
        ranges: EventRanges,
        *,
        size: int,
        seed: int,
    ) -> EmbeddingNetwork:
        """Return the network: 11,797 parameters at a size of 8, 7,808 of them the embedding.

        Parameters
        ----------
        constituents
            Leading constituents of both jets; those with a share of pT of zero are padding.
        columns
            `COLUMNS` of the events.
        ranges
            Of the columns, on the events trained on.
        size
            Dimension of the embedding.
        seed
            Seed of the initial weights.
        """
        keras = backend.keras()
        ops, initial = keras.ops, backend.initialisers(seed)

        def dense(units: int, activation: str = "relu", *, bias: bool = True) -> Any:
            return keras.layers.Dense(
                units, activation=activation, use_bias=bias, kernel_initializer=initial()
            )

        shown, flat = input_tensor(constituents), input_tensor(columns)
        pt, eta, mass, tau21 = _by_name(_bounded(ops, flat, ranges.low, ranges.high, ranges.low))
        share = _bounded(ops, shown[..., :1], 0.0, 1.0, 0.0)
        place = _bounded(ops, shown[..., 1:], -_FARTHEST, _FARTHEST, 0.0)
        there = ops.cast(share > 0, "float32")

        particle = keras.layers.Rescaling(_SCALE, _OFFSET)(
            _of_particles(ops, share, place, (pt, eta, mass), ranges.scale)
        )
        for units in _PARTICLE:
            particle = dense(units)(particle)
        kept = there * particle
        mean = ops.sum(kept, axis=2) / ops.maximum(ops.sum(there, axis=2), 1.0)
        pooled = ops.concatenate([mean, ops.max(kept, axis=2)], axis=-1)
        pooled = ops.reshape(pooled, (-1, constituents.shape[0] * 2 * _PARTICLE[-1]))
        of_event = ranges.standard.tensor(ops.concatenate([ops.log(mass), tau21], axis=1))
        together = ops.concatenate([pooled, of_event], axis=1)
        raw = dense(size, "linear", bias=False)(together)
        # Of unit width: else the clustering loss is least where all events are in one place.
        norm = keras.layers.BatchNormalization(momentum=_MOMENTUM, center=False, scale=False)
        embedded = norm(raw)

        # One layer of both: the embedding is the same for all constituents.
        together = dense(_HEAD, "linear")(particle)
        together = together + dense(_HEAD, "linear", bias=False)(embedded)[:, None, None, :]
        logits = dense(MASS_CLASSES, "linear")(ops.relu(together))
        losses = focal_loss(logits, mass_class(mass)[:, :, None]) * there[..., 0]
        number = ops.maximum(ops.sum(there, axis=(1, 2, 3)), 1.0)
        return cls((shown, flat), raw, norm, embedded, ops.sum(losses, axis=(1, 2)) / number)

    def settle(self, raw: Float32Array) -> Float32Array:
        """Return (event, dimension) embedded events; their mean and width hold from now on.

        Those that the batches of the training leave behind depend on the last few of them.

        Parameters
        ----------
        raw
            (event, dimension) raw embedding of all events trained on.
        """
        self.norm.set_weights([raw.mean(axis=0), raw.var(axis=0)])
        embedded: Float32Array = backend.array(self.norm(raw))
        return embedded

    def model(self, output: Any) -> Any:
        """Return the keras.Model from the inputs to any output."""
        return backend.keras().Model(list(self.inputs), output)


def _bounded(ops: Any, value: Any, low: Any, high: Any, otherwise: Any) -> Any:
    """Return values within bounds; what is no number is `otherwise`."""
    return ops.where(ops.isnan(value), otherwise, ops.clip(value, low, high))


def _of_particles(
    ops: Any, share: Any, place: Any, jets: tuple[Any, Any, Any], scale: tuple[float, float]
) -> Any:
    """Return the seven features (n, jet, particle, 7) of constituents.

    Their energy is that of a constituent along the axis of its jet, for the frame of the images
    is turned.
    """
    pt, eta, mass = jets
    log_pt, log_cosh = ops.log(pt), ops.log(ops.cosh(eta))
    log_energy = 0.5 * ops.log(ops.square(pt * ops.cosh(eta)) + ops.square(mass))
    log_share = ops.log(ops.maximum(share, _LEAST_SHARE))
    of_pt, of_energy = scale

    def with_jet(value: Any) -> Any:
        return log_share + value[:, :, None, None]

    radius = ops.sqrt(ops.sum(ops.square(place), axis=-1, keepdims=True))
    return ops.concatenate(
        [
            log_share,
            with_jet(log_pt - of_pt),
            with_jet(log_pt + log_cosh - of_energy),
            with_jet(log_pt + log_cosh - log_energy),
            place,
            radius,
        ],
        axis=-1,
    )
