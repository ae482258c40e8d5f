"""Roles of data sets: data that are searched, simulated background, simulated signals."""

from __future__ import annotations

import re
from typing import Any

from tnt_coffea.errors import ConfigError

__all__ = [
    "DATA",
    "SIMULATION",
    "checked_name",
    "checked_role",
    "is_signal",
    "prior",
    "prior_name",
    "signal",
    "signal_name",
]

LONGEST_NAME = 100

DATA = "data"
"""Searched, scored, histogrammed and fitted."""
SIMULATION = "simulation"
"""Background by construction; methods may learn from it."""
_PRIOR = "prior:"
_SIGNAL = "signal:"
_ROLE = re.compile(rf"{DATA}|{SIMULATION}|(?:{_PRIOR}|{_SIGNAL})[A-Za-z0-9][A-Za-z0-9._-]*")


def prior(name: str) -> str:
    """Return the role of simulated signal of a model.

    Raises
    ------
    ConfigError
        The name cannot be one.

    Examples
    --------
    >>> prior("two-prong")
    'prior:two-prong'
    """
    return checked_role(f"{_PRIOR}{name}")


def prior_name(role: str) -> str | None:
    """Return the name of the model in a role of simulated signal, None for other roles.

    >>> prior_name("prior:two-prong"), prior_name("data")
    ('two-prong', None)
    """
    return role.removeprefix(_PRIOR) if role.startswith(_PRIOR) else None


def signal(name: str) -> str:
    """Return the role of simulated signal that is scored for templates, and trains nothing.

    Raises
    ------
    ConfigError
        The name cannot be one.

    Examples
    --------
    >>> signal("m3500")
    'signal:m3500'
    """
    return checked_role(f"{_SIGNAL}{name}")


def signal_name(role: str) -> str | None:
    """Return the name of the signal in a role of templates, None for other roles.

    >>> signal_name("signal:m3500"), signal_name("prior:m3500")
    ('m3500', None)
    """
    return role.removeprefix(_SIGNAL) if role.startswith(_SIGNAL) else None


def is_signal(role: str) -> bool:
    """Tell whether a role is that of simulated signal for templates.

    >>> is_signal("signal:m3500"), is_signal("prior:m3500")
    (True, False)
    """
    return role.startswith(_SIGNAL)


def checked_role(role: str) -> str:
    """Return a role.

    Raises
    ------
    ConfigError
        It is none.
    """
    if not _ROLE.fullmatch(role):
        msg = (
            f"{role!r} is no role of a data set; there are {DATA}, {SIMULATION}, {_PRIOR}NAME and "
            f"{_SIGNAL}NAME with a NAME of letters, digits, '.', '_' and '-'"
        )
        raise ConfigError(msg)
    return role


def checked_name(name: Any) -> str:
    """Return the name of a data set, which its dijets are stored in a folder of.

    Raises
    ------
    ConfigError
        It cannot be the name of a folder.
    """
    bad = (
        not isinstance(name, str)
        or name in ("", ".", "..")
        or len(name) > LONGEST_NAME
        or not name.isprintable()
        or any(character in name for character in "/\\")
    )
    if bad:
        msg = (
            f"{name!r:.120} cannot be a data set's name: its dijets are stored in a folder of that "
            f"name; take at most {LONGEST_NAME} printable characters without / and \\"
        )
        raise ConfigError(msg)
    return str(name)
