"""Backgrounds of a selection that no function is fitted to: direct ones, and transfer factors."""

from __future__ import annotations

from typing import Any

from tnt_coffea import seeds, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import FitError
from tnt_coffea.pipeline.fit_settings import (
    limit_systematics,
    refuse_blinded,
    search_fit,
    spectrum_fit,
    transfer_settings,
    with_limit_refused,
)
from tnt_coffea.products import Histograms

__all__ = ["direct", "transfer"]


def direct(
    histograms: Histograms, config: SearchConfig, name: str
) -> stats.DirectEstimate | stats.DirectRefusal:
    """Return the direct estimate of the background of a tagger set with weights or a template.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `fit.direct` and `fit.limit` are read; for a template `seed`, `search.fit_range` and
        `fit.bump` as well, for the fit beside the window.
    name
        The tagger set.

    Raises
    ------
    FitError
        A histogram lacks an edge; the search has no weighted simulation for the set, and no
        template; or no fit beside the window is possible.
    ConfigError
        `fit.blind` is set, or the search has no such selection.
    """
    refuse_blinded(config, "a direct estimate")
    if name not in histograms.simulation:
        msg = (
            f"tagger set '{name}' has no weighted simulation in this search: search data and "
            "simulation with a method that has weights, such as salad, or train against a "
            "template, such as template_classifier or tag_n_train with template"
        )
        raise FitError(msg)
    settings, limit = config.fit.direct, config.fit.limit
    predicted, histogram = histograms.simulation[name], histograms.hists[name]
    point = histograms.points[name][config.fit.direct_selection]
    systematics, refused = limit_systematics(
        histograms, config, name, config.fit.direct_selection, predicted.window
    )
    options: dict[str, Any] = {
        "systematic": settings.systematic,
        "closure_limit": settings.closure_limit,
        "level": None if systematics is None else limit.level,
        "systematics": systematics,
    }
    if not predicted.template:
        return with_limit_refused(
            stats.direct_in_window(histogram, predicted, point, **options), refused
        )
    beside = stats.masked_window_test(
        stats.inclusive_spectrum(histogram),
        window=predicted.window,
        fit=spectrum_fit(config, with_signal=False),
        seed=seeds.integer(config.seed, "fit", "direct", name),
    )
    found = stats.template_in_window(
        histogram, predicted, point, beside, corrected=settings.corrected, **options
    )
    return with_limit_refused(found, refused)


def transfer(
    histograms: Histograms, config: SearchConfig, name: str
) -> stats.TransferEstimate | stats.TransferRefusal:
    """Return the transfer factor of a tagger set's selection.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search.fit_range`, `fit.bump`, `fit.transfer` and `fit.limit` are read.
    name
        The tagger set.

    Raises
    ------
    FitError
        The histogram lacks an edge, or the signal has no sidebands.
    ConfigError
        `fit.blind` is set, or the search has no such selection.
    """
    refuse_blinded(config, "a transfer factor")
    return stats.transfer_in_search(
        histograms.hists[name],
        histograms.points[name][config.fit.transfer_selection],
        **transfer_settings(
            config, search_fit(histograms, config, name, config.fit.transfer_selection)
        ),
        seed=seeds.integer(config.seed, "fit", "transfer", name),
    )
