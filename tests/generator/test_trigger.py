from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.generator.detector import Candidates
from tnt_coffea.generator.trigger import largest_possible_pt, leading_jet_pt, triggered

fastjet = pytest.importorskip("fastjet")


def events(seed: int, n: int = 300) -> Candidates:
    """Return dijets, soft events and empty ones."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 40, n)
    counts[::17] = 0
    size = counts.sum()
    axis = np.repeat(rng.uniform(-np.pi, np.pi, n), counts) + np.pi * rng.integers(0, 2, size)
    phi = (axis + rng.normal(0, 0.3, size) + np.pi) % (2 * np.pi) - np.pi
    momenta = np.column_stack([rng.exponential(60, size), rng.normal(0, 0.7, size), phi])
    return Candidates(counts, momenta.astype(np.float32))


def test_no_jet_passes_what_is_possible() -> None:
    some = events(1)
    leading, possible = leading_jet_pt(some), largest_possible_pt(some)
    assert np.all(leading <= possible * (1 + 1e-12))
    np.testing.assert_array_equal(possible[some.counts == 0], 0)
    # And it says something: below what one would get by adding up all candidates.
    whole = np.bincount(some.event, some.momenta[:, 0], some.counts.size)
    assert np.median(possible[whole > 0] / whole[whole > 0]) < 0.9


def test_softer_jets_than_wanted_are_none() -> None:
    some = events(3)
    every, hard = leading_jet_pt(some), leading_jet_pt(some, 700.0)
    np.testing.assert_array_equal(hard, np.where(every >= 700, every, 0))
    assert 0.1 < np.mean(hard > 0) < 0.9
    np.testing.assert_array_equal(leading_jet_pt(some, 1e6), 0)


def test_jets_are_those_of_awkward_s_own_lists() -> None:
    some = events(4, 60)
    filled = some.counts > 0
    pt, eta, phi = some.momenta.astype(np.float64).T
    columns = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)
    flat = ak.zip(dict(zip(("px", "py", "pz", "E"), columns, strict=True)))
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
    jets = fastjet.ClusterSequence(
        ak.unflatten(flat, some.counts[filled]), definition
    ).inclusive_jets()
    expected = ak.max(np.hypot(jets.px, jets.py), axis=1)
    np.testing.assert_array_equal(leading_jet_pt(some)[filled], ak.to_numpy(expected))


def test_one_candidate_is_a_jet_of_its_own() -> None:
    angles = np.linspace(-3, 3, 50, dtype=np.float32)
    momenta = np.column_stack([np.full(50, 100), np.zeros(50), angles]).astype(np.float32)
    alone = Candidates(np.ones(50, np.int64), momenta)
    np.testing.assert_allclose(leading_jet_pt(alone), 100, rtol=1e-6)
    possible = largest_possible_pt(alone)
    assert np.all((possible >= 100) & (possible < 102))


@pytest.mark.parametrize("least", [1.0, 300.0, 600.0, 5000.0])
def test_the_shortcut_decides_like_clustering_all(least: float) -> None:
    some = events(2)
    np.testing.assert_array_equal(triggered(some, least), leading_jet_pt(some) > least)


def test_nothing_passes_where_there_is_nothing() -> None:
    empty = Candidates(np.zeros(4, np.int64), np.zeros((0, 3), np.float32))
    assert triggered(empty, 0.1).tolist() == [False] * 4
