"""ONNX files of others: right where they can be, refused at load with the cause and the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper, save_model

from tnt_coffea import taggers
from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers import Card, Tagger, sessions
from tnt_coffea.taggers.card import METADATA_KEY
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.taggers.onnx_file import check_file

COLUMNS = Columns(columns=("heavy_mass", "heavy_tau21"))
WEIGHTS = np.array([[0.5], [-2.0]])
X = np.random.default_rng(2).random((70, 2)).astype(np.float32)
FLOAT, DOUBLE, HALF, INT = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.INT64,
)
NUMPY = {FLOAT: np.float32, DOUBLE: np.float64, HALF: np.float16}
node = helper.make_node


def linear(
    kind: int = FLOAT,
    batch: Any = "n",
    out: tuple[Any, ...] | None = None,
    *further: Any,
    constants: tuple[Any, ...] = (),
    flat: bool = True,
    **changes: Any,
) -> Any:
    """Score = features . weights, by way of further nodes from `product` to `last`."""
    shape = [-1] if batch == "n" else [batch]
    last = "last" if further else "product"
    nodes = [
        node("MatMul", ["features", "weights"], ["product"]),
        *further,
        *(
            [node("Reshape", [last, "flat"], ["score"])]
            if flat
            else [node("Identity", [last], ["score"])]
        ),
    ]
    constants = (
        numpy_helper.from_array(WEIGHTS.astype(NUMPY[kind]), "weights"),
        numpy_helper.from_array(np.array(shape), "flat"),
        *constants,
    )
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("features", kind, [batch, 2])],
        [helper.make_tensor_value_info("score", kind, (batch,) if out is None else out)],
        list(constants),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, ir_version=8, opset_imports=changes.pop("opsets", opsets))


@pytest.fixture
def write(tmp_path: Path, make_card: Callable[..., Card]) -> Callable[[Any], Path]:
    def write_(model: Any, **how: Any) -> Path:
        helper.set_model_props(model, {METADATA_KEY: make_card(inputs=(COLUMNS,)).to_json()})
        path = tmp_path / "tagger.onnx"
        save_model(model, path, **how)
        return path

    return write_


@pytest.mark.parametrize(
    "model",
    [
        linear(),
        linear(DOUBLE),
        linear(batch=1),
        linear(batch=64),
        linear(out=("n", 1), flat=False),
        linear(out=("some", "other"), flat=False),
        linear(out=(None,)),
    ],
    ids=["plain", "double", "one", "sixty-four", "column", "named axes", "open axis"],
)
def test_whatever_gives_one_number_an_event_is_scored_right(
    write: Callable[..., Path], model: Any
) -> None:
    scores = taggers.load(write(model)).score(X)
    assert scores.dtype == np.float32
    assert scores == pytest.approx((X @ WEIGHTS)[:, 0], rel=1e-5)
    assert np.array_equal(scores[:5], taggers.load(write(model)).score(X[:5]))


def body(*nodes: Any) -> Any:
    return helper.make_graph(
        list(nodes), "body", [], [helper.make_tensor_value_info("inside", FLOAT, None)]
    )


def array(values: Any, name: str) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def zipmap() -> Any:
    model = linear(flat=False)
    last = node("ZipMap", ["product"], ["score"], domain="ai.onnx.ml", classlabels_int64s=[0])
    model.graph.node[1].CopyFrom(last)
    classes = helper.make_map_type_proto(INT, helper.make_tensor_type_proto(FLOAT, None))
    model.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(classes))
    return model


HUGE = array([20_000_000_000], "huge")
INSIDE = node("Identity", ["product"], ["inside"])
REFUSED: dict[str, tuple[Any, str]] = {
    "half": (linear(HALF), r"takes 'features' as tensor\(float16\).*inputs in float32"),
    "two classes": (
        linear(FLOAT, "n", ("n", 2), node("Concat", ["product"] * 2, ["last"], axis=1), flat=False),
        r"gives scores of shape \['n', 2\], expected one for each event",
    ),
    "two classes, unsaid": (
        linear(
            FLOAT, "n", (None, None), node("Concat", ["product"] * 2, ["last"], axis=1), flat=False
        ),
        r"gives scores of shape \['n', 2\], expected one for each event",
    ),
    "zipmap": (
        zipmap(),
        r"'score' as seq\(map\(int64,tensor\(float\)\)\).*options=\{'zipmap': False\}",
    ),
    "fixed inside": (
        linear(
            FLOAT,
            "n",
            None,
            node("Reshape", ["product", "of 5"], ["last"]),
            constants=(array([5, 1], "of 5"),),
        ),
        "cannot be run on 32 events: .*is its batch dimension open",
    ),
    "random": (
        linear(FLOAT, "n", None, node("RandomNormalLike", ["product"], ["last"])),
        "RandomNormalLike, which draws random numbers.*inference mode",
    ),
    "multinomial": (
        linear(FLOAT, "n", None, node("Multinomial", ["product"], ["last"])),
        "Multinomial, which draws",
    ),
    "dropout": (
        linear(
            FLOAT,
            "n",
            None,
            node("Dropout", ["product", "", "yes"], ["last"]),
            constants=(array(True, "yes"),),
        ),
        "Dropout, which draws",
    ),
    "batch normalisation": (
        linear(
            FLOAT,
            "n",
            None,
            node(
                "BatchNormalization",
                ["product", *["one"] * 4],
                ["last", "mean", "variance"],
                training_mode=1,
            ),
            constants=(array(np.ones(1, "f4"), "one"),),
        ),
        "BatchNormalization in training mode",
    ),
    "loop": (
        linear(
            FLOAT,
            "n",
            None,
            node("Loop", ["", "yes"], ["last"], body=body(INSIDE)),
            constants=(array(True, "yes"),),
        ),
        "Loop, with a graph inside that may never end",
    ),
    "if": (
        linear(
            FLOAT,
            "n",
            None,
            node("If", ["yes"], ["last"], then_branch=body(INSIDE), else_branch=body(INSIDE)),
            constants=(array(True, "yes"),),
        ),
        "no control flow: unroll it",
    ),
    "subgraph of an operator without one": (
        linear(FLOAT, "n", None, node("Identity", ["product"], ["last"], body=body(INSIDE))),
        "Identity, with a graph inside",
    ),
    "foreign operator": (
        linear(
            FLOAT,
            "n",
            None,
            node("Gelu", ["product"], ["last"], domain="com.microsoft"),
            opsets=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ),
        "Gelu of the domain 'com.microsoft'",
    ),
    "constant of no numbers": (
        linear(constants=(TensorProto(name="much", data_type=FLOAT, dims=[10**6, 10**6]),)),
        r"constant of shape \(1000000, 1000000\), and .* bytes for 1000000000000 numbers",
    ),
    "huge constant": (
        linear(
            FLOAT,
            "n",
            None,
            node("ConstantOfShape", ["huge"], ["zeros"]),
            node("ReduceSum", ["zeros"], ["sum"]),
            node("Add", ["product", "sum"], ["last"]),
            constants=(HUGE,),
        ),
        "needs more than the 805 MB that taggers may take",
    ),
    "huge expansion": (
        linear(
            FLOAT,
            "n",
            None,
            node("Expand", ["product", "huge"], ["wide"]),
            node("ReduceSum", ["wide", "axis"], ["last"]),
            constants=(array([1, 10**9], "huge"), array([1], "axis")),
        ),
        "needs more than the 805 MB that taggers may take",
    ),
    "opset of the future": (
        linear(opsets=[helper.make_opsetid("", 99)]),
        "export it with opset 17",
    ),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_is_no_tagger_is_refused_at_load(write: Callable[..., Path], kind: str) -> None:
    model, reason = REFUSED[kind]
    path = write(model)
    with pytest.raises(TaggerError, match=f"^{path}: .*{reason}") as caught:
        taggers.load(path)
    assert "restore" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beside", [True, False])
def test_weights_in_another_file_are_never_read(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    model = linear()
    external_data_helper.convert_model_to_external_data(
        model, location="weights.bin", size_threshold=0
    )
    path = write(model)
    assert (tmp_path / "weights.bin").exists()
    monkeypatch.chdir(tmp_path if beside else os.sep)
    with pytest.raises(TaggerError, match=r"external data.*onnx.save_model\(onnx.load\(path\)"):
        taggers.load(path)


def test_functions_of_the_file_and_other_formats_are_refused() -> None:
    model = linear()
    model.functions.append(
        helper.make_function(
            "own",
            "Twice",
            ["x"],
            ["y"],
            [node("Add", ["x", "x"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    )
    for data, reason in (
        (model.SerializeToString(), "inline_local_functions"),
        (b"\x00\x00\x00\x00ORTM" + bytes(50), "ONNX Runtime's own format"),
        (bytes(70 * 2**20), "has 73 MB, a tagger at most 67"),
        (linear().SerializeToString()[:-3], "not a readable ONNX file"),
    ):
        with pytest.raises(TaggerError, match=f"^here: .*{reason}"):
            check_file(data, "here")


def test_inputs_other_than_those_of_the_card_are_refused(
    write: Callable[..., Path], make_card: Callable[..., Card]
) -> None:
    model = linear()
    path = write(model)
    wider = make_card(inputs=(Columns(columns=("heavy_mass", "light_mass", "m_jj")),))
    helper.set_model_props(model, {METADATA_KEY: wider.to_json()})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(TaggerError, match=r"\{'features': \(2,\)\}, and its card says .*\(3,\)"):
        taggers.load(path)


@pytest.mark.parametrize(("idle", "left", "opened"), [(0.0, (2, 3, 4), 10), (60.0, (0, 1, 4), 7)])
def test_sessions_in_use_stay_open_within_their_memory(
    make_tagger: Callable[..., Tagger],
    monkeypatch: pytest.MonkeyPatch,
    idle: float,
    left: tuple[int, ...],
    opened: int,
) -> None:
    kept, openings = sessions._Sessions(), []
    plain = sessions._opened
    monkeypatch.setattr(sessions, "_opened", lambda *w: openings.append(w) or plain(*w))
    monkeypatch.setattr(sessions, "_IDLE", idle)
    monkeypatch.setattr(sessions, "_SESSIONS", kept)
    monkeypatch.setattr(sessions, "_KEPT", 3 * sessions._OVERHEAD + 100_000)
    images = np.random.default_rng(0).random((3, 1, 6, 6)).astype(np.float32)
    many = [make_tagger(np.full((6, 6), k, np.float32)) for k in range(1, 6)]
    first = [tagger.score(images) for tagger in many]
    assert list(kept.open) == [many[number].sha256 for number in left]
    for tagger, scores in zip(many, first, strict=True):
        assert np.array_equal(tagger.score(images), scores)
    assert len(kept.open) == 3
    assert len(openings) == opened
