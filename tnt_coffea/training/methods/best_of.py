"""The best of several methods, chosen by ARGOS on events that trained none of the taggers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.settings import Fraction
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.argos import argos
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.typing import Float64Array

__all__ = ["BestOf", "BestOfPerJet"]


class BestOf(SidebandMethod):
    """The taggers of that method whose scores tell the window best from its sidebands.

    Every event of the training folds is scored by taggers that its inner fold had no part in.
    Scores become ranks in their inner fold, and the method with the largest ARGOS is taken for all
    taggers of a scored fold; of methods alike the first one. Nothing is trained: the graphs are
    those of the method taken. Assumes that on background no score depends on the mass.

    Source: arXiv:2511.14832.

    Examples
    --------
    >>> method = BestOf(of=("cwola", "anode"))
    >>> [need.method for need in method.needs("event")], method.reads.window
    (['cwola', 'anode'], True)
    """

    kind: Literal["best_of"] = "best_of"
    of: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=2, description="names of the methods to choose from; of equals the first"
    )
    efficiency: Fraction | None = Field(
        None, description="share of the sidebands at which they are compared; null: the best one"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "that of the method chosen"

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(set(self.of)) < len(self.of):
            msg = f"of names a method twice: {', '.join(self.of)}"
            raise ValueError(msg)
        return self

    @property
    def reads(self) -> Reads:
        """The window, and the inner fold left out: all runs for a scored fold choose alike."""
        return Reads(window=True, left_out=True)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: onnx copies the graph."""
        return ("numpy", "onnx")

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the taggers of all methods, one of which is adopted."""
        return tuple(Need(name, each, adopted=True) for name in self.of for each in self.scopes)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the method with the largest ARGOS."""
        found = self.figures(job)
        best = max(found, key=lambda name: found[name])  # of equals the first
        notes = {f"argos {name}": value for name, value in found.items()}
        scorer = job.adopted(best)
        return replace(scorer, history={**notes, "chosen": best}, summary=notes)

    def figures(self, job: Job) -> Mapping[str, float]:
        """Return the ARGOS of every method by its name.

        Raises
        ------
        TrainingError
            The sidebands have too few events.
        """
        bands = [band.contains(job.data.mass) for band in self.sidebands(job.window)]
        data = job.data.select(np.any([job.in_window, *bands], axis=0))
        inside = job.window.contains(data.mass)
        # Half of the weight each: a share that changes with the mass in proportion is the window's.
        weight = data.weight.copy()
        for band in self.sidebands(job.window):
            own = band.contains(data.mass)
            if not weight[own].sum() > 0:
                msg = f"no events in sideband {band.name} to compare methods with"
                raise TrainingError(msg)
            weight[own] /= weight[own].sum()

        def figure(name: str) -> float:
            # Both jets have to be anomalous, as where a search cuts: the smaller rank.
            ranks = reduce(np.minimum, (self._ranks(job, name, data, s) for s in self.scopes))
            return argos(
                ranks[inside],
                ranks[~inside],
                region_weight=weight[inside],
                template_weight=weight[~inside],
                efficiency=self.efficiency,
            ).value

        return {name: figure(name) for name in self.of}

    def _ranks(self, job: Job, name: str, data: Sample, scope: Scope) -> Float64Array:
        """Return (event,) the share of an inner fold's events with smaller scores."""
        ranks = np.full(len(data), 0.5)
        for ranking in job.rankings(name, scope, data):
            ranks[ranking.rows] = ranking.quantile
        return ranks


class BestOfPerJet(BestOf):
    """The best of methods that train a tagger for each jet, by the smaller rank of the two.

    Examples
    --------
    >>> method = BestOfPerJet(of=("tnt", "cwola"))
    >>> [(need.method, need.scope) for need in method.needs("heavy")]
    [('tnt', 'heavy'), ('tnt', 'light'), ('cwola', 'heavy'), ('cwola', 'light')]
    """

    kind: Literal["best_of_per_jet"] = "best_of_per_jet"  # type: ignore[assignment]

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")
