"""What a conditional density has, whatever is inside: ln p(x | m) in numpy and in a graph."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError

__all__ = ["ConditionalDensity", "checked_events", "log_mean", "sum_of_features"]


class ConditionalDensity(Protocol):
    """A density of scaled features x for a given scaled mass m.

    Both are in units of `scaling`. What a graph computes is float32, and agrees with numpy.
    """

    def log_prob(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (event,) ln p(x | m) of (event, feature) and (event,), in their precision."""
        ...

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name of ln p (n,) appended to a `Graph`, of values (n, feature) and (n, 1)."""
        ...


def log_mean(graph: Any, value: str, number: int) -> str:
    """Return the name of ln of the mean of exp over the first axis, (number, n) to (n,)."""
    summed = graph.add("ReduceLogSumExp", value, axes=[0], keepdims=0)
    name: str = graph.ops.subtract(summed, np.float32(np.log(number)))
    return name


def sum_of_features(graph: Any, value: str, size: int) -> str:
    """Return the name of the sum over the last axis, (density, n, feature) to (density, n)."""
    each = [graph.add("Gather", value, graph.constant(number), axis=2) for number in range(size)]
    return str(graph.ops.total(each))


def checked_events(
    x: npt.NDArray[Any], m: npt.NDArray[Any], weight: npt.NDArray[Any], least: int, what: str
) -> None:
    """Refuse events from which no density can be learned.

    Parameters
    ----------
    x, m, weight
        (event, feature), (event,) and (event,).
    least
        Least number of events.
    what
        The density in messages.

    Raises
    ------
    TrainingError
        There are too few, a number is not finite, or a weight is negative.
    """
    if len(x) < least:
        msg = f"{what}: {len(x)} events to learn a density from, at least {least} are needed"
        raise TrainingError(msg)
    if not (np.isfinite(x).all() and np.isfinite(m).all() and np.isfinite(weight).all()):
        msg = f"{what}: features, masses and weights have to be finite"
        raise TrainingError(msg)
    if (weight < 0).any() or not (weight > 0).any():
        n = int((weight < 0).sum())
        msg = f"{what}: {n} of {len(weight)} weights are negative; a density needs positive ones"
        raise TrainingError(msg)
