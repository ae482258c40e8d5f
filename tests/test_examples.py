"""The examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import tnt_coffea
from tnt_coffea.training.methods import METHODS

PACKAGES = [
    "tnt_coffea",
    "tnt_coffea.jets",
    "tnt_coffea.processors",
    "tnt_coffea.stats",
    "tnt_coffea.taggers",
    "tnt_coffea.training",
]
"""Every public name has an example."""
MINUTES = {
    "tnt_coffea.chain": "generates, searches, and draws two reports",
    "tnt_coffea.pipeline.answering": "searches, answers, and generates",
    "tnt_coffea.pipeline.evaluation": "searches, and draws a report",
    "tnt_coffea.pipeline.characterising": "compares events of a search",
    "tnt_coffea.pipeline.fitting": "fits a search",
    "tnt_coffea.pipeline.null_searches": "searches without a signal",
    "tnt_coffea.pipeline.retrained_limits": "trains for two strengths",
    "tnt_coffea.products": "searches and fits",
    "tnt_coffea.results": "fits a search",
    "tnt_coffea.stats.bias_study": "fits toys of two functions",
    "tnt_coffea.stats.exchange": "sets limits",
    "tnt_coffea.stats.expected": "fits everything beside a window ten times",
    "tnt_coffea.stats.limit_results": "sets limits",
    "tnt_coffea.stats.limits": "sets limits",
    "tnt_coffea.stats.results": "throws toys",
    "tnt_coffea.stats.scan_results": "throws toys",
    "tnt_coffea.stats.transfer": "sets limits",
    "tnt_coffea.stats.transfer_results": "sets limits",
    "tnt_coffea.stats.unbinned": "fits every event",
    "tnt_coffea.training.methods.quak": "trains networks of three losses",
    "tnt_coffea.training.parametrised_ratio": "trains a network",
}
"""Modules whose examples are run by `make slow` alone, and why: longer than two seconds."""
INFERENCE = ("tnt_coffea.taggers", "tnt_coffea.processors")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def with_examples() -> Iterator[str]:
    """Return the modules of the package that show examples; none but packages are imported."""
    inside = pkgutil.walk_packages(tnt_coffea.__path__, "tnt_coffea.")
    for name in ("tnt_coffea", *(info.name for info in inside)):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        if ">>> " in Path(spec.origin).read_text():
            yield name


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in MINUTES)) for n in with_examples()]
)
def test_examples_give_what_they_show(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert outcome.attempted > 0
    assert outcome.failed == 0, capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_examples_of_inference_do_without_tensorflow() -> None:
    program = (
        "import doctest, importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        f"    doctest.testmod(importlib.import_module(name), optionflags={OPTIONS})\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    names = [name for name in with_examples() if name.startswith(INFERENCE)]
    assert names
    subprocess.run([sys.executable, "-c", program, *names], check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_example(package: str) -> None:
    public = importlib.import_module(package)
    named = {name: getattr(public, name) for name in public.__all__}
    assert without_example(named) == []


def test_every_method_has_an_example() -> None:
    assert without_example(METHODS) == []


def without_example(named: Mapping[str, object]) -> list[str]:
    return [
        name
        for name, item in named.items()
        if (inspect.isclass(item) or inspect.isroutine(item)) and ">>> " not in (item.__doc__ or "")
    ]
