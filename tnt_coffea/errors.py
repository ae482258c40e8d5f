"""The exceptions of tnt_coffea.

Every error that a user can cause derives from `TntCoffeaError` and carries one
message: what came, what was expected, where, and what to do next. The command
line prints that message alone and exits with `exit_code`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "ArgumentError",
    "BusyError",
    "ConfigError",
    "ExecutionError",
    "FitError",
    "GeneratorError",
    "InputError",
    "LeakError",
    "MissingExtraError",
    "NetworkError",
    "StageError",
    "StorageError",
    "TaggerError",
    "TntCoffeaError",
    "TrainingError",
    "fault",
    "reason",
]

_TOLD = "missing", "value_error", "extra_forbidden", "json_invalid"
"""Faults that say what is wrong without the value."""
_MOST = 100
"""Characters of a value that are shown."""


class TntCoffeaError(Exception):
    """Anything that goes wrong for a reason that the user can act upon."""

    exit_code = 1


class ConfigError(TntCoffeaError):
    """A setting is unknown, out of range, or contradicts another one."""

    exit_code = 2


class ArgumentError(ConfigError, TypeError):
    """A function was given an object of another type than it takes."""


class InputError(TntCoffeaError):
    """A file or its events are not what a source may contain."""

    exit_code = 3


class StageError(TntCoffeaError):
    """A stage's folder is incomplete or was made with other settings."""

    exit_code = 4


class TaggerError(TntCoffeaError):
    """A tagger or tagger set is damaged or does not fit what it is asked to score."""

    exit_code = 5


class LeakError(TaggerError):
    """A tagger was about to score events that had a part in its training."""


class TrainingError(TntCoffeaError):
    """A training cannot start or did not converge to anything usable."""

    exit_code = 6


class FitError(TntCoffeaError):
    """A statistical model cannot be built from, or fitted to, the histogram given."""

    exit_code = 7


class ExecutionError(TntCoffeaError):
    """A pass over the data lost events or its workers."""

    exit_code = 8


class NetworkError(TntCoffeaError):
    """A server fails for the moment, or refuses the credentials; its files may be intact.

    The same command goes on when the server answers, or with new credentials.
    """

    exit_code = 13


class GeneratorError(TntCoffeaError):
    """PYTHIA refused its settings or could not make the events asked for."""

    exit_code = 9


class StorageError(TntCoffeaError):
    """A file cannot be written: the disk is full, read-only, or not ours."""

    exit_code = 11


class BusyError(TntCoffeaError):
    """Another run writes into the same folder."""

    exit_code = 12


class MissingExtraError(TntCoffeaError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 10

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this step needs it: pip install 'tnt-coffea[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[TntCoffeaError], tuple[str]]:
        # Workers send exceptions home; the message is already complete.
        return _unpickle_missing_extra, (str(self),)  # type: ignore[return-value]


def _unpickle_missing_extra(message: str) -> MissingExtraError:
    error = MissingExtraError.__new__(MissingExtraError)
    error.args = (message,)
    return error


def reason(error: Exception) -> str:
    """Return why something failed, in one line; of a validation, the first value that is wrong.

    Examples
    --------
    >>> reason(FileNotFoundError(2, "No such file or directory", "a.json"))
    'No such file or directory'
    >>> from pydantic import TypeAdapter
    >>> try:
    ...     TypeAdapter(dict[str, list[float]]).validate_json('{"q0": [1, "high"]}')
    ... except ValueError as error:
    ...     print(reason(error))
    q0.1: must be a valid number (got 'high')
    """
    from pydantic import ValidationError  # after an error, for it takes a tenth of a second

    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {fault(first)}".removeprefix(": ")
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) else text


def fault(detail: Mapping[str, Any]) -> str:
    """Return in words what is wrong with one value of a validation, and the value.

    Parameters
    ----------
    detail
        One of `pydantic.ValidationError.errors()`.

    Examples
    --------
    >>> fault({"type": "greater_than", "msg": "Input should be greater than 0", "input": -1})
    'must be greater than 0 (got -1)'
    """
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = re.sub(r", unable to parse.*| or instance of \w+", "", message)
    message = re.sub(r"^Input should (be|have) ", r"must \1 ", message)
    if detail["type"] in _TOLD:
        return message
    value = repr(detail["input"])
    return f"{message} (got {value[:_MOST]}{'...' * (len(value) > _MOST)})"
