"""The engine of studies, on a small experiment of tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.cli.studies import _command
from tnt_coffea.errors import ConfigError, StageError, TrainingError
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline import studies
from tnt_coffea.pipeline.studies import Block, Claim, Experiment, Injection, Verdict
from tnt_coffea.pipeline.studies.engine import _kept, _numbers, _trainings
from tnt_coffea.pipeline.studies.events import Pool, generated, injected, labelled
from tnt_coffea.pipeline.studies.experiment import Within, _decisive
from tnt_coffea.pipeline.studies.measurement import (
    TrainedBlock,
    best_improvement,
    measured,
    passed,
    trained,
)
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, figures_table, together
from tnt_coffea.pipeline.studies.study import Training
from tnt_coffea.reporting.study_figures import curve_bands, mass_ratios, scan, study_plot
from tnt_coffea.training import steps_of

COLUMNS = ("m_jj", "heavy_mass", "light_mass", "heavy_tau21", "light_tau21", "label")
QUIET = Resources(executor="iterative", progress=False)
METHODS = {
    "mass": {"kind": "feature", "feature": "mass"},
    "norm": {"kind": "norm", "features": ("mass", "tau21")},
}


HUNTED = {
    "search": {"cuts": {}},
    "fit": {"bump": {"toys": 0, "envelope": (), "max_parameters": 3, "bin_width": 100}},
}


def table(n: int, seed: int, *, signal: bool = False, label: int = 0) -> np.ndarray:
    """Return (event, column) features: falling in m_jj, or a resonance of heavy jets."""
    rng = np.random.default_rng(seed)
    m_jj = rng.normal(3500, 90, n) if signal else 2500 + rng.exponential(700, n)
    masses = rng.normal(400, 20, (2, n)) if signal else rng.exponential(100, (2, n))
    heavy, light = np.sort(masses + 20, axis=0)[::-1]
    taus = rng.normal(0.3 if signal else 0.6, 0.1, (2, n))
    return np.stack([m_jj, heavy, light, *taus, np.full(n, label)], axis=1)


def measure(tested: TrainedBlock) -> Mapping[str, object]:
    if "norm" not in tested.taggers.sets:
        return {}
    ranks = tested.ranks("norm", tested.left["signal"])
    return {"kept": float((ranks.both > 0.9).mean()), "signal": len(tested.left["signal"])}


def claims(found: Found) -> list[Claim]:
    auc = found.value("injected", "norm", "auc")
    return [Claim("separates", "nobody", "norm works", "AUC above 0.5", str(auc), auc.above(0.5))]


def plots(found: Found) -> list:
    figures = found.figures("injected")
    z = {"norm": [(0.05, found.z("injected", "norm", 0.02).mean, 0.0)]}
    return [
        study_plot("curves", "Curves", "Both.", curve_bands(figures, found.efficiencies), {}),
        study_plot("scan", "Z", "Against S/B.", scan({"Z": z}, x="S/B", lines={"Z": 0}), z),
        study_plot(
            "masses", "Mass", "Kept.", mass_ratios({"norm": figures["norm"]["sculpting"]}), {}
        ),
    ]


def tables(found: Found) -> list:
    return [figures_table(found, "injected", title="Figures", selections=(0.02, "uneven"))]


TINY = Experiment(
    name="tiny",
    title="A tiny experiment",
    source="nobody",
    pools={"background": Pool("rnd-background", 3000), "signal": Pool("rnd-signal", 600)},
    settings={
        "skim": {"images": None, "observables": ("mass", "tau21")},
        "search": {
            "fit_range": {"low": 2600, "high": 5000},
            "efficiencies": (0.02,),
            "cuts": {"uneven": {"heavy": 0.8, "light": 0.05}},
        },
        "fit": {"bump": {"bin_width": 100, "max_parameters": 3}, "window": {"enabled": True}},
    },
    blocks=(
        Block("injected", METHODS, Injection(share=0.05)),
        Block(
            "hunted",
            {"mass": METHODS["mass"]},
            Injection(share=0.05),
            repetitions=0.5,
            settings=HUNTED,
            curves=False,
        ),
        Block("null", METHODS, repetitions=0.5, hunted=False),
    ),
    claims=claims,
    plots=plots,
    tables=tables,
    measure=measure,
)


def files(folder: Path, *, label: int | None = None) -> dict[str, list[Path]]:
    """Return files of both pools; with a label, every event has it, whatever it is."""
    found = {}
    for pool, (n, seed) in {"background": (3000, 1), "signal": (600, 2)}.items():
        signal = pool == "signal"
        values = table(n, seed, signal=signal, label=int(signal) if label is None else label)
        found[pool] = [folder / f"{pool}.csv"]
        header = ",".join(COLUMNS)
        np.savetxt(found[pool][0], values, delimiter=",", header=header, comments="")
    return found


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def out(given: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    studies.run(TINY, given, out=folder, repetitions=2, resources=QUIET)
    return folder


def test_an_experiment_leaves_numbers_figures_and_claims(out: Path) -> None:
    values = json.loads((out / "tiny" / "study.json").read_text())
    blocks = values["numbers"]["blocks"]
    found = Found(values["numbers"])
    assert [claim["verdict"] for claim in values["claims"]] == [Verdict.UNDECIDED]
    assert (
        "Claims that compare means over fewer than 3 repetitions are undecided." in values["notes"]
    )
    assert values["command"] == (
        "tnt-coffea study tiny --background FILES --signal FILES --repetitions 2 --seed 1"
    )
    assert values["notes"][-1] == "Events are those of the files given."  # nothing is generated
    injected_block = blocks["injected"]
    assert injected_block["signal"]["mean"] == round(0.05 * injected_block["background"]["mean"])
    assert blocks["null"]["signal"]["values"] == [0, 0]
    assert "hunted" not in blocks["null"]
    # Signal of both blocks is heavy: the mass says nearly everything, m_jj nothing in the window.
    assert found.value("null", "mass", "auc").mean > 0.99
    assert found.value("null", "heavy mass", "auc").mean > 0.95
    assert abs(found.value("null", "m_jj", "auc").mean - 0.5) < 0.1
    assert found.sic("injected", "norm", 0.5).mean > 3
    assert found.z("injected", "mass", 0.02).mean > 5 > found.z("injected", "mass").mean
    assert found.z("injected", "mass", "uneven").mean > found.z("injected", "mass").mean
    assert found.value("injected", "mass", "selections/uneven/eps_b").mean == pytest.approx(
        0.04, abs=0.03
    )
    # The bump hunt beside counts in the window, with the same events.
    assert found.z("hunted", "mass", 0.02).mean > 5 > found.z("hunted", "mass").mean
    assert found.z("injected", "mass", key="pull").mean < 5
    assert found.block("hunted")["injected"] == injected_block["injected"]
    assert "improvement" not in found.figures("hunted")["mass"]
    assert found.value("hunted", "mass", "max_sic") == found.value("injected", "mass", "max_sic")
    assert found.measured("null", "kept").mean > 0.9
    assert found.measured("null", "signal").mean == 600
    page = (out / "tiny" / "study.md").read_text()
    for figure in ("curves", "scan", "masses"):
        assert f"]({figure}.png)" in page
        assert (out / "tiny" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert "| low heavy tau21 |" in page


@pytest.mark.slow
def test_a_killed_experiment_goes_on_and_a_complete_one_is_read(out: Path, given) -> None:
    folder = out / "tiny"
    first = json.loads((folder / "study.json").read_text())
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "trainings").iterdir()}
    blocks = [block.name for block in TINY.blocks]
    assert before.keys() == {f"{b}-{i}.json" for b in blocks for i in (0, 1)}
    options = {"out": out, "resources": QUIET}
    assert studies.run(TINY, given, repetitions=2, **options).to_dict() == first
    (folder / "study.json").unlink()
    (folder / "trainings" / "null-1.json").write_text("{")
    again = studies.run(TINY, given, repetitions=2, **options).to_dict()
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "trainings").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"null-1.json"}
    took = {"cpu_seconds": 0, "wall_seconds": 0}
    assert {**again, **took} == {**first, **took}
    assert first["wall_seconds"] > 0
    assert "core" in first["machine"]
    # More repetitions, and other blocks, train what is missing.
    more = studies.run(TINY, given, repetitions=3, **options)
    assert len(more.numbers["blocks"]["injected"]["injected"]["values"]) == 3
    assert len(list((folder / "trainings").iterdir())) == 7
    trained = {path.name: path.stat().st_mtime_ns for path in (folder / "trainings").iterdir()}
    less = replace(TINY, blocks=TINY.blocks[:1])
    assert studies.run(less, given, repetitions=2, **options).numbers["blocks"].keys() == {
        less.blocks[0].name
    }
    assert trained == {
        path.name: path.stat().st_mtime_ns for path in (folder / "trainings").iterdir()
    }
    # Other settings of all blocks are another study.
    changed = replace(TINY, code=2)
    with pytest.raises(StageError, match="another configuration"):
        studies.run(changed, given, repetitions=2, **options)


def test_a_changed_block_is_another_training_and_more_of_it_are_not() -> None:
    block = TINY.blocks[0]
    assert TINY.digest_of(replace(block, repetitions=0.3)) == TINY.digest_of(block)
    assert TINY.digest_of(replace(block, methods={})) != TINY.digest_of(block)
    trainings = _trainings(TINY, {"contents": {}, "experiment": "", "seed": 1}, 2)
    assert [one.settings["repetition"] for one in trainings] == sorted(
        one.settings["repetition"] for one in trainings
    )


def test_labels_of_the_files_change_nothing(tmp_path: Path, given) -> None:
    """The truth that is injected comes from the pools, and the training sees none."""
    others = files(tmp_path, label=1)
    dumps = []
    for chosen in (given, others):
        skim = _skim(chosen, tmp_path / chosen["signal"][0].parent.name)
        with trained(
            TINY, skim, tmp_path / "flat", "injected", {"seed": 1, "repetition": 0}
        ) as tested:
            hidden = replace(tested.data, label=tested.data.label[::-1].copy())
            again = pipeline.train(hidden, tested.config, out=tmp_path / "again", resources=QUIET)
            for name, one in tested.taggers.sets.items():
                assert one.digest == again.sets[name].digest
            dumps.append({name: one.digest for name, one in tested.taggers.sets.items()})
    assert dumps[0] == dumps[1]


def test_methods_that_label_are_not_searched_and_a_pool_may_be_of_the_window(
    tmp_path: Path, given
) -> None:
    block = Block(
        "injected",
        METHODS,
        Injection(share=0.05),
        trained_on=("background:more",),
        labelling=("mass",),
        curves=False,
    )
    more = {"background:more": Pool("rnd-background", 3000, window_only=True)}
    experiment = replace(TINY, pools={**TINY.pools, **more}, blocks=(block,))
    file = tmp_path / "more.csv"
    np.savetxt(file, table(3000, 7), delimiter=",", header=",".join(COLUMNS), comments="")
    skim = _skim({**given, "background:more": [file]}, tmp_path / "events", experiment)
    chosen = {"seed": 1, "repetition": 0}
    with trained(experiment, skim, tmp_path / "flat", "injected", chosen) as tested:
        assert set(tested.taggers.sets) == {"mass", "norm"}
        assert tested.histograms is not None
        assert set(tested.histograms.hists) == {"norm"}
        inside = tested.config.search.window.contains
        kept = tested.pools["background:more"]
        assert len(kept) == inside(skim.sample("prior:background-more").mass).sum() > 0
        assert inside(kept.mass).all()


@pytest.mark.parametrize("refusals", [True, False])
def test_a_training_that_is_refused_is_kept_or_ends_the_study(
    tmp_path: Path, given, refusals: bool
) -> None:
    trees = {"network": "trees", "features": ("mass", "tau21")}
    block = Block(
        "few", {"truth": {"kind": "supervised", "classifier": trees}}, Injection(number=8)
    )
    experiment = replace(TINY, blocks=(block,), refusals=refusals)
    skim = _skim(given, tmp_path / "events", experiment)
    training = Training("few-0", {"block": "few", "seed": 1, "repetition": 0})
    if not refusals:
        with pytest.raises(TrainingError, match="signal-rich"):
            measured(experiment, skim, tmp_path / "flat", training)
        return
    outcome = measured(experiment, skim, tmp_path / "flat", training)
    assert "signal-rich" in outcome["refused"]
    made = Found({"efficiencies": [], "blocks": {"few": together([outcome] * 2)}})
    assert made.refused("few") == (outcome["refused"],) * 2
    assert made.figures("few") == {}
    for value in (made.value("few", "truth", "auc"), made.z("few", "truth", 0.02)):
        assert value.n == 0
    assert figures_table(made, "few", title="Figures", selections=(0.02,)).rows == ()


def test_a_summary_may_keep_some_keys_of_the_own_methods_alone() -> None:
    tests = {"0.02": {"z": 2.0, "p_value": 0.02}}
    outcome = {
        "signal": 7,
        "tested": {"signal": {"norm": {"auc": 0.9, "max_sic": 3.0}, "heavy mass": {"auc": 0.8}}},
        "hunted": {"before": {"z": 1.0, "p_value": 0.16}, "methods": {"norm": tests}},
    }
    block = Block("one", {"norm": METHODS["norm"]})
    assert _kept(block, outcome, ()) == outcome
    assert _kept(block, outcome, ("max_sic", "z")) == {
        "signal": 7,
        "tested": {"signal": {"norm": {"max_sic": 3.0}}},
        "hunted": {"before": {"z": 1.0}, "methods": {"norm": {"0.02": {"z": 2.0}}}},
    }


def test_curves_are_kept_of_all_methods_of_none_or_of_some() -> None:
    block = TINY.blocks[0]
    for curves, known in ((True, {"mass", "norm"}), (False, set()), (("norm",), {"norm"})):
        chosen = replace(block, curves=curves)
        assert {name for name in METHODS if chosen.has_curves(name)} == known
    assert TINY.digest_of(replace(block, curves=("norm",))) != TINY.digest_of(block)


def test_tables_say_what_every_method_knows() -> None:
    trees = {"network": "trees", "features": ["mass"]}
    methods = {
        "norm": METHODS["norm"],
        "dctr": {"kind": "dctr"},
        "weighted": {"kind": "salad", "after": "dctr", "classifier": trees},
        "told": {"kind": "lstm"},
        "best": {"kind": "supervised_both_jets", "classifier": trees},
    }
    block = Block("one", methods)
    known = TINY.knowledge(block)
    assert known == {
        "norm": "none",
        "dctr": "background simulation",
        "weighted": "background simulation",
        "told": "signal simulation",
        "best": "truth",
    }
    outcome = {"tested": {"signal": {name: {"auc": 0.9} for name in (*methods, "m_jj")}}}
    chosen = replace(TINY, blocks=(block,))
    trainings = _trainings(chosen, {"contents": {}, "experiment": "", "seed": 1}, 2)
    numbers = _numbers(chosen, trainings, {one.name: outcome for one in trainings})
    table = figures_table(Found(numbers), "one", title="Figures")
    assert table.columns[1] == "knowledge"
    assert {row[0]: row[1] for row in table.rows} == {**known, "m_jj": "-"}


def test_what_came_later_changes_no_study_that_does_without_it() -> None:
    assert "window_only" not in _decisive(TINY.pools["background"])
    assert "labelling" not in _decisive(TINY.blocks[0])
    other = {"background": Pool("rnd-background", 3000, window_only=True)}
    assert replace(TINY, pools={**TINY.pools, **other}).digest != TINY.digest


def _skim(chosen, out: Path, experiment: Experiment = TINY):
    from tnt_coffea.pipeline.studies.events import skimmed

    return skimmed(chosen, experiment.pools, TINY.settings["skim"], out=out, resources=QUIET)


def test_more_signal_contains_the_fewer_and_none_is_tested_on(given, tmp_path: Path) -> None:
    skim = _skim(given, tmp_path)
    background, pool = labelled(skim.sample(), 0), labelled(skim.sample("prior:signal"), 1)
    few, left = injected(background, pool, 20, within=None, seed=3)
    many, _ = injected(background, pool, 50, within=None, seed=3)
    assert set(few.event_id) < set(many.event_id)
    assert len(few) - len(background) == 20
    assert not np.intersect1d(few.event_id, left.event_id).size
    with pytest.raises(ConfigError, match="301 signal events are to be injected"):
        injected(background, pool, 301, within=None, seed=3)


@pytest.mark.parametrize(
    ("injection", "wanted"),
    [
        (Injection(share=0.01), 100),
        (Injection(significance=3), 300),
        (Injection(number=7, within=Within.ALL), 7),
    ],
)
def test_signal_is_asked_for_in_three_ways(injection: Injection, wanted: int) -> None:
    assert injection.wanted(10_000) == wanted


@pytest.mark.parametrize("injection", [Injection(), Injection(share=0.1, number=3)])
def test_signal_is_asked_for_in_one_way(injection: Injection) -> None:
    with pytest.raises(ConfigError, match="one of share, significance and number"):
        injection.wanted(100)


def test_curves_are_shares_of_background_above_the_signals_quantiles() -> None:
    rng = np.random.default_rng(1)
    signal, background = rng.normal(1, 1, 20_000), rng.normal(0, 1, 50_000)
    found = passed(signal, background)
    exact = [(background > np.quantile(signal, 1 - eps)).mean() for eps in EFFICIENCIES]
    np.testing.assert_allclose(found, exact, atol=2e-4)
    value, eps_s, eps_b = best_improvement(signal, background)
    assert eps_b * len(background) >= 25
    assert value == pytest.approx(eps_s / np.sqrt(eps_b))
    assert value >= max(e / np.sqrt(b) for e, b in zip(EFFICIENCIES, found, strict=True)) - 0.01
    # Equal scores say nothing, and too few events no number.
    np.testing.assert_allclose(passed(np.zeros(9), np.zeros(1000)), EFFICIENCIES)
    assert best_improvement(np.zeros(9), np.zeros(1000)) == (1.0, 1.0, 1.0)
    assert best_improvement(signal, background[:24]) is None


def test_repetitions_become_means_with_deviations() -> None:
    found = together([{"a": 1, "b": [1.0, 2.0], "c": "x"}, {"a": None, "b": [3.0, 2.0], "c": "y"}])
    assert found == {
        "a": {"mean": 1.0, "sd": 0.0, "values": [1, None]},
        "b": {"mean": [2.0, 2.0], "sd": [pytest.approx(np.sqrt(2)), 0.0]},
        "c": ["x", "y"],
    }
    value = Found({"blocks": {"b": {"measured": found}}}).measured("b", "nothing/here")
    assert (value.n, str(value), value.above(0)) == (0, "none", Verdict.UNDECIDED)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"repetitions": 1}, "repetitions of the study is 1, expected at least 2"),
        ({"scale": 0.0}, "scale of the study is 0.0"),
        ({"seed": -1}, "seed of the study is -1"),
        ({"epochs": 0}, "epochs of the study is 0"),
        ({"files": {"background": ["b.csv"]}, "scale": 0.1}, "leave one out"),
        ({"files": {"background": ["b.csv"]}}, r"needs files of signal as well \(--background, "),
        ({"files": {"data": ["b.csv"]}}, "has no events of data, only of background, signal"),
    ],
)
def test_wrong_numbers_are_one_error(tmp_path: Path, changes, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        studies.run(TINY, out=tmp_path, resources=QUIET, **changes)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("block", "match"),
    [
        (Block("much", METHODS, Injection(share=0.9)), "block much: .* give twice as many"),
        (Block("event", {"n": {"kind": "event_norm"}}), r"search.cuts \(uneven\) cannot cut"),
        (Block("wrong", {"n": {"kind": "no"}}), "study tiny, block wrong, train.methods"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is(given, tmp_path, block, match) -> None:
    with pytest.raises(ConfigError, match=match):
        studies.run(replace(TINY, blocks=(block,)), given, out=tmp_path, resources=QUIET)
    assert not (tmp_path / "tiny").exists()


def test_the_command_of_an_experiment_has_its_kinds_of_events(out: Path, given) -> None:
    named = replace(
        TINY, pools={**TINY.pools, "prior:two-prong": Pool("rnd-signal", 600, optional=True)}
    )
    words = ["--out", str(out / "other"), "-q", "--workers", "1", "--prior", "wrong=x.csv"]
    done = CliRunner().invoke(_command(named), words)
    assert done.exit_code == 2
    assert "names no prior: write NAME=FILE with NAME one of two-prong" in done.output
    for extra, forms in (({}, "FILE"), ({"signal:b": TINY.pools["signal"]}, "FILE or NAME=FILE")):
        pools = replace(TINY, pools={**TINY.pools, **extra})
        done = CliRunner().invoke(_command(pools), ["--signal", "box9=x.csv"])
        assert done.exit_code == 2
        assert f"'box9=x.csv' names no signal: write {forms}" in done.output
    words = ["--out", str(out), "-q", "--workers", "1", "--repetitions", "2"]
    words += [w for pool, paths in given.items() for w in (f"--{pool}", str(paths[0]))]
    done = CliRunner().invoke(_command(TINY), words)  # as the complete study there
    assert done.exit_code == 0, done.output
    assert "separates" in done.output
    assert done.output.splitlines()[-1] == f"study: {out / 'tiny'}"


@pytest.mark.parametrize("name", studies.experiment_names())
def test_every_experiment_is_a_command_with_settings_that_are_possible(name: str) -> None:
    experiment = studies.experiment_named(name)
    assert experiment.name == name
    for block in experiment.blocks:
        assert steps_of(experiment.configured(block, seed=1, epochs=1))
    done = CliRunner().invoke(main, ["study", name, "--help"])
    assert done.exit_code == 0, done.output
    assert experiment.title in done.output.replace("\n  ", " ")


def test_generated_events_are_shared_and_follow_the_scale(tmp_path: Path) -> None:
    pools = {"background": Pool("rnd-background", 200), "signal": Pool("rnd-signal", 20, least=3)}
    options = {"out": tmp_path, "seed": 1, "resources": QUIET}
    found = generated(pools, scale=0.02, **options)
    assert [path.parts[-3].rsplit("-", 1)[0] for paths in found.values() for path in paths] == [
        "rnd-background-4", "rnd-signal-3",
    ]  # fmt: skip
    times = [path.stat().st_mtime_ns for paths in found.values() for path in paths]
    again = generated(dict(reversed(pools.items())), scale=0.02, **options)
    assert [again[name][0].stat().st_mtime_ns for name in found] == times
