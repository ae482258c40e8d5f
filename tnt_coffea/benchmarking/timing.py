"""Interleaved timing: what is compared runs in turns, and the best of each is kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Timing", "interleaved"]


@dataclass(frozen=True)
class Timing:
    """How long one piece of work took.

    Attributes
    ----------
    events
        Events it worked on.
    seconds
        CPU time of the best repetition, which no other process lengthens.
    repetitions
        CPU time of every repetition, in their order.
    """

    events: int
    seconds: float
    repetitions: tuple[float, ...]

    @property
    def per_event(self) -> float:
        """Seconds an event."""
        return self.seconds / self.events

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def interleaved(
    work: Mapping[str, tuple[int, Callable[[], object]]], repetitions: int
) -> dict[str, Timing]:
    """Return the timing of every piece of work by name.

    Parameters
    ----------
    work
        By name: the events it works on, and the work itself, in this process and one thread.
    repetitions
        Rounds; in each every piece runs once, so a busy minute of the machine hits all alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repetitions):
        for name, (_, function) in work.items():
            gc.collect()
            start = time.process_time()
            function()
            taken[name].append(time.process_time() - start)
    return {
        name: Timing(work[name][0], min(seconds), tuple(seconds)) for name, seconds in taken.items()
    }
