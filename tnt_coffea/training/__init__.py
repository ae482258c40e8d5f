"""Training of taggers on unlabelled data; the only package that knows Keras.

Importing it costs nothing: TensorFlow and onnx, the `train` extra, come in with
the first training.
"""

from __future__ import annotations

from tnt_coffea.training.cross_validation import RunTasks, cross_validate
from tnt_coffea.training.export import seal
from tnt_coffea.training.folds import FoldPlan, cross_validation_plans, prequential_plans
from tnt_coffea.training.labellers import Labeller
from tnt_coffea.training.labels import Labels, rich_labels, score_order
from tnt_coffea.training.linear import PrincipalComponents, principal_components
from tnt_coffea.training.networks import convolutional_autoencoder, jet_classifier
from tnt_coffea.training.tasks import Outcome, Task, run_task

__all__ = [
    "FoldPlan",
    "Labeller",
    "Labels",
    "Outcome",
    "PrincipalComponents",
    "RunTasks",
    "Task",
    "convolutional_autoencoder",
    "cross_validate",
    "cross_validation_plans",
    "jet_classifier",
    "prequential_plans",
    "principal_components",
    "rich_labels",
    "run_task",
    "score_order",
    "seal",
]
