"""Which events enter a skim: `skim.filters`, and a selection of the user's own, `skim.select`.

The function of an own selection is called with every chunk of coffea events, behind the filters
and before anything else is done with them, and says which are kept. The module it is in travels
with the processor, so workers need not have it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import SelectSettings, SkimSettings
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import trees
from tnt_coffea.events.filters import EventFilters
from tnt_coffea.events.roles import DATA
from tnt_coffea.typing import BoolArray

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EventSelection", "Selection"]


class EventSelection:
    """The cuts of a skim before jets are looked for: its filters, then the user's own selection.

    Parameters
    ----------
    settings
        `filters` and `select` are read.

    Raises
    ------
    ConfigError
        As `EventFilters` and `Selection`.

    Examples
    --------
    >>> import awkward as ak
    >>> selection = EventSelection(SkimSettings(filters={"flags": ["Flag_goodVertices"]}))
    >>> columns = {"event": ak.Array([11, 12]), "Flag_goodVertices": ak.Array([True, False])}
    >>> events, cuts = selection(trees.nano_events(columns, Path("box.root"), 0, 2, {}))
    >>> events.event.tolist(), cuts["Flag_goodVertices"].tolist()
    ([11], [True, False])
    """

    def __init__(self, settings: SkimSettings) -> None:
        self.filters = EventFilters(settings.filters)
        self.own = Selection(settings.select) if settings.select else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Branches that an own selection needs beside those that are read anyway."""
        return self.own.columns if self.own else ()

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of what the settings name alone: the function, and the certified runs."""
        found = {"select": self.own.digest} if self.own else {}
        runs = self.filters.certified
        return found | ({"certified_runs": runs.digest} if runs else {})

    def __call__(self, events: Any) -> tuple[Any, dict[str, BoolArray]]:
        """Return the events that pass, and (event,) bool of all for every cut by its name.

        Raises
        ------
        InputError, ConfigError
            As `EventFilters.cuts` and `Selection`.
        """
        passed = np.ones(len(events), dtype=bool)
        cuts: dict[str, BoolArray] = {}
        if self.filters:
            role = (events.metadata or {}).get("role", DATA)
            cuts = self.filters.cuts(events, trees.where(events), role)
        for cut in cuts.values():
            passed &= cut
        events = events if passed.all() else events[passed]
        if self.own:
            cuts["select"] = np.ones(len(passed), dtype=bool)
            if len(events) or passed.all():
                cuts["select"][passed] = chosen = self.own(events)
                events = events[chosen]
        return events, cuts

    def check_files(
        self, files: Iterable[tuple[str, Collection[str], str]], *, every_path: bool = True
    ) -> None:
        """Check that files have the branches that are asked for, before a pass begins.

        Parameters
        ----------
        files, every_path
            As `EventFilters.check_files`.

        Raises
        ------
        InputError
            As `EventFilters.check_files`, or one lacks a branch of the own selection.
        """
        known = list(files)
        for path, names, _ in known:
            if missing := [name for name in self.columns if name not in names]:
                raise InputError(trees.absent_columns(path, missing, names, "skim.select"))
        self.filters.check_files(known, every_path=every_path)


class Selection:
    """A function of coffea events that says which are kept.

    Parameters
    ----------
    settings
        Its module and name, and the branches that it needs. The module is looked for where
        Python looks, and then in the current folder.

    Raises
    ------
    ConfigError
        It cannot be imported, or is no function.

    Examples
    --------
    >>> import awkward as ak
    >>> from tnt_coffea.config import SelectSettings
    >>> isfinite = Selection(SelectSettings(function="numpy:isfinite"))
    >>> isfinite(ak.Array([1.0, float("inf")])).tolist()
    [True, False]
    """

    def __init__(self, settings: SelectSettings) -> None:
        self.name = f"skim.select: {settings.function}"
        self.columns = settings.columns
        module_name, _, name = settings.function.partition(":")
        with _current_folder_seen():
            try:
                module = importlib.import_module(module_name)
                self.function: Callable[[Any], Any] = getattr(module, name)
            except Exception as error:  # whatever a module raises while it is imported
                msg = f"{self.name}: cannot be imported: {type(error).__name__}: {error}"
                raise ConfigError(msg) from error
        if not callable(self.function):
            msg = f"{self.name}: is no function but {type(self.function).__name__}"
            raise ConfigError(msg)

    @property
    def digest(self) -> str:
        """SHA-256 of the source of the function's module, or of its name where there is none."""
        try:
            source = inspect.getsource(sys.modules[self.function.__module__])
        except (OSError, TypeError, KeyError, AttributeError):
            source = self.name
        return hashlib.sha256(source.encode()).hexdigest()

    def __call__(self, events: Any) -> npt.NDArray[np.bool_]:
        """Return (event,) which events are kept.

        Raises
        ------
        ConfigError
            The function raised an error, or gave something else than a bool an event.
        """
        try:
            given = self.function(events)
        except Exception as error:  # whatever it raises
            reason = " ".join(str(error).split())[:300]
            msg = f"{self.name}: {type(error).__name__}: {reason} ({trees.where(events)})"
            raise ConfigError(msg) from error
        try:
            kept = np.asarray(ak.to_numpy(given, allow_missing=False))
        except (TypeError, ValueError):
            kept = np.asarray(None)
        if kept.dtype != bool or kept.shape != (len(events),):
            what = f"{kept.dtype} of shape {kept.shape}" if kept.ndim else type(given).__name__
            msg = (
                f"{self.name}: gave {what} for {len(events)} events, expected a bool for each "
                f"({trees.where(events)})"
            )
            raise ConfigError(msg)
        return kept

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        for module in _travelling(getattr(self.function, "__module__", None)):
            cloudpickle.register_pickle_by_value(module)
        return _rebuilt, (self.name, self.columns, cloudpickle.dumps(self.function))


def _rebuilt(name: str, columns: tuple[str, ...], function: bytes) -> Selection:
    import cloudpickle

    made = Selection.__new__(Selection)
    made.name, made.columns, made.function = name, columns, cloudpickle.loads(function)
    return made


def _travelling(name: str | None) -> list[ModuleType]:
    """Return the module and its package's loaded ones, unless workers have them anyway."""
    top = (name or "").partition(".")[0]
    path = getattr(sys.modules.get(name or ""), "__file__", None) or ""
    installed = not path or "site-packages" in path or "dist-packages" in path
    if installed or top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return []
    return [
        module
        for known, module in list(sys.modules.items())
        if known == top or known.startswith(f"{top}.")
    ]


@contextmanager
def _current_folder_seen() -> Iterator[None]:
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
