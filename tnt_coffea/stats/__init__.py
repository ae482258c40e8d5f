"""From histograms to p-values and limits: bump hunt, scan, ABCD, CLs."""

from __future__ import annotations

from tnt_coffea.stats.bumps.bump_hunter import BumpHunterResult, bump_hunter_check
from tnt_coffea.stats.bumps.combination import FoldCombination, fold_combination
from tnt_coffea.stats.bumps.impacts import ImpactRefusal, NuisanceImpact, nuisance_impacts
from tnt_coffea.stats.bumps.masked_window import WindowResult, masked_window_test
from tnt_coffea.stats.bumps.resonance import bump_hunt
from tnt_coffea.stats.bumps.results import BumpHuntResult, ChannelResult
from tnt_coffea.stats.exchange.hepdata import hepdata_limits, hepdata_spectrum, write_hepdata
from tnt_coffea.stats.exchange.histogram_files import read_histogram, write_histogram
from tnt_coffea.stats.exchange.workspaces import bump_workspace, mass_patchset
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit
from tnt_coffea.stats.limits.counting import counting_limit, retrained_limit
from tnt_coffea.stats.limits.results import LimitRefusal, LimitResult, RetrainedLimit
from tnt_coffea.stats.limits.upper import limit_band, upper_limit
from tnt_coffea.stats.plane import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.regions.closure_scan import ClosureScan, closure_scan
from tnt_coffea.stats.regions.counting import abcd, paper_significance
from tnt_coffea.stats.regions.results import (
    AbcdCounts,
    AbcdRefusal,
    AbcdResult,
    Closure,
    RegionClosure,
)
from tnt_coffea.stats.regions.selection import abcd_counts, abcd_in_window, closure
from tnt_coffea.stats.regions.spectrum import (
    AbcdSpectrumResult,
    abcd_by_mass,
    abcd_regions_by_mass,
)
from tnt_coffea.stats.scans.overlaps import SharedEvents
from tnt_coffea.stats.scans.results import GrossVitells, ScanPoint, ScanResult
from tnt_coffea.stats.scans.scanning import scan

__all__ = [
    "AbcdCounts",
    "AbcdRefusal",
    "AbcdResult",
    "AbcdSpectrumResult",
    "BumpHuntResult",
    "BumpHunterResult",
    "ChannelResult",
    "Closure",
    "ClosureScan",
    "FoldCombination",
    "GrossVitells",
    "ImpactRefusal",
    "LimitRefusal",
    "LimitResult",
    "NuisanceImpact",
    "RegionClosure",
    "RetrainedLimit",
    "ScanPoint",
    "ScanResult",
    "SharedEvents",
    "SpectrumFit",
    "WindowResult",
    "abcd",
    "abcd_by_mass",
    "abcd_counts",
    "abcd_in_window",
    "abcd_regions_by_mass",
    "bump_hunt",
    "bump_hunter_check",
    "bump_workspace",
    "closure",
    "closure_scan",
    "counting_limit",
    "fold_combination",
    "hepdata_limits",
    "hepdata_spectrum",
    "inclusive_spectrum",
    "limit_band",
    "masked_window_test",
    "mass_patchset",
    "nuisance_impacts",
    "paper_significance",
    "read_histogram",
    "retrained_limit",
    "scan",
    "selected_spectrum",
    "upper_limit",
    "write_hepdata",
    "write_histogram",
]
