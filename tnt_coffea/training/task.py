"""One training run as a task: picklable, named by all that decides its outcome, and run once.

A task maps the skim, keeps the events of its own folds before it looks at anything else,
trains, and leaves two files in its folder: the tagger, checked, and the history beside it,
which is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import MassRange, digest
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.roles import DATA, SIMULATION, prior_name
from tnt_coffea.events.sample import Sample
from tnt_coffea.storage import stored, written
from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.inputs import Input, readers
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training import backend
from tnt_coffea.training.checks import checked
from tnt_coffea.training.export import keras_graph, seal
from tnt_coffea.training.folds import OUTSIDE, WHOLE, FoldPlan
from tnt_coffea.training.labels import (
    JETS,
    Labeller,
    Ranking,
    Scope,
    labeller_scores,
    labelling_tagger,
    labelling_taggers,
    rankings,
)
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.training.method import Job, Method, Scorer
from tnt_coffea.training.progress import status_file
from tnt_coffea.training.weak_labels import FEWEST
from tnt_coffea.typing import BoolArray, Float32Array, IntArray

__all__ = [
    "CODE",
    "Outcome",
    "RoleEvents",
    "Task",
    "finished",
    "run_task",
    "trained_on",
    "truth_hash",
    "write_bytes",
]

CODE = 3
"""Version of the training, part of every run's key. A change of what the same settings train to
raises it, and finished training runs of another version are repeated."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Outcome:
    """A trained tagger and its place among the folds.

    Attributes
    ----------
    set_name
        Tagger set that it belongs to.
    scope
        heavy, light or event.
    scored
        Outer fold that it may score.
    left_out
        Inner fold left out of its training run, `WHOLE` for none.
    sha256, path
        SHA-256 and path of the ONNX file.
    history
        Losses and sizes, JSON values.
    member
        Number among training runs that differ in their seed alone.
    uses_truth
        Whether it was trained with the truth.

    Examples
    --------
    >>> outcome = Outcome("tnt", "heavy", scored=0, left_out=1, sha256="", path="", history={})
    >>> outcome.scored, outcome.left_out, outcome.uses_truth
    (0, 1, False)
    """

    set_name: str
    scope: str
    scored: int
    left_out: int
    sha256: str
    path: str
    history: Mapping[str, Any]
    member: int = 0
    uses_truth: bool = False


@dataclass(frozen=True)
class RoleEvents:
    """The events of one role that a training run reads.

    Attributes
    ----------
    paths
        Parts of the skim.
    content
        SHA-256 of the events that the folds leave, labels excluded.
    """

    paths: tuple[str, ...]
    content: str


@dataclass(frozen=True)
class Task:
    """One training run.

    Attributes
    ----------
    name
        Name of the method in `train.methods`.
    method
        The method.
    set_name
        Tagger set of the outcome: the name, and the window where several are scanned.
    plan
        Folds trained on, and the fold that the outcome may score.
    left_out
        Inner fold left out, `WHOLE` for none.
    scope
        What the tagger scores.
    round_
        Number of training runs that it builds on, one on the other.
    member
        Number among training runs that differ in their seed alone.
    labellers
        Taggers that it needs, one for every inner fold trained on.
    events
        Events that it reads, by role.
    layout
        Parts that say how the skim was made, for a method that reads no events.
    truth
        Hash of the labels, for a method that reads them.
    uses_truth
        Whether it reads labels, or builds on a method that does.
    window
        Window in mass, if it depends on one.
    variable
        Column of the event in which the resonance is looked for.
    seed
        Root seed.
    folder
        Folder of the outcome.
    adoptable
        Taggers of its own folds and scope that may become the outcome.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, Skim, testing
    >>> from tnt_coffea.training import Schedule
    >>> skim = Skim.from_sample(testing.make_sample(100))
    >>> with TemporaryDirectory() as folder:
    ...     schedule = Schedule.planned(skim.by_role, SearchConfig(), folder)
    ...     task = schedule.tasks(schedule.waves[0])[0]
    >>> task.description
    'autoencoder of the heavy jet for fold 0, without inner fold 0'
    >>> task.place
    {'scored': 0, 'left_out': 0, 'round': 0, 'member': 0}
    """

    name: str
    method: Method
    set_name: str
    plan: FoldPlan
    left_out: int
    scope: Scope
    round_: int
    member: int
    labellers: tuple[Labeller, ...]
    events: Mapping[str, RoleEvents]
    layout: tuple[str, ...]
    truth: str
    uses_truth: bool
    window: MassRange | None
    variable: str
    seed: int
    folder: str
    adoptable: tuple[Labeller, ...] = ()

    @property
    def description(self) -> str:
        """The task in words, for messages."""
        what = f"{self.scope} jet" if self.scope in JETS else self.scope
        scores = self.plan.scores
        fold = f"fold{'s' * (len(scores) > 1)} {', '.join(map(str, scores))}"
        if self.plan.scored == OUTSIDE:
            fold = "every fold"
        without = "" if self.left_out == WHOLE else f", without inner fold {self.left_out}"
        return f"{self.set_name} of the {what} for {fold}{without}"

    @property
    def run_seed(self) -> int:
        """Seed of this training run alone."""
        return seeds.integer(
            self.seed,
            "train",
            self.window.name if self.window else "all masses",
            self.plan.scored,
            self.left_out,
            self.scope,
            self.name,
            self.round_,
            *(("member", self.member) if self.member else ()),
        )

    @cached_property
    def versions(self) -> dict[str, str]:
        """Libraries that have a part in the outcome."""
        return backend.versions(*self.method.libraries)

    @property
    def place(self) -> dict[str, int]:
        """Where it stands among the training runs of its method."""
        return {
            "scored": self.plan.scored,
            "left_out": self.left_out,
            "round": self.round_,
            "member": self.member,
        }

    @cached_property
    def key(self) -> str:
        """Digest of everything that decides the outcome; paths do not."""
        return digest(
            {
                "code": CODE,
                "method": self.method.model_dump(mode="json"),
                "content": self.method.content(),
                "scope": self.scope,
                "place": self.place,
                "folds": self.plan.settings.model_dump(mode="json"),
                "fold_seed": self.plan.seed,
                "training_folds": list(self.plan.training),
                "events": {role: events.content for role, events in self.events.items()},
                "truth": self.truth,
                "needs": [
                    [item.method, item.inner, item.scope, item.sha256]
                    for item in (*self.labellers, *self.adoptable)
                ],
                "window": self.window and self.window.model_dump(mode="json"),
                "variable": self.variable,
                "seed": self.run_seed,
                "versions": self.versions,
            }
        )[:32]

    @property
    def history_path(self) -> Path:
        """Where its history goes, which is written last."""
        return Path(self.folder) / f"{self.key}.json"

    @property
    def status_path(self) -> Path:
        """Where it reports its progress while it runs."""
        return self.history_path.with_suffix(".progress")

    @property
    def tagger_path(self) -> Path:
        """Where its tagger goes."""
        return self.history_path.with_suffix(".onnx")


def run_task(task: Task) -> Outcome:
    """Return the outcome of a task; a finished one is read from its folder.

    Parameters
    ----------
    task
        The training run.

    Raises
    ------
    TrainingError
        It cannot start, its tagger does not pass `checks.checked`, or the skim has changed.
    LeakError
        A labeller was trained on events that it would label.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, Skim, testing
    >>> from tnt_coffea.training import Schedule
    >>> config = SearchConfig.from_text("train: {methods: {mass: {kind: feature}}}")
    >>> skim = Skim.from_sample(testing.make_sample(100))
    >>> with TemporaryDirectory() as folder:
    ...     schedule = Schedule.planned(skim.by_role, config, folder)
    ...     outcome = run_task(schedule.tasks(schedule.waves[0])[0])
    >>> outcome.set_name, outcome.scope
    ('mass', 'heavy')
    """
    done = finished(task)
    if done is not None:
        return done
    try:
        with (
            status_file(task.status_path, task.description, task.method.passes),
            backend.one_thread(),
        ):
            samples = {role: _sample(task, role) for role in (DATA, *task.events)}
            scorer, model = trained_on(task, samples, _shown(task, samples))
    except (TrainingError, ConfigError) as error:
        msg = f"{task.description}: {error}"
        raise type(error)(msg) from error
    data = seal(model, _card(task, samples, scorer))
    write_bytes(task.tagger_path, data)
    with_keras = "keras" in task.versions
    history = dict(scorer.history) | (backend.accelerator() if with_keras else {})
    outcome = _outcome(task, hashlib.sha256(data).hexdigest(), history)
    values = asdict(outcome) | {"path": Path(outcome.path).name}
    write_bytes(task.history_path, json.dumps(values, indent=1).encode())
    return outcome


def _sample(task: Task, role: str) -> Sample:
    if role not in task.events:  # no event is read, only how the skim was made
        return _mapped(task, task.layout).select(np.arange(0))
    wanted = task.events[role]
    truth = task.method.reads.truth and role == DATA
    events = _mapped(task, wanted.paths, truth=truth)
    sample = events.select(
        selected(task.method, task.plan, task.left_out, task.round_, role)(events.event_id)
    )
    given = (sample.content_hash(), truth_hash(sample) if truth else "")
    if given != (wanted.content, task.truth if truth else ""):
        msg = "the skim is not the one that the training was planned for; start again"
        raise TrainingError(msg)
    return sample


def _mapped(task: Task, paths: tuple[str, ...], *, truth: bool = False) -> Sample:
    return mapped_events(paths, task.folder, truth=truth).with_variable(task.variable)


def selected(
    method: Method, plan: FoldPlan, left_out: int, round_: int, role: str
) -> Callable[[npt.NDArray[np.uint64]], BoolArray]:
    """Return the function from event ids to whether a training run reads the event."""
    if role == DATA:
        whole = method.reads.left_out
        return lambda event_id: plan.trains(event_id, left_out, round_, whole=whole)
    return lambda event_id: plan.simulation(event_id, left_out, round_)


def by_prior(by_role: Mapping[str, _Item]) -> dict[str, _Item]:
    """Return what belongs to simulated signals, by their names."""
    named = {prior_name(role): item for role, item in by_role.items()}
    return {name: item for name, item in named.items() if name is not None}


def truth_hash(sample: Sample) -> str:
    """Return the SHA-256 of a sample's labels, in the order of the ids."""
    return hashlib.sha256(np.ascontiguousarray(sample.label).tobytes()).hexdigest()


def _shown(task: Task, samples: Mapping[str, Sample]) -> Sample:
    """Return events to check the tagger on; any of the skim for a method that reads none."""
    read = next((sample for sample in samples.values() if len(sample)), None)
    if read is not None:
        return read
    events = _mapped(task, task.layout)
    return events.select(np.arange(min(len(events), 256)))


def trained_on(task: Task, samples: Mapping[str, Sample], shown: Sample) -> tuple[Scorer, Any]:
    """Return the scorer that the task's method trains, and its checked ONNX model.

    Parameters
    ----------
    task
        The training run.
    samples
        By role, the events that the folds leave.
    shown
        Events to check the tagger on.

    Raises
    ------
    TrainingError
        The method gives nothing usable: see `checks.checked`.
    """
    data = samples[DATA]
    method, plan = task.method, task.plan
    if DATA in task.events and len(data) < FEWEST:
        msg = f"{len(data)} events to train on, at least {FEWEST} are needed: use more events"
        raise TrainingError(msg)

    def labellers(name: str, scope: Scope) -> list[Labeller]:
        own = [item for item in task.labellers if (item.method, item.scope) == (name, scope)]
        if not own:
            msg = f"it needs no taggers of '{name}' for scope {scope}; name them in `needs`"
            raise TrainingError(msg)
        return own

    def ranked(name: str, scope: Scope, sample: Sample = data) -> list[Ranking]:
        return rankings(sample, plan.inner_of(sample.event_id), labellers(name, scope), plan)

    def scored(name: str, scope: Scope, sample: Sample) -> Float32Array:
        inner = plan.inner_of(sample.event_id)
        return labeller_scores(sample, inner, labellers(name, scope), plan)

    def taggers(name: str, scope: Scope, sample: Sample) -> list[tuple[Tagger, IntArray]]:
        inner = plan.inner_of(sample.event_id)
        return labelling_taggers(sample, inner, labellers(name, scope), plan)

    def adopted(name: str) -> Scorer:
        own = [item for item in task.adoptable if item.method == name]
        if not own:
            msg = f"it adopts no taggers of '{name}'; say `adopted=True` in `needs`"
            raise TrainingError(msg)
        return Scorer.of_tagger(labelling_tagger(own[0], plan))

    left_out = plan.left_out(data.event_id, task.left_out) if method.reads.left_out else None
    scorer = method.train(
        Job(
            data=data,
            scope=task.scope,
            window=task.window,
            seed=task.run_seed,
            left_out=left_out,
            simulation=samples.get(SIMULATION),
            priors=by_prior(samples) if method.reads.priors else None,
            rankings=ranked,
            scores=scored,
            taggers=taggers,
            adopted=adopted,
        )
    )
    given: object = scorer
    if not isinstance(given, Scorer):
        msg = f"`train` gave {type(scorer).__name__}, expected a Scorer"
        raise TrainingError(msg)
    if not all(isinstance(item, Input) for item in scorer.inputs):
        msg = f"the scorer's inputs are {scorer.inputs!r}, expected inputs as of `taggers.inputs`"
        raise TrainingError(msg)
    model = scorer.model if hasattr(scorer.model, "graph") else keras_graph(scorer.model)
    return checked(scorer, model, readers(scorer.inputs, shown), len(shown)), model


def _card(task: Task, samples: Mapping[str, Sample], scorer: Scorer) -> Card:
    made_with = (*task.labellers, *task.adoptable)
    plan, contents = task.plan, {role: item.content for role, item in task.events.items()}
    reads_data = DATA in task.events
    ancestors = plan.ancestors(task.round_)
    # What the epoch is chosen on is read as much as what is trained on.
    whole = task.method.reads.left_out
    direct = ancestors if whole else plan.direct(task.left_out, task.round_)
    # What labelled or made it knew, it knows as well.
    before = [
        *task.method.made_of(task.scope),
        *(Tagger.from_file(item.path, sha256=item.sha256).card for item in made_with),
    ]
    simulation = next((card.simulation for card in before if card.simulation), "")
    priors = {name: sha256 for card in before for name, sha256 in card.priors.items()}
    return Card(
        method=task.method.kind,
        scope=task.scope,
        inputs=scorer.inputs,
        skim=samples[DATA].settings,
        training_sample=contents.get(DATA, ""),
        simulation=contents.get(SIMULATION, simulation),
        priors=priors | by_prior(contents),
        folds=plan.settings,
        fold_seed=plan.seed,
        direct=direct if reads_data else (),
        ancestors=ancestors if reads_data or made_with else (),
        labelled_by=tuple(dict.fromkeys(item.sha256 for item in made_with)),
        window=task.window,
        variable=task.variable,
        uses_truth=task.uses_truth,
        orientation=task.method.orientation,
        purpose=task.method.purpose,
        regions=dict(scorer.regions),
        seed=task.run_seed,
        settings=task.method.model_dump(mode="json"),
        place=task.place,
        history=dict(scorer.summary),
        notes=task.method.notes,
        versions=task.versions,
    )


def _outcome(task: Task, sha256: str, history: Mapping[str, Any]) -> Outcome:
    return Outcome(
        set_name=task.set_name,
        scope=task.scope,
        scored=task.plan.scored,
        left_out=task.left_out,
        sha256=sha256,
        path=str(task.tagger_path),
        history=history,
        member=task.member,
        uses_truth=task.uses_truth,
    )


def finished(task: Task) -> Outcome | None:
    """Return the outcome of a task that is finished, None where it has to be run."""
    try:
        values = json.loads(task.history_path.read_bytes())
        outcome = _outcome(task, values["sha256"], values["history"])
        data = task.tagger_path.read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        # Never begun, or killed half-way: made again.
        return None
    return outcome if hashlib.sha256(data).hexdigest() == outcome.sha256 else None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file of a training run; raises `StorageError` where that cannot be done."""
    with stored(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as partial:
        partial.write_bytes(data)
