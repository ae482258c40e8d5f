from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import fastjet
import numpy as np
import pytest

from tnt_coffea.config import Axes
from tnt_coffea.jets import reclustering
from tnt_coffea.jets.substructure import (
    count_subjets,
    exclusive_subjets,
    n_subjettiness,
    subjettiness_ratio,
    subjettiness_table,
    wide_subjets,
)

BETAS = (0.5, 1.0, 2.0)
N = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def rows(pronged: Callable[..., np.ndarray]) -> list[np.ndarray]:
    return [pronged(seed, n) for seed, n in enumerate((12, 20, 25, 9))]


@pytest.fixture(scope="module")
def many(rows: list[np.ndarray], jets_of: Callable[..., ak.Array]) -> ak.Array:
    return jets_of(rows)


def by_contrib(jets: ak.Array, beta: float, axes: Axes, n: tuple[int, ...] = N) -> np.ndarray:
    """FastJet-contrib's N-subjettiness, which finds its axes itself."""
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
    sequence = fastjet.ClusterSequence(ak.to_packed(jets), definition)
    return ak.to_numpy(
        sequence.njettiness(
            measure_definition="NormalizedMeasure",
            axes_definition=axes.value,
            njets=list(n),
            beta=beta,
            R0=1.0,
        )
    )


@pytest.mark.parametrize("axes", [Axes.WTA_KT, Axes.KT])
def test_tau_agrees_with_a_literal_computation(
    axes: Axes,
    rows: list[np.ndarray],
    many: ak.Array,
    literal_tree: Any,
    wta: Any,
    squared_distance: Callable[..., float],
) -> None:
    taus = subjettiness_table(many, N, BETAS, radius=0.8, axes=axes)
    for jet, values in zip(rows, taus, strict=True):
        tree = literal_tree(jet, 1, wta) if axes is Axes.WTA_KT else literal_tree(jet, 1)
        particles = [tree.p4[i] for i in range(len(jet))]
        for column, n in enumerate(N):
            near = [min(squared_distance(p, a) for a in tree.exclusive(n)) for p in particles]
            for line, beta in enumerate(BETAS):
                expected = (jet[:, 0] @ np.array(near) ** (beta / 2)) / (
                    jet[:, 0].sum() * 0.8**beta
                )
                assert values[line, column] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("axes", list(Axes))
def test_tau_agrees_with_fastjet_contrib(axes: Axes, beta: float, many: ak.Array) -> None:
    ours = n_subjettiness(many, N, beta=beta, axes=axes)
    assert ours == pytest.approx(by_contrib(many, beta, axes), rel=1e-6, abs=1e-9)


def test_one_pass_minimises(rows: list[np.ndarray], many: ak.Array) -> None:
    # For one axis and beta = 2 the minimum is known: the pT-weighted centroid.
    taus = n_subjettiness(many, (1,), beta=2.0, axes=Axes.ONE_PASS_KT)[:, 0]
    for (pt, eta, phi), tau in zip((jet.T for jet in rows), taus, strict=True):
        centre = [np.average(values, weights=pt) for values in (eta, phi)]
        spread = (eta - centre[0]) ** 2 + (phi - centre[1]) ** 2
        assert tau == pytest.approx(np.average(spread, weights=pt), rel=1e-4)
    for axes, one_pass in ((Axes.KT, Axes.ONE_PASS_KT), (Axes.WTA_KT, Axes.ONE_PASS_WTA_KT)):
        fixed, best = (n_subjettiness(many, N, axes=a) for a in (axes, one_pass))
        # FastJet-contrib stops the minimisation at a relative 1e-4.
        assert (best <= fixed * (1 + 1e-3)).all()
        assert (best < fixed * (1 - 1e-2)).any()


def test_massive_constituents_use_rapidity(jets_of: Callable[..., ak.Array]) -> None:
    rng = np.random.default_rng(3)
    jet = np.stack(
        [rng.exponential(2, 15) + 1, rng.normal(2, 0.2, 15), rng.normal(0, 0.2, 15), np.ones(15)], 1
    )
    ours = n_subjettiness(jets_of([jet]), N)
    assert ours == pytest.approx(by_contrib(jets_of([jet]), 1.0, Axes.WTA_KT), rel=1e-6)
    massless = n_subjettiness(jets_of([jet[:, :3]]), N)
    assert np.abs(ours / massless - 1).max() > 1e-3


def test_two_prongs_have_small_tau21(pronged: Any, jets_of: Callable[..., ak.Array]) -> None:
    one, two = [], []
    for seed in range(30):
        jet = pronged(seed)
        jet[:, 1:] = np.random.default_rng(seed).normal(0, 0.05, (len(jet), 2))
        one.append(jet)
        split = jet.copy()
        split[::2, 1] += 0.5
        two.append(split)
    medians = []
    for jets in (one, two):
        taus = n_subjettiness(jets_of(jets))
        medians.append(np.median(subjettiness_ratio(taus[:, 1], taus[:, 0])))
    assert medians[1] < 0.5 * medians[0]


def test_fewer_particles_than_axes_give_zero_and_no_warning(
    jets_of: Callable[..., ak.Array],
) -> None:
    jet = np.array([[10.0, 0.0, 0.0], [5.0, 0.3, 0.3], [3.0, 0.6, -0.2]])
    few = jets_of([jet[:1], jet[:2], jet, jet[:0]])
    for axes in Axes:
        taus = n_subjettiness(few, axes=axes)
        assert taus[0].tolist() == [0, 0]
        assert taus[1][0] > 0
        assert taus[1][1] == 0
        assert taus[2].min() > 0
        assert taus[3].tolist() == [0, 0]
        ratio = subjettiness_ratio(taus[:, 1], taus[:, 0])
        assert ratio[[0, 1, 3]].tolist() == [0, 0, 0]
    assert n_subjettiness(few[:0]).shape == (0, 2)


def test_copies_of_the_axes_particles_are_at_no_distance(jets_of: Callable[..., ak.Array]) -> None:
    # Rounding would leave 1e-16, of which beta = 0.5 makes 1e-8 and a ratio anything.
    two = np.array([[100.0, 2.1, 0.3], [90.0, 2.6, 0.1]])
    taus = subjettiness_table(jets_of([np.concatenate([two, two])]), (2, 3), (0.5,))
    assert taus.tolist() == [[[0.0, 0.0]]]


def test_jet_is_independent_of_its_neighbours_and_of_batches(
    many: ak.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = n_subjettiness(many, N)
    assert np.array_equal(whole[1:3], n_subjettiness(many[1:3], N))
    monkeypatch.setattr(reclustering, "JETS_PER_CALL", 1)
    assert np.array_equal(whole, n_subjettiness(many, N))


def test_no_warning_formatter_is_left_behind(many: ak.Array) -> None:
    import warnings

    before = warnings.formatwarning
    n_subjettiness(many)
    assert warnings.formatwarning is before


def test_unknown_axes_and_numbers_are_refused(many: ak.Array) -> None:
    with pytest.raises(ValueError, match="WTA"):
        n_subjettiness(many, axes="WTA_kt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        n_subjettiness(many, (0, 1))
    with pytest.raises(ValueError, match="beta above 0"):
        n_subjettiness(many, beta=0.0)


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


def test_numbers_of_subjets_by_hand(jets_of: Callable[..., ak.Array]) -> None:
    # Three of 10 GeV 0.1 apart and a soft one next to them; one of 10 GeV far away; one of
    # 0.3 GeV far from all, which the exclusive clustering gives to the beam: 0.3^2 < 0.1.
    phi = [0.0, 0.1, 0.2, 0.02, 1.0, 2.0]
    jet = np.array([[10, 0, f] for f in phi], float)
    jet[3, 0], jet[5, 0] = 0.2, 0.3
    alone, nobody = np.array([[500.0, 1.0, 1.0]]), np.zeros((0, 3))
    inclusive, exclusive = count_subjets(jets_of([jet, nobody, alone]))
    assert inclusive.tolist() == [3, 0, 1]
    assert exclusive.tolist() == [4, 0, 1]
    # Two at 0.05 and one at 0.2: min(pT)^2 (0.15 / 0.2)^2 = 56 GeV^2.
    assert count_subjets(jets_of([jet]), d_cut=57.0)[1].tolist() == [2]
    assert count_subjets(jets_of([jet]), radius=2.5)[0].tolist() == [1]
    with pytest.raises(ValueError, match="radius above 0, got 0"):
        count_subjets(jets_of([jet]), radius=0.0)


def test_subjets_merge_as_the_cut_rises(rows: list[np.ndarray], many: ak.Array) -> None:
    counts = [count_subjets(many, d_cut=cut)[1] for cut in (0.0, 0.1, 10.0, 1e9)]
    assert counts[0].tolist() == [len(row) for row in rows]
    assert (np.diff(counts, axis=0) <= 0).all()
    assert counts[1].tolist() != counts[2].tolist()
    assert not counts[3].any()  # everything was given to the beam


def test_distances_of_wide_subjets_by_hand(jets_of: Callable[..., ak.Array]) -> None:
    # Four prongs in descending pT across the seam of phi, the second of two particles; one of
    # 19 GeV is none.
    rows = [[90, 0.0, np.pi - 0.1], [40, 0.6, np.pi - 0.1], [40, 0.6, np.pi - 0.1]]
    rows += [[50, 0.0, -np.pi + 0.4], [30, -0.8, np.pi - 0.1], [19, 0.0, 1.0]]
    jet, nobody = np.array(rows), np.zeros((0, 3))
    number, delta_r = wide_subjets(jets_of([jet, nobody, jet[:3], jet[5:]]))
    assert number.tolist() == [4, 0, 2, 0]
    expected = [0.6, 0.5, 0.8, np.hypot(0.6, 0.5), 1.4, np.hypot(0.8, 0.5)]
    assert delta_r[0] == pytest.approx(expected, abs=1e-6)
    assert delta_r[2] == pytest.approx([0.6, -1, -1, -1, -1, -1], abs=1e-6)
    assert (delta_r[[1, 3]] == -1).all()
    assert wide_subjets(jets_of([jet]), radius=0.55)[0].tolist() == [3]
    assert wide_subjets(jets_of([jet]), pt_min=10.0)[0].tolist() == [5]
    with pytest.raises(ValueError, match="radius above 0, got 0"):
        wide_subjets(jets_of([jet]), radius=0.0)


def test_wide_subjets_are_those_of_fastjet(
    many: ak.Array, squared_distance: Callable[..., float]
) -> None:
    number, delta_r = wide_subjets(many)
    for i in range(len(many)):
        definition = fastjet.JetDefinition(fastjet.kt_algorithm, 0.4)
        found = fastjet.ClusterSequence(ak.to_packed(many[i]), definition)
        subjets = [np.array(p.tolist()) for p in found.inclusive_jets(min_pt=20.0).to_numpy()]
        subjets = sorted(subjets, key=lambda p: -np.hypot(*p[:2]))
        assert number[i] == len(subjets) > 1
        assert delta_r[i, 0] ** 2 == pytest.approx(squared_distance(*subjets[:2]))
