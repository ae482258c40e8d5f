from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from onnx import TensorProto, helper

from tnt_coffea.config import FoldSettings, MassRange, SkimSettings
from tnt_coffea.execution import open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.taggers import Card, Member, Tagger, TaggerSet
from tnt_coffea.taggers.card import METADATA_KEY
from tnt_coffea.taggers.inputs import Columns

FOLDS = FoldSettings(outer=2)


@pytest.fixture
def ours() -> Callable[..., dict[str, Any]]:
    """A processor's output over files of any source, by our own execution."""

    def process(path: Path, processor: Any, chunk_size: int = 1000) -> dict[str, Any]:
        with open_executor() as executor:
            fileset = Fileset.from_paths({"data": [path]})
            return run(fileset, processor, executor, chunk_size=chunk_size)[0]

    return process


@pytest.fixture
def stock() -> Callable[..., dict[str, Any]]:
    """The same by coffea's own Runner."""
    from coffea.processor import IterativeExecutor, Runner

    def process(
        path: Path, processor: Any, schema: Any, tree: str = "Events", chunk_size: int = 1000
    ) -> dict[str, Any]:
        runner = Runner(
            executor=IterativeExecutor(status=False),
            schema=schema,
            chunksize=chunk_size,
            format="parquet" if path.suffix == ".parquet" else "root",
        )
        files = {"data": {"files": [str(path)], "treename": tree}}
        return runner(files, processor_instance=processor)

    return process


@pytest.fixture(scope="session")
def feature_taggers() -> Callable[..., TaggerSet]:
    """Two folds of taggers of features: score = sum of the features, in ONNX."""

    def make(
        skim: SkimSettings,
        inputs: tuple[str, ...] = ("mass", "pt"),
        name: str = "features",
        window: MassRange | None = None,
    ) -> TaggerSet:
        members = [
            Member(_summing(skim, inputs, scope, fold, window), scope, fold, f"{scope}-{fold}")
            for fold in (0, 1)
            for scope in ("heavy", "light")
        ]
        return TaggerSet(name, FOLDS, 1, tuple(members))

    return make


def _summing(
    skim: SkimSettings, inputs: tuple[str, ...], scope: str, fold: int, window: MassRange | None
) -> Tagger:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["features", "axes"], ["score"], keepdims=0)],
        "sum",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(inputs)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    whole = ("m_jj", *skim.of_event)
    columns = (
        name if name in whole or name.startswith(("heavy_", "light_")) else f"{scope}_{name}"
        for name in inputs
    )
    shown = Columns(columns=tuple(columns), substructure=skim.substructure)
    card = card_of("sum", skim, scope, fold, window=window, inputs=(shown,))
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    return Tagger(model.SerializeToString())


def card_of(method: str, skim: SkimSettings, scope: str, fold: int, **more: Any) -> Card:
    """The card of a tagger that may score a fold of two."""
    return Card(
        method=method,
        scope=scope,
        skim=skim,
        training_sample="0" * 64,
        folds=FOLDS,
        fold_seed=1,
        direct=(1 - fold,),
        ancestors=(1 - fold,),
        seed=1,
        **more,
    )


@pytest.fixture
def olympics(tmp_path: Path) -> Path:
    """Forty dijets of two sprays of particles each, as an LHC Olympics file."""
    rng = np.random.default_rng(8)
    rows = np.zeros((40, 2101))
    for row in rows:
        phi, n = rng.uniform(-np.pi, np.pi), 30
        eta = np.concatenate([rng.normal(y, 0.25, n) for y in rng.normal(0, 1, 2)])
        around = np.concatenate([rng.normal(x, 0.25, n) for x in (phi, phi + np.pi)])
        pt = rng.exponential(50, 2 * n) + 0.5
        wrapped = np.remainder(around + np.pi, 2 * np.pi) - np.pi
        row[: 6 * n] = np.stack([pt, eta, wrapped], axis=1).ravel()
        row[2100] = rng.integers(2)
    path = tmp_path / "olympics.h5"
    with h5py.File(path, "w") as file:
        file["events"] = rows.astype(np.float32)
    return path
