"""The examples in docstrings run, and every public name of these packages has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

PACKAGES = ["tnt_coffea.stats"]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules(package: str) -> Iterator[str]:
    yield package
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        yield module.name


@pytest.mark.parametrize("name", [name for package in PACKAGES for name in modules(package)])
def test_examples_give_what_they_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
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
