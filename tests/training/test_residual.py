"""The residual network in Keras and in a graph."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.taggers import Tagger
from tnt_coffea.taggers.inputs import EventImage
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Graph, backend
from tnt_coffea.training.fitting import evaluated
from tnt_coffea.training.residual import add_residual_network, residual_network


def trained_norms(model):
    """Give every batch norm numbers as of a training."""
    rng = np.random.default_rng(8)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            gamma, *_ = layer.get_weights()
            drawn = [rng.uniform(0.5, 1.5, gamma.shape), rng.normal(0, 0.3, gamma.shape)]
            drawn += [rng.normal(0, 0.3, gamma.shape), rng.uniform(0.5, 2, gamma.shape)]
            layer.set_weights(drawn)


@pytest.mark.parametrize(
    ("pixels", "blocks", "width", "power"),
    [
        (16, (1, 2, 1), 4, 1.0),
        (9, (1,), 3, 0.5),
        pytest.param(64, (3, 4, 6, 3), 16, 0.5, marks=pytest.mark.slow),
    ],
)
def test_folded_norms_change_nothing(pixels, blocks, width, power):
    sample = make_sample(40, event_image=pixels)
    image = EventImage.of(sample)
    model = residual_network(image, blocks=blocks, width=width, dropout=1.0, seed=3, power=power)
    trained_norms(model)
    graph = Graph(image)
    made = graph.model(graph.flat(add_residual_network(graph, model, blocks, power)))
    # No event, one pixel far above the others, and what a search has.
    shown = image.read(sample)
    shown[0] = 0
    shown[1, 0, 0, 0] = 30
    expected = backend.array(evaluated(model, {"event_image": shown}))
    scores = Tagger(made.SerializeToString(), "network").score({"event_image": shown})
    assert np.ptp(scores) > 0.1
    worst = np.max(np.abs(scores - expected) / np.maximum(np.abs(expected), 1))
    assert worst < 1e-5
    assert not {"BatchNormalization", "Dropout"} & {node.op_type for node in made.graph.node}


@pytest.mark.slow
def test_the_trunk_is_that_of_resnet_34():
    image = EventImage.of(make_sample(1, event_image=64))
    model = residual_network(image, blocks=(3, 4, 6, 3), width=64, dropout=1.0, seed=1)
    trunk = [item for item in model.layers if not item.name.startswith(("hidden", "odds"))]
    weights = sum(int(np.prod(w.shape)) for item in trunk for w in item.trainable_weights)
    # 21,797,672 parameters with 1000 classes and three channels: 513,000 are the last layer's,
    # and 7 x 7 x 64 those of each channel.
    assert weights == 21_797_672 - 513_000 - 2 * 7 * 7 * 64
    assert sum(item.__class__.__name__ == "Conv2D" for item in trunk) == 33 + 3


def test_seeds_decide_the_initial_weights():
    image = EventImage.of(make_sample(1, event_image=8))
    kernels = [
        residual_network(image, blocks=(1,), width=2, dropout=0.0, seed=seed).get_weights()[0]
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
