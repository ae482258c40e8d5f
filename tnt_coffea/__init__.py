"""Model-agnostic dijet searches by Tag N' Train, from raw events to p-values.

The stages of a search are functions here (`tnt.run` is all of them); every kernel stands alone
in its package (`tnt.jets`, `tnt.stats`, `tnt.taggers`, ...).

Examples
--------
>>> import tnt_coffea as tnt
>>> tnt.SearchConfig.from_text("search: {efficiencies: [0.1, 0.03]}").search.efficiencies
(0.1, 0.03)
>>> tnt.stats.abcd(130, 1000, 1000, 10000, systematic=0.03).expected
100.0
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tnt_coffea import (
        config,
        errors,
        events,
        execution,
        generator,
        jets,
        processors,
        reporting,
        stats,
        taggers,
        testing,
        training,
    )
    from tnt_coffea.chain import demo, run
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.events import Sample
    from tnt_coffea.execution import Resources
    from tnt_coffea.filesets import Fileset
    from tnt_coffea.pipeline import fit, generate, report, search, skim, train
    from tnt_coffea.products import Histograms, Skim, Taggers
    from tnt_coffea.results import SearchResult

__version__ = version("tnt-coffea")

__all__ = [
    "Fileset",
    "Histograms",
    "Resources",
    "Sample",
    "SearchConfig",
    "SearchResult",
    "Skim",
    "Taggers",
    "__version__",
    "config",
    "demo",
    "errors",
    "events",
    "execution",
    "fit",
    "generate",
    "generator",
    "jets",
    "processors",
    "report",
    "reporting",
    "run",
    "search",
    "skim",
    "stats",
    "taggers",
    "testing",
    "train",
    "training",
]

# Where each name lives. They are imported at first use: coffea alone takes seconds,
# and a worker that only scores must never meet TensorFlow.
_HOMES = {
    "Fileset": "filesets",
    "Histograms": "products",
    "Resources": "execution",
    "Sample": "events.sample",
    "SearchConfig": "config",
    "SearchResult": "results",
    "Skim": "products",
    "Taggers": "products",
    **dict.fromkeys(("demo", "run"), "chain"),
    **dict.fromkeys(("fit", "generate", "report", "search", "skim", "train"), "pipeline"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
