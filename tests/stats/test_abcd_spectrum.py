from __future__ import annotations

import numpy as np
import pytest

from tnt_coffea.errors import FitError
from tnt_coffea.stats import abcd, abcd_by_mass


def test_one_bin_is_the_counting_test():
    for systematic in (0.0, 0.03):
        one = abcd_by_mass([130], [1000], [1000], [10_000], [1.0], systematic=systematic)
        counted = abcd(130, 1000, 1000, 10_000, systematic=systematic)
        assert one.z == pytest.approx(counted.z, abs=1e-3)
        assert one.mu_hat == pytest.approx(counted.mu_hat, rel=1e-3)


def test_bins_know_more_than_their_sum():
    # The same excess in one of four bins, where its shape says it is.
    b = c = np.full(4, 400.0)
    d = np.full(4, 4000.0)
    expected = b * c / d
    a = expected + np.array([0, 30, 0, 0])
    shaped = abcd_by_mass(a, b, c, d, [0, 1, 0, 0])
    flat = abcd(a.sum(), b.sum(), c.sum(), d.sum())
    assert shaped.z > flat.z
    assert shaped.mu_hat == pytest.approx(30, rel=1e-2)
    assert shaped.converged
    wrong = abcd_by_mass(a, b, c, d, [0, 0, 1, 0])
    assert wrong.z < 0.5


def test_background_of_any_mass_shape_gives_no_signal():
    b, c, d = np.array([[900.0, 300, 80], [700, 260, 70], [9000, 2500, 600]])
    found = abcd_by_mass(b * c / d, b, c, d, [0.2, 0.6, 0.2])
    assert found.q0 == pytest.approx(0, abs=1e-6)
    # A thousandth of its uncertainty of about 15 events.
    assert found.mu_hat == pytest.approx(0, abs=0.015)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (([1, 2], [1], [1, 1], [1, 1], [1, 0]), "same bins"),
        (([1, 2], [1, 1], [1, 1], [1, 0], [1, 0]), "D is empty"),
        (([1, np.nan], [1, 1], [1, 1], [1, 1], [1, 0]), "finite"),
        (([1, -1], [1, 1], [1, 1], [1, 1], [1, 0]), "negative"),
        (([1, 1], [1, 1], [1, 1], [1, 1], [0, 0]), "somewhere"),
    ],
)
def test_bad_regions_are_refused(counts, words):
    with pytest.raises(FitError, match=words):
        abcd_by_mass(*counts)
