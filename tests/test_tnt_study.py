"""The study of Tag N' Train: its blocks, its claims on made-up numbers, its measurement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tnt_coffea import stats
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import tnt_blocks, tnt_claims, tnt_page
from tnt_coffea.pipeline.studies.engine import _kept
from tnt_coffea.pipeline.studies.experiments import tnt
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, together
from tnt_coffea.taggers import Scores
from tnt_coffea.training import steps_of
from tnt_coffea.training.weak_labels import FEWEST

CURVE = np.linspace(10, 2, len(EFFICIENCIES)).tolist()


def shapes(mass: float, tau21: float) -> dict[str, float]:
    return {
        f"{jet}_{name}": value
        for jet in ("heavy", "light")
        for name, value in (("mass", mass), ("tau21", tau21))
    }


def as_published(share: float, method: str) -> tuple[float, float, float]:
    """AUC, max SIC and Z at 3 % as the paper has them, roughly."""
    if method == "autoencoder":
        return 0.75, 1.8, tnt_claims.BUMPS.get(share, {}).get("autoencoder", 1.0)
    if method.startswith("same"):
        return 0.7, 1.5, 0.0
    if method.startswith("supervised"):
        return (0.98 if method.endswith("both") else 0.965), 9.0, 0.0
    gain = {0.09: 0.2, 0.01: 0.15, 0.003: -0.1, 0.001: -0.15}.get(share, 0.0)
    more = 0.01 if method[-2:] in ("-2", "-3") else 0.0
    least = {"cwola": 1.0, "tnt-mjj-3": 1.4}
    window = least if share == 0.001 else {"cwola": 6.2, "tnt-mjj-3": 6.0}
    sic = {"tnt-3": 4.0, **window}.get(method, 3.0)
    z = tnt_claims.BUMPS.get(share, {}).get("tnt-mjj-3", 0.5) + (1.0 if share else 0.0)
    return 0.75 + gain + more, sic, z


def outcome(block: Any, shift: float, worse: float, events: int) -> dict[str, Any]:
    """One repetition, with every key that the real one has."""
    share = tnt_blocks.share_of(block.name)
    slices = {"p": 0.5, "edges": np.linspace(2600, 5000, 11).tolist(), "ratio": [1.0] * 10}
    flat = {"flat": {f"{one:g}": slices for one in tnt_blocks.CUTS}}
    figures, zs = {}, {}
    for method in block.methods:
        auc, sic, z = as_published(share, method)
        loss = worse if method.startswith("tnt") else 0.0
        own = auc - loss + shift / 100
        figures[method] = {
            **{"auc": own, "auc_fit": own, "max_sic": sic * (1 - loss) * (1 + shift / 10)},
            **{"sic_0.01": 2.0, "sic_0.001": 2.0, "max_sic_eps_s": 0.5},
        }
        if block.has_curves(method):
            figures[method] |= {"rejection": CURVE, "improvement": CURVE, "sculpting": flat}
        if block.hunted and method not in block.labelling:
            tests = {f"{one:g}": {"z": z + shift, "p_value": 0.1} for one in tnt_blocks.SELECTIONS}
            zs[method] = tests
    measured: dict[str, Any] = {"events": events, "s_over_b": tnt_claims._S_OVER_B.get(share, 0.0)}
    if block.hunted:
        measured["cubic"] = {"before": 1.0, **dict.fromkeys(zs, 2.0)}
    if share == 0.09:
        measured |= {"same-3": {"plateau": 0.2 + shift / 10}, "tnt-3": {"plateau": 0.01}}
    if share == 0.01:
        measured |= {"signal": shapes(300, 0.3), "background": shapes(100, 0.6)}
        first = shift < 0  # planes are of one repetition
        if first:
            plane = {"heavy": [7] * tnt._SHAPES**2, "light": [7] * tnt._SHAPES**2}
            measured["signal"] = {**measured["signal"], "shapes": plane}
        for name in ("autoencoder", "tnt-3", "tnt-mjj-3", "pure-cwola"):
            top = shapes(310, 0.33)
            of_jets: dict[str, Any] = {"pearson": shift / 10, "top": top}
            if name in tnt_blocks.COUNTING:
                for one in tnt_blocks.SELECTIONS:
                    z = 3.1 if name == "autoencoder" else 12 * (1 - worse)
                    counted = {"ratio": 1.0 + shift / 10, "z": z, "expected": 5.0}
                    of_jets[f"{one:g}"] = counted
            if first and name in ("tnt-3", "pure-cwola"):
                counts = [12_345] * tnt._PLANE**2
                of_jets["plane"] = {"background": counts, "signal": counts}
            if first and name == "tnt-3":
                of_jets["top"] = {**top, "shapes": plane}
            measured[name] = of_jets | (flat if name != "pure-cwola" else {})
        measured["cwola"] = flat
    return {
        "injected": 100,
        "signal": 80,
        "background": 1000,
        "tested": {"signal": figures},
        "measured": measured,
        **({"hunted": {"before": {"z": 1.0}, "methods": zs}} if block.hunted else {}),
    }


def numbers(worse: float = 0.0, events: int = 1_500_000) -> dict[str, Any]:
    kept = tnt.EXPERIMENT.kept
    return {
        block.name: together(
            [_kept(block, outcome(block, shift, worse, events), kept) for shift in (-0.1, 0.0, 0.1)]
        )
        for block in tnt.EXPERIMENT.blocks
    }


def found(worse: float = 0.0, refused: Sequence[str] = (), events: int = 1_500_000) -> Found:
    blocks = numbers(worse, events) | {
        one: together([{"refused": "9 jets"}] * 3) for one in refused
    }
    return Found({"efficiencies": list(EFFICIENCIES), "blocks": blocks})


def test_every_block_can_be_trained_on_the_share_that_it_names() -> None:
    for block in tnt.EXPERIMENT.blocks:
        steps_of(tnt.EXPERIMENT.configured(block, seed=1))
    injection = tnt.EXPERIMENT.block("images-90").injection
    assert injection is not None
    assert injection.wanted(91_000) == 9000
    assert tnt.EXPERIMENT.block("trees-0").injection is None


def test_iterations_are_those_of_the_paper() -> None:
    """Section 4.1: three, 20 % signal-rich in the first, 10 % from the second on."""
    for block in tnt.EXPERIMENT.blocks:
        for name in ("tnt", "tnt-mjj"):
            first, second, third = (block.methods[f"{name}{i}"] for i in ("", "-2", "-3"))
            assert "signal_rich" not in first
            assert second["signal_rich"] == third["signal_rich"] == 0.1
            chain = ("autoencoder", name, f"{name}-2")
            assert (first["after"], second["after"], third["after"]) == chain
    modes = {
        name: tnt.EXPERIMENT.configured(block, seed=1).train.folds.mode.value
        for name in ("trees-10", "split-10", "images-10")
        if (block := tnt.EXPERIMENT.block(name))
    }
    assert modes == {"trees-10": "cross_validation", "split-10": "split", "images-10": "split"}


@pytest.mark.parametrize("scale", [0.01, 0.02, 0.05, 1.0])
def test_every_block_leaves_half_of_the_signal_to_test_on(scale: float) -> None:
    pools = tnt.EXPERIMENT.pools
    for block in tnt.EXPERIMENT.blocks:
        if block.injection is not None:
            wanted = block.injection.wanted(pools[block.background].at(scale))
            assert 0 < wanted <= pools[block.injection.pool].at(scale) / 2, block.name


def test_references_have_signal_to_learn_from_at_any_scale() -> None:
    """A fold of the split has several times the jets of a class that a classifier needs."""
    kinds = {"supervised", "supervised_both_jets"}
    for block in tnt.EXPERIMENT.blocks:
        if any(method["kind"] in kinds for method in block.methods.values()):
            assert block.injection is not None
            signal = block.injection.wanted(tnt.EXPERIMENT.pools[block.background].at(0.01))
            assert signal / 5 > 4 * FEWEST, block.name


def test_iterations_with_the_window_have_jets_to_learn_from_at_any_scale() -> None:
    """Of generated background 12 % lie in the window."""
    for block in tnt.EXPERIMENT.blocks:
        events = tnt.EXPERIMENT.pools[block.background].at(0.01)
        folds = tnt.EXPERIMENT.configured(block, seed=1).train.folds
        trained_on = events / (folds.outer * (1 if folds.mode.value == "split" else folds.inner))
        assert 0.12 * 0.1 * trained_on > 2 * FEWEST, block.name


def test_a_block_that_was_refused_leaves_its_claims_undecided() -> None:
    made = found(refused=["images-10"])
    verdicts = {one.id: one.verdict.value for one in tnt_claims.tnt_claims(made)}
    reasons = {one.id: one.reason for one in tnt_claims.tnt_claims(made)}
    for name in ("gains", "independent", "estimate", "counting", "learned", "flat"):
        assert verdicts[f"images-{name}"] == "undecided"
        assert reasons[f"images-{name}"] == "a training is missing: 9 jets"
    assert verdicts["trees-gains"] == "confirmed"
    refused = next(one for one in tnt_page.tnt_tables(made) if one.title == "What was refused")
    assert refused.rows == (("images-10", "3", "9 jets"),)


def test_blocks_that_were_not_asked_for_leave_their_claims_undecided() -> None:
    made = found()
    blocks = {name: one for name, one in made.numbers["blocks"].items() if "trees" in name}
    some = Found({**made.numbers, "blocks": blocks})
    claims = {one.id: one for one in tnt_claims.tnt_claims(some)}
    assert claims["trees-gains"].verdict.value == "confirmed"
    rest = [one for name, one in claims.items() if not name.startswith("trees")]
    assert {one.verdict.value for one in rest} == {"undecided"}
    reason = "a training is missing: not among the blocks that were asked for"
    assert {one.reason for one in rest} == {reason}
    titles = {one.title for one in tnt_page.tnt_tables(some)}
    assert "What falls short of the paper" in titles
    assert "What was refused" not in titles
    plots = {one.name for one in tnt_page.tnt_plots(some)}
    assert "estimate-trees" in plots
    assert "estimate-images" not in plots


def test_claims_hold_where_the_paper_holds() -> None:
    verdicts = {one.id: one.verdict.value for one in tnt_claims.tnt_claims(found())}
    assert len(verdicts) == len(tnt_blocks.INPUTS) * 19 + 2
    nulls = {f"{inputs}-null": verdicts.pop(f"{inputs}-null") for inputs in tnt_blocks.INPUTS}
    assert set(nulls.values()) == {"undecided"}  # repetitions share one background
    assert set(verdicts.values()) == {"confirmed"}, verdicts


def test_few_events_decide_nothing_of_significances_and_shapes() -> None:
    few = {one.id: one.verdict.value for one in tnt_claims.tnt_claims(found(events=50_000))}
    undecided = {name for name, verdict in few.items() if verdict == "undecided"}
    sizes = {"before", "bump-3", "bump-1", "null"}
    expected = {f"{inputs}-{name}" for inputs in tnt_blocks.INPUTS for name in sizes}
    assert undecided == expected | {"split-flat", "images-flat"}


def test_tnt_that_finds_nothing_confirms_nothing_and_a_biased_estimate_counts_for_nothing() -> None:
    numbers = found()
    for inputs in tnt_blocks.INPUTS:
        block = numbers.numbers["blocks"][tnt_blocks.block_name(inputs, 0.01)]
        own = block["tested"]["signal"]["tnt-3"]["max_sic"]
        own |= {"mean": 1.2, "values": [1.2, 1.2, 1.2]}
        ratio = block["measured"]["autoencoder"]["0.01"]["ratio"]
        ratio |= {"mean": 0.6, "values": [0.6, 0.61, 0.59]}
    verdicts = {one.id: one.verdict.value for one in tnt_claims.tnt_claims(numbers)}
    for inputs in tnt_blocks.INPUTS:
        assert verdicts[f"{inputs}-gains"] == "refuted"
        assert verdicts[f"{inputs}-too-little"] == "undecided"
        assert verdicts[f"{inputs}-estimate"] == "refuted"
        assert verdicts[f"{inputs}-counting"] == "undecided"


def test_claims_are_refuted_where_training_gains_nothing() -> None:
    made = found(worse=0.8)
    claims = {one.id: one for one in tnt_claims.tnt_claims(made)}
    for inputs in tnt_blocks.INPUTS:
        for name in ("gains", "same-jet", "converges", "counting"):
            assert claims[f"{inputs}-{name}"].verdict.value == "refuted"
            assert claims[f"{inputs}-{name}"].reason == tnt_claims.SHORT[name][0]
        assert claims[f"{inputs}-independent"].verdict.value == "confirmed"
    rows = {row[0]: row for row in tnt_page._short_table(made).rows}
    assert rows["trees-gains"] == ("trees-gains", "refuted", *tnt_claims.SHORT["gains"])
    assert "trees-independent" not in rows


def test_every_claim_has_a_reason_and_an_experiment_where_it_falls_short() -> None:
    names = {one.id.partition("-")[2] for one in tnt_claims.tnt_claims(found())}
    assert names == tnt_claims.SHORT.keys()


@pytest.mark.slow
def test_figures_are_those_of_the_paper_and_blocks_that_were_refused_have_none() -> None:
    made = found(refused=["images-10", "images-3"])
    names = {plot.name for plot in tnt_page._curves(made, "images")}
    assert names == {"curves-images-90", "same-jet-images-90", "curves-images-1"}
    assert tnt_page._of_middle(made, "images") == []
    names = {plot.name for plot in tnt_page._of_middle(made, "split")}
    assert names == {"estimate-split", "masses-split", "planes-split", "shapes-split"}


def test_tables_have_every_share_and_the_papers_numbers_beside_ours() -> None:
    made = found(events=50_000)
    tables = {table.title: table for table in tnt_page.tnt_tables(made)}
    assert {"1.0% of signal, trees, split", "0.0% of signal, images, split"} <= tables.keys()
    title = (
        "Bump hunt at 3%, 0.1% of signal, trees, cross-validation (table 3; paper 300,000 events "
        "searched, ours 50,000)"
    )
    assert tables[title].rows[3] == ("tnt-mjj-3", "1.4", "2.4 ± 0.1", "2 ± 0")
    counting = next(one for name, one in tables.items() if name.startswith("Counting"))
    assert counting.rows[0][:3] == ("10.0%", "1.8", "5 ± 0")
    flat = next(one for name, one in tables.items() if name.startswith("Median p"))
    assert flat.rows[1] == ("tnt-3", "0.5", "0.5", "0.5", "0.5")


def test_numbers_of_all_blocks_are_small_enough_to_keep() -> None:
    text = json.dumps(
        studies.StudyResult("", "", {}, {}, numbers(), (), (), 0.0).to_dict()["numbers"]
    )
    assert len(text) < 270_000  # the rest of 300 kB is for claims and notes


def test_numbers_of_the_paper_are_those_of_its_tables() -> None:
    """JHEP 01 (2021) 153, tables 1 to 3 and footnote 3."""
    assert tnt_page._COUNTED == {
        "autoencoder": (("1.8", "2.1", "2.5", "2.9", "2.8"), ("1.4", "1.7", "2.0", "3.1", "2.3")),
        "tnt-3": (("2.3", "3.9", "5.6", "> 10", "> 10"), ("2.1", "3.2", "5.1", "> 10", "> 10")),
    }
    names = ("before", "autoencoder", "cwola", "tnt-mjj-3")
    tables = {0.003: (1.4, 3.0, 4.8, 5.3), 0.001: (0.9, 0.9, 1.4, 1.4)}
    published = {share: dict(zip(names, z, strict=True)) for share, z in tables.items()}
    assert published == tnt_claims.BUMPS
    assert list(tnt_claims._S_OVER_B.values()) == [0.35, 0.06, 0.017, 0.005]
    sources = {one.id: one.source for one in tnt_claims.tnt_claims(found())}
    assert {s for name, s in sources.items() if name.endswith(("same-jet", "plateau"))} == {
        "arXiv:2002.12376, appendix A"
    }


def test_background_is_estimated_as_the_abcd_stage_does() -> None:
    histogram = stats.toy_search(60_000, 100)
    point = stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    where = (0.4, (3300, 3700))
    counts = stats.abcd_counts(histogram, point, *where)
    background = int(counts.a) - 100
    own = tnt._counted(histogram, point, background, quantile=0.4, within=(3300, 3700))
    assert own["ratio"] == pytest.approx(counts.paper_prediction / background)
    z = stats.paper_significance(counts.a, counts.paper_prediction, counts.paper_uncertainty)
    assert own["z"] == pytest.approx(z)
    assert own["expected"] is not None
    assert own["expected"] == pytest.approx(100 * z / (counts.a - counts.paper_prediction))
    assert tnt._counted(histogram, point, 0, quantile=0.4, within=(3300, 3700))["ratio"] is None


def test_a_plateau_is_the_share_of_events_with_the_largest_score_of_their_fold() -> None:
    fold = np.array([0] * 10 + [1] * 10)
    heavy = np.arange(20, dtype=np.float32)
    light = np.where(np.arange(20) % 10 < 4, 1.0, np.linspace(0, 0.5, 20)).astype(np.float32)
    light[fold == 1] = np.nan  # a fold that no tagger scores
    scores = Scores(fold, {"heavy": heavy, "light": light})
    sets = {"one": SimpleNamespace(score=lambda data: scores)}
    trained = SimpleNamespace(data=None, taggers=SimpleNamespace(sets=sets))
    assert tnt._plateau(trained, "one") == 0.4  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_small_study_runs_from_events_to_verdicts(tmp_path: Path) -> None:
    result = studies.run(
        tnt.EXPERIMENT,
        out=tmp_path,
        scale=0.02,
        repetitions=2,
        epochs=1,
        blocks=("images-90", "images-10", "trees-10", "split-0"),
        resources=Resources(executor="futures", workers=2, progress=False),
    )
    assert {one.id for one in result.claims} >= {"trees-gains", "split-null", "images-same-jet"}
    folder = tmp_path / "tnt"
    text = (folder / "study.json").read_text()
    assert len(text) < 300_000
    blocks = json.loads(text)["numbers"]["blocks"]
    assert set(blocks) == {"images-90", "images-10", "trees-10", "split-0"}
    assert {name for name, block in blocks.items() if "refused" in block} == set()
    assert blocks["trees-10"]["injected"]["values"] == [202, 202]
    assert blocks["images-90"]["injected"]["values"] == [989, 989]
    for name in ("curves-images-90", "planes-images", "shapes-trees", "estimate-trees"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "tnt-events" / "flat").exists()
