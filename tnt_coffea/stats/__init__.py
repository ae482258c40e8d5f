"""From histograms to p-values: bump hunt and ABCD."""

from __future__ import annotations

from tnt_coffea.stats.abcd_results import (
    AbcdCounts,
    AbcdRefusal,
    AbcdResult,
    Closure,
    RegionClosure,
)
from tnt_coffea.stats.bump_results import BumpHuntResult, ChannelResult
from tnt_coffea.stats.counting import abcd, paper_significance
from tnt_coffea.stats.plane import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.regions import abcd_counts, abcd_in_window, closure
from tnt_coffea.stats.resonance import bump_hunt

__all__ = [
    "AbcdCounts",
    "AbcdRefusal",
    "AbcdResult",
    "BumpHuntResult",
    "ChannelResult",
    "Closure",
    "RegionClosure",
    "abcd",
    "abcd_counts",
    "abcd_in_window",
    "bump_hunt",
    "closure",
    "inclusive_spectrum",
    "paper_significance",
    "selected_spectrum",
]
