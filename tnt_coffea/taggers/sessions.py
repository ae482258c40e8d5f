"""Sessions of ONNX Runtime: few at a time, in one bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers.onnx_file import check_file

__all__ = ["BATCH", "INPUT_NAMES", "Session", "complaint", "session_of"]

INPUT_NAMES = (
    "image",
    "features",
    "constituents",
    "aligned",
    "splittings",
    "sequence",
    "event_image",
)
_OUTPUTS = (["score"], ["score", "latent"])
_INPUT_TYPES: dict[str, type] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_OUTPUT_TYPES = ("tensor(float)", "tensor(double)", "tensor(float16)")

BATCH = 32
"""Jets a call, where the graph leaves it open. Always the same, the last call padded: a kernel
chosen by batch size could change the last bits of a score, and with it the histogram, when the
chunks change."""
MEMORY = 768 * 2**20
"""Bytes that all sessions of a process may take together. What a graph asks for beyond them is an
error of that graph and not the end of the machine."""
_KEPT = MEMORY // 3
_IDLE = 60.0
"""Seconds after which a session counts as one that nobody uses any more."""
# An open session was measured to take 0.8 MB, and its weights a few times.
_OVERHEAD, _COPIES = 2**20, 4


@dataclass(frozen=True)
class Session:
    """An open tagger.

    Attributes
    ----------
    session
        onnxruntime.InferenceSession.
    batch
        Jets a call: those that the graph is fixed to, or `BATCH`.
    shapes
        Of one event's input, by name; None or a name for what is open.
    types
        Of the inputs, by name: float32 or float64.
    outputs
        Names.
    """

    session: Any
    batch: int
    shapes: dict[str, tuple[Any, ...]]
    types: dict[str, type]
    outputs: tuple[str, ...]

    def run(self, names: list[str], batch: dict[str, npt.NDArray[Any]]) -> list[Any]:
        """Return the outputs of one batch."""
        found: list[Any] = self.session.run(names, batch)
        return found


class _Sessions:
    """Those in use, up to a size; a session that was closed is opened again.

    A pass uses all its taggers in turn, item after item. Where they are too many, closing the
    one that was used longest ago would open every one of them again for every item; so the one
    used just before is closed instead, unless there are some that nobody uses any more.
    """

    def __init__(self) -> None:
        self.open: OrderedDict[str, tuple[Session, int, float]] = OrderedDict()
        self.lock = Lock()

    def of(self, sha256: str, data: bytes, where: str) -> Session:
        with self.lock:
            if sha256 in self.open:
                session, size, _ = self.open.pop(sha256)
                self.open[sha256] = session, size, time.monotonic()
                return session
        opened, size = _opened(data, where), _OVERHEAD + _COPIES * len(data)
        with self.lock:
            now = time.monotonic()
            while self.open and size + sum(s for _, s, _ in self.open.values()) > _KEPT:
                first = next(iter(self.open.values()))
                self.open.popitem(last=now - first[2] < _IDLE)
            self.open[sha256] = opened, size, now
        return opened


_SESSIONS = _Sessions()


def session_of(sha256: str, data: bytes, where: str) -> Session:
    """Return the open session of an ONNX file, by the SHA-256 of its bytes.

    Raises
    ------
    TaggerError
        The file is refused by `check_file` or ONNX Runtime, or is no tagger: other inputs,
        outputs, types or shapes.
    """
    return _SESSIONS.of(sha256, data, where)


def complaint(where: str, what: str, error: Exception, question: str = "") -> str:
    """Return one line of what ONNX Runtime says, or of what that means."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for key, meaning in _MEANINGS.items():
        if key in reason:
            return f"{where}: {what}: {meaning}"
    return f"{where}: {what}: {reason[:200]}{question}"


_MEANINGS = {
    "smaller than requested bytes": (
        f"it needs more than the {MEMORY / 1e6:.0f} MB that taggers may take; use a smaller model"
    ),
    "under development": (
        "it is of an opset that this ONNX Runtime does not know; export it with opset 17"
    ),
    "Unsupported model IR version": (
        "it is of a version that this ONNX Runtime does not know; export it with IR version 8"
    ),
}


def _opened(data: bytes, where: str) -> Session:
    import onnxruntime

    check_file(data, where)
    _share_memory()
    options = onnxruntime.SessionOptions()
    # A worker is one process with one thread; more would fight over its core.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised as well
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        # Its fallback prints, and there is nothing to fall back to.
        session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        inputs, outputs = session.get_inputs(), session.get_outputs()
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise TaggerError(complaint(where, "ONNX Runtime refuses the graph", error)) from error
    reason = _wrong_inputs(inputs) or _wrong_outputs(inputs, outputs)
    if reason is not None:
        msg = f"{where}: {reason}"
        raise TaggerError(msg)
    fixed = {item.shape[0] for item in inputs if isinstance(item.shape[0], int)}
    return Session(
        session,
        batch=fixed.pop() if fixed else BATCH,
        shapes={item.name: tuple(item.shape[1:]) for item in inputs},
        types={item.name: _INPUT_TYPES[item.type] for item in inputs},
        outputs=tuple(item.name for item in outputs),
    )


def _wrong_inputs(inputs: Any) -> str | None:
    for item in inputs:
        if item.name in INPUT_NAMES and item.type not in _INPUT_TYPES:
            return (
                f"takes '{item.name}' as {item.type}, and events have float32, which does not fit "
                "into it; export the model with inputs in float32"
            )
        if item.name in INPUT_NAMES and not item.shape:
            return f"takes '{item.name}' as one number, expected (n, ...) for n events"
    fixed = {item.shape[0] for item in inputs if item.shape and isinstance(item.shape[0], int)}
    if len(fixed) > 1 or min(fixed, default=1) < 1:
        return f"takes {sorted(fixed)} events at once; export it with one open batch dimension"
    return None


def _wrong_outputs(inputs: Any, outputs: Any) -> str | None:
    taken, given = [item.name for item in inputs], [item.name for item in outputs]
    if not taken or not set(taken) <= set(INPUT_NAMES) or given not in _OUTPUTS:
        return (
            f"the graph goes from {taken} to {given}; a tagger goes from some of "
            f"{', '.join(map(repr, INPUT_NAMES))} to 'score', with or without 'latent'"
        )
    for item in outputs:
        if item.type not in _OUTPUT_TYPES:
            return (
                f"gives '{item.name}' as {item.type}, expected float32; of a classifier, give the "
                "probability of one class (scikit-learn's converter: options={'zipmap': False})"
            )
    shape = outputs[0].shape
    if len(shape) > 2 or (len(shape) == 2 and isinstance(shape[1], int) and shape[1] != 1):
        return f"gives scores of shape {shape}, expected one for each event: (n,) or (n, 1)"
    return None


@cache
def _share_memory() -> None:
    # One arena for all sessions: of its own, a session of 35 kB of weights took 13 MB.
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    as_requested = {"max_mem": MEMORY, "arena_extend_strategy": 1}
    try:
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(as_requested))
    except Exception as error:
        # The user's own program has registered one, whose bounds are the user's.
        if "already" not in str(error):
            raise
