from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine, scans
from tnt_coffea.stats.bumps import bump_hunt
from tnt_coffea.stats.overlaps import SharedEvents
from tnt_coffea.stats.scan_results import ScanResult
from tnt_coffea.stats.scans import gross_vitells, hypothesis_tests, prepared_selection, scan
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import Spectrum, rebinned
from tnt_coffea.stats.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0, max_parameters=3)
SETTINGS = {"width": 120.0, "fit": FIT}
MASSES = np.arange(3000.0, 5601.0, 100.0)


def test_signal_is_found_where_it_is_and_survives_the_look_elsewhere(toy_spectrum):
    found = scan(toy_spectrum(5000, 150, 21), masses=MASSES, toys=200, seed=1, **SETTINGS)
    best = found.best_point
    assert abs(best.mass - 3500) <= 100
    assert found.z_pyhf == pytest.approx(best.z, abs=1e-3)
    assert found.converged
    assert found.failed == 0
    assert found.p_global == pytest.approx(1 / 201)
    # No toy reached it: the toys know a bound.
    assert re.search(r"global p = at most 0.00498 \(Z = 2.58 or more\)", found.summary())
    assert best.p_local < found.p_global
    assert best.p_local < found.gross_vitells.p_global < 100 * best.p_local


def test_scan_point_is_the_bump_hunt_at_that_mass(toy_spectrum):
    histogram = toy_spectrum(1000, 40, 22)
    found = scan(histogram, masses=[3400.0, 3500.0], toys=0, **SETTINGS)
    for point in found.points:
        alone = bump_hunt(histogram, mass=point.mass, **SETTINGS)
        assert point.z == pytest.approx(alone.z, abs=1e-3)
        assert point.mu_hat == pytest.approx(alone.mu_hat, abs=0.05)
        assert point.mu_uncertainty == pytest.approx(alone.mu_uncertainty, rel=1e-3)
    assert found.p_global is None
    assert found.gross_vitells is None


@pytest.mark.slow
def test_global_p_value_of_background_is_uniform(falling_shape):
    # Toys of toys: every one of them is an observation with a global p-value among the rest.
    edges = np.arange(2600.0, 7001.0, 40.0)
    mean = 2000 * falling_shape.reshape(-1, 2).sum(axis=1)
    data = (Spectrum("all", edges, mean),)
    signals = [SignalShape(mass, 120.0) for mass in MASSES[::2]]
    chosen = prepared_selection("all", data, signals, FIT)
    maxima, observed = (
        np.max(
            [t.z for t in hypothesis_tests(chosen, engine.toy_counts([mean], n, random))], axis=0
        )
        for n, random in ((1000, np.random.default_rng(23)), (400, np.random.default_rng(24)))
    )
    p = (np.sum(maxima >= observed[:, None], axis=1) + 1) / 1001
    ranks = (np.arange(400) + 0.5) / 400
    # Kolmogorov's 1 % point for samples of 400 and 1000.
    assert np.max(np.abs(np.sort(p) - ranks)) < 1.63 * np.sqrt(1 / 400 + 1 / 1000)


@pytest.mark.slow
def test_gross_vitells_agrees_with_toys(toy_spectrum):
    found = scan(
        toy_spectrum(5000, 0, 24), masses=np.arange(3000.0, 4501.0, 60.0), toys=1000, **SETTINGS
    )
    maxima = np.array(found.toy_maxima)
    crossings = found.gross_vitells
    for z in (2.5, 2.8):
        by_toys = np.mean(maxima >= z)
        local = gross_vitells(np.zeros((2, 3)), z**2).p_global
        by_crossings = local + crossings.upcrossings * np.exp(-0.5 * (z**2 - crossings.level))
        assert by_crossings == pytest.approx(
            by_toys, abs=4 * np.sqrt(by_toys / 1000) + 0.1 * by_toys
        )


@pytest.mark.slow
def test_upcrossings_that_do_not_describe_the_toys_give_no_p_value(toy_spectrum, monkeypatch):
    masses = np.arange(3000.0, 3901.0, 100.0)
    spectrum = toy_spectrum(1000, 0, 34)
    good = scan(spectrum, masses=masses, toys=200, **SETTINGS)
    assert good.gross_vitells is not None
    tests = scans.scanned_toys

    def heavy(*args):
        # Tails that no chi-square has, as those of a function that is wrong at some masses.
        q0, failed = tests(*args)
        return 2 * q0, failed

    monkeypatch.setattr(scans, "scanned_toys", heavy)
    bad = scan(spectrum, masses=masses, toys=200, **SETTINGS)
    assert bad.gross_vitells is None
    assert re.search(r"no Gross-Vitells .* where the toys have 0.05", "; ".join(bad.notes))


def test_upcrossings_are_counted_once_each():
    q0 = np.array([[0.0, 1.0, 0.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    found = gross_vitells(q0, 9.0, level=0.5)
    assert found.upcrossings == 1.0
    assert found.p_global == pytest.approx(0.0013499 + np.exp(-4.25), rel=1e-4)


@pytest.mark.slow
def test_nested_efficiencies_share_their_events(falling_shape, mass_histogram):
    random = np.random.default_rng(25)
    tight = random.poisson(400 * falling_shape).astype(float)
    loose = tight + random.poisson(600 * falling_shape)
    named = {"loose": mass_histogram(loose), "tight": mass_histogram(tight)}
    counts = {n: rebinned(n, h, FIT).counts for n, h in named.items()}
    overlap = SharedEvents.nested(counts)
    masses = MASSES[::4]
    with pytest.raises(FitError, match="which: give `overlap`"):
        scan(named, masses=masses, toys=10, **SETTINGS)
    found = scan(named, masses=masses, toys=300, overlap=overlap, **SETTINGS)
    assert found.gross_vitells is None
    assert any("one selection" in note for note in found.notes)
    alone = scan(named["tight"], masses=masses, toys=300, **SETTINGS)
    # More is looked at than in one selection, but less than in two independent ones.
    level = 2.0
    one = np.mean(np.array(alone.toy_maxima) > level)
    both = np.mean(np.array(found.toy_maxima) > level)
    # Both rates are of 300 toys.
    error = 3 * np.sqrt(one * (1 - one) * (1 + 4) / 300)
    assert one - error < both < 2 * one + error


@pytest.mark.slow
def test_windows_that_share_all_events_cost_the_trials_of_one(toy_spectrum):
    histogram = toy_spectrum(1000, 0, 40)
    counts = rebinned("all", histogram, FIT).counts
    both = {"low": histogram, "high": histogram}
    names = tuple(both)
    same = SharedEvents(names, np.array([[True, True]]), counts[None])
    separate = SharedEvents(names, np.eye(2, dtype=bool), np.stack([counts, counts]))
    settings = SETTINGS | {"masses": MASSES[:12:2], "toys": 400}
    one = scan(histogram, seed=2, **settings)
    shared = scan(both, overlap=same, seed=3, **settings)
    independent = scan(both, overlap=separate, seed=4, **settings)
    assert shared.best_point.z == independent.best_point.z == one.best_point.z
    assert shared.p_global < independent.p_global
    # The chance that the largest Z of one selection, or of two independent ones, exceeds 1.5.
    p = float(np.mean(np.array(one.toy_maxima) > 1.5))
    for found, expected in ((shared, p), (independent, 1 - (1 - p) ** 2)):
        rate = float(np.mean(np.array(found.toy_maxima) > 1.5))
        # Both rates are of 400 toys; that of `one` counts up to twice in the second.
        sigma = np.sqrt((p * (1 - p) * (2 * (1 - p)) ** 2 + expected * (1 - expected)) / 400)
        assert abs(rate - expected) < 3 * sigma


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_selections_at_one_mass_cost_their_trials(toy_spectrum, shared):
    # The largest of n independent Z: p = 1 - (1 - p_local)^n (Sidak, J. Am. Stat. Assoc. 62, 626);
    # where all have the same events, that of one.
    histogram, n, toys = toy_spectrum(1200, 0, 43), 3, 800
    counts = rebinned("all", histogram, FIT).counts
    named = {f"set-{i}": histogram for i in range(n)}
    patterns = np.ones((1, n), dtype=bool) if shared else np.eye(n, dtype=bool)
    overlap = SharedEvents(tuple(named), patterns, np.stack([counts] * len(patterns)))
    found = scan(named, masses=[3300.0], overlap=overlap, toys=toys, seed=5, **SETTINGS)
    for p_local in (0.05, 0.2):
        expected = p_local if shared else 1 - (1 - p_local) ** n
        rate = np.mean(np.array(found.toy_maxima) > -ndtri(p_local))
        assert abs(rate - expected) < 3 * np.sqrt(expected * (1 - expected) / toys)


@pytest.mark.slow
def test_local_p_value_with_few_events_is_that_of_the_toys(toy_spectrum):
    histogram, mass = toy_spectrum(300, 8, 44, mass=4400.0), 4400.0
    found = scan(histogram, masses=[3000.0, mass], toys=400, seed=6, **SETTINGS)
    many, few = found.points
    assert (many.calibration, many.toys, many.z) == ("asymptotic", 0, many.z_asymptotic)
    assert many.p_local == pytest.approx(ndtr(-many.z))
    assert (few.calibration, few.toys) == ("toys", 400)
    alone = bump_hunt(histogram, mass=mass, toys=2000, seed=7, **SETTINGS)
    assert few.z_asymptotic == pytest.approx(alone.z_asymptotic, abs=1e-3)
    p = alone.p_value
    assert 0.001 < p < 0.1
    assert abs(few.p_local - p) < 4 * np.sqrt(p * (1 - p) * (1 / 400 + 1 / 2000))
    assert few.z == pytest.approx(-ndtri(few.p_local))
    # The toys are the same, so what reaches one mass reaches the scan.
    assert found.best_point is few
    assert few.p_local <= found.p_global
    assert "local p-values are from the scan's toys there" in found.summary()
    asymptotic = scan(histogram, masses=[mass], toys=0, **SETTINGS).best_point
    assert (asymptotic.calibration, asymptotic.z) == ("asymptotic", asymptotic.z_asymptotic)


def test_few_toys_bound_a_local_p_value(toy_spectrum):
    histogram = toy_spectrum(300, 30, 45, mass=4400.0)
    best = scan(histogram, masses=[4400.0], toys=20, **SETTINGS)
    assert best.best_point.p_is_bound
    assert best.best_point.p_local == 1 / 21
    assert "local Z = 1.67 or more, p = at most 0.0476 (toys)" in best.summary()
    # Results of older versions hold sqrt(q0) alone.
    values = best.best_point.to_dict()
    del values["q0"], values["toys"]
    assert type(best.best_point).from_dict(values).z_asymptotic == values["z"]


@pytest.mark.slow
def test_overlap_of_more_spectra_than_are_scanned_is_cut_down(toy_spectrum):
    named = {"low": toy_spectrum(900, 0, 41), "high": toy_spectrum(900, 0, 42)}
    counts = [rebinned(n, h, FIT).counts for n, h in named.items()]
    overlap = SharedEvents(
        ("low", "high", "other"),
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=bool),
        np.stack([counts[0], counts[1], counts[0], counts[0]]),
    )
    cut = overlap.only(["high", "low"])
    assert cut.patterns.tolist() == [[False, True], [True, False]]
    np.testing.assert_array_equal(cut.counts, [2 * counts[0], counts[1]])
    found = scan(named, masses=[3400.0, 3600.0], overlap=overlap, toys=10, **SETTINGS)
    assert found.toys == 10
    with pytest.raises(FitError, match=r"lacks \['high'\]"):
        scan(named, masses=[3400.0], overlap=overlap.only(["low"]), toys=10, **SETTINGS)


def test_windows_search_their_own_masses(toy_spectrum):
    named = {"low": toy_spectrum(3000, 0, 26), "high": toy_spectrum(3000, 0, 27)}
    found = scan(
        named,
        masses=MASSES[::5],
        windows={"low": (0.0, 4000.0), "high": (4000.0, 9000.0)},
        toys=0,
        **SETTINGS,
    )
    assert {p.selection for p in found.points if p.mass < 4000} == {"low"}
    assert {p.selection for p in found.points if p.mass >= 4000} == {"high"}


@pytest.mark.slow
def test_folds_share_the_signal_in_a_scan(toy_spectrum):
    folds = {"a": toy_spectrum(1000, 40, 28), "b": toy_spectrum(1000, 40, 29)}
    found = scan({"tnt": folds}, masses=[3400.0, 3500.0, 3600.0], toys=50, **SETTINGS)
    assert found.best_point.mass == 3500
    assert found.best_point.parameters == (3, 3)


def test_masses_without_sidebands_are_not_searched(toy_spectrum):
    found = scan(toy_spectrum(2000, 0, 30), masses=[2700.0, 3500.0, 6900.0], toys=0, **SETTINGS)
    assert [point.mass for point in found.points] == [3500.0]
    assert found.skipped == (("all", 2700.0), ("all", 6900.0))
    with pytest.raises(FitError, match="widths of spectrum on both sides"):
        scan(toy_spectrum(2000, 0, 30), masses=[2700.0], **SETTINGS)
    with pytest.raises(FitError, match="must rise"):
        scan(toy_spectrum(2000, 0, 30), masses=[3600.0, 3500.0], **SETTINGS)


def test_scan_survives_json_and_repeats(toy_spectrum):
    histogram = toy_spectrum(1000, 30, 31)
    first = scan(histogram, masses=MASSES[::4], toys=30, seed=4, **SETTINGS)
    text = json.dumps(first.to_dict(), allow_nan=False)
    assert ScanResult.from_dict(json.loads(text)) == first
    assert scan(histogram, masses=MASSES[::4], toys=30, seed=4, **SETTINGS) == first
    assert "global p" in first.summary()
    # In the tail there are few events, where the asymptotic formula is not reliable.
    sparse = {point.mass for point in first.points if point.sparse}
    assert max(MASSES[::4]) in sparse
    assert min(MASSES[::4]) not in sparse
    assert "fewer than 25 background events" in first.summary()
    assert not replace(first.points[0], background=25.0).sparse
    # Where p is above a half Z is 0, as everywhere.
    none = scan(toy_spectrum(1000, 0, 32), masses=[3400.0, 3500.0], toys=30, seed=4, **SETTINGS)
    assert none.p_global > 0.5
    assert none.z_global == 0


def test_toys_of_shared_events_keep_marginals_and_overlap():
    random = np.random.default_rng(32)
    m_jj = random.uniform(2600, 7000, 20_000)
    a = random.random(m_jj.size) < 0.3
    b = np.where(a, random.random(m_jj.size) < 0.8, random.random(m_jj.size) < 0.1)
    edges = np.linspace(2600, 7000, 12)
    overlap = SharedEvents.of_events(edges, m_jj, {"a": a, "b": b})
    marginals = [np.linspace(700, 500, 11), np.linspace(600, 500, 11)]
    toys = overlap.toys(marginals, 4000, np.random.default_rng(33))
    for counts, expected in zip(toys, marginals, strict=True):
        np.testing.assert_allclose(counts.mean(axis=0), expected, rtol=0.01)
        np.testing.assert_allclose(counts.var(axis=0), expected, rtol=0.12)
    shared = np.sum(a & b) / np.sqrt(np.sum(a) * np.sum(b))
    correlation = np.mean([np.corrcoef(toys[0][:, i], toys[1][:, i])[0, 1] for i in range(11)])
    assert correlation == pytest.approx(shared, abs=0.05)


def test_selections_that_are_not_nested_are_refused():
    with pytest.raises(FitError, match="not nested"):
        SharedEvents.nested({"loose": np.array([1.0]), "tight": np.array([2.0])})
    overlap = SharedEvents.nested({"loose": np.array([3.0]), "tight": np.array([2.0])})
    with pytest.raises(FitError, match="in the bins of the fit"):
        overlap.expected([np.ones(2), np.ones(2)])
