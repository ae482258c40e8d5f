"""A classifier trained on arrays of features, of data and of synthetic events that have no columns.

The tagger still takes the skim's columns: the features are computed in front of the classifier,
in its own graph. `taking_features` cuts that part off again: synthetic features have a score too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from tnt_coffea.errors import ConfigError, TaggerError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training import backend, networks
from tnt_coffea.training.checks import TOLERANCE
from tnt_coffea.training.classifiers import Dense, Trees
from tnt_coffea.training.export import seal
from tnt_coffea.training.features import FeatureSet, check_features
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Scorer
from tnt_coffea.training.templates.interface import SidebandEvents, Template
from tnt_coffea.training.weak_labels import FEWEST, SampleClass, WeakLabels, check_weights
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = [
    "FeatureClass",
    "FeatureClassifier",
    "against_template",
    "feature_sample",
    "feature_scorer",
    "features_of",
    "joint_features",
    "taking_features",
    "template_features",
]

FeatureClassifier = Annotated[Dense | Trees, Field(discriminator="network")]
"""Classifiers of features: those that synthetic events can be shown to."""


_COMPARED = 256
_DECIDED = 0.01
"""Share of the events whose score may be another one for the rounding of a feature."""


def template_features(classifier: Dense | Trees, scope: str, sample: Sample) -> FeatureSet:
    """Return the features that a classifier is shown of the data and of a template.

    Raises
    ------
    ConfigError
        The skim lacks a column, or a feature is the mass itself: its spectrum would be learned.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> template_features(Trees(features=("tau21",)), "heavy", testing.make_sample(1)).names
    ('heavy_tau21',)
    """
    if sample.variable in classifier.features:
        msg = (
            f"features hold {sample.variable}, the mass of the search, in which a template has "
            "the sidebands' spectrum; leave it out"
        )
        raise ConfigError(msg)
    return FeatureSet.of(classifier.features, scope, sample)


def against_template(
    template: Template,
    classifier: Dense | Trees,
    job: Job,
    *,
    name: str = "data",
    chosen: BoolArray | None = None,
) -> Scorer:
    """Return a classifier of a job's events in the window against a template of their background.

    Parameters
    ----------
    template, classifier
        Settings.
    job
        The training run, which has a window.
    name
        What the events in the window are called.
    chosen
        (event,) bool, a selection of events in the window and beside it; all without it.

    Raises
    ------
    TrainingError
        There are too few events in the window or in a sideband, a weight is negative, or a
        feature is constant or not finite.
    """
    data, window = job.data, job.window
    which = np.ones(len(data), np.bool_) if chosen is None else chosen
    inside = job.in_window & which & (data.weight != 0)
    if inside.sum() < FEWEST:
        msg = (
            f"{inside.sum()} {name} events in the window {window.name}, at least {FEWEST} are "
            "needed: use more events, or a wider window (search.window)"
        )
        raise TrainingError(msg)
    check_weights(data.weight[inside], "a template", " in the window")
    features = template_features(classifier, job.scope, data)
    x = features.values(data)
    bands = template.sidebands(window)
    beside = SidebandEvents.of(
        x[which], data.mass[which], data.weight[which], window, bands, features.names
    )
    check_features(x[inside], features.names)
    fitted = template.fit(beside, job.seed_of("template"))
    n = round(template.oversampling * inside.sum())
    synthetic, _ = fitted.sample(n, job.seed_of("synthetic"))
    classes = (
        FeatureClass(name, x[inside], data.event_id[inside], 1.0, data.weight[inside]),
        FeatureClass.synthetic("template", synthetic),
    )
    notes = {"sidebands": len(beside), "expected": fitted.expected}
    return feature_scorer(classifier, features, classes, job.seed, notes)


@dataclass(frozen=True)
class FeatureClass:
    """Events that are shown to a classifier as one class, of weight one in all.

    Attributes
    ----------
    name
        What they are called in messages and histories.
    x
        (event, feature) float32.
    event_id
        (event,) uint64, by which those that choose the epoch are drawn.
    target
        1 for the positive class, 0 for the other.
    weight
        (event,); equal ones without it.
    """

    name: str
    x: Float32Array
    event_id: np.ndarray[Any, np.dtype[np.uint64]]
    target: float
    weight: Float64Array | None = None

    @classmethod
    def synthetic(cls, name: str, x: Float32Array) -> FeatureClass:
        """Return synthetic events as the negative class; their numbers are their ids."""
        return cls(name, x, np.arange(len(x), dtype=np.uint64), 0.0)


def feature_scorer(
    classifier: Dense | Trees,
    features: FeatureSet,
    classes: tuple[FeatureClass, ...],
    seed: int,
    notes: Mapping[str, float] | None = None,
) -> Scorer:
    """Return a classifier of features as a tagger that takes the columns they are computed from.

    Parameters
    ----------
    classifier
        Settings; its own `features` are those below.
    features
        The features, in the order of the arrays.
    classes
        At least two.
    seed
        Of this training run.
    notes
        Further numbers for the history.

    Raises
    ------
    TrainingError
        A class has too few events, or the loss is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(400)
    >>> features = FeatureSet.of(("tau21", "log(mass)"), "heavy", sample)
    >>> x = features.values(sample)
    >>> data = FeatureClass("data", x, sample.event_id, 1.0)
    >>> shifted = FeatureClass.synthetic("template", x + np.float32(0.5))
    >>> scorer = feature_scorer(Trees(trees=20), features, (data, shifted), seed=1)
    >>> scorer.inputs[0].columns, scorer.history["template"]
    (('heavy_tau21', 'heavy_mass'), 400)
    """
    names = tuple(f"feature_{i}" for i in range(len(features)))
    shown = [(each, _sample(each, names)) for each in classes]
    labels = WeakLabels(
        tuple(
            SampleClass(each.name, sample, np.ones(len(sample), np.bool_), each.target)
            for each, sample in shown
        ),
        dict(notes or {}),
    )
    inner = classifier.model_copy(update={"features": names}).train(labels, "event", seed)
    # Those that trees with a `feature_share` were shown.
    (taken,) = inner.inputs
    assert isinstance(taken, Columns)
    features = features.some(np.array([names.index(name) for name in taken.columns]))
    if inner.predict is None:
        keras = backend.keras()
        columns = networks.input_tensor(features.input)
        model = keras.Model([columns], inner.model(features.tensor(columns)))
        return replace(inner, model=model, inputs=(features.input,))
    given = inner.predict
    graph = Graph(features.input)
    score = _added(graph, inner.model, features.add(graph, "features"))
    return replace(
        inner,
        model=graph.model(score),
        inputs=(features.input,),
        predict=lambda inputs: given({"features": features.computed(inputs["features"])}),
    )


def _sample(each: FeatureClass, names: tuple[str, ...]) -> Sample:
    return Sample.from_columns(
        np.ones(len(each.x)),
        heavy={},
        light={},
        event=dict(zip(names, each.x.T, strict=True)),
        weight=each.weight,
        event_id=each.event_id,
        where=each.name,
    )


def _added(graph: Graph, model: Any, value: str) -> str:
    """Return the name of a model's score, its nodes appended to a graph after a value."""
    onnx = backend.onnx()
    names = {"features": value}
    for each in model.graph.initializer:
        names[each.name] = graph.constant(onnx.numpy_helper.to_array(each))
    for node in model.graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        inputs = [names[name] for name in node.input]
        names[node.output[0]] = graph.add(node.op_type, *inputs, domain=node.domain, **attributes)
    return names["score"]


def features_of(card: Card, sample: Sample) -> FeatureSet:
    """Return the features that a tagger computes from its columns and takes nothing beside.

    They are those of its setting `features`, or of its classifier's.

    Parameters
    ----------
    card
        Of the tagger.
    sample
        Any events with its columns.

    Raises
    ------
    TrainingError
        The tagger takes something else, or the mass itself is a feature.

    Examples
    --------
    >>> from tnt_coffea import taggers, testing
    >>> card = taggers.load("rnd-3500/tnt/heavy-0-0").card
    >>> features_of(card, testing.make_sample(1, pixels=40))
    Traceback (most recent call last):
    tnt_coffea.errors.TrainingError: a heavy tagger of 'tag_n_train' takes more than features, ...
    """
    given = card.settings.get("classifier", card.settings)
    names = given.get("features") or ()
    features = FeatureSet.of(names, card.scope, sample) if names else None
    if features is not None and "feature_share" in given:
        kept = Trees.model_validate(given).kept(card.scope, sample, card.seed)
        features = features.some(kept)
    if features is None or card.inputs != (features.input,):
        msg = (
            f"a {card.scope} tagger of '{card.method}' takes more than features, and synthetic "
            "events of a template have these alone"
        )
        raise TrainingError(msg)
    if sample.variable in features.names:
        msg = f"{sample.variable}, the mass of the search, is a feature of '{card.method}'"
        raise TrainingError(msg)
    return features


def joint_features(
    taggers: Sequence[Tagger], sample: Sample
) -> tuple[list[Tagger], dict[str, FeatureSet]]:
    """Return taggers as such of events of `feature_sample`, and the features of all of them.

    Parameters
    ----------
    taggers
        Of features.
    sample
        Real events.

    Raises
    ------
    TrainingError
        As `features_of` and `taking_features`.
    """
    every = [features_of(tagger.card, sample) for tagger in taggers]
    found: dict[str, FeatureSet] = {}
    for features in every:
        for number, name in enumerate(features.names):
            found.setdefault(name, features.some(np.array([number])))
    column = {name: f"feature_{number}" for number, name in enumerate(found)}
    taking = [
        taking_features(tagger, features, sample, tuple(column[name] for name in features.names))
        for tagger, features in zip(taggers, every, strict=True)
    ]
    return taking, found


def feature_sample(x: Float32Array, mass: Float64Array, variable: str = "m_jj") -> Sample:
    """Return synthetic events with columns `feature_0`, `feature_1`, ... and a mass.

    Parameters
    ----------
    x
        (event, feature).
    mass
        (event,) [GeV].
    variable
        Column that the mass is in.

    Examples
    --------
    >>> feature_sample(np.ones((2, 2), np.float32), np.array([3500.0, 3600.0]))
    <Sample: 2 dijets, labels unknown; event: m_jj, feature_0, feature_1>
    """
    columns: dict[str, Any] = {f"feature_{i}": column for i, column in enumerate(x.T)}
    if variable != "m_jj":
        columns[variable] = mass
    ids = np.arange(len(mass), dtype=np.uint64)
    made = Sample.from_columns(mass, heavy={}, light={}, event=columns, event_id=ids)
    return made.with_variable(variable)


def taking_features(
    tagger: Tagger, features: FeatureSet, sample: Sample, names: tuple[str, ...]
) -> Tagger:
    """Return a tagger that takes features instead of the columns that they are computed from.

    Its graph is the tagger's own from the features on. No name says which value of the graph they
    are: it is the one that, replaced by the features of real events, leaves their scores as they
    were.

    Parameters
    ----------
    tagger
        Of columns.
    features
        What it computes from them.
    sample
        Real events, of which up to 256 are scored both ways.
    names
        Of the columns that hold the features in a sample of them.

    Raises
    ------
    TrainingError
        No value of the graph is these features.

    Examples
    --------
    >>> from tnt_coffea import taggers, testing
    >>> from tnt_coffea.training.export import seal
    >>> sample = testing.make_sample(400)
    >>> features = FeatureSet.of(("log(mass)", "mass_difference"), "event", sample)
    >>> x = features.values(sample)
    >>> data = FeatureClass("data", x, sample.event_id, 1.0)
    >>> shifted = FeatureClass.synthetic("template", x + np.float32(0.5))
    >>> scorer = feature_scorer(Trees(trees=20), features, (data, shifted), seed=1)
    >>> card = taggers.load("rnd-3500/tnt/heavy-0-0").card
    >>> card = card.model_copy(update={"inputs": scorer.inputs})
    >>> tagger = taggers.Tagger(seal(scorer.model, card))
    >>> of_features = taking_features(tagger, features, sample, ("a", "b", "c"))
    >>> scores = tagger.score(features.input.read(sample))
    >>> bool(np.isclose(of_features.score(x), scores, atol=1e-5).all())
    True
    """
    rows = np.unique(np.linspace(0, len(sample) - 1, _COMPARED).astype(np.int64))
    columns = features.input.reader(sample)(rows)
    expected = tagger.score({features.input.name: columns})
    computed = features.computed(columns)
    shown = Sample.from_columns(
        np.ones(0), heavy={}, light={}, event=dict.fromkeys(names, np.ones(0))
    )
    inputs = (Columns.of(names, shown),)
    card = tagger.card.model_copy(update={"inputs": inputs, "skim": shown.settings})
    for model in _from_a_value_on(backend.onnx().load_from_string(tagger.data), len(features)):
        found = Tagger(seal(model, card), tagger.where)
        try:
            apart = np.abs(found.score(computed) - expected)
        except TaggerError:  # a value of another shape
            continue
        # A feature's last digit may be another one there, and decide at the threshold of a tree.
        if np.mean(apart > TOLERANCE) <= _DECIDED:
            return found
    msg = f"{tagger.where}: no value of its graph is the features {', '.join(features.names)}"
    raise TrainingError(msg)


def _from_a_value_on(model: Any, k: int) -> Iterator[Any]:
    """Return the graphs of (n, k) features that begin at a value on which all depends."""
    helper, kind = backend.onnx().helper, backend.onnx().TensorProto.FLOAT
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    taken = {item.name for item in graph.input}
    given = helper.make_tensor_value_info(Columns.name, kind, ["n", k])
    score = next(item for item in graph.output if item.name == "score")
    for value in [name for node in graph.node for name in node.output]:
        waiting, needed = ["score"], {value}
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += makers[name].input if name in makers else []
        if needed & taken or value == "score":
            continue
        nodes = []
        for node in graph.node:
            if value not in node.output and needed & set(node.output):
                kept = type(node)()
                kept.CopyFrom(node)
                kept.input[:] = [Columns.name if x == value else x for x in node.input]
                nodes.append(kept)
        constants = [item for item in graph.initializer if item.name in needed]
        yield helper.make_model(
            helper.make_graph(nodes, "tagger", [given], [score], constants),
            ir_version=model.ir_version,
            opset_imports=model.opset_import,
        )
