"""What the settings say of the fits of a search, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig, TriggerSettings
from tnt_coffea.config.parameter_names import STATISTICS, TAGGER
from tnt_coffea.errors import ConfigError, FitError, InputError
from tnt_coffea.products import Histograms
from tnt_coffea.stats.lower_edge import chosen_lower_edge
from tnt_coffea.working_points import Selection

__all__ = [
    "check_efficiencies",
    "check_fit",
    "check_made_with",
    "check_masses",
    "count_systematics",
    "fit_from_lower_edge",
    "limit_systematics",
    "norm_systematics",
    "produced_share",
    "refuse_blinded",
    "search_fit",
    "signal_templates",
    "spectrum_fit",
    "transfer_settings",
    "with_limit_refused",
]

T = TypeVar("T")

_NO_FILE = "fit.signal.file is for a histogram of one's own: a search has fit.signal.names"


_SAME_MASS = 1e-6
"""Masses that differ by less are the same [GeV]."""


def spectrum_fit(
    config: SearchConfig,
    *,
    selected: bool = True,
    templates: stats.MassTemplates | None = None,
    with_signal: bool = True,
) -> stats.SpectrumFit:
    """Return how all spectra are fitted: `search.fit_range`, `fit` and `data.sqrt_s`.

    Parameters
    ----------
    config
        The settings.
    selected
        Whether taggers selected the events, so that their efficiency is uncertain.
    templates
        The signal, instead of that of `fit.signal.file`.
    with_signal
        Whether there is a signal: a fit beside a window needs none.

    Raises
    ------
    ConfigError
        The signal is that of a search, and none is given.
    InputError
        The file of templates cannot be read.
    """
    bump, signal = config.fit.bump, config.fit.signal
    if signal is not None and templates is None and with_signal:
        if signal.file is None:
            msg = (
                "fit.signal.names are signals that a search read, which this fit has not: leave "
                "fit.signal out, or give fit.signal.file"
            )
            raise ConfigError(msg)
        try:
            templates = stats.MassTemplates.load(signal.file)
        except InputError as error:
            msg = f"fit.signal.file: {error}"
            raise InputError(msg) from error
        if selected:
            templates = templates.scaled(config.fit.tagger_efficiency.scale_factor)
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
        systematics=norm_systematics(config, selected=selected) or None,
        templates=templates,
    )


def check_fit(config: SearchConfig, signals: Mapping[str, float] | None = None) -> None:
    """Refuse, before there are histograms, settings that no fit could use.

    Files that `fit` names are read, the trigger's and the signal's.

    Parameters
    ----------
    config
        `fit`, `data` and `search` are read.
    signals
        Masses of the signals that a search reads [GeV], by name; None where there is no search.

    Raises
    ------
    ConfigError
        `fit.signal` is none of these signals, or a file where a search is fitted; or a mass that
        is tested lies outside those of its signals.
    FitError, InputError
        A file cannot be read or used.

    Examples
    --------
    >>> text = "{data: {luminosity: 138}, fit: {signal: {names: [m3500]}}}"
    >>> config = SearchConfig.from_text(text)
    >>> check_fit(config)
    >>> check_fit(config, {"m4000": 4000.0})
    Traceback (most recent call last):
    ...
    tnt_coffea.errors.ConfigError: fit.signal.names has m3500, and the files have m4000
    """
    signal = config.fit.signal
    spectrum_fit(config, with_signal=signal is not None and signal.file is not None)
    if signal is None or signals is None:
        return
    if signal.file is not None:
        raise ConfigError(_NO_FILE)
    known = sorted(set(signals))
    if unknown := [name for name in signal.names if name not in known]:
        msg = (
            f"fit.signal.names has {', '.join(unknown)}, and the files have "
            f"{', '.join(known) or 'no signal (--signal NAME=PATH)'}"
        )
        raise ConfigError(msg)
    _check_reach(config, signals, (config.signal_mass, *config.fit.scan.masses))


def check_masses(
    histograms: Histograms, config: SearchConfig, masses: Iterable[float] = ()
) -> None:
    """Refuse masses that are outside those of the signals of `fit.signal.names`.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `fit` is read.
    masses
        What is tested [GeV]; by default the mass of `fit.bump` and those of `fit.scan`.

    Raises
    ------
    ConfigError
        There is such a mass.
    """
    for read in histograms.signals.values():
        _check_reach(
            config, read.masses, tuple(masses) or (config.signal_mass, *config.fit.scan.masses)
        )


def _check_reach(
    config: SearchConfig, signals: Mapping[str, float], tested: Iterable[float]
) -> None:
    settings = config.fit.signal
    if settings is None or not set(settings.names) <= set(signals) or not settings.names:
        return
    known = [signals[name] for name in settings.names]
    low, high = min(known) - _SAME_MASS, max(known) + _SAME_MASS
    if outside := [f"{mass:g}" for mass in dict.fromkeys(tested) if not low < mass < high]:
        reach = f"{known[0]:g}" if min(known) == max(known) else f"{min(known):g}-{max(known):g}"
        msg = (
            f"no signal template at {', '.join(outside)} GeV: the signals of fit.signal.names are "
            f"at {reach} GeV, and between these alone templates are morphed (fit.bump.mass, "
            "fit.scan.masses)"
        )
        raise ConfigError(msg)


def produced_share(
    config: SearchConfig, efficiency: float | None, *, selected: bool = True
) -> float | None:
    """Return the share of the produced signal that is selected in data.

    Parameters
    ----------
    config
        `fit.tagger_efficiency` is read.
    efficiency
        Of simulation; None where it is not known.
    selected
        Whether taggers selected the events: then it is multiplied by their scale factor.

    Raises
    ------
    ConfigError
        More than all of the signal would be selected.

    Examples
    --------
    >>> text = "fit: {tagger_efficiency: {scale_factor: 0.9}}"
    >>> round(produced_share(SearchConfig.from_text(text), 0.2), 2)
    0.18
    """
    factor = config.fit.tagger_efficiency.scale_factor
    if efficiency is None or not selected:
        return efficiency
    if efficiency <= 1 < efficiency * factor:
        msg = (
            f"an efficiency of {efficiency:g} times fit.tagger_efficiency.scale_factor, "
            f"{factor:g}, is more than all of the signal"
        )
        raise ConfigError(msg)
    return efficiency * factor


def limit_systematics(
    histograms: Histograms,
    config: SearchConfig,
    name: str,
    selection: Selection,
    window: tuple[float, float],
) -> tuple[dict[str, float | tuple[float, float]] | None, stats.LimitRefusal | None]:
    """Return `count_systematics` where there is a limit, or why there is none.

    The p-value of counts stands without them.
    """
    if not config.fit.limit.enabled:
        return None, None
    try:
        return count_systematics(histograms, config, name, selection, window), None
    except FitError as error:
        return None, stats.LimitRefusal(str(error))


def with_limit_refused(found: T, refused: stats.LimitRefusal | None) -> T:
    """Return counts that say why they have no limit; as they are where nothing was refused."""
    if refused is None or not isinstance(found, stats.AbcdResult | stats.DirectEstimate):
        return found
    return replace(found, limit=refused)


def norm_systematics(
    config: SearchConfig, *, selected: bool = True
) -> dict[str, float | tuple[float, float]]:
    """Return the uncertainties of the signal's norm by name, as `SpectrumFit.systematics`.

    Parameters
    ----------
    config
        `fit.systematics` and `fit.tagger_efficiency` are read.
    selected
        Whether taggers selected the events.
    """
    found = dict(config.fit.systematics)
    uncertainty = config.fit.tagger_efficiency.uncertainty
    if selected and uncertainty:
        found[TAGGER] = uncertainty
    return found


def count_systematics(
    histograms: Histograms,
    config: SearchConfig,
    name: str,
    selection: Selection,
    window: tuple[float, float],
) -> dict[str, float | tuple[float, float]]:
    """Return the uncertainties of a signal's events in a window, its template's variations too.

    They are those of a limit: without one nothing of the signal is read.

    Parameters
    ----------
    histograms, config, name, selection
        As for `search_fit`.
    window
        Range in mass, edges of the templates [GeV].

    Raises
    ------
    ConfigError, FitError
        As `signal_templates`; or the window lies on no edges.
    """
    found = norm_systematics(config)
    templates = signal_templates(histograms, config, name, selection)
    if templates is None:
        return found
    both = stats.summed(list(templates.at(config.signal_mass).values())).rebinned(np.array(window))
    if both.effective_events < np.inf:
        found[STATISTICS] = 1 / float(np.sqrt(both.effective_events))
    return found | {own: (down - 1, up - 1) for own, (up, down) in both.norms.items()}


def search_fit(
    histograms: Histograms, config: SearchConfig, name: str, selection: Selection | None
) -> stats.SpectrumFit:
    """Return how a spectrum of a search is fitted, with the signal that the search read.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        The settings.
    name
        The tagger set.
    selection
        What it selects; None: all dijets.

    Raises
    ------
    ConfigError, FitError
        As `signal_templates`.
    """
    templates = signal_templates(histograms, config, name, selection)
    return spectrum_fit(config, selected=selection is not None, templates=templates)


def signal_templates(
    histograms: Histograms, config: SearchConfig, name: str, selection: Selection | None
) -> stats.MassTemplates | None:
    """Return the signals of `fit.signal.names` in a tagger set's selection, by mass and channel.

    Unit strength is `fit.signal.cross_section` times `data.luminosity`, times the scale factor of
    the taggers where they select.

    Parameters
    ----------
    histograms, config, name, selection
        As for `search_fit`.

    Returns
    -------
    The templates; None without `fit.signal`.

    Raises
    ------
    ConfigError
        The search read no such signal or two of one mass, the luminosity is not known, or a file
        is given.
    FitError
        A template holds no events.
    """
    settings = config.fit.signal
    if settings is None:
        return None
    if settings.file is not None:
        raise ConfigError(_NO_FILE)
    if config.data.luminosity is None:
        msg = "signal templates are scaled to data.luminosity [1/fb], which is not given"
        raise ConfigError(msg)
    read = histograms.signals.get(name)
    known = {} if read is None else dict(read.masses)
    unknown = [own for own in settings.names if own not in known]
    if read is None or unknown:
        msg = (
            f"fit.signal.names has {', '.join(unknown)}, and the search read "
            f"{', '.join(known) or 'no signal'} for '{name}'"
        )
        raise ConfigError(msg)
    point = None if selection is None else histograms.points[name][selection]
    events = settings.cross_section * config.data.luminosity
    if selection is not None:
        events *= config.fit.tagger_efficiency.scale_factor
    found = {}
    for own in settings.names:
        if known[own] in found:
            msg = (
                f"fit.signal.names has several signals of {known[own]:g} GeV, {own} among them: "
                "a signal template is of one signal a mass, leave the others out"
            )
            raise ConfigError(msg)
        folds = read.templates(own, point)
        found[known[own]] = (
            {"all": stats.summed(list(folds.values()))}
            if selection is None
            else {f"fold-{fold}": template for fold, template in folds.items()}
        )
    return stats.MassTemplates(found, settings.cross_section).scaled(events)


def fit_from_lower_edge(
    spectra: Mapping[str, Any],
    config: SearchConfig,
    *,
    seed: int,
    fit: stats.SpectrumFit | None = None,
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
    fit
        Instead of `spectrum_fit`.

    Raises
    ------
    FitError
        The background fits from no lower edge.
    """
    fit, edges = fit or spectrum_fit(config), config.fit.bump.lower_edges
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


def transfer_settings(config: SearchConfig, fit: stats.SpectrumFit | None = None) -> dict[str, Any]:
    """Return the arguments of a transfer factor that are settings.

    Parameters
    ----------
    config
        The settings.
    fit
        Instead of `spectrum_fit`.
    """
    limit = config.fit.limit
    own = config.fit.transfer.model_dump(exclude={"enabled", "efficiency", "cut"})
    return own | {
        "mass": config.signal_mass,
        "width": config.fit.bump.width,
        "fit": fit or spectrum_fit(config),
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
