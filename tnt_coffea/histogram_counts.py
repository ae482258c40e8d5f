"""Counts in one stored histogram, a search's or anyone's own: ABCD, direct, transfer, windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tnt_coffea import pipeline, stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.histogram_fits import StoredHistogram
from tnt_coffea.stats.abcd_limits import limit_or_reason
from tnt_coffea.stats.abcd_regions import plane_counts
from tnt_coffea.stats.results import Result

__all__ = ["AbcdStudy", "fit_abcd", "fit_direct", "fit_transfer", "fit_window"]


@dataclass(frozen=True)
class AbcdStudy(Result):
    """ABCD at one efficiency, and its closure at all.

    Attributes
    ----------
    result
        The estimate, or why there is none.
    closures
        Closure over efficiencies; None for a plane, and where the scores are of the whole event.
    """

    result: stats.AbcdResult | stats.AbcdRefusal
    closures: stats.ClosureScan | None

    def summary(self) -> str:
        """Return both as text."""
        parts = [self.result, *([] if self.closures is None else [self.closures])]
        return "\n".join(part.summary() for part in parts)


def fit_abcd(
    stored: StoredHistogram,
    config: SearchConfig,
    *,
    toys: int = 0,
    passing: float | None = None,
    low: float | None = None,
) -> AbcdStudy:
    """Return the ABCD estimate of a search with its closure, or of a plane of two scores.

    Parameters
    ----------
    stored
        A plane of two scores, or a search's histogram.
    config
        `seed`, `search`, `fit.abcd` and `fit.limit` are read.
    toys
        As for `stats.abcd`.
    passing, low
        On a plane: a jet passes above the first and is low below the second; edges of both axes.
        The closure is only its systematic there: no other events are known.

    Raises
    ------
    ConfigError
        A plane comes without its cuts, several tagger sets are named, or the search has no such
        selection.
    FitError
        The histogram is no plane, or holds no counts.
    """
    pipeline.refuse_blinded(config, "an ABCD estimate")
    histogram, settings = stored.single("abcd").histogram, config.fit.abcd
    level = config.fit.limit.level if config.fit.limit.enabled else None
    if len(histogram.axes) == 2:
        if passing is None or low is None or not low <= passing:
            msg = (
                "a plane of two scores needs --passing X (a jet passes above it) and --low Y (it "
                "is low below it), with Y not above X"
            )
            raise ConfigError(msg)
        counts = plane_counts(histogram, passing, low)
        common: dict[str, Any] = {"systematic": settings.systematic, "seed": config.seed}
        estimate = stats.abcd(*counts.regions, toys=toys, counts=counts, **common)
        if level is None:
            return AbcdStudy(estimate, None)
        common["systematics"] = pipeline.norm_systematics(config)
        found = limit_or_reason(counts, level=level, toys=config.fit.limit.toys, **common)
        return AbcdStudy(replace(estimate, limit=found), None)
    if stored.search is None:
        msg = "ABCD needs a plane of two scores (a TH2), or the folder of a search stage"
        raise FitError(msg)
    search = config.search
    where = (search.background_quantile, search.fit_range.edges, search.window.edges)
    systematics, refused = pipeline.limit_systematics(
        stored.search, config, stored.sets[0], settings.selection, search.window.edges
    )
    result = stats.abcd_in_window(
        histogram,
        stored.points[settings.selection],
        *where,
        systematic_floor=settings.systematic,
        closure_limit=settings.closure_limit,
        toys=toys,
        seed=stored.seed(config, "abcd"),
        level=None if systematics is None else level,
        limit_toys=config.fit.limit.toys,
        systematics=systematics,
    )
    result = pipeline.with_limit_refused(result, refused)
    try:
        closures = stats.closure_scan(histogram, stored.points, *where, search.closure_quantiles)
    except FitError:  # scores of the whole event, as the refusal says
        closures = None
    return AbcdStudy(result, closures)


def fit_direct(
    stored: StoredHistogram, config: SearchConfig
) -> stats.DirectEstimate | stats.DirectRefusal:
    """Return the direct estimate of a search's selection, its background weighted simulation.

    Parameters
    ----------
    stored
        A search's histogram.
    config
        `fit.direct` and `fit.limit` are read.

    Raises
    ------
    ConfigError
        Several tagger sets are named, the search has no such selection, or the fit is blinded.
    FitError
        The histogram is of no search, or of taggers without weighted simulation.
    """
    pipeline.refuse_blinded(config, "a direct estimate")
    if stored.search is None:
        msg = "a direct estimate needs the folder of a search stage with weighted simulation"
        raise FitError(msg)
    return pipeline.direct(stored.search, config, stored.single("direct").sets[0])


def fit_transfer(
    stored: StoredHistogram, config: SearchConfig, failed: StoredHistogram | None = None
) -> stats.TransferEstimate | stats.TransferRefusal:
    """Return the transfer factor of a search's selection, or of two spectra of one's own.

    Parameters
    ----------
    stored
        A search's histogram, or the spectrum of the events that pass.
    config
        `seed`, `search.fit_range`, `fit.bump`, `fit.transfer` and `fit.limit` are read.
    failed
        The spectrum of the events that do not pass; None for a search.

    Raises
    ------
    ConfigError
        The spectrum of what fails is missing, or given for a search; several tagger sets are
        named, the search has no such selection, or the fit is blinded.
    FitError
        As of `stats.transfer_factor`.
    """
    pipeline.refuse_blinded(config, "a transfer factor")
    if stored.search is not None:
        if failed is not None:
            msg = "--fail is for a spectrum of your own: in a search all other events fail"
            raise ConfigError(msg)
        return pipeline.transfer(stored.search, config, stored.single("transfer").sets[0])
    if failed is None or failed.search is not None:
        msg = (
            "a transfer factor needs the spectrum of the events that fail as well: give "
            "--fail-name NAME in the same file, or --fail FILE"
        )
        raise ConfigError(msg)
    return stats.transfer_factor(
        stored.spectra(config.fit.transfer_selection),
        failed.spectra(config.fit.transfer_selection),
        **pipeline.transfer_settings(config),
        seed=config.seed,
    )


def fit_window(
    stored: StoredHistogram, config: SearchConfig, window: tuple[float, float] | None = None
) -> stats.WindowTests | stats.WindowResult:
    """Return the tests in the windows of a search's tagger sets, or that of one spectrum.

    Parameters
    ----------
    stored
        The histogram; a method with a set a window is tested in all of them.
    config
        `seed`, `data.sqrt_s`, `search` and `fit.bump` are read.
    window
        The window [GeV], instead of that which a set was trained for, and of `search.window`.

    Returns
    -------
    Of a search, one test a window and selection; of a spectrum, one.

    Raises
    ------
    ConfigError
        The fit is blinded.
    FitError
        A spectrum does not suit the test; of a search, none of all does.
    """
    pipeline.refuse_blinded(config, "a count in a window")
    if stored.search is None:
        return stats.masked_window_test(
            stored.spectra(config.fit.bump.selection),
            window=window or config.search.window.edges,
            fit=pipeline.spectrum_fit(config, with_signal=False),
            seed=config.seed,
        )
    found = pipeline.window_tests(stored.search, config, stored.sets, window)
    if not found.tests:
        raise FitError(found.refusals[0].reason)
    return found
