"""Factorized topics: known answers of toys, starts, the table in the graph, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job
from tnt_coffea.training.factorization import (
    Factorization,
    bins_of,
    factorizations,
    pair_histogram,
    toy,
)
from tnt_coffea.training.methods.factorized_topics import FactorizedTopics

BINS = 60
QCD = 0
FAST = FactorizedTopics(bins=20, starts=3, steps=500)


def best_of(histogram, seed=1, **options):
    options = {"starts": 4, "steps": 3000} | options
    found = factorizations(histogram, 3, np.random.default_rng(seed), **options)
    return sorted(found, key=lambda one: one.loss)


def drawn(truth, events, seed):
    counts = np.random.default_rng(seed).multinomial(events, truth.expected.ravel())
    counts = counts.reshape(1, BINS, BINS)
    return (counts + counts.swapaxes(1, 2)) / (2 * events)


def variation(found, truth):
    """Total variation of each topic, those beside the common one matched by their peaks."""
    order = [0, *(1 + np.argsort(np.argmax(found.p[:, 1:], axis=0)))]
    return 0.5 * np.abs(found.p[:, order] - truth.p).sum(axis=0)


@pytest.mark.parametrize("share", [0.1, 0.01])
def test_the_poisson_loss_recovers_the_anchored_toy(share):
    truth = toy(share)
    best = best_of(truth.expected)[0]
    np.testing.assert_allclose(best.f.sum(axis=0)[0, 0], 1 - share, atol=1e-3)
    np.testing.assert_allclose(np.sort(best.f.ravel()), np.sort(truth.f.ravel()), atol=1e-3)
    assert variation(best, truth).max() < 0.01


def test_the_anchored_toy_is_recovered_from_100_000_events():
    truth = toy(0.01)
    best = best_of(drawn(truth, 100_000, seed=2))[0]
    assert abs(best.common - 0.99) < 1e-3
    # The two peaks have 1000 jets each: 0.03 is their statistical uncertainty. So 0.04 holds for
    # the mean of the topics, and for the worst of them twice that uncertainty.
    apart = variation(best, truth)
    assert apart.mean() < 0.04
    assert apart.max() < 0.06


def test_the_frobenius_loss_is_stuck_where_the_poisson_loss_is_exact():
    histogram = toy(0.01).expected
    best = best_of(histogram, loss="frobenius")[0]
    assert 1 - best.common > 0.5  # 0.01 is right
    assert best.loss < 0.01  # of the histogram's own square


@pytest.mark.parametrize("loss", ["poisson", "frobenius"])
def test_overlapping_topics_fit_the_histogram_with_other_fractions(loss):
    truth = toy(0.1, anchored=False)
    best = best_of(truth.expected, loss=loss)[0]
    assert np.abs(best.expected - truth.expected).sum() < 1e-3
    assert 1 - best.common > 0.2


def test_equivalent_models_have_other_fractions_and_the_same_histogram():
    truth = toy(0.1, anchored=False)
    low, high = truth.equivalents()
    assert low.common < 0.75
    assert high.common == pytest.approx(0.9)
    diluted = Factorization(truth.p @ [[1, 0, 0.2], [0, 1, 0], [0, 0, 0.8]], low.f)
    more = diluted.equivalents()[1]
    assert more.common > diluted.common + 0.002
    for one, of in ((low, truth), (high, truth), (more, diluted)):
        np.testing.assert_allclose(one.expected, of.expected, atol=1e-12)
        assert one.p.min() > -1e-9
        assert one.f.min() > -1e-12
        np.testing.assert_allclose(one.p.sum(axis=0), 1)
    for one in toy(0.1).equivalents():
        assert one.common == pytest.approx(0.9)


def test_no_step_raises_the_loss():
    histogram = drawn(toy(0.1, anchored=False), 20_000, seed=3)
    for loss in ("poisson", "frobenius"):
        losses = [
            best_of(histogram, starts=1, loss=loss, steps=steps, tolerance=0.0)[0].loss
            for steps in (1, 2, 5, 20, 100, 400)
        ]
        assert np.all(np.diff(losses) < 0)


def test_parts_share_their_topics_and_have_fractions_of_their_own():
    truth = toy(0.1)
    pure, mixed = np.zeros((3, 3)), truth.f[0].copy()
    pure[QCD, QCD] = 1
    f = np.stack([0.3 * pure, 0.7 * mixed])
    best = best_of(truth.p @ f @ truth.p.T)[0]
    np.testing.assert_allclose(best.f[:, 0, 0], [0.3, 0.63], atol=1e-3)
    np.testing.assert_allclose(best.f[0].sum(), 0.3, atol=1e-6)
    assert variation(best, truth).max() < 0.01


def test_a_start_that_takes_another_topic_for_the_common_one_is_found_without_labels():
    truth = toy(0.1)
    good, turned = truth.log_ratio(1e5), Factorization(truth.p[:, [1, 0, 2]], truth.f)
    assert truth.auc(good) > 0.99
    assert truth.auc(turned.log_ratio(1e5)) < truth.auc(good) - 0.05
    assert Factorization(truth.p[:, [0, 2, 1]], truth.f).log_ratio(1e5) == pytest.approx(good)


def test_the_common_topic_is_that_of_most_jets_or_of_most_pairs_of_its_own():
    f = np.array([[[0.3, 0.0, 0.0], [0.0, 0.2, 0.2], [0.0, 0.2, 0.1]]])
    found = Factorization(toy(0.1).p, f)
    assert found.ordered().f[0, 0, 0] == pytest.approx(0.2)
    assert found.ordered().shares[0] == pytest.approx(0.4)
    own = found.ordered("pairs")
    assert own.common == pytest.approx(0.3)
    assert own.shares.tolist() == pytest.approx([0.3, 0.4, 0.3])
    np.testing.assert_allclose(own.expected, found.expected)
    taggers = [trained(FAST.model_copy(update={"common": by})) for by in ("jets", "pairs")]
    topics = [each.history["topics"]["f"] for each in taggers]
    assert np.sum(topics[0], axis=0).argmax() == np.diag(topics[1]).argmax() == 0


@pytest.mark.parametrize("by", ["jets", "pairs"])
def test_the_order_in_which_a_start_finds_topics_turns_no_score(by):
    truth = toy(0.1)
    wanted = truth.ordered(by).log_ratio(1e5)
    for order in ([1, 0, 2], [2, 1, 0], [1, 2, 0]):
        turned = Factorization(truth.p[:, order], truth.f[:, order][:, :, order])
        np.testing.assert_allclose(turned.ordered(by).log_ratio(1e5), wanted)


def test_scores_are_finite_where_nothing_was_seen():
    truth = toy(0.1)
    for pairs in ("all", "unlike"):
        for of in (truth, Factorization(truth.p, np.array([np.diag([0.0, 0.5, 0.5])]))):
            assert np.isfinite(of.log_ratio(1e5, pairs=pairs)).all()


def test_pairs_are_counted_in_either_order():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 4, (2, 50))
    found = pair_histogram(first, second, np.ones(50), 4)
    np.testing.assert_array_equal(found, pair_histogram(second, first, np.ones(50), 4))
    assert found.sum() == pytest.approx(1)
    assert found[0, 1, 2] == pytest.approx(
        ((first == 1) & (second == 2) | (first == 2) & (second == 1)).sum() / 100
    )


def trained(method=FAST, sample=None, **job):
    return method.train(Job(make_sample(2400) if sample is None else sample, "event", 1, **job))


@pytest.mark.parametrize("slices", [1, 3])
def test_the_table_in_the_graph_is_the_score_bit_for_bit(slices):
    method = FAST.model_copy(update={"slices": slices, "slice_by": "heavy_pt", "steps": 100})
    scorer = trained(method)
    number = len(scorer.inputs[0].columns)
    rng = np.random.default_rng(2)
    features = rng.uniform(-50, 1000, (300, number)).astype(np.float32)
    features[:100, :2] = 40 * np.round(features[:100, :2] / 40)  # on the edges
    features[100:104] = [[v] * number for v in (np.nan, np.inf, -np.inf, 0)]
    tagger = Tagger(scorer.model.SerializeToString(), "the graph")
    found = tagger.score({"features": features})
    np.testing.assert_array_equal(found, scorer.predict({"features": features}))
    assert np.isfinite(found).all()
    alone = np.concatenate([tagger.score({"features": row[None]}) for row in features[95:110]])
    np.testing.assert_array_equal(found[95:110], alone)


def test_the_score_does_not_know_which_jet_is_heavy():
    scorer = trained()
    masses = make_sample(200, seed=5).columns
    both = np.stack([masses["heavy_mass"], masses["light_mass"]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(
        scorer.predict({"features": both}), scorer.predict({"features": both[:, ::-1]})
    )


def test_the_card_says_how_far_the_starts_agree():
    scorer = trained(FAST.model_copy(update={"starts": 6, "steps": 100}))
    summary, history = scorer.summary, scorer.history
    assert len(history["areas of starts"]) == len(history["losses of starts"]) == 6
    assert summary["loss"] == min(history["losses of starts"])
    apart = np.abs(np.subtract(history["areas of starts"], summary["area of the best"])) > 0.05
    assert summary["starts that disagree"] == apart.sum()
    assert summary["good starts that disagree"] <= summary["good starts"] <= 6
    topics = history["topics"]
    assert np.sum(topics["p"], axis=1) == pytest.approx(np.ones(3))
    assert np.sum(topics["f"]) == pytest.approx(1)
    assert summary["common pair"] == topics["f"][0][0]
    assert summary["jets of the common topic"] == max(np.sum(topics["f"], axis=0))
    assert np.sum(topics["heavy"]) == pytest.approx(1)
    assert len(topics["edges"]) == 21
    assert len(scorer.seconds) == 1  # of filling the histogram: all that grows with the events


def with_columns(**columns):
    sample = make_sample(2400)
    return replace(sample, columns=dict(sample.columns) | columns)


def test_bad_input_is_one_clear_error():
    n = 2400
    for changed, message in (
        (
            {"heavy_mass": np.full(n, 80.0)},
            "heavy_mass is the same for all .*; choose another feature$",
        ),
        ({"light_mass": np.full(n, np.nan)}, "not finite for 2400 of 2400"),
        (
            {"heavy_mass": np.arange(n) * 1e-3, "light_mass": np.arange(n) * 1e-3},
            "100% of the events are in one pair of bins of mass",
        ),
    ):
        with pytest.raises(TrainingError, match=message):
            trained(sample=with_columns(**changed))
    sample = make_sample(60)
    with pytest.raises(TrainingError, match="60 events for 62 free numbers of 3 topics"):
        trained(sample=sample)
    with pytest.raises(TrainingError, match="negative or no numbers"):
        trained(sample=replace(make_sample(2400), weight=np.full(2400, -1.0)))
    window = MassRange(low=9000, high=9100)
    with pytest.raises(TrainingError, match="in the window 9000-9100"):
        trained(FAST.model_copy(update={"mass_window": True}), window=window)
    few = with_columns(heavy_pt=np.r_[np.full(n - 1, 500.0), 600.0].astype(np.float32))
    with pytest.raises(TrainingError, match=r"1 of 2 slices of heavy_pt hold no event"):
        trained(FAST.model_copy(update={"slices": 2, "slice_by": "heavy_pt"}), few)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError, match="above low"):
        FactorizedTopics(low=10, high=10)
    with pytest.raises(ValidationError, match="unlike needs topics: 3"):
        FactorizedTopics(pairs="unlike", topics=2)
    sample = make_sample(10)
    with pytest.raises(ConfigError, match="heavy_mass is one number of the event"):
        FactorizedTopics(feature="heavy_mass").check(sample, "event")
    with pytest.raises(ConfigError, match="eta is a number of each jet"):
        FactorizedTopics(slices=2, slice_by="eta").check(sample, "event")
    FactorizedTopics(slices=2).check(sample, "event")


def test_what_is_no_number_is_in_the_first_bin():
    edges = np.array([1, 2], np.float32)
    values = np.array([np.nan, -np.inf, np.inf, 1, 2], np.float32)
    assert bins_of(values, edges).tolist() == [0, 0, 2, 1, 2]
