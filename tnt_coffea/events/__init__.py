"""Sources of events behind one contract, event identity, conversion, and the skim."""

from __future__ import annotations

from tnt_coffea.config import JetsFrom, SourceSettings
from tnt_coffea.events.conversion import convert
from tnt_coffea.events.particles import Particles
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.sources import SOURCES, jets_of, particles_of, source_of
from tnt_coffea.events.stored_jets import StoredJets

__all__ = [
    "SOURCES",
    "JetsFrom",
    "Particles",
    "Sample",
    "SourceSettings",
    "StoredJets",
    "convert",
    "jets_of",
    "particles_of",
    "source_of",
]
