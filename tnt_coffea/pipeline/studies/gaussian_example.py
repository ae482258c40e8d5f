"""The Gaussian example of arXiv:2009.02205: populations, trainings, and the exact curve of each.

Everything is known in closed form: the classifier that minimises each loss is a ratio of
densities, so a training is compared with its optimum and not with another training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.pipeline.studies.study import Training
from tnt_coffea.training import backend, objectives
from tnt_coffea.training.objectives import Objective, Population
from tnt_coffea.training.stacked import ADAM, train_stacked
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = [
    "EFFICIENCIES",
    "GAUSSIANS",
    "NEGATIVE",
    "SWAPPED",
    "Curve",
    "GaussianSettings",
    "Performance",
    "best_performance",
    "curves_of",
    "log_densities",
    "performance",
    "plane",
    "train_block",
]

GAUSSIANS: Mapping[Population, tuple[tuple[float, float], float]] = {
    Population.BACKGROUND_SR: ((0.0, 0.0), 1.0),
    Population.DATA_SB: ((1.0, 0.0), 1.0),
    Population.SIGNAL: ((1.5, 1.5), 0.5),
    Population.SIMULATION_SR: ((0.1, -0.1), 1.0),
    Population.SIMULATION_SB: ((1.05, 0.0), 1.0),
}
"""Mean and variance of either feature; source: equations 3.1 to 3.3."""
EVENTS, SIGNAL, SIGNAL_POOL, TESTED = 50_000, 500, 100_000, 300_000
"""Of every background, injected, to inject from, to test with; source: section III, and the
authors' notebook for what the text leaves out."""
EPOCHS, PUBLISHED_EPOCHS = 20, 100
PUBLISHED_BATCH = 0.1
SWAPPED = (0.5, 1.0, 1.05, 1.1, 1.25)
NEGATIVE = (0.25, 0.5, 0.75, 0.95)
EFFICIENCIES = tuple(round(0.02 * i, 2) for i in range(1, 51))
"""Signal efficiencies at which rejections are noted."""
BLOCK = 5
_CLIP = 6.0
"""Largest |logit| of DCTR that counts: its weights are within e^-6 and e^6."""


class GaussianSettings(Settings):
    """What decides the Gaussian study.

    Examples
    --------
    >>> settings = GaussianSettings(members=20, scale=0.1)
    >>> settings.number(EVENTS), settings.strength, settings.epochs
    (5000, 1.0, 20)
    """

    members: int
    scale: float
    seed: int = 1
    as_published: bool = False

    def number(self, events: int) -> int:
        """Return a number of events at this scale."""
        return max(1, round(events * self.scale))

    @property
    def strength(self) -> float:
        """Lambda of the curve in figure 2: 1 in the text, 1.05 in the authors' notebook."""
        return 1.05 if self.as_published else 1.0

    @property
    def epochs(self) -> int:
        """Epochs: 20 in the text, 100 in the authors' notebook."""
        return PUBLISHED_EPOCHS if self.as_published else EPOCHS

    def batch(self, events: int) -> int:
        """Return the batch of a training: 200 in the text, a tenth in the authors' notebook."""
        return max(1, round(PUBLISHED_BATCH * events)) if self.as_published else ADAM.batch


@dataclass(frozen=True)
class Curve:
    """One classifier of the study.

    Attributes
    ----------
    name, label
        In files, and in figures.
    objective
        What it is trained for.
    members
        How many are trained.
    columns
        The features that it sees.
    in_figure
        Whether it is in figure 2 of the paper.
    strength
        Lambda, where it has one.
    twice
        Whether it is trained on twice the background.
    """

    name: str
    label: str
    objective: Objective
    members: int
    columns: tuple[int, ...] = (0, 1)
    in_figure: bool = False
    strength: float | None = None
    twice: bool = False

    def background(self, settings: GaussianSettings) -> int:
        """Return how many events of each background train it."""
        if any(group.population is Population.SIGNAL for group in self.objective.groups):
            return settings.number(SIGNAL_POOL)
        return settings.number((2 if self.twice else 1) * EVENTS)

    def signal_share(self, settings: GaussianSettings) -> float:
        """Return the share of signal in the data of the signal region."""
        injected = settings.number(SIGNAL)
        return injected / (injected + self.background(settings))


def curves_of(settings: GaussianSettings) -> tuple[Curve, ...]:
    """Return the classifiers of the study: those of figure 2, and the scans over lambda.

    The scans and the supervised classifiers, which hardly differ, have a quarter of the members.

    Examples
    --------
    >>> [c.name for c in curves_of(GaussianSettings(members=20, scale=1)) if c.in_figure]
    ['supervised', 'supervised-x1', 'optimal-cwola', 'salad', 'data-against-simulation', \
'sa-cwola-1', 'cwola']
    """
    many, few = settings.members, max(2, settings.members // 4)
    shown = settings.strength
    figure = (
        Curve("supervised", "supervised", objectives.supervised(), few, in_figure=True),
        Curve("supervised-x1", "supervised, x₁ alone", objectives.supervised(), few, (1,), True),
        Curve("optimal-cwola", "optimal CWoLa", objectives.optimal_cwola(), many, in_figure=True),
        Curve(
            "salad",
            "SALAD",
            objectives.salad(),
            many,
            in_figure=True,
            twice=settings.as_published,
        ),
        Curve(
            "data-against-simulation",
            "data against simulation",
            objectives.data_against_simulation(),
            many,
            in_figure=True,
        ),
        _swapped(shown, many, in_figure=True),
        Curve("cwola", "CWoLa", objectives.cwola(), many, in_figure=True, strength=0.0),
    )
    scan = tuple(_swapped(strength, few) for strength in SWAPPED if strength != shown)
    negative = tuple(
        Curve(
            f"negative-{strength:g}",
            f"negative form, λ = {strength:g}",
            objectives.olympics(strength),
            few,
            strength=strength,
        )
        for strength in NEGATIVE
    )
    return figure + scan + negative


def _swapped(strength: float, members: int, *, in_figure: bool = False) -> Curve:
    return Curve(
        f"sa-cwola-{strength:g}",
        f"SA-CWoLa, λ = {strength:g}",
        objectives.sa_cwola(strength),
        members,
        in_figure=in_figure,
        strength=strength,
    )


def log_densities(
    events: Float64Array, signal_share: float, columns: Sequence[int] = (0, 1)
) -> dict[Population, Float64Array]:
    """Return the logarithm of the density of every population.

    Parameters
    ----------
    events
        (event, feature), both features.
    signal_share
        Of signal in the data of the signal region.
    columns
        The features whose joint density is meant.

    Examples
    --------
    >>> densities = log_densities(np.zeros((1, 2)), signal_share=0.01)
    >>> round(float(densities[Population.DATA_SR][0]), 3)  # 0.99 / (2 pi), hardly any signal
    -1.848
    """
    found = {}
    for population, (mean, variance) in GAUSSIANS.items():
        exponents = [
            (events[:, i] - mean[i]) ** 2 / (2 * variance) + np.log(2 * np.pi * variance) / 2
            for i in columns
        ]
        found[population] = -np.sum(exponents, axis=0)
    with np.errstate(divide="ignore"):
        shares = np.log([1 - signal_share, signal_share])
    found[Population.DATA_SR] = np.logaddexp(
        shares[0] + found[Population.BACKGROUND_SR], shares[1] + found[Population.SIGNAL]
    )
    return found


@dataclass(frozen=True, eq=False)
class Performance:
    """How well scores tell signal from background of the signal region.

    Attributes
    ----------
    auc
        Signal over background of the signal region.
    auc_regions
        Background of the signal region over that of the sidebands: 0.5 where the score does not
        depend on the region.
    passed
        (efficiency,) background efficiency at each of `EFFICIENCIES`.
    """

    auc: float
    auc_regions: float
    passed: Float64Array

    def to_dict(self) -> dict[str, Any]:
        """Return the performance as JSON values."""
        return {
            "auc": self.auc,
            "auc_regions": self.auc_regions,
            "passed": [float(f"{value:.7g}") for value in self.passed],
        }


def performance(
    signal: Float64Array,
    background: Float64Array,
    sidebands: Float64Array,
    weights: tuple[Float64Array, Float64Array, Float64Array] | None = None,
) -> Performance:
    """Return how well scores tell the classes apart; equal scores count half.

    Parameters
    ----------
    signal, background, sidebands
        (event,) scores of signal, and of background in the signal region and in the sidebands.
    weights
        (event,) of the three; 1 without.

    Examples
    --------
    >>> found = performance(np.array([1.0, 2, 3]), np.array([0.0, 1]), np.array([0.0, 1]))
    >>> round(found.auc, 3), found.auc_regions, found.passed[-1]
    (0.917, 0.5, np.float64(0.5))
    """
    ones = weights or (np.ones(len(signal)), np.ones(len(background)), np.ones(len(sidebands)))
    signals, backgrounds, beside = (
        _Ranked(scores, weight)
        for scores, weight in zip((signal, background, sidebands), ones, strict=True)
    )
    # From the highest threshold down; nothing passes above it, but background may.
    thresholds = np.unique(np.concatenate([signals.scores, [np.inf]]))[::-1]
    kept, passed = signals.at_least(thresholds), backgrounds.at_least(thresholds)
    kept, passed = np.concatenate([[0.0], kept]), np.concatenate([[0.0], passed])
    return Performance(
        signals.mean(backgrounds.below),
        backgrounds.mean(beside.below),
        np.maximum(np.interp(EFFICIENCIES, kept, passed), 1 / len(background)),
    )


class _Ranked:
    """Scores in order, and the share of their weight below each."""

    def __init__(self, scores: Float64Array, weights: Float64Array) -> None:
        order = np.argsort(scores)
        self.scores, self.weights = scores[order], weights[order]
        total = np.concatenate([[0.0], np.cumsum(self.weights, dtype=np.float64)])
        self.share = total / total[-1]

    def mean(self, function: Callable[[Float64Array], Float64Array]) -> float:
        # Of scores in order, for which other scores are found in the time of a walk.
        return float(np.average(function(self.scores), weights=self.weights))

    def at_least(self, thresholds: Float64Array) -> Float64Array:
        kept: Float64Array = 1 - self.share[np.searchsorted(self.scores, thresholds, "left")]
        return kept

    def below(self, scores: Float64Array) -> Float64Array:
        left, right = (
            self.share[np.searchsorted(self.scores, scores, side)] for side in ("left", "right")
        )
        below: Float64Array = (left + right) / 2
        return below


def plane(step: float) -> tuple[Float64Array, tuple[Float64Array, Float64Array, Float64Array]]:
    """Return the (point, feature) points of a grid, and weights for three populations.

    Sums with these weights are integrals over signal, and over background in the signal region
    and in the sidebands.

    Parameters
    ----------
    step
        Between the points, in both features.

    Examples
    --------
    >>> points, weights = plane(0.1)
    >>> [round(float(values.sum()), 3) for values in weights]
    [1.0, 1.0, 1.0]
    """
    axis = np.arange(-5, 6 + step / 2, step)  # five deviations around every population
    points = np.stack([values.ravel() for values in np.meshgrid(axis, axis)], axis=1)
    densities = log_densities(points, 0.0)
    signal, background, sidebands = (
        np.exp(densities[population]) * step**2
        for population in (Population.SIGNAL, Population.BACKGROUND_SR, Population.DATA_SB)
    )
    return points, (signal, background, sidebands)


def best_performance(
    objective: Objective,
    signal_share: float,
    columns: Sequence[int] = (0, 1),
    step: float = 0.03,
) -> Performance:
    """Return the performance of the classifier that minimises a loss, from the densities alone.

    Parameters
    ----------
    objective
        What is minimised.
    signal_share
        Of signal in the data of the signal region.
    columns
        The features that the classifier sees.
    step
        Of the grid of integration.

    Examples
    --------
    >>> round(best_performance(objectives.cwola(), 500 / 50500, step=0.1).auc, 2)
    0.13
    """
    points, weights = plane(step)
    scores = objective.optimum(log_densities(points, signal_share, columns))
    # In the far corners a score may be infinite, or not a number where no density is left.
    scores = np.nan_to_num(scores, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return performance(scores, scores, scores, weights)


def train_block(training: Training) -> dict[str, Any]:
    """Return what a block of members of one curve gives on test events, JSON values.

    Parameters
    ----------
    training
        Of settings `study`, those of the study, `curve`, its name, and the first and last
        `members`.
    """
    settings = GaussianSettings.model_validate(training.settings["study"])
    (curve,) = (one for one in curves_of(settings) if one.name == training.settings["curve"])
    first, last = training.settings["members"]
    members = range(first, last)
    with backend.one_thread():
        sample = _Sample(settings, curve)
        reweighting: Float64Array | None = None
        diagnostics: list[dict[str, float]] = [{} for _ in members]
        if any(group.reweighted for group in curve.objective.groups):
            reweighting, diagnostics = _dctr_weights(sample, members)
        rows = sample.rows(curve.objective, members)
        networks = sample.trained(curve.objective, rows, members, "f", reweighting)
        scores = [
            networks.logits(sample.tested(population))
            for population in (Population.SIGNAL, Population.BACKGROUND_SR, Population.DATA_SB)
        ]
        found = [performance(*(values[i] for values in scores)) for i in range(len(members))]
    return {
        "members": [
            one.to_dict()
            | {
                "largest_logit": float(max(np.abs(values[i]).max() for values in scores)),
                "loss": float(networks.loss[i, -1]),
                **diagnostics[i],
            }
            for i, one in enumerate(found)
        ]
    }


class _Sample:
    """Events of one curve: pools that all members choose from, in one array."""

    def __init__(self, settings: GaussianSettings, curve: Curve) -> None:
        self.settings, self.curve = settings, curve
        self.size = curve.background(settings)
        sizes = dict.fromkeys(GAUSSIANS, self.size)
        sizes[Population.SIGNAL] = settings.number(SIGNAL_POOL)
        # Background with injected signal is a sample of its own.
        self.pools: dict[Population, Float32Array] = {
            population: self._drawn(population, population.value, number)
            for population, number in sizes.items()
        }
        self.pools[Population.DATA_SR] = self._drawn(
            Population.BACKGROUND_SR, Population.DATA_SR.value, self.size
        )
        self.inputs = np.concatenate([*self.pools.values()])
        ends = np.cumsum([len(pool) for pool in self.pools.values()])
        self.starts = dict(zip(self.pools, np.concatenate([[0], ends[:-1]]), strict=True))

    def _drawn(self, population: Population, name: str, number: int) -> Float32Array:
        mean, variance = GAUSSIANS[population]
        rng = seeds.generator(self.settings.seed, "gaussian", name)
        values = rng.normal(mean, np.sqrt(variance), (number, 2))
        return values[:, self.curve.columns].astype(np.float32)

    def tested(self, population: Population) -> Float32Array:
        """Return the events that no training has seen."""
        return self._drawn(population, f"test {population.value}", self.settings.number(TESTED))

    def rows(self, objective: Objective, members: Sequence[int]) -> IntArray:
        """Return the (member, event) rows of a loss, group by group."""
        return np.stack(
            [
                np.concatenate([self._group(group.population, i) for group in objective.groups])
                for i in members
            ]
        )

    def sizes(self, objective: Objective) -> list[int]:
        """Return how many events each group of a loss has."""
        return [len(self._group(group.population, 0)) for group in objective.groups]

    def _group(self, population: Population, member: int) -> IntArray:
        whole: IntArray = self.starts[population] + np.arange(len(self.pools[population]))
        if population is not Population.DATA_SR:
            return whole
        rng = seeds.generator(self.settings.seed, "gaussian", "injection", member)
        pool = len(self.pools[Population.SIGNAL])
        injected = rng.choice(pool, self.settings.number(SIGNAL), replace=False)
        return np.concatenate([whole, self.starts[Population.SIGNAL] + injected])

    def trained(
        self,
        objective: Objective,
        rows: IntArray,
        members: Sequence[int],
        network: str,
        reweighting: Float64Array | None = None,
    ) -> Any:
        """Return the members' networks, trained for an objective."""
        sizes = self.sizes(objective)
        settings = self.settings
        return train_stacked(
            self.inputs,
            rows,
            objective.targets(sizes),
            objective.weights(sizes, reweighting),
            seeds=[seeds.integer(settings.seed, "gaussian", network, i) for i in members],
            epochs=settings.epochs,
            optimizer=ADAM.model_copy(update={"batch": settings.batch(sum(sizes))}),
        )


def _dctr_weights(
    sample: _Sample, members: Sequence[int]
) -> tuple[Float64Array, list[dict[str, float]]]:
    """Return w of the simulated events of the signal region, and what it is like."""
    objective = objectives.dctr()
    networks = sample.trained(objective, sample.rows(objective, members), members, "g")
    logits = networks.logits(sample.pools[Population.SIMULATION_SR]).astype(np.float64)
    weights = np.exp(np.clip(logits, -_CLIP, _CLIP))
    effective = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1) / weights.shape[1]
    return weights, [
        {"largest_weight": float(one.max()), "effective_share": float(share)}
        for one, share in zip(weights, effective, strict=True)
    ]
