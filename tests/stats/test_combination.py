from __future__ import annotations

import json

import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats.bumps.combination import FoldCombination, fold_combination
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.background import LogLinear
from tnt_coffea.stats.fitting.poisson import Channel
from tnt_coffea.stats.fitting.signals import gaussian
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

FIT = SpectrumFit((2600.0, 7000.0), bin_width=40.0)
AT_3500 = {"mass": 3500.0, "width": 120.0, "fit": FIT}
EDGES = np.arange(2600.0, 7001.0, 40.0)
FOLDS, CATEGORIES, PER_CATEGORY = 10, 20, 300.0


@pytest.fixture(scope="module")
def mean(falling_shape):
    return falling_shape.reshape(-1, 2).sum(axis=1)


def chains(mean, toys, seed, prequential):
    """Select in each fold the category of events that looks most like signal in others.

    That is what a tagger trained on a finite sample does with its fluctuations.
    """
    random = np.random.default_rng(seed)
    counts = random.poisson(PER_CATEGORY * mean, (toys, FOLDS, CATEGORIES, mean.size))
    signal = gaussian(EDGES, 3500.0, 120.0)
    likeness = counts @ (signal / signal.max())
    selected = []
    for fold in range(FOLDS):
        others = range(fold) if prequential else [f for f in range(FOLDS) if f != fold]
        if not others:
            continue
        chosen = likeness[:, list(others)].sum(axis=1).argmax(axis=1)
        selected.append(counts[np.arange(toys), fold, chosen].astype(float))
    return selected


def combined(mean, counts):
    expected = PER_CATEGORY * mean
    # Only its normalisation is free: the folds are what is tested here, not the function.
    background = LogLinear(np.log(expected)[:, None], np.ones((mean.size, 1, 1))).whitened(
        np.zeros(1)
    )
    share = gaussian(EDGES, 3500.0, 120.0) / len(counts)
    models = [Channel(str(i), expected, share, background) for i in range(len(counts))]
    return poisson.discoveries(models, counts)


def test_folds_that_train_each_other_need_null_chains_and_prequential_ones_do_not(mean):
    toys = 800
    folds = combined(mean, chains(mean, toys, 1, prequential=False))
    before = combined(mean, chains(mean, toys, 2, prequential=True))
    spread = 3 * np.sqrt(0.05 * 0.95 / toys)
    shared_rate = np.mean(folds.z > 1.6448536)
    assert shared_rate > 0.05 + 2 * spread / 3
    assert abs(np.mean(before.z > 1.6448536) - 0.05) < spread
    # Other chains of the same kind calibrate the shared test.
    null = combined(mean, chains(mean, toys, 3, prequential=False)).q0
    p = (np.sum(null >= folds.q0[:, None], axis=1) + 1) / (toys + 1)
    assert abs(np.mean(p <= 0.05) - 0.05) < np.sqrt(2) * spread


def test_null_chains_give_the_p_value(toy_spectrum):
    folds = {f"fold-{i}": toy_spectrum(600, 15, 50 + i) for i in range(3)}
    plain = fold_combination(folds, **AT_3500)
    assert not plain.calibrated
    null = np.random.default_rng(4).chisquare(1, 999) * 3
    found = fold_combination(folds, null_chains=null, **AT_3500)
    assert found.calibrated
    assert found.shared.calibration == "null chains"
    assert found.shared.toys == 999
    assert found.shared.p_value == (np.sum(null >= found.shared.q0) + 1) / 1000
    assert found.shared.p_value > plain.shared.p_value
    assert not any("not calibrated by null chains" in note for note in found.shared.notes)


def test_prequential_leaves_out_the_first_fold(toy_spectrum):
    folds = {f"fold-{i}": toy_spectrum(600, 15, 60 + i) for i in range(3)}
    later = {name: folds[name] for name in ("fold-1", "fold-2")}
    found = fold_combination(folds, later, **AT_3500)
    assert [c.name for c in found.prequential.channels] == ["fold-1", "fold-2"]
    assert any("null chains" in note for note in found.shared.notes)
    assert not any("null chains" in note for note in found.prequential.notes)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert FoldCombination.from_dict(json.loads(text)) == found
    assert "prequential combination" in found.summary()
    with pytest.raises(FitError, match="all but the first"):
        fold_combination(folds, folds, **AT_3500)
    with pytest.raises(FitError, match="not finite"):
        fold_combination(folds, null_chains=[np.nan], **AT_3500)
