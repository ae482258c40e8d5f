"""LDA: events whose jets' splittings belong to the rarer of two themes."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import Splittings
from tnt_coffea.training import progress
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.topics import Documents, Inference, Themes
from tnt_coffea.training.vocabulary import LundBasis, MassBasis
from tnt_coffea.training.weak_labels import check_weights
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["Lda"]

_RARE = 1.5
"""Least factor between the shares of the common and the rare theme."""
_SURE = 3.0
"""Standard errors by which two themes have to describe events held back better than one does."""
_FEWEST = 20
"""Events held back."""
_BLOCK = 8192
"""Events whose splittings are read at a time."""

Ratio = Annotated[float, Field(gt=0, le=1)]


class Lda(Method):
    """Sum over an event's splittings of ln p(splitting | rare theme) / p(splitting | common one).

    Splittings are words, events documents; two themes are learned from the events of the window.
    The rare theme is that with the smaller share of their words. Assumes that splittings of an
    event are independent for a given share of the themes, and that signal makes the rarer one.

    Source: arXiv:1904.04200; arXiv:2005.12319; arXiv:2101.08320, section 3.6.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.config import MassRange
    >>> sample = testing.make_sample(1200, 0.04, splittings=6)
    >>> bins = {"basis": "mass", "mass_bins": 4, "drop_bins": 10}
    >>> method = Lda(vocabulary=bins, alpha_sum=[0.3])
    >>> window = MassRange(low=3300, high=3700)
    >>> summary = method.train(Job(sample, "event", seed=1, window=window)).summary
    >>> {name: round(summary[name]) for name in ("perplexity", "perplexity of one theme")}
    {'perplexity': 19, 'perplexity of one theme': 30}
    """

    kind: Literal["lda"] = "lda"
    vocabulary: Annotated[MassBasis | LundBasis, Field(discriminator="basis")] = Field(
        MassBasis(), description="what the words are (basis: mass, lund) and their bins"
    )
    alpha_ratio: tuple[Ratio, ...] = Field(
        (0.1,),
        min_length=1,
        description="prior words of the second theme over those of the first: how rare it is; of "
        "several, the one that describes events held back best is taken",
    )
    alpha_sum: tuple[Positive, ...] = Field(
        (0.3, 1.0), min_length=1, description="prior words of both themes in an event; likewise"
    )
    held_back: float = Field(
        0.1, gt=0, le=0.5, description="share of the events that choose among them, and no more"
    )
    inference: Inference = Field(Inference(), description="how themes are found")
    per_word: bool = Field(
        False, description="divide the score by the number of splittings, with which it grows"
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "rare theme"

    @property
    def reads(self) -> Reads:
        """The window."""
        return Reads(window=True)

    @property
    def passes(self) -> int:
        """Passes over the events, for all priors and starts."""
        return self._of_a_prior * len(self.alpha_ratio) * len(self.alpha_sum)

    @property
    def _of_a_prior(self) -> int:
        return self.inference.epochs * self.inference.starts

    def shortened(self) -> Self:
        """Return the method with short training runs: one prior and one start alone."""
        short = super().shortened()
        one = short.inference.model_copy(update={"starts": 1})
        priors = {"alpha_ratio": self.alpha_ratio[:1], "alpha_sum": self.alpha_sum[:1]}
        return short.model_copy(update={"inference": one, **priors})

    @property
    def libraries(self) -> tuple[str, ...]:
        """NumPy, SciPy and onnx: no Keras."""
        return ("numpy", "scipy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without splittings, or with others than the vocabulary is made of."""
        self._shown(sample, scope)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the themes of the window."""
        shown = self._shown(job.data, job.scope)
        documents = self._documents(job, shown).shuffled(job.seed_of("held back"))
        held = round(self.held_back * len(documents))
        tested, trained = np.split(np.arange(len(documents)), [held])
        themes, notes = self._chosen(
            documents.select(trained), documents.select(tested), job.seed_of("themes")
        )
        try:
            rare = themes.rare(_RARE)
        except TrainingError as error:
            ratio = themes.alpha[1] / themes.alpha[0]
            msg = f"{error}; alpha_ratio was {ratio:g}, a smaller one asks for a rarer theme"
            raise TrainingError(msg) from error
        table = _exact(themes.log_ratio(rare), shown.shape[0] * shown.shape[1])
        notes |= {
            "events": float(len(documents)),
            "alpha_sum": float(themes.alpha.sum()),
            "alpha_ratio": float(themes.alpha[1] / themes.alpha[0]),
            "rare theme": float(themes.shares[rare]),
        }
        return self._scorer(table, shown, notes)

    def _shown(self, sample: Sample, scope: Scope) -> Splittings:
        shown = Splittings.of(scope, sample)
        misfit = self.vocabulary.misfit(shown.splittings)
        if misfit:
            raise ConfigError(misfit)
        return shown

    def _documents(self, job: Job, shown: Splittings) -> Documents:
        """Return the events of the window that have a word and a weight."""
        window, weight = job.window.name, np.asarray(job.data.weight, np.float64)
        rows = np.flatnonzero(job.in_window & (weight != 0))
        check_weights(weight[rows], "a theme", f" in the window {window}")
        read, found = shown.reader(job.data), [np.zeros((2, 0), np.int64)]
        for start in range(0, len(rows), _BLOCK):
            values = read(rows[start : start + _BLOCK])
            event, jet, place = np.nonzero(values[..., 0] > 0.5)
            word = self.vocabulary.numbers(values)[event, jet, place]
            found.append(np.stack([event + start, word]))
        event, word = np.concatenate(found, axis=1)
        words = len(shown.jets) * self.vocabulary.bins
        least = 2 * words
        if len(word) < least:
            msg = (
                f"{len(word)} splittings in {len(rows)} events of the window {window}, at least "
                f"{least} are needed, one for each word of each theme; use a wider window "
                "(search.window, train.windows) or fewer bins (vocabulary)"
            )
            raise TrainingError(msg)
        filled, event = np.unique(event, return_inverse=True)
        if round(self.held_back * len(filled)) < _FEWEST:
            msg = (
                f"{len(filled)} events with splittings in the window {window}, at least "
                f"{np.ceil(_FEWEST / self.held_back):.0f} are needed to hold {_FEWEST} back"
            )
            raise TrainingError(msg)
        return Documents.of(event, word, weight[rows[filled]], words)

    def _chosen(
        self, trained: Documents, tested: Documents, seed: int
    ) -> tuple[Themes, dict[str, Any]]:
        """Return the themes of the priors that describe the events held back best."""
        counts = self.inference.eta + trained.table.T @ trained.weight
        alone = tested.table @ np.log(counts / counts.sum())
        found, perplexities = [], []
        for number, (ratio, total) in enumerate(product(self.alpha_ratio, self.alpha_sum), 1):
            alpha = total / (1 + ratio), total * ratio / (1 + ratio)
            themes = self.inference.fit(trained, alpha, seed)
            log_p = themes.log_likelihood(tested)
            found.append((themes, log_p - alone))
            perplexities.append(_perplexity(log_p, tested))
            loss = float(np.log(perplexities[-1]))
            progress.report_epoch(number * self._of_a_prior, loss, loss)
        themes, gain = found[int(np.argmin(perplexities))]
        mean = np.average(gain, weights=tested.weight)
        spread = np.sqrt(((tested.weight * (gain - mean)) ** 2).sum()) / tested.weight.sum()
        if not mean > _SURE * spread:
            msg = (
                f"no rare theme: two themes describe {len(tested)} events held back no better than "
                f"one (ln p higher by {mean:.3g} +- {spread:.2g} an event, at least {_SURE:g} "
                "standard errors are needed); use more events, a wider window (search.window, "
                "train.windows) or fewer bins (vocabulary)"
            )
            raise TrainingError(msg)
        return themes, {
            "perplexity": min(perplexities),
            "perplexity of one theme": _perplexity(alone, tested),
            "perplexities": perplexities,
        }

    def _scorer(self, table: Float32Array, shown: Splittings, notes: dict[str, Any]) -> Scorer:
        graph = Graph(shown)
        word = self.vocabulary.add(graph, "splittings", len(shown.jets))
        there = graph.add("Gather", "splittings", graph.constant(0), axis=3)
        there = graph.cast(graph.add("Greater", there, graph.constant(0.5)), "float")
        value = graph.ops.multiply(graph.add("Gather", graph.constant(table), word), there)
        score = graph.add("ReduceSum", value, graph.constant([1, 2]), keepdims=0)
        if self.per_word:
            number = graph.add("ReduceSum", there, graph.constant([1, 2]), keepdims=0)
            score = graph.ops.divide(score, graph.add("Max", number, graph.constant(1.0)))

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            splittings = inputs["splittings"]
            there = splittings[..., 0] > 0.5
            value = table[self.vocabulary.numbers(splittings)] * there
            score = value.sum(axis=(1, 2), dtype=np.float32)
            number = there.sum(axis=(1, 2)).clip(1).astype(np.float32)
            return np.asarray(score / number if self.per_word else score, np.float32)

        summary = {name: value for name, value in notes.items() if isinstance(value, float)}
        return Scorer(graph.model(score), (shown,), notes, summary, predict=predict)


def _exact(log_ratio: Float64Array, most: int) -> Float32Array:
    """Return the ratios rounded such that sums of up to `most` are exact in float32.

    In any order then, so that a score depends neither on an event's place nor on that of its words.
    """
    bits = np.ceil(np.log2(max(float(np.abs(log_ratio).max()), 1e-6) * most)) - 23
    return np.asarray(np.rint(log_ratio / 2.0**bits) * 2.0**bits, np.float32)


def _perplexity(log_p: Float64Array, documents: Documents) -> float:
    """Return exp of minus the mean ln p of a word."""
    return float(np.exp(-(documents.weight @ log_p) / (documents.weight @ documents.counts)))
