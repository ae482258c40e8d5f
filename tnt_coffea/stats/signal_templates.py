"""Signals as histograms of simulated events, with their variations, morphed between masses.

Variations are vertical, bin by bin, as in HistFactory: what a variation does to the sum is a
factor (interpolation code 4), what it does to the shape is added (code 4p). Between masses
histograms are morphed horizontally. Sets of weights are kept one by one, and bins that weights of
either sign leave below zero as they are, until the bins of the fit are known.

Source
------
Codes 4 and 4p: CERN-OPEN-2012-016 and pyhf, JOSS 6 (2021) 2823. Morphing: Read, Nucl. Instrum.
Meth. A 425 (1999) 357.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from tnt_coffea.config import MembersRule
from tnt_coffea.errors import FitError, InputError
from tnt_coffea.storage import written

__all__ = [
    "MassTemplates",
    "SignalTemplate",
    "SignedSums",
    "added",
    "factors",
    "morphed",
    "summed",
    "varied_by_members",
]

Array = NDArray[np.float64]

# A mass is that of a template where it differs by less [GeV].
_SAME_MASS = 1e-6
# Edges written as decimal numbers differ from their sums by rounding only.
_EDGE_TOLERANCE = 1e-9
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True, eq=False)
class SignedSums:
    """Sums of weights behind a template: of either sign, with each member of a set of weights.

    Attributes
    ----------
    nominal
        Shape (bins,).
    variations
        By name, up and down, both of shape (bins,); not those of members.
    members
        By name of the variation, how its members count, and their sums, shape (members, bins).
    morphed
        Whether a bin was below zero at one of the masses that this was morphed from.

    Examples
    --------
    >>> import numpy as np
    >>> sums = SignedSums(np.array([4.0, -1.0, 2.0]))
    >>> template = SignalTemplate.of_sums(np.array([1, 2, 3, 4.0]), np.ones(3), sums)
    >>> template.total, template.negative, template.rebinned([1, 3, 4]).nominal.tolist()
    (5.0, True, [3.0, 2.0])
    """

    nominal: Array
    variations: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    members: Mapping[str, tuple[MembersRule, Array]] = field(default_factory=dict)
    morphed: bool = False

    def changed(self, change: Callable[[Array], Array]) -> SignedSums:
        """Return all sums after a linear change of their last axis."""
        return SignedSums(
            change(self.nominal),
            {name: (change(up), change(down)) for name, (up, down) in self.variations.items()},
            {name: (rule, change(values)) for name, (rule, values) in self.members.items()},
            self.morphed,
        )

    def up_and_down(self) -> dict[str, tuple[Array, Array]]:
        """Return all variations, by name, the rules of members applied in these bins."""
        return dict(self.variations) | {
            name: varied_by_members(rule, self.nominal, values)
            for name, (rule, values) in self.members.items()
        }


@dataclass(frozen=True, eq=False)
class SignalTemplate:
    """A signal in one channel, as a histogram.

    Attributes
    ----------
    edges
        Edges of the bins [GeV], shape (bins + 1,).
    nominal
        Events at unit signal strength, with efficiency and acceptance, shape (bins,).
    variance
        Sums of squared weights: what the number of simulated events leaves open, shape (bins,).
    variations
        By name of the nuisance parameter: events at +1 and at -1 standard deviation, both of
        shape (bins,).
    sums
        What `of_sums` made the template of; None: the histograms are all there is.

    Raises
    ------
    FitError
        Edges do not rise, an array has another shape, or holds negative numbers or none above 0.

    Examples
    --------
    >>> import numpy as np
    >>> up, down = np.array([1.0, 3.0]), np.array([3.0, 1.0])
    >>> template = SignalTemplate(np.array([1, 2, 3.0]), np.array([2.0, 2.0]), np.zeros(2),
    ...                           {"jet_energy_scale": (up, down)})
    >>> template.total, list(template.variations)
    (4.0, ['jet_energy_scale'])
    """

    edges: Array
    nominal: Array
    variance: Array
    variations: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    sums: SignedSums | None = None

    @classmethod
    def of_sums(cls, edges: Array, variance: Array, sums: SignedSums) -> SignalTemplate:
        """Return the template of sums of weights, members combined in its bins.

        Bins below zero are set to 0, and the others scaled to the sum before.

        Parameters
        ----------
        edges, variance
            As of the template.
        sums
            In the same bins.

        Raises
        ------
        FitError
            As of the template; the sum of all bins is not above 0.
        """
        if np.sum(sums.nominal) <= 0:
            _with_events("nominal", np.asarray(sums.nominal))
        varied = {
            name: (_above_zero(up), _above_zero(down))
            for name, (up, down) in sums.up_and_down().items()
        }
        return cls(edges, _above_zero(sums.nominal), variance, varied, sums)

    def __post_init__(self) -> None:
        edges = _checked("edges", self.edges, None)
        if len(edges) < 2 or np.any(np.diff(edges) <= 0):
            msg = f"the edges of a signal template must rise, two or more, got {edges.tolist()}"
            raise FitError(msg)
        bins = len(edges) - 1
        nominal = _with_events("nominal", _checked("nominal", self.nominal, bins))
        variance = _checked("variance", self.variance, bins)
        varied = {}
        for name, both in self.variations.items():
            if not isinstance(name, str) or not name or len(both) != 2:
                msg = (
                    f"a variation of a signal template has a name and two histograms, up and "
                    f"down, got {name!r} with {len(both)}"
                )
                raise FitError(msg)
            up, down = (
                _with_events(f"{name} {way}", _checked(f"{name} {way}", part, bins))
                for way, part in zip(("up", "down"), both, strict=True)
            )
            varied[name] = (up, down)
        for attribute, value in (
            ("edges", edges),
            ("nominal", nominal),
            ("variance", variance),
            ("variations", varied),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def total(self) -> float:
        """Events at unit signal strength, in all bins."""
        return float(self.nominal.sum())

    @property
    def effective_events(self) -> float:
        """Simulated events that the template stands for, (sum w)^2 / sum w^2; inf: it is exact."""
        squares = float(self.variance.sum())
        return self.total**2 / squares if squares > 0 else float("inf")

    @property
    def negative(self) -> bool:
        """Whether weights left a bin below zero."""
        return self.sums is not None and bool(self.sums.morphed or np.min(self.sums.nominal) < 0)

    def rebinned(self, edges: Array) -> SignalTemplate:
        """Return the template in some of its bins, or in bins that join several.

        Sums of weights are joined first: members are combined, and bins below zero set to 0, in
        the new bins.

        Parameters
        ----------
        edges
            Edges of the template [GeV], rising; what lies outside is left out.

        Raises
        ------
        FitError
            An edge is none of the template, or no events are left.
        """
        wanted = np.asarray(edges, dtype=float)
        places = np.abs(self.edges[None, :] - wanted[:, None]).argmin(axis=1)
        apart = np.abs(self.edges[places] - wanted) > _EDGE_TOLERANCE * np.maximum(1.0, wanted)
        if apart.any():
            msg = (
                f"{wanted[apart][0]:g} GeV is not an edge of the signal template (the nearest is "
                f"{self.edges[places][apart][0]:g}): make it in the bins of the fit, or in "
                "narrower ones"
            )
            raise FitError(msg)

        def joined(values: Array) -> Array:
            return np.asarray(np.add.reduceat(values[..., : places[-1]], places[:-1], axis=-1))

        try:
            if self.sums is not None:
                return self.of_sums(edges, joined(self.variance), self.sums.changed(joined))
            return SignalTemplate(
                edges,
                joined(self.nominal),
                joined(self.variance),
                {name: (joined(up), joined(down)) for name, (up, down) in self.variations.items()},
            )
        except FitError as error:
            low, high = wanted[0], wanted[-1]
            msg = f"between {low:g} and {high:g} GeV: {error}"
            raise FitError(msg) from error

    @cached_property
    def norms(self) -> dict[str, tuple[float, float]]:
        """Factors on the sum at +1 and -1 standard deviation, by variation."""
        return {
            name: (float(up.sum()) / self.total, float(down.sum()) / self.total)
            for name, (up, down) in self.variations.items()
        }

    @cached_property
    def shapes(self) -> dict[str, tuple[Array, Array]]:
        """The variations with the sum of the nominal template, by name."""
        return {
            name: (up / self.norms[name][0], down / self.norms[name][1])
            for name, (up, down) in self.variations.items()
        }

    def scaled(self, factor: float) -> SignalTemplate:
        """Return the template times a factor."""
        if self.sums is not None:
            sums = self.sums.changed(lambda values: factor * values)
            return self.of_sums(self.edges, factor**2 * self.variance, sums)
        return SignalTemplate(
            self.edges,
            factor * self.nominal,
            factor**2 * self.variance,
            {name: (factor * up, factor * down) for name, (up, down) in self.variations.items()},
        )


@dataclass(frozen=True, eq=False)
class MassTemplates:
    """Templates of a signal at one mass or several, in every channel.

    Attributes
    ----------
    by_mass
        By mass [GeV], templates by the name of the channel. All masses have the same channels,
        bins and variations.
    cross_section
        Of unit signal strength [fb], if it is known; the template is that of this cross section.

    Raises
    ------
    FitError
        There are none, or masses differ in channels, bins or variations.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.stats.signals import gaussian
    >>> edges = np.arange(2000.0, 6001, 50)
    >>> def at(mass):
    ...     return {"all": SignalTemplate(edges, 50 * gaussian(edges, mass, 0.04 * mass),
    ...                                   np.zeros(80))}
    >>> templates = MassTemplates({3000.0: at(3000), 4000.0: at(4000)})
    >>> middle = templates.at(3500)["all"]
    >>> expected = 50 * gaussian(edges, 3500, 140)
    >>> bool(np.abs(middle.nominal - expected).max() < 0.02 * expected.max())
    True
    """

    by_mass: Mapping[float, Mapping[str, SignalTemplate]]
    cross_section: float | None = None

    def __post_init__(self) -> None:
        ordered = {float(mass): dict(channels) for mass, channels in sorted(self.by_mass.items())}
        if not ordered or not next(iter(ordered.values())):
            msg = "signal templates need at least one mass with one channel"
            raise FitError(msg)
        if not all(np.isfinite(mass) and mass > 0 for mass in ordered):
            msg = f"masses of signal templates are positive [GeV], got {list(ordered)}"
            raise FitError(msg)
        if self.cross_section is not None and not 0 < self.cross_section < np.inf:
            msg = f"the cross section of a signal template is above 0 fb, got {self.cross_section}"
            raise FitError(msg)
        first_mass, first = next(iter(ordered.items()))
        for mass, channels in ordered.items():
            if channels.keys() != first.keys():
                msg = (
                    f"the signal template at {mass:g} GeV has the channels "
                    f"{', '.join(channels)}, that at {first_mass:g} GeV {', '.join(first)}"
                )
                raise FitError(msg)
            for name, template in channels.items():
                _check_alike(f"{name} at {mass:g} GeV", template, next(iter(first.values())))
        object.__setattr__(self, "by_mass", ordered)

    @property
    def masses(self) -> tuple[float, ...]:
        """Masses that have templates, rising [GeV]."""
        return tuple(self.by_mass)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(next(iter(self.by_mass.values())))

    @property
    def variations(self) -> tuple[str, ...]:
        """Names of the variations."""
        return tuple(next(iter(next(iter(self.by_mass.values())).values())).variations)

    def at(self, mass: float) -> dict[str, SignalTemplate]:
        """Return the templates at a mass [GeV], morphed between the two masses around it.

        Raises
        ------
        FitError
            The mass lies outside those that have templates.
        """
        known = np.array(self.masses)
        near = int(np.abs(known - mass).argmin())
        if abs(known[near] - mass) < _SAME_MASS:
            return dict(self.by_mass[self.masses[near]])
        above = int(np.searchsorted(known, mass))
        if above in (0, len(known)):
            reach = f"{known[0]:g}" if len(known) == 1 else f"{known[0]:g} to {known[-1]:g}"
            msg = f"no signal template at {mass:g} GeV: there are templates at {reach} GeV"
            raise FitError(msg)
        low, high = self.masses[above - 1], self.masses[above]
        share = (mass - low) / (high - low)
        return {
            name: morphed(self.by_mass[low][name], self.by_mass[high][name], share)
            for name in self.channels
        }

    def scaled(self, factor: float) -> MassTemplates:
        """Return all templates times a factor."""
        return MassTemplates(
            {
                mass: {name: template.scaled(factor) for name, template in channels.items()}
                for mass, channels in self.by_mass.items()
            },
            self.cross_section,
        )

    def save(self, path: str | Path) -> None:
        """Write the templates as JSON."""
        channels: list[dict[str, Any]] = [
            {
                "mass": mass,
                "channel": name,
                "edges": template.edges.tolist(),
                "nominal": template.nominal.tolist(),
                "variance": template.variance.tolist(),
                "variations": {
                    key: {"up": up.tolist(), "down": down.tolist()}
                    for key, (up, down) in template.variations.items()
                },
            }
            | ({} if template.sums is None else {"sums": _Sums.of(template.sums).model_dump()})
            for mass, found in self.by_mass.items()
            for name, template in found.items()
        ]
        values = {"cross_section": self.cross_section, "templates": channels}
        text = json.dumps(values, indent=1) + "\n"
        with written(Path(path)) as partial:
            partial.write_text(text)

    @classmethod
    def load(cls, path: str | Path) -> MassTemplates:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            The file cannot be read, or holds no such templates.
        """
        try:
            values = _File.model_validate_json(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            first = getattr(error, "strerror", None) or str(error)
            if isinstance(error, ValidationError):
                place = ".".join(map(str, error.errors()[0]["loc"]))
                first = f"{place}: {error.errors()[0]['msg']}".removeprefix(": ")
            msg = f"{path}: no signal templates: {first}"
            raise InputError(msg) from error
        found: dict[float, dict[str, SignalTemplate]] = {}
        try:
            for one in values.templates:
                if one.sums is not None:
                    found.setdefault(one.mass, {})[one.channel] = SignalTemplate.of_sums(
                        np.array(one.edges), np.array(one.variance), one.sums.arrays()
                    )
                    continue
                found.setdefault(one.mass, {})[one.channel] = SignalTemplate(
                    np.array(one.edges),
                    np.array(one.nominal),
                    np.array(one.variance),
                    {
                        name: (np.array(both.up), np.array(both.down))
                        for name, both in one.variations.items()
                    },
                )
            return cls(found, values.cross_section)
        except FitError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error


class _Varied(BaseModel):
    model_config = ConfigDict(extra="forbid")
    up: list[float]
    down: list[float]


class _Members(BaseModel):
    model_config = ConfigDict(extra="forbid", use_enum_values=True)
    rule: MembersRule
    values: list[list[float]]


class _Sums(BaseModel):
    model_config = ConfigDict(extra="forbid")
    nominal: list[float]
    variations: dict[str, _Varied]
    members: dict[str, _Members]
    morphed: bool

    @classmethod
    def of(cls, sums: SignedSums) -> _Sums:
        return cls(
            nominal=sums.nominal.tolist(),
            variations={
                name: _Varied(up=up.tolist(), down=down.tolist())
                for name, (up, down) in sums.variations.items()
            },
            members={
                name: _Members(rule=rule, values=values.tolist())
                for name, (rule, values) in sums.members.items()
            },
            morphed=sums.morphed,
        )

    def arrays(self) -> SignedSums:
        return SignedSums(
            np.array(self.nominal),
            {name: (np.array(own.up), np.array(own.down)) for name, own in self.variations.items()},
            {
                name: (MembersRule(own.rule), np.array(own.values))
                for name, own in self.members.items()
            },
            self.morphed,
        )


class _OneTemplate(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mass: float
    channel: str
    edges: list[float]
    nominal: list[float]
    variance: list[float]
    variations: dict[str, _Varied] = {}
    sums: _Sums | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cross_section: float | None = None
    templates: list[_OneTemplate]


def summed(templates: Sequence[SignalTemplate]) -> SignalTemplate:
    """Return the sum of templates in the same bins with the same variations.

    A member of a set of weights is summed over all of them before the members are combined.

    Raises
    ------
    FitError
        Bins or variations differ.

    Examples
    --------
    >>> import numpy as np
    >>> one = SignalTemplate(np.array([1, 2, 3.0]), np.array([1.0, 2.0]), np.zeros(2))
    >>> summed([one, one]).nominal.tolist()
    [2.0, 4.0]
    """
    first, *rest = templates
    for k, template in enumerate(rest, start=1):
        _check_alike(str(k), template, first)

    def total(arrays: Iterable[Array]) -> Array:
        return np.asarray(np.sum(list(arrays), axis=0))

    if any(template.sums is not None for template in templates):
        every = [_sums(template) for template in templates]
        both = SignedSums(
            total(own.nominal for own in every),
            {
                name: (
                    total(own.variations[name][0] for own in every),
                    total(own.variations[name][1] for own in every),
                )
                for name in every[0].variations
            },
            {
                name: (rule, total(own.members[name][1] for own in every))
                for name, (rule, _) in every[0].members.items()
            },
            any(own.morphed for own in every),
        )
        return SignalTemplate.of_sums(first.edges, total(t.variance for t in templates), both)
    return SignalTemplate(
        first.edges,
        total(t.nominal for t in templates),
        total(t.variance for t in templates),
        {
            name: (
                total(t.variations[name][0] for t in templates),
                total(t.variations[name][1] for t in templates),
            )
            for name in first.variations
        },
    )


def varied_by_members(rule: MembersRule, nominal: Array, members: Array) -> tuple[Array, Array]:
    """Return what a set of weights makes of a spectrum, up and down.

    Parameters
    ----------
    rule
        How the members count: `hessian` squared differences from nominal summed, `replicas` their
        standard deviation, both added to nominal and taken from it; `envelope` largest and least
        of them and nominal.
    nominal
        (bin,).
    members
        (member, bin).

    Source: of the first two, arXiv:1510.03865, equations 20 and 21.

    Examples
    --------
    >>> import numpy as np
    >>> members = np.array([[13.0], [14.0], [10.0]])
    >>> [float(one[0]) for one in varied_by_members("hessian", np.array([10.0]), members)]
    [15.0, 5.0]
    >>> [float(one[0]) for one in varied_by_members("envelope", np.array([11.0]), members)]
    [14.0, 10.0]
    """
    if rule == MembersRule.ENVELOPE:
        every = np.concatenate([nominal[None], members])
        return every.max(axis=0), every.min(axis=0)
    if rule == MembersRule.REPLICAS:
        if len(members) < 2:
            msg = "a standard deviation of replicas needs two of them or more"
            raise FitError(msg)
        size = members.std(axis=0, ddof=1)
    else:
        size = np.sqrt(((members - nominal) ** 2).sum(axis=0))
    return nominal + size, nominal - size


def morphed(low: SignalTemplate, high: SignalTemplate, share: float) -> SignalTemplate:
    """Return the template between those of two masses.

    The cumulative distributions are interpolated along the mass axis, the sums linearly; each
    variation and each member like the nominal histogram. Shapes whose position and width are
    linear in the mass stay what they are. Bins below zero are set to 0 first.

    Parameters
    ----------
    low, high
        Templates in the same bins with the same variations.
    share
        How far from the first to the second, 0 to 1.

    Source
    ------
    Read, Nucl. Instrum. Meth. A 425 (1999) 357.

    Examples
    --------
    >>> import numpy as np
    >>> edges = np.arange(0.0, 11)
    >>> first, second = (SignalTemplate(edges, np.eye(10)[i], np.eye(10)[i]) for i in (2, 6))
    >>> int(morphed(first, second, 0.5).nominal.argmax())
    4
    """
    edges = low.edges

    def between(first: Array, second: Array) -> Array:
        total = (1 - share) * first.sum() + share * second.sum()
        if not (first.sum() > 0 and second.sum() > 0):
            return np.asarray((1 - share) * first + share * second)
        both = [_cumulative(values) for values in (first, second)]
        levels = np.unique(np.concatenate(both))
        # Where a cumulative is flat it has a level at two masses, the last and the first.
        starts, ends = (
            (1 - share) * _inverse(both[0], edges, levels, side)
            + share * _inverse(both[1], edges, levels, side)
            for side in _SIDES
        )
        x = np.stack([starts, ends], axis=1).ravel()[1:-1]
        found = np.diff(np.interp(edges, x, np.repeat(levels, 2)[1:-1], left=0.0, right=1.0))
        return np.asarray(total * found)

    nominal = between(low.nominal, high.nominal)
    # The weight of a simulated event, between those of both samples.
    weight = (1 - share) * low.variance.sum() / low.total + share * high.variance.sum() / high.total
    ends = _sums(low), _sums(high)
    variations = {
        name: (
            between(low.variations[name][0], high.variations[name][0]),
            between(low.variations[name][1], high.variations[name][1]),
        )
        for name in ends[0].variations
    }
    if low.sums is None and high.sums is None:
        return SignalTemplate(edges, nominal, weight * nominal, variations)
    members = {
        name: (
            rule,
            np.stack([
                between(_above_zero(first), _above_zero(second))
                for first, second in zip(values, ends[1].members[name][1], strict=True)
            ]),
        )
        for name, (rule, values) in ends[0].members.items()
    }  # fmt: skip
    sums = SignedSums(nominal, variations, members, low.negative or high.negative)
    return SignalTemplate.of_sums(edges, weight * nominal, sums)


def _cumulative(values: Array) -> Array:
    summed = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(summed / summed[-1])


def _inverse(
    cumulative: Array, edges: Array, levels: Array, side: Literal["left", "right"]
) -> Array:
    """Return the first ('left') or the last mass at which a cumulative has each level."""
    above = np.clip(np.searchsorted(cumulative, levels, side), 1, len(edges) - 1)
    step = cumulative[above] - cumulative[above - 1]
    part = (levels - cumulative[above - 1]) / np.where(step > 0, step, 1.0)
    return np.asarray(edges[above - 1] + part * (edges[above] - edges[above - 1]))


def added(nominal: Array, up: Array, down: Array, alpha: Array) -> tuple[Array, Array, Array]:
    """Return what a nuisance parameter adds to every bin, and its two derivatives.

    Parameters
    ----------
    nominal, up, down
        Histograms at 0, +1 and -1 standard deviations, shape (bins,).
    alpha
        Nuisance parameter, shape (points,).

    Returns
    -------
    Three arrays of shape (points, bins): linear beyond one standard deviation, a polynomial of
    sixth order between, with continuous second derivatives.

    Source
    ------
    HistFactory's code 4p, which is also the vertical morphing of CMS Combine.

    Examples
    --------
    >>> import numpy as np
    >>> nominal, up, down = np.array([2.0]), np.array([3.0]), np.array([1.5])
    >>> added(nominal, up, down, np.array([-1.0, 0.0, 1.0, 2.0]))[0].ravel().tolist()
    [-0.5, 0.0, 1.0, 2.0]
    """
    a = alpha[:, None]
    odd, even = 0.5 * (up - down), 0.0625 * (up + down - 2 * nominal)
    inside = np.abs(a) < 1
    slope = np.where(a > 0, up - nominal, nominal - down)
    return (
        np.where(inside, odd * a + even * (15 * a**2 - 10 * a**4 + 3 * a**6), slope * a),
        np.where(inside, odd + even * (30 * a - 40 * a**3 + 18 * a**5), slope),
        np.where(inside, even * (30 - 120 * a**2 + 90 * a**4), 0.0),
    )


def factors(high: float, low: float, alpha: Array) -> tuple[Array, Array, Array]:
    """Return what a nuisance parameter multiplies a sum by, and its two derivatives.

    Parameters
    ----------
    high, low
        Factors at +1 and -1 standard deviations, above 0.
    alpha
        Nuisance parameter, shape (points,).

    Returns
    -------
    Three arrays of shape (points,): exponential beyond one standard deviation, a polynomial of
    sixth order between, with continuous second derivatives. Where low = 1 / high it is high **
    alpha, a log-normal distribution, to a part in 10^8 for a tenth.

    Source
    ------
    HistFactory's code 4.

    Examples
    --------
    >>> import numpy as np
    >>> value, slope, _ = factors(1.1, 1 / 1.1, np.array([0.5, 2.0]))
    >>> bool(np.allclose(value, [1.1**0.5, 1.21]))
    True
    """
    logs = float(np.log(high)), float(np.log(low))
    inside = np.abs(alpha) < 1
    polynomial, first, second = _polynomial(float(high), float(low))
    a = np.where(inside, alpha, 0.0)
    rate = np.where(alpha > 0, logs[0], -logs[1])
    outside = np.exp(rate * np.where(inside, 0.0, alpha))
    return (
        np.where(inside, polynomial(a), outside),
        np.where(inside, first(a), rate * outside),
        np.where(inside, second(a), rate**2 * outside),
    )


@lru_cache(maxsize=256)
def _polynomial(high: float, low: float) -> tuple[Any, Any, Any]:
    """Return code 4 between -1 and 1, and its derivatives: it joins the exponentials smoothly."""
    logs = np.log(high), np.log(low)
    power, signs = np.arange(1, 7), (-1.0) ** np.arange(1, 7)
    twice = power * (power - 1)
    conditions = np.array([np.ones(6), signs, power, -power * signs, twice, twice * signs])
    rises = [high * logs[0], -low * logs[1], high * logs[0] ** 2, low * logs[1] ** 2]
    inner = np.linalg.solve(conditions, [high - 1, low - 1, *rises])
    polynomial = np.polynomial.Polynomial([1.0, *inner])
    return polynomial, polynomial.deriv(), polynomial.deriv(2)


def _checked(what: str, values: Any, size: int | None) -> Array:
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"{what} of a signal template: expected numbers"
        raise FitError(msg) from error
    if found.ndim != 1 or (size is not None and len(found) != size):
        wanted = "(bins + 1,)" if size is None else f"({size},)"
        msg = f"{what} of a signal template: expected shape {wanted}, got {found.shape}"
        raise FitError(msg)
    if not np.isfinite(found).all() or found.min(initial=0.0) < 0:
        msg = (
            f"{what} of a signal template: a bin is negative or not finite: use wider bins, or "
            "more simulated events"
        )
        raise FitError(msg)
    return found


def _above_zero(values: Array) -> Array:
    """Return a histogram with bins below zero set to 0, and the sum that it had."""
    kept = np.maximum(values, 0.0)
    total = float(values.sum())
    return kept * (total / kept.sum()) if total > 0 and values.min() < 0 else kept


def _sums(template: SignalTemplate) -> SignedSums:
    return template.sums or SignedSums(template.nominal, template.variations)


def _with_events(what: str, values: Array) -> Array:
    if values.sum() <= 0:
        msg = f"{what} of a signal template holds no events"
        raise FitError(msg)
    return values


def _check_alike(what: str, template: SignalTemplate, first: SignalTemplate) -> None:
    if not np.array_equal(template.edges, first.edges):
        msg = f"the signal template {what} has other bins than the first: make all in the same"
        raise FitError(msg)
    if template.variations.keys() != first.variations.keys():
        apart = sorted(template.variations.keys() ^ first.variations.keys())
        msg = f"the signal template {what} has other variations than the first: {', '.join(apart)}"
        raise FitError(msg)
    own, other = (
        {name: (str(rule), len(values)) for name, (rule, values) in _sums(one).members.items()}
        for one in (template, first)
    )
    if own != other:
        apart = sorted(
            name for name in own.keys() | other.keys() if own.get(name) != other.get(name)
        )
        msg = f"the signal template {what} has other members than the first: {', '.join(apart)}"
        raise FitError(msg)
