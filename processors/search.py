"""The search as a coffea processor: scores every event out of fold and fills histograms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import hist
import numpy as np

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.events import skim
from tnt_coffea.events.roles import DATA, SIMULATION
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.selection import EventSelection
from tnt_coffea.metrics import timed
from tnt_coffea.processors.counts import SparseCounts
from tnt_coffea.processors.skim import SelectingProcessor, cutflow_of, reconstructed
from tnt_coffea.taggers import Coincidences, QuantileMap, Ranks, TaggerSet

__all__ = ["SearchProcessor", "quantiles_of", "ranked", "sets_of"]


class SearchProcessor(SelectingProcessor):
    """Fill the mass against the quantiles of both jets, once for every tagger set.

    It starts from particles of any source, or from a skim without clustering again; both
    give the same histograms.

    Parameters
    ----------
    config
        Jets, images, window and histogram ranges.
    taggers
        Tagger sets with quantile maps.
    weights
        Sets that weight simulated events, by name. Where a tagger set has one of them,
        simulation is read as well and filled apart, weighted, each event scored by the taggers
        of its own fold and ranked among the data of that fold.

    Raises
    ------
    TaggerError
        Two sets share a name, one has no quantile map or one in another variable, or one was
        trained with the truth; or weights have other folds than their tagger set.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, Skim, execution, taggers, testing
    >>> skim = Skim.from_sample(testing.make_sample(20, pixels=40))
    >>> search = SearchProcessor(SearchConfig(), taggers.load_set("rnd-3500/tnt"))
    >>> with execution.open_executor("iterative") as executor:
    ...     output, accounting = execution.run(skim.fileset(), search, executor)
    >>> output["hists"]["tnt"].sum().value, accounting.selected
    (20.0, 20)
    """

    def __init__(
        self,
        config: SearchConfig,
        taggers: TaggerSet | Iterable[TaggerSet],
        weights: Mapping[str, TaggerSet] | None = None,
    ) -> None:
        super().__init__(config.skim)
        self.config = config
        self.taggers = sets_of(taggers)
        self.weights = _weights_of(self.taggers, weights or {})

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the data sets that it reads."""
        return (DATA, SIMULATION) if self.weights else (DATA,)

    def process(self, events: Any) -> dict[str, Any]:
        """Return a chunk's filled bins by tagger set, what these share, and the cutflow.

        Those of simulation are apart, under `simulation`, and share nothing.

        Raises
        ------
        InputError
            The events are of a role that is not read: their metadata name it.
        """
        if self.weights and events.metadata.get("role") == SIMULATION:
            return self._weighted(events)
        sample, ranks, cutflow = ranked(events, self.config, self.taggers, self.selection)
        dataset = events.metadata["dataset"]
        with timed("filling"):
            return {
                "hists": {
                    tagger_set.name: self._filled(tagger_set, own, sample, dataset)
                    for tagger_set, own in zip(self.taggers, ranks, strict=True)
                },
                "coincidences": Coincidences.of_events(
                    self.taggers, ranks, sample.mass, sample.weight, self._mass_axis()
                ),
                "cutflow": {dataset: cutflow},
            }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the accumulator with histograms, data sets in the order of their names."""
        counts: Mapping[str, SparseCounts] = accumulator.get("hists", {})
        made = {"hists": {name: own.histogram() for name, own in counts.items()}}
        if "simulation" in accumulator:
            found: Mapping[str, SparseCounts] = accumulator["simulation"]
            made["simulation"] = {name: own.histogram("weights") for name, own in found.items()}
        return accumulator | made

    def counts(
        self, tagger_set: TaggerSet, name: str, places: list[Any], weight: Any = None
    ) -> SparseCounts:
        """Return filled bins of one kind of events that are no data, with selections' edges alone.

        Parameters
        ----------
        tagger_set
            Who ranked them.
        name
            The kind.
        places
            (event,) fold, mass and both quantiles.
        weight
            (event,); one without it.
        """
        weights = np.ones(len(places[0])) if weight is None else weight
        axes = self._axes(tagger_set, selections_only=True)
        return SparseCounts.of_events(axes, name, places, weights, exact=True)

    def _weighted(self, events: Any) -> dict[str, Any]:
        sets = [one for one in self.taggers if one.name in self.weights]
        sample, ranks, cutflow = ranked(events, self.config, sets, self.selection, SIMULATION)
        known: dict[str, Mapping[str, Any]] = {}
        filled = {}
        for tagger_set, own in zip(sets, ranks, strict=True):
            weights = self.weights[tagger_set.name]
            if weights.name not in known:
                known[weights.name] = weights.log_weights(sample)
            filled[tagger_set.name] = self._weighted_by(
                tagger_set, own, sample, known[weights.name]
            )
        return {"simulation": filled, "cutflow": {events.metadata["dataset"]: cutflow}}

    def _weighted_by(
        self,
        tagger_set: TaggerSet,
        ranks: Ranks,
        sample: Sample,
        log_weights: Mapping[str, Any],
    ) -> SparseCounts:
        """Return the sums of weights of every kind, and the number of events."""
        weight = {name: sample.weight * np.exp(log_w) for name, log_w in log_weights.items()}
        weight["events"] = np.where(np.isnan(weight["nominal"]), np.nan, 1.0)
        filled, scored = [], ~np.isnan(ranks.both)
        for name, values in weight.items():
            kept = scored & ~np.isnan(values)
            of_kept = ranks.select(kept)
            places = [of_kept.fold, sample.mass[kept], of_kept.heavy, of_kept.light]
            filled.append(self.counts(tagger_set, name, places, values[kept]))
        return sum(filled[1:], start=filled[0])

    def _filled(
        self, tagger_set: TaggerSet, ranks: Ranks, sample: Sample, dataset: str
    ) -> SparseCounts:
        if ranks.unscored:  # folds that only train
            scored = ~np.isnan(ranks.both)
            sample, ranks = sample.select(scored), ranks.select(scored)
        values = [ranks.fold, sample.mass, ranks.heavy, ranks.light]
        return SparseCounts.of_events(self._axes(tagger_set), dataset, values, sample.weight)

    def _axes(self, tagger_set: TaggerSet, *, selections_only: bool = False) -> tuple[Any, ...]:
        search = self.config.search
        edges = quantiles_of(tagger_set, search.variable).edges
        heavy, light = (f"{name.replace(' ', '-')} quantile" for name in tagger_set.axes)
        also = () if selections_only else (search.background_quantile, *search.closure_quantiles)
        return (
            hist.axis.IntCategory(tagger_set.scored_folds, name="fold"),
            self._mass_axis(),
            hist.axis.Variable(edges("heavy", *also), name="q_heavy", label=heavy, flow=False),
            hist.axis.Variable(edges("light", *also), name="q_light", label=light, flow=False),
        )

    def _mass_axis(self) -> hist.axis.Regular | hist.axis.Variable:
        search = self.config.search
        low, high = search.histogram_range.edges
        bins = round((high - low) / search.bin_width)
        label = f"{search.variable} [GeV]"
        if search.mass_edges:
            return hist.axis.Variable(search.stored_edges, name=search.variable, label=label)
        return hist.axis.Regular(bins, low, high, name=search.variable, label=label)


def sets_of(taggers: TaggerSet | Iterable[TaggerSet]) -> tuple[TaggerSet, ...]:
    """Return tagger sets that may score data.

    Raises
    ------
    TaggerError
        Two share a name, or one was trained with the truth.
    """
    sets = (taggers,) if isinstance(taggers, TaggerSet) else tuple(taggers)
    names = [tagger_set.name for tagger_set in sets]
    if len(set(names)) != len(names):
        msg = f"two tagger sets share a name: {names}"
        raise TaggerError(msg)
    references = [tagger_set.name for tagger_set in sets if tagger_set.reference]
    if references:
        msg = f"{', '.join(references)}: trained with truth labels; a search never uses it"
        raise TaggerError(msg)
    return sets


def _weights_of(
    taggers: Iterable[TaggerSet], weights: Mapping[str, TaggerSet]
) -> dict[str, TaggerSet]:
    """Return the set that weights simulation for each tagger set which has one, by its name."""
    found = {}
    for one in taggers:
        if one.weighted_by is None or one.weighted_by not in weights:
            continue
        own = weights[one.weighted_by]
        same = (own.folds.division, own.fold_seed) == (one.folds.division, one.fold_seed)
        if not same or not set(one.scored_folds) <= set(own.scored_folds):
            msg = (
                f"weights '{own.name}' are of other folds than tagger set '{one.name}', whose "
                "background they make: train again"
            )
            raise TaggerError(msg)
        found[one.name] = own
    return found


def quantiles_of(tagger_set: TaggerSet, variable: str) -> QuantileMap:
    """Return the quantile map of a set.

    Raises
    ------
    TaggerError
        It has none, or one from a range in another mass than the search's.
    """
    if tagger_set.quantiles is None:
        msg = f"tagger set '{tagger_set.name}' has no quantile map; `tnt-coffea train` makes it"
        raise TaggerError(msg)
    if tagger_set.quantiles.variable != variable:
        msg = (
            f"tagger set '{tagger_set.name}' has its quantiles from a range in "
            f"{tagger_set.quantiles.variable}, and search.variable is {variable}; train again"
        )
        raise TaggerError(msg)
    return tagger_set.quantiles


def ranked(
    events: Any,
    config: SearchConfig,
    taggers: Iterable[TaggerSet],
    selection: EventSelection | None = None,
    wanted: str = DATA,
) -> tuple[Sample, list[Ranks], dict[str, Any]]:
    """Return the dijets of a chunk, their ranks by every tagger set, and its cutflow.

    Raises
    ------
    InputError
        The events are not of the role that is wanted: their metadata name another.
    """
    if (role := events.metadata.get("role", DATA)) != wanted:
        msg = f"data set '{events.metadata['dataset']}' is of role {role}; only data are searched"
        raise InputError(msg)
    if set(events.fields) >= skim.FIELDS:
        with timed("reading"):
            sample = sample_of(events, skim.made_with(events)[0])
        cutflow = cutflow_of({}, len(sample))
    else:
        sample, cutflow = reconstructed(events, config.skim, selection)
    sample = sample.with_variable(config.search.variable)
    with timed("inference"):
        return sample, [tagger_set.ranks(sample) for tagger_set in taggers], cutflow
