"""coffea processors: the skim and the search."""

from __future__ import annotations

from tnt_coffea.processors.search import SearchProcessor
from tnt_coffea.processors.skim import SkimProcessor

__all__ = ["SearchProcessor", "SkimProcessor"]
