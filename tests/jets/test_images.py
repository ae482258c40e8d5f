from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from hypothesis import given, settings
from hypothesis import strategies as st

from tnt_coffea.config import EventImageSettings, ImageSettings
from tnt_coffea.jets.frames import flat_lists
from tnt_coffea.jets.images import event_images, jet_images, sparse_images


def jets(pt: list, eta: list, phi: list) -> ak.Array:
    return vector.zip(
        {"pt": ak.Array(pt), "eta": ak.Array(eta), "phi": ak.Array(phi), "mass": ak.zeros_like(pt)}
    )


def random_jet(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pt = rng.exponential(30, n) + 0.5
    # Two prongs, so that the principal axis is well defined.
    prong = rng.random(n) < 0.4
    return pt, rng.normal(0.25 * prong, 0.08), rng.normal(-0.2 * prong, 0.08)


def image(pt: np.ndarray, x: np.ndarray, y: np.ndarray, **switches: bool) -> np.ndarray:
    made = jet_images(jets([pt], [x], [y]), ImageSettings(**switches))
    return made[0, 0].astype(np.float64)


def test_shape_sum_and_type() -> None:
    many = jets(
        [[5.0, 3.0], [1.0], [2.0, 2.0, 9.0]],
        [[0.1, 0.2], [1.0], [0.0, 0.3, 0.1]],
        [[0.0, 0.3], [2.0], [0.1, 0.0, 0.4]],
    )
    images = jet_images(many)
    assert images.shape == (3, 1, 40, 40)
    assert images.dtype == np.float32
    assert images.sum(axis=(1, 2, 3)) == pytest.approx(np.ones(3), abs=1e-6)


def test_pixels_without_any_step_are_where_the_particles_are() -> None:
    # Particles of equal pT, opposite about eta = 0, where the axis of a massive sum is
    # half-way; in the middle of pixels, 3.5 and 8.5 times 0.035 away.
    many = jets([[10.0, 10.0]], [[-0.1225, 0.1225]], [[1.0 - 0.2975, 1.0 + 0.2975]])
    off = ImageSettings(centre=False, rotate=False, flip=False, normalise=False)
    made = jet_images(many, off)[0, 0]
    assert np.argwhere(made).tolist() == [[11, 16], [28, 23]]
    assert made[11, 16] == made[28, 23] == 10.0


def test_hardest_constituent_is_in_the_upper_left() -> None:
    for seed in range(20):
        pt, x, y = random_jet(seed)
        # So hard that its pixel is the brightest; the centroid would follow it.
        pt[np.argmax(pt)] *= 1000
        made = image(pt, x, y, centre=False)
        row, column = np.unravel_index(np.argmax(made), made.shape)
        assert row >= 20
        assert column <= 19


def test_principal_axis_is_at_twelve_o_clock() -> None:
    for seed in range(10):
        pt, x, y = random_jet(seed)
        made = image(pt, x, y)
        grid = (np.arange(40) + 0.5) * 0.035 - 0.7
        mean_x, mean_y = made.sum(0) @ grid, made.sum(1) @ grid
        dx, dy = grid - mean_x, grid - mean_y
        xx, yy = made.sum(0) @ dx**2, made.sum(1) @ dy**2
        xy = dy @ made @ dx
        angle = 0.5 * np.arctan2(2 * xy, yy - xx)
        # Pixels blur an angle by about their size over the jet's length.
        assert abs(angle) < 0.05
        assert yy > xx


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    angle=st.floats(0, 2 * np.pi),
    reflect=st.booleans(),
    phi=st.floats(-3.1, 3.1),
)
def test_image_is_invariant_under_rotation_and_reflection(
    seed: int, angle: float, reflect: bool, phi: float
) -> None:
    pt, x, y = random_jet(seed)
    x, y = x - np.average(x, weights=pt), y - np.average(y, weights=pt)
    turned_x = np.cos(angle) * x - np.sin(angle) * y
    turned_y = np.sin(angle) * x + np.cos(angle) * y
    if reflect:
        turned_x = -turned_x
    # The jet axis is a momentum sum and moves a little against the centroid; both
    # the centring and the frame remove that, so only pixel borders are left.
    first = sparse_coordinates(pt, x, y)
    second = sparse_coordinates(pt, turned_x, turned_y + phi)
    assert np.abs(first - second).max() < 2e-3


def sparse_coordinates(pt: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Moments of the image with very fine pixels: what rounding to pixels leaves of it."""
    fine = ImageSettings(pixels=256)
    made = sparse_images(jets([pt], [x], [np.remainder(y + np.pi, 2 * np.pi) - np.pi]), fine)
    row, column = np.divmod(made.index.astype(int), 256)
    u, v = (row + 0.5) / 256 * 1.4 - 0.7, (column + 0.5) / 256 * 1.4 - 0.7
    w = made.value
    return np.array([w @ u**2, w @ v**2, w @ (u * v), w @ u**3, w @ v**3, w.max()])


def test_order_of_the_particles_does_not_matter() -> None:
    pt, x, y = random_jet(5)
    order = np.random.default_rng(0).permutation(len(pt))
    assert image(pt, x, y) == pytest.approx(image(pt[order], x[order], y[order]), abs=1e-7)


def test_image_of_a_jet_does_not_depend_on_the_jets_beside_it() -> None:
    a, b = random_jet(1), random_jet(2, n=7)
    both = jet_images(jets([a[0], b[0]], [a[1], b[1]], [a[2], b[2]]))
    assert np.array_equal(both[0], jet_images(jets([a[0]], [a[1]], [a[2]]))[0])
    assert np.array_equal(both[1], jet_images(jets([b[0]], [b[1]], [b[2]]))[0])


def test_seam_of_phi_is_no_edge() -> None:
    pt, x, y = random_jet(3)
    across = np.remainder(y + np.pi + np.pi, 2 * np.pi) - np.pi
    assert image(pt, x, y) == pytest.approx(image(pt, x, across), abs=1e-5)


def test_single_particle_and_particles_outside_the_frame() -> None:
    one = jet_images(jets([[5.0]], [[0.3]], [[0.2]]))
    assert one.sum() == pytest.approx(1.0)
    far = sparse_images(
        jets([[5.0, 5.0]], [[-1.5, 1.5]], [[0.0, 0.0]]),
        ImageSettings(rotate=False, flip=False),
    )
    assert far.counts.tolist() == [0]
    assert far.dense().sum() == 0


def literal_image(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, pixels: int) -> np.ndarray:
    """The paper's steps one after the other for one jet, particle by particle."""
    px, py, pz = (pt * np.cos(phi)).sum(), (pt * np.sin(phi)).sum(), (pt * np.sinh(eta)).sum()
    x = eta - np.arcsinh(pz / np.hypot(px, py))
    y = np.angle(np.exp(1j * (phi - np.arctan2(py, px))))
    x, y = x - np.average(x, weights=pt), y - np.average(y, weights=pt)
    covariance = np.cov(np.stack([x, y]), aweights=pt, bias=True)
    axis = np.linalg.eigh(covariance)[1][:, 1]
    turn = np.pi / 2 - np.arctan2(axis[1], axis[0])
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    hardest = np.argmax(pt)
    x, y = -x * np.sign(x[hardest]), y * np.sign(y[hardest])
    made = np.zeros((pixels, pixels))
    for weight, u, v in zip(pt, x, y, strict=True):
        column, row = (int(np.floor((c + 0.7) / 1.4 * pixels)) for c in (u, v))
        if 0 <= column < pixels and 0 <= row < pixels:
            made[row, column] += weight
    return made / made.sum()


@pytest.mark.parametrize("pixels", [40, 17])
def test_image_agrees_with_a_literal_computation(pixels: int) -> None:
    rows = [random_jet(seed, n=25 + seed) for seed in range(12)]
    many = jets(*([list(r[k]) for r in rows] for k in range(3)))
    made = jet_images(many, ImageSettings(pixels=pixels))
    for image_of_jet, row in zip(made, rows, strict=True):
        assert image_of_jet[0] == pytest.approx(literal_image(*row, pixels), abs=1e-6)


def test_pixels_agree_with_energyflow() -> None:
    energyflow = pytest.importorskip("energyflow", reason="EnergyFlow is not installed")
    settings = ImageSettings(pixels=33, rotate=False, flip=False, channels=("pt", "multiplicity"))
    for seed in range(5):
        pt, x, y = random_jet(seed)
        # EnergyFlow centres on the pixel of the centroid, which is then that of the middle.
        x, y = x - np.average(x, weights=pt), y - np.average(y, weights=pt)
        theirs = energyflow.utils.pixelate(
            np.stack([pt, x, y, np.zeros(len(pt))], axis=1), npix=33, img_width=1.4, nb_chan=2
        )
        ours = jet_images(jets([pt], [x], [y]), settings)[0]
        assert ours[0] == pytest.approx(theirs[..., 0], abs=1e-6)
        assert ours[1] * len(pt) == pytest.approx(theirs[..., 1], abs=1e-4)


def test_channels_are_layers_of_one_image() -> None:
    rows = [random_jet(seed) for seed in range(3)]
    many = jets(*([list(r[k]) for r in rows] for k in range(3)))
    both = ImageSettings(channels=("pt", "multiplicity"), normalise=False)
    made = jet_images(many, both)
    assert made.shape == (3, 2, 40, 40)
    assert np.array_equal(made[:, :1], jet_images(many, ImageSettings(normalise=False)))
    assert made[:, 1].sum(axis=(1, 2)).tolist() == [40, 40, 40]
    assert np.array_equal(made[:, 0] > 0, made[:, 1] > 0)
    sums = jet_images(many, both.model_copy(update={"normalise": True})).sum(axis=(2, 3))
    assert sums == pytest.approx(np.ones((3, 2)), abs=1e-5)
    sparse = sparse_images(many, both)
    jet = np.repeat(np.arange(3), sparse.counts)
    assert (np.diff(jet * 3200 + sparse.index.astype(int)) > 0).all()


def test_large_images_of_two_channels_are_addressed() -> None:
    rows = [random_jet(seed) for seed in range(2)]
    many = jets(*([list(r[k]) for r in rows] for k in range(3)))
    large = ImageSettings(pixels=256, channels=("pt", "multiplicity"), normalise=False)
    sparse = sparse_images(many, large)
    assert sparse.index.dtype == np.uint32
    assert sparse.dense()[:, 1].sum() == 80
    assert sparse_images(many, ImageSettings(pixels=256)).index.dtype == np.uint16


def test_jets_are_the_same_one_by_one_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [random_jet(seed, n=5 + seed) for seed in range(9)]
    many = jets(*([list(r[k]) for r in rows] for k in range(3)))
    whole = jet_images(many)
    monkeypatch.setattr("tnt_coffea.jets.images._DENSE_VALUES", 2 * 1600)
    assert np.array_equal(jet_images(many), whole)


@pytest.mark.parametrize("step", ["centre", "rotate", "flip", "normalise"])
def test_every_step_can_be_switched_off_alone(step: str) -> None:
    pt, x, y = random_jet(11)
    x, y = x + 0.1, y - 0.15
    assert np.abs(image(pt, x, y) - image(pt, x, y, **{step: False})).max() > 1e-3


def test_equal_hardest_particles_do_not_depend_on_the_order() -> None:
    pt, x, y = random_jet(7)
    pt[[3, 20]] = pt.max() + 1
    order = np.random.default_rng(1).permutation(len(pt))
    assert image(pt, x, y) == pytest.approx(image(pt[order], x[order], y[order]), abs=1e-7)


def test_no_jets_and_empty_jets() -> None:
    empty = jets([[1.0], []], [[0.0], []], [[0.0], []])
    assert sparse_images(empty, ImageSettings()).counts.tolist() == [1, 0]
    assert jet_images(empty[:0]).shape == (0, 1, 40, 40)
    assert jet_images(empty[1:]).sum() == 0


def test_chosen_jets_share_their_pixels_with_all() -> None:
    rows = [random_jet(seed, n=5 + seed) for seed in range(40)]
    both = ImageSettings(channels=("pt", "multiplicity"), pixels=20)
    images = sparse_images(jets(*([list(r[k]) for r in rows] for k in range(3))), both)
    rows = np.array([7, 3, 3, 39])
    chosen = images.select(rows)
    assert len(chosen) == 4
    assert chosen.value is images.value
    assert chosen.counts.tolist() == images.counts[rows].tolist()
    dense = images.dense()
    for some in (rows, slice(5, 9), np.arange(40) % 2 == 0, np.arange(0)):
        assert np.array_equal(images.select(some).dense(), dense[some])
        assert np.array_equal(images.dense(some), dense[some])


def test_lists_of_a_larger_array_are_taken_without_a_copy() -> None:
    index = ak.Array([[5], [1, 2], [], [9, 7, 8]])
    whole, some = flat_lists(index), flat_lists(index[[3, 1]])
    assert np.shares_memory(whole[2], some[2])
    starts, stops, flat = some
    assert [flat[a:b].tolist() for a, b in zip(starts, stops, strict=True)] == [[9, 7, 8], [1, 2]]


def test_an_event_image_is_a_histogram_of_all_particles(jets_of: Callable[..., ak.Array]) -> None:
    rng = np.random.default_rng(4)
    events = [
        np.stack([rng.exponential(20, n), rng.normal(0, 2.5, n), rng.uniform(-4, 4, n)], axis=1)
        for n in (200, 1, 40)
    ]
    shown = EventImageSettings(pixels=16, eta_max=3.0)
    found = event_images(jets_of(events), shown).dense()
    assert found.shape == (3, *shown.shape) == (3, 1, 16, 16)
    for image, (pt, eta, phi) in zip(found, (event.T for event in events), strict=True):
        turned = np.remainder(phi + np.pi, 2 * np.pi) - np.pi
        expected, *_ = np.histogram2d(
            turned, eta, 16, ((-np.pi, np.pi), (-3.0, 3.0)), weights=pt / pt.max()
        )
        np.testing.assert_allclose(image[0], expected, rtol=1e-5, atol=1e-7)
    # Particles beside the image are not in it, and they count for the hardest one.
    beside = np.array([[80.0, 3.5, 0.0], [20.0, 0.1, 0.1]])
    (alone,) = event_images(jets_of([beside]), shown).dense()
    assert alone.sum() == pytest.approx(0.25)


def test_event_images_depend_on_no_order_and_have_no_seam(
    pronged: Any, jets_of: Callable[..., ak.Array]
) -> None:
    rng = np.random.default_rng(5)
    event = pronged(1, 60)
    shown = EventImageSettings(pixels=20)
    shuffled = rng.permutation(event)
    once_around = event + np.array([0, 0, 2 * np.pi])
    images = event_images(jets_of([event, shuffled, once_around]), shown).dense()
    np.testing.assert_allclose(images[1:], images[[0, 0]], rtol=1e-5)
    quarter = event + np.array([0, 0, np.pi / 2])
    (turned,) = event_images(jets_of([quarter]), shown).dense()
    np.testing.assert_allclose(turned, np.roll(images[0], 5, axis=1), rtol=1e-5)
