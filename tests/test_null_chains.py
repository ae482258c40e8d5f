"""p-values from whole searches of background, and searches of control events."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import tnt_coffea as tnt
from tnt_coffea import Skim, pipeline, stats, testing
from tnt_coffea.cli import fit_options, main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, InputError, TrainingError
from tnt_coffea.events.skim import write_part
from tnt_coffea.pipeline import NullChains, null_chains, null_searches, run_null_chains
from tnt_coffea.products import Histograms, Taggers
from tnt_coffea.reporting.wording import headline
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_config, noted_trials
from tnt_coffea.stats.calibration import from_null_chains
from tnt_coffea.storage import held

# A wide selection and few parameters: no toys are thrown, and functions do not compete.
TEXT = (
    "{search: {efficiencies: [0.3]}, train: {methods: {mass: {kind: feature}}}, fit: {bump: "
    "{efficiency: 0.3, max_parameters: 3, spurious: false}, abcd: {efficiency: 0.3}, "
    "limit: {enabled: false}}}"
)


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def with_chains(config: SearchConfig, path: Path | None, **bump: Any) -> SearchConfig:
    values = config.model_dump(mode="json")
    values["fit"]["bump"] |= {"null_chains": path and str(path), **bump}
    return SearchConfig.model_validate(values)


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same search of four samples without signal."""
    base = tmp_path_factory.mktemp("chains")
    config, folders = SearchConfig.from_text(TEXT), [base / str(seed) for seed in range(4)]
    for seed, out in enumerate(folders):
        sample = testing.make_sample(1600, signal_share=0.0, seed=seed, pixels=12)
        taggers = tnt.train(sample, config, out=out)
        tnt.fit(tnt.search(sample, taggers, config, out=out), config, out=out)
    return folders


@pytest.fixture(scope="module")
def chains(searches: list[Path]) -> Path:
    """The null chains of three of them."""
    path = searches[0].parent / "null-chains.json"
    done = call("fit", "null-chains", *searches[1:], "--to", path)
    assert done.exit_code == 0, done.output
    assert "3 searches of before, mass" in done.output
    return path


def test_whole_searches_give_the_p_value(searches: list[Path], chains: Path) -> None:
    found = NullChains.load(chains)
    kept = [SearchResult.load(folder / "fit") for folder in searches[1:]]
    assert found.q0["mass"] == tuple(result.after["mass"].q0 for result in kept)
    assert found.q0["before"] == tuple(result.before.q0 for result in kept)
    config = with_chains(SearchConfig.from_text(TEXT), chains)
    histograms = Histograms.load(searches[0] / "search")
    plain = SearchResult.load(searches[0] / "fit")
    result = tnt.fit(histograms, config)
    for now, hunt, name in (
        (result.before, plain.before, "before"),
        (result.after["mass"], plain.after["mass"], "mass"),
    ):
        reached = sum(q0 >= hunt.q0 for q0 in found.q0[name])
        # Of N experiments k reach the data: p = (k + 1) / (N + 1), Davison and Hinkley,
        # Bootstrap Methods and their Application (1997), equation 4.11.
        assert now.p_value == pytest.approx((reached + 1) / 4)
        assert (now.calibration, now.toys, now.q0) == ("null chains", 3, hunt.q0)
        assert f"{reached} of 3 whole searches of background, with taggers trained anew" in (
            now.summary()
        )
    assert "(null chains)" in result.summary()
    meaning = headline(result, config)[-1]
    assert "from 3 whole searches of background with taggers trained anew" in meaning
    assert "asymptotic" not in meaning
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.slow
def test_the_content_of_the_file_decides_and_not_its_place(
    searches: list[Path], chains: Path, tmp_path: Path
) -> None:
    out, config = tmp_path / "out", SearchConfig.from_text(TEXT)
    shutil.copytree(searches[0], out)
    histograms = Histograms.load(out / "search")
    first = tmp_path / "first.json"
    shutil.copy(chains, first)
    made = tnt.fit(histograms, with_chains(config, first), out=out)
    assert made.after["mass"].calibration == "null chains"
    moved = first.rename(tmp_path / "second.json")
    assert tnt.fit(histograms, with_chains(config, moved), out=out) == made
    data = made.trials[0].data
    assert len(noted_trials(out, data)) == 2  # that without null chains, and this one
    more = NullChains({name: (*q0, 1e9) for name, q0 in NullChains.load(moved).q0.items()})
    more.save(moved)
    again = tnt.fit(histograms, with_chains(config, moved), out=out)
    assert again.after["mass"].toys == 4
    assert len(noted_trials(out, data)) == 3


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"q0": {"before": [1.0], "tnt": [0.5]}}, ConfigError, "no q0 of tagger set 'mass', only"),
        ({"q0": {"mass": [1.0, float("nan")]}}, InputError, r"q0\.mass\.1: .* finite number"),
        ({"q0": {"mass": [1.0, -0.5]}}, InputError, r"greater than or equal to 0 \(got -0.5"),
        ({"q0": {"mass": []}}, InputError, "at least 1 item"),
        ({"q0": {"mass": [True]}}, InputError, r"valid number \(got True"),
        ([1.0, 2.0], InputError, "it holds list, no q0 by tagger set"),
        ({"summary": {}}, InputError, "q0: Field required"),
        (
            {"q0": {"mass": [1.0]}, "settings": {"fit.bump.width": 80.0}},
            ConfigError,
            r"of other settings: fit\.bump\.width is 120\.0, there 80\.0",
        ),
        ("no JSON", InputError, "no null chains can be read: Expecting value"),
        (None, InputError, "No such file"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_that_names_it(
    searches: list[Path], tmp_path: Path, content: Any, error: type[Exception], words: str
) -> None:
    path = tmp_path / "q0.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    config = with_chains(SearchConfig.from_text(TEXT), path)
    with pytest.raises(error, match=words) as found:
        tnt.fit(Histograms.load(searches[0] / "search"), config)
    assert str(found.value).startswith(f"{path}: ")
    assert "\n" not in str(found.value)


def test_searches_that_are_no_chains_of_one_search_are_refused(
    searches: list[Path], tmp_path: Path
) -> None:
    def refused(*folders: Path) -> str:
        done = call("fit", "null-chains", *folders, "--to", tmp_path / "none.json")
        assert done.exit_code in (2, 4)
        assert not (tmp_path / "none.json").exists()
        return done.output

    other, first = tmp_path / "other", searches[0]
    shutil.copytree(searches[1], other)
    assert f"searches the events of {searches[1]}: every" in refused(searches[1], other)
    config = with_chains(SearchConfig.from_text(TEXT), None, width=100.0)
    tnt.fit(Histograms.load(other / "search"), config, out=other)
    assert f"unlike {first}: fit.bump.width is 100.0, there 120.0" in refused(first, other)
    assert "no result here; run" in refused(tmp_path / "none")


def test_a_preset_and_a_file_of_settings_are_not_given_together(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(POOL_TEXT)
    words = ("null-chains", tmp_path / "none.h5", "--preset", "quick")
    both = call(*words, "--config", path)
    assert (both.exit_code, "--preset and --config: give one of them" in both.output) == (2, True)
    assert "settings: preset quick, seed 5\n" in call(*words, "--seed", 5).output
    assert "no preset 'fast': known are" in call(*words[:-1], "fast").output


@pytest.mark.slow
def test_null_chains_are_noted_with_the_whole_path(
    searches: list[Path], chains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(chains.parent)
    out, config = tmp_path / "out", SearchConfig.from_text(TEXT)
    shutil.copytree(searches[0], out)
    histograms = Histograms.load(out / "search")
    made = tnt.fit(histograms, with_chains(config, Path(chains.name)), out=out)
    noted = noted_config(out)
    assert noted is not None
    assert noted.fit.bump.null_chains == str(chains)
    monkeypatch.chdir(tmp_path)
    assert tnt.fit(histograms, noted, out=out) == made
    words = ("--name", "mass", "--toys", 0, "--null-chains", "none")
    one = call("fit", "bump", out / "search", *words)
    assert one.exit_code == 0, one.output
    assert "with taggers trained anew" not in one.output
    typed = {"blind": None, "window": None, "fit_range": None}
    for word, meant in (("auto", "auto"), ("none", None), ("box/auto", str(tmp_path / "box/auto"))):
        changed = fit_options.changed(noted, typed | {"null_chains": Path(word)})
        assert changed.fit.bump.null_chains == meant
    lines = "\n".join(tnt.fit(histograms, noted, out=out).trial_lines())
    digest = next(
        str(trial.settings["fit.bump.null_chains"])
        for trial in noted_trials(out, made.trials[0].data)
        if trial.settings["fit.bump.null_chains"]
    )
    assert f"with the null chains {digest[:8]} instead of none" in lines
    assert digest not in lines


def test_one_spectrum_takes_its_own_from_the_command_line(
    searches: list[Path], chains: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(searches[0], out)
    to = ("--json", tmp_path / "bump.json")
    done = call("fit", "bump", out / "search", "--name", "mass", "--null-chains", chains, *to)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "bump.json").read_text())
    assert (found["calibration"], found["toys"]) == ("null chains", 3)
    assert "whole searches of background, with taggers trained anew" in done.output
    rows = np.transpose(
        [np.arange(2600, 7000, 40), np.arange(2640, 7040, 40), 400 - np.arange(110)]
    )
    np.savetxt(tmp_path / "own.csv", rows, delimiter=",")
    config = ("--config", searches[0] / "config.yaml")
    own = ("fit", "bump", tmp_path / "own.csv", *config, "--null-chains")
    several = call(*own, chains)
    assert (several.exit_code, "and one spectrum is tested" in several.output) == (2, True)
    alone = replace(NullChains.load(chains), q0={"own": (0.5, 1e9)})
    alone.save(tmp_path / "alone.json")
    assert "2 of 2 whole searches" in call(*own, tmp_path / "alone.json").output
    narrower = call(*own, tmp_path / "alone.json", "--width", 80)
    assert "fit.bump.width is 80.0, there 120.0" in narrower.output
    both = call(*own, chains, "--toys", 5)
    assert (both.exit_code, "give one of them" in both.output) == (2, True)


@pytest.mark.slow
def test_control_events_are_searched_with_the_taggers_of_the_data(
    searches: list[Path], tmp_path: Path
) -> None:
    control = testing.make_sample(1200, signal_share=0.0, seed=9, kind="control", pixels=12)
    part, out, box = tmp_path / "control.parquet", tmp_path / "control", searches[0]
    write_part(part, control)
    words = ("--taggers", box / "train", "--config", box / "config.yaml", "--out", out)
    done = call("search", part, *words, "--executor", "iterative", "-q")
    assert done.exit_code == 0, done.output
    done = call("fit", "--out", out)
    assert done.exit_code == 0, done.output
    hunt = SearchResult.load(out / "fit").after["mass"]
    config = SearchConfig.from_yaml(box / "config.yaml")
    again = tmp_path / "again"
    histograms = pipeline.search(control, Taggers.load(box / "train"), config, out=again)
    assert hunt == tnt.fit(histograms, config).after["mass"]
    # The working points are those of the data, of which 30 % pass.
    passed = sum(sum(channel.observed) for channel in hunt.channels)
    assert 0.2 < passed / 1200 < 0.4
    refused = call("fit", "null-chains", out, "--to", tmp_path / "none.json")
    assert f"searched with the taggers {box / 'train'}: a null chain trains its own" in (
        refused.output
    )


POOL_TEXT = TEXT.replace("{search:", "{skim: {images: null, observables: [mass, tau21]}, search:")


@pytest.mark.slow
def test_a_table_with_fewer_chains_is_gone_on_with(tmp_path: Path) -> None:
    pool = testing.make_sample(3600, signal_share=0.0, seed=3, pixels=12)
    config, out = SearchConfig.from_text(POOL_TEXT), tmp_path / "null.json"

    def made(path: Path, chains: int) -> NullChains:
        return run_null_chains(pool, config, chains=chains, events=1200, out=path)

    first = made(out, 1)
    assert set(first.q0) == {"before", "mass"}
    grown, before = made(out, 2), out.read_bytes()
    assert grown.made["chains"] == [0, 1]
    assert grown.q0["mass"][:1] == first.q0["mass"]
    assert len(set(grown.events)) > 1  # every chain has events of its own
    assert made(tmp_path / "fresh.json", 2).q0 == grown.q0
    assert made(out, 1) == grown  # nothing that is there is thrown away
    assert out.read_bytes() == before
    assert not out.with_name("null.json.parts").exists()
    with pytest.raises(ConfigError, match="4 chains of 1200 dijets, each with its own, take 4800"):
        made(out, 4)
    with pytest.raises(ConfigError, match=r"of another seed, 1, not 2, and .*\(--to\)"):
        run_null_chains(pool, config.model_copy(update={"seed": 2}), chains=3, events=1200, out=out)
    lacking = SearchConfig.from_text(POOL_TEXT.replace("tau21", "tau32"))
    with pytest.raises(ConfigError, match="the pool lacks heavy_tau32, light_tau32"):
        run_null_chains(pool, lacking, chains=1, events=1200, out=tmp_path / "none.json")


def test_chains_that_draw_are_less_than_a_twentieth_and_have_no_event_twice() -> None:
    search = null_searches._NullSearch(SearchConfig(), "", 100, True)
    one, other = search.rows(0, 3000), search.rows(1, 3000)
    assert len(set(one.tolist())) == 100
    assert set(one.tolist()) != set(other.tolist())
    disjoint = null_searches._NullSearch(SearchConfig(), "", 100, False)
    parts = np.concatenate([disjoint.rows(i, 3000) for i in range(30)])
    assert sorted(parts.tolist()) == list(range(3000))


def test_chains_that_cannot_be_trained_are_counted_and_damaged_ones_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = testing.make_sample(2400, signal_share=0.0, seed=3, pixels=12)
    config, out = SearchConfig.from_text(POOL_TEXT), tmp_path / "null.json"
    parts, real = tmp_path / "null.json.parts", pipeline.train
    made, trained = null_searches._table, []

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    def train(sample: Any, settings: SearchConfig, **rest: Any) -> Any:
        trained.append(settings.seed)
        if len(trained) == 1:
            msg = "tnt: 12 signal-rich jets"
            raise TrainingError(msg)
        return real(sample, settings, **rest)

    monkeypatch.setattr(null_searches, "train", train)
    monkeypatch.setattr(null_searches, "_table", cut)
    with pytest.raises(KeyboardInterrupt):
        run_null_chains(pool, config, chains=2, events=1200, out=out)
    monkeypatch.setattr(null_searches, "_table", made)
    kept = (parts / "1.json").read_text()
    with pytest.raises(ConfigError, match=r"holds 2 chains of a run that was cut, with other"):
        run_null_chains(pool, config, chains=2, events=1100, out=out)
    for damaged in ("", '{"chain": 1, "q0": {}}', "[]", kept.replace('"chain":1', '"chain":0')):
        (parts / "1.json").write_text(damaged)
        assert list(null_searches._found(parts, json.loads(kept)["of"])) == [0]
    found = run_null_chains(pool, config, chains=2, events=1200, out=out)
    assert len(trained) == 3  # that of the damaged part twice
    assert (found.made["chains"], found.made["refused"]) == ([1], [0])
    assert found.q0["mass"] == (json.loads(kept)["q0"]["mass"],)
    for table in (found, NullChains.load(out)):
        assert "  1 more than these could not be trained, or make every test" in table.summary()
        assert "  the first, chain 0: tnt: 12 signal-rich jets" in table.summary()
    trained.clear()
    with pytest.raises(ConfigError, match=r"could make all .*; chain 0: tnt: 12 signal-rich jets"):
        run_null_chains(pool, config, chains=1, events=1200, out=tmp_path / "none.json")
    assert not (tmp_path / "none.json.parts").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    part, config, out = tmp_path / "pool.parquet", tmp_path / "c.yaml", tmp_path / "null.json"
    pool = testing.make_sample(9600, signal_share=0.0, seed=4, pixels=12)
    config.write_text(POOL_TEXT)
    skim = Skim.from_sample(pool)
    parts = out.with_name("null.json.parts")
    shutil.copy(skim.paths[0], part)
    code = (
        "from tnt_coffea.pipeline import run_null_chains; from tnt_coffea import SearchConfig; "
        "from tnt_coffea.events.skim import read_parts; "
        f"run_null_chains(read_parts([{str(part)!r}]), SearchConfig.from_yaml({str(config)!r}), "
        f"chains=8, events=1200, out={str(out)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (kept := list(parts.glob("*.json"))) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert kept
    assert not out.exists()
    times = {path: path.stat().st_mtime_ns for path in parts.glob("*.json")}
    settings = SearchConfig.from_yaml(config)
    with held(parts):  # the lock of the killed one is free
        kept_rows = {path.name: path.read_bytes() for path in times}
    again = run_null_chains(pool, settings, chains=8, events=1200, out=out)
    fresh = run_null_chains(pool, settings, chains=8, events=1200, out=tmp_path / "fresh.json")
    assert again.q0 == fresh.q0
    for name, content in kept_rows.items():
        row = json.loads(content)
        assert again.q0["mass"][row["chain"]] == row["q0"]["mass"], name


def test_a_search_takes_chains_of_the_package_where_its_settings_are_the_same(
    searches: list[Path], chains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = NullChains.load(chains)
    monkeypatch.setattr(null_chains, "packaged_null_chains", lambda: {"small": known})
    config, out = SearchConfig.from_text(TEXT), tmp_path / "out"
    shutil.copytree(searches[0], out)
    histograms = Histograms.load(out / "search")
    result = tnt.fit(histograms, config, out=out)
    assert result.after["mass"].calibration == "null chains"
    found = result.global_p
    assert found is not None
    # Two bump hunts have one p-value, ABCD its own.
    assert (found.tests, found.groups, found.other_tests) == (3, 2, 0)
    q0 = max(result.before.q0, result.after["mass"].q0)
    together = known.together(["before", "mass"])
    assert together is not None
    p = (1 + int((together.max(axis=1) >= q0).sum())) / 4
    abcd = result.abcd["mass"]
    p_abcd = abcd.p_value if isinstance(abcd, stats.AbcdResult) else 1.0
    assert found.p_value == pytest.approx(min(1.0, found.groups * min(p, p_abcd)))
    other = SearchConfig.from_text(
        TEXT.replace("max_parameters: 3", "max_parameters: 3, width: 90")
    )
    said = tnt.fit(histograms, other).global_p
    assert said is not None
    assert said.note == "the package's null chains 'small' are of another fit.bump.width"
    few = replace(known, events=(200, 210, 190))
    monkeypatch.setattr(null_chains, "packaged_null_chains", lambda: {"small": few})
    sizes = tnt.fit(histograms, config)
    assert sizes.after["mass"].calibration != "null chains"
    assert sizes.global_p is not None
    assert "are of 200 dijets in the fit range, and here are" in sizes.global_p.note


def test_other_tests_on_the_same_data_count(searches: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(searches[0], out)
    histograms, config = Histograms.load(out / "search"), SearchConfig.from_text(TEXT)
    first = tnt.fit(histograms, config, out=out).global_p
    wide = SearchConfig.from_text(
        TEXT.replace("max_parameters: 3", "max_parameters: 3, width: 150")
    )
    second = tnt.fit(histograms, wide, out=out).global_p
    back = tnt.fit(histograms, config, out=out)
    assert first is not None
    assert second is not None
    assert back.global_p is not None
    # Two bump hunts; and ABCD, which found nothing, so that no p-value tells that it is the same.
    assert (first.other_tests, second.other_tests, back.global_p.other_tests) == (0, 3, 3)
    assert back.global_p.p_value == pytest.approx(min(1.0, first.p_best * (first.groups + 3)))
    assert "3 made beside it on these data" in back.summary()
    assert f"all {first.tests + 3} tests made on these data" in headline(back, config)[-1]
    stored = SearchResult.load(out / "fit").global_p
    assert stored is not None
    assert (stored.other_tests, stored.p_best) == (0, back.global_p.p_best)


@pytest.mark.slow
def test_a_useless_method_raises_the_global_p_value_of_an_excess(tmp_path: Path) -> None:
    sample = testing.make_sample(1600, signal_share=0.02, seed=0, pixels=12)
    found = {}
    for name, more in (("alone", ""), ("both", ", noise: {kind: random}")):
        text = TEXT.replace("{kind: feature}", "{kind: feature}" + more)
        config = SearchConfig.from_text(text.replace("fit: {", "fit: {scan: {toys: 200}, "))
        out = tmp_path / name
        histograms = tnt.search(sample, tnt.train(sample, config, out=out), config, out=out)
        found[name] = tnt.fit(histograms, config)
    # The excess is the same one: only what was tried beside it is more.
    assert found["alone"].after["mass"].q0 == found["both"].after["mass"].q0
    alone, both = (found[name].global_p for name in ("alone", "both"))
    assert alone is not None
    assert both is not None
    assert alone.p_value < 0.1
    assert both.p_value > alone.p_value


@pytest.mark.slow
def test_a_useless_method_raises_the_global_p_value(searches: list[Path], tmp_path: Path) -> None:
    sample = testing.make_sample(1600, signal_share=0.0, seed=0, pixels=12)
    methods = "{mass: {kind: feature}, noise: {kind: feature, feature: tau21}}"
    config = SearchConfig.from_text(
        TEXT.replace("{mass: {kind: feature}}", methods).replace(
            "fit: {", "fit: {scan: {toys: 200}, "
        )
    )
    histograms = tnt.search(sample, tnt.train(sample, config, out=tmp_path), config, out=tmp_path)
    found = {
        "alone": tnt.fit(Histograms.load(searches[0] / "search"), SearchConfig.from_text(TEXT)),
        "both": tnt.fit(histograms, config),
    }
    alone, both = found["alone"].global_p, found["both"].global_p
    assert found["alone"].after["mass"].q0 == found["both"].after["mass"].q0
    assert alone is not None
    assert both is not None
    assert both.tests > alone.tests
    assert alone.p_best <= both.p_best
    assert (both.p_value, both.groups) >= (alone.p_value, alone.groups)
    # A scan of the search takes null chains where they have all of its tests.
    q0 = {"before": (0.1,) * 9, "mass": (1.0,) * 9, "noise": (4.0,) + (0.0,) * 8}
    NullChains(q0).save(tmp_path / "null.json")
    by_chains = tnt.fit(histograms, with_chains(config, tmp_path / "null.json"))
    assert isinstance(by_chains.overall, stats.ScanResult)
    assert (by_chains.overall.experiments, by_chains.overall.toys) == ("null chains", 9)
    assert by_chains.global_p is not None
    assert by_chains.global_p.tests == both.tests
    # By null chains: one with a large q0 of the useless method alone reaches the data.
    chains = NullChains(q0)
    p = {}
    for names in (("before", "mass"), ("before", "mass", "noise")):
        maxima = chains.together(names)
        assert maxima is not None
        p[len(names)] = from_null_chains(3.0, maxima.max(axis=1).tolist()).p_value
    assert p == {2: pytest.approx(0.1), 3: pytest.approx(0.2)}


def test_a_table_that_cannot_be_read_is_refused_before_events_are(tmp_path: Path) -> None:
    table, events = tmp_path / "null.json", tmp_path / "events.h5"
    table.write_text("no JSON")
    events.write_text("no events")
    done = call("null-chains", events, "--preset", "quick", "--to", table)
    assert done.exit_code == 3
    assert f"error: {table}: no null chains can be read" in done.output
    assert table.read_text() == "no JSON"
    assert "[default: the package's]" in " ".join(call("null-chains", "--help").output.split())
