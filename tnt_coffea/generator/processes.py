"""PYTHIA's settings of each process, as pure functions of ours; one entry a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tnt_coffea.config import GenerateSettings, ShowerSettings, SignalModel
from tnt_coffea.errors import ConfigError
from tnt_coffea.generator import tracker

__all__ = ["PROCESSES", "SQRT_S", "Process", "early_jet_pt", "parton_jet_pt", "process_named"]

SQRT_S = 13_000.0
"""Centre-of-mass energy of what is generated [GeV]."""

# Thresholds below the trigger's, as shares of its pT. At 1200 GeV they are 800 GeV,
# which loses about 5 % of the triggered QCD rate, 1050 GeV, which loses 0.1 to 0.2 %,
# and in the middle of the showers 1025 GeV, which loses nothing that was seen (docs/data.md).
_PT_HAT_SHARE = 800 / 1200
_PARTON_JET_SHARE = 1050 / 1200
_EARLY_JET_SHARE = 1025 / 1200

# PYTHIA codes of resonances of our own, free in its particle table.
_X, _Y, _R = 9_000_001, 9_000_002, 9_000_003
_W_PRIME, _GRAVITON = 34, 5_100_039
# Where W and Z keep their own widths, what is no W or Z has this one over its mass.
_OTHER_WIDTH = 0.01


@dataclass(frozen=True)
class Process:
    """One kind of collision.

    Attributes
    ----------
    name
        stable; it enters the seeds
    label
        truth bit, 1 for signal
    events
        how many accepted events the settings ask for
    lines
        PYTHIA settings, in the order in which they are read
    """

    name: str
    label: int
    events: Callable[[GenerateSettings], int]
    lines: Callable[[GenerateSettings], tuple[str, ...]]


def parton_jet_pt(settings: GenerateSettings) -> float:
    """Return the pT [GeV] that a jet of partons needs before hadronisation."""
    return _PARTON_JET_SHARE * settings.leading_pt


def early_jet_pt(process: Process, settings: GenerateSettings) -> float:
    """Return the pT [GeV] that a jet of partons needs in the middle of the showers, 0 for none."""
    return 0.0 if process.label else _EARLY_JET_SHARE * settings.leading_pt


def _common(settings: GenerateSettings) -> tuple[str, ...]:
    # arXiv:2101.08320, section 2.1: 13 TeV, no multiparton interactions, no pileup.
    return (
        "Print:quiet = on",
        "Beams:idA = 2212",
        "Beams:idB = 2212",
        f"Beams:eCM = {SQRT_S:.0f}.",
        *_shower(settings.shower),
        "PartonLevel:MPI = off",
        # What decays inside the tracker's volume is measured by its daughters, what
        # flies further reaches the calorimeters. One rule for all K0s and Lambda fails:
        # if they are stable, soft tracks are 10 % too few and towers 4 % too many; if
        # they decay, neutral hadrons above 128 GeV are 19 % too few (docs/data.md).
        "ParticleDecays:limitCylinder = on",
        f"ParticleDecays:xyMax = {1000 * tracker.RADIUS!r}",
        f"ParticleDecays:zMax = {1000 * tracker.HALF_LENGTH!r}",
    )


def _shower(shower: ShowerSettings) -> tuple[str, ...]:
    # A tune sets many of the others, so it comes first.
    showers = ("TimeShower", "SpaceShower")
    return (
        f"Tune:pp = {shower.tune}",
        f"PDF:pSet = {shower.pdf}",
        *(f"{name}:alphaSvalue = {shower.alpha_s!r}" for name in showers),
        *(f"{name}:renormMultFac = {shower.renorm_factor!r}" for name in showers),
        *(f"{name}:factorMultFac = {shower.factor_factor!r}" for name in showers),
        f"TimeShower:pTmaxMatch = {shower.time_pt_max_match}",
        f"SpaceShower:pTmaxMatch = {shower.space_pt_max_match}",
    )


def _qcd(settings: GenerateSettings) -> tuple[str, ...]:
    least = settings.pt_hat_min or _PT_HAT_SHARE * settings.leading_pt
    return (
        *_common(settings),
        "HardQCD:all = on",
        f"PhaseSpace:pTHatMin = {least!r}",
    )


def _wprime_wz(settings: GenerateSettings) -> tuple[str, ...]:
    """Return W' -> W Z, where W and Z have the masses of X and Y and decay to quark pairs.

    Their spin and couplings make the polarised, boosted decays of the
    Olympics' signal; scalars in their place lose containment more often.
    Channels with a top quark are closed: X -> q qbar is two-pronged.
    """
    _check_decay(settings, settings.heavy_mass + settings.light_mass)
    light_w = tuple(f"24:onIfMatch = {down} {up}" for up in (2, 4) for down in (1, 3, 5))
    return (
        *_common(settings),
        "NewGaugeBoson:ffbar2Wprime = on",
        "Wprime:coup2WZ = 1.",
        "WeakZ0:gmZmode = 2",
        *_narrow(_W_PRIME, settings.resonance_mass, settings.resonance_width),
        "34:onMode = off",
        "34:onIfMatch = 23 24",
        *_daughter(24, settings.heavy_mass, settings),
        "24:onMode = off",
        *light_w,
        *_daughter(23, settings.light_mass, settings),
        "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5",
    )


def _wprime_qqq(settings: GenerateSettings) -> tuple[str, ...]:
    """Return W' -> X Y with X -> u u d and Y -> u d s: six quarks, three a jet.

    X and Y are fermions without colour; their decays break baryon number, so that
    each system of three quarks hadronises around a junction. Three-body phase space.
    """
    _check_decay(settings, settings.heavy_mass + settings.light_mass)
    return (
        *_common(settings),
        "NewGaugeBoson:ffbar2Wprime = on",
        f"{_X}:all = X+ X- 2 3 0",
        *_narrow(_X, settings.heavy_mass, settings.daughter_width or _OTHER_WIDTH),
        f"{_X}:isResonance = on",
        f"{_X}:oneChannel = 1 1. 101 2 2 1",
        f"{_Y}:all = Y Ybar 2 0 0",
        *_narrow(_Y, settings.light_mass, settings.daughter_width or _OTHER_WIDTH),
        f"{_Y}:isResonance = on",
        f"{_Y}:oneChannel = 1 1. 101 2 1 3",
        *_narrow(_W_PRIME, settings.resonance_mass, settings.resonance_width),
        f"34:oneChannel = 1 1. 101 {_X} -{_Y}",
    )


def _graviton_gg(settings: GenerateSettings) -> tuple[str, ...]:
    return (
        *_graviton(settings),
        f"{_GRAVITON}:onMode = off",
        f"{_GRAVITON}:onIfMatch = 21 21",
    )


def _graviton_rg(settings: GenerateSettings) -> tuple[str, ...]:
    """Return G* -> R g, R -> g g.

    The Olympics' radion has no colour, but then neither has R g, and PYTHIA
    does not let a graviton without colour decay to it: R is an octet here.
    """
    _check_decay(settings, settings.heavy_mass)
    return (
        *_graviton(settings),
        f"{_R}:all = R void 1 0 2",
        *_narrow(_R, settings.heavy_mass, settings.daughter_width or _OTHER_WIDTH),
        f"{_R}:isResonance = on",
        f"{_R}:oneChannel = 1 1. 101 21 21",
        f"{_GRAVITON}:oneChannel = 1 1. 101 {_R} 21",
    )


def _graviton(settings: GenerateSettings) -> tuple[str, ...]:
    # arXiv:2101.08320, section 2.4: a Kaluza-Klein graviton.
    return (
        *_common(settings),
        "ExtraDimensionsG*:gg2G* = on",
        *_narrow(_GRAVITON, settings.resonance_mass, settings.resonance_width),
    )


def _daughter(code: int, mass: float, settings: GenerateSettings) -> tuple[str, ...]:
    if settings.daughter_width:
        return _narrow(code, mass, settings.daughter_width)
    return (f"{code}:m0 = {mass!r}",)


def _narrow(code: int, mass: float, width: float) -> tuple[str, ...]:
    # PYTHIA would derive the width from the couplings, and its limits of the mass
    # are those of the particle that the code usually stands for.
    return (
        f"{code}:m0 = {mass!r}",
        f"{code}:mWidth = {width * mass!r}",
        f"{code}:mMin = {0.8 * mass!r}",
        f"{code}:mMax = {1.2 * mass!r}",
        f"{code}:doForceWidth = on",
    )


def _check_decay(settings: GenerateSettings, products: float) -> None:
    if products < settings.resonance_mass:
        return
    masses = [settings.heavy_mass]
    if settings.model is not SignalModel.GRAVITON:
        masses.append(settings.light_mass)
    msg = (
        f"generate: a resonance of {settings.resonance_mass:g} GeV cannot decay to "
        f"{' + '.join(f'{mass:g}' for mass in masses)} GeV; raise resonance_mass "
        f"or lower heavy_mass{' and light_mass' if len(masses) > 1 else ''}"
    )
    raise ConfigError(msg)


def _signal(model: SignalModel) -> Callable[[GenerateSettings], int]:
    return lambda settings: settings.signal if settings.model is model else 0


def _dijets(settings: GenerateSettings) -> int:
    return round(settings.dijet_share * _signal(SignalModel.GRAVITON)(settings))


def _trijets(settings: GenerateSettings) -> int:
    return _signal(SignalModel.GRAVITON)(settings) - _dijets(settings)


PROCESSES: tuple[Process, ...] = (
    Process("qcd", 0, lambda settings: settings.background, _qcd),
    Process("wprime_wz", 1, _signal(SignalModel.TWO_PRONG), _wprime_wz),
    Process("wprime_qqq", 1, _signal(SignalModel.THREE_PRONG), _wprime_qqq),
    Process("graviton_gg", 1, _dijets, _graviton_gg),
    Process("graviton_rg", 1, _trijets, _graviton_rg),
)


def process_named(name: str) -> Process:
    """Return the process of that name.

    Raises
    ------
    ConfigError
        No process has this name.
    """
    for process in PROCESSES:
        if process.name == name:
            return process
    known = ", ".join(process.name for process in PROCESSES)
    msg = f"no process is called {name!r}; known ones are {known}"
    raise ConfigError(msg)
