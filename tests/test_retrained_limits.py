"""Limits on a stated signal, with taggers trained anew at each of its strengths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import tnt_coffea as tnt
from tnt_coffea import pipeline, stats
from tnt_coffea.accounting import Accounting
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, FitError, InputError, LeakError, StageError
from tnt_coffea.events.sample import Sample
from tnt_coffea.pipeline.retrained_limits import limits_of_search
from tnt_coffea.pipeline.studies.events import joined
from tnt_coffea.products import Histograms, Skim
from tnt_coffea.reporting.retrained_figures import retrained_limit_plot
from tnt_coffea.stats import RetrainedStrength, RetrainedTest
from tnt_coffea.testing import make_sample

SETTINGS = """
data: {luminosity: 10}
skim:
  table:
    m_jj: m_jj
    heavy: {tau21: heavy_tau21}
    light: {tau21: light_tau21}
    label: label
    order: given
search: {efficiencies: [0.2], fit_range: {low: 2600, high: 7000}}
train:
  folds: {outer: 2}
  methods:
    low: {kind: feature, feature: tau21, descending: true}
    truth: {kind: supervised, classifier: {network: trees, trees: 2, features: [tau21]}}
fit:
  bump: {efficiency: 0.2, max_parameters: 3, spurious: false}
  abcd: {efficiency: 0.2}
  limit: {enabled: false, retrain: {strengths: [40, 160]}}
"""
TRAINED = Path("fit-retrained/m3500/trainings/40-0")
MACHINE = ("--executor", "iterative", "--quiet")


def settings(text: str = "{}") -> SearchConfig:
    return SearchConfig.from_text(text, rest=SearchConfig.from_text(SETTINGS))


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def skims(folder: Path, labels: int) -> tuple[Skim, Skim]:
    """Skim 1500 dijets of background, and 500 of a signal of 3500 GeV; labels are drawn."""
    random = np.random.default_rng(labels)
    (folder / "search.yaml").write_text(SETTINGS)
    given = {
        "out": make_sample(1500, signal_share=0.0, seed=4),
        "m3500": make_sample(500, signal_share=1.0, seed=5, kind="simulation"),
    }
    for name, sample in given.items():
        features = {f"{jet}_tau21": sample.columns[f"{jet}_tau21"] for jet in ("heavy", "light")}
        columns = {"m_jj": sample.m_jj, "label": random.integers(0, 2, len(sample)), **features}
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        config = ("--config", folder / "search.yaml", "--out", folder / name)
        assert call("skim", path, *MACHINE, *config).exit_code == 0
    return Skim.load(folder / "out" / "skim"), Skim.load(folder / "m3500" / "skim")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both skims, and the folder in which the command has set a limit."""
    folder = tmp_path_factory.mktemp("retrained")
    data, simulated = skims(folder, labels=1)
    figure, result = folder / "limit.png", folder / "limit.json"
    files = ("--plot", figure, "--json", result)
    signal = ("--out", folder / "out", "--signal", folder / "m3500")
    done = call("fit", "limit", "--retrain", *MACHINE, *signal, *files)
    assert done.exit_code == 0, done.output
    assert "CLs upper limit on m3500 by low" in done.output
    assert figure.stat().st_size > 10_000
    return data, simulated, folder / "out", json.loads(result.read_text())


@pytest.fixture(scope="module")
def data(made: Any) -> Sample:
    return made[0].sample()


@pytest.fixture(scope="module")
def simulated(made: Any) -> Sample:
    return made[1].sample()


def trainings(*given: Any, **options: Any) -> list[tuple[int, int]]:
    """How often a call trained."""
    calls: list[tuple[int, int]] = []
    pipeline.retrained_limit(*given, **options, progress=lambda *numbers: calls.append(numbers))
    return calls


def test_a_strength_is_tested_with_what_its_own_taggers_keep(made: Any) -> None:
    *_, out, values = made
    limit = stats.RetrainedLimit.from_dict(values)
    stored = json.loads((out / "fit-retrained" / "m3500" / "result.json").read_text())
    assert stored == {"low": values}  # references are trained with the truth
    small, large = limit.strengths
    assert (small.events, large.events) == (40, 160)
    assert small.observed > large.observed
    assert large.expected[0] < large.expected[2] < large.expected[4]
    for one in limit.strengths:
        test = one.tests[0]
        # The folder of each training has the spectrum that was tested: that of the data alone.
        place = out / "fit-retrained" / "m3500" / "trainings" / f"{one.events:g}-0"
        histograms = Histograms.load(place)
        assert histograms.accounting.selected == 1500
        point = histograms.points["low"][0.2]
        kept = histograms.signals["low"].templates("m3500", point).values()
        assert test.efficiency == pytest.approx(sum(own.total for own in kept), abs=0.01)
        assert test.selected == pytest.approx(one.events * test.efficiency, rel=0.02)
        note = json.loads((place / "training.json").read_text())
        assert note["produced"] == 500 - note["injected"] == 500 - test.injected
    assert "efficiency" in limit.summary()
    assert retrained_limit_plot(limit).data["kind"] == "retrained_limit"


def test_a_call_that_was_cut_goes_on_and_truth_changes_no_byte(made: Any, tmp_path: Path) -> None:
    class CutError(Exception):
        pass

    def cut(done: int, _: int) -> None:
        if done:
            raise CutError

    given = skims(tmp_path, labels=2)
    own: Any = {"name": "m3500", "out": tmp_path / "out"}
    with pytest.raises(CutError):
        pipeline.retrained_limit(*given, settings(), **own, progress=cut)
    for name in ("histograms.h5", "signals.h5", "training.json"):
        assert (tmp_path / "out" / TRAINED / name).read_bytes() == (
            made[2] / TRAINED / name
        ).read_bytes()
    # What is there is not trained again.
    alone = settings("fit: {limit: {retrain: {strengths: [40]}}}")
    assert trainings(*given, alone, **own) == []
    assert pipeline.retraining_costs(*given, settings(), **own).finished == 1


def test_fits_are_made_again_without_training_and_strengths_are_added(made: Any) -> None:
    given: Any = {"name": "m3500", "out": made[2]}
    # As the command did.
    assert trainings(*made[:2], settings(), **given) == []
    text = "fit: {limit: {level: 0.9, retrain: {strengths: [40, 200]}}}"
    assert trainings(*made[:2], settings(text), **given) == [(1, 2)]
    found = pipeline.retrained_limit(*made[:2], settings(text), **given)["low"]
    assert found.level == 0.9
    assert found.strengths[0].to_dict() == made[3]["strengths"][0]
    # The larger injection of one number holds the smaller.
    assert found.strengths[1].tests[0].injected > made[3]["strengths"][1]["tests"][0]["injected"]


@pytest.mark.parametrize(
    ("text", "error", "cause"),
    [
        ("fit: {limit: {retrain: {strengths: []}}}", ConfigError, "strengths to test"),
        ("fit: {limit: {retrain: {strengths: [50, 20]}}}", ConfigError, "must rise"),
        ("fit: {limit: {retrain: {strengths: [0, 20]}}}", ConfigError, "strengths"),
        ("fit: {limit: {retrain: {cross_sections: [2]}}}", ConfigError, "not both"),
        ("fit: {blind: true}", ConfigError, "would show the events in the window"),
        ("search: {window: {low: 5300, high: 5700}}", InputError, "0 dijets within 360 GeV"),
        ("fit: {limit: {retrain: {strengths: [400]}}}", InputError, "at least as many must be"),
    ],
)
def test_what_cannot_be_limited_is_refused_before_a_training(
    text: str, error: type[Exception], cause: str, data: Sample, simulated: Sample, tmp_path: Path
) -> None:
    with pytest.raises(error, match=cause):
        pipeline.retrained_limit(data, simulated, settings(text), out=tmp_path / "out")
    assert not list(tmp_path.rglob("fit-retrained*"))


def test_a_signal_that_suits_no_limit_is_refused_before_a_training(
    data: Sample, simulated: Sample, tmp_path: Path
) -> None:
    def refused(match: str, error: type[Exception], source: Any, signal: Any, **more: Any) -> None:
        with pytest.raises(error, match=match):
            pipeline.retrained_limit(source, signal, settings(), out=tmp_path, **more)

    among = joined(data, simulated.select(np.arange(3)))
    refused("3 of its 500 dijets are also data", LeakError, among, simulated)
    prior = Skim.from_sample(data, priors={"m3500": simulated})
    refused("500 of its 500 dijets are also prior:m3500", LeakError, prior, simulated)
    weighted = replace(simulated, weight=np.linspace(0.5, 1.5, 500))
    refused("weights differ, from 0.5 to 1.5", InputError, data, weighted)
    refused("holds no signal 'm4000', only none", ConfigError, data, "m4000")
    refused(
        "skimmed with another skim.constituents", InputError, data, make_sample(9, constituents=5)
    )
    refused("set is called 'tnt', only low", ConfigError, data, simulated, tagger_set="tnt")
    assert not list(tmp_path.rglob("fit-retrained*"))


def test_trainings_of_other_settings_are_refused(
    made: Any, data: Sample, simulated: Sample
) -> None:
    given: Any = {"name": "m3500", "out": made[2]}
    with pytest.raises(StageError, match=r"of another configuration .*seed: 1 there, 2 now"):
        pipeline.retrained_limit(data, simulated, settings("seed: 2"), **given)
    with pytest.raises(StageError, match=r"signal\.produced: 500 there, 400 now"):
        pipeline.retraining_costs(data, simulated.select(np.arange(400)), settings(), **given)


def test_a_signal_of_the_searchs_own_skim_counts_what_was_produced(
    data: Sample, simulated: Sample, tmp_path: Path
) -> None:
    skim = Skim.from_sample(data, signals={"m3500": simulated})
    produced = Accounting(2000, 500, {"not a dijet": 1500})
    of_signal = replace(skim, accounts={**skim.accounts, "signal:m3500": produced})
    config = settings("fit: {limit: {retrain: {strengths: [1800]}}}")
    with pytest.raises(InputError, match="500 dijets of 2000 produced events, and 1800 produced"):
        pipeline.retraining_costs(of_signal, "m3500", config, out=tmp_path)
    # They are not among the data that are searched.
    assert pipeline.retraining_costs(skim, "m3500", settings(), out=tmp_path).trainings == 2


def strengths_of(*cls: float) -> list[RetrainedStrength]:
    bands = (0.001, 0.01, 0.04, 0.2, 0.5)
    return [
        RetrainedStrength(
            100.0 * (k + 1), (RetrainedTest(9, 0.2, 0.01, 20.0, one, bands, "asymptotic", True),)
        )
        for k, one in enumerate(cls)
    ]


ABOUT: Any = {"signal": "m", "tagger_set": "t", "selection": 0.1, "mass": 3500, "width": 120}


def test_the_limit_is_where_all_larger_strengths_are_excluded() -> None:
    found = stats.retrained_limit(strengths_of(0.5, 0.005), **ABOUT)
    assert found.observed == pytest.approx(150)
    assert found.expected[2] == 100
    assert found.expected[3] is None
    # One that is excluded by chance excludes no larger one.
    found = stats.retrained_limit(strengths_of(0.5, 0.001, 0.05001, 0.0005), **ABOUT)
    assert found.observed is not None
    assert 300 < found.observed < 310
    assert any("does not fall with the strength: 200 events" in note for note in found.notes)
    found = stats.retrained_limit(strengths_of(0.5, 0.3), **ABOUT)
    assert found.observed is None
    assert "> 200 produced signal events" in found.summary()
    assert any("the largest strength, 200 events, is not excluded" in n for n in found.notes)
    found = stats.retrained_limit(strengths_of(0.01, 0.001), **ABOUT)
    assert found.observed == 100
    assert any("the least strength, 100 events, is excluded" in note for note in found.notes)
    with pytest.raises(FitError, match="strengths must rise"):
        stats.retrained_limit(strengths_of(0.01, 0.001)[::-1], **ABOUT)


@pytest.mark.parametrize(
    ("events", "rel"), [(5000, 0.003), pytest.param(40, 0.25, marks=pytest.mark.slow)]
)
def test_cls_at_the_upper_limit_of_the_same_spectrum_is_its_level(events: int, rel: float) -> None:
    edges = np.arange(2600.0, 7001, 40)
    spectrum = stats.toy_spectrum(events)
    from tnt_coffea.stats.signals import gaussian

    template = stats.SignalTemplate(edges, 0.2 * gaussian(edges, 3500, 120), np.zeros(110))
    templates = stats.MassTemplates({3500.0: {"all": template}})
    fit = stats.SpectrumFit(
        (2600, 7000), bin_width=40, templates=templates, spurious=False, max_parameters=3
    )
    about: Any = {"mass": 3500, "width": 120, "fit": fit, "seed": 3}
    limit = stats.upper_limit(spectrum, **about, cross_check=False)
    strength = limit.observed / 0.2
    test = stats.strength_test(spectrum, events=strength, efficiency=0.2, **about)
    assert test.calibration == limit.calibration == ("asymptotic" if events > 99 else "toys")
    assert test.observed == pytest.approx(0.05, rel=rel)
    assert test.expected[0] < test.expected[2] < test.expected[4]


def test_the_command_says_what_it_costs_and_what_does_not_go_together(made: Any) -> None:
    out = made[2]
    signal = out.parent / "m3500"
    retrain = ("fit", "limit", "--retrain", *MACHINE, "--out", out, "--signal", signal)
    dry = call(*retrain, "--cross-sections", "6,16", "--injections", 2, "--dry-run")
    assert "4 trainings, one for each strength and injection, 1 of them finished" in dry.output
    searched = replace(Histograms.load(out / TRAINED), provenance={"skim": made[0].content})
    assert [one.signal for one in limits_of_search(out, searched, settings())] == ["m3500"]
    assert limits_of_search(out, searched, settings("seed: 3")) == ()
    assert limits_of_search(out, replace(searched, provenance={}), settings()) == ()
    for words, cause in (
        (("fit", "limit", "--retrain", "--out", out), "give --signal FOLDER or NAME"),
        ((*retrain, "--mass", 3400), "--mass does not go with --retrain"),
        (("fit", "limit", "--signal", signal, out / "search"), "--signal goes with --retrain"),
        (("fit", "limit"), "Missing argument HISTOGRAM"),
        (("fit", "limit", "-q"), "Missing argument HISTOGRAM"),
        ((*retrain, "--strengths", "5,x"), "numbers with commas"),
        ((*retrain, "--strengths", "50,20"), "must rise"),
        ((*retrain, "--plot", out / "none" / "a.png"), "no folder"),
    ):
        assert cause in " ".join(call(*words).output.split()), words


LEARNING = """
search: {efficiencies: [0.1], fit_range: {low: 2600, high: 7000}}
train:
  folds: {outer: 2}
  methods:
    cwola: {kind: cwola, classifier: {network: trees, trees: 15, features: [tau21]}}
fit:
  bump: {efficiency: 0.1, max_parameters: 3, spurious: false}
  abcd: {efficiency: 0.1}
  limit: {enabled: false, toys: 0}
"""


def with_signal(events: int, seed: int) -> Sample:
    """Background, and signal events in it that taggers can learn from."""
    background = make_sample(2500, signal_share=0.0, seed=seed, kind="background")
    number = int(np.random.default_rng(seed).poisson(events))
    if not number:
        return background
    return joined(background, make_sample(number, signal_share=1.0, seed=seed, kind="true"))


@pytest.mark.slow
def test_a_signal_that_is_there_is_not_excluded(tmp_path: Path) -> None:
    simulated = make_sample(1000, signal_share=1.0, seed=1, kind="simulation")
    there, pseudo_data = 20, 40
    grid = f"fit: {{limit: {{retrain: {{strengths: [{there}]}}}}}}"
    config = SearchConfig.from_text(grid, rest=SearchConfig.from_text(LEARNING))
    excluded, learned = 0, []
    for seed in range(pseudo_data):
        out = tmp_path / str(seed)
        found = pipeline.retrained_limit(with_signal(there, seed), simulated, config, out=out)
        strength = found["cwola"].strengths[0]
        excluded += strength.observed < 0.05
        learned.append(strength.efficiency)
    # 5 % of 40 are 2; more than 5 have a probability of 1.4 %.
    assert excluded <= 5
    # They have learned, or the test would say little.
    assert np.median(learned) > 0.2


@pytest.mark.slow
def test_background_alone_excludes_a_signal_that_is_not_there_and_reports_it(
    tmp_path: Path,
) -> None:
    simulated = make_sample(1000, signal_share=1.0, seed=1, kind="simulation")
    grid = "fit: {limit: {retrain: {strengths: [8, 60], injections: 2}}}"
    config = SearchConfig.from_text(grid, rest=SearchConfig.from_text(LEARNING))
    data = with_signal(0, seed=3)
    histograms = tnt.search(data, tnt.train(data, config, out=tmp_path), config, out=tmp_path)
    limit = pipeline.retrained_limit(data, simulated, config, out=tmp_path)["cwola"]
    assert limit.observed is not None
    assert limit.observed < 60
    # More signal trains taggers that keep more of it.
    assert limit.strengths[-1].efficiency > limit.strengths[0].efficiency
    result = tnt.fit(histograms, config, out=tmp_path)
    path, _ = pipeline.report_once(result, config, histograms, out=tmp_path)
    assert "retrained limit" in (tmp_path / "fits.json").read_text()
    assert "Limit on signal with retraining: cwola" in path.read_text()
