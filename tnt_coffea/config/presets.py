"""Whole configurations that come with the package: published searches and a quick one, as YAML."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from tnt_coffea.errors import ConfigError

__all__ = ["preset_names", "preset_text"]


@cache
def preset_names() -> tuple[str, ...]:
    """Return the names of all configurations that come with the package.

    Examples
    --------
    >>> preset_names()
    ('olympics-cwola', 'olympics-tag-n-train', 'quick')
    """
    found = (file.name for file in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def preset_text(name: str) -> str:
    """Return the YAML of a configuration that comes with the package.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if name not in preset_names():
        msg = f"no preset {name!r}: known are {', '.join(preset_names())}"
        raise ConfigError(msg)
    return (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
