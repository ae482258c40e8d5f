"""Results of limits and intervals on a signal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from tnt_coffea.stats.results import Result

__all__ = ["BANDS", "IntervalResult", "LimitRefusal", "LimitResult"]

BANDS = (-2, -1, 0, 1, 2)
"""Where the expected limits stand, in standard deviations of the background."""

_IfKnown = Annotated[float | None, Field(exclude_if=lambda value: value is None)]
# Files of results without it stay what they were.


@dataclass(frozen=True)
class LimitResult(Result):
    """A CLs upper limit on a signal.

    Attributes
    ----------
    mass, width
        The signal [GeV].
    level
        Confidence level.
    observed
        Upper limit on the selected signal events.
    expected
        The same for background alone at -2, -1, 0, 1, 2 standard deviations.
    mu_hat
        Signal events at the maximum of the likelihood, mu >= 0.
    cls
        CLs by pyhf at the observed limit, which must be 1 - level; None where pyhf
        was not asked (toys) or failed.
    efficiency, luminosity
        Selected over produced signal events, and luminosity [1/fb], if given.
    observed_cross_section, expected_cross_section
        Events over efficiency and luminosity [fb]; None without them.
    calibration
        'asymptotic' or 'toys'.
    toys
        Toys without a signal, and as many at each of several strengths; 0 without them.
    converged
        Whether the fits of the data converged, and pyhf agrees; with toys, whether 99 % of their
        fits converged and the limits lie within their strengths.
    family
        Family of the background functions.
    notes
        What a reader must know.
    observed_uncertainty, expected_uncertainties
        Statistical uncertainties of limits from toys, of their number alone; 0 and empty
        without toys.
    spurious_uncertainty
        As of `BumpHuntResult`.
    events_at_unit_strength
        Of a signal template, over all channels; None for a function.
    reference_cross_section
        That of unit strength [fb]; None where it is not known.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> result = stats.upper_limit(stats.toy_spectrum(5000), mass=3500, width=120, fit=fit)
    >>> result.expected[0] < result.expected[2] < result.expected[4]
    True
    """

    mass: float
    width: float
    level: float
    observed: float
    expected: tuple[float, ...]
    mu_hat: float
    cls: float | None
    efficiency: float | None
    luminosity: float | None
    observed_cross_section: float | None
    expected_cross_section: tuple[float, ...] | None
    calibration: str
    toys: int
    converged: bool
    family: str
    notes: tuple[str, ...]
    observed_uncertainty: float = 0.0
    expected_uncertainties: tuple[float, ...] = ()
    spurious_uncertainty: float = 0.0
    events_at_unit_strength: _IfKnown = None
    reference_cross_section: _IfKnown = None
    kind: Literal["limit"] = field(default="limit", kw_only=True)

    @property
    def observed_strength(self) -> float | None:
        """The observed limit on the signal strength; None where the signal is no template."""
        unit = self.events_at_unit_strength
        return None if unit is None else self.observed / unit

    @property
    def expected_strength(self) -> tuple[float, ...] | None:
        """The expected limits on the signal strength."""
        unit = self.events_at_unit_strength
        return None if unit is None else tuple(limit / unit for limit in self.expected)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        seen, median = (f"{limit:.4g}" for limit in (self.observed, self.expected[2]))
        if self.expected_uncertainties:
            seen += f" +- {self.observed_uncertainty:.2g}"
            median += f" +- {self.expected_uncertainties[2]:.2g}"
        lines = [
            f"CLs upper limit at {self.mass:g} GeV, width {self.width:g} GeV, "
            f"{100 * self.level:g} % ({self.calibration}): {seen} signal events",
            f"  expected {median}, within one standard deviation "
            f"{self.expected[1]:.4g} to {self.expected[3]:.4g}, two {self.expected[0]:.4g} to "
            f"{self.expected[4]:.4g}",
        ]
        strengths = self.expected_strength
        if strengths is not None:
            lines.append(
                f"  signal strength {self.observed_strength:.4g}, expected {strengths[2]:.4g}, of "
                f"{self.events_at_unit_strength:.4g} events"
            )
        if self.observed_cross_section is not None and self.expected_cross_section is not None:
            of = (
                "of the signal template"
                if self.efficiency is None
                else f"for an efficiency of {self.efficiency:.4g} and {self.luminosity:g} / fb"
            )
            lines.append(
                f"  cross section {self.observed_cross_section:.4g} fb, expected "
                f"{self.expected_cross_section[2]:.4g} fb, {of}"
            )
        agreed = "" if self.cls is None else f"; CLs by pyhf at the limit {self.cls:.4f}"
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}{agreed}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class IntervalResult(Result):
    """An interval of signal events, ordered by the likelihood ratio (Feldman-Cousins).

    Attributes
    ----------
    mass, width
        The signal [GeV].
    level
        Confidence level.
    low, high
        Ends of the interval in signal events; from 0 on it is an upper limit.
    mu_hat
        Signal events at the maximum of the likelihood, mu >= 0.
    low_uncertainty, high_uncertainty
        Statistical uncertainties of the ends from the number of toys; 0 without toys.
    calibration
        'asymptotic' or 'toys'.
    toys
        Toys without a signal, and as many at each of several strengths; 0 without them.
    converged
        Whether the fits of the data, and 99 % of those of the toys, converged.
    family
        Family of the background functions.
    notes
        What a reader must know.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000)
    >>> found = stats.feldman_cousins_interval(spectrum, mass=3500, width=120, fit=fit)
    >>> 0 <= found.low <= found.mu_hat <= found.high
    True
    """

    mass: float
    width: float
    level: float
    low: float
    high: float
    mu_hat: float
    low_uncertainty: float
    high_uncertainty: float
    calibration: str
    toys: int
    converged: bool
    family: str
    notes: tuple[str, ...]
    kind: Literal["interval"] = field(default="interval", kw_only=True)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        ends = [
            f"{end:.4g}{f' +- {spread:.2g}' if self.toys else ''}"
            for end, spread in (
                (self.low, self.low_uncertainty),
                (self.high, self.high_uncertainty),
            )
        ]
        lines = [
            f"Feldman-Cousins interval at {self.mass:g} GeV, width {self.width:g} GeV, "
            f"{100 * self.level:g} % ({self.calibration}): {ends[0]} to {ends[1]} signal events",
            f"  best {self.mu_hat:.4g}; {'converged' if self.converged else 'NOT CONVERGED'}",
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class LimitRefusal(Result):
    """Why there is no limit: the histograms do not suit it, or CLs never falls far enough.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.LimitRefusal('CLs stays above 0.05').summary())
    CLs upper limit: refused
      CLs stays above 0.05
    """

    reason: str
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the reason as text."""
        return f"CLs upper limit: refused\n  {self.reason}"
