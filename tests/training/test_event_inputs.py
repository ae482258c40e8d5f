"""Methods on splittings, sequences of jets and event images: one file each, trained and scored."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from tnt_coffea.taggers.inputs import EventImage, Input, Sequence, Splittings
from tnt_coffea.testing import make_sample, method_contract
from tnt_coffea.training import (
    Job,
    Method,
    OptimizerSettings,
    Reads,
    SampleClass,
    Scorer,
    WeakLabels,
    backend,
)
from tnt_coffea.training.networks import input_tensor

LISTS = {"splittings": 4, "sequence": 4, "event_image": 8}


class Tiny(Method):
    """The window against the rest, by the sum of what a small network makes of every row."""

    kind: Literal["tiny"] = "tiny"
    shown: Literal["splittings", "sequence", "event_image"]

    scopes: ClassVar = ("event",)
    orientation: ClassVar[str] = "more like the window than the rest"

    @property
    def reads(self) -> Reads:
        return Reads(window=True)

    @property
    def passes(self) -> int:
        return 8

    def input(self, sample: Any) -> Input:
        if self.shown == "splittings":
            return Splittings.of("event", sample)
        return Sequence.of(sample) if self.shown == "sequence" else EventImage.of(sample)

    def check(self, sample: Any, scope: str) -> None:
        self.input(sample)

    def train(self, job: Job) -> Scorer:
        keras = backend.keras()
        keras.utils.set_random_seed(job.seed_of("weights"))
        shown = self.input(job.data)
        tensor = input_tensor(shown)
        small = keras.ops.log(1 + keras.ops.relu(tensor))  # of GeV
        if self.shown == "event_image":
            small = keras.layers.Permute((2, 3, 1))(small)
            hidden = keras.layers.Conv2D(16, 2, activation="relu")(small)
            flat = keras.layers.GlobalAveragePooling2D()(hidden)
        else:
            hidden = keras.layers.Dense(16, activation="relu")(small)
            flat = keras.layers.Flatten()(hidden)
        score = keras.layers.Dense(1, activation="sigmoid")(flat)
        model = keras.Model(tensor, score[:, 0])
        labels = WeakLabels(
            (
                SampleClass("window", job.data, job.in_window, target=1.0),
                SampleClass("rest", job.data, ~job.in_window, target=0.0),
            )
        )
        settings = OptimizerSettings(batch=50, learning_rate=0.005)
        history = job.fit(model, (shown,), labels, epochs=self.passes, optimizer=settings)
        return Scorer.of(model, (shown,), history)


@pytest.mark.slow
@pytest.mark.parametrize("shown", LISTS)
def test_a_method_on_each_keeps_the_contract(shown, tmp_path):
    method_contract(Tiny(shown=shown), tmp_path, constituents=None, **{shown: LISTS[shown]})


def test_planted_lists_are_as_a_skim_has_them():
    sample = make_sample(300, **LISTS)
    splittings = Splittings.of("event", sample).read(sample)
    there = splittings[..., 0]
    assert set(np.unique(there)) == {0.0, 1.0}
    assert np.all(np.diff(there, axis=2) <= 0)
    assert not splittings[there == 0].any()
    sequence = Sequence.of(sample).read(sample)
    assert np.all(np.diff(sequence[..., 0]) <= 0)
    harder = np.maximum(sample.columns["heavy_pt"], sample.columns["light_pt"])
    assert np.array_equal(sequence[:, 0, 0], harder)
    image = EventImage.of(sample).read(sample)
    assert ((image > 0).sum(axis=(1, 2, 3)) >= 2).all()
    plain = make_sample(300)
    for name, column in plain.columns.items():
        if name.startswith(("m_jj", "heavy")):
            assert np.array_equal(sample.columns[name], column), name
