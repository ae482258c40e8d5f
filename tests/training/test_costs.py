from __future__ import annotations

import json

import pytest

from tnt_coffea.config import (
    AutoencoderSettings,
    ClassifierSettings,
    SearchConfig,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.training import cross_validate, training_costs
from tnt_coffea.training.costs import CostedRound, Costs
from tnt_coffea.training.methods import method_of

from .conftest import TREES, make_sample, one_by_one, with_masses


@pytest.mark.parametrize("shared", [False, True])
def test_a_dry_run_counts_the_trainings_that_a_run_makes(write_skim, tmp_path, shared):
    paths = write_skim(with_masses(make_sample(800)))
    config = SearchConfig(
        train=TrainSettings(
            folds={"outer": 3},
            methods=("tnt", "supervised"),
            tnt=TntSettings(iterations=2, classifier=TREES, shared=shared),
            supervised={"classifier": TREES},
        )
    )
    costs = training_costs(paths, config, workers=2)
    counted = []

    def run_tasks(tasks, function):
        counted.append(len(tasks))
        return one_by_one(tasks, function)

    cross_validate(paths, config, run_tasks, tmp_path / "parts")
    assert costs.networks == sum(counted)
    assert {one.networks for one in costs.rounds} == ({6, 12} if shared else {12})
    assert all(one.most > 0 for one in costs.rounds)
    assert f"{costs.networks} trainings, 2 at a time" in costs.summary()


@pytest.mark.slow
def test_epochs_of_a_network_are_measured(write_skim):
    paths = write_skim(with_masses(make_sample(800)))
    dense = ClassifierSettings(
        network="dense", input="features", features=("mass", "tau21"), layers=(8,)
    )
    config = SearchConfig(train=TrainSettings(tnt=TntSettings(classifier=dense, epochs=30)))
    first, second = training_costs(paths, config).rounds
    assert (first.epochs, second.epochs) == (1, 30)
    assert second.start > 0
    assert 0 < second.epoch < second.expected < second.most


def test_train_dry_run_prints_the_costs_and_trains_nothing(write_skim, tmp_path):
    from click.testing import CliRunner

    from tnt_coffea.accounting import Accounting
    from tnt_coffea.cli import main

    write_skim(with_masses(make_sample(800)), "parts")
    outputs = {
        "parts": {"data": ["part0.parquet", "part1.parquet"]},
        "roles": {},
        "contents": {"data": "0" * 64},
        "duplicates": 0,
        "accounting": Accounting(800, 800, {}, {}).to_dict(),
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "skim", "outputs": outputs}))
    (tmp_path / "settings.yaml").write_text(
        "train: {methods: [cwola], cwola: {sideband: 1.0, classifier: "
        "{network: trees, input: features}}}"
    )
    arguments = ["train", "--dry-run", "--skim", str(tmp_path), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(
        main, [*arguments, "--workers", "3", "--config", str(tmp_path / "settings.yaml")]
    )
    assert done.exit_code == 0, done.output
    assert "8 x cwola, window 3300-3700, iteration 1:" in done.output
    assert "8 trainings, 3 at a time" in done.output
    assert not (tmp_path / "out").exists()


def test_epochs_of_all_networks_of_an_autoencoder_count():
    how = method_of("autoencoder")
    several = AutoencoderSettings(kind="dense", epochs=30, keep=(1.0, 0.5, 0.3))
    assert how.epochs(TrainSettings(autoencoder=several)) == 90
    assert how.epochs(TrainSettings()) == 1


def test_the_total_counts_waves_of_workers():
    one = CostedRound("tnt", 5, 1000, 10, 1.0, 0.5)
    assert one.most == 6.0
    assert one.expected == pytest.approx(2.5)
    assert Costs((one, one), 2).most == 2 * 3 * 6.0
