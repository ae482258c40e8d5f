"""Tables of features through the processors, on our own road and on coffea's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from tnt_coffea.config import MassRange, SearchConfig, SearchSettings, SkimSettings
from tnt_coffea.events.skim import read_parts
from tnt_coffea.execution import open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SearchProcessor, SkimProcessor

MAPPING = {
    "m_jj": "1000 * dijet_mass",
    "heavy": {"mass": "m1", "pt": "p1"},
    "light": {"mass": "m2", "pt": "p2"},
    "order": "mass",
    "numbers": {"run": "run", "luminosityBlock": "luminosityBlock", "event": "event"},
}
WIDE = MassRange(low=80.0, high=12000.0)


def frame(n: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(12)
    return {
        "dijet_mass": rng.uniform(2, 7, n),
        **{name: rng.uniform(50, 500, n) for name in ("m1", "m2", "p1", "p2")},
        "run": np.full(n, 3, np.uint32),
        "luminosityBlock": np.arange(n, dtype=np.uint32) // 9,
        "event": np.arange(n, dtype=np.uint64),
    }


@pytest.fixture(params=["parquet", "root"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = tmp_path / f"table.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.table(frame()), made)
    else:
        with uproot.recreate(made) as file:
            file["Events"] = frame()
    return made


def test_either_road_gives_the_same_skim_and_histograms(
    path: Path,
    tmp_path: Path,
    stock: Callable[..., Any],
    feature_taggers: Callable[..., Any],
) -> None:
    settings = SkimSettings(table=MAPPING)
    fileset = Fileset.from_paths({"data": [path]}).read_with(settings)
    with open_executor() as executor:
        run(fileset, SkimProcessor(settings, tmp_path / "ours"), executor, chunk_size=7)
    stock(path, SkimProcessor(settings, tmp_path / "stock"), BaseSchema, chunk_size=11)
    ours, theirs = (
        read_parts((tmp_path / road).rglob("*.parquet"), numbers=True) for road in ("ours", "stock")
    )
    assert ours.content_hash() == theirs.content_hash()
    assert ours.numbers.keys() == theirs.numbers.keys() == {"run", "luminosityBlock", "event"}
    taggers = feature_taggers(settings).calibrated(ours, WIDE, (0.5, 0.3))
    search = SearchProcessor(
        SearchConfig(skim=settings, search=SearchSettings(histogram_range=WIDE, fit_range=WIDE)),
        taggers,
    )
    with open_executor() as executor:
        expected, _ = run(fileset, search, executor, chunk_size=9)
    found = stock(path, search, BaseSchema, chunk_size=13)
    assert expected["hists"]["features"].sum(flow=True).value == 40
    assert found["hists"] == expected["hists"]
