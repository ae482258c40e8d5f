from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import (
    AutoencoderSettings,
    FoldSettings,
    OptimizerSettings,
    SearchConfig,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.errors import ConfigError, LeakError, TaggerError, TrainingError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.taggers.ensemble import Member, TaggerSet
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training import cross_validate, cross_validation_plans, run_task
from tnt_coffea.training.labellers import Labeller
from tnt_coffea.training.tasks import Task

from .conftest import TREES, make_sample, one_by_one, with_jets_changed, with_masses


def digests(outcomes):
    return {(item.scored, item.inner, item.scope): item.sha256 for item in outcomes}


def task_for(skim, config, folder, *, scored=0, left_out=0, scope="heavy", **changes):
    """The task of an autoencoder as the driver plans it."""
    tasks = []

    def planned(stage, _):
        tasks.extend(stage)
        return []

    with pytest.raises(TrainingError, match="did not come back"):
        cross_validate(skim, config, planned, folder)
    found = next(
        task
        for task in tasks
        if (task.plan.scored, task.left_out, task.scope) == (scored, left_out, scope)
    )
    return replace(found, **changes)


def as_labeller(outcome, inner=None):
    place = outcome.inner
    return Labeller(
        place if inner is None else inner, outcome.path, outcome.sha256, place, outcome.scope
    )


def as_tnt(config):
    return {"method": "tnt", "set_name": "tnt", "iteration": 1, "window": config.search.window}


def with_tnt(config, **changes):
    tnt = config.train.tnt.model_copy(update=changes)
    return config.model_copy(update={"train": config.train.model_copy(update={"tnt": tnt})})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One iteration on two folds: sample, configuration, taggers, skim, their folder."""
    folder = tmp_path_factory.mktemp("trained")
    sample = with_masses(make_sample())
    write_part(folder / "part0.parquet", sample)
    config = SearchConfig(
        seed=5,
        train={"folds": {"inner": 2}, "tnt": {"classifier": TREES, "signal_rich": (0.3,)}},
    )
    sets = cross_validate([folder / "part0.parquet"], config, one_by_one, folder / "parts")
    return sample, config, sets, [folder / "part0.parquet"], folder / "parts"


def test_every_fold_jet_and_inner_fold_has_its_tagger(trained):
    _, _, sets, *_ = trained
    places = [(t, a, jet) for t in (0, 1) for jet in ("heavy", "light") for a in (0, 1)]
    for name, iteration in (("autoencoder", 0), ("tnt", 1)):
        assert [(item.scored, item.inner, item.scope) for item in sets[name]] == places
        assert {(item.set_name, item.iteration) for item in sets[name]} == {(name, iteration)}
        assert len(set(digests(sets[name]).values())) == 8


def test_cards_tell_folds_ancestors_and_labellers(trained):
    sample, config, sets, *_ = trained
    autoencoders = digests(sets["autoencoder"])
    for item in sets["tnt"]:
        other_jet = {"heavy": "light", "light": "heavy"}[item.scope]
        card = Tagger.from_file(item.path).card
        assert (card.method, card.scope, card.input) == ("tnt", item.scope, "features")
        assert card.direct == card.ancestors == (1 - item.scored,)
        assert card.skim == sample.settings
        assert (card.window, card.uses_truth) == (config.search.window, False)
        assert card.labelled_by == (autoencoders[item.scored, 1 - item.inner, other_jet],)
        assert set(card.versions) == {"numpy", "onnx"}
    for item in sets["autoencoder"]:
        card = Tagger.from_file(item.path).card
        assert (card.labelled_by, card.window) == ((), None)


def test_outcomes_make_a_tagger_set_that_finds_the_planted_signal(trained):
    sample, config, sets, *_ = trained
    for name, least in (("autoencoder", 0.6), ("tnt", 0.7)):
        members = tuple(
            Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
            for i, item in enumerate(sets[name])
        )
        scores = TaggerSet(name, config.train.folds, config.seed, members).score(sample)
        for t in (0, 1):
            signal = sample.label[scores.fold == t] == 1
            raw = scores.raw["heavy"][scores.fold == t]
            assert (raw[signal][:, None] > raw[~signal]).mean() > least


def test_scored_fold_truth_and_files_change_nothing(trained, write_skim, tmp_path):
    sample, config, sets, *_ = trained
    scored = fold_of(sample.event_id, 2, config.seed) == 0
    rng = np.random.default_rng(1)
    changed = with_jets_changed(sample, scored)
    changed = replace(
        changed,
        label=rng.permutation(sample.label),
        columns=dict(sample.columns) | {"m_jj": np.where(scored, 3500.0, sample.m_jj)},
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
    changed = with_jets_changed(sample, fold_of(sample.event_id, 2, config.seed) == 0)
    plans = cross_validation_plans(config.train.folds, config.seed)[1:]
    again = cross_validate(write_skim(changed), config, one_by_one, tmp_path / "again", plans)
    for name in ("autoencoder", "tnt"):
        before, after = digests(sets[name]), digests(again[name])
        assert len(after) == 4
        assert all(sha != before[place] for place, sha in after.items())


def test_second_iteration_is_labelled_by_the_first_alone(trained, tmp_path):
    _, config, sets, skim, _ = trained
    stages = []

    def run_tasks(tasks, function):
        stages.append([function(task) for task in tasks])
        return stages[-1][::-1]

    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    config = with_tnt(config, iterations=2, epochs=1)
    last = cross_validate(skim, config, run_tasks, tmp_path / "parts", plans)["tnt"]
    autoencoders, first, second = map(digests, stages)
    assert digests(last) == second
    assert autoencoders == {k: v for k, v in digests(sets["autoencoder"]).items() if k[0] == 0}
    for item in last:
        card = Tagger.from_file(item.path).card
        other_jet = {"heavy": "light", "light": "heavy"}[item.scope]
        assert card.labelled_by == (first[0, 1 - item.inner, other_jet],)
        assert card.settings["iteration"] == item.iteration == 2


def test_autoencoder_never_sees_the_inner_fold_it_labels(trained, write_skim, tmp_path):
    sample, config, sets, *_ = trained
    plan = cross_validation_plans(config.train.folds, config.seed)[0]
    changed = with_jets_changed(sample, plan.inner_of(sample.event_id) == 0)
    skim, before = write_skim(changed), digests(sets["autoencoder"])
    for left_out, same in ((0, True), (1, False)):
        outcome = run_task(task_for(skim, config, tmp_path / "again", left_out=left_out))
        assert (outcome.sha256 == before[0, left_out, "heavy"]) is same


@pytest.fixture
def tnt_task(trained, tmp_path):
    """The heavy-jet task of fold 0 without inner fold 0, and what may or may not label for it."""
    _, config, sets, skim, _ = trained
    taggers = {(item.scored, item.inner, item.scope): item for item in sets["autoencoder"]}
    task = task_for(skim, config, tmp_path / "parts", **as_tnt(config))
    return replace(task, labellers=(as_labeller(taggers[0, 1, "light"]),)), taggers


def test_planted_leaks_are_refused(tnt_task):
    task, taggers = tnt_task
    # The light-jet autoencoder without inner fold 0 was trained on inner fold 1.
    leaks = {
        "trained on inner fold 1": as_labeller(taggers[0, 0, "light"], inner=1),
        "come from the light one": replace(as_labeller(taggers[0, 1, "heavy"]), jet="light"),
        r"ancestors in folds \[0\]": as_labeller(taggers[1, 1, "light"]),
    }
    for message, labeller in leaks.items():
        with pytest.raises(LeakError, match=message):
            run_task(replace(task, labellers=(labeller,)))


def test_every_inner_fold_needs_its_labeller(tnt_task):
    task, taggers = tnt_task
    for labellers in ((), tuple(as_labeller(taggers[0, a, "light"]) for a in (0, 1))):
        with pytest.raises(TrainingError, match="labellers for inner folds"):
            run_task(replace(task, labellers=labellers))


def test_labeller_that_changed_is_refused(tnt_task, tmp_path):
    task, taggers = tnt_task
    path = tmp_path / "changed.onnx"
    path.write_bytes(Path(taggers[0, 0, "light"].path).read_bytes())
    labeller = replace(task.labellers[0], path=str(path))
    with pytest.raises(TaggerError, match="SHA-256"):
        run_task(replace(task, labellers=(labeller,)))


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(trained, tnt_task, tmp_path):
    sample, *_ = trained
    task, _ = tnt_task
    paper = TrainSettings(
        folds=task.settings.folds,
        optimizer=OptimizerSettings(batch=32, learning_rate=3e-3),
        tnt=TntSettings(epochs=8, signal_rich=(0.3,)),
    )
    task = replace(task, settings=paper)
    here = run_task(task)
    tagger = Tagger.from_file(here.path)
    assert set(tagger.card.versions) == {"keras", "numpy", "onnx", "tensorflow"}
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


def test_finished_trainings_are_not_repeated(trained):
    _, config, sets, skim, folder = trained
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    again = cross_validate(skim, config, one_by_one, folder)
    assert again == sets
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # 8 autoencoders, 8 classifiers, a history beside each; no partial file.
    assert len(before) == 32


@pytest.mark.parametrize("damage", ["no history", "half a history", "half a tagger"])
def test_killed_training_is_made_again(trained, write_skim, tmp_path, damage):
    sample, config, *_ = trained
    task = task_for(write_skim(sample), config, tmp_path / "parts")
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


def test_key_follows_what_matters_only(trained, tmp_path):
    _, config, _, skim, _ = trained
    task = task_for(skim, config, tmp_path)
    changed_tnt = with_tnt(config, epochs=7).train
    changed_latent = config.train.model_copy(update={"autoencoder": AutoencoderSettings(latent=3)})
    same = (
        replace(task, skim=("elsewhere",), folder="elsewhere"),
        replace(task, settings=changed_tnt),
    )
    other = (
        replace(task, settings=changed_latent),
        replace(task, scope="light"),
        replace(task, left_out=1),
        replace(task, seed=6),
        replace(task, training_sample="0" * 64),
        replace(task, method="tnt", iteration=1),
    )
    assert {item.key for item in same} == {task.key}
    assert len({item.key for item in (task, *other)}) == 7


def test_a_change_of_the_training_code_is_another_key(trained, tmp_path, monkeypatch):
    _, config, _, skim, _ = trained
    task = task_for(skim, config, tmp_path)
    before = replace(task).key
    monkeypatch.setattr("tnt_coffea.training.tasks.CODE", 0)
    assert replace(task).key != before


def test_convolutional_autoencoder_is_trained_and_sealed(trained, tmp_path):
    _, config, _, skim, _ = trained
    kind = AutoencoderSettings(kind="convolutional", epochs=2)
    task = task_for(skim, config, tmp_path)
    task = replace(task, settings=task.settings.model_copy(update={"autoencoder": kind}))
    outcome = run_task(task)
    tagger = Tagger.from_file(outcome.path)
    assert tagger.card.method == "autoencoder-convolutional"
    assert tagger.card.settings["autoencoder"]["epochs"] == 2
    assert len(outcome.history["validation_loss"]) == 2
    assert (tagger.score(make_sample(20).images("heavy")) > 0).all()


def test_five_folds_leave_out_whole_folds(trained, tmp_path):
    _, config, _, skim, _ = trained
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"folds": FoldSettings(outer=5)})}
    )
    card = Tagger.from_file(
        run_task(task_for(skim, config, tmp_path, scored=1, left_out=2)).path
    ).card
    assert (card.direct, card.ancestors) == ((0, 2, 4), (0, 2, 3, 4))


def test_skim_that_changed_under_a_task_is_refused(trained, write_skim, tmp_path):
    sample, config, _, skim, _ = trained
    task = task_for(skim, config, tmp_path)
    with pytest.raises(TrainingError, match="not the one"):
        run_task(replace(task, skim=tuple(map(str, write_skim(sample.select(slice(0, 700)))))))


def test_images_that_do_not_sum_to_one_are_refused(config, write_skim, tmp_path):
    skim = write_skim(make_sample(60, normalise=False))
    with pytest.raises(ConfigError, match=r"made with skim\.images\.normalise: false"):
        cross_validate(skim, config, one_by_one, tmp_path / "parts")


def test_too_few_events_say_so(config, write_skim, tmp_path):
    with pytest.raises(TrainingError, match=r"fold 0.*needs more than 6 images"):
        cross_validate(write_skim(make_sample(12)), config, one_by_one, tmp_path / "parts")


def test_no_signal_rich_jet_says_so(config, write_skim, tmp_path):
    far = config.search.model_copy(
        update={"window": config.search.window.model_copy(update={"low": 3699.9})}
    )
    config = config.model_copy(update={"search": far})
    with pytest.raises(TrainingError, match="0 signal-rich jets"):
        cross_validate(write_skim(make_sample(120)), config, one_by_one, tmp_path / "parts")


def test_task_is_picklable(trained, tmp_path):
    _, config, _, skim, _ = trained
    task = task_for(skim, config, tmp_path)
    assert isinstance(task, Task)
    assert pickle.loads(pickle.dumps(task)) == task
