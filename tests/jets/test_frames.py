"""The leading constituents of a jet: as many as asked for, in the frame of its image."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import vector

from tnt_coffea.config import ImageSettings
from tnt_coffea.jets.frames import framed, leading_constituents
from tnt_coffea.jets.images import jet_images


def jets(*of: np.ndarray) -> ak.Array:
    """Jets of (3, particle) pT, eta and phi."""
    pt, eta, phi = (ak.Array([jet[i] for jet in of]) for i in range(3))
    return vector.zip({"pt": pt, "eta": eta, "phi": phi, "mass": ak.zeros_like(pt)})


def random_jet(seed: int, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    prong = rng.random(n) < 0.4
    place = rng.normal([0.25 * prong, -0.2 * prong], 0.08)
    return np.stack([rng.exponential(30, n) + 0.5, *place])


def leading(most: int, *of: np.ndarray) -> np.ndarray:
    return leading_constituents(framed(jets(*of), ImageSettings()), most).dense(most)


def test_the_hardest_are_kept_as_shares_of_all() -> None:
    jet = random_jet(0)
    made = leading(7, jet, jet[:, :5])
    assert (made.shape, made.dtype) == ((2, 7, 3), np.float32)
    expected = np.sort(jet[0])[::-1][:7] / jet[0].sum()
    assert made[0, :, 0] == pytest.approx(expected, rel=1e-6)
    assert made[1, :5, 0].sum() == pytest.approx(1, rel=1e-6)
    assert not made[1, 5:].any()


@pytest.mark.parametrize("seed", range(3))
def test_they_lie_where_the_image_has_them(seed: int) -> None:
    (pt, eta, phi) = leading(40, random_jet(seed))[0].T.astype(np.float64)
    half, size = 0.7, 40
    expected = np.histogram2d(phi, eta, size, [[-half, half], [-half, half]], weights=pt)[0]
    image = jet_images(jets(random_jet(seed)))[0, 0]
    assert image == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_the_order_of_the_constituents_does_not_matter() -> None:
    jet = random_jet(5)
    jet[0, :9] = 200.0  # equal momenta, too
    order = np.random.default_rng(0).permutation(jet.shape[1])
    assert leading(6, jet[:, order]) == pytest.approx(leading(6, jet), abs=1e-6)


@pytest.mark.parametrize("angle", [0.4, 2.0, 4.5])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_or_mirrored_jet_has_the_same(angle: float, mirrored: bool) -> None:
    pt, x, y = random_jet(3)
    x, y = x - np.average(x, weights=pt), y - np.average(y, weights=pt)
    turned = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    other = np.stack([pt, turned[0] * (-1 if mirrored else 1), turned[1] + 1.2])
    # As for images: the jet axis moves a little against the centroid, which centring removes.
    assert leading(20, other) == pytest.approx(leading(20, np.stack([pt, x, y])), abs=1e-5)


def test_no_jets_and_jets_without_constituents_have_none() -> None:
    assert leading(3, np.zeros((3, 0))).tolist() == [[[0.0] * 3] * 3]
    nothing = framed(jets(random_jet(1))[:0], ImageSettings())
    assert leading_constituents(nothing, 3).dense(3).shape == (0, 3, 3)
