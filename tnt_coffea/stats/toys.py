"""Toy spectra and score planes: known truths for examples, tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import dijet_function
from tnt_coffea.stats.signals import gaussian

__all__ = ["TRUTH", "toy_search", "toy_spectrum"]

TRUTH = (0.0, 5.0, 10.0, 0.1)
"""ln p0, p2, p1, p3 of a dijet function that falls as QCD does above 2.6 TeV."""


def toy_spectrum(
    events: float,
    signal: float = 0.0,
    *,
    mass: float = 3500.0,
    width: float = 120.0,
    edges: Sequence[float] | None = None,
    seed: int = 1,
) -> Any:
    """Return a toy m_jj spectrum, a four-parameter dijet function and a Gaussian signal.

    Parameters
    ----------
    events, signal
        Background events over all bins, and signal events, that are expected.
    mass, width
        Of the signal [GeV].
    edges
        Edges of the bins [GeV]; by default 2600 to 7000 GeV in steps of 20 GeV.
    seed
        Seed of the Poisson fluctuations.

    Returns
    -------
    `hist.Hist` with one axis `m_jj` and Weight storage.

    Raises
    ------
    FitError
        Fewer events than none are expected.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> int(stats.toy_spectrum(5000, 100).sum().value)
    5099
    """
    import hist

    if not (events >= 0 and signal >= 0):
        msg = f"a toy spectrum needs 0 events or more, got {events} and a signal of {signal}"
        raise FitError(msg)
    axis = np.arange(2600.0, 7001.0, 20.0) if edges is None else np.asarray(edges, dtype=float)
    shape = dijet_function(axis, 4).expected(np.array(TRUTH))
    mean = events * (shape / shape.sum()) + signal * gaussian(axis, mass, width)
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    spectrum = hist.Hist(hist.axis.Variable(axis, name="m_jj"), storage=hist.storage.Weight())
    spectrum.view().value = counts
    spectrum.view().variance = counts
    return spectrum


def toy_search(events: int, signal: int = 0, *, folds: int = 2, seed: int = 1) -> Any:
    """Return a toy search histogram: independent scores, and a signal in both their tails.

    Parameters
    ----------
    events, signal
        Background events, falling exponentially from 2600 GeV on, and signal events at 3500 GeV,
        whose jets have quantiles above 0.9.
    folds
        Folds, in which events fall at random.
    seed
        Root seed.

    Returns
    -------
    `hist.Hist` with the axes fold, m_jj, q_heavy and q_light, as a search fills it. X = 0.9 and a
    background quantile of 0.4 are edges.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> stats.toy_search(1000, 20).axes.name
    ('fold', 'm_jj', 'q_heavy', 'q_light')
    """
    import hist

    random = np.random.default_rng(seed)
    quantiles = [0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]
    histogram = hist.Hist(
        hist.axis.IntCategory(range(folds), name="fold"),
        hist.axis.Regular(220, 2600, 7000, name="m_jj"),
        hist.axis.Variable(quantiles, name="q_heavy", flow=False),
        hist.axis.Variable(quantiles, name="q_light", flow=False),
        storage=hist.storage.Weight(),
    )
    masses = (random.exponential(600.0, events) + 2600.0, random.normal(3500.0, 60.0, signal))
    for m_jj, least in zip(masses, (0.0, 0.9), strict=True):
        heavy, light = random.uniform(least, 1.0, (2, len(m_jj)))
        histogram.fill(random.integers(0, folds, len(m_jj)), m_jj, heavy, light)
    return histogram
