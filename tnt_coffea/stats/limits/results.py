"""Upper limits, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from tnt_coffea.stats.records import Record

__all__ = ["BANDS", "LimitRefusal", "LimitResult", "RetrainedLimit"]

BANDS = (-2, -1, 0, 1, 2)
"""Where the expected limits stand, in standard deviations of the background."""


@dataclass(frozen=True)
class LimitResult(Record):
    """A CLs upper limit on a signal.

    Attributes
    ----------
    mass, width
        The signal [GeV]; 0 for a counting experiment.
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
        was not asked (toys, counting) or failed.
    efficiency, luminosity
        Selected over produced signal events, and luminosity [1/fb], if given.
    observed_cross_section, expected_cross_section
        Events over efficiency and luminosity [fb]; None without them.
    calibration
        'asymptotic', 'toys' or 'exact'.
    toys
        Toys of each hypothesis at every strength; 0 without them.
    converged
        Whether all fits converged and pyhf agrees.
    family
        Family of the background functions.
    notes
        What a reader must know.
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

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        where = f" at {self.mass:g} GeV, width {self.width:g} GeV" if self.mass else ""
        lines = [
            f"CLs upper limit{where}, {100 * self.level:g} % ({self.calibration}): "
            f"{self.observed:.4g} signal events",
            f"  expected {self.expected[2]:.4g}, within one standard deviation "
            f"{self.expected[1]:.4g} to {self.expected[3]:.4g}, two {self.expected[0]:.4g} to "
            f"{self.expected[4]:.4g}",
        ]
        if self.observed_cross_section is not None and self.expected_cross_section is not None:
            lines.append(
                f"  cross section {self.observed_cross_section:.4g} fb, expected "
                f"{self.expected_cross_section[2]:.4g} fb, for an efficiency of "
                f"{self.efficiency:.4g} and {self.luminosity:g} / fb"
            )
        agreed = "" if self.cls is None else f"; CLs by pyhf at the limit {self.cls:.4f}"
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}{agreed}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class LimitRefusal(Record):
    """Why there is no limit: the histograms do not suit it, or CLs never falls far enough."""

    reason: str

    def summary(self) -> str:
        """Return the reason as text."""
        return f"CLs upper limit: refused\n  {self.reason}"


@dataclass(frozen=True)
class RetrainedLimit(Record):
    """A limit on a model whose signal takes part in the training.

    Attributes
    ----------
    injected
        Cross sections that were injected before training [fb], rising.
    limits
        The limit of each training.
    observed, expected
        Cross section that is excluded by the limit of its own training [fb]; None
        where no strength that was tried is.
    """

    injected: tuple[float, ...]
    limits: tuple[LimitResult, ...]
    observed: float | None
    expected: float | None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the result that `to_dict` wrote."""
        limits = tuple(LimitResult.from_dict(limit) for limit in values["limits"])
        return super().from_dict({**values, "limits": limits})

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        lines = ["upper limit with the taggers retrained at every injected strength"]
        for name, value in (("observed", self.observed), ("expected", self.expected)):
            text = "none of the strengths tried" if value is None else f"{value:.4g} fb"
            lines.append(f"  {name}: {text}")
        for strength, limit in zip(self.injected, self.limits, strict=True):
            lines.append(f"  {strength:g} fb injected: limit {limit.observed_cross_section:.4g} fb")
        return "\n".join(lines)
