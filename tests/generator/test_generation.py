"""Every data set through the command line, and back through the adapter of the Olympics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import awkward as ak
import h5py
import hdf5plugin  # noqa: F401 - registers the compression filter
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tnt_coffea import pipeline
from tnt_coffea.cli import main
from tnt_coffea.config import GenerateSettings, SearchConfig
from tnt_coffea.events import lhco
from tnt_coffea.events.sources import particles_of
from tnt_coffea.execution import Resources
from tnt_coffea.generator import (
    DATASETS,
    generate_block,
    join,
    plan,
    read_key,
    scaled,
    write_block,
)
from tnt_coffea.generator.trigger import leading_jet_pt
from tnt_coffea.inspection import inspect_events

pytest.importorskip("pythia8mc", reason="the 'generate' extra is not installed")

NAMES = list(DATASETS)
# Enough signal that every process of a box makes some.
CHANGES = {
    "blackbox-1": ("signal=2", "background=4"),
    "blackbox-3": ("signal=6", "background=2", "dijet_share=0.5"),
}


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def made(folder: Path, *words: object) -> Path:
    """Call `generate` in this process and return its file."""
    done = call("generate", *words, "--out", folder, "--executor", "iterative", "--quiet")
    assert done.exit_code == 0, done.output
    return folder / "generate" / "events.h5"


@pytest.fixture(scope="module", params=NAMES)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few events of each data set."""
    changes = CHANGES.get(request.param)
    words = [w for c in changes for w in ("--set", c)] if changes else ["--events", 5]
    if request.param == "blackbox":
        words += ["--blind", "--seed", 3]
    return made(tmp_path_factory.mktemp(request.param), request.param, *words)


def test_inspect_finds_nothing_wrong(dataset: Path) -> None:
    inspection = inspect_events(dataset)
    assert inspection.source == "lhco"
    assert inspection.problems == ()
    assert call("inspect", dataset).exit_code == 0


def test_events_come_out_of_the_adapter_unchanged(dataset: Path) -> None:
    n = lhco.entries(dataset)
    particles = particles_of(lhco.load(dataset, 0, n, {"dataset": "data"}))
    with h5py.File(dataset) as file:
        rows = file["events"][:]
    momenta = rows[:, :2100].reshape(n, 700, 3)
    for row, event in zip(momenta, particles.p4, strict=True):
        own = np.column_stack([ak.to_numpy(getattr(event, name)) for name in ("pt", "eta", "phi")])
        np.testing.assert_array_equal(row[: len(own)], own.astype(np.float32))
        np.testing.assert_array_equal(row[len(own) :], 0)
    truth = rows[:, 2100] if rows.shape[1] == 2101 else np.full(n, -1)
    np.testing.assert_array_equal(particles.label, truth)


def test_a_box_has_its_truth_in_the_key_alone(dataset: Path) -> None:
    key = dataset.with_name("key.json")
    with h5py.File(dataset) as file:
        hidden = file["events"].shape[1] == 2100
        assert hidden == key.exists() == ("processes" not in file.attrs)
        if hidden:
            assert read_key(key).events == len(file["events"])
            assert read_key(key).label.sum() == read_key(key).settings.signal
        else:
            processes = json.loads(file.attrs["processes"])
            assert sum(p["label"] * p["events"] for p in processes.values()) == sum(
                file["events"][:, 2100]
            )


def test_attributes_of_a_process(tmp_path: Path) -> None:
    path = made(tmp_path, "rnd-signal", "--events", 3)
    with h5py.File(path) as file:
        process = json.loads(file.attrs["processes"])["wprime_wz"]
        assert json.loads(file.attrs["settings"])["signal"] == 3
    assert 0 < process["trigger_efficiency"] <= 1
    assert 0 <= process["veto_loss"] < 0.5
    assert process["cross_section_pb"] > process["cross_section_error_pb"] > 0


@pytest.mark.slow
def test_an_event_of_the_fullest_box_takes_less_than_2200_bytes(tmp_path: Path) -> None:
    settings = scaled(DATASETS["blackbox-3"].settings, 40)
    path = tmp_path / "events.h5"
    blocks = [generate_block(task) for task in plan(settings, 4)]
    join(blocks, path, settings, 4)
    with h5py.File(path) as file:
        assert file["events"].id.get_storage_size() / 40 < 2200
    # Cutting bits moves no event across the trigger and no jet by more than was cut.
    whole = settings.model_copy(update={"mantissa_bits": 23})
    exact = [generate_block(task) for task in plan(whole, 4)]
    for cut, uncut in zip(blocks, exact, strict=True):
        assert cut.record.n_passed == uncut.record.n_passed
        np.testing.assert_allclose(
            leading_jet_pt(cut.candidates), leading_jet_pt(uncut.candidates), rtol=2e-5
        )


@pytest.mark.parametrize("name", ["rnd-signal-3prong", "blackbox-3"])
def test_other_signals_decay_to_heavy_jets_at_the_resonance(name: str) -> None:
    settings = DATASETS[name].settings.model_copy(
        update={"background": 0, "signal": 12, "dijet_share": 0.5}
    )
    for task in plan(settings, 3):
        block = generate_block(task)
        assert np.all(leading_jet_pt(block.candidates) > 1200)
        pt, eta, phi = np.moveaxis(block.events.astype(float), -1, 0)
        energy = (pt * np.cosh(eta)).sum(axis=1)
        momentum = [(pt * part).sum(axis=1) for part in (np.cos(phi), np.sin(phi), np.sinh(eta))]
        mass = np.sqrt(energy**2 - np.square(momentum).sum(axis=0))
        # All candidates together: initial radiation adds, neutrinos and losses subtract.
        assert np.median(mass) > 0.9 * settings.resonance_mass


def test_the_box_depends_on_neither_processes_nor_a_restart(tmp_path: Path) -> None:
    settings = DATASETS["blackbox-1"].settings.model_copy(
        update={"background": 2, "signal": 4, "block": 2}
    )
    tasks = plan(settings, 5)
    # Each block in the other process than its neighbour, and in another order.
    (tmp_path / "two").mkdir()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        blocks = list(pool.map(generate_block, tasks[::-1]))
    join(blocks, tmp_path / "two" / "events.h5", settings, 5)
    # A killed run has left a block behind.
    config = SearchConfig(seed=5, generate=settings)
    pipeline.generate_stage(config, tmp_path / "one").begin()
    one = tmp_path / "one" / "generate"
    write_block(one / ".parts" / tasks[1].name, blocks[-2])
    alone = Resources(executor="iterative", progress=False)
    pipeline.generate(config, out=tmp_path / "one", resources=alone)
    for name in ("events.h5", "key.json"):
        assert (one / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.slow
def test_a_terminal_shows_rate_and_time_left(
    tmp_path: Path, on_a_terminal: Callable[..., tuple[str, str]]
) -> None:
    words = ["generate", "rnd-signal", "--set", "signal=12", "--set", "block=3", "--out", tmp_path]
    _, shown = on_a_terminal(*words, "--executor", "iterative", whole=True)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    states = re.findall(r"Generating +\d+% \S+ (\d)/4 \[ [\d:]+ < (\S+) \| (\S+) +task/s \]", drawn)
    assert [done for done, _, _ in states][:5] == ["0", "1", "2", "3", "4"]
    # Two blocks are enough to know both.
    _, left, rate = states[2]
    assert re.fullmatch(r"0:\d\d:\d\d", left)
    assert float(rate) > 0
    assert states[-1][1] == "0:00:00"
    assert "events.h5" in drawn


def test_without_a_name_the_settings_decide(tmp_path: Path) -> None:
    config = SearchConfig(generate=GenerateSettings(background=0, signal=3))
    (tmp_path / "search.yaml").write_text(config.to_yaml())
    own = ("generate", "--out", tmp_path / "run-3", "--config", tmp_path / "run-3.yaml")
    (tmp_path / "run-3.yaml").write_text("data: {sqrt_s: 13.6}")
    refused = call(*own)
    assert refused.exit_code == 2
    assert "events are generated at 13 TeV, and data.sqrt_s is 13.6" in refused.output
    path = made(tmp_path, "--config", tmp_path / "search.yaml", "--set", "resonance_mass=4000")
    with h5py.File(path) as file:
        settings = json.loads(file.attrs["settings"])
    assert (settings["signal"], settings["resonance_mass"]) == (3, 4000)


def test_a_blind_box_goes_on_with_its_own_seed_and_names_nothing(tmp_path: Path) -> None:
    path = made(tmp_path, "blackbox", "--blind", "--events", 3)
    seed = SearchConfig.from_yaml(tmp_path / "config.yaml").seed
    assert seed != SearchConfig().seed
    assert made(tmp_path, "blackbox", "--blind", "--events", 3) == path
    assert SearchConfig.from_yaml(tmp_path / "config.yaml").seed == seed
    key = read_key(path.with_name("key.json"))
    told = "".join(
        (tmp_path / name).read_text() for name in ("config.yaml", "generate/manifest.json")
    )
    assert str(key.settings.resonance_mass) not in told
    assert key.settings.resonance_mass != GenerateSettings().resonance_mass


def test_the_list_names_every_data_set() -> None:
    listed = call("generate", "--list")
    assert listed.exit_code == 0
    assert [name for name in DATASETS if f"{name}: " not in listed.output] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blackbox-9"], "no data set is called 'blackbox-9'"),
        (["blackbox"], "add --blind"),
        (["rnd-signal", "--blind"], "leave out one of them"),
        (["--set", "signal"], "expected SETTING=VALUE"),
        (["--set", "shower.alpha.x=1"], "expected SETTING=VALUE"),
        (["--set", "signal=[1"], "is no value"),
        (["--set", "signals=1"], "did you mean generate.signal"),
        (["rnd-signal", "--set", "shower.alpha_s=2"], "generate.shower.alpha_s"),
        (["--set", "blind=true"], "blind needs hidden"),
        (["rnd-signal", "--set", "heavy_mass=4000"], "cannot decay to 4000 + 100 GeV"),
    ],
)
def test_wrong_words_are_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = call("generate", *words, "--out", tmp_path / "out", "--executor", "iterative")
    assert done.exit_code == 2
    assert message in done.output
    settings, _ = done.output.strip().splitlines()
    assert settings == "settings: defaults"
