"""What an installed copy must hold, and what importing it must not cost."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tnt_coffea

ROOT = Path(__file__).parents[1]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_can_be_reached() -> None:
    for name in tnt_coffea.__all__:
        assert getattr(tnt_coffea, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = tnt_coffea.nonsense


def test_subpackages_are_reached_without_an_import_of_their_own() -> None:
    packages = {"events", "jets", "processors", "stats", "taggers", "training", "reporting"}
    assert packages <= set(dir(tnt_coffea))
    # Called directly: an earlier test may have imported them already.
    found = {name: tnt_coffea.__getattr__(name).__name__ for name in packages}
    assert found == {name: f"tnt_coffea.{name}" for name in packages}


def test_command_line_starts_without_heavy_imports() -> None:
    heavy = python(
        "import sys, tnt_coffea, tnt_coffea.cli;"
        "print([n for n in ('coffea', 'awkward', 'tensorflow', 'matplotlib', 'pyhf', 'dask')"
        " if n in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_nothing_but_training_generation_and_clusters_needs_an_extra() -> None:
    said = python(
        "import sys\n"
        "extras = ('tensorflow', 'keras', 'onnx', 'tf2onnx', 'pythia8mc', 'dask', 'distributed')\n"
        "for name in extras: sys.modules[name] = None\n"
        "import tnt_coffea.processors, tnt_coffea.pipeline, tnt_coffea.reporting\n"
        "import tnt_coffea.stats, tnt_coffea.taggers, tnt_coffea.training, tnt_coffea.generator\n"
        "from coffea.processor import DaskExecutor\n"
        "from tnt_coffea.execution import default_executor, open_executor\n"
        "print(default_executor())\n"
        "for executor in ('futures', 'dask', 'tcp://127.0.0.1:9', DaskExecutor(), 'spark'):\n"
        "    try:\n"
        "        with open_executor(executor) as opened: print(type(opened).__name__)\n"
        "    except Exception as error: print(f'{type(error).__name__}: {error}')\n"
    )
    default, futures, *missing, unknown = said.splitlines()
    assert (default, futures) == ("futures", "FuturesExecutor")
    assert unknown.startswith("ConfigError: executor 'spark' is none of: iterative")
    assert len(missing) == 3
    assert set(missing) == {
        "MissingExtraError: distributed is not installed, and this step needs it: "
        "pip install 'tnt-coffea[dask]'"
    }


def test_base_install_has_neither_tensorflow_nor_pythia_nor_dask() -> None:
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert base
    assert not [
        line
        for line in base
        if line.startswith(("tensorflow", "tf2onnx", "onnx>", "pythia8mc", "dask", "distributed"))
    ]


def test_addresses_are_those_of_the_citation() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    named = (ROOT / "CITATION.cff").read_text() + (ROOT / "README.md").read_text()
    for url in urls.values():
        assert url.rpartition("/")[2] in named, url


def test_packages_lie_where_the_build_looks_for_them() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.glob("tnt_coffea/**/__init__.py")
        if not any(parent.is_symlink() for parent in path.parents)
    }
    folders |= {f"tnt_coffea.{name}" for name in ("processors", "models")}
    assert set(settings["packages"]) == folders
    for package, folder in settings["package-dir"].items():
        assert (ROOT / folder / "__init__.py").exists(), package
