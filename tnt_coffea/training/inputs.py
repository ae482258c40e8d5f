"""What a classifier is shown of jets: images, features, both, or constituents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ClassifierInput, ClassifierSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.export import FeatureInputs
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.fitting import Float32Array, Inputs
from tnt_coffea.training.labellers import JETS
from tnt_coffea.training.sparse import SparseConstituents, SparseImages

__all__ = ["ClassifierInputs"]


@dataclass(frozen=True)
class ClassifierInputs:
    """The jets of a sample as a classifier sees them.

    Attributes
    ----------
    sample
        Events.
    scopes
        One scope, or `heavy` and `light` for a network that is shared: row n + i is then
        the light jet of event i.
    settings
        Image, features, both or constituents.
    """

    sample: Sample
    scopes: tuple[str, ...]
    settings: ClassifierSettings

    def __len__(self) -> int:
        return len(self.sample) * len(self.scopes)

    @property
    def has_image(self) -> bool:
        """Whether images are shown."""
        return self.settings.input.has_image

    @property
    def has_features(self) -> bool:
        """Whether features are shown."""
        return self.settings.input.has_features

    @property
    def has_constituents(self) -> bool:
        """Whether constituents are shown."""
        return self.settings.input is ClassifierInput.CONSTITUENTS

    def check(self) -> None:
        """Refuse a skim that does not hold what is shown.

        Raises
        ------
        ConfigError, InputError
            What is missing.
        """
        if self.has_image:
            self.images  # noqa: B018  says what is missing, as the next two do
        if self.has_features:
            self.features  # noqa: B018
        if self.has_constituents:
            self.sparse_constituents  # noqa: B018

    @cached_property
    def images(self) -> list[list[SparseImages]]:
        """Images by scope and jet of the scope."""
        return [
            [SparseImages.of(self.sample, jet) for jet in _jets(scope)] for scope in self.scopes
        ]

    @cached_property
    def sparse_constituents(self) -> list[list[SparseConstituents]]:
        """Constituents by scope and jet of the scope."""
        return [
            [SparseConstituents.of(self.sample, jet) for jet in _jets(scope)]
            for scope in self.scopes
        ]

    @cached_property
    def features(self) -> list[FeatureSet]:
        """Features by scope."""
        return [
            FeatureSet.of(self.settings.features, _jets(scope), self.sample)
            for scope in self.scopes
        ]

    def image(self, rows: npt.NDArray[np.int64]) -> Float32Array:
        """Return (row number, row, column, channel) of row numbers."""
        scope, event = np.divmod(rows, max(len(self.sample), 1))
        if len(self.scopes) == 1:
            return _stacked(self.images[0], event)
        shape = self.images[0][0].shape
        out = np.empty((len(rows), shape[1], shape[2], shape[0]), np.float32)
        for i, images in enumerate(self.images):
            out[scope == i] = _stacked(images, event[scope == i])
        return out

    def constituents(self, rows: npt.NDArray[np.int64]) -> Float32Array:
        """Return (row number, jet, particle, 3) of row numbers."""
        scope, event = np.divmod(rows, max(len(self.sample), 1))
        first = self.sparse_constituents[0]
        out = np.empty((len(rows), len(first), first[0].most, 3), np.float32)
        for i, jets in enumerate(self.sparse_constituents):
            mine = scope == i
            out[mine] = np.stack([jet.expanded(event[mine]) for jet in jets], axis=1)
        return out

    def columns(self, rows: npt.NDArray[np.int64]) -> Float32Array:
        """Return (row number, column) of row numbers, before features are computed."""
        scope, event = np.divmod(rows, max(len(self.sample), 1))
        out = np.empty((len(rows), len(self.features[0].columns)), np.float32)
        for i, features in enumerate(self.features):
            out[scope == i] = features.raw(self.sample, event[scope == i])
        return out

    def computed(self, rows: npt.NDArray[np.int64]) -> Float32Array:
        """Return (row number, feature) of row numbers."""
        return self.features[0].computed(self.columns(rows))

    def standardised(
        self, rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> FeatureInputs:
        """Return the features with mean and width of the (row number,) weighted rows."""
        return FeatureInputs(self.features[0], Standardisation.of(self.computed(rows), weights))

    def network(self, rows: npt.NDArray[np.int64], features: FeatureInputs | None) -> Inputs:
        """Return what a network takes of row numbers."""
        if self.has_constituents:
            return (self.constituents(rows),)
        image = (self.image(rows),) if self.has_image else ()
        if features is None:
            return image
        return (*image, features.standardisation.applied(self.computed(rows)))

    def tagger(self, rows: npt.NDArray[np.int64]) -> dict[str, Float32Array]:
        """Return what the exported tagger takes of row numbers."""
        out: dict[str, Float32Array] = {}
        if self.has_image:
            out["image"] = np.ascontiguousarray(self.image(rows).transpose(0, 3, 1, 2))
        if self.has_features:
            out["features"] = self.columns(rows)
        if self.has_constituents:
            out["constituents"] = self.constituents(rows)
        return out


def _jets(scope: str) -> tuple[str, ...]:
    return JETS if scope == "event" else (scope,)


def _stacked(images: list[SparseImages], event: npt.NDArray[np.int64]) -> Float32Array:
    parts = [part.expanded(event) for part in images]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
