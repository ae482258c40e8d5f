"""PAWS: a class of simulated signals, of which the data choose one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.signal_points import SignalPoint
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.features import FeatureSet, check_features
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Reads, Scope, Scorer, TrainedOn
from tnt_coffea.training.parametrised_ratio import (
    LOG_MASSES,
    ParametrisedRatio,
    log_masses,
    points_of,
)
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.training.signal_shares import SignalFit, fitted_signal
from tnt_coffea.training.weak_labels import FEWEST, check_weights
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = ["Paws"]

_LEAST = 1e-3
"""Share of the signal below which a kind of it is left out of the score."""


class Paws(SidebandMethod):
    """Density ratio of the simulated signal that describes the window best, and background.

    A network learns the ratio from simulated signals at many masses of X and Y, which it is given,
    and background. Then it stays as it is: the signal's share in the window, the masses, and the
    shares of each number of prongs are all that is fitted, by the cross-entropy of the window
    against its sidebands. So few numbers cannot learn noise. Assumes that the signal is of the
    simulated class, and that on background the features do not depend on the mass.

    Source: arXiv:2405.08889.

    Examples
    --------
    >>> method = Paws()
    >>> method.reads.knowledge, method.reads.simulation, method.reads.priors
    ('signal simulation', False, True)
    >>> Paws(points={"mine": {"heavy_mass": 500, "light_mass": 100}}).reads.priors
    ('mine',)
    """

    kind: Literal["paws"] = "paws"
    features: tuple[str, ...] = Field(
        ("tau21", "tau32"),
        description="columns or expressions of them, shown beside the masses of the jets",
    )
    points: Mapping[str, SignalPoint] = Field(
        {},
        description="masses [GeV] and prongs of the simulated signals by name; none: all that are "
        "given with --prior, whose names say them, as x500-y100-2prong",
    )
    sample: TrainedOn = Field(
        TrainedOn.DATA,
        description="background of the network: the sidebands of the data, or simulation",
    )
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (64, 64), min_length=1, description="nodes of the hidden layers"
    )
    networks: int = Field(1, ge=1, description="networks averaged")
    epochs: int = Field(20, ge=1, description="epochs of a network")
    pairs: int = Field(
        200_000, ge=1, description="pairs of a background event and a signal's parameters shown"
    )
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(keep="last", batch=500), description="Adam of the networks"
    )
    steps: int = Field(16, ge=1, description="masses of X, and of Y, that are tried at first")
    starts: int = Field(3, ge=1, description="searches for the best masses, from the best of these")

    @model_validator(mode="after")
    def _keeps_last(self) -> Self:
        if self.optimizer.keep != "last":
            msg = "paws keeps the weights of the last epoch: write optimizer: {keep: last}"
            raise ValueError(msg)
        return self

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "ln of the density ratio of the fitted signal and background"

    @property
    def reads(self) -> Reads:
        """The window, simulated signals, and simulated background where it is asked for."""
        return replace(
            Reads(window=True, priors=tuple(self.points) or True),
            simulation=self.sample is TrainedOn.SIMULATION,
        )

    @property
    def passes(self) -> int:
        """Epochs, each of all networks."""
        return self.epochs

    @property
    def libraries(self) -> tuple[str, ...]:
        """Numpy computes, scipy fits, onnx writes."""
        return ("numpy", "scipy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        self._features(sample)

    def check_priors(self, names: Sequence[str]) -> None:
        """Refuse a name that says no masses and prongs, and has no point in the settings."""
        points_of(names, self.points)

    def _features(self, sample: Sample) -> FeatureSet:
        return FeatureSet.of((*self.features, *LOG_MASSES), "event", sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the fitted signal."""
        names = [name for name in sorted(job.priors) if self.reads.prior(name)]
        points = points_of(names, self.points)
        features = self._features(job.data)
        regions = (job.in_window, *(b.contains(job.data.mass) for b in self.sidebands(job.window)))
        weight = _balanced(job.data, regions)
        used = np.logical_or.reduce(regions)
        shown = features.values(job.data.select(used))
        check_features(shown, features.names)
        simulated = {name: (own, job.priors[name]) for name, own in zip(names, points, strict=True)}
        ratio = self._ratio(job, features, self._background(job, weight), simulated)
        first = ratio.first(shown)

        def log_ratios(at: Float64Array) -> Float32Array:
            found = np.array([ratio.log_ratio(first, at, prongs) for prongs in ratio.prongs])
            if not np.isfinite(found).all():
                msg = (
                    f"paws: the density ratio of prior {', '.join(names)} and background is not "
                    "finite: give more simulated signals, or a smaller optimizer.learning_rate"
                )
                raise TrainingError(msg)
            return found

        masses = np.array([log_masses(point) for point in points])
        fit = fitted_signal(
            log_ratios,
            job.in_window[used],
            weight[used],
            low=masses.min(axis=0),
            high=masses.max(axis=0),
            steps=self.steps,
            starts=self.starts,
            allowed=_ordered,
        )
        return _scorer(features, ratio, fit)

    def _background(self, job: Job, weight: Float64Array) -> tuple[Sample, Float64Array]:
        """Return background and its weights: the sidebands, as in the fit, or simulation."""
        lower, upper = self.sidebands(job.window)
        if self.sample is TrainedOn.DATA:
            beside = lower.contains(job.data.mass) | upper.contains(job.data.mass)
            return job.data.select(beside), weight[beside]
        mass = job.simulation.mass
        simulation = job.simulation.select((mass >= lower.low) & (mass < upper.high))
        return simulation, simulation.weight

    def _ratio(
        self,
        job: Job,
        features: FeatureSet,
        background: tuple[Sample, Float64Array],
        priors: Mapping[str, tuple[SignalPoint, Sample]],
    ) -> ParametrisedRatio:
        weighted = {"background": background}
        weighted |= {f"prior {name}": (own, own.weight) for name, (_, own) in priors.items()}
        values, weights = [], []
        for name, (sample, weight) in weighted.items():
            _check_number(len(sample), f"events of {name}")
            check_weights(weight, "a density ratio", f" of {name}")
            values.append(features.values(sample))
            weights.append(np.asarray(weight, np.float64))
            if not np.isfinite(values[-1]).all():
                msg = f"a feature is not finite for some events of {name}: write another expression"
                raise TrainingError(msg)
        check_features(values[0], features.names)
        return ParametrisedRatio.of(
            values[0],
            weights[0],
            values[1:],
            weights[1:],
            [point for point, _ in priors.values()],
            seeds=[job.seed_of("network", number) for number in range(self.networks)],
            epochs=self.epochs,
            pairs=self.pairs,
            hidden=self.layers,
            optimizer=self.optimizer,
        )


def _check_number(events: int, what: str) -> None:
    if events < FEWEST:
        msg = f"{events} {what} to train on, at least {FEWEST} are needed: use more events"
        raise TrainingError(msg)


def _balanced(data: Sample, regions: Sequence[BoolArray]) -> Float64Array:
    """Return (event,) weights: the sidebands have equal sums, and together that of the window."""
    check_weights(data.weight, "a density ratio", " of the data")
    weight = np.zeros(len(data))
    whole = float(data.weight[regions[0]].sum())
    names = ("signal-region", "lower-sideband", "upper-sideband")
    for name, region, share in zip(names, regions, (1.0, 0.5, 0.5), strict=True):
        _check_number(int(region.sum()), f"{name} events")
        own = data.weight[region]
        weight[region] = own / own.sum() * whole * share
    return weight


def _ordered(masses: Float64Array) -> Float64Array:
    """Return masses of which that of Y is not above that of X."""
    heavy, light = masses
    return np.array([heavy, min(heavy, light)])


def _scorer(features: FeatureSet, ratio: ParametrisedRatio, fit: SignalFit) -> Scorer:
    kinds = [
        (prongs, float(part))
        for prongs, part in zip(ratio.prongs, fit.composition, strict=True)
        if part > _LEAST
    ]
    graph = Graph(features.input)
    shown = features.add(graph, "features")
    logs = [
        graph.ops.add(ratio.add(graph, shown, fit.parameters, prongs), np.float32(np.log(part)))
        for prongs, part in kinds
    ]
    score = logs[0]
    for other in logs[1:]:
        # ln(e^a + e^b) without overflow.
        apart = graph.ops.exp(graph.ops.negative(graph.ops.abs(graph.ops.subtract(score, other))))
        added = graph.ops.log(graph.ops.add(apart, np.float32(1)))
        score = graph.ops.add(graph.ops.maximum(score, other), added)

    def predict(inputs: dict[str, Float32Array]) -> Float32Array:
        first = ratio.first(features.computed(inputs["features"]))
        each = [
            ratio.log_ratio(first, fit.parameters, prongs) + np.float32(np.log(part))
            for prongs, part in kinds
        ]
        return np.asarray(np.logaddexp.reduce(each), np.float32)

    heavy, light = np.expm1(fit.parameters)
    summary = {
        "signal_share": fit.share,
        "heavy_mass": float(heavy),
        "light_mass": float(light),
        "gain": fit.gain,
        **{
            f"share_{prongs}prong": float(part)
            for prongs, part in zip(ratio.prongs, fit.composition, strict=True)
        },
    }
    history = {
        "loss": ratio.networks.loss.mean(axis=0).tolist(),
        "starts": [{"log_masses": list(at), "gain": gain} for at, gain in fit.tried],
    }
    return Scorer(
        graph.model(graph.flat(score)),
        (features.input,),
        history | summary,
        summary,
        predict=predict,
    )
