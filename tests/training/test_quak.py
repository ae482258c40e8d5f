"""QUAK: known answers of its networks, what it reads, and the plane of two scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import JetShares
from tnt_coffea.errors import ConfigError, LeakError, TrainingError
from tnt_coffea.events.identity import fold_of
from tnt_coffea.events.sample import Sample
from tnt_coffea.processors import SearchProcessor
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import altered, make_sample, tagger_set
from tnt_coffea.training import Job, backend, cross_validation_plans
from tnt_coffea.training.flow_autoencoder import FlowAutoencoder
from tnt_coffea.training.methods.quak import LossPlane, Quak, QuakLoss, QuakPlane

from .conftest import auc, config_for, shas

FEATURES = ("x0", "x1", "x2")
ADAM = {"batch": 100, "learning_rate": 0.005, "beta1": 0.9, "beta2": 0.999, "decay": 0.0}
TINY = {"features": ("mass", "tau21"), "layers": (4,), "latent": 1, "flows": 1, "epochs": 1}
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]
WIDTHS = np.array([2, 2, 1, 1, 0.3, 0.3])


def events(x):
    """Dijets whose six features, three a jet, are the columns."""
    jets = [dict(zip(FEATURES, part.T, strict=True)) for part in (x[:, :3], x[:, 3:])]
    return Sample.from_columns(3000 + np.arange(len(x)), heavy=jets[0], light=jets[1])


def background(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 6)) * WIDTHS @ TURN


def blob(n, centre, seed):
    around = np.random.default_rng(seed).normal(size=(n, 6))
    return np.array(centre) @ TURN + 0.35 * around


def quak(kind=Quak, **changes):
    settings = {"features": FEATURES, "layers": (16, 8), "flows": 1, "optimizer": ADAM}
    return kind(**settings | changes)


def first_fold(config):
    return cross_validation_plans(config.train.folds, config.seed)[:1]


def plane_of(method, sample, priors=None):
    return LossPlane.of(method, sample, Job(sample, "event", 1, priors=priors or {}))


@pytest.fixture(scope="module")
def samples():
    return {
        "data": make_sample(600),
        "prior:two-prong": make_sample(300, 1.0, kind="prior"),
        "prior:other": make_sample(300, 1.0, kind="other"),
    }


@pytest.fixture
def bent():
    """A flow of two blocks with weights that bend."""
    network = FlowAutoencoder.of(3, layers=(4,), latent=4, flows=2, nodes=24, seed=1)
    rng = np.random.default_rng(2)
    for block in network.flow:
        block.set_weights([rng.normal(0, 0.25, each.shape) for each in block.get_weights()])
    return network


def test_the_slope_of_the_flow_is_the_determinant_of_its_jacobian(bent):
    z, step = np.random.default_rng(3).normal(size=(20, 4)), 1e-5
    _, log_slope = bent.bent(z)
    moved = step * np.eye(4)
    columns = [(bent.bent(z + d)[0] - bent.bent(z - d)[0]) / (2 * step) for d in moved]
    _, numerical = np.linalg.slogdet(np.stack(columns, axis=2))
    assert np.abs(log_slope).max() > 0.5
    np.testing.assert_allclose(log_slope, numerical, atol=1e-4)


def test_the_flow_can_be_taken_back_and_is_the_one_that_is_trained(bent):
    z = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)
    there, log_slope = bent.bent(z)
    back = bent.density.inverted(there[None], np.zeros(20))[0]
    np.testing.assert_allclose(back, z, atol=1e-5)
    values, slope = bent._bent(backend.keras().ops.convert_to_tensor(z))
    np.testing.assert_allclose(backend.array(values), there, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(backend.array(slope), log_slope, atol=1e-5)


@pytest.mark.slow
def test_a_linear_network_without_flow_and_divergence_is_pca():
    sample = events(background(1500, 1))
    method = quak(activation="linear", flows=0, latent=2, beta=1e-6, epochs=40)
    plane = plane_of(method, sample)
    x = plane.standard.applied(plane.features.values(sample))
    left = np.linalg.eigvalsh(np.cov(x.T, bias=True))[:-2].sum()
    np.testing.assert_allclose(plane.losses(sample).mean(), left, rtol=0.05)


@pytest.mark.slow
def test_with_the_beta_of_the_paper_the_posterior_collapses():
    sample = events(background(1500, 1))
    found = {}
    for beta in (0.1, 10.0):
        plane = plane_of(quak(beta=beta, epochs=15), sample)
        found[beta] = plane.summary()["r2 background"]
        if beta == 10:  # what is left is the squared distance from the mean
            x = plane.standard.applied(plane.features.values(sample))
            assert np.corrcoef(plane.losses(sample)[:, 0], (x**2).sum(axis=1))[0, 1] > 0.99
    assert found[0.1] > 0.5
    assert abs(found[10.0]) < 0.02


@pytest.mark.slow
def test_priors_help_in_a_toy_of_two_blobs():
    right = (0, 0, 1.5, 0, 0.6, 0)
    centres = {"right": right, "wrong": (0, 0, 0, -1.5, 0, 0.6)}
    centres["opposite"] = tuple(-x for x in right)
    priors = {name: events(blob(1000, at, seed)) for seed, (name, at) in enumerate(centres.items())}
    sample = events(background(4000, 1))
    known, signal = events(background(4000, 2)), events(blob(1000, right, 7))

    def areas(names, latent=2):
        method = quak(latent=latent, epochs=25, priors=names)
        scorer = method.train(Job(sample, "event", 1, priors=priors))
        shown = [scorer.inputs[0].read(each) for each in (signal, known)]
        (of_signal, losses), (of_known, others) = (
            map(backend.array, scorer.model([each])) for each in shown
        )
        return auc(of_signal, of_known), auc(losses[:, 0], others[:, 0])

    two, one = areas(("right",))
    wrong, _ = areas(("wrong",))
    three, _ = areas(("right", "wrong"))
    assert two > one + 0.1
    assert wrong > one - 0.02
    assert three > one + 0.1
    # The default latent space and the signal's opposite: the prior makes it worse, as is said.
    opposite, alone = areas(("opposite",), latent=4)
    assert alone - 0.2 < opposite < alone - 0.03


@pytest.mark.slow
def test_without_priors_it_is_the_background_loss_alone(samples, train):
    config = config_for({"q": Quak(**TINY)})
    outcome = train({"data": samples["data"]}, config, first_fold(config))["q"][0]
    tagger = Tagger.from_file(outcome.path)
    assert tagger.card.knowledge == "none"
    assert not tagger.has_latent
    assert {name for name in tagger.card.history if name.startswith("r2")} == {"r2 background"}


def test_it_reads_the_priors_that_are_named_alone(samples, train):
    config = config_for({"q": QuakLoss(of="two-prong", **TINY)})
    before = train(samples, config, first_fold(config))
    card = Tagger.from_file(before["q"][0].path).card
    assert (card.knowledge, set(card.priors)) == ("signal simulation", {"two-prong"})
    # Labels of no role have a part in it, nor have other priors.
    lot = np.random.default_rng(1)
    relabelled = {
        role: replace(sample, label=lot.permutation(np.arange(len(sample)) % 2).astype(np.int8))
        for role, sample in samples.items()
    }
    changed = altered(relabelled["prior:other"], samples["prior:other"].event_id > 0)
    again = train(relabelled | {"prior:other": changed}, config, first_fold(config))
    assert shas(again) == shas(before)


@pytest.mark.parametrize(
    ("method", "role", "message"),
    [
        (Quak(priors=("two-prong",)), "prior:two-prong", "--prior two-prong=FILE"),
        (QuakLoss(of="two-prong"), "prior:two-prong", "it has other: give it with --prior two-"),
        (QuakPlane(), "prior", "--prior NAME=FILE"),
        (Quak(sample="simulation"), "simulation", "--simulation FILE"),
    ],
)
def test_a_missing_role_names_its_flag(samples, train, method, role, message):
    fewer = {name: sample for name, sample in samples.items() if not name.startswith(role)}
    with pytest.raises(ConfigError, match=message):
        train(fewer, config_for({"q": method.model_copy(update=TINY)}))


def test_an_event_that_is_prior_and_data_is_a_leak(samples, train):
    data, prior = samples["data"], samples["prior:two-prong"]
    ids = prior.event_id.copy()
    ids[0] = data.event_id[-1]
    shared = replace(prior, event_id=ids)
    shared = shared.select(np.argsort(shared.event_id))
    with pytest.raises(LeakError, match="both 'data' and 'prior:two-prong'"):
        train(samples | {"prior:two-prong": shared}, config_for({"q": Quak(**TINY)}))


def test_bad_events_are_refused_before_a_network_is_trained():
    sample, prior = events(background(300, 1)), events(blob(300, np.ones(6), 2))
    method = quak()

    def fails(message, data=sample, given=prior):
        with pytest.raises(TrainingError, match=message):
            plane_of(method, data, {"p": given})

    fails("60 events of prior p to train on, at least 100", given=prior.select(np.arange(60)))
    fails("60 events of background", data=sample.select(np.arange(60)))
    broken = {**prior.columns, "heavy_x1": np.full(300, np.inf, np.float32)}
    fails(
        "heavy_x1 is not finite for 300 of 300 events of prior p",
        given=replace(prior, columns=broken),
    )
    flat = {**sample.columns, "light_x0": np.ones(300, np.float32)}
    fails("light_x0 is the same", data=replace(sample, columns=flat))
    fails("of prior p are negative", given=replace(prior, weight=-prior.weight))


def test_a_plane_without_priors_is_refused():
    with pytest.raises(ValueError, match="take kind: quak"):
        QuakPlane(priors=())


@pytest.fixture(scope="module")
def scored(samples, tmp_path_factory):
    from tnt_coffea.testing import train

    methods = {"q": Quak(**TINY), "plane": QuakPlane(priors=("two-prong",), **TINY)}
    config = config_for(methods)
    outcomes = train(samples, config, tmp_path_factory.mktemp("quak"), first_fold(config))
    return config, {name: tagger_set(name, found, config) for name, found in outcomes.items()}


@pytest.mark.slow
def test_no_numbers_are_infinite_or_missing(scored):
    _, sets = scored
    for name, found in sets.items():
        for member in found.members:
            inputs = np.zeros((7, 4), np.float32)
            inputs[1:4] = np.array([np.nan, np.inf, -np.inf])[:, None]
            inputs[4:, 2] = 1e30, -1e30, np.nan
            assert np.isfinite(member.tagger.score(inputs)).all(), name


@pytest.mark.slow
def test_few_scores_are_tied(scored, samples):
    for name, found in scored[1].items():
        for raw in found.score(samples["data"]).raw.values():
            raw = raw[np.isfinite(raw)]
            assert len(np.unique(raw)) > 0.9 * len(raw), name


@pytest.mark.slow
def test_the_score_is_the_lower_rank_of_the_losses_on_the_card(scored, samples):
    data = samples["data"]
    member = scored[1]["q"].members[0]
    inputs = member.tagger.card.inputs[0].read(data)
    losses, score = member.tagger.latent(inputs), member.tagger.score(inputs)
    assert losses.shape == (600, 3)  # background, and the priors by name
    own = fold_of(data.event_id, 2, scored[0].seed) == member.tagger.card.direct[0]
    ranks = np.stack(
        [np.searchsorted(np.sort(column[own]), column[own]) / own.sum() for column in losses.T],
        axis=1,
    )
    wanted = np.minimum(ranks[:, 0], 1 - ranks[:, 1:].min(axis=1))
    np.testing.assert_allclose(score[own], wanted, atol=2 / own.sum())


@pytest.mark.slow
def test_a_plane_is_two_axes_of_a_search(scored, samples):
    config, sets = scored
    plane = sets["plane"]
    assert (plane.scopes, plane.knowledge) == (("background", "signal"), "signal simulation")
    assert plane.axes == ("background loss", "likeness to a signal")
    data = samples["data"]
    made = plane.calibrated(
        data, config.search.fit_range, (0.3,), {"pair": JetShares(heavy=0.8, light=0.1)}
    )
    ranks, raw = made.ranks(data), plane.score(data).raw
    own = ranks.fold == 0
    for scope, of_axis in (("background", ranks.heavy), ("signal", ranks.light)):
        order = np.argsort(raw[scope][own], kind="stable")
        assert (np.diff(of_axis[own][order]) >= 0).all()
    cut = made.quantiles.points["pair"].cuts[0]
    assert (cut.heavy, cut.light) == pytest.approx((0.2, 0.9), abs=0.01)
    axes = SearchProcessor(config, made)._axes(made)
    assert [axis.label for axis in axes[2:]] == [
        "background-loss quantile",
        "likeness-to-a-signal quantile",
    ]
