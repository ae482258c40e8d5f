from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import MassRange
from tnt_coffea.taggers import TaggerSet
from tnt_coffea.testing import make_sample, tagger_set
from tnt_coffea.training import assumptions
from tnt_coffea.training.assumptions import _of_trainings, _same_shape
from tnt_coffea.training.classifiers import Trees
from tnt_coffea.training.methods.norm import EventNorm
from tnt_coffea.training.methods.references import Supervised

from .conftest import config_for

RANGE = MassRange(low=2600, high=7000)
WINDOW = MassRange(low=3300, high=3700)


@pytest.fixture(scope="module")
def plain():
    return make_sample(2000, signal_share=0.02, seed=4)


@pytest.fixture
def noted(train):
    """Train supervised trees on one column of either jet, and look at what they assume."""

    def noted_of(sample, histories=(), caution=""):
        trees = Trees(features=("mass",), trees=5, leaves=8)
        config = config_for({"supervised": Supervised(classifier=trees)})
        # Half of the events get the label, by their mass: a tagger of plain mass.
        label = sample.columns["heavy_mass"] > np.median(sample.columns["heavy_mass"])
        items = train(replace(sample, label=label.astype(np.int8)), config)["supervised"]
        made = tagger_set("s", items, config, reference=True)
        calibrated = made.calibrated(sample, RANGE, (0.1,))
        return assumptions(calibrated, sample, WINDOW, RANGE, histories, caution)

    return noted_of


def with_columns(sample, heavy, light):
    columns = dict(sample.columns)
    columns |= {"heavy_mass": heavy.astype("f4"), "light_mass": light.astype("f4")}
    return replace(sample, columns=columns)


def test_independent_jets_give_no_warning(plain, noted):
    rng = np.random.default_rng(1)
    found = noted(with_columns(plain, *rng.exponential(100, (2, len(plain)))))
    assert abs(found.correlation) < 0.1
    assert found.sculpting > 1e-3
    assert found.warnings == ()


def test_correlated_jets_and_a_mass_that_follows_m_jj_are_noted(plain, noted):
    rng = np.random.default_rng(1)
    mass = plain.m_jj * 0.1 + rng.normal(0, 10, len(plain))
    found = noted(
        with_columns(plain, mass, mass),
        [
            {"signal-rich": 30},
            {"tied": 0.9},
            {"weight bins": 0},
            {"weight bins": 2, "explained": {"background": 0.2, "prior two-prong": 0.1}},
        ],
    )
    assert found.correlation > 0.5
    assert found.sculpting < 1e-6
    assert len(found.warnings) == 6
    for text, begins in zip(
        found.warnings,
        (
            "1 of 4 taggers give",
            "1 of 4 training runs have fewer than",
            "a network reconstructs 20% of the background's variance",
            "1 of 4 training runs are without the weights",
            "the scores of the two jets are correlated",
            "the top 10% has another m_jj spectrum",
        ),
        strict=True,
    ):
        assert text.startswith(begins)


@pytest.mark.parametrize(
    ("decorrelate", "knowledge", "remedy"),
    [
        (False, "none", "try decorrelate: true, or features"),
        (True, "none", "try features"),
        (False, "signal simulation", "try features"),  # it is largest between the sidebands
    ],
)
def test_scores_of_the_event_are_warned_of_with_the_setting_that_helps(
    plain, train, monkeypatch, decorrelate, knowledge, remedy
):
    monkeypatch.setattr(TaggerSet, "knowledge", knowledge)
    rng = np.random.default_rng(1)
    independent = with_columns(plain, *rng.uniform(-1, 1, (2, len(plain))))
    config = config_for({"norm": EventNorm(features=("mass",))})
    made = tagger_set("n", train(independent, config)["norm"], config, decorrelate=decorrelate)
    made = made.calibrated(independent, RANGE, (0.1,))
    # Others than those that the set was calibrated with: their masses follow m_jj.
    mass = plain.m_jj.argsort().argsort() / len(plain)
    found = assumptions(made, with_columns(plain, mass, mass), WINDOW, RANGE)
    assert found.sculpting < 1e-3
    assert [remedy in text for text in found.warnings] == [True]


def test_events_that_share_the_highest_rank_have_no_test_of_sculpting():
    mass = np.linspace(2600, 7000, 400)
    rank = np.where(mass < 3000, 0.2, 0.9)
    assert _same_shape(mass, rank) is None
    assert _same_shape(mass, mass / 7001) < 1e-6


def test_what_is_known_of_a_method_is_said_first(plain, noted):
    sample = with_columns(plain, *np.random.default_rng(1).exponential(100, (2, len(plain))))
    assert noted(sample, caution="bumps by chance").warnings == ("bumps by chance",)


def test_starts_that_are_as_good_and_disagree_are_noted():
    histories = [{"good starts that disagree": 2.0}, {"good starts that disagree": 0.0}, {}]
    assert _of_trainings(histories[1:]) == []
    (text,) = _of_trainings(histories)
    assert text.startswith("in 1 of 3 training runs starts of about the same loss")
