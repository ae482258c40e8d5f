"""An autoencoder against a discriminator: turns, the cycle kept, the figure of merit, the score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Batches, Job, OptimizerSettings, backend, keras_graph
from tnt_coffea.training.adversarial import Player, alternate
from tnt_coffea.training.decorrelation import distance_correlation
from tnt_coffea.training.method import TrainedOn
from tnt_coffea.training.methods.gan_ae import GanAe, Rivals, UnitRange
from tnt_coffea.training.progress import listening

from .conftest import auc, config_for

ADAM = OptimizerSettings(batch=64, learning_rate=0.01, beta1=0.5, decay=0.0)
FAST = GanAe(
    features=("mass", "tau21", "heavy_mass / light_mass"),
    layers=(8,),
    latent=2,
    discriminator=(8,),
    cycles=3,
    discriminator_epochs=2,
    epsilon=2.0,
    optimizer=ADAM,
)


def events(n=200, d=3, seed=1):
    rng = np.random.default_rng(seed)
    shown = {"x": rng.random((n, d)).astype("f4"), "mass": rng.exponential(800, n).astype("f4")}
    none, one = np.zeros(n, int), np.ones(n, np.float32)
    return Batches([{k: v.__getitem__ for k, v in shown.items()}], none, np.arange(n), one, one)


@pytest.fixture
def rivals():
    return FAST.rivals(3, seed=1)


def same(before, after):
    return [np.array_equal(one, two) for one, two in zip(before, after, strict=True)]


def players(rivals, discriminator, autoencoder):
    return [
        Player("discriminator", rivals.discriminator, rivals.told, discriminator),
        Player("autoencoder", rivals.autoencoder, rivals.fooled, autoencoder),
    ]


@pytest.mark.parametrize("moves", ["discriminator", "autoencoder"])
def test_frozen_parts_do_not_move(rivals, moves):
    epochs = {"discriminator": 0, "autoencoder": 0} | {moves: 2}
    networks = (rivals.discriminator, rivals.autoencoder)
    before = [[v.numpy().copy() for v in each.trainable_variables] for each in networks]
    figures = iter((1.0, 0.5))
    alternate(
        players(rivals, **epochs), events(), lambda: next(figures), cycles=2, optimizer=ADAM, seed=1
    )
    for name, own, network in zip(epochs, before, networks, strict=True):
        stayed = same(own, [v.numpy() for v in network.trainable_variables])
        assert not any(stayed) if name == moves else all(stayed)


def constant(value=0.0):
    keras = backend.keras()
    start = keras.initializers.Constant(value)
    return keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer=start)]
    )


def numbers():
    x = np.linspace(-1, 3, 100, dtype="f4")
    one = np.ones(100, np.float32)
    return Batches([{"x": x.__getitem__}], np.zeros(100, int), np.arange(100), one, one)


def away(model):
    return lambda inputs, weights: backend.keras().ops.mean(
        weights * (inputs["x"] - model.weights[0][0, 0]) ** 2
    )


def towards_the_mean(merit, cycles=8, seed=1, **optimizer):
    """One number that falls to the mean of others; its value behind every cycle."""
    model = constant(5.0)
    values = []

    def figure():
        values.append(float(model.get_weights()[0][0, 0]))
        return merit(len(values) - 1)

    history = alternate(
        [Player("mean", model, away(model), 2)],
        numbers(),
        figure,
        cycles=cycles,
        optimizer=OptimizerSettings(batch=32, learning_rate=0.05, **optimizer),
        seed=seed,
    )
    return history, values, float(model.get_weights()[0][0, 0])


def test_weights_are_those_of_the_best_cycle_and_patience_ends_the_training():
    merits = [3.0, 1.0, 2.0, 1.0, 4.0, 5.0, 0.0]
    reported = []
    with listening(lambda *values: reported.append(values)):
        history, values, kept = towards_the_mean(merits.__getitem__, patience=3)
    assert history.validation_loss == (3.0, 1.0, 2.0, 1.0, 4.0)  # an equal one is no better one
    assert [(cycle, merit) for cycle, _, merit in reported] == list(enumerate(merits[:5], 1))
    assert [loss for _, loss, _ in reported] == list(history.loss)
    assert history.best_epoch == 1
    assert kept == values[1]
    assert np.all(np.diff(values) < 0)
    assert len(history.seconds) == 5
    history, values, kept = towards_the_mean(merits.__getitem__, cycles=5, keep="last")
    assert (history.best_epoch, kept) == (4, values[4])


def test_the_order_of_the_events_is_that_of_the_seed():
    first, again, other = (
        towards_the_mean([1.0].__getitem__, cycles=1, seed=seed)[1] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_batches_are_of_one_size():
    sizes = []
    model = constant()

    def loss(inputs, weights):
        return away(model)(inputs, weights)

    class Counted(Batches):
        def inputs(self, chosen):
            sizes.append(len(chosen))
            return super().inputs(chosen)

    every = Counted(**vars(numbers()))
    optimizer = OptimizerSettings(batch=33)
    alternate(
        [Player("mean", model, loss, 1)], every, lambda: 0.0, cycles=1, optimizer=optimizer, seed=1
    )
    assert sizes == [1, 25, 25, 25, 25]  # the first tells the shapes


def test_losses_and_figures_that_are_no_numbers_end_the_training():
    with pytest.raises(TrainingError, match="figure of merit is not finite in cycle 3"):
        towards_the_mean([1.0, 1.0, np.nan].__getitem__)
    model = constant(np.inf)
    with pytest.raises(TrainingError, match="loss of the mean is not finite in cycle 1"):
        alternate(
            [Player("mean", model, away(model), 1)],
            numbers(),
            lambda: 0.0,
            cycles=1,
            optimizer=ADAM,
            seed=1,
        )
    nothing = replace(numbers(), rows=np.zeros(0, int))
    with pytest.raises(TrainingError, match="no events to train on"):
        alternate(
            [Player("mean", model, away(model), 1)],
            nothing,
            lambda: 0.0,
            cycles=1,
            optimizer=ADAM,
            seed=1,
        )


def planted(copy, odds):
    """Rivals of which one gives a constant, and the other one known odds."""
    keras = backend.keras()
    x = keras.Input((2,))
    return Rivals(
        keras.Model(x, 0 * x + np.array(copy, "f4")),
        keras.Model(x, odds(x)),
        epsilon=0.2,
        alpha=0.0,
    )


def test_the_figure_of_merit_falls_when_reconstructions_are_taken_for_events():
    # The discriminator takes what lies to the right for events, wherever the events are.
    def right(x):
        return 20 * x[:, 0] - 10

    x = np.full((50, 2), 0.5, "f4")
    rows = np.arange(50)
    weights = np.repeat([0.0, 2.0], 25).astype("f4")
    x[weights == 0] = 7.0  # no part of a mean
    shown = Batches([{"x": x.__getitem__}], 0 * rows, rows, weights, weights)
    found = {
        copy: planted(copy, right).figures(shown, 20)
        for copy in ((0.1, 0.5), (0.9, 0.5), (0.5, 0.5))
    }
    np.testing.assert_allclose([d for d, _ in found.values()], [0.4, 0.4, 0.0], atol=2e-6)
    np.testing.assert_allclose(
        [taken for _, taken in found.values()],
        [1 / (1 + np.exp(8)), 1 / (1 + np.exp(-8)), 0.5],
        rtol=1e-4,
    )
    worse, better, _ = (distance + 1 - taken for distance, taken in found.values())
    assert better < worse - 0.9


def test_losses_are_their_definitions():
    x = np.random.default_rng(1).random((40, 2)).astype("f4")
    weights = np.random.default_rng(2).exponential(1, 40).astype("f4")
    copy = np.array([0.4, 0.6])
    rivals = planted(copy, lambda x: 3 * x[:, 0] - x[:, 1])
    inputs = {"x": x, "mass": x[:, 0]}

    def log_p(x, sign):
        return -np.log1p(np.exp(-sign * (3 * x[..., 0] - x[..., 1])))

    told = -np.mean(weights * (log_p(x, 1) + log_p(copy, -1))) / 2
    assert float(rivals.told(inputs, weights)) == pytest.approx(told, rel=1e-5)
    apart = np.linalg.norm(x - copy, axis=1)
    fooled = np.mean(weights * (0.2 * apart - log_p(copy, 1)))
    assert float(rivals.fooled(inputs, weights)) == pytest.approx(fooled, rel=1e-5)
    flat = replace(rivals, alpha=5.0)
    penalty = [float(flat.fooled(inputs | {"mass": m}, weights)) - fooled for m in (apart, x[:, 0])]
    assert penalty[0] == pytest.approx(5, rel=1e-3)
    assert 0 < penalty[1] < 5


@pytest.fixture(scope="module")
def sample():
    return make_sample(1200, 0.05)


@pytest.fixture(scope="module")
def scorer(sample):
    return FAST.train(Job(sample, "event", 3))


def test_the_graph_agrees_wherever_an_event_lies_and_stands(scorer, sample):
    columns = scorer.inputs[0]
    values = columns.read(make_sample(320, 0.1, seed=6))
    # Out of range, at its edge, and no numbers; a ratio of masses that are zero.
    extremes = np.array([0.0, -5.0, 1e9, np.inf, -np.inf, np.nan, 3.2e38], "f4")
    values[:7] = extremes[:, None]
    for i in range(values.shape[1]):
        values[7 * (i + 1) : 7 * (i + 2), i] = extremes
    read = columns.read(sample)
    values[100:110], values[110:120] = read.min(axis=0), read.max(axis=0)
    tagger = Tagger(keras_graph(scorer.model).SerializeToString(), "the graph")
    found = tagger.score({"features": values})
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= np.sqrt(5)  # five features between 0 and 1
    wanted = backend.array(scorer.model([values]))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    moved = tagger.score({"features": np.roll(values, 1, axis=0)})
    np.testing.assert_array_equal(np.roll(found, 1), moved)
    _, counts = np.unique(found[120:], return_counts=True)
    assert counts[counts > 1].sum() < 0.5 * 200


def test_what_is_trained_is_what_is_exported(scorer, sample):
    # Scaled in numpy for the training, by the graph for a search.
    history = scorer.history
    best = history["best_epoch"]
    used = np.random.default_rng(1).permutation(1200)[:600]
    columns = scorer.inputs[0].read(sample)[used]
    mean = backend.array(scorer.model([columns])).mean()
    assert mean == pytest.approx(history["distance"][best], rel=0.15)
    figures = np.array(history["distance"]) + 1 - np.array(history["taken_for_events"])
    np.testing.assert_allclose(figures, history["validation_loss"], rtol=1e-6)
    assert best == np.argmin(figures)
    assert len(history["distance"]) == FAST.cycles


def test_ranges_are_those_of_the_events_trained_on():
    values = np.array([[0, -2, 5], [4, 2, np.inf], [1, np.nan, 7]], "f4")
    ranges = UnitRange.of(("a", "b", "c"), values)
    wanted = np.array([[0, 0, 5 / 7], [1, 1, 0], [0.25, 0.5, 1]], "f4")
    other = np.array([[-1, 9, 1e9], [5, -9, -np.inf]], "f4")
    for given, scaled in ((values, wanted), (other, np.array([[0, 1, 1], [1, 0, 0]], "f4"))):
        np.testing.assert_allclose(ranges.applied(given), scaled, rtol=1e-6)
        np.testing.assert_array_equal(backend.array(ranges.tensor(given)), ranges.applied(given))


def with_columns(sample, **columns):
    return replace(sample, columns={**sample.columns, **columns})


@pytest.mark.slow
def test_turned_features_do_not_turn_the_score(sample, scorer):
    tested = make_sample(800, 0.2, seed=5)
    names = ("heavy_mass", "light_mass", "heavy_tau21", "light_tau21", "heavy_mass / light_mass")
    turned = FAST.model_copy(update={"features": tuple(f"0 - {name}" for name in names)})
    scores = [
        backend.array(each.model([each.inputs[0].read(tested)]))
        for each in (scorer, turned.train(Job(sample, "event", 3)))
    ]
    assert spearmanr(*scores).statistic > 0.8
    assert all(auc(s[tested.label == 1], s[tested.label == 0]) > 0.6 for s in scores)


@pytest.mark.slow
def test_events_without_weight_have_no_part(sample):
    update = {"cycles": 1, "discriminator_epochs": 0, "autoencoder_epochs": 1, "alpha": 0.0}
    one, some = FAST.model_copy(update=update), np.arange(1200) % 6 == 0
    weights = [
        one.train(Job(each, "event", 3)).model.get_weights()
        for each in (replace(sample, weight=some.astype(float)), sample.select(some))
    ]
    assert all(same(*weights))


def constant_column(sample):
    return with_columns(sample, heavy_tau21=np.full(len(sample), 0.5, "f4"))


def never_finite(sample):
    return with_columns(sample, light_tau21=np.full(len(sample), np.nan, "f4"))


def negative(sample):
    return replace(sample, weight=np.where(np.arange(len(sample)) % 8, 1.0, -1.0))


def unweighted(sample):
    return replace(sample, weight=np.full(len(sample), np.nan))


def few(sample):
    return replace(sample, weight=(np.arange(len(sample)) < 99).astype(float))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            constant_column,
            "feature heavy_tau21 is the same for all events to train on .0.5 to 0.5.",
        ),
        (never_finite, "feature light_tau21 is the same for all events"),
        (negative, "150 of 1200 weights are negative or no numbers"),
        (unweighted, "1200 of 1200 weights are negative or no numbers"),
        (few, "99 events to train on, at least 100 are needed"),
    ],
)
def test_events_that_teach_nothing_are_refused_before_training(sample, change, message):
    with pytest.raises(TrainingError, match=message):
        FAST.train(Job(change(sample), "event", 3))


def test_settings_that_cannot_work_are_refused(sample):
    with pytest.raises(
        ConfigError, match=r"no 'heavy_tau1', .*'light_tau32', only .*skim\.observables"
    ):
        GanAe().check(sample, "event")
    with pytest.raises(ConfigError, match="latent space of 5 is no bottleneck for 5 features"):
        FAST.model_copy(update={"latent": 5}).check(sample, "event")
    with pytest.raises(ConfigError, match="name two features or more"):
        FAST.model_copy(update={"features": ("heavy_mass",)}).check(sample, "event")
    FAST.check(sample, "event")
    assert FAST.reads.data
    assert not FAST.reads.simulation


@pytest.mark.slow
def test_the_penalty_takes_the_mass_out_of_the_score():
    # Jets' pT are half of the mass, and their range is that of single outliers.
    trained, tested = make_sample(3000, 0.0), make_sample(1000, 0.0, seed=5)
    base = FAST.model_copy(update={"features": ("pt", "mass", "tau21"), "cycles": 8})
    found = []
    for alpha in (0.0, 10.0):
        scorer = base.model_copy(update={"alpha": alpha}).train(Job(trained, "event", 3))
        score = backend.array(scorer.model([scorer.inputs[0].read(tested)]))
        found.append(float(distance_correlation(score, tested.mass)) ** 0.5)
    assert found[0] > 0.3
    assert found[1] < 0.6 * found[0]


@pytest.mark.slow
def test_simulation_alone_trains_once_for_all_folds(train):
    method = FAST.model_copy(update={"sample": TrainedOn.SIMULATION, "cycles": 1})
    samples = {"data": make_sample(400), "simulation": make_sample(1000, 0.0, kind="sim")}
    outcomes = train(samples, config_for({"gan": method}))["gan"]
    assert len({item.sha256 for item in outcomes}) == 1
    card = Tagger.from_file(outcomes[0].path).card
    assert (card.knowledge, card.ancestors, card.training_sample) == (
        "background simulation",
        (),
        "",
    )
    assert card.orientation == "reconstruction error"
