"""Training runs in their order: who trains on what, who labels whom, and what is run again."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import FoldSettings, SearchConfig
from tnt_coffea.errors import ConfigError, LeakError, TaggerError, TrainingError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import altered, make_sample, one_by_one
from tnt_coffea.training import Schedule, cross_validate, cross_validation_plans, run_task
from tnt_coffea.training.classifiers import Convolutional
from tnt_coffea.training.folds import WHOLE
from tnt_coffea.training.labels import OTHER_JET, Labeller
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.cwola import CwolaPerJet
from tnt_coffea.training.methods.feature import EventFeature

from .conftest import AUTOENCODER_AND_TNT, FIRST, TREES, config_for, cwola, shas, tnt


def digests(outcomes):
    return {(item.scored, item.left_out, item.scope): item.sha256 for item in outcomes}


def task_for(schedule, wave=0, *, scored=0, left_out=0, scope="heavy", **changes):
    place = (scored, left_out, scope)
    found = next(
        task
        for task in schedule.tasks(schedule.waves[wave])
        if (task.plan.scored, task.left_out, task.scope) == place
    )
    return replace(found, **changes)


def no_task(tasks, function):
    raise AssertionError


def card_of(outcome):
    return Tagger.from_file(outcome.path).card


def with_method(config, name, method):
    methods = {**config.train.methods, name: method}
    return config.model_copy(update={"train": config.train.model_copy(update={"methods": methods})})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An autoencoder and Tag N' Train: sample, configuration, taggers, skim, their folder."""
    folder = tmp_path_factory.mktemp("trained")
    sample, config = make_sample(), config_for(AUTOENCODER_AND_TNT)
    write_part(folder / "part0.parquet", sample)
    sets = cross_validate([folder / "part0.parquet"], config, one_by_one, folder / "parts")
    return sample, config, sets, [folder / "part0.parquet"], folder / "parts"


@pytest.fixture
def schedule(trained, tmp_path):
    """The same search in a new folder, none of it run."""
    _, config, _, skim, _ = trained
    return Schedule.planned(skim, config, tmp_path / "parts")


def test_every_fold_jet_and_inner_fold_has_its_tagger(trained):
    _, _, sets, *_ = trained
    places = [(t, a, jet) for t in (0, 1) for jet in ("heavy", "light") for a in (0, 1)]
    for name in ("autoencoder", "tnt"):
        assert [(item.scored, item.left_out, item.scope) for item in sets[name]] == places
        assert {item.set_name for item in sets[name]} == {name}
        assert len(set(digests(sets[name]).values())) == 8


def test_cards_name_folds_ancestors_and_labellers(trained):
    sample, config, sets, *_ = trained
    autoencoders = digests(sets["autoencoder"])
    for item in sets["tnt"]:
        card = card_of(item)
        assert (card.method, card.scope) == ("tag_n_train", item.scope)
        assert [each.kind for each in card.inputs] == ["columns"]
        assert card.direct == card.ancestors == (1 - item.scored,)
        assert card.skim == sample.settings
        assert (card.window, card.uses_truth) == (config.search.window, False)
        labeller = autoencoders[item.scored, 1 - item.left_out, OTHER_JET[item.scope]]
        assert card.labelled_by == (labeller,)
        assert set(card.versions) == {"numpy", "onnx"}
        assert (card.knowledge, card.orientation) == ("none", "probability of signal-rich")
        assert card.place["round"] == 1
    for item in sets["autoencoder"]:
        assert (card_of(item).labelled_by, card_of(item).window) == ((), None)


def test_scored_fold_truth_and_files_change_nothing(trained, write_skim, tmp_path):
    sample, config, sets, *_ = trained
    scored = fold_of(sample.event_id, 2, config.seed) == 0
    rng = np.random.default_rng(1)
    changed = altered(sample, scored)
    changed = replace(
        changed,
        label=rng.permutation(sample.label),
        columns=dict(changed.columns) | {"m_jj": np.where(scored, 3500.0, sample.m_jj)},
    )
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    skim = write_skim(changed.select(rng.permutation(len(changed))), parts=3)
    again = cross_validate(skim, config, one_by_one, tmp_path / "again", plans)
    for name in ("autoencoder", "tnt"):
        before = {k: v for k, v in digests(sets[name]).items() if k[0] == 0}
        assert digests(again[name]) == before


def test_a_fold_that_trains_does_change_taggers(trained, write_skim, tmp_path):
    # The canary of the test above: the same change, seen by the plan that trains on fold 0.
    sample, config, sets, *_ = trained
    changed = altered(sample, fold_of(sample.event_id, 2, config.seed) == 0)
    plans = cross_validation_plans(config.train.folds, config.seed)[1:]
    again = cross_validate(write_skim(changed), config, one_by_one, tmp_path / "again", plans)
    for name in ("autoencoder", "tnt"):
        before, after = digests(sets[name]), digests(again[name])
        assert len(after) == 4
        assert all(sha != before[place] for place, sha in after.items())


def test_second_iteration_is_labelled_by_the_first_alone(trained):
    _, config, sets, skim, folder = trained
    stages = []

    def run_tasks(tasks, function):
        stages.append([function(task) for task in tasks])
        return stages[-1][::-1]

    config = with_method(config, "tnt2", tnt("tnt", signal_rich=0.2))
    last = cross_validate(skim, config, run_tasks, folder)["tnt2"]
    autoencoders, first, second = map(digests, stages)
    assert digests(last) == second
    assert (autoencoders, first) == (digests(sets["autoencoder"]), digests(sets["tnt"]))
    for item in last:
        card = card_of(item)
        assert card.labelled_by == (first[item.scored, 1 - item.left_out, OTHER_JET[item.scope]],)
        assert (card.place["round"], card.settings["after"]) == (2, "tnt")


@pytest.mark.slow
def test_two_methods_of_each_kind_share_a_search(trained):
    _, config, sets, skim, folder = trained
    config = with_method(config, "small", Autoencoder(latent=2))
    config = with_method(config, "tnt_small", tnt("small"))
    found = cross_validate(skim, config, one_by_one, folder)
    assert list(found) == ["autoencoder", "tnt", "small", "tnt_small"]
    assert all(found[name] == sets[name] for name in sets)
    for name, first in (("tnt", "autoencoder"), ("tnt_small", "small")):
        labellers = {sha for item in found[name] for sha in card_of(item).labelled_by}
        assert labellers == set(digests(found[first]).values())
    assert not set(digests(found["tnt"]).values()) & set(digests(found["tnt_small"]).values())


@pytest.mark.slow
def test_a_changed_setting_trains_a_method_again_and_what_builds_on_it(trained):
    _, config, _, skim, folder = trained
    config = with_method(config, "tnt2", tnt("tnt"))
    config = with_method(config, "hunt", cwola())

    def keys(config):
        done = Schedule.planned(skim, config, folder)
        of_method = {}
        for wave in done.waves:
            for task in done.tasks(wave):
                of_method.setdefault(task.name, set()).add(task.key)
            done.finish(wave, one_by_one)
        return of_method

    before = keys(config)
    for name, method, changed in (
        ("autoencoder", Autoencoder(latent=3), {"autoencoder", "tnt", "tnt2"}),
        ("tnt", tnt("autoencoder", signal_rich=0.25), {"tnt", "tnt2"}),
        ("hunt", cwola(sideband=0.8), {"hunt"}),
    ):
        after = keys(with_method(config, name, method))
        assert {each for each in before if not before[each] & after[each]} == changed
        assert {each for each in before if before[each] == after[each]} == set(before) - changed


@pytest.mark.parametrize(("mode", "scored"), [("cross_validation", (0, 1)), ("prequential", (1,))])
def test_a_method_that_labels_nothing_trains_once_a_fold(
    trained, write_skim, tmp_path, mode, scored
):
    sample, *_ = trained
    config = config_for({"hunt": cwola(), "jets": CwolaPerJet(classifier=TREES)}, mode=mode)
    planned = Schedule.planned(write_skim(sample), config, tmp_path)
    (wave,) = planned.waves
    places = {(task.name, task.plan.scored, task.left_out) for task in planned.tasks(wave)}
    assert places == {(name, t, WHOLE) for name in ("hunt", "jets") for t in scored}
    # What labels others leaves out each inner fold.
    built = config_for({"jets": CwolaPerJet(classifier=TREES), "tnt": tnt("jets")})
    first, second = Schedule.planned(planned.parts, built, tmp_path).waves
    assert (first[0].inner, second[0].inner) == (True, True)


def test_a_method_without_data_trains_once_for_all_folds(trained, train):
    sample, *_ = trained
    found = train(sample, config_for({"first": FIRST, "tnt": tnt()}))
    assert [(item.scored, item.scope, item.left_out) for item in found["first"]] == [
        (t, jet, WHOLE) for t in (0, 1) for jet in ("heavy", "light")
    ]
    assert len(set(digests(found["first"]).values())) == 2
    card = card_of(found["first"][0])
    assert (card.direct, card.ancestors, card.training_sample) == ((), (), "")
    assert card_of(found["tnt"][0]).labelled_by == (found["first"][1].sha256,)


def test_an_autoencoder_never_sees_the_inner_fold_it_labels(trained, write_skim, tmp_path):
    sample, config, sets, *_ = trained
    plan = cross_validation_plans(config.train.folds, config.seed)[0]
    changed = write_skim(altered(sample, plan.inner_of(sample.event_id) == 0))
    again, before = Schedule.planned(changed, config, tmp_path), digests(sets["autoencoder"])
    for left_out, same in ((0, True), (1, False)):
        outcome = run_task(task_for(again, left_out=left_out))
        assert (outcome.sha256 == before[0, left_out, "heavy"]) is same


@pytest.fixture
def tnt_task(trained, tmp_path):
    """The heavy-jet task of fold 0 without inner fold 0, and what may or may not label for it."""
    _, config, sets, skim, folder = trained
    planned = Schedule.planned(skim, config, folder)
    planned.finish(planned.waves[0], one_by_one)
    taggers = {(item.scored, item.left_out, item.scope): item for item in sets["autoencoder"]}
    return task_for(planned, 1, folder=str(tmp_path / "parts")), taggers


def labeller(outcome, inner, scope="light"):
    return Labeller("autoencoder", scope, inner, outcome.path, outcome.sha256)


def test_planted_leaks_are_refused(tnt_task):
    task, taggers = tnt_task
    assert task.labellers == (labeller(taggers[0, 1, "light"], 1),)
    # The light-jet autoencoder without inner fold 0 was trained on inner fold 1.
    for message, leak in {
        "trained on inner fold 1": labeller(taggers[0, 0, "light"], 1),
        "scope heavy, expected light": labeller(taggers[0, 1, "heavy"], 1),
        r"ancestors in folds \[0\]": labeller(taggers[1, 1, "light"], 1),
    }.items():
        with pytest.raises(LeakError, match=message):
            run_task(replace(task, labellers=(leak,)))


def test_every_inner_fold_needs_its_labeller(tnt_task):
    task, taggers = tnt_task
    wrong = (labeller(taggers[0, 0, "light"], 0),)
    with pytest.raises(TrainingError, match="labellers for inner folds"):
        run_task(replace(task, labellers=wrong))
    twice = tuple(labeller(taggers[0, a, "light"], 1) for a in (0, 1))
    with pytest.raises(TrainingError, match="labellers for inner folds"):
        run_task(replace(task, labellers=twice))
    with pytest.raises(TrainingError, match="name them in `needs`"):
        run_task(replace(task, labellers=()))


def test_a_labeller_that_changed_is_refused(tnt_task, tmp_path):
    task, taggers = tnt_task
    path = tmp_path / "changed.onnx"
    path.write_bytes(Path(taggers[0, 0, "light"].path).read_bytes())
    with pytest.raises(TaggerError, match="SHA-256"):
        run_task(replace(task, labellers=(replace(task.labellers[0], path=str(path)),)))


def test_labellers_of_the_wrong_round_are_refused_in_split_mode(trained, write_skim, tmp_path):
    sample, *_ = trained
    config = config_for(AUTOENCODER_AND_TNT, mode="split", outer=3)
    planned = Schedule.planned(write_skim(sample), config, tmp_path / "parts")
    for wave in planned.waves:
        planned.finish(wave, one_by_one)
    task = task_for(planned, 1, scored=2, left_out=WHOLE, folder=str(tmp_path / "again"))
    later = next(item for item in planned.sets()["tnt"] if item.scope == "light")
    leak = Labeller("autoencoder", "light", 1, later.path, later.sha256)
    # The classifier of this very fold may not label it.
    with pytest.raises(LeakError, match="must not label"):
        run_task(replace(task, labellers=(leak,)))


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(trained, tnt_task, tmp_path):
    sample, *_ = trained
    task, _ = tnt_task
    paper = Convolutional(epochs=8, optimizer={"batch": 32, "learning_rate": 3e-3})
    task = replace(task, method=tnt("autoencoder", classifier=paper))
    here = run_task(task)
    tagger = Tagger.from_file(here.path)
    assert set(tagger.card.versions) == {"keras", "numpy", "onnx", "tensorflow", "tf2onnx"}
    raw, signal = tagger.score(sample.images("heavy")), sample.label == 1
    assert (raw[signal][:, None] > raw[~signal]).mean() > 0.7
    (tmp_path / "task").write_bytes(pickle.dumps(replace(task, folder=str(tmp_path / "there"))))
    code = (
        "import pickle, sys; from pathlib import Path; from tnt_coffea.training import run_task; "
        "print(run_task(pickle.loads(Path(sys.argv[1]).read_bytes())).sha256)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "task")]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here.sha256
    assert pickle.loads(pickle.dumps(here)) == here


def test_finished_training_runs_are_not_repeated(trained, tmp_path):
    _, config, sets, skim, _ = trained
    folder = tmp_path / "parts"
    assert shas(cross_validate(skim, config, one_by_one, folder)) == shas(sets)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    assert shas(cross_validate(skim, config, one_by_one, folder)) == shas(sets)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # 8 autoencoders, 8 classifiers, a history beside each; no partial file.
    assert len(before) == 32


@pytest.mark.parametrize("damage", ["no history", "half a history", "half a tagger"])
def test_a_killed_training_run_is_made_again(schedule, damage):
    task = task_for(schedule)
    first = run_task(task)
    tagger, history = Path(first.path), Path(first.path).with_suffix(".json")
    if damage == "no history":
        history.unlink()
    else:
        path = tagger if damage == "half a tagger" else history
        path.write_bytes(path.read_bytes()[:100])
    assert run_task(task) == first
    assert json.loads(history.read_text())["sha256"] == first.sha256
    assert Tagger.from_file(tagger).sha256 == first.sha256


def test_a_training_run_that_does_not_come_back_is_named(schedule):
    def lost(tasks, function):
        return [function(task) for task in tasks[1:]]

    with pytest.raises(TrainingError, match=r"1 of 8 training runs did not come back.*autoenc"):
        schedule.finish(schedule.waves[0], lost)


def test_the_key_follows_what_matters_only(schedule):
    task = task_for(schedule)
    (role,) = task.events
    other_events = {role: replace(task.events[role], content="0" * 64)}
    elsewhere = {role: replace(task.events[role], paths=("elsewhere",))}
    same = replace(task, events=elsewhere, layout=("elsewhere",), folder="elsewhere")
    others = [
        replace(task, **change)
        for change in (
            {"method": Autoencoder(latent=3)},
            {"scope": "light"},
            {"left_out": 1},
            {"seed": 6},
            {"events": other_events},
            {"round_": 1},
            {"member": 1},
        )
    ]
    assert same.key == task.key
    assert len({item.key for item in (task, *others)}) == 1 + len(others)


def test_a_change_of_the_training_code_is_another_key(schedule, monkeypatch):
    task = task_for(schedule)
    before = replace(task).key
    monkeypatch.setattr("tnt_coffea.training.task.CODE", 0)
    assert replace(task).key != before


def test_a_task_is_picklable(schedule):
    task = task_for(schedule)
    assert pickle.loads(pickle.dumps(task)) == task


def test_five_folds_leave_out_whole_folds(trained, tmp_path):
    _, config, _, skim, _ = trained
    folds = config.train.model_copy(update={"folds": FoldSettings(outer=5)})
    planned = Schedule.planned(skim, config.model_copy(update={"train": folds}), tmp_path)
    card = card_of(run_task(task_for(planned, scored=1, left_out=2)))
    assert (card.direct, card.ancestors) == ((0, 2, 4), (0, 2, 3, 4))


def test_a_skim_that_changed_under_a_task_is_refused(trained, schedule, write_skim):
    sample, *_ = trained
    task = task_for(schedule)
    fewer = tuple(map(str, write_skim(sample.select(slice(0, 700)))))
    events = {role: replace(item, paths=fewer) for role, item in task.events.items()}
    with pytest.raises(TrainingError, match="not the one"):
        run_task(replace(task, events=events))


def test_images_that_do_not_sum_to_one_are_refused(train):
    with pytest.raises(
        ConfigError,
        match=r"^train\.methods\.autoencoder: .*made with skim\.images\.normalise: false",
    ):
        train(make_sample(60, normalise=False), config_for(AUTOENCODER_AND_TNT))


def test_too_few_events_are_refused(train):
    with pytest.raises(TrainingError, match=r"fold 0.*at least 10 are needed"):
        train(make_sample(12), config_for(AUTOENCODER_AND_TNT))


def test_no_signal_rich_jet_is_refused(train):
    window = {"low": 3699.9, "high": 3700.0}
    config = config_for({"first": FIRST, "tnt": tnt()})
    config = config.model_copy(update={"search": config.search.model_validate({"window": window})})
    with pytest.raises(TrainingError, match="0 signal-rich jets"):
        train(make_sample(120), config)


def test_what_a_later_wave_reads_is_missed_before_the_first_one(write_skim, tmp_path):
    absent = TREES.model_copy(update={"features": ("no_such_column",)})
    config = config_for({"first": FIRST, "tnt": tnt(classifier=absent)})
    with pytest.raises(ConfigError, match="holds no 'heavy_no_such_column', only heavy_"):
        cross_validate(write_skim(make_sample(60)), config, no_task, tmp_path / "parts")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"a": tnt("b"), "b": tnt("a")}, "in a circle: a -> b -> a"),
        ({"a": tnt("a")}, "in a circle: a -> a"),
        ({"a": tnt("b"), "first": FIRST}, r"methods\.a builds on 'b', .* among .* a, first"),
    ],
)
def test_methods_that_cannot_build_on_each_other_are_refused(methods, message):
    with pytest.raises(ValueError, match=message) as error:
        config_for(methods)
    assert str(error.value).count("Value error") == 1


def test_taggers_of_another_scope_cannot_label(write_skim, tmp_path):
    config = config_for({"first": EventFeature(feature="m_jj"), "tnt": tnt()})
    with pytest.raises(ConfigError, match=r"taggers of the light jet, but 'first'.*event"):
        cross_validate(write_skim(make_sample(60)), config, no_task, tmp_path / "parts")


@pytest.mark.parametrize("mode", ["cross_validation", "prequential", "split"])
def test_settings_of_a_search_survive_text(mode):
    config = config_for(AUTOENCODER_AND_TNT | {"hunt": cwola()}, mode=mode, members=3)
    assert SearchConfig.from_text(config.to_yaml()) == config
