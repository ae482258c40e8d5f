from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import MassRange, SkimSettings, TableSettings
from tnt_coffea.errors import TaggerError
from tnt_coffea.reporting import evaluate, improvement_uncertainty
from tnt_coffea.taggers import Cut, Ranks, WorkingPoint, WorkingPoints

WINDOW, FIT = MassRange(low=3300, high=3700), MassRange(low=2600, high=7000)


def working_points(x):
    return {"tnt": WorkingPoints((WorkingPoint.at(x, 0.1),))}


@pytest.fixture(scope="module")
def hand_made(sample_maker):
    """Signal, background in the window: 4 and 8; kept with the X of their folds: 2 and 1."""
    # 12 in the window, 3 beside it, 2 out of the fit range.
    label = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0]
    m_jj = [3300.0] * 6 + [3699.9] * 6 + [3700, 2600, 6999] + [2599, 7000]
    fold = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    # X is 0.6 in fold 0 and 0.8 in fold 1.
    heavy = [0.7, 0.9, 0.9, 0.7, 0.7, 0.75, 0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.1, 0.2, 0.9, 0.9]
    light = [0.8, 0.9, 0.5, 0.9, 0.8, 0.90, 0.6, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.1, 0.2, 0.9, 0.9]
    sample = sample_maker(label, m_jj)
    ranks = {"tnt": Ranks(fold, np.array(heavy), np.array(light))}
    return sample, ranks, working_points({0: 0.6, 1: 0.8})


def test_counts_and_ratios_of_a_table_made_by_hand(hand_made):
    found = evaluate(*hand_made, WINDOW, FIT)

    (point,) = found.sets["tnt"].working_points
    assert (point.signal_before, point.background_before) == (4, 8)
    # One background event lies at X itself, which passes, as in the bins of the histogram.
    assert (point.signal_after, point.background_after) == (2, 2)
    assert (point.eps_signal, point.eps_background) == (0.5, 0.25)
    assert (point.purity_before, point.purity_after) == (0.5, 1.0)
    assert point.improvement == pytest.approx(0.5 / np.sqrt(0.25))
    relative = np.sqrt(0.5 / (4 * 0.5) + 0.75 / (4 * 8 * 0.25))
    assert point.improvement_uncertainty == pytest.approx(point.improvement * relative)
    assert (found.signal, found.background) == (5, 10)


def test_a_cut_for_each_jet_keeps_events_by_both(hand_made):
    sample, ranks, _ = hand_made
    pair = WorkingPoint("pair", {0: Cut(0.6, 0.6), 1: Cut(0.7, 0.9)})

    found = evaluate(sample, ranks, {"tnt": WorkingPoints((pair,))}, WINDOW, FIT)

    (point,) = found.sets["tnt"].working_points
    assert point.selection == "pair"
    # Of fold 0: 0.7 and 0.8 (signal), 0.7 and 0.8, 0.9 and 0.6; of fold 1: 0.9 and 0.9, 0.7 and
    # 0.9 (signal), 0.75 and 0.9.
    assert (point.signal_after, point.background_after) == (3, 3)


def test_the_variable_of_the_sample_is_what_the_window_is_in(hand_made):
    sample, ranks, points = hand_made
    other = np.where(np.arange(len(sample)) < 2, 9000.0, sample.m_jj).astype(np.float32)
    table = TableSettings(
        m_jj="m_jj", heavy={"mass": "a"}, light={"mass": "b"}, event={"m_jjj": "c"}
    )
    moved = replace(
        sample,
        columns={**sample.columns, "m_jjj": other},
        lists={},
        settings=SkimSettings(table=table),
    )

    found = evaluate(moved.with_variable("m_jjj"), ranks, points, WINDOW, FIT)

    (point,) = found.sets["tnt"].working_points
    assert point.signal_before == 2
    assert evaluate(moved, ranks, points, WINDOW, FIT) == evaluate(
        sample, ranks, points, WINDOW, FIT
    )


def test_uncertainty_of_the_improvement_is_its_spread_over_experiments():
    rng = np.random.default_rng(1)
    eps_s = rng.binomial(300, 0.4, 20_000) / 300
    eps_b = rng.binomial(2000, 0.05, 20_000) / 2000

    predicted = improvement_uncertainty(0.4, 0.05, 300, 2000)

    assert predicted == pytest.approx(np.std(eps_s / np.sqrt(eps_b)), rel=0.03)
    assert improvement_uncertainty(0.4, 0.0, 300, 2000) is None


def test_no_background_left_gives_no_improvement(hand_made):
    sample, ranks, _ = hand_made

    found = evaluate(sample, ranks, working_points({0: 0.75, 1: 0.85}), WINDOW, FIT)

    (point,) = found.sets["tnt"].working_points
    assert point.background_after == 0
    assert point.improvement is None
    assert point.improvement_uncertainty is None
    assert point.purity_after is None


@pytest.mark.parametrize("label", [-1, 0, 1])
def test_without_both_kinds_of_event_there_is_nothing_to_evaluate(label, hand_made):
    sample, ranks, points = hand_made
    same = replace(sample, label=np.full(len(sample), label, np.int8))

    assert evaluate(same, ranks, points, WINDOW, FIT) is None


def test_one_unknown_label_in_the_fit_range_is_too_many(hand_made):
    sample, ranks, points = hand_made
    label = sample.label.copy()
    label[13] = -1

    assert evaluate(replace(sample, label=label), ranks, points, WINDOW, FIT) is None


def test_out_of_the_fit_range_nothing_counts(hand_made):
    sample, ranks, points = hand_made
    label = sample.label.copy()
    label[15:] = -1

    changed = evaluate(replace(sample, label=label), ranks, points, WINDOW, FIT)

    assert changed == evaluate(sample, ranks, points, WINDOW, FIT)


def test_a_better_tagger_has_a_larger_area_and_improvement(search, contents):
    found = contents.views.evaluation.sets

    for jet in ("heavy", "light", "both"):
        assert found["tnt"].rocs[jet].auc > found["autoencoder"].rocs[jet].auc + 0.1
    points = zip(found["tnt"].working_points, found["autoencoder"].working_points, strict=True)
    for tnt, autoencoder in points:
        assert tnt.selection == autoencoder.selection
        assert tnt.improvement > autoencoder.improvement


def test_wrong_ranks_and_points_are_refused(hand_made):
    sample, ranks, points = hand_made

    with pytest.raises(TaggerError, match="ranks of 17 events for a sample of 5"):
        evaluate(sample.select(np.arange(5)), ranks, points, WINDOW, FIT)
    with pytest.raises(TaggerError, match="no working points"):
        evaluate(sample, ranks, {}, WINDOW, FIT)
    with pytest.raises(TaggerError, match="no threshold for fold 1"):
        evaluate(sample, ranks, working_points({0: 0.5}), WINDOW, FIT)
