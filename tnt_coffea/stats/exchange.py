"""Files of others: histograms in ROOT and UHI, spectra and limits as HEPData tables."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tnt_coffea.errors import FitError, InputError
from tnt_coffea.stats.results import BumpHuntResult, LimitResult
from tnt_coffea.storage import stored, written

__all__ = ["hepdata_limits", "hepdata_spectrum", "read_histogram", "write_hepdata"]

_HDF5 = (".h5", ".hdf5")
_MASS = {"name": "$m_{jj}$", "units": "GeV"}
_SQRT_S = {"name": "SQRT(S)", "units": "GeV", "value": 13000}


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

    # A file that is open: of a path with "::" fsspec would read what stands before it.
    with path.open("rb") as raw, uproot.open(raw) as file:
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


def hepdata_spectrum(result: BumpHuntResult) -> dict[str, dict[str, Any]]:
    """Return the m_jj spectrum of every channel with its fits, by the channel's name.

    Poisson uncertainties are left to the reader, as HEPData asks for counts.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> hunt = stats.bump_hunt(stats.toy_spectrum(5000, 100), mass=3500, width=120, fit=fit)
    >>> sorted(stats.hepdata_spectrum(hunt)['all'])
    ['dependent_variables', 'independent_variables']
    """
    tables = {}
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
                    "qualifiers": [dict(_SQRT_S)],
                    "values": [{"value": value} for value in values],
                }
                for name, values in columns.items()
            ],
        }
    return tables


def hepdata_limits(limits: Sequence[LimitResult]) -> dict[str, Any]:
    """Return limits over mass: observed, and expected with both bands.

    Cross sections where all limits have them, else events.

    Raises
    ------
    FitError
        There is no limit, or two have the same mass.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
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
    level = {"name": "Confidence level", "value": ordered[0].level}

    def column(name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
        header = what | {"name": f"{name} upper limit: {what['name'].lower()}"}
        return {"header": header, "qualifiers": [dict(_SQRT_S), dict(level)], "values": values}

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
            column("Observed", [{"value": value} for value in observed]),
            column("Expected", bands),
        ],
    }


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
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
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
                "keywords": [{"name": "cmenergies", "values": [13000]}],
                "data_file": path.name,
            }
        )
        paths.append(path)
    with written(folder / "submission.yaml") as partial:
        partial.write_text(yaml.safe_dump_all(entries, sort_keys=False))
    return [folder / "submission.yaml", *paths]
