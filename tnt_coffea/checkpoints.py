"""Work items of a pass that are done, on disk until the pass is complete.

A pass that was killed goes on with the items that are missing. A file holds one item: its own
SHA-256, a line of JSON, and the bytes of arrays. Nothing in it is unpickled or evaluated, and
nothing of it is read before the hash is right.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.storage import file_sha256, stored, written
from tnt_coffea.visibility import Mark

__all__ = ["Checkpoints", "packed", "unpacked"]

_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Checkpoints:
    """Where the items of one pass lie, and what they are of.

    Attributes
    ----------
    folder
        Its files.
    key
        What determines the pass beside its items: of the stage, thus of settings, models and
        input files.
    mark
        What a worker sees where the folder is the driver's; by default all do. Others keep and
        find nothing: a folder of the same name may be their own, of an earlier run there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     checkpoints = Checkpoints(folder, "settings and models")
    ...     checkpoints.write("box.h5, 0-1000", {"events": 1000})
    ...     found = checkpoints.read("box.h5, 0-1000")
    ...     other = Checkpoints(folder, "other models").read("box.h5, 0-1000")
    >>> found, other
    ({'events': 1000}, None)
    """

    folder: str
    key: str
    mark: Mark = field(default_factory=Mark)

    def path(self, item: str) -> Path:
        """Return the file of an item, which is named in words."""
        name = hashlib.sha256(f"{self.key}\n{item}".encode(errors="surrogateescape")).hexdigest()
        return Path(self.folder, name[:2], name[2:34])

    def write(self, item: str, output: Any, files: Mapping[str, Path] | None = None) -> None:
        """Keep the output of an item, and the hashes of files that belong to it.

        Parameters
        ----------
        item
            The item in words.
        output
            What `packed` takes.
        files
            By the name that they are looked for with; `read` wants the same.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        if not (self.mark() and Path(self.folder).is_dir()):
            return
        hashes = {name: _hash_of(path) for name, path in (files or {}).items()}
        content = packed({"key": self.key, "item": item, "files": hashes, "output": output})
        path = self.path(item)
        with stored(path):
            path.parent.mkdir(exist_ok=True)
        with written(path) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)

    def read(self, item: str, files: Callable[[Any], Mapping[str, Path]] | None = None) -> Any:
        """Return the output of an item, or None where it has not been done.

        Parameters
        ----------
        item
            The item in words.
        files
            Gives the files that belong to an output.

        Raises
        ------
        ValueError
            It was done, and what is left of it is damaged.
        """
        path = self.path(item)
        if not (self.mark() and path.is_file()):
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            msg = f"{path}: cannot be read: {error.strerror or error}"
            raise ValueError(msg) from error
        found, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != found:
            msg = f"{path}: is damaged"
            raise ValueError(msg)
        known = unpacked(content)
        if (known["key"], known["item"]) != (self.key, item):
            return None
        for name, belonging in (files(known["output"]) if files else {}).items():
            if known["files"].get(name) != _hash_of(belonging):
                msg = f"{belonging}: is damaged"
                raise ValueError(msg)
        return known["output"]


def packed(value: Any) -> bytes:
    """Return nested values, arrays and sums of a pass as bytes.

    Raises
    ------
    TypeError
        There is a value of a kind that is not stored.

    Examples
    --------
    >>> unpacked(packed({"parts": {"a"}, "range": (2.5, None)}))
    {'parts': {'a'}, 'range': (2.5, None)}
    """
    arrays: list[np.ndarray[Any, Any]] = []
    tree = _tree(value, arrays)
    about = [[array.dtype.str, array.shape] for array in arrays]
    line = json.dumps([tree, about], separators=(",", ":")).encode()
    return b"".join([line, b"\n", *(np.ascontiguousarray(array).tobytes() for array in arrays)])


def unpacked(content: bytes) -> Any:
    """Return the inverse of `packed`."""
    line, _, rest = content.partition(b"\n")
    tree, about = json.loads(line)
    arrays, start = [], 0
    for kind, shape in about:
        dtype = np.dtype(kind)
        size = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(rest, dtype, size, start).reshape(shape).copy())
        start += size * dtype.itemsize
    return _value(tree, arrays)


def _tree(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    import hist

    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            msg = "an array of objects is not stored"
            raise TypeError(msg)
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1, "scalar": isinstance(value, np.generic)}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {"map": [[_tree(k, arrays), _tree(v, arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple | set | frozenset):
        listed = sorted(value) if isinstance(value, set | frozenset) else value
        kind = next(kind for kind in ("list", "tuple", "set") if kind in type(value).__name__)
        return {kind: [_tree(one, arrays) for one in listed]}
    if isinstance(value, hist.axis.AxesMixin):
        return {"axis": _tree(_uhi(value), arrays)}
    if type(value).__name__ in _classes() and is_dataclass(value):
        own = {one.name: getattr(value, one.name) for one in fields(value)}
        return {"object": type(value).__name__, "fields": _tree(own, arrays)}
    msg = f"a value of type {type(value).__name__} is not stored"
    raise TypeError(msg)


def _value(tree: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        array = arrays[tree["array"]]
        return array[()] if tree["scalar"] else array
    if "map" in tree:
        return {_value(k, arrays): _value(v, arrays) for k, v in tree["map"]}
    if "axis" in tree:
        return _axis(_value(tree["axis"], arrays))
    if "object" in tree:
        return _classes()[tree["object"]](**_value(tree["fields"], arrays))
    for name, kind in (("list", list), ("tuple", tuple), ("set", set)):
        if name in tree:
            return kind(_value(one, arrays) for one in tree[name])
    msg = f"a value of unknown kind: {list(tree)}"
    raise ValueError(msg)


@functools.cache
def _classes() -> dict[str, type]:
    """Return the classes whose objects are stored by their fields."""
    from tnt_coffea.processors.counts import SparseCounts
    from tnt_coffea.taggers.coincidences import Coincidences, SetSelections

    return {kind.__name__: kind for kind in (SparseCounts, Coincidences, SetSelections)}


def _uhi(axis: Any) -> Any:
    # UHI stores histograms: that of this axis alone, without its bins.
    import hist
    from boost_histogram.serialization import to_uhi

    return to_uhi(hist.Hist(axis), keep_storage=False)


def _axis(stored: Any) -> Any:
    import hist
    from boost_histogram.serialization import from_uhi

    return hist.Hist(from_uhi(stored)).axes[0]


def _hash_of(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""
