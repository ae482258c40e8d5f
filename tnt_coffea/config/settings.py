"""The base of all settings: frozen models with a digest of their values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tnt_coffea.displays import html_table
from tnt_coffea.settings_text import commented

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
        # Where numbers are expected pydantic takes true for 1; the text it refuses in its place.
        truths = {
            name: _truths_as_text(values[name])
            for name, info in cls.model_fields.items()
            if name in values and _is_numeric(info.annotation)
        }
        return {**values, **rest, **truths}

    def digest(self) -> str:
        """Return the SHA-256 of the settings as canonical JSON (64 hexadecimal digits)."""
        return digest(self.model_dump(mode="json"))

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Yield what is not at its default: the rest follows from the class."""
        fields = type(self).model_fields
        known = not any(info.is_required() for info in fields.values())
        default = type(self)() if known else None
        for name, info in fields.items():
            value = getattr(self, name)
            if info.is_required() or value != getattr(default, name, info.default):
                yield name, value

    def __str__(self) -> str:
        """Return every setting: what two of them are compared by."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).model_fields)

    def changed(self) -> dict[str, Any]:
        """Return what is not at its default, JSON values by the settings' dotted names.

        Examples
        --------
        >>> from tnt_coffea import SearchConfig
        >>> config = SearchConfig.from_text("{seed: 3, fit: {bump: {mass: 3600}}}")
        >>> config
        SearchConfig(seed=3, fit=FitSettings(bump=BumpSettings(mass=3600.0)))
        >>> config.changed()
        {'seed': 3, 'fit.bump.mass': 3600.0}
        """
        found: dict[str, Any] = {}
        for name, value in self.__repr_args__():
            models = value if isinstance(value, Mapping) else {"": value}
            if models and all(isinstance(model, Settings) for model in models.values()):
                for key, model in models.items():
                    place = f"{name}.{key}".rstrip(".")
                    inner = model.changed()
                    if "kind" in type(model).model_fields:
                        inner = {"kind": model.kind} | inner
                    found |= {f"{place}.{what}": one for what, one in inner.items()}
            else:
                found[name] = self.model_dump(mode="json", include={name})[name]
        return found

    def _repr_html_(self) -> str:
        """Return what is not at its default as a table, and every setting below it."""
        set_here = {name: json.dumps(value) for name, value in self.changed().items()}
        facts = set_here or {"all settings": "at their defaults"}
        return html_table(type(self).__name__, facts, commented(self))


def _kinds(annotation: Any) -> Iterator[Any]:
    """Give the types in an annotation: int, `...` and None of `tuple[int, ...] | None`."""
    parts = get_args(annotation)
    for part in parts:
        yield from _kinds(part)
    if not parts:
        yield annotation


def _is_numeric(annotation: Any) -> bool:
    """Tell whether a setting holds numbers, and neither truth values, texts nor settings."""
    kinds = [kind for kind in _kinds(annotation) if isinstance(kind, type) or kind is Any]
    others = [kind for kind in kinds if kind not in (int, float, type(None))]
    names = Mapping.__name__ in str(annotation) and others == [str]
    return any(kind in (int, float) for kind in kinds) and (not others or names)


def _truths_as_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _truths_as_text(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_truths_as_text(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else value


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
