"""The field's figures of merit against counting cut by cut."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.reporting.figures_of_merit import max_sic, passing, sic_at


def every_cut(score, is_signal):
    """(eps_B, eps_S / sqrt(eps_B)) of every cut between scores that leaves 25 background events."""
    found = []
    for cut in np.unique(score):
        kept = score >= cut
        if (kept & ~is_signal).sum() >= 25:
            s, b = kept[is_signal].mean(), kept[~is_signal].mean()
            found.append((s / np.sqrt(b), b))
    return max(found)


@pytest.mark.parametrize("decimals", [8, 1])
def test_the_largest_improvement_is_that_of_the_best_cut_with_25_background_events(decimals):
    rng = np.random.default_rng(1)
    is_signal = rng.random(1500) < 0.2
    score = np.round(rng.normal(size=1500) + 1.5 * is_signal, decimals)
    best, eps_background = every_cut(score, is_signal)

    found = max_sic(score, is_signal)

    assert found.value == pytest.approx(best, rel=1e-12)
    assert found.efficiency == pytest.approx(eps_background, rel=1e-12)
    assert 0 < found.uncertainty < 0.25 * found.value
    assert best > 1.5


def test_a_cut_with_fewer_than_25_background_events_does_not_count():
    # 24 background events are above the signal: the next one below has to be let in.
    score = np.append(np.arange(1000.0), np.full(40, 975.5))
    is_signal = np.arange(1040) >= 1000
    assert max_sic(score, is_signal).value == pytest.approx(1 / np.sqrt(25 / 1000))
    one_more = np.append(score, np.arange(975.6, 975.9, 0.1))
    kinds = np.append(is_signal, [False] * 3)
    assert max_sic(one_more, kinds).value == pytest.approx(1 / np.sqrt(27 / 1003))


@pytest.mark.parametrize("kept", [23, 24, 25, 26])
def test_the_uncertainty_of_eps_b_is_at_most_a_fifth(kept):
    score = np.append(np.arange(1000.0), np.full(40, 1000.0 - kept - 0.5))
    found = max_sic(score, np.arange(1040) >= 1000)
    assert found.efficiency * 1000 == pytest.approx(max(kept, 25))


def test_no_background_or_no_signal_is_no_number():
    score = np.arange(24.0)
    assert max_sic(score, np.arange(24) == 23).value is None
    assert max_sic(np.arange(50.0), np.zeros(50, bool)).value is None
    assert sic_at(0.5, np.arange(50.0), np.zeros(50, bool)).value is None
    assert sic_at(0.5, np.arange(50.0), np.ones(50, bool)).value is None


def test_a_weight_of_two_is_an_event_twice():
    rng = np.random.default_rng(2)
    is_signal = rng.random(2000) < 0.3
    score = rng.normal(size=2000) + is_signal
    weight = np.full(2000, 2.0)
    plain, weighted = max_sic(score, is_signal), max_sic(score, is_signal, weight)
    assert (weighted.value, weighted.efficiency) == pytest.approx((plain.value, plain.efficiency))
    assert weighted.uncertainty == pytest.approx(plain.uncertainty)  # no more events than before
    plain, weighted = sic_at(0.1, score, is_signal), sic_at(0.1, score, is_signal, weight)
    assert weighted.value == pytest.approx(plain.value)

    counts = rng.integers(1, 4, 2000)
    repeated = (np.repeat(score, counts), np.repeat(is_signal, counts))
    weighted = sic_at(0.1, score, is_signal, counts.astype(float))
    assert weighted.value == pytest.approx(sic_at(0.1, *repeated).value, rel=0.02)


def test_a_weighted_share_is_one_of_the_weights():
    rng = np.random.default_rng(3)
    score, weight = rng.random(5000), rng.exponential(1.0, 5000)
    kept = passing(score, 0.03, weight)(score)
    assert weight[kept].sum() / weight.sum() == pytest.approx(0.03, abs=weight.max() / weight.sum())
    assert passing(score, 0.03)(score).sum() == 150


def test_what_is_kept_at_a_background_efficiency():
    rng = np.random.default_rng(4)
    is_signal = np.arange(30_000) < 2000
    score = rng.normal(size=30_000) + 2 * is_signal
    cut = np.sort(score[~is_signal])[-28]
    expected = (score[is_signal] >= cut).mean() / np.sqrt(1e-3)
    assert sic_at(1e-3, score, is_signal).value == pytest.approx(expected)
    assert sic_at(1e-4, score, is_signal).value is None  # three background events


def test_a_score_without_signal_left_says_how_little_is_known():
    score = np.append(np.arange(1000.0), np.full(50, -1.0))
    found = sic_at(0.1, score, np.arange(1050) >= 1000)
    assert (found.value, found.uncertainty) == (0.0, pytest.approx(1 / 50 / np.sqrt(0.1)))
