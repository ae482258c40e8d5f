from __future__ import annotations

import pytest

from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.generator import tracker
from tnt_coffea.generator.processes import PROCESSES, parton_jet_pt, process_named


def test_names_are_unique_and_labels_are_truth_bits() -> None:
    assert len({process.name for process in PROCESSES}) == len(PROCESSES)
    assert {process.label for process in PROCESSES} == {0, 1}


def test_masses_reach_pythia() -> None:
    settings = GenerateSettings(resonance_mass=3823, heavy_mass=732, light_mass=378)
    lines = process_named("wprime_wz").lines(settings)
    assert {"34:m0 = 3823.0", "24:m0 = 732.0", "23:m0 = 378.0"} <= set(lines)


def test_top_channels_are_closed() -> None:
    lines = process_named("wprime_wz").lines(GenerateSettings())
    opened = [
        line.split("= ")[1].split() for line in lines if ":onIf" in line and "34:" not in line
    ]
    assert opened
    assert "6" not in {code for codes in opened for code in codes}


def test_thresholds_follow_the_trigger() -> None:
    assert parton_jet_pt(GenerateSettings()) == 1050
    assert parton_jet_pt(GenerateSettings(leading_pt=600)) == 525
    assert "PhaseSpace:pTHatMin = 400.0" in process_named("qcd").lines(
        GenerateSettings(leading_pt=600)
    )


def test_the_hard_scattering_can_be_cut_elsewhere() -> None:
    assert "PhaseSpace:pTHatMin = 1100.0" in process_named("qcd").lines(
        GenerateSettings(pt_hat_min=1100)
    )


def test_widths_reach_pythia_or_are_left_to_it() -> None:
    narrow = process_named("wprime_wz").lines(GenerateSettings(daughter_width=0.02))
    assert {"24:mWidth = 10.0", "24:mMax = 600.0", "23:mWidth = 2.0"} <= set(narrow)
    own = process_named("wprime_wz").lines(GenerateSettings(daughter_width=0))
    assert not [line for line in own if line.startswith(("23:mWidth", "24:mWidth", "24:mM"))]
    assert "34:mWidth = 35.0" in own


def test_particles_decay_inside_the_trackers_volume() -> None:
    for process in PROCESSES:
        given = dict(line.split(" = ") for line in process.lines(GenerateSettings()))
        assert given["ParticleDecays:limitCylinder"] == "on"
        assert float(given["ParticleDecays:xyMax"]) == 1000 * tracker.RADIUS
        assert float(given["ParticleDecays:zMax"]) == 1000 * tracker.HALF_LENGTH
        assert not [name for name in given if "au0" in name]


def test_the_signals_daughters_have_the_widths_of_a_w_and_a_z_by_default() -> None:
    lines = process_named("wprime_wz").lines(GenerateSettings())
    assert not [line for line in lines if line.startswith(("23:mWidth", "24:mWidth"))]


def test_a_closed_decay_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"1000 GeV cannot decay to 700 \+ 400 GeV"):
        process_named("wprime_wz").lines(
            GenerateSettings(resonance_mass=1000, heavy_mass=700, light_mass=400)
        )


def test_an_unknown_process_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'higgs'; known ones are qcd, wprime_wz, "):
        process_named("higgs")
