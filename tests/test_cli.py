from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.cli.group import Commands
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, StageError, TntCoffeaError
from tnt_coffea.pipeline import evaluation
from tnt_coffea.products import Histograms
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import note_sources, noted_sources
from tnt_coffea.storage import held


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
    lines = lines[1:] if lines[0].startswith("settings: ") else lines
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
    # The folder knows by which taggers it was searched.
    assert noted_sources(tmp_path / "out") == {"taggers": str(workspace / "train")}
    result = Path("fit") / "result.json"
    assert (tmp_path / "out" / result).read_bytes() == (workspace / result).read_bytes()
    line = failed(call("run", workspace / "generate" / "events.h5", *machine), 4)
    assert f"was searched with the taggers {workspace / 'train'}" in line


def test_help_lists_every_exit_code() -> None:
    text = call("--help").output
    for kind in (TntCoffeaError, *TntCoffeaError.__subclasses__()):
        assert f"\n  {kind.exit_code} " in text


def test_config_init_writes_a_file_to_start_from(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    assert call("config", "init", path).exit_code == 0
    assert SearchConfig.from_yaml(path) == SearchConfig()
    assert "  # mean of the signal [GeV]" in path.read_text()
    path.write_text("seed: 3\n")
    assert "is there already" in failed(call("config", "init", path), 2)
    assert path.read_text() == "seed: 3\n"
    assert call("config", "init", path, "--force").exit_code == 0
    assert SearchConfig.from_yaml(path) == SearchConfig()


def test_config_show_prints_what_a_search_would_use(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("fit: {bump: {mass: 3600}}\n")
    shown = call("config", "show", path, "--seed", 5).output
    back = SearchConfig.from_text(shown)
    assert (back.seed, back.fit.bump.mass) == (5, 3600.0)


def test_config_check_lists_what_differs_and_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("seed: 3\nfit:\n  bump:\n    mass: 3600\n")
    done = call("config", "check", path)
    assert done.exit_code == 0
    assert "fit.bump.mass: 3600.0 instead of None" in done.output
    assert "2 settings differ" in done.output
    path.write_text("seed: 3\nfit:\n  bump:\n    mas: 4000\n")
    line = failed(call("config", "check", path), 2)
    assert f"{path}:4: fit.bump.mas is not a setting; did you mean fit.bump.mass?" in line
    path.write_text("systematics: {weights: {pdf: {members: w, which: 1-100, rule: hessian}}}\n")
    done = call("config", "check", path)
    assert "'which': [1, 2, 3, '... 96 more ...', 100]" in done.output


def test_models_are_listed_and_shown() -> None:
    listed = call("models", "list").output
    for word in ("rnd-3500", "autoencoder", "tnt", "16"):
        assert word in listed
    shown = call("models", "show", "rnd-3500/tnt/light-1-2")
    assert shown.exit_code == 0
    assert json.loads(shown.output)["scope"] == "light"
    assert "rnd-3500/tnt" in failed(call("models", "show", "rnd-3500/tnt/heavy-9-9"), 5)


def test_inspect_says_what_is_in_a_file(events_file: Path) -> None:
    done = call("inspect", events_file)
    assert done.exit_code == 0, done.output
    assert re.search(r"source +lhco", done.output)
    assert "150 signal, 350 background" in done.output
    assert re.search(r"dijets in the first 500 +500", done.output)
    assert re.search(r"m_jj +\d+ +\d+ +\d+", done.output)
    assert "no problem in 500 events" in done.output


def test_inspect_reads_a_skim_too(workspace: Path) -> None:
    part = next((workspace / "skim" / "parts").rglob("*.parquet"))
    done = call("inspect", part)
    assert done.exit_code == 0, done.output
    assert re.search(r"source +skim", done.output)
    assert "heavy_tau21" in done.output


def test_inspect_lists_problems_with_their_place(events_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "problems.h5"
    with h5py.File(events_file) as file:
        rows = next(item for item in file.values() if isinstance(item, h5py.Dataset))[:20]
    rows[3], rows[7, 0] = 0, -5
    with h5py.File(path, "w") as file:
        file["events"] = np.concatenate([rows, rows[:2]])
    done = call("inspect", path)
    assert done.exit_code == 3
    assert "a negative pT in event 7" in done.output
    assert "1 problem, listed above" in done.output
    rows[7, 0] = 5
    with h5py.File(path, "w") as file:
        file["events"] = np.concatenate([rows, rows[:2]])
    done = call("inspect", path)
    assert done.exit_code == 3
    assert "2 events are copies" in done.output
    assert "1 events have no particle" in done.output


def test_convert_rewrites_events_and_refuses_to_replace(events_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.root"
    done = call("convert", events_file, out)
    assert done.exit_code == 0, done.output
    assert f"{out}: 500 events of 1 file" in done.output
    assert "exists already" in failed(call("convert", events_file, out), 3)
    looked = call("inspect", out)
    assert re.search(r"source +pfnano", looked.output)
    assert "150 signal, 350 background" in looked.output


def test_inspect_reads_jets_without_constituents(real_data: Path) -> None:
    done = call("inspect", real_data / "root" / "PHYSLITE_example.root")
    assert done.exit_code == 0, done.output
    assert re.search(r"jets per event +0 to 4", done.output)
    assert re.search(r"m_jj +\d", done.output)
    assert "heavy_tau21" not in done.output
    assert "note: the file has jets of anti-kt with R = 1 alone, without constitu" in done.output


def test_dry_run_says_what_would_run_and_writes_nothing(
    workspace: Path, config: Path, tmp_path: Path, events_file: Path
) -> None:
    done = call("run", events_file, "--config", config, "--out", tmp_path / "new", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "16 training runs of autoencoder, tnt (2 folds)" in " ".join(done.output.split())
    assert "nothing was run" in done.output
    assert not (tmp_path / "new").exists()
    done = call("demo", "--out", workspace, "--dry-run")
    rows = [line.split() for line in done.output.splitlines()]
    states = {row[0]: row[1] for row in rows if len(row) > 2}
    stages = ("generate", "skim", "train", "search", "fit", "report")
    assert [states[name] for name in stages] == ["done"] * 6


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("train: {methods: {m: {kind: lstm, prior: a}}}", "m .lstm. reads .*--simulation FILE"),
        ("train: {methods: {m: {kind: quak_plane}}}", "m .quak_plane. reads .*--prior NAME=FILE"),
        ("train: {methods: {m: {kind: vrnn}}}", "m: the skim holds no aligned constituents"),
        ("train: {methods: {m: {kind: pca}}}", "m: the skim holds no 'heavy_tau1_width'"),
        ("train: {methods: {m: {kind: feature, feature: mass +* 2}}}", "not an expression"),
        ("train: {methods: {m: {kind: pca, features: [mass], components: 99}}}", "m: .*99"),
        ("search: {variable: m_jjj}", "search.variable is m_jjj"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_skim(
    tmp_path: Path, events_file: Path, text: str, refused: str
) -> None:
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    path.write_text(text)
    assert call("config", "check", path).exit_code == 0  # the files may be tables
    for words in (("run", events_file), ("run", events_file, "--dry-run"), ("demo",)):
        done = call(*words, "--config", path, "--out", out, "--quiet")
        line = failed(done, 3 if "skim holds no aligned" in refused else 2)
        assert re.search(refused, line), line
    assert not list(out.rglob("manifest.json"))


def test_what_can_be_trained_with_further_roles_is_planned(
    tmp_path: Path, events_file: Path
) -> None:
    path = tmp_path / "search.yaml"
    lstm = "train: {methods: {m: {kind: lstm, prior: a}}}"
    path.write_text(f"{{skim: {{sequence: {{jets: 4}}}}, {lstm}}}")
    simulation, prior = (shutil.copy(events_file, tmp_path / name) for name in ("s.h5", "p.h5"))
    roles = ("--simulation", simulation, "--prior", f"a={prior}")
    words = ("run", events_file, *roles, "--config", path, "--out", tmp_path / "out", "--dry-run")
    done = call(*words)
    assert done.exit_code == 0, done.output
    path.write_text(lstm)
    assert "m: the skim holds no sequence" in failed(call(*words), 3)


def test_files_with_columns_of_their_own_are_not_refused_by_the_settings_of_the_skim(
    tmp_path: Path,
) -> None:
    path, table = tmp_path / "search.yaml", tmp_path / "box.csv"
    path.write_text("train: {methods: {m: {kind: feature, feature: tau32}}}")
    table.write_text("m_jj,heavy_tau32,light_tau32\n3500,0.5,0.4\n2800,0.9,0.4\n")
    done = call("run", table, "--config", path, "--out", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.output
    path.write_text("train: {methods: {m: {kind: lstm, prior: a}}}")
    done = call("run", table, "--config", path, "--out", tmp_path / "out", "--dry-run")
    assert "--simulation FILE" in failed(done, 2)


def test_settings_that_no_files_could_be_trained_with_are_refused_by_config_check(
    tmp_path: Path,
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("train: {methods: {m: {kind: dctr}}}")
    assert "give weights of simulated events" in failed(call("config", "check", path), 2)


@pytest.mark.slow
def test_resume_takes_settings_and_files_from_the_folder_and_shows_references(
    workspace: Path,
    config: Path,
    tmp_path: Path,
    events_file: Path,
    add_reference: Callable[[Path, Path], str],
) -> None:
    out = tmp_path / "out"
    assert "no search to go on with" in failed(call("run", "--resume", "--out", out), 4)
    machine = ("--executor", "iterative", "--quiet", "--out", out)
    assert call("skim", events_file, "--config", config, *machine).exit_code == 0
    shutil.copytree(workspace / "train", out / "train")
    assert pipeline.references_beside(out / "train") is None
    add_reference(workspace, out / "train")
    done = call("run", "--resume", *machine)
    assert done.exit_code == 0, done.output
    assert str(out / "report" / "report.html") in done.output.splitlines()[-1]
    result = Path("fit") / "result.json"
    assert (out / result).read_bytes() == (workspace / result).read_bytes()
    # The report says which sets know the truth.
    found = evaluation._evaluation().validate_json(
        (out / "report" / "evaluation.json").read_bytes()
    )
    assert found is not None
    assert (set(found.sets), found.truth) == ({"autoencoder", "tnt", "best"}, ("best",))
    assert json.loads(json.dumps(found.to_dict()))["truth"] == ["best"]
    assert found.shown("tnt") == "tnt"
    page = (out / "report" / "report.html").read_text()
    assert "best (trained with the truth)" in page


@pytest.fixture
def searched(workspace: Path, tmp_path: Path) -> Path:
    """A copy of a finished search."""
    out = tmp_path / "searched"
    shutil.copytree(workspace, out)
    return out


def test_a_report_is_of_the_taggers_that_the_folder_was_searched_with(
    searched: Path, tmp_path: Path
) -> None:
    page = searched / "report" / "report.html"
    drawn = page.stat().st_mtime_ns
    done = call("report", "--out", searched)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"report: {page}"
    assert page.stat().st_mtime_ns == drawn, "the same report is not drawn again"
    note_sources(searched, taggers=str(tmp_path / "others"))
    assert str(tmp_path / "others") in failed(call("report", "--out", searched), 5)


@pytest.mark.slow
def test_a_search_with_taggers_of_another_folder_has_a_report(
    workspace: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(workspace / "skim", out / "skim")
    machine = ("--executor", "iterative", "--quiet", "--out", out, "--config", config)
    assert call("search", "--taggers", workspace / "train", *machine).exit_code == 0
    assert call("fit", "--out", out, "--config", config).exit_code == 0
    done = call("report", "--out", out)
    assert done.exit_code == 0, done.output
    assert (out / "report" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_every_test_on_a_search_is_kept_and_an_old_report_goes(
    searched: Path, small_config: SearchConfig, tmp_path: Path
) -> None:
    def fitted(*words: object) -> str:
        done = call("fit", *words)
        assert done.exit_code == 0, done.output
        return done.output

    report = searched / "report" / "report.html"
    first = (searched / "fit" / "result.json").read_bytes()
    other = tmp_path / "other.yaml"
    settings = small_config.model_dump(mode="json")
    settings["fit"]["bump"] |= {"mass": 3600.0, "width": 150.0}
    settings["fit"]["limit"]["enabled"] = False
    other.write_text(json.dumps(settings))

    assert "tests were made" not in fitted("--out", searched), "the same fit is no further test"
    assert report.exists()
    assert f"settings: {searched / 'config.yaml'} of the search in it" in fitted(
        "bump", searched / "search", "--name", "tnt", "--toys", 1
    )
    shown = fitted("--out", searched, "--config", other)
    assert f"settings: {other}" in shown
    assert "3 tests were made on these data; this is number 3" in shown
    assert "fit.bump.mass 3600.0 instead of 3500.0" in shown
    assert f"{report} was of another fit and is removed" in shown
    assert not report.exists()
    assert SearchConfig.from_yaml(searched / "config.yaml").fit.bump.mass == 3600

    line = failed(call("report", "--out", searched, "--config", tmp_path / "search.yaml"), 2)
    assert "cannot read" in line
    (tmp_path / "search.yaml").write_text(small_config.to_yaml())
    line = failed(call("report", "--out", searched, "--config", tmp_path / "search.yaml"), 4)
    assert "settings.bump.mass: 3600.0 there, 3500.0 now" in line
    assert "`tnt-coffea fit`" in line

    shown = fitted("--out", searched, "--config", tmp_path / "search.yaml")
    assert "3 tests were made on these data; this is number 1" in shown
    assert (searched / "fit" / "result.json").read_bytes() == first
    noted = json.loads((searched / "fits.json").read_text())
    assert [trial["test"] for trial in noted] == ["fit", "bump", "fit"]
    assert noted[0]["p_values"]["before"] == json.loads(first)["before"]["p_value"]


def test_a_fit_that_fails_leaves_the_search_as_it_was(searched: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    other = tmp_path / "other.yaml"
    for text, wrong in (
        ("{data: {luminosity: 30}, fit: {limit: {efficiencies: {nobody: 0.3}}}}", "names nobody"),
        ("search: {fit_range: {low: 2800}}", '"low": 2800.0, "high": 7000.0}, and taggers'),
        ("search: {window: {high: 4100}}", 'made with {"low": 3000.0, "high": 4000.0}'),
        ("{search: {efficiencies: [0.5, 0.3, 0.2]}}", "made with [0.5, 0.3]"),
        ("seed: 12", "seed is 12, and taggers, thresholds and histograms were made with 11"),
    ):
        other.write_text(text)
        assert wrong in failed(call("fit", "--out", searched, "--config", other), 2)
        after = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
        assert after == before


def test_a_short_file_changes_what_it_names(
    searched: Path, small_config: SearchConfig, tmp_path: Path
) -> None:
    short = tmp_path / "short.yaml"
    short.write_text(
        "fit: {bump: {mass: 3400, width: 80}, limit: {enabled: false}, scan: {global_over: none}}"
    )
    done = call("fit", "--out", searched, "--config", short)
    assert done.exit_code == 0, done.output
    assert f"settings: {short}, the rest of {searched / 'config.yaml'}" in done.output
    assert SearchResult.load(searched / "fit").before.mass == 3400
    bump = small_config.fit.bump.model_copy(update={"mass": 3400.0, "width": 80.0})
    limit = small_config.fit.limit.model_copy(update={"enabled": False})
    scan = small_config.fit.scan.model_copy(update={"global_over": "none"})
    fit = small_config.fit.model_copy(update={"bump": bump, "limit": limit, "scan": scan})
    left = SearchConfig.from_yaml(searched / "config.yaml")
    assert left == small_config.model_copy(update={"fit": fit})
    line = failed(call("report", "--out", searched, "--config", short, "--seed", 12), 2)
    assert "seed is 12" in line
    histograms = Histograms.load(searched / "search")
    with pytest.raises(ConfigError, match="seed is 12"):
        pipeline.fit(histograms, left.model_copy(update={"seed": 12}))
    (searched / "train" / "manifest.json").unlink()
    (searched / "search" / "manifest.json").unlink()
    assert Histograms.load(searched / "search").made_with == {}, "an older one is not refused"


def test_settings_are_never_of_a_folder_that_was_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, named = tmp_path / "tnt-coffea-output", tmp_path / "named"
    for folder in (old, named):
        (folder / "search").mkdir(parents=True)
        (folder / "config.yaml").write_text("fit: {bump: {mass: 3600}}")
    (named / "search" / "search.json").write_text("{}")
    (tmp_path / "own.yaml").write_text("seed: 3")
    monkeypatch.chdir(tmp_path)

    def origin(*words: object) -> str:
        done = call(*words)
        assert done.exit_code != 0
        return done.output.splitlines()[0]

    assert origin("fit", "bump", "mjj.json") == "settings: defaults"
    assert origin("fit", "bump", "mjj.json", "--config", "own.yaml") == "settings: own.yaml"
    of_search = "settings: named/config.yaml of the search in it"
    assert origin("fit", "bump", "mjj.json", "--out", "named") == of_search
    assert origin("fit", "bump", "named/search") == of_search
    assert origin("fit", "bump", "named/search/histograms.h5") == of_search
    assert origin("train") == "settings: tnt-coffea-output/config.yaml of the search in it"
    assert origin("train", "--out", "new", "--seed", 5) == "settings: defaults, seed 5"


def test_a_second_run_in_a_folder_ends_in_one_line(searched: Path, events_file: Path) -> None:
    taken, finished = threading.Event(), threading.Event()

    def write() -> None:
        with held(searched):
            taken.set()
            finished.wait(60)

    before = {path: path.stat().st_mtime_ns for path in searched.rglob("*")}
    other = threading.Thread(target=write)
    other.start()
    taken.wait(60)
    for words in (
        ("run", events_file),
        ("skim", events_file, "--overwrite", "--seed", 3),
        ("fit", "--seed", 3),
        ("fit", "bump", searched / "search", "--name", "tnt"),
        ("report",),
    ):
        assert f"{searched}: another run writes here" in failed(call(*words, "--out", searched), 12)
    finished.set()
    other.join()
    after = {path: path.stat().st_mtime_ns for path in searched.rglob("*")}
    before.pop(searched, None), after.pop(searched, None)
    assert before == after


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("skim/parts/*/*.parquet", ("train",)),
        ("train/tnt/quantiles.json", ("search",)),
        ("train/tnt/set.json", ("search",)),
        ("train/histories.json", ("report",)),
        ("search/search.json", ("fit",)),
        ("search/histograms.h5", ("search", "--executor", "iterative", "--quiet")),
        ("fit/result.json", ("report",)),
    ],
)
def test_a_changed_file_of_a_stage_is_named(
    searched: Path, file: str, words: tuple[str, ...]
) -> None:
    path = next(searched.glob(file))
    content = path.read_bytes()
    place = len(content) // 2
    path.write_bytes(content[:place] + b" " + content[place:])
    assert f"{path}: was changed since the stage" in failed(call(*words, "--out", searched), 4)
    path.unlink()
    gone = "no result here" if file == "fit/result.json" else "is gone since"
    assert f"{path}: {gone}" in failed(call(*words, "--out", searched), 4)
    if words[0] == file.split("/")[0]:
        assert call(*words, "--overwrite", "--out", searched).exit_code == 0
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("files.json", "[1]", ("run", "--resume")),
        ("files.json", '{"files": {"data": 3}, "roles": {}}', ("run", "--resume")),
        ("fits.json", '[{"test": 1}]', ("fit",)),
        ("fits.json", "{", ("fit",)),
        ("sources.json", '{"taggers": []}', ("report",)),
        ("train/manifest.json", '{"outputs": 3}', ("search",)),
        ("skim/manifest.json", "[" * 100_000, ("train",)),
    ],
)
def test_damaged_notes_are_one_line(
    searched: Path, file: str, content: str, words: tuple[str, ...]
) -> None:
    (searched / file).write_text(content)
    assert f"{searched / file}: " in failed(call(*words, "--out", searched), 4)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("before", "q0"), -1.0),
        (("before", "p_value"), "small"),
        (("limits", "before", "expected"), []),
        (("after",), 3),
        (("provenance",), [[[]]]),
    ],
)
def test_a_result_that_none_can_be_is_one_error(
    workspace: Path, tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    content = json.loads((workspace / "fit" / "result.json").read_text())
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    changed = tmp_path / "result.json"
    changed.write_text(json.dumps(content))
    with pytest.raises(StageError, match=r"result\.json: not a readable result"):
        SearchResult.load(changed)


def test_run_says_before_the_skim_what_is_not_installed(
    tmp_path: Path, events_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tnt_coffea.training import backend

    monkeypatch.setattr(backend, "_distributions", lambda: {"numpy": ["numpy"]})
    out = tmp_path / "out"
    assert "pip install 'tnt-coffea[train]'" in failed(call("run", events_file, "--out", out), 10)
    assert not out.exists()


def test_a_file_as_folder_of_a_search_is_called_one(tmp_path: Path, events_file: Path) -> None:
    out = tmp_path / "out"
    out.write_text("")
    for words in (("skim", events_file), ("run", events_file), ("demo",)):
        line = failed(call(*words, "--out", out), 11)
        assert f"{out}: is a file, expected a folder" in line
        assert "space" not in line


def test_an_option_that_is_no_setting_is_one_line(tmp_path: Path) -> None:
    for option, value in (("--width", -5), ("--mass", "nan"), ("--bin-width", 0)):
        line = failed(call("fit", "bump", tmp_path / "mjj.json", option, value), 2)
        assert line.startswith(f"error: {option}: ")
        assert "http" not in line
    line = failed(call("fit", "bump", tmp_path / "mjj.json", "--fit-range", 7000, 2600), 2)
    assert "--fit-range: low must be below high" in line


def test_run_without_files_says_so() -> None:
    done = call("run")
    assert done.exit_code == 2
    assert "name the FILES" in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    done = call("completion", shell)
    assert done.exit_code == 0
    assert "_TNT_COFFEA_COMPLETE" in done.output


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
    assert "sead is not a setting" in failed(call("config", "check", path), 2)


def test_debug_shows_where(tmp_path: Path) -> None:
    result = call("--debug", "skim", tmp_path / "absent.h5")
    assert type(result.exception).__name__ == "InputError"


@pytest.mark.parametrize(("number", "word"), [("SIGTERM", "terminated"), ("SIGINT", "interrupted")])
def test_a_cut_command_goes_on_only_where_it_keeps_what_is_done(number: str, word: str) -> None:
    def cut() -> None:
        signal.raise_signal(signal.Signals[number])

    group = Commands("program", commands=[click.Command(one, callback=cut) for one in ("a", "b")])
    group.keeping.add("a")
    for command, then in (("a", "goes on where it was cut"), ("b", "begins anew")):
        done = CliRunner().invoke(group, [command])
        assert done.exit_code == 128 + signal.Signals[number]
        assert done.stderr == f"{word}; the same command {then}\n"
    assert {"run", "skim", "study"} <= main.keeping < set(main.commands)
    assert not {"fit", "report", "convert", "score"} & main.keeping
