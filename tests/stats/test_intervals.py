"""Feldman-Cousins intervals of spectra against the tables of physics/9711021."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats.background import Derivatives
from tnt_coffea.stats.cls import AsymptoticCls
from tnt_coffea.stats.intervals import _from_toys, asymptotic_interval
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.limit_results import IntervalResult
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0, max_parameters=3)
SETTINGS = {"mass": 3500.0, "width": 120.0, "fit": FIT}


@dataclass(frozen=True, eq=False)
class Known:
    """A background without a parameter."""

    events: np.ndarray
    parameters = 0

    def expected(self, phi):
        return np.broadcast_to(self.events, (*np.shape(phi)[:-1], len(self.events)))

    def evaluated(self, phi):
        nothing = np.zeros((*np.shape(phi)[:-1], len(self.events), 0))
        return Derivatives(
            self.expected(phi), nothing, lambda w: np.zeros((*np.shape(w)[:-1], 0, 0))
        )

    def movable(self, phi):
        return phi


def one_bin(observed, background):
    channel = Channel("all", np.array([observed]), np.ones(1), Known(np.array([background])))
    return AsymptoticCls({"known 0": (channel,)})


@pytest.mark.parametrize(
    ("x", "level", "low", "high"),
    [
        # physics/9711021, table X: a Gaussian mean that is not negative.
        (-3, 0.9, 0, 0.26), (-1, 0.6827, 0, 0.27), (-1, 0.9, 0, 0.81), (0, 0.6827, 0, 1.00),
        (0, 0.9, 0, 1.64), (0, 0.95, 0, 1.96), (0, 0.99, 0, 2.58), (1, 0.6827, 0.24, 2.00),
        (1, 0.9, 0, 2.64), (1, 0.95, 0, 2.96), (2, 0.6827, 1.00, 3.00), (2, 0.9, 0.58, 3.64),
        (2, 0.95, 0.35, 3.96), (3, 0.9, 1.37, 4.64), (3, 0.95, 1.14, 4.96),
    ],
)  # fmt: skip
def test_formulae_are_those_of_a_gaussian_mean(x, level, low, high):
    sigma = 1e5
    start = one_bin(sigma**2 + x * sigma, sigma**2)
    ends = asymptotic_interval(start, 1 - level)
    assert np.array(ends) / sigma == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize(
    ("n", "low", "high"),
    # physics/9711021, table IV (90 %), background of 3 events; its 1.08 for n = 0 is 0.95 before
    # upper ends are made to fall with b.
    [
        (2, 0, 3.04),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((0, 0, 0.95), (7, 0.89, 9.53), (10, 2.63, 13.50))
        ),
    ],
)
def test_toys_give_intervals_of_counts(n, low, high):
    start = one_bin(float(n), 3.0)
    random = np.random.default_rng(1)
    found = _from_toys(start, asymptotic_interval(start, 0.1), 0.1, 3000, random)
    # Where p falls in steps, a little less than toys know moves an end by a part of one.
    assert found.ends == pytest.approx((low, high), abs=0.1)


def test_interval_goes_over_from_a_limit_to_two_sides(toy_spectrum):
    nothing, signal = (
        stats.feldman_cousins_interval(toy_spectrum(3000, s, 37), toys=0, **SETTINGS)
        for s in (0, 200)
    )
    assert nothing.low == 0
    assert 100 < signal.low < signal.mu_hat < signal.high < 320
    # ln L is a parabola there: 1.96 standard deviations on both sides.
    hunt = stats.bump_hunt(toy_spectrum(3000, 200, 37), toys=0, **SETTINGS)
    assert signal.high - signal.low == pytest.approx(2 * 1.96 * hunt.mu_uncertainty, rel=0.05)
    assert signal.converged
    assert IntervalResult.from_dict(json.loads(json.dumps(signal.to_dict()))) == signal


@pytest.mark.slow
def test_sparse_spectra_take_toys_and_say_how_well_the_ends_are_known(toy_spectrum):
    settings = SETTINGS | {"toys": 60}
    found = stats.feldman_cousins_interval(toy_spectrum(60, 0, 7), **settings)
    again = stats.feldman_cousins_interval(toy_spectrum(60, 0, 7), seed=2, **settings)
    assert (found.calibration, found.toys) == ("toys", 60)
    assert 0 < found.high_uncertainty < 0.3 * found.high
    spread = np.hypot(found.high_uncertainty, again.high_uncertainty)
    assert abs(found.high - again.high) < 3 * spread
    assert f"{found.high:.4g} +- {found.high_uncertainty:.2g} signal events" in found.summary()
    formulae = stats.feldman_cousins_interval(toy_spectrum(60, 0, 7), **SETTINGS | {"toys": 0})
    assert any("ask for toys" in note for note in formulae.notes)


def test_too_few_toys_are_refused(toy_spectrum):
    with pytest.raises(FitError, match="18 toys know no p-value"):
        stats.feldman_cousins_interval(toy_spectrum(500, 0, 39), toys=18, **SETTINGS)


@pytest.mark.slow
def test_intervals_of_spectra_cover(toy_spectrum):
    inside = []
    for seed in range(60):
        found = stats.feldman_cousins_interval(
            toy_spectrum(100, 6, seed), mass=3500.0, width=120.0, fit=FIT, level=0.9, toys=150
        )
        inside.append(found.low <= 6 <= found.high)
    # 90 % of 60 are 54 +- 2.3; discrete counts cover more.
    assert sum(inside) >= 48
