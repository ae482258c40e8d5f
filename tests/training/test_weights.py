"""Tag N' Train's weights in mass: what they take out, and what they leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import flat_columns
from tnt_coffea.taggers import Tagger
from tnt_coffea.testing import make_sample, tagger_set
from tnt_coffea.training.methods.feature import Feature
from tnt_coffea.training.methods.tag_n_train import SameJet

from .conftest import FIRST, TREES, config_for, shas, tnt


@pytest.fixture(scope="module")
def sample():
    return make_sample(1600, signal_share=0.15)


def with_correlated_masses(sample):
    """Ordered by mass, jets of background have masses that depend on each other."""
    rng = np.random.default_rng(9)
    n, background = len(sample), sample.label == 0
    masses = np.sort(rng.exponential(100, (2, n)), axis=0)[::-1]
    columns = dict(sample.columns)
    for jet, mass, of_signal in zip(("heavy", "light"), masses, (500, 100), strict=True):
        resonance = rng.normal(of_signal, 20, n)
        columns[f"{jet}_mass"] = np.where(background, mass, resonance).astype(np.float32)
    return replace(sample, columns=columns)


@pytest.mark.slow
def test_weights_measured_beside_the_window_keep_the_jets_apart(train):
    sample = with_correlated_masses(make_sample(6000, signal_share=0.05))
    signal = sample.label == 1
    correlation, kept = {}, {}
    for name, change in {
        "plain": {"reweight": "none"},
        "reweighted": {},
    }.items():
        config = config_for({"first": Feature(), "tnt": tnt(mass_window=False, **change)})
        items = train(sample, config)["tnt"]
        windows = {Tagger.from_file(item.path).card.window for item in items}
        assert windows == {None if name == "plain" else config.search.window}
        made = tagger_set("tnt", items, config).calibrated(sample, config.search.fit_range, ())
        ranks = made.ranks(sample)
        correlation[name] = np.corrcoef(ranks.heavy[~signal], ranks.light[~signal])[0, 1]
        cut = np.quantile(ranks.both[~signal], 0.98)
        kept[name] = (ranks.both[signal] > cut).mean()
    assert correlation["plain"] > 0.2
    assert abs(correlation["reweighted"]) < 0.3 * correlation["plain"]
    assert kept["reweighted"] > 0.9 * kept["plain"] > 0.1


@pytest.mark.slow
def test_a_jet_that_labels_itself_is_reweighted_beside_the_window_as_well(sample, train):
    def same_jet(**change):
        return SameJet(after="first", signal_rich=0.3, classifier=TREES, **change)

    methods = {"plain": same_jet(reweight="none"), "reweighted": same_jet()}
    found = shas(train(sample, config_for({"first": FIRST} | methods)))
    plain, reweighted = ({sha for place, sha in found.items() if place[0] == n} for n in methods)
    assert not plain & reweighted


def test_weights_beside_the_window_need_a_variable_that_the_skim_holds(sample, train):
    settings = sample.settings.model_copy(update={"observables": ("tau21", "pt")})
    kept = {name: sample.columns[name] for name in flat_columns(settings)}
    without = replace(sample, columns=kept, settings=settings)
    trees = TREES.model_copy(update={"features": ("tau21",)})
    config = config_for({"first": FIRST, "tnt": tnt(classifier=trees)})
    with pytest.raises(ConfigError, match=r"holds no 'heavy_mass'.*skim.observables"):
        train(without, config)


def test_weights_that_too_few_events_would_measure_are_noted(sample, train):
    methods = {"first": FIRST, "tnt": tnt(), "plain": tnt(reweight="none")}
    config = config_for(methods)
    inside = config.search.window.contains(sample.m_jj)
    # One event in six is left beside the window: fewer than 20 of them are tagged.
    few = sample.select(np.flatnonzero(inside | (np.arange(len(sample)) % 6 == 0)))
    sets = [train(part, config) for part in (sample, few)]
    noted = [{item.history["weight bins"] for item in each["tnt"]} for each in sets]
    assert all(2 <= bins <= 20 for bins in noted[0])
    assert noted[1] == {0}
    assert all("weight bins" not in item.history for item in sets[1]["plain"])


@pytest.mark.slow
def test_one_network_for_both_jets_is_weighted_and_notes_the_fewer_bins(sample, train):
    methods = {"first": FIRST, "shared": tnt(shared=True), "tnt": tnt()}
    sets = train(sample, config_for(methods))
    bins = {(i.scored, i.left_out, i.scope): i.history["weight bins"] for i in sets["tnt"]}
    for item in sets["shared"]:
        of_jets = [bins[item.scored, item.left_out, jet] for jet in ("heavy", "light")]
        assert 2 <= item.history["weight bins"] == min(of_jets) <= 20
