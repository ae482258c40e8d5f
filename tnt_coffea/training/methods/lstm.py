"""LSTM: the jets of an event as a sequence, simulated background against simulated signal."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Sequence
from tnt_coffea.training import networks
from tnt_coffea.training.fitting import OptimizerSettings, log_odds_entropy
from tnt_coffea.training.jet_sequences import sequence_classifier, standardisation_of
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels, check_weights

__all__ = ["Lstm"]

_Nodes = Annotated[int, Field(ge=1)]
_LARGEST = 1e4
"""Largest logarithm of the odds: what is out of range stays finite."""


class Lstm(Method):
    """Recurrent classifier of the event's leading jets, trained on labelled simulation alone.

    It reads simulated background and simulated signals, and no event that is searched: it finds
    what looks like the signals that it was shown. The score is the logarithm of the odds, so what
    a probability would round to 1 keeps its order.

    Source: arXiv:2101.08320, section 5.4.

    Examples
    --------
    >>> method = Lstm(prior="two-prong")
    >>> method.scopes, method.reads.data, method.reads.priors
    (('event',), False, True)
    >>> method.jets, method.epochs, method.optimizer.batch
    (10, 30, 200)
    """

    kind: Literal["lstm"] = "lstm"
    prior: str | None = Field(
        None,
        min_length=1,
        description="the signal learned, as of --prior NAME=FILE; null: all of them together",
    )
    jets: int = Field(10, ge=1, description="leading jets of skim.sequence that are read, at most")
    cells: tuple[_Nodes, ...] = Field(
        (64, 128), min_length=1, description="nodes of the recurrent layers"
    )
    layers: tuple[_Nodes, ...] = Field(
        (256, 256), min_length=1, description="nodes of the hidden layers behind them"
    )
    epochs: int = Field(30, ge=1, description="most epochs")
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(beta1=0.9, beta2=0.999, decay=0.0), description="Adam and early stopping"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "logarithm of the odds of simulated signal"

    @property
    def reads(self) -> Reads:
        """Simulated background and signals, and no data."""
        return Reads(data=False, simulation=True, priors=True)

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the sequence of jets."""
        Sequence.of(sample)

    def train(self, job: Job) -> Scorer:
        """Return the classifier, background and all signals of weight one, each signal alike."""
        labels = WeakLabels(self._classes(job))
        shown = Sequence.of(job.simulation)
        training, _ = labels.split((shown,), self.optimizer.validation, job.seed)
        jets = training.inputs(np.arange(len(training)))[shown.name]
        model = sequence_classifier(
            shown,
            standardisation_of(jets, np.abs(training.weights), most=self.jets),
            seed=job.seed,
            most=self.jets,
            cells=self.cells,
            layers=self.layers,
        )
        history = job.fit(
            model,
            shown,
            labels,
            epochs=self.epochs,
            optimizer=self.optimizer,
            loss=log_odds_entropy,
        )
        return Scorer.of(networks.clipped(model, _LARGEST), shown, history, **labels.counts)

    def _classes(self, job: Job) -> tuple[SampleClass, ...]:
        priors = dict(job.priors)
        if self.prior is not None:
            if self.prior not in priors:
                msg = (
                    f"{self.kind}: no simulated signal is called '{self.prior}', there are "
                    f"{', '.join(priors)}; give it with --prior {self.prior}=FILE"
                )
                raise ConfigError(msg)
            priors = {self.prior: priors[self.prior]}
        background = [("simulated background", job.simulation, 0.0, 1.0)]
        signals = [(f"signal {name}", priors[name], 1.0, 1.0 / len(priors)) for name in priors]
        for name, sample, *_ in (*background, *signals):
            check_weights(sample.weight, "a classifier of simulation", f" of {name}")
        return tuple(
            SampleClass(name, sample, np.ones(len(sample), dtype=np.bool_), target, share)
            for name, sample, target, share in (*background, *signals)
        )
