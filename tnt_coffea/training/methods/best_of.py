"""The best of several methods, chosen by ARGOS on events that trained none of the taggers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea import seeds
from tnt_coffea.config import MassRange
from tnt_coffea.config.settings import Fraction
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training.argos import argos
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.training.templates import AnyTemplate
from tnt_coffea.training.templates.classification import feature_sample, joint_features
from tnt_coffea.training.templates.interface import SidebandEvents
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["BestOf", "BestOfPerJet"]


class BestOf(SidebandMethod):
    """The taggers of that method whose scores tell the window best from its background.

    Every event of the training folds is scored by taggers that its inner fold had no part in.
    Scores become ranks in their inner fold, and the method with the largest ARGOS is taken for all
    taggers of a scored fold; of methods alike the first one. Nothing is trained: the graphs are
    those of the method taken. The background is that of the sidebands, which assumes that on
    background no score depends on the mass; or synthetic events of a `template`, made of each
    inner fold's own events beside the window, of the features of all methods together.

    Source: arXiv:2511.14832.

    Examples
    --------
    >>> method = BestOf(of=("cwola", "anode"))
    >>> [need.method for need in method.needs("event")], method.reads.window
    (['cwola', 'anode'], True)
    >>> BestOf(of=("cwola", "template"), template={"by": "morphing"}).template.sideband
    1.0
    """

    kind: Literal["best_of"] = "best_of"
    of: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=2, description="names of the methods to choose from; of equals the first"
    )
    efficiency: Fraction | None = Field(
        None, description="share of the background at which they are compared; null: the best one"
    )
    template: AnyTemplate | None = Field(
        None,
        exclude_if=lambda template: template is None,
        description="kind (by) and settings of a background template; null: the sidebands",
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

    def check_window(self, window: MassRange, fit_range: MassRange) -> None:
        """Refuse a window whose sidebands leave the fit range."""
        if self.template is None:
            super().check_window(window, fit_range)
        else:
            self.template.check_window(window, fit_range)

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
            The sidebands have too few events; a template cannot be fitted, or a method's taggers
            take more than features.
        """
        if self.template is not None:
            return self._by_template(job, self.template)
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

    def _by_template(self, job: Job, template: AnyTemplate) -> Mapping[str, float]:
        """Return the ARGOS of every method against a template of each inner fold."""
        bands = template.sidebands(job.window)
        near = [job.in_window, *(band.contains(job.data.mass) for band in bands)]
        data = job.data.select(np.any(near, axis=0))
        inside = job.window.contains(data.mass)
        keys = [(name, scope) for name in self.of for scope in self.scopes]
        # (method and scope, inner fold); the inner folds are the same for all.
        scored = [job.taggers(name, scope, data) for name, scope in keys]
        region: dict[str, list[Float64Array]] = {name: [] for name in self.of}
        synthetic: dict[str, list[Float64Array]] = {name: [] for name in self.of}
        weight, expected = [], []
        for fold, members in enumerate(zip(*scored, strict=True)):
            rows = members[0][1]
            own, here = data.select(rows), inside[rows]
            taggers = [tagger for tagger, _ in members]
            taking, features = joint_features(taggers, own)
            x = np.concatenate([each.values(own) for each in features.values()], axis=1)
            beside = SidebandEvents.of(x, own.mass, own.weight, job.window, bands, tuple(features))
            # The seed is that of no run: all runs for a scored fold choose alike.
            fitted = template.fit(beside, seeds.integer(0, "best_of", fold, "template"))
            n = round(template.oversampling * here.sum())
            drawn = feature_sample(*fitted.sample(n, seeds.integer(0, "best_of", fold, "drawn")))
            ranks = {
                key: _shares_below(_scores(tagger, own), _scores(of_x, drawn))
                for key, tagger, of_x in zip(keys, taggers, taking, strict=True)
            }
            for name in self.of:
                real, made = (
                    reduce(np.minimum, (ranks[name, scope][i] for scope in self.scopes))
                    for i in (0, 1)
                )
                region[name].append(real[here])
                synthetic[name].append(made)
            weight.append(own.weight[here])
            expected.append(np.full(n, weight[-1].sum() / max(n, 1)))
        return {
            name: argos(
                np.concatenate(region[name]),
                np.concatenate(synthetic[name]),
                region_weight=np.concatenate(weight),
                template_weight=np.concatenate(expected),
                efficiency=self.efficiency,
            ).value
            for name in self.of
        }

    def _ranks(self, job: Job, name: str, data: Sample, scope: Scope) -> Float64Array:
        """Return (event,) the share of an inner fold's events with smaller scores."""
        ranks = np.full(len(data), 0.5)
        for ranking in job.rankings(name, scope, data):
            ranks[ranking.rows] = ranking.quantile
        return ranks


def _scores(tagger: Tagger, sample: Sample) -> Float32Array:
    inputs = tagger.card.inputs
    return tagger.score({each.name: each.read(sample) for each in inputs})


def _shares_below(real: Float32Array, made: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Return the share of real events with smaller scores, of these and of others."""
    order = np.sort(real)

    def share(scores: Float32Array) -> Float64Array:
        below, up_to = (np.searchsorted(order, scores, side) for side in ("left", "right"))
        return np.asarray((below + up_to) / 2 / max(len(order), 1), np.float64)

    return share(real), share(made)


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
