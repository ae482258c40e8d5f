from __future__ import annotations

import errno
import fcntl
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tnt_coffea.errors import BusyError, StageError, StorageError, TntCoffeaError
from tnt_coffea.stages import Stage
from tnt_coffea.storage import held, stored, written


def stage(folder: Path, **inputs: object) -> Stage:
    return Stage("train", folder / "train", {"settings": {"epochs": 3}, **inputs})


def test_complete_stage_gives_its_outputs_and_keeps_no_parts(tmp_path: Path) -> None:
    made = stage(tmp_path)
    assert made.finished() is None
    parts = made.begin()
    (parts / "work").write_text("half")
    made.finish({"file": "x"})
    assert stage(tmp_path).finished() == {"file": "x"}
    assert not parts.exists()
    assert made.seconds() >= 0


def test_killed_stage_keeps_its_parts(tmp_path: Path) -> None:
    (stage(tmp_path).begin() / "work").write_text("half")
    again = stage(tmp_path)
    assert again.finished() is None
    assert (again.begin() / "work").read_text() == "half"


@pytest.mark.parametrize("complete", [True, False])
def test_other_settings_are_refused_until_cleared(tmp_path: Path, complete: bool) -> None:
    made = stage(tmp_path)
    made.begin()
    if complete:
        made.finish({})
    other = Stage("train", tmp_path / "train", {"settings": {"epochs": 4}})
    with pytest.raises(StageError, match=r"settings\.epochs: 3 there, 4 now"):
        other.finished()
    assert not other.matches()
    other.clear()
    assert other.matches()


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    made = stage(tmp_path)
    made.begin()
    made.finish({})
    (made.folder / "manifest.json").write_text("{")
    with pytest.raises(StageError, match=r"manifest\.json"):
        made.finished()


HOLDER = """
import os, sys, time
from pathlib import Path
from tnt_coffea.storage import held
with held(Path(sys.argv[1])):
    started, start = os.pipe()
    if not os.fork():  # a worker that outlives its parent
        os.close(1)
        os.write(start, b".")
        time.sleep(3)
        os._exit(0)
    os.read(started, 1)
    print("holds", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_writer_and_is_free_when_that_one_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holds\n"
        with pytest.raises(BusyError) as error, held(out):
            pass
        for part in (str(out), f"process {other.pid} on {socket.gethostname()}, since 20"):
            assert part in str(error.value)
        other.kill()
    assert (out / ".lock").exists(), "it was killed, so it could not remove the file"
    with held(out), held(out):
        pass
    assert not list(out.iterdir())


def test_another_thread_is_another_writer(tmp_path: Path) -> None:
    found: list[BaseException] = []

    def write() -> None:
        try:
            with held(tmp_path):
                pass
        except BusyError as error:
            found.append(error)

    with held(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(found) == 1


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with held(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, True),
        ({"pid": 1, "host": socket.gethostname()}, False),
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
        (["damaged"], True),
    ],
)
def test_without_locks_of_the_file_system_a_file_says_who_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, free: bool
) -> None:
    def without(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    (tmp_path / ".lock").write_text(json.dumps(owner))
    if free:
        with held(tmp_path):
            pass
    else:
        with (
            pytest.raises(BusyError, match=r"if it no longer runs, remove .*\.lock"),
            held(tmp_path),
        ):
            pass


@pytest.mark.parametrize(
    ("number", "help_"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "not ours to write"),
        (errno.EACCES, "not ours to write"),
        (errno.ENOENT, "Choose another output folder"),
    ],
)
def test_space_is_to_be_freed_only_where_the_disk_is_full(number: int, help_: str) -> None:
    with pytest.raises(StorageError, match=help_) as error, stored(Path("figures.json")):
        raise OSError(number, "reason")
    assert ("Free some space" in str(error.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_a_file_where_a_folder_should_be_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    for folder in (tmp_path / "out", tmp_path / "out" / "inner"):
        with pytest.raises(StorageError, match=r"out: is a file, expected a folder"), held(folder):
            pass
    with (
        pytest.raises(StorageError, match=r"out: is a file, expected a folder"),
        written(tmp_path / "out" / "result.json") as partial,
    ):
        partial.write_text("")
    assert issubclass(BusyError, TntCoffeaError)
    assert BusyError.exit_code not in {
        kind.exit_code for kind in TntCoffeaError.__subclasses__() if kind is not BusyError
    }
