"""The direct estimate: known answers, what its uncertainties are, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import hist
import numpy as np
import pyhf
import pytest
from scipy.special import ndtri
from scipy.stats import poisson

from tnt_coffea import stats
from tnt_coffea.errors import FitError
from tnt_coffea.stats.counting import AsymptoticCount, CountModel
from tnt_coffea.stats.pyhf_model import numpy_backend
from tnt_coffea.working_points import WorkingPoint

POINT = WorkingPoint.at({0: 0.9, 1: 0.9})
LOWER, UPPER = (3000, 3300), (3700, 4000)


def estimate(n, b, stat=0.0, rel=0.0, **more):
    given = {"variance": stat**2, "simulated": 50, "systematic": rel}
    return stats.direct_estimate(n, b, **given | more)


def window(observed, predicted, error=0.0, name="lower"):
    return stats.ValidationWindow(name, LOWER, observed, predicted, observed**0.5, error)


def test_without_uncertainty_it_is_a_poisson_count():
    few = estimate(9, 3)
    assert few.calibration == "Poisson"
    assert few.p_value == pytest.approx(poisson.sf(8, 3), rel=1e-9)
    assert few.limit.observed == pytest.approx(stats.counting_limit(9, 3), rel=1e-9)
    many = estimate(160, 100)
    q0 = 2 * (160 * np.log(1.6) - 60)
    assert many.calibration == "asymptotic"
    assert many.z == pytest.approx(np.sqrt(q0), rel=1e-9)
    assert many.mu_hat == 60


@pytest.mark.parametrize(("stat", "rel"), [(1000.0, 0.0), (0.0, 0.001), (300.0, 0.001)])
def test_large_numbers_are_normal(stat, rel):
    b = 1e6
    sigma = np.hypot(stat, rel * b)
    result = estimate(b + 2 * np.hypot(np.sqrt(b), sigma), b, stat, rel)
    assert result.z == pytest.approx(2, rel=2e-3)
    assert result.uncertainty == pytest.approx(sigma)
    # 95 % CLs of a normal measurement that sees what it expects: 1.96 sigma.
    assert estimate(b, b, stat, rel).limit.observed == pytest.approx(
        1.96 * np.hypot(np.sqrt(b), sigma), rel=5e-3
    )


def test_a_deficit_is_no_signal():
    result = estimate(80, 100, 5, 0.03)
    assert (result.z, result.mu_hat, result.p_value) == (0, 0, 0.5)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver")
@pytest.mark.parametrize(
    ("n", "b", "stat", "rel", "spread"),
    [(130, 100, 5, 0.03, 0), (150, 100, 20, 0.1, 4), (60, 30, 4, 0.15, 2), (95, 100, 5, 0.05, 0)],
)
def test_stock_pyhf_finds_the_same(n, b, stat, rel, spread):
    result = estimate(n, b, stat, rel, member_spread=spread)
    workspace = pyhf.Workspace(stats.direct_workspace(result))
    with numpy_backend():
        model = workspace.model()
        data = workspace.data(model)
        p = float(pyhf.infer.hypotest(0.0, data, model, test_stat="q0"))
        cls = [
            float(pyhf.infer.hypotest(mu, data, model, test_stat="qtilde"))
            for mu in np.array([0.99, 1.01]) * result.limit.observed
        ]
        expected = pyhf.infer.hypotest(
            result.limit.expected[2], data, model, test_stat="qtilde", return_expected_set=True
        )[1][2]
    assert -ndtri(p) == pytest.approx(result.z, abs=1e-3)
    assert cls[1] < 0.05 < cls[0]
    assert float(expected) == pytest.approx(0.05, abs=5e-4)


def test_the_systematic_is_the_largest_of_floor_statistics_and_deviations():
    assert estimate(100, 100, rel=0.03).systematic == 0.03
    exact = [window(1000, 1000), window(1000, 1000, name="upper")]
    assert estimate(100, 100, rel=0.01, windows=exact).systematic == pytest.approx(2000**-0.5)
    off = [window(1e6, 1e6), window(0.9e6, 1e6, name="upper")]
    assert estimate(100, 100, rel=0.01, windows=off).systematic == pytest.approx(0.1)
    assert estimate(100, 100, rel=0.2, windows=off).systematic == 0.2
    with_members = estimate(100, 100, 3, 0.04, member_spread=12)
    assert with_members.uncertainty == pytest.approx(13)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"predicted": 0, "variance": 0, "simulated": 0}, "no simulated event passes"),
        ({"variance": 100, "simulated": 1001}, "1001 simulated events are worth 100.0 events"),
        (
            {"windows": [window(6, 14), window(4, 10, name="upper"), window(9, 20)]},
            "0.40 .* 0.20 in the upper window, further from 1 than 0.5",
        ),
    ],
)
def test_what_cannot_be_trusted_is_refused(given, reason):
    values = {"observed": 10, "predicted": 100, "variance": 25, "simulated": 1000} | given
    observed, predicted = values.pop("observed"), values.pop("predicted")
    result = stats.direct_estimate(observed, predicted, **values)
    assert isinstance(result, stats.DirectRefusal)
    assert re.search(reason, result.reason)
    assert "refused" in result.summary()


def test_missing_windows_are_noted():
    assert "no validation window tests" in "".join(estimate(10, 100, 5, 0.03).notes)
    notes = estimate(10, 100, 5, 0.03, windows=[window(0, 0)]).notes
    assert any("lower window: it tests nothing" in note for note in notes)


@pytest.mark.parametrize("wrong", [{"variance": np.nan}, {"simulated": -1}, {"scale": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(FitError):
        stats.direct_estimate(10, 10, **{"variance": 1, "simulated": 100} | wrong)


def filled(counts):
    """Return a search histogram, or one of simulation, with counts by (fold, mass, passes)."""
    axes = (
        hist.axis.IntCategory([0, 1], name="fold"),
        hist.axis.Regular(20, 2600, 4600, name="m_jj"),
        hist.axis.Variable([0, 0.9, 1], name="q_heavy", flow=False),
        hist.axis.Variable([0, 0.9, 1], name="q_light", flow=False),
    )
    names = hist.axis.StrCategory(list(counts), name="weights")
    made = hist.Hist(names, *axes, storage=hist.storage.Weight())
    view = made.view(flow=True)
    for place, (value, variance) in enumerate(counts.values()):
        for fold in range(2):
            view.value[place, fold, 1:-1, 1, 1] = value[fold]
            view.variance[place, fold, 1:-1, 1, 1] = variance[fold]
            view.value[place, fold, 1:-1, 0, 0] = 1000  # what fails counts nowhere
    return made


def simulated(nominal=(8.0, 12.0), members=((8.0, 12.0), (9.0, 13.0)), lower=10.0):
    def flat(first, second, variance=2.0):
        values = np.repeat([[first], [second]], 20, axis=1)
        return values, np.full((2, 20), variance)

    counts = {"nominal": flat(*nominal), "events": flat(40.0, 40.0)}
    counts |= {f"member {i}": flat(*own) for i, own in enumerate(members)}
    counts |= {"lower": flat(lower, lower), "upper": flat(10.0, 10.0)}
    validation = {"lower": (2990.0, 3310.0), "upper": UPPER}
    return stats.WeightedSimulation(filled(counts), "dctr", (3300.0, 3700.0), validation)


def data(first=10.0, second=10.0):
    values = np.repeat([[first], [second]], 20, axis=1)
    return filled({"data": (values, values)})[{"weights": 0}]


def test_folds_are_summed_and_members_add_up_in_quadrature():
    result = stats.direct_in_window(data(11, 14), simulated(), POINT)
    assert (result.observed, result.predicted, result.simulated) == (100, 80, 320)
    assert result.statistical == pytest.approx(16**0.5)
    # Either fold: two members 4 events apart, sd 4 / sqrt(2), over sqrt(2).
    assert result.member_spread == pytest.approx(np.hypot(2, 2))
    assert result.members == 2
    ratios = {one.name: (one.mass_range, one.ratio) for one in result.windows}
    # Only whole bins within a validation window are counted.
    assert ratios == {"lower": ((3000, 3300), 1.25), "upper": ((3700, 4000), 1.25)}
    assert result.systematic == pytest.approx(0.25)
    assert result.spectrum.edges == tuple(np.arange(2900.0, 4001, 100))
    assert set(result.spectrum.observed) == {25.0}
    assert stats.DirectEstimate.from_dict(result.to_dict()) == result


def test_one_member_has_no_spread_and_says_so():
    result = stats.direct_in_window(data(), simulated(members=((8.0, 12.0),)), POINT)
    assert result.member_spread == 0
    assert any("one network a fold" in note for note in result.notes)


def test_a_fold_without_a_member_has_fewer():
    members = ((8.0, 12.0), (9.0, 0.0), (10.0, 13.0))
    simulation = simulated(members=members)
    view = simulation.histogram.view(flow=True)
    view.value[3, 1] = 0  # member 1 of fold 1 is there for no event
    result = stats.direct_in_window(data(), simulation, POINT)
    assert result.members == 2
    first = np.std([32, 36, 40], ddof=1) / 3**0.5
    assert result.member_spread == pytest.approx(np.hypot(first, 2))


def test_bad_closure_in_the_window_is_refused_with_its_ratio():
    result = stats.direct_in_window(data(), simulated(lower=30.0), POINT)
    assert isinstance(result, stats.DirectRefusal)
    assert result.windows[0].ratio == pytest.approx(1 / 3)
    assert result.window == (3300, 3700)


def test_weighted_data_keep_their_significance():
    plain = data(11, 14)
    scaled = plain.copy()
    scaled.view(flow=True).value *= 3
    scaled.view(flow=True).variance *= 9
    # Weights of N_data / N_simulation are those of the scaled data, too.
    simulation = simulated()
    view = simulation.histogram.view(flow=True)
    one = stats.direct_in_window(plain, simulation, POINT)
    events = view.value[1].copy()
    view.value *= 3
    view.variance *= 9
    view.value[1] = events
    other = stats.direct_in_window(scaled, simulation, POINT)
    assert other.p_value == pytest.approx(one.p_value, rel=1e-9)
    assert other.limit.observed == pytest.approx(3 * one.limit.observed, rel=1e-6)
    assert any("events are weighted" in note for note in other.notes)


def test_a_histogram_without_its_variations_is_refused():
    simulation = simulated()
    old = simulation.histogram
    cut = hist.Hist(hist.axis.StrCategory(["nominal"], name="weights"), *old.axes[1:])
    with pytest.raises(FitError, match=r"lacks \['events'\]"):
        stats.direct_in_window(data(), replace(simulation, histogram=cut), POINT)


def template(nominal=(30.0, 60.0), lower=20.0, share=0.1):
    """Return synthetic events of a template, of which a share passes, of variance two each."""

    def flat(first, second, variance=2.0):
        values = np.repeat([[first], [second]], 20, axis=1)
        return values, variance * values

    counts = {"nominal": flat(*nominal), "events": flat(40.0, 40.0, 1.0)}
    counts["lower"] = flat(lower, lower)
    made = filled(counts)
    for place, own in enumerate(counts.values()):
        for fold in range(2):
            # All that fail lie in one bin of the plane.
            made.view(flow=True).value[place, fold, 1:-1, 0, 0] = own[0][fold] * (1 / share - 1)
    validation = {"lower": (3000.0, 3300.0)}
    return stats.WeightedSimulation(made, "morphing", (3300.0, 3700.0), validation, template=True)


def beside(expected=8000.0, uncertainty=80.0):
    counts = hist.Hist(hist.axis.Regular(20, 2600, 4600, name="m_jj"))
    counts.values()[...] = np.arange(120, 100, -1)
    found = stats.masked_window_test(
        counts, window=(3300, 3700), fit=stats.SpectrumFit((2600, 4600), bin_width=100)
    )
    return replace(found, expected=expected, uncertainty=uncertainty)


def test_a_template_says_which_share_of_the_expected_events_passes():
    # Either fold has 1000 events a bin that fail, and 10 that pass.
    result = stats.template_in_window(
        data(10, 10), template(), POINT, beside(8000, 80), closure_limit=1
    )
    assert result.template
    # A tenth of 4000 events in each fold, however many synthetic events either has.
    assert result.predicted == pytest.approx(800)
    # 120 and 240 of the template pass in the window, each of variance two.
    assert result.statistical == pytest.approx(400 * (2 / 120 + 2 / 240) ** 0.5)
    assert result.normalisation == pytest.approx(0.01)
    assert (result.observed, result.simulated) == (80, 320)
    (lower,) = result.windows
    # There the events seen before the selection count: 1010 a bin and fold, three bins.
    assert lower.predicted == pytest.approx(0.1 * 6 * 1010)
    assert lower.observed == 60
    assert stats.DirectEstimate.from_dict(result.to_dict()) == result
    assert "synthetic" in result.summary()
    shown = stats.template_in_window(
        data(10, 10), template(), POINT, beside(8000, 80), closure_limit=1, corrected=True
    )
    assert shown.correction == pytest.approx(lower.ratio)
    assert shown.predicted == pytest.approx(800 * lower.ratio)
    inside = slice(3, 7)  # four bins of the window behind three of the validation window
    both = [sum(each.spectrum.predicted[inside]) for each in (result, shown)]
    assert both[0] - both[1] == pytest.approx(800 - shown.predicted)


def test_a_prediction_can_be_corrected_by_its_validation_windows():
    def made(first, second, **options):
        windows = [
            stats.ValidationWindow(name, (0, 1), seen, 1000, seen**0.5, 10)
            for name, seen in (("lower", first), ("upper", second))
        ]
        return stats.direct_estimate(
            130, 100, variance=25, simulated=400, windows=windows, systematic=0.0, **options
        )

    plain, corrected = made(1300, 1200), made(1300, 1200, corrected=True)
    assert plain.correction == 1
    assert plain.systematic == pytest.approx(0.3)
    assert corrected.correction == pytest.approx(1.25)
    assert (corrected.predicted, corrected.statistical) == pytest.approx((125, 6.25))
    assert corrected.systematic == pytest.approx(0.05 / 1.25)  # one window is off by that
    alike = made(1250, 1250, corrected=True)
    whole = 1.25 * np.hypot(2500**-0.5, np.hypot(10, 10) / 2000)
    assert alike.systematic == pytest.approx(whole / 1.25)  # as well as the windows know
    assert any("multiplied by 1.250" in note for note in alike.notes)
    assert "further from 1" in made(1700, 1000, corrected=True).reason


def test_what_a_fit_beside_the_window_does_not_know_the_prediction_does_not_know():
    options = {"closure_limit": 10.0, "systematic": 0.0}
    made = replace(template(), validation={})
    sure, unsure = (
        stats.template_in_window(data(100, 100), made, POINT, beside(8000, sigma), **options)
        for sigma in (0.0, 800.0)
    )
    assert sure.relative == 0
    assert unsure.relative == pytest.approx(0.1)
    assert unsure.uncertainty == pytest.approx(np.hypot(sure.uncertainty, 80))
    assert any("no validation window tests the template" in note for note in sure.notes)


def test_shares_of_the_folds_are_those_beside_the_window():
    more = data(10, 10)
    view = more.view(flow=True)
    view.value[1, :, 0, 0] = 3000  # fold 1 has three times as many events
    view.value[:, 8:12] *= 7  # in the window, which no share is taken from
    result = stats.template_in_window(more, template(), POINT, beside(8000), closure_limit=50)
    share = 1010 / (1010 + 3010)
    parts = 800 * np.array([share, 1 - share])
    assert result.predicted == pytest.approx(800)
    assert result.statistical == pytest.approx(
        np.hypot(*(parts * (2 / np.array([120, 240])) ** 0.5))
    )


def test_a_template_of_another_window_or_without_a_fold_is_refused():
    with pytest.raises(FitError, match=r"of the window 3300-3700 GeV, and .* of 3200-3700"):
        stats.template_in_window(data(), template(), POINT, replace(beside(), window=(3200, 3700)))
    with pytest.raises(FitError, match="no event in the window for fold 1"):
        stats.template_in_window(data(), template((30.0, 0.0)), POINT, beside())


@pytest.mark.slow
def test_limits_cover_the_signal():
    model, mu, toys = CountModel(50.0, 6.0, 0.1), 25.0, 400
    rng = np.random.default_rng(5)
    alpha = rng.normal(size=toys)
    background = model.expected * np.exp(model.sigma * alpha)
    counts = rng.poisson(background + mu).astype(float)
    tau = rng.poisson(model.tau, toys).astype(float)
    # The auxiliary measurement of alpha scatters about its true value.
    centres = rng.normal(size=toys) + alpha
    covered = []
    for n, t, a in zip(counts, tau, centres, strict=True):
        data_ = tuple(np.array([x]) for x in (n, t, a))
        covered.append(AsymptoticCount(model, data_).ln_cls(mu)[0] > np.log(0.05))
    # CLs covers at least as often as it says.
    assert np.mean(covered) > 0.95 - 3 * (0.05 * 0.95 / toys) ** 0.5
    assert np.mean(covered) < 0.999
