from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.blinding import prepared
from tnt_coffea.stats.model import chosen_function
from tnt_coffea.stats.spurious import spurious_signal

EDGES = np.arange(2600.0, 5001.0, 100.0)
FIT = stats.SpectrumFit((2600.0, 5000.0), min_parameters=3, max_parameters=3)
TWO = replace(FIT, min_parameters=2, max_parameters=2)
AT_3500 = {"mass": 3500.0, "width": 120.0}


@pytest.fixture(scope="module")
def spectrum():
    return stats.toy_spectrum(50_000, edges=EDGES)


def test_a_fit_is_unbiased_on_its_own_function(spectrum):
    done = []
    study = stats.bias_study(
        spectrum, fit=FIT, truths=["dijet 3"], strengths=[0, 2, 5], toys=300,
        progress=lambda n, total: done.append((n, total)), **AT_3500,
    )  # fmt: skip
    assert done[0] == (0, 900)
    assert done[-1] == (900, 900)
    (truth,) = study.truths
    assert truth.slope == pytest.approx(1, abs=4 * truth.slope_error)
    assert truth.offset == pytest.approx(0, abs=4 * truth.offset_error)
    # Of a straight line through points of known errors.
    x, w = ([p.injected for p in truth.points], [p.fitted_error**-2 for p in truth.points])
    spread = np.average(np.square(x), weights=w) - np.average(x, weights=w) ** 2
    assert truth.slope_error == pytest.approx((sum(w) * spread) ** -0.5)
    for point in truth.points:
        assert point.toys == 300
        assert abs(point.pull) < 4 * point.pull_error
        assert abs(point.pull_width - 1) < 4 * point.pull_width_error
        # Binomial errors of 300 toys.
        assert point.covers_68 == pytest.approx(0.683, abs=4 * 0.027)
        assert point.covers_95 == pytest.approx(0.95, abs=4 * 0.0126)
    assert truth.points[0].p_below_5_percent == pytest.approx(0.05, abs=4 * 0.0126)
    assert truth.points[2].p_below_5_percent > 0.95
    # The strength is that of the fits: their spread is the unit.
    assert study.uncertainty == pytest.approx(truth.points[0].fitted_error * 300**0.5, rel=0.2)


@pytest.mark.slow
def test_the_pull_of_a_wrong_function_is_its_spurious_signal(spectrum):
    study = stats.bias_study(
        spectrum, fit=TWO, truths=["exponential 3"], strengths=[0], toys=200, **AT_3500
    )
    (truth,) = study.truths
    assert truth.slope is None
    (point,) = truth.points
    # The same truth without fluctuations, by the code of the gate.
    beside = prepared(spectrum, [TWO.signal(3500, 120)], TWO, study.window)
    own = replace(FIT, family="exponential")
    built = chosen_function(beside.data[0], beside.seen[0], own)
    fitted, _ = engine.fitted_background(built, beside.data[0].counts, beside.seen[0])
    mean = fitted.expected(np.zeros(fitted.parameters))
    functions = beside.models[0].functions
    spurious = spurious_signal(functions, [mean], "exponential", study.uncertainty)
    assert abs(spurious.relative) > 1
    assert point.fitted == pytest.approx(spurious.events, abs=4 * point.fitted_error)
    assert point.pull == pytest.approx(spurious.relative, abs=0.3)
    assert point.covers_68 < 0.5


@pytest.mark.slow
def test_functions_chosen_anew_are_those_of_the_data_where_there_is_no_choice(spectrum):
    common = {"fit": FIT, "truths": ["power_law"], "strengths": [0, 3], "toys": 30, **AT_3500}
    kept, anew = (stats.bias_study(spectrum, rechoose=r, **common) for r in (False, True))
    assert kept.truths == anew.truths
    assert anew.rechoose
    assert "chosen anew" in anew.summary()


def test_every_family_is_a_truth_and_nothing_of_the_window_is_used(spectrum):
    common = {"fit": replace(FIT, max_parameters=4), "strengths": [0], "toys": 5, **AT_3500}
    studies = []
    for events in (1, 3):
        changed = spectrum.copy()
        changed.view()[7:10] = changed.view()[7:10] * events
        changed.view().variance = changed.view().value
        studies.append(stats.bias_study(changed, **common))
    families = [truth.function.rpartition(" ")[0] for truth in studies[0].truths]
    assert families == ["dijet", "exponential", "power_law", "bernstein"]
    assert studies[0].window == (3260.0, 3740.0)
    assert studies[0] == studies[1]
    seen = stats.bias_study(spectrum, window=None, **common)
    assert seen.window is None
    assert seen != replace(studies[0], window=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"toys": 1}, "toys is 1, expected 2 or more"),
        ({"toys": True}, "toys is True"),
        ({"toys": 2.5}, "toys is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"strengths": []}, "one strength or more"),
        ({"strengths": [-1]}, "one of strengths is -1"),
        ({"strengths": [None]}, "one of strengths is None"),
        ({"strengths": [1, 1.0]}, "not all different"),
        ({"truths": "dijet"}, "a list of families"),
        ({"truths": ["wavelet"]}, "'wavelet' is no background family"),
        ({"truths": ["dijet 9"]}, "dijet exists in 2, 3, 4, 5, 6 parameters, not in 9"),
    ],
)
def test_wrong_arguments_are_named(spectrum, changes, message):
    with pytest.raises(FitError, match=message):
        stats.bias_study(spectrum, **AT_3500 | {"fit": FIT, "toys": 5} | changes)
