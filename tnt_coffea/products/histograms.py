"""The histograms of a search and what is needed to read them."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import digest
from tnt_coffea.displays import Displayed
from tnt_coffea.errors import ExecutionError, StageError
from tnt_coffea.products.reading import DAMAGE, damaged
from tnt_coffea.stages import check_files, manifest
from tnt_coffea.stats.direct_results import WeightedSimulation
from tnt_coffea.stats.signal_histogram import SignalHistogram
from tnt_coffea.storage import written
from tnt_coffea.taggers import Coincidences
from tnt_coffea.working_points import WorkingPoints

__all__ = ["Histograms"]

_Filled = TypeVar("_Filled")


@dataclass(frozen=True)
class Histograms(Displayed):
    """The search's histograms and what is needed to read them.

    Attributes
    ----------
    hists
        (dataset, fold, mass, q_heavy, q_light) by tagger set; the mass has the name of
        `search.variable`.
    points
        Working points by set; each X is an edge of the axis of its jet.
    accounting
        Where every event of the pass went.
    provenance
        Hashes of what was scored and by which taggers.
    coincidences
        Which events the selections share; None in searches from before these were kept.
    simulation
        Weighted simulation, scored and ranked like the data, by the tagger set whose background
        it is; only sets with weights have it.
    simulation_accounting
        Where every simulated event of the pass went; None where none was read.
    signals
        Simulated signals with their variations, scored and ranked like the data, by tagger set;
        none where no data set has the role of one.
    signal_accounting
        Where every event of the signals went; None where none was read.
    made_with
        Settings that taggers, thresholds and counts were made with, as far as the folder of the
        search tells them: `search`, and the `seed` of the training.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, Taggers, search, taggers, testing
    >>> packaged = Taggers.load(taggers.packaged_taggers()["rnd-3500"])
    >>> sample = testing.make_sample(20, pixels=40)
    >>> with TemporaryDirectory() as out:
    ...     histograms = search(sample, packaged, SearchConfig(), out=out)
    >>> sorted(histograms.hists), histograms.accounting.selected
    (['autoencoder', 'tnt'], 20)
    >>> histograms.hists["tnt"].project("fold").values().tolist()
    [10.0, 10.0]
    """

    hists: Mapping[str, Any]
    points: Mapping[str, WorkingPoints]
    accounting: Accounting
    provenance: Mapping[str, Any]
    coincidences: Coincidences | None = None
    simulation: Mapping[str, WeightedSimulation] = field(default_factory=dict)
    simulation_accounting: Accounting | None = None
    signals: Mapping[str, SignalHistogram] = field(default_factory=dict)
    signal_accounting: Accounting | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the counts, their bins, the working points and what selections share."""
        found = hashlib.sha256()
        for name, histogram in sorted(self.hists.items()):
            _update(found, [name], histogram, self.points[name].to_list())
        if self.coincidences is not None:
            found.update(self.coincidences.to_bytes())
        for name, own in sorted(self.simulation.items()):
            _update(found, ["simulation", name], own.histogram, own.to_dict())
        for name, signals in sorted(self.signals.items()):
            _update(found, ["signals", name], signals.histogram, signals.to_dict())
        return found.hexdigest()

    def _facts(self) -> dict[str, str]:
        return {
            name: f"{histogram.sum(flow=True).value:g} events in "
            + " x ".join(f"{axis.name} ({len(axis)})" for axis in histogram.axes)
            for name, histogram in self.hists.items()
        }

    def save(self, folder: Path) -> None:
        """Write the histograms through UHI (HDF5, no pickle) and the rest as JSON.

        Raises
        ------
        StorageError
            The folder cannot be written to.
        """
        content: dict[str, Any] = {
            "histograms": _write_histograms(folder / "histograms.h5", self.hists),
            "working_points": {name: points.to_list() for name, points in self.points.items()},
            "accounting": self.accounting.to_dict(),
            "provenance": dict(self.provenance),
        }
        if self.coincidences is not None:
            shared = self.coincidences.to_bytes()
            content["coincidences"] = hashlib.sha256(shared).hexdigest()
            with written(folder / "coincidences.h5") as path:
                path.write_bytes(shared)
        further: dict[str, Mapping[str, Any]] = {
            "simulation": self.simulation,
            "signals": self.signals,
        }
        for name, sets in further.items():
            if sets:
                filled = {of: own.histogram for of, own in sets.items()}
                content[name] = {
                    "histograms": _write_histograms(folder / f"{name}.h5", filled),
                    "sets": {of: own.to_dict() for of, own in sets.items()},
                }
        if self.simulation_accounting is not None:
            content["simulation_accounting"] = self.simulation_accounting.to_dict()
        if self.signal_accounting is not None:
            content["signal_accounting"] = self.signal_accounting.to_dict()
        with written(folder / "search.json") as path:
            path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Histograms:
        """Return the histograms in a stage's folder.

        Raises
        ------
        StageError
            They are missing, damaged or cannot be read.
        """
        folder = Path(folder)
        check_files(folder)
        path = folder / "histograms.h5"
        if not path.exists():
            stage = folder / "search"
            if (stage / "histograms.h5").exists():
                msg = f"{folder}: the histograms of this search are in {stage}: give that folder"
                raise StageError(msg)
            msg = f"{folder}: no histograms here; run `tnt-coffea search` first"
            raise StageError(msg)
        try:
            content = json.loads((folder / "search.json").read_text())
            hists = _read_histograms(path, content["histograms"])
            points = {
                name: WorkingPoints.from_list(listed)
                for name, listed in content["working_points"].items()
            }
            if points.keys() != hists.keys():
                msg = f"working points of {sorted(points)}, histograms of {sorted(hists)}"
                raise ValueError(msg)
            accounting = Accounting.from_dict(content["accounting"])
            coincidences = None
            if "coincidences" in content:
                shared = _named_bytes(folder / "coincidences.h5", content["coincidences"])
                coincidences = Coincidences.from_bytes(shared)
            simulation = _filled(folder, content, "simulation", WeightedSimulation.from_dict)
            signals = _filled(folder, content, "signals", SignalHistogram.from_dict)
            simulated, of_signals = (
                Accounting.from_dict(content[name]) if name in content else None
                for name in ("simulation_accounting", "signal_accounting")
            )
            provenance = dict(content["provenance"])
            return cls(
                hists,
                points,
                accounting,
                provenance,
                coincidences,
                simulation,
                simulated,
                signals,
                of_signals,
                _made_with(folder, provenance),
            )
        except (*DAMAGE, RuntimeError, ExecutionError) as error:
            raise StageError(damaged(folder, error, "search")) from error


def _update(found: Any, names: list[str], histogram: Any, about: Any) -> None:
    """Add a histogram and what belongs to it to a hash."""
    bins = [(axis.name, np.asarray(list(axis)).tolist()) for axis in histogram.axes]
    found.update(json.dumps([*names, bins, about]).encode())
    found.update(np.ascontiguousarray(histogram.view(flow=True)).tobytes())


def _write_histograms(path: Path, hists: Mapping[str, Any]) -> str:
    """Write histograms, and return the SHA-256 of the file."""
    import h5py
    import uhi.io.hdf5

    # In memory first: HDF5 itself may crash where the disk is full.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name in sorted(hists):
            uhi.io.hdf5.write(file.create_group(name), hists[name])
    with written(path) as partial:
        partial.write_bytes(image.getvalue())
    return hashlib.sha256(image.getvalue()).hexdigest()


def _read_histograms(path: Path, sha256: str) -> dict[str, Any]:
    import h5py
    import hist
    import uhi.io.hdf5

    with h5py.File(io.BytesIO(_named_bytes(path, sha256)), "r") as file:
        return {name: hist.Hist(uhi.io.hdf5.read(file[name])) for name in file}


def _filled(
    folder: Path, content: Mapping[str, Any], name: str, of: Callable[[Any, Any], _Filled]
) -> dict[str, _Filled]:
    """Return further histograms by tagger set, each made of its values and its bins."""
    if name not in content:
        return {}
    noted = content[name]
    filled = _read_histograms(folder / f"{name}.h5", noted["histograms"])
    return {own: of(values, filled[own]) for own, values in noted["sets"].items()}


def _made_with(folder: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a search and of its training that stages beside it have noted."""
    found: dict[str, Any] = {}
    with suppress(StageError):  # one that is damaged is named by those who go on with it
        if known := manifest(folder):
            settings = known.inputs.get("settings")
            if digest(settings) == provenance.get("settings"):
                found["search"] = settings
        if trained := manifest(Path(os.path.normpath(folder.absolute())).parent / "train"):
            own = trained.outputs.get("sets", ()) == provenance.get("taggers")
            if own and "seed" in trained.inputs:
                found["seed"] = trained.inputs["seed"]
    return found


def _named_bytes(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file that another one names by their hash."""
    image = path.read_bytes()
    # HDF5 hangs on some damaged files: it gets to see none.
    if hashlib.sha256(image).hexdigest() != sha256:
        msg = f"{path}: not the file that search.json beside it names; it was changed"
        raise ValueError(msg)
    return image
