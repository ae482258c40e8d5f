"""The notebooks of the documentation run from the first cell to the last."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
NEEDED = {
    "generated-search": {"pythia8mc": "generate", "tensorflow": "train", "onnx": "train"},
    "own-processor": {"pythia8mc": "generate"},
}
SECONDS = 300


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.md")} == set(NEEDED)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NEEDED))
def test_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, extra in {"nbclient": "docs", "jupytext": "docs", **NEEDED[name]}.items():
        if find_spec(package) is None:
            pytest.skip(f"{package} is missing: pip install 'tnt-coffea[{extra}]'")
    import jupytext
    from nbclient import NotebookClient

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook = jupytext.read(NOTEBOOKS / f"{name}.md")
    NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert pictures(outputs) >= 1
    assert not [output for output in outputs if output["output_type"] == "error"]
    stderr = "".join(o["text"] for o in outputs if o.get("name") == "stderr")
    assert "Warning" not in stderr


def pictures(outputs: list[Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)
