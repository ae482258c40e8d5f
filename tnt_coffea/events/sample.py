"""The skim in memory: columns, and images as lists, of dijets in the order of their ids.

Nothing computed from a `Sample` can depend on how the events were split into files and chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tnt_coffea.config import (
    ImageSettings,
    SkimSettings,
    TableOrder,
    TableSettings,
)
from tnt_coffea.displays import html_table
from tnt_coffea.errors import ConfigError, InputError, fault
from tnt_coffea.events.particles import (
    NUMBERS,
    checked_labels,
    checked_numbers,
    checked_weights,
    identified,
)
from tnt_coffea.jets.alignment import AlignedJets
from tnt_coffea.jets.declustering import JetSplittings
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.jets.frames import LeadingConstituents, flat_lists
from tnt_coffea.jets.images import SparseImages
from tnt_coffea.jets.sequences import JetSequences

__all__ = [
    "EVENT_COLUMNS",
    "UNIT",
    "Sample",
    "content_hash_of",
    "feature_ids",
    "flat_columns",
    "in_units",
    "is_finite",
    "list_columns",
    "sample_of",
]

UNIT = 2.0**-32
"""Of sums of weights that are exact in any order."""
EVENT_COLUMNS = ("event_id", "weight", "label")
"""What every skim holds of an event beside the columns of its settings."""
_CONSTITUENTS = tuple(f"constituents_{name}" for name in LeadingConstituents.parts)
_ALIGNED = tuple(f"aligned_{name}" for name in AlignedJets.parts)
_SPLITTINGS = tuple(f"splittings_{name}" for name in JetSplittings.parts)
_SEQUENCE = tuple(f"sequence_{name}" for name in JetSequences.parts)
_EVENT_IMAGE = ("event_image_index", "event_image_value")
_HASHED = 2**14
"""Events whose lists are hashed at once: where they lie on disk, no more are in memory."""


def flat_columns(settings: SkimSettings) -> tuple[str, ...]:
    """Return the names of a skim's columns with one number an event, in their order."""
    of_jets = (f"{jet}_{name}" for jet in JETS for name in settings.of_jet)
    return ("m_jj", *of_jets, *settings.of_event)


def list_columns(settings: SkimSettings) -> tuple[str, ...]:
    """Return the names of a skim's columns with one list an event: of the jets, of the event."""
    parts = (
        *(() if settings.images is None else ("image_index", "image_value")),
        *(() if settings.constituents is None else _CONSTITUENTS),
        *(() if settings.aligned is None else _ALIGNED),
        *(() if settings.splittings is None else _SPLITTINGS),
    )
    return (
        *(f"{jet}_{part}" for jet in JETS for part in parts),
        *(() if settings.sequence is None else _SEQUENCE),
        *(() if settings.event_image is None else _EVENT_IMAGE),
    )


@dataclass(frozen=True, repr=False)
class Sample:
    """Dijets in memory.

    Attributes
    ----------
    event_id
        (event,) uint64.
    weight
        (event,) float64.
    label
        (event,) int8; all -1 unless the truth was asked for.
    columns
        `m_jj` (event,) float64 GeV; the observables of either jet (`heavy_mass`) and of the
        event (`delta_eta`), (event,) float32.
    lists
        `heavy_image_index` and the like: (event, pixel) jagged; `heavy_constituents_pt` and the
        like: (event, particle) jagged; those that `list_columns` names.
    settings
        How the dijets and images were made.
    numbers
        (event,) uint64 by name, those of run, luminosityBlock and event that the sources have
        and that were asked for.
    variable
        Column of the event in which a resonance is looked for [GeV], `search.variable`.

    Examples
    --------
    >>> sample = Sample.from_columns(
    ...     m_jj=[3500.0, 2800.0], heavy={"mass": [500.0, 90.0]}, light={"mass": [100.0, 40.0]}
    ... )
    >>> sample
    <Sample: 2 dijets, labels unknown; event: m_jj; either jet: mass>
    >>> sample.select(sample.m_jj > 3000).columns["heavy_mass"]
    array([500.], dtype=float32)
    """

    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    columns: Mapping[str, npt.NDArray[Any]]
    lists: Mapping[str, ak.Array]
    settings: SkimSettings
    numbers: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)
    variable: str = "m_jj"

    @classmethod
    def from_columns(
        cls,
        m_jj: Any,
        *,
        heavy: Mapping[str, Any],
        light: Mapping[str, Any],
        event: Mapping[str, Any] | None = None,
        weight: Any = None,
        label: Any = None,
        numbers: Mapping[str, Any] | None = None,
        event_id: Any = None,
        where: str = "columns",
    ) -> Sample:
        """Return dijets of features that are in memory, without images and constituents.

        Parameters
        ----------
        m_jj
            (event,) dijet mass [GeV], above 0. This and all others may be a NumPy or awkward
            array, a list, or a column of a DataFrame.
        heavy, light
            (event,) features of either jet by name, the same names for both; stored as
            `heavy_NAME` and `light_NAME`, float32.
        event
            (event,) further features of the event by name.
        weight
            (event,); 1 where None.
        label
            (event,) truth, 1 signal, 0 background, -1 unknown; for evaluation alone.
        numbers
            (event,) `run`, `luminosityBlock`, `event`, those there are.
        event_id
            (event,) uint64 where known; by default made of the features, and of the numbers
            where there are all three (`events.identity`).
        where
            What the columns are called in messages.

        Raises
        ------
        InputError
            A column has another length or kind, a value is not finite, m_jj is not above 0,
            or a label is none.
        ConfigError
            A name is taken or no name, or a feature is given for one jet only.

        Examples
        --------
        >>> import numpy as np
        >>> rng = np.random.default_rng(1)
        >>> jets = {"mass": rng.uniform(50, 500, 3), "tau21": rng.uniform(0.1, 0.9, 3)}
        >>> Sample.from_columns(rng.uniform(3000, 4000, 3), heavy=jets, light=jets, label=[0, 0, 1])
        <Sample: 3 dijets, 1 signal, 2 background; event: m_jj; either jet: mass, tau21>
        """
        settings = _settings_of_columns(heavy, light, event or {})
        given = {
            "m_jj": m_jj,
            **{f"heavy_{name}": heavy[name] for name in heavy},
            **{f"light_{name}": light[name] for name in heavy},
            **(event or {}),
        }
        wide = {name: _feature(values, name, where) for name, values in given.items()}
        n = len(wide["m_jj"])
        if not (wide["m_jj"] > 0).all():
            low = int(np.flatnonzero(wide["m_jj"] <= 0)[0])
            msg = (
                f"{where}: m_jj of event {low} is {wide['m_jj'][low]:g}; expected a dijet mass "
                f"above 0, in GeV; {int((wide['m_jj'] <= 0).sum())} of {n} such events"
            )
            raise InputError(msg)
        known = checked_numbers(numbers or {}, where)
        weights = np.ones(n) if weight is None else checked_weights(weight, where)
        labels = np.full(n, -1, np.int8) if label is None else checked_labels(label, where)
        ids = None if event_id is None else np.asarray(event_id).astype(np.uint64)
        others = {"weight": weights, "label": labels, "event_id": ids, **known}
        for name, values in {**wide, **others}.items():
            if values is not None and values.shape != (n,):
                msg = f"{where}: {name} has shape {values.shape}, m_jj has {n} events"
                raise InputError(msg)
        narrow = {name: values.astype(np.float32) for name, values in wide.items()}
        return cls(
            event_id=feature_ids(wide, known) if ids is None else ids,
            weight=weights,
            label=labels,
            columns={**narrow, "m_jj": wide["m_jj"]},
            lists={},
            settings=settings,
            numbers=known,
        )

    @classmethod
    def empty(cls, settings: SkimSettings) -> Sample:
        """Return no dijets, with the columns of a skim of particles or jets: what it will hold.

        Examples
        --------
        >>> from tnt_coffea.config import SkimSettings
        >>> Sample.empty(SkimSettings(images=None, observables=("mass", "delta_eta")))
        <Sample: 0 dijets, labels unknown; event: m_jj, delta_eta; either jet: mass>
        """
        nothing = ak.unflatten(np.zeros(0, np.float32), np.zeros(0, np.int64))
        flat = ("event_id", "weight", *flat_columns(settings))
        columns = dict.fromkeys(flat, np.zeros(0, np.float32))
        return sample_of({**columns, **dict.fromkeys(list_columns(settings), nothing)}, settings)

    def __len__(self) -> int:
        return len(self.event_id)

    def __repr__(self) -> str:
        held = "; ".join(f"{what}: {text}" for what, text in self._columns_in_words().items())
        return f"<Sample: {self._counted()}; {held}>"

    def _repr_html_(self) -> str:
        facts = {"dijets": self._counted(), **self._columns_in_words()}
        return html_table("Sample", facts)

    def _columns_in_words(self) -> dict[str, str]:
        settings = self.settings
        held = {
            "event": ", ".join(("m_jj", *settings.of_event)),
            "either jet": ", ".join(settings.of_jet),
            "also": ", ".join(
                name
                for name, there in (
                    ("images", settings.images),
                    ("constituents", settings.constituents),
                    ("aligned constituents", settings.aligned),
                    ("splittings", settings.splittings),
                    ("sequence of jets", settings.sequence),
                    ("event image", settings.event_image),
                )
                if there is not None
            ),
        }
        return {what: text for what, text in held.items() if text}

    def _counted(self) -> str:
        kinds = {"signal": 1, "background": 0, "unlabelled": -1}
        counts = {name: int((self.label == value).sum()) for name, value in kinds.items()}
        labels = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        same = len(self) == 0 or np.ptp(self.weight) == 0
        weights = "" if same and (len(self) == 0 or self.weight[0] == 1) else ", weighted"
        known = labels if counts["unlabelled"] < len(self) else "labels unknown"
        return f"{len(self)} dijets, {known}{weights}"

    @property
    def m_jj(self) -> npt.NDArray[np.float64]:
        """(event,) float64, GeV."""
        return self.columns["m_jj"]

    @property
    def mass(self) -> npt.NDArray[np.float64]:
        """(event,) float64, GeV: the variable in which a resonance is looked for."""
        return np.asarray(self.columns[self.variable], np.float64)

    def with_variable(self, name: str) -> Sample:
        """Return the same events with another column as the variable of the search.

        Parameters
        ----------
        name
            `m_jj`, or a further column of the event, in GeV.

        Raises
        ------
        ConfigError
            There is no such column.

        Examples
        --------
        >>> jets = {"mass": [500.0]}
        >>> event = {"m_jjj": [3900.0]}
        >>> sample = Sample.from_columns([3500.0], heavy=jets, light=jets, event=event)
        >>> sample.mass, sample.with_variable("m_jjj").mass
        (array([3500.]), array([3900.]))
        """
        known = ("m_jj", *self.settings.of_event)
        if name not in known:
            msg = (
                f"search.variable is {name}, which is no column of the event in the skim; it has "
                f"{', '.join(known)}: choose one of these, or name it in skim.observables (of a "
                "table: skim.table.event) and skim again"
            )
            raise ConfigError(msg)
        return replace(self, variable=name)

    @property
    def image_settings(self) -> ImageSettings:
        """How the images were made.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        images: ImageSettings = self.required("images")
        return images

    @property
    def constituents_kept(self) -> int:
        """How many leading constituents of either jet there are at most.

        Raises
        ------
        InputError
            The skim was made without constituents.
        """
        most: int = self.required("constituents", ", to 50 for example,")
        return most

    def required(self, name: str, example: str = "") -> Any:
        """Return the setting of images, constituents, aligned, splittings, sequence, event_image.

        Parameters
        ----------
        name
            Of the setting.
        example
            Value for the message.

        Raises
        ------
        InputError
            The skim was made without them.

        Examples
        --------
        >>> from tnt_coffea import testing
        >>> testing.make_sample(1, sequence=4).required("sequence").jets
        4
        """
        value = getattr(self.settings, name)
        if value is None:
            what = "aligned constituents" if name == "aligned" else name
            msg = (
                f"the skim holds no {what} (skim.{name} is null), and what was asked for needs "
                f"{'them' if name.endswith('s') else 'it'}; "
            )
            if self.settings.table is None:
                msg += f"set skim.{name}{example} and make the skim again, from a source with "
                msg += "constituents"
            else:
                msg += "a table of features has none: search it with methods that read features, "
                msg += "as those of --preset quick"
            raise InputError(msg)
        return value

    def select(self, which: npt.NDArray[Any]) -> Sample:
        """Return the events of a mask or of row numbers."""
        return replace(
            self,
            event_id=self.event_id[which],
            weight=self.weight[which],
            label=self.label[which],
            columns={name: column[which] for name, column in self.columns.items()},
            lists={name: column[which] for name, column in self.lists.items()},
            numbers={name: column[which] for name, column in self.numbers.items()},
        )

    def images(
        self, jet: str, rows: npt.NDArray[Any] | slice | None = None
    ) -> npt.NDArray[np.float32]:
        """Return (event, channel, row, column) float32 of one jet, `heavy` or `light`.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        return self.sparse_images(jet, rows).dense()

    def sparse_images(self, jet: str, rows: npt.NDArray[Any] | slice | None = None) -> SparseImages:
        """Return the filled pixels of one jet's images; no pixel is copied, or read from disk.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        shape = self.image_settings.shape
        lists = (self.lists[f"{jet}_image_{part}"] for part in ("index", "value"))
        starts, stops, index, value = flat_lists(*lists)
        images = SparseImages(starts, stops, index, value, shape)
        return images if rows is None else images.select(rows)

    def constituents(
        self, jet: str, rows: npt.NDArray[Any] | slice | None = None
    ) -> LeadingConstituents:
        """Return the leading constituents of one jet, `heavy` or `light`; none is copied or read.

        Raises
        ------
        InputError
            The skim was made without constituents.
        """
        self.constituents_kept  # noqa: B018  says what is missing
        lists = (self.lists[f"{jet}_{part}"] for part in _CONSTITUENTS)
        leading = LeadingConstituents(*flat_lists(*lists))
        return leading if rows is None else leading.select(rows)

    def aligned(self, jet: str) -> AlignedJets:
        """Return the aligned constituents of one jet, `heavy` or `light`; none is copied or read.

        Raises
        ------
        InputError
            The skim was made without aligned constituents.
        """
        self.required("aligned", ", to 20 for example,")
        return AlignedJets(*flat_lists(*(self.lists[f"{jet}_{part}"] for part in _ALIGNED)))

    def splittings(self, jet: str) -> JetSplittings:
        """Return the splittings of one jet, `heavy` or `light`; none is copied or read.

        Raises
        ------
        InputError
            The skim was made without splittings.
        """
        self.required("splittings")
        return JetSplittings(*flat_lists(*(self.lists[f"{jet}_{part}"] for part in _SPLITTINGS)))

    def sequence(self) -> JetSequences:
        """Return the leading jets of the events; none is copied or read.

        Raises
        ------
        InputError
            The skim was made without a sequence.
        """
        self.required("sequence")
        return JetSequences(*flat_lists(*(self.lists[part] for part in _SEQUENCE)))

    def event_images(self) -> SparseImages:
        """Return the filled pixels of the events' images; no pixel is copied, or read from disk.

        Raises
        ------
        InputError
            The skim was made without them.
        """
        shape = self.required("event_image").shape
        starts, stops, index, value = flat_lists(*(self.lists[part] for part in _EVENT_IMAGE))
        return SparseImages(starts, stops, index, value, shape)

    def content_hash(self) -> str:
        """Return the SHA-256 of all that training may use, in the order of the ids.

        Labels and the experiment's numbers have no part in it.
        """
        known = {"event_id": self.event_id, "weight": self.weight, **self.columns, **self.lists}
        return content_hash_of(self.settings, known.__getitem__)


def content_hash_of(settings: SkimSettings, column: Callable[[str], Any]) -> str:
    """Return the SHA-256 of dijets whose columns are given by name, one after the other.

    Parameters
    ----------
    settings
        What they were made with.
    column
        Gives (event,) values or lists; of no column is more than the order kept.
    """
    ids = np.asarray(column("event_id"), np.uint64)
    order = np.argsort(ids, kind="stable")
    state = hashlib.sha256(settings.digest().encode())
    state.update(ids[order].data)
    state.update(np.asarray(column("weight"), np.float64)[order].data)
    for name in flat_columns(settings):
        state.update(np.ascontiguousarray(ak.to_numpy(column(name))[order]).data)
    for name in list_columns(settings):
        jagged = column(name)[order]
        state.update(np.ascontiguousarray(ak.to_numpy(ak.num(jagged)), dtype=np.int64).data)
        for start in range(0, len(jagged), _HASHED):
            part = ak.to_numpy(ak.flatten(jagged[start : start + _HASHED]))
            state.update(np.ascontiguousarray(part).data)
    return state.hexdigest()


def in_units(weights: npt.NDArray[np.float64]) -> int:
    """Return the sum of weights in units of 2^-32, each rounded to them: exact in any order.

    >>> in_units(np.array([0.5, 1.5])) * UNIT
    2.0
    """
    units = np.rint(weights / UNIT)
    if np.abs(units).sum() < 2.0**62:
        return int(units.astype(np.int64).sum())
    return sum(map(int, units))


def feature_ids(
    features: Mapping[str, npt.NDArray[np.float64]], numbers: Mapping[str, npt.NDArray[np.uint64]]
) -> npt.NDArray[np.uint64]:
    """Return the ids of events that are known by their features; see `identity.event_ids`.

    Parameters
    ----------
    features
        (event,) by name; hashed in the order of the names, as float32.
    numbers
        (event,) run, luminosity block and event, those there are.
    """
    content = np.stack([features[name] for name in sorted(features)], axis=1)
    return identified(content + 0.0, np.ones(len(content), np.int64), numbers)  # -0 is 0


def _settings_of_columns(
    heavy: Mapping[str, Any], light: Mapping[str, Any], event: Mapping[str, Any]
) -> SkimSettings:
    try:
        table = TableSettings(
            m_jj="m_jj",
            heavy={name: f"heavy_{name}" for name in heavy},
            light={name: f"light_{name}" for name in light},
            event={name: name for name in event},
            order=TableOrder.GIVEN,
        )
    except ValidationError as error:
        msg = "; ".join(map(fault, error.errors()))
        raise ConfigError(msg) from error
    return SkimSettings(table=table)


def is_finite(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which values are finite numbers as float32, which features are kept in."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(np.float32))


def _feature(values: Any, name: str, where: str) -> npt.NDArray[np.float64]:
    try:
        wide = np.asarray(values).astype(np.float64)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        msg = f"{where}: {name} cannot be read as one number an event: {reason}"
        raise InputError(msg) from error
    bad = ~is_finite(wide)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        msg = (
            f"{where}: {name} of event {first} is {wide.flat[first]}; {int(bad.sum())} of "
            f"{wide.size} values are not finite. Leave those events out, or give them a value"
        )
        raise InputError(msg)
    return wide


def sample_of(events: Mapping[str, Any], settings: SkimSettings) -> Sample:
    """Return the skim's columns as a `Sample`; without a `label` column the labels are -1.

    Parameters
    ----------
    events
        Columns by name (a dict of arrays, or NanoEvents of a skim).
    settings
        How the dijets and images were made.
    """
    event_id = ak.to_numpy(events["event_id"]).astype(np.uint64)
    there = set(events.fields if isinstance(events, ak.Array) else events)
    label = ak.to_numpy(events["label"]) if "label" in there else np.full(len(event_id), -1)
    return Sample(
        event_id=event_id,
        weight=ak.to_numpy(events["weight"]).astype(np.float64),
        label=label.astype(np.int8),
        columns={name: ak.to_numpy(events[name]) for name in flat_columns(settings)},
        lists={
            name: ak.without_parameters(ak.materialize(events[name]))
            for name in list_columns(settings)
        },
        settings=settings,
        numbers={
            name: ak.to_numpy(events[name]).astype(np.uint64) for name in NUMBERS if name in there
        },
    )
