"""VRNN: jets as sequences of constituents, and how little is surprising about them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers.inputs import Aligned
from tnt_coffea.training import backend
from tnt_coffea.training.fitting import History, OptimizerSettings, evaluated, model_output
from tnt_coffea.training.method import Job, Method, Scope, Scorer
from tnt_coffea.training.recurrent import mean_shares, recurrent_network
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels, check_weights
from tnt_coffea.typing import BoolArray, Float32Array

__all__ = ["Together", "Vrnn", "VrnnPerJet"]

FEWEST = 50
"""Least number of jets with constituents: with fewer the network learns them by heart."""
LEAST_DIVERGENCE = 0.005
"""Mean divergence of a constituent, weighted by w(t) [nats], below which the latent space holds
nothing of the jets."""
_ROWS = 4096


class Together(StrEnum):
    """Which of an event's two jets its score is that of."""

    ANOMALOUS = "anomalous"
    BOTH = "both"


class _Sequences(Method):
    """What the two forms share: the network, its loss, and the score of a jet."""

    epochs: int = Field(30, ge=1, description="most epochs")
    kl_weight: Positive = Field(0.1, description="weight of the divergence in the loss")
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(batch=256, beta1=0.9, beta2=0.999, decay=0.0),
        description="Adam and early stopping",
    )

    orientation: ClassVar[str] = "fixed sign: new jets are simpler than those of QCD"

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without aligned constituents."""
        Aligned.of(scope, sample)

    def _fitted(self, job: Job, shown: tuple[Aligned, ...]) -> tuple[Any, float, History]:
        # The network of jets, the lowest score of a jet trained on, and the losses; of inputs
        # of one shape, each shown as events of its own.
        check_weights(job.data.weight, "a loss")
        there: list[BoolArray] = [
            np.concatenate([values[:, :, 0, 0] > 0 for values in _blocks(each, job.data)])
            for each in shown
        ]
        self._check_jets(there)
        shares = mean_shares(values for each in shown for values in _blocks(each, job.data))
        network = recurrent_network(shown[0], shares, seed=job.seed)
        names = [" or ".join(each.jets) for each in shown]
        labels = WeakLabels(
            tuple(
                SampleClass(name, job.data, np.logical_or.reduce(some.T), 0.0, inputs=(each,))
                for name, each, some in zip(names, shown, there, strict=True)
            )
        )
        history = job.fit(
            self._loss(network),
            shown[0],
            labels,
            epochs=self.epochs,
            optimizer=self.optimizer,
            loss=model_output,
        )
        lowest, total, weights = np.inf, 0.0, 0.0
        for values in (values for each in shown for values in _blocks(each, job.data)):
            divergences = backend.array(evaluated(network, {"aligned": values}))[..., 0]
            some = values[..., 0] > 0
            lowest = min(lowest, float(-divergences[some.any(axis=-1)].max(initial=0.0)))
            total += divergences.sum(dtype=np.float64)
            weights += (some @ shares / np.maximum(some.sum(axis=-1), 1)).sum()
        divergence = total / weights
        if not divergence > LEAST_DIVERGENCE:
            msg = (
                f"the divergence is {divergence:.2g} a constituent: the latent space holds nothing "
                "of the jets (posterior collapse), so the score would be noise; use more events, a "
                f"smaller learning_rate, or a kl_weight below {self.kl_weight:g}"
            )
            raise TrainingError(msg)
        return network, lowest, history

    def _check_jets(self, there: list[BoolArray]) -> None:
        n, jets = int(sum(some.sum() for some in there)), sum(some.size for some in there)
        if n < FEWEST:
            msg = (
                f"{n} of {jets} jets have aligned constituents, at least {FEWEST} are needed: use "
                "more events; a jet without mass or of fewer than three constituents has none"
            )
            raise TrainingError(msg)

    def _loss(self, network: Any) -> Any:
        # Of an event the mean over its jets; one without constituents adds nothing.
        keras = backend.keras()
        out = network.output
        jets = out.shape[1]
        each = [out[:, k, 1] + self.kl_weight * out[:, k, 0] for k in range(jets)]
        return keras.Model(network.inputs, sum(each) / jets)


def _blocks(shown: Aligned, sample: Sample) -> Iterator[Float32Array]:
    read, rows = shown.reader(sample), np.arange(len(sample))
    return (read(rows[start : start + _ROWS]) for start in range(0, max(len(rows), 1), _ROWS))


def jet_scores(network: Any, lowest: float) -> list[Any]:
    """Return for every jet the tensor (n,) of its score, minus the divergence.

    Parameters
    ----------
    network
        keras.Model of `recurrent_network`.
    lowest
        Score of a jet without constituents.
    """
    keras = backend.keras()
    (shown,) = network.inputs
    scores = []
    for k in range(network.output.shape[1]):
        there = shown[:, k, 0, 0] > 0
        scores.append(keras.ops.where(there, -network.output[:, k, 0], lowest))
    return scores


class Vrnn(_Sequences):
    """Variational recurrent network of both jets; the score is that of the more anomalous one.

    A jet's score is minus the mean over its constituents of w(t) times the divergence of what
    is seen from what was expected; w(t) is the mean share of pT of the t-th constituent of the
    jets trained on. Assumes that new jets are simpler than those of QCD: two hard prongs are
    expected better than a shower. A signal of many prongs gets low scores. The paper's formula
    has the other sign, its authors' figures this one.

    Source: arXiv:2101.08320, section 3.1; arXiv:2105.09274.

    Examples
    --------
    >>> Vrnn().scopes, Vrnn().together.value, Vrnn().optimizer.batch
    (('event',), 'anomalous', 256)
    """

    kind: Literal["vrnn"] = "vrnn"
    together: Together = Field(
        Together.ANOMALOUS,
        description="the score of an event is that of its more anomalous jet (anomalous), or of "
        "the less anomalous one: both have to be (both)",
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the events, one network for both jets."""
        shown = Aligned.of(job.scope, job.data)
        network, lowest, history = self._fitted(job, (shown,))
        heavy, light = jet_scores(network, lowest)
        ops = backend.keras().ops
        chosen = ops.maximum if self.together is Together.ANOMALOUS else ops.minimum
        model = backend.keras().Model(network.inputs, chosen(heavy, light))
        return Scorer.of(model, shown, history)


class VrnnPerJet(_Sequences):
    """Variational recurrent network of each jet, also as a first tagger of Tag N' Train.

    Score and assumption are those of `vrnn`.

    Source: arXiv:2101.08320, section 3.1.

    Examples
    --------
    >>> VrnnPerJet().scopes, VrnnPerJet().shared
    (('heavy', 'light'), True)
    """

    kind: Literal["vrnn_per_jet"] = "vrnn_per_jet"
    shared: bool = Field(True, description="train each jet's tagger on both jets")

    def train(self, job: Job) -> Scorer:
        """Return the tagger of one jet."""
        own = Aligned.of(job.scope, job.data)
        jets = [jet for jet in JETS if self.shared or jet == job.scope]
        shown = tuple(own.model_copy(update={"jets": (jet,)}) for jet in jets)
        network, lowest, history = self._fitted(job, shown)
        (score,) = jet_scores(network, lowest)
        return Scorer.of(backend.keras().Model(network.inputs, score), own, history)
