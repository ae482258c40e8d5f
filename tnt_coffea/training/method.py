"""The one interface of all methods: a method is its settings, and trains one tagger of one sample.

A method says what it reads and what it builds on, and has a function `train`. Folds, order,
members, windows, caching, export, the check of every tagger, cards and costs are the framework's.

| to say | write |
|---|---|
| one tagger a jet, or one an event | `scopes` |
| it depends on the window in mass, or reads simulation or truth | `reads` |
| other taggers label, rank or weight its events | `needs` |
| why a higher score is more anomalous | `orientation` |
| its taggers give weights of simulated events | `purpose`; `weighted_by` for who uses them |
| what the skim has to hold | `check` |
| the training itself | `train(job) -> Scorer` |
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from inspect import isabstract
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticUndefined

from tnt_coffea import seeds
from tnt_coffea.config import MassRange, MethodSettings, SearchConfig
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.roles import SIMULATION, prior_name
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.inputs import Input
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training import backend
from tnt_coffea.training.fitting import (
    Change,
    History,
    Loss,
    Merit,
    OptimizerSettings,
    cross_entropy,
    fit,
)
from tnt_coffea.training.labels import JETS, Ranking, Scope
from tnt_coffea.training.weak_labels import WeakLabels
from tnt_coffea.typing import BoolArray, Float32Array, IntArray

__all__ = [
    "Job",
    "Method",
    "Need",
    "Purpose",
    "Reads",
    "Scope",
    "Scorer",
    "TrainedOn",
    "methods_of",
]

Purpose = Literal["score", "weight"]
"""What the taggers of a method are for: to score events that are searched, or to weight simulated
background."""
_SHORTENED = {
    "epochs": 2,
    "averaged": 2,
    "cycles": 2,
    "trees": 2,
    "candidates": 1,
    "networks": 1,
    "members": 1,
}
"""Settings by which a training run becomes short, wherever a method has them."""


@dataclass(frozen=True)
class Reads:
    """What the training runs of a method read.

    Attributes
    ----------
    data
        The events that are searched.
    window
        The window in mass: there is one training for each.
    left_out
        The inner fold left out as well, to choose the epoch by; taggers that are needed label it.
    simulation
        Simulated background (role `simulation`).
    priors
        Simulated signals (roles `prior:NAME`): all, one at least, or those of these names.
    truth
        Labels: for references, whose taggers no search accepts.
    without_priors
        Whether it does without simulated signals where none is given.

    Examples
    --------
    >>> reads = Reads(window=True, priors=("two-prong",))
    >>> reads.data, reads.truth, reads.prior("two-prong"), reads.prior("three-prong")
    (True, False, True, False)
    """

    data: bool = True
    window: bool = False
    left_out: bool = False
    simulation: bool = False
    priors: bool | tuple[str, ...] = False
    truth: bool = False
    without_priors: bool = False

    def prior(self, name: str) -> bool:
        """Return whether the simulated signal of that name is read."""
        return self.priors if isinstance(self.priors, bool) else name in self.priors

    def role(self, role: str) -> bool:
        """Return whether events of that role are read.

        Examples
        --------
        >>> [role for role in ("data", "simulation", "prior:a") if Reads(priors=True).role(role)]
        ['data', 'prior:a']
        """
        name = prior_name(role)
        if name is not None:
            return self.prior(name)
        return self.simulation if role == SIMULATION else self.data

    @property
    def named_priors(self) -> tuple[str, ...]:
        """The simulated signals that it reads by name."""
        return () if isinstance(self.priors, bool) else self.priors

    @property
    def knowledge(self) -> str:
        """What is read beside the data, in the words of cards, results and tables."""
        if self.priors:
            return "signal simulation"
        return "background simulation" if self.simulation else "none"


class TrainedOn(StrEnum):
    """Which events a method learns the background from, for its setting `sample`.

    Examples
    --------
    >>> TrainedOn.SIMULATION.reads.data, TrainedOn("data").reads.data
    (False, True)
    """

    DATA = "data"
    SIMULATION = "simulation"

    @property
    def reads(self) -> Reads:
        """The data, or simulated background instead of them."""
        return Reads(data=self is TrainedOn.DATA, simulation=self is TrainedOn.SIMULATION)

    def events(self, job: Job) -> Sample:
        """Return the events of a job."""
        return job.data if self is TrainedOn.DATA else job.simulation


@dataclass(frozen=True)
class Need:
    """Taggers of another method that a training run needs on its own events.

    Attributes
    ----------
    method
        Name of the method in `train.methods`.
    scope
        What these taggers score.
    purpose
        Whether it is a score that is needed, or weights of simulated events.
    adopted
        Whether the outcome may be that tagger itself, by `Job.adopted`; what such a run reads of
        other taggers is that of their first members, so that all members adopt the same one.

    Examples
    --------
    >>> from tnt_coffea.training.methods.tag_n_train import TagNTrain
    >>> TagNTrain(after="autoencoder").needs("heavy")  # the other jet's tagger labels
    (Need(method='autoencoder', scope='light', purpose='score'),)
    """

    method: str
    scope: Scope
    purpose: Purpose = "score"
    adopted: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class Scorer:
    """Outcome of `Method.train`: a model from named inputs to a score.

    Attributes
    ----------
    model
        keras.Model with inputs by the names of `taggers.inputs` to the score (n,), or to
        the score and a latent vector (n, k); or an onnx.ModelProto of `graph.Graph`.
    inputs
        Inputs of the model.
    history
        Losses and sizes for plots, as JSON values.
    summary
        Numbers for the card, such as the losses of the weights kept.
    predict
        For an ONNX model, the function from inputs by name to (n,) scores that it has to agree
        with; a Keras model is that function.
    seconds
        Wall time of every epoch; in no file.
    regions
        Ranges in mass by name that a search has to know; of a latent vector of weights, one a
        component.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training.methods.feature import Feature
    >>> job = Job(testing.make_sample(10), scope="heavy", seed=1)
    >>> scorer = Feature(feature="tau21", descending=True).train(job)
    >>> scorer.inputs[0].columns
    ('heavy_tau21',)
    >>> scorer.predict({"features": np.array([[0.25]], np.float32)}).tolist()
    [-0.25]
    """

    model: Any
    inputs: tuple[Input, ...]
    history: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, float] = field(default_factory=dict)
    predict: Callable[[dict[str, Float32Array]], Float32Array] | None = None
    seconds: tuple[float, ...] = ()
    regions: Mapping[str, MassRange] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: Any, inputs: Sequence[Input] | Input, history: History, **notes: Any
    ) -> Scorer:
        """Return the scorer of a Keras model with the history of its fit."""
        return cls(
            model,
            (inputs,) if isinstance(inputs, Input) else tuple(inputs),
            history.to_dict() | notes,
            history.summary(),
            seconds=history.seconds,
        )

    @classmethod
    def of_tagger(cls, tagger: Tagger) -> Scorer:
        """Return the scorer that is a tagger as it is."""
        model = backend.onnx().load_from_string(tagger.data)
        del model.metadata_props[:]
        card = tagger.card
        return cls(model, card.inputs, predict=tagger.score, regions=dict(card.regions))


_Item = TypeVar("_Item")


def _declared(item: _Item | None, what: str, name: str) -> _Item:
    if item is None:
        msg = f"this job has no {what}: say `Reads({name}=True)` in `reads`"
        raise TrainingError(msg)
    return item


def _nothing(name: str, *what: object) -> Any:
    msg = f"this job has no taggers of '{name}'; name them in `needs`"
    raise TrainingError(msg)


class Job:
    """Events, window and seed of one training run: what its method reads, and nothing else.

    Parameters
    ----------
    data
        Events to train on, in the order of their ids; labels are -1 unless the method reads
        truth. Weights may be of either sign.
    scope
        heavy, light or event.
    seed
        Seed of this training run, below 2**31.
    window
        Window in the mass of the data (`Sample.mass`), for a method that reads one.
    left_out
        (event,) bool, the inner fold left out, for a method that reads it.
    simulation
        Simulated background of the same folds, for a method that reads it.
    priors
        Simulated signals by name, for a method that reads them.
    rankings
        Function from a method's name and a jet, and a sample of this job other than the data, to
        the order of the events by its taggers.
    scores
        Function from a method's name, a scope and a sample of this job to the (event,) scores
        of its taggers.
    taggers
        Function from the same to these taggers, each with the (event,) row numbers of the inner
        fold that it scores.
    adopted
        Function from a method's name to its tagger of this job's scope and folds, as a scorer.

    Raises
    ------
    TrainingError
        By the attributes: the method reads what it did not declare in `reads` or `needs`.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.config import MassRange
    >>> job = Job(testing.make_sample(100), "heavy", 1, window=MassRange(low=3300, high=3700))
    >>> job.in_window.shape, job.in_window.all().item()
    ((100,), False)
    >>> job.seed_of("candidate", 1) == job.seed_of("candidate", 2)
    False
    """

    def __init__(
        self,
        data: Sample,
        scope: Scope,
        seed: int,
        *,
        window: MassRange | None = None,
        left_out: BoolArray | None = None,
        simulation: Sample | None = None,
        priors: Mapping[str, Sample] | None = None,
        rankings: Callable[..., list[Ranking]] = _nothing,
        scores: Callable[[str, Scope, Sample], Float32Array] = _nothing,
        taggers: Callable[[str, Scope, Sample], list[tuple[Tagger, IntArray]]] = _nothing,
        adopted: Callable[[str], Scorer] = _nothing,
    ) -> None:
        self.data, self.scope, self.seed = data, scope, seed
        self.rankings, self.scores = rankings, scores
        self.taggers, self.adopted = taggers, adopted
        self._window, self._left_out = window, left_out
        self._simulation, self._priors = simulation, priors

    @property
    def window(self) -> MassRange:
        """The window in mass."""
        return _declared(self._window, "the window", "window")

    @property
    def left_out(self) -> BoolArray:
        """(event,) whether the event lies in the inner fold left out; nowhere without one."""
        if self._left_out is None:
            return np.zeros(len(self.data), dtype=np.bool_)
        return self._left_out

    @property
    def simulation(self) -> Sample:
        """Simulated background."""
        return _declared(self._simulation, "simulated background", "simulation")

    @property
    def priors(self) -> Mapping[str, Sample]:
        """Simulated signals by name; none for a method that does without."""
        return _declared(self._priors, "simulated signals", "priors")

    @property
    def in_window(self) -> BoolArray:
        """(event,) whether the mass of the data lies in the window."""
        return self.window.contains(self.data.mass)

    def seed_of(self, *names: str | int) -> int:
        """Return a seed of one named purpose of this training run."""
        return seeds.integer(self.seed, *names)

    def fit(
        self,
        model: Any,
        inputs: Sequence[Input] | Input,
        labels: WeakLabels,
        *,
        epochs: int,
        optimizer: OptimizerSettings | None = None,
        loss: Loss = cross_entropy,
        merit: Merit | None = None,
        change: Change | None = None,
        seed: int | None = None,
    ) -> History:
        """Fit a Keras model to classes of events in place, and return its losses.

        Parameters
        ----------
        model
            keras.Model with named inputs.
        inputs
            Inputs of the model.
        labels
            Classes of events.
        epochs, optimizer, loss, merit, change
            As in `training.fitting.fit`.
        seed
            Seed of the fit; that of the job without it.

        Raises
        ------
        TrainingError
            A class has too few events, or the loss is not finite.
        """
        chosen = optimizer or OptimizerSettings()
        own = self.seed if seed is None else seed
        shown = (inputs,) if isinstance(inputs, Input) else tuple(inputs)
        training, validation = labels.split(shown, chosen.validation, own)
        return fit(
            model,
            loss,
            training,
            validation,
            optimizer=chosen,
            epochs=epochs,
            seed=own,
            merit=merit,
            change=change,
        )


class Method(MethodSettings):
    """A way to train taggers: derive from it, with settings as fields and a `kind` of its own.

    Attributes
    ----------
    scopes
        Scopes with a tagger each: heavy, light, event.
    orientation
        The rule, free of truth, by which a higher score is more anomalous; on the card.
    caution
        What is known to go wrong without a signal; `train` warns of it. Empty: nothing.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> from tnt_coffea.training.methods.feature import Feature
    >>> method = Feature(feature="tau21", descending=True)
    >>> method.scopes, method.orientation, method.reads.data
    (('heavy', 'light'), 'fixed sign', False)
    >>> SearchConfig.model_validate({"train": {"methods": {"low-tau21": method}}}).train.methods
    {'low-tau21': Feature(feature='tau21', descending=True)}
    """

    # Left out of what is stored where it is false: settings from before it have the same digest.
    decorrelate: bool = Field(
        False,
        exclude_if=lambda wanted: not wanted,
        description="rank a score of the event among events of the same mass",
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")
    orientation: ClassVar[str]
    purpose: ClassVar[Purpose] = "score"
    caution: ClassVar[str] = ""

    @model_validator(mode="after")
    def _can_be_decorrelated(self) -> Self:
        if not self.decorrelate:
            return self
        if self.scopes != ("event",) or self.purpose != "score":
            what = f"{' and '.join(self.scopes)}{' jets' if self.scopes[0] in JETS else ''}"
            what = "weights" if self.purpose != "score" else what
            msg = (
                f"decorrelate: {self.kind} gives scores of {what}, and only a score of the event "
                "is ranked among events of the same mass; leave decorrelate out"
            )
            raise ValueError(msg)
        return self

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class that does not say what every method has to say.

        Raises
        ------
        TypeError
            `kind` is no literal, `scopes` has other names, or `orientation` is missing.
        """
        super().__pydantic_init_subclass__(**kwargs)
        if isabstract(cls):
            return
        kind = cls.model_fields["kind"]
        kind.description = kind.description or "kind of method, `tnt-coffea methods list`"
        if get_origin(kind.annotation) is not Literal or kind.default is PydanticUndefined:
            msg = f'{cls.__name__}: write `kind: Literal["my_kind"] = "my_kind"`'
            raise TypeError(msg)
        known = get_args(Scope)
        if not (isinstance(cls.scopes, tuple) and cls.scopes and set(cls.scopes) <= set(known)):
            msg = f"{cls.__name__}: scopes is {cls.scopes!r}, a tuple of some of {known}"
            raise TypeError(msg)
        if not isinstance(getattr(cls, "orientation", None), str):
            msg = f"{cls.__name__}: say in `orientation` why a higher score is more anomalous"
            raise TypeError(msg)

    @property
    def reads(self) -> Reads:
        """What its training runs read."""
        return Reads()

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the taggers that a training run needs on its own events."""
        return ()

    @property
    def weighted_by(self) -> str | None:
        """Name of the method whose weights make simulated background its background, if any."""
        return None

    def made_of(self, scope: Scope) -> tuple[Card, ...]:
        """Return the cards of taggers from elsewhere that are part of its own.

        What these knew beside the data, its own taggers know as well.
        """
        return ()

    def builds_on(self) -> tuple[str, ...]:
        """Return the names of the methods that it needs taggers of."""
        names = (need.method for scope in self.scopes for need in self.needs(scope))
        return tuple(dict.fromkeys(names))

    @property
    def uses_inner_folds(self) -> bool:
        """Whether there is a training run for each inner fold, which it leaves out.

        By default where others label its events, or it chooses its epoch on that fold. A method
        on which others build gets inner folds in any case.
        """
        return bool(self.builds_on()) or self.reads.left_out

    @property
    def is_random(self) -> bool:
        """Whether training runs with other seeds differ."""
        return True

    @property
    def passes(self) -> int:
        """Most passes over the events in one training run, for progress and costs.

        The epochs of all networks, or the trees; 1 where nothing is repeated.
        """
        return 1

    def trained_on(self, events: Mapping[str, int], scope: Scope) -> int:
        """Return the number of events that the epochs of a training run go over, for its cost.

        Parameters
        ----------
        events
            Numbers of events that it reads, by role.
        scope
            Of the tagger.

        Returns
        -------
        int
            All of them, unless the method says otherwise.
        """
        return sum(events.values())

    @property
    def notes(self) -> dict[str, str]:
        """What has to be known of its settings beside their values; on the card."""
        return {}

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages that have a part in the outcome; their versions are on the card."""
        return backend.libraries()

    def shortened(self) -> Self:
        """Return the method with short training runs, to measure its cost.

        Settings called `epochs`, `averaged`, `cycles` or `trees` become 2, `candidates`, `networks`
        and `members` 1, those of classifiers as well.
        """
        short: Self = _shortened(self)
        return short

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim that lacks what a training run reads, before the first of them.

        Parameters
        ----------
        sample
            Events of the skim, or none: its settings and columns count.
        scope
            heavy, light or event.

        Raises
        ------
        ConfigError, InputError
            The skim lacks an input.
        """

    def check_priors(self, names: Sequence[str]) -> None:
        """Refuse names of simulated signals that do not say what the method has to know.

        Raises
        ------
        ConfigError
            A name does not suit.
        """

    def check_window(self, window: MassRange, fit_range: MassRange) -> None:
        """Refuse a window that the method cannot be trained for.

        Raises
        ------
        ConfigError
            The window does not suit, for example its sidebands leave the range.
        """

    @abstractmethod
    def train(self, job: Job) -> Scorer:
        """Return the tagger of one job."""


def _shortened(settings: Any) -> Any:
    update: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name in _SHORTENED and isinstance(value, int):
            update[name] = min(value, _SHORTENED[name])
        elif hasattr(type(value), "model_fields"):
            update[name] = _shortened(value)
    return settings.model_copy(update=update)


def methods_of(config: SearchConfig) -> dict[str, Method]:
    """Return the methods of a search by name.

    Raises
    ------
    TrainingError
        A method has no `train`.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> {name: method.kind for name, method in methods_of(SearchConfig()).items()}
    {'autoencoder': 'autoencoder', 'tnt': 'tag_n_train'}
    """
    found = {}
    for name, method in config.train.methods.items():
        if not isinstance(method, Method):
            msg = f"train.methods.{name}: {type(method).__name__} has no `train`"
            raise TrainingError(msg)
        found[name] = method
    return found
