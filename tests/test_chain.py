"""The proofs of a whole search: no truth, no leak, no dependence on how it was run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from coffea import processor
from coffea.nanoevents import BaseSchema

from tnt_coffea import chain, pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import StageError
from tnt_coffea.events import sources
from tnt_coffea.events.identity import fold_of
from tnt_coffea.execution import Resources, open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SearchProcessor
from tnt_coffea.products import Histograms, Skim, Taggers


def sha256(folder: Path, *patterns: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def outputs(out: Path) -> dict[str, str]:
    """Everything that a search concludes: taggers, quantile maps, histograms, results."""
    found = sha256(
        out,
        "train/*/*.onnx",
        "train/*/*.json",
        "search/histograms.h5",
        "search/search.json",
        "fit/result.json",
    )
    assert len(found) == 16 + 4 + 3
    return found


def test_chain_ends_in_results(workspace: Path) -> None:
    assert len(outputs(workspace)) == 23
    page = (workspace / "report" / "report.html").read_text()
    assert "<html" in page
    assert set(pipeline.stage_seconds(workspace)) >= {"generate", "skim", "train", "search", "fit"}


@pytest.mark.slow
def test_truth_reaches_no_tagger_histogram_or_result(
    workspace: Path, events_file: Path, small_config: SearchConfig, tmp_path: Path
) -> None:
    permuted = tmp_path / "events.h5"
    with h5py.File(events_file) as source, h5py.File(permuted, "w") as target:
        rows = source["events"][:]
        truth = rows[:, 2100].copy()
        rows[:, 2100] = np.random.default_rng(0).permutation(truth)
        assert (rows[:, 2100] != truth).sum() > 0
        target["events"] = rows
    fileset = Fileset.from_paths({"data": [permuted]})
    # The stages that conclude: a report would draw what the labels say.
    out = tmp_path / "out"
    skimmed = pipeline.skim(fileset, small_config, out=out)
    taggers = pipeline.train(skimmed, small_config, out=out)
    pipeline.fit(pipeline.search(skimmed, taggers, small_config, out=out), small_config, out=out)
    assert outputs(out) == outputs(workspace)
    # The labels themselves did change, so the comparison above means something.
    before = Skim.load(workspace / "skim").sample(truth=True).label
    after = skimmed.sample(truth=True).label
    assert (before != after).any()


@pytest.mark.slow
def test_altering_an_event_of_a_fold_leaves_the_taggers_that_score_it_byte_identical(
    workspace: Path, events_file: Path, small_config: SearchConfig, tmp_path: Path
) -> None:
    with h5py.File(events_file) as source:
        rows = source["events"][:]
    scored = 0
    folds = folds_of(rows, small_config)
    chosen = np.flatnonzero(folds == scored)[:40]
    altered, rng = rows.copy(), np.random.default_rng(1)
    for _ in range(60):
        # Altered events are new ones; they have to be of the same fold. Both inner folds hold
        # some, and their images change, so that every tagger of the other fold sees it.
        moved = folds_of(altered, small_config) != scored
        again = chosen[moved[chosen] | (altered[chosen] == rows[chosen]).all(axis=1)]
        if not again.size:
            break
        factors = rng.uniform(0.7, 1.3, (again.size, 700)).astype(np.float32)
        altered[again, 0:2100:3] = rows[again, 0:2100:3] * factors
    assert not again.size
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as target:
        target["events"] = altered
    skimmed = pipeline.skim(Fileset.from_paths({"data": [path]}), small_config, out=tmp_path)
    pipeline.train(skimmed, small_config, out=tmp_path)
    assert skimmed.content != Skim.load(workspace / "skim").content
    for name in ("autoencoder", "tnt"):
        before = sha256(workspace / "train" / name, "*.onnx")
        after = sha256(tmp_path / "train" / name, "*.onnx")
        for file in before:
            scores_it = file.split("-")[1] == str(scored)
            # The other fold's taggers were trained on the event and must have seen it change.
            assert (before[file] == after[file]) is scores_it, file


def folds_of(rows: np.ndarray, config: SearchConfig) -> np.ndarray:
    from tnt_coffea.events.identity import event_ids

    cube = rows[:, :2100].reshape(len(rows), 700, 3)
    filled = cube[:, :, 0] > 0
    ids = event_ids(cube[filled], filled.sum(axis=1))
    return fold_of(ids, config.train.folds.outer, config.seed)


@pytest.mark.parametrize(
    ("executor", "chunk_size", "starts"),
    [
        ("iterative", 100, ("skim", "events")),
        # Every pass starts processes of its own.
        pytest.param("futures", 100, ("events",), marks=pytest.mark.slow),
        pytest.param("futures", 1000, ("skim", "events"), marks=pytest.mark.slow),  # larger items
        # The pass that makes the skim reads the events.
        pytest.param("dask", 100, ("skim",), marks=pytest.mark.slow),
        pytest.param("dask", 100, ("events",), marks=pytest.mark.slow),
        pytest.param("dask", 1000, ("skim", "events"), marks=pytest.mark.slow),
    ],
)
def test_histograms_do_not_depend_on_executor_chunks_or_start(
    workspace: Path,
    events_file: Path,
    small_config: SearchConfig,
    tmp_path: Path,
    executor: str,
    chunk_size: int,
    starts: tuple[str, ...],
) -> None:
    reference = Histograms.load(workspace / "search")
    taggers = Taggers.load(workspace / "train")
    with open_executor(executor, workers=2) as opened:
        shared = Resources(executor=opened, chunk_size=chunk_size)
        skimmed = pipeline.skim(
            Fileset.from_paths({"data": [events_file]}),
            small_config,
            out=tmp_path,
            resources=shared,
        )
        assert skimmed.content == Skim.load(workspace / "skim").content
        sources = {
            "skim": skimmed.fileset(),
            "events": Fileset.from_paths({"data": [events_file]}),
        }
        for start in starts:
            output, accounting = run(
                sources[start],
                SearchProcessor(small_config, taggers.sets.values()),
                opened,
                chunk_size=chunk_size,
            )
            assert accounting.selected == 500
            assert set(output["hists"]) == {"autoencoder", "tnt"}
            assert output["coincidences"] == reference.coincidences
            for name, h in output["hists"].items():
                assert h == reference.hists[name]
                assert h.sum(flow=True).value == 500


def test_stock_runner_over_the_skim_gives_the_same_histograms(
    workspace: Path, small_config: SearchConfig
) -> None:
    skimmed, reference = Skim.load(workspace / "skim"), Histograms.load(workspace / "search")
    runner = processor.Runner(
        executor=processor.IterativeExecutor(status=False),
        schema=BaseSchema,
        format="parquet",
        chunksize=130,
    )
    search = SearchProcessor(small_config, Taggers.load(workspace / "train").sets.values())
    files = [str(path) for path in skimmed.paths]
    output = runner({"data": {"files": files, "treename": "Events"}}, processor_instance=search)
    assert output["hists"] == dict(reference.hists)


def of_few_events(config: SearchConfig) -> SearchConfig:
    """Return the search with 8 blocks of three events, which take a fraction of a second each."""
    generate = config.generate.model_copy(update={"background": 12, "signal": 12, "block": 3})
    return config.model_copy(update={"generate": generate})


@pytest.mark.slow
def test_events_and_taggers_do_not_depend_on_the_executor(
    workspace: Path, small_config: SearchConfig, tmp_path: Path
) -> None:
    few = of_few_events(small_config)
    pipeline.generate(few, out=tmp_path / "alone")
    with open_executor("dask", workers=2) as opened:
        shared = Resources(executor=opened)
        pipeline.generate(few, out=tmp_path, resources=shared)
        skimmed = Skim.load(workspace / "skim")
        pipeline.train(skimmed, small_config, out=tmp_path, resources=shared)
    events = "generate/events.h5"
    assert sha256(tmp_path, events) == sha256(tmp_path / "alone", events)
    assert sha256(tmp_path / "train", "*/*.onnx", "*/*.json") == sha256(
        workspace / "train", "*/*.onnx", "*/*.json"
    )


def test_working_points_select_the_share_fixed_beforehand(
    workspace: Path, small_config: SearchConfig
) -> None:
    sample = Skim.load(workspace / "skim").sample()
    fit_range = small_config.search.fit_range
    inside = (sample.m_jj >= fit_range.low) & (sample.m_jj < fit_range.high)
    for tagger_set in Taggers.load(workspace / "train").sets.values():
        ranks = tagger_set.ranks(sample)
        for efficiency in small_config.search.efficiencies:
            for fold, cut in tagger_set.quantiles.points[efficiency].cuts.items():
                mine = inside & (ranks.fold == fold)
                selected = (ranks.both[mine] > cut.heavy).sum()
                assert abs(selected - round(efficiency * mine.sum())) <= 1


def test_finished_stages_are_not_run_again(workspace: Path, small_config: SearchConfig) -> None:
    def written() -> dict[Path, int]:
        stages = ("generate", "skim", "train", "search", "fit", "report")
        return {
            path: path.stat().st_mtime_ns
            for stage in stages
            for path in (workspace / stage).rglob("*")
        }

    before = written()
    # This is no executor: none is opened where nothing is to be done.
    outcome = chain.demo(small_config, out=workspace, resources=Resources(executor="none"))
    assert written() == before
    assert outcome.evaluation is not None
    assert outcome.result.trial == 1
    assert set(outcome.evaluation.sets) == {"autoencoder", "tnt"}


def test_folder_of_another_configuration_is_refused_with_the_difference(
    workspace: Path, events_file: Path, small_config: SearchConfig
) -> None:
    images = small_config.skim.images.model_copy(update={"pixels": 32})
    skim_settings = small_config.skim.model_copy(update={"images": images})
    other = small_config.model_copy(update={"skim": skim_settings})
    fileset = Fileset.from_paths({"data": [events_file]})
    with pytest.raises(StageError, match=r"settings.images.pixels: 40 there, 32 now"):
        pipeline.skim(fileset, other, out=workspace)


@pytest.mark.slow
def test_killed_search_goes_on_where_it_was_cut(small_config: SearchConfig, tmp_path: Path) -> None:
    few, config = of_few_events(small_config), tmp_path / "search.yaml"
    config.write_text(few.to_yaml())
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "tnt_coffea.cli",
        "demo",
        "--config",
        str(config),
        "--out",
        str(out),
        "--executor",
        "iterative",
        "--quiet",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = out / "generate" / ".parts"
    while process.poll() is None and len(list(parts.glob("*-000*"))) < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    made = {path: path.stat().st_mtime_ns for path in parts.glob("*-00000")}
    assert made
    assert not (out / "generate" / "manifest.json").exists()
    pipeline.generate(few, out=out)
    pipeline.generate(few, out=tmp_path / "whole")
    assert sha256(out, "generate/events.h5") == sha256(tmp_path / "whole", "generate/events.h5")


@pytest.mark.slow
def test_inference_needs_no_training_extra(
    workspace: Path, small_config: SearchConfig, tmp_path: Path
) -> None:
    """Skim, search, fit and report with TensorFlow, Keras, onnx and PYTHIA out of reach."""
    script = f"""
import sys
for name in ("tensorflow", "keras", "onnx", "tf2onnx", "pythia8mc"):
    sys.modules[name] = None
from pathlib import Path
from tnt_coffea import chain, pipeline
from tnt_coffea.config import SearchConfig
from tnt_coffea.filesets import Fileset
from tnt_coffea.products import Taggers
out = Path({str(tmp_path)!r})
config = SearchConfig.from_yaml(out / "search.yaml")
files = Fileset.from_paths({{"data": [{str(workspace / "generate" / "events.h5")!r}]}})
taggers = Taggers.load({str(workspace / "train")!r})
skim = pipeline.skim(files, config, out=out)
hists = pipeline.search(skim, taggers, config, out=out)
result = pipeline.fit(hists, config, out=out)
pipeline.report(result, out / "report.html", config, hists, skim=skim, taggers=taggers)
"""
    (tmp_path / "search.yaml").write_text(small_config.to_yaml())
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sha256(tmp_path, "fit/result.json") == sha256(workspace, "fit/result.json")


def test_real_olympics_file_gives_the_reference_values(lhco_file: Path, tmp_path: Path) -> None:
    """Values of an independent measurement with FastJet 3.5.2 on the same file."""
    skimmed = pipeline.skim(Fileset.from_paths({"data": [lhco_file]}), SearchConfig(), out=tmp_path)
    sample = skimmed.sample(truth=True)
    assert (len(sample), skimmed.duplicates) == (1000, 0)
    expected = {0: (907, 3039, 227, 103, 142), 1: (93, 3466, 497, 108.5, 69)}
    for label, (n, m_jj, heavy, light, window) in expected.items():
        mine = sample.label == label
        assert mine.sum() == n
        assert np.median(sample.m_jj[mine]) == pytest.approx(m_jj, abs=0.6)
        assert np.median(sample.columns["heavy_mass"][mine]) == pytest.approx(heavy, abs=0.6)
        assert np.median(sample.columns["light_mass"][mine]) == pytest.approx(light, abs=0.5)
        assert ((sample.m_jj > 3300) & (sample.m_jj < 3700) & mine).sum() == window
    leading = np.maximum(sample.columns["heavy_pt"], sample.columns["light_pt"])
    assert leading[sample.label == 0].min() == pytest.approx(1200.0, abs=0.05)
    assert leading[sample.label == 1].min() == pytest.approx(1207.9, abs=0.05)
    assert sources.source_of(lhco_file).entries(lhco_file) == 1000
