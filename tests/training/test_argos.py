"""ARGOS: its known answers, what it stops, and what `best_of` chooses by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from tnt_coffea import taggers, testing
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, LeakError, TrainingError
from tnt_coffea.events.identity import outer_fold
from tnt_coffea.events.sample import Sample
from tnt_coffea.pipeline.template_events import predicts
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.testing import altered, make_sample
from tnt_coffea.training import Job, Schedule, run_task
from tnt_coffea.training.argos import argos, argos_merit
from tnt_coffea.training.classifiers import Convolutional, Dense, Stopping, Trees
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.labels import Ranking
from tnt_coffea.training.methods.best_of import BestOf, BestOfPerJet
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.dctr import Dctr
from tnt_coffea.training.methods.lot import EventRandom
from tnt_coffea.training.methods.template_classifier import TemplateClassifier
from tnt_coffea.training.trees import FEWEST_TREES, boosted_trees

from .conftest import FIRST, config_for, cwola, shas, tnt

GAUSSIAN = norm.ppf((np.arange(40000) + 0.5) / 40000)
FRACTION = 0.02


def mixture(shift, fraction=FRACTION):
    """Scores of a region, unit Gaussians, and the weights that make a share signal."""
    scores = np.concatenate([GAUSSIAN, GAUSSIAN + shift])
    return scores, np.repeat([1 - fraction, fraction], len(GAUSSIAN))


@pytest.mark.parametrize("efficiency", [0.5, 0.1, 0.01, 0.001])
def test_the_closed_form_of_gaussians(efficiency):
    region, weight = mixture(2.0)
    found = argos(region, GAUSSIAN, region_weight=weight, efficiency=efficiency)
    kept = norm.sf(norm.isf(efficiency) - 2)
    expected = FRACTION * (kept - efficiency) / np.sqrt(efficiency)
    assert found.efficiency == pytest.approx(efficiency, rel=1e-9)
    assert found.value == pytest.approx(expected, rel=0.01)


def test_the_largest_value_is_that_of_the_best_cut():
    region, weight = mixture(1.0)
    found = argos(region, GAUSSIAN, region_weight=weight)
    shares = np.geomspace(1e-3, 1, 20000)
    values = FRACTION * (norm.sf(norm.isf(shares) - 1) - shares) / np.sqrt(shares)
    assert found.value == pytest.approx(values.max(), rel=0.01)
    assert found.efficiency == pytest.approx(shares[values.argmax()], rel=0.1)
    assert found == argos(np.exp(region), np.exp(GAUSSIAN), region_weight=weight)


def test_a_cut_leaves_at_least_25_events_of_the_template():
    template = np.arange(1000.0)
    region = np.append(template, np.full(50, 2000.0))  # best of all without a limit: eps = 1 / 1000
    found = argos(region, template)
    assert found.efficiency == 0.025
    assert found.value == pytest.approx(75 / 1050 / np.sqrt(0.025) - np.sqrt(0.025))
    assert argos(region, template, efficiency=0.025) == found
    with pytest.raises(TrainingError, match=r"0\.024 of the template is uncertain by more than 20"):
        argos(region, template, efficiency=0.024)
    # Events of unequal weights are worth fewer.
    weight = np.where(template >= 975, np.where(template % 2, 3.0, 1.0), 1.0)
    assert argos(region, template, template_weight=weight).efficiency > found.efficiency


def test_equal_scores_are_cut_together():
    template, region = np.repeat([0.0, 1.0], [60, 40]), np.repeat([0.0, 1.0], [20, 80])
    expected = 0.8 / np.sqrt(0.4) - np.sqrt(0.4)
    for efficiency in (None, 0.01, 0.3, 0.4):
        assert argos(region, template, efficiency=efficiency).value == pytest.approx(expected)
    rng = np.random.default_rng(1)
    mixed = argos(rng.permutation(region), rng.permutation(template))
    assert mixed == argos(region, template)
    assert argos(np.ones(9), np.ones(30)).value == 0.0


def test_a_weight_of_two_is_the_event_twice_and_one_of_minus_one_takes_it_away():
    rng = np.random.default_rng(2)
    region, template = rng.normal(0.5, 1, 300), rng.normal(0, 1, 2000)
    twice = np.append(region, region[:100]), np.append(template, template[:500])
    weights = {
        "region_weight": np.where(np.arange(300) < 100, 2.0, 1.0),
        "template_weight": np.where(np.arange(2000) < 500, 2.0, 1.0),
    }
    for efficiency in (0.5, 0.2):
        weighted, counted = (
            argos(region, template, efficiency=efficiency, **weights),
            argos(*twice, efficiency=efficiency),
        )
        assert weighted.value == pytest.approx(counted.value, rel=1e-9)
    removed = {
        "region_weight": np.append(np.ones(300), -np.ones(50)),
        "template_weight": np.append(np.ones(2000), -np.ones(100)),
    }
    both = np.append(region, region[:50]), np.append(template, template[:100])
    less = argos(*both, efficiency=0.3, **removed)
    expected = argos(region[50:], template[100:], efficiency=0.3)
    assert less.value == pytest.approx(expected.value, rel=1e-9)


def test_a_score_that_tells_nothing_has_what_chance_gives():
    """Its values are 1 / sqrt(n) at every cut, so the largest is a few of these."""
    rng = np.random.default_rng(3)
    chance = np.sqrt(1 / 2000 + 1 / 4000)
    found = [argos(rng.random(2000), rng.random(4000)).value / chance for _ in range(100)]
    assert 0.5 < np.median(found) < 2.5
    assert max(found) < 5
    at_a_cut = [argos(rng.random(2000), rng.random(4000), efficiency=0.05) for _ in range(300)]
    assert np.std([each.value for each in at_a_cut]) == pytest.approx(chance, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], np.arange(24.0)), "worth 24 events, at least 25"),
        (([], np.arange(30.0)), "region do not add up"),
        (([np.nan], np.arange(30.0)), "1 of 31 scores are not finite"),
        (([1.0], []), "worth 0 events"),
    ],
)
def test_what_has_no_value_is_refused(arguments, message):
    with pytest.raises(TrainingError, match=message):
        argos(*arguments)


def test_a_share_and_weights_that_make_no_sense_are_refused():
    with pytest.raises(TrainingError, match="share 0 "):
        argos([1.0], np.arange(30.0), efficiency=0)
    with pytest.raises(TrainingError, match=r"weights of shape \(2,\) for 1 scores"):
        argos([1.0], np.arange(30.0), region_weight=[1, 1])


def planted(n, shares, seed=4):
    """Features of two classes that differ by a rare signal in the first one alone."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 3)).astype("f4")
    signal = (y == 1) & (rng.random(n) < shares)
    x[signal] = rng.normal(2.5, 0.3, size=(int(signal.sum()), 3))
    return x, y.astype(float)


def test_trees_are_cut_off_where_the_merit_is_largest():
    x, y = planted(4000, 0.05)
    w = np.ones(len(y))
    parts = [(each[:2000], each[2000:]) for each in (x, y, w)]
    settings = {"rounds": 40, "leaves": 4, "shrinkage": 0.1, "patience": 40}
    by_loss = boosted_trees(*parts, **settings)
    trees = boosted_trees(*parts, merit=argos_merit(w[2000:]), **settings)
    assert trees.loss == by_loss.loss
    assert not by_loss.merit
    best = max(trees.merit[FEWEST_TREES - 1 :])
    assert len(trees.trees) == FEWEST_TREES + trees.merit[FEWEST_TREES - 1 :].index(best)
    odds = trees(x[2000:])
    held = y[2000:] == 1
    assert argos(odds[held], odds[~held]).value == pytest.approx(best, rel=1e-6)
    short = boosted_trees(*parts, merit=argos_merit(w[2000:]), **settings | {"patience": 2})
    assert len(short.merit) < 40


def test_settings_from_before_have_the_same_digest():
    for classifier in (Trees(), Dense(), Convolutional()):
        assert "stopping" not in classifier.model_dump(mode="json")
        other = classifier.model_copy(update={"stopping": Stopping.ARGOS})
        assert type(other).model_validate(other.model_dump(mode="json")) == other
        assert other.digest() != classifier.digest()


NETWORKS = [
    Trees(features=("mass", "tau21"), trees=30, leaves=4, validation=0.4, stopping="argos"),
    Dense(
        features=("mass / m_jj", "tau21"),
        layers=(8,),
        epochs=2,
        stopping="argos",
        optimizer=OptimizerSettings(batch=50, learning_rate=0.005, validation=0.4),
    ),
]


@pytest.mark.parametrize("classifier", NETWORKS, ids=lambda classifier: classifier.network)
def test_classifiers_stop_by_argos(classifier):
    sample = make_sample(1200)
    window = SearchConfig().search.window
    scorer = cwola(classifier=classifier).train(Job(sample, "event", 1, window=window))
    history = scorer.history
    first = FEWEST_TREES - 1 if classifier.network == "trees" else 0
    assert history["merit"][history["best_epoch"]] == max(history["merit"][first:]) > 0
    assert scorer.summary["merit"] == history["merit"][history["best_epoch"]]


def test_too_few_events_to_choose_by_are_refused_with_the_way_out():
    window = SearchConfig().search.window
    few = cwola(classifier=NETWORKS[0].model_copy(update={"validation": 0.05}))
    with pytest.raises(TrainingError, match=r"at least 25 are needed for ARGOS.*validation"):
        few.train(Job(make_sample(600), "event", 1, window=window))


def test_what_argos_cannot_choose_is_refused():
    with pytest.raises(ValidationError, match="set keep: best"):
        Dense(stopping="argos", optimizer=OptimizerSettings(keep="last"))
    with pytest.raises(ValidationError, match="both choose the epoch"):
        Cwola(classifier=Dense(stopping="argos"), choose_by_efficiency=True)
    with pytest.raises(ValidationError, match="weights are needed everywhere"):
        Dctr(classifier=Dense(stopping="argos", features=("mass", "m_jj")))


METHODS = {
    "noise": EventRandom(),
    "window": cwola(),
    "best": BestOf(of=("noise", "window"), sideband=1.0),
}
CHOICE = config_for(METHODS, members=2)


@pytest.fixture(scope="module")
def sample():
    return make_sample(1600, signal_share=0.15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("choice")


@pytest.fixture(scope="module")
def outcomes(sample, folder):
    return testing.train(sample, CHOICE, folder)


def test_a_useless_method_is_not_chosen_and_the_taggers_are_those_of_the_other(outcomes, sample):
    assert len(outcomes["best"]) == len(outcomes["window"]) == 8  # folds, inner folds, members
    for own, taken in zip(outcomes["best"], outcomes["window"], strict=True):
        assert (own.scored, own.left_out, own.member) == (
            taken.scored,
            taken.left_out,
            taken.member,
        )
        assert own.history["chosen"] == "window"
        assert own.history["argos window"] > 3 * own.history["argos noise"] >= 0
        tagger, original = Tagger.from_file(own.path), Tagger.from_file(taken.path)
        columns = {each.name: each.read(sample)[:64] for each in tagger.card.inputs}
        np.testing.assert_array_equal(tagger.score(columns), original.score(columns))
        assert tagger.card.history["argos window"] == own.history["argos window"]
        assert original.sha256 in tagger.card.labelled_by
        assert tagger.card.ancestors == original.card.ancestors == (1 - own.scored,)


def test_all_runs_for_a_scored_fold_choose_by_the_same_numbers(outcomes):
    figures = {
        fold: {
            (item.history["argos noise"], item.history["argos window"])
            for item in outcomes["best"]
            if item.scored == fold
        }
        for fold in (0, 1)
    }
    assert len(figures[0]) == len(figures[1]) == 1
    assert figures[0] != figures[1]


def test_the_scored_fold_and_the_truth_have_no_part_in_the_choice(outcomes, sample, train):
    label = np.random.default_rng(1).permutation(sample.label)
    scored = outer_fold(sample.event_id, CHOICE.train.folds, CHOICE.seed) == 0
    other = altered(sample, scored)
    other = replace(other, label=label)
    after = train(other, CHOICE)
    before = shas(outcomes)
    for place, sha in shas(after).items():
        if place[1] == 0:
            assert before[place] == sha
    changed = [item.history for item in after["best"] if item.scored == 1]
    assert changed[0] != next(item.history for item in outcomes["best"] if item.scored == 1)


def test_a_tagger_of_another_fold_is_not_adopted(outcomes, folder, tmp_path):
    schedule = Schedule.planned([folder / "data" / "part.parquet"], CHOICE, folder / "taggers")
    schedule.finish(schedule.waves[0], testing.one_by_one)  # read, not repeated
    tasks = {(task.plan.scored, task.left_out): task for task in schedule.tasks(schedule.waves[1])}
    task = tasks[0, 0]
    assert {item.method for item in task.adoptable} == {"noise", "window"}
    for place, message in (((1, 0), "that scores fold 0"), ((0, 1), "must not label")):
        other = [replace(item, inner=0) for item in tasks[place].adoptable]
        leak = replace(task, adoptable=tuple(other), folder=str(tmp_path))
        with pytest.raises(LeakError, match=message):
            run_task(leak)
    with pytest.raises(TrainingError, match="adopts no taggers of 'window'"):
        run_task(replace(task, adoptable=(), folder=str(tmp_path)))


@pytest.mark.slow
def test_without_a_signal_the_choice_is_that_of_chance(train):
    """Two scores that tell nothing: either is chosen for one of a few samples."""
    methods = {"a": EventRandom(), "b": EventRandom(seed=2)}
    methods["best"] = BestOf(of=("a", "b"), sideband=1.0)
    config = config_for(methods)
    chosen = {
        item.history["chosen"]
        for seed in (2, 3)
        for item in train(make_sample(900, 0.0, seed), config)["best"]
    }
    assert chosen == {"a", "b"}


def test_jets_are_ranked_together(sample):
    method = BestOfPerJet(of=("first", "other"), sideband=1.0, efficiency=0.1)
    heavy, light = (sample.columns[f"{jet}_tau21"] for jet in ("heavy", "light"))
    signal_like = {"heavy": -heavy, "light": -light}
    noise = np.random.default_rng(1).random(len(sample))

    def ranked(name, scope, data):
        scores = signal_like[scope] if name == "first" else noise
        own = scores[np.searchsorted(sample.event_id, data.event_id)]
        return [Ranking(np.arange(len(data)), np.argsort(own))]

    job = Job(sample, "heavy", 1, window=SearchConfig().search.window, rankings=ranked)
    found = method.figures(job)
    assert found["first"] > 0.3 > abs(found["other"])


@pytest.mark.parametrize("of", [(), ("window",), ("window", "window"), ("window", "")])
def test_a_choice_of_fewer_than_two_is_refused(of):
    with pytest.raises(ValidationError, match="of"):
        BestOf(of=of)


@pytest.mark.parametrize(
    ("best", "message"),
    [
        (BestOf(of=("window", "tnt")), "needs taggers of the event, but 'tnt'"),
        (BestOfPerJet(of=("tnt", "window")), "needs taggers of the heavy jet, but 'window'"),
        (BestOf(of=("window", "absent")), "absent"),
    ],
)
def test_methods_of_another_scope_are_refused(best, message, sample, train):
    with pytest.raises((ConfigError, ValidationError), match=message):
        train(sample, config_for({"first": FIRST, "tnt": tnt(), "window": cwola(), "best": best}))


def test_no_sideband_events_are_refused(sample):
    job = Job(
        sample.select(sample.m_jj < 3700),
        "event",
        1,
        window=SearchConfig().search.window,
        rankings=lambda *_: [],
    )
    with pytest.raises(TrainingError, match=r"no events in sideband 3700"):
        BestOf(of=("a", "b"), sideband=1.0).figures(job)


def followed(n, signal, seed=1):
    """Dijets with a feature, `spread`, that grows with the mass, and a signal in tau21."""
    rng = np.random.default_rng(seed)
    m = np.concatenate([2400 + rng.exponential(700, n), rng.normal(3500, 60, signal)])
    label = np.repeat([0, 1], [n, signal])
    tau21 = {
        jet: {"tau21": np.where(label, 0.3, 0.6) + 0.12 * rng.normal(size=n + signal)}
        for jet in ("heavy", "light")
    }
    spread = m / 1000 + 0.2 * rng.normal(size=n + signal)
    made = Sample.from_columns(m, **tau21, event={"spread": spread}, label=label)
    return made.select(np.argsort(made.event_id))


BY_TEMPLATE = {"by": "morphing", "degree": 1}


@pytest.fixture(scope="module")
def against_a_template(tmp_path_factory):
    trees = Trees(features=("spread", "tau21"), trees=20)
    methods = {
        "follows": Cwola(classifier=trees, sideband=1.0),
        "against": TemplateClassifier(classifier=trees, template=BY_TEMPLATE),
        "by_sidebands": BestOf(of=("follows", "against"), sideband=1.0),
        "by_template": BestOf(of=("follows", "against"), template=BY_TEMPLATE),
    }
    return testing.train(followed(4000, 100), config_for(methods), tmp_path_factory.mktemp("by"))


def test_a_method_that_learned_the_mass_is_chosen_by_sidebands_and_not_by_a_template(
    against_a_template,
):
    chosen = {
        name: {item.history["chosen"] for item in against_a_template[name]}
        for name in ("by_sidebands", "by_template")
    }
    assert chosen == {"by_sidebands": {"follows"}, "by_template": {"against"}}
    figures = {
        fold: {
            item.history["argos against"]
            for item in against_a_template["by_template"]
            if item.scored == fold
        }
        for fold in (0, 1)
    }
    assert [len(each) for each in figures.values()] == [1, 1]  # all inner folds choose alike
    assert figures[0] != figures[1]


def test_what_was_chosen_by_a_template_does_not_predict_the_background_by_it(against_a_template):
    folds = CHOICE.train.folds
    for name, expected in (("against", True), ("by_template", False)):
        members = tuple(
            Member(Tagger.from_file(item.path), "event", item.scored, f"event-{number}")
            for number, item in enumerate(against_a_template[name])
        )
        assert predicts(TaggerSet(name, folds, 5, members)) == expected


def test_a_template_has_no_images_to_choose_by(sample):
    tagger = taggers.load("rnd-3500/tnt/heavy-0-0")
    job = Job(
        sample,
        "event",
        1,
        window=SearchConfig().search.window,
        taggers=lambda _, __, data: [(tagger, np.arange(len(data)))],
        scores=lambda *_: np.ones(1),
    )
    with pytest.raises(TrainingError, match="heavy tagger of 'tag_n_train' takes more than feat"):
        BestOf(of=("a", "b"), template=BY_TEMPLATE).figures(job)


def test_the_digest_of_a_choice_by_sidebands_is_that_of_before():
    plain = BestOf(of=("a", "b"))
    assert "template" not in plain.model_dump(mode="json")
    assert plain.digest() != BestOf(of=("a", "b"), template=BY_TEMPLATE).digest()


@pytest.mark.slow
def test_jets_are_ranked_together_against_a_template(train):
    jets = ("tau21", "mass")
    tagged = {"signal_rich": 0.3, "reweight": "none"}
    methods = {
        "first": FIRST,
        "tnt": tnt(classifier=Trees(features=jets, trees=20), **tagged),
        "few": tnt(classifier=Trees(features=jets, trees=2), **tagged),
        "best": BestOfPerJet(of=("few", "tnt"), template={"by": "morphing", "sideband": 1.5}),
    }
    found = train(make_sample(6000, signal_share=0.1), config_for(methods))["best"]
    assert {item.scope for item in found} == {"heavy", "light"}
    for item in found:
        assert 0 < item.history["argos few"] != item.history["argos tnt"] > 0
