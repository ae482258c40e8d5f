"""Selections of the user's own: which events they see, how they count, how they travel."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import cloudpickle
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import tnt_coffea as tnt
from tnt_coffea.cli import main
from tnt_coffea.config import SelectSettings, SkimSettings
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.selection import Selection
from tnt_coffea.processors import SkimProcessor

MODULE = """
import awkward as ak
import numpy as np
from own_cuts.limits import LEAST

GOOD = {1: [(1, 7)]}


def golden(events):
    in_run = [np.asarray(events.run) == run for run in GOOD]
    return np.logical_or.reduce(in_run) & (np.asarray(events.luminosityBlock) <= 7)


def jet_id(events):
    return ak.all(events.FatJet_jetId >= LEAST, axis=1) & events.HLT_PFJet500


def heavy(events):
    return np.asarray(events.heavy_mass) > 200


def none(events):
    return np.zeros(len(events), bool)


def labels(events):
    return np.asarray(events.luminosityBlock)


def short(events):
    return np.ones(1, bool)


def a_list(events):
    return [None] * len(events)


def fails(events):
    return events.nothing_of_this_name


number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with selections in the current folder, which is not where Python looks."""
    folder = tmp_path / "own_cuts"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "limits.py").write_text("LEAST = 2\n")
    path = folder / "selection.py"
    path.write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield path
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_cuts"]:
        del sys.modules[name]


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """Twelve events of two AK8 jets, with what a selection looks at."""
    n, rng = 12, np.random.default_rng(2)
    jets = {
        "pt": rng.uniform(900, 1200, (n, 2)),
        "eta": rng.uniform(-1, 1, (n, 2)),
        "phi": np.stack([np.zeros(n), np.full(n, 3.1)], 1),
        "mass": rng.uniform(50, 300, (n, 2)),
    }
    path = tmp_path / "nano.root"
    with uproot.recreate(path) as file:
        rows = {
            "run": np.ones(n, np.uint32),
            "luminosityBlock": np.arange(n, dtype=np.uint32),
            "event": np.arange(n, dtype=np.uint64),
            "HLT_PFJet500": np.arange(n) % 2 == 0,
            "FatJet": ak.zip(
                {name: ak.from_regular(part.astype(np.float32)) for name, part in jets.items()}
                | {"jetId": ak.from_regular(np.repeat(np.arange(n) % 3, 2).reshape(n, 2))}
            ),
        }
        file.mktree("Events", rows)
    return path


JETS: dict[str, Any] = {
    "images": None,
    "observables": ("pt", "mass"),
    "jets": {"radius": 0.8},
}


def settings(function: str, *columns: str, **more: Any) -> SkimSettings:
    select = {"function": f"own_cuts.selection:{function}", "columns": columns}
    return SkimSettings.model_validate({"select": select, **more})


@pytest.mark.parametrize(
    ("function", "columns", "kept"),
    [
        ("golden", (), [0, 1, 2, 3, 4, 5, 6, 7]),
        ("jet_id", ("FatJet_jetId", "HLT_PFJet500"), [2, 8]),
        ("none", (), []),
    ],
)
def test_events_that_are_not_selected_are_a_cut_of_their_own(
    module: Path, nano: Path, ours: Any, tmp_path: Path, function: str, columns: Any, kept: Any
) -> None:
    chosen = settings(function, *columns, **JETS)
    output = ours(nano, SkimProcessor(chosen, tmp_path / "out"), chunk_size=5)
    flow = output["cutflow"]["data"]
    assert flow["rejected"] == {"select": 12 - len(kept), "two_jets": 0, "trigger": 0}
    assert (flow["events"], flow["selected"]) == (12, len(kept))
    parts = sorted((tmp_path / "out").rglob("*.parquet"))
    if kept:
        sample = tnt.events.skim.read_parts(parts, numbers=True)
        assert sorted(sample.numbers["event"].tolist()) == kept
    else:
        assert parts == []


def test_a_table_is_selected_by_its_columns(module: Path, ours: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n2900,150,90\n4000,210,20\n")
    output = ours(path, SkimProcessor(settings("heavy"), tmp_path / "out"))
    assert output["cutflow"]["data"]["rejected"] == {"select": 1}
    assert output["cutflow"]["data"]["selected"] == 2


def test_coffea_s_runner_gives_the_same(
    module: Path, nano: Path, ours: Any, stock: Any, tmp_path: Path
) -> None:
    from coffea.nanoevents import BaseSchema

    chosen = settings("jet_id", "FatJet_jetId", "HLT_PFJet500", **JETS)
    mine = ours(nano, SkimProcessor(chosen, tmp_path / "ours"))
    theirs = stock(nano, SkimProcessor(chosen, tmp_path / "stock"), BaseSchema)
    assert mine["cutflow"] == theirs["cutflow"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("absent", "cannot be imported: AttributeError"),
        ("number", "is no function but int"),
        ("labels", r"gave uint32 of shape \(12,\) for 12 events, expected a bool for each"),
        ("short", r"gave bool of shape \(1,\) for 12 events"),
        ("a_list", "gave list for 12 events"),
        ("fails", "AttributeError: .*nothing_of_this_name"),
    ],
)
def test_functions_that_are_none_end_in_one_line(
    module: Path, nano: Path, ours: Any, tmp_path: Path, function: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        ours(nano, SkimProcessor(settings(function, **JETS), tmp_path / "out"))
    assert f"skim.select: own_cuts.selection:{function}" in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_that_are_not_there_are_named(
    module: Path, nano: Path, ours: Any, tmp_path: Path
) -> None:
    chosen = settings("golden", "FatJet_jetID", **JETS)
    with pytest.raises(InputError, match=r"asks for FatJet_jetID, .* mean FatJet_jetId"):
        ours(nano, SkimProcessor(chosen, tmp_path / "out"))


def test_modules_that_are_none_end_in_one_line(module: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be imported: ModuleNotFoundError"):
        Selection(SelectSettings(function="no_such.module:f"))
    module.write_text("def f(:\n")
    with pytest.raises(ConfigError, match="cannot be imported: SyntaxError"):
        Selection(SelectSettings(function="own_cuts.selection:f"))
    for text in ("golden", "a:b:c", "a/b:c", "", "a:", ":b"):
        with pytest.raises(ValueError, match=r"package\.module:function"):
            SelectSettings(function=text)


def test_a_selection_travels_without_its_module(module: Path, tmp_path: Path) -> None:
    selection = Selection(SelectSettings(function="own_cuts.selection:jet_id"))
    sent = tmp_path / "sent.pickle"
    sent.write_bytes(cloudpickle.dumps(selection))
    program = (
        "import pathlib, sys, cloudpickle, awkward as ak\n"
        f"select = cloudpickle.loads(pathlib.Path({str(sent)!r}).read_bytes())\n"
        "events = ak.Array({'FatJet_jetId': [[2, 2], [2, 1]], 'HLT_PFJet500': [True, True]})\n"
        "print(select(events).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[True, False]", done.stderr


def test_another_function_of_the_same_name_is_another_skim(module: Path, nano: Path) -> None:
    config = tnt.SearchConfig(skim=settings("golden", **JETS))
    Path("search.yaml").write_text(config.to_yaml())

    def call(*more: str) -> Any:
        words = ("skim", "nano.root", "--config", "search.yaml", "--out", "out", "-q")
        return CliRunner().invoke(main, [*words, "--executor", "iterative", *more])

    done = call()
    assert done.exit_code == 0, done.output
    assert "8 dijets of 12 events, 0 lost" in done.output
    manifest = json.loads(Path("out/skim/manifest.json").read_text())
    assert manifest["outputs"]["accounting"]["rejected"]["select"] == 4
    assert call().exit_code == 0
    module.write_text(MODULE.replace("(1, 7)", "(1, 6)"))
    importlib.reload(sys.modules["own_cuts.selection"])
    refused = call()
    assert refused.exit_code == 4, refused.output
    assert "select: " in refused.output


def test_without_a_selection_nothing_is_called_otherwise() -> None:
    assert "select" not in SkimSettings().model_dump()
    assert "select: null" in tnt.SearchConfig().to_yaml()
    assert SkimSettings.model_validate({"select": "a.b:c"}).select == SelectSettings(
        function="a.b:c"
    )


@pytest.mark.slow  # coffea compiles its mask
def test_the_documented_selection_does_what_its_page_says(
    nano: Path, ours: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/own-selection.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    text = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "selection.py").write_text(code)
    (tmp_path / "golden.json").write_text(json.dumps({"1": [[1, 4], [8, 9]]}))
    monkeypatch.chdir(tmp_path)
    chosen = tnt.SearchConfig.from_text(text).skim.model_copy(
        update={name: getattr(SkimSettings.model_validate(JETS), name) for name in JETS}
    )
    try:
        output = ours(nano, SkimProcessor(chosen, tmp_path / "out"))
    finally:
        sys.modules.pop("selection", None)
    sample = tnt.events.skim.read_parts((tmp_path / "out").rglob("*.parquet"), numbers=True)
    assert sorted(sample.numbers["event"].tolist()) == [2, 8]
    assert output["cutflow"]["data"]["rejected"]["select"] == 10
