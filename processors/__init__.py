"""coffea processors: the skim, the search and the scores.

| to | take |
|---|---|
| reconstruct the dijets once and keep them as Parquet | `SkimProcessor` |
| fill the histograms of a search, from a skim or from particles | `SearchProcessor` |
| fill simulated signals and their variations, for templates | `SignalProcessor` |
| have every event's quantiles instead of histograms | `ScoreProcessor` |
| score events in a processor of your own | `tnt_coffea.taggers.TaggerSet`, without either |

`tnt_coffea.skim`, `search` and `score` run them on any executor; coffea's own `Runner` does too.
"""

from __future__ import annotations

from tnt_coffea.processors.scores import ScoreProcessor
from tnt_coffea.processors.search import SearchProcessor
from tnt_coffea.processors.signals import SignalProcessor
from tnt_coffea.processors.skim import SkimProcessor

__all__ = [
    "ScoreProcessor",
    "SearchProcessor",
    "SignalProcessor",
    "SkimProcessor",
]
