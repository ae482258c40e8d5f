"""From histograms to p-values and limits: bump hunt, scan, ABCD, CLs."""

from __future__ import annotations

from tnt_coffea.stats.abcd_likelihood import abcd
from tnt_coffea.stats.abcd_regions import abcd_counts, abcd_in_window, closure, closure_scan
from tnt_coffea.stats.abcd_results import (
    AbcdCounts,
    AbcdRefusal,
    AbcdResult,
    Closure,
    ClosureScan,
    RegionClosure,
)
from tnt_coffea.stats.bumps import bump_hunt
from tnt_coffea.stats.correlations import spearman
from tnt_coffea.stats.hepdata import hepdata_limits, hepdata_spectrum, write_hepdata
from tnt_coffea.stats.histogram_files import read_histogram
from tnt_coffea.stats.impacts import nuisance_impacts
from tnt_coffea.stats.limits import limit_band, upper_limit
from tnt_coffea.stats.masked_window import masked_window_test
from tnt_coffea.stats.overlaps import SharedEvents
from tnt_coffea.stats.p_values import paper_significance
from tnt_coffea.stats.results import (
    BumpHuntResult,
    ChannelResult,
    GrossVitells,
    ImpactRefusal,
    LimitRefusal,
    LimitResult,
    NuisanceImpact,
    ScanPoint,
    ScanResult,
    WindowResult,
)
from tnt_coffea.stats.scans import scan
from tnt_coffea.stats.search_histogram import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.spectrum import SpectrumFit
from tnt_coffea.stats.workspaces import bump_workspace, mass_patchset

__all__ = [
    "AbcdCounts",
    "AbcdRefusal",
    "AbcdResult",
    "BumpHuntResult",
    "ChannelResult",
    "Closure",
    "ClosureScan",
    "GrossVitells",
    "ImpactRefusal",
    "LimitRefusal",
    "LimitResult",
    "NuisanceImpact",
    "RegionClosure",
    "ScanPoint",
    "ScanResult",
    "SharedEvents",
    "SpectrumFit",
    "WindowResult",
    "abcd",
    "abcd_counts",
    "abcd_in_window",
    "bump_hunt",
    "bump_workspace",
    "closure",
    "closure_scan",
    "hepdata_limits",
    "hepdata_spectrum",
    "inclusive_spectrum",
    "limit_band",
    "masked_window_test",
    "mass_patchset",
    "nuisance_impacts",
    "paper_significance",
    "read_histogram",
    "scan",
    "selected_spectrum",
    "spearman",
    "upper_limit",
    "write_hepdata",
]
