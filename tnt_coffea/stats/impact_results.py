"""Results of the nuisance parameters of a bump hunt: pulls and impacts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tnt_coffea.stats.results import Result

__all__ = ["ImpactRefusal", "NuisanceImpact", "NuisanceImpacts"]


@dataclass(frozen=True)
class NuisanceImpact(Result):
    """One nuisance parameter and its impact on the signal.

    Attributes
    ----------
    name
        The parameter: 'signal_scale', 'signal_width', a variation of the signal's template, an
        uncertainty of its norm, 'phi_CHANNEL_NUMBER', or 'background_function', which takes one of
        the functions that compete and has no pull.
    pull, uncertainty
        Its best value and the uncertainty of that.
    up, down
        Change of the fitted signal events where the parameter is held one of these
        uncertainties above and below its best value and all others are fitted again.
    before_up, before_down
        The same for one uncertainty of its constraint; None where it has no constraint.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40, width_uncertainty=0.1)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> impacts = stats.nuisance_impacts(spectrum, mass=3500, width=120, fit=fit)
    >>> [impacts[0].name, impacts[1].name, impacts[-1].name]
    ['signal_width', 'phi_all_0', 'background_function']
    """

    name: str
    pull: float
    uncertainty: float
    up: float
    down: float
    before_up: float | None = None
    before_down: float | None = None


@dataclass(frozen=True)
class NuisanceImpacts(Result):
    """All nuisance parameters of a bump hunt.

    Attributes
    ----------
    mass, width
        The signal [GeV].
    impacts
        The parameters.

    Examples
    --------
    >>> rows = (NuisanceImpact("luminosity", 0, 1, -2, 2),)
    >>> print(NuisanceImpacts(3500.0, 120.0, rows).summary())
    impacts on the signal at 3500 GeV, width 120 GeV
      parameter   pull              up, down [events]
      luminosity  +0.00 +- 1.00         -2.0     +2.0
    """

    mass: float
    width: float
    impacts: tuple[NuisanceImpact, ...]
    kind: Literal["impacts"] = field(default="impacts", kw_only=True)

    def summary(self) -> str:
        """Return a table, the largest impact first."""
        rows = sorted(self.impacts, key=lambda row: -max(abs(row.up), abs(row.down)))
        size = max(len(row.name) for row in (*rows, NuisanceImpact("parameter", 0, 0, 0, 0))) + 2
        lines = [
            f"impacts on the signal at {self.mass:g} GeV, width {self.width:g} GeV",
            f"  {'parameter':<{size}}{'pull':<18}{'up, down [events]':>17}",
        ]
        lines += [
            f"  {row.name:<{size}}{f'{row.pull:+.2f} +- {row.uncertainty:.2f}':<18}"
            f"{row.up:>+8.1f} {row.down:>+8.1f}"
            for row in rows
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class ImpactRefusal(Result):
    """Why there are no impacts: a fit that they need has no minimum.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.ImpactRefusal('the best fit has no minimum').summary())
    impacts on the signal: refused
      the best fit has no minimum
    """

    reason: str
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the reason as text."""
        return f"impacts on the signal: refused\n  {self.reason}"
