"""The key to a black box: its hidden truth, in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import InputError

__all__ = ["KEY", "Key", "read_key", "write_key"]

KEY = "key.json"
"""Name of the file, beside the box."""


@dataclass(frozen=True, eq=False)
class Key:
    """What a black box does not tell.

    Attributes
    ----------
    settings : with which it was made, drawn ones included
    seed : root seed
    processes : counts, efficiencies and cross sections, by name
    events : rows of the box
    signal_rows : (signal event,) rows with signal, ascending
    """

    settings: GenerateSettings
    seed: int
    processes: Mapping[str, Any]
    events: int
    signal_rows: npt.NDArray[np.int64]

    @property
    def label(self) -> npt.NDArray[np.int8]:
        """(event,) 0 background, 1 signal, in the box's order."""
        label = np.zeros(self.events, np.int8)
        label[self.signal_rows] = 1
        return label

    def summary(self) -> str:
        """Return the answer in one line."""
        made = self.settings
        if not made.signal:
            return f"no signal in {self.events} events"
        return (
            f"{made.signal} of {self.events} events are signal ({made.model.value}): "
            f"{made.resonance_mass:g} GeV, {made.heavy_mass:g} GeV, {made.light_mass:g} GeV"
        )


def write_key(path: str | Path, key: Key) -> None:
    """Write a key as JSON; the file appears when it is complete."""
    path = Path(path)
    values = {
        "settings": key.settings.model_dump(mode="json"),
        "seed": key.seed,
        "processes": dict(key.processes),
        "events": key.events,
        "signal_rows": key.signal_rows.tolist(),
    }
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(values, sort_keys=True) + "\n")
    unfinished.replace(path)


def read_key(path: str | Path) -> Key:
    """Return the key in a file.

    Raises
    ------
    InputError
        The file is missing, damaged, or not a key.
    """
    try:
        values = json.loads(Path(path).read_text())
        return Key(
            settings=GenerateSettings.model_validate(values["settings"]),
            seed=int(values["seed"]),
            processes=values["processes"],
            events=int(values["events"]),
            signal_rows=np.array(values["signal_rows"], dtype=np.int64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: expected the key of a black box, cannot read it ({error})"
        raise InputError(msg) from error
