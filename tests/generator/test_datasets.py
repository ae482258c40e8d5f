from __future__ import annotations

import pytest

from tnt_coffea.config import GenerateSettings, SignalModel
from tnt_coffea.errors import ConfigError
from tnt_coffea.generator import DATASETS, dataset_named, plan, scaled
from tnt_coffea.generator.processes import process_named

# arXiv:2101.08320, table 1.
TABLE_1 = {
    "Tune:pp": ("14", "3", "10"),
    "PDF:pSet": ("13", "12", "5"),
    "TimeShower:alphaSvalue": ("0.1365", "0.118", "0.16"),
    "SpaceShower:alphaSvalue": ("0.1365", "0.118", "0.16"),
    "TimeShower:renormMultFac": ("1.0", "0.5", "2.0"),
    "SpaceShower:renormMultFac": ("1.0", "0.5", "2.0"),
    "TimeShower:factorMultFac": ("1.0", "1.5", "0.5"),
    "SpaceShower:factorMultFac": ("1.0", "1.5", "0.5"),
    "TimeShower:pTmaxMatch": ("1", "2", "1"),
    "SpaceShower:pTmaxMatch": ("0", "2", "1"),
}


@pytest.mark.parametrize(
    ("column", "name"), [(0, "rnd-background"), (1, "blackbox-1"), (2, "blackbox-3")]
)
def test_table_1_of_the_olympics_paper_reaches_pythia(column: int, name: str) -> None:
    lines = process_named("qcd").lines(DATASETS[name].settings)
    given = dict(line.split(" = ") for line in lines)
    assert {key: given[key] for key in TABLE_1} == {k: v[column] for k, v in TABLE_1.items()}
    assert list(given).index("Tune:pp") < list(given).index("PDF:pSet")


def test_names_give_points_of_the_class_of_prior_signals() -> None:
    made = dataset_named("prior-x320-y70-3prong").settings
    assert (made.heavy_mass, made.light_mass, made.background) == (320, 70, 0)
    assert made.model is SignalModel.THREE_PRONG
    assert dataset_named("prior-x320-y70-2prong").settings.model is SignalModel.TWO_PRONG
    for name in ("prior-x70-y320-2prong", "prior-x320-y70-4prong", "x320", "prior-"):
        with pytest.raises(ConfigError, match=f"no data set is called '{name}'.* prior-x500-y100"):
            dataset_named(name)
    with pytest.raises(ConfigError, match="X is the heavier one, but 70 GeV is below 320 GeV;"):
        dataset_named("prior-x70-y320-2prong")


def test_every_process_of_a_box_shares_its_shower() -> None:
    box = DATASETS["blackbox-3"].settings
    shower = [line for line in process_named("qcd").lines(box) if "Shower" in line]
    for name in ("graviton_gg", "graviton_rg"):
        assert [line for line in process_named(name).lines(box) if "Shower" in line] == shower


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("rnd-background", {"qcd": 1_000_000}),
        ("rnd-signal", {"wprime_wz": 100_000}),
        ("rnd-signal-3prong", {"wprime_qqq": 100_000}),
        ("signal-500-500", {"wprime_wz": 100_000}),
        ("prior-2prong", {"wprime_wz": 100_000}),
        ("prior-3prong", {"wprime_qqq": 100_000}),
        ("blackbox-1", {"qcd": 999_166, "wprime_wz": 834}),
        ("blackbox-2", {"qcd": 1_000_000}),
        ("blackbox-3", {"qcd": 996_800, "graviton_gg": 1200, "graviton_rg": 2000}),
        ("simulation", {"qcd": 1_000_000}),
    ],
)
def test_numbers_of_the_originals(name: str, counts: dict[str, int]) -> None:
    made: dict[str, int] = {}
    for task in plan(DATASETS[name].settings.model_copy(update={"block": 10_000}), 1):
        made[task.process] = made.get(task.process, 0) + task.events
    assert made == counts


def test_boxes_alone_hide_their_truth() -> None:
    hidden = {name for name, dataset in DATASETS.items() if dataset.settings.hidden}
    assert hidden == {"blackbox", "blackbox-1", "blackbox-2", "blackbox-3"}


def test_boxes_alone_are_rounded_and_all_alike() -> None:
    bits = {name: dataset.settings.mantissa_bits for name, dataset in DATASETS.items()}
    boxes = {name for name in bits if name.startswith("blackbox")}
    assert {bits[name] for name in boxes} == {18}
    assert {bits[name] for name in bits if name not in boxes} == {23}


def test_the_simulation_differs_from_the_data_by_its_shower_alone() -> None:
    data, simulation = (DATASETS[name].settings for name in ("rnd-background", "simulation"))
    assert simulation.shower != data.shower
    assert simulation.model_copy(update={"shower": data.shower}) == data


def test_both_daughters_of_500() -> None:
    settings = DATASETS["signal-500-500"].settings
    assert settings.heavy_mass == settings.light_mass == 500
    assert settings.model is SignalModel.TWO_PRONG


@pytest.mark.parametrize(
    ("name", "masses", "model"),
    [
        ("prior-2prong", (4500, 500, 150), SignalModel.TWO_PRONG),
        ("prior-3prong", (5000, 500, 500), SignalModel.THREE_PRONG),
    ],
)
def test_masses_of_the_prior_signals(
    name: str, masses: tuple[int, int, int], model: SignalModel
) -> None:
    settings = DATASETS[name].settings
    assert (settings.resonance_mass, settings.heavy_mass, settings.light_mass) == masses
    assert settings.model is model


def test_scaling_keeps_the_proportion() -> None:
    small = scaled(DATASETS["blackbox-3"].settings, 10_000)
    assert (small.background, small.signal) == (9968, 32)
    assert scaled(DATASETS["rnd-signal"].settings, 30).signal == 30


def test_nothing_cannot_be_scaled() -> None:
    with pytest.raises(ConfigError, match="no events"):
        scaled(GenerateSettings(background=0, signal=0), 10)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'blackbox-4'; known ones are rnd-background, "):
        dataset_named("blackbox-4")
