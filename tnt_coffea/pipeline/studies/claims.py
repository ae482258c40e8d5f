"""What a paper says beside what was found: claims with their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["FEWEST", "Claim", "Value", "Verdict", "claims_table", "compared", "worst"]


FEWEST = 3
"""Repetitions below which their spread, and so a comparison of their means, decides nothing."""


class Verdict(StrEnum):
    """What a study says of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"

    @classmethod
    def of(cls, holds: bool) -> Verdict:
        """Return the verdict on a claim that holds or does not.

        Examples
        --------
        >>> Verdict.of(2 > 1).value
        'confirmed'
        """
        return cls.CONFIRMED if holds else cls.REFUTED


def compared(
    difference: float, uncertainty: float, *, needed: float = 2.0, means: Sequence[Value] = ()
) -> Verdict:
    """Return the verdict on a difference that is said to be positive.

    Parameters
    ----------
    difference, uncertainty
        What was found, and its standard deviation.
    needed
        How many standard deviations it takes to decide.
    means
        Those whose spreads the uncertainty is of; undecided where one has too few repetitions.

    Examples
    --------
    >>> [compared(x, 0.1).value for x in (0.3, 0.1, -0.3)]
    ['confirmed', 'undecided', 'refuted']
    """
    if any(mean.n < FEWEST for mean in means):
        return Verdict.UNDECIDED
    if not abs(difference) > needed * uncertainty:  # where either is not a number, too
        return Verdict.UNDECIDED
    return Verdict.of(difference > 0)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on several statements that must all hold.

    Examples
    --------
    >>> worst([Verdict.CONFIRMED, Verdict.UNDECIDED]).value
    'undecided'
    """
    order = (Verdict.REFUTED, Verdict.UNDECIDED, Verdict.CONFIRMED)
    return min(verdicts, key=order.index)


@dataclass(frozen=True)
class Value:
    """A mean over repetitions with its deviation and error.

    Attributes
    ----------
    mean, sd
        Of the repetitions; not a number where there is none.
    n
        How many there are.
    values
        Each of them, where they are known.

    Examples
    --------
    >>> value = Value.of([1.0, 2.0, 3.0])
    >>> str(value), value.above(1).value, value.above(Value.of([2.0, 2.1])).value
    ('2 ± 1', 'undecided', 'undecided')
    >>> str(Value.of([0.91, 0.91, 0.91]))
    '0.91 ± 0'
    """

    mean: float
    sd: float
    n: int
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Value:
        """Return the value of all repetitions that there are."""
        n = len(values)
        mean = float(np.mean(values)) if n else float("nan")
        # The same number n times has a deviation of its rounding.
        sd = float(np.std(values, ddof=1)) if len(set(values)) > 1 else 0.0
        return cls(mean, sd, n, tuple(values))

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / float(np.sqrt(self.n)) if self.n else float("nan")

    @property
    def median(self) -> float:
        """Median of the repetitions; not a number where there is none.

        Examples
        --------
        >>> Value.of([1.0, 2.0, 9.0]).median
        2.0
        """
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def band(self) -> tuple[float, float]:
        """Central 68 % of the repetitions, linear between them.

        Examples
        --------
        >>> Value.of([float(i) for i in range(101)]).band
        (16.0, 84.0)
        """
        if not self.values:
            return float("nan"), float("nan")
        low, high = np.quantile(self.values, (0.16, 0.84))
        return float(low), float(high)

    def above(self, other: Value | float) -> Verdict:
        """Return whether it is above another one, beyond twice the errors of both.

        Undecided with fewer than 3 repetitions of either.
        """
        if isinstance(other, Value):
            error = float(np.hypot(self.error, other.error))
            return compared(self.mean - other.mean, error, means=(self, other))
        return compared(self.mean - other, self.error, means=(self,))

    def times(self, factor: float) -> Value:
        """Return every repetition times a factor.

        Examples
        --------
        >>> str(Value.of([1.0, 2.0, 3.0]).times(2))
        '4 ± 2'
        """
        return Value(
            factor * self.mean, factor * self.sd, self.n, tuple(factor * v for v in self.values)
        )

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.sd:.2g}" if self.n else "none"


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, what was found, and what follows.

    Attributes
    ----------
    id
        A short name, one a claim.
    source
        Where it is said: 'arXiv:2009.02205, figure 2'.
    published
        The paper's value or claim, in words.
    rule
        How the verdict is found, fixed before the run.
    ours
        What was found, with its spread.
    verdict
        Whether that confirms the claim.
    reason
        Why, where that is not plain.

    Examples
    --------
    >>> claim = Claim("anti-tag", "arXiv:2009.02205, section III", "CWoLa tags background",
    ...     "AUC below 0.5", "AUC 0.12 ± 0.01", Verdict.CONFIRMED)
    >>> Claim.from_dict(claim.to_dict()) == claim
    True
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    source: str
    published: str
    rule: str
    ours: str
    verdict: Verdict
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Claim:
        """Return the claim of `to_dict`."""
        return cls(**values | {"verdict": Verdict(values["verdict"])})


def claims_table(claims: Sequence[Claim]) -> Table:
    """Return the claims as a table for a terminal; rules and reasons are on the study's page."""
    from rich.text import Text

    from tnt_coffea.reporting.terminal import plain_table

    table = plain_table("Claims", ("claim", "verdict"), folded=("published", "ours"))
    for claim in claims:
        cells = (claim.id, claim.verdict.value, claim.published, claim.ours)
        table.add_row(*map(Text, cells))
    return table
