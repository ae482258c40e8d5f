"""Damaged files of every kind that is read: no crash, no hang, no foreign error.

The files are read in a process of its own, because what is behind h5py, Arrow and ONNX
Runtime is C: this file, run as a program, is that process.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

EVENTS = 24
MOST_EVENTS = 100_000
"""More than any of these files can hold, whatever its header says."""

SECONDS = 60
MEMORY = 6 << 30


# --- the reading process ------------------------------------------------------------------


def read_events(path: Path) -> None:
    import awkward as ak

    from tnt_coffea.events import sources

    source = sources.source_of(path)
    n = source.entries(path)
    assert 0 < n < MOST_EVENTS, n
    particles = sources.particles_of(source.load(path, 0, n, {"filename": str(path)}))
    assert len(particles) == len(particles.event_id) == len(particles.label) == n
    pt, eta, phi = (
        ak.to_numpy(ak.flatten(getattr(particles.p4, name))) for name in ("pt", "eta", "phi")
    )
    assert np.isfinite([pt, eta, phi]).all()
    assert (pt > 0).all()
    assert (np.abs(eta) <= 20).all()
    assert np.isin(particles.label, (-1, 0, 1)).all()


def read_skim(path: Path) -> None:
    from tnt_coffea.events import skim, sources

    if sources.source_of(path) is not skim:
        return
    n = skim.entries(path)
    assert 0 < n < MOST_EVENTS, n
    sample = skim.read_parts([path], truth=True)
    events = skim.load(path, 0, n, {"filename": str(path)})
    assert len(sample) == len(events) == n
    for jet in ("heavy", "light"):
        assert np.isfinite(sample.images(jet)).all()


def read_table(path: Path) -> None:
    from tnt_coffea.config import SkimSettings
    from tnt_coffea.events import sources, table

    sources.source_of(path)
    n = table.entries(path)
    assert 0 < n < MOST_EVENTS, n
    events = table.load(path, 0, n, {"filename": str(path)})
    sample = table.features(events, SkimSettings(table="olympics"))
    assert len(sample) == n
    assert all(np.isfinite(column).all() for column in sample.columns.values())
    assert (sample.m_jj > 0).all()
    assert np.isin(sample.label, (-1, 0, 1)).all()


def read_tagger(path: Path) -> None:
    from tnt_coffea.taggers import Tagger

    jets = np.zeros((5, 1, 40, 40), np.float32)
    jets[:, :, 20, 15] = 1.0
    scores = Tagger.from_file(path).score(jets)
    assert scores.shape == (5,)
    assert np.isfinite(scores).all()


def read_quantiles(path: Path) -> None:
    from tnt_coffea.taggers.quantiles import QuantileMap

    QuantileMap.load(path)


def read_set(path: Path) -> None:
    from tnt_coffea.taggers import TaggerSet

    TaggerSet.load(path.parent)


def read_histograms(path: Path) -> None:
    from tnt_coffea.products import Histograms

    for h in Histograms.load(path.parent).hists.values():
        assert np.isfinite(h.values(flow=True)).all()


def read_manifest(path: Path) -> None:
    from tnt_coffea.products import Skim

    assert Skim.load(path.parent).accounting.selected > 0


READERS: dict[str, Callable[[Path], None]] = {
    "events": read_events,
    "skim": read_skim,
    "table": read_table,
    "tagger": read_tagger,
    "quantiles": read_quantiles,
    "set": read_set,
    "histograms": read_histograms,
    "manifest": read_manifest,
}


def serve() -> None:
    """Read the files that standard input names and say how each ended."""
    from tnt_coffea.errors import TntCoffeaError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # filters print what they think of a file
    os.dup2(nowhere, 2)
    for line in sys.stdin:
        kind, path = json.loads(line)
        try:
            READERS[kind](Path(path))
            answer = ("read", "")
        except TntCoffeaError as error:
            answer = ("refused", str(error))
        except BaseException as error:
            answer = ("raised", f"{type(error).__name__}: {error}")
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    serve()
    sys.exit(0)


# --- the tests ----------------------------------------------------------------------------

import h5py  # noqa: E402
import hdf5plugin  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402


class Reader:
    """The reading process; one that dies or hangs is told and started again."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def stop(self) -> int:
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        return code

    def read(self, kind: str, path: Path) -> tuple[str, str]:
        self.process.stdin.write(json.dumps((kind, str(path))) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.stop()
            self.start()
            return "hung", f"no answer in {SECONDS} s"
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.stop()
            self.start()
            return "died", f"exit status {code}"
        how, why = json.loads(line)
        return how, why


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.stop()


def rows() -> np.ndarray:
    """Events of 20 to 60 particles, labels alternating."""
    rng = np.random.default_rng(0)
    table = np.zeros((EVENTS, 2101), np.float32)
    for i in range(EVENTS):
        n = int(rng.integers(20, 60))
        values = rng.uniform((20, -2, -3), (500, 2, 3), (n, 3))
        table[i, : 3 * n] = values.ravel()
    table[:, -1] = np.arange(EVENTS) % 2
    return table


FILTERS: dict[str, Any] = {
    "blosc": hdf5plugin.Blosc(cname="zstd"),
    "blosc2": hdf5plugin.Blosc2(cname="zstd"),
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "none": {},
}


def plain(path: Path, filter_name: str = "blosc") -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("events", data=rows(), chunks=(8, 2101), **FILTERS[filter_name])
    return path


def pandas_fixed(path: Path) -> Path:
    """The layout of the Olympics' own files."""
    packed = hdf5plugin.Blosc(cname="blosclz", clevel=5)
    with h5py.File(path, "w") as file:
        frame = file.create_group("df")
        frame.attrs["pandas_type"] = np.bytes_("frame")
        one = {"chunks": (8192,), "maxshape": (8192,), **packed}
        for name, n in (("axis0", 2101), ("axis1", EVENTS), ("block0_items", 2101)):
            frame.create_dataset(name, data=np.arange(n), **one)
        frame.create_dataset(
            "block0_values", data=rows().astype(np.float64), chunks=(7, 2101), **packed
        )
    return path


def features(folder: Path) -> dict[str, Path]:
    """The same table of features in every format."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq
    import uproot

    rng = np.random.default_rng(3)
    names = [f"{name}j{j}" for j in (1, 2) for name in ("px", "py", "pz", "m")]
    names += [f"tau{n}j{j}" for j in (1, 2) for n in (1, 2, 3)]
    frame = {name: rng.uniform(1, 1000, EVENTS) for name in names} | {"label": np.zeros(EVENTS)}
    paths = {f"table {kind}": folder / f"features.{kind}" for kind in ("csv", "parquet", "root")}
    csv.write_csv(pa.table(frame), paths["table csv"])
    pq.write_table(pa.table(frame), paths["table parquet"], write_page_checksum=True)
    with uproot.recreate(paths["table root"]) as file:
        file["features"] = frame
    paths["table h5"] = folder / "features.h5"
    with h5py.File(paths["table h5"], "w") as file:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": np.bytes_("frame"), "nblocks": 1})
        group["axis0"] = group["block0_items"] = np.array([name.encode() for name in frame])
        values = np.stack(list(frame.values()), axis=1)
        group.create_dataset("block0_values", data=values, chunks=(7, len(frame)), shuffle=True)
    return paths


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good file of every kind, each in a folder with what it needs beside it."""
    from tnt_coffea import pipeline
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.filesets import Fileset
    from tnt_coffea.products import Taggers
    from tnt_coffea.taggers import packaged_taggers

    folder = tmp_path_factory.mktemp("originals")
    config = SearchConfig()
    events = plain(folder / "plain.h5")
    skim = pipeline.skim(Fileset.from_paths({"data": [events]}), config, out=folder)
    packaged = packaged_taggers()["rnd-3500"]
    taggers = Taggers.load(packaged)
    pipeline.search(skim, taggers, config, out=folder)
    shutil.copytree(packaged / "tnt", folder / "tnt")
    return {
        **features(folder),
        "plain": events,
        "pandas": pandas_fixed(folder / "pandas.h5"),
        "skim": next((folder / "skim" / "parts").rglob("*.parquet")),
        "tagger": folder / "tnt" / "heavy-0-0.onnx",
        "quantiles": folder / "tnt" / "quantiles.json",
        "set": folder / "tnt" / "set.json",
        "histograms": folder / "search" / "histograms.h5",
        "search": folder / "search" / "search.json",
        "manifest": folder / "skim" / "manifest.json",
    }


KINDS = ("flip", "byte", "cut", "drop", "zero", "ones", "repeat", "splice", "word")
LENGTHS = (1, 2, 4, 8, 64, 512)

# Half of all places lie near the beginning or the end, where headers and footers are.
places = st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 4095), st.integers(-4096, -1))
mutations = st.lists(
    st.tuples(st.sampled_from(KINDS), places, st.sampled_from(LENGTHS), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=8,
)


def mutated(data: bytes, changes: list[tuple[str, float, int, int]]) -> bytes:
    """Return the bytes after every change of one kind at one place."""
    out = bytearray(data)
    for kind, place, n, value in changes:
        if not out:
            break
        at = int(place * len(out)) if isinstance(place, float) else place % len(out)
        piece = bytes(out[at : at + n])
        match kind:
            case "flip":
                out[at] ^= 1 << value % 8
            case "byte":
                out[at] = value % 256
            case "cut":
                del out[at:]
            case "drop":
                del out[at : at + n]
            case "zero":
                out[at : at + n] = bytes(len(piece))
            case "ones":
                out[at : at + n] = b"\xff" * len(piece)
            case "repeat":
                out[at:at] = piece
            case "splice":
                other = value % len(out)
                out[at : at + n] = out[other : other + n]
            case "word":
                out[at : at + 4] = value.to_bytes(4, "little")
    return bytes(out)


def campaign(reader: Reader, kind: str, original: Path, path: Path, examples: int) -> Counter[str]:
    """Return how many of the mutated files ended how, after checking that all ended well."""
    data = original.read_bytes()
    ends: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations)
    def one(changes: list[tuple[str, float, int, int]]) -> None:
        path.write_bytes(mutated(data, changes))
        how, why = reader.read(kind, path)
        ends[how] += 1
        assert how in ("read", "refused"), (how, why)
        assert how == "read" or str(path.parent) in why, why

    one()
    return ends


CASES = [
    ("events", "plain", 260),
    ("events", "pandas", 260),
    ("skim", "skim", 200),
    ("table", "table h5", 150),
    ("table", "table csv", 60),
    ("table", "table parquet", 60),
    ("table", "table root", 60),
    ("tagger", "tagger", 200),
    ("quantiles", "quantiles", 60),
    ("set", "set", 40),
    ("histograms", "histograms", 100),
    ("histograms", "search", 60),
    ("manifest", "manifest", 60),
]
LONGEST = ("pandas", "table h5", "histograms", "tagger")
assert sum(examples for *_, examples in CASES) > 1000


def beside(original: Path, folder: Path) -> Path:
    """Return the place of a file's mutants, with what lies beside the file."""
    place = folder / "mutants"
    shutil.copytree(original.parent, place, dirs_exist_ok=True)
    return place / original.name


@pytest.mark.parametrize(
    ("kind", "name", "examples"),
    [
        # As long as the rest together; files of their kinds, or read alike, are among the others.
        pytest.param(*case, id=case[1], marks=[pytest.mark.slow] * (case[1] in LONGEST))
        for case in CASES
    ],
)
def test_damaged_file_is_read_within_the_contract_or_refused(
    reader: Reader,
    originals: dict[str, Path],
    tmp_path: Path,
    kind: str,
    name: str,
    examples: int,
) -> None:
    path = beside(originals[name], tmp_path)
    assert reader.read(kind, path) == ("read", "")
    ends = campaign(reader, kind, originals[name], path, examples)
    assert ends.total() >= examples
    assert ends["refused"] > examples / 5


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "examples"), CASES, ids=[case[1] for case in CASES])
def test_many_more_damaged_files(
    reader: Reader,
    originals: dict[str, Path],
    tmp_path: Path,
    kind: str,
    name: str,
    examples: int,
) -> None:
    campaign(reader, kind, originals[name], beside(originals[name], tmp_path), 20 * examples)


@pytest.mark.slow
@pytest.mark.parametrize("filter_name", sorted(FILTERS))
def test_damaged_tables_of_every_robust_filter(
    reader: Reader, tmp_path: Path, filter_name: str
) -> None:
    original = plain(tmp_path / "original.h5", filter_name)
    campaign(reader, "events", original, tmp_path / "mutant.h5", 2000)


def test_filter_that_crashes_on_damage_is_one_error(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        table = file.create_dataset(
            "events", data=rows(), chunks=(8, 2101), **hdf5plugin.Bitshuffle()
        )
        place = table.id.get_chunk_info(1).byte_offset
    assert reader.read("events", path) == ("read", "")
    data = bytearray(path.read_bytes())
    # Bitshuffle's own header: 8 bytes of size, 4 of block size, then a length before every block.
    data[place + 12 : place + 16] = b"\x7f\xff\xff\x00"
    path.write_bytes(data)
    how, why = reader.read("events", path)
    assert how == "refused", why
    assert str(path) in why
    assert "unpacking it" in why
