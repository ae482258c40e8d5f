from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import vector

from tnt_coffea.config import JetAlgorithm, JetSettings, SkimSettings
from tnt_coffea.jets import clustering
from tnt_coffea.jets.clustering import cluster
from tnt_coffea.jets.dijets import find_dijets
from tnt_coffea.jets.observables import dijet_columns


def event(seed: int, n: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 3, n)
    eta = np.array([-1.0, 0.5, 1.2])[centre] + rng.normal(0, 0.3, n)
    phi = np.array([0.0, 3.0, -1.5])[centre] + rng.normal(0, 0.3, n)
    return np.stack([rng.exponential(40, n) + 0.5, eta, phi], axis=1)


def particles(events: list[np.ndarray]) -> ak.Array:
    flat = np.concatenate([e.reshape(-1, 3) for e in events])
    p4 = vector.zip(
        {"pt": flat[:, 0], "eta": flat[:, 1], "phi": flat[:, 2], "mass": flat[:, 0] * 0}
    )
    return ak.unflatten(p4, [len(e) for e in events])


def literal_clustering(rows: np.ndarray, power: int, radius: float) -> list[np.ndarray]:
    """Generalised kt by its definition, O(n^3), in the E scheme; returns (px, py, pz, E)."""
    pt, eta, phi = rows.T
    p = [
        np.array([a * np.cos(f), a * np.sin(f), a * np.sinh(e), a * np.cosh(e)])
        for a, e, f in zip(pt, eta, phi, strict=True)
    ]
    jets = []
    while p:
        kt = np.array([np.hypot(q[0], q[1]) for q in p])
        rapidity = np.array([0.5 * np.log((q[3] + q[2]) / (q[3] - q[2])) for q in p])
        azimuth = np.array([np.arctan2(q[1], q[0]) for q in p])
        beam = kt ** (2.0 * power)
        dphi = np.abs(azimuth[:, None] - azimuth)
        dphi = np.minimum(dphi, 2 * np.pi - dphi)
        distance = np.minimum(beam[:, None], beam) / radius**2
        distance = distance * ((rapidity[:, None] - rapidity) ** 2 + dphi**2)
        distance[np.diag_indices(len(p))] = beam
        i, j = np.unravel_index(np.argmin(distance), distance.shape)
        if i == j:
            jets.append(p.pop(i))
        else:
            merged = p[i] + p[j]
            p = [q for k, q in enumerate(p) if k not in (i, j)] + [merged]
    return sorted(jets, key=lambda q: -np.hypot(q[0], q[1]))


@pytest.mark.parametrize(
    ("algorithm", "power"),
    [(JetAlgorithm.ANTIKT, -1), (JetAlgorithm.KT, 1), (JetAlgorithm.CAMBRIDGE, 0)],
)
def test_jets_agree_with_the_definition(algorithm: JetAlgorithm, power: int) -> None:
    events = [event(seed) for seed in range(6)]
    found = cluster(particles(events), JetSettings(algorithm=algorithm, pt_min=1.0))
    for jets, rows in zip(found, events, strict=True):
        expected = literal_clustering(rows, power, 1.0)[:2]
        for jet, (px, py, pz, energy) in zip(jets, expected, strict=True):
            assert [jet.px, jet.py, jet.pz, jet.E] == pytest.approx([px, py, pz, energy], rel=1e-6)


def test_constituents_sum_to_their_jet() -> None:
    jets = cluster(particles([event(seed) for seed in range(20)]), JetSettings())
    constituents = ak.with_name(jets.constituents, "Momentum4D")
    for component in ("px", "py", "pz", "E"):
        total = ak.sum(getattr(constituents, component), axis=2)
        assert ak.to_numpy(ak.flatten(total)) == pytest.approx(
            ak.to_numpy(ak.flatten(getattr(jets, component))), rel=1e-9
        )


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p4 = particles([event(seed) for seed in range(23)])
    whole = cluster(p4, JetSettings())
    monkeypatch.setattr(clustering, "EVENTS_PER_CALL", 5)
    assert ak.array_equal(ak.to_packed(cluster(p4, JetSettings())), ak.to_packed(whole))


def test_heavy_jet_is_the_heavier_one_event_by_event() -> None:
    jets, cuts = find_dijets(particles([event(seed) for seed in range(40)]), JetSettings())
    mass, pt = ak.to_numpy(jets.mass), ak.to_numpy(jets.pt)
    assert cuts["two_jets"].all()
    assert (mass[:, 0] >= mass[:, 1]).all()
    # Mass order is not pT order, or the test would not tell them apart.
    assert 0 < (pt[:, 0] < pt[:, 1]).sum() < 40


def test_events_without_a_dijet_are_rejected_by_name() -> None:
    one = np.array([[500.0, 0.0, 0.0], [400.0, 0.1, 0.1]])
    none = np.empty((0, 3))
    jets, cuts = find_dijets(particles([one, event(1), none]), JetSettings(trigger_pt=1.0))
    assert cuts["two_jets"].tolist() == [False, True, False]
    assert cuts["trigger"].tolist() == [True, True, False]
    assert len(jets) == 1


def test_dijet_mass_and_columns() -> None:
    back_to_back = np.array([[1000.0, 0.0, 0.0], [1000.0, 0.0, np.pi], [1.0, 0.1, 0.1]])
    jets, _ = find_dijets(particles([back_to_back]), JetSettings())
    columns = dijet_columns(jets, SkimSettings())
    assert columns["m_jj"][0] == pytest.approx(2001, rel=1e-3)
    assert [columns["heavy_n_constituents"][0], columns["light_n_constituents"][0]] == [2, 1]
    assert columns["light_tau21"][0] == 0.0


def test_no_event_gives_no_dijet() -> None:
    jets, cuts = find_dijets(particles([np.empty((0, 3))]), JetSettings())
    assert len(jets) == 0
    columns = dijet_columns(jets, SkimSettings())
    assert all(len(column) == 0 for column in columns.values())
    assert cuts["two_jets"].tolist() == [False]
