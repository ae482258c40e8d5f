"""Quantile knots: the same levels from numpy, in a Keras model and in a graph of ONNX."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Graph, backend, keras_graph
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.training.quantile_knots import QuantileKnots

NAMES = ("heavy_mass", "light_tau21", "m_jj")
RNG = np.random.default_rng(7)
VALUES = np.stack(
    [
        RNG.exponential(100.0, 5000),
        np.where(RNG.random(5000) < 0.3, 0.0, RNG.random(5000)),  # a third share one value
        RNG.integers(-3, 40, 5000),
    ],
    axis=1,
).astype(np.float32)
EXTREMES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-39, 3e38, -3e38, 1e30, 39.0, -3.0]
ASKED = np.concatenate(
    [VALUES[:500], np.repeat(np.array(EXTREMES, np.float32)[:, None], 3, axis=1)]
)
KNOTS = QuantileKnots.of(VALUES, names=NAMES)


def mid_distribution(column, weight, at):
    below = [(weight[column < x].sum() + weight[column == x].sum() / 2) for x in at]
    return np.array(below) / weight.sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_levels_are_the_share_below(weighted):
    weight = RNG.exponential(1.0, 5000) if weighted else np.ones(5000)
    knots = QuantileKnots.of(VALUES, weight, names=NAMES)
    found = knots.applied(VALUES[:300])
    for i in range(3):
        wanted = mid_distribution(VALUES[:, i], weight, VALUES[:300, i])
        np.testing.assert_allclose(found[:, i], wanted, atol=1.2e-3)
    # The numbers that many share are there exactly, and the mean of all shares is a half.
    tied = VALUES[:300, 1] == 0
    wanted = mid_distribution(VALUES[:, 1], weight, [0.0])
    np.testing.assert_allclose(found[tied, 1], wanted[0], atol=1e-6)
    mean = np.average(knots.applied(VALUES), axis=0, weights=weight)
    np.testing.assert_allclose(mean, 0.5, atol=1e-3)


def test_a_weight_of_two_is_the_event_twice_and_one_of_zero_none():
    weight = np.where(np.arange(5000) < 2000, 2.0, 1.0)
    weight[4000:] = 0
    twice = np.concatenate([VALUES[:4000], VALUES[:2000]])
    one = QuantileKnots.of(VALUES, weight, names=NAMES)
    two = QuantileKnots.of(twice, names=NAMES)
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.levels, two.levels)


def test_the_map_never_falls():
    x = np.sort(np.concatenate([VALUES, VALUES + np.float32(1e-3), VALUES * 3 - 50]), axis=0)
    found = KNOTS.applied(x)
    assert (np.diff(found, axis=0) >= 0).all()
    assert found.min() > 0
    assert found.max() < 1
    assert len(np.unique(KNOTS.applied(VALUES)[:, 0])) > 4900  # between knots it rises


def test_levels_do_not_depend_on_a_monotone_map_of_the_values():
    x = np.random.default_rng(3).uniform(1.0, 4.0, (800, 1)).astype(np.float32)
    one, two = (QuantileKnots.of(each, names=("x",)) for each in (x, np.exp(x)))
    np.testing.assert_allclose(one.applied(x), two.applied(np.exp(x)), atol=3e-3)
    straight = QuantileKnots.of(2 * x, names=("x",)).applied(2 * x)
    np.testing.assert_array_equal(one.applied(x), straight)


def test_few_events_and_few_values_are_all_knots():
    x = np.array([[1.0], [2.0], [2.0], [4.0]], np.float32)
    knots = QuantileKnots.of(x, names=("x",))
    assert np.isfinite(knots.values).sum() == 3
    np.testing.assert_array_equal(knots.applied(x)[:, 0], [0.125, 0.5, 0.5, 0.875])


def test_the_number_of_knots_is_the_most():
    for most in (2, 3, 100):
        knots = QuantileKnots.of(VALUES, names=NAMES, knots=most)
        finite = np.isfinite(knots.values).sum(axis=1)
        assert (finite <= most).all()
        assert finite.max() == most
        assert np.ptp(knots.applied(VALUES), axis=0).min() > 0.6


def test_keras_and_graph_give_the_bits_of_numpy():
    expected = KNOTS.applied(ASKED)
    assert np.isfinite(expected).all()
    shown = Columns.of(NAMES, make_sample(1))
    keras = backend.keras()
    tensor = input_tensor(shown)
    level = KNOTS.tensor(tensor)
    model = keras.Model([tensor], level)
    np.testing.assert_array_equal(backend.array(model([ASKED])), expected)

    graph = Graph(shown)
    levels = KNOTS.add(graph, "features")
    graphs = [graph.model(graph.flat(graph.slice(levels, i))) for i in range(3)]
    graphs.append(keras_graph(keras.Model([tensor], level[:, 2])))
    for i, written in zip((0, 1, 2, 2), graphs, strict=True):
        session = onnxruntime.InferenceSession(written.SerializeToString())
        for moved in (0, 1, 5):
            asked = np.roll(ASKED, moved, axis=0)
            found = session.run(["score"], {"features": asked})[0]
            np.testing.assert_array_equal(np.roll(found, -moved), expected[:, i])
        for n in (1, 3):
            found = session.run(["score"], {"features": ASKED[:n]})[0]
            np.testing.assert_array_equal(found, expected[:n, i])


def test_what_is_no_number_is_the_median_and_what_is_beyond_the_last_knot():
    nothing, above, below = KNOTS.applied(ASKED[500:503])
    np.testing.assert_allclose(nothing, 0.5, atol=0.02)
    np.testing.assert_array_equal(above, KNOTS.applied(VALUES.max(axis=0)[None])[0])
    np.testing.assert_array_equal(below, KNOTS.applied(VALUES.min(axis=0)[None])[0])


def test_values_as_near_as_rounding_have_no_steep_map():
    # Two halves of the events, one last digit apart: a graph may compute either of another.
    near = np.float32(100.0)
    x = np.array([near, np.nextafter(near, np.float32(200)), 150, 300], np.float32)[:, None]
    levels = QuantileKnots.of(np.repeat(x, 50, axis=0), names=("x",)).applied(x)[:, 0]
    np.testing.assert_allclose(levels, [0.25, 0.25, 0.625, 0.875], atol=1e-6)


@pytest.mark.parametrize("values", [[1e-40, 2e-40, 1.0], [-3e38, 1.0, 3e38], [1e-35, 2e-35, 3e30]])
def test_numbers_at_the_ends_of_the_precision_are_finite(values):
    x = np.array(values, np.float32)[:, None]
    knots = QuantileKnots.of(x, names=("x",))
    asked = np.concatenate([x, np.array(EXTREMES, np.float32)[:, None]])
    assert np.isfinite(knots.applied(asked)).all()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.full(10, 3.0), "feature x is the same for all events"),
        (np.array([1.0, np.nan, 2.0]), "feature x is not finite for 1 of 3 events"),
        (np.zeros(0), "feature x is the same for all events"),
        (np.array([100.0, 100.0001, 100.0002]), "feature x hardly varies"),
    ],
)
def test_features_without_quantiles_are_refused(column, message):
    with pytest.raises(TrainingError, match=message):
        QuantileKnots.of(column.astype(np.float32)[:, None], names=("x",))
