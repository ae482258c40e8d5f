"""The taggers: tagger sets on disk and how their training went."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tnt_coffea.displays import Displayed
from tnt_coffea.errors import TaggerError
from tnt_coffea.products.reading import DAMAGE
from tnt_coffea.stages import check_files
from tnt_coffea.storage import stored, written
from tnt_coffea.taggers import TaggerSet
from tnt_coffea.working_points import WorkingPoints

__all__ = ["Taggers"]

_WEIGHTS = "weights"
_Note = TypeVar("_Note")


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
    except DAMAGE as error:
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
