"""Small samples with a planted signal: blobs for jets, a peak for a resonance."""

from __future__ import annotations

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import (
    ClassifierSettings,
    CwolaSettings,
    FoldSettings,
    ImageSettings,
    OptimizerSettings,
    SearchConfig,
    SkimSettings,
    SupervisedSettings,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.jets.dijets import JETS, OBSERVABLES
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.training import cross_validate

PIXELS = 12

TREES = ClassifierSettings(
    network="trees", input="features", features=("mass", "tau21"), trees=8, leaves=4
)
"""A classifier that trains in milliseconds: what reaches a training is the same for all."""


def _jagged(images):
    flat = images.reshape(len(images), -1)
    filled = flat > 0
    index = np.broadcast_to(np.arange(flat.shape[1], dtype=np.uint16), flat.shape)[filled]
    counts = filled.sum(axis=1)
    return ak.unflatten(index, counts), ak.unflatten(flat[filled], counts)


def _images(rng, signal):
    """One hot pixel near the centre; signal jets have a second one off it."""
    n = len(signal)
    images = np.zeros((n, PIXELS, PIXELS), np.float32)
    for _ in range(12):
        row, column = np.clip(rng.normal(5.5, 1.2, (2, n)).round().astype(int), 0, PIXELS - 1)
        images[np.arange(n), row, column] += rng.exponential(1, n)
    row, column = rng.integers(8, 11, (2, n))
    images[np.arange(n), row, column] += np.where(signal, rng.exponential(6, n), 0)
    return images / images.sum(axis=(1, 2), keepdims=True)


def make_sample(n=2400, signal_share=0.1, seed=0, *, normalise=True):
    rng = np.random.default_rng(seed)
    signal = rng.random(n) < signal_share
    m_jj = np.where(signal, rng.normal(3500, 100, n), 2600 + rng.exponential(800, n))
    columns = {
        "event_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "weight": np.ones(n),
        "label": signal.astype(np.int8),
        "m_jj": m_jj,
    }
    for jet in JETS:
        columns |= {f"{jet}_{name}": rng.random(n, np.float32) for name in OBSERVABLES}
        index, value = _jagged(_images(rng, signal))
        columns |= {f"{jet}_image_index": index, f"{jet}_image_value": value}
    settings = SkimSettings(images=ImageSettings(pixels=PIXELS, normalise=normalise))
    sample = sample_of(columns, settings)
    return sample.select(np.argsort(sample.event_id))


def with_masses(sample):
    """Signal jets are heavier and have two prongs: something for features to find."""
    rng = np.random.default_rng(8)
    columns = dict(sample.columns)
    for jet, mass in (("heavy", 500), ("light", 100)):
        signal = sample.label == 1
        columns[f"{jet}_mass"] = np.where(
            signal, rng.normal(mass, 20, len(sample)), rng.exponential(mass, len(sample))
        ).astype(np.float32)
        columns[f"{jet}_tau21"] = rng.normal(np.where(signal, 0.3, 0.6), 0.1).astype(np.float32)
        columns[f"{jet}_pt"] = (columns["m_jj"] / 2 + rng.normal(0, 50, len(sample))).astype("f4")
    return replace(sample, columns=columns)


def with_jets_changed(sample, which):
    """The same events with other jets where `which` is true: neighbours swap theirs."""
    rows = np.arange(len(sample))
    chosen = np.flatnonzero(which)
    rows[chosen] = np.roll(chosen, 1)
    return replace(
        sample,
        columns={name: column[rows] for name, column in sample.columns.items()},
        lists={name: column[rows] for name, column in sample.lists.items()},
    )


def config_for(*methods, mode="cross_validation", outer=2, tnt=None, **train):
    return SearchConfig(
        seed=5,
        train=TrainSettings(
            folds=FoldSettings(outer=outer, inner=2, mode=mode),
            methods=methods,
            tnt=TntSettings(**({"signal_rich": (0.3,), "classifier": TREES} | (tnt or {}))),
            **({"cwola": CwolaSettings(classifier=TREES, sideband=1.0)} | train),
            supervised=SupervisedSettings(classifier=TREES),
        ),
    )


def shas(sets):
    return {
        (name, item.scored, item.scope, item.inner, item.member): item.sha256
        for name, items in sets.items()
        for item in items
    }


def as_set(name, items, config, **options):
    members = tuple(
        Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
        for i, item in enumerate(items)
    )
    return TaggerSet(name, config.train.folds, config.seed, members, **options)


def one_by_one(tasks, function):
    return [function(task) for task in tasks]


@pytest.fixture
def sample() -> Sample:
    return make_sample()


@pytest.fixture
def config() -> SearchConfig:
    return SearchConfig(
        seed=5,
        train=TrainSettings(
            folds=FoldSettings(inner=2),
            optimizer=OptimizerSettings(batch=64, patience=2),
            tnt=TntSettings(epochs=2),
        ),
    )


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
def train(write_skim, tmp_path):
    """Train on a sample in a folder of its own."""
    count = iter(range(100))

    def trained(sample, config, run_tasks=one_by_one, plans=None):
        number = next(count)
        skim = write_skim(sample, f"skim{number}")
        return cross_validate(skim, config, run_tasks, tmp_path / f"parts{number}", plans)

    return trained
