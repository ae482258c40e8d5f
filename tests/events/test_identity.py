from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tnt_coffea.events.identity import event_ids, fold_of, hashed, uniform


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2**63, 40_000, dtype=np.uint64)


def test_id_is_blake2b_over_little_endian_float32() -> None:
    constituents = np.array([[10.0, 0.5, -1.0], [3.0, 1.0, 2.0], [7.0, 0.0, 0.0]])
    expected = [
        int.from_bytes(
            hashlib.blake2b(rows.astype("<f4").tobytes(), digest_size=8).digest(), "little"
        )
        for rows in (constituents[:2], constituents[2:])
    ]
    assert event_ids(constituents, [2, 1]).tolist() == expected


def test_id_does_not_depend_on_the_events_beside_it() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((50, 3))
    counts = np.array([10, 0, 25, 15])
    alone = [event_ids(rows[0:10], [10])[0], event_ids(rows[10:35], [25])[0]]
    assert event_ids(rows, counts)[[0, 2]].tolist() == alone


def test_events_without_particles_have_an_id() -> None:
    assert len(set(event_ids(np.empty((0, 3)), [0, 0]).tolist())) == 1


def test_folds_are_even_and_independent_of_order(ids: np.ndarray) -> None:
    folds = fold_of(ids, 5, 1)
    counts = np.bincount(folds, minlength=5)
    assert len(counts) == 5
    # Five bins of 8000 expected events: 5 sigma of a binomial is 400.
    assert np.abs(counts - 8000).max() < 400
    order = np.random.default_rng(1).permutation(len(ids))
    assert np.array_equal(fold_of(ids[order], 5, 1), folds[order])


def test_names_and_seeds_give_independent_numbers(ids: np.ndarray) -> None:
    first = uniform(ids, 1, "validation")
    for other in (uniform(ids, 2, "validation"), uniform(ids, 1, "inner", 0)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / np.sqrt(len(ids))
    assert first.min() >= 0
    assert first.max() < 1


def test_hash_is_a_bijection(ids: np.ndarray) -> None:
    assert len(np.unique(hashed(ids, 1, "ties"))) == len(np.unique(ids))
