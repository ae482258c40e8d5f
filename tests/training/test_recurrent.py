"""The variational recurrent network: closed forms, padding, its graph, signs; and its method."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, spearmanr

from tnt_coffea.errors import InputError, TrainingError
from tnt_coffea.jets import aligned_jets
from tnt_coffea.taggers.inputs import Aligned
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job, backend, cross_validation_plans, keras_graph
from tnt_coffea.training.methods import vrnn
from tnt_coffea.training.methods.vrnn import Vrnn, VrnnPerJet, jet_scores
from tnt_coffea.training.recurrent import gaussian_divergence, mean_shares, recurrent_network

from .conftest import auc, config_for, tnt

SHORT = {"batch": 50, "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "decay": 0.0}
WEIGHTS = (0.4, 0.3, 0.2, 0.1)


@pytest.fixture(scope="module")
def sample():
    return make_sample(300, aligned=4)


@pytest.fixture(scope="module")
def shown(sample):
    return Aligned.of("event", sample)


@pytest.fixture(scope="module")
def network(shown):
    return drawn(shown, WEIGHTS)


def drawn(shown, importance):
    """The network as it was drawn, but with biases that are not zero."""
    made = recurrent_network(shown, importance, seed=1)
    rng = np.random.default_rng(1)
    for weight in made.trainable_weights:
        if len(weight.shape) == 1:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return made


def outputs(model, values, **options):
    return backend.array(model([values], **options))


def numpy_outputs(network, jet):
    """Divergence and error of one jet (particle, 3), step by step with the paper's symbols."""
    gates, recurrent, *of = (np.asarray(each, np.float64) for each in network.trainable_weights)
    dense = [(of[k], of[k + 1]) for k in range(0, 26, 2)]
    phi_x, phi_z, enc = dense[:2], dense[2:3], dense[3:5]
    mean, width, prior, prior_mean, prior_width = (dense[k : k + 1] for k in range(5, 10))
    decoder = dense[10:13]

    def through(layers, x, last=True):
        for k, (kernel, bias) in enumerate(layers):
            x = x @ kernel + bias
            if last or k < len(layers) - 1:
                x = np.maximum(x, 0)
        return x

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h, divergence, error = np.zeros(16), 0.0, 0.0
    there = jet[jet[:, 0] > 0]
    for w, x in zip(WEIGHTS, there, strict=False):
        phi = through(phi_x, x)
        e, p = through(enc, np.concatenate([phi, h])), through(prior, h)
        m, m0 = through(mean, e, False), through(prior_mean, p, False)
        s, s0 = (
            np.logaddexp(0, through(layer, v, False)) + 1e-4
            for layer, v in ((width, e), (prior_width, p))
        )
        divergence += w * (np.log(s0 / s) + (s**2 + (m - m0) ** 2) / (2 * s0**2) - 0.5).sum()
        z = through(phi_z, m)
        error += ((through(decoder, np.concatenate([z, h]), False) - x) ** 2).mean()
        a, b = np.concatenate([phi, z]) @ gates, h @ recurrent
        r, u = sigmoid(a[:16] + b[:16]), sigmoid(a[16:32] + b[16:32])
        h = (1 - u) * np.tanh(a[32:] + r * b[32:]) + u * h
    n = max(len(there), 1)
    return np.array([divergence / n, error / n])


def test_divergence_is_the_integral():
    mean, width, prior_mean, prior_width = [0.3, -0.5], [0.7, 1.2], [-0.2, 0.1], [1.1, 0.8]

    def integrand(x, m, s, m0, s0):
        return norm.pdf(x, m, s) * (norm.logpdf(x, m, s) - norm.logpdf(x, m0, s0))

    parts = zip(mean, width, prior_mean, prior_width, strict=True)
    expected = sum(quad(integrand, -15, 15, args=each)[0] for each in parts)
    given = (np.array([v], np.float32) for v in (mean, width, prior_mean, prior_width))
    (found,) = backend.array(gaussian_divergence(*given))
    assert found == pytest.approx(expected, rel=1e-5)
    same = (np.array([v], np.float32) for v in (mean, width, mean, width))
    assert backend.array(gaussian_divergence(*same)) == pytest.approx([0.0], abs=1e-7)


def test_network_is_the_published_one(network, sample, shown):
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == 4747
    values = shown.read(sample)[:12]
    found = outputs(network, values)
    for event in range(12):
        for jet in range(2):
            expected = numpy_outputs(network, values[event, jet].astype(np.float64))
            assert found[event, jet] == pytest.approx(expected, rel=2e-4, abs=1e-5)
    empty = (values[..., 0] == 0).all(axis=-1)
    assert empty.any()
    assert not found[empty].any()


def test_padding_and_other_jets_change_nothing(network, sample, shown):
    values = shown.read(sample)[:20]
    found = outputs(network, values)
    longer = recurrent_network(Aligned(jets=("light",), most=7), (*WEIGHTS, 1, 1, 1), seed=2)
    longer.set_weights(network.get_weights())
    padded = np.pad(values, ((0, 0), (0, 0), (0, 3), (0, 0)))
    assert outputs(longer, padded[:, 1:])[:, 0] == pytest.approx(found[:, 1], rel=1e-5, abs=1e-7)
    swapped = outputs(network, values[:, ::-1])
    assert swapped[:, ::-1] == pytest.approx(found, rel=1e-5, abs=1e-7)


def test_noise_is_there_in_training_alone(network, sample, shown):
    values = shown.read(sample)[:20]
    assert np.array_equal(outputs(network, values), outputs(network, values, training=False))
    noisy = [outputs(network, values, training=True) for _ in range(2)]
    assert not np.allclose(noisy[0][..., 1], noisy[1][..., 1], rtol=1e-3)


def test_the_sign_of_the_latent_space_has_no_influence(network, sample, shown):
    values = shown.read(sample)[:40]
    flipped = recurrent_network(shown, WEIGHTS, seed=3)
    weights = network.get_weights()
    latent = [k for k, each in enumerate(weights) if each.shape == (2, 16)]
    means = [k for k, each in enumerate(weights) if each.shape == (16, 2)]
    for k in (*latent, means[0], means[0] + 1, means[2], means[2] + 1):
        weights[k] = -weights[k]
    flipped.set_weights(weights)
    assert outputs(flipped, values) == pytest.approx(outputs(network, values), rel=1e-5)


@pytest.mark.parametrize(
    "most", [pytest.param(most, marks=[pytest.mark.slow] * (most > 3)) for most in (3, 4, 20)]
)
def test_graph_agrees_with_the_network_on_jets_of_any_kind(most):
    sample = make_sample(64, aligned=most)
    shown = Aligned.of("event", sample)
    network = drawn(shown, np.full(most, 1 / most))
    heavy, light = jet_scores(network, -0.5)
    model = backend.keras().Model(network.inputs, backend.keras().ops.maximum(heavy, light))
    tagger = Tagger(keras_graph(model).SerializeToString(), "vrnn")
    values = shown.read(sample)
    values[0], values[1, 0], values[2, :, 1:] = 0, 0, 0  # no jet, one, a single constituent
    values[3], values[4] = 1, -1
    values[5, ..., 0], values[5, ..., 1:] = 1e-7, 1.5
    found, expected = tagger.score({"aligned": values}), outputs(model, values)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    scores = np.where(values[..., 0, 0] > 0, -outputs(network, values)[..., 0], -0.5)
    np.testing.assert_allclose(found, scores.max(axis=1), rtol=1e-5, atol=1e-6)
    moved = tagger.score({"aligned": np.roll(values, 5, axis=0)})
    assert np.array_equal(np.roll(moved, -5), found)


def test_mean_shares_are_those_of_jets_that_have_the_constituent(sample, shown):
    values = shown.read(sample)
    fourth = values[..., 3, 0]
    assert mean_shares([values[:99], values[99:]])[3] == pytest.approx(fourth[fourth > 0].mean())
    with pytest.raises(ValueError, match="3 factors for 4 constituents"):
        recurrent_network(shown, (1, 1, 1), seed=1)


def test_a_skim_without_aligned_constituents_is_refused():
    for method, scope in ((Vrnn(), "event"), (VrnnPerJet(), "light")):
        method.check(make_sample(10, aligned=3), scope)
        with pytest.raises(
            InputError, match=r"holds no aligned constituents \(skim\.aligned is null\)"
        ):
            method.check(make_sample(10), scope)


def test_too_few_jets_with_constituents_are_refused(sample):
    with pytest.raises(TrainingError, match=r"of 40 jets have aligned constituents, at least 50"):
        Vrnn().train(Job(sample.select(np.arange(20)), "event", 1))
    empty = replace(sample, lists={name: each[:, :0] for name, each in sample.lists.items()})
    with pytest.raises(TrainingError, match=r"^0 of 600 jets have aligned constituents"):
        VrnnPerJet().train(Job(empty, "heavy", 1))
    negative = replace(sample, weight=-sample.weight)
    with pytest.raises(TrainingError, match=r"^300 of 300 weights are negative"):
        Vrnn().train(Job(negative, "event", 1))


def showered(rng, share, angle):
    """Rows pt, eta, phi: particles split one by one, harder and wider ones first."""
    particles = [[share, 0.0, 0.0, angle]]
    while len(particles) < 24:
        hardest = max(range(len(particles)), key=lambda k: particles[k][0] * particles[k][3])
        pt, eta, phi, width = particles.pop(hardest)
        z, apart = 0.5 * 10 ** rng.uniform(-1.5, 0), width * 10 ** rng.uniform(-1, 0)
        turn = rng.uniform(0, 2 * np.pi)
        step = apart * np.array([np.cos(turn), np.sin(turn)])
        for part, side in ((z, z - 1), (1 - z, z)):
            place = np.array([eta, phi]) + side * step
            particles.append([part * pt, *place, apart])
    return np.array(particles)[:, :3]


def toy_jet(rng, prongs):
    if not prongs:
        return showered(rng, 600.0, 0.8)
    first, second = (showered(rng, 300.0, 0.08) for _ in range(2))
    apart = np.array([0, 0.3, 0])
    return np.concatenate([first + apart, second - apart])


def toys(n, seed, prongs=False, most=8):
    """A sample whose jets are showers, or have two equal prongs."""
    rng = np.random.default_rng(seed)
    rows = [toy_jet(rng, prongs) for _ in range(2 * n)]
    flat = np.concatenate(rows)
    columns = dict(zip(("pt", "eta", "phi"), flat.T, strict=True), mass=np.zeros(len(flat)))
    jets = aligned_jets(ak.unflatten(ak.zip(columns), [len(row) for row in rows]), most)
    lists = {
        f"{jet}_aligned_{name}": ak.unflatten(getattr(jets, name), jets.counts)[k::2]
        for k, jet in enumerate(("heavy", "light"))
        for name in jets.parts
    }
    sample = make_sample(n, aligned=most, kind=f"toy-{seed}")
    return replace(sample, lists={**sample.lists, **lists})


def toy_scores(scorer, sample):
    (shown,) = scorer.inputs
    return outputs(scorer.model, shown.read(sample))


@pytest.mark.slow
def test_two_equal_prongs_score_above_showers():
    method = Vrnn(epochs=40, optimizer={**SHORT, "patience": 40})
    showers, others, prongs = toys(1500, 1), toys(400, 2), toys(100, 3, prongs=True)
    scorers = [method.train(Job(showers, "event", seed)) for seed in (1, 2)]
    scores = [toy_scores(scorer, others) for scorer in scorers]
    for scorer, background in zip(scorers, scores, strict=True):
        cut = np.quantile(background, 0.9)
        found = toy_scores(scorer, prongs)
        assert np.median(found) > cut
        assert auc(found, background) > 0.9
    # Ranks hardly depend on the seed, and not on the mass of the event, which is not shown.
    assert spearmanr(*scores).statistic > 0.9
    assert abs(np.corrcoef(scores[0], others.m_jj)[0, 1]) < 0.1


@pytest.mark.slow
def test_what_cannot_be_learned_is_a_collapse_that_is_said(monkeypatch):
    sample = make_sample(600, aligned=4)
    rng = np.random.default_rng(1)
    counts = np.full(600, 4)
    values = {"pt": rng.normal(0.25, 0.05, 2400), "eta": rng.normal(0, 0.1, 2400)}
    values["phi"] = rng.normal(0, 0.1, 2400)
    lists = {
        f"{jet}_aligned_{name}": ak.unflatten(value.astype("f4"), counts)
        for jet in ("heavy", "light")
        for name, value in values.items()
    }
    noise = replace(sample, lists={**sample.lists, **lists})
    method = VrnnPerJet(shared=False, epochs=15, optimizer=SHORT)
    with pytest.raises(TrainingError, match="posterior collapse"):
        method.train(Job(noise, "heavy", 1))
    monkeypatch.setattr(vrnn, "LEAST_DIVERGENCE", -1.0)
    shown = Aligned.of("heavy", noise)
    network, _, _ = method._fitted(Job(noise, "heavy", 1), (shown,))
    divergence, error = outputs(network, shown.read(noise))[:, 0].mean(axis=0)
    variance = (0.05**2 + 2 * 0.1**2) / 3
    assert divergence < 0.0025
    assert error == pytest.approx(variance, rel=0.1)


@pytest.mark.slow
def test_one_network_serves_both_jets_where_it_is_shared(monkeypatch):
    monkeypatch.setattr(vrnn, "LEAST_DIVERGENCE", -1.0)  # one epoch has learned nothing
    sample = make_sample(400, aligned=3)
    for shared in (True, False):
        method = VrnnPerJet(shared=shared, epochs=1, optimizer=SHORT)
        scorer = method.train(Job(sample, "light", 1))
        assert scorer.inputs == (Aligned(jets=("light",), most=3),)
        changed = make_sample(400, aligned=3, kind="other")
        lists = {name: values for name, values in changed.lists.items() if "heavy" in name}
        other = replace(sample, lists={**sample.lists, **lists})
        again = method.train(Job(other, "light", 1))
        same = np.array_equal(toy_scores(scorer, sample), toy_scores(again, sample))
        assert same is not shared


@pytest.mark.slow
def test_it_labels_as_the_first_tagger_of_a_tag_n_train(monkeypatch, train):
    monkeypatch.setattr(vrnn, "LEAST_DIVERGENCE", -1.0)  # one epoch has learned nothing
    first = VrnnPerJet(epochs=1, optimizer=SHORT)
    config = config_for({"vrnn": first, "tnt": tnt("vrnn")})
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    sets = train(make_sample(800, aligned=3), config, plans)
    assert [len(sets[name]) for name in ("vrnn", "tnt")] == [4, 4]
    card = Tagger.from_file(sets["vrnn"][0].path).card
    assert card.orientation.startswith("fixed sign: new jets are simpler")
    assert [each.kind for each in card.inputs] == ["aligned"]
