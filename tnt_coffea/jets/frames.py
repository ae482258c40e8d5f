"""The frame of a jet: constituents about its axis, centred, turned and mirrored.

Images and leading constituents are made in this frame, and both are lists of different lengths,
which `JetLists` holds in flat arrays.

Source: arXiv:2002.12376, section 3.1; order of the steps as its authors ran them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ImageSettings
from tnt_coffea.jets.momenta import momentum_lists, polar
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = [
    "Framed",
    "JetLists",
    "LeadingConstituents",
    "NumberLists",
    "flat_lists",
    "framed",
    "leading_constituents",
    "list_bounds",
    "on_the_jet_axis",
]

ALL = slice(None)


@dataclass(frozen=True)
class JetLists:
    """One list of values a jet, in flat arrays of which jets are chosen without a copy.

    Attributes
    ----------
    starts, stops
        (jet,) where the values of a jet begin and end in the flat arrays, which may hold values
        of other jets as well.
    """

    starts: IntArray
    stops: IntArray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> IntArray:
        """(jet,) number of values of each jet."""
        counts: IntArray = self.stops - self.starts
        return counts

    def select(self, rows: npt.NDArray[Any] | slice) -> Self:
        """Return the jets of a mask, of row numbers or of a slice; their values are not copied."""
        return replace(self, starts=self.starts[rows], stops=self.stops[rows])

    def _places(self, rows: npt.NDArray[Any] | slice) -> tuple[IntArray, IntArray, IntArray]:
        # Counts of the chosen jets; and of each of their values, its jet and its place.
        starts = self.starts[rows]
        counts: IntArray = self.stops[rows] - starts
        jet = np.repeat(np.arange(len(counts)), counts)
        # The k-th value of a jet lies k places behind its first.
        first = starts - (np.cumsum(counts) - counts)
        return counts, jet, np.arange(len(jet)) + first[jet]


@dataclass(frozen=True)
class NumberLists(JetLists):
    """A list of particles, splittings or jets a jet (or event), each of a few numbers.

    Attributes
    ----------
    parts
        Names of the numbers, each a flat array, in the order of `dense`.
    """

    parts: ClassVar[tuple[str, ...]]

    @property
    def _numbers(self) -> tuple[Float32Array, ...]:
        return tuple(getattr(self, name) for name in self.parts)

    def dense(self, most: int, rows: npt.NDArray[Any] | slice = ALL) -> Float32Array:
        """Return (jet, `most`, number) float32, zero behind the last of a list.

        Parameters
        ----------
        most
            Length that every list gets; none may be longer.
        rows
            The jets wanted, all by default.
        """
        counts, jet, places = self._places(rows)
        within = places - self.starts[rows][jet]
        out = np.zeros((len(counts), most, len(self._numbers)), np.float32)
        for k, numbers in enumerate(self._numbers):
            out[jet, within, k] = numbers[places]
        return out


def list_bounds(counts: IntArray) -> tuple[IntArray, IntArray]:
    """Return starts and stops, (jet,), of lists that follow each other without a gap."""
    stops: IntArray = np.cumsum(counts)
    return stops - counts, stops


def flat_lists(*lists: ak.Array) -> tuple[npt.NDArray[Any], ...]:
    """Return starts, stops and the flat values of jagged arrays whose lists have the same lengths.

    Parameters
    ----------
    lists
        (jet, value); where they are views of larger arrays, or of files that are mapped into
        memory, no value is copied or read.
    """
    layouts = [_list_layout(jagged) for jagged in lists]
    bounds = (np.asarray(at) for at in (layouts[0].starts, layouts[0].stops))
    return (*bounds, *(np.asarray(layout.content.data) for layout in layouts))


def _list_layout(jagged: ak.Array) -> Any:
    layout = jagged.layout
    if isinstance(layout, ak.contents.ListOffsetArray | ak.contents.ListArray):
        return layout
    return ak.to_packed(jagged).layout.to_ListOffsetArray64(True)


@dataclass(frozen=True)
class Framed:
    """Constituents of jets, each jet's in its own frame.

    Attributes
    ----------
    counts
        (jet,) constituents of every jet.
    pt
        (particle,) GeV, jet after jet.
    x, y
        (particle,) pseudorapidity and phi in the frame.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> from tnt_coffea.config import ImageSettings
    >>> jets_in_frame = framed(jets, ImageSettings())
    >>> jets_in_frame.counts.tolist()
    [3, 1]
    >>> jets_in_frame.x[:3].round(2).tolist()
    [-0.02, 0.01, 0.07]
    """

    counts: IntArray
    pt: Float64Array
    x: Float64Array
    y: Float64Array


def framed(constituents: ak.Array, settings: ImageSettings) -> Framed:
    """Return the constituents of every jet in its frame.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    settings
        Which of the steps are taken: centre, rotate, flip.

    Source: arXiv:2002.12376, section 3.1.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> from tnt_coffea.config import ImageSettings
    >>> as_they_are = framed(jets, ImageSettings(centre=False, rotate=False, flip=False))
    >>> as_they_are.y[:3].round(2).tolist()
    [0.07, -0.23, 0.27]
    >>> centred_and_turned = framed(jets, ImageSettings(flip=False))
    >>> centred_and_turned.y[:3].round(2).tolist()
    [0.13, -0.37, 0.33]
    """
    counts, (pt, eta, phi) = polar(momentum_lists(constituents, "constituents"))
    jet = np.repeat(np.arange(len(counts)), counts)
    x, y = on_the_jet_axis(pt, eta, phi, jet, len(counts))
    x, y = _transformed(x, y, pt, eta, phi, jet, len(counts), settings)
    return Framed(counts, pt, x, y)


def on_the_jet_axis(
    pt: Float64Array, eta: Float64Array, phi: Float64Array, jet: IntArray, jets: int
) -> tuple[Float64Array, Float64Array]:
    """Return eta and phi of particles from the direction of their jet's momentum.

    Parameters
    ----------
    pt, eta, phi, jet
        (particle,) GeV, pseudorapidity, phi, and the number of the particle's jet.
    jets
        How many jets there are.
    """
    px, py, pz = (
        np.bincount(jet, component, minlength=jets)
        for component in (pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta))
    )
    jet_pt = np.hypot(px, py)
    axis_eta = np.arcsinh(np.divide(pz, jet_pt, out=np.zeros(jets), where=jet_pt > 0))
    axis_phi = np.arctan2(py, px)
    x = eta - axis_eta[jet]
    y = np.remainder(phi - axis_phi[jet] + np.pi, 2 * np.pi) - np.pi
    return x, y


def _transformed(
    x: Float64Array,
    y: Float64Array,
    pt: Float64Array,
    eta: Float64Array,
    phi: Float64Array,
    jet: IntArray,
    jets: int,
    settings: ImageSettings,
) -> tuple[Float64Array, Float64Array]:
    def mean(values: Float64Array) -> Float64Array:
        return np.bincount(jet, pt * values, minlength=jets) / total

    total = np.bincount(jet, pt, minlength=jets)
    total[total == 0] = 1.0
    cx, cy = mean(x), mean(y)
    if settings.centre:
        x, y, cx, cy = x - cx[jet], y - cy[jet], np.zeros(jets), np.zeros(jets)
    if settings.rotate:
        dx, dy = x - cx[jet], y - cy[jet]
        # The angle of the principal axis from the phi axis; turning by it
        # brings the axis to 12 o'clock.
        angle = 0.5 * np.arctan2(-2 * mean(dx * dy), mean(dy * dy) - mean(dx * dx))
        cos, sin = np.cos(angle)[jet], np.sin(angle)[jet]
        x, y = cos * x + sin * y, cos * y - sin * x
    if settings.flip:
        hardest = _hardest(pt, eta, phi, jet)
        x_sign, y_sign = np.ones(jets), np.ones(jets)
        x_sign[jet[hardest]] = np.where(x[hardest] > 0, -1.0, 1.0)
        y_sign[jet[hardest]] = np.where(y[hardest] < 0, -1.0, 1.0)
        x, y = x * x_sign[jet], y * y_sign[jet]
    return x, y


def _hardest(pt: Float64Array, eta: Float64Array, phi: Float64Array, jet: IntArray) -> IntArray:
    # One of each jet. Equal pT is broken by eta and phi, so the order of the particles
    # never matters; few are equal, and only those have to be sorted.
    first = np.flatnonzero(np.diff(jet, prepend=-1))
    rank = np.cumsum(np.diff(jet, prepend=-1) > 0) - 1
    top = np.flatnonzero(pt == np.maximum.reduceat(pt, first)[rank]) if len(jet) else first
    order = top[np.lexsort((phi[top], eta[top], jet[top]))]
    return order[np.diff(jet[order], prepend=-1) > 0]


@dataclass(frozen=True)
class LeadingConstituents(NumberLists):
    """Constituents of jets as lists in descending pT: 12 bytes each.

    Attributes
    ----------
    starts, stops
        (jet,) where the constituents of a jet begin and end.
    pt
        (particle,) share of the jet's pT, the scalar sum over all its constituents.
    eta, phi
        (particle,) from the jet's axis, in its frame.

    Examples
    --------
    >>> import numpy as np
    >>> pt, eta, phi = np.array([[0.7, 0.3, 1.0], [0, 0.1, 0], [0, 0, 0]], np.float32)
    >>> two_jets = LeadingConstituents(np.array([0, 2]), np.array([2, 3]), pt, eta, phi)
    >>> two_jets.counts.tolist()
    [2, 1]
    >>> two_jets.dense(3)[:, :, 0]  # the shares of pT
    array([[0.7, 0.3, 0. ],
           [1. , 0. , 0. ]], dtype=float32)
    >>> two_jets.select(np.array([1, 1])).counts.tolist()
    [1, 1]
    """

    parts: ClassVar = ("pt", "eta", "phi")

    pt: Float32Array
    eta: Float32Array
    phi: Float32Array


def leading_constituents(jets: Framed, most: int) -> LeadingConstituents:
    """Return up to `most` constituents of every jet, those of largest pT.

    Equal pT is broken by the place in the frame, so the order of the constituents never
    matters.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> from tnt_coffea.config import ImageSettings
    >>> leading = leading_constituents(framed(jets, ImageSettings()), most=2)
    >>> leading.counts.tolist()
    [2, 1]
    >>> leading.pt
    array([0.6, 0.3, 1. ], dtype=float32)
    """
    if most < 1:
        msg = f"at least 1 constituent of a jet is kept, got {most}"
        raise ValueError(msg)
    jet = np.repeat(np.arange(len(jets.counts)), jets.counts)
    order = np.lexsort((jets.y, jets.x, -jets.pt, jet))
    rank = np.arange(len(order)) - np.repeat(list_bounds(jets.counts)[0], jets.counts)
    kept = order[rank < most]
    total = np.bincount(jet, jets.pt, minlength=len(jets.counts))
    return LeadingConstituents(
        *list_bounds(np.minimum(jets.counts, most)),
        pt=(jets.pt[kept] / total[jet[kept]]).astype(np.float32),
        eta=jets.x[kept].astype(np.float32),
        phi=jets.y[kept].astype(np.float32),
    )
