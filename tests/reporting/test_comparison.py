from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.reporting import compare, comparison_plots, comparison_table, evaluate
from tnt_coffea.reporting.comparison import band, baselines
from tnt_coffea.reporting.evaluation import sculpting
from tnt_coffea.reporting.figures_of_merit import passing
from tnt_coffea.taggers import Ranks

WINDOW, FIT_RANGE = MassRange(low=3300, high=3700), MassRange(low=2600, high=7000)


def of(search, names=("tnt", "autoencoder")):
    ranks = {name: {"seed 1": search.ranks[name]} for name in names}
    return compare(search.sample, ranks, WINDOW, FIT_RANGE, truth=("tnt",))


def test_figures_are_those_of_the_evaluation(search):
    found = of(search).methods["tnt"]["seed 1"]
    evaluated = evaluate(search.sample, search.ranks, search.points, WINDOW, FIT_RANGE)
    evaluation = evaluated.sets["tnt"]
    m_jj, label = search.sample.m_jj, search.sample.label
    inside_background = ((m_jj >= 3300) & (m_jj < 3700) & (label == 0)).sum() + 1e-6
    for jet in ("heavy", "light", "both", "both_in_window"):
        assert found.rocs[jet] == evaluation.rocs[jet]
    improvements = {i.efficiency: i for i in found.improvements}
    assert improvements[1.0].value == pytest.approx(1)
    assert improvements[0.05].value > improvements[0.1].value > 1
    # Less than ten background events in the window are left.
    assert improvements[0.01].value is None
    assert found.max_sic == evaluation.max_sic
    assert found.max_sic.value >= improvements[0.05].value
    assert found.max_sic.efficiency * inside_background >= 25
    assert found.numbers()["max_sic"] == found.max_sic.value
    assert evaluation.sic_at_tight.value is None


def test_improvement_counts_signal_and_background_in_the_window(search):
    sample, ranks = search.sample, search.ranks["tnt"]
    inside = (sample.m_jj >= 3300) & (sample.m_jj < 3700)
    signal, both = sample.label > 0, ranks.both
    background = np.sort(both[inside & ~signal])
    cut = background[len(background) - round(0.1 * len(background))]
    eps = [(both[inside & kind] >= cut).mean() for kind in (signal, ~signal)]
    found = of(search).methods["tnt"]["seed 1"].improvements[1]
    assert found.efficiency == 0.1
    assert found.value == pytest.approx(eps[0] / np.sqrt(eps[1]))


def test_scores_drawn_apart_are_independent_and_copied_ones_are_not(search):
    found = of(search).methods["tnt"]["seed 1"].dependence
    assert abs(found.pearson) < 0.05
    assert abs(found.tail - 1) < 4 * found.tail_uncertainty
    ranks = search.ranks["tnt"]
    nearly = Ranks(ranks.fold, ranks.heavy, np.clip(ranks.heavy + 1e-4, 0, 1 - 1e-9))
    copied = compare(search.sample, {"x": {"1": nearly}}, WINDOW, FIT_RANGE)
    dependence = copied.methods["x"]["1"].dependence
    assert min(dependence.pearson, dependence.spearman, dependence.distance) > 0.99
    assert dependence.tail == pytest.approx(10, rel=0.02)


def test_one_score_an_event_has_no_correlation(search):
    ranks = search.ranks["tnt"]
    both = Ranks(ranks.fold, ranks.heavy, ranks.heavy)
    found = compare(search.sample, {"x": {"1": both}}, WINDOW, FIT_RANGE).methods["x"]["1"]
    assert found.dependence is None
    assert "pearson" not in found.numbers()


def test_sculpting_is_seen_and_a_fair_cut_is_not():
    rng = np.random.default_rng(1)
    m_jj = 2600 + rng.exponential(600, 20_000)
    fair = sculpting(0.05, rng.random(20_000), m_jj)
    assert fair.p_value > 0.001
    assert fair.dof == 9
    assert np.allclose(fair.ratio, 1, atol=5 * max(fair.uncertainty))
    bent = sculpting(0.05, m_jj + rng.normal(0, 300, 20_000), m_jj)
    assert bent.p_value < 1e-6
    assert bent.ratio[-1] > 5 > 1 > bent.ratio[0]


def test_p_values_of_fair_cuts_are_flat():
    rng = np.random.default_rng(2)
    p = [sculpting(0.1, rng.random(2000), rng.random(2000)).p_value for _ in range(400)]
    # Within three binomial standard deviations.
    assert abs(np.mean(np.array(p) < 0.1) - 0.1) < 0.045


def test_a_cut_keeps_its_share_and_ties_with_it():
    assert passing(np.arange(10.0), 0.3)(np.arange(10.0)).sum() == 3
    assert passing(np.array([1.0, 1.0, 1.0, 0.0]), 0.25)(np.array([1.0, 0.0])).tolist() == [
        True,
        False,
    ]
    assert passing(np.arange(10.0), 1)(np.array([-5.0])).all()


def test_trainings_of_a_method_give_a_band(search):
    rng = np.random.default_rng(3)
    trainings = {}
    for seed in range(5):
        quantile = np.clip(search.ranks["tnt"].heavy + rng.normal(0, 0.1, len(search.sample)), 0, 1)
        trainings[str(seed)] = replace(search.ranks["tnt"], heavy=quantile)
    found = compare(search.sample, {"tnt": trainings}, WINDOW, FIT_RANGE)
    aucs = [figures.rocs["heavy"].auc for figures in found.methods["tnt"].values()]
    heavy = found.bands("tnt")["auc_heavy"]
    assert (heavy.seeds, heavy.median) == (5, np.median(aucs))
    assert min(aucs) < heavy.low < heavy.median < heavy.high < max(aucs)
    assert band([2.0]).low == band([2.0]).high == 2.0


def test_single_features_stand_beside_the_methods(search):
    found = of(search)
    assert list(found.baselines) == ["m_jj", "heavy mass", "low tau21"]
    sample = search.sample
    inside = (sample.m_jj >= 3300) & (sample.m_jj < 3700)
    low = -(sample.columns["heavy_tau21"] + sample.columns["light_tau21"])[inside]
    signal = sample.label[inside] > 0
    passed = low >= np.sort(low[~signal])[-round(0.1 * (~signal).sum())]
    expected = passed[signal].mean() / np.sqrt(passed[~signal].mean())
    at_10_percent = found.baselines["low tau21"].improvements[1]
    assert at_10_percent.value == pytest.approx(expected)
    columns = {k: v for k, v in sample.columns.items() if k != "heavy_tau21"}
    assert list(baselines(replace(sample, columns=columns))) == ["m_jj", "heavy mass"]


def test_a_method_that_loses_all_signal_has_an_improvement_of_zero(search):
    quantile = np.where(search.sample.label > 0, 0.001, 0.5 + search.ranks["tnt"].heavy / 2.1)
    ranks = replace(search.ranks["tnt"], heavy=quantile, light=quantile)
    found = compare(search.sample, {"x": {"1": ranks}}, WINDOW, FIT_RANGE)
    at_10_percent = found.methods["x"]["1"].improvements[1]
    assert at_10_percent.value == 0
    assert 0 < at_10_percent.uncertainty < 1
    assert found.no_better() == ("x",)


def test_a_method_that_is_a_feature_does_not_beat_it(search):
    feature = baselines(search.sample)["low tau21"]
    better = np.where(search.sample.label > 0, 0.9 + feature.heavy / 10, 0.9 * feature.heavy)
    ranks = {
        "copy": {"1": feature},
        "lot": {"1": replace(feature, heavy=1 - feature.heavy, light=1 - feature.heavy)},
        "truth": {"1": replace(feature, heavy=better, light=better)},
    }
    found = compare(search.sample, ranks, WINDOW, FIT_RANGE)
    assert found.no_better() == ("copy", "lot")
    assert found.to_dict()["no_better_than_a_feature"] == ["copy", "lot"]


def test_what_cannot_be_compared_is_refused(search):
    ranks = {"tnt": {"1": search.ranks["tnt"]}}
    unknown = replace(search.sample, label=np.full(len(search.sample), -1, np.int8))
    with pytest.raises(TaggerError, match="no labels"):
        compare(unknown, ranks, WINDOW, FIT_RANGE)
    background = replace(search.sample, label=np.zeros(len(search.sample), np.int8))
    with pytest.raises(TaggerError, match="lacks signal"):
        compare(background, ranks, WINDOW, FIT_RANGE)
    with pytest.raises(TaggerError, match="tnt, 1: the ranks are not those"):
        compare(search.sample.select(slice(1, None)), ranks, WINDOW, FIT_RANGE)


def test_table_says_what_methods_know_beside_the_data(search, tmp_path):
    from rich.console import Console

    plain = of(search)
    informed = replace(plain, knowledge={"tnt": "signal simulation"})
    assert set(plain.to_dict()["knowledge"].values()) == {"none"}
    assert informed.to_dict()["knowledge"]["tnt"] == "signal simulation"
    for comparison, words in ((plain, "none"), (informed, "signal simulation")):
        with (tmp_path / "table").open("w") as file:
            Console(file=file, width=80).print(comparison_table(comparison))
        lines = (tmp_path / "table").read_text().splitlines()
        assert any(line.lstrip().startswith("tnt") and words in line for line in lines)
        assert any(line.lstrip().startswith("autoencoder") and "none" in line for line in lines)


@pytest.mark.slow
def test_table_and_plots_say_what_used_the_truth(search, tmp_path):
    from rich.console import Console

    found = of(search)
    with (tmp_path / "table").open("w") as file:
        Console(file=file, width=80).print(comparison_table(found))
    text = (tmp_path / "table").read_text()
    own = found.methods["tnt"]["seed 1"]
    assert f"{own.rocs['both'].auc:.3f}" in text
    rows = [line.split() for line in text.splitlines() if line.lstrip().startswith("tnt")]
    at_10, at_1, at_01, largest = rows[1][-4:]
    assert at_10 == f"{own.improvements[1].value:.2f}"
    assert (at_1, at_01) == ("-", "-")  # too few background events are left
    assert largest == f"{own.max_sic.value:.2f}"
    assert "*" in next(line for line in text.splitlines() if "tnt" in line)
    plots = comparison_plots(found)
    assert [plot.name for plot in plots] == [
        "comparison-roc",
        "comparison-improvement",
        "comparison-sculpting",
    ]
    for plot in plots:
        for path in plot.save(tmp_path):
            assert path.stat().st_size > 0
        assert set(json.loads(path.read_text())) == {"tnt", "autoencoder"}
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["truth"] == ["tnt"]
