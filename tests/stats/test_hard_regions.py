"""No score plane, scan or workspace makes a method hang, or gives a silent NaN."""

from __future__ import annotations

import json
from dataclasses import replace

import hist
import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import (
    SharedEvents,
    WorkingPoint,
    WorkingPoints,
    abcd,
    abcd_counts,
    abcd_in_window,
    bump_workspace,
    closure,
    closure_scan,
    masked_window_test,
    mass_patchset,
    paper_significance,
    scan,
)
from tnt_coffea.stats.spectrum_fit import SpectrumFit

pytestmark = pytest.mark.usefixtures("time_bound")

X = WorkingPoint.at({0: 0.7, 1: 0.75}, 0.08)
FIT, WINDOW = (2600.0, 7000.0), (3300.0, 3700.0)
EDGES = [0.0, 0.2, 0.4, 0.7, 0.75, 0.9, 1.0]
SPECTRUM = SpectrumFit(FIT, bin_width=40.0)
SETTINGS = {"width": 120.0, "fit": SPECTRUM}


def in_window(plane):
    return abcd_in_window(plane, X, 0.4, FIT, WINDOW, closure_limit=5.0, toys=100)


def beside(plane):
    return closure(plane, X, 0.4, FIT, WINDOW)


def over_efficiencies(plane):
    return closure_scan(plane, WorkingPoints((X,)), 0.4, FIT, WINDOW, [0.9])


def counted(plane):
    return abcd_counts(plane, X, 0.4, WINDOW)


PLANE_TESTS = (in_window, beside, over_efficiencies, counted)


@pytest.fixture
def plane():
    random = np.random.default_rng(7)
    n = 4000
    axes = [hist.axis.Variable(EDGES, name=f"q_{jet}", flow=False) for jet in ("heavy", "light")]
    histogram = hist.Hist(
        hist.axis.IntCategory([0, 1], name="fold"),
        hist.axis.Regular(300, 2000, 8000, name="m_jj"),
        *axes,
        storage=hist.storage.Weight(),
    )
    m_jj = 2600 + random.exponential(550, size=n)
    return histogram.fill(random.integers(0, 2, n), m_jj, *random.random((2, n)))


def answered(test, data):
    """Return a result's JSON, which holds no NaN, or the reason why there is none."""
    try:
        result = test(data)
    except FitError as error:
        return str(error)
    values = [part if isinstance(part, dict) else part.to_dict() for part in np.atleast_1d(result)]
    return json.dumps(values, allow_nan=False)


# Bins of the plane (fold, m_jj, heavy, light), and what they are set to.
EVERYWHERE = (slice(None),) * 4
NO_D = (slice(None), slice(None), slice(0, 2), slice(0, 2))
NO_A = (slice(None), slice(None), slice(3, None), slice(3, None))


@pytest.mark.parametrize("test", PLANE_TESTS)
@pytest.mark.parametrize(
    ("bins", "value"),
    [
        (EVERYWHERE, 0.0),
        (NO_D, 0.0),
        (NO_A, 0.0),
        ((0, 75, 1, 1), np.nan),
        ((0, 75, 5, 5), np.inf),
        ((0, slice(70, 80)), -3.0),
        ((0, 70, 5, 5), -1.0),
    ],
)
def test_every_test_of_the_plane_answers_or_refuses(test, bins, value, plane):
    plane.view().value[bins] = value
    words = answered(test, plane)
    if not np.isfinite(value) and test is not beside:  # the bins are in the window
        assert "inite" in words or "must hold counts" in words
    if bins is NO_D:
        assert "D is empty" in words or test is counted
    assert "NaN" not in words


@pytest.mark.parametrize("test", PLANE_TESTS)
@pytest.mark.parametrize("place", [(0, 75, 1, 1), (1, 75, 5, 5), (0, 20, 5, 1)])
def test_one_event_is_too_few(test, place, plane):
    plane.reset()
    plane.view().value[place] = plane.view().variance[place] = 1
    words = answered(test, plane)
    assert "empty" in words or test is counted


def test_events_on_the_diagonal_leave_no_control_region(plane):
    heavy, light = np.indices((6, 6))
    plane.view().value[..., heavy != light] = 0
    assert "B and C are empty by construction" in in_window(plane).reason


def test_weights_are_noted_and_negative_sums_refused(plane):
    assert not any("weighted" in note for note in in_window(plane).notes)
    plane.view().value *= 0.5
    plane.view().variance *= 0.25
    assert any("weighted" in note for note in in_window(plane).notes)
    plane.view().value[:, 65:85, 3:, 3:] = -1
    with pytest.raises(FitError, match=r"3300-3700 GeV: .* counts, 0 or more"):
        in_window(plane)


@pytest.mark.parametrize("counts", [(0, 10, 10, 10), (1, 1, 1, 1), (1e5, 1, 1, 1), (1e9,) * 4])
def test_extreme_counts_have_an_answer(counts):
    result = abcd(*counts)
    json.dumps(result.to_dict(), allow_nan=False)
    assert result.converged or sum(counts) > 2e9, result.notes
    assert (result.z_asymptotic > 4) == (counts[0] == 1e5)


WRONG = {
    "a": (None, "x", True, np.nan, -1, [1]),
    "d": (0, None),
    "systematic": (np.nan, -0.1, "x", None),
    "closure_factor": (np.nan, 0.0, None),
    "leakage": ((np.nan, 0.0, 0.0), (-1, 0, 0), None, (1, 2), "abc", 1.0),
    "toys": (-1, 1.5, None, "x", True, 10**9),
    "seed": (-1, 1.5, None, "x", True),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_of_the_counting_test_that_are_no_numbers_are_refused(name):
    for wrong in WRONG[name]:
        with pytest.raises(FitError, match=name if len(name) > 1 else name.upper()):
            abcd(**{"a": 10, "b": 10, "c": 10, "d": 10} | {name: wrong})


WRONG_IN_PLANE = {
    "point": (None, 0.7),
    "background_quantile": (None, "x", -1, np.nan, [1]),
    "fit_range": (None, 5, (2600,), ("a", "b"), (7000, 2600)),
    "window": (None, 5, (3300,), ("a", "b"), (np.nan, 3700)),
    "systematic_floor": (None, "x", -1, np.nan),
    "closure_limit": (None, "x", -1, np.nan),
    "toys": (None, "x", -1, 1.5),
    "seed": (None, "x", -1, 1.5),
    "level": ("x", 1, 0.2, True),
    "limit_toys": ("x", -1, 1.5),
}


@pytest.mark.parametrize("name", WRONG_IN_PLANE)
def test_arguments_of_the_plane_that_are_none_are_refused(name, plane):
    names = ("point", "background_quantile", "fit_range", "window")
    good = dict(zip(names, (X, 0.4, FIT, WINDOW), strict=True)) | {"closure_limit": 5.0}
    for wrong in WRONG_IN_PLANE[name]:
        with pytest.raises(FitError, match=f"{name}.* is "):
            abcd_in_window(plane, **good | {name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("window", None), ("window", ("a", "b")), ("fit", 5), ("seed", None), ("seed", -1)],
)
def test_arguments_of_the_masked_window_that_are_none_are_refused(name, wrong, toy_spectrum):
    good = {"window": (3300.0, 3700.0), "fit": SPECTRUM, "seed": 1}
    with pytest.raises(FitError, match=f"{name}.* is "):
        masked_window_test(toy_spectrum(800, 0, 96), **good | {name: wrong})


def test_other_numbers_that_are_none_are_refused():
    with pytest.raises(FitError, match="observed is nan"):
        paper_significance(np.nan, 1.0, 1.0)
    with pytest.raises(FitError, match="counts in the same bins"):
        SharedEvents.nested({"loose": np.array([np.nan, 1.0]), "tight": np.zeros(2)})
    with pytest.raises(FitError, match="counts in the same bins"):
        SharedEvents.nested({"loose": np.ones(2), "tight": np.zeros(1)})


def scanned(histogram):
    return scan(histogram, masses=[3400.0, 3500.0], toys=10, **SETTINGS)


def moving(histogram):
    uncertain = replace(SPECTRUM, scale_uncertainty=0.02)
    return scan(histogram, masses=[3400.0], width=120.0, fit=uncertain, toys=5)


def workspace(histogram):
    return bump_workspace(histogram, mass=3500.0, **SETTINGS)


def patches(histogram):
    return list(mass_patchset(histogram, masses=[3400.0, 3500.0], **SETTINGS))


SPECTRUM_TESTS = (scanned, moving, workspace, patches)


@pytest.mark.parametrize("test", SPECTRUM_TESTS)
@pytest.mark.parametrize(
    ("bins", "value", "words"),
    [
        (slice(None), 0.0, "0 of"),
        (slice(10, None), 0.0, None),
        (slice(40, 60), 0.0, None),
        (slice(50, 51), np.nan, "not finite"),
        (slice(50, 51), np.inf, "not finite"),
        (slice(50, 52), -3.0, "negative"),
    ],
)
def test_every_test_of_a_spectrum_answers_or_refuses(test, bins, value, words, toy_spectrum):
    histogram = toy_spectrum(800, 0, 90)
    histogram.view().value[bins] = value
    found = answered(test, histogram)
    assert "NaN" not in found
    if words:
        assert words in found


@pytest.mark.parametrize("test", SPECTRUM_TESTS)
def test_one_event_in_a_spectrum_is_too_few(test, mass_histogram):
    counts = np.zeros(220)
    counts[40] = 1
    assert "too few" in answered(test, mass_histogram(counts))


def test_signals_outside_the_range_are_left_out_or_refused(toy_spectrum):
    histogram = toy_spectrum(800, 0, 91)
    found = scan(histogram, masses=[100.0, 3400.0, 9000.0], toys=0, **SETTINGS)
    assert found.skipped == (("all", 100.0), ("all", 9000.0))
    assert any("without whole sidebands" in note for note in found.notes)
    with pytest.raises(FitError, match="outside the fit range"):
        bump_workspace(histogram, mass=9000.0, **SETTINGS)
    with pytest.raises(FitError, match="outside the fit range"):
        mass_patchset(histogram, masses=[3400.0, 100.0], **SETTINGS)


def test_patterns_of_negative_weight_are_thrown_as_none():
    overlap = SharedEvents(
        ("a", "b"), np.array([[True, True], [True, False]]), np.array([[9.0, 9.0], [-2.0, -2.0]])
    )
    first, second = overlap.toys([np.full(2, 9.0)] * 2, 50, np.random.default_rng(1))
    assert (first == second).all()
    assert first.mean() == pytest.approx(9.0, abs=4 * 0.3)


def test_window_of_too_few_events_is_left_out_and_said(toy_spectrum, mass_histogram):
    one = np.zeros(220)
    one[40] = 1
    named = {"full": toy_spectrum(800, 0, 95), "bare": mass_histogram(one)}
    overlap = SharedEvents(("full", "bare"), np.eye(2, dtype=bool), np.ones((2, 110)))
    found = scan(named, masses=[3400.0, 3500.0], overlap=overlap, toys=5, **SETTINGS)
    assert {point.selection for point in found.points} == {"full"}
    assert any("bare is not searched" in note and "too few" in note for note in found.notes)
    with pytest.raises(FitError, match=r"a is not searched.*too few.*; b is not searched"):
        scan({"a": mass_histogram(one), "b": mass_histogram(one)}, masses=[3400.0], **SETTINGS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"toys": -1}, {"masses": [np.nan]}, {"masses": [3400.0, np.nan]}, {"masses": [-1.0]},
        {"masses": []}, {"width": np.nan},
    ],
)  # fmt: skip
def test_settings_of_a_scan_that_are_no_numbers_are_refused(wrong, toy_spectrum):
    with pytest.raises(FitError):
        scan(toy_spectrum(800, 0, 92), **{"masses": [3400.0], "toys": 0} | SETTINGS | wrong)


def test_weighted_spectra_are_noted_in_a_scan(toy_spectrum):
    histogram = toy_spectrum(800, 0, 93)
    histogram.view().variance = 2 * histogram.view().value
    found = scan(histogram, masses=[3400.0], toys=0, **SETTINGS)
    assert any("weighted" in note for note in found.notes)


def test_record_of_a_patchset_is_checked(toy_spectrum):
    with pytest.raises(FitError, match="INSPIRE"):
        mass_patchset(toy_spectrum(800, 0, 94), masses=[3400.0], hepdata="1234", **SETTINGS)
