"""Sequential clustering of particles, through FastJet's awkward binding."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import JetSettings
from tnt_coffea.jets.kinematics import transverse_momentum
from tnt_coffea.jets.momenta import CARTESIAN, cartesian, momentum_lists
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["Clusters", "cluster", "fastjet_binding", "find_clusters", "leading_rows"]

EVENTS_PER_CALL = 1000
"""Every cluster sequence of a call stays alive (about 90 kB an event): this bounds the memory."""


@dataclass(frozen=True)
class Clusters:
    """Jets as flat arrays: awkward arrays are made of them once, when the choice is made.

    Attributes
    ----------
    particles
        (event, particle) that was clustered, packed.
    per_event
        (event,) jets of every event; they follow each other in descending pT.
    p4
        (4, jet) px, py, pz, E [GeV].
    sizes
        (jet,) constituents of every jet.
    members
        (constituent,) rows in the flattened particles.
    mass_factor
        (jet,) by which masses were varied, those of soft drop too; None where they were not.
    """

    particles: ak.Array
    per_event: IntArray
    p4: Float64Array
    sizes: IntArray
    members: IntArray
    mass_factor: Float64Array | None = None

    def members_of(self, chosen: IntArray) -> IntArray:
        """Return (constituent,) rows in the flattened particles, of jets in the order chosen."""
        return self.members[_ranges(_offsets(self.sizes)[chosen], self.sizes[chosen])]

    def jets(self, chosen: IntArray | None = None, per_event: IntArray | None = None) -> ak.Array:
        """Return (event, jet) `Momentum4D` with the field `constituents`.

        Parameters
        ----------
        chosen
            (jet,) rows of the jets wanted, in the order wanted; all by default.
        per_event
            (event,) how many of them each event has.
        """
        if chosen is None or per_event is None:
            chosen, per_event, members = np.arange(len(self.sizes)), self.per_event, self.members
        else:
            members = self.members_of(chosen)
        particle = self.particles.layout.content
        constituents = ak.contents.ListOffsetArray(
            ak.index.Index64(_offsets(self.sizes[chosen])),
            ak.contents.RecordArray(
                [_picked(field, members) for field in particle.contents],
                particle.fields,
                parameters={"__record__": "Momentum4D"},
            ),
        )
        factor = () if self.mass_factor is None else (self.mass_factor[chosen],)
        record = ak.contents.RecordArray(
            [
                *map(ak.contents.NumpyArray, self.p4[:, chosen]),
                constituents,
                *map(ak.contents.NumpyArray, factor),
            ],
            [*CARTESIAN, "constituents", *("mass_factor" for _ in factor)],
            parameters={"__record__": "Momentum4D"},
        )
        return ak.Array(
            ak.contents.ListOffsetArray(ak.index.Index64(_offsets(per_event)), record),
            behavior=self.particles.behavior,
        )


@functools.cache
def fastjet_binding() -> Any:
    """Return the module `fastjet`, without the banner that it prints to the standard output.

    It takes 0.3 s to import: kernels without clustering do not pay for it.
    """
    import fastjet

    # Of the C++ class below, which all its wrappers share.
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    return fastjet


def cluster(particles: ak.Array, settings: JetSettings, leading: int = 2) -> ak.Array:
    """Return the jets of every event with the largest pT, in descending order, with constituents.

    Parameters
    ----------
    particles
        (event, particle) four-momenta, GeV, of any layout: see `tnt_coffea.jets`.
    settings
        Algorithm, radius, lowest jet pT and largest abs(eta).
    leading
        Most jets kept in an event.

    Returns
    -------
    ak.Array
        (event, jet) `Momentum4D` (px, py, pz, E in GeV) with the field `constituents`:
        (event, jet, particle) `Momentum4D` with the fields of the particles.

    Raises
    ------
    InputError
        The particles are no lists of finite four-momenta.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> particles = vector.zip({  # one event of four particles
    ...     "pt": ak.Array([[900.0, 300.0, 1150.0, 2.0]]),
    ...     "eta": ak.Array([[0.1, 0.5, 0.2, 0.1]]),
    ...     "phi": ak.Array([[0.0, 0.2, -3.1, 0.3]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0, 0.0]]),
    ... })
    >>> from tnt_coffea.config import JetSettings
    >>> jets = cluster(particles, JetSettings(radius=1.0, pt_min=20.0))
    >>> ak.num(jets.constituents, axis=2).tolist()
    [[3, 1]]
    >>> jets.pt.to_numpy().round(1).tolist()
    [[1197.4, 1150.0]]
    """
    return find_clusters(particles, settings, leading).jets()


def find_clusters(particles: ak.Array, settings: JetSettings, leading: int) -> Clusters:
    """Return the jets of every event as flat arrays; parameters as `cluster`."""
    if leading < 1:
        msg = f"at least 1 jet of an event is kept, got {leading}"
        raise ValueError(msg)
    packed = momentum_lists(particles)
    # Cartesian once for all calls: the binding computes them from the whole of what a
    # sliced array is cut from, call after call.
    p4, starts = cartesian(packed)
    parts = [
        _leading(p4, starts[first : first + EVENTS_PER_CALL + 1], settings, leading)
        for first in range(0, max(len(packed), 1), EVENTS_PER_CALL)
    ]
    per_event, of_jets, sizes, members = zip(*parts, strict=True)
    return Clusters(
        packed,
        np.concatenate(per_event),
        np.concatenate(of_jets, axis=1),
        np.concatenate(sizes),
        np.concatenate(members),
    )


def _leading(
    cartesian: Float64Array, starts: IntArray, settings: JetSettings, leading: int
) -> tuple[IntArray, Float64Array, IntArray, IntArray]:
    jets, indices = _clustered(cartesian[:, starts[0] : starts[-1]], starts - starts[0], settings)
    p4 = np.stack([_column(field) for field in jets.content.contents])
    # The binding does not sort by pT, and has cut on it.
    chosen, per_event = leading_rows(p4, np.diff(np.asarray(jets.offsets)), settings, leading)
    member_offsets = np.asarray(indices.content.offsets)
    sizes = np.diff(member_offsets)[chosen]
    members = _column(indices.content.content)[_ranges(member_offsets[chosen], sizes)]
    return (
        per_event,
        p4[:, chosen],
        sizes,
        members + np.repeat(np.repeat(starts[:-1], per_event), sizes),
    )


def leading_rows(
    p4: Float64Array, per_event: IntArray, settings: JetSettings, leading: int, pt_min: float = 0.0
) -> tuple[IntArray, IntArray]:
    """Return (jet,) rows of the jets of largest pT, in descending order, and (event,) how many.

    Parameters
    ----------
    p4
        (4, jet) px, py, pz, E [GeV], in any order within an event.
    per_event
        (event,) jets of every event.
    settings
        Largest abs(eta).
    leading
        Most jets kept in an event.
    pt_min
        Lowest pT kept [GeV].

    Examples
    --------
    >>> p4 = np.array([[30.0, 50.0, 40.0], [0.0] * 3, [0.0] * 3, [30.0, 50.0, 40.0]])
    >>> rows, kept = leading_rows(p4, np.array([3, 0]), JetSettings(), 2)
    >>> rows.tolist(), kept.tolist()
    ([1, 2], [2, 0])
    """
    pt = transverse_momentum(p4)
    event = np.repeat(np.arange(len(per_event)), per_event)
    kept = pt >= pt_min
    if settings.eta_max is not None:
        kept &= np.abs(p4[2]) <= np.sinh(settings.eta_max) * pt
    # A stable order among equals keeps the result independent of how events are split into chunks.
    order = np.lexsort((-pt, event))
    order = order[kept[order]]
    left = np.bincount(event[order], minlength=len(per_event))
    rank = np.arange(len(order)) - np.repeat(_offsets(left)[:-1], left)
    return order[rank < leading], np.minimum(left, leading)


def _clustered(cartesian: Float64Array, offsets: IntArray, settings: JetSettings) -> Any:
    fastjet = fastjet_binding()
    definition = fastjet.JetDefinition(_algorithm(fastjet, settings), settings.radius)
    particles = ak.contents.ListOffsetArray(
        ak.index.Index64(offsets),
        ak.contents.RecordArray(
            [*map(ak.contents.NumpyArray, cartesian)],
            list(CARTESIAN),
            parameters={"__record__": "Momentum4D"},
        ),
    )
    sequence = fastjet.ClusterSequence(ak.Array(particles), definition)
    return (
        sequence.inclusive_jets(min_pt=settings.pt_min).layout,
        sequence.constituent_index(min_pt=settings.pt_min).layout,
    )


def _picked(field: Any, rows: IntArray) -> Any:
    if field.is_numpy:
        return ak.contents.NumpyArray(_column(field)[rows])
    return ak.to_packed(field[rows], highlevel=False)


def _offsets(counts: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    # start, start + 1, ... for every start, one after the other.
    before = _offsets(lengths)[:-1]
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _column(field: Any) -> npt.NDArray[Any]:
    return np.asarray(field.data)


def _algorithm(fastjet: Any, settings: JetSettings) -> Any:
    return getattr(fastjet, f"{settings.algorithm.value}_algorithm")
