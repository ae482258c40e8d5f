"""Every method: what it trains, what it may not see, and what it is refused.

Boosted trees stand for all networks here: what reaches a training does not depend on the
network, and they are fast.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import (
    ClassifierSettings,
    CwolaSettings,
    InitialSettings,
    MassRange,
    TrainSettings,
)
from tnt_coffea.errors import ConfigError, LeakError, TaggerError, TrainingError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.taggers import Tagger
from tnt_coffea.training import METHODS, cross_validation_plans
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.labellers import Labeller
from tnt_coffea.training.running import run_task

from .conftest import (
    TREES,
    as_set,
    config_for,
    make_sample,
    one_by_one,
    shas,
    with_jets_changed,
    with_masses,
)

WITH_TRUTH = sorted(name for name, method in METHODS.items() if method.uses_truth)
WITHOUT_TRUTH = sorted(set(METHODS) - set(WITH_TRUTH))


@pytest.fixture(scope="module")
def sample():
    return with_masses(make_sample(1600, signal_share=0.15))


def auc(signal, background):
    return (signal[:, None] > background).mean() + (signal[:, None] == background).mean() / 2


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_finds_the_planted_signal_in_folds_it_never_saw(name, sample, train):
    config = config_for(name)
    items = train(sample, config)[name]
    method = METHODS[name]
    scopes = method.scopes(config.train)
    assert [(item.scored, item.scope, item.inner) for item in items] == [
        (t, scope, a) for t in (0, 1) for scope in scopes for a in (0, 1)
    ]
    scores = as_set(name, items, config, reference=method.uses_truth).score(sample)
    for t in (0, 1):
        signal = sample.label[scores.fold == t] == 1
        for scope in scopes:
            raw = scores.raw[scope][scores.fold == t]
            assert auc(raw[signal], raw[~signal]) > 0.6
    for item in items:
        card = Tagger.from_file(item.path).card
        assert (card.uses_truth, card.window is not None) == (
            method.uses_truth,
            method.has_window(config.train),
        )
        assert item.scored not in card.ancestors


@pytest.mark.parametrize("name", WITHOUT_TRUTH)
def test_a_method_without_truth_does_not_notice_shuffled_labels(name, sample, train):
    shuffled = replace(sample, label=np.random.default_rng(1).permutation(sample.label))
    assert shas(train(sample, config_for(name))) == shas(train(shuffled, config_for(name)))


@pytest.mark.parametrize("name", WITH_TRUTH)
def test_a_reference_notices_shuffled_labels_and_no_search_takes_it(name, sample, train):
    shuffled = replace(sample, label=np.random.default_rng(1).permutation(sample.label))
    config = config_for(name)
    sets = train(sample, config)
    before, after = shas(sets), shas(train(shuffled, config))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    with pytest.raises(TaggerError, match="truth"):
        as_set(name, sets[name], config)


def after_fold(scored, fold):
    """The inner fold that an outer one is, around a scored one."""
    return [t for t in range(3) if t != scored].index(fold)


@pytest.mark.parametrize("mode", ["cross_validation", "prequential", "split"])
@pytest.mark.parametrize("name", WITHOUT_TRUTH)
def test_a_scored_fold_changes_no_tagger_that_scores_it(name, mode, sample, train):
    config = config_for(name, mode=mode, outer=3)
    before = train(sample, config)
    scored = max(item.scored for item in before[name])
    which = fold_of(sample.event_id, 3, config.seed) == scored
    after = shas(train(with_jets_changed(sample, which), config))
    for place, sha in shas(before).items():
        if place[1] == scored:
            assert after[place] == sha
        elif mode == "cross_validation" and place[3] != after_fold(place[1], scored):
            assert after[place] != sha  # they were trained on that fold
    first = 2 if mode == "split" else 1 if mode == "prequential" else 0
    if name == "autoencoder" and mode == "split":
        first = 1
    assert sorted({item.scored for item in before[name]}) == list(range(first, 3))


def test_a_leak_put_in_on_purpose_is_detected(sample, train, monkeypatch):
    config = config_for("cwola")
    scored = fold_of(sample.event_id, 2, config.seed) == 0

    def everything(plan, event_id, place, iteration, *, whole=False):
        return np.ones(len(event_id), dtype=bool)

    monkeypatch.setattr(FoldPlan, "trains", everything)
    before = shas(train(sample, config))
    after = shas(train(with_jets_changed(sample, scored), config))
    assert all(after[place] != sha for place, sha in before.items() if place[1] == 0)


def test_a_noise_feature_teaches_nothing_out_of_fold(sample, train):
    rng = np.random.default_rng(2)
    noise = {
        f"{jet}_{name}": rng.random(len(sample)).astype("f4")
        for jet in ("heavy", "light")
        for name in ("mass", "tau21")
    }
    noisy = replace(sample, columns=dict(sample.columns) | noise)
    config = config_for("cwola")
    scores = as_set("cwola", train(noisy, config)["cwola"], config).score(noisy)
    window = config.search.window
    region = (noisy.m_jj >= window.low) & (noisy.m_jj < window.high)
    lower, upper = config.train.cwola.sidebands(window)
    bands = (noisy.m_jj >= lower.low) & (noisy.m_jj < upper.high) & ~region
    found = [
        auc(
            scores.raw["event"][region & (scores.fold == t)],
            scores.raw["event"][bands & (scores.fold == t)],
        )
        for t in (0, 1)
    ]
    # About 300 on 150 events a fold: the standard deviation of the mean is 0.02.
    assert abs(np.mean(found) - 0.5) < 0.06


def test_duplicates_cannot_sit_on_both_sides(sample, train):
    twice = sample.select(np.repeat(np.arange(len(sample)), 2))
    config = config_for("tnt")
    for item in train(twice, config)["tnt"]:
        card = Tagger.from_file(item.path).card
        assert card.direct == (1 - item.scored,)
        assert item.history["signal-rich"] % 2 == 0


def test_prequential_sets_score_what_came_later_and_count_the_rest(sample, train):
    config = config_for("tnt", mode="prequential", outer=3)
    made = as_set("tnt", train(sample, config)["tnt"], config)
    assert made.scored_folds == (1, 2)
    fit_range = MassRange(low=2600, high=7000)
    made = made.calibrated(sample, fit_range, (0.3,))
    ranks = made.ranks(sample)
    assert ranks.unscored == (ranks.fold == 0).sum() > 0
    assert sorted(made.quantiles.x(0.3)) == [1, 2]
    assert np.isfinite(ranks.both[ranks.fold > 0]).all()
    for member in made.members:
        assert max(member.tagger.card.ancestors) < member.fold


def test_split_mode_has_a_sample_for_every_round(sample, train):
    config = config_for("autoencoder", "tnt", mode="split", outer=5, tnt={"iterations": 2})
    sets = train(sample, config)
    assert [(item.scored, item.scope) for item in sets["tnt"]] == [
        (t, jet) for t in (3, 4) for jet in ("heavy", "light")
    ]
    cards = {item.iteration: Tagger.from_file(item.path).card for item in sets["tnt"]}
    assert (cards[2].direct, cards[2].ancestors) == ((2,), (0, 1, 2))
    card = Tagger.from_file(sets["autoencoder"][0].path).card
    assert (card.direct, card.ancestors) == ((0,), (0,))
    with pytest.raises(ConfigError, match="outer of 4 or more, got 3"):
        train(sample, config_for("tnt", mode="split", outer=3, tnt={"iterations": 2}))


def test_members_differ_and_are_averaged_raw(sample, train):
    config = config_for(
        "autoencoder",
        "tnt",
        members=2,
        tnt={
            "classifier": ClassifierSettings(
                network="dense", input="features", features=("mass", "tau21"), layers=(8,)
            ),
            "epochs": 2,
        },
    )
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    sets = train(sample, config, plans=plans)
    assert len(sets["autoencoder"]) == 4  # a linear one has no seed to differ by
    assert len(set(shas({"tnt": sets["tnt"]}).values())) == 8
    one_place = [item for item in sets["tnt"] if (item.scored, item.scope) == (0, "heavy")]
    scores = as_set("tnt", sets["tnt"], config).score(sample)
    rows = np.flatnonzero(scores.fold == 0)[:20]
    raw = [Tagger.from_file(item.path) for item in one_place]
    features = np.stack([sample.columns[f"heavy_{name}"][rows] for name in ("mass", "tau21")], 1)
    expected = np.mean([tagger.score(features) for tagger in raw], axis=0)
    assert len(raw) == 4
    np.testing.assert_allclose(scores.raw["heavy"][rows], expected, rtol=1e-5)


def test_one_network_serves_both_jets(sample, train):
    config = config_for("tnt", tnt={"shared": True, "iterations": 2})
    items = train(sample, config)["tnt"]
    by_place = {(item.scored, item.inner, item.scope): item for item in items}
    assert len(by_place) == 8
    for t in (0, 1):
        heavy, light = (Tagger.from_file(by_place[t, 0, s].path) for s in ("heavy", "light"))
        assert heavy.card.inputs == ("heavy_mass", "heavy_tau21")
        assert light.card.inputs == ("light_mass", "light_tau21")
        assert (heavy.card.scope, light.card.scope) == ("heavy", "light")
        features = np.random.default_rng(0).random((50, 2), np.float32) * 500
        np.testing.assert_array_equal(heavy.score(features), light.score(features))
        assert len(heavy.card.labelled_by) == 2


def test_first_labels_from_a_feature(sample, train):
    config = config_for(
        "tnt", tnt={"initial": InitialSettings(kind="feature", feature="tau21", descending=True)}
    )
    stages = []

    def run_tasks(tasks, function):
        stages.append({task.method for task in tasks})
        return one_by_one(tasks, function)

    items = train(sample, config, run_tasks)["tnt"]
    assert stages == [{"tnt"}]
    scores = as_set("tnt", items, config).score(sample)
    signal = sample.label == 1
    assert auc(scores.raw["heavy"][signal], scores.raw["heavy"][~signal]) > 0.7
    assert Tagger.from_file(items[0].path).card.labelled_by == ()


def test_first_labels_from_tagger_files(sample, train):
    first = train(sample, config_for("autoencoder"))["autoencoder"]
    files = {item.scope: item.path for item in first}
    for independent in (True, False):
        initial = InitialSettings(kind="files", independent=independent, **files)
        config = config_for("tnt", tnt={"initial": initial})
        if not independent:
            # These were trained on the events that they would label.
            with pytest.raises(LeakError, match=r"ancestors|must not label"):
                train(sample, config)
            continue
        items = train(sample, config)["tnt"]
        assert {Tagger.from_file(item.path).card.labelled_by for item in items} == {
            (next(i.sha256 for i in first if i.path == files[jet]),) for jet in files
        }
    missing = InitialSettings(kind="files", heavy="none.onnx", light="none.onnx")
    with pytest.raises(TrainingError, match="cannot be opened"):
        train(sample, config_for("tnt", tnt={"initial": missing}))


def test_reweighting_and_soft_labels_change_the_training(sample, train):
    plain = shas(train(sample, config_for("tnt")))
    for change in (
        {"reweight": "none"},
        {"reweight": "pt"},
        {"reweight": "m_jj"},
        {"reweight_beside": False},
        {"soft_labels": True},
    ):
        other = shas(train(sample, config_for("tnt", tnt=change)))
        assert not set(plain.values()) & set(other.values())


def test_best_candidate_by_signal_region_efficiency(sample, train):
    dense = ClassifierSettings(
        network="dense", input="features", features=("rescaled_mass", "tau21"), layers=(8,)
    )
    cwola = CwolaSettings.olympics().model_copy(
        update={"classifier": dense, "epochs": 3, "batch": 200, "sideband_efficiency": 0.1}
    )
    config = config_for("cwola", outer=3, cwola=cwola)
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    items = train(sample, config, plans=plans)["cwola"]
    assert len(items) == 2
    for item in items:
        assert item.history["merit"][item.history["best_epoch"]] == max(item.history["merit"])
        card = Tagger.from_file(item.path).card
        # The fold left out chose the epoch, so it counts as trained on.
        assert card.direct == card.ancestors == tuple(t for t in range(3) if t != item.scored)
        assert card.inputs == ("heavy_mass", "m_jj", "heavy_tau21", "light_mass", "light_tau21")


def test_windows_have_sets_of_their_own_and_share_the_autoencoders(sample, train):
    config = config_for("autoencoder", "tnt", windows="olympics", cwola=CwolaSettings())
    counted = []

    def run_tasks(tasks, function):
        counted.append(len(tasks))
        return one_by_one(tasks, function)

    # Enough events in every window of the scan.
    wide = replace(
        sample,
        columns=dict(sample.columns)
        | {"m_jj": np.random.default_rng(3).uniform(2600, 5500, len(sample))},
    )
    sets = train(wide, config, run_tasks)
    assert list(sets) == ["autoencoder", *(f"tnt-{a}-{a + 500}" for a in (3000, 3500, 4000, 4500))]
    assert counted == [8, 32]
    assert as_set("w", sets["tnt-4000-4500"], config).window.name == "4000-4500"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_default_settings_are_on_the_card(name):
    # Settings at their default are left out of the whole, and must not be missed here.
    method, settings = METHODS[name], TrainSettings()
    options = method.options(settings)
    assert options
    assert method.epochs(settings) >= 1
    assert "onnx" in method.libraries(settings)
    section = {"tnt": "tnt", "same_jet": "tnt", "autoencoder": "autoencoder"}.get(name)
    section = section or ("cwola" if "cwola" in name and "pure" not in name else "supervised")
    assert section in options


def test_unknown_method_is_refused_with_the_known_ones(sample, train):
    with pytest.raises(ConfigError, match=r"no method 'guess'; known are autoencoder, tnt"):
        train(sample, config_for("guess"))


def test_absent_feature_is_refused_with_those_there_are(sample, train):
    absent = TREES.model_copy(update={"features": ("tau32",)})
    with pytest.raises(ConfigError, match=r"no 'heavy_tau32', only heavy_"):
        train(sample, config_for("tnt", tnt={"classifier": absent}))


def test_labellers_of_the_wrong_round_are_refused(sample, train):
    tasks = []

    def run_tasks(stage, function):
        tasks.extend(stage)
        return one_by_one(stage, function)

    items = train(sample, config_for("tnt", mode="split", outer=3), run_tasks)["tnt"]
    tnt = next(task for task in tasks if task.method == "tnt" and task.scope == "heavy")
    later = next(item for item in items if item.scope == "light")
    leak = Labeller(1, later.path, later.sha256, 0, "light")
    # The classifier of this very fold may not label it.
    with pytest.raises(LeakError, match="must not label"):
        run_task(replace(tnt, labellers=(leak,)))
