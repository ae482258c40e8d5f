"""The stage `fit`: from histograms to p-values and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea import seeds
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.pipeline.folders import begun
from tnt_coffea.pipeline.scans import scan, spectrum_fit, windows_by_method
from tnt_coffea.products import Histograms
from tnt_coffea.results import SearchResult
from tnt_coffea.stages import Stage

if TYPE_CHECKING:
    from tnt_coffea import stats

__all__ = ["fit"]

# What results call the spectrum of all dijets.
_BEFORE = "before"


def fit(
    histograms: Histograms,
    config: SearchConfig,
    *,
    out: str | Path | None = None,
) -> SearchResult:
    """Return p-values and limits: before and after selection, and ABCD estimates.

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

    inputs = {"settings": config.fit.model_dump(mode="json"), **histograms.provenance}
    stage = Stage("fit", Path(out) / "fit", inputs) if out is not None else None
    if stage is not None:
        stage.clear()  # it takes seconds, and all it needs is in the search's folder
        begun(stage, config)
    hists = histograms.hists
    if not hists:
        msg = "no histogram to fit: the search was made without tagger sets"
        raise ConfigError(msg)
    x = histograms.thresholds
    selected = {
        name: stats.selected_spectrum(h, x[name][config.fit.bump.efficiency])
        for name, h in hists.items()
    }
    tested = {_BEFORE: stats.inclusive_spectrum(next(iter(hists.values()))), **selected}
    _check_names(config.fit.limit.efficiencies, tested)
    fits = _Fits(config)
    hunts = {name: fits.hunt(spectra, name) for name, spectra in tested.items()}
    scans: dict[str, stats.ScanResult] = {}
    if config.fit.scan.masses:
        scans = {name: fits.scan(spectra, name) for name, spectra in tested.items()}
    limits: dict[str, stats.LimitResult | stats.LimitRefusal] = {}
    if config.fit.limit.enabled:
        limits = {name: fits.limit(tested[name], name, hunt) for name, hunt in hunts.items()}
    impacts = {
        name: fits.impacts(tested[name], hunt) for name, hunt in hunts.items() if hunt.nuisances
    }
    result = SearchResult(
        before=hunts.pop(_BEFORE),
        after=hunts,
        scans={**scans, **(_window_scans(histograms, config) if scans else {})},
        limits=limits,
        limit_bands={name: fits.band(tested[name], name, scans[name]) for name in scans}
        if limits
        else {},
        impacts=impacts,
        abcd={name: fits.abcd(h, x[name], name) for name, h in hists.items()},
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


@dataclass(frozen=True)
class _Fits:
    """The tests of one spectrum, or of one plane, with the settings of a search."""

    config: SearchConfig

    def hunt(self, channels: Any, name: str) -> stats.BumpHuntResult:
        from tnt_coffea import stats

        bump = self.config.fit.bump
        return stats.bump_hunt(
            channels,
            mass=bump.mass,
            width=bump.width,
            fit=spectrum_fit(self.config),
            toys=bump.toys,
            seed=seeds.integer(self.config.seed, "fit", "bump", name),
            envelope=bump.envelope,
            lower_edges=bump.lower_edges,
        )

    def scan(self, channels: Any, name: str) -> stats.ScanResult:
        from tnt_coffea import stats

        return stats.scan(
            {name: channels},
            masses=self.config.fit.scan.masses,
            width=self.config.fit.bump.width,
            fit=spectrum_fit(self.config),
            toys=self.config.fit.scan.toys,
            seed=seeds.integer(self.config.seed, "fit", "scan", name),
        )

    def impacts(
        self, channels: Any, hunt: stats.BumpHuntResult
    ) -> tuple[stats.NuisanceImpact, ...] | stats.ImpactRefusal:
        from tnt_coffea import stats

        try:
            return stats.nuisance_impacts(
                channels,
                mass=hunt.mass,
                width=hunt.width,
                fit=self._from_edge_of(hunt).with_family(hunt.family),
            )
        except FitError as error:
            return stats.ImpactRefusal(str(error))

    def limit(
        self, channels: Any, name: str, hunt: stats.BumpHuntResult
    ) -> stats.LimitResult | stats.LimitRefusal:
        from tnt_coffea import stats

        try:
            return stats.upper_limit(
                channels,
                mass=hunt.mass,
                fit=self._from_edge_of(hunt),
                toys=self.config.fit.limit.toys,
                seed=seeds.integer(self.config.seed, "fit", "limit", name),
                **self._limited(name),
            )
        except FitError as error:
            # The p-values stand without it.
            return stats.LimitRefusal(str(error))

    def band(
        self, channels: Any, name: str, scan: stats.ScanResult
    ) -> tuple[stats.LimitResult, ...]:
        from tnt_coffea import stats

        masses = [point.mass for point in scan.points]
        fit = spectrum_fit(self.config)
        return stats.limit_band(channels, masses=masses, fit=fit, **self._limited(name))

    def _from_edge_of(self, hunt: stats.BumpHuntResult) -> stats.SpectrumFit:
        """Return the fit from the lower edge of a hunt, which may have chosen its own."""
        return replace(spectrum_fit(self.config), range=hunt.fit_range)

    def _limited(self, name: str) -> dict[str, Any]:
        limit = self.config.fit.limit
        efficiency = limit.efficiencies.get(name)
        luminosity = None if efficiency is None else limit.luminosity
        return {
            "width": self.config.fit.bump.width,
            "level": limit.level,
            "efficiency": efficiency,
            "luminosity": luminosity,
        }

    def abcd(
        self, histogram: Any, thresholds: Mapping[float, Mapping[int, float]], name: str
    ) -> stats.AbcdResult | stats.AbcdRefusal:
        from tnt_coffea import stats

        abcd, search = self.config.fit.abcd, self.config.search
        return stats.abcd_in_window(
            histogram,
            thresholds[abcd.efficiency],
            search.background_quantile,
            search.fit_range.edges,
            search.window.edges,
            systematic_floor=abcd.systematic,
            closure_limit=abcd.closure_limit,
            seed=seeds.integer(self.config.seed, "fit", "abcd", name),
        )


def _window_scans(histograms: Histograms, config: SearchConfig) -> dict[str, stats.ScanResult]:
    """Return one scan of all windows of each method that has several."""
    efficiency = config.fit.bump.efficiency
    return {
        method: scan(
            histograms,
            config,
            {name: (name, efficiency) for name in names},
            seed=seeds.integer(config.seed, "fit", "scan", method),
        )
        for method, names in windows_by_method(histograms).items()
        if len(names) > 1
    }


def _check_names(efficiencies: Mapping[str, float], tested: Mapping[str, Any]) -> None:
    unknown = sorted(set(efficiencies) - set(tested))
    if unknown:
        msg = f"fit.limit.efficiencies names {', '.join(unknown)}: known are {', '.join(tested)}"
        raise ConfigError(msg)
