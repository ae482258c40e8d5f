"""Results of counting in windows: a test, one a window and a selection, and all of a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tnt_coffea.stats.p_values import significance
from tnt_coffea.stats.results import FitRefusal, Result, goodness_is_bound

__all__ = ["WindowResult", "WindowSpectrum", "WindowTest", "WindowTests"]


@dataclass(frozen=True)
class WindowSpectrum(Result):
    """The spectrum of a test in a window.

    Attributes
    ----------
    edges
        Edges of the bins [GeV], shape (bins + 1,).
    observed, background
        Sums of weights, and the fit to the bins beside the window, shape (bins,).
    scale
        Weight of an effective event per bin, shape (bins,); empty of events of weight one.
    variable
        Column that the mass is.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> toy = stats.toy_spectrum(5000, 100)
    >>> spectrum = stats.masked_window_test(toy, window=(3240, 3760), fit=fit).spectrum
    >>> len(spectrum.edges), sum(spectrum.observed[16:29])
    (111, 830.0)
    """

    edges: tuple[float, ...]
    observed: tuple[float, ...]
    background: tuple[float, ...]
    scale: tuple[float, ...] = ()
    variable: str = "m_jj"


@dataclass(frozen=True)
class WindowResult(Result):
    """Events in a window against the background interpolated into it.

    Attributes
    ----------
    window, fit_range
        Window, masked in the fit, and range of the fit [GeV].
    observed, expected, uncertainty
        Events in the window; background from the sidebands; its uncertainty.
    mu_hat
        observed - expected, at least 0.
    q0
        Profile likelihood ratio of equations 2.5 and 2.6.
    z, p_value
        Significance and p-value, as `calibration` says; z is 0 where p is a half or more.
    p_poisson
        Probability of so many events or more, the background's uncertainty
        integrated over: the Poisson test of CWoLa hunting.
    family, parameters
        The background function.
    goodness_of_fit, goodness_calibration
        Of the sideband fit.
    converged
        Whether the sideband fit converged.
    notes
        What a reader must know.
    calibration
        'asymptotic', or 'Poisson' where fewer than 25 events are expected: p is p_poisson.
    spectrum
        What was fitted.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> result = stats.masked_window_test(spectrum, window=(3240, 3760), fit=fit)
    >>> print(result.summary().splitlines()[0])
    window 3240-3760 GeV: 830 events, 711.5 +- 24.1 expected from the sidebands
    """

    window: tuple[float, float]
    fit_range: tuple[float, float]
    observed: float
    expected: float
    uncertainty: float
    mu_hat: float
    q0: float
    z: float
    p_value: float
    p_poisson: float
    family: str
    parameters: int
    goodness_of_fit: float
    goodness_calibration: str
    converged: bool
    notes: tuple[str, ...]
    calibration: str = "asymptotic"
    spectrum: WindowSpectrum | None = None
    kind: Literal["window"] = field(default="window", kw_only=True)

    @property
    def z_asymptotic(self) -> float:
        """sqrt(q0): the significance if the asymptotic formula held."""
        return float(self.q0**0.5)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        bound = goodness_is_bound(self.goodness_of_fit, self.goodness_calibration)
        lines = [
            f"window {self.window[0]:g}-{self.window[1]:g} GeV: {self.observed:g} events, "
            f"{self.expected:.1f} +- {self.uncertainty:.1f} expected from the sidebands",
            f"  Z = {self.z:.2f} (p = {self.p_value:.3g}, {self.calibration}), Poisson p = "
            f"{self.p_poisson:.3g}",
            f"  {self.family} with {self.parameters} parameters, goodness of fit p = "
            f"{'at most ' if bound else ''}{self.goodness_of_fit:.3g} "
            f"({self.goodness_calibration}), "
            f"{'converged' if self.converged else 'NOT CONVERGED'}",
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class WindowTest(Result):
    """The test in a window of one tagger set, at one selection.

    Attributes
    ----------
    taggers
        The tagger set.
    selection
        Share of events that it selects, or the name of its cuts; None: all dijets.
    result
        The test.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> found = stats.masked_window_test(spectrum, window=(3240, 3760), fit=fit)
    >>> test = stats.WindowTest("tnt", None, found)
    >>> test.mass, test.selected, round(test.z, 1)
    (3500.0, 'all dijets', 3.2)
    """

    taggers: str
    selection: float | str | None
    result: WindowResult

    @property
    def mass(self) -> float:
        """Centre of the window [GeV]."""
        return sum(self.result.window) / 2

    @property
    def z(self) -> float:
        """Significance of the Poisson p-value; 0 where that is a half or more."""
        return significance(self.result.p_poisson)

    @property
    def selected(self) -> str:
        """The selection as text: 'all dijets', '0.03', 'loose-heavy'."""
        own = self.selection
        return "all dijets" if own is None else own if isinstance(own, str) else f"{own:g}"


@dataclass(frozen=True)
class WindowTests(Result):
    """The tests in the windows of one method, at every selection; their p-values are local.

    Attributes
    ----------
    tests
        By window, rising; in it all dijets first.
    refusals
        Tests that could not be made; in a search's result they stand among its own.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> found = stats.masked_window_test(spectrum, window=(3240, 3760), fit=fit)
    >>> tests = stats.WindowTests((stats.WindowTest("tnt", 0.1, found),))
    >>> print(tests.summary())
    1 window, 1 test; Poisson p-values, each local
      3240-3760 GeV, 0.1: 830 events, 711.5 +- 24.1 expected, p = 0.000681 (Z = 3.20)
    >>> tests.selections, tests.best(0.1).mass
    ((0.1,), 3500.0)
    """

    tests: tuple[WindowTest, ...]
    refusals: tuple[FitRefusal, ...] = ()
    kind: Literal["windows"] = field(default="windows", kw_only=True)

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """The windows [GeV], rising."""
        return tuple(sorted({test.result.window for test in self.tests}))

    @property
    def selections(self) -> tuple[float | str | None, ...]:
        """The selections, in the order of the tests."""
        return tuple(dict.fromkeys(test.selection for test in self.tests))

    @property
    def converged(self) -> bool:
        """Whether all fits converged."""
        return all(test.result.converged for test in self.tests)

    def of(self, selection: float | str | None) -> tuple[WindowTest, ...]:
        """Return the tests at one selection, by window."""
        return tuple(test for test in self.tests if test.selection == selection)

    def best(self, selection: float | str | None) -> WindowTest:
        """Return the most significant test at one selection."""
        return min(self.of(selection), key=lambda test: test.result.p_poisson)

    def summary(self) -> str:
        """Return every test as a line of text, and why others were not made."""
        number, tests = len(self.windows), len(self.tests)
        lines = [
            f"{number} window{'' if number == 1 else 's'}, {tests} test{'' if tests == 1 else 's'}"
            "; Poisson p-values, each local"
        ]
        for test in self.tests:
            one = test.result
            low, high = one.window
            lines.append(
                f"  {low:g}-{high:g} GeV, {test.selected}: {one.observed:g} events, "
                f"{one.expected:.1f} +- {one.uncertainty:.1f} expected, p = {one.p_poisson:.3g} "
                f"(Z = {test.z:.2f}){'' if one.converged else ', NOT CONVERGED'}"
            )
            lines += [f"    note: {note}" for note in one.notes]
        return "\n".join([*lines, *(refusal.summary() for refusal in self.refusals)])
