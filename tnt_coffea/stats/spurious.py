"""The spurious signal: what a model makes of a background that other functions describe better.

Another function counts where the data themselves prefer it to all functions of the model. What
the model's fit finds in its expectation without a signal is then a bias of the model. It becomes
a nuisance parameter of the signal: Z, limits and intervals know it.

Source
------
ATLAS, arXiv:1408.7084, takes the largest spurious signal as a nuisance parameter. There large
simulated samples tell it; here it is known from the data alone, and only where they do tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats import engine
from tnt_coffea.stats.envelope import Functions, Profile, family_of, profiled
from tnt_coffea.stats.results import SpuriousSignal
from tnt_coffea.stats.validity import SPURIOUS_EVIDENCE, SPURIOUS_LIMIT, SPURIOUS_RIVALS

__all__ = ["SpuriousFits", "spurious_fits", "spurious_signal", "with_spurious"]

Array = NDArray[np.float64]

# A function that knows a signal so much worse than the model, in uncertainties, says nothing of it.
_MOST_UNCERTAIN = 3.0


@dataclass(frozen=True, eq=False)
class SpuriousFits:
    """Spurious signals on other functions, for one or many sets of counts.

    Only the best function of every family has numbers; the others have NaN, and failed fits too.

    Attributes
    ----------
    names
        The other functions.
    gain
        By how much each describes the data better than the model's best function, in
        ln L - parameters / 2, shape (functions, toys).
    events
        Signal that the model finds in its expectation, shape (functions, toys).
    error
        Statistical uncertainty of that, shape (functions, toys).
    sigma
        Uncertainty of mu in the model, shape (toys,).
    """

    names: tuple[str, ...]
    gain: Array
    events: Array
    error: Array
    sigma: Array

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which of the spurious signals count, shape (functions, toys).

        Those of functions that describe the data better by `validity.SPURIOUS_EVIDENCE`, and no
        worse than the best by `validity.SPURIOUS_RIVALS`, above `validity.SPURIOUS_LIMIT`.
        """
        gain = np.where(np.isnan(self.gain), -np.inf, self.gain)
        least = np.maximum(SPURIOUS_EVIDENCE, gain.max(axis=0, initial=-np.inf) - SPURIOUS_RIVALS)
        return np.asarray(
            (gain > least) & (np.abs(np.nan_to_num(self.events)) > SPURIOUS_LIMIT * self.sigma)
        )

    @property
    def size(self) -> Array:
        """Standard deviation of the nuisance parameter [events], shape (toys,); 0: there is none.

        The largest spurious signal that counts, and its own uncertainty.
        """
        each = np.abs(self.events) + self.error
        return np.asarray(np.where(self.counted, each, 0.0).max(axis=0, initial=0.0))

    def signals(self, unit: float = 1.0) -> tuple[SpuriousSignal, ...]:
        """Return what is known of every family, for one set of counts, signals times a unit."""
        return tuple(
            SpuriousSignal(
                name,
                unit * float(events[0]),
                float(events[0] / self.sigma[0]),
                float(gain[0]),
                bool(counts[0]),
            )
            for name, events, gain, counts in zip(
                self.names, self.events, self.gain, self.counted, strict=True
            )
            if np.isfinite(events[0]) and 0 < self.sigma[0] < np.inf
        )


def spurious_fits(
    functions: Functions,
    others: Functions,
    counts: Sequence[Array],
    best: Profile,
    found: Profile,
    least: float = -np.inf,
) -> SpuriousFits:
    """Compare other functions with a model's, and fit the model to what they expect.

    Parameters
    ----------
    functions
        Channels of the model by function.
    others
        The same of the other functions.
    counts
        Counts of every channel, shape (toys, bins).
    best, found
        Fits of mu >= 0 of the model and of the others to the counts.
    least
        Gain from which on a spurious signal is asked for.
    """
    toys = len(counts[0])
    sigma = _uncertainty(functions, counts, best)
    gain, events, error = (np.full((len(others), toys), np.nan) for _ in range(3))
    truths = {
        name: [
            c.background.expected(phi)
            for c, phi in zip(channels, found.fits[name].phi, strict=True)
        ]
        for name, channels in others.items()
    }
    each = np.array(
        [
            np.where(found.fits[name].converged & _possible(truth), found.each[i], np.inf)
            for i, (name, truth) in enumerate(truths.items())
        ]
    )
    families = np.array([family_of(name) for name in others])
    for i, (name, channels) in enumerate(others.items()):
        rivals = each[families == families[i]]
        better = best.nll - each[i]
        rows = np.flatnonzero(
            (each[i] <= rivals.min(axis=0)) & (better > least) & np.isfinite(better)
        )
        if not rows.size:
            continue
        signals = _found_in([truth[rows] for truth in truths[name]], functions)
        good = signals.converged & np.isfinite(signals.mu)
        own = engine.signal_uncertainties(channels, counts, found.fits[name])[rows]
        # Two estimates of one number, the better one efficient: their difference has the
        # difference of their variances (Hausman, Econometrica 46 (1978) 1251).
        variance = np.maximum(np.square(own) - np.square(sigma[rows]), 0.0)
        good &= variance < np.square(_MOST_UNCERTAIN * sigma[rows])
        rows = rows[good]
        gain[i, rows] = better[rows]
        events[i, rows], error[i, rows] = signals.mu[good], np.sqrt(variance[good])
    return SpuriousFits(tuple(others), gain, events, error, sigma)


def spurious_signal(
    functions: Functions, truth: Sequence[Array], name: str, sigma: float, unit: float = 1.0
) -> SpuriousSignal:
    """Return the signal that a fit finds in an expectation without any.

    Parameters
    ----------
    functions
        Channels by function, as fitted to the data.
    truth
        Expected events of every channel, shape (bins,).
    name
        What the truth is called.
    sigma
        Uncertainty of mu in the data.
    unit
        Events at mu = 1.
    """
    events = float(_found_in([np.asarray(b, dtype=float)[None] for b in truth], functions).mu[0])
    return SpuriousSignal(name, unit * events, events / sigma)


def with_spurious(functions: Functions, events: float) -> Functions:
    """Return the channels of every function with a spurious signal.

    Parameters
    ----------
    functions
        Channels by function.
    events
        Its standard deviation [events over all channels]; 0: none.
    """
    return {
        name: tuple(replace(channel, spurious=events) for channel in channels)
        for name, channels in functions.items()
    }


def _found_in(truth: Sequence[Array], functions: Functions) -> Profile:
    """Return the fits of a model's signal, in its nominal shape, to expectations."""
    bare = {
        name: tuple(replace(channel, template=None) for channel in channels)
        for name, channels in functions.items()
    }
    return profiled(bare, truth, signed=True)


def _uncertainty(functions: Functions, counts: Sequence[Array], best: Profile) -> Array:
    """Return the uncertainty of mu with the best function, shape (toys,)."""
    each = [
        engine.signal_uncertainties(channels, counts, best.fits[name])
        for name, channels in functions.items()
    ]
    return np.asarray(np.take_along_axis(np.array(each), best.best[None], axis=0)[0])


def _possible(truth: Sequence[Array]) -> NDArray[np.bool_]:
    """Return whether expectations are some, shape (toys,)."""
    good = [(np.isfinite(b) & (b >= 0)).all(axis=1) & (b.sum(axis=1) > 0) for b in truth]
    return np.asarray(np.all(good, axis=0))
