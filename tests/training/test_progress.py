"""Trainings tell how they stand, and a terminal shows it; nothing else does."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tnt_coffea.config import SearchConfig
from tnt_coffea.pipeline.training_display import shown
from tnt_coffea.training import Trainings, fitting, networks, run_task
from tnt_coffea.training.progress import Standing, heard, note, running, told

from .conftest import TREES, make_sample, with_masses


@pytest.fixture
def tasks(write_skim, tmp_path):
    config = SearchConfig(
        train={
            "methods": ("tnt",),
            "folds": {"inner": 2},
            "tnt": {"classifier": TREES, "signal_rich": (0.3,), "initial": {"kind": "feature"}},
        }
    )
    skim = write_skim(with_masses(make_sample(800)))
    trainings = Trainings.planned(skim, config, tmp_path / "parts")
    return [task for _, task in trainings.tasks(trainings.waves[0])]


def test_what_is_noted_stands_in_a_file_until_the_training_is_done(tmp_path):
    path = tmp_path / "parts" / "key.progress"
    note(1, 0.5, 0.5)  # nobody hears it
    with told(path, "tnt of the heavy jet", 40):
        assert running([path]) == []
        note(1, 0.7, 0.8)
        note(2, 0.6, 0.7)  # too soon after the other for a file
        assert running([path, tmp_path / "none"]) == [
            Standing("tnt of the heavy jet", 1, 40, 0.7, 0.8)
        ]
    assert list(path.parent.iterdir()) == []


def test_a_training_notes_every_epoch_of_its_history(tasks):
    epochs = []
    with heard(lambda *values: epochs.append(values)):
        rng = np.random.default_rng(1)
        jets = fitting.Jets(
            lambda rows: (rng.random((len(rows), 3), np.float32),),
            np.arange(40),
            (np.arange(40) % 2).astype(np.float32),
            np.ones(40, np.float32),
        )
        history = fitting.fit(
            networks.dense_classifier(features=3, layers=(4,), dropout=0.0, seed=1),
            fitting.likelihood_loss,
            jets,
            jets,
            optimizer=tasks[0].settings.optimizer,
            epochs=3,
            seed=1,
        )
    losses = zip(history.loss, history.validation_loss, strict=True)
    assert epochs == [(i + 1, *pair) for i, pair in enumerate(losses)]


def test_tasks_tell_and_clear_up(tasks, monkeypatch):
    told_of = []
    replace = Path.replace

    def watched(path, target):
        done = replace(path, target)
        told_of.extend(running([tasks[0].news]))
        return done

    monkeypatch.setattr(Path, "replace", watched)
    outcome = run_task(tasks[0])
    first = told_of[0]
    assert (first.name, first.epoch, first.epochs) == (tasks[0].name, 1, 8)
    assert first.loss == outcome.history["loss"][0]
    assert not tasks[0].news.exists()


def test_a_terminal_shows_what_is_done_and_the_last_losses(tasks):
    out = io.StringIO()
    run_task(tasks[0])
    with shown(tasks, Console(file=out, force_terminal=True, width=160)):
        run_task(tasks[1])
        with told(tasks[2].news, tasks[2].name, 8):
            note(3, 0.6931, 0.7)
            time.sleep(1.2)
    text = out.getvalue()
    assert "Training tnt: 2 of 8 done, about" in text
    assert tasks[2].name in text
    assert re.search(r"3 of 8\s+0\.6931\s+0\.7", text)


def test_nothing_is_shown_where_there_is_no_terminal(tasks):
    out = io.StringIO()
    with shown(tasks, Console(file=out)), told(tasks[0].news, "tnt", 8):
        note(1, 0.5, 0.5)
        time.sleep(0.6)
    assert out.getvalue() == ""
