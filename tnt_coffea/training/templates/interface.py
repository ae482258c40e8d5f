"""What every template is given, and what it gives: synthetic background of a window in mass."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.config import MassRange
from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import TrainingError
from tnt_coffea.training.features import check_features
from tnt_coffea.training.sidebands import SidebandSettings
from tnt_coffea.training.templates.spectrum import Spectrum
from tnt_coffea.training.weak_labels import check_weights
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = ["FEWEST", "BackgroundTemplate", "Sampler", "SidebandEvents", "Template"]

FEWEST = 25
"""Least number of events of either sideband: fewer give no shape to interpolate."""


@dataclass(frozen=True)
class SidebandEvents:
    """Events beside a window: all that a template is made of.

    Attributes
    ----------
    x
        (event, feature) float32.
    mass
        (event,) [GeV], in either sideband.
    weight
        (event,), none negative.
    window
        The window in mass between the sidebands.
    bands
        The lower and the upper sideband.
    names
        Of the features.

    Raises
    ------
    TrainingError
        By `of`: see there.

    Examples
    --------
    >>> import numpy as np
    >>> window = MassRange(low=3300, high=3700)
    >>> bands = MassRange(low=2900, high=3300), MassRange(low=3700, high=4100)
    >>> rng = np.random.default_rng(1)
    >>> mass, x = rng.uniform(2600, 4500, 900), rng.random((900, 2), np.float32)
    >>> events = SidebandEvents.of(x, mass, np.ones(900), window, bands, ("a", "b"))
    >>> len(events), int(events.below.sum() + events.above.sum())
    (378, 378)
    """

    x: Float32Array
    mass: Float64Array
    weight: Float64Array
    window: MassRange
    bands: tuple[MassRange, MassRange]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        x: npt.NDArray[Any],
        mass: npt.NDArray[Any],
        weight: npt.NDArray[Any],
        window: MassRange,
        bands: tuple[MassRange, MassRange],
        names: tuple[str, ...],
    ) -> SidebandEvents:
        """Return those of any events: what lies in neither sideband has no part in anything.

        Parameters
        ----------
        x, mass, weight
            (event, feature), (event,) [GeV] and (event,).
        window, bands, names
            As the attributes.

        Raises
        ------
        TrainingError
            A sideband has fewer than `FEWEST` events of weight above zero, a weight is negative,
            or a feature is constant or not finite.
        """
        inside = [band.contains(mass) & (np.asarray(weight) != 0) for band in bands]
        rows = inside[0] | inside[1]
        check_weights(np.asarray(weight)[rows], "a template", " beside the window")
        for place, band, which in zip(("lower", "upper"), bands, inside, strict=True):
            if which.sum() < FEWEST:
                msg = (
                    f"{which.sum()} events in the {place} sideband {band.name} of window "
                    f"{window.name}, a template needs {FEWEST}: use more events, wider sidebands, "
                    "or another window (search.window)"
                )
                raise TrainingError(msg)
        check_features(x[rows], names)
        return cls(
            np.asarray(x[rows], np.float32),
            np.asarray(mass[rows], np.float64),
            np.asarray(weight[rows], np.float64),
            window,
            bands,
            names,
        )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def below(self) -> BoolArray:
        """(event,) bool, which lie in the lower sideband."""
        return self.mass < self.window.low

    @property
    def above(self) -> BoolArray:
        """(event,) bool, which lie in the upper sideband."""
        return ~self.below


class Sampler(Protocol):
    """Synthetic features of background for given masses."""

    def __call__(self, mass: Float64Array, seed: int) -> Float32Array:
        """Return (event, feature) of (event,) masses [GeV]; the same seed gives the same bytes."""
        ...


@dataclass(frozen=True)
class BackgroundTemplate:
    """A template fitted to sidebands: any number of synthetic events of the window.

    Attributes
    ----------
    spectrum
        Spectrum of the sidebands, which has the window between them.
    sampler
        Features for given masses.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> mass = 2500 + rng.exponential(500, 2000)
    >>> bands = MassRange(low=2900, high=3300), MassRange(low=3700, high=4100)
    >>> window = MassRange(low=3300, high=3700)
    >>> spectrum = Spectrum.of(mass, np.ones(2000), window, bands)
    >>> template = BackgroundTemplate(spectrum, lambda mass, seed: np.ones((len(mass), 3), "f4"))
    >>> x, m = template.sample(1000, seed=1)
    >>> x.shape, bool(window.contains(m).all()), 200 < template.expected < 300
    ((1000, 3), True, True)
    """

    spectrum: Spectrum
    sampler: Sampler

    @property
    def expected(self) -> float:
        """Weight of the background in the window that the spectrum gives."""
        return self.spectrum.expected

    def sample(self, n: int, seed: int) -> tuple[Float32Array, Float64Array]:
        """Return (n, feature) float32 and (n,) masses [GeV] of n synthetic events of the window."""
        mass = self.spectrum.sample(n, seeds.integer(seed, "mass"))
        return self.sampler(mass, seeds.integer(seed, "features")), mass


class Template(SidebandSettings):
    """Base of all templates: settings, told apart by `by`, that are fitted to sideband events.

    A kind has `by: Literal[...]`, a docstring with its source, and `sampler`.
    """

    by: str
    sideband: Positive = Field(1.0, description="width of either sideband, in window widths")
    oversampling: Positive = Field(
        4.0, description="synthetic events, in events of the data that they are compared with"
    )
    estimate: bool = Field(
        True, description="a search predicts the selected background with it (direct estimate)"
    )

    @property
    def passes(self) -> int:
        """Most passes over the events in a fit, for progress and costs."""
        return 1

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages that have a part in the outcome."""
        return ("numpy",)

    @abstractmethod
    def sampler(self, events: SidebandEvents, seed: int) -> Sampler:
        """Return what gives features for given masses of the window.

        Raises
        ------
        TrainingError
            These events do not allow a fit.
        """

    def fit(self, events: SidebandEvents, seed: int) -> BackgroundTemplate:
        """Return the template of the window between the sidebands.

        Raises
        ------
        TrainingError
            These events do not allow a fit.
        """
        spectrum = Spectrum.of(events.mass, events.weight, events.window, events.bands)
        return BackgroundTemplate(spectrum, self.sampler(events, seed))
