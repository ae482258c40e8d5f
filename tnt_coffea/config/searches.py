"""Settings of the search pass: selections and histograms."""

from __future__ import annotations

import itertools
import re
from bisect import bisect
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from tnt_coffea.config.settings import Fraction, MassRange, Positive, Settings

__all__ = ["JetShares", "SearchSettings"]

_CUT = re.compile(r"[A-Za-z0-9_-]+")
_MOST = 30
"""Selections of a tagger set: which of them an event passes is stored in 32 bits."""


_ROUNDING = 1e-12
"""Relative difference of edges that are the same one, but for the rounding of their sums."""
_LEAST_BIN = 1e-3
"""Of the stored bins, in `bin_width`; narrower ones are slips of the pen."""


class JetShares(Settings):
    """A cut for each jet: the share of events that pass it on that jet alone.

    Examples
    --------
    >>> JetShares(heavy=0.8, light=0.025).light
    0.025
    """

    heavy: float = Field(gt=0, le=1, description="share of events; 1: no cut on this jet")
    light: float = Field(gt=0, le=1, description="share of events; 1: no cut on this jet")


def _cut_name(name: str) -> str:
    if not _CUT.fullmatch(name):
        msg = f"{name!r} cannot name a cut: use letters, digits, '_' and '-'"
        raise ValueError(msg)
    return name


class SearchSettings(Settings):
    """Where the search looks, and how much it keeps: fixed before anything is looked at.

    Examples
    --------
    >>> search = SearchSettings(cuts={"loose-heavy": {"heavy": 0.8, "light": 0.025}})
    >>> search.selections
    (0.3, 0.1, 0.03, 'loose-heavy')
    """

    variable: str = Field(
        "m_jj",
        description="the resonance's mass [GeV]: m_jj, or a column of the event such as m_jjj",
    )
    window: MassRange = Field(
        MassRange(low=3300.0, high=3700.0), description="where the resonance is looked for"
    )
    fit_range: MassRange = Field(
        MassRange(low=2600.0, high=7000.0), description="what is fitted, window included"
    )
    efficiencies: tuple[Fraction, ...] = Field(
        (0.3, 0.1, 0.03), min_length=1, description="shares of events with both jets above X"
    )
    cuts: Mapping[Annotated[str, AfterValidator(_cut_name)], JetShares] = Field(
        {},
        description="further selections by a name of your choice, {NAME: {heavy: 0.8, light: "
        "0.025}}: shares of events that pass the cut of either jet",
    )
    background_quantile: Fraction = Field(
        0.4, description="both-jet quantile below which the ABCD regions are 'low'"
    )
    closure_quantiles: tuple[Fraction, ...] = Field(
        (0.8, 0.86, 0.9, 0.93, 0.955, 0.97, 0.985),
        max_length=100,
        description="further quantiles X at which ABCD's closure is tested (0.97: 0.1 % of events "
        "with independent scores)",
    )
    histogram_range: MassRange = Field(
        MassRange(low=2000.0, high=8000.0), description="range of the stored histogram"
    )
    bin_width: Positive = Field(20.0, description="bins of the stored histogram [GeV]")
    # Left out of what is stored where there are none: searches from before it have the same key.
    mass_edges: tuple[Positive, ...] = Field(
        (),
        max_length=10_000,
        exclude_if=lambda edges: not edges,
        description="further edges of these bins, rising [GeV], such as those of logarithmic bins "
        "that are to be fitted (fit.bump.edges)",
    )

    @property
    def selections(self) -> tuple[float | str, ...]:
        """All selections: shares of events, then names of cuts."""
        return (*self.efficiencies, *self.cuts)

    @property
    def stored_edges(self) -> tuple[float, ...]:
        """Edges of the stored histogram in the mass [GeV]: by `bin_width`, and `mass_edges`.

        Examples
        --------
        >>> search = SearchSettings(bin_width=2000, mass_edges=(2632, 6000))
        >>> search.stored_edges
        (2000.0, 2632.0, 4000.0, 6000.0, 8000.0)
        """
        low, high = self.histogram_range.edges
        bins = round((high - low) / self.bin_width)
        own = self.mass_edges
        even = (low + (high - low) * i / bins for i in range(bins + 1))
        return tuple(sorted((*own, *(edge for edge in even if not _among(edge, own)))))

    @model_validator(mode="after")
    def _rising_edges(self) -> Self:
        edges, (low, high) = self.mass_edges, self.histogram_range.edges
        if any(b <= a for a, b in itertools.pairwise(edges)):
            msg = f"mass_edges must rise, got {list(edges)}"
            raise ValueError(msg)
        if edges and not low < edges[0] <= edges[-1] < high:
            msg = (
                f"mass_edges ({edges[0]:g} to {edges[-1]:g} GeV) do not lie inside "
                f"histogram_range ({low:g} to {high:g} GeV)"
            )
            raise ValueError(msg)
        width = (high - low) / max(1, round((high - low) / self.bin_width))
        even = (low + width * round((edge - low) / width) for edge in edges)
        least = _LEAST_BIN * self.bin_width
        for edge, other in (*zip(edges, even, strict=True), *itertools.pairwise(edges)):
            if _ROUNDING * edge < abs(edge - other) < least:
                msg = (
                    f"mass_edges: {edge:.12g} GeV is nearer than {least:g} GeV (a thousandth of "
                    f"bin_width) to another edge of the stored bins, {other:.12g} GeV: give one of "
                    "them"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="before")
    @classmethod
    def _range_of_before(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "m_jj" in values:
            msg = (
                "search.m_jj is now search.histogram_range, the range of the stored histogram in "
                "search.variable"
            )
            raise ValueError(msg)
        return values

    @model_validator(mode="after")
    def _few(self) -> Self:
        if len(self.selections) > _MOST:
            msg = f"{len(self.selections)} efficiencies and cuts; at most {_MOST} can be kept"
            raise ValueError(msg)
        return self


def _among(edge: float, edges: tuple[float, ...]) -> bool:
    """Tell whether rising edges have this one, up to the rounding of decimal numbers."""
    place = bisect(edges, edge)
    return any(abs(edge - own) <= _ROUNDING * edge for own in edges[max(0, place - 1) : place + 1])
