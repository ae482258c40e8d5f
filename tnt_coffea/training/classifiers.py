"""Training of a classifier on a weakly labelled sample, whatever labelled it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import ClassifierSettings, Network, OptimizerSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend, export, fitting, networks
from tnt_coffea.training.augmentation import augmented
from tnt_coffea.training.checks import checked
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.particle_flow import particle_flow_classifier
from tnt_coffea.training.selection import Selection
from tnt_coffea.training.trained import Trained
from tnt_coffea.training.trees import FEWEST_TREES, boosted_trees

__all__ = ["Budget", "classifier", "epochs", "libraries", "signal_efficiency", "weighted_jets"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
Merit = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], float]


@dataclass(frozen=True)
class Budget:
    """How long a classifier is trained.

    Attributes
    ----------
    epochs
        Most epochs.
    optimizer
        Of networks; trees take its `validation` and `patience`.
    pixel_scale
        Factor on pixels inside the network.
    candidates
        Networks trained, of which the best is kept.
    merit
        Function of (jet,) validation targets and scores that is largest for the best epoch
        and candidate; the validation loss without it.
    """

    epochs: int
    optimizer: OptimizerSettings
    pixel_scale: float
    candidates: int = 1
    merit: Merit | None = None


def libraries(settings: ClassifierSettings) -> tuple[str, ...]:
    """Return the packages that have a part in such a classifier."""
    if settings.network is Network.TREES:
        return ("numpy", "onnx")
    return backend.libraries()


def epochs(settings: ClassifierSettings, most: int) -> int:
    """Return how often the events are passed over at most: a tree is one pass."""
    return settings.trees if settings.network is Network.TREES else most


def signal_efficiency(sideband_efficiency: float) -> Merit:
    """Return the merit of arXiv:2101.08320, section 4.1.1.

    It is the share of signal-region events above the score that a given share of sideband
    events passes.
    """

    def merit(targets: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> float:
        region, sideband = scores[targets > 0.5], scores[targets < 0.5]
        cut = np.quantile(sideband, 1 - sideband_efficiency, method="higher")
        return float((region > cut).mean())

    return merit


def classifier(
    inputs: ClassifierInputs,
    selection: Selection,
    settings: ClassifierSettings,
    budget: Budget,
    seed: int,
) -> Trained:
    """Return a classifier of signal-rich against background-rich jets.

    Parameters
    ----------
    inputs
        The jets.
    selection
        (jet,) targets, weights, groups.
    settings
        Network, inputs, augmentation.
    budget
        How long, and what is best.
    seed
        Seed of this training.

    Raises
    ------
    TrainingError
        A group has too few jets, the loss is not finite, or the tagger is of no use.

    Source: arXiv:2002.12376, sections 2 and 3.2; arXiv:2101.08320, section 4.1.1.
    """
    held_back = selection.validation(budget.optimizer.validation, seed)
    parts = (selection.used & ~held_back, selection.used & held_back)
    for name, part in zip(("train on", "validate with"), parts, strict=True):
        if not part.any():
            msg = f"no jets to {name}: use more events, or fewer folds"
            raise TrainingError(msg)
    train = _trees if settings.network is Network.TREES else _network
    made = [
        train(inputs, selection, parts, settings, budget, chance)
        for chance in _seeds(seed, budget.candidates)
    ]
    best = made[int(np.argmax([merit for merit, _ in made]))][1]
    return checked(best, inputs.tagger, np.flatnonzero(selection.used))


def _seeds(seed: int, candidates: int) -> list[int]:
    return [seed, *(seeds.integer(seed, "candidate", i) for i in range(1, candidates))]


def _network(
    inputs: ClassifierInputs,
    selection: Selection,
    parts: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    settings: ClassifierSettings,
    budget: Budget,
    seed: int,
) -> tuple[float, Trained]:
    weights = [selection.balanced(part) for part in parts]
    features = None
    if inputs.has_features:
        rows = np.flatnonzero(parts[0])
        features = inputs.standardised(rows, weights[0][rows])
    network, model = _built(inputs, settings, budget, features, seed)

    def expanded(rows: Int64Array) -> fitting.Inputs:
        return inputs.network(rows, features)

    def change(batch: fitting.Inputs, rng: np.random.Generator) -> fitting.Inputs:
        return (augmented(batch[0], settings.augmentation, rng), *batch[1:])

    training, validation = (
        weighted_jets(expanded, np.flatnonzero(part), selection.targets, weight)
        for part, weight in zip(parts, weights, strict=True)
    )
    if settings.augmentation.active and inputs.has_image:
        training = fitting.Jets(
            training.inputs, training.rows, training.targets, training.weights, change
        )
    merit = budget.merit
    history = fitting.fit(
        network,
        fitting.likelihood_loss,
        training,
        validation,
        optimizer=budget.optimizer,
        epochs=budget.epochs,
        seed=seed,
        merit=None if merit is None else lambda scores: merit(validation.targets, scores),
    )

    def predict(rows: Int64Array) -> Float32Array:
        batch = expanded(rows)
        out = network(batch[0] if len(batch) == 1 else list(batch), training=False)
        scores: Float32Array = backend.array(out)[:, 0]
        return scores

    best = history.best_epoch
    return (
        history.merit[best] if history.merit else -history.validation_loss[best],
        Trained(
            model(),
            history.summary(),
            history.to_dict() | selection.counts | dict(selection.notes),
            predict,
            history.seconds,
            input=settings.input.value,
            columns=inputs.features[0].columns if inputs.has_features else (),
        ),
    )


def _built(
    inputs: ClassifierInputs,
    settings: ClassifierSettings,
    budget: Budget,
    features: export.FeatureInputs | None,
    seed: int,
) -> tuple[Any, Callable[[], Any]]:
    if not inputs.has_image and features is not None:
        network = networks.dense_classifier(
            features=len(features.features.names),
            layers=settings.layers,
            dropout=settings.dropout,
            seed=seed,
        )
        return network, lambda: export.classifier_model(network, features)
    if inputs.has_constituents:
        _, jets, particles, _ = inputs.constituents(np.arange(0)).shape
        flow = particle_flow_classifier(jets=jets, particles=particles, seed=seed)
        return flow.network, lambda: export.particle_flow_model(flow)
    _, pixels, _, channels = inputs.image(np.arange(0)).shape
    size = {"pixels": pixels, "channels": channels, "pixel_scale": budget.pixel_scale}
    if features is None:
        network = networks.jet_classifier(**size, seed=seed)
        return network, lambda: export.classifier_model(network)
    branches = networks.two_branch_classifier(
        **size, features=len(features.features.names), seed=seed
    )
    return branches.network, lambda: export.two_branch_model(branches, features)


def _trees(
    inputs: ClassifierInputs,
    selection: Selection,
    parts: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    settings: ClassifierSettings,
    budget: Budget,
    seed: int,
) -> tuple[float, Trained]:
    rows = [np.flatnonzero(part) for part in parts]
    trees = boosted_trees(
        (inputs.computed(rows[0]), inputs.computed(rows[1])),
        (selection.targets[rows[0]], selection.targets[rows[1]]),
        (selection.balanced(parts[0])[rows[0]], selection.balanced(parts[1])[rows[1]]),
        rounds=settings.trees,
        leaves=settings.leaves,
        shrinkage=settings.shrinkage,
        patience=budget.optimizer.patience,
    )
    history = fitting.History(
        trees.loss, trees.validation_loss, first=min(len(trees.trees), FEWEST_TREES) - 1
    )
    features = inputs.features[0]
    return -history.validation_loss[history.best_epoch], Trained(
        export.trees_model(trees, features),
        history.summary(),
        history.to_dict() | selection.counts | dict(selection.notes),
        lambda rows: trees(inputs.computed(rows)),
        input="features",
        columns=features.columns,
    )


def weighted_jets(
    inputs: Callable[[Int64Array], fitting.Inputs],
    rows: Int64Array,
    targets: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
) -> fitting.Jets:
    """Return jets with weights of mean 1."""
    chosen = weights[rows]
    if len(rows) and chosen.sum() <= 0:
        msg = f"the weights of {len(rows)} jets sum to {chosen.sum()}, expected more than 0"
        raise TrainingError(msg)
    mean = chosen.mean() if len(rows) else 1.0
    return fitting.Jets(
        inputs=inputs,
        rows=rows,
        targets=targets[rows].astype(np.float32),
        weights=(chosen / mean).astype(np.float32),
    )
