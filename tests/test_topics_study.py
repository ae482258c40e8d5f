"""The study of factorized topics: its measurements on known topics, its claims, and a tiny run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import Verdict
from tnt_coffea.pipeline.studies.experiments import topics
from tnt_coffea.pipeline.studies.numbers import Found, together
from tnt_coffea.testing import make_sample
from tnt_coffea.training.factorization import toy


def measured(share, *, auc=0.88, peaks=1.0, dip=0.2):
    shape = np.full(60, 1 / 60).tolist()
    numbers = {
        "auc": auc, "pairs": auc, "unlike": auc, "lower": shape, "upper": shape, "common": shape,
        "peaks found": peaks, "lower peak": 100.0, "upper peak": 500.0, "dip": dip,
        "not the common pair": share, "starts that disagree": 3.0, "good starts": 9.0,
        "good starts that disagree": 0.0,
    }  # fmt: skip
    truth = {"light": shape, "heavy": shape, "background": shape}
    return {"truth": truth, "oracle": 0.92, "topics": numbers, "frobenius": numbers}


def toys(exact=(0.1, 0.01), stuck=(0.1, 0.8), other=0.28):
    found = {}
    for loss, shares in (("poisson", exact), ("frobenius", stuck)):
        for share, value in zip((0.1, 0.01), shares, strict=True):
            found[f"anchored {share:g} exact {loss}"] = value
    found["overlapping 0.1 exact poisson"] = other
    return {k: {"share": v, "variation": 0.1, "distance": 1e-4} for k, v in found.items()}


def found_with(areas=(0.88, 0.85, 0.6, 0.5), *, toy=None, **numbers):
    blocks = {
        f"signal-{share:g}": measured(share, auc=area, **numbers)
        for share, area in zip(topics.SHARES, areas, strict=True)
    }
    blocks["null"] = measured(0.0) | {"toy": toy or toys()}
    return Found({"blocks": {k: {"measured": together([v, v, v])} for k, v in blocks.items()}})


def verdicts(found):
    return {claim.id: claim.verdict for claim in topics.EXPERIMENT.claims(found)}


def test_claims_are_confirmed_by_what_the_paper_says():
    wanted = dict.fromkeys(
        ("auc-0.1", "auc-0.01", "peaks-0.1", "peaks-0.01", "dips", "fails-below-0.001"),
        Verdict.CONFIRMED,
    )
    wanted |= {
        "fractions-anchored": Verdict.CONFIRMED,
        "fractions-frobenius": Verdict.REFUTED,
        "fractions-overlapping": Verdict.REFUTED,
    }
    assert verdicts(found_with()) == wanted


@pytest.mark.parametrize(
    ("changes", "refuted"),
    [
        ({"areas": (0.8, 0.85, 0.6, 0.5)}, "auc-0.1"),
        ({"areas": (0.88, 0.7, 0.6, 0.5)}, "auc-0.01"),
        ({"areas": (0.88, 0.85, 0.85, 0.85)}, "fails-below-0.001"),
        ({"peaks": 0.0}, "peaks-0.01"),
        ({"dip": 1.3}, "dips"),
        ({"toy": toys(exact=(0.1, 0.02))}, "fractions-anchored"),
    ],
)
def test_claims_are_refuted_by_other_numbers(changes, refuted):
    assert verdicts(found_with(**changes))[refuted] is Verdict.REFUTED


def test_topics_are_drawn_less_the_common_one_in_the_order_of_their_peaks():
    truth = toy(0.1)
    turned = replace(truth, p=truth.p[:, [0, 2, 1]])
    found = topics._topics([truth, turned], truth.p[:, 0])
    assert (found["lower peak"], found["upper peak"]) == pytest.approx((100, 500))
    assert found["peaks found"] == 1
    for name, topic in (("lower", 1), ("upper", 2)):
        rest = np.maximum(truth.p[:, topic] - truth.p[:, 0], 0)
        np.testing.assert_allclose(found[name], rest / rest.sum(), atol=1e-12)
    assert found["not the common pair"] == pytest.approx(0.1)
    assert topics._topics([truth], np.full(60, 1 / 60))["dip"] < 1e-6


def test_the_oracle_knows_the_signal_and_is_known_from_other_events():
    sample = make_sample(2400)
    score = topics._oracle(sample)
    signal = sample.label == 1
    assert topics.auc(score[signal], score[~signal]) > 0.95
    lot = np.random.default_rng(1).permutation(sample.label)
    chance = topics._oracle(replace(sample, label=lot))
    assert abs(topics.auc(chance[lot == 1], chance[lot == 0]) - 0.5) < 0.08


def drawn(n, seed, *, signal):
    rng = np.random.default_rng(seed)
    truth = toy(0.5)
    first = rng.choice(60, n, p=truth.p[:, 2 if signal else 0])
    second = rng.choice(60, n, p=truth.p[:, 1 if signal else 0])
    masses = (np.sort([first, second], axis=0)[::-1] + rng.random((2, n))) * 800 / 60
    m_jj = rng.normal(3500, 90, n) if signal else 2500 + rng.exponential(700, n)
    taus = rng.normal(0.3 if signal else 0.6, 0.1, (2, n))
    return np.stack([m_jj, *masses, *taus, np.full(n, int(signal))], axis=1)


@pytest.mark.slow
def test_a_tiny_run_recovers_the_topics(tmp_path: Path, monkeypatch):
    header = "m_jj,heavy_mass,light_mass,heavy_tau21,light_tau21,label"
    files = {}
    for pool, n in (("background", 20_000), ("signal", 5_000)):
        files[pool] = [tmp_path / f"{pool}.csv"]
        values = drawn(n, len(pool), signal=pool == "signal")
        np.savetxt(files[pool][0], values, delimiter=",", header=header, comments="")
    fewer = {"starts": 3, "steps": 1000}
    monkeypatch.setattr(topics, "TOY_STARTS", {"starts": 6, "steps": 1500})
    tiny = replace(
        topics.EXPERIMENT,
        blocks=tuple(
            replace(block, methods={k: {**v, **fewer} for k, v in block.methods.items()})
            for block in topics.EXPERIMENT.blocks
        ),
    )
    quiet = Resources(executor="iterative", progress=False)
    study = studies.run(tiny, files, out=tmp_path / "out", repetitions=3, resources=quiet)
    found = {claim.id: claim.verdict for claim in study.claims}
    for claim in ("auc-0.1", "peaks-0.1", "fractions-anchored"):
        assert found[claim] is Verdict.CONFIRMED
    assert found["fractions-overlapping"] is Verdict.REFUTED
    for name in ("topics", "shares", "mass"):
        assert (tmp_path / "out" / "topics" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
