"""Which events the selections of several tagger sets share."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers.ensemble import Ranks, TaggerSet
from tnt_coffea.typing import BoolArray, Float64Array, IntArray
from tnt_coffea.working_points import Selection, index_of

if TYPE_CHECKING:
    from tnt_coffea.stats.overlaps import SharedEvents

__all__ = ["Coincidences", "SetSelections"]

Int32Array = npt.NDArray[np.int32]

# Rows that may wait to be merged: with every sum the work would grow with their square.
_WAITING = 10_000


@dataclass(frozen=True)
class SetSelections:
    """The selections of one tagger set.

    Attributes
    ----------
    name
        The tagger set.
    window
        Range in mass that its taggers were trained for [GeV]; None where for all.
    folds
        Folds that it scores.
    selections
        Shares of events with both jets above X, falling, and names of cuts for each jet.

    Examples
    --------
    >>> own = SetSelections("tnt", (3300.0, 3700.0), (0, 1), (0.3, 0.1, 0.03))
    >>> own.name, own.folds
    ('tnt', (0, 1))
    """

    name: str
    window: tuple[float, float] | None
    folds: tuple[int, ...]
    selections: tuple[Selection, ...]


@dataclass(frozen=True, eq=False)
class Coincidences:
    """Events by what all selections of a search make of them, in bins of mass.

    The sum of two, `a + b`, is that of their events.

    Attributes
    ----------
    sets
        The tagger sets.
    edges
        Edges of the bins in mass [GeV].
    rows
        Bin, then by set the event's fold and which of the set's selections it passes, bit i for
        the i-th; shape (rows, 1 + 2 sets). Events that pass none are left out.
    events
        Sum of weights, shape (rows,).
    merged
        How many rows there were when each was last made unique.

    Examples
    --------
    >>> import hist
    >>> from tnt_coffea import taggers, testing
    >>> sample, sets = testing.make_sample(20, pixels=40), [taggers.load_set("rnd-3500/tnt")]
    >>> axis = hist.axis.Regular(300, 2000, 8000)
    >>> ranks = [tagger_set.ranks(sample) for tagger_set in sets]
    >>> shared = Coincidences.of_events(sets, ranks, sample.m_jj, sample.weight, axis)
    >>> shared.sets[0].name, bool((shared + shared).events.sum() == 2 * shared.events.sum())
    ('tnt', True)
    """

    sets: tuple[SetSelections, ...]
    edges: Float64Array
    rows: Int32Array
    events: Float64Array
    merged: int = 0

    @classmethod
    def of_events(
        cls,
        tagger_sets: Sequence[TaggerSet],
        ranks: Sequence[Ranks],
        mass: Float64Array,
        weight: Float64Array,
        axis: Any,
    ) -> Coincidences:
        """Return the coincidences of a sample.

        Parameters
        ----------
        tagger_sets
            With quantile maps.
        ranks
            Of the sample, by tagger set.
        mass, weight
            Of every event, mass in GeV.
        axis
            The histograms' axis in mass.
        """
        place = np.asarray(axis.index(mass))
        columns = [place]
        for tagger_set, own in zip(tagger_sets, ranks, strict=True):
            columns += [own.fold, _passed(tagger_set, own)]
        rows = np.stack(columns, axis=1).astype(np.int32)
        kept = (place >= 0) & (place < len(axis)) & (rows[:, 2::2] > 0).any(axis=1)
        sets = tuple(_selections(tagger_set) for tagger_set in tagger_sets)
        edges, events = np.asarray(axis.edges, float), np.asarray(weight, float)
        return cls(sets, edges, rows[kept], events[kept]).merge()

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Coincidences):
            return NotImplemented
        ours, theirs = self.merge(), other.merge()
        return ours.sets == theirs.sets and all(
            np.array_equal(getattr(ours, name), getattr(theirs, name))
            for name in ("edges", "rows", "events")
        )

    def __add__(self, other: Coincidences) -> Coincidences:
        """Return the coincidences of both samples."""
        if self.sets != other.sets or not np.array_equal(self.edges, other.edges):
            msg = "coincidences of other selections or other bins in mass cannot be added"
            raise TaggerError(msg)
        total = Coincidences(
            self.sets,
            self.edges,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.events, other.events]),
            max(self.merged, other.merged),
        )
        return total.merge() if len(total.rows) > 2 * total.merged + _WAITING else total

    def merge(self) -> Coincidences:
        """Return the same with every row once, in order."""
        rows, which = np.unique(self.rows, axis=0, return_inverse=True)
        events = np.bincount(which.ravel(), weights=self.events, minlength=len(rows))
        return Coincidences(self.sets, self.edges, rows, events.astype(float), len(rows))

    def selections(self, names: Sequence[str]) -> tuple[SetSelections, ...]:
        """Return the selections of tagger sets by name.

        Raises
        ------
        TaggerError
            There is no such set.
        """
        by_name = {own.name: own for own in self.sets}
        missing = [name for name in names if name not in by_name]
        if missing:
            msg = f"no tagger set {missing[0]!r} in the search; it has {sorted(by_name)}"
            raise TaggerError(msg)
        return tuple(by_name[name] for name in names)

    def passes(self, name: str, selection: Selection, fold: int) -> BoolArray:
        """Return which rows a selection takes in one fold, shape (rows,).

        Raises
        ------
        TaggerError, ConfigError
            The search has no such tagger set, or no such selection.
        """
        (own,) = self.selections([name])
        column, bit = 1 + 2 * self.sets.index(own), index_of(selection, own.selections)
        passed = (self.rows[:, column + 1] >> bit) & 1 == 1
        return np.asarray((self.rows[:, column] == fold) & passed)

    def shared_events(
        self,
        selections: Mapping[str, tuple[str, Selection]],
        edges: Float64Array,
        before: Mapping[str, tuple[str, Float64Array]] | None = None,
    ) -> SharedEvents:
        """Return the events that spectra share, for the toys of a scan.

        Parameters
        ----------
        selections
            Tagger set and its selection by the name in the scan. Folds are its
            channels, as `stats.selected_spectrum` gives them.
        edges
            Edges of the bins of the fit [GeV], each an edge of the stored bins.
        before
            Spectra of all events that a tagger set scores, by the name in the scan: the set, and
            the events in the stored bins, shape (bins,).

        Raises
        ------
        TaggerError, ConfigError
            The search has no such tagger set, or no such selection.
        """
        from tnt_coffea.stats.overlaps import SharedEvents

        passes = {}
        for name, (set_name, selection) in selections.items():
            (own,) = self.selections([set_name])
            for fold in own.folds:
                spectrum = name if len(own.folds) == 1 else f"{name}/fold-{fold}"
                passes[spectrum] = self.passes(set_name, selection, fold)
        bins = len(self.edges) - 1
        place: IntArray = self.rows[:, 0].astype(np.int64)
        events = self.events
        for name, (set_name, counts) in (before or {}).items():
            (own,) = self.selections([set_name])
            scored = np.isin(self.rows[:, 1 + 2 * self.sets.index(own)], own.folds)
            # The rows leave out events that pass nothing: one more a bin stands for them.
            rest = counts - np.bincount(self.rows[scored, 0], self.events[scored], bins)
            place, events = np.append(place, np.arange(bins)), np.append(events, rest)
            passes = {of: _longer(passed, len(place)) for of, passed in passes.items()}
            passes[name] = np.append(_longer(scored, len(place) - bins), np.ones(bins, bool))
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        return SharedEvents.of_events(edges, centres[place], passes, events)

    def to_bytes(self) -> bytes:
        """Return an HDF5 image; the same events give the same bytes."""
        import h5py

        merged, image = self.merge(), io.BytesIO()
        with h5py.File(image, "w") as file:
            file.attrs["sets"] = json.dumps([asdict(own) for own in merged.sets])
            for name in ("edges", "rows", "events"):
                file.create_dataset(
                    name, data=getattr(merged, name), compression="gzip", shuffle=True
                )
        return image.getvalue()

    @classmethod
    def from_bytes(cls, image: bytes) -> Coincidences:
        """Return the inverse of `to_bytes`."""
        import h5py

        with h5py.File(io.BytesIO(image), "r") as file:
            sets = tuple(_listed(values) for values in json.loads(file.attrs["sets"]))
            rows = file["rows"][:]
            return cls(sets, file["edges"][:], rows, file["events"][:], len(rows))


def _longer(passed: BoolArray, rows: int) -> BoolArray:
    return np.pad(passed, (0, rows - len(passed)))


def _selections(tagger_set: TaggerSet) -> SetSelections:
    if tagger_set.quantiles is None:
        msg = f"tagger set '{tagger_set.name}' has no quantile map; `tnt-coffea train` makes it"
        raise TaggerError(msg)
    window = tagger_set.window
    return SetSelections(
        tagger_set.name,
        None if window is None else window.edges,
        tagger_set.scored_folds,
        tagger_set.quantiles.points.selections,
    )


def _passed(tagger_set: TaggerSet, ranks: Ranks) -> IntArray:
    """Return which selections every event passes, bit i for the i-th."""
    passed = np.zeros(len(ranks.fold), dtype=np.int64)
    if tagger_set.quantiles is None:
        return passed
    for bit, point in enumerate(tagger_set.quantiles.points):
        passed |= point.passes(ranks.fold, ranks.heavy, ranks.light).astype(np.int64) << bit
    return passed


def _listed(values: Mapping[str, Any]) -> SetSelections:
    window = values["window"]
    return SetSelections(
        str(values["name"]),
        None if window is None else (float(window[0]), float(window[1])),
        tuple(int(fold) for fold in values["folds"]),
        tuple(values["selections"]),
    )
