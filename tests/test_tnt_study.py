"""The study of Tag N' Train: its blocks, its claims on made-up numbers, its measurement."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tnt_coffea.pipeline.studies.experiments import tnt
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, together
from tnt_coffea.taggers import Ranks
from tnt_coffea.testing import make_sample
from tnt_coffea.training import steps_of
from tnt_coffea.training.weak_labels import FEWEST

SHAPES = {f"{jet}_{name}": 1.0 for jet in ("heavy", "light") for name in ("mass", "tau21")}
CURVE = np.linspace(10, 2, len(EFFICIENCIES)).tolist()


def as_published(share: float, method: str) -> tuple[float, float, float]:
    """AUC, max SIC and Z at 3 % as the paper has them, roughly."""
    if method == "autoencoder":
        return 0.75, 1.8, tnt._BUMPS.get(share, {}).get("autoencoder", 1.0)
    if method in ("same", "same-2"):
        return 0.7, 1.5, 0.0
    gain = {0.09: 0.2, 0.01: 0.15, 0.003: -0.1, 0.001: -0.15}.get(share, 0.0)
    more = 0.02 if method == "tnt-2" else 0.0
    sic = {"tnt": 4.0, "tnt-mjj": 6.0, "cwola": 6.2}.get(method, 8.0)
    z = tnt._BUMPS.get(share, {}).get("tnt-mjj", 0.5) + (1.0 if share else 0.0)
    return 0.75 + gain + more, sic, z


def outcome(block: Any, share: float, shift: float, worse: float) -> dict[str, Any]:
    sculpting = {"0.1": {"p": 0.5, "edges": [2600, 3000, 4000], "ratio": [1.0, 1.0]}}
    figures, zs = {}, {}
    for method in block.methods:
        auc, sic, z = as_published(share, method)
        loss = worse if method.startswith("tnt") else 0.0
        own = auc - loss + shift / 100
        figures[method] = {
            **{"auc": own, "auc_fit": own, "max_sic": sic * (1 - loss) + shift},
            **{"sic_0.01": 2.0, "sic_0.001": 2.0, "rejection": CURVE, "improvement": CURVE},
            "sculpting": sculpting,
        }
        zs[method] = {f"{one:g}": {"z": z + shift} for one in tnt.SELECTIONS}
    counts = {
        f"{one:g}": {"ratio": 1.0 + shift / 10, "z": 5, "expected": 5} for one in tnt.SELECTIONS
    }
    of_jets = {"pearson": shift / 10, "top": SHAPES, **counts}
    return {
        "injected": 100,
        "signal": 80,
        "background": 1000,
        "tested": {"signal": figures},
        "measured": {"signal": SHAPES} | {name: of_jets for name in block.methods},
        **({"hunted": {"before": {"z": 1.0}, "methods": zs}} if block.hunted else {}),
    }


def found(worse: float = 0.0) -> Found:
    shares = (*tnt.SHARES, 0.0)
    blocks = {
        block.name: together(
            [outcome(block, shares[i % len(shares)], shift, worse) for shift in (-0.1, 0.0, 0.1)]
        )
        for i, block in enumerate(tnt.EXPERIMENT.blocks)
    }
    return Found({"efficiencies": list(EFFICIENCIES), "blocks": blocks})


def without(block: str) -> Found:
    numbers = {**found().numbers["blocks"], block: together([{"refused": "9 jets"}] * 3)}
    return Found({"efficiencies": list(EFFICIENCIES), "blocks": numbers})


def test_every_block_can_be_trained_on_the_share_that_it_names() -> None:
    for block in tnt.EXPERIMENT.blocks:
        steps_of(tnt.EXPERIMENT.configured(block, seed=1))
    injection = tnt.EXPERIMENT.block("images-90").injection
    assert injection is not None
    assert injection.wanted(91_000) == 9000
    assert tnt.EXPERIMENT.block("trees-0").injection is None


@pytest.mark.parametrize("scale", [0.01, 0.02, 0.05, 1.0])
def test_every_block_leaves_half_of_the_signal_to_test_on(scale: float) -> None:
    pools = tnt.EXPERIMENT.pools
    for block in tnt.EXPERIMENT.blocks:
        if block.injection is not None:
            wanted = block.injection.wanted(pools[block.background].at(scale))
            assert 0 < wanted <= pools[block.injection.pool].at(scale) / 2, block.name


def test_references_have_signal_to_learn_from_at_any_scale() -> None:
    """A fold has at least the ten jets of a class that a classifier needs."""
    kinds = {"supervised", "supervised_both_jets"}
    for block in tnt.EXPERIMENT.blocks:
        if any(method["kind"] in kinds for method in block.methods.values()):
            assert block.injection is not None
            signal = block.injection.wanted(tnt.EXPERIMENT.pools[block.background].at(0.01))
            assert signal / 5 > 4 * FEWEST, block.name


def test_a_block_that_was_refused_leaves_its_claims_undecided() -> None:
    made = without("images-10")
    verdicts = {one.id: one.verdict.value for one in tnt._claims(made)}
    assert verdicts["images-gains"] == verdicts["images-independent"] == "undecided"
    assert verdicts["trees-gains"] == "confirmed"
    refused = next(one for one in tnt._tables(made) if one.title == "What was refused")
    assert refused.rows == (("images-10", "3", "9 jets"),)


def test_claims_hold_where_the_paper_holds() -> None:
    verdicts = {one.id: one.verdict.value for one in tnt._claims(found())}
    assert len(verdicts) == 20
    assert set(verdicts.values()) == {"confirmed"}, verdicts


def test_claims_are_refuted_where_training_gains_nothing() -> None:
    verdicts = {one.id: one.verdict.value for one in tnt._claims(found(worse=0.8))}
    for inputs in tnt.INPUTS:
        assert verdicts[f"{inputs}-gains"] == verdicts[f"{inputs}-same-jet"] == "refuted"
        assert verdicts[f"{inputs}-independent"] == "confirmed"


def test_figures_and_tables_have_every_share() -> None:
    made = without("images-3")
    names = {plot.name for plot in tnt._plots(made)}
    assert "curves-images-3" not in names
    assert {"curves-trees-90", "curves-images-1", "masses-trees", "estimate-images"} <= names
    titles = {table.title for table in tnt._tables(made)}
    assert {
        "0.3% of signal, trees (table 2)",
        "0.1% of signal, images (table 3)",
        "1.0% of signal, trees",
        "0.0% of signal, images",
    } <= titles
    assert len(tnt._notes(made)) == 4


def test_numbers_of_the_paper_are_those_of_its_tables() -> None:
    """JHEP 01 (2021) 153, tables 1 to 3."""
    assert tnt._COUNTED == {
        "autoencoder": "1.4, 1.7, 2.0, 3.1, 2.3",
        "tnt": "2.1, 3.2, 5.1, > 10, > 10",
    }
    names = ("before", "autoencoder", "cwola", "tnt-mjj")
    tables = {0.003: (1.4, 3.0, 4.8, 5.3), 0.001: (0.9, 0.9, 1.4, 1.4)}
    published = {share: dict(zip(names, z, strict=True)) for share, z in tables.items()}
    assert published == tnt._BUMPS
    sources = {one.id: one.source for one in tnt._claims(found())}
    assert {s for name, s in sources.items() if name.endswith("same-jet")} == {
        "arXiv:2002.12376, appendix A"
    }


def test_background_of_independent_jets_is_estimated_and_a_correlation_is_not() -> None:
    """Quantiles that are known: product of the rates, Pearson's coefficient, significance."""
    n = 40_000
    rng = np.random.default_rng(1)
    heavy, light = rng.random((2, n))
    sample = make_sample(n, signal_share=0.0)

    def measured(other: np.ndarray) -> dict[str, Any]:
        ranks = Ranks(np.zeros(n, int), heavy, other)
        trained = SimpleNamespace(
            data=sample,
            taggers=SimpleNamespace(sets={"tnt": SimpleNamespace(scopes=("heavy", "light"))}),
            ranks=lambda name, data: ranks,
        )
        return tnt._measure(trained)["tnt"]  # type: ignore[arg-type]

    own = measured(light)
    assert abs(own["pearson"]) < 0.02
    assert own["0.1"]["ratio"] == pytest.approx(1, abs=0.04)
    assert abs(own["0.01"]["z"]) < 3
    assert own["0.01"]["expected"] == 0  # no signal
    alike = measured(np.clip(heavy + 0.1 * (light - 0.5), 0, 1))
    assert alike["pearson"] > 0.9
    assert alike["0.01"]["ratio"] < 0.5
