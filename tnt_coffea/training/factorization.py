"""Topics of jets, found in pairs of them: D = P F P^T, in numpy.

The histogram D of one observable of the two jets of many events is a mixture of products: jets of
topic k have the distribution P_k, pairs of topics the fractions F. Both are symmetric in the two
jets. Unless every topic has a bin of its own, other P and F give the same D
(`Factorization.equivalents`).

| loss | is | a step is |
|---|---|---|
| `poisson` | sum D ln(D / P F P^T), -ln of the likelihood of an event | expectation, maximisation |
| `frobenius` | sum (D - P F P^T)^2 / sum D^2, problem 5.1 of the source | multiplicative |

Source: arXiv:2101.08320, section 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tnt_coffea.typing import Float64Array, IntArray

__all__ = [
    "Common",
    "Factorization",
    "Loss",
    "Pairs",
    "bins_of",
    "factorizations",
    "pair_histogram",
]

Loss = Literal["poisson", "frobenius"]
Pairs = Literal["all", "unlike"]
Common = Literal["jets", "pairs"]
"""How the common topic is known: by most jets, or by most pairs of its own jets, F_kk."""

_LARGEST = 30.0
"""Largest log ratio of either sign."""
_TINY = 1e-300
_LOOK = 50
"""Steps between two looks at the loss."""


def bins_of(values: npt.NDArray[np.float32], edges: npt.NDArray[np.float32]) -> IntArray:
    """Return the bin of each value, in an array of its shape.

    Parameters
    ----------
    values
        Of any shape; what is no number is in the first bin.
    edges
        (bin - 1,) ascending edges between the bins: the outermost bins are open.

    Examples
    --------
    >>> values = np.array([-1, 0.9, 1, 7, np.nan], np.float32)
    >>> bins_of(values, np.array([1, 2], np.float32)).tolist()
    [0, 0, 1, 2, 0]
    """
    found = np.searchsorted(edges, values, side="right")
    return np.asarray(np.where(np.isnan(values), 0, found), np.int64)


def pair_histogram(
    first: IntArray,
    second: IntArray,
    weight: npt.ArrayLike,
    bins: int,
    part: IntArray | None = None,
    parts: int = 1,
) -> Float64Array:
    """Return the symmetric histogram (part, bin, bin) of pairs, of sum 1.

    Parameters
    ----------
    first, second
        (event,) bins of the two jets; half of an event is filled in either order.
    weight
        (event,) at least 0, some above.
    bins
        Number of bins.
    part, parts
        (event,) part of the events that each belongs to, and how many there are.

    Examples
    --------
    >>> pair_histogram(np.array([0, 1]), np.array([1, 1]), [1, 1], 2)[0].tolist()
    [[0.0, 0.25], [0.25, 0.5]]
    """
    where = np.zeros_like(first) if part is None else part
    shape = (parts, bins, bins)
    flat = np.ravel_multi_index((where, first, second), shape)
    counts = np.bincount(flat, weights=np.asarray(weight, np.float64), minlength=np.prod(shape))
    counts = counts.reshape(shape)
    counts = counts + counts.swapaxes(1, 2)
    return np.asarray(counts / counts.sum(), np.float64)


@dataclass(frozen=True, eq=False)
class Factorization:
    """Distributions of topics and fractions of their pairs, as one start found them.

    The first topic is the common one, which is taken for QCD.

    Attributes
    ----------
    p
        (bin, topic) distributions, each of sum 1.
    f
        (part, topic, topic) fractions of all pairs, symmetric, of sum 1.
    loss
        Loss at the end.
    steps
        Steps taken.

    Examples
    --------
    >>> qcd, other = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
    >>> found = Factorization(np.stack([qcd, other], 1), np.array([[[0.8, 0.0], [0.0, 0.2]]]))
    >>> found.common, found.expected[0, 0].round(3).tolist()
    (0.8, [0.2, 0.2, 0.0])
    >>> found.log_ratio(events=1e6)[0].round(1).tolist()  # an unseen pair has a score as well
    [[-27.2, -14.3, -0.0], [-14.3, -1.4, 12.9], [-0.0, 12.9, 27.2]]
    """

    p: Float64Array
    f: Float64Array
    loss: float = 0.0
    steps: int = 0

    @property
    def common(self) -> float:
        """Fraction of pairs of the common topic, F_00 of all parts."""
        return float(self.f[:, 0, 0].sum())

    @property
    def expected(self) -> Float64Array:
        """(part, bin, bin) P F P^T."""
        return np.asarray(self.p @ self.f @ self.p.T)

    @property
    def shares(self) -> Float64Array:
        """(topic,) shares of all jets."""
        return np.asarray(self.f.sum(axis=(0, 1)))

    def ordered(self, by: Common = "jets") -> Factorization:
        """Return the same with the common topic first, and the others by their shares of jets."""
        order = np.argsort(-self.shares, kind="stable")
        if by == "pairs":
            first = int(np.argmax(np.diag(self.f.sum(axis=0))))
            order = np.array([first, *order[order != first]])
        return replace(self, p=self.p[:, order], f=self.f[:, order][:, :, order])

    def log_ratio(self, events: float, *, pairs: Pairs = "all", prior: float = 0.5) -> Float64Array:
        """Return (part, bin, bin) ln of the ratio of other pairs of topics to the common pair.

        Parameters
        ----------
        events
            Number of events that the histogram was made of.
        pairs
            all: all pairs of topics but the common one's; unlike: those of two different topics
            beside the common one, equation 5.9 of the source.
        prior
            Jets added to every bin of every topic, without which no bin where a topic was never
            seen would have a score.

        Source: arXiv:2101.08320, equation 5.9.
        """
        jets = 2 * events * self.shares
        p = (jets * self.p + prior) / (jets + prior * len(self.p))
        counted = np.array(self.f)
        counted[:, 0, 0] = 0
        if pairs == "unlike":
            counted[:, 0, :] = counted[:, :, 0] = 0
            counted *= 1 - np.eye(counted.shape[1])
        others = p @ counted @ p.T
        alone = self.f[:, :1, :1] * np.outer(p[:, 0], p[:, 0])
        with np.errstate(divide="ignore"):
            ratio = np.log(others) - np.log(np.maximum(alone, _TINY))
        return np.asarray(np.clip(ratio, -_LARGEST, _LARGEST))

    def auc(self, score: Float64Array) -> float:
        """Return the area under the ROC curve of a score, with these topics for the truth.

        Signal is all but the common pair, so labels are not needed: starts whose scores have
        another area order the events otherwise.

        Parameters
        ----------
        score
            (part, bin, bin).

        Examples
        --------
        >>> p = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> found = Factorization(p, np.array([[[0.9, 0.0], [0.0, 0.1]]]))
        >>> score = found.log_ratio(events=1e6)
        >>> found.auc(score), found.auc(-score)
        (1.0, 0.0)
        """
        background = self.f[:, :1, :1] * np.outer(self.p[:, 0], self.p[:, 0])
        signal = np.maximum(self.expected - background, 0)
        _, place = np.unique(score, return_inverse=True)
        s, b = (np.bincount(place.ravel(), each.ravel()) for each in (signal, background))
        below = np.cumsum(b) - b / 2
        return float((s @ below) / max(s.sum() * b.sum(), _TINY))

    def peaks(self) -> IntArray:
        """Return the (topic - 1,) bins where topics beside the common one exceed it most."""
        return np.asarray(np.argmax(self.p[:, 1:] - self.p[:, :1], axis=0))

    def equivalents(self) -> tuple[Factorization, Factorization]:
        """Return two models of the same histogram, of less and of more pairs of the common topic.

        As much of the other topics as fits is taken out of the common one; or as much of the
        common one out of each other: P_k less kappa P_0, kappa the least ratio of both over the
        bins. A topic with a bin of its own leaves nothing to take. All fractions between the two
        are as good, and there may be models further away. Noise empties bins, so this is for
        histograms without.

        Source: arXiv:1802.00008 (reducibility factors kappa).

        Examples
        --------
        >>> qcd, other = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
        >>> f = np.array([[[0.8, 0.0], [0.0, 0.2]]])
        >>> anchored = Factorization(np.stack([qcd, other], 1), f)  # each has its own bin
        >>> [one.common for one in anchored.equivalents()]
        [0.8, 0.8]
        >>> overlapping = Factorization(np.stack([qcd, (qcd + other) / 2], 1), f)
        >>> [round(one.common, 3) for one in overlapping.equivalents()]
        [0.8, 0.85]
        """
        from scipy.optimize import linprog

        p, number = self.p, self.p.shape[1]
        fits = linprog(-np.ones(number - 1), A_ub=p[:, 1:], b_ub=p[:, 0], bounds=(0, 1))
        fewer = np.eye(number)
        fewer[1:, 0] = np.clip(fits.x, 0, 1)
        fewer[0, 0] = 1 - fewer[1:, 0].sum()
        seen = p[:, 0] > 0
        kappa = np.min(p[seen, 1:] / p[seen, :1], axis=0)
        more = np.eye(number)
        more[0, 1:] = kappa
        more[1:, 1:] -= np.diag(kappa)
        return self._mixed(fewer), self._mixed(more)

    def _mixed(self, shares: Float64Array) -> Factorization:
        """Return the model whose topics make up these by (topic, topic) shares of sum 1."""
        p = np.asarray(np.linalg.solve(shares.T, self.p.T).T, np.float64)
        return replace(self, p=p, f=shares @ self.f @ shares.T)


def factorizations(
    histogram: Float64Array,
    topics: int,
    rng: np.random.Generator,
    *,
    starts: int,
    loss: Loss = "poisson",
    steps: int = 10_000,
    tolerance: float = 1e-9,
) -> Iterator[Factorization]:
    """Yield what each start, by lot, comes to.

    Parameters
    ----------
    histogram
        (part, bin, bin) symmetric, of sum 1.
    topics
        Number of topics.
    rng
        Of the starts.
    starts
        Number of starts.
    loss
        What is minimised.
    steps
        Most steps of a start.
    tolerance
        Fall of the loss in 50 steps, at which a start has come to its end.

    Examples
    --------
    >>> p = np.array([[0.7, 0.0], [0.3, 0.2], [0.0, 0.8]])
    >>> f = np.array([[[0.9, 0.0], [0.0, 0.1]]])
    >>> found = factorizations(p @ f @ p.T, 2, np.random.default_rng(1), starts=3)
    >>> best = min(found, key=lambda one: one.loss)
    >>> best.p.round(3).tolist(), round(best.common, 3)
    ([[0.7, 0.0], [0.3, 0.2], [0.0, 0.8]], 0.9)
    """
    parts, bins, _ = histogram.shape
    step = {"poisson": _expectation, "frobenius": _multiplicative}[loss]
    loss_of = {"poisson": _divergence, "frobenius": _distance}[loss]
    of_part = histogram.sum(axis=(1, 2))[:, None, None]
    for _ in range(starts):
        p = rng.gamma(1, 1, (bins, topics)) * histogram.sum(axis=(0, 1))[:, None]
        p /= p.sum(axis=0)
        f = rng.gamma(1, 1, (parts, topics, topics))
        f += f.swapaxes(1, 2)
        f *= of_part / f.sum(axis=(1, 2), keepdims=True)
        last, value, taken = np.inf, loss_of(histogram, p, f), 0
        while last - value > tolerance and taken < steps:
            for _ in range(min(_LOOK, steps - taken)):
                p, f = step(histogram, p, f)
                taken += 1
            last, value = value, loss_of(histogram, p, f)
        yield Factorization(p, f / f.sum(), value, taken).ordered()


def _expectation(
    histogram: Float64Array, p: Float64Array, f: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the next P and F of the Poisson loss, which never rises.

    Every event is a pair of topics that is not seen. Both jets count for P, so the step is
    the exact maximum of what is expected, and needs no root.
    """
    ratio = histogram / np.maximum(p @ f @ p.T, _TINY)
    ratio_p = ratio @ p
    of_bins = p * (ratio_p @ f).sum(axis=0)
    of_pairs = f * (p.T @ ratio_p)
    return of_bins / np.maximum(of_bins.sum(axis=0), _TINY), of_pairs / of_pairs.sum()


def _multiplicative(
    histogram: Float64Array, p: Float64Array, f: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the next P and F of the Frobenius loss; the scale of P's columns goes to F.

    P is on both sides, so its factor has a root.
    """
    p_f = p @ f
    up = (histogram @ p_f).sum(axis=0)
    down = (p_f @ (p.T @ p_f)).sum(axis=0)
    p = p * np.sqrt(up / np.maximum(down, _TINY))
    scale = np.maximum(p.sum(axis=0), _TINY)
    p, f = p / scale, f * np.outer(scale, scale)
    gram = p.T @ p
    return p, f * (p.T @ histogram @ p) / np.maximum(gram @ f @ gram, _TINY)


def _divergence(histogram: Float64Array, p: Float64Array, f: Float64Array) -> float:
    seen = histogram > 0
    expected = np.maximum((p @ f @ p.T)[seen], _TINY)
    return float((histogram[seen] * np.log(histogram[seen] / expected)).sum())


def _distance(histogram: Float64Array, p: Float64Array, f: Float64Array) -> float:
    return float(((histogram - p @ f @ p.T) ** 2).sum() / (histogram**2).sum())


def toy(
    share: float, *, anchored: bool = True, bins: int = 60, high: float = 800.0
) -> Factorization:
    """Return topics that are known: falling masses of QCD, and peaks at 100 and 500 GeV.

    Parameters
    ----------
    share
        Of pairs of the two peaks; all others are QCD.
    anchored
        Whether each topic has a bin of its own, so that nothing else gives the same histogram.
    bins, high
        Of the mass from 0 [GeV].

    Examples
    --------
    >>> [round(one.common, 2) for one in toy(0.1).equivalents()]
    [0.9, 0.9]
    >>> [round(one.common, 2) for one in toy(0.1, anchored=False).equivalents()]
    [0.73, 0.9]
    """
    mass = (np.arange(bins) + 0.5) * high / bins
    qcd = mass * np.exp(-mass / 80)
    peaks = [np.exp(-0.5 * ((mass - m) / w) ** 2) for m, w in ((100, 8), (500, 20))]
    if anchored:
        for peak in peaks:
            peak[peak < 1e-3 * peak.max()] = 0
            qcd[np.argmax(peak)] = 0
    p = np.stack([each / each.sum() for each in (qcd, *peaks)], axis=1)
    f = np.zeros((1, 3, 3))
    f[0, 0, 0] = 1 - share
    f[0, 1, 2] = f[0, 2, 1] = share / 2
    return Factorization(p, f)
