"""Simulation in the search pass: weighted, scored out of fold, and apart from the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

import tnt_coffea as tnt
from tnt_coffea import pipeline, reporting, stats, testing
from tnt_coffea.cli import main
from tnt_coffea.config import FoldSettings, MassRange, SearchConfig, SkimSettings
from tnt_coffea.errors import ConfigError, InputError, LeakError, TaggerError
from tnt_coffea.events.skim import read_parts, write_part
from tnt_coffea.processors import ScoreProcessor, SearchProcessor
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.reporting.plots import all_plots
from tnt_coffea.reporting.summary import summary
from tnt_coffea.reporting.tables import weight_rows
from tnt_coffea.taggers import Member, Tagger, TaggerSet
from tnt_coffea.taggers.card import METADATA_KEY
from tnt_coffea.taggers.inputs import Columns

from .conftest import card_of

CONFIG = SearchConfig.from_text(
    "{search: {efficiencies: [0.3, 0.2]}, fit: {bump: {efficiency: 0.2}, abcd: {efficiency: 0.3}}}"
).model_copy(update={"skim": testing.make_sample(1).settings})
LOWER, UPPER = MassRange(low=3000, high=3300), MassRange(low=3700, high=4000)
# log w of member k in fold t, and of the two validation windows, is this times tau21 of the heavy.
SLOPES = {(t, k): 0.5 + 0.25 * t + 0.1 * k for t in (0, 1) for k in (0, 1)}


def weight_tagger(
    skim: SkimSettings,
    fold: int,
    member: int,
    names: tuple[str, ...] = ("lower validation", "upper validation"),
) -> Tagger:
    """Give a slope times the heavy jet's tau21, and 2 and 3 times that for the windows."""
    slope = SLOPES[fold, member]
    node, tensor = helper.make_node, helper.make_tensor
    graph = helper.make_graph(
        [
            node("MatMul", ["features", "slope"], ["product"]),
            node("Squeeze", ["product", "axes"], ["score"]),
            node("MatMul", ["features", "slopes"], ["latent"]),
        ],
        "weights",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", len(names)]),
        ],
        [
            tensor("slope", TensorProto.FLOAT, [1, 1], [slope]),
            tensor(
                "slopes",
                TensorProto.FLOAT,
                [1, len(names)],
                [(2 if name.startswith("lower") else 3) * slope for name in names],
            ),
            tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    shown = Columns(columns=("heavy_tau21",), substructure=skim.substructure)
    card = card_of(
        "ratio", skim, "event", fold, inputs=(shown,), purpose="weight", window=None,
        regions={name: LOWER if name.startswith("lower") else UPPER for name in names},
    )  # fmt: skip
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    return Tagger(model.SerializeToString())


@pytest.fixture(scope="module")
def weights() -> TaggerSet:
    members = [
        Member(weight_tagger(CONFIG.skim, t, k), "event", t, f"event-{t}-{k}") for t, k in SLOPES
    ]
    return TaggerSet("dctr", FoldSettings(outer=2), 1, tuple(members))


@pytest.fixture(scope="module")
def skim() -> Skim:
    data, simulation = testing.make_sample(1200), testing.make_sample(1500, 0.0, kind="sim")
    weight = np.where(np.arange(1500) % 3, 1.0, 0.5)
    return Skim.from_sample(data, simulation=replace(simulation, weight=weight))


@pytest.fixture(scope="module")
def taggers(feature_taggers: Callable[..., TaggerSet], skim: Skim, weights: TaggerSet) -> Taggers:
    own = feature_taggers(CONFIG.skim, ("mass", "tau21"), "salad")
    own = replace(own, weighted_by="dctr")
    own = own.calibrated(skim.sample(), CONFIG.search.fit_range, (0.3, 0.2))
    return Taggers({"salad": own}, {}, {"dctr": weights})


@pytest.fixture(scope="module")
def searched(skim: Skim, taggers: Taggers, tmp_path_factory: pytest.TempPathFactory) -> Histograms:
    return tnt.search(skim, taggers, CONFIG, out=tmp_path_factory.mktemp("weighted"))


def bytes_of(histogram: Any) -> bytes:
    return histogram.view(flow=True).tobytes()


def test_simulation_is_ranked_by_the_taggers_of_its_fold_and_weighted(
    searched: Histograms, skim: Skim, taggers: Taggers
) -> None:
    own = searched.simulation["salad"]
    assert (own.weights, own.window) == ("dctr", (3300, 3700))
    assert own.validation == {"lower validation": LOWER.edges, "upper validation": UPPER.edges}
    names = ["events", "lower validation", "member 0", "member 1", "nominal", "upper validation"]
    assert list(own.histogram.axes["weights"]) == names
    sample = skim.sample("simulation")
    ranks = taggers.sets["salad"].ranks(sample)
    x = sample.columns["heavy_tau21"].astype(float)
    cuts = searched.points["salad"][0.2].cuts
    edges = own.histogram.axes["m_jj"].edges
    inside = (sample.mass >= edges[0]) & (sample.mass < edges[-1])
    for name, slope in {
        "events": None,
        "nominal": lambda t: (SLOPES[t, 0] + SLOPES[t, 1]) / 2,
        "member 1": lambda t: SLOPES[t, 1],
        "upper validation": lambda t: 3 * (SLOPES[t, 0] + SLOPES[t, 1]) / 2,
    }.items():
        plane = stats.selected_spectrum(
            own.histogram[{"weights": name}], searched.points["salad"][0.2]
        )
        for t, cut in cuts.items():
            passed = (ranks.fold == t) & (ranks.heavy > cut.heavy) & (ranks.light > cut.light)
            passed &= inside
            w = np.ones(len(sample)) if slope is None else sample.weight * np.exp(slope(t) * x)
            assert passed.sum() > 30
            filled = plane[f"fold-{t}"].sum()
            assert filled.value == pytest.approx(w[passed].sum(), rel=1e-6)
            assert filled.variance == pytest.approx((w[passed] ** 2).sum(), rel=1e-6)


def test_the_data_are_the_same_with_and_without_simulation(
    searched: Histograms, skim: Skim, taggers: Taggers, tmp_path: Path
) -> None:
    unweighted = Taggers({"salad": taggers.sets["salad"]}, {}, {})
    for number, source in enumerate((skim, Skim.from_sample(skim.sample()))):
        plain = tnt.search(source, unweighted, CONFIG, out=tmp_path / f"{number}")
        assert bytes_of(plain.hists["salad"]) == bytes_of(searched.hists["salad"])
        assert plain.coincidences.to_bytes() == searched.coincidences.to_bytes()
        assert plain.accounting == searched.accounting
        assert (plain.simulation, plain.simulation_accounting) == ({}, None)
        assert not (tmp_path / f"{number}" / "search" / "simulation.h5").exists()
        assert plain.digest != searched.digest
    # Weights, but no simulation among the data sets.
    alone = tnt.search(Skim.from_sample(skim.sample()), taggers, CONFIG, out=tmp_path / "alone")
    assert (alone.simulation, alone.simulation_accounting) == ({}, None)
    assert alone.digest == plain.digest


def test_every_simulated_event_is_accounted_for(searched: Histograms) -> None:
    accounting = searched.simulation_accounting
    assert (accounting.events, accounting.selected) == (1500, 1500)
    assert searched.accounting.events == 1200


def test_the_simulation_is_stored_and_a_changed_file_refused(
    searched: Histograms, tmp_path: Path
) -> None:
    searched.save(tmp_path)
    again = Histograms.load(tmp_path)
    own, stored = searched.simulation["salad"], again.simulation["salad"]
    assert stored.histogram == own.histogram
    assert replace(stored, histogram=None).to_dict() == replace(own, histogram=None).to_dict()
    assert again.digest == searched.digest
    assert again.simulation_accounting == searched.simulation_accounting
    path = tmp_path / "simulation.h5"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(tnt.errors.StageError, match=r"simulation\.h5"):
        Histograms.load(tmp_path)


def chunks(skim: Skim, role: str, folder: Path, size: int) -> list[Any]:
    """Return events of a role, written as a skim of chunks, with coffea's metadata."""
    from tnt_coffea.events.sources import SOURCES

    path = folder / f"{role}.parquet"
    write_part(path, skim.sample(role))
    events = []
    for start in range(0, len(skim.sample(role)), size):
        meta = {
            "dataset": role, "role": role, "filename": str(path),
            "entrystart": start, "entrystop": start + size,
        }  # fmt: skip
        stop = min(start + size, len(skim.sample(role)))
        events.append(SOURCES["skim"].load(path, start, stop, meta))
    return events


@pytest.mark.parametrize("size", [100, 700])
def test_chunks_and_their_order_change_no_bit(
    searched: Histograms, skim: Skim, taggers: Taggers, tmp_path: Path, size: int
) -> None:
    from coffea.processor import accumulate

    processor = SearchProcessor(CONFIG, taggers.sets.values(), taggers.weights)
    parts = [processor.process(e) for e in chunks(skim, "simulation", tmp_path, size)[::-1]]
    found = processor.postprocess(accumulate(parts))["simulation"]["salad"]
    assert bytes_of(found) == bytes_of(searched.simulation["salad"].histogram)


def test_only_a_pass_with_weights_reads_simulation(
    skim: Skim, taggers: Taggers, tmp_path: Path
) -> None:
    (events,) = chunks(skim, "simulation", tmp_path, 2000)
    sets = taggers.sets.values()
    weighted = SearchProcessor(CONFIG, sets, taggers.weights)
    assert weighted.roles == ("data", "simulation")
    for processor in (SearchProcessor(CONFIG, sets), ScoreProcessor(CONFIG, sets)):
        with pytest.raises(InputError, match="'simulation' is of role simulation"):
            processor.process(events)
    events.metadata["role"] = "prior:two-prong"
    with pytest.raises(InputError, match="role prior:two-prong"):
        weighted.process(events)


def test_files_with_roles_give_the_same_as_a_skim(
    searched: Histograms, skim: Skim, taggers: Taggers, tmp_path: Path
) -> None:
    paths = {"box": tmp_path / "box.parquet", "herwig": tmp_path / "herwig.parquet"}
    roles = {"box": "data", "herwig": "simulation"}
    for name, path in paths.items():
        write_part(path, skim.sample(roles[name]))
    files = tnt.Fileset.from_paths({n: [p] for n, p in paths.items()}, roles=roles)
    found = tnt.search(files, taggers, CONFIG, out=tmp_path / "search")
    own = searched.simulation["salad"].histogram
    assert bytes_of(found.simulation["salad"].histogram) == bytes_of(own)
    assert bytes_of(found.hists["salad"]) == bytes_of(searched.hists["salad"])
    assert found.simulation_accounting.events == 1500
    # A stage of other simulation is another stage.
    write_part(paths["herwig"], skim.sample("simulation").select(np.arange(1000)))
    changed = tnt.Fileset.from_paths({n: [p] for n, p in paths.items()}, roles=roles)
    with pytest.raises(tnt.errors.StageError, match="source"):
        tnt.search(changed, taggers, CONFIG, out=tmp_path / "search")


def test_weights_of_other_folds_are_refused(taggers: Taggers, weights: TaggerSet) -> None:
    other = replace(weights, members=weights.members[:2])
    with pytest.raises(TaggerError, match="weights 'dctr' are of other folds"):
        SearchProcessor(CONFIG, taggers.sets.values(), {"dctr": other})


def test_validation_windows_are_those_of_all_taggers_joined_by_name(skim: Skim) -> None:
    both, upper = ("lower validation", "upper validation"), ("upper validation",)
    names = {(0, 1): upper}
    members = [
        Member(weight_tagger(CONFIG.skim, t, k, names.get((t, k), both)), "event", t, f"{t}{k}")
        for t, k in SLOPES
    ]
    mixed = TaggerSet("ratio", FoldSettings(), CONFIG.seed, tuple(members))
    assert mixed.validation_windows == {"upper validation": UPPER}
    sample = read_parts(skim.by_role["simulation"])
    found = mixed.log_weights(sample)
    assert "lower validation" not in found
    assert found["upper validation"] == pytest.approx(3 * found["nominal"], rel=1e-5)


def test_weights_of_other_numbers_of_events_are_refused(
    skim: Skim, taggers: Taggers, weights: TaggerSet, tmp_path: Path
) -> None:
    for role, number, message in (
        ("simulation", 5, "5 dijets of simulation"),
        ("data", 7, "7 dij"),
    ):
        learned = replace(weights, trained_on={role: number})
        others = replace(taggers, weights={"dctr": learned})
        with pytest.raises(TaggerError, match=f"learned from {message}"):
            tnt.search(skim, others, CONFIG, out=tmp_path / role)
        assert not (tmp_path / role / "search" / "manifest.json").exists()


def test_files_of_the_data_are_no_simulation(skim: Skim, taggers: Taggers, tmp_path: Path) -> None:
    (part,) = skim.by_role["data"]
    (tmp_path / "copy.parquet").write_bytes(part.read_bytes())
    files = tnt.Fileset.from_paths(
        {"box": [part], "other": [tmp_path / "copy.parquet"]}, roles={"other": "simulation"}
    )
    with pytest.raises(LeakError, match="which is simulation, is one of 'box', which is data"):
        tnt.search(files, taggers, CONFIG, out=tmp_path / "out")


def test_coffeas_own_runner_reads_simulation_by_its_role(
    searched: Histograms, skim: Skim, taggers: Taggers, tmp_path: Path
) -> None:
    from coffea.nanoevents import BaseSchema
    from coffea.processor import IterativeExecutor, Runner

    fileset = {}
    for dataset, role in {"box": "data", "herwig": "simulation"}.items():
        path = tmp_path / f"{dataset}.parquet"
        write_part(path, skim.sample(role))
        fileset[dataset] = {
            "files": [str(path)],
            "treename": "Events",
            "metadata": {"role": role},
        }
    runner = Runner(
        executor=IterativeExecutor(status=False), schema=BaseSchema, chunksize=700, format="parquet"
    )
    processor = SearchProcessor(CONFIG, taggers.sets.values(), taggers.weights)
    output = runner(fileset, processor_instance=processor)
    own = searched.simulation["salad"].histogram
    assert bytes_of(output["simulation"]["salad"]) == bytes_of(own)
    assert bytes_of(output["hists"]["salad"]) == bytes_of(searched.hists["salad"])
    assert output["cutflow"]["herwig"]["selected"] == 1500


FIT = SearchConfig.from_text(
    "fit: {bump: {toys: 0, max_parameters: 3, spurious: false}, limit: {toys: 0}, "
    "scan: {global_over: none}}",
    rest=CONFIG,
)
# What taggers of no training give: simulation as it is, its number fixed to that of the data.
LOOSE = FIT.model_copy(
    update={
        "fit": FIT.fit.model_copy(
            update={"direct": FIT.fit.direct.model_copy(update={"closure_limit": 20.0})}
        )
    }
)


@pytest.fixture(scope="module")
def fitted(
    searched: Histograms, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tnt.SearchResult]:
    out = tmp_path_factory.mktemp("fitted")
    (out / "search").mkdir()
    searched.save(out / "search")
    return out, tnt.fit(Histograms.load(out / "search"), LOOSE, out=out)


def test_the_fit_has_the_direct_estimate_and_notes_it_as_a_test(
    fitted: tuple[Path, tnt.SearchResult], searched: Histograms
) -> None:
    out, result = fitted
    estimate = result.direct["salad"]
    assert isinstance(estimate, stats.DirectEstimate)
    point = searched.points["salad"][0.2]
    inside = [
        sum(h[{"m_jj": slice(3300j, 3700j, sum)}].value for h in spectra.values())
        for spectra in (
            stats.selected_spectrum(searched.hists["salad"], point),
            stats.selected_spectrum(
                searched.simulation["salad"].histogram[{"weights": "nominal"}], point
            ),
        )
    ]
    assert [estimate.observed, estimate.predicted] == pytest.approx(inside)
    assert (estimate.weights, estimate.members) == ("dctr", 2)
    assert result.trials[0].p_values["direct estimate, salad"] == estimate.p_value
    known = "(knows beside the data: none)"  # taggers of the test, which no simulation trained
    assert f"direct estimate with salad {known}\n{estimate.summary()}" in result.summary()
    assert "direct estimate with salad" in repr(result)
    assert tnt.SearchResult.load(out / "fit") == result


def test_a_result_without_weights_is_as_before(fitted: tuple[Path, tnt.SearchResult]) -> None:
    values = replace(fitted[1], direct={}).to_dict()
    assert "direct" not in values
    assert tnt.SearchResult.from_dict(values).direct == {}


def test_the_closure_limit_refuses(searched: Histograms) -> None:
    refusal = pipeline.direct(searched, FIT, "salad")
    assert isinstance(refusal, stats.DirectRefusal)
    assert "further from 1 than 0.5" in refusal.reason


def test_a_blinded_fit_has_no_direct_estimate(searched: Histograms) -> None:
    blind = LOOSE.model_copy(update={"fit": LOOSE.fit.model_copy(update={"blind": True})})
    with pytest.raises(ConfigError, match=r"direct estimate would show .* fit\.blind"):
        pipeline.direct(searched, blind, "salad")


def test_the_command_writes_result_workspace_and_figure(
    fitted: tuple[Path, tnt.SearchResult], tmp_path: Path
) -> None:
    out, result = fitted
    found = {name: tmp_path / name for name in ("direct.json", "workspace.json", "direct.png")}
    options = zip(("--json", "--workspace", "--plot"), map(str, found.values()), strict=True)
    words = ["fit", "direct", str(out / "search"), *(w for pair in options for w in pair)]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output
    estimate = stats.DirectEstimate.from_dict(json.loads(found["direct.json"].read_text()))
    assert estimate == result.direct["salad"]
    workspace = json.loads(found["workspace.json"].read_text())
    assert workspace == stats.direct_workspace(estimate)
    assert found["direct.png"].stat().st_size > 10_000
    tests = [one["test"] for one in json.loads((out / "fits.json").read_text())]
    assert tests == ["fit", "direct"]
    refused = CliRunner().invoke(main, [*words[:3], "--blind"])
    assert refused.exit_code == 2
    assert "fit.blind hides" in refused.output


def test_without_weighted_simulation_the_command_says_what_is_needed(
    searched: Histograms, tmp_path: Path
) -> None:
    replace(searched, simulation={}, simulation_accounting=None).save(tmp_path)
    ran = CliRunner().invoke(main, ["fit", "direct", str(tmp_path)])
    assert ran.exit_code == 7
    assert "tagger set 'salad' has no weighted simulation" in ran.output
    assert "or train against a template, such as template_classifier" in ran.output


def test_the_report_shows_estimate_and_weights(
    fitted: tuple[Path, tnt.SearchResult], searched: Histograms, tmp_path: Path
) -> None:
    trainings = {
        f"dctr event/{t}": {
            "weight_effective": 0.9 - 0.1 * t, "weight_least": 0.2, "weight_largest": 5.0,
            "weight_high": 4.0, "weight_top": 0.03, "closure_auc_before": 0.588,
            "closure_auc_after": 0.512,
        }
        for t in (0, 1)
    }  # fmt: skip
    contents = reporting.ReportContents(
        result=fitted[1],
        config=LOOSE,
        hists=searched.hists,
        points=searched.points,
        histories=tuple(trainings.items()),
    )
    plots = {plot.name: plot for plot in all_plots(contents)}
    plot = plots["direct-salad"]
    spectrum = fitted[1].direct["salad"].spectrum
    assert plot.columns["weighted simulation"] == list(spectrum.predicted)
    shown = plot.figure.axes[0].get_legend_handles_labels()[1]
    assert {"signal region", "simulation, weighted by dctr", "data"} <= set(shown)
    (row,) = weight_rows(contents.histories)
    assert (row["weights"], row["effective"], row["AUC after"]) == ("dctr", "0.8 to 0.9", "0.512")
    rows = summary(fitted[1], LOOSE)
    (row,) = [one for one in rows.rows if one.test == "direct estimate"]
    assert (row.selection, row.kept) == ("salad", "20 %")
    assert "salad, direct" in [one.selection for one in rows.limits]
