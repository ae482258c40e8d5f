"""Features of an excess: known peaks over known backgrounds."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats.excess import peak


def toy(seed: int, signal: float, mass: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """A falling background with four times its events beside the window, and a peak inside."""
    rng = np.random.default_rng(seed)
    beside = 30 + rng.exponential(200, rng.poisson(1200))
    window = 30 + rng.exponential(200, rng.poisson(300))
    return np.concatenate([window, rng.normal(mass, width, rng.poisson(signal))]), beside


def test_peaks_are_found_with_the_uncertainty_that_is_quoted() -> None:
    pulls, shares = [], []
    for seed in range(24):
        window, beside = toy(seed, 150, 500, 25)
        found = peak(window, beside, 0.25, scale_uncertainty=0.007, trials=60)
        pulls.append((found.value - 500) / found.uncertainty)
        shares.append(found.events / 150)
    error = len(pulls) ** -0.5
    assert abs(np.mean(pulls)) < 3 * error
    assert abs(np.std(pulls) - 1) < 3 * error / 2**0.5
    assert np.mean(shares) == pytest.approx(1, abs=0.06)


def test_histograms_and_excess_add_up() -> None:
    window, beside = toy(1, 150, 500, 25)
    found = peak(window, beside, 0.25, trials=2)
    edges = np.array(found.edges)
    np.testing.assert_array_equal(found.window, np.histogram(window, edges)[0])
    np.testing.assert_allclose(found.beside, 0.25 * np.histogram(beside, edges)[0])
    low, high = np.searchsorted(edges, found.interval)
    excess = np.subtract(found.window, found.beside)
    assert found.events == pytest.approx(excess[low:high].sum())
    variance = np.sum(found.window[low:high]) + 0.25 * np.sum(found.beside[low:high])
    assert found.events_uncertainty == pytest.approx(variance**0.5)
    assert found == peak(window, beside, 0.25, trials=2)


@pytest.mark.parametrize(
    ("window", "beside", "message"),
    [
        (np.arange(9.0), np.arange(20.0), "9 selected events in the window"),
        (np.arange(20.0), np.arange(3.0), "3 selected events beside it"),
        (np.full(20, np.nan), np.arange(20.0), "not a number"),
        (np.ones(20), np.ones(20), "is 1 for all selected events"),
        (np.arange(20.0), np.tile(np.arange(20.0), 8), "nowhere more"),
    ],
)
def test_what_has_no_peak_is_refused(window, beside, message: str) -> None:
    with pytest.raises(FitError, match=message):
        peak(window, beside, 1.0)
