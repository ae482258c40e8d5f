"""Searches that train in milliseconds, on the planted signal of `tnt_coffea.testing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tnt_coffea import testing
from tnt_coffea.config import FoldSettings, SearchConfig, TrainSettings
from tnt_coffea.events.skim import write_part
from tnt_coffea.training.classifiers import Trees
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.feature import Feature
from tnt_coffea.training.methods.tag_n_train import TagNTrain

TREES = Trees(features=("mass", "tau21"), trees=8, leaves=4)
"""A classifier that trains in milliseconds: what reaches a training run is the same for all."""
FIRST = Feature(feature="tau21", descending=True)
"""First labels without a training run."""


def tnt(after="first", **changes):
    return TagNTrain(**{"after": after, "signal_rich": 0.3, "classifier": TREES} | changes)


def cwola(**changes):
    return Cwola(**{"classifier": TREES, "sideband": 1.0} | changes)


def config_for(methods: Mapping[str, Any], *, mode="cross_validation", outer=2, **train):
    folds = FoldSettings(outer=outer, inner=2, mode=mode)
    return SearchConfig(seed=5, train=TrainSettings(folds=folds, methods=methods, **train))


AUTOENCODER_AND_TNT = {"autoencoder": Autoencoder(), "tnt": tnt("autoencoder")}


def shas(sets):
    """SHA-256 of every tagger by its place."""
    return {
        (name, item.scored, item.scope, item.left_out, item.member): item.sha256
        for name, items in sets.items()
        for item in items
    }


def auc(signal, background):
    return (signal[:, None] > background).mean() + (signal[:, None] == background).mean() / 2


@pytest.fixture
def write_skim(tmp_path):
    """Write a sample as the parts of a skim and return their paths."""

    def write(sample, name="skim", parts=2):
        folder = tmp_path / name
        folder.mkdir()
        paths = []
        for i in range(parts):
            path = folder / f"part{i}.parquet"
            write_part(path, sample.select(np.arange(i, len(sample), parts)))
            paths.append(path)
        return paths

    return write


@pytest.fixture
def train(tmp_path):
    """Train on samples in a folder of its own."""
    count = iter(range(100))

    def trained(samples, config, plans=None):
        folder = tmp_path / f"training{next(count)}"
        folder.mkdir()
        return testing.train(samples, config, folder, plans)

    return trained
