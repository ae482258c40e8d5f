"""Settings of the report: what it is called, and whose the data are."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tnt_coffea.config.data import without_moved
from tnt_coffea.config.settings import Settings

__all__ = ["ReportSettings"]


class ReportSettings(Settings):
    """Title and labels of the report and its plots; no number depends on them.

    Examples
    --------
    >>> ReportSettings(experiment="CMS", label="Preliminary")
    ReportSettings(experiment='CMS', label='Preliminary')
    """

    title: str | None = Field(None, description="of the report; null: made from the methods")
    experiment: str | None = Field(None, description="drawn on every plot, as CMS; null: none")
    label: str | None = Field(
        None, description="drawn beside it, as Preliminary; null: Simulation for generated events"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_data(cls, values: Any) -> Any:
        return without_moved("report", values, ("sqrt_s", "luminosity"))
