"""What the selections of different tagger sets share, in a pass over real Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea import pipeline
from tnt_coffea.config import MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import StageError, TaggerError
from tnt_coffea.events.skim import Sample, sample_of, write_part
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SearchProcessor
from tnt_coffea.products import Histograms, Taggers
from tnt_coffea.stats import selected_spectrum
from tnt_coffea.taggers import Coincidences, TaggerSet

SKIM = SkimSettings(images=None, observables=("pt", "mass", "tau21"))
CONFIG = SearchConfig(skim=SKIM)
EFFICIENCIES = (0.3, 0.1, 0.03)
WINDOWS = {"low": MassRange(low=3000.0, high=3600.0), "high": MassRange(low=3300.0, high=3900.0)}


@pytest.fixture
def sample() -> Sample:
    """3000 dijets with a falling spectrum, all features between 0 and 1."""
    rng = np.random.default_rng(4)
    n = 3000
    columns = {
        "event_id": rng.integers(0, 2**64, n, dtype=np.uint64),
        "weight": np.ones(n),
        "m_jj": 1900 + rng.exponential(900, n),
    }
    for jet in ("heavy", "light"):
        columns |= {f"{jet}_{o}": rng.random(n).astype(np.float32) for o in SKIM.observables}
    return sample_of(columns, SKIM)


@pytest.fixture
def skim_file(sample: Sample, tmp_path: Path) -> Path:
    path = tmp_path / "part.parquet"
    write_part(path, sample)
    return path


@pytest.fixture
def taggers(sample: Sample, feature_taggers: Callable[..., TaggerSet]) -> Taggers:
    """Two windows whose taggers have one feature in common."""
    features = {"low": ("mass", "pt"), "high": ("mass", "tau21")}
    sets = {
        name: feature_taggers(SKIM, features[name], name, WINDOWS[name]).calibrated(
            sample, CONFIG.search.fit_range, EFFICIENCIES
        )
        for name in WINDOWS
    }
    return Taggers(sets, {})


@pytest.fixture
def searched(skim_file: Path, taggers: Taggers, tmp_path: Path) -> Histograms:
    fileset = Fileset.from_paths({"data": [skim_file]})
    return pipeline.search(fileset, taggers, CONFIG, out=tmp_path / "out")


def test_sums_over_patterns_are_the_histograms(searched: Histograms) -> None:
    found = searched.coincidences
    assert found is not None
    assert [own.name for own in found.sets] == ["low", "high"]
    assert found.sets[0].window == (3000.0, 3600.0)
    for name, by_efficiency in searched.thresholds.items():
        for efficiency, thresholds in by_efficiency.items():
            spectra = selected_spectrum(searched.hists[name], thresholds)
            for fold in (0, 1):
                rows = found.passes(name, efficiency, fold)
                counts = np.bincount(found.rows[rows, 0], found.events[rows], 300)
                assert counts.sum() > 10
                np.testing.assert_array_equal(counts, spectra[f"fold-{fold}"].values())


def test_shared_events_are_those_of_the_events_themselves(
    sample: Sample, taggers: Taggers, searched: Histograms
) -> None:
    edges = np.arange(2600.0, 7001.0, 40.0)
    assert searched.coincidences is not None
    found = searched.coincidences.shared_events({"low": ("low", 0.1), "high": ("high", 0.3)}, edges)
    assert found.names == ("low/fold-0", "low/fold-1", "high/fold-0", "high/fold-1")
    passes = {}
    for name, efficiency in (("low", 0.1), ("high", 0.3)):
        ranks = taggers.sets[name].ranks(sample)
        for fold, x in taggers.thresholds()[name][efficiency].items():
            passes[f"{name}/fold-{fold}"] = (ranks.fold == fold) & (ranks.both > x)
    both = sum(passes[f"low/fold-{t}"] & passes[f"high/fold-{t}"] for t in (0, 1))
    inside = (sample.m_jj >= 2600) & (sample.m_jj < 7000)
    assert found.counts[found.patterns.sum(axis=1) == 2].sum() == (both & inside).sum() > 20
    for column, passed in zip(found.patterns.T, passes.values(), strict=True):
        wanted = np.histogram(sample.m_jj[passed & inside], edges)[0]
        np.testing.assert_array_equal(found.counts[column].sum(axis=0), wanted)


@pytest.mark.parametrize("chunk_size", [41, 700])
def test_chunks_change_no_byte(
    skim_file: Path, taggers: Taggers, searched: Histograms, tmp_path: Path, chunk_size: int
) -> None:
    fileset = Fileset.from_paths({"data": [skim_file]})
    resources = Resources(chunk_size=chunk_size)
    again = pipeline.search(fileset, taggers, CONFIG, out=tmp_path / "again", resources=resources)
    assert again.coincidences == searched.coincidences
    for name in ("histograms.h5", "coincidences.h5", "search.json"):
        first, second = (tmp_path / out / "search" / name for out in ("out", "again"))
        assert first.read_bytes() == second.read_bytes(), name


def test_taggers_of_no_window_have_none_and_events_that_pass_nothing_are_left_out(
    sample: Sample, skim_file: Path, feature_taggers: Callable[..., TaggerSet], ours: Any
) -> None:
    tagger_set = feature_taggers(SKIM).calibrated(sample, CONFIG.search.fit_range, (0.1,))
    found = ours(skim_file, SearchProcessor(CONFIG, tagger_set))["coincidences"]
    assert found.sets[0].window is None
    passed = (tagger_set.ranks(sample).both > 0.5).sum()
    selected = found.events.sum()
    assert 0 < selected < passed
    assert found.merge().rows.shape[0] <= selected


def test_what_the_search_lacks_is_said(searched: Histograms) -> None:
    assert searched.coincidences is not None
    with pytest.raises(TaggerError, match=r"no tagger set 'other'.*'high', 'low'"):
        searched.coincidences.selections(["other"])
    with pytest.raises(TaggerError, match=r"no selection of 0\.2, only \[0\.03, 0\.1, 0\.3\]"):
        searched.coincidences.passes("low", 0.2, 0)


def test_other_selections_are_not_added(searched: Histograms) -> None:
    ours = searched.coincidences
    assert ours is not None
    other = Coincidences(ours.sets[:1], ours.edges, ours.rows[:, :3], ours.events)
    with pytest.raises(TaggerError, match="cannot be added"):
        _ = ours + other
    assert ours != other
    doubled = ours + ours
    assert doubled.merge().events.sum() == 2 * ours.events.sum()


def test_changed_file_is_refused_before_it_is_opened(searched: Histograms, tmp_path: Path) -> None:
    path = tmp_path / "out" / "search" / "coincidences.h5"
    image = bytearray(path.read_bytes())
    image[-1] ^= 1
    path.write_bytes(image)
    with pytest.raises(StageError, match="not the file that search"):
        Histograms.load(path.parent)


def test_searches_from_before_are_read(searched: Histograms, tmp_path: Path) -> None:
    old = Histograms(searched.hists, searched.thresholds, searched.accounting, {})
    old.save(tmp_path)
    assert Histograms.load(tmp_path).coincidences is None
    assert not (tmp_path / "coincidences.h5").exists()
