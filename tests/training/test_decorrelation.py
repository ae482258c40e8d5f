"""Scores that do not follow the mass: the penalty for training, and the step behind it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import linprog

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import TrainingError
from tnt_coffea.stats import correlations
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import Images, readers
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Graph, Job, Reads, Scorer, backend
from tnt_coffea.training.checks import checked
from tnt_coffea.training.decorrelation import (
    MassDependence,
    _quantile_curve,
    decorrelated,
    distance_correlation,
)
from tnt_coffea.training.methods import METHODS
from tnt_coffea.training.methods.buhulaspa import Buhulaspa
from tnt_coffea.training.methods.feature import EventFeature
from tnt_coffea.training.methods.norm import EventNorm

from .conftest import config_for

backend.keras()  # with the threads of a training

RNG = np.random.default_rng(1)
X, Y = RNG.uniform(-1, 1, 300), RNG.normal(size=300)
MASS = 4000 + 600 * Y + 200 * X  # [GeV]
WEIGHT = RNG.uniform(0.1, 2, 300)


@pytest.mark.parametrize("b", [Y, X**2, MASS, 1e-4 * X, np.full(300, 3500.0)])
@pytest.mark.parametrize("weight", [np.ones(300), WEIGHT])
def test_the_penalty_is_the_square_of_the_distance_correlation_of_statistics(b, weight):
    expected = correlations.distance_correlation(np.diag(weight), X, b) ** 2
    assert float(distance_correlation(X, b, weight)) == pytest.approx(expected, abs=1e-6)


def test_the_penalty_is_zero_for_independent_events_and_sees_what_has_no_linear_part():
    assert float(distance_correlation(X, Y)) < 0.02  # about 1 / n
    assert np.sqrt(float(distance_correlation(X, X**2))) > 0.3


def test_gradients_of_the_penalty_are_finite_and_lead_to_independence():
    tf = backend.tensorflow()
    slope = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        # Equal values and a constant column are where a distance has no derivative.
        tied = distance_correlation(slope * np.round(MASS / 500), MASS)
        total = (
            distance_correlation(X + slope * Y, Y) + tied + distance_correlation(0 * slope * X, Y)
        )
    gradient = float(tape.gradient(total, slope))
    assert gradient > 0.05


def following(events, seed):
    """Scores whose median and width follow the mass; masses [GeV] that fall exponentially."""
    rng = np.random.default_rng(seed)
    mass = 2600 + rng.exponential(800, events)
    u = np.log(mass / 2600)
    return 7 + 3 * u**2 + (0.2 + u) * rng.gamma(3, size=events), mass


@pytest.fixture(scope="module")
def dependence():
    return MassDependence.of(*following(20000, 1))


def test_median_and_width_of_other_events_are_flat_in_the_mass(dependence):
    score, mass = following(40000, 2)
    flat = dependence.applied(score, mass)
    edges = np.quantile(mass, [*np.linspace(0, 0.9, 10), 0.98, 1])
    before, after = [], []
    for low, high in pairwise(edges):
        chosen = (mass >= low) & (mass <= high)
        for values, found in ((score, before), (flat, after)):
            median = np.median(values[chosen])
            found.append((median, np.quantile(abs(values[chosen] - median), 0.68)))
        # Four standard deviations of both samples together, half as many events to fit.
        error = np.sqrt(3 / chosen.sum())
        assert abs(after[-1][0]) < 4 * 1.25 * error
        assert abs(after[-1][1] - 1) < 4 * 0.9 * error
    moved, widened = np.ptp(before, axis=0)
    assert moved > 3
    assert widened > 1


def test_the_order_of_events_of_one_mass_stays(dependence):
    score, _ = following(500, 3)
    for mass in (2000.0, 2600.0, 3500.0, 1e5):
        flat = dependence.applied(score, np.full(500, mass))
        np.testing.assert_array_equal(np.argsort(flat), np.argsort(score.astype("f4")))


@pytest.mark.parametrize("share", [0.16, 0.5, 0.84])
def test_the_curve_is_the_quantile_regression(share):
    """Against the linear programme: a smaller loss there is not."""
    score, mass = following(300, 4)
    knots = np.array([2600.0, 3200.0, mass.max() + 1])
    curve = _quantile_curve(mass, score, np.ones(300), knots, share)
    tents = np.stack([np.interp(mass, knots, tent) for tent in np.eye(3)], axis=1)
    cost = np.concatenate([np.zeros(3), np.full(300, share), np.full(300, 1 - share)])
    equal = np.hstack([tents, np.eye(300), -np.eye(300)])
    bounds = [(None, None)] * 3 + [(0, None)] * 600
    best = linprog(cost, A_eq=equal, b_eq=score, bounds=bounds).fun
    left = score - tents @ curve
    assert np.maximum(share * left, (share - 1) * left).sum() < 1.002 * best


@pytest.mark.parametrize("events", [60, 900, 1600, 20000])
@pytest.mark.parametrize("features", [("tau21",), ("tau21", "m_jj")])
def test_the_graph_is_the_formula_wherever_an_event_stands(events, features):
    sample = make_sample(600)
    scorer = EventNorm(features=features).train(Job(sample, "event", seed=1))
    drawn = sample.select(np.random.default_rng(1).integers(0, 600, events))
    flat, model = decorrelated(scorer, scorer.model, drawn, np.ones(events, np.bool_))
    assert flat.inputs[0].columns[-1] == "m_jj"
    columns = flat.inputs[0].read(sample)
    columns[:4, -1] = 100, 2599.9, 20000, 1e6
    tagger = Tagger(model.SerializeToString(), "the model")
    found = tagger.score(columns)
    np.testing.assert_allclose(found, flat.predict({"features": columns}), rtol=1e-5, atol=1e-5)
    for shift in range(1, 32):
        np.testing.assert_array_equal(
            np.roll(tagger.score(np.roll(columns, -shift, 0)), shift), found
        )


def test_a_model_of_other_inputs_gets_the_mass_beside_them_and_keeps_its_latent_vector():
    sample = make_sample(300)
    images = Images.of("event", sample)
    graph = Graph(images)
    total = graph.add("ReduceMax", "image", axes=[2, 3], keepdims=0)
    score = graph.flat(graph.add("ReduceMax", total, axes=[1], keepdims=1))
    model = graph.model(score, latent=total)
    scorer = Scorer(model, (images,), predict=lambda inputs: inputs["image"].max((1, 2, 3)))
    flat, made = decorrelated(scorer, model, sample, sample.m_jj < 3300)
    reading = readers(flat.inputs, sample)
    assert list(reading) == ["image", "features"]
    checked(flat, made, reading, len(sample))
    tagger, rows = Tagger(made.SerializeToString(), "the model"), np.arange(len(sample))
    latent = tagger.latent({name: read(rows) for name, read in reading.items()})
    np.testing.assert_array_equal(latent, images.read(sample).max((2, 3)))
    assert abs(flat.summary["mass_correlation_decorrelated"]) < 0.15


class Windowed(EventFeature):
    """An observable of a method that has a window."""

    kind: Literal["windowed"] = "windowed"
    feature: str = "heavy_tau21"

    @property
    def reads(self):
        return Reads(window=True)


def test_events_in_the_window_have_no_part_in_it(train):
    sample = make_sample(800)
    inside = (sample.m_jj > 3300) & (sample.m_jj < 3700)
    others = {
        name: sample.columns["heavy_tau21"] * np.where(where, 0.5, 1).astype(np.float32)
        for name, where in (("same", np.zeros(800, bool)), ("in", inside), ("out", ~inside))
    }
    scores = {}
    for name, column in others.items():
        changed = replace(sample, columns=dict(sample.columns) | {"heavy_tau21": column})
        config = config_for({"flat": Windowed(decorrelate=True)})
        (item, *_) = train(changed, config)["flat"]
        tagger = Tagger.from_file(item.path)
        assert tagger.card.settings["decorrelate"]
        assert tagger.card.orientation == "fixed sign, decorrelated"
        assert {"mass_correlation", "mass_correlation_decorrelated"} <= set(tagger.card.history)
        scores[name] = tagger.score(tagger.card.inputs[0].read(sample))
    np.testing.assert_array_equal(scores["in"], scores["same"])
    assert not np.array_equal(scores["out"], scores["same"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("norm", "scores of heavy and light jets, and only a score of the event"),
        ("dctr", "scores of weights"),
        ("event_random", "reads no events"),
    ],
)
def test_settings_that_cannot_be_decorrelated_are_refused(kind, message):
    with pytest.raises(ValidationError, match=message):
        METHODS[kind](decorrelate=True)


def test_settings_without_it_are_stored_as_before():
    assert "decorrelate" not in EventNorm().model_dump()
    assert EventNorm().digest() != EventNorm(decorrelate=True).digest()
    methods = {
        "plain": EventNorm(),
        "flat": EventNorm(decorrelate=True),
        "latent": Buhulaspa(optimizer={"kind": "adam"}),
    }
    config = config_for(methods)
    assert SearchConfig.from_text(config.to_yaml()) == config  # with every default written out


@pytest.mark.parametrize(
    ("score", "mass", "message"),
    [
        (np.ones(100), np.arange(100.0), "the same for most events"),
        (np.arange(100.0), np.arange(100.0), "a function of the mass"),
        (np.arange(9.0), np.arange(9.0), "9 events of 9 masses"),
        (np.arange(100.0), np.full(100, 3500.0), "100 events of 1 masses"),
    ],
)
def test_scores_that_leave_nothing_are_refused(score, mass, message):
    with pytest.raises(TrainingError, match=message):
        MassDependence.of(score, mass)
