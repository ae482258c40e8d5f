from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import (
    EVENT_OBSERVABLES,
    JET_OBSERVABLES,
    ImageSettings,
    JetSettings,
    SkimSettings,
    SubstructureSettings,
)
from tnt_coffea.errors import InputError
from tnt_coffea.jets import kinematics
from tnt_coffea.jets.declustering import mass_drop_sum
from tnt_coffea.jets.dijets import find_dijets
from tnt_coffea.jets.energy_flow import energy_flow_polynomials
from tnt_coffea.jets.grooming import soft_drop_mass
from tnt_coffea.jets.observables import dijet_columns
from tnt_coffea.jets.rings import energy_rings
from tnt_coffea.jets.substructure import (
    count_subjets,
    exclusive_subjets,
    n_subjettiness,
    wide_subjets,
)

OF_DIJETS = tuple(name for name in EVENT_OBSERVABLES if name != "m_multijet")
EVERYTHING = SkimSettings(
    observables=(*JET_OBSERVABLES, *OF_DIJETS),
    substructure=SubstructureSettings(subjets=4, soft_drop_beta=0.5, soft_drop_zcut=0.4),
    images=None,
)


@pytest.fixture(scope="module")
def dijets(pronged: Any, jets_of: Callable[..., ak.Array]) -> ak.Array:
    events = []
    for seed in range(6):
        first, second, third = (pronged(3 * seed + i, 30 - 4 * i) for i in range(3))
        if seed == 0:
            first[0, 0] = 1e6  # next to the axis: the innermost ring of one jet is not empty
        if seed == 1:  # jets of four wide subjets
            far = np.array([[300.0, 0.6, np.pi], [250.0, -0.7, np.pi], [200.0, 0.1, np.pi + 0.7]])
            first, second = (
                np.concatenate([first, far]),
                np.concatenate([second, far * [0.5, 1, 1]]),
            )
        second[:, 2] -= np.pi
        third = third * [0.3, 1, 1] - [0, 0, np.pi / 2]
        events.append(np.concatenate([first, second, third]))
    events.append(np.array([[300.0, 0.0, 0.0], [280.0, 0.1, 3.0]]))
    return find_dijets(jets_of(events), JetSettings(), leading=3)[0]


@pytest.fixture(scope="module")
def columns(dijets: ak.Array) -> dict[str, ak.Array]:
    return dijet_columns(dijets, EVERYTHING)


def test_every_name_of_the_catalogue_is_a_finite_column(columns: dict[str, ak.Array]) -> None:
    names = {f"{jet}_{name}" for jet in ("heavy", "light") for name in JET_OBSERVABLES}
    assert set(columns) == {"m_jj", *OF_DIJETS, *names}
    for name, column in columns.items():
        values = ak.to_numpy(column)
        assert values.dtype == (np.float64 if name == "m_jj" else np.float32), name
        assert values.shape == (7,), name
        assert np.isfinite(values).all(), name
    # Nothing is there twice under two names.
    seen = {ak.to_numpy(columns[name]).tobytes(): name for name in sorted(names)}
    assert {name for name in names if name not in seen.values()} == set()


def test_columns_are_what_the_kernels_give(dijets: ak.Array, columns: dict[str, ak.Array]) -> None:
    for i, jet in enumerate(("heavy", "light")):
        constituents = dijets[:, i].constituents
        tau = {
            (name, n): n_subjettiness(constituents, (n,), beta=beta)[:, 0]
            for name, beta in (("", 1.0), ("_beta05", 0.5), ("_beta2", 2.0))
            for n in (1, 2, 3, 4)
        }
        pt, mass = exclusive_subjets(constituents, 4)
        inclusive, exclusive = count_subjets(constituents)
        wide, delta_r = wide_subjets(constituents)
        rings = energy_rings(constituents)
        flow = energy_flow_polynomials(constituents, ["efp_2_1_0", "efp_5_5_10"])
        expected = {
            "n_constituents": ak.to_numpy(ak.num(constituents)),
            "pt_sum": ak.to_numpy(ak.sum(constituents.pt, axis=1)),
            "mass_drop_sum": mass_drop_sum(constituents),
            "n_subjets_inclusive": inclusive,
            "n_subjets_exclusive": exclusive,
            "energy": ak.to_numpy(dijets[:, i].E),
            "n_subjets_wide": wide,
            "delta_r12": delta_r[:, 0],
            "delta_r24": delta_r[:, 4],
            "delta_r34": delta_r[:, 5],
            "efp_2_1_0": flow[:, 0],
            "efp_5_5_10": flow[:, 1],
            "ring0": rings[:, 0],
            "ring9": rings[:, 9],
            "soft_drop_mass": soft_drop_mass(constituents, beta=0.5, zcut=0.4),
            "tau3": tau["", 3],
            "tau4_beta2": tau["_beta2", 4],
            "subjet1_pt": pt[:, 0],
            "subjet4_mass": mass[:, 3],
            "rescaled_mass": (ak.to_numpy(dijets[:, i].mass) - 30) / columns["m_jj"] + 0.01,
        }
        for name, values in expected.items():
            assert ak.to_numpy(columns[f"{jet}_{name}"]) == pytest.approx(
                np.asarray(values), rel=1e-6, abs=1e-12
            )
        # The last event's jets have one particle: a ratio of nothing is 0.
        ratio = np.append(tau["_beta05", 3][:-1] / tau["_beta05", 2][:-1], 0.0)
        width = np.append(np.sqrt(tau["_beta2", 1][:-1]) / tau["", 1][:-1], 0.0)
        assert ak.to_numpy(columns[f"{jet}_tau32_beta05"]) == pytest.approx(ratio, rel=1e-6)
        assert ak.to_numpy(columns[f"{jet}_tau1_width"]) == pytest.approx(width, rel=1e-6)


def test_masses_of_two_and_three_jets(dijets: ak.Array, columns: dict[str, ak.Array]) -> None:
    for event, m_jj, m_jjj in zip(dijets, columns["m_jj"], columns["m_jjj"], strict=True):
        total = [sum(float(jet[c]) for jet in event[:2]) for c in ("px", "py", "pz", "E")]
        assert m_jj == pytest.approx(kinematics.invariant_mass(np.array(total)), rel=1e-9)
        total = [sum(float(jet[c]) for jet in event) for c in ("px", "py", "pz", "E")]
        assert m_jjj == pytest.approx(kinematics.invariant_mass(np.array(total)), rel=1e-6)
    assert columns["m_jjj"][-1] == np.float32(columns["m_jj"][-1])
    assert ak.all(columns["m_jjj"][:-1] > columns["m_jj"][:-1])


def test_a_resonance_of_three_jets_is_seen_in_the_mass_of_three(
    jets_of: Callable[..., ak.Array],
) -> None:
    # A 4.2 TeV state at rest, X -> R g, R of 2.217 TeV -> g g, in the transverse plane.
    mass, middle = 4200.0, 2217.0
    p = (mass**2 - middle**2) / (2 * mass)
    gamma, boost = np.hypot(p, middle) / middle, p / middle
    angle = np.deg2rad(80.0)
    parallel = gamma * middle / 2 * np.cos(angle) * np.array([1, -1]) + boost * middle / 2
    across = middle / 2 * np.sin(angle) * np.array([1, -1])
    rows = [[p, 0.0, np.pi]]
    rows += [[np.hypot(x, y), 0.0, np.arctan2(y, x)] for x, y in zip(parallel, across, strict=True)]
    settings = SkimSettings(observables=("m_jjj",), images=None)
    jets, _ = find_dijets(jets_of([np.array(rows)]), settings.jets, leading=settings.leading_jets)
    columns = dijet_columns(jets, settings)
    assert columns["m_jjj"][0] == pytest.approx(mass, rel=1e-6)
    assert columns["m_jj"][0] < 0.98 * mass


def test_only_what_is_asked_for_is_there(dijets: ak.Array) -> None:
    few = SkimSettings(observables=("mass", "delta_eta"), images=None)
    assert list(dijet_columns(dijets, few)) == ["m_jj", "delta_eta", "heavy_mass", "light_mass"]
    assert few.leading_jets == 2
    assert set(dijet_columns(dijets, SkimSettings(observables=()))) == {
        "m_jj",
        *(f"{j}_image_{p}" for j in ("heavy", "light") for p in ("index", "value")),
    }


def test_jets_without_constituents_give_kinematics_and_their_own_fields(dijets: ak.Array) -> None:
    bare = ak.without_field(dijets, "constituents")
    plain = SkimSettings(observables=("pt", "mass", "rescaled_mass", "pt_balance"), images=None)
    ours, theirs = dijet_columns(dijets, plain), dijet_columns(bare, plain)
    assert all(ak.array_equal(ours[name], theirs[name]) for name in ours)
    own = ak.with_field(bare, ak.ones_like(bare.px) * 0.25, "tau21")
    found = dijet_columns(own, SkimSettings(observables=("tau21",), images=None))
    assert found["light_tau21"].tolist() == [0.25] * 7


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (SkimSettings(images=None), "observables: tau21 needs"),
        (SkimSettings(observables=("pt",), images=ImageSettings()), "images: images needs"),
        (SkimSettings(observables=("soft_drop_mass",), images=None), "soft_drop_mass needs"),
    ],
)
def test_what_needs_constituents_says_so(
    dijets: ak.Array, settings: SkimSettings, cause: str
) -> None:
    with pytest.raises(InputError, match=cause) as error:
        dijet_columns(ak.without_field(dijets, "constituents"), settings)
    assert "set skim.images to null" in str(error.value)
