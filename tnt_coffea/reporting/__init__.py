"""What people look at: the report, its figures, tables, and the evaluation against truth.

Matplotlib, jinja2 and rich come in with the first figure, page or table.
"""

from __future__ import annotations

from tnt_coffea.reporting.anomalous_jets import JetImages, mean_image_panels, mean_images
from tnt_coffea.reporting.contents import ReportContents
from tnt_coffea.reporting.curves import loss_curves, roc_curves, significance_improvement
from tnt_coffea.reporting.document import write_report
from tnt_coffea.reporting.evaluation import (
    Evaluation,
    SetEvaluation,
    WorkingPoint,
    evaluate,
    improvement_uncertainty,
)
from tnt_coffea.reporting.mass_spectra import channel_spectra, mass_spectrum
from tnt_coffea.reporting.planes import (
    PlaneView,
    closure_by_mass,
    plane_view,
    score_plane_panels,
)
from tnt_coffea.reporting.plots import Plot, all_plots
from tnt_coffea.reporting.roc import Roc, roc_curve
from tnt_coffea.reporting.terminal import results_table
from tnt_coffea.reporting.wording import headline

__all__ = [
    "Evaluation",
    "JetImages",
    "PlaneView",
    "Plot",
    "ReportContents",
    "Roc",
    "SetEvaluation",
    "WorkingPoint",
    "all_plots",
    "channel_spectra",
    "closure_by_mass",
    "evaluate",
    "headline",
    "improvement_uncertainty",
    "loss_curves",
    "mass_spectrum",
    "mean_image_panels",
    "mean_images",
    "plane_view",
    "results_table",
    "roc_curve",
    "roc_curves",
    "score_plane_panels",
    "significance_improvement",
    "write_report",
]
