"""Tag N' Train's weights in mass: what they take out, and what they leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import ClassifierSettings, InitialSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.sample import flat_columns
from tnt_coffea.taggers import Tagger
from tnt_coffea.training.selection import Group, Selection

from .conftest import as_set, config_for, make_sample, shas, with_masses


@pytest.fixture(scope="module")
def sample():
    return with_masses(make_sample(1600, signal_share=0.15))


def with_correlated_masses(sample):
    """Ordered by mass, jets of background have masses that depend on each other."""
    rng = np.random.default_rng(9)
    n, background = len(sample), sample.label == 0
    masses = np.sort(rng.exponential(100, (2, n)), axis=0)[::-1]
    columns = dict(sample.columns)
    for jet, mass in zip(("heavy", "light"), masses, strict=True):
        name = f"{jet}_mass"
        columns[name] = np.where(background, mass, columns[name]).astype(np.float32)
    return replace(sample, columns=columns)


def test_weights_measured_beside_the_window_keep_the_jets_apart(train):
    sample = with_correlated_masses(with_masses(make_sample(6000, signal_share=0.05)))
    signal = sample.label == 1
    correlation, kept = {}, {}
    for name, change in {
        "plain": {"reweight": "none"},
        "reweighted": {},
    }.items():
        initial = InitialSettings(kind="feature", feature="mass")
        config = config_for("tnt", tnt={"mass_window": False, "initial": initial, **change})
        items = train(sample, config)["tnt"]
        windows = {Tagger.from_file(item.path).card.window for item in items}
        assert windows == {None if name == "plain" else config.search.window}
        made = as_set("tnt", items, config).calibrated(sample, config.search.fit_range, ())
        ranks = made.ranks(sample)
        correlation[name] = np.corrcoef(ranks.heavy[~signal], ranks.light[~signal])[0, 1]
        cut = np.quantile(ranks.both[~signal], 0.98)
        kept[name] = (ranks.both[signal] > cut).mean()
    assert correlation["plain"] > 0.2
    assert abs(correlation["reweighted"]) < 0.3 * correlation["plain"]
    assert kept["reweighted"] > 0.9 * kept["plain"] > 0.1


def test_a_jet_that_labels_itself_is_reweighted_beside_the_window_as_well(sample, train):
    initial = InitialSettings(kind="feature", feature="tau21", descending=True)
    changes = ({"reweight": "none"}, {})
    configs = [config_for("same_jet", tnt={"initial": initial, **change}) for change in changes]
    found = [shas(train(sample, config)) for config in configs]
    assert not set(found[0].values()) & set(found[1].values())


def test_weights_beside_the_window_need_a_variable_that_the_skim_holds(sample, train):
    settings = sample.settings.model_copy(update={"observables": ("tau21", "pt")})
    kept = {name: sample.columns[name] for name in flat_columns(settings)}
    without = replace(sample, columns=kept, settings=settings)
    trees = ClassifierSettings(network="trees", input="features", features=("tau21",))
    config = config_for("tnt", tnt={"classifier": trees})
    with pytest.raises(ConfigError, match=r"holds no 'heavy_mass'.*skim.observables"):
        train(without, config)


def test_weights_that_too_few_events_would_measure_are_noted(sample, train):
    window = config_for("tnt").search.window
    inside = (sample.m_jj >= window.low) & (sample.m_jj < window.high)
    # One event in six is left beside the window: fewer than 20 of them are tagged.
    few = sample.select(np.flatnonzero(inside | (np.arange(len(sample)) % 6 == 0)))
    noted = [
        {item.history["weight bins"] for item in train(part, config_for("tnt"))["tnt"]}
        for part in (sample, few)
    ]
    assert all(2 <= bins <= 20 for bins in noted[0])
    assert noted[1] == {0}
    without = train(few, config_for("tnt", tnt={"reweight": "none"}))["tnt"]
    assert all("weight bins" not in item.history for item in without)


def test_one_net_for_both_jets_notes_the_fewer_bins(sample):
    def selection(bins):
        none = np.zeros(len(sample))
        groups = (Group("signal-rich", none == 0),)
        return Selection(sample.event_id, none, none, groups, notes={"weight bins": bins})

    assert selection(7).joined(selection(4)).notes == {"weight bins": 4}
    assert selection(4).joined(selection(7)).notes == {"weight bins": 4}


def test_one_net_for_both_jets_is_trained_with_its_weights(sample, train):
    items = train(sample, config_for("tnt", tnt={"shared": True}))["tnt"]
    assert all(2 <= item.history["weight bins"] <= 20 for item in items)
