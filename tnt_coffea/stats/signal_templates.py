"""A signal in one channel as a histogram of simulated events, with its variations.

Variations are vertical, bin by bin, as in HistFactory (`interpolation`): what a variation does to
the sum is a factor, what it does to the shape is added. The template keeps the sums of weights
that it was made of, and is made of them again in other bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.signal_sums import SignalSums, added_sums

__all__ = ["SignalTemplate", "above_zero", "check_alike", "summed"]

Array = NDArray[np.float64]

# Edges written as decimal numbers differ from their sums by rounding only.
_EDGE_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class SignalTemplate:
    """A signal in one channel, as a histogram.

    Attributes
    ----------
    edges
        Edges of the bins [GeV], shape (bins + 1,).
    nominal
        Events at unit signal strength, with efficiency and acceptance, shape (bins,).
    variance
        Sums of squared weights: what the number of simulated events leaves open, shape (bins,).
    variations
        By name of the nuisance parameter: events at +1 and at -1 standard deviation, both of
        shape (bins,).
    sums
        Sums of weights that `of_sums` made the template of; else the histograms themselves.

    Raises
    ------
    FitError
        Edges do not rise, an array has another shape, or holds negative numbers or none above 0.

    Examples
    --------
    >>> import numpy as np
    >>> up, down = np.array([1.0, 3.0]), np.array([3.0, 1.0])
    >>> template = SignalTemplate(np.array([1, 2, 3.0]), np.array([2.0, 2.0]), np.zeros(2),
    ...                           {"jet_energy_scale": (up, down)})
    >>> template.total, list(template.variations)
    (4.0, ['jet_energy_scale'])
    """

    edges: Array
    nominal: Array
    variance: Array
    variations: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    sums: SignalSums = field(init=False, repr=False)

    @classmethod
    def of_sums(cls, edges: Array, sums: SignalSums) -> SignalTemplate:
        """Return the template of sums of weights, members combined in its bins.

        Bins below zero are set to 0, and the others scaled to the sum before.

        Parameters
        ----------
        edges
            Edges of the bins [GeV], shape (bins + 1,).
        sums
            In these bins.

        Raises
        ------
        FitError
            As of the template; the sum of all bins is not above 0, nominal or varied.
        """
        nominal = _with_events("nominal", np.asarray(sums.nominal))
        for name, both in sums.variations.items():
            # Those of members depend on the bins, and may be less than nothing in narrow ones.
            for way, part in zip(("up", "down"), both, strict=True):
                _with_events(f"{name} {way}", part)
        varied = {
            name: (above_zero(up), above_zero(down))
            for name, (up, down) in sums.up_and_down().items()
        }
        made = cls(edges, above_zero(nominal), sums.squares, varied)
        object.__setattr__(made, "sums", sums)
        return made

    def __post_init__(self) -> None:
        edges = _checked_edges(self.edges)
        bins = len(edges) - 1
        nominal = _with_events("nominal", _checked("nominal", self.nominal, bins))
        variance = _checked("variance", self.variance, bins)
        varied = {}
        for name, both in self.variations.items():
            if not isinstance(name, str) or not name or len(both) != 2:
                msg = (
                    f"a variation of a signal template has a name and two histograms, up and "
                    f"down, got {name!r} with {len(both)}"
                )
                raise FitError(msg)
            up, down = (
                _with_events(f"{name} {way}", _checked(f"{name} {way}", part, bins))
                for way, part in zip(("up", "down"), both, strict=True)
            )
            varied[name] = (up, down)
        for attribute, value in (
            ("edges", edges),
            ("nominal", nominal),
            ("variance", variance),
            ("variations", varied),
            ("sums", SignalSums(nominal, variance, varied)),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def total(self) -> float:
        """Events at unit signal strength, in all bins."""
        return float(self.nominal.sum())

    @property
    def effective_events(self) -> float:
        """Simulated events that the template stands for, (sum w)^2 / sum w^2; inf: it is exact."""
        squares = float(self.variance.sum())
        return self.total**2 / squares if squares > 0 else float("inf")

    @property
    def negative(self) -> bool:
        """Whether weights left a bin below zero."""
        return self.sums.has_negative

    def rebinned(self, edges: Array) -> SignalTemplate:
        """Return the template in some of its bins, or in bins that join several.

        Sums of weights are joined first: members are combined, and bins below zero set to 0, in
        the new bins.

        Parameters
        ----------
        edges
            Edges of the template [GeV], rising; what lies outside is left out.

        Raises
        ------
        FitError
            An edge is none of the template, or no events are left.
        """
        wanted = _checked_edges(edges)
        places = np.abs(self.edges[None, :] - wanted[:, None]).argmin(axis=1)
        apart = np.abs(self.edges[places] - wanted) > _EDGE_TOLERANCE * np.maximum(1.0, wanted)
        if apart.any():
            msg = (
                f"{wanted[apart][0]:g} GeV is not an edge of the signal template (the nearest is "
                f"{self.edges[places][apart][0]:g}): make it in the bins of the fit, or in "
                "narrower ones"
            )
            raise FitError(msg)
        try:
            return self.of_sums(edges, self.sums.joined(places))
        except FitError as error:
            low, high = wanted[0], wanted[-1]
            msg = f"between {low:g} and {high:g} GeV: {error}"
            raise FitError(msg) from error

    @cached_property
    def norms(self) -> dict[str, tuple[float, float]]:
        """Factors on the sum at +1 and -1 standard deviation, by variation."""
        return {
            name: (float(up.sum()) / self.total, float(down.sum()) / self.total)
            for name, (up, down) in self.variations.items()
        }

    @cached_property
    def shapes(self) -> dict[str, tuple[Array, Array]]:
        """The variations with the sum of the nominal template, by name."""
        return {
            name: (up / self.norms[name][0], down / self.norms[name][1])
            for name, (up, down) in self.variations.items()
        }

    def scaled(self, factor: float) -> SignalTemplate:
        """Return the template times a factor."""
        return self.of_sums(self.edges, self.sums.scaled(factor))


def summed(templates: Sequence[SignalTemplate]) -> SignalTemplate:
    """Return the sum of templates in the same bins with the same variations.

    A member of a set of weights is summed over all of them before the members are combined.

    Raises
    ------
    FitError
        Bins or variations differ.

    Examples
    --------
    >>> import numpy as np
    >>> one = SignalTemplate(np.array([1, 2, 3.0]), np.array([1.0, 2.0]), np.zeros(2))
    >>> summed([one, one]).nominal.tolist()
    [2.0, 4.0]
    """
    first, *rest = templates
    for k, template in enumerate(rest, start=1):
        check_alike(str(k), template, first)

    return SignalTemplate.of_sums(first.edges, added_sums([own.sums for own in templates]))


def _checked_edges(edges: Any) -> Array:
    found = _checked("edges", edges, None)
    if len(found) < 2 or np.any(np.diff(found) <= 0):
        msg = f"the edges of a signal template must rise, two or more, got {found.tolist()}"
        raise FitError(msg)
    return found


def _checked(what: str, values: Any, size: int | None) -> Array:
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"{what} of a signal template: expected numbers"
        raise FitError(msg) from error
    if found.ndim != 1 or (size is not None and len(found) != size):
        wanted = "(bins + 1,)" if size is None else f"({size},)"
        msg = f"{what} of a signal template: expected shape {wanted}, got {found.shape}"
        raise FitError(msg)
    if not np.isfinite(found).all() or found.min(initial=0.0) < 0:
        msg = (
            f"{what} of a signal template: a bin is negative or not finite: use wider bins, or "
            "more simulated events"
        )
        raise FitError(msg)
    return found


def above_zero(values: Array) -> Array:
    """Return a histogram with bins below zero set to 0, and the sum that it had."""
    kept = np.maximum(values, 0.0)
    total = float(values.sum())
    return kept * (total / kept.sum()) if total > 0 and values.min() < 0 else kept


def _with_events(what: str, values: Array) -> Array:
    if values.sum() <= 0:
        msg = f"{what} of a signal template holds no events"
        raise FitError(msg)
    return values


def check_alike(what: str, template: SignalTemplate, first: SignalTemplate) -> None:
    """Refuse a template in other bins, with other variations or members than the first.

    Parameters
    ----------
    what
        The template, for the message.
    template, first
        Both.

    Raises
    ------
    FitError
        They differ.
    """
    if not np.array_equal(template.edges, first.edges):
        msg = f"the signal template {what} has other bins than the first: make all in the same"
        raise FitError(msg)
    if template.variations.keys() != first.variations.keys():
        apart = sorted(template.variations.keys() ^ first.variations.keys())
        msg = f"the signal template {what} has other variations than the first: {', '.join(apart)}"
        raise FitError(msg)
    own, other = (
        {name: (str(rule), len(values)) for name, (rule, values) in one.sums.members.items()}
        for one in (template, first)
    )
    if own != other:
        apart = sorted(
            name for name in own.keys() | other.keys() if own.get(name) != other.get(name)
        )
        msg = f"the signal template {what} has other members than the first: {', '.join(apart)}"
        raise FitError(msg)
