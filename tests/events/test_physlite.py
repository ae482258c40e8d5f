from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, PHYSLITESchema

from tnt_coffea.errors import InputError
from tnt_coffea.events import jets_of, particles_of, physlite, source_of

pytestmark = pytest.mark.filterwarnings("ignore:Skipping")
JETS, EVENT = "AnalysisLargeRJetsAuxDyn", "EventInfoAuxDyn"


def test_jets_are_the_files_own_in_gev(root_files: dict[str, Path], loaded: Any) -> None:
    path = root_files["physlite"]
    assert source_of(path) is physlite
    jets = jets_of(loaded(path))
    with uproot.open(path) as file:
        tree = file["CollectionTree"]
        pt, mass = (tree[f"{JETS}.{part}"].array() for part in ("pt", "m"))
        numbers = [tree[f"{EVENT}.{n}"].array() for n in ("runNumber", "lumiBlock", "eventNumber")]
        weights = tree[f"{EVENT}.mcEventWeights"].array()
    assert ak.flatten(jets.p4.pt * 1000).tolist() == pytest.approx(
        ak.flatten(pt).tolist(), rel=1e-6
    )
    assert ak.flatten(jets.p4.mass * 1000).tolist() == pytest.approx(
        ak.flatten(mass).tolist(), rel=1e-6, abs=1e-3
    )
    assert [column.tolist() for column in jets.numbers.values()] == [n.tolist() for n in numbers]
    assert jets.weight.tolist() == weights[:, 0].tolist()
    assert jets.radius == 1.0
    assert jets.constituents is None
    assert len(set(jets.event_id.tolist())) == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "schema", [PHYSLITESchema, pytest.param(BaseSchema, marks=pytest.mark.slow)]
)
def test_every_schema_gives_the_same_jets(
    root_files: dict[str, Path], loaded: Any, under_schema: Any, schema: Any
) -> None:
    path = root_files["physlite"]
    ours, theirs = jets_of(loaded(path)), jets_of(under_schema(path, "CollectionTree", schema))
    assert np.array_equal(ours.event_id, theirs.event_id)
    assert ak.array_equal(ours.p4, theirs.p4)
    assert np.array_equal(ours.weight, theirs.weight)


def test_there_is_nothing_to_cluster(root_files: dict[str, Path], loaded: Any) -> None:
    with pytest.raises(InputError, match="jets without particles"):
        particles_of(loaded(root_files["physlite"]))


def test_an_event_without_weights_has_one_whatever_others_have(loaded: Any, tmp_path: Path) -> None:
    part = ak.values_astype(ak.Array([[1e6, 5e5], [9e5]]), np.float32)

    def weights(given: Any) -> Any:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.root"
        columns = {f"{JETS}.{name}": part for name in ("pt", "m")}
        columns |= {f"{JETS}.{name}": 0 * part for name in ("eta", "phi")}
        columns[f"{EVENT}.mcEventWeights"] = ak.values_astype(ak.Array(given), np.float32)
        with uproot.recreate(path) as file:
            file.mktree("CollectionTree", columns)
        return jets_of(loaded(path)).weight.tolist()

    assert weights([[2.0, 1.0], [-1.0]]) == [2.0, -1.0]
    assert weights([[], []]) == [1.0, 1.0]
    assert weights([[2.0, 1.0], []]) == [2.0, 1.0]


def test_the_rntuple_of_newer_files_is_read(loaded: Any, tmp_path: Path) -> None:
    counts, rng = [2, 0, 3], np.random.default_rng(1)
    columns: dict[str, Any] = {
        f"{JETS}.{part}": ak.unflatten(rng.uniform(0.5, 2, 5).astype(np.float32), counts)
        for part in ("pt", "eta", "phi", "m")
    }
    for name in ("runNumber", "lumiBlock", "eventNumber"):
        columns[f"{EVENT}.{name}"] = np.arange(1, 4, dtype=np.uint32)
    columns[f"{EVENT}.mcEventWeights"] = ak.Array([[2.0, 1.0], [-1.0, 1.0], [0.5, 1.0]])
    paths = tmp_path / "tree.root", tmp_path / "rntuple.root"
    with uproot.recreate(paths[0]) as file:
        file.mktree("CollectionTree", columns)
    with uproot.recreate(paths[1]) as file:
        file.mkrntuple("EventData", {n.replace(".", ":"): c for n, c in columns.items()})
    tree, rntuple = (jets_of(loaded(path)) for path in paths)
    assert source_of(paths[1]) is physlite
    assert np.array_equal(rntuple.event_id, tree.event_id)
    assert ak.array_equal(rntuple.p4, tree.p4)
    assert ak.flatten(rntuple.p4.pt * 1000).tolist() == pytest.approx(
        ak.flatten(columns[f"{JETS}.pt"]).tolist(), rel=1e-6
    )
    assert rntuple.weight.tolist() == [2.0, -1.0, 0.5]
    assert [len(numbers) for numbers in rntuple.numbers.values()] == [3, 3, 3]
    assert len(jets_of(loaded(paths[1], 1, 3))) == 2
