"""Results of the tests on spectra: frozen plain data that goes to JSON and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose, sqrt
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter

from tnt_coffea.displays import Displayed
from tnt_coffea.stats.validity import GOODNESS_TOYS, LEAST_BACKGROUND, SPURIOUS_LIMIT

__all__ = [
    "BANDS",
    "COMBINATION_NOTE",
    "BumpHuntResult",
    "ChannelResult",
    "EdgeTrial",
    "FitRefusal",
    "FunctionFit",
    "GrossVitells",
    "ImpactRefusal",
    "IntervalResult",
    "LimitRefusal",
    "LimitResult",
    "NuisanceImpact",
    "NuisanceImpacts",
    "Result",
    "ScanPoint",
    "ScanRefusal",
    "ScanResult",
    "SpuriousSignal",
]


TOYS, NULL_CHAINS = "toys", "null chains"
"""Experiments that p-values are counted in."""
COMBINATION_NOTE = (
    "several channels share one signal strength: where they are cross-validation folds, each "
    "fold's taggers were trained on the others, and this combined p-value is asymptotic or from "
    "histogram toys, not calibrated by null chains with retraining"
)


BANDS = (-2, -1, 0, 1, 2)
"""Where the expected limits stand, in standard deviations of the background."""


_IfKnown = Annotated[float | None, Field(exclude_if=lambda value: value is None)]
# Files of results without it stay what they were.


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
        curvature of the likelihood, or the larger half of the interval where functions compete.
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


@dataclass(frozen=True)
class ScanPoint(Result):
    """One hypothesis of a scan.

    Attributes
    ----------
    selection
        The selection that was fitted.
    mass, width
        The signal [GeV].
    parameters
        Background parameters of every channel, of the best function.
    z, p_local
        Local significance and p-value, calibrated as `calibration` says; z is 0 where p_local is
        a half or more.
    mu_hat, mu_uncertainty
        Signal events, mu >= 0; None where the likelihood has no curvature.
    converged
        Whether both fits converged.
    background
        Background events within mass +- 2 widths: below 25 the asymptotic p-value is not reliable.
        None in results of older versions.
    q0
        Test statistic of arXiv:1007.1727, equation 12; None in results of older versions.
    toys
        Toys of the scan behind p_local, (k + 1) / (N + 1), where the asymptotic p-value is not
        reliable; 0 where it is asymptotic.
    spurious_uncertainty
        As of `BumpHuntResult`.
    experiments
        What `toys` are: 'toys', or 'null chains'.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=[3300, 3500, 3700], width=120, fit=fit, toys=20)
    >>> [(point.mass, round(point.z, 1)) for point in result.points]
    [(3300.0, 1.0), (3500.0, 3.1), (3700.0, 0.0)]
    """

    selection: str
    mass: float
    width: float
    parameters: tuple[int, ...]
    z: float
    p_local: float
    mu_hat: float
    mu_uncertainty: float | None
    converged: bool
    background: float | None = None
    q0: float | None = None
    toys: int = 0
    spurious_uncertainty: float = 0.0
    experiments: str = TOYS

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula held."""
        return self.z if self.q0 is None else sqrt(self.q0)

    @property
    def calibration(self) -> str:
        """'asymptotic', 'toys' or 'null chains'."""
        return self.experiments if self.toys else "asymptotic"

    @property
    def p_is_bound(self) -> bool:
        """Whether no toy reached the data, so that p_local is the most that it can be."""
        return self.toys > 0 and isclose(self.p_local, 1 / (self.toys + 1))

    @property
    def sparse(self) -> bool:
        """Whether too few background events lie near the mass for an asymptotic p-value."""
        return self.background is not None and self.background < LEAST_BACKGROUND


@dataclass(frozen=True)
class GrossVitells(Result):
    """Global p-value from upcrossings of q0 at a low level.

    Attributes
    ----------
    p_global
        p_local + upcrossings x exp(-(q0 - level) / 2), at most 1.
    level
        q0 at which upcrossings were counted.
    upcrossings, uncertainty
        Their mean number in a background-only scan, and its uncertainty.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=range(3300, 3701, 100), width=120, fit=fit, toys=20)
    >>> result.gross_vitells.level, result.gross_vitells.p_global < 0.1
    (0.5, True)
    """

    p_global: float
    level: float
    upcrossings: float
    uncertainty: float


@dataclass(frozen=True)
class ScanResult(Result):
    """Local p-values over masses and selections, and the global one.

    Attributes
    ----------
    points
        Every hypothesis that was tested.
    best
        Position of the most significant one, that of the largest q0.
    z_pyhf
        Its sqrt(q0) by the pyhf model, the cross-check.
    p_global, z_global
        From toys of the whole scan, (k + 1) / (N + 1); None without toys. z_global is 0 where
        p_global is a half or more.
    toys, failed
        Background-only toys of the whole scan; how many had a fit that did not
        converge. They count as they stand.
    toy_maxima
        Largest sqrt(q0) of every toy.
    gross_vitells
        The same by upcrossings; None where it does not hold, as the notes say.
    converged
        Whether all fits to the data converged and pyhf agrees at the best point.
    skipped
        Masses without whole sidebands [GeV], by selection.
    notes
        What a reader must know.
    tried
        What was tried, in words, where several selections were.
    experiments
        What `toys` are: 'toys', or 'null chains', whole searches with taggers trained anew.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.scan(spectrum, masses=[3300, 3500, 3700], width=120, fit=fit, toys=20)
    >>> print(result.summary().splitlines()[0])
    scan of 3 hypotheses: most significant at 3500 GeV, width 120 GeV, selection all
    """

    points: tuple[ScanPoint, ...]
    best: int
    z_pyhf: float
    p_global: float | None
    z_global: float | None
    toys: int
    failed: int
    toy_maxima: tuple[float, ...]
    gross_vitells: GrossVitells | None
    converged: bool
    skipped: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]
    tried: str = ""
    experiments: str = TOYS
    kind: Literal["scan"] = field(default="scan", kw_only=True)

    @property
    def p_global_is_bound(self) -> bool:
        """Whether no toy reached the data, so that p_global is the most that it can be."""
        return self.toys > 0 and max(self.toy_maxima) < self.best_point.z_asymptotic

    @property
    def best_point(self) -> ScanPoint:
        """The most significant hypothesis."""
        return self.points[self.best]

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        best = self.best_point
        error = "" if best.mu_uncertainty is None else f" +- {best.mu_uncertainty:.1f}"
        least, most = ("at most ", " or more") if best.p_is_bound else ("", "")
        hypotheses = "1 hypothesis" if len(self.points) == 1 else f"{len(self.points)} hypotheses"
        lines = [
            f"scan of {hypotheses}{self.tried and f' ({self.tried})'}: most significant at "
            f"{best.mass:g} GeV, width {best.width:g} GeV, selection {best.selection}",
            f"  local Z = {best.z:.2f}{most}, p = {least}{best.p_local:.3g} ({best.calibration}), "
            f"signal {best.mu_hat:.1f}{error} events; sqrt of q0 {best.z_asymptotic:.2f}, by pyhf "
            f"{self.z_pyhf:.2f}",
        ]
        if self.p_global is not None and self.z_global is not None:
            least, most = ("at most ", " or more") if self.p_global_is_bound else ("", "")
            lines.append(
                f"  global p = {least}{self.p_global:.3g} "
                f"(Z = {self.z_global:.2f}{most}) from {self.toys} "
                + (
                    f"toys of the whole scan, {self.failed} of them with a failed fit"
                    if self.experiments == TOYS
                    else "whole searches of background, with taggers trained anew"
                )
            )
        if self.gross_vitells is not None:
            lines.append(
                f"  Gross-Vitells p = {self.gross_vitells.p_global:.3g}, "
                f"{self.gross_vitells.upcrossings:.2f} +- {self.gross_vitells.uncertainty:.2f} "
                f"upcrossings of q0 = {self.gross_vitells.level:g}"
            )
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class ScanRefusal(Result):
    """Why there is no scan over the selections of a search.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> print(stats.ScanRefusal('no mass has whole sidebands').summary())
    scan: refused
      no mass has whole sidebands
    """

    reason: str
    kind: Literal["refused"] = field(default="refused", kw_only=True)

    def summary(self) -> str:
        """Return the reason as text."""
        return f"scan: refused\n  {self.reason}"


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
