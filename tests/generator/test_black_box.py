from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import GenerateSettings, SignalModel
from tnt_coffea.errors import InputError
from tnt_coffea.generator import DATASETS, plan
from tnt_coffea.generator.black_box import NO_SIGNAL, Key, read_key, resolved, write_key
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


KEY = Key(
    settings=GenerateSettings(background=3, signal=2, hidden=True),
    seed=4,
    processes={"qcd": {"events": 3}},
    events=5,
    signal_rows=np.array([1, 4]),
)


def test_label() -> None:
    assert KEY.label.tolist() == [0, 1, 0, 0, 1]


def test_a_key_survives_its_file(tmp_path: Path) -> None:
    write_key(tmp_path / "key.json", KEY)
    back = read_key(tmp_path / "key.json")
    assert (back.settings, back.seed, back.processes) == (KEY.settings, KEY.seed, KEY.processes)
    assert back.label.tolist() == KEY.label.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


def test_summaries() -> None:
    assert KEY.summary().startswith("2 of 5 events are signal (two-prong): 3500 GeV, 500")
    settings = KEY.settings.model_copy(update={"signal": 0})
    assert Key(settings, 1, {}, 7, np.array([], int)).summary() == "no signal in 7 events"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"settings": {"nonsense": 1}}'])
def test_damaged_keys_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    with pytest.raises(InputError, match=r"key\.json: expected the key of a black box"):
        read_key(path)
    path.write_text(text)
    with pytest.raises(InputError, match=r"key\.json: expected the key of a black box"):
        read_key(path)
