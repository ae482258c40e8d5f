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
        n = len(beside)
        found = peak(window, beside, 0.25 * n, uncertainty=0.25 * n**0.5, trials=60)
        pulls.append((found.value - 500) / found.uncertainty)
        shares.append(found.events / 150)
    error = len(pulls) ** -0.5
    assert abs(np.mean(pulls)) < 3 * error
    assert abs(np.std(pulls) - 1) < 3 * error / 2**0.5
    assert np.mean(shares) == pytest.approx(1, abs=0.06)


def test_histograms_and_excess_add_up() -> None:
    window, beside = toy(1, 150, 500, 25)
    n = len(beside)
    given = {"expected": 0.25 * n, "uncertainty": 0.25 * n**0.5, "trials": 2}
    found = peak(window, beside, **given)
    edges = np.array(found.edges)
    np.testing.assert_array_equal(found.window, np.histogram(window, edges)[0])
    np.testing.assert_allclose(found.beside, 0.25 * np.histogram(beside, edges)[0])
    low, high = np.searchsorted(edges, found.interval)
    excess = np.subtract(found.window, found.beside)
    assert found.events == pytest.approx(excess[low:high].sum())
    # The number of events beside the window is all that is uncertain of what is expected: with
    # their distribution over the feature it makes the Poisson variance of those in the range.
    variance = np.sum(found.window[low:high]) + 0.25 * np.sum(found.beside[low:high])
    assert found.events_uncertainty == pytest.approx(variance**0.5)
    assert found == peak(window, beside, **given)


def test_the_number_of_events_beside_the_window_is_counted_once() -> None:
    """All of a background that is known to 5 % has that uncertainty, not that of its events too."""
    rng = np.random.default_rng(2)
    beside, window = rng.uniform(0, 1, 400), rng.uniform(0, 1, 200)
    for uncertainty in (0.0, 5.0):
        found = peak(window, beside, 100, uncertainty=uncertainty, bins=1, trials=2)
        n, b = (sum((found.edges[0] <= x) & (x <= found.edges[1])) for x in (window, beside))
        share = b / 400
        variance = n + 100**2 * share * (1 - share) / 400 + (share * uncertainty) ** 2
        assert found.events_uncertainty == pytest.approx(variance**0.5)
        assert found.events == pytest.approx(n - 100 * share)


def test_weighted_events_are_those_that_they_stand_for() -> None:
    window, beside = toy(3, 150, 500, 25)
    given = {"uncertainty": 9.0, "trials": 20}
    once = peak(window, beside, 300, **given)
    two = (np.full(len(window), 2.0), np.full(len(beside), 0.5))
    heavy = peak(window, beside, 600, weights=two, **given | {"uncertainty": 18.0})
    assert heavy.interval == once.interval
    assert heavy.value == once.value
    assert heavy.events == pytest.approx(2 * once.events)
    assert heavy.events_uncertainty == pytest.approx(2 * once.events_uncertainty)
    assert heavy.window_errors == pytest.approx(2 * np.sqrt(once.window))
    assert heavy.background == pytest.approx(once.background)
    # A weight of 0 is an event that is not there, of 2 one that is there twice but for its error.
    split = np.arange(len(beside)) % 2
    off = peak(window, beside, 300, weights=(np.ones(len(window)), 1.0 * split), **given)
    left = peak(window, beside[split == 1], 300, **given)
    assert off.window == pytest.approx(np.histogram(window, off.edges)[0])
    assert sum(off.beside) == pytest.approx(300 * np.mean(
        (beside[split == 1] >= off.edges[0]) & (beside[split == 1] <= off.edges[-1])
    ))  # fmt: skip
    assert off.background == pytest.approx(left.background, rel=0.02)


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
        peak(window, beside, len(beside))


def test_events_without_any_weight_are_refused() -> None:
    window, beside = toy(1, 150, 500, 25)
    with pytest.raises(FitError, match="add up to nothing"):
        peak(window, beside, 1.0, weights=(np.ones(len(window)), np.zeros(len(beside))))
