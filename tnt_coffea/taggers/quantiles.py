"""Quantile maps: from raw scores, which mean nothing across folds, to ranks, which do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers.mass_dependence import MassDependence
from tnt_coffea.taggers.stored import Scope, Stored, read_stored
from tnt_coffea.typing import Float32Array, Float64Array
from tnt_coffea.working_points import WorkingPoints

__all__ = ["QuantileMap", "ReferenceScores", "threshold"]

UIntArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ReferenceScores:
    """The scores of a reference sample, in order, and the hashes that order equal ones.

    Attributes
    ----------
    scores
        (reference event,) float32, ascending.
    plateaus
        The hashes, ascending, of the events that share a score, by that score.
    """

    scores: Float32Array
    plateaus: Mapping[float, UIntArray]

    @classmethod
    def of(cls, scores: Float32Array, hashes: UIntArray) -> ReferenceScores:
        """Return the reference made of (event,) scores and tie-breaking hashes.

        Raises
        ------
        TaggerError
            There is no event.
        """
        if not len(scores):
            msg = "no event in the range that quantiles are taken from: is the fit range right?"
            raise TaggerError(msg)
        order = np.lexsort((hashes, scores))
        ordered, hashes = scores[order], hashes[order]
        values, first, counts = np.unique(ordered, return_index=True, return_counts=True)
        plateaus = {
            float(values[i]): hashes[first[i] : first[i] + counts[i]]
            for i in np.flatnonzero(counts > 1)
        }
        return cls(ordered, plateaus)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def tied(self) -> int:
        """How many reference events share their score with another one."""
        return sum(map(len, self.plateaus.values()))

    def quantile(self, scores: Float32Array, hashes: UIntArray) -> Float64Array:
        """Return the quantile in (0, 1) of every (event,) score; ties are broken by hash.

        The k-th of n reference events gets (k + 1/2) / n.
        """
        rank = np.searchsorted(self.scores, scores, side="left")
        for value, members in self.plateaus.items():
            same = scores == np.float32(value)
            rank[same] += np.searchsorted(members, hashes[same], side="left")
        # Above every reference event the rank is n, and the quantile still below 1.
        clipped = np.minimum(rank.astype(np.float64), len(self) - 0.5)
        out: Float64Array = (clipped + 0.5) / len(self)
        return np.minimum(out, np.nextafter(1.0, 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; float32 scores survive the round trip exactly."""
        return {
            # By way of text: the shortest decimal that names the float32, not its float64.
            "scores": [float(str(score)) for score in self.scores],
            "plateaus": [[value, [int(h) for h in hs]] for value, hs in self.plateaus.items()],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReferenceScores:
        """Return the inverse of `to_dict`."""
        return cls(
            np.array(values["scores"], np.float32),
            {float(v): np.array(hs, np.uint64) for v, hs in values["plateaus"]},
        )


def threshold(rank: Float64Array, share: float) -> float:
    """Return the X above which the wanted share of (reference event,) ranks lies.

    Source: arXiv:2002.12376, section 4.1: both jets above the same percentile X of their
    own score, X scanned for the efficiency wanted.

    Examples
    --------
    >>> threshold(np.array([0.1, 0.3, 0.5, 0.7, 0.9]), 0.4)
    0.6
    """
    ordered = np.sort(rank)[::-1]
    wanted = round(share * len(ordered))
    upper = ordered[wanted - 1] if wanted else 1.0
    below = ordered[ordered < upper]
    return float((upper + (below[0] if len(below) else 0.0)) / 2)


@dataclass(frozen=True)
class QuantileMap:
    """Raw score to quantile, and selection to X, in every fold of one tagger set.

    Attributes
    ----------
    tagger_set
        Digest of the set that gave the scores.
    sample
        SHA-256 of the reference events, truth excluded.
    variable, mass_range
        Resonance variable, and its range that the reference events lie in.
    references
        Reference scores by fold and scope.
    points
        Working points.
    dependences
        How the scores of a fold and scope follow the mass, for a set whose scores are ranked among
        events of the same mass.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import taggers
    >>> quantiles = taggers.load_set("rnd-3500/tnt").quantiles
    >>> heavy = quantiles.references[0]["heavy"]  # scores of fold 0
    >>> median = heavy.scores[[len(heavy) // 2]]
    >>> heavy.quantile(median, np.zeros(1, np.uint64)).round(2).tolist()
    [0.5]
    """

    tagger_set: str
    sample: str
    variable: str
    mass_range: MassRange
    references: Mapping[int, Mapping[str, ReferenceScores]]
    points: WorkingPoints = field(default_factory=WorkingPoints)
    dependences: Mapping[int, Mapping[str, MassDependence]] = field(default_factory=dict)

    def edges(self, jet: Literal["heavy", "light"], *quantiles: float) -> list[float]:
        """Return histogram edges that hold every X of a jet and the quantiles given."""
        return sorted({0.0, *quantiles, 1.0} | self.points.edges(jet))

    def save(self, path: Path) -> None:
        """Write the map as JSON."""
        content = {
            "tagger_set": self.tagger_set,
            "sample": self.sample,
            "variable": self.variable,
            "mass_range": self.mass_range.model_dump(),
            "references": {
                str(fold): {scope: scores.to_dict() for scope, scores in scopes.items()}
                for fold, scopes in self.references.items()
            },
            "working_points": self.points.to_list(),
        }
        if self.dependences:
            content["dependences"] = {
                str(fold): {scope: found.to_list() for scope, found in scopes.items()}
                for fold, scopes in self.dependences.items()
            }
        path.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: Path) -> QuantileMap:
        """Return the map in a JSON file.

        Raises
        ------
        TaggerError
            The file cannot be read or is no quantile map: what was changed in it.
        """
        stored = read_stored(path, _StoredMap, "quantile map")
        return cls(
            tagger_set=stored.tagger_set,
            sample=stored.sample,
            variable=stored.variable,
            mass_range=stored.mass_range,
            references={
                fold: {scope: scores.reference for scope, scores in scopes.items()}
                for fold, scopes in stored.references.items()
            },
            points=WorkingPoints.from_list(stored.working_points),
            dependences={
                fold: {scope: MassDependence.from_list(found) for scope, found in scopes.items()}
                for fold, scopes in stored.dependences.items()
            },
        )


class _StoredScores(Stored):
    scores: tuple[float, ...] = Field(min_length=1)
    plateaus: tuple[tuple[float, tuple[Annotated[int, Field(ge=0, lt=2**64)], ...]], ...]

    @property
    def reference(self) -> ReferenceScores:
        return ReferenceScores.from_dict(self.model_dump())

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        with np.errstate(over="ignore"):
            scores = np.array(self.scores, np.float32)
        if not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
            msg = "scores do not ascend, or are no float32"
            raise ValueError(msg)
        values, counts = np.unique(scores, return_counts=True)
        shared = {float(v): int(n) for v, n in zip(values, counts, strict=True) if n > 1}
        if shared != {float(np.float32(v)): len(hashes) for v, hashes in self.plateaus}:
            msg = "plateaus are not the scores that several events share"
            raise ValueError(msg)
        if any(list(hashes) != sorted(hashes) for _, hashes in self.plateaus):
            msg = "hashes of a plateau do not ascend"
            raise ValueError(msg)
        return self


_Curve = tuple[float, tuple[float, ...], tuple[float, ...]]
_StoredDependence = tuple[tuple[_Curve, ...], tuple[float, ...]]


class _StoredMap(Stored):
    tagger_set: str
    sample: str
    variable: str
    mass_range: MassRange
    references: dict[int, dict[Scope, _StoredScores]]
    working_points: list[dict[str, Any]]
    dependences: dict[int, dict[Scope, _StoredDependence]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        WorkingPoints.from_list(self.working_points)
        for scopes in self.dependences.values():
            for found in scopes.values():
                MassDependence.from_list(found)
        return self
