"""Real AdaBoost: its known answers, and a literal computation of it."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.training import Graph, adaboost
from tnt_coffea.training.adaboost import reweighted, voting_trees

rng = np.random.default_rng(6)
X = rng.uniform(-1, 1, (600, 3)).astype(np.float32)
# Two classes with a gap along the diagonal of two features; the third is noise.
APART = np.abs(X[:, 0] + X[:, 1]) > 0.2
X = X[APART]
Y = X[:, 0] + X[:, 1] > 0
ONES = np.ones(len(X))


def grown(x=X, y=Y, w=ONES, **changes):
    return voting_trees(x, y, w, **{"trees": 60, "depth": 1, "learning_rate": 1.0} | changes)


def test_stumps_separate_what_none_of_them_can():
    votes = grown()
    assert votes.errors[0] > 0.1
    assert votes.errors[-1] == 0
    assert ((votes(X) > 0) == Y).all()
    assert {len(tree.feature) for tree in votes.trees} == {3}
    assert 7 < max(len(tree.feature) for tree in grown(depth=3, trees=5).trees) <= 15


def test_weights_are_normalised_in_every_round(monkeypatch):
    given, sums = [], []

    def watched(weights, targets, votes):
        given.append(weights.sum())
        out = reweighted(weights, targets, votes)
        sums.append(out.sum())
        return out

    monkeypatch.setattr(adaboost, "reweighted", watched)
    grown(w=7 * ONES, trees=20)
    assert given == pytest.approx(np.ones(20), rel=1e-12)
    assert sums == pytest.approx(np.ones(20), rel=1e-12)


def literal(x, y, w, trees, rate):
    """Return (tree,) feature, threshold and votes of both leaves, event by event."""
    w, found = w / w.sum(), []

    def entropy(mask):
        total = w[mask].sum()
        shares = [w[mask & (y == c)].sum() / total for c in (False, True)]
        return -total * sum(share * np.log(share) for share in shares if share > 0)

    for _ in range(trees):
        options = []
        for feature in range(x.shape[1]):
            for cut in np.unique(x[:, feature])[:-1]:
                below = x[:, feature] <= cut
                options.append((entropy(below) + entropy(~below), feature, cut))
        _, feature, cut = min(options)
        below = x[:, feature] <= cut
        p = [w[side & y].sum() / w[side].sum() for side in (below, ~below)]
        votes = [rate / 2 * np.log(share / (1 - share)) for share in np.clip(p, 1e-6, 1 - 1e-6)]
        w = w * np.exp(-np.where(y, 1, -1) * np.where(below, *votes))
        w = w / w.sum()
        found.append((feature, cut, *votes))
    return found


def test_trees_are_those_of_a_literal_computation():
    few = np.round(X[:80] * 8) / 8  # every value is a quantile
    y, w = Y[:80].copy(), rng.uniform(0.5, 2, 80)
    y[::7] ^= True
    votes = grown(few, y, w, trees=8, learning_rate=0.5)
    for tree, expected in zip(votes.trees, literal(few, y, w, 8, 0.5), strict=True):
        found = (tree.feature[0], tree.threshold[0], *tree.value[1:])
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_weight_of_two_is_the_event_twice():
    few = np.round(X * 8) / 8
    w = np.where(np.arange(len(X)) < 100, 2.0, 1.0)
    twice = [np.concatenate([part, part[:100]]) for part in (few, Y, ONES)]
    weighted, doubled = grown(few, Y, w, depth=2), grown(*twice, depth=2)
    np.testing.assert_allclose(weighted(few), doubled(few), rtol=1e-4, atol=1e-4)


def test_exchanged_classes_exchange_the_sign():
    votes, other = grown(depth=2), grown(y=~Y, depth=2)
    np.testing.assert_allclose(votes(X), -other(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_graph_gives_the_same_sums(depth):
    votes = grown(depth=depth, trees=200, learning_rate=0.1)
    graph = Graph(Columns(columns=("a", "b", "c")))
    model = graph.model(graph.flat(graph.add_trees("features", votes.trees)))
    shown = X.copy()
    on_the_edge = votes.trees[0]
    shown[0, on_the_edge.feature[0]] = on_the_edge.threshold[0]
    shown[1:4] = [[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3]
    scores = Tagger(model.SerializeToString(), "trees").score({"features": shown})
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, votes(shown), rtol=1e-5, atol=1e-5)


def test_a_perfect_feature_gives_finite_votes():
    votes = grown(np.column_stack([Y, X]).astype(np.float32), trees=700, learning_rate=0.1)
    assert votes.errors[-1] == 0
    assert np.isfinite(votes(np.column_stack([Y, X]).astype(np.float32))).all()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"x": np.ones_like(X)}, "no feature splits the events"),
        ({"y": np.ones_like(Y)}, "one of the two classes has no events"),
        ({"w": np.where(Y, 1.0, 0.0)}, "one of the two classes has no events"),
        ({"w": -ONES}, "weights are negative"),
    ],
)
def test_what_teaches_nothing_is_refused(changes, cause):
    with pytest.raises(TrainingError, match=cause):
        grown(**changes)
