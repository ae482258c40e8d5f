"""The parts that methods are made of: features, augmentation, weights, windows, settings."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.config import (
    AugmentationSettings,
    AutoencoderSettings,
    ClassifierSettings,
    CwolaSettings,
    FoldSettings,
    InitialSettings,
    MassRange,
    SearchConfig,
    SearchSettings,
    TntSettings,
    TrainSettings,
)
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.training.augmentation import augmented
from tnt_coffea.training.classifiers import signal_efficiency
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.purity import window_surplus
from tnt_coffea.training.reweighting import ratio_weights
from tnt_coffea.training.selection import Group, Selection
from tnt_coffea.training.sparse import SparseImages
from tnt_coffea.training.windows import cwola_windows, olympics_windows, windows_of

from .conftest import make_sample

rng = np.random.default_rng(5)
SAMPLE = make_sample(60)
IMAGES = SparseImages.of(SAMPLE, "heavy").expanded(np.arange(60))


def test_sparse_images_are_those_of_the_sample():
    rows = np.array([7, 3, 3, 59])
    expected = SAMPLE.images("heavy", rows).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(SparseImages.of(SAMPLE, "heavy").expanded(rows), expected)


def test_rescaled_mass_follows_the_equation():
    features = FeatureSet.of(("rescaled_mass", "tau21"), ("light",), SAMPLE)
    assert features.columns == ("light_mass", "m_jj", "light_tau21")
    found = features.computed(features.raw(SAMPLE, np.arange(60)))
    expected = (SAMPLE.columns["light_mass"] - 30) / SAMPLE.m_jj + 0.01
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)
    np.testing.assert_array_equal(found[:, 1], SAMPLE.columns["light_tau21"])


def test_standardised_features_have_mean_zero_and_width_one():
    values, weights = rng.normal(5, 3, (400, 2)).astype("f4"), rng.random(400)
    values[:, 1] = 2.0
    scaled = Standardisation.of(values, weights).applied(values)
    assert np.average(scaled[:, 0], weights=weights) == pytest.approx(0, abs=1e-5)
    assert np.average(scaled[:, 0] ** 2, weights=weights) == pytest.approx(1, rel=1e-4)
    assert (scaled[:, 1] == 0).all()


def test_augmentation_keeps_sums_and_does_nothing_unasked():
    everything = AugmentationSettings(rotation=180, reflection=True, pt_smearing=0.3)
    for settings in (AugmentationSettings(), everything):
        out = augmented(IMAGES, settings, np.random.default_rng(1))
        np.testing.assert_allclose(out.sum(axis=(1, 2)), IMAGES.sum(axis=(1, 2)), rtol=1e-5)
        assert np.array_equal(out, IMAGES) is not settings.active
        assert (out >= 0).all()


def test_a_turn_moves_a_pixel_about_the_centre():
    image = np.zeros((1, 11, 11, 1), np.float32)
    image[0, 5, 9, 0] = 2.0

    class QuarterTurn:
        def uniform(self, low, high, n):
            return np.full(n, 90.0)

    out = augmented(image, AugmentationSettings(rotation=180), QuarterTurn())
    assert np.argwhere(out).tolist() == [[0, 9, 5, 0]]
    mirrored = augmented(image, AugmentationSettings(reflection=True), np.random.default_rng(1))
    assert np.argwhere(mirrored).tolist() in ([[0, 5, 1, 0]], [[0, 5, 9, 0]])


def test_reweighted_background_follows_the_signal_rich_jets():
    values = np.concatenate([rng.normal(2, 1, 4000), rng.exponential(2, 20000)])
    wanted = np.arange(24000) < 4000
    out = ratio_weights(values, np.ones(24000), wanted, ~wanted)
    assert out[~wanted].sum() == pytest.approx(20000)
    assert (out[wanted] == 1).all()
    before = abs(values[~wanted].mean() - values[wanted].mean())
    after = abs(np.average(values[~wanted], weights=out[~wanted]) - values[wanted].mean())
    assert after < 0.25 * before or after < 0.05


def test_ratios_measured_beside_the_window_leave_a_signal_alone():
    n = 60000
    inside = rng.random(n) < 0.2
    wanted = rng.random(n) < 0.3
    signal = inside & wanted & (rng.random(n) < 0.3)
    # Background: wanted events are heavier, everywhere. Signal: a peak, in the window only.
    values = np.where(signal, rng.normal(6, 0.1, n), rng.exponential(np.where(wanted, 2.0, 1.0)))
    out = ratio_weights(values, np.ones(n), wanted, ~wanted, ~inside)
    means = [np.average(values[part], weights=out[part]) for part in (~wanted, wanted & ~signal)]
    assert means[0] == pytest.approx(means[1], rel=0.05)
    peak = np.abs(values - 6) < 0.3
    share = [
        np.average(peak[part & inside], weights=out[part & inside]) for part in (wanted, ~wanted)
    ]
    assert share[0] > 4 * share[1]
    nothing_to_measure = ratio_weights(values, np.ones(n), wanted, ~wanted, np.zeros(n, np.bool_))
    assert (nothing_to_measure == 1).all()


def test_few_events_are_reweighted_in_few_bins_or_not_at_all():
    values = rng.exponential(1, 400)
    wanted = np.arange(400) % 5 == 0
    out = ratio_weights(values, np.ones(400), wanted, ~wanted)
    assert 1 < len(np.unique(out[~wanted])) <= 8  # 80 wanted events, ten a bin
    few = wanted & (np.cumsum(wanted) <= 19)
    assert (ratio_weights(values, np.ones(400), few, ~wanted) == 1).all()


def test_surplus_in_a_window_needs_a_resonance_and_no_truth():
    window = MassRange(low=3300, high=3700)
    m_jj = rng.uniform(2600, 5000, (400, 5000))
    found = [window_surplus(mass, rng.random(5000) < 0.2, window) for mass in m_jj]
    assert abs(np.mean(found)) < 0.2
    # The spread is that of binomial rather than Poisson counts.
    assert np.std(found) == pytest.approx(np.sqrt(0.8), rel=0.15)
    resonance = np.concatenate([m_jj[0], np.full(100, 3500.0)])
    kept = rng.random(5100) < np.repeat([0.2, 0.6], [5000, 100])
    purer = rng.random(5100) < np.repeat([0.05, 0.6], [5000, 100])
    assert 1 < window_surplus(resonance, kept, window) < window_surplus(resonance, purer, window)
    assert window_surplus([3500.0], np.array([True]), window) == 0


def test_groups_have_their_shares_in_training_and_validation():
    ids = rng.integers(0, 2**64, 300, dtype=np.uint64)
    which = np.arange(300)
    selection = Selection(
        ids,
        which / 300,
        np.ones(300),
        (
            Group("region", which < 100),
            Group("low", (which >= 100) & (which < 120), 0.5),
            Group("high", which >= 120, 0.5),
        ),
    )
    held_back = selection.validation(0.1, 3)
    assert [int((held_back & group.jets).sum()) for group in selection.groups] == [10, 2, 18]
    weights = selection.balanced(~held_back)
    assert [weights[group.jets].sum() for group in selection.groups] == pytest.approx([1, 0.5, 0.5])
    assert (weights[held_back] == 0).all()
    few = Selection(ids, which / 300, np.ones(300), (Group("region", which < 5),))
    with pytest.raises(TrainingError, match="5 region jets, at least 10"):
        few.validation(0.1, 3)


def test_merit_is_the_efficiency_at_a_fixed_sideband_efficiency():
    targets = np.repeat([1.0, 0.0], 100).astype("f4")
    scores = np.concatenate([np.linspace(0, 2, 100), np.linspace(0, 1, 100)]).astype("f4")
    assert signal_efficiency(0.01)(targets, scores) == pytest.approx(0.5, abs=0.02)
    assert signal_efficiency(0.5)(targets, scores) == pytest.approx(0.75, abs=0.02)


def test_windows_of_the_olympics():
    assert [w.name for w in olympics_windows()] == [
        "3000-3500",
        "3500-4000",
        "4000-4500",
        "4500-5000",
    ]
    staggered = olympics_windows(staggered=True)
    assert [w.low for w in staggered] == [3000, 3250, 3500, 3750, 4000, 4250, 4500]
    regions = cwola_windows()
    assert len(regions) == 10
    settings = CwolaSettings.olympics()
    assert settings.sidebands(regions[0])[0].low == pytest.approx(2632, abs=1)
    assert settings.sidebands(regions[-1])[1].high == pytest.approx(6000, abs=1)


def test_scanned_windows_stay_inside_the_fit_range():
    config = SearchConfig(train=TrainSettings(windows="cwola", cwola=CwolaSettings.olympics()))
    assert len(windows_of(config)) == 10
    narrow = config.model_copy(
        update={"search": SearchSettings(fit_range=MassRange(low=2800, high=7000))}
    )
    with pytest.raises(ConfigError, match=r"leave search\.fit_range 2800-7000"):
        windows_of(narrow)
    assert windows_of(SearchConfig()) == (SearchConfig().search.window,)


def test_paper_s_sidebands_are_half_as_wide_as_the_region():
    lower, upper = CwolaSettings().sidebands(MassRange(low=3300, high=3700))
    assert (lower.name, upper.name) == ("3100-3300", "3700-3900")


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (ClassifierSettings, {"network": "dense"}),
        (ClassifierSettings, {"network": "convolutional", "input": "features"}),
        (InitialSettings, {"kind": "files"}),
        (AutoencoderSettings, {"keep": (0.5,)}),
        (AutoencoderSettings, {"keep": (1.0, 1.0)}),
    ],
)
def test_impossible_settings_are_refused(settings, values):
    with pytest.raises(ValueError, match=r"cannot be fed|needs initial|trained in batches"):
        settings(**values)


def test_new_settings_leave_digests_and_cards_as_they_were():
    before = {
        "folds": {"outer": 2, "inner": 4},
        "optimizer": {
            "learning_rate": 1e-3,
            "beta1": 0.8,
            "beta2": 0.99,
            "decay": 5e-4,
            "batch": 200,
            "validation": 0.1,
            "patience": 5,
        },
        "autoencoder": {"kind": "linear", "latent": 6, "epochs": 30},
        "tnt": {
            "iterations": 1,
            "signal_rich": [0.2, 0.1],
            "background_rich": 0.4,
            "mass_window": True,
            "epochs": 40,
            "pixel_scale": 100.0,
            # Not the defaults of the first cards: left out, they would mean something else.
            "reweight": "mass",
            "reweight_beside": True,
        },
    }
    assert TrainSettings().model_dump(mode="json") == before
    assert TntSettings(soft_labels=True).model_dump(mode="json")["soft_labels"] is True
    assert FoldSettings(mode="split").model_dump(mode="json")["mode"] == "split"
    config = SearchConfig(train=TrainSettings(members=3, methods=("cwola",)))
    assert SearchConfig.from_text(config.to_yaml()) == config
