"""A tagger that would mislead is not written."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.checks import checked
from tnt_coffea.training.export import trees_model
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.trained import Trained
from tnt_coffea.training.trees import BoostedTrees, Tree

FEATURES = FeatureSet(("a",), ("a",), ((0,),))
X = np.linspace(0, 1, 100, dtype=np.float32)[:, None]
ROWS = np.arange(100)


def stump(low, high, cut=0.5):
    tree = Tree(
        np.array([0, -1, -1]),
        np.array([cut, 0, 0], np.float32),
        np.array([1, 0, 0]),
        np.array([2, 0, 0]),
        np.array([0, low, high], np.float32),
    )
    return BoostedTrees(0.0, (tree,), (), ())


def look_at(trees, predict=None):
    made = Trained(
        trees_model(trees, FEATURES), {}, {"loss": 1}, predict or (lambda rows: trees(X[rows]))
    )
    return checked(made, lambda rows: {"features": X[rows]}, ROWS)


def test_a_sound_tagger_passes_with_its_ties_noted():
    assert look_at(stump(-1.0, 1.0)).history == {"loss": 1, "tied": 1.0}


def test_a_constant_score_is_refused():
    with pytest.raises(TrainingError, match=r"0\.731059 for all of 100 jets"):
        look_at(stump(1.0, 1.0))


def test_a_score_of_nearly_all_jets_is_refused():
    assert look_at(stump(-1.0, 1.0, cut=0.89)).history["tied"] == 1.0
    with pytest.raises(TrainingError, match="one score is that of 92% of 100 jets, at most 90%"):
        look_at(stump(-1.0, 1.0, cut=0.92))


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(TrainingError, match="50 of 100 scores are not finite"):
        look_at(stump(np.nan, 1.0))


def test_a_graph_that_says_something_else_than_the_network_is_refused():
    trees = stump(-1.0, 1.0)
    with pytest.raises(TrainingError, match="differs from the network"):
        look_at(trees, lambda rows: trees(X[rows]) + np.float32(1e-4))
