"""Which events train a classifier, as which class, and with which weight.

Source: arXiv:1708.02949 (classification without labels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Input, readers
from tnt_coffea.training.fitting import Batches
from tnt_coffea.typing import BoolArray, Float64Array, IntArray

__all__ = ["FEWEST", "SampleClass", "WeakLabels", "check_weights", "validation_mask"]

FEWEST = 10
"""Least number of jets of a class; with fewer no epoch can be chosen."""


@dataclass(frozen=True)
class SampleClass:
    """Events that are shown to a classifier as one class.

    Attributes
    ----------
    name
        What they are called in messages and histories: signal-rich, background-rich, ...
    sample
        Sample that holds them.
    mask
        (event,) bool, which events of the sample.
    target
        1 for the positive class, 0 for the other, or (event,) between them.
    share
        Sum of the class's weights, in training and in validation; negative where its losses
        are to be subtracted.
    weight
        (event,) weights before they are scaled to the share; those of the sample without it.
    inputs
        Inputs of these events, where they differ from class to class; else those of the
        classifier.
    validation
        (event,) bool, which events choose the epoch; without it a share drawn by event id.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(100)
    >>> sideband = SampleClass("sideband", sample, sample.m_jj > 3700, target=0.0, share=0.5)
    >>> len(sideband), sideband.weights.shape
    (20, (100,))
    """

    name: str
    sample: Sample
    mask: BoolArray
    target: float | Float64Array = 1.0
    share: float = 1.0
    weight: Float64Array | None = None
    inputs: tuple[Input, ...] | None = None
    validation: BoolArray | None = None

    def __post_init__(self) -> None:
        target = np.asarray(self.target)
        if len(self.mask) != len(self.sample):
            msg = f"class {self.name}: a mask of {len(self.mask)} for {len(self.sample)} events"
            raise TrainingError(msg)
        if not ((target >= 0) & (target <= 1)).all():
            msg = f"class {self.name}: targets have to lie between 0 and 1"
            raise TrainingError(msg)

    def __len__(self) -> int:
        return int(self.mask.sum())

    @property
    def weights(self) -> Float64Array:
        """(event,) weights before they are scaled."""
        return self.sample.weight if self.weight is None else self.weight


@dataclass(frozen=True)
class WeakLabels:
    """Classes of events: what a classifier learns to tell apart.

    Attributes
    ----------
    classes
        Classes without common events.
    notes
        Further numbers for the history, such as the bins of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Columns
    >>> sample = testing.make_sample(200)
    >>> above = sample.m_jj > np.median(sample.m_jj)
    >>> classes = SampleClass("above", sample, above), SampleClass("below", sample, ~above, 0.0)
    >>> labels = WeakLabels(classes)
    >>> training, validation = labels.split([Columns.of(("heavy_mass",), sample)], 0.1, seed=1)
    >>> labels.counts, len(training), len(validation)
    ({'above': 100, 'below': 100}, 180, 20)
    """

    classes: tuple[SampleClass, ...]
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of events by class."""
        counts: dict[str, int] = {}
        for each in self.classes:
            counts[each.name] = counts.get(each.name, 0) + len(each)
        return counts

    def split(self, inputs: Sequence[Input], share: float, seed: int) -> tuple[Batches, Batches]:
        """Return the events to train on and those to choose the epoch by.

        Parameters
        ----------
        inputs
            Inputs of the classifier.
        share
            Share of the events of a class that choose the epoch; not used for a class with
            `validation`.
        seed
            Seed of the draw.

        Raises
        ------
        TrainingError
            A class has too few events, shares some with another one, or nothing is left to
            train or to validate with.
        """
        self._check_disjoint()
        for name, n in self.counts.items():
            if n < FEWEST:
                msg = (
                    f"{n} {name} jets, at least {FEWEST} are needed: use more events, a "
                    "larger share of them in this class, or a wider window (search.window)"
                )
                raise TrainingError(msg)
        chosen = [
            validation_mask(each.sample.event_id, each.mask, share, seed)
            if each.validation is None
            else each.validation & each.mask
            for each in self.classes
        ]
        parts = (
            [each.mask & ~held for each, held in zip(self.classes, chosen, strict=True)],
            chosen,
        )
        for name, masks in zip(("train on", "validate with"), parts, strict=True):
            if not any(mask.any() for mask in masks):
                msg = f"no jets to {name}: use more events, or fewer folds"
                raise TrainingError(msg)
        train, validate = (self._batches(inputs, masks) for masks in parts)
        return train, validate

    def _check_disjoint(self) -> None:
        for number, each in enumerate(self.classes):
            for other in self.classes[:number]:
                alike = other.sample is each.sample and other.inputs == each.inputs
                shared = int((other.mask & each.mask).sum()) if alike else 0
                if shared:
                    msg = f"{shared} events are both {other.name} and {each.name}"
                    raise TrainingError(msg)

    def _batches(self, inputs: Sequence[Input], masks: Sequence[BoolArray]) -> Batches:
        shown = [(each.sample, each.inputs or tuple(inputs)) for each in self.classes]
        # One source for all classes that are shown alike.
        places = [
            next(i for i, other in enumerate(shown) if other[0] is sample and other[1] == given)
            for sample, given in shown
        ]
        numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
        rows = [np.flatnonzero(mask) for mask in masks]
        source = np.concatenate(
            [np.full(len(row), numbers[place]) for row, place in zip(rows, places, strict=True)]
        )
        targets = np.concatenate(
            [
                np.broadcast_to(each.target, len(each.mask))[row]
                for each, row in zip(self.classes, rows, strict=True)
            ]
        )
        weights = np.concatenate(
            [_balanced(each, row) for each, row in zip(self.classes, rows, strict=True)]
        )
        size = np.abs(weights).mean() if len(weights) else 1.0
        if size <= 0:
            msg = f"the weights of {len(weights)} jets are all zero"
            raise TrainingError(msg)
        every = np.concatenate(rows)
        # In the order of the rows: which class was named first has no part in the training.
        order = np.lexsort((every, source))
        return Batches(
            sources=[readers(shown[place][1], shown[place][0]) for place in numbers],
            source=source[order],
            rows=every[order],
            targets=targets[order].astype(np.float32),
            weights=(weights[order] / size).astype(np.float32),
        )


def _balanced(each: SampleClass, rows: IntArray) -> Float64Array:
    weights = each.weights[rows]
    total = np.abs(weights).sum()
    out: Float64Array = weights / total * each.share if total > 0 else weights
    return out


def validation_mask(
    event_id: npt.NDArray[np.uint64], mask: BoolArray, share: float, seed: int
) -> BoolArray:
    """Return (event,) bool, the masked events that are kept for early stopping.

    They are exactly round(share x n) events, at least one. Drawn one by one with that
    probability, a small class could end up without any.
    """
    rows = np.flatnonzero(mask)
    order = np.lexsort((event_id[rows], uniform(event_id[rows], seed, "validation")))
    out = np.zeros(len(event_id), dtype=np.bool_)
    out[rows[order[: max(1, round(share * len(rows)))]]] = True
    return out


def check_weights(weight: npt.NDArray[Any], what: str, where: str = "") -> None:
    """Refuse weights below zero, and what is no number.

    Parameters
    ----------
    weight
        (event,).
    what
        What needs others, in the message.
    where
        Which events they are of, in the message.

    Raises
    ------
    TrainingError
        How many there are.
    """
    wrong = int((~(np.isfinite(weight) & (weight >= 0))).sum())
    if wrong:
        msg = (
            f"{wrong} of {len(weight)} weights{where} are negative or no numbers; {what} needs "
            "positive ones"
        )
        raise TrainingError(msg)
