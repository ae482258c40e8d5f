"""How a spectrum in m_jj is fitted: stated once, for every test of the same spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.background import MAX_PARAMETERS, MIN_PARAMETERS
from tnt_coffea.stats.fitting.families import family_named
from tnt_coffea.stats.fitting.signals import DEFAULT_TAILS, SignalShape

__all__ = ["SpectrumFit"]


@dataclass(frozen=True)
class SpectrumFit:
    """Range and bins of a fit, the background functions it may take, and the signal's shape.

    `dataclasses.replace(fit, family="exponential")` is the same fit with one thing changed.

    Attributes
    ----------
    range
        Lower and upper edge of the fit [GeV], edges of the histogram.
    bin_width
        Bins of the fit [GeV]; None keeps the histogram's.
    family
        Family of the background functions, a key of `families.FAMILIES`.
    min_parameters, max_parameters
        Range of the background function's parameters, normalisation included. Starting
        from 2, the choice keeps a power law where the data cannot yet tell it from
        the truth: on spectra of 60 and 1200 events from a four-parameter truth 8 and
        9 % of background-only toys then pass a 5 % test; starting from 3, 5 and 4 %.
    f_test
        p-value of the likelihood-ratio test below which a parameter is added. Bins outside
        the signal decide; toys keep the function.
    shape, tails, scale_uncertainty, width_uncertainty
        The signal, as in `signals.SignalShape`. With uncertainties the signal can
        move towards a fluctuation, and only toys give a valid p-value.
    shares
        Share of the signal in each channel; equal by default.

    Raises
    ------
    FitError
        The range does not rise, the bins have no width, there is no such family, or it has no
        such numbers of parameters.
    """

    range: tuple[float, float]
    _: KW_ONLY
    bin_width: float | None = None
    family: str = "dijet"
    min_parameters: int = 3
    max_parameters: int = MAX_PARAMETERS
    f_test: float = 0.05
    shape: str = "gaussian"
    tails: tuple[float, float, float, float] = DEFAULT_TAILS
    scale_uncertainty: float = 0.0
    width_uncertainty: float = 0.0
    shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.range
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            msg = f"the fit range must rise, got {low:g} to {high:g} GeV"
            raise FitError(msg)
        if self.bin_width is not None and not 0 < self.bin_width < np.inf:
            msg = (
                f"the bins of a fit need a width above 0, got bin_width = {self.bin_width:g} GeV: "
                "give one that divides the fit range, or None for the histogram's own bins"
            )
            raise FitError(msg)
        most = _most_parameters(self.family)
        if not MIN_PARAMETERS <= self.min_parameters <= self.max_parameters <= most:
            msg = (
                f"parameters must satisfy {MIN_PARAMETERS} <= min <= max <= {most}, got "
                f"{self.min_parameters} and {self.max_parameters}"
            )
            raise FitError(msg)
        if not 0 < self.f_test < 1:
            msg = f"f_test must lie in (0, 1), got {self.f_test}"
            raise FitError(msg)

    def with_family(self, family: str) -> Self:
        """Return the same fit with functions of another family, of no more parameters than it has.

        Raises
        ------
        FitError
            There is no such family.
        """
        most = min(self.max_parameters, _most_parameters(family))
        fewest = min(self.min_parameters, most)
        return replace(self, family=family, min_parameters=fewest, max_parameters=most)

    def signal(self, mass: float, width: float) -> SignalShape:
        """Return the signal of a mass and a Gaussian width [GeV].

        Raises
        ------
        FitError
            There is no such signal.
        """
        return SignalShape(
            mass, width, self.shape, self.tails, self.scale_uncertainty, self.width_uncertainty
        )

    def check_inside(self, *masses: float) -> None:
        """Refuse masses outside the range.

        Raises
        ------
        FitError
            A mass [GeV] lies there.
        """
        low, high = self.range
        for mass in masses:
            if not low < mass < high:
                msg = (
                    f"mass {mass:g} GeV lies outside the fit range {low:g}-{high:g} GeV: the "
                    "background under the signal would be extrapolated"
                )
                raise FitError(msg)


def _most_parameters(family: str) -> int:
    return max(MAX_PARAMETERS, family_named(family).orders[-1])
