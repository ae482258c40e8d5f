"""The stage `train`: from dijets to tagger sets with their quantile maps."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tnt_coffea.config import SearchConfig, SkimSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources, map_tasks
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    done,
    one_writer,
    train_stage,
)
from tnt_coffea.pipeline.training_display import shown
from tnt_coffea.products import Skim, Taggers, as_skim
from tnt_coffea.storage import written
from tnt_coffea.visibility import blind_worker, marked

if TYPE_CHECKING:
    from tnt_coffea.training.costs import Costs

__all__ = ["check_training", "train", "training_costs"]

_BATCH = 64
"""Training runs whose outcomes come home together, from workers that do not see the folder."""


@one_writer
def train(
    skim: Skim | Sample,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Taggers:
    """Return the tagger sets of `train.methods`, trained on the unlabelled dijets.

    Each event is scored only by taggers that neither it nor any event of its fold had a
    part in. The quantile maps and working points are made here as well. References, which
    are trained with the truth, go to `train/references` and are not returned. What the
    methods assume and the data do not show is in `train/assumptions.json`.

    Parameters
    ----------
    skim
        The dijets by role, on disk or in memory; labels are read for references alone.
    config
        `seed`, `train` and `search` are read.
    out
        Folder of the search; the taggers go to `train`.
    resources
        What may be used.

    Raises
    ------
    MissingExtraError
        TensorFlow is not installed.
    TrainingError
        A training cannot start or gives nothing usable.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, testing
    >>> config = SearchConfig.from_text("train: {methods: {mass: {kind: feature}}}")
    >>> with TemporaryDirectory() as out:
    ...     taggers = train(testing.make_sample(200), config, out=out)
    >>> taggers.sets["mass"].scopes, taggers.sets["mass"].scored_folds
    (('heavy', 'light'), (0, 1))
    """
    from tnt_coffea.training import assumptions, cross_validate, mapped_events, steps_of

    check_types(
        skim=(skim, Skim, Sample), config=(config, SearchConfig), resources=(resources, Resources)
    )
    resources, skim = resources or Resources(), as_skim(skim)
    chosen = config.search
    stage = train_stage(skim, config, out)
    if not done(stage, resources):
        _check_scores(steps_of(config))  # refuses settings before the folder is theirs
        parts = begun(stage, config)
        with resources.open() as executor, marked(parts, *skim.paths[:1]) as mark:
            blind = functools.cache(lambda: blind_worker(executor, mark))

            def run_tasks(tasks: Sequence[Any], function: Callable[[Any], Any]) -> list[Any]:
                watched = shown(tasks) if resources.progress else nullcontext()
                with watched:
                    if blind():
                        return _elsewhere(tasks, executor, blind())
                    return map_tasks(function, tasks, executor.copy(status=False), "Training")

            by_role = {
                role: [path.resolve() for path in paths]
                for role, paths in skim.for_training.items()
            }
            outcomes = cross_validate(by_role, config, run_tasks, parts.resolve())
        with resources.announced("Ranking every fold's events by its own taggers"):
            sample = mapped_events(skim.paths, parts).with_variable(chosen.variable)
            made, references = (
                replace(
                    kind,
                    sets={
                        name: s.calibrated(
                            sample,
                            chosen.fit_range,
                            chosen.efficiencies,
                            chosen.cuts,
                            chosen.window,
                        )
                        for name, s in kind.sets.items()
                    },
                )
                for kind in _tagger_sets(outcomes, config)
            )
            numbers = {role: len(mapped_events(p, parts)) for role, p in skim.for_training.items()}
            weights = {name: replace(own, trained_on=numbers) for name, own in made.weights.items()}
            made = replace(made, weights=weights)
            methods = [step.method for wave in steps_of(config) for step in wave]
            cautions = {method.kind: method.caution for method in methods}
            noted = {
                name: assumptions(
                    s,
                    sample,
                    chosen.window,
                    chosen.fit_range,
                    [item.history for item in outcomes[name]],
                    cautions.get(s.members[0].tagger.card.method, ""),
                ).to_dict()
                for name, s in made.sets.items()
            }
        made.save(stage.folder)
        text = json.dumps(noted, indent=1, sort_keys=True) + "\n"
        with written(stage.folder / "assumptions.json") as path:
            path.write_text(text)
        if references.sets:
            (stage.folder / "references").mkdir(exist_ok=True)
            references.save(stage.folder / "references")
        stage.finish({"sets": {name: s.digest for name, s in made.sets.items()}})
    return Taggers.load(stage.folder)


def _elsewhere(tasks: Sequence[Any], executor: Any, worker: str) -> list[Any]:
    """Return the outcomes of training runs on workers that do not see their folder."""
    from tnt_coffea.training.elsewhere import Elsewhere, missing

    outcomes, left = missing(tasks)
    # What a batch makes is on disk before the next: a killed search goes on there.
    for first in range(0, len(left), _BATCH):
        batch = left[first : first + _BATCH]
        work = Elsewhere.of(batch, worker)
        brought = map_tasks(work, batch, executor.copy(status=False), "Training")
        outcomes += [one.stored(task) for task, one in zip(batch, brought, strict=True)]
    return outcomes


def check_training(
    config: SearchConfig,
    roles: Iterable[str] | None = None,
    settings: SkimSettings | None = None,
) -> None:
    """Refuse, before there is a skim, methods that could not be trained on it.

    Parameters
    ----------
    config
        `train` and `search` are read.
    roles
        Roles of the files; None where they are not known.
    settings
        Of the skim of particles or jets; None where they do not say which columns it has.

    Raises
    ------
    ConfigError, InputError
        A method reads a role or a column that will not be there, or builds on one whose
        taggers give something else.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> config = SearchConfig.from_text("train: {methods: {m: {kind: feature, feature: tau32}}}")
    >>> check_training(config)
    >>> check_training(config, ["data"], config.skim)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    tnt_coffea.errors.ConfigError: train.methods.m: ...
    """
    from tnt_coffea.training import Schedule

    known = {role: () for role in roles or ()}
    schedule = Schedule.planned(known, config, "")
    _check_scores(schedule.waves)
    if known:
        schedule.check_roles()
    schedule.check_needs()
    if settings is not None:
        schedule.check_inputs(dict.fromkeys(["data", *known], Sample.empty(settings)))


def _check_scores(waves: Sequence[Any]) -> None:
    """Refuse methods that give weights of simulated events alone, and no score to search with."""
    methods = {step.name: step.method for wave in waves for step in wave}
    if all(method.purpose == "weight" for method in methods.values()):
        msg = (
            f"{', '.join(methods)} in train.methods give weights of simulated events, and no "
            "method gives a score to search with: add one that builds on them, such as salad"
        )
        raise ConfigError(msg)


def training_costs(
    skim: Skim, config: SearchConfig, *, resources: Resources | None = None
) -> Costs:
    """Return the networks that `train` would train, with their measured cost; none is trained.

    Parameters
    ----------
    skim
        The dijets; their labels are not read.
    config
        As for `train`.
    resources
        How many workers there would be.
    """
    from tnt_coffea.training import training_costs as costs_of

    return costs_of(skim.for_training, config, workers=(resources or Resources()).workers)


def _tagger_sets(
    outcomes: Mapping[str, Sequence[Any]], config: SearchConfig
) -> tuple[Taggers, Taggers]:
    """Return the tagger sets of a search, with their weights, and those of references."""
    from tnt_coffea.taggers import Member, Tagger, TaggerSet
    from tnt_coffea.training import steps_of

    steps = [step for wave in steps_of(config) for step in wave]
    weighted_by = {step.set_name: step.weighted_by for step in steps}
    decorrelate = {step.set_name: step.method.decorrelate for step in steps}
    kinds: tuple[Taggers, Taggers] = (Taggers({}, {}), Taggers({}, {}))
    for name, outcomes_of_set in outcomes.items():
        reference = any(item.uses_truth for item in outcomes_of_set)
        members, histories = [], {}
        for item in outcomes_of_set:
            place = "-".join(
                str(part)
                for part, named in (
                    (item.scored, True),
                    (item.left_out, item.left_out >= 0),
                    (f"m{item.member}", item.member),
                )
                if named
            )
            tagger = Tagger.from_file(item.path, sha256=item.sha256)
            members.append(Member(tagger, item.scope, item.scored, f"{item.scope}-{place}"))
            histories[f"{name} {item.scope}/{place}"] = item.history
        tagger_set = TaggerSet(
            name,
            config.train.folds,
            config.seed,
            tuple(members),
            reference=reference,
            combine=config.train.combine,
            weighted_by=weighted_by[name],
            decorrelate=decorrelate[name],
        )
        kind, found = kinds[reference], {name: tagger_set}
        sets, weights = ({}, found) if tagger_set.gives_weights else (found, {})
        changed = Taggers(
            {**kind.sets, **sets}, {**kind.histories, **histories}, {**kind.weights, **weights}
        )
        kinds = (kinds[0], changed) if reference else (changed, kinds[1])
    return kinds
