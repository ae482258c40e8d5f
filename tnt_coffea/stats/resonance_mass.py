"""The mass of a resonance: a likelihood over masses, around one that a scan has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.arguments import check_arguments
from tnt_coffea.stats.model import competing_models
from tnt_coffea.stats.results import Result
from tnt_coffea.stats.spectrum import spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit

__all__ = ["MassEstimate", "resonance_mass"]

Array = NDArray[np.float64]

_REACH, _STEP = 2.5, 0.25
"""Masses that are tried: as far from the first one, and as far apart, in widths of the signal."""


@dataclass(frozen=True)
class MassEstimate(Result):
    """The mass at which a signal describes a spectrum best.

    Attributes
    ----------
    mass
        Of the largest likelihood [GeV].
    low, high
        Where ln L has fallen by one half: the central 68 % [GeV].
    bounded
        Whether it falls so far on both sides within the masses that were tried.
    q0
        Test statistic of arXiv:1007.1727, equation 12, there.
    events
        Signal events there.

    Examples
    --------
    >>> MassEstimate(3500.0, 3480.0, 3510.0, True, 16.0, 90.0).uncertainty
    15.0
    """

    mass: float
    low: float
    high: float
    bounded: bool
    q0: float
    events: float
    kind: Literal["mass"] = field(default="mass", kw_only=True)

    @property
    def uncertainty(self) -> float:
        """Half of the interval [GeV]."""
        return (self.high - self.low) / 2

    def summary(self) -> str:
        """Return the mass in one line."""
        return f"mass {self.mass:.0f} GeV, 68 % in {self.low:.0f} to {self.high:.0f} GeV"


def resonance_mass(channels: Any, *, near: float, width: float, fit: SpectrumFit) -> MassEstimate:
    """Return the mass of a resonance with its uncertainty, by the likelihood over masses.

    The signal's width is held, its number of events and the background are fitted at every mass,
    2.5 widths around the first one in steps of a quarter of a width; all masses share the
    background functions, and no spurious signal is fitted.

    Parameters
    ----------
    channels
        As for `bump_hunt`.
    near
        Mass that a scan has found [GeV].
    width
        Gaussian width of the signal [GeV].
    fit
        How spectra are fitted.

    Raises
    ------
    FitError
        No mass nearby has sidebands, a fit fails, or there is no excess.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> spectrum = stats.toy_spectrum(5000, 200, mass=3500, width=120)
    >>> found = resonance_mass(spectrum, near=3400, width=120, fit=fit)
    >>> abs(found.mass - 3500) < 2 * found.uncertainty, found.bounded
    (True, True)
    """
    check_arguments(mass=near, width=width, fit=fit)
    tried = near + width * np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    signals = [fit.signal(float(mass), width) for mass in tried]
    signals = [signal for signal in signals if fit.has_sidebands(signal)]
    if not signals:
        msg = (
            f"no mass near {near:g} GeV has sidebands within {fit.range[0]:g}-{fit.range[1]:g} GeV"
        )
        raise FitError(msg)
    models = competing_models(spectra(channels, fit), signals, fit)
    masses = np.array([signal.mass for signal in signals])
    q0 = np.array([float(model.test.q0[0]) for model in models])
    best = int(np.argmax(q0))
    if not q0[best] > 0:
        msg = f"there is no excess near {near:g} GeV whose mass could be fitted"
        raise FitError(msg)
    mass, largest = _top(masses, q0, best)
    low, left = _where(masses[best::-1], q0[best::-1], mass, largest)
    high, right = _where(masses[best:], q0[best:], mass, largest)
    events = models[best].unit * float(models[best].test.best.mu[0])
    return MassEstimate(mass, low, high, left and right, largest, events)


def _top(masses: Array, q0: Array, best: int) -> tuple[float, float]:
    """Return mass and q0 of the top of the parabola through the best mass and its neighbours."""
    if not 0 < best < len(q0) - 1:
        return float(masses[best]), float(q0[best])
    before, here, after = q0[best - 1 : best + 2]
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    step = masses[best + 1] - masses[best]
    return float(masses[best] + shift * step), float(here - 0.25 * (before - after) * shift)


def _where(masses: Array, q0: Array, mass: float, largest: float) -> tuple[float, bool]:
    """Return where q0 has fallen by one, going away from the best mass, and whether it has.

    The root of the fall is interpolated: it grows evenly beside the top of a parabola.
    """
    ahead = (masses - mass) * (masses[-1] - mass) > 0
    x = np.concatenate([[mass], masses[ahead]])
    root = np.concatenate([[0.0], np.sqrt(np.maximum(largest - q0[ahead], 0))])
    fallen = np.flatnonzero(root > 1)
    if not len(fallen):
        return float(x[-1]), False
    i = int(fallen[0])
    share = (1 - root[i - 1]) / (root[i] - root[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1])), True
