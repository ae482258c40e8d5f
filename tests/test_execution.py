from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tnt_coffea import pipeline
from tnt_coffea.accounting import Accounting
from tnt_coffea.config import SearchConfig, SkimSettings
from tnt_coffea.errors import ConfigError, ExecutionError, InputError
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.execution import OnError, map_tasks, open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SkimProcessor


@pytest.fixture
def damaged(events_file: Path, tmp_path: Path) -> Path:
    """A readable table whose event 70 holds NaN."""
    path = tmp_path / "damaged.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:100]
        rows[70, 4] = np.nan
        target["events"] = rows
    return path


def skimmed(
    files: list[Path], folder: Path, executor: Any = "iterative", **options: Any
) -> tuple[Sample, Accounting]:
    fileset = Fileset.from_paths({"data": files})
    with open_executor(executor, workers=2) as opened:
        _, accounting = run(fileset, SkimProcessor(SkimSettings(), folder), opened, **options)
    return read_parts(folder.rglob("*.parquet"), truth=True), accounting


def test_items_cover_every_entry_once(events_file: Path) -> None:
    items = Fileset.from_paths({"data": [events_file]}).items(120)
    assert [(item.start, item.stop) for item in items] == [
        (0, 120),
        (120, 240),
        (240, 360),
        (360, 480),
        (480, 500),
    ]


def test_order_and_split_of_files_do_not_matter(events_file: Path, tmp_path: Path) -> None:
    whole, accounting = skimmed([events_file], tmp_path / "whole", chunk_size=1000)
    assert accounting.events == accounting.selected == 500
    with h5py.File(events_file) as source:
        rows = source["events"][:]
    halves = [tmp_path / "z.h5", tmp_path / "a.h5"]
    for path, part in zip(halves, (rows[:301], rows[301:][::-1]), strict=True):
        with h5py.File(path, "w") as target:
            target["df/block0_values"] = part.astype(np.float64)
    parts, _ = skimmed(halves, tmp_path / "parts", chunk_size=77)
    assert parts.content_hash() == whole.content_hash()
    assert np.array_equal(parts.label, whole.label)


def test_bad_file_ends_the_pass_with_its_own_error(
    events_file: Path, damaged: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not finite") as error:
        skimmed([events_file, damaged], tmp_path / "out")
    assert str(damaged) in str(error.value)


@pytest.mark.parametrize("executor", ["iterative", "futures"])
def test_bad_file_can_be_skipped_and_is_listed(
    events_file: Path, damaged: Path, tmp_path: Path, executor: str
) -> None:
    sample, accounting = skimmed(
        [events_file, damaged], tmp_path / "out", executor, chunk_size=50, on_error=OnError.SKIP
    )
    assert accounting.events == 600
    assert accounting.n_lost == 50
    ((item, (lost, reason)),) = accounting.lost.items()
    assert (item, lost) == (f"data: {damaged}, entries 50-100", 50)
    assert "not finite" in reason
    assert len(sample) == accounting.selected == 550


def test_events_without_a_dijet_are_counted(events_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:20]
        rows[3, :2100] = 0  # no particle at all
        rows[5, 3:2100] = 0  # one particle, one jet
        target["events"] = rows
    _, accounting = skimmed([path], tmp_path / "out")
    assert list(accounting.datasets) == ["data"]
    assert accounting.datasets["data"].to_dict() == {
        "events": 20,
        "selected": 18,
        "rejected": {"any_particle": 1, "two_jets": 1, "trigger": 0},
        "lost": {},
    }


def test_unaccounted_events_are_an_error() -> None:
    with pytest.raises(ExecutionError, match="2 of 10 events are unaccounted"):
        Accounting(events=10, selected=5, rejected={"two_jets": 1}, lost={"x": (2, "bad")})


@pytest.mark.parametrize("executor", ["iterative", "futures", "dask"])
def test_tasks_come_back_in_order(executor: str) -> None:
    with open_executor(executor, workers=2) as opened:
        assert map_tasks(math.factorial, [5, 3, 9, 0], opened) == [120, 6, 362880, 1]
        assert map_tasks(math.factorial, [], opened) == []
        with pytest.raises(ExecutionError, match=r"ValueError in a worker.*\(and 1 more\)"):
            map_tasks(math.factorial, [5, -1, -2], opened)


def test_unknown_executor_is_refused_with_the_known_ones() -> None:
    with (
        pytest.raises(ConfigError, match="iterative, futures, dask"),
        open_executor("spark"),
    ):
        pass


def test_absent_scheduler_is_named() -> None:
    with (
        pytest.raises(ExecutionError, match=r"tcp://127\.0\.0\.1:9"),
        open_executor("tcp://127.0.0.1:9"),
    ):
        pass


def test_filesets_refuse_what_is_no_file(events_file: Path, tmp_path: Path) -> None:
    for files, cause in (
        ([tmp_path / "absent.h5"], "no such file"),
        ([tmp_path], "a folder"),
        ([events_file, events_file], "twice"),
        ([], "no file given"),
    ):
        with pytest.raises(InputError, match=cause):
            Fileset.from_paths({"data": files})


def test_executor_of_the_users_own_is_used(tmp_path: Path, events_file: Path) -> None:
    from coffea.processor import IterativeExecutor

    calls = []

    class Counted(IterativeExecutor):
        def __call__(self, items: Any, function: Any, accumulator: Any) -> Any:
            calls.append(len(items))
            return super().__call__(items, function, accumulator)

    sample, _ = skimmed([events_file], tmp_path / "a", Counted(status=False), chunk_size=250)
    assert calls == [2]
    assert len(sample) == 500


def test_planted_duplicates_are_counted(
    tmp_path: Path, events_file: Path, small_config: SearchConfig
) -> None:
    path = tmp_path / "twice.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:30]
        rows[20, :2100], rows[25, :2100] = rows[4, :2100], rows[4, :2100]
        target["events"] = rows
    made = pipeline.skim(Fileset.from_paths({"data": [path]}), small_config, out=tmp_path)
    assert (made.duplicates, made.accounting.selected) == (2, 30)
    # Copies have one id, so no fold can train on one and score another.
    assert len(set(made.sample().event_id.tolist())) == 28
