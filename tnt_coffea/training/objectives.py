"""What classifiers are trained for: classes of events with shares, and the exact optimum of each.

| objective | optimum f / (1 - f) |
|---|---|
| `cwola` | p1 / p0 |
| `optimal_cwola` | p1 / b1 |
| `data_against_simulation` | p1 / q1 |
| `dctr`, then `salad` | p0 / q0, then p1 / (w q1) with w = p0 / q0 |
| `sa_cwola` | (p1 + lambda q0) / (p0 + lambda q1) |
| `olympics` | (p1 - lambda q1) / (p0 - lambda q0) |
| `supervised` | s / b1 |

with the densities p of the data, q of simulated background, b of background in the data and s of
signal; 1 in the signal region, 0 in the sidebands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tnt_coffea.errors import ConfigError
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = [
    "LARGEST_LOGIT",
    "EventGroup",
    "Objective",
    "Population",
    "cwola",
    "data_against_simulation",
    "dctr",
    "olympics",
    "optimal_cwola",
    "sa_cwola",
    "salad",
    "supervised",
]

LARGEST_LOGIT = 30.0
"""Beyond it a training is said to diverge; source: float32, where f is 1 from 17 on."""


class Population(StrEnum):
    """Where the events of a group come from."""

    DATA_SR = "data in the signal region"
    DATA_SB = "data in the sidebands"
    SIMULATION_SR = "simulation in the signal region"
    SIMULATION_SB = "simulation in the sidebands"
    BACKGROUND_SR = "background in the signal region"
    SIGNAL = "signal"


@dataclass(frozen=True)
class EventGroup:
    """Events of one origin in a loss.

    Attributes
    ----------
    population
        Their origin.
    target
        1 where the loss is -log f, 0 where it is -log(1 - f).
    share
        Their part of the loss, of either sign: the sum of their weights, up to a factor that
        all groups have in common.
    reweighted
        Whether they have weights of DCTR.
    """

    population: Population
    target: int
    share: float = 1.0
    reweighted: bool = False


@dataclass(frozen=True)
class Objective:
    """A weighted binary cross-entropy, given by its groups of events.

    Examples
    --------
    >>> objective = sa_cwola(0.5)
    >>> [(group.target, group.share) for group in objective.groups]
    [(1, 1.0), (0, 1.0), (0, 0.5), (1, 0.5)]
    >>> objective.weights([100, 100, 50, 50]).tolist()[::100]
    [1.0, 1.0, 1.0]
    """

    groups: tuple[EventGroup, ...]

    def targets(self, sizes: Sequence[int]) -> Float32Array:
        """Return the (event,) targets of groups of these sizes, one after the other."""
        return np.repeat([float(group.target) for group in self.groups], sizes).astype(np.float32)

    def weights(
        self, sizes: Sequence[int], reweighting: Float64Array | None = None
    ) -> Float32Array:
        """Return the (event,) or (member, event) weights of groups of these sizes.

        Their mean absolute value is 1, and the absolute sums of the groups are as the shares:
        the plain sum may vanish.

        Parameters
        ----------
        sizes
            Events of every group.
        reweighting
            (member, event) weights of DCTR, of the one group that has them.

        Raises
        ------
        ConfigError
            They are missing, or not wanted.
        """
        wanted = any(group.reweighted for group in self.groups)
        if wanted != (reweighting is not None):
            msg = f"weights of DCTR are {'missing' if wanted else 'for no group of this objective'}"
            raise ConfigError(msg)
        whole = sum(abs(group.share) for group in self.groups)
        parts = []
        for group, size in zip(self.groups, sizes, strict=True):
            each = np.ones((1, size))
            if group.reweighted and reweighting is not None:
                each = reweighting / reweighting.mean(axis=1, keepdims=True)
            parts.append(each * (group.share / whole * sum(sizes) / size))
        members = max(len(part) for part in parts)
        rows = [np.broadcast_to(part, (members, part.shape[1])) for part in parts]
        weights = np.concatenate(rows, axis=1).astype(np.float32)
        return weights if wanted else weights[0]

    def optimum(self, log_densities: Mapping[Population, Float64Array]) -> Float64Array:
        """Return the (event,) logits of the classifier that minimises the loss on infinite samples.

        With negative shares there may be none: where one coefficient of the loss is negative the
        logit is infinite. Weights of DCTR are the exact ones.

        Parameters
        ----------
        log_densities
            (event,) logarithm of the density of every population, at the events.

        Examples
        --------
        >>> data = {Population.DATA_SR: np.log([0.2, 0.4]), Population.DATA_SB: np.log([0.1, 0.4])}
        >>> np.exp(cwola().optimum(data)).round(3).tolist()
        [2.0, 1.0]
        """
        positive, negative = (self._coefficient(target, log_densities) for target in (1, 0))
        with np.errstate(divide="ignore"):
            logits: Float64Array = np.log(np.abs(positive)) - np.log(np.abs(negative))
        # A negative coefficient draws the logit away from where its term would be small.
        both = (positive < 0) & (negative < 0)
        logits[both] = np.where(positive < negative, -np.inf, np.inf)[both]
        logits[(positive < 0) & (negative >= 0)] = -np.inf
        logits[(positive >= 0) & (negative < 0)] = np.inf
        return logits

    def unbounded(self, log_densities: Mapping[Population, Float64Array]) -> BoolArray:
        """Return (event,) where the coefficient of -log f is negative, so that no f is best.

        Parameters
        ----------
        log_densities
            As of `optimum`.
        """
        unbounded: BoolArray = self._coefficient(1, log_densities) < 0
        return unbounded

    def _coefficient(
        self, target: int, log_densities: Mapping[Population, Float64Array]
    ) -> Float64Array:
        """Return the density of one class, over the largest of all densities at an event."""
        largest = np.max(np.array([*log_densities.values()]), axis=0)
        total = np.zeros_like(largest)
        for group in self.groups:
            if group.target != target:
                continue
            exponent = log_densities[group.population] - largest
            if group.reweighted:
                exponent = exponent + (
                    log_densities[Population.DATA_SB] - log_densities[Population.SIMULATION_SB]
                )
            total += group.share * np.exp(exponent)
        return np.asarray(total)


_P = Population


def cwola() -> Objective:
    """Return data in the signal region against data in the sidebands.

    Source: arXiv:2009.02205, section II.B.
    """
    return Objective((EventGroup(_P.DATA_SR, 1), EventGroup(_P.DATA_SB, 0)))


def optimal_cwola() -> Objective:
    """Return data in the signal region against background of that region.

    Source: arXiv:2009.02205, section III.
    """
    return Objective((EventGroup(_P.DATA_SR, 1), EventGroup(_P.BACKGROUND_SR, 0)))


def data_against_simulation() -> Objective:
    """Return data against simulation, both in the signal region.

    Source: arXiv:2009.02205, section III.
    """
    return Objective((EventGroup(_P.DATA_SR, 1), EventGroup(_P.SIMULATION_SR, 0)))


def dctr() -> Objective:
    """Return data against simulation in the sidebands: g, of which w = g / (1 - g).

    Source: arXiv:2009.02205, equation 2.2.
    """
    return Objective((EventGroup(_P.DATA_SB, 1), EventGroup(_P.SIMULATION_SB, 0)))


def salad() -> Objective:
    """Return data against simulation with weights of DCTR, both in the signal region.

    Source: arXiv:2009.02205, equation 2.1.
    """
    return Objective((EventGroup(_P.DATA_SR, 1), EventGroup(_P.SIMULATION_SR, 0, reweighted=True)))


def sa_cwola(strength: float) -> Objective:
    """Return CWoLa with simulation of the two regions in the opposite classes.

    Parameters
    ----------
    strength
        lambda, the share of either simulated group; CWoLa itself at 0.

    Raises
    ------
    ConfigError
        It is negative.

    Source: arXiv:2009.02205, equation 2.3.
    """
    if not strength >= 0:
        msg = f"lambda must not be negative, got {strength}"
        raise ConfigError(msg)
    swapped = (
        EventGroup(_P.SIMULATION_SR, 0, strength),
        EventGroup(_P.SIMULATION_SB, 1, strength),
    )
    return Objective(cwola().groups + (swapped if strength else ()))


def olympics(strength: float) -> Objective:
    """Return CWoLa with simulation of the two regions counted negatively in their own classes.

    Parameters
    ----------
    strength
        lambda; each class's weights sum up to 1 - lambda.

    Raises
    ------
    ConfigError
        It is negative, or 1 or more, where the loss has no minimum at all.

    Source: arXiv:2101.08320, equation 4.11.

    Examples
    --------
    >>> olympics(1.05)
    Traceback (most recent call last):
    tnt_coffea.errors.ConfigError: the form with negative weights needs 0 <= lambda < 1, got 1.05: \
beyond, the loss has no minimum; equation 2.3 (swapped classes) has one
    """
    if not 0 <= strength < 1:
        msg = (
            f"the form with negative weights needs 0 <= lambda < 1, got {strength}: beyond, the "
            "loss has no minimum; equation 2.3 (swapped classes) has one"
        )
        raise ConfigError(msg)
    subtracted = (
        EventGroup(_P.SIMULATION_SR, 1, -strength),
        EventGroup(_P.SIMULATION_SB, 0, -strength),
    )
    return Objective(cwola().groups + (subtracted if strength else ()))


def supervised() -> Objective:
    """Return signal against background, told apart by their truth."""
    return Objective((EventGroup(_P.SIGNAL, 1), EventGroup(_P.BACKGROUND_SR, 0)))
