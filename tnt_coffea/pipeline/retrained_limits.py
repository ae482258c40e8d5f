"""The stage `fit-retrained`: a limit on a signal, with taggers trained anew at each strength.

For every strength N, a number of produced events of simulated signal:

1. Signal is drawn from a simulated sample as N such events would be in data, a Poisson number of
   the dijets that the skim keeps of them, and put among the data.
2. All taggers of the search are trained on that, with its settings, seeds and folds.
3. They select **the data alone**. The signal that was not injected says what they keep of it, each
   event scored by the taggers of its own fold.
4. CLs of N is that of the data in this selection, with this efficiency.

Where the data hold no signal the taggers of step 2 are those that a search of data with N events
would have had, and N is excluded where fewer events were seen than these would have selected.
Where the data do hold N events, the taggers have learned from twice as many; what they select of
them is what step 3 says nevertheless, since it is measured on these very taggers, and each event
is scored out of fold. So a strength that is there is excluded at the level of the test, whatever
the taggers have learned. The efficiency of other taggers, as the search's own, would not do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, ValidationError
from scipy.stats import poisson

from tnt_coffea import seeds, stats
from tnt_coffea.config import SearchConfig, SystematicsSettings, digest
from tnt_coffea.errors import ConfigError, FitError, InputError, StageError
from tnt_coffea.events.roles import DATA, signal, signal_name
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import write_part
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.fit_settings import fit_from_lower_edge, refuse_blinded, spectrum_fit
from tnt_coffea.pipeline.folders import OUT, one_writer, train_stage
from tnt_coffea.pipeline.global_p_values import trial
from tnt_coffea.pipeline.injected_signals import (
    as_data,
    refuse_shared,
    signal_of,
    with_part,
    without_signals,
)
from tnt_coffea.pipeline.null_chains import fit_values
from tnt_coffea.pipeline.searching import search
from tnt_coffea.pipeline.training import train, training_costs
from tnt_coffea.products import Histograms, Skim, as_skim
from tnt_coffea.search_folder import note_trial
from tnt_coffea.stages import Stage, check_files, manifest
from tnt_coffea.storage import stored, written

if TYPE_CHECKING:
    from tnt_coffea.training.costs import Costs

__all__ = [
    "FOLDER",
    "RetrainingCosts",
    "limits_of_search",
    "retrained_limit",
    "retraining_costs",
    "standing_limits",
]

FOLDER = "fit-retrained"
"""Where the limits go in a search's folder, a subfolder a signal."""
_FEW = 20
"""Dijets of the signal near its mass that make an efficiency."""
_NEAR = 3.0
"""What near means, in widths of `fit.bump`."""


@dataclass(frozen=True)
class RetrainingCosts:
    """What a limit with retraining costs on this machine.

    Attributes
    ----------
    search
        Cost of the training runs of one strength and injection.
    trainings, finished
        Strengths times injections, and how many of them are in the folder.

    Examples
    --------
    >>> from tnt_coffea.training.costs import Costs, StepCost
    >>> step = StepCost("tnt (tag_n_train)", 16, events=5000, epochs=40, start=2.0, epoch=0.5)
    >>> costs = RetrainingCosts(Costs((step,), workers=4), trainings=6, finished=1)
    >>> costs.networks, costs.expected
    (80, 160.0)
    """

    search: Costs
    trainings: int
    finished: int = 0

    @property
    def left(self) -> int:
        """Trainings to be done."""
        return self.trainings - self.finished

    @property
    def networks(self) -> int:
        """All training runs of these."""
        return self.left * self.search.networks

    @property
    def expected(self) -> float:
        """Seconds of wall time with early stopping, passes over the events apart."""
        return self.left * self.search.expected

    @property
    def most(self) -> float:
        """Seconds of wall time if no training run stops early."""
        return self.left * self.search.most

    def summary(self) -> str:
        """Return the cost as text."""
        done = f", {self.finished} of them finished" if self.finished else ""
        return (
            f"{self.search.summary()}\n"
            f"{self.trainings} trainings, one for each strength and injection{done}: "
            f"{self.networks} training runs, about {self.expected:.0f} s, at most "
            f"{self.most:.0f} s, and a pass over the data after each"
        )


@one_writer
def retrained_limit(
    skim: Skim | Sample,
    simulated: Skim | Sample | str,
    config: SearchConfig,
    *,
    name: str = "signal",
    tagger_set: str | None = None,
    out: str | Path = OUT,
    resources: Resources | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, stats.RetrainedLimit]:
    """Return CLs limits on a signal by tagger set, the taggers trained anew at each strength.

    Every training is kept as the histograms of its search; a call that was cut goes on with those
    there, and so does one with more strengths or injections, or with other settings of the fit.
    No label is read.

    Parameters
    ----------
    skim
        The dijets that were searched, by role.
    simulated
        Simulated signal, all events of whose files count as produced: a skim, dijets in memory,
        or the name of one that `skim` holds in role `signal:NAME`.
    config
        `seed`, `train`, `search`, `data` and `fit` are read; `fit.limit.retrain` has the
        strengths, `fit.bump` the mass and the selection.
    name
        What the signal is called, where it is not named.
    tagger_set
        The one whose limit is returned; all without it. All are trained and kept.
    out
        Folder of the search; the limits go to `fit-retrained/NAME`.
    resources
        What may be used.
    progress
        Called with the trainings that are done, and all of them.

    Raises
    ------
    ConfigError
        There are no strengths, the search is blinded, or the settings suit no such limit.
    LeakError
        An event of the signal is among the data, or in another role.
    InputError
        The signal has too few events, weights that differ, or lacks a column of the data.
    FitError
        The signal has no sidebands in the fit range.
    StageError
        The folder holds trainings of other settings, data or signal.

    Source
    ------
    arXiv:2005.02983. That the test selects data by taggers which had injected signal besides
    makes its level hold; see docs/statistics.md.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, testing
    >>> config = SearchConfig.from_text(
    ...     "{search: {efficiencies: [0.2]}, train: {methods: {mass: {kind: feature}}}, "
    ...     "fit: {bump: {efficiency: 0.2}, abcd: {efficiency: 0.2}, "
    ...     "limit: {retrain: {strengths: [300]}}}}"
    ... )
    >>> data = testing.make_sample(2000, signal_share=0.0)
    >>> simulated = testing.make_sample(800, signal_share=1.0, kind="simulation")
    >>> with TemporaryDirectory() as out:
    ...     found = retrained_limit(data, simulated, config, out=out)
    >>> limit = found["mass"]
    >>> [one.events for one in limit.strengths], limit.strengths[0].efficiency > 0.2
    ([300.0], True)
    """
    check_types(resources=(resources, Resources))
    _check_set(config, tagger_set)
    resources, work = resources or Resources(), _Work.of(skim, simulated, config, name, out)
    stage, fitted = work.stage, work.fitted
    if resources.overwrite and not stage.intact():
        stage.clear()
    outputs = stage.finished()
    if outputs != fitted:
        stage.begin()
        with stored(stage.folder):  # the old one is gone before anything of it changes
            (stage.folder / "manifest.json").unlink(missing_ok=True)
        missing = [one for one in work.draws() if work.found(one) is None]
        done = len(work.draws()) - len(missing)
        with replace(resources, overwrite=False).shared() as own:
            for one in missing:
                if progress is not None:
                    progress(done, len(work.draws()))
                work.make(one, own)
                done += 1
        limits = work.limits()
        text = json.dumps({set_: one.to_dict() for set_, one in limits.items()}, indent=1)
        with written(stage.folder / "result.json") as path:
            path.write_text(text + "\n")
        stage.finish(fitted)
    check_files(stage.folder)
    _note(out, config, work)
    found = standing_limits(stage.folder)
    return found if tagger_set is None else {tagger_set: found[tagger_set]}


def retraining_costs(
    skim: Skim | Sample,
    simulated: Skim | Sample | str,
    config: SearchConfig,
    *,
    name: str = "signal",
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> RetrainingCosts:
    """Return what `retrained_limit` would cost, measured as `training_costs`; none is trained.

    Parameters
    ----------
    skim, simulated, config, name, out, resources
        As for `retrained_limit`, whose errors come here as well.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, testing
    >>> config = SearchConfig.from_text(
    ...     "{train: {methods: {mass: {kind: feature}}}, "
    ...     "fit: {limit: {retrain: {strengths: [100, 200], injections: 2}}}}"
    ... )
    >>> data = testing.make_sample(2000, signal_share=0.0)
    >>> simulated = testing.make_sample(800, signal_share=1.0, kind="simulation")
    >>> with TemporaryDirectory() as out:
    ...     retraining_costs(data, simulated, config, out=out).trainings
    4
    """
    work = _Work.of(skim, simulated, config, name, out)
    work.stage.finished()  # refuses what is of other settings
    draws = work.draws()
    finished = sum(work.found(one) is not None for one in draws)
    costs = training_costs(work.skim, work.training, resources=resources)
    return RetrainingCosts(costs, len(draws), finished)


def standing_limits(folder: str | Path) -> dict[str, stats.RetrainedLimit]:
    """Return the limits in the folder of a signal, by tagger set.

    Raises
    ------
    StageError
        There are none, or they are damaged.
    """
    path = Path(folder) / "result.json"
    try:
        values = json.loads(path.read_text())
        return {str(set_): stats.RetrainedLimit.from_dict(one) for set_, one in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        msg = f"{path}: no limits can be read: {reason}; run `tnt-coffea fit limit --retrain` again"
        raise StageError(msg) from error


def limits_of_search(
    out: str | Path, histograms: Histograms, config: SearchConfig
) -> tuple[stats.RetrainedLimit, ...]:
    """Return all limits with retraining that stand complete in a search's folder.

    Parameters
    ----------
    out
        The folder.
    histograms, config
        Of the search; limits of other dijets, or other settings of search and training, are left
        out.

    Raises
    ------
    StageError
        One of them is damaged.
    """
    found: list[stats.RetrainedLimit] = []
    results = sorted((Path(out) / FOLDER).glob("*/result.json"))
    if not results:  # the settings may be such that there can be none
        return ()
    own = {
        "search": config.search.model_dump(mode="json"),
        "settings": _training(config).train.model_dump(mode="json"),
        "seed": config.seed,
    }
    for path in results:
        known = manifest(path.parent)
        if known is None:
            continue  # it is being made
        same = {name: known.inputs.get(name) for name in own} == own
        if same and known.inputs["skim"][DATA] == histograms.provenance.get("skim"):
            check_files(path.parent)
            found += standing_limits(path.parent).values()
    return tuple(found)


@dataclass(frozen=True)
class _Draw:
    """One injection at one strength: which rows of the signal go among the data."""

    events: float
    number: int
    chosen: Any
    left: Any

    @property
    def label(self) -> str:
        return f"{self.events:.10g}-{self.number}"


class _Row(BaseModel):
    """What a training is of, beside its histograms."""

    model_config = ConfigDict(strict=True, extra="forbid")

    key: str
    events: PositiveFloat
    injection: NonNegativeInt
    injected: NonNegativeInt
    produced: PositiveFloat  # of the signal that was not injected


@dataclass(frozen=True)
class _Work:
    """The trainings of a signal and their folder, all checked before the first of them."""

    skim: Skim
    simulated: Sample
    produced: int
    config: SearchConfig
    name: str
    stage: Stage
    whole: Skim  # as it was given: the files of dijets in memory go when it does

    @classmethod
    def of(
        cls,
        skim: Skim | Sample,
        simulated: Skim | Sample | str,
        config: SearchConfig,
        name: str,
        out: str | Path,
    ) -> _Work:
        check_types(
            skim=(skim, Skim, Sample),
            simulated=(simulated, Skim, Sample, str),
            config=(config, SearchConfig),
        )
        refuse_blinded(config, "a limit with retraining")
        strengths = config.fit.limit.retrain.events(config.data.luminosity)
        if not strengths:
            msg = (
                "a limit with retraining needs the strengths to test: give --strengths in produced "
                "events, rising (fit.limit.retrain.strengths), or --cross-sections in fb"
            )
            raise ConfigError(msg)
        name = simulated if isinstance(simulated, str) else name
        folder = Path(out) / FOLDER / str(signal_name(signal(name)))
        fit = spectrum_fit(config, with_signal=False)
        fit.check_sidebands(fit.signal(config.signal_mass, config.fit.bump.width))
        whole = as_skim(skim)
        pool, produced = signal_of(whole, simulated)
        data = without_signals(whole)
        sample = as_data(pool, data, name)
        refuse_shared(sample, data, name)
        inputs = {
            **train_stage(data, _training(config), out).inputs,
            "search": config.search.model_dump(mode="json"),
            "signal": {"content": sample.content_hash(), "produced": produced},
        }
        work = cls(data, sample, produced, config, name, Stage(FOLDER, folder, inputs), whole)
        _check_enough(work)
        return work

    @property
    def training(self) -> SearchConfig:
        """The settings of the trainings and of their searches."""
        masses = {self.name: {"mass": self.config.signal_mass}}
        systematics = SystematicsSettings.model_validate({"signals": masses})
        return _training(self.config).model_copy(update={"systematics": systematics})

    @property
    def fitted(self) -> dict[str, Any]:
        """What decides the limits beside the trainings."""
        retrain = self.config.fit.limit.retrain
        strengths = retrain.events(self.config.data.luminosity)
        fit = digest([fit_values(self.config), self.config.data.model_dump(mode="json")])
        return {"strengths": list(strengths), "injections": retrain.injections, "fit": fit}

    def draws(self) -> list[_Draw]:
        """Return all injections, which depend on ids, seed and strength alone.

        Those of the same number contain each other, the larger the smaller.
        """
        retrain = self.config.fit.limit.retrain
        found = []
        for number in range(retrain.injections):
            random = seeds.generator(self.config.seed, "retrained limit", number)
            share, order = random.random(), random.permutation(len(self.simulated))
            for events in retrain.events(self.config.data.luminosity):
                mean = events * len(self.simulated) / self.produced
                n = min(int(poisson.ppf(share, mean)), len(order))
                found.append(_Draw(events, number, np.sort(order[:n]), np.sort(order[n:])))
        return sorted(found, key=lambda one: (one.events, one.number))

    def place(self, draw: _Draw) -> Path:
        return self.stage.folder / "trainings" / draw.label

    def found(self, draw: _Draw) -> tuple[Histograms, _Row] | None:
        """Return what a finished training has found; None: it is to be made."""
        place = self.place(draw)
        with suppress(OSError, ValidationError, StageError):
            row = _Row.model_validate_json((place / "training.json").read_bytes())
            if (row.key, row.events, row.injection) == (self.stage.key, draw.events, draw.number):
                return Histograms.load(place), row
        return None

    def make(self, draw: _Draw, resources: Resources) -> None:
        """Train with an injection, search the data and the signal left, and keep the histograms."""
        work, place = self.stage.parts / draw.label, self.place(draw)
        with stored(work):
            work.mkdir(exist_ok=True)
        config, injected = self.training, self.simulated.select(draw.chosen)
        with_signal = self.skim
        if len(injected):
            path = work / "injected.parquet"
            write_part(path, injected)
            with_signal = with_part(self.skim, path, len(injected), DATA)
        taggers = train(with_signal, config, out=work, resources=resources)
        path, left = work / "left.parquet", self.simulated.select(draw.left)
        write_part(path, left)
        produced = self.produced * len(left) / len(self.simulated)
        searched = with_part(self.skim, path, len(left), signal(self.name), produced)
        # Weights of simulation are those of the data with what was injected; no limit needs them.
        search(searched, replace(taggers, weights={}), config, out=work, resources=resources)
        row = _Row(
            key=self.stage.key,
            events=draw.events,
            injection=draw.number,
            injected=len(injected),
            produced=produced,
        )
        with written(work / "search" / "training.json") as partial:
            partial.write_text(row.model_dump_json(indent=1) + "\n")
        with stored(place):
            shutil.rmtree(place, ignore_errors=True)  # damaged, or of an older package
            place.parent.mkdir(exist_ok=True)
            (work / "search").rename(place)
        shutil.rmtree(work, ignore_errors=True)

    def limits(self) -> dict[str, stats.RetrainedLimit]:
        """Return the limits of all tagger sets, from the histograms of all trainings."""
        tests: dict[str, dict[float, list[stats.RetrainedTest]]] = {}
        for draw in self.draws():
            found = self.found(draw)
            if found is None:
                msg = f"{self.place(draw)}: changed while it was read; run the same command again"
                raise StageError(msg)
            for set_ in found[0].hists:
                own = tests.setdefault(set_, {}).setdefault(draw.events, [])
                own.append(self._test(draw, set_, *found))
        bump = self.config.fit.bump
        return {
            set_: stats.retrained_limit(
                [
                    stats.RetrainedStrength(events, tuple(own))
                    for events, own in sorted(by_strength.items())
                ],
                signal=self.name,
                tagger_set=set_,
                selection=bump.selection,
                mass=self.config.signal_mass,
                width=bump.width,
                level=self.config.fit.limit.level,
                luminosity=self.config.data.luminosity,
            )
            for set_, by_strength in sorted(tests.items())
        }

    def _test(
        self, draw: _Draw, set_: str, histograms: Histograms, row: _Row
    ) -> stats.RetrainedTest:
        config, mass = self.config, self.config.signal_mass
        bump = config.fit.bump
        point = histograms.points[set_][bump.selection]
        channels = stats.selected_spectrum(histograms.hists[set_], point)
        seed = seeds.integer(config.seed, "retrained limit", set_, draw.label)
        efficiency, error = 0.0, 0.0
        try:
            kept = histograms.signals[set_].templates(self.name, point)
            templates = {f"fold-{fold}": one for fold, one in kept.items()}
            low, high = config.search.fit_range.edges
            inside = [
                float(one.nominal[(one.edges[:-1] >= low) & (one.edges[1:] <= high)].sum())
                for one in templates.values()
            ]
            scale, share = config.fit.tagger_efficiency.scale_factor, sum(inside)
            efficiency = scale * share
            error = scale * float(np.sqrt(share * (1 - share) / row.produced))
            fit = spectrum_fit(
                config, templates=stats.MassTemplates({mass: templates}).scaled(scale)
            )
            fit = fit_from_lower_edge({set_: channels}, config, seed=seed, fit=fit)
            return stats.strength_test(
                channels,
                events=draw.events,
                mass=mass,
                width=bump.width,
                fit=fit,
                injected=row.injected,
                efficiency=efficiency,
                efficiency_uncertainty=error,
                toys=config.fit.limit.toys,
                seed=seed,
            )
        except FitError as reason:
            # What cannot be tested is not excluded.
            note = f"{draw.events:g} events are not tested, and not excluded: {reason}"
            return stats.RetrainedTest(
                row.injected, efficiency, error, 0.0, 1.0, (1.0,) * 5, "none", True, (note,)
            )


def _note(out: str | Path, config: SearchConfig, work: _Work) -> None:
    """Add the limit to the list of tests on the search in its folder, where there is one."""
    folder = Path(out) / "search"
    if (folder / "search.json").exists():
        grid = {name: work.fitted[name] for name in ("strengths", "injections")}
        histograms = Histograms.load(folder)
        note_trial(out, trial(histograms, config, "retrained limit", {}, work.name, **grid))


def _check_set(config: SearchConfig, name: str | None) -> None:
    """Refuse a tagger set that no training will give."""
    from tnt_coffea.training import steps_of

    steps = [step for wave in steps_of(_training(config)) for step in wave]
    known = [step.set_name for step in steps if step.method.purpose == "score"]
    if name is not None and name not in known:
        msg = f"no tagger set is called '{name}', only {', '.join(known)}"
        raise ConfigError(msg)


def _training(config: SearchConfig) -> SearchConfig:
    """Return the settings of the trainings: without references, which read labels, and fits."""
    from tnt_coffea.training import steps_of

    truth = {step.name for wave in steps_of(config) for step in wave if step.uses_truth}
    methods = {name: one for name, one in config.train.methods.items() if name not in truth}
    if not methods:
        msg = "train.methods are trained with the truth, all of them: no search is made with these"
        raise ConfigError(msg)
    return config.model_copy(update={"train": config.train.model_copy(update={"methods": methods})})


def _check_enough(work: _Work) -> None:
    """Refuse a signal too small for the largest strength, or without events near its mass."""
    config, sample = work.config, work.simulated.with_variable(work.config.search.variable)
    most = max(work.draws(), key=lambda one: len(one.chosen))
    if len(most.chosen) > len(sample) / 2:
        msg = (
            f"signal '{work.name}' has {len(sample)} dijets of {work.produced} produced events, "
            f"and {most.events:g} produced events take {len(most.chosen)} of them: at least as "
            "many must be left to measure the efficiency on; give more, or smaller strengths"
        )
        raise InputError(msg)
    reach = _NEAR * config.fit.bump.width
    left = sample.mass[most.left]
    near = int((np.abs(left - config.signal_mass) < reach).sum())
    if near < _FEW:
        msg = (
            f"signal '{work.name}' has {near} dijets within {reach:g} GeV of "
            f"{config.signal_mass:g} GeV beside those injected, at least {_FEW} are needed: give "
            "more, or the mass of this signal (fit.bump.mass)"
        )
        raise InputError(msg)
