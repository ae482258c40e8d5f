"""Which events train a classifier, as what, and with which weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.events.identity import uniform

__all__ = ["Group", "Selection", "held_back"]

_FEWEST = 10  # jets of a class with which an epoch can be chosen at all

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Jets that together have a fixed share of the weight.

    Attributes
    ----------
    name
        What they are called in messages and histories: signal-rich, background-rich, ...
    jets
        (jet,) bool.
    share
        Their sum of weights, in training and in validation.
    """

    name: str
    jets: BoolArray
    share: float = 1.0


@dataclass(frozen=True)
class Selection:
    """A weakly labelled sample.

    Attributes
    ----------
    event_id
        (jet,) uint64 of the jets' events.
    targets
        (jet,) 1 for signal-rich, 0 for background-rich, or between.
    weight
        (jet,) before the groups are balanced.
    groups
        Disjoint. Jets in none of them are passed over.
    held_back
        (jet,) bool: what the epoch is chosen by; without it a share of every group.
    notes
        Numbers of how it was made, for the history.
    """

    event_id: npt.NDArray[np.uint64]
    targets: Float64Array
    weight: Float64Array
    groups: tuple[Group, ...]
    held_back: BoolArray | None = None
    notes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_id)

    @property
    def used(self) -> BoolArray:
        """(jet,) whether it is in a group."""
        out: BoolArray = np.logical_or.reduce([group.jets for group in self.groups])
        return out

    @property
    def counts(self) -> dict[str, int]:
        """Number of jets by group."""
        return {group.name: int(group.jets.sum()) for group in self.groups}

    def validation(self, share: float, seed: int) -> BoolArray:
        """Return (jet,) whether the epoch is chosen by it.

        Raises
        ------
        TrainingError
            A group has too few jets for that.
        """
        for name, n in self.counts.items():
            if n < _FEWEST:
                msg = (
                    f"{n} {name} jets, at least {_FEWEST} are needed: use more events, a "
                    "larger share (train.tnt) or a wider window (search.window)"
                )
                raise TrainingError(msg)
        if self.held_back is not None:
            return self.held_back & self.used
        out = np.zeros(len(self), dtype=np.bool_)
        for group in self.groups:
            out |= held_back(self.event_id, group.jets, share, seed)
        return out

    def balanced(self, part: BoolArray) -> Float64Array:
        """Return (jet,) weights in which every group of a part has its share."""
        out = np.zeros(len(self))
        for group in self.groups:
            chosen = part & group.jets
            out[chosen] = self.weight[chosen] / self.weight[chosen].sum() * group.share
        return out

    def joined(self, other: Selection) -> Selection:
        """Return the jets of both, those of `other` behind."""
        held = (self.held_back, other.held_back)
        return replace(
            self,
            event_id=np.concatenate([self.event_id, other.event_id]),
            targets=np.concatenate([self.targets, other.targets]),
            weight=np.concatenate([self.weight, other.weight]),
            groups=tuple(
                Group(mine.name, np.concatenate([mine.jets, theirs.jets]), mine.share)
                for mine, theirs in zip(self.groups, other.groups, strict=True)
            ),
            held_back=(
                None if held[0] is None or held[1] is None else np.concatenate([held[0], held[1]])
            ),
            notes={name: min(n, other.notes[name]) for name, n in self.notes.items()},
        )


def held_back(
    event_id: npt.NDArray[np.uint64], mask: BoolArray, share: float, seed: int
) -> BoolArray:
    """Return (jet,) the share of the masked jets that early stopping looks at.

    The lowest numbers, not those below the share: a class of ten jets then has one for
    validation and not, every third time, none.
    """
    rows = np.flatnonzero(mask)
    order = np.lexsort((event_id[rows], uniform(event_id[rows], seed, "validation")))
    out = np.zeros(len(event_id), dtype=np.bool_)
    out[rows[order[: max(1, round(share * len(rows)))]]] = True
    return out
