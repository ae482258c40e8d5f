from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tnt_coffea.stats.correlations import binned_spearman, distance_correlation, pearson, spearman

VALUES = np.arange(5.0)


def brute_distance_correlation(x, y):
    def centred(values):
        d = np.abs(values[:, None] - values)
        return d - d.mean(0) - d.mean(1)[:, None] + d.mean()

    first, second = centred(x), centred(y)
    return np.sqrt((first * second).mean() / np.sqrt((first**2).mean() * (second**2).mean()))


def test_distance_correlation_is_that_of_the_events():
    random = np.random.default_rng(1)
    x, y = random.integers(0, 5, (2, 400))
    y = np.clip(y + (x == 4) * 2, 0, 4)
    table = np.histogram2d(x, y, bins=[np.arange(-0.5, 5)] * 2)[0]
    found = distance_correlation(table, VALUES, VALUES)
    assert found == pytest.approx(brute_distance_correlation(x.astype(float), y.astype(float)))


def test_independent_table_has_none_and_a_diagonal_all():
    independent = np.outer([1, 2, 3, 4, 5], [5, 1, 1, 2, 4])
    assert distance_correlation(independent, VALUES, VALUES) == pytest.approx(0, abs=1e-7)
    assert binned_spearman(independent) == pytest.approx(0, abs=1e-12)
    assert distance_correlation(np.eye(5), VALUES, VALUES) == pytest.approx(1)
    assert pearson(np.eye(5), VALUES, VALUES) == pytest.approx(1)


def test_distance_correlation_sees_what_the_others_do_not():
    # A parabola: no trend, full dependence.
    table = np.zeros((5, 5))
    table[np.arange(5), np.abs(np.arange(5) - 2)] = 1
    assert pearson(table, VALUES, VALUES) == pytest.approx(0, abs=1e-12)
    assert distance_correlation(table, VALUES, VALUES) > 0.4


def correlated(n, rho, seed):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal((0, 0), ((1, rho), (rho, 1)), n).T


def test_the_coefficient_is_scipys():
    x, y = correlated(500, 0.4, 1)

    assert spearman(x, y)[0] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    tied = np.round(x)
    assert spearman(tied, y)[0] == pytest.approx(stats.spearmanr(tied, y).statistic, abs=1e-12)


def test_known_correlations():
    up = np.arange(50.0)

    assert spearman(up, up**3) == pytest.approx((1, 0), abs=1e-6)
    assert spearman(up, -up)[0] == pytest.approx(-1)
    # For a bivariate normal distribution: 6 / pi * arcsin(rho / 2).
    value, error = spearman(*correlated(40_000, 0.6, 2))
    assert value == pytest.approx(6 / np.pi * np.arcsin(0.3), abs=4 * error)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7])
def test_the_uncertainty_is_the_spread_of_repeated_samples(rho):
    found = np.array([spearman(*correlated(400, rho, seed)) for seed in range(300)])

    spread = found[:, 0].std()
    # 300 samples know a spread to 4 %.
    assert found[:, 1].mean() == pytest.approx(spread, rel=0.13)
    if rho == 0:
        assert found[:, 1].mean() == pytest.approx(400**-0.5, rel=0.03)


def test_a_weight_of_two_counts_an_event_twice_in_the_coefficient():
    x, y = correlated(200, 0.5, 3)
    weight = 1.0 + (np.arange(200) % 2)
    twice = np.repeat(np.arange(200), weight.astype(int))

    assert spearman(x, y, weight)[0] == pytest.approx(spearman(x[twice], y[twice])[0], abs=1e-12)
    # Scaling all weights changes nothing; unequal ones know less than as many equal ones.
    assert spearman(x, y, 7 * weight) == pytest.approx(spearman(x, y, weight))
    assert spearman(x, y, weight)[1] > spearman(x[twice], y[twice])[1]


def test_too_little_to_correlate():
    assert spearman(np.arange(3.0), np.arange(3.0)) == (None, None)
    assert spearman(np.ones(10), np.arange(10.0)) == (None, None)


def test_a_table_has_the_coefficient_of_its_events():
    x, y = correlated(400, 0.5, 4)
    edges = np.linspace(-2, 2, 6)
    table = np.histogram2d(x, y, (edges, edges))[0]
    inside = (np.abs(x) < 2) & (np.abs(y) < 2)
    binned = [np.digitize(column[inside], edges) for column in (x, y)]
    assert binned_spearman(table) == pytest.approx(stats.spearmanr(*binned).statistic, abs=1e-12)
