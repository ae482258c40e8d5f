"""A jet's constituents clustered again, as substructure needs it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.config import JetAlgorithm
from tnt_coffea.jets.clustering import fastjet_binding
from tnt_coffea.typing import Float64Array, IntArray

__all__ = [
    "Splittings",
    "exclusive_jets",
    "momenta",
    "primary_splittings",
    "reclustered",
]

JETS_PER_CALL = 2000
"""Every cluster sequence of a call stays alive: this bounds the memory."""
WHOLE_JET = 1000.0
"""FastJet's largest radius: everything ends up in one jet."""


def reclustered(
    p4: Float64Array,
    offsets: IntArray,
    algorithm: JetAlgorithm,
    *,
    radius: float = WHOLE_JET,
    winner_takes_all: bool = False,
) -> Iterator[tuple[slice, Any]]:
    """Yield the cluster sequences of FastJet's binding, with the jets that each is of.

    Parameters
    ----------
    p4, offsets
        The constituents, of `momenta.cartesian`; no jet may be empty.
    algorithm
        kt or Cambridge/Aachen: their last steps are the jet's hardest or widest splittings.
    radius
        Of the clustering; by default everything ends up in one jet.
    winner_takes_all
        Recombine into the direction of the harder one instead of adding four-momenta.
    """
    fastjet = fastjet_binding()
    definition = fastjet.JetDefinition(
        getattr(fastjet, f"{algorithm.value}_algorithm"),
        radius,
        fastjet.WTA_pt_scheme if winner_takes_all else fastjet.E_scheme,
    )
    for first in range(0, len(offsets) - 1, JETS_PER_CALL):
        block = slice(first, min(first + JETS_PER_CALL, len(offsets) - 1))
        starts = offsets[block.start : block.stop + 1]
        record = ak.contents.RecordArray(
            [ak.contents.NumpyArray(row[starts[0] : starts[-1]]) for row in p4],
            ["px", "py", "pz", "E"],
            parameters={"__record__": "Momentum4D"},
        )
        layout = ak.contents.ListOffsetArray(ak.index.Index64(starts - starts[0]), record)
        yield block, fastjet.ClusterSequence(ak.Array(layout), definition)


def exclusive_jets(sequence: Any, n: int) -> tuple[Float64Array, IntArray]:
    """Return the pieces of every jet when its clustering is stopped at n of them.

    Returns
    -------
    p4, offsets
        (4, piece) px, py, pz, E [GeV], fewer than n where a jet has fewer constituents, and
        where each jet's begin, (jet + 1,).
    """
    # The binding warns about every exclusive clustering, those by kt and Cambridge/Aachen
    # included, for which it is meant, and leaves its own formatter of warnings behind.
    formatter = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pieces = sequence.exclusive_jets_up_to(n_jets=n).layout
    warnings.formatwarning = formatter
    return momenta(pieces.content), np.asarray(pieces.offsets)


@dataclass(frozen=True)
class Splittings:
    """The primary Lund plane: the splittings along the harder branch, the widest first.

    Attributes
    ----------
    offsets
        (jet + 1,) where each jet's splittings begin.
    angle
        (splitting,) Delta R of the two branches.
    softer_pt
        (splitting,) pT of the softer branch [GeV]; 0 where the angle is.
    """

    offsets: IntArray
    angle: Float64Array
    softer_pt: Float64Array


def primary_splittings(sequence: Any) -> Splittings:
    """Return the splittings of every jet of a Cambridge/Aachen sequence.

    Source: arXiv:1807.04758, section 2.
    """
    layout = sequence.exclusive_jets_lund_declusterings(1).layout.content
    angle, kt = (np.asarray(layout.content[name].data) for name in ("Delta", "kt"))
    softer_pt = np.divide(kt, angle, out=np.zeros_like(kt), where=angle > 0)
    return Splittings(np.asarray(layout.offsets, dtype=np.int64), angle, softer_pt)


def momenta(record: Any) -> Float64Array:
    """Return (4, row) of a record layout with the fields px, py, pz, E, as the binding gives it."""
    return np.stack([np.asarray(field.data) for field in record.contents])
