"""Networks of the leading jets: what is not there has no part, and what the priors are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import Sequence
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job, backend
from tnt_coffea.training.classifiers import Momenta
from tnt_coffea.training.export import keras_graph
from tnt_coffea.training.jet_sequences import sequence_classifier, standardisation_of
from tnt_coffea.training.methods.lstm import Lstm

from .conftest import config_for

ADAM = {"batch": 50, "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999}
SMALL = Lstm(cells=(4,), layers=(8,), epochs=1, optimizer=ADAM)
MOST = 5


def simulated(n=300, jets=MOST):
    return {
        "simulation": make_sample(n, 0.0, kind="sim", sequence=jets),
        "prior:a": make_sample(n // 3, 1.0, kind="a", sequence=jets),
        "prior:b": make_sample(n // 3, 1.0, kind="b", sequence=jets),
    }


@pytest.fixture(scope="module")
def samples():
    return {"data": make_sample(100, sequence=MOST), **simulated()}


def fitted(method, samples):
    """The outcome of one training run."""
    priors = {key[6:]: sample for key, sample in samples.items() if key.startswith("prior:")}
    simulation = samples["simulation"]
    nothing = simulation.select(np.arange(0))
    with backend.one_thread():
        return method.train(Job(nothing, "event", 3, simulation=simulation, priors=priors))


@pytest.fixture(scope="module")
def scorer(samples):
    return fitted(SMALL, samples)


def jets_of(sample):
    return Sequence.of(sample).read(sample)


@pytest.mark.slow
def test_the_network_of_the_paper_is_its_graph():
    sample = make_sample(64, sequence=10)
    jets = jets_of(sample)
    jets[0] = 0
    jets[1, 1:] = 0
    jets[2, :, 3] = 0  # massless
    jets[3] = (6500.0, 5.0, np.pi, 3000.0)
    jets[4] = (20.0, -5.0, -np.pi, 0.0)
    jets[5] = (1e30, 1e3, -1e3, 1e30)  # nowhere: finite is enough
    model = sequence_classifier(Sequence.of(sample), standardisation_of(jets[6:]), seed=1)
    assert model.count_params() == 215_553
    graph = keras_graph(model)
    assert [node.op_type for node in graph.graph.node].count("LSTM") == 2
    found = Tagger(graph.SerializeToString(), "the tagger").score({"sequence": jets})
    expected = backend.array(model({"sequence": jets}))
    assert np.isfinite(found).all()
    assert np.abs(found - expected)[6:].max() < 1e-7
    assert np.delete(found, 5) == pytest.approx(np.delete(expected, 5), rel=1e-5, abs=1e-6)


def test_what_stands_in_the_padding_has_no_part(scorer, samples):
    tagger = Tagger(keras_graph(scorer.model).SerializeToString(), "the tagger")
    jets = jets_of(samples["data"])
    before = tagger.score({"sequence": jets})
    padding = jets[..., 0] == 0
    assert padding.any()
    rng = np.random.default_rng(1)
    beside = rng.normal(0, 1e3, (*jets.shape[:2], 3)).astype(np.float32)
    for values in (beside, np.take(beside, rng.permutation(MOST), axis=1)):
        filled = jets.copy()
        filled[padding, 1:] = values[padding]
        assert np.array_equal(tagger.score({"sequence": filled}), before)
        assert np.array_equal(standardisation_of(filled).mean, standardisation_of(jets).mean)
    there = jets.copy()
    there[~padding, 1] += 0.5
    assert not np.array_equal(tagger.score({"sequence": there}), before)


def test_two_jets_of_many_are_a_sequence_of_two(samples):
    data, two = samples["data"], first_jets(samples["data"], 2)
    scores = []
    for sample, most in ((data, 2), (two, None), (data, None)):
        jets = jets_of(sample)
        standard = standardisation_of(jets, most=most)
        shape = {"cells": (4, 4), "layers": (8,), "most": most}
        model = sequence_classifier(Sequence.of(sample), standard, seed=1, **shape)
        scores.append(backend.array(model([jets])))
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def first_jets(sample, most):
    """The sample as a skim with fewer jets in the sequence has it."""
    sequence = sample.settings.sequence.model_copy(update={"jets": most})
    settings = sample.settings.model_copy(update={"sequence": sequence})
    lists = {
        name: column[:, :most] if name.startswith("sequence_") else column
        for name, column in sample.lists.items()
    }
    return replace(sample, settings=settings, lists=lists)


def test_one_prior_is_learned_or_all_of_them_alike(samples, scorer):
    counts = {"simulated background": 300, "signal a": 100, "signal b": 100}
    assert scorer.history.items() >= counts.items()
    one = fitted(SMALL.model_copy(update={"prior": "a"}), samples).history
    assert "signal b" not in one
    assert one["loss"] != scorer.history["loss"]


@pytest.mark.parametrize(
    ("left_out", "method", "message"),
    [
        ("simulation", SMALL, r"train\.methods\.m \(lstm\) reads .*--simulation FILE"),
        ("prior", SMALL, r"train\.methods\.m \(lstm\) reads .*--prior NAME"),
        ("nothing", SMALL.model_copy(update={"prior": "c"}), "a, b; give it with --prior c=FILE"),
    ],
)
def test_what_is_missing_is_named_with_its_flag(left_out, method, message, samples, train):
    given = {role: sample for role, sample in samples.items() if not role.startswith(left_out)}
    with pytest.raises(ConfigError, match=message):
        train(given, config_for({"m": method}))


def with_jets(sample, **values):
    """The sample with other numbers of the jets."""
    return replace(sample, lists=sample.lists | values)


def test_what_nothing_can_be_learned_of_is_refused_before_training(samples):
    simulation = samples["simulation"]
    massless = {
        role: with_jets(sample, sequence_mass=0 * sample.lists["sequence_mass"])
        for role, sample in samples.items()
    }
    with pytest.raises(TrainingError, match="log mass of the jets in sequence is the same for all"):
        fitted(SMALL, massless)
    none = {role: first_jets(sample, 0) for role, sample in samples.items()}
    none = {
        role: replace(sample, settings=samples["data"].settings) for role, sample in none.items()
    }
    with pytest.raises(TrainingError, match="no jet in the sequences of 450 events"):
        fitted(SMALL, none)
    few = samples | {"prior:b": samples["prior:b"].select(np.arange(5))}
    with pytest.raises(TrainingError, match="5 signal b jets, at least 10 are needed"):
        fitted(SMALL, few)
    weight = np.where(np.arange(len(simulation)), 1.0, -1.0)
    with pytest.raises(TrainingError, match="1 of 300 weights of simulated background are neg"):
        fitted(SMALL, samples | {"simulation": replace(simulation, weight=weight)})


def test_momenta_over_the_mass_are_unit_free_and_agree_with_their_graph():
    sample = make_sample(64, sequence=10)
    network = Momenta(layers=(8, 8))
    assert [each.name for each in network.inputs("event", sample)] == ["sequence", "features"]
    model = network.model("event", sample, None, seed=1)
    assert Momenta().model("event", sample, None, seed=1).count_params() == 809_473
    jets, mass = jets_of(sample), sample.columns["m_multijet"][:, None].copy()
    jets[0], mass[0] = 0, 0
    jets[1, 1:], mass[1] = 0, 0  # one massless jet
    jets[2] = (6500.0, 5.0, np.pi, 3000.0)
    tagger = Tagger(keras_graph(model).SerializeToString(), "the tagger")
    found = tagger.score({"sequence": jets, "features": mass})
    assert found == pytest.approx(backend.array(model([jets, mass])), rel=1e-5, abs=1e-6)
    larger = jets * np.array([2, 1, 1, 2], np.float32)
    scaled = tagger.score({"sequence": larger, "features": 2 * mass})
    assert scaled[2:] == pytest.approx(found[2:], abs=1e-5)
    padded = jets.copy()
    padded[jets[..., 0] == 0, 1:3] = 1.5
    assert np.array_equal(tagger.score({"sequence": padded, "features": mass}), found)


@pytest.mark.slow
def test_a_signal_of_another_mass_is_taken_for_less():
    samples = {
        "simulation": make_sample(4000, 0.0, kind="sim", sequence=MOST),
        "prior:a": make_sample(1500, 1.0, kind="a", sequence=MOST),
    }
    method = Lstm(epochs=10, optimizer=ADAM | {"learning_rate": 0.001})
    model = fitted(method, samples).model
    same = make_sample(1500, 1.0, seed=7, sequence=MOST)
    background = make_sample(4000, 0.0, seed=7, sequence=MOST)
    scale = 4500 / 3500
    other = with_jets(
        same,
        **{f"sequence_{name}": scale * same.lists[f"sequence_{name}"] for name in ("pt", "mass")},
    )
    of_same, of_other, of_background = (
        backend.array(model([jets_of(sample)])) for sample in (same, other, background)
    )
    cut = np.quantile(of_same, 0.05)  # 95 % of the signal that was learned
    assert (of_background > cut).mean() < 0.1
    assert (of_other > cut).mean() < 0.75
    # What is taken for signal has the mass that was learned, signal or not.
    taken = background.m_jj[of_background > cut]
    assert abs(np.median(taken) - 3500) < abs(np.median(background.m_jj) - 3500)
