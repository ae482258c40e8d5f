"""The examples in docstrings run and give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "tnt_coffea.accounting",
    "tnt_coffea.config.skims",
    "tnt_coffea.events.sample",
    "tnt_coffea.events.table",
    "tnt_coffea.filesets",
    "tnt_coffea.products",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
