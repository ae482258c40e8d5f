"""Roles of data sets: who is searched, who is only learned from, and that nobody is both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import tnt_coffea as tnt
from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.errors import ConfigError, InputError, LeakError, StageError
from tnt_coffea.events.roles import DATA, SIMULATION, prior
from tnt_coffea.events.skim import read_parts
from tnt_coffea.execution import open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.inspection import inspect_events
from tnt_coffea.pipeline.searching import _refuse_copies
from tnt_coffea.processors import SearchProcessor, SkimProcessor
from tnt_coffea.search_folder import noted_files


def columns(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "m_jj": rng.uniform(2500, 6000, n),
        "heavy_mass": rng.gamma(3, 90, n),
        "light_mass": rng.gamma(3, 40, n),
        "label": rng.integers(0, 2, n),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(name: str, n: int, seed: int, **changes: np.ndarray) -> Path:
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns(n, seed) | changes), path)
        return path

    return written


@pytest.fixture
def fileset(write: Callable[..., Path]) -> Fileset:
    files = {
        "box": [write("box", 50, 1)],
        "more": [write("more", 30, 2)],
        "herwig": [write("herwig", 40, 3)],
        "wz": [write("wz", 20, 4)],
    }
    return Fileset.from_paths(files, roles={"herwig": SIMULATION, "wz": prior("two-prong")})


def test_data_are_the_default_and_the_only_ones_searched(fileset: Fileset) -> None:
    assert fileset.role("box") == fileset.role("more") == DATA
    assert set(fileset.searched.files) == {"box", "more"}
    roles = {item.dataset: item.role for item in fileset.items(20)}
    assert roles == {"box": "data", "more": "data", "herwig": "simulation", "wz": "prior:two-prong"}


def test_filesets_without_data_or_with_unknown_roles_are_refused(write: Any) -> None:
    path = write("box", 5, 1)
    with pytest.raises(InputError, match=r"no data to search among herwig \(simulation\)"):
        Fileset.from_paths({"herwig": [path]}, roles={"herwig": "simulation"})
    for role in ("background", "prior:", "prior:a/b", "Data", "prior:a\n"):
        with pytest.raises(ConfigError, match="no role of a data set"):
            Fileset.from_paths({"box": [path]}, roles={"box": role})
    with pytest.raises(ConfigError, match="roles of herwig"):
        Fileset.from_paths({"box": [path]}, roles={"herwig": "simulation"})


def test_stock_runner_writes_nothing_outside_its_folder(fileset: Fileset, tmp_path: Path) -> None:
    from coffea.nanoevents import BaseSchema
    from coffea.processor import IterativeExecutor, Runner

    executor = IterativeExecutor(status=False, retries=0)
    runner = Runner(executor, schema=BaseSchema, format="parquet")
    files = {"../outside": {"files": [str(fileset.files["box"][0])], "treename": "Events"}}
    processor = SkimProcessor(tnt.SearchConfig().skim, tmp_path / "in" / "parts")
    with pytest.raises(Exception, match="cannot be a data set's name"):
        runner(files, processor_instance=processor)
    assert not list(tmp_path.rglob("outside"))


def test_events_carry_their_role(fileset: Fileset) -> None:
    with open_executor() as executor:
        output, accounting = run(fileset, _Roles(), executor, chunk_size=15)
    assert output["roles"] == {
        "box": {"data"},
        "more": {"data"},
        "herwig": {"simulation"},
        "wz": {"prior:two-prong"},
    }
    assert accounting.events == 140
    assert {name: one.events for name, one in accounting.datasets.items()} == {
        "box": 50,
        "more": 30,
        "herwig": 40,
        "wz": 20,
    }


class _Roles(SkimProcessor):
    def __init__(self) -> None:
        pass

    def process(self, events: Any) -> dict[str, Any]:
        meta, n = events.metadata, len(events)
        cutflow = {"events": n, "rejected": {}, "selected": n}
        return {
            "roles": {meta["dataset"]: {meta["role"]}},
            "cutflow": {meta["dataset"]: cutflow},
        }


def test_a_skim_keeps_the_roles_apart(fileset: Fileset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = tnt.skim(fileset, tnt.SearchConfig(), out=out)
    assert list(made.by_role) == ["data", "simulation", "prior:two-prong"]
    assert {role: len(read_parts(paths)) for role, paths in made.by_role.items()} == {
        "data": 80,
        "simulation": 40,
        "prior:two-prong": 20,
    }
    assert len(made.sample()) == made.accounting.selected == 80
    assert made.accounts["herwig"].events == 40
    assert set(made.contents) == set(made.by_role)
    assert made.content == made.contents["data"] == made.sample().content_hash()
    assert made.contents["simulation"] == made.sample("simulation").content_hash()
    assert set(made.fileset().files) == {"box", "more"}
    again = tnt.Skim.load(out / "skim")
    assert again == made
    with pytest.raises(StageError, match=r"'prior:zz', only data, simulation, prior:two-prong"):
        made.sample("prior:zz")
    assert noted_files(out).roles == fileset.roles
    # Another role is another skim.
    other = Fileset(fileset.files, roles={"herwig": SIMULATION, "wz": SIMULATION})
    with pytest.raises(StageError, match="roles"):
        tnt.skim(other, tnt.SearchConfig(), out=out)


def test_data_do_not_depend_on_what_else_there_is(fileset: Fileset, tmp_path: Path) -> None:
    alone = tnt.skim(fileset.searched, tnt.SearchConfig(), out=tmp_path / "alone")
    beside = tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / "beside")
    assert alone.content == beside.content
    assert alone.accounting == beside.accounting


@pytest.mark.parametrize("role", ["data", "simulation", "prior:two-prong"])
def test_truth_of_no_role_is_read_unless_evaluation_asks(
    fileset: Fileset, tmp_path: Path, role: str
) -> None:
    made = tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / "out")
    assert set(made.sample(role).label.tolist()) == {-1}
    assert set(made.sample(role, truth=True).label.tolist()) == {0, 1}


def test_labels_of_no_role_change_any_content(write: Any, tmp_path: Path) -> None:
    contents = []
    for labels in (np.zeros(50, int), np.ones(50, int)):
        files = {
            "box": [write("box", 50, 1, label=labels)],
            "mc": [write("mc", 50, 2, label=labels)],
        }
        fileset = Fileset.from_paths(files, roles={"mc": SIMULATION})
        out = tmp_path / f"out{labels[0]}"
        contents.append(tnt.skim(fileset, tnt.SearchConfig(), out=out).contents)
    assert contents[0] == contents[1]


def test_events_in_two_roles_are_a_leak(write: Any, tmp_path: Path) -> None:
    box, both = columns(50, 1), columns(40, 3)
    for name in both:
        both[name][10:17] = box[name][:7]
    both["label"] = 1 - both["label"]  # what is called the truth does not make it another event
    files = {"box": [write("box", 50, 1)], "herwig": [write("herwig", 40, 3, **both)]}
    fileset = Fileset.from_paths(files, roles={"herwig": SIMULATION})
    with pytest.raises(LeakError, match="7 events are both data and simulation") as error:
        tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path / "out")
    for path in (files["box"][0], files["herwig"][0]):
        assert str(path) in str(error.value)
    assert not (tmp_path / "out" / "skim").exists()
    # Two data sets of one role may overlap: those are duplicates.
    made = tnt.skim(Fileset.from_paths(files), tnt.SearchConfig(), out=tmp_path / "out")
    assert (made.duplicates, made.accounting.selected) == (7, 90)


def test_in_memory_events_in_two_roles_are_a_leak_too() -> None:
    def sample(n: int, seed: int) -> tnt.Sample:
        made = columns(n, seed)
        jets = {jet: {"mass": made[f"{jet}_mass"]} for jet in ("heavy", "light")}
        return tnt.Sample.from_columns(made["m_jj"], **jets)

    data, background, signal = sample(50, 1), sample(40, 2), sample(10, 3)
    made = tnt.Skim.from_sample(data, simulation=background, priors={"wz": signal})
    assert {role: len(made.sample(role)) for role in made.by_role} == {
        "data": 50,
        "simulation": 40,
        "prior:wz": 10,
    }
    folder = made.paths[0].parent
    assert folder.exists()
    del made
    assert not folder.exists()
    with pytest.raises(LeakError, match="50 events are both data and prior:wz"):
        tnt.Skim.from_sample(data, priors={"wz": data})


def test_processors_refuse_to_search_simulation(fileset: Fileset) -> None:
    processor = SearchProcessor(tnt.SearchConfig(), [])
    with open_executor() as executor:
        output, _ = run(fileset.searched, processor, executor)
        assert set(output["cutflow"]) == {"box", "more"}
        with pytest.raises(InputError, match="'herwig' is of role simulation"):
            run(fileset, processor, executor)


def test_stock_runner_knows_no_roles_and_searches_data(fileset: Fileset) -> None:
    from coffea.nanoevents import BaseSchema
    from coffea.processor import IterativeExecutor, Runner

    runner = Runner(IterativeExecutor(status=False), schema=BaseSchema, format="parquet")
    files = {"box": {"files": [str(fileset.files["box"][0])], "treename": "Events"}}
    output = runner(files, processor_instance=SearchProcessor(tnt.SearchConfig(), []))
    assert output["cutflow"]["box"]["selected"] == 50


def test_a_role_without_dijets_is_an_error(
    fileset: Fileset, tmp_path: Path, events_file: Path
) -> None:
    import h5py

    path = tmp_path / "one-jet.h5"
    with h5py.File(events_file) as source, h5py.File(path, "w") as target:
        rows = source["events"][:4]
        rows[:, 3:2100] = 0
        target["events"] = rows
    with_one = Fileset.from_paths({"data": [events_file], "mc": [path]}, roles={"mc": SIMULATION})
    with pytest.raises(
        InputError, match=r"none of 4 events has a dijet \(role simulation\): .*two_jets"
    ):
        tnt.skim(with_one, tnt.SearchConfig(), out=tmp_path / "out")


NAMES = ("../x", "../../x", "..", ".", "", "/tmp/x", "a/b", "a\\b", "a\nb", "a" * 101, 3, None)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_data_sets_are_no_paths(write: Any, tmp_path: Path, name: Any) -> None:
    path = write("box", 5, 1)
    with pytest.raises((ConfigError, InputError), match="name") as error:
        Fileset.from_paths({name: [path]})
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be a data set's name"):
        Fileset({name: (path,)})
    assert Fileset({"QCD_Pt-15to7000 µ": (path,)}).files
    noted = {"files": {name if name is not None else "..": [str(path)]}, "roles": {}}
    (tmp_path / "files.json").write_text(json.dumps(noted))
    if name != 3:  # which JSON makes a text
        with pytest.raises(StageError, match=r"files\.json: cannot be read: .*name"):
            noted_files(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "3", "null", '"x"', "{", "[" * 5000, "\xff", "{}", '{"files": {}}'),
        *('{"files": [], "roles": {}}', '{"files": {"box": "x.h5"}, "roles": {}}'),
        *('{"files": {"box": [3]}, "roles": {}}', '{"files": {"box": {}}, "roles": {}}'),
        *('{"files": {"box": [null]}, "roles": {}}', '{"files": {"box": ["x"]}, "roles": []}'),
        *('{"files": {"box": ["x"]}, "roles": {"box": 1}}', '{"files": 1e400, "roles": {}}'),
        '{"files": {"box": ["x"]}, "roles": {}, "more": 1}',
    ],
)
def test_noted_files_that_were_changed_are_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "files.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StageError, match=r"files\.json: cannot be read|the files again") as error:
        noted_files(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(tmp_path))


def names_of(fileset: Fileset) -> dict[str, list[str]]:
    return {dataset: [path.name for path in paths] for dataset, paths in fileset.files.items()}


def test_files_come_in_every_form(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = write("a", 5, 1), write("b*[1] %#", 5, 2)
    (tmp_path / "README.md").write_text("no events")
    both = {"data": ["a.parquet", "b*[1] %#.parquet"]}
    forms: list[Any] = [
        tmp_path,
        "*.parquet",
        str(tmp_path / "**" / "*.parquet"),
        [a, str(b)],
        (a, "b*.parquet"),
        {"data": tmp_path},
        {"data": [str(a), str(b)]},
        {"data": {"files": [str(a), str(b)], "treename": "Events"}},
        {"data": {"files": {str(a): "Events", str(b): None}, "metadata": {"xsec": 1}}},
    ]
    for form in forms:
        assert names_of(Fileset.from_paths(form)) == both, form
    (tmp_path / "list.txt").write_text(
        "# of this week\na.parquet  # the first\n\n\t# b\nb*.parquet\t#the second # of two\n"
    )
    assert names_of(Fileset.from_paths("list.txt")) == both
    assert names_of(Fileset.from_paths(str(a))) == {"data": ["a.parquet"]}
    # What exists is that file, whatever its name looks like.
    assert names_of(Fileset.from_paths("b*[1] %#.parquet")) == {"data": [b.name]}
    # So in a list, where a comment has a space before it; the first line may be one with a comment.
    for name in ("c#1.parquet", "d #2.parquet"):
        a.rename(tmp_path / name)
        (tmp_path / "hash.list").write_text(f"{name} # of {name}\n" if "c" in name else name)
        assert names_of(Fileset.from_paths("hash.list")) == {"data": [name]}
        a = tmp_path / name
    # A table of features may have any name.
    (tmp_path / "table.txt").write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n")
    assert Fileset.from_paths("table.txt").items(10)[0].source == "table"


def test_filesets_of_coffea_are_read_with_all_their_data_sets(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("a", "b", "mc")):
        write(name, 20 + i, i)
    about = {"object_path": "Events", "steps": [[0, 11], [11, 21]], "num_entries": 21, "uuid": "x"}
    fileset = {
        "box": {"files": {"a.parquet": "Events"}, "form": None},
        "more": {"files": {"b.parquet": about}, "metadata": {"role": "data"}},
        "herwig": {"files": ["mc.parquet"], "metadata": {"role": "simulation"}},
    }
    Path("fileset.json").write_text(json.dumps(fileset))
    read = Fileset.from_paths("fileset.json")
    assert read == Fileset.from_paths(fileset)
    assert [read.role(name) for name in read.files] == ["data", "data", "simulation"]
    done = call("skim", "fileset.json", "--executor", "iterative", "--quiet", "--out", "out")
    assert done.exit_code == 0, done.output
    made = tnt.Skim.load("out/skim")
    assert {name: one.selected for name, one in made.accounts.items()} == {
        "box": 20,
        "more": 21,
        "herwig": 22,
    }
    assert noted_files("out").files.keys() == {"box", "more", "herwig"}


@pytest.mark.parametrize("kind", ["parquet", "csv", "mapped.csv"])
def test_steps_that_are_not_the_whole_file_are_refused(
    write: Any, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        write("a", 21, 0)
    else:  # columns that only the settings name, too
        names = "m_jj,heavy_mass,light_mass" if kind == "csv" else "x,y,z"
        path.write_text("\n".join([names, *(f"{3000 + i},500,100" for i in range(21))]))

    def located_with(steps: Any, **more: Any) -> Fileset:
        return Fileset.from_paths({"box": {"files": {str(path): {"steps": steps, **more}}}})

    for steps in ([[0, 21]], [[11, 21], [0, 11]], [[0, 0], [0, 21]], None):
        assert located_with(steps).files["box"] == (path,)
    for steps, message in (
        ([[0, 10]], "steps choose 10 of 21 entries; files are read whole"),
        ([[0, 10], [11, 21]], "steps choose 20 of 21 entries"),
        ([], "steps choose 0 of 21 entries"),
        ([[0, 11], [10, 21]], "steps choose entry 10 twice"),
        ([[0, 22]], "steps go up to entry 22, and there are 21"),
        ([[0, 21.0]], "steps are no pairs of entries"),
    ):
        with pytest.raises(InputError, match=f"data set 'box', .*{message}"):
            located_with(steps)
    # The file has grown since its entries were counted.
    with pytest.raises(InputError, match="steps choose 10 of 21 entries"):
        located_with([[0, 10]], num_entries=10)
    # Planning says what is wrong with a file that cannot be read.
    path.write_bytes(b"PAR1")
    assert located_with([[0, 21]]).sound_items(10)[1][0].path == path


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("gs://bucket/a.root", "gs://bucket/a.root: files are read at http://, https://, root://"),
        ("https://example.org/a/", "https://example.org/a/: HTTP lists no files; name each"),
        ("https://example.org/*.root", "HTTP lists no files"),
        ("https://example.org/files.txt", "a list at an address is not followed"),
        (["s3://bucket/a.root"] * 2, "s3://bucket/a.root: given twice"),
        (Path("s3://bucket/a.root"), "s3://bucket/a.root: a path loses one slash of an address"),
        ("absent*.root", "no file matches it as a pattern"),
        ("absent.root", "absent.root: no such file"),
        (3, "files are given as int"),
        ([3], "3 .int. is no path"),
        (b"a.root", "files are given as bytes"),
        ({}, "no file given"),
        ({"box": 3}, "data set 'box': expected paths, found int"),
        ({"box": {"files": {"a.root": "ntuple/Events"}}}, "the tree 'ntuple/Events' is asked for"),
        ({"box": {"files": ["a.root"], "treename": 3}}, "the tree 3 is asked for"),
        (
            {"box": {"a.root": {"steps": [[0, 10]], "num_entries": 20}}},
            "steps choose 10 of 20 entries; files are read whole",
        ),
        ({"box": {"a.root": {"steps": [3], "num_entries": 20}}}, "steps are no pairs"),
    ],
)
def test_what_is_no_file_is_said_in_one_line(files: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Fileset.from_paths(files)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no fileset: expected files by data set, found list"),
        ("{", "not readable as a fileset"),
        ("[" * 5000, "not readable as a fileset"),
        ('{"box": {"files": 3}}', "data set 'box': expected paths, found int"),
        ('{"../box": ["a.root"]}', "cannot be a data set's name"),
    ],
)
def test_json_that_is_no_fileset_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fileset.json"
    path.write_text(text)
    with pytest.raises((InputError, ConfigError), match=message):
        Fileset.from_paths(path)


def test_a_search_s_folder_is_no_input(write: Any, tmp_path: Path) -> None:
    fileset = Fileset.from_paths(write("box", 5, 1))
    made = tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path)
    assert made.accounting.selected == 5
    with pytest.raises(InputError, match="a folder of a search"):
        Fileset.from_paths(tmp_path)


def test_addresses_reach_the_message_whole_from_the_command_line(tmp_path: Path) -> None:
    for command in ("skim", "run", "inspect"):
        done = call(command, "gs://eos.example//store/a.root")
        assert done.exit_code == 3
        assert "error: gs://eos.example//store/a.root: files are read at http://," in done.output


def call(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_roles_on_the_command_line(write: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    box, more, mc, one, two = (
        write(name, 20 + i, i) for i, name in enumerate(("box", "more", "mc", "one", "two"))
    )
    done = call(
        *("skim", box, more, "--simulation", mc, "--prior", f"wz={one}", "--prior", f"wz={two}"),
        *("--out", out, "--executor", "iterative", "--quiet"),
    )
    assert done.exit_code == 0, done.output
    assert "41 dijets of 41 events" in done.output
    assert "simulation: 22 dijets of 22 events" in done.output
    assert "prior:wz: 47 dijets of 47 events" in done.output
    made = tnt.Skim.load(out / "skim")
    assert list(made.by_role) == ["data", "prior:wz", "simulation"]
    noted = json.loads((out / "files.json").read_text())
    assert noted["roles"]["prior-wz"] == "prior:wz"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--prior", "wz"), "not of the form NAME=PATH"),
        (("--prior", "=wz.h5"), "not of the form NAME=PATH"),
        (("--prior", "w z=wz.h5"), "no role of a data set"),
        (("--simulation", "absent.h5"), "absent.h5: no such file"),
    ],
)
def test_wrong_roles_on_the_command_line(
    write: Any, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = call("run", write("box", 5, 1), *words, "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert message in done.output


def test_roles_need_data_on_the_command_line(write: Any, tmp_path: Path) -> None:
    done = call("run", "--resume", "--simulation", write("mc", 5, 1), "--out", tmp_path)
    assert done.exit_code == 2
    assert "go with the FILES" in done.output


def test_mapped_tables_are_read_as_tables_in_every_stage(write: Any, tmp_path: Path) -> None:
    frame = columns(30, 1)
    path = tmp_path / "mapped.csv"
    names = {"m_jj": "mjj", "heavy_mass": "m1", "light_mass": "m2"}
    rows = zip(*(frame[name] for name in names), strict=True)
    text = "\n".join(",".join(map(repr, map(float, row))) for row in rows)
    path.write_text(",".join(names.values()) + "\n" + text + "\n")
    table = {"m_jj": "mjj", "heavy": {"mass": "m1"}, "light": {"mass": "m2"}}
    config = tnt.SearchConfig.model_validate({"skim": {"table": table}})
    fileset = Fileset.from_paths({"data": [path]})
    made = tnt.skim(fileset, config, out=tmp_path / "out")
    np.testing.assert_array_equal(np.sort(made.sample().m_jj), np.sort(frame["m_jj"]))
    from tnt_coffea.execution import Resources
    from tnt_coffea.planning import planned

    plan = planned(config, tmp_path / "out", Resources(), fileset)
    assert plan[0].state == "done"
    assert plan[0].work.startswith("30 events")
    taggers = tnt.Taggers({}, {})
    histograms = pipeline.search(fileset, taggers, config, out=tmp_path / "out")
    assert histograms.accounting.selected == 30


def test_a_file_that_changes_during_the_pass_is_refused(write: Any, tmp_path: Path) -> None:
    path = write("box", 50, 1)

    class Meddling(SkimProcessor):
        def process(self, events: Any) -> Any:
            write("box", 60, 2)
            return super().process(events)

    settings = tnt.config.SkimSettings()
    with (
        open_executor() as executor,
        pytest.raises(InputError, match=r"box\.parquet: was changed .*bytes then") as error,
    ):
        run(
            Fileset.from_paths({"data": [path]}),
            Meddling(settings, tmp_path / "parts"),
            executor,
            chunk_size=25,
        )
    assert "1 more" not in str(error.value)


def test_what_a_virtual_table_consists_of_is_in_its_hash(tmp_path: Path) -> None:
    path, part, layout = tmp_path / "box.h5", tmp_path / "part.h5", h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(part, "m_jj", (3,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("m_jj", layout)
    hashes = set()
    for m_jj in ([3000.0] * 3, [4000.0] * 3):
        with h5py.File(part, "w") as file:
            file["m_jj"] = m_jj
        hashes.add(Fileset.from_paths({"data": [path]}).content_hashes()["data"][0])
    part.unlink()
    hashes.add(Fileset.from_paths({"data": [path]}).content_hashes()["data"][0])
    assert len(hashes) == 3


def test_parts_of_a_skim_are_taken_as_they_are(write: Any, tmp_path: Path) -> None:
    config = tnt.SearchConfig()
    first = pipeline.skim(
        Fileset.from_paths({"data": [write("box", 50, 1)]}), config, out=tmp_path / "first"
    )
    (part,) = (tmp_path / "first").rglob("parts/data/*.parquet")
    again = pipeline.skim(Fileset.from_paths({"data": [part]}), config, out=tmp_path / "again")
    assert again.sample().content_hash() == first.sample().content_hash()
    assert len(again.sample()) == 50
    assert inspect_events(part).facts["settings"] == "those asked for"
    other = tnt.SearchConfig.model_validate({"skim": {"jets": {"radius": 0.8}}})
    said = r"skim\.jets\.radius: 1\.0 there, 0\.8 now"
    with pytest.raises(InputError, match=rf"{part}: a part of a skim .*{said}"):
        pipeline.skim(Fileset.from_paths({"data": [part]}), other, out=tmp_path / "other")
    assert re.search(said, inspect_events(part, settings=other.skim).facts["settings"])


def test_files_that_cannot_be_read_are_no_copies_of_each_other(tmp_path: Path) -> None:
    files = Fileset.from_paths(
        {"box": [tmp_path / "a.h5"], "herwig": [tmp_path / "b.h5"]},
        roles={"herwig": SIMULATION},
        missing_ok=True,
    )
    _refuse_copies(files, files, None)
