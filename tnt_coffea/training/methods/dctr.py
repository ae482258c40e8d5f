"""DCTR: weights that make simulated background look like the data beside a window."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.config import MassRange
from tnt_coffea.config.settings import Positive
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend, networks
from tnt_coffea.training.classifiers import CLASSIFIER_NETWORKS, Dense
from tnt_coffea.training.density_ratio import (
    RatioNetwork,
    WeightSummary,
    auc,
    check_mass,
    density_ratio,
    predicted,
    weights_of,
)
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.method import Job, Purpose, Reads, Scope, Scorer
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.training.weak_labels import FEWEST, validation_mask

__all__ = ["LOWER_VALIDATION", "UPPER_VALIDATION", "Dctr"]

LOWER_VALIDATION, UPPER_VALIDATION = "lower validation", "upper validation"
"""Names of the sidebands whose weights come from what lies beside them, never the window."""

# On 12,500 events of each kind the paper's 20 epochs learn their fluctuations: on other events
# the AUC beside the window goes from 0.58 to 0.474, with these settings to 0.496
# (benchmarks/ratio_settings.py).
_NETWORK = Dense.paper("light_mass", "mass_difference", "tau21", "m_jj").model_copy(
    update={
        "epochs": 60,
        "optimizer": OptimizerSettings(learning_rate=3e-4, beta1=0.9, beta2=0.999, decay=0.0),
    }
)


class Dctr(SidebandMethod):
    """Weights w(x | m) of simulated events, data over simulation, learned in the sidebands.

    The network sees the mass and interpolates into the window, whose events have no part in it.
    It gives no score that is searched; SALAD and its direct background estimate build on it.
    Two networks more predict each sideband from what lies beside it and the window, so that the
    interpolation can be tested where there is no signal.

    Source: arXiv:2009.02205, section II A, equation 2.2; arXiv:1907.08209.

    Examples
    --------
    >>> from tnt_coffea.config import MassRange
    >>> method = Dctr(sideband=0.75)
    >>> [band.edges for band in method.sidebands(MassRange(low=3300, high=3700))]
    [(3000.0, 3300.0), (3700.0, 4000.0)]
    >>> method.purpose, method.reads.simulation
    ('weight', True)
    """

    kind: Literal["dctr"] = "dctr"
    sideband: Positive = Field(0.75, description="width of either sideband, in window widths")
    classifier: RatioNetwork = Field(
        default_factory=lambda: _NETWORK,
        description=CLASSIFIER_NETWORKS.replace("dense, trees", "dense"),
    )
    limit: Positive = Field(6.0, description="largest logarithm of a weight, or of its inverse")
    validation: bool = Field(True, description="networks that predict each sideband as well")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "logarithm of data over simulation"
    purpose: ClassVar[Purpose] = "weight"

    @property
    def reads(self) -> Reads:
        """The window and simulated background."""
        return Reads(window=True, simulation=True)

    @property
    def passes(self) -> int:
        """Most epochs of all networks."""
        return self.classifier.passes * (3 if self.validation else 1)

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the network's inputs, and inputs without the mass."""
        check_mass(self.classifier.inputs(scope, sample), sample, "classifier")

    def train(self, job: Job) -> Scorer:
        """Return the network of log w, with those of the two validation windows beside it."""
        lower, upper = self.sidebands(job.window)
        main = self._ratio(job, [("lower sideband", lower), ("upper sideband", upper)], job.seed)
        regions: dict[str, MassRange] = {}
        beside = []
        for name, region, around in self._validations(job, lower, upper):
            if not self.validation or not _filled(job, [band for _, band in around]):
                continue
            regions[name] = region
            beside.append(self._ratio(job, around, seeds.integer(job.seed, name)))
        tested = self._tested(job, main, (lower, upper))
        return Scorer(
            _joined(main, beside),
            main.inputs,
            {**main.history, **tested},
            {**main.summary, **tested},
            seconds=tuple(s for scorer in (main, *beside) for s in scorer.seconds),
            regions=regions,
        )

    def _ratio(self, job: Job, regions: list[tuple[str, MassRange]], seed: int) -> Scorer:
        samples = job.data, job.simulation
        return density_ratio(regions, samples, self.classifier, job.scope, seed, self.limit)

    def _validations(
        self, job: Job, lower: MassRange, upper: MassRange
    ) -> list[tuple[str, MassRange, list[tuple[str, MassRange]]]]:
        below = self.sidebands(lower)[0] if lower.low > lower.high - lower.low else None
        above = self.sidebands(upper)[1]
        found = []
        if below is not None:
            around = [("region below", below), ("upper sideband", upper)]
            found.append((LOWER_VALIDATION, lower, around))
        around = [("lower sideband", lower), ("region above", above)]
        return [*found, (UPPER_VALIDATION, upper, around)]

    def _tested(
        self, job: Job, main: Scorer, bands: tuple[MassRange, MassRange]
    ) -> dict[str, float]:
        """Return how the weights are distributed in the window, and their closure beside it."""
        simulation = job.simulation
        inside = simulation.select(job.window.contains(simulation.mass))
        found = {}
        if len(inside):
            weights = weights_of(predicted(main, inside), inside)
            found = WeightSummary.of(np.abs(weights)).to_dict()
        share = self.classifier.optimizer.validation
        # Held back from the gradients; where the best epoch is kept, these events chose it.
        held = []
        for sample in (job.data, simulation):
            which = np.zeros(len(sample), dtype=np.bool_)
            for band in bands:
                which |= validation_mask(
                    sample.event_id, band.contains(sample.mass), share, job.seed
                )
            held.append(sample.select(which))
        if all(len(sample) for sample in held):
            data, simulated = (predicted(main, sample) for sample in held)
            own, weight = held[0].weight, held[1].weight
            found["closure_auc_before"] = auc(data, simulated, weight, own)
            found["closure_auc_after"] = auc(data, simulated, weight * np.exp(simulated), own)
        return found


def _filled(job: Job, regions: list[MassRange]) -> bool:
    return all(
        region.contains(sample.mass).sum() >= FEWEST
        for region in regions
        for sample in (job.data, job.simulation)
    )


def _joined(main: Scorer, beside: list[Scorer]) -> Any:
    """Return the model of several ratios: the first is the score, the others its latent vector."""
    if not beside:
        return main.model
    keras = backend.keras()
    inputs = [networks.input_tensor(each) for each in main.inputs]
    values = [model.model(inputs) for model in (main, *beside)]
    return keras.Model(inputs, [values[0], keras.ops.stack(values[1:], axis=1)])
