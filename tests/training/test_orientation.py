"""Rules by which a latent number becomes a score."""

import numpy as np
import pytest

from tnt_coffea.training.orientation import Orientation, median, skewness

RULES = [Orientation.by_skewness, Orientation.by_distance]


@pytest.mark.parametrize("seed", range(20))
def test_a_one_sided_tail_of_one_percent_gets_the_highest_scores(seed):
    rng = np.random.default_rng(seed)
    side = rng.choice([-1, 1])
    z = np.append(rng.normal(size=5000), side * rng.normal(5, 1, 50)) - 3
    rule = Orientation.by_skewness(z)
    assert rule.sign == side
    tail = rule.applied(z)[5000:]
    assert (tail > np.quantile(rule.applied(z), 0.98)).mean() > 0.9


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("events", [1, 3, 101, 1000])
def test_the_other_sign_gives_the_same_score_to_the_last_bit(rule, weighted, events):
    rng = np.random.default_rng(events)
    z = rng.gamma(2, size=events).astype(np.float32)
    z[::7] = z[0]  # ties
    weight = rng.uniform(0, 2, events) if weighted else None
    turned = rule(-z, weight).applied(-z)
    np.testing.assert_array_equal(rule(z, weight).applied(z), turned)
    assert turned.dtype == np.float32


def test_a_weight_counts_as_that_many_events_whatever_its_sign():
    rng = np.random.default_rng(1)
    z, times = rng.gamma(2, size=300), rng.integers(0, 4, 300)
    repeated = np.repeat(z, times)
    signed = times * rng.choice([-1, 1], 300)
    assert skewness(z, signed) == pytest.approx(skewness(repeated))
    assert median(z, signed) == np.median(repeated)


@pytest.mark.parametrize("events", [1, 2, 1001])
def test_a_median_of_equal_weights_is_that_of_numpy(events):
    z = np.random.default_rng(1).normal(size=events)
    assert median(z) == np.median(z)


def test_equal_numbers_have_no_skewness():
    assert skewness(np.full(10, 3.0)) == 0
