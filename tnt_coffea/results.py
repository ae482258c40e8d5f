"""The result of a whole search: every test with how it was calibrated and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tnt_coffea.errors import StageError
from tnt_coffea.stats import (
    AbcdRefusal,
    AbcdResult,
    BumpHuntResult,
    ImpactRefusal,
    LimitRefusal,
    LimitResult,
    NuisanceImpact,
    ScanResult,
)
from tnt_coffea.stats.records import Record
from tnt_coffea.storage import written

__all__ = ["SearchResult"]


@dataclass(frozen=True)
class SearchResult:
    """p-values of a search and their provenance.

    Attributes
    ----------
    before
        Bump hunt on all dijets.
    after
        Bump hunt on the events that a tagger set selects, by the set's name.
    abcd
        ABCD estimate, or why there is none, by the set's name.
    scans
        Scan over masses of all dijets, 'before', and of each set's selection, if one
        was asked for.
    limits
        Upper limits on the signal at the mass of the bump hunts, or why there is none, by
        the same names.
    limit_bands
        Asymptotic limits at the masses of the scans where they hold.
    impacts
        Of the nuisance parameters on each bump hunt's signal, where its shape is uncertain, or
        why there are none.
    provenance
        Hashes of inputs (truth and dates excluded), of settings and taggers; versions.
    """

    before: BumpHuntResult
    after: Mapping[str, BumpHuntResult]
    abcd: Mapping[str, AbcdResult | AbcdRefusal]
    provenance: Mapping[str, Any]
    scans: Mapping[str, ScanResult] = field(default_factory=dict)
    limits: Mapping[str, LimitResult | LimitRefusal] = field(default_factory=dict)
    limit_bands: Mapping[str, tuple[LimitResult, ...]] = field(default_factory=dict)
    impacts: Mapping[str, tuple[NuisanceImpact, ...] | ImpactRefusal] = field(default_factory=dict)

    def summary(self) -> str:
        """Return every test in a few lines of text."""
        blocks = [f"before selection\n{self.before.summary()}"]
        blocks += [f"after selection by {name}\n{r.summary()}" for name, r in self.after.items()]
        blocks += [f"ABCD with {name}\n{r.summary()}" for name, r in self.abcd.items()]
        blocks += [f"scan, {name}\n{r.summary()}" for name, r in self.scans.items()]
        blocks += [f"limit, {name}\n{r.summary()}" for name, r in self.limits.items()]
        blocks += [
            f"impacts, {name}\n{found.summary()}"
            for name, found in self.impacts.items()
            if isinstance(found, ImpactRefusal)
        ]
        return "\n\n".join(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        # Left out where they were not asked for, as by versions that did not know them.
        later: dict[str, dict[str, Any]] = {
            "scans": {name: result.to_dict() for name, result in self.scans.items()},
            "limits": {name: result.to_dict() for name, result in self.limits.items()},
            "limit_bands": {name: _dicts(band) for name, band in self.limit_bands.items()},
            "impacts": {
                name: found.to_dict() if isinstance(found, ImpactRefusal) else _dicts(found)
                for name, found in self.impacts.items()
            },
        }
        return {
            **{name: values for name, values in later.items() if values},
            "before": self.before.to_dict(),
            "after": {name: result.to_dict() for name, result in self.after.items()},
            "abcd": {name: result.to_dict() for name, result in self.abcd.items()},
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchResult:
        """Return the inverse of `to_dict`."""
        return cls(
            before=BumpHuntResult.from_dict(values["before"]),
            after={name: BumpHuntResult.from_dict(r) for name, r in values["after"].items()},
            abcd={
                name: (AbcdRefusal if "reason" in r else AbcdResult).from_dict(r)
                for name, r in values["abcd"].items()
            },
            provenance=values["provenance"],
            scans={name: ScanResult.from_dict(r) for name, r in _parts(values, "scans")},
            limits={
                name: (LimitRefusal if "reason" in r else LimitResult).from_dict(r)
                for name, r in _parts(values, "limits")
            },
            limit_bands={
                name: tuple(map(LimitResult.from_dict, band))
                for name, band in _parts(values, "limit_bands")
            },
            impacts={
                name: ImpactRefusal.from_dict(found)
                if "reason" in found
                else tuple(map(NuisanceImpact.from_dict, found))
                for name, found in _parts(values, "impacts")
            },
        )

    def save(self, path: str | Path) -> None:
        """Write the result as JSON; the same result gives the same bytes.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        with written(Path(path)) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> SearchResult:
        """Return the result in a JSON file.

        Raises
        ------
        StageError
            The file cannot be read or holds no result.
        """
        path = Path(path)
        if not path.exists():
            msg = f"{path}: no result here; run `tnt-coffea fit` first"
            raise StageError(msg)
        try:
            return cls.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            msg = (
                f"{path}: not a readable result: {type(error).__name__}: {error}; "
                "run `tnt-coffea fit` again"
            )
            raise StageError(msg) from error


def _dicts(records: Sequence[Record]) -> list[dict[str, Any]]:
    return [record.to_dict() for record in records]


def _parts(values: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    """Return what there is of a kind, that of all dijets first: files sort by name."""
    return sorted(values.get(kind, {}).items(), key=lambda item: item[0] != "before")
