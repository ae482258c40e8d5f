from __future__ import annotations

import pickle
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import hdf5plugin
import numpy as np
import pytest

from tnt_coffea.errors import InputError
from tnt_coffea.events import hdf5_table, lhco, sources
from tnt_coffea.events.particles import Particles


def table(n: int = 5, columns: int = 2101, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, columns), np.float32)
    for i in range(n):
        k = 3 * int(rng.integers(2, 20))
        rows[i, 0:k:3] = rng.uniform(1, 500, k // 3)
        rows[i, 1:k:3] = rng.uniform(-2, 2, k // 3)
        rows[i, 2:k:3] = rng.uniform(-3, 3, k // 3)
    if columns > 2100:
        rows[:, 2100] = np.arange(n) % 2
    return rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def _write(rows: np.ndarray, name: str = "events") -> Path:
        path = tmp_path / "events.h5"
        with h5py.File(path, "w") as file:
            file[name] = rows
        return path

    return _write


def read(path: Path, start: int = 0, stop: int | None = None) -> Particles:
    source = sources.source_of(path)
    n = source.entries(path)
    events = source.load(path, start, n if stop is None else stop, {"filename": str(path)})
    return sources.particles_of(events)


@pytest.mark.parametrize("name", ["events", "df/block0_values"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_table_is_found_by_shape_and_values_come_out_unchanged(
    write: Callable[..., Path], name: str, dtype: type
) -> None:
    rows = table().astype(dtype)
    particles = read(write(rows, name))
    assert len(particles) == 5
    assert particles.label.tolist() == [0, 1, 0, 1, 0]
    for i in range(5):
        cube = rows[i, :2100].reshape(700, 3)
        cube = cube[cube[:, 0] > 0].astype(np.float64)
        for column, values in enumerate(("pt", "eta", "phi")):
            assert ak.to_numpy(getattr(particles.p4[i], values)) == pytest.approx(
                cube[:, column], abs=1e-12
            )


def test_float32_and_float64_copies_are_the_same_events(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    rows = table(n=20)
    single = read(write(rows))
    double = read(write(rows.astype(np.float64)))
    assert np.array_equal(single.event_id, double.event_id)
    assert len(np.unique(single.event_id)) == 20


def test_black_box_without_truth_has_unknown_labels(write: Callable[..., Path]) -> None:
    assert read(write(table(columns=2100))).label.tolist() == [-1] * 5


def test_ids_ignore_the_truth_bit(write: Callable[..., Path]) -> None:
    rows = table()
    before = read(write(rows)).event_id
    rows[:, 2100] = 1 - rows[:, 2100]
    after = read(write(rows))
    assert np.array_equal(before, after.event_id)
    assert after.label.tolist() == [1, 0, 1, 0, 1]


def test_ranges_join_to_the_whole(write: Callable[..., Path]) -> None:
    path = write(table(n=17))
    whole = read(path).event_id
    parts = [read(path, a, b).event_id for a, b in ((0, 6), (6, 7), (7, 17))]
    assert np.array_equal(np.concatenate(parts), whole)


def test_event_without_particles_is_kept_for_the_cutflow(write: Callable[..., Path]) -> None:
    rows = table()
    rows[2, :2100] = 0
    assert ak.num(read(write(rows)).p4).tolist()[2] == 0


@pytest.mark.parametrize(
    ("column", "value", "cause"),
    [
        (0, np.nan, "not finite"),
        (1, np.inf, "not finite"),
        (3, -5.0, "negative pT"),
        (1, 50.0, r"abs\(eta\)"),
        (2100, 7.0, "truth column"),
    ],
)
def test_impossible_values_are_named_with_file_and_place(
    write: Callable[..., Path], column: int, value: float, cause: str
) -> None:
    rows = table()
    rows[3, column] = value
    path = write(rows)
    with pytest.raises(InputError, match=cause) as error:
        read(path)
    assert str(path) in str(error.value)


def test_truncated_file_is_refused(write: Callable[..., Path]) -> None:
    path = write(table(n=200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=str(path)):
        lhco.entries(path)


@pytest.mark.parametrize("shape", [(4, 2099), (4,), (0, 2101)])
def test_wrong_tables_are_refused(write: Callable[..., Path], shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"2100|no events"):
        lhco.entries(write(np.zeros(shape, np.float32)))


def test_page_named_h5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    path.write_text("<html>404</html>")
    with pytest.raises(InputError, match="no known source"):
        sources.source_of(path)


FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip", "shuffle": True},
    "blosc": hdf5plugin.Blosc(cname="blosclz"),
    "blosc-zstd": hdf5plugin.Blosc(cname="zstd"),
    "blosc2": hdf5plugin.Blosc2(cname="lz4"),
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "bzip2": hdf5plugin.BZip2(),
    "bitshuffle": hdf5plugin.Bitshuffle(),
}


def stored(path: Path, rows: np.ndarray, **how: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("events", data=rows, **how)
    return path


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_gives_the_same_events(tmp_path: Path, name: str, dtype: str) -> None:
    rows = table(n=20)
    plain = read(stored(tmp_path / "plain.h5", rows))
    packed = stored(tmp_path / "packed.h5", rows.astype(dtype), chunks=(7, 2101), **FILTERS[name])
    found = read(packed)
    assert np.array_equal(found.event_id, plain.event_id)
    assert np.array_equal(found.label, plain.label)
    assert ak.array_equal(found.p4.pt, plain.p4.pt)


def test_every_layout_gives_the_same_events(tmp_path: Path) -> None:
    rows = table(n=20)
    expected = read(stored(tmp_path / "plain.h5", rows)).event_id
    layouts: dict[str, dict[str, Any]] = {
        "lzf": {"compression": "lzf"},
        "checked": {"compression": "gzip", "fletcher32": True},
        "by column": {"compression": "gzip", "chunks": (20, 3)},
        "taller than the table": {"maxshape": (None, 2101), "chunks": (1000, 2101)},
        "in both directions": {"maxshape": (None, None), "chunks": (37, 113)},
        "extended precision": {"dtype": np.longdouble},
        "big endian": {"dtype": ">f8"},
    }
    for name, how in layouts.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file.create_dataset("a/b/a table", data=rows, **how)
            file["soft"], file["hard"] = h5py.SoftLink("/a/b/a table"), file["a/b/a table"]
        found = read(path)
        assert np.array_equal(found.event_id, expected), name
        assert found.label.tolist() == rows[:, 2100].tolist(), name


def test_what_others_put_into_rows_is_taken(write: Callable[..., Path]) -> None:
    rows = table(n=6)
    rows[:, 2100] = [-1, 0, 1, 1, 0, -1]
    rows[1, 3:2100] = 0  # one particle
    rows[2, 2:2100:3] %= 2 * np.pi
    rows[3, :2100] = np.tile((5.0, 0.1, 0.2), 700)  # no padding
    found = read(write(rows))
    assert found.label.tolist() == [-1, 0, 1, 1, 0, -1]
    assert ak.num(found.p4).tolist()[1] == 1
    assert ak.num(found.p4).tolist()[3] == 700
    angles = np.asarray(found.p4.phi[2])
    assert np.exp(1j * angles) == pytest.approx(
        np.exp(1j * rows[2, 2 : 3 * len(angles) : 3].astype(float)), abs=1e-6
    )


@pytest.mark.parametrize(
    "chunks", [(1, 2101), (7, 2101), (7, 50), (64, 100), (300, 1), (128, 2101)]
)
@pytest.mark.parametrize("slab", [2101 * 4, 2101 * 4 * 10, 1 << 30])
def test_any_layout_and_any_range_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, int], slab: int
) -> None:
    rows = table(n=300)
    expected = read(stored(tmp_path / "plain.h5", rows)).event_id
    path = stored(tmp_path / "packed.h5", rows, chunks=chunks, **FILTERS["blosc-zstd"])
    monkeypatch.setattr(lhco, "SLAB_BYTES", slab)
    for start, stop in ((0, 300), (0, 1), (5, 8), (63, 65), (100, 290), (299, 300)):
        assert np.array_equal(read(path, start, stop).event_id, expected[start:stop])


def test_rewritten_file_is_read_anew(tmp_path: Path) -> None:
    how = {"chunks": (40, 2101), **FILTERS["blosc"]}
    path = stored(tmp_path / "events.h5", table(n=40, seed=1), **how)
    before = read(path, 0, 5).event_id
    path.unlink()
    stored(path, table(n=40, seed=2), **how)
    after = read(path, 0, 5).event_id
    assert not np.isin(after, before).any()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """4.4 GB of rows in the Olympics' layout: one packed chunk, stored again and again."""
    path, n = tmp_path_factory.mktemp("large") / "events.h5", 7 * 37_500
    rows = table(n=7).astype(np.float64)
    with h5py.File(path, "w") as file:
        how = {"chunks": (7, 2101), "compression": "gzip"}
        one = file.create_dataset("one", data=rows, **how)
        _, packed = one.id.read_direct_chunk((0, 0))
        all_of_them = file.create_dataset("df/block0_values", (n, 2101), "f8", **how)
        for start in range(0, n, 7):
            all_of_them.id.write_direct_chunk((start, 0), packed)
        del file["one"]
    return path, n


def test_memory_depends_on_neither_file_nor_range(large: tuple[Path, int]) -> None:
    path, n = large
    assert n * 2101 * 8 > 4 << 30
    peaks = []
    for stop in (2_000, 10_000):
        tracemalloc.start()
        rows = lhco.load(path, 0, stop, {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(rows) == stop
        peaks.append(peak)
    # Five times the rows: 170 MB of table, of which only the particles stay.
    assert peaks[1] < 80 << 20
    assert peaks[1] < peaks[0] + (40 << 20)


def test_large_file_is_counted_at_once(large: tuple[Path, int]) -> None:
    path, n = large
    start = time.perf_counter()
    assert lhco.entries(path) == n
    assert time.perf_counter() - start < 2


def test_chunks_that_cannot_be_streamed_are_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("events", (40_000, 2101), "f4", chunks=(40_000, 1), compression="gzip")
    with pytest.raises(InputError, match=r"321 MiB at a time.*h5repack -l /events:CHUNK=100x2101"):
        lhco.entries(path)


def test_filter_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((7, 2101))
        plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((7, 2101))
        h5py.h5d.create(file.id, b"events", h5py.h5t.NATIVE_FLOAT, space, plist)
    with pytest.raises(InputError, match="filter 305"):
        lhco.entries(path)


def test_rows_that_were_never_written_are_no_events(tmp_path: Path) -> None:
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("events", (21, 2101), "f4", chunks=(7, 2101), compression="gzip")
        file["events"][:7] = table(n=7)
    with pytest.raises(InputError, match=r"21 rows of which only 1 of 3 chunks were written"):
        lhco.entries(path)


def virtual(path: Path, *parts: tuple[slice, str, int], n: int = 10) -> Path:
    """Write a virtual table of other files' 'events': where, which file, rows of it."""
    layout = h5py.VirtualLayout((n, 2101), "f4")
    for where, file, rows in parts:
        layout[where] = h5py.VirtualSource(file, "events", (rows, 2101))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("events", layout)
    return path


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        ("b.h5", None),
        ("deeper.h5", None),
        ("gone.h5", r"gone\.h5 is gone"),
        ("short.h5", r"short\.h5 holds only \(2, 2101\)"),
        ("other.h5", "has no data set 'events'"),
        ("halfway.h5", "only 8404 of 42020 bytes were written"),
        ("virtual.h5", "consists of itself"),
        (None, "hold 10505 of its 21010 numbers"),
    ],
)
def test_virtual_table_is_read_where_all_of_it_is_there(
    tmp_path: Path, second: str | None, cause: str | None
) -> None:
    rows = table(n=10)
    for name, part in {"a": rows[:5], "b": rows[5:], "short": rows[5:7]}.items():
        stored(tmp_path / f"{name}.h5", part)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["else"] = rows[5:]
    with h5py.File(tmp_path / "halfway.h5", "w") as file:
        file.create_dataset("events", (5, 2101), "f4", chunks=(1, 2101))[:1] = rows[5:6]
    virtual(tmp_path / "deeper.h5", (slice(0, 5), "b.h5", 5), n=5)
    there = [(slice(0, 5), "a.h5", 5)] + ([(slice(5, 10), second, 5)] if second else [])
    path = virtual(tmp_path / "virtual.h5", *there)
    if cause is None:
        assert np.array_equal(
            read(path).event_id, read(stored(tmp_path / "plain.h5", rows)).event_id
        )
        assert tmp_path / second in hdf5_table.other_files(path)
    else:
        with pytest.raises(InputError, match=rf"virtual\.h5.*{cause}|halfway\.h5.*{cause}"):
            lhco.entries(path)


@pytest.mark.parametrize(("size", "cause"), [(None, None), (0, "is gone"), (9, "9 of 84040 bytes")])
def test_raw_files_are_looked_for_beside_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, cause: str | None
) -> None:
    rows, path, raw = table(n=10), tmp_path / "events.h5", tmp_path / "raw.bin"
    monkeypatch.chdir(tmp_path)
    with h5py.File(path, "w") as file:
        where = [("raw.bin", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("events", rows.shape, "f4", external=where)[:] = rows
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where HDF5 itself would look
    if cause is None:
        assert len(np.unique(read(path).event_id)) == 10
        assert hdf5_table.other_files(path) == (raw,)
        with h5py.File(path, "a") as file:
            file.create_dataset("weight", (10,), "i1", external=[("t.bin", 0, 10)])[:] = 1
        with pytest.raises(InputError, match=r"'/weight' keeps its data in raw files"):
            lhco.entries(path)
        return
    raw.write_bytes(raw.read_bytes()[:size])
    if not size:
        raw.unlink()
    with pytest.raises(InputError, match=rf"events\.h5.*raw\.bin.*{cause}"):
        lhco.entries(path)


def test_rows_at_the_end_that_hold_nothing_are_not_taken_for_events(tmp_path: Path) -> None:
    rows = table(n=10)
    rows[3, :2100] = 0  # an event without a particle
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("events", (20, 2101), "f4")[:10] = rows
    assert len(read(path, 0, 10)) == 10
    with pytest.raises(InputError, match=r"rows 10 to 20 at its end hold nothing.*stopped"):
        read(path, 8, 12)


def frame(path: Path, blocks: dict[str, tuple[list[Any], np.ndarray]], order: list[Any]) -> Path:
    """Write a frame as pandas' `to_hdf(format="fixed")` does."""

    def put(group: h5py.Group, key: str, names: list[Any]) -> None:
        if len({type(name) for name in names}) == 1:
            group[key] = np.array(names, "S" if isinstance(names[0], str) else "i8")
            return
        mixed = np.array(names, object)
        kind = h5py.vlen_dtype(np.uint8)
        group.create_dataset(key, (1,), kind)[0] = np.frombuffer(pickle.dumps(mixed), np.uint8)

    with h5py.File(path, "w") as file:
        df = file.create_group("df")
        df.attrs.update({"pandas_type": np.bytes_("frame"), "nblocks": len(blocks)})
        put(df, "axis0", order)
        for i, (names, values) in enumerate(blocks.values()):
            put(df, f"block{i}_items", names)
            df[f"block{i}_values"] = values
    return path


NUMBERED = list(range(2100))
NAMED = [f"{part}_{i}" for i in range(700) for part in ("pt", "eta", "phi")]


@pytest.mark.parametrize(
    ("names", "beside", "label", "weight"),
    [
        ([*NUMBERED, 2100], [], "'2100'", "none"),
        ([*NAMED, "Truth"], [], "'Truth'", "none"),
        ([*NUMBERED, "weight"], ["truth"], "'truth'", "'weight'"),
        (["weight", *NAMED, "label"], [], "'label'", "'weight'"),
        (NUMBERED, [2100], "'2100'", "none"),
        (NUMBERED, ["weight", "is_signal"], "'is_signal'", "'weight'"),
        ([*NUMBERED, "weight"], [], "none", "'weight'"),
    ],
)
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_truth_and_weight_of_a_frame_are_told_by_their_names(
    tmp_path: Path, names: list[Any], beside: list[Any], label: str, weight: str, kind: type
) -> None:
    rows = table(n=6)
    truth, weights = rows[:, 2100], np.array([1, 2, 1, 3, 1, 5])

    def of(name: Any) -> np.ndarray:
        return weights if name == "weight" else truth

    particles = iter(rows.T[:2100])
    own = [name in NUMBERED or name in NAMED for name in names]
    floats = [next(particles) if p else of(n) for p, n in zip(own, names, strict=True)]
    blocks = {"floats": (names, np.stack(floats, 1))}
    if beside:
        blocks["others"] = (beside, np.stack([of(name) for name in beside], 1).astype(kind))
    path = frame(tmp_path / "events.h5", blocks, [*names, *beside])
    found = read(path)
    assert np.array_equal(found.event_id, read(stored(tmp_path / "plain.h5", rows)).event_id)
    assert lhco.meaning(path) == {"label column": label, "weight column": weight}
    assert found.label.tolist() == ([-1] * 6 if label == "none" else truth.tolist())
    assert found.weight.tolist() == ([1] * 6 if weight == "none" else weights.tolist())


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        ([*NUMBERED, "score"], "'score'"),
        ([*NAMED, "truth", "label"], "truth and label say the same"),
        ([*NUMBERED[3:], *NUMBERED[:3], "truth"], None),
        ([*NUMBERED[:2099], "truth"], "2099 are left"),
    ],
)
def test_frame_of_unknown_columns_is_refused(
    tmp_path: Path, names: list[Any], cause: str | None
) -> None:
    order = sorted(names, key=str) if cause is None else names
    rows = np.resize(table(n=4), (4, len(names)))
    path = frame(tmp_path / "events.h5", {"floats": (names, rows)}, order)
    with pytest.raises(InputError, match=cause or "not in the order"):
        lhco.entries(path)


def test_truth_and_weight_beside_the_table_are_taken(tmp_path: Path) -> None:
    rows, path = table(n=6), tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file["events"], file["truth"] = rows[:, :2100], rows[:, 2100].astype(bool)
        file["weight"] = np.arange(6.0)[:, None]
    found = read(path)
    assert found.label.tolist() == [0, 1] * 3
    assert found.weight.tolist() == list(range(6))
    with h5py.File(path, "a") as file:
        file["label"] = file["truth"][:]
    with pytest.raises(InputError, match=r"cannot be told.*'/label' and .*'/truth'"):
        lhco.entries(path)


def test_frame_of_the_other_format_says_what_to_do(tmp_path: Path) -> None:
    kind = [("index", "i8"), ("values_block_0", "f8", (2101,))]
    with h5py.File(tmp_path / "events.h5", "w") as file:
        file["df/table"] = np.zeros(3, kind)
        file["df/_i_table/index/bounds"] = np.zeros(3)
        file["df"].attrs["pandas_type"] = "frame_table"
    with pytest.raises(InputError, match=r"found 'df/table'.*format='table'.*format='fixed'") as e:
        lhco.entries(tmp_path / "events.h5")
    assert "_i_table" not in str(e.value)


def test_link_to_another_file_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "events.h5", "w") as file:
        file["events"] = h5py.ExternalLink("target.h5", "/box/events")
    with pytest.raises(InputError, match=r"'events' is a link to '/box/events' of target\.h5"):
        lhco.entries(tmp_path / "events.h5")


def test_user_block_in_front_is_no_obstacle(tmp_path: Path) -> None:
    path, rows = tmp_path / "events.h5", table(n=5)
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["events"] = rows
    with path.open("r+b") as file:
        file.write(b"# somebody's header")
    assert len(read(path)) == 5


def test_file_that_shrank_during_the_pass_is_noticed(tmp_path: Path) -> None:
    path = stored(tmp_path / "events.h5", table(n=20))
    stored(path, table(n=10))
    with pytest.raises(InputError, match="rows 5 to 20 were asked for and 10 are there"):
        lhco.load(path, 5, 20, {})


def test_real_file_gives_the_numbers_of_h5py(lhco_file: Path) -> None:
    with h5py.File(lhco_file) as file:
        rows = file["df/block0_values"][:]
    found = read(lhco_file)
    assert len(found) == len(rows)
    assert found.label.tolist() == rows[:, 2100].astype(int).tolist()
    assert ak.num(found.p4).tolist() == (rows[:, :2100:3] > 0).sum(axis=1).tolist()
    sums = rows[:, :2100:3].astype(np.float32).astype(np.float64).sum(axis=1)
    assert ak.to_numpy(ak.sum(found.p4.pt, axis=1)) == pytest.approx(sums, rel=1e-9)
