"""From histograms to p-values and limits: bump hunt, scan, ABCD, CLs."""

from __future__ import annotations

from tnt_coffea.stats.abcd_results import (
    AbcdCounts,
    AbcdRefusal,
    AbcdResult,
    Closure,
    RegionClosure,
)
from tnt_coffea.stats.abcd_spectrum import (
    AbcdSpectrumResult,
    abcd_by_mass,
    abcd_regions_by_mass,
)
from tnt_coffea.stats.bump_hunter import BumpHunterResult, bump_hunter_check
from tnt_coffea.stats.bump_impacts import nuisance_impacts
from tnt_coffea.stats.bump_results import BumpHuntResult, ChannelResult
from tnt_coffea.stats.closure_scan import ClosureScan, closure_scan
from tnt_coffea.stats.combination import FoldCombination, fold_combination
from tnt_coffea.stats.counting import abcd, paper_significance
from tnt_coffea.stats.counting_limits import counting_limit, retrained_limit
from tnt_coffea.stats.hepdata import hepdata_limits, hepdata_spectrum, write_hepdata
from tnt_coffea.stats.histogram_files import read_histogram, write_histogram
from tnt_coffea.stats.limit_results import LimitResult, RetrainedLimit
from tnt_coffea.stats.limits import upper_limit
from tnt_coffea.stats.masked_window import WindowResult, masked_window_test
from tnt_coffea.stats.overlaps import SharedEvents
from tnt_coffea.stats.plane import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.regions import abcd_counts, abcd_in_window, closure
from tnt_coffea.stats.resonance import bump_hunt
from tnt_coffea.stats.scan_results import GrossVitells, ScanPoint, ScanResult
from tnt_coffea.stats.scanning import scan
from tnt_coffea.stats.workspaces import bump_workspace, mass_patchset

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
    "LimitResult",
    "RegionClosure",
    "RetrainedLimit",
    "ScanPoint",
    "ScanResult",
    "SharedEvents",
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
