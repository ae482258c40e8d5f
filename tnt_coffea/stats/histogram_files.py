"""Histograms in files: ROOT through uproot, JSON and HDF5 through UHI."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from tnt_coffea.errors import InputError

__all__ = ["read_histogram"]

_HDF5 = (".h5", ".hdf5")


def read_histogram(path: str | Path, name: str | None = None) -> Any:
    """Return the `hist.Hist` in a file.

    Parameters
    ----------
    path
        ROOT (.root: TH1, TH2, TH3), UHI as JSON (.json) or HDF5 (.h5, .hdf5).
    name
        Which one, where the file holds several: a key of ROOT, a member of JSON, a
        group of HDF5.

    Raises
    ------
    InputError
        The file cannot be read, or does not hold that histogram alone.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> import json, uhi.io.json
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / 'spectrum.json'
    ...     content = json.dumps(stats.toy_spectrum(5000), default=uhi.io.json.default)
    ...     _ = path.write_text(content)
    ...     stats.read_histogram(path).axes.name
    ('m_jj',)
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise InputError(msg)
    readers = {".root": _from_root, ".json": _from_json} | dict.fromkeys(_HDF5, _from_hdf5)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        msg = f"{path}: expected a histogram in {', '.join(readers)}; choose one of these"
        raise InputError(msg)
    try:
        return reader(path, name)
    except InputError:
        raise
    except Exception as error:  # uproot, h5py and uhi raise what they like on damaged files
        reason = " ".join(str(error).split())
        msg = f"{path}: no histogram can be read from it: {type(error).__name__}: {reason}"
        raise InputError(msg) from error


def _from_root(path: Path, name: str | None) -> Any:
    import uproot

    with uproot.open(path) as file:
        kinds = file.classnames(cycle=False)
        names = sorted(key for key, kind in kinds.items() if kind.startswith(("TH1", "TH2", "TH3")))
        return file[_chosen(path, names, name)].to_hist()


def _from_json(path: Path, name: str | None) -> Any:
    import hist
    import uhi.io.json

    content = json.loads(path.read_text(), object_hook=uhi.io.json.object_hook)
    if not isinstance(content, dict):
        msg = f"{path}: expected a UHI histogram, or several by name"
        raise InputError(msg)
    if "uhi_schema" in content:
        return hist.Hist(content)
    names = sorted(
        key for key, value in content.items() if isinstance(value, dict) and "uhi_schema" in value
    )
    return hist.Hist(content[_chosen(path, names, name)])


def _from_hdf5(path: Path, name: str | None) -> Any:
    import h5py
    import hist
    import uhi.io.hdf5

    with h5py.File(io.BytesIO(path.read_bytes()), "r") as file:
        names = sorted(key for key in file if "uhi_schema" in file[key].attrs)
        if "uhi_schema" in file.attrs:
            return hist.Hist(uhi.io.hdf5.read(file["/"]))
        return hist.Hist(uhi.io.hdf5.read(file[_chosen(path, names, name)]))


def _chosen(path: Path, names: list[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return str(name)
    if not names:
        msg = f"{path}: holds no histogram"
    elif name is None:
        msg = f"{path}: holds several histograms, name one of {', '.join(names)}"
    else:
        msg = f"{path}: holds no histogram '{name}', but {', '.join(names)}"
    raise InputError(msg)
