"""Claims on Tossed CWoLa SALAD and on the LSTM, of made-up numbers and of tiny trainings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies.experiments import tossed
from tnt_coffea.pipeline.studies.lstm_claims import identified, lstm_claims
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, together


def value(mean: float, spread: float = 0.01) -> dict[str, Any]:
    return together([mean - spread, mean, mean + spread])


def block(
    areas: dict[str, float], spreads: dict[str, float], z: float | None = None
) -> dict[str, Any]:
    found = {
        "measured": {
            name: {"auc": value(areas[name]), "spread": value(spreads[name])} for name in areas
        }
    }
    if z is not None:
        tests = {share: {"z": value(z)} for share in ("0.1", "0.01")}
        found["hunted"] = {"methods": {name: tests for name in areas}}
    return found


def tossed_numbers(*, spread: float = 2.0, areas=(0.6, 0.55, 0.5, 0.4), z: float = 1.0) -> Found:
    by_name = dict(zip(tossed._LAMBDAS.values(), areas, strict=True))
    null = block(by_name, dict.fromkeys(by_name, spread))
    blocks = {"imitated": null, "box-3-null": null, "box-3": block(by_name, by_name, z)}
    return Found({"efficiencies": list(EFFICIENCIES), "blocks": blocks})


def verdicts(claims) -> dict[str, str]:
    return {claim.id: claim.verdict.value for claim in claims}


@pytest.mark.parametrize(
    ("changes", "refuted"),
    [
        ({}, {"momenta-over-mass"}),
        ({"spread": 1.1}, {"momenta-over-mass", "heavy-sculpting"}),
        ({"z": 5.0}, {"momenta-over-mass", "box-3-not-found"}),
        ({"areas": (0.45, 0.5, 0.55, 0.6)}, {"tossed-labels", "reversed-above-one"}),
    ],
)
def test_claims_on_tossed_labels_follow_the_numbers(changes, refuted: set[str]) -> None:
    found = verdicts(tossed.EXPERIMENT.claims(tossed_numbers(**changes)))
    assert {name for name, verdict in found.items() if verdict == "refuted"} == refuted
    assert set(found.values()) == {"confirmed", "refuted"}
    unclear = verdicts(tossed.EXPERIMENT.claims(tossed_numbers(areas=(0.501, 0.5, 0.5, 0.499))))
    assert unclear["tossed-labels"] == "undecided"


def test_sculpting_is_measured_in_slices_alike() -> None:
    rng = np.random.default_rng(1)
    mass = rng.exponential(800, 40_000) + 2800
    even = tossed.largest_over_smallest(rng.random(len(mass)) < 0.1, mass)
    risen = tossed.largest_over_smallest(rng.random(len(mass)) < 0.05 + 0.1 * (mass > 3600), mass)
    assert even < 1.25
    assert risen == pytest.approx(3, rel=0.15)


def lstm_numbers(*, same=0.96, other=0.6, box=0.05, number=4.0, mass=300.0) -> Found:
    shares = {"signal": value(same), "signal:box-1": value(other), "signal:box-3": value(box)}
    areas = {"signal": 0.99, "signal:box-1": 0.9, "signal:box-3": 0.5}
    learned = {
        "tested": {pool: {"lstm": {"auc_fit": value(area)}} for pool, area in areas.items()},
        "measured": {"lstm": {"background": value(0.05), "signals": shares}},
    }
    injected = {"measured": {"lstm": {"number": value(number), "mass": value(mass)}}}
    return Found({"blocks": {"learned": learned, "injected": injected}})


@pytest.mark.parametrize(
    ("changes", "refuted"),
    [
        ({}, set()),
        ({"same": 0.8}, {"lstm-identifies"}),
        ({"other": 0.99}, {"lstm-other-mass"}),
        ({"mass": -300.0}, {"lstm-too-many"}),
        ({"box": 0.3}, {"lstm-another-signal"}),
    ],
)
def test_claims_on_the_lstm_follow_the_numbers(changes, refuted: set[str]) -> None:
    claims = lstm_claims(lstm_numbers(**changes), learned="learned", injected="injected")
    found = verdicts(claims)
    assert {name for name, verdict in found.items() if verdict == "refuted"} == refuted
    assert len(found) == 4


def test_what_has_odds_above_one_is_counted() -> None:
    def sample(odds, label=0, mass=3500.0):
        odds = np.asarray(odds)
        return SimpleNamespace(odds=odds, label=np.full(len(odds), label), mass=mass + 0 * odds)

    data = sample([-1.0, -2.0, 1.0, 2.0, -1.0])
    data.label, data.mass = np.array([0, 0, 0, 1, 1]), np.array([1.0, 2.0, 5000.0, 4000.0, 4000.0])
    scoring = SimpleNamespace(score=lambda each: SimpleNamespace(raw={"event": each.odds}))
    trained: Any = SimpleNamespace(
        taggers=SimpleNamespace(sets={"lstm": scoring}),
        data=data,
        left={"signal": sample([1.0, 1.0, -1.0, 1.0])},
    )
    found = identified(trained)
    assert found == {
        "background": pytest.approx(1 / 3),
        "signals": {"signal": 0.75},
        "number": 1.0,
        "mass": 500.0,
    }
    data.label[:] = 0
    assert identified(trained)["number"] is None


@pytest.mark.slow
def test_tossed_labels_from_events_to_verdicts(tmp_path: Path) -> None:
    result = studies.run(
        tossed.EXPERIMENT,
        out=tmp_path,
        scale=0.002,
        repetitions=2,
        epochs=1,
        resources=Resources(executor="futures", workers=2, progress=False),
    )
    assert {one.id for one in result.claims} >= {"tossed-labels", "box-3-not-found"}
    blocks = json.loads((tmp_path / "tossed" / "study.json").read_text())["numbers"]["blocks"]
    assert set(blocks) == {"box-3-null", "imitated", "box-3"}
    assert blocks["box-3"]["injected"]["values"] == [6, 6]  # 3200 of a million
    spreads = blocks["box-3-null"]["measured"]
    assert all(one["spread"]["mean"] > 0 for one in spreads.values())
