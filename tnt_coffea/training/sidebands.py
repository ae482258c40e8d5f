"""Sidebands beside a window in mass, for methods and templates that learn from them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from tnt_coffea.config import MassRange, Settings
from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import ConfigError
from tnt_coffea.training.method import Method

__all__ = ["SidebandMethod", "SidebandSettings", "Spacing"]


class Spacing(StrEnum):
    """Scale in which sidebands have their width."""

    LINEAR = "linear"
    LOGARITHMIC = "logarithmic"


class SidebandSettings(Settings):
    """Settings of sidebands.

    Examples
    --------
    >>> settings = SidebandSettings(sideband=1.5)
    >>> [band.name for band in settings.sidebands(MassRange(low=3300, high=3700))]
    ['2700-3300', '3700-4300']
    """

    sideband: Positive = Field(0.5, description="width of either sideband, in window widths")
    spacing: Spacing = Field(Spacing.LINEAR, description="widths in mass or in its logarithm")

    def sidebands(self, window: MassRange) -> tuple[MassRange, MassRange]:
        """Return the lower and the upper sideband of a signal region.

        Raises
        ------
        ConfigError
            The lower one would begin below zero.
        """
        low, high = window.low, window.high
        if self.spacing is Spacing.LOGARITHMIC:
            factor = (high / low) ** self.sideband
            return MassRange(low=low / factor, high=low), MassRange(low=high, high=high * factor)
        width = self.sideband * (high - low)
        if width >= low:
            msg = f"the lower sideband of window {window.name} would begin below zero"
            raise ConfigError(msg)
        return MassRange(low=low - width, high=low), MassRange(low=high, high=high + width)

    def check_window(self, window: MassRange, fit_range: MassRange) -> None:
        """Refuse a window whose sidebands leave the fit range.

        Raises
        ------
        ConfigError
            They do, or the lower one would begin below zero.
        """
        lower, upper = self.sidebands(window)
        # Half a GeV: logarithmic edges are written to one decimal.
        if lower.low < fit_range.low - 0.5 or upper.high > fit_range.high + 0.5:
            msg = (
                f"the sidebands of window {window.name}, {lower.name} and {upper.name}, leave "
                f"search.fit_range {fit_range.name}; widen it or choose other windows"
            )
            raise ConfigError(msg)


class SidebandMethod(SidebandSettings, Method):
    """Base of the methods that compare the window, the signal region, with its sidebands."""
