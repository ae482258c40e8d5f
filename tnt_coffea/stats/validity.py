"""Where fits and formulae can be trusted: each threshold with its reason, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.signals import Signal

__all__ = [
    "CLOSURE_AGREEMENT",
    "FEW_IN_REGION_A",
    "GOODNESS_TOYS",
    "LARGEST_EDM",
    "LEAST_BACKGROUND",
    "LEAST_BESIDE",
    "LEAST_EFFECTIVE",
    "LEAST_GOODNESS",
    "LEAST_IN_BIN",
    "LEAST_IN_REGION_A",
    "LEAST_RANGE_GOODNESS",
    "LEAST_TRANSFERRED",
    "LEAST_UNDER_LIMIT",
    "LIMIT_AGREEMENT",
    "MOST_TOYS",
    "SIDEBAND_WIDTHS",
    "SPURIOUS_EVIDENCE",
    "SPURIOUS_LIMIT",
    "SPURIOUS_RIVALS",
    "TURN_ON_LEFT",
    "TURN_ON_SEEN",
    "Z_AGREEMENT",
    "background_in_reach",
    "minimiser_problems",
    "range_problems",
    "why_not_asymptotic",
]

Array = NDArray[np.float64]

LEAST_BACKGROUND = 25.0
"""Background events near a signal from which on q0 follows its asymptotic law.

Below, the counts under the peak are too skewed for a half chi-square; `docs/statistics.md`
has the rates of false positives on either side.
"""

LEAST_BESIDE = 1000.0
"""Events beside a window from which on the linear uncertainty of their fit suffices.

Of toys with 1000 events in all bins 6 and 7 % have a p-value below 5 %, with 60 up to 12 %;
`docs/statistics.md`, counts in windows.
"""

LEAST_UNDER_LIMIT = 10.0
"""Background events within 2 widths from which on the asymptotic CLs limit holds.

Below, it is too low: 1.92 events instead of 3.00 where nothing is seen or expected. A limit needs
fewer events than a p-value because it lives on tails of 5 %, not of 10^-7.
"""

LEAST_IN_REGION_A = 5.0
"""Events expected in region A from which on the p-value of ABCD is asymptotic.

It is one count: below, its Poisson law is so coarse that toys are needed.
"""

LEAST_EFFECTIVE = 0.1
"""Share of the simulated events that their weights must be worth in a direct estimate.

Below, a few large weights decide, whose tail the sum of squared weights does not see.
"""

LEAST_TRANSFERRED = 10.0
"""Events beside the signal that have to pass, and to fail, for a transfer factor.

With fewer the ratio of all of them together is not known to a third.
"""

LEAST_IN_BIN = 5.0
"""Events expected in each bin from which on a deviance is chi-square distributed (Cochran)."""

GOODNESS_TOYS = 300
"""Toys behind a goodness of fit where bins hold fewer: its p-value is 1 / 301 or more."""

MOST_TOYS = 10_000_000
"""Toys of a test: they tell p-values to 1e-7, and more of them fill the memory."""

FEW_IN_REGION_A = 10.0
"""Events in A in the sidebands below which kappa is known to no better than a third."""

LEAST_GOODNESS = 0.05
"""p-value of the background-only fit from which on a lower edge is accepted."""

LEAST_RANGE_GOODNESS = 0.01
"""p-value of the background-only fits, all channels together, below which a note says so.

One search in a hundred is noted without a reason. A function that misses its spectrum by so much
may be wrong under the signal by as much as the statistical uncertainty.
"""

TURN_ON_SEEN = 0.02
"""p-value of the test for a turn-on below which a spectrum does not begin at its lowest edge.

With fits that fail by `LEAST_RANGE_GOODNESS`, a smooth spectrum loses its edge in 1 of 40 cases,
in 1 of 23 where the data are about to ask for one more parameter (docs/statistics.md).
"""

TURN_ON_LEFT = 0.3
"""The same p-value from which on a higher edge lies above the turn-on.

What is left of it then biases a signal by less than a quarter of its uncertainty.
"""

SIDEBAND_WIDTHS = 3.0
"""Widths of spectrum on both sides that a signal needs.

Nearer to an edge nothing holds the background function beside it: of 95 % limits at 2640 GeV in a
range from 2600 GeV, down to 75 % cover the signal where the function is not the truth.
"""

SPURIOUS_LIMIT = 0.2
"""Largest spurious signal, in uncertainties of mu, that may be left out.

It would widen the uncertainty of mu by 2 % in quadrature.
"""

SPURIOUS_EVIDENCE = 3.0
"""Gain in ln L - parameters / 2 from which on another function says that the model is wrong.

Where the model holds the truth, another function is so much better in less than 5 % of all spectra,
of 10^3 to 10^6 events. With less evidence a spurious signal is a fluctuation of the other function:
where any that describes the data counts, nearly every right model has one (docs/statistics.md).
"""

SPURIOUS_RIVALS = 2.0
"""The same gain by which a function is worse than the best of the others and still counts.

It is two standard deviations of a likelihood ratio.
"""

LARGEST_EDM = 1e-4
"""Largest distance to the minimum, in ln L, at which Minuit has converged: Z moves by 1e-4."""

Z_AGREEMENT = 1e-2
"""Largest difference in Z between pyhf with Minuit and the numpy engine."""

LIMIT_AGREEMENT = 1e-2
"""Largest relative difference between their limits."""

CLOSURE_AGREEMENT = 1e-3
"""Largest relative deviation of a fitted signal from one that was injected in Asimov data."""


def background_in_reach(channels: Sequence[Channel], null: Sequence[Array]) -> float:
    """Return the background events within mass +- 2 widths, over all channels.

    Parameters
    ----------
    channels
        Spectra and signals: the template tells which bins lie near the mass.
    null
        Expected background of every channel, shape (bins,).
    """
    return sum(
        float(np.sum(b[c.signal > np.exp(-2) * c.signal.max()]))
        for b, c in zip(null, channels, strict=True)
    )


def why_not_asymptotic(
    channels: Sequence[Channel], null: Sequence[Array], signal: Signal
) -> tuple[str, ...]:
    """Return every reason why a p-value has to come from toys; none where the formulae hold.

    Parameters
    ----------
    channels, null
        As for `background_in_reach`.
    signal
        The signal.

    Source
    ------
    The formulae: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727.
    """
    reasons = []
    near = background_in_reach(channels, null)
    if near < LEAST_BACKGROUND:
        reasons.append(
            f"{near:.1f} background events within mass +- 2 widths ({signal.mass:g} +- "
            f"{2 * signal.width:g} GeV), fewer than {LEAST_BACKGROUND:g}"
        )
    if signal.movements:
        reasons.append("the signal may move within its uncertainties")
    return tuple(reasons)


def range_problems(goodness: Mapping[str, float]) -> list[str]:
    """Return why the background function does not describe a range; nothing where it does.

    Parameters
    ----------
    goodness
        p-value of the background-only fit of every channel; together they have Fisher's p-value.

    Source
    ------
    Fisher, Statistical Methods for Research Workers, section 21.1: -2 sum(ln p) is chi-square
    distributed with two degrees of freedom a channel.

    Examples
    --------
    >>> range_problems({"fold-0": 0.4, "fold-1": 0.03})
    []
    >>> range_problems({"all": 2e-5})
    ['the background-only fit does not describe the spectrum (p = 2e-05): narrow the range, allow \
more parameters or another family, or give the trigger efficiency']
    """
    problems = []
    p_values = np.clip(np.array(list(goodness.values()), dtype=float), 1e-300, 1.0)
    together = float(chdtrc(2 * len(p_values), -2 * np.log(p_values).sum()))
    if together < LEAST_RANGE_GOODNESS:
        worst = min(goodness, key=lambda name: goodness[name])
        where = f", worst in {worst} ({goodness[worst]:.2g})" if len(goodness) > 1 else ""
        problems.append(
            f"the background-only fit does not describe the spectrum (p = {together:.2g}{where}): "
            "narrow the range, allow more parameters or another family, or give the trigger "
            "efficiency"
        )
    return problems


def minimiser_problems(edm: float | None, z: float, z_check: float) -> list[str]:
    """Return why the minimum of a pyhf fit is in doubt; nothing where it is not.

    Parameters
    ----------
    edm
        Estimated distance to the minimum, in ln L; None where SciPy stepped in for Minuit.
    z, z_check
        Significance of the fit, and that of the other minimiser.
    """
    problems = []
    if edm is None:
        problems.append(
            "Minuit failed and SciPy gave the result, without a distance to the minimum"
        )
    elif edm > LARGEST_EDM:
        problems.append(f"Minuit stopped {edm:.2g} in ln L from its minimum")
    if abs(z - z_check) > Z_AGREEMENT:
        problems.append(f"two minimisers disagree: Z = {z:.3f} and {z_check:.3f}")
    return problems
