from __future__ import annotations

import numpy as np
import pytest
import vector
from hypothesis import given, settings
from hypothesis import strategies as st

from tnt_coffea.jets import kinematics


def momentum(pt: float, eta: float, phi: float, mass: float) -> np.ndarray:
    p = vector.obj(pt=pt, eta=eta, phi=phi, mass=mass)
    return np.array([[p.px], [p.py], [p.pz], [p.E]])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    pt=st.tuples(st.floats(1, 2000), st.floats(1, 2000)),
    eta=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    phi=st.tuples(st.floats(-3.1, 3.1), st.floats(-3.1, 3.1)),
)
def test_angles_and_masses_agree_with_vector(
    pt: tuple[float, float], eta: tuple[float, float], phi: tuple[float, float]
) -> None:
    a, b = (vector.obj(pt=pt[i], eta=eta[i], phi=phi[i], mass=10.0) for i in (0, 1))
    first, second = (momentum(pt[i], eta[i], phi[i], 10.0) for i in (0, 1))
    assert kinematics.delta_eta(first, second)[0] == pytest.approx(abs(a.deltaeta(b)), abs=1e-9)
    assert kinematics.delta_phi(first, second)[0] == pytest.approx(abs(a.deltaphi(b)), abs=1e-9)
    assert kinematics.invariant_mass(first + second)[0] == pytest.approx((a + b).mass, rel=1e-6)
    assert kinematics.rapidity(first)[0] == pytest.approx(a.rapidity, abs=1e-9)
    assert kinematics.transverse_momentum(first)[0] == pytest.approx(pt[0])


def test_balance_is_zero_back_to_back_and_one_side_by_side() -> None:
    first = momentum(1000, 0.3, 0.2, 80)
    assert kinematics.pt_balance(first, momentum(1000, -1.0, 0.2 + np.pi, 5))[0] < 1e-12
    assert kinematics.pt_balance(first, momentum(10, -1.0, 0.2, 5))[0] == pytest.approx(1)
    assert kinematics.pt_balance(first, momentum(500, 2.0, 0.2 + np.pi, 5))[0] == pytest.approx(
        1 / 3
    )
    assert kinematics.pt_balance(0 * first, 0 * first)[0] == 0


def test_rescaled_mass_is_the_equation_of_the_paper() -> None:
    # 30 GeV / 3000 GeV is the offset: a jet of 30 GeV sits at 0.01 whatever m_jj is.
    m_jj = np.array([2000.0, 4000.0, 3000.0])
    found = kinematics.rescaled_mass(np.array([30.0, 30.0, 330.0]), m_jj)
    assert found == pytest.approx([0.01, 0.01, 0.11])


def test_mass_of_rounding_is_signed() -> None:
    spacelike = np.array([[3.0], [4.0], [0.0], [4.0]])
    assert kinematics.invariant_mass(spacelike)[0] == -3.0
