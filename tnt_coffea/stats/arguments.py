"""Arguments of the tests of spectra: each is checked in one way, whatever the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from tnt_coffea.errors import FitError
from tnt_coffea.stats.quantities import check_kind, check_level, check_numbers, check_whole
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import MOST_TOYS

__all__ = ["check_arguments", "listed_masses", "listed_numbers"]


def _positive(name: str, value: Any) -> None:
    check_numbers({name: value}, 0, above=True)


def _positive_or_none(name: str, value: Any) -> None:
    if value is not None:
        _positive(name, value)


def _toys(name: str, value: Any) -> None:
    if value is not None:
        check_whole({name: value}, MOST_TOYS)


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    # Whether there is such a signal, and in the range, is said where it is made.
    "mass": lambda name, value: check_numbers({name: value}),
    "width": lambda name, value: check_numbers({name: value}),
    "fit": lambda name, value: check_kind(SpectrumFit, {name: value}),
    "level": lambda _, value: check_level(value),
    "efficiency": _positive_or_none,
    "luminosity": _positive_or_none,
    "toys": _toys,
    "seed": lambda name, value: check_whole({name: value}),
}


def check_arguments(**arguments: Any) -> None:
    """Check the arguments of a test.

    Parameters
    ----------
    arguments
        By name: `mass` and `width` [GeV], `fit`, `level`, `efficiency`, `luminosity`, `toys`,
        `seed`. None is allowed where it means a default: toys and what makes a cross section.

    Raises
    ------
    FitError
        One is of another kind, not finite, or out of range.

    Examples
    --------
    >>> check_arguments(mass=3500, seed=1.5)
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: seed is 1.5, expected a whole number of 0 or more
    """
    for name, value in arguments.items():
        _CHECKS[name](name, value)


def listed_masses(masses: Any) -> tuple[float, ...]:
    """Return the masses of any iterable [GeV], as they are.

    Raises
    ------
    FitError
        There are none, one is no finite number, or they do not rise.

    Examples
    --------
    >>> listed_masses(m for m in (3300, 3500))
    (3300, 3500)
    """
    found = listed_numbers("masses", masses)
    if not found or any(b <= a for a, b in pairwise(found)):
        msg = f"masses must rise, got {list(found)}"
        raise FitError(msg)
    return found


def listed_numbers(name: str, values: Any, least: float | None = None) -> tuple[float, ...]:
    """Return the numbers of any iterable, as they are.

    Parameters
    ----------
    name
        The argument, for messages.
    values
        The numbers.
    least
        None may be smaller.

    Raises
    ------
    FitError
        It is no iterable of finite numbers, or one is too small.

    Examples
    --------
    >>> listed_numbers("signals", 5)
    Traceback (most recent call last):
    tnt_coffea.errors.FitError: signals is 5, expected numbers
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        msg = f"{name} is {values!r}, expected numbers"
        raise FitError(msg)
    found = tuple(values)
    for value in found:
        check_numbers({f"one of {name}": value}, least)
    return found
