from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TrainingError
from tnt_coffea.training.labels import rich_labels, score_order

rng = np.random.default_rng(1)
IDS = rng.integers(0, 2**64, 1000, dtype=np.uint64)


def test_shares_are_exact_and_disjoint_even_when_all_scores_tie():
    order = score_order(np.zeros(1000), IDS, "a" * 64)
    labels = rich_labels(order, np.ones(1000), signal_rich=0.2, background_rich=0.4)
    assert labels.signal_rich.sum() == 200
    assert labels.background_rich.sum() == 400
    assert not (labels.signal_rich & labels.background_rich).any()


def test_top_is_signal_rich_and_bottom_is_background_rich():
    scores = rng.permutation(1000) / 7
    labels = rich_labels(
        score_order(scores, IDS, "t"), np.ones(1000), signal_rich=0.1, background_rich=0.4
    )
    assert scores[labels.signal_rich].min() > np.sort(scores)[899]
    assert scores[labels.background_rich].max() < np.sort(scores)[400]


def test_labels_follow_the_events_whatever_their_order():
    scores = rng.integers(0, 10, 1000)
    shuffled = rng.permutation(1000)
    one = score_order(scores, IDS, "t")
    two = score_order(scores[shuffled], IDS[shuffled], "t")
    assert np.array_equal(one, shuffled[two])


def test_ties_are_broken_differently_by_every_tagger():
    one, two = (score_order(np.zeros(1000), IDS, name)[:200] for name in ("one", "two"))
    # 40 are expected in common, with a standard deviation of 5.
    assert abs(len(set(one) & set(two)) - 40) < 25


def test_window_binds_signal_rich_only_and_shares_are_of_all_events():
    order = score_order(np.arange(1000), IDS, "t")
    m_jj = np.where(np.arange(1000) % 2, 3500.0, 2000.0)
    m_jj[999] = 3700.0
    labels = rich_labels(
        order,
        m_jj,
        signal_rich=0.2,
        background_rich=0.4,
        window=MassRange(low=3300, high=3700),
    )
    assert np.array_equal(np.flatnonzero(labels.signal_rich), np.arange(801, 999, 2))
    assert labels.background_rich.sum() == 400


def test_overlapping_shares_are_refused():
    with pytest.raises(TrainingError, match="overlap"):
        rich_labels(np.arange(10), np.ones(10), signal_rich=0.7, background_rich=0.4)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(TrainingError, match="1 of 3 scores"):
        score_order([1.0, np.nan, 2.0], IDS[:3], "t")
