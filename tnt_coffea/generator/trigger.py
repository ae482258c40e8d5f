"""The trigger of the Olympics: the leading anti-kt R = 1 jet of candidates."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.generator.detector import Candidates
from tnt_coffea.generator.silence import no_banner

__all__ = ["RADIUS", "largest_possible_pt", "leading_jet_pt", "triggered"]

RADIUS = 1.0

# Two in three of the background's events without a hard jet are found by this many
# directions; twice as many find a tenth more and cost twice as much.
_DIRECTIONS = 8


def triggered(candidates: Candidates, least: float) -> npt.NDArray[np.bool_]:
    """Return which events have an anti-kt R = 1 jet above a pT.

    Where no set of candidates is hard enough, none are clustered.

    Parameters
    ----------
    candidates
        Of a batch.
    least
        pT [GeV].
    """
    passed: npt.NDArray[np.bool_] = largest_possible_pt(candidates) > least * (1 - 1e-9)
    passed[passed] = leading_jet_pt(candidates.where(passed)) > least
    return passed


def largest_possible_pt(candidates: Candidates) -> npt.NDArray[np.float64]:
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
    pt, _, phi = candidates.momenta.astype(np.float64).T
    along = np.outer(np.cos(angle), pt * np.cos(phi))
    along += np.outer(np.sin(angle), pt * np.sin(phi))
    first = _first(candidates.counts[filled])
    # Both half-planes together, and how much more the fuller one has.
    more = np.abs(np.add.reduceat(along, first, axis=1))
    both = np.add.reduceat(np.abs(along, out=along), first, axis=1)
    most[filled] = ((both + more) / 2).max(axis=0) / math.cos(math.pi / _DIRECTIONS / 2)
    return most


def leading_jet_pt(candidates: Candidates) -> npt.NDArray[np.float64]:
    """Return the pT [GeV] of each event's leading anti-kt R = 1 jet, 0 where there is none.

    Source: arXiv:2101.08320, section 2.1.
    """
    import fastjet

    # The binding refuses events without particles.
    filled = candidates.counts > 0
    leading = np.zeros(candidates.counts.size)
    if not filled.any():
        return leading
    pt, eta, phi = candidates.momenta.astype(np.float64).T
    flat = ak.zip(
        {
            "px": pt * np.cos(phi),
            "py": pt * np.sin(phi),
            "pz": pt * np.sinh(eta),
            "E": pt * np.cosh(eta),
        }
    )
    events = ak.unflatten(flat, candidates.counts[filled])
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    with no_banner("fastjet"):
        jets = fastjet.ClusterSequence(events, definition).inclusive_jets()
    # Every event with a particle has a jet.
    px, py = (ak.to_numpy(ak.flatten(jets[name])) for name in ("px", "py"))
    leading[filled] = np.maximum.reduceat(np.hypot(px, py), _first(ak.to_numpy(ak.num(jets))))
    return leading


def _first(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # Where each run begins; none may be empty.
    return np.concatenate([[0], np.cumsum(counts)[:-1]])
