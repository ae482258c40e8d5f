"""Where every event of a pass went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tnt_coffea.errors import ExecutionError

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
        Entries of failed items by item, with the reason.
    """

    events: int
    selected: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rest = self.events - self.selected - sum(self.rejected.values()) - self.n_lost
        if rest:
            msg = f"{rest} of {self.events} events are unaccounted for: {self.to_dict()}"
            raise ExecutionError(msg)

    @property
    def n_lost(self) -> int:
        """Events in failed items."""
        return sum(n for n, _ in self.lost.values())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "events": self.events,
            "selected": self.selected,
            "rejected": dict(self.rejected),
            "lost": {key: list(value) for key, value in self.lost.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Accounting:
        """Return the inverse of `to_dict`."""
        lost = {str(key): (int(n), str(reason)) for key, (n, reason) in values["lost"].items()}
        rejected = {str(cut): int(n) for cut, n in values["rejected"].items()}
        return cls(int(values["events"]), int(values["selected"]), rejected, lost)
