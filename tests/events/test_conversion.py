from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
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
    parquet_file,
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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("lhco", "delphes")))
        for name in EVERY_FILE
    ],
)
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
    refused(olympics, olympics / "o.root", "is a file, expected a folder")
    refused(olympics, olympics / "o.parquet", "is a file, expected a folder")
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


def parquet_of(path: Path, counts: list[int], **changes: Any) -> Path:
    """Write particles of as many events, every column as one of Arrow's kinds makes it."""
    values = np.arange(1.0, sum(counts) + 1, dtype=np.float32)
    columns = {f"PFCands_{part}": values / 50 for part in ("pt", "eta", "phi", "mass")}
    as_list = changes.pop("as_list", lambda jagged: pa.array(jagged.to_list()))
    arrays = {name: as_list(ak.unflatten(column, counts)) for name, column in columns.items()}
    arrays |= {"event": pa.array(np.arange(len(counts)))} | changes
    pq.write_table(pa.table({n: a for n, a in arrays.items() if a is not None}), path)
    return path


KINDS: dict[str, Callable[[ak.Array], Any]] = {
    "list": lambda jagged: pa.array(jagged.to_list()),
    "float64": lambda jagged: pa.array(jagged.to_list(), pa.large_list(pa.float64())),
    "half": lambda jagged: pa.array(ak.values_astype(jagged, np.float32).to_list()).cast(
        pa.list_(pa.float16())
    ),
    "fixed": lambda jagged: pa.array(jagged.to_list(), pa.list_(pa.float32(), 3)),
    "view": lambda jagged: pa.array(jagged.to_list(), pa.list_view(pa.float32())),
    "extension": lambda jagged: ak.to_arrow(jagged, extensionarray=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_every_kind_of_arrow_are_read(tmp_path: Path, loaded: Any, kind: str) -> None:
    path = parquet_of(tmp_path / "a.parquet", [3] * 4, as_list=KINDS[kind])
    found = read(loaded(path, 1, 4))
    expected = (np.arange(4, 13) / 50).astype(np.float16 if kind == "half" else np.float32)
    assert ak.num(found.p4).tolist() == [3] * 3
    assert np.array_equal(ak.to_numpy(ak.flatten(found.p4.pt)), expected.astype(np.float64))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"PFCands_mass": None}, "has PFCands_eta, PFCands_phi, PFCands_pt and lacks PFCands_mass"),
        (
            {f"PFCands_{part}": None for part in ("pt", "eta", "phi", "mass")}
            | {"PFCands": pa.array([[{"pt": 1.0}], []])},
            "'PFCands' is one column of records; write its parts as columns PFCands_eta",
        ),
        ({"PFCands_pt": pa.array([[1.0, 2.0], None])}, "'PFCands_pt' has no value in 1 places"),
        ({"PFCands_pt": pa.array([[1.0, None], [1.0]])}, "'PFCands_pt' has no value in 1 places"),
        ({"PFCands_pt": pa.array([["a", "b"], ["c"]])}, "'PFCands_pt' holds string, expected num"),
    ],
)
def test_parquet_that_is_whole_is_not_called_damaged(
    tmp_path: Path, loaded: Any, changes: dict[str, Any], cause: str
) -> None:
    path = parquet_of(tmp_path / "a.parquet", [2, 1], **changes)
    with pytest.raises(InputError, match=rf"a\.parquet.*{cause}") as error:
        loaded(path)
    assert "damaged" not in str(error.value)


def test_a_row_group_that_unpacks_to_more_than_its_file_says_is_refused(
    tmp_path: Path, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    same = pa.DictionaryArray.from_arrays(np.zeros(1 << 17, np.int8), pa.array([0.5]))
    table = pa.table({name: same for name in ("m_jj", "heavy_mass", "light_mass")})
    pq.write_table(table, path)
    assert path.stat().st_size < 5000
    monkeypatch.setattr(parquet_file, "MOST_BYTES", 3 << 20)  # as they take, 8 bytes a number
    assert len(loaded(path, 0, 10)) == 10
    monkeypatch.setattr(parquet_file, "MOST_BYTES", (3 << 20) - 1)
    path.touch()
    with pytest.raises(InputError, match=r"bomb\.parquet: 1 row group.* in smaller ones"):
        loaded(path, 0, 10)


def test_what_only_starts_like_parquet_is_no_skim(tmp_path: Path) -> None:
    path = tmp_path / "stub.parquet"
    path.write_bytes(b"PAR1" + bytes(96))
    with pytest.raises(InputError, match=r"not readable as Parquet.*cut short") as error:
        source_of(path)
    assert "skim" not in str(error.value)


def test_converted_events_that_were_changed_are_noticed(
    olympics: Path, tmp_path: Path, loaded: Any
) -> None:
    path = convert(olympics, tmp_path / "out.parquet").path
    table = pq.read_table(path)
    pt = ak.from_arrow(table["PFCands_pt"])
    changed = ak.where(ak.local_index(pt, axis=0) == 4, pt * np.float32(1 + 1e-6), pt)
    where = table.schema.get_field_index("PFCands_pt")
    pq.write_table(table.set_column(where, "PFCands_pt", pa.array(changed.to_list())), path)
    assert len(read(loaded(path, 0, 4))) == 4
    with pytest.raises(InputError, match=r"eventId of 1 of 5 events, the first event 0 .*changed"):
        read(loaded(path, 4, 9))
