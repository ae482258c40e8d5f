"""The documentation site builds, and what its pages show exists and runs."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest

import tnt_coffea as tnt
from tnt_coffea.cli import main
from tnt_coffea.errors import TntCoffeaError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md"))
    if "_build" not in path.parts
)
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Give the fenced blocks of a page with their info string."""
    for found in FENCE.finditer(page.read_text()):
        yield found["info"].strip(), found["text"]


def block_named(page: str, name: str) -> str:
    """Return the text of a `code-block` by its `:name:`."""
    for _, text in blocks(DOCS / page):
        if f":name: {name}\n" in text:
            return text.split("\n\n", 1)[1]
    pytest.fail(f"{page} has no block named {name}")


def commands(page: Path) -> Iterator[list[str]]:
    """Give the `tnt-coffea` command lines of a page, as words."""
    for line in page.read_text().splitlines():
        shown = re.match(r"^(?:\$ |    )(tnt-coffea .*)$", line)
        if shown:
            yield shlex.split(shown[1], comments=True)[1:]
        for inline in re.findall(r"`(tnt-coffea [^`]*)`", line):
            yield shlex.split(inline)[1:]


@pytest.mark.skipif(find_spec("furo") is None, reason="needs pip install 'tnt-coffea[docs]'")
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    options = "-W --keep-going -q -b html -D nb_execution_mode=off"
    folders = ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options.split(), *folders],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    settings = (tmp_path / "html" / "reference" / "settings.html").read_text()
    assert "closure_limit" in settings
    command_line = (tmp_path / "html" / "reference" / "command-line.html").read_text()
    assert "--skip-bad-files" in command_line
    for exception in TntCoffeaError.__subclasses__():
        assert exception.__name__ in (tmp_path / "html" / "how-to" / "errors.html").read_text()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    images = re.findall(r"^```\{image\} (\S+)$", page.read_text(), re.MULTILINE)
    missing += [image for image in images if not (page.parent / image).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [p for p in PAGES if any(commands(p))], ids=named)
def test_commands_parse(page: Path) -> None:
    for words in commands(page):
        parse(main, words)


def parse(command: click.Command, words: list[str]) -> None:
    """Parse a command line down to its last command, without running anything."""
    words = [word for word in words if word not in ("COMMAND", "...")]
    if any(word in ("--help", "--version") for word in words):
        return
    if not isinstance(command, click.Group):
        # Files of the page's examples need not be there, and callbacks must not run.
        command.make_parser(click.Context(command)).parse_args(list(words))
        return
    _, rest, _ = command.make_parser(click.Context(command)).parse_args(list(words))
    if rest:
        inner = command.get_command(click.Context(command), rest[0])
        assert inner is not None, f"no command '{rest[0]}' in {command.name}"
        parse(inner, rest[1:])


def test_a_command_that_does_not_exist_is_found() -> None:
    parse(main, shlex.split("run box1.h5 --config search.yaml --out box1"))
    with pytest.raises(click.NoSuchOption):
        parse(main, shlex.split("run box1.h5 --outt box1"))
    with pytest.raises(AssertionError, match="settings"):
        parse(main, ["settings"])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_names_exist(page: Path) -> None:
    for info, text in blocks(page):
        if info.startswith("python") or info in ("{code-block} python", "{code-cell} ipython3"):
            for module, name in imported(ast.parse(without_options(text))):
                assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def without_options(text: str) -> str:
    """Return a directive's content: its options, lines `:name: value`, left out."""
    return re.sub(r"\A(:[^\n]*\n)+", "", text)


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Give what a piece of code takes from this package, as module and name."""
    aliases = {"tnt": "tnt_coffea"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tnt_coffea"):
            for alias in node.names:
                home = f"{node.module}.{alias.name}"
                # The how-to's own example module is not there.
                if alias.name == "npz":
                    continue
                if find_spec(node.module or "") and not hasattr(
                    importlib.import_module(node.module or ""), alias.name
                ):
                    importlib.import_module(home)
                yield node.module or "", alias.name
                if node.module == "tnt_coffea":
                    aliases[alias.asname or alias.name] = home
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id)
            if module is not None:
                yield module, node.attr


def two_jets(rng: np.random.Generator, events: int) -> dict[str, Any]:
    """Return events of two back-to-back jets as flat columns."""
    counts = np.full(events, 60)
    n = counts.sum()
    phi = np.repeat(rng.uniform(-np.pi, np.pi, events), 60)
    side = np.tile(np.repeat([0.0, np.pi], 30), events)
    return {
        "pt": rng.exponential(50, n) + 0.5,
        "eta": rng.normal(0, 0.15, n),
        "phi": np.remainder(phi + side + rng.normal(0, 0.15, n) + np.pi, 2 * np.pi) - np.pi,
        "counts": counts,
    }


@pytest.fixture(scope="module")
def npz_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("npz") / "events.npz"
    np.savez(path, **two_jets(np.random.default_rng(1), 240))
    return path


def executed(text: str, name: str) -> ModuleType:
    module = ModuleType(name)
    # Without this file's own future annotations.
    exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
    return module


@pytest.fixture(scope="module")
def npz_skim(npz_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tnt.Skim]:
    """A skim of events that were read by the source of the how-to page."""
    from tnt_coffea.events import sources

    module = executed(block_named("how-to/own-source.md", "npz-source"), "npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sources.SOURCES, "npz", module)
        fileset = tnt.Fileset.from_paths({"data": [npz_file]})
        yield tnt.skim(fileset, tnt.SearchConfig(), out=tmp_path_factory.mktemp("search"))


def test_source_of_the_how_to_reads_its_files(npz_skim: tnt.Skim, npz_file: Path) -> None:
    assert npz_skim.accounting.events == 240
    sample = npz_skim.sample()
    assert len(sample) == npz_skim.accounting.selected > 200
    with np.load(npz_file) as file:
        total = file["pt"].sum()
    found = sample.columns["heavy_pt"].sum() + sample.columns["light_pt"].sum()
    assert 0.8 * total < found <= total


@pytest.mark.skipif(find_spec("onnx") is None, reason="needs pip install 'tnt-coffea[train]'")
def test_method_of_the_how_to_keeps_what_every_method_keeps(tmp_path: Path) -> None:
    from tnt_coffea.testing import method_contract

    page = executed(block_named("how-to/own-method.md", "mean-image-method"), "method")
    method_contract(page.MeanImage(), tmp_path)


def test_weak_labels_of_the_how_to_are_window_and_sidebands(npz_skim: tnt.Skim) -> None:
    from tnt_coffea.config import MassRange
    from tnt_coffea.training import Job

    page = executed(block_named("how-to/own-method.md", "weak-labels"), "labels")
    sample = npz_skim.sample()
    low, high = np.quantile(sample.m_jj, [0.4, 0.7])
    job = Job(data=sample, scope="heavy", window=MassRange(low=low, high=high), seed=1)
    labels = page.signal_region_against_the_rest(job)
    inside = np.count_nonzero((sample.m_jj >= low) & (sample.m_jj < high))
    assert 0 < inside < len(sample)
    assert labels.counts == {"signal-region": inside, "sidebands": len(sample) - inside}
    assert [each.target for each in labels.classes] == [1.0, 0.0]


def test_table_of_the_how_to_is_searched_from_file_and_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, n, signal = np.random.default_rng(4), 12_000, 400
    rare = np.arange(n) < signal
    columns = {"mjj": np.where(rare, rng.normal(3.5, 0.1, n), 2.6 + rng.exponential(0.5, n))}
    for jet, mass in ((1, 400.0), (2, 100.0)):
        columns[f"mj{jet}"] = np.where(rare, rng.normal(mass, 15, n), rng.gamma(3, mass / 3, n))
        columns[f"tau1j{jet}"] = rng.uniform(0.1, 0.3, n)
        ratio = np.where(rare, rng.beta(3, 7, n), rng.beta(5, 3, n))
        columns[f"tau2j{jet}"] = columns[f"tau1j{jet}"] * ratio
    columns |= {"MET": rng.exponential(30, n), "is_signal": rare.astype(int)}
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table(columns), "features.parquet")
    Path("search.yaml").write_text(
        block_named("how-to/table.md", "table-settings")
        + "search: {fit_range: {low: 2720, high: 6000}}\nfit: {bump: {efficiency: 0.3}}\n"
    )
    page = executed(block_named("how-to/table.md", "columns-in-memory"), "page")
    assert page.sample._repr_html_().count("<tr>") == 3
    assert "AUC" in Path("notebook/report.html").read_text()
    config = tnt.SearchConfig.from_yaml("search.yaml")
    fileset = tnt.Fileset.from_paths({"data": ["features.parquet"]})
    outcome = tnt.run(fileset, config, out="from-file")
    assert outcome.report.exists()
    sample = tnt.Skim.load("from-file/skim").sample()
    np.testing.assert_allclose(np.sort(sample.m_jj), np.sort(page.sample.m_jj))
    assert (sample.columns["heavy_mass"] >= sample.columns["light_mass"]).all()
    for result in (page.result, outcome.result):
        assert result.after["cwola"].z > result.before.z + 2


def test_family_of_the_how_to_fits() -> None:
    import hist

    from tnt_coffea import stats

    page = executed(block_named("how-to/background-family.md", "ua2-family"), "ua2")
    edges = np.linspace(2600, 7000, 111)
    seen = np.ones(110, dtype=bool)
    x = edges / 13000
    truth = page.UA2.build(edges, 4, np.zeros(110), seen)
    # ln p0, p1, p2, p3: 50 000 events falling by four orders of magnitude.
    expected = truth.normalised(50_000.0, seen).expected(np.array([0.0, 4.0, 5.0, 3.0]))
    np.testing.assert_allclose(
        expected[1] / expected[0],
        np.exp(-5 * (x[1] - x[0]) - 3 * (x[2] ** 2 - x[1] ** 2)) * (x[1] / x[0]) ** -4,
        rtol=2e-2,
    )
    spectrum = hist.Hist.new.Reg(110, 2600, 7000, name="m_jj").Double()
    spectrum[...] = np.random.default_rng(1).poisson(expected * 50_000 / expected.sum())
    result = stats.bump_hunt(
        spectrum,
        mass=3500,
        width=120,
        fit=stats.SpectrumFit((2600, 7000), bin_width=40, family=page.UA2),
    )
    assert result.converged
    assert result.z < 3
    assert result.channels[0].goodness_of_fit > 0.01
