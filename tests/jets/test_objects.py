"""Objects of several jets: who belongs to whom, and that nothing is lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import ImageSettings, JetSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.dijets import find_dijets, owners, select_dijets
from tnt_coffea.jets.observables import dijet_columns

NARROW = JetSettings(radius=0.4, pt_min=5.0, order="pt")
WIDE = JetSettings(radius=0.4, pt_min=5.0, order="pt", object_radius=1.2)


def rows(*jets: tuple[float, float, float]) -> np.ndarray:
    pt, eta, phi = np.array(jets).T
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)])


@pytest.fixture(scope="module")
def particles(jets_of: Callable[..., ak.Array]) -> ak.Array:
    """Two back-to-back sprays of prongs, and something far from both."""
    events = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        spray = rng.integers(0, 7, 60)
        eta = np.array([0.0, 0.8, 0.1, 0.0, -0.7, 0.2, 3.5])[spray]
        phi = np.array([0.0, 0.3, -0.9, 3.1, 2.9, -2.2, 1.5])[spray]
        pt = np.array([40, 10, 8, 35, 9, 12, 6])[spray] * (0.5 + rng.random(60))
        events.append(np.stack([pt, eta + rng.normal(0, 0.05, 60), phi], axis=1))
    return jets_of(events)


def test_a_jet_belongs_to_the_nearer_leading_one_within_the_radius() -> None:
    p4 = rows((100, 0.0, 3.0), (90, 0.0, 0.0), (30, 0.5, -3.0), (20, 0.9, 0.0), (10, 0.0, 1.6))
    assert owners(p4, np.array([5]), 1.0).tolist() == [0, 1, 0, 1, 4]
    assert owners(p4, np.array([5]), 10.0).tolist() == [0, 1, 0, 1, 0]
    assert owners(p4, np.array([5]), 0.1).tolist() == [0, 1, 2, 3, 4]
    assert owners(p4, np.array([1, 0, 4]), 10.0).tolist() == [0, 1, 2, 1, 1]


def test_momenta_add_up_and_constituents_are_those_of_all(particles: ak.Array) -> None:
    objects, _ = find_dijets(particles, WIDE, leading=20)
    jets = cluster(particles, NARROW, leading=20)
    assert ak.all(ak.num(objects) < ak.num(jets))
    for name in ("px", "py", "pz", "E"):
        total = ak.to_numpy(ak.sum(objects[name], axis=1))
        assert total == pytest.approx(ak.to_numpy(ak.sum(jets[name], axis=1)), rel=1e-9, abs=1e-6)
        inside = ak.flatten(ak.sum(getattr(objects.constituents, name), axis=2))
        assert ak.to_numpy(inside) == pytest.approx(
            ak.to_numpy(ak.flatten(objects[name])), rel=1e-6, abs=1e-4
        )
    every = ak.sort(ak.flatten(objects.constituents.pt, axis=2))
    assert ak.array_equal(every, ak.sort(ak.flatten(jets.constituents.pt, axis=2)))


def test_mass_of_an_object_is_that_of_the_sum(particles: ak.Array) -> None:
    objects, _ = find_dijets(particles, WIDE)
    jets = cluster(particles, NARROW, leading=20)
    jet = jets[0]
    distance = np.hypot(
        ak.to_numpy(jet.rapidity)[:, None] - ak.to_numpy(jet.rapidity)[None, :2],
        np.arccos(np.cos(ak.to_numpy(jet.phi)[:, None] - ak.to_numpy(jet.phi)[None, :2])),
    )
    owner = np.where(distance.min(axis=1) <= 1.2, distance.argmin(axis=1), -1)
    masses = []
    for i in (0, 1):
        p4 = [float(ak.sum(jet[name][owner == i])) for name in ("px", "py", "pz", "E")]
        masses.append(np.sqrt(p4[3] ** 2 - p4[0] ** 2 - p4[1] ** 2 - p4[2] ** 2))
    assert (owner == -1).any()
    assert sorted(ak.to_list(objects.mass[0])) == pytest.approx(sorted(masses), rel=1e-6)


def test_objects_are_ordered_as_jets_are_and_the_rest_follows(particles: ak.Array) -> None:
    by_mass = JetSettings(radius=0.4, pt_min=5.0, object_radius=1.2)
    heavy, _ = find_dijets(particles, by_mass, leading=4)
    assert ak.all(heavy.mass[:, 0] >= heavy.mass[:, 1])
    by_pt, _ = find_dijets(particles, WIDE, leading=4)
    assert ak.all(by_pt.pt[:, 0] >= by_pt.pt[:, 1])
    assert ak.all(ak.num(by_pt) > 2)
    rest = by_pt[:, 2:].pt
    assert ak.array_equal(rest, ak.sort(rest, ascending=False))


def test_columns_and_images_are_those_of_the_objects(particles: ak.Array) -> None:
    wide = ImageSettings(half_width=2.5)
    objects, _ = find_dijets(particles, WIDE)
    jets, _ = find_dijets(particles, NARROW)
    found, single = (
        dijet_columns(made, SkimSettings(jets=settings, images=wide))
        for made, settings in ((objects, WIDE), (jets, NARROW))
    )
    assert np.asarray(found["m_jj"]) == pytest.approx(
        ak.to_numpy((objects[:, 0] + objects[:, 1]).mass), rel=1e-6
    )
    assert ak.all(found["m_jj"] > single["m_jj"])
    for jet in ("heavy", "light"):
        assert ak.all(found[f"{jet}_n_constituents"] >= single[f"{jet}_n_constituents"])
    assert ak.to_numpy(ak.sum(found["heavy_image_value"], axis=1)) == pytest.approx(1, rel=1e-5)


def test_trigger_looks_at_the_jet_and_a_small_radius_changes_nothing(
    particles: ak.Array,
) -> None:
    jets, cuts = find_dijets(particles, NARROW)
    same, _ = find_dijets(particles, WIDE.model_copy(update={"object_radius": 1e-6}))
    assert ak.array_equal(same.pt, jets.pt)
    assert ak.array_equal(same.constituents.pt, jets.constituents.pt)
    hardest = float(ak.max(jets.pt))
    wide = WIDE.model_copy(update={"trigger_pt": hardest})
    assert not find_dijets(particles, wide)[1]["trigger"].any()
    assert cuts["two_jets"].all()


def test_default_is_one_jet_and_a_radius_of_objects_another_digest() -> None:
    assert JetSettings().object_radius is None
    assert WIDE.digest() != NARROW.digest()


def test_jets_of_a_file_cannot_be_put_together(particles: ak.Array) -> None:
    with pytest.raises(InputError, match="object_radius"):
        select_dijets(cluster(particles, NARROW, leading=20), WIDE)
