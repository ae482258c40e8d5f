"""Training runs report their progress, and a terminal shows it; nothing else does."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tnt_coffea.pipeline.training_display import shown
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Batches, OptimizerSettings, Schedule, backend, fit, run_task
from tnt_coffea.training.fitting import cross_entropy
from tnt_coffea.training.progress import (
    TrainingStatus,
    listening,
    read_statuses,
    report_epoch,
    status_file,
)

from .conftest import TREES, config_for, cwola


@pytest.fixture
def tasks(write_skim, tmp_path):
    folder = tmp_path / "parts"
    methods = {"hunt": cwola(), "again": cwola(sideband=0.9)}
    planned = Schedule.planned(write_skim(make_sample(800)), config_for(methods), folder)
    assert TREES.trees == 8
    return planned.tasks(planned.waves[0])


def test_the_last_report_stands_in_a_file_until_the_training_run_ends(tmp_path):
    path = tmp_path / "parts" / "key.progress"
    report_epoch(1, 0.5, 0.5)  # nobody listens
    with status_file(path, "tnt of the heavy jet", 40):
        assert read_statuses([path]) == []
        report_epoch(1, 0.7, 0.8)
        report_epoch(2, 0.6, 0.7)  # too soon after the other for a file
        assert read_statuses([path, tmp_path / "none"]) == [
            TrainingStatus("tnt of the heavy jet", 1, 40, 0.7, 0.8)
        ]
    assert list(path.parent.iterdir()) == []


def test_every_epoch_of_the_history_is_reported():
    keras, epochs, rows = backend.keras(), [], np.arange(40)
    values = np.random.default_rng(1).random((40, 3), np.float32)
    features = keras.Input((3,), name="features")
    last = keras.layers.Dense(1, activation="sigmoid")(features)
    model = keras.Model([features], keras.ops.reshape(last, (-1,)))
    ones = np.ones(40, np.float32)
    batches = Batches(
        ({"features": lambda chosen: values[chosen]},),
        0 * rows,
        rows,
        (rows % 2).astype(np.float32),
        ones,
    )
    with listening(lambda *report: epochs.append(report)):
        history = fit(
            model,
            cross_entropy,
            batches,
            batches,
            optimizer=OptimizerSettings(),
            epochs=3,
            seed=1,
        )
    losses = zip(history.loss, history.validation_loss, strict=True)
    assert epochs == [(i + 1, *pair) for i, pair in enumerate(losses)]


def test_tasks_report_and_clear_up(tasks, monkeypatch):
    seen = []
    replace = Path.replace

    def watched(path, target):
        done = replace(path, target)
        seen.extend(read_statuses([tasks[0].status_path]))
        return done

    monkeypatch.setattr(Path, "replace", watched)
    outcome = run_task(tasks[0])
    first = seen[0]
    assert (first.name, first.epoch, first.epochs) == (tasks[0].description, 1, 8)
    assert first.loss == outcome.history["loss"][0]
    assert not tasks[0].status_path.exists()


def test_a_terminal_shows_what_is_done_and_the_last_losses(tasks):
    out = io.StringIO()
    run_task(tasks[0])
    with shown(tasks, Console(file=out, force_terminal=True, width=160)):
        run_task(tasks[1])
        with status_file(tasks[2].status_path, tasks[2].description, 8):
            report_epoch(3, 0.6931, 0.7)
            time.sleep(1.2)
    text = out.getvalue()
    assert "2 of 4 done, about" in text
    assert tasks[2].description in text
    assert re.search(r"3 of 8\s+0\.6931\s+0\.7", text)


def test_nothing_is_shown_where_there_is_no_terminal(tasks):
    out = io.StringIO()
    with shown(tasks, Console(file=out)), status_file(tasks[0].status_path, "tnt", 8):
        report_epoch(1, 0.5, 0.5)
        time.sleep(0.6)
    assert out.getvalue() == ""
