"""Background-only toys of a whole scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.fits import Discoveries
from tnt_coffea.stats.scans.hypotheses import Selection, hypothesis_tests
from tnt_coffea.stats.scans.overlaps import SharedEvents

__all__ = ["scanned_toys"]

Array = NDArray[np.float64]

# Toys held in memory at a time, and between two reports of progress.
_TOYS = 100


def scanned_toys(
    selections: Sequence[Selection],
    overlap: SharedEvents | None,
    toys: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Array, int]:
    """Return q0 of every hypothesis in every toy, and how many toys had a failed fit.

    Parameters
    ----------
    selections
        What is tested.
    overlap
        Which events their spectra share; None where they share none.
    toys
        How many.
    seed
        Root seed.
    progress
        Called with the toys that are done, and all of them.

    Returns
    -------
    Shape (toys, hypotheses), and a number of toys.

    Raises
    ------
    FitError
        The overlap lacks a spectrum, or has other bins.
    """
    random = seeds.generator(seed, "stats", "scan", "toys")
    expected = [b for selection in selections for b in selection.null] if toys else []
    shared = None if overlap is None else overlap.only(_names(selections))
    cells = None if shared is None or not toys else shared.expected(expected)
    q0, failed = [], 0
    if progress is not None:
        progress(0, toys)
    for first in range(0, toys, _TOYS):
        size = min(_TOYS, toys - first)
        counts = (
            poisson.toy_counts(expected, size, random)
            if shared is None or cells is None
            else shared.drawn(cells, size, random)
        )
        tests: list[Discoveries] = []
        for selection in selections:
            tests += hypothesis_tests(selection, counts[: len(selection.data)])
            counts = counts[len(selection.data) :]
        q0.append(np.stack([test.q0 for test in tests], axis=1))
        failed += int(np.sum(~np.all([test.converged for test in tests], axis=0)))
        if progress is not None:
            progress(first + size, toys)
    return np.concatenate(q0) if q0 else np.zeros((0, 0)), failed


def _names(selections: Sequence[Selection]) -> list[str]:
    return [
        selection.name if len(selection.data) == 1 else f"{selection.name}/{spectrum.name}"
        for selection in selections
        for spectrum in selection.data
    ]
