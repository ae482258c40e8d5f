from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import ClassifierSettings, MassRange, SearchConfig
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.training import assumptions, cross_validate

from .conftest import make_sample, one_by_one, with_masses

RANGE = MassRange(low=2600, high=7000)
WINDOW = MassRange(low=3300, high=3700)


@pytest.fixture(scope="module")
def plain():
    return with_masses(make_sample(2000, signal_share=0.02, seed=4))


@pytest.fixture
def noted(write_skim, tmp_path):
    """Train supervised trees on one column of either jet, and look at what they assume."""

    def found(sample, histories=()):
        trees = ClassifierSettings(
            network="trees", input="features", features=("mass",), trees=5, leaves=8
        )
        config = SearchConfig(
            train={
                "folds": {"inner": 2},
                "methods": ("supervised",),
                "supervised": {"classifier": trees},
            }
        )
        # Half of the events get the label, by their mass: a tagger of plain mass.
        label = sample.columns["heavy_mass"] > np.median(sample.columns["heavy_mass"])
        told = replace(sample, label=label.astype(np.int8))
        items = cross_validate(write_skim(told), config, one_by_one, tmp_path / "p")["supervised"]
        members = tuple(
            Member(Tagger.from_file(item.path), item.scope, item.scored, str(i))
            for i, item in enumerate(items)
        )
        made = TaggerSet("s", config.train.folds, config.seed, members, reference=True)
        return assumptions(made.calibrated(sample, RANGE, (0.1,)), sample, WINDOW, RANGE, histories)

    return found


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
        [{"signal-rich": 30}, {"tied": 0.9}, {"weight bins": 0}, {"weight bins": 2}],
    )
    assert found.correlation > 0.5
    assert found.sculpting < 1e-6
    assert len(found.warnings) == 5
    for text, begins in zip(
        found.warnings,
        (
            "1 of 4 taggers give",
            "1 of 4 trainings have fewer than",
            "1 of 4 trainings are without the weights",
            "the scores of the two jets are correlated",
            "the top 10% has another m_jj spectrum",
        ),
        strict=True,
    ):
        assert text.startswith(begins)
