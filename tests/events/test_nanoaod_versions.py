"""The same events in the layouts that NanoAOD with constituents has had, in one fileset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.events import jets_of, pfnano, source_of
from tnt_coffea.events.skim import read_parts
from tnt_coffea.execution import open_executor, run
from tnt_coffea.filesets import Fileset
from tnt_coffea.processors import SkimProcessor

EVENTS, CONSTITUENTS = 8, 15
SETTINGS = SkimSettings.model_validate(
    {
        "source": {"jets": "file"},
        "jets": {"radius": 0.8},
        "observables": ["pt", "mass", "tau21", "n_constituents", "d2"],
        "images": {"pixels": 16},
    }
)
LAYOUTS = {
    "pfnano": ("PFCands", "FatJetPFCands", "pFCandsIdx"),
    "v15": ("PFCand", "FatJetPFCand", "pfCandIdx"),
    "first v15": ("PFCand", "FatJetPFCand", "PFCandIdx"),
    "jme": ("PFCand", "FatJetPFCand", "pFCandsIdx"),
}
"""Names of candidates, links and index; of v15 the momenta are weighted."""
WEIGHTED = ("v15", "first v15")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Eight dijets with AK8 constituents, under the names of a version."""

    def write(layout: str, form: str = "mktree", **changes: Any) -> Path:
        rng, n = np.random.default_rng(9), 2 * CONSTITUENTS
        axis = rng.uniform(-3, 3, (EVENTS, 1))
        side = np.repeat([0.0, np.pi], CONSTITUENTS)
        parts = {
            "pt": rng.exponential(60, (EVENTS, n)) + 1,
            "eta": rng.normal(0, 0.2, (EVENTS, n)),
            "phi": np.remainder(axis + side + rng.normal(0, 0.2, (EVENTS, n)), 2 * np.pi) - np.pi,
            "mass": np.full((EVENTS, n), 0.14),
        }
        parts = {name: part.astype(np.float32) for name, part in parts.items()}
        weight = rng.choice([0.25, 0.5, 1.0], (EVENTS, n)).astype(np.float32)
        scaled = parts | {name: parts[name] * weight for name in ("pt", "mass")}
        p4 = vector.array({n: part.astype(float) for n, part in scaled.items()})
        jets = [p4[:, :CONSTITUENTS].sum(axis=1), p4[:, CONSTITUENTS:].sum(axis=1)]
        particles, links, index = LAYOUTS[layout]
        stored = scaled if layout in WEIGHTED else parts | {"puppiWeight": weight}
        rows: dict[str, Any] = {
            "run": np.ones(EVENTS, np.uint32),
            "luminosityBlock": np.ones(EVENTS, np.uint32),
            "event": np.arange(EVENTS, dtype=np.uint64),
            "FatJet": {
                part: np.stack([getattr(jet, part) for jet in jets], 1).astype(np.float32)
                for part in ("pt", "eta", "phi", "mass")
            },
            particles: stored,
            links: {
                "jetIdx": np.tile(np.repeat([0, 1], CONSTITUENTS), (EVENTS, 1)).astype(np.int16),
                index: np.tile(np.arange(n), (EVENTS, 1)).astype(np.int16),
            },
        } | changes
        columns: dict[str, Any] = {}
        for name, row in rows.items():
            if not isinstance(row, dict):
                columns[name] = row
                continue
            lists = {part: ak.from_regular(values) for part, values in row.items()}
            nested = {name: ak.zip(lists)}
            flat = {f"{name}_{part}": values for part, values in lists.items()}
            # Branches of NanoAOD are flat; uproot makes them, and their counters, of records.
            columns |= flat if form == "flat RNTuple" else nested
        path = tmp_path / f"{layout} {form}.root"
        with uproot.recreate(path) as file:
            getattr(file, "mktree" if form == "mktree" else "mkrntuple")("Events", columns)
        return path

    return write


def skimmed(files: dict[str, list[Path]], folder: Path) -> dict[str, Any]:
    with open_executor() as executor:
        processor = SkimProcessor(SETTINGS, folder)
        run(Fileset.from_paths(files), processor, executor, chunk_size=5)
    return {name: read_parts((folder / name).rglob("*.parquet"), numbers=True) for name in files}


@pytest.mark.parametrize(
    "form",
    [
        "mktree",
        pytest.param("flat RNTuple", marks=pytest.mark.slow),
        pytest.param("records in an RNTuple", marks=pytest.mark.slow),
    ],
)
def test_all_versions_give_the_same_dijets(
    written: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    files = {layout.replace(" ", "-"): [written(layout, form)] for layout in LAYOUTS}
    found = skimmed(files, tmp_path / "out")
    assert all(len(sample) == EVENTS for sample in found.values())

    def in_order(sample: Any) -> dict[str, Any]:
        order = np.argsort(sample.numbers["event"])
        images = {jet: sample.images(jet, order) for jet in ("heavy", "light")}
        return {name: column[order] for name, column in sample.columns.items()} | images

    expected = in_order(found["v15"])
    assert expected["heavy_n_constituents"].tolist() == [CONSTITUENTS] * EVENTS
    for name, sample in found.items():
        for column, values in in_order(sample).items():
            # v15 stores the product of momentum and weight, rounded once more.
            assert values == pytest.approx(expected[column], rel=1e-4, abs=1e-5), (name, column)


def test_versions_are_one_sample_in_a_fileset(written: Callable[..., Path], tmp_path: Path) -> None:
    files = {"data": [written("v15"), written("jme"), written("pfnano", "flat RNTuple")]}
    sample = skimmed(files, tmp_path / "out")["data"]
    assert len(sample) == 3 * EVENTS
    assert len(set(sample.numbers["event"].tolist())) == EVENTS
    assert np.bincount(sample.numbers["event"].astype(int)).tolist() == [3] * EVENTS


def test_weights_beside_the_candidates_may_be_switched_off(
    written: Callable[..., Path], loaded: Any
) -> None:
    path = written("jme")
    assert source_of(path) is pfnano
    raw = SETTINGS.source.model_copy(update={"puppi": False})
    scaled, unscaled = (jets_of(loaded(path), given) for given in (SETTINGS.source, raw))
    weights = ak.flatten(loaded(path)["PFCand_puppiWeight"], axis=None)
    ratio = ak.flatten(scaled.constituents.pt / unscaled.constituents.pt, axis=None)
    assert ratio.tolist() == pytest.approx(weights.tolist())
    assert set(weights.tolist()) == {0.25, 0.5, 1.0}


def test_a_jet_outside_of_what_version_15_keeps_is_refused(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    bare = {
        "jetIdx": np.zeros((EVENTS, CONSTITUENTS), np.int16),
        "pfCandIdx": np.tile(np.arange(CONSTITUENTS), (EVENTS, 1)).astype(np.int16),
    }
    path = written("v15", FatJetPFCand=bare)
    with pytest.raises(InputError, match=r"5 of 10 jets.* have no constituents.*eta_max to 2\.4"):
        skimmed({"data": [path]}, tmp_path / "out")
