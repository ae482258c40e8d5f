"""The stages `fit` and `report` of a search that is blinded: nothing of the window is shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tnt_coffea import seeds, stats
from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.evaluation import noted_facts
from tnt_coffea.pipeline.fit_settings import (
    check_efficiencies,
    check_made_with,
    check_masses,
    produced_share,
    search_fit,
)
from tnt_coffea.pipeline.folders import CODE, OUT, VERSIONS, begun, fit_stage, one_writer
from tnt_coffea.pipeline.global_p_values import trial
from tnt_coffea.pipeline.null_chains import BEFORE, fit_values
from tnt_coffea.products import Histograms
from tnt_coffea.results import BlindedSearch
from tnt_coffea.search_folder import note_config, note_trial
from tnt_coffea.stages import Stage, check_files
from tnt_coffea.stats.blinding import HIDDEN_WIDTHS
from tnt_coffea.working_points import Selection

__all__ = ["blind_fit", "blind_report", "hidden_window", "standing_blind_fit"]


def hidden_window(
    config: SearchConfig, *, masses: Sequence[float] = (), of_search: bool = True
) -> tuple[float, float]:
    """Return the range in mass that a blinded fit hides [GeV].

    Parameters
    ----------
    config
        `fit.blind_window`; where it is not set, `search.window` and the width of the signal.
    masses
        Masses that are tested [GeV]; by default that of the settings.
    of_search
        Whether the histogram is a search's, so that it has a window.
    """
    window = config.fit.blind_window
    if window is not None:
        return window.edges
    reach = HIDDEN_WIDTHS * config.fit.bump.width
    tested = list(masses) or [config.signal_mass]
    low, high = min(tested) - reach, max(tested) + reach
    if not of_search:
        return low, high
    search = config.search.window
    return min(low, search.low), max(high, search.high)


@one_writer
def blind_fit(
    histograms: Histograms, config: SearchConfig, *, out: str | Path | None = None
) -> BlindedSearch:
    """Return what a search expects, from the sidebands of its spectra.

    ABCD and direct estimates are left out: they count events in the window.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search` and `fit` are read.
    out
        Folder of the search, for `fit/result.json` and the list of tests made, `fits.json`;
        nothing is written without it. An earlier fit goes with its report.

    Raises
    ------
    FitError
        A model cannot be built from the sidebands of these histograms.
    ConfigError
        `fit.blind` is not set; these are no histograms of a search, or of one with another seed
        or `search`.
    """
    check_types(histograms=(histograms, Histograms), config=(config, SearchConfig))
    check_made_with(histograms, config)
    if not config.fit.blind:
        msg = "fit.blind is not set: set it, so that no later command looks at all events"
        raise ConfigError(msg)
    if out is None:
        return _fitted(histograms, config)
    stage = fit_stage(histograms, config, out)
    result = _standing(stage)
    if result is None:
        started = time.monotonic()
        result = _fitted(histograms, config)
        stage.clear()
        begun(stage, None)
        result.save(stage.folder / "result.json")
        stage.finish({}, seconds=time.monotonic() - started)
        note_config(out, config)
    note_trial(out, trial(histograms, config, "fit", {}))
    return result


def standing_blind_fit(
    histograms: Histograms, config: SearchConfig, out: str | Path
) -> BlindedSearch:
    """Return the result of `blind_fit` in a search's folder. Nothing is written.

    Raises
    ------
    StageError
        There is none of these histograms and settings, or it was changed.
    ConfigError
        The histograms are of a search with another seed or `search`.
    """
    check_made_with(histograms, config)
    stage = fit_stage(histograms, config, out)
    if stage.finished() is None:
        msg = f"{stage.folder}: no result of these settings here; run `tnt-coffea fit` first"
        raise StageError(msg)
    return BlindedSearch.load(stage.folder / "result.json")


@one_writer
def blind_report(
    result: BlindedSearch,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Path:
    """Write the report of a blinded fit into its search's folder, unless it stands there.

    It shows the result and the settings, and neither events nor counts of other stages.

    Parameters
    ----------
    result, config
        The expectations, and the settings they were made with.
    out
        Folder of the search; the report goes to `report/report.html`.
    resources
        Whether it is announced.

    Returns
    -------
    The HTML file.
    """
    from tnt_coffea import reporting

    inputs = {
        "settings": config.model_dump(mode="json"),
        "result": digest(result.to_dict()),
        "versions": {name: version(name) for name in (*VERSIONS, "matplotlib", "mplhep")},
        "code": CODE,
    }
    stage = Stage("report", Path(out) / "report", inputs)
    path = stage.folder / "report.html"
    if stage.matches() and stage.finished() is not None and path.exists():
        return path
    stage.clear()
    begun(stage, config)
    with (resources or Resources()).announced("Drawing the report"):
        generated = bool(noted_facts(out).get("generated"))
        reporting.write_blinded_report(path, result, config, generated=generated)
    stage.finish({})
    return path


def _standing(stage: Stage) -> BlindedSearch | None:
    """Return the result of this very stage, if it stands complete and unchanged."""
    try:
        if stage.finished() is None:
            return None
        check_files(stage.folder)
        return BlindedSearch.load(stage.folder / "result.json")
    except StageError:  # of other settings, or damaged: it takes seconds to make
        return None


def _fitted(histograms: Histograms, config: SearchConfig) -> BlindedSearch:
    if not histograms.hists:
        msg = "no histogram to fit: the search was made without tagger sets"
        raise ConfigError(msg)
    settings, points = config.fit, histograms.points
    tested = {BEFORE: stats.inclusive_spectrum(next(iter(histograms.hists.values())))}
    tested |= {
        name: stats.selected_spectrum(h, points[name][settings.bump.selection])
        for name, h in histograms.hists.items()
    }
    check_efficiencies(settings.limit.efficiencies, tested)
    check_masses(histograms, config)
    of: dict[str, tuple[str, Selection | None]] = {
        name: (name, settings.bump.selection) for name in histograms.hists
    }
    of[BEFORE] = (next(iter(histograms.hists)), None)
    window = hidden_window(config)
    fits: dict[str, stats.Expectation] = {}
    scans: dict[str, stats.ExpectationScan] = {}
    for name, channels in tested.items():
        common = expectation_settings(config, name) | {"window": window}
        fit = search_fit(histograms, config, *of[name])
        fits[name] = stats.expectation(
            channels,
            mass=config.signal_mass,
            fit=fit,
            lower_edges=settings.bump.lower_edges,
            lowest_edge=settings.bump.lowest_edge,
            toys=settings.limit.toys,
            seed=seeds.integer(config.seed, "fit", "expected", name),
            **common,
        )
        if settings.scan.masses:
            scans[name] = stats.expectation_scan(
                channels,
                masses=settings.scan.masses,
                fit=replace(fit, range=fits[name].fit_range),
                seed=seeds.integer(config.seed, "fit", "expected", name),
                **common,
            )
    return BlindedSearch(
        window=window,
        fits=fits,
        scans=scans,
        provenance={
            **histograms.provenance,
            "fit_settings": digest(fit_values(config)),
            "seed": config.seed,
            "versions": {name: version(name) for name in VERSIONS},
        },
        notes=tuple(
            f"{test} would show the events in the window, which fit.blind hides, and are left "
            "out: set it to false (--no-blind) once the search is fixed"
            for test, wanted in {
                "counts in windows (fit.window)": settings.window.enabled,
                "transfer factors (fit.transfer)": settings.transfer.enabled,
            }.items()
            if wanted
        ),
    )


def expectation_settings(config: SearchConfig, name: str) -> dict[str, Any]:
    """Return the arguments of expectations that are settings, of one spectrum of a search."""
    limit = config.fit.limit
    efficiency = produced_share(config, limit.efficiencies.get(name), selected=name != BEFORE)
    return {
        "width": config.fit.bump.width,
        "signals": config.fit.expected_signals,
        "limit": limit.enabled,
        "level": limit.level,
        "efficiency": efficiency,
        "luminosity": None if efficiency is None else config.data.luminosity,
    }
