from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from tnt_coffea.errors import FitError
from tnt_coffea.stats.signals import SHAPES, SignalShape, gaussian

EDGES = np.arange(2600.0, 5001.0, 40.0)
TAILS = (1.2, 2.5, 1.7, 6.0)


def crystal_ball(t):
    low, low_power, high, high_power = TAILS
    if t < -low:
        a = (low_power / low) ** low_power * np.exp(-0.5 * low**2)
        return a * (low_power / low - low - t) ** -low_power
    if t > high:
        a = (high_power / high) ** high_power * np.exp(-0.5 * high**2)
        return a * (high_power / high - high + t) ** -high_power
    return np.exp(-0.5 * t * t)


def test_gaussian_shape_is_the_plain_gaussian():
    np.testing.assert_allclose(
        SignalShape(3500, 120).integrals(EDGES), gaussian(EDGES, 3500, 120), atol=1e-15
    )


def test_crystal_ball_is_the_integral_of_the_textbook_function():
    shape = SignalShape(3500, 120, "double_crystal_ball", TAILS)
    total = sum(
        quad(crystal_ball, a, b, epsabs=1e-12, limit=200)[0]
        for a, b in ((-np.inf, -1.2), (-1.2, 1.7), (1.7, np.inf))
    )
    found = shape.integrals(EDGES)
    for i in (3, 18, 22, 26, 50):
        low, high = (EDGES[i] - 3500) / 120, (EDGES[i + 1] - 3500) / 120
        exact = quad(crystal_ball, low, high, points=[-1.2, 1.7], epsabs=1e-13)[0] / total
        assert found[i] == pytest.approx(exact, rel=1e-8)
    assert shape.integrals(np.array([-1e9, 1e9])).sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_slopes_and_curvatures_in_the_nuisance_parameters(kind):
    shape = SignalShape(3500, 120, kind, TAILS, scale_uncertainty=0.02, width_uncertainty=0.15)
    assert shape.nuisances == ("signal_scale", "signal_width")
    alpha = np.array([[0.4, -0.7], [0.0, 0.0]])
    value, slope, curvature = shape.varied(EDGES, alpha)
    np.testing.assert_allclose(value[1], shape.integrals(EDGES), atol=1e-14)
    step = 1e-4
    for i in range(2):
        shift = np.zeros(2)
        shift[i] = step
        up, down = shape.varied(EDGES, alpha + shift), shape.varied(EDGES, alpha - shift)
        np.testing.assert_allclose(slope[..., i], (up[0] - down[0]) / (2 * step), atol=1e-8)
        np.testing.assert_allclose(curvature[..., i], (up[1] - down[1]) / (2 * step), atol=1e-6)


def test_one_uncertainty_is_one_nuisance_parameter():
    shape = SignalShape(3500, 120, width_uncertainty=0.1)
    assert shape.nuisances == ("signal_width",)
    wide = shape.varied(EDGES, np.array([[1.0]]))[0][0]
    np.testing.assert_allclose(wide, gaussian(EDGES, 3500, 120 * np.exp(0.1)), atol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "lorentz"}, "choose one of gaussian, double_crystal_ball"),
        ({"width": 0.0}, "width must be positive"),
        ({"width": float("nan")}, "width must be positive"),
        ({"mass": -1.0}, "mass must be positive"),
        ({"tails": (1.0, 1.0, 1.0, 2.0)}, "powers above 1"),
        ({"scale_uncertainty": -0.1}, "cannot be negative"),
    ],
)
def test_what_is_no_signal_is_refused(change, message):
    with pytest.raises(FitError, match=message):
        SignalShape(**{"mass": 3500.0, "width": 120.0} | change)
