"""Density: samples of a conditional density of the sidebands, drawn at masses in the window.

Source: arXiv:2109.00546 (CATHODE), section 3: a masked autoregressive flow of the features given
the mass, learned beside the window, and four times as many samples as events in the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.densities.autoregressive import Autoregressive, AutoregressiveDensity
from tnt_coffea.training.densities.scaling import Scaling, point_masses
from tnt_coffea.training.features import Standardisation, check_independent
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.templates.interface import Sampler, SidebandEvents, Template
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["Density"]

_FARTHEST = 100.0
"""Largest |x| of a scaled feature: further out there is but the end of its range."""


def _density() -> Autoregressive:
    # With a rate that falls to nothing the last epochs are as good as a mean of many.
    optimizer = OptimizerSettings(
        beta1=0.9, beta2=0.999, decay=0.0, learning_rate=1e-2, one_cycle=True, batch=512,
        patience=40, keep="last",
    )  # fmt: skip
    return Autoregressive(blocks=5, hidden=64, epochs=40, averaged=2, optimizer=optimizer)


class Density(Template):
    """Samples of a density of the features given the mass, interpolated into the window.

    Features are brought to the whole line by a logit between their extremes, and standardised.

    Source: arXiv:2109.00546, section 3; the averaged epochs as in arXiv:2001.04990.

    Examples
    --------
    >>> template = Density()
    >>> template.density.blocks, template.density.optimizer.one_cycle, template.oversampling
    (5, True, 4.0)
    """

    by: Literal["density"] = "density"
    density: Autoregressive = Field(default_factory=_density, description="settings of the flow")
    estimate: bool = Field(
        False, description="a search predicts the selected background with it (direct estimate)"
    )

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.density.passes

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the density."""
        return self.density.libraries

    def sampler(self, events: SidebandEvents, seed: int) -> Sampler:
        """Return what draws features for given masses of the window.

        Raises
        ------
        TrainingError
            A feature takes few values only, some are a linear combination of others, or the flow
            cannot be fitted.
        """
        mass = _column(events.mass)
        # Events that share a value take no part: a density is infinite there.
        usable = ~point_masses(events.x, events.names)
        x, m, weight = events.x[usable], mass[usable], events.weight[usable]
        scaling, of_mass = Scaling.of(x, weight, names=events.names), Standardisation.of(m, weight)
        scaled = scaling.applied(x)
        check_independent(scaling.inverse(scaled), events.names)
        try:
            density = self.density.fit(
                scaled, of_mass.applied(m)[:, 0].astype(np.float64), weight, seed
            )
        except TrainingError as error:
            msg = f"events beside the window {events.window.name}: {error}"
            raise TrainingError(msg) from error
        return _Sampler(density, scaling, of_mass)


@dataclass(frozen=True)
class _Sampler:
    """Draws of a density, brought back to the features' own units."""

    density: AutoregressiveDensity
    scaling: Scaling
    mass: Standardisation

    def __call__(self, mass: Float64Array, seed: int) -> Float32Array:
        """Return (event, feature) of (event,) masses [GeV], within the ranges trained on."""
        m = self.mass.applied(_column(mass))[:, 0].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            drawn = np.nan_to_num(self.density.sample(m, seed), posinf=_FARTHEST, neginf=-_FARTHEST)
        values = self.scaling.inverse(np.clip(drawn, -_FARTHEST, _FARTHEST))
        least, largest = self.scaling.least, self.scaling.largest
        return np.clip(values, least, largest).astype(np.float32)


def _column(mass: Any) -> Float32Array:
    return np.asarray(mass, np.float32)[:, None]
