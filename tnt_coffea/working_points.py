"""Working points: where the selections of one tagger set cut on the quantiles of both jets.

A selection is known by the share of events that it was made for, such as 0.03 (both jets above the
same X), or by the name of a pair of cuts of `search.cuts` (each jet above an X of its own).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tnt_coffea.errors import ConfigError, TaggerError
from tnt_coffea.typing import BoolArray, Float64Array, IntArray

__all__ = ["Cut", "Selection", "WorkingPoint", "WorkingPoints", "index_of", "selection_name"]

Selection = float | str
"""Share of events, or name of a pair of cuts."""


@dataclass(frozen=True)
class Cut:
    """A working point in one fold.

    Attributes
    ----------
    heavy, light
        X of the quantile of either jet: an event passes from both on.
    achieved
        Share of the reference events that pass; ties in the rank move it off the wanted one.
        None where it is not known.

    Examples
    --------
    >>> Cut(heavy=0.2, light=0.975).light
    0.975
    """

    heavy: float
    light: float
    achieved: float | None = None


@dataclass(frozen=True)
class WorkingPoint:
    """One selection of one tagger set.

    Attributes
    ----------
    selection
        What it is known by.
    cuts
        By fold.

    Examples
    --------
    >>> point = WorkingPoint.at({0: 0.9, 1: 0.8})
    >>> point.passes([0, 1, 1], heavy=[0.85, 0.85, 0.85], light=[0.95, 0.95, 0.7]).tolist()
    [False, True, False]
    """

    selection: Selection
    cuts: Mapping[int, Cut]

    @classmethod
    def at(cls, x: Mapping[int, float], selection: Selection = "X") -> WorkingPoint:
        """Return the working point with both jets above the same X, which is given by fold."""
        return cls(selection, {fold: Cut(float(cut), float(cut)) for fold, cut in x.items()})

    def cut(self, fold: int) -> Cut:
        """Return where a fold is cut.

        Raises
        ------
        TaggerError
            The working point does not know the fold.
        """
        if fold not in self.cuts:
            msg = (
                f"the working point {selection_name(self.selection)} has no threshold for fold "
                f"{fold}, only for {sorted(self.cuts)}: take it from the quantile map of the same "
                "tagger set"
            )
            raise TaggerError(msg)
        return self.cuts[fold]

    def passes(
        self,
        fold: IntArray | Sequence[int],
        heavy: Float64Array | Sequence[float],
        light: Float64Array | Sequence[float],
    ) -> BoolArray:
        """Return (event,) which events pass, by their fold and quantiles; X itself passes."""
        fold, heavy, light = np.asarray(fold), np.asarray(heavy), np.asarray(light)
        kept = np.zeros(len(fold), dtype=np.bool_)
        for number, cut in self.cuts.items():
            kept |= (fold == number) & (heavy >= cut.heavy) & (light >= cut.light)
        return kept


@dataclass(frozen=True)
class WorkingPoints:
    """All selections of one tagger set, the shares first, the largest of them in front.

    Attributes
    ----------
    points
        The working points.

    Examples
    --------
    >>> points = WorkingPoints((WorkingPoint.at({0: 0.9}, 0.01), WorkingPoint.at({0: 0.8}, 0.04)))
    >>> points.selections
    (0.04, 0.01)
    >>> points[0.01].cut(0).heavy
    0.9
    >>> points.edges("light")
    {0.8, 0.9}
    >>> points == WorkingPoints.from_list(points.to_list())
    True
    """

    points: tuple[WorkingPoint, ...] = ()

    def __post_init__(self) -> None:
        shares = [point for point in self.points if not isinstance(point.selection, str)]
        named = [point for point in self.points if isinstance(point.selection, str)]
        ordered = (*sorted(shares, key=lambda point: point.selection, reverse=True), *named)
        object.__setattr__(self, "points", ordered)

    def __iter__(self) -> Iterator[WorkingPoint]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, selection: Selection) -> WorkingPoint:
        """Return one working point.

        Raises
        ------
        ConfigError
            There is no such selection.
        """
        return self.points[index_of(selection, self.selections)]

    @property
    def selections(self) -> tuple[Selection, ...]:
        """What they are known by, in order."""
        return tuple(point.selection for point in self.points)

    @property
    def efficiencies(self) -> tuple[float, ...]:
        """The shares of events among the selections, falling; each contains the next."""
        return tuple(s for s in self.selections if not isinstance(s, str))

    def edges(self, jet: Literal["heavy", "light"]) -> set[float]:
        """Return every X of one jet, in all folds."""
        return {getattr(cut, jet) for point in self.points for cut in point.cuts.values()}

    def to_list(self) -> list[dict[str, Any]]:
        """Return JSON values."""
        return [
            {
                "selection": point.selection,
                "folds": {
                    str(fold): [cut.heavy, cut.light, cut.achieved]
                    for fold, cut in point.cuts.items()
                },
            }
            for point in self.points
        ]

    @classmethod
    def from_list(cls, values: Iterable[Mapping[str, Any]]) -> WorkingPoints:
        """Return the inverse of `to_list`.

        Raises
        ------
        ValueError
            One is none, or a threshold is no quantile.
        """
        points = []
        for value in values:
            stored = _StoredPoint.model_validate(value)
            cuts = {fold: Cut(*cut) for fold, cut in stored.folds.items()}
            points.append(WorkingPoint(stored.selection, cuts))
        return cls(tuple(points))


_Quantile = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class _StoredPoint(BaseModel):
    model_config = ConfigDict(extra="forbid")

    selection: _Quantile | Annotated[str, Field(strict=True, min_length=1)]
    folds: dict[Annotated[int, Field(ge=0)], tuple[_Quantile, _Quantile, _Quantile | None]]


def selection_name(selection: Selection) -> str:
    """Return a selection as text for messages.

    Examples
    --------
    >>> selection_name(0.03), selection_name("loose-heavy")
    ('0.03', 'loose-heavy')
    """
    return selection if isinstance(selection, str) else f"{selection:g}"


def index_of(selection: Selection, known: Sequence[Selection]) -> int:
    """Return the place of a selection among those there are.

    Raises
    ------
    ConfigError
        There is no such selection.

    Examples
    --------
    >>> index_of(0.1, (0.3, 0.1, "loose-heavy"))
    1
    """
    if selection not in known:
        msg = (
            f"there is no selection {selection_name(selection)}, only "
            f"{', '.join(map(selection_name, known)) or 'none'}: choose one of these, or set "
            "search.efficiencies or search.cuts and train again"
        )
        raise ConfigError(msg)
    return known.index(selection)
