"""Autoencoders of either jet, the first taggers of Tag N' Train."""

from __future__ import annotations

from typing import Any

from tnt_coffea.config import Autoencoder, TrainSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import backend
from tnt_coffea.training.autoencoders import autoencoder, check_images
from tnt_coffea.training.methods.interface import Job, Method
from tnt_coffea.training.trained import Trained

__all__ = ["Autoencoders"]


class Autoencoders(Method):
    """Reconstruction error of either jet's image, from all events given.

    Source: arXiv:2002.12376, section 3.2.
    """

    name = "autoencoder"
    first = 0

    def has_chance(self, settings: TrainSettings) -> bool:
        """Return whether members differ: the linear kind has no random numbers."""
        return settings.autoencoder.kind is not Autoencoder.LINEAR

    def title(self, settings: TrainSettings) -> str:
        """Return `autoencoder-` and the kind."""
        return f"{self.name}-{settings.autoencoder.kind}"

    def epochs(self, settings: TrainSettings) -> int:
        """Return the most epochs of all networks; the linear kind passes over the images once."""
        chosen = settings.autoencoder
        return 1 if chosen.kind is Autoencoder.LINEAR else chosen.epochs * len(chosen.keep)

    def options(self, settings: TrainSettings) -> dict[str, Any]:
        """Return kind and size; the linear kind has no epochs and no optimiser."""
        values = settings.model_dump(mode="json")
        if settings.autoencoder.kind is Autoencoder.LINEAR:
            return {"autoencoder": {"latent": values["autoencoder"]["latent"]}}
        return {"autoencoder": values["autoencoder"], "optimizer": values["optimizer"]}

    def libraries(self, settings: TrainSettings) -> tuple[str, ...]:
        """Return what computes: scipy, or Keras."""
        if settings.autoencoder.kind is Autoencoder.LINEAR:
            return ("numpy", "onnx", "scipy")
        return backend.libraries()

    def classifier(self, settings: TrainSettings) -> None:
        """Return None."""
        return

    def check(self, sample: Sample, settings: TrainSettings) -> None:
        """Refuse a skim without images that sum to one."""
        check_images(sample)

    def train(self, job: Job) -> Trained:
        """Return the autoencoder of one jet."""
        chosen = job.settings
        return autoencoder(job.sample, job.scope, chosen.autoencoder, chosen.optimizer, job.seed)
