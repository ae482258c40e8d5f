from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import ConfigError, GeneratorError, MissingExtraError, StageError
from tnt_coffea.generator import (
    Block,
    BlockTask,
    generate_block,
    plan,
    read_block,
    read_record,
    write_block,
)
from tnt_coffea.generator.detector import Candidates
from tnt_coffea.generator.processes import early_jet_pt, process_named
from tnt_coffea.generator.pythia import Request, accepted_events
from tnt_coffea.generator.trigger import leading_jet_pt

pytest.importorskip("pythia8mc", reason="the 'generate' extra is not installed")

SETTINGS = GenerateSettings(background=6, signal=14, block=8)


@pytest.fixture(scope="module")
def tasks() -> list[BlockTask]:
    return plan(SETTINGS, 1)


@pytest.fixture(scope="module")
def blocks(tasks: list[BlockTask]) -> list[Block]:
    return [generate_block(task) for task in tasks]


def test_plan_covers_the_sample(tasks: list[BlockTask]) -> None:
    assert [(task.process, task.number, task.events) for task in tasks] == [
        ("qcd", 0, 6),
        ("wprime_wz", 0, 8),
        ("wprime_wz", 1, 6),
    ]


def test_seeds_differ_and_suit_pythia() -> None:
    settings = GenerateSettings(background=100_000, signal=100_000, block=100)
    numbers = [task.seed for task in plan(settings, 1)]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 1
    assert max(numbers) <= 900_000_000


def test_more_events_leave_the_first_blocks_alone(tasks: list[BlockTask]) -> None:
    longer = plan(SETTINGS.model_copy(update={"signal": 100}), 1)
    assert [task.seed for task in longer][: len(tasks)] == [task.seed for task in tasks]


def test_plan_refuses_masses_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="cannot decay"):
        plan(GenerateSettings(resonance_mass=500), 1)
    assert plan(GenerateSettings(resonance_mass=500, signal=0, background=1), 1)


def test_a_task_survives_pickling(tasks: list[BlockTask]) -> None:
    assert pickle.loads(pickle.dumps(tasks)) == tasks


def test_a_block_depends_on_its_task_alone(tasks: list[BlockTask], blocks: list[Block]) -> None:
    # Other blocks ran before and after: a shared state would show.
    again = generate_block(tasks[1])
    assert again.record == blocks[1].record
    np.testing.assert_array_equal(again.events, blocks[1].events)


def test_blocks_differ(blocks: list[Block]) -> None:
    assert not np.array_equal(blocks[1].events[:6], blocks[2].events)


def test_shapes_and_labels(blocks: list[Block]) -> None:
    assert [block.events.shape for block in blocks] == [(6, 700, 3), (8, 700, 3), (6, 700, 3)]
    assert [set(block.label) for block in blocks] == [{0}, {1}, {1}]
    assert all(block.events.dtype == np.float32 for block in blocks)
    assert all(block.label.dtype == np.int8 for block in blocks)


def test_padding_is_contiguous_at_the_end(blocks: list[Block]) -> None:
    for block in blocks:
        filled = block.events[..., 0] > 0
        assert np.all(np.diff(filled.astype(int), axis=1) <= 0)
        np.testing.assert_array_equal(block.events[~filled], 0)
        assert np.all(filled.sum(axis=1) > 10)


def test_candidates_lie_within_the_acceptance(blocks: list[Block]) -> None:
    for block in blocks:
        assert np.all(np.abs(block.events[..., 1]) < 5)
        assert np.all(np.abs(block.events[..., 2]) <= np.float32(np.pi))


def test_every_event_passes_the_trigger(blocks: list[Block]) -> None:
    for block in blocks:
        assert np.all(leading_jet_pt(block.candidates) > SETTINGS.leading_pt)


def test_counts_add_up(blocks: list[Block]) -> None:
    for block in blocks:
        record = block.record
        assert record.n_tried == record.n_vetoed + record.n_failed_trigger + record.n_passed
        assert record.n_passed >= record.events
        assert record.cross_section_pb > 0
        assert record.cross_section_error_pb > 0
    # QCD dijets fall steeply; a resonance of 3.5 TeV makes hard jets.
    efficiency = [block.record.n_passed / block.record.n_tried for block in blocks]
    assert efficiency[0] < 0.5 < efficiency[1]


def test_leading_jet_of_back_to_back_particles() -> None:
    momenta = np.array([[300, 0, 0], [200, 0.1, 0], [450, 0, 3], [7, 2, 1]], np.float32)
    leading = leading_jet_pt(Candidates(np.array([3, 0, 1]), momenta))
    assert leading == pytest.approx([500.0, 0.0, 7.0], rel=1e-6)


@pytest.mark.slow
def test_a_fresh_process_prints_nothing_and_gives_the_same_block(
    tmp_path: Path, tasks: list[BlockTask], blocks: list[Block]
) -> None:
    # Banners come at a library's first call in a process.
    path = tmp_path / "block.npz"
    code = (
        "import pickle, sys\n"
        "from tnt_coffea.generator import generate_block, write_block\n"
        f"write_block({str(path)!r}, generate_block(pickle.load(sys.stdin.buffer)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(tasks[2]), capture_output=True, check=True
    )
    assert done.stdout == b""
    assert read_block(path).record == blocks[2].record
    np.testing.assert_array_equal(read_block(path).events, blocks[2].events)


def test_a_missing_pythia_is_reported_with_its_extra(
    tasks: list[BlockTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tnt-coffea\[generate\]'"):
        generate_block(tasks[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [("Nonsense:foo = 3", "does not know the setting 'Nonsense:foo = 3'"), ("", "could not start")],
)
def test_refused_settings_are_named(line: str, message: str) -> None:
    lines = ("Print:quiet = on", *([line] if line else []))
    with pytest.raises(GeneratorError, match=message):
        accepted_events(Request(lines, seed=1, events=1, leading_pt=1200, parton_jet_pt=1050))


def test_an_unreachable_trigger_is_reported(tasks: list[BlockTask]) -> None:
    settings = GenerateSettings(resonance_mass=1000, heavy_mass=200, leading_pt=4000)
    task = BlockTask(settings, "wprime_wz", 3, 1, 5)
    with pytest.raises(GeneratorError, match=r"block wprime_wz-00003: .* lower leading_pt"):
        generate_block(task)


def test_a_block_survives_its_file(tmp_path: Path, blocks: list[Block]) -> None:
    write_block(tmp_path / "a.npz", blocks[0])
    back = read_block(tmp_path / "a.npz")
    assert back.record == blocks[0].record == read_record(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.events, blocks[0].events)


def test_the_same_block_gives_the_same_bytes(tmp_path: Path, blocks: list[Block]) -> None:
    for name in ("a.npz", "b.npz"):
        write_block(tmp_path / name, blocks[0])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_damaged_files_are_named(tmp_path: Path, blocks: list[Block]) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(StageError, match=r"a\.npz: expected a block"):
        read_block(path)
    write_block(path, blocks[0])
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StageError, match=r"a\.npz: expected a block"):
        read_block(path)
    np.savez(path, other=np.zeros(1))
    with pytest.raises(StageError, match=r"a\.npz: expected a block"):
        read_record(path)


def test_the_early_look_keeps_the_cross_section() -> None:
    lines = process_named("qcd").lines(SETTINGS)
    found = [
        accepted_events(
            Request(lines, 5, 20, 1200, 1050, early_jet_pt=early_jet_pt(process, SETTINGS))
        )
        for process in (process_named("qcd"), process_named("wprime_wz"))
    ]
    assert early_jet_pt(process_named("qcd"), SETTINGS) == 1025
    assert early_jet_pt(process_named("wprime_wz"), SETTINGS) == 0
    sections = [one.cross_section_pb for one in found]
    errors = [one.cross_section_error_pb for one in found]
    assert abs(sections[0] - sections[1]) < 4 * np.hypot(*errors)
