from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import Branches, SplittingSettings
from tnt_coffea.jets import declustering, reclustering
from tnt_coffea.jets.declustering import JetSplittings, jet_splittings, mass_drop_sum
from tnt_coffea.jets.grooming import soft_drop_mass

ALL = SplittingSettings(most=1000, mass_min=0.0)
HARDER = SplittingSettings(most=1000, mass_min=0.0, branches=Branches.HARDER)


def mass(p: np.ndarray) -> float:
    return float(np.sqrt(max(p[3] ** 2 - (p[:3] ** 2).sum(), 0.0)))


def literal(
    tree: Any, distance2: Callable[..., float], settings: SplittingSettings
) -> list[list[float]]:
    """ln(1 / Delta R), ln kt, mass and drop of the splittings, the last step of the tree first."""
    followed, rows = {tree.root}, []
    for node in sorted(tree.parents, reverse=True):
        if node not in followed:
            continue
        pair = sorted((tree.p4[i] for i in tree.parents[node]), key=lambda p: -np.hypot(*p[:2]))
        followed |= {
            i
            for i in tree.parents[node]
            if settings.branches is Branches.ALL or tree.p4[i] is pair[0]
        }
        if mass(tree.p4[node]) >= settings.mass_min:
            angle = np.sqrt(distance2(*pair))
            kt = np.hypot(*pair[1][:2]) * angle
            drop = max(map(mass, pair)) / mass(tree.p4[node])
            rows.append([-np.log(angle), np.log(kt), mass(tree.p4[node]), drop])
    return rows[: settings.most]


@pytest.mark.parametrize(
    "settings",
    [ALL, HARDER, SplittingSettings(mass_min=10.0), SplittingSettings(most=3, mass_min=1.0)],
)
def test_they_agree_with_a_literal_computation(
    settings: SplittingSettings,
    pronged: Any,
    jets_of: Callable[..., ak.Array],
    literal_tree: Any,
    squared_distance: Callable[..., float],
) -> None:
    rows = [pronged(seed, 5 + seed) for seed in range(8)]
    found = jet_splittings(jets_of(rows), settings)
    assert found.counts.max() > 1
    for jet, values in enumerate(rows):
        expected = literal(literal_tree(values, 0), squared_distance, settings)
        assert found.counts[jet] == len(expected)
        made = found.dense(settings.most, [jet])[0, : len(expected)]
        assert made[:, 0].tolist() == [1.0] * len(expected)
        np.testing.assert_allclose(made[:, 1:], np.array(expected), rtol=1e-4, atol=2e-3)


def test_three_particles_by_hand(jets_of: Callable[..., ak.Array]) -> None:
    # Two close particles of 100 GeV, 0.2 apart, and a soft one of 10 GeV opposite in phi.
    jet = np.array([[100.0, 0.0, 0.1], [100.0, 0.0, -0.1], [10.0, 0.0, 1.0]])
    (first, second) = jet_splittings(jets_of([jet]), ALL).dense(2)[0]
    pair = 200 * np.sin(0.1)
    assert second[1:] == pytest.approx([-np.log(0.2), np.log(100 * 0.2), pair, 0.0], rel=1e-5)
    # In the plane of eta = 0 a mass squared is the sum of 2 E_i E_j (1 - cos).
    whole = np.sqrt(pair**2 + 2 * 100 * 10 * (2 - np.cos(0.9) - np.cos(1.1)))
    assert first[1:] == pytest.approx([0.0, np.log(10.0), whole, pair / whole], rel=1e-5, abs=1e-6)


def test_a_jet_has_one_splitting_less_than_particles(
    pronged: Any, jets_of: Callable[..., ak.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [pronged(seed, n) for seed, n in enumerate((1, 2, 7, 1, 40, 12))]
    jets = jets_of(rows)
    found = jet_splittings(jets, ALL)
    assert found.counts.tolist() == [0, 1, 6, 0, 39, 11]
    heaviest = [found.dense(39, [jet])[0, 0, 3] for jet in (1, 2, 4, 5)]
    assert heaviest == pytest.approx(soft_drop_mass(jets, zcut=1e-9)[[1, 2, 4, 5]], rel=1e-5)
    monkeypatch.setattr(reclustering, "JETS_PER_CALL", 2)
    again = jet_splittings(jets, ALL)
    assert np.array_equal(again.dense(39), found.dense(39))


def test_the_order_of_particles_does_not_matter(
    pronged: Any, jets_of: Callable[..., ak.Array]
) -> None:
    rng = np.random.default_rng(1)
    rows = [pronged(seed, 25) for seed in range(20)]
    for settings in (ALL, HARDER, SplittingSettings()):
        found = jet_splittings(jets_of(rows), settings).dense(settings.most)
        shuffled = jet_splittings(jets_of([rng.permutation(row) for row in rows]), settings)
        np.testing.assert_allclose(shuffled.dense(settings.most), found, rtol=1e-4, atol=1e-3)


def test_the_harder_branch_alone_is_part_of_all(
    pronged: Any, jets_of: Callable[..., ak.Array]
) -> None:
    jets = jets_of([pronged(3, 30)])
    everything, primary = (jet_splittings(jets, settings) for settings in (ALL, HARDER))
    assert 0 < primary.counts[0] < everything.counts[0]
    assert set(primary.mass.tolist()) < set(everything.mass.tolist())
    assert np.all(np.diff(primary.mass) < 0)


def test_what_does_not_split(jets_of: Callable[..., ak.Array]) -> None:
    parallel = np.array([[50.0, 0.3, 1.0], [20.0, 0.3, 1.0]])
    alone = np.array([[50.0, 0.3, 1.0]])
    found = jet_splittings(jets_of([parallel, alone, np.zeros((0, 3))]), ALL)
    assert found.counts.tolist() == [0, 0, 0]
    assert not found.dense(4).any()
    nothing = jet_splittings(jets_of([alone])[:0], ALL)
    assert nothing.dense(4).shape == (0, 4, 5)


def test_mass_drops_by_hand(jets_of: Callable[..., ak.Array]) -> None:
    # Two pairs of 100 GeV particles, 1 apart; the first pair has 40 GeV, the second 10 GeV.
    phi = [2 * np.arcsin(0.2), 0.0], [1.0 + 2 * np.arcsin(0.05), 1.0]
    rows = np.array([[100.0, 0.0, each] for pair in phi for each in pair])
    whole = np.sqrt(sum(2e4 * (1 - np.cos(a - b)) for a in rows[:, 2] for b in rows[:, 2]) / 2)
    (found,) = mass_drop_sum(jets_of([rows]))
    assert found == pytest.approx(whole / 40)
    # The pair of 40 GeV splits into nothing of 20 GeV; with a lower threshold neither does that
    # of 10 GeV, which is no heavier branch of anything.
    (lower,) = mass_drop_sum(jets_of([rows]), mass_min=5.0)
    assert lower == pytest.approx(whole / 40)
    (none,) = mass_drop_sum(jets_of([rows]), mass_min=41.0)
    assert none == 0


@pytest.mark.parametrize("mass_min", [1e-3, 5.0, 20.0])
def test_mass_drops_agree_with_a_literal_computation(
    mass_min: float, pronged: Any, jets_of: Callable[..., ak.Array], literal_tree: Any
) -> None:
    rows = [pronged(seed, 5 + seed) for seed in range(8)]
    expected = []
    for values in rows:
        tree = literal_tree(values, 0)
        daughters = {
            node: max(mass(tree.p4[i]) for i in pair) for node, pair in tree.parents.items()
        }
        kept = {node: heavier for node, heavier in daughters.items() if heavier >= mass_min}
        expected.append(sum(mass(tree.p4[node]) / heavier for node, heavier in kept.items()))
    found = mass_drop_sum(jets_of(rows), mass_min)
    assert max(expected) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    rng = np.random.default_rng(1)
    shuffled = mass_drop_sum(jets_of([rng.permutation(row) for row in rows]), mass_min)
    np.testing.assert_allclose(shuffled, found, rtol=1e-9)


def test_what_has_no_mass_to_drop(jets_of: Callable[..., ak.Array]) -> None:
    alone = np.array([[50.0, 0.3, 1.0, 0.0]])
    parallel = np.array([[50.0, 0.3, 1.0, 30.0], [20.0, 0.3, 1.0, 12.0]])
    jets = jets_of([parallel, alone, np.zeros((0, 4))])
    assert mass_drop_sum(jets).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="above 0 GeV, got 0"):
        mass_drop_sum(jets, 0.0)


def test_padding_changes_nothing() -> None:
    values = np.arange(1, 4, dtype=np.float32)
    lists = JetSplittings(np.array([0, 2]), np.array([2, 3]), *(values * k for k in (1, 2, 3, 4)))
    few, many = lists.dense(2), lists.dense(5)
    assert np.array_equal(many[:, :2], few)
    assert not many[:, 2:].any()
    assert few[0].tolist() == [[1, 1, 2, 3, 4], [1, 2, 4, 6, 8]]
    assert few[1].tolist() == [[1, 3, 6, 9, 12], [0, 0, 0, 0, 0]]
    assert declustering.JetSplittings.parts == ("angle", "kt", "mass", "drop")
