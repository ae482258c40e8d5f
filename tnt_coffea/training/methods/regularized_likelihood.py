"""Regularized likelihoods: distance from a learned manifold over the density on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.densities.autoregressive import Autoregressive
from tnt_coffea.training.densities.coupling import Coupling, CouplingFlow
from tnt_coffea.training.densities.interface import ConditionalDensity
from tnt_coffea.training.densities.kernel import KernelDensity
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.graph import DoubleOps
from tnt_coffea.training.method import Job, Method, Scope, Scorer
from tnt_coffea.training.ratios import DensityEvents, features_and_mass
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["ENERGY", "ManifoldScore", "RegularizedLikelihood", "RegularizedScore", "Whitening"]

ENERGY = "sqrt((pt * (exp(eta) + exp(-eta)) / 2) ** 2 + mass ** 2)"
"""A jet's energy [GeV], an exact function of three other features."""
_LEAST_ERROR = 1e-10
"""Added to errors before their logarithm: float32 features leave as much of none at all."""
_LEAST_VARIANCE = 1e-8
_FARTHEST = 60.0
"""Largest ln(p_u / p_KDE) of the published score."""


class RegularizedScore(StrEnum):
    """How error and density make a score."""

    LOG = "log"
    PUBLISHED = "published"


class RegularizedLikelihood(Method):
    """Distance of an event from a learned manifold over its density there; no window.

    `log`: ln error - ln p + ln p(m), p the density on the manifold, per volume of scaled
    features, p(m) that of the mass; another unit of anything adds a constant. `published`: error /
    (1 + p_u / p(m)), p_u the density of whitened coordinates and p(m) in 1 / TeV; other units
    make another score. Assumes that what lies off the manifold, or where it is sparse, is
    anomalous.

    Source: arXiv:2101.08320, section 3.8; arXiv:2003.13913.

    Examples
    --------
    >>> method = RegularizedLikelihood(features=("pt", "mass", "tau21"), manifold=4)
    >>> method.scopes, method.score.value, method.flow.layers, method.density.blocks
    (('event',), 'log', 6, 5)
    """

    kind: Literal["regularized_likelihood"] = "regularized_likelihood"
    features: tuple[str, ...] = Field(
        ("pt", "eta", ENERGY, "mass", "tau32", "tau21"),
        min_length=1,
        description="continuous columns or expressions of them",
    )
    manifold: int = Field(8, ge=1, description="coordinates on the manifold, fewer than features")
    score: RegularizedScore = Field(
        RegularizedScore.LOG, description="log: free of units; published: as the paper has it"
    )
    mass_density: bool = Field(
        True, description="divide the density by that of the mass; false is the paper's R_exp"
    )
    flow: Coupling = Field(Coupling(), description="settings of the manifold's flow")
    density: Autoregressive = Field(
        Autoregressive(blocks=5), description="settings of the density on the manifold"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "reconstruction error over density"

    @property
    def passes(self) -> int:
        """Most epochs of flow and density."""
        return self.flow.passes + self.density.passes

    @property
    def libraries(self) -> tuple[str, ...]:
        """Keras, and what writes its models."""
        return backend.libraries()

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns, and a manifold of all features."""
        self._features(sample, scope)

    def train(self, job: Job) -> Scorer:
        """Return the tagger: first the manifold, then the density on it."""
        events = DensityEvents.of(self._features(job.data, job.scope), job.data)
        rows = events.usable & (events.weight != 0)
        x, m, weight = (each[rows] for each in (events.x, events.m, events.weight))
        flow, history = self.flow.fit(x, weight, self.manifold, job.seed_of("flow"))
        u = flow.coordinates(x)[:, : self.manifold]
        whitening = Whitening.of(u, weight)
        density = self.density.fit(
            whitening.applied(u), np.zeros(len(u), np.float32), weight, job.seed_of("density")
        )
        # Masses are scaled; what is published is compared per TeV.
        log_unit = float(np.log(1000 * float(events.mass.scale[0])))
        kernel = KernelDensity.of(m, weight) if self.mass_density else None
        score = ManifoldScore(flow, whitening, density, kernel, self.score, log_unit)
        scorer = events.scorer(score, events=float(len(u)), **history.summary())
        losses = {**history.to_dict(), "events": len(u)}
        return replace(scorer, history=losses, seconds=history.seconds)

    def _features(self, sample: Sample, scope: str) -> FeatureSet:
        found = features_and_mass(self.features, scope, sample)
        if self.manifold >= len(found) - 1:
            msg = (
                f"a manifold of {self.manifold} coordinates among {len(found) - 1} features leaves "
                "nothing to reconstruct; choose a smaller one (manifold)"
            )
            raise ConfigError(msg)
        return _DoubleFeatures(found.expressions, found.names, found.input)


@dataclass(frozen=True)
class _DoubleFeatures(FeatureSet):
    """Features computed in double precision: the last digits of an error depend on theirs."""

    def computed(self, columns: Float32Array) -> Float32Array:
        with np.errstate(all="ignore"):
            values = self._values(lambda i: columns[:, i].astype(np.float64), np)
            return np.stack(values, axis=1).astype(np.float32)

    def add(self, graph: Any, columns: str) -> str:
        def column(i: int) -> str:
            return str(graph.cast(graph.slice(columns, i), "double"))

        values = graph.add("Concat", *self._values(column, DoubleOps(graph)), axis=1)
        return str(graph.cast(values, "float"))


@dataclass(frozen=True)
class Whitening:
    """Coordinates of mean zero and unit covariance.

    Attributes
    ----------
    mean
        (coordinate,) float32.
    turn
        (coordinate, coordinate) float32, symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.random.default_rng(1).normal(size=(1000, 2)) @ [[1.0, 0.5], [0.0, 2.0]]
    >>> white = Whitening.of(u, np.ones(1000)).applied(u)
    >>> np.cov(white.T, ddof=0).round(3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    mean: Float32Array
    turn: Float32Array

    @classmethod
    def of(cls, u: npt.NDArray[Any], weight: npt.NDArray[Any]) -> Self:
        """Return that of (event, coordinate) and weights."""
        mean = np.average(u, axis=0, weights=weight)
        covariance = np.atleast_2d(np.cov(u.T, aweights=weight, ddof=0))
        variances, axes = np.linalg.eigh(covariance)
        variances = np.maximum(variances, _LEAST_VARIANCE * variances.max())
        turn = (axes / np.sqrt(variances)) @ axes.T
        return cls(mean.astype(np.float32), turn.astype(np.float32))

    @property
    def log_det(self) -> float:
        """Ln of the volume's change."""
        return float(np.linalg.slogdet(self.turn.astype(np.float64))[1])

    def applied(self, u: npt.NDArray[Any]) -> Float32Array:
        """Return (event, coordinate) float32."""
        return np.asarray((u - self.mean.astype(np.float64)) @ self.turn.astype(np.float64), "f4")

    def add(self, graph: Any, u: str) -> str:
        """Return the name of the whitened values in float32, appended to a graph, of doubles."""
        ops = DoubleOps(graph)
        white = graph.add("MatMul", ops.subtract(u, self.mean), ops.constant(self.turn))
        return str(graph.cast(white, "float"))


@dataclass(frozen=True)
class ManifoldScore:
    """Score of scaled features x and scaled masses m, in numpy and in a graph (`ratios.Ratio`).

    Attributes
    ----------
    flow
        From features to coordinates and back.
    whitening
        Of the coordinates on the manifold.
    density
        Of whitened coordinates; its mass is always zero.
    kernel
        Density of the mass; None leaves it out.
    score
        Which one.
    log_unit
        Ln of the unit [TeV] over that of m.
    """

    flow: CouplingFlow
    whitening: Whitening
    density: ConditionalDensity
    kernel: KernelDensity | None
    score: RegularizedScore
    log_unit: float

    def parts(self, x: npt.NDArray[Any]) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return error, ln p of whitened coordinates, and ln p on the manifold, each (event,)."""
        u = self.flow.coordinates(x)[:, : self.flow.manifold]
        found, log_volume = self.flow.reconstruction(u)
        error = ((x - found) ** 2).sum(axis=1)
        log_p = self.density.log_prob(self.whitening.applied(u), np.zeros(len(x), np.float32))
        return error, log_p, log_p + self.whitening.log_det - log_volume

    def log_ratio(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> Float64Array:
        """Return (event,) scores."""
        error, log_p, log_on_manifold = self.parts(np.asarray(x, np.float64))
        log_mass = self.kernel.log_prob(m) if self.kernel else np.zeros(len(m))
        if self.score is RegularizedScore.LOG:
            return np.asarray(np.log(error + _LEAST_ERROR) - log_on_manifold + log_mass)
        if self.kernel:
            log_mass = log_mass + self.log_unit
        share = np.exp(np.clip(log_p - log_mass, -_FARTHEST, _FARTHEST))
        return np.asarray(error / (1 + share))

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name (n,) of the scores, appended to a graph."""
        ops, size = DoubleOps(graph), len(self.flow.layers[0].turn)
        x = graph.cast(x, "double")
        u = self.flow.add_coordinates(graph, x)
        white = self.whitening.add(graph, u)
        nothing = graph.ops.multiply(graph.slice(white, 0), 0.0)
        log_p = graph.cast(self.density.add(graph, white, nothing), "double")
        log_p = graph.add("Reshape", log_p, graph.constant([-1, 1]))
        log_mass = self.kernel.add(graph, m) if self.kernel else None
        found, log_volume = self.flow.add_reconstruction(graph, u)
        apart = ops.subtract(x, found)
        squares = ops.multiply(apart, apart)
        error = ops.total(graph.slice(squares, i) for i in range(size))
        if self.score is RegularizedScore.LOG:
            log_p = ops.subtract(ops.add(log_p, self.whitening.log_det), log_volume)
            score = ops.subtract(ops.log(ops.add(error, _LEAST_ERROR)), log_p)
            score = ops.add(score, log_mass) if log_mass else score
        else:
            if log_mass:
                log_p = ops.subtract(log_p, ops.add(log_mass, self.log_unit))
            edges = (ops.constant(sign * _FARTHEST) for sign in (-1, 1))
            share = ops.exp(graph.add("Clip", log_p, *edges))
            score = ops.divide(error, ops.add(1.0, share))
        return str(graph.flat(graph.cast(score, "float")))
