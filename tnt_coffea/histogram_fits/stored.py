"""Stored histograms: in a file, or in the folder of a search stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tnt_coffea import pipeline, stats
from tnt_coffea.errors import ConfigError
from tnt_coffea.products import Histograms
from tnt_coffea.stats.exchange.histogram_files import read_histogram

__all__ = ["Stored", "stored_histogram", "stored_spectra"]

_PLANE = ("fold", "m_jj", "q_heavy", "q_light")


@dataclass(frozen=True, eq=False)
class Stored:
    """A histogram, or those of a search.

    Attributes
    ----------
    histogram
        The histogram; of a search, that of the first tagger set named.
    thresholds
        Its X by efficiency and fold, where it is a search's.
    search
        The search it comes from.
    sets
        The tagger sets named: one, or those of a method with several windows.
    """

    histogram: Any
    thresholds: dict[float, dict[int, float]] | None = None
    search: Histograms | None = None
    sets: tuple[str, ...] = ()


def stored_histogram(path: str | Path, name: str | None = None) -> Stored:
    """Return a histogram from a file, or from the folder of a search stage.

    Parameters
    ----------
    path
        ROOT, JSON or HDF5 file; or a folder with histograms.h5 and search.json.
    name
        The histogram, or the tagger set, where there are several; a method stands for its
        sets of all windows.

    Raises
    ------
    InputError, StageError
        There is no such histogram.
    """
    path = Path(path)
    if not (path.is_dir() or path.name == "histograms.h5"):
        return Stored(read_histogram(path, name))
    found = Histograms.load(path if path.is_dir() else path.parent)
    names = sorted(found.hists)
    if name is None and len(names) == 1:
        name = names[0]
    named = pipeline.windows_by_method(found) | {own: (own,) for own in names}
    sets = () if name is None else named.get(name, ())
    if not sets:
        msg = f"{path}: name the tagger set, one of {', '.join(names)}"
        raise ConfigError(msg)
    by = {eff: dict(x) for eff, x in found.thresholds[sets[0]].items()}
    return Stored(found.hists[sets[0]], by, found, sets)


def stored_spectra(stored: Stored, efficiency: float) -> Any:
    """Return the spectrum in m_jj: one's own, or those of a search's selection by fold.

    Raises
    ------
    ConfigError
        The search has no selection of this efficiency.
    """
    names = [axis.name for axis in stored.histogram.axes]
    if not set(_PLANE) <= set(names):
        return stored.histogram
    if stored.thresholds is None or efficiency not in stored.thresholds:
        msg = (
            f"the search has no selection of {efficiency:g} (it has "
            f"{sorted(stored.thresholds or {})}): set fit.bump.efficiency to one of them, and give "
            "the folder of the search stage"
        )
        raise ConfigError(msg)
    return stats.selected_spectrum(stored.histogram, stored.thresholds[efficiency])
