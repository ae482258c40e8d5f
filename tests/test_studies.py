"""The studies of published results: closed forms, verdicts, and folders that go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea.cli import main
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import Claim, Verdict
from tnt_coffea.pipeline.studies.gaussian_claims import gaussian_claims
from tnt_coffea.pipeline.studies.gaussian_example import (
    EFFICIENCIES,
    EVENTS,
    GaussianSettings,
    best_performance,
    curves_of,
    log_densities,
    performance,
)
from tnt_coffea.pipeline.studies.gaussian_study import _curve_numbers, _unbounded
from tnt_coffea.training import objectives
from tnt_coffea.training.objectives import Population

TEXT = GaussianSettings(members=20, scale=1)
CURVES = {curve.name: curve for curve in curves_of(TEXT)}
PLACES = [EFFICIENCIES.index(eps) for eps in (0.1, 0.2, 0.5, 0.8)]
# Likelihood ratios on two million random points: AUC, SIC at four eps_S, AUC(SR, SB).
KNOWN = {
    "supervised": (0.9613, (3.08, 3.77, 4.06, 3.31), 0.329),
    "supervised-x1": (0.8897, (1.12, 1.49, 1.94, 1.87), 0.500),
    "optimal-cwola": (0.9613, (3.08, 3.77, 4.06, 3.31), 0.329),
    "salad": (0.8638, (3.04, 3.67, 2.58, 1.57), 0.587),
    "data-against-simulation": (0.7639, (2.97, 2.58, 1.36, 1.16), 0.652),
    "sa-cwola-1": (0.7645, (0.41, 0.65, 1.10, 1.32), 0.544),
    "sa-cwola-1.05": (0.838, (0.64, 0.95, 1.43, 1.55), 0.479),
    "sa-cwola-1.25": (0.938, (2.62, 3.06, 3.11, 2.53), 0.318),
    "sa-cwola-0.5": (0.177, (0.12, 0.23, 0.54, 0.82), 0.757),
    "negative-0.5": (0.186, (0.12, 0.24, 0.55, 0.83), 0.757),
    "cwola": (0.129, (0.12, 0.22, 0.53, 0.81), 0.760),
}


@pytest.fixture(scope="module")
def optima():
    return {
        name: best_performance(curve.objective, curve.signal_share(TEXT), curve.columns, 0.05)
        for name, curve in CURVES.items()
    }


@pytest.mark.parametrize("name", KNOWN)
def test_closed_forms_are_the_likelihood_ratios(optima, name: str) -> None:
    auc, improvements, regions = KNOWN[name]
    found = optima[name]
    assert found.auc == pytest.approx(auc, abs=0.002)
    assert found.auc_regions == pytest.approx(regions, abs=0.002)
    improvement = np.array(EFFICIENCIES) / np.sqrt(found.passed)
    np.testing.assert_allclose(improvement[PLACES], improvements, rtol=0.03, atol=0.005)


def test_the_form_with_negative_weights_is_unbounded_where_simulation_outweighs_data() -> None:
    shares = [_unbounded(CURVES[f"negative-{s:g}"].objective, 500 / 50500) for s in (0.5, 0.75)]
    shares.append(_unbounded(CURVES["negative-0.95"].objective, 500 / 50500))
    np.testing.assert_allclose(shares, [0, 0.02, 0.34], atol=0.005)
    assert _unbounded(CURVES["sa-cwola-1.25"].objective, 500 / 50500) == 0


@pytest.mark.parametrize("strength", [1, 1.05, -0.1, float("nan")])
def test_a_loss_without_a_minimum_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="0 <= lambda < 1"):
        objectives.olympics(strength)
    if not strength >= 0:
        with pytest.raises(ConfigError, match="must not be negative"):
            objectives.sa_cwola(strength)


def test_infinite_coefficients_point_to_the_smaller_loss() -> None:
    """-a log f - b log(1 - f) of each sign of a and b, and where it is least."""
    negative = objectives.olympics(0.5)
    a, b = np.array([2.0, -2, 2, -2, -1]), np.array([1.0, 1, -1, -1, -2])
    densities = {
        Population.DATA_SR: np.where(a > 0, a, 1.0),
        Population.SIMULATION_SR: np.where(a > 0, 0, 2 * (1 - a)),
        Population.DATA_SB: np.where(b > 0, b, 1.0),
        Population.SIMULATION_SB: np.where(b > 0, 0, 2 * (1 - b)),
    }
    with np.errstate(divide="ignore"):
        found = negative.optimum({name: np.log(one) for name, one in densities.items()})
    f = np.array([1e-9, 0.5, 1 - 1e-9])[:, None]
    loss = -a * np.log(f) - b * np.log1p(-f)
    assert np.isneginf(found).tolist() == [False, *(loss.argmin(axis=0) == 0)[1:]]
    assert np.isposinf(found).tolist() == [False, *(loss.argmin(axis=0) == 2)[1:]]
    assert found[0] == pytest.approx(np.log(2))


def test_weights_have_the_shares_and_a_mean_of_one() -> None:
    objective = objectives.olympics(0.5)
    weights = objective.weights([50, 100, 200, 10])
    assert np.abs(weights).mean() == pytest.approx(1)
    sums = [part.sum() for part in np.split(weights, [50, 150, 350])]
    np.testing.assert_allclose(np.array(sums) / sums[0], [1, 1, -0.5, -0.5], rtol=1e-5)
    w = np.array([[1.0, 3.0], [5.0, 1.0]])
    salad = objectives.salad().weights([4, 2], w)
    np.testing.assert_allclose(salad[:, 4:].sum(axis=1), salad[:, :4].sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(salad[:, 4] / salad[:, 5], w[:, 0] / w[:, 1], rtol=1e-6)
    with pytest.raises(ConfigError, match="missing"):
        objectives.salad().weights([4, 2])
    with pytest.raises(ConfigError, match="no group"):
        objectives.cwola().weights([4, 2], w)


def test_without_simulation_both_forms_are_cwola() -> None:
    assert objectives.sa_cwola(0) == objectives.olympics(0) == objectives.cwola()


def test_densities_of_both_features_are_those_of_one_times_the_other() -> None:
    points = np.random.default_rng(2).normal(size=(50, 2))
    both, first, second = (log_densities(points, 0.0, c) for c in ((0, 1), (0,), (1,)))
    for population in both:
        np.testing.assert_allclose(both[population], first[population] + second[population])


def test_performance_counts_equal_scores_half() -> None:
    rng = np.random.default_rng(3)
    signal, background, beside = (rng.integers(0, 6, 400).astype(float) + i for i in (1, 0, 2))
    found = performance(signal, background, beside)
    pairs = signal[:, None] - background
    assert found.auc == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    regions = background[:, None] - beside
    assert found.auc_regions == pytest.approx((regions > 0).mean() + (regions == 0).mean() / 2)
    # A score that says nothing is a random choice.
    same = performance(np.zeros(10), np.zeros(1000), np.zeros(10))
    np.testing.assert_allclose(same.passed, EFFICIENCIES)


def numbers_of(optima, **changes):
    """Numbers of a study whose members all reach the closed form, up to a spread of 1e-3."""
    found = {}
    for name, best in optima.items():
        one = best.to_dict() | {"largest_logit": 1.0, "loss": 0.6} | changes.get(name, {})
        members = [
            one | {key: one[key] + shift for key in ("auc", "auc_regions")}
            for shift in (-0.001, 0.0, 0.001)
        ]
        found[name] = _curve_numbers(CURVES[name], members, best) | {"unbounded": 0.0}
    return {"efficiencies": list(EFFICIENCIES), "curves": found}


def test_verdicts_on_trainings_that_reach_their_optima(optima) -> None:
    verdicts = {claim.id: claim.verdict.value for claim in gaussian_claims(numbers_of(optima))}
    refuted = {"slightly-worse", "decorrelation", "decorrelation-negative"}
    assert {name for name, verdict in verdicts.items() if verdict == "refuted"} == refuted
    assert {verdict for name, verdict in verdicts.items() if name not in refuted} == {"confirmed"}
    assert sum(name.startswith("optimum-") for name in verdicts) == 11


@pytest.mark.parametrize(
    ("curve", "change", "claim", "verdict"),
    [
        ("cwola", {"auc": 0.6}, "anti-tagging", "refuted"),
        ("cwola", {"auc": 0.2}, "optimum-cwola", "refuted"),
        ("optimal-cwola", {"auc": 0.92}, "optimum-optimal-cwola", "confirmed"),
        ("sa-cwola-1", {"auc": 0.5}, "recovery", "undecided"),
        ("sa-cwola-1", {"auc_regions": 0.56}, "balance", "refuted"),
        ("sa-cwola-1.25", {"auc": 0.88}, "beats-one-feature", "refuted"),
        ("sa-cwola-1.25", {"auc_regions": 0.6}, "trade-off", "refuted"),
        ("sa-cwola-0.5", {"auc_regions": 0.6}, "decorrelation", "confirmed"),
        ("negative-0.5", {"auc_regions": 0.7}, "decorrelation-negative", "undecided"),
        ("negative-0.95", {"largest_logit": 1e7}, "minimum-negative", "refuted"),
        ("salad", {"passed": list(EFFICIENCIES)}, "order", "refuted"),
        ("salad", {"passed": [0.9] * 50}, "strictly-better", "refuted"),
        ("salad", {"passed": [1e-4] * 50}, "upper-bound", "refuted"),
        ("data-against-simulation", {"passed": [1e-3] * 50}, "slightly-worse", "confirmed"),
        ("data-against-simulation", {"passed": [0.1] * 50}, "good-then-poor", "refuted"),
    ],
)
def test_verdicts_follow_the_numbers(optima, curve, change, claim, verdict) -> None:
    found = gaussian_claims(numbers_of(optima, **{curve: change}))
    assert next(one.verdict for one in found if one.id == claim) == verdict


def test_the_notebook_differs_from_the_text_as_written() -> None:
    published = GaussianSettings(members=20, scale=1, as_published=True)
    curves = {curve.name: curve for curve in curves_of(published)}
    assert (published.epochs, published.batch(100_500), TEXT.batch(100_500)) == (100, 10_050, 200)
    assert [c.strength for c in curves.values() if c.in_figure and c.strength] == [1.05]
    assert curves.keys() == CURVES.keys()
    assert curves["salad"].background(published) == 2 * EVENTS
    assert curves["cwola"].background(published) == EVENTS
    assert curves["salad"].signal_share(published) == pytest.approx(500 / 100_500)


TINY = {"members": 2, "scale": 0.02, "resources": Resources(progress=False)}


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies")
    studies.gaussian(out=out, **TINY)
    return out / "gaussian"


def times(studied: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (studied / "trainings").iterdir()}


@pytest.mark.slow
def test_a_study_leaves_numbers_figures_and_claims(studied: Path) -> None:
    values = json.loads((studied / "study.json").read_text())
    assert values["command"] == "tnt-coffea study gaussian --members 2 --scale 0.02 --seed 1"
    assert values["settings"]["events"] == 1000
    assert values["numbers"]["curves"].keys() == CURVES.keys()
    assert {"numpy", "tnt-coffea"} <= values["versions"].keys()
    assert max(path.stat().st_size for path in studied.glob("*.*")) < 300_000
    page = (studied / "study.md").read_text()
    for claim in map(Claim.from_dict, values["claims"]):
        assert f"| {claim.id} | " in page
        assert claim.verdict in Verdict
    for figure in ("populations", "curves", "strength", "divergence"):
        assert f"]({figure}.png)" in page
        assert (studied / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    # Two per cent of the events tell anti-tags from tags.
    verdicts = {claim["id"]: claim["verdict"] for claim in values["claims"]}
    assert verdicts["anti-tagging"] == verdicts["optimum-supervised"] == "confirmed"
    dctr = values["numbers"]["curves"]["salad"]["dctr"]
    assert all(0.8 < one["effective_share"] < 1 and one["largest_weight"] < 3 for one in dctr)


@pytest.mark.slow
def test_a_complete_study_is_read_and_a_killed_one_goes_on(studied: Path) -> None:
    before = times(studied)
    first = json.loads((studied / "study.json").read_text())
    written = (studied / "manifest.json").stat().st_mtime_ns
    assert studies.gaussian(out=studied.parent, **TINY).to_dict() == first
    assert (studied / "manifest.json").stat().st_mtime_ns == written
    # Killed before the summary, with one training damaged.
    (studied / "study.json").unlink()
    cut = studied / "trainings" / "cwola-0-2.json"
    cut.write_text(cut.read_text()[:200])
    again = studies.gaussian(out=studied.parent, **TINY).to_dict()
    after = times(studied)
    assert {name for name in after if after[name] != before[name]} == {cut.name}
    took = {"cpu_seconds": 0, "wall_seconds": 0}
    assert {**again, **took} == {**first, **took}
    assert first["wall_seconds"] > 0
    assert "core" in first["machine"]


@pytest.mark.slow
def test_another_configuration_in_the_folder_is_one_error(studied: Path) -> None:
    with pytest.raises(StageError, match=r"another configuration \(members: 2 there, 3 now\)"):
        studies.gaussian(out=studied.parent, **TINY | {"members": 3})
    words = ["study", "gaussian", "--out", str(studied.parent), "--members", "2", "--scale", "0.02"]
    done = CliRunner().invoke(main, [*words, "--seed", "2"])
    assert done.exit_code == 4
    assert "seed: 1 there, 2 now" in done.output.strip().splitlines()[-1]
    assert "Traceback" not in done.output
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "anti-tagging" in done.output
    assert "note: Warning: negative form, λ = 0.95: a logit reaches" in done.output
    assert done.output.splitlines()[-1] == f"study: {studied}"


@pytest.mark.parametrize("changes", [{"members": 1}, {"scale": 0.001}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(changes))} of the Gaussian study"):
        studies.gaussian(out=tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []
