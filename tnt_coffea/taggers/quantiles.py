"""Quantile maps: from raw scores, which mean nothing across folds, to ranks, which do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["QuantileMap", "ReferenceScores", "Threshold", "threshold"]

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


@dataclass(frozen=True)
class Threshold:
    """A working point of one fold.

    Attributes
    ----------
    x
        Both quantiles above x select the event.
    achieved
        Share of the reference events selected; ties in the rank move it off the wanted one.
    """

    x: float
    achieved: float


def threshold(rank: Float64Array, efficiency: float) -> Threshold:
    """Return the X above which the wanted share of (reference event,) ranks lies.

    Source: arXiv:2002.12376, section 4.1: both jets above the same percentile X of their
    own score, X scanned for the efficiency wanted.
    """
    ordered = np.sort(rank)[::-1]
    wanted = round(efficiency * len(ordered))
    upper = ordered[wanted - 1] if wanted else 1.0
    below = ordered[ordered < upper]
    x = (upper + (below[0] if len(below) else 0.0)) / 2
    return Threshold(float(x), float((rank > x).mean()))


@dataclass(frozen=True)
class QuantileMap:
    """Raw score to quantile, and efficiency to X, in every fold of one tagger set.

    Attributes
    ----------
    tagger_set
        Digest of the set that gave the scores.
    sample
        SHA-256 of the reference events, truth excluded.
    m_jj
        Range the reference events lie in.
    references
        Reference scores by fold and scope.
    thresholds
        Working points by efficiency and fold.

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
    m_jj: MassRange
    references: Mapping[int, Mapping[str, ReferenceScores]]
    thresholds: Mapping[float, Mapping[int, Threshold]]

    def x(self, efficiency: float) -> dict[int, float]:
        """Return the X of a working point by fold.

        Raises
        ------
        TaggerError
            The map was made without this efficiency.
        """
        if efficiency not in self.thresholds:
            msg = (
                f"the quantile map has no working point of {efficiency:g}, only "
                f"{sorted(self.thresholds)}; set search.efficiencies and train again"
            )
            raise TaggerError(msg)
        return {fold: point.x for fold, point in self.thresholds[efficiency].items()}

    def edges(self, *quantiles: float) -> list[float]:
        """Return histogram edges that hold every X and the quantiles given."""
        inner = {point.x for points in self.thresholds.values() for point in points.values()}
        return sorted({0.0, *quantiles, 1.0} | inner)

    def save(self, path: Path) -> None:
        """Write the map as JSON."""
        content = {
            "tagger_set": self.tagger_set,
            "sample": self.sample,
            "m_jj": self.m_jj.model_dump(),
            "references": {
                str(fold): {scope: scores.to_dict() for scope, scores in scopes.items()}
                for fold, scopes in self.references.items()
            },
            "thresholds": [
                [eff, {str(fold): [point.x, point.achieved] for fold, point in points.items()}]
                for eff, points in self.thresholds.items()
            ],
        }
        path.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: Path) -> QuantileMap:
        """Return the map in a JSON file.

        Raises
        ------
        TaggerError
            The file cannot be read or is no quantile map.
        """
        try:
            content = json.loads(path.read_text())
            return cls(
                tagger_set=content["tagger_set"],
                sample=content["sample"],
                m_jj=MassRange(**content["m_jj"]),
                references={
                    int(fold): {
                        scope: ReferenceScores.from_dict(scores) for scope, scores in scopes.items()
                    }
                    for fold, scopes in content["references"].items()
                },
                thresholds={
                    float(eff): {int(fold): Threshold(*point) for fold, point in points.items()}
                    for eff, points in content["thresholds"]
                },
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{path}: not a readable quantile map: {error}"
            raise TaggerError(msg) from error
