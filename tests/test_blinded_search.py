"""Nothing that a blinded fit prints or writes depends on the events in the window."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tnt_coffea import pipeline, testing
from tnt_coffea.accounting import Accounting
from tnt_coffea.cli import main
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, StageError
from tnt_coffea.products import Histograms
from tnt_coffea.results import BlindedSearch, SearchResult
from tnt_coffea.search_folder import noted_config, noted_trials
from tnt_coffea.stats import bump_hunt, selected_spectrum, toy_search, toy_spectrum
from tnt_coffea.working_points import WorkingPoint, WorkingPoints

CONFIG = SearchConfig.from_text(
    """
search: {fit_range: {low: 2600, high: 5000}}
fit:
  bump: {bin_width: 200, max_parameters: 3, spurious: false}
  abcd: {efficiency: 0.03}
  limit: {toys: 0}
  blind: true
  expected_signals: [60]
"""
)
WINDOW = (3260.0, 3740.0)  # search.window with the mass +- 2 widths
BINS = (3200.0, 3800.0)
EDGES = np.arange(2600.0, 5001.0, 100.0)


def in_window(edges: Any) -> Any:
    edges = np.asarray(edges)
    return (edges[1:] > WINDOW[0]) & (edges[:-1] < WINDOW[1])


def searched(more: int) -> Histograms:
    """A search with so many times the events in the window."""
    histogram = toy_search(20_000, 60)
    view = histogram.view()
    inside = in_window(histogram.axes["m_jj"].edges)
    view[:, inside] = view[:, inside] * more
    view.variance = view.value
    points = WorkingPoints((WorkingPoint.at({0: 0.8, 1: 0.8}, 0.03),))
    accounting, provenance = Accounting(20_000, 20_000), {"skim": "ab" * 32}
    return Histograms({"toy": histogram}, {"toy": points}, accounting, provenance)


def without_hashes(data: bytes) -> bytes:
    """The same bytes without hashes of what was fitted, and the seconds that it took."""
    data = re.sub(rb"[0-9a-f]{64}", b"HASH", data)
    return re.sub(rb'"seconds": [0-9.e-]+', b"", data)


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): without_hashes(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.usefixtures("empty_figures")
def test_a_blinded_search_and_its_report_hold_nothing_of_the_window(tmp_path: Path) -> None:
    found = {}
    for more in (1, 4):
        out = tmp_path / str(more)
        result = pipeline.blind_fit(searched(more), CONFIG, out=out)
        found[more] = written(out), result.summary(), repr(result)
        assert result.notes == ()
        assert result == pipeline.standing_blind_fit(searched(more), CONFIG, out)
        assert BlindedSearch.load(out / "fit") == result
    assert found[1] == found[4]
    # The report is given the result alone.
    pipeline.blind_report(result, CONFIG, out=out)
    files = written(out)
    assert {"fits.json", "fit/result.json", "report/report.html"} <= files.keys()
    assert {f"report/plots/spectrum-{n}.csv" for n in ("before", "after-toy")} <= files.keys()
    assert result.window == WINDOW
    for one in result.fits.values():
        assert one.channels
        for channel in one.channels:
            hidden = [low for low, n in zip(channel.edges, channel.observed, strict=False)
                      if n is None]  # fmt: skip
            assert hidden == list(np.arange(*BINS, 200.0))
        assert one.signals[0].events == 60
        assert one.limit is not None
    # Not blinded: other numbers for other events, so that the test above can fail.
    at = {"mass": 3500, "width": 120, "fit": pipeline.spectrum_fit(CONFIG), "toys": 0}
    shown = [
        bump_hunt(selected_spectrum(one.hists["toy"], one.points["toy"][0.03]), **at)
        for one in map(searched, (1, 4))
    ]
    assert shown[0].p_value != shown[1].p_value
    words = b" ".join(files.values()).decode("latin1")
    for hunt in shown:
        assert not [n for n in (hunt.p_value, hunt.mu_hat, hunt.q0) if repr(n) in words and n]
    # The blinded test is on the list, without a p-value.
    (trial,) = noted_trials(out, "ab" * 32)
    assert trial.test == "fit"
    assert trial.p_values == {}
    noted = noted_config(out)
    assert noted is not None
    assert noted.fit.blind


def test_what_looks_at_the_window_is_refused(tmp_path: Path) -> None:
    histograms = searched(1)
    with pytest.raises(ConfigError, match=r"fit\.blind hides"):
        pipeline.fit(histograms, CONFIG, out=tmp_path)
    with pytest.raises(ConfigError, match=r"fit\.blind hides"):
        pipeline.scan(histograms, CONFIG, {"data": ("toy", 0.03)})
    open_ = CONFIG.model_copy(update={"fit": CONFIG.fit.model_copy(update={"blind": False})})
    with pytest.raises(ConfigError, match=r"fit\.blind is not set"):
        pipeline.blind_fit(histograms, open_, out=tmp_path)
    assert not list(tmp_path.glob("*/*"))
    values = CONFIG.model_dump(mode="json")
    values["fit"] |= {"limit": {"enabled": False}, "scan": {"masses": [3400, 3600]}}
    values["fit"]["window"] = {"enabled": True}
    scanned = pipeline.blind_fit(histograms, SearchConfig.model_validate(values))
    (note,) = scanned.notes
    assert note.startswith("counts in windows (fit.window) would show the events in the window")
    assert f"note: {note}" in scanned.summary()
    assert BlindedSearch.from_dict(scanned.to_dict()) == scanned
    assert set(scanned.scans) == {"before", "toy"}
    assert [point.window for point in scanned.scans["toy"].points] == [WINDOW] * 2
    scanned.save(tmp_path / "result.json")
    with pytest.raises(StageError, match="the fit is blinded"):
        SearchResult.load(tmp_path / "result.json")


@pytest.mark.slow
def test_the_whole_chain_stays_blinded_until_it_is_opened(tmp_path: Path) -> None:
    sample = testing.make_sample(2000)
    names = ["m_jj", "heavy_mass", "light_mass"]
    table, settings, out = tmp_path / "box.csv", tmp_path / "search.yaml", tmp_path / "out"
    values = np.stack([sample.columns[name] for name in names], axis=1)
    np.savetxt(table, values, delimiter=",", header=",".join(names), comments="")
    settings.write_text("{train: {methods: {mass: {kind: feature}}}, fit: {blind: true}}")
    done = call("run", table, "--config", settings, "--out", out, "--workers", 1, "-q")
    assert done.exit_code == 0, done.output
    assert "blinded: no number here depends on the events in 3260-3740 GeV" in done.output
    assert "p = " not in re.sub(r"goodness of fit beside the window p = ", "", done.output)
    again = call("report", "--out", out)
    assert again.exit_code == 0, again.output
    planned = call("run", table, "--config", settings, "--out", out, "--dry-run")
    assert planned.output.count("done") == 5
    opened = call("fit", "--no-blind", "--out", out)
    assert opened.exit_code == 0, opened.output
    assert "Z = " in opened.output
    assert not (out / "report" / "report.html").exists()


def call(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def spectra(tmp_path: Path) -> Callable[[int], Path]:
    def make(more: int) -> Path:
        histogram = toy_spectrum(20_000, 60, edges=EDGES)
        counts = np.where(in_window(EDGES), more, 1) * histogram.values()
        (tmp_path / str(more)).mkdir()
        path = tmp_path / str(more) / "spectrum.csv"
        np.savetxt(path, np.stack([EDGES[:-1], EDGES[1:], counts], axis=1), delimiter=",")
        return path

    return make


COMMANDS = {
    "bump": ("--mass", 3500, "--plot", "figure.png"),
    "limit": ("--mass", 3500, "--toys", 0, "--efficiency", 0.5, "--luminosity", 10),
    "scan": ("--masses", 3500, 3500, 100),
    "expected": ("--mass", 3500, "--signal", 60),
    "bias": ("--mass", 3500, "--toys", 5, "--strengths", "0,2"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("bump", "limit")))
        for name in COMMANDS
    ],
)
def test_commands_print_and_write_nothing_of_the_window(
    name: str, spectra: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("fit: {bump: {max_parameters: 3}}")
    found = []
    for more in (1, 4):
        path = spectra(more)
        monkeypatch.chdir(path.parent)
        done = call(
            "fit", name, path.name, "--blind", "--native-bins", "--fit-range", 2600, 5000,
            "--json", f"{name}.json", "--config", settings, *COMMANDS[name],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        path.unlink()
        found.append((done.output, written(path.parent)))
    assert found[0][0] == found[1][0]
    assert [n for n, data in found[0][1].items() if data != found[1][1][n]] == []
    if name == "expected":
        assert json.loads(found[0][1]["expected.json"])["window"] == [3260.0, 3740.0]
    asked = {f"{name}.json", *({"figure.png"} if name == "bump" else ())}
    assert set(found[0][1]) >= asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bump", "--hepdata", "tables"), "--hepdata is not for a blinded fit"),
        (("bump", "--workspace", "w.json"), "--workspace is not for a blinded fit"),
        (("scan",), "hides all of it"),
        (("abcd",), "would show the events in the window"),
        (("direct",), "would show the events in the window"),
        (("window",), "would show the events in the window"),
        (("transfer",), "would show the events in the window"),
        (("bias", "--all-bins"), "would show the events in the window"),
        (("bump", "--window", 2600, 3700), "needs a sideband on either side"),
        (("bump", "--no-blind", "--window", 3300, 3700), "give --blind as well"),
    ],
)
def test_options_that_would_show_the_window_are_refused(
    spectra: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[Any, ...],
    message: str,
) -> None:
    path = spectra(1)
    monkeypatch.chdir(path.parent)
    command, *rest = words
    fitted = (
        ()
        if command in ("abcd", "direct", "transfer", "window")
        else ("--native-bins", "--fit-range", 2600, 5000)
    )
    done = call("fit", command, path.name, "--blind", *fitted, *rest)
    assert done.exit_code in (2, 7)
    assert message in done.output
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
