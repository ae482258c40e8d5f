"""The card of a tagger: what it is, what it needs, and what it was trained on."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from tnt_coffea.config import FoldSettings, MassRange, Settings, SkimSettings
from tnt_coffea.errors import TaggerError

__all__ = ["METADATA_KEY", "Card"]

METADATA_KEY = "tnt_coffea.card"
"""Key of the card in an ONNX file's own metadata."""


class Card(Settings):
    """Everything that decides whether a tagger may score an event; part of the ONNX file.

    It holds no date and no path: the same training gives the same bytes.
    """

    method: str = Field(description="how it was trained: autoencoder-linear, tnt, ...")
    scope: str = Field(description="heavy, light or event")
    input: str = Field("image", description="image, features or both")
    inputs: tuple[str, ...] = Field(
        (), description="columns of the skim that are the features, in their order"
    )
    skim: SkimSettings = Field(description="exact settings of the jets and images it needs")
    training_sample: str = Field(description="SHA-256 of the events trained on, truth excluded")
    folds: FoldSettings = Field(description="cross-validation it belongs to")
    fold_seed: int = Field(description="root seed of the folds")
    direct: tuple[int, ...] = Field(description="outer folds it was trained on")
    ancestors: tuple[int, ...] = Field(
        description="outer folds of its training and of every tagger that labelled it, transitively"
    )
    labelled_by: tuple[str, ...] = Field((), description="SHA-256 of the taggers that labelled")
    window: MassRange | None = Field(None, description="m_jj window of the signal-rich sample")
    uses_truth: bool = Field(False, description="trained with truth labels; a search refuses it")
    seed: int = Field(description="seed of this training")
    settings: dict[str, Any] = Field(default_factory=dict, description="training settings")
    history: dict[str, float] = Field(default_factory=dict, description="final losses")
    versions: dict[str, str] = Field(default_factory=dict, description="libraries used")

    def to_json(self) -> str:
        """Return the card as canonical JSON."""
        values = self.model_dump(mode="json")
        if not self.inputs:  # a later field: taggers of images keep the bytes they had
            del values["inputs"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> Card:
        """Return the card in an ONNX file's metadata.

        Raises
        ------
        TaggerError
            There is none, or it is not a card.
        """
        if METADATA_KEY not in metadata:
            msg = f"{where}: the ONNX file has no card ({METADATA_KEY}); it is no tagger of ours"
            raise TaggerError(msg)
        try:
            return cls.model_validate_json(metadata[METADATA_KEY])
        except ValueError as error:
            msg = f"{where}: the card is damaged: {error}"
            raise TaggerError(msg) from error
