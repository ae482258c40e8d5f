"""Methods of training as settings: named by the user, told apart by their `kind`.

A method lives in one file of `tnt_coffea.training.methods`, or in a package of its own that
names it as an entry point of the group `tnt_coffea.methods`. Settings know none of them: they
look them up by name, so that a file of settings can hold methods that are written later.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SerializeAsAny

from tnt_coffea.config.settings import Settings
from tnt_coffea.errors import ConfigError

__all__ = ["ENTRY_POINTS", "MethodSettings", "Methods", "method_kinds", "training_order"]

ENTRY_POINTS = "tnt_coffea.methods"
"""Group of the entry points by which other packages add methods."""
_HOME = "tnt_coffea.training.methods"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_RESERVED = ("before", "references", "weights")


class MethodSettings(Settings):
    """Base of every method: its settings, and the names of the methods it builds on."""

    kind: str

    def builds_on(self) -> tuple[str, ...]:
        """Return the names of the methods whose taggers this one needs on its training events."""
        return ()

    def content(self) -> dict[str, str]:
        """Return what the taggers depend on beside settings and events, such as files' hashes."""
        return {}


@cache
def method_kinds() -> Mapping[str, type[MethodSettings]]:
    """Return the classes of all methods by their `kind`: the package's, then those of others.

    Raises
    ------
    ConfigError
        An entry point cannot be loaded, is no method, or takes a `kind` that is taken.
    """
    kinds: dict[str, type[MethodSettings]] = dict(import_module(_HOME).METHODS)
    for entry in entry_points(group=ENTRY_POINTS):
        where = f"entry point {entry.name} = {entry.value} ({ENTRY_POINTS})"
        try:
            method = entry.load()
        except Exception as error:  # whatever another package's import raises
            msg = f"{where}: cannot be loaded: {type(error).__name__}: {error}"
            raise ConfigError(msg) from error
        if not (isinstance(method, type) and issubclass(method, MethodSettings)):
            msg = f"{where}: is no method; derive it from tnt_coffea.training.Method"
            raise ConfigError(msg)
        kind = str(method.model_fields["kind"].default)
        if kinds.setdefault(kind, method) is not method:
            msg = f"{where}: the kind '{kind}' is that of {kinds[kind].__module__} already"
            raise ConfigError(msg)
    return kinds


def _mapping(values: Any) -> Any:
    if not isinstance(values, Mapping):
        names = ", ".join(map(str, values)) if isinstance(values, list | tuple) else ""
        msg = (
            f"methods are named settings, not a list{names and ' of '}{names}; write `methods: "
            "{autoencoder: {kind: autoencoder}, tnt: {kind: tag_n_train, after: autoencoder}}`, "
            "each with its own settings inside; `tnt-coffea methods list` names the kinds"
        )
        raise ValueError(msg)
    if not values:
        msg = "name at least one method"
        raise ValueError(msg)
    return values


def _name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        msg = (
            f"{name!r} cannot name a method: use letters, digits, '_' and '-', but not "
            f"{', '.join(_RESERVED[:-1])} or {_RESERVED[-1]}"
        )
        raise ValueError(msg)
    return name


def _method(values: Any) -> Any:
    if isinstance(values, MethodSettings):
        return values
    kinds = method_kinds()
    if not isinstance(values, Mapping) or "kind" not in values:
        msg = f"expected settings with a kind, one of {', '.join(sorted(kinds))}"
        raise ValueError(msg)
    if not isinstance(values["kind"], str) or values["kind"] not in kinds:
        near = difflib.get_close_matches(str(values["kind"]), kinds, n=1)
        msg = f"no method of kind '{values['kind']}'; " + (
            f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(kinds))}"
        )
        raise ValueError(msg)
    return kinds[values["kind"]].model_validate(dict(values))


Methods = Annotated[
    Mapping[
        Annotated[str, AfterValidator(_name)],
        Annotated[SerializeAsAny[MethodSettings], BeforeValidator(_method)],
    ],
    BeforeValidator(_mapping),
]
"""Methods by the names that the user gives them."""


def training_order(methods: Mapping[str, MethodSettings], wanted: Iterable[str]) -> list[str]:
    """Return the wanted methods and all that they build on, each after what it builds on.

    Raises
    ------
    ValueError
        A method builds on one that is not there, or on itself through others.
    """
    ordered: list[str] = []

    def visit(name: str, behind: tuple[str, ...]) -> None:
        if name in behind:
            circle = " -> ".join((*behind[behind.index(name) :], name))
            msg = f"train.methods build on each other in a circle: {circle}"
            raise ValueError(msg)
        if name in ordered:
            return
        for before in methods[name].builds_on():
            if before not in methods:
                msg = (
                    f"train.methods.{name} builds on '{before}', which is not among the methods "
                    f"{', '.join(methods)}"
                )
                raise ValueError(msg)
            visit(before, (*behind, name))
        ordered.append(name)

    for name in wanted:
        visit(name, ())
    return ordered
