"""Signal shapes in m_jj: integrals over bins, and what their uncertainties do to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tnt_coffea.errors import FitError

__all__ = ["DEFAULT_TAILS", "SHAPES", "SignalShape", "Standard", "Template", "gaussian"]

Array = NDArray[np.float64]

DEFAULT_TAILS = (1.5, 3.0, 1.5, 10.0)
"""Tails of a double Crystal Ball: start [widths] and power, below and above the peak."""

_ROOT_2PI = float(np.sqrt(2 * np.pi))


@dataclass(frozen=True)
class Standard:
    """A density of unit width around 0: its integral from -infinity, itself, its slope."""

    cdf: Callable[[Array], Array]
    pdf: Callable[[Array], Array]
    slope: Callable[[Array], Array]


@dataclass(frozen=True)
class SignalShape:
    """A resonance in m_jj.

    Attributes
    ----------
    mass, width
        Peak and Gaussian width [GeV].
    kind
        One of `SHAPES`: 'gaussian' or 'double_crystal_ball'.
    tails
        Of a Crystal Ball: where its lower tail starts, in widths; the tail's
        power; the same of the upper tail.
    scale_uncertainty, width_uncertainty
        Relative uncertainties of mass and width; each that is not zero is a
        nuisance parameter alpha with a unit normal constraint, and the mass (width)
        is its nominal value times exp(uncertainty x alpha).

    Raises
    ------
    FitError
        Width or tails are not positive, an uncertainty is negative, or the kind is unknown.
    """

    mass: float
    width: float
    kind: str = "gaussian"
    tails: tuple[float, float, float, float] = DEFAULT_TAILS
    scale_uncertainty: float = 0.0
    width_uncertainty: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in SHAPES:
            msg = f"'{self.kind}' is no signal shape: choose one of {', '.join(SHAPES)}"
            raise FitError(msg)
        if not (np.isfinite(self.width) and self.width > 0):
            msg = f"the signal's width must be positive, got {self.width:g} GeV"
            raise FitError(msg)
        if not (np.isfinite(self.mass) and self.mass > 0):
            msg = f"the signal's mass must be positive, got {self.mass:g} GeV"
            raise FitError(msg)
        low, low_power, high, high_power = self.tails
        if min(low, high) <= 0 or min(low_power, high_power) <= 1:
            msg = (
                f"a Crystal Ball's tails start above 0 widths and have powers above 1, got "
                f"{self.tails}"
            )
            raise FitError(msg)
        if min(self.scale_uncertainty, self.width_uncertainty) < 0:
            msg = (
                "uncertainties of scale and width cannot be negative, got "
                f"{self.scale_uncertainty:g} and {self.width_uncertainty:g}"
            )
            raise FitError(msg)

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters, in order."""
        names = (("signal_scale", self.scale_uncertainty), ("signal_width", self.width_uncertainty))
        return tuple(name for name, uncertainty in names if uncertainty > 0)

    def integrals(self, edges: Array) -> Array:
        """Return the nominal share of the signal in every bin, 1 over the full line."""
        return np.asarray(np.diff(self._standard.cdf((edges - self.mass) / self.width)))

    def varied(self, edges: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """Return the shares, their slopes and curvatures in the nuisance parameters.

        Parameters
        ----------
        edges
            Edges of the bins [GeV], shape (bins + 1,).
        alpha
            Nuisance parameters, shape (points, nuisances).

        Returns
        -------
        Shapes (points, bins), (points, bins, nuisances) and (points, bins, nuisances,
        nuisances).
        """
        t, first, second = self._pulled(edges, alpha)
        density, slope = self._standard.pdf(t), self._standard.slope(t)
        ones = density[:, None, :] * first
        twos = slope[:, None, None, :] * first[:, :, None, :] * first[:, None, :, :]
        twos += density[:, None, None, :] * second
        return (
            np.diff(self._standard.cdf(t)),
            np.moveaxis(np.diff(ones), -1, 1),
            np.moveaxis(np.diff(twos), -1, 1),
        )

    @property
    def _standard(self) -> Standard:
        return SHAPES[self.kind](self.tails)

    def _pulled(self, edges: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """Return t = (edge - mass) / width and its two derivatives, edges last."""
        names = self.nuisances
        scale, width = (
            alpha[:, names.index(name)] if name in names else np.zeros(len(alpha))
            for name in ("signal_scale", "signal_width")
        )
        mass = self.mass * np.exp(self.scale_uncertainty * scale)[:, None]
        sigma = self.width * np.exp(self.width_uncertainty * width)[:, None]
        t = (edges - mass) / sigma
        shift = np.broadcast_to(-mass * self.scale_uncertainty / sigma, t.shape)
        stretch = -self.width_uncertainty * t
        mixed = -self.width_uncertainty * shift
        first = {"signal_scale": shift, "signal_width": stretch}
        second = {
            ("signal_scale", "signal_scale"): self.scale_uncertainty * shift,
            ("signal_scale", "signal_width"): mixed,
            ("signal_width", "signal_scale"): mixed,
            ("signal_width", "signal_width"): -self.width_uncertainty * stretch,
        }
        return (
            t,
            np.stack([first[a] for a in names], axis=1),
            np.stack([np.stack([second[a, b] for b in names], axis=1) for a in names], axis=1),
        )


@dataclass(frozen=True, eq=False)
class Template:
    """A signal shape over the bins of one channel, times the channel's share of the signal.

    `scale` is that of a weighted spectrum, by which expectations are divided; None: 1.
    """

    shape: SignalShape
    edges: Array
    share: float
    scale: Array | None = None

    def varied(self, alpha: Array) -> tuple[Array, Array, Array]:
        """Return signal per unit mu with slopes and curvatures, as `SignalShape.varied` does."""
        values, slopes, curvatures = self.shape.varied(self.edges, alpha)
        if self.scale is None:
            return self.share * values, self.share * slopes, self.share * curvatures
        share = self.share / self.scale
        return share * values, share[:, None] * slopes, share[:, None, None] * curvatures


def gaussian(edges: Array, mass: float, width: float) -> Array:
    """Return the integrals of a normal density over bins, shape (bins,); 1 over the full line."""
    return np.asarray(np.diff(ndtr((edges - mass) / width)))


def _normal(_: tuple[float, float, float, float]) -> Standard:
    def pdf(t: Array) -> Array:
        return np.asarray(np.exp(-0.5 * t**2) / _ROOT_2PI)

    return Standard(ndtr, pdf, lambda t: -t * pdf(t))


def _double_crystal_ball(tails: tuple[float, float, float, float]) -> Standard:
    """Return a Gaussian core between two power laws that join it smoothly.

    Source
    ------
    The form of LHC resonance searches, e.g. ATLAS, arXiv:1407.6583, appendix A.
    """
    low, low_power, high, high_power = tails
    below, above = partial(_tail, low, low_power), partial(_tail, high, high_power)
    below_joint, above_joint = below(np.array([-low]))[0][0], above(np.array([-high]))[0][0]
    core = _ROOT_2PI * (ndtr(high) - ndtr(-low))
    total = below_joint + core + above_joint

    def parts(t: Array, in_low: Array, in_core: Array, in_high: Array) -> Array:
        joined = np.where(t < -low, in_low, np.where(t > high, in_high, in_core))
        return np.asarray(joined / total)

    def cdf(t: Array) -> Array:
        inside = below_joint + _ROOT_2PI * (ndtr(t) - ndtr(-low))
        return parts(t, below(t)[0], inside, total - above(-t)[0])

    def pdf(t: Array) -> Array:
        return parts(t, below(t)[1], np.exp(-0.5 * t**2), above(-t)[1])

    def slope(t: Array) -> Array:
        return parts(t, below(t)[2], -t * np.exp(-0.5 * t**2), -above(-t)[2])

    return Standard(cdf, pdf, slope)


def _tail(start: float, power: float, t: Array) -> tuple[Array, Array, Array]:
    """Return integral from -infinity, density and slope of a lower tail, for t <= -start."""
    height = np.exp(-0.5 * start**2)
    # Beyond the joint the tail is not used; the bound keeps its power finite there.
    z = np.maximum(1 - start / power * (start + t), 1.0)
    integral = height * power / start / (power - 1) * z ** (1 - power)
    return integral, height * z**-power, height * start * z ** (-power - 1)


SHAPES: Mapping[str, Callable[[tuple[float, float, float, float]], Standard]] = MappingProxyType(
    {"gaussian": _normal, "double_crystal_ball": _double_crystal_ball}
)
"""Signal shapes by name: a new one is a function like `_normal` and a line here."""
