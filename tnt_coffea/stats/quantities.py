"""Arguments: numbers that are finite and within bounds, or one error that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from tnt_coffea.config.parameter_names import plain_name
from tnt_coffea.errors import FitError

__all__ = [
    "check_kind",
    "check_level",
    "check_numbers",
    "check_plain_names",
    "check_ranges",
    "check_whole",
]


def check_numbers(
    values: Mapping[str, Any], least: float | None = None, *, above: bool = False
) -> None:
    """Check that arguments are finite real numbers.

    Parameters
    ----------
    values
        By name.
    least
        The smallest number that is allowed.
    above
        Whether they have to lie above it.

    Raises
    ------
    FitError
        One is of another kind, not finite, or too small.

    Examples
    --------
    >>> check_numbers({"b": -1}, 0)
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: b is -1, expected a number of 0 or more
    """
    for name, value in values.items():
        number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
        within = least is None or (number and (value > least or (value == least and not above)))
        if not (number and within and np.isfinite(float(value))):
            bound = (
                "" if least is None else f" above {least:g}" if above else f" of {least:g} or more"
            )
            msg = f"{name} is {value!r}, expected a {'number' if bound else 'finite number'}{bound}"
            raise FitError(msg)


def check_plain_names(what: str, names: Sequence[str]) -> None:
    """Check that names stay apart where only letters, digits and _ are left of them.

    Parameters
    ----------
    what
        What they name, for the message.
    names
        The names.

    Raises
    ------
    FitError
        Two become the same.

    Examples
    --------
    >>> check_plain_names("channels", ["fold-0", "fold_0"])
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: channels fold-0 and fold_0 both become fold_0, as which parameters \
are written: rename one
    """
    found: dict[str, str] = {}
    for name in names:
        plain = plain_name(name)
        if plain in found:
            msg = (
                f"{what} {found[plain]} and {name} both become {plain}, as which parameters are "
                "written: rename one"
            )
            raise FitError(msg)
        found[plain] = name


def check_whole(values: Mapping[str, Any], most: int | None = None) -> None:
    """Check that arguments are whole numbers of 0 or more.

    Parameters
    ----------
    values
        By name.
    most
        The largest that is allowed.

    Raises
    ------
    FitError
        One is of another kind, or out of range.

    Examples
    --------
    >>> check_whole({"toys": 1.5}, 100)
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: toys is 1.5, expected a whole number from 0 to 100
    """
    for name, value in values.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not (whole and value >= 0 and (most is None or value <= most)):
            bound = "of 0 or more" if most is None else f"from 0 to {most:,}"
            msg = f"{name} is {value!r}, expected a whole number {bound}"
            raise FitError(msg)


def check_level(level: Any) -> None:
    """Check a confidence level.

    Raises
    ------
    FitError
        It is no number between 0.5 and 1.
    """
    if not (isinstance(level, Real) and 0.5 < float(level) < 1):
        msg = f"level is {level!r}, expected a confidence level between 0.5 and 1"
        raise FitError(msg)


def check_ranges(values: Mapping[str, Any]) -> None:
    """Check that arguments are two numbers each, the first one the smaller.

    Raises
    ------
    FitError
        One is not.

    Examples
    --------
    >>> check_ranges({"window": (3700, 3300)})
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: window is (3700, 3300), expected a lower and an upper edge
    """
    for name, value in values.items():
        msg = f"{name} is {value!r}, expected a lower and an upper edge"
        if not isinstance(value, Sequence | np.ndarray) or len(value) != 2:
            raise FitError(msg)
        check_numbers({f"{name}, lower edge": value[0], f"{name}, upper edge": value[1]})
        if not value[0] < value[1]:
            raise FitError(msg)


def check_kind(kind: type, values: Mapping[str, Any]) -> None:
    """Check that arguments are objects of a class.

    Raises
    ------
    FitError
        One is of another.

    Examples
    --------
    >>> check_kind(dict, {"windows": 5})
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: windows is 5, expected a dict
    """
    for name, value in values.items():
        if not isinstance(value, kind):
            msg = f"{name} is {value!r}, expected a {kind.__name__}"
            raise FitError(msg)
