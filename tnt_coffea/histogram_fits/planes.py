"""ABCD on stored histograms: a search's, or a plane of two scores of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tnt_coffea import stats
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError
from tnt_coffea.stats.fitting.spectra import edge_index
from tnt_coffea.stats.regions.results import AbcdCounts

__all__ = ["AbcdStudy", "abcd_of_plane", "abcd_of_search"]


@dataclass(frozen=True)
class AbcdStudy:
    """ABCD at one efficiency, and its closure at all.

    Attributes
    ----------
    result
        The estimate, or why there is none.
    closures
        Closure over efficiencies; None where no selection has four regions.
    """

    result: stats.AbcdResult | stats.AbcdRefusal
    closures: stats.ClosureScan | None

    def summary(self) -> str:
        """Return both as text."""
        parts = [self.result, *([] if self.closures is None else [self.closures])]
        return "\n".join(part.summary() for part in parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate's JSON values, the closures under `closures`."""
        closures = None if self.closures is None else self.closures.to_dict()
        return {**self.result.to_dict(), "closures": closures}


def abcd_of_search(
    histogram: Any,
    thresholds: dict[float, dict[int, float]] | None,
    config: SearchConfig,
    toys: int = 0,
) -> AbcdStudy:
    """Return the ABCD estimate in the window of a search, and its closure by efficiency.

    Parameters
    ----------
    histogram, thresholds
        Of the search stage.
    config
        `fit.abcd` and `search` are read.
    toys
        As for `stats.abcd`.

    Raises
    ------
    FitError
        The histogram has no selection of `fit.abcd.efficiency`.
    """
    settings, search = config.fit.abcd, config.search
    if thresholds is None or settings.efficiency not in thresholds:
        msg = (
            "ABCD needs a plane of two scores (a TH2), or the folder of a search stage with a "
            f"selection of fit.abcd.efficiency = {settings.efficiency:g}"
        )
        raise FitError(msg)
    ranges = (search.fit_range.edges, search.window.edges)
    result = stats.abcd_in_window(
        histogram,
        thresholds[settings.efficiency],
        search.background_quantile,
        *ranges,
        systematic_floor=settings.systematic,
        closure_limit=settings.closure_limit,
        toys=toys,
        seed=config.seed,
    )
    closures = stats.closure_scan(
        histogram, thresholds, search.background_quantile, *ranges, search.closure_quantiles
    )
    return AbcdStudy(result, closures)


def abcd_of_plane(
    histogram: Any,
    config: SearchConfig,
    passing: float | None,
    low: float | None,
    toys: int = 0,
) -> stats.AbcdResult:
    """Test a plane of two scores, the closure only its systematic: no other events are known.

    Parameters
    ----------
    histogram
        Of two scores.
    config
        `fit.abcd.systematic` and `seed` are read.
    passing, low
        A jet passes above the first and is low below the second; edges of both axes.
    toys
        As for `stats.abcd`.

    Raises
    ------
    ConfigError
        One of the two cuts is missing, or they overlap.
    FitError
        The plane holds no counts, or a control region is empty.
    """
    if passing is None or low is None or not low <= passing:
        msg = (
            "a plane of two scores needs --passing X (a jet passes above it) and --low Y (it is "
            "low below it), with Y not above X"
        )
        raise ConfigError(msg)
    counts = np.asarray(histogram.values(), dtype=float)
    variances = histogram.variances()
    if not np.isfinite(counts).all() or counts.min() < 0:
        msg = "a bin of the plane is negative or not finite: only counts can be used"
        raise FitError(msg)
    cuts = []
    for axis, what in zip(histogram.axes, ("first", "second"), strict=True):
        edges = np.asarray(axis.edges, dtype=float)
        first = edge_index(edges, low, f"--low on the {what} axis")
        last = edge_index(edges, passing, f"--passing on the {what} axis")
        cuts.append((slice(0, first), slice(first, last), slice(last, None)))
    table = tuple(tuple(float(counts[r, c].sum()) for c in cuts[1]) for r in cuts[0])
    total = np.array(table)
    a, b, c, d = total[2, 2], total[2, 0], total[0, 2], total[0, 0]
    if min(b, c, d) <= 0:
        # One message for empty regions, that of the test itself.
        return stats.abcd(a, b, c, d)
    eps1, eps2 = b / total[:, 0].sum(), c / total[0].sum()
    found = AbcdCounts(
        a=float(a),
        b=float(b),
        c=float(c),
        d=float(d),
        eps1=float(eps1),
        eps2=float(eps2),
        eps1_uncertainty=float(np.sqrt(eps1 * (1 - eps1) / total[:, 0].sum())),
        eps2_uncertainty=float(np.sqrt(eps2 * (1 - eps2) / total[0].sum())),
        total=float(total.sum()),
        mass_range=(0.0, 0.0),
        tables=(table,),
        weighted=variances is not None and not np.allclose(variances, counts),
    )
    return stats.abcd(
        found.a,
        found.b,
        found.c,
        found.d,
        systematic=config.fit.abcd.systematic,
        toys=toys,
        seed=config.seed,
        counts=found,
    )
