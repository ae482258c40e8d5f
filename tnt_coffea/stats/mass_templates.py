"""Signals as histograms at one mass or several, morphed horizontally between them.

Source
------
Read, Nucl. Instrum. Meth. A 425 (1999) 357.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tnt_coffea.config import MembersRule
from tnt_coffea.errors import FitError, InputError, reason
from tnt_coffea.stats.signal_sums import SignalSums
from tnt_coffea.stats.signal_templates import SignalTemplate, above_zero, check_alike
from tnt_coffea.storage import written

__all__ = ["MassTemplates", "morphed"]

Array = NDArray[np.float64]

# A mass is that of a template where it differs by less [GeV].
_SAME_MASS = 1e-6
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


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
        There are none, or two of one mass, or masses differ in channels, bins or variations.

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
        for low, high in pairwise(ordered):
            if high - low < _SAME_MASS:
                msg = f"signal templates of {low:.15g} and {high:.15g} GeV are of the same mass"
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
                check_alike(f"{name} at {mass:g} GeV", template, next(iter(first.values())))
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
            | ({"sums": _Sums.of(template.sums).model_dump()} if _says_more(template.sums) else {})
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
            msg = f"{path}: no signal templates: {reason(error)}"
            raise InputError(msg) from error
        found: dict[float, dict[str, SignalTemplate]] = {}
        try:
            for one in values.templates:
                channels = found.setdefault(one.mass, {})
                if one.channel in channels:
                    msg = f"two signal templates of {one.mass:g} GeV in channel '{one.channel}'"
                    raise FitError(msg)
                channels[one.channel] = one.template()
            return cls(found, values.cross_section)
        except (FitError, ValueError) as error:  # also lists of different lengths
            msg = f"{path}: {error}"
            raise InputError(msg) from error


def _says_more(sums: SignalSums) -> bool:
    """Tell whether sums hold more than the histograms of their template."""
    varied = [part for both in sums.variations.values() for part in both]
    return bool(sums.members) or sums.has_negative or any(part.min() < 0 for part in varied)


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
    def of(cls, sums: SignalSums) -> _Sums:
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
            morphed=sums.morphed_below_zero,
        )

    def arrays(self, squares: list[float]) -> SignalSums:
        return SignalSums(
            np.array(self.nominal),
            np.array(squares),
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

    def template(self) -> SignalTemplate:
        edges, variance = np.array(self.edges), np.array(self.variance)
        if self.sums is not None:
            return SignalTemplate.of_sums(edges, self.sums.arrays(self.variance))
        varied = {
            name: (np.array(both.up), np.array(both.down)) for name, both in self.variations.items()
        }
        return SignalTemplate(edges, np.array(self.nominal), variance, varied)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cross_section: float | None = None
    templates: list[_OneTemplate]


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
    ends = low.sums, high.sums
    variations = {
        name: (
            between(low.variations[name][0], high.variations[name][0]),
            between(low.variations[name][1], high.variations[name][1]),
        )
        for name in ends[0].variations
    }
    members = {
        name: (
            rule,
            np.stack([
                between(above_zero(first), above_zero(second))
                for first, second in zip(values, ends[1].members[name][1], strict=True)
            ]),
        )
        for name, (rule, values) in ends[0].members.items()
    }  # fmt: skip
    below = low.negative or high.negative
    sums = SignalSums(nominal, weight * nominal, variations, members, below)
    return SignalTemplate.of_sums(edges, sums)


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
