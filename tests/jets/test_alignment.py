"""Jets aligned: one mass, energy and direction, and nothing of what was undone is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.jets import alignment
from tnt_coffea.jets.alignment import AlignedJets, aligned_jets

MOMENTUM = np.sqrt(1 - 0.25**2)


@pytest.fixture(scope="module")
def rows(pronged: Any) -> list[np.ndarray]:
    return [pronged(seed, 4 + 3 * seed) + np.array([0, 0.1 * seed, 0]) for seed in range(16)]


def values(jets: AlignedJets, jet: int) -> np.ndarray:
    """(particle, 3) pT of the aligned jet of energy 1, eta, phi."""
    return jets.dense(int(jets.counts.max()), [jet])[0, : jets.counts[jet]] * [MOMENTUM, 1, 1]


def four_momentum(particles: np.ndarray) -> np.ndarray:
    pt, eta, phi = particles.T
    return np.array([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)])


def literal(row: np.ndarray, most: int) -> np.ndarray:
    """The kept constituents before they are turned, by boosts of four-momenta in matrices."""

    def boosted(p4: np.ndarray) -> np.ndarray:
        x, y, *_ = p4.sum(axis=1)
        turn = np.eye(4)
        turn[:2, :2] = np.array([[x, y], [-y, x]]) / np.hypot(x, y)
        p4 = turn @ p4
        for axis, target in ((2, 0.0), (0, MOMENTUM)):
            total = p4.sum(axis=1)
            if target:
                mass = np.sqrt(total[3] ** 2 - (total[:3] ** 2).sum())
                p4, total = p4 * 0.25 / mass, total * 0.25 / mass
            shift = np.arctanh(target) - np.arctanh(total[axis] / total[3])
            boost = np.eye(4)
            boost[axis, axis] = boost[3, 3] = np.cosh(shift)
            boost[axis, 3] = boost[3, axis] = np.sinh(shift)
            p4 = boost @ p4
        return p4

    def gathered(p4: np.ndarray) -> np.ndarray:
        while True:
            p4 = boosted(p4)
            near = distance(p4) < 1
            if near.all():
                return p4
            p4 = p4[:, near]

    def distance(p4: np.ndarray) -> np.ndarray:
        return np.hypot(np.arcsinh(p4[2] / np.hypot(*p4[:2])), np.arctan2(p4[1], p4[0]))

    p4 = gathered(four_momentum(row))
    if p4.shape[1] > most:
        hardest = np.argsort(-np.hypot(*p4[:2]) * distance(p4))[:most]
        p4 = gathered(p4[:, hardest])
    return p4


@pytest.mark.parametrize("most", [6, 20, 200])
def test_aligned_jets_have_one_mass_energy_and_direction(
    most: int, rows: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    found = aligned_jets(jets_of(rows), most)
    assert (found.counts >= 3).all()
    assert found.counts.max() == min(most, 49)
    for jet in range(len(rows)):
        total = four_momentum(values(found, jet)).sum(axis=1)
        assert total == pytest.approx([MOMENTUM, 0, 0, 1], abs=1e-6)
        assert np.sqrt(total[3] ** 2 - (total[:3] ** 2).sum()) == pytest.approx(0.25, abs=1e-6)
        first, second = values(found, jet)[:2]
        assert first[1] == 0
        assert first[2] > 0
        assert second[1] >= 0
        assert (np.hypot(*values(found, jet)[:, 1:].T) < np.pi / 2).all()


@pytest.mark.parametrize("most", [6, 20])
def test_they_agree_with_a_literal_computation(
    most: int, rows: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    found = aligned_jets(jets_of(rows), most)
    dropped = 0
    for jet, row in enumerate(rows):
        expected = literal(row, most)
        dropped += len(row) - expected.shape[1]
        made = four_momentum(values(found, jet))
        # Turns about x and mirrors leave E, px and the angles to the hardest constituent.
        first = np.argmax(np.hypot(*expected[:2]))
        for p4, hardest in ((expected, first), (made, 0)):
            p4[1:3] = np.abs(p4[1:3].T @ p4[1:3, hardest]), np.hypot(*p4[1:3])
        order = [np.lexsort(np.round(p4[[0, 3]], 5)) for p4 in (expected, made)]
        np.testing.assert_allclose(made[:, order[1]], expected[:, order[0]], atol=1e-6)
    assert dropped > 20


@pytest.mark.parametrize(
    ("factor", "shift"),
    [
        ((1, 1, 1), (0, 1.3, 0)),
        ((1, 1, 1), (0, 0, -2.1)),
        ((7.5, 1, 1), (0, 0, 0)),
        ((1e-3, 1, 1), (0, -3.0, 6.0)),
    ],
)
def test_boost_turn_and_scale_have_no_influence(
    factor: tuple[float, ...],
    shift: tuple[float, ...],
    rows: list[np.ndarray],
    jets_of: Callable[..., ak.Array],
) -> None:
    found = aligned_jets(jets_of(rows)).dense(20)
    moved = [row * np.array(factor) + np.array(shift) for row in rows]
    changed = aligned_jets(jets_of(moved)).dense(20)
    np.testing.assert_allclose(changed, found, atol=2e-6)


def test_the_order_of_particles_and_neighbours_changes_no_bit(
    rows: list[np.ndarray], jets_of: Callable[..., ak.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    found = aligned_jets(jets_of(rows)).dense(20)
    shuffled = [rng.permutation(row) for row in rows]
    assert np.array_equal(aligned_jets(jets_of(shuffled)).dense(20), found)
    monkeypatch.setattr(alignment, "JETS_AT_ONCE", 3)
    assert np.array_equal(aligned_jets(jets_of(shuffled[::-1])).dense(20)[::-1], found)


def test_the_chain_is_that_of_brute_force(
    rows: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    found = aligned_jets(jets_of(rows), 6)
    assert (found.counts == 6).sum() > 10
    for jet in range(len(rows)):
        made = values(found, jet)
        left, last = list(range(1, len(made))), 0
        for place in range(1, len(made)):
            steps = [made[n, 0] * np.hypot(*(made[n] - made[last])[1:]) for n in left]
            last = left.pop(int(np.argmax(steps)))
            assert last == place
    hardest = [literal(row, 6) for row in rows]
    for jet, p4 in enumerate(hardest):
        assert four_momentum(values(found, jet)[:1])[3, 0] == pytest.approx(
            p4[3, np.argmax(np.hypot(*p4[:2]))], rel=1e-5
        )


def test_jets_without_mass_or_with_too_few_constituents_have_none(
    jets_of: Callable[..., ak.Array], rows: list[np.ndarray]
) -> None:
    one, two = np.array([[50.0, 0.3, 1.0]]), np.array([[50.0, 0.3, 1.0], [50.0, 0.1, 0.8]])
    parallel = np.array([[50.0, 0.3, 1.0], [20.0, 0.3, 1.0], [10.0, 0.3, 1.0]])
    nothing = np.array([[0.0, 0.3, 1.0]] * 3)
    opposite = np.array([[50.0, 0.0, 0.0], [50.0, 0.0, np.pi], [1.0, 0.0, 1.5]])
    with np.errstate(all="raise"):
        found = aligned_jets(
            jets_of([one, two, parallel, nothing, rows[3], np.zeros((0, 3)), opposite])
        )
    assert found.counts.tolist() == [0, 0, 0, 0, 13, 0, 3]
    assert np.isfinite(found.dense(20)).all()
    assert not aligned_jets(jets_of([one])[:0]).dense(20).size
    assert aligned_jets(jets_of([rows[3]])).dense(20)[0, :13].tolist() == (
        found.dense(20)[4, :13].tolist()
    )


def test_a_narrow_jet_is_as_exact_as_a_wide_one(jets_of: Callable[..., ak.Array]) -> None:
    wide = np.array([[100.0, 0.0, 0.0], [60.0, 0.11, 0.02], [30.0, -0.03, -0.08]])
    narrow = wide * [1, 1e-3, 1e-3]
    both = aligned_jets(jets_of([wide, narrow])).dense(3)
    # Boosted along its axis to the same mass it is, to small angles, the same jet.
    np.testing.assert_allclose(both[1], both[0], atol=5e-3)
    total = four_momentum(both[1] * [MOMENTUM, 1, 1]).sum(axis=1)
    assert total == pytest.approx([MOMENTUM, 0, 0, 1], abs=1e-6)


def test_fewer_than_three_are_refused(jets_of: Callable[..., ak.Array]) -> None:
    with pytest.raises(ValueError, match="at least 3 constituents of a jet are kept, got 2"):
        aligned_jets(jets_of([np.ones((4, 3))]), 2)
