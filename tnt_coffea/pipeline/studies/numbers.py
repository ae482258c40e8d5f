"""Numbers of repeated trainings: means with deviations, and the tables made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.pipeline.studies.claims import Value
from tnt_coffea.pipeline.studies.study import StudyTable

__all__ = ["EFFICIENCIES", "Found", "crossing", "figures_table", "together"]

EFFICIENCIES = tuple(round(0.02 * i, 2) for i in range(1, 46))
"""Signal efficiencies of curves."""


def together(repetitions: Sequence[Any]) -> Any:
    """Return what repetitions gave as one: numbers with mean, deviation and all values.

    Mappings and lists of the same length are taken apart; of a list of numbers only mean and
    deviation are kept. Anything else stays a list with an entry a repetition. What a repetition
    could not give is None; deviations are those of a sample.

    Examples
    --------
    >>> together([{"z": 1.0, "name": "a"}, {"z": 3.0, "name": "b"}, {"z": None, "name": "c"}])["z"]
    {'mean': 2.0, 'sd': 1.4142135623730951, 'values': [1.0, 3.0, None]}
    >>> together([[1, 2], [3, 2]])
    {'mean': [2.0, 2.0], 'sd': [1.4142135623730951, 0.0]}
    """
    known = [one for one in repetitions if one is not None]
    if known and all(isinstance(one, Mapping) for one in known):
        keys = dict.fromkeys(key for one in known for key in one)
        return {key: together([(one or {}).get(key) for one in repetitions]) for key in keys}
    if known and all(_is_number(one) for one in known):
        value = Value.of(known)
        return {"mean": value.mean, "sd": value.sd, "values": list(repetitions)}
    if known and all(isinstance(one, list | tuple) and one for one in known):
        flat = [number for one in known for number in one]
        if len({len(one) for one in known}) == 1 and all(map(_is_number, flat)):
            columns = [Value.of(column) for column in zip(*known, strict=True)]
            return {"mean": [one.mean for one in columns], "sd": [one.sd for one in columns]}
    return list(repetitions)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_NOT_ASKED = "not among the blocks that were asked for"


@dataclass(frozen=True)
class Found:
    """What a study found, for its claims, figures and tables.

    Attributes
    ----------
    numbers
        As `study.json` has them: `blocks` by name, each with `tested` (by pool and method),
        `hunted` (by method and selection), `measured`, `injected`, `signal`, `background`, and
        `knowledge` (by method, what it knows beside the data).
    """

    numbers: Mapping[str, Any]

    @property
    def efficiencies(self) -> list[float]:
        """Signal efficiencies of the curves."""
        return list(self.numbers["efficiencies"])

    def of_all(self, blocks: Iterable[str]) -> Found:
        """Return what was found with the blocks that were not run as refused ones.

        Examples
        --------
        >>> Found({"blocks": {}}).of_all(["one"]).refused("one")
        ('not among the blocks that were asked for',)
        """
        known: Mapping[str, Any] = self.numbers["blocks"]
        rest = {name: {"refused": [_NOT_ASKED]} for name in blocks if name not in known}
        return Found({**self.numbers, "blocks": {**known, **rest}})

    def block(self, name: str) -> Mapping[str, Any]:
        """Return all of a block."""
        found: Mapping[str, Any] = self.numbers["blocks"][name]
        return found

    def refused(self, block: str) -> tuple[str, ...]:
        """Return why repetitions of a block were refused, one text each."""
        return tuple(one for one in self.block(block).get("refused", ()) if one)

    def _part(self, block: str, name: str) -> Mapping[str, Any]:
        """Return a part of a block; nothing where all of its repetitions were refused."""
        parts = self.block(block)
        found: Mapping[str, Any] = {} if name not in parts and self.refused(block) else parts[name]
        return found

    def figures(self, block: str, pool: str | None = None) -> Mapping[str, Any]:
        """Return figures by method, single features too, tested on a pool; the first without."""
        tested: Mapping[str, Mapping[str, Any]] = self._part(block, "tested")
        return tested[next(iter(tested)) if pool is None else pool] if tested else {}

    def value(self, block: str, method: str, key: str, pool: str | None = None) -> Value:
        """Return a figure over the repetitions.

        Parameters
        ----------
        block, method, pool
            Which.
        key
            `auc` (in the window), `auc_fit`, `auc_heavy`, `auc_light`, `max_sic`, `sic_0.01` (at
            a background efficiency), or a path such as `selections/0.01/sic`.
        """
        figures = self.figures(block, pool)
        return _value(figures[method] if figures else None, key)

    def sic(
        self, block: str, method: str, efficiency: float = 0.5, pool: str | None = None
    ) -> Value:
        """Return the significance improvement at a signal efficiency."""
        figures = self.figures(block, pool)
        if not figures:
            return Value.of([])
        found = figures[method]["improvement"]
        i = self.efficiencies.index(efficiency)
        n = sum(one is not None for one in figures[method]["auc"]["values"])
        return Value(found["mean"][i], found["sd"][i], n)

    def z(
        self, block: str, method: str, selection: float | str = "before", key: str = "z"
    ) -> Value:
        """Return Z of the fit after a selection of a method, or before any.

        Parameters
        ----------
        block, method, selection
            Which.
        key
            `z` or `p_value`; of counts in a window `pull` too, which is negative for deficits.
        """
        hunted = self._part(block, "hunted")
        if not hunted:
            return Value.of([])
        if selection == "before":
            return _value(hunted["before"], key)
        name = selection if isinstance(selection, str) else f"{selection:g}"
        return _value(hunted["methods"][method][name], key)

    def measured(self, block: str, path: str) -> Value:
        """Return a number of the experiment's own measurement by its path, `a/b`."""
        return _value(self._part(block, "measured"), path)


def _value(found: Any, path: str) -> Value:
    for key in path.split("/"):
        found = found.get(key) if isinstance(found, Mapping) else None
    values = found["values"] if isinstance(found, Mapping) else []
    return Value.of([value for value in values if value is not None])


def figures_table(
    found: Found,
    block: str,
    *,
    title: str,
    pool: str | None = None,
    selections: Sequence[float | str] = (),
) -> StudyTable:
    """Return a row a method and single feature: knowledge, areas, improvements, Z where hunted.

    Parameters
    ----------
    found
        Of the study.
    block, pool
        Which.
    title
        Above the table.
    selections
        Whose Z is shown.
    """
    columns = {
        "auc": "AUC in the window",
        "auc_fit": "AUC in the fit range",
        "max_sic": "largest SIC",
        "sic_0.01": "SIC at eps_B = 1e-2",
        "sic_0.001": "SIC at eps_B = 1e-3",
    }
    hunted = found.block(block).get("hunted") or {}
    known = found.block(block).get("knowledge", {})
    rows = []
    for method in found.figures(block, pool):
        cells = [str(found.value(block, method, key, pool)) for key in columns]
        zs = [
            str(found.z(block, method, one)) if method in hunted["methods"] else "-"
            for one in selections
            if hunted
        ]
        rows.append((method, known.get(method, "-"), *cells, *zs))
    before = f" (before any {_value(hunted['before'], 'z')})" if hunted else ""
    shown = [f"Z after {one}{before}" for one in selections if hunted]
    return StudyTable(title, ("method", "knowledge", *columns.values(), *shown), tuple(rows))


def crossing(
    differences: Sequence[Sequence[float]], x: Sequence[float], seed: int = 1
) -> tuple[float, float, float, float]:
    """Return where differences of two methods become positive for good, and how well it is known.

    Parameters
    ----------
    differences
        By point, those of the repetitions; points without any are left out.
    x
        Of the points, rising.
    seed
        Of 1000 bootstrap samples of the repetitions of every point.

    Returns
    -------
    The crossing, linear between points (0 where all are positive, infinity where the last is not,
    not a number without points),
    the 16 and 84 % of the bootstrap, and the share of its samples with a crossing.

    Examples
    --------
    >>> crossing([[-1.0, -1.0], [1.0, 1.0], [2.0, 2.0]], [1, 2, 3])
    (1.5, 1.5, 1.5, 1.0)
    """
    known = [(place, values) for place, values in zip(x, differences, strict=True) if values]
    if not known:
        return math.nan, math.nan, math.nan, 0.0
    x, differences = [place for place, _ in known], [values for _, values in known]
    rng = seeds.generator(seed, "bootstrap")
    drawn = [
        _crossed([float(np.mean(rng.choice(values, len(values)))) for values in differences], x)
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, (0.16, 0.84), method="nearest")
    share = float(np.mean([0 < one < math.inf for one in drawn]))
    found = _crossed([float(np.mean(values)) for values in differences], x)
    return found, float(low), float(high), share


def _crossed(means: Sequence[float], x: Sequence[float]) -> float:
    below = [i for i, mean in enumerate(means) if mean <= 0]
    if not below:
        return 0.0
    i = below[-1]
    if i == len(means) - 1:
        return math.inf
    return x[i] + (x[i + 1] - x[i]) * -means[i] / (means[i + 1] - means[i])
