"""PAWS: the signal that was planted is the one that is fitted, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from tnt_coffea.config import MassRange
from tnt_coffea.config.signal_points import SignalPoint, point_named
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.roles import prior, prior_name
from tnt_coffea.events.sample import Sample
from tnt_coffea.pipeline.training import check_training
from tnt_coffea.taggers.inputs import readers
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job, backend
from tnt_coffea.training.checks import checked
from tnt_coffea.training.methods.paws import Paws
from tnt_coffea.training.parametrised_ratio import ParametrisedRatio, log_masses
from tnt_coffea.training.signal_shares import fitted_shares, fitted_signal

from .conftest import config_for

WINDOW = MassRange(low=3300, high=3700)
MASSES = (100, 200, 400)
POINTS = {
    f"x{x}-y{y}-{prongs}prong": (x, y, prongs)
    for x in MASSES
    for y in MASSES
    if y <= x
    for prongs in (2, 3)
}
SHAPES = {0: (0.7, 0.7), 2: (0.3, 0.6), 3: (0.5, 0.4)}
"""Means of tau21 and tau32 by prongs; none is background."""
FAST = {"batch": 200, "learning_rate": 0.005, "keep": "last"}
SETTINGS = {"layers": (32, 32), "epochs": 10, "pairs": 12_000, "optimizer": FAST, "steps": 5}


def events(masses, prongs, m_jj, rng, noise=0):
    """Return dijets of masses (n, 2), the heavier jet first, with shapes of so many prongs."""
    masses = np.sort(masses, axis=1)[:, ::-1]
    jets = []
    for column in masses.T:
        tau21, tau32 = rng.normal(np.reshape(SHAPES[prongs], (2, 1)), 0.1, (2, len(m_jj)))
        more = {f"noise{i}": rng.normal(size=len(m_jj)) for i in range(noise)}
        jets.append({"mass": column, "tau21": tau21, "tau32": tau32, **more})
    return Sample.from_columns(m_jj, heavy=jets[0], light=jets[1])


def signal(n, heavy, light, prongs, seed, noise=0):
    rng = np.random.default_rng(seed)
    masses = np.array([heavy, light]) * rng.normal(1, 0.08, (n, 2))
    return events(masses, prongs, rng.normal(3500, 60, n), rng, noise)


def background(n, seed, noise=0):
    rng = np.random.default_rng(seed)
    return events(rng.exponential(150, (n, 2)), 0, rng.uniform(3100, 3900, n), rng, noise)


def joined(*samples):
    columns = {
        name: np.concatenate([each.columns[name] for each in samples])
        for name in samples[0].columns
    }
    jets = [
        {name.removeprefix(f"{jet}_"): own for name, own in columns.items() if name.startswith(jet)}
        for jet in ("heavy", "light")
    ]
    return Sample.from_columns(columns["m_jj"], heavy=jets[0], light=jets[1])


def priors(n=250, noise=0):
    return {
        name: signal(n, *point, seed=number, noise=noise)
        for number, (name, point) in enumerate(POINTS.items(), 10)
    }


def trained(data, given, **changes):
    with backend.one_thread():
        return Paws(**SETTINGS | changes).train(Job(data, "event", 3, window=WINDOW, priors=given))


def scores(scorer, sample):
    read = readers(scorer.inputs, sample)
    every = np.arange(len(sample))
    return scorer.predict({name: own(every) for name, own in read.items()})


def area(scorer, first, second):
    a, b = scores(scorer, first), scores(scorer, second)
    ranks = rankdata(np.concatenate([a, b]))[: len(a)]
    return float((ranks.sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


@pytest.fixture(scope="module")
def planted():
    """The tagger of 3 % signal of 300 and 150 GeV in the window, which is no simulated point."""
    data = joined(background(8000, 1), signal(120, 300, 150, 2, 2))
    return data, trained(data, priors())


def test_the_signal_that_is_there_is_fitted(planted):
    _, scorer = planted
    found = scorer.summary
    assert found["heavy_mass"] == pytest.approx(300, rel=0.1)
    assert found["light_mass"] == pytest.approx(150, rel=0.1)
    assert found["signal_share"] == pytest.approx(120 / 4120, rel=0.4)
    assert found["share_2prong"] > 0.8
    assert found["gain"] > 10
    assert area(scorer, signal(500, 300, 150, 2, 5), background(2000, 6)) > 0.97
    # The fitted one, not any that is simulated.
    other = scores(scorer, signal(500, 400, 400, 3, 5)).mean()
    assert scores(scorer, signal(500, 300, 150, 2, 5)).mean() > other + 3


def test_the_graph_agrees_with_the_numbers_for_signals_of_two_kinds():
    both = signal(150, 300, 150, 2, 2), signal(150, 300, 150, 3, 4)
    given = {name: each for name, each in priors().items() if name.startswith("x400")}
    data = joined(background(2000, 1), *both)
    scorer = trained(data, given, networks=2, epochs=5, pairs=3000, starts=1, steps=2)
    assert 0.1 < scorer.summary["share_3prong"] < 0.9
    checked(scorer, scorer.model, readers(scorer.inputs, data), len(data))


def test_without_a_signal_there_is_a_score_all_the_same():
    # A window that lacks what the class has: no share is above zero.
    data = background(3000, 1)
    lacking = WINDOW.contains(data.mass) & (data.columns["heavy_tau21"] < 0.75)
    data = data.select(~lacking)
    scorer = trained(data, one_point(), **TINY)
    assert scorer.summary["signal_share"] == 0
    assert scorer.summary["gain"] == 0
    found = scores(scorer, data)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) > 0.99 * len(found)
    assert area(scorer, signal(200, 200, 200, 2, 5), data) > 0.9


def test_no_share_at_all_is_no_fit():
    # The least cross-entropy is without signal, where rounding alone made a gain.
    ratios, mixed = np.where(np.arange(600) < 300, -1.0, 1.0)[None], np.arange(600) < 300
    weight = np.full(600, 0.1)
    assert fitted_shares(ratios, mixed, weight)[1] == 0
    fit = fitted_signal(
        lambda at: ratios,
        mixed,
        weight,
        low=np.zeros(1),
        high=np.ones(1),
        steps=2,
        starts=1,
    )
    assert fit.composition.tolist() == [1]


def test_a_ratio_that_is_not_finite_is_refused(monkeypatch):
    def nowhere(ratio, first, *at):
        return np.full(len(first), np.nan, np.float32)

    monkeypatch.setattr(ParametrisedRatio, "log_ratio", nowhere)
    message = "^paws: the density ratio of prior x200-y200-2prong and background is not finite"
    with pytest.raises(TrainingError, match=message):
        trained(background(400, 1), one_point(), **TINY)


@pytest.mark.slow
def test_noise_features_do_not_hurt():
    data = joined(background(16_000, 1, noise=5), signal(120, 300, 150, 2, 2, noise=5))
    features = ("tau21", "tau32", *(f"noise{i}" for i in range(5)))
    scorer = trained(data, priors(1000, noise=5), features=features, pairs=50_000)
    # Between points a factor of two apart a network with ten features of noise interpolates worse.
    assert 200 < scorer.summary["heavy_mass"] < 400
    assert 100 < scorer.summary["light_mass"] < 200
    assert scorer.summary["gain"] > 10
    tested = signal(500, 300, 150, 2, 5, noise=5), background(2000, 6, noise=5)
    assert area(scorer, *tested) > 0.97


def gaussian_ratios(x):
    """Ln of the ratios of two kinds of signal, both around a parameter, to a normal density."""

    def ratios(at):
        narrow = -(((x[0] - at[0]) / 0.3) ** 2) / 2 + x[0] ** 2 / 2 - np.log(0.3)
        return np.stack([narrow + 2 * x[1] - 2, narrow - 2 * x[1] - 2])

    return ratios


def gaussian_events(seed, signals):
    """Return x (2, event) of a mixed sample and of background, and which is which."""
    rng = np.random.default_rng(seed)
    mixed, pure = rng.normal(size=(2, 2, 20_000))
    for number, n in enumerate(signals):
        mixed[:, :n] = rng.normal([[2.5], [2.0 - 4 * number]], [[0.3], [1.0]], (2, n))
        mixed = np.roll(mixed, -n, axis=1)
    return np.concatenate([mixed, pure], axis=1), np.arange(40_000) < 20_000


def gaussian_fit(seed, signals):
    x, mixed = gaussian_events(seed, signals)
    return fitted_signal(
        gaussian_ratios(x),
        mixed,
        np.ones(len(mixed)),
        low=np.array([-4.0]),
        high=np.array([4.0]),
        steps=9,
        starts=2,
    )


def test_known_ratios_give_the_parameter_and_the_shares_of_both_kinds():
    fit = gaussian_fit(1, (600, 200))
    assert fit.parameters[0] == pytest.approx(2.5, abs=0.1)
    # Means and spreads over seeds 1 to 8: 0.0300 and 0.0041, 0.0093 and 0.0013.
    assert fit.shares[0] == pytest.approx(0.03, abs=0.008)
    assert fit.shares[1] == pytest.approx(0.01, abs=0.003)
    assert fit.composition.sum() == pytest.approx(1)
    assert fit.share == pytest.approx(fit.shares.sum())
    assert fit.gain > 50 > 10 > gaussian_fit(2, ()).gain


def test_shares_have_the_least_cross_entropy():
    x, mixed = gaussian_events(3, (400, 0))
    ratios, weight = gaussian_ratios(x)(np.array([2.5]))[:1], np.ones(len(mixed))
    (share,), gain = fitted_shares(ratios, mixed, weight)

    def gained(mu):
        odds = 1 + mu * np.expm1(ratios[0])
        return np.log(2) * len(mixed) - np.log1p(np.where(mixed, 1 / odds, odds)).sum()

    assert gain == pytest.approx(gained(share), rel=1e-9)
    assert gain > max(gained(share * 0.95), gained(share * 1.05), gained(0))
    # Weights count as events do.
    twice = fitted_shares(np.tile(ratios, 2), np.tile(mixed, 2), np.tile(weight, 2) / 2)
    assert twice[0][0] == pytest.approx(share, rel=1e-3)


def test_a_ratio_at_other_parameters_has_other_biases_alone():
    rng = np.random.default_rng(1)
    shown = rng.normal(size=(300, 4)).astype(np.float32)
    points = [SignalPoint(heavy_mass=m, light_mass=80, prongs=n) for m in (90, 300) for n in (2, 3)]
    ratio = ParametrisedRatio.of(
        shown,
        np.ones(300),
        [shown] * 4,
        [np.ones(300)] * 4,
        points,
        seeds=(1, 2),
        epochs=1,
        pairs=500,
    )
    masses = log_masses(points[2]) + 0.1
    kernel, _ = ratio.networks.layers()[0]
    direct = np.concatenate(
        [
            ratio.standard.applied(shown),
            (shown[:, -2:] - masses.astype("f4")) / 0.2,
            np.tile((masses - ratio.parameters.mean) * ratio.parameters.scale, (300, 1)),
            np.ones((300, 1)),
        ],
        axis=1,
        dtype=np.float32,
    )
    logits = ratio.networks.logits(direct).mean(axis=0)
    assert kernel.shape[1] == direct.shape[1]
    assert ratio.log_ratio(ratio.first(shown), masses, 3) == pytest.approx(logits, abs=1e-4)


TINY = {"epochs": 5, "pairs": 3000, "starts": 1, "steps": 2, "layers": (16,)}


def one_point():
    return {"x200-y200-2prong": signal(300, 200, 200, 2, 4)}


def test_names_say_masses_and_prongs():
    assert prior_name(prior("x512.5-y80-3prong")) == "x512.5-y80-3prong"
    assert point_named("x512.5-y80-3prong") == SignalPoint(
        heavy_mass=512.5, light_mass=80, prongs=3
    )
    for name in (
        "two-prong",
        "x100-y200-2prong",
        "x0-y0-2prong",
        "x500-y100-2prongs",
        "x9-y8-4prong",
    ):
        with pytest.raises(ConfigError, match=f"'{name}' does not say masses and prongs"):
            point_named(name)
    with pytest.raises(ValueError, match="light_mass 300 is above heavy_mass 200"):
        SignalPoint(heavy_mass=200, light_mass=300)


def test_what_is_missing_names_its_flag(train):
    data = make_sample(300)
    named = {"mine": {"heavy_mass": 500, "light_mass": 100}}
    cases = {
        "give them with --prior NAME=FILE": (Paws(), {}),
        "give it with --prior mine=FILE": (Paws(points=named), {}),
        "give it with --simulation FILE": (Paws(sample="simulation"), {}),
        r"^train.methods.paws \(paws\): 'two-prong' .* --prior NAME=FILE, or its point in": (
            Paws(features=("tau21",)),
            {"prior:two-prong": make_sample(50, kind="prior")},
        ),
    }
    for message, (method, given) in cases.items():
        with pytest.raises((ConfigError, TrainingError), match=message):
            train({"data": data, **given}, config_for({"paws": method}))
    # Before there is a skim, too.
    with pytest.raises(ConfigError, match=r"'x500-y100-4prong' does not .* 2 or 3, not 4"):
        check_training(config_for({"paws": Paws()}), ["data", prior("x500-y100-4prong")])


def test_the_last_weights_are_kept():
    with pytest.raises(ValueError, match="paws keeps the weights of the last epoch"):
        Paws(optimizer={"keep": "best"})


def test_what_cannot_be_trained_on_is_refused():
    data, given = background(400, 1), one_point()
    cases = {
        "3 events of prior x200-y200-2prong to train on": (
            data,
            {"x200-y200-2prong": given["x200-y200-2prong"].select(np.arange(3))},
        ),
        "0 signal-region events to train on": (data.select(~WINDOW.contains(data.mass)), given),
        "0 upper-sideband events to train on": (data.select(data.mass < 3700), given),
        "400 of 400 weights of the data are negative": (replace(data, weight=-data.weight), given),
    }
    for message, (events_, priors_) in cases.items():
        with pytest.raises(TrainingError, match=message):
            trained(events_, priors_, **TINY)
