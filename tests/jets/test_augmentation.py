from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.config import ImageSettings
from tnt_coffea.jets.augmentation import augmented, reflected, rotated, smeared
from tnt_coffea.jets.images import SparseImages, sparse_images

TWO = ImageSettings(channels=("pt", "multiplicity"))


@pytest.fixture(scope="module")
def images(pronged, jets_of) -> SparseImages:
    return sparse_images(jets_of([pronged(seed, 60) for seed in range(30)]), TWO)


def sums(images: SparseImages) -> np.ndarray:
    return images.dense().sum(axis=(2, 3))


def well_formed(images: SparseImages) -> bool:
    dense = images.dense()
    return bool(
        images.counts.sum() == len(images.index) == len(images.value) == np.count_nonzero(dense)
    )


def test_reflection_is_exact_and_its_own_inverse(images: SparseImages) -> None:
    eta, phi = np.arange(30) % 2 == 0, np.arange(30) % 3 == 0
    made = reflected(images, eta, phi)
    expected = images.dense()
    expected[eta] = expected[eta][..., ::-1]
    expected[phi] = expected[phi][:, :, ::-1]
    assert np.abs(made.dense() - expected).max() < 1e-6
    assert np.abs(reflected(made, eta, phi).dense() - images.dense()).max() < 1e-6
    assert well_formed(made)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3, 4])
def test_quarter_turns_are_exact(images: SparseImages, quarter: int) -> None:
    made = rotated(images, np.full(30, quarter * np.pi / 2))
    # From columns (eta) towards rows (phi) is the other way round than rot90's.
    expected = np.rot90(images.dense(), -quarter, axes=(2, 3))
    assert np.abs(made.dense() - expected).max() < 1e-6


def moments(images: SparseImages) -> np.ndarray:
    """(jet, xx + yy, (xx - yy) + 2i xy) of channel 0 in pixels squared, about the middle."""
    dense = images.dense()[:, 0].astype(float)
    at = np.arange(dense.shape[1]) - (dense.shape[1] - 1) / 2
    x = np.einsum("jrc,c->j", dense, at**2)
    y = np.einsum("jrc,r->j", dense, at**2)
    xy = np.einsum("jrc,r,c->j", dense, at, at)
    return np.stack([x + y, x - y + 2j * xy], axis=1)


def test_rotation_turns_the_second_moments(images: SparseImages) -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 30)
    before, after = moments(images), moments(rotated(images, angle, rng))
    # Nothing of a jet of this width leaves the frame; the rest is rounding to pixels.
    assert np.abs(after[:, 0] / before[:, 0] - 1).max() < 0.1
    turned = before[:, 1] * np.exp(2j * angle)
    assert np.abs(after[:, 1] - turned).max() < 0.1 * np.abs(turned).max()


def test_channels_stay_together_and_sum_to_one(images: SparseImages) -> None:
    rng = np.random.default_rng(1)
    made = rotated(images, rng.uniform(0, 6, 30), rng)
    assert sums(made) == pytest.approx(np.ones((30, 2)), abs=1e-5)
    pt, multiplicity = made.dense().transpose(1, 0, 2, 3)
    assert np.array_equal(pt > 0, multiplicity > 0)
    assert well_formed(made)


def test_pixels_that_were_not_normalised_keep_their_sum(pronged, jets_of) -> None:
    raw = ImageSettings(normalise=False)
    images = sparse_images(jets_of([pronged(seed) for seed in range(5)]), raw)
    turned = rotated(images, np.full(5, 0.4))
    assert sums(turned) == pytest.approx(sums(images), rel=1e-5)


def test_smearing_has_the_resolution_it_says() -> None:
    n = 4000
    images = SparseImages(
        np.full(n, 2),
        np.tile([3, 7], n).astype(np.uint16),
        np.tile([0.9, 0.1], n).astype("f4"),
        (1, 4, 4),
    )
    pt = np.full(n, 1000.0)
    made = smeared(images, pt, np.random.default_rng(2), constant=0.05, stochastic=1.5).dense()
    share = made.reshape(n, 16)[:, 7] / made.reshape(n, 16)[:, 3]
    relative = np.array([0.05**2 + 1.5**2 / 900, 0.05**2 + 1.5**2 / 100])
    assert share.mean() == pytest.approx(1 / 9, rel=0.02)
    assert share.std() * 9 == pytest.approx(np.sqrt(relative.sum()), rel=0.06)
    assert made.sum(axis=(1, 2, 3)) == pytest.approx(np.ones(n), abs=1e-5)
    same = smeared(images, pt, np.random.default_rng(2), constant=0.0, stochastic=0.0)
    assert np.abs(same.dense() - images.dense()).max() < 1e-6


def test_smearing_leaves_other_channels_alone(images: SparseImages) -> None:
    made = smeared(images, np.full(30, 1200.0), np.random.default_rng(3))
    assert np.abs(made.dense()[:, 1] - images.dense()[:, 1]).max() < 1e-6
    assert np.abs(made.dense()[:, 0] - images.dense()[:, 0]).max() > 1e-3


def test_the_generator_decides_everything(images: SparseImages) -> None:
    pt = np.full(30, 1200.0)
    a, b, c = (augmented(images, pt, np.random.default_rng(seed)).dense() for seed in (5, 5, 6))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    off = augmented(
        images, pt, np.random.default_rng(5), rotation=False, reflection=False, smearing=False
    )
    assert np.array_equal(off.dense(), images.dense())


def test_no_jets_and_empty_jets() -> None:
    none = SparseImages(np.zeros(0, np.int64), np.zeros(0, "u2"), np.zeros(0, "f4"), (1, 8, 8))
    assert augmented(none, [], np.random.default_rng(0)).dense().shape == (0, 1, 8, 8)
    empty = SparseImages(np.zeros(3, np.int64), np.zeros(0, "u2"), np.zeros(0, "f4"), (1, 8, 8))
    assert augmented(empty, np.ones(3), np.random.default_rng(0)).dense().sum() == 0
