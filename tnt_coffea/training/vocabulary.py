"""Splittings of jets as words: a word is the jet and the bins of two observables."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from tnt_coffea.config import Branches, SplittingSettings
from tnt_coffea.config.settings import Positive, Settings
from tnt_coffea.typing import Float32Array, IntArray

__all__ = ["LundBasis", "MassBasis", "Vocabulary"]


class Vocabulary(Settings):
    """Base of the vocabularies: bins of two observables for either jet.

    What is out of range is in the first or last bin, so every splitting is a word.
    """

    columns: ClassVar[tuple[int, int]]
    """Of the five numbers that `Splittings` has of a splitting."""

    @property
    def edges(self) -> tuple[Float32Array, Float32Array]:
        """Edges between the bins of each observable, ascending."""
        raise NotImplementedError

    @property
    def bins(self) -> int:
        """Words of one jet."""
        first, second = self.edges
        return (len(first) + 1) * (len(second) + 1)

    def misfit(self, splittings: SplittingSettings) -> str | None:
        """Return why splittings of these settings are not what the words are of; None if so."""
        raise NotImplementedError

    def numbers(self, splittings: npt.NDArray[Any]) -> IntArray:
        """Return (n, jet, splitting) words; of what is no splitting as well.

        Parameters
        ----------
        splittings
            (n, jet, splitting, 5) of `taggers.inputs.Splittings`.

        Examples
        --------
        >>> one = np.array([1, 0, 0, 45.0, 0.95], np.float32).reshape(1, 1, 1, 5)
        >>> MassBasis().numbers(one).tolist(), MassBasis().bins  # second bin of 15, last of 10
        ([[[19]]], 150)
        """
        first, second = (
            sum(
                ((splittings[..., column] >= edge).astype(np.int64) for edge in edges),
                start=np.zeros(splittings.shape[:-1], np.int64),
            )
            for column, edges in zip(self.columns, self.edges, strict=True)
        )
        jet = self.bins * np.arange(splittings.shape[1])[:, None]
        return np.asarray(first * (len(self.edges[1]) + 1) + second + jet)

    def add(self, graph: Any, splittings: str, jets: int) -> str:
        """Return the name of `numbers`, int64, appended to a `Graph`: the same comparisons."""
        numbers: list[str] = []
        for column, edges in zip(self.columns, self.edges, strict=True):
            value = graph.add("Gather", splittings, graph.constant([column]), axis=3)
            above = graph.add("GreaterOrEqual", value, graph.constant(edges))
            counted = graph.cast(above, "float")
            numbers.append(graph.add("ReduceSum", counted, graph.constant([3]), keepdims=0))
        # Whole numbers below 2^24 are exact in float32.
        first = graph.ops.multiply(numbers[0], float(len(self.edges[1]) + 1))
        jet = (self.bins * np.arange(jets)[:, None]).astype(np.float32)
        word = graph.ops.add(graph.ops.add(first, numbers[1]), jet)
        name: str = graph.cast(word, "int64")
        return name


class MassBasis(Vocabulary):
    """Mass m_0 of what splits, and m_1 / m_0 of the heavier branch, in all branches."""

    basis: Literal["mass"] = "mass"
    mass_bins: int = Field(15, ge=1, le=30, description="bins of the mass, logarithmic")
    mass_low: Positive = Field(30.0, description="where the first of them begins [GeV]")
    mass_high: Positive = Field(1000.0, description="where the last of them ends [GeV]")
    drop_bins: int = Field(10, ge=1, le=30, description="bins from 0 to 1 of m_1 / m_0")

    columns: ClassVar[tuple[int, int]] = (3, 4)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _ascending(self, "mass")
        return self

    @property
    def edges(self) -> tuple[Float32Array, Float32Array]:
        """Edges between bins of mass [GeV], and of the share."""
        mass = np.geomspace(self.mass_low, self.mass_high, self.mass_bins + 1)
        return _inner(mass), _inner(np.linspace(0, 1, self.drop_bins + 1))

    def misfit(self, splittings: SplittingSettings) -> str | None:
        """Refuse splittings of the harder branch alone, or of any mass."""
        if splittings.branches is Branches.ALL and splittings.mass_min > 0:
            return None
        return (
            "the mass basis is made of the splittings of all branches above a lowest mass: "
            f"set skim.splittings to {{branches: all, mass_min: {self.mass_low:g}}}, or "
            "vocabulary to {basis: lund}"
        )


class LundBasis(Vocabulary):
    """ln(1 / Delta R) and ln(kt / GeV) of the primary Lund plane."""

    basis: Literal["lund"] = "lund"
    angle_bins: int = Field(10, ge=1, le=30, description="bins of ln(1 / Delta R)")
    angle_low: float = Field(0.0, description="where the first of them begins")
    angle_high: float = Field(5.0, description="where the last of them ends")
    kt_bins: int = Field(10, ge=1, le=30, description="bins of ln(kt / GeV)")
    kt_low: float = Field(-1.0, description="where the first of them begins")
    kt_high: float = Field(6.0, description="where the last of them ends")

    columns: ClassVar[tuple[int, int]] = (1, 2)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _ascending(self, "angle", "kt")
        return self

    @property
    def edges(self) -> tuple[Float32Array, Float32Array]:
        """Edges between bins of ln(1 / Delta R), and of ln(kt / GeV)."""
        angle = np.linspace(self.angle_low, self.angle_high, self.angle_bins + 1)
        return _inner(angle), _inner(np.linspace(self.kt_low, self.kt_high, self.kt_bins + 1))

    def misfit(self, splittings: SplittingSettings) -> str | None:
        """Refuse splittings of all branches, or without those of low mass."""
        if splittings.branches is Branches.HARDER and splittings.mass_min == 0:
            return None
        return (
            "the Lund basis is made of the splittings of the harder branch, whatever their mass: "
            "set skim.splittings to {branches: harder, mass_min: 0}, or vocabulary to "
            "{basis: mass}"
        )


def _inner(edges: npt.NDArray[Any]) -> Float32Array:
    return edges[1:-1].astype(np.float32)


def _ascending(vocabulary: Vocabulary, *names: str) -> None:
    for name in names:
        low, high = (getattr(vocabulary, f"{name}_{end}") for end in ("low", "high"))
        if not low < high:
            msg = f"{name}_low: {low:g} is not below {name}_high, {high:g}"
            raise ValueError(msg)
