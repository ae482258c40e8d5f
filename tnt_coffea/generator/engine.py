"""Starting PYTHIA: a block of signal takes half a second, so a start has to be short.

What PYTHIA reads from its own files is read once in a process, and what it integrates for
particles that no process here makes is left out. None of this changes an event by a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tnt_coffea.errors import GeneratorError, MissingExtraError
from tnt_coffea.generator.silence import no_banner

__all__ = ["imported", "started", "version_of"]

_PACKAGE, _EXTRA = "pythia8mc", "generate"
_PROTON = 2212
_HIGGS = 25
# The lines that choose the parton densities.
_DENSITIES = ("Tune:pp", "PDF:")


def imported() -> Any:
    """Return the module `pythia8mc`.

    Raises
    ------
    MissingExtraError
        PYTHIA is not installed.
    """
    try:
        import pythia8mc
    except ImportError as error:
        raise MissingExtraError(_PACKAGE, _EXTRA) from error
    return pythia8mc


def version_of(pythia: Any) -> str:
    """Return the version of a PYTHIA, as '8.317'."""
    return f"{pythia.parm('Pythia:versionNumber'):.3f}"


def started(lines: Sequence[str], seed: int, hook: Any) -> Any:
    """Return a PYTHIA that is ready to make events.

    Parameters
    ----------
    lines
        Settings, in the order in which they are read.
    seed
        1 to 900 000 000.
    hook
        From `veto.parton_veto`; the caller keeps it, PYTHIA holds no reference to it.

    Raises
    ------
    GeneratorError
        PYTHIA refuses a setting.
    """
    pythia8mc = imported()
    pythia = _like_a_new_one()
    _read(pythia, (*lines, "Random:setSeed = on", f"Random:seed = {seed}"))
    densities = _densities(tuple(line for line in lines if line.startswith(_DENSITIES)))
    if None not in densities:
        pythia.setPDFPtr(*densities)
    # PYTHIA integrates the Higgs boson's width below the WW and ZZ thresholds at each
    # start, half of a start's time; no process here makes one.
    pythia.setResonancePtr(pythia8mc.ResonanceGeneric(_HIGGS))
    pythia.setUserHooksPtr(hook)
    if not pythia.init():
        msg = f"PYTHIA could not start with the settings: {'; '.join(lines)}"
        raise GeneratorError(msg)
    with no_banner("pythia8mc"):
        hook.jets.analyze(pythia.event)
    return pythia


@lru_cache(maxsize=1)
def _prototype() -> Any:
    return imported().Pythia("", False)


def _like_a_new_one() -> Any:
    # A copy of settings and particles; reading them from PYTHIA's files takes 0.08 s.
    own = _prototype()
    return imported().Pythia(own.settings, own.particleData, False)


@lru_cache(maxsize=4)
def _densities(lines: tuple[str, ...]) -> tuple[Any, Any]:
    # Functions of x and Q2 on a grid, which takes 0.03 s to read; one for each beam.
    pythia = _like_a_new_one()
    _read(pythia, ("Print:quiet = on", *lines))
    return pythia.getPDFPtr(_PROTON), pythia.getPDFPtr(_PROTON)


def _read(pythia: Any, lines: Sequence[str]) -> None:
    for line in lines:
        if not pythia.readString(line):
            msg = f"PYTHIA {version_of(pythia)} does not know the setting {line!r}"
            raise GeneratorError(msg)
