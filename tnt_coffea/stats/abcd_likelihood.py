"""Counting test in the doubly tagged region: four Poisson counts tied to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, xlogy

from tnt_coffea import seeds
from tnt_coffea.config.parameter_names import BACKGROUND, CLOSURE, MU, RATIO_B, RATIO_C
from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_profile import AbcdModel
from tnt_coffea.stats.abcd_results import AbcdCounts, AbcdResult, Closure
from tnt_coffea.stats.p_values import (
    normal_p_value,
    paper_significance,
    significance,
    toys_p_value,
)
from tnt_coffea.stats.pyhf_fit import background_test, start_values
from tnt_coffea.stats.pyhf_model import joined_data, numpy_backend
from tnt_coffea.stats.quantities import check_numbers, check_whole
from tnt_coffea.stats.signals import Norms, norm_modifiers
from tnt_coffea.stats.validity import LEAST_IN_REGION_A, MOST_TOYS, minimiser_problems

__all__ = [
    "AbcdNull",
    "PreparedAbcd",
    "abcd",
    "permutation_counts",
    "permutation_p",
    "poisson_p",
    "prepared_abcd",
    "tied_counts_q0",
    "weighted_poisson_p",
]

Array = NDArray[np.float64]


_DEFAULT_TOYS = 20_000
# Where fewer of them reach the data, so many more are thrown between the fits without and with a
# signal, at these shares of the way.
_ENOUGH = 100
_WITH_SIGNAL = 6000
_BETWEEN = (1 / 3, 2 / 3, 1.0)


def abcd(
    a: float,
    b: float,
    c: float,
    d: float,
    *,
    systematic: float = 0.03,
    closure_factor: float = 1.0,
    leakage: tuple[float, float, float] = (0.0, 0.0, 0.0),
    toys: int = 0,
    seed: int = 1,
    counts: AbcdCounts | None = None,
    closure: Closure | None = None,
) -> AbcdResult:
    """Test for a signal in A with the background closure_factor B C / D.

    The four expectations are mu_b, mu_b rB, mu_b rC and mu_b rB rC, so that their
    statistical uncertainties are in the likelihood; one log-normal nuisance
    parameter holds the closure uncertainty.

    Parameters
    ----------
    a, b, c, d
        Events whose jets both pass (a), of which only the heavy one passes and the
        light one is low (b), the reverse (c), and of which both are low (d).
    systematic
        Relative uncertainty of the closure; 0 leaves it out.
    closure_factor
        Factor on B C / D.
    leakage
        Signal in B, C and D per signal event in A: it raises mu_hat, and leaves q0
        alone as long as it is small. One that raises B C / D by as much as A is refused.
    toys
        Toys for the p-value. With fewer than 5 events expected in A they are made in any
        case, and more with a signal where few of them reach the data. Where `counts` has the
        score plane they are permutations of the jets' scores, which keep its marginals.
    seed
        Root seed of the toys.
    counts, closure
        Where the numbers come from; kept in the result, and the paper's estimate
        is taken from `counts`. Where these are weighted, the test is of their effective
        counts.

    Raises
    ------
    FitError
        B, C or D is empty, a number is none or out of range, or the fit fails.

    Source
    ------
    Method: arXiv:2002.12376, section 4.1; q0: arXiv:1007.1727, equation 12.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> result = stats.abcd(130, 1000, 1000, 10_000, systematic=0.03)
    >>> round(result.z, 2), round(result.expected)
    (2.48, 100)
    """
    check_whole({"toys": toys}, MOST_TOYS)
    prepared = prepared_abcd((a, b, c, d), systematic, closure_factor, leakage, seed, counts)
    expected, k_a = prepared.expected, prepared.unit
    observed = np.array([prepared.counts])
    q0, fitted = _q0(prepared.model, observed, np.zeros(1))
    model, data = prepared.pyhf
    best = prepared.best_start
    reported = background_test(
        model,
        data,
        start=prepared.null_start,
        best_start=None if best is None else start_values(model, best),
    )
    first = model.config.channels.index("A")
    asked = toys
    if expected / k_a < LEAST_IN_REGION_A and not toys:
        toys = _DEFAULT_TOYS
    z_asymptotic, z_numpy = reported.z, float(np.sqrt(q0[0]))
    null = AbcdNull(observed[0], fitted[0], float(q0[0]), prepared.model)
    p_value, calibration, reached = _calibrated(null, counts, toys, seed)
    if calibration == "toys" and not asked and reached < _ENOUGH:
        p_value = weighted_poisson_p(null, toys, seed)
        reached += _WITH_SIGNAL
        toys += _WITH_SIGNAL
    paper = _paper(observed[0], expected / k_a, systematic, counts)
    problems = minimiser_problems(reported.edm, z_asymptotic, z_numpy)
    return AbcdResult(
        a=float(a),
        b=float(b),
        c=float(c),
        d=float(d),
        expected=expected,
        background=k_a * float(model.expected_actualdata(reported.background)[first]),
        mu_hat=k_a * reported.mu_hat,
        q0=reported.q0,
        z=z_asymptotic if calibration == "asymptotic" else significance(p_value),
        p_value=p_value,
        expected_paper=k_a * paper[0],
        z_paper=paper[1],
        systematic=float(systematic),
        closure_factor=float(closure_factor),
        converged=not problems,
        edm=reported.edm,
        minimiser=reported.minimiser,
        z_numpy=z_numpy,
        calibration=calibration,
        toys=toys,
        notes=(*problems, *_notes(expected / k_a, calibration, toys, reached, counts)),
        counts=counts,
        closure=closure,
    )


@dataclass(frozen=True, eq=False)
class PreparedAbcd:
    """Four counts and their model, in both engines.

    Attributes
    ----------
    counts
        Effective counts of A, B, C, D.
    expected
        closure_factor B C / D of the sums of weights.
    unit
        Weight of an effective event in A.
    model
        The model in numpy, of effective counts.
    systematic
        Relative uncertainty of the closure.
    norms
        Uncertainties of the signal's norm, from `signals.norm_factors`.
    """

    counts: tuple[float, float, float, float]
    expected: float
    unit: float
    model: AbcdModel
    systematic: float
    norms: Norms = ()

    @cached_property
    def fitted(self) -> Array:
        """Background-only expectations of A, B, C and D."""
        _, fitted = tied_counts_q0(
            np.array([self.counts]), self.model.closure_factor, self.model.sigma, np.zeros(1)
        )
        return np.asarray(fitted[0])

    @cached_property
    def null_start(self) -> dict[str, float]:
        """Parameters in pyhf of the background-only fit: Minuit begins at its minimum."""
        return self._start(self.fitted, self.model.sigma * (self.counts[0] - self.fitted[0]))

    @cached_property
    def best_start(self) -> dict[str, float] | None:
        """Parameters in pyhf at the maximum; None where it lies at no signal."""
        best = self.model.best(np.array([self.counts]), np.zeros(1))
        if best.mu[0] <= 0:
            return None
        start = self._start(best.background[0], float(best.closure[0]))
        return start | {MU: float(best.mu[0])}

    @cached_property
    def pyhf(self) -> tuple[Any, list[float]]:
        """The pyhf model, every parameter of order one at the maximum, and its data."""
        starts = [self.null_start, self.best_start or {}]
        # Minuit maps bounds on a sine, which has no digits left where they are far away.
        most = {n: 10 * max(1.0, *(s.get(n, 1.0) for s in starts)) for n in _BACKGROUND}
        return _pyhf_model(self, most)

    def _start(self, background: Array, closure: float) -> dict[str, float]:
        share = np.maximum(background / np.maximum(self.counts, _LEAST_START), _LEAST_START)
        _, b, c, d = map(float, share)
        start = dict(zip(_BACKGROUND, (d, b / d, c / d), strict=True))
        return start | ({CLOSURE: closure} if self.model.sigma else {})


# D over its count, and B and C over theirs relative to that: D has the most events, and the
# ratios to it are nearly independent. Of A and ratios to that, Minuit loses the sum of D where it
# is a million times A.
_BACKGROUND = (BACKGROUND, RATIO_B, RATIO_C)
# Where a region keeps no background at all, its parameter begins here.
_LEAST_START = 1e-6


def prepared_abcd(
    regions: tuple[float, float, float, float],
    systematic: float,
    closure_factor: float,
    leakage: tuple[float, float, float],
    seed: int,
    counts: AbcdCounts | None,
) -> PreparedAbcd:
    """Return the model of four counts; the arguments are those of `abcd`.

    Raises
    ------
    FitError
        As in `abcd`.
    """
    _check(regions, systematic, closure_factor, leakage, seed)
    a, b, c, d = map(float, regions)
    # Weighted events: the test is of their effective counts, n = S / k, and B C / D of the sums
    # is k_B k_C / (k_A k_D) times that of the counts.
    k_a, k_b, k_c, k_d = (1.0, 1.0, 1.0, 1.0) if counts is None else counts.scales
    effective = (a / k_a, b / k_b, c / k_c, d / k_d)
    factor = closure_factor * (k_b * k_c / (k_a * k_d))
    leaked = (leakage[0] * k_a / k_b, leakage[1] * k_a / k_c, leakage[2] * k_a / k_d)
    model = AbcdModel(factor, float(np.log1p(systematic)), leaked)
    prepared = PreparedAbcd(effective, closure_factor * b * c / d, k_a, model, float(systematic))
    # What a signal does to ln A D / (B C).
    pulls = np.array([1.0, -1.0, -1.0, 1.0]) * model.signal / np.maximum(prepared.fitted, 1e-300)
    if pulls.sum() <= 1e-9 * np.abs(pulls).sum():
        msg = (
            f"leakage {tuple(leakage)} in B, C and D per event in A: a signal raises B C / D by as "
            "much as A, so that an excess in A is no sign of it"
        )
        raise FitError(msg)
    return prepared


def _q0(model: AbcdModel, counts: Array, centres: Array) -> tuple[Array, Array]:
    """Return q0 and the background-only expectations of experiments."""
    q0, fitted = tied_counts_q0(counts, model.closure_factor, model.sigma, centres)
    if any(model.leakage):
        # With a signal the model is saturated unless so much leaks that a region is all signal.
        rows = np.flatnonzero(q0 > 0)
        q0[rows] = np.maximum(q0[rows] - 2 * model.best(counts[rows], centres[rows]).nll, 0.0)
    return q0, fitted


def _calibrated(
    null: AbcdNull, counts: AbcdCounts | None, toys: int, seed: int
) -> tuple[float, str, int]:
    """Return the p-value, its kind, and how many toys reach the data.

    They are permutations where the score plane is known.
    """
    if not toys:
        return normal_p_value(float(np.sqrt(null.q0))), "asymptotic", 0
    if counts is not None and counts.whole:
        p_value = permutation_p(null, counts.tables, toys, seed)
        return p_value, "permutations", int(p_value > 1 / (toys + 1))
    p_value = poisson_p(null, toys, seed)
    return p_value, "toys", round(p_value * (toys + 1)) - 1


def _pyhf_model(prepared: PreparedAbcd, most: Mapping[str, float]) -> tuple[Any, list[float]]:
    """Return the pyhf model and its data."""
    import pyhf

    def channel(name: str, nominal: float, signal: float, ties: tuple[str, ...]) -> dict[str, Any]:
        modifiers: list[dict[str, Any]] = [
            {"name": tie, "type": "normfactor", "data": None} for tie in ties
        ]
        samples = [{"name": "background", "data": [nominal], "modifiers": modifiers}]
        if name == "A" and systematic:
            effect = {"hi": 1 + systematic, "lo": 1 / (1 + systematic)}
            modifiers.append({"name": CLOSURE, "type": "normsys", "data": effect})
        if signal:
            poi = {"name": MU, "type": "normfactor", "data": None}
            samples.append({"name": "signal", "data": [signal], "modifiers": [poi, *norms]})
        return {"name": name, "samples": samples}

    norms = norm_modifiers(prepared.norms)
    a, b, c, d = prepared.counts
    systematic, leakage = prepared.systematic, prepared.model.leakage
    expected = prepared.model.closure_factor * b * c / d
    free = [{"name": n, "inits": [1.0], "bounds": [[1e-9, most[n]]]} for n in _BACKGROUND]
    first = max(a - expected, 1.0)
    mu = {"name": MU, "inits": [first], "bounds": [[0.0, 10 * (a + 10)]]}
    # pyhf's own bounds, five sigma, would cut off the closure of a large excess.
    wide = {"name": CLOSURE, "bounds": [[-100.0, 100.0]]}
    spec = {
        "channels": [
            channel("A", expected, 1.0, (BACKGROUND, RATIO_B, RATIO_C)),
            channel("B", b, leakage[0], (BACKGROUND, RATIO_B)),
            channel("C", c, leakage[1], (BACKGROUND, RATIO_C)),
            channel("D", d, leakage[2], (BACKGROUND,)),
        ],
        "parameters": [*free, mu, *([wide] if systematic else [])],
    }
    with numpy_backend():
        model = pyhf.Model(spec, poi_name=MU, validate=False)
    return model, joined_data(model, {"A": [a], "B": [b], "C": [c], "D": [d]})


def _paper(
    observed: Array, expected: float, systematic: float, counts: AbcdCounts | None
) -> tuple[float, float]:
    """Return the paper's estimate and significance, from what is known of the score plane."""
    if counts is None:
        statistical = expected * float(np.sqrt(np.sum(1 / observed[1:])))
    else:
        expected, statistical = (
            value / counts.scales[0]
            for value in (counts.paper_prediction, counts.paper_uncertainty)
        )
    return expected, paper_significance(float(observed[0]), expected, statistical, systematic)


def _notes(
    expected: float, calibration: str, toys: int, reached: int, counts: AbcdCounts | None
) -> list[str]:
    notes = []
    if counts is not None and counts.weighted:
        named = ", ".join(f"{n:.6g}" for n in counts.effective)
        notes.append(
            f"events are weighted: the test is of the effective counts {named} (scaled Poisson "
            "law); signal and background are sums of weights"
        )
    if expected < LEAST_IN_REGION_A:
        kind = (
            "permutations of the scores, which keep how many events pass for each jet"
            if calibration == "permutations"
            else "toys, which vary the counts and the closure; quantiles taken from these very "
            "events would fix the marginals, which the toys leave free"
        )
        notes.append(f"{expected:.2f} events expected in A: the p-value is from {toys} {kind}")
    if toys and not reached:
        notes.append("no toy reached the data: the p-value is an upper limit; ask for more toys")
    return notes


def _check(
    counts: tuple[float, float, float, float],
    systematic: float,
    closure_factor: float,
    leakage: Any,
    seed: int,
) -> None:
    check_numbers({**dict(zip("ABCD", counts, strict=True)), "systematic": systematic}, 0)
    check_numbers({"closure_factor": closure_factor}, 0, above=True)
    check_whole({"seed": seed})
    if not isinstance(leakage, Sequence | np.ndarray) or len(leakage) != 3:
        msg = f"leakage is {leakage!r}, expected the signal in B, C and D per signal event in A"
        raise FitError(msg)
    check_numbers({f"leakage in {n}": one for n, one in zip("BCD", leakage, strict=True)}, 0)
    named = {name: float(n) for name, n in zip("ABCD", counts, strict=True)}
    empty = [name for name in "BCD" if named[name] == 0]
    if empty:
        msg = (
            f"region {', '.join(empty)} is empty ({named}): B C / D says nothing then; use a "
            "looser selection, a wider window, or merge folds"
        )
        raise FitError(msg)


_BISECTIONS = 80


def tied_counts_q0(
    counts: Array, closure_factor: float, sigma: float, centre: Array
) -> tuple[Array, Array]:
    """Return q0 and the background-only fit of many ABCD experiments at once.

    At mu = 0 the model is log-linear, and its fit keeps the sums A + B + C + D,
    B + D and C + D: the fitted counts are A - t, B + t, C + t, D - t, and the
    nuisance parameter moves by sigma t. What remains is one monotonic equation
    for t, (A - t)(D - t) = kappa exp(sigma (centre + sigma t)) (B + t)(C + t). With
    a signal allowed the model is saturated.

    Parameters
    ----------
    counts
        A, B, C, D, shape (experiments, 4).
    closure_factor
        kappa.
    sigma
        Logarithmic closure uncertainty, ln(1 + systematic).
    centre
        Auxiliary measurement of the nuisance parameter, shape (experiments,).

    Returns
    -------
    q0, shape (experiments,), and fitted expectations, shape (experiments, 4).
    """
    a, b, c, d = np.asarray(counts, dtype=float).T
    low, high = -np.minimum(b, c), np.minimum(a, d)
    kappa = closure_factor * np.exp(sigma * centre)
    for _ in range(_BISECTIONS):
        t = 0.5 * (low + high)
        below = (a - t) * (d - t) > kappa * np.exp(sigma**2 * t) * (b + t) * (c + t)
        low, high = np.where(below, t, low), np.where(below, high, t)
    t = 0.5 * (low + high)
    fitted = np.stack([a - t, b + t, c + t, d - t], axis=1)
    seen = np.stack([a, b, c, d], axis=1)
    ratio = seen / np.maximum(fitted, np.finfo(float).tiny)
    q0 = 2 * xlogy(seen, np.where(seen > 0, ratio, 1.0)).sum(axis=1) + (sigma * t) ** 2
    return np.where(t > 0, np.maximum(q0, 0.0), 0.0), fitted


# Rounding of q0: a toy that repeats the data counts as above them.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class AbcdNull:
    """The test whose toys are thrown.

    Attributes
    ----------
    observed, fitted
        Counts of A, B, C, D, and their expectations without signal.
    q0
        Of the data.
    model
        kappa, its logarithmic uncertainty, and the leakage.
    """

    observed: Array
    fitted: Array
    q0: float
    model: AbcdModel

    @property
    def shift(self) -> float:
        """The closure's nuisance parameter in the background-only fit."""
        return float(self.model.sigma * (self.observed[0] - self.fitted[0]))


def poisson_p(null: AbcdNull, toys: int, seed: int) -> float:
    """Return (k + 1) / (N + 1) over toys of the counts and of the auxiliary measurement."""
    random = seeds.generator(seed, "stats", "abcd", "toys")
    counts = random.poisson(null.fitted, size=(toys, 4)).astype(float)
    return toys_p_value(int(np.sum(_above(null, counts, random))), toys)


def weighted_poisson_p(null: AbcdNull, toys: int, seed: int) -> float:
    """Return the p-value over those toys, and toys with a signal weighted by their probabilities.

    It is (w + sum of the weights of toys that reach the data) / (N + 1), w that of the data: any
    p-value is known, however small.

    Source
    ------
    Cranmer, arXiv:1004.2910, section on importance sampling.
    """
    random = seeds.generator(seed, "stats", "abcd", "weighted toys")
    steps = np.array([0.0, *_BETWEEN])
    means = null.fitted + steps[:, None] * (null.observed - null.fitted)
    shifts = null.shift * (1 - steps)
    sizes = np.array([toys, *[_WITH_SIGNAL // len(_BETWEEN)] * len(_BETWEEN)])
    counts = random.poisson(np.repeat(means, sizes, axis=0)).astype(float)
    centres = random.normal(np.repeat(shifts, sizes), 1.0)
    # The data, with their auxiliary measurement of 0, are the last experiment.
    counts = np.concatenate([counts, null.observed[None]])
    centres = np.append(centres, 0.0)
    ln_l = np.stack(
        [
            (xlogy(counts, mean) - mean).sum(axis=1) - 0.5 * (centres - shift) ** 2
            for mean, shift in zip(means, shifts, strict=True)
        ]
    )
    shares = sizes / sizes.sum()
    weights = np.exp(ln_l[0] - logsumexp(ln_l, b=shares[:, None], axis=0))
    q0, _ = _q0(null.model, counts[:-1], centres[:-1])
    reached = q0 >= null.q0 - _TIE
    return float(min(1.0, (weights[-1] + weights[:-1][reached].sum()) / len(weights)))


def permutation_p(
    null: AbcdNull, tables: Sequence[Sequence[Sequence[float]]], toys: int, seed: int
) -> float:
    """Return the p-value over permutations of the jets' scores, (k + 1) / (N + 1).

    Quantiles that are taken from the scored events fix how many of them pass and are low
    for each jet. Toys pair the two jets of different events at random within each fold,
    which keeps these numbers; with a closure factor kappa a toy has the weight kappa^A,
    as in Fisher's noncentral hypergeometric law.

    Parameters
    ----------
    null
        The test.
    tables
        Events by (heavy, light) jet that is low, between, or passes, a table a fold.
    toys
        How many.
    seed
        Root seed.

    Raises
    ------
    FitError
        The tables do not hold whole events.

    Source
    ------
    Fisher's exact test and its noncentral law: Fog, Comm. Stat. 37 (2008) 258.
    """
    random = seeds.generator(seed, "stats", "abcd", "permutations")
    counts = permutation_counts(tables, toys, random)
    model = null.model
    power = (np.log(model.closure_factor) + model.sigma * null.shift) * counts[:, 0]
    weights = np.exp(power - power.max())
    weights /= weights.mean()
    return float((weights[_above(null, counts, random)].sum() + 1) / (toys + 1))


def permutation_counts(
    tables: Sequence[Sequence[Sequence[float]]], toys: int, random: np.random.Generator
) -> Array:
    """Return A, B, C, D of toys with independent scores and the marginals of the tables.

    Returns
    -------
    Shape (toys, 4).
    """
    total = np.zeros((toys, 4))
    for table in tables:
        events = np.asarray(table, dtype=float)
        if events.shape != (3, 3) or not np.all(np.isfinite(events)) or np.any(events < 0):
            msg = f"a table of the score plane has 3 x 3 counts, got {events.tolist()}"
            raise FitError(msg)
        whole = np.rint(events).astype(np.int64)
        if not np.allclose(whole, events, atol=1e-6):
            msg = "toys that keep the marginals need whole events, not weighted ones"
            raise FitError(msg)
        low, _, passing = whole.sum(axis=1)
        columns = whole.sum(axis=0)
        # The light jets of events whose heavy jet passes; then of those with a low one.
        taken = random.multivariate_hypergeometric(columns, passing, size=toys, method="marginals")
        left = columns - taken
        rest = left.sum(axis=1)
        first = random.hypergeometric(left[:, 0], rest - left[:, 0], low) if low else 0
        others = rest - left[:, 0]
        drawn = low - first
        last = random.hypergeometric(left[:, 2], others - left[:, 2], drawn)
        total += np.stack(
            np.broadcast_arrays(taken[:, 2], taken[:, 0], last, first), axis=1
        ).astype(float)
    return total


def _above(null: AbcdNull, counts: Array, random: np.random.Generator) -> NDArray[np.bool_]:
    centres = random.normal(null.shift, 1.0, size=len(counts))
    q0, _ = _q0(null.model, counts, centres)
    return np.asarray(q0 >= null.q0 - _TIE)
