from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tnt_coffea import pipeline
from tnt_coffea.accounting import Accounting
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.metrics import STEPS, Metrics, measured, prometheus, timed
from tnt_coffea.reporting.tables import metric_rows
from tnt_coffea.stages import manifest


def test_a_pass_says_what_it_cost_beside_its_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "box.csv"
    source.write_text("m_jj,heavy_mass,light_mass\n" + "3000,500,100\n" * 20)
    caplog.set_level("INFO", logger="tnt_coffea")
    made = pipeline.skim(
        Fileset.from_paths(source), SearchConfig(), out=tmp_path, resources=Resources(chunk_size=5)
    )
    known = manifest(tmp_path / "skim")
    assert known is not None
    assert known.metrics is not None
    metrics = Metrics.from_dict(known.metrics)
    assert (metrics.items, metrics.kept, metrics.events) == (4, 0, 20)
    assert set(metrics.steps) == {"reading", "filling"}
    assert 0 < sum(metrics.steps.values()) <= metrics.seconds
    if Path("/proc/self/io").exists():  # every item reads the file
        assert metrics.bytes_read is not None
        assert metrics.bytes_read >= 4 * source.stat().st_size
    assert "Skimming: 20 events in 4 work items" in caplog.text
    # Nothing of it is among what is compared or hashed.
    assert "metrics" not in json.dumps(known.outputs)
    assert not [name for name in known.files if "prom" in name]
    assert made.accounting == Accounting.from_dict(made.accounting.to_dict())
    text = (tmp_path / "metrics.prom").read_text()
    sample = re.compile(r'tnt_coffea_\w+\{stage="skim"(,step="\w+")?\} [0-9.e+-]+')
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(sample.fullmatch(line) for line in lines), text
    assert 'tnt_coffea_events{stage="skim"} 20' in lines
    assert text.endswith("\n")


def test_time_is_counted_once_for_the_item_that_runs() -> None:
    with measured(5) as outer:
        with timed("reading"):
            pass
        with measured(7) as inner, timed("filling"):
            pass
    assert (list(outer["steps"]), list(inner["steps"])) == (["reading"], ["filling"])
    assert outer["seconds"] >= inner["seconds"] > 0


def test_stages_have_a_row_each_and_no_column_for_what_none_does() -> None:
    skim = Metrics(4, 1, 4000, 2_500_000, 8.0, {"clustering": 4.0, "reading": 1.0})
    search = Metrics(4, 0, 4000, None, 2.0, {"reading": 1.0, "inference": 0.5})
    heads, rows = metric_rows({"skim": skim, "search": search})
    assert heads[6:] == ["reading", "clustering", "inference"]
    assert rows[0] == ["skim", "4 (1 kept)", "4000", "2.5", "8.0 s", "500", "12.5 %", "50 %", ""]
    assert rows[1][3:] == ["", "2.0 s", "2000", "50 %", "", "25 %"]
    assert metric_rows({})[1] == []
    text = prometheus({"skim": skim, "search": search})
    assert text.count("# TYPE") == 6
    assert 'tnt_coffea_bytes_read{stage="search"}' not in text
    assert 'tnt_coffea_step_seconds{stage="skim",step="clustering"} 4.0' in text
    assert set(STEPS) >= set(skim.steps)
    earlier = Metrics.from_dict(skim.to_dict() | {"steps": {"images": 2.0}})
    assert earlier.text.endswith("(observables 25 %), 2.5 MB read")
    assert Metrics.from_dict(skim.to_dict()) == skim


def test_verbose_says_it_on_the_standard_error(tmp_path: Path) -> None:
    source = tmp_path / "box.csv"
    source.write_text("m_jj,heavy_mass,light_mass\n" + "3000,500,100\n" * 20)
    words = ["-v", "skim", str(source), "--out", str(tmp_path / "out"), "--executor", "iterative"]
    log = logging.getLogger("tnt_coffea")
    before = log.level, list(log.handlers)
    try:
        assert "Skimming: 20 events" in CliRunner().invoke(main, words).stderr
    finally:
        log.setLevel(before[0])
        log.handlers[:] = before[1]
