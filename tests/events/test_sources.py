from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot

from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import SOURCES, particles_of, source_of
from tnt_coffea.filesets import Fileset


def table(path: Path, rows: int = 4) -> Path:
    values = np.zeros((rows, 2101), np.float32)
    values[:, :6] = [500, 0.1, 0.2, 400, -0.1, -3.0]
    with h5py.File(path, "w") as file:
        file["events"] = values
    return path


def test_content_decides_and_not_the_name(
    root_files: dict[str, Path], lhco_file: Path, tmp_path: Path
) -> None:
    files = root_files | {"lhco": lhco_file}
    for name, path in files.items():
        link = tmp_path / f"{name}.dat"
        link.symlink_to(path)
        assert source_of(link) is SOURCES[name.removeprefix("skimmed ")]


@pytest.mark.parametrize(
    "content", [b"", b"<html>not here</html>", b"PK\x03\x04", b"event,pt\n1,2\n"]
)
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.root"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no known source") as error:
        source_of(path)
    assert str(path) in str(error.value)


def test_root_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "int64"}).extend({"x": np.arange(3)})
    with pytest.raises(InputError, match="no known source"):
        source_of(path)


@pytest.mark.parametrize(
    ("tree", "branch", "found"),
    [
        ("ntuple/Events", "PFCands_pt", "it holds the tree 'ntuple/Events' (PFCands_pt)"),
        ("tree", "FatJet_pt", "it holds the tree 'tree' (FatJet_pt)"),
        ("Events", "PFcand_pt", "it holds the tree 'Events' (PFcand_pt)"),
    ],
)
def test_other_trees_are_named_with_what_would_be_read(
    tmp_path: Path, tree: str, branch: str, found: str
) -> None:
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        file.mktree(tree, {branch: "float32"}).extend({branch: np.ones(3, np.float32)})
    with pytest.raises(InputError, match="no known source") as error:
        source_of(path)
    assert found in str(error.value)
    for read in ("'Events'", "PFCands_pt", "FatJet_pt", "'Delphes'", "'CollectionTree'"):
        assert read in str(error.value)


def test_root_files_without_a_tree_say_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        file["spectrum"] = np.histogram([1.0, 2.0])
    with pytest.raises(InputError, match="it holds no tree, only TH1D"):
        source_of(path)


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    import awkward as ak

    with pytest.raises(InputError, match="no source has the fields"):
        particles_of(ak.Array([{"x": 1}]))


def test_file_that_changes_is_read_anew(write_nano: Callable[..., Path], loaded: Any) -> None:
    path = write_nano()
    before = particles_of(loaded(path)).event_id
    write_nano(event=np.array([1, 2, 3], np.uint64))
    assert not np.array_equal(particles_of(loaded(path)).event_id, before)


def test_source_can_be_named(write_nano: Callable[..., Path], tmp_path: Path) -> None:
    path, lhco = write_nano(), table(tmp_path / "a.h5")
    (item,) = Fileset.from_paths({"data": [path]}, source="pfnano").items(10)
    assert (item.source, item.stop) == ("pfnano", 3)
    with pytest.raises(InputError, match="not of source 'pfnano'"):
        Fileset.from_paths({"data": [path, lhco]}, source="pfnano").items(10)
    with pytest.raises(ConfigError, match="lhco, skim, pfnano"):
        Fileset.from_paths({"data": [path]}, source="nanoaod")


def test_one_fileset_may_mix_sources(write_nano: Callable[..., Path], tmp_path: Path) -> None:
    files = [write_nano(), table(tmp_path / "a.h5")]
    items = Fileset.from_paths({"data": files}).items(3)
    assert [(item.source, item.start, item.stop) for item in items] == [
        ("pfnano", 0, 3),
        ("lhco", 0, 3),
        ("lhco", 3, 4),
    ]
