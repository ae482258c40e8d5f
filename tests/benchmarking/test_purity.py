from __future__ import annotations

import numpy as np
import pytest
from purity import window_surplus

from tnt_coffea.config import MassRange

WINDOW = MassRange(low=3300, high=3700)


def test_surplus_in_a_window_needs_a_resonance_and_no_truth() -> None:
    rng = np.random.default_rng(5)
    m_jj = rng.uniform(2600, 5000, (400, 5000))
    surplus = [window_surplus(mass, rng.random(5000) < 0.2, WINDOW) for mass in m_jj]
    assert abs(np.mean(surplus)) < 0.2
    # The spread is that of binomial rather than Poisson counts.
    assert np.std(surplus) == pytest.approx(np.sqrt(0.8), rel=0.15)
    resonance = np.concatenate([m_jj[0], np.full(100, 3500.0)])
    kept = rng.random(5100) < np.repeat([0.2, 0.6], [5000, 100])
    purer = rng.random(5100) < np.repeat([0.05, 0.6], [5000, 100])
    assert 1 < window_surplus(resonance, kept, WINDOW) < window_surplus(resonance, purer, WINDOW)
    assert window_surplus([3500.0], np.array([True]), WINDOW) == 0
