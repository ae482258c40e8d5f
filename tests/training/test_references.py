"""References and baselines: known answers, and which events they are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import altered, make_sample, tagger_set
from tnt_coffea.training import Job, cross_validation_plans
from tnt_coffea.training.classifiers import Dense, Trees
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.methods.data_vs_simulation import DataVsSimulation
from tnt_coffea.training.methods.feature_autoencoder import (
    FeatureAutoencoder,
    FeatureAutoencoderPerJet,
)
from tnt_coffea.training.methods.lot import EventRandom, Random
from tnt_coffea.training.methods.norm import EventNorm, Norm
from tnt_coffea.training.methods.references import OptimalCwola, SupervisedBothJets

from .conftest import TREES, auc, config_for, shas

WINDOW = MassRange(low=3300, high=3700)


@pytest.fixture(scope="module")
def samples():
    return {
        "data": make_sample(1600, signal_share=0.15),
        "simulation": make_sample(1600, 0.0, kind="sim"),
        "prior:more": make_sample(1600, 0.0, seed=3, kind="prior"),
    }


def job_of(samples, scope="event", **more):
    priors = {"more": samples["prior:more"]}
    given = {"simulation": samples["simulation"], "priors": priors, "window": WINDOW} | more
    return Job(samples["data"], scope, 1, **given)


def seen_by(method, samples, monkeypatch):
    """Event ids of the classes that a method trains its classifier on, by target."""
    found = {}

    def train(self, labels, scope, seed, **more):
        found.update({each.target: each.sample.select(each.mask) for each in labels.classes})

    monkeypatch.setattr(type(method.classifier), "train", train)
    method.train(job_of(samples))
    return found[1.0], found[0.0]


def shared(first, second):
    return np.intersect1d(first.event_id, second.event_id)


def test_optimal_cwola_halves_the_data_and_has_no_event_twice(samples, monkeypatch):
    data = samples["data"]
    rich, poor = seen_by(OptimalCwola(classifier=TREES), samples, monkeypatch)
    assert len(shared(rich, poor)) == 0
    assert WINDOW.contains(rich.m_jj).all()
    assert WINDOW.contains(poor.m_jj).all()
    assert (poor.label == 0).all()
    assert (rich.label == 1).any()
    region = WINDOW.contains(data.m_jj)
    n, background = int(region.sum()), int((region & (data.label == 0)).sum())
    # Halves are drawn: within four standard deviations of a fair coin.
    assert abs(len(rich) - n / 2) < 2 * n**0.5
    assert abs(len(poor) - background / 2) < 2 * background**0.5
    share = data.label[region].mean()
    assert rich.label.mean() == pytest.approx(
        share, abs=4 * (share * (1 - share) / len(rich)) ** 0.5
    )


def test_optimal_cwola_takes_a_sample_by_name_and_then_all_of_the_data(samples, monkeypatch):
    method = OptimalCwola(background="more", classifier=TREES)
    rich, poor = seen_by(method, samples, monkeypatch)
    data, more = samples["data"], samples["prior:more"]
    assert rich.event_id.tolist() == data.event_id[WINDOW.contains(data.m_jj)].tolist()
    assert poor.event_id.tolist() == more.event_id[WINDOW.contains(more.m_jj)].tolist()
    assert len(shared(rich, poor)) == 0
    with pytest.raises(ConfigError, match=r"'other', there are more; .* --prior other=FILE"):
        OptimalCwola(background="other").train(job_of(samples))


def test_optimal_cwola_of_a_named_sample_is_a_reference_and_learns(samples, train):
    config = config_for({"best": OptimalCwola(background="more", classifier=TREES)})
    outcomes = train({name: samples[name] for name in ("data", "prior:more")}, config)["best"]
    card = Tagger.from_file(outcomes[0].path).card
    assert (card.uses_truth, set(card.priors)) == (True, {"more"})
    scores = tagger_set("best", outcomes, config, reference=True).score(samples["data"])
    signal = samples["data"].label == 1
    assert auc(scores.raw["event"][signal], scores.raw["event"][~signal]) > 0.8
    with pytest.raises(ConfigError, match="--prior NAME"):
        train({"data": samples["data"]}, config)


def test_data_against_simulation_sees_the_signal_region_alone_and_no_truth(
    samples, train, monkeypatch
):
    config = config_for({"m": DataVsSimulation(classifier=TREES)})
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    given = {name: samples[name] for name in ("data", "simulation")}
    before = train(given, config, plans)
    card = Tagger.from_file(before["m"][0].path).card
    assert (card.knowledge, card.uses_truth) == ("background simulation", False)
    beside = {
        name: altered(sample, ~WINDOW.contains(sample.m_jj)) for name, sample in given.items()
    }
    shuffled = {
        name: replace(sample, label=np.random.default_rng(1).permutation(sample.label))
        for name, sample in given.items()
    }
    # Cards name all events that may be read: what was learned is in the scores.
    scores = [
        [Tagger.from_file(item.path).score(inputs_of(samples["data"], item)) for item in items]
        for items in (before["m"], train(beside, config, plans)["m"])
    ]
    assert np.array_equal(*scores)
    assert shas(train(shuffled, config, plans)) == shas(before)
    swapped = {"data": samples["simulation"], "simulation": samples["data"]}
    assert shas(train(swapped, config, plans)) != shas(before)

    rich, poor = seen_by(DataVsSimulation(classifier=TREES), samples, monkeypatch)
    assert len(shared(rich, poor)) == 0
    for found, name in ((rich, "data"), (poor, "simulation")):
        assert (
            found.event_id.tolist()
            == given[name].select(WINDOW.contains(given[name].m_jj)).event_id.tolist()
        )


def inputs_of(sample, item):
    tagger = Tagger.from_file(item.path)
    return {each.name: each.read(sample) for each in tagger.card.inputs}


def test_simulation_without_the_window_is_one_error(samples):
    far = samples["simulation"].select(~WINDOW.contains(samples["simulation"].m_jj))
    with pytest.raises(TrainingError, match="0 simulation jets"):
        DataVsSimulation(classifier=TREES).train(job_of(samples, simulation=far))


def test_the_norm_is_the_squared_distance_from_the_mean(samples):
    data = samples["data"]
    x = np.stack([data.columns["heavy_mass"], data.columns["heavy_tau21"]], axis=1).astype(float)
    expected = (((x - x.mean(axis=0)) / x.std(axis=0)) ** 2).sum(axis=1)
    scorer = Norm().train(job_of(samples, "heavy"))
    found = scorer.predict({"features": scorer.inputs[0].read(data)})
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    event = EventNorm().train(job_of(samples))
    both = event.predict({"features": event.inputs[0].read(data)})
    light = Norm().train(job_of(samples, "light"))
    others = light.predict({"features": light.inputs[0].read(data)})
    assert both == pytest.approx(found + others, rel=1e-4)


def test_an_untrained_autoencoder_ranks_as_the_norm(samples):
    # arXiv:2101.08320, section 4.2, has it trained for ten steps.
    from scipy.stats import spearmanr

    data = samples["data"]
    slow = OptimizerSettings(learning_rate=1e-12)
    scorer = FeatureAutoencoder(layers=(8,), epochs=1, optimizer=slow).train(job_of(samples))
    norm = EventNorm(features=FeatureAutoencoder().features).train(job_of(samples))
    errors = np.asarray(scorer.model([scorer.inputs[0].read(data)]))
    squares = norm.predict({"features": norm.inputs[0].read(data)})
    assert spearmanr(errors, squares).statistic > 0.8


@pytest.mark.slow
def test_the_comparisons_autoencoder_is_the_norm_after_its_ten_steps():
    """arXiv:2101.08320, section 4.2: eight features, one epoch of 50,000 events."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(4)
    method = FeatureAutoencoderPerJet.comparison()
    mixed = rng.normal(size=(60_000, 4)) @ rng.normal(size=(4, 8)) + rng.normal(size=(60_000, 8))
    jet = dict(zip(method.features, mixed.T, strict=True))
    data = Sample.from_columns(rng.uniform(2800, 5200, len(mixed)), heavy=jet, light=jet)
    members = [method.train(Job(data, "heavy", seed=seed)) for seed in range(2)]
    norm = Norm(features=method.features).train(Job(data, "heavy", seed=1))
    columns = norm.inputs[0].read(data)
    errors = np.mean([np.asarray(one.model([columns])) for one in members], axis=0)
    squares = norm.predict({"features": columns})
    assert spearmanr(errors, squares).statistic > 0.99
    # Each has drawn 50,000 events, a tenth of them to validate; other seeds draw others.
    assert [one.history["events"] for one in members] == [50_000] * 2
    assert not FeatureAutoencoderPerJet.comparison().reads.truth


@pytest.mark.parametrize("wrong", [np.nan, 3.0])
def test_an_autoencoder_refuses_features_that_say_nothing(samples, wrong):
    data = samples["data"]
    columns = {**data.columns, "heavy_tau21": np.full(len(data), wrong, np.float32)}
    broken = replace(data, columns=columns)
    with pytest.raises(TrainingError, match="heavy_tau21"):
        FeatureAutoencoderPerJet(epochs=1).train(Job(broken, "heavy", seed=1))


def test_a_pure_autoencoder_is_trained_on_background_of_the_window(samples):
    pure = FeatureAutoencoder(
        pure=True, mass_window=True, layers=(4,), epochs=1, optimizer=OptimizerSettings()
    )
    assert pure.reads.truth
    assert pure.reads.window
    assert not FeatureAutoencoder().reads.truth
    assert not FeatureAutoencoder().reads.window
    data = samples["data"]
    history = pure.train(job_of(samples)).history
    assert history["events"] == int((WINDOW.contains(data.m_jj) & (data.label == 0)).sum())
    unlabelled = replace(data, label=np.full(len(data), -1, np.int8))
    for given, message in (
        (unlabelled, "have no labels"),
        (data.select(data.label == 1), "no event to train on"),
    ):
        with pytest.raises(TrainingError, match=message):
            pure.train(Job(given, "event", 1, window=WINDOW))


@pytest.mark.parametrize(("method", "scope"), [(Random(), "light"), (EventRandom(), "event")])
def test_a_score_by_lot_is_uniform_and_knows_nothing(method, scope):
    sample = make_sample(20_000, signal_share=0.3, constituents=None)
    scorer = method.train(Job(sample, scope, 1))
    scores = scorer.predict({"features": scorer.inputs[0].read(sample)})
    signal = sample.label == 1
    n, m = int(signal.sum()), int((~signal).sum())
    # Each within four standard deviations.
    assert abs(auc_of(scores, signal) - 0.5) < 4 * ((n + m + 1) / (12 * n * m)) ** 0.5
    assert np.histogram(scores, 20, (0, 1))[0] == pytest.approx(1000, abs=4 * 1000**0.5)
    for name in ("m_jj", "light_mass", "heavy_tau21"):
        assert abs(np.corrcoef(scores, sample.columns[name])[0, 1]) < 4 / len(sample) ** 0.5
    order = np.argsort(sample.columns["light_mass"])
    assert abs(np.corrcoef(scores[order][1:], scores[order][:-1])[0, 1]) < 4 / len(sample) ** 0.5
    cut = np.quantile(scores[~signal], 0.9)
    passed = (scores[signal] > cut).mean()
    assert passed == pytest.approx(0.1, abs=4 * (0.09 / n + 0.09 / m) ** 0.5)
    other = type(method)(seed=2).train(Job(sample, scope, 1))
    assert (
        abs(np.corrcoef(scores, other.predict({"features": other.inputs[0].read(sample)}))[0, 1])
        < 4 / len(sample) ** 0.5
    )


def auc_of(scores, signal):
    from scipy.stats import rankdata

    n, m = int(signal.sum()), int((~signal).sum())
    return (rankdata(scores)[signal].sum() - n * (n + 1) / 2) / (n * m)


@pytest.mark.parametrize(
    "features",
    [
        ("light_mass", "mass_difference", "tau21"),
        ("heavy_mass",),
        ("light_mass", "mass_difference", "heavy_tau21"),
    ],
)
def test_a_supervised_reference_takes_chosen_features(samples, features):
    for classifier in (
        Trees(features=features, trees=8, leaves=4),
        Dense(features=features, layers=(4,), epochs=1, dropout=0.0),
    ):
        method = SupervisedBothJets(classifier=classifier)
        scorer = method.train(job_of(samples))
        jets = {"light_mass": {"light_mass"}, "mass_difference": {"heavy_mass", "light_mass"}}
        jets |= {"tau21": {"heavy_tau21", "light_tau21"}}
        wanted = set().union(*(jets.get(name, {name}) for name in features))
        assert set(scorer.inputs[0].columns) == wanted
