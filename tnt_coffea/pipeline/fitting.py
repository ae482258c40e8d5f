"""The stage `fit`: from histograms to p-values."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError
from tnt_coffea.pipeline.folders import (
    begun,
)
from tnt_coffea.products import Histograms
from tnt_coffea.results import SearchResult
from tnt_coffea.stages import Stage

__all__ = ["fit"]


def fit(
    histograms: Histograms,
    config: SearchConfig,
    *,
    out: str | Path | None = None,
) -> SearchResult:
    """Return p-values: bump hunts before and after selection, and ABCD estimates.

    Parameters
    ----------
    histograms
        Of `search`.
    config
        `seed`, `search` and `fit` are read.
    out
        Folder of the search, for `fit/result.json`; nothing is written without it.

    Raises
    ------
    FitError
        A model cannot be built from these histograms.
    """
    from tnt_coffea import stats

    bump, chosen = config.fit.bump, config.search
    inputs = {"settings": config.fit.model_dump(mode="json"), **histograms.provenance}
    stage = Stage("fit", Path(out) / "fit", inputs) if out is not None else None
    if stage is not None:
        stage.clear()  # it takes seconds, and all it needs is in the search's folder
        begun(stage, config)
    fit_range = (chosen.fit_range.low, chosen.fit_range.high)

    def hunt(channels: Any, name: str) -> Any:
        return stats.bump_hunt(
            channels,
            mass=bump.mass,
            width=bump.width,
            fit_range=fit_range,
            bin_width=bump.bin_width,
            min_parameters=bump.min_parameters,
            max_parameters=bump.max_parameters,
            f_test=bump.f_test,
            toys=bump.toys,
            seed=seeds.integer(config.seed, "fit", "bump", name),
            family=bump.family,
            envelope=bump.envelope,
            shape=bump.shape,
            scale_uncertainty=bump.scale_uncertainty,
            width_uncertainty=bump.width_uncertainty,
            lower_edges=bump.lower_edges,
        )

    def scanned(channels: Any, name: str) -> Any:
        return stats.scan(
            {name: channels},
            masses=config.fit.scan.masses,
            width=bump.width,
            fit_range=fit_range,
            bin_width=bump.bin_width,
            family=bump.family,
            min_parameters=bump.min_parameters,
            max_parameters=bump.max_parameters,
            f_test=bump.f_test,
            shape=bump.shape,
            scale_uncertainty=bump.scale_uncertainty,
            width_uncertainty=bump.width_uncertainty,
            toys=config.fit.scan.toys,
            seed=seeds.integer(config.seed, "fit", "scan", name),
        )

    hists = histograms.hists
    if not hists:
        msg = "no histogram to fit: the search was made without tagger sets"
        raise ConfigError(msg)
    x = histograms.thresholds
    abcd = config.fit.abcd
    inclusive = stats.inclusive_spectrum(next(iter(hists.values())))
    selected = {
        name: stats.selected_spectrum(h, x[name][bump.efficiency]) for name, h in hists.items()
    }
    result = SearchResult(
        before=hunt(inclusive, "before"),
        after={name: hunt(spectra, name) for name, spectra in selected.items()},
        scans={
            name: scanned(spectra, name)
            for name, spectra in (
                {"before": inclusive, **selected} if config.fit.scan.masses else {}
            ).items()
        },
        abcd={
            name: stats.abcd_in_window(
                h,
                x[name][abcd.efficiency],
                chosen.background_quantile,
                fit_range,
                (chosen.window.low, chosen.window.high),
                systematic_floor=abcd.systematic,
                closure_limit=abcd.closure_limit,
                seed=seeds.integer(config.seed, "fit", "abcd", name),
            )
            for name, h in hists.items()
        },
        provenance={
            **histograms.provenance,
            "fit_settings": config.fit.digest(),
            "seed": config.seed,
            "versions": {
                name: version(name) for name in ("tnt-coffea", "coffea", "fastjet", "pyhf", "numpy")
            },
        },
    )
    if stage is not None:
        result.save(stage.folder / "result.json")
        stage.finish({})
    return result
