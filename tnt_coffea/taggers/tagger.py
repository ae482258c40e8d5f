"""A tagger: one immutable ONNX file, scored by ONNX Runtime."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers.card import Card
from tnt_coffea.typing import Float32Array

__all__ = ["Inputs", "Tagger"]

Inputs = dict[str, Float32Array]
"""By name, float32: `image` (n, channel, row, column), `features` (n, column), `constituents`
(n, jet, particle, 3), `splittings` (n, jet, splitting, 5), `sequence` (n, jet in sequence, 4),
`event_image` (n, channel, row, column)."""
_NAMES = ("image", "features", "constituents", "splittings", "sequence", "event_image")
_OUTPUTS = (["score"], ["score", "latent"])

BATCH = 32
"""Jets a call. Always the same, the last call padded: a kernel chosen by batch size could change
the last bits of a score, and with it the histogram, when the chunks change."""


@dataclass(frozen=True)
class Tagger:
    """A tagger's bytes; its session lives once in every process that scores with it.

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
            The file cannot be read, is not the one named, is not ONNX, has no card, or has
            wrong inputs or outputs.
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
        tagger.card  # noqa: B018  a damaged file is refused here, not in a worker
        return tagger

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, the tagger's name."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def card(self) -> Card:
        """What the tagger is, needs, and was trained on."""
        session = _session(_Bytes(self))
        try:
            metadata = session.get_modelmeta().custom_metadata_map
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
        return len(_session(_Bytes(self)).get_outputs()) > 1

    def _run(self, inputs: Float32Array | Inputs, names: list[str]) -> list[Float32Array]:
        session = _session(_Bytes(self))
        named = self._named(inputs, session)
        n = len(next(iter(named.values())))
        parts: list[list[Float32Array]] = [[] for _ in names]
        for start in range(0, max(n, 1), BATCH):
            batch = {}
            for name, values in named.items():
                rows = np.asarray(values[start : start + BATCH], np.float32)
                batch[name] = np.zeros((BATCH, *values.shape[1:]), np.float32)
                batch[name][: len(rows)] = rows
            try:
                outputs = session.run(names, batch)
            except Exception as error:  # ONNX Runtime's exceptions share no public base class
                raise TaggerError(_complaint(self.where, "cannot be run", error)) from error
            score = np.asarray(outputs[0])
            if score.size != BATCH:
                msg = (
                    f"{self.where}: gives {score.shape} scores for {BATCH} jets, expected one each"
                )
                raise TaggerError(msg)
            for part, out in zip(parts, (score.reshape(BATCH), *outputs[1:]), strict=True):
                part.append(np.asarray(out, np.float32)[: n - start])
        found = [np.concatenate(part) for part in parts]
        for name, values in zip(names, found, strict=True):
            if not np.isfinite(values).all():
                bad = int((~np.isfinite(values.reshape(n, -1)).all(axis=1)).sum())
                msg = f"{self.where}: {bad} {name}s are not finite"
                raise TaggerError(msg)
        return found

    def _named(self, inputs: Float32Array | Inputs, session: Any) -> Inputs:
        expected = {item.name: item.shape for item in session.get_inputs()}
        named = inputs if isinstance(inputs, dict) else {next(iter(expected)): inputs}
        if set(named) != set(expected):
            msg = f"{self.where}: the inputs are {sorted(named)}, the tagger takes {expected}"
            raise TaggerError(msg)
        for name, values in named.items():
            shape = expected[name]
            if values.ndim != len(shape) or any(
                isinstance(want, int) and want != got
                for want, got in zip(shape[1:], values.shape[1:], strict=True)
            ):
                msg = f"{self.where}: the input is {values.shape}, the tagger takes {shape}"
                raise TaggerError(msg)
        return named


class _Bytes:
    """Cache key: compares by hash of the content, carries the content along."""

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger

    def __hash__(self) -> int:
        return hash(self.tagger.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bytes) and other.tagger.sha256 == self.tagger.sha256


@lru_cache(maxsize=256)
def _session(key: _Bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # A worker is one process with one thread; more would fight over its core.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # Its fallback prints, and there is nothing to fall back to.
        session = onnxruntime.InferenceSession(
            key.tagger.data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        inputs = [item.name for item in session.get_inputs()]
        outputs = [item.name for item in session.get_outputs()]
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        where = key.tagger.where
        raise TaggerError(_complaint(where, "not a readable ONNX file", error)) from error
    if not inputs or not set(inputs) <= set(_NAMES) or outputs not in _OUTPUTS:
        msg = (
            f"{key.tagger.where}: the graph goes from {inputs} to {outputs}; a tagger goes from "
            f"some of {', '.join(map(repr, _NAMES))} to 'score', with or without 'latent'"
        )
        raise TaggerError(msg)
    return session


def _complaint(where: str, what: str, error: Exception) -> str:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return f"{where}: {what}: {reason[0][:200]}; restore or train it again"
