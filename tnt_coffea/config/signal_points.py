"""Points of a class of signals: what the name of a simulated signal says of it."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from tnt_coffea.config.settings import Positive, Settings
from tnt_coffea.errors import ConfigError

__all__ = ["SignalPoint", "point_named"]

_NAME = re.compile(r"x(\d+(?:\.\d+)?)-y(\d+(?:\.\d+)?)-([1-9])prong")


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
        It says none, or Y is heavier than X.

    Examples
    --------
    >>> point = point_named("x500-y100-2prong")
    >>> point.heavy_mass, point.light_mass, point.prongs
    (500.0, 100.0, 2)
    """
    found = _NAME.fullmatch(name)
    heavy, light, prongs = ("0", "0", "0") if found is None else found.groups()
    if not float(heavy) >= float(light) > 0:
        msg = (
            f"'{name}' does not say masses and prongs of a signal, as x500-y100-2prong: in GeV of "
            "X, and of Y, which is not heavier"
        )
        raise ConfigError(msg)
    return SignalPoint(heavy_mass=float(heavy), light_mass=float(light), prongs=int(prongs))
