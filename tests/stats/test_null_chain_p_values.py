"""p-values from null chains: uniform where they count, the width of their tail beyond."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats import CountedTests, global_p_value
from tnt_coffea.stats.calibration import from_null_chains


def folded(width: float, chains: int, seed: int) -> list[float]:
    """q0 of a test whose Z is a normal number of some width, cut off at 0."""
    z = width * np.random.default_rng(seed).normal(size=chains)
    return (np.maximum(z, 0.0) ** 2).tolist()


def test_every_chain_among_the_others_has_a_uniform_p_value() -> None:
    chains = folded(1.4, 199, 1)
    p = np.array(
        [from_null_chains(q0, chains[:i] + chains[i + 1 :]).p_value for i, q0 in enumerate(chains)]
    )
    # Ranks among 199: (k + 1) / 199 of the k-th largest, whatever the width.
    assert np.sort(p)[:60] == pytest.approx(np.arange(1, 61) / 199)
    # The asymptotic formula says it far too often, as Z is too wide.
    asymptotic = norm.sf(np.sqrt(chains))
    assert (p < 0.02).sum() <= 4 < (asymptotic < 0.02).sum()


@pytest.mark.parametrize("width", [1.0, 1.3])
def test_the_tail_beyond_the_chains_has_their_width(width: float) -> None:
    found = from_null_chains(25.0, folded(width, 5000, 2))
    assert found.width == pytest.approx(width, abs=0.06)  # 500 values above a start: 3 %, twice
    # ln p changes by Z^2 / width^2 x relative error of the width: 25 x 3 % / width^2, twice.
    assert abs(np.log(found.p_value / norm.sf(5 / width))) < 1.5
    assert found.uncertainty > 0.2 * found.p_value
    few = from_null_chains(25.0, folded(width, 150, 2))
    assert (few.width, few.p_value) == (None, pytest.approx(1 / 151))


def test_a_scan_takes_p_values_from_null_chains() -> None:
    fit = stats.SpectrumFit((2600, 7000), bin_width=40, max_parameters=3, spurious=False)
    spectrum = stats.toy_spectrum(5000, 60)
    rng = np.random.default_rng(3)
    q0 = {("all", m): tuple(rng.chisquare(1, 99).tolist()) for m in (3300.0, 3500.0)}
    found = stats.scan(spectrum, masses=[3300, 3500], width=120, fit=fit, null_chains=q0)
    best = found.best_point
    chains = np.array([q0["all", 3300.0], q0["all", 3500.0]])
    reached = int((chains.max(axis=0) >= best.q0).sum())
    assert found.p_global == pytest.approx((reached + 1) / 100)
    local = int((chains[int(best.mass == 3500)] >= best.q0).sum())
    assert best.p_local == pytest.approx((local + 1) / 100)
    assert (best.calibration, found.toys) == ("null chains", 99)
    assert "from 99 whole searches of background, with taggers trained anew" in found.summary()
    assert stats.ScanResult.from_dict(found.to_dict()) == found
    # Where one test is not among them, toys are thrown.
    del q0["all", 3300.0]
    toys = stats.scan(spectrum, masses=[3300, 3500], width=120, fit=fit, null_chains=q0, toys=9)
    assert (toys.experiments, toys.toys) == ("toys", 9)


def test_a_global_p_value_counts_every_test() -> None:
    one = [CountedTests("tnt", 0.01)]
    assert global_p_value(one).p_value == 0.01
    assert not global_p_value(one).is_bound
    useless = global_p_value([*one, CountedTests("useless", 0.9)])
    assert (useless.p_value, useless.is_bound, useless.best) == (0.02, True, "tnt")
    looked = global_p_value(one, other_tests=3)
    assert looked.p_value == pytest.approx(0.04)
    assert "at most 0.04" in looked.text()
    assert global_p_value([CountedTests("tnt", 0.5)] * 3).p_value == 1.0
    with pytest.raises(FitError, match="no test was made"):
        global_p_value([])
