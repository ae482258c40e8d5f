"""Sums of weights that a signal's histogram is made of, with all of its variations.

Weights of either sign leave sums of either sign, and what members of a set of weights do together
depends on the bins: sums are joined, added and scaled as they are, and become a histogram
(`SignalTemplate`) in the bins that are fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config import MembersRule
from tnt_coffea.errors import FitError

__all__ = ["SignalSums", "added_sums", "varied_by_members"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SignalSums:
    """Sums of weights in bins, nominal and varied.

    Attributes
    ----------
    nominal
        Sums of weights, shape (bins,).
    squares
        Sums of squared weights, shape (bins,).
    variations
        By name, sums up and down, both of shape (bins,); not those of members.
    members
        By name of the variation, how its members count, and their sums, shape (members, bins).
    morphed_below_zero
        Whether a bin was below zero at one of the masses that this was morphed from.

    Examples
    --------
    >>> import numpy as np
    >>> sums = SignalSums(np.array([4.0, -1.0, 2.0]), np.array([4.0, 3.0, 2.0]))
    >>> sums.has_negative, added_sums([sums, sums]).nominal.tolist()
    (True, [8.0, -2.0, 4.0])
    """

    nominal: Array
    squares: Array
    variations: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    members: Mapping[str, tuple[MembersRule, Array]] = field(default_factory=dict)
    morphed_below_zero: bool = False

    @property
    def has_negative(self) -> bool:
        """Whether weights left a bin below zero, here or before a morphing."""
        return self.morphed_below_zero or bool(np.min(self.nominal) < 0)

    def joined(self, places: NDArray[np.intp]) -> SignalSums:
        """Return the sums in wider bins.

        Parameters
        ----------
        places
            Numbers of the edges that are kept, rising, shape (wider bins + 1,).
        """

        def change(values: Array) -> Array:
            kept = values[..., : places[-1]]
            return np.asarray(np.add.reduceat(kept, places[:-1], axis=-1))

        return self._changed(change, change)

    def scaled(self, factor: float) -> SignalSums:
        """Return the sums of weights that are `factor` times as large."""
        return self._changed(lambda values: factor * values, lambda values: factor**2 * values)

    def _changed(
        self, change: Callable[[Array], Array], of_squares: Callable[[Array], Array]
    ) -> SignalSums:
        return SignalSums(
            change(self.nominal),
            of_squares(self.squares),
            {name: (change(up), change(down)) for name, (up, down) in self.variations.items()},
            {name: (rule, change(values)) for name, (rule, values) in self.members.items()},
            self.morphed_below_zero,
        )

    def up_and_down(self) -> dict[str, tuple[Array, Array]]:
        """Return all variations, by name, the rules of members applied in these bins."""
        return dict(self.variations) | {
            name: varied_by_members(rule, self.nominal, values)
            for name, (rule, values) in self.members.items()
        }


def added_sums(every: Sequence[SignalSums]) -> SignalSums:
    """Return the sums of several samples together: member by member, before members are combined.

    Parameters
    ----------
    every
        In the same bins, with the same variations and members.

    Examples
    --------
    >>> import numpy as np
    >>> up, down = np.array([3.0]), np.array([1.0])
    >>> one = SignalSums(np.array([2.0]), np.array([4.0]), {"jet_energy_scale": (up, down)})
    >>> both = added_sums([one, one])
    >>> both.nominal.tolist(), both.squares.tolist()
    ([4.0], [8.0])
    >>> [part.tolist() for part in both.variations["jet_energy_scale"]]
    [[6.0], [2.0]]
    """

    def total(arrays: Iterable[Array]) -> Array:
        return np.asarray(np.sum(list(arrays), axis=0))

    first = every[0]
    return SignalSums(
        total(own.nominal for own in every),
        total(own.squares for own in every),
        {
            name: (
                total(own.variations[name][0] for own in every),
                total(own.variations[name][1] for own in every),
            )
            for name in first.variations
        },
        {
            name: (rule, total(own.members[name][1] for own in every))
            for name, (rule, _) in first.members.items()
        },
        any(own.morphed_below_zero for own in every),
    )


def varied_by_members(rule: MembersRule, nominal: Array, members: Array) -> tuple[Array, Array]:
    """Return what a set of weights makes of a spectrum, up and down.

    Parameters
    ----------
    rule
        How the members count: `hessian` squared differences from nominal summed, `replicas` their
        standard deviation, both added to nominal and taken from it; `envelope` largest and least
        of them and nominal.
    nominal
        (bin,).
    members
        (member, bin).

    Source: of the first two, arXiv:1510.03865, equations 20 and 21.

    Examples
    --------
    >>> import numpy as np
    >>> members = np.array([[13.0], [14.0], [10.0]])
    >>> [float(one[0]) for one in varied_by_members("hessian", np.array([10.0]), members)]
    [15.0, 5.0]
    >>> [float(one[0]) for one in varied_by_members("envelope", np.array([11.0]), members)]
    [14.0, 10.0]
    """
    if rule == MembersRule.ENVELOPE:
        every = np.concatenate([nominal[None], members])
        return every.max(axis=0), every.min(axis=0)
    if rule == MembersRule.REPLICAS:
        if len(members) < 2:
            msg = "a standard deviation of replicas needs two of them or more"
            raise FitError(msg)
        size = members.std(axis=0, ddof=1)
    else:
        size = np.sqrt(((members - nominal) ** 2).sum(axis=0))
    return nominal + size, nominal - size
