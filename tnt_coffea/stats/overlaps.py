"""Toys of spectra that share events: nested efficiencies, overlapping windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError

__all__ = ["SharedEvents"]

Array = NDArray[np.float64]

# The shares of the patterns change slowly with m_jj; their counts do not.
_SMOOTHING_BINS = 5.0
_SWEEPS = 200
_AGREEMENT = 1e-6


@dataclass(frozen=True, eq=False)
class SharedEvents:
    """Which events of several spectra are the same.

    Events are counted by pattern: the set of spectra that an event enters. A toy
    draws one Poisson number for every pattern and bin, and adds it to all spectra of
    the pattern, so that a fluctuation appears wherever the event does.

    Attributes
    ----------
    names
        The spectra.
    patterns
        Whether events of a pattern enter a spectrum, shape (patterns, spectra).
    counts
        Observed events, shape (patterns, bins).

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> import numpy as np
    >>> shared = stats.SharedEvents.nested({'loose': np.array([9, 5]), 'tight': np.array([3, 1])})
    >>> shared.counts.tolist(), shared.patterns.tolist()
    ([[6.0, 4.0], [3.0, 1.0]], [[True, False], [True, True]])
    """

    names: tuple[str, ...]
    patterns: NDArray[np.bool_]
    counts: Array

    @classmethod
    def of_events(
        cls,
        edges: Array,
        m_jj: Array,
        passes: Mapping[str, NDArray[np.bool_]],
        weight: Array | None = None,
    ) -> Self:
        """Return the shared events of selections on the same events.

        Parameters
        ----------
        edges
            Edges of the bins of the fit [GeV].
        m_jj
            Of every event [GeV], shape (events,).
        passes
            Whether every event passes, by spectrum.
        weight
            Of every event; by default 1.
        """
        names = tuple(passes)
        table = np.stack([np.asarray(passes[name], dtype=bool) for name in names], axis=1)
        kept = table.any(axis=1)
        patterns, which = np.unique(table[kept], axis=0, return_inverse=True)
        cells = np.zeros((len(patterns), len(edges) - 1))
        place = np.searchsorted(edges, np.asarray(m_jj, dtype=float)[kept], side="right") - 1
        inside = (place >= 0) & (place < cells.shape[1])
        events = np.ones(len(place)) if weight is None else np.asarray(weight, dtype=float)[kept]
        np.add.at(cells, (which.ravel()[inside], place[inside]), events[inside])
        return cls(names, patterns, cells)

    @classmethod
    def nested(cls, spectra: Mapping[str, Array]) -> Self:
        """Return the shared events of spectra of which each contains the next.

        Parameters
        ----------
        spectra
            Counts per bin, loosest selection first, shape (bins,) each.

        Raises
        ------
        FitError
            A tighter selection holds more events than a looser one, or what they hold are
            no counts in the same bins.
        """
        names = tuple(spectra)
        each = [np.asarray(spectra[name], dtype=float) for name in names]
        if len({spectrum.shape for spectrum in each}) != 1 or not np.isfinite(each).all():
            msg = f"selections {list(names)} must hold counts in the same bins"
            raise FitError(msg)
        counts = np.array(each)
        slices = counts - np.vstack([counts[1:], np.zeros(counts.shape[1])])
        if (slices < 0).any():
            msg = f"selections {list(names)} are not nested: give the loosest one first"
            raise FitError(msg)
        return cls(names, np.tri(len(names), dtype=bool), slices)

    def only(self, names: Sequence[str]) -> Self:
        """Return what some of the spectra share.

        Raises
        ------
        FitError
            One of them is not among the spectra.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            msg = (
                f"the overlap is of {list(self.names)} and lacks {missing}: name its spectra as "
                "the scan does, 'selection' or 'selection/channel'"
            )
            raise FitError(msg)
        table = self.patterns[:, [self.names.index(name) for name in names]]
        kept = table.any(axis=1)
        patterns, which = np.unique(table[kept], axis=0, return_inverse=True)
        cells = np.zeros((len(patterns), self.counts.shape[1]))
        np.add.at(cells, which.ravel(), self.counts[kept])
        return type(self)(tuple(names), patterns, cells)

    def expected(self, marginals: Sequence[Array]) -> Array:
        """Return the expectation of every pattern that gives every spectrum its own.

        The smoothed shares of the patterns are scaled until their sums agree with the
        fitted backgrounds (iterative proportional fitting); where the backgrounds
        contradict each other (a tighter one above a looser one) they come as close as
        they can, and all toys still share events.

        Parameters
        ----------
        marginals
            Expected events per bin of every spectrum, in the order of `names`.

        Returns
        -------
        Expected events, shape (patterns, bins).
        """
        if len(marginals) != len(self.names) or any(
            len(b) != self.counts.shape[1] for b in marginals
        ):
            msg = (
                f"shared events of {len(self.names)} spectra in {self.counts.shape[1]} bins cannot "
                f"serve {len(marginals)} in {sorted({len(b) for b in marginals})} bins: count them "
                "in the bins of the fit"
            )
            raise FitError(msg)
        cells = self._smoothed()
        for _ in range(_SWEEPS):
            worst = 0.0
            for column, wanted in zip(self.patterns.T, marginals, strict=True):
                total = cells[column].sum(axis=0)
                ratio = np.asarray(wanted) / np.maximum(total, np.finfo(float).tiny)
                cells[column] *= ratio
                worst = max(worst, float(np.abs(ratio - 1).max()))
            if worst < _AGREEMENT:
                break
        return cells

    def toys(
        self, marginals: Sequence[Array], toys: int, random: np.random.Generator
    ) -> list[Array]:
        """Return toy counts of every spectrum, shape (toys, bins) each, events shared."""
        return self.drawn(self.expected(marginals), toys, random)

    def drawn(self, cells: Array, toys: int, random: np.random.Generator) -> list[Array]:
        """Return toy counts of every spectrum around expectations of the patterns."""
        spectra = [np.zeros((toys, cells.shape[1])) for _ in self.names]
        # One pattern after the other: there may be thousands of them.
        for expected, members in zip(cells, self.patterns, strict=True):
            events = random.poisson(expected, (toys, len(expected)))
            for i in np.flatnonzero(members):
                spectra[i] += events
        return spectra

    def _smoothed(self) -> Array:
        bins = np.arange(self.counts.shape[1])
        kernel = np.exp(-0.5 * ((bins[:, None] - bins) / _SMOOTHING_BINS) ** 2)
        # Weights may sum to less than nothing where a pattern is rare.
        counts = np.maximum(self.counts, 0.0)
        smooth = counts @ (kernel / kernel.sum(axis=0))
        # A pattern that was seen nowhere near can still occur there.
        return np.asarray(smooth + 1e-6 * counts.sum(axis=1, keepdims=True) / bins.size)
