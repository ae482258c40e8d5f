"""Every public name shows how it is used, and what it shows runs."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from importlib import import_module

import pytest

PACKAGES = ("tnt_coffea.jets",)
"""Every public name has an example."""
MODULES = (
    "tnt_coffea.accounting",
    "tnt_coffea.config.settings",
    "tnt_coffea.config.skims",
    "tnt_coffea.events.sample",
    "tnt_coffea.events.table",
    "tnt_coffea.filesets",
    "tnt_coffea.products",
    "tnt_coffea.storage",
    "tnt_coffea.taggers.inputs",
    "tnt_coffea.testing",
    "tnt_coffea.training.features",
)
"""Some names have one."""


def public_names() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for name in import_module(package).__all__:
            yield package, name


@pytest.mark.parametrize(("package", "name"), list(public_names()))
def test_examples_of_a_public_name_run(package: str, name: str) -> None:
    module = import_module(package)
    shown = getattr(module, name)
    finder = doctest.DocTestFinder(recurse=False)
    source = import_module(getattr(shown, "__module__", package))
    (found,) = finder.find(shown, name, source, globs=dict(vars(source)))
    assert found.examples, f"{package}.{name} has no example"
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_a_module_run(module: str) -> None:
    result = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed
