"""Morphing: sideband events moved to the masses in the window that they stand for."""

from __future__ import annotations

from typing import Literal

from tnt_coffea.training.templates.interface import Sampler, SidebandEvents, Template

__all__ = ["Morphing"]


class Morphing(Template):
    """Sideband events with features moved along the quantiles of their distributions."""

    by: Literal["morphing"] = "morphing"

    def sampler(self, events: SidebandEvents, seed: int) -> Sampler:
        """Return what gives features for given masses of the window."""
        raise NotImplementedError
