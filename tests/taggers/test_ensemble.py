from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import Combination, FoldSettings, ImageSettings, MassRange, SkimSettings
from tnt_coffea.errors import LeakError, TaggerError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers import Member, Tagger, TaggerSet

FOLDS = FoldSettings(outer=2)
RANGE = MassRange(low=2600, high=7000)


@pytest.fixture
def tagger_set(make_tagger: Callable[..., Tagger]) -> TaggerSet:
    rng = np.random.default_rng(1)
    members = []
    for fold in (0, 1):
        for scope in ("heavy", "light"):
            for inner in (0, 1):
                # Very different scales in the folds: raw scores must not mix.
                weights = rng.random((6, 6)).astype(np.float32) * (1 + 1000 * fold)
                tagger = make_tagger(
                    weights, scope=scope, direct=(1 - fold,), ancestors=(1 - fold,)
                )
                members.append(Member(tagger, scope, fold, f"{scope}-{fold}-{inner}"))
    return TaggerSet("test", FOLDS, 1, tuple(members))


def test_score_is_the_mean_of_the_folds_own_taggers(tagger_set: TaggerSet, sample: Sample) -> None:
    scores = tagger_set.score(sample)
    assert np.array_equal(scores.fold, fold_of(sample.event_id, 2, 1))
    for fold in (0, 1):
        rows = np.flatnonzero(scores.fold == fold)
        images = sample.images("light", rows)
        own = [
            m.tagger.score(images)
            for m in tagger_set.members
            if (m.fold, m.scope) == (fold, "light")
        ]
        assert len(own) == 2
        assert scores.raw["light"][rows] == pytest.approx((own[0] + own[1]) / 2, rel=1e-6)


def test_a_trimmed_mean_is_that_of_the_middle_half(
    make_tagger: Callable[..., Tagger], sample: Sample
) -> None:
    rng = np.random.default_rng(3)
    members = []
    for fold in (0, 1):
        for number in range(5):
            # One of five taggers has gone astray.
            weights = rng.random((6, 6)).astype(np.float32) * (1000 if number == 0 else 1)
            place = {"direct": (1 - fold,), "ancestors": (1 - fold,)}
            tagger = make_tagger(weights, scope="heavy", **place)
            members.append(Member(tagger, "heavy", fold, f"heavy-{fold}-{number}"))
    mean = TaggerSet("test", FOLDS, 1, tuple(members))
    trimmed = replace(mean, combine=Combination.TRIMMED_MEAN)
    images = sample.images("heavy")
    each = np.sort([member.tagger.score(images) for member in members[:5]], axis=0)
    rows = fold_of(sample.event_id, 2, 1) == 0
    for made, expected in ((mean, each.mean(axis=0)), (trimmed, each[1:4].mean(axis=0))):
        raw = made.score(sample).raw["heavy"]
        assert raw[rows] == pytest.approx(expected[rows], rel=1e-5)
    assert trimmed.digest != mean.digest


def test_working_points_select_the_share_wanted_in_every_fold(
    tagger_set: TaggerSet, sample: Sample
) -> None:
    made = tagger_set.calibrated(sample, RANGE, (0.2, 0.05))
    ranks = made.ranks(sample)
    inside = (sample.m_jj >= 2600) & (sample.m_jj < 7000)
    for efficiency in (0.2, 0.05):
        for fold, cut in made.quantiles.points[efficiency].cuts.items():
            mine = inside & (ranks.fold == fold)
            # Two events may share the rank at the edge, one through each jet.
            assert abs((ranks.both[mine] > cut.heavy).sum() - round(efficiency * mine.sum())) <= 1
            assert cut.heavy == cut.light
            assert cut.achieved == pytest.approx((ranks.both[mine] > cut.heavy).mean())


def test_quantiles_of_a_fold_do_not_depend_on_the_other_fold(
    tagger_set: TaggerSet, sample: Sample
) -> None:
    whole = tagger_set.calibrated(sample, RANGE, (0.2,)).ranks(sample)
    mine = fold_of(sample.event_id, 2, 1) == 0
    other = sample.select(np.flatnonzero(mine | (np.arange(len(sample)) % 3 == 0)))
    partly = tagger_set.calibrated(other, RANGE, (0.2,)).ranks(other)
    again = {int(i): q for i, q in zip(other.event_id, partly.heavy, strict=True)}
    for i in np.flatnonzero(mine):
        assert again[int(sample.event_id[i])] == whole.heavy[i]


def test_set_survives_saving(tagger_set: TaggerSet, sample: Sample, tmp_path: Path) -> None:
    trimmed = replace(tagger_set, combine=Combination.TRIMMED_MEAN)
    made = trimmed.calibrated(sample, RANGE, (0.2,))
    made.save(tmp_path / "set")
    back = TaggerSet.load(tmp_path / "set")
    assert (back.digest, back.combine) == (made.digest, made.combine)
    assert np.array_equal(back.ranks(sample).both, made.ranks(sample).both)


def test_tagger_never_scores_a_fold_among_its_ancestors(
    tagger_set: TaggerSet, make_tagger: Callable[..., Tagger]
) -> None:
    first = tagger_set.members[0]
    leaky = make_tagger(np.ones((6, 6)), direct=(1,), ancestors=(0, 1))
    with pytest.raises(LeakError, match="fold 0"):
        replace(tagger_set, members=(replace(first, tagger=leaky), *tagger_set.members[1:]))


def test_taggers_of_other_folds_are_refused(tagger_set: TaggerSet) -> None:
    with pytest.raises(LeakError, match="other folds"):
        replace(tagger_set, fold_seed=2)


def test_taggers_that_used_truth_are_refused(
    tagger_set: TaggerSet, make_tagger: Callable[..., Tagger]
) -> None:
    cheat = make_tagger(np.ones((6, 6)), uses_truth=True)
    with pytest.raises(TaggerError, match="truth"):
        replace(tagger_set, members=(Member(cheat, "heavy", 0, "x"), *tagger_set.members[1:]))


def test_every_fold_and_scope_needs_a_tagger(tagger_set: TaggerSet) -> None:
    with pytest.raises(TaggerError, match=r"\(1, 'light'\)"):
        replace(tagger_set, members=tagger_set.members[:-2])


def test_other_images_are_refused(tagger_set: TaggerSet, sample: Sample) -> None:
    other = SkimSettings(images=ImageSettings(pixels=6, half_width=0.8))
    with pytest.raises(TaggerError, match=r"half_width=0\.8"):
        tagger_set.score(replace(sample, settings=other))


def test_set_without_map_gives_no_ranks(tagger_set: TaggerSet, sample: Sample) -> None:
    with pytest.raises(TaggerError, match="quantile map"):
        tagger_set.ranks(sample)


def test_swapped_tagger_file_is_noticed(
    tagger_set: TaggerSet, sample: Sample, tmp_path: Path
) -> None:
    tagger_set.calibrated(sample, RANGE, (0.2,)).save(tmp_path)
    (tmp_path / "heavy-0-0.onnx").write_bytes((tmp_path / "heavy-1-0.onnx").read_bytes())
    with pytest.raises(TaggerError, match="SHA-256"):
        TaggerSet.load(tmp_path)
