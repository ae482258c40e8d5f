from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.config import GenerateSettings, SignalModel
from tnt_coffea.generator import DATASETS, plan
from tnt_coffea.generator.blind import NO_SIGNAL, resolved
from tnt_coffea.generator.processes import PROCESSES

BLIND = DATASETS["blackbox"].settings


@pytest.fixture(scope="module")
def drawn() -> list[GenerateSettings]:
    return [resolved(BLIND, seed) for seed in range(1000)]


def test_open_settings_are_left_alone() -> None:
    settings = GenerateSettings()
    assert resolved(settings, 1) is settings


def test_the_seed_decides(drawn: list[GenerateSettings]) -> None:
    assert resolved(BLIND, 3) == drawn[3] != drawn[4]


def test_the_length_tells_nothing(drawn: list[GenerateSettings]) -> None:
    assert {one.background + one.signal for one in drawn} == {1_000_000}


def test_a_quarter_is_empty(drawn: list[GenerateSettings]) -> None:
    empty = np.mean([one.signal == 0 for one in drawn])
    # 1000 boxes: within four standard deviations.
    assert empty == pytest.approx(NO_SIGNAL, abs=4 * (NO_SIGNAL * (1 - NO_SIGNAL) / 1000) ** 0.5)


def test_everything_varies(drawn: list[GenerateSettings]) -> None:
    assert {one.model for one in drawn} == set(SignalModel)
    assert len({one.shower for one in drawn}) == 27
    for name in ("resonance_mass", "heavy_mass", "light_mass", "detector"):
        assert len({getattr(one, name) for one in drawn}) > 500


def test_every_draw_is_valid_and_can_decay(drawn: list[GenerateSettings]) -> None:
    for one in drawn:
        assert GenerateSettings.model_validate(one.model_dump()) == one
        assert not one.blind
        assert one.hidden
        for process in PROCESSES:
            if process.events(one):
                process.lines(one)


def test_signal_shares_lie_in_the_stated_range(drawn: list[GenerateSettings]) -> None:
    shares = np.array([one.signal for one in drawn if one.signal]) / 1e6
    assert shares.min() >= 3e-4
    assert shares.max() <= 3e-2


def test_a_small_box_with_signal_has_one_event_at_least() -> None:
    small = BLIND.model_copy(update={"background": 5})
    counts = {resolved(small, seed).signal for seed in range(30)}
    assert counts == {0, 1}


def test_names_of_blocks_tell_nothing() -> None:
    tasks = plan(BLIND.model_copy(update={"background": 5000}), 1)
    assert {task.name.split("-")[0] for task in tasks} == {"block"}
    assert len({task.name for task in tasks}) == len(tasks)
