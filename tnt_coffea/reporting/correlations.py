"""Correlation of the two jets' scores, which the ABCD estimate needs to be small."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.figures import COLOURS, GREY, mass_label, new_figure, over_ranges, styled
from tnt_coffea.stats import spearman
from tnt_coffea.taggers import Ranks
from tnt_coffea.typing import BoolArray, Float64Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "RankCorrelation",
    "ScoreCorrelations",
    "correlation_by_mass",
    "score_correlations",
]


FEWEST = 300
"""Events a slice in m_jj has at least: its correlation is then known to 0.06."""
MOST_SLICES = 4


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's coefficient of q_heavy and q_light in a region of mass.

    Attributes
    ----------
    region
        Its name for readers.
    mass_range
        Its hull in mass [GeV].
    events
        Effective number of events, (sum w)^2 / sum w^2.
    coefficient, uncertainty
        Of `stats.spearman`; None where there are too few events.
    """

    region: str
    mass_range: tuple[float, float]
    events: float
    coefficient: float | None
    uncertainty: float | None


@dataclass(frozen=True)
class ScoreCorrelations:
    """How far the scores of the two jets depend on each other; no truth enters.

    Attributes
    ----------
    regions
        The fit range, the fit range outside the window (poor in signal), the window.
    slices
        Slices in mass: those of the sidebands hold about the same number of events on
        either side of it, the window is one.
    """

    regions: tuple[RankCorrelation, ...]
    slices: tuple[RankCorrelation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def score_correlations(
    sample: Sample, ranks: Ranks, window: MassRange, fit_range: MassRange
) -> ScoreCorrelations:
    """Return the correlations of the two jets' quantiles, in regions and slices of mass.

    Parameters
    ----------
    sample
        Dijets; labels are not used.
    ranks
        Their quantiles.
    window, fit_range
        Ranges in mass, lower edge included; the window lies in the fit range.

    Raises
    ------
    TaggerError
        The ranks are not those of this sample.
    """
    if len(ranks.fold) != len(sample):
        msg = (
            f"ranks of {len(ranks.fold)} events for a sample of {len(sample)}; rank the sample "
            "that is reported"
        )
        raise TaggerError(msg)
    mass = sample.mass

    def correlation(region: str, rows: BoolArray, hull: tuple[float, float]) -> RankCorrelation:
        weight = sample.weight[rows]
        value, error = spearman(ranks.heavy[rows], ranks.light[rows], weight)
        return RankCorrelation(region, hull, _effective(weight), value, error)

    whole, inside = fit_range.contains(mass), window.contains(mass)
    edges = _slices(mass[whole], window.edges, fit_range.edges)
    return ScoreCorrelations(
        regions=(
            correlation("whole fit range", whole, fit_range.edges),
            correlation("sidebands", whole & ~inside, fit_range.edges),
            correlation("signal region", inside, window.edges),
        ),
        slices=tuple(
            correlation(f"{low:.0f}-{high:.0f} GeV", (mass >= low) & (mass < high), (low, high))
            for low, high in itertools.pairwise(edges)
        ),
    )


@styled
def correlation_by_mass(
    correlations: Mapping[str, ScoreCorrelations], window: Any, variable: str = "m_jj"
) -> Figure:
    """Return Spearman's coefficient against the mass, and its value in the sidebands as a band.

    Parameters
    ----------
    correlations
        By the tagger set's name.
    window
        (low, high) in mass [GeV].
    variable
        Column that the mass is.
    """
    figure = new_figure(6.2, 4.0)
    axes = figure.subplots()
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0, label="signal region")
    axes.axhline(0, color="black", lw=0.9, ls=":", label="independent scores")
    markers = "osD^v"
    for k, (name, correlation) in enumerate(correlations.items()):
        colour = COLOURS[k % len(COLOURS)]
        outside = correlation.regions[1]
        known = [s for s in correlation.slices if s.coefficient is not None]
        over_ranges(
            axes,
            [s.mass_range for s in known],
            [s.coefficient for s in known],
            [s.uncertainty for s in known],
            fmt=markers[k % len(markers)],
            ms=5,
            lw=1.2,
            color=colour,
            label=name,
        )
        if outside.coefficient is not None and outside.uncertainty is not None:
            low, high = (outside.coefficient + s * outside.uncertainty for s in (-1, 1))
            axes.axhspan(low, high, color=colour, alpha=0.2, lw=0)
    hulls = [correlation.regions[0].mass_range for correlation in correlations.values()]
    axes.set_xlim(min(hull[0] for hull in hulls), max(hull[1] for hull in hulls))
    axes.set_xlabel(mass_label(variable))
    axes.set_ylabel("Spearman's rank correlation")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _slices(
    mass: Float64Array, window: tuple[float, float], whole: tuple[float, float]
) -> list[float]:
    """Return edges: the window's, the range's, and between them those of equal counts."""
    edges = [whole[0]]
    for low, high in ((whole[0], window[0]), (window[1], whole[1])):
        beside = np.sort(mass[(mass >= low) & (mass < high)])
        n = min(max(len(beside) // FEWEST, 1), MOST_SLICES)
        inner = [float(beside[len(beside) * k // n]) for k in range(1, n)]
        edges += [edge for edge in (low, *inner, high) if edge > edges[-1]]
    return edges


def _effective(weight: Float64Array) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0
