"""The study of principal components: verdicts on numbers made up, and a tiny run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies.experiments import pca
from tnt_coffea.pipeline.studies.numbers import Found, together

PUBLISHED = {"published": 0.863, "published-11": 0.839, "length": 0.80, "projection": 0.7}
PUBLISHED |= {"published-simulation": 0.87, "low tau21": 0.8, "heavy mass": 0.75}


def made_up(aucs=PUBLISHED, sic=1.5, excesses=5, parts=20, shifts=(-1e-4, 0, 1e-4)):
    """Numbers of a study with repetitions that hardly differ."""
    tested = {
        name: together([{"auc_fit": auc + d, "sic_0.01": sic + d} for d in shifts])
        for name, auc in aucs.items()
    }
    scans = {"fitted": parts, "above": excesses / parts, "largest": 1.0}
    null = {name: {f"{share:g}": scans for share in pca.KEPT} for name in pca.HUNTED}
    blocks = {f"signal-{share:g}": {"tested": {"signal": tested}} for share in pca.SHARES}
    blocks["null"] = {"measured": together([{**null, "parts": parts}] * 2)}
    return Found({"blocks": blocks})


def verdicts(**changes):
    return {claim.id: claim.verdict.value for claim in pca.EXPERIMENT.claims(made_up(**changes))}


def test_the_published_numbers_confirm_their_claims():
    found = verdicts(excesses=10)
    assert found.pop("box-1-mass") == "undecided"
    assert set(found.values()) == {"confirmed"}
    assert len(found) == 8


@pytest.mark.parametrize("changes", [{}, {"aucs": PUBLISHED | {"published": 0.99}}, {"sic": 0.8}])
def test_the_mass_of_the_box_is_undecided_and_says_who_answers(changes):
    claims = {claim.id: claim for claim in pca.EXPERIMENT.claims(made_up(**changes))}
    claim = claims["box-1-mass"]
    assert claim.verdict.value == "undecided"
    assert "study olympics" in claim.ours
    assert "4-6 TeV" in claim.reason


def test_two_trainings_decide_no_comparison_of_means():
    found = verdicts(excesses=10, shifts=(-1e-4, 1e-4))
    assert {name for name, verdict in found.items() if verdict != "undecided"} == {
        "one-component",  # asks for a value
        "false-excess",  # has the error of a number of samples
    }


@pytest.mark.parametrize(
    ("changes", "refuted"),
    [
        ({"aucs": PUBLISHED | {"published": 0.75}}, "one-component"),
        ({"aucs": PUBLISHED | {"published-11": 0.87}}, "eleven-components"),
        ({"aucs": PUBLISHED | {"length": 0.86}}, "more-than-a-distance"),
        ({"aucs": PUBLISHED | {"low tau21": 0.9}}, "more-than-a-feature"),
        ({"aucs": PUBLISHED | {"projection": 0.4}}, "small-components"),
        ({"aucs": PUBLISHED | {"published-simulation": 0.8}}, "novelty"),
        ({"sic": 0.8}, "one-in-500"),
        ({"excesses": 0, "parts": 60}, "false-excess"),
    ],
)
def test_other_numbers_refute_them(changes, refuted):
    assert verdicts(**changes)[refuted] == "refuted"


def test_few_samples_without_a_signal_decide_nothing():
    assert verdicts(excesses=0, parts=4)["false-excess"] == "undecided"
    assert verdicts(excesses=1, parts=4)["false-excess"] == "undecided"


def test_scans_find_a_resonance_at_high_mass_and_skip_what_cannot_be_fitted():
    config = pca.EXPERIMENT.configured(pca.EXPERIMENT.block("null"), seed=1)
    rng = np.random.default_rng(2)
    falling = 2600 + rng.exponential(400, 2500)
    planted = np.concatenate([falling, rng.normal(4800, 60, 40)])
    tested = SimpleNamespace(config=config)
    found = pca._excesses(tested, [planted, np.array([2700.0])])
    assert found["fitted"] == 1
    assert found["above"] == 1
    assert found["z"][0] > 5
    assert found["mass"][0] == pytest.approx(4800, abs=120)


@pytest.mark.slow
def test_the_study_runs_on_tables(tmp_path: Path):
    rng = np.random.default_rng(1)
    names = [
        f"{jet}_{name}"
        for jet in ("heavy", "light")
        for name in ("pt", "eta", "mass", "tau1_width", "tau21", "tau32", "tau43")
    ]
    files = {}
    for pool, n in {"background": 2600, "signal": 800, "simulation": 1500}.items():
        m_jj = rng.normal(3500, 90, n) if pool == "signal" else 2600 + rng.exponential(600, n)
        values = rng.normal(0.2 if pool == "signal" else 0.5, 0.1, (n, len(names)))
        values[:, [2, 9]] = np.sort(rng.exponential(100, (n, 2)), axis=1)[:, ::-1]
        files[pool] = [tmp_path / f"{pool}.csv"]
        header = ",".join(("m_jj", *names))
        columns = np.column_stack([m_jj, values])
        np.savetxt(files[pool][0], columns, delimiter=",", header=header, comments="")
    table = replace(pca.EXPERIMENT, settings={**pca.EXPERIMENT.settings, "skim": {"images": None}})
    quiet = Resources(executor="iterative", progress=False)
    result = studies.run(table, files, out=tmp_path, repetitions=2, resources=quiet)
    assert [claim.id for claim in result.claims] == list(verdicts())
    assert Found(result.numbers).measured("null", "parts").mean == 1
    for name in ("curves", "shares", "null", "mass"):
        assert (tmp_path / "pca" / f"{name}.png").stat().st_size > 10_000
