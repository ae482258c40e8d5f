"""Folds together: one signal strength, and the prequential combination beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from tnt_coffea.errors import FitError
from tnt_coffea.stats.bumps.resonance import bump_hunt
from tnt_coffea.stats.bumps.results import BumpHuntResult
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit
from tnt_coffea.stats.records import Record

__all__ = ["FoldCombination", "fold_combination"]


@dataclass(frozen=True)
class FoldCombination(Record):
    """Two ways to put cross-validation folds together.

    Attributes
    ----------
    shared
        All folds, each scored by taggers that the other folds trained, with one mu.
        Its p-value holds where null chains with retraining calibrated it.
    prequential
        Every fold but the first, each scored by taggers that only the folds before it
        trained: exactly independent, with fewer events and weaker taggers. None where
        such histograms were not made.
    calibrated
        Whether the shared p-value is calibrated by null chains.
    """

    shared: BumpHuntResult
    prequential: BumpHuntResult | None
    calibrated: bool

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the result that `to_dict` wrote."""
        before = values["prequential"]
        return cls(
            BumpHuntResult.from_dict(values["shared"]),
            None if before is None else BumpHuntResult.from_dict(before),
            bool(values["calibrated"]),
        )

    def summary(self) -> str:
        """Return both results as text."""
        kind = "calibrated by null chains" if self.calibrated else "NOT calibrated by null chains"
        blocks = [f"folds with one signal strength, {kind}\n{self.shared.summary()}"]
        if self.prequential is not None:
            blocks.append(f"prequential combination\n{self.prequential.summary()}")
        return "\n\n".join(blocks)


def fold_combination(
    folds: Mapping[str, Any],
    prequential: Mapping[str, Any] | None = None,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    null_chains: Sequence[float] = (),
    **settings: Any,
) -> FoldCombination:
    """Test one mass in all folds together.

    Parameters
    ----------
    folds
        Spectra by fold, each scored by taggers from the other folds.
    prequential
        Spectra by fold in the order of training, each scored by taggers from the
        folds before it. The first fold, which none comes before, must not be there.
    mass, width, fit
        As for `bump_hunt`; the prequential folds have their part of `fit.shares`.
    null_chains
        q0 of the shared test on background-only chains with retraining.
    settings
        Further keyword arguments of `bump_hunt`.

    Raises
    ------
    FitError
        The prequential folds are not all but one of the folds.
    """
    if prequential is not None:
        unknown = sorted(set(prequential) - set(folds))
        if unknown or len(prequential) != len(folds) - 1:
            msg = (
                f"prequential folds {sorted(prequential)} must be all but the first of "
                f"{sorted(folds)}: the first fold has no folds before it and is not searched"
            )
            raise FitError(msg)
    settings = {"mass": mass, "width": width, **settings}
    shared = bump_hunt(folds, fit=fit, null_chains=null_chains, **settings)
    before = None
    if prequential is not None:
        if fit.shares is not None:
            fit = replace(fit, shares={name: fit.shares[name] for name in prequential})
        # Independent channels: nothing about the folds remains to be said.
        before = bump_hunt(prequential, fit=fit, independent=True, **settings)
    return FoldCombination(shared, before, bool(len(null_chains)))
