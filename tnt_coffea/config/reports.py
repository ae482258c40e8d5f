"""Settings of the report: what it is called, and what is said of the data."""

from __future__ import annotations

from pydantic import Field

from tnt_coffea.config.settings import Positive, Settings

__all__ = ["ReportSettings"]


class ReportSettings(Settings):
    """Title and labels of the report and its plots; no number depends on them.

    Examples
    --------
    >>> ReportSettings(experiment="CMS", label="Preliminary", sqrt_s=13, luminosity=138)
    ReportSettings(experiment='CMS', label='Preliminary', sqrt_s=13.0, luminosity=138.0)
    """

    title: str | None = Field(None, description="of the report; null: made from the methods")
    experiment: str | None = Field(None, description="drawn on every plot, as CMS; null: none")
    label: str | None = Field(
        None, description="drawn beside it, as Preliminary; null: Simulation for generated events"
    )
    sqrt_s: Positive | None = Field(
        None, description="centre-of-mass energy [TeV]; null: 13 for generated events"
    )
    luminosity: Positive | None = Field(
        None, description="of the data [1/fb]; null: that of fit.limit"
    )
