from __future__ import annotations

import json

import hist
import numpy as np
import pytest

from tnt_coffea.errors import FitError, TaggerError
from tnt_coffea.stats import (
    AbcdRefusal,
    AbcdResult,
    ClosureScan,
    WorkingPoint,
    WorkingPoints,
    abcd_counts,
    abcd_in_window,
    bump_hunt,
    closure,
    closure_scan,
    inclusive_spectrum,
    selected_spectrum,
)
from tnt_coffea.stats.abcd_regions import _is_event_score, plane_counts
from tnt_coffea.stats.search_histogram import score_plane
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.working_points import Cut

X = WorkingPoint.at({0: 0.7, 1: 0.75}, 0.08)
FIT, WINDOW = (2600.0, 7000.0), (3300.0, 3700.0)
EDGES = [0.0, 0.2, 0.4, 0.7, 0.75, 0.9, 1.0]


def empty(variable="m_jj"):
    return hist.Hist(
        hist.axis.StrCategory([], growth=True, name="dataset"),
        hist.axis.IntCategory([0, 1], name="fold"),
        hist.axis.Regular(300, 2000, 8000, name=variable),
        hist.axis.Variable(EDGES, name="q_heavy", flow=False),
        hist.axis.Variable(EDGES, name="q_light", flow=False),
        storage=hist.storage.Weight(),
    )


def events(n, seed, rho=0.0):
    """Return folds, m_jj and two quantiles whose normal scores have correlation rho."""
    from scipy.special import ndtr

    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, n))
    second = rho * first + np.sqrt(1 - rho**2) * second
    m_jj = 2600 + random.exponential(550, size=n)
    return random.integers(0, 2, n), m_jj, ndtr(first), ndtr(second)


def filled(sample, variable="m_jj"):
    fold, mass, heavy, light = sample
    histogram = empty(variable)
    histogram.fill(
        dataset="data", fold=fold, q_heavy=heavy, q_light=light, weight=np.ones(len(mass)),
        **{variable: mass},
    )  # fmt: skip
    return histogram


@pytest.fixture(scope="module")
def independent():
    return events(40_000, 1)


def test_spectra_hold_the_events_above_both_thresholds(independent):
    fold, m_jj, heavy, light = independent
    histogram = filled(independent)
    spectra = selected_spectrum(histogram, X)
    assert list(spectra) == ["fold-0", "fold-1"]
    for k in (0, 1):
        x = (0.7, 0.75)[k]
        chosen = (fold == k) & (heavy > x) & (light > x)
        expected, _ = np.histogram(m_jj[chosen], bins=300, range=(2000, 8000))
        np.testing.assert_array_equal(spectra[f"fold-{k}"].values(), expected)
        np.testing.assert_array_equal(spectra[f"fold-{k}"].variances(), expected)
    together = selected_spectrum(histogram, X, per_fold=False)["all"]
    assert together.values().sum() == sum(s.values().sum() for s in spectra.values())
    assert inclusive_spectrum(histogram).values().sum() == np.sum(m_jj < 8000)


def test_spectra_go_into_the_bump_hunt(independent):
    spectra = selected_spectrum(filled(independent), X)
    result = bump_hunt(spectra, mass=3500, width=120, fit=SpectrumFit((2600, 6000), bin_width=40))
    assert result.converged, result.notes
    assert [c.name for c in result.channels] == ["fold-0", "fold-1"]


def test_datasets_are_summed():
    sample = events(2000, 2)
    one = filled(sample)
    two = filled(sample)
    fold, m_jj, heavy, light = sample
    two.fill(
        dataset="more", fold=fold, m_jj=m_jj, q_heavy=heavy, q_light=light,
    )  # fmt: skip
    assert inclusive_spectrum(two).values().sum() == 2 * inclusive_spectrum(one).values().sum()
    fit = SpectrumFit((2600, 6000), bin_width=40)
    notes = bump_hunt(inclusive_spectrum(two), mass=3500, width=120, fit=fit, toys=0).notes
    assert "the data sets data, more are one sample: their events are summed" in notes
    alone = bump_hunt(inclusive_spectrum(one), mass=3500, width=120, fit=fit, toys=0).notes
    assert not any("data sets" in note for note in alone)


def test_counts_are_those_of_the_events(independent):
    fold, m_jj, heavy, light = independent
    counts = abcd_counts(filled(independent), X, 0.4, WINDOW)
    cut = np.where(fold == 0, 0.7, 0.75)
    inside = (m_jj >= 3300) & (m_jj < 3700)
    passing, low = (heavy > cut, light > cut), (heavy < 0.4, light < 0.4)
    assert counts.a == np.sum(inside & passing[0] & passing[1])
    assert counts.b == np.sum(inside & passing[0] & low[1])
    assert counts.c == np.sum(inside & low[0] & passing[1])
    assert counts.d == np.sum(inside & low[0] & low[1])
    assert counts.total == inside.sum()
    assert counts.eps1 == pytest.approx(counts.b / np.sum(inside & low[1]))
    assert counts.eps2 == pytest.approx(counts.c / np.sum(inside & low[0]))
    assert counts.paper_prediction == pytest.approx(counts.eps1 * counts.eps2 * counts.total)
    assert abs(counts.paper_prediction - counts.a) < 5 * np.sqrt(counts.a)


def test_independent_scores_close(independent):
    found = closure(filled(independent), X, 0.4, FIT, WINDOW)
    assert abs(found.kappa - 1) < 4 * found.uncertainty
    assert abs(found.pearson) < 0.02
    assert abs(found.spearman) < 0.02
    assert [region.mass_range for region in found.regions] == [(2600, 3300), (3700, 7000)]
    assert sum(region.a for region in found.regions) < 40_000


def test_correlations_are_those_of_the_binned_scores():
    from scipy.stats import spearmanr

    fold, m_jj, heavy, light = sample = events(20_000, 3, rho=0.3)
    found = closure(filled(sample), X, 0.4, FIT, WINDOW)
    beside = ((m_jj < 3300) | (m_jj >= 3700)) & (m_jj < 7000)
    binned = [np.digitize(q[beside], EDGES) for q in (heavy, light)]
    assert found.spearman == pytest.approx(spearmanr(*binned).statistic, abs=1e-9)
    centres = 0.5 * (np.array(EDGES[1:]) + np.array(EDGES[:-1]))
    values = [centres[index - 1] for index in binned]
    assert found.pearson == pytest.approx(np.corrcoef(*values)[0, 1], abs=1e-9)
    assert found.spearman > 0.2
    assert fold.size == 20_000


def test_background_gives_no_significance_and_signal_does(independent):
    null = abcd_in_window(filled(independent), X, 0.4, FIT, WINDOW)
    assert isinstance(null, AbcdResult)
    assert null.z < 3
    random = np.random.default_rng(4)
    signal = (
        random.integers(0, 2, 300),
        random.normal(3500, 60, 300),
        random.uniform(0.8, 1, 300),
        random.uniform(0.8, 1, 300),
    )
    both = tuple(np.concatenate(pair) for pair in zip(independent, signal, strict=True))
    found = abcd_in_window(filled(both), X, 0.4, FIT, WINDOW)
    assert isinstance(found, AbcdResult)
    assert found.z > null.z + 3
    assert found.systematic >= max(0.03, found.closure.uncertainty / found.closure.kappa)
    assert found.expected == pytest.approx(found.closure.kappa * found.b * found.c / found.d)
    assert found.expected_paper == pytest.approx(found.counts.paper_prediction)
    assert "closure outside the window" in found.summary()
    again = AbcdResult.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found


def test_closure_factor_repairs_a_mild_correlation():
    result = abcd_in_window(filled(events(60_000, 5, rho=0.08)), X, 0.4, FIT, WINDOW)
    assert isinstance(result, AbcdResult)
    assert result.closure.kappa > 1 + 3 * result.closure.uncertainty
    assert result.z < 3


def test_signal_in_the_control_regions_lowers_the_excess(independent):
    random = np.random.default_rng(6)

    def z(leaking):
        heavy, light = random.uniform(0.8, 1, 300), random.uniform(0.8, 1, 300)
        heavy[:leaking] = 0.1
        signal = (random.integers(0, 2, 300), random.normal(3500, 60, 300), heavy, light)
        both = tuple(np.concatenate(pair) for pair in zip(independent, signal, strict=True))
        return abcd_in_window(filled(both), X, 0.4, FIT, WINDOW).z

    assert z(100) < z(0)


def test_correlated_scores_are_refused():
    refusal = abcd_in_window(filled(events(20_000, 7, rho=0.5)), X, 0.4, FIT, WINDOW)
    assert isinstance(refusal, AbcdRefusal)
    assert "not independent" in refusal.reason
    assert refusal.summary().startswith("ABCD refused")
    again = AbcdRefusal.from_dict(json.loads(json.dumps(refusal.to_dict(), allow_nan=False)))
    assert again == refusal


def test_too_few_events_are_refused():
    refusal = abcd_in_window(filled(events(12, 8)), X, 0.4, FIT, WINDOW)
    assert isinstance(refusal, AbcdRefusal)
    assert "empty" in refusal.reason
    with pytest.raises(FitError, match="looser selection"):
        closure(filled(events(12, 8)), X, 0.4, FIT, WINDOW)


def test_disagreeing_regions_raise_the_systematic():
    fold, m_jj, heavy, light = events(60_000, 9)
    below = m_jj < 3300
    other = events(60_000, 10, rho=0.06)
    sample = (fold, m_jj, np.where(below, other[2], heavy), np.where(below, other[3], light))
    result = abcd_in_window(filled(sample), X, 0.4, FIT, WINDOW)
    assert isinstance(result, AbcdResult)
    assert result.systematic == pytest.approx(result.closure.spread)
    assert result.systematic > 0.05


@pytest.mark.parametrize(
    ("point", "quantile", "window", "message"),
    [
        (WorkingPoint.at({0: 0.71, 1: 0.75}), 0.4, WINDOW, "0.71 is not an edge"),
        (X, 0.41, WINDOW, "0.41 is not an edge"),
        (X, 0.9, WINDOW, "could pass and be low"),
        (X, 0.4, (3310.0, 3700.0), "3310 is not an edge"),
        (X, 0.4, (3700.0, 3300.0), "lower and an upper edge"),
        (X, 0.4, (2000.0, 3300.0), "inside the fit range"),
    ],
)
def test_what_the_histogram_lacks_is_said(point, quantile, window, message):
    with pytest.raises(FitError, match=message):
        abcd_in_window(filled(events(2000, 11)), point, quantile, FIT, window)


def test_a_fold_without_threshold_is_said():
    with pytest.raises(TaggerError, match="no threshold for fold 1"):
        selected_spectrum(filled(events(2000, 11)), WorkingPoint.at({0: 0.7}))


def test_a_histogram_has_one_mass_of_any_name(independent):
    jjj = filled(independent, variable="m_jjj")
    assert inclusive_spectrum(jjj).axes.name == ("m_jjj",)
    jj = filled(independent)
    for ours, theirs in zip(
        selected_spectrum(jjj, X).values(), selected_spectrum(jj, X).values(), strict=True
    ):
        np.testing.assert_array_equal(ours.values(), theirs.values())
    with pytest.raises(FitError, match=r"lacks \['q_light'\]"):
        inclusive_spectrum(jj.project("fold", "m_jj", "q_heavy"))
    with pytest.raises(FitError, match="has 0 axes of mass"):
        inclusive_spectrum(jj.project("fold", "q_heavy", "q_light"))
    twice = hist.Hist(*empty().axes, hist.axis.Regular(2, 0, 1, name="other"))
    with pytest.raises(FitError, match="has 2 axes of mass"):
        inclusive_spectrum(twice)


def test_each_jet_has_its_own_cut(independent):
    fold, m_jj, heavy, light = independent
    point = WorkingPoint("pair", {0: Cut(0.2, 0.9), 1: Cut(0.4, 0.75)})
    spectra = selected_spectrum(filled(independent), point)
    for k, (x, y) in enumerate([(0.2, 0.9), (0.4, 0.75)]):
        chosen = (fold == k) & (heavy >= x) & (light >= y)
        expected, _ = np.histogram(m_jj[chosen], bins=300, range=(2000, 8000))
        np.testing.assert_array_equal(spectra[f"fold-{k}"].values(), expected)
        assert chosen.sum() == (point.passes(fold, heavy, light) & (fold == k)).sum() > 100
    # ABCD with a cut for each jet, where no jet passes and is low.
    tight = WorkingPoint("tight", {0: Cut(0.7, 0.9), 1: Cut(0.75, 0.9)})
    found = closure(filled(independent), tight, 0.4, FIT, WINDOW)
    assert abs(found.kappa - 1) < 4 * found.uncertainty
    with pytest.raises(FitError, match=r"X = 0.2 and 0.9 is below the background quantile"):
        closure(filled(independent), point, 0.4, FIT, WINDOW)
    # The closure of the scan is that of shares: a pair of cuts stands on no line of them.
    scan = closure_scan(filled(independent), WorkingPoints((X, tight)), 0.4, FIT, WINDOW)
    assert len(scan.points) == 1


def test_closure_is_scanned_over_efficiencies(independent):
    histogram = filled(independent)
    x = {0.09: 0.7, 0.06: 0.75, 0.01: 0.9, 0.6: 0.2}
    points = WorkingPoints(
        tuple(WorkingPoint.at({0: cut, 1: cut}, share) for share, cut in x.items())
    )
    found = closure_scan(histogram, points, 0.4, FIT, WINDOW)
    # X = 0.2 is below the background quantile and has no low region of its own.
    assert [point.efficiency for point in found.points] == [0.6, 0.09, 0.06, 0.01]
    assert found.points[0].counts is found.points[0].closure is None
    assert "below the background quantile" in found.points[0].refusal
    for point in found.points[1:]:
        assert abs(point.closure.kappa - 1) < 4 * point.closure.uncertainty
        assert point.predicted == pytest.approx(point.counts.a, abs=5 * point.counts.a**0.5 + 5)
    uncertainties = [point.closure.uncertainty for point in found.points[1:]]
    assert uncertainties == sorted(uncertainties)
    assert ClosureScan.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "9 %" in found.summary()


def test_closure_reaches_a_tenth_of_a_per_cent_and_says_where_events_end():
    fold, m_jj, heavy, light = events(60_000, 12)
    quantiles = [0.8, 0.9, 0.955, 0.97, 0.99, 0.999]
    edges = sorted({*EDGES, *quantiles})
    histogram = hist.Hist(
        hist.axis.IntCategory([0, 1], name="fold"),
        hist.axis.Regular(300, 2000, 8000, name="m_jj"),
        *(hist.axis.Variable(edges, name=f"q_{jet}", flow=False) for jet in ("heavy", "light")),
        storage=hist.storage.Weight(),
    )
    histogram.fill(fold, m_jj, heavy, light)
    points = WorkingPoints((WorkingPoint.at({0: 0.7, 1: 0.7}, 0.09),))
    found = closure_scan(histogram, points, 0.4, FIT, WINDOW, [*quantiles, 0.98])
    points = {point.x: point for point in found.points}
    assert list(points) == [None, 0.8, 0.9, 0.955, 0.97, 0.98, 0.99, 0.999]
    inside = (m_jj >= 2600) & (m_jj < 7000)
    for x in quantiles[:4]:
        passed = (heavy >= x) & (light >= x) & inside
        assert points[x].efficiency == pytest.approx(passed.sum() / inside.sum())
        assert points[x].efficiency == pytest.approx((1 - x) ** 2, rel=0.3)
        assert abs(points[x].closure.kappa - 1) < 4 * points[x].closure.uncertainty
    assert points[0.97].efficiency < 0.0013
    assert 0 < points[0.99].beside < 10
    assert "few:" in points[0.99].outcome
    assert points[0.999].closure is None
    assert "region A is empty" in points[0.999].outcome
    assert points[0.999].efficiency == pytest.approx(1e-6)
    assert "0.98 is not an edge" in points[0.98].refusal
    assert ClosureScan.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert len(found.summary().splitlines()) == 1 + len(points)


def test_scores_of_the_whole_event_have_no_four_regions(independent):
    fold, m_jj, score, _ = independent
    histogram = filled((fold, m_jj, score, score))
    refusal = abcd_in_window(histogram, X, 0.4, FIT, WINDOW)
    assert isinstance(refusal, AbcdRefusal)
    assert refusal.reason.startswith("not defined for scores of the whole event")
    assert (refusal.counts.b, refusal.counts.c) == (0, 0)
    for refused in (
        lambda: closure(histogram, X, 0.4, FIT, WINDOW),
        lambda: closure_scan(histogram, WorkingPoints((X,)), 0.4, FIT, WINDOW),
    ):
        with pytest.raises(FitError, match="not defined for scores of the whole event"):
            refused()
    # Cuts of their own give the jets other edges.
    coarse = hist.Hist(*histogram.axes[:4], hist.axis.Variable([0, 0.4, 0.75, 1], name="q_light"))
    assert _is_event_score(score_plane(coarse.fill("data", fold, m_jj, score, score)))
    # One event whose jets differ: the scores are those of jets.
    light = score.copy()
    light[0] = 0.95 if score[0] < 0.5 else 0.05
    found = abcd_in_window(filled((fold, m_jj, score, light)), X, 0.4, FIT, WINDOW)
    assert "empty" in found.reason


def test_a_plane_has_the_regions_of_a_search_with_one_fold(independent):
    _, m_jj, heavy, light = independent
    inside = (m_jj >= 3300) & (m_jj < 3700)
    axes = (hist.axis.Variable(EDGES), hist.axis.Variable(EDGES))
    plane = hist.Hist(*axes).fill(heavy[inside], light[inside])
    search = filled((np.zeros(len(m_jj), dtype=int), m_jj, heavy, light))
    ours = plane_counts(plane, 0.75, 0.4)
    point = WorkingPoint.at({0: 0.75, 1: 0.75})
    theirs = abcd_counts(search[{"fold": slice(None)}], point, 0.4, WINDOW)
    regions = ("a", "b", "c", "d", "eps1", "eps2", "eps1_uncertainty", "total")
    assert [getattr(ours, n) for n in regions] == [getattr(theirs, n) for n in regions]
    with pytest.raises(FitError, match="lower the first"):
        plane_counts(plane, 0.4, 0.75)


def test_tables_of_the_plane_hold_the_regions(independent):
    counts = abcd_counts(filled(independent), X, 0.4, WINDOW)
    total = np.sum(counts.tables, axis=0)
    assert counts.whole
    assert (total[2, 2], total[2, 0], total[0, 2], total[0, 0]) == (
        counts.a, counts.b, counts.c, counts.d,
    )  # fmt: skip
    assert total.sum() == counts.total


def test_distance_correlation_comes_with_the_closure(independent):
    near = closure(filled(independent), X, 0.4, FIT, WINDOW)
    far = closure(filled(events(20_000, 5, 0.4)), X, 0.4, FIT, WINDOW)
    assert near.distance < 0.03
    assert far.distance > 0.2
