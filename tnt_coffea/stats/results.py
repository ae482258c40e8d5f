"""Results: frozen plain data that goes to JSON and back; those of a bump hunt."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, TypeAdapter

from tnt_coffea.displays import Displayed
from tnt_coffea.stats.validity import GOODNESS_TOYS, SPURIOUS_LIMIT

__all__ = [
    "COMBINATION_NOTE",
    "NULL_CHAINS",
    "TOYS",
    "BumpHuntResult",
    "ChannelResult",
    "EdgeTrial",
    "FitRefusal",
    "FunctionFit",
    "Result",
    "SpuriousSignal",
    "goodness_is_bound",
]

TOYS, NULL_CHAINS = "toys", "null chains"
"""Experiments that p-values are counted in."""
COMBINATION_NOTE = (
    "several channels share one signal strength: where they are cross-validation folds, each "
    "fold's taggers were trained on the others, and this combined p-value is asymptotic or from "
    "histogram toys, not calibrated by null chains with retraining"
)


class Result(Displayed):
    """Base of frozen dataclasses: numbers, texts, tuples and other results, as JSON values."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        values: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Return the result that `to_dict` wrote.

        Raises
        ------
        ValueError
            The values are no such result.
        """
        result: Self = TypeAdapter(cls).validate_python(values)
        return result

    def __repr__(self) -> str:
        summary = getattr(self, "summary", None)
        return super().__repr__() if summary is None else f"{type(self).__name__}: {summary()}"


@dataclass(frozen=True)
class SpuriousSignal(Result):
    """What a background fit makes of a spectrum without signal.

    Attributes
    ----------
    truth
        The spectrum: that of another function, as fitted to the data.
    events
        Fitted signal events, negative ones too.
    relative
        `events` in units of the uncertainty of mu in the data.
    gain
        By how much the other function describes the data better than those of the model, in
        ln L - parameters / 2; None where that was not asked.
    counts
        Whether it is one of those that make the nuisance parameter; None where that was not asked.
    """

    truth: str
    events: float
    relative: float
    gain: float | None = None
    counts: bool | None = None

    @property
    def is_biased(self) -> bool:
        """Whether it counts; where that was not asked, whether it is above 20 %."""
        return abs(self.relative) > SPURIOUS_LIMIT if self.counts is None else self.counts


@dataclass(frozen=True)
class EdgeTrial(Result):
    """One lower edge that was tried.

    Attributes
    ----------
    edge
        The edge [GeV].
    goodness_of_fit
        The least p-value of the channels' fits; None where a turn-on was seen before.
    turn_on
        p-value of a spectrum without a turn-on at the edge; None where it was not tested.
    """

    edge: float
    goodness_of_fit: float | None
    turn_on: float | None = None


@dataclass(frozen=True)
class FunctionFit(Result):
    """One of the functions that compete for the background.

    Attributes
    ----------
    family, parameters
        The function: its family, and its parameters in each channel.
    null, best
        -ln L + parameters / 2 at mu = 0 and at the best mu, relative to the
        saturated model.
    mu_hat, z
        Signal events, and sqrt(q0), of this function alone.
    """

    family: str
    parameters: int
    null: float
    best: float
    mu_hat: float
    z: float


@dataclass(frozen=True)
class ChannelResult(Result):
    """One spectrum of a bump hunt.

    Attributes
    ----------
    name
        The channel.
    edges
        Edges of the bins [GeV].
    observed
        Events per bin, or sums of weights.
    background
        Expectation of the background-only fit per bin.
    signal_plus_background
        Expectation of the fit with a signal per bin.
    parameters
        Parameters of the background function, normalisation included.
    goodness_of_fit
        p-value of the saturated likelihood ratio of the background-only fit.
    goodness_calibration
        'asymptotic' (chi-square), or 'toys' where bins are sparse.
    pulls
        Signed roots of the bins' deviances, background-only fit.
    share
        Share of the signal that this channel is expected to hold.
    scale
        Weight of an effective event per bin: contents over it are the counts that were fitted,
        with Poisson uncertainties. Empty where all events have weight one.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> folds = {f'fold-{i}': stats.toy_spectrum(2000, 40, seed=i) for i in range(2)}
    >>> hunt = stats.bump_hunt(folds, mass=3500, width=120, fit=fit)
    >>> [(channel.name, channel.parameters, round(channel.share, 2)) for channel in hunt.channels]
    [('fold-0', 5, 0.5), ('fold-1', 5, 0.5)]
    """

    name: str
    edges: tuple[float, ...]
    observed: tuple[float, ...]
    background: tuple[float, ...]
    signal_plus_background: tuple[float, ...]
    parameters: int
    goodness_of_fit: float
    goodness_calibration: str
    pulls: tuple[float, ...]
    share: float
    scale: tuple[float, ...] = ()

    @property
    def goodness_is_bound(self) -> bool:
        """Whether no toy fits as badly, so that goodness_of_fit is the most that it can be."""
        return goodness_is_bound(self.goodness_of_fit, self.goodness_calibration)


@dataclass(frozen=True)
class BumpHuntResult(Result):
    """A test for a resonance at one mass.

    Attributes
    ----------
    mass, width
        Gaussian signal [GeV].
    fit_range
        Lower and upper edge of the fit [GeV].
    channels
        The spectra and their fits.
    q0
        Test statistic of arXiv:1007.1727, equation 12.
    z
        The p-value in standard deviations; 0 where it is a half or more.
    p_value
        Local p-value, calibrated as `calibration` says.
    p_asymptotic
        The same from the half chi-square distribution; 0.5 at q0 = 0.
    mu_hat, mu_uncertainty
        Signal events over all channels, mu >= 0; the uncertainty is from the
        curvature of the likelihood, or the larger half of the interval where functions compete; at
        mu = 0 the larger of the two, as a deficit makes that half short.
    z_numpy
        sqrt(q0) by our own minimiser, which must agree with `z_asymptotic`.
    asimov_closure
        Fitted over injected mu on the background's expectation plus a signal.
    converged
        Whether all fits converged and all cross-checks agree.
    edm
        Estimated distance to the minimum, in ln L; None where SciPy stepped in.
    minimiser
        'minuit', or 'scipy' where Minuit failed.
    calibration
        'asymptotic', 'toys' or 'null chains'.
    toys
        Toy experiments, or null chains, behind p_value; 0 where it is asymptotic.
    notes
        What a reader must know before quoting the numbers.
    family
        Family of the best background function.
    interval
        68 % interval of mu: where ln L falls by one half, within mu >= 0. Its upper end is None
        where ln L never falls so far.
    shape
        Kind of the signal shape.
    nuisances
        Nuisance parameters of the signal at the maximum, by name.
    envelope
        Every function's part where several compete.
    spurious
        Signals that the fit finds where there is none.
    spurious_uncertainty
        Standard deviation of the spurious signal, a nuisance parameter [events]; 0: there is none.
    edges_tried
        Lower edges tried where it was chosen by fit quality.
    p_uncertainty
        Statistical uncertainty of p_value from the number of these.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> hunt = stats.bump_hunt(stats.toy_spectrum(5000, 100), mass=3500, width=120, fit=fit)
    >>> print(hunt.summary().splitlines()[1])
      Z = 3.05, p = 0.00114 (asymptotic), signal 107.4 +- 33.2 events
    >>> stats.BumpHuntResult.from_dict(hunt.to_dict()) == hunt
    True
    """

    mass: float
    width: float
    fit_range: tuple[float, float]
    channels: tuple[ChannelResult, ...]
    q0: float
    z: float
    p_value: float
    p_asymptotic: float
    mu_hat: float
    mu_uncertainty: float
    z_numpy: float
    asimov_closure: float
    converged: bool
    edm: float | None
    minimiser: str
    calibration: str
    toys: int
    notes: tuple[str, ...]
    family: str = "dijet"
    interval: tuple[float, float | None] | None = None
    shape: str = "gaussian"
    nuisances: tuple[tuple[str, float], ...] = ()
    envelope: tuple[FunctionFit, ...] = ()
    spurious: tuple[SpuriousSignal, ...] = ()
    edges_tried: tuple[EdgeTrial, ...] = ()
    p_uncertainty: float = 0.0
    spurious_uncertainty: float = 0.0
    kind: Literal["bump"] = field(default="bump", kw_only=True)

    @property
    def p_is_bound(self) -> bool:
        """Whether no experiment reached the data, so that p_value is the most that it can be."""
        # Toys that were thrown with a signal and weighted give no such bound, and no such number.
        return self.toys > 0 and isclose(self.p_value, 1 / (self.toys + 1))

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula held."""
        return float(self.q0**0.5)

    @property
    def unbiased(self) -> bool:
        """Whether no function that describes the data better makes a spurious signal."""
        return not any(s.is_biased for s in self.spurious)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        error = f" +- {self.p_uncertainty:.1g}" if self.p_uncertainty else ""
        least, most = ("at most ", " or more") if self.p_is_bound else ("", "")
        lines = [
            f"bump hunt at {self.mass:g} GeV, width {self.width:g} GeV, fit range "
            f"{self.fit_range[0]:g}-{self.fit_range[1]:g} GeV",
            f"  Z = {self.z:.2f}{most}, p = {least}{self.p_value:.3g}{error} "
            f"({self.calibration}), signal {self.mu_hat:.1f} +- {self.mu_uncertainty:.1f} events",
            f"  {'converged' if self.converged else 'NOT CONVERGED'}; sqrt of q0 "
            f"{self.z_asymptotic:.2f}, by the cross-check {self.z_numpy:.2f}; Asimov closure "
            f"{self.asimov_closure:.4f}",
        ]
        lines += [
            f"  {channel.name}: {sum(channel.observed):g} events, {channel.parameters} background "
            f"parameters, goodness of fit p = {'at most ' if channel.goodness_is_bound else ''}"
            f"{channel.goodness_of_fit:.3g} "
            f"({channel.goodness_calibration})"
            for channel in self.channels
        ]
        if self.spurious:
            lines.append(self._spurious_line())
        if self.envelope:
            names = ", ".join(f"{f.family} {f.parameters}: {f.best:.2f}" for f in self.envelope)
            lines.append(f"  functions that compete, -ln L + parameters / 2: {names}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def _spurious_line(self) -> str:
        biased = [s for s in self.spurious if s.is_biased]
        if not biased:
            return "  spurious signal: none that the data tell"
        worst = max(biased, key=lambda s: abs(s.relative))
        return (
            f"  spurious signal {worst.relative:+.2f} of its uncertainty ({worst.truth}): a "
            f"nuisance parameter of {self.spurious_uncertainty:.1f} events"
        )


def goodness_is_bound(p_value: float, calibration: str) -> bool:
    """Return whether a goodness of fit is the least that its toys can give."""
    return calibration == "toys" and isclose(p_value, 1 / (GOODNESS_TOYS + 1))


@dataclass(frozen=True)
class FitRefusal(Result):
    """Why a test of a search was not made: it does not suit its spectrum, or a fit fails.

    Attributes
    ----------
    test
        'bump hunt', 'scan' or 'ABCD'. Without a bump hunt, the spectrum has no other test.
    selection
        The tagger set; of a scan also 'before' or a method.
    reason
        One sentence.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.FitRefusal('bump hunt', 'tnt', 'too few bins hold events').summary())
    bump hunt, tnt: refused
      too few bins hold events
    """

    test: str
    selection: str
    reason: str

    def summary(self) -> str:
        """Return the reason as text."""
        return f"{self.test}, {self.selection}: refused\n  {self.reason}"
