from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.training import Graph
from tnt_coffea.training.trees import FEWEST_TREES, boosted_trees

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
