"""Keras' graphs in canonical form: the bytes follow from the weights alone, and say the same."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest

from tnt_coffea.errors import TaggerError, TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import Constituents, Images
from tnt_coffea.testing import make_sample
from tnt_coffea.training import (
    FeatureSet,
    Job,
    Method,
    Scorer,
    Standardisation,
    backend,
    canonical,
    keras_graph,
    networks,
)
from tnt_coffea.training.graph import IR_VERSION, OPSET

from .conftest import config_for

SAMPLE = make_sample(60, constituents=6)
IMAGES, BOTH = Images.of("heavy", SAMPLE), Images.of("event", SAMPLE)
CONSTITUENTS = Constituents.of("heavy", SAMPLE)
ROWS = np.arange(50)


def convolutional(seed: int = 1) -> Any:
    return networks.convolutional_classifier(IMAGES, pixel_scale=100.0, seed=seed)


def two_branches() -> Any:
    features = FeatureSet.of(("rescaled_mass", "log(tau21)"), "event", SAMPLE)
    columns = features.computed(features.input.reader(SAMPLE)(ROWS))
    return networks.convolutional_classifier(
        BOTH,
        pixel_scale=100.0,
        seed=1,
        features=features,
        standardisation=Standardisation.of(columns),
    )


def autoencoder() -> Any:
    return networks.convolutional_autoencoder(IMAGES, latent=3, pixel_scale=100.0, seed=1)


def dense_autoencoders() -> Any:
    models = [
        networks.dense_autoencoder(IMAGES, latent=3, pixel_scale=100.0, seed=seed)
        for seed in range(2)
    ]
    return networks.harmonic_mean(models, IMAGES)


def variational() -> Any:
    return networks.variational_autoencoder(
        IMAGES, latent=3, pixel_scale=100.0, kl_weight=1e-3, seed=1
    )[0]


def particle_flow() -> Any:
    return networks.particle_flow_classifier(Constituents.of("event", SAMPLE), seed=1)


def attention(latent: bool = False) -> Any:
    """A network with layers that no other one here has."""
    keras, initial = backend.keras(), backend.initialisers(1)
    shown = networks.input_tensor(CONSTITUENTS)
    value = keras.ops.squeeze(shown, axis=1)
    value = keras.layers.Dense(8, kernel_initializer=initial())(value)
    heads = keras.layers.MultiHeadAttention(2, 4, kernel_initializer=initial())
    value = keras.layers.LayerNormalization()(value + heads(value, value))
    pooled = keras.layers.GlobalAveragePooling1D()(value)
    last = keras.layers.Dense(1, activation="sigmoid", kernel_initializer=initial())(pooled)
    score = keras.ops.reshape(last, (-1,))
    return keras.Model([shown], [score, pooled] if latent else score)


BUILT = {
    each.__name__: each
    for each in (
        convolutional,
        two_branches,
        autoencoder,
        dense_autoencoders,
        variational,
        particle_flow,
        attention,
    )
}


def digest(model: Any) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def inputs_of(model: Any) -> dict[str, Any]:
    event = model.inputs[0].shape[1] == 2
    known = {
        "image": BOTH if event else IMAGES,
        "constituents": Constituents.of("event", SAMPLE) if event else CONSTITUENTS,
    }
    found = {}
    for item in model.inputs:
        if item.name == "features":
            columns = ("heavy_mass", "m_jj", "heavy_tau21", "light_mass", "light_tau21")
            found[item.name] = np.stack([SAMPLE.columns[c][ROWS] for c in columns], 1).astype("f4")
        else:
            found[item.name] = known[item.name].reader(SAMPLE)(ROWS)
    return found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.slow] * (name not in ("autoencoder", "convolutional"))
        )
        for name in BUILT
    ],
)
def test_the_graph_agrees_with_the_model_and_needs_onnx_alone(name):
    model = BUILT[name]()
    graph = keras_graph(model)
    onnx.checker.check_model(graph, full_check=True)
    assert graph.ir_version == IR_VERSION == 8
    assert [(item.domain, item.version) for item in graph.opset_import] == [("", OPSET)]
    assert OPSET == 17
    assert not [node.op_type for node in graph.graph.node if node.domain]
    # Shapes are constants: none is computed while events are scored.
    constants = {item.name for item in graph.graph.initializer}
    reshapes = [node for node in graph.graph.node if node.op_type == "Reshape"]
    assert name == "attention" or all(node.input[1] in constants for node in reshapes)
    assert (graph.producer_name, graph.producer_version, graph.doc_string) == ("tnt_coffea", "", "")
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert [(item.name, item.shape) for item in session.get_outputs()] == [("score", ["n"])]
    inputs = inputs_of(model)
    expected = backend.array(model([inputs[item.name] for item in model.inputs]))
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(session.run(["score"], inputs)[0], expected, rtol=1e-4, atol=1e-6)


IN_A_NEW_PROCESS = ("convolutional", "autoencoder", "attention")


@pytest.mark.slow
def test_the_bytes_are_those_of_the_weights_in_any_process():
    first = {name: digest(keras_graph(BUILT[name]())) for name in IN_A_NEW_PROCESS}
    keras_graph(dense_autoencoders())
    again = {name: digest(keras_graph(BUILT[name]())) for name in reversed(IN_A_NEW_PROCESS)}
    assert again == first
    assert digest(keras_graph(convolutional(seed=2))) != first["convolutional"]
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
        "import tests.training.test_export as m; "
        "print(*(m.digest(m.keras_graph(m.BUILT[name]())) for name in sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *first]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.split() == list(first.values())


@pytest.mark.slow
def test_the_converter_s_choices_do_not_reach_the_bytes():
    # It walks sets of names, and one in twenty-five orders left shapes of a network computed.
    assert len({digest(keras_graph(convolutional())) for _ in range(80)}) == 1


def test_names_and_order_of_a_graph_do_not_matter():
    helper = onnx.helper

    def traced(names: dict[str, str], order: list[int]) -> Any:
        a, b, c = (names[key] for key in "abc")
        nodes = [
            helper.make_node("Neg", ["image"], [a], name=names["a"] + "_"),
            helper.make_node("Exp", [a], [b]),
            helper.make_node("Add", [a, "kept"], ["nobody needs it"]),
            helper.make_node("Add", [b, "kept"], [c], doc_string="traced today"),
        ]
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [nodes[i] for i in order],
            names["a"],
            [value("image", onnx.TensorProto.FLOAT, ["batch"])],
            [value(c, onnx.TensorProto.FLOAT, ["batch"])],
            [onnx.numpy_helper.from_array(np.float32([2.0]), "kept")],
        )
        return canonical(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))

    one = traced({"a": "a", "b": "b", "c": "c"}, [0, 1, 2, 3])
    two = traced({"a": "z9", "b": "x", "c": "y"}, [0, 2, 1, 3])
    assert digest(one) == digest(two)
    assert [node.op_type for node in one.graph.node] == ["Neg", "Exp", "Add", "Identity"]


def test_operators_of_other_domains_are_refused():
    helper, value = onnx.helper, onnx.helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Strange", ["image"], ["out"], domain="org.elsewhere")],
        "g",
        [value("image", onnx.TensorProto.FLOAT, ["n"])],
        [value("out", onnx.TensorProto.FLOAT, ["n"])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.elsewhere", 1)]
    with pytest.raises(TrainingError, match=r"operators of org\.elsewhere"):
        canonical(helper.make_model(graph, opset_imports=opsets))


def test_three_outputs_are_refused():
    keras = backend.keras()
    features = keras.Input((2,), name="features")
    flat = keras.ops.sum(features, axis=1)
    with pytest.raises(TrainingError, match="score and latent, the model 3 outputs"):
        keras_graph(keras.Model([features], [flat, features, features]))


class Attention(Method):
    """An untrained network whose score comes with what it is computed from."""

    kind: Literal["attention"] = "attention"
    latent: bool = True
    scopes = ("heavy",)
    orientation = "none"

    def train(self, job: Job) -> Scorer:
        return Scorer(attention(latent=self.latent), (Constituents.of(job.scope, job.data),))


@pytest.mark.slow
def test_a_latent_output_travels_with_the_score(train):
    methods = {"both": Attention(), "score": Attention(latent=False)}
    sets = train(SAMPLE, config_for(methods))
    both, score = (Tagger.from_file(sets[name][0].path) for name in methods)
    shown = CONSTITUENTS.reader(SAMPLE)(ROWS)
    assert both.has_latent
    assert not score.has_latent
    assert both.latent(shown).shape == (50, 8)
    assert np.ptp(both.latent(shown), axis=0).min() > 0
    np.testing.assert_array_equal(both.score(shown), score.score(shown))
    with pytest.raises(TaggerError, match="has no output 'latent'"):
        score.latent(shown)
