"""What the stages leave on disk, as objects: the skim, the taggers, the histograms."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.errors import ExecutionError, StageError, TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.filesets import Fileset
from tnt_coffea.storage import stored, written
from tnt_coffea.taggers import Coincidences, TaggerSet

__all__ = ["Histograms", "Skim", "Taggers"]

_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a damaged JSON file raises, one way or another."""


@dataclass(frozen=True)
class Skim:
    """Dijets on disk.

    Attributes
    ----------
    parts
        Parquet parts by dataset.
    content
        SHA-256 of the dijets, truth excluded.
    duplicates
        Dijets whose id an earlier one has.
    accounting
        Where every event of the input went.
    """

    parts: Mapping[str, tuple[Path, ...]]
    content: str
    duplicates: int
    accounting: Accounting

    @property
    def paths(self) -> list[Path]:
        """All parts."""
        return [path for paths in self.parts.values() for path in paths]

    def fileset(self) -> Fileset:
        """Return the parts as input of a pass."""
        return Fileset.from_paths(self.parts)

    def sample(self, *, truth: bool = False, numbers: bool = False) -> Sample:
        """Return the dijets in memory; labels and numbers as `read_parts`."""
        return read_parts(self.paths, truth=truth, numbers=numbers)

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
        try:
            parts = {
                str(dataset): tuple(folder / "parts" / name for name in names)
                for dataset, names in outputs["parts"].items()
            }
            gone = [path for paths in parts.values() for path in paths if not path.exists()]
            accounting = Accounting.from_dict(outputs["accounting"])
            skim = cls(parts, str(outputs["content"]), int(outputs["duplicates"]), accounting)
        except (*_DAMAGE, ExecutionError) as error:
            raise StageError(_damaged(folder / "manifest.json", error, "skim")) from error
        if gone:
            msg = f"{gone[0]}: a part of the skim is gone; remove {folder} and skim again"
            raise StageError(msg)
        return skim


@dataclass(frozen=True)
class Taggers:
    """Trained tagger sets and how their training went.

    Attributes
    ----------
    sets
        Tagger sets with quantile maps, by name.
    histories
        Losses and sizes of every training, by tagger.
    """

    sets: Mapping[str, TaggerSet]
    histories: Mapping[str, Mapping[str, Any]]

    def thresholds(self) -> dict[str, dict[float, dict[int, float]]]:
        """Return X by set, efficiency and fold."""
        return {
            name: {eff: tagger_set.quantiles.x(eff) for eff in tagger_set.quantiles.thresholds}
            for name, tagger_set in self.sets.items()
            if tagger_set.quantiles is not None
        }

    def save(self, folder: Path) -> None:
        """Write every set into a folder of its name, and the histories."""
        for name, tagger_set in self.sets.items():
            with stored(folder / name):
                tagger_set.save(folder / name)
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
        paths = sorted(path.parent for path in folder.glob("*/set.json"))
        if not paths:
            msg = f"{folder}: no tagger set in it (a folder with set.json); train, or name another"
            raise TaggerError(msg)
        sets = {tagger_set.name: tagger_set for tagger_set in map(TaggerSet.load, paths)}
        path = folder / "histories.json"
        try:
            histories = json.loads(path.read_text()) if path.exists() else {}
            return cls(sets, {str(name): dict(losses) for name, losses in histories.items()})
        except _DAMAGE as error:
            msg = f"{path}: the training histories cannot be read: {error}; restore or remove it"
            raise TaggerError(msg) from error


@dataclass(frozen=True)
class Histograms:
    """The search's histograms and what is needed to read them.

    Attributes
    ----------
    hists
        (dataset, window, variation, fold, m_jj, q_heavy, q_light) by tagger set.
    thresholds
        X by set, efficiency and fold; each is an edge of both quantile axes.
    accounting
        Where every event of the pass went.
    provenance
        Hashes of what was scored and by which taggers.
    coincidences
        Which events the selections share; None in searches from before these were kept.
    """

    hists: Mapping[str, Any]
    thresholds: Mapping[str, Mapping[float, Mapping[int, float]]]
    accounting: Accounting
    provenance: Mapping[str, Any]
    coincidences: Coincidences | None = None

    def save(self, folder: Path) -> None:
        """Write the histograms through UHI (HDF5, no pickle) and the rest as JSON.

        Raises
        ------
        StorageError
            The folder cannot be written to.
        """
        import h5py
        import uhi.io.hdf5

        # In memory first: HDF5 itself may crash where the disk is full.
        image = io.BytesIO()
        with h5py.File(image, "w") as file:
            for name in sorted(self.hists):
                uhi.io.hdf5.write(file.create_group(name), self.hists[name])
        with written(folder / "histograms.h5") as path:
            path.write_bytes(image.getvalue())
        content = {
            "histograms": hashlib.sha256(image.getvalue()).hexdigest(),
            "thresholds": {
                name: [
                    [eff, {str(t): x for t, x in by_fold.items()}] for eff, by_fold in by.items()
                ]
                for name, by in self.thresholds.items()
            },
            "accounting": self.accounting.to_dict(),
            "provenance": dict(self.provenance),
        }
        if self.coincidences is not None:
            shared = self.coincidences.to_bytes()
            content["coincidences"] = hashlib.sha256(shared).hexdigest()
            with written(folder / "coincidences.h5") as path:
                path.write_bytes(shared)
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
        import h5py
        import hist
        import uhi.io.hdf5

        folder = Path(folder)
        path = folder / "histograms.h5"
        if not path.exists():
            msg = f"{folder}: no histograms here; run `tnt-coffea search` first"
            raise StageError(msg)
        try:
            content = json.loads((folder / "search.json").read_text())
            image = _named_bytes(path, content["histograms"])
            with h5py.File(io.BytesIO(image), "r") as file:
                hists = {name: hist.Hist(uhi.io.hdf5.read(file[name])) for name in file}
            thresholds = {
                name: {
                    float(eff): {int(t): float(x) for t, x in by_fold.items()}
                    for eff, by_fold in pairs
                }
                for name, pairs in content["thresholds"].items()
            }
            accounting = Accounting.from_dict(content["accounting"])
            coincidences = None
            if "coincidences" in content:
                shared = _named_bytes(folder / "coincidences.h5", content["coincidences"])
                coincidences = Coincidences.from_bytes(shared)
            provenance = dict(content["provenance"])
            return cls(hists, thresholds, accounting, provenance, coincidences)
        except (*_DAMAGE, RuntimeError, ExecutionError) as error:
            raise StageError(_damaged(folder, error, "search")) from error


def _named_bytes(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file that another one names by their hash."""
    image = path.read_bytes()
    # HDF5 hangs on some damaged files: it gets to see none.
    if hashlib.sha256(image).hexdigest() != sha256:
        msg = f"{path}: not the file that search.json beside it names; it was changed"
        raise ValueError(msg)
    return image


def _outputs(folder: Path, stage: str) -> Any:
    path = folder / "manifest.json"
    if not path.exists():
        msg = f"{folder}: no complete stage '{stage}' here; run `tnt-coffea {stage}` first"
        raise StageError(msg)
    try:
        manifest = json.loads(path.read_text())
        found = str(manifest["stage"])
        outputs = dict(manifest["outputs"])
    except _DAMAGE as error:
        raise StageError(_damaged(path, error, stage)) from error
    if found != stage:
        msg = f"{folder}: holds the stage '{found}', expected '{stage}'; name its folder"
        raise StageError(msg)
    return outputs


def _damaged(path: Path, error: Exception, stage: str) -> str:
    folder = path if path.is_dir() else path.parent
    reason = " ".join(str(error).split())
    return (
        f"{path}: cannot be read: {type(error).__name__}: {reason}. "
        f"Remove {folder} and run `tnt-coffea {stage}` again"
    )
