"""LDA: splittings as words, graphs that agree bit for bit, the rare theme, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.config import MassRange, SplittingSettings
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.taggers.inputs import Splittings
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.testing import make_sample
from tnt_coffea.training import Job, backend
from tnt_coffea.training.methods.gis import Gis
from tnt_coffea.training.methods.lda import Lda
from tnt_coffea.training.vocabulary import LundBasis, MassBasis

from .conftest import auc

WINDOW = MassRange(low=3300, high=3700)
MASS = Lda(vocabulary=MassBasis(mass_bins=4), alpha_ratio=(0.1,), alpha_sum=(0.3,))
LUND = MASS.model_copy(update={"vocabulary": LundBasis(angle_bins=2, kt_bins=5)})
PRIMARY = SplittingSettings(most=6, branches="harder", mass_min=0)


def planted(n=1200, share=0.04, seed=0, splittings=None):
    """Up to six splittings a jet; those of the signal lose most of the mass, and have low kt."""
    sample = make_sample(n, share, seed, splittings=6, pixels=12)
    if splittings is None:
        return sample
    settings = sample.settings.model_copy(update={"splittings": splittings})
    lists = packed(sample)
    for jet in ("heavy", "light"):
        lists[f"{jet}_splittings_kt"] = 6 * lists[f"{jet}_splittings_drop"]
    return replace(sample, lists=lists, settings=settings)


def packed(sample):
    """Lists of one layout, so that some can be replaced."""
    return {name: ak.to_packed(values) for name, values in sample.lists.items()}


def scorer_of(method, sample, seed=3):
    return method.train(Job(sample, "event", seed, window=WINDOW))


def shown(scorer, sample):
    return {"splittings": scorer.inputs[0].read(sample)}


def splitting(angle=0.0, kt=0.0, mass=0.0, drop=0.0):
    return np.array([1, angle, kt, mass, drop], np.float32).reshape(1, 1, 1, 5)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"mass": 1.0, "drop": 0.0}, 0),  # below the first bin
        ({"mass": 30.0, "drop": 0.05}, 0),
        ({"mass": 38.0, "drop": 0.15}, 11),  # bins are a factor 1.263 wide
        ({"mass": 37.8, "drop": 0.15}, 1),
        ({"mass": 1e4, "drop": 0.0}, 140),
        ({"mass": 1e4, "drop": 1.0}, 149),
        ({"mass": 0.0, "drop": 0.0}, 0),
        ({"mass": np.nan, "drop": np.nan}, 0),
    ],
)
def test_words_of_the_mass_basis(values, word):
    found = MassBasis().numbers(splitting(**values))
    assert found.item() == word
    both = MassBasis().numbers(np.repeat(splitting(**values), 2, axis=1))
    assert both.ravel().tolist() == [word, 150 + word]


def test_words_of_the_lund_basis():
    basis = LundBasis()
    found = [
        basis.numbers(splitting(angle, kt)).item()
        for angle, kt in ((-3, -9), (0.5, -1), (0.49, -0.3), (4.6, 5.9), (99, 99))
    ]
    assert found == [0, 10, 1, 99, 99]
    edges = basis.edges
    assert [len(each) for each in edges] == [9, 9]
    assert basis.bins == 100


@pytest.mark.parametrize("per_word", [False, True])
@pytest.mark.parametrize("method", [MASS, LUND], ids=["mass", "lund"])
def test_graphs_are_numpy_to_the_last_bit_wherever_words_lie_and_stand(method, per_word):
    method = method.model_copy(update={"per_word": per_word})
    kind = PRIMARY if method.vocabulary.basis == "lund" else None
    scorer = scorer_of(method, planted(splittings=kind))
    values = shown(scorer, planted(320, 0.2, seed=6, splittings=kind))["splittings"].copy()
    basis = method.vocabulary
    for column, edges in zip(basis.columns, basis.edges, strict=True):
        near = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
        values[: len(near), 0, 0, column] = near
        values[: len(near), 0, 0, 0] = 1.0
    values[40:46, 1, 0, 1:] = np.array([0, -1e30, 1e30, np.inf, -np.inf, np.nan], "f4")[:, None]
    values[40:46, 1, 0, 0] = 1.0
    values[50:60] = 0.0  # no splitting at all
    tagger = Tagger(scorer.model.SerializeToString(), "the graph")
    found = tagger.score({"splittings": values})
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, scorer.predict({"splittings": values}))
    np.testing.assert_array_equal(found[50:60], 0)
    moved = tagger.score({"splittings": np.roll(values, 1, axis=0)})
    np.testing.assert_array_equal(np.roll(found, 1), moved)
    # A sum that is exact has no order.
    other = tagger.score({"splittings": values[:, :, ::-1]})
    np.testing.assert_array_equal(found, other)


def test_the_score_is_the_sum_over_words_or_their_mean():
    sample = planted()
    scorer = scorer_of(MASS, sample)
    values = shown(scorer, sample)
    number = values["splittings"][..., 0].sum(axis=(1, 2))
    mean = scorer_of(MASS.model_copy(update={"per_word": True}), sample).predict(values)
    np.testing.assert_allclose(mean * np.maximum(number, 1), scorer.predict(values), rtol=1e-5)


def test_the_rare_theme_is_that_of_a_rare_signal():
    sample, tested = planted(), planted(2000, 0.2, seed=5)
    scorer = scorer_of(MASS.model_copy(update={"alpha_ratio": (0.03, 0.1, 0.3)}), sample)
    score = scorer.predict(shown(scorer, tested))
    assert auc(score[tested.label == 1], score[tested.label == 0]) > 0.9
    assert scorer.summary["rare theme"] < 0.3
    assert scorer.summary["perplexity"] < scorer.summary["perplexity of one theme"]
    perplexities = scorer.history["perplexities"]
    assert len(perplexities) == 3
    assert min(perplexities) == scorer.summary["perplexity"]


def drawn(sample, seed):
    """The same numbers of splittings, each drawn alone: a single theme."""
    rng = np.random.default_rng(seed)
    lists = packed(sample)
    for jet in ("heavy", "light"):
        counts = ak.num(sample.lists[f"{jet}_splittings_mass"])
        total = int(ak.sum(counts))
        for name, values in (
            ("mass", rng.uniform(30, 900, total)),
            ("drop", rng.uniform(0, 1, total)),
        ):
            lists[f"{jet}_splittings_{name}"] = ak.unflatten(values.astype("f4"), counts)
    return replace(sample, lists=lists)


def constant(sample):
    lists = {
        name: ak.ones_like(values) if "splittings" in name else values
        for name, values in sample.lists.items()
    }
    return replace(sample, lists=lists)


def emptied(sample):
    return replace(sample, lists={name: values[:, :0] for name, values in sample.lists.items()})


def with_weights(sample, value):
    return replace(sample, weight=np.where(np.arange(len(sample)) % 7, 1.0, value))


REFUSED = [
    (MASS, lambda sample: drawn(sample, 1), "no rare theme: two themes describe .* no better than"),
    (MASS, constant, "no rare theme: .*, at least 3 standard errors .* fewer bins"),
    (MASS, lambda _: planted(1200, 0.12), "no rare theme: the two have .* a factor 1.5"),
    (MASS, lambda sample: sample.select(sample.m_jj > 3700), "0 splittings in 0 events of the"),
    (MASS, emptied, "0 splittings in .* window 3300-3700, at least 160"),
    (MASS, lambda sample: sample.select(np.arange(60)), "at least 160 are needed, one for each"),
    (Lda(), lambda sample: sample.select(np.arange(400)), "at least 600 .* fewer bins"),
    (MASS, lambda sample: with_weights(sample, -1.0), "weights in the window .* are negative"),
    (MASS, lambda sample: with_weights(sample, np.nan), "weights in the window .* no numbers"),
    (
        Lda(vocabulary=MassBasis(mass_bins=1, drop_bins=2)),
        lambda sample: sample.select(np.arange(300)),
        "events with splittings in the window .* at least 200 are needed to hold 20 back",
    ),
]


@pytest.mark.parametrize(("method", "change", "message"), REFUSED)
def test_what_cannot_work_is_refused(method, change, message):
    with pytest.raises(TrainingError, match=message):
        scorer_of(method, change(planted(900)))


def test_splittings_that_do_not_suit_are_refused_before_training():
    nothing = planted().select(np.arange(0))
    MASS.check(nothing, "event")
    LUND.check(planted(splittings=PRIMARY).select(np.arange(0)), "event")
    with pytest.raises(ConfigError, match=r"Lund basis .* \{branches: harder, mass_min: 0\}"):
        LUND.check(nothing, "event")
    with pytest.raises(ConfigError, match=r"mass basis .* \{branches: all, mass_min: 30\}"):
        MASS.check(planted(splittings=PRIMARY), "event")
    cut = SplittingSettings(most=6, branches="harder")
    with pytest.raises(ConfigError, match="whatever their mass"):
        LUND.check(planted(splittings=cut), "event")
    with pytest.raises(InputError, match="the skim holds no splittings"):
        MASS.check(make_sample(10), "event")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha_ratio": ()}, "at least 1"),
        ({"alpha_ratio": (2.0,)}, "less than or equal to 1"),
        ({"alpha_sum": (0.0,)}, "greater than 0"),
        ({"vocabulary": {"basis": "mass", "mass_low": 2000}}, "is not below mass_high, 1000"),
        ({"vocabulary": {"basis": "lund", "kt_high": -2}}, "kt_low: -1 is not below"),
        ({"vocabulary": {"basis": "lund", "mass_bins": 3}}, "Extra inputs"),
        ({"inference": {"eta": 0}}, "greater than 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Lda(**settings)


def test_events_without_weight_or_words_have_no_part():
    sample = planted()
    inside = WINDOW.contains(sample.m_jj)
    words = Splittings.of("event", sample).read(sample)[..., 0].sum(axis=(1, 2))
    scorer = scorer_of(MASS, with_weights(sample, 0.0))
    alone = scorer_of(MASS, sample.select(np.arange(len(sample)) % 7 > 0))
    assert scorer.model.SerializeToString() == alone.model.SerializeToString()
    whole = scorer_of(MASS, sample)
    assert whole.summary["events"] == (inside & (words > 0)).sum()
    outside = scorer_of(MASS, sample.select(inside))
    assert whole.model.SerializeToString() == outside.model.SerializeToString()


def test_gis_and_lda_train_without_keras(monkeypatch):
    for name in ("keras", "tensorflow", "torch", "jax"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it is an error
    monkeypatch.setattr(backend, "keras", None)
    for method in (Gis(density={"bins": 4, "knots": 8, "members": 1}), MASS):
        assert not {"keras", "tensorflow"} & set(method.libraries)
        assert scorer_of(method, planted()).summary
