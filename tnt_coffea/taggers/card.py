"""The card of a tagger: what it is, what it needs, and what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tnt_coffea.config import FoldSettings, MassRange, Settings, SkimSettings
from tnt_coffea.errors import TaggerError, reason
from tnt_coffea.taggers.inputs import AnyInput

__all__ = ["METADATA_KEY", "Card"]

METADATA_KEY = "tnt_coffea.card"
"""Key of the card in an ONNX file's own metadata."""


class Card(Settings):
    """Everything that decides whether a tagger may score an event; part of the ONNX file.

    It holds no date and no path: the same training gives the same bytes.

    Examples
    --------
    >>> from tnt_coffea import taggers
    >>> card = taggers.load("rnd-3500/tnt/heavy-0-0").card
    >>> card.method, card.scope, card.knowledge
    ('tag_n_train', 'heavy', 'none')
    >>> card.direct, card.window.edges  # trained on fold 1, so it may score fold 0
    ((1,), (3300.0, 3700.0))
    >>> card.misfit(card.skim) is None
    True
    """

    method: str = Field(description="kind of the method that trained it")
    scope: str = Field(description="heavy, light, event, or the axes background and signal")
    inputs: tuple[AnyInput, ...] = Field(min_length=1, description="what it is shown")
    skim: SkimSettings = Field(description="exact settings of the events it was trained on")
    training_sample: str = Field(
        "", description="SHA-256 of the events trained on, truth excluded; none: empty"
    )
    simulation: str = Field(
        "",
        description="SHA-256 of the background simulation that it, or what labelled it, was "
        "trained on",
    )
    priors: Mapping[str, str] = Field(
        {},
        description="SHA-256 of the simulated signals that it, or what labelled it, was trained "
        "on, by name",
    )
    folds: FoldSettings = Field(description="cross-validation it belongs to")
    fold_seed: int = Field(description="root seed of the folds")
    direct: tuple[int, ...] = Field(description="outer folds it was trained on")
    ancestors: tuple[int, ...] = Field(
        description="outer folds of its training and of every tagger that labelled it, transitively"
    )
    labelled_by: tuple[str, ...] = Field((), description="SHA-256 of the taggers that labelled")
    window: MassRange | None = Field(None, description="window in mass of the training")
    variable: str = Field(
        "m_jj",
        exclude_if=lambda name: name == "m_jj",
        description="mass that the window and the search are in; on the card unless m_jj",
    )
    uses_truth: bool = Field(False, description="trained with truth labels; a search refuses it")
    orientation: str = Field("", description="why a higher score is more anomalous")
    purpose: Literal["score", "weight"] = Field(
        "score",
        exclude_if=lambda purpose: purpose == "score",
        description="weight: its score is the logarithm of a weight of simulated events",
    )
    regions: Mapping[str, MassRange] = Field(
        {},
        exclude_if=lambda regions: not regions,
        description="ranges in mass; of a weight's latent vector, one a component",
    )
    seed: int = Field(description="seed of this training run")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    place: dict[str, int] = Field(
        default_factory=dict, description="scored fold, inner fold left out, round, member"
    )
    history: dict[str, float] = Field(default_factory=dict, description="final losses")
    notes: Mapping[str, str] = Field(
        {},
        exclude_if=lambda notes: not notes,
        description="what has to be known of the method's settings",
    )
    versions: dict[str, str] = Field(default_factory=dict, description="libraries used")

    @property
    def knowledge(self) -> str:
        """What the method knew beside the data: nothing, or simulation of one kind.

        Returns
        -------
        str
            `none`, `background simulation` or `signal simulation`.
        """
        if self.priors:
            return "signal simulation"
        return "background simulation" if self.simulation else "none"

    def misfit(self, settings: SkimSettings) -> str | None:
        """Return why the tagger cannot score events made with these settings, if it cannot.

        It asks for the same jets and for its inputs; what else a skim holds does not matter.
        """
        for each in self.inputs:
            reason = each.misfit(settings)
            if reason is not None:
                return reason
        for name in ("jets", "source", "mass_shift"):
            wanted, given = (getattr(made, name) for made in (self.skim, settings))
            if wanted != given:
                return (
                    f"was trained on {name} made with {wanted}, but these are made with "
                    f"{given}; use the tagger's settings"
                )
        return None

    def to_json(self) -> str:
        """Return the card as canonical JSON."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

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
            msg = f"{where}: the card is damaged: {reason(error)}; restore or train it again"
            raise TaggerError(msg) from error
