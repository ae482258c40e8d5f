from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import vector

from tnt_coffea.jets.substructure import Axes, n_subjettiness, subjettiness_ratio


def jets(n_jets: int, n: int = 30) -> ak.Array:
    rng = np.random.default_rng(n_jets)
    prong = rng.random((n_jets, n)) < 0.4
    return vector.zip(
        {
            "pt": ak.Array(list(rng.exponential(30, (n_jets, n)) + 0.1)),
            "eta": ak.Array(list(rng.normal(0.4 * prong, 0.05))),
            "phi": ak.Array(list(rng.normal(-0.3 * prong, 0.05))),
            "mass": ak.Array(list(np.zeros((n_jets, n)))),
        }
    )


def winner_take_all_tau1(jet: ak.Array) -> float:
    """tau_1 about the winner-take-all kt axis, merging pairs literally."""
    p = [(float(a), float(b), float(c)) for a, b, c in zip(jet.pt, jet.eta, jet.phi, strict=True)]
    while len(p) > 1:
        best = min(
            ((i, j) for i in range(len(p)) for j in range(i)),
            key=lambda ij: (
                min(p[ij[0]][0], p[ij[1]][0]) ** 2
                * ((p[ij[0]][1] - p[ij[1]][1]) ** 2 + (p[ij[0]][2] - p[ij[1]][2]) ** 2)
            ),
        )
        a, b = (p[k] for k in best)
        harder = max(a, b)
        p = [q for k, q in enumerate(p) if k not in best]
        p.append((a[0] + b[0], harder[1], harder[2]))
    pt = np.asarray(jet.pt)
    distance = np.hypot(np.asarray(jet.eta) - p[0][1], np.asarray(jet.phi) - p[0][2])
    return float((pt * distance).sum() / pt.sum())


def test_tau1_agrees_with_a_literal_computation() -> None:
    many = jets(6)
    taus = n_subjettiness(many, (1,), axes=Axes.WTA_KT)
    assert taus[:, 0] == pytest.approx([winner_take_all_tau1(jet) for jet in many], rel=1e-6)


def test_two_prongs_have_small_tau21() -> None:
    taus = n_subjettiness(jets(50))
    two = subjettiness_ratio(taus[:, 1], taus[:, 0])
    one_prong = jets(50)
    one_prong = vector.zip(
        {
            "pt": one_prong.pt,
            "eta": one_prong.eta - 0.4 * (one_prong.eta > 0.2),
            "phi": one_prong.phi + 0.3 * (one_prong.phi < -0.15),
            "mass": ak.zeros_like(one_prong.pt),
        }
    )
    taus = n_subjettiness(one_prong)
    assert np.median(two) < 0.5 * np.median(subjettiness_ratio(taus[:, 1], taus[:, 0]))


def test_fewer_particles_than_axes_give_zero_and_no_warning() -> None:
    few = vector.zip(
        {
            "pt": ak.Array([[10.0], [10.0, 5.0], [10.0, 5.0, 3.0], []]),
            "eta": ak.Array([[0.0], [0.0, 0.3], [0.0, 0.3, 0.6], []]),
            "phi": ak.Array([[0.0], [0.0, 0.3], [0.0, 0.3, -0.2], []]),
            "mass": ak.Array([[0.0], [0.0, 0.0], [0.0, 0.0, 0.0], []]),
        }
    )
    taus = n_subjettiness(few)
    assert taus[0].tolist() == [0, 0]
    assert taus[1][0] > 0
    assert taus[1][1] == 0
    assert taus[2].min() > 0
    assert taus[3].tolist() == [0, 0]
    assert subjettiness_ratio(taus[:, 1], taus[:, 0])[[0, 1, 3]].tolist() == [0, 0, 0]


def test_jet_is_independent_of_its_neighbours() -> None:
    many = jets(8)
    assert np.array_equal(n_subjettiness(many)[3:5], n_subjettiness(many[3:5]))


def test_unknown_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="WTA"):
        n_subjettiness(jets(2), axes="WTA_kt")  # type: ignore[arg-type]
