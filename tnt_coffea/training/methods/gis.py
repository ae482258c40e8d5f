"""Gaussianizing iterative slicing: events denser at their own mass than at masses around it."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.densities.slicing import Slicing, SlicingDensity
from tnt_coffea.training.method import Job, Method, Scope, Scorer
from tnt_coffea.training.ratios import DensityEvents, SmoothedRatio, features_and_mass

__all__ = ["Gis"]

_NARROWEST = 1e-4
"""Least sigma in widths of the mass: differences of ln p are rounded away below."""


class Gis(Method):
    """Log ratio of the density at an event's mass to that at masses around it; no window.

    Assumes that the features' density changes slowly with the mass on background, and that a
    signal is narrower than `sigma`.

    Source: arXiv:2012.11638; arXiv:2101.08320, section 3.5.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> method = Gis(density={"bins": 4, "knots": 8, "members": 1})
    >>> scorer = method.train(Job(testing.make_sample(600), scope="event", seed=1))
    >>> scorer.inputs[0].columns
    ('heavy_mass', 'light_mass', 'heavy_tau21', 'light_tau21', 'm_jj')
    """

    kind: Literal["gis"] = "gis"
    features: tuple[str, ...] = Field(
        ("heavy_mass", "mass_difference", "heavy_tau21", "light_tau21"),
        min_length=1,
        description="continuous columns or expressions of them",
    )
    density: Slicing = Field(Slicing(), description="settings of the density")
    sigma: Positive = Field(250.0, description="width in mass of what counts as near [GeV]")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "density ratio"
    caution: ClassVar[str] = (
        "densities of neighbouring masses differ by chance, which makes bumps as wide as their "
        "bins where there is no signal (docs/comparison.md): trust p-values of "
        "fit.bump.null_chains alone"
    )

    @property
    def passes(self) -> int:
        """Densities averaged."""
        return self.density.passes

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the density: no Keras."""
        return self.density.libraries

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        features_and_mass(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of one density for all masses."""
        features = features_and_mass(self.features, job.scope, job.data)
        events = DensityEvents.of(features, job.data)
        m = events.m[events.usable]
        sigma = self.sigma * float(events.mass.scale[0])
        if sigma < _NARROWEST:
            msg = (
                f"a sigma of {self.sigma:g} GeV is too narrow to tell masses apart: scores would "
                f"be rounding errors; set sigma to {self.sigma * _NARROWEST / sigma:.2g} or more"
            )
            raise TrainingError(msg)
        if np.ptp(m) < 2 * sigma:
            msg = (
                f"the masses to train on span {np.ptp(m) / sigma * self.sigma:.0f} GeV, at least "
                f"two sigma ({2 * self.sigma:.0f} GeV) are needed"
            )
            raise TrainingError(msg)
        density = cast(SlicingDensity, events.fitted(self.density, events.usable, job.seed))
        if not density.layers:
            msg = (
                f"no map learned from {len(m)} events, in {self.density.bins} bins of mass and at "
                f"{self.density.knots} knots, describes those held back better than none, so the "
                "density does not depend on the mass: choose fewer bins (density.bins) or knots "
                "(density.knots), or use more events"
            )
            raise TrainingError(msg)
        ratio = SmoothedRatio(density, sigma, float(m.min()), float(m.max()))
        return events.scorer(ratio, events=float(len(m)), layers=float(len(density.layers)))
