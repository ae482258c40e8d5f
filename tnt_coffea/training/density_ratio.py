"""Density ratios of data and simulation, learned beside a window in mass (DCTR).

A classifier g of data against simulation gives the ratio g / (1 - g) of their densities, the
weight that makes simulation look like data. It is learned in the sidebands and, the mass being
among its inputs, interpolated into the window between them.

Source: arXiv:1907.08209; arXiv:2009.02205, equation 2.2; arXiv:2101.08320, equation 4.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Input, readers
from tnt_coffea.training import backend
from tnt_coffea.training.classifiers import (
    Classifier,
    Convolutional,
    Dense,
    ParticleFlow,
    Stopping,
)
from tnt_coffea.training.fitting import evaluated
from tnt_coffea.training.method import Scorer
from tnt_coffea.training.networks import clipped
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels
from tnt_coffea.typing import BoolArray, Float64Array

__all__ = [
    "LEAST_EFFECTIVE",
    "RatioNetwork",
    "WeightSummary",
    "auc",
    "check_mass",
    "density_ratio",
    "predicted",
    "region_classes",
    "weights_of",
]

LEAST_EFFECTIVE = 0.1
"""Smallest effective share of weighted events: with less, a handful of events decides."""
_BATCH = 8192


def _by_its_loss(network: Classifier) -> Classifier:
    if network.stopping is not Stopping.CROSS_ENTROPY:
        msg = (
            f"stopping: {network.stopping} chooses by one cut, and weights are needed everywhere; "
            "leave it at cross_entropy"
        )
        raise ValueError(msg)
    return network


RatioNetwork = Annotated[
    Convolutional | Dense | ParticleFlow,
    Field(discriminator="network"),
    AfterValidator(_by_its_loss),
]
"""Networks that can learn a ratio: those with a logarithm of the odds."""


@dataclass(frozen=True)
class WeightSummary:
    """How weights of simulated events are distributed.

    Attributes
    ----------
    least, largest, high
        Smallest and largest weight, and the one that 0.1 % are above.
    effective
        (sum w)^2 / (n sum w^2), the share of the events that they are worth.
    top
        Share of the sum that the 1 % with the largest weights have.
    total
        Sum of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> summary = WeightSummary.of(np.array([1.0, 1.0, 2.0]))
    >>> summary.largest, round(summary.effective, 3), summary.total
    (2.0, 0.889, 4.0)
    """

    least: float
    largest: float
    high: float
    effective: float
    top: float
    total: float

    @classmethod
    def of(cls, weights: npt.ArrayLike) -> WeightSummary:
        """Return that of (event,) weights."""
        w = np.sort(np.asarray(weights, dtype=np.float64))
        total, square = float(w.sum()), float((w**2).sum())
        return cls(
            least=float(w[0]),
            largest=float(w[-1]),
            high=float(np.quantile(w, 0.999)),
            effective=total**2 / (len(w) * square) if square > 0 else 0.0,
            top=float(w[-max(1, len(w) // 100) :].sum() / total) if total > 0 else 0.0,
            total=total,
        )

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name, each beginning with `weight`."""
        return {f"weight_{name}": value for name, value in asdict(self).items()}


def region_classes(
    regions: Sequence[tuple[str, MassRange]],
    data: Sample,
    simulation: Sample,
    masks: tuple[BoolArray, BoolArray] | None = None,
) -> tuple[SampleClass, ...]:
    """Return data (1) and simulation (0) of every region as classes, all regions alike in weight.

    Within a region either has the share of its events: N_data / N_simulation and its slope in
    the mass belong to the ratio, and the sum of the weights predicts a number of events.

    Parameters
    ----------
    regions
        Ranges in mass by name.
    data, simulation
        The samples.
    masks
        (event,) bool of either, which events take part; all by default.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sidebands = [("lower sideband", MassRange(low=3000, high=3300))]
    >>> data, simulation = testing.make_sample(400), testing.make_sample(800, seed=2)
    >>> first, second = region_classes(sidebands, data, simulation)
    >>> first.name, first.target, second.target, first.share + second.share
    ('lower sideband of data', 1.0, 0.0, 1.0)
    """
    samples = (data, simulation)
    own = masks or tuple(np.ones(len(sample), dtype=np.bool_) for sample in samples)
    classes = []
    for name, region in regions:
        inside = [
            mask & region.contains(sample.mass) for sample, mask in zip(samples, own, strict=True)
        ]
        sums = [float(np.abs(s.weight[m]).sum()) for s, m in zip(samples, inside, strict=True)]
        whole = sum(sums) or 1.0
        for sample, mask, total, target, what in zip(
            samples, inside, sums, (1.0, 0.0), ("data", "simulation"), strict=True
        ):
            classes.append(SampleClass(f"{name} of {what}", sample, mask, target, total / whole))
    return tuple(classes)


def density_ratio(
    regions: Sequence[tuple[str, MassRange]],
    samples: tuple[Sample, Sample],
    classifier: Convolutional | Dense | ParticleFlow,
    scope: str,
    seed: int,
    limit: float,
    masks: tuple[BoolArray, BoolArray] | None = None,
) -> Scorer:
    """Return the network whose score is log w, the logarithm of data over simulation.

    The last step of a training run moves the mean of its outputs by some per cent. A constant
    is taken off, so that the weights predict the events of the regions, on the average of these.

    Parameters
    ----------
    regions
        Ranges in mass by name in which it is learned.
    samples
        Data and simulation.
    classifier
        Its network and features.
    scope, seed
        Of the training run.
    limit
        Largest |log w|.
    masks
        (event,) bool of either, which events take part; all by default.

    Raises
    ------
    TrainingError
        There are too few events of data or simulation in a region.
    """
    classes = region_classes(regions, *samples, masks)
    scorer = classifier.train(WeakLabels(classes), scope, seed, log_odds=limit)
    ratios = []
    for real, simulated in zip(classes[::2], classes[1::2], strict=True):
        inside = simulated.sample.select(simulated.mask)
        found = float((inside.weight * np.exp(predicted(scorer, inside))).sum())
        wanted = float(real.sample.weight[real.mask].sum())
        for each, total in ((simulated, found), (real, wanted)):
            if total <= 0:
                msg = (
                    f"the weights of the events of the {each.name} sum to {total:.3g}, not above 0"
                )
                raise TrainingError(msg)
        ratios.append(found / wanted)
    excess = float(np.log(np.mean(ratios)))
    return replace(scorer, model=clipped(scorer.model, limit, excess))


def check_mass(inputs: Sequence[Input], sample: Sample, setting: str) -> None:
    """Refuse a network of weights that does not see the mass in which it is to interpolate.

    Raises
    ------
    ConfigError
        The variable of the search is not among its columns.
    """
    columns = {name for each in inputs for name in getattr(each, "columns", ())}
    if sample.variable not in columns:
        msg = (
            f"the weights are interpolated in {sample.variable}, which their network does not "
            f"see: name it among the features of {setting}"
        )
        raise ConfigError(msg)


def predicted(scorer: Scorer, sample: Sample) -> Float64Array:
    """Return the (event,) scores of a Keras scorer for a sample."""
    reading = readers(scorer.inputs, sample)
    parts = [np.zeros(0)]
    for start in range(0, len(sample), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(sample)))
        values = evaluated(scorer.model, {name: read(rows) for name, read in reading.items()})
        parts.append(backend.array(values).astype(np.float64))
    return np.concatenate(parts)


def weights_of(log_ratio: npt.ArrayLike, sample: Sample) -> Float64Array:
    """Return the (event,) weights of simulated events: their own times exp(log w).

    Raises
    ------
    TrainingError
        They are worth less than `LEAST_EFFECTIVE` of their number.
    """
    weights: Float64Array = sample.weight * np.exp(np.asarray(log_ratio, np.float64))
    if len(weights):
        own = WeightSummary.of(np.abs(sample.weight)).effective
        if own < LEAST_EFFECTIVE:
            msg = (
                f"the {len(weights)} simulated events come with weights that are worth {own:.1%} "
                f"of them, at least {LEAST_EFFECTIVE:.0%} are needed: give more or other simulation"
            )
            raise TrainingError(msg)
        effective = WeightSummary.of(np.abs(weights)).effective
        if effective < LEAST_EFFECTIVE:
            msg = (
                f"the weights of {len(weights)} simulated events are worth "
                f"{effective * len(weights):.0f}, {effective:.1%} of them, at least "
                f"{LEAST_EFFECTIVE:.0%} are needed: the simulation is too unlike the data"
            )
            raise TrainingError(msg)
    return weights


def auc(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    positive_weights: npt.ArrayLike | None = None,
) -> float:
    """Return the area under the ROC curve of scores, the negative ones with weights.

    Examples
    --------
    >>> auc([0.2, 0.9], [0.1, 0.5]), auc([0.2, 0.9], [0.1, 0.5], [3.0, 1.0])
    (0.75, 0.875)
    """
    up, down = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    w = np.ones(len(down)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(down, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(w[order])])
    left = below[np.searchsorted(down[order], up, side="left")]
    right = below[np.searchsorted(down[order], up, side="right")]
    share = None if positive_weights is None else np.asarray(positive_weights, np.float64)
    return float(np.average((left + right) / 2, weights=share) / below[-1])
