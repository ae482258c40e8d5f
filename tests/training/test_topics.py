"""Two themes of generated documents, whose own are known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta as beta_distribution

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.topics import Documents, Inference, Themes

ALPHA = (0.9, 0.1)
THREE = Inference(epochs=3, starts=1)


def generated(n, seed, words=400, length=12):
    """Documents, the themes they are made of, and each one's share of the second theme."""
    themes = np.random.default_rng(7).dirichlet(np.full(words, 0.5), 2)
    rng = np.random.default_rng(seed)
    first = rng.beta(*ALPHA, n)
    drawn = [rng.choice(words, (n, length), p=theme) for theme in themes]
    word = np.where(rng.random((n, length)) < first[:, None], *drawn)
    rows = np.repeat(np.arange(n), length)
    return Documents.of(rows, word.ravel(), np.ones(n), words), themes, 1 - first


def apart(one, other):
    """Total variation distance."""
    return np.abs(one - other).sum(axis=-1) / 2


@pytest.mark.parametrize(
    ("n", "limits"),
    [(8000, (0.04, 0.15)), pytest.param(100_000, (0.012, 0.097), marks=pytest.mark.slow)],
)
def test_themes_of_generated_documents_are_found(n, limits):
    documents, truth, share = generated(n, 1)
    themes = Inference(epochs=3).fit(documents, ALPHA, seed=1)
    assert (apart(themes.beta, truth) <= limits).all()
    assert themes.rare(1.5) == 1
    assert themes.shares[1] == pytest.approx(0.1, abs=0.015)
    score = documents.table @ themes.log_ratio(1)
    assert np.corrcoef(score, share)[0, 1] > 0.7


def test_two_folds_find_the_same_themes():
    found = [THREE.fit(generated(6000, seed, 100)[0], ALPHA, seed).beta for seed in (2, 3)]
    assert (apart(*found) < 0.1).all()


def test_the_true_prior_describes_other_documents_best_within_a_step():
    (trained, _, _), (tested, _, _) = generated(4000, 4), generated(2000, 5)
    ratios, sums = (0.01, 0.03, 0.1, 0.3, 1.0), (0.3, 1.0)
    found = {
        (ratio, total): THREE.fit(trained, (total / (1 + ratio), total * ratio / (1 + ratio)), 1)
        .log_likelihood(tested)
        .mean()
        for ratio, total in product(ratios, sums)
    }
    best = max(found, key=found.get)
    assert abs(ratios.index(best[0]) - ratios.index(0.1)) <= 1  # the truth is 1/9


def test_the_order_of_documents_and_of_words_changes_nothing():
    documents, _, _ = generated(600, 6, 30, 4)  # of which many are the same
    weight = np.random.default_rng(1).choice([0.5, 1.0, 2.0], 600)
    rows = np.random.default_rng(2).permutation(600)
    table = documents.table.tocoo()
    again = np.repeat(np.arange(table.nnz), table.data.astype(int))
    order = np.random.default_rng(3).permutation(len(again))
    place = np.argsort(rows)[table.row[again]][order]
    fitted = [
        Inference(epochs=3, starts=2, chunk=100).fit(each, ALPHA, seed=1)
        for each in (
            Documents.of(table.row[again], table.col[again], weight, 30),
            Documents.of(place, table.col[again][order], weight[rows], 30),
        )
    ]
    np.testing.assert_array_equal(fitted[0].beta, fitted[1].beta)
    np.testing.assert_array_equal(fitted[0].shares, fitted[1].shares)
    other = Inference(epochs=3, starts=2, chunk=100).fit(documents, ALPHA, seed=2)
    assert not np.array_equal(other.beta, fitted[0].beta)


def test_words_of_other_names_are_the_same_words():
    documents, _, _ = generated(2000, 6, 30, 4)
    names = np.random.default_rng(3).permutation(30)
    renamed = Documents(documents.table[:, names], documents.weight)
    # One chunk: its documents are in another order.
    one, other = (
        Inference(chunk=2000, starts=1).fit(each, ALPHA, 1) for each in (documents, renamed)
    )
    np.testing.assert_allclose(one.beta[:, names], other.beta, rtol=1e-6)


def test_priors_the_other_way_round_give_the_other_theme_the_same_ratios():
    documents, _, _ = generated(2000, 6, 60)
    one, other = (THREE.fit(documents, alpha, 1) for alpha in (ALPHA, ALPHA[::-1]))
    assert (one.rare(1.5), other.rare(1.5)) == (1, 0)
    np.testing.assert_allclose(one.log_ratio(1), other.log_ratio(0), rtol=1e-6)


def test_a_document_of_weight_four_is_four_documents():
    documents, _, share = generated(2000, 8, 60)
    weight = np.where(share > 0.5, 4.0, 1.0)
    repeated = documents.select(np.repeat(np.arange(2000), weight.astype(int)))
    whole = Inference(chunk=4000, starts=1)
    plain, once, both = (
        whole.fit(each, ALPHA, 1)
        for each in (documents, Documents(documents.table, weight), repeated)
    )
    np.testing.assert_allclose(once.beta, both.beta, rtol=1e-6)
    assert once.shares[1] > 1.3 * plain.shares[1]


def test_of_several_starts_the_most_probable_themes_are_kept():
    documents, _, _ = generated(2000, 9, 60)
    found = [Inference(epochs=5, starts=n).fit(documents, ALPHA, 3) for n in (1, 2, 6)]
    probable = [themes.log_likelihood(documents).sum() for themes in found]
    assert probable == sorted(probable)


@pytest.mark.parametrize("alpha", [(0.9, 0.1), (0.297, 0.003), (0.5, 0.5), (3.0, 2.0)])
def test_likelihood_of_a_document_is_exact(alpha):
    beta = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    themes = Themes(beta, np.array(alpha), np.ones(2) / 2)
    every = np.array(list(product(range(3), repeat=5)))
    rows = np.repeat(np.arange(len(every)), 5)
    p = np.exp(themes.log_likelihood(Documents.of(rows, every.ravel(), np.ones(len(every)), 3)))
    assert p.sum() == pytest.approx(1, rel=1e-9)
    # The least likely of all is known by the moments of a share.
    mean, n = alpha[0] / sum(alpha), sum(alpha)
    square = mean * (alpha[0] + 1) / (n + 1)
    two = Documents.of([0, 0], [0, 2], [1.0], 3)
    wanted = 0.07 * square + (0.56 + 0.01) * (mean - square) + 0.08 * (1 - 2 * mean + square)
    assert np.exp(themes.log_likelihood(two))[0] == pytest.approx(wanted, rel=1e-9)


def test_likelihood_of_a_long_document_is_the_integral():
    documents, truth, _ = generated(3, 1, 50, 60)
    found = Themes(truth, np.array([3.0, 2.0]), np.ones(2) / 2).log_likelihood(documents)
    for row in range(3):
        n = documents.table[row].toarray()[0]

        def p(share, n=n):
            mixed = n @ np.log(share * truth[0] + (1 - share) * truth[1])
            return np.exp(mixed + 200) * beta_distribution.pdf(share, 3, 2)

        assert found[row] == pytest.approx(np.log(quad(p, 0, 1)[0]) - 200, abs=1e-6)


@pytest.mark.parametrize("weight", [[], [1.0, 0.0], [1.0, -1.0]])
def test_documents_without_weight_are_refused(weight):
    rows = np.arange(len(weight))
    with pytest.raises(TrainingError, match="weights above zero"):
        THREE.fit(Documents.of(rows, rows, weight, 5), ALPHA, 1)
