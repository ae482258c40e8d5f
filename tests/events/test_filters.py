"""Certified runs, trigger paths and flags: what they keep, how they count, what they refuse."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from coffea.nanoevents import BaseSchema, NanoAODSchema, NanoEventsFactory

import tnt_coffea as tnt
from tnt_coffea.cli import main
from tnt_coffea.config import EventFilterSettings, SkimSettings
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import convert
from tnt_coffea.events.filters import CertifiedRuns
from tnt_coffea.events.selection import EventSelection
from tnt_coffea.events.skim import read_parts
from tnt_coffea.execution import OnError, open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.inspection import inspect_events
from tnt_coffea.processors import SkimProcessor
from tnt_coffea.processors.skim import reconstructed

JETS: dict[str, Any] = {"images": None, "observables": ("pt", "mass"), "jets": {"radius": 0.8}}
N = 24
CERTIFIED = {"1": [[1, 4], [8, 9]], "2": [[20, 30]]}
FLAGS = ("Flag_goodVertices", "Flag_HBHENoiseFilter")


def menu(fired: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The branches that filters look at, of 24 events."""
    of = np.arange(N)
    columns = {
        "HLT_PFHT1050": of % 2 == 0,
        "HLT_AK8PFJet500": of % 3 == 0,
        "Flag_goodVertices": of % 5 != 0,
        "Flag_HBHENoiseFilter": of != 7,
        "PV_npvsGood": (of % 4).astype(np.int32),
    }
    return columns | dict(fired or {})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file of 24 events of two AK8 jets, as NanoAOD has them, with changed branches."""

    def written(name: str = "nano.root", form: str = "mktree", **changes: Any) -> Path:
        rng = np.random.default_rng(sum(name.encode()))
        parts = {
            "pt": rng.uniform(900, 1200, (N, 2)),
            "eta": rng.uniform(-1, 1, (N, 2)),
            "phi": np.stack([np.zeros(N), np.full(N, 3.1)], 1),
            "mass": rng.uniform(50, 300, (N, 2)),
        }
        jets = {n: ak.from_regular(part.astype(np.float32)) for n, part in parts.items()}
        rows: dict[str, Any] = {
            "run": np.repeat(np.array([1, 2], np.uint32), N // 2),
            "luminosityBlock": np.arange(N, dtype=np.uint32),
            "event": np.arange(N, dtype=np.uint64),
            **({n: part for n, part in menu().items()}),
        }
        flat = {f"FatJet_{n}": part for n, part in jets.items()}
        rows |= {"FatJet": ak.zip(jets)} if form == "mktree" else flat
        rows = {n: row for n, row in (rows | changes).items() if row is not None}
        path = tmp_path / name
        with uproot.recreate(path) as file:
            getattr(file, form)("Events", rows)
        return path

    return written


@pytest.fixture
def golden(tmp_path: Path) -> str:
    path = tmp_path / "Cert_JSON.txt"
    path.write_text(json.dumps(CERTIFIED))
    return str(path)


def settings(**filters: Any) -> SkimSettings:
    return SkimSettings.model_validate({"filters": filters, **JETS})


def skimmed(
    files: Any, chosen: SkimSettings, folder: Path, chunk: int = 1000, **more: Any
) -> dict[str, Any]:
    roles = more.pop("roles", None)
    with open_executor() as executor:
        fileset = Fileset.from_paths(files, roles=roles)
        processor = SkimProcessor(chosen, folder)
        output, accounting = run(fileset, processor, executor, chunk_size=chunk, **more)
    return output | {"accounting": accounting}


def kept(folder: Path) -> list[int]:
    sample = read_parts(sorted(folder.rglob("*.parquet")), numbers=True)
    return sorted(sample.numbers["event"].tolist())


def certified(event: int) -> bool:
    ranges = CERTIFIED["1" if event < N // 2 else "2"]
    return any(first <= event <= last for first, last in ranges)


@pytest.mark.parametrize(("form", "chunk"), [("mktree", 1000), ("mkrntuple", 13)])
def test_every_cut_is_counted_by_its_name(
    write: Any, golden: str, tmp_path: Path, form: str, chunk: int
) -> None:
    paths = ("HLT_PFHT1050", "HLT_AK8PFJet500")
    chosen = settings(certified_runs=golden, hlt=paths, flags=FLAGS)
    output = skimmed(write(form=form), chosen, tmp_path / "out", chunk)
    left = [i for i in range(N) if certified(i)]
    expected = {"certified_runs": N - len(left)}
    for name, cut in (
        ("hlt", lambda i: i % 2 == 0 or i % 3 == 0),
        ("Flag_goodVertices", lambda i: i % 5 != 0),
        ("Flag_HBHENoiseFilter", lambda i: i != 7),
    ):
        expected[name] = sum(not cut(i) for i in left)
        left = [i for i in left if cut(i)]
    assert output["accounting"].rejected == expected | {"two_jets": 0, "trigger": 0}
    assert list(output["accounting"].rejected) == [*expected, "two_jets", "trigger"]
    assert kept(tmp_path / "out") == left
    assert len(left) > 3
    weights = read_parts(sorted((tmp_path / "out").rglob("*.parquet"))).weight
    assert set(weights.tolist()) == {1.0}  # without genWeight


def test_a_flag_may_be_a_number_above_zero(write: Any, tmp_path: Path) -> None:
    skimmed(write(), settings(flags=["PV_npvsGood"]), tmp_path / "out")
    assert kept(tmp_path / "out") == [i for i in range(N) if i % 4]


def test_a_trigger_path_is_true_or_false(write: Any, tmp_path: Path) -> None:
    fired = (np.arange(N) % 2).astype(np.uint8)
    skimmed(write(HLT_PFHT1050=fired), settings(hlt=["HLT_PFHT1050"]), tmp_path / "out")
    assert kept(tmp_path / "out") == list(range(1, N, 2))
    with pytest.raises(
        InputError, match=r"nano\.root, .*: run of .*hlt is 2 in event 12 .* 12 such"
    ):
        skimmed(write(), settings(hlt=["run", "HLT_PFHT1050"]), tmp_path / "other")


def test_filters_come_before_the_own_selection(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_filter_cuts.py").write_text(
        "def odd(events):\n    return events.event % 2 == 1\n"
    )
    monkeypatch.chdir(tmp_path)
    chosen = SkimSettings.model_validate(
        {"filters": {"hlt": ["HLT_AK8PFJet500"]}, "select": "own_filter_cuts:odd", **JETS}
    )
    output = skimmed(write(), chosen, tmp_path / "out", 13)
    assert output["accounting"].rejected == {"hlt": 16, "select": 4, "two_jets": 0, "trigger": 0}
    assert kept(tmp_path / "out") == [3, 9, 15, 21]


@pytest.mark.parametrize("schema", [BaseSchema, NanoAODSchema])
@pytest.mark.filterwarnings("ignore:Missing cross-reference")
def test_every_schema_of_coffea_gives_the_same(write: Any, golden: str, schema: Any) -> None:
    chosen = settings(certified_runs=golden, hlt=["HLT_PFHT1050", "HLT_Gone"], flags=FLAGS)
    events = NanoEventsFactory.from_root(
        {str(write()): "Events"}, schemaclass=schema, metadata={"dataset": "data"}
    ).events()
    sample, cutflow = reconstructed(events, chosen)
    expected = [i for i in range(N) if certified(i) and i % 2 == 0 and i % 5 and i != 7]
    assert sorted(sample.numbers["event"].tolist()) == expected
    assert cutflow["absent"] == {"HLT_Gone": N}


def test_runs_are_certified_of_data_alone(write: Any, golden: str, tmp_path: Path) -> None:
    files = {"data": [write()], "mc": [write("mc.root", run=None, luminosityBlock=None)]}
    chosen = settings(certified_runs=golden, hlt=["HLT_PFHT1050"])
    output = skimmed(files, chosen, tmp_path / "out", roles={"mc": "simulation"})
    of_mc = output["accounting"].datasets["mc"]
    assert of_mc.rejected == {"hlt": 12, "two_jets": 0, "trigger": 0}
    assert output["accounting"].datasets["data"].rejected["certified_runs"] > 0
    with pytest.raises(InputError, match=r"mc.root: skim.filters asks for run, luminosityBlock"):
        skimmed({"data": [files["mc"][0]]}, chosen, tmp_path / "other")


def test_a_path_that_some_files_lack_accepted_none_of_their_events(
    write: Any, tmp_path: Path
) -> None:
    files = {"data": [write("2018.root"), write("2016.root", HLT_PFHT1050=None)]}
    chosen = settings(hlt=["HLT_PFHT1050", "HLT_AK8PFJet500"])
    accounting = skimmed(files, chosen, tmp_path / "out", 13)["accounting"]
    assert accounting.absent == {"HLT_PFHT1050": N}
    assert type(accounting).from_dict(accounting.to_dict()) == accounting
    either = sum(i % 2 == 0 or i % 3 == 0 for i in range(N))
    assert accounting.rejected["hlt"] == 2 * N - either - N // 3


def test_a_path_of_no_file_and_a_file_without_a_path_are_errors(write: Any, tmp_path: Path) -> None:
    files = {"data": [write("a.root"), write("b.root", HLT_PFHT1050=None)]}
    for on_error in OnError:
        chosen = settings(hlt=["HLT_AK8PFJet500", "HLT_PFHT1500"])
        with pytest.raises(
            InputError, match=r"HLT_PFHT1500 is a trigger path of none .*did you mean HLT_PFHT1050"
        ):
            skimmed(files, chosen, tmp_path / "out", on_error=on_error)
        with pytest.raises(InputError, match=r"b\.root: the file has no trigger path of skim"):
            skimmed(files, settings(hlt=["HLT_PFHT1050"]), tmp_path / "out", on_error=on_error)
    assert not (tmp_path / "out").exists()
    # Scores may be of a file of one year alone.
    names = uproot.open(files["data"][1])["Events"].keys()
    selection = EventSelection(settings(hlt=["HLT_AK8PFJet500", "HLT_PFHT1500"]))
    selection.check_files([("b.root", names, "data")], every_path=False)


def test_a_missing_flag_is_named_with_its_file_before_the_pass(write: Any, tmp_path: Path) -> None:
    files = {"data": [write("a.root"), write("b.root", Flag_HBHENoiseFilter=None)]}
    for on_error in OnError:
        with pytest.raises(
            InputError, match=r"b\.root: skim\.filters asks for Flag_HBHENoiseFilter, which"
        ):
            skimmed(files, settings(flags=FLAGS), tmp_path / "out", on_error=on_error)
    assert not (tmp_path / "out").exists()  # a.root was not begun
    seen = inspect_events(files["data"][1], settings=settings(flags=FLAGS))
    assert any("asks for Flag_HBHENoiseFilter" in problem for problem in seen.problems)
    lists = write("d.root", Flag_HBHENoiseFilter=ak.Array([[1]] * (N - 1) + [[]]))
    for one, named in ((lists, FLAGS[1]), (write("e.root"), "FatJet_pt")):
        message = rf"{one.name}, .*number an event for {named} of skim\.filters, found lists of"
        with pytest.raises(InputError, match=message):
            skimmed({"data": [one]}, settings(flags=[named]), tmp_path / "out")
        with pytest.raises(InputError, match=message):
            skimmed({"data": [one]}, settings(hlt=[named]), tmp_path / "out")
    floats = write("c.root", Flag_HBHENoiseFilter=np.ones(N, np.float32))
    with pytest.raises(InputError, match="Flag_HBHENoiseFilter holds float32"):
        skimmed({"data": [floats]}, settings(flags=FLAGS), tmp_path / "out")


def test_lists_for_numbers_and_numbers_for_lists_are_named(write: Any, tmp_path: Path) -> None:
    lists, numbers = ak.Array([[1]] * (N - 1) + [[]]), np.ones(N, np.float32)
    for column, values, message in (
        ("genWeight", lists, "one number an event for genWeight, found lists of int64"),
        ("run", lists, "one number an event for run, found lists of int64"),
        ("FatJet_pt", numbers, "a list of numbers an event for pT, eta, phi .* found float32"),
    ):
        path = write(f"{column}.root", "mkrntuple", **{column: values})
        with pytest.raises(InputError, match=rf"{column}\.root, entries 0 on: expected {message}"):
            skimmed({"data": [path]}, settings(), tmp_path / "out")


def test_a_branch_of_an_own_selection_is_looked_for_before_the_pass(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_filter_jets.py").write_text("def good(events):\n    return events.a_b > 0\n")
    monkeypatch.chdir(tmp_path)
    files = {"data": [write("a.root", a_b=np.ones(N, np.int32)), write("b.root")]}
    select = {"function": "own_filter_jets:good", "columns": ["a_b"]}
    chosen = SkimSettings.model_validate({"select": select, **JETS})
    for on_error in OnError:
        with pytest.raises(InputError, match=r"b\.root: skim\.select asks for a_b"):
            skimmed(files, chosen, tmp_path / "out", on_error=on_error)
    assert not (tmp_path / "out").exists()


def test_files_without_such_branches_are_refused(write: Any, golden: str, tmp_path: Path) -> None:
    converted = convert(write(), tmp_path / "converted.parquet").path
    with pytest.raises(InputError, match=r"converted\.parquet: the file has no trigger path"):
        skimmed({"data": [converted]}, settings(hlt=["HLT_PFHT1050"]), tmp_path / "out")
    skimmed({"data": [converted]}, settings(certified_runs=golden), tmp_path / "out")
    assert kept(tmp_path / "out") == [i for i in range(N) if certified(i)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ("[[1, 2]]", "expected runs with their ranges, got list"),
        ("{}", "no luminosity block at all"),
        ('{"1": []}', "no luminosity block at all"),
        ('{"1": {"2": 3}}', "expected a list of ranges"),
        ('{"1": [[4, 2]]}', r"run 1 has the range \[4, 2\]"),
        ('{"1": [[1, 2.5]]}', "run 1 has the range"),
        ('{"1": [1, 2]}', "run 1 has the range 1"),
        ('{"1": [[1, 2]], "1": 3}', "expected a list of ranges"),
        ('{"run": [[1, 2]]}', "run run has the range"),
        ('{"99999999999": [[1, 2]]}', "run 99999999999 has the range"),
        ("[" * 100_000, "Expected JSON of the form"),
    ],
)
def test_a_mask_that_is_none_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "mask.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as error:
        CertifiedRuns.from_json(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"absent\.json.*No such file"):
        EventSelection(settings(certified_runs=str(tmp_path / "absent.json")))


def test_ranges_may_overlap_and_come_in_any_order() -> None:
    runs = CertifiedRuns.of_ranges({"7": [[20, 30], [1, 100], [5, 10]], "3": [[50, 50]]})
    blocks = np.array([0, 1, 15, 50, 100, 101, 2**32 + 1])
    assert runs(np.full(7, 7), blocks).tolist() == [False, True, True, True, True, False, False]
    assert runs(np.full(7, 3), blocks).tolist() == [False] * 3 + [True] + [False] * 3
    assert not runs([2**32 + 7], [5]).any()
    assert pickle.loads(pickle.dumps(runs))([7], [30]).all()


def test_a_run_that_is_named_twice_has_the_ranges_of_both(tmp_path: Path) -> None:
    path = tmp_path / "mask.json"
    path.write_text('{"7": [[1, 10]], "3": [[50, 50]], "7": [[20, 30]]}')
    runs = CertifiedRuns.from_json(path)
    assert runs([7, 7, 7, 3], [10, 15, 20, 50]).tolist() == [True, False, True, True]


@pytest.mark.slow  # coffea compiles its mask
def test_certified_runs_are_those_of_coffea(tmp_path: Path) -> None:
    from coffea.lumi_tools import LumiMask

    rng, ranges = np.random.default_rng(5), {}
    for run_number in rng.choice(400_000, 60, replace=False):
        # From 1 on, as in CMS: a range from 0 on would be empty in coffea's.
        edges = np.sort(rng.choice(np.arange(1, 2000), 8, replace=False)).reshape(-1, 2)
        ranges[str(run_number)] = edges.tolist()
    path = tmp_path / "mask.json"
    path.write_text(json.dumps(ranges))
    known = rng.choice(np.array([*map(int, ranges), 5]), 20_000).astype(np.uint32)
    block = rng.integers(0, 2100, 20_000).astype(np.uint32)
    ours = CertifiedRuns.from_json(path)(known, block)
    assert np.array_equal(ours, LumiMask(str(path))(known, block))
    assert 0.1 < ours.mean() < 0.9


def test_names_and_settings_are_checked() -> None:
    for bad in (["HLT_PFHT1050_v*"], ["a b"], [""], ["HLT_A", "HLT_A"]):
        with pytest.raises(ValueError, match=r"no name of a branch|named twice"):
            EventFilterSettings(hlt=bad)
    with pytest.raises(ValueError, match="name of another cut"):
        EventFilterSettings(flags=["two_jets"])


def test_without_filters_nothing_is_called_otherwise() -> None:
    assert "filters" not in SkimSettings().model_dump()
    assert SkimSettings(filters={"hlt": ()}).digest() == SkimSettings().digest()
    assert SkimSettings(filters={"hlt": ("HLT_A",)}).digest() != SkimSettings().digest()
    given = tnt.SearchConfig.from_text("skim: {filters: {hlt: [HLT_A], flags: [Flag_B]}}")
    assert given.skim.filters == EventFilterSettings(hlt=("HLT_A",), flags=("Flag_B",))
    assert tnt.SearchConfig.from_text(given.to_yaml()) == given


def test_the_command_says_what_some_files_lack_and_notices_another_mask(
    write: Any, golden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("2018.root")
    write("2016.root", HLT_PFHT1050=None)
    filters = {"certified_runs": "Cert_JSON.txt", "hlt": ["HLT_PFHT1050", "HLT_AK8PFJet500"]}
    config = tnt.SearchConfig(skim=settings(**filters))
    Path("search.yaml").write_text(config.to_yaml())

    def call() -> Any:
        words = ("skim", "2018.root", "2016.root", "--config", "search.yaml", "--out", "out", "-q")
        return CliRunner().invoke(main, [*words, "--executor", "iterative"])

    done = call()
    assert done.exit_code == 0, done.output
    assert f"HLT_PFHT1050 is not among the triggers of {N} of {2 * N} events" in done.output
    Path(golden).write_text(json.dumps({"1": [[1, 3]]}))
    refused = call()
    assert refused.exit_code == 4, refused.output
    assert "certified_runs" in refused.output
