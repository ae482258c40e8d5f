"""A search's histogram on its way home: the bins that were filled, and no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import hist
import numpy as np
import numpy.typing as npt

__all__ = ["SparseCounts"]

_EXACT = 2.0**32
_Bins = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class SparseCounts:
    """Filled bins of a histogram with weights; the sum of two, `a + b`, is that of their events.

    A tagger set's histogram has up to 10^7 bins, and a chunk of events fills a thousand.

    Attributes
    ----------
    axes
        Axes of the histogram behind that of the data sets.
    filled
        Numbers of the filled bins, rising, with their sums of weights and of squared weights, by
        data set.

    Examples
    --------
    >>> axes = (hist.axis.Regular(4, 0, 4, name="x"),)
    >>> one = SparseCounts.of_events(axes, "a", [np.array([0.5, 0.6, 3.5])], np.ones(3))
    >>> (one + one).histogram()[{"dataset": "a"}].values().tolist()
    [4.0, 0.0, 0.0, 2.0]
    """

    axes: tuple[Any, ...]
    filled: Mapping[str, _Bins]

    @classmethod
    def of_events(
        cls,
        axes: tuple[Any, ...],
        dataset: str,
        values: list[npt.NDArray[Any]],
        weight: npt.NDArray[np.float64],
        *,
        exact: bool = False,
    ) -> SparseCounts:
        """Return the counts of a data set's events, of (event,) values for every axis.

        With `exact`, weights and their squares are rounded to 2^-32, so that sums up to two
        million have no rounding that would depend on the order of the chunks.
        """
        # Flow bins have places of their own where an axis has them, as in boost-histogram.
        pairs = zip(axes, values, strict=True)
        places = np.array([axis.index(each) + axis.traits.underflow for axis, each in pairs])
        sizes = tuple(axis.extent for axis in axes)
        inside = ((places >= 0) & (places < np.array(sizes)[:, None])).all(axis=0)
        number = np.ravel_multi_index(tuple(places[:, inside]), sizes)
        weight = np.asarray(weight, float)[inside]
        squares = weight**2
        if exact:
            weight, squares = (np.round(each * _EXACT) / _EXACT for each in (weight, squares))
        return cls(axes, {dataset: _merged(number, weight, squares)})

    def __add__(self, other: SparseCounts) -> SparseCounts:
        """Return the counts of both."""
        filled = dict(self.filled)
        for dataset, bins in other.filled.items():
            if dataset in filled:
                both = zip(filled[dataset], bins, strict=True)
                filled[dataset] = _merged(*(np.concatenate(each) for each in both))
            else:
                filled[dataset] = bins
        return SparseCounts(self.axes, filled)

    def histogram(self, category: str = "dataset", always: Iterable[str] = ()) -> hist.Hist:
        """Return the histogram; data sets with events, and those named, in the order of the names.

        `category` names their axis.
        """
        names = sorted(
            {*always, *(name for name, (number, *_) in self.filled.items() if len(number))}
        )
        categories = hist.axis.StrCategory(names, growth=True, name=category)
        made = hist.Hist(categories, *self.axes, storage=hist.storage.Weight())
        view, sizes = made.view(flow=True), tuple(axis.extent for axis in self.axes)
        for place, name in enumerate(names):
            if name not in self.filled:
                continue
            number, value, variance = self.filled[name]
            bins = (place, *np.unravel_index(number, sizes))
            view.value[bins], view.variance[bins] = value, variance
        return made


def _merged(number: Any, value: Any, variance: Any) -> _Bins:
    unique, which = np.unique(number, return_inverse=True)
    bins: npt.NDArray[np.int64] = unique.astype(np.int64)
    sums = [np.bincount(which, each, len(unique)).astype(np.float64) for each in (value, variance)]
    return bins, sums[0], sums[1]
