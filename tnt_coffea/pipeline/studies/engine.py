"""The engine of all studies that are an `Experiment`: one way from events to verdicts."""

from __future__ import annotations

import functools
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules
from types import NoneType
from typing import Any

from tnt_coffea.config import digest
from tnt_coffea.errors import ConfigError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import one_writer
from tnt_coffea.pipeline.studies import experiments
from tnt_coffea.pipeline.studies.claims import FEWEST
from tnt_coffea.pipeline.studies.events import generated, role_of, skimmed
from tnt_coffea.pipeline.studies.experiment import Block, Experiment
from tnt_coffea.pipeline.studies.measurement import check, measured
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, together
from tnt_coffea.pipeline.studies.study import STUDIES, Study, StudyResult, Training, machine
from tnt_coffea.products import Skim

__all__ = ["experiment_named", "experiment_names", "run"]

CODE = 1
"""Who changes what the same settings give raises it."""
VERSIONS = ("tnt-coffea", "numpy", "scipy", "keras")
_SCALES = 0.001, 100.0


def experiment_names() -> list[str]:
    """Return the names of all experiments, each a file in `experiments/`.

    Examples
    --------
    >>> "cwola-against-autoencoder" in experiment_names()
    True
    """
    found = (info.name for info in iter_modules(experiments.__path__))
    return sorted(name.replace("_", "-") for name in found)


def experiment_named(name: str) -> Experiment:
    """Return an experiment.

    Raises
    ------
    ConfigError
        None has this name.

    Examples
    --------
    >>> experiment_named("cwola-against-autoencoder").source
    'arXiv:2101.08320, section 4.2'
    """
    if name not in experiment_names():
        msg = f"no study is called {name!r}; known ones are {', '.join(experiment_names())}"
        raise ConfigError(msg)
    module = import_module(f"{experiments.__name__}.{name.replace('-', '_')}")
    found: Experiment = module.EXPERIMENT
    return found


@one_writer
def run(
    experiment: Experiment,
    files: Mapping[str, Sequence[str | Path]] | None = None,
    *,
    out: str | Path = STUDIES,
    scale: float | None = None,
    repetitions: int | None = None,
    seed: int = 1,
    epochs: int | None = None,
    blocks: Sequence[str] = (),
    resources: Resources | None = None,
) -> StudyResult:
    """Repeat an experiment: events, trainings, measurements, claims, figures.

    A complete study of the same configuration is read; a killed one goes on, and one with more
    repetitions or other blocks trains those that are missing. All blocks are trained once before
    any is repeated.

    Parameters
    ----------
    experiment
        What is repeated.
    files
        Events by pool; generated without it.
    out
        The study goes into its subfolder of the experiment's name, its dijets into
        `NAME-events`, what is generated into `events`, for all studies there.
    scale
        Generated events over those of the experiment.
    repetitions
        Of the blocks, each with an injection and seeds of its own; at least 2. Where each has
        events of its own, as many as there are events for without it.
    seed
        Root of all random numbers.
    epochs
        Of every network, for trials.
    blocks
        Patterns of names, as `two-prong-*`: these blocks alone, where the experiment's claims do
        without the others; all without it.
    resources
        The workers; two processes without it.

    Raises
    ------
    ConfigError
        A number is out of range, files of a pool are missing or given beside a scale, no block has
        such a name, or signal events are too few.
    StageError
        The folder holds a study of another configuration.

    Examples
    --------
    >>> run(experiment_named("cwola-against-autoencoder"), repetitions=1)
    Traceback (most recent call last):
    tnt_coffea.errors.ConfigError: repetitions of the study is 1, expected at least 2
    """
    began = time.monotonic()
    resources = resources or Resources(executor="futures", workers=2)
    check_types(
        experiment=(experiment, Experiment),
        files=(files, Mapping, NoneType),
        resources=(resources, Resources),
    )
    if files is not None and scale is not None:
        msg = "the study has files, and a scale is for events that it generates: leave one out"
        raise ConfigError(msg)
    scale = experiment.scale if scale is None else scale
    experiment = experiment.of_blocks(blocks) if blocks else experiment
    if repetitions is None and not experiment.own_events:
        repetitions = experiment.repetitions
    _check(scale, 2 if repetitions is None else repetitions, seed, epochs)
    for block in experiment.blocks:
        experiment.configured(block, seed, epochs)  # wrong settings are told before anything
    made = files is None
    if files is None:
        files = generated(
            experiment.pools, out=Path(out), scale=scale, seed=seed, resources=resources
        )
    skim = skimmed(
        files,
        experiment.pools,
        experiment.settings.get("skim", {}),
        out=Path(out) / f"{experiment.name}-events",
        resources=resources,
    )
    experiment = experiment.of_pools([name for name in files if files[name]])
    repetitions = _possible(experiment, skim, repetitions)
    decisive: dict[str, Any] = {
        "code": CODE,
        "experiment": experiment.digest,
        "contents": dict(skim.contents),
        "events": _events(experiment, skim),
        "seed": seed,
        **({} if epochs is None else {"epochs": epochs}),
    }
    study = Study(experiment.name, Path(out), decisive)
    standing = study.standing()
    asked = {"repetitions": repetitions, "blocks": _blocks(experiment)}
    if standing is not None and asked.items() <= standing.settings.items():
        return standing
    flat = (Path(out) / f"{experiment.name}-events" / "flat").absolute()
    trainings = _trainings(experiment, decisive, repetitions)
    try:
        check(experiment, skim, flat)
        outcomes, cpu_seconds = study.trained(
            functools.partial(measured, experiment, skim, flat), trainings, resources
        )
    finally:
        shutil.rmtree(flat, ignore_errors=True)
    found = Found(_numbers(experiment, trainings, outcomes))
    words = ["tnt-coffea", "study", experiment.name]
    words += ["--scale", f"{scale:g}"] if made else _options(files)
    words += ["--repetitions", str(repetitions), "--seed", str(seed)]
    words += [] if epochs is None else ["--epochs", str(epochs)]
    words += [word for pattern in blocks for word in ("--blocks", pattern)]
    result = StudyResult(
        experiment.title,
        shlex.join(words),
        {"of": experiment.source, **asked}
        | {f"{name} events": n for name, n in decisive["events"].items()}
        | {name: decisive[name] for name in ("seed", "epochs") if name in decisive},
        {name: version(name) for name in VERSIONS},
        found.numbers,
        tuple(experiment.claims(found)),
        (*experiment.notes(found), *_notes(experiment, found, made=made)),
        cpu_seconds,
        time.monotonic() - began,
        machine(),
    )
    study.write(result, experiment.plots(found), experiment.tables(found))
    return result


def _check(scale: float, repetitions: int, seed: int, epochs: int | None) -> None:
    low, high = _SCALES
    for name, value, holds, expected in (
        ("scale", scale, low <= scale <= high, f"{low:g} to {high:g}"),
        ("repetitions", repetitions, repetitions >= 2, "at least 2"),
        ("seed", seed, seed >= 0, "at least 0"),
        ("epochs", epochs, epochs is None or epochs >= 1, "at least 1"),
    ):
        if not holds:
            msg = f"{name} of the study is {value}, expected {expected}"
            raise ConfigError(msg)


def _possible(experiment: Experiment, skim: Skim, asked: int | None) -> int:
    """Return the number of repetitions, of which each may need events of its own."""
    if not experiment.own_events:
        return experiment.repetitions if asked is None else asked
    there = _events(experiment, skim)
    parted = {block.background for block in experiment.blocks}
    parted |= {"simulation"} & {pool for one in experiment.blocks for pool in one.trained_on}
    name = min(sorted(parted), key=lambda one: there[one])
    most = there[name] // experiment.own_events
    wanted = most if asked is None else asked
    if not 2 <= wanted <= most:
        msg = (
            f"study {experiment.name}: {max(2, wanted)} repetitions of {experiment.own_events} "
            f"dijets, each with its own, and the pool {name} has {there[name]}: give more events, "
            "or fewer --repetitions"
        )
        raise ConfigError(msg)
    return wanted


def _events(experiment: Experiment, skim: Skim) -> dict[str, int]:
    """Return the number of dijets of every pool that there is."""
    by_role = {role: 0 for role in skim.by_role}
    for dataset, account in skim.accounts.items():
        by_role[skim.roles[dataset]] += account.selected
    return {name: by_role[role_of(name)] for name in experiment.pools if role_of(name) in by_role}


def _options(files: Mapping[str, Sequence[str | Path]]) -> list[str]:
    words = []
    for name, paths in files.items():
        kind, _, which = name.partition(":")
        words += [f"--{kind}", f"{which}=FILES" if which else "FILES"] if paths else []
    return words


def _blocks(experiment: Experiment) -> str:
    """Return a hash of all blocks, as it stands among the settings of a study."""
    return digest([(experiment.digest_of(one), one.repetitions) for one in experiment.blocks])[:16]


def _trainings(
    experiment: Experiment, decisive: Mapping[str, Any], repetitions: int
) -> list[Training]:
    return [
        Training(
            f"{block.name}-{repetition}",
            {
                "code": [CODE, experiment.code],
                "contents": decisive["contents"],
                "experiment": decisive["experiment"],
                "block": block.name,
                "methods": experiment.digest_of(block),
                "repetition": repetition,
                "seed": decisive["seed"],
                "epochs": decisive.get("epochs"),
            },
        )
        for repetition in range(max(one.repeated(repetitions) for one in experiment.blocks))
        for block in experiment.blocks
        if repetition < block.repeated(repetitions)
    ]


def _numbers(
    experiment: Experiment,
    trainings: Sequence[Training],
    outcomes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    blocks: dict[str, Any] = {}
    for block in experiment.blocks:
        own = [outcomes[one.name] for one in trainings if one.settings["block"] == block.name]
        found = together([_kept(block, one, experiment.kept) for one in own])
        blocks[block.name] = {**found, "knowledge": experiment.knowledge(block)}
    return {"efficiencies": list(EFFICIENCIES), "blocks": blocks}


def _kept(block: Block, outcome: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    """Return what a training gave with these keys of the block's methods alone; all without."""
    if not keys or "refused" in outcome:
        return outcome

    def chosen(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key in keys}

    found = dict(outcome)
    found["tested"] = {
        pool: {name: chosen(methods[name]) for name in block.methods}
        for pool, methods in outcome["tested"].items()
    }
    if hunted := outcome.get("hunted"):
        found["hunted"] = {
            "before": chosen(hunted["before"]),
            "methods": {
                name: {selection: chosen(test) for selection, test in tests.items()}
                for name, tests in hunted["methods"].items()
            },
        }
    return found


def _notes(experiment: Experiment, found: Found, *, made: bool) -> list[str]:
    """Return what holds for every experiment."""
    if experiment.own_events:
        return [
            f"Every repetition has {experiment.own_events} dijets of its own: no two share one.",
            _origin(made=made),
        ]
    gave = [one.name for one in experiment.blocks if "background" in found.block(one.name)]
    if not gave:
        return [_origin(made=made)]
    name = gave[0]
    background = round(found.block(name)["background"]["mean"])
    few = [f"Claims that compare means over fewer than {FEWEST} repetitions are undecided."]
    return [
        f"Tested on background of the data out of fold ({background} events in the window of "
        f"'{name}') and on signal that was not injected. All repetitions have the same "
        "background, so that their spread is that of injection and training, and a fluctuation "
        "of the background is in every Z.",
        *(few if len(found.block(name)["background"]["values"]) < FEWEST else []),
        "The largest SIC is taken where at least 25 background events are left.",
        _origin(made=made),
    ]


def _origin(*, made: bool) -> str:
    if made:
        return "Events are generated (PYTHIA 8 and a parametric detector): the papers' are others."
    return "Events are those of the files given."
