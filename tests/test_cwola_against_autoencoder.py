"""CWoLa against an autoencoder: verdicts on made-up numbers, and what the study is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import Verdict
from tnt_coffea.pipeline.studies.experiments import cwola_against_autoencoder as study
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, crossing, together


def papers(method: str, share: float) -> dict[str, float]:
    """Return what the paper says of a method: AUC, improvement at its cut, Z."""
    cwola = {"auc": 0.5 + 0.47 * min(share / 4e-3, 1), "sic": 6 * (share / 5e-3) ** 2}
    error = {"auc": 0.83, "sic": 2.4}
    found = cwola if method == "cwola" else error
    if method == "norm":
        found = error | {"auc": 0.8}
    return found | {"z": found["sic"] * share * math.sqrt(128_000) + 0.5 * (share == 0)}


def numbers_of(said: Callable[[str, float], dict[str, float]] = papers) -> Found:
    """Return a study's numbers of three repetitions of each block."""

    def figures(one: dict[str, float], shift: float) -> dict:
        auc, sic = one["auc"] + 0.002 * shift, one["sic"] + 0.02 * shift
        curve = [sic] * len(EFFICIENCIES)
        areas = {"auc": auc, "auc_fit": auc, "auc_heavy": auc - 0.1, "auc_light": auc}
        sics = dict.fromkeys(("max_sic", "sic_0.01", "sic_0.001"), sic)
        cuts = {name: {"sic": sic, "eps_s": 0.2} for name in ("0.003", "autoencoder")}
        return {**areas, **sics, "improvement": curve, "rejection": curve, "selections": cuts}

    def repetition(block, shift: float) -> dict:
        share = 0.0 if block.injection is None else block.injection.significance / 357.77
        methods = {name: said(name, share) for name in block.methods}
        hunted = {
            name: {key: {"z": one["z"] + 0.1 * shift} for key in ("0.003", "autoencoder")}
            for name, one in methods.items()
        }
        hunted = {"before": {"z": 0.3, "pull": 0.3}, "methods": hunted}
        measured = {"heavy": 0.999, "light": 0.998}
        methods["heavy mass"] = {"auc": 0.7, "sic": 2.0}
        tested = {"signal": {name: figures(one, shift) for name, one in methods.items()}}
        return {
            "signal": 100,
            "background": 9000,
            "tested": tested,
            "hunted": hunted,
            "measured": measured,
        }

    blocks = {
        block.name: together([repetition(block, shift) for shift in (-1.0, 0.0, 1.0)])
        for block in study.EXPERIMENT.blocks
    }
    return Found({"efficiencies": list(EFFICIENCIES), "blocks": blocks})


def said(**changed: dict[str, float]) -> Callable[[str, float], dict[str, float]]:
    def found(method: str, share: float) -> dict[str, float]:
        known = {"supervised": {"auc": 0.98, "sic": 9.0, "z": 9.0}, **changed}
        own = "long" if method == "long-autoencoder" else method
        return papers(method, share) | known.get(own, {})

    return found


def test_claims_hold_where_the_numbers_are_the_papers() -> None:
    claims = study.EXPERIMENT.claims(numbers_of(said()))
    assert [one.id for one in claims if one.verdict is not Verdict.CONFIRMED] == []
    crossed = next(one for one in claims if one.id == "crossing")
    assert crossed.ours.startswith("0.0032 (68 %: 0.0032 to 0.0032; 100% of bootstrap")


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({"cwola": {"sic": 0.5}}, {"crossing", "cwola-gains"}),
        ({"cwola": {"auc": 0.6}}, {"cwola-separates"}),
        ({"supervised": {"auc": 0.9}}, {"supervised"}),
        ({"autoencoder": {"sic": 1.5}}, {"autoencoder-gains"}),
        ({"autoencoder": {"sic": 0.0}}, {"autoencoder-gains", "crossing"}),
        ({"autoencoder": {"auc": 0.75}}, {"autoencoder-learns"}),
        ({"norm": {"z": 3.0}}, {"null"}),
    ],
)
def test_claims_fall_with_the_numbers_that_they_are_about(changed, refuted) -> None:
    claims = study.EXPERIMENT.claims(numbers_of(said(**changed)))
    assert {one.id for one in claims if one.verdict is Verdict.REFUTED} == refuted


def test_a_crossing_is_where_differences_stay_positive() -> None:
    x = [1.0, 2.0, 3.0, 4.0]
    assert crossing([[-1.0], [1.0], [-1.0], [3.0]], x)[0] == 3.25
    assert crossing([[1.0]] * 4, x) == (0.0, 0.0, 0.0, 0.0)
    assert crossing([[-1.0]] * 4, x) == (math.inf, math.inf, math.inf, 0.0)
    # Its interval is that of the mean of the repetitions.
    rng = np.random.default_rng(1)
    spread = [(place - 2.5 + rng.normal(0, 0.4, 50)).tolist() for place in x]
    found, low, high, share = crossing(spread, x)
    assert low < found < high
    assert found == pytest.approx(2.5, abs=0.2)
    assert high - low == pytest.approx(2 * 0.4 / math.sqrt(50) / math.sqrt(2), rel=0.5)
    assert share == 1


def test_figures_tables_and_notes_are_drawn_of_the_numbers() -> None:
    found = numbers_of(said())
    plots = study.EXPERIMENT.plots(found)
    assert [plot.name for plot in plots] == ["signal-scan", "curves"]
    assert all(plot.figure.axes for plot in plots)
    tables = study.EXPERIMENT.tables(found)
    assert len(tables[0].rows) == 1 + len(study.SHARES)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert any("SIC 0.0032 (0.0032 to 0.0032)" in note for note in study.EXPERIMENT.notes(found))


def test_the_window_is_three_of_15_logarithmic_bins() -> None:
    edges = np.array(study._EDGES)
    np.testing.assert_allclose(edges[1:] / edges[:-1], 1.0421, atol=1e-4)
    config = study.EXPERIMENT.configured(study.EXPERIMENT.blocks[0], 1)
    lower, upper = config.train.methods["cwola"].sidebands(config.search.window)
    assert config.search.window.edges == (3302.6, 3737.8)
    assert (lower.high, upper.low) == config.search.window.edges
    assert lower.low == pytest.approx(3041, abs=10)
    assert upper.high == pytest.approx(4059, abs=10)
    cwola = config.train.methods["cwola"]
    assert (cwola.classifier.layers, cwola.classifier.epochs) == ((64, 32, 16, 4), 200)


def test_points_keep_significance_at_any_scale() -> None:
    by_name = {block.name: block for block in study.EXPERIMENT.blocks}
    assert by_name["cwola-6"].injection.wanted(128_000) == 768  # S/B 6e-3
    assert by_name["cwola-6"].injection.wanted(12_800) == 243  # as many standard deviations
    assert by_name["cwola-6"].injection == by_name["autoencoder-6"].injection
    assert by_name["cwola-0"].injection is None


@pytest.mark.slow
def test_the_whole_study_runs_at_a_small_scale(tmp_path) -> None:
    """Few networks, folds and events of the real thing; the numbers say nothing."""
    experiment = study.EXPERIMENT
    few = {"train": {"folds": {"outer": 2}}}
    blocks = []
    for block in experiment.blocks:
        methods = {
            name: {**values, "candidates": 1} if "candidates" in values else dict(values)
            for name, values in block.methods.items()
        }
        blocks.append(replace(block, methods=methods, settings=few))
    small = replace(experiment, blocks=tuple(blocks))
    result = studies.run(small, out=tmp_path, scale=0.004, repetitions=2, epochs=1)
    assert {one.id for one in result.claims} >= {"crossing", "untrained", "null"}
    assert (tmp_path / experiment.name / "study.json").stat().st_size < 300_000
