"""What PYTHIA is told: one entry for each process, as pure functions of the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import ConfigError

__all__ = ["PROCESSES", "Process", "parton_jet_pt", "process_named"]

# Thresholds below the trigger's, as shares of its pT. At 1200 GeV they are 800 GeV,
# which loses about 5 % of the triggered QCD rate, and 1050 GeV, which loses 0.2 %.
_PT_HAT_SHARE = 800 / 1200
_PARTON_JET_SHARE = 1050 / 1200

# All resonances are narrow against the detector's resolution.
_RELATIVE_WIDTH = 0.01


@dataclass(frozen=True)
class Process:
    """One kind of collision.

    Attributes
    ----------
    name : stable; it enters the seeds
    label : truth bit, 1 for signal
    events : how many accepted events the settings ask for
    lines : PYTHIA settings, in the order in which they are read
    """

    name: str
    label: int
    events: Callable[[GenerateSettings], int]
    lines: Callable[[GenerateSettings], tuple[str, ...]]


def parton_jet_pt(settings: GenerateSettings) -> float:
    """Return the pT [GeV] that a jet of partons needs before hadronisation."""
    return _PARTON_JET_SHARE * settings.leading_pt


def _common() -> tuple[str, ...]:
    # arXiv:2101.08320, section 2.1: 13 TeV, no multiparton interactions, no pileup;
    # table 1: Monash tune and its parton densities, PYTHIA's defaults.
    return (
        "Print:quiet = on",
        "Beams:idA = 2212",
        "Beams:idB = 2212",
        "Beams:eCM = 13000.",
        "Tune:pp = 14",
        "PartonLevel:MPI = off",
        # As in the examples of Delphes: what flies further than 10 mm meets the
        # detector. With K0s and Lambda decayed by PYTHIA, tracks carry 55 % of the
        # pT and neutral hadrons 17 %; Olympics events have 53 % and 20 %.
        "ParticleDecays:limitTau0 = on",
        "ParticleDecays:tau0Max = 10.",
    )


def _qcd(settings: GenerateSettings) -> tuple[str, ...]:
    return (
        *_common(),
        "HardQCD:all = on",
        f"PhaseSpace:pTHatMin = {_PT_HAT_SHARE * settings.leading_pt!r}",
    )


def _wprime_wz(settings: GenerateSettings) -> tuple[str, ...]:
    """Return W' -> W Z, where W and Z have the masses of X and Y and decay to quark pairs.

    Their spin and couplings make the polarised, boosted decays of the
    Olympics' signal; scalars in their place lose containment more often.
    Channels with a top quark are closed: X -> q qbar is two-pronged.
    """
    if settings.heavy_mass + settings.light_mass >= settings.resonance_mass:
        msg = (
            f"generate: a resonance of {settings.resonance_mass:g} GeV cannot decay to "
            f"{settings.heavy_mass:g} + {settings.light_mass:g} GeV; raise resonance_mass "
            "or lower heavy_mass and light_mass"
        )
        raise ConfigError(msg)
    light_w = tuple(f"24:onIfMatch = {down} {up}" for up in (2, 4) for down in (1, 3, 5))
    return (
        *_common(),
        "NewGaugeBoson:ffbar2Wprime = on",
        "Wprime:coup2WZ = 1.",
        "WeakZ0:gmZmode = 2",
        *_narrow(34, settings.resonance_mass),
        "34:onMode = off",
        "34:onIfMatch = 23 24",
        *_narrow(24, settings.heavy_mass),
        "24:onMode = off",
        *light_w,
        *_narrow(23, settings.light_mass),
        "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5",
    )


def _narrow(code: int, mass: float) -> tuple[str, ...]:
    # PYTHIA would derive the width from the couplings, and its limits of the mass
    # are those of the particle that the code usually stands for.
    return (
        f"{code}:m0 = {mass!r}",
        f"{code}:mWidth = {_RELATIVE_WIDTH * mass!r}",
        f"{code}:mMin = {0.8 * mass!r}",
        f"{code}:mMax = {1.2 * mass!r}",
        f"{code}:doForceWidth = on",
    )


PROCESSES: tuple[Process, ...] = (
    Process("qcd", 0, lambda settings: settings.background, _qcd),
    Process("wprime_wz", 1, lambda settings: settings.signal, _wprime_wz),
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
