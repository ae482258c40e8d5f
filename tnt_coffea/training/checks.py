"""The check that a tagger of any method has to pass before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tnt_coffea.errors import TaggerError, TrainingError
from tnt_coffea.taggers.inputs import Reader
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training import backend
from tnt_coffea.training.fitting import evaluated
from tnt_coffea.training.method import Scorer
from tnt_coffea.typing import Float32Array

__all__ = ["FEW_SIGNAL_RICH", "MANY_TIED", "MOST_ALIKE", "TOLERANCE", "checked"]

TOLERANCE = 1e-5
"""Largest difference of the ONNX graph's score from the model's, relative above 1."""
FEW_SIGNAL_RICH = 200
"""Signal-rich jets below which a training run is noted as too small to trust."""
MANY_TIED = 0.5
"""Share of jets with the score of another jet, above which a search warns."""
MOST_ALIKE = 0.9
"""Largest share of jets with one and the same score. If more share one, ties - not the score -
decide the labels. Not one half: trees and counts may have one value for most of the background and
still order the tenth that a selection keeps."""
_SHOWN = 256


def checked(scorer: Scorer, model: Any, reading: Mapping[str, Reader], events: int) -> Scorer:
    """Return the scorer with its share of tied scores in the history.

    Parameters
    ----------
    scorer
        Outcome of the training run.
    model
        onnx.ModelProto that was exported from it.
    reading
        Readers of its inputs, of events that it was trained on.
    events
        Number of these events, of which up to 256 are scored. Without events only the names of
        inputs and outputs are checked.

    Raises
    ------
    TrainingError
        The graph is none that a search takes, or scores are not finite, the same for all jets or
        for nearly all, not those of the model, or dependent on a jet's place among others.
    """
    rows = np.linspace(0, events - 1, min(_SHOWN, events)).astype(np.int64)
    # Searches score with the same code: what they refuse is not written.
    tagger = Tagger(model.SerializeToString(), "the model")
    try:
        wanted, given = set(tagger.inputs), set(reading)
        if wanted != given:
            msg = f"the model takes {sorted(wanted)}, its inputs are {sorted(given)}"
            raise TrainingError(msg)
        if not len(rows):
            return scorer
        inputs = {name: read(rows) for name, read in reading.items()}
        scores = tagger.score(inputs)
        moved = tagger.score({name: np.roll(values, 1, axis=0) for name, values in inputs.items()})
    except TaggerError as error:
        raise TrainingError(str(error)) from error
    apart = float(np.max(np.abs(np.roll(scores, 1) - moved)))
    if apart > 0:
        msg = (
            f"the score of a jet depends on its place among others, by up to {apart:.2g}: chunks "
            "of another size would give another histogram; sums over a multiple of 4 do not"
        )
        raise TrainingError(msg)
    if len(scores) > 1 and np.ptp(scores) == 0:
        msg = (
            f"the score is {scores[0]:.6g} for all of {len(scores)} events: nothing was learned; "
            "use more events or another seed"
        )
        raise TrainingError(msg)
    expected = _expected(scorer, inputs)
    worst = float(np.max(np.abs(scores - expected) / np.maximum(np.abs(expected), 1.0)))
    if not worst <= TOLERANCE:
        msg = f"the exported score differs from the model's by {worst:.2g}, at most {TOLERANCE}"
        raise TrainingError(msg)
    _, repeats = np.unique(scores, return_counts=True)
    alike = float(repeats.max() / len(scores))
    if len(scores) > 1 and alike > MOST_ALIKE:
        msg = (
            f"one score is that of {alike:.0%} of {len(scores)} events, at most {MOST_ALIKE:.0%}: "
            "hardly anything was learned; use more events, more trees or another seed"
        )
        raise TrainingError(msg)
    tied = float(repeats[repeats > 1].sum() / len(scores))
    return replace(scorer, history={**scorer.history, "tied": tied})


def _expected(scorer: Scorer, inputs: dict[str, Float32Array]) -> Float32Array:
    if scorer.predict is not None:
        return scorer.predict(inputs)
    if hasattr(scorer.model, "graph"):
        msg = "an ONNX model comes without `predict`, which it has to agree with"
        raise TrainingError(msg)
    out = evaluated(scorer.model, inputs)
    score = out[0] if isinstance(out, list | tuple) else out
    expected: Float32Array = backend.array(score)
    return expected
