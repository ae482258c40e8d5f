"""The card of a tagger: what it is, what it needs, and what it was trained on."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import Field, model_validator

from tnt_coffea.config import EVENT_OBSERVABLES, FoldSettings, MassRange, Settings, SkimSettings
from tnt_coffea.errors import TaggerError
from tnt_coffea.events.sample import flat_columns

__all__ = ["METADATA_KEY", "Card"]

METADATA_KEY = "tnt_coffea.card"
"""Key of the card in an ONNX file's own metadata."""


_INPUTS = ("image", "features", "both", "constituents")


def _constituents(made: SkimSettings) -> dict[str, Any]:
    steps = {name: getattr(made.frame, name) for name in ("centre", "rotate", "flip")}
    return {"constituents": made.constituents, "frame": steps}


class Card(Settings):
    """Everything that decides whether a tagger may score an event; part of the ONNX file.

    It holds no date and no path: the same training gives the same bytes.
    """

    method: str = Field(description="how it was trained: autoencoder-linear, tnt, ...")
    scope: str = Field(description="heavy, light or event")
    input: str = Field("image", description="image, features, both or constituents")
    inputs: tuple[str, ...] = Field(
        (), description="observables that are the features, in their order, see `columns`"
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

    @model_validator(mode="after")
    def _features_are_named(self) -> Self:
        if self.input not in _INPUTS:
            msg = f"input is {self.input!r}, expected {', '.join(map(repr, _INPUTS))}"
            raise ValueError(msg)
        if self.takes_features != bool(self.inputs):
            msg = f"input is {self.input!r} with inputs {list(self.inputs)}: features are named"
            raise ValueError(msg)
        return self

    @property
    def takes_images(self) -> bool:
        """Whether images are among its inputs."""
        return self.input in ("image", "both")

    @property
    def takes_features(self) -> bool:
        """Whether features are among its inputs."""
        return self.input in ("features", "both")

    @property
    def takes_constituents(self) -> bool:
        """Whether its input is constituents."""
        return self.input == "constituents"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a skim that are the features; none for a tagger of images.

        A jet's observable without `heavy_` or `light_` before it is that of the scope's jet.
        """
        complete = ("m_jj", *EVENT_OBSERVABLES)
        return tuple(
            name
            if name in complete or name.startswith(("heavy_", "light_"))
            else f"{self.scope}_{name}"
            for name in self.inputs
        )

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why the tagger cannot score events made with these settings, if it cannot.

        A tagger of images asks for the same jets and images, one of features for the same
        jets and its columns, one of constituents for the same jets, number of constituents
        and frame; what else a skim holds does not matter.
        """
        if self.takes_images and settings.images is None:
            return (
                "takes images, and these events have none: their source has jets without "
                "constituents, or skim.images is null; use a tagger of features"
            )
        if self.takes_constituents and settings.constituents is None:
            return (
                "takes constituents, and these events have none: set skim.constituents to "
                f"{self.skim.constituents} and make the skim again, from a source with constituents"
            )
        missing = [name for name in self.columns if name not in flat_columns(settings)]
        if missing:
            return (
                f"takes the features {', '.join(missing)}, which these events do not have; "
                "name them in skim.observables"
            )
        mine, theirs = (
            {
                "jets": made.jets,
                "source": made.source,
                **({"images": made.images} if self.takes_images else {}),
                **({"substructure": made.substructure} if self.takes_features else {}),
                **(_constituents(made) if self.takes_constituents else {}),
            }
            for made in (self.skim, settings)
        )
        for name, wanted in mine.items():
            if theirs[name] != wanted:
                return (
                    f"was trained on {name} made with {wanted}, but these are made with "
                    f"{theirs[name]}; use the tagger's settings"
                )
        return None

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
