from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import fastjet
import numpy as np
import pytest

from tnt_coffea.jets.grooming import soft_drop_mass

PARAMETERS = [(0.0, 0.1, 1.0), (1.0, 0.2, 0.8), (2.0, 0.1, 1.0), (-1.0, 0.1, 1.0), (0.0, 0.45, 1.0)]


def mass(p: np.ndarray) -> float:
    return float(np.sqrt(max(p[3] ** 2 - (p[:3] ** 2).sum(), 0.0)))


def literal_mass(
    tree: Any, distance2: Callable[..., float], beta: float, zcut: float, radius: float
) -> float:
    branch = tree.root
    while branch in tree.parents:
        pair = sorted(tree.parents[branch], key=lambda i: -np.hypot(*tree.p4[i][:2]))
        pt = [np.hypot(*tree.p4[i][:2]) for i in pair]
        angle = np.sqrt(distance2(*(tree.p4[i] for i in pair)))
        if pt[1] / sum(pt) > zcut * (angle / radius) ** beta:
            return mass(tree.p4[branch])
        branch = pair[0]
    return 0.0


@pytest.mark.parametrize(("beta", "zcut", "radius"), PARAMETERS)
def test_mass_agrees_with_a_literal_computation(
    beta: float,
    zcut: float,
    radius: float,
    pronged: Any,
    jets_of: Callable[..., ak.Array],
    literal_tree: Any,
    squared_distance: Callable[..., float],
) -> None:
    rows = [pronged(seed, 14) for seed in range(8)]
    found = soft_drop_mass(jets_of(rows), beta=beta, zcut=zcut, radius=radius)
    expected = [
        literal_mass(literal_tree(r, 0), squared_distance, beta, zcut, radius) for r in rows
    ]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize(("beta", "zcut", "radius"), PARAMETERS)
def test_mass_agrees_with_fastjet_contrib(
    beta: float, zcut: float, radius: float, pronged: Any, jets_of: Callable[..., ak.Array]
) -> None:
    jets = jets_of([pronged(seed, 60) for seed in range(40)])
    definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0)
    groomed = fastjet.ClusterSequence(jets, definition).exclusive_jets_softdrop_grooming(
        njets=1, beta=beta, symmetry_cut=zcut, R0=radius
    )
    found = soft_drop_mass(jets, beta=beta, zcut=zcut, radius=radius)
    assert found == pytest.approx(ak.to_numpy(groomed.msoftdrop), rel=1e-6, abs=1e-3)


def test_nothing_is_dropped_without_a_cut(pronged: Any, jets_of: Callable[..., ak.Array]) -> None:
    jets = jets_of([pronged(seed) for seed in range(5)])
    whole = ak.to_numpy(ak.sum(jets, axis=1).mass)
    assert soft_drop_mass(jets, zcut=1e-12) == pytest.approx(whole, rel=1e-9)
    assert (soft_drop_mass(jets, zcut=0.2) <= whole * (1 + 1e-12)).all()


def test_soft_wide_radiation_is_dropped(jets_of: Callable[..., ak.Array]) -> None:
    two_prongs = np.array([[300.0, 0.0, 0.0], [200.0, 0.2, 0.0]])
    soft = np.array([[5.0, -0.7, 0.3], [4.0, 0.1, 0.8]])
    both = soft_drop_mass(jets_of([two_prongs, np.concatenate([two_prongs, soft])]))
    assert both[0] == pytest.approx(2 * np.sqrt(300 * 200) * np.sinh(0.1), rel=1e-6)
    assert both[1] == pytest.approx(both[0], rel=1e-9)


def test_empty_and_single_particle_jets_have_no_mass(jets_of: Callable[..., ak.Array]) -> None:
    one = np.array([[50.0, 0.1, 0.2]])
    lopsided = np.array([[100.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    assert soft_drop_mass(jets_of([one, one[:0], lopsided])).tolist() == [0.0, 0.0, 0.0]


def test_particles_of_equal_pt_are_told_apart(jets_of: Callable[..., ak.Array]) -> None:
    # Three soft particles share a pT; all of them are dropped, whichever comes first.
    hard = np.array([[300.0, 0.0, 0.0], [200.0, 0.2, 0.0]])
    soft = np.array([[5.0, 0.9, 0.3], [5.0, -0.7, 0.3], [5.0, 0.1, -0.8]])
    groomed = soft_drop_mass(jets_of([hard, np.concatenate([hard, soft])]))
    assert groomed[1] == pytest.approx(groomed[0], rel=1e-9)


def test_parallel_particles_have_no_mass(jets_of: Callable[..., ak.Array]) -> None:
    jet = np.array([[100.0, 0.3, 0.2], [50.0, 0.3, 0.2], [1.0, 0.3, 0.2]])
    assert soft_drop_mass(jets_of([jet]))[0] < 1e-3
