"""What taggers knew beside the data is said wherever their numbers are, and truth is none of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from tnt_coffea import pipeline, reporting
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig, TrainSettings
from tnt_coffea.errors import LeakError
from tnt_coffea.events import Sample
from tnt_coffea.pipeline import evaluation
from tnt_coffea.products import Histograms, Skim, Taggers
from tnt_coffea.results import BlindedSearch, SearchResult
from tnt_coffea.training.method import Reads
from tnt_coffea.training.methods.feature import EventFeature

TREES = {"network": "trees", "trees": 8, "features": ["mass", "tau21"]}
PLAIN = {"min_parameters": 3, "max_parameters": 3, "spurious": False}
CONFIG = SearchConfig.model_validate(
    {
        "seed": 5,
        "train": {
            "methods": {
                "assisted": {"kind": "sa_cwola", "classifier": TREES},
                "tau": {"kind": "event_feature", "feature": "0 - heavy_tau21 - light_tau21"},
            }
        },
        "search": {"efficiencies": [0.3]},
        "fit": {
            "bump": {"efficiency": 0.3, "bin_width": 100, "toys": 0, **PLAIN},
            "limit": {"toys": 0},
            "abcd": {"efficiency": 0.3},
            "scan": {"global_over": "none"},
        },
    }
)
WORDS = ("background simulation", "none")


def dijets(n: int, seed: int, signal_share: float) -> Sample:
    rng = np.random.default_rng(seed)
    signal = rng.random(n) < signal_share
    jets = {
        jet: {
            "mass": np.where(signal, rng.normal(mass, 20, n), rng.exponential(mass, n)),
            "tau21": np.clip(rng.normal(np.where(signal, 0.3, 0.6), 0.1), 0.01, 0.99),
        }
        for jet, mass in (("heavy", 500.0), ("light", 100.0))
    }
    m_jj = np.where(signal, rng.normal(3500, 80, n), 2600 + rng.exponential(700, n))
    return Sample.from_columns(m_jj, **jets, event={"delta_eta": rng.normal(0, 1, n)}, label=signal)


def skim_of(relabelled: Callable[[Sample], Sample] = lambda sample: sample) -> Skim:
    return Skim.from_sample(
        relabelled(dijets(2500, 1, 0.02)),
        simulation=relabelled(dijets(2000, 2, 0.0)),
        priors={"two-prong": relabelled(dijets(300, 3, 1.0))},
    )


def searched(skim: Skim, out: Path) -> tuple[Taggers, Histograms]:
    taggers = pipeline.train(skim, CONFIG, out=out)
    return taggers, pipeline.search(skim, taggers, CONFIG, out=out)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("assisted")


@pytest.fixture(scope="module")
def skim() -> Skim:
    return skim_of()


@pytest.fixture(scope="module")
def made(skim: Skim, out: Path) -> tuple[Taggers, SearchResult]:
    taggers, histograms = searched(skim, out)
    return taggers, pipeline.fit(histograms, CONFIG, out=out)


def shown(table: Any) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def shown_lines(table: Any) -> str:
    """The table with each line without the space that fills it."""
    return "\n".join(line.strip() for line in shown(table).splitlines())


def rows_of(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if name in line.split()]


def test_result_and_tables_say_the_word(made: tuple[Taggers, SearchResult], out: Path) -> None:
    taggers, result = made
    assert {name: result.knowledge(name) for name in result.after} == dict(
        zip(("assisted", "tau"), WORDS, strict=True)
    )
    stored = json.loads((out / "fit" / "result.json").read_text())
    assert stored["provenance"]["knowledge"]["assisted"] == WORDS[0]
    text = shown(reporting.results_table(result, config=CONFIG))
    assert "…" not in text
    # On the lines below the name, of a test and of a limit.
    for name, word in zip(("assisted", "tau"), ("(background", "(none)"), strict=True):
        lines = text.splitlines()
        below = [lines[i + 1] for i, line in enumerate(lines) if name in line.split()]
        assert len(below) >= 2, text
        assert all(word in line for line in below), text
    summary = result.summary()
    for line in summary.splitlines():
        if line.startswith(("after", "ABCD with", "limit, assisted", "limit, tau")):
            assert "knows beside the data: " in line
    assert "limit, assisted (knows beside the data: background simulation)" in summary
    assert f"know {WORDS[0]}" in repr(taggers)
    uninformed = replace(result, provenance={"knowledge": dict.fromkeys(result.after, "none")})
    assert "(simulation that the taggers used: none)" in shown(
        reporting.results_table(uninformed, config=CONFIG)
    )


def test_evaluation_says_the_word(
    made: tuple[Taggers, SearchResult],
    skim: Skim,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taggers, result = made
    histograms = Histograms.load(out / "search")
    # Its figures and its scan take long.
    monkeypatch.setattr(reporting, "write_report", lambda *_: None)
    monkeypatch.setattr(evaluation, "_SECONDS_A_FIT", 60.0)
    found = pipeline.report(
        result, tmp_path / "report.html", CONFIG, histograms, skim=skim, taggers=taggers
    )
    assert found is not None
    assert dict(found.knowledge) == dict(zip(("assisted", "tau"), WORDS, strict=True))
    assert found.shown("assisted") == "assisted (background simulation)"
    assert found.sets["assisted"].max_sic.value > 1
    text = shown(reporting.results_table(result, found, config=CONFIG))
    largest = f"{found.sets['tau'].max_sic.value:.2f} ±"
    assert any(largest in row and "none" in row for row in rows_of(text, "tau")), text
    comparison = pipeline.compare_methods(skim, [("1", taggers)], CONFIG.search)
    rows = rows_of(shown(reporting.comparison_table(comparison)), "assisted")
    assert any(WORDS[0] in row for row in rows)
    assert len(rows) == 2  # areas, and significance improvement
    assert all("background" in row for row in rows)
    areas = text[text.index("AUC (uses the truth") : text.index("Significance improvement")]
    assert all("none" in row for row in rows_of(areas, "tau"))
    said = reporting.headline(result, CONFIG)[1]
    assert "with tau (simulation used: none)" in said
    assert "with assisted (simulation used: background simulation)" in said


def test_simulated_signals_are_said_to_guide_a_search(made: tuple[Taggers, SearchResult]) -> None:
    _, result = made
    from tnt_coffea.reporting.wording import coverage

    guided = replace(result, provenance={"knowledge": {"assisted": "signal simulation"}})
    assert any("Simulated signals trained assisted" in note for note in coverage(guided, CONFIG))
    assert not any("Simulated signals" in note for note in coverage(result, CONFIG))
    assert "(signal\n" in shown_lines(reporting.results_table(guided, config=CONFIG))
    blinded = BlindedSearch((3300, 3700), {}, {}, guided.provenance)
    assert blinded.knowledge("assisted") == "signal simulation"


def test_compared_searches_and_lists_of_taggers_and_methods_say_the_word(
    made: tuple[Taggers, SearchResult], out: Path
) -> None:
    def called(*words: object) -> str:
        done = CliRunner(env={"COLUMNS": None}).invoke(main, list(map(str, words)))
        assert done.exit_code == 0, done.output
        return done.output

    (out / "config.yaml").write_text(CONFIG.to_yaml())
    rows = rows_of(called("compare", out, out, "--no-events"), "assisted")
    assert rows
    assert all(WORDS[0] in row for row in rows)
    (row,) = rows_of(called("models", "list", out / "train"), "assisted")
    assert WORDS[0] in row
    onnx = next((out / "train" / "assisted").glob("*.onnx"))
    assert json.loads(called("models", "show", onnx))["knowledge"] == WORDS[0]
    listed = called("methods", "list")
    for kind, word in {
        "sa_cwola": "background simulation",
        "tag_n_train": "none, or that of `after`",
        "supervised": "none, and the truth",
        "files": "that of its files",
    }.items():
        assert any(word in row for row in rows_of(listed, kind)), kind
    assert "simulation used: background simulation" in called("methods", "show", "sa_cwola")


def test_truth_of_no_file_changes_a_byte(
    made: tuple[Taggers, SearchResult], out: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(8)

    def relabelled(sample: Sample) -> Sample:
        return replace(sample, label=rng.integers(-1, 2, len(sample)).astype(np.int8))

    searched(skim_of(relabelled), tmp_path)
    files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    results = [
        path
        for path in files
        if path.suffix in {".onnx", ".h5"} or path.name in {"set.json", "quantiles.json"}
    ]
    assert len(results) >= 8
    for path in results:
        assert (tmp_path / path).read_bytes() == (out / path).read_bytes(), path


class Learned(EventFeature):
    """An observable that stands for what was learned from all events of a role."""

    kind: Literal["learned"] = "learned"  # type: ignore[assignment]
    role: str

    @property
    def reads(self) -> Reads:
        return Reads(
            data=False, simulation=self.role == "simulation", priors=self.role != "simulation"
        )


@pytest.mark.parametrize("role", ["simulation", "prior:two-prong"])
def test_what_trained_taggers_is_not_searched_with_them(role: str, tmp_path: Path) -> None:
    other = dijets(300, 2, 0.0)
    roles: dict[str, Any] = {"simulation": other}
    if role != "simulation":
        roles = {"priors": {"two-prong": other}}
    methods = {"shape": Learned(feature="heavy_tau21", role=role)}
    config = CONFIG.model_copy(update={"train": TrainSettings(methods=methods)})
    skim = Skim.from_sample(dijets(300, 1, 0.02), **roles)
    taggers = pipeline.train(skim, config, out=tmp_path / "first")
    with pytest.raises(LeakError, match=rf"'shape'.* are those of role '{role}' that trained it"):
        pipeline.search(Skim.from_sample(other), taggers, config, out=tmp_path / "second")
    pipeline.search(Skim.from_sample(dijets(300, 4, 0.0)), taggers, config, out=tmp_path / "third")
