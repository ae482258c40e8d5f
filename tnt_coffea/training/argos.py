"""ARGOS: how much better a score cuts on a signal region than on a template of its background.

| to choose | take |
|---|---|
| an epoch, or a number of trees | `argos_merit`, a figure of merit of validation events |
| among settings or methods | `argos` of events that had no part in their training |

It needs no truth. A score that tells nothing has 0 but for chance, which is the same at every cut:
1 / sqrt(n) with 1 / n = 1 / events of the region + 1 / events of the template.

Source: arXiv:2511.14832.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.fitting import Merit
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["LARGEST_ERROR", "Argos", "argos", "argos_merit"]

LARGEST_ERROR = 0.2
"""Largest relative statistical uncertainty of the template's share at a cut that counts."""
_ROUNDING = 1e-9
"""As a sum of equal weights is not to the last bit a whole number."""


@dataclass(frozen=True)
class Argos:
    """ARGOS of a score, and its cut.

    Attributes
    ----------
    value
        eps_region / sqrt(eps_template) - sqrt(eps_template).
    efficiency
        Share eps_template of the template's events above the cut.

    Examples
    --------
    >>> Argos(value=0.05, efficiency=0.01).value
    0.05
    """

    value: float
    efficiency: float


def argos(
    region: npt.ArrayLike,
    template: npt.ArrayLike,
    *,
    region_weight: npt.ArrayLike | None = None,
    template_weight: npt.ArrayLike | None = None,
    efficiency: float | None = None,
) -> Argos:
    r"""Return eps_region / sqrt(eps_template) - sqrt(eps_template), its largest or at a cut.

    With a share f of signal in the region and a perfect template it is
    f (eps_S - eps_B) / sqrt(eps_B), so the cut and the score that are best for it are those with
    the largest f eps_S / sqrt(eps_B), but for a term that vanishes with eps_B. A template that is
    not that of the region's background adds what it is wrong by: a score that follows the mass has
    a large value against sidebands without any signal.

    The share of the template is one only where its relative statistical uncertainty is at most
    20 %: at least 25 events of equal weights are left. The cut that keeps everything, with the
    value 0, always counts, so the largest value is never below 0.

    Parameters
    ----------
    region
        (event,) scores of the signal region, higher = more signal-like.
    template
        (event,) scores of the template of its background.
    region_weight, template_weight
        (event,) weights of either sign; 1 for all if not given.
    efficiency
        Share of the template kept, above 0, at most 1; equal scores may keep more. Without it
        the largest value of all cuts is returned.

    Raises
    ------
    TrainingError
        The template has an uncertainty above 20 % at that cut, or as a whole; the weights of the
        region do not add up to more than 0; a score is no number; or the efficiency is no share.

    Source: arXiv:2511.14832; the limit on the uncertainty is that of the largest significance
    improvement in arXiv:2309.13111.

    Examples
    --------
    >>> import numpy as np
    >>> template = np.linspace(0, 1, 1001)  # flat, and 100 events of signal above 0.95
    >>> region = np.append(template, np.linspace(0.95, 1, 100))
    >>> found = argos(region, template)
    >>> round(found.efficiency, 2), round(found.value, 2)
    (0.05, 0.38)
    >>> round(argos(region, template, efficiency=0.2).value, 2)
    0.16
    """
    scores = np.concatenate([np.asarray(values, np.float64) for values in (region, template)])
    n = len(np.asarray(region))
    if not np.isfinite(scores).all():
        msg = f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} scores are not finite"
        raise TrainingError(msg)
    weights = _weights(region_weight, n), _weights(template_weight, len(scores) - n)
    order = np.argsort(-scores, kind="stable")
    # A cut cannot part equal scores, so it stands behind the last of each.
    last = np.append(np.diff(scores[order]) != 0, True)[: len(scores)]

    def above(weight: Float64Array, first: int) -> Float64Array:
        every = np.zeros(len(scores))
        every[first : first + len(weight)] = weight
        out: Float64Array = np.cumsum(every[order])[last]
        return out

    kept, squares, passed = (
        above(weights[1], n),
        above(weights[1] ** 2, n),
        above(weights[0], 0),
    )
    known = (kept > 0) & (squares <= LARGEST_ERROR**2 * kept**2 * (1 + _ROUNDING))
    _check(known, passed, kept, squares)
    shares, passing = kept / kept[-1], passed / passed[-1]
    # More than all is what weights below 0 make; sqrt has no share below 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        values = passing / np.sqrt(shares) - np.sqrt(shares)
    if efficiency is None:
        best = int(np.argmax(np.where(known, values, -np.inf)))
        return Argos(float(values[best]), float(shares[best]))
    if not 0 < efficiency <= 1:
        msg = f"the share {efficiency} of a template lies above 0 and at most at 1"
        raise TrainingError(msg)
    at = int(np.argmax(shares >= efficiency * (1 - _ROUNDING)))
    if not known[at]:
        msg = (
            f"the share {shares[at]:.3g} of the template is uncertain by more than "
            f"{LARGEST_ERROR:.0%}: give it more events, or keep a larger share"
        )
        raise TrainingError(msg)
    return Argos(float(values[at]), float(shares[at]))


def _weights(given: npt.ArrayLike | None, n: int) -> Float64Array:
    weights = np.ones(n) if given is None else np.asarray(given, np.float64)
    if weights.shape != (n,):
        msg = f"weights of shape {weights.shape} for {n} scores"
        raise TrainingError(msg)
    return weights


def _check(
    known: npt.NDArray[np.bool_], passed: Float64Array, kept: Float64Array, squares: Float64Array
) -> None:
    least = round(1 / LARGEST_ERROR**2)
    if not len(known) or not known[-1]:
        total, square = (float(each[-1]) if len(each) else 0.0 for each in (kept, squares))
        worth = total**2 / square if total > 0 else 0.0
        msg = (
            f"a template worth {worth:.0f} events, at least {least} are needed for ARGOS: use "
            "more events, a larger share of them to choose by (validation), or cross_entropy"
        )
        raise TrainingError(msg)
    if not passed[-1] > 0:
        msg = "the weights of the signal region do not add up to more than 0"
        raise TrainingError(msg)


def argos_merit(weights: npt.ArrayLike) -> Merit:
    """Return the figure of merit that is the largest ARGOS of validation events.

    Events of targets above one half are the signal region, those below are the template.

    Parameters
    ----------
    weights
        (event,) of the validation events, in their order; of either sign.

    Returns
    -------
    Function of (event,) targets and (event,) scores; it raises the errors of `argos`.

    Examples
    --------
    >>> import numpy as np
    >>> targets = np.repeat([1.0, 0.0], 50).astype(np.float32)
    >>> perfect, none = targets, np.zeros_like(targets)
    >>> merit = argos_merit(np.ones(100))
    >>> merit(targets, none)
    0.0
    >>> merit(targets, np.where(np.arange(100) < 60, 1, 0).astype("f4"))  # ten of the template
    0.0
    >>> round(merit(targets, np.where(np.arange(100) < 75, 1, 0).astype("f4")), 3)  # 25 of it
    0.707
    """
    given = np.asarray(weights, np.float64)

    def merit(targets: Float32Array, scores: Float32Array) -> float:
        region, template = targets > 0.5, targets < 0.5
        return argos(
            scores[region],
            scores[template],
            region_weight=given[region],
            template_weight=given[template],
        ).value

    return merit
