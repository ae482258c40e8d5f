"""A scan over masses in one selection of a search, or in several that share events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.products import Histograms

if TYPE_CHECKING:
    from tnt_coffea.stats import ScanResult, SpectrumFit

__all__ = ["scan", "spectrum_fit", "windows_by_method"]


def scan(
    histograms: Histograms,
    config: SearchConfig,
    selections: Mapping[str, tuple[str, float]],
    *,
    masses: Sequence[float] = (),
    toys: int | None = None,
    seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Return local p-values over masses in all selections, and one global p-value.

    A set that was trained for a window is searched for the masses in it. The toys keep
    which events the selections share, as the search pass counted them.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search.fit_range` and `fit` are read.
    selections
        Tagger set and efficiency, by the selection's name.
    masses, toys, seed
        Instead of those of the settings.
    progress
        Called with the toys that are done, and all of them.

    Raises
    ------
    ConfigError
        There are no masses.
    StageError
        Several selections, and the search has not kept what they share.
    FitError
        A selection cannot be fitted.
    TaggerError
        The search lacks a selection.
    """
    from tnt_coffea import stats
    from tnt_coffea.stats.fitting.spectra import rebinned

    masses = masses or config.fit.scan.masses
    if not masses:
        msg = "a scan needs masses: give --masses LOW HIGH STEP, or fit.scan.masses"
        raise ConfigError(msg)
    fit = spectrum_fit(config)
    spectra = {
        name: stats.selected_spectrum(
            histograms.hists[set_name], _thresholds(histograms, set_name, efficiency)
        )
        for name, (set_name, efficiency) in selections.items()
    }
    windows, overlap = {}, None
    if histograms.coincidences is not None:
        chosen = histograms.coincidences.selections([own for own, _ in selections.values()])
        windows = {
            name: own.window for name, own in zip(selections, chosen, strict=True) if own.window
        }
        channels = next(iter(spectra.values()))
        edges = rebinned("scan", next(iter(channels.values())), fit).edges
        overlap = histograms.coincidences.shared_events(selections, edges)
    elif len(selections) > 1:
        msg = (
            "this search was made before the events that selections share were kept: search "
            "again (--overwrite), or scan one tagger set"
        )
        raise StageError(msg)
    return stats.scan(
        spectra,
        masses=masses,
        width=config.fit.bump.width,
        fit=fit,
        windows=windows if len(selections) > 1 else None,
        overlap=overlap if len(selections) > 1 else None,
        toys=config.fit.scan.toys if toys is None else toys,
        seed=config.seed if seed is None else seed,
        progress=progress,
    )


def spectrum_fit(config: SearchConfig) -> SpectrumFit:
    """Return how all spectra of a search are fitted: `search.fit_range` and `fit.bump`."""
    from tnt_coffea.stats import SpectrumFit

    bump = config.fit.bump
    return SpectrumFit(
        config.search.fit_range.edges,
        bin_width=bump.bin_width,
        family=bump.family,
        min_parameters=bump.min_parameters,
        max_parameters=bump.max_parameters,
        f_test=bump.f_test,
        shape=bump.shape,
        scale_uncertainty=bump.scale_uncertainty,
        width_uncertainty=bump.width_uncertainty,
    )


def windows_by_method(histograms: Histograms) -> dict[str, tuple[str, ...]]:
    """Return the tagger sets that are one method in several windows, by its name.

    A set that stands alone has its own name.
    """
    sets: dict[str, list[str]] = {}
    for name in sorted(histograms.hists):
        found = re.fullmatch(r"(.+)-[0-9.]+-[0-9.]+", name)
        sets.setdefault(found[1] if found else name, []).append(name)
    return {
        (method if len(names) > 1 else names[0]): tuple(names) for method, names in sets.items()
    }


def _thresholds(histograms: Histograms, name: str, efficiency: float) -> Mapping[int, float]:
    by_efficiency = histograms.thresholds[name]
    if efficiency not in by_efficiency:
        msg = (
            f"the search has no selection of {efficiency:g} (it has {sorted(by_efficiency)}): set "
            "fit.bump.efficiency to one of them, and give the folder of the search stage"
        )
        raise ConfigError(msg)
    return by_efficiency[efficiency]
