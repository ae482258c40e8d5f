"""Attention: a classifier without labels that looks at a jet's constituents in pairs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Constituents
from tnt_coffea.training import (
    Job,
    Method,
    OptimizerSettings,
    Reads,
    SampleClass,
    Scorer,
    WeakLabels,
)
from tnt_coffea.training.networks import input_tensor

__all__ = ["Attention"]


class Attention(Method):
    """Attention over a jet's constituents, trained to tell the window from the rest.

    Assumes that the background's jets are alike in the window and beside it. Sources:
    classification without labels, arXiv:1708.02949 and arXiv:1805.02664; attention with
    several heads, arXiv:1706.03762, section 3.2.
    """

    kind: Literal["attention"] = "attention"
    width: int = Field(16, ge=2, description="numbers that a constituent becomes")
    heads: int = Field(2, ge=1, description="heads of either layer of attention")
    layers: int = Field(2, ge=1, description="layers of attention")
    epochs: int = Field(30, ge=1, description="most epochs")
    optimizer: OptimizerSettings = Field(OptimizerSettings(), description="Adam and early stopping")

    scopes: ClassVar = ("heavy", "light")
    orientation: ClassVar[str] = "more like the window's jets than the rest"

    @property
    def reads(self) -> Reads:
        """Return the data and the window."""
        return Reads(window=True)

    @property
    def passes(self) -> int:
        """Return the epochs."""
        return self.epochs

    def check(self, sample: Sample, scope: str) -> None:
        """Refuse a skim without constituents."""
        Constituents.of(scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of one jet, from the events that the folds leave."""
        inputs = (Constituents.of(job.scope, job.data),)
        model = self.network(inputs[0], job.seed_of("weights"))
        labels = WeakLabels(
            (
                SampleClass("window", job.data, job.in_window, target=1.0),
                SampleClass("rest", job.data, ~job.in_window, target=0.0),
            )
        )
        history = job.fit(model, inputs, labels, epochs=self.epochs, optimizer=self.optimizer)
        return Scorer.of(model, inputs, history)

    def network(self, constituents: Constituents, seed: int) -> Any:
        """Return the keras.Model of (n, 1, particle, 3) constituents to the score (n,)."""
        import keras
        from keras import layers, ops

        keras.utils.set_random_seed(seed % 2**32)
        tensor = input_tensor(constituents)
        particles = ops.squeeze(tensor, axis=1)
        share = particles[:, :, :1]
        present = ops.cast(share > 0, "float32")
        # Shares of pT span decades; an absent constituent stays zero.
        log_share = ops.log(ops.maximum(share, 1e-4)) * present
        x = layers.Dense(self.width)(ops.concatenate([particles, log_share], axis=2))
        seen = ops.matmul(present, ops.transpose(present, (0, 2, 1))) > 0
        for _ in range(self.layers):
            attention = layers.MultiHeadAttention(self.heads, self.width // self.heads)
            x = layers.LayerNormalization()(x + attention(x, x, attention_mask=seen))
            hidden = layers.Dense(2 * self.width, activation="relu")(x)
            x = layers.LayerNormalization()(x + layers.Dense(self.width)(hidden))
        number = ops.maximum(ops.sum(present, axis=1), 1.0)
        jet = ops.sum(x * present, axis=1) / number
        hidden = layers.Dense(self.width, activation="relu")(jet)
        score = layers.Dense(1, activation="sigmoid")(hidden)
        return keras.Model([tensor], ops.squeeze(score, axis=1))
