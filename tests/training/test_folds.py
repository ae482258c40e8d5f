from __future__ import annotations

import pickle

import numpy as np
import pytest

from tnt_coffea.config import FoldSettings
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.identity import fold_of, outer_fold
from tnt_coffea.training.folds import (
    OUTSIDE,
    WHOLE,
    FoldPlan,
    IndependentPlan,
    cross_validation_plans,
    prequential_plans,
    split_plan,
    swapped_plans,
)

IDS = np.random.default_rng(2).integers(0, 2**64, 5000, dtype=np.uint64)


def test_two_folds_train_on_halves_of_the_other():
    settings = FoldSettings(outer=2, inner=3)
    for plan in cross_validation_plans(settings, 7):
        inner, outer = plan.inner_of(IDS), fold_of(IDS, 2, 7)
        assert ((inner == OUTSIDE) == (outer == plan.scored)).all()
        sizes = np.bincount(inner[inner != OUTSIDE])
        assert len(sizes) == 3
        assert sizes.min() > 700
        assert {plan.direct(a) for a in plan.inner} == {(1 - plan.scored,)}


def test_more_folds_are_their_own_inner_folds():
    for plan in cross_validation_plans(FoldSettings(outer=5), 7):
        inner, outer = plan.inner_of(IDS), fold_of(IDS, 5, 7)
        for a in plan.inner:
            assert set(outer[inner == a]) == {plan.training[a]}
            assert plan.training[a] not in plan.direct(a)
            assert len(plan.direct(a)) == 3
        assert (outer[inner == OUTSIDE] == plan.scored).all()


def test_prequential_training_knows_only_the_past():
    plans = prequential_plans(FoldSettings(outer=4, inner=2), 7)
    assert [(plan.scored, plan.training) for plan in plans] == [
        (1, (0,)),
        (2, (0, 1)),
        (3, (0, 1, 2)),
    ]
    outer = fold_of(IDS, 4, 7)
    for plan in plans:
        assert (outer[plan.inner_of(IDS) != OUTSIDE] < plan.scored).all()


def test_halves_of_a_fold_do_not_depend_on_what_else_is_there():
    plan = cross_validation_plans(FoldSettings(), 7)[0]
    assert np.array_equal(plan.inner_of(IDS)[::3], plan.inner_of(IDS[::3]))


@pytest.mark.parametrize(
    ("scored", "training"), [(0, (0, 1)), (0, ()), (3, (0,)), (0, (2, 1)), (0, (1, 1))]
)
def test_impossible_plans_are_refused(scored, training):
    with pytest.raises(ConfigError, match="fold"):
        FoldPlan(FoldSettings(outer=3), 1, scored, training)


def test_unknown_inner_fold_is_refused():
    with pytest.raises(TrainingError, match="inner fold 2"):
        cross_validation_plans(FoldSettings(inner=2), 7)[0].direct(2)


def test_without_data_one_training_run_scores_every_fold():
    plan = IndependentPlan(FoldSettings(outer=3), 7, scores=(0, 1, 2))
    assert (plan.scores, plan.places(inner=True), len(plan.inner)) == ((0, 1, 2), (WHOLE,), 0)
    assert (plan.ancestors(0), plan.direct(WHOLE)) == ((), ())
    assert (plan.inner_of(IDS) == OUTSIDE).all()
    assert not plan.trains(IDS, WHOLE, 0).any()
    assert plan.simulation(IDS, WHOLE, 0).all()


def test_simulation_is_folded_like_the_data():
    folds = FoldSettings(outer=3, inner=2)
    plans = (
        *cross_validation_plans(folds, 7),
        *prequential_plans(folds, 7),
        split_plan(folds, 7, 2),
        *swapped_plans(FoldSettings(mode="swapped"), 7, 3),
    )
    for plan in plans:
        for place in (WHOLE, *plan.places(inner=True)):
            np.testing.assert_array_equal(
                plan.simulation(IDS, place, 0), plan.trains(IDS, place, 0)
            )
            assert not plan.simulation(IDS[plan.inner_of(IDS) == OUTSIDE], place, 0).any()


def test_a_run_that_chooses_its_epoch_on_a_fold_reads_it_too():
    plan = cross_validation_plans(FoldSettings(inner=3), 7)[0]
    left_out = plan.left_out(IDS, 1)
    some, every = (plan.trains(IDS, 1, 0, whole=whole) for whole in (False, True))
    assert left_out.sum() > 500
    np.testing.assert_array_equal(every, some | left_out)
    assert not (some & left_out).any()


@pytest.mark.parametrize("shares", [(0.2, 0.4, 0.4), (0.5, 0.25, 0.25), (0.1, 0.3, 0.6)])
def test_parts_have_their_shares(shares):
    folds = FoldSettings(mode="swapped", shares=shares)
    fold = outer_fold(IDS, folds, 7)
    np.testing.assert_allclose(np.bincount(fold) / len(IDS), shares, atol=0.025)
    np.testing.assert_array_equal(fold[::3], outer_fold(IDS[::3], folds, 7))


def test_halves_swap_behind_the_same_first_taggers():
    folds = FoldSettings(mode="swapped")
    fold = outer_fold(IDS, folds, 7)
    plans = swapped_plans(folds, 7, 3)
    for plan, half in zip(plans, (2, 1), strict=True):
        first, *iterations = (plan.at(round_).trains(IDS, WHOLE, round_) for round_ in range(3))
        np.testing.assert_array_equal(first, fold == 0)
        # Both iterations together are the other half, and share no event.
        np.testing.assert_array_equal(iterations[0] ^ iterations[1], fold == half)
        assert not (iterations[0] & iterations[1]).any()
        assert abs(iterations[0].sum() / (fold == half).sum() - 0.5) < 0.05
        assert [plan.at(round_).ancestors(round_) for round_ in range(3)] == [
            (0,),
            (0, half),
            (0, half),
        ]
        assert plan.scored not in {half, 0}
    first, second = plans
    assert first.at(0) == second.at(0)
    assert first.at(0).scores == (1, 2)


def test_plan_survives_pickling():
    plan = cross_validation_plans(FoldSettings(), 7)[1]
    assert pickle.loads(pickle.dumps(plan)) == plan
