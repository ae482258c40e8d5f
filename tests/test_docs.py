"""The documentation site builds, and what its pages show exists and runs."""

from __future__ import annotations

import ast
import html
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

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
SCRIPT = re.compile(
    r"^(?:<!-- (?P<mark>(?:no script|script|block)\b[^\n]*) -->\n)?```python\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
"""A Python block, and what stands above it: how it is run, or why it is not."""
TAKING_BLOCKS = ("test_docs.py", "test_frameworks.py")
MINUTES = {
    "README.md": "a search by two workers, and another of arrays in memory",
    "docs/data.md": "PYTHIA makes 750 events",
    "docs/how-to/frameworks.md": "three searches",
    "docs/how-to/own-cluster.md": "two workers and a report",
    "docs/how-to/reading-a-result.md": "a search before it",
    "docs/how-to/packaged-taggers.md": "taggers of the package on generated events",
    "docs/how-to/review.md": "a search before it",
    "docs/how-to/systematics.md": "variations of simulated events",
    "docs/statistics.md": "toys of a whole scan",
}
"""Pages whose scripts are run by `make slow` alone, and why."""
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Give the fenced blocks of a page with their info string."""
    for found in FENCE.finditer(page.read_text()):
        yield found["info"].strip(), found["text"]


def block_named(page: str, name: str) -> str:
    """Return the text of a block by the name in the comment above it."""
    _, above, rest = (DOCS / page).read_text().partition(f"<!-- block: {name} -->\n```")
    assert above, f"{page} has no block named {name}"
    return rest.partition("\n")[2].partition("\n```\n")[0] + "\n"


def commands(page: Path) -> Iterator[list[str]]:
    """Give the `tnt-coffea` command lines of a page, as words."""
    # A line that ends with a backslash goes on in the next one, as in a shell.
    for line in page.read_text().replace("\\\n", "").splitlines():
        shown = re.match(r"^(?:\$ |    )?(tnt-coffea .*)$", line)
        if shown:
            yield shlex.split(shown[1], comments=True)[1:]
        for inline in re.findall(r"`(tnt-coffea [^`]*)`", line):
            yield shlex.split(inline)[1:]


@pytest.mark.slow
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
    reference = (tmp_path / "html" / "reference" / "stats.html").read_text()
    described = html.unescape(re.sub("<[^>]+>", "", reference))
    assert "a, b, c, d (float) \N{EN DASH}" in described
    assert not re.search("\\w+ \\((\\w+,\\s*)+\\) \N{EN DASH}", described)
    for exception in TntCoffeaError.__subclasses__():
        assert exception.__name__ in (tmp_path / "html" / "how-to" / "errors.html").read_text()


def test_reference_of_the_statistics_is_complete() -> None:
    listed = re.findall(
        r"auto(?:function|class):: (\w+)", (DOCS / "reference/stats.md").read_text()
    )
    assert sorted(listed) == sorted(tnt.stats.__all__)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_and_images_show_where_the_repository_is_browsed(page: Path) -> None:
    written = page.read_text()
    # Sphinx would put the page's title there, and Sphinx alone knows these directives.
    assert not re.search(r"(?<!!)\[\]\(", FENCE.sub("", written))
    assert not re.search(r"^```\{(image|figure|code-block|note|warning)\}", written, re.MULTILINE)


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
        _, extra, _ = command.make_parser(click.Context(command)).parse_args(list(words))
        assert extra == [], f"arguments that {command.name} has not: {extra}"
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
    with pytest.raises(AssertionError, match="arguments that bump has not"):
        parse(main, shlex.split("fit bump box1/search tnt"))
    with pytest.raises(AssertionError, match="settings"):
        parse(main, ["settings"])


def scripts(page: Path) -> Iterator[tuple[list[str], str]]:
    """Give the scripts of a page as printed, with the inputs that they name."""
    whole: list[tuple[list[str], str]] = []
    for found in SCRIPT.finditer(page.read_text()):
        mark, text = found["mark"] or "", found["text"]
        kind, _, inputs = mark.partition(": ")
        if kind == "script":
            whole.append((inputs.split(", ") if inputs else [], text))
        elif kind == "script continues":
            before, so_far = whole.pop()
            whole.append((before, f"{so_far}\n{text}"))
        elif kind == "block":
            tests = "".join((ROOT / "tests" / name).read_text() for name in TAKING_BLOCKS)
            assert f'"{inputs}"' in tests, f"no test takes {inputs}"
        else:
            assert kind == "no script", f"{page}: how is this block run?\n{text}"
            assert inputs, f"{page}: why is this block not run?\n{text}"
    yield from whole


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_how_it_is_run(page: Path) -> None:
    assert sum(info == "python" for info, _ in blocks(page)) == len(
        SCRIPT.findall(page.read_text())
    )
    list(scripts(page))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, id=named(p), marks=[pytest.mark.slow] * (named(p) in MINUTES))
        for p in PAGES
        if re.search("^<!-- script", p.read_text(), re.MULTILINE) and p.name != "table.md"
    ],
)
def test_scripts_run_as_printed(page: Path, tmp_path: Path) -> None:
    if missing := run_scripts(page, tmp_path):
        pytest.skip(f"the others ran; these need {', '.join(missing)}")


def run_scripts(page: Path, folder: Path) -> list[str]:
    """Run the scripts of a page one after the other in a folder, as a user does.

    Those that import a package which is not installed are left out; what they lack is returned.
    """
    lacking: set[str] = set()
    activated = str(Path(sys.executable).parent)
    for number, (inputs, text) in enumerate(scripts(page)):
        if missing := not_installed(text):
            lacking |= missing
            continue
        for name in inputs:
            INPUTS[name](folder)
        (folder / f"{number}.py").write_text(text)
        done = subprocess.run(
            [sys.executable, f"{number}.py"],
            cwd=folder,
            env=os.environ | {"PATH": os.pathsep.join([activated, os.environ["PATH"]])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    return sorted(lacking)


def not_installed(script: str) -> set[str]:
    """Return the packages that a script imports and that are missing here."""
    imports = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Import)]
    packages = {alias.name.partition(".")[0] for node in imports for alias in node.names}
    return {name for name in packages if find_spec(name) is None}


def test_a_missing_package_leaves_out_its_own_script_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    blocks = ("import absent_package.part", "open('ran', 'w').write('yes')")
    page.write_text("".join(f"<!-- script -->\n```python\n{text}\n```\n" for text in blocks))
    assert run_scripts(page, tmp_path) == ["absent_package"]
    assert (tmp_path / "ran").read_text() == "yes"


def small_events(folder: Path) -> None:
    """Write 240 events as an LHC Olympics table."""
    import h5py

    events, counts = two_jets(np.random.default_rng(1), 240), 60
    table = np.zeros((240, 2100), np.float32)
    for at, name in enumerate(("pt", "eta", "phi")):
        table[:, at : 3 * counts : 3] = events[name].reshape(240, counts)
    with h5py.File(folder / "box1.h5", "w") as file:
        file["events"] = table


def small_settings(folder: Path) -> None:
    """Write the settings of a search that trains in a second."""
    (folder / "search.yaml").write_text(
        """
        skim: {images: null, observables: [pt, mass, tau21]}
        search: {window: {low: 3000, high: 4000}, efficiencies: [0.5, 0.1]}
        train: {methods: {tnt: {kind: feature}}}
        fit: {bump: {efficiency: 0.5, bin_width: 200}, abcd: {efficiency: 0.1}}
        """
    )


def small_skim(folder: Path) -> None:
    """Write the events and their skim."""
    small_events(folder)
    fileset = tnt.Fileset.from_paths({"data": [folder / "box1.h5"]})
    tnt.skim(fileset, tnt.SearchConfig(), out=folder / "box1")


def table_of_features(folder: Path) -> None:
    """Write 8000 rows with a resonance of 3.5 TeV."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, n, signal = np.random.default_rng(4), 8000, 300
    rare = np.arange(n) < signal
    columns = {"mjj": np.where(rare, rng.normal(3.5, 0.1, n), 2.6 + rng.exponential(0.5, n))}
    for jet, mass in ((1, 400.0), (2, 100.0)):
        columns[f"mj{jet}"] = np.where(rare, rng.normal(mass, 15, n), rng.gamma(3, mass / 3, n))
        columns[f"tau1j{jet}"] = rng.uniform(0.1, 0.3, n)
        ratio = np.where(rare, rng.beta(3, 7, n), rng.beta(5, 3, n))
        columns[f"tau2j{jet}"] = columns[f"tau1j{jet}"] * ratio
    columns |= {"MET": rng.exponential(30, n), "is_signal": rare.astype(int)}
    pq.write_table(pa.table(columns), folder / "features.parquet")


def settings_of_the_table(folder: Path) -> None:
    """Write the page's own settings, and a fit that suits 8000 rows."""
    (folder / "search.yaml").write_text(
        block_named("how-to/table.md", "table-settings")
        + "search: {fit_range: {low: 2720, high: 6000}}\nfit: {bump: {efficiency: 0.3}}\n"
    )


def small_search(folder: Path) -> None:
    """Write the events and a search of them."""
    small_events(folder)
    small_settings(folder)
    config, out = tnt.SearchConfig.from_yaml(folder / "search.yaml"), folder / "box1"
    skim = tnt.skim(tnt.Fileset.from_paths({"data": [folder / "box1.h5"]}), config, out=out)
    tnt.search(skim, tnt.train(skim, config, out=out), config, out=out)


INPUTS: dict[str, Callable[[Path], None]] = {
    "box1.h5": small_events,
    "search.yaml": small_settings,
    "box1/search": small_search,
    "box1/skim": small_skim,
    "features.parquet": table_of_features,
    "settings of the table": settings_of_the_table,
}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_names_exist(page: Path) -> None:
    for info, text in blocks(page):
        if info in ("python", "{code-cell} ipython3"):
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


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_settings_of_the_text_exist(page: Path) -> None:
    paths = re.findall(
        r"`((?:skim|search|train|fit|generate)\.[a-z_.]*[a-z_])[`:]",
        FENCE.sub("", page.read_text()),
    )
    wrong = [path for path in paths if not path.endswith(".py") and not is_setting(path)]
    assert wrong == []


def is_setting(path: str) -> bool:
    models: list[Any] = [tnt.SearchConfig]
    for name in path.split("."):
        fields = [m.model_fields[name] for m in models if name in m.model_fields]
        if not fields:
            return False
        kinds = [kind for f in fields for kind in (f.annotation, *get_args(f.annotation))]
        models = [kind for kind in kinds if hasattr(kind, "model_fields")]
        if name == "methods":  # what follows is a name of the user's
            return True
    return True


def test_a_setting_that_does_not_exist_is_found() -> None:
    assert is_setting("fit.bump.mass")
    assert is_setting("train.methods.name.kind")
    assert not is_setting("fit.bump.masses")


def messages() -> str:
    """Return every text of the package's code, one a line, with … for what is filled in."""
    found = []
    for path in sorted((ROOT / "tnt_coffea").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(text.replace("\n", " ") for text in found)


def test_messages_of_the_questions_are_those_of_the_code() -> None:
    said = messages()
    asked = re.findall(r"^### `([^`]+)`$", (DOCS / "faq.md").read_text(), re.MULTILINE)
    assert len(asked) > 10
    unknown = [
        message
        for message in asked
        if not re.search(".*".join(map(re.escape, message.strip("… ").split("…"))), said)
    ]
    assert unknown == []


def rows_of(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip(" *") for cell in line.strip().strip("|").split("|")] for line in lines]


def test_choice_of_a_method_quotes_the_comparison() -> None:
    measured = (DOCS / "comparison.md").read_text().split("\n**")[1:5]
    quoted = (DOCS / "choosing.md").read_text().partition("## How much")[2].partition("\n- ")[0]
    header, *rows = rows_of(quoted)
    assert len(rows) == 6
    for column, (share, table) in enumerate(zip(header[1:], measured, strict=True), start=1):
        assert table.startswith(share)
        theirs = rows_of(table.partition("|\n\n")[0])
        for row in rows:
            # Of two rows of a name the second one, which builds on TNT + m_jj.
            same = [each for each in theirs if each[0] == row[0]]
            assert same, row[0]
            one, three = (same[-1][i].partition(" ")[0] for i in (6, 5))
            assert row[column] == f"{one} ({three})", (share, row[0])


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


@pytest.mark.slow
def test_table_of_the_how_to_is_searched_from_file_and_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_scripts(DOCS / "how-to" / "table.md", tmp_path)
    assert "AUC" in Path("notebook/report.html").read_text()
    config = tnt.SearchConfig.from_yaml("search.yaml")
    skim = tnt.skim(tnt.Fileset.from_paths({"data": ["features.parquet"]}), config, out="file")
    histograms = tnt.search(skim, tnt.train(skim, config, out="file"), config, out="file")
    sample = skim.sample()
    assert (sample.columns["heavy_mass"] >= sample.columns["light_mass"]).all()
    from_memory = tnt.SearchResult.load("notebook/fit/result.json")
    from_file = tnt.fit(histograms, config, out="file")
    assert from_memory.before.channels[0].observed == from_file.before.channels[0].observed
    for result in (from_memory, from_file):
        assert result.after["cwola"].z > result.before.z + 2


def test_family_of_the_how_to_fits() -> None:
    import hist

    from tnt_coffea import stats

    page = executed(block_named("how-to/background-family.md", "ua2-family"), "ua2")
    edges = np.linspace(2600, 7000, 111)
    seen = np.ones(110, dtype=bool)
    x = edges / 13000
    truth = page.UA2.build(edges, 4, np.zeros(110), seen, 13000)
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
