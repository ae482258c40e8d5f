"""What one file of settings changes against another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from tnt_coffea.config.methods import MethodSettings

__all__ = ["differences"]


def differences(
    default: BaseModel, chosen: BaseModel, prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Give what differs: a setting's dotted name, its default and its value.

    Of settings of another kind, such as a method's, the default is that kind's own.

    Examples
    --------
    >>> from tnt_coffea.config import SearchConfig
    >>> chosen = SearchConfig.from_text("{seed: 3, train: {methods: {m: {kind: feature}}}}")
    >>> for name, before, now in differences(SearchConfig(), chosen):
    ...     print(name, before, now)
    seed 1 3
    train.methods {'autoencoder': 'autoencoder', 'tnt': 'tag_n_train'} {'m': 'feature'}
    """
    for name in type(chosen).model_fields:
        if not hasattr(default, name):  # has to be given, so there is no default of it
            continue
        known, value = getattr(default, name), getattr(chosen, name)
        if isinstance(value, BaseModel):
            yield from _of_section(known, value, f"{prefix}{name}")
        elif value != known and _holds_sections(value):
            if {key: _kind(one) for key, one in known.items()} != {
                key: _kind(one) for key, one in value.items()
            }:
                yield f"{prefix}{name}", _short(known), _short(value)
            for key, one in value.items():
                before = known.get(key)
                same = type(before) is type(one)
                own = before if same else type(one).model_construct()
                yield from differences(own, one, f"{prefix}{name}.{key}.")
        elif value != known:
            yield f"{prefix}{name}", _short(known), _short(value)


def _of_section(known: Any, value: BaseModel, name: str) -> Iterator[tuple[str, Any, Any]]:
    if type(known) is not type(value):
        yield name, _short(known), _kind(value) or "set"
        known = type(value).model_construct()
    yield from differences(known, value, f"{name}.")


def _holds_sections(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, MethodSettings) for v in value.values())


def _kind(section: Any) -> str:
    return str(getattr(section, "kind", getattr(section, "network", "")))


def _short(value: Any) -> Any:
    """Return the kinds of methods instead of all their settings, and plain values of others."""
    if isinstance(value, BaseModel):
        return _kind(value) or value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    return value.value if isinstance(value, Enum) else value
