from __future__ import annotations

from pathlib import Path

import pytest

from tnt_coffea.errors import StageError
from tnt_coffea.stages import Stage


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
