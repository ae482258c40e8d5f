"""Gaussian ratio: densities of the features in the window and beside it, conditional on m_jj."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import FeatureSet, Job, Method, Reads, Scorer, Standardisation
from tnt_coffea.training.networks import input_tensor

__all__ = ["GaussianRatio"]


class GaussianRatio(Method):
    """Log ratio of two Gaussian densities of an event's features, window over sidebands.

    Either Gaussian has a mean linear in m_jj and one covariance. Assumes that the background's
    mean is linear from one sideband through the window to the other. Source of the ratio, with
    flows in place of Gaussians: arXiv:2001.04990.
    """

    kind: Literal["gaussian_ratio"] = "gaussian_ratio"
    features: tuple[str, ...] = Field(
        ("heavy_mass", "light_mass", "heavy_tau21", "light_tau21"),
        min_length=1,
        description="columns or expressions of them",
    )
    ridge: float = Field(
        1e-3, gt=0, description="added to either covariance, in squared widths of the features"
    )

    scopes: ClassVar = ("event",)
    orientation: ClassVar[str] = "denser in the window than beside it"

    @property
    def reads(self) -> Reads:
        """Return the data and the window."""
        return Reads(window=True)

    @property
    def is_random(self) -> bool:
        """Return False: members with other seeds would be the same."""
        return False

    def check(self, sample: Sample, scope: str) -> None:
        """Refuse a skim without the columns."""
        self.inputs(sample, scope)

    def inputs(self, sample: Sample, scope: str) -> FeatureSet:
        """Return the features, and behind them m_jj [GeV]."""
        return FeatureSet.of((*self.features, "m_jj"), scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of events, from the events that the folds leave."""
        import keras

        features = self.inputs(job.data, job.scope)
        columns = features.input.read(job.data)
        values = features.computed(columns)
        unit = Standardisation.of(values, job.data.weight)
        scaled = unit.applied(values).astype(np.float64)
        window, sidebands = (
            fitted(scaled[which], job.data.weight[which], self.ridge)
            for which in (job.in_window, ~job.in_window)
        )
        assert job.window is not None
        edges = np.array([job.window.low, job.window.high], np.float32)
        low, high = (edges - unit.mean[-1]) * unit.scale[-1]

        tensor = input_tensor(features.input)
        shown = unit.tensor(features.tensor(tensor))
        x, m_jj = shown[:, :-1], shown[:, -1:]
        inside = keras.ops.clip(m_jj, float(low), float(high))
        # Beside the window, the background goes on as the sidebands say.
        x = x - (m_jj - inside) * sidebands.slope
        score = window.log_density(x, inside) - sidebands.log_density(x, inside)
        return Scorer(keras.Model([tensor], score), (features.input,))


class Gaussian(NamedTuple):
    """Gaussian of features x with the mean offset + slope m, without the factor (2 pi)^(-k/2)."""

    offset: npt.NDArray[np.float32]
    slope: npt.NDArray[np.float32]
    whitening: npt.NDArray[np.float32]
    log_volume: float

    def log_density(self, x: Any, m: Any) -> Any:
        """Return the (n,) tensor of ln p(x | m), of (n, feature) and (n, 1) tensors."""
        import keras

        white = keras.ops.matmul(x - self.offset - m * self.slope, self.whitening)
        return -0.5 * keras.ops.sum(white * white, axis=1) - self.log_volume


def fitted(
    values: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], ridge: float
) -> Gaussian:
    """Return the Gaussian of weighted (event, feature) values; the last column is m_jj."""
    x, m = values[:, :-1], values[:, -1]
    least = 10 * (x.shape[1] + 2)
    if len(x) < least:
        message = f"gaussian_ratio: {len(x)} events in the window or beside it, at least {least}"
        raise TrainingError(message)
    line = np.stack([np.ones_like(m), m], axis=1)
    offset, slope = np.linalg.solve((line.T * weight) @ line, (line.T * weight) @ x)
    rest = x - offset - np.outer(m, slope)
    covariance = (rest.T * weight) @ rest / weight.sum() + ridge * np.eye(x.shape[1])
    root = np.linalg.cholesky(covariance)
    offset, slope, white = (a.astype(np.float32) for a in (offset, slope, np.linalg.inv(root).T))
    return Gaussian(offset, slope, white, float(np.log(np.diag(root)).sum()))
