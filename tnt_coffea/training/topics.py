"""Two themes of words, found in documents: latent Dirichlet allocation in numpy.

A document is a bag of words; each of its words comes from one of two themes, probabilities of
words, and the document's share of the first theme from a beta distribution. With two themes the
probability of a document is an integral over one share, which Gauss-Jacobi quadrature gives
exactly; so stochastic inference needs no variational approximation, whose themes are biased.

Source: D. Blei, A. Ng, M. Jordan, JMLR 3 (2003) 993; O. Cappe, E. Moulines, JRSS B 71 (2009) 593
(stochastic steps); M. Hoffman, D. Blei, F. Bach, NIPS 2010 (their sizes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags
from scipy.special import logsumexp, roots_jacobi

from tnt_coffea.config.settings import Positive, Settings
from tnt_coffea.errors import TrainingError
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["Documents", "Inference", "Themes"]

_BLOCK = 4096
"""Documents looked at together once the themes are known."""
_LIKE = 100.0
"""Shape of the gamma distribution of first themes by lot, as in gensim."""
_MIXED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Constants of the generator SplitMix64, G. Steele, D. Lea, C. Flood, OOPSLA 2014."""


@dataclass(frozen=True)
class Documents:
    """Documents of one word or more, each with a weight.

    Attributes
    ----------
    table
        (document, word) sparse, how often a word stands in a document.
    weight
        (document,) above zero.

    Examples
    --------
    >>> documents = Documents.of([0, 1, 0], [3, 2, 3], [1.0, 1.0], words=4)
    >>> documents.table.toarray().tolist(), documents.counts.tolist()
    ([[0.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, 0.0]], [2.0, 1.0])
    """

    table: Any
    weight: Float64Array

    @classmethod
    def of(
        cls, document: npt.ArrayLike, word: npt.ArrayLike, weight: npt.ArrayLike, words: int
    ) -> Documents:
        """Return documents from all their words, in any order.

        Parameters
        ----------
        document, word
            (word,) number of the document and in the vocabulary.
        weight
            (document,) weights; every document has a word.
        words
            Number of words in the vocabulary.
        """
        of, weights = np.asarray(document), np.asarray(weight, np.float64)
        table = csr_matrix((np.ones(len(of)), (of, np.asarray(word))), (len(weights), words))
        table.sum_duplicates()
        return cls(table, weights)

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.weight)

    @property
    def words(self) -> int:
        """Number of words in the vocabulary."""
        return int(self.table.shape[1])

    @property
    def counts(self) -> Float64Array:
        """(document,) number of its words."""
        return np.asarray(self.table.sum(axis=1)).ravel()

    def select(self, rows: IntArray | slice) -> Documents:
        """Return some documents, in that order."""
        return Documents(self.table[rows], self.weight[rows])

    def shuffled(self, seed: int) -> Documents:
        """Return the documents in an order by lot, the same whatever their order here is.

        A document's lot follows from its words and from how many of the same came before it.
        """
        table = self.table
        with np.errstate(over="ignore"):  # all modulo 2^64
            keys = _mixed(np.arange(self.words, dtype=np.uint64) + np.uint64(seed) * _MIXED[0])
            lot = np.add.reduceat(
                table.data.astype(np.uint64) * keys[table.indices], table.indptr[:-1]
            )
            order = np.lexsort((self.weight, lot))
            begin = np.flatnonzero(np.r_[True, np.diff(lot[order]) != 0])
            rank = np.arange(len(self)) - np.repeat(begin, np.diff(np.r_[begin, len(self)]))
            again = _mixed(lot[order] + rank.astype(np.uint64) * _MIXED[0])
        return self.select(order[np.argsort(again, kind="stable")])

    def chunks(self, size: int) -> Iterator[Documents]:
        """Yield the documents in chunks of up to a size."""
        for start in range(0, len(self), size):
            yield self.select(slice(start, start + size))


class Inference(Settings):
    """How two themes are found: stochastic steps towards the most probable ones."""

    epochs: int = Field(10, ge=1, le=1000, description="passes over the documents")
    starts: int = Field(
        4, ge=1, le=100, description="first themes, that of pairs of words and others by lot"
    )
    chunk: int = Field(1000, ge=1, description="documents between two updates of the themes")
    decay: float = Field(
        0.5, ge=0.5, le=1, description="update t counts (offset + t)^-decay, t from 0"
    )
    offset: float = Field(1.0, ge=1, description="a larger one makes the first updates smaller")
    eta: Positive = Field(0.5, description="prior of the themes: words of each kind in each theme")

    def fit(self, documents: Documents, alpha: tuple[float, float], seed: int) -> Themes:
        """Return the themes of documents, of all starts those that make them most probable.

        Neither the order of the documents nor that of their words changes a bit of them.

        Parameters
        ----------
        documents
            One or more.
        alpha
            Of the beta distribution of a document's shares, above zero.
        seed
            Of the order in which the documents are gone through, and of first themes by lot.

        Raises
        ------
        TrainingError
            There are no documents, or a weight is not above zero.

        Examples
        --------
        >>> rng = np.random.default_rng(1)
        >>> second = rng.beta(0.1, 0.9, 400) > rng.random((12, 400))  # words 5-9, not 0-4
        >>> word = 5 * second + rng.integers(0, 5, (12, 400))
        >>> document = np.tile(np.arange(400), 12)
        >>> documents = Documents.of(document, word.ravel(), np.ones(400), words=10)
        >>> themes = Inference(chunk=50).fit(documents, (0.9, 0.1), seed=1)
        >>> themes.shares.round(1).tolist(), themes.beta[1].round(1).tolist()
        ([0.9, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2])
        """
        if not len(documents) or not (documents.weight > 0).all():
            msg = f"themes are learned from documents of weights above zero, {len(documents)} given"
            raise TrainingError(msg)
        ordered, prior = documents.shuffled(seed), np.array(alpha)
        lots = np.random.default_rng(seed).gamma(_LIKE, size=(self.starts - 1, 2, documents.words))
        firsts = [_themes_of_pairs(ordered, prior), *map(_normalised, lots)]
        found = [self._from(first, ordered, prior) for first in firsts]
        return max(found, key=lambda each: float(ordered.weight @ each.log_likelihood(ordered)))

    def _from(self, first: Float64Array, ordered: Documents, prior: Float64Array) -> Themes:
        shares, updates = _Shares.of(prior, ordered), 0
        counts = self.eta + ordered.words * first
        for _ in range(self.epochs):
            for chunk in ordered.chunks(self.chunk):
                found = len(ordered) / len(chunk) * shares.words(_normalised(counts), chunk)
                counts += (self.offset + updates) ** -self.decay * (self.eta + found - counts)
                updates += 1
        beta = _normalised(counts)
        found = sum(shares.words(beta, chunk).sum(axis=1) for chunk in ordered.chunks(_BLOCK))
        return Themes(beta, prior, found / found.sum())


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
        """Return (document,) ln p of its words, in their order, for known themes: exact.

        Examples
        --------
        >>> themes = Themes(np.array([[0.75, 0.25], [0.25, 0.75]]), np.ones(2), np.ones(2) / 2)
        >>> one = Documents.of([0, 1, 1], [0, 0, 1], [1.0, 1.0], words=2)
        >>> np.exp(themes.log_likelihood(one)).round(4).tolist()  # 1/2; 1/4 - 1/4 of var(share)
        [0.5, 0.2292]
        """
        shares = _Shares.of(self.alpha, documents)
        blocks = [shares.log_p(self.beta, chunk)[0] for chunk in documents.chunks(_BLOCK)]
        return logsumexp(np.concatenate(blocks), axis=1) if blocks else np.zeros(0)


@dataclass(frozen=True)
class _Shares:
    """Shares of the first theme and their weights, exact for documents of so many words.

    The probability of n words is a polynomial of degree n of the share.
    """

    at: Float64Array
    log_weight: Float64Array

    @classmethod
    def of(cls, alpha: Float64Array, documents: Documents) -> _Shares:
        nodes = int(documents.counts.max(initial=1)) // 2 + 1
        with np.errstate(invalid="ignore", divide="ignore"):  # scipy's own, of what it leaves out
            at, weight = roots_jacobi(nodes, alpha[1] - 1, alpha[0] - 1)
        return cls((1 + at[:, None]) / 2, np.log(weight / weight.sum()))

    def log_p(self, beta: Float64Array, documents: Documents) -> tuple[Float64Array, Float64Array]:
        """Return (document, share) ln of p and weight, and (share, word) probabilities."""
        mixed = self.at * beta[0] + (1 - self.at) * beta[1]
        return documents.table @ np.log(mixed).T + self.log_weight, mixed

    def words(self, beta: Float64Array, documents: Documents) -> Float64Array:
        """Return (theme, word) expected words of each theme, weighted."""
        log_p, mixed = self.log_p(beta, documents)
        posterior = np.exp(log_p - logsumexp(log_p, axis=1, keepdims=True))
        seen = (documents.table.T @ (posterior * documents.weight[:, None])).T / mixed
        first, second = self.at * beta[0], (1 - self.at) * beta[1]
        return np.stack([(seen * first).sum(axis=0), (seen * second).sum(axis=0)])


def _normalised(counts: Float64Array) -> Float64Array:
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _themes_of_pairs(documents: Documents, alpha: Float64Array) -> Float64Array:
    """Return (theme, word) probabilities by which the inference begins.

    How often two words are found in one document, beyond how often in two, is the variance of the
    shares times (beta_0 - beta_1) (beta_0 - beta_1)^T: the largest eigenvector. With themes by lot
    the inference often ends in a local optimum; with these, where words are not independent.

    Source: A. Anandkumar et al., JMLR 15 (2014) 2773, section 3.2.
    """
    n, table, last = documents.counts, documents.table, documents.words - 1
    mean = table.T @ (documents.weight / n / documents.weight.sum())
    pairs = np.where(n > 1, documents.weight, 0) / np.maximum(n * (n - 1), 1)
    pairs /= max(float(pairs @ (n * (n - 1))), np.finfo(float).tiny)
    together = (table.T @ diags(pairs) @ table).toarray() - np.diag(table.T @ pairs)
    found = eigh(together - np.outer(mean, mean), subset_by_index=[last, last])
    share = alpha / alpha.sum()
    variance = share[0] * share[1] / (alpha.sum() + 1)
    apart = found[1][:, 0] * np.sqrt(max(float(found[0][0]), 0.0) / variance)
    # Of the two signs, that with the less negative probabilities.
    both = [np.stack([mean + s * share[1] * apart, mean - s * share[0] * apart]) for s in (1, -1)]
    themes = max(both, key=lambda each: float(np.minimum(each, 0).sum()))
    return _normalised(np.maximum(themes, 0.1 * mean))


def _mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIXED[1]
    value = (value ^ (value >> np.uint64(27))) * _MIXED[2]
    return value ^ (value >> np.uint64(31))
