"""Every kind of input and network through a whole training, on as few events as it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import (
    AugmentationSettings,
    AutoencoderSettings,
    ClassifierSettings,
    OptimizerSettings,
    SearchConfig,
    TrainSettings,
)
from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import inputs_of
from tnt_coffea.training import Trainings, run_task

from .conftest import make_sample, with_masses

SAMPLE = with_masses(make_sample(400, signal_share=0.2))
SHORT = OptimizerSettings(batch=100)
TURNED = AugmentationSettings(rotation=180, reflection=True, pt_smearing=0.1)


def first_tagger(write_skim, tmp_path, **train):
    config = SearchConfig(train=TrainSettings(folds={"inner": 2}, optimizer=SHORT, **train))
    trainings = Trainings.planned(write_skim(SAMPLE), config, tmp_path / "parts")
    _, task = trainings.tasks(trainings.waves[0])[0]
    outcome = run_task(task)
    assert run_task(replace(task)) == outcome  # found again by its name
    return Tagger.from_file(outcome.path), outcome


@pytest.mark.parametrize(
    ("classifier", "takes"),
    [
        (ClassifierSettings(augmentation=TURNED), {"image": (2, 12, 12)}),
        (
            ClassifierSettings(input="both", augmentation=TURNED),
            {"image": (2, 12, 12), "features": (5,)},
        ),
    ],
)
def test_a_classifier_of_both_jets_takes_what_its_card_says(
    write_skim, tmp_path, classifier, takes
):
    tagger, outcome = first_tagger(
        write_skim,
        tmp_path,
        methods=("supervised_both_jets",),
        supervised={"classifier": classifier, "epochs": 2},
    )
    inputs = inputs_of(tagger.card, "event", SAMPLE, np.arange(50))
    assert {name: values.shape[1:] for name, values in inputs.items()} == takes
    scores = tagger.score(inputs)
    assert np.ptp(scores) > 0
    assert len(outcome.history["loss"]) == 2
    # Scores by rows are those of all together: nothing depends on the batch.
    some = inputs_of(tagger.card, "event", SAMPLE, np.arange(20, 30))
    np.testing.assert_array_equal(tagger.score(some), scores[20:30])


def test_a_variational_autoencoder_is_trained_with_noise_and_scores_without(write_skim, tmp_path):
    kind = AutoencoderSettings(kind="variational", latent=3, epochs=2)
    tagger, outcome = first_tagger(write_skim, tmp_path, methods=("autoencoder",), autoencoder=kind)
    assert tagger.card.method == "autoencoder-variational"
    images = SAMPLE.images("heavy", np.arange(40))
    np.testing.assert_array_equal(tagger.score(images), tagger.score(images))
    assert outcome.history["loss"][1] < outcome.history["loss"][0]


def test_a_dense_autoencoder_of_several_networks_is_one_tagger(write_skim, tmp_path):
    kind = AutoencoderSettings(kind="dense", latent=3, epochs=2, keep=(1.0, 0.5, 0.5))
    tagger, outcome = first_tagger(write_skim, tmp_path, methods=("autoencoder",), autoencoder=kind)
    assert tagger.card.method == "autoencoder-dense"
    histories = outcome.history["networks"]
    assert len(histories) == 3
    assert len({tuple(history["loss"]) for history in histories}) == 3
    assert all(history["loss"][1] < history["loss"][0] for history in histories)
    kept = [history["loss"][history["best_epoch"]] for history in histories]
    assert tagger.card.history["loss"] == pytest.approx(np.mean(kept))
    assert np.ptp(tagger.score(SAMPLE.images("heavy", np.arange(40)))) > 0
