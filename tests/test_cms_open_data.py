"""The page on CMS open data, command by command, on files with the layout of NanoAOD 15."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import vector
from click.testing import CliRunner

import tnt_coffea as tnt
from tnt_coffea.cli import main

PAGE = Path(__file__).parents[1] / "docs/how-to/cms-open-data.md"
EVENTS, PER_JET = 1500, 20
MENUS = {
    "nano-2016.root": ("HLT_PFHT900", "HLT_AK8PFJet450"),
    "nano-2018.root": ("HLT_PFHT1050", "HLT_AK8PFJet500"),
    "signal.root": ("HLT_PFHT1050", "HLT_AK8PFJet500"),
}


def two_prongs(rng: np.random.Generator, jets: int, distance: float) -> tuple[Any, Any, Any]:
    """Return shares of pT and offsets in eta and phi of jets whose two halves lie apart."""
    share = rng.dirichlet(np.ones(PER_JET), jets)
    turn = rng.uniform(0, 2 * np.pi, (jets, 1))
    side = np.where(np.arange(PER_JET) % 2, 1, -1) * distance / 2
    spread = rng.normal(0, 0.03, (2, jets, PER_JET))
    return share, side * np.cos(turn) + spread[0], side * np.sin(turn) + spread[1]


def one_prong(rng: np.random.Generator, jets: int) -> tuple[Any, Any, Any]:
    width = rng.gamma(2, 0.05, (2, jets, 1))
    share = rng.dirichlet(np.ones(PER_JET), jets)
    return share, *(width * rng.normal(size=(2, jets, PER_JET)))


def write_nanoaod(path: Path, seed: int, signal: float) -> None:
    """Write dijets as NanoAOD 15 has them: AK8 jets, constituents, links, triggers, flags."""
    rng, n = np.random.default_rng(seed), EVENTS
    of_signal = rng.uniform(size=n) < signal
    mass = np.where(of_signal, rng.normal(3500, 90, n), 2500 + rng.exponential(550, n))
    eta, phi = rng.uniform(-0.9, 0.9, n), rng.uniform(-np.pi, np.pi, n)
    parts: dict[str, list[Any]] = {"pt": [], "eta": [], "phi": []}
    for sign, heavy in ((1, 500.0), (-1, 100.0)):
        pt = mass / 2 / np.cosh(eta)
        plain, pronged = one_prong(rng, n), two_prongs(rng, n, 2 * heavy / 1700)
        share, deta, dphi = (
            np.where(of_signal[:, None], ours, theirs)
            for ours, theirs in zip(pronged, plain, strict=True)
        )
        parts["pt"].append(share * pt[:, None])
        parts["eta"].append(sign * eta[:, None] + deta)
        around = phi[:, None] + (sign < 0) * np.pi + dphi
        parts["phi"].append(np.remainder(around + np.pi, 2 * np.pi) - np.pi)
    stored = {name: np.stack(both, 1).astype("f4") for name, both in parts.items()}
    stored["mass"] = np.full_like(stored["pt"], 0.14)
    jets = vector.array({name: v.astype(float) for name, v in stored.items()}).sum(axis=2)
    flat = {name: ak.from_regular(values.reshape(n, -1)) for name, values in stored.items()}
    links = np.arange(2 * PER_JET, dtype=np.int16)
    fired = rng.uniform(size=(2, n)) < 0.99
    rows = {
        "run": np.full(n, 278820, np.uint32),
        "luminosityBlock": rng.integers(1, 101, n).astype(np.uint32),
        "event": np.arange(n, dtype=np.uint64),
        "PV_npvsGood": rng.poisson(20, n).astype(np.uint8),
        "Flag_goodVertices": rng.uniform(size=n) < 0.995,
        "Flag_HBHENoiseFilter": rng.uniform(size=n) < 0.995,
        **dict(zip(MENUS[path.name], fired, strict=True)),
        "FatJet": ak.zip(
            {
                part: ak.from_regular(np.asarray(getattr(jets, part), np.float32))
                for part in ("pt", "eta", "phi", "mass")
            }
        ),
        "PFCand": ak.zip(flat),
        "FatJetPFCand": ak.zip(
            {
                "jetIdx": ak.from_regular(np.tile(links // PER_JET, (n, 1))),
                "pfCandIdx": ak.from_regular(np.tile(links, (n, 1))),
            }
        ),
    }
    if signal == 1:
        rows |= {"run": np.ones(n, np.uint32), "genWeight": np.ones(n, np.float32)}
    with uproot.recreate(path) as file:
        file.mktree("Events", rows)


def settings_of_the_page() -> str:
    _, _, rest = PAGE.read_text().partition("<!-- block: cms-settings -->\n```yaml\n")
    return rest.partition("```")[0]


@pytest.fixture
def open_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page takes: data of two years, signal, runs, settings."""
    for seed, (name, share) in enumerate(zip(MENUS, (0.04, 0.04, 1.0), strict=True)):
        write_nanoaod(tmp_path / name, seed, share)
    (tmp_path / "Cert_JSON.txt").write_text(json.dumps({"278820": [[1, 60], [66, 100]]}))
    (tmp_path / "cms.yaml").write_text(settings_of_the_page())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_settings_of_the_page_are_valid() -> None:
    config = tnt.SearchConfig.from_text(settings_of_the_page())
    assert config.skim.filters.hlt == ("HLT_PFHT900", "HLT_PFHT1050", "HLT_AK8PFJet500")


@pytest.mark.slow  # a whole search, and its limits
def test_every_command_of_the_page_runs(open_data: Path) -> None:
    page = PAGE.read_text()
    lines = re.findall(r"^\$ (tnt-coffea .*)$", page, re.MULTILINE)
    assert len(lines) == 10
    said = {}
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] in ("skim", "train", "search", "efficiency"):
            words += ["--executor", "iterative", "-q"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, (line, done.output)
        said[line] = done.output
    skimmed = next(text for line, text in said.items() if " skim " in line)
    notes = re.findall(r"^note: .*$", page, re.MULTILINE)
    assert len(notes) == 2
    for note in notes:
        assert note in skimmed
    rejected = json.loads(Path("cms/skim/manifest.json").read_text())["outputs"]["accounting"]
    assert list(rejected["rejected"])[:5] == [
        "certified_runs",
        "hlt",
        "Flag_goodVertices",
        "Flag_HBHENoiseFilter",
        "PV_npvsGood",
    ]
    assert 0.03 < rejected["rejected"]["certified_runs"] / (2 * EVENTS) < 0.07
    of_skim, of_files = (tnt.Histograms.load(Path(name, "search")) for name in ("cms", "cms-files"))
    assert of_skim.hists["cwola"] == of_files.hists["cwola"]
    config = tnt.SearchConfig.from_yaml("cms/efficiency.yaml")
    efficiency = config.fit.limit.efficiencies["cwola"]
    assert efficiency > 0.2  # of the whole file, before triggers and flags
    limit = tnt.SearchResult.load("cms/fit").limits["cwola"]
    assert limit.observed_cross_section == pytest.approx(limit.observed / 16.4 / efficiency)
    assert Path("cms/report/report.html").is_file()
