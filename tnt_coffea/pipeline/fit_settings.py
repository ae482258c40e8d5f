"""What the settings say of the fits of a search, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig, TriggerSettings
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.products import Histograms
from tnt_coffea.stats.lower_edge import chosen_lower_edge

__all__ = [
    "check_efficiencies",
    "check_made_with",
    "fit_from_lower_edge",
    "refuse_blinded",
    "spectrum_fit",
    "transfer_settings",
]

T = TypeVar("T")


def spectrum_fit(config: SearchConfig) -> stats.SpectrumFit:
    """Return how all spectra are fitted: `search.fit_range`, `fit.bump` and `data.sqrt_s`."""
    bump = config.fit.bump
    return stats.SpectrumFit(
        config.search.fit_range.edges,
        bin_width=None if bump.edges else bump.bin_width,
        edges=bump.edges or None,
        family=bump.family,
        min_parameters=bump.min_parameters,
        max_parameters=bump.max_parameters,
        f_test=bump.f_test,
        envelope=bump.envelope,
        shape=bump.shape,
        scale_uncertainty=bump.scale_uncertainty,
        width_uncertainty=bump.width_uncertainty,
        sqrt_s=config.data.energy,
        trigger=None if bump.trigger is None else _trigger(bump.trigger),
        spurious=bump.spurious,
    )


def fit_from_lower_edge(
    spectra: Mapping[str, Any], config: SearchConfig, *, seed: int
) -> stats.SpectrumFit:
    """Return `spectrum_fit` from the lower edge that suits all spectra.

    It is the highest of those that `fit.bump.lower_edges` leads to, outside the signal of
    `fit.bump`; the range of the settings where nothing is to be chosen.

    Parameters
    ----------
    spectra
        Histograms or channels, as for `bump_hunt`, by selection.
    config
        `search.fit_range` and `fit.bump` are read.
    seed
        Root seed of the toys for sparse bins.

    Raises
    ------
    FitError
        The background fits from no lower edge.
    """
    fit, edges = spectrum_fit(config), config.fit.bump.lower_edges
    lowest = config.fit.bump.lowest_edge
    if not edges:
        return fit
    signal = fit.signal(config.signal_mass, config.fit.bump.width)
    found = [
        chosen_lower_edge(channels, signal, edges, fit, lowest=lowest, seed=seed)[0]
        for channels in spectra.values()
    ]
    return max(found, key=lambda one: one.range[0])


def _trigger(settings: TriggerSettings) -> stats.TriggerEfficiency:
    if settings.turn_on is not None and settings.width is not None:
        return stats.TriggerEfficiency.of_function(
            settings.turn_on,
            settings.width,
            plateau=settings.plateau,
            shape=settings.shape,
            errors=(settings.turn_on_error, settings.width_error),
            correlation=settings.correlation,
        )
    path = str(settings.file)
    names = (settings.name,) if settings.passed is None else (settings.passed, settings.total)
    given = [stats.read_histogram(path, name) for name in names]
    try:
        if settings.as_measured:
            return stats.TriggerEfficiency.measured(*given)
        return stats.TriggerEfficiency.fitted(*given, shape=settings.shape)
    except FitError as error:
        msg = f"{path}: {error}"
        raise FitError(msg) from error


def transfer_settings(config: SearchConfig) -> dict[str, Any]:
    """Return the arguments of a transfer factor that are settings."""
    limit = config.fit.limit
    own = config.fit.transfer.model_dump(exclude={"enabled", "efficiency", "cut"})
    return own | {
        "mass": config.signal_mass,
        "width": config.fit.bump.width,
        "fit": spectrum_fit(config),
        "level": limit.level if limit.enabled else None,
        "limit_toys": limit.toys,
    }


def refuse_blinded(config: SearchConfig, what: str) -> None:
    """Refuse what would show the events in the window.

    Parameters
    ----------
    config
        `fit.blind` is read.
    what
        What was asked for.

    Raises
    ------
    ConfigError
        The fit is blinded.
    """
    if config.fit.blind:
        msg = (
            f"{what} would show the events in the window, which fit.blind hides: set it to false "
            "(--no-blind) once the search is fixed"
        )
        raise ConfigError(msg)


def check_made_with(histograms: Histograms, config: SearchConfig) -> None:
    """Refuse settings that decided what taggers, thresholds and counts are, and are others now.

    Raises
    ------
    ConfigError
        There are such settings.
    """
    made = _decisive(histograms.made_with)
    now = _decisive(config.model_dump(mode="json", include={"search", "seed"}))
    for name in sorted(made.keys() & now.keys()):
        if made[name] != now[name]:
            msg = (
                f"{name} is {json.dumps(now[name])}, and taggers, thresholds and histograms were "
                f"made with {json.dumps(made[name])}: train and search again (--overwrite), or "
                "into another --out"
            )
            raise ConfigError(msg)


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `seed` and each setting of `search` as a whole, for older searches lack some."""
    # Left out where there are none.
    found = {"mass_edges": [], **settings.get("search", {})}
    search = {f"search.{name}": value for name, value in found.items()}
    return search | {name: value for name, value in settings.items() if name == "seed"}


def check_efficiencies(efficiencies: Mapping[str, float], tested: Mapping[str, Any]) -> None:
    """Refuse `fit.limit.efficiencies` of what is not fitted.

    Raises
    ------
    ConfigError
        There is such a name.
    """
    unknown = sorted(set(efficiencies) - set(tested))
    if unknown:
        msg = f"fit.limit.efficiencies names {', '.join(unknown)}: known are {', '.join(tested)}"
        raise ConfigError(msg)
