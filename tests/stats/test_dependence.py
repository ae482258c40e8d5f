from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.stats.regions.dependence import distance_correlation, pearson, spearman

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
    assert spearman(independent) == pytest.approx(0, abs=1e-12)
    assert distance_correlation(np.eye(5), VALUES, VALUES) == pytest.approx(1)
    assert pearson(np.eye(5), VALUES, VALUES) == pytest.approx(1)


def test_distance_correlation_sees_what_the_others_do_not():
    # A parabola: no trend, full dependence.
    table = np.zeros((5, 5))
    table[np.arange(5), np.abs(np.arange(5) - 2)] = 1
    assert pearson(table, VALUES, VALUES) == pytest.approx(0, abs=1e-12)
    assert distance_correlation(table, VALUES, VALUES) > 0.4
