"""The study of the LHC Olympics: blind answers, keys opened last, folders that go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea import generator
from tnt_coffea.cli import main
from tnt_coffea.config import GenerateSettings, SearchConfig, SignalModel, digest
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.events.roles import prior_name
from tnt_coffea.execution import Resources
from tnt_coffea.generator.black_box import write_key
from tnt_coffea.pipeline import Answer, Estimate, global_p_values, studies, train
from tnt_coffea.pipeline.global_p_values import all_selections
from tnt_coffea.pipeline.null_chains import BEFORE, NullChains, decisive_settings
from tnt_coffea.pipeline.studies import olympics_entries, olympics_search, olympics_study
from tnt_coffea.pipeline.studies.olympics_entries import ENTRIES, Entry
from tnt_coffea.pipeline.studies.olympics_page import olympics_claims, olympics_tables
from tnt_coffea.pipeline.studies.olympics_published import ANSWERS, published_answers
from tnt_coffea.pipeline.studies.olympics_verdicts import false_claims, judged, pulls_of
from tnt_coffea.pipeline.studies.study import Study
from tnt_coffea.products import Histograms, Skim
from tnt_coffea.results import SearchResult
from tnt_coffea.testing import make_sample
from tnt_coffea.training import steps_of

ROOT = Path(__file__).parents[1]
QUIET = Resources(executor="iterative", progress=False)
NONE = Estimate(reason="no claim")
LOW = {"low-tau21": ENTRIES["low-tau21"]}


def answer(mass: float | None = None, *, events: float = 900.0) -> Answer:
    """Give the answer of a method, with a claim at a mass or without one."""
    claim = mass is not None
    numbers = (
        (Estimate(mass, 20.0), Estimate(700.0, 20.0), Estimate(380.0, 10.0), Estimate(events, 100))
        if claim
        else (NONE,) * 4
    )
    z, p_value = (4.0, 3e-5) if claim else (0.1, 0.46)
    return Answer(
        *(p_value, z, True, "asymptotic", 8, claim, "cwola-3500-4000", "0.01", "none", 5.0),
        *numbers,
    )


def key(model: SignalModel | None = SignalModel.TWO_PRONG) -> generator.Key:
    settings = GenerateSettings(
        background=1000,
        signal=0 if model is None else 834,
        model=model or SignalModel.TWO_PRONG,
        resonance_mass=3823,
        heavy_mass=732,
        light_mass=378,
    )
    return generator.Key(settings, 1, {}, 1000 + settings.signal, np.zeros(0, np.int64))


def numbers_of(answers: Mapping[str, Mapping[str, Any]], keys: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        box: {n: a.to_dict() if isinstance(a, Answer) else {"refused": a} for n, a in own.items()}
        for box, own in answers.items()
    }
    verdicts, truths = judged(values, keys)
    names = dict.fromkeys(name for own in answers.values() for name in own)
    return {
        "knowledge": dict.fromkeys(names, "none"),
        "left_out": {"paws": "simulated signals (--prior)"},
        "answers": values,
        "verdicts": verdicts,
        "truths": truths,
        "pulls": {},
        "sha256": "ab",
    }


ANSWERED = {
    "blackbox-1": {"near": answer(3800), "far": answer(4500), "no": answer(), "not": "few events"},
    "blackbox-2": {"near": answer(4600), "far": answer(), "no": answer(), "not": answer()},
    "blackbox-3": {"near": answer(), "far": answer(3900), "no": answer(), "not": answer()},
}
KEYS = {
    "blackbox-1": key(),
    "blackbox-2": key(None),
    "blackbox-3": key(SignalModel.GRAVITON),
}


def test_answers_are_judged_by_the_mass_and_the_box() -> None:
    numbers = numbers_of(ANSWERED, KEYS)
    words = {
        box: [one["verdict"] for one in own.values()] for box, own in numbers["verdicts"].items()
    }
    assert words == {
        "blackbox-1": ["found", "false", "nothing", "refused"],
        "blackbox-2": ["false", "nothing", "nothing", "nothing"],
        "blackbox-3": ["nothing", "found", "nothing", "nothing"],
    }
    pulls = numbers["verdicts"]["blackbox-1"]["near"]["pulls"]
    assert pulls == pytest.approx(
        {"resonance_mass": -1.15, "heavy_mass": -1.6, "light_mass": 0.2, "events": 0.66}
    )
    # The graviton's daughters are gluons: there is nothing to pull.
    assert set(numbers["verdicts"]["blackbox-3"]["far"]["pulls"]) == {"resonance_mass", "events"}
    verdicts = {claim.id: claim.verdict.value for claim in olympics_claims(numbers)}
    assert verdicts == {
        "box-1": "confirmed",
        "box-2": "refuted",
        "box-3": "confirmed",
        "pulls": "undecided",
    }


def test_without_keys_nothing_is_said_of_right_and_wrong() -> None:
    numbers = numbers_of(ANSWERED, dict.fromkeys(KEYS))
    words = {one["verdict"] for own in numbers["verdicts"].values() for one in own.values()}
    assert words == {"unknown", "nothing", "refused"}
    assert numbers["truths"] == {}
    assert {claim.verdict.value for claim in olympics_claims(numbers)} == {"undecided"}


def test_a_box_that_every_method_refused_says_nothing_of_a_claim() -> None:
    answers = {box: dict.fromkeys(own, "few events") for box, own in ANSWERED.items()}
    for keys, reason in ((KEYS, "no answer"), (dict.fromkeys(KEYS), "no key")):
        claims = [c for c in olympics_claims(numbers_of(answers, keys)) if c.id != "pulls"]
        assert {(claim.verdict.value, claim.ours) for claim in claims} == {("undecided", reason)}


def test_the_leaderboard_has_those_without_false_claims_first_and_2020_last() -> None:
    numbers = numbers_of(ANSWERED, KEYS)
    page = studies.leaderboard({"command": "tnt-coffea study olympics", "numbers": numbers})
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line][1:]
    names = [row.split(" | ")[0][2:] for row in rows]
    assert names[:5] == ["*truth*", "no", "not", "far", "near"]
    assert names[5] == "*Density estimation (GIS) (2020)*"
    assert "found, Z 4.0; pulls -1.1, -1.6, +0.2, +0.7" in page
    assert "false, Z 4.0, 4500 ± 20 GeV" in page
    assert "`ab`) before a key was read." in page
    assert "**p-values not calibrated for retraining: no table of null chains was given" in page
    again = {"command": "", "numbers": numbers | {"keys_were_read": True}}
    assert "`ab`) after an earlier run in this folder had read keys." in studies.leaderboard(again)
    tables = olympics_tables(numbers)
    assert tables[0].rows[-1][:2] == ("paws", "not run: needs simulated signals (--prior)")
    assert ("blackbox-2", "truth", "", "-", "-", "-", "0", "-") in tables[1].rows


def test_page_and_readme_are_written_from_the_study(tmp_path: Path) -> None:
    spec = spec_from_file_location("leaderboard_page", ROOT / "docs" / "leaderboard.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    study = {"command": "tnt-coffea study olympics", "numbers": numbers_of(ANSWERED, KEYS)}
    (tmp_path / "study.json").write_text(json.dumps(study))
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text())
    script.main(tmp_path / "study.json", tmp_path / "docs")
    page = (tmp_path / "docs" / "leaderboard.md").read_text()
    assert page == studies.leaderboard(study)
    text = readme.read_text()
    assert "| near | none | 1 | 1 |" in text
    assert text.startswith((ROOT / "README.md").read_text().partition(script.MARKS[0])[0])
    script.main(tmp_path / "study.json", tmp_path / "docs")
    assert readme.read_text() == text
    readme.write_text("nothing")
    with pytest.raises(SystemExit, match=r"README\.md: no"):
        script.main(tmp_path / "study.json", tmp_path / "docs")


def test_pulls_are_of_boxes_that_were_found() -> None:
    found, claim = injected((-2, -1, 1, 2))
    assert (found["boxes"], found["found"], found["false"]) == (5, 4, 0)
    assert found["pulls"]["resonance_mass"]["mean"] == pytest.approx(0)
    assert found["pulls"]["events"]["sd"] == pytest.approx(np.std([-2, -1, 1, 2], ddof=1))
    assert "events 0.00 ± 1.83 (4)" in claim.ours
    assert claim.reason == "4 injected boxes were found"


def injected(pulls: Sequence[float]) -> tuple[dict[str, Any], studies.Claim]:
    """Boxes found with these pulls of mass and events, and one not found; what the study says."""
    keys = {f"injected-{i:02d}": key() for i in range(len(pulls) + 1)}
    answers = [answer(3823 + 20 * x, events=834 + 100 * x) for x in pulls] + [answer()]
    values = {box: {"cwola": one.to_dict()} for box, one in zip(keys, answers, strict=True)}
    for one in values.values():  # the daughters' pulls are 0 in all: of the others is the verdict
        one["cwola"]["heavy_mass"] = one["cwola"]["light_mass"] = NONE.to_dict()
    found = pulls_of(judged(values, keys)[0])
    numbers = numbers_of({}, {}) | {"pulls": found}
    return found, next(one for one in olympics_claims(numbers) if one.id == "pulls")


def test_pulls_of_fewer_than_twenty_boxes_decide_nothing() -> None:
    right, wide = (-1, 1) * 10, (-4, 4) * 10
    for pulls, verdict in (
        (wide[:4], "undecided"),
        (wide[:19], "undecided"),
        (wide, "refuted"),
        (right[:19], "undecided"),
        (right, "confirmed"),
    ):
        assert injected(pulls)[1].verdict.value == verdict, pulls
    assert injected(right)[1].reason == ""


def test_published_answers_name_their_section_and_keep_the_rule_of_the_paper() -> None:
    assert all(one.section for one in ANSWERS)
    first = published_answers("blackbox-1", blind=True)
    assert len(first) == 9  # "nine blind approaches were submitted"
    assert sum(one.verdict == "found" for one in first) == 4
    for one in first:
        if one.mass is not None:
            assert (abs(one.mass[0] - 3823) <= 200) == (one.verdict == "found")


def test_a_method_of_others_enters_with_one_line() -> None:
    mine = Entry({"kind": "event_norm"}, observables=("d2",))
    entries = {**LOW, "mine": mine}
    settings = olympics_entries.skim_settings(entries)
    assert "d2" in settings["observables"]
    config = olympics_entries.configured("mine", mine, "m_jj", settings, seed=1)
    assert olympics_entries.knowledge(config) == "none"
    assert olympics_entries.missing(config, simulation=False, priors=False) == ""
    for name, entry in ENTRIES.items():
        config = olympics_entries.configured(name, entry, "m_jj", settings, seed=1)
        known = olympics_entries.knowledge(config)
        reason = olympics_entries.missing(config, simulation=False, priors=False)
        # QUAK goes without priors, too.
        assert bool(reason) == (known != "none" and name != "quak"), name
    with pytest.raises(ConfigError, match="no entry is called theirs; known ones are low-tau21"):
        olympics_entries.entries_named(["theirs"], LOW)


def test_who_is_slow_takes_part_only_by_name() -> None:
    slow = Entry({"kind": "vrnn"}, skim={"aligned": 20}, by_default=False)
    entries = {**LOW, "slow": slow}
    assert list(olympics_entries.entries_named((), entries)) == ["low-tau21"]
    assert list(olympics_entries.entries_named(["slow"], entries)) == ["slow"]
    # What it alone reads is not skimmed for the others.
    default = olympics_entries.entries_named((), entries)
    assert "aligned" in olympics_entries.skim_settings(entries)
    assert "aligned" not in olympics_entries.skim_settings(default)


def test_simulation_and_priors_are_generated_for_generated_boxes(
    events_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie beside every box in a role of their own, and methods find all that they read."""
    asked = []

    def made(pools: Any, **given: Any) -> Any:
        asked.append({name: pool.at(given["scale"]) for name, pool in pools.items()})
        raise KeyboardInterrupt

    monkeypatch.setattr(olympics_study, "_files", lambda *_: {"blackbox-1": events_file})
    monkeypatch.setattr(olympics_study, "generated", made)
    with pytest.raises(KeyboardInterrupt):
        studies.olympics(out=tmp_path, scale=0.05, methods=["paws"], resources=QUIET)
    sizes = {"simulation": 20_000}
    sizes |= {f"prior:x500-y100-{prongs}prong": 2000 for prongs in (2, 3)}
    assert asked == [sizes]
    config = olympics_entries.configured("paws", ENTRIES["paws"], "m_jj", {}, seed=1)
    (paws,) = (step.method for wave in steps_of(config) for step in wave[:1])
    paws.check_priors([prior_name(role) for role in sizes if role != "simulation"])
    with pytest.raises(ConfigError, match="no method can search: paws needs simulated signals"):
        studies.olympics(
            out=tmp_path, scale=0.05, methods=["paws"], simulation=["mine.h5"], resources=QUIET
        )
    folders = [
        olympics_study._skim_folder(tmp_path, "one", events_file, {"images": None}, beside)
        for beside in ((), sizes)
    ]
    assert folders[0] != folders[1]
    given = []
    monkeypatch.setattr(olympics_study, "skim", lambda fileset, *_, **__: given.append(fileset))
    beside = {"prior:one": [shutil.copy(events_file, tmp_path / "one.h5")]}
    olympics_study._skimmed(events_file, {"images": None}, beside, folders[0], QUIET)
    assert {name: given[0].role(name) for name in given[0].files} == {
        "data": "data",
        "prior-one": "prior:one",
    }


def test_methods_that_others_build_on_are_left_out_in_every_window() -> None:
    tag = {"kind": "tag_n_train", "after": "first", "classifier": {"network": "trees"}}
    entry = Entry(tag, {"first": {"kind": "cwola", "classifier": {"network": "trees"}}})
    settings = olympics_entries.skim_settings({"mine": entry})
    config = olympics_entries.configured("mine", entry, "m_jj", settings, seed=1)
    left_out = olympics_search._sets_of(["first"], config)
    every = {step.set_name for wave in steps_of(config) for step in wave}
    assert len(left_out) == 4
    assert {name.partition("-")[0] for name in every - left_out} == {"mine"}


def test_an_edited_entry_is_trained_again_in_its_folder(tmp_path: Path) -> None:
    sample = make_sample(100)
    for feature in ("tau21", "mass"):
        text = f"train: {{methods: {{mine: {{kind: feature, feature: {feature}}}}}}}"
        config = SearchConfig.from_text(text)
        made = train(sample, config, out=tmp_path, resources=olympics_search._QUIET)
        assert "heavy_" + feature in str(made.sets["mine"].members[0].tagger.card.inputs)


def test_answers_of_earlier_runs_are_trials_and_stay_on_the_board(tmp_path: Path) -> None:
    study = Study("olympics", tmp_path, {})
    (study.folder / "trainings").mkdir(parents=True)
    outcome = {"answers": {"m_jj": {"answer": answer(3800).to_dict()}}}
    for name in ("box--cwola", "box--own--one", "box-2--pca", "box--gis", "injected-01--gis"):
        whole = {"key": "k", "cpu_seconds": 1.0, "digest": digest(outcome), "outcome": outcome}
        kept = json.dumps(whole)
        (study.folder / "trainings" / f"{name}.json").write_text(kept)
    earlier = olympics_study._earlier(study, {"box", "injected-01"}, {"cwola", "pca"})
    assert earlier == {"box": {"gis": outcome, "own--one": outcome}}
    (study.folder / "trainings" / "box--gis.json").write_text(kept.replace("3800", "3900"))
    lost = olympics_study._earlier(study, {"box"}, {"cwola"})["box"]["gis"]
    assert olympics_study._values(lost, 3) == {"refused": "m_jj: box--gis.json is damaged"}
    said = olympics_study._values(outcome, 3)
    assert (said["tried"], said["p_value"]) == (24, pytest.approx(9e-5))
    taking_part = {"pca": olympics_entries.ENTRIES["pca"]}
    skim = olympics_entries.skim_settings(taking_part)
    known = olympics_study._knowledge(taking_part, earlier, None, skim, 1)
    assert known == {"pca": "none", "gis": "none", "own--one": "not given again"}
    numbers = numbers_of({"box": {"gis": Answer.from_dict(said)}}, {"box": None})
    row = "| gis | none | 0 | 0 | unknown, Z "
    assert row in studies.leaderboard({"command": "", "numbers": numbers})


def test_a_key_of_other_events_or_of_two_boxes_is_refused(tmp_path: Path) -> None:
    dijets = Skim.from_sample(make_sample(30))
    file = tmp_path / "events.h5"
    assert olympics_study._key(file, dijets) is None
    rows = np.arange(3)
    write_key(tmp_path / generator.KEY, generator.Key(GenerateSettings(), 1, {}, 400, rows))
    with pytest.raises(ConfigError, match=r"key of 400 events, and events\.h5 has 30"):
        olympics_study._key(file, dijets)
    write_key(tmp_path / generator.KEY, generator.Key(GenerateSettings(), 1, {}, 30, rows))
    assert olympics_study._key(file, dijets).events == 30
    with pytest.raises(ConfigError, match=r"key\.json: lies beside both one and two"):
        studies.olympics({"one": file, "two": tmp_path / "others.h5"}, out=tmp_path / "out")
    assert not (tmp_path / "out" / "olympics").exists()


def test_another_scale_is_refused_before_events_are_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a study that was killed while it generated is that study's, too."""
    generated = []

    def killed(config: Any, **_: Any) -> Any:
        generated.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(olympics_study, "generate", killed)
    asked = {"out": tmp_path, "methods": ["low-tau21"], "resources": QUIET}
    for _ in range(2):  # the same study goes on
        with pytest.raises(KeyboardInterrupt):
            studies.olympics(scale=0.001, **asked)
    with pytest.raises(StageError, match=r"/olympics: .*scale: 0\.001 there, 0\.002 now"):
        studies.olympics(scale=0.002, **asked)
    with pytest.raises(StageError, match="seed: 1 there, 2 now"):
        studies.olympics(scale=0.001, seed=2, **asked)
    assert len(generated) == 2


def test_boxes_keep_s_over_sqrt_b_and_hide_their_truth() -> None:
    for name, signal in (("blackbox-1", 186), ("blackbox-2", 0), ("blackbox-3", 716)):
        made = olympics_entries.box_settings(name, 0.05)
        assert (made.background + made.signal, made.signal, made.hidden) == (50_000, signal, True)
    drawn = olympics_entries.box_settings("blind-1", 0.05)
    assert (drawn.background, drawn.blind) == (50_000, True)
    known = olympics_entries.injected_settings(3, seed=1)
    assert known != olympics_entries.injected_settings(4, seed=1)
    assert known.hidden


@pytest.fixture(scope="module")
def box(events_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with 150 of 500 events signal at 3.5 TeV, whose key is not there."""
    return Path(shutil.copy(events_file, tmp_path_factory.mktemp("box") / "events.h5"))


@pytest.fixture(scope="module")
def studied(box: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies")
    studies.olympics({"mine": box}, out=out, entries=LOW, simulated=0, resources=QUIET)
    return out / "olympics"


def times(folder: Path, pattern: str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob(pattern)}


def test_a_box_without_its_key_ends_with_answers(studied: Path) -> None:
    values = json.loads((studied / "study.json").read_text())
    committed = json.loads((studied / "answers.json").read_text())
    sha256 = committed.pop("sha256")
    assert sha256 == digest(committed) == values["numbers"]["sha256"]
    assert values["numbers"]["truths"] == {}
    said = Answer.from_dict(committed["answers"]["mine"]["low-tau21"])
    assert said.claim
    limit = values["numbers"]["limits"]["mine"]["low-tau21"]["m_jj"]
    assert abs(limit["mass"] - 3500) <= 200
    assert limit["observed"] > 150  # as many signal events are in it
    assert values["numbers"]["verdicts"]["mine"]["low-tau21"]["verdict"] == "unknown"
    for name in ("study.md", "leaderboard.md", "verdicts.png", "answers-mine.png"):
        assert (studied / name).stat().st_size > 0, name
    assert max(path.stat().st_size for path in studied.glob("*.json")) < 300_000


def test_the_command_commits_to_settings_and_answer(studied: Path, tmp_path: Path) -> None:
    """A search of the study is one like any other: the command gives its answer again."""
    search = studied.parent / "olympics-searches" / "mine" / "low-tau21" / "m_jj"
    (skim,) = (studied.parent / "olympics-boxes").glob("mine-dijets-*/skim")
    out = Path(shutil.copytree(search, tmp_path / "search"))
    words = ["answer", "--out", str(out), "--skim", str(skim), "--events", "0"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    values = json.loads((out / "answer" / "answer.json").read_text())
    sha256 = values.pop("sha256")
    assert sha256 == digest(values)
    assert sha256 in done.output
    said = Answer.from_dict(values["answer"])
    assert said.summary() in done.output
    assert values["settings"] == SearchConfig.from_yaml(out / "config.yaml").model_dump(mode="json")
    committed = json.loads((studied / "answers.json").read_text())
    assert values["answer"] == committed["answers"]["mine"]["low-tau21"]


def test_answers_stand_before_the_key_is_read_and_nothing_is_trained_again(
    studied: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = studied.parent / "olympics-searches"
    before = times(searches, "*.onnx") | times(studied / "trainings", "*.json")
    assert before
    committed = (studied / "answers.json").read_bytes()
    settings = GenerateSettings(background=350, signal=150, hidden=True)
    rows = np.arange(150)
    write_key(box.with_name(generator.KEY), generator.Key(settings, 1, {}, 500, rows))
    # Killed before the summary: the answers are made again from what was kept, then judged.
    for name in ("manifest.json", "study.json", "answers.json"):
        (studied / name).unlink()
    read = generator.read_key

    def watched(path: Path) -> generator.Key:
        assert (studied / "answers.json").read_bytes() == committed
        return read(path)

    monkeypatch.setattr(olympics_study.generator, "read_key", watched)
    found = studies.olympics(
        {"mine": box}, out=studied.parent, entries=LOW, simulated=0, resources=QUIET
    )
    assert found.numbers["truths"]["mine"]["signal"] == 150
    assert (found.numbers["tried"], found.numbers["keys_were_read"]) == ({"mine": 1}, False)
    assert "before any key was read" in found.notes[0]
    # A later run in this folder has to say that these keys are known.
    assert olympics_study._keys_were_read(Study("olympics", studied.parent, {}))
    later = olympics_study._notes({**found.numbers, "keys_were_read": True}, None)
    assert "an earlier run in this folder has read the keys" in later[0]
    assert found.numbers["verdicts"]["mine"]["low-tau21"]["verdict"] == "found"
    assert times(searches, "*.onnx") | times(studied / "trainings", "*.json") == before


def test_what_nobody_can_do_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for given, message in (
        ({"scale": 20}, "scale of the Olympics is 20"),
        ({"pulls": -1}, "pulls of the Olympics is -1"),
        (
            {"boxes": {"mine": "x.h5"}, "methods": ["paws"]},
            "no method can search: paws needs simulated signals",
        ),
        ({"boxes": {"injected-1": "x.h5"}}, "cannot name a box"),
        ({"boxes": {"one--two": "x.h5"}}, "cannot name a box"),
        ({"boxes": {}}, "no box is given"),
    ):
        with pytest.raises(ConfigError, match=message):
            studies.olympics(out=tmp_path, resources=QUIET, **given)
    done = CliRunner().invoke(main, ["study", "olympics", "--out", str(tmp_path), "--box", "x.h5"])
    assert done.exit_code == 2
    assert "write NAME=FILE" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_box_without_a_resonance_has_the_rate_of_false_claims_beside_it() -> None:
    keys = {f"null-{i:02d}": key(None) for i in range(4)}
    answers = (answer(), answer(3800), answer(), "few events")
    verdicts = judged(
        numbers_of({b: {"cwola": a} for b, a in zip(keys, answers, strict=True)}, {})["answers"],
        keys,
    )[0]
    found = false_claims(verdicts)
    # Three were answered; 1 of 3 is as rare as 5 % at a rate of 0.86.
    assert found == {"cwola": {"boxes": 3, "false": 1, "at_most": 0.865}}
    for nulls, text in (
        (found, "cwola alone 1 of 3, a rate of at most 0.86 (95 %)"),
        ({}, "not run"),
    ):
        numbers = numbers_of(ANSWERED, KEYS) | {"nulls": nulls}
        claims = {claim.id: claim for claim in olympics_claims(numbers)}
        assert text in claims["box-2"].reason


def test_a_box_that_nobody_finds_has_a_number() -> None:
    limits = {
        "m_jj": {"mass": 4200.0, "observed": 812.4, "expected": 700.0},
        "m_jjj": {"reason": "too few events"},
    }
    nothing = {"blackbox-3": {"best": answer(), "other": "few events"}}
    numbers = numbers_of(nothing, KEYS) | {"limits": {"blackbox-3": {"best": limits}}}
    claim = next(one for one in olympics_claims(numbers) if one.id == "box-3")
    assert claim.verdict.value == "refuted"
    assert "at most (95 % CL, best): 812 (expected 700) of a peak in m_jj at 4200 GeV" in claim.ours
    assert "m_jjj: none (too few events)" in claim.ours
    assert "all dijets" in claim.reason


@pytest.mark.slow
def test_null_chains_of_a_method_calibrate_its_answers(
    studied: Path, box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table made with the settings of the search goes through the study to answer and page."""
    out = tmp_path / "studies"
    shutil.copytree(studied.parent, out)
    search = studied.parent / "olympics-searches" / "mine" / "low-tau21" / "m_jj"
    config = SearchConfig.from_yaml(search / "config.yaml")
    histograms, result = Histograms.load(search / "search"), SearchResult.load(search / "fit")
    selections = {BEFORE: (BEFORE, None), **all_selections(histograms, config, every=True)}
    names = list(dict(global_p_values._hunts(result, config, selections)))
    rng = np.random.default_rng(1)
    # Chains have the tagger set's hunt too, which this box has too few events for.
    q0 = {name: tuple(rng.chisquare(1, 150)) for name in (*names, "low-tau21")}
    table = tmp_path / "chains.json"
    NullChains(q0, decisive_settings(config)).save(table)
    monkeypatch.setattr(olympics_entries, "ENTRIES", LOW)
    words = ["study", "olympics", "--out", str(out), "--box", f"mine={box}", "--simulated", "0"]
    words += ["--workers", "1", "--quiet", "--null-chains", f"low-tau21={table}"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    before, after = (
        json.loads((folder / "answers.json").read_text())["answers"]["mine"]["low-tau21"]
        for folder in (studied, out / "olympics")
    )
    assert "null chains)" not in before["calibration"]
    assert "null chains)" in after["calibration"]
    # No chain is as significant, and so few tell no tail.
    assert after["p_value"] == pytest.approx(1 / 151)
    assert before["p_value"] < 1 / 151
    for folder, text in (
        (studied, "p-values not calibrated for retraining: no table"),
        (out / "olympics", "p-values not calibrated for retraining, but those of low-tau21"),
    ):
        for page in ("study.md", "leaderboard.md"):
            assert text in (folder / page).read_text()


@pytest.mark.slow
def test_the_truth_of_a_file_changes_no_answer(studied: Path, box: Path, tmp_path: Path) -> None:
    shuffled = Path(shutil.copy(box, tmp_path / "events.h5"))
    with h5py.File(shuffled, "r+") as file:
        label = file["events"][:, -1]
        file["events"][:, -1] = np.random.default_rng(3).permutation(label)
    studies.olympics({"mine": shuffled}, out=tmp_path, entries=LOW, simulated=0, resources=QUIET)
    answers = (tmp_path / "olympics" / "answers.json").read_bytes()
    assert answers == (studied / "answers.json").read_bytes()
    taggers, spectra = [], []
    for out in (studied.parent, tmp_path):
        search = out / "olympics-searches" / "mine" / "low-tau21" / "m_jj"
        taggers.append([path.read_bytes() for path in sorted(search.rglob("*.onnx"))])
        spectra.append(Histograms.load(search / "search").hists)
    assert taggers[0]
    assert taggers[0] == taggers[1]
    assert spectra[0].keys() == spectra[1].keys()
    assert all(spectra[0][name] == spectra[1][name] for name in spectra[0])


@pytest.mark.slow
def test_a_trained_method_searches_in_both_masses(box: Path, tmp_path: Path) -> None:
    """Its better answer counts, times two."""
    columns = ENTRIES["pca"].observables
    entry = Entry({"kind": "pca"}, variables=("m_jj", "m_jjj"), observables=columns)
    studies.olympics(
        {"mine": box}, out=tmp_path, entries={"pca": entry}, simulated=0, resources=QUIET
    )
    folder = tmp_path / "olympics"
    kept = json.loads((folder / "trainings" / "mine--pca.json").read_text())["outcome"]["answers"]
    p_values = {variable: one["answer"]["p_value"] for variable, one in kept.items()}
    assert set(p_values) == {"m_jj", "m_jjj"}
    assert p_values["m_jj"] != p_values["m_jjj"]
    said = json.loads((folder / "answers.json").read_text())["answers"]["mine"]["pca"]
    assert said["p_value"] == pytest.approx(min(1, 2 * min(p_values.values())))
    searches = tmp_path / "olympics-searches" / "mine" / "pca"
    trained = {variable: times(searches / variable, "*.onnx") for variable in kept}
    assert [len(own) for own in trained.values()] == [5, 5]


@pytest.mark.slow
def test_a_further_method_searches_alone(studied: Path, box: Path) -> None:
    before = times(studied / "trainings", "*.json")
    entries = {"mine": Entry({"kind": "event_norm"})}
    found = studies.olympics(
        {"mine": box}, out=studied.parent, entries=entries, simulated=0, resources=QUIET
    )
    after = times(studied / "trainings", "*.json")
    assert before.items() < after.items()
    assert set(found.numbers["answers"]["mine"]) == {"mine"}
    assert found.numbers["answers"]["mine"]["mine"]["tried"] == 2  # low-tau21 was tried before


@pytest.mark.slow
def test_generated_boxes_from_events_to_pulls(tmp_path: Path) -> None:
    found = studies.olympics(
        out=tmp_path, scale=0.0005, methods=["low-tau21"], simulated=20, resources=QUIET
    )
    assert set(found.numbers["truths"]) == set(olympics_entries.BOXES)
    assert found.numbers["truths"]["blackbox-2"]["signal"] == 0
    assert found.numbers["truths"]["blackbox-1"]["signal"] == 19
    page = (tmp_path / "olympics" / "study.md").read_text()
    assert "S/sqrt(B) is that of the Olympics" in page


def counted(answers: dict[str, Any], kind: str, key: str) -> int:
    """Return in how many boxes of a kind the answer has a number, or a claim."""
    return sum(
        one["low-tau21"].get(key, False) is not False
        for box, one in answers.items()
        if box.startswith(kind)
    )


@pytest.mark.slow
def test_boxes_of_known_truth_are_searched_as_any_other(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(olympics_entries, "_INJECTED", 500)
    monkeypatch.setattr(olympics_entries, "_SHARE", 0.3)
    found = studies.olympics(
        {"mine": box}, out=tmp_path, entries=LOW, pulls=2, nulls=1, simulated=20, resources=QUIET
    )
    answers = json.loads((tmp_path / "olympics" / "answers.json").read_text())["answers"]
    assert set(answers) == {"mine", "injected-01", "injected-02", "null-01"}
    assert found.numbers["nulls"]["low-tau21"]["boxes"] == counted(answers, "null", "p_value")
    assert set(found.numbers["answers"]) == {"mine"}
    pulls = found.numbers["pulls"]
    assert pulls["boxes"] == 2
    assert pulls["found"] + pulls["false"] == counted(answers, "injected", "claim")
    claim = next(one for one in found.claims if one.id == "pulls")
    assert claim.verdict.value == "undecided"
    page = (tmp_path / "olympics" / "study.md").read_text()
    assert ("Pulls of 2 injected boxes" in page) == bool(pulls["pulls"])
