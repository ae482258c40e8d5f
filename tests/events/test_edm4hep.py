"""EDM4hep: files with the columns of the public data model, written by uproot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from tnt_coffea.cli import main
from tnt_coffea.errors import InputError
from tnt_coffea.events import SOURCES, convert, jets_of, particles_of, source_of
from tnt_coffea.filesets import Fileset

EDM4HEP = SOURCES["edm4hep"]
MOMENTA = {
    "momentum.x": [[30.0, 0.0, 0.0], [], [-6.0, 1.0]],
    "momentum.y": [[40.0, -10.0, 0.0], [], [8.0, 1.0]],
    "momentum.z": [[0.0, 0.0, 9.0], [], [0.0, -1.0]],
    "energy": [[50.0, 26.0, 9.0], [], [10.0, 1.8]],
}
"""The third one of the first event flies along the beam."""


def written(
    path: Path,
    kind: str = "TTree",
    collection: str = "ReconstructedParticles",
    header: dict[str, list[Any]] | None = None,
    wide: bool = False,
    **more: Any,
) -> Path:
    """Return a file of three events, in the types of EDM4hep 0.10, or those of 1.0 where wide."""
    if header is None:
        header = {"runNumber": [7] * 3, "eventNumber": [1, 2, 3], "weight": [0.5, 0.0, 2.0]}
    types = {"eventNumber": "u8" if wide else "i4", "runNumber": "u4" if wide else "i4"}
    columns = {
        (collection, part): ak.values_astype(ak.Array(values), np.float32)
        for part, values in {**MOMENTA, "mass": MOMENTA["energy"], **more}.items()
    }
    for part, values in header.items():
        dtype = types.get(part, "f8" if wide else "f4")
        given = values if isinstance(values[0], list) else [[value] for value in values]
        columns["EventHeader", part] = ak.values_astype(ak.Array(given), dtype)
    with uproot.recreate(path) as file:
        if kind == "RNTuple":
            names = {name for name, _ in columns}
            file.mkrntuple("events", {name: nested(columns, name) for name in sorted(names)})
        else:
            flat = {f"{name}.{part}": column for (name, part), column in columns.items()}
            kinds = {
                name: f"var * {ak.to_numpy(ak.flatten(column)).dtype}"
                for name, column in flat.items()
            }
            file.mktree("events", kinds).extend(flat)
    return path


def nested(columns: dict[tuple[str, str], ak.Array], collection: str) -> ak.Array:
    parts = {part: column for (name, part), column in columns.items() if name == collection}
    plain = {part: column for part, column in parts.items() if "." not in part}
    if len(plain) < len(parts):
        vector = {axis: parts[f"momentum.{axis}"] for axis in "xyz"}
        plain["momentum"] = ak.zip(vector, depth_limit=2)
    return ak.zip(plain, depth_limit=2)


@pytest.mark.parametrize(
    ("kind", "collection", "wide"),
    [
        ("TTree", "ReconstructedParticles", False),
        ("TTree", "PandoraPFOs", True),
        ("RNTuple", "ReconstructedParticles", True),
        ("RNTuple", "PandoraPFOs", False),
    ],
)
def test_particles_have_energy_and_momentum_of_the_file(
    tmp_path: Path, loaded: Any, kind: str, collection: str, wide: bool
) -> None:
    path = written(tmp_path / "a.root", kind, collection, wide=wide)
    events = loaded(path)
    found = particles_of(events)
    assert source_of(path) is EDM4HEP
    assert jets_of(events) is None
    assert found.p4.pt.tolist() == [[50.0, 10.0], [], [10.0, pytest.approx(math.sqrt(2))]]
    assert found.p4.mass[0].tolist() == [0.0, 24.0]
    assert found.p4.mass[2, 1] == pytest.approx(math.sqrt(1.8**2 - 3), rel=1e-6)
    assert found.p4.eta[2, 1] == pytest.approx(-math.asinh(1 / math.sqrt(2)))
    assert found.p4.phi[2].tolist() == pytest.approx([math.atan2(8, -6), math.pi / 4])
    assert found.weight.tolist() == [0.5, 0.0, 2.0]
    assert {name: column.tolist() for name, column in found.numbers.items()} == {
        "run": [7, 7, 7],
        "event": [1, 2, 3],
    }


def test_events_are_the_same_chunk_by_chunk_and_in_all_files(tmp_path: Path, loaded: Any) -> None:
    files = [
        written(tmp_path / "a.root"),
        written(tmp_path / "b.root", "RNTuple", wide=True),
        written(tmp_path / "c.root", collection="PandoraPFOs", header={"weight": [1.0, 2.0, 3.0]}),
    ]
    whole = [particles_of(loaded(path)).event_id.tolist() for path in files]
    parts = [
        [particles_of(loaded(path, i, i + 1)).event_id.tolist()[0] for i in range(3)]
        for path in files
    ]
    assert whole[0] == whole[1] == whole[2]
    assert parts == whole


def test_weights_that_nobody_set_are_one(tmp_path: Path, loaded: Any) -> None:
    header = {"eventNumber": [1, 2, 3], "weight": [0.0, 0.0, 0.0]}
    path = written(tmp_path / "a.root", header=header)
    assert particles_of(loaded(path)).weight.tolist() == [1.0, 1.0, 1.0]
    assert EDM4HEP.meaning(path)["weight column"] == "none"
    bare = particles_of(loaded(written(tmp_path / "b.root", header={})))
    assert (bare.weight.tolist(), bare.numbers) == ([1.0, 1.0, 1.0], {})
    some = written(tmp_path / "c.root")
    assert particles_of(loaded(some, 1, 2)).weight.tolist() == [0.0]  # as the whole file says


def test_other_collections_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.root", collection="TightSelectedPFOs")
    assert source_of(path) is EDM4HEP
    with pytest.raises(InputError, match="it has momenta of TightSelectedPFOs") as error:
        Fileset.from_paths([path]).items(10)
    assert "ReconstructedParticles or PandoraPFOs" in str(error.value)


def test_tree_without_momenta_is_of_no_known_source(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        column = ak.Array([[1.0], [2.0]])
        file.mktree("events", {"MCParticles.mass": "var * float64"}).extend(
            {"MCParticles.mass": column}
        )
    with pytest.raises(InputError, match="'events', with ReconstructedParticles or PandoraPFOs"):
        source_of(tmp_path / "a.root")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"energy": [[50.0, np.nan, 9.0], [], [10.0, 1.8]]}, "not finite in event 0"),
        ({"momentum.z": [[0.0, 0.0, 9.0], [], [np.inf, -1.0]]}, "not finite in event 2"),
        ({"energy": [[50.0, 26.0], [], [10.0, 1.8]]}, "lists of different lengths"),
        ({"header": {"weight": [[1.0], [], [1.0, 2.0]]}}, "event 1 .* has 0 of EventHeader"),
        ({"header": {"weight": [1.0, np.inf, 1.0]}}, "the weight of event 1"),
        ({"header": {"eventNumber": [1, -2, 3]}}, "event is .*-2.* in event 1"),
    ],
)
def test_impossible_values_are_refused_with_their_event(
    tmp_path: Path, loaded: Any, changes: dict[str, Any], reason: str
) -> None:
    path = written(tmp_path / "a.root", **changes)
    with pytest.raises(InputError, match=reason) as error:
        particles_of(loaded(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_cut_file_is_one_error(tmp_path: Path, share: float) -> None:
    path = written(tmp_path / "a.root")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cut short"):
        source_of(path)


def test_converted_file_has_the_same_events(tmp_path: Path, loaded: Any) -> None:
    path = written(tmp_path / "a.root")
    first = particles_of(loaded(path))
    again = particles_of(loaded(convert(path, tmp_path / "b.root").path))
    assert again.event_id.tolist() == first.event_id.tolist()
    assert ak.array_equal(again.p4, first.p4)


def test_inspect_says_what_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "a.root")
    done = CliRunner().invoke(main, ["inspect", str(path)], env={"COLUMNS": "200"})
    for what in ("edm4hep", "ReconstructedParticles", "EventHeader.weight", "1 to 3", "any_part"):
        assert what in done.output
