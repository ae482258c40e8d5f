"""A whole search whose halves train each other's taggers, cut 3 % by 3 % and fitted together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea import pipeline, stats
from tnt_coffea.config import FoldSettings, JetShares, SearchConfig
from tnt_coffea.events import Sample
from tnt_coffea.events.identity import outer_fold
from tnt_coffea.products import Histograms, Taggers
from tnt_coffea.results import SearchResult
from tnt_coffea.training import Schedule, olympics_windows
from tnt_coffea.training.folds import WHOLE

TREES = {"network": "trees", "trees": 10, "features": ["mass", "tau21"]}
SHARE = 0.03
PLAIN = {"min_parameters": 3, "max_parameters": 3, "spurious": False}
SETTINGS: dict[str, Any] = {
    "seed": 5,
    "train": {
        "folds": {"mode": "swapped"},
        "methods": {
            "prongs": {"kind": "norm", "features": ["tau21"]},
            "tnt": {"kind": "tag_n_train", "after": "prongs", "classifier": TREES},
            "tnt2": {
                "kind": "tag_n_train",
                "after": "tnt",
                "signal_rich": 0.1,
                "classifier": TREES,
            },
        },
    },
    "search": {
        "efficiencies": [0.3],
        "cuts": {
            "tnt": {"heavy": SHARE, "light": SHARE},
            "loose": {"heavy": 0.2, "light": 0.2},
        },
    },
    "fit": {
        "bump": {"cut": "loose", "bin_width": 100, **PLAIN},
        "abcd": {"efficiency": 0.3},
        "limit": {"enabled": False},
        "scan": {"masses": [], "toys": 10},
    },
}
CONFIG = SearchConfig.model_validate(SETTINGS)


def test_the_published_search_is_a_whole_configuration() -> None:
    config = SearchConfig.preset("olympics-tag-n-train")
    assert config.train.folds == FoldSettings(mode="swapped", shares=(0.2, 0.4, 0.4))
    assert config.search.cuts["both-3-percent"] == JetShares(heavy=0.03, light=0.03)
    assert config.fit.bump.selection == "both-3-percent"
    assert config.skim.jets.order == "mass"
    encoder, *iterations = config.train.methods.values()
    assert (encoder.network, encoder.latent) == ("convolutional", 6)
    assert [(m.after, m.signal_rich, m.background_rich, m.mass_window) for m in iterations] == [
        ("autoencoder", 0.2, 0.4, True),
        ("tnt", 0.1, 0.4, True),
    ]
    assert {(m.classifier.network, m.reweight.value) for m in iterations} == {
        ("convolutional", "none")
    }
    schedule = Schedule.planned({"data": ()}, config, "")
    ids = np.arange(20_000, dtype=np.uint64)
    runs, read = {}, {}
    for step in (step for wave in schedule.waves for step in wave):
        runs[step.set_name] = step.runs(schedule.plans, config)
        (share,) = {
            round(float(plan.trains(ids, WHOLE, step.round_).mean()), 2)
            for plan in step.plans(schedule.plans)
        }
        read[step.name] = share
    windows = [window.name for window in olympics_windows()]
    assert runs == {"autoencoder": 2} | {
        f"{name}-{window}": 4 for name in ("tnt", "tnt2") for window in windows
    }
    # 200,000 of a million events for the autoencoders and for each iteration of either half.
    assert read == {"autoencoder": 0.2, "tnt": 0.2, "tnt2": 0.2}
    assert [window.edges[1] - window.edges[0] for window in olympics_windows()] == [500.0] * 4
    for mass, window in zip(config.fit.scan.masses, olympics_windows(), strict=True):
        assert window.contains([mass]).all()


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Dijets with a resonance at 3500 GeV of two heavy jets."""
    rng = np.random.default_rng(3)
    n, n_signal = 12_000, 250
    signal = np.arange(n) >= n - n_signal
    jets = {
        jet: {
            "mass": np.where(signal, rng.normal(mass, 20, n), rng.exponential(mass, n)),
            "tau21": np.clip(rng.normal(np.where(signal, 0.3, 0.6), 0.1), 0.01, 0.99),
        }
        for jet, mass in (("heavy", 500.0), ("light", 100.0))
    }
    m_jj = np.where(signal, rng.normal(3500, 80, n), 2600 + rng.exponential(700, n))
    return Sample.from_columns(m_jj, **jets, event={"delta_eta": rng.normal(0, 1, n)}, label=signal)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swapped")


@pytest.fixture(scope="module")
def taggers(sample: Sample, out: Path) -> Taggers:
    return pipeline.train(sample, CONFIG, out=out)


@pytest.fixture(scope="module")
def searched(sample: Sample, taggers: Taggers, out: Path) -> Histograms:
    last = replace(taggers, sets={"tnt2": taggers.sets["tnt2"]})
    return pipeline.search(sample, last, CONFIG, out=out)


@pytest.fixture(scope="module")
def result(searched: Histograms, out: Path) -> SearchResult:
    return pipeline.fit(searched, CONFIG, out=out)


def test_either_jet_passes_its_three_percent_in_both_halves(
    sample: Sample, taggers: Taggers
) -> None:
    fold = outer_fold(sample.event_id, CONFIG.train.folds, CONFIG.seed)
    inside = CONFIG.search.fit_range.contains(sample.mass)
    for name in ("tnt", "tnt2"):
        tagger_set = taggers.sets[name]
        ranks, (point,) = tagger_set.ranks(sample), (taggers.working_points()[name]["tnt"],)
        assert sorted(point.cuts) == [1, 2]
        assert (np.isnan(ranks.both) == (fold == 0)).all()
        for half, cut in point.cuts.items():
            own = inside & (fold == half)
            for quantile, x in ((ranks.heavy, cut.heavy), (ranks.light, cut.light)):
                assert abs((quantile[own] > x).sum() - SHARE * own.sum()) <= 0.5
                assert x == pytest.approx(1 - SHARE, abs=2 / own.sum())
            both = (ranks.heavy > cut.heavy) & (ranks.light > cut.light)
            assert cut.achieved == both[own].mean()
            # Background alone, whose jets are independent here: about 0.1 %.
            background = own & (sample.label == 0)
            assert both[background].mean() < 4 * SHARE**2


def test_the_histogram_holds_both_halves_and_not_the_first_taggers_part(
    sample: Sample, searched: Histograms
) -> None:
    fold = outer_fold(sample.event_id, CONFIG.train.folds, CONFIG.seed)
    for histogram in searched.hists.values():
        assert list(histogram.axes["fold"]) == [1, 2]
        counts = histogram.project("fold").values()
        np.testing.assert_array_equal(counts, [(fold == t).sum() for t in (1, 2)])


def test_both_halves_are_fitted_with_one_strength_and_one_p(
    sample: Sample, taggers: Taggers, searched: Histograms, result: SearchResult
) -> None:
    point, ranks = searched.points["tnt2"]["loose"], taggers.sets["tnt2"].ranks(sample)
    passed = point.passes(ranks.fold, ranks.heavy, ranks.light)
    passed &= CONFIG.search.fit_range.contains(sample.mass)
    hunt = result.after["tnt2"]
    assert len(hunt.channels) == 2
    # Events are not mixed: each half is a channel of its own.
    assert [sum(channel.observed) for channel in hunt.channels] == [
        (passed & (ranks.fold == half)).sum() for half in (1, 2)
    ]
    assert sum(channel.share for channel in hunt.channels) == pytest.approx(1)
    channels = stats.selected_spectrum(searched.hists["tnt2"], point)
    fit = pipeline.spectrum_fit(CONFIG)
    alone = [
        stats.bump_hunt({name: channel}, mass=hunt.mass, width=hunt.width, fit=fit)
        for name, channel in channels.items()
    ]
    # One strength: between what either half alone would say of the whole signal.
    wanted = sorted(
        half.mu_hat / channel.share for half, channel in zip(alone, hunt.channels, strict=True)
    )
    assert wanted[0] < hunt.mu_hat < wanted[1]
    # One p: of both together, beyond that of either half, below that of two free strengths.
    assert max(half.z for half in alone) < hunt.z < np.hypot(*(half.z for half in alone)) + 0.05
    assert hunt.z > 5
    assert hunt.z > result.before.z + 2


def test_the_first_taggers_search_both_halves(taggers: Taggers) -> None:
    assert taggers.sets["prongs"].scored_folds == (1, 2)
    assert len({member.tagger.sha256 for member in taggers.sets["prongs"].members}) == 2
