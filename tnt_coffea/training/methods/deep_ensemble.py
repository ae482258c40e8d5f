"""Deep Ensemble: a residual network of event images, and boosted trees that see its answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import EventImage, Input, readers
from tnt_coffea.training import backend
from tnt_coffea.training.adaboost import VotingTrees, voting_trees
from tnt_coffea.training.checks import checked
from tnt_coffea.training.density_ratio import auc
from tnt_coffea.training.features import FeatureSet, check_features
from tnt_coffea.training.fitting import (
    Batches,
    History,
    OptimizerSettings,
    evaluated,
    fit,
    log_odds_entropy,
    outputs_of,
)
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.residual import add_residual_network, residual_network
from tnt_coffea.training.weak_labels import FEWEST, SampleClass, WeakLabels, check_weights
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["TABLE", "DeepEnsemble"]

TABLE = (
    *("pt", "mass", "eta", "phi", "energy", "mass / energy"),
    *(f"delta_r{pair}" for pair in ("12", "13", "14", "23", "24", "34")),
    *("n_subjets_wide", "m_jj", "delta_eta", "delta_phi"),
    "abs(heavy_pt - light_pt) / (heavy_pt + light_pt)",
)
"""The features of arXiv:2101.08320, section 5.1: thirteen of either jet and four of the event."""


class DeepEnsemble(Method):
    """Residual network of event images whose answer enters boosted trees beside a table.

    Simulated background against simulated signals; it reads no event that is searched, and one
    training serves all folds. Assumes that the signal looked for is like the simulated ones: it
    finds what it was told, at their masses. The network's answer, the logarithm of the odds, is
    the latent vector.

    Source: arXiv:2101.08320, section 5.1.

    Examples
    --------
    >>> method = DeepEnsemble()
    >>> method.reads.data, method.reads.simulation, method.reads.priors
    (False, True, True)
    >>> method.blocks, method.trees, method.passes
    ((3, 4, 6, 3), 700, 50)
    """

    kind: Literal["deep_ensemble"] = "deep_ensemble"
    prior: str | None = Field(
        None,
        min_length=1,
        description="the signal learned, as of --prior NAME=FILE; null: all of them together",
    )
    features: tuple[str, ...] = Field(
        TABLE, min_length=1, description="the trees' table: columns or expressions of them"
    )
    image: bool = Field(
        True, description="show the trees the network's answer as well; false: the table alone"
    )
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (3, 4, 6, 3), min_length=1, max_length=6, description="basic blocks of every stage"
    )
    pixel_power: Positive = Field(
        0.5,
        description="power of the pixels before the first layer; 1 is the paper's before it "
        "colours them",
    )
    width: int = Field(16, ge=1, description="channels of the first stage, doubled in each further")
    dropout: float = Field(
        1.0, ge=0, lt=2, description="factor on the shares dropped in the head, 0.25 and 0.5"
    )
    parts: int = Field(
        2,
        ge=2,
        le=10,
        description="parts of the events, by id, each with a network that leaves it out: trees "
        "learn from answers of networks that did not learn the event; a score has the mean answer",
    )
    epochs: int = Field(25, ge=1, description="epochs of a network")
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="targets of the network are half of it above 0 and below 1"
    )
    mix_up: float = Field(
        0.45, ge=0, description="parameter of MixUp, arXiv:1710.09412; 0 mixes nothing"
    )
    optimizer: OptimizerSettings = OptimizerSettings(
        learning_rate=2e-3, beta1=0.9, batch=128, one_cycle=True, keep="last"
    )
    trees: int = Field(700, ge=1, description="trees of AdaBoost")
    depth: int = Field(3, ge=1, le=10, description="splits from a tree's root to its leaves")
    tree_learning_rate: Positive = Field(0.1, description="factor on the votes of the trees")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "log-odds of simulated signal"

    @property
    def reads(self) -> Reads:
        """Simulated background and signals, and none of the data."""
        return Reads(data=False, simulation=True, priors=True)

    @property
    def passes(self) -> int:
        """Epochs of all networks, beside which the trees cost little; the trees without them."""
        return self.parts * self.epochs if self.image else self.trees

    @property
    def is_random(self) -> bool:
        """Whether there are networks: trees of the same events are the same."""
        return self.image

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the networks; numpy and onnx without them."""
        return backend.libraries() if self.image else ("numpy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the table's columns or the image of the event."""
        self._inputs(sample)

    def _inputs(self, sample: Sample) -> tuple[Input, ...]:
        features = FeatureSet.of(self.features, "event", sample)
        return (EventImage.of(sample), features.input) if self.image else (features.input,)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of both stages."""
        events = _Events.of(job, self.prior)
        events.check(FEWEST * (self.parts if self.image else 1))
        features = FeatureSet.of(self.features, "event", job.simulation)
        table = np.concatenate([features.values(sample) for sample in events.samples])
        # Of few events none has a fourth subjet: trees leave such a column alone.
        varied = (table != table[0]).any(axis=0)
        kept = np.flatnonzero(varied if varied.any() else ~varied)
        check_features(table[:, kept], [features.names[i] for i in kept])
        if not self.image:
            votes = self._votes(table, events)
            graph = Graph(features.input)
            summed = graph.add_trees(features.add(graph, "features"), votes.trees)
            return Scorer(
                graph.model(graph.flat(summed)),
                (features.input,),
                events.counts | _history(votes),
                _summary(votes),
                predict=lambda inputs: votes(features.computed(inputs["features"])),
            )
        networks = self._networks(job, events)
        votes = self._votes(np.column_stack([table, networks.answers]), events)
        graph = Graph(networks.image, features.input)
        answer = networks.add(graph)
        shown = graph.add("Concat", features.add(graph, "features"), answer, axis=1)
        summed = graph.add_trees(shown, votes.trees)
        tagger = networks.tagger

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            # A threshold may lie between the last digits of Keras' answer and the graph's; that
            # these agree is checked of the network alone.
            answers = tagger.score({"event_image": inputs["event_image"]})
            return votes(np.column_stack([features.computed(inputs["features"]), answers]))

        return Scorer(
            graph.model(graph.flat(summed), latent=(answer, 1)),
            (networks.image, features.input),
            events.counts | networks.history | _history(votes),
            networks.summary | _separation(networks.answers, events) | _summary(votes),
            predict=predict,
            seconds=networks.seconds,
        )

    def _votes(self, table: Float32Array, events: _Events) -> VotingTrees:
        return voting_trees(
            table.astype(np.float32),
            events.targets,
            events.weights,
            trees=self.trees,
            depth=self.depth,
            learning_rate=self.tree_learning_rate,
        )

    def _networks(self, job: Job, events: _Events) -> _Networks:
        image = EventImage.of(job.simulation)
        models, histories = [], []
        answers = np.zeros(len(events.targets), np.float32)
        part = events.parts(self.parts, job.seed_of("parts"))
        for number in range(self.parts):
            seed = job.seed_of("network", number)
            model = residual_network(
                image,
                blocks=self.blocks,
                width=self.width,
                dropout=self.dropout,
                seed=seed,
                power=self.pixel_power,
            )
            labels = events.labels(part != number, self.label_smoothing)
            training, validation = labels.split((image,), self.optimizer.validation, seed)
            histories.append(
                fit(
                    model,
                    log_odds_entropy,
                    training,
                    validation,
                    optimizer=self.optimizer,
                    epochs=self.epochs,
                    seed=seed,
                    mix_up=self.mix_up,
                )
            )
            models.append(model)
            left_out = np.flatnonzero(part == number)
            answers[left_out] = outputs_of(
                model, events.batches(image, left_out), self.optimizer.batch
            )
        networks = _Networks(
            image, self.blocks, self.pixel_power, tuple(models), tuple(histories), answers
        )
        # Refused here as any tagger would be: trees on top would hide what is wrong.
        scorer = Scorer(None, (image,), predict=networks.predict)
        reading = readers((image,), job.simulation)
        checked(scorer, networks.alone, reading, len(job.simulation))
        return networks


@dataclass(frozen=True)
class _Events:
    """Simulated background and signals, one behind the other."""

    names: tuple[str, ...]
    samples: tuple[Sample, ...]

    @classmethod
    def of(cls, job: Job, prior: str | None) -> _Events:
        if prior is not None and prior not in job.priors:
            msg = (
                f"deep_ensemble: no simulated signal is called '{prior}', there are "
                f"{', '.join(job.priors)}; give it with --prior {prior}=FILE"
            )
            raise ConfigError(msg)
        priors = [(name, job.priors[name]) for name in sorted(job.priors) if prior in (None, name)]
        return cls(
            ("simulation", *(name for name, _ in priors)),
            (job.simulation, *(sample for _, sample in priors)),
        )

    def check(self, fewest: int) -> None:
        for name, sample in zip(self.names, self.samples, strict=True):
            check_weights(sample.weight, "the Deep Ensemble", f" of {name}")
            if (n := int((sample.weight > 0).sum())) < fewest:
                msg = f"{n} events of {name}, at least {fewest} are needed: simulate more of them"
                raise TrainingError(msg)

    @property
    def counts(self) -> dict[str, Any]:
        return {name: len(each) for name, each in zip(self.names, self.samples, strict=True)}

    @cached_property
    def sizes(self) -> IntArray:
        return np.array([len(sample) for sample in self.samples])

    @cached_property
    def targets(self) -> BoolArray:
        """(event,) whether it is signal."""
        return np.repeat(np.arange(len(self.samples)) > 0, self.sizes)

    @property
    def shares(self) -> list[float]:
        """Of background and of every signal, in the sum of weights of their class."""
        return [1.0, *[1 / (len(self.samples) - 1)] * (len(self.samples) - 1)]

    @cached_property
    def weights(self) -> Float64Array:
        """(event,) weights, of which background and signal have the same sum."""
        pairs = zip(self.samples, self.shares, strict=True)
        return np.concatenate([each.weight / each.weight.sum() * share for each, share in pairs])

    def parts(self, number: int, seed: int) -> IntArray:
        """Return (event,) the part that it belongs to, by its id."""
        ids = np.concatenate([sample.event_id for sample in self.samples])
        return np.minimum((uniform(ids, seed) * number).astype(np.int64), number - 1)

    def labels(self, chosen: BoolArray, smoothing: float) -> WeakLabels:
        """Return the classes of a network, of the chosen (event,)."""
        masks = np.split(chosen, np.cumsum(self.sizes)[:-1])
        targets = [smoothing / 2, *[1 - smoothing / 2] * (len(masks) - 1)]
        given = zip(self.names, self.samples, masks, targets, self.shares, strict=True)
        return WeakLabels(tuple(SampleClass(*each) for each in given))

    def batches(self, image: EventImage, chosen: IntArray) -> Batches:
        """Return the images of the chosen (event number,)."""
        source = np.repeat(np.arange(len(self.samples)), self.sizes)[chosen]
        first = np.cumsum(self.sizes) - self.sizes
        none = np.zeros(len(chosen), np.float32)
        sources = [readers((image,), sample) for sample in self.samples]
        return Batches(sources, source, chosen - first[source], none, none)


@dataclass(frozen=True)
class _Networks:
    """Trained networks, one for every part that it left out.

    Attributes
    ----------
    image, blocks, power
        Their input, basic blocks, and power of its pixels.
    models, histories
        One a part.
    answers
        (event,) log-odds by the network that left the event out.
    """

    image: EventImage
    blocks: tuple[int, ...]
    power: float
    models: tuple[Any, ...]
    histories: tuple[History, ...]
    answers: Float32Array

    def predict(self, inputs: dict[str, Float32Array]) -> Float32Array:
        """Return the (event,) mean of the log-odds of all networks, by Keras."""
        every = [backend.array(evaluated(model, inputs)) for model in self.models]
        out: Float32Array = np.stack(every).mean(axis=0, dtype=np.float64).astype(np.float32)
        return out

    def add(self, graph: Graph) -> str:
        """Return the name of that mean (n, 1) in a graph."""
        every = [
            add_residual_network(graph, model, self.blocks, self.power) for model in self.models
        ]
        return graph.ops.multiply(graph.ops.total(every), np.float32(1 / len(every)))

    @cached_property
    def alone(self) -> Any:
        """The graph of nothing but that mean."""
        graph = Graph(self.image)
        return graph.model(graph.flat(self.add(graph)))

    @property
    def tagger(self) -> Tagger:
        """That graph as a search would score with it."""
        return Tagger(self.alone.SerializeToString(deterministic=True), "the network")

    @property
    def seconds(self) -> tuple[float, ...]:
        return tuple(second for history in self.histories for second in history.seconds)

    @property
    def history(self) -> dict[str, Any]:
        epochs = min(len(history.loss) for history in self.histories)
        losses = {
            name: np.mean([getattr(each, name)[:epochs] for each in self.histories], axis=0)
            for name in ("loss", "validation_loss")
        }
        best = self.histories[0].best_epoch
        return {name: values.tolist() for name, values in losses.items()} | {"best_epoch": best}

    @property
    def summary(self) -> dict[str, float]:
        every = [history.summary() for history in self.histories]
        return {name: float(np.mean([each[name] for each in every])) for name in every[0]}


def _separation(answers: Float32Array, events: _Events) -> dict[str, float]:
    """Return how well networks tell events that they left out, both classes of one weight."""
    signal, weights = events.targets, events.weights
    of_both = (weights[~signal], weights[signal])
    right = (answers > 0) == signal
    return {
        "network_auc": auc(answers[signal], answers[~signal], *of_both),
        "network_accuracy": float(weights[right].sum() / weights.sum()),
    }


def _history(votes: VotingTrees) -> dict[str, Any]:
    return {"tree_errors": list(votes.errors)}


def _summary(votes: VotingTrees) -> dict[str, float]:
    return {"trees": float(len(votes.trees)), "tree_error": votes.errors[-1]}
