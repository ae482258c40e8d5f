"""The base of all settings: frozen models with a digest of their values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import numpy.typing as npt

    from tnt_coffea.typing import BoolArray

__all__ = ["Fraction", "MassRange", "Positive", "Settings", "digest"]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown names, finite numbers, a digest of its values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _rest_from_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        rest = {
            name: _completed(info.default, values[name])
            for name, info in cls.model_fields.items()
            if type(info.default) is info.annotation and isinstance(values.get(name), Mapping)
        }
        return {**values, **rest}

    def digest(self) -> str:
        """Return the SHA-256 of the settings as canonical JSON (64 hexadecimal digits)."""
        return digest(self.model_dump(mode="json"))


def _completed(default: Any, given: Any) -> Any:
    """Return the settings given for a section, with what they leave out as in its default."""
    if not (isinstance(default, Settings) and isinstance(given, Mapping)):
        return given
    named = {name: getattr(default, name) for name in default.model_fields_set}
    return {**named, **{name: _completed(named.get(name), one) for name, one in given.items()}}


def digest(value: Any) -> str:
    """Return the SHA-256 of any JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


Positive = Annotated[float, Field(gt=0)]


Fraction = Annotated[float, Field(gt=0, lt=1)]


class MassRange(Settings):
    """A half-open range [low, high) in a mass."""

    low: Positive = Field(description="[GeV]")
    high: Positive = Field(description="[GeV]")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            msg = f"low must be below high, got {self.low} >= {self.high}"
            raise ValueError(msg)
        return self

    @property
    def edges(self) -> tuple[float, float]:
        """Low and high [GeV]."""
        return (self.low, self.high)

    def contains(self, mass: npt.ArrayLike) -> BoolArray:
        """Return (event,) which masses [GeV] lie in the range: from `low` on, below `high`.

        Examples
        --------
        >>> MassRange(low=3300, high=3700).contains([3299, 3300, 3700]).tolist()
        [False, True, False]
        """
        import numpy as np

        values = np.asarray(mass)
        inside: BoolArray = (values >= self.low) & (values < self.high)
        return inside

    @property
    def name(self) -> str:
        """The range as text: '3300-3700'."""
        return f"{self.low:g}-{self.high:g}"
