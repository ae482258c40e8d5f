from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.jets.substructure import exclusive_subjets


def test_subjets_agree_with_a_literal_computation(
    pronged: Any, jets_of: Callable[..., ak.Array], literal_tree: Any
) -> None:
    rows = [pronged(seed, 14) for seed in range(6)]
    for n in (1, 2, 3):
        pt, mass = exclusive_subjets(jets_of(rows), n)
        for i, jet in enumerate(rows):
            pieces = sorted(literal_tree(jet, 1).exclusive(n), key=lambda p: -np.hypot(*p[:2]))
            assert pt[i] == pytest.approx([np.hypot(*p[:2]) for p in pieces], rel=1e-6)
            square = [p[3] ** 2 - (p[:3] ** 2).sum() for p in pieces]
            assert mass[i] == pytest.approx(np.sqrt(np.maximum(square, 0)), rel=1e-5, abs=1e-3)


def test_one_subjet_is_the_jet_and_two_prongs_are_two(jets_of: Callable[..., ak.Array]) -> None:
    rng = np.random.default_rng(0)
    prongs = [
        np.stack([rng.uniform(5, 10, 12), rng.normal(x, 0.02, 12), rng.normal(0, 0.02, 12)], axis=1)
        for x in (-0.3, 0.4)
    ]
    jet = jets_of([np.concatenate(prongs)])
    pt, mass = exclusive_subjets(jet, 1)
    whole = ak.sum(jet, axis=1)
    assert [pt[0, 0], mass[0, 0]] == pytest.approx([whole.pt[0], whole.mass[0]], rel=1e-9)
    pt, mass = exclusive_subjets(jet, 2)
    expected = sorted((float(ak.sum(jets_of([p]), axis=1).pt[0]) for p in prongs), reverse=True)
    assert pt[0] == pytest.approx(expected, rel=1e-9)
    assert (mass[0] < 0.2 * whole.mass[0]).all()


def test_fewer_constituents_leave_zeros(jets_of: Callable[..., ak.Array]) -> None:
    two = np.array([[10.0, 0.0, 0.0], [5.0, 0.3, 0.1]])
    pt, mass = exclusive_subjets(jets_of([two, two[:0], two[:1]]), 3)
    assert pt == pytest.approx(np.array([[10, 5, 0], [0, 0, 0], [10, 0, 0]]), abs=1e-9)
    assert mass.max() < 1e-3
    with pytest.raises(ValueError, match="at least 1"):
        exclusive_subjets(jets_of([two]), 0)
