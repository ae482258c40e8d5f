from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom

from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_likelihood import (
    AbcdNull,
    abcd,
    permutation_counts,
    permutation_p,
    tied_counts_q0,
)
from tnt_coffea.stats.abcd_profile import AbcdModel
from tnt_coffea.stats.abcd_results import AbcdCounts

TABLES = (
    ((60, 40, 8), (50, 45, 5), (12, 9, 3)),
    ((70, 38, 6), (44, 41, 7), (10, 5, 1)),
)


def counts_of(tables):
    total = np.sum(tables, axis=0, dtype=float)
    a, b, c, d = total[2, 2], total[2, 0], total[0, 2], total[0, 0]
    eps1, eps2 = b / total[:, 0].sum(), c / total[0].sum()
    return AbcdCounts(
        a, b, c, d, eps1, eps2, 0.01, 0.01, total.sum(), (3300.0, 3700.0),
        tuple(tuple(tuple(map(float, row)) for row in table) for table in tables),
    )  # fmt: skip


def test_toys_keep_the_marginals_of_every_fold():
    random = np.random.default_rng(1)
    toys = permutation_counts(TABLES[:1], 4000, random)
    table = np.array(TABLES[0])
    passing, columns, n = table[2].sum(), table.sum(axis=0), table.sum()
    # A alone is hypergeometric; with B it never exceeds what passes.
    law = hypergeom(n, columns[2], passing)
    assert toys[:, 0].mean() == pytest.approx(law.mean(), abs=4 * law.std() / 4000**0.5)
    assert toys[:, 0].var() == pytest.approx(law.var(), rel=0.1)
    assert np.all(toys[:, 0] + toys[:, 1] <= passing)
    assert np.all(toys[:, 0] + toys[:, 2] <= columns[2])
    assert np.all(toys[:, 2] + toys[:, 3] <= table[0].sum())
    means = np.outer(table.sum(axis=1), columns) / n
    for column, wanted in ((1, means[2, 0]), (2, means[0, 2]), (3, means[0, 0])):
        assert toys[:, column].mean() == pytest.approx(wanted, rel=0.05)


def test_two_by_two_table_is_fishers_exact_test():
    # Nothing between low and passing: the permutations are those of Fisher's test.
    table = ((40, 0, 5), (0, 0, 0), (6, 0, 5))
    observed = np.array([5.0, 6.0, 5.0, 40.0])
    q0, fitted = tied_counts_q0(observed[None], 1.0, 0.0, np.zeros(1))
    null = AbcdNull(observed, fitted[0], float(q0[0]), AbcdModel(1.0, 0.0))
    exact = fisher_exact([[5, 6], [5, 40]], alternative="greater").pvalue
    assert permutation_p(null, [table], 20_000, 1) == pytest.approx(exact, rel=0.1)


def test_closure_factor_is_fishers_noncentral_law():
    from scipy.stats import nchypergeom_fisher

    table = ((40, 0, 5), (0, 0, 0), (6, 0, 5))
    observed = np.array([5.0, 6.0, 5.0, 40.0])
    q0, fitted = tied_counts_q0(observed[None], 1.5, 0.0, np.zeros(1))
    null = AbcdNull(observed, fitted[0], float(q0[0]), AbcdModel(1.5, 0.0))
    exact = nchypergeom_fisher(56, 10, 11, 1.5).sf(4)
    assert permutation_p(null, [table], 40_000, 1) == pytest.approx(exact, rel=0.1)


def test_low_counts_of_a_score_plane_take_permutations():
    counts = counts_of(TABLES)
    found = abcd(counts.a, counts.b, counts.c, counts.d, counts=counts)
    assert found.calibration == "permutations"
    assert found.toys > 0
    assert 0 < found.p_value < 1
    assert any("keep how many events pass" in note for note in found.notes)
    free = abcd(counts.a, counts.b, counts.c, counts.d)
    assert free.calibration == "toys"
    assert free.z_asymptotic == found.z_asymptotic


@pytest.mark.slow
def test_permutation_p_value_is_uniform_without_signal():
    random = np.random.default_rng(3)
    p = []
    for _ in range(200):
        heavy, light = random.integers(0, 3, (2, 150))
        table = np.histogram2d(heavy, light, bins=[np.arange(-0.5, 3)] * 2)[0]
        observed = table[[2, 2, 0, 0], [2, 0, 2, 0]]
        q0, fitted = tied_counts_q0(observed[None], 1.0, 0.0, np.zeros(1))
        null = AbcdNull(observed, fitted[0], float(q0[0]), AbcdModel(1.0, 0.0))
        p.append(permutation_p(null, [table], 300, len(p)))
    rate = np.mean(np.array(p) < 0.1)
    assert rate == pytest.approx(0.1, abs=3 * np.sqrt(0.09 / 200))


@pytest.mark.parametrize(
    "table",
    [((1.5, 0, 1), (0, 0, 0), (1, 0, 1)), ((1, 2), (3, 4)), ((1, 0, -1), (0, 0, 0), (1, 0, 1))],
)
def test_tables_that_are_no_counts_are_refused(table):
    with pytest.raises(FitError):
        permutation_counts([table], 10, np.random.default_rng(1))


def test_weighted_planes_fall_back_on_free_toys():
    weighted = tuple(tuple(tuple(0.5 * n for n in row) for row in table) for table in TABLES)
    counts = counts_of(weighted)
    assert abcd(counts.a, counts.b, counts.c, counts.d, counts=counts).calibration == "toys"
