from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from tnt_coffea.events.sources import source_of


@pytest.fixture(scope="session")
def root_files(real_data: Path) -> dict[str, Path]:
    folder = real_data / "root"
    return {
        "pfnano": folder / "pfnano.root",
        "skimmed pfnano": folder / "fastjet_pfnano_skim.root",
        "delphes": folder / "skhep_uproot-issue513_delphes.root",
        "physlite": folder / "PHYSLITE_example.root",
    }


@pytest.fixture(scope="session")
def loaded() -> Callable[..., Any]:
    """All entries of a file, or a range, as our own execution loads them."""

    def load(path: Path, start: int = 0, stop: int | None = None) -> Any:
        source = source_of(path)
        stop = source.entries(path) if stop is None else stop
        metadata = {"dataset": "data", "filename": str(path), "entrystart": start}
        return source.load(path, start, stop, metadata)

    return load


@pytest.fixture(scope="session")
def under_schema() -> Callable[..., Any]:
    """All entries of a ROOT file as coffea gives them."""
    from coffea.nanoevents import NanoEventsFactory

    def load(path: Path, tree: str, schema: Any) -> Any:
        factory = NanoEventsFactory.from_root(
            {str(path): tree}, schemaclass=schema, metadata={"dataset": "data"}
        )
        return factory.events()

    return load


@pytest.fixture
def write_nano(tmp_path: Path) -> Callable[..., Path]:
    """A small PFNano file, written by uproot: three events of 3, 0 and 2 particles."""
    import uproot

    def write(name: str = "nano.root", **changes: Any) -> Path:
        counts = [3, 0, 2]
        jagged = {
            part: ak.unflatten(np.array(values, np.float32), counts)
            for part, values in {
                "pt": [50.0, 30.0, 10.0, 80.0, 70.0],
                "eta": [0.1, -0.2, 0.3, 1.0, -1.5],
                "phi": [0.0, 3.0, 0.1, -2.0, 1.0],
                "mass": [0.14, 0.0, 0.14, 0.0, -0.001],
                "puppiWeight": [1.0, 0.5, 0.0, 1.0, 0.25],
            }.items()
        }
        links = {
            "jetIdx": ak.Array([[0, 1, 0], [], [0, 1]]),
            "pFCandsIdx": ak.Array([[0, 1, 2], [], [1, 0]]),
        }
        jets = {
            part: ak.unflatten(np.array(values, np.float32), [2, 0, 2])
            for part, values in {
                "pt": [60.0, 15.0, 17.5, 80.0],
                "eta": [0.1, -0.2, -1.5, 1.0],
                "phi": [0.0, 3.0, 1.0, -2.0],
                "mass": [5.0, 1.0, 2.0, 4.0],
            }.items()
        }
        rows: dict[str, Any] = {
            "run": np.array([1, 1, 1], np.uint32),
            "luminosityBlock": np.array([7, 7, 8], np.uint32),
            "event": np.array([11, 12, 11], np.uint64),
            "genWeight": np.array([0.5, -1.0, 2.0], np.float32),
            "PFCands": ak.zip(jagged),
            "FatJet": ak.zip(jets),
            "FatJetPFCands": ak.zip(links),
        }
        rows = {n: row for n, row in (rows | changes).items() if row is not None}
        path = tmp_path / name
        with uproot.recreate(path) as file:
            tree = file.mktree("Events", {n: _kind(row) for n, row in rows.items()})
            tree.extend(rows)
        return path

    return write


def _kind(row: Any) -> str:
    if isinstance(row, np.ndarray):
        return str(row.dtype)
    parts = (f"{n}: {ak.to_numpy(ak.flatten(row[n])).dtype}" for n in row.fields)
    return f"var * {{{', '.join(parts)}}}"
