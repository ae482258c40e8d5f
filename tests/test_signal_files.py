"""Simulated signals from files to a limit, by the commands of docs/how-to/systematics.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import correctionlib.schemav2 as schema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tnt_coffea.cli import main

PARTICLES = 12

SETTINGS = """
skim: {images: null, observables: [mass, pt, tau21]}
train: {methods: {sum: {kind: feature}}}
data: {luminosity: 1}
search:
  efficiencies: [0.5]
  window: {low: 3000, high: 3500}
  fit_range: {low: 2600, high: 5000}
fit:
  bump: {mass: 3250, width: 150, efficiency: 0.5, bin_width: 200, max_parameters: 3, toys: 100}
  signal: {names: [m3000, m3500], cross_section: 100.0}
  abcd: {efficiency: 0.5}
  limit: {toys: 0}
"""
VARIATIONS = """
systematics:
  jets: {jet_energy_scale: {file: FILE, correction: total}}
  weights: {pileup: {up: pu_up, down: pu_down, nominal: pu}}
"""


def written(path: Path, masses: np.ndarray, seed: int) -> Path:
    """Write two jets an event, of the masses given [GeV], and weights of their pileup."""
    rng, n = np.random.default_rng(seed), len(masses)
    shares = rng.dirichlet(np.full(PARTICLES // 2, 3.0), (n, 2)).ravel()
    pt = np.repeat(masses / (2 * np.cosh(0.4)), PARTICLES) * shares
    phi = np.repeat(rng.uniform(-np.pi, np.pi, n), PARTICLES)
    phi += np.tile(np.repeat([0, np.pi], PARTICLES // 2), n) + rng.normal(0, 0.1, len(pt))
    eta = np.tile(np.repeat([0.4, -0.4], PARTICLES // 2), n) + rng.normal(0, 0.1, len(pt))
    columns = {"pt": pt, "eta": eta, "phi": np.remainder(phi + np.pi, 2 * np.pi) - np.pi}
    offsets = np.arange(n + 1, dtype=np.int32) * PARTICLES
    lists = {
        f"PFCands_{name}": pa.ListArray.from_arrays(offsets, values.astype(np.float32))
        for name, values in (columns | {"mass": np.zeros_like(pt)}).items()
    }
    weights = {"pu": np.ones(n), "pu_up": np.full(n, 1.2), "pu_down": np.full(n, 0.8)}
    pq.write_table(pa.table({**lists, **weights}), path)
    return path


def jet_energy_scale(path: Path) -> Path:
    """Write an uncertainty of 3 % for all jets."""
    data = schema.Binning(
        nodetype="binning", input="JetPt", edges=[0, 1e5], content=[0.03], flow="clamp"
    )
    total = schema.Correction(
        name="total",
        version=1,
        inputs=[schema.Variable(name="JetPt", type="real")],
        output=schema.Variable(name="uncertainty", type="real"),
        data=data,
    )
    made = schema.CorrectionSet(schema_version=2, corrections=[total])
    path.write_text(made.model_dump_json(exclude_unset=True))
    return path


def call(*words: Any) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_variations_of_signals_in_files_reach_limit_impacts_workspace_and_card(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(7)
    data = written(tmp_path / "data.parquet", 2300 + rng.exponential(600, 3000), 0)
    signals = []
    for mass in (3000, 3500):
        path = written(tmp_path / f"{mass}.parquet", rng.normal(mass, 100, 600), mass)
        signals += ["--signal", f"m{mass}={path}"]
    file = jet_energy_scale(tmp_path / "jes.json")
    settings = {"plain": SETTINGS, "varied": SETTINGS + VARIATIONS.replace("FILE", str(file))}
    results = {}
    for name, text in settings.items():
        config, out = tmp_path / f"{name}.yaml", tmp_path / name
        config.write_text(text)
        call("run", data, *signals, "--config", config, "--out", out, "--executor", "iterative")
        results[name] = json.loads((out / "fit" / "result.json").read_text())
    plain, varied = (results[name]["limits"]["sum"] for name in ("plain", "varied"))
    assert varied["mass"] == 3250  # between the signals: a template that no file has
    for which in ("observed", "observed_cross_section"):
        assert varied[which] > plain[which] > 0

    impacts, workspace, card = (tmp_path / f for f in ("impacts.json", "ws.json", "card.txt"))
    files = ("--impacts", impacts, "--workspace", workspace, "--combine", card)
    search, config = tmp_path / "varied" / "search", tmp_path / "varied.yaml"
    call("fit", "bump", search, "--name", "sum", "--config", config, *files)
    names = {"jet_energy_scale", "pileup", "signal_statistics"}
    rows = {row["name"]: row for row in json.loads(impacts.read_text())["impacts"]}
    assert names <= set(rows)
    lines = card.read_text().splitlines()
    assert names <= {line.split()[0] for line in lines if line}
    found: dict[str, set[str]] = {}
    for channel in json.loads(workspace.read_text())["channels"]:
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                found.setdefault(modifier["name"], set()).add(modifier["type"])
    assert names <= set(found)
    assert found["jet_energy_scale"] == {"histosys", "normsys"}
    assert names <= {row["name"] for row in results["varied"]["impacts"]["sum"]}
    assert not {"jet_energy_scale", "pileup"} & {
        row["name"] for row in results["plain"]["impacts"]["sum"]
    }
