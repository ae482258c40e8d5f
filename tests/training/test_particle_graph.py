"""Particle graph autoencoder: its score, its frames, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import vector

from tnt_coffea.config import ImageSettings
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.jets.frames import framed, leading_constituents
from tnt_coffea.taggers.inputs import Columns, Constituents, readers
from tnt_coffea.testing import make_sample, tagger_set
from tnt_coffea.testing import train as trained_on
from tnt_coffea.training import Job, backend, cross_validation_plans
from tnt_coffea.training.checks import checked
from tnt_coffea.training.export import keras_graph
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.methods.particle_graph import ParticleGraph, ParticleGraphPerJet

from .conftest import config_for, tnt

MOST = 11  # odd: sums over rows that begin anywhere in memory
FAST = {"epochs": 2, "optimizer": OptimizerSettings(batch=32, learning_rate=0.005)}
AS_MEASURED = ImageSettings(pixels=12, centre=False, rotate=False, flip=False)


def with_lab(sample, seed=4):
    """Return the sample as it is in a skim that has what the laboratory's momenta need."""
    rng = np.random.default_rng(seed)
    further = {}
    for jet in ("heavy", "light"):
        further[f"{jet}_pt_sum"] = sample.columns[f"{jet}_pt"] * np.float32(1.01)
        further[f"{jet}_eta"] = rng.normal(0, 1, len(sample)).astype(np.float32)
        further[f"{jet}_phi"] = rng.uniform(-3, 3, len(sample)).astype(np.float32)
    settings = sample.settings.model_copy(update={"images": AS_MEASURED})
    return replace(sample, columns={**sample.columns, **further}, settings=settings)


def inputs_of(scorer, sample):
    return {
        name: read(np.arange(len(sample))) for name, read in readers(scorer.inputs, sample).items()
    }


def scored(scorer, **inputs):
    given = [inputs[tensor.name] for tensor in scorer.model.inputs]
    return backend.array(scorer.model(given))


@pytest.fixture(scope="module")
def sample():
    return make_sample(600, constituents=MOST)


@pytest.fixture(scope="module")
def event(sample):
    return ParticleGraph(**FAST).train(Job(sample, "event", seed=1))


@pytest.fixture(scope="module")
def lab(sample):
    method = ParticleGraph(**FAST, frame="lab", loss="chamfer")
    return method.train(Job(with_lab(sample), "event", seed=1))


def test_the_score_of_an_event_is_the_smaller_error_of_its_jets(event, sample):
    shown = inputs_of(event, sample)["constituents"]
    of_jets = [scored(event, constituents=shown[:, [jet, jet]]) for jet in range(2)]
    assert scored(event, constituents=shown) == pytest.approx(np.minimum(*of_jets), rel=1e-6)
    assert 0.2 < (of_jets[0] < of_jets[1]).mean() < 0.8
    assert event.summary["latent_used"] in {0.0, 1.0, 2.0}
    # A cut on it is the published one: both jets above a quantile of all jets' errors.
    cut = np.quantile(np.concatenate(of_jets), 0.9)
    both = (of_jets[0] > cut) & (of_jets[1] > cut)
    assert np.array_equal(both, scored(event, constituents=shown) > cut)


def test_permuting_constituents_leaves_the_score(event, sample):
    shown = inputs_of(event, sample)["constituents"]
    permuted = shown[:, :, np.random.default_rng(1).permutation(MOST)]
    given = scored(event, constituents=shown)
    assert scored(event, constituents=permuted) == pytest.approx(given, rel=1e-6, abs=1e-6)


def test_jets_of_one_constituent_or_none_have_finite_scores(event):
    shown = np.zeros((3, 2, MOST, 3), np.float32)
    shown[0, :, 0, 0] = shown[1, 0, :2, 0] = 1.0
    shown[2, :, :2] = [0.5, 1e5, -1e5]
    scores = scored(event, constituents=shown)
    assert np.isfinite(scores).all()
    assert scores[1] == 0  # the second jet has none, and nothing that is lost
    assert scores[0] > 0


def constituents_in_frame(settings, turned):
    rng = np.random.default_rng(8)
    counts = np.full(40, 5)
    spread = rng.normal(0, 0.2, (2, 200))
    jets = vector.zip(
        {
            "pt": ak.unflatten(rng.exponential(50, 200), counts),
            "eta": ak.unflatten(0.4 + spread[0], counts),
            "phi": ak.unflatten((2.9 + turned + spread[1] + np.pi) % (2 * np.pi) - np.pi, counts),
            "mass": ak.unflatten(np.zeros(200), counts),
        }
    )
    dense = leading_constituents(framed(jets, settings), MOST).dense(MOST)
    return dense.reshape(20, 2, MOST, 3)


@pytest.mark.slow
def test_turning_an_event_in_phi_changes_the_score_in_the_laboratory_alone(event, lab):
    given, turned = (constituents_in_frame(ImageSettings(), by) for by in (0.0, 1.0))
    scores = scored(event, constituents=given)
    assert scored(event, constituents=turned) == pytest.approx(scores, rel=1e-4)

    given, turned = (constituents_in_frame(AS_MEASURED, by) for by in (0.0, 1.0))
    of_jets = np.tile(np.array([1500.0, 0.4, 2.9], np.float32), (20, 2))
    moved = of_jets + np.tile(np.array([0, 0, 1], np.float32), 2)
    scores = scored(lab, constituents=given, features=of_jets)
    change = np.abs(scored(lab, constituents=turned, features=moved) / scores - 1)
    assert np.median(change) > 0.05


@pytest.mark.slow
def test_the_graph_of_both_inputs_is_the_model(lab, sample):
    assert [type(each) for each in lab.inputs] == [Constituents, Columns]
    assert lab.inputs[1].columns[:3] == ("heavy_pt_sum", "heavy_eta", "heavy_phi")
    reading = readers(lab.inputs, with_lab(sample))
    assert checked(lab, keras_graph(lab.model), reading, len(sample)).history["tied"] < 0.5


@pytest.mark.slow
def test_simulation_trains_as_data_do_and_shared_networks_see_both_jets(sample):
    settings = FAST | {"epochs": 1, "shared": True}
    method = ParticleGraphPerJet(**settings)
    simulated = ParticleGraphPerJet(**settings, sample="simulation")
    assert (simulated.reads.data, simulated.reads.simulation) == (False, True)
    nothing = sample.select(np.arange(0))
    of_heavy = method.train(Job(sample, "heavy", seed=1))
    of_light = simulated.train(Job(nothing, "light", seed=1, simulation=sample))
    assert [each.inputs[0].jets for each in (of_heavy, of_light)] == [("heavy",), ("light",)]
    assert of_heavy.history["events"] == 2 * len(sample)
    assert {**of_light.history, "latent_used": 0} == {**of_heavy.history, "latent_used": 0}


def test_a_skim_that_does_not_fit_is_refused(sample):
    lab, per_jet = ParticleGraph(frame="lab"), ParticleGraphPerJet(frame="lab")
    with pytest.raises(ConfigError, match=r"skim\.images to {centre: false, rotate: false"):
        lab.check(sample, "event")
    measured = with_lab(sample)
    lab.check(measured, "event")
    columns = {name: item for name, item in measured.columns.items() if name != "light_pt_sum"}
    with pytest.raises(ConfigError, match="no 'light_pt_sum'"):
        per_jet.check(replace(measured, columns=columns), "light")
    per_jet.check(replace(measured, columns=columns), "heavy")
    with pytest.raises(InputError, match="holds no constituents"):
        ParticleGraph().check(make_sample(5), "event")
    with pytest.raises(ConfigError, match="the skim holds one of each jet"):
        ParticleGraphPerJet().check(make_sample(5, constituents=1), "heavy")


def alone(sample):
    return replace(sample, lists={name: each[:, :1] for name, each in sample.lists.items()})


def alike(sample):
    counts = np.full(len(sample), 2)
    lists = {
        name: ak.unflatten(np.full(2 * len(sample), "pt" in name, np.float32), counts)
        if "constituents" in name
        else each
        for name, each in sample.lists.items()
    }
    return replace(sample, lists=lists)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sample: sample.select(np.arange(40)), r"jets of two .* 2766 are needed"),
        (alone, "0 jets of two constituents or more have 0 numbers"),
        (alike, "all alike: nothing to learn"),
        (lambda sample: replace(sample, weight=np.zeros(600)), "weights .* are all zero"),
        (lambda sample: replace(sample, weight=-sample.weight), "600 of 600 weights are negative"),
    ],
    ids=["few events", "one constituent", "constant", "no weight", "negative"],
)
def test_what_teaches_nothing_is_refused_before_training(change, message, sample):
    with pytest.raises(TrainingError, match=message):
        ParticleGraphPerJet().train(Job(change(sample), "heavy", seed=1))


@pytest.mark.slow
def test_tag_n_train_takes_its_labels(tmp_path):
    sample = make_sample(1500, constituents=8)
    config = config_for({"graph": ParticleGraphPerJet(**FAST), "tnt": tnt("graph")})
    plans = cross_validation_plans(config.train.folds, config.seed)[:1]
    outcomes = trained_on(sample, config, tmp_path, plans)
    assert len(outcomes["graph"]) == len(outcomes["tnt"]) == 4
    scores = tagger_set("tnt", outcomes["tnt"], config).score(sample)
    outer = plans[0].inner_of(sample.event_id) < 0
    assert np.isfinite(scores.raw["heavy"][outer]).all()


@pytest.mark.slow
def test_taggers_of_simulation_alone_serve_all_folds(tmp_path):
    samples = {
        "data": make_sample(300, constituents=8),
        "simulation": make_sample(600, 0.0, kind="sim", constituents=8),
    }
    config = config_for({"graph": ParticleGraph(**FAST, sample="simulation")})
    outcomes = trained_on(samples, config, tmp_path)["graph"]
    assert [item.scored for item in outcomes] == [0, 1]
    assert outcomes[0].sha256 == outcomes[1].sha256
    card = tagger_set("graph", outcomes, config).members[0].tagger.card
    assert (card.direct, card.ancestors) == ((), ())
    assert card.simulation
    assert not card.training_sample
