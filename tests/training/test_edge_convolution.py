"""Edge convolutions against the literal formula, by pen, and under permutations and padding."""

from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.training import backend
from tnt_coffea.training.edge_convolution import (
    EdgeConvolution,
    GraphAutoencoder,
    chamfer_distance,
    mean_squared_error,
    momenta,
    neighbours,
)
from tnt_coffea.training.features import Standardisation

RNG = np.random.default_rng(3)
COUNTS = np.array([6, 6, 4, 2, 1, 0])
THERE = (np.arange(6) < COUNTS[:, None]).astype(np.float32)
PARTICLES = (RNG.normal(0, 1, (6, 6, 4)) * THERE[..., None]).astype(np.float32)
UNIT = Standardisation(np.zeros(4, np.float32), np.ones(4, np.float32))


def arrays(function, *given):
    return backend.array(function(*given))


@pytest.fixture(scope="module")
def network():
    return GraphAutoencoder.of(
        Standardisation(np.full(4, 0.1, np.float32), np.full(4, 2.0, np.float32)), seed=2
    )


def literal(layer, particles, there):
    """Return mean_j phi(p_i, p_j - p_i) as it is written, pair by pair, in float64."""
    (own, bias), (w2,), hidden, last = (
        [values.astype(float) for values in dense.get_weights()] for dense in layer.layers
    )
    w1 = own + w2
    out = np.zeros((*particles.shape[:2], last[0].shape[1]))
    for jet, particle in np.argwhere(there):
        messages = []
        for other in np.flatnonzero(there[jet]):
            if other == particle:
                continue
            p = particles[jet, particle].astype(float)
            pair = np.concatenate([p, particles[jet, other] - p])
            value = np.maximum(pair @ np.concatenate([w1, w2]) + bias, 0)
            value = np.maximum(value @ hidden[0] + hidden[1], 0)
            value = value @ last[0] + last[1]
            messages.append(value if layer.linear else np.maximum(value, 0))
        if messages:
            out[jet, particle] = np.mean(messages, axis=0)
    return out


@pytest.mark.parametrize(("units", "activation"), [(2, "relu"), (4, "linear")])
def test_it_is_the_mean_over_pairs_as_it_is_written(units, activation):
    layer = EdgeConvolution(4, units, activation, backend.initialisers(5))
    for dense in (layer.own, layer.second, layer.last):  # biases begin at zero
        dense.bias.assign(RNG.normal(0, 0.3, dense.bias.shape))
    given = arrays(layer, PARTICLES, neighbours(THERE))
    wanted = literal(layer, PARTICLES, THERE)
    assert np.ptp(wanted) > 0.5
    assert given * THERE[..., None] == pytest.approx(wanted, abs=1e-6)
    assert not given[4].any()  # one constituent has no neighbours


def test_two_particles_are_as_by_pen():
    layer = EdgeConvolution(1, 1, "linear", backend.initialisers(1))
    weights = neighbours(np.ones((1, 2), np.float32))
    particles = np.array([[[1.0], [4.0]]], np.float32)
    own, other, last = np.zeros((1, 32)), np.zeros((1, 32)), np.zeros((32, 1))
    own[0, 0], other[0, 0], last[0] = 1.0, 2.0, 3.0  # phi = 3 relu(3 p_i + 2 (p_j - p_i)) + 1
    layer.own.set_weights([own, np.zeros(32)])
    layer.other.set_weights([other])
    layer.second.set_weights([np.eye(32), np.zeros(32)])
    layer.last.set_weights([last, np.ones(1)])
    assert arrays(layer, particles, weights).ravel().tolist() == [28.0, 19.0]


def test_layers_begin_as_those_of_pairs():
    layer = EdgeConvolution(4, 2, "relu", backend.initialisers(5))
    (own, _), (other,) = (dense.get_weights() for dense in layer.layers[:2])
    w = np.concatenate([own + other, other])
    limit = np.sqrt(6 / (8 + 32))  # Glorot, 8 numbers to 32
    assert 0.9 * limit < np.abs(w).max() <= limit + 1e-6


def test_number_of_parameters_is_that_of_the_paper(network):
    encoder = (8 * 32 + 32) + (32 * 32 + 32) + (32 * 2 + 2)
    decoder = (4 * 32 + 32) + (32 * 32 + 32) + (32 * 4 + 4)
    assert network.parameters == encoder + decoder + 2 * 4 == 2766


@pytest.mark.parametrize("error", [mean_squared_error, chamfer_distance])
def test_permuting_constituents_permutes_outputs_and_leaves_the_error(network, error):
    order = np.array([3, 0, 5, 1, 4, 2])
    given = arrays(network.reconstructed, PARTICLES, THERE)
    permuted = arrays(network.reconstructed, PARTICLES[:, order], THERE[:, order])
    there = THERE[:, order, None]
    assert permuted * there == pytest.approx(given[:, order] * there, abs=1e-6)
    assert arrays(error, permuted, PARTICLES[:, order], THERE[:, order]) == pytest.approx(
        arrays(error, given, PARTICLES, THERE), rel=1e-6
    )


@pytest.mark.parametrize("error", [mean_squared_error, chamfer_distance])
def test_padding_with_absent_constituents_changes_nothing(network, error):
    padded = np.concatenate([PARTICLES, np.full((6, 3, 4), 7, np.float32)], axis=1)
    there = np.concatenate([THERE, np.zeros((6, 3), np.float32)], axis=1)
    given = arrays(network.reconstructed, PARTICLES, THERE)
    further = arrays(network.reconstructed, padded, there)
    assert further[:, :6] * THERE[..., None] == pytest.approx(given * THERE[..., None], abs=1e-6)
    assert arrays(error, further, padded, there) == pytest.approx(
        arrays(error, given, PARTICLES, THERE), rel=1e-6
    )


def test_chamfer_of_a_permuted_set_is_zero_and_the_squared_error_is_not():
    whole = THERE[:2]
    permuted = PARTICLES[:2, ::-1]
    assert not arrays(chamfer_distance, permuted, PARTICLES[:2], whole).any()
    assert (arrays(mean_squared_error, permuted, PARTICLES[:2], whole) > 0.1).all()


def test_errors_are_those_of_the_formulae():
    given = RNG.normal(0, 1, PARTICLES.shape).astype(np.float32)
    mse = arrays(mean_squared_error, given, PARTICLES, THERE)
    chamfer = arrays(chamfer_distance, given, PARTICLES, THERE)
    for jet, n in enumerate(COUNTS):
        a, b = given[jet, :n].astype(float), PARTICLES[jet, :n].astype(float)
        apart = ((a[:, None] - b) ** 2).sum(axis=2)
        wanted = apart.min(axis=1).mean() + apart.min(axis=0).mean() if n else 0.0
        assert chamfer[jet] == pytest.approx(wanted, rel=1e-5)
        assert mse[jet] == pytest.approx(((a - b) ** 2).mean() if n else 0.0, rel=1e-5)


def test_momenta_are_massless_and_finite_at_any_pseudorapidity():
    pt, eta, phi = np.array([[2.0, 500.0, 1.0], [0.3, -4.0, 1e6], [1.0, -2.0, 3.0]])
    p = momenta(pt, eta, phi, np)
    assert p[:2, 0] ** 2 == pytest.approx((p[:2, 1:] ** 2).sum(axis=1))
    assert np.hypot(p[:, 1], p[:, 2]) == pytest.approx(pt)
    assert p[0, 3] == pytest.approx(2 * np.sinh(0.3))
    assert np.isfinite(p.astype(np.float32)).all()
