"""The stages of a search as functions, one module each.

Every stage leaves a folder under `out` and is not run again while its settings and
inputs stay the same. What a stage may use of the machine is in `execution.Resources`,
which no result depends on.
"""

from __future__ import annotations

from tnt_coffea.pipeline.answering import answer, simulated_signal
from tnt_coffea.pipeline.answers import Answer, Estimate, write_answer
from tnt_coffea.pipeline.blinding import (
    blind_fit,
    blind_report,
    hidden_window,
    standing_blind_fit,
)
from tnt_coffea.pipeline.characterising import characterise
from tnt_coffea.pipeline.comparing import compare_methods, compare_searches
from tnt_coffea.pipeline.estimates import direct, transfer
from tnt_coffea.pipeline.evaluation import references_beside, report, report_once
from tnt_coffea.pipeline.fit_settings import (
    check_fit,
    count_systematics,
    fit_from_lower_edge,
    limit_systematics,
    norm_systematics,
    produced_share,
    refuse_blinded,
    search_fit,
    spectrum_fit,
    transfer_settings,
    with_limit_refused,
)
from tnt_coffea.pipeline.fitting import (
    OVERALL,
    fit,
    scan,
    standing_fit,
    window_tests,
    windows_by_method,
)
from tnt_coffea.pipeline.folders import (
    OUT,
    STAGES,
    fit_stage,
    generate_stage,
    one_writer,
    report_stage,
    search_stage,
    skim_stage,
    stage_seconds,
    train_stage,
)
from tnt_coffea.pipeline.generation import generate
from tnt_coffea.pipeline.global_p_values import (
    all_selections,
    events_in_fit_range,
    scan_p_values,
    trial,
)
from tnt_coffea.pipeline.null_chains import (
    NullChains,
    null_chains_of,
    packaged_null_chains,
)
from tnt_coffea.pipeline.null_searches import run_null_chains
from tnt_coffea.pipeline.retrained_limits import (
    RetrainingCosts,
    retrained_limit,
    retraining_costs,
    standing_limits,
)
from tnt_coffea.pipeline.scoring import Efficiency, SignalEfficiencies, efficiency, score
from tnt_coffea.pipeline.searching import search
from tnt_coffea.pipeline.skimming import signal_masses, skim
from tnt_coffea.pipeline.training import check_training, train, training_costs

__all__ = [
    "OUT",
    "OVERALL",
    "STAGES",
    "Answer",
    "Efficiency",
    "Estimate",
    "NullChains",
    "RetrainingCosts",
    "SignalEfficiencies",
    "all_selections",
    "answer",
    "blind_fit",
    "blind_report",
    "characterise",
    "check_fit",
    "check_training",
    "compare_methods",
    "compare_searches",
    "count_systematics",
    "direct",
    "efficiency",
    "events_in_fit_range",
    "fit",
    "fit_from_lower_edge",
    "fit_stage",
    "generate",
    "generate_stage",
    "hidden_window",
    "limit_systematics",
    "norm_systematics",
    "null_chains_of",
    "one_writer",
    "packaged_null_chains",
    "produced_share",
    "references_beside",
    "refuse_blinded",
    "report",
    "report_once",
    "report_stage",
    "retrained_limit",
    "retraining_costs",
    "run_null_chains",
    "scan",
    "scan_p_values",
    "score",
    "search",
    "search_fit",
    "search_stage",
    "signal_masses",
    "simulated_signal",
    "skim",
    "skim_stage",
    "spectrum_fit",
    "stage_seconds",
    "standing_blind_fit",
    "standing_fit",
    "standing_limits",
    "train",
    "train_stage",
    "training_costs",
    "transfer",
    "transfer_settings",
    "trial",
    "window_tests",
    "windows_by_method",
    "with_limit_refused",
    "write_answer",
]
