"""Training of taggers on unlabelled data; the only package that knows Keras.

| to | take |
|---|---|
| train the methods of a search | `cross_validate` |
| write a method | `Method`, `Job`, `Scorer`; one file, see the how-to |
| label events by the scores of a tagger | `rich_labels`, `score_order` |
| train a classifier of classes of events | `classifiers`, `SampleClass`, `WeakLabels` |
| learn densities of features for a given mass | `densities`, `ratios` |
| test what the methods assume | `assumptions` |
| know the cost before | `training_costs` |

Importing it costs nothing: TensorFlow and onnx, the `train` extra, come in with
the first training run.
"""

from __future__ import annotations

from tnt_coffea.training.assumptions import Assumptions, assumptions
from tnt_coffea.training.costs import Costs, StepCost, training_costs
from tnt_coffea.training.export import canonical, keras_graph, seal
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.fitting import Batches, History, OptimizerSettings, fit
from tnt_coffea.training.folds import (
    FoldPlan,
    IndependentPlan,
    SplitPlan,
    cross_validation_plans,
    plans_of,
    prequential_plans,
    split_plan,
)
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.labels import Labels, rich_labels, score_order
from tnt_coffea.training.linear import PrincipalComponents, principal_components
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.training.method import Job, Method, Need, Reads, Scope, Scorer, methods_of
from tnt_coffea.training.schedule import RunTasks, Schedule, Step, cross_validate, steps_of
from tnt_coffea.training.task import Outcome, Task, run_task
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels
from tnt_coffea.training.windows import (
    cwola_windows,
    olympics_windows,
    overlapping_windows,
    tossed_windows,
    windows_of,
)

__all__ = [
    "Assumptions",
    "Batches",
    "Costs",
    "FeatureSet",
    "FoldPlan",
    "Graph",
    "History",
    "IndependentPlan",
    "Job",
    "Labels",
    "Method",
    "Need",
    "OptimizerSettings",
    "Outcome",
    "PrincipalComponents",
    "Reads",
    "RunTasks",
    "SampleClass",
    "Schedule",
    "Scope",
    "Scorer",
    "SplitPlan",
    "Standardisation",
    "Step",
    "StepCost",
    "Task",
    "WeakLabels",
    "assumptions",
    "canonical",
    "cross_validate",
    "cross_validation_plans",
    "cwola_windows",
    "fit",
    "keras_graph",
    "mapped_events",
    "methods_of",
    "olympics_windows",
    "overlapping_windows",
    "plans_of",
    "prequential_plans",
    "principal_components",
    "rich_labels",
    "run_task",
    "score_order",
    "seal",
    "split_plan",
    "steps_of",
    "tossed_windows",
    "training_costs",
    "windows_of",
]
