"""The price of two one-jet taggers against ONNX Runtime alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.benchmarking.report import ScoringTimes
from tnt_coffea.benchmarking.timing import interleaved
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.taggers.tagger import Tagger

__all__ = ["BATCHES", "scoring_times"]

BATCHES = (8, 16, 32, 64, 128, 256)
"""Batch sizes that ONNX Runtime alone is tried with; its best one counts."""

_ROWS = 2048

Images = npt.NDArray[np.float32]


def scoring_times(sample: Sample, taggers: dict[str, Tagger], repetitions: int) -> ScoringTimes:
    """Return the time of scoring both jets from the skim, and of ONNX Runtime alone.

    Parameters
    ----------
    sample
        Dijets with images as the taggers want them.
    taggers
        One tagger for `heavy` and one for `light`.
    repetitions
        Rounds; the best of each counts.
    """
    images = {jet: sample.images(jet) for jet in JETS}
    sessions = {jet: _session(taggers[jet].data) for jet in JETS}
    events = len(sample)

    def scored() -> None:
        for jet in JETS:
            for start in range(0, events, _ROWS):
                rows = np.arange(start, min(start + _ROWS, events))
                taggers[jet].score(sample.images(jet, rows))

    def bare(batch: int) -> Callable[[], None]:
        def run() -> None:
            for jet in JETS:
                for start in range(0, events, batch):
                    sessions[jet].run(["score"], {"image": images[jet][start : start + batch]})

        return run

    tried = interleaved({str(batch): (events, bare(batch)) for batch in BATCHES}, repetitions)
    best = min(BATCHES, key=lambda batch: tried[str(batch)].seconds)
    # Against the best one alone, in equal numbers: the best of six tries six times as often.
    times = interleaved({"scored": (events, scored), "bare": (events, bare(best))}, repetitions)
    by_batch = {batch: tried[str(batch)] for batch in BATCHES}
    return ScoringTimes(times["scored"], times["bare"], best, by_batch)


def _session(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
