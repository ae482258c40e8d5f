"""The p-value of a whole search: what the best of all tests that were made is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tnt_coffea.errors import FitError
from tnt_coffea.stats.p_values import significance
from tnt_coffea.stats.results import Result

__all__ = ["CountedTests", "GlobalPValue", "global_p_value"]


class CountedTests(NamedTuple):
    """Tests that have one p-value together, or one of them.

    Attributes
    ----------
    name
        What was tested.
    p_value
        Its p-value; of several tests, the global one of these.
    tests
        How many there are.
    calibration
        'asymptotic', 'toys', 'null chains', or what else the test says.

    Examples
    --------
    >>> CountedTests("scan, tnt", 0.02, 27, "toys").tests
    27
    """

    name: str
    p_value: float
    tests: int = 1
    calibration: str = "asymptotic"


@dataclass(frozen=True)
class GlobalPValue(Result):
    """How likely background alone makes some test of a search as significant as its best.

    Attributes
    ----------
    p_value, z
        Of the search, and in standard deviations, 0 where it is a half or more.
    tests
        Tests of this result that are counted.
    other_tests
        Tests that were made on the same data beside it, of other settings for example.
    groups
        p-values that the smallest was picked from; more than one make `p_value` a bound.
    best, p_best
        The most significant of these, and its p-value.
    calibration
        Where `p_best` comes from: 'asymptotic', 'toys', 'null chains'.
    note
        Why there are no null chains, where the settings ask for those of the package.

    Examples
    --------
    >>> hunts, abcd = CountedTests("bump hunts", 0.002, 4, "toys"), CountedTests("ABCD, tnt", 0.3)
    >>> found = global_p_value([hunts, abcd])
    >>> found.p_value, found.tests, found.is_bound
    (0.004, 5, True)
    """

    p_value: float
    z: float
    tests: int
    other_tests: int
    groups: int
    best: str
    p_best: float
    calibration: str
    note: str = ""

    @property
    def is_bound(self) -> bool:
        """Whether it is the most that the p-value can be, by Bonferroni's inequality."""
        return self.groups > 1

    def text(self) -> str:
        """Return p-value and what it counts, in one line."""
        least, most = ("at most ", " or more") if self.is_bound else ("", "")
        counted = f"{self.tests} test{'s' * (self.tests != 1)} of this result"
        if self.other_tests:
            counted += f" and {self.other_tests} made beside it on these data"
        how = f"the smallest p is {self.p_best:.2g} of {self.best} ({self.calibration})"
        if self.is_bound:
            how += f", times {self.groups} p-values to pick from (Bonferroni)"
        note = f"; {self.note}" if self.note else ""
        return (
            f"global p = {least}{self.p_value:.2g} (Z = {self.z:.2f}{most}) over {counted}: "
            f"{how}{note}"
        )

    def summary(self) -> str:
        """Return the result as text."""
        return f"everything that was tested\n  {self.text()}"


def global_p_value(
    tested: Sequence[CountedTests], *, other_tests: int = 0, note: str = ""
) -> GlobalPValue:
    """Return the p-value of the best of several tests.

    Parameters
    ----------
    tested
        What was tested.
    other_tests
        Tests on the same data beside these; each might have been picked as well.
    note
        As of `GlobalPValue`.

    Raises
    ------
    FitError
        Nothing was tested.

    Source
    ------
    P(min p_i <= p) <= n p for any dependence: Bonferroni's inequality. With one group of tests
    whose p-value counts them together, from null chains or toys of shared events, nothing is lost.

    Examples
    --------
    >>> global_p_value([CountedTests("tnt", 0.01)], other_tests=4).p_value
    0.05
    """
    if not tested:
        msg = "no test was made, so there is no global p-value"
        raise FitError(msg)
    best = min(tested, key=lambda one: one.p_value)
    groups = len(tested) + other_tests
    p = min(1.0, groups * best.p_value)
    return GlobalPValue(
        p_value=p,
        z=significance(p),
        tests=sum(one.tests for one in tested),
        other_tests=other_tests,
        groups=groups,
        best=best.name,
        p_best=best.p_value,
        calibration=best.calibration,
        note=note,
    )
