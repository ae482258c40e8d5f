"""One entry on one box: trained, searched, fitted and answered through the public stages, blind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError, InputError, TaggerError, TrainingError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.answering import answer, most_events, simulated_signal
from tnt_coffea.pipeline.answers import Answer
from tnt_coffea.pipeline.fitting import fit
from tnt_coffea.pipeline.searching import search
from tnt_coffea.pipeline.studies.study import Training
from tnt_coffea.pipeline.training import train
from tnt_coffea.products import Histograms, Skim
from tnt_coffea.results import SearchResult
from tnt_coffea.training import steps_of

__all__ = ["Searching", "box_answer"]

_QUIET = Resources(executor="iterative", progress=False, chunk_size=50_000, overwrite=True)
"""A search of other settings, those that an entry had before, is made again in its folder."""
_REFUSALS = (ConfigError, FitError, InputError, TaggerError, TrainingError)
"""What a method may find that it cannot do with a box; all others end the study."""


@dataclass(frozen=True)
class Searching:
    """The work function of the study: what an entry answers to a box, JSON values.

    Attributes
    ----------
    out
        Folder of all searches.
    skims
        Folder of the skim of every box.
    simulated
        Signal events that are simulated for a claim; 0: none.
    """

    out: str
    skims: dict[str, str]
    simulated: int

    def __call__(self, training: Training) -> dict[str, Any]:
        """Return answer and limit in every mass that is searched, or why there is none."""
        chosen = training.settings
        skim = Skim.load(self.skims[chosen["box"]])
        found: dict[str, Any] = {}
        for variable, values in chosen["configs"].items():
            config = SearchConfig.model_validate(values)
            out = Path(self.out) / chosen["box"] / chosen["entry"] / variable
            try:
                found[variable] = self._answered(skim, config, chosen["builds_on"], out)
            except _REFUSALS as error:
                found[variable] = {"refused": f"{type(error).__name__}: {error}"}
        return {"answers": found}

    def _answered(
        self, skim: Skim, config: SearchConfig, unsearched: list[str], out: Path
    ) -> dict[str, Any]:
        taggers = train(skim, config, out=out, resources=_QUIET)
        left_out = _sets_of(unsearched, config)
        wanted = {name: s for name, s in taggers.sets.items() if name not in left_out}
        taggers = replace(taggers, sets=wanted)
        histograms = search(skim, taggers, config, out=out, resources=_QUIET)
        result = fit(histograms, config, out=out)
        simulate: Callable[..., Skim] = functools.partial(
            simulated_signal,
            config=config,
            out=out / "answer",
            events=self.simulated,
            resources=_QUIET,
        )
        made = answer(
            skim, taggers, histograms, result, config, simulate=simulate if self.simulated else None
        )
        return {"answer": made.to_dict(), "limit": _limit(histograms, result, config)}


def _limit(histograms: Histograms, result: SearchResult, config: SearchConfig) -> dict[str, Any]:
    """Return mass and upper limits on the events of a box, or why there are none; JSON values."""
    try:
        most = most_events(histograms, result, config)
    except FitError as error:
        return {"reason": str(error)}
    return {"mass": most.mass, "observed": most.observed, "expected": most.expected[2]}


def _sets_of(names: Collection[str], config: SearchConfig) -> set[str]:
    """Return the tagger sets of methods: where these have windows, there is one in each."""
    return {step.set_name for wave in steps_of(config) for step in wave if step.name in names}


def box_answer(outcome: dict[str, Any], tried: int) -> Answer | str:
    """Return the answer of an entry to a box, of all that was tried, or why there is none.

    Parameters
    ----------
    outcome
        Of `Searching`.
    tried
        Entries that search the box.

    Examples
    --------
    >>> box_answer({"answers": {"m_jj": {"refused": "FitError: too few events"}}}, 3)
    'm_jj: FitError: too few events'
    """
    answers = outcome["answers"]
    made = [
        Answer.from_dict(one["answer"]).among(len(answers) * tried)
        for one in answers.values()
        if "answer" in one
    ]
    if made:
        return min(made, key=lambda one: one.p_value)
    return "; ".join(f"{variable}: {one['refused']}" for variable, one in answers.items())
