"""Background templates: known answers for features that follow the mass, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from tnt_coffea.config import MassRange
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers import Tagger, load
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job
from tnt_coffea.training.classifiers import Dense, Trees
from tnt_coffea.training.density_ratio import auc
from tnt_coffea.training.export import keras_graph, seal
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.tag_n_train import SameJet, TagNTrain
from tnt_coffea.training.methods.template_classifier import TemplateClassifier
from tnt_coffea.training.templates.classification import (
    FeatureClass,
    feature_scorer,
    taking_features,
)
from tnt_coffea.training.templates.interface import FEWEST, SidebandEvents
from tnt_coffea.training.templates.morphing import Morphing
from tnt_coffea.training.templates.spectrum import Spectrum

from .conftest import TREES, tnt

WINDOW = MassRange(low=3300, high=3700)
TEMPLATE = Morphing()
BANDS = TEMPLATE.sidebands(WINDOW)
NAMES = ("a", "b")
N = 30_000


def falling(n=N, seed=1):
    """Masses of a spectrum m^-7 from 2850 GeV on, whose integral is m^-6."""
    return 2850 * (1 - np.random.default_rng(seed).random(n)) ** (-1 / 6)


def events_of(x, mass, weight=None):
    weights = np.ones(len(x)) if weight is None else weight
    names = NAMES[: x.shape[1]]
    return SidebandEvents.of(x.astype(np.float32), mass, weights, WINDOW, BANDS, names)


def gaussians(mass, slope=(3e-4, -2e-4), width=(0.1, 0.2), correlation=0.7, seed=2):
    rng = np.random.default_rng(seed)
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], len(mass))
    return np.outer(mass - 3500, slope) + noise * width


@pytest.fixture(scope="module")
def correlated():
    mass = falling()
    return Morphing().fit(events_of(gaussians(mass), mass), seed=1)


def test_features_linear_in_the_mass_have_its_mean_width_and_correlation(correlated):
    x, mass = correlated.sample(20_000, seed=3)
    assert x.dtype == np.float32
    assert WINDOW.contains(mass).all()
    rest = x - np.outer(mass - 3500, (3e-4, -2e-4))
    # Four times the spread over 12 samples, 0.018 and 0.011 of a width, and 0.0027.
    assert rest.mean(axis=0) / (0.1, 0.2) == pytest.approx([0, 0], abs=0.07)
    assert rest.std(axis=0) / (0.1, 0.2) == pytest.approx([1, 1], abs=0.045)
    assert np.corrcoef(rest.T)[0, 1] == pytest.approx(0.7, abs=0.011)
    low, high = (rest[where].mean(axis=0) for where in (mass < 3400, mass > 3600))
    assert (high - low) / (0.1, 0.2) == pytest.approx([0, 0], abs=0.07)


def test_the_same_seed_gives_the_same_bytes(correlated):
    first, again, other = (correlated.sample(500, seed=seed) for seed in (3, 3, 4))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert not np.isclose(first[0], other[0]).any(axis=1).all()


def test_features_that_do_not_depend_on_the_mass_stay_those_of_the_sidebands():
    mass = falling()
    x = np.random.default_rng(2).exponential(1, (N, 1))
    beside = events_of(x, mass)
    moved, _ = Morphing().fit(beside, seed=1).sample(len(beside), seed=2)
    assert kstest(moved[:, 0], "expon").statistic < 0.03
    assert moved.mean() == pytest.approx(beside.x.mean(), abs=0.07)


def test_lines_are_taken_where_they_do_and_polynomials_where_they_do_not():
    mass = falling()
    z = np.log(mass / 3500)
    x = np.stack([z, z**3 * 10], 1) + np.random.default_rng(2).normal(0, 0.1, (N, 2))
    curves = Morphing().sampler(events_of(x, mass), seed=1).curves
    assert [each.degree for each in curves] == [1, 3]


def test_curved_quantiles_are_followed():
    mass = falling(60_000)
    x = (mass / 3500)[:, None] ** 3 * (1 + 0.2 * np.random.default_rng(2).random((60_000, 1)))
    moved, at = Morphing().fit(events_of(x, mass), seed=1).sample(20_000, seed=2)
    rest = moved[:, 0] / (at / 3500) ** 3
    assert kstest((rest - 1) / 0.2, "uniform").statistic < 0.02


def test_counts_stay_whole_numbers_and_repeated_values_what_they_are():
    mass = falling()
    rng = np.random.default_rng(2)
    count = rng.poisson(mass / 100)
    zeros = np.where(rng.random(N) < 0.2, 0.0, rng.normal(mass / 1000, 0.1))
    moved, at = Morphing().fit(events_of(np.stack([count, zeros], 1), mass), 1).sample(20_000, 2)
    assert (moved[:, 0] == np.round(moved[:, 0])).all()
    rest = moved[:, 0] - at / 100
    assert rest.mean() == pytest.approx(0, abs=0.45)  # four times the spread over 12 samples
    assert rest.std() == pytest.approx(np.sqrt(35), abs=0.3)
    still = moved[:, 1] == 0
    assert still.mean() == pytest.approx(0.2, abs=0.01)
    assert np.median((moved[:, 1] - at / 1000)[~still]) == pytest.approx(0, abs=0.01)


def test_weights_are_those_of_more_events():
    mass = falling()
    x = gaussians(mass, slope=(0, 0))
    heavier = np.where(x[:, 0] > 0, 3.0, 1.0)
    fitted = [Morphing().fit(events_of(x, mass, w), seed=1) for w in (heavier, np.ones(N))]
    shares = [np.mean(each.sample(20_000, seed=2)[0][:, 0] > 0) for each in fitted]
    assert shares == pytest.approx([0.75, 0.5], abs=0.03)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_spectrum_of_the_window_is_that_between_the_sidebands(scale):
    mass = falling(200_000)
    spectrum = Spectrum.of(mass, np.full(len(mass), scale), WINDOW, BANDS)
    share = (3300 / 2850) ** -6 - (3700 / 2850) ** -6
    assert spectrum.expected == pytest.approx(200_000 * scale * share, rel=0.02)
    sampled = spectrum.sample(50_000, seed=1)

    def below(m):
        return (3300.0**-6 - m**-6) / (3300.0**-6 - 3700.0**-6)

    assert kstest(sampled, below).statistic < 0.01


def test_few_events_in_a_sideband_are_refused():
    mass = falling()
    above = mass >= WINDOW.high
    few = ~above | (np.cumsum(above & BANDS[1].contains(mass)) < FEWEST)
    with pytest.raises(TrainingError, match=f"{FEWEST - 1} events in the upper sideband 3700-4100"):
        events_of(gaussians(mass)[few], mass[few])


@pytest.mark.parametrize(
    ("value", "weight", "message"),
    [
        (1.0, 1.0, "feature a is the same for all events"),
        (np.nan, 1.0, "feature a is not finite for"),
        (None, -1.0, "weights beside the window are negative"),
    ],
)
def test_events_without_a_template_are_refused(value, weight, message):
    mass = falling(3000)
    x = gaussians(mass)
    if value is not None:
        x[:, 0] = value
    with pytest.raises(TrainingError, match=message):
        events_of(x, mass, np.full(3000, weight))


def test_a_window_without_sidebands_and_the_mass_as_a_feature_are_refused():
    method, wide = TemplateClassifier(classifier=TREES), MassRange(low=2600, high=7000)
    method.check_window(WINDOW, wide)
    for window in (MassRange(low=2700, high=3100), MassRange(low=6500, high=6900)):
        with pytest.raises(
            ConfigError, match=r"the sidebands of window .* leave search\.fit_range"
        ):
            method.check_window(window, wide)
        with pytest.raises(ConfigError, match=r"leave search\.fit_range"):
            tnt(template={"by": "morphing"}, reweight="none").check_window(window, wide)
    mass = TemplateClassifier(classifier=Trees(features=("tau21", "m_jj")))
    with pytest.raises(ConfigError, match="features hold m_jj"):
        mass.check(make_sample(1), "event")


def test_templates_survive_features_that_shift_with_the_mass():
    sample = make_sample(10_000, 0.04, seed=4)
    shift = ((sample.mass - 3500) / 2000).astype(np.float32)
    columns = {f"{jet}_tau21": sample.columns[f"{jet}_tau21"] + shift for jet in ("heavy", "light")}
    sample = replace(sample, columns={**sample.columns, **columns})
    half = np.arange(len(sample)) % 2 == 0
    trees = Trees(features=("mass", "tau21"), trees=40)
    areas, shares = {}, {}
    for name, method in {
        "cwola": Cwola(classifier=trees, sideband=1.0),
        "template": TemplateClassifier(classifier=trees),
    }.items():
        scorer = method.train(Job(sample.select(half), "event", 1, window=WINDOW))
        test = sample.select(~half)
        scores = scorer.predict({"features": scorer.inputs[0].read(test)})
        inside, signal = WINDOW.contains(test.mass), test.label == 1
        areas[name] = auc(scores[inside & signal], scores[inside & ~signal])
        cut = np.quantile(scores[inside & ~signal], 0.8)
        below, above = (band.contains(test.mass) & ~signal for band in BANDS)
        shares[name] = [(scores[where] > cut).mean() for where in (below, above)]
    assert areas["template"] > 0.95, areas
    assert areas["cwola"] < areas["template"] - 0.05, areas
    # CWoLa makes a peak of the window's background, of which a fifth is kept; a template none.
    assert max(shares["cwola"]) < 0.1, shares
    assert max(shares["template"]) > 0.2, shares


def test_background_rich_events_from_a_template_are_a_choice():
    assert "template" not in TagNTrain(after="first").model_dump()
    given = tnt(template={"by": "morphing"}, reweight="none")
    assert TagNTrain.model_validate(given.model_dump(mode="json")) == given
    for wrong, named in (
        ({}, "reweight: none"),
        ({"reweight": "none", "shared": True}, "shared: false"),
        ({"reweight": "none", "mass_window": False}, "mass_window"),
        ({"reweight": "none", "soft_labels": True}, "soft_labels: false"),
        ({"reweight": "none", "classifier": {"network": "convolutional"}}, "a classifier of feat"),
    ):
        with pytest.raises(
            ValueError, match=f"background-rich events from a template need .*{named}"
        ):
            tnt(template={"by": "morphing"}, **wrong)
    with pytest.raises(ValueError, match="template"):
        SameJet(after="first", template={"by": "morphing"})


def scored_features(classifier, seed=1):
    """Return real events, their features, and a classifier of them that finds the last of these."""
    sample = make_sample(1500)
    features = FeatureSet.of(classifier.features, "event", sample)
    x = features.values(sample)
    shifted = x.copy()
    shifted[:, -1] += 3 * x[:, -1].std()
    data = FeatureClass("data", shifted, sample.event_id, 1.0)
    other = FeatureClass.synthetic("template", x)
    return sample, features, feature_scorer(classifier, features, (data, other), seed)


FEW = Trees(features=("mass", "mass_difference"), trees=10, feature_share=0.34)


def test_trees_of_some_features_read_these_and_no_others():
    seeds = {int(FEW.kept("event", make_sample(1), seed)[0]): seed for seed in range(9)}
    assert seeds.keys() == {0, 1, 2}  # both masses, and their difference
    sample, features, scorer = scored_features(FEW, seeds[2])
    assert scorer.inputs[0].columns == ("heavy_mass", "light_mass")
    score = scorer.predict({"features": scorer.inputs[0].read(sample)})
    assert np.corrcoef(score, features.values(sample)[:, 2])[0, 1] > 0.7
    assert scored_features(FEW, seeds[1])[2].inputs[0].columns == ("light_mass",)


@pytest.mark.parametrize(
    "classifier",
    [
        FEW.model_copy(update={"feature_share": 1.0}),
        pytest.param(
            Dense(features=("mass / m_jj", "log(mass)"), layers=(8,), epochs=2),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda classifier: classifier.network,
)
def test_a_tagger_takes_features_instead_of_columns_and_gives_the_same_scores(classifier):
    sample, features, scorer = scored_features(classifier)
    card = load("rnd-3500/tnt/heavy-0-0").card.model_copy(update={"inputs": scorer.inputs})
    model = scorer.model if hasattr(scorer.model, "graph") else keras_graph(scorer.model)
    tagger, names = Tagger(seal(model, card)), tuple("abcdef")[: len(features)]
    taking = taking_features(tagger, features, sample, names)
    assert taking.card.inputs[0].columns == names
    other = make_sample(900, seed=7)
    expected = tagger.score(features.input.read(other))
    np.testing.assert_allclose(taking.score(features.values(other)), expected, atol=1e-5)
    turned = FeatureSet(features.expressions[::-1], features.names[::-1], features.input)
    with pytest.raises(TrainingError, match="no value of its graph is the features"):
        taking_features(tagger, turned, sample, names)
