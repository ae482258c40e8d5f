from __future__ import annotations

import json
from dataclasses import asdict

import bump_coverage
import numpy as np
import pytest
from scipy.special import ndtr

from tnt_coffea.stats import engine
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.signals import SignalShape


def test_p_values_from_toys_are_those_of_the_formula_where_it_holds() -> None:
    expected = bump_coverage.smooth_shape("dijet-3")
    expected *= 5000 / expected.sum()
    built = FAMILIES["dijet"].build(bump_coverage.EDGES, 3, expected, expected > 0)
    background, _ = engine.fitted_background(built, expected)
    signal = SignalShape(3500.0, 120.0).integrals(bump_coverage.EDGES)
    functions = {"dijet 3": (Channel("all", expected, signal, background),)}
    means = expected + np.linspace(0, 90, 40)[:, None] * signal
    counts = np.random.default_rng(1).poisson(means).astype(float)
    (group,) = bump_coverage.groups(functions, counts, lambda names, asked: list(names))
    p, z = group.p_values(np.random.default_rng(2)), group.test.z
    assert np.all(p[z == 0] == 1)
    # Where ten toys have reached the data fewer than 199 were thrown, and p is above 5 %.
    rare = ndtr(-z) < 0.03
    assert rare.any()
    assert np.all(p[ndtr(-z) > 0.15] > 0.05)
    assert np.abs(p - ndtr(-z))[rare].max() < 4 * np.sqrt(0.03 / 199)


def test_rows_that_are_there_are_not_made_again_and_say_what_misses(tmp_path) -> None:
    good = {"p5": 0.05, "p1": 0.01, "pull_mean": 0.0, "pull_width": 1.0, "covers_68": 0.683}
    kept = {"truth": "dijet-3", "events": 1000, "mass": 2960.0, "toys": 1000, "failed": 0}
    kept |= {"formula_holds": True, **good, "covers_95": 0.954, "cls": 0.95, "pull_mean": 0.2}
    (tmp_path / "dijet-3-1000-2960-1000-fit.json").write_text(json.dumps(kept))
    found = next(bump_coverage.rows(tmp_path, 1000, "fit", [1000], {}))
    assert {name: asdict(found)[name] for name in kept} == kept
    assert found.off == ("pull_mean",)
    # Where the formula does not hold, p-values from toys are judged, and nothing else is.
    low = bump_coverage.Row(**{**kept, "formula_holds": False, "p5": 0.2})
    assert (low.judged, low.off) == (False, ())
    low = bump_coverage.Row(**{**asdict(low), "p5_toys": 0.08, "p1_toys": 0.01})
    assert (low.judged, low.off) == (True, ("p5",))
    assert "8.0 % (formula 20.0 %) **!** | 1.0 % |" in bump_coverage.markdown([low])


@pytest.mark.parametrize("choice", ["fit", "from-2"])
def test_few_events_have_their_p_values_from_toys(choice) -> None:
    shape = bump_coverage.smooth_shape("UA2")
    found = bump_coverage.row("UA2", shape, 50, 3500.0, 20, *bump_coverage.CHOICES[choice])
    assert not found.formula_holds
    assert found.judged
    assert 0 <= found.p1_toys <= found.p5_toys < 0.5
