"""Whether what the methods assume holds for taggers that are trained: no truth needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tnt_coffea.config import MassRange
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import TaggerSet
from tnt_coffea.training.checks import FEW_SIGNAL_RICH, MANY_TIED
from tnt_coffea.training.labels import JETS
from tnt_coffea.training.reweighting import FEWEST_MEASURED
from tnt_coffea.typing import Float64Array

__all__ = ["LARGEST_CORRELATION", "LEAST_EXPLAINED", "Assumptions", "assumptions"]

LARGEST_CORRELATION = 0.1
"""Largest correlation of the two jets' ranks without a warning; the paper finds none."""
LEAST_EXPLAINED = 0.5
"""Least share of the background's variance that QUAK's network reconstructs without a warning."""
_EFFICIENCY = 0.1
_BINS = 8
_LEAST_P = 1e-3
_STEEP = 30.0


@dataclass(frozen=True)
class Assumptions:
    """Tests of what the methods assume, for the taggers of one set out of fold.

    Attributes
    ----------
    correlation
        Spearman correlation of the two jets' scores in the sidebands; None for a set of
        scope `event`.
    sculpting
        p-value of equal mass spectra of the top tenth in the rank of both jets and of the rest,
        in the sidebands; None where too few events are left.
    warnings
        Assumptions that do not hold, and problems of the training runs.

    Examples
    --------
    >>> noted = Assumptions(correlation=0.02, sculpting=0.4, warnings=())
    >>> noted.to_dict()
    {'correlation': 0.02, 'sculpting': 0.4, 'warnings': ()}
    """

    correlation: float | None
    sculpting: float | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def assumptions(
    tagger_set: TaggerSet,
    sample: Sample,
    window: MassRange,
    fit_range: MassRange,
    histories: Iterable[Mapping[str, Any]] = (),
    caution: str = "",
) -> Assumptions:
    """Return whether the two scores are independent and the mass is left as it was.

    Parameters
    ----------
    tagger_set
        Tagger set with quantile map.
    sample
        The skim; labels are not used. Events in the window, where a signal would be, are
        left out.
    window, fit_range
        Window of the set, and range of the mass.
    histories
        Of its training runs: shares of tied scores, numbers of signal-rich jets and of bins of
        the weights.
    caution
        Of the method, `Method.caution`; it is the first warning.

    Source: arXiv:2002.12376, sections 2 and 4.2.

    Examples
    --------
    >>> from tnt_coffea import taggers, testing
    >>> from tnt_coffea.config import MassRange
    >>> window, fit_range = MassRange(low=3300, high=3700), MassRange(low=2600, high=7000)
    >>> background = testing.make_sample(50, 0.0, pixels=40)
    >>> noted = assumptions(taggers.load_set("rnd-3500/tnt"), background, window, fit_range)
    >>> abs(noted.correlation) < 0.5, noted.sculpting  # too few events for a p-value
    (True, None)
    """
    window = tagger_set.window or window
    beside = fit_range.contains(sample.mass) & ~window.contains(sample.mass)
    poor = sample.select(beside)
    ranks = tagger_set.ranks(poor)
    scored = np.isfinite(ranks.both)
    found: dict[str, float | None] = {"correlation": None, "sculpting": None}
    warnings = [caution] if caution else []
    warnings += _of_trainings(list(histories))
    if tagger_set.scopes != ("event",) and scored.sum() > 2:
        both = np.corrcoef(ranks.heavy[scored], ranks.light[scored])
        found["correlation"] = float(both[0, 1])
        if abs(both[0, 1]) > LARGEST_CORRELATION:
            warnings.append(
                f"the scores of the two jets are correlated by {both[0, 1]:.2f} beside the "
                "window: labels carry over what is no signal, and ABCD needs its closure factor"
                if tagger_set.scopes[0] in JETS
                else f"background loss and likeness to a signal are correlated by "
                f"{both[0, 1]:.2f} beside the window: ABCD needs its closure factor"
            )
    p = _same_shape(poor.mass[scored], ranks.both[scored])
    if p is not None:
        found["sculpting"] = p
        if p < _LEAST_P:
            warnings.append(
                f"the top {_EFFICIENCY:.0%} has another {sample.variable} spectrum than the rest "
                f"in the sidebands (p = {p:.1g}): try {_remedy(tagger_set)}features without "
                f"{sample.variable} in them"
            )
    return Assumptions(found["correlation"], found["sculpting"], tuple(warnings))


def _remedy(tagger_set: TaggerSet) -> str:
    """Return what helps where ranks follow the mass, unless it is made already."""
    found = ""
    settings = tagger_set.members[0].tagger.card.settings
    if settings.get("template") and "of" not in settings:
        found = "the count against the template (fit direct) in place of a fit, "
    if tagger_set.scopes != ("event",):
        return found + ("reweight, or " if tagger_set.scopes[0] in JETS else "")
    # Beside a learned signal's mass nothing tells what the score does to background there.
    told = tagger_set.knowledge == "signal simulation"
    return found + ("" if tagger_set.decorrelate or told else "decorrelate: true, or ")


def _of_trainings(histories: list[Mapping[str, Any]]) -> list[str]:
    n, warnings = len(histories), []
    tied = [h["tied"] for h in histories if h.get("tied", 0.0) > MANY_TIED]
    if tied:
        warnings.append(
            f"{len(tied)} of {n} taggers give more than {MANY_TIED:.0%} of the jets a score that "
            f"another jet has (up to {max(tied):.0%}): tight selections are then decided by a hash"
        )
    few = [h["signal-rich"] for h in histories if h.get("signal-rich", np.inf) < FEW_SIGNAL_RICH]
    if few:
        warnings.append(
            f"{len(few)} of {n} training runs have fewer than {FEW_SIGNAL_RICH} signal-rich jets "
            f"(fewest {min(few)}): use more events or a wider window"
        )
    steep = [h["largest_log_odds"] for h in histories if h.get("largest_log_odds", 0) > _STEEP]
    if steep:
        warnings.append(
            f"{len(steep)} of {n} networks diverge, the logarithm of their odds is up to "
            f"{max(steep):.3g}: lower the strength of the simulation, or take form: swapped"
        )
    explained = [h["explained"].get("background", 1.0) for h in histories if "explained" in h]
    if explained and min(explained) < LEAST_EXPLAINED:
        warnings.append(
            f"a network reconstructs {min(explained):.0%} of the background's variance, at least "
            f"{LEAST_EXPLAINED:.0%} is expected: its loss is little more than the distance from "
            "the mean; lower beta, or use more epochs"
        )
    unweighted = sum(h.get("weight bins") == 0 for h in histories)
    if unweighted:
        warnings.append(
            f"{unweighted} of {n} training runs are without the weights of reweight, which "
            f"fewer than {FEWEST_MEASURED} jets of a kind would measure: use more events, or say "
            "reweight: none"
        )
    apart = [h for h in histories if h.get("good starts that disagree", 0) > 0]
    if apart:
        warnings.append(
            f"in {len(apart)} of {n} training runs starts of about the same loss as the best one "
            "order the events otherwise: the data do not determine the topics; use more events or "
            "fewer bins"
        )
    return warnings


def _same_shape(mass: Float64Array, rank: Float64Array) -> float | None:
    from scipy.stats import chi2_contingency

    if len(mass) < 20 * _BINS:
        return None
    kept = rank > np.quantile(rank, 1 - _EFFICIENCY)
    if not kept.any():  # all that rank highest share one rank: other events than those ranked
        return None
    edges = np.quantile(mass, np.arange(1, _BINS) / _BINS)
    place = np.searchsorted(edges, mass, side="right")
    counts = [np.bincount(place[which], minlength=_BINS) for which in (kept, ~kept)]
    return float(chi2_contingency(np.array(counts)).pvalue)
