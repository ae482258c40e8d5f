"""Inference: ONNX taggers, their cards, tagger sets and quantile maps."""

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
