"""ANODE: densities of the features in a window of mass and beside it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.densities.autoregressive import Autoregressive
from tnt_coffea.training.densities.slicing import Slicing
from tnt_coffea.training.method import Job, Reads, Scope, Scorer
from tnt_coffea.training.ratios import DensityEvents, WindowRatio, features_and_mass
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.typing import BoolArray

__all__ = ["Anode", "Beside"]


class Beside(StrEnum):
    """Which events beside the window the background's density is learned from."""

    EVERYTHING = "everything"
    SIDEBANDS = "sidebands"


class Anode(SidebandMethod):
    """Log ratio of two conditional densities, that of the window over that beside it.

    Both are taken at the event's mass, clipped to the window. Assumes that the background's
    density beside the window can be interpolated into it.

    Source: arXiv:2001.04990; arXiv:2101.08320, section 3.2.

    Examples
    --------
    >>> method = Anode(beside="sidebands", sideband=1.0)
    >>> method.scopes, method.reads.window, method.density.blocks
    (('event',), True, 15)
    """

    kind: Literal["anode"] = "anode"
    features: tuple[str, ...] = Field(
        ("light_mass", "mass_difference", "light_tau21", "heavy_tau21"),
        min_length=1,
        description="continuous columns or expressions of them",
    )
    beside: Beside = Field(
        Beside.EVERYTHING,
        description="what the window is compared with: everything beside it, or its sidebands",
    )
    density: Annotated[Autoregressive | Slicing, Field(discriminator="model")] = Field(
        Autoregressive(), description="kind (model: autoregressive, slicing) and its settings"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "density ratio"

    @property
    def reads(self) -> Reads:
        """The window."""
        return Reads(window=True)

    @property
    def passes(self) -> int:
        """Most epochs of both densities."""
        return 2 * self.density.passes

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the density."""
        return self.density.libraries

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        features_and_mass(self.features, scope, sample)

    def check_window(self, window: MassRange, fit_range: MassRange) -> None:
        """Refuse a window whose sidebands leave the fit range, where these are compared with."""
        if self.beside is Beside.SIDEBANDS:
            super().check_window(window, fit_range)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the ratio."""
        features = features_and_mass(self.features, job.scope, job.data)
        inside, beside = job.in_window, self._beside(job)
        if (
            not beside[job.data.mass < job.window.low].any()
            or not inside.any()
            or not (beside[job.data.mass >= job.window.high].any())
        ):
            msg = (
                f"no events in the window {job.window.name}, or on one side of it: the density "
                "beside it cannot be interpolated; choose another window (search.window)"
            )
            raise TrainingError(msg)
        events = DensityEvents.of(features, job.data)
        densities = []
        for name, where in (("window", inside), ("beside", beside)):
            try:
                densities.append(events.fitted(self.density, where, job.seed_of(name)))
            except TrainingError as error:
                place = "in" if name == "window" else "beside"
                msg = f"events {place} the window {job.window.name}: {error}"
                raise TrainingError(msg) from error
        low, high = events.window(job.window)
        ratio = WindowRatio(densities[0], densities[1], low, high)
        counts = {
            "window": float((inside & events.usable).sum()),
            "beside": float((beside & events.usable).sum()),
        }
        return events.scorer(ratio, **counts)

    def _beside(self, job: Job) -> BoolArray:
        if self.beside is Beside.EVERYTHING:
            return ~job.in_window
        bands = [band.contains(job.data.mass) for band in self.sidebands(job.window)]
        return np.logical_or(*bands)
