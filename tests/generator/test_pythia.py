"""What makes PYTHIA start and run faster changes no event."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.generator import DATASETS
from tnt_coffea.generator.processes import PROCESSES, early_jet_pt, process_named
from tnt_coffea.generator.pythia import Charges, final_state, parton_veto, pythia_module, started

pytest.importorskip("pythia8mc", reason="the 'generate' extra is not installed")

ENERGY = 13000.0
# One of each process, and every set of parton densities among the data sets.
CASES = (
    ("rnd-background", "qcd"),
    ("rnd-signal", "wprime_wz"),
    ("rnd-signal-3prong", "wprime_qqq"),
    ("blackbox-1", "wprime_wz"),
    ("blackbox-2", "qcd"),
    ("blackbox-3", "graviton_gg"),
    ("blackbox-3", "graviton_rg"),
)


def hook(process: str) -> Any:
    settings = DATASETS["rnd-background"].settings
    return parton_veto(pythia_module(), 1050.0, early_jet_pt(process_named(process), settings), 1e9)


def plainly_started(lines: tuple[str, ...], seed: int, veto: Any) -> Any:
    """Return what anyone's script would start."""
    pythia = pythia_module().Pythia("", False)
    for line in (*lines, "Random:setSeed = on", f"Random:seed = {seed}"):
        assert pythia.readString(line)
    pythia.setUserHooksPtr(veto)
    assert pythia.init()
    return pythia


def finals(pythia: Any, n: int) -> list[np.ndarray]:
    batch = pythia.nextBatch(n, errorMode="skip")
    particles, conserved = final_state(batch, Charges.known_to(pythia), ENERGY)
    assert conserved.size == n
    assert conserved.all()
    return [particles.event, particles.pdg_id, particles.pt, particles.eta, particles.energy]


@pytest.mark.parametrize(("dataset", "process"), CASES)
def test_events_are_those_of_a_plain_script(dataset: str, process: str) -> None:
    lines = process_named(process).lines(DATASETS[dataset].settings)
    vetoes = hook(process), hook(process)
    ours = finals(started((*lines, "Check:event = off"), 5, vetoes[0]), 5)
    plain = finals(plainly_started(lines, 5, vetoes[1]), 5)
    for own, other in zip(ours, plain, strict=True):
        np.testing.assert_array_equal(own, other)
    assert vetoes[0].n_tried == vetoes[1].n_tried


def test_cases_are_all_processes_and_densities() -> None:
    assert {process for _, process in CASES} == {process.name for process in PROCESSES}
    densities = {DATASETS[name].settings.shower.pdf for name, _ in CASES}
    assert densities == {one.settings.shower.pdf for one in DATASETS.values()}


def test_a_start_leaves_nothing_behind_for_the_next_one() -> None:
    # The signal moves the masses of W and Z.
    lines = process_named("wprime_wz").lines(DATASETS["rnd-signal"].settings)
    veto = hook("wprime_wz")
    assert started(lines, 1, veto).particleData.m0(24) == 500
    background = process_named("qcd").lines(DATASETS["rnd-background"].settings)
    assert started(background, 1, veto).particleData.m0(24) == pytest.approx(80.385)


def test_charges_are_those_of_pythia() -> None:
    pythia = started(
        process_named("wprime_qqq").lines(DATASETS["rnd-signal-3prong"].settings),
        1,
        hook("wprime_qqq"),
    )
    codes = np.array([11, -11, 22, 211, -211, 2112, 2212, -2212, -3112, 9_000_001, -9_000_001])
    expected = [pythia.particleData.charge(int(code)) for code in codes]
    assert Charges.known_to(pythia).of(codes).tolist() == expected
    assert expected[:4] == [-1.0, 1.0, 0.0, 1.0]


def test_final_particles_are_those_with_a_positive_status() -> None:
    pythia = started(process_named("qcd").lines(DATASETS["blackbox-3"].settings), 2, hook("qcd"))
    charges = Charges.known_to(pythia)
    batch = pythia.nextBatch(4, errorMode="skip")
    particles, _ = final_state(batch, charges, ENERGY)
    final = batch.prt[batch.prt.status > 0]
    assert np.bincount(particles.event).tolist() == ak.num(final).tolist()
    px, py, pz, e = (ak.to_numpy(ak.flatten(final.p[name])) for name in ("px", "py", "pz", "e"))
    np.testing.assert_array_equal(particles.pdg_id, ak.to_numpy(ak.flatten(final.id)))
    np.testing.assert_array_equal(particles.pt, np.hypot(px, py))
    np.testing.assert_array_equal(particles.eta, np.arcsinh(pz / np.hypot(px, py)))
    np.testing.assert_array_equal(particles.phi, np.arctan2(py, px))
    np.testing.assert_array_equal(particles.energy, e)


def test_an_event_that_lost_momentum_is_seen() -> None:
    pythia = started(
        process_named("qcd").lines(DATASETS["rnd-background"].settings), 1, hook("qcd")
    )
    batch = pythia.nextBatch(3, errorMode="skip")
    charges = Charges.known_to(pythia)
    assert final_state(batch, charges, ENERGY)[1].tolist() == [True] * 3
    assert final_state(batch, charges, ENERGY + 10)[1].tolist() == [False] * 3
