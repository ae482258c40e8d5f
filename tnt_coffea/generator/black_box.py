"""Black boxes: their content, drawn from the seed, and the key that holds their truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import DetectorSettings, GenerateSettings, ShowerSettings, SignalModel
from tnt_coffea.errors import InputError
from tnt_coffea.generator.datasets import DATASETS
from tnt_coffea.storage import written
from tnt_coffea.typing import IntArray

__all__ = ["KEY", "Key", "read_key", "resolved", "write_key"]

# The prior. No rule tells what is realistic: these cover what a search in
# m_jj with this trigger could find, and boxes in which there is nothing.
NO_SIGNAL = 0.25
SIGNAL_SHARE = (3e-4, 3e-2)
RESONANCE_MASS = (3000.0, 6000.0)
LEAST_DAUGHTER_MASS = 80.0
# A daughter of up to a quarter of the mass is caught in one jet of R = 1.
DAUGHTER_SHARE = 0.25
RADION_SHARE = (0.4, 0.6)
MODELS = {
    SignalModel.TWO_PRONG: 0.4,
    SignalModel.THREE_PRONG: 0.4,
    SignalModel.GRAVITON: 0.2,
}
TRACK_EFFICIENCY = (0.95, 1.0)
TRACK_RESOLUTION = (0.9, 1.2)
HCAL_RESOLUTION = (0.9, 1.1)
# Rows of arXiv:2101.08320, table 1, that belong together: each group of them
# comes from one column, R&D, BB1 or BB3.
SHOWER_GROUPS = (
    ("tune", "pdf"),
    ("alpha_s", "renorm_factor", "factor_factor"),
    ("time_pt_max_match", "space_pt_max_match"),
)
SHOWERS = tuple(
    DATASETS[name].settings.shower for name in ("rnd-signal", "blackbox-1", "blackbox-3")
)


def resolved(settings: GenerateSettings, seed: int) -> GenerateSettings:
    """Return the settings of a blind box as drawn with a seed; other settings are not changed.

    `background` is the number of events of the whole box, so that the file's
    length tells nothing. What is not drawn (trigger, width, block) is kept.

    Parameters
    ----------
    settings
        Of the sample.
    seed
        The root seed.
    """
    if not settings.blind:
        return settings
    rng = seeds.generator(seed, "generate", "blind")
    empty = rng.random() < NO_SIGNAL
    share = _log_uniform(rng, *SIGNAL_SHARE)
    signal = 0 if empty else max(1, round(share * settings.background))
    model = list(MODELS)[rng.choice(len(MODELS), p=list(MODELS.values()))]
    resonance = rng.uniform(*RESONANCE_MASS)
    heavy = _log_uniform(rng, LEAST_DAUGHTER_MASS, DAUGHTER_SHARE * resonance)
    light = _log_uniform(rng, LEAST_DAUGHTER_MASS, heavy)
    radion = resonance * rng.uniform(*RADION_SHARE)
    drawn = {
        "background": max(settings.background - signal, 0),
        "signal": min(signal, settings.background),
        "blind": False,
        "model": model,
        "resonance_mass": round(resonance, 1),
        "heavy_mass": round(radion if model is SignalModel.GRAVITON else heavy, 1),
        "light_mass": round(light, 1),
        "dijet_share": round(rng.random(), 3),
        "shower": _shower(rng),
        "detector": _detector(rng),
    }
    return settings.model_copy(update=drawn)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _shower(rng: np.random.Generator) -> ShowerSettings:
    values: dict[str, float] = {}
    for group in SHOWER_GROUPS:
        column = SHOWERS[rng.integers(len(SHOWERS))]
        values |= {name: getattr(column, name) for name in group}
    return ShowerSettings(**values)


def _detector(rng: np.random.Generator) -> DetectorSettings:
    return DetectorSettings(
        track_efficiency=round(rng.uniform(*TRACK_EFFICIENCY), 3),
        track_resolution=round(rng.uniform(*TRACK_RESOLUTION), 3),
        hcal_resolution=round(rng.uniform(*HCAL_RESOLUTION), 3),
    )


KEY = "key.json"
"""Name of the key's file, beside the box."""


@dataclass(frozen=True, eq=False)
class Key:
    """The hidden truth of a black box.

    Attributes
    ----------
    settings
        with which it was made, drawn ones included
    seed
        root seed
    processes
        counts, efficiencies and cross sections, by name
    events
        rows of the box
    signal_rows
        (signal event,) rows with signal, ascending
    """

    settings: GenerateSettings
    seed: int
    processes: Mapping[str, Any]
    events: int
    signal_rows: IntArray

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
    values = {
        "settings": key.settings.model_dump(mode="json"),
        "seed": key.seed,
        "processes": dict(key.processes),
        "events": key.events,
        "signal_rows": key.signal_rows.tolist(),
    }
    with written(Path(path)) as partial:
        partial.write_text(json.dumps(values, sort_keys=True) + "\n")


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
