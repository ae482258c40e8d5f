"""Two-sided intervals on a signal in spectra, ordered by the likelihood ratio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.arguments import check_arguments
from tnt_coffea.stats.bumps import data_notes, negative_notes, template_notes
from tnt_coffea.stats.cls import AsymptoticCls, WeightedToys
from tnt_coffea.stats.limit_results import IntervalResult
from tnt_coffea.stats.limits import prepared
from tnt_coffea.stats.lower_edge import turn_on_notes
from tnt_coffea.stats.model import range_notes, spurious_notes
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import why_not_asymptotic

__all__ = ["ToyInterval", "asymptotic_interval", "feldman_cousins_interval"]

Array = NDArray[np.float64]

# Toys without a signal, and at each strength, that find the strengths; those of each round until
# the ends are known to the target, a share of the interval's length; at most so many rounds.
_PILOT = 60
_ROUND = 300
_MOST_ROUNDS = 3
_TARGET = 0.03
# Strengths at which the p-value is known: at first evenly from this share of the interval's length
# below it to as far above it, then around each end, as far as the other shares.
_STRENGTHS = 13
_AT_LOW, _AT_HIGH = 5, 8
_MARGIN, _CLOSE, _CLOSEST = 0.7, 0.2, 0.06
# The strengths are widened so often where an end lies beyond them.
_WIDENINGS = 5
_DOUBLINGS = 40
# t of toys and data that differ by no more than this are the same number.
_TIE = 1e-6
_SMALLEST_P = 1e-6
# Share of failed toys with which an interval is not called converged.
_FAILED = 0.01


def feldman_cousins_interval(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    level: float = 0.95,
    toys: int | None = None,
    seed: int = 1,
) -> IntervalResult:
    """Return the interval of signal events that the data do not exclude, from both sides.

    A strength belongs to it where background and that signal give data of a smaller likelihood
    ratio to the best fit, mu >= 0, in more than 1 - level of all cases. So the interval is never
    empty, and goes over from an upper limit to two sides without a choice.

    Parameters
    ----------
    channels, mass, width, fit
        As for `bump_hunt`.
    level
        Confidence level.
    toys
        Toys without a signal, and with one at each of seven strengths; 0 takes the asymptotic
        formulae. None takes toys where those do not hold: 300, and 300 more until both ends are
        known to 3 % of the interval's length, 900 at most.
    seed
        Root seed of the toys.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or there is no interval.

    Source
    ------
    Feldman, Cousins, Phys. Rev. D 57 (1998) 3873, arXiv:physics/9711021, with nuisance parameters
    at their conditional fits; formulae: t-tilde of arXiv:1007.1727, section 3.4.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> found = stats.feldman_cousins_interval(spectrum, mass=3500, width=120, fit=fit, level=0.9)
    >>> found.low < found.mu_hat < found.high, found.calibration
    (True, 'asymptotic')
    """
    check_arguments(mass=mass, width=width, fit=fit, level=level, toys=toys, seed=seed)
    signal = fit.signal(mass, width)
    model, start, _ = prepared(channels, signal, fit)
    alpha = 1 - level
    if toys and toys + 1 <= 1 / alpha:
        msg = f"{toys} toys know no p-value as low as {alpha:.3g}: take {round(20 / alpha)}"
        raise FitError(msg)
    ends: Sequence[float] = asymptotic_interval(start, alpha)
    notes = [
        *data_notes(model.data, width, (mass, mass)),
        *spurious_notes(model),
        *range_notes(model, seed),
        *turn_on_notes(model.data, signal, fit),
        *template_notes(signal),
        *negative_notes(signal, model.data),
    ]
    problems = []
    if not (start.best.converged.all() and all(start.fits(mu).converged[0] for mu in ends)):
        problems.append("a fit of the data stopped before its minimum")
    reasons = why_not_asymptotic(next(iter(model.functions.values())), start.background, signal)
    thrown, uncertainties = None, [0.0, 0.0]
    if toys or (toys is None and reasons):
        random = seeds.generator(seed, "stats", "interval", "toys")
        found = _from_toys(start, ends, alpha, toys, random)
        thrown, ends = found.toys, found.ends
        uncertainties = found.toys.uncertainties(found.of, random).tolist()
        notes.append(
            f"p-values at {len(thrown.strengths)} strengths from {len(thrown)} toys, "
            f"{thrown.background_only} of them without a signal, {thrown.failed} with a failed fit"
        )
        if thrown.failed > _FAILED * len(thrown):
            problems.append(f"{thrown.failed} of {len(thrown)} toys had a failed fit")
    elif reasons:
        notes.append(f"{'; '.join(reasons)}: the formulae do not hold, ask for toys")
    unit = model.unit
    return IntervalResult(
        mass=signal.mass,
        width=signal.width,
        level=float(level),
        low=unit * ends[0],
        high=unit * ends[1],
        mu_hat=unit * float(start.best.mu[0]),
        low_uncertainty=unit * uncertainties[0],
        high_uncertainty=unit * uncertainties[1],
        calibration="asymptotic" if thrown is None else "toys",
        toys=0 if thrown is None else thrown.background_only,
        converged=not problems,
        family=model.family,
        notes=(*notes, *(f"not converged: {problem}" for problem in problems)),
    )


def asymptotic_interval(start: AsymptoticCls, alpha: float) -> tuple[float, float]:
    """Return both ends of an interval by the distribution of t-tilde.

    Parameters
    ----------
    start
        The model with its fits.
    alpha
        1 - confidence level.

    Raises
    ------
    FitError
        A fit fails, or the likelihood never falls.

    Source
    ------
    Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equation 11 and section 3.4.
    """

    def excess(mu: float) -> float:
        t = 2 * (start.fits(mu).nll - start.best.nll)
        if not np.isfinite(t).all():
            msg = (
                f"the fit at {mu:.4g} signal events has no minimum: the background function does "
                "not describe the spectrum here"
            )
            raise FitError(msg)
        root, asimov = np.sqrt(np.maximum(t, 0.0))
        # An Asimov value of 0 is that of mu = 0, where the other tail is empty.
        far = np.inf if asimov == 0 else (root**2 + asimov**2) / (2 * asimov)
        other = root if root <= asimov else far
        return float(ndtr(-root) + ndtr(-other)) - alpha

    mu = float(start.best.mu[0])
    low = 0.0 if mu == 0 or excess(0.0) > 0 else float(brentq(excess, 0.0, mu, rtol=1e-5))
    step = max(start.sigma, 1.0)
    for _ in range(_DOUBLINGS):
        if excess(mu + step) < 0:
            return low, float(brentq(excess, mu, mu + step, rtol=1e-5))
        step *= 2
    msg = f"no strength up to {mu + step:.3g} signal events is excluded: there is no interval here"
    raise FitError(msg)


@dataclass(frozen=True, eq=False)
class ToyInterval:
    """An interval from toys.

    Attributes
    ----------
    toys
        Toys with t-tilde, at strengths with that of the best fit among them.
    alpha
        1 - confidence level.
    """

    toys: WeightedToys
    alpha: float

    @property
    def ends(self) -> list[float]:
        """Both ends."""
        return self.of(self.toys.weights)

    @property
    def beyond(self) -> tuple[bool, bool]:
        """Whether the interval goes on below the least strength, and above the largest."""
        accepted = self._depths(self.toys.weights) > 0
        return bool(accepted[0] and self.toys.strengths[0] > 0), bool(accepted[-1])

    def of(self, weights: Array) -> list[float]:
        """Return both ends with other weights of the toys, shape (1 + strengths, toys)."""
        depths, strengths = self._depths(weights), self.toys.strengths
        accepted = np.flatnonzero(depths > 0)
        first, last = int(accepted[0]), int(accepted[-1])

        def crossed(inside: int, outside: int) -> float:
            if not 0 <= outside < len(strengths):
                return float(strengths[inside])
            share = depths[inside] / (depths[inside] - depths[outside])
            return float(strengths[inside] + share * (strengths[outside] - strengths[inside]))

        return [crossed(first, first - 1), crossed(last, last + 1)]

    def _depths(self, weights: Array) -> Array:
        reached = self.toys.statistics >= self.toys.seen - _TIE
        p = np.array(
            [w @ passed / w.sum() for w, passed in zip(weights[1:], reached.T, strict=True)]
        )
        return np.asarray(np.log(np.maximum(p, _SMALLEST_P) / self.alpha))


def _from_toys(
    start: AsymptoticCls,
    around: Sequence[float],
    alpha: float,
    toys: int | None,
    random: np.random.Generator,
) -> ToyInterval:
    """Return the interval from toys: a stated number of them, or as many as its ends need."""

    def everywhere(low: float, high: float, reach: float) -> Array:
        return np.linspace(low - reach, high + reach, _STRENGTHS)

    def at_ends(low: float, high: float, reach: float) -> Array:
        return np.concatenate(
            [
                np.linspace(low - reach, low + reach, _AT_LOW),
                np.linspace(high - reach, high + reach, _AT_HIGH),
            ]
        )

    pilot = min(toys or _PILOT, _PILOT)
    rough = _widened(start, around, alpha, pilot, random, everywhere, _MARGIN)
    better = _widened(start, rough.ends, alpha, pilot, random, at_ends, _CLOSE)
    found = _widened(start, better.ends, alpha, toys or _ROUND, random, at_ends, _CLOSEST)
    strengths = found.toys.strengths
    while toys is None and found.toys.background_only < _MOST_ROUNDS * _ROUND:
        spread = found.toys.uncertainties(found.of, random).max()
        if spread <= _TARGET * np.ptp(found.ends):
            break
        more = WeightedToys.thrown(start, strengths, _ROUND, random, one_sided=False)
        found = ToyInterval(found.toys.joined(more), alpha)
    return found


def _widened(
    start: AsymptoticCls,
    around: Sequence[float],
    alpha: float,
    toys: int,
    random: np.random.Generator,
    places: Callable[[float, float, float], Array],
    margin: float,
) -> ToyInterval:
    """Return the interval from toys at strengths that `places` puts about its ends.

    Raises
    ------
    FitError
        It goes on beyond them, however far they reach.
    """
    for _ in range(_WIDENINGS):
        low, high = around
        chosen = np.maximum(0.0, places(low, high, margin * (high - low)))
        strengths = np.unique([*chosen, float(start.best.mu[0])])
        toys_there = WeightedToys.thrown(start, strengths, toys, random, one_sided=False)
        found = ToyInterval(toys_there, alpha)
        if not any(found.beyond):
            return found
        margin *= 2
    msg = (
        f"toys with {strengths[0]:.3g} to {strengths[-1]:.3g} signal events exclude too few of "
        "them: there is no interval here; 0 toys take the asymptotic formulae"
    )
    raise FitError(msg)
