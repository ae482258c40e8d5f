from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers import Cut, WorkingPoint, WorkingPoints
from tnt_coffea.taggers.quantiles import QuantileMap, ReferenceScores, threshold

RNG = np.random.default_rng(2)


def hashes(n: int) -> np.ndarray:
    return RNG.integers(0, 2**64, n, dtype=np.uint64)


def test_reference_events_get_evenly_spread_quantiles() -> None:
    scores, h = RNG.random(1000).astype(np.float32), hashes(1000)
    q = ReferenceScores.of(scores, h).quantile(scores, h)
    assert np.array_equal(np.sort(q), (np.arange(1000) + 0.5) / 1000)
    assert np.array_equal(np.argsort(q), np.argsort(scores))


def test_ties_are_broken_by_hash_and_counted() -> None:
    scores = np.repeat(np.float32([1.0, 2.0, 3.0]), [10, 980, 10])
    h = hashes(1000)
    reference = ReferenceScores.of(scores, h)
    assert reference.tied == 1000
    q = reference.quantile(scores, h)
    assert np.array_equal(np.sort(q), (np.arange(1000) + 0.5) / 1000)
    plateau = scores == 2.0
    assert np.array_equal(np.argsort(q[plateau]), np.argsort(h[plateau]))


def test_order_of_the_reference_does_not_matter() -> None:
    scores, h = np.round(RNG.random(500), 2).astype(np.float32), hashes(500)
    order = RNG.permutation(500)
    new, new_h = RNG.random(50).astype(np.float32), hashes(50)
    first = ReferenceScores.of(scores, h).quantile(new, new_h)
    second = ReferenceScores.of(scores[order], h[order]).quantile(new, new_h)
    assert np.array_equal(first, second)


def test_scores_beyond_the_reference_stay_inside_the_axis() -> None:
    reference = ReferenceScores.of(np.float32([1.0, 2.0]), hashes(2))
    q = reference.quantile(np.float32([0.0, 5.0]), hashes(2))
    assert 0 < q[0] < q[1] < 1


def test_no_reference_event_is_an_error() -> None:
    with pytest.raises(TaggerError, match="fit range"):
        ReferenceScores.of(np.empty(0, np.float32), hashes(0))


@pytest.mark.parametrize("efficiency", [0.3, 0.1, 0.03, 0.001])
def test_working_point_selects_exactly_the_share_wanted(efficiency: float) -> None:
    both = (RNG.permutation(5000) + 0.5) / 5000
    assert (both > threshold(both, efficiency)).sum() == round(efficiency * 5000)


def test_all_or_none_are_wanted() -> None:
    ranks = (RNG.permutation(100) + 0.5) / 100
    assert (ranks > threshold(ranks, 1.0)).all()
    assert threshold(ranks, 1.0) > 0
    assert not (ranks > threshold(ranks, 1e-6)).any()


def test_map_survives_json_exactly(tmp_path: Path) -> None:
    scores, h = np.round(RNG.random(300), 2).astype(np.float32), hashes(300)
    reference = ReferenceScores.of(scores, h)
    made = QuantileMap(
        "set",
        "sample",
        "m_jjj",
        MassRange(low=2600, high=7000),
        {0: {"heavy": reference}},
        WorkingPoints((WorkingPoint(0.1, {0: Cut(0.7123456789012345, 0.8, 0.1)}),)),
    )
    made.save(tmp_path / "q.json")
    back = QuantileMap.load(tmp_path / "q.json")
    new, new_h = np.round(RNG.random(200), 2).astype(np.float32), hashes(200)
    assert np.array_equal(
        back.references[0]["heavy"].quantile(new, new_h), reference.quantile(new, new_h)
    )
    assert back.points == made.points
    assert (back.variable, back.mass_range) == (made.variable, made.mass_range)
    assert back.edges("heavy", 0.4) == [0.0, 0.4, 0.7123456789012345, 1.0]
    assert back.edges("light", 0.4) == [0.0, 0.4, 0.8, 1.0]


def test_damaged_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text('{"tagger_set": 1}')
    with pytest.raises(TaggerError, match="quantile map"):
        QuantileMap.load(tmp_path / "q.json")
