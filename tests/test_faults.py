"""Faults of disks, clocks, drivers and files: the same result, one error, or listed losses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tnt_coffea import pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import InputError, StorageError
from tnt_coffea.events.sources import SOURCES
from tnt_coffea.execution import OnError, Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Skim
from tnt_coffea.stages import manifest

CONFIG = SearchConfig.from_text("{train: {methods: {mass: {kind: feature}}}}")


def table(path: Path, n: int = 400) -> Path:
    """A table of features."""
    random = np.random.default_rng(5)
    columns = random.uniform((2000, 50, 50), (7000, 700, 300), (n, 3))
    np.savetxt(path, columns, delimiter=",", header="m_jj,heavy_mass,light_mass", comments="")
    return path


def events(path: Path, seed: int) -> Path:
    """Two events of two back-to-back jets."""
    random = np.random.default_rng(seed)
    rows = np.zeros((2, 2101), np.float32)
    phi = np.repeat((0.0, np.pi), 10) + random.uniform(0, 0.3, (2, 20))
    phi = np.where(phi > np.pi, phi - 2 * np.pi, phi)
    pt, eta = random.uniform(100, 300, (2, 20)), random.uniform(-0.3, 0.3, (2, 20))
    rows[:, :60] = np.stack([pt, eta, phi], 2).reshape(2, 60)
    with h5py.File(path, "w") as file:
        file["events"] = rows
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def staged(stage: str, source: Path, out: Path) -> None:
    """Run one stage of a search in its folder."""
    resources = Resources(chunk_size=50, progress=False)
    fileset = Fileset.from_paths(source)
    if stage == "skim":
        pipeline.skim(fileset, CONFIG, out=out, resources=resources)
    elif stage == "train":
        pipeline.train(Skim.load(out / "skim"), CONFIG, out=out, resources=resources)
    else:
        taggers = pipeline.train(Skim.load(out / "skim"), CONFIG, out=out, resources=resources)
        pipeline.search(Skim.load(out / "skim"), taggers, CONFIG, out=out, resources=resources)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB, as a node's own may be when others have filled it."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, room: int) -> Path:
    filler = disk / "of-others"
    status = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - room)))
    return filler


def test_disk_that_others_fill_is_one_error_and_room_goes_on(
    small_disk: Path, tmp_path: Path
) -> None:
    source = table(tmp_path / "box.csv")
    for stage in ("skim", "train", "search"):
        staged(stage, source, tmp_path / "whole")
        # Room for the beginning of the stage, and then for none of it.
        for room in (40_000, 0):
            filler = fill(small_disk, room)
            with pytest.raises(StorageError, match=r"cannot be written.*Free some space"):
                staged(stage, source, small_disk)
            assert not (small_disk / stage / "manifest.json").exists()
            assert not list(small_disk.rglob("*.partial"))
            filler.unlink()
        staged(stage, source, small_disk)
        assert content(small_disk / stage) == content(tmp_path / "whole" / stage)


def test_files_of_a_clock_that_is_ahead_or_behind_are_files_as_any(tmp_path: Path) -> None:
    source = table(tmp_path / "box.csv", 100)
    staged("skim", source, tmp_path / "whole")
    for number, days in enumerate((400, -40_000)):
        os.utime(source, (when := time.time() + 86_400 * days, when))
        out = tmp_path / str(number)
        staged("skim", source, out)
        assert content(out / "skim") == content(tmp_path / "whole" / "skim")
        # A later command is not made to think that something has changed.
        before = (out / "skim" / "manifest.json").read_bytes()
        os.utime(out / "skim" / "manifest.json", (when, when))
        staged("skim", source, out)
        assert (out / "skim" / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_two_drivers_in_one_folder_do_the_work_once(tmp_path: Path) -> None:
    source = table(tmp_path / "box.csv", 3000)
    words = ("skim", source, "--out", tmp_path / "out", "--executor", "iterative", "-q")
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "tnt_coffea", *map(str, words), "--chunk-size", "5"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [driver.communicate(timeout=600)[1] for driver in drivers]
    codes = sorted(driver.returncode for driver in drivers)
    assert codes[0] == 0, said
    if codes[1]:  # otherwise the second began when the first had ended
        assert "another run writes here" in "".join(said)
    assert Skim.load(tmp_path / "out" / "skim").accounting.selected == 3000


def _changed(change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            rows = file["events"][:]
            change(rows)
            file["events"][...] = rows

    return damage


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a page of the proxy": lambda path: path.write_bytes(b"<html>404 Not Found</html>"),
    "no number": _changed(lambda rows: rows.__setitem__((0, 4), np.nan)),
    "negative": _changed(lambda rows: rows.__setitem__((0, 0), -1.0)),
}
LOST = {"no number": 1, "negative": 1}
"""Events that are known to be lost; of files that cannot be opened nobody knows the number."""


@pytest.mark.parametrize("n", [12, pytest.param(600, marks=pytest.mark.slow)])
def test_files_of_which_some_are_broken_are_named_or_left_out_and_listed(
    tmp_path: Path, n: int
) -> None:
    """Of 600 files 1 % are broken, each in another way."""
    paths = [events(tmp_path / f"{number}.h5", number) for number in range(n)]
    broken = {kind: paths[number * n // len(BROKEN)] for number, kind in enumerate(BROKEN)}
    for kind, path in broken.items():
        BROKEN[kind](path)
    skip = Resources(on_error=OnError.SKIP, progress=False)
    fileset = Fileset.from_paths({"data": paths}, missing_ok=True)
    with pytest.raises(InputError) as error:
        pipeline.skim(fileset, SearchConfig(), out=tmp_path / "refused", resources=Resources())
    assert any(str(path) in str(error.value) for path in broken.values())
    made = pipeline.skim(fileset, SearchConfig(), out=tmp_path / "out", resources=skip)
    lost = made.accounting.lost
    assert len(lost) == len(BROKEN)
    for kind, path in broken.items():
        ((key, (events_lost, _)),) = [one for one in lost.items() if f"{path}" in one[0]]
        assert events_lost == LOST.get(kind, 0), key
    sound = [path for path in paths if path not in broken.values()]
    assert made.accounting.selected == 2 * len(sound) + sum(LOST.values())
    # The others are what they are without any broken one beside them.
    alone = pipeline.skim(
        Fileset.from_paths({"data": sound}), SearchConfig(), out=tmp_path / "sound"
    )
    ours, theirs = (set(one.sample().event_id.tolist()) for one in (made, alone))
    assert len(ours - theirs) == sum(LOST.values())
    assert not theirs - ours


@pytest.mark.slow
def test_many_small_files_are_planned_and_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [table(tmp_path / f"{number}.csv", 1) for number in range(300)]
    counted: list[Path] = []
    entries = SOURCES["table"].entries
    monkeypatch.setattr(
        SOURCES["table"], "entries", lambda path: counted.append(path) or entries(path)
    )
    fileset = Fileset.from_paths({"data": paths})
    assert len(fileset.items(1000)) == 300
    assert counted == paths  # each is looked into once, however many there are
    made = pipeline.skim(fileset, SearchConfig(), out=tmp_path / "out")
    known = manifest(tmp_path / "out" / "skim")
    assert known is not None
    assert known.metrics is not None
    assert (made.accounting.events, known.metrics["items"]) == (300, 300)


def test_every_row_of_the_matrix_names_a_test_that_exists() -> None:
    root = Path(__file__).parent
    page = (root.parent / "docs" / "how-to" / "faults.md").read_text()
    tests = {
        name
        for path in root.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    rows = [row for row in page.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= tests, row
