"""Training of taggers on unlabelled data; the only package that knows Keras.

Importing it costs nothing: TensorFlow and onnx, the `train` extra, come in with
the first training.
"""

from __future__ import annotations

from tnt_coffea.training.assumptions import Assumptions, assumptions
from tnt_coffea.training.costs import CostedRound, Costs, training_costs
from tnt_coffea.training.cross_validation import RunTasks, Trainings, cross_validate
from tnt_coffea.training.export import seal
from tnt_coffea.training.folds import (
    FoldPlan,
    SplitPlan,
    cross_validation_plans,
    plans_of,
    prequential_plans,
    split_plan,
)
from tnt_coffea.training.labellers import Labeller
from tnt_coffea.training.labels import Labels, rich_labels, score_order
from tnt_coffea.training.linear import PrincipalComponents, principal_components
from tnt_coffea.training.methods import METHODS, Job, Method, method_of
from tnt_coffea.training.networks import convolutional_autoencoder, jet_classifier
from tnt_coffea.training.purity import window_surplus
from tnt_coffea.training.reading import mapped_events
from tnt_coffea.training.running import run_task
from tnt_coffea.training.tasks import Outcome, Task
from tnt_coffea.training.windows import cwola_windows, olympics_windows, windows_of

__all__ = [
    "METHODS",
    "Assumptions",
    "CostedRound",
    "Costs",
    "FoldPlan",
    "Job",
    "Labeller",
    "Labels",
    "Method",
    "Outcome",
    "PrincipalComponents",
    "RunTasks",
    "SplitPlan",
    "Task",
    "Trainings",
    "assumptions",
    "convolutional_autoencoder",
    "cross_validate",
    "cross_validation_plans",
    "cwola_windows",
    "jet_classifier",
    "mapped_events",
    "method_of",
    "olympics_windows",
    "plans_of",
    "prequential_plans",
    "principal_components",
    "rich_labels",
    "run_task",
    "score_order",
    "seal",
    "split_plan",
    "training_costs",
    "window_surplus",
    "windows_of",
]
