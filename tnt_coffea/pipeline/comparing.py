"""Trained methods against each other on the events of a skim; no stage, uses the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.errors import TaggerError
from tnt_coffea.products import Skim, Taggers

if TYPE_CHECKING:
    from tnt_coffea.config import SearchSettings
    from tnt_coffea.reporting import Comparison
    from tnt_coffea.taggers import Ranks

__all__ = ["compare_methods"]


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
    # Folds that only train, in split and prequential mode, are nobody's test events.
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
