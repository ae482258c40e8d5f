"""Principal components: known answers of the three scores, their sign, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import rankdata, spearmanr

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import make_sample, train
from tnt_coffea.training import Job
from tnt_coffea.training.methods import pca as module
from tnt_coffea.training.methods.norm import EventNorm
from tnt_coffea.training.methods.pca import Pca

from .conftest import config_for

NAMES = ("heavy_mass", "light_mass", "heavy_tau21", "light_tau21")
N = 900
PLAIN = make_sample(N, 0.0, constituents=None)
CORRELATED = np.random.default_rng(5).multivariate_normal(
    np.zeros(4),
    [[1, 0.95, 0.3, 0], [0.95, 1, 0.2, 0], [0.3, 0.2, 1, 0.4], [0, 0, 0.4, 1]],
    N,
)


def with_features(values, names=NAMES, sample=PLAIN, **more):
    columns = {name: values[:, i].astype(np.float32) for i, name in enumerate(names)}
    return replace(sample, columns=dict(sample.columns) | columns, **more)


def trained(sample, **settings):
    scorer = Pca(**{"features": NAMES} | settings).train(Job(sample, "event", 1))
    return scorer, scorer.predict({"features": scorer.inputs[0].read(sample)})


def standardised(values):
    levels = (rankdata(values, axis=0) - 0.5) / len(values)
    return (levels - levels.mean(axis=0)) / levels.std(axis=0)


def components(x):
    variances, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    return variances[::-1], axes.T[::-1]


def from_tips(x, axis):
    """The distance from the tip that points away from the longer tail."""
    along = x @ axis
    away = -axis if ((along - along.mean()) ** 3).mean() > 0 else axis
    return cdist(x, [away])[:, 0]


def test_published_is_the_distance_from_the_tip_of_a_component():
    # arXiv:2101.08320, section 6.1, has pyod's cdist(x, components) / variances.
    isotropic = np.random.default_rng(3).normal(size=(N, 4))
    x = standardised(isotropic)
    _, found = trained(with_features(isotropic), components=4)
    variances, axes = components(x)
    np.testing.assert_allclose(found, from_tips(x, axes[3]) / variances[3], rtol=2e-3)
    assert spearmanr(found, from_tips(x, axes[3])).statistic > 0.9999


def test_published_sums_over_the_selected_components():
    x = standardised(CORRELATED)
    variances, axes = components(x)
    distances = np.stack([from_tips(x, axis) for axis in axes], axis=1) / variances
    for selected in (1, 2, 3):
        _, found = trained(with_features(CORRELATED), selected=selected)
        expected = distances[:, 3 - selected : 3].sum(axis=1)
        np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_projection_on_all_components_is_the_mahalanobis_distance():
    x = standardised(CORRELATED)
    expected = cdist(x, np.zeros((1, 4)), "mahalanobis", VI=np.linalg.inv(np.cov(x.T, bias=True)))
    _, found = trained(with_features(CORRELATED), score="projection", components=4, selected=4)
    np.testing.assert_allclose(found, expected[:, 0] ** 2, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kept", [0, 2])
def test_residual_is_the_squared_length_without_what_is_kept(kept):
    x = standardised(CORRELATED)
    _, axes = components(x)
    _, found = trained(with_features(CORRELATED), score="residual", components=kept)
    expected = (x**2).sum(axis=1) - ((x @ axes[:kept].T) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=2e-3)


def test_projection_finds_an_outlier_of_the_smallest_component_and_published_does_not():
    values = CORRELATED.copy()
    # In no feature on its own; but the first two have a correlation of 0.95.
    values[0] = [1.0, -1.0, 0.0, 0.0]
    ranks = {}
    for score in ("projection", "published"):
        _, found = trained(with_features(values), score=score, components=4)
        ranks[score] = (found > found[0]).mean()
    assert ranks["projection"] == 0
    assert ranks["published"] > 0.1  # lost where a tenth is kept


def test_published_is_nearly_the_length():
    job = Job(with_features(standardised(CORRELATED)), "event", 1)
    norm = EventNorm(features=NAMES).train(job)
    lengths = norm.predict({"features": norm.inputs[0].read(job.data)})
    _, published = trained(job.data)
    _, projection = trained(job.data, score="projection")
    assert spearmanr(published, lengths).statistic > 0.6
    assert spearmanr(published, lengths).statistic > spearmanr(projection, lengths).statistic


@pytest.mark.parametrize("score", ["published", "projection", "residual"])
def test_monotone_maps_of_features_change_nothing(score):
    mapped = CORRELATED.copy()
    mapped[:, 0], mapped[:, 2] = np.exp(mapped[:, 0]), 5 + 2 * mapped[:, 2] ** 3
    one, two = (trained(with_features(v), score=score)[1] for v in (CORRELATED, mapped))
    assert spearmanr(one, two).statistic > 0.999


@pytest.mark.parametrize("score", ["published", "projection", "residual"])
def test_the_sign_of_a_component_changes_nothing(score, monkeypatch):
    sample = with_features(CORRELATED)
    one, _ = trained(sample, score=score, selected=1)
    solve = module.principal_components

    def turned(*given, **more):
        found = solve(*given, **more)
        return replace(found, axes=-found.axes)

    monkeypatch.setattr(module, "principal_components", turned)
    two, _ = trained(sample, score=score, selected=1)
    if score == "published":
        assert one.model.SerializeToString() == two.model.SerializeToString()
    asked = {"features": one.inputs[0].read(sample)}
    np.testing.assert_array_equal(one.predict(asked), two.predict(asked))


def test_the_graph_gives_the_scores_of_numpy_wherever_an_event_stands():
    sample = with_features(CORRELATED)
    extremes = [np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30, 1e-42]
    further = np.repeat(np.array(extremes, np.float32)[:, None], 4, axis=1)
    for score, selected in (("published", 2), ("projection", 3), ("residual", 1)):
        scorer, _ = trained(sample, score=score, selected=selected)
        asked = np.concatenate([scorer.inputs[0].read(sample), further])
        session = onnxruntime.InferenceSession(scorer.model.SerializeToString())
        expected = scorer.predict({"features": asked})
        assert np.isfinite(expected).all()
        assert len(np.unique(expected[:N])) > 0.99 * N
        for moved in (0, 3):
            found = session.run(["score"], {"features": np.roll(asked, moved, axis=0)})[0]
            np.testing.assert_allclose(np.roll(found, -moved), expected, rtol=1e-5, atol=1e-6)


def test_weights_count_as_events():
    sample = with_features(CORRELATED)
    doubled = replace(sample, weight=np.where(np.arange(N) < 300, 2.0, 1.0))
    rows = np.concatenate([np.arange(N), np.arange(300)])
    _, one = trained(doubled)
    scorer, _ = trained(sample.select(rows))
    two = scorer.predict({"features": scorer.inputs[0].read(sample)})
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_the_default_is_the_publications():
    columns = ("pt", "tau1_width", "tau21", "tau32", "tau43", "mass")
    values = np.random.default_rng(1).random((N, 12))
    names = [f"{jet}_{name}" for jet in ("heavy", "light") for name in columns]
    scorer = Pca().train(Job(with_features(values, names), "event", 1))
    assert set(scorer.inputs[0].columns) == set(names)
    assert len(scorer.history["variances"]) == 12
    # The eleventh of twelve.
    assert scorer.summary["variance"] == pytest.approx(scorer.history["variances"][10])
    assert (Pca().reads.data, Pca(sample="simulation").reads.simulation) == (True, True)


def test_the_card_says_that_the_publication_chose_the_features(tmp_path):
    names = ("tau1_width", "tau32", "tau43")
    drawn = np.random.default_rng(1).random((N, 6))
    columns = [f"{jet}_{name}" for jet in ("heavy", "light") for name in names]
    settings = PLAIN.settings.model_copy(
        update={"observables": (*PLAIN.settings.observables, *names)}
    )
    sample = with_features(drawn, columns, settings=settings)
    config = config_for({"published": Pca(), "own": Pca(features=NAMES)})
    outcomes = train(sample, config, tmp_path)
    published, own = (
        Tagger.from_file(outcomes[name][0].path).card for name in config.train.methods
    )
    assert published.notes == {"features": "fixed by publication"}
    assert own.notes == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (CORRELATED[:99], "99 events for principal components of 4 features, at least 100"),
        (CORRELATED * [1, 1, 0, 1], "feature heavy_tau21 is the same for all events"),
        (np.add(CORRELATED, [0, np.nan, 0, 0]), "feature light_mass is not finite for 900 of 900"),
        (CORRELATED[:, [0, 1, 0, 3]], "heavy_mass, heavy_tau21 are the same, or linear comb"),
    ],
)
def test_what_has_no_components_is_one_error(values, message):
    sample = with_features(values, sample=PLAIN.select(np.arange(len(values))))
    with pytest.raises(TrainingError, match=message):
        trained(sample)


def test_weights_below_zero_are_refused():
    with pytest.raises(TrainingError, match="900 of 900 weights are negative"):
        trained(replace(PLAIN, weight=-PLAIN.weight))
    with pytest.raises(TrainingError, match=r"0 events \(900 more have weight 0\).*weights above"):
        trained(replace(PLAIN, weight=0 * PLAIN.weight))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": 5}, "5 components of 4 features; set components lower"),
        ({"components": 2, "selected": 3}, "selected is 3 of 2 components kept"),
        ({"components": 4, "score": "residual"}, "one component left out of 4 features"),
        ({"features": ("heavy_mass",), "score": "residual"}, "one component left out of 1 feat"),
    ],
)
def test_components_that_do_not_exist_are_refused_before_training(settings, message):
    method = Pca(**{"features": NAMES} | settings)
    with pytest.raises(ConfigError, match=message):
        method.check(PLAIN.select(np.arange(0)), "event")
