"""What the selections of different tagger sets share, in a pass over real Parquet files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.config import (
    BumpSettings,
    FitSettings,
    JetShares,
    MassRange,
    SearchConfig,
    SkimSettings,
)
from tnt_coffea.config.fits import ScanSettings
from tnt_coffea.errors import ConfigError, StageError, TaggerError
from tnt_coffea.events.sample import Sample, sample_of
from tnt_coffea.events.skim import write_part
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline import fitting
from tnt_coffea.pipeline.global_p_values import _without_chains
from tnt_coffea.processors import SearchProcessor
from tnt_coffea.products import Histograms, Taggers
from tnt_coffea.reporting.mass_figures import local_p_values
from tnt_coffea.reporting.wording import coverage, headline
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import ScanRefusal, ScanResult, inclusive_spectrum, selected_spectrum
from tnt_coffea.taggers import Coincidences, TaggerSet

SKIM = SkimSettings(images=None, observables=("pt", "mass", "tau21"))
CONFIG = SearchConfig(skim=SKIM)
EFFICIENCIES = (0.3, 0.1, 0.03)
CUTS = {"loose-heavy": JetShares(heavy=0.8, light=0.05)}
LOW, HIGH = "sum-3000-3600", "sum-3300-3900"
WINDOWS = {LOW: MassRange(low=3000.0, high=3600.0), HIGH: MassRange(low=3300.0, high=3900.0)}


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("windows")


@pytest.fixture(scope="module")
def skim_file(sample: Sample, folder: Path) -> Path:
    path = folder / "part.parquet"
    write_part(path, sample)
    return path


@pytest.fixture(scope="module")
def taggers(sample: Sample, feature_taggers: Callable[..., TaggerSet]) -> Taggers:
    """Two windows whose taggers have one feature in common."""
    features = {LOW: ("mass", "pt"), HIGH: ("mass", "tau21")}
    sets = {
        name: feature_taggers(SKIM, features[name], name, WINDOWS[name]).calibrated(
            sample, CONFIG.search.fit_range, EFFICIENCIES, CUTS
        )
        for name in WINDOWS
    }
    return Taggers(sets, {})


@pytest.fixture(scope="module")
def searched(skim_file: Path, taggers: Taggers, folder: Path) -> Histograms:
    fileset = Fileset.from_paths({"data": [skim_file]})
    return pipeline.search(fileset, taggers, CONFIG, out=folder)


def test_sums_over_patterns_are_the_histograms(searched: Histograms) -> None:
    found = searched.coincidences
    assert found is not None
    assert [own.name for own in found.sets] == [LOW, HIGH]
    assert found.sets[0].window == (3000.0, 3600.0)
    for name, points in searched.points.items():
        assert found.selections([name])[0].selections == (*EFFICIENCIES, *CUTS)
        for point in points:
            spectra = selected_spectrum(searched.hists[name], point)
            for fold in (0, 1):
                rows = found.passes(name, point.selection, fold)
                counts = np.bincount(found.rows[rows, 0], found.events[rows], 300)
                assert counts.sum() > 10
                np.testing.assert_array_equal(counts, spectra[f"fold-{fold}"].values())


def test_shared_events_are_those_of_the_events_themselves(
    sample: Sample, taggers: Taggers, searched: Histograms
) -> None:
    edges = np.arange(2600.0, 7001.0, 40.0)
    assert searched.coincidences is not None
    found = searched.coincidences.shared_events({"low": (LOW, 0.1), "high": (HIGH, 0.3)}, edges)
    assert found.names == ("low/fold-0", "low/fold-1", "high/fold-0", "high/fold-1")
    passes = {}
    for name, efficiency in ((LOW, 0.1), (HIGH, 0.3)):
        ranks = taggers.sets[name].ranks(sample)
        for fold, cut in taggers.working_points()[name][efficiency].cuts.items():
            passes[f"{name}/fold-{fold}"] = (ranks.fold == fold) & (ranks.both > cut.heavy)
    both = sum(passes[f"{LOW}/fold-{t}"] & passes[f"{HIGH}/fold-{t}"] for t in (0, 1))
    inside = (sample.m_jj >= 2600) & (sample.m_jj < 7000)
    assert found.counts[found.patterns.sum(axis=1) == 2].sum() == (both & inside).sum() > 20
    for column, passed in zip(found.patterns.T, passes.values(), strict=True):
        wanted = np.histogram(sample.m_jj[passed & inside], edges)[0]
        np.testing.assert_array_equal(found.counts[column].sum(axis=0), wanted)


@pytest.mark.parametrize("chunk_size", [41, 700])
def test_chunks_change_no_byte(
    skim_file: Path,
    taggers: Taggers,
    searched: Histograms,
    folder: Path,
    tmp_path: Path,
    chunk_size: int,
) -> None:
    fileset = Fileset.from_paths({"data": [skim_file]})
    resources = Resources(chunk_size=chunk_size)
    again = pipeline.search(fileset, taggers, CONFIG, out=tmp_path, resources=resources)
    assert again.coincidences == searched.coincidences
    for name in ("histograms.h5", "coincidences.h5", "search.json"):
        first, second = (out / "search" / name for out in (folder, tmp_path))
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
    with pytest.raises(TaggerError, match=r"no tagger set 'other'.*'sum-3000-3600'"):
        searched.coincidences.selections(["other"])
    with pytest.raises(
        ConfigError, match=r"no selection 0\.2, only 0\.3, 0\.1, 0\.03, loose-heavy"
    ):
        searched.coincidences.passes(LOW, 0.2, 0)


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
    searched.save(tmp_path)
    path = tmp_path / "coincidences.h5"
    image = bytearray(path.read_bytes())
    image[-1] ^= 1
    path.write_bytes(image)
    with pytest.raises(StageError, match="not the file that search"):
        Histograms.load(path.parent)


def test_searches_from_before_are_read(searched: Histograms, tmp_path: Path) -> None:
    old = Histograms(searched.hists, searched.points, searched.accounting, {})
    old.save(tmp_path)
    assert Histograms.load(tmp_path).coincidences is None
    assert not (tmp_path / "coincidences.h5").exists()


SCAN = CONFIG.model_copy(
    update={
        "fit": FitSettings(
            bump=BumpSettings(
                width=100.0, bin_width=100.0, efficiency=0.3, max_parameters=3, spurious=False
            ),
            scan=ScanSettings(masses=tuple(np.arange(3050.0, 3900.0, 100.0)), toys=20),
        )
    }
)


def test_scan_over_windows_takes_each_ones_masses_and_the_shared_events(
    searched: Histograms,
) -> None:
    assert pipeline.windows_by_method(searched) == {"sum": (LOW, HIGH)}
    steps: list[tuple[int, int]] = []
    selections = {name: (name, 0.3) for name in WINDOWS}
    found = pipeline.scan(
        searched, SCAN, selections, progress=lambda done, of: steps.append((done, of))
    )
    for name, window in WINDOWS.items():
        masses = [point.mass for point in found.points if point.selection == name]
        assert masses == [mass for mass in SCAN.fit.scan.masses if window.low <= mass < window.high]
    assert found.toys == 20
    assert found.p_global is not None
    curve = local_p_values({"sum": found}).axes[0].lines[0]
    assert curve.get_xdata().tolist() == list(SCAN.fit.scan.masses)
    for mass, p in zip(*curve.get_data(), strict=True):
        assert p == min(point.p_local for point in found.points if point.mass == mass)
    alone = replace(searched, hists={"tnt": searched.hists[LOW], LOW: searched.hists[LOW]})
    assert pipeline.windows_by_method(alone) == {LOW: (LOW,), "tnt": ("tnt",)}
    assert steps == [(0, 20), (20, 20)]
    old = replace(searched, coincidences=None)
    with pytest.raises(StageError, match="search again"):
        pipeline.scan(old, SCAN, selections)
    assert pipeline.scan(old, SCAN, {LOW: (LOW, 0.3)}).toys == 20


def test_spectrum_before_selection_shares_the_selected_events(
    sample: Sample, searched: Histograms
) -> None:
    edges = np.arange(2600.0, 7001.0, 40.0)
    assert searched.coincidences is not None
    everything = inclusive_spectrum(searched.hists[LOW]).values()
    found = searched.coincidences.shared_events(
        {"high": (HIGH, 0.3)}, edges, {"before": (LOW, everything)}
    )
    assert found.names == ("high/fold-0", "high/fold-1", "before")
    # An event that passes is among those before.
    assert found.patterns.tolist() == [
        [False, False, True],
        [False, True, True],
        [True, False, True],
    ]
    wanted = np.histogram(sample.m_jj, edges)[0]
    np.testing.assert_array_equal(found.counts.sum(axis=0), wanted)
    alone = searched.coincidences.shared_events({"high": (HIGH, 0.3)}, edges)
    np.testing.assert_array_equal(found.counts[1:].sum(axis=0), alone.counts.sum(axis=0))


def together(**scan: Any) -> SearchConfig:
    """Return settings for the test of all selections, without limits."""
    fit = SCAN.fit.model_copy(
        update={
            "abcd": SCAN.fit.abcd.model_copy(update={"efficiency": 0.3}),
            "bump": SCAN.fit.bump.model_copy(update={"mass": 3620.0}),
            "limit": SCAN.fit.limit.model_copy(update={"enabled": False}),
            "scan": ScanSettings(toys=20, **scan),
        }
    )
    return SCAN.model_copy(update={"fit": fit})


@pytest.mark.slow
def test_fit_of_a_search_scans_all_windows_of_a_method_at_once(searched: Histograms) -> None:
    result = pipeline.fit(searched, together(masses=SCAN.fit.scan.masses[::2]))
    assert list(result.scans) == ["before", LOW, HIGH, "sum"]
    assert {point.selection for point in result.scans["sum"].points} == {LOW, HIGH}
    assert result.scans["sum"].p_global is not None
    assert isinstance(result.overall, ScanResult)
    assert result.overall.tried == "2 tagger sets and all dijets, 5 masses"
    of_sets = [point for point in result.overall.points if point.selection != "before"]
    alone = result.scans["sum"].points
    # Each set is searched for the masses of its window, as in the scan of the windows.
    assert [(p.selection, p.mass, p.q0) for p in of_sets] == [
        (p.selection, p.mass, p.q0) for p in alone
    ]


def test_fit_has_one_global_p_value_over_all_sets_at_the_mass_of_the_bump_hunt(
    searched: Histograms, tmp_path: Path
) -> None:
    result = pipeline.fit(searched, together(), out=tmp_path)
    found = result.overall
    assert isinstance(found, ScanResult)
    assert found.tried == "2 tagger sets and all dijets, 1 mass"
    # The mass is above the window of one set's taggers: it was tested all the same.
    hunts = {"before": result.before, **result.after}
    assert [point.selection for point in found.points] == list(hunts)
    for point in found.points:
        hunt = hunts[point.selection]
        assert point.mass == hunt.mass
        assert point.z_asymptotic == pytest.approx(hunt.z_asymptotic, abs=1e-3)
    largest = max(hunt.z_asymptotic for hunt in hunts.values())
    assert found.best_point.z_asymptotic == pytest.approx(largest, abs=1e-3)
    assert found.p_global == (1 + sum(z >= largest - 1e-9 for z in found.toy_maxima)) / 21
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert "over 2 tagger sets and all dijets, 1 mass" in result.overall_text()
    assert "(2 tagger sets and all dijets, 1 mass)" in result.summary()
    assert result.trials[-1].p_values["global, all selections"] == found.p_global
    assert any("All selections together" in line for line in coverage(result, SCAN))
    said = "counted (2 tagger sets and all dijets, 1 mass), the search has a global p-value"
    assert said in headline(result, SCAN)[2]
    alone = headline(replace(result, global_p=None), SCAN)[2]
    assert "(2 tagger sets and all dijets, 1 mass) comes with a global p" in alone


@pytest.mark.slow
def test_where_no_toy_reaches_the_data_the_sum_of_p_values_bounds_the_global_one(
    searched: Histograms, tmp_path: Path
) -> None:
    result = pipeline.fit(searched, together(), out=tmp_path)
    assert isinstance(result.overall, ScanResult)
    name, hunt = next(iter(result.after.items()))

    def counted(p_value: float, largest: float) -> Any:
        overall = replace(result.overall, toy_maxima=(largest,) * 20, p_global=1 / 21)
        hunts = {**result.after, name: replace(hunt, p_value=p_value)}
        return next(_without_chains(replace(result, overall=overall, after=hunts), together(), {}))

    assert counted(1e-9, -1.0)[1:] == (pytest.approx(3e-9), 3, "the smallest times 3")
    assert counted(1e-9, 99.0)[1:] == (1 / 21, 3, "toys")
    assert counted(0.5, -1.0).p_value <= 1 / 21


@pytest.mark.slow
def test_global_p_value_over_every_selection_says_what_was_tried(searched: Histograms) -> None:
    every = fitting._overall(searched, together(global_over="all"))
    assert isinstance(every, ScanResult)
    assert every.tried == "2 tagger sets x 4 selections and all dijets, 1 mass"
    assert len(every.points) == 9
    assert fitting._overall(searched, together(global_over="none")) is None
    old = fitting._overall(replace(searched, coincidences=None), together())
    assert isinstance(old, ScanRefusal)
    assert "search again" in old.summary()
    one = replace(searched, hists={LOW: searched.hists[LOW]})
    assert fitting._overall(one, together()) is None


@pytest.mark.slow
def test_windows_and_nested_selections_are_scanned_from_the_command_line(
    searched: Histograms, folder: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SCAN.to_yaml())
    assert searched.hists.keys() == {LOW, HIGH}

    def fit(*arguments: str) -> Any:
        common = ["--config", str(settings), "--out", str(tmp_path / "none")]
        path = str(folder / "search")
        return CliRunner().invoke(main, ["fit", arguments[0], path, *common, *arguments[1:]])

    windows = fit("scan", "--name", "sum")
    assert windows.exit_code == 0, windows.output
    assert "global p" in windows.output
    stored = tmp_path / "nested.json"
    nested = fit("scan", "--name", LOW, "--nested", "--json", str(stored))
    assert nested.exit_code == 0, nested.output
    points = json.loads(stored.read_text())["points"]
    assert {point["selection"] for point in points} == {f"{LOW} {e:g}" for e in EFFICIENCIES}
    masses = ("--masses", "3350", "3550", "200")
    whole = fit("scan", "--all", *masses, "--toys", "10", "--json", str(stored))
    assert whole.exit_code == 0, whole.output
    found = ScanResult.from_dict(json.loads(stored.read_text()))
    assert {point.selection for point in found.points} == {"before", LOW, HIGH}
    assert found.tried == "2 tagger sets and all dijets, 2 masses"
    assert found.tried in whole.output
    each = fit("scan", "--all", "--nested", *masses, "--toys", "0")
    assert "(2 tagger sets x 4 selections and all dijets, 2 masses)" in each.output
    both = fit("scan", "--all", "--name", LOW)
    assert both.exit_code == 2
    assert "give one of these" in both.output
    refused = fit("bump", "--name", "sum")
    assert refused.exit_code == 2
    assert f"bump is of one tagger set; name one of {LOW}, {HIGH}" in refused.output


def test_closure_over_efficiencies_comes_with_abcd(
    searched: Histograms, folder: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(CONFIG.to_yaml())
    stored = tmp_path / "abcd.json"
    path, options = folder / "search", ("--config", settings, "--json", stored)
    arguments = ["fit", "abcd", path, "--name", LOW, *options]
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    points = json.loads(stored.read_text())["closures"]["points"]
    # Three selections of their own X, and the further quantiles of the histogram's axes.
    assert len(points) == 3 + len(CONFIG.search.closure_quantiles)
    assert {point["x"] for point in points} == {None, *CONFIG.search.closure_quantiles}
    assert min(point["efficiency"] for point in points) < 0.001
    assert any("empty" in point["refusal"] for point in points)
    assert all(point["closure"] is not None or point["refusal"] for point in points)
    for edge in CONFIG.search.closure_quantiles:
        for axis in ("q_heavy", "q_light"):
            assert edge in searched.hists[LOW].axes[axis].edges
