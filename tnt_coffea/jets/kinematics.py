"""Observables of a few four-momenta: masses, angles and balances of the leading jets."""

from __future__ import annotations

import numpy as np

from tnt_coffea.typing import Float64Array

__all__ = [
    "delta_eta",
    "delta_phi",
    "invariant_mass",
    "pt_balance",
    "rapidity",
    "rescaled_mass",
    "shifted_mass",
    "transverse_momentum",
]


def transverse_momentum(p4: Float64Array) -> Float64Array:
    """Return pT [GeV] of (4, ...) px, py, pz, E."""
    result: Float64Array = np.sqrt(p4[0] ** 2 + p4[1] ** 2)
    return result


def invariant_mass(p4: Float64Array) -> Float64Array:
    """Return the mass [GeV] of (4, ...) px, py, pz, E; negative where the square is."""
    square = p4[3] ** 2 - (p4[0] ** 2 + p4[1] ** 2 + p4[2] ** 2)
    result: Float64Array = np.copysign(np.sqrt(np.abs(square)), square)
    return result


def rapidity(p4: Float64Array) -> Float64Array:
    """Return the rapidity of (4, ...) px, py, pz, E, stable where E and pz nearly cancel."""
    kt2 = p4[0] ** 2 + p4[1] ** 2
    mass2 = np.maximum((p4[3] + p4[2]) * (p4[3] - p4[2]) - kt2, 0.0)
    size = -0.5 * np.log((kt2 + mass2) / (p4[3] + np.abs(p4[2])) ** 2)
    result: Float64Array = np.copysign(size, p4[2])
    return result


def _pseudorapidity(p4: Float64Array) -> Float64Array:
    pt = transverse_momentum(p4)
    result: Float64Array = np.arcsinh(np.divide(p4[2], pt, out=np.zeros_like(pt), where=pt > 0))
    return result


def delta_eta(first: Float64Array, second: Float64Array) -> Float64Array:
    """Return abs(eta_1 - eta_2) of two (4, event) momenta."""
    return np.abs(_pseudorapidity(first) - _pseudorapidity(second))


def delta_phi(first: Float64Array, second: Float64Array) -> Float64Array:
    """Return abs(phi_1 - phi_2) of two (4, event) momenta, in [0, pi]."""
    cross = first[0] * second[1] - first[1] * second[0]
    dot = first[0] * second[0] + first[1] * second[1]
    result: Float64Array = np.abs(np.arctan2(cross, dot))
    return result


def pt_balance(first: Float64Array, second: Float64Array) -> Float64Array:
    """Return abs(vector sum of pT) / (scalar sum of pT) of two (4, event) momenta.

    0 for a dijet balanced in the transverse plane, 1 for two parallel jets.
    """
    scalar = transverse_momentum(first) + transverse_momentum(second)
    vectorial = transverse_momentum(first + second)
    return np.divide(vectorial, scalar, out=np.zeros_like(scalar), where=scalar > 0)


def rescaled_mass(mass: Float64Array, m_jj: Float64Array) -> Float64Array:
    """Return (m_J - 30 GeV) / m_jj + 0.01: a jet mass that hardly follows m_jj.

    Parameters
    ----------
    mass, m_jj
        (event,) [GeV].

    Source: arXiv:2101.08320, equation 4.2.
    """
    return np.divide(mass - 30.0, m_jj, out=np.zeros_like(m_jj), where=m_jj > 0) + 0.01


def shifted_mass(name: str, values: Float64Array, m_jj: Float64Array, alpha: float) -> Float64Array:
    """Return an observable of jets whose masses become m_j + alpha m_jj.

    Parameters
    ----------
    name
        `mass`, `rescaled_mass`, or any other, which stays as it is.
    values, m_jj
        (jet,) the observable, and m_jj of the jet's event [GeV].
    alpha
        Slope of the shift; with 0 the values are returned as they are.

    Source: PRD 104 (2021) 035003, section IV.
    """
    if not alpha or name not in ("mass", "rescaled_mass"):
        return values
    slope = alpha * m_jj if name == "mass" else np.where(m_jj > 0, alpha, 0.0)
    shifted: Float64Array = values + slope
    return shifted
