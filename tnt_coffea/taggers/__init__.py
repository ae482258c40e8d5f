"""Inference: ONNX taggers, their cards, tagger sets and quantile maps.

| to | take |
|---|---|
| rank the events of a sample, each by taggers that never saw it | `load_set`, `TaggerSet.ranks` |
| score images, features or constituents with one tagger | `load`, `Tagger.score` |
| know what a tagger takes and was trained on | `Card` |
| try a search without training | `packaged_taggers`, `packaged_sets` |
| turn scores into quantiles, and efficiencies into cuts on them | `QuantileMap` |
| know which events selections share | `Coincidences` |

Scores of different folds come from different taggers and do not compare: cut on `Ranks`, not on
`Scores`. ONNX Runtime computes; nothing here imports TensorFlow.
"""

from __future__ import annotations

from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.coincidences import Coincidences, SetSelections
from tnt_coffea.taggers.ensemble import Member, Ranks, Scores, TaggerSet
from tnt_coffea.taggers.quantiles import QuantileMap
from tnt_coffea.taggers.store import load, load_set, packaged_sets, packaged_taggers
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.working_points import Cut, WorkingPoint, WorkingPoints

__all__ = [
    "Card",
    "Coincidences",
    "Cut",
    "Member",
    "QuantileMap",
    "Ranks",
    "Scores",
    "SetSelections",
    "Tagger",
    "TaggerSet",
    "WorkingPoint",
    "WorkingPoints",
    "load",
    "load_set",
    "packaged_sets",
    "packaged_taggers",
]
