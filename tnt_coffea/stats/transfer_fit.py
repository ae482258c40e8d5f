"""The fits of a transfer factor: beside the window, and with a signal in all bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc, logsumexp, xlogy

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_limits import AsymptoticAbcd, toy_limits
from tnt_coffea.stats.limit_results import LimitRefusal
from tnt_coffea.stats.p_values import normal_p_value, toys_p_value
from tnt_coffea.stats.signals import ALL, Signal
from tnt_coffea.stats.spectrum import Spectrum
from tnt_coffea.stats.transfer_likelihood import (
    TransferFits,
    TransferModel,
    bernstein,
    elevated,
)
from tnt_coffea.stats.transfer_results import OrderTest, TransferLimit, TwoStepEstimate
from tnt_coffea.stats.validity import (
    CLOSURE_AGREEMENT,
    GOODNESS_TOYS,
    LEAST_BACKGROUND,
    LEAST_IN_BIN,
    LEAST_TRANSFERRED,
    LEAST_UNDER_LIMIT,
    SIDEBAND_WIDTHS,
)

__all__ = ["BesideFit", "SignalFit", "TransferProblem", "squared_weights", "unconverged"]

Array = NDArray[np.float64]

# Toys without a signal; where fewer than so many reach the data, more are thrown between the fits
# without and with a signal, at these shares of the way.
_TOYS = 2000
_ENOUGH = 100
_WITH_SIGNAL = 3000
_BETWEEN = (1 / 3, 2 / 3, 1.0)
# Rounding of q0, and of an Asimov signal in units of its uncertainty.
_TIE = 1e-7
_INJECTED = 2.0
# Share of the least limit that a count can have, below which toys do not know it.
_LEAST_LIMIT = 0.8
# Toys that are fitted at once.
_BATCH = 10_000


@dataclass(frozen=True, eq=False)
class TransferProblem:
    """Two spectra and a signal, before an order is known."""

    data: tuple[Spectrum, ...]
    signal: Signal
    in_fail: float
    of_all: bool
    seed: int

    @cached_property
    def edges(self) -> Array:
        """Edges of the bins [GeV]."""
        return self.data[0].edges

    @cached_property
    def counts(self) -> Array:
        """Effective events that pass, then that fail, shape (2 bins,)."""
        return np.concatenate([spectrum.counts for spectrum in self.data])

    @property
    def whole(self) -> bool:
        """Whether all events have a weight of 1."""
        return not any(spectrum.weighted for spectrum in self.data)

    @cached_property
    def domain(self) -> tuple[float, float]:
        """Masses of the first and the last bin that hold events."""
        seen = np.flatnonzero(self.counts.reshape(2, -1).sum(axis=0))
        if seen.size < 2:
            return float(self.edges[0]), float(self.edges[-1])
        return float(self.edges[seen[0]]), float(self.edges[seen[-1] + 1])

    @cached_property
    def scales(self) -> Array | None:
        """Weight of an effective event of either spectrum, shape (2, bins); None: 1."""
        if self.whole:
            return None
        ones = np.ones(len(self.edges) - 1)
        return np.stack([spectrum.weights(ones) for spectrum in self.data])

    def model(self, order: int, bins: Any = slice(None)) -> TransferModel:
        """Return the model of an order in some of the bins."""
        low, high = self.domain
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])[bins]
        return TransferModel(
            bernstein(np.clip((centres - low) / (high - low), 0.0, 1.0), order),
            self.signal.of(ALL, self.edges).integrals(self.edges)[bins],
            self.in_fail,
            self.of_all,
            None if self.scales is None else self.scales[:, bins],
        )

    def near(self, widths: float) -> tuple[tuple[float, float], slice]:
        """Return the bins whose centres lie within some widths of the mass."""
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        distance = np.abs(centres - self.signal.mass)
        inside = np.flatnonzero(distance <= max(widths * self.signal.width, distance.min()))
        first, last = int(inside[0]), int(inside[-1]) + 1
        return (float(self.edges[first]), float(self.edges[last])), slice(first, last)

    def beside(
        self, order: int | None, between: tuple[int, int], f_test: float
    ) -> tuple[tuple[OrderTest, ...], BesideFit | None, str]:
        """Return the tests of the order, the fit of the one chosen, or why there is none."""
        _, near = self.near(SIDEBAND_WIDTHS)
        bins = np.delete(np.arange(len(self.edges) - 1), near)
        counts = self.counts.reshape(2, -1)[:, bins]
        passed, failed = counts.sum(axis=1)
        if min(passed, failed) < LEAST_TRANSFERRED:
            which = f"{passed:.4g} events pass and {failed:.4g} fail"
            return (), None, f"{which} beside the signal, fewer than {LEAST_TRANSFERRED:g}"
        # A polynomial of more parameters than bins with events has no maximum.
        most = int(np.count_nonzero(counts[0])) - 2
        if order is not None and order > most:
            reason = f"{most + 2} bins beside the signal hold events that pass: too few for order "
            return (), None, f"{reason}{order}"
        lowest, highest = (
            max(0, min(n, most)) for n in (between if order is None else [order] * 2)
        )
        fits: list[tuple[TransferModel, TransferFits]] = []
        start = None
        for n in range(highest + 1):
            model = self.model(n, bins)
            found = model.at(counts.reshape(1, -1), start=start)
            fits.append((model, found))
            start = elevated(found.coefficients)
        deviances = [2 * float(found.nll[0]) for _, found in fits]
        tests = [
            OrderTest(n, deviances[n], _least_p(deviances, n) if n < highest else None)
            for n in range(highest + 1)
        ]
        if (lost := unconverged("beside the signal", *fits)) is not None:
            return tuple(tests), None, lost
        chosen = next(
            test.order for test in tests[lowest:] if test.p_value is None or test.p_value >= f_test
        )
        model, found = fits[chosen]
        return tuple(tests), BesideFit(model, counts.reshape(-1), found, bins, self.whole), ""


def unconverged(where: str, *fits: tuple[TransferModel, TransferFits]) -> str | None:
    """Return why there is no result, if one of these fits did not find its minimum."""
    for model, found in fits:
        if not found.converged[0]:
            return (
                f"the fit of order {model.order} {where} did not converge (distance to the "
                f"minimum {found.edm[0]:.2g} in ln L): take a lower order, wider bins or a "
                "narrower range"
            )
    return None


def _least_p(deviances: Sequence[float], order: int) -> float:
    """Return the least p-value of the tests of an order against the higher ones."""
    return min(
        float(chdtrc(higher - order, max(0.0, deviances[order] - deviances[higher])))
        for higher in range(order + 1, len(deviances))
    )


def _thrown(mean: Array, counts: Array, toys: int, whole: bool, random: Any) -> Array:
    """Return toys of what passes and fails, shape (toys, 2 bins).

    Of whole events, each bin keeps its number: that holds all that is known of its rate, and
    nothing of the ratio.
    """
    if not whole:
        return np.asarray(random.poisson(mean, size=(toys, len(mean))), dtype=float)
    total = counts.reshape(2, -1).sum(axis=0)
    passed = random.binomial(total.astype(np.int64), _share(mean), size=(toys, len(total)))
    return np.concatenate([passed, total - passed], axis=1).astype(float)


def _share(mean: Array) -> Array:
    """Return the probability to pass in every bin."""
    passed, failed = mean.reshape(2, -1)
    both = passed + failed
    return np.asarray(np.divide(passed, both, out=np.zeros_like(both), where=both > 0).clip(0, 1))


@dataclass(frozen=True, eq=False)
class BesideFit:
    """The fit without a signal to the bins beside it."""

    model: TransferModel
    counts: Array
    fits: TransferFits
    bins: NDArray[np.intp]
    whole: bool

    def goodness(self, seed: int) -> tuple[float, str]:
        """Return the p-value of the fit, and how it was calibrated."""
        seen, mean = 2 * float(self.fits.nll[0]), self.fits.background[0]
        occupied = np.tile(self.counts.reshape(2, -1).sum(axis=0) > 0, 2)
        if mean[occupied].min() >= LEAST_IN_BIN:
            freedom = np.count_nonzero(occupied) // 2 - self.model.order - 1
            return float(chdtrc(max(freedom, 1), seen)), "asymptotic"
        random = seeds.generator(seed, "stats", "transfer", "goodness")
        toys = _thrown(mean, self.counts, GOODNESS_TOYS, self.whole, random)
        refitted = self.model.at(toys, start=self.fits.coefficients)
        return toys_p_value(int(np.sum(2 * refitted.nll >= seen - _TIE)), GOODNESS_TOYS), "toys"

    @cached_property
    def covariance(self) -> Array:
        """Of the coefficients."""
        return self.model.covariance(self.counts, self.fits, held=True)[1:, 1:]

    def transfer(self, problem: TransferProblem) -> tuple[Array, Array]:
        """Return pass over fail in all bins, and its slopes in the coefficients."""
        return problem.model(self.model.order).transfer(self.fits.coefficients[0])

    def predicted(self, problem: TransferProblem, inside: slice) -> tuple[Array, float]:
        """Return what fails in some bins times the polynomial, and the uncertainty of the sum."""
        ratio, slopes = (values[inside] for values in self.transfer(problem))
        failed, variances = problem.data[1].sums[inside], squared_weights(problem.data[1])[inside]
        slope = failed @ slopes
        variance = ratio**2 @ variances + slope @ self.covariance @ slope
        return ratio * failed, float(np.sqrt(max(float(variance), 0.0)))


def squared_weights(spectrum: Spectrum) -> Array:
    """Return sums of squared weights."""
    return spectrum.sums * spectrum.weights(np.ones_like(spectrum.counts))


@dataclass(frozen=True, eq=False)
class SignalFit:
    """The fits without and with a signal to all bins."""

    model: TransferModel
    observed: Array
    side: BesideFit
    whole: bool

    @property
    def counts(self) -> Any:
        """The data, as limits want them."""
        return self.observed

    @cached_property
    def null(self) -> TransferFits:
        """Without a signal."""
        return self.model.at(self.observed[None], start=self.side.fits.coefficients)

    @cached_property
    def best(self) -> TransferFits:
        """With a signal of 0 events or more."""
        return self.model.best(self.observed[None], start=self.side.fits.coefficients)

    @cached_property
    def fitted(self) -> Array:
        """Background alone, as limits want it."""
        return np.asarray(self.null.background[0])

    @cached_property
    def covariance(self) -> Array:
        """Of mu and the coefficients."""
        return self.model.covariance(self.observed, self.best)

    @property
    def q0(self) -> float:
        """Twice the gain in ln L by a signal."""
        return max(0.0, 2 * float(self.null.nll[0] - self.best.nll[0]))

    @property
    def near(self) -> float:
        """Background events that pass within 2 widths of the mass."""
        close = self.model.shape > np.exp(-2) * self.model.shape.max()
        return float(self.fitted[: self.model.bins][close].sum())

    @property
    def _expected_near(self) -> str:
        # Not `predicted`, which is of the bins beside the signal.
        return (
            f"the fit without a signal to all bins has {self.near:.1f} background events within 2 "
            f"widths of the mass, fewer than {LEAST_BACKGROUND:g}"
        )

    @property
    def reversed(self) -> bool:
        """Whether a signal raises what fails, times the polynomial, as much as what passes."""
        passing, failing = self.model.signal.reshape(2, -1)
        u, v = self.model.shares(self.null.coefficients[0])
        return bool(np.sum(failing * u / np.maximum(v, 1e-300)) >= np.sum(passing))

    def p_value(self, toys: int | None, seed: int) -> tuple[float, str, int, bool, list[str]]:
        """Return p-value, its kind, the toys, whether it is a bound, and notes."""
        few = self.near < LEAST_BACKGROUND
        if toys == 0 or (toys is None and not few):
            notes = [f"{self._expected_near}: ask for toys"] if few else []
            return normal_p_value(float(np.sqrt(self.q0))), "asymptotic", 0, False, notes
        notes = []
        if few:
            notes.append(f"{self._expected_near}: the p-value is from toys")
        size = _TOYS if toys is None else toys
        random, reached = seeds.generator(seed, "stats", "transfer", "toys"), 0
        for first in range(0, size, _BATCH):
            batch = min(_BATCH, size - first)
            thrown = _thrown(self.fitted, self.observed, batch, self.whole, random)
            reached += int(np.sum(self._q0(thrown) >= self.q0 - _TIE))
        if toys is not None or reached >= _ENOUGH:
            return toys_p_value(reached, size), "toys", size, not reached, notes
        p_value = self._weighted_p(thrown, random)
        return p_value, "toys", size + _WITH_SIGNAL, False, notes

    def _q0(self, counts: Array) -> Array:
        start = self.null.coefficients[0]
        null, best = (f(counts, start=start) for f in (self.model.at, self.model.best))
        return np.asarray(2 * (null.nll - best.nll))

    def _weighted_p(self, thrown: Array, random: np.random.Generator) -> float:
        """Return the p-value with toys of a signal, too, weighted by their probabilities.

        Source
        ------
        Cranmer, arXiv:1004.2910, section on importance sampling.
        """
        full = self.best.background[0] + self.best.mu[0] * self.model.signal
        means = [self.fitted, *(self.fitted + x * (full - self.fitted) for x in _BETWEEN)]
        size = _WITH_SIGNAL // len(_BETWEEN)
        more = [_thrown(mean, self.observed, size, self.whole, random) for mean in means[1:]]
        # The data are the last experiment.
        counts = np.concatenate([thrown, *more, self.observed[None]])
        ln_l = np.stack([self._ln_l(counts, mean) for mean in means])
        shares = np.array([len(thrown), *[size] * len(_BETWEEN)], dtype=float)
        weights = np.exp(ln_l[0] - logsumexp(ln_l, b=(shares / shares.sum())[:, None], axis=0))
        reached = self._q0(counts[:-1]) >= self.q0 - _TIE
        return float(min(1.0, (weights[-1] + weights[:-1][reached].sum()) / len(weights)))

    def _ln_l(self, counts: Array, mean: Array) -> Array:
        if not self.whole:
            return np.asarray((xlogy(counts, mean) - mean).sum(axis=1))
        share = _share(mean)
        probabilities = np.concatenate([share, 1 - share])
        return np.asarray(xlogy(counts, probabilities).sum(axis=1))

    def problems(self, mu_uncertainty: float) -> list[str]:
        """Return why the fits are not to be trusted."""
        problems = []
        injected = _INJECTED * mu_uncertainty
        if np.isfinite(injected) and injected > 0:
            asimov = self.fitted + injected * self.model.signal
            found = float(self.model.best(asimov[None], start=self.null.coefficients).mu[0])
            if abs(found / injected - 1) > CLOSURE_AGREEMENT:
                problems.append(f"{injected:.4g} signal events in Asimov data give {found:.4g}")
        else:
            problems.append("the signal's uncertainty is not known")
        return problems

    def bound_notes(self) -> list[str]:
        """Return which coefficients are at their bound."""
        fits = {"beside the signal": self.side.fits, "to all bins": self.best}
        return [
            f"coefficients of the polynomial at their bound in the fit {where}: "
            f"{', '.join(map(str, at))}; its uncertainties take them as exact and are too small"
            for where, fit in fits.items()
            if (at := self.model.at_bound(fit))
        ]

    def two_step(self, problem: TransferProblem) -> TwoStepEstimate:
        """Return the test with the polynomial of all bins, and what fails, as exact."""
        bins = self.model.bins
        ratio, _ = self.model.transfer(self.null.coefficients[0])
        background = ratio * problem.data[1].sums / self.model.weights[0]
        used = background > 0
        b, n, s = background[used], self.observed[:bins][used], self.model.signal[:bins][used]

        def slope(mu: float) -> float:
            return float(np.sum(s * (1 - n / (b + mu * s))))

        def nll(mu: float) -> float:
            return float(np.sum(mu * s - xlogy(n, b + mu * s)))

        mu = 0.0
        if slope(0.0) < 0:
            high = 1.0
            while slope(high) < 0:
                high *= 2
            mu = float(brentq(slope, 0.0, high))
        curvature = float(np.sum(np.maximum(n, b) * (s / (b + mu * s)) ** 2))
        return TwoStepEstimate(
            mu,
            float(1 / np.sqrt(curvature)) if curvature > 0 else 0.0,
            float(np.sqrt(max(0.0, 2 * (nll(0.0) - nll(mu))))),
        )

    def limit(
        self, level: float, toys: int | None, seed: int, norm: tuple[float, float]
    ) -> TransferLimit | LimitRefusal:
        """Return the upper limit on the signal, or why there is none."""
        if toys and toys + 1 <= 1 / (1 - level):
            return LimitRefusal(f"{toys} toys know no p-value as low as {1 - level:.3g}")
        formula, alpha = AsymptoticAbcd(self, norm), 1 - level
        few, thrown, uncertainty = self.near < LEAST_UNDER_LIMIT, 0, None
        notes: list[str] = []
        problems: list[str] = []
        try:
            limits = formula.limits(alpha)
            if toys or (toys is None and few):
                random = seeds.generator(seed, "stats", "transfer", "limit")
                limits, uncertainty, thrown, problems = toy_limits(
                    formula, limits, alpha, toys, random
                )
                notes.append(f"CLs is from {thrown} toys without a signal, and as many with it")
            elif few:
                notes.append("few events expected: the asymptotic limit is too low, ask for toys")
        except FitError as error:
            # The p-value stands without it.
            return LimitRefusal(str(error))
        observed, *expected = map(float, limits)
        if observed < expected[0]:
            notes.append("the observed limit lies below the expected one at -2 standard deviations")
        if thrown and observed < _LEAST_LIMIT * -np.log(alpha) / (1 + self.model.in_fail):
            # CLs of no event at all is exp(-mu).
            problems.append("the data lie beyond nearly all toys: the limit is not known")
        return TransferLimit(
            float(level),
            observed,
            tuple(expected),
            "toys" if thrown else "asymptotic",
            thrown,
            uncertainty,
            not problems,
            (*problems, *notes),
        )
