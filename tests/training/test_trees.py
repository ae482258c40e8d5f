from __future__ import annotations

import hashlib

import numpy as np
import onnxruntime
import pytest

from tnt_coffea import testing
from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.training import Graph, trees
from tnt_coffea.training.classifiers import Trees
from tnt_coffea.training.trees import FEWEST_TREES, binned, boosted_trees
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

rng = np.random.default_rng(4)
X = rng.normal(size=(3000, 3)).astype(np.float32)
# A ring in two features, which no cut on one of them finds; the third is noise.
Y = (np.hypot(X[:, 0], X[:, 1]) > 1.2).astype(float)
ONES = np.ones(len(X))


def grown(x=X, y=Y, w=ONES, **changes):
    settings = {"rounds": 40, "leaves": 8, "shrinkage": 0.2, "patience": 5} | changes
    return boosted_trees(
        (x[:2000], x[2000:]), (y[:2000], y[2000:]), (w[:2000], w[2000:]), **settings
    )


def test_a_ring_is_found_and_the_noise_left_alone():
    trees = grown()
    p = trees(X[2000:])
    assert (p[Y[2000:] == 1][:, None] > p[Y[2000:] == 0]).mean() > 0.97
    split_on = np.concatenate([tree.feature[tree.feature >= 0] for tree in trees.trees])
    assert (split_on == 2).mean() < 0.15
    assert trees.validation_loss[-1] < 0.4 * trees.validation_loss[0]


def test_growth_stops_where_the_validation_loss_is_least():
    noisy = np.where(rng.random(3000) < 0.4, rng.random(3000).round(), Y)
    trees = grown(y=noisy, patience=3, rounds=100)
    assert len(trees.trees) == int(np.argmin(trees.validation_loss)) + 1
    assert FEWEST_TREES < len(trees.validation_loss) == len(trees.trees) + 3 < 100


def test_where_there_is_nothing_to_learn_scores_are_still_different():
    noise = rng.random(3000).round()
    trees = grown(y=noise, patience=3)
    assert np.argmin(trees.validation_loss) < FEWEST_TREES
    kept = FEWEST_TREES + int(np.argmin(trees.validation_loss[FEWEST_TREES - 1 :]))
    assert FEWEST_TREES <= len(trees.trees) == kept < 40
    _, repeats = np.unique(trees(X), return_counts=True)
    assert repeats.max() < 0.1 * len(X)
    assert len(grown(y=noise, rounds=2).trees) == 2


def test_the_graph_gives_the_same_probabilities():
    trees = grown()
    graph = Graph(Columns(columns=("a", "b", "c")))
    odds = graph.add_trees("features", trees.trees, trees.base)
    model = graph.model(graph.flat(graph.add("Sigmoid", odds)))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    scores = session.run(["score"], {"features": X[:500]})[0]
    np.testing.assert_allclose(scores, trees(X[:500]), atol=1e-6)


def test_a_weight_of_two_is_the_event_twice():
    twice = np.concatenate([X[:2000], X[:500]]), np.concatenate([Y[:2000], Y[:500]])
    weights = np.where(np.arange(2000) < 500, 2.0, 1.0)
    settings = {"rounds": 3, "leaves": 4, "shrinkage": 0.2, "patience": 5}
    one = boosted_trees(
        (X[:2000], X[2000:]), (Y[:2000], Y[2000:]), (weights, ONES[2000:]), **settings
    )
    two = boosted_trees(
        (twice[0], X[2000:]), (twice[1], Y[2000:]), (np.ones(2500), ONES[2000:]), **settings
    )
    # Bins follow events, not weights, so the trees differ; what they say hardly does.
    assert np.abs(one(X) - two(X)).mean() < 0.03


def test_constant_features_are_no_splits():
    flat = np.ones_like(X)
    trees = grown(flat)
    assert {len(tree.feature) for tree in trees.trees} == {1}
    assert np.ptp(trees(flat)) == 0


def test_no_events_are_refused():
    with pytest.raises(TrainingError, match="no events to grow"):
        boosted_trees(
            (X[:0], X), (Y[:0], Y), (ONES[:0], ONES), rounds=1, leaves=2, shrinkage=0.1, patience=1
        )


def arrays(model):
    return [
        getattr(tree, name)
        for tree in model.trees
        for name in ("feature", "threshold", "left", "right", "value")
    ]


def correlated(n, kind):
    """Features that split alike, or hardly otherwise, and (n,) targets and weights."""
    random = np.random.default_rng(7)
    x = random.normal(size=(n, 6)).astype(np.float32)
    x[:, 3], x[:, 4], x[:, 5] = 2 * x[:, 0], -x[:, 1], x[:, 2].round(1)
    y = (random.random(n) < 0.4 + 0.2 * (x[:, 0] > 0.3)).astype(float)
    w = np.ones(n)
    if kind == "weights":
        w = random.gamma(1.0, size=n)
    elif kind == "subtracted":
        w = np.where(random.random(n) < 0.15, -1.0, 1.0)
    elif kind == "steps":
        x = x.round(0)
    elif kind == "constant":
        x[:, :5] = 3.0
    elif kind == "wide":
        x = random.normal(size=(n, 2 * n)).astype(np.float32)
    return x, y, w


@pytest.mark.parametrize(
    ("kind", "n"),
    [
        ("plain", 2500),
        ("weights", 800),
        ("subtracted", 800),
        ("steps", 800),
        ("constant", 800),
        ("wide", 40),
        ("few", 30),
    ],
)
def test_histograms_leave_every_byte_that_all_features_give(kind, n, monkeypatch):
    x, y, w = correlated(n, kind)
    fast = grown_of(x, y, w)
    monkeypatch.setattr(trees, "_promising", lambda leaf, *_: np.arange(len(leaf.sums[0])))
    slow = grown_of(x, y, w)
    assert [a.tobytes() for a in arrays(fast)] == [a.tobytes() for a in arrays(slow)]
    assert (fast.loss, fast.validation_loss) == (slow.loss, slow.validation_loss)
    assert kind == "constant" or any(len(tree.feature) > 1 for tree in fast.trees)


def grown_of(x, y, w):
    n = 4 * len(x) // 5
    return boosted_trees(
        (x[:n], x[n:]),
        (y[:n], y[n:]),
        (w[:n], w[n:]),
        rounds=8,
        leaves=6,
        shrinkage=0.2,
        patience=9,
    )


def test_trees_are_those_of_sums_over_every_feature_of_every_leaf():
    # The digest is of the growth before histograms were subtracted; values are left out, for the
    # exponential of another processor may round otherwise.
    found = grown_of(*correlated(2500, "weights"))
    shapes = b"".join(a.tobytes() for a in arrays(found) if a.dtype != np.float32)
    cuts = b"".join(tree.threshold.tobytes() for tree in found.trees)
    assert hashlib.sha256(shapes + cuts).hexdigest()[:16] == "b77b13baa1a27996"


def test_sums_of_blocks_are_sums_of_events():
    random = np.random.default_rng(2)
    n = 2 * trees._BLOCK + 5
    bins = random.integers(0, 64, (3, n)).astype(np.uint8)
    values = random.integers(-9, 9, (2, n)).astype(float)
    cells = trees._Cells(bins)
    for rows in (np.arange(n), np.flatnonzero(random.random(n) < 0.8), np.arange(3)):
        found = cells.sums(rows, list(values[:, rows]))
        for place, own in zip(found, values, strict=True):
            expected = [np.bincount(of[rows], own[rows], minlength=64) for of in bins]
            np.testing.assert_array_equal(place, expected)


def test_bins_are_places_among_quantiles():
    x = np.concatenate([X[:, :2], X[:, :1].round(), np.full((len(X), 1), 2)], 1, dtype="f4")
    edges, bins = binned(x)
    for column, own, found in zip(x.T, edges, bins, strict=True):
        levels = np.arange(1, 64) / 64
        assert own.tolist() == np.unique(np.quantile(column, levels, method="lower")).tolist()
        assert found.tolist() == np.searchsorted(own, column).tolist()


def test_a_feature_that_is_not_a_number_for_some_events_is_no_split():
    holed = X.copy()
    holed[::50, 0] = np.nan
    split_on = np.concatenate([tree.feature for tree in grown(holed, rounds=5).trees])
    assert set(split_on) == {-1, 1, 2}


def test_every_training_sees_a_share_of_the_features_drawn_from_its_seed():
    sample = testing.make_sample(300)
    above = sample.m_jj > np.median(sample.m_jj)
    classes = ("above", above, 1.0), ("below", ~above, 0.0)
    labels = WeakLabels(tuple(SampleClass(n, sample, mask, target=t) for n, mask, t in classes))
    bagged = Trees(features=("mass", "tau21", "pt / m_jj", "eta"), trees=3, feature_share=0.5)
    runs = [bagged.train(labels, "heavy", seed) for seed in (1, 2, 3, 1)]
    columns = [run.inputs[0].columns for run in runs]
    assert len(set(columns)) == 3
    assert all(len(set(each) - {"m_jj"}) == 2 for each in columns)
    assert columns[0] == columns[3]
    written = [run.model.SerializeToString() for run in runs]
    assert written[0] == written[3]
    for run, model in zip(runs, written, strict=True):
        inputs = {"features": run.inputs[0].read(sample)[:32]}
        scores = onnxruntime.InferenceSession(model).run(["score"], inputs)[0]
        np.testing.assert_allclose(scores, run.predict(inputs), atol=1e-6)


def test_all_features_are_no_setting():
    assert "feature_share" not in Trees().model_dump()
    assert Trees(feature_share=0.01).kept("heavy", testing.make_sample(5), 1).size == 1
    assert Trees().kept("event", testing.make_sample(5), 1).tolist() == [0, 1, 2, 3]
