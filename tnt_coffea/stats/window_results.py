"""Results of counting in windows: one test a window and a selection, and all of a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tnt_coffea.stats.p_values import significance
from tnt_coffea.stats.results import FitRefusal, Result, WindowResult

__all__ = ["WindowTest", "WindowTests"]


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
