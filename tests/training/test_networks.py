from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from tnt_coffea.errors import ConfigError, MissingExtraError, TrainingError
from tnt_coffea.training import backend
from tnt_coffea.training.export import (
    FeatureInputs,
    autoencoder_model,
    classifier_model,
    two_branch_model,
)
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.fitting import variational_loss
from tnt_coffea.training.networks import (
    convolutional_autoencoder,
    dense_autoencoder,
    dense_classifier,
    jet_classifier,
    two_branch_classifier,
    variational_autoencoder,
)

IMAGES = (np.random.default_rng(4).random((50, 1, 40, 40)) ** 20).astype(np.float32)
IMAGES /= IMAGES.sum(axis=(1, 2, 3), keepdims=True)
CHANNELS_LAST = IMAGES.transpose(0, 2, 3, 1)


def classifier(**changes):
    return jet_classifier(
        **({"pixels": 40, "channels": 1, "pixel_scale": 100.0, "seed": 1} | changes)
    )


def autoencoder(**changes):
    return convolutional_autoencoder(
        **({"pixels": 40, "latent": 6, "pixel_scale": 100.0, "seed": 1} | changes)
    )


def scores(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [item.name for item in session.get_inputs()] == ["image"]
    assert [(item.name, item.shape) for item in session.get_outputs()] == [("score", ["n"])]
    return session.run(["score"], {"image": IMAGES})[0]


def test_networks_have_the_authors_parameters():
    assert classifier().count_params() == 7637
    assert classifier(channels=2).count_params() == 7925
    assert autoencoder().count_params() == 19839


def test_exported_classifier_agrees_with_keras():
    network = classifier()
    expected = network(CHANNELS_LAST).numpy()[:, 0]
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(scores(classifier_model(network)), expected, atol=1e-5)


def test_exported_autoencoder_agrees_with_keras():
    network = autoencoder()
    decoded = network(CHANNELS_LAST).numpy()
    np.testing.assert_allclose(decoded.sum(axis=1), 1, rtol=1e-5)
    expected = ((decoded - IMAGES.reshape(50, -1)) ** 2).sum(axis=1)
    np.testing.assert_allclose(scores(autoencoder_model([(network,)])), expected, rtol=1e-5)


def test_exported_dense_autoencoder_agrees_with_keras_and_decodes_into_a_plane():
    network = dense_autoencoder(pixels=40, latent=6, pixel_scale=100.0, seed=1)
    decoded = network(CHANNELS_LAST).numpy()
    expected = ((decoded - IMAGES.reshape(50, -1)) ** 2).sum(axis=1)
    np.testing.assert_allclose(scores(autoencoder_model([(network,)])), expected, rtol=1e-5)
    spread = np.linalg.svd(decoded - decoded.mean(axis=0), compute_uv=False)
    assert spread[6] < 1e-5 * spread[0] < spread[5]


def test_several_autoencoders_in_one_graph_score_the_harmonic_mean_of_their_errors():
    made = [
        dense_autoencoder(pixels=40, latent=3, pixel_scale=100.0, seed=seed) for seed in range(3)
    ]
    alone = [scores(autoencoder_model([(network,)])) for network in made]
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    together = scores(autoencoder_model([(network,) for network in made]))
    expected = 3 / sum(1 / error for error in alone)
    np.testing.assert_allclose(together, expected, rtol=1e-5)


def small_images():
    images = np.ascontiguousarray(IMAGES[:, :, 14:26, 14:26]) + np.float32(1e-4)
    return images / images.sum(axis=(1, 2, 3), keepdims=True)


FEATURES = FeatureSet(("m", "t"), ("heavy_mass", "m_jj", "heavy_tau21"), ((0, 1), (2,)))
RAW = np.random.default_rng(5).random((50, 3)).astype(np.float32) * np.float32(1) + np.array(
    [100, 3000, 0], np.float32
)
INPUTS = FeatureInputs(FEATURES, Standardisation.of(FEATURES.computed(RAW), np.ones(50)))


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(["score"], inputs)[0]


def test_exported_dense_network_agrees_with_keras():
    network = dense_classifier(features=2, layers=(8, 8, 8), dropout=0.1, seed=2)
    values = INPUTS.standardisation.applied(FEATURES.computed(RAW))
    expected = network(values, training=False).numpy()[:, 0]
    assert np.ptp(expected) > 1e-3
    found = run(classifier_model(network, INPUTS), features=RAW)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_exported_network_of_image_and_features_agrees_with_keras():
    images = small_images()
    made = two_branch_classifier(pixels=12, channels=1, pixel_scale=100.0, features=2, seed=2)
    values = INPUTS.standardisation.applied(FEATURES.computed(RAW))
    expected = made.network([images.transpose(0, 2, 3, 1), values]).numpy()[:, 0]
    found = run(two_branch_model(made, INPUTS), image=images, features=RAW)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3


def test_exported_variational_autoencoder_decodes_without_noise():
    images = small_images()
    made = variational_autoencoder(pixels=12, latent=3, pixel_scale=100.0, seed=2)
    inputs = [images.transpose(0, 2, 3, 1), np.zeros((50, 3), np.float32)]
    decoded, mean, log_variance = made.network(inputs)
    expected = ((decoded.numpy() - images.reshape(50, -1)) ** 2).sum(axis=1)
    np.testing.assert_allclose(
        run(autoencoder_model([(made.encoder, made.mean, made.decoder)]), image=images),
        expected,
        rtol=1e-4,
    )
    # The noise matters: without it the network would be a plain autoencoder.
    noisy, *_ = made.network([inputs[0], np.ones((50, 3), np.float32)])
    assert np.abs(noisy.numpy() - decoded.numpy()).max() > 1e-5
    loss = variational_loss(0.5)(inputs, None, (decoded, mean, log_variance)).numpy()
    assert (loss >= expected - 1e-6).all()


def test_same_seed_gives_the_same_bytes_whatever_was_built_before():
    first = classifier_model(classifier()).SerializeToString(deterministic=True)
    autoencoder()
    classifier(seed=2)
    again = classifier_model(classifier()).SerializeToString(deterministic=True)
    other = classifier_model(classifier(seed=2)).SerializeToString(deterministic=True)
    assert first == again
    assert first != other


def test_building_leaves_the_callers_random_numbers_alone():
    np.random.seed(3)  # noqa: NPY002  the global state is the point
    expected = np.random.random(2)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    classifier()
    assert np.array_equal(np.random.random(2), expected)  # noqa: NPY002


def test_checked_model_holds_no_doc_strings_or_dates():
    model = classifier_model(classifier())
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version, model.doc_string) == ("tnt_coffea", "", "")


def test_unknown_layer_is_refused_with_the_known_ones():
    import keras

    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.GlobalMaxPooling2D()])
    with pytest.raises(TrainingError, match=r"GlobalMaxPooling2D; known are Conv2D"):
        classifier_model(network)


@pytest.mark.parametrize(("build", "pixels"), [(classifier, 8), (autoencoder, 42)])
def test_impossible_image_sizes_are_refused(build, pixels):
    with pytest.raises(ConfigError, match=str(pixels)):
        build(pixels=pixels)


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
