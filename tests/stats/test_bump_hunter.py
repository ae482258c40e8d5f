from __future__ import annotations

import json

import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats.bumps.bump_hunter import BumpHunterResult, bump_hunter_check
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0)
RANGE = {"fit": FIT, "toys": 100}

pytest.importorskip("pyBumpHunter", reason="pyBumpHunter is not installed")


def test_signal_is_found_where_it_is(toy_spectrum):
    found = bump_hunter_check(toy_spectrum(5000, 400, 95), **RANGE)
    assert found.low < 3500 < found.high
    assert found.p_global == pytest.approx(1 / 101)
    assert found.events > found.expected
    assert BumpHunterResult.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "taken as exact" in found.summary()


def test_background_is_no_signal(toy_spectrum):
    found = bump_hunter_check(toy_spectrum(5000, 0, 96), **RANGE)
    assert found.p_global > 0.05
    assert np.isfinite(found.p_local)


def test_widths_must_fit_the_spectrum(toy_spectrum):
    with pytest.raises(FitError, match="widths must satisfy"):
        bump_hunter_check(toy_spectrum(5000, 0, 97), widths=(5, 500), **RANGE)
