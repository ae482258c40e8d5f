"""The three methods of docs/how-to/methods keep what every method has to keep."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tnt_coffea.testing import method_contract

FILES = sorted((Path(__file__).parents[1] / "docs" / "how-to" / "methods").glob("*.py"))
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "attention": (
        "Attention",
        {
            "epochs": 4,
            "width": 8,
            "layers": 1,
            "optimizer": {"learning_rate": 5e-3, "batch": 100},
        },
    ),
    "gaussian_ratio": ("GaussianRatio", {}),
    "isolation_forest": ("IsolationForest", {"trees": 30}),
}


def loaded(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"own_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Where pydantic looks for the names in annotations.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_file_is_run() -> None:
    assert {path.stem for path in FILES} == set(SETTINGS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_method_is_at_most_120_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 120


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnx") is None, reason="needs pip install 'tnt-coffea[train]'")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_method_keeps_what_every_method_keeps(path: Path, tmp_path: Path) -> None:
    name, settings = SETTINGS[path.stem]
    method_contract(getattr(loaded(path), name)(**settings), tmp_path, constituents=4)
