"""Parts of a training run: augmentation, weights, classes of events, windows, settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import MassRange, SearchConfig, SearchSettings
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.taggers.inputs import Columns, Images
from tnt_coffea.testing import make_sample
from tnt_coffea.training import (
    cwola_windows,
    olympics_windows,
    overlapping_windows,
    steps_of,
    windows_of,
)
from tnt_coffea.training.augmentation import AugmentationSettings, augmented
from tnt_coffea.training.classifiers import Dense, Trees, signal_efficiency
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.files import Files
from tnt_coffea.training.methods.sa_cwola import SaCwola
from tnt_coffea.training.methods.tag_n_train import SameJet, TagNTrain
from tnt_coffea.training.reweighting import ratio_weights
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

from .conftest import FIRST, config_for, cwola

rng = np.random.default_rng(5)
SAMPLE = make_sample(60)
IMAGES = Images.of("heavy", SAMPLE).reader(SAMPLE)(np.arange(60))


def test_augmentation_keeps_sums_and_does_nothing_unasked():
    everything = AugmentationSettings(rotation=180, reflection=True, pt_smearing=0.3)
    for settings in (AugmentationSettings(), everything):
        out = augmented(IMAGES, settings, np.random.default_rng(1))
        np.testing.assert_allclose(out.sum(axis=(2, 3)), IMAGES.sum(axis=(2, 3)), rtol=1e-5)
        assert np.array_equal(out, IMAGES) is not settings.active
        assert (out >= 0).all()


def test_a_turn_moves_a_pixel_about_the_centre():
    image = np.zeros((1, 1, 11, 11), np.float32)
    image[0, 0, 5, 9] = 2.0

    class QuarterTurn:
        def uniform(self, low, high, n):
            return np.full(n, 90.0)

    out = augmented(image, AugmentationSettings(rotation=180), QuarterTurn())
    assert np.argwhere(out).tolist() == [[0, 0, 9, 5]]
    mirrored = augmented(image, AugmentationSettings(reflection=True), np.random.default_rng(1))
    assert np.argwhere(mirrored).tolist() in ([[0, 0, 5, 1]], [[0, 0, 5, 9]])


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


def classes_of(*shares, n=300):
    """Classes of 100, 20 and 180 events, in this order."""
    which = np.arange(n)
    masks = (which < 100, (which >= 100) & (which < 120), which >= 120)
    names = ("region", "low", "high")
    return WeakLabels(
        tuple(
            SampleClass(name, LARGE, mask, float(name == "region"), share)
            for name, mask, share in zip(names, masks, shares, strict=True)
        )
    )


LARGE = make_sample(300, seed=2)
MASS = (Columns.of(("heavy_mass",), LARGE),)


def test_classes_have_their_shares_in_training_and_validation():
    labels = classes_of(1.0, 0.5, 0.5)
    assert labels.counts == {"region": 100, "low": 20, "high": 180}
    parts = labels.split(MASS, 0.1, 3)
    for part, numbers in zip(parts, ((90, 18, 162), (10, 2, 18)), strict=True):
        place = np.digitize(part.rows, [100, 120])
        assert tuple(np.bincount(place)) == numbers
        weights = np.bincount(place, part.weights)
        assert weights / weights.sum() == pytest.approx([0.5, 0.25, 0.25])
        assert np.abs(part.weights).mean() == pytest.approx(1)
        np.testing.assert_array_equal(part.targets, part.rows < 100)
    assert not set(parts[0].rows) & set(parts[1].rows)


def test_a_class_of_negative_share_is_subtracted():
    part, _ = classes_of(1.0, -0.5, 0.5).split(MASS, 0.1, 3)
    place = np.digitize(part.rows, [100, 120])
    assert (np.sign(part.weights) == np.array([1, -1, 1])[place]).all()
    assert np.bincount(place, part.weights)[1] == pytest.approx(-0.25 * len(part))


def test_the_order_of_the_classes_has_no_part_in_the_training():
    labels = classes_of(1.0, 0.5, 0.5)
    one, _ = labels.split(MASS, 0.1, 3)
    two, _ = replace(labels, classes=labels.classes[::-1]).split(MASS, 0.1, 3)
    for name in ("rows", "source", "targets", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_classes_of_two_samples_are_read_from_their_own():
    other = make_sample(200, seed=3, kind="simulation")
    mask = np.ones(200, bool)
    labels = WeakLabels(
        (
            SampleClass("data", LARGE, LARGE.event_id > 0, 1.0),
            SampleClass("simulation", other, mask, 0.0),
        )
    )
    part, held = labels.split(MASS, 0.1, 3)
    assert len(part) + len(held) == 500
    found = part.inputs(np.arange(len(part)))["features"][:, 0]
    of = [sample.columns["heavy_mass"] for sample in (LARGE, other)]
    expected = [of[source][row] for source, row in zip(part.source, part.rows, strict=True)]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(part.targets, part.source == 0)


def test_validation_events_that_a_class_names_are_taken():
    held = LARGE.event_id % 2 == 0
    labels = WeakLabels((SampleClass("all", LARGE, LARGE.event_id > 0, validation=held),))
    part, validation = labels.split(MASS, 0.1, 3)
    np.testing.assert_array_equal(validation.rows, np.flatnonzero(held))
    np.testing.assert_array_equal(part.rows, np.flatnonzero(~held))


def test_too_few_or_weightless_events_of_a_class_are_refused():
    few = WeakLabels((SampleClass("region", LARGE, np.arange(300) < 5),))
    with pytest.raises(TrainingError, match="5 region jets, at least 10"):
        few.split(MASS, 0.1, 3)
    zero = SampleClass("region", LARGE, np.arange(300) < 50, weight=np.zeros(300))
    with pytest.raises(TrainingError, match="weights of 45 jets are all zero"):
        WeakLabels((zero,)).split(MASS, 0.1, 3)


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
    settings = Cwola.olympics()
    assert settings.sidebands(regions[0])[0].low == pytest.approx(2632, abs=1)
    assert settings.sidebands(regions[-1])[1].high == pytest.approx(6000, abs=1)


def test_the_committed_form_differs_where_the_text_is_silent():
    text, code = Cwola.olympics().changed(), Cwola.olympics(committed=True).changed()
    before = {"features", "clip", "epochs", "min_epoch", "initial_biases"}
    assert {name for name in code if code[name] != text.get(name)} == {
        f"classifier.{name}" for name in before
    }
    # What is left at its default is not stored: older settings have the same digest.
    assert not {"clip", "min_epoch", "initial_biases"} & Dense().model_dump(mode="json").keys()


def test_overlapping_windows_cover_every_mass_twice():
    windows = windows_of(config_for({"first": FIRST}, windows="overlapping"))
    assert windows == overlapping_windows()
    assert (windows[0].edges, windows[-1].edges) == ((2500, 3500), (5000, 6000))
    inside = [sum(w.low <= m < w.high for w in windows) for m in range(3000, 5500, 100)]
    assert set(inside) == {2}


def test_tossed_windows_are_three_of_sixteen_bins():
    windows = windows_of(config_for({"first": FIRST}, windows="tossed"))
    edges = np.geomspace(2800, 7000, 17)
    assert [window.low for window in windows] == pytest.approx(edges[2:12], abs=0.1)
    assert [window.high for window in windows] == pytest.approx(edges[5:15], abs=0.1)
    lower, upper = SaCwola.tossed().sidebands(windows[4])
    assert (*lower.edges, *upper.edges) == pytest.approx(edges[[4, 6, 9, 11]], abs=0.3)


def test_scanned_windows_stay_inside_the_fit_range():
    config = config_for({"hunt": Cwola.olympics()}, windows="cwola")
    assert len(windows_of(config)) == len(steps_of(config)[0]) == 10
    narrow = config.model_copy(
        update={"search": SearchSettings(fit_range=MassRange(low=2800, high=7000))}
    )
    with pytest.raises(ConfigError, match=r"leave search\.fit_range 2800-7000"):
        steps_of(narrow)
    # A method without sidebands has none that could leave the range.
    assert len(steps_of(config_for({"first": Autoencoder(latent=2)}, windows="cwola"))) == 1
    assert windows_of(SearchConfig()) == (SearchConfig().search.window,)


def test_sidebands_have_their_widths():
    lower, upper = Cwola().sidebands(MassRange(low=3300, high=3700))
    assert (lower.name, upper.name) == ("3100-3300", "3700-3900")
    lower, upper = cwola(spacing="logarithmic").sidebands(MassRange(low=3000, high=3600))
    assert (lower.low, upper.high) == pytest.approx((2500, 4320))
    with pytest.raises(ConfigError, match="begin below zero"):
        cwola(sideband=10).sidebands(MassRange(low=3300, high=3700))


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (Autoencoder, {"keep": (0.5,)}, "trained in batches"),
        (Autoencoder, {"networks": 2}, "trained in batches"),
        (Autoencoder, {"network": "dense", "keep": (0.0,)}, "greater than 0"),
        (Cwola, {"classifier": Trees(), "candidates": 2}, "for networks"),
        (Dense, {"epochs": 10, "min_epoch": 10}, "epochs are 0 to 9"),
        (Dense, {"clip": 0}, "greater than 0"),
        (Dense, {"initial_biases": (0.04, -0.01)}, "greater than or equal to 0"),
        (Cwola, {"classifier": Trees(), "choose_by_efficiency": True}, "for networks"),
        (Cwola, {"classifier": {"network": "transformer"}}, "convolutional.*particle_flow"),
        (Cwola, {"classifier": {"network": "dense", "trees": 5}}, "Extra inputs"),
        (Dense, {"features": ()}, "at least 1"),
        (Dense, {"optimizer": {"keep": "first"}}, "best"),
        (Files, {"heavy": "a.onnx"}, "light"),
        (TagNTrain, {}, "after"),
        (TagNTrain, {"after": "a", "signal_rich": 0.7}, r"overlap: 0\.7 \+ 0\.4 is above 1"),
        (TagNTrain, {"after": "a", "iterations": 2}, "Extra inputs"),
        (SameJet, {"after": "a", "shared": True}, "shared"),
        (SameJet, {"after": "a", "mass_window": True}, "mass_window"),
    ],
)
def test_impossible_settings_are_refused(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)
