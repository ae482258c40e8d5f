"""Bias studies: toys from functions that are not the fit's, with signals of known strengths.

Every toy is fitted as the data are, by all functions that compete. What comes out is the bias of
the signal, the coverage of its interval, and whether what is fitted follows what was injected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import check_arguments, listed_numbers
from tnt_coffea.stats.blinding import Sidebands, prepared
from tnt_coffea.stats.envelope import (
    Functions,
    asked_orders,
    competing,
    enveloped,
    profiled,
)
from tnt_coffea.stats.expected import Window, expected_uncertainty, hidden_range
from tnt_coffea.stats.families import FAMILIES, family_named
from tnt_coffea.stats.likelihood import Channel, nuisance_names
from tnt_coffea.stats.lower_edge import LOWEST_EDGE
from tnt_coffea.stats.model import all_functions, chosen_function, goodness_of_fit
from tnt_coffea.stats.quantities import check_whole
from tnt_coffea.stats.results import Result
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.spurious import with_spurious
from tnt_coffea.stats.validity import (
    LEAST_BACKGROUND,
    LEAST_RANGE_GOODNESS,
    MOST_TOYS,
    background_in_reach,
)

__all__ = ["BiasPoint", "BiasStudy", "BiasTruth", "bias_study"]

Array = NDArray[np.float64]

STRENGTHS = (0.0, 1.0, 2.0, 3.0, 5.0)
"""Injected signals, in expected uncertainties of the signal."""
DEFAULT_TOYS = 500
"""Toys of a truth and a strength: a pull's mean is then known to 0.045."""

_Z_5_PERCENT = 1.6448536269514722
_95_PERCENT = 1.959963984540054
# Toys between two reports of progress: the fits' own batch.
_BATCH = 256
# Share of failed toys from which on a study is not called converged.
_FAILED = 0.01


@dataclass(frozen=True)
class BiasPoint(Result):
    """Toys of one truth with one signal.

    Attributes
    ----------
    strength
        Injected signal in expected uncertainties of a small signal.
    injected
        The same in events.
    fitted, fitted_error
        Mean of the fitted signal, negative ones too, and its statistical uncertainty [events].
    pull, pull_error
        Mean of the pull: the signed root of twice the fall of ln L from the best signal to the
        injected one, in the limit (fitted - injected) / uncertainty.
    pull_width, pull_width_error
        Its standard deviation.
    p_below_5_percent
        Share of toys with an asymptotic p-value below 5 %.
    covers_68, covers_95
        Share of toys whose 68 and 95 % interval holds the injected signal.
    toys, failed
        Toys that these numbers are of, and those that had a fit that did not converge, beside
        them.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> study = stats.bias_study(
    ...     stats.toy_spectrum(2000), mass=3500, width=120, fit=fit, truths=["exponential"],
    ...     strengths=[0, 3], toys=5,
    ... )
    >>> [(point.strength, point.toys) for point in study.truths[0].points]
    [(0.0, 5), (3.0, 5)]
    """

    strength: float
    injected: float
    fitted: float
    fitted_error: float
    pull: float
    pull_error: float
    pull_width: float
    pull_width_error: float
    p_below_5_percent: float
    covers_68: float
    covers_95: float
    toys: int
    failed: int


@dataclass(frozen=True)
class BiasTruth(Result):
    """Toys of one truth with all signals.

    Attributes
    ----------
    function
        The truth, 'family parameters'; of several channels the most parameters.
    goodness_of_fit
        p-value of its fit to the bins that were looked at, the least of the channels.
    points
        One a strength.
    slope, slope_error, offset, offset_error
        Straight line through the fitted over the injected signals [events]; None for one strength.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> study = stats.bias_study(
    ...     stats.toy_spectrum(2000), mass=3500, width=120, fit=fit, truths=["exponential 3"],
    ...     strengths=[0, 3], toys=20,
    ... )
    >>> study.truths[0].function, abs(study.truths[0].slope - 1) < 0.5
    ('exponential 3', True)
    """

    function: str
    goodness_of_fit: float
    points: tuple[BiasPoint, ...]
    slope: float | None
    slope_error: float | None
    offset: float | None
    offset_error: float | None


@dataclass(frozen=True)
class BiasStudy(Result):
    """What a fit makes of signals on backgrounds that are not its own.

    Attributes
    ----------
    mass, width
        The signal [GeV].
    fit_range
        Lower and upper edge of the fit [GeV].
    window
        The range whose events took no part [GeV]; None: there is none.
    functions
        The functions that compete in every toy; where they are chosen anew, those of the data.
    rechoose
        Whether they are chosen anew in every toy.
    uncertainty
        Expected uncertainty of a small signal, the unit of the strengths [events].
    truths
        One a truth.
    toys, seed
        Toys of a truth and a strength, and the root seed of all.
    converged
        Whether at least 99 % of the toys of every truth and strength converged.
    notes
        What a reader must know.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> study = stats.bias_study(
    ...     stats.toy_spectrum(2000), mass=3500, width=120, fit=fit, truths=["exponential"],
    ...     strengths=[0, 3], toys=5,
    ... )
    >>> stats.BiasStudy.from_dict(study.to_dict()) == study
    True
    """

    mass: float
    width: float
    fit_range: tuple[float, float]
    window: tuple[float, float] | None
    functions: tuple[str, ...]
    rechoose: bool
    uncertainty: float
    truths: tuple[BiasTruth, ...]
    toys: int
    seed: int
    converged: bool
    notes: tuple[str, ...]
    kind: Literal["bias"] = field(default="bias", kw_only=True)

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        window = self.window
        hidden = (
            "" if window is None else f", without the events in {window[0]:g}-{window[1]:g} GeV"
        )
        chosen = "chosen anew in every toy" if self.rechoose else ", ".join(self.functions)
        lines = [
            f"bias study at {self.mass:g} GeV, width {self.width:g} GeV, fit range "
            f"{self.fit_range[0]:g}-{self.fit_range[1]:g} GeV{hidden}",
            f"  fitted functions: {chosen}; {self.toys} toys a line, seed {self.seed}; strengths "
            f"in units of {self.uncertainty:.4g} events, the expected uncertainty of the signal",
        ]
        for truth in self.truths:
            line = f"  truth {truth.function} (goodness of fit p = {truth.goodness_of_fit:.2g})"
            if truth.slope is not None and truth.offset is not None:
                line += (
                    f": fitted = ({truth.slope:.3f} +- {truth.slope_error:.3f}) injected "
                    f"{truth.offset:+.1f} +- {truth.offset_error:.1f} events"
                )
            lines.append(line)
            lines += [
                f"    {point.strength:g} sigma: pull {point.pull:+.2f} +- {point.pull_error:.2f}, "
                f"width {point.pull_width:.2f} +- {point.pull_width_error:.2f}, p < 5 % in "
                f"{100 * point.p_below_5_percent:.1f} %, intervals cover "
                f"{100 * point.covers_68:.0f} and {100 * point.covers_95:.0f} %"
                + (f", {point.failed} failed" if point.failed else "")
                for point in truth.points
            ]
        lines.append(f"  {'converged' if self.converged else 'NOT CONVERGED'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def bias_study(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    truths: Sequence[str] = (),
    strengths: Sequence[float] = STRENGTHS,
    toys: int = DEFAULT_TOYS,
    rechoose: bool = False,
    window: Window = "signal",
    lower_edges: Sequence[float] | Literal["auto"] = (),
    lowest_edge: float = LOWEST_EDGE,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> BiasStudy:
    """Fit toys from other functions, with and without signals, as the data are fitted.

    Parameters
    ----------
    channels, mass, width, fit, lower_edges, lowest_edge
        As for `bump_hunt`.
    truths
        Families of the toys' backgrounds, each with the parameters that its F-test asks for, or
        'family parameters'; by default every family that is fit for a search.
    strengths
        Injected signals, in expected uncertainties of a small signal.
    toys
        Toys of a truth and a strength.
    rechoose
        Whether the functions that compete are chosen anew in every toy, as they are on data;
        otherwise those of the data compete in all.
    window
        As for `expected_significance`: truths are fitted, and functions chosen, beside it.
    seed
        Root seed of the toys.
    progress
        Called with the toys that are done, and all of them.

    Raises
    ------
    FitError
        An argument is out of range, a truth cannot be fitted, or the histograms do not suit the
        fit.

    Source
    ------
    Dauncey, Kenzie, Wardle, Davies, arXiv:1408.6865, section 5: bias and coverage of competing
    functions by toys from each of them.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=200)
    >>> study = stats.bias_study(
    ...     stats.toy_spectrum(2000), mass=3500, width=120, fit=fit, truths=["exponential"],
    ...     strengths=[0, 3], toys=5,
    ... )
    >>> study.window, study.toys, study.seed
    ((3260.0, 3740.0), 5, 1)
    """
    check_arguments(mass=mass, width=width, fit=fit)
    _check(listed_numbers("strengths", strengths, 0), toys, seed)
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
    model = beside.models[0]
    sigma = expected_uncertainty(beside, model)
    known, notes = _truths(beside, truths, seed)
    fitted = _Fitted(beside, rechoose)
    total, done = toys * len(known) * len(strengths), 0
    if progress is not None:
        progress(0, total)
    studied = []
    for truth in known:
        points = []
        for strength in strengths:
            random = seeds.generator(seed, "stats", "bias_study", truth.function, f"{strength:g}")
            parts = []
            for first in range(0, toys, _BATCH):
                size = min(_BATCH, toys - first)
                parts.append(fitted.toys(truth, float(strength) * sigma, size, random))
                done += size
                if progress is not None:
                    progress(done, total)
            points.append(_point(float(strength), sigma, model.unit, parts))
        studied.append(_line(truth, points))
    failing = [
        f"truth {t.function}: {p.failed} of {p.failed + p.toys} toys with a signal of "
        f"{p.strength:g} sigma had a fit that did not converge; they are left out"
        for t in studied
        for p in t.points
        if p.failed > _FAILED * (p.failed + p.toys)
    ]
    near = background_in_reach(model.best_channels, beside.background)
    if near < LEAST_BACKGROUND:
        notes.append(
            f"{near:.1f} background events within mass +- 2 widths, fewer than "
            f"{LEAST_BACKGROUND:g}: p-values and intervals of these toys are asymptotic, those "
            "of a bump hunt are not"
        )
    return BiasStudy(
        mass=float(mass),
        width=float(width),
        fit_range=(float(beside.fit.range[0]), float(beside.fit.range[1])),
        window=beside.window,
        functions=tuple(model.functions),
        rechoose=bool(rechoose),
        uncertainty=model.unit * sigma,
        truths=tuple(studied),
        toys=int(toys),
        seed=int(seed),
        converged=beside.converged and not failing,
        notes=(*notes, *failing),
    )


def _check(strengths: Sequence[Any], toys: Any, seed: Any) -> None:
    check_whole({"toys": toys}, MOST_TOYS)
    check_whole({"seed": seed})
    if toys < 2:
        msg = f"toys is {toys}, expected 2 or more, which have a spread"
        raise FitError(msg)
    if not len(strengths):
        msg = "a bias study needs one strength or more, such as 0"
        raise FitError(msg)
    if len(set(map(float, strengths))) < len(strengths):
        msg = f"strengths are not all different: {list(strengths)}"
        raise FitError(msg)


@dataclass(frozen=True, eq=False)
class _Truth:
    """A function fitted beside the window, and what it expects in every channel."""

    function: str
    background: tuple[Array, ...]
    goodness: float


def _truths(beside: Sidebands, names: Sequence[str], seed: int) -> tuple[list[_Truth], list[str]]:
    """Return the truths, and what a reader must know of them."""
    if isinstance(names, str):
        msg = f"truths are a list of families, got {names!r}"
        raise FitError(msg)
    found: list[_Truth] = []
    notes: list[str] = []
    usable = [family.name for family in FAMILIES.values() if not family.reproduction_only]
    for name in names or dict.fromkeys((*beside.fit.families, *usable)):
        try:
            truth = _truth(beside, str(name), seed)
        except FitError as error:
            if names:
                raise
            notes.append(f"no toys from {name}: {error}")
            continue
        if truth.function in [one.function for one in found]:
            continue
        if truth.goodness < LEAST_RANGE_GOODNESS:
            notes.append(
                f"truth {truth.function} does not describe the spectrum (p = "
                f"{truth.goodness:.2g}): its bias need not be that of the data"
            )
        found.append(truth)
    if not found:
        raise FitError("; ".join(notes))
    return found, notes


def _truth(beside: Sidebands, name: str, seed: int) -> _Truth:
    own, family = _fit_with(beside.fit, name)
    orders, background, goodness = [], [], []
    for spectrum, seen in zip(beside.data, beside.seen, strict=True):
        built = chosen_function(spectrum, seen, own)
        fitted, at_best = engine.fitted_background(built, spectrum.counts, seen)
        if not at_best.converged:
            msg = f"{spectrum.name}: the fit of {name} did not converge"
            raise FitError(msg)
        part = fitted.restricted(seen)
        channel = Channel(spectrum.name, spectrum.counts[seen], np.zeros(int(seen.sum())), part)
        expected = fitted.expected(np.zeros(fitted.parameters))
        goodness.append(goodness_of_fit(channel, expected[seen], seed)[0])
        orders.append(fitted.parameters)
        background.append(np.asarray(expected))
    return _Truth(f"{family} {max(orders)}", tuple(background), min(goodness))


def _fit_with(fit: SpectrumFit, name: str) -> tuple[SpectrumFit, str]:
    """Return a fit with the functions of a truth, and their family."""
    family, _, order = name.rpartition(" ")
    if not family or not order.isdigit():
        # The truth may have more parameters than the fit.
        most = family_named(name).orders[-1]
        return replace(fit.with_family(name), max_parameters=most), name
    known = family_named(family).orders
    if int(order) not in known:
        msg = (
            f"truth '{name}': {family} exists in {', '.join(map(str, known))} parameters, not "
            f"in {order}"
        )
        raise FitError(msg)
    n = int(order)
    own = replace(fit, family=family, envelope=(), min_parameters=n, max_parameters=n)
    return own, family


@dataclass(frozen=True, eq=False)
class _Toys:
    """Fitted signals, pulls, significances, and whether all fits ended, shape (toys,)."""

    mu: Array
    pull: Array
    z: Array
    good: NDArray[np.bool_]


class _Fitted:
    """Fits of toys as of the data."""

    def __init__(self, beside: Sidebands, rechoose: bool) -> None:
        model = beside.models[0]
        self.beside, self.model, self.rechoose = beside, model, rechoose
        # Functions are chosen before a spurious signal is asked for.
        self.functions = (
            all_functions(model.data, model.signal, beside.fit) if rechoose else model.functions
        )
        self.channels = next(iter(self.functions.values()))

    def toys(self, truth: _Truth, mu: float, toys: int, random: np.random.Generator) -> _Toys:
        """Return the fits of toys of a truth with a signal."""
        means = [b + mu * c.signal for b, c in zip(truth.background, self.channels, strict=True)]
        counts = engine.toy_counts(means, toys, random)
        none = np.zeros(len(nuisance_names(next(iter(self.model.functions.values())))))
        centres = engine.toy_centres(none.tolist(), toys, random)
        nothing = np.full(toys, np.nan)
        found = _Toys(nothing, nothing.copy(), nothing.copy(), np.zeros(toys, dtype=bool))
        for functions, rows in self._competing(counts, centres, truth):
            one = _fitted(functions, [n[rows] for n in counts], centres[rows], mu)
            for name in ("mu", "pull", "z", "good"):
                getattr(found, name)[rows] = getattr(one, name)
        return found

    def _competing(
        self, counts: Sequence[Array], centres: Array, truth: _Truth
    ) -> Iterator[tuple[Functions, NDArray[np.intp]]]:
        """Yield the functions that compete, and the toys in which they do."""
        if not self.rechoose:
            yield self.functions, np.arange(len(centres))
            return
        names = nuisance_names(next(iter(self.model.functions.values())))
        own = [names.index(name) for name in nuisance_names(self.channels)]
        best = enveloped(self.functions, counts, centres=centres[:, own]).best
        asked = asked_orders(best, self.beside.fit.f_test)
        orders = np.stack(list(asked.values()), axis=1)
        events = sum(float(b.sum()) for b in truth.background)
        near = background_in_reach(self.channels, truth.background)
        for values in np.unique(orders, axis=0):
            of = dict(zip(asked, values.tolist(), strict=True))
            kept = competing(self.functions, of, events, near)
            rows = np.flatnonzero((orders == values).all(axis=1))
            chosen = {name: self.functions[name] for name in kept}
            yield with_spurious(chosen, self.model.spurious_events), rows


def _fitted(functions: Functions, counts: Sequence[Array], centres: Array, mu: float) -> _Toys:
    test = enveloped(functions, counts, centres=centres)
    best = profiled(functions, counts, test.best, signed=True, centres=centres)
    there = profiled(functions, counts, best, mu=mu, centres=centres)
    fall = np.sqrt(np.maximum(0.0, 2 * (there.nll - best.nll)))
    return _Toys(
        best.mu,
        np.copysign(fall, best.mu - mu),
        test.z,
        test.converged & best.converged & there.converged,
    )


def _point(strength: float, sigma: float, unit: float, parts: Sequence[_Toys]) -> BiasPoint:
    mu, pull, z, good = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("mu", "pull", "z", "good")
    )
    n = int(good.sum())
    if n < 2:
        msg = f"{len(good) - n} of {len(good)} toys with a signal of {strength:g} sigma failed"
        raise FitError(msg)
    mu, pull, z = unit * mu[good], pull[good], z[good]
    width = float(pull.std(ddof=1))
    return BiasPoint(
        strength=strength,
        injected=unit * strength * sigma,
        fitted=float(mu.mean()),
        fitted_error=float(mu.std(ddof=1) / np.sqrt(n)),
        pull=float(pull.mean()),
        pull_error=width / float(np.sqrt(n)),
        pull_width=width,
        pull_width_error=width / float(np.sqrt(2 * (n - 1))),
        p_below_5_percent=float(np.mean(z > _Z_5_PERCENT)),
        covers_68=float(np.mean(np.abs(pull) <= 1)),
        covers_95=float(np.mean(np.abs(pull) <= _95_PERCENT)),
        toys=n,
        failed=len(good) - n,
    )


def _line(truth: _Truth, points: Sequence[BiasPoint]) -> BiasTruth:
    """Return a truth with the straight line through its points."""
    line: tuple[float | None, ...] = (None, None, None, None)
    if len(points) > 1:
        x = np.array([point.injected for point in points])
        y = np.array([point.fitted for point in points])
        errors = np.array([point.fitted_error for point in points])
        (slope, offset), covariance = np.polyfit(x, y, 1, w=1 / errors, cov="unscaled")
        line = (
            float(slope),
            float(np.sqrt(covariance[0, 0])),
            float(offset),
            float(np.sqrt(covariance[1, 1])),
        )
    return BiasTruth(truth.function, truth.goodness, tuple(points), *line)
