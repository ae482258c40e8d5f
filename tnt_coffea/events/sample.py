"""The skim in memory: columns, and images as lists, of dijets in the order of their ids.

Nothing computed from a `Sample` can depend on how the events were split into files and chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ImageSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events.particles import NUMBERS
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.jets.frames import LeadingConstituents, flat_lists
from tnt_coffea.jets.images import SparseImages

__all__ = ["EVENT_COLUMNS", "Sample", "flat_columns", "list_columns", "sample_of"]

EVENT_COLUMNS = ("event_id", "weight", "label")
"""What every skim holds of an event beside the columns of its settings."""
_CONSTITUENTS = ("constituents_pt", "constituents_eta", "constituents_phi")
_HASHED = 2**14
"""Events whose lists are hashed at once: where they lie on disk, no more are in memory."""


def flat_columns(settings: SkimSettings) -> tuple[str, ...]:
    """Return the names of a skim's columns with one number an event, in their order."""
    of_jets = (f"{jet}_{name}" for jet in JETS for name in settings.of_jet)
    return ("m_jj", *of_jets, *settings.of_event)


def list_columns(settings: SkimSettings) -> tuple[str, ...]:
    """Return the names of a skim's columns with one list an event: images, then constituents."""
    parts = (
        *(() if settings.images is None else ("image_index", "image_value")),
        *(() if settings.constituents is None else _CONSTITUENTS),
    )
    return tuple(f"{jet}_{part}" for jet in JETS for part in parts)


@dataclass(frozen=True)
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
        like: (event, particle) jagged. Empty without images and constituents.
    settings
        How the dijets and images were made.
    numbers
        (event,) uint64 by name, those of run, luminosityBlock and event that the sources have
        and that were asked for.
    """

    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    columns: Mapping[str, npt.NDArray[Any]]
    lists: Mapping[str, ak.Array]
    settings: SkimSettings
    numbers: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_id)

    @property
    def m_jj(self) -> npt.NDArray[np.float64]:
        """(event,) float64, GeV."""
        return self.columns["m_jj"]

    @property
    def image_settings(self) -> ImageSettings:
        """How the images were made.

        Raises
        ------
        InputError
            The skim was made without images.
        """
        if self.settings.images is None:
            msg = (
                "the skim holds no images (skim.images is null), and what was asked for needs "
                "them; set skim.images and make the skim again, from a source with constituents"
            )
            raise InputError(msg)
        return self.settings.images

    @property
    def constituents_kept(self) -> int:
        """How many leading constituents of either jet there are at most.

        Raises
        ------
        InputError
            The skim was made without constituents.
        """
        if self.settings.constituents is None:
            msg = (
                "the skim holds no constituents (skim.constituents is null), and what was asked "
                "for needs them; set skim.constituents, to 50 for example, and make the skim "
                "again, from a source with constituents"
            )
            raise InputError(msg)
        return self.settings.constituents

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

    def content_hash(self) -> str:
        """Return the SHA-256 of all that training may use, in the order of the ids.

        Labels and the experiment's numbers have no part in it.
        """
        order = np.argsort(self.event_id, kind="stable")
        state = hashlib.sha256(self.settings.digest().encode())
        arrays = [
            self.event_id,
            self.weight,
            *(self.columns[name] for name in flat_columns(self.settings)),
        ]
        for array in arrays:
            state.update(np.ascontiguousarray(array[order]).data)
        for name in list_columns(self.settings):
            jagged = self.lists[name][order]
            state.update(np.ascontiguousarray(ak.to_numpy(ak.num(jagged)), dtype=np.int64).data)
            for start in range(0, len(jagged), _HASHED):
                part = ak.to_numpy(ak.flatten(jagged[start : start + _HASHED]))
                state.update(np.ascontiguousarray(part).data)
        return state.hexdigest()


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
