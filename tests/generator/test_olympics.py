from __future__ import annotations

import json
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the compression filter
import numpy as np
import pytest

from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import StageError
from tnt_coffea.generator import Block, BlockRecord, BlockTask, join, plan, write_block
from tnt_coffea.generator.black_box import read_key
from tnt_coffea.generator.detector import Candidates
from tnt_coffea.generator.olympics import veto_loss
from tnt_coffea.generator.processes import process_named

SETTINGS = GenerateSettings(background=30, signal=12, block=8)


def block(number: int, task: BlockTask) -> Block:
    """Return a block whose first candidates carry the number of the event."""
    rng = np.random.default_rng(number)
    counts = rng.integers(1, 40, task.events)
    momenta = rng.uniform(1, 2, (counts.sum(), 3)).astype(np.float32)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    momenta[first, 0] = 100 * number + np.arange(1, task.events + 1)
    record = BlockRecord(
        process=task.process,
        number=task.number,
        seed=task.seed,
        physics=task.physics,
        events=task.events,
        n_tried=100,
        n_vetoed=50,
        n_failed_trigger=30,
        n_passed=20,
        n_near_veto=1,
        n_next_to_veto=3,
        cross_section_pb=2.0 + number % 2,
        cross_section_error_pb=0.1,
        pythia="8.317",
    )
    return Block(record, Candidates(counts, momenta))


@pytest.fixture
def blocks() -> list[Block]:
    return [block(number, task) for number, task in enumerate(plan(SETTINGS, 1))]


def rows(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["events"][:]


def test_layout(tmp_path: Path, blocks: list[Block]) -> None:
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["events"]
        assert data.shape == (42, 2101)
        assert data.dtype == np.float32
        assert data.chunks == (42, 2101)
        assert "32001" in data._filters
        assert json.loads(file.attrs["settings"]) == SETTINGS.model_dump(mode="json")
        assert file.attrs["seed"] == 1
        assert file.attrs["pythia"] == "8.317"
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_every_event_is_there_once_with_its_label(tmp_path: Path, blocks: list[Block]) -> None:
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    written = {row.tobytes() for row in rows(tmp_path / "a.h5")}
    expected = {
        np.append(event.reshape(-1), np.float32(label)).tobytes()
        for one in blocks
        for event, label in zip(one.events, one.label, strict=True)
    }
    assert written == expected
    assert len(expected) == 42
    labels = [process_named(one.record.process).label for one in blocks]
    assert rows(tmp_path / "a.h5")[:, -1].sum() == 12
    assert labels == [0, 0, 0, 0, 1, 1]


def test_background_and_signal_are_mixed(tmp_path: Path, blocks: list[Block]) -> None:
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    truth = rows(tmp_path / "a.h5")[:, -1]
    assert 0 < truth[:21].sum() < 12


def test_another_seed_mixes_otherwise(tmp_path: Path) -> None:
    for seed in (1, 2):
        made = [block(number, task) for number, task in enumerate(plan(SETTINGS, seed))]
        join(made, tmp_path / f"{seed}.h5", SETTINGS, seed)
    first, second = rows(tmp_path / "1.h5"), rows(tmp_path / "2.h5")
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first[:, 0]), np.sort(second[:, 0]))


def test_bytes_depend_on_neither_order_nor_source_of_the_blocks(
    tmp_path: Path, blocks: list[Block]
) -> None:
    paths = []
    for number, one in enumerate(blocks):
        paths.append(tmp_path / f"{number}.npz")
        write_block(paths[-1], one)
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    join(paths[::-1], tmp_path / "b.h5", SETTINGS, 1)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_totals_are_sums_and_weighted_means(tmp_path: Path, blocks: list[Block]) -> None:
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    with h5py.File(tmp_path / "a.h5") as file:
        totals = json.loads(file.attrs["processes"])
    assert totals["qcd"]["n_tried"] == 400
    assert totals["qcd"]["trigger_efficiency"] == pytest.approx(0.2)
    assert totals["qcd"]["cross_section_pb"] == pytest.approx(2.5)
    assert totals["qcd"]["cross_section_error_pb"] == pytest.approx(0.05)
    assert totals["wprime_wz"]["events"] == 12


def test_slabs_do_not_change_the_file(
    tmp_path: Path, blocks: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    monkeypatch.setattr("tnt_coffea.generator.olympics._SLAB", 10)
    join(blocks, tmp_path / "b.h5", SETTINGS, 1)
    np.testing.assert_array_equal(rows(tmp_path / "a.h5"), rows(tmp_path / "b.h5"))


def test_a_missing_block_is_named(tmp_path: Path, blocks: list[Block]) -> None:
    with pytest.raises(StageError, match="block qcd-00001 is missing"):
        join(blocks[:1] + blocks[2:], tmp_path / "a.h5", SETTINGS, 1)
    assert not list(tmp_path.iterdir())


def test_a_block_given_twice_is_named(tmp_path: Path, blocks: list[Block]) -> None:
    with pytest.raises(StageError, match="qcd-00000 is there twice"):
        join([*blocks, blocks[0]], tmp_path / "a.h5", SETTINGS, 1)


def test_blocks_of_another_seed_are_refused(tmp_path: Path, blocks: list[Block]) -> None:
    with pytest.raises(StageError, match="qcd-00000 has seed"):
        join(blocks, tmp_path / "a.h5", SETTINGS, 2)


def test_blocks_of_other_masses_are_refused(tmp_path: Path, blocks: list[Block]) -> None:
    heavier = SETTINGS.model_copy(update={"heavy_mass": 600.0})
    with pytest.raises(StageError, match="qcd-00000 has seed, events and settings"):
        join(blocks, tmp_path / "a.h5", heavier, 1)


def test_blocks_serve_a_larger_sample(tmp_path: Path, blocks: list[Block]) -> None:
    larger = SETTINGS.model_copy(update={"signal": 20})
    tasks = plan(larger, 1)
    more = [block(10, tasks[5]), block(11, tasks[6])]
    join([*blocks[:5], *more], tmp_path / "a.h5", larger, 1)
    assert rows(tmp_path / "a.h5").shape == (50, 2101)


def test_blocks_beyond_the_sample_are_refused(tmp_path: Path, blocks: list[Block]) -> None:
    smaller = SETTINGS.model_copy(update={"signal": 8})
    with pytest.raises(StageError, match="not part of the sample: wprime_wz-00001"):
        join(blocks, tmp_path / "a.h5", smaller, 1)


def test_an_empty_sample_is_an_empty_file(tmp_path: Path) -> None:
    join([], tmp_path / "a.h5", GenerateSettings(background=0, signal=0), 1)
    assert rows(tmp_path / "a.h5").shape == (0, 2101)


def test_a_hidden_box_has_no_truth_and_says_nothing(tmp_path: Path) -> None:
    box = SETTINGS.model_copy(update={"hidden": True})
    made = [block(number, task) for number, task in enumerate(plan(box, 1))]
    join(made, tmp_path / "a.h5", box, 1)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["events"].shape == (42, 2100)
        assert set(file.attrs) == {"columns", "pythia", "tnt_coffea", "truth"}
        assert not any("signal" in str(value) for value in file.attrs.values())


def test_the_key_is_the_truth_column_of_the_open_file(tmp_path: Path, blocks: list[Block]) -> None:
    box = SETTINGS.model_copy(update={"hidden": True})
    (tmp_path / "box").mkdir()
    join(blocks, tmp_path / "a.h5", SETTINGS, 1)
    join(blocks, tmp_path / "box" / "b.h5", box, 1)
    key = read_key(tmp_path / "box" / "key.json")
    np.testing.assert_array_equal(key.label, rows(tmp_path / "a.h5")[:, -1])
    np.testing.assert_array_equal(rows(tmp_path / "box" / "b.h5"), rows(tmp_path / "a.h5")[:, :-1])
    assert key.settings == box
    assert key.processes["wprime_wz"]["events"] == 12


def test_a_blind_box_has_its_drawn_settings_in_the_key_alone(tmp_path: Path) -> None:
    blind = SETTINGS.model_copy(update={"hidden": True, "blind": True, "background": 60})
    made = [block(number, task) for number, task in enumerate(plan(blind, 1))]
    join(made, tmp_path / "a.h5", blind, 1)
    key = read_key(tmp_path / "key.json")
    assert not key.settings.blind
    assert key.settings.resonance_mass != SETTINGS.resonance_mass
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["events"].shape == (60, 2100)
        assert str(key.settings.resonance_mass) not in str(dict(file.attrs))


def test_veto_loss_is_the_rest_of_a_geometric_series() -> None:
    # 8, 4, 2, 1, ... below 16 and 32 of 1000 events.
    loss, error = veto_loss(16, 32, 1000)
    assert loss == pytest.approx(0.016)
    assert 0 < error < loss
    assert veto_loss(0, 5, 1000) == (0.0, 0.001)
    assert veto_loss(9, 5, 1000) == (np.inf, np.inf)
