from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.reporting.evaluation import MOST_POINTS, roc_curve


def pair_count(score, is_signal):
    """AUC by counting all pairs, ties half."""
    s, b = score[is_signal][:, None], score[~is_signal][None, :]
    return float(((s > b) + 0.5 * (s == b)).mean())


@pytest.mark.parametrize("decimals", [8, 1])
def test_area_is_the_share_of_ordered_pairs_ties_half(decimals):
    rng = np.random.default_rng(1)
    is_signal = rng.random(700) < 0.3
    score = np.round(rng.normal(size=700) + 0.8 * is_signal, decimals)

    roc = roc_curve(score, is_signal, np.ones(700))

    assert roc.auc == pytest.approx(pair_count(score, is_signal), abs=1e-12)
    trapezoid = np.trapezoid(roc.true_positive, roc.false_positive)
    assert trapezoid == pytest.approx(roc.auc, abs=2e-3)


def test_a_weight_of_two_is_an_event_twice():
    rng = np.random.default_rng(2)
    is_signal, score = rng.random(300) < 0.4, rng.integers(0, 20, 300).astype(float)
    weight = rng.integers(1, 4, 300)

    weighted = roc_curve(score, is_signal, weight.astype(float))
    repeated = roc_curve(
        np.repeat(score, weight), np.repeat(is_signal, weight), np.ones(weight.sum())
    )

    assert weighted.auc == pytest.approx(repeated.auc, abs=1e-12)
    np.testing.assert_allclose(weighted.true_positive, repeated.true_positive)
    np.testing.assert_allclose(weighted.false_positive, repeated.false_positive)


def test_uncertainty_of_the_area_is_its_spread_over_experiments():
    rng = np.random.default_rng(3)
    is_signal = np.arange(400) < 100

    rocs = [
        roc_curve(rng.normal(size=400) + 1.0 * is_signal, is_signal, np.ones(400))
        for _ in range(400)
    ]

    spread = np.std([roc.auc for roc in rocs])
    # The spread of 400 experiments is known to 3.5 %.
    assert np.mean([roc.auc_uncertainty for roc in rocs]) == pytest.approx(spread, rel=0.12)


def test_perfect_and_inverted_scores():
    is_signal, weight = np.array([True, True, False, False]), np.ones(4)

    assert roc_curve(np.array([4.0, 3, 2, 1]), is_signal, weight).auc == 1.0
    assert roc_curve(np.array([1.0, 2, 3, 4]), is_signal, weight).auc == 0.0


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_its_steep_start():
    rng = np.random.default_rng(4)
    is_signal = rng.random(20_000) < 0.1
    roc = roc_curve(rng.normal(size=20_000) + 2.0 * is_signal, is_signal, np.ones(20_000))

    assert len(roc.false_positive) <= MOST_POINTS
    assert (roc.false_positive[0], roc.true_positive[0]) == (0.0, 0.0)
    assert (roc.false_positive[-1], roc.true_positive[-1]) == (1.0, 1.0)
    assert np.all(np.diff(roc.false_positive) >= 0)
    assert np.all(np.diff(roc.true_positive) >= 0)
    assert min(x for x in roc.false_positive if x > 0) < 2 / (~is_signal).sum()
    trapezoid = np.trapezoid(roc.true_positive, roc.false_positive)
    assert trapezoid == pytest.approx(roc.auc, abs=1e-3)
