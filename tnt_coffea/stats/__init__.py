"""From histograms to p-values and limits: bump hunt, scan, ABCD, CLs.

Which one when:

===========================================================  =====================================
question                                                     function
===========================================================  =====================================
Is there a resonance of this mass, on a smooth background?   `bump_hunt`
Is there one anywhere, or in any of several selections?      `scan`, with a global p-value
Which mass does the resonance have?                          `resonance_mass`
Is there an excess of any shape in this window?              `masked_window_test`
Do more events pass with both jets than by chance?           `abcd_in_window`; `abcd` for counts
Are the scores of the two jets independent?                  `closure`, `closure_scan`, `spearman`
Do more events pass than weighted simulation predicts?       `direct_in_window`; `direct_estimate`
Do more events pass than a template of the data predicts?    `template_in_window`
Do more events pass than those that fail let one expect?     `transfer_in_search`; `transfer_factor`
How much signal is excluded?                                 `upper_limit`, `limit_band`;
                                                             `abcd_limit` in the plane
How much of a signal that trains the taggers is excluded?    `strength_test`, `retrained_limit`
What would be seen, without looking in the window?           `expectation`, `expected_significance`
Does the fit bias a signal on another background?            `bias_study`
Which signals agree with the data, on both sides?            `feldman_cousins_interval`
What does each uncertainty do to the signal?                 `nuisance_impacts`
What does a bump hunt lose by its bins?                      `unbinned_check`
What does the paper's equation 4.1 give?                     `paper_significance`
What do a count and one beside it say?                       `li_ma_significance`
What will a count of so many events show?                    `asimov_significance`
Which signals does a count allow or exclude?                 `feldman_cousins`, `counting_limit`
What does the search for the best mass cost?                 `gross_vitells_p_value`
===========================================================  =====================================

Spectra come from `selected_spectrum`, `inclusive_spectrum` and `read_histogram`, toys from
`toy_spectrum` and `toy_search`; `SpectrumFit` says how a spectrum is fitted, once for all tests.
Results go to others by `bump_workspace`, `mass_patchset`, `write_combine`, `hs3_document` and
`write_hepdata`.

Examples
--------
>>> from tnt_coffea import stats
>>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
>>> result = stats.bump_hunt(stats.toy_spectrum(5000, 100), mass=3500, width=120, fit=fit)
>>> result.converged
True
"""

from __future__ import annotations

from tnt_coffea.stats.abcd_likelihood import abcd
from tnt_coffea.stats.abcd_limits import abcd_limit
from tnt_coffea.stats.abcd_regions import abcd_counts, abcd_in_window, closure, closure_scan
from tnt_coffea.stats.abcd_results import (
    AbcdCounts,
    AbcdLimit,
    AbcdRefusal,
    AbcdResult,
    Closure,
    ClosureScan,
    RegionClosure,
)
from tnt_coffea.stats.abcd_workspace import abcd_workspace
from tnt_coffea.stats.bias_study import BiasPoint, BiasStudy, BiasTruth, bias_study
from tnt_coffea.stats.bumps import bump_hunt
from tnt_coffea.stats.combine import write_combine
from tnt_coffea.stats.correlations import spearman
from tnt_coffea.stats.direct import (
    direct_estimate,
    direct_in_window,
    direct_workspace,
    template_in_window,
)
from tnt_coffea.stats.direct_results import (
    DirectEstimate,
    DirectLimit,
    DirectRefusal,
    DirectSpectrum,
    ValidationWindow,
    WeightedSimulation,
)
from tnt_coffea.stats.exchange import (
    hepdata_limits,
    hepdata_spectrum,
    read_histogram,
    write_hepdata,
)
from tnt_coffea.stats.expected import (
    Expectation,
    ExpectationScan,
    ExpectedLimit,
    ExpectedSignal,
    SidebandFit,
    expectation,
    expectation_scan,
    expected_significance,
)
from tnt_coffea.stats.global_p_value import CountedTests, GlobalPValue, global_p_value
from tnt_coffea.stats.hs3 import hs3_document
from tnt_coffea.stats.impact_results import ImpactRefusal, NuisanceImpact, NuisanceImpacts
from tnt_coffea.stats.impacts import nuisance_impacts
from tnt_coffea.stats.intervals import feldman_cousins_interval
from tnt_coffea.stats.limit_results import IntervalResult, LimitRefusal, LimitResult
from tnt_coffea.stats.limits import limit_band, upper_limit
from tnt_coffea.stats.masked_window import masked_window_test
from tnt_coffea.stats.mass_templates import MassTemplates
from tnt_coffea.stats.overlaps import SharedEvents
from tnt_coffea.stats.p_values import (
    asimov_significance,
    counting_limit,
    feldman_cousins,
    gross_vitells_p_value,
    li_ma_significance,
    paper_significance,
)
from tnt_coffea.stats.resonance_mass import MassEstimate, resonance_mass
from tnt_coffea.stats.results import BumpHuntResult, ChannelResult, FitRefusal
from tnt_coffea.stats.retrained import (
    RetrainedLimit,
    RetrainedStrength,
    RetrainedTest,
    retrained_limit,
    strength_test,
)
from tnt_coffea.stats.scan_results import GrossVitells, ScanPoint, ScanRefusal, ScanResult
from tnt_coffea.stats.scans import scan, scan_masses
from tnt_coffea.stats.search_histogram import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.signal_histogram import SignalHistogram
from tnt_coffea.stats.signal_templates import SignalTemplate, summed
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.toys import toy_search, toy_spectrum
from tnt_coffea.stats.transfer import transfer_factor, transfer_in_search
from tnt_coffea.stats.transfer_results import (
    OrderTest,
    TransferEstimate,
    TransferLimit,
    TransferRefusal,
    TransferSpectrum,
    TwoStepEstimate,
)
from tnt_coffea.stats.transfer_workspace import transfer_workspace
from tnt_coffea.stats.trigger import TriggerEfficiency
from tnt_coffea.stats.unbinned import UnbinnedChannel, UnbinnedResult, unbinned_check
from tnt_coffea.stats.window_results import (
    WindowResult,
    WindowSpectrum,
    WindowTest,
    WindowTests,
)
from tnt_coffea.stats.workspaces import bump_workspace, mass_patchset
from tnt_coffea.working_points import WorkingPoint, WorkingPoints

__all__ = [
    "AbcdCounts",
    "AbcdLimit",
    "AbcdRefusal",
    "AbcdResult",
    "BiasPoint",
    "BiasStudy",
    "BiasTruth",
    "BumpHuntResult",
    "ChannelResult",
    "Closure",
    "ClosureScan",
    "CountedTests",
    "DirectEstimate",
    "DirectLimit",
    "DirectRefusal",
    "DirectSpectrum",
    "Expectation",
    "ExpectationScan",
    "ExpectedLimit",
    "ExpectedSignal",
    "FitRefusal",
    "GlobalPValue",
    "GrossVitells",
    "ImpactRefusal",
    "IntervalResult",
    "LimitRefusal",
    "LimitResult",
    "MassEstimate",
    "MassTemplates",
    "NuisanceImpact",
    "NuisanceImpacts",
    "OrderTest",
    "RegionClosure",
    "RetrainedLimit",
    "RetrainedStrength",
    "RetrainedTest",
    "ScanPoint",
    "ScanRefusal",
    "ScanResult",
    "SharedEvents",
    "SidebandFit",
    "SignalHistogram",
    "SignalTemplate",
    "SpectrumFit",
    "TransferEstimate",
    "TransferLimit",
    "TransferRefusal",
    "TransferSpectrum",
    "TriggerEfficiency",
    "TwoStepEstimate",
    "UnbinnedChannel",
    "UnbinnedResult",
    "ValidationWindow",
    "WeightedSimulation",
    "WindowResult",
    "WindowSpectrum",
    "WindowTest",
    "WindowTests",
    "WorkingPoint",
    "WorkingPoints",
    "abcd",
    "abcd_counts",
    "abcd_in_window",
    "abcd_limit",
    "abcd_workspace",
    "asimov_significance",
    "bias_study",
    "bump_hunt",
    "bump_workspace",
    "closure",
    "closure_scan",
    "counting_limit",
    "direct_estimate",
    "direct_in_window",
    "direct_workspace",
    "expectation",
    "expectation_scan",
    "expected_significance",
    "feldman_cousins",
    "feldman_cousins_interval",
    "global_p_value",
    "gross_vitells_p_value",
    "hepdata_limits",
    "hepdata_spectrum",
    "hs3_document",
    "inclusive_spectrum",
    "li_ma_significance",
    "limit_band",
    "masked_window_test",
    "mass_patchset",
    "nuisance_impacts",
    "paper_significance",
    "read_histogram",
    "resonance_mass",
    "retrained_limit",
    "scan",
    "scan_masses",
    "selected_spectrum",
    "spearman",
    "strength_test",
    "summed",
    "template_in_window",
    "toy_search",
    "toy_spectrum",
    "transfer_factor",
    "transfer_in_search",
    "transfer_workspace",
    "unbinned_check",
    "upper_limit",
    "write_combine",
    "write_hepdata",
]
