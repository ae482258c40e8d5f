"""CWoLa hunting as in section 4.1 of arXiv:2101.08320: windows, logarithmic bins, Poisson test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.integrate import quad
from scipy.stats import norm, poisson

from tnt_coffea import Resources, SearchConfig, pipeline, testing
from tnt_coffea.cli import main
from tnt_coffea.config import MassRange, SearchSettings
from tnt_coffea.errors import ConfigError
from tnt_coffea.products import Histograms
from tnt_coffea.reporting.terminal import results_table, wide_console
from tnt_coffea.results import SearchResult
from tnt_coffea.stats import WindowTests
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.windows import cwola_windows

PRESET = SearchConfig.preset("olympics-cwola")
# The same search with taggers that take no time.
TREES = """
train:
  folds: {outer: 2, inner: 2}
  methods:
    cwola:
      kind: cwola
      sideband: 0.6666666666666666
      spacing: logarithmic
      classifier: {network: trees, features: [rescaled_mass, tau21], trees: 3}
"""
FEATURE = """
train:
  folds: {outer: 2, inner: 2}
  windows: single
  methods: {tau: {kind: feature, feature: heavy_tau21 + light_tau21, descending: true}}
fit: {scan: {global_over: none}}
"""
HERE = Resources(executor="iterative")
WINDOWS = {f"tau-{window.name}": window.edges for window in cwola_windows()[2:7:2]}


def call(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def hunt(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A search in logarithmic bins; its taggers stand for those of three windows."""
    out = tmp_path_factory.mktemp("hunt")
    config = SearchConfig.from_text(FEATURE, rest=PRESET)
    sample = testing.make_sample(6000, signal_share=0.01)
    taggers = pipeline.train(sample, config, out=out, resources=HERE)
    one = pipeline.search(sample, taggers, config, out=out, resources=HERE)
    histograms = _in_windows(one)
    (out / "windows" / "search").mkdir(parents=True)
    histograms.save(out / "windows" / "search")
    result = pipeline.fit(histograms, config, out=out / "windows")
    return SimpleNamespace(
        out=out / "windows", config=config, sample=sample, histograms=histograms, result=result
    )


def _in_windows(one: Histograms) -> Histograms:
    assert one.coincidences is not None
    (shared,) = one.coincidences.sets
    return replace(
        one,
        hists=dict.fromkeys(WINDOWS, one.hists["tau"]),
        points=dict.fromkeys(WINDOWS, one.points["tau"]),
        coincidences=replace(
            one.coincidences,
            sets=tuple(replace(shared, name=name, window=own) for name, own in WINDOWS.items()),
            rows=np.concatenate(
                [one.coincidences.rows[:, :1], *[one.coincidences.rows[:, 1:]] * len(WINDOWS)],
                axis=1,
            ),
        ),
    )


def test_the_preset_is_the_published_search() -> None:
    (method,) = PRESET.train.methods.values()
    assert method == Cwola.olympics()
    edges = np.geomspace(2632, 6000, 17)
    np.testing.assert_allclose(PRESET.search.mass_edges, edges, atol=0.05)
    assert PRESET.fit.bump.edges == PRESET.search.mass_edges
    for window in cwola_windows():
        assert set(window.edges) <= set(PRESET.search.mass_edges)
    assert PRESET.search.window in cwola_windows()
    assert (PRESET.skim.jets.order, PRESET.train.folds.outer) == ("pt", 5)
    assert {f"tau{n}" for n in (21, 32)} <= set(PRESET.skim.observables)
    assert PRESET.fit.window.enabled


def test_the_preset_is_written_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "cwola.yaml"
    done = call("config", "init", "--preset", "olympics-cwola", path)
    assert done.exit_code == 0, done.output
    assert SearchConfig.from_yaml(path) == PRESET
    assert "a cap of this package" in path.read_text()
    # What its comments say of the public code is a setting as well.
    text = path.read_text().replace("        #   features", "        #   x")
    uncommented = [line.split("#   ")[1] for line in text.splitlines() if "#   " in line]
    code = Cwola.olympics(committed=True).classifier.model_dump(mode="json")
    for line in uncommented[1:]:
        name, _, value = line.partition(": ")
        assert code[name] == json.loads(value)
    unknown = call("config", "init", "--preset", "olympic", path, "--force")
    assert unknown.exit_code == 2
    assert "no preset 'olympic': known are olympics-cwola" in unknown.output


def test_stored_bins_have_the_edges_of_both(hunt: SimpleNamespace) -> None:
    axis = next(iter(hunt.histograms.hists.values())).axes["m_jj"]
    own = np.array(PRESET.search.mass_edges)
    assert set(own) | set(np.arange(2000.0, 8001, 20)) == set(axis.edges)
    found = hunt.result.window["tau"].of(None)[0].result.spectrum
    expected, _ = np.histogram(hunt.sample.m_jj, own)
    np.testing.assert_array_equal(found.observed, expected)
    assert found.edges == PRESET.search.mass_edges


def test_every_set_is_tested_in_its_window_at_every_selection(hunt: SimpleNamespace) -> None:
    result: SearchResult = hunt.result
    assert list(result.window) == ["tau"]
    tests = result.window["tau"]
    refused = [one for one in result.refusals if one.test == "window test"]
    assert len(tests.tests) + len(refused) == 3 * 4
    assert tests.windows == tuple(WINDOWS.values())
    assert {None, 0.1, 0.01} == set(tests.selections)
    # Twelve events are too few for four parameters: said, and the rest stands.
    assert {one.selection for one in refused} >= {f"{name} 0.002" for name in WINDOWS}
    for test in tests.tests:
        low, high = test.result.window
        assert test.taggers == f"tau-{low:g}-{high:g}"
        assert test.mass == (low + high) / 2
        assert test.result.parameters == 4
        histogram = hunt.histograms.hists[test.taggers]
        counts = histogram.project("fold", "m_jj", "q_heavy", "q_light").values()
        mass = histogram.axes["m_jj"].edges[:-1]
        inside = (low <= mass) & (mass < high)
        kept = 0.0
        for index, fold in enumerate(histogram.axes["fold"]):
            cut = 0.0
            if test.selection is not None:
                cut = hunt.histograms.points[test.taggers][test.selection].cut(fold).heavy
            above = [histogram.axes[f"q_{jet}"].edges[:-1] >= cut for jet in ("heavy", "light")]
            kept += counts[index][np.ix_(inside, *above)].sum()
        assert test.result.observed == kept


def test_p_values_are_the_poisson_ones(hunt: SimpleNamespace) -> None:
    tests = hunt.result.window["tau"]
    checked = 0
    for test in tests.tests:
        one = test.result
        if not 1e-6 < one.p_poisson < 0.99:
            continue
        n, b, sigma = one.observed, one.expected, one.uncertainty
        low, high = max(0.0, b - 8 * sigma), b + 8 * sigma

        def density(mean: float, n: float = n, b: float = b, sigma: float = sigma) -> float:
            return float(poisson.sf(n - 1, mean) * norm.pdf(mean, b, sigma))

        inside = norm.cdf(high, b, sigma) - norm.cdf(low, b, sigma)
        expected = quad(density, low, high, epsabs=0, epsrel=1e-8, limit=200)[0] / inside
        assert one.p_poisson == pytest.approx(expected, rel=1e-4)
        assert test.z == pytest.approx(max(0.0, norm.isf(one.p_poisson)))
        checked += 1
    assert checked >= 3
    best = tests.best(0.1)
    assert best.result.p_poisson == min(test.result.p_poisson for test in tests.of(0.1))


def test_the_tests_are_noted_shown_and_stored(hunt: SimpleNamespace) -> None:
    result: SearchResult = hunt.result
    tests = result.window["tau"]
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert "windows of tau" in result.summary()
    assert "most significant of 3 windows" in repr(result)
    p_values = json.loads((hunt.out / "fits.json").read_text())[0]["p_values"]
    noted = {name: p for name, p in p_values.items() if name.startswith("window ")}
    assert len(noted) == len(tests.tests)
    assert noted["window 3234.1-3774.4 GeV, all dijets"] == pytest.approx(
        next(t for t in tests.of(None) if t.result.window[0] == 3234.1).result.p_poisson
    )
    console = wide_console()
    with console.capture() as shown:
        console.print(results_table(result, config=hunt.config))
    text = shown.get()
    assert text.count("window test") >= 4
    assert "the smallest of 3 windows'" in text
    # Off by default, and then nothing of it is stored.
    assert not SearchConfig().fit.window.enabled
    assert "window" not in replace(result, window={}).to_dict()
    assert "window" not in pipeline.null_chains.fit_values(SearchConfig())


@pytest.mark.slow
def test_the_command_makes_the_tests_of_the_stage(hunt: SimpleNamespace, tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        to = tmp_path / "found.json"
        done = call("fit", "window", hunt.out / "search", "--json", to, *words)
        assert done.exit_code == 0, done.output
        return json.loads(to.read_text())

    plot = tmp_path / "windows.png"
    found = WindowTests.from_dict(run("--name", "tau", "--plot", plot))
    assert found.tests == hunt.result.window["tau"].tests
    assert {one.test for one in found.refusals} <= {"window test"}
    assert plot.stat().st_size > 10_000
    last = json.loads((hunt.out / "fits.json").read_text())[-1]
    assert last["test"] == "window"
    assert len(last["p_values"]) == len(found.tests)
    one = "tau-3234.1-3774.4"
    other = WindowTests.from_dict(run("--name", one, "--window", 3405, 3585, "--plot", plot))
    assert {test.result.window for test in other.tests} == {(3405.0, 3585.0)}
    assert {test.taggers for test in other.tests} == {one}
    wrong = call("fit", "window", hunt.out / "search", "--name", one, "--window", 3400, 3585)
    assert wrong.exit_code == 7
    assert "3400 is not an edge" in wrong.output
    hidden = call("fit", "window", hunt.out / "search", "--name", one, "--blind")
    assert hidden.exit_code == 2
    assert "would show the events in the window" in hidden.output


def test_a_search_without_these_bins_is_refused(hunt: SimpleNamespace) -> None:
    search = hunt.config.search.model_copy(update={"mass_edges": ()})
    made_with = {"seed": hunt.config.seed, "search": search.model_dump(mode="json")}
    older = replace(hunt.histograms, made_with=made_with)
    with pytest.raises(ConfigError, match=r"search\.mass_edges is \[2632"):
        pipeline.fit(older, hunt.config)


def test_stored_edges() -> None:
    plain = SearchSettings()
    assert plain.stored_edges == tuple(np.arange(2000.0, 8001, 20))
    assert "mass_edges" not in plain.model_dump(mode="json")
    # An edge that both have stands once.
    both = SearchSettings(mass_edges=(2020.0000000001, 2025))
    assert both.stored_edges[:4] == (2000.0, 2020.0000000001, 2025.0, 2040.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {mass_edges: [3000, 2900]}", "mass_edges must rise"),
        ("search: {mass_edges: [1900, 2900]}", r"1900 to 2900 GeV\) do not lie inside"),
        ("search: {mass_edges: [2633], fit_range: {low: 2633}}", r"or give fit\.bump\.edges"),
        ("fit: {bump: {edges: [2600, 2633, 7000]}}", r"add it to search\.mass_edges"),
        (
            "{search: {window: {low: 3333}, mass_edges: [3333]}, fit: {window: {enabled: true}}}",
            r"counts in, multiples of 20 GeV .* \(nearest: 3340 GeV\): .* or give fit\.bump\.edges",
        ),
        ("search: {mass_edges: [3000.0000001]}", r"3000\.0000001 GeV is nearer than 0\.02 GeV"),
        ("search: {mass_edges: [3005, 3005.01]}", r"another edge of the stored bins, 3005\.01 GeV"),
        (
            "{search: {window: {low: 2600}}, fit: {window: {enabled: true}, "
            "bump: {bin_width: 20}}}",
            r"no bins beside it in search\.fit_range \(2600 to 7000 GeV\)",
        ),
        (
            "{search: {mass_edges: [3333]}, fit: {window: {enabled: true}, bump: {edges: "
            "[2600, 3333, 7000]}}}",
            r"counts in, fit\.bump\.edges \(nearest: 3333 GeV\): .* add 3300 and 3700 to",
        ),
    ],
)
def test_bins_that_do_not_fit_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig.from_text(text)


def test_windows_on_edges_of_either_kind_are_taken() -> None:
    config = SearchConfig.from_text("search: {window: {low: 3333}, mass_edges: [3333]}")
    assert config.search.window == MassRange(low=3333, high=3700)


def test_windows_are_counted_in_the_widest_bins_that_fit(hunt: SimpleNamespace) -> None:
    config = SearchConfig.from_text("fit: {window: {enabled: true}}")
    one, other = sorted(WINDOWS)[:2]
    shared = hunt.histograms.coincidences
    windows = {one: (3300.0, 3700.0), other: (3240.0, 3720.0)}
    sets = tuple(replace(own, window=windows.get(own.name)) for own in shared.sets)
    histograms = replace(hunt.histograms, coincidences=replace(shared, sets=sets))
    found = pipeline.window_tests(histograms, config, [one, other]).of(None)
    widths = {test.taggers: np.unique(np.diff(test.result.spectrum.edges)) for test in found}
    assert {name: list(width) for name, width in widths.items()} == {one: [20.0], other: [40.0]}
    said = {test.taggers: " ".join(test.result.notes) for test in found}
    assert "bins of 20 GeV: the window does not begin and end at edges of bins of 40" in said[one]
    assert "bins of" not in said[other]


@pytest.mark.slow
def test_taggers_of_ten_windows(tmp_path: Path) -> None:
    config = SearchConfig.from_text(TREES, rest=PRESET)
    sample = testing.make_sample(12_000)
    taggers = pipeline.train(sample, config, out=tmp_path, resources=HERE)
    histograms = pipeline.search(sample, taggers, config, out=tmp_path, resources=HERE)
    tests = pipeline.window_tests(histograms, config, sorted(histograms.hists))
    assert len(tests.tests) + len(tests.refusals) == 10 * 4
    assert tests.windows == tuple(window.edges for window in cwola_windows())
    # The planted signal lies about 3.5 TeV.
    assert tests.best(0.1).result.window == (3234.1, 3774.4)
