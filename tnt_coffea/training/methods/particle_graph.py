"""Particle graph autoencoder: each constituent is encoded by what it sees of the others."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Columns, Constituents, Input, jets_of, readers
from tnt_coffea.training import backend
from tnt_coffea.training.edge_convolution import (
    GraphAutoencoder,
    chamfer_distance,
    mean_squared_error,
    momenta,
)
from tnt_coffea.training.features import Standardisation
from tnt_coffea.training.fitting import OptimizerSettings, model_output
from tnt_coffea.training.labels import JETS
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer, TrainedOn
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels, check_weights

__all__ = ["Frame", "GraphLoss", "ParticleGraph", "ParticleGraphPerJet"]

_OF_JET = ("pt_sum", "eta", "phi")
_COMPONENTS = 4
_PARAMETERS = 2766
_BLOCK = 2**14
"""Events whose constituents are in memory at once."""
_LOOKED_AT = 500
"""Events that tell which latent numbers are in use."""


class Frame(StrEnum):
    """Which momenta of the constituents are reconstructed."""

    JET = "jet"
    LAB = "lab"


class GraphLoss(StrEnum):
    """What the error of a jet is."""

    MSE = "mse"
    CHAMFER = "chamfer"


_ERRORS = {GraphLoss.MSE: mean_squared_error, GraphLoss.CHAMFER: chamfer_distance}
_ADAM = OptimizerSettings(beta1=0.9, beta2=0.999, decay=0.0, batch=128)


class ParticleGraph(Method):
    """Graph autoencoder of both jets' constituents; the smaller of the two errors is the score.

    An event above a cut has two jets above it: one threshold for all jets of all events, as in
    the paper. Assumes that what is rare is reconstructed badly.

    Source: arXiv:2101.08320, section 3.7.

    Examples
    --------
    >>> method = ParticleGraph(sample="simulation")
    >>> method.scopes, method.reads.data, method.reads.simulation
    (('event',), False, True)
    """

    kind: Literal["particle_graph"] = "particle_graph"
    frame: Frame = Field(
        Frame.JET,
        description="jet: momenta as shares of the jet's pT in the frame of the skim; lab: in GeV "
        "in the laboratory, as published",
    )
    loss: GraphLoss = Field(
        GraphLoss.MSE, description="mse, or chamfer, which knows no order of the constituents"
    )
    sample: TrainedOn = Field(
        TrainedOn.DATA,
        description="data; or simulation of the background, as published, where no event of the "
        "data is read",
    )
    constituents: int = Field(
        20, ge=2, description="leading constituents of a jet that are taken, at most"
    )
    epochs: int = Field(30, ge=1, description="most epochs")
    optimizer: OptimizerSettings = Field(
        _ADAM.model_copy(update={"batch": 64}), description="Adam; a batch is of events"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "reconstruction error"

    @property
    def reads(self) -> Reads:
        """The data, or simulated background instead of them."""
        return self.sample.reads

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without constituents, or in another frame than asked for."""
        self._inputs(scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the autoencoder of the jets of one scope."""
        sample = self.sample.events(job)
        inputs = self._inputs(job.scope, sample)
        shown = [self._inputs(scope, sample) for scope in self._trained_on(job.scope)]
        standard = self._standardisation(shown, sample)
        network = GraphAutoencoder.of(standard, job.seed)
        score, loss = self._models(network, inputs)
        every = np.ones(len(sample), dtype=np.bool_)
        labels = WeakLabels(
            tuple(SampleClass("events", sample, every, 0.0, inputs=each) for each in shown)
        )
        history = job.fit(
            loss,
            inputs,
            labels,
            epochs=self.epochs,
            optimizer=self.optimizer,
            loss=model_output,
        )
        used = {"latent_used": float(self._latent_used(network, inputs, sample))}
        scorer = Scorer.of(score, inputs, history, **labels.counts, **used)
        return replace(scorer, summary={**scorer.summary, **used})

    def _trained_on(self, scope: Scope) -> tuple[Scope, ...]:
        """Return the scopes whose jets train the network of one scope."""
        return (scope,)

    def _inputs(self, scope: Scope, sample: Sample) -> tuple[Input, ...]:
        constituents = Constituents.of(scope, sample)
        if constituents.most < 2:
            msg = (
                f"{self.kind} compares constituents in pairs, and the skim holds one of each jet: "
                "set skim.constituents to 20 and make the skim again"
            )
            raise ConfigError(msg)
        if self.frame is Frame.JET:
            return (constituents,)
        steps = [name for name in ("centre", "rotate", "flip") if getattr(constituents, name)]
        if steps:
            msg = (
                f"{self.kind} with frame: lab takes constituents as they were measured, and the "
                f"skim has them after the steps {', '.join(steps)}: set skim.images to "
                "{centre: false, rotate: false, flip: false} and make the skim again, or take "
                "frame: jet"
            )
            raise ConfigError(msg)
        names = [f"{jet}_{name}" for jet in jets_of(scope) for name in _OF_JET]
        return constituents, Columns.of(names, sample)

    def _momenta(self, tensors: dict[str, Any], ops: Any) -> tuple[Any, Any]:
        """Return (jet, particle, 4) momenta, those of all jets of all events, and which are there.

        Parameters
        ----------
        tensors
            Inputs by name: (n, jet, particle, 3) and, in the laboratory, (n, 3 x jet).
        ops
            numpy, or keras.ops.
        """
        shown = tensors[Constituents.name]
        most = min(self.constituents, shown.shape[2])
        particles = ops.reshape(shown[:, :, :most], (-1, most, 3))
        pt, eta, phi = (particles[:, :, i] for i in range(3))
        there = pt > 0
        if self.frame is Frame.LAB:
            of_jet = ops.reshape(tensors[Columns.name], (-1, 1, len(_OF_JET)))
            pt, eta, phi = pt * of_jet[..., 0], eta + of_jet[..., 1], phi + of_jet[..., 2]
        return momenta(pt, eta, phi, ops), there

    def _models(self, network: GraphAutoencoder, inputs: tuple[Input, ...]) -> tuple[Any, Any]:
        """Return the model of the score, and that of the loss, of the same weights."""
        keras = backend.keras()
        ops = keras.ops
        tensors = {each.name: input_tensor(each) for each in inputs}
        particles, there = self._momenta(tensors, ops)
        there = ops.cast(there, "float32")
        unit = np.float32(np.mean(1 / network.standard.scale))
        given = network.reconstructed(particles, there)
        error = _ERRORS[self.loss](given, particles / unit, there)
        asked = list(tensors.values())
        if inputs[0].shape[0] == 1:
            model = keras.Model(asked, error)
            return model, model
        first, second = (ops.reshape(error, (-1, 2))[:, jet] for jet in range(2))
        return (
            keras.Model(asked, ops.minimum(first, second)),
            keras.Model(asked, (first + second) / 2),
        )

    def _latent_used(
        self, network: GraphAutoencoder, inputs: tuple[Input, ...], sample: Sample
    ) -> int:
        """Return how many of the latent numbers are above zero for some constituent.

        One behind a ReLU may die: it is zero for all, and the gradients never reach it again.
        """
        rows = np.arange(min(len(sample), _LOOKED_AT))
        tensors = {name: read(rows) for name, read in readers(inputs, sample).items()}
        particles, there = self._momenta(tensors, np)
        latent = backend.array(network.latent(particles, there.astype(np.float32)))
        return int((latent[there] > 0).any(axis=0).sum())

    def _standardisation(self, shown: list[tuple[Input, ...]], sample: Sample) -> Standardisation:
        """Return the mean and the width of E, px, py and pz of the constituents trained on.

        Raises
        ------
        TrainingError
            The constituents have fewer numbers than the network has parameters, or are all alike,
            or a weight is negative.
        """
        check_weights(sample.weight, "a loss")
        sums, jets, numbers = np.zeros((3, _COMPONENTS)), 0, 0
        for inputs in shown:
            reading = readers(inputs, sample)
            for rows in np.array_split(np.arange(len(sample)), len(sample) // _BLOCK + 1):
                particles, there = self._momenta(
                    {name: read(rows) for name, read in reading.items()}, np
                )
                # A constituent alone in its jet has no neighbours and trains nothing.
                there &= there.sum(axis=1, keepdims=True) > 1
                jets += int(there.any(axis=1).sum())
                numbers += int(there.sum()) * _COMPONENTS
                of_jet = np.repeat(sample.weight[rows], len(there) // max(len(rows), 1))
                weight = (of_jet[:, None] * there)[:, :, None]
                for power in range(3):
                    sums[power] += (weight * particles.astype(np.float64) ** power).sum(axis=(0, 1))
        if numbers < _PARAMETERS:
            msg = (
                f"{self.kind}: {jets} jets of two constituents or more have {numbers} numbers, at "
                f"least {_PARAMETERS} are needed for as many parameters: use more events"
            )
            raise TrainingError(msg)
        if not (sums[0] > 0).all():
            msg = f"{self.kind}: the weights of {jets} jets to train on are all zero"
            raise TrainingError(msg)
        mean = sums[1] / sums[0]
        width = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0.0))
        if not width.any():
            msg = f"{self.kind}: the constituents of {jets} jets are all alike: nothing to learn"
            raise TrainingError(msg)
        width[width == 0] = 1.0
        return Standardisation(mean.astype(np.float32), (1 / width).astype(np.float32))


class ParticleGraphPerJet(ParticleGraph):
    """Graph autoencoder of each jet's constituents, ranked among its own kind; the error scores.

    Source: arXiv:2101.08320, section 3.7; quantiles of each jet in place of pooled ones.

    Examples
    --------
    >>> ParticleGraphPerJet().scopes
    ('heavy', 'light')
    """

    kind: Literal["particle_graph_per_jet"] = "particle_graph_per_jet"  # type: ignore[assignment]
    shared: bool = Field(
        False, description="train each jet's network on both jets, at twice the cost"
    )
    optimizer: OptimizerSettings = Field(_ADAM, description="Adam; a batch is of jets")

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")

    def _trained_on(self, scope: Scope) -> tuple[Scope, ...]:
        return JETS if self.shared else (scope,)
