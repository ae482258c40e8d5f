from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from tnt_coffea.config import FoldSettings, ImageSettings, SkimSettings
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.jets.dijets import OBSERVABLES
from tnt_coffea.taggers import Card, Tagger
from tnt_coffea.taggers.card import METADATA_KEY
from tnt_coffea.taggers.inputs import Images, jets_of

PIXELS = 6
SKIM = SkimSettings(images=ImageSettings(pixels=PIXELS))


def card(**changes: object) -> Card:
    scope = str(changes.get("scope", "heavy"))
    values = {
        "method": "test",
        "scope": "heavy",
        "inputs": (Images(jets=jets_of(scope), images=SKIM.images),),
        "skim": SKIM,
        "training_sample": "0" * 64,
        "folds": FoldSettings(outer=2),
        "fold_seed": 1,
        "direct": (1,),
        "ancestors": (1,),
        "seed": 1,
    }
    return Card(**(values | changes))


@pytest.fixture
def make_card() -> Callable[..., Card]:
    return card


@pytest.fixture
def make_tagger() -> Callable[..., Tagger]:
    """A real ONNX file: score = image . weights, with any card and any output name."""

    def make(
        weights: np.ndarray, the_card: Card | None = None, output: str = "score", **changes: object
    ) -> Tagger:
        n = PIXELS * PIXELS
        graph = helper.make_graph(
            [
                helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
                helper.make_node("MatMul", ["pixels", "weights"], [output]),
            ],
            "test",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, PIXELS, PIXELS])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n"])],
            [
                helper.make_tensor("flat", TensorProto.INT64, [2], [-1, n]),
                helper.make_tensor("weights", TensorProto.FLOAT, [n], weights.ravel()),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        metadata = (the_card or card(**changes)).to_json()
        helper.set_model_props(model, {METADATA_KEY: metadata})
        return Tagger(model.SerializeToString())

    return make


@pytest.fixture
def sample() -> Sample:
    import awkward as ak

    rng = np.random.default_rng(5)
    n = 500
    columns = {
        "event_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "weight": np.ones(n),
        "m_jj": rng.uniform(2000, 8000, n),
    }
    for jet in ("heavy", "light"):
        columns |= {f"{jet}_{o}": rng.random(n).astype(np.float32) for o in OBSERVABLES}
        columns[f"{jet}_image_index"] = ak.unflatten(np.tile(np.arange(5, dtype=np.uint16), n), 5)
        columns[f"{jet}_image_value"] = ak.unflatten(rng.random(5 * n).astype(np.float32), 5)
    return sample_of(columns, SKIM)
