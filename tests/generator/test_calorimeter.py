from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from tnt_coffea.generator.calorimeter import (
    ECAL,
    HCAL,
    Calorimeter,
    Deposits,
    distinct,
    energy_flow,
)

CALORIMETERS = pytest.mark.parametrize("calorimeter", [ECAL, HCAL], ids=["ecal", "hcal"])


@CALORIMETERS
def test_grid_covers_the_acceptance(calorimeter: Calorimeter) -> None:
    edges = calorimeter.eta_edges
    assert edges[0] == -5.0
    assert edges[-1] == 5.0
    assert np.all(np.diff(edges) > 0)
    np.testing.assert_allclose(edges, -edges[::-1], atol=1e-12)
    np.testing.assert_array_equal(calorimeter.phi_divisions, calorimeter.phi_divisions[::-1])


@CALORIMETERS
def test_a_direction_lies_within_its_tower(calorimeter: Calorimeter) -> None:
    rng = np.random.default_rng(5)
    eta, phi = rng.uniform(-5, 5, 5000), rng.uniform(-np.pi, np.pi, 5000)
    tower = calorimeter.towers(eta, phi)
    low_eta, high_eta, low_phi, high_phi = calorimeter.edges(tower)
    assert np.all((low_eta <= eta) & (eta <= high_eta))
    assert np.all((low_phi <= phi + 1e-12) & (phi <= high_phi + 1e-12))
    assert tower.min() >= 0
    assert tower.max() < calorimeter.size


@CALORIMETERS
def test_outside_of_the_acceptance_is_no_tower(calorimeter: Calorimeter) -> None:
    tower = calorimeter.towers(np.array([-5.1, 5.1, 30.0]), np.zeros(3))
    np.testing.assert_array_equal(tower, -1)


@CALORIMETERS
def test_rows_are_those_of_a_search_among_the_edges(calorimeter: Calorimeter) -> None:
    edges = calorimeter.eta_edges
    at = np.concatenate([edges, np.nextafter(edges, -9), np.nextafter(edges, 9)])
    eta = np.concatenate([at, np.random.default_rng(1).uniform(-5, 5, 20_000), [np.nan, np.inf]])
    phi = np.random.default_rng(2).uniform(-9, 9, eta.size)
    row = np.searchsorted(edges, eta, side="left") - 1
    inside = (eta > -5) & (eta < 5)
    towers = calorimeter.towers(eta, phi)
    np.testing.assert_array_equal(towers >= 0, inside)
    divisions = calorimeter.phi_divisions[row[inside]]
    column = np.floor((phi[inside] + np.pi) / (2 * np.pi) * divisions).astype(int) % divisions
    before = np.cumsum(calorimeter.phi_divisions) - calorimeter.phi_divisions
    np.testing.assert_array_equal(towers[inside], before[row[inside]] + column)
    np.testing.assert_array_equal(calorimeter.towers(eta[inside], phi[inside]), towers[inside])


@pytest.mark.parametrize(
    ("calorimeter", "eta", "size_eta", "size_phi"),
    [
        (ECAL, 0.01, 0.0174, np.pi / 180),
        (ECAL, 2.0, 0.0174, np.pi / 180),
        (ECAL, 4.0, 0.175, np.pi / 18),
        (HCAL, 0.01, 0.087, np.pi / 36),
        (HCAL, 2.4, 0.178, np.pi / 18),
        (HCAL, -4.8, 0.3, np.pi / 9),
    ],
)
def test_granularity_is_the_card_s(
    calorimeter: Calorimeter, eta: float, size_eta: float, size_phi: float
) -> None:
    tower = calorimeter.towers(np.array([eta + 0.001]), np.array([0.1]))
    low_eta, high_eta, low_phi, high_phi = calorimeter.edges(tower)
    assert high_eta - low_eta == pytest.approx(size_eta)
    assert high_phi - low_phi == pytest.approx(size_phi)


NONE = Deposits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def deposits(
    calorimeter: Calorimeter, energy: np.ndarray, eta: float, phi: float, sigma: float = 0.0
) -> Deposits:
    n = energy.size
    tower = calorimeter.towers(np.full(n, eta), np.full(n, phi))
    return Deposits(np.arange(n), tower, energy, np.full(n, sigma))


@pytest.mark.parametrize("most", [0, 5, 70_000, 1 << 31, 1 << 40])
def test_distinct_is_what_numpy_finds(most: int) -> None:
    keys = np.random.default_rng(3).integers(0, most + 1, 0 if most == 0 else 3000)
    keys = np.concatenate([keys, keys[::3]])
    for own, other in zip(distinct(keys), np.unique(keys, return_inverse=True), strict=True):
        np.testing.assert_array_equal(own, other)
        assert own.dtype == other.dtype


def test_directions_are_uniform_draws_of_all_towers() -> None:
    # Quiet towers draw too: a seed gives the same events whatever is left out of the arithmetic.
    energy = np.where(np.arange(400) % 3 == 0, 0.01, 200.0)
    flow = energy_flow(ECAL, deposits(ECAL, energy, 0.6, 1.0), NONE, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    rng.standard_normal(400)
    tower = ECAL.towers(np.full(400, 0.6), np.full(400, 1.0))
    low_eta, high_eta, low_phi, high_phi = ECAL.edges(tower)
    eta, phi = rng.uniform(low_eta, high_eta), rng.uniform(low_phi, high_phi)
    np.testing.assert_array_equal(flow.event, np.flatnonzero(energy > 1))
    np.testing.assert_array_max_ulp(flow.eta, eta[flow.event], 1)
    np.testing.assert_array_max_ulp(flow.phi, phi[flow.event], 1)


@CALORIMETERS
def test_energy_of_isolated_particles_is_right_on_average(calorimeter: Calorimeter) -> None:
    n, energy = 5000, 100.0
    flow = energy_flow(
        calorimeter,
        deposits(calorimeter, np.full(n, energy), 0.6, 1.0),
        NONE,
        np.random.default_rng(2),
    )
    sigma = float(calorimeter.resolution(np.array(0.609), np.array(energy)))
    measured = flow.pt * np.cosh(flow.eta)
    assert flow.event.size == n
    assert measured.mean() == pytest.approx(energy, abs=4 * sigma / np.sqrt(n))
    assert measured.std() == pytest.approx(sigma, rel=0.05)


@CALORIMETERS
def test_soft_deposits_stay_below_the_threshold(calorimeter: Calorimeter) -> None:
    flow = energy_flow(
        calorimeter,
        deposits(calorimeter, np.full(500, 0.02), 4.0, 1.0),
        NONE,
        np.random.default_rng(2),
    )
    assert flow.event.size == 0


def test_particles_in_one_tower_are_one_candidate() -> None:
    tower = HCAL.towers(np.full(2, 0.04), np.full(2, 0.04))
    truth = Deposits(np.zeros(2, np.int64), tower, np.full(2, 50.0), np.zeros(2))
    flow = energy_flow(HCAL, truth, NONE, np.random.default_rng(2))
    assert flow.pt.size == 1


def test_a_perfect_track_explains_its_deposit() -> None:
    n = 2000
    energy = np.full(n, 100.0)
    flow = energy_flow(
        HCAL,
        deposits(HCAL, energy, 0.6, 1.0),
        deposits(HCAL, energy, 0.6, 1.0, sigma=1e-6),
        np.random.default_rng(2),
    )
    # What is left is fluctuation: the tower's energy E exceeds 100 by sigma(E) from
    # E = 117.27 on, where (E - 100)^2 = 0.05^2 E^2 + 1.5^2 E. E is log-normal.
    spread = np.sqrt(np.log1p((0.05**2 * 100**2 + 1.5**2 * 100) / 100**2))
    expected = norm.sf((np.log(1.1727) + spread**2 / 2) / spread)
    error = np.sqrt(expected * (1 - expected) / n)
    assert flow.event.size / n == pytest.approx(expected, abs=4 * error)
    np.testing.assert_allclose(flow.track_scale, 1.0, atol=1e-6)


def test_a_poor_track_is_corrected_towards_the_calorimeter() -> None:
    n = 2000
    measured = np.full(n, 300.0)
    flow = energy_flow(
        HCAL,
        deposits(HCAL, np.full(n, 200.0), 0.6, 1.0),
        deposits(HCAL, measured, 0.6, 1.0, sigma=150.0),
        np.random.default_rng(2),
    )
    assert flow.event.size == 0
    # Inverse-variance mean of 300 +- 150 and the tower's median energy.
    variance = 0.05**2 * 200**2 + 1.5**2 * 200
    median = 200 / np.sqrt(1 + variance / 200**2)
    best = (variance * 300 + 150**2 * median) / (variance + 150**2)
    assert np.median(flow.track_scale * measured) == pytest.approx(best, abs=2.0)


def test_a_missed_track_becomes_neutral_energy() -> None:
    truth = deposits(HCAL, np.full(300, 40.0), 0.6, 1.0)
    flow = energy_flow(HCAL, truth, NONE, np.random.default_rng(2))
    np.testing.assert_array_equal(np.sort(flow.event), np.arange(300))
