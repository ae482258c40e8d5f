from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.reporting import correlation_by_mass, score_correlations, spearman
from tnt_coffea.taggers import Ranks

FIT, WINDOW = MassRange(low=2600, high=7000), MassRange(low=3300, high=3700)


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


def test_regions_and_slices_hold_their_events(search):
    found = score_correlations(search.sample, search.ranks["tnt"], WINDOW, FIT)
    m_jj, ranks = search.sample.m_jj, search.ranks["tnt"]
    inside = (m_jj >= 3300) & (m_jj < 3700)

    whole, outside, window = found.regions
    assert whole.events == pytest.approx(((m_jj >= 2600) & (m_jj < 7000)).sum())
    assert outside.events + window.events == pytest.approx(whole.events)
    assert window.coefficient == pytest.approx(
        stats.spearmanr(ranks.heavy[inside], ranks.light[inside]).statistic, abs=1e-12
    )
    assert sum(s.events for s in found.slices) == pytest.approx(whole.events)
    assert (3300, 3700) in [s.mass_range for s in found.slices]
    edges = [s.mass_range for s in found.slices]
    assert [high for _, high in edges[:-1]] == [low for low, _ in edges[1:]]
    # Independent scores, and a signal that is high in both.
    assert abs(outside.coefficient) < 4 * outside.uncertainty
    assert window.coefficient > 3 * window.uncertainty


def test_labels_are_not_used(search):
    sample = replace(search.sample, label=np.full(len(search.sample), -1, np.int8))
    ranks = search.ranks["tnt"]

    blind = score_correlations(sample, ranks, WINDOW, FIT)
    assert blind == score_correlations(search.sample, ranks, WINDOW, FIT)


def test_ranks_of_another_sample_are_refused(search):
    short = Ranks(*(column[:5] for column in vars(search.ranks["tnt"]).values()))

    with pytest.raises(TaggerError, match="ranks of 5 events"):
        score_correlations(search.sample, short, WINDOW, FIT)


def test_a_region_without_events_has_no_coefficient(search):
    few = search.sample.select(search.sample.m_jj < 3000)
    ranks = search.ranks["tnt"]
    which = search.sample.m_jj < 3000
    found = score_correlations(
        few, Ranks(ranks.fold[which], ranks.heavy[which], ranks.light[which]), WINDOW, FIT
    )

    assert found.regions[2].coefficient is None
    figure = correlation_by_mass({"tnt": found}, (3300, 3700))
    figure.draw_without_rendering()
    assert figure.axes[0].get_ylabel() == "Spearman's rank correlation [1]"
