"""What a training would cost is counted and measured, and nothing is trained."""

from __future__ import annotations

import json

import pytest

from tnt_coffea.testing import make_sample, one_by_one
from tnt_coffea.training import Costs, StepCost, costs, cross_validate, training_costs
from tnt_coffea.training.classifiers import Dense, ParticleFlow
from tnt_coffea.training.methods import METHODS
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.references import Supervised

from .conftest import AUTOENCODER_AND_TNT, FIRST, TREES, config_for, cwola, tnt


@pytest.mark.parametrize(
    ("methods", "networks"),
    [
        pytest.param(
            AUTOENCODER_AND_TNT | {"tnt2": tnt("tnt"), "best": Supervised(classifier=TREES)},
            [12, 12, 12, 6],
            marks=pytest.mark.slow,
        ),
        ({"first": FIRST, "tnt": tnt(shared=True), "hunt": cwola()}, [2, 12, 3]),
    ],
)
def test_a_dry_run_counts_the_training_runs_of_a_search(write_skim, tmp_path, methods, networks):
    paths, config = write_skim(make_sample(800)), config_for(methods, outer=3)
    found = training_costs(paths, config, workers=2)
    counted = []

    def run_tasks(tasks, function):
        counted.append(len(tasks))
        return one_by_one(tasks, function)

    cross_validate(paths, config, run_tasks, tmp_path / "parts")
    assert found.networks == sum(counted) == sum(networks)
    of_method = {step.name.split(" ")[0]: step.networks for step in found.steps}
    assert [of_method[name] for name in methods] == networks
    assert all(one.most > 0 for one in found.steps)
    assert f"{found.networks} training runs, 2 at a time" in found.summary()


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", [Dense(features=("mass",), layers=(8,), epochs=30), ParticleFlow(epochs=30)]
)
def test_epochs_of_a_network_are_measured(write_skim, network):
    paths = write_skim(make_sample(800, constituents=5))
    config = config_for(
        {"autoencoder": Autoencoder(), "tnt": tnt("autoencoder", classifier=network)}
    )
    first, second = training_costs(paths, config).steps
    assert (first.epochs, second.epochs) == (1, 30)
    assert second.start > 0
    assert 0 < second.epoch < second.expected < second.most


def test_train_dry_run_prints_the_costs_and_trains_nothing(write_skim, tmp_path):
    from click.testing import CliRunner

    from tnt_coffea.accounting import Accounting
    from tnt_coffea.cli import main

    write_skim(make_sample(800), "parts")
    outputs = {
        "parts": {"data": ["part0.parquet", "part1.parquet"]},
        "roles": {},
        "contents": {"data": "0" * 64},
        "duplicates": 0,
        "accounting": Accounting(800, 800, {}, {}).to_dict(),
    }
    manifest = {
        "stage": "skim",
        "version": "0",
        "key": "",
        "inputs": {},
        "outputs": outputs,
        "seconds": 1,
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "settings.yaml").write_text(
        "train: {methods: {hunt: {kind: cwola, sideband: 1.0, classifier: {network: trees}}}}"
    )
    arguments = ["train", "--dry-run", "--skim", str(tmp_path), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(
        main, [*arguments, "--workers", "3", "--config", str(tmp_path / "settings.yaml")]
    )
    assert done.exit_code == 0, done.output
    assert "2 x hunt (cwola):" in done.output
    assert "2 training runs, 3 at a time" in done.output
    assert not (tmp_path / "out").exists()


def test_events_that_are_drawn_of_more_cap_the_estimate(write_skim, monkeypatch):
    monkeypatch.setattr(costs, "_timed", lambda *_: (1.0, 0.01))
    autoencoder = METHODS["feature_autoencoder_per_jet"](features=("mass", "tau21"))
    methods = {
        "all": autoencoder,
        "some": autoencoder.model_copy(update={"most_events": 100}),
        "window": autoencoder.model_copy(update={"most_events": 100, "mass_window": True}),
    }
    steps = training_costs(write_skim(make_sample(800)), config_for(methods)).steps
    number = {step.name.split(" ")[0]: (step.events, step.epoch) for step in steps}
    every = number["all"][0]
    assert 350 < every < 450
    assert number["some"] == (100, pytest.approx(1.0))
    assert number["window"] == (every, pytest.approx(every * 0.01))


def test_each_axis_of_a_plane_costs_what_its_own_networks_do(write_skim, monkeypatch):
    seconds = {"background": 0.01, "signal": 0.1}
    monkeypatch.setattr(costs, "_timed", lambda step, scope, *_: (1.0, seconds[scope]))
    plane = METHODS["quak_plane"](features=("mass", "tau21"), priors=("two-prong",))
    parts = {
        "data": write_skim(make_sample(800), "data"),
        "prior:two-prong": write_skim(make_sample(400, 1.0, kind="prior"), "prior"),
    }
    read = {"data": 400, "prior:two-prong": 200}
    assert [plane.trained_on(read, scope) for scope in plane.scopes] == [400, 200]
    (step,) = training_costs(parts, config_for({"plane": plane})).steps
    assert step.events == pytest.approx(300, abs=25)
    assert step.epoch == pytest.approx((400 * 0.01 + 200 * 0.1) / 2, rel=0.1)


@pytest.mark.slow
def test_the_axes_of_a_plane_are_measured(write_skim):
    plane = METHODS["quak_plane"](
        features=("mass", "tau21"), layers=(8,), latent=1, flows=1, priors=("two-prong",)
    )
    parts = {
        "data": write_skim(make_sample(800), "data"),
        "prior:two-prong": write_skim(make_sample(400, 1.0, kind="prior"), "prior"),
    }
    (step,) = training_costs(parts, config_for({"plane": plane})).steps
    assert step.networks == 4
    assert 0 < step.epoch < step.most


def test_passes_count_all_networks_and_candidates():
    several = Autoencoder(network="dense", epochs=30, networks=3, keep=(1.0, 0.5))
    assert (several.passes, Autoencoder().passes) == (90, 1)
    olympics = METHODS["cwola"].olympics()
    assert olympics.passes == 3 * 700
    assert (several.shortened().passes, olympics.shortened().passes) == (2, 2)


def test_the_total_counts_waves_of_workers():
    one = StepCost("tnt", 5, 1000, 10, 1.0, 0.5)
    assert one.most == 6.0
    assert one.expected == pytest.approx(2.5)
    assert Costs((one, one), 2).most == 2 * 3 * 6.0
