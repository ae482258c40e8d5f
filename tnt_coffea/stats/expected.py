"""What a search expects to see, from its background alone: significances of signals, and limits.

The background is that of the data's background-only fit; with a window, of the fit to the
sidebands, and no number depends on the events in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import check_arguments, listed_masses, listed_numbers
from tnt_coffea.stats.blinding import Sidebands, hidden_window, prepared
from tnt_coffea.stats.bumps import data_notes
from tnt_coffea.stats.envelope import enveloped
from tnt_coffea.stats.limit_results import LimitResult
from tnt_coffea.stats.limits import upper_limit
from tnt_coffea.stats.lower_edge import LOWEST_EDGE
from tnt_coffea.stats.model import SpectrumModel, spurious_notes
from tnt_coffea.stats.quantities import check_ranges
from tnt_coffea.stats.results import Result
from tnt_coffea.stats.signals import Signal
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import range_problems, why_not_asymptotic

__all__ = [
    "Expectation",
    "ExpectationScan",
    "ExpectedLimit",
    "ExpectedSignal",
    "SidebandFit",
    "Window",
    "expectation",
    "expectation_scan",
    "expected_significance",
    "expected_uncertainty",
    "hidden_range",
]

Array = NDArray[np.float64]

Window = tuple[float, float] | Literal["signal"] | None
"""A range in mass that is hidden [GeV]; 'signal': mass +- 2 widths; None: nothing is hidden."""

_REACH = (3.0, 5.0)
"""Significances whose signals are quoted: evidence and discovery."""
# Strengths at which the significance is known, in uncertainties of the signal.
_STRENGTHS = np.geomspace(0.5, 50.0, 33)


@dataclass(frozen=True)
class ExpectedSignal(Result):
    """A signal and its expected significance.

    Attributes
    ----------
    events
        Signal events over all channels.
    z
        Median significance, sqrt(q0) of the Asimov data set.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> stats.ExpectedSignal(events=100, z=3.2)
    ExpectedSignal(events=100, z=3.2)
    """

    events: float
    z: float


@dataclass(frozen=True)
class SidebandFit(Result):
    """The background-only fit of one channel, and its bins that are not hidden.

    Attributes
    ----------
    name
        The channel.
    edges
        Edges of the bins [GeV].
    observed
        Events per bin, or sums of weights; None where they are hidden.
    background
        Expectation of the fit per bin.
    parameters
        Parameters of the background function, normalisation included.
    goodness_of_fit, goodness_calibration
        Of the bins that are not hidden, as of `ChannelResult`.
    pulls
        Signed roots of the bins' deviances; None where they are hidden.
    scale
        Weight of an effective event per bin, as of `ChannelResult`.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> found = stats.expectation(
    ...     stats.toy_spectrum(5000), mass=3500, width=120, fit=fit, window="signal", limit=False
    ... )
    >>> found.channels[0].observed[2:8]
    (700.0, None, None, None, 111.0, 53.0)
    """

    name: str
    edges: tuple[float, ...]
    observed: tuple[float | None, ...]
    background: tuple[float, ...]
    parameters: int
    goodness_of_fit: float
    goodness_calibration: str
    pulls: tuple[float | None, ...]
    scale: tuple[float, ...] = ()

    @property
    def beside(self) -> float:
        """Events in the bins that are not hidden."""
        return sum(n for n in self.observed if n is not None)


@dataclass(frozen=True)
class ExpectedLimit(Result):
    """The CLs upper limit that background alone is expected to give.

    Attributes
    ----------
    level
        Confidence level.
    events
        Signal events at -2, -1, 0, 1, 2 standard deviations of the background.
    efficiency, luminosity
        Selected over produced signal events, and luminosity [1/fb], if given.
    cross_section
        Events over efficiency and luminosity, or of the signal's templates [fb]; None without them.
    calibration, toys, converged
        As of `LimitResult`.
    notes
        What a reader must know.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> found = stats.expectation(spectrum, mass=3500, width=120, fit=fit)
    >>> found.limit.events[0] < found.limit.events[2] < found.limit.events[4]
    True
    """

    level: float
    events: tuple[float, ...]
    efficiency: float | None
    luminosity: float | None
    cross_section: tuple[float, ...] | None
    calibration: str
    toys: int
    converged: bool
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the limit as text."""
        return "\n".join(_limit_lines(self))


@dataclass(frozen=True)
class Expectation(Result):
    """What background alone lets one expect of a signal at one mass.

    Attributes
    ----------
    mass, width
        The signal [GeV].
    fit_range
        Lower and upper edge of the fit [GeV].
    window
        The range whose bins are hidden [GeV]: nothing here depends on the events in it; None:
        the background is that of all bins.
    channels
        The background-only fit of every channel.
    functions
        The functions that compete for the background, 'family parameters'; the fit's first.
    uncertainty
        Expected uncertainty of a small signal [events].
    signals
        The stated signals with their expected significances.
    reach
        Signals with an expected significance of 3 and of 5, where one has it.
    limit
        Expected limit; None where it was not asked for, or there is none.
    converged
        Whether all fits converged.
    notes
        What a reader must know.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> found = stats.expectation(
    ...     spectrum, mass=3500, width=120, fit=fit, window="signal", limit=False
    ... )
    >>> print(found.summary().splitlines()[0])
    expected at 3500 GeV, width 120 GeV, fit range 2600-7000 GeV, 3260-3740 GeV hidden
    """

    mass: float
    width: float
    fit_range: tuple[float, float]
    window: tuple[float, float] | None
    channels: tuple[SidebandFit, ...]
    functions: tuple[str, ...]
    uncertainty: float
    signals: tuple[ExpectedSignal, ...]
    reach: tuple[ExpectedSignal, ...]
    limit: ExpectedLimit | None
    converged: bool
    notes: tuple[str, ...]
    kind: Literal["expected"] = field(default="expected", kw_only=True)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        hidden = "" if self.window is None else f", {_range(self.window)} GeV hidden"
        lines = [
            f"expected at {self.mass:g} GeV, width {self.width:g} GeV, fit range "
            f"{_range(self.fit_range)} GeV{hidden}"
        ]
        lines += [f"  Z = {s.z:.2f} for {s.events:g} signal events" for s in self.signals]
        reach = ", ".join(f"Z = {s.z:g} for {s.events:.4g}" for s in self.reach)
        lines.append(
            f"  uncertainty of a small signal {self.uncertainty:.1f} events"
            + (f"; {reach}" if reach else "")
        )
        lines += [] if self.limit is None else _limit_lines(self.limit)
        beside = "" if self.window is None else " beside the window"
        lines += [
            f"  {channel.name}: {channel.beside:g} events{beside}, {self.functions[0]} "
            f"parameters, goodness of fit{beside} p = {channel.goodness_of_fit:.3g} "
            f"({channel.goodness_calibration})"
            for channel in self.channels
        ]
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class ExpectationScan(Result):
    """What background alone lets one expect at many masses.

    Attributes
    ----------
    points
        One a mass.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> spectrum = stats.toy_spectrum(5000)
    >>> found = stats.expectation_scan(
    ...     spectrum, masses=[3400, 3600], width=120, fit=fit, window=(3200, 3800), limit=False
    ... )
    >>> print(found.summary().splitlines()[0])
    expected at 2 masses, 3400-3600 GeV, 3200-3800 GeV hidden
    """

    points: tuple[Expectation, ...]
    kind: Literal["expected scan"] = field(default="expected scan", kw_only=True)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        first, last = self.points[0], self.points[-1]
        hidden = "" if first.window is None else f", {_range(first.window)} GeV hidden"
        lines = [
            f"expected at {len(self.points)} masses, {_range((first.mass, last.mass))} GeV{hidden}"
        ]
        for point in self.points:
            parts = [f"Z = {s.z:.2f} for {s.events:g} events" for s in point.signals]
            parts += [f"Z = {s.z:g} for {s.events:.4g} events" for s in point.reach]
            if point.limit is not None:
                parts.append(
                    f"{100 * point.limit.level:g} % limit {point.limit.events[2]:.4g} events"
                )
            doubt = "" if point.converged else ", NOT CONVERGED"
            lines.append(f"  {point.mass:g} GeV: {', '.join(parts)}{doubt}")
        notes = dict.fromkeys(note for point in self.points for note in point.notes)
        return "\n".join([*lines, *(f"  note: {note}" for note in notes)])


def expected_significance(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    signal: float,
    window: Window = None,
) -> float:
    """Return the median significance that a signal is expected to have.

    It is sqrt(q0) of the Asimov data set: what the background-only fit expects plus the signal,
    fitted with all functions that compete.

    Parameters
    ----------
    channels, mass, width, fit
        As for `bump_hunt`.
    signal
        Signal events over all channels.
    window
        Range in mass whose bins take no part [GeV]; 'signal' for mass +- 2 widths; None for the
        background-only fit of all bins.

    Raises
    ------
    FitError
        The signal is no number of 0 or more, or the histograms do not suit the fit.

    Source
    ------
    Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, section 4.2 and equation 97.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> spectrum = stats.toy_spectrum(5000)
    >>> z = stats.expected_significance(spectrum, mass=3500, width=120, fit=fit, signal=100)
    >>> round(z)
    3
    """
    check_arguments(mass=mass, width=width, fit=fit)
    listed_numbers("signal", [signal], 0)
    shape = fit.signal(mass, width)
    beside = prepared(channels, [shape], fit, hidden_range(window, [shape]))
    return float(_significances(beside, beside.models[0], np.array([float(signal)]))[0][0])


def expectation(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    signals: Sequence[float] = (),
    window: Window = None,
    limit: bool = True,
    level: float = 0.95,
    toys: int | None = None,
    efficiency: float | None = None,
    luminosity: float | None = None,
    lower_edges: Sequence[float] | Literal["auto"] = (),
    lowest_edge: float = LOWEST_EDGE,
    seed: int = 1,
) -> Expectation:
    """Return expected significances of signals and the expected limit at one mass.

    Parameters
    ----------
    channels, mass, width, fit, lower_edges, lowest_edge
        As for `bump_hunt`.
    signals
        Signal events over all channels, whose significances are wanted.
    window
        As for `expected_significance`.
    limit
        Whether the expected limit is wanted.
    level, toys, efficiency, luminosity
        Of the limit, as for `upper_limit`.
    seed
        Root seed of the toys.

    Raises
    ------
    FitError
        An argument is out of range, or the histograms do not suit the fit.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> found = stats.expectation(
    ...     spectrum, mass=3500, width=120, fit=fit, signals=[100], window=(3260, 3740)
    ... )
    >>> round(found.signals[0].z), found.limit.events[2] < found.reach[0].events
    (3, True)
    >>> [round(signal.z) for signal in found.reach]
    [3, 5]
    """
    check_arguments(
        mass=mass,
        width=width,
        fit=fit,
        level=level,
        toys=toys,
        efficiency=efficiency,
        luminosity=luminosity,
        seed=seed,
    )
    signals = listed_numbers("signals", signals, 0)
    shape = fit.signal(mass, width)
    beside = prepared(
        channels,
        [shape],
        fit,
        hidden_range(window, [shape]),
        lower_edges=lower_edges,
        lowest_edge=lowest_edge,
        seed=seed,
    )
    wanted = {
        "level": level,
        "toys": toys,
        "efficiency": efficiency,
        "luminosity": luminosity,
        "seed": seed,
    }
    sidebands = _sideband_fits(beside, seed)
    return _expectation(beside, beside.models[0], sidebands, signals, wanted if limit else None)


def expectation_scan(
    channels: Any,
    *,
    masses: Sequence[float],
    width: float,
    fit: SpectrumFit,
    signals: Sequence[float] = (),
    window: Window = None,
    limit: bool = True,
    level: float = 0.95,
    efficiency: float | None = None,
    luminosity: float | None = None,
    lower_edges: Sequence[float] | Literal["auto"] = (),
    lowest_edge: float = LOWEST_EDGE,
    seed: int = 1,
) -> ExpectationScan:
    """Return expected significances and asymptotic limits over masses, with the same functions.

    Parameters
    ----------
    masses
        The masses, rising [GeV]; with the window 'signal' all of them +- 2 widths are hidden.
    channels, width, fit, signals, window, limit, level, efficiency, luminosity, seed
        As for `expectation`.
    lower_edges, lowest_edge
        As for `expectation`.

    Raises
    ------
    FitError
        The masses do not rise; or as `expectation`.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> found = stats.expectation_scan(
    ...     stats.toy_spectrum(5000), masses=[3400, 3600], width=120, fit=fit, limit=False
    ... )
    >>> [point.mass for point in found.points]
    [3400.0, 3600.0]
    """
    check_arguments(
        width=width, fit=fit, level=level, efficiency=efficiency, luminosity=luminosity, seed=seed
    )
    signals, masses = listed_numbers("signals", signals, 0), listed_masses(masses)
    shapes = [fit.signal(float(mass), width) for mass in masses]
    beside = prepared(
        channels,
        shapes,
        fit,
        hidden_range(window, shapes),
        lower_edges=lower_edges,
        lowest_edge=lowest_edge,
        seed=seed,
    )
    wanted = {"level": level, "toys": 0, "efficiency": efficiency, "luminosity": luminosity}
    sidebands = _sideband_fits(beside, seed)
    return ExpectationScan(
        tuple(
            _expectation(beside, model, sidebands, signals, wanted if limit else None)
            for model in beside.models
        )
    )


def hidden_range(window: Window, shapes: Sequence[Signal]) -> tuple[float, float] | None:
    """Return a window as edges [GeV].

    Raises
    ------
    FitError
        It is none.
    """
    if window is None:
        return None
    if isinstance(window, str) and window == "signal":
        return hidden_window(shapes)
    check_ranges({"window": window})
    return float(window[0]), float(window[1])


def _expectation(
    beside: Sidebands,
    model: SpectrumModel,
    sidebands: tuple[SidebandFit, ...],
    signals: Sequence[float],
    limit: dict[str, Any] | None,
) -> Expectation:
    uncertainty = expected_uncertainty(beside, model)
    strengths = model.unit * uncertainty * _STRENGTHS
    stated = len(signals)
    z, good = _significances(beside, model, np.array([*map(float, signals), *strengths]))
    # Far beyond the reach a fit may fail for all that is quoted.
    beyond = np.flatnonzero(z[stated:] > _REACH[-1])
    within = stated + (int(beyond[0]) + 1 if beyond.size else len(strengths))
    reach = _reach(strengths[: within - stated], z[stated:within])
    found, notes = _limit(beside, model, limit)
    return Expectation(
        mass=float(model.signal.mass),
        width=float(model.signal.width),
        fit_range=(float(beside.fit.range[0]), float(beside.fit.range[1])),
        window=beside.window,
        channels=sidebands,
        functions=(beside.function, *(n for n in model.functions if n != beside.function)),
        uncertainty=model.unit * uncertainty,
        signals=tuple(
            ExpectedSignal(float(events), float(one))
            for events, one in zip(signals, z, strict=False)
        ),
        reach=reach,
        limit=found,
        converged=bool(
            beside.converged and good[:within].all() and (found is None or found.converged)
        ),
        notes=tuple(
            dict.fromkeys(
                [
                    *data_notes(model.data, model.signal.width, (model.signal.mass,) * 2),
                    *range_problems({f.name: f.goodness_of_fit for f in sidebands}),
                    *spurious_notes(model),
                    *_validity_notes(beside, model),
                    *notes,
                ]
            )
        ),
    )


def _significances(
    beside: Sidebands, model: SpectrumModel, signals: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Return sqrt(q0) of the background with each signal [events], and whether its fits ended."""
    channels = next(iter(model.functions.values()))
    alpha = np.array([beside.alpha(model)])
    counts = [
        b + (signals / model.unit)[:, None] * channel.moved_signal(alpha)
        for b, channel in zip(beside.background, channels, strict=True)
    ]
    test = enveloped(model.functions, counts, centres=np.repeat(alpha, len(signals), axis=0))
    return test.z, test.converged


def expected_uncertainty(beside: Sidebands, model: SpectrumModel) -> float:
    """Return the expected uncertainty of a small signal: of the background alone."""
    counts = [b[None] for b in beside.background]
    test = enveloped(model.functions, counts, centres=np.array([beside.alpha(model)])).background
    name = test.function()
    sigma = float(engine.signal_uncertainties(model.functions[name], counts, test.fits[name])[0])
    engine.check_informative(sigma)
    return sigma


def _reach(strengths: Array, z: Array) -> tuple[ExpectedSignal, ...]:
    rising = np.maximum.accumulate(z)
    return tuple(
        ExpectedSignal(float(np.interp(goal, rising, strengths)), goal)
        for goal in _REACH
        if rising[0] < goal < rising[-1]
    )


def _limit(
    beside: Sidebands, model: SpectrumModel, wanted: dict[str, Any] | None
) -> tuple[ExpectedLimit | None, list[str]]:
    if wanted is None:
        return None, []
    try:
        found = upper_limit(
            model.data,
            mass=model.signal.mass,
            width=model.signal.width,
            fit=beside.fit,
            cross_check=False,
            **wanted,
        )
    except FitError as error:
        return None, [f"no expected limit: {error}"]
    return _only_expected(found), []


def _only_expected(found: LimitResult) -> ExpectedLimit:
    return ExpectedLimit(
        level=found.level,
        events=found.expected,
        efficiency=found.efficiency,
        luminosity=found.luminosity,
        cross_section=found.expected_cross_section,
        calibration=found.calibration,
        toys=found.toys,
        converged=found.converged,
        # What the observed limit says of the data is nothing that is expected.
        notes=tuple(note for note in found.notes if not note.startswith("the observed limit is ")),
    )


def _validity_notes(beside: Sidebands, model: SpectrumModel) -> list[str]:
    channels = next(iter(model.functions.values()))
    return [
        f"{reason}: the median of the significance is that of an Asimov data set, which may be "
        "off there"
        for reason in why_not_asymptotic(channels, beside.background, model.signal)
    ]


def _sideband_fits(beside: Sidebands, seed: int) -> tuple[SidebandFit, ...]:
    return tuple(
        SidebandFit(
            name=spectrum.name,
            edges=tuple(spectrum.edges.tolist()),
            observed=_shown(spectrum.sums, seen),
            background=tuple(spectrum.weights(b).tolist()),
            parameters=int(beside.function.rpartition(" ")[2]),
            goodness_of_fit=goodness,
            goodness_calibration=calibration,
            pulls=_shown(engine.pulls(spectrum.counts, b), seen),
            scale=tuple(spectrum.weights(np.ones_like(b)).tolist()) if spectrum.weighted else (),
        )
        for spectrum, seen, b, (goodness, calibration) in zip(
            beside.data, beside.seen, beside.background, beside.goodness(seed), strict=True
        )
    )


def _shown(values: Array, seen: NDArray[np.bool_]) -> tuple[float | None, ...]:
    pairs = zip(values.tolist(), seen.tolist(), strict=True)
    return tuple(value if shown else None for value, shown in pairs)


def _limit_lines(limit: ExpectedLimit) -> list[str]:
    low2, low, middle, high, high2 = limit.events
    lines = [
        f"  expected {100 * limit.level:g} % CLs upper limit {middle:.4g} signal events, within "
        f"one standard deviation {low:.4g} to {high:.4g}, two {low2:.4g} to {high2:.4g} "
        f"({limit.calibration})"
    ]
    if limit.cross_section is not None:
        of = "the signal's templates"
        if limit.efficiency is not None:
            of = f"an efficiency of {limit.efficiency:.4g} and {limit.luminosity:g} / fb"
        lines.append(f"  cross section {limit.cross_section[2]:.4g} fb, for {of}")
    return [*lines, *(f"  limit: {note}" for note in limit.notes)]


def _range(edges: tuple[float, float]) -> str:
    return f"{edges[0]:g}-{edges[1]:g}"
