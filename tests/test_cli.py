from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def config(small_config: SearchConfig, tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(small_config.to_yaml())
    return path


def failed(result: Result, code: int) -> str:
    """The one line that an error is, after checking that it is one and no traceback."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_lists_the_stages_in_order() -> None:
    text = call("--help").output
    places = [
        text.index(f"\n  {name} ")
        for name in ("demo", "run", "generate", "skim", "train", "search", "fit", "report")
    ]
    assert places == sorted(places)


def test_stages_one_by_one_end_in_the_result_of_the_chain(
    workspace: Path, config: Path, tmp_path: Path
) -> None:
    machine = ("--executor", "iterative", "--quiet", "--out", tmp_path / "out", "--config", config)
    done = call("skim", workspace / "generate" / "events.h5", *machine)
    assert done.exit_code == 0, done.output
    assert "500 dijets of 500 events, 0 lost, 0 duplicates" in done.output
    taggers = ("--taggers", workspace / "train")
    assert call("search", *taggers, *machine).exit_code == 0
    done = call("fit", "--out", tmp_path / "out", "--config", config)
    assert done.exit_code == 0, done.output
    assert "after selection by tnt" in done.output
    done = call("report", *taggers, "--out", tmp_path / "out", "--config", config)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "report" / "report.html").stat().st_size > 100_000
    result = Path("fit") / "result.json"
    assert (tmp_path / "out" / result).read_bytes() == (workspace / result).read_bytes()


def test_settings_prints_a_file_to_start_from(tmp_path: Path) -> None:
    done = call("settings", "--seed", 5)
    (tmp_path / "search.yaml").write_text(done.output)
    assert SearchConfig.from_yaml(tmp_path / "search.yaml") == SearchConfig(seed=5)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    line = failed(call("skim", tmp_path / "absent.h5", "--out", tmp_path), 3)
    assert "absent.h5: no such file" in line


def test_bad_table_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        file["events"] = np.full((20, 2101), np.nan, np.float32)
    out = tmp_path / "out"
    line = failed(call("skim", path, "--out", out, "--executor", "iterative", "--quiet"), 3)
    assert str(path) in line
    assert "not finite" in line
    assert not (out / "skim" / "manifest.json").exists()
    assert not (out / "skim" / "parts").exists()


def test_stage_that_is_not_there_says_which_to_run(tmp_path: Path) -> None:
    line = failed(call("train", "--out", tmp_path / "nothing"), 4)
    assert "run `tnt-coffea skim` first" in line


def test_wrong_setting_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("sead: 3")
    assert "sead is not a setting" in failed(call("settings", "--config", path), 2)


def test_debug_shows_where(tmp_path: Path) -> None:
    result = call("--debug", "skim", tmp_path / "absent.h5")
    assert type(result.exception).__name__ == "InputError"
