"""Files of a tagger set, checked where they are read: somebody may have changed them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints

from tnt_coffea.errors import TaggerError, reason

__all__ = ["FileName", "Scope", "Stored", "read_stored"]

FileName = Annotated[
    str, StringConstraints(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.+-]*\z", max_length=200)
]
"""A name that is part of a path and never a path itself."""
Scope = Literal["heavy", "light", "event", "background", "signal"]
"""What a tagger scores: a jet; the event; or the event on one of two axes that are cut as those of
two jets are, how unlike background it is and how like a signal."""

_Model = TypeVar("_Model", bound="Stored")


class Stored(BaseModel):
    """Base of what stands in such a file: exact types, nothing more, every number finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def read_stored(path: Path, model: type[_Model], what: str) -> _Model:
    """Return the content of a JSON file.

    Raises
    ------
    TaggerError
        It cannot be read, or is no such content: which value is wrong, and why.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"{path}: not a readable {what}: {reason(error)}; restore or train it again"
        raise TaggerError(msg) from error
