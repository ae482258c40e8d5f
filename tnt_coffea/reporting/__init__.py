"""Report, figures, tables, and the evaluation against truth.

Matplotlib, jinja2 and rich come in with the first figure, page or table.
"""

from __future__ import annotations

from tnt_coffea.reporting.anomalous_jets import (
    AnomalousEvent,
    AnomalousJet,
    JetImages,
    anomalous_event_panels,
    anomalous_events,
    mean_image_panels,
    mean_images,
    most_anomalous,
    most_anomalous_share,
)
from tnt_coffea.reporting.blinded import write_blinded_report
from tnt_coffea.reporting.characterisation import (
    Characterisation,
    Hypothesis,
    Sculpted,
    characterisation_cautions,
    characterisation_plots,
    characterisation_tables,
)
from tnt_coffea.reporting.comparison import Band, Comparison, MethodFigures, compare
from tnt_coffea.reporting.comparison_figures import comparison_plots
from tnt_coffea.reporting.contents import EventViews, ReportContents, SearchedFiles, event_views
from tnt_coffea.reporting.correlations import (
    RankCorrelation,
    ScoreCorrelations,
    correlation_by_mass,
    score_correlations,
)
from tnt_coffea.reporting.curves import loss_curves, roc_curves, significance_improvement
from tnt_coffea.reporting.document import write_report
from tnt_coffea.reporting.evaluation import (
    Evaluation,
    LabelledEvents,
    Roc,
    SelectionEvaluation,
    SetEvaluation,
    evaluate,
    roc_curve,
)
from tnt_coffea.reporting.figures import Plot, Section
from tnt_coffea.reporting.figures_of_merit import (
    Improvement,
    improvement_uncertainty,
    max_sic,
    sic_at,
)
from tnt_coffea.reporting.mass_figures import channel_spectra, mass_spectrum
from tnt_coffea.reporting.mass_tau21 import (
    JetShapes,
    TrueShapes,
    jet_shape_panels,
    jet_shapes,
    true_shape_panels,
    true_shapes,
)
from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.review_figures import bias_figure, blinded_spectrum, expected_band
from tnt_coffea.reporting.score_planes import (
    PlaneView,
    closure_by_mass,
    plane_view,
    score_plane_panels,
)
from tnt_coffea.reporting.search_comparison import (
    ComparedSearch,
    SearchComparison,
    search_comparison,
    search_comparison_table,
)
from tnt_coffea.reporting.terminal import comparison_table, results_table, wide_console
from tnt_coffea.reporting.wording import headline, main_set

__all__ = [
    "AnomalousEvent",
    "AnomalousJet",
    "Band",
    "Characterisation",
    "ComparedSearch",
    "Comparison",
    "Evaluation",
    "EventViews",
    "Hypothesis",
    "Improvement",
    "JetImages",
    "JetShapes",
    "LabelledEvents",
    "MethodFigures",
    "PlaneView",
    "Plot",
    "RankCorrelation",
    "ReportContents",
    "Roc",
    "ScoreCorrelations",
    "Sculpted",
    "SearchComparison",
    "SearchedFiles",
    "Section",
    "SelectionEvaluation",
    "SetEvaluation",
    "TrueShapes",
    "all_plots",
    "anomalous_event_panels",
    "anomalous_events",
    "bias_figure",
    "blinded_spectrum",
    "channel_spectra",
    "characterisation_cautions",
    "characterisation_plots",
    "characterisation_tables",
    "closure_by_mass",
    "compare",
    "comparison_plots",
    "comparison_table",
    "correlation_by_mass",
    "evaluate",
    "event_views",
    "expected_band",
    "headline",
    "improvement_uncertainty",
    "jet_shape_panels",
    "jet_shapes",
    "loss_curves",
    "main_set",
    "mass_spectrum",
    "max_sic",
    "mean_image_panels",
    "mean_images",
    "most_anomalous",
    "most_anomalous_share",
    "plane_view",
    "results_table",
    "roc_curve",
    "roc_curves",
    "score_correlations",
    "score_plane_panels",
    "search_comparison",
    "search_comparison_table",
    "sic_at",
    "significance_improvement",
    "true_shape_panels",
    "true_shapes",
    "wide_console",
    "write_blinded_report",
    "write_report",
]
