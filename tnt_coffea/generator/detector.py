"""A CMS-like detector in one vectorised pass: stable particles in, candidates out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tnt_coffea.config import DetectorSettings
from tnt_coffea.generator import tracker
from tnt_coffea.generator.calorimeter import ECAL, HCAL, Deposits, energy_flow
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["ETA_MAX", "MAX_CANDIDATES", "Candidates", "StableParticles", "hardest", "reconstruct"]


ETA_MAX = 5.0
# LHC Olympics data, arXiv:2101.08320, section 2.1: rows hold 700 particles.
MAX_CANDIDATES = 700

# Of a float32.
_MANTISSA = 23

_NEUTRINOS = (12, 14, 16)
_MUON = 13
# Card, EnergyFraction: these leave all their energy in the ECAL ...
_ELECTROMAGNETIC = (11, 22)
# ... and these, K0s and Lambda, three tenths of it; everything else goes to the HCAL.
_SHARED = (310, 3122)
_SHARED_ECAL = 0.3


@dataclass(frozen=True, eq=False)
class StableParticles:
    """The generator's final particles of a batch of events.

    Attributes
    ----------
    event
        (particle,) number of the event in the batch
    pdg_id
        (particle,) PDG codes
    charge
        (particle,) in units of the positron's
    pt, eta, phi, energy
        (particle,) momenta at the origin, GeV
    """

    event: IntArray
    pdg_id: IntArray
    charge: Float64Array
    pt: Float64Array
    eta: Float64Array
    phi: Float64Array
    energy: Float64Array

    def where(self, chosen: BoolArray) -> StableParticles:
        """Return the chosen particles."""
        return self.at(np.flatnonzero(chosen))

    def at(self, index: IntArray) -> StableParticles:
        """Return the particles at some places."""
        return StableParticles(*(getattr(self, field.name).take(index) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Massless particle-flow-like candidates, ordered by event.

    Attributes
    ----------
    counts
        (event,) candidates of each event
    momenta
        (candidate, 3) float32, pT [GeV], eta, phi
    """

    counts: IntArray
    momenta: Float32Array

    @property
    def event(self) -> IntArray:
        """The event's number, for each candidate."""
        return np.repeat(np.arange(self.counts.size), self.counts)

    def where(self, events: BoolArray) -> Candidates:
        """Return the candidates of the chosen events."""
        chosen = np.flatnonzero(np.repeat(events, self.counts))
        return Candidates(self.counts[events], self.momenta.take(chosen, axis=0))

    def cut(self, mantissa_bits: int) -> Candidates:
        """Return them with so many of the 23 mantissa bits of each number, the rest zero.

        Towards zero, so that nothing leaves the acceptance; a number loses less than
        2^-bits of itself. Noise in the last bits is what a file cannot compress.
        """
        if mantissa_bits >= _MANTISSA:
            return self
        kept = np.uint32(0xFFFFFFFF) << np.uint32(_MANTISSA - mantissa_bits)
        bits = np.ascontiguousarray(self.momenta).view(np.uint32) & kept
        return Candidates(self.counts, bits.view(np.float32))


def reconstruct(
    particles: StableParticles,
    n_events: int,
    rng: np.random.Generator,
    variation: DetectorSettings | None = None,
) -> Candidates:
    """Return the candidates that a CMS-like detector makes of generated particles.

    Charged particles become tracks with the tracker's efficiency and
    resolution. All others, and those that it missed, appear as excess of
    calorimeter towers over the tracks that point there: photons from the
    ECAL, neutral hadrons from the HCAL.

    Parameters
    ----------
    particles
        A batch of events.
    n_events
        How many events the batch holds; one may have no particle.
    rng
        Source of the random numbers; the result depends on nothing else.
    variation
        Factors on the card's formulae; all 1 if None.

    Source: arXiv:1307.6346 (Delphes) and its CMS card.
    """
    variation = variation or DetectorSettings()
    visible = ~_one_of(np.abs(particles.pdg_id), _NEUTRINOS) & (particles.pt > 0)
    particles = particles.where(visible)
    code = np.abs(particles.pdg_id)
    eta, phi = tracker.where_particles_end(
        particles.pt, particles.eta, particles.phi, particles.charge
    )
    # A number for each particle, of which those of the charged ones count.
    lot = rng.random(code.size)
    charged = np.flatnonzero(particles.charge != 0)
    kind = tracker.species(code.take(charged))
    charged_eta = eta.take(charged)
    efficiency = tracker.tracking_efficiency(kind, particles.pt.take(charged), charged_eta)
    efficiency *= np.array([variation.track_efficiency, 1.0, 1.0]).take(kind)
    seen = np.flatnonzero(lot.take(charged) < efficiency)
    found, kind = charged.take(seen), kind.take(seen)
    track = particles.at(found)
    resolution = tracker.momentum_resolution(kind, track.pt, charged_eta.take(seen))
    resolution *= np.array([variation.track_resolution, 1.0, 1.0]).take(kind)
    resolution = np.minimum(resolution, 1.0)
    track_pt = tracker.log_normal(track.pt, resolution * track.pt, rng)
    track_energy = _energy(track, track_pt)

    share = _ecal_share(code)
    scale = np.ones(track_pt.size)
    neutral = []
    hcal = HCAL.worsened(variation.hcal_resolution)
    for calorimeter, fraction in ((ECAL, share), (hcal, np.where(code == _MUON, 0.0, 1 - share))):
        at, used = np.flatnonzero(fraction > 0), np.flatnonzero(fraction.take(found) > 0)
        here = calorimeter.towers(eta.take(at), phi.take(at))
        tower = np.empty(code.size, np.int64)
        tower[at] = here
        truth = Deposits(
            particles.event.take(at),
            here,
            particles.energy.take(at) * fraction.take(at),
            np.zeros(at.size),
        )
        energy = track_energy.take(used)
        announced = Deposits(
            track.event.take(used),
            tower.take(found.take(used)),
            energy,
            resolution.take(used) * energy,
        )
        flow = energy_flow(calorimeter, truth, announced, rng)
        scale[used] = flow.track_scale
        neutral.append((flow.event, flow.pt, flow.eta, flow.phi))
    tracks = (track.event, track_pt * scale, track.eta, track.phi)
    # The Olympics' order: tracks, neutral hadrons, photons.
    return hardest(_packed([tracks, *reversed(neutral)], n_events), MAX_CANDIDATES)


def hardest(candidates: Candidates, most: int) -> Candidates:
    """Return at most so many candidates an event, the hardest ones, in their old order."""
    if not np.any(candidates.counts > most):
        return candidates
    event = candidates.event
    order = np.lexsort((-candidates.momenta[:, 0], event))
    first = np.concatenate([[0], np.cumsum(candidates.counts)[:-1]])
    rank = np.empty(event.size, dtype=np.int64)
    rank[order] = np.arange(event.size) - first[event]
    return Candidates(np.minimum(candidates.counts, most), candidates.momenta[rank < most])


def _ecal_share(code: IntArray) -> Float64Array:
    share = np.zeros(code.size)
    share[_one_of(code, _ELECTROMAGNETIC)] = 1.0
    share[_one_of(code, _SHARED)] = _SHARED_ECAL
    return share


def _one_of(code: IntArray, few: tuple[int, ...]) -> BoolArray:
    # Of a few codes: a tenth of the time of np.isin.
    found = np.zeros(code.size, np.bool_)
    for one in few:
        found |= code == one
    return found


def _energy(track: StableParticles, pt: Float64Array) -> Float64Array:
    # The mass of the true particle is kept, as Delphes does.
    grown = np.cosh(track.eta)
    true, measured = (np.square(value * grown) for value in (track.pt, pt))
    squared: Float64Array = np.maximum(np.square(track.energy) - true, 0.0) + measured
    return np.asarray(np.sqrt(squared))


def _packed(parts: list[tuple[Any, ...]], n_events: int) -> Candidates:
    event = np.concatenate([part[0] for part in parts])
    momenta = np.empty((event.size, 3), np.float32)
    for column in range(3):
        momenta[:, column] = np.concatenate([part[1 + column] for part in parts])
    # Rounding to float32 must not carry a candidate onto the edge of the acceptance.
    edge = np.nextafter(np.float32(ETA_MAX), np.float32(0))
    np.clip(momenta[:, 1], -edge, edge, out=momenta[:, 1])
    order = np.argsort(event, kind="stable")
    order = order[momenta[:, 0].take(order) > 0]
    event = event.take(order)
    return Candidates(np.bincount(event, minlength=n_events), momenta.take(order, axis=0))
