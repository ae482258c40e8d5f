"""Whether the benchmark of scale still measures all that it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import pytest

SCALE = Path(__file__).parents[2] / "benchmarks" / "scale.py"


@pytest.mark.slow
def test_every_measurement_of_scale_has_its_row(lhco_file: Path, tmp_path: Path) -> None:
    out, events = tmp_path / "scale.json", tmp_path / "events.h5"
    with h5py.File(lhco_file) as source, h5py.File(events, "w") as target:
        target["events"] = source["df/block0_values"][:60].astype("f4")  # as `generate` writes
    sizes = "--events 60 --base 40 --tasks 20 --files 3 --sets 2 --workers 1 --executors iterative"
    command = [sys.executable, SCALE, events, *sizes.split(), "--out", out]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, cwd=tmp_path)
    rows = {row["measurement"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == [
        *("cost of an item", "metrics and checkpoints", "tasks", "files", "skim", "search")
    ]
    assert rows["search"]["events"] == 60
    assert rows["search"]["driver_MB"] > 0
    assert rows["metrics and checkpoints"]["metrics"] > 0
