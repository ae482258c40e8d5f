from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.jets.rings import RINGS, energy_rings


def test_edges_are_the_published_ones() -> None:
    published = [0, 0.01, 0.01668101, 0.02782559, 0.04641589, 0.07742637]
    published += [0.12915497, 0.21544347, 0.35938137, 0.59948425, 1]
    assert pytest.approx(published, abs=1e-8) == RINGS


def test_shares_by_hand(jets_of: Callable[..., ak.Array]) -> None:
    # About the axis (0.5, pi): one of 60 GeV on it, pairs of 10 GeV 0.3 beside it in phi and of
    # 5 GeV 0.05 beside it, all with the same eta, hence energies as pT.
    axis = [0.5, np.pi]
    rows = [[60.0, *axis]]
    rows += [
        [pt, 0.5, np.pi + side * away] for pt, away in ((10, 0.3), (5, 0.05)) for side in (1, -1)
    ]
    (shares,) = energy_rings(jets_of([np.array(rows)]))
    expected = np.zeros(10)
    expected[[0, 4, 7]] = 60 / 90, 10 / 90, 20 / 90
    assert shares == pytest.approx(expected, abs=1e-12)


def test_shares_sum_to_one_within_the_outermost_ring(
    pronged: Any, jets_of: Callable[..., ak.Array]
) -> None:
    rows = [pronged(seed, 20) for seed in range(5)]
    jets = jets_of(rows)
    assert energy_rings(jets).sum(axis=1) == pytest.approx(np.ones(5))
    outside = energy_rings(jets, edges=(0.1, 0.3))[:, 0]
    assert ((outside > 0) & (outside < 1)).all()
    rng = np.random.default_rng(1)
    shuffled = energy_rings(jets_of([rng.permutation(row) for row in rows]))
    np.testing.assert_allclose(shuffled, energy_rings(jets), atol=1e-12)


def test_jets_of_one_particle_and_of_none(jets_of: Callable[..., ak.Array]) -> None:
    shares = energy_rings(jets_of([np.array([[50.0, 2.0, 1.0]]), np.zeros((0, 3))]))
    assert shares[0].tolist() == [1.0, *[0.0] * 9]
    assert not shares[1].any()
    assert energy_rings(jets_of([np.ones((1, 3))])[:0]).shape == (0, 10)


@pytest.mark.parametrize("edges", [(0.5,), (0.0, 0.2, 0.2), (0.3, 0.1)])
def test_edges_ascend(edges: tuple[float, ...], jets_of: Callable[..., ak.Array]) -> None:
    with pytest.raises(ValueError, match="ascending edges, at least two, got"):
        energy_rings(jets_of([np.ones((1, 3))]), edges)
