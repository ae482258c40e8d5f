"""Trained methods against each other, which uses the truth, and two searches; no stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.errors import StageError, TaggerError
from tnt_coffea.products import Skim, Taggers
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_config, noted_sources

if TYPE_CHECKING:
    from tnt_coffea.config import SearchSettings
    from tnt_coffea.reporting import ComparedSearch, Comparison, SearchComparison
    from tnt_coffea.taggers import Ranks

__all__ = ["compare_methods", "compare_searches"]


def compare_methods(
    skim: Skim, trainings: Sequence[tuple[str, Taggers]], search: SearchSettings
) -> Comparison:
    """Return every method of every training on the same events of a skim, out of fold.

    Sets of one name are trainings of one method; their figures are a median and a band.

    Parameters
    ----------
    skim
        Dijets with labels.
    trainings
        Tagger sets, each under a name of its own, as its seed.
    search
        The window and the fit range.

    Raises
    ------
    TaggerError
        There is no set, two have the same names, labels are missing, or no event is scored by all.
    """
    from tnt_coffea import reporting

    sample = skim.sample(truth=True).with_variable(search.variable)
    ranks: dict[str, dict[str, Ranks]] = {}
    truth = []
    knowledge = {}
    for training, taggers in trainings:
        for name, tagger_set in taggers.sets.items():
            if training in ranks.setdefault(name, {}):
                msg = f"two trainings of '{name}' are called '{training}'; name them apart"
                raise TaggerError(msg)
            ranks[name][training] = tagger_set.ranks(sample)
            knowledge[name] = tagger_set.knowledge
            if tagger_set.reference and name not in truth:
                truth.append(name)
    if not ranks:
        msg = "no tagger set to compare; train, or name a folder with sets"
        raise TaggerError(msg)
    # Folds that only train are nobody's test events.
    scored = np.logical_and.reduce(
        [~np.isnan(found.both) for rows in ranks.values() for found in rows.values()]
    )
    if not scored.any():
        msg = "no event is scored by all of these sets: they have no test events in common"
        raise TaggerError(msg)
    if not scored.all():
        sample = sample.select(scored)
        ranks = {
            name: {training: found.select(scored) for training, found in rows.items()}
            for name, rows in ranks.items()
        }
    return reporting.compare(sample, ranks, search.window, search.fit_range, truth, knowledge)


def compare_searches(
    first: str | Path, second: str | Path, *, events: bool = True
) -> SearchComparison:
    """Return two finished searches side by side; no truth is used.

    Parameters
    ----------
    first, second
        Their folders.
    events
        Whether the events are scored again, to count those that both select.

    Raises
    ------
    StageError
        A folder holds no finished search, or a damaged one.
    TaggerError
        Its taggers are damaged.
    """
    from tnt_coffea import reporting

    return reporting.search_comparison(_opened(first, events), _opened(second, events))


def _opened(out: str | Path, events: bool) -> ComparedSearch:
    from tnt_coffea import reporting
    from tnt_coffea.taggers import packaged_taggers

    out = Path(out)
    config = noted_config(out)
    if config is None:
        msg = f"{out}: no search here; name the folder that --out gave to a search"
        raise StageError(msg)
    result = SearchResult.load(out / "fit" / "result.json")
    noted = noted_sources(out)
    skim, taggers = Path(noted.get("skim", out / "skim")), noted.get("taggers", out / "train")
    taggers = packaged_taggers().get(str(taggers), Path(taggers))
    if not (events and (skim / "manifest.json").exists() and any(taggers.glob("*/set.json"))):
        return reporting.ComparedSearch(str(out), config, result, None, {})
    sample = Skim.load(skim).sample().with_variable(config.search.variable)
    sample = sample.select(config.search.fit_range.contains(sample.mass))
    selected = {}
    for name, tagger_set in Taggers.load(taggers).sets.items():
        if name not in result.after or tagger_set.quantiles is None:
            continue
        ranks = tagger_set.ranks(sample)
        point = tagger_set.quantiles.points[config.fit.bump.selection]
        passed = point.passes(ranks.fold, ranks.heavy, ranks.light)
        selected[name] = sample.event_id[passed]
    return reporting.ComparedSearch(str(out), config, result, sample.event_id, selected)
