"""What the stages are given: objects of the right kind, or an error that says how to get one."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ArgumentError
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.results import SearchResult

__all__ = ["check_types"]

_SOURCES: Mapping[type, str] = {
    Fileset: 'Fileset.from_paths({"data": ["events.h5"]})',
    Histograms: 'search(...), or Histograms.load("tnt-coffea-output/search"); a histogram of your '
    "own is fitted by tnt_coffea.stats.bump_hunt, or by `tnt-coffea fit bump HISTOGRAM`",
    Resources: 'Resources(executor="dask", workers=4)',
    Sample: "Sample.from_columns(...)",
    SearchConfig: 'SearchConfig(), SearchConfig.from_yaml("search.yaml"), or '
    "SearchConfig.model_validate(settings) for a dict",
    SearchResult: 'fit(...), or SearchResult.load("tnt-coffea-output/fit/result.json")',
    Skim: 'skim(...), or Skim.load("tnt-coffea-output/skim")',
    Taggers: 'train(...), or Taggers.load("tnt-coffea-output/train")',
}


def check_types(**arguments: tuple[object, *tuple[type, ...]]) -> None:
    """Check the arguments of a stage.

    Parameters
    ----------
    arguments
        By name the value, and the types that it may have; resources may be left out.

    Raises
    ------
    ArgumentError
        One is of another type.

    Examples
    --------
    >>> check_types(config=({"seed": 1}, SearchConfig))
    Traceback (most recent call last):
    tnt_coffea.errors.ArgumentError: config is a dict, expected a SearchConfig: SearchConfig(), \
SearchConfig.from_yaml("search.yaml"), or SearchConfig.model_validate(settings) for a dict
    """
    for name, (value, *kinds) in arguments.items():
        if isinstance(value, tuple(kinds)) or (value is None and Resources in kinds):
            continue
        kinds = [kind for kind in kinds if kind is not NoneType]
        wanted = " or ".join(f"a {kind.__name__}" for kind in kinds)
        ways = "; ".join(_SOURCES[kind] for kind in kinds)
        msg = f"{name} is a {type(value).__name__}, expected {wanted}: {ways}"
        raise ArgumentError(msg)
