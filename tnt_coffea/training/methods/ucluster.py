"""UCluster: clusters of embedded events that a window fills more than its sidebands do."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Columns, Constituents, Input, readers
from tnt_coffea.training.clusters import (
    Occupancy,
    clustering_model,
    k_means,
    nearest,
    occupancy_model,
)
from tnt_coffea.training.embedding import COLUMNS, EmbeddingNetwork, EventRanges
from tnt_coffea.training.fitting import (
    Batches,
    OptimizerSettings,
    fit,
    model_output,
    outputs_of,
)
from tnt_coffea.training.method import Job, Reads, Scope, Scorer
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.training.weak_labels import FEWEST, SampleClass, WeakLabels, check_weights
from tnt_coffea.typing import BoolArray, Float32Array, IntArray

__all__ = ["Ucluster"]

_LARGEST_ALPHA = 1e3
_EVENTS_A_CLUSTER = 10
_BATCH = 1000
_OUTSIDE = -1


class Ucluster(SidebandMethod):
    """Score of the clusters of an event, by how much fuller the window has them than its sidebands.

    A network embeds the constituents of both jets; K-Means and a clustering loss part the events.
    Assumes that signal falls into few clusters, and that on background these are as full in the
    window as beside it.

    Source: arXiv:2010.07106; arXiv:2101.08320, section 3.9.

    Examples
    --------
    >>> method = Ucluster(clusters=10, sideband=1.0)
    >>> method.scopes, method.reads.window, method.passes
    (('event',), True, 30)
    """

    kind: Literal["ucluster"] = "ucluster"
    clusters: int = Field(30, ge=2, description="number of clusters")
    embedding: int = Field(8, ge=1, description="dimension of the embedding")
    focal_epochs: int = Field(10, ge=1, description="epochs before there are clusters")
    epochs: int = Field(20, ge=1, description="epochs with the clustering loss")
    strength: Positive = Field(10.0, description="factor on the clustering loss, beta")
    alpha: Positive = Field(
        1.0, description="sharpness of clusters at first, doubled every epoch up to 1000"
    )
    least_significance: float = Field(
        0.0,
        ge=0,
        description="Z, after trials, by which a cluster has to depart from its occupancy beside "
        "the window, or the training is refused; 0 refuses nothing, Z is on the card",
    )
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(keep="last"), description="Adam; keep can be last alone"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "occupancy"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.optimizer.keep != "last":
            msg = (
                "optimizer.keep has to be last: the clustering loss of two epochs has another "
                "sharpness, so that none of them is the best"
            )
            raise ValueError(msg)
        return self

    @property
    def reads(self) -> Reads:
        """The window."""
        return Reads(window=True)

    @property
    def passes(self) -> int:
        """Epochs without and with the clustering loss."""
        return self.focal_epochs + self.epochs

    def shortened(self) -> Self:
        """Return the method with two epochs of either kind, that refuses no occupancy."""
        short = {"focal_epochs": min(self.focal_epochs, 2), "least_significance": 0.0}
        return super().shortened().model_copy(update=short)

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without constituents or the columns."""
        self._inputs(scope, sample)

    def _inputs(self, scope: Scope, sample: Sample) -> tuple[Constituents, Columns]:
        return Constituents.of(scope, sample), Columns.of(COLUMNS, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the occupancies."""
        data, inputs = job.data, self._inputs(job.scope, job.data)
        region = self._regions(job)
        used = data.weight > 0
        ranges = EventRanges.of(inputs[1].read(data)[used], data.weight[used])
        network = EmbeddingNetwork.of(*inputs, ranges, size=self.embedding, seed=job.seed)
        labels = WeakLabels((SampleClass("events", data, used, 0.0),))
        parts = labels.split(inputs, self.optimizer.validation, job.seed)

        alone = fit(
            network.model(network.loss),
            model_output,
            *parts,
            optimizer=self.optimizer,
            epochs=self.focal_epochs,
            seed=job.seed_of("focal"),
        )
        start = k_means(_embedded(network, inputs, data, used), self.clusters, job.seed)
        model, centroids, alpha = clustering_model(network, start, self.strength, self.alpha)
        both = fit(
            model,
            model_output,
            *parts,
            optimizer=self.optimizer,
            epochs=self.epochs,
            seed=job.seed_of("clusters"),
            after_epoch=lambda: alpha.assign(min(2 * float(alpha), _LARGEST_ALPHA)),
        )
        places: Float32Array = centroids.numpy()
        cluster = nearest(_embedded(network, inputs, data, used), places)
        compared = region[used] != _OUTSIDE
        occupancy = Occupancy.of(
            cluster[compared],
            region[used][compared],
            data.weight[used][compared],
            clusters=self.clusters,
            seed=job.seed,
        )
        if occupancy.significance < self.least_significance:
            msg = (
                f"no cluster departs in the window {job.window.name} from its occupancy beside it "
                f"by {self.least_significance:g} sigma after trials, the largest by "
                f"{occupancy.significance:.1f}: no excess to tag; least_significance: 0 makes a "
                "tagger all the same"
            )
            raise TrainingError(msg)
        figures = both.summary() | {
            "epochs": float(self.passes),
            "best_epoch": float(len(alone.loss) + both.best_epoch),
            "clusters": float(len(np.unique(cluster))),
            "significance": occupancy.significance,
        }
        return Scorer(
            occupancy_model(network, places, occupancy.log_ratio),
            inputs,
            {
                "loss": [*alone.loss, *both.loss],
                "validation_loss": [*alone.validation_loss, *both.validation_loss],
                "best_epoch": len(alone.loss) + both.best_epoch,
                "centroids": places.tolist(),
                "log_ratio": occupancy.log_ratio.tolist(),
                "pulls": occupancy.pulls.tolist(),
            },
            figures,
            seconds=(*alone.seconds, *both.seconds),
        )

    def _regions(self, job: Job) -> IntArray:
        """Return (event,) 0, 1, 2 in the lower sideband, the window, the upper one; else -1."""
        mass, weight = job.data.mass, job.data.weight
        check_weights(weight, "an occupancy")
        if len(mass) < _EVENTS_A_CLUSTER * self.clusters:
            msg = (
                f"{len(mass)} events for {self.clusters} clusters, at least "
                f"{_EVENTS_A_CLUSTER * self.clusters} are needed: use fewer clusters or more events"
            )
            raise TrainingError(msg)
        lower, upper = self.sidebands(job.window)
        region = np.full(len(mass), _OUTSIDE)
        names = ("the lower sideband", "the window", "the upper sideband")
        for number, (name, where) in enumerate(zip(names, (lower, job.window, upper), strict=True)):
            inside: BoolArray = where.contains(mass) & (weight > 0)
            region[inside] = number
            if inside.sum() < FEWEST:
                msg = (
                    f"{inside.sum()} events in {name} {where.name}, at least {FEWEST} are needed: "
                    "choose another window (search.window) or a wider sideband"
                )
                raise TrainingError(msg)
        return region


def _embedded(
    network: EmbeddingNetwork, inputs: tuple[Input, ...], sample: Sample, used: BoolArray
) -> Float32Array:
    rows = np.flatnonzero(used)
    none, first = np.zeros(len(rows), np.float32), np.zeros(len(rows), int)
    every = Batches([readers(inputs, sample)], first, rows, none, none)
    return network.settle(outputs_of(network.model(network.raw), every, _BATCH))
