"""The penalty for scores that follow the mass."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.stats import correlations
from tnt_coffea.training import backend
from tnt_coffea.training.decorrelation import distance_correlation

backend.keras()  # with the threads of a training

RNG = np.random.default_rng(1)
X, Y = RNG.uniform(-1, 1, 300), RNG.normal(size=300)
MASS = 4000 + 600 * Y + 200 * X  # [GeV]
WEIGHT = RNG.uniform(0.1, 2, 300)


@pytest.mark.parametrize("b", [Y, X**2, MASS, 1e-4 * X, np.full(300, 3500.0)])
@pytest.mark.parametrize("weight", [np.ones(300), WEIGHT])
def test_the_penalty_is_the_square_of_the_distance_correlation_of_statistics(b, weight):
    expected = correlations.distance_correlation(np.diag(weight), X, b) ** 2
    assert float(distance_correlation(X, b, weight)) == pytest.approx(expected, abs=1e-6)


def test_the_penalty_is_zero_for_independent_events_and_sees_what_has_no_linear_part():
    assert float(distance_correlation(X, Y)) < 0.02  # about 1 / n
    assert np.sqrt(float(distance_correlation(X, X**2))) > 0.3


def test_gradients_of_the_penalty_are_finite_and_lead_to_independence():
    tf = backend.tensorflow()
    slope = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        # Equal values and a constant column are where a distance has no derivative.
        tied = distance_correlation(slope * np.round(MASS / 500), MASS)
        total = (
            distance_correlation(X + slope * Y, Y) + tied + distance_correlation(0 * slope * X, Y)
        )
    gradient = float(tape.gradient(total, slope))
    assert gradient > 0.05
