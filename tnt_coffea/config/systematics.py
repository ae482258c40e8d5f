"""Settings of systematic variations: of simulated signals, of their jets and of their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from tnt_coffea.config.parameter_names import free_name
from tnt_coffea.config.settings import Positive, Settings

__all__ = [
    "NOMINAL",
    "CorrectionSettings",
    "JetVariationKind",
    "JetVariationSettings",
    "MembersRule",
    "SignalSettings",
    "SystematicsSettings",
    "WeightVariationSettings",
]

NOMINAL = "nominal"
"""What the histograms call events without a variation."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MOST = 1000
"""Members of a set of weights."""
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


class JetVariationKind(StrEnum):
    """What a correction changes of a jet."""

    ENERGY_SCALE = "energy_scale"
    ENERGY_RESOLUTION = "energy_resolution"
    MASS_SCALE = "mass_scale"
    MASS_RESOLUTION = "mass_resolution"

    @property
    def is_resolution(self) -> bool:
        """Whether jets are smeared, each by a random number of its own."""
        return self in (JetVariationKind.ENERGY_RESOLUTION, JetVariationKind.MASS_RESOLUTION)

    @property
    def of_mass(self) -> bool:
        """Whether the mass alone is changed."""
        return self in (JetVariationKind.MASS_SCALE, JetVariationKind.MASS_RESOLUTION)


_Values = dict[str, str | float]


class CorrectionSettings(Settings):
    """A correction in a file of correctionlib, and what its inputs are.

    Examples
    --------
    >>> CorrectionSettings(file="jes.json", correction="Total", inputs={"JetEta": "eta"}).correction
    'Total'
    """

    file: str = Field(description="file of correctionlib, .json or .json.gz")
    correction: str = Field(description="name of a correction in it, also of a compound one")
    inputs: _Values = Field(
        {},
        description="what its inputs are, by their names: pt, eta, phi, mass or energy of the jet, "
        "or a fixed value; those not named are known by names such as JetPt or eta",
    )


class JetVariationSettings(CorrectionSettings):
    """How the jets of simulated signal vary.

    With `up` and `down`, fixed values of further inputs, the correction gives the factor on the
    jets; without them, the relative uncertainty of that factor. Of a resolution it gives the
    width of the smearing relative to the jet, or, with `resolution`, a scale factor s on the
    relative resolution r: the width is r (s^2 - 1)^(1/2), none where s is below 1.

    Source: of the smearing, JINST 12 (2017) P02014, section 8.

    Examples
    --------
    >>> scale = JetVariationSettings(file="jes.json", correction="Total", kind="energy_scale")
    >>> scale.has_values
    False
    """

    kind: JetVariationKind | None = Field(
        None,
        description="energy_scale, energy_resolution, mass_scale or mass_resolution; null: by the "
        "name, such as jet_energy_scale",
    )
    up: _Values | None = Field(None, description="inputs that give the variation up")
    down: _Values | None = Field(
        None, description="inputs that give the variation down; null: the mirror image of up"
    )
    nominal: _Values | None = Field(
        None, description="inputs that give what all jets are corrected by; null: none"
    )
    resolution: CorrectionSettings | None = Field(
        None, description="relative resolution, where the correction scales it; null: none"
    )

    @property
    def has_values(self) -> bool:
        """Whether inputs say what is up, instead of one uncertainty for both directions."""
        return self.up is not None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.up is None and (self.down is not None or self.nominal is not None):
            msg = "down and nominal are beside up: give up as well, or none of them"
            raise ValueError(msg)
        return self


class MembersRule(StrEnum):
    """How a set of weights becomes an uncertainty.

    Source: of the first two, arXiv:1510.03865, equations 20 and 21.
    """

    HESSIAN = "hessian"
    REPLICAS = "replicas"
    ENVELOPE = "envelope"


class WeightVariationSettings(Settings):
    """Variations by columns of weights, which are factors on the event's own weight.

    Examples
    --------
    >>> WeightVariationSettings(up="puWeightUp", down="puWeightDown", nominal="puWeight").columns
    ('puWeightUp', 'puWeightDown', 'puWeight')
    >>> scales = {"members": "LHEScaleWeight", "which": "0-1, 3", "rule": "envelope"}
    >>> WeightVariationSettings(**scales).which
    (0, 1, 3)
    """

    up: str | None = Field(None, description="column with the factor up")
    down: str | None = Field(
        None, description="column with the factor down; null: the mirror image of up"
    )
    nominal: str | None = Field(
        None,
        description="column with the factor that all events have, which up, down and members "
        "stand in place of; null: one",
    )
    members: str | tuple[str, ...] | None = Field(
        None, description="column with a list of factors an event, or the columns of one each"
    )
    which: tuple[int, ...] | None = Field(
        None, description="members that count, such as '1-100' or '0-1, 3'; null: all"
    )
    rule: MembersRule | None = Field(
        None,
        description="hessian: squared differences from nominal summed; replicas: standard "
        "deviation; envelope: least and largest",
    )
    acceptance: bool = Field(
        False,
        description="divide by the variation's own sum over all generated events: what the total "
        "cross section gains is left out",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        members = (self.members,) if isinstance(self.members, str) else self.members or ()
        named = (self.up, self.down, self.nominal, *members)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @field_validator("which", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found: list[int] = []
        for part in value.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None:
                msg = f"{part.strip()!r} is no number or range of numbers, such as 1-100"
                raise ValueError(msg)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                msg = f"{part.strip()!r} is a range in reverse: write {last}-{first}"
                raise ValueError(msg)
            found += range(first, min(last, first + _MOST) + 1)
        return tuple(found)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.up is None) == (self.members is None):
            msg = "give up (and down), or members with a rule: one of the two"
            raise ValueError(msg)
        if self.members is None and (self.rule, self.which) != (None, None):
            msg = "rule and which belong to members, and there are none"
            raise ValueError(msg)
        if self.members is not None and (self.rule is None or self.down is not None):
            msg = "members need a rule (hessian, replicas or envelope) and have no down"
            raise ValueError(msg)
        if self.members == () or self.which == ():
            msg = "members without any: leave the entry out"
            raise ValueError(msg)
        most = max(len(self.which or ()), 0 if isinstance(self.members, str) else _size(self))
        if most > _MOST or any(number < 0 for number in self.which or ()):
            msg = f"which are numbers from 0 on, at most {_MOST} of them"
            raise ValueError(msg)
        if self.which is not None and len(set(self.which)) != len(self.which):
            msg = f"which names a member twice: {list(self.which)}"
            raise ValueError(msg)
        return self


def _size(settings: WeightVariationSettings) -> int:
    return len(settings.members or ())


class SignalSettings(Settings):
    """What is said of a simulated signal by its name, NAME of the role signal:NAME.

    Examples
    --------
    >>> SignalSettings(mass=3500).mass
    3500.0
    """

    mass: Positive | None = Field(
        None, description="mass of the resonance [GeV]; null: the name says it, such as m3500"
    )
    sum_of_weights: Positive | None = Field(
        None,
        description="sum of weights of all generated events; null: of all events in the files",
    )


def _variation_name(name: str) -> str:
    wrong = not _NAME.fullmatch(name) or name == NOMINAL or name.endswith(("_up", "_down"))
    if wrong or len(name) > 100:
        msg = (
            f"{name!r} cannot name a variation: use letters, digits and _, a letter first, and "
            "leave _up and _down to the directions"
        )
        raise ValueError(msg)
    return free_name(name)


_Name = Annotated[str, AfterValidator(_variation_name)]


class SystematicsSettings(Settings):
    """Systematic variations of the simulated signals that a search reads.

    Names of `jets` and `weights` are those of the nuisance parameters.

    Examples
    --------
    >>> weights = {"pileup": {"up": "puWeightUp", "down": "puWeightDown"}}
    >>> SystematicsSettings(weights=weights).columns
    ('puWeightUp', 'puWeightDown')
    """

    signals: Mapping[str, SignalSettings] = Field(
        {}, description="masses and normalisations by the signals' names, {NAME: {mass: 3500}}"
    )
    jets: Mapping[_Name, JetVariationSettings] = Field(
        {}, description="variations of the jets, {jet_energy_scale: {file: ..., correction: ...}}"
    )
    weights: Mapping[_Name, WeightVariationSettings] = Field(
        {}, description="variations of the weights, {pileup: {up: column, down: column}}"
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of the random numbers that jets are smeared by"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of weights that are read of the files of signals."""
        every = (name for own in self.weights.values() for name in own.columns)
        return tuple(dict.fromkeys(every))

    @property
    def jet_variations(self) -> tuple[str, ...]:
        """Names of what is reconstructed again, with directions: jet_energy_scale_up, ..."""
        return tuple(
            f"{name}_{direction}"
            for name, own in self.jets.items()
            for direction in ("up", "down")
            if direction == "up" or not _mirrored(own, self.kind(name))
        )

    def kind(self, name: str) -> JetVariationKind:
        """Return what a variation of jets changes.

        Examples
        --------
        >>> one = {"file": "jes.json", "correction": "Total"}
        >>> SystematicsSettings(jets={"jet_mass_scale": one}).kind("jet_mass_scale").value
        'mass_scale'
        """
        own = self.jets[name].kind
        return JetVariationKind(name.removeprefix("jet_")) if own is None else own

    @model_validator(mode="after")
    def _known(self) -> Self:
        kinds = [kind.value for kind in JetVariationKind]
        for name, own in self.jets.items():
            if own.kind is None and name.removeprefix("jet_") not in kinds:
                msg = f"jets.{name}: the name does not say what it changes; set kind to one of " + (
                    ", ".join(kinds)
                )
                raise ValueError(msg)
            if own.resolution is not None and not (
                self.kind(name).is_resolution and own.has_values
            ):
                msg = f"jets.{name}: resolution is for scale factors on it, with up (and nominal)"
                raise ValueError(msg)
        if both := sorted(set(self.jets) & set(self.weights)):
            msg = f"{', '.join(both)} names a variation of jets and one of weights"
            raise ValueError(msg)
        return self


def _mirrored(own: JetVariationSettings, kind: JetVariationKind) -> bool:
    """Tell whether a variation has no direction down of its own."""
    return own.down is None if own.has_values else kind.is_resolution
