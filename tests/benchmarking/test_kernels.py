from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kernel_report import BenchmarkReport, Linearity, Ratio, Timing, interleaved, markdown
from kernels import benchmark, main

pytestmark = pytest.mark.slow  # the whole benchmark, however small, is run for its report


@pytest.fixture(scope="module")
def report(events_file: Path) -> Iterator[BenchmarkReport]:
    with pytest.MonkeyPatch.context() as patch:
        # Compiled and compared in test_kernel_peers.py.
        patch.setattr("kernels.native_clustering", lambda *_: None)
        yield benchmark(
            [events_file],
            events=60,
            repetitions=1,
            chunk=50,
            literal_events=3,
            scored_events=40,
            memory_events=(60,),
            linear_events=(30, 60),
        )


def test_every_figure_is_there(report: BenchmarkReport) -> None:
    (file,) = report.files
    assert file.file == "events.h5 (float32)"
    wanted = {"binding", "loaded", "particles", "dijets", "images", "subjettiness", "literal"}
    assert wanted <= set(file.times)
    assert all(timing.seconds > 0 for timing in file.times.values())
    names = {ratio.name for _, ratio in report.ratios()}
    for part in ("to dijets", "to two images", "tau1 to tau4", "literal", "ONNX", "memory"):
        assert any(part in name for name in names), part
    assert 100 < report.peak_memory[60] < 4000
    assert report.scoring is not None
    assert report.scoring.best_batch in report.scoring.by_batch


def test_table_and_json_hold_the_ratios(report: BenchmarkReport) -> None:
    text = markdown(report)
    for file, ratio in report.ratios():
        assert f"| {ratio.name} | {file} | {ratio.value:.3g} |" in text
    assert "ms/event" in text
    assert report.machine.processor in text
    back = json.loads(json.dumps(report.to_dict()))
    assert len(back["ratios"]) == len(list(report.ratios()))


def test_targets_are_limits_from_their_side(report: BenchmarkReport) -> None:
    assert Ratio("x", 1.2, 1.25).met
    assert not Ratio("x", 1.3, 1.25).met
    assert Ratio("x", 31, 30.0, at_most=False).met
    assert not Ratio("x", 29, 30.0, at_most=False).met
    assert Ratio("x", 29).met is None
    greedy = replace(report, peak_memory={60: 2000.0})
    assert not greedy.met
    assert "**not met**" in markdown(greedy)


def test_linearity_is_the_slope_in_the_logarithms() -> None:
    points = [Timing(n, 1e-4 * n**1.1, ()) for n in (1000, 3000, 10_000)]
    fit = Linearity.of(points)
    assert fit.exponent == pytest.approx(1.1, abs=1e-9)
    assert fit.spread > 0.1
    straight = Linearity.of([Timing(n, 1e-4 * n, ()) for n in (1000, 2000)])
    assert straight.spread == pytest.approx(0, abs=1e-12)


def test_work_runs_in_turns_and_the_best_counts() -> None:
    calls: list[str] = []
    work = {name: (10, lambda name=name: calls.append(name)) for name in ("a", "b")}
    times = interleaved(work, 3)
    assert calls == ["a", "b"] * 3
    assert times["a"].seconds == min(times["a"].repetitions)
    assert len(times["b"].repetitions) == 3


@pytest.mark.slow
def test_script_prints_and_stores_its_figures(
    events_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "figures.json"
    few = ("--events", "20", "--repetitions", "1", "--quick")
    main([str(events_file), *few, "--json", str(record)])
    assert "file to two images / bare binding" in capsys.readouterr().out
    assert json.loads(record.read_text())["files"][0]["file"].startswith("events.h5")
