"""Where every event of a pass went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tnt_coffea.errors import ExecutionError
from tnt_coffea.metrics import Metrics

__all__ = ["Accounting"]


@dataclass(frozen=True)
class Accounting:
    """Where every event of a pass went: events = selected + rejected + lost.

    Attributes
    ----------
    events
        Entries of all work items.
    selected
        Events behind all cuts.
    rejected
        Events by the cut that rejected them.
    lost
        Entries that could not be read by where they are, with the reason; 0 for files that
        could not be opened, whose number of entries nobody knows.
    absent
        Events of files that do not have a trigger path, by its name (`events/filters.py`).
    datasets
        The same of each data set, where it is the sum of them.
    metrics
        What the pass cost; in no dictionary, and no two are compared by it.

    Examples
    --------
    >>> signal, box = Accounting(10, 9, {"two_jets": 1}), Accounting(100, 100)
    >>> both = Accounting.summed({"signal": signal, "box": box})
    >>> both.events, both.selected, both.rejected
    (110, 109, {'two_jets': 1})
    """

    events: int
    selected: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    absent: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    datasets: Mapping[str, Accounting] = field(default_factory=dict)
    metrics: Metrics | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        rest = self.events - self.selected - sum(self.rejected.values()) - self.n_lost
        if rest:
            msg = f"{rest} of {self.events} events are unaccounted for: {self.to_dict()}"
            raise ExecutionError(msg)

    @classmethod
    def summed(cls, datasets: Mapping[str, Accounting]) -> Accounting:
        """Return the sum over data sets."""
        rejected: dict[str, int] = {}
        absent: dict[str, int] = {}
        lost: dict[str, tuple[int, str]] = {}
        for one in datasets.values():
            lost |= one.lost
            for total, own in ((rejected, one.rejected), (absent, one.absent)):
                for name, n in own.items():
                    total[name] = total.get(name, 0) + n
        events, selected = (
            sum(getattr(one, name) for one in datasets.values()) for name in ("events", "selected")
        )
        return cls(events, selected, rejected, lost, datasets, absent=absent)

    def beside(self, other: Accounting) -> Accounting:
        """Return the account of this pass and another one over other data sets, with both costs."""
        both = self.summed({**self.datasets, **other.datasets})
        costs = [one.metrics for one in (self, other) if one.metrics is not None]
        return replace(both, metrics=sum(costs[1:], start=costs[0]) if costs else None)

    @property
    def n_lost(self) -> int:
        """Events in failed items."""
        return sum(n for n, _ in self.lost.values())

    @property
    def unopened(self) -> tuple[str, ...]:
        """Files that could not be opened, by data set and path."""
        return tuple(key for key, (n, _) in self.lost.items() if n == 0)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        datasets = {name: one.to_dict() for name, one in self.datasets.items()}
        return {
            "events": self.events,
            "selected": self.selected,
            "rejected": dict(self.rejected),
            "lost": {key: list(value) for key, value in self.lost.items()},
            **({"absent": dict(self.absent)} if self.absent else {}),
            **({"datasets": datasets} if datasets else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Accounting:
        """Return the inverse of `to_dict`."""
        lost = {str(key): (int(n), str(reason)) for key, (n, reason) in values["lost"].items()}
        rejected = {str(cut): int(n) for cut, n in values["rejected"].items()}
        datasets = {
            str(name): cls.from_dict(one) for name, one in values.get("datasets", {}).items()
        }
        absent = {str(name): int(n) for name, n in values.get("absent", {}).items()}
        numbers = int(values["events"]), int(values["selected"])
        return cls(*numbers, rejected, lost, datasets, absent=absent)
