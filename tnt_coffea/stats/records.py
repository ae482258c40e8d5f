"""Results as frozen plain data that goes to JSON and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Self

__all__ = ["Record"]


class Record:
    """Base of result dataclasses: numbers, texts, tuples and other records."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, its kind included."""
        values = asdict(self)  # type: ignore[call-overload]
        return {"kind": type(self).__name__, **_listed(values)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the result that `to_dict` wrote."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: _tupled(value) for name, value in values.items() if name in known})


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
