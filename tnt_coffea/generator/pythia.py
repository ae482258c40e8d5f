"""Accepted events from PYTHIA 8: parton-level veto, detector, trigger."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import DetectorSettings
from tnt_coffea.errors import GeneratorError, MissingExtraError
from tnt_coffea.generator.detector import Candidates, StableParticles, reconstruct

__all__ = ["MAX_SEED", "VETO_STEP", "Accepted", "Request", "accepted_events", "leading_jet_pt"]

# Random:seed of PYTHIA may not exceed this.
MAX_SEED = 900_000_000

# The showers are stopped here [GeV] for a first look: what they add below changes a
# jet's pT by little and takes half of PYTHIA's time (docs/data.md).
_EARLY_SCALE = 20.0

# Width of the two steps above the parton veto's threshold, relative to it.
VETO_STEP = 0.05

# A batch holds about 1 MB an event in PYTHIA's record: small ones keep memory low.
_BATCH = 100
_RADIUS = 1.0
_PACKAGE, _EXTRA = "pythia8mc", "generate"
_MILLIBARN_IN_PB = 1e9
# Give up when fewer events than this pass: the settings cannot make what is asked for.
_LEAST_EFFICIENCY = 1e-3
_FREE_TRIES = 2_000


@dataclass(frozen=True)
class Request:
    """What a run of PYTHIA has to make.

    Attributes
    ----------
    lines : PYTHIA settings, in the order in which they are read
    seed : 1 to 900 000 000
    events : accepted events wanted
    leading_pt : trigger, pT of the leading R = 1 jet of candidates [GeV]
    parton_jet_pt : pT that a jet of partons needs before hadronisation [GeV]
    detector : variation of the detector
    early_jet_pt : the same in the middle of the showers [GeV]; 0: no look there, as for
        resonances, which decay later
    """

    lines: tuple[str, ...]
    seed: int
    events: int
    leading_pt: float
    parton_jet_pt: float
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    early_jet_pt: float = 0.0


@dataclass(frozen=True, eq=False)
class Accepted:
    """Events that passed the trigger, and how many it took.

    Attributes
    ----------
    candidates : of exactly the events wanted
    n_tried : events at parton level
    n_vetoed : of these, without a hard enough jet of partons
    n_failed_trigger : of the rest, without a hard enough jet of candidates
    n_passed : of the rest, those with one; a few more than are kept
    n_near_veto, n_next_to_veto : of these, with a parton jet in the first and second
        step of `VETO_STEP` above the veto's threshold; see `olympics.veto_loss`
    cross_section_pb : of events that pass the trigger
    cross_section_error_pb : its statistical uncertainty
    pythia : version of PYTHIA
    """

    candidates: Candidates
    n_tried: int
    n_vetoed: int
    n_failed_trigger: int
    n_passed: int
    n_near_veto: int
    n_next_to_veto: int
    cross_section_pb: float
    cross_section_error_pb: float
    pythia: str


def accepted_events(request: Request) -> Accepted:
    """Return events that pass the trigger, from one seeded run of PYTHIA.

    Raises
    ------
    MissingExtraError
        PYTHIA is not installed.
    GeneratorError
        PYTHIA refuses a setting, or next to no event passes the trigger.
    """
    pythia, veto = _started(request)
    rng = seeds.generator(request.seed, "detector")
    kept: list[Candidates] = []
    n_made = n_passed = 0
    near = np.zeros(2, dtype=np.int64)
    while n_passed < request.events:
        batch = pythia.nextBatch(_batch_size(request.events, n_passed, n_made), errorMode="skip")
        particles, n = _final_state(batch, pythia)
        del batch
        candidates = reconstruct(particles, n, rng, request.detector)
        triggered = leading_jet_pt(candidates) > request.leading_pt
        near += veto.near(triggered)
        kept.append(candidates.where(triggered))
        n_made += n
        n_passed += int(triggered.sum())
        if n_passed < _LEAST_EFFICIENCY * (veto.n_tried - _FREE_TRIES) or n == 0:
            raise _hopeless(request, veto.n_tried, n_passed)
    info = pythia.infoPython()
    share = n_passed / n_made
    # PYTHIA's own estimate already knows about the veto, not about the trigger.
    section = info.sigmaGen() * share * _MILLIBARN_IN_PB
    relative = np.hypot(info.sigmaErr() / info.sigmaGen(), np.sqrt((1 - share) / n_passed))
    return Accepted(
        candidates=_first(kept, request.events),
        n_tried=veto.n_vetoed + n_made,
        n_vetoed=veto.n_vetoed,
        n_failed_trigger=n_made - n_passed,
        n_passed=n_passed,
        n_near_veto=int(near[0]),
        n_next_to_veto=int(near[1]),
        cross_section_pb=float(section),
        cross_section_error_pb=float(section * relative),
        pythia=_version(pythia),
    )


def leading_jet_pt(candidates: Candidates) -> np.ndarray[Any, np.dtype[np.float64]]:
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
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, _RADIUS)
    with _no_banner("fastjet"):
        jets = fastjet.ClusterSequence(events, definition).inclusive_jets()
    leading[filled] = ak.to_numpy(ak.max(np.hypot(jets.px, jets.py), axis=1))
    return leading


def _imported() -> Any:
    try:
        import pythia8mc
    except ImportError as error:
        raise MissingExtraError(_PACKAGE, _EXTRA) from error
    return pythia8mc


def _version(pythia: Any) -> str:
    return f"{pythia.parm('Pythia:versionNumber'):.3f}"


def _started(request: Request) -> tuple[Any, Any]:
    pythia8mc = _imported()
    pythia = pythia8mc.Pythia("", False)
    seed = ("Random:setSeed = on", f"Random:seed = {request.seed}")
    for line in (*request.lines, *seed):
        if not pythia.readString(line):
            msg = f"PYTHIA {_version(pythia)} does not know the setting {line!r}"
            raise GeneratorError(msg)
    veto = _parton_veto(pythia8mc, request)
    pythia.setUserHooksPtr(veto)
    if not pythia.init():
        msg = f"PYTHIA could not start with the settings: {'; '.join(request.lines)}"
        raise GeneratorError(msg)
    with _no_banner("pythia8mc"):
        veto.jets.analyze(pythia.event)
    # PYTHIA keeps no reference to a hook that is written in Python.
    return pythia, veto


def _parton_veto(pythia8mc: Any, request: Request) -> Any:
    class PartonVeto(pythia8mc.UserHooks):  # type: ignore[misc]
        """Drops events before hadronisation whose partons make no hard jet."""

        def __init__(self) -> None:
            pythia8mc.UserHooks.__init__(self)
            # Anti-kt, R, least pT, |eta| up to 5, all visible partons.
            self.jets = pythia8mc.SlowJet(-1, _RADIUS, request.parton_jet_pt, 5.0, 2)
            self.early = pythia8mc.SlowJet(-1, _RADIUS, request.early_jet_pt or 1.0, 5.0, 2)
            self.n_vetoed = 0
            self.n_let_pass = 0
            self.passing: list[float] = []
            self.most_tried = _FREE_TRIES + request.events / _LEAST_EFFICIENCY

        def canVetoPartonLevel(self) -> bool:
            return True

        def doVetoPartonLevel(self, event: Any) -> bool:
            vetoed = self._vetoed(self.jets, event)
            if not vetoed:
                self.n_let_pass += 1
                self.passing.append(self.jets.pT(0) if self.jets.sizeJet() else 0.0)
            return vetoed

        def canVetoPT(self) -> bool:
            return request.early_jet_pt > 0

        def scaleVetoPT(self) -> float:
            return _EARLY_SCALE

        def doVetoPT(self, _: int, event: Any) -> bool:
            return self._vetoed(self.early, event)

        def _vetoed(self, jets: Any, event: Any) -> bool:
            jets.analyze(event)
            # Without an end PYTHIA would look for a passing event for ever.
            vetoed = jets.sizeJet() == 0 and self.n_tried < self.most_tried
            self.n_vetoed += vetoed
            return bool(vetoed)

        @property
        def n_tried(self) -> int:
            return self.n_vetoed + self.n_let_pass

        def near(self, triggered: Any) -> Any:
            """Return how many of a batch's triggered events lie in each step above the cut."""
            hardest, self.passing = np.array(self.passing), []
            # Where PYTHIA failed after the veto it is not known which events are left.
            if hardest.size != triggered.size:
                return np.zeros(2, dtype=np.int64)
            edges = request.parton_jet_pt * (1 + VETO_STEP * np.arange(3))
            return np.histogram(hardest[triggered], edges)[0]

    return PartonVeto()


def _batch_size(wanted: int, n_passed: int, n_made: int) -> int:
    # From counts alone, so that the same seed always sees the same batches.
    missing = wanted - n_passed
    share = n_passed / n_made if n_passed else 0.5
    return int(np.clip(np.ceil(1.1 * missing / share), 4, _BATCH))


def _final_state(batch: Any, pythia: Any) -> tuple[StableParticles, int]:
    particle = batch.prt[batch.prt.status > 0]
    counts = ak.to_numpy(ak.num(particle))
    flat = ak.flatten(particle)
    px, py, pz, energy = (
        np.asarray(ak.to_numpy(flat.p[name]), dtype=np.float64) for name in ("px", "py", "pz", "e")
    )
    pdg_id = ak.to_numpy(flat.id).astype(np.int64)
    codes, index = np.unique(pdg_id, return_inverse=True)
    charges = np.array([pythia.particleData.charge(int(code)) for code in codes])
    pt = np.hypot(px, py)
    return StableParticles(
        event=np.repeat(np.arange(len(batch)), counts),
        pdg_id=pdg_id,
        charge=charges[index] if codes.size else np.zeros(0),
        pt=pt,
        eta=np.arcsinh(pz / np.maximum(pt, 1e-12)),
        phi=np.arctan2(py, px),
        energy=energy,
    ), len(batch)


def _first(parts: list[Candidates], events: int) -> Candidates:
    counts = np.concatenate([part.counts for part in parts])[:events]
    momenta = np.concatenate([part.momenta for part in parts])[: counts.sum()]
    return Candidates(counts, momenta)


def _hopeless(request: Request, n_tried: int, n_passed: int) -> GeneratorError:
    return GeneratorError(
        f"PYTHIA: {n_passed} of {n_tried} events have a jet above {request.leading_pt:g} GeV, "
        f"expected at least {_LEAST_EFFICIENCY:.1%}; lower leading_pt or raise the masses. "
        f"Settings: {'; '.join(request.lines)}"
    )


_greeted: set[str] = set()


@contextlib.contextmanager
def _no_banner(library: str) -> Iterator[None]:
    """Swallow the banner that a C++ library prints at its first call in a process."""
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
