"""The libraries of the `train` extra, imported on demand and set up to be reproducible."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, reduce
from importlib import import_module, metadata
from itertools import product
from operator import add
from pathlib import Path
from threading import Lock
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.errors import MissingExtraError, TrainingError

__all__ = [
    "accelerator",
    "array",
    "initialisers",
    "keras",
    "libraries",
    "one_thread",
    "onnx",
    "quiet",
    "tensorflow",
    "total",
    "versions",
]


def onnx() -> Any:
    """Return the onnx package.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    return _import("onnx")


def libraries() -> tuple[str, ...]:
    """Return the packages that have a part in a network and in its graph."""
    converter = ("tf2onnx",) if _backend() == "tensorflow" else ()
    return ("numpy", "onnx", "keras", _backend(), *converter)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what converters write to the standard error out of the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenBLAS and MKL compute on one thread: the last digits depend on the number.

    The numbers of threads are those of the whole process, and are restored when the last of
    such blocks is left.

    Examples
    --------
    >>> with one_thread():
    ...     {get() for get, _ in _thread_numbers()} <= {1}
    True
    """
    global _inside
    with _lock:
        if not _inside:
            _before.extend(get() for get, _ in _thread_numbers())
        _inside += 1
        for _, set_ in _thread_numbers():
            set_(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for (_, set_), number in zip(_thread_numbers(), _before, strict=True):
                    set_(number)
                _before.clear()


_lock = Lock()
_inside = 0
_before: list[int] = []


@cache
def _thread_numbers() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """Return what tells and sets the number of threads of the libraries below numpy and scipy."""
    found = []
    for extension in ("numpy.linalg._umath_linalg", "scipy.linalg._flapack"):
        # A symbol is looked for in what the extension was linked to as well.
        library = ctypes.CDLL(import_module(extension).__file__)
        for prefix, suffix in product(("", "scipy_"), ("", "64_")):
            name = f"{prefix}openblas_%s_num_threads{suffix}"
            if hasattr(library, name % "set"):
                found.append((getattr(library, name % "get"), getattr(library, name % "set")))
        if hasattr(library, "MKL_Set_Num_Threads"):
            found.append((library.MKL_Get_Max_Threads, library.MKL_Set_Num_Threads))
    return found


def keras() -> Any:
    """Return Keras, its backend set up; `KERAS_BACKEND` chooses one other than TensorFlow.

    Raises
    ------
    MissingExtraError
        It is not installed.
    TrainingError
        As `tensorflow`.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if _backend() == "tensorflow":
        tensorflow()
    return _import("keras")


def initialisers(seed: int) -> Callable[[], Any]:
    """Return a function that gives the initialiser of one layer after the other."""
    # A seed of its own for every layer: Keras' global one would change the
    # random numbers of whoever calls, and depend on what was built before.
    uniform, count = keras().initializers.GlorotUniform, iter(range(1000))
    return lambda: uniform(seed=seeds.integer(seed, "initial", next(count)))


def total(values: Iterable[Any]) -> Any:
    """Return the sum of tensors, one after the other.

    A sum along an axis has an order in ONNX Runtime, and so last digits, that depend on where in
    a batch an event stands.
    """
    return reduce(add, values)


def array(values: Any) -> Any:
    """Return a backend's tensor as a numpy array."""
    return keras().ops.convert_to_numpy(values)


def accelerator() -> dict[str, str]:
    """Return the GPU that TensorFlow computes on in this process, for the record; {} for none."""
    tf = sys.modules.get("tensorflow")
    found = tf.config.get_visible_devices("GPU") if tf is not None else []
    if not found:
        return {}
    details = tf.config.experimental.get_device_details(found[0])  # type: ignore[union-attr]
    return {"accelerator": str(details.get("device_name", "GPU"))}


def tensorflow() -> Any:
    """Return TensorFlow with one thread and deterministic operations.

    It uses a GPU where there is one, and of its memory what it needs; several workers may
    share one. `CUDA_VISIBLE_DEVICES=` hides it.

    Raises
    ------
    MissingExtraError
        It is not installed.
    TrainingError
        This process used TensorFlow with more threads before, so that the same
        training would not give the same bytes.
    """
    # Importing TensorFlow logs to the terminal below this level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Else TensorFlow takes oneDNN's convolutions on some processors only, and those without
    # AVX-512 train a network of images 2.6 times as long.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    tf = _import("tensorflow")
    tf.get_logger().addFilter(_of_interest)
    _one_thread(tf)
    tf.config.experimental.enable_op_determinism()
    return tf


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages by name, without importing them."""
    # TensorFlow comes under several distribution names, of which one is installed.
    distributions = _distributions()
    found = {}
    for package in packages:
        if package not in distributions:
            raise MissingExtraError(package, "train")
        found[package] = metadata.version(sorted(distributions[package])[0])
    return found


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _import(package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(package, "train") from error


def _backend() -> str:
    return os.environ.get("KERAS_BACKEND", "tensorflow")


def _of_interest(record: logging.LogRecord) -> bool:
    # Every network is compiled once, which TensorFlow takes for one that is compiled often.
    return "triggered tf.function retracing" not in record.getMessage()


def _one_thread(tf: Any) -> None:
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == 1:
        return
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        msg = (
            "TensorFlow was used in this process before the training, with threads or devices "
            "that make results irreproducible; train in a fresh process, for example "
            "with executor='futures'"
        )
        raise TrainingError(msg) from error
