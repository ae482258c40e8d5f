"""Scores of single events, and what they say of a signal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import tnt_coffea as tnt
from tnt_coffea import stats, testing
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.skim import write_part
from tnt_coffea.pipeline import Efficiency, SignalEfficiencies
from tnt_coffea.products import Taggers
from tnt_coffea.taggers import TaggerSet

EFFICIENCIES = (0.3, 0.2)
CONFIG = SearchConfig.from_text(
    """
    skim: {images: null}
    search: {efficiencies: [0.3, 0.2]}
    fit: {bump: {efficiency: 0.2}, abcd: {efficiency: 0.3}}
    """
)
CONFIG = CONFIG.model_copy(update={"skim": testing.make_sample(1).settings})


@pytest.fixture(scope="module")
def sample() -> tnt.Sample:
    return testing.make_sample(1200, signal_share=0.0)


@pytest.fixture(scope="module")
def two_sets(feature_taggers: Callable[..., TaggerSet], sample: tnt.Sample) -> Taggers:
    sets = {
        name: feature_taggers(CONFIG.skim, inputs, name).calibrated(
            sample, CONFIG.search.fit_range, EFFICIENCIES
        )
        for name, inputs in {"sum": ("mass", "tau21"), "mass": ("mass",)}.items()
    }
    return Taggers(sets, {})


def columns_of(table: Any) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in table.column_names}


def test_scores_fill_the_histograms_of_the_search(
    two_sets: Taggers, sample: tnt.Sample, tmp_path: Path
) -> None:
    resources = tnt.Resources(chunk_size=700)
    columns = columns_of(tnt.score(sample, two_sets, CONFIG, resources=resources))
    histograms = tnt.search(sample, two_sets, CONFIG, out=tmp_path)
    assert np.array_equal(columns["event_id"], np.sort(sample.event_id))
    for name, filled in histograms.hists.items():
        again = filled.copy().reset()
        again.fill(
            dataset=columns["dataset"],
            fold=columns["fold"],
            m_jj=columns["m_jj"],
            q_heavy=columns[f"{name}_q_heavy"],
            q_light=columns[f"{name}_q_light"],
            weight=columns["weight"],
        )
        assert np.array_equal(again.view(flow=True), filled.view(flow=True)), name
    assert "label" not in columns
    labelled = tnt.score(sample, two_sets, CONFIG, truth=True)
    assert set(labelled["label"].to_pylist()) == {0}


def test_efficiencies_are_those_of_the_selected_spectra(two_sets: Taggers, tmp_path: Path) -> None:
    # Like the background, so that the efficiencies are about the shares asked for.
    signal = testing.make_sample(400, signal_share=0.0, kind="signal")
    signal = replace(signal, label=np.full(400, -1, np.int8))
    found = tnt.efficiency(signal, two_sets, CONFIG)
    histograms = tnt.search(signal, two_sets, CONFIG, out=tmp_path)
    low, high = (complex(0, edge) for edge in CONFIG.search.fit_range.edges)
    for name, efficiencies in found.sets.items():
        assert [each.selection for each in efficiencies] == list(EFFICIENCIES)
        for each in efficiencies:
            spectra = stats.selected_spectrum(
                histograms.hists[name], histograms.points[name][each.selection]
            )
            selected = sum(h[low:high].sum().value for h in spectra.values())
            assert (each.passed, each.events) == (selected, 400)
            assert each.value == pytest.approx(each.selection, abs=0.1)
            assert each.error == pytest.approx((each.value * (1 - each.value) / 400) ** 0.5)
    inclusive = stats.inclusive_spectrum(histograms.hists["sum"])
    assert found.before.passed == inclusive[low:high].sum().value
    assert found.at("sum", 0.3).value > found.at("sum", 0.2).value


@pytest.fixture(scope="module")
def chain(two_sets: Taggers, sample: tnt.Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's folder with taggers and settings, and files of numbered events beside it."""
    out = tmp_path_factory.mktemp("chain")
    two_sets.save(out / "train")
    tnt.search(sample, two_sets, CONFIG, out=out)
    return out


def call(*words: object) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_efficiency_of_a_file_becomes_a_limit_on_the_model(
    chain: Path, two_sets: Taggers, olympics: Path, tmp_path: Path
) -> None:
    # Of the file's forty dijets the first ten have no jet at all.
    with h5py.File(olympics, "r+") as file:
        rows = file["events"][:]
        rows[:, 2100], rows[:10, :2100] = 1, 0
        rows[:, :2100:3] *= 2.2
        file["events"][:] = rows
    to = tmp_path / "signal.json"
    words = ("--out", chain, "--to", to, "--executor", "iterative", "-q", "--luminosity", 26.8)
    shown = call("efficiency", olympics, *words)
    written = json.loads(to.read_text())
    assert written["before"]["events"] == 40
    assert written["before"]["passed"] <= 30
    assert f"({written['before']['passed']} of 40)" in shown
    config = SearchConfig.from_yaml(to.with_suffix(".yaml"))
    limit = config.fit.limit
    assert config.data.luminosity == 26.8
    wanted = {
        name: each["efficiency"]
        for name, found in written["sets"].items()
        for each in found
        if each["selection"] == 0.2 and each["passed"]
    }
    assert limit.efficiencies == {"before": written["before"]["efficiency"], **wanted}
    assert config.search == CONFIG.search


def test_score_writes_the_numbers_of_the_experiment(
    chain: Path, two_sets: Taggers, sample: tnt.Sample
) -> None:
    few = sample.select(np.arange(50))
    numbers = {name: np.arange(50, dtype=np.uint64) for name in ("run", "luminosityBlock", "event")}
    part = chain / "numbered.parquet"
    write_part(part, replace(few, numbers=numbers))
    shown = call("score", part, "--out", chain, "--executor", "iterative", "-q")
    assert "50 dijets, 0 events lost" in shown
    table = pq.read_table(chain / "scores.parquet")
    assert table.column_names == [
        "dataset",
        "run",
        "luminosityBlock",
        "event",
        "event_id",
        "weight",
        "m_jj",
        "fold",
        "mass_q_heavy",
        "mass_q_light",
        "sum_q_heavy",
        "sum_q_light",
    ]
    assert table["event"].to_pylist() == list(range(50))
    made_by = json.loads(table.schema.metadata[b"tnt_coffea.scores"])
    assert made_by["taggers"] == {name: each.digest for name, each in two_sets.sets.items()}


def test_what_no_efficiency_can_be_of_is_refused(two_sets: Taggers) -> None:
    mixed = testing.make_sample(40, signal_share=0.5)
    with pytest.raises(InputError, match="of 40 dijets are labelled background"):
        tnt.efficiency(mixed, two_sets, CONFIG)
    signal = testing.make_sample(40, signal_share=1.0)
    with pytest.raises(InputError, match="the weights differ, from 0 to 39"):
        tnt.efficiency(replace(signal, weight=np.arange(40.0)), two_sets, CONFIG)
    none = SignalEfficiencies(Efficiency("before", 0, 9), {"sum": (Efficiency(0.2, 0, 9),)})
    with pytest.raises(ConfigError, match="needs the luminosity"):
        none.settings(CONFIG)
    with pytest.raises(ConfigError, match="none of 9 signal events is in the fit range"):
        none.settings(CONFIG, 1.0)
    with pytest.raises(ConfigError, match=r"no selection 0\.5 of a tagger set 'sum'.*only 0\.2"):
        none.at("sum", 0.5)
