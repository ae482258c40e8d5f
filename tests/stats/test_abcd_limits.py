from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyhf
import pytest
from scipy.optimize import brentq
from scipy.stats import poisson

from tnt_coffea.errors import FitError
from tnt_coffea.stats import AbcdLimit, AbcdResult, LimitRefusal, abcd, abcd_limit, counting_limit
from tnt_coffea.stats.abcd_likelihood import prepared_abcd, tied_counts_q0
from tnt_coffea.stats.abcd_limits import AsymptoticAbcd, limit_or_reason
from tnt_coffea.stats.abcd_profile import AbcdModel
from tnt_coffea.stats.abcd_regions import plane_counts


def stock_limits(a, b, c, d, systematic, leakage):
    """Return the limits of a model of stock modifiers, anchored at A, by pyhf's own search."""

    def channel(name, nominal, ties, signal, *more):
        ties = [{"name": tie, "type": "normfactor", "data": None} for tie in ties]
        poi = [{"name": "mu", "type": "normfactor", "data": None}]
        return {
            "name": name,
            "samples": [
                {"name": "background", "data": [nominal], "modifiers": [*ties, *more]},
                {"name": "signal", "data": [signal], "modifiers": poi},
            ],
        }

    effect = {"hi": 1 + systematic, "lo": 1 / (1 + systematic)}
    closure = {"name": "closure", "type": "normsys", "data": effect}
    in_b, in_c, in_d = leakage
    bounded = [{"name": n, "bounds": [[1e-6, 10.0]]} for n in ("all", "r_b", "r_c")]
    spec = {
        "channels": [
            channel("A", b * c / d, ("all",), 1.0, closure),
            channel("B", b, ("all", "r_b"), in_b),
            channel("C", c, ("all", "r_c"), in_c),
            channel("D", d, ("all", "r_b", "r_c"), in_d),
        ],
        "parameters": [{"name": "mu", "inits": [10.0], "bounds": [[0.0, 1000.0]]}, *bounded],
    }
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", "minuit")
    try:
        model = pyhf.Model(spec, poi_name="mu", validate=False)
        data = [a, b, c, d, *model.config.auxdata]
        observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(
            data, model, rtol=1e-3, test_stat="qtilde"
        )
    finally:
        pyhf.set_backend(*before)
    return float(observed), [float(one) for one in expected]


# Counts, systematic, leakage, and what pyhf.infer.intervals.upper_limits gives (0.7.6).
STOCK = [
    (
        (130, 1000, 1000, 10_000),
        0.1,
        (0.5, 0.5, 0.2),
        61.136,
        (18.986, 25.345, 34.932, 48.248, 64.343),
    ),
    ((20, 100, 50, 500), 0.03, (0, 0, 0), 18.791, (4.6268, 6.3436, 9.1043, 13.297, 18.922)),
]


@pytest.mark.parametrize(("counts", "systematic", "leakage", "observed", "expected"), STOCK)
def test_limits_are_those_of_stock_pyhf(counts, systematic, leakage, observed, expected):
    found = abcd_limit(*counts, systematic=systematic, leakage=leakage)
    assert found.converged, found.notes
    assert found.calibration == "asymptotic"
    assert found.observed == pytest.approx(observed, rel=1e-3)
    assert found.expected == pytest.approx(expected, rel=2e-3)
    assert found.cls == pytest.approx(0.05, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "systematic", "leakage", "observed", "expected"), STOCK)
def test_stock_pyhf_gives_these_limits(counts, systematic, leakage, observed, expected):
    again = stock_limits(*counts, systematic, leakage)
    assert again[0] == pytest.approx(observed, rel=1e-3)
    assert again[1] == pytest.approx(expected, rel=1e-3)


def test_nothing_seen_and_expected_excludes_three_events():
    found = abcd_limit(0, 1000, 1000, 1e9)
    assert found.calibration == "toys"
    assert found.observed == pytest.approx(2.9957, abs=4 * found.uncertainty)
    assert found.uncertainty < 0.02 * found.observed
    assert found.expected[0] <= found.expected[4] < 3.2


def test_a_known_background_gives_the_limit_of_a_count():
    # B C / D is 0.5 to 1 %: a Poisson law, but fluctuations of B and C rank the toys that have 3
    # events in A, too, and one half of them counts as further from the signal than the data.
    found = abcd_limit(3, 50_000, 50_000, 5e9, systematic=0.0)

    def below(mean):
        return 0.5 * (poisson.cdf(3, mean) + poisson.cdf(2, mean))

    exact = brentq(lambda mu: below(0.5 + mu) / below(0.5) - 0.05, 1, 20)
    assert found.observed == pytest.approx(exact, abs=4 * found.uncertainty)
    assert found.observed < counting_limit(3, 0.5)


@pytest.mark.slow
def test_toys_agree_with_the_formula_where_it_holds():
    formula = abcd_limit(110, 1000, 1000, 10_000)
    toys = abcd_limit(110, 1000, 1000, 10_000, toys=600)
    assert toys.observed == pytest.approx(
        formula.observed, abs=4 * toys.uncertainty + 0.02 * formula.observed
    )
    assert toys.expected == pytest.approx(formula.expected, rel=0.1)


def test_bands_rise_and_the_same_seed_gives_the_same():
    found = abcd_limit(4, 20, 30, 500, toys=300)
    assert list(found.expected) == sorted(found.expected)
    assert found == abcd_limit(4, 20, 30, 500, toys=300)
    again = AbcdLimit.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert "they know the observed limit to" in found.summary()


def test_uncertainty_and_leakage_weaken_a_limit():
    plain = abcd_limit(100, 1000, 1000, 10_000, systematic=0.0).observed
    assert abcd_limit(100, 1000, 1000, 10_000, systematic=0.3).observed > 1.5 * plain
    assert abcd_limit(100, 1000, 1000, 10_000, systematic=0.0, leakage=(1, 1, 0)).observed > plain


def test_deficit_below_the_band_is_noted():
    found = abcd_limit(60, 1000, 1000, 10_000)
    assert found.mu_hat == 0
    assert any("below the expected one at -2" in note for note in found.notes)


def test_no_more_than_a_share_of_limits_lies_below_the_truth():
    # A limit lies below 20 events where CLs of 20 is less than 5 %.
    random, below, experiments = np.random.default_rng(4), 0, 300
    for counts in random.poisson([120, 1000, 1000, 10_000], size=(experiments, 4)):
        prepared = prepared_abcd(tuple(map(float, counts)), 0.0, 1.0, (0.0, 0.0, 0.0), 1, None)
        below += AsymptoticAbcd(prepared).ln_cls(20.0)[0] < np.log(0.05)
    assert below <= experiments * (0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments))
    assert below > 0


def test_a_plane_without_a_limit_says_why(tmp_path):
    import hist

    plane = hist.Hist(hist.axis.Regular(10, 0, 1), hist.axis.Regular(10, 0, 1))
    plane.fill(*np.random.default_rng(2).random((2, 20_000)))
    counts = plane_counts(plane, 0.9, 0.4)
    assert isinstance(limit_or_reason(counts, level=0.95), AbcdLimit)
    refused = limit_or_reason(counts, level=0.95, toys=3)
    assert isinstance(refused, LimitRefusal)
    result = replace(abcd(*counts.regions, counts=counts), limit=refused)
    assert "3 toys know no p-value" in result.summary()
    assert AbcdResult.from_dict(result.to_dict()) == result


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 1.0}, {"level": None}, {"level": 0.3}, {"toys": -1}, {"toys": 1.5},
        {"toys": 5}, {"seed": None}, {"systematic": -1}, {"leakage": (5, 5, 0)},
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(FitError, match=next(iter(wrong))):
        abcd_limit(130, 1000, 1000, 10_000, **wrong)


@pytest.mark.parametrize("leakage", [(0.0, 0.0, 0.0), (0.2, 0.1, 0.5)])
def test_profile_at_no_signal_is_the_closed_form(leakage):
    random = np.random.default_rng(1)
    counts = random.poisson([3, 30, 40, 400], size=(200, 4)).astype(float)
    centres = random.normal(size=200)
    model = AbcdModel(1.0, np.log(1.1), leakage)
    q0, fitted = tied_counts_q0(counts, 1.0, model.sigma, centres)
    null, best = model.at(counts, centres, 0.0), model.best(counts, centres)
    assert null.converged.all()
    np.testing.assert_allclose(null.background, fitted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(2 * (null.nll - best.nll) * (best.mu > 0), q0, atol=1e-6)
    # At the maximum, signal and background add up to the counts.
    excess = best.mu > 0
    assert excess.any()
    total = best.background + best.mu[:, None] * model.signal
    np.testing.assert_allclose(total[excess], counts[excess], atol=1e-6)


def test_profile_is_the_least_over_all_backgrounds():
    # By hand: at mu = 2 and no nuisance, over a fine grid of the three backgrounds.
    counts, mu, signal = np.array([3.0, 8.0, 6.0, 20.0]), 2.0, np.array([1.0, 0.5, 0.2, 0.0])
    grid = np.meshgrid(*(np.linspace(low, high, 61) for low, high in ((3, 13), (2, 10), (12, 28))))
    b, c, d = (axis[..., None] for axis in grid)
    mean = np.concatenate([b * c / d, b, c, d], axis=-1) + mu * signal
    nll = (mean - counts + counts * np.log(counts / mean)).sum(axis=-1)
    found = AbcdModel(1.0, 0.0, (0.5, 0.2, 0.0)).at(counts[None], np.zeros(1), mu)
    assert found.nll[0] == pytest.approx(nll.min(), abs=3e-3)
    assert found.nll[0] <= nll.min()


def test_a_factor_on_all_weights_is_one_on_the_limit():
    import hist

    random = np.random.default_rng(2)
    axes = [hist.axis.Regular(10, 0, 1), hist.axis.Regular(10, 0, 1)]
    plane = hist.Hist(*axes, storage=hist.storage.Weight()).fill(*random.random((2, 20_000)))
    plain = plane_counts(plane, 0.9, 0.4)
    plane.view().value *= 0.5
    plane.view().variance *= 0.25
    weighted = plane_counts(plane, 0.9, 0.4)
    assert weighted.weighted
    limits = [abcd_limit(*counts.regions, counts=counts) for counts in (plain, weighted)]
    assert limits[1].observed == pytest.approx(0.5 * limits[0].observed, rel=1e-4)
    assert limits[1].expected == pytest.approx([0.5 * one for one in limits[0].expected], rel=1e-4)
    assert limits[1].cls == pytest.approx(0.05, abs=1e-4)
