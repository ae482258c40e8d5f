"""The skim as training reads it: mapped, shared, the same events, and little of it in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import ImageSettings, SkimSettings
from tnt_coffea.errors import InputError, StorageError
from tnt_coffea.events.skim import read_parts, write_part
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers.inputs import Constituents, Images
from tnt_coffea.testing import make_sample
from tnt_coffea.training import mapped_events

SAMPLE = make_sample(60)


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def test_mapped_events_are_those_of_the_parts(write_skim, tmp_path):
    paths = write_skim(SAMPLE, parts=3)
    found = mapped_events(paths, tmp_path / "flat")
    read = read_parts(paths)
    assert found.content_hash() == read.content_hash() == SAMPLE.content_hash()
    assert (found.label == -1).all()
    for name, column in read.lists.items():
        assert ak.array_equal(found.lists[name], column)
    np.testing.assert_array_equal(
        mapped_events(paths, tmp_path / "flat", truth=True).label, SAMPLE.label
    )


def test_a_selection_reads_no_image(write_skim, tmp_path):
    mine = SAMPLE.event_id % 3 == 0
    found = mapped_events(write_skim(SAMPLE), tmp_path / "flat").select(mine)
    assert found.content_hash() == SAMPLE.select(mine).content_hash()
    images = found.sparse_images("light")
    assert is_mapped(images.index)
    assert is_mapped(images.value)
    rows = np.array([7, 3, 3, 0])
    expected = SAMPLE.select(mine).images("light", rows)
    read = Images.of("light", found).reader(found)
    np.testing.assert_array_equal(read(rows), expected)


def test_events_of_one_id_stay_in_the_order_of_the_parts(write_skim, tmp_path):
    twice = replace(SAMPLE, event_id=SAMPLE.event_id // 2**58)
    paths = write_skim(twice, parts=4)
    assert len(set(twice.event_id.tolist())) < 60
    found = mapped_events(paths, tmp_path / "flat")
    np.testing.assert_array_equal(found.m_jj, read_parts(paths).m_jj)


def test_constituents_read_from_it_are_those_of_the_sample(write_skim, tmp_path):
    sample = make_sample(60, constituents=8)
    found = mapped_events(write_skim(sample, parts=3), tmp_path / "flat")
    assert found.content_hash() == sample.content_hash()
    rows = np.array([7, 3, 3, 0])
    expected = np.stack([sample.constituents(jet).dense(8)[rows] for jet in JETS], axis=1)
    read = Constituents.of("event", found).reader(found)
    np.testing.assert_array_equal(read(rows), expected)


def test_files_are_made_once_and_again_for_another_skim(write_skim, tmp_path):
    paths, flat = write_skim(SAMPLE), tmp_path / "flat"
    mapped_events(paths, flat)
    (first,) = flat.iterdir()
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    mapped_events(paths, flat)
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    write_part(paths[0], SAMPLE.select(slice(0, 7)))
    assert len(mapped_events(paths, flat)) == 7 + 30
    assert len(list(flat.iterdir())) == 2


def test_parts_of_two_skims_are_refused_and_leave_nothing(write_skim, tmp_path):
    other = replace(SAMPLE, settings=SkimSettings(images=ImageSettings(pixels=12, rotate=False)))
    paths = write_skim(SAMPLE) + write_skim(other, "other")
    with pytest.raises(InputError, match="2 different settings"):
        mapped_events(paths, tmp_path / "flat")
    assert not (tmp_path / "flat").exists()
    with pytest.raises(InputError, match="no part"):
        mapped_events([], tmp_path / "flat")


def test_a_skim_without_images_is_mapped_too(write_skim, tmp_path):
    bare = replace(SAMPLE, lists={}, settings=SkimSettings(images=None))
    found = mapped_events(write_skim(bare), tmp_path / "flat")
    assert found.content_hash() == bare.content_hash()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_is_a_clear_error(write_skim, tmp_path):
    paths, locked = write_skim(SAMPLE), tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        mapped_events(paths, locked)


_PEAK = """
import sys
from pathlib import Path
import numpy as np
from tnt_coffea.training import linear  # noqa: F401  what a training imports
from tnt_coffea.taggers.inputs import Images
from tnt_coffea.training import mapped_events


def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


folder = Path(sys.argv[1])
before = private()
events = mapped_events(sorted(folder.glob("*.parquet")), folder / "flat")
sample = events.select(events.event_id % 4 > 0)
images = Images.of("heavy", sample).reader(sample)
found = max(
    private() for start in range(0, len(sample), 512)
    if images(np.arange(start, min(start + 512, len(sample)))).any()
)
sample.content_hash()
print(len(sample), max(found, private()) - before)
"""


def crowded(sample, pixels=100):
    """The same events with images of many filled pixels: 1.2 kB a dijet."""
    index = np.tile(np.arange(pixels, dtype=np.uint16), len(sample))
    value = np.full(len(index), np.float32(1 / pixels))
    columns = {"index": index, "value": value}
    return replace(
        sample,
        lists={
            f"{jet}_image_{name}": ak.unflatten(column, pixels)
            for jet in ("heavy", "light")
            for name, column in columns.items()
        },
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for memory")
def test_memory_of_a_training_does_not_grow_with_the_images(tmp_path):
    first = crowded(make_sample(2500))
    rng = np.random.default_rng(1)
    used = {}
    for copies in (2, 12):
        folder = tmp_path / str(copies)
        folder.mkdir()
        for i in range(copies):
            ids = rng.integers(0, 2**64, len(first), dtype=np.uint64)
            write_part(folder / f"{i}.parquet", replace(first, event_id=ids))
        mapped_events(folder.glob("*.parquet"), folder / "flat")
        command = [sys.executable, "-c", _PEAK, str(folder)]
        # What an allocator keeps of memory that is free is chance, and no memory of a training.
        strict = {
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_THRESHOLD_": "131072",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
        }
        out = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | strict
        ).stdout
        events, used[copies] = map(int, out.split())
        assert 0.7 < events / (copies * len(first)) < 0.8
    grown = 1000 * (used[12] - used[2]) / (10 * len(first))
    assert grown < 300  # bytes a dijet
