from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.generator import tracker


def test_neutral_particles_fly_straight() -> None:
    eta, phi = np.array([-3.0, 0.0, 2.0]), np.array([-3.0, 0.5, 3.0])
    ends = tracker.where_particles_end(np.ones(3), eta, phi, np.zeros(3))
    np.testing.assert_allclose(ends[0], eta)
    np.testing.assert_allclose(ends[1], phi)


def test_phi_goes_around_the_circle() -> None:
    phi = np.array([-7.0, -np.pi, np.nextafter(-np.pi, -4), 0.0, np.pi, np.nextafter(np.pi, 0), 7])
    ends = tracker.where_particles_end(np.ones(7), np.zeros(7), phi, np.zeros(7))[1]
    np.testing.assert_array_equal(ends, (phi + np.pi) % (2 * np.pi) - np.pi)
    assert np.all((ends >= -np.pi) & (ends <= np.pi))


def test_hard_tracks_are_almost_straight() -> None:
    eta, phi = np.array([-2.0, -1.0, 0.0, 1.0]), np.array([-3.0, -1.0, 0.5, 2.9])
    ends = tracker.where_particles_end(np.full(4, 1e5), eta, phi, np.ones(4))
    np.testing.assert_allclose(ends[0], eta, atol=1e-4)
    np.testing.assert_allclose(ends[1], phi, atol=1e-4)


def test_bending_in_the_barrel_is_the_circle_s() -> None:
    # sin(turn) = R / (2 r) with r = pT / (0.3 B): 1.29 m, 3.8 T, 1 GeV.
    radius = 1.0 / (0.299792458 * 3.8)
    turn = np.arcsin(1.29 / (2 * radius))
    eta, phi = tracker.where_particles_end(
        np.ones(2), np.zeros(2), np.zeros(2), np.array([1.0, -1.0])
    )
    np.testing.assert_allclose(phi, [-turn, turn])
    np.testing.assert_allclose(eta, 0.0, atol=1e-12)


def test_particles_below_the_barrel_s_momentum_end_in_the_caps() -> None:
    # A circle of 2 r < 1.29 m never reaches the barrel.
    pt = np.full(50, 0.3)
    eta = np.linspace(-2, 2, 50)
    ends, _ = tracker.where_particles_end(pt, eta, np.zeros(50), np.ones(50))
    widest = 2 * 0.3 / (0.299792458 * 3.8)
    assert np.all(np.abs(ends) >= np.arcsinh(3.0 / widest) - 1e-9)
    assert np.all(np.sign(ends) == np.sign(eta))


def test_charge_conjugation_mirrors_phi() -> None:
    rng = np.random.default_rng(3)
    pt, eta = rng.exponential(2.0, 200) + 0.2, rng.normal(0, 1.5, 200)
    plus = tracker.where_particles_end(pt, eta, np.zeros(200), np.ones(200))
    minus = tracker.where_particles_end(pt, eta, np.zeros(200), -np.ones(200))
    np.testing.assert_allclose(plus[0], minus[0])
    np.testing.assert_allclose(np.cos(plus[1]), np.cos(minus[1]))
    np.testing.assert_allclose(np.sin(plus[1]), -np.sin(minus[1]), atol=1e-12)


@pytest.mark.parametrize(
    ("code", "pt", "eta", "expected"),
    [
        (211, 0.1, 0.0, 0.0),
        (211, 0.5, 1.0, 0.70),
        (211, 0.5, 2.0, 0.60),
        (-211, 50.0, -1.0, 0.95),
        (2212, 500.0, 2.4, 0.85),
        (211, 50.0, 2.6, 0.0),
        (11, 50.0, 0.0, 0.95),
        (-11, 150.0, 0.0, 0.99),
        (11, 150.0, 2.0, 0.90),
        (13, 5.0, 0.0, 0.99),
        (13, 5.0, 2.0, 0.98),
    ],
)
def test_efficiency_is_the_card_s(code: int, pt: float, eta: float, expected: float) -> None:
    kind = tracker.species(np.array([code]))
    assert tracker.tracking_efficiency(kind, np.array([pt]), np.array([eta]))[0] == expected


def test_resolution_is_the_card_s() -> None:
    kind = tracker.species(np.array([211, 211, 211, 13, 211]))
    pt = np.array([100.0, 100.0, 100.0, 100.0, 1e5])
    eta = np.array([0.2, -1.0, 2.0, 0.2, 0.2])
    expected = [np.hypot(0.06, 0.13), np.hypot(0.10, 0.17), np.hypot(0.25, 0.31)]
    expected += [np.hypot(0.01, 0.01), 1.0]
    np.testing.assert_allclose(tracker.momentum_resolution(kind, pt, eta), expected)


def test_log_normal_has_the_mean_and_width_asked_for() -> None:
    n = 40_000
    drawn = tracker.log_normal(np.full(n, 10.0), np.full(n, 2.0), np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(10.0, abs=4 * 2.0 / np.sqrt(n))
    assert drawn.std() == pytest.approx(2.0, rel=0.03)
    assert drawn.min() > 0


def test_log_normal_of_nothing_is_nothing() -> None:
    drawn = tracker.log_normal(np.zeros(3), np.ones(3), np.random.default_rng(1))
    np.testing.assert_array_equal(drawn, 0.0)
