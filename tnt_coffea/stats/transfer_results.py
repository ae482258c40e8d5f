"""What passes, predicted by what fails and a polynomial in the mass: the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from tnt_coffea.stats.limit_results import LimitRefusal
from tnt_coffea.stats.results import Result

__all__ = [
    "OrderTest",
    "TransferEstimate",
    "TransferLimit",
    "TransferRefusal",
    "TransferSpectrum",
    "TwoStepEstimate",
]


@dataclass(frozen=True)
class OrderTest(Result):
    """How a polynomial of one order describes the bins beside the signal.

    Attributes
    ----------
    order
        Of the polynomial.
    deviance
        2 ln (L_saturated / L).
    p_value
        Least p-value of the likelihood-ratio tests against the higher orders; None for the
        highest.

    Examples
    --------
    >>> OrderTest(1, 104.2, 0.31).order
    1
    """

    order: int
    deviance: float
    p_value: float | None


@dataclass(frozen=True)
class TwoStepEstimate(Result):
    """The published form: the polynomial is fitted to all bins first, and then taken as exact.

    Its uncertainty lacks those of the polynomial and of the events that fail.

    Attributes
    ----------
    mu_hat, mu_uncertainty
        Signal events that pass.
    z
        Root of q0.

    Examples
    --------
    >>> TwoStepEstimate(40.1, 12.0, 3.6).z
    3.6
    """

    mu_hat: float
    mu_uncertainty: float
    z: float


@dataclass(frozen=True)
class TransferSpectrum(Result):
    """Events that pass and fail in bins of the mass, with what is predicted.

    Attributes
    ----------
    edges
        Of the bins [GeV].
    passed, passed_variances, failed, failed_variances
        Sums of weights and of squared weights.
    transfer, transfer_uncertainty
        Pass over fail by the polynomial that is fitted beside the signal.
    predicted, predicted_uncertainty
        What fails times that, with the uncertainties of both.
    background, expected
        What passes in the fit to all bins: background, and background with signal.
    signal
        Share of the signal.
    at_bound
        Coefficients at their bound in the fit beside the signal, which the uncertainties take as
        exact.
    scales
        Weights of effective events that pass, and of those that fail; empty where all are 1.
    variable
        Name of the mass.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 5000), bin_width=100)
    >>> passed, failed = stats.toy_spectrum(1000, 50), stats.toy_spectrum(20_000, seed=2)
    >>> result = stats.transfer_factor(passed, failed, mass=3500, width=120, fit=fit)
    >>> len(result.spectrum.edges)
    25
    """

    edges: tuple[float, ...]
    passed: tuple[float, ...]
    passed_variances: tuple[float, ...]
    failed: tuple[float, ...]
    failed_variances: tuple[float, ...]
    transfer: tuple[float, ...]
    transfer_uncertainty: tuple[float, ...]
    predicted: tuple[float, ...]
    predicted_uncertainty: tuple[float, ...]
    background: tuple[float, ...]
    expected: tuple[float, ...]
    signal: tuple[float, ...]
    at_bound: tuple[int, ...] = ()
    scales: tuple[tuple[float, ...], ...] = ()
    variable: str = "m_jj"


@dataclass(frozen=True)
class TransferLimit(Result):
    """A CLs upper limit on the signal events that pass.

    Attributes
    ----------
    level
        Confidence level.
    observed, expected
        Limit, and those of background alone at -2, -1, 0, 1, 2 standard deviations.
    calibration
        `asymptotic` or `toys`.
    toys
        Toys without a signal.
    uncertainty
        Of the observed limit from toys.
    converged
        Whether CLs is known where the limits are.
    notes
        What a reader must know before quoting it.

    Examples
    --------
    >>> print(TransferLimit(0.95, 30, (15, 20, 28, 39, 52), "asymptotic").summary())
    CLs upper limit, 95 % (asymptotic): 30 signal events, expected 28 (20 to 39)
    """

    level: float
    observed: float
    expected: tuple[float, ...]
    calibration: str
    toys: int = 0
    uncertainty: float | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()
    kind: Literal["transfer limit"] = field(default="transfer limit", kw_only=True)

    def summary(self) -> str:
        """Return the limit as a line of text."""
        return (
            f"CLs upper limit, {100 * self.level:g} % ({self.calibration}): {self.observed:.4g} "
            f"signal events, expected {self.expected[2]:.4g} ({self.expected[1]:.4g} to "
            f"{self.expected[3]:.4g}){'' if self.converged else ', NOT CONVERGED'}"
        )


@dataclass(frozen=True)
class TransferEstimate(Result):
    """Events that pass against those that fail times a polynomial in the mass.

    Attributes
    ----------
    mass, width
        Of the signal [GeV].
    fit_range
        Range of the fit [GeV].
    denominator
        What the polynomial is the ratio of pass to: `fail` or `all`.
    order
        Of the polynomial.
    chosen
        Whether the order was chosen by tests, or asked for.
    orders
        The tests.
    goodness_of_fit, goodness_calibration
        p-value of the fit beside the signal, `asymptotic` or `toys`.
    domain
        Masses at which Bernstein's polynomials have x = 0 and 1 [GeV].
    coefficients
        Of these, in the fit to all bins.
    signal_in_fail
        Signal events that fail per one that passes, as asked for.
    window
        Bins whose centres lie within 2 widths of the mass [GeV].
    observed, predicted, uncertainty
        Events that pass there; what the fit beside the signal expects of those that fail.
    mu_hat, mu_uncertainty
        Signal events that pass, at the maximum of the likelihood, mu >= 0.
    q0
        Test statistic.
    z, p_value
        Significance and p-value.
    calibration, toys
        `asymptotic` or `toys`, and their number.
    p_is_bound
        Whether no toy reached the data, so that p is at most the number.
    two_step
        What the published form gives.
    converged
        Whether the fit finds a signal that is injected, and knows its uncertainty.
    edm
        Largest estimated distance to the minimum of these fits, in ln L.
    notes
        What a reader must know before quoting the numbers.
    spectrum
        The bins.
    limit
        Upper limit on the signal, where one was asked for, or why there is none.

    Source
    ------
    LHC Olympics 2020, arXiv:2101.08320, sections 3.4, 3.6 and 3.7, whose two steps are one
    likelihood here.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 5000), bin_width=100)
    >>> passed, failed = stats.toy_spectrum(1000, 50), stats.toy_spectrum(20_000, seed=2)
    >>> result = stats.transfer_factor(passed, failed, mass=3500, width=120, fit=fit)
    >>> result.order, round(result.z, 1)
    (3, 3.3)
    """

    mass: float
    width: float
    fit_range: tuple[float, float]
    denominator: str
    order: int
    chosen: bool
    orders: tuple[OrderTest, ...]
    goodness_of_fit: float
    goodness_calibration: str
    domain: tuple[float, float]
    coefficients: tuple[float, ...]
    signal_in_fail: float
    window: tuple[float, float]
    observed: float
    predicted: float
    uncertainty: float
    mu_hat: float
    mu_uncertainty: float
    q0: float
    z: float
    p_value: float
    calibration: str
    toys: int
    p_is_bound: bool
    two_step: TwoStepEstimate
    converged: bool
    edm: float
    notes: tuple[str, ...]
    spectrum: TransferSpectrum
    limit: Annotated[TransferLimit | LimitRefusal, Field(discriminator="kind")] | None = None
    kind: Literal["transfer"] = field(default="transfer", kw_only=True)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        low, high = self.window
        two = self.two_step
        how = "chosen" if self.chosen else "asked for"
        of = "calibrated by toys" if self.goodness_calibration == "toys" else "asymptotic"
        least, most = ("at most ", " or more") if self.p_is_bound else ("", "")
        lines = [
            f"transfer factor: {self.observed:g} events pass in {low:g}-{high:g} GeV, "
            f"{self.predicted:.2f} +- {self.uncertainty:.2f} predicted from the bins beside the "
            f"signal; pass / {self.denominator} of order {self.order} ({how}), goodness of fit "
            f"there p = {self.goodness_of_fit:.3g} ({of})",
            f"  Z = {self.z:.2f}{most}, p = {least}{self.p_value:.3g} ({self.calibration}), "
            f"signal {self.mu_hat:.1f} +- {self.mu_uncertainty:.1f} events at "
            f"{self.mass:g} GeV{'' if self.converged else ', NOT CONVERGED'}",
            f"  two steps, the polynomial taken as exact: Z = {two.z:.2f}, signal "
            f"{two.mu_hat:.1f} +- {two.mu_uncertainty:.1f}",
            *(f"  note: {note}" for note in self.notes),
        ]
        if self.limit is not None:
            lines.append(f"  {self.limit.summary()}")
        return "\n".join(lines)


@dataclass(frozen=True)
class TransferRefusal(Result):
    """Why no transfer factor is given.

    Attributes
    ----------
    reason
        One sentence.
    orders
        The tests of the order that were made.
    goodness_of_fit
        p-value of the fit beside the signal; None where there was none.

    Examples
    --------
    >>> print(TransferRefusal("3 events pass beside the signal").summary())
    transfer factor refused: 3 events pass beside the signal
    """

    reason: str
    orders: tuple[OrderTest, ...] = ()
    goodness_of_fit: float | None = None
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the refusal as a line of text."""
        return f"transfer factor refused: {self.reason}"
