"""Every event's quantiles as a coffea processor: the search, before it fills its histograms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tnt_coffea.config import SearchConfig
from tnt_coffea.processors.search import quantiles_of, ranked, sets_of
from tnt_coffea.processors.skim import SelectingProcessor
from tnt_coffea.taggers import TaggerSet

__all__ = ["ScoreProcessor"]


class ScoreProcessor(SelectingProcessor):
    """Give the mass and the quantiles of both jets of every dijet, by every tagger set.

    It starts from particles of any source, or from a skim; both give the same numbers, which are
    those that `SearchProcessor` fills.

    Parameters
    ----------
    config
        Jets, images and variable of the search.
    taggers
        Tagger sets with quantile maps.
    truth
        Whether the labels are given as well.

    Raises
    ------
    TaggerError
        As `SearchProcessor`.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, Skim, execution, taggers, testing
    >>> skim = Skim.from_sample(testing.make_sample(20, pixels=40))
    >>> scores = ScoreProcessor(SearchConfig(), taggers.load_set("rnd-3500/tnt"))
    >>> with execution.open_executor("iterative") as executor:
    ...     output, accounting = execution.run(skim.fileset(), scores, executor)
    >>> sorted(output["columns"]), len(output["columns"]["m_jj"])
    (['dataset', 'event_id', 'fold', 'm_jj', 'tnt_q_heavy', 'tnt_q_light', 'weight'], 20)
    """

    every_path = False  # of a file or two, or of a signal that was simulated for one year

    def __init__(
        self,
        config: SearchConfig,
        taggers: TaggerSet | Iterable[TaggerSet],
        *,
        truth: bool = False,
    ) -> None:
        super().__init__(config.skim)
        self.config = config
        self.taggers = sets_of(taggers)
        self.truth = truth
        for tagger_set in self.taggers:
            quantiles_of(tagger_set, config.search.variable)

    def process(self, events: Any) -> dict[str, Any]:
        """Return the columns of a chunk by where it begins, and its cutflow.

        Raises
        ------
        InputError
            The events are not data: their metadata name another role.
        """
        sample, ranks, cutflow = ranked(events, self.config, self.taggers, self.selection)
        meta = events.metadata
        columns: dict[str, Any] = {
            "dataset": np.full(len(sample), meta["dataset"]),
            **sample.numbers,
            "event_id": sample.event_id,
            "weight": sample.weight,
            sample.variable: sample.mass,
        }
        if self.truth:
            columns["label"] = sample.label
        same = len({(each.folds.division, each.fold_seed) for each in self.taggers}) == 1
        if same:
            columns["fold"] = ranks[0].fold
        for tagger_set, own in zip(self.taggers, ranks, strict=True):
            if not same:
                columns[f"{tagger_set.name}_fold"] = own.fold
            columns[f"{tagger_set.name}_q_heavy"] = own.heavy
            columns[f"{tagger_set.name}_q_light"] = own.light
        where = f"{meta['dataset']} {meta.get('named', meta['filename'])} {meta['entrystart']}"
        return {"columns": {where: columns}, "cutflow": {meta["dataset"]: cutflow}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the accumulator with one array a column, in the order of the events' ids.

        The experiment's numbers are there if all chunks have them.
        """
        chunks = list(accumulator.get("columns", {}).values())
        names = [name for name in (chunks[0] if chunks else ()) if all(name in c for c in chunks)]
        columns = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
        if chunks:
            order = np.lexsort((columns["dataset"], columns["event_id"]))
            columns = {name: values[order] for name, values in columns.items()}
        return accumulator | {"columns": columns}
