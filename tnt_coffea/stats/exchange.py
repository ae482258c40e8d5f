"""Files of others: histograms in ROOT and UHI, spectra and limits as HEPData tables."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tnt_coffea.errors import FitError, InputError
from tnt_coffea.stats.background import SQRT_S, check_sqrt_s
from tnt_coffea.stats.limit_results import LimitResult
from tnt_coffea.stats.results import BumpHuntResult
from tnt_coffea.storage import stored, written

__all__ = ["hepdata_limits", "hepdata_spectrum", "read_histogram", "write_hepdata"]

_HDF5 = (".h5", ".hdf5")
_NO_COUNTS = ("TProfile", "TProfile2D", "TProfile3D", "TEfficiency")
# Names of a column of squared weights, without signs and blanks.
_SQUARED_WEIGHTS = (
    "sumw2",
    "sumw²",
    "sumofsquaredweights",
    "sumofweightssquared",
    "squaredweights",
    "w2",
    "variance",
    "variances",
    "var",
)
_UNCERTAINTIES = ("err", "unc", "stat", "sigma", "std")
_OTHER_MARKS = (";", "\t")
# A search's histogram has some millions.
_MOST_BINS = 20_000_000
_MASS = {"name": "$m_{jj}$", "units": "GeV"}
_SQRT_S = "SQRT(S)"


def read_histogram(path: str | Path, name: str | None = None) -> Any:
    """Return the `hist.Hist` in a file.

    Parameters
    ----------
    path
        ROOT (.root: TH1, TH2, TH3), UHI as JSON (.json) or HDF5 (.h5, .hdf5); or counts as
        text (.csv) or an array (.npy): a row a bin with its lower edge, upper edge, count and, for
        weighted events, sum of squared weights: with a header, that column is called `sumw2` or
        `variance`, and one of uncertainties is refused.
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
    readers |= {".csv": _from_csv, ".npy": _from_npy}
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

    # A file that is open: of a path with "::" fsspec would read what stands before it.
    with path.open("rb") as raw, uproot.open(raw) as file:
        kinds = file.classnames(cycle=False)
        names = sorted(key for key, kind in kinds.items() if kind.startswith(("TH1", "TH2", "TH3")))
        others = {key: kind for key, kind in kinds.items() if kind in _NO_COUNTS}
        wanted = [*others] if name is None and not names else [name]
        if (found := [f"'{key}' is a {others[key]}" for key in wanted if key in others]) != []:
            msg = f"{path}: {', '.join(found)}, which holds no counts: give a TH1, TH2 or TH3"
            raise InputError(msg)
        chosen = _chosen(path, names, name)
        unpacked = file.key(chosen).data_uncompressed_bytes
        # Contents, squared weights and edges, as double numbers.
        if unpacked > 24 * _MOST_BINS:
            msg = f"{path}: '{chosen}' takes {unpacked:.3g} bytes, too many for a histogram"
            raise InputError(msg)
        return file[chosen].to_hist()


def _from_csv(path: Path, name: str | None) -> Any:
    _check_unnamed(path, name)
    text = path.read_text(encoding="utf-8-sig")
    numbered = [
        (number, line.split("#")[0])
        for number, line in enumerate(text.splitlines(), start=1)
        if line.split("#")[0].strip()
    ]
    # numpy.savetxt writes its header as a comment.
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    for names in comments:
        if names.count(",") == 3 and _bare(names.split(",")[3]).startswith(_UNCERTAINTIES):
            _check_header(path, names)
    for number, line in numbered[:2]:
        if any(mark in line for mark in _OTHER_MARKS) and "," not in line.strip():
            msg = f"{path}: line {number}: separate by commas, got {line.strip()[:60]!r}"
            raise InputError(msg)
    # One line of words above the numbers is a header.
    if numbered and not _is_number(numbered[0][1].split(",")[0]):
        _check_header(path, numbered[0][1])
        numbered = numbered[1:]
    for number, line in numbered:
        if wrong := [cell.strip() for cell in line.split(",") if not _is_number(cell)]:
            msg = f"{path}: no histogram can be read: line {number}: '{wrong[0][:40]}' is no number"
            raise InputError(msg)
    lines = [line for _, line in numbered]
    if not lines:
        msg = f"{path}: holds no numbers: a row a bin is expected, low, high, count"
        raise InputError(msg)
    return _from_rows(path, np.loadtxt(lines, delimiter=",", ndmin=2))


def _check_header(path: Path, line: str) -> None:
    """Refuse a fourth column that is not the sum of squared weights by its name."""
    names = [name.strip().strip("\"'") for name in line.split(",")]
    if len(names) != 4 or _bare(names[3]) in _SQUARED_WEIGHTS:
        return
    msg = (
        f"{path}: the fourth column is '{names[3]}', and only the sum of squared weights of a bin "
        "can stand there: name it 'sumw2' (the square of the uncertainty), or leave it out where "
        "the bins hold plain counts"
    )
    raise InputError(msg)


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _check_unnamed(path: Path, name: str | None) -> None:
    if name is not None:
        msg = f"{path}: holds one histogram without a name, not '{name}'"
        raise InputError(msg)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_npy(path: Path, name: str | None) -> Any:
    _check_unnamed(path, name)
    return _from_rows(path, np.load(path, mmap_mode="r", allow_pickle=False))


def _from_rows(path: Path, rows: Any) -> Any:
    """Return the histogram of rows of low, high, count and perhaps squared weights."""
    import hist

    if rows.ndim != 2 or rows.shape[1] not in (3, 4) or not 0 < len(rows) <= _MOST_BINS:
        msg = (
            f"{path}: expected a row a bin with 3 or 4 numbers (low, high, count, sum of squared "
            f"weights), got an array of shape {rows.shape}"
        )
        raise InputError(msg)
    rows = np.asarray(rows, dtype=float)
    low, high = rows[:, 0], rows[:, 1]
    if not (np.isfinite(rows[:, :2]).all() and np.all(low < high) and np.all(low[1:] == high[:-1])):
        msg = f"{path}: bins must rise, each from where the one before ends"
        raise InputError(msg)
    axis = hist.axis.Variable([*low, high[-1]], name="mass")
    if rows.shape[1] == 3:
        counted = hist.Hist(axis)
        counted.view()[...] = rows[:, 2]
        return counted
    weighted = hist.Hist(axis, storage=hist.storage.Weight())
    weighted.view().value, weighted.view().variance = rows[:, 2], rows[:, 3]
    return weighted


def _built(path: Path, content: dict[str, Any]) -> Any:
    """Return the `hist.Hist` of UHI's values, whose bins are allocated: not before a look at them.

    Raises
    ------
    InputError
        It declares more bins than a histogram has.
    """
    import hist

    bins = 1
    for axis in content.get("axes", ()):
        size = axis.get("bins", len(axis.get("edges", axis.get("categories", ()))))
        bins *= 2 + int(size)
    if bins > _MOST_BINS:
        msg = f"{path}: declares {bins:.3g} bins, and {_MOST_BINS:.3g} are the most that is read"
        raise InputError(msg)
    return hist.Hist(content)


def _from_json(path: Path, name: str | None) -> Any:
    import uhi.io.json

    content = json.loads(path.read_text(), object_hook=uhi.io.json.object_hook)
    if not isinstance(content, dict):
        msg = f"{path}: expected a UHI histogram, or several by name"
        raise InputError(msg)
    if "uhi_schema" in content:
        return _built(path, content)
    names = sorted(
        key for key, value in content.items() if isinstance(value, dict) and "uhi_schema" in value
    )
    return _built(path, content[_chosen(path, names, name)])


def _from_hdf5(path: Path, name: str | None) -> Any:
    import h5py
    import uhi.io.hdf5

    with h5py.File(io.BytesIO(path.read_bytes()), "r") as file:
        names = sorted(key for key in file if "uhi_schema" in file[key].attrs)
        group = file["/"] if "uhi_schema" in file.attrs else file[_chosen(path, names, name)]
        _check_size(path, group)
        return _built(path, uhi.io.hdf5.read(group))


def _check_size(path: Path, group: Any) -> None:
    """Refuse a group whose arrays, compressed on disk, would not fit into memory."""
    import h5py

    sizes: list[int] = []

    def visited(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            sizes.append(int(np.prod(item.shape or (1,), dtype=float)))

    group.visititems(visited)
    if max(sizes, default=0) > _MOST_BINS:
        msg = (
            f"{path}: holds an array of {max(sizes):.3g} numbers, and {_MOST_BINS:.3g} bins are "
            "the most that is read"
        )
        raise InputError(msg)


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


def hepdata_spectrum(result: BumpHuntResult, sqrt_s: float = SQRT_S) -> dict[str, dict[str, Any]]:
    """Return the m_jj spectrum of every channel with its fits, by the channel's name.

    Poisson uncertainties are left to the reader, as HEPData asks for counts.

    Parameters
    ----------
    result
        The bump hunt.
    sqrt_s
        Centre-of-mass energy of the data [GeV].

    Raises
    ------
    FitError
        The energy is no number above 0.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> hunt = stats.bump_hunt(stats.toy_spectrum(5000, 100), mass=3500, width=120, fit=fit)
    >>> sorted(stats.hepdata_spectrum(hunt)['all'])
    ['dependent_variables', 'independent_variables']
    """
    energy, tables = _energy(sqrt_s), {}
    for channel in result.channels:
        columns = {
            "Sum of weights" if channel.scale else "Events": channel.observed,
            "Background-only fit": channel.background,
            "Signal plus background fit": channel.signal_plus_background,
        }
        bins = [
            {"low": low, "high": high}
            for low, high in zip(channel.edges[:-1], channel.edges[1:], strict=True)
        ]
        tables[channel.name] = {
            "independent_variables": [{"header": dict(_MASS), "values": bins}],
            "dependent_variables": [
                {
                    "header": {"name": name},
                    "qualifiers": [dict(energy)],
                    "values": [{"value": value} for value in values],
                }
                for name, values in columns.items()
            ],
        }
    return tables


def _energy(sqrt_s: float) -> dict[str, Any]:
    check_sqrt_s(sqrt_s)
    # 13000 and 13600.5, as HEPData's forms have them.
    value = int(sqrt_s) if float(sqrt_s).is_integer() else float(sqrt_s)
    return {"name": _SQRT_S, "units": "GeV", "value": value}


def hepdata_limits(limits: Sequence[LimitResult], sqrt_s: float = SQRT_S) -> dict[str, Any]:
    """Return limits over mass: observed, with the uncertainty of toys, and expected with bands.

    Cross sections where all limits have them, else events.

    Parameters
    ----------
    limits
        One a mass.
    sqrt_s
        Centre-of-mass energy of the data [GeV].

    Raises
    ------
    FitError
        There is no limit, two have the same mass, or the energy is no number above 0.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> limit = stats.upper_limit(stats.toy_spectrum(5000), mass=3500, width=120, fit=fit)
    >>> stats.hepdata_limits([limit])['independent_variables'][0]['values']
    [{'value': 3500}]
    """
    ordered = sorted(limits, key=lambda limit: limit.mass)
    if not ordered or len({limit.mass for limit in ordered}) != len(ordered):
        msg = "a table of limits needs at least one, and one a mass"
        raise FitError(msg)
    events = any(limit.observed_cross_section is None for limit in ordered)
    observed = [x.observed if events else x.observed_cross_section for x in ordered]
    expected = [x.expected if events else x.expected_cross_section or () for x in ordered]
    what = {"name": "Signal events"} if events else {"name": "Cross section", "units": "fb"}
    energy = _energy(sqrt_s)
    level = {"name": "Confidence level", "value": ordered[0].level}

    def column(name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
        header = what | {"name": f"{name} upper limit: {what['name'].lower()}"}
        return {"header": header, "qualifiers": [dict(energy), dict(level)], "values": values}

    def toys(limit: LimitResult, value: float | None) -> dict[str, Any]:
        if value is None or not limit.observed_uncertainty:
            return {}
        error = value * limit.observed_uncertainty / limit.observed
        return {"errors": [{"label": "toys", "symerror": error}]}

    bands = [
        {
            "value": five[2],
            "errors": [
                {"label": label, "asymerror": {"plus": high - five[2], "minus": low - five[2]}}
                for label, low, high in (("1 s.d.", five[1], five[3]), ("2 s.d.", five[0], five[4]))
            ],
        }
        for five in expected
    ]
    return {
        "independent_variables": [
            {
                "header": {"name": "Resonance mass", "units": "GeV"},
                "values": [{"value": limit.mass} for limit in ordered],
            }
        ],
        "dependent_variables": [
            column(
                "Observed",
                [{"value": v} | toys(x, v) for x, v in zip(ordered, observed, strict=True)],
            ),
            column("Expected", bands),
        ],
    }


def _energies(table: Mapping[str, Any]) -> list[float]:
    """Return the centre-of-mass energies that a table's columns name [GeV]."""
    columns = table.get("dependent_variables", ())
    named = [one for column in columns for one in column.get("qualifiers", ())]
    return sorted({one["value"] for one in named if one["name"] == _SQRT_S})


def write_hepdata(
    folder: str | Path,
    tables: Mapping[str, Mapping[str, Any]],
    descriptions: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write tables and the submission.yaml that lists them; return the files.

    Parameters
    ----------
    folder
        Where; it is made.
    tables
        By name: of `hepdata_spectrum` and `hepdata_limits`.
    descriptions
        What a table shows, by its name.

    Raises
    ------
    FitError
        Two tables would have one file.
    StorageError
        The folder cannot be written to.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> hunt = stats.bump_hunt(stats.toy_spectrum(5000, 100), mass=3500, width=120, fit=fit)
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     [path.name for path in stats.write_hepdata(folder, stats.hepdata_spectrum(hunt))]
    ['submission.yaml', 'all.yaml']
    """
    stems = {name: "".join(x if x.isalnum() else "_" for x in name) for name in tables}
    if len({"submission", *stems.values()}) != len(stems) + 1:
        msg = f"tables {sorted(tables)} would have the same files: rename one of them"
        raise FitError(msg)
    folder = Path(folder)
    with stored(folder):
        folder.mkdir(parents=True, exist_ok=True)
    entries, paths = [], []
    for name, table in tables.items():
        path = folder / f"{stems[name]}.yaml"
        with written(path) as partial:
            partial.write_text(yaml.safe_dump(dict(table), sort_keys=False))
        entries.append(
            {
                "name": name,
                "location": "",
                "description": (descriptions or {}).get(name, name),
                "keywords": [{"name": "cmenergies", "values": _energies(table)}],
                "data_file": path.name,
            }
        )
        paths.append(path)
    with written(folder / "submission.yaml") as partial:
        partial.write_text(yaml.safe_dump_all(entries, sort_keys=False))
    return [folder / "submission.yaml", *paths]
