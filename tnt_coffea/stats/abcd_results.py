"""What the four regions of the score plane hold, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose
from typing import Annotated, Literal

from pydantic import Field

from tnt_coffea.stats.limit_results import LimitRefusal
from tnt_coffea.stats.results import Result
from tnt_coffea.stats.validity import FEW_IN_REGION_A

__all__ = [
    "AbcdCounts",
    "AbcdLimit",
    "AbcdRefusal",
    "AbcdResult",
    "Closure",
    "ClosurePoint",
    "ClosureScan",
    "RegionClosure",
]


@dataclass(frozen=True)
class AbcdCounts(Result):
    """Counts of the four regions of the score plane, and the paper's estimate from it.

    Attributes
    ----------
    a, b, c, d
        Events that pass with both jets (a), with the heavy jet only while the
        light one is low (b), with the light jet only while the heavy one is low
        (c), and that are low in both (d).
    eps1, eps2
        Share of events whose heavy (light) jet passes among those whose light
        (heavy) jet is low.
    eps1_uncertainty, eps2_uncertainty
        Their binomial uncertainties.
    total
        All events N.
    mass_range
        Range in m_jj [GeV].
    tables
        Events whose (heavy, light) jet is low, between or passing, 3 x 3 for every fold.
    weighted
        Whether the events are not all of weight one.
    scales
        Weight of an effective event in A, B, C and D; those with fewer than 100 of them have that
        of the whole plane.

    Source
    ------
    arXiv:2002.12376, section 4.1.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> counts = stats.abcd_counts(search, point, 0.4, (3300, 3700))
    >>> counts.a, round(counts.paper_prediction)
    (191.0, 84)
    """

    a: float
    b: float
    c: float
    d: float
    eps1: float
    eps2: float
    eps1_uncertainty: float
    eps2_uncertainty: float
    total: float
    mass_range: tuple[float, float]
    tables: tuple[tuple[tuple[float, ...], ...], ...] = ()
    weighted: bool = False
    scales: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    @property
    def regions(self) -> tuple[float, float, float, float]:
        """A, B, C and D."""
        return self.a, self.b, self.c, self.d

    @property
    def effective(self) -> tuple[float, float, float, float]:
        """Effective counts of A, B, C and D: those of unweighted events as they are."""
        a, b, c, d = self.scales
        return self.a / a, self.b / b, self.c / c, self.d / d

    @property
    def whole(self) -> bool:
        """Whether the tables are there and hold unweighted events."""
        return (
            bool(self.tables)
            and not self.weighted
            and all(float(n).is_integer() for table in self.tables for row in table for n in row)
        )

    @property
    def paper_prediction(self) -> float:
        """The paper's background estimate, eps1 eps2 N."""
        return self.eps1 * self.eps2 * self.total

    @property
    def paper_uncertainty(self) -> float:
        """Statistical uncertainty of the paper's estimate, from the two efficiencies."""
        first = self.eps2 * self.eps1_uncertainty
        second = self.eps1 * self.eps2_uncertainty
        return float(self.total * (first**2 + second**2) ** 0.5)


@dataclass(frozen=True)
class RegionClosure(Result):
    """Closure A D / (B C) in one range of m_jj; None where a region is empty.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> where = (0.4, (2600, 5000), (3300, 3700))
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> closure = stats.closure(search, point, *where)
    >>> [(region.mass_range, round(region.kappa, 1)) for region in closure.regions]
    [((2600, 3300), 1.0), ((3700, 5000), 0.7)]
    """

    mass_range: tuple[float, float]
    a: float
    b: float
    c: float
    d: float
    kappa: float | None
    uncertainty: float | None


@dataclass(frozen=True)
class Closure(Result):
    """How far the two scores are from independent where no signal is expected.

    Attributes
    ----------
    kappa, uncertainty
        A D / (B C) of all signal-poor regions together, and its statistical
        uncertainty kappa sqrt(1/A + 1/B + 1/C + 1/D).
    regions
        The same region by region.
    spread
        Largest deviation of a region from kappa beyond its own statistics,
        relative to kappa: sqrt(max(0, (kappa_r - kappa)^2 - uncertainty_r^2)) / kappa.
    pearson, spearman, distance
        Correlations of the two jets' quantiles, from the binned plane; the distance
        correlation of n independent events is about n^-1/2.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> where = (0.4, (2600, 5000), (3300, 3700))
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> closure = stats.closure(search, point, *where)
    >>> abs(closure.kappa - 1) < 3 * closure.uncertainty
    True
    """

    kappa: float
    uncertainty: float
    regions: tuple[RegionClosure, ...]
    spread: float
    pearson: float
    spearman: float
    distance: float


@dataclass(frozen=True)
class AbcdLimit(Result):
    """Upper limit on the signal in the doubly tagged region.

    Attributes
    ----------
    level
        Confidence level.
    observed, expected
        Limits [events in A]; expected at -2, -1, 0, 1, 2 standard deviations.
    uncertainty
        Numerical error of the observed one from toys [events]; None without toys.
    mu_hat, background
        Fitted signal in A, mu >= 0, and the background there with none.
    cls
        CLs by pyhf at the observed limit; None with toys.
    calibration
        'asymptotic' or 'toys'.
    toys
        Toys without a signal, and at each strength.
    converged
        Whether the two engines agree; with toys, whether they reach the limits.
    notes
        What a reader must know before quoting the numbers.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.abcd_limit(110, 1000, 1000, 10_000).summary())
    CLs upper limit in A, 95 % (asymptotic): 31.47 signal events, expected 23.55 (16.77 to 33.31)
    """

    level: float
    observed: float
    expected: tuple[float, ...]
    uncertainty: float | None
    mu_hat: float
    background: float
    cls: float | None
    calibration: str
    toys: int
    converged: bool
    notes: tuple[str, ...]
    kind: Literal["abcd limit"] = field(default="abcd limit", kw_only=True)

    def summary(self) -> str:
        """Return the limit as a line of text, and its notes."""
        error = "" if self.uncertainty is None else f" +- {self.uncertainty:.1g}"
        line = (
            f"CLs upper limit in A, {100 * self.level:g} % ({self.calibration}): "
            f"{self.observed:.4g}{error} signal events, expected {self.expected[2]:.4g} "
            f"({self.expected[1]:.4g} to {self.expected[3]:.4g})"
            f"{'' if self.converged else ', NOT CONVERGED'}"
        )
        return "\n".join([line, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class AbcdResult(Result):
    """A counting test in the doubly tagged region, its background from the other three.

    Attributes
    ----------
    a, b, c, d
        Observed events.
    expected
        Background predicted in A, closure_factor B C / D.
    background
        Background fitted in A with no signal allowed.
    mu_hat
        Signal events at the maximum of the likelihood, mu >= 0.
    q0
        Test statistic.
    z, p_value
        Significance and p-value, as `calibration` says: z is that of p, 0 where p is a half
        or more.
    expected_paper, z_paper
        Background estimate and significance of the paper's equation 4.1 (eps1 eps2 N
        where the score plane is known, else `expected`); see `paper_significance`.
    systematic
        Relative closure uncertainty used in the likelihood.
    closure_factor
        Factor on B C / D.
    converged, edm, minimiser
        As in `BumpHuntResult`.
    z_numpy
        sqrt(q0) by our own solver, which must agree with `z_asymptotic`.
    calibration
        'asymptotic', 'toys' or 'permutations'.
    toys
        Toy experiments behind p_value.
    notes
        What a reader must know before quoting the numbers.
    counts, closure
        The regions and the closure test behind the numbers, where they came from
        a search histogram.
    limit
        Upper limit on the signal in A, where one was asked for, or why there is none.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.abcd(130, 1000, 1000, 10_000).summary().splitlines()[1])
      Z = 2.48, p = 0.00649 (asymptotic), signal 30.0 events
    """

    a: float
    b: float
    c: float
    d: float
    expected: float
    background: float
    mu_hat: float
    q0: float
    z: float
    p_value: float
    expected_paper: float
    z_paper: float
    systematic: float
    closure_factor: float
    converged: bool
    edm: float | None
    minimiser: str
    z_numpy: float
    calibration: str
    toys: int
    notes: tuple[str, ...]
    counts: AbcdCounts | None = None
    closure: Closure | None = None
    limit: Annotated[AbcdLimit | LimitRefusal, Field(discriminator="kind")] | None = None
    kind: Literal["abcd"] = field(default="abcd", kw_only=True)

    @property
    def p_is_bound(self) -> bool:
        """Whether no toy reached the data, so that p_value is the most that it can be."""
        # Toys that were thrown with a signal and weighted give no such bound.
        return self.toys > 0 and isclose(self.p_value, 1 / (self.toys + 1))

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula held."""
        return float(self.q0**0.5)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        least, most = ("at most ", " or more") if self.p_is_bound else ("", "")
        lines = [
            f"ABCD: A, B, C, D = {self.a:g}, {self.b:g}, {self.c:g}, {self.d:g}; expected in A "
            f"{self.expected:.2f} with {100 * self.systematic:.1f} % systematic, closure factor "
            f"{self.closure_factor:.3f}",
            f"  Z = {self.z:.2f}{most}, p = {least}{self.p_value:.3g} ({self.calibration}), "
            f"signal {self.mu_hat:.1f} events",
            f"  {'converged' if self.converged else 'NOT CONVERGED'}; sqrt of q0 "
            f"{self.z_asymptotic:.2f}, by the cross-check {self.z_numpy:.2f}; paper's equation "
            f"4.1: {self.z_paper:.2f} on {self.expected_paper:.2f} expected",
        ]
        if self.closure is not None:
            lines.append(f"  {_closure_line(self.closure)}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.limit is not None:
            lines += [f"  {line}" for line in self.limit.summary().splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True)
class AbcdRefusal(Result):
    """Why no ABCD estimate is given, and what was counted.

    Attributes
    ----------
    reason
        One sentence.
    counts
        The regions in the window.
    closure
        The closure test, where it could be made.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> where = (0.4, (2600, 5000), (3300, 3700))
    >>> point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> refusal = stats.abcd_in_window(search, point, *where, closure_limit=0.001)
    >>> print(refusal.reason.partition(',')[0])
    A D / (B C) is 0.98 +- 0.06 in the sidebands
    """

    reason: str
    counts: AbcdCounts
    closure: Closure | None = None
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the refusal as a few lines of text."""
        counts = self.counts
        lines = [
            f"ABCD refused: {self.reason}",
            f"  A, B, C, D = {counts.a:g}, {counts.b:g}, {counts.c:g}, {counts.d:g}",
        ]
        if self.closure is not None:
            lines.append(f"  {_closure_line(self.closure)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class ClosurePoint(Result):
    """Closure at one efficiency.

    Attributes
    ----------
    efficiency
        Share of events that pass with both jets; where X was given and no event
        passes, that of independent scores, (1 - X)^2.
    closure
        A D / (B C) in the sidebands; None where a region is empty there.
    counts
        The regions in the window; None where the selection has no four regions.
    refusal
        Why there is no closure.
    x
        The quantile above which both jets lie; None where the folds differ.
    """

    efficiency: float
    closure: Closure | None
    counts: AbcdCounts | None
    refusal: str = ""
    x: float | None = None

    @property
    def predicted(self) -> float | None:
        """Events expected in A of the window; None without a closure factor."""
        if self.closure is None or self.counts is None or self.counts.d <= 0:
            return None
        return self.closure.kappa * self.counts.b * self.counts.c / self.counts.d

    @property
    def beside(self) -> float:
        """Events in A in the sidebands."""
        return 0.0 if self.closure is None else sum(region.a for region in self.closure.regions)

    @property
    def outcome(self) -> str:
        """The closure in words, or why there is none."""
        if self.closure is None:
            return f"none: {self.refusal}"
        few = f" (few: {self.beside:g} events in A)" if self.beside < FEW_IN_REGION_A else ""
        return (
            f"{self.closure.kappa:.3f} +- {self.closure.uncertainty:.3f}{few}, spread "
            f"{self.closure.spread:.3f}"
        )


@dataclass(frozen=True)
class ClosureScan(Result):
    """Closure over efficiencies, falling.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search = stats.toy_search(60_000, 100)
    >>> where = (0.4, (2600, 5000), (3300, 3700))
    >>> points = stats.WorkingPoints((stats.WorkingPoint.at({0: 0.9, 1: 0.9}, 0.01),))
    >>> scan = stats.closure_scan(search, points, *where, [0.8])
    >>> print(scan.summary().splitlines()[1])
      4.13 %: 0.994 +- 0.033, spread 0.078; in the window 430 seen, 328.17 predicted
    """

    points: tuple[ClosurePoint, ...]

    def summary(self) -> str:
        """Return the scan as a few lines of text."""
        lines = ["ABCD closure A D / (B C) in the sidebands, by efficiency"]
        for point in self.points:
            inside = ""
            if point.counts is not None:
                predicted = "-" if point.predicted is None else f"{point.predicted:.2f}"
                inside = f"; in the window {point.counts.a:g} seen, {predicted} predicted"
            lines.append(f"  {100 * point.efficiency:.3g} %: {point.outcome}{inside}")
        return "\n".join(lines)


def _closure_line(closure: Closure) -> str:
    return (
        f"closure outside the window {closure.kappa:.3f} +- {closure.uncertainty:.3f}, spread "
        f"{closure.spread:.3f}; Pearson {closure.pearson:.3f}, Spearman {closure.spearman:.3f}, "
        f"distance {closure.distance:.3f}"
    )
