"""Limits on a stated signal whose taggers were trained anew with it, at each of several strengths.

What a tagger that learns from the data keeps of a signal depends on how much of it there was to
learn from. So every strength is a hypothesis of its own, tested with the taggers that were trained
with it and with the efficiency that these have; the limit is read from the CLs of all strengths.

Source
------
Signal injected into the data at each cross section, with networks trained again:
arXiv:2005.02983.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.arguments import check_arguments
from tnt_coffea.stats.bumps import data_notes
from tnt_coffea.stats.cls import ToyCls, WeightedToys
from tnt_coffea.stats.limit_results import BANDS
from tnt_coffea.stats.limits import prepared
from tnt_coffea.stats.results import Result
from tnt_coffea.stats.signals import TemplateShape
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import LEAST_UNDER_LIMIT
from tnt_coffea.working_points import Selection, selection_name

__all__ = [
    "RetrainedLimit",
    "RetrainedStrength",
    "RetrainedTest",
    "retrained_limit",
    "strength_test",
]

_TOYS = 1000
"""Without a signal and with it, where the formulae do not hold: CLs = 5 % is known to 0.7 %."""
_LEAST_CLS = 1e-6
"""No CLs is told from a smaller one, in the interpolation."""
_WELL_KNOWN = 0.05
"""Relative uncertainty of an efficiency above which it is noted."""
_FAILED = 0.01
"""Share of failed toys with which a test is not called converged."""
_Cls = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class RetrainedTest(Result):
    """A strength of a signal, tested with taggers of one training.

    Attributes
    ----------
    injected
        Dijets of the signal that were among the events the taggers were trained on.
    efficiency, efficiency_uncertainty
        Selected over produced signal events, of those that were not injected, in the fit range.
    selected
        Signal events that the strength lets expect in the selection, mu of the test.
    observed
        CLs of the strength in the data.
    expected
        The same for background alone, at -2, -1, 0, 1, 2 standard deviations.
    calibration
        'asymptotic', 'toys', or 'none': there is no test, and the strength is not excluded.
    converged
        Whether the fits converged.
    notes
        What a reader must know.

    Examples
    --------
    >>> bands = (0.01, 0.04, 0.1, 0.3, 0.6)
    >>> test = RetrainedTest(20, 0.2, 0.01, 20.0, 0.03, bands, "asymptotic", converged=True)
    >>> test.observed < 0.05, test.expected[2] < 0.05
    (True, False)
    """

    injected: int
    efficiency: float
    efficiency_uncertainty: float
    selected: float
    observed: _Cls
    expected: tuple[_Cls, ...]
    calibration: str
    converged: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetrainedStrength(Result):
    """One strength of a signal, with all its trainings.

    Attributes
    ----------
    events
        Produced signal events.
    tests
        One an injection.

    Examples
    --------
    >>> bands = (0.01, 0.04, 0.1, 0.3, 0.6)
    >>> tests = [RetrainedTest(20, 0.2, 0.01, 20.0, cls, bands, "asymptotic", True)
    ...          for cls in (0.03, 0.05)]
    >>> strength = RetrainedStrength(100.0, tuple(tests))
    >>> strength.observed, strength.efficiency, strength.spread
    (0.04, 0.2, 0.0)
    """

    events: float
    tests: tuple[RetrainedTest, ...]

    @property
    def observed(self) -> float:
        """CLs of the data, the mean over the injections: those that exclude least count most."""
        return float(np.mean([test.observed for test in self.tests]))

    @property
    def expected(self) -> tuple[float, ...]:
        """CLs of background alone at -2, -1, 0, 1, 2 standard deviations, means likewise."""
        return tuple(float(cls) for cls in np.mean([test.expected for test in self.tests], axis=0))

    @property
    def efficiency(self) -> float:
        """Selected over produced signal events, the mean over the injections."""
        return float(np.mean([test.efficiency for test in self.tests]))

    @property
    def spread(self) -> float:
        """Standard deviation of the efficiency among the injections; 0 of a single one."""
        found = [test.efficiency for test in self.tests]
        return float(np.std(found, ddof=1)) if len(found) > 1 else 0.0

    @property
    def converged(self) -> bool:
        """Whether all fits converged."""
        return all(test.converged for test in self.tests)


@dataclass(frozen=True)
class RetrainedLimit(Result):
    """The CLs upper limit on a stated signal, its taggers trained anew at each strength.

    Attributes
    ----------
    signal, tagger_set, selection
        What was injected, and which events of the data were counted.
    mass, width
        The signal [GeV].
    level
        Confidence level.
    strengths
        The strengths that were tested, rising.
    observed
        Upper limit on the produced signal events; None: the largest strength is not excluded.
    expected
        The same for background alone at -2, -1, 0, 1, 2 standard deviations.
    luminosity
        Of the data [1/fb], if known.
    notes
        What a reader must know.

    Examples
    --------
    >>> bands = (0.01, 0.04, 0.1, 0.3, 0.6)
    >>> test = RetrainedTest(20, 0.2, 0.01, 20.0, 0.3, bands, "asymptotic", True)
    >>> strengths = [RetrainedStrength(100.0, (test,))]
    >>> found = retrained_limit(strengths, signal="m3500", tagger_set="tnt", selection=0.03,
    ...                         mass=3500, width=120, level=0.95)
    >>> print(found.summary().splitlines()[0])
    CLs upper limit on m3500 by tnt at 0.03, retrained, 95 %: > 100 produced signal events
    """

    signal: str
    tagger_set: str
    selection: Selection
    mass: float
    width: float
    level: float
    strengths: tuple[RetrainedStrength, ...]
    observed: float | None
    expected: tuple[float | None, ...]
    luminosity: float | None = None
    notes: tuple[str, ...] = ()
    kind: Literal["retrained_limit"] = field(default="retrained_limit", kw_only=True)

    @property
    def converged(self) -> bool:
        """Whether all fits converged."""
        return all(strength.converged for strength in self.strengths)

    @property
    def observed_cross_section(self) -> float | None:
        """The observed limit [fb]; None without luminosity, or where there is no limit."""
        return self._in_fb(self.observed)

    @property
    def expected_cross_section(self) -> tuple[float | None, ...]:
        """The expected limits [fb]."""
        return tuple(map(self._in_fb, self.expected))

    def limit_in_words(self, limit: float | None) -> str:
        """Return a limit in produced events, or above which strength it lies."""
        return f"> {self.strengths[-1].events:.4g}" if limit is None else f"{limit:.4g}"

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        shown = [self.limit_in_words(limit) for limit in self.expected]
        lines = [
            f"CLs upper limit on {self.signal} by {self.tagger_set} at "
            f"{selection_name(self.selection)}, retrained, {100 * self.level:g} %: "
            f"{self.limit_in_words(self.observed)} produced signal events",
            f"  expected {shown[2]}, within one standard deviation {shown[1]} to {shown[3]}, two "
            f"{shown[0]} to {shown[4]}",
        ]
        if self.luminosity is not None:
            seen, median = (
                f"{self.limit_in_words(limit)} / {self.luminosity:g} fb"
                if limit is None
                else f"{limit / self.luminosity:.4g} fb"
                for limit in (self.observed, self.expected[2])
            )
            lines.append(f"  cross section {seen}, expected {median}")
        lines += [
            f"  {one.events:g} events: efficiency {one.efficiency:.3g}, CLs {one.observed:.3g}, "
            f"expected {one.expected[2]:.3g}"
            for one in self.strengths
        ]
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def _in_fb(self, limit: float | None) -> float | None:
        return None if limit is None or self.luminosity is None else limit / self.luminosity


def strength_test(
    channels: Any,
    *,
    events: float,
    mass: float,
    width: float,
    fit: SpectrumFit,
    injected: int = 0,
    efficiency: float,
    efficiency_uncertainty: float = 0.0,
    toys: int | None = None,
    seed: int = 1,
) -> RetrainedTest:
    """Return CLs of one strength of a signal in a spectrum, or in several: observed and expected.

    Parameters
    ----------
    channels, mass, width
        As for `bump_hunt`.
    events
        Produced signal events: the strength.
    fit
        How the spectra are fitted; its templates are those of one produced event, with the
        efficiency of the taggers that selected.
    injected, efficiency, efficiency_uncertainty
        Of the training, for the result.
    toys
        Without the signal and with it; 0 takes the asymptotic formulae. None takes 1000 where
        fewer than 10 background events lie under the signal.
    seed
        Root seed of the toys.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or the fit has no templates.

    Source
    ------
    CLs: Read, J. Phys. G 28 (2002) 2693; statistic and formulae: arXiv:1007.1727, equations 16
    and 64-66.

    Notes
    -----
    Expected values are those of the background that a fit without a signal finds in these spectra.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import stats
    >>> from tnt_coffea.stats.signals import gaussian
    >>> edges = np.arange(2600.0, 7001, 40)
    >>> shape = 0.2 * gaussian(edges, 3500, 120)  # a fifth of the produced events is selected
    >>> one = {"all": stats.SignalTemplate(edges, shape, np.zeros(110))}
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40,
    ...                         templates=stats.MassTemplates({3500.0: one}))
    >>> test = stats.strength_test(stats.toy_spectrum(5000), events=600, mass=3500, width=120,
    ...                            fit=fit, efficiency=0.2)
    >>> round(test.selected), test.observed < 0.05, test.calibration
    (120, True, 'asymptotic')
    """
    check_arguments(mass=mass, width=width, fit=fit, seed=seed, toys=toys)
    signal = fit.signal(mass, width)
    if not isinstance(signal, TemplateShape):
        msg = "a strength is tested with templates of one produced event, and the fit has none"
        raise FitError(msg)
    model, cls, under = prepared(channels, signal, fit)
    selected = events * signal.total
    mu = selected / model.unit
    notes = data_notes(model.data, width, (mass, mass))
    fits = cls.fits(mu)
    converged = bool(cls.best.converged.all() and fits.converged.all())
    wanted = toys if toys is not None else _TOYS if under < LEAST_UNDER_LIMIT else 0
    found = cls.at(mu)
    if wanted:
        random = seeds.generator(seed, "stats", "retrained limit", "toys")
        thrown = WeightedToys.thrown(cls, np.array([mu]), wanted, random)
        found = ToyCls(thrown, 0.05).at(0)
        converged = converged and thrown.failed <= _FAILED * len(thrown)
    elif under < LEAST_UNDER_LIMIT:
        notes.append(
            f"{under:.1f} background events under the signal: CLs by the formulae is too low, ask "
            "for toys"
        )
    if not converged:
        notes.append("not converged: a fit stopped before its minimum")
    return RetrainedTest(
        injected,
        efficiency,
        efficiency_uncertainty,
        float(selected),
        _bounded(found.observed),
        tuple(map(_bounded, found.expected)),
        "toys" if wanted else "asymptotic",
        converged,
        tuple(notes),
    )


def retrained_limit(
    strengths: Sequence[RetrainedStrength],
    *,
    signal: str,
    tagger_set: str,
    selection: Selection,
    mass: float,
    width: float,
    level: float = 0.95,
    luminosity: float | None = None,
) -> RetrainedLimit:
    """Return the limit that the CLs of several strengths give.

    It is the strength from which on all are excluded: where the last CLs that is not below
    1 - level is followed by one that is, by a straight line in ln CLs. A larger strength that is
    not excluded moves it up, so the limit lies below a signal that is there no more often than
    the test of the next strength excludes that signal. Where all are excluded it is the least
    strength, for nothing is known below; where the largest is not, there is none.

    Parameters
    ----------
    strengths
        With their tests.
    signal, tagger_set, selection, mass, width, luminosity
        For the result.
    level
        Confidence level.

    Raises
    ------
    FitError
        There is no strength, or they do not rise above 0.

    Examples
    --------
    >>> bands = (0.001, 0.004, 0.01, 0.03, 0.06)
    >>> def at(events, cls):
    ...     test = RetrainedTest(9, 0.2, 0.01, 20.0, cls, bands, "asymptotic", True)
    ...     return RetrainedStrength(events, (test,))
    >>> found = retrained_limit([at(100.0, 0.5), at(200.0, 0.005)], signal="m3500",
    ...     tagger_set="tnt", selection=0.03, mass=3500, width=120, luminosity=30.0)
    >>> found.observed, found.expected[2], found.expected[4]
    (150.0, 100.0, None)
    >>> found.observed_cross_section
    5.0
    """
    ordered = tuple(strengths)
    events = np.array([one.events for one in ordered])
    if not ordered or events[0] <= 0 or np.any(np.diff(events) <= 0):
        msg = f"strengths must rise above 0, one or more, got {events.tolist()}"
        raise FitError(msg)
    alpha = 1 - level
    observed = _limit(events, np.array([one.observed for one in ordered]), alpha)
    bands = np.array([one.expected for one in ordered])
    expected = tuple(_limit(events, bands[:, place], alpha) for place in range(len(BANDS)))
    found = RetrainedLimit(
        signal,
        tagger_set,
        selection,
        float(mass),
        float(width),
        level,
        ordered,
        observed,
        expected,
        luminosity,
    )
    return replace(found, notes=tuple(_notes(found, alpha)))


def _limit(events: Any, cls: Any, alpha: float) -> float | None:
    """Return the strength from which on all are excluded; None: the largest one is not."""
    kept = np.flatnonzero(cls >= alpha)
    if not len(kept):
        return float(events[0])
    last = int(kept[-1])
    if last == len(events) - 1:
        return None
    first, second = np.log(np.maximum(cls[[last, last + 1]], _LEAST_CLS) / alpha)
    low, high = events[last], events[last + 1]
    return float(round(low + (high - low) * first / (first - second), 10))


def _notes(found: RetrainedLimit, alpha: float) -> list[str]:
    strengths = found.strengths
    cls = np.array([one.observed for one in strengths])
    notes = []
    if found.observed is None:
        notes.append(
            f"the largest strength, {strengths[-1].events:g} events, is not excluded: test larger "
            "ones"
        )
    elif (cls < alpha).all():
        notes.append(
            f"the least strength, {strengths[0].events:g} events, is excluded, and is quoted for "
            "the limit: test smaller ones"
        )
    elif found.expected[2] == strengths[0].events:
        notes.append("background alone excludes the least strength: test smaller ones")
    below = np.flatnonzero(cls < alpha)
    if len(below) and (cls[below[0] :] >= alpha).any():
        notes.append(
            f"CLs does not fall with the strength: {strengths[below[0]].events:g} events are "
            "excluded and more are not, which several injections of a strength make rarer; the "
            "limit is where all larger strengths are excluded"
        )
    tests = [test for one in strengths for test in one.tests]
    known = max(
        (test.efficiency_uncertainty / test.efficiency for test in tests if test.efficiency),
        default=0.0,
    )
    if known > _WELL_KNOWN:
        notes.append(
            f"an efficiency is known to {100 * known:.2g} % from the simulated events, a nuisance "
            "parameter of the signal's norm: give more"
        )
    return [*notes, *dict.fromkeys(note for test in tests for note in test.notes)]


def _bounded(cls: float) -> float:
    return float(min(max(cls, 0.0), 1.0))
