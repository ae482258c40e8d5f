"""One block of a study: signal is injected, methods are trained, and what they give is measured.

Everything goes through the public stages: `train`, `search`, and the bump hunt of `fit`. The truth
is used by the injection and after the training alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tnt_coffea import seeds, stats
from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.errors import (
    ConfigError,
    FitError,
    InputError,
    LeakError,
    TaggerError,
    TrainingError,
)
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.evaluation import references_beside
from tnt_coffea.pipeline.fit_settings import spectrum_fit
from tnt_coffea.pipeline.fitting import window_tests
from tnt_coffea.pipeline.searching import search
from tnt_coffea.pipeline.studies.events import (
    drawn,
    injected,
    joined,
    labelled,
    own_part,
    role_of,
)
from tnt_coffea.pipeline.studies.experiment import LOT, Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES
from tnt_coffea.pipeline.studies.study import Training
from tnt_coffea.pipeline.training import train
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.reporting.comparison import MethodFigures, baselines, compare, feature_ranks
from tnt_coffea.taggers import Ranks
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.typing import Float64Array
from tnt_coffea.working_points import selection_name

__all__ = [
    "TrainedBlock",
    "best_improvement",
    "check",
    "measured",
    "passed",
    "trained",
]

LEAST_COUNT = 25
"""Background events that must be left where the largest improvement is taken: 20 % of error."""
_UNKNOWN = {"z": None, "p_value": None}
_QUIET = Resources(executor="iterative", progress=False, chunk_size=50_000)


@dataclass(frozen=True)
class TrainedBlock:
    """One block of one repetition, trained: what `Experiment.measure` is given.

    Attributes
    ----------
    experiment, block, config
        Settings; `config` is that of the stages.
    repetition, seed
        Of the block, from 0; seeds of further trainings follow from the second.
    pools
        Labelled events by pool, those of the block.
    data
        What the methods were trained on, labelled.
    left
        Signal to test on by pool; none of it was injected.
    taggers
        Sets of all methods, references too.
    histograms
        Of the search; None where the block is neither hunted nor searched.
    epochs
        Of every network, where it is a trial.
    """

    experiment: Experiment
    block: Block
    config: SearchConfig
    repetition: int
    seed: int
    pools: Mapping[str, Sample]
    data: Sample
    left: Mapping[str, Sample]
    taggers: Taggers
    histograms: Histograms | None
    epochs: int | None = None

    @cached_property
    def background(self) -> Sample:
        """Background of the data, to test on: every event is scored out of fold."""
        return self.data.select(self.data.label == 0)

    def tested(self, pool: str) -> Sample:
        """Return background and signal of a pool as one sample, with labels."""
        return joined(self.background, self.left[pool])

    def window(self, pool: str) -> MassRange:
        """Return the masses in which signal of a pool is tested."""
        if pool not in self.experiment.windows:
            return self.config.search.window
        low, high = self.experiment.windows[pool]
        return MassRange(low=low, high=high)

    def ranks(self, method: str, sample: Sample) -> Ranks:
        """Return the quantiles of any events by the set of a method, each by its own fold's."""
        return self.taggers.sets[method].ranks(sample)


def measured(
    experiment: Experiment, skim: Skim, folder: Path, training: Training
) -> dict[str, Any]:
    """Train one block of one repetition, and return what it gives, JSON values.

    Parameters
    ----------
    experiment
        The study.
    skim
        Of all pools.
    folder
        Where its events lie as flat files, which blocks and processes share.
    training
        Its settings: `block`, `repetition`, `seed`, `epochs`.
    """
    try:
        return _measured(experiment, skim, folder, training.settings)
    except (TrainingError, FitError, TaggerError, InputError) as error:
        kept = experiment.own_events or experiment.refusals
        if not kept or isinstance(error, LeakError):
            raise
        return {"refused": " ".join(str(error).split())}  # its seed is fixed: it would fail again


def _measured(
    experiment: Experiment, skim: Skim, folder: Path, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    with trained(experiment, skim, folder, chosen["block"], chosen) as tested:
        background, in_window = tested.background, tested.config.search.window.contains
        found: dict[str, Any] = {
            "injected": int((tested.data.label == 1).sum()),
            "signal": int(in_window(tested.data.mass[tested.data.label == 1]).sum()),
            "background": int(in_window(background.mass).sum()),
            "tested": {pool: _figures(tested, pool) for pool in tested.left},
        }
        if tested.histograms is not None and tested.block.hunted:
            found["hunted"] = _hunts(tested, tested.histograms)
        if experiment.measure is not None:
            found["measured"] = dict(experiment.measure(tested))
    known: dict[str, Any] = _finite(found)
    return known


@contextmanager
def trained(
    experiment: Experiment, skim: Skim, folder: Path, name: str, chosen: Mapping[str, Any]
) -> Iterator[TrainedBlock]:
    """Give a block of one repetition with its taggers and histograms, as long as it lasts.

    Its pools are mapped from disk; of the events in memory there is one copy.
    """
    block = experiment.block(name)
    repetition = chosen["repetition"]
    seed = seeds.integer(chosen["seed"], name, repetition)
    config = experiment.configured(block, seed, chosen.get("epochs"))
    signals = [key for key in experiment.pools if key.partition(":")[0] == "signal"]
    own = () if block.injection is None else (block.injection.pool,)
    tested_on = block.tested_on or own or tuple(signals)
    pools = {
        key: _pool(experiment, skim, key, config, folder)
        for key in dict.fromkeys((block.background, *own, *tested_on, *block.trained_on))
    }
    if events := experiment.own_events:
        parted = [key for key in pools if key in (block.background, "simulation")]
        parts = {
            key: own_part(pools[key], repetition, events, seed=chosen["seed"]) for key in parted
        }
        pools |= parts
    data, left = pools[block.background], {pool: pools[pool] for pool in tested_on}
    if block.injection is not None:
        within, place = _within(block.injection.within, config), block.injection.pool
        # With the seed of the repetition alone, blocks with more signal contain the fewer.
        own_seed = seeds.integer(chosen["seed"], "signal", repetition)
        wanted = _wanted(block.injection, data, within)
        data, rest = injected(data, pools[place], wanted, within=within, seed=own_seed)
        left |= {place: rest} if place in left else {}
    priors = {key: pools[key] for key in block.trained_on if key != "simulation"}
    searched = Skim.from_sample(
        data,
        simulation=pools["simulation"] if "simulation" in block.trained_on else None,
        priors={key.partition(":")[2] or key: sample for key, sample in priors.items()},
    )
    with TemporaryDirectory(prefix="tnt-coffea-study-") as out:
        taggers = train(searched, config, out=out, resources=_QUIET)
        references = references_beside(Path(out) / "train")
        others = {} if references is None else references.sets
        of_methods = {name: one for name, one in taggers.sets.items() if name != LOT}
        histograms = None
        wanted_sets = {name: s for name, s in of_methods.items() if name not in block.labelling}
        if (block.hunted or block.searched) and wanted_sets:
            own_sets = replace(taggers, sets=wanted_sets)
            histograms = search(searched, own_sets, config, out=out, resources=_QUIET)
        every = replace(taggers, sets={**of_methods, **others})
        yield TrainedBlock(
            experiment, block, config, repetition, seed, pools, data, left, every, histograms,
            chosen.get("epochs"),
        )  # fmt: skip


def check(experiment: Experiment, skim: Skim, folder: Path) -> None:
    """Refuse a study whose methods do not suit its settings, or whose signal is too little.

    `folder` is that of the flat files, see `measured`.

    Raises
    ------
    ConfigError
        With the reason, before anything is trained.
    """
    from tnt_coffea.training import steps_of

    known: dict[str, Sample] = {}
    for block in experiment.blocks:
        config = experiment.configured(block, seed=1)
        steps_of(config)
        if block.injection is None:
            continue
        for name in (block.background, block.injection.pool):
            if name not in known:
                known[name] = _pool(experiment, skim, name, config, folder)
        data, pool = (
            known[name].with_variable(config.search.variable)
            for name in (block.background, block.injection.pool)
        )
        within = _within(block.injection.within, config)
        try:
            drawn(pool, _wanted(block.injection, data, within), within=within, seed=1)
        except ConfigError as error:
            msg = f"study {experiment.name}, block {block.name}: {error}"
            raise ConfigError(msg) from error


def _wanted(injection: Injection, background: Sample, within: MassRange | None) -> int:
    inside = len(background) if within is None else int(within.contains(background.mass).sum())
    return injection.wanted(inside)


def _pool(
    experiment: Experiment, skim: Skim, name: str, config: SearchConfig, folder: Path
) -> Sample:
    """Return the labelled events of a pool, mapped from flat files that blocks share."""
    kind, role = name.partition(":")[0], role_of(name)
    if kind not in ("background", "simulation", "signal", "prior"):
        msg = f"pool {name!r} is neither background, simulation, signal nor prior"
        raise ConfigError(msg)
    if role not in skim.by_role:  # `sample` says what there is
        skim.sample(role)
    sample = mapped_events(skim.by_role[role], folder).with_variable(config.search.variable)
    if experiment.pools[name].window_only:
        sample = sample.select(config.search.window.contains(sample.mass))
    return labelled(sample, int(kind in ("signal", "prior")))


def _within(within: Within, config: SearchConfig) -> MassRange | None:
    ranges = {Within.WINDOW: config.search.window, Within.FIT_RANGE: config.search.fit_range}
    return ranges.get(within)


def _figures(tested: TrainedBlock, pool: str) -> dict[str, Any]:
    """Return the figures of every method and single feature on background and one pool."""
    sample, window = tested.tested(pool), tested.window(pool)
    ranks = {name: one.ranks(sample) for name, one in tested.taggers.sets.items()}
    scored = np.logical_not(np.isnan([one.both for one in ranks.values()]).any(axis=0))
    if not scored.all():  # folds that only train
        sample = sample.select(scored)
        ranks = {name: one.select(scored) for name, one in ranks.items()}
    features = {
        name: one
        for name, text in tested.experiment.features.items()
        if (one := feature_ranks(sample, text)) is not None
    }
    features |= baselines(sample)
    both = set(ranks) & set(features)
    if both:
        msg = f"{', '.join(sorted(both))}: a method and a single feature have the same name"
        raise TrainingError(msg)
    compared = compare(
        sample,
        {name: {"": own} for name, own in {**ranks, **features}.items()},
        window,
        tested.config.search.fit_range,
    )
    weak = [name for name in compared.no_better() if name in ranks]
    found = {name: _numbers(compared.methods[name][""]) for name in (*ranks, *features)}
    inside = window.contains(sample.mass)
    signal = inside & (sample.label == 1)
    background = inside & (sample.label == 0)
    for name, own in {**ranks, **features}.items():
        found[name] |= _best(own.both[signal], own.both[background])
        if tested.block.has_curves(name):
            found[name] |= _curves(own.both[signal], own.both[background])
    for name in filter(tested.block.has_curves, ranks):
        found[name]["sculpting"] = _sculpted(compared.methods[name][""])
    for name, points in tested.taggers.working_points().items():
        found[name]["no_better_than_a_feature"] = name in weak
        found[name]["selections"] = {
            selection_name(point.selection): _selected(
                point.passes(ranks[name].fold, ranks[name].heavy, ranks[name].light),
                signal,
                background,
            )
            for point in points
        }
    return found


def _numbers(figures: MethodFigures) -> dict[str, Any]:
    keys = {"both_in_window": "auc", "both": "auc_fit", "heavy": "auc_heavy", "light": "auc_light"}
    return {
        **{key: figures.rocs[name].auc for name, key in keys.items()},
        **{f"sic_{one.efficiency:g}": one.value for one in figures.improvements[1:]},
    }


def _sculpted(figures: MethodFigures) -> dict[str, Any]:
    return {
        f"{one.efficiency:g}": {
            "p": one.p_value,
            "edges": list(one.edges),
            "ratio": list(one.ratio),
        }
        for one in figures.sculpting
    }


def _curves(signal: Float64Array, background: Float64Array) -> dict[str, Any]:
    """Return rejection and improvement at `EFFICIENCIES`."""
    share = passed(signal, background)
    return {
        "rejection": (1 / share).tolist(),
        "improvement": (np.array(EFFICIENCIES) / np.sqrt(share)).tolist(),
    }


def _best(signal: Float64Array, background: Float64Array) -> dict[str, Any]:
    best = best_improvement(signal, background)
    return {
        "max_sic": None if best is None else best[0],
        "max_sic_eps_s": None if best is None else best[1],
        "max_sic_eps_b": None if best is None else best[2],
    }


def passed(signal: Float64Array, background: Float64Array) -> Float64Array:
    """Return the shares of background at `EFFICIENCIES` of signal, at least one event's.

    Parameters
    ----------
    signal, background
        (event,) scores. Where scores are equal, shares between cuts are interpolated.

    Examples
    --------
    >>> passed(np.arange(100.0), np.zeros(10))[[0, -1]]
    array([0.1, 0.1])
    """
    cuts = np.unique(signal)[::-1]
    kept, fake = (
        np.concatenate([[0.0], 1 - np.searchsorted(np.sort(s), cuts, "left") / len(s)])
        for s in (signal, background)
    )
    above = np.searchsorted(np.sort(background), cuts[0], "right")  # none of the signal is there
    fake[0] = 1 - above / len(background)
    share: Float64Array = np.maximum(np.interp(EFFICIENCIES, kept, fake), 1 / len(background))
    return share


def best_improvement(
    signal: Float64Array, background: Float64Array
) -> tuple[float, float, float] | None:
    """Return the largest eps_S / sqrt(eps_B) with eps_S and eps_B, where eps_B is known to 20 %.

    None with fewer than 25 background events.

    Examples
    --------
    >>> best_improvement(np.full(10, 2.0), np.arange(-98.0, 2.0))  # 25 of 100 events are left
    (2.0, 1.0, 0.25)
    """
    if len(background) < LEAST_COUNT:
        return None
    ordered = np.sort(background)[::-1]
    last = np.append(np.diff(ordered) != 0, True)  # a cut cannot part equal scores
    last[: LEAST_COUNT - 1] = False
    counts, cuts = np.flatnonzero(last) + 1, ordered[last]
    if not len(counts):
        return None
    eps_s = 1 - np.searchsorted(np.sort(signal), cuts, "left") / len(signal)
    eps_b = counts / len(background)
    improvement = eps_s / np.sqrt(eps_b)
    best = int(improvement.argmax())
    return float(improvement[best]), float(eps_s[best]), float(eps_b[best])


def _selected(passing: Any, signal: Any, background: Any) -> dict[str, Any]:
    eps_s, eps_b = (float((passing & kind).sum() / kind.sum()) for kind in (signal, background))
    return {"eps_s": eps_s, "eps_b": eps_b, "sic": eps_s / math.sqrt(eps_b) if eps_b else None}


def _hunts(tested: TrainedBlock, histograms: Histograms) -> dict[str, Any]:
    """Return Z before and after every selection, of the bump hunt at the window's centre.

    With `fit.window` it is that of counts in the window against the bins beside it.
    """
    if tested.config.fit.window.enabled:
        return _counts(tested, histograms)
    hists = histograms.hists
    before = stats.inclusive_spectrum(next(iter(hists.values())))
    return {
        "before": _hunt(before, tested, "before"),
        "methods": {
            name: {
                selection_name(point.selection): _hunt(
                    stats.selected_spectrum(hist, point),
                    tested,
                    f"{name} {selection_name(point.selection)}",
                )
                for point in histograms.points[name]
            }
            for name, hist in hists.items()
        },
    }


def _counts(tested: TrainedBlock, histograms: Histograms) -> dict[str, Any]:
    names = list(histograms.hists)
    made = window_tests(histograms, tested.config, names)
    found: dict[str, Any] = {"before": dict(_UNKNOWN), "methods": {}}
    for name in names:
        selections = map(selection_name, histograms.points[name].selections)
        found["methods"][name] = {selection: dict(_UNKNOWN) for selection in selections}
    for test in made.tests:
        one = test.result
        error = math.hypot(math.sqrt(one.expected), one.uncertainty)
        values = {"z": one.z, "p_value": one.p_value, "pull": (one.observed - one.expected) / error}
        if test.selection is None:
            found["before"] = values
        else:
            found["methods"][test.taggers][selection_name(test.selection)] = values
    return found


def _hunt(spectrum: Any, tested: TrainedBlock, name: str) -> dict[str, Any]:
    config = tested.config
    try:
        hunt = stats.bump_hunt(
            spectrum,
            mass=config.signal_mass,
            width=config.fit.bump.width,
            fit=spectrum_fit(config),
            toys=config.fit.bump.toys,
            seed=seeds.integer(config.seed, "fit", name),
        )
    except FitError as error:
        return {**_UNKNOWN, "refused": str(error)}
    return {"z": hunt.z, "p_value": hunt.p_value}


def _finite(value: Any) -> Any:
    """Return JSON values with None for numbers that are none."""
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_finite(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
