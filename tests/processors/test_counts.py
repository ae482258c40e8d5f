"""Filled bins alone travel, and give the histogram that events would have filled."""

from __future__ import annotations

import io
import pickle

import h5py
import hist
import numpy as np
import pytest
import uhi.io.hdf5

from tnt_coffea.processors.counts import SparseCounts

AXES = (
    hist.axis.IntCategory((0, 2), name="fold"),
    hist.axis.Regular(300, 2000, 8000, name="m_jj", label="m_jj [GeV]"),
    hist.axis.Variable([0, 0.5, 0.9, 1], name="q_heavy", flow=False),
    hist.axis.Variable([0, 0.4, 1], name="q_light", flow=False),
)


def image(histogram: hist.Hist) -> bytes:
    """What a search stores of a histogram."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        uhi.io.hdf5.write(file.create_group("h"), histogram)
    return buffer.getvalue()


@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_add_up_to_the_histogram_of_all_events(weighted: bool) -> None:
    rng = np.random.default_rng(4)
    dense = hist.Hist(
        hist.axis.StrCategory([], growth=True, name="dataset"),
        *AXES,
        storage=hist.storage.Weight(),
    )
    total = None
    for dataset, n in (("b", 400), ("a", 300), ("none", 0), ("b", 200)):
        values = [rng.choice([0, 2], n), rng.uniform(1500, 9000, n), *rng.random((2, n))]
        weight = rng.normal(1, 1, n) if weighted else np.ones(n)
        one = SparseCounts.of_events(AXES, dataset, values, weight)
        # In chunks as in a search, whose histograms were added before.
        filled = dense.copy().reset()
        filled.fill(dataset, *values, weight=weight)
        dense, total = dense + filled, one if total is None else total + one
    assert total is not None
    assert image(total.histogram()) == image(dense.sort("dataset"))
    assert len(pickle.dumps(total)) < 0.6 * dense.view(flow=True).nbytes


def test_counts_of_few_events_are_small_whatever_the_bins() -> None:
    axes = (hist.axis.Regular(1_000_000, 0, 1, name="x"),)
    one = SparseCounts.of_events(axes, "a", [np.array([0.1, 0.2, 2.0, -1.0, 0.1])], np.ones(5))
    assert len(pickle.dumps(one)) < 3000
    assert one.histogram().sum(flow=True).value == 5
    assert one.histogram()[{"dataset": "a", "x": hist.loc(0.1)}].value == 2
