"""The examples in docstrings run, and every public name of some packages has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

PACKAGES = ["tnt_coffea.jets", "tnt_coffea.stats"]
"""Every public name has an example."""
MODULES = [
    "tnt_coffea.accounting",
    "tnt_coffea.config.settings",
    "tnt_coffea.config.skims",
    "tnt_coffea.events.expressions",
    "tnt_coffea.events.roles",
    "tnt_coffea.events.sample",
    "tnt_coffea.events.table",
    "tnt_coffea.filesets",
    "tnt_coffea.products",
    "tnt_coffea.storage",
    "tnt_coffea.taggers.inputs",
    "tnt_coffea.testing",
    "tnt_coffea.training.features",
]
"""Some names have one."""
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules(package: str) -> Iterator[str]:
    yield package
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        yield module.name


@pytest.mark.parametrize("name", [name for package in PACKAGES for name in modules(package)])
def test_examples_of_a_package_give_what_they_show(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert outcome.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_a_module_give_what_they_show(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert outcome.attempted > 0
    assert outcome.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_example(package: str) -> None:
    public = importlib.import_module(package)
    documented = {
        name: inspect.getdoc(getattr(public, name))
        for name in public.__all__
        if inspect.isclass(getattr(public, name)) or inspect.isroutine(getattr(public, name))
    }
    assert [name for name, text in documented.items() if ">>> " not in (text or "")] == []
