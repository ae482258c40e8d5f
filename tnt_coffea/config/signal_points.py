"""Points of a class of signals: what the name of a simulated signal says of it."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from tnt_coffea.config.settings import Positive, Settings
from tnt_coffea.errors import ConfigError

__all__ = ["SignalPoint", "mass_named", "point_named"]

_NAME = re.compile(r"x(\d+(?:\.\d+)?)-y(\d+(?:\.\d+)?)-(\d+)prong")
_MASS = re.compile(r"(?:.*[-_.])?[mM]?(\d+(?:\.\d+)?)(?:GeV)?")
_PRONGS = (2, 3)
"""What a name may say; points that are written as settings have any number."""


class SignalPoint(Settings):
    """Masses and prongs of the daughters of a simulated resonance.

    Examples
    --------
    >>> SignalPoint(heavy_mass=500, light_mass=100).prongs
    2
    """

    heavy_mass: Positive = Field(description="mass of X [GeV]")
    light_mass: Positive = Field(description="mass of Y [GeV], not above that of X")
    prongs: int = Field(2, ge=1, description="quarks in the decay of X, and of Y")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.light_mass > self.heavy_mass:
            msg = (
                f"light_mass {self.light_mass:g} is above heavy_mass {self.heavy_mass:g}: X is the "
                "heavier one, exchange them"
            )
            raise ValueError(msg)
        return self


def point_named(name: str) -> SignalPoint:
    """Return the point that a name says, such as x500-y100-2prong; masses in GeV.

    Raises
    ------
    ConfigError
        It says none, Y is heavier than X, or the prongs are not 2 or 3.

    Examples
    --------
    >>> point = point_named("x500-y100-2prong")
    >>> point.heavy_mass, point.light_mass, point.prongs
    (500.0, 100.0, 2)
    """
    found = _NAME.fullmatch(name)
    heavy, light, prongs = (0.0, 0.0, 0.0) if found is None else map(float, found.groups())
    reason = ""
    if not heavy > 0 or not light > 0:
        reason = "in GeV of X, and of Y, which is not heavier"
    elif light > heavy:
        reason = f"X is the heavier one, but {heavy:g} GeV is below {light:g} GeV"
    elif prongs not in _PRONGS:
        reason = f"prongs are 2 or 3, not {prongs:g}"
    if reason:
        msg = f"'{name}' does not say masses and prongs of a signal, as x500-y100-2prong: {reason}"
        raise ConfigError(msg)
    return SignalPoint(heavy_mass=heavy, light_mass=light, prongs=int(prongs))


def mass_named(name: str) -> float:
    """Return the mass of the resonance that a signal's name says [GeV].

    Raises
    ------
    ConfigError
        It says none.

    Examples
    --------
    >>> mass_named("m3500"), mass_named("zprime-2500GeV")
    (3500.0, 2500.0)
    """
    found = _MASS.fullmatch(name)
    mass = 0.0 if found is None else float(found[1])
    if not mass > 0:
        msg = (
            f"the name of signal '{name}' does not end with a mass, such as m3500; set "
            f"systematics.signals.{name}.mass [GeV]"
        )
        raise ConfigError(msg)
    return mass
