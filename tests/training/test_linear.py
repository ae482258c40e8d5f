from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tnt_coffea.config import ImageSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Images
from tnt_coffea.training import backend, principal_components
from tnt_coffea.training.methods.autoencoder import linear_graph

rng = np.random.default_rng(3)
IMAGES = (rng.random((300, 1, 6, 6)) ** 4).astype(np.float32)
IMAGES /= IMAGES.sum(axis=(1, 2, 3), keepdims=True)
ONES = np.ones(300)


def fitted(images=IMAGES, weights=None, latent=4, batch=64):
    return principal_components(
        lambda rows: images[rows], ONES if weights is None else weights, latent, batch=batch
    )


def test_components_are_those_of_a_singular_value_decomposition():
    flat = IMAGES.reshape(300, -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    found = fitted()
    np.testing.assert_allclose(found.mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.variances, values[:4] ** 2 / 300, rtol=1e-9)
    np.testing.assert_allclose(np.abs((found.axes * axes[:4]).sum(axis=1)), 1, rtol=1e-6)
    residual = centred - centred @ axes[:4].T @ axes[:4]
    assert found.mean_squared_error == pytest.approx((residual**2).sum(axis=1).mean(), rel=1e-9)


def test_score_is_the_squared_error():
    found = fitted()
    centred = IMAGES.reshape(300, -1) - found.mean
    expected = ((centred - centred @ found.axes.T @ found.axes) ** 2).sum(axis=1)
    shown = Images(jets=("heavy",), images=ImageSettings(pixels=6))
    session = onnxruntime.InferenceSession(linear_graph(shown, found).SerializeToString())
    scores = session.run(["score"], {"image": IMAGES})[0]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-7)


def test_batches_do_not_matter():
    one, two = fitted(batch=7), fitted(batch=300)
    np.testing.assert_array_equal(one.axes, two.axes)


def test_a_weight_of_two_is_the_image_twice():
    weights = np.where(np.arange(300) < 50, 2.0, 1.0)
    twice = np.concatenate([IMAGES, IMAGES[:50]])
    one, two = fitted(weights=weights), fitted(twice, np.ones(350))
    np.testing.assert_array_equal(one.axes, two.axes)


def test_largest_element_of_an_axis_is_positive():
    axes = fitted().axes
    assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()


def test_too_few_images_are_refused():
    with pytest.raises(TrainingError, match="got 4"):
        fitted(weights=np.ones(4))


def test_more_components_than_pixels_are_refused():
    with pytest.raises(TrainingError, match="36 pixels"):
        fitted(latent=40)


def test_weights_that_sum_to_nothing_are_refused():
    with pytest.raises(TrainingError, match="sum to 0"):
        fitted(weights=np.zeros(300))


def test_a_training_computes_on_one_thread_and_restores_the_number():
    ways = backend._thread_numbers()
    assert ways
    before = [get() for get, _ in ways]
    try:
        for _, set_ in ways:
            set_(2)
        with backend.one_thread():
            with backend.one_thread():
                pass
            assert {get() for get, _ in ways} == {1}
        assert {get() for get, _ in ways} == {2}
    finally:
        for (_, set_), number in zip(ways, before, strict=True):
            set_(number)
