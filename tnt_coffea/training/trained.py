"""What a training gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Trained"]


@dataclass(frozen=True)
class Trained:
    """A tagger before it has its card.

    Attributes
    ----------
    model
        onnx.ModelProto, complete but for its card.
    summary
        Figures for the card.
    history
        Everything worth a plot, as JSON values.
    predict
        Function from row numbers to (row number,) scores without ONNX, for the comparison.
    seconds
        Wall time of every epoch; in no file.
    input, columns
        What the tagger takes, as on the card.
    """

    model: Any
    summary: dict[str, float]
    history: dict[str, Any]
    predict: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
    seconds: tuple[float, ...] = ()
    input: str = "image"
    columns: tuple[str, ...] = ()
