from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import JetOrder, JetSettings
from tnt_coffea.jets import clustering
from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.dijets import find_dijets, select_dijets


@pytest.fixture(scope="module")
def particles(jets_of: Callable[..., ak.Array]) -> ak.Array:
    events = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = 40
        centre = rng.integers(0, 4, n)
        eta = np.array([-2.4, 0.0, 1.0, 0.3])[centre] + rng.normal(0, 0.25, n)
        phi = np.array([0.0, 3.0, -1.5, 1.2])[centre] + rng.normal(0, 0.25, n)
        events.append(np.stack([rng.exponential(40, n) + 0.5, eta, phi], axis=1))
    return jets_of(events)


def column(jets: ak.Array, name: str) -> np.ndarray:
    return ak.to_numpy(getattr(jets[:, :2], name))


def test_each_order_is_what_it_says(particles: ak.Array) -> None:
    by_mass, by_pt = (
        find_dijets(particles, JetSettings(order=order))[0] for order in ("mass", "pt")
    )
    assert (column(by_mass, "mass")[:, 0] >= column(by_mass, "mass")[:, 1]).all()
    assert (column(by_pt, "pt")[:, 0] >= column(by_pt, "pt")[:, 1]).all()
    differ = column(by_mass, "pt")[:, 0] != column(by_pt, "pt")[:, 0]
    assert 0 < differ.sum() < len(by_pt)
    assert np.array_equal(np.sort(column(by_mass, "pt")), np.sort(column(by_pt, "pt")))


def test_coin_exchanges_the_jets_with_their_constituents(particles: ak.Array) -> None:
    coin = np.arange(30) % 3 == 0
    random = JetSettings(order=JetOrder.RANDOM)
    tossed, _ = find_dijets(particles, random, coin=coin)
    by_pt, _ = find_dijets(particles, JetSettings(order="pt"))
    assert np.array_equal(column(tossed, "pt")[coin], column(by_pt, "pt")[coin][:, ::-1])
    assert np.array_equal(column(tossed, "pt")[~coin], column(by_pt, "pt")[~coin])
    total = ak.to_numpy(ak.sum(tossed.constituents.px, axis=2))
    assert total == pytest.approx(column(tossed, "px"), rel=1e-9)
    with pytest.raises(ValueError, match="need a coin"):
        find_dijets(particles, random)


def test_eta_cut_is_on_the_jet_and_before_the_choice(particles: ak.Array) -> None:
    all_jets = cluster(particles, JetSettings(), leading=20)
    central, cuts = find_dijets(particles, JetSettings(eta_max=1.5, order="pt"))
    assert np.abs(column(central, "eta")).max() <= 1.5
    kept = all_jets[np.abs(all_jets.eta) <= 1.5]
    assert np.array_equal(cuts["two_jets"], ak.to_numpy(ak.num(kept) >= 2))
    expected = kept[cuts["two_jets"]][:, :2]
    assert np.array_equal(column(central, "pt"), ak.to_numpy(expected.pt))
    assert np.abs(ak.to_numpy(ak.flatten(all_jets.eta))).max() > 1.5


def test_third_jet_follows_the_pair(particles: ak.Array) -> None:
    three, _ = find_dijets(particles, JetSettings(), leading=3)
    two, _ = find_dijets(particles, JetSettings())
    assert np.array_equal(column(three, "pt"), column(two, "pt"))
    third = three[ak.num(three) == 3]
    assert len(third)
    assert ak.all(third.pt[:, 2] <= ak.min(third.pt[:, :2], axis=1))


@pytest.mark.parametrize("order", ["mass", "pt", "random"])
def test_given_jets_are_chosen_as_clustered_ones(particles: ak.Array, order: str) -> None:
    settings = JetSettings(order=order, eta_max=2.0, trigger_pt=600.0, pt_min=100.0)
    coin = np.random.default_rng(1).random(30) < 0.5
    jets = cluster(particles, JetSettings(), leading=20)
    shuffled = jets[ak.argsort(jets.eta, axis=1)]
    given, given_cuts = select_dijets(shuffled, settings, coin=coin, leading=3)
    found, cuts = find_dijets(particles, settings, coin=coin, leading=3)
    assert 0 < len(found) < 30
    assert {name: cut.tolist() for name, cut in cuts.items()} == {
        name: cut.tolist() for name, cut in given_cuts.items()
    }
    for name in ("px", "py", "pz", "E"):
        assert ak.array_equal(ak.to_packed(given[name]), ak.to_packed(found[name]))
    assert ak.all(given.constituents.pt == found.constituents.pt, axis=None)


def test_trigger_and_missing_jets(particles: ak.Array, jets_of: Callable[..., ak.Array]) -> None:
    hard = JetSettings(trigger_pt=1e6)
    jets, cuts = find_dijets(particles, hard)
    assert len(jets) == 0
    assert not cuts["trigger"].any()
    nothing = jets_of([np.ones((1, 3)), np.ones((0, 3))])
    jets, cuts = select_dijets(nothing, JetSettings(pt_min=5.0))
    assert len(jets) == 0
    assert [cuts["two_jets"].tolist(), cuts["trigger"].tolist()] == [[False, False]] * 2


def test_batches_of_events_change_nothing(
    particles: ak.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Any = find_dijets(particles, JetSettings(), leading=3)[0]
    monkeypatch.setattr(clustering, "EVENTS_PER_CALL", 7)
    assert ak.array_equal(find_dijets(particles, JetSettings(), leading=3)[0], whole)
    assert ak.array_equal(find_dijets(particles[5:], JetSettings(), leading=3)[0], whole[5:])
