"""Settings of a skim: where jets or features come from and which events are kept."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from tnt_coffea.config.jets import (
    EVENT_OBSERVABLES,
    JET_OBSERVABLES,
    OBSERVABLE_GROUPS,
    EventImageSettings,
    ImageSettings,
    JetSettings,
    SequenceSettings,
    SplittingSettings,
    SubstructureSettings,
    ungrouped,
)
from tnt_coffea.config.settings import Settings

__all__ = [
    "EventFilterSettings",
    "JetsFrom",
    "MassShiftSettings",
    "SelectSettings",
    "SkimSettings",
    "SourceSettings",
    "TableOrder",
    "TablePreset",
    "TableSettings",
]


class JetsFrom(StrEnum):
    """Where the jets of a source come from that holds both particles and jets."""

    PARTICLES = "particles"
    FILE = "file"


class SourceSettings(Settings):
    """Choices that a source leaves; sources that do not leave one ignore it."""

    jets: JetsFrom = Field(
        JetsFrom.PARTICLES,
        description="cluster the particles, or take the large-radius jets of the file",
    )
    puppi: bool = Field(True, description="scale particles by their PUPPI weights, where present")


class TablePreset(StrEnum):
    """Tables whose columns are known by their names."""

    OLYMPICS = "olympics"


class TableOrder(StrEnum):
    """Which of the two jets in a table is called heavy."""

    GIVEN = "given"
    MASS = "mass"
    PT = "pt"


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = ("event_id", "weight", "label", "m_jj", "run", "luminosityBlock")


class TableSettings(Settings):
    """Which columns of a table of features mean what.

    On the right of every entry stands a column of the file, or arithmetic of columns with
    `+ - * / **` and parentheses (`tau2j1 / tau1j1`; 0 / 0 is 0, as for the ratios of
    N-subjettiness). Where neither m_jj nor a jet is mapped, the columns are found by their
    names, those of a skim (`m_jj`, `heavy_mass`, `light_tau21`, ...) or of a preset, and the
    other entries add to them.

    Examples
    --------
    >>> jets = {"heavy": {"mass": "mj1"}, "light": {"mass": "mj2"}}
    >>> TableSettings(m_jj="mjj * 1000", event={"met": "MET"}, **jets).features
    ('m_jj', 'heavy_mass', 'light_mass', 'met')
    """

    preset: TablePreset | None = Field(
        None, description="olympics: the published feature files of the LHC Olympics; null: none"
    )
    m_jj: str | None = Field(
        None,
        description="dijet mass [GeV]; null: from px, py, pz, mass or pt, eta, phi, mass of both "
        "jets",
    )
    heavy: dict[str, str] = Field(
        default_factory=dict, description="features of one jet by their names in the skim"
    )
    light: dict[str, str] = Field(
        default_factory=dict, description="the same features of the other jet"
    )
    event: dict[str, str] = Field(
        default_factory=dict, description="features of the event by their names in the skim"
    )
    order: TableOrder | None = Field(
        None,
        description="what makes a jet the heavy one: mass, pt, or given (as mapped); null: mass "
        "for the preset, else given",
    )
    weight: str | None = Field(None, description="weight of an event; null: 1")
    label: str | None = Field(
        None, description="truth, for evaluation alone: 1 signal, 0 background; null: unknown"
    )
    numbers: dict[str, str] = Field(
        default_factory=dict,
        description="columns of run, luminosityBlock and event, the experiment's numbers",
    )

    @property
    def is_mapping(self) -> bool:
        """Whether the entries say what the columns mean, instead of adding to known names."""
        return self.preset is None and bool(self.m_jj or self.heavy or self.light)

    @property
    def features(self) -> tuple[str, ...]:
        """The flat columns of the skim, in their order."""
        of_jets = (f"{jet}_{name}" for jet in ("heavy", "light") for name in self.heavy)
        return ("m_jj", *of_jets, *self.event)

    @model_validator(mode="after")
    def _named(self) -> Self:
        names = (*self.heavy, *self.light, *self.event)
        bad = [name for name in names if not _NAME.fullmatch(name)]
        bad += [
            name for name in self.event if name in _TAKEN or name.startswith(("heavy_", "light_"))
        ]
        if bad:
            msg = (
                f"{bad[0]!r} cannot be a feature's name: it is not made of letters, digits and _, "
                "or is that of another column of a skim"
            )
            raise ValueError(msg)
        if set(self.heavy) != set(self.light):
            alone = sorted(set(self.heavy) ^ set(self.light))
            msg = (
                f"{', '.join(alone)} is a feature of one jet only; give it for both, or as a "
                "feature of the event"
            )
            raise ValueError(msg)
        unknown = set(self.numbers) - {"run", "luminosityBlock", "event"}
        if unknown:
            msg = f"numbers are run, luminosityBlock and event, got {sorted(unknown)}"
            raise ValueError(msg)
        return self


_FUNCTION = re.compile(rf"{_NAME.pattern}(\.{_NAME.pattern})*:{_NAME.pattern}")


class SelectSettings(Settings):
    """A selection of events of one's own.

    Examples
    --------
    >>> SelectSettings(function="analysis.selection:golden", columns=("HLT_PFJet500",)).columns
    ('HLT_PFJet500',)
    """

    function: str = Field(
        description="package.module:function, called with a chunk of coffea events; gives which "
        "are kept, (event,) bool"
    )
    columns: tuple[str, ...] = Field(
        (), description="branches of the file that it needs beside those that are read anyway"
    )

    @field_validator("function")
    @classmethod
    def _form(cls, function: str) -> str:
        if not _FUNCTION.fullmatch(function):
            msg = f"{function!r} is not of the form package.module:function"
            raise ValueError(msg)
        return function


class EventFilterSettings(Settings):
    """Which events of an experiment count: certified runs, trigger paths, filters of noise.

    Names are those of CMS NanoAOD.

    Examples
    --------
    >>> filters = EventFilterSettings(hlt=["HLT_PFHT1050", "HLT_AK8PFJet500"])
    >>> filters.hlt, filters.flags, filters.certified_runs
    (('HLT_PFHT1050', 'HLT_AK8PFJet500'), (), None)
    """

    certified_runs: str | None = Field(
        None,
        description="JSON file of certified runs, {run: [[first, last luminosity block], ...]}; "
        "events of data outside are rejected, simulation is left alone; null: all runs",
    )
    hlt: tuple[str, ...] = Field(
        (), description="trigger paths, such as HLT_PFHT1050: an event that any of them accepts"
    )
    flags: tuple[str, ...] = Field(
        (),
        description="filters of vertices and noise that an event must all pass, such as "
        "Flag_goodVertices; of a number, such as PV_npvsGood, that it is above 0",
    )

    @field_validator("hlt", "flags")
    @classmethod
    def _branches(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [name for name in names if not _NAME.fullmatch(name)]:
            msg = (
                f"{bad[0]!r} is no name of a branch: letters, digits and _, without the version "
                "of a path (HLT_PFHT1050, not HLT_PFHT1050_v*)"
            )
            raise ValueError(msg)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            msg = f"{', '.join(twice)} named twice"
            raise ValueError(msg)
        return names

    @model_validator(mode="after")
    def _one_cut_a_name(self) -> Self:
        taken = ("certified_runs", "hlt", "select", "any_particle", "two_jets", "trigger")
        if bad := [name for name in self.flags if name in taken]:
            msg = f"{bad[0]} is the name of another cut; flags are branches of the file"
            raise ValueError(msg)
        return self


_Slope = Annotated[float, Field(ge=-1, le=1)]


class MassShiftSettings(Settings):
    """A dependence of jet masses on m_jj that is put in: m_j -> m_j + alpha m_jj.

    For studies of methods whose inputs must not depend on the mass. The paper has 0.2 for the
    heavy jet and 0.1 for the light one.

    Source: PRD 104 (2021) 035003, section IV.

    Examples
    --------
    >>> SkimSettings(mass_shift={"heavy": 0.2, "light": 0.1}).mass_shift
    MassShiftSettings(heavy=0.2, light=0.1)
    >>> SkimSettings(mass_shift={"heavy": 0.0}).digest() == SkimSettings().digest()
    True
    """

    heavy: _Slope = Field(0.0, description="alpha of the heavy jet")
    light: _Slope = Field(0.0, description="alpha of the light jet")

    @property
    def active(self) -> bool:
        """Whether a mass is shifted at all."""
        return bool(self.heavy or self.light)

    def of(self, jet: str) -> float:
        """Return alpha of `heavy` or `light`."""
        return self.light if jet == "light" else self.heavy


class SkimSettings(Settings):
    """From particles to dijets, observables and images; or features from a table."""

    source: SourceSettings = SourceSettings()
    filters: EventFilterSettings = Field(
        EventFilterSettings(),
        description="certified runs, trigger paths and filters of noise, before everything else",
    )
    select: SelectSettings | None = Field(
        None,
        description="own selection of events, such as package.module:function; null: all events",
    )
    jets: JetSettings = JetSettings()
    images: ImageSettings | None = Field(
        ImageSettings(), description="the image of either jet; null: no images"
    )
    constituents: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="leading constituents of either jet that are kept, in the frame of the images; "
        "null: none",
    )
    aligned: int | None = Field(
        None,
        ge=3,
        le=1000,
        description="constituents of either jet, turned and boosted to one mass and energy, that "
        "are kept, such as 20; null: none",
    )
    sequence: SequenceSettings | None = Field(
        None,
        description="leading jets of the event as a sequence, such as {radius: 0.7, jets: 10}; "
        "null: none",
    )
    splittings: SplittingSettings | None = Field(
        None,
        description="splittings of either jet, such as {most: 30, branches: all, mass_min: 30}; "
        "null: none",
    )
    event_image: EventImageSettings | None = Field(
        None, description="image of all particles of the event, such as {pixels: 64}; null: none"
    )
    observables: tuple[str, ...] = Field(
        ("pt", "eta", "phi", "mass", "tau21", "n_constituents"),
        description="columns of either jet and of the event, beside m_jj; subjettiness stands for "
        "tau1 to tau9 with all exponents, energy_flow for all energy flow polynomials",
    )
    substructure: SubstructureSettings = SubstructureSettings()
    mass_shift: MassShiftSettings = Field(
        MassShiftSettings(),
        description="for studies: m_j -> m_j + alpha m_jj, after the order by mass; changes mass "
        "and rescaled_mass alone",
    )
    table: TableSettings | None = Field(
        None,
        description="the files are tables of features (no images, constituents, observables): "
        "which columns mean what; null: found by their names, if the content is a table",
    )

    @model_validator(mode="before")
    @classmethod
    def _features_alone(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("table") is not None:
            return {"images": None, "observables": (), **values}
        return values

    @model_serializer(mode="wrap")
    def _without_unused(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Skims and taggers from before there were these settings keep their digests.
        values: dict[str, Any] = serialised(self)
        if self.filters == EventFilterSettings():
            values.pop("filters", None)
        if values.get("select") is None:
            values.pop("select", None)
        if not self.mass_shift.active:
            values.pop("mass_shift", None)
        if values.get("aligned") is None:
            values.pop("aligned", None)
        return values

    @field_validator("select", mode="before")
    @classmethod
    def _function_alone(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value

    @field_validator("table", mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_a_table(self) -> Self:
        parts = (self.images, self.constituents, self.observables)
        lists = (self.aligned, self.sequence, self.splittings, self.event_image)
        if self.table and any((*parts, *lists)):
            msg = (
                "table: a table of features has no images, constituents, aligned, sequence, "
                "splittings, event_image or observables of ours; leave those settings out, and "
                "name its columns in table"
            )
            raise ValueError(msg)
        return self

    @field_validator("observables")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        names = ungrouped(names)
        unknown = [name for name in names if name not in (*JET_OBSERVABLES, *EVENT_OBSERVABLES)]
        if unknown:
            plain = [
                name for name in JET_OBSERVABLES if not name.startswith(("tau", "ring", "efp"))
            ]
            msg = (
                f"unknown {unknown}; known are {', '.join((*plain, *EVENT_OBSERVABLES))}, "
                "ring0 to ring9, tau1_width, tau1 to tau9 and the ratios tau21 to tau98, "
                "which also come with _beta05 and _beta2, efp_2_1_0 to efp_6_5_5, and "
                f"{' and '.join(OBSERVABLE_GROUPS)} for many of them"
            )
            raise ValueError(msg)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            msg = f"{', '.join(twice)} named twice in observables, or in a group of them"
            raise ValueError(msg)
        return names

    @model_validator(mode="after")
    def _mass_there(self) -> Self:
        masses = {"mass", "rescaled_mass"}
        if self.mass_shift.active and self.table is None and not masses & set(self.observables):
            msg = "mass_shift shifts the mass of either jet; add mass to observables"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _jets_of_the_mass(self) -> Self:
        if "m_multijet" in self.observables and self.sequence is None:
            msg = (
                "m_multijet is the mass of the jets in sequence; set sequence, such as {radius: "
                "0.7, jets: 10}, or leave m_multijet out"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _subjets(self) -> Self:
        asked = max(
            (int(name[6]) for name in self.observables if name.startswith("subjet")), default=0
        )
        if asked > self.substructure.subjets:
            msg = f"subjet{asked} is asked for; substructure.subjets is {self.substructure.subjets}"
            raise ValueError(msg)
        return self

    @property
    def frame(self) -> ImageSettings:
        """The steps to the frame of a jet; all of them where there are no images."""
        return self.images or ImageSettings()

    @property
    def leading_jets(self) -> int:
        """How many jets of an event the observables look at."""
        return 3 if "m_jjj" in self.observables else 2

    @property
    def of_jet(self) -> tuple[str, ...]:
        """The observables of either jet, in their order."""
        if self.table is not None:
            return tuple(self.table.heavy)
        return tuple(name for name in self.observables if name in JET_OBSERVABLES)

    @property
    def of_event(self) -> tuple[str, ...]:
        """The observables of the event beside m_jj, in their order."""
        if self.table is not None:
            return tuple(self.table.event)
        return tuple(name for name in self.observables if name in EVENT_OBSERVABLES)
