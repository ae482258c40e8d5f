"""What every tagger has to pass before it is written, and what is noted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.trained import Trained

__all__ = ["FEW_SIGNAL_RICH", "MANY_TIED", "MOST_ALIKE", "TOLERANCE", "checked"]

TOLERANCE = 1e-5
"""Largest difference between the ONNX graph's score and the network's, of their size."""
FEW_SIGNAL_RICH = 200
"""Signal-rich jets below which a training is noted as too small to trust."""
MANY_TIED = 0.5
"""Share of jets with a score that another one has, above which a search is told so."""
MOST_ALIKE = 0.9
"""Largest share of jets with one and the same score: beyond it a hash, not the score, would say
which are background-rich and which are the top tenth."""
_SHOWN = 256

Int64Array = npt.NDArray[np.int64]


def checked(
    trained: Trained,
    inputs: Callable[[Int64Array], Mapping[str, npt.NDArray[np.float32]]],
    rows: Int64Array,
) -> Trained:
    """Return the training with its share of tied scores in the history.

    Parameters
    ----------
    trained
        A tagger and what it was exported from.
    inputs
        Function from row numbers to the tagger's inputs.
    rows
        Jets that it was trained on; up to 256 of them are scored.

    Raises
    ------
    TrainingError
        Scores are not finite, the same for all jets or for nearly all, or not those of the network.
    """
    import onnxruntime

    chosen = rows[np.linspace(0, len(rows) - 1, min(_SHOWN, len(rows))).astype(np.int64)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        trained.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    scores: npt.NDArray[np.float32] = session.run(["score"], dict(inputs(chosen)))[0]
    if not np.isfinite(scores).all():
        msg = f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite"
        raise TrainingError(msg)
    if len(scores) > 1 and np.ptp(scores) == 0:
        msg = (
            f"the score is {scores[0]:.6g} for all of {len(scores)} jets: nothing was learned; "
            "use more events or another seed"
        )
        raise TrainingError(msg)
    expected = trained.predict(chosen)
    worst = float(np.max(np.abs(scores - expected) / np.maximum(np.abs(expected), 1.0)))
    if worst > TOLERANCE:
        msg = f"the exported score differs from the network's by {worst:.2g}, at most {TOLERANCE}"
        raise TrainingError(msg)
    _, repeats = np.unique(scores, return_counts=True)
    alike = float(repeats.max() / len(scores))
    if len(scores) > 1 and alike > MOST_ALIKE:
        msg = (
            f"one score is that of {alike:.0%} of {len(scores)} jets, at most {MOST_ALIKE:.0%}: "
            "hardly anything was learned; use more events, more trees or another seed"
        )
        raise TrainingError(msg)
    tied = float(repeats[repeats > 1].sum() / len(scores))
    return replace(trained, history=trained.history | {"tied": tied})
