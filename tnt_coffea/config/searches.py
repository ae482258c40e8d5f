"""Settings of the search pass: selections and histograms."""

from __future__ import annotations

from pydantic import (
    Field,
)

from tnt_coffea.config.settings import Fraction, MassRange, Positive, Settings

__all__ = ["SearchSettings"]


class SearchSettings(Settings):
    """Where the search looks, and how much it keeps: fixed before anything is looked at."""

    window: MassRange = Field(
        MassRange(low=3300.0, high=3700.0), description="where the resonance is looked for in m_jj"
    )
    fit_range: MassRange = Field(
        MassRange(low=2600.0, high=7000.0), description="m_jj that is fitted, window included"
    )
    efficiencies: tuple[Fraction, ...] = Field(
        (0.3, 0.1, 0.03), min_length=1, description="shares of events with both jets above X"
    )
    background_quantile: Fraction = Field(
        0.4, description="both-jet quantile below which the ABCD regions are 'low'"
    )
    closure_quantiles: tuple[Fraction, ...] = Field(
        (0.8, 0.86, 0.9, 0.93, 0.955, 0.97, 0.985),
        description="further quantiles X at which ABCD's closure is tested (0.97: 0.1 % of events "
        "with independent scores)",
    )
    m_jj: MassRange = Field(
        MassRange(low=2000.0, high=8000.0), description="range of the stored histogram"
    )
    bin_width: Positive = Field(20.0, description="bins of the stored histogram in m_jj [GeV]")
