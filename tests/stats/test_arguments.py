"""Wrong arguments of every test of spectra: one clear line each."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=80.0)
ONE = {"mass": 3500.0, "width": 120.0, "fit": FIT}
MANY = {"masses": [3300.0, 3500.0], "width": 120.0, "fit": FIT}
TESTS = {
    stats.bump_hunt: ONE | {"toys": 0, "seed": 1},
    stats.upper_limit: ONE
    | {"toys": 0, "seed": 1, "level": 0.95, "efficiency": 0.1, "luminosity": 1.0},
    stats.feldman_cousins_interval: ONE | {"toys": 0, "seed": 1, "level": 0.95},
    stats.nuisance_impacts: ONE,
    stats.scan: MANY | {"toys": 0, "seed": 1},
    stats.limit_band: MANY | {"level": 0.95},
    stats.masked_window_test: {"window": (3320.0, 3720.0), "fit": FIT, "seed": 1},
}
WRONG = {
    "mass": (None, "x", True, np.nan, np.inf, -1, 0, [3500]),
    "masses": (None, "x", 3500, [], [3500, 3300], [3300, np.nan], [None], ["x"]),
    "width": (None, "x", True, np.nan, np.inf, -1, 0),
    "fit": (None, "x", {}, (2600, 7000)),
    "level": (None, "x", True, np.nan, 0.5, 1, 95),
    "efficiency": ("x", True, np.nan, 0, 1.5),
    "luminosity": ("x", True, np.inf, -1),
    "toys": ("x", True, 1e20, 10**20, -1, 1.5, np.nan),
    "seed": (None, "x", True, -1, 1.5),
    "window": (None, "x", (3720.0, 3320.0), (3320.0, np.nan)),
}


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_wrong_arguments_are_named(test, toy_spectrum):
    spectrum, good = toy_spectrum(800, 0, 90), TESTS[test]
    for name in good:
        for wrong in WRONG[name]:
            with pytest.raises(FitError, match="mass" if name == "masses" else name) as refused:
                test(spectrum, **good | {name: wrong})
            assert "\n" not in str(refused.value)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
@pytest.mark.parametrize(
    "wrong", [None, 5, "x", [], {}, [1.0, 2.0], np.zeros(5), {"a": None}, {"a": "x"}], ids=repr
)
def test_what_is_no_histogram_is_refused(test, wrong):
    with pytest.raises(FitError, match=r"expected a histogram|no channel|no selection"):
        test(wrong, **TESTS[test])


def test_masses_may_come_from_a_generator(toy_spectrum):
    masses = (mass for mass in MANY["masses"])
    found = stats.scan(toy_spectrum(800, 0, 90), toys=0, **MANY | {"masses": masses})
    assert [point.mass for point in found.points] == MANY["masses"]
