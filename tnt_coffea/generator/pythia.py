"""Accepted events from PYTHIA 8: a quick start, the veto on partons, detector and trigger.

A block of signal takes half a second, so a start has to be short: PYTHIA's own files are read once
in a process, and integrals for particles that no process here makes are left out. None of this
changes an event by a bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import DetectorSettings
from tnt_coffea.errors import GeneratorError, MissingExtraError
from tnt_coffea.generator.detector import Candidates, StableParticles, reconstruct
from tnt_coffea.generator.trigger import RADIUS, no_banner, triggered
from tnt_coffea.typing import BoolArray, Float64Array, IntArray

__all__ = [
    "MAX_SEED",
    "VETO_STEP",
    "Accepted",
    "Request",
    "accepted_events",
    "parton_veto",
    "pythia_module",
    "started",
    "version_of",
]

_PACKAGE, _EXTRA = "pythia8mc", "generate"
_PROTON = 2212
_HIGGS = 25
# The lines that choose the parton densities.
_DENSITIES = ("Tune:pp", "PDF:")


def pythia_module() -> Any:
    """Return the module `pythia8mc`.

    Raises
    ------
    MissingExtraError
        PYTHIA is not installed.
    """
    try:
        import pythia8mc
    except ImportError as error:
        raise MissingExtraError(_PACKAGE, _EXTRA) from error
    return pythia8mc


def version_of(pythia: Any) -> str:
    """Return the version of a PYTHIA, as '8.317'."""
    return f"{pythia.parm('Pythia:versionNumber'):.3f}"


def started(lines: Sequence[str], seed: int, hook: Any) -> Any:
    """Return a PYTHIA that is ready to make events.

    Parameters
    ----------
    lines
        Settings, in the order in which they are read.
    seed
        1 to 900 000 000.
    hook
        From `veto.parton_veto`; the caller keeps it, PYTHIA holds no reference to it.

    Raises
    ------
    GeneratorError
        PYTHIA refuses a setting.
    """
    pythia8mc = pythia_module()
    pythia = _fresh_pythia()
    _read(pythia, (*lines, "Random:setSeed = on", f"Random:seed = {seed}"))
    densities = _densities(tuple(line for line in lines if line.startswith(_DENSITIES)))
    if None not in densities:
        pythia.setPDFPtr(*densities)
    # PYTHIA integrates the Higgs boson's width below the WW and ZZ thresholds at each
    # start, half of a start's time; no process here makes one.
    pythia.setResonancePtr(pythia8mc.ResonanceGeneric(_HIGGS))
    pythia.setUserHooksPtr(hook)
    if not pythia.init():
        msg = f"PYTHIA could not start with the settings: {'; '.join(lines)}"
        raise GeneratorError(msg)
    with no_banner("pythia8mc"):
        hook.jets.analyze(pythia.event)
    return pythia


@lru_cache(maxsize=1)
def _prototype() -> Any:
    return pythia_module().Pythia("", False)


def _fresh_pythia() -> Any:
    # A copy of settings and particles; reading them from PYTHIA's files takes 0.08 s.
    prototype = _prototype()
    return pythia_module().Pythia(prototype.settings, prototype.particleData, False)


@lru_cache(maxsize=4)
def _densities(lines: tuple[str, ...]) -> tuple[Any, Any]:
    # Functions of x and Q2 on a grid, which takes 0.03 s to read; one for each beam.
    pythia = _fresh_pythia()
    _read(pythia, ("Print:quiet = on", *lines))
    return pythia.getPDFPtr(_PROTON), pythia.getPDFPtr(_PROTON)


def _read(pythia: Any, lines: Sequence[str]) -> None:
    for line in lines:
        if not pythia.readString(line):
            msg = f"PYTHIA {version_of(pythia)} does not know the setting {line!r}"
            raise GeneratorError(msg)


# The showers are stopped here [GeV] for a first look: what they add below changes a
# jet's pT by little and takes half of PYTHIA's time (docs/data.md).
_EARLY_SCALE = 20.0

# Width of the two steps above the parton veto's threshold, relative to it.
VETO_STEP = 0.05


def parton_veto(
    pythia8mc: Any, parton_jet_pt: float, early_jet_pt: float, most_tried: float
) -> Any:
    """Return a hook for PYTHIA.

    Parameters
    ----------
    pythia8mc
        The module.
    parton_jet_pt
        pT that a jet of partons needs before hadronisation [GeV].
    early_jet_pt
        The same in the middle of the showers [GeV]; 0: no look there.
    most_tried
        After so many events nothing is dropped any more: without an end PYTHIA
        would look for a passing event for ever.
    """

    class PartonVeto(pythia8mc.UserHooks):  # type: ignore[misc]
        """Drops events before hadronisation whose partons make no hard jet."""

        def __init__(self) -> None:
            pythia8mc.UserHooks.__init__(self)
            # Anti-kt, R, least pT, |eta| up to 5, all visible partons.
            self.jets = pythia8mc.SlowJet(-1, RADIUS, parton_jet_pt, 5.0, 2)
            self.early = pythia8mc.SlowJet(-1, RADIUS, early_jet_pt or 1.0, 5.0, 2)
            self.n_vetoed = 0
            self.n_let_pass = 0
            self.passing: list[float] = []

        def canVetoPartonLevel(self) -> bool:
            return True

        def doVetoPartonLevel(self, event: Any) -> bool:
            vetoed = self._vetoed(self.jets, event)
            if not vetoed:
                self.n_let_pass += 1
                self.passing.append(self.jets.pT(0) if self.jets.sizeJet() else 0.0)
            return vetoed

        def canVetoPT(self) -> bool:
            return early_jet_pt > 0

        def scaleVetoPT(self) -> float:
            return _EARLY_SCALE

        def doVetoPT(self, _: int, event: Any) -> bool:
            return self._vetoed(self.early, event)

        def _vetoed(self, jets: Any, event: Any) -> bool:
            jets.analyze(event)
            vetoed = jets.sizeJet() == 0 and self.n_tried < most_tried
            self.n_vetoed += vetoed
            return bool(vetoed)

        @property
        def n_tried(self) -> int:
            return self.n_vetoed + self.n_let_pass

        def near(self, triggered: BoolArray) -> IntArray:
            """Return how many of a batch's triggered events lie in each step above the cut."""
            hardest, self.passing = np.array(self.passing), []
            # Where PYTHIA failed after the veto it is not known which events are left.
            if hardest.size != triggered.size:
                return np.zeros(2, dtype=np.int64)
            edges = parton_jet_pt * (1 + VETO_STEP * np.arange(3))
            return np.asarray(np.histogram(hardest[triggered], edges)[0], np.int64)

    return PartonVeto()


# Random:seed of PYTHIA may not exceed this.
MAX_SEED = 900_000_000

# A batch holds about 1 MB an event in PYTHIA's record: small ones keep memory low.
_BATCH = 100
_MILLIBARN_IN_PB = 1e9
# Give up when fewer events than this pass: the settings cannot make what is asked for.
_LEAST_EFFICIENCY = 1e-3
_FREE_TRIES = 2_000

# PYTHIA looks at every entry of an event once more when it is done, for a tenth of its
# time on signal; `final_state` does so for a whole batch.
_UNCHECKED = ("Check:event = off",)
_CONSERVED = 1e-4

# Codes up to here are looked up in a table.
_NEAR = 6000


@dataclass(frozen=True)
class Request:
    """The events that a run of PYTHIA has to make.

    Attributes
    ----------
    lines
        PYTHIA settings, in the order in which they are read
    seed
        1 to 900 000 000
    events
        accepted events wanted
    leading_pt
        trigger, pT of the leading R = 1 jet of candidates [GeV]
    parton_jet_pt
        pT that a jet of partons needs before hadronisation [GeV]
    detector
        variation of the detector
    early_jet_pt
        the same in the middle of the showers [GeV]; 0: no look there, as for
        resonances, which decay later
    mantissa_bits
        kept of the 23 of every pT, eta and phi
    """

    lines: tuple[str, ...]
    seed: int
    events: int
    leading_pt: float
    parton_jet_pt: float
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    early_jet_pt: float = 0.0
    mantissa_bits: int = 23


@dataclass(frozen=True, eq=False)
class Accepted:
    """Events that passed the trigger, and how many it took.

    Attributes
    ----------
    candidates
        of exactly the events wanted
    n_tried
        events at parton level
    n_vetoed
        of these, without a hard enough jet of partons
    n_failed_trigger
        of the rest, without a hard enough jet of candidates
    n_passed
        of the rest, those with one; a few more than are kept
    n_near_veto, n_next_to_veto
        of these, with a parton jet in the first and second
        step of `VETO_STEP` above the veto's threshold; see `olympics.veto_loss`
    cross_section_pb
        of events that pass the trigger
    cross_section_error_pb
        its statistical uncertainty
    pythia
        version of PYTHIA
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
    veto = parton_veto(
        pythia_module(),
        request.parton_jet_pt,
        request.early_jet_pt,
        _FREE_TRIES + request.events / _LEAST_EFFICIENCY,
    )
    pythia = started((*request.lines, *_UNCHECKED), request.seed, veto)
    charges, energy = Charges.known_to(pythia), pythia.infoPython().eCM()
    rng = seeds.generator(request.seed, "detector")
    kept: list[Candidates] = []
    n_made = n_passed = 0
    near = np.zeros(2, dtype=np.int64)
    while n_passed < request.events:
        batch = pythia.nextBatch(_batch_size(request.events, n_passed, n_made), errorMode="skip")
        particles, conserved = final_state(batch, charges, energy)
        del batch
        n = conserved.size
        candidates = reconstruct(particles, n, rng, request.detector).cut(request.mantissa_bits)
        passed = conserved & triggered(candidates, request.leading_pt)
        near += veto.near(passed)
        kept.append(candidates.where(passed))
        n_made += n
        n_passed += int(passed.sum())
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
        pythia=version_of(pythia),
    )


def _batch_size(wanted: int, n_passed: int, n_made: int) -> int:
    # From counts alone, so that the same seed always sees the same batches.
    missing = wanted - n_passed
    share = n_passed / n_made if n_passed else 0.5
    return int(np.clip(np.ceil(1.1 * missing / share), 4, _BATCH))


@dataclass(frozen=True, eq=False)
class Charges:
    """Electric charges by PDG code, antiparticles included.

    Attributes
    ----------
    codes
        (code,) ascending
    charges
        (code,) in units of the positron's
    """

    codes: IntArray
    charges: Float64Array

    @classmethod
    def known_to(cls, pythia: Any) -> Charges:
        """Return the charges of all particles in PYTHIA's table."""
        table, code = pythia.particleData, 1
        known = {}
        while code:
            known[code] = table.charge(code)
            known[-code] = -known[code]
            code = table.nextId(code)
        codes = np.array(sorted(known), np.int64)
        return cls(codes, np.array([known[code] for code in codes.tolist()]))

    def of(self, pdg_id: IntArray) -> Float64Array:
        """Return (particle,) charges."""
        # Most particles have one of few codes: look those up, and search for the rest.
        place = pdg_id + _NEAR
        rest = np.flatnonzero((place < 0) | (place > 2 * _NEAR))
        place[rest] = 0
        found: Float64Array = self._dense.take(place)
        if rest.size:
            found[rest] = self.charges[np.searchsorted(self.codes, pdg_id[rest])]
        return found

    @cached_property
    def _dense(self) -> Float64Array:
        dense = np.zeros(2 * _NEAR + 1)
        near = np.abs(self.codes) <= _NEAR
        dense[self.codes[near] + _NEAR] = self.charges[near]
        return dense


def final_state(batch: Any, charges: Charges, energy: float) -> tuple[StableParticles, BoolArray]:
    """Return the final particles of a batch of PYTHIA's, and which events conserve momentum.

    Parameters
    ----------
    batch
        From `nextBatch`.
    charges
        Of the same PYTHIA.
    energy
        Of the collision, in its rest frame [GeV].

    Source: PYTHIA's own check of an event, within `Check:epTolErr` of the energy.
    """
    counts = ak.to_numpy(ak.num(batch.prt))
    entries = ak.flatten(batch.prt).layout
    final = np.flatnonzero(entries.content("status").data > 0)
    ends = np.searchsorted(final, np.cumsum(counts))
    event = np.repeat(np.arange(counts.size), np.diff(ends, prepend=0))
    momentum = entries.content("p")
    px, py, pz, e = (
        momentum.content(name).data.take(final).astype(np.float64, copy=False)
        for name in ("px", "py", "pz", "e")
    )
    pdg_id = entries.content("id").data.take(final).astype(np.int64)
    pt = np.hypot(px, py)
    conserved = np.ones(len(counts), np.bool_)
    for part, expected in ((px, 0.0), (py, 0.0), (pz, 0.0), (e, energy)):
        total = np.bincount(event, part, len(counts))
        # Written so that what is no number fails.
        conserved &= np.abs(total - expected) < _CONSERVED * energy
    return StableParticles(
        event=event,
        pdg_id=pdg_id,
        charge=charges.of(pdg_id),
        pt=pt,
        eta=np.arcsinh(pz / np.maximum(pt, 1e-12)),
        phi=np.arctan2(py, px),
        energy=e,
    ), conserved


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
