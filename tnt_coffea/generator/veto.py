"""The hook that drops hopeless events before PYTHIA spends its time on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.generator.trigger import RADIUS

__all__ = ["VETO_STEP", "parton_veto"]

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

        def near(self, triggered: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
            """Return how many of a batch's triggered events lie in each step above the cut."""
            hardest, self.passing = np.array(self.passing), []
            # Where PYTHIA failed after the veto it is not known which events are left.
            if hardest.size != triggered.size:
                return np.zeros(2, dtype=np.int64)
            edges = parton_jet_pt * (1 + VETO_STEP * np.arange(3))
            return np.asarray(np.histogram(hardest[triggered], edges)[0], np.int64)

    return PartonVeto()
