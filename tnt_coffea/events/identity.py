"""Who an event is: an id from its content, and everything that is decided by it.

Folds, splits, thinning and tie-breaking are pure functions of the id and a
named seed. None of them can depend on chunk size, executor, file name or file
order, and an event cannot sit in a training and a scored fold at once.

Where a source numbers its events, run, luminosity block and event number are in the id
*beside* the content, never instead of it. Numbers alone would have to be trusted to be
unique, and whether they repeat (simulated samples all are run 1, parallel jobs all start
from event 0) can be seen neither from a chunk nor from one file of many. The content tells
such events apart, also where two samples share numbers, so the name that somebody gave a
sample is not needed: an event keeps its fold when its sample is renamed, and is recognised
as the same one in two overlapping samples. Content is the source's own, before any setting
(PUPPI, jets of the file) is applied. A converted file carries the id as a column.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import FoldSettings

__all__ = ["event_ids", "fold_of", "hashed", "outer_fold", "uniform"]

UInt64Array = npt.NDArray[np.uint64]


def event_ids(
    content: npt.ArrayLike,
    counts: npt.ArrayLike,
    numbers: npt.ArrayLike | None = None,
) -> UInt64Array:
    """Return the id of every event: the first 8 bytes of BLAKE2b over its content.

    Parameters
    ----------
    content
        (particle, 3) pT [GeV], eta, phi of all events one after the other, in
        source order, padding and labels left out; of a table of features (event, column)
        in the order of the columns' names, labels and weights left out. Hashed as
        little-endian float32, so float32 and float64 copies of a file agree.
    counts
        (event,) rows of the content in every event.
    numbers
        (event, 3) run, luminosity block and event number, where the source has all of
        them; hashed before the content as little-endian uint64.
    """
    rows = np.ascontiguousarray(content, dtype="<f4")
    ends = np.cumsum(np.asarray(counts, dtype=np.int64)) * rows.shape[1] * 4
    raw = rows.data.cast("B") if rows.size else memoryview(b"")
    prefix = b"" if numbers is None else np.ascontiguousarray(numbers, dtype="<u8").tobytes()
    width = len(prefix) // max(len(ends), 1)
    out = np.empty(len(ends), dtype=np.uint64)
    start = 0
    for i, end in enumerate(ends):
        state = hashlib.blake2b(prefix[i * width : (i + 1) * width], digest_size=8)
        state.update(raw[start:end])
        out[i] = int.from_bytes(state.digest(), "little")
        start = end
    return out


def hashed(event_id: UInt64Array, seed: int, *names: str | int) -> UInt64Array:
    """Return 64 well-mixed bits per event for one named purpose.

    Parameters
    ----------
    event_id
        (event,) uint64.
    seed
        Root seed of the configuration.
    names
        What the bits are for. Different names give independent bits.
    """
    name = "/".join(str(part) for part in (seed, *names))
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    # The finaliser of splitmix64 (Steele, Lea, Flood, 2014), a bijection of 64 bits.
    z = np.asarray(event_id, dtype=np.uint64) ^ np.uint64(key)
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(event_id: UInt64Array, seed: int, *names: str | int) -> npt.NDArray[np.float64]:
    """Return one number in [0, 1) per event for one named purpose; see `hashed`."""
    bits = hashed(event_id, seed, *names) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def fold_of(event_id: UInt64Array, k: int, seed: int, *names: str | int) -> npt.NDArray[np.int64]:
    """Return the fold in [0, k) of every event; see `hashed`."""
    return (uniform(event_id, seed, "fold", *names) * k).astype(np.int64)


def outer_fold(event_id: UInt64Array, folds: FoldSettings, seed: int) -> npt.NDArray[np.int64]:
    """Return the outer fold of every event: equal ones, or parts with the shares of the settings.

    Parameters
    ----------
    event_id
        (event,) uint64.
    folds
        Number of folds, and their shares where they are not equal.
    seed
        Root seed of the folds.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.config import FoldSettings
    >>> event_id = np.arange(10_000, dtype=np.uint64)
    >>> fold = outer_fold(event_id, FoldSettings(mode="swapped"), seed=1)
    >>> (np.bincount(fold) / 10_000).round(1).tolist()
    [0.2, 0.4, 0.4]
    """
    if folds.shares is None:
        return fold_of(event_id, folds.outer, seed)
    ends = np.cumsum(folds.shares)[:-1]
    return np.searchsorted(ends, uniform(event_id, seed, "fold"), side="right").astype(np.int64)
