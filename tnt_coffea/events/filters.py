"""Filters of events that an experiment asks for, `skim.filters`: certified runs, triggers, noise.

The rules are those of CMS:

- Luminosity blocks that are not certified are rejected, of data alone: simulation has none.
- Of trigger paths any may have accepted the event. Menus differ between eras and files: a path that
  a file does not have has accepted none of its events, which is counted and told. A path that no
  file has, a file that has none of the paths, and a number above 1 in one, are errors.
- All flags must be set, and every file must have them: a filter that is not there cannot be said to
  have passed.

The mask of runs is our own: `coffea.lumi_tools.LumiMask` compiles for three seconds in every
process, and takes the ranges of a run for sorted. A test compares the two.

Source: https://opendata.cern.ch/record/14220 (form of the certified runs), and the branches `HLT_*`
and `Flag_*` of NanoAOD, one bool an event and path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import EventFilterSettings
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import trees
from tnt_coffea.events.particles import checked_numbers, one_an_event
from tnt_coffea.events.roles import DATA
from tnt_coffea.typing import BoolArray

__all__ = ["CertifiedRuns", "EventFilters", "names_of"]

_NUMBERS = ("run", "luminosityBlock")
_MOST = 2**32
"""Runs and luminosity blocks lie below, so that a pair of them is one number of 64 bits."""
_MOST_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class CertifiedRuns:
    """The luminosity blocks that are certified.

    Attributes
    ----------
    first, last
        (range,) uint64, run * 2^32 + luminosity block; `first` ascending, `last` the highest
        until then.
    digest
        SHA-256 of the file they were read from.

    Examples
    --------
    >>> runs = CertifiedRuns.of_ranges({"273158": [[1, 12], [20, 30]]})
    >>> runs([273158, 273158, 273158, 999999], [12, 13, 20, 12]).tolist()
    [True, False, True, False]
    """

    first: npt.NDArray[np.uint64]
    last: npt.NDArray[np.uint64]
    digest: str = ""

    @classmethod
    def of_ranges(cls, ranges: Any, digest: str = "") -> CertifiedRuns:
        """Return those of `{run: [[first, last luminosity block], ...]}`, both ends included.

        Raises
        ------
        ValueError
            It is something else, or holds no range.
        """
        if not isinstance(ranges, Mapping):
            msg = f"expected runs with their ranges, got {type(ranges).__name__}"
            raise ValueError(msg)
        found = sorted(_range(run, each) for run, given in ranges.items() for each in _list(given))
        if not found:
            msg = "it certifies no luminosity block at all"
            raise ValueError(msg)
        run, first, last = np.array(found, np.uint64).T
        return cls(
            first=run * np.uint64(_MOST) + first,
            last=np.maximum.accumulate(run * np.uint64(_MOST) + last),
            digest=digest,
        )

    @classmethod
    def from_json(cls, path: str | Path) -> CertifiedRuns:
        """Return those in a JSON file, such as `Cert_271036-284044_13TeV_..._JSON.txt`.

        A run that is named twice has the ranges of both.

        Raises
        ------
        ConfigError
            The file cannot be read, is no JSON, or holds something else.
        """
        try:
            with Path(path).open("rb") as file:
                content = file.read(_MOST_BYTES)
            ranges = json.loads(content, object_pairs_hook=_united)
            return cls.of_ranges(ranges, hashlib.sha256(content).hexdigest())
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, RecursionError) as error:
            reason = (
                f"{' '.join(str(error).split())}. Expected JSON of the form "
                '{"273158": [[1, 12], [20, 30]], ...}: by run the ranges of luminosity blocks'
            )
        msg = f"{path}: the certified runs (skim.filters.certified_runs) cannot be read: {reason}"
        raise ConfigError(msg)

    def __call__(self, run: npt.ArrayLike, luminosity_block: npt.ArrayLike) -> BoolArray:
        """Return (event,) which are certified.

        Parameters
        ----------
        run, luminosity_block
            (event,) whole numbers from 0 on.
        """
        runs, blocks = (np.asarray(one).astype(np.uint64) for one in (run, luminosity_block))
        of = runs * np.uint64(_MOST) + blocks
        place = np.searchsorted(self.first, of, side="right")
        there: BoolArray = (place > 0) & (of <= self.last[np.maximum(place, 1) - 1])
        return there & (runs < _MOST) & (blocks < _MOST)


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list):
        msg = f"expected a list of ranges of a run, got {json.dumps(given)[:40]}"
        raise ValueError(msg)
    return given


def _united(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for run, given in pairs:
        found[run] = [*_list(found[run]), *_list(given)] if run in found else given
    return found


def _range(run: Any, given: Any) -> tuple[int, int, int]:
    whole = isinstance(given, list) and [type(one) for one in given] == [int, int]
    if not str(run).isdecimal() or not whole or not 0 <= given[0] <= given[1] < _MOST > int(run):
        msg = f"run {str(run)[:20]} has the range {json.dumps(given)[:40]}"
        raise ValueError(msg)
    return int(run), given[0], given[1]


class EventFilters:
    """The cuts of `skim.filters`, on coffea events with the columns of NanoAOD.

    Parameters
    ----------
    settings
        The runs, trigger paths and flags; without any of them all events pass.

    Raises
    ------
    ConfigError
        The file of certified runs cannot be read.

    Examples
    --------
    >>> import awkward as ak
    >>> from tnt_coffea.config import EventFilterSettings
    >>> filters = EventFilters(
    ...     EventFilterSettings(hlt=["HLT_PFHT1050", "HLT_PFJet500"], flags=["Flag_goodVertices"])
    ... )
    >>> events = ak.Array({
    ...     "HLT_PFJet500": [True, False, True], "Flag_goodVertices": [True, True, False]
    ... })
    >>> {name: cut.tolist() for name, cut in filters.cuts(events, "events").items()}
    {'hlt': [True, False, True], 'Flag_goodVertices': [True, True, False]}
    >>> filters.absent(events.fields)
    ('HLT_PFHT1050',)
    """

    def __init__(self, settings: EventFilterSettings) -> None:
        self.hlt, self.flags = settings.hlt, settings.flags
        self.certified = (
            CertifiedRuns.from_json(settings.certified_runs) if settings.certified_runs else None
        )

    def __bool__(self) -> bool:
        """Tell whether there is anything to filter by."""
        return bool(self.hlt or self.flags or self.certified)

    @property
    def columns(self) -> tuple[str, ...]:
        """Branches that are read where a file has them."""
        return (*(_NUMBERS if self.certified else ()), *self.hlt, *self.flags)

    def cuts(self, events: Any, where: str, role: str = DATA) -> dict[str, BoolArray]:
        """Return (event,) bool for every cut by its name, in the order of the cutflow.

        Parameters
        ----------
        events
            NanoEvents under `BaseSchema` or a schema of NanoAOD.
        where
            File and entries, for messages.
        role
            Of their data set: runs are certified of data alone.

        Raises
        ------
        InputError
            A column is not there, is no truth value, or holds a number above 1 where a trigger path
            is expected.
        """
        self.check(names_of(events), where, role)
        cuts = {}
        if self.certified and role == DATA:
            given = checked_numbers(
                {name: trees.column(events, name, name, "") for name in _NUMBERS}, where
            )
            cuts["certified_runs"] = self.certified(*given.values())
        if self.hlt:
            there = [name for name in self.hlt if name in names_of(events)]
            cuts["hlt"] = np.logical_or.reduce([_fired(events, name, where) for name in there])
        return cuts | {name: _truth(events, name, where) for name in self.flags}

    def absent(self, names: Collection[str]) -> tuple[str, ...]:
        """Return which trigger paths are not among the names of branches."""
        return tuple(name for name in self.hlt if name not in names)

    def check(self, names: Collection[str], where: str, role: str = DATA) -> None:
        """Check that a file has the branches that are asked for.

        Parameters
        ----------
        names
            Its branches.
        where, role
            As in `cuts`.

        Raises
        ------
        InputError
            A flag, or run and luminosity block, or every trigger path is not there.
        """
        needed = (*(_NUMBERS if self.certified and role == DATA else ()), *self.flags)
        if missing := [name for name in needed if name not in names]:
            msg = f"{where}: skim.filters asks for {', '.join(missing)}, which the file has not"
            raise InputError(msg + _near(missing, names))
        if self.hlt and len(absent := self.absent(names)) == len(self.hlt):
            msg = f"{where}: the file has no trigger path of skim.filters.hlt: {', '.join(absent)}"
            raise InputError(msg + _near(absent, names))

    def check_files(
        self, files: Iterable[tuple[str, Collection[str], str]], *, every_path: bool = True
    ) -> None:
        """Check the files of a pass, as `check`.

        Parameters
        ----------
        files
            Path, names of branches, and role of each.
        every_path
            Whether each trigger path has to be in one of them: not where they are a few of those
            that the settings are for, such as a signal simulated for one year.

        Raises
        ------
        InputError
            As `check`, or a trigger path is in none of the files.
        """
        never, first = set(self.hlt), None
        for path, names, role in files:
            self.check(names, path, role)
            never &= set(self.absent(names))
            first = first or (path, names)
        if every_path and never and first:
            path, names = first
            msg = (
                f"skim.filters.hlt: {', '.join(sorted(never))} is a trigger path of none of the "
                f"files, such as {path}"
            )
            raise InputError(msg + _near(sorted(never), names))


def names_of(events: Any) -> Collection[str]:
    """Return the names of the columns of NanoEvents, as in the file whatever the schema is."""
    return _Names(events)


class _Names(Collection[str]):
    def __init__(self, events: Any) -> None:
        self.events = events

    def __contains__(self, name: object) -> bool:
        return trees.holds(self.events, *_place(str(name)))

    def __iter__(self) -> Any:
        return iter(self.events.fields)

    def __len__(self) -> int:
        return len(self.events.fields)


def _place(name: str) -> tuple[str, str, str]:
    collection, _, part = name.partition("_")
    return name, collection, part


def _whole(events: Any, name: str, where: str) -> npt.NDArray[Any]:
    values = one_an_event(trees.column(events, *_place(name)), f"{name} of skim.filters", where)
    if values.dtype.kind == "f":
        msg = (
            f"{where}: {name} holds {values.dtype}; expected a truth value or a whole number an "
            "event (skim.filters)"
        )
        raise InputError(msg)
    return values


def _truth(events: Any, name: str, where: str) -> BoolArray:
    return np.asarray(_whole(events, name, where) > 0)


def _fired(events: Any, name: str, where: str) -> BoolArray:
    values = _whole(events, name, where)
    wrong = (values < 0) | (values > 1)
    if wrong.any():
        msg = (
            f"{where}: {name} of skim.filters.hlt is {values[wrong][0]} in event "
            f"{int(np.flatnonzero(wrong)[0])} of these entries; {int(wrong.sum())} such events. "
            "Expected a trigger path: true or false, or 1 or 0"
        )
        raise InputError(msg)
    return values.astype(bool)


def _near(missing: Iterable[str], names: Collection[str]) -> str:
    near = [name for one in missing for name in get_close_matches(one, sorted(names), 2)]
    return f"; did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
