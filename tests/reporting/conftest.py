"""A small search made with the real parts: a spectrum with a planted signal, and its scores."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import awkward as ak
import hist
import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.config import ImageSettings, SearchConfig, SkimSettings
from tnt_coffea.events.sample import sample_of
from tnt_coffea.jets.dijets import JETS, OBSERVABLES
from tnt_coffea.reporting import ReportContents, event_views
from tnt_coffea.results import SearchResult
from tnt_coffea.taggers import Ranks, WorkingPoint, WorkingPoints
from tnt_coffea.taggers.quantiles import threshold

PIXELS = 6
FOLDS = 2
KNOWLEDGE = {"tnt": "signal simulation", "autoencoder": "none"}


def make_sample(label, m_jj, seed=0):
    """A sample of the labels and masses given, with images of three random pixels."""
    rng = np.random.default_rng(seed)
    n = len(label)
    columns = {
        "event_id": np.sort(rng.integers(0, 2**64, n, dtype=np.uint64)),
        "weight": np.ones(n),
        "label": np.asarray(label, np.int8),
        "m_jj": np.asarray(m_jj, np.float64),
    }
    for jet in JETS:
        columns |= {f"{jet}_{name}": rng.random(n, np.float32) for name in OBSERVABLES}
        index = np.sort(rng.permuted(np.tile(np.arange(PIXELS**2), (n, 1)), axis=1)[:, :3])
        value = rng.dirichlet(np.ones(3), n).astype(np.float32)
        columns[f"{jet}_image_index"] = ak.unflatten(index.ravel().astype(np.uint16), [3] * n)
        columns[f"{jet}_image_value"] = ak.unflatten(value.ravel(), [3] * n)
    return sample_of(columns, SkimSettings(images=ImageSettings(pixels=PIXELS)))


def quantiles(score, fold):
    """(event,) quantiles within folds."""
    out = np.zeros(len(score))
    for t in np.unique(fold):
        rows = fold == t
        out[rows] = (np.argsort(np.argsort(score[rows])) + 0.5) / rows.sum()
    return out


def make_ranks(sample, separation, seed):
    """Ranks of scores in which signal is shifted: a tagger of known power, for tests only."""
    rng = np.random.default_rng(seed)
    fold = np.arange(len(sample)) % FOLDS
    shift = separation * (sample.label > 0)
    heavy, light = (quantiles(rng.normal(size=len(sample)) + shift, fold) for _ in range(2))
    return Ranks(fold, heavy, light)


def search_histogram(sample, ranks, points, config):
    """The search histogram as the processor fills it."""
    search = config.search
    edges = {0.0, search.background_quantile, 1.0}
    low, high = search.histogram_range.edges
    bins = round((high - low) / search.bin_width)
    h = hist.Hist(
        hist.axis.StrCategory([], growth=True, name="dataset"),
        hist.axis.IntCategory(range(FOLDS), name="fold"),
        hist.axis.Regular(bins, low, high, name="m_jj"),
        *(
            hist.axis.Variable(sorted(edges | points.edges(jet)), name=f"q_{jet}", flow=False)
            for jet in ("heavy", "light")
        ),
        storage=hist.storage.Weight(),
    )
    h.fill(
        dataset="data",
        fold=ranks.fold,
        m_jj=sample.m_jj,
        q_heavy=ranks.heavy,
        q_light=ranks.light,
        weight=sample.weight,
    )
    return h


def make_search(n_background=6000, n_signal=120, seed=3):
    rng = np.random.default_rng(seed)
    config = SearchConfig()
    fit, window = config.search.fit_range, config.search.window
    background = fit.low + rng.exponential(600, 2 * n_background)
    background = background[background < fit.high - 1][:n_background]
    m_jj = np.concatenate([background, rng.normal(3500, 100, n_signal)])
    sample = make_sample(np.arange(len(m_jj)) >= len(background), m_jj, seed)
    ranks = {"autoencoder": make_ranks(sample, 0.5, 5), "tnt": make_ranks(sample, 1.5, 6)}
    points = {
        name: WorkingPoints(
            tuple(
                WorkingPoint.at(
                    {t: threshold(found.both[found.fold == t], share) for t in range(FOLDS)}, share
                )
                for share in config.search.efficiencies
            )
        )
        for name, found in ranks.items()
    }
    hists = {
        name: search_histogram(sample, found, points[name], config) for name, found in ranks.items()
    }
    bump, abcd = config.fit.bump, config.fit.abcd
    fitted = {
        "mass": config.signal_mass,
        "width": bump.width,
        "fit": stats.SpectrumFit((fit.low, fit.high), bin_width=80.0),
    }
    result = SearchResult(
        before=stats.bump_hunt(stats.inclusive_spectrum(hists["tnt"]), **fitted),
        after={
            name: stats.bump_hunt(
                stats.selected_spectrum(h, points[name][bump.efficiency]), **fitted
            )
            for name, h in hists.items()
        },
        abcd={
            name: stats.abcd_in_window(
                h,
                points[name][abcd.efficiency],
                config.search.background_quantile,
                (fit.low, fit.high),
                (window.low, window.high),
            )
            for name, h in hists.items()
        },
        provenance={"versions": {"numpy": np.__version__}, "skim": "ab" * 32},
    )
    return SimpleNamespace(
        config=config,
        sample=sample,
        ranks=ranks,
        points=points,
        hists=hists,
        result=result,
        window=window,
        fit_range=fit,
    )


@pytest.fixture(scope="session")
def sample_maker():
    return make_sample


@pytest.fixture(scope="session")
def search():
    return make_search()


@pytest.fixture(scope="session")
def contents(search):
    losses = {"loss": [0.7, 0.5, 0.45], "validation_loss": [0.68, 0.55, 0.56], "best_epoch": 1}
    # Figures take time: those of one tagger set are enough, the truth is held against two.
    result = replace(
        search.result,
        after={"tnt": search.result.after["tnt"]},
        abcd={"tnt": search.result.abcd["tnt"]},
        provenance={**search.result.provenance, "knowledge": KNOWLEDGE},
    )
    return ReportContents(
        result=result,
        config=search.config,
        hists={"tnt": search.hists["tnt"]},
        points=search.points,
        views=event_views(
            search.sample, search.ranks, search.points, search.config.search, knowledge=KNOWLEDGE
        ),
        histories=[("tnt heavy/fold 0", losses), ("linear/fold 0", {"loss": 0.1})],
        accounting={
            "skim": {
                "events": 6300,
                "selected": 6200,
                "rejected": {"two_jets": 10, "trigger": 40},
                "lost": {"data: <bad>.h5, entries 0-50": [50, "truncated & unreadable"]},
            }
        },
        duplicates=3,
        stage_seconds={"skim": 3.2, "train": 200.0},
    )
