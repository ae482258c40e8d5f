"""An ABCD estimate as a HistFactory workspace, in stock modifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnt_coffea.config.parameter_names import BACKGROUND, CLOSURE, MU, RATIO_B, RATIO_C
from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_likelihood import tied_counts_q0
from tnt_coffea.stats.abcd_results import AbcdResult
from tnt_coffea.stats.signals import norm_factors, norm_modifiers

__all__ = ["abcd_workspace"]

_FREE = (BACKGROUND, RATIO_B, RATIO_C)


def abcd_workspace(
    result: AbcdResult,
    leakage: Sequence[float] = (0.0, 0.0, 0.0),
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Return an ABCD estimate as a pyhf workspace, JSON values.

    Four channels of one bin hold D, B = D r_b, C = D r_c and A = kappa D r_b r_c with free
    D, r_b and r_c, and the closure's uncertainty as a normsys of A. The measurement's parameter
    'mu' counts signal events in A. Of weighted events all numbers are effective counts.

    Parameters
    ----------
    result
        The estimate.
    leakage
        Signal in B, C and D per signal event in A, that of the estimate.
    systematics
        Uncertainties of the signal's norm, those of its limit.

    Raises
    ------
    FitError
        There is no such leakage.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> workspace = stats.abcd_workspace(stats.abcd(130, 1000, 1000, 10_000))
    >>> [channel['name'] for channel in workspace['channels']]
    ['A', 'B', 'C', 'D']
    """
    leaked = np.asarray(leakage, dtype=object)
    numbers = all(isinstance(x, int | float | np.number) for x in leaked.ravel())
    good = leaked.shape == (3,) and numbers and all(0 <= x < np.inf for x in leaked)
    if not good:
        msg = f"leakage is the signal in B, C and D per event in A, 0 or more, got {leakage!r}"
        raise FitError(msg)
    k = np.ones(4) if result.counts is None else np.array(result.counts.scales)
    a, b, c, d = map(float, np.array([result.a, result.b, result.c, result.d]) / k)
    signal = np.array([1.0, *map(float, leaked)]) * k[0] / k
    expected = result.expected / float(k[0])
    norms = norm_modifiers(norm_factors(systematics or {}))
    background, ratio_b, ratio_c = (_factor(name) for name in _FREE)
    closure = {
        "name": CLOSURE,
        "type": "normsys",
        "data": {"hi": 1 + result.systematic, "lo": 1 / (1 + result.systematic)},
    }
    with_closure = [closure] if result.systematic else []
    regions = {
        "A": (a, expected, [background, ratio_b, ratio_c, *with_closure]),
        "B": (b, b, [background, ratio_b]),
        "C": (c, c, [background, ratio_c]),
        "D": (d, d, [background]),
    }
    # At the maximum the free parameters are 1, without a signal they have these values; Minuit
    # loses its digits where bounds are far from both.
    counts, sigma = np.array([[a, b, c, d]]), float(np.log1p(result.systematic))
    _, null = tied_counts_q0(counts, expected * d / (b * c), sigma, np.zeros(1))
    _, in_b, in_c, in_d = (max(float(x), 1e-6) for x in null[0] / np.maximum(counts[0], 1e-6))
    parameters: list[dict[str, Any]] = [
        {"name": name, "inits": [1.0], "bounds": [[1e-6, 10 * max(1.0, value)]]}
        for name, value in zip(_FREE, (in_d, in_b / in_d, in_c / in_d), strict=True)
    ]
    parameters.append({"name": MU, "inits": [1.0], "bounds": [[0.0, 10 * (a + 10)]]})
    if with_closure:
        # Five sigma, as usual, would cut off the closure of a large excess.
        parameters.append({"name": CLOSURE, "inits": [0.0], "bounds": [[-100.0, 100.0]]})
    return {
        "channels": [
            {"name": name, "samples": _samples(nominal, modifiers, float(signal[i]), norms)}
            for i, (name, (_, nominal, modifiers)) in enumerate(regions.items())
        ],
        "observations": [{"name": name, "data": [seen]} for name, (seen, _, _) in regions.items()],
        "measurements": [{"name": "ABCD", "config": {"poi": MU, "parameters": parameters}}],
        "version": "1.0.0",
    }


def _factor(name: str) -> dict[str, Any]:
    return {"name": name, "type": "normfactor", "data": None}


def _samples(
    nominal: float,
    modifiers: list[dict[str, Any]],
    signal: float,
    norms: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    samples = [{"name": "background", "data": [nominal], "modifiers": modifiers}]
    if signal:
        samples.append({"name": "signal", "data": [signal], "modifiers": [_factor(MU), *norms]})
    return samples
