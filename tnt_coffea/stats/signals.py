"""Signal shapes in m_jj: integrals over bins, and what their uncertainties do to them.

A shape is a function (`SignalShape`) or a histogram of simulated events (`TemplateShape`). Beside
what changes the shape, uncertainties of the norm multiply all of it: log-normal factors, whose
nuisance parameters come after the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tnt_coffea.config.parameter_names import (
    SIGNAL_SCALE,
    SIGNAL_WIDTH,
    STATISTICS,
    is_parameter,
)
from tnt_coffea.errors import FitError
from tnt_coffea.stats.interpolation import added, factors
from tnt_coffea.stats.signal_templates import SignalTemplate, summed

__all__ = [
    "ALL",
    "DEFAULT_TAILS",
    "SHAPES",
    "TEMPLATE",
    "ChannelShape",
    "Effect",
    "Norms",
    "Signal",
    "SignalShape",
    "Standard",
    "Template",
    "TemplateShape",
    "gaussian",
    "norm_factors",
    "norm_modifiers",
]

Array = NDArray[np.float64]

DEFAULT_TAILS = (1.5, 3.0, 1.5, 10.0)
"""Tails of a double Crystal Ball: start [widths] and power, below and above the peak."""

TEMPLATE = "template"
"""Kind of a signal that is a histogram."""
ALL = "all"
"""Channel of all folds together."""

Norms = tuple[tuple[str, float, float], ...]
"""Uncertainties of the norm: name, and the factors at +1 and -1 standard deviation."""

_ROOT_2PI = float(np.sqrt(2 * np.pi))
# Shapes of variations that differ by less than this share of the signal do not move it.
_SAME_SHAPE = 1e-9


def norm_factors(systematics: Mapping[str, float | tuple[float, float]]) -> Norms:
    """Return uncertainties of the norm as factors at +1 and -1 standard deviation.

    Parameters
    ----------
    systematics
        By name: a relative uncertainty u, with the factors 1 + u and 1 / (1 + u) of a log-normal
        distribution; or relative changes at -1 and at +1 standard deviation. Those that are 0
        are left out.

    Raises
    ------
    FitError
        An uncertainty is negative or not finite, or a change takes all of the signal.

    Examples
    --------
    >>> norm_factors({"luminosity": 0.016, "tagger": (-0.1, 0.2), "none": 0})
    (('luminosity', 1.016, 0.984...), ('tagger', 1.2, 0.9))
    """
    found = []
    for name, value in systematics.items():
        if isinstance(value, tuple | list):
            down, up = (float(part) for part in value)
        else:
            up, down = float(value), 1 / (1 + float(value)) - 1 if value > -1 else -1.0
        if not (np.isfinite([up, down]).all() and min(up, down) > -1):
            msg = f"uncertainty '{name}': a change takes all of the signal, or is no number"
            raise FitError(msg)
        if not isinstance(value, tuple | list) and value < 0:
            msg = f"uncertainty '{name}' must be 0 or more, got {value:g}"
            raise FitError(msg)
        if not name or is_parameter(name):
            msg = f"'{name}' is the name of another parameter: call the uncertainty otherwise"
            raise FitError(msg)
        if up or down:
            found.append((str(name), 1 + up, 1 + down))
    return tuple(found)


def norm_modifiers(norms: Norms) -> list[dict[str, Any]]:
    """Return uncertainties of the norm as HistFactory's modifiers."""
    return [
        {"name": name, "type": "normsys", "data": {"hi": high, "lo": low}}
        for name, high, low in norms
    ]


@dataclass(frozen=True, eq=False)
class Effect:
    """What a nuisance parameter does to the signal in one channel, in HistFactory's words.

    Attributes
    ----------
    name
        The parameter.
    norm
        Factors at +1 and -1 standard deviation; None: it changes no norm.
    shape
        Shares per bin there, both of shape (bins,); None: it changes no shape.
    """

    name: str
    norm: tuple[float, float] | None = None
    shape: tuple[Array, Array] | None = None


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
    norms
        Uncertainties of the norm, from `norm_factors`; each is a nuisance parameter.

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
    norms: Norms = ()

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
    def movements(self) -> tuple[str, ...]:
        """Names of the nuisance parameters that move the signal in the mass, the first of all."""
        names = ((SIGNAL_SCALE, self.scale_uncertainty), (SIGNAL_WIDTH, self.width_uncertainty))
        return tuple(name for name, uncertainty in names if uncertainty > 0)

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters, in order."""
        return (*self.movements, *(name for name, _, _ in self.norms))

    def of(self, channel: str, edges: Array) -> SignalShape:
        """Return the shape in a channel and its bins: the same in all."""
        return self

    def shares(self) -> dict[str, float] | None:
        """Return the channels' shares of the signal: none of its own."""
        return None

    def effects(self, edges: Array) -> list[Effect]:
        """Return what each nuisance parameter does in bins."""
        moved = len(self.movements)
        alpha = np.zeros((2 * moved, len(self.nuisances)))
        alpha[:, :moved] = np.concatenate([np.eye(moved), -np.eye(moved)])
        values = self.varied(edges, alpha)[0]
        shapes = [
            Effect(name, shape=(values[k], values[moved + k]))
            for k, name in enumerate(self.movements)
        ]
        return [*shapes, *(Effect(name, norm=(high, low)) for name, high, low in self.norms)]

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
        moved = len(self.movements)
        if not moved:
            shares = np.broadcast_to(self.integrals(edges), (len(alpha), len(edges) - 1))
            nothing = np.zeros((*shares.shape, 0))
            return _times_norms((shares, nothing, nothing[..., None]), self.norms, alpha)
        t, first, second = self._pulled(edges, alpha[:, :moved])
        density, slope = self._standard.pdf(t), self._standard.slope(t)
        ones = density[:, None, :] * first
        twos = slope[:, None, None, :] * first[:, :, None, :] * first[:, None, :, :]
        twos += density[:, None, None, :] * second
        shaped = (
            np.diff(self._standard.cdf(t)),
            np.moveaxis(np.diff(ones), -1, 1),
            np.moveaxis(np.diff(twos), -1, 1),
        )
        return _times_norms(shaped, self.norms, alpha[:, moved:])

    @property
    def _standard(self) -> Standard:
        return SHAPES[self.kind](self.tails)

    def _pulled(self, edges: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """Return t = (edge - mass) / width and its two derivatives, edges last."""
        names = self.movements
        scale, width = (
            alpha[:, names.index(name)] if name in names else np.zeros(len(alpha))
            for name in (SIGNAL_SCALE, SIGNAL_WIDTH)
        )
        mass = self.mass * np.exp(self.scale_uncertainty * scale)[:, None]
        sigma = self.width * np.exp(self.width_uncertainty * width)[:, None]
        t = (edges - mass) / sigma
        shift = np.broadcast_to(-mass * self.scale_uncertainty / sigma, t.shape)
        stretch = -self.width_uncertainty * t
        mixed = -self.width_uncertainty * shift
        first = {SIGNAL_SCALE: shift, SIGNAL_WIDTH: stretch}
        second = {
            (SIGNAL_SCALE, SIGNAL_SCALE): self.scale_uncertainty * shift,
            (SIGNAL_SCALE, SIGNAL_WIDTH): mixed,
            (SIGNAL_WIDTH, SIGNAL_SCALE): mixed,
            (SIGNAL_WIDTH, SIGNAL_WIDTH): -self.width_uncertainty * stretch,
        }
        return (
            t,
            np.stack([first[a] for a in names], axis=1),
            np.stack([np.stack([second[a, b] for b in names], axis=1) for a in names], axis=1),
        )


@dataclass(frozen=True, eq=False)
class ChannelShape:
    """A signal in the bins of one channel, as a histogram: shares of the channel's events.

    Attributes
    ----------
    template
        The histogram, in the bins of the fit.
    total
        Events of the channel, outside the fit as well.
    norms
        Uncertainties of the norm beside those of its variations.
    """

    template: SignalTemplate
    total: float
    norms: Norms = ()

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters: the variations, then the norms."""
        return (*self.template.variations, *(name for name, _, _ in self.norms))

    def integrals(self, edges: Array) -> Array:
        """Return the nominal share of the signal in every bin."""
        return np.asarray(self._own(edges).nominal / self.total)

    def effects(self, edges: Array) -> list[Effect]:
        """Return what each nuisance parameter does in bins."""
        own = self._own(edges)
        varied = [
            Effect(name, own.norms[name], (up / self.total, down / self.total))
            for name, (up, down) in own.shapes.items()
        ]
        return [*varied, *(Effect(name, norm=(high, low)) for name, high, low in self.norms)]

    def varied(self, edges: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """Return the shares, their slopes and curvatures, as `SignalShape.varied` does."""
        own = self._own(edges)
        names, bins = tuple(own.variations), len(own.nominal)
        values = np.tile(own.nominal, (len(alpha), 1))
        slopes = np.zeros((len(alpha), bins, len(names)))
        curvatures = np.zeros((len(alpha), bins, len(names), len(names)))
        for k, (up, down) in enumerate(own.shapes.values()):
            more, slopes[:, :, k], curvatures[:, :, k, k] = added(
                own.nominal, up, down, alpha[:, k]
            )
            values += more
        of_variations = tuple((name, *own.norms[name]) for name in names)
        return _times_norms(
            (values / self.total, slopes / self.total, curvatures / self.total),
            (*of_variations, *self.norms),
            alpha,
            len(names),
        )

    def _own(self, edges: Array) -> SignalTemplate:
        own = self.template
        return own if own.edges is edges else own.rebinned(edges)


@dataclass(frozen=True, eq=False)
class TemplateShape:
    """A signal that is a histogram in every channel, at one mass.

    Attributes
    ----------
    mass, width
        Where the signal is, and how wide: what counts as near it [GeV].
    templates
        Histograms by channel.
    norms
        Uncertainties of the norm, from `norm_factors`; each is a nuisance parameter, the number
        of simulated events as well.

    Raises
    ------
    FitError
        Mass or width are not positive, or a norm and a variation have one name.
    """

    mass: float
    width: float
    templates: Mapping[str, SignalTemplate]
    norms: Norms = ()

    kind = TEMPLATE

    def __post_init__(self) -> None:
        for what, value in (("mass", self.mass), ("width", self.width)):
            if not (np.isfinite(value) and value > 0):
                msg = f"the signal's {what} must be positive, got {value:g} GeV"
                raise FitError(msg)
        first = next(iter(self.templates.values()))
        norm_factors(dict.fromkeys(first.variations, 0.0))
        own = {STATISTICS, *first.variations}
        twice = sorted({name for name, _, _ in self.norms} & own)
        twice += [STATISTICS] if STATISTICS in first.variations else []
        if twice:
            msg = (
                f"{', '.join(twice)}: a variation of the signal template or its statistics, and an "
                "uncertainty of the norm: leave one out"
            )
            raise FitError(msg)

    @property
    def total(self) -> float:
        """Signal events at unit strength, over all channels and bins."""
        return sum(template.total for template in self.templates.values())

    @property
    def statistics(self) -> float:
        """Relative uncertainty of that number from the simulated events."""
        squares = sum(float(template.variance.sum()) for template in self.templates.values())
        return float(np.sqrt(squares)) / self.total

    @property
    def all_norms(self) -> Norms:
        """Uncertainties of the norm, with that of the number of simulated events."""
        return (*self.norms, *((_statistics(self.statistics),) if self.statistics else ()))

    @property
    def movements(self) -> tuple[str, ...]:
        """Names of the variations that change the shape."""
        names = next(iter(self.templates.values())).variations
        return tuple(
            name for name in names if any(_moves(t, name) for t in self.templates.values())
        )

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters, in order."""
        variations = next(iter(self.templates.values())).variations
        return (*variations, *(name for name, _, _ in self.all_norms))

    def of(self, channel: str, edges: Array) -> ChannelShape:
        """Return the shape in a channel and its bins.

        Raises
        ------
        FitError
            The channel has no template.
        """
        if channel not in self.templates and channel == ALL:
            together = summed(list(self.templates.values()))
            return ChannelShape(together.rebinned(edges), together.total, self.all_norms)
        if channel not in self.templates:
            msg = (
                f"no signal template of the channel '{channel}': there are those of "
                f"{', '.join(self.templates)}"
            )
            raise FitError(msg)
        template = self.templates[channel]
        return ChannelShape(template.rebinned(edges), template.total, self.all_norms)

    def shares(self) -> dict[str, float] | None:
        """Return the channels' shares of the signal."""
        return {name: template.total / self.total for name, template in self.templates.items()}


Signal = SignalShape | TemplateShape
"""A signal of either form."""


def _statistics(relative: float) -> tuple[str, float, float]:
    return STATISTICS, 1 + relative, 1 / (1 + relative)


def _moves(template: SignalTemplate, name: str) -> bool:
    nominal, varied = template.nominal, list(template.shapes[name])
    if name in template.sums.members:
        # What members do together depends on the bins; what each does, does not.
        nominal, (_, members) = template.sums.nominal, template.sums.members[name]
        if np.any(members.sum(axis=1) <= 0):
            return True
        varied = [own * (template.total / own.sum()) for own in members]
    changes = [np.abs(part - nominal).max() for part in varied]
    return bool(max(changes) > _SAME_SHAPE * template.total)


def _times_norms(
    shaped: tuple[Array, Array, Array], norms: Norms, alpha: Array, joint: int = 0
) -> tuple[Array, Array, Array]:
    """Multiply a signal with its derivatives by factors of its nuisance parameters.

    Parameters
    ----------
    shaped
        Values of shape (points, bins), slopes and curvatures in the parameters that change the
        shape.
    norms
        The factors.
    alpha
        Nuisance parameters of these, shape (points, norms).
    joint
        How many of them, the first, are those of the shape as well.
    """
    values, slopes, curvatures = shaped
    if not norms:
        return shaped
    each = [factors(high, low, alpha[:, k]) for k, (_, high, low) in enumerate(norms)]
    f, first, second = (np.stack(parts, axis=1) for parts in zip(*each, strict=True))
    product = f.prod(axis=1)
    rate = first / f
    by_two = rate[:, :, None] * rate[:, None, :]
    diagonal = np.arange(len(norms))
    by_two[:, diagonal, diagonal] = second / f
    # Parameters of the shape alone, then those of the norm.
    alone = slopes.shape[2] - joint
    size = alone + len(norms)
    by_shape = np.zeros((*values.shape, size))
    by_shape[:, :, : slopes.shape[2]] = slopes
    rates = np.zeros((len(values), size))
    rates[:, alone:] = rate
    curved = np.zeros((*values.shape, size, size))
    curved[:, :, : slopes.shape[2], : slopes.shape[2]] = curvatures
    mixed = by_shape[:, :, :, None] * rates[:, None, None, :]
    curved += mixed + mixed.swapaxes(2, 3)
    norm_part = np.zeros((len(values), size, size))
    norm_part[:, alone:, alone:] = by_two
    curved += values[..., None, None] * norm_part[:, None]
    total = product[:, None]
    return (
        values * total,
        (by_shape + values[..., None] * rates[:, None]) * total[..., None],
        curved * total[..., None, None],
    )


@dataclass(frozen=True, eq=False)
class Template:
    """A signal shape over the bins of one channel, times the channel's share of the signal.

    `scale` is that of a weighted spectrum, by which expectations are divided; None: 1.
    """

    shape: SignalShape | ChannelShape
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
