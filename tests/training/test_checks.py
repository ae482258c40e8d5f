"""A tagger that would mislead is not written, whatever method made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Graph, Job, Method, Scorer, backend
from tnt_coffea.training.checks import checked

from .conftest import config_for

COLUMNS = Columns(columns=("heavy_mass",))
X = np.linspace(0, 1, 100, dtype=np.float32)[:, None]


def step(low: float, high: float, cut: float = 0.5) -> Any:
    """The graph of a score that is `low` up to a cut and `high` above it."""
    graph = Graph(COLUMNS)
    above = graph.add("Greater", "features", graph.constant(np.float32(cut)))
    value = graph.add(
        "Where", above, graph.constant(np.float32(high)), graph.constant(np.float32(low))
    )
    return graph.model(graph.flat(value))


def look_at(low: float, high: float, cut: float = 0.5, *, off: float = 0.0) -> Scorer:
    def predict(inputs: dict[str, Any]) -> Any:
        return np.where(inputs["features"][:, 0] > cut, high, low).astype("f4") + np.float32(off)

    scorer = Scorer(step(low, high, cut), (COLUMNS,), {"loss": 1}, predict=predict)
    return checked(scorer, scorer.model, {"features": lambda rows: X[rows]}, len(X))


def test_a_sound_tagger_passes_with_its_ties_noted():
    assert look_at(-1.0, 1.0).history == {"loss": 1, "tied": 1.0}


def test_a_constant_score_is_refused():
    with pytest.raises(TrainingError, match="the score is 1 for all of 100 events"):
        look_at(1.0, 1.0)


def test_a_score_of_nearly_all_jets_is_refused():
    assert look_at(-1.0, 1.0, cut=0.89).history["tied"] == 1.0
    with pytest.raises(TrainingError, match="one score is that of 92% of 100 events, at most 90%"):
        look_at(-1.0, 1.0, cut=0.92)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(TrainingError, match="50 of 100 scores are not finite"):
        look_at(np.nan, 1.0)


def test_a_graph_that_differs_from_the_model_is_refused():
    assert look_at(-1.0, 1.0, off=5e-6).summary == {}
    with pytest.raises(TrainingError, match=r"differs from the model's by 0\.0001"):
        look_at(-1.0, 1.0, off=1e-4)


def test_a_graph_of_other_inputs_is_refused():
    with pytest.raises(TrainingError, match=r"takes \['features'\], its inputs are \['image'\]"):
        checked(Scorer(step(0, 1), ()), step(0, 1), {"image": lambda rows: X[rows]}, 100)


def keras_model(value: Callable[[Any], Any]) -> Any:
    keras = backend.keras()
    features = keras.Input((1,), name="features")
    return keras.Model([features], keras.ops.reshape(value(features), (-1,)))


FAULTS: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "not finite": (lambda: keras_model(lambda x: 0.0 * x / (0.0 * x)), None, "not finite"),
    "constant": (lambda: keras_model(lambda x: 0.0 * x + 0.5), None, "for all of"),
    "other predictions": (
        lambda: step(0.0, 1.0, 60.0),
        lambda inputs: inputs["features"][:, 0],
        "differs from the model",
    ),
    "no predictions": (lambda: step(0.0, 1.0, 60.0), None, "without `predict`"),
}


class Faulty(Method):
    """A method that gives a model with a fault."""

    kind: Literal["faulty"] = "faulty"
    fault: str

    scopes = ("heavy",)
    orientation: ClassVar[str] = "none"

    def train(self, job: Job) -> Scorer:
        build, predict, _ = FAULTS[self.fault]
        return Scorer(build(), (Columns.of(("heavy_mass",), job.data),), predict=predict)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_method_gets_a_faulty_tagger_written(fault, train, tmp_path):
    with pytest.raises(TrainingError, match=FAULTS[fault][2]):
        train(make_sample(200), config_for({"faulty": Faulty(fault=fault)}))
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_score_that_depends_on_the_place_of_a_jet_is_refused():
    # ONNX Runtime adds up rows whose length is no multiple of 4 in an order of their place.
    for columns, refused in ((6, True), (8, False)):
        inputs = Columns(columns=tuple(f"c{k}" for k in range(columns)))
        graph = Graph(inputs)
        total = graph.add("ReduceSum", "features", graph.constant([1]), keepdims=1)
        model = graph.model(graph.flat(total))
        x = np.random.default_rng(1).normal(size=(100, columns)).astype(np.float32)
        scorer = Scorer(model, (inputs,), predict=lambda given: given["features"].sum(axis=1))
        reading = {"features": lambda rows, x=x: x[rows]}
        if refused:
            with pytest.raises(TrainingError, match="depends on its place among others, by up to"):
                checked(scorer, model, reading, len(x))
        else:
            assert checked(scorer, model, reading, len(x)).history == {"tied": 0.0}
