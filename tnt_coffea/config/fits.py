"""Settings of the fits: bump hunt, ABCD, direct estimate, transfer factor, window, scan, limits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from tnt_coffea.config.data import without_moved
from tnt_coffea.config.parameter_names import free_name
from tnt_coffea.config.settings import Fraction, MassRange, Positive, Settings

__all__ = [
    "AbcdSettings",
    "BackgroundFamily",
    "BumpSettings",
    "DirectSettings",
    "FitSettings",
    "RetrainSettings",
    "SignalKind",
    "SignalTemplateSettings",
    "TaggerEfficiencySettings",
    "TransferSettings",
    "TriggerSettings",
    "TurnOn",
    "WindowSettings",
]


_MOST, _MOST_TOYS, _MOST_FAMILIES = 10_000, 10_000_000, 100
"""Masses of a scan, toys and families: more is a slip."""
AUTO = "auto"
"""`fit.bump.null_chains`: those that come with the package, where the settings are the same."""
_CUT = "name in search.cuts, instead of the efficiency; null: the efficiency"


class BackgroundFamily(StrEnum):
    """Families of smooth backgrounds fit for a search."""

    DIJET = "dijet"
    EXPONENTIAL = "exponential"
    POWER_LAW = "power_law"
    BERNSTEIN = "bernstein"


FAMILY_ENTRY_POINTS = "tnt_coffea.families"
"""Group of the entry points under which other packages have families."""


def _known_family(name: str) -> str:
    others = [entry.name for entry in entry_points(group=FAMILY_ENTRY_POINTS)]
    if name not in (*BackgroundFamily, *others):
        msg = f"'{name}' is no background family: choose one of " + ", ".join(
            [*BackgroundFamily, *others]
        )
        raise ValueError(msg)
    return name


FamilyName = Annotated[str, AfterValidator(_known_family)]


class SignalKind(StrEnum):
    """Shapes of a resonance."""

    GAUSSIAN = "gaussian"
    DOUBLE_CRYSTAL_BALL = "double_crystal_ball"


def _edges_given_as(value: object) -> str:
    return "[word]" if isinstance(value, str) else "[list]"


LowerEdges = Annotated[
    Annotated[Literal["auto"], Tag("[word]")]
    | Annotated[tuple[Positive, ...], Field(max_length=_MOST), Tag("[list]")],
    Discriminator(_edges_given_as),
]


class TurnOn(StrEnum):
    """Functions of a trigger's turn-on."""

    ERROR_FUNCTION = "error_function"
    LOGISTIC = "logistic"


class TriggerSettings(Settings):
    """Efficiency of the trigger in the mass: a function, or a histogram in a file."""

    turn_on: Positive | None = Field(None, description="mass of half the plateau [GeV]")
    width: Positive | None = Field(
        None, description="standard deviation of the error function, or logistic scale [GeV]"
    )
    plateau: float = Field(1.0, gt=0, le=1, description="efficiency at high masses")
    turn_on_error: float = Field(0.0, ge=0, description="standard deviation of turn_on [GeV]")
    width_error: float = Field(0.0, ge=0, description="standard deviation of width [GeV]")
    correlation: float = Field(0.0, ge=-1, le=1, description="of turn_on and width")
    shape: TurnOn = Field(TurnOn.ERROR_FUNCTION, description="the function")
    file: str | None = Field(
        None, description="histogram (ROOT, JSON, HDF5, csv) of efficiencies with variances"
    )
    name: str | None = Field(None, description="the histogram in file, where it holds several")
    passed: str | None = Field(
        None, description="histogram in file of the events that passed, instead of efficiencies"
    )
    total: str | None = Field(None, description="histogram in file of all events, beside passed")
    as_measured: bool = Field(
        False, description="take the histogram as it stands; otherwise the function is fitted to it"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        function = {"turn_on": self.turn_on, "width": self.width}
        given = [name for name, value in function.items() if value is not None]
        if self.file is not None and given:
            msg = f"a trigger has either a file or a function, got file and {given[0]}"
            raise ValueError(msg)
        if self.file is None and len(given) < 2:
            msg = "a trigger needs turn_on and width, or a file with its efficiency"
            raise ValueError(msg)
        names = {"name": self.name, "passed": self.passed, "total": self.total}
        named = [name for name, value in names.items() if value is not None]
        if named not in ([], ["name"], ["passed", "total"]) or (named and self.file is None):
            msg = f"a trigger's file has a name, or passed and total, got {' and '.join(named)}"
            raise ValueError(msg)
        return self


class BumpSettings(Settings):
    """Bump hunt at one mass hypothesis."""

    mass: Positive | None = Field(
        None, description="mean of the signal [GeV]; null: the centre of search.window"
    )
    width: Positive = Field(120.0, description="Gaussian width of the signal [GeV]")
    bin_width: Positive | None = Field(
        40.0, description="bins of the fit [GeV]; null: those of the histogram"
    )
    edges: tuple[Positive, ...] = Field(
        (),
        max_length=_MOST,
        description="edges of the bins of the fit, of any widths [GeV]; none: bins of bin_width",
    )
    efficiency: Fraction = Field(0.03, description="selection whose spectrum is fitted")
    cut: str | None = Field(None, description=_CUT)
    family: FamilyName = Field(
        BackgroundFamily.DIJET, description="family of the background functions, which compete"
    )
    envelope: tuple[FamilyName, ...] = Field(
        (), max_length=_MOST_FAMILIES, description="further families whose functions compete"
    )
    min_parameters: int = Field(3, ge=2, le=6, description="fewest of the background function")
    max_parameters: int = Field(6, ge=2, le=6, description="most of the background function")
    f_test: Fraction = Field(0.05, description="p below which one more parameter is taken")
    lower_edges: LowerEdges = Field(
        (),
        description="lower edges of the fit to choose from by fit quality [GeV]; auto: found from "
        "search.fit_range on, above a turn-on; none: as set",
    )
    trigger: TriggerSettings | None = Field(
        None, description="efficiency of the trigger, part of the model; null: all events pass"
    )
    lowest_edge: Positive = Field(
        2600.0,
        description="no lower edge of the fit below this: the trigger shapes the spectrum [GeV]",
    )
    shape: SignalKind = Field(SignalKind.GAUSSIAN, description="shape of the signal")
    scale_uncertainty: float = Field(
        0.0, ge=0, description="relative uncertainty of the signal's mass"
    )
    width_uncertainty: float = Field(
        0.0, ge=0, description="relative uncertainty of the signal's width"
    )
    spurious: bool = Field(
        True,
        description="whether a spurious signal, on functions that describe the data better, is a "
        "nuisance parameter",
    )
    toys: int | None = Field(
        None,
        ge=0,
        le=_MOST_TOYS,
        description="background-only toys for the p-value; 0: asymptotic; null: toys where the "
        "asymptotic formula does not hold",
    )
    null_chains: str | None = Field(
        AUTO,
        min_length=1,
        description="JSON file with q0 of whole searches of background, trained anew, by test: "
        "they give the p-values; auto: one of the package, where it was made with these settings; "
        "null: as toys says",
    )

    @model_validator(mode="after")
    def _rising_edges(self) -> Self:
        if len(self.edges) == 1 or any(b <= a for a, b in itertools.pairwise(self.edges)):
            msg = f"edges must rise, two or more, got {list(self.edges)}"
            raise ValueError(msg)
        return self

    @property
    def selection(self) -> float | str:
        """The selection whose spectrum is fitted."""
        return self.efficiency if self.cut is None else self.cut


class AbcdSettings(Settings):
    """Background of the doubly tagged region from the other three."""

    efficiency: Fraction = Field(0.1, description="selection that defines 'pass'")
    cut: str | None = Field(None, description=_CUT)
    systematic: Fraction = Field(0.03, description="least relative closure uncertainty")
    closure_limit: Positive = Field(
        0.5, description="largest |closure factor - 1| with which the estimate is given"
    )

    @property
    def selection(self) -> float | str:
        """The selection that defines 'pass'."""
        return self.efficiency if self.cut is None else self.cut


class DirectSettings(Settings):
    """Background of a selection from weighted simulation or a template, where taggers have one."""

    efficiency: Fraction | None = Field(
        None, description="selection that is counted; null: that of fit.bump"
    )
    cut: str | None = Field(None, description=_CUT)
    systematic: Fraction = Field(0.03, description="least relative closure uncertainty")
    closure_limit: Positive = Field(
        0.5,
        description="largest |observed / predicted - 1| of a validation window with which the "
        "estimate is given",
    )
    corrected: bool = Field(
        False,
        exclude_if=lambda wanted: not wanted,
        description="multiply the prediction of a template by observed / predicted of its "
        "validation windows: for features that follow the mass",
    )


class TransferSettings(Settings):
    """Background of a selection from what it rejects, times a polynomial in the mass."""

    enabled: bool = Field(False, description="whether it is part of the fit of a search")
    efficiency: Fraction | None = Field(
        None, description="selection that passes; null: that of fit.bump"
    )
    cut: str | None = Field(None, description=_CUT)
    denominator: Literal["fail", "all"] = Field(
        "fail", description="whether the polynomial is pass over fail, or over all"
    )
    order: int | None = Field(
        None, ge=0, le=8, description="of the polynomial; null: chosen by likelihood-ratio tests"
    )
    min_order: int = Field(3, ge=0, le=8, description="least order that is chosen")
    max_order: int = Field(4, ge=0, le=8, description="largest order that is chosen")
    f_test: Fraction = Field(0.05, description="p below which a higher order is taken")
    signal_in_fail: float = Field(
        0.0, ge=0, description="signal events that fail per one that passes"
    )
    least_goodness: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="p-value of the fit beside the signal below which the result is refused",
    )
    toys: int | None = Field(
        None,
        ge=0,
        le=_MOST_TOYS,
        description="toys for the p-value; 0: asymptotic; null: toys where few events pass",
    )

    @model_validator(mode="after")
    def _orders_rise(self) -> Self:
        if self.min_order > self.max_order:
            msg = f"min_order is {self.min_order}, above max_order = {self.max_order}"
            raise ValueError(msg)
        return self


class WindowSettings(Settings):
    """Events in a window against a fit of the bins beside it, at every selection."""

    enabled: bool = Field(
        False,
        description="whether it is part of the fit of a search: each tagger set in its own window, "
        "at every selection, and all dijets there",
    )


class ScanSettings(Settings):
    """Bump hunts over masses, with the settings of `bump` otherwise."""

    masses: tuple[Positive, ...] = Field(
        (), max_length=_MOST, description="masses to test [GeV], rising; none: off"
    )
    toys: int = Field(
        1000, ge=0, le=_MOST_TOYS, description="background-only toys of the scan for the global p"
    )
    each: bool = Field(
        True,
        exclude_if=lambda wanted: wanted,
        description="whether, beside the scan over all tagger sets, each set and all dijets have a "
        "scan of their own",
    )
    global_over: Literal["tested", "all", "none"] = Field(
        "tested",
        description="where there are several tagger sets, what the one global p over all of them "
        "counts, at the masses or, without these, at that of `bump`: all dijets and each set's "
        "selection of `bump` (tested), or every selection of each set (all); none: off",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(high <= low for low, high in itertools.pairwise(self.masses)):
            msg = f"masses must rise, got {list(self.masses)}"
            raise ValueError(msg)
        return self


class RetrainSettings(Settings):
    """Strengths of a stated signal that a limit with taggers trained anew at each tests."""

    strengths: tuple[Positive, ...] = Field(
        (), max_length=_MOST, description="produced signal events, rising"
    )
    cross_sections: tuple[Positive, ...] = Field(
        (),
        max_length=_MOST,
        description="the same as cross sections [fb], rising; they need data.luminosity",
    )
    injections: int = Field(
        1, ge=1, le=_MOST, description="draws of the signal, each with a training, of a strength"
    )

    @model_validator(mode="after")
    def _one_rising_grid(self) -> Self:
        if self.strengths and self.cross_sections:
            msg = "give strengths or cross_sections, not both"
            raise ValueError(msg)
        for name in ("strengths", "cross_sections"):
            values = getattr(self, name)
            if any(high <= low for low, high in itertools.pairwise(values)):
                msg = f"{name} must rise, got {list(values)}"
                raise ValueError(msg)
        return self

    def events(self, luminosity: float | None) -> tuple[float, ...]:
        """Return the strengths as produced events, for a luminosity [1/fb].

        >>> RetrainSettings(cross_sections=(2.0, 5.0)).events(30.0)
        (60.0, 150.0)
        """
        if luminosity is None:
            return self.strengths
        return self.strengths or tuple(luminosity * one for one in self.cross_sections)


class LimitSettings(Settings):
    """CLs upper limits on the signal events at the mass of `bump`, with its other settings."""

    enabled: bool = Field(True, description="whether limits are set")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level")
    efficiencies: Mapping[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        {},
        description="for cross sections: selected over produced signal events, by tagger set; "
        "'before' is the spectrum of all dijets; they need data.luminosity",
    )
    toys: int | None = Field(
        None,
        ge=0,
        le=_MOST_TOYS,
        description="toys without a signal, and at each of 6 strengths; 0: asymptotic; null: where "
        "the asymptotic formulae do not hold, until the observed limit is known to 3 %",
    )
    retrain: RetrainSettings = Field(
        RetrainSettings(),
        exclude_if=lambda known: known == RetrainSettings(),
        description="the limit on a stated signal with retraining (`fit limit --retrain`)",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_data(cls, values: Any) -> Any:
        return without_moved("fit.limit", values, ("luminosity",))


def _one_or_two(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) != 2:
        msg = f"expected a number or [down, up], got {list(value)}"
        raise ValueError(msg)
    return value


def _both_ways(value: float | tuple[float, float]) -> float | tuple[float, float]:
    if isinstance(value, tuple) and value[0] * value[1] > 0:
        msg = (
            f"[down, up] are changes of opposite signs, such as [-0.02, 0.01], got {list(value)}; "
            "0 is none"
        )
        raise ValueError(msg)
    return value


Change = Annotated[float, Field(gt=-1)]
Uncertainty = Annotated[
    Annotated[float, Field(ge=0), Tag("[number]")]
    | Annotated[tuple[Change, Change], Tag("[list]")],
    Discriminator(lambda value: "[list]" if isinstance(value, list | tuple) else "[number]"),
    BeforeValidator(_one_or_two),
    AfterValidator(_both_ways),
]
"""Of a norm: relative, or relative changes at -1 and +1 standard deviation."""


class TaggerEfficiencySettings(Settings):
    """Efficiency of taggers for the signal in data, relative to that in simulation."""

    scale_factor: Positive = Field(
        1.0, description="by which templates and efficiencies of selected spectra are multiplied"
    )
    uncertainty: Uncertainty = Field(
        0.0,
        description="relative (log-normal), or [down, up]: relative changes at one standard "
        "deviation",
    )

    @field_validator("uncertainty")
    @classmethod
    def _is_relative(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        largest = max(value) if isinstance(value, tuple) else value
        if largest > 1:
            msg = f"{largest:g} is more than 1: it is relative, 0.08 is 8 %"
            raise ValueError(msg)
        return value


class SignalTemplateSettings(Settings):
    """The signal as histograms of simulated events, instead of `bump.shape`."""

    names: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        max_length=_MOST,
        description="signals that the search read, one mass or several to morph between",
    )
    file: str | None = Field(
        None, min_length=1, description="templates as JSON, for a histogram of one's own"
    )
    cross_section: Positive = Field(
        1.0, description="of unit signal strength [fb], with `names`; needs data.luminosity"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.names) == (self.file is not None):
            msg = "a signal template has either names of signals or a file"
            raise ValueError(msg)
        if twice := sorted({name for name in self.names if self.names.count(name) > 1}):
            msg = f"names has {', '.join(twice)} twice"
            raise ValueError(msg)
        return self


class FitSettings(Settings):
    """From histograms to p-values and limits."""

    bump: BumpSettings = BumpSettings()
    abcd: AbcdSettings = AbcdSettings()
    direct: DirectSettings = DirectSettings()
    transfer: TransferSettings = TransferSettings()
    window: WindowSettings = WindowSettings()
    scan: ScanSettings = ScanSettings()
    limit: LimitSettings = LimitSettings()
    systematics: Mapping[Annotated[str, AfterValidator(free_name)], Uncertainty] = Field(
        {},
        exclude_if=lambda known: not known,
        description="uncertainties of the signal's norm by name, in every fit: relative "
        "(log-normal), or [down, up] of opposite signs; e.g. {luminosity: 0.016}",
    )
    tagger_efficiency: TaggerEfficiencySettings = Field(
        TaggerEfficiencySettings(),
        exclude_if=lambda known: known == TaggerEfficiencySettings(),
        description="signal efficiency of the taggers, of every spectrum that they select",
    )
    signal: SignalTemplateSettings | None = Field(
        None,
        exclude_if=lambda known: known is None,
        description="the signal as histograms; null: `bump.shape`",
    )
    blind: bool = Field(
        False,
        description="whether the events in a window stay hidden: the sidebands are fitted, and "
        "what background alone lets expect is shown",
    )
    blind_window: MassRange | None = Field(
        None,
        description="range in mass that blind hides [GeV]; null: search.window with the signal's "
        "mass +- 2 widths, for a histogram of one's own the latter",
    )
    expected_signals: tuple[Positive, ...] = Field(
        (),
        max_length=_MOST,
        description="signals whose expected significance a blinded fit quotes [events]",
    )

    @property
    def direct_selection(self) -> float | str:
        """The selection of the direct estimate: its own, or that of the bump hunt."""
        own = self.direct.cut or self.direct.efficiency
        return self.bump.selection if own is None else own

    @property
    def transfer_selection(self) -> float | str:
        """The selection of the transfer factor: its own, or that of the bump hunt."""
        own = self.transfer.cut or self.transfer.efficiency
        return self.bump.selection if own is None else own
