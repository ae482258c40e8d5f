"""Events whose truth is known, for evaluation only: where they lie, and their ROC curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.roc import Roc, roc_curve
from tnt_coffea.taggers import Ranks

__all__ = ["LabelledEvents"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelledEvents:
    """Dijets with labels, in the fit range and in the window.

    Attributes
    ----------
    sample
        Read with `truth=True`; labels are 0 for background and positive for signal.
    in_fit, in_window
        (event,) which of them lie there; the window is part of the fit range.
    """

    sample: Sample
    in_fit: BoolArray
    in_window: BoolArray

    @classmethod
    def of(cls, sample: Sample, window: MassRange, fit_range: MassRange) -> Self:
        """Return the events of a sample with where they lie; lower edges belong to a range."""
        in_fit = (sample.m_jj >= fit_range.low) & (sample.m_jj < fit_range.high)
        in_window = in_fit & (sample.m_jj >= window.low) & (sample.m_jj < window.high)
        return cls(sample, in_fit, in_window)

    @property
    def signal(self) -> BoolArray:
        """(event,) which of them are signal."""
        return np.asarray(self.sample.label > 0)

    @property
    def all_known(self) -> bool:
        """Whether every event in the fit range has a label."""
        return not (self.sample.label[self.in_fit] < 0).any()

    @property
    def both_kinds(self) -> bool:
        """Whether the window holds signal and background."""
        inside = self.signal[self.in_window]
        return bool(inside.any() and not inside.all())

    def rocs(self, ranks: Ranks) -> dict[str, Roc]:
        """Return ROC curves of quantiles.

        `heavy`, `light` and `both` (the lower quantile of the two) in the fit range, and
        `both_in_window`.
        """
        choices = {
            "heavy": (ranks.heavy, self.in_fit),
            "light": (ranks.light, self.in_fit),
            "both": (ranks.both, self.in_fit),
            "both_in_window": (ranks.both, self.in_window),
        }
        signal, weight = self.signal, self.sample.weight
        return {
            name: roc_curve(score[rows], signal[rows], weight[rows])
            for name, (score, rows) in choices.items()
        }
