from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import hist
import numpy as np
import pyhf
import pytest
from pydantic import ValidationError
from pyhf.interpolators import code4, code4p
from scipy.optimize import brentq
from scipy.special import ndtr

from tnt_coffea import stats
from tnt_coffea.config import FitSettings, SystematicsSettings
from tnt_coffea.errors import FitError, InputError
from tnt_coffea.stats import engine
from tnt_coffea.stats.abcd_likelihood import prepared_abcd
from tnt_coffea.stats.background import dijet_function
from tnt_coffea.stats.bumps import negative_notes, template_notes
from tnt_coffea.stats.cls import AsymptoticCls
from tnt_coffea.stats.combine import _scale, write_combine
from tnt_coffea.stats.counting import AsymptoticCount, CountModel
from tnt_coffea.stats.interpolation import added, factors
from tnt_coffea.stats.likelihood import Likelihood
from tnt_coffea.stats.mass_templates import MassTemplates, morphed
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.signal_norm import profiled_norm
from tnt_coffea.stats.signal_sums import SignalSums
from tnt_coffea.stats.signal_templates import SignalTemplate, summed
from tnt_coffea.stats.signals import gaussian, norm_factors
from tnt_coffea.stats.spectrum import Spectrum
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.toys import TRUTH

sys.path.insert(0, str(Path(__file__).parent))
from combine_cards import Card

# pyhf 0.7 validates with a class that jsonschema is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

EDGES = np.arange(2600.0, 5001.0, 200.0)
MASS, WIDTH = 3500.0, 250.0
NORMS = {"luminosity": 0.05, "tagger": (-0.12, 0.15)}
PLAIN = SpectrumFit((2600.0, 5000.0), bin_width=200.0, max_parameters=3, spurious=False)


def template(events=50.0, variance=0.0, up=(1.03, 3560.0, 250.0), down=(0.98, 3450.0, 245.0)):
    """A Gaussian with a variation of norm and shape; (norm, mass, width) of both."""
    varied = [f * events * gaussian(EDGES, mass, width) for f, mass, width in (up, down)]
    nominal = events * gaussian(EDGES, MASS, WIDTH)
    return SignalTemplate(EDGES, nominal, variance * nominal, {"energy_scale": tuple(varied)})


def templated(name="all", **how):
    own = MassTemplates({MASS: {name: template(**how)}}, 2.0)
    return replace(PLAIN, templates=own, systematics=NORMS)


@pytest.fixture(scope="module")
def spectrum(toy_spectrum):
    return toy_spectrum(5000, 100, 7)


def test_interpolation_is_that_of_pyhf():
    alpha = np.linspace(-2.5, 2.5, 21)
    own = factors(1.15, 0.9, alpha)[0]
    theirs = code4([[[[0.9], [1.0], [1.15]]]])(np.array([alpha]))
    np.testing.assert_allclose(own, np.ravel(theirs), rtol=1e-14)
    down, nominal, up = (np.array(v) for v in ([1.5, 2.0], [2.0, 3.0], [3.1, 2.5]))
    theirs = code4p([[[down.tolist(), nominal.tolist(), up.tolist()]]])(np.array([alpha]))
    np.testing.assert_allclose(
        added(nominal, up, down, alpha)[0], np.reshape(theirs, (21, 2)), atol=1e-14
    )


@pytest.mark.parametrize("templates", [True, False])
def test_derivatives_of_a_varied_signal_are_its_differences(templates):
    fit = templated() if templates else replace(
        PLAIN, scale_uncertainty=0.02, width_uncertainty=0.1, systematics=NORMS)  # fmt: skip
    shape = fit.signal(MASS, WIDTH).of("all", EDGES)
    alpha = np.random.default_rng(3).normal(size=(5, len(shape.nuisances)))
    _, slopes, curvatures = shape.varied(EDGES, alpha)
    for k in range(alpha.shape[1]):
        step = 1e-5 * np.eye(alpha.shape[1])[k]
        above, below = (shape.varied(EDGES, alpha + way * step) for way in (1, -1))
        np.testing.assert_allclose(slopes[..., k], (above[0] - below[0]) / 2e-5, atol=1e-9)
        np.testing.assert_allclose(curvatures[..., k], (above[1] - below[1]) / 2e-5, atol=1e-8)


def test_morphing_keeps_a_gaussian_whose_width_grows_with_the_mass():
    edges = np.arange(1500.0, 6501.0, 20.0)
    low, high = (
        SignalTemplate(edges, n * gaussian(edges, m, 0.04 * m), np.zeros(250))
        for n, m in ((100.0, 3000.0), (60.0, 4000.0))
    )
    middle = morphed(low, high, 0.25)
    assert middle.total == pytest.approx(90.0)
    expected = 90 * gaussian(edges, 3250.0, 130.0)
    # Adding the two histograms would miss it by 80 % of the maximum.
    assert np.abs(middle.nominal - expected).max() < 0.005 * expected.max()
    for share, end in ((0.0, low), (1.0, high)):
        np.testing.assert_allclose(morphed(low, high, share).nominal, end.nominal, atol=1e-10)


@pytest.mark.slow
def test_template_of_a_gaussian_is_the_gaussian(spectrum):
    nominal = 50 * gaussian(EDGES, MASS, WIDTH)
    # What lies outside the fit is part of the template: one more bin on both sides.
    whole = np.concatenate([[50.0 * ndtr((2600 - MASS) / WIDTH)], nominal])
    exact = SignalTemplate(np.concatenate([[2000.0], EDGES]), whole, 0 * whole)
    fit = replace(PLAIN, templates=MassTemplates({MASS: {"all": exact}}, 2.0))
    where = {"mass": MASS, "width": WIDTH}
    plain, own = (stats.bump_hunt(spectrum, **where, fit=f) for f in (PLAIN, fit))
    assert own.z == pytest.approx(plain.z, abs=1e-5)
    assert own.mu_hat == pytest.approx(plain.mu_hat, rel=1e-4)
    assert (own.shape, own.nuisances, own.converged) == ("template", (), True)
    options = where | {"toys": 0, "cross_check": False}
    plain, own = (stats.upper_limit(spectrum, **options, fit=f) for f in (PLAIN, fit))
    assert own.observed == pytest.approx(plain.observed, rel=1e-4)
    assert own.observed_strength == pytest.approx(own.observed / exact.total)
    assert own.observed_cross_section == pytest.approx(2.0 * own.observed_strength)
    assert "events_at_unit_strength" not in plain.to_dict()
    assert stats.LimitResult.from_dict(own.to_dict()) == own


@pytest.mark.slow
def test_uncertain_norm_weakens_a_limit_as_the_counting_formula_says(spectrum):
    # n = b: q(mu) is mu^2 / (sigma^2 + kappa^2 mu^2), and is 1.96^2 at the limit.
    kappa = 0.1
    weaker = 1 / np.sqrt(1 - (1.959964 * kappa) ** 2)
    model = CountModel(1e6)
    plain, own = (
        AsymptoticCount(model, model.data([1e6]), norm).limits(0.05)[0]
        for norm in ((1.0, 1.0), (1 + kappa, 1 / (1 + kappa)))
    )
    assert plain == pytest.approx(1959.964, rel=1e-3)
    assert own / plain == pytest.approx(weaker, abs=0.004)
    options = {"mass": MASS, "width": WIDTH, "toys": 0, "cross_check": False}
    plain, own = (
        stats.upper_limit(spectrum, **options, fit=fit).expected[2]
        for fit in (PLAIN, replace(PLAIN, systematics={"luminosity": kappa}))
    )
    assert own / plain == pytest.approx(weaker, abs=0.004)


@pytest.mark.parametrize(
    ("expected", "seen", "norm", "mu"),
    [
        (3.0, 18.0, (1.0, 0.1), 300.0),
        (3.0, 18.0, (2.0, 0.02), 300.0),
        (1e4, 1e4, (1.0, 0.1), 1e5),
        (1e4, 1e4, (1.3, 1 / 1.3), 1e4),
        (1e-4, 0.0, (6.0, 1 / 6), 1e5),
        (100.0, 110.0, (1.05, 1 / 1.05), 60.0),
        (100.0, 110.0, (1.5, 1 / 1.5), 5.0),
        (100.0, 110.0, (1.5, 1 / 1.5), 0.0),
    ],
)
def test_norm_is_the_likeliest_at_every_strength(expected, seen, norm, mu):
    model, alpha = CountModel(expected, 0.1 * expected), np.linspace(-10, 10, 8001)

    def fitted(events, rows=None):
        data = model.data([seen] * len(events))
        fits = model.at(data, events)
        return fits, 1 - data[0] / np.maximum(fits.background + events, 1e-150)

    fits, found = profiled_norm(fitted, mu, norm, np.zeros(1))
    every, _ = fitted(mu * factors(*norm, alpha)[0])
    nll = every.nll + 0.5 * alpha**2
    assert fits.converged[0]
    assert found[0] == pytest.approx(alpha[nll.argmin()], abs=0.0025)
    least = fits.nll[0] + 0.5 * found[0] ** 2
    assert least <= nll.min() + 1e-6
    # The grid misses the minimum by half a step.
    assert least == pytest.approx(nll.min(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("norm", [(1.3, 1.0), (1.0, 0.7), (1.1, 1 / 1.1)])
def test_the_norm_of_shifted_measurements_is_the_likeliest_too(norm):
    rng = np.random.default_rng(1)
    seen, centre = rng.poisson(20, 60).astype(float), rng.normal(size=60)
    model, grid = CountModel(12.0, 1e-6), np.linspace(-10, 10, 2001)

    def fitted(events, rows):
        fits = model.at(model.data(seen[rows]), events)
        return fits, 1 - seen[rows] / (fits.background + events)

    for mu in (5.0, 40.0, 300.0):
        fits, alpha = profiled_norm(fitted, mu, norm, centre)
        strengths = mu * factors(*norm, grid)[0]
        for row in range(60):
            every, _ = fitted(strengths, np.full(len(grid), row))
            least = (every.nll + 0.5 * (grid - centre[row]) ** 2).min()
            own = fits.nll[row] + 0.5 * (alpha[row] - centre[row]) ** 2
            assert own <= least + 1e-6
        assert fits.converged.all()


def test_cls_falls_with_the_strength_for_a_norm_that_is_hardly_known():
    model = CountModel(3.0, 0.3)
    curve = AsymptoticCount(model, model.data([5.0]), (2.0, 0.02))
    falling = np.stack([curve.ln_cls(mu) for mu in np.geomspace(0.1, 1e5, 40)])
    assert np.diff(falling, axis=0).max() < 1e-9


def test_luminosity_moves_a_large_signal_by_its_size(toy_spectrum):
    fit = replace(PLAIN, systematics={"luminosity": 0.05})
    strong = toy_spectrum(1000, 1000, 3)
    where = {"mass": MASS, "width": 120.0, "fit": fit}
    [row, *_] = stats.nuisance_impacts(strong, **where)
    mu = float(spectrum_model(strong, fit.signal(MASS, 120.0), fit).test.best.mu[0])
    assert row.name == "luminosity"
    assert row.before_up == pytest.approx((1 / 1.05 - 1) * mu, rel=1e-3)
    assert row.before_down == pytest.approx(0.05 * mu, rel=1e-3)


def test_pulls_in_asimov_data_are_0_with_uncertainties_of_1():
    expected = dijet_function(np.arange(2600.0, 7001.0, 20.0), 3).expected(np.array(TRUTH[:3]))
    asimov = hist.Hist(hist.axis.Variable(EDGES, name="m_jj"), storage=hist.storage.Weight())
    background = np.add.reduceat(expected[:120], np.arange(0, 120, 10))
    background *= 20_000 / background.sum()
    own = templated(events=400.0).signal(MASS, WIDTH).of("all", EDGES)
    asimov.view().value = asimov.view().variance = background + 400 * own.integrals(EDGES)
    found = stats.nuisance_impacts(asimov, mass=MASS, width=WIDTH, fit=templated())
    rows = {row.name: row for row in found}
    assert set(rows) >= {"energy_scale", "luminosity", "tagger"}
    for name in ("luminosity", "tagger"):
        assert rows[name].pull == pytest.approx(0, abs=1e-4)
        assert rows[name].uncertainty == pytest.approx(1, abs=1e-3)
    assert rows["energy_scale"].pull == pytest.approx(0, abs=1e-2)
    assert 0.5 < rows["energy_scale"].uncertainty < 1.0001
    table = stats.NuisanceImpacts(MASS, WIDTH, found)
    assert "luminosity" in table.summary()
    assert stats.NuisanceImpacts.from_dict(table.to_dict()) == table


def stock_cls(workspace, mu):
    """CLs in stock pyhf, of a workspace as it was written."""
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    try:
        model = pyhf.Workspace(workspace).model()
        data = pyhf.Workspace(workspace).data(model)
        with np.errstate(all="ignore"):
            return float(pyhf.infer.hypotest(mu, data, model, test_stat="qtilde"))
    finally:
        pyhf.set_backend(*before)


@pytest.mark.slow
def test_limit_with_all_uncertainties_is_that_of_stock_pyhf(spectrum):
    fit = templated(variance=0.01)
    options = {"mass": MASS, "width": WIDTH, "fit": fit}
    limit = stats.upper_limit(spectrum, **options, toys=0, cross_check=False)
    model = spectrum_model(spectrum, fit.signal(MASS, WIDTH), fit)
    names = model.signal.nuisances
    assert names == ("energy_scale", "luminosity", "tagger", "signal_statistics")
    workspace = stats.bump_workspace(spectrum, **options)
    strength = limit.observed / _sigma(model)
    assert stock_cls(workspace, 0.995 * strength) > 0.05 > stock_cls(workspace, 1.005 * strength)


def _sigma(model):
    fit = engine.background_fit(model.best_channels)
    return engine.signal_uncertainty(model.best_channels, 0.0, fit.phi, fit.alpha)


@pytest.mark.slow
def test_estimates_with_uncertain_efficiency_are_those_of_stock_pyhf():
    abcd = stats.abcd_limit(110, 1000, 1000, 10_000, systematics=NORMS)
    assert abcd.converged
    assert abcd.cls == pytest.approx(0.05, rel=2e-3)
    plain = stats.abcd_limit(110, 1000, 1000, 10_000)
    assert abcd.observed > 1.02 * plain.observed
    direct = {
        own is None: stats.direct_estimate(130, 100, variance=25, simulated=400, systematics=own)
        for own in (None, {"tagger": 0.2})
    }
    assert direct[False].p_value == direct[True].p_value
    assert direct[False].limit.observed > direct[True].limit.observed
    workspace = stats.direct_workspace(direct[False], {"tagger": 0.2})
    assert stock_cls(workspace, direct[False].limit.observed) == pytest.approx(0.05, rel=1e-3)
    few = [
        stats.direct_estimate(4, 2, variance=0.1, simulated=400, systematics=own).limit.observed
        for own in (None, {"tagger": 0.2})
    ]
    assert few[0] < few[1] < 1.2 * few[0]


@pytest.mark.slow
def test_transfer_factor_takes_the_variations_of_a_template(toy_spectrum):
    passed, failed = toy_spectrum(1000, 50, 1), toy_spectrum(20_000, 0, 2)
    limits = {}
    for name, fit in {"plain": PLAIN, "varied": templated()}.items():
        where = {"mass": MASS, "width": WIDTH, "order": 0, "limit_toys": 0}
        found = stats.transfer_factor(passed, failed, **where, fit=fit)
        limits[name] = found.limit.observed
        if name == "varied":
            # A variation of the template counts with what it does to the norm.
            systematics = NORMS | {"energy_scale": (-0.02, 0.03)}
            workspace = stats.transfer_workspace(found, systematics)
    assert limits["varied"] > 1.02 * limits["plain"]
    assert stock_cls(workspace, limits["varied"]) == pytest.approx(0.05, rel=5e-3)


def test_combine_card_read_back_has_our_likelihood(toy_spectrum, tmp_path):
    # A variation whose norms are each other's inverse: Combine's factors are ours then.
    share = gaussian(EDGES, MASS, WIDTH).sum()
    varied = {
        "up": (1.03 * share / gaussian(EDGES, 3560.0, 250.0).sum(), 3560.0, 250.0),
        "down": (share / 1.03 / gaussian(EDGES, 3450.0, 245.0).sum(), 3450.0, 245.0),
    }
    own = {f"fold-{k}": template(50.0 + 5 * k, 0.01, **varied) for k in range(2)}
    fit = replace(PLAIN, templates=MassTemplates({MASS: own}), systematics={"luminosity": 0.02})
    folds = {f"fold-{k}": toy_spectrum(3000, 50, k) for k in range(2)}
    paths = write_combine(tmp_path / "card.txt", folds, mass=MASS, width=WIDTH, fit=fit)
    assert [path.name for path in paths] == ["card.txt", "card.root"]
    card = Card(paths[0])
    model = spectrum_model(folds, fit.signal(MASS, WIDTH), fit)
    channels, names = model.best_channels, model.signal.nuisances
    assert list(card.systematics) == list(names)
    random, apart = np.random.default_rng(1), []
    for _ in range(6):
        r, alpha = random.uniform(0, 3), 1.3 * random.normal(size=len(names))
        phi = [random.normal(size=c.background.parameters) for c in channels]
        values = dict(zip(names, alpha, strict=True)) | {
            f"phi_fold_{k}_{j}": value for k, own in enumerate(phi) for j, value in enumerate(own)
        }
        x = np.concatenate([[r * _scale(model)], alpha, *phi])[None]
        ours = Likelihood(channels, model.counts, x, np.arange(x.shape[1])).value(x, np.arange(1))
        apart.append(card.nll(values, r) - float(ours[0]))
    # -ln L differs by a constant of the data alone.
    assert np.ptp(apart) < 1e-8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "bernstein", "max_parameters": 4}, "no exponential of its parameters"),
        ({"trigger": stats.TriggerEfficiency.of_function(2450, 150, errors=(20, 10))}, "trigger"),
    ],
)
def test_what_has_no_card_is_refused(spectrum, tmp_path, changes, words):
    with pytest.raises(FitError, match=words):
        write_combine(
            tmp_path / "card.txt", spectrum, mass=MASS, width=WIDTH, fit=replace(PLAIN, **changes)
        )
    assert not list(tmp_path.iterdir())


def estimates(norms=NORMS):
    abcd = stats.abcd(130, 1000, 1000, 10_000)
    direct = stats.direct_estimate(130, 100, variance=25, simulated=400)
    return {
        "abcd": stats.abcd_workspace(abcd, systematics=norms),
        "direct": stats.direct_workspace(direct, norms),
        "transfer": stats.transfer_workspace(
            stats.transfer_factor(
                stats.toy_spectrum(1000, 50), stats.toy_spectrum(20_000, seed=2),
                mass=MASS, width=WIDTH, order=1, fit=PLAIN,
            ),
            norms,
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["abcd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("direct", "transfer"))],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hs3_has_the_likelihood_of_the_workspace(name):
    pyhs3 = pytest.importorskip("pyhs3", reason="pyhs3 is not installed (extra hs3)")
    import pytensor
    from pytensor.graph.traversal import explicit_graph_inputs

    workspace = estimates()[name]
    read = pyhs3.Workspace.model_validate(stats.hs3_document(workspace))
    log_prob = read.model(read.analyses[0]).log_prob
    inputs = list(explicit_graph_inputs([log_prob]))
    theirs = pytensor.function(inputs, log_prob, mode="FAST_COMPILE")
    model = pyhf.Workspace(workspace).model()
    data = pyhf.Workspace(workspace).data(model)
    random, apart = np.random.default_rng(2), []
    start = np.array(model.config.suggested_init())
    for _ in range(4):
        values = start * (1 + 0.01 * random.normal(size=start.size))
        values = np.where(start == 0, random.normal(size=start.size), values)
        found = {
            label.replace("[", "_").replace("]", ""): value
            for label, value in zip(model.config.par_names, values, strict=True)
        }
        # A parameter of one bin has no number in HS3.
        known = {one: found.get(one, found.get(f"{one}_0")) for one in (i.name for i in inputs)}
        value = theirs(*[np.asarray(known[i.name]) for i in inputs])
        apart.append(float(value) - float(model.logpdf(values.tolist(), data)[0]))
    # But for a constant of the auxiliary counts, which are no whole numbers.
    assert np.abs(apart).max() < 1e-4
    assert np.ptp(apart) < 1e-8


def test_statistical_uncertainties_in_hs3_are_absolute_errors_of_the_contents():
    # 5 of 100 events: as `vals` of a shapesys, ROOT would take it for 500 %.
    workspace = stats.direct_workspace(
        stats.direct_estimate(130, 100, variance=25, simulated=400, level=None)
    )
    [channel] = stats.hs3_document(workspace)["distributions"]
    background, signal = channel["samples"]
    assert background["data"] == {"contents": [100.0], "errors": [5.0]}
    assert signal["data"]["errors"] == [0.0]
    assert background["modifiers"][0] == {
        "name": "simulation",
        "type": "staterror",
        "parameters": ["simulation"],
        "constraint": "Poisson",
        "data": {"uncertainties": [5.0]},
    }
    twice = {**workspace, "channels": [{"name": "selection", "samples": [
        {**sample, "modifiers": [{"name": sample["name"], "type": "shapesys", "data": [1.0]}]}
        for sample in workspace["channels"][0]["samples"]
    ]}]}  # fmt: skip
    with pytest.raises(FitError, match="background and signal have statistical uncertainties"):
        stats.hs3_document(twice)


def test_no_uncertainty_can_have_the_name_of_a_parameter(spectrum):
    documents = estimates(None) | {
        "bump": stats.bump_workspace(
            spectrum, mass=MASS, width=WIDTH,
            fit=replace(PLAIN, width_uncertainty=0.1, scale_uncertainty=0.02),
        )
    }  # fmt: skip
    own = {
        modifier["name"]
        for document in documents.values()
        for channel in document["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
    }
    own |= set(
        prepared_abcd((9, 9, 9, 9), 0.03, 1.0, (0.1, 0, 0), 1, None).pyhf[0].config.parameters
    )
    assert {"mu", "ratio_b", "simulation", "c_1", "phi_all_2", "signal_width"} <= own
    for name in own:
        with pytest.raises(FitError, match="is the name of another parameter"):
            norm_factors({name: 0.1})
        with pytest.raises(ValidationError, match="is the name of another parameter"):
            FitSettings(systematics={name: 0.1})
    assert own.isdisjoint(NORMS)


def test_parameters_are_called_the_same_in_fit_workspace_card_and_impacts(toy_spectrum, tmp_path):
    fit = replace(PLAIN, width_uncertainty=0.1, systematics={"luminosity": 0.02})
    folds = {f"fold-{k}": toy_spectrum(3000, 50, k) for k in range(2)}
    where = {"mass": MASS, "width": WIDTH, "fit": fit}
    [card, _] = write_combine(tmp_path / "card.txt", folds, **where)
    read = Card(card)
    impacts = {row.name for row in stats.nuisance_impacts(folds, **where)}
    workspace = pyhf.Workspace(stats.bump_workspace(folds, **where)).model(validate=False)
    expected = {"signal_width", "luminosity"}
    expected |= {f"phi_fold_{fold}_{k}" for fold in range(2) for k in range(3)}
    assert set(read.systematics) | set(read.free) == expected
    assert impacts - {"background_function"} == expected
    assert set(workspace.config.parameters) - {"mu"} == expected


def test_names_that_become_the_same_are_refused(toy_spectrum, tmp_path):
    folds = {name: toy_spectrum(3000, 50, 1) for name in ("fold-0", "fold_0")}
    where = {"mass": MASS, "width": WIDTH}
    with pytest.raises(FitError, match="channels fold-0 and fold_0 both become fold_0"):
        stats.bump_workspace(folds, **where, fit=PLAIN)
    with pytest.raises(FitError, match="channels fold-0 and fold_0 both become fold_0"):
        write_combine(tmp_path / "card.txt", folds, **where, fit=PLAIN)
    fit = replace(PLAIN, systematics={"jet scale": 0.1, "jet-scale": 0.1})
    with pytest.raises(FitError, match="nuisance parameters jet scale and jet-scale both become"):
        write_combine(tmp_path / "card.txt", folds["fold-0"], **where, fit=fit)
    assert not list(tmp_path.iterdir())


def test_hs3_refuses_a_bump_hunt(spectrum):
    workspace = stats.bump_workspace(spectrum, mass=MASS, width=WIDTH, fit=PLAIN)
    with pytest.raises(FitError, match="HS3 has no auxiliary measurement"):
        stats.hs3_document(workspace)


@pytest.mark.slow
def test_limit_takes_the_best_function_at_every_strength(toy_spectrum):
    fit = replace(PLAIN, range=(2600.0, 7000.0), envelope=("exponential",), max_parameters=4)
    histogram = toy_spectrum(5000, 60, 16)
    signal = fit.signal(MASS, WIDTH)
    functions = spectrum_model(histogram, signal, fit).functions
    assert len(functions) > 2
    single = {
        name: (AsymptoticCls({name: own}), own[0].background.parameters / 2)
        for name, own in functions.items()
    }
    both = AsymptoticCls(functions)

    def rise(mu, data):
        """Twice the rise of the lowest penalised -ln L, from functions that know no others."""
        at = min(s.profiled(mu, data) + p for s, p in curves)
        best = min(float(s.best(data)) + p for s, p in curves)
        return 2 * max(0.0, at - best)

    class Curve:
        def __init__(self, name):
            self.channels = functions[name]

        def counts(self, data):
            return [both.counts[0][[data]]]

        def profiled(self, mu, data):
            start = engine.background_fits(self.channels, self.counts(data))
            return float(engine.signal_fits(self.channels, self.counts(data), start, mu=mu).nll[0])

        def best(self, data):
            return engine.discoveries(self.channels, self.counts(data)).best.nll[0]

    curves = [(Curve(name), penalty) for name, (_, penalty) in single.items()]

    def cls(mu):
        seen, asimov = (np.sqrt(rise(mu, data)) for data in (0, 1))
        statistic = (seen**2 - asimov**2) / (2 * asimov) if seen > asimov else seen - asimov
        return ndtr(-statistic - asimov) / ndtr(-statistic)

    limit = stats.upper_limit(histogram, mass=MASS, width=WIDTH, fit=fit, toys=0, cross_check=False)
    found = brentq(lambda mu: cls(mu) - 0.05, 0.5 * limit.observed, 2 * limit.observed, rtol=1e-6)
    assert limit.observed == pytest.approx(found, rel=1e-3)
    # And none of the functions alone has this limit.
    alone = [
        brentq(lambda mu, s=s: s.at(mu).observed - 0.05, 1.0, 10 * limit.observed)
        for s, _ in single.values()
    ]
    assert min(abs(one / limit.observed - 1) for one in alone) > 1e-3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SignalTemplate([1, 1], [1.0], [0.0]), "must rise"),
        (lambda: SignalTemplate([1, 2], [-1.0], [0.0]), "negative or not finite"),
        (lambda: SignalTemplate([1, 2], [0.0], [0.0]), "holds no events"),
        (lambda: SignalTemplate([1, 2], [1.0], [0.0, 0.0]), "expected shape"),
        (lambda: SignalTemplate([1, 2], [1.0], [0.0], {"a": ([1.0], [0.0])}), "a down"),
        (lambda: MassTemplates({}), "at least one mass"),
        (lambda: MassTemplates({MASS: {"all": template()}, MASS + 1e-7: {"all": template()}}),
         "3500 and 3500.0000001 GeV are of the same mass"),
        (lambda: MassTemplates({MASS: {"all": template()}}).at(4000.0), "no signal template at"),
        (lambda: template().rebinned([2600.0, 2650.0]), "not an edge"),
        (lambda: template().rebinned([5000.0, 2600.0]), "must rise"),
        (lambda: SignalTemplate.of_sums(
            np.array([1.0, 2.0, 3.0]),
            SignalSums(np.ones(2), np.ones(2), {"a": (np.array([1.0, -3.0]), np.ones(2))}),
        ), "a up of a signal template holds no events"),
        (lambda: templated("fold-0").signal(MASS, WIDTH).of("fold-1", EDGES), "no signal template"),
        (lambda: replace(templated(), width_uncertainty=0.1), "its own shape"),
        (lambda: replace(templated(), systematics={"energy_scale": 0.1}).signal(MASS, WIDTH),
         "leave one out"),
        (lambda: replace(PLAIN, systematics={"mu": 0.1}), "another parameter"),
        (lambda: replace(PLAIN, systematics={"luminosity": -0.1}), "0 or more"),
        (lambda: replace(PLAIN, systematics={"tagger": (-1.0, 0.1)}), "takes all"),
        (lambda: summed([template(), SignalTemplate([1, 2], [1.0], [0.0])]), "other bins"),
    ],
)  # fmt: skip
def test_what_is_no_template_is_refused(make, words):
    with pytest.raises(FitError, match=words):
        make()


def test_templates_are_read_back_and_damaged_ones_refused(tmp_path):
    path = tmp_path / "signal.json"
    own = MassTemplates({MASS: {"all": template(variance=0.1)}}, 3.0)
    own.save(path)
    read = MassTemplates.load(path)
    assert (read.masses, read.channels, read.cross_section) == ((MASS,), ("all",), 3.0)
    first, second = own.at(MASS)["all"], read.at(MASS)["all"]
    np.testing.assert_array_equal(first.nominal, second.nominal)
    np.testing.assert_array_equal(
        first.variations["energy_scale"], second.variations["energy_scale"]
    )
    text = path.read_text()
    twice = json.loads(text)
    twice["templates"] *= 2
    path.write_text(json.dumps(twice))
    with pytest.raises(InputError, match=r"two signal templates of 3500 GeV in channel 'all'"):
        MassTemplates.load(path)
    path.write_text(text.replace('"mass"', '"Mass"'))
    with pytest.raises(InputError, match=r"signal\.json: no signal templates"):
        MassTemplates.load(path)


def test_few_simulated_events_are_noted_and_an_uncertainty_of_the_norm():
    fit = templated(variance=1.0)
    signal = fit.signal(MASS, WIDTH)
    assert signal.statistics == pytest.approx(1 / np.sqrt(50), rel=1e-3)
    assert [name for name, _, _ in signal.all_norms] == [*NORMS, "signal_statistics"]
    assert norm_factors({}) == ()
    assert norm_factors({"known": 0.0}) == ()
    assert "few simulated events (all 50)" in template_notes(signal)[0]
    assert template_notes(templated(variance=0.01).signal(MASS, WIDTH)) == []


@pytest.mark.slow
def test_intervals_of_toys_with_nuisance_parameters_cover():
    """Coverage of likelihood intervals, the nuisance parameters and their centres thrown anew."""
    fit = templated(events=300.0)
    expected = dijet_function(EDGES, 3).expected(np.array(TRUTH[:3]))
    spectrum = stats.toy_spectrum(20_000, 300, seed=5)
    channels = spectrum_model(spectrum, fit.signal(MASS, WIDTH), fit).best_channels
    assert expected.size == EDGES.size - 1
    truth, toys = 300.0, 4000
    random = np.random.default_rng(20_261)
    none = [np.zeros((1, c.background.parameters)) for c in channels]
    size = len(channels[0].nuisances)
    centres = random.normal(size=(toys, size))
    [mean] = [
        c.expected(np.full(1, truth), np.zeros((1, size)), phi)[0]
        for c, phi in zip(channels, none, strict=True)
    ]
    counts = [random.poisson(mean, (toys, mean.size)).astype(float)]
    free = engine.signal_fits(
        channels, counts, engine.background_fits(channels, counts, centres=centres),
        signed=True, centres=centres,
    )  # fmt: skip
    held = engine.signal_fits(channels, counts, free, mu=truth, centres=centres)
    good = free.converged & held.converged
    assert good.mean() > 0.995
    t = 2 * (held.nll - free.nll)[good]
    for level, cut in ((0.6827, 1.0), (0.95, 3.8415)):
        covered = float(np.mean(t <= cut))
        spread = np.sqrt(level * (1 - level) / good.sum())
        assert covered == pytest.approx(level, abs=3 * spread + 0.01), level


def signal_of(counts, edges, weights=None, folds=(0,)):
    """A signal of a search: sums by variation, each (fold, bin); 10 generated events' weight."""
    axes = [
        hist.axis.StrCategory(["m3500"], name="dataset"),
        hist.axis.StrCategory(list(counts), name="variation"),
        hist.axis.IntCategory(list(folds), name="fold"),
        hist.axis.Variable(edges, name="m_jj"),
        hist.axis.Variable([0, 0.9, 1], name="q_heavy", flow=False),
        hist.axis.Variable([0, 0.9, 1], name="q_light", flow=False),
    ]
    filled = hist.Hist(*axes, storage=hist.storage.Weight())
    view = filled.view()
    for i, values in enumerate(counts.values()):
        view.value[0, i, :, :, 1, 1], view.variance[0, i, :, :, 1, 1] = values, np.abs(values)
    settings = SystematicsSettings(weights=weights or {}).weights
    return stats.SignalHistogram(filled, {"m3500": 3500.0}, {"m3500": {"nominal": 10.0}}, settings)


def test_negative_weights_leave_the_efficiency_in_every_binning():
    edges = np.arange(3000.0, 3801.0, 100.0)
    nominal = np.array([[1.0, -2.0, 3.0, 4.0, -1.0, 1.0, 0.0, 2.0]])
    up = np.array([[1.0, 2.0, -1.0, 5.0, -2.0, 1.0, 0.0, 3.0]])
    signal = signal_of({"nominal": nominal, "a_up": up}, edges)
    for wanted in (None, edges[::2], edges[[0, 8]]):
        [own] = signal.templates("m3500", None, wanted).values()
        assert own.total == pytest.approx(0.8)
        [again] = signal.templates("m3500").values()
        again = again.rebinned(edges if wanted is None else wanted)
        np.testing.assert_allclose(again.nominal, own.nominal)
        assert [*own.norms["a"], *again.norms["a"]] == pytest.approx([9 / 8, 7 / 8] * 2)
        assert own.negative is (wanted is None or len(wanted) == 5)
    [own] = signal.templates("m3500").values()
    kept = np.maximum(nominal[0], 0)
    np.testing.assert_allclose(own.nominal, 0.8 * kept / kept.sum())
    # Morphed, it keeps what lies between, and still says so.
    assert morphed(own, own.scaled(2.0), 0.5).total == pytest.approx(1.2)
    shape = replace(
        PLAIN, templates=MassTemplates({3400.0: {"all": own}, 3600.0: {"all": own}})
    ).signal(3500.0, WIDTH)
    assert negative_notes(shape, [Spectrum("all", edges, np.ones(8))])
    exact = replace(PLAIN, templates=MassTemplates({3500.0: {"all": own}})).signal(3500.0, WIDTH)
    noted = [
        negative_notes(exact, [Spectrum("all", e, np.ones(1))]) for e in (edges, edges[[0, 8]])
    ]
    assert "below zero (all)" in noted[0][0]
    assert noted[1] == []


def test_templates_of_histograms_and_of_sums_are_added_joined_and_scaled_alike():
    edges, nominal = np.arange(1.0, 6.0), np.array([4.0, -1.0, 2.0, 3.0])
    plain = SignalTemplate(
        edges, np.abs(nominal), np.arange(4.0), {"a": (np.ones(4), 2 * np.ones(4))}
    )
    signed = SignalTemplate.of_sums(
        edges, SignalSums(nominal, np.arange(4.0), {"a": (nominal + 1, nominal)})
    )
    both = summed([plain, signed]).scaled(0.5).rebinned(edges[::2])
    np.testing.assert_allclose(both.nominal, [0.5 * (5 + 3), 0.5 * (5 + 5)])
    np.testing.assert_allclose(both.variance, [0.25 * 2 * 1, 0.25 * 2 * 5])
    np.testing.assert_allclose(both.variations["a"][0], [0.5 * (2 + 5), 0.5 * (2 + 7)])
    np.testing.assert_allclose(both.variations["a"][1], [0.5 * (4 + 3), 0.5 * (4 + 5)])
    # Where each was set to 0 below zero before, the sums would be others.
    assert (signed.negative, both.negative) == (True, False)


@pytest.mark.parametrize("rule", ["hessian", "replicas", "envelope"])
def test_members_are_combined_in_the_bins_of_the_fit(rule, tmp_path):
    random = np.random.default_rng(8)
    edges = np.arange(3000.0, 5001.0, 20.0)
    nominal = random.uniform(50.0, 150.0, (2, 100))
    # 100 independent members: each moves a stored bin by 2 %.
    members = {f"pdf_{k}": nominal * (1 + 0.02 * (np.arange(100) == k)) for k in range(100)}
    weights = {"pdf": {"members": "LHEPdfWeight", "which": "0-99", "rule": rule}}
    signal = signal_of({"nominal": nominal, **members}, edges, weights, folds=(0, 1))
    folds = list(signal.templates("m3500").values())
    every = np.stack(list(members.values()))
    for wanted in (edges[::10], edges[[0, 100]], edges):
        starts = np.searchsorted(edges, wanted)
        parts = [(folds[0], nominal[0], every[:, 0]), (summed(folds), nominal.sum(0), every.sum(1))]
        for own, n, m in parts:
            found = own.rebinned(wanted).variations["pdf"]
            for b, (low, high) in enumerate(pairwise(starts)):
                own_n, own_m = n[low:high].sum(), m[:, low:high].sum(axis=1)
                up, down = {
                    "hessian": lambda n, m: n + np.array([1, -1]) * np.sqrt(((m - n) ** 2).sum()),
                    "replicas": lambda n, m: n + np.array([1, -1]) * m.std(ddof=1),
                    "envelope": lambda n, m: (max(n, *m), min(n, *m)),
                }[rule](own_n, own_m)
                assert [10 * one[b] for one in found] == pytest.approx([up, down], rel=1e-12)
    if rule == "hessian":
        # In stored bins it would be 2 %.
        n = nominal.sum(0)
        expected = 0.02 * np.sqrt((n**2).sum()) / n.sum()
        own = summed(folds).rebinned([3000.0, 5000.0])
        assert own.norms["pdf"] == pytest.approx((1 + expected, 1 - expected))
        assert expected < 0.0025
        channels = {f"fold-{k}": fold for k, fold in enumerate(folds)}
        both = MassTemplates({3500.0: channels})
        shape = replace(PLAIN, templates=both).signal(3500.0, WIDTH)
        assert shape.movements == ("pdf",)
        [effect, *_] = shape.of("all", np.array([3000.0, 5000.0])).effects(own.edges)
        assert effect.norm == pytest.approx((1 + expected, 1 - expected))
        both.scaled(5.0).save(tmp_path / "signal.json")
        read = list(MassTemplates.load(tmp_path / "signal.json").at(3500.0).values())
        assert summed(read).rebinned([3000.0, 5000.0]).norms["pdf"] == pytest.approx(
            own.norms["pdf"]
        )
        middle = morphed(folds[0], folds[0].scaled(3.0), 0.5).rebinned([3000.0, 5000.0])
        assert middle.norms["pdf"] == pytest.approx(
            folds[0].rebinned([3000.0, 5000.0]).norms["pdf"]
        )
        fewer = {"nominal": nominal, **dict(list(members.items())[:50])}
        other = signal_of(fewer, edges, weights, folds=(0, 1)).templates("m3500")[0]
        with pytest.raises(FitError, match="other members than the first: pdf"):
            summed([folds[0], other])
