"""A black box whose answer nobody knows: what is in it, drawn from its seed."""

from __future__ import annotations

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import DetectorSettings, GenerateSettings, ShowerSettings, SignalModel
from tnt_coffea.generator.datasets import DATASETS

__all__ = ["resolved"]

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
    """Return what the settings of a blind box mean with a seed; others are returned as they are.

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
