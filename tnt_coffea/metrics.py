"""What work items cost: events, bytes read and seconds by step, summed over a pass.

They are beside the results and in none of them: no key, no histogram, no hash.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["STEPS", "Metrics", "measured", "prometheus", "timed"]

STEPS = ("reading", "clustering", "observables", "inference", "filling")
"""What a pass spends its time on; observables with the images, filling with writing parts."""

_NAMED = {"images": "observables"}
"""Steps under other names, in earlier manifests."""

_current: ContextVar[dict[str, float] | None] = ContextVar("steps", default=None)


@dataclass(frozen=True)
class Metrics:
    """The cost of a pass, summed over its work items.

    Attributes
    ----------
    items
        Work items.
    kept
        Those among them that an earlier run which was killed had done.
    events
        Events of all items.
    bytes_read
        What the processes read while they worked on them; None where the system does not say.
    seconds
        Time in work items, summed over processes.
    steps
        Seconds by step (`STEPS`).

    Examples
    --------
    >>> metrics = Metrics(2, 0, 2000, None, 4.0, {"reading": 1.0, "clustering": 2.5})
    >>> metrics.events_per_second, metrics.share("clustering")
    (500.0, 0.625)
    """

    items: int
    kept: int
    events: int
    bytes_read: int | None
    seconds: float
    steps: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Metrics) -> Metrics:
        """Return the cost of two passes; bytes are known where they are of both.

        >>> data, signals = Metrics(2, 0, 2000, 80, 4.0), Metrics(1, 1, 500, 20, 1.0)
        >>> both = data + signals
        >>> both.items, both.kept, both.events, both.bytes_read, both.seconds
        (3, 1, 2500, 100, 5.0)
        """
        known = self.bytes_read is not None and other.bytes_read is not None
        return Metrics(
            self.items + other.items,
            self.kept + other.kept,
            self.events + other.events,
            (self.bytes_read or 0) + (other.bytes_read or 0) if known else None,
            self.seconds + other.seconds,
            {
                step: self.steps.get(step, 0.0) + other.steps.get(step, 0.0)
                for step in STEPS
                if step in self.steps or step in other.steps
            },
        )

    @property
    def events_per_second(self) -> float:
        """Events by seconds of one process; 0 where nothing was measured."""
        return self.events / self.seconds if self.seconds > 0 else 0.0

    @property
    def rate(self) -> str:
        """Events by seconds of one process, as text."""
        return f"{self.events_per_second:{'.0f' if self.events_per_second >= 1000 else '.3g'}}"

    def share(self, step: str) -> float:
        """Return the share of the time that a step took."""
        return self.steps.get(step, 0.0) / self.seconds if self.seconds > 0 else 0.0

    @property
    def text(self) -> str:
        """The cost in one line.

        >>> Metrics(2, 0, 2000, None, 4.0, {"reading": 1.0, "clustering": 2.5}).text
        '2000 events in 2 work items, 500 events/s a process (reading 25 %, clustering 62 %)'
        """
        steps = ", ".join(f"{s} {self.share(s):.0%}" for s in STEPS if s in self.steps)
        return (
            f"{self.events} events in {self.items} work items"
            + (f", {self.kept} of them kept from a run that was cut" if self.kept else "")
            + f", {self.rate} events/s a process"
            + (f" ({steps.replace('%', ' %')})" if steps else "")
            + ("" if self.bytes_read is None else f", {self.bytes_read / 1e6:.3g} MB read")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "items": self.items,
            "kept": self.kept,
            "events": self.events,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 4),
            "steps": {step: round(self.steps[step], 4) for step in STEPS if step in self.steps},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metrics:
        """Return the inverse of `to_dict`, or of sums of items as `measured` gives them."""
        bytes_read = values.get("bytes_read")
        return cls(
            int(values["items"]),
            int(values["kept"]),
            int(values["events"]),
            None if bytes_read is None else int(bytes_read),
            float(values["seconds"]),
            {_NAMED.get(step, str(step)): float(s) for step, s in values["steps"].items()},
        )


@contextmanager
def measured(events: int) -> Iterator[dict[str, Any]]:
    """Measure one work item; what is given is complete when the block is left, and can be added.

    Parameters
    ----------
    events
        Events of the item.

    Examples
    --------
    >>> with measured(1000) as found:
    ...     with timed("reading"):
    ...         pass
    >>> found["events"], list(found["steps"])
    (1000, ['reading'])
    """
    found: dict[str, Any] = {"items": 1, "kept": 0, "events": events}
    steps: dict[str, float] = {}
    token, before, start = _current.set(steps), _bytes_read(), time.perf_counter()
    try:
        yield found
    finally:
        found["seconds"] = time.perf_counter() - start
        found["steps"] = steps
        after = _bytes_read()
        if before is not None and after is not None:
            found["bytes_read"] = after - before
        _current.reset(token)


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Count the time in a block for a step, where an item is measured.

    Examples
    --------
    >>> with timed("reading"):  # nobody measures
    ...     pass
    """
    steps = _current.get()
    if steps is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        steps[step] = steps.get(step, 0.0) + time.perf_counter() - start


def prometheus(stages: Mapping[str, Metrics]) -> str:
    """Return the metrics of stages in Prometheus' text format, for a textfile collector.

    Examples
    --------
    >>> text = prometheus({"skim": Metrics(2, 0, 2000, None, 4.0, {"reading": 1.0})})
    >>> text.splitlines()[2]
    'tnt_coffea_events{stage="skim"} 2000'
    """
    about = {
        "events": "Events of the last pass of a stage.",
        "items": "Work items of the last pass of a stage.",
        "items_kept": "Work items that a killed run had done before.",
        "bytes_read": "Bytes that were read.",
        "seconds": "Seconds in work items, summed over processes.",
        "step_seconds": "Seconds by step.",
    }
    lines = []
    for name, text in about.items():
        samples = [
            f"tnt_coffea_{name}{{{labels}}} {value}"
            for stage, metrics in stages.items()
            for labels, value in _samples(name, f'stage="{stage}"', metrics)
        ]
        if samples:
            lines += [f"# HELP tnt_coffea_{name} {text}", f"# TYPE tnt_coffea_{name} gauge"]
            lines += samples
    return "\n".join(lines) + "\n" if lines else ""


def _samples(name: str, stage: str, metrics: Metrics) -> list[tuple[str, float]]:
    values = metrics.to_dict()
    if name == "step_seconds":
        return [(f'{stage},step="{step}"', seconds) for step, seconds in values["steps"].items()]
    value = values["kept" if name == "items_kept" else name]
    return [] if value is None else [(stage, value)]


def _bytes_read() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        file = os.open("/proc/self/io", os.O_RDONLY)
        try:
            return int(os.read(file, 64).split(None, 2)[1])  # rchar: N
        finally:
            os.close(file)
    return None
