from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import InputError, StorageError
from tnt_coffea.events import (
    JetsFrom,
    Particles,
    SourceSettings,
    StoredJets,
    convert,
    jets_of,
    particles_of,
)
from tnt_coffea.events.conversion import Format
from tnt_coffea.events.identity import fold_of
from tnt_coffea.events.sample import sample_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.events.sources import SOURCES, source_of

FORMATS = ("root", "parquet")
EVERY_FILE = ("lhco", "pfnano", "skimmed pfnano", "delphes", "physlite")


@pytest.fixture
def olympics(tmp_path: Path) -> Path:
    """Ten events of the Olympics' format: massless particles, an empty event, labels."""
    rng = np.random.default_rng(3)
    rows = np.zeros((10, 2101), np.float32)
    for i, n in enumerate([5, 40, 0, 3, 17, 1, 9, 700, 2, 30]):
        values = np.stack(
            [rng.exponential(50, n) + 0.1, rng.normal(0, 1.5, n), rng.uniform(-3, 3, n)], axis=1
        )
        rows[i, : 3 * n] = values.ravel()
    rows[:, 2100] = np.arange(10) % 2
    path = tmp_path / "olympics.h5"
    with h5py.File(path, "w") as file:
        file["df/block0_values"] = rows.astype(np.float64)
    return path


def same(a: Particles | StoredJets, b: Particles | StoredJets) -> None:
    assert ak.array_equal(a.p4, b.p4)
    for name in ("event_id", "weight", "label"):
        first, second = getattr(a, name), getattr(b, name)
        assert first.dtype == second.dtype
        assert np.array_equal(first, second)
    assert a.numbers.keys() == b.numbers.keys()
    assert all(np.array_equal(a.numbers[n], b.numbers[n]) for n in a.numbers)


def read(events: Any, settings: SourceSettings | None = None) -> Particles | StoredJets:
    return jets_of(events, settings) or particles_of(events, settings)


@pytest.mark.parametrize("form", FORMATS)
def test_olympics_survive_the_round_trip(
    olympics: Path, tmp_path: Path, loaded: Any, form: str
) -> None:
    made = convert(olympics, tmp_path / f"out.{form}", chunk_size=4)
    assert (made.form, made.files, made.events) == (Format(form), 1, 10)
    before, after = read(loaded(olympics)), read(loaded(made.path))
    same(before, after)
    assert after.label.tolist() == [0, 1] * 5
    for k in (2, 5):
        assert np.array_equal(fold_of(before.event_id, k, 1), fold_of(after.event_id, k, 1))


@pytest.mark.parametrize("name", EVERY_FILE)
def test_real_files_survive_the_round_trip(
    root_files: dict[str, Path],
    lhco_file: Path,
    tmp_path: Path,
    loaded: Any,
    name: str,
) -> None:
    path = (root_files | {"lhco": lhco_file})[name]
    before = read(loaded(path))
    made = convert(path, tmp_path / "a.root", chunk_size=300 if name == "lhco" else 40)
    again = convert(made.path, tmp_path / "b.parquet")
    back = convert(again.path, tmp_path / "c.root")
    for conversion in (made, again, back):
        assert conversion.columns == made.columns
        same(before, read(loaded(conversion.path)))


@pytest.mark.parametrize("form", FORMATS)
def test_every_choice_is_still_open_after_conversion(
    write_nano: Callable[..., Path], tmp_path: Path, loaded: Any, form: str
) -> None:
    path = write_nano()
    made = convert(path, tmp_path / f"out.{form}", chunk_size=2)
    for settings in (SourceSettings(puppi=False), SourceSettings(jets=JetsFrom.FILE)):
        before, after = (read(loaded(p), settings) for p in (path, made.path))
        same(before, after)
        if isinstance(before, StoredJets):
            assert ak.array_equal(before.constituents, after.constituents)
            assert before.radius == after.radius == 0.8
    assert read(loaded(made.path)).weight.tolist() == [0.5, -1.0, 2.0]


@pytest.mark.parametrize("form", FORMATS)
def test_result_does_not_depend_on_the_chunks(
    olympics: Path, tmp_path: Path, loaded: Any, form: str
) -> None:
    made = [
        read(loaded(convert(olympics, tmp_path / f"{n}.{form}", chunk_size=n).path))
        for n in (1, 3, 10)
    ]
    for other in made[1:]:
        same(made[0], other)


def test_several_files_become_one(
    olympics: Path, write_nano: Callable[..., Path], tmp_path: Path, loaded: Any
) -> None:
    files = [write_nano("a.root"), write_nano("b.root", run=np.array([2, 2, 2], np.uint32))]
    made = convert(files, tmp_path / "both.root")
    assert made.events == 6
    assert made.summary() == f"{made.path}: 6 events of 2 files, 18 columns"
    ids = [read(loaded(path)).event_id for path in files]
    assert np.array_equal(read(loaded(made.path)).event_id, np.concatenate(ids))
    with pytest.raises(InputError, match="not in all files"):
        convert([olympics, files[0]], tmp_path / "mixed.root")
    assert not list(tmp_path.glob("mixed*"))


def test_root_output_is_flat_nanoaod(olympics: Path, tmp_path: Path) -> None:
    made = convert(olympics, tmp_path / "out.root")
    with uproot.open(made.path) as file:
        types = file["Events"].typenames()
    assert types["eventId"] == "uint64_t"
    assert types["PFCands_pt"] == "float[]"
    assert {"nPFCands", "weight", "label"} < types.keys()
    assert "run" not in types  # the source has none, and none is made up


def test_parquet_output_holds_no_nulls(olympics: Path, tmp_path: Path) -> None:
    made = convert(olympics, tmp_path / "out.parquet", chunk_size=4)
    with pq.ParquetFile(made.path) as file:
        assert file.metadata.num_row_groups == 3
        assert not any(field.nullable for field in file.schema_arrow)


def refused(files: Any, out: Path, match: str, **options: Any) -> None:
    before = set(out.parent.iterdir()) if out.parent.is_dir() else set()
    with pytest.raises((InputError, StorageError), match=match):
        convert(files, out, **options)
    if out.parent.is_dir():
        assert set(out.parent.iterdir()) == before


def test_what_cannot_be_converted_leaves_nothing(
    olympics: Path, tmp_path: Path, write_nano: Callable[..., Path]
) -> None:
    nothing: Sequence[Path] = []
    refused(nothing, tmp_path / "o.root", "no file")
    refused(olympics, tmp_path / "o.csv", "suffix says no format")
    refused(olympics, olympics, "over while it is read", form="root")
    refused(tmp_path / "absent.h5", tmp_path / "o.root", "No such file")
    refused(olympics, olympics / "o.root", "cannot be written")
    refused(olympics, olympics / "o.parquet", "cannot be written")
    bad = write_nano(genWeight=np.array([1, 1, np.nan], np.float32))
    for form in FORMATS:
        refused([bad], tmp_path / f"o.{form}", "weight of event", chunk_size=1)


def test_skims_are_not_converted(tmp_path: Path) -> None:
    settings = SkimSettings(images=None, observables=("mass",))
    columns = {n: np.ones(3) for n in ("event_id", "weight", "m_jj", "heavy_mass", "light_mass")}
    write_part(tmp_path / "part.parquet", sample_of(columns, settings))
    refused(tmp_path / "part.parquet", tmp_path / "o.root", "part of a skim")


def test_damaged_parquet_is_named(olympics: Path, tmp_path: Path, loaded: Any) -> None:
    path = convert(olympics, tmp_path / "out.parquet").path
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (whole[:-30], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=str(path)):
            loaded(path)


def test_lists_of_different_lengths_are_refused(tmp_path: Path, loaded: Any) -> None:
    import pyarrow as pa

    columns = {f"PFCands_{part}": [[1.0, 2.0], [3.0]] for part in ("pt", "eta", "phi", "mass")}
    path = tmp_path / "uneven.parquet"
    pq.write_table(pa.table(columns | {"PFCands_eta": [[1.0], [2.0, 3.0]]}), path)
    with pytest.raises(InputError, match="different lengths"):
        particles_of(loaded(path))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["data:1", "keep::out", "~out", "http:/out"])
def test_a_path_is_taken_as_it_stands(
    olympics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    neighbour = Path("keep")  # fsspec reads and writes it in place of keep::out
    neighbour.write_text("precious")
    out = Path(f"{name}.{form}")
    made = convert(olympics, out)
    assert made.path == out
    assert out.is_file()
    entries = SOURCES["pfnano" if form == "root" else "parquet"].entries(out)
    assert entries == source_of(out).entries(out) == 10
    assert neighbour.read_text() == "precious"
