from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.generator.calorimeter import ECAL, HCAL, Calorimeter

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
