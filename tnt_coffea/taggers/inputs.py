"""What a tagger is shown of a jet or an event, the same in training and in a search.

| input | holds | shape |
|---|---|---|
| `Images` | the images of the scope's jets | (n, jet x channel, row, column) |
| `Columns` | columns of the skim, one number an event | (n, column) |
| `Constituents` | the leading constituents of the scope's jets | (n, jet, particle, 3) |
| `Aligned` | constituents of the scope's jets, each jet boosted | (n, jet, particle, 3) |
| `Splittings` | the splittings of the scope's jets | (n, jet, splitting, 5) |
| `Sequence` | the leading jets of the event | (n, jet in sequence, 4) |
| `EventImage` | the image of the whole event | (n, channel, row, column) |

A tagger may take several of them. Each is part of its card and knows whether a skim holds it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import abc
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.config import (
    EVENT_OBSERVABLES,
    JET_OBSERVABLES,
    OBSERVABLE_GROUPS,
    EventImageSettings,
    ImageSettings,
    SequenceSettings,
    Settings,
    SkimSettings,
    SplittingSettings,
    SubstructureSettings,
)
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample, flat_columns
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.typing import Float32Array, IntArray

__all__ = [
    "Aligned",
    "AnyInput",
    "Columns",
    "Constituents",
    "EventImage",
    "Images",
    "Input",
    "Reader",
    "Sequence",
    "Splittings",
    "jets_of",
    "readers",
]

Reader = Callable[[IntArray], Float32Array]
"""Function from (row number,) events of a sample to the input of these events."""
_FRAME = ("centre", "rotate", "flip")
_MOST_NAMED = 8
"""Columns of a group of observables that a message names one by one."""
_OBSERVABLES = (*JET_OBSERVABLES, *EVENT_OBSERVABLES)


def jets_of(scope: str) -> tuple[str, ...]:
    """Return the jets of a scope: both for `event`, else the one.

    >>> jets_of("event"), jets_of("light")
    (('heavy', 'light'), ('light',))
    """
    return JETS if scope == "event" else (scope,)


class Input(Settings):
    """One input of a tagger.

    Attributes
    ----------
    name
        Of the input in the ONNX graph.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one event's input."""

    @abstractmethod
    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the input; None where they do."""

    @abstractmethod
    def reader(self, sample: Sample) -> Reader:
        """Return the function that reads the input of any events of a sample."""

    def read(self, sample: Sample) -> Float32Array:
        """Return the input of all events of a sample, `shape` for each, float32."""
        return self.reader(sample)(np.arange(len(sample)))


class Images(Input):
    """Images of jets, as the skim stores them; the heavy jet's channels come first."""

    name: ClassVar[str] = "image"

    kind: Literal["images"] = "images"
    jets: tuple[str, ...] = Field(min_length=1, description="heavy, light, or both")
    images: ImageSettings = Field(description="how the images were made")

    @classmethod
    def of(cls, scope: str, sample: Sample) -> Images:
        """Return the images of a scope's jets in a sample.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        return cls(jets=jets_of(scope), images=sample.image_settings)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, row, column), the channels of all jets."""
        channels, rows, columns = self.images.shape
        return len(self.jets) * channels, rows, columns

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the images; None where they do."""
        if settings.images is None:
            return (
                "takes images, and these events have none: their source has jets without "
                "constituents, or skim.images is null; use a tagger of features"
            )
        if settings.images != self.images:
            return _other("images", self.images, settings.images)
        return None

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, channel, row, column) float32."""
        sparse = [sample.sparse_images(jet) for jet in self.jets]

        def read(rows: IntArray) -> Float32Array:
            parts = [images.dense(rows) for images in sparse]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

        return read


def _bare(columns: abc.Iterable[str]) -> set[str]:
    return {name.removeprefix("heavy_").removeprefix("light_") for name in columns}


def _grouped(columns: list[str]) -> list[str]:
    """Return columns as they are shown: many of one group are its name and their number."""
    shown = dict.fromkeys(map(repr, columns))
    for group, members in OBSERVABLE_GROUPS.items():
        own = [name for name in columns if _bare([name]) <= set(members)]
        if len(own) > _MOST_NAMED:
            shown = {text: None for text in shown if text not in map(repr, own)}
            shown[f"'{group}' ({len(own)} columns, the first {own[0]!r})"] = None
    return list(shown)


class Columns(Input):
    """Columns of the skim, one number an event each: m_jj [GeV] and observables."""

    name: ClassVar[str] = "features"

    kind: Literal["columns"] = "columns"
    columns: tuple[str, ...] = Field(min_length=1, description="their full names, in order")
    substructure: SubstructureSettings = Field(
        SubstructureSettings(), description="how observables of substructure were computed"
    )

    @classmethod
    def of(cls, columns: abc.Sequence[str], sample: Sample) -> Columns:
        """Return columns of a sample.

        Raises
        ------
        ConfigError
            The sample does not have one of them.
        """
        missing = [name for name in columns if name not in sample.columns]
        if missing:
            known = ", ".join(sorted(sample.columns))
            hint = "; add it to skim.observables" if _bare(missing) <= set(_OBSERVABLES) else ""
            if sample.settings.table is not None:
                hint = "; it is of a table, whose columns are named in skim.table"
            msg = f"the skim holds no {', '.join(_grouped(missing))}, only {known}{hint}"
            raise ConfigError(msg)
        return cls(columns=tuple(columns), substructure=sample.settings.substructure)

    @property
    def shape(self) -> tuple[int]:
        """(column,)."""
        return (len(self.columns),)

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the columns; None where they do."""
        missing = [name for name in self.columns if name not in flat_columns(settings)]
        if missing:
            where = "skim.observables" if settings.table is None else "skim.table"
            return (
                f"takes the features {', '.join(missing)}, which these events do not have; "
                f"name them in {where}"
            )
        if settings.substructure != self.substructure:
            return _other("substructure", self.substructure, settings.substructure)
        return None

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, column) float32."""
        values = [sample.columns[name] for name in self.columns]

        def read(rows: IntArray) -> Float32Array:
            return np.stack([column[rows].astype(np.float32) for column in values], axis=1)

        return read


class Constituents(Input):
    """The leading constituents of jets: share of pT, eta and phi, zero where there is none.

    Shares are of the scalar sum over all constituents of the jet, so those that are kept sum to
    one at most; eta and phi are distances from the jet's axis, in the frame of the images. The
    axis of the jets is there for one jet as well.
    """

    name: ClassVar[str] = "constituents"

    kind: Literal["constituents"] = "constituents"
    jets: tuple[str, ...] = Field(min_length=1, description="heavy, light, or both")
    most: int = Field(ge=1, description="constituents of a jet")
    centre: bool = Field(description="the frame's origin is the centroid, see `ImageSettings`")
    rotate: bool = Field(description="the frame's principal axis is turned to 12 o'clock")
    flip: bool = Field(description="the frame has the hardest constituent in the upper left")

    @classmethod
    def of(cls, scope: str, sample: Sample) -> Constituents:
        """Return the constituents of a scope's jets in a sample.

        Raises
        ------
        InputError
            The skim was made without constituents.
        """
        most = sample.constituents_kept
        return cls(jets=jets_of(scope), most=most, **_frame(sample.settings))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(jet, particle, 3)."""
        return len(self.jets), self.most, 3

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the constituents; None if they do."""
        if settings.constituents is None:
            return (
                "takes constituents, and these events have none: set skim.constituents to "
                f"{self.most} and make the skim again, from a source with constituents"
            )
        if settings.constituents != self.most:
            return _other("constituents", self.most, settings.constituents)
        wanted = {name: getattr(self, name) for name in _FRAME}
        if _frame(settings) != wanted:
            return _other("constituents", wanted, _frame(settings))
        return None

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, jet, particle, 3) float32."""
        leading = [sample.constituents(jet) for jet in self.jets]

        def read(rows: IntArray) -> Float32Array:
            return np.stack([jet.dense(self.most, rows) for jet in leading], axis=1)

        return read


class Aligned(Input):
    """Constituents of jets that were turned and boosted to one mass, energy and direction.

    The three numbers of each are its share of the aligned jet's pT, eta and phi, in the order of
    the chain of largest pT Delta R; all are zero where there is none, and for the whole jet where
    it has no mass or fewer than three constituents (`jets.aligned_jets`).
    """

    name: ClassVar[str] = "aligned"

    kind: Literal["aligned"] = "aligned"
    jets: tuple[str, ...] = Field(min_length=1, description="heavy, light, or both")
    most: int = Field(ge=3, description="constituents of a jet")

    @classmethod
    def of(cls, scope: str, sample: Sample) -> Aligned:
        """Return the aligned constituents of a scope's jets in a sample.

        Raises
        ------
        InputError
            The skim was made without aligned constituents.

        Examples
        --------
        >>> from tnt_coffea import testing
        >>> sample = testing.make_sample(10, aligned=6)
        >>> Aligned.of("event", sample).read(sample).shape
        (10, 2, 6, 3)
        """
        most = sample.required("aligned", ", to 20 for example,")
        return cls(jets=jets_of(scope), most=most)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(jet, particle, 3)."""
        return len(self.jets), self.most, 3

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have them; None where they do."""
        if settings.aligned is None:
            return (
                "takes aligned constituents, and these events have none: set skim.aligned to "
                f"{self.most} and make the skim again, from a source with constituents"
            )
        if settings.aligned != self.most:
            return _other("aligned constituents", self.most, settings.aligned)
        return None

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, jet, particle, 3) float32."""
        aligned = [sample.aligned(jet) for jet in self.jets]

        def read(rows: IntArray) -> Float32Array:
            return np.stack([jet.dense(self.most, rows) for jet in aligned], axis=1)

        return read


class Splittings(Input):
    """The splittings of jets, undone from the last step of Cambridge/Aachen on.

    The five numbers of each are 1, ln(1 / Delta R), ln(kt / GeV), the mass of what splits [GeV]
    and the share of it that the heavier branch has; all are zero where there is none.
    """

    name: ClassVar[str] = "splittings"

    kind: Literal["splittings"] = "splittings"
    jets: tuple[str, ...] = Field(min_length=1, description="heavy, light, or both")
    splittings: SplittingSettings = Field(description="which of them there are")

    @classmethod
    def of(cls, scope: str, sample: Sample) -> Splittings:
        """Return the splittings of a scope's jets in a sample.

        Raises
        ------
        InputError
            The skim was made without splittings.

        Examples
        --------
        >>> from tnt_coffea import testing
        >>> sample = testing.make_sample(10, splittings=6)
        >>> Splittings.of("event", sample).read(sample).shape
        (10, 2, 6, 5)
        """
        return cls(jets=jets_of(scope), splittings=sample.required("splittings"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(jet, splitting, 5)."""
        return len(self.jets), self.splittings.most, 5

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the splittings; None if they do."""
        return _unlike("splittings", self.splittings, settings.splittings)

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, jet, splitting, 5) float32."""
        most, lists = self.splittings.most, [sample.splittings(jet) for jet in self.jets]

        def read(rows: IntArray) -> Float32Array:
            return np.stack([jet.dense(most, rows) for jet in lists], axis=1)

        return read


class Sequence(Input):
    """The leading jets of the event in descending pT: pT [GeV], eta, phi, mass [GeV].

    They are clustered from all particles, with a radius of their own; all four numbers are zero
    where there is no jet.
    """

    name: ClassVar[str] = "sequence"

    kind: Literal["sequence"] = "sequence"
    sequence: SequenceSettings = Field(description="radius, lowest pT and number of the jets")

    @classmethod
    def of(cls, sample: Sample) -> Sequence:
        """Return the sequence of jets in a sample.

        Raises
        ------
        InputError
            The skim was made without a sequence.

        Examples
        --------
        >>> from tnt_coffea import testing
        >>> sample = testing.make_sample(10, sequence=4)
        >>> Sequence.of(sample).read(sample).shape
        (10, 4, 4)
        """
        return cls(sequence=sample.required("sequence"))

    @property
    def shape(self) -> tuple[int, int]:
        """(jet in sequence, 4)."""
        return self.sequence.jets, 4

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the sequence; None if they do."""
        return _unlike("sequence", self.sequence, settings.sequence)

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, jet in sequence, 4) float32."""
        jets = sample.sequence()
        return lambda rows: jets.dense(self.sequence.jets, rows)


class EventImage(Input):
    """The image of all particles of the event; a pixel is a sum of pT over the largest pT."""

    name: ClassVar[str] = "event_image"

    kind: Literal["event_image"] = "event_image"
    event_image: EventImageSettings = Field(description="how the image was made")

    @classmethod
    def of(cls, sample: Sample) -> EventImage:
        """Return the image of the events in a sample.

        Raises
        ------
        InputError
            The skim was made without it.

        Examples
        --------
        >>> from tnt_coffea import testing
        >>> sample = testing.make_sample(10, event_image=16)
        >>> EventImage.of(sample).read(sample).shape
        (10, 1, 16, 16)
        """
        return cls(event_image=sample.required("event_image"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, row, column)."""
        return self.event_image.shape

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why events of these settings do not have the image; None where they do."""
        return _unlike("event_image", self.event_image, settings.event_image)

    def reader(self, sample: Sample) -> Reader:
        """Return the function from row numbers to (n, channel, row, column) float32."""
        return sample.event_images().dense


AnyInput = Annotated[
    Images | Columns | Constituents | Aligned | Splittings | Sequence | EventImage,
    Field(discriminator="kind"),
]


def readers(inputs: abc.Sequence[Input], sample: Sample) -> dict[str, Reader]:
    """Return the readers of a tagger's inputs by their names in its graph."""
    return {each.name: each.reader(sample) for each in inputs}


def _frame(settings: SkimSettings) -> dict[str, bool]:
    return {name: getattr(settings.frame, name) for name in _FRAME}


def _unlike(what: str, wanted: Settings, given: Settings | None) -> str | None:
    if given is None:
        written = ", ".join(
            f"{name}: {value}" for name, value in wanted.model_dump(mode="json").items()
        )
        return (
            f"takes the {what}, and these events have none: set skim.{what} to {{{written}}} and "
            "make the skim again, from a source with constituents"
        )
    return None if given == wanted else _other(what, wanted, given)


def _other(what: str, wanted: object, given: object) -> str:
    return (
        f"was trained on {what} made with {wanted}, but these are made with {given}; use the "
        "tagger's settings"
    )
