"""Trained methods side by side, from the command line."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import StageError, TaggerError
from tnt_coffea.pipeline import evaluation
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.results import SearchResult


def evaluated(out: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["evaluate", "--out", str(out), *arguments])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def search(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished search, to write into."""
    out = tmp_path_factory.mktemp("evaluated") / "search"
    shutil.copytree(workspace, out)
    return out


def test_evaluate_writes_table_plots_and_numbers(search: Path) -> None:
    code, output = evaluated(search)
    assert code == 0, output
    found = json.loads((search / "evaluate" / "comparison.json").read_text())
    taggers = Taggers.load(search / "train")
    assert set(found["methods"]) == set(taggers.sets)
    for name, method in found["methods"].items():
        auc = method["bands"]["auc_both"]
        assert 0 < auc["median"] < 1
        assert auc["seeds"] == 1
        assert f"{auc['median']:.3f}" in output, name
    for name in ("roc", "improvement", "sculpting"):
        for suffix in ("png", "pdf", "json"):
            assert (search / "evaluate" / f"comparison-{name}.{suffix}").stat().st_size > 0


@pytest.mark.slow
def test_trainings_of_one_method_are_a_band_and_references_are_marked(
    search: Path, tmp_path: Path, add_reference: Callable[[Path, Path], str]
) -> None:
    again = tmp_path / "again"
    shutil.copytree(search / "train", again)
    name = add_reference(search, again)
    code, output = evaluated(search, "--taggers", str(search / "train"), "--taggers", str(again))
    assert code == 0, output
    found = json.loads((search / "evaluate" / "comparison.json").read_text())
    assert found["methods"][name]["bands"]["auc_both"]["seeds"] == 2
    assert found["truth"] == ["best"]
    assert "best*" in output


def test_events_without_truth_are_refused(search: Path) -> None:
    skim = Skim.load(search / "skim")
    taggers = Taggers.load(search / "train")
    settings = SearchConfig.from_yaml(search / "config.yaml").search
    unknown = _Unknown(skim.parts, skim.contents, skim.duplicates, skim.accounts)
    with pytest.raises(TaggerError, match="no labels"):
        pipeline.compare_methods(unknown, [("seed 1", taggers)], settings)


def test_two_trainings_of_one_name_are_refused(search: Path) -> None:
    code, output = evaluated(search, *2 * ("--taggers", str(search / "train")))
    assert code == TaggerError.exit_code
    assert "name them apart" in output
    assert "Traceback" not in output


class _Unknown(Skim):
    """A skim of events whose truth nobody knows."""

    def sample(self, role: str = "data", *, truth: bool = False, numbers: bool = False):
        made = super().sample(role, truth=truth, numbers=numbers)
        return replace(made, label=np.full(len(made), -1, np.int8))


def compared(*arguments: object) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": None}).invoke(main, ["compare", *map(str, arguments)])
    return done.exit_code, done.output


def test_two_searches_stand_side_by_side(search: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(search, other)
    text = (other / "config.yaml").read_text()
    assert "seed: 11" in text
    (other / "config.yaml").write_text(text.replace("seed: 11", "seed: 12"))
    numbers = tmp_path / "comparison.json"
    code, output = compared(search, other, "--json", numbers)
    assert code == 0, output
    found = json.loads(numbers.read_text())
    assert found["settings"] == {"seed": [11, 12]}
    result = SearchResult.load(search / "fit" / "result.json")
    assert {(row["test"], row["taggers"]) for row in found["tests"]} == {
        ("bump hunt", "none"),
        *(("bump hunt", name) for name in result.after),
        *(("ABCD", name) for name in result.abcd),
    }
    assert output.count(f"{result.before.z:.2f}") >= 2
    config = SearchConfig.from_yaml(search / "config.yaml")
    sample = Skim.load(search / "skim").sample()
    fitted = sample.select(config.search.fit_range.contains(sample.mass))
    assert found["common"] == found["n_first"] == len(fitted)
    ranks = Taggers.load(search / "train").sets["tnt"].ranks(fitted)
    point = Histograms.load(search / "search").points["tnt"][config.fit.bump.selection]
    kept = int(point.passes(ranks.fold, ranks.heavy, ranks.light).sum())
    pairs = {(row["first"], row["second"]): row for row in found["overlaps"]}
    assert pairs["tnt", "tnt"]["both"] == pairs["tnt", "tnt"]["n_first"] == kept
    assert pairs["tnt", "autoencoder"]["both"] <= kept


def test_searches_without_events_are_compared_by_their_numbers(
    search: Path, tmp_path: Path
) -> None:
    code, output = compared(search, search, "--no-events")
    assert code == 0, output
    assert "All settings are the same" in output
    assert "not compared" in output
    code, output = compared(search, tmp_path)
    assert code == StageError.exit_code
    assert f"{tmp_path}: no search here" in output


def test_the_report_of_a_search_names_its_files_and_scans_the_mass(
    workspace: Path, events_file: Path
) -> None:
    page = (workspace / "report" / "report.html").read_text()
    sha256 = hashlib.sha256(events_file.read_bytes()).hexdigest()
    assert f"{events_file.name} (" in page
    assert f"SHA-256 {sha256[:12]}" in page
    assert "<dt>seed</dt><dd>11</dd>" in page
    assert "autoencoder; tnt (Tag N&#39; Train)" in page
    # Limits are explained for the tests that were made, and for no other.
    assert "those of ABCD on signal events" in page
    assert "those of direct estimates" not in page
    with (workspace / "report" / "plots" / "scan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = SearchResult.load(workspace / "fit" / "result.json")
    assert {row["spectrum"] for row in rows} == {"before", *result.after}
    (tested,) = (
        row
        for row in rows
        if row["spectrum"] == "before" and float(row["mass [GeV]"]) == result.before.mass
    )
    assert float(tested["Z"]) == pytest.approx(result.before.z_asymptotic, abs=0.02)


def test_a_scan_that_takes_minutes_is_not_made_for_a_report(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SearchConfig.from_yaml(workspace / "config.yaml")
    histograms = Histograms.load(workspace / "search")
    result = SearchResult.load(workspace / "fit" / "result.json")
    monkeypatch.setattr(evaluation, "_SECONDS_A_FIT", 60.0)
    assert evaluation._scans(result, histograms, config) == {}
