"""Kinds of input and network through a whole training run, on as few events as it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import readers
from tnt_coffea.testing import make_sample, tagger_set
from tnt_coffea.training import cross_validation_plans
from tnt_coffea.training.classifiers import Convolutional, ParticleFlow
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.references import Supervised, SupervisedBothJets

from .conftest import config_for

SAMPLE = make_sample(400, signal_share=0.2, constituents=6)
SHORT = {"batch": 100}
TURNED = {"rotation": 180, "reflection": True, "pt_smearing": 0.1}


@pytest.fixture
def outcomes(train):
    """Training runs of one method for one scored fold."""

    def of(method, sample=SAMPLE, **folds):
        config = config_for({"method": method}, **folds)
        plans = cross_validation_plans(config.train.folds, config.seed)[:1]
        return train(sample, config, plans)["method"]

    return of


@pytest.mark.parametrize(
    ("features", "takes"),
    [
        pytest.param((), {"image": (2, 12, 12)}, marks=pytest.mark.slow),
        (("rescaled_mass", "tau21"), {"image": (2, 12, 12), "features": (5,)}),
    ],
)
def test_a_classifier_of_both_jets_takes_what_its_card_says(outcomes, features, takes):
    network = Convolutional(features=features, augmentation=TURNED, epochs=2, optimizer=SHORT)
    (outcome,) = outcomes(SupervisedBothJets(classifier=network))
    tagger = Tagger.from_file(outcome.path)
    assert {each.name: each.shape for each in tagger.card.inputs} == takes
    inputs = {name: read(np.arange(50)) for name, read in reading(tagger).items()}
    scores = tagger.score(inputs)
    assert np.ptp(scores) > 0
    assert len(outcome.history["loss"]) == 2
    # Scores by rows are those of all together: nothing depends on the batch.
    some = {name: read(np.arange(20, 30)) for name, read in reading(tagger).items()}
    np.testing.assert_array_equal(tagger.score(some), scores[20:30])


def reading(tagger):
    return readers(tagger.card.inputs, SAMPLE)


@pytest.mark.slow
def test_a_network_of_constituents_asks_for_them(outcomes):
    network = ParticleFlow(epochs=1, optimizer=SHORT)
    items = outcomes(SupervisedBothJets(classifier=network))
    assert [each.kind for each in Tagger.from_file(items[0].path).card.inputs] == ["constituents"]
    taggers = tagger_set("flow", items, config_for({"m": Autoencoder()}), reference=True)
    assert np.isfinite(taggers.score(SAMPLE).raw["event"]).sum() > 100
    bare = replace(SAMPLE, settings=SAMPLE.settings.model_copy(update={"constituents": None}))
    with pytest.raises(TaggerError, match=r"set skim\.constituents to 6 and make the skim again"):
        taggers.score(bare)


def test_a_skim_without_constituents_is_refused_before_training(outcomes):
    method = Supervised(classifier=ParticleFlow())
    with pytest.raises(InputError, match=r"skim\.constituents is null.*set skim\.constituents"):
        outcomes(method, make_sample(60))


def test_a_variational_autoencoder_is_trained_with_noise_and_scores_without(outcomes):
    kind = Autoencoder(network="variational", latent=3, epochs=2, optimizer=SHORT)
    outcome = outcomes(kind, mode="split", outer=3)[0]  # without inner folds
    images, tagger = SAMPLE.images("heavy", np.arange(40)), Tagger.from_file(outcome.path)
    np.testing.assert_array_equal(tagger.score(images), tagger.score(images))
    assert outcome.history["loss"][1] < outcome.history["loss"][0]
    assert tagger.card.settings["network"] == "variational"


@pytest.mark.slow
def test_a_dense_autoencoder_of_several_networks_is_one_tagger(outcomes):
    kind = Autoencoder(
        network="dense", latent=3, epochs=2, networks=3, keep=(1.0, 0.5), optimizer=SHORT
    )
    outcome = outcomes(kind)[0]
    tagger, histories = Tagger.from_file(outcome.path), outcome.history["networks"]
    assert len(histories) == 3
    assert len({tuple(history["loss"]) for history in histories}) == 3
    assert all(history["loss"][1] < history["loss"][0] for history in histories)
    kept = [history["loss"][history["best_epoch"]] for history in histories]
    assert tagger.card.history["loss"] == pytest.approx(np.mean(kept))
    assert np.ptp(tagger.score(SAMPLE.images("heavy", np.arange(40)))) > 0
