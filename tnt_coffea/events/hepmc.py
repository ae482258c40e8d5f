"""HepMC3 ASCII, plain or gzip: the stable particles of generated events that a detector sees.

Taken are particles of status 1 without neutrinos and what new physics leaves invisible: dark
matter, the lightest neutralino, the gravitino, the hidden sector. Momenta are turned into GeV, the
first weight of an event is its weight. Nothing is smeared, and there is no pile-up.

The format has no index. The lines that events begin with are looked for once in a process, and a
range is read from there. What is compressed can only be unpacked from its beginning: every
process does so once, as long as its ranges come in order.

Source: of the format, doi:10.1016/j.cpc.2020.107310 (HepMC3); of the codes, Review of Particle
Physics, Monte Carlo particle numbering scheme.
"""

from __future__ import annotations

import gzip
import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError, MissingExtraError
from tnt_coffea.events import trees
from tnt_coffea.events.hdf5_table import stamp
from tnt_coffea.events.particles import Particles, checked_numbers, from_cartesian
from tnt_coffea.events.remote import RemoteFile

__all__ = ["FIELDS", "entries", "is_mine", "load", "meaning", "particles"]

FIELDS = frozenset({"hepmc_px", "hepmc_py", "hepmc_pz", "hepmc_energy", "hepmc_pid"})
"""Of particles of status 1, momenta in GeV; `weight` and `event` are beside them."""

INVISIBLE = (12, 14, 16, *range(51, 61), 1000022, 1000039)
"""PDG codes, signs apart: neutrinos, dark matter, the lightest neutralino, the gravitino."""
HIDDEN_SECTOR = 49
"""What codes of seven digits begin with there."""

_PACKAGE = "pyhepmc"
_NAME = b"HepMC::"
_END = b"HepMC::Asciiv3-END_EVENT_LISTING"
_EVENT = re.compile(rb"\nE ")
_PARTICLE = re.compile(rb"\nP(?: [-+.0-9eEinfa]+){9}(?=\n)")
_MARK = b"\xef\xbb\xbf"
"""What some programs write before text in UTF-8; they also end lines by \\r\\n."""
_BLOCK = 1 << 24
"""Bytes in memory at once, beside the particles."""
_LOOKED_AT = 100
"""Events of which one must have a stable particle."""


def is_mine(path: Path) -> bool:
    """Tell whether a file, unpacked, starts like HepMC of any version."""
    try:
        return _start(path).lstrip().startswith(_NAME)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False


def entries(path: Path) -> int:
    """Return the number of events of a file.

    Raises
    ------
    InputError
        The file is of HepMC2, is cut short, has no events, or none with a stable particle.
    MissingExtraError
        pyhepmc is not installed.
    """
    n = len(_index(path, stamp(path))[0]) - 1
    for i in range(min(n, _LOOKED_AT)):
        if len(next(_final(path, i, i + 1))[1]):
            return n
    msg = (
        f"{path}: none of the first {min(n, _LOOKED_AT)} events has a particle of status 1: "
        "partons before their hadronisation? Write the generator's stable particles"
    )
    raise InputError(msg)


def meaning(path: Path) -> dict[str, str]:
    """Return what is taken, in words; raises as `entries`."""
    event = next(_read(path, 0, 1))
    names = list(getattr(event.run_info, "weight_names", None) or [])
    return {
        "particles taken": "those of status 1 without neutrinos and other invisible ones",
        "momenta in": str(event.momentum_unit.name),
        "weight column": f"'{names[0]}', the first of {len(names)}" if names else "the first",
    }


def load(path: Path, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return the stable particles of events [start, stop) as NanoEvents, invisible ones too.

    Raises
    ------
    InputError
        As `entries`, or an event cannot be read.
    MissingExtraError
        As `entries`.
    """
    events = list(_final(path, start, stop))
    counts = [len(rows) for _, rows in events]
    flat = np.concatenate([rows for _, rows in events])
    names = ("px", "py", "pz", "energy", "pid")
    columns = {f"hepmc_{name}": ak.unflatten(flat[:, i], counts) for i, name in enumerate(names)}
    columns["hepmc_pid"] = ak.values_astype(columns["hepmc_pid"], np.int64)
    columns["weight"] = ak.Array(np.array([weight for (weight, _), _ in events], np.float64))
    columns["event"] = ak.Array(np.array([number for (_, number), _ in events], np.int64))
    return trees.nano_events(columns, path, start, stop, metadata)


def particles(events: Any) -> Particles:
    """Return the particles that a detector sees behind the common contract.

    Their identity is the content alone: event numbers start again in every file.

    Raises
    ------
    InputError
        As `from_columns`, or an event number is negative.
    """
    where = trees.where(events)
    code = abs(ak.to_numpy(ak.flatten(events.hepmc_pid)))
    seen = ~np.isin(code, INVISIBLE) & (code // 100_000 != HIDDEN_SECTOR)
    seen = ak.unflatten(seen, ak.num(events.hepmc_pid))
    return from_cartesian(
        *(ak.materialize(events[f"hepmc_{n}"])[seen] for n in ("px", "py", "pz", "energy")),
        where=where,
        weight=ak.to_numpy(events.weight),
        numbers=checked_numbers({"event": ak.to_numpy(events.event)}, where),
    )


def _final(
    path: Path, start: int, stop: int
) -> Iterator[tuple[tuple[float, int], npt.NDArray[np.float64]]]:
    """Give weight and number of events, and (particle, 5) px, py, pz, energy [GeV], PDG code."""
    for event in _read(path, start, stop):
        found = event.numpy.particles
        final = found.status == 1
        factor = 1e-3 if event.momentum_unit.name == "MEV" else 1.0
        momenta = [part[final] * factor for part in (found.px, found.py, found.pz, found.e)]
        rows = np.stack([*momenta, found.pid[final].astype(np.float64)], axis=1)
        weights = event.weights
        yield (float(weights[0]) if len(weights) else 1.0, int(event.event_number)), rows


def _read(path: Path, start: int, stop: int) -> Iterator[Any]:
    """Give events [start, stop), as pyhepmc has them."""
    try:
        import pyhepmc
    except ImportError as error:
        raise MissingExtraError(_PACKAGE, "hepmc") from error

    offsets, header = _index(path, stamp(path))
    if stop >= len(offsets):
        msg = (
            f"{path}: events {start} to {stop} were asked for and {len(offsets) - 1} are there; "
            "was the file changed during the pass?"
        )
        raise InputError(msg)
    while start < stop:
        end = int(np.searchsorted(offsets, offsets[start] + _BLOCK, side="right")) - 1
        end = min(max(end, start + 1), stop)
        text = _bytes(path, int(offsets[start]), int(offsets[end]))
        cuts = offsets[start : end + 1] - offsets[start]
        # Behind an event may stand the end, and the beginning of a file that was appended.
        texts = [_lines(text[a:b].partition(_END)[0]) for a, b in pairwise(cuts)]
        for i, one in enumerate(texts, start):
            _check_particles(path, i, one)
        lines = BytesIO(header + b"".join(texts) + _END + b"\n")
        with _quiet(pyhepmc), pyhepmc.io.ReaderAscii(pyhepmc.io.pyiostream(lines)) as reader:
            for i in range(start, end):
                try:
                    event = reader.read()
                except RuntimeError as error:
                    raise _unreadable(path, i, str(error)) from error
                if event is None:
                    raise _unreadable(path, i, "its vertices are not those that it announces")
                yield event
        start = end


def _check_particles(path: Path, i: int, text: bytes) -> None:
    # pyhepmc takes text for 0, and writes about what is missing on standard output.
    words = text[: text.find(b"\n")].split()
    announced = int(words[3]) if len(words) > 3 and words[3].isdigit() else -1
    found = len(_PARTICLE.findall(text))
    if found != announced:
        reason = f"it announces {announced} particles, and {found} can be read"
        raise _unreadable(path, i, reason)


def _unreadable(path: Path, i: int, reason: str) -> InputError:
    return InputError(
        f"{path}: event {i} cannot be read: {' '.join(reason.split())}. The file is damaged; "
        "fetch or write it again"
    )


@contextmanager
def _quiet(pyhepmc: Any) -> Iterator[None]:
    setup = pyhepmc.Setup
    before = setup.print_errors, setup.print_warnings
    setup.print_errors = setup.print_warnings = False
    try:
        yield
    finally:
        setup.print_errors, setup.print_warnings = before


# Bytes of a file, unpacked


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    # A file that is open already: gzip would take the name of one at an address for a local path.
    with path.open("rb") as raw:
        if not _is_packed(path):
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield unpacked


def _start(path: Path) -> bytes:
    with _open(path) as file:
        return file.read(256).removeprefix(_MARK)


def _lines(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n")


@lru_cache(maxsize=4)
def _index(path: Path, when: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], bytes]:
    """Return where every event begins, and the last one ends; and what stands before them."""
    if b"HepMC::Asciiv3" not in _start(path):
        msg = (
            f"{path}: HepMC, but not the ASCII format of version 3, which is what is read; write "
            "it again with version 3, by pyhepmc: open(OLD) and open(NEW, 'w')"
        )
        raise InputError(msg)
    begins: list[int] = []
    position, rest, end = 0, b"\n", b""
    with _readable(path), _open(path) as file:
        while block := file.read(_BLOCK):
            text = rest + block
            first = position - len(rest) + 1
            begins += [first + found.start() for found in _EVENT.finditer(text)]
            position += len(block)
            rest, end = text[-2:], (end + block)[-4096:]
    if _END not in end:
        msg = (
            f"{path}: cut short: its last line is not {_END.decode()}; what wrote it was stopped. "
            "Fetch or write it again"
        )
        raise InputError(msg)
    if not begins:
        msg = f"{path}: holds no events"
        raise InputError(msg)
    header = _bytes(path, 0, begins[0]).removeprefix(_MARK)
    return np.array([*begins, position], np.int64), _lines(header)


def _bytes(path: Path, start: int, stop: int) -> bytes:
    with _readable(path):
        if not _is_packed(path):
            with path.open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        # Kept: going on from where it stands is quick, going back begins again.
        unpacked = _unpacked(path, stamp(path), os.getpid(), threading.get_ident())
        try:
            unpacked.seek(start)
            return unpacked.read(stop - start)
        except BaseException:
            _unpacked.cache_clear()
            raise


@lru_cache(maxsize=2)
def _unpacked(path: Path, when: tuple[int, ...], process: int, thread: int) -> gzip.GzipFile:
    # A path closes with what is unpacked of it, an open file would not.
    return gzip.open(path.open() if isinstance(path, RemoteFile) else path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"{path}: not readable as gzip: {error}. It is damaged or cut short; fetch it again"
        raise InputError(msg) from error
