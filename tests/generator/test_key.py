from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import InputError
from tnt_coffea.generator.key import Key, read_key, write_key

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
