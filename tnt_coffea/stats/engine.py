"""Maximum-likelihood fits of binned counts in plain numpy: fast enough for toys.

Channels share one signal strength mu (a number of events) and have backgrounds
of their own. Newton's method with the analytic gradient and Hessian of the
Poisson likelihood, on all toys at once; every fit says how far from the minimum
it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tnt_coffea.config.parameter_names import SIGNAL_SCALE
from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.likelihood import (
    Channel,
    Likelihood,
    free_without_signal,
    nuisance_names,
)
from tnt_coffea.stats.newton import minimised, solved

__all__ = [
    "Discoveries",
    "Discovery",
    "Fit",
    "Fits",
    "background_fit",
    "background_fits",
    "centre_ratios",
    "check_informative",
    "deviance",
    "discoveries",
    "discovery",
    "expectations",
    "fitted_background",
    "is_sparse",
    "log_ratios",
    "pulls",
    "signal_fits",
    "signal_uncertainties",
    "signal_uncertainty",
    "toy_centres",
    "toy_counts",
]

Array = NDArray[np.float64]


B = TypeVar("B", bound=Background)

# Toys that are fitted together: their arrays then stay in the processor's cache.
_BATCH = 256
# Expectations below this are taken for it in ratios of probabilities.
_TINY = 1e-100
# Steps of scoring before Newton's method, and the gain in ln L at which it takes over.
_SCORINGS = 12
_ENOUGH = 1e-6
# A resonance may have been shifted by its uncertain scale; this many sigmas are tried too.
_SHIFTS = (-3.0, -1.5, 1.5, 3.0)
# Below this many events a signal may be all that is near its mass, and the background what is
# left: a maximum of its own, which fits find from a signal so many times as large as that.
_SPARSE, _TOO_LARGE = 300.0, 3.0


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a fit ended.

    Attributes
    ----------
    mu
        Signal strength: events over all channels.
    phi
        Background parameters of each channel.
    nll
        Negative log-likelihood relative to the saturated model.
    edm
        Estimated vertical distance to the minimum, in ln L.
    converged
        Whether that distance is below the goal.
    alpha
        Nuisance parameters, in the order of `nuisance_names`.
    """

    mu: float
    phi: tuple[Array, ...]
    nll: float
    edm: float
    converged: bool
    alpha: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Fits:
    """Where the fits of many toys ended: the attributes of `Fit`, toys first."""

    mu: Array
    alpha: Array
    phi: tuple[Array, ...]
    nll: Array
    edm: Array
    converged: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mu)

    def one(self, toy: int) -> Fit:
        """Return one of the fits."""
        return Fit(
            float(self.mu[toy]),
            tuple(phi[toy] for phi in self.phi),
            float(self.nll[toy]),
            float(self.edm[toy]),
            bool(self.converged[toy]),
            tuple(self.alpha[toy].tolist()),
        )

    def some(self, toys: NDArray[np.intp]) -> Fits:
        """Return some of the fits."""
        return Fits(
            self.mu[toys],
            self.alpha[toys],
            tuple(phi[toys] for phi in self.phi),
            self.nll[toys],
            self.edm[toys],
            self.converged[toys],
        )

    def parameters(self) -> Array:
        """Return all parameters in rows: mu, alpha, phi of every channel."""
        return np.concatenate([self.mu[:, None], self.alpha, *self.phi], axis=1)


@dataclass(frozen=True, eq=False)
class Discovery:
    """Test of mu = 0 against mu > 0."""

    background: Fit
    best: Fit
    q0: float

    @property
    def z(self) -> float:
        """Asymptotic local significance, sqrt(q0)."""
        return float(np.sqrt(self.q0))

    @property
    def converged(self) -> bool:
        """Whether both fits converged."""
        return self.background.converged and self.best.converged


@dataclass(frozen=True, eq=False)
class Discoveries:
    """Tests of mu = 0 against mu > 0 of many toys."""

    background: Fits
    best: Fits
    q0: Array

    @property
    def z(self) -> Array:
        """Asymptotic local significances, sqrt(q0)."""
        return np.sqrt(self.q0)

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether both fits converged, toy by toy."""
        return np.asarray(self.background.converged & self.best.converged)


def background_fits(
    channels: Sequence[Channel],
    observed: Sequence[Array],
    start: Fits | None = None,
    *,
    centres: Array | None = None,
) -> Fits:
    """Fit the backgrounds at mu = 0 to many toys.

    The trigger's efficiency and the spurious signal are fitted as well; without the latter
    the nuisance parameters of the signal's shape sit at their centres.

    Parameters
    ----------
    channels
        The model.
    observed
        Counts of every channel, shape (toys, bins).
    start
        Where to begin; by default where the backgrounds were whitened.
    centres
        Results of the auxiliary measurements, which toys may randomise: the centres of the
        constraints, shape (toys, nuisances) in the order of `nuisance_names`; None: 0.

    Raises
    ------
    FitError
        The centres have another shape, or are no finite numbers.
    """
    if start is None:
        start = _origin(channels, len(observed[0]), centres)
    return _fitted(channels, observed, start, mu=0.0, centres=centres)


def signal_fits(
    channels: Sequence[Channel],
    observed: Sequence[Array],
    start: Fits,
    *,
    mu: float | None = None,
    signed: bool = False,
    held: Sequence[int] = (),
    centres: Array | None = None,
) -> Fits:
    """Fit mu and the backgrounds to many toys.

    Parameters
    ----------
    channels, observed, centres
        As for `background_fits`.
    start
        Where to begin; for mu >= 0 best a background fit whose score is positive.
    mu
        Keep mu at this value.
    signed
        Let mu be negative, as long as no bin expects less than nothing. A fit
        that ends at that limit has not converged.
    held
        Positions in `Fits.parameters` that stay where the start has them.
    """
    least = -np.inf if signed else 0.0
    return _fitted(channels, observed, start, mu=mu, least=least, held=held, centres=centres)


def discoveries(
    channels: Sequence[Channel],
    observed: Sequence[Array],
    null: Fits | None = None,
    *,
    centres: Array | None = None,
) -> Discoveries:
    """Test mu = 0 in many toys; where the score there is not positive q0 is 0 without another fit.

    Of fewer than 300 events, where the likelihood may have a second maximum, fits begin at a
    large signal as well.

    Parameters
    ----------
    channels, observed, centres
        As for `background_fits`.
    null
        Background fits of the same toys, if they are known: hypotheses that
        differ only in the signal share them; with a spurious signal the fits begin there.

    Source
    ------
    Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equation 12.
    """
    if null is None:
        background = background_fits(channels, observed, centres=centres)
    else:
        # A background fit of another signal knows nothing of this one's nuisance parameters.
        start = _origin(channels, len(null), centres)
        efficiencies = len(channels[0].efficiency_nuisances)
        alpha = start.alpha
        if efficiencies:
            alpha[:, -efficiencies:] = null.alpha[:, -efficiencies:]
        background = replace(null, mu=start.mu, alpha=alpha)
        if channels[0].spurious:
            background = background_fits(channels, observed, background, centres=centres)
    null = background
    fields: list[Any] = [
        np.array(v) for v in (null.parameters(), null.nll, null.edm, null.converged)
    ]
    for first, rows in _starts(channels, observed, background, centres):
        if not rows.size:
            continue
        nothing = np.zeros(len(rows))
        begin = _as_fits(channels, first[rows], nothing, nothing, nothing)
        own = None if centres is None else centres[rows]
        fits = signal_fits(channels, [n[rows] for n in observed], begin, centres=own)
        # The first start is the background fit itself: what begins there counts, failed or not.
        better = (first[rows, 0] == 0) | (fits.converged & (fits.nll < fields[1][rows]))
        values = (fits.parameters(), fits.nll, fits.edm, fits.converged)
        for old, new in zip(fields, values, strict=True):
            old[rows[better]] = new[better]
    best = _as_fits(channels, *fields)
    return Discoveries(background, best, np.maximum(0.0, 2 * (background.nll - best.nll)))


def expectations(channels: Sequence[Channel], fits: Fits) -> list[Array]:
    """Return all that every channel expects in the fits of many toys, shape (toys, bins)."""
    pairs = zip(channels, fits.phi, strict=True)
    return [channel.expected(fits.mu, fits.alpha, phi) for channel, phi in pairs]


def background_fit(channels: Sequence[Channel]) -> Fit:
    """Fit the backgrounds at mu = 0 to the channels' own observations."""
    return background_fits(channels, _observed(channels)).one(0)


def discovery(channels: Sequence[Channel]) -> Discovery:
    """Test mu = 0 in the channels' own observations."""
    test = discoveries(channels, _observed(channels))
    return Discovery(test.background.one(0), test.best.one(0), float(test.q0[0]))


def signal_uncertainties(
    channels: Sequence[Channel], observed: Sequence[Array], fits: Fits
) -> Array:
    """Return the uncertainty of mu from the curvature of the likelihood, all else profiled."""
    x, rows = fits.parameters(), np.arange(len(fits))
    likelihood = Likelihood(channels, observed, x, np.arange(x.shape[1]))
    _, hessian, slopes = likelihood.all_derivatives(x, rows)
    unit = np.zeros_like(x)
    unit[:, 0] = 1.0
    variance, known = solved(hessian, unit)
    if not known.all():
        # A coefficient that the data put at zero has no curvature, and no part in mu.
        wrong = np.flatnonzero(~known)
        fisher = np.linalg.pinv(likelihood.information(slopes, wrong), rcond=1e-10, hermitian=True)
        variance[wrong, 0], known[wrong] = fisher[:, 0, 0], True
    good = known & (variance[:, 0] > 0)
    return np.where(good, np.sqrt(np.where(good, variance[:, 0], 1.0)), np.inf)


def signal_uncertainty(
    channels: Sequence[Channel], mu: float, phi: Sequence[Array], alpha: Sequence[float] = ()
) -> float:
    """Return the uncertainty of mu for the channels' own observations at one point."""
    shifts = np.zeros(len(nuisance_names(channels)))
    shifts[: len(alpha)] = alpha
    x = np.concatenate([[mu], shifts, *phi])[None]
    fits = _as_fits(channels, x, np.zeros(1), np.zeros(1), np.ones(1, dtype=bool))
    return float(signal_uncertainties(channels, _observed(channels), fits)[0])


def check_informative(uncertainty: float) -> None:
    """Refuse data that say nothing about mu.

    Raises
    ------
    FitError
        The uncertainty of mu is not a positive number.
    """
    if not np.isfinite(uncertainty) or uncertainty <= 0:
        msg = "the data say nothing about a signal here: use a range with more events around it"
        raise FitError(msg)


def fitted_background(
    family: B, observed: Array, seen: NDArray[np.bool_] | None = None
) -> tuple[B, Fit]:
    """Fit a family as it stands to some bins of one spectrum, and whiten it around the result.

    For a log-linear family the maximum exists and is unique where at least as many
    bins are occupied as there are parameters: such a function cannot be zero there
    and negative everywhere else.

    Parameters
    ----------
    family
        The family over all bins.
    observed
        Counts, shape (bins,).
    seen
        The bins to fit; by default all.

    Returns
    -------
    The family over all bins with the fit as its origin, and the fit.
    """
    bins = np.ones(len(observed), dtype=bool) if seen is None else seen
    counts = np.asarray(observed, dtype=float)[bins]
    flat = family.normalised(float(counts.sum()), bins)
    start = flat.whitened(np.zeros(flat.parameters), bins)
    channel = Channel("", counts, np.zeros_like(counts), start.restricted(bins))
    near = np.concatenate([[0.0], _near_the_fit(channel.background, counts)])[None]
    unknown = np.full(1, np.inf)
    begin = _as_fits([channel], near, unknown, unknown, np.zeros(1))
    fit = background_fits([channel], [counts[None]], begin).one(0)
    return start.whitened(fit.phi[0], bins), fit


def _near_the_fit(background: Background, counts: Array) -> Array:
    """Return phi near the maximum of the likelihood; 0 where nothing better is found.

    First what fits the logarithms of counts, then scoring: least squares with the expectation as
    variance. A step of it costs a fraction of Newton's, which has the last word.
    """
    phi = np.zeros(background.parameters)
    here = background.evaluated(phi)
    if not (here.expected > 0).all():
        return phi
    least = _cost(here.expected, counts)
    weight, missing = np.sqrt(counts + 0.5), np.log((counts + 0.5) / here.expected)
    slopes = here.jacobian / here.expected[:, None]
    for scoring in range(_SCORINGS + 1):
        if scoring:
            weight, missing = 1 / np.sqrt(here.expected), counts - here.expected
            slopes = here.jacobian
        trial = phi + np.linalg.lstsq(slopes * weight[:, None], missing * weight)[0]
        there = background.evaluated(trial)
        gain = least - _cost(there.expected, counts)
        if gain > 0:
            phi, here, least = trial, there, least - gain
        if scoring and not gain > _ENOUGH:
            break
    return phi


def _cost(expected: Array, counts: Array) -> float:
    """Return -ln L up to a constant; infinity where an expectation is not above 0."""
    if not (np.isfinite(expected) & (expected > 0)).all():
        return np.inf
    return float((expected - xlogy(counts, expected)).sum())


def _observed(channels: Sequence[Channel]) -> list[Array]:
    return [np.asarray(channel.observed, dtype=float)[None] for channel in channels]


def _origin(channels: Sequence[Channel], toys: int, centres: Array | None) -> Fits:
    nuisances = len(nuisance_names(channels))
    x = np.zeros((toys, 1 + nuisances + sum(c.background.parameters for c in channels)))
    if centres is not None:
        x[:, 1 : 1 + nuisances] = _checked_centres(centres, toys, nuisances)
    unknown = np.full(toys, np.inf)
    return _as_fits(channels, x, unknown, unknown, np.zeros(toys, dtype=bool))


def _checked_centres(centres: Array, toys: int, nuisances: int) -> Array:
    if np.shape(centres) != (toys, nuisances) or not np.isfinite(centres).all():
        msg = (
            "the centres of constraints are finite numbers, one a toy and nuisance parameter: "
            f"expected shape {(toys, nuisances)}, got {np.shape(centres)}"
        )
        raise FitError(msg)
    return centres


def _as_fits(channels: Sequence[Channel], x: Array, nll: Array, edm: Array, good: Array) -> Fits:
    shared = 1 + len(nuisance_names(channels))
    cuts = np.cumsum([shared, *(c.background.parameters for c in channels)])[:-1]
    _, *phi = np.split(x, cuts, axis=1)
    return Fits(x[:, 0], x[:, 1:shared], tuple(phi), nll, edm, good.astype(bool))


def _fitted(
    channels: Sequence[Channel],
    observed: Sequence[Array],
    start: Fits,
    *,
    mu: float | None = None,
    least: float = 0.0,
    held: Sequence[int] = (),
    centres: Array | None = None,
) -> Fits:
    toys, nuisances = start.alpha.shape
    if centres is not None:
        _checked_centres(centres, toys, nuisances)
    movable = [c.background.movable(phi) for c, phi in zip(channels, start.phi, strict=True)]
    x = replace(start, phi=tuple(movable)).parameters()
    kept = np.asarray(held, dtype=np.intp)
    x[:, kept] = start.parameters()[:, kept]
    sitting = kept
    if mu is not None:
        x[:, 0] = mu
        sitting = np.append(sitting, 0)
    if mu == 0:
        # What changes nothing there sits at the centre of its constraint.
        idle = np.setdiff1d(np.arange(nuisances), free_without_signal(channels))
        x[:, 1 + idle] = 0.0 if centres is None else centres[:, idle]
        sitting = np.append(sitting, 1 + idle)
    free = np.setdiff1d(np.arange(x.shape[1]), sitting)
    spurious, theta = channels[0].spurious, 1 + len(channels[0].shape_nuisances)
    if spurious and theta in free:
        # With a negative spurious signal a bin might expect less than nothing.
        x[:, theta] = np.maximum(x[:, theta], -x[:, 0] / spurious)
    nll, edm, good = np.empty(len(x)), np.empty(len(x)), np.zeros(len(x), dtype=bool)
    for first in range(0, len(x), _BATCH):
        part = slice(first, first + _BATCH)
        objective = Likelihood(
            channels,
            [n[part] for n in observed],
            x[part].copy(),
            free,
            -np.inf if mu is not None else least,
            None if centres is None else centres[part],
        )
        minimum = minimised(objective, x[part][:, free])
        x[part, free] = minimum.x
        nll[part], edm[part], good[part] = minimum.value, minimum.edm, minimum.converged
    return _as_fits(channels, x, nll, edm, good)


def _score(channels: Sequence[Channel], observed: Sequence[Array], x: Array) -> tuple[Array, Array]:
    """Return d ln L / d mu and the Fisher information of mu alone."""
    here = _as_fits(channels, x, *(np.zeros(len(x)) for _ in range(3)))
    score, known = np.zeros(len(x)), np.zeros(len(x))
    for first in range(0, len(x), _BATCH):
        part = slice(first, first + _BATCH)
        mu, alpha = here.mu[part], here.alpha[part]
        for channel, n, phi in zip(channels, observed, here.phi, strict=True):
            mean = np.maximum(channel.expected(mu, alpha, phi[part]), _TINY)
            share = channel.moved_signal(alpha) / mean
            score[part] += (share * (n[part] - mean)).sum(axis=1)
            known[part] += (share**2 * mean).sum(axis=1)
    return score, known


def _starts(
    channels: Sequence[Channel],
    observed: Sequence[Array],
    background: Fits,
    centres: Array | None,
) -> list[tuple[Array, NDArray[np.intp]]]:
    """Return where to begin, and which toys do.

    First mu = 0, those whose score is positive; then, of few events, the best fit with a signal
    that is too large; then shifted signals of positive score with the mu that it suggests.
    """
    x = background.parameters()
    starts = [(x, np.flatnonzero(_score(channels, observed, x)[0] > 0))]
    if (rows := np.flatnonzero(is_sparse(observed))).size:
        counts = [n[rows] for n in observed]
        few = background.some(rows)
        own = None if centres is None else centres[rows]
        large = replace(few, mu=_TOO_LARGE * _all_signal(channels, counts, few.alpha))
        held = signal_fits(channels, counts, large, held=[0], centres=own)
        beyond = x.copy()
        beyond[rows] = held.parameters()
        starts.append((beyond, rows[held.mu > 0]))
    names = nuisance_names(channels)
    for shift in _SHIFTS if SIGNAL_SCALE in names else ():
        shifted = x.copy()
        place = names.index(SIGNAL_SCALE)
        shifted[:, 1 + place] = shift if centres is None else centres[:, place] + shift
        score, known = _score(channels, observed, shifted)
        shifted[:, 0] = np.maximum(score, 0.0) / np.maximum(known, np.finfo(float).tiny)
        starts.append((shifted, np.flatnonzero(score > 0)))
    return starts


def _all_signal(channels: Sequence[Channel], observed: Sequence[Array], alpha: Array) -> Array:
    """Return mu of a signal that the events near its mass are of, all of them, toy by toy."""
    signals = [channel.moved_signal(alpha) for channel in channels]
    near = sum((n * s).sum(axis=1) for n, s in zip(observed, signals, strict=True))
    most = sum(np.square(s).sum(axis=1) for s in signals)
    return np.asarray(near / np.maximum(most, np.finfo(float).tiny))


def is_sparse(observed: Sequence[Array]) -> NDArray[np.bool_]:
    """Tell which toys have so few events that fits of a signal may have several maxima.

    Parameters
    ----------
    observed
        Counts of every channel, shape (toys, bins).
    """
    return np.asarray(sum(n.sum(axis=1) for n in observed) < _SPARSE)


def deviance(observed: Array, expected: Array) -> Array:
    """Return the likelihood ratio to the saturated model, 2 sum(n ln(n / b) - n + b).

    The sum is over the last axis, the bins.
    """
    return np.asarray(np.sum(_deviances(observed, expected), axis=-1))


def pulls(observed: Array, expected: Array) -> Array:
    """Return each bin's signed root of its deviance: a pull that holds at low counts too."""
    terms = np.maximum(_deviances(observed, expected), 0.0)
    return np.asarray(np.sign(observed - expected) * np.sqrt(terms))


def toy_counts(expected: Sequence[Array], toys: int, random: np.random.Generator) -> list[Array]:
    """Return Poisson counts around the expectations of every channel, shape (toys, bins)."""
    try:
        return [random.poisson(mean, (toys, len(mean))).astype(float) for mean in expected]
    except MemoryError as error:
        bins = sum(map(len, expected))
        msg = f"{toys:,} toys of {bins} bins do not fit into the memory: take fewer toys"
        raise FitError(msg) from error


def toy_centres(alpha: Sequence[float], toys: int, random: np.random.Generator) -> Array:
    """Return auxiliary measurements of nuisance parameters, shape (toys, nuisances)."""
    return random.normal(alpha, 1.0, (toys, len(alpha)))


def centre_ratios(centres: Array, mean: Sequence[float], null: Sequence[float]) -> Array:
    """Return the logarithms of the probabilities of auxiliary measurements, as `log_ratios`.

    Parameters
    ----------
    centres
        The measurements, shape (toys, nuisances).
    mean, null
        Nuisance parameters in the two expectations.
    """
    squares = [np.square(centres - np.asarray(at)).sum(axis=1) for at in (mean, null)]
    return np.asarray(0.5 * (squares[1] - squares[0]))


def log_ratios(counts: Sequence[Array], mean: Sequence[Array], null: Sequence[Array]) -> Array:
    """Return the logarithms of the probabilities of toys in one expectation over another.

    Parameters
    ----------
    counts
        Of every channel, shape (toys, bins).
    mean, null
        Expectations of every channel, shape (bins,).
    """
    total = np.zeros(len(counts[0]))
    for n, m, b in zip(counts, mean, null, strict=True):
        m, b = np.maximum(m, _TINY), np.maximum(b, _TINY)
        total += (xlogy(n, m / b) - (m - b)).sum(axis=1)
    return total


def _deviances(observed: Array, expected: Array) -> Array:
    expected = np.maximum(expected, np.finfo(float).tiny)
    return np.asarray(2 * (xlogy(observed, observed / expected) - observed + expected))
