"""Data in a window in mass against a background template made of its sidebands."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from tnt_coffea.config import MassRange
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.classifiers import Dense, Trees
from tnt_coffea.training.densities.autoregressive import Autoregressive
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.templates import AnyTemplate
from tnt_coffea.training.templates.classification import (
    FeatureClassifier,
    against_template,
    template_features,
)
from tnt_coffea.training.templates.density import Density
from tnt_coffea.training.templates.morphing import Morphing

__all__ = ["TemplateClassifier"]


class TemplateClassifier(Method):
    """Classifier of an event's features, data of the window against a template of its background.

    Features may depend on the mass. Assumes that the background's features change smoothly with
    it, as far as the template follows.

    Source: arXiv:2109.00546, section 3 (a classifier of data against samples); arXiv:2407.19818
    (samples that are moved sideband events).

    Examples
    --------
    >>> method = TemplateClassifier(template={"by": "morphing", "degree": 2})
    >>> method.scopes, method.reads.window, method.template.oversampling
    (('event',), True, 4.0)
    """

    kind: Literal["template_classifier"] = "template_classifier"
    template: AnyTemplate = Field(Morphing(), description="kind (by) and its settings")
    classifier: FeatureClassifier = Field(
        Trees(features=("light_mass", "mass_difference", "light_tau21", "heavy_tau21")),
        description="network: dense or trees",
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "probability of the data"

    @classmethod
    def cathode(cls) -> Self:
        """Return the settings of CATHODE, arXiv:2109.00546, as far as they are settings here.

        Flow of 15 blocks with 128 nodes at a learning rate of 1e-4 for 100 epochs, samples of the
        ten best; three layers of 64 nodes at 1e-3 in batches of 128, of which the best epoch is
        kept, not the mean of ten. The paper's sidebands are all events beside the window: give
        `sideband` so that they fill the fit range.

        Examples
        --------
        >>> method = TemplateClassifier.cathode()
        >>> method.template.density.blocks, method.template.oversampling, method.classifier.layers
        (15, 4.0, (64, 64, 64))
        """
        flow = OptimizerSettings(
            learning_rate=1e-4, beta1=0.9, beta2=0.999, decay=0.0, batch=256, patience=100
        )
        return cls(
            template=Density(
                density=Autoregressive(
                    blocks=15, hidden=128, epochs=100, averaged=10, optimizer=flow
                )
            ),
            classifier=Dense(
                features=("light_mass", "mass_difference", "light_tau21", "heavy_tau21"),
                layers=(64, 64, 64),
                epochs=100,
                optimizer=OptimizerSettings(
                    beta1=0.9, beta2=0.999, decay=0.0, batch=128, patience=100
                ),
            ),
        )

    @property
    def reads(self) -> Reads:
        """The window."""
        return Reads(window=True)

    @property
    def passes(self) -> int:
        """Those of the template, and most epochs or trees."""
        return self.template.passes + self.classifier.passes

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the template and of the classifier."""
        return tuple(dict.fromkeys((*self.template.libraries, *self.classifier.libraries)))

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the features, and the mass itself as a feature."""
        template_features(self.classifier, scope, sample)

    def check_window(self, window: MassRange, fit_range: MassRange) -> None:
        """Refuse a window whose sidebands leave the fit range."""
        self.template.check_window(window, fit_range)

    def train(self, job: Job) -> Scorer:
        """Return the classifier."""
        return against_template(self.template, self.classifier, job)
