"""Scores that are ranked among events of the same mass."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import linprog

from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.errors import TaggerError
from tnt_coffea.taggers import TaggerSet
from tnt_coffea.taggers.mass_dependence import MassDependence, QuantileCurve
from tnt_coffea.testing import make_sample, tagger_set, train
from tnt_coffea.training.methods import METHODS
from tnt_coffea.training.methods.feature import EventFeature
from tnt_coffea.training.methods.norm import EventNorm

WINDOW, FIT_RANGE = MassRange(low=3300, high=3700), MassRange(low=2600, high=7000)


def following(events, seed):
    """Scores whose median and width follow the mass; masses [GeV] that fall exponentially."""
    rng = np.random.default_rng(seed)
    mass = 2600 + rng.exponential(800, events)
    u = np.log(mass / 2600)
    return 7 + 3 * u**2 + (0.2 + u) * rng.gamma(3, size=events), mass


@pytest.fixture(scope="module")
def dependence():
    return MassDependence.of(*following(20_000, 1))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03, 0.01])
def test_a_cut_keeps_the_same_share_of_other_events_at_every_mass(dependence, share):
    score, mass = following(40_000, 2)
    flat = dependence.applied(score, mass)
    kept = flat > np.quantile(flat, 1 - share)
    followed = score > np.quantile(score, 1 - share)
    shares = []
    for low, high in pairwise(np.quantile(mass, [*np.linspace(0, 0.9, 10), 1])):
        inside = (mass >= low) & (mass <= high)
        # Of both samples together, the curve being as uncertain as some eighths of the events.
        error = np.sqrt(3 * share * (1 - share) / inside.sum())
        assert abs(kept[inside].mean() - share) < 4 * error
        shares.append(followed[inside].mean())
    assert max(shares) > 3 * share or share == 0.5


def test_the_order_of_events_of_one_mass_stays(dependence):
    score, _ = following(500, 3)
    for mass in (2000.0, 2600.0, 3500.0, 1e5):
        flat = dependence.applied(score, np.full(500, mass))
        np.testing.assert_array_equal(np.argsort(flat), np.argsort(score))
        assert np.isfinite(flat).all()


@pytest.mark.parametrize("share", [0.16, 0.5, 0.84])
def test_the_curve_is_the_quantile_regression(share):
    """Against the linear programme: a smaller loss there is not."""
    score, mass = following(300, 4)
    curve = QuantileCurve.of(score, mass, share)
    n, k = len(score), len(curve.knots)
    tents = np.stack([np.interp(mass, curve.knots, tent) for tent in np.eye(k)], axis=1)
    cost = np.concatenate([np.zeros(k), np.full(n, share), np.full(n, 1 - share)])
    equal = np.hstack([tents, np.eye(n), -np.eye(n)])
    bounds = [(None, None)] * k + [(0, None)] * (2 * n)
    best = linprog(cost, A_eq=equal, b_eq=score, bounds=bounds).fun
    left = score - tents @ curve.values
    assert np.maximum(share * left, (share - 1) * left).sum() < 1.01 * best


def test_few_events_have_fewer_curves(dependence):
    assert [curve.level for curve in dependence.curves] == [0.5, 0.9, 0.97, 0.99]
    few = MassDependence.of(*following(200, 5))
    assert [curve.level for curve in few.curves] == [0.5, 0.9]


@pytest.mark.parametrize(
    ("score", "mass", "message"),
    [
        (np.ones(400), np.arange(400.0), "most events have the same score"),
        (np.arange(9.0), np.arange(9.0), "9 events show how a score follows the mass"),
        (np.zeros(0), np.zeros(0), "0 events"),
    ],
)
def test_scores_that_leave_nothing_are_refused(score, mass, message):
    with pytest.raises(TaggerError, match=message):
        MassDependence.of(score, mass)


def test_a_score_that_is_the_mass_stays_finite():
    mass = np.linspace(2600.0, 6000.0, 1000)
    assert np.isfinite(MassDependence.of(mass, mass).applied(mass, mass)).all()


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    sample = make_sample(4000, 0.1)
    method = EventFeature(feature="heavy_mass + m_jj")
    config = SearchConfig.model_validate({"train": {"methods": {"flat": method}}})
    outcomes = train(sample, config, tmp_path_factory.mktemp("flat"))["flat"]
    return sample, tagger_set("flat", outcomes, config, decorrelate=True)


def test_a_set_ranks_events_among_those_of_the_same_mass(flat, tmp_path):
    sample, found = flat
    made = found.calibrated(sample, FIT_RANGE, (0.1,), window=WINDOW)
    plain = replace(found, decorrelate=False).calibrated(sample, FIT_RANGE, (0.1,))
    beside = FIT_RANGE.contains(sample.m_jj) & ~WINDOW.contains(sample.m_jj)
    high = beside & (sample.m_jj > 3700)
    for each, follows in ((plain, True), (made, False)):
        kept = each.ranks(sample).both > 0.9
        ratio = kept[high].mean() / kept[beside & ~high].mean()
        assert bool(ratio > 2) is follows
        assert follows or abs(np.log(ratio)) < 0.4
    made.save(tmp_path / "flat")
    loaded = TaggerSet.load(tmp_path / "flat")
    assert loaded.decorrelate
    some = np.arange(0, 4000, 7)
    np.testing.assert_array_equal(
        loaded.ranks(sample.select(some)).both, made.ranks(sample).both[some]
    )


def test_events_in_the_window_have_no_part_in_it(flat):
    sample, found = flat
    inside = WINDOW.contains(sample.m_jj)
    made = {}
    for name, where in (("same", np.zeros(4000, bool)), ("in", inside), ("out", ~inside)):
        mass = sample.columns["heavy_mass"] * np.where(where, 0.5, 1).astype("f4")
        changed = replace(sample, columns=dict(sample.columns) | {"heavy_mass": mass})
        calibrated = found.calibrated(changed, FIT_RANGE, (), window=WINDOW)
        of_fold = calibrated.quantiles.dependences[0]
        made[name] = next(iter(of_fold.values())).to_list()
    assert made["in"] == made["same"] != made["out"]


def test_a_map_without_its_curves_is_refused(flat):
    sample, found = flat
    made = found.calibrated(sample, FIT_RANGE, ())
    with pytest.raises(TaggerError, match="train again"):
        replace(made, quantiles=replace(made.quantiles, dependences={}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("norm", "scores of heavy and light jets, and only a score of the event"),
        ("dctr", "scores of weights"),
    ],
)
def test_settings_that_cannot_be_decorrelated_are_refused(kind, message):
    with pytest.raises(ValidationError, match=message):
        METHODS[kind](decorrelate=True)


def test_settings_without_it_are_stored_as_before():
    assert "decorrelate" not in EventNorm().model_dump()
    assert EventNorm().digest() != EventNorm(decorrelate=True).digest()
    methods = {"plain": EventNorm(), "flat": EventNorm(decorrelate=True)}
    config = SearchConfig.model_validate({"train": {"methods": methods}})
    assert SearchConfig.from_text(config.to_yaml()) == config  # with every default written out
