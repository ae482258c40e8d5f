from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.cli.progress import toys_shown
from tnt_coffea.config import SearchConfig, TransferSettings
from tnt_coffea.errors import FitError, InputError
from tnt_coffea.histogram_fits import stored_histogram
from tnt_coffea.products import Histograms
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_config
from tnt_coffea.stats import SpectrumFit, TriggerEfficiency, abcd, abcd_limit, toy_spectrum
from tnt_coffea.stats.spectrum import rebinned

EDGES = np.arange(2000.0, 8001.0, 50.0)


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def spectrum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2000 events of a dijet spectrum and 80 of a resonance, as a user's TH1."""
    import uproot

    toys = toy_spectrum(6000, 80, mass=4000.0, width=150.0, edges=EDGES)
    path = tmp_path_factory.mktemp("own") / "spectrum.root"
    with uproot.recreate(path) as file:
        file["mjj"] = (toys.values(), EDGES)
    return path


SPECTRUM = ("--width", 150, "--fit-range", 2600, 7000, "--bin-width", 100)
COMMON = ("--mass", 4000, *SPECTRUM)


def run(method: str, path: Path, out: Path, *options: Any) -> dict[str, Any]:
    result = out / f"{method}.json"
    done = call("fit", method, path, "--json", result, "--out", out, *options)
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = json.loads(result.read_text())
    return values


def test_bump_hunt_of_a_users_root_histogram(spectrum: Path, tmp_path: Path) -> None:
    found = run("bump", spectrum, tmp_path, *COMMON)
    assert found["kind"] == "bump"
    assert found["z"] > 3
    assert abs(found["mu_hat"] - 80) < 4 * found["mu_uncertainty"]


def test_scan_finds_the_mass(spectrum: Path, tmp_path: Path) -> None:
    found = run(
        "scan", spectrum, tmp_path, *SPECTRUM, "--masses", 3200, 5200, 200, "--toys", 50
    )  # fmt: skip
    assert len(found["points"]) == 11
    assert found["points"][found["best"]]["mass"] == 4000.0
    assert found["toys"] == 50


@pytest.mark.slow
def test_toys_are_shown_on_a_terminal(
    spectrum: Path, tmp_path: Path, on_a_terminal: Callable[..., tuple[str, str]]
) -> None:
    words = ["fit", "scan", spectrum, *SPECTRUM, "--masses", 3500, 4500, 500]
    output, shown = on_a_terminal(*words, "--toys", 110, "--out", tmp_path)
    assert output.startswith("scan of 3 hypotheses")
    assert "110/110" in shown
    assert "toys/s" in shown


def test_nothing_is_shown_elsewhere_or_where_quiet_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with toys_shown(quiet=False) as shown:
        assert shown is None  # standard error of a test is no terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with toys_shown(quiet=True) as shown:
        assert shown is None
    with toys_shown(quiet=False) as shown:
        assert shown is not None


def test_limit_with_a_cross_section(spectrum: Path, tmp_path: Path) -> None:
    found = run(
        "limit", spectrum, tmp_path, *COMMON, "--toys", 0, "--efficiency", 0.1, "--luminosity", 10
    )
    assert found["observed"] > 80
    assert found["observed_cross_section"] == pytest.approx(found["observed"])


# pyhf 0.7 validates with a class that jsonschema is about to drop.
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_workspaces_and_hepdata_tables_of_a_users_histogram(spectrum: Path, tmp_path: Path) -> None:
    import pyhf

    found = run(
        "bump", spectrum, tmp_path, *COMMON,
        "--workspace", tmp_path / "ws.json", "--hepdata", tmp_path / "tables", "--sqrt-s", 13.6,
    )  # fmt: skip
    assert "values:\n  - 13600\n" in (tmp_path / "tables" / "submission.yaml").read_text()
    workspace = pyhf.Workspace(json.loads((tmp_path / "ws.json").read_text()))
    assert sum(workspace.data(workspace.model(), include_auxdata=False)) == sum(
        found["channels"][0]["observed"]
    )
    assert {part.name for part in (tmp_path / "tables").iterdir()} == {
        "submission.yaml",
        "all.yaml",
    }
    masses = ("--masses", 3500, 4500, 500, "--toys", 0)
    run("scan", spectrum, tmp_path, *SPECTRUM, *masses, "--workspace", tmp_path / "grid.json")
    background = pyhf.Workspace(json.loads((tmp_path / "grid.json").read_text()))
    patches = pyhf.PatchSet(json.loads((tmp_path / "grid.patchset.json").read_text()))
    patches.verify(background)
    assert [patch.values[0] for patch in patches] == [3500.0, 4000.0, 4500.0]
    run("limit", spectrum, tmp_path, *COMMON, "--toys", 0, "--hepdata", tmp_path / "limits")
    assert (tmp_path / "limits" / "limits.yaml").is_file()


def test_abcd_of_a_plane_of_two_scores(tmp_path: Path) -> None:
    import hist
    import uhi.io.json

    plane = hist.Hist(hist.axis.Regular(10, 0, 1), hist.axis.Regular(10, 0, 1))
    plane.fill(*np.random.default_rng(2).random((2, 20_000)))
    path = tmp_path / "plane.json"
    path.write_text(json.dumps(plane, default=uhi.io.json.default))
    to = ("--workspace", tmp_path / "workspace.json")
    found = run("abcd", path, tmp_path, "--passing", 0.9, "--low", 0.4, *to)["result"]
    seen = json.loads((tmp_path / "workspace.json").read_text())["observations"]
    assert [one["data"] for one in seen] == [[found[name]] for name in "abcd"]
    counts = plane.values()
    a, b = counts[9:, 9:].sum(), counts[9:, :4].sum()
    c, d = counts[:4, 9:].sum(), counts[:4, :4].sum()
    assert [found[name] for name in "abcd"] == [a, b, c, d]
    assert found["z"] == pytest.approx(abcd(a, b, c, d).z, abs=1e-6)
    assert found["limit"]["observed"] == pytest.approx(abcd_limit(a, b, c, d).observed)


def test_window_of_a_spectrum(spectrum: Path, tmp_path: Path) -> None:
    own = ("--fit-range", 2600, 7000, "--native-bins", "--window", 3700, 4300)
    found = run("window", spectrum, tmp_path, *own, "--plot", tmp_path / "window.png")
    assert (found["kind"], found["window"]) == ("window", [3700.0, 4300.0])
    assert found["p_poisson"] < 0.01
    assert sum(found["spectrum"]["background"]) > found["expected"]
    assert (tmp_path / "window.png").stat().st_size > 10_000
    wide = run("window", spectrum, tmp_path, *own[:3], "--bin-width", 200, *own[4:])
    assert set(np.diff(wide["spectrum"]["edges"])) == {100.0}
    assert "bins of 100 GeV" in wide["notes"][0]
    # The default, 40 GeV, is narrower than the bins of this histogram.
    narrow = call("fit", "window", spectrum, *own[:3], *own[4:])
    assert narrow.exit_code == 7
    assert "bins of 50, 100 GeV do (fit.bump.bin_width, --bin-width)" in narrow.output


def test_transfer_factor_of_two_spectra(tmp_path: Path) -> None:
    import uproot

    both = {
        "pass": toy_spectrum(1000, 60, mass=4000, width=150, edges=EDGES, seed=3).values(),
        "fail": toy_spectrum(20_000, edges=EDGES, seed=2).values(),
    }
    path = tmp_path / "both.root"
    with uproot.recreate(path) as file:
        for name, counts in both.items():
            file[name] = (counts, EDGES)
    to = ("--workspace", tmp_path / "workspace.json", "--plot", tmp_path / "transfer.png")
    own = ("--name", "pass", "--fail-name", "fail", "--order", 0, "--toys", 0)
    found = run("transfer", path, tmp_path, *COMMON, *own, *to)
    assert (found["kind"], found["order"], found["chosen"]) == ("transfer", 0, False)
    assert found["z"] > 3
    inside = (EDGES[:-1] >= 2600) & (EDGES[1:] <= 7000)
    assert sum(found["spectrum"]["failed"]) == both["fail"][inside].sum()
    seen = json.loads((tmp_path / "workspace.json").read_text())["observations"]
    assert sum(seen[1]["data"]) == sum(found["spectrum"]["passed"])
    assert (tmp_path / "transfer.png").stat().st_size > 10_000
    # A refusal is a result, as that of the other estimates; only a file of it is none.
    own = ("--name", "pass", "--fail-name", "fail", "--order", 8, "--bin-width", 400)
    refused = run("transfer", path, tmp_path, *COMMON, *own)
    assert (refused["kind"], "too few for order 8" in refused["reason"]) == ("refused", True)
    drawn = call("fit", "transfer", path, *COMMON, *own, "--plot", tmp_path / "none.png")
    assert drawn.exit_code == 7
    assert "no figure without a transfer factor" in drawn.output
    twice = call("fit", "transfer", path, *COMMON, "--name", "pass", "--out", tmp_path)
    assert twice.exit_code == 2
    assert "--fail-name NAME in the same file" in twice.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bump", "none.root"), 3, "no such file"),
        (("abcd", "SPECTRUM"), 7, "plane of two scores"),
        (("scan", "SPECTRUM", "--width", 2000), 7, "give masses"),
        (("bump", "SPECTRUM", "--width", 0), 2, "--width: must be greater than 0"),
        (("bump", "SPECTRUM", "--sqrt-s", 13600), 2, "--sqrt-s: must be less than 1000"),
        (("bump", "SPECTRUM", "--family", "spline"), 2, "is no background family"),
        (("bump", "SPECTRUM", "--native-bins", "--bin-width", 50), 2, "give one of them"),
        (("bump", "SPECTRUM", *COMMON, "--plot", "x.doc"), 2, "a figure is a file in png, pdf"),
        (("bump", "TEV", *COMMON), 7, "if the histogram is in TeV, give its edges in GeV"),
        (("bump", "SEARCH"), 4, "give that folder"),
        (("scan", "SPECTRUM", *SPECTRUM, "--plot", "none/x.png"), 11, "no folder none"),
        (("limit", "SPECTRUM", *COMMON, "--json", "."), 11, "is a folder"),
        (("bump", "SPECTRUM", *COMMON, "--toys", 10**8), 7, "from 0 to 10,000,000"),
        (("bump", "SPECTRUM", "--mass", 9000), 7, "outside the fit range"),
        (("bump", "SPECTRUM", "--name", "other"), 3, "no histogram 'other'"),
        (("bump", "SPECTRUM", "--fit-range", 7000, 2600), 2, "--fit-range: low must be below"),
        (("bump", "SPECTRUM", "--fit-range", 2610, 7000, "--bin-width", 50), 7, "no whole number"),
        (("limit", "SPECTRUM", "--efficiency", 0.1, *COMMON), 7, "luminosity"),
        (("limit", "SPECTRUM", "--masses", 1, 2, 3), 2, "No such option"),
        *(
            (("transfer", "SPECTRUM", *COMMON, *option), 2, "No such option")
            for option in (
                ("--family", "dijet"),
                ("--trigger", "t.json"),
                ("--find-lower-edge",),
                ("--sqrt-s", 13),
            )
        ),
        (("--seed", 3, "bump", "SPECTRUM"), 2, "options go behind the command: fit bump"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    spectrum: Path, tmp_path: Path, arguments: tuple[Any, ...], code: int, words: str
) -> None:
    tev, folder = tmp_path / "tev.csv", tmp_path / "tab"
    tev.write_text("".join(f"{n / 10},{(n + 1) / 10},9\n" for n in range(26, 70)))
    (folder / "search").mkdir(parents=True)
    (folder / "search" / "histograms.h5").touch()
    named = {"SPECTRUM": spectrum, "TEV": tev, "SEARCH": folder}
    given = [named.get(str(argument), argument) for argument in arguments]
    done = call("fit", *given)
    assert done.exit_code == code, done.output
    assert words in done.output
    assert code != 7 or "SPECTRUM" not in arguments or str(spectrum) in done.output
    assert "Traceback" not in done.output
    assert "Z = " not in done.output  # before a fit, not behind it


@pytest.mark.parametrize("method", ["bump", "scan", "limit"])
@pytest.mark.parametrize(
    ("bins", "value", "words"),
    [
        (slice(None), 0.0, "hold events, too few"),
        (slice(31, None), 0.0, "hold events, too few"),
        (slice(30, 31), np.nan, "not finite"),
        (slice(30, 31), -500.0, "negative"),
    ],
)
def test_root_histogram_of_no_counts_is_one_line(
    tmp_path: Path, method: str, bins: slice, value: float, words: str
) -> None:
    import uproot

    counts = np.zeros(len(EDGES) - 1)
    counts[30] = 1
    counts[bins] = value
    path = tmp_path / "own.root"
    with uproot.recreate(path) as file:
        file["mjj"] = (counts, EDGES)
    options = COMMON
    if method == "scan":
        options = (*SPECTRUM, "--masses", 3500, 4500, 500, "--toys", 5)
    done = call("fit", method, path, "--out", tmp_path, *options)
    assert done.exit_code == 7, done.output
    assert words in done.output
    assert [line[:7] for line in done.output.splitlines()] == ["setting", "error: "]


@pytest.mark.parametrize(
    ("bins", "value", "words"),
    [
        ((slice(None), slice(None)), 0.0, "region B, C, D is empty ({'A': 0.0, 'B': 0.0"),
        ((slice(0, 4), slice(0, 4)), 0.0, "region D is empty"),
        ((0, 0), np.nan, "negative or not finite"),
        ((9, 9), -1.0, "negative or not finite"),
    ],
)
def test_root_plane_of_no_counts_is_one_line(
    tmp_path: Path, bins: Any, value: float, words: str
) -> None:
    import hist
    import uproot

    plane = hist.Hist(hist.axis.Regular(10, 0, 1), hist.axis.Regular(10, 0, 1))
    plane.fill(*np.random.default_rng(3).random((2, 2000)))
    plane.view()[bins] = value
    path = tmp_path / "plane.root"
    with uproot.recreate(path) as file:
        file["plane"] = plane
    cuts = ("--passing", 0.9, "--low", 0.4)
    done = call("fit", "abcd", path, "--out", tmp_path, *cuts)
    assert done.exit_code == 7, done.output
    assert words in done.output
    assert [line[:7] for line in done.output.splitlines()] == ["setting", "error: "]


def test_stored_histogram_of_a_search(workspace: Path, tmp_path: Path) -> None:
    fitted = json.loads((workspace / "fit" / "result.json").read_text())
    options = ("--name", "tnt", "--config", _settings(workspace, tmp_path))
    # A copy: every test of a search is noted in its folder.
    workspace = Path(shutil.copytree(workspace, tmp_path / "copy"))
    found = run("bump", workspace / "search", tmp_path, *options)
    # The same toys for the same spectrum: the stage's numbers, and not others of another stream.
    assert found == fitted["after"]["tnt"]
    abcd_found = run("abcd", workspace / "search", tmp_path, *options)
    assert abcd_found["result"] == fitted["abcd"]["tnt"]
    transferred = run("transfer", workspace / "search", tmp_path, *options)
    config = noted_config(workspace)
    own = pipeline.transfer(Histograms.load(workspace / "search"), config, "tnt")
    assert transferred == json.loads(json.dumps(own.to_dict()))
    assert json.loads((workspace / "fits.json").read_text())[-1]["test"] == "transfer"
    # Without toys no p-value stands for all masses: each of them counts as a test.
    masses = ("--masses", 3400, 3600, 200, "--toys", 0)
    local = run("scan", workspace / "search", tmp_path, *options, *masses)["points"]
    last = json.loads((workspace / "fits.json").read_text())[-1]
    assert last["test"] == "scan"
    assert list(last["p_values"].values()) == [point["p_local"] for point in local]
    assert len(local) == 2
    unnamed = call("fit", "bump", workspace / "search", "--out", tmp_path)
    assert unnamed.exit_code == 2
    assert "autoencoder, tnt" in unnamed.output


@pytest.mark.slow
def test_scan_of_a_search_is_in_its_result(workspace: Path, small_config: Any) -> None:
    scanned = small_config.fit.scan.model_copy(update={"masses": (3400.0, 3600.0), "toys": 20})
    asked = {"scan": scanned, "transfer": TransferSettings(enabled=True, order=0, toys=0)}
    config = small_config.model_copy(update={"fit": small_config.fit.model_copy(update=asked)})
    histograms = Histograms.load(workspace / "search")
    result = pipeline.fit(histograms, config)
    assert list(result.scans) == ["before", "autoencoder", "tnt"]
    assert [point.mass for point in result.scans["tnt"].points] == [3400.0, 3600.0]
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert "scan, tnt" in result.summary()
    assert list(result.transfer) == ["autoencoder", "tnt"]
    assert "transfer factor with tnt" in result.summary()
    # Off by default.
    plain = pipeline.fit(histograms, small_config)
    assert plain.scans == plain.transfer == {}
    assert "transfer" not in plain.to_dict()


@pytest.mark.slow
def test_bump_settings_reach_the_fit(workspace: Path, small_config: Any) -> None:
    values = small_config.model_dump(mode="json")
    values["fit"]["bump"] |= {
        "family": "exponential",
        "envelope": ["dijet"],
        "width_uncertainty": 0.1,
    }
    config = SearchConfig.model_validate(values)
    result = pipeline.fit(Histograms.load(workspace / "search"), config)
    assert {part.family for part in result.before.envelope} == {"exponential", "dijet"}
    assert [name for name, _ in result.before.nuisances] == ["signal_width"]


def _settings(workspace: Path, folder: Path) -> Path:
    path = folder / "settings.yaml"
    path.write_text(noted_config(workspace).to_yaml())
    return path


@pytest.mark.slow
def test_variable_bins_families_and_figures_from_the_prompt(tmp_path: Path) -> None:
    edges = [2600, 2800, 3020, 3260, 3520, 3800, 4100, 4420, 4760, 5120, 5500, 6000, 6500, 7000]
    toys = toy_spectrum(6000, 200, mass=4000.0, width=150.0, edges=edges)
    counts = tmp_path / "counts.csv"
    rows = zip(edges[:-1], edges[1:], toys.values(), strict=True)
    counts.write_text("low,high,count\n" + "".join(f"{a},{b},{n:g}\n" for a, b, n in rows))
    figure = tmp_path / "figure.png"
    own = ("--mass", 4000, "--width", 150, "--family", "exponential")
    found = run("bump", counts, tmp_path, *own, "--native-bins", "--plot", figure)
    assert found["channels"][0]["edges"] == edges
    assert found["family"] == "exponential"
    assert found["z"] > 3
    assert figure.read_bytes().startswith(b"\x89PNG")
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"fit: {{bump: {{edges: {edges}, family: exponential}}}}\n")
    fine = tmp_path / "fine.npy"
    parts = np.linspace(2600, 7000, 221)
    of_fine = toy_spectrum(6000, 200, mass=4000.0, width=150.0, edges=parts).values()
    np.save(fine, np.stack([parts[:-1], parts[1:], of_fine], axis=1))
    yaml = run("bump", fine, tmp_path, *own, "--config", settings)
    assert yaml["channels"][0]["edges"] == edges
    assert yaml["z"] > 3


@pytest.mark.slow
def test_scan_without_masses_takes_the_whole_range(spectrum: Path, tmp_path: Path) -> None:
    figure = tmp_path / "scan.pdf"
    found = run(
        "scan", spectrum, tmp_path, "--width", 300, "--fit-range", 2600, 7000, "--bin-width", 200,
        "--toys", 5, "--plot", figure,
    )  # fmt: skip
    masses = [point["mass"] for point in found["points"]]
    assert (masses[0], masses[-1], len(masses)) == (3500, 6050, 18)
    assert figure.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["result.json", "spectrum.json", "spectrum.root", "counts.csv"])
def test_a_changed_file_is_one_clear_error_or_a_fit(
    name: str, spectrum: Path, tmp_path: Path
) -> None:
    import uhi.io.json

    toys = toy_spectrum(600, 20, edges=EDGES)
    contents = {
        "result.json": json.dumps({"kind": "bump", "z": 3.0, "channels": [[1]]}).encode(),
        "spectrum.json": json.dumps(toys, default=uhi.io.json.default).encode(),
        "spectrum.root": spectrum.read_bytes(),
        "counts.csv": b"".join(b"%d,%d,%d\n" % (n, n + 50, 9) for n in range(2600, 7000, 50)),
    }
    random, path = np.random.default_rng(4), tmp_path / name
    refused = []
    for _ in range(12):
        content = bytearray(contents[name])
        for _ in range(random.integers(1, 4)):
            content[random.integers(len(content))] = random.integers(256)
        path.write_bytes(content[: random.integers(len(content) // 50, len(content) + 1)])
        try:
            histogram = stored_histogram(path).histogram
            rebinned(name, histogram, SpectrumFit((2600.0, 7000.0)))
        except (InputError, FitError) as error:
            refused.append(str(error))
    assert refused
    assert all(name in message and "\n" not in message for message in refused)


@pytest.fixture(scope="module")
def turn_on(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A spectrum behind a trigger of 84 % at 2600 GeV, and a file with the trigger's efficiency."""
    trigger = TriggerEfficiency.of_function(2450, 150)
    folder = tmp_path_factory.mktemp("trigger")
    edges = np.arange(2600.0, 7001.0, 50.0)
    smooth = toy_spectrum(100_000, edges=edges).values()
    counts = np.random.default_rng(5).binomial(smooth.astype(int), trigger.binned(edges)[0])
    spectrum, efficiency = folder / "spectrum.csv", folder / "efficiency.csv"
    rows = zip(edges[:-1], edges[1:], counts, strict=True)
    spectrum.write_text("low,high,count\n" + "".join(f"{a},{b},{n}\n" for a, b, n in rows))
    edges = np.arange(2200.0, 3801.0, 50.0)
    rows = zip(edges[:-1], edges[1:], trigger.binned(edges)[0], strict=True)
    efficiency.write_text(
        "low,high,efficiency,variance\n" + "".join(f"{a},{b},{e:.6f},4e-6\n" for a, b, e in rows)
    )
    return spectrum, efficiency


@pytest.mark.slow
def test_trigger_efficiency_and_lower_edge_from_the_prompt(
    turn_on: tuple[Path, Path], tmp_path: Path
) -> None:
    spectrum, efficiency = turn_on
    own = ("--mass", 3500, "--width", 150, "--fit-range", 2600, 7000, "--bin-width", 50)
    limits = [
        run("limit", spectrum, tmp_path, *own, "--toys", 0, *options)["observed"]
        for options in ((), ("--trigger", efficiency), ("--find-lower-edge",))
    ]
    # Without the efficiency the turn-on stands under the signal.
    assert limits[1] == pytest.approx(limits[2], rel=0.25)
    assert abs(limits[0] / limits[1] - 1) > 0.5
    scan = ("--masses", 3300, 3700, 400, "--toys", 0, *own[2:])
    scanned = run("scan", spectrum, tmp_path, *scan, "--trigger", efficiency)
    assert max(abs(point["z"]) for point in scanned["points"]) < 3
    assert any("trigger's efficiency" in note for note in scanned["notes"])


@pytest.mark.parametrize(
    ("trigger", "code", "words"),
    [
        ({"file": "none.csv"}, 3, "none.csv: no such file"),
        ({"file": "flat.csv"}, 7, "flat.csv: no error_function describes"),
        ({"file": "counts.csv"}, 7, "counts.csv: trigger: the efficiencies come without their var"),
        ({"turn_on": 2450}, 2, "needs turn_on and width, or a file"),
        ({"turn_on": 2450, "width": 10, "file": "flat.csv"}, 2, "either a file or a function"),
        ({"file": "flat.csv", "passed": "pass"}, 2, "a name, or passed and total"),
        ({"turn_on": 2900, "width": 100}, 7, "below 1% at 2600 GeV: begin the fit at"),
    ],
)
def test_what_is_no_trigger_efficiency_is_said_in_one_line(
    turn_on: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trigger: dict[str, Any],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = "".join(
        f"{a},{a + 200},{0.3 + 0.1 * (a % 400) / 200},1e-6\n" for a in range(2600, 7000, 200)
    )
    Path("flat.csv").write_text(steps)
    Path("counts.csv").write_text("2600,4800,1\n4800,7000,1\n")
    settings = Path("settings.yaml")
    settings.write_text(json.dumps({"fit": {"bump": {"trigger": trigger}}}))
    options = ("--native-bins", "--mass", 3500, "--toys", 0)
    done = call("fit", "limit", turn_on[0], "--config", settings, *options)
    assert done.exit_code == code, done.output
    assert words in done.output
    assert "Traceback" not in done.output


def test_trigger_settings_are_read_from_files_and_functions(tmp_path: Path) -> None:
    import hist
    import uproot

    edges = np.arange(2200.0, 3801.0, 50.0)
    truth = TriggerEfficiency.of_function(2450, 150)
    total = np.full(len(edges) - 1, 4000)
    passed = np.rint(total * truth.binned(edges)[0])
    path = tmp_path / "counts.root"
    with uproot.recreate(path) as file:
        for name, values in (("passed", passed), ("all", total)):
            file[name] = hist.Hist(hist.axis.Variable(edges), data=values.astype(float))
    counts = {"file": str(path), "passed": "passed", "total": "all"}
    at = np.array([2600.0, 2640.0])
    found = {}
    for name, settings, nuisances in (
        ("function", {"turn_on": 2450, "width": 150, "turn_on_error": 5}, 1),
        ("fitted", counts, 2),
        ("measured", counts | {"as_measured": True}, 1),
    ):
        config = SearchConfig.model_validate({"fit": {"bump": {"trigger": settings}}})
        trigger = pipeline.spectrum_fit(config).trigger
        assert trigger is not None
        assert trigger.nuisances == nuisances
        found[name] = float(trigger.binned(at)[0][0])
    assert list(found.values()) == pytest.approx([truth.binned(at)[0][0]] * 3, abs=2e-3)


def test_another_efficiency_in_the_same_file_is_another_fit(
    workspace: Path, small_config: Any, tmp_path: Path
) -> None:
    path, histograms = tmp_path / "efficiency.csv", Histograms.load(workspace / "search")
    settings = {"fit": {"bump": {"trigger": {"file": str(path), "as_measured": True}}}}
    config = small_config.model_copy(update={"fit": SearchConfig.model_validate(settings).fit})
    keys = []
    for efficiency in (0.9, 0.8):
        path.write_text(f"2000,4000,{efficiency},1e-4\n4000,8000,1,1e-4\n")
        keys.append(pipeline.folders.fit_stage(histograms, config, tmp_path).key)
    assert keys[0] != keys[1]
    path.unlink()
    with pytest.raises(InputError, match="the trigger's efficiency cannot be read"):
        pipeline.folders.fit_stage(histograms, config, tmp_path)
