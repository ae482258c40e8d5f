"""The study of QUAK: hulls, claims on numbers that are made up, and a small run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies.experiments.quak import (
    EXPERIMENT,
    METHODS,
    SIGNALS,
    _best_cuts,
    hull,
)
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found

TWO, THREE = "signal:2prong", "signal:3prong"


def number(mean: float) -> dict[str, Any]:
    return {"mean": mean, "sd": 0.01, "values": [mean - 0.005, mean, mean + 0.005]}


def figures(auc: float) -> dict[str, Any]:
    """Figures of a method: at all signal efficiencies it has the improvement 10 x AUC."""
    curve = {"mean": [10 * auc] * len(EFFICIENCIES), "sd": [0.1] * len(EFFICIENCIES)}
    keys = ("auc_fit", "max_sic", "sic_0.01", "sic_0.001")
    numbers = {"auc": number(auc), **{key: number(auc) for key in keys}}
    return {**numbers, "improvement": curve, "rejection": curve}


def found(path: dict[str, float], fixed: dict[str, float], r2: float = 0.0) -> Found:
    """What a study may find: AUC by method, alike for all signals; those of the classifier."""
    quak = {signal: {name: figures(path[name]) for name in METHODS} for signal in SIGNALS}
    hulls = {
        signal: {name: figures(0.9) | {"auc": number(path[name] + 0.05)} for name in path}
        for signal in SIGNALS
    }
    plane = {name: {"mean": np.arange(900.0).tolist()} for name in ("background", *SIGNALS)}
    explained = {
        "3-D": {f"r2 {name}": number(0.9) for name in ("background", "prior 2prong")},
        "beta-10": {"r2 background": number(r2)},
    }
    measured = {
        "hull": hulls,
        "plane": plane,
        "explained": explained,
        "spearman": number(0.999),
    }
    references = {
        f"supervised-{name.removeprefix('signal:')}": {
            "tested": {name: {"supervised": figures(auc)} for name in tested}
        }
        for name, auc, tested in (
            ("signal:prior", 0.9, ()),
            (TWO, 0.95, (TWO,)),
            (THREE, 0.95, (THREE,)),
        )
    }
    references["supervised-prior"]["tested"] = {
        signal: {"supervised": figures(fixed.get(signal, 0.9))} for signal in SIGNALS
    }
    injected = {"tested": {TWO: quak[TWO]}}
    blocks = {"quak": {"tested": quak, "measured": measured}, "injected": injected, **references}
    return Found({"blocks": blocks, "efficiencies": EFFICIENCIES})


PUBLISHED = dict.fromkeys(METHODS, 0.5) | {"1-D": 0.7, "2-D": 0.8, "3-D": 0.85}


def test_the_hull_is_above_all_points_and_concave() -> None:
    x, y = np.random.default_rng(1).uniform(0, 1, (2, 50))
    passed, kept = hull(x, y)
    assert (np.interp(x, passed, kept) >= y - 1e-12).all()
    slopes = np.diff(kept)[np.diff(passed) > 0] / np.diff(passed)[np.diff(passed) > 0]
    assert (np.diff(slopes) <= 1e-12).all()
    assert (passed[0], kept[0], passed[-1], kept[-1]) == (0, 0, 1, 1)


def test_cuts_on_one_rank_have_the_area_of_its_curve_and_more_ranks_no_less() -> None:
    rng = np.random.default_rng(1)
    signal = np.arange(4000) >= 2000
    ranks = rng.uniform(0, 1, (4000, 3))
    ranks[signal] **= 0.25  # a curve 1 - (1 - x)^..., concave: its own hull
    areas = [_best_cuts(ranks[:, :n], signal, ~signal)["auc"] for n in (1, 2, 3)]
    assert areas[0] == pytest.approx(0.8, abs=0.02)
    assert areas[0] < areas[1] - 0.05 < areas[2] - 0.05


def test_verdicts_follow_from_the_numbers() -> None:
    good = {signal: 0.9 for signal in SIGNALS} | {THREE: 0.5, TWO: 0.8}
    verdicts = {one.id: one.verdict.value for one in EXPERIMENT.claims(found(PUBLISHED, good))}
    assert verdicts.pop("reaches-supervised") == "refuted"
    assert verdicts.pop("beta") == "refuted"
    assert set(verdicts.values()) == {"confirmed"}
    worse = PUBLISHED | {"2-D": 0.65, "3-D": 0.97}
    numbers = found(worse, dict.fromkeys(SIGNALS, 0.9), r2=0.8)
    verdicts = {one.id: one.verdict.value for one in EXPERIMENT.claims(numbers)}
    assert verdicts["2-D-above-1-D-2prong"] == verdicts["much-of-the-gain"] == "refuted"
    assert verdicts["supervised-abysmal"] == "refuted"
    assert verdicts["reaches-supervised"] == verdicts["beta"] == "confirmed"


def test_the_page_can_be_drawn() -> None:
    numbers = found(PUBLISHED, {})
    names = [plot.name for plot in EXPERIMENT.plots(numbers)]
    assert names[0] == "figure-50-left-2prong"
    assert names[-2:] == ["figure-50-right", "plane"]
    tables = {table.title: table for table in EXPERIMENT.tables(numbers)}
    aucs = tables["AUC in the signal region"]
    assert {len(row) for row in aucs.rows} == {len(aucs.columns)}


@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    columns = [f"{jet}_{name}" for name in EXPERIMENT.settings["skim"]["observables"]
               for jet in ("heavy", "light")]  # fmt: skip
    files: dict[str, list[Path]] = {}
    for number_, pool in enumerate(EXPERIMENT.pools):
        signal = pool != "background"
        n, at = (400, number_ % 3) if signal else (3000, 0)
        mass = rng.normal(3500, 90, n) if signal else 2600 + rng.exponential(700, n)
        if pool in EXPERIMENT.windows:
            mass = rng.normal(np.mean(EXPERIMENT.windows[pool]), 90, n)
        values = np.column_stack([mass, rng.normal(at, 1 if at == 0 else 0.5, (n, len(columns)))])
        files[pool] = [tmp_path / f"{number_}.csv"]
        header = ",".join(["m_jj", *columns])
        np.savetxt(files[pool][0], values, delimiter=",", header=header, comments="")
    studies.run(
        EXPERIMENT,
        files,
        out=tmp_path / "out",
        repetitions=2,
        epochs=2,
        resources=Resources(executor="iterative", progress=False),
    )
    assert (tmp_path / "out" / "quak" / "study.md").exists()
