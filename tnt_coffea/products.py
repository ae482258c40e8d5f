"""What the stages leave on disk, as objects: the skim, the taggers, the histograms."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import numpy as np

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import NOMINAL, digest
from tnt_coffea.displays import Displayed
from tnt_coffea.errors import ExecutionError, LeakError, StageError, TaggerError
from tnt_coffea.events.roles import DATA, SIMULATION, is_signal, prior, signal
from tnt_coffea.events.sample import Sample, in_units
from tnt_coffea.events.skim import content_of, read_parts, write_part
from tnt_coffea.filesets import Fileset
from tnt_coffea.stages import check_files, manifest
from tnt_coffea.stats.direct_results import WeightedSimulation
from tnt_coffea.stats.signal_histogram import SignalHistogram
from tnt_coffea.storage import stored, written
from tnt_coffea.taggers import Coincidences, TaggerSet
from tnt_coffea.working_points import WorkingPoints

__all__ = ["Histograms", "Skim", "Taggers", "as_skim", "contents_of"]

_WEIGHTS = "weights"
_Note = TypeVar("_Note")
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a damaged JSON file raises, one way or another."""


@dataclass(frozen=True)
class Skim(Displayed):
    """Dijets on disk, those of data and of other roles apart.

    Attributes
    ----------
    parts
        Parquet parts by data set.
    contents
        SHA-256 of the dijets by role, truth excluded.
    duplicates
        Dijets whose id an earlier one of their role has.
    accounts
        Where every event of the input went, by data set.
    roles
        `data`, `simulation`, `prior:NAME` or `signal:NAME` by data set; those not named here are
        data.
    variations
        Parts of simulated signals with jets that were varied, by data set and variation.
    generated
        Sums of weights of all events of simulated signals before any cut, by data set: `nominal`,
        and of every variation of the weights, in units of 2^-32.
    systematics
        Digest of the variations that simulated signals were skimmed with; None without signals.
    varied
        SHA-256 of all variations of simulated signals, and of their sums of weights, by role.

    Examples
    --------
    >>> from tnt_coffea import Sample
    >>> skim = Skim.from_sample(
    ...     Sample.from_columns(
    ...         m_jj=[3500.0, 2800.0], heavy={"mass": [500.0, 90.0]}, light={"mass": [100.0, 40.0]}
    ...     )
    ... )
    >>> skim.sample()
    <Sample: 2 dijets, labels unknown; event: m_jj; either jet: mass>
    >>> len(skim.paths), list(skim.by_role), skim.accounting.selected
    (1, ['data'], 2)
    >>> skim
    Skim
      data: 2 dijets of 2 events
    >>> len(skim)
    2
    """

    parts: Mapping[str, tuple[Path, ...]]
    contents: Mapping[str, str]
    duplicates: int
    accounts: Mapping[str, Accounting]
    roles: Mapping[str, str] = field(default_factory=dict)
    variations: Mapping[str, Mapping[str, tuple[Path, ...]]] = field(default_factory=dict)
    generated: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    systematics: str | None = None
    varied: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Dijets of the data."""
        return self.accounting.selected

    def __bool__(self) -> bool:
        """Tell that there is a skim, be it without dijets."""
        return True

    def _facts(self) -> dict[str, str]:
        facts = {}
        for dataset, account in self.accounts.items():
            role = self.roles.get(dataset, DATA)
            of = "" if role == dataset else f" ({role})"
            facts[f"{dataset}{of}"] = f"{account.selected} dijets of {account.events} events" + (
                f", {account.n_lost} lost to bad files" if account.n_lost else ""
            )
        if self.duplicates:
            facts["duplicates"] = str(self.duplicates)
        return facts

    @property
    def by_role(self) -> dict[str, tuple[Path, ...]]:
        """All parts by the role of their data set; data come first."""
        found: dict[str, tuple[Path, ...]] = {DATA: ()}
        for dataset, paths in self.parts.items():
            role = self.roles.get(dataset, DATA)
            found[role] = (*found.get(role, ()), *paths)
        return found

    @property
    def for_training(self) -> dict[str, tuple[Path, ...]]:
        """All parts by role without simulated signals for templates, which train nothing."""
        return {role: paths for role, paths in self.by_role.items() if not is_signal(role)}

    @property
    def paths(self) -> list[Path]:
        """The parts with data."""
        return list(self.by_role[DATA])

    @property
    def content(self) -> str:
        """SHA-256 of the data's dijets, truth excluded."""
        return self.contents[DATA]

    @property
    def accounting(self) -> Accounting:
        """Where every event of the data went."""
        return Accounting.summed(
            {
                dataset: one
                for dataset, one in self.accounts.items()
                if self.roles.get(dataset, DATA) == DATA
            }
        )

    def fileset(self, *roles: str) -> Fileset:
        """Return the parts of some roles, those of the data by default, as input of a pass."""
        own = {name: role for name, role in self.roles.items() if name in self.parts}
        every = Fileset.from_paths(self.parts, roles=own)
        return every.of_roles(*roles) if roles else every.searched

    def signal_fileset(self) -> Fileset:
        """Return the parts of simulated signals, those with varied jets too, as input of a pass."""
        roles = {name: role for name, role in self.roles.items() if is_signal(role)}
        files = {
            name: sum(self.variations.get(name, {}).values(), start=self.parts.get(name, ()))
            for name in roles
        }
        files = {name: paths for name, paths in files.items() if paths}
        return Fileset(files, roles={name: roles[name] for name in files})

    def sample(self, role: str = DATA, *, truth: bool = False, numbers: bool = False) -> Sample:
        """Return the dijets of a role in memory; labels and numbers as `read_parts`.

        Raises
        ------
        StageError
            The skim holds no events of this role.
        """
        parts = self.by_role
        if role not in parts:
            msg = f"the skim holds no events of role '{role}', only {', '.join(parts)}"
            raise StageError(msg)
        return read_parts(parts[role], truth=truth, numbers=numbers)

    @classmethod
    def from_sample(
        cls,
        data: Sample,
        *,
        simulation: Sample | None = None,
        priors: Mapping[str, Sample] | None = None,
        signals: Mapping[str, Sample] | None = None,
    ) -> Skim:
        """Return dijets that are in memory as a skim, whose files go when it does.

        Parameters
        ----------
        data
            What is searched.
        simulation
            Background by construction.
        priors
            Simulated signal by the name of its model.
        signals
            Simulated signal for templates by name, without variations; its dijets are taken for
            all events that were generated.

        Raises
        ------
        LeakError
            An event is in two of them.
        """
        samples = {DATA: data}
        samples |= {} if simulation is None else {SIMULATION: simulation}
        samples |= {prior(name): sample for name, sample in (priors or {}).items()}
        samples |= {signal(name): sample for name, sample in (signals or {}).items()}
        folder = Path(mkdtemp(prefix="tnt-coffea-"))
        parts = {}
        for number, (role, sample) in enumerate(samples.items()):
            path = folder / f"{number}.parquet"
            write_part(path, sample)
            parts[role] = (path,)
        accounts = {role: Accounting(len(sample), len(sample)) for role, sample in samples.items()}
        try:
            contents, duplicates = contents_of(parts)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sums = {
            signal(name): {NOMINAL: in_units(own.weight)} for name, own in (signals or {}).items()
        }
        roles = {role: role for role in samples}
        made = cls(parts, contents, duplicates, accounts, roles, generated=sums)
        weakref.finalize(made, _remove, folder, os.getpid())
        return made

    @classmethod
    def load(cls, folder: str | Path) -> Skim:
        """Return the skim in a stage's folder.

        Raises
        ------
        StageError
            The stage is not complete, or one of its parts is gone.
        """
        folder = Path(folder)
        outputs = _outputs(folder, "skim")
        check_files(folder)
        try:
            parts = {
                str(dataset): tuple(folder / "parts" / name for name in names)
                for dataset, names in outputs["parts"].items()
            }
            gone = [path for paths in parts.values() for path in paths if not path.exists()]
            skim = cls(
                parts,
                {str(role): str(sha256) for role, sha256 in outputs["contents"].items()},
                int(outputs["duplicates"]),
                Accounting.from_dict(outputs["accounting"]).datasets,
                {str(dataset): str(role) for dataset, role in outputs["roles"].items()},
                {
                    str(dataset): {
                        str(variation): tuple(folder / "parts" / name for name in names)
                        for variation, names in own.items()
                    }
                    for dataset, own in outputs.get("variations", {}).items()
                },
                {
                    str(dataset): {str(name): int(value) for name, value in own.items()}
                    for dataset, own in outputs.get("generated", {}).items()
                },
                outputs.get("systematics"),
                {str(role): str(sha256) for role, sha256 in outputs.get("varied", {}).items()},
            )
            gone += [
                path
                for own in skim.variations.values()
                for paths in own.values()
                for path in paths
                if not path.exists()
            ]
            skim.contents[DATA]
        except (*_DAMAGE, ExecutionError) as error:
            raise StageError(_damaged(folder / "manifest.json", error, "skim")) from error
        if gone:
            msg = f"{gone[0]}: a part of the skim is gone; remove {folder} and skim again"
            raise StageError(msg)
        return skim


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a copy of the skim in a process that was forked owns nothing
        shutil.rmtree(folder, ignore_errors=True)


def as_skim(source: Skim | Sample) -> Skim:
    """Return a skim as it is, and dijets in memory as one that lasts as long as it is held."""
    return Skim.from_sample(source) if isinstance(source, Sample) else source


def contents_of(by_role: Mapping[str, Sequence[Path]]) -> tuple[dict[str, str], int]:
    """Return the SHA-256 of the dijets of every role, and how many are copies of others in it.

    Parameters
    ----------
    by_role
        Parts of one skim by role.

    Raises
    ------
    LeakError
        An event is in two roles: what is trained on simulation or a prior would be scored on
        the same events as data, or background would be called signal.
    """
    contents, duplicates = {}, 0
    ids: dict[str, Any] = {}
    for role, paths in by_role.items():
        contents[role], every = content_of(paths)
        unique = np.unique(every)
        duplicates += len(every) - len(unique)
        for other, known in ids.items():
            if len(shared := np.intersect1d(unique, known, assume_unique=True)):
                msg = (
                    f"{len(shared)} events are both {other} and {role}; no event may have two "
                    "roles: leave them out of one"
                )
                raise LeakError(msg)
        ids[role] = unique
    return contents, duplicates


@dataclass(frozen=True)
class Taggers(Displayed):
    """Trained tagger sets and how their training went.

    Attributes
    ----------
    sets
        Tagger sets with quantile maps, by name.
    histories
        Losses and sizes of every training, by tagger.
    weights
        Sets that weight simulated events, by name; no event is searched with them.
    warnings
        What the training said against the sets, by their name: assumptions that do not hold.

    Examples
    --------
    >>> from tnt_coffea import taggers
    >>> packaged = Taggers.load(taggers.packaged_taggers()["rnd-3500"])
    >>> {name: tagger_set.knowledge for name, tagger_set in packaged.sets.items()}
    {'autoencoder': 'none', 'tnt': 'none'}
    >>> packaged
    Taggers
      autoencoder: 16 taggers for 2 folds
      tnt: 16 taggers for 2 folds
    """

    sets: Mapping[str, TaggerSet]
    histories: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, TaggerSet] = field(default_factory=dict)
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def _facts(self) -> dict[str, str]:
        return {
            name: f"{len(one.members)} taggers for {one.folds.outer} folds"
            + (f", know {one.knowledge}" if one.knowledge != "none" else "")
            + (", trained with the truth" if one.reference else "")
            for name, one in self.sets.items()
        }

    def working_points(self) -> dict[str, WorkingPoints]:
        """Return the working points of every set with a quantile map, by its name."""
        return {
            name: tagger_set.quantiles.points
            for name, tagger_set in self.sets.items()
            if tagger_set.quantiles is not None
        }

    def save(self, folder: Path) -> None:
        """Write every set into a folder of its name, and the histories."""
        placed = {folder / name: one for name, one in self.sets.items()}
        placed |= {folder / _WEIGHTS / name: one for name, one in self.weights.items()}
        for place, tagger_set in placed.items():
            with stored(place):
                tagger_set.save(place)
        text = json.dumps(self.histories, indent=1, sort_keys=True) + "\n"
        with written(folder / "histories.json") as path:
            path.write_text(text)

    @classmethod
    def load(cls, folder: str | Path) -> Taggers:
        """Return the tagger sets in a folder, of a stage or of a package.

        Raises
        ------
        TaggerError
            There is none, or one is damaged.
        """
        folder = Path(folder)
        check_files(folder)
        paths = sorted(path.parent for path in folder.glob("*/set.json"))
        if not paths:
            msg = f"{folder}: no tagger set in it (a folder with set.json); train, or name another"
            raise TaggerError(msg)
        beside = sorted(path.parent for path in (folder / _WEIGHTS).glob("*/set.json"))
        sets, weights = (
            {tagger_set.name: tagger_set for tagger_set in map(TaggerSet.load, places)}
            for places in (paths, beside)
        )
        _check_weights(folder, sets, weights)
        losses = _noted(folder / "histories.json", dict)
        warnings = _noted(folder / "assumptions.json", lambda found: tuple(found["warnings"]))
        return cls(sets, losses, weights, warnings)


def _noted(path: Path, of: Callable[[Any], _Note]) -> dict[str, _Note]:
    """Return what a file of the training holds by name; nothing where there is no such file."""
    try:
        noted = json.loads(path.read_text()) if path.exists() else {}
        return {str(name): of(values) for name, values in noted.items()}
    except _DAMAGE as error:
        msg = f"{path}: what the training noted cannot be read: {error}; restore or remove it"
        raise TaggerError(msg) from error


def _check_weights(
    folder: Path, sets: Mapping[str, TaggerSet], weights: Mapping[str, TaggerSet]
) -> None:
    for name, one in sets.items():
        if one.gives_weights:
            msg = f"{folder / name}: gives weights of simulated events, not scores to search with"
            raise TaggerError(msg)
        if one.weighted_by is not None and one.weighted_by not in weights:
            msg = (
                f"{folder}: tagger set '{name}' is weighted by '{one.weighted_by}', which is not "
                f"in {folder / _WEIGHTS}; restore it or train again"
            )
            raise TaggerError(msg)


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
    >>> from tnt_coffea import SearchConfig, search, taggers, testing
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
        if self.simulation:
            filled = {name: own.histogram for name, own in self.simulation.items()}
            content["simulation"] = {
                "histograms": _write_histograms(folder / "simulation.h5", filled),
                "sets": {name: own.to_dict() for name, own in self.simulation.items()},
            }
        if self.simulation_accounting is not None:
            content["simulation_accounting"] = self.simulation_accounting.to_dict()
        if self.signals:
            of_signals = {name: own.histogram for name, own in self.signals.items()}
            content["signals"] = {
                "histograms": _write_histograms(folder / "signals.h5", of_signals),
                "sets": {name: own.to_dict() for name, own in self.signals.items()},
            }
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
            simulation, simulated = {}, None
            if "simulation" in content:
                named = content["simulation"]
                filled = _read_histograms(folder / "simulation.h5", named["histograms"])
                simulation = {
                    name: WeightedSimulation.from_dict(values, filled[name])
                    for name, values in named["sets"].items()
                }
            if "simulation_accounting" in content:
                simulated = Accounting.from_dict(content["simulation_accounting"])
            signals: dict[str, SignalHistogram] = {}
            of_signals = None
            if "signals" in content:
                named = content["signals"]
                filled = _read_histograms(folder / "signals.h5", named["histograms"])
                signals = {
                    name: SignalHistogram.from_dict(values, filled[name])
                    for name, values in named["sets"].items()
                }
            if "signal_accounting" in content:
                of_signals = Accounting.from_dict(content["signal_accounting"])
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
        except (*_DAMAGE, RuntimeError, ExecutionError) as error:
            raise StageError(_damaged(folder, error, "search")) from error


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


def _outputs(folder: Path, stage: str) -> Any:
    known = manifest(folder)
    if known is None and folder.parent.is_file():
        msg = f"{folder.parent}: is a file, expected a folder"
        raise StageError(msg)
    if known is None:
        msg = f"{folder}: no complete stage '{stage}' here; run `tnt-coffea {stage}` first"
        raise StageError(msg)
    if known.stage != stage:
        msg = f"{folder}: holds the stage '{known.stage}', expected '{stage}'; name its folder"
        raise StageError(msg)
    return known.outputs


def _damaged(path: Path, error: Exception, stage: str) -> str:
    folder = path if path.is_dir() else path.parent
    reason = " ".join(str(error).split())
    return (
        f"{path}: cannot be read: {type(error).__name__}: {reason}. "
        f"Remove {folder} and run `tnt-coffea {stage}` again"
    )
