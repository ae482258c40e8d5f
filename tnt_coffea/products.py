"""What the stages leave on disk, as objects: the skim, the taggers, the histograms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.errors import StageError, TaggerError
from tnt_coffea.events.skim import Sample
from tnt_coffea.filesets import Fileset
from tnt_coffea.taggers import TaggerSet

__all__ = ["Histograms", "Skim", "Taggers"]


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

    def sample(self, *, truth: bool = False) -> Sample:
        """Return the dijets in memory; labels only where `truth` asks for them."""
        return Sample.read(self.paths, truth=truth)

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
        parts = {
            dataset: tuple(folder / "parts" / name for name in names)
            for dataset, names in outputs["parts"].items()
        }
        gone = [path for paths in parts.values() for path in paths if not path.exists()]
        if gone:
            msg = f"{gone[0]}: a part of the skim is gone; remove {folder} and skim again"
            raise StageError(msg)
        accounting = Accounting.from_dict(outputs["accounting"])
        return cls(parts, outputs["content"], outputs["duplicates"], accounting)


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
            tagger_set.save(folder / name)
        text = json.dumps(self.histories, indent=1, sort_keys=True) + "\n"
        (folder / "histories.json").write_text(text)

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
        return cls(sets, json.loads(path.read_text()) if path.exists() else {})


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
    """

    hists: Mapping[str, Any]
    thresholds: Mapping[str, Mapping[float, Mapping[int, float]]]
    accounting: Accounting
    provenance: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Write the histograms through UHI (HDF5, no pickle) and the rest as JSON."""
        import h5py
        import uhi.io.hdf5

        partial = folder / "histograms.h5.partial"
        with h5py.File(partial, "w") as file:
            for name in sorted(self.hists):
                uhi.io.hdf5.write(file.create_group(name), self.hists[name])
        partial.replace(folder / "histograms.h5")
        content = {
            "thresholds": {
                name: [
                    [eff, {str(t): x for t, x in by_fold.items()}] for eff, by_fold in by.items()
                ]
                for name, by in self.thresholds.items()
            },
            "accounting": self.accounting.to_dict(),
            "provenance": dict(self.provenance),
        }
        (folder / "search.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Histograms:
        """Return the histograms in a stage's folder.

        Raises
        ------
        StageError
            They are missing or cannot be read.
        """
        import h5py
        import hist
        import uhi.io.hdf5

        folder = Path(folder)
        try:
            with h5py.File(folder / "histograms.h5", "r") as file:
                hists = {name: hist.Hist(uhi.io.hdf5.read(file[name])) for name in file}
            content = json.loads((folder / "search.json").read_text())
            thresholds = {
                name: {
                    float(eff): {int(t): float(x) for t, x in by_fold.items()}
                    for eff, by_fold in pairs
                }
                for name, pairs in content["thresholds"].items()
            }
            accounting = Accounting.from_dict(content["accounting"])
            return cls(hists, thresholds, accounting, content["provenance"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{folder}: no readable histograms: {error}; run `tnt-coffea search` again"
            raise StageError(msg) from error


def _outputs(folder: Path, stage: str) -> Any:
    try:
        return json.loads((folder / "manifest.json").read_text())["outputs"]
    except (OSError, ValueError, KeyError) as error:
        msg = f"{folder}: no complete stage '{stage}' here; run `tnt-coffea {stage}` first"
        raise StageError(msg) from error
