"""What weighted simulation predicts of a selection, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.stats.limit_results import LimitRefusal
from tnt_coffea.stats.results import Result

__all__ = [
    "DirectEstimate",
    "DirectLimit",
    "DirectRefusal",
    "DirectSpectrum",
    "ValidationWindow",
    "WeightedSimulation",
]


@dataclass(frozen=True, eq=False)
class WeightedSimulation:
    """Simulated events that a tagger set scored, with the weights that make them its background.

    Or synthetic events of a template, each of weight one: `template_in_window` scales them.

    Attributes
    ----------
    histogram
        (weights, fold, mass, q_heavy, q_light): sums of weights `nominal`, those of `member 0`,
        `member 1`, ..., those of each validation window by its name, and `events`, the number.
    weights
        Name of the set that gives the weights.
    window
        Range in mass that the weights interpolate into [GeV].
    validation
        Ranges in mass, by name, that weights of their own predict from what lies beside them.
    template
        Whether these are events of a template, made of the data beside the window.

    Examples
    --------
    >>> sidebands = {"lower validation": (3000.0, 3300.0)}
    >>> simulation = WeightedSimulation(None, "dctr", (3300.0, 3700.0), sidebands)
    >>> WeightedSimulation.from_dict(simulation.to_dict(), None).validation == sidebands
    True
    """

    histogram: Any
    weights: str
    window: tuple[float, float]
    validation: dict[str, tuple[float, float]] = field(default_factory=dict)
    template: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return all but the histogram as JSON values."""
        return {
            "weights": self.weights,
            "window": list(self.window),
            "validation": {name: list(edges) for name, edges in self.validation.items()},
            **({"template": True} if self.template else {}),
        }

    @classmethod
    def from_dict(cls, values: Any, histogram: Any) -> WeightedSimulation:
        """Return the inverse of `to_dict`, with the histogram."""
        low, high = values["window"]
        validation = {
            str(name): (float(first), float(last))
            for name, (first, last) in values["validation"].items()
        }
        return cls(
            histogram,
            str(values["weights"]),
            (float(low), float(high)),
            validation,
            bool(values.get("template", False)),
        )


@dataclass(frozen=True)
class ValidationWindow(Result):
    """Observed and predicted events of a selection where no signal is expected.

    Attributes
    ----------
    name
        Which one.
    mass_range
        Its whole bins in mass [GeV].
    observed, predicted
        Events.
    observed_uncertainty, predicted_uncertainty
        Statistical uncertainties.

    Examples
    --------
    >>> window = ValidationWindow("lower validation", (3000, 3300), 110, 100, 10.5, 4)
    >>> round(window.ratio, 2), round(window.uncertainty, 3)
    (1.1, 0.114)
    """

    name: str
    mass_range: tuple[float, float]
    observed: float
    predicted: float
    observed_uncertainty: float
    predicted_uncertainty: float

    @property
    def ratio(self) -> float:
        """Observed over predicted."""
        return self.observed / self.predicted

    @property
    def uncertainty(self) -> float:
        """Statistical uncertainty of the ratio."""
        own = self.observed_uncertainty / self.predicted
        return float(np.hypot(own, self.ratio * self.predicted_uncertainty / self.predicted))


@dataclass(frozen=True)
class DirectSpectrum(Result):
    """Selected events in bins of mass, all folds together.

    Attributes
    ----------
    edges
        Of the bins [GeV].
    observed, variances
        Data, sums of weights and of squared weights.
    predicted, predicted_variances
        Weighted simulation.
    simulated
        Number of simulated events.
    variable
        Name of the mass.

    Examples
    --------
    >>> spectrum = DirectSpectrum((3300, 3500, 3700), (9, 4), (9, 4), (8, 5), (2, 1), (32, 25))
    >>> sum(spectrum.observed), sum(spectrum.predicted)
    (13, 13)
    """

    edges: tuple[float, ...]
    observed: tuple[float, ...]
    variances: tuple[float, ...]
    predicted: tuple[float, ...]
    predicted_variances: tuple[float, ...]
    simulated: tuple[float, ...]
    variable: str = "m_jj"


@dataclass(frozen=True)
class DirectLimit(Result):
    """Upper limit on the signal events in the selection.

    Attributes
    ----------
    level
        Confidence level.
    observed, expected
        Limits [events]; expected at -2, -1, 0, 1, 2 standard deviations.
    calibration
        'asymptotic', or 'Poisson': the uncertainty of the background integrated over.
    converged
        Whether the fits found their minima.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.direct_estimate(110, 100, variance=25, simulated=400).limit.summary())
    CLs upper limit, 95 % (asymptotic): 31.76 signal events, expected 23.87 (17.01 to 33.74)
    """

    level: float
    observed: float
    expected: tuple[float, ...]
    calibration: str
    converged: bool = True
    kind: Literal["direct limit"] = field(default="direct limit", kw_only=True)

    def summary(self) -> str:
        """Return the limit as a line of text."""
        return (
            f"CLs upper limit, {100 * self.level:g} % ({self.calibration}): {self.observed:.4g} "
            f"signal events, expected {self.expected[2]:.4g} ({self.expected[1]:.4g} to "
            f"{self.expected[3]:.4g})"
        )


@dataclass(frozen=True)
class DirectEstimate(Result):
    """A count of selected events in the window against what simulation or a template predicts.

    Attributes
    ----------
    observed, predicted
        Events seen, and sum of weights of the simulated ones, or of those of a template.
    statistical
        Uncertainty from the number of simulated events, the root of the sum of squared weights.
    member_spread
        Uncertainty from the training: the scatter of the members over the root of their number.
    systematic
        Relative uncertainty from the closure in the validation windows.
    simulated, effective
        Simulated events selected, and the effective number of their weights.
    mu_hat
        Signal events at the maximum of the likelihood, mu >= 0.
    q0
        Test statistic.
    z, p_value, calibration
        Significance and p-value, asymptotic or Poisson.
    scale
        Weight of an effective event of the data.
    converged
        Whether the fits found their minima.
    notes
        What a reader must know before quoting the numbers.
    windows
        Validation windows.
    window
        Range in mass [GeV]; None for plain counts.
    spectrum
        Data and prediction in bins; None for plain counts.
    weights
        Name of the set that gives the weights.
    members
        Trainings that the spread is of, in each fold.
    limit
        Upper limit on the signal, where one was asked for, or why there is none.
    template
        Whether the prediction is that of a template, made of the data beside the window.
    normalisation
        Relative uncertainty of all events in the window, of which a template says how many pass.
    correction
        Observed over predicted in the validation windows, if the prediction was multiplied by it.

    Source
    ------
    LHC Olympics 2020, arXiv:2101.08320, equation 4.8; of a template: arXiv:2411.00085.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.direct_estimate(130, 100, variance=25, simulated=400).summary().split("; ")[0])
    direct estimate: 130 events seen, 100.00 +- 5.83 predicted (statistics 5.00, members 0.00, \
closure 3.0 %)
    """

    observed: float
    predicted: float
    statistical: float
    member_spread: float
    systematic: float
    simulated: float
    effective: float
    mu_hat: float
    q0: float
    z: float
    p_value: float
    calibration: str
    scale: float
    converged: bool
    notes: tuple[str, ...]
    windows: tuple[ValidationWindow, ...] = ()
    window: tuple[float, float] | None = None
    spectrum: DirectSpectrum | None = None
    weights: str = ""
    members: int = 0
    limit: Annotated[DirectLimit | LimitRefusal, Field(discriminator="kind")] | None = None
    template: bool = False
    normalisation: float = 0.0
    correction: float = 1.0
    kind: Literal["direct"] = field(default="direct", kw_only=True)

    @property
    def relative(self) -> float:
        """Relative uncertainty of the prediction beside its statistics."""
        own = np.hypot(self.systematic, self.member_spread / self.predicted)
        return float(np.hypot(own, self.normalisation))

    @property
    def uncertainty(self) -> float:
        """Whole uncertainty of the prediction [events]."""
        return float(np.hypot(self.statistical, self.relative * self.predicted))

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        other, made = f"members {self.member_spread:.2f}", "simulated"
        if self.template:
            other, made = f"events in the window {100 * self.normalisation:.1f} %", "synthetic"
        lines = [
            f"direct estimate: {self.observed:g} events seen, {self.predicted:.2f} +- "
            f"{self.uncertainty:.2f} predicted (statistics {self.statistical:.2f}, {other}, "
            f"closure {100 * self.systematic:.1f} %); "
            f"{self.effective:.0f} effective events of {self.simulated:g} {made}",
            f"  Z = {self.z:.2f}, p = {self.p_value:.3g} ({self.calibration}), signal "
            f"{self.mu_hat:.1f} events{'' if self.converged else ', NOT CONVERGED'}",
            *map(_window_line, self.windows),
            *(f"  note: {note}" for note in self.notes),
        ]
        if self.limit is not None:
            lines.append(f"  {self.limit.summary()}")
        return "\n".join(lines)


@dataclass(frozen=True)
class DirectRefusal(Result):
    """Why no direct estimate is given, and what its closure was.

    Attributes
    ----------
    reason
        One sentence.
    windows
        Validation windows.
    window
        Range in mass [GeV]; None for plain counts.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.direct_estimate(3, 0, variance=0, simulated=0).summary())
    direct estimate refused: no simulated event passes the selection in the window
    """

    reason: str
    windows: tuple[ValidationWindow, ...] = ()
    window: tuple[float, float] | None = None
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the refusal as a few lines of text."""
        return "\n".join(
            [f"direct estimate refused: {self.reason}", *map(_window_line, self.windows)]
        )


def _window_line(window: ValidationWindow) -> str:
    low, high = window.mass_range
    return (
        f"  {window.name}, {low:g}-{high:g} GeV: {window.observed:g} seen, {window.predicted:.2f} "
        f"predicted, ratio {window.ratio:.3f} +- {window.uncertainty:.3f}"
    )
