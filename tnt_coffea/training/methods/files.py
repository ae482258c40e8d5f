"""Taggers from files, trained elsewhere on other events."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tnt_coffea.errors import ConfigError, LeakError, TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer

__all__ = ["Files"]


class Files(Method):
    """A tagger for each jet from an ONNX file with a card; nothing is trained.

    Assumes that no event searched here had a part in their training: the card says so, or
    `independent` promises it.

    Examples
    --------
    >>> from tnt_coffea import taggers, testing
    >>> from tnt_coffea.training import Job
    >>> folder = taggers.packaged_sets()["rnd-3500/tnt"]
    >>> heavy, light = str(folder / "heavy-0-0.onnx"), str(folder / "light-0-0.onnx")
    >>> method = Files(heavy=heavy, light=light, independent=True)
    >>> job = Job(testing.make_sample(10, pixels=40), "heavy", seed=1)
    >>> [each.name for each in method.train(job).inputs]
    ['image']
    """

    kind: Literal["files"] = "files"
    heavy: str = Field(description="tagger of the heavy jet, an ONNX file")
    light: str = Field(description="tagger of the light jet, an ONNX file")
    independent: bool = Field(
        False, description="promised to be trained on none of the events searched"
    )

    orientation: ClassVar[str] = "that of the files"

    @property
    def reads(self) -> Reads:
        """Nothing: one tagger serves all folds."""
        return Reads(data=False)

    @property
    def is_random(self) -> bool:
        """No: the files are fixed."""
        return False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: onnx copies the graph."""
        return ("onnx",)

    def content(self) -> dict[str, str]:
        """Return the SHA-256 of the files: one of the same name may be another tagger."""
        return {jet: self._tagger(jet).sha256 for jet in self.scopes}

    def made_of(self, scope: Scope) -> tuple[Card, ...]:
        """Return the card of the file."""
        return (self._tagger(scope).card,)

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a tagger of another scope, of other inputs, of the truth, or of these events."""
        tagger = self._tagger(scope)
        card, path = tagger.card, self._path(scope)
        if card.scope != scope:
            msg = f"{path}: a tagger of scope {card.scope}, named for the {scope} jet"
            raise ConfigError(msg)
        reason = card.misfit(sample.settings)
        if reason is not None:
            msg = f"{path}: {reason}"
            raise ConfigError(msg)
        if card.uses_truth:
            msg = f"{path}: trained with truth labels; a search never uses it"
            raise TaggerError(msg)
        if card.ancestors and not self.independent:
            msg = (
                f"{path}: events of folds {list(card.ancestors)} had a part in its training, "
                "perhaps those searched here; say `independent: true` if they are others"
            )
            raise LeakError(msg)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the file."""
        return Scorer.of_tagger(self._tagger(job.scope))

    def _path(self, jet: str) -> Path:
        given: Any = getattr(self, jet)
        return Path(given).resolve()

    def _tagger(self, jet: str) -> Tagger:
        return Tagger.from_file(self._path(jet))
