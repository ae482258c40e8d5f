"""Deep Ensemble: both stages in one graph, and what the second one may see of the first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import make_sample, tagger_set
from tnt_coffea.testing import train as trained
from tnt_coffea.training import Job, OptimizerSettings, backend, training_costs
from tnt_coffea.training.methods.deep_ensemble import DeepEnsemble, _Events

from .conftest import auc, config_for

SHORT = DeepEnsemble(
    features=("tau21",),
    blocks=(1,),
    width=4,
    epochs=3,
    trees=40,
    optimizer=OptimizerSettings(batch=50, learning_rate=0.02, one_cycle=True, keep="last"),
)


TABLE_ALONE = SHORT.model_copy(update={"image": False, "features": ("mass", "tau21")})


def alike(kind, n=150):
    """Return events of one population, whatever they are called."""
    return make_sample(n, 0.0, kind=kind, event_image=8)


def told_nothing(method):
    """Train on events of one population, called by three names."""
    job = Job(alike("none", 1), "event", 1, simulation=alike("a"), priors={"b": alike("b")})
    with backend.one_thread():
        return method.train(job)


@pytest.fixture(scope="module")
def scorer():
    return told_nothing(SHORT)


@pytest.mark.slow
def test_trees_learn_from_answers_out_of_fold():
    """Networks learn their events by heart, which tells nothing of others."""
    method = SHORT.model_copy(
        update={
            "width": 16,
            "dropout": 0.0,
            "epochs": 20,
            "label_smoothing": 0.0,
            "mix_up": 0.0,
            "optimizer": OptimizerSettings(batch=50, learning_rate=0.01, keep="last"),
        }
    )
    by_heart = told_nothing(method)
    assert by_heart.history["loss"][-1] < 0.3  # 0.69 is that of nothing learned
    # Twice its standard deviation is 0.07.
    assert abs(by_heart.summary["network_auc"] - 0.5) < 0.12
    assert abs(by_heart.summary["network_accuracy"] - 0.5) < 0.12


def test_both_stages_are_one_graph(scorer):
    tagger = Tagger(scorer.model.SerializeToString(), "both stages")
    sample = make_sample(200, 0.3, event_image=8)
    inputs = {each.name: each.read(sample) for each in scorer.inputs}
    assert set(inputs) == {"event_image", "features"}
    inputs["event_image"][0] = 0
    inputs["event_image"][1] *= 100
    inputs["features"][2] = 0
    inputs["features"][3] = np.nan
    scores = tagger.score(inputs)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, scorer.predict(inputs), rtol=1e-5, atol=1e-5)
    assert tagger.has_latent
    answer = tagger.latent(inputs)
    assert answer.shape == (200, 1)
    swapped = inputs | {"event_image": inputs["event_image"][::-1]}
    assert (tagger.latent(swapped)[::-1] == answer).all()
    for name in inputs:  # either of them counts
        other = inputs | {name: np.zeros_like(inputs[name])}
        assert (tagger.score(other) != scores).mean() > 0.5


def test_the_history_has_the_losses_of_the_networks_and_the_errors_of_the_trees(scorer):
    history = scorer.history
    assert len(history["loss"]) == len(history["validation_loss"]) == SHORT.epochs
    assert len(scorer.seconds) == 2 * SHORT.epochs
    assert len(history["tree_errors"]) == SHORT.trees
    assert history["tree_errors"][-1] < history["tree_errors"][0]
    assert (history["simulation"], history["b"]) == (150, 150)


@pytest.fixture
def samples():
    return {
        "data": make_sample(600, 0.2, event_image=8),
        "simulation": make_sample(600, 0.0, kind="simulation", event_image=8),
        "prior:two-prong": make_sample(200, 1.0, kind="two-prong", event_image=8),
    }


@pytest.mark.parametrize(
    "method", [pytest.param(SHORT, marks=pytest.mark.slow), TABLE_ALONE], ids=["image", "table"]
)
def test_one_training_scores_every_fold(method, samples, tmp_path):
    config = config_for({"ensemble": method})
    outcomes = trained(samples, config, tmp_path)["ensemble"]
    assert len({item.sha256 for item in outcomes}) == 1
    data, card = samples["data"], Tagger.from_file(outcomes[0].path).card
    assert [each.kind for each in card.inputs][-1] == "columns"
    assert len(card.inputs) == 1 + method.image
    assert (card.knowledge, card.ancestors, card.uses_truth) == ("signal simulation", (), False)
    assert card.orientation == "log-odds of simulated signal"
    assert card.history["trees"] == method.trees
    scores = tagger_set("ensemble", outcomes, config).score(data).raw["event"]
    assert auc(scores[data.label == 1], scores[data.label == 0]) > 0.8


def test_without_the_image_it_is_trees_alone():
    assert (TABLE_ALONE.passes, SHORT.passes) == (SHORT.trees, 2 * SHORT.epochs)
    assert "keras" not in TABLE_ALONE.libraries
    assert (TABLE_ALONE.is_random, SHORT.is_random) == (False, True)


def test_an_event_in_both_parts_is_in_none():
    """The part of an event is a function of its id: copies are never on both sides."""
    once = alike("a", 40)
    twice = once.select(np.repeat(np.arange(40), 2))
    events = _Events(("simulation", "b"), (twice, alike("b", 40)))
    part = events.parts(3, seed=4)
    assert set(part) == {0, 1, 2}
    assert (part[:80:2] == part[1:80:2]).all()


def test_several_signals_count_alike_and_together_as_the_background():
    simulation, few, many = alike("a", 100), alike("few", 20), alike("many", 60)
    simulation = replace(simulation, weight=np.linspace(0.5, 1.5, 100))
    events = _Events(("simulation", "few", "many"), (simulation, few, many))
    background, first, second = np.split(events.weights, [100, 120])
    sums = [part.sum() for part in (background, first, second)]
    assert sums == pytest.approx([1, 0.5, 0.5])
    assert background[-1] / background[0] == pytest.approx(3)
    assert events.targets.tolist() == [False] * 100 + [True] * 80


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"prior": alike("b", 12)}, "12 events of b, at least 20 are needed"),
        ({"simulation": alike("a", 9)}, "9 events of simulation, at least 20"),
        (
            {"simulation": replace(alike("a"), weight=np.full(150, -1.0))},
            "weights of simulation are negative",
        ),
        ({"features": ("light_mass / light_mass",)}, "is the same for all events"),
        ({"features": ("log(mass - mass)",)}, "not finite"),
    ],
)
def test_bad_events_are_refused_before_a_network_is_trained(changes, cause):
    method = SHORT.model_copy(update={"features": changes.get("features", SHORT.features)})
    job = Job(
        alike("none", 1),
        "event",
        1,
        simulation=changes.get("simulation", alike("a")),
        priors={"b": changes.get("prior", alike("b"))},
    )
    with pytest.raises(TrainingError, match=cause):
        method.train(job)


def test_a_column_that_is_constant_is_left_alone(samples):
    job = Job(
        alike("none", 1), "event", 1,
        simulation=samples["simulation"], priors={"b": samples["prior:two-prong"]},
    )  # fmt: skip
    for features in (("tau21",), ("tau21", "tau21 - tau21")):
        method = TABLE_ALONE.model_copy(update={"features": features})
        assert method.train(job).history["tree_errors"][-1] < 0.1


def test_one_of_several_signals_can_be_chosen(samples):
    priors = {"two-prong": samples["prior:two-prong"], "other": alike("b", 60)}
    counts = []
    for prior in ("two-prong", "other", None, "none"):
        method = TABLE_ALONE.model_copy(update={"prior": prior})
        job = Job(alike("none", 1), "event", 1, simulation=samples["simulation"], priors=priors)
        if prior == "none":
            with pytest.raises(ConfigError, match=r"no simulated signal is called 'none'.*--prior"):
                method.train(job)
            continue
        history = method.train(job).history
        counts.append({name: history[name] for name in priors if name in history})
    assert counts == [{"two-prong": 200}, {"other": 60}, {"two-prong": 200, "other": 60}]


def test_a_skim_without_what_it_reads_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"no 'heavy_energy'.*add it to skim.observables"):
        DeepEnsemble().check(make_sample(1, event_image=8), "event")


@pytest.mark.slow
def test_its_cost_is_that_of_its_networks(write_skim, samples):
    parts = {role: write_skim(sample, role.replace(":", "-")) for role, sample in samples.items()}
    (step,) = training_costs(parts, config_for({"ensemble": SHORT})).steps
    assert (step.networks, step.epochs) == (1, 2 * SHORT.epochs)
    assert 0 < step.epoch < step.most
