"""What a search would do, before it does it: a dry run, with an estimate of the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea import pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import StageError
from tnt_coffea.execution import OnError, Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.stages import Stage

if TYPE_CHECKING:
    from tnt_coffea.training import FoldPlan
    from tnt_coffea.training.schedule import Step

__all__ = ["PlannedStage", "planned"]

# Seconds of one core, from `make demo` on two cores of an AMD EPYC (2026-11-22).
# PYTHIA is the same on all machines to within a factor of two or so.
BACKGROUND_EVENT = 1 / 90
SIGNAL_EVENT = 1 / 350
SKIMMED_EVENT = 1 / 1100
SCORED_EVENT = 1 / 900
TRAINED_JET = 1 / 1300
"""A jet in one epoch."""
LABELLED = 0.4
"""Share of the events that a classifier is trained on: those with a label."""
TRAINED_SHARE = 0.3
"""Early stopping ends a training run after about this share of its most epochs."""
_TRIED = 20_000
"""Events that stand for all where the share is wanted that a training run reads."""
AUTOENCODER = 4.0
"""A training run of one pass, with the start of its process."""
FIT, REPORT = 6.0, 26.0


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan.

    Attributes
    ----------
    name
        As the command is called.
    state
        `done`, `to do`, `goes on` (begun before), or why it would be refused.
    work
        What it works on, in words.
    seconds
        Estimate of what is left of it, at this number of workers [s].
    """

    name: str
    state: str
    work: str
    seconds: float


def planned(
    config: SearchConfig,
    out: str | Path,
    resources: Resources,
    fileset: Fileset | None = None,
) -> list[PlannedStage]:
    """Return what a whole search would do, stage by stage, without doing any of it.

    Parameters
    ----------
    config
        The search.
    out
        Its folder; complete stages in it are found.
    resources
        Workers, for the estimate.
    fileset
        Files to search; without them events would be generated first.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    return list(_stages(config, Path(out), resources, fileset))


def _stages(
    config: SearchConfig, out: Path, resources: Resources, fileset: Fileset | None
) -> Iterator[PlannedStage]:
    workers = max(resources.workers, 1)
    if fileset is None:
        made = config.generate
        events = made.background + made.signal
        core = made.background * BACKGROUND_EVENT + made.signal * SIGNAL_EVENT
        work = f"{made.background} background and {made.signal} signal events"
        stage: Stage | None = pipeline.generate_stage(config, out)
        yield (first := _planned("generate", stage, work, core / workers, resources))
        if first.state == "done":
            fileset = Fileset.from_paths({"data": [out / "generate" / "events.h5"]})
    else:
        fileset = fileset.read_with(config.skim)
        skip = resources.on_error is OnError.SKIP
        items = fileset.sound_items(2**31)[0] if skip else fileset.items(2**31)
        events = sum(map(len, items))
    stage = pipeline.skim_stage(fileset, config, out, resources) if fileset else None
    work = f"{events} events to dijets and images"
    yield (second := _planned("skim", stage, work, events * SKIMMED_EVENT / workers, resources))
    skim = Skim.load(out / "skim") if second.state == "done" else None
    stage = pipeline.train_stage(skim, config, out) if skim else None
    trainings, core = _trainings(config, events)
    yield (third := _planned("train", stage, trainings, core / workers, resources))
    stage, taggers = None, None
    if skim and third.state == "done":
        taggers = Taggers.load(out / "train")
        stage = pipeline.search_stage(skim, taggers, config, out, resources)
    seconds = events * SCORED_EVENT / workers
    fourth = _planned("search", stage, f"{events} events scored out of fold", seconds, resources)
    yield fourth
    fitted, drawn = (
        _looked_at(config, out, skim, taggers) if fourth.state == "done" else (False,) * 2
    )
    yield _again("fit", fitted, "bump hunts, ABCD and direct estimates", FIT)
    yield _again("report", drawn, "plots and HTML", REPORT)


def _looked_at(
    config: SearchConfig, out: Path, skim: Skim | None, taggers: Taggers | None
) -> tuple[bool, bool]:
    """Tell whether result and report of these settings stand in the folder."""
    histograms = Histograms.load(out / "search")
    try:
        if config.fit.blind:
            pipeline.standing_blind_fit(histograms, config, out)
            return True, (out / "report" / "manifest.json").exists()
        result = pipeline.standing_fit(histograms, config, out)
    except StageError:
        return False, False
    references = pipeline.references_beside(out / "train")
    stage = pipeline.report_stage(
        result,
        config,
        histograms,
        out,
        skim=skim,
        taggers=[one for one in (taggers, references) if one is not None],
    )
    return True, stage.matches() and stage.finished() is not None


def _again(name: str, stands: bool, work: str, seconds: float) -> PlannedStage:
    return PlannedStage(name, "done" if stands else "to do", work, 0.0 if stands else seconds)


def _planned(
    name: str, stage: Stage | None, work: str, seconds: float, resources: Resources
) -> PlannedStage:
    if stage is None:  # its input is not there yet
        return PlannedStage(name, "to do", work, seconds)
    if resources.overwrite and not stage.intact():
        return PlannedStage(name, "to do, overwriting", work, seconds)
    try:
        done = stage.finished() is not None
    except StageError as error:
        return PlannedStage(name, f"refused: {error}", work, 0.0)
    if done:
        return PlannedStage(name, "done", work, 0.0)
    state = "goes on" if stage.parts.exists() else "to do"
    return PlannedStage(name, state, work, seconds)


def _trainings(config: SearchConfig, events: int) -> tuple[str, float]:
    from tnt_coffea.training import Schedule

    schedule = Schedule.planned({"data": ()}, config, "")
    outer = config.train.folds.outer
    runs, core = 0, 0.0
    for step in (step for wave in schedule.waves for step in wave):
        n = step.runs(schedule.plans, config)
        trained_on = events * _share_read(step, schedule.plans)
        passes = step.method.passes
        jets = trained_on * LABELLED * passes * TRAINED_SHARE
        runs += n
        core += n * (AUTOENCODER if passes == 1 else jets * TRAINED_JET)
    names = ", ".join(config.train.methods)
    return f"{runs} training runs of {names} ({outer} folds)", core


def _share_read(step: Step, plans: Sequence[FoldPlan]) -> float:
    """Return the share of the events that a training run of a step reads, on average."""
    if step.independent:
        return 1.0
    ids = np.arange(_TRIED, dtype=np.uint64)
    read = [
        plan.trains(ids, place, step.round_).mean()
        for plan in step.plans(plans)
        for place in plan.places(inner=step.inner)
    ]
    return float(np.mean(read))
