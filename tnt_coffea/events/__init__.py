"""Sources of events behind one contract, event identity, and the skim."""

from __future__ import annotations

from tnt_coffea.events.particles import Particles
from tnt_coffea.events.skim import Sample
from tnt_coffea.events.sources import SOURCES, particles_of, source_of

__all__ = ["SOURCES", "Particles", "Sample", "particles_of", "source_of"]
