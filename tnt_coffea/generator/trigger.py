"""The trigger of the Olympics: the leading anti-kt R = 1 jet of candidates."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator

import awkward as ak
import numpy as np

from tnt_coffea.generator.detector import Candidates
from tnt_coffea.jets.clustering import fastjet_binding
from tnt_coffea.typing import BoolArray, Float64Array, IntArray

__all__ = ["RADIUS", "largest_possible_pt", "leading_jet_pt", "no_banner", "triggered"]

_greeted: set[str] = set()


@contextlib.contextmanager
def no_banner(library: str) -> Iterator[None]:
    """Swallow the banner that a C++ library prints at its first call in a process.

    Parameters
    ----------
    library
        Its name; from the second time on nothing is done.
    """
    if library in _greeted:
        yield
        return
    _greeted.add(library)
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - os.devnull is no path to a file
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


RADIUS = 1.0

# Two in three of the background's events without a hard jet are found by this many
# directions; twice as many find a tenth more and cost twice as much.
_DIRECTIONS = 8


def triggered(candidates: Candidates, least: float) -> BoolArray:
    """Return which events have an anti-kt R = 1 jet above a pT.

    Where no set of candidates is hard enough, none are clustered.

    Parameters
    ----------
    candidates
        Of a batch.
    least
        pT [GeV].
    """
    # Less by more than any rounding.
    nearly = least * (1 - 1e-9)
    passed: BoolArray = largest_possible_pt(candidates) > nearly
    passed[passed] = leading_jet_pt(candidates.where(passed), nearly) > least
    return passed


def largest_possible_pt(candidates: Candidates) -> Float64Array:
    """Return a pT [GeV] that no jet of an event can pass, whatever it is made of.

    Along its own direction a jet's pT is at most the sum of what all candidates have
    in the half-plane around it. Of evenly spaced directions one is at most half a step
    away from the jet's own.
    """
    most = np.zeros(candidates.counts.size)
    filled = candidates.counts > 0
    if not filled.any():
        return most
    angle = np.pi / _DIRECTIONS * np.arange(_DIRECTIONS)
    x, y = np.cos(angle), np.sin(angle)
    pt, _, phi = _columns(candidates)
    px, py = _transverse(pt, phi)
    first = _first(candidates.counts[filled])
    # Both half-planes together, and how much more the fuller one has.
    more = np.abs(np.outer(x, np.add.reduceat(px, first)) + np.outer(y, np.add.reduceat(py, first)))
    along = np.outer(x, px)
    along += np.outer(y, py)
    both = np.add.reduceat(np.abs(along, out=along), first, axis=1)
    most[filled] = ((both + more) / 2).max(axis=0) / math.cos(math.pi / _DIRECTIONS / 2)
    return most


def leading_jet_pt(candidates: Candidates, least: float = 0.0) -> Float64Array:
    """Return the pT [GeV] of each event's leading anti-kt R = 1 jet, 0 where there is none.

    Parameters
    ----------
    candidates
        Of a batch.
    least
        pT [GeV]; softer jets count as none.

    Source: arXiv:2101.08320, section 2.1.
    """
    fastjet = fastjet_binding()

    # The binding refuses events without particles.
    filled = np.flatnonzero(candidates.counts)
    leading = np.zeros(candidates.counts.size)
    if not filled.size:
        return leading
    pt, eta, phi = _columns(candidates)
    px, py = _transverse(pt, phi)
    # Put together by hand: ak.zip and ak.unflatten take as long as a tenth of the clustering.
    parts = px, py, pt * np.sinh(eta), pt * np.cosh(eta)
    flat = ak.contents.RecordArray(
        [ak.contents.NumpyArray(part) for part in parts], ["px", "py", "pz", "E"]
    )
    ends = ak.index.Index64(np.append(0, np.cumsum(candidates.counts[filled])))
    events = ak.Array(ak.contents.ListOffsetArray(ends, flat))
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    jets = fastjet.ClusterSequence(events, definition).inclusive_jets(least).layout
    px, py = (jets.content.content(name).data for name in ("px", "py"))
    n_jets = np.diff(jets.offsets.data)
    some = n_jets > 0
    if some.any():
        found = np.maximum.reduceat(np.hypot(px, py), _first(n_jets[some]))
        leading[filled[some]] = found
    return leading


def _columns(candidates: Candidates) -> Float64Array:
    # pT, eta and phi, each in one piece.
    return np.ascontiguousarray(candidates.momenta.T, dtype=np.float64)


def _transverse(pt: Float64Array, phi: Float64Array) -> tuple[Float64Array, Float64Array]:
    return pt * np.cos(phi), pt * np.sin(phi)


def _first(counts: IntArray) -> IntArray:
    # Where each run begins; none may be empty.
    return np.concatenate([[0], np.cumsum(counts)[:-1]])
