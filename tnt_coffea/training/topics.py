"""Two themes of words, found in documents: latent Dirichlet allocation in numpy.

A document is a bag of words; each of its words comes from one of two themes, probabilities of
words, and the document's share of the first theme from a beta distribution. Stochastic variational
inference finds the themes. The probability of a document for known themes is an integral that is
known exactly.

Source: D. Blei, A. Ng, M. Jordan, JMLR 3 (2003) 993; M. Hoffman, D. Blei, F. Bach, NIPS 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags
from scipy.special import digamma, expit, logsumexp, roots_jacobi

from tnt_coffea.config.settings import Positive, Settings
from tnt_coffea.errors import TrainingError
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["Documents", "Inference", "Themes"]

_ITERATIONS, _CONVERGED = 100, 1e-3
"""Of the shares of documents: most iterations, and words by which the last one moves one."""
_BLOCK = 8192
"""Documents whose shares are found at a time once the themes are known."""
_MIXED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Constants of the generator SplitMix64, G. Steele, D. Lea, C. Flood, OOPSLA 2014."""


@dataclass(frozen=True)
class Documents:
    """Documents of one word or more, each with a weight.

    Attributes
    ----------
    words
        (word,) numbers in the vocabulary, document after document, ascending in each.
    counts
        (document,) its number of words.
    weight
        (document,) above zero.

    Examples
    --------
    >>> documents = Documents.of([0, 1, 0], [7, 2, 3], [1.0, 1.0])
    >>> documents.words.tolist(), documents.counts.tolist()
    ([3, 7, 2], [2, 1])
    """

    words: IntArray
    counts: IntArray
    weight: Float64Array

    @classmethod
    def of(cls, document: npt.ArrayLike, word: npt.ArrayLike, weight: npt.ArrayLike) -> Documents:
        """Return documents from all their words, in any order.

        Parameters
        ----------
        document, word
            (word,) number of the document and in the vocabulary.
        weight
            (document,) weights; every document has a word.
        """
        of, words = np.asarray(document, np.int64), np.asarray(word, np.int64)
        weights = np.asarray(weight, np.float64)
        return cls(words[np.lexsort((words, of))], np.bincount(of, minlength=len(weights)), weights)

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.counts)

    @cached_property
    def document(self) -> IntArray:
        """(word,) number of the document."""
        return np.repeat(np.arange(len(self)), self.counts)

    def select(self, rows: IntArray) -> Documents:
        """Return some documents, in that order."""
        starts, counts = np.cumsum(self.counts) - self.counts, self.counts[rows]
        first = np.repeat(starts[rows] - (np.cumsum(counts) - counts), counts)
        return Documents(self.words[first + np.arange(counts.sum())], counts, self.weight[rows])

    def shuffled(self, seed: int) -> Documents:
        """Return the documents in an order by lot, the same whatever their order here is.

        A document's lot follows from its words and from how many of the same came before it.
        """
        with np.errstate(over="ignore"):
            words = _mixed(self.words.astype(np.uint64) + np.uint64(seed) * _MIXED[0])
            lot = np.zeros(len(self), np.uint64)
            np.add.at(lot, self.document, words)  # modulo 2^64, in any order
            order = np.lexsort((self.weight, lot))
            new = np.r_[True, np.diff(lot[order]) != 0] if len(self) else np.zeros(0, bool)
            begin = np.flatnonzero(new)
            rank = np.arange(len(self)) - np.repeat(begin, np.diff(np.r_[begin, len(self)]))
            again = _mixed(lot[order] + rank.astype(np.uint64) * _MIXED[0])
        return self.select(order[np.argsort(again, kind="stable")])

    def chunks(self, size: int) -> Iterator[Documents]:
        """Yield the documents in chunks of up to a size."""
        for start in range(0, len(self), size):
            yield self.select(np.arange(start, min(start + size, len(self))))


class Inference(Settings):
    """How two themes are found: stochastic variational inference."""

    epochs: int = Field(10, ge=1, le=1000, description="passes over the documents")
    chunk: int = Field(256, ge=1, description="documents between two updates of the themes")
    decay: float = Field(
        0.5, ge=0.5, le=1, description="update t counts (offset + t)^-decay, t from 0"
    )
    offset: float = Field(1.0, ge=1, description="a larger one slows the first updates down")
    eta: Positive = Field(0.5, description="prior of the themes: words of each kind in each theme")

    def fit(
        self, documents: Documents, words: int, alpha: tuple[float, float], seed: int
    ) -> Themes:
        """Return the themes of documents.

        Their order changes nothing, bit for bit.

        Parameters
        ----------
        documents
            One or more.
        words
            Number of words in the vocabulary.
        alpha
            Of the beta distribution of a document's shares, above zero.
        seed
            Of the order in which the documents are gone through.

        Raises
        ------
        TrainingError
            There are no documents, or a weight is not above zero.

        Examples
        --------
        >>> rng = np.random.default_rng(1)
        >>> share = rng.beta(0.9, 0.1, 400) > rng.random((12, 400))  # words 0-4, or 5-9
        >>> word = np.where(share, 0, 5) + rng.integers(0, 5, (12, 400))
        >>> documents = Documents.of(np.tile(np.arange(400), 12), word.ravel(), np.ones(400))
        >>> themes = Inference(chunk=50).fit(documents, 10, (0.9, 0.1), seed=1)
        >>> themes.shares.round(2).tolist(), themes.beta[1].round(1).tolist()
        ([0.89, 0.11], [0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2])
        """
        if not len(documents) or not (documents.weight > 0).all():
            msg = f"themes are learned from documents of weights above zero, {len(documents)} given"
            raise TrainingError(msg)
        ordered = documents.shuffled(seed)
        prior, updates = np.array(alpha), 0
        counts = self.eta + words * _themes_of_pairs(ordered, words, prior)
        for _ in range(self.epochs):
            for chunk in ordered.chunks(self.chunk):
                found = len(ordered) / len(chunk) * _words_of_themes(counts, chunk, prior)
                step = (self.offset + updates) ** -self.decay
                counts += step * (self.eta + found - counts)
                updates += 1
        found = sum(_words_of_themes(counts, chunk, prior) for chunk in ordered.chunks(_BLOCK))
        shares = found.sum(axis=1) / found.sum()
        return Themes(counts / counts.sum(axis=1, keepdims=True), prior, shares)


@dataclass(frozen=True)
class Themes:
    """Two themes, and how documents are made of them.

    Attributes
    ----------
    beta
        (theme, word) probability of a word, above zero.
    alpha
        (theme,) of the beta distribution of a document's shares.
    shares
        (theme,) expected share of the words of the documents learned from.
    """

    beta: Float64Array
    alpha: Float64Array
    shares: Float64Array

    def rare(self, factor: float) -> int:
        """Return the theme with the smaller share of the words: 0 or 1.

        Raises
        ------
        TrainingError
            The other one's share is less than `factor` times larger: there is no rare theme.

        Examples
        --------
        >>> Themes(np.full((2, 2), 0.5), np.ones(2), np.array([0.8, 0.2])).rare(factor=1.5)
        1
        """
        few, many = np.sort(self.shares)
        if not many >= factor * few:
            msg = (
                f"no rare theme: the two have {many:.0%} and {few:.0%} of the words, at least a "
                f"factor {factor:g} has to be between them"
            )
            raise TrainingError(msg)
        return int(self.shares[1] <= self.shares[0])

    def log_ratio(self, theme: int) -> Float64Array:
        """Return (word,) ln of its probability in a theme over that in the other."""
        log = np.log(self.beta)
        return np.asarray(log[theme] - log[1 - theme])

    def log_likelihood(self, documents: Documents) -> Float64Array:
        """Return (document,) ln p of its words, of any order, for known themes.

        Exact: p is a polynomial of the document's share of a theme, integrated over its beta
        distribution by Gauss-Jacobi quadrature.

        Examples
        --------
        >>> themes = Themes(np.array([[0.75, 0.25], [0.25, 0.75]]), np.ones(2), np.ones(2) / 2)
        >>> one = Documents.of([0, 1, 1], [0, 0, 1], [1.0, 1.0])
        >>> np.exp(themes.log_likelihood(one)).round(4).tolist()  # 1/2; 1/4 - 1/4 of var(share)
        [0.5, 0.2292]
        """
        nodes = int(documents.counts.max(initial=1)) // 2 + 1
        with np.errstate(invalid="ignore", divide="ignore"):  # scipy's own, of what it leaves out
            at, weight = roots_jacobi(nodes, self.alpha[1] - 1, self.alpha[0] - 1)
        terms = []
        for share in (1 + at) / 2:
            log = np.log(share * self.beta[0] + (1 - share) * self.beta[1])
            terms.append(np.bincount(documents.document, log[documents.words], len(documents)))
        weights = (weight / weight.sum())[:, None]
        return np.asarray(logsumexp(np.array(terms), axis=0, b=weights))


def _themes_of_pairs(documents: Documents, words: int, alpha: Float64Array) -> Float64Array:
    """Return (theme, word) probabilities by which the inference begins.

    How often two words are found in one document, beyond how often in two, is the variance of the
    shares times (beta_0 - beta_1) (beta_0 - beta_1)^T: the largest eigenvector. With themes by lot
    the inference often ends in a local optimum.

    Source: A. Anandkumar et al., JMLR 15 (2014) 2773, section 3.2.
    """
    n, weight = documents.counts, documents.weight
    ones = np.ones(len(documents.words))
    table = csr_matrix((ones, (documents.document, documents.words)), (len(n), words))
    mean = table.T @ (weight / n / weight.sum())
    pairs = np.where(n > 1, weight, 0) / np.maximum(n * (n - 1), 1)
    pairs /= max(pairs @ (n * (n - 1)), np.finfo(float).tiny)
    together = (table.T @ diags(pairs) @ table).toarray() - np.diag(table.T @ pairs)
    values, vectors = eigh(together - np.outer(mean, mean), subset_by_index=[words - 1, words - 1])
    share = alpha / alpha.sum()
    variance = share[0] * share[1] / (alpha.sum() + 1)
    apart = vectors[:, 0] * np.sqrt(max(values[0], 0.0) / variance)
    # Of the two signs, that with the less negative probabilities.
    both = [np.stack([mean + s * share[1] * apart, mean - s * share[0] * apart]) for s in (1, -1)]
    themes = max(both, key=lambda each: np.minimum(each, 0).sum())
    themes = np.maximum(themes, 0.1 * mean)
    return np.asarray(themes / themes.sum(axis=1, keepdims=True))


def _words_of_themes(
    counts: Float64Array, documents: Documents, alpha: Float64Array
) -> Float64Array:
    """Return (theme, word) words of each theme, expected and weighted, by variational inference.

    With two themes the share of one is all that there is to iterate: JMLR 14 (2013) 1303, figure 4.
    """
    log = digamma(counts) - digamma(counts.sum(axis=1, keepdims=True))
    ratio = (log[0] - log[1])[documents.words]
    of, n = documents.document, len(documents)
    total = alpha.sum() + documents.counts
    first = alpha[0] + documents.counts / 2
    for _ in range(_ITERATIONS):
        turn = digamma(first) - digamma(total - first)
        share = expit(ratio + turn[of])
        before, first = first, alpha[0] + np.bincount(of, share, n)
        if np.abs(first - before).max(initial=0.0) < _CONVERGED:
            break
    weight, size = documents.weight[of], counts.shape[1]
    return np.stack(
        [np.bincount(documents.words, weight * each, size) for each in (share, 1 - share)]
    )


def _mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIXED[1]
    value = (value ^ (value >> np.uint64(27))) * _MIXED[2]
    return value ^ (value >> np.uint64(31))
