from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import JetSettings, SequenceSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.dijets import find_dijets
from tnt_coffea.jets.observables import dijet_columns
from tnt_coffea.jets.sequences import jet_sequences


@pytest.fixture(scope="module")
def events(pronged: Any) -> list[np.ndarray]:
    """Events of two to four sprays of particles."""
    rows = []
    for seed in range(9):
        sprays = [pronged(10 * seed + i, 20) for i in range(2 + seed % 3)]
        for i, spray in enumerate(sprays):
            spray[:, 1] += (-1) ** i * 0.8 * (i // 2)
            spray[:, 2] += i * np.pi
        rows.append(np.concatenate(sprays))
    return rows


def test_they_are_the_leading_jets_of_their_own_radius(
    events: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    particles = jets_of(events)
    found = jet_sequences(particles, SequenceSettings(radius=0.4, jets=5))
    jets = cluster(particles, JetSettings(radius=0.4), leading=5)
    assert found.counts.tolist() == ak.num(jets).tolist()
    assert len(set(found.counts.tolist())) > 1
    for k, name in enumerate(("pt", "eta", "phi", "mass")):
        expected = ak.to_numpy(ak.fill_none(ak.pad_none(getattr(jets, name), 5), 0.0))
        np.testing.assert_allclose(found.dense(5)[..., k], expected, rtol=1e-5, atol=1e-4)
    wider = jet_sequences(particles, SequenceSettings(radius=1.0, jets=5))
    assert wider.counts.sum() < found.counts.sum()
    few = jet_sequences(particles, SequenceSettings(radius=0.4, jets=2))
    assert np.array_equal(few.dense(2), found.dense(5)[:, :2])


def test_jets_by_hand(jets_of: Callable[..., ak.Array]) -> None:
    # Two particles of one jet, one on its own across the seam of phi, and one too soft.
    event = np.array([[60.0, 0.0, 0.2], [60.0, 0.0, -0.2], [90.0, -1.5, 3.1], [19.0, 2.0, 1.0]])
    found = jet_sequences(jets_of([event, event[3:]]), SequenceSettings(jets=4)).dense(4)
    pair = 120 * np.cos(0.2), 0.0, 0.0, 120 * np.sin(0.2)
    assert found[0, 0] == pytest.approx(pair, rel=1e-5, abs=1e-6)
    assert found[0, 1] == pytest.approx((90.0, -1.5, 3.1, 0.0), rel=1e-5, abs=1e-3)
    assert not found[0, 2:].any()
    assert not found[1].any()


def test_the_order_of_particles_does_not_matter(
    events: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    rng = np.random.default_rng(2)
    settings = SequenceSettings()
    found = jet_sequences(jets_of(events), settings).dense(10)
    shuffled = jet_sequences(jets_of([rng.permutation(row) for row in events]), settings)
    np.testing.assert_allclose(shuffled.dense(10), found, rtol=1e-5, atol=1e-3)
    assert np.all(np.diff(found[..., 0]) <= 0)


def test_rows_are_chosen_without_the_others(
    events: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    found = jet_sequences(jets_of(events), SequenceSettings(radius=0.4, jets=5))
    assert np.array_equal(found.dense(7, [4, 0])[:, :5], found.dense(5)[[4, 0]])
    assert not found.dense(7)[:, 5:].any()


def test_two_jets_of_the_same_radius_are_the_dijet(
    events: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    settings = SkimSettings(
        jets=JetSettings(order="pt"),
        sequence=SequenceSettings(radius=JetSettings().radius, jets=2),
        observables=("pt", "eta", "phi", "mass", "m_multijet"),
        images=None,
    )
    particles = jets_of(events)
    jets, cuts = find_dijets(particles, settings.jets)
    passed = np.logical_and.reduce(list(cuts.values()))
    columns = dijet_columns(jets, settings, particles[passed])
    for name in ("pt", "eta", "phi", "mass"):
        listed = ak.to_numpy(columns[f"sequence_{name}"])
        for k, jet in enumerate(("heavy", "light")):
            expected = ak.to_numpy(columns[f"{jet}_{name}"])
            np.testing.assert_allclose(listed[:, k], expected, rtol=1e-5, atol=1e-4)
    assert ak.to_numpy(columns["m_multijet"]) == pytest.approx(
        ak.to_numpy(columns["m_jj"]), rel=1e-5
    )


def test_the_mass_of_all_jets_is_that_of_their_sum(
    events: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    particles = jets_of(events)
    found = jet_sequences(particles, SequenceSettings(radius=0.4, jets=5))
    jets = cluster(particles, JetSettings(radius=0.4), leading=5)
    px, py, pz, energy = (
        ak.to_numpy(ak.sum(getattr(jets, name), axis=1)) for name in ("px", "py", "pz", "E")
    )
    expected = np.sqrt(energy**2 - px**2 - py**2 - pz**2)
    assert found.total_mass == pytest.approx(expected, rel=1e-5)
    nothing, one = jets_of([[[1.0, 0.0, 0.0]]]), jets_of([[[900.0, 2.0, 1.0]]])
    for particles in (nothing, one):
        mass = jet_sequences(particles, SequenceSettings()).total_mass
        assert mass == pytest.approx([0.0], abs=1e-2)


def test_without_all_particles_there_is_no_mass_of_all_jets(
    events: list[np.ndarray], jets_of: Callable[..., ak.Array]
) -> None:
    with pytest.raises(ValueError, match="m_multijet is the mass of the jets in sequence; set seq"):
        SkimSettings(observables=("m_multijet",))
    settings = SkimSettings(sequence=SequenceSettings(), observables=("m_multijet",), images=None)
    jets, _ = find_dijets(jets_of(events), settings.jets)
    with pytest.raises(InputError, match="sequence needs all particles of an event"):
        dijet_columns(jets, settings)
