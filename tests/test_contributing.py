"""The table of CONTRIBUTING.md names what there is."""

from __future__ import annotations

import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]


def rows() -> dict[str, tuple[str, str]]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| a ")]
    return {cells[0].strip(): (cells[1], cells[2]) for cells in table}


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("what", rows())
def test_every_place_in_the_table_is_there(what: str) -> None:
    for cell in rows()[what]:
        for name in names(cell):
            if "/" in name:
                places = (ROOT / name, ROOT / "tnt_coffea" / name)
                assert any(place.exists() for place in places), name


def test_commands_are_those_of_the_makefile() -> None:
    text, makefile = (ROOT / "CONTRIBUTING.md").read_text(), (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^    make ([\w-]+)", text, re.MULTILINE))
    assert {"test", "slow", "docs"} <= named <= targets
    [site] = re.findall(r"sphinx .* (\S+)$", makefile, re.MULTILINE)
    assert f"{site}/index.html" in text
    for script in re.findall(r"^    python (\S+)", text, re.MULTILINE):
        assert (ROOT / script).exists(), script


def test_a_generator_process_is_an_entry() -> None:
    from tnt_coffea.generator import processes

    assert names(rows()["a generator process"][0]) == ["tnt_coffea/generator/processes.py"]
    assert processes.PROCESSES


def test_a_source_is_a_module_with_these_names_and_a_line() -> None:
    from tnt_coffea.events import sources

    written, line = rows()["a source (a file format)"]
    wanted = [name for name in names(written) if "/" not in name]
    assert names(line)[0] == "SOURCES"
    complete = [
        name
        for name, module in sources.SOURCES.items()
        if all(hasattr(module, item) for item in wanted)
    ]
    assert {"lhco", "pfnano", "delphes"} <= set(complete)


def test_a_method_is_a_file_and_no_line() -> None:
    from tnt_coffea.config import ENTRY_POINTS
    from tnt_coffea.training import Method, methods

    assert ENTRY_POINTS in rows()["a method"][1]
    registered = {method.__module__.rpartition(".")[2] for method in methods.METHODS.values()}
    assert registered == {module.name for module in pkgutil.iter_modules(methods.__path__)}
    assert all(issubclass(method, Method) for method in methods.METHODS.values())


def test_a_background_family_is_a_line() -> None:
    module = importlib.import_module("tnt_coffea.stats.families")
    assert names(rows()["a background family"][1]) == ["FAMILIES"]
    assert module.FAMILIES


def test_architecture_names_every_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = " ".join(contracts["contracts"][0]["layers"]).replace("|", " ").split()
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Layout")[2]
    rows_ = table.partition("\n## ")[0]
    missing = [n for n in layers if not re.search(rf"`{n}(\.py|/)`", rows_)]
    assert missing == ["__main__"]  # which only calls the command line


def test_a_command_is_in_the_lists() -> None:
    from tnt_coffea.cli import main

    found = set()
    package = importlib.import_module("tnt_coffea.cli")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name == "__main__":
            continue
        contents = vars(importlib.import_module(f"tnt_coffea.cli.{module.name}"))
        exported = contents.get("__all__", ())
        found |= {
            contents[name].name for name in exported if isinstance(contents[name], click.Command)
        }
    known = set(main.commands)
    for group in main.commands.values():  # `fit` has commands of its own
        known |= set(getattr(group, "commands", ()))
    assert found - {"main"} <= known
