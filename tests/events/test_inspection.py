"""What `inspect` says of files that a search would not get far with."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.inspection import inspect_events


def call(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


def particles(n: int, jets: int) -> np.ndarray:
    """Events with a particle of 500 GeV for each of their jets, as an LHC Olympics table."""
    rows = np.zeros((n, 2101), np.float32)
    for jet in range(jets):
        rows[:, 3 * jet : 3 * jet + 3] = [500.0, 0.1 * jet, 3.0 * jet]
        rows[:, 3 * jet] += np.arange(n)
    return rows


def test_files_without_a_dijet_are_said_to_have_none(
    tmp_path: Path, write_nano: Callable[..., Path]
) -> None:
    path = tmp_path / "one_jet.h5"
    with h5py.File(path, "w") as file:
        file["events"] = particles(30, 1)
    plain = {"PFCands": None, "FatJetPFCands": None}
    one = ak.zip({n: ak.Array([[np.float32(1)], [], []]) for n in ("pt", "eta", "phi", "mass")})
    for made, n in ((path, 30), (write_nano("one.root", FatJet=one, **plain), 3)):
        done = call("inspect", made)
        assert done.exit_code == 0, done.output
        assert re.search(rf"dijets in the first {n} +0", done.output)
        assert re.search(rf"rejected there +{n} by two_jets", done.output)
        assert "First dijets" not in done.output


def test_the_first_dijets_may_come_late(tmp_path: Path) -> None:
    path = tmp_path / "late.h5"
    with h5py.File(path, "w") as file:
        file["events"] = np.concatenate([particles(1000, 1), particles(30, 2)])
    inspection = inspect_events(path)
    assert inspection.facts["dijets in the first 1030"] == "30"
    assert inspection.facts["rejected there"] == "1000 by two_jets"
    pt = 500.0 + np.arange(30)
    expected = np.sqrt(2 * pt * pt * (np.cosh(0.1) - np.cos(3.0)))
    assert np.sort(inspection.dijets["m_jj"]) == pytest.approx(expected, rel=1e-5)


def test_jets_without_constituents_come_with_the_settings_that_read_them(
    write_nano: Callable[..., Path], tmp_path: Path
) -> None:
    jets = {
        "pt": [[600.0, 500.0]] * 3,
        "eta": [[0.1, -0.2]] * 3,
        "phi": [[0.0, 3.0]] * 3,
        "mass": [[50.0, 40.0]] * 3,
    }
    jet = ak.zip({name: ak.values_astype(ak.Array(v), np.float32) for name, v in jets.items()})
    path = write_nano(PFCands=None, FatJetPFCands=None, FatJet=jet)
    done = call("inspect", path)
    assert done.exit_code == 0, done.output
    (note,) = (line for line in done.output.splitlines() if line.startswith("note: "))
    assert "anti-kt with R = 0.8 alone, without constituents" in note
    assert "see the note" in done.output
    # The settings that it names do read the file.
    (text,) = re.findall(r"skim: (\{.*\})\. Methods", note)
    config = SearchConfig.from_text(f"skim: {text}")
    assert inspect_events(path, settings=config.skim).notes == ()
    out = tmp_path / "search.yaml"
    out.write_text(f"skim: {text}\n")
    again = call("inspect", path, "--config", out)
    assert "note" not in again.output
    words = ("--config", out, "--out", tmp_path / "out", "--executor", "iterative", "-q")
    assert "3 dijets of 3 events" in call("skim", path, *words).output


def test_phi_from_zero_on_gives_the_same_dijets(tmp_path: Path) -> None:
    found = []
    for name, turn in (("signed", 0.0), ("positive", 2 * np.pi)):
        rows = particles(20, 2)
        rows[:, 2:6:3] -= 3.0  # -3 and 0
        rows[:, 2:6:3] += np.where(rows[:, 2:6:3] < 0, turn, 0).astype(np.float32)
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file["events"] = rows
        found.append(np.sort(inspect_events(path).dijets["m_jj"]))
    assert len(found[0]) == 20
    assert found[0] == pytest.approx(found[1], rel=1e-5)
