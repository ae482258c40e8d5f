"""Networks as models from a tagger's inputs to its score."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tnt_coffea.config import ImageSettings
from tnt_coffea.errors import ConfigError, MissingExtraError
from tnt_coffea.taggers.inputs import Columns, Constituents, Images
from tnt_coffea.testing import make_sample
from tnt_coffea.training import FeatureSet, Standardisation, backend, networks

SAMPLE = make_sample(50)
SMALL = Images.of("heavy", SAMPLE)
RNG = np.random.default_rng(4)


def images(pixels=40, jets=1):
    return Images(jets=("heavy", "light")[:jets], images=ImageSettings(pixels=pixels))


def classifier(shown=None, **changes):
    return networks.convolutional_classifier(
        shown or images(), **{"pixel_scale": 100.0, "seed": 1} | changes
    )


def autoencoder(shown=None, **changes):
    return networks.convolutional_autoencoder(
        shown or images(), **{"latent": 6, "pixel_scale": 100.0, "seed": 1} | changes
    )


def dense_autoencoder(seed=1, latent=6):
    return networks.dense_autoencoder(SMALL, latent=latent, pixel_scale=100.0, seed=seed)


def scores(model, *inputs):
    return backend.array(model(list(inputs)))


def test_networks_have_the_authors_parameters():
    assert classifier().count_params() == 7637
    assert classifier(images(jets=2)).count_params() == 7925
    assert autoencoder().count_params() == 19839


def constituents(n=50, jets=1, particles=50, seed=0):
    rng = np.random.default_rng(seed)
    share = rng.exponential(1, (n, jets, particles)) ** 2
    share[np.arange(particles) >= rng.integers(1, particles + 1, (n, jets, 1))] = 0
    share /= share.sum(axis=-1, keepdims=True)
    place = np.where(share > 0, rng.normal(0, 0.3, (2, *share.shape)), 0)
    return np.stack([share, *place], axis=-1).astype(np.float32)


def particle_flow(jets=1):
    shown = Constituents(
        jets=("heavy", "light")[:jets], most=50, centre=True, rotate=True, flip=True
    )
    return networks.particle_flow_classifier(shown, seed=3)


def test_the_order_of_the_constituents_and_absent_ones_do_not_matter():
    shown, model = constituents(), particle_flow()
    expected = scores(model, shown)
    assert np.ptp(expected) > 1e-3
    mixed = shown[:, :, np.random.default_rng(1).permutation(50)]
    np.testing.assert_allclose(scores(model, mixed), expected, atol=1e-6)
    absent = np.where(shown[..., :1] > 0, shown, np.float32([0, 3, -2]))
    np.testing.assert_allclose(scores(model, absent), expected, atol=1e-6)
    assert particle_flow(jets=2).count_params() < 60_000


def test_a_dense_autoencoder_decodes_into_a_plane():
    # Its score is the distance of an image to its reconstruction, found here by the gradient.
    keras = backend.keras()
    tf = backend.tensorflow()
    shown = SMALL.reader(SAMPLE)(np.arange(50))
    model = dense_autoencoder()
    network = next(each for each in model.layers if isinstance(each, keras.Sequential))
    decoded = network(tf.transpose(shown, (0, 2, 3, 1))).numpy()
    expected = ((decoded - shown.reshape(50, -1)) ** 2).sum(axis=1)
    np.testing.assert_allclose(scores(model, shown), expected, rtol=1e-5)
    spread = np.linalg.svd(decoded - decoded.mean(axis=0), compute_uv=False)
    assert spread[6] < 1e-5 * spread[0] < spread[5]


def test_several_autoencoders_score_the_harmonic_mean_of_their_errors():
    shown = SMALL.reader(SAMPLE)(np.arange(50))
    made = [dense_autoencoder(seed, latent=3) for seed in range(3)]
    alone = [scores(model, shown) for model in made]
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    together = scores(networks.harmonic_mean(made, SMALL), shown)
    np.testing.assert_allclose(together, 3 / sum(1 / error for error in alone), rtol=1e-5)
    assert networks.harmonic_mean(made[:1], SMALL) is made[0]


def test_a_variational_autoencoder_scores_without_noise():
    shown = SMALL.reader(SAMPLE)(np.arange(50))
    score, loss = networks.variational_autoencoder(
        SMALL, latent=3, pixel_scale=100.0, kl_weight=0.5, seed=2
    )
    expected = scores(score, shown)
    np.testing.assert_array_equal(scores(score, shown), expected)
    noisy = [backend.array(loss([shown], training=True)) for _ in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-5
    assert (scores(loss, shown) >= expected - 1e-6).all()


def test_features_enter_a_network_standardised():
    features = FeatureSet.of(("rescaled_mass", "tau21"), "heavy", SAMPLE)
    columns = features.input.reader(SAMPLE)(np.arange(50))
    standard = Standardisation.of(features.computed(columns))
    model = networks.dense_classifier(features, standard, layers=(8, 8), dropout=0.1, seed=2)
    assert isinstance(features.input, Columns)
    assert np.ptp(scores(model, columns)) > 1e-3
    shifted = Standardisation(standard.mean + 1, standard.scale)
    other = networks.dense_classifier(features, shifted, layers=(8, 8), dropout=0.1, seed=2)
    assert np.abs(scores(other, columns) - scores(model, columns)).max() > 1e-3


def test_large_features_are_clipped():
    features = FeatureSet.of(("tau21",), "heavy", SAMPLE)
    standard = Standardisation(np.zeros(1, "f4"), np.ones(1, "f4"))
    clipped, free = (
        networks.dense_classifier(features, standard, layers=(8,), dropout=0.0, seed=2, clip=clip)
        for clip in (3.0, None)
    )
    shown = np.array([[-9.0], [-3.0], [1.0], [3.0], [9.0]], "f4")
    found = scores(clipped, shown)
    np.testing.assert_array_equal(found, scores(free, np.clip(shown, -3, 3)))
    assert found[0] == found[1] != scores(free, shown)[0]


def test_first_biases_have_their_widths():
    features = FeatureSet.of(("tau21",), "heavy", SAMPLE)
    standard = Standardisation(np.zeros(1, "f4"), np.ones(1, "f4"))

    def biases(*widths):
        model = networks.dense_classifier(
            features, standard, layers=(900, 900), dropout=0.0, seed=2, initial_biases=widths
        )
        return model.get_weights()[1::2]

    first, second, last = biases(0.04, 0.01)
    assert first.std() == pytest.approx(0.04, rel=0.1)
    assert second.std() == pytest.approx(0.01, rel=0.1)
    assert 0 < abs(last[0]) < 0.05
    assert not any(each.any() for each in biases())
    np.testing.assert_array_equal(first, biases(0.04)[0])


def test_building_leaves_the_callers_random_numbers_alone():
    np.random.seed(3)  # noqa: NPY002  the global state is the point
    expected = np.random.random(2)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    classifier()
    assert np.array_equal(np.random.random(2), expected)  # noqa: NPY002


@pytest.mark.parametrize(("build", "pixels"), [(classifier, 8), (autoencoder, 42)])
def test_impossible_image_sizes_are_refused(build, pixels):
    with pytest.raises(ConfigError, match=str(pixels)):
        build(images(pixels))


def test_autoencoders_take_one_channel():
    with pytest.raises(ConfigError, match=r"these have 2; use network: linear"):
        autoencoder(images(jets=2))


def test_missing_package_names_the_extra():
    with pytest.raises(MissingExtraError, match=r"tnt-coffea\[train\]"):
        backend.versions("no_such_package")


def test_importing_training_imports_neither_tensorflow_nor_onnx():
    code = (
        "import sys, tnt_coffea.training; "
        "print(sorted({'tensorflow', 'keras', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_tensorflow_used_with_threads_before_is_refused():
    code = (
        "import tensorflow as tf; tf.zeros(3) + 1\n"
        "from tnt_coffea.errors import TrainingError\n"
        "from tnt_coffea.training import backend\n"
        "try: backend.tensorflow()\n"
        "except TrainingError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fresh process" in done.stdout
