"""A tagger: one immutable ONNX file, scored by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers.card import Card
from tnt_coffea.taggers.sessions import Session, complaint, session_of
from tnt_coffea.typing import Float32Array

__all__ = ["Inputs", "Tagger"]

Inputs = dict[str, Float32Array]
"""By name, float32: `image` (n, channel, row, column), `features` (n, column), `constituents`
(n, jet, particle, 3), `aligned` (n, jet, particle, 3), `splittings` (n, jet, splitting, 5),
`sequence` (n, jet in sequence, 4), `event_image` (n, channel, row, column)."""


@dataclass(frozen=True)
class Tagger:
    """A tagger's bytes; processes that score with it open it once, and keep those used last open.

    Attributes
    ----------
    data
        The whole ONNX file. This is what travels to workers: sessions cannot be pickled.
    where
        Where it came from, for messages.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea import taggers
    >>> tagger = taggers.load("rnd-3500/tnt/heavy-0-0")
    >>> (images,) = tagger.card.inputs
    >>> images.name, images.shape
    ('image', (1, 40, 40))
    >>> blank = np.zeros((3, *images.shape), np.float32)
    >>> tagger.score(blank).shape, tagger.has_latent
    ((3,), False)
    """

    data: bytes = field(repr=False)
    where: str = "tagger"

    @classmethod
    def from_file(cls, path: str | Path, sha256: str | None = None) -> Tagger:
        """Return the tagger in an ONNX file.

        Parameters
        ----------
        path
            The file.
        sha256
            What its SHA-256 must be, where a manifest says so.

        Raises
        ------
        TaggerError
            The file cannot be read, is not the one named, is not ONNX, has no card, does what
            no tagger may (random numbers, loops, other files), or has inputs or outputs that
            are not a tagger's or not those of the card.
        """
        path = Path(path)
        try:
            tagger = cls(path.read_bytes(), str(path))
        except OSError as error:
            msg = f"{path}: cannot be opened: {error.strerror or error}"
            raise TaggerError(msg) from error
        if sha256 is not None and tagger.sha256 != sha256:
            msg = (
                f"{path}: SHA-256 is {tagger.sha256[:16]}..., the set's manifest says "
                f"{sha256[:16]}...; the file was changed or damaged, restore or train it again"
            )
            raise TaggerError(msg)
        tagger.check(run=sha256 is None)  # refused here, not in a worker
        return tagger

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, the tagger's name."""
        return hashlib.sha256(self.data).hexdigest()

    def check(self, *, run: bool = True) -> None:
        """Refuse a graph that is no tagger, or not the one of its card.

        Parameters
        ----------
        run
            Whether it is tried on a batch of zeros as well.

        Raises
        ------
        TaggerError
            What is wrong, and what to do.

        Examples
        --------
        >>> from tnt_coffea import taggers
        >>> taggers.load("rnd-3500/tnt/heavy-0-0").check()
        """
        session, expected = self._session, {each.name: each.shape for each in self.card.inputs}
        if not _fit(session.shapes, expected):
            msg = f"{self.where}: takes {session.shapes}, and its card says {expected}"
            raise TaggerError(msg)
        if run:
            blank = {name: np.zeros((1, *shape), np.float32) for name, shape in expected.items()}
            self._run(blank, list(session.outputs), finite=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that the graph takes."""
        return tuple(self._session.shapes)

    @property
    def _session(self) -> Session:
        return session_of(self.sha256, self.data, self.where)

    @cached_property
    def card(self) -> Card:
        """What the tagger is, needs, and was trained on."""
        try:
            metadata = self._session.session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            msg = f"{self.where}: the metadata is damaged: {error}; restore or train it again"
            raise TaggerError(msg) from error
        return Card.from_metadata(metadata, self.where)

    def score(self, inputs: Float32Array | Inputs) -> Float32Array:
        """Return the anomaly score of every jet or event, (n,) float32, higher = more anomalous.

        Parameters
        ----------
        inputs
            (n, channel, row, column) float32 images, channel 0 summing to 1, or
            whatever else the card says, see `taggers.inputs`; by name where it takes several
            inputs.

        Raises
        ------
        TaggerError
            A shape is not the tagger's, or a score is not finite.
        """
        (scores,) = self._run(inputs, ["score"])
        return scores

    def latent(self, inputs: Float32Array | Inputs) -> Float32Array:
        """Return the (n, k) float32 further output of every jet or event.

        Parameters
        ----------
        inputs
            As for `score`.

        Raises
        ------
        TaggerError
            As `score`, or the tagger has no such output.
        """
        if not self.has_latent:
            msg = f"{self.where}: has no output 'latent'; its method gives a score alone"
            raise TaggerError(msg)
        _, latent = self._run(inputs, ["score", "latent"])
        return latent

    @property
    def has_latent(self) -> bool:
        """Whether the graph has the further output `latent`."""
        return len(self._session.outputs) > 1

    def _run(
        self, inputs: Float32Array | Inputs, names: list[str], *, finite: bool = True
    ) -> list[Float32Array]:
        session = self._session
        named = self._named(inputs, session)
        n, size = len(next(iter(named.values()))), session.batch
        parts: list[list[Float32Array]] = [[] for _ in names]
        for start in range(0, max(n, 1), size):
            batch = {}
            for name, values in named.items():
                rows = values[start : start + size]
                batch[name] = np.zeros((size, *values.shape[1:]), session.types[name])
                batch[name][: len(rows)] = rows
            try:
                outputs = session.run(names, batch)
            except Exception as error:  # ONNX Runtime's exceptions share no public base class
                what, question = f"cannot be run on {size} events", "; is its batch dimension open?"
                raise TaggerError(complaint(self.where, what, error, question)) from error
            score = np.asarray(outputs[0])
            if score.shape not in ((size,), (size, 1)):
                msg = (
                    f"{self.where}: gives scores of shape {score.shape} for {size} events, "
                    "expected one for each; is its batch dimension open?"
                )
                raise TaggerError(msg)
            for part, out in zip(parts, (score.reshape(size), *outputs[1:]), strict=True):
                part.append(np.asarray(out, np.float32)[: n - start])
        found = [np.concatenate(part) for part in parts]
        for name, values in zip(names, found, strict=True):
            if finite and not np.isfinite(values).all():
                bad = int((~np.isfinite(values.reshape(n, -1)).all(axis=1)).sum())
                msg = f"{self.where}: {bad} of {n} {name}s are not finite"
                raise TaggerError(msg)
        return found

    def _named(self, inputs: Float32Array | Inputs, session: Session) -> Inputs:
        named = inputs if isinstance(inputs, dict) else {next(iter(session.shapes)): inputs}
        if not _fit(session.shapes, {name: values.shape[1:] for name, values in named.items()}):
            given = {name: values.shape for name, values in named.items()}
            taken = {name: ("n", *shape) for name, shape in session.shapes.items()}
            msg = f"{self.where}: the inputs are {given}, the tagger takes {taken}"
            raise TaggerError(msg)
        return named


def _fit(taken: Mapping[str, tuple[Any, ...]], given: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether inputs of these shapes, by name, can be given to a graph."""
    return set(taken) == set(given) and all(
        len(shape) == len(given[name])
        and all(
            not isinstance(want, int) or want == got
            for want, got in zip(shape, given[name], strict=True)
        )
        for name, shape in taken.items()
    )
