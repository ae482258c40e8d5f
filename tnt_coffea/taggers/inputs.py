"""What a tagger takes of a sample: images, features by name, or constituents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.tagger import Inputs, Tagger

__all__ = ["inputs_of", "scores_of"]


def inputs_of(card: Card, scope: str, sample: Sample, rows: npt.NDArray[np.int64]) -> Inputs:
    """Return (row, channel, row, column) images, (row, feature), or both, float32.

    For a tagger of constituents it is (row, jet, particle, 3): pT, eta and phi.

    Parameters
    ----------
    card
        The tagger's; it has to fit the sample's settings (`Card.misfit`).
    scope
        heavy, light or event. An event's images are those of both jets, the heavy one's
        channels first.
    sample
        Dijets.
    rows
        Which of them.
    """
    made: Inputs = {}
    jets = JETS if scope == "event" else (scope,)
    if card.takes_images:
        made["image"] = np.concatenate([sample.images(jet, rows) for jet in jets], axis=1)
    if card.takes_features:
        features = [sample.columns[name][rows].astype(np.float32) for name in card.columns]
        made["features"] = np.stack(features, axis=1)
    if card.takes_constituents:
        most = sample.constituents_kept
        shown = [sample.constituents(jet, rows).dense(most) for jet in jets]
        made["constituents"] = np.stack(shown, axis=1)
    return made


def scores_of(
    taggers: Sequence[Tagger], scope: str, sample: Sample, rows: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.float32]]:
    """Return every tagger's (row,) scores; what several of them take is made once."""
    made: dict[tuple[str, tuple[str, ...]], Inputs] = {}
    for card in (tagger.card for tagger in taggers):
        if (card.input, card.columns) not in made:
            made[card.input, card.columns] = inputs_of(card, scope, sample, rows)
    return [tagger.score(made[tagger.card.input, tagger.card.columns]) for tagger in taggers]
