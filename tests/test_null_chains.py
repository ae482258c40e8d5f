"""p-values from whole searches of background, and searches of control events."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import tnt_coffea as tnt
from tnt_coffea import pipeline, testing
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.skim import write_part
from tnt_coffea.pipeline import NullChains
from tnt_coffea.products import Histograms, Taggers
from tnt_coffea.reporting.wording import headline
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_trials

# A wide selection and few parameters: no toys are thrown, and functions do not compete.
TEXT = (
    "{search: {efficiencies: [0.3]}, train: {methods: {mass: {kind: feature}}}, fit: {bump: "
    "{efficiency: 0.3, max_parameters: 3}, abcd: {efficiency: 0.3}, limit: {enabled: false}}}"
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
        ({"q0": {"mass": [1.0, -0.5]}}, InputError, "greater than or equal to 0, got -0.5"),
        ({"q0": {"mass": []}}, InputError, "at least 1 item"),
        ({"q0": {"mass": [True]}}, InputError, "valid number, got True"),
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
