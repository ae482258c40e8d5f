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
    n, event = candidates.counts.size, candidates.event
    pt, _, phi = candidates.momenta.astype(np.float64).T
    px, py = pt * np.cos(phi), pt * np.sin(phi)
    whole = np.bincount(event, px, n), np.bincount(event, py, n)
    most = np.zeros(n)
    for angle in np.pi / _DIRECTIONS * np.arange(_DIRECTIONS):
        along, across = np.cos(angle), np.sin(angle)
        # Both half-planes together, and how much more the fuller one has.
        both = np.bincount(event, np.abs(px * along + py * across), n)
        more = np.abs(whole[0] * along + whole[1] * across)
        most = np.maximum(most, (both + more) / 2)
    return most * (1 / math.cos(math.pi / _DIRECTIONS / 2))


def leading_jet_pt(candidates: Candidates) -> npt.NDArray[np.float64]:
    """Return the pT [GeV] of each event's leading anti-kt R = 1 jet, 0 where there is none.

    Source: arXiv:2101.08320, section 2.1.
    """
    import fastjet

    pt, eta, phi = candidates.momenta.astype(np.float64).T
    flat = ak.zip(
        {
            "px": pt * np.cos(phi),
            "py": pt * np.sin(phi),
            "pz": pt * np.sinh(eta),
            "E": pt * np.cosh(eta),
        }
    )
    # The binding refuses events without particles.
    filled = candidates.counts > 0
    leading = np.zeros(candidates.counts.size)
    if not filled.any():
        return leading
    events = ak.unflatten(flat, candidates.counts[filled])
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    with no_banner("fastjet"):
        jets = fastjet.ClusterSequence(events, definition).inclusive_jets()
    # Every event with a particle has a jet, so that none of the runs is empty.
    first = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(jets)))[:-1]])
    px, py = (ak.to_numpy(ak.flatten(jets[name])) for name in ("px", "py"))
    leading[filled] = np.maximum.reduceat(np.hypot(px, py), first)
    return leading
