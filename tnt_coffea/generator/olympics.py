"""The generated sample as one file in the layout of the LHC Olympics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import StageError
from tnt_coffea.generator.black_box import KEY, Key, resolved, write_key
from tnt_coffea.generator.blocks import Block, BlockRecord, plan, read_block, read_record
from tnt_coffea.generator.detector import MAX_CANDIDATES
from tnt_coffea.generator.processes import PROCESSES, process_named
from tnt_coffea.storage import written
from tnt_coffea.typing import Float32Array, IntArray

__all__ = ["join", "veto_loss"]

DATASET = "events"
MOMENTA = 3 * MAX_CANDIDATES
# A chunk of 100 rows is 0.8 MB, which just fits HDF5's default cache of 1 MiB.
_CHUNK = 100
# Rows that are in memory at once (70 MB); whole chunks, so that each is compressed once.
_SLAB = 80 * _CHUNK


def join(
    blocks: Iterable[Block | str | Path], path: str | Path, settings: GenerateSettings, seed: int
) -> None:
    """Write all blocks of a sample into one file, background and signal mixed.

    The data set `events` is (event, 2101) float32: 700 times pT [GeV], eta,
    phi, then the truth bit. The same settings and seed give the same bytes, in
    whichever order the blocks come. The file appears when it is complete.

    Where the settings say `hidden`, the truth bit is left out (2100 columns), and
    truth goes to `key.json` beside the file: see `black_box.Key`.

    Parameters
    ----------
    blocks
        Results of every task of `plan(settings, seed)`, or the files with them.
    path
        Of the file to write.
    settings, seed
        Of the sample; the seed also decides how the rows are mixed.

    Raises
    ------
    StageError
        A block is missing, is there twice, is damaged, or was made with other settings.

    Source: arXiv:2101.08320, section 2.1.
    """
    import h5py
    import hdf5plugin

    path = Path(path)
    sources, records = _in_order(blocks, settings, seed)
    counts = np.array([record.events for record in records], dtype=np.int64)
    n = int(counts.sum())
    # Row of the file -> event of the sample; and back, to fill slab by slab.
    destination = np.argsort(seeds.generator(seed, "generate", "order").permutation(n))
    starts = np.concatenate([[0], np.cumsum(counts)])
    made = resolved(settings, seed)
    processes = _processes(records)
    columns = MOMENTA + (not settings.hidden)
    if settings.hidden:
        is_signal = [process_named(record.process).label == 1 for record in records]
        rows = np.sort(destination[np.repeat(is_signal, counts)])
        write_key(path.with_name(KEY), Key(made, seed, processes, n, rows))
    with written(path) as partial, h5py.File(partial, "w") as file:
        data = file.create_dataset(
            DATASET,
            (n, columns),
            np.float32,
            chunks=(min(_CHUNK, n), columns) if n else None,
            **(_compression(hdf5plugin) if n else {}),
        )
        for name, value in _attributes(records, processes, settings, seed).items():
            file.attrs[name] = value
        for low in range(0, n, _SLAB):
            high = min(low + _SLAB, n)
            data[low:high] = _slab(sources, starts, destination, low, high)[:, :columns]


def _compression(hdf5plugin: Any) -> dict[str, Any]:
    return dict(hdf5plugin.Blosc(cname="zstd", clevel=7, shuffle=hdf5plugin.Blosc.SHUFFLE))


def _in_order(
    blocks: Iterable[Block | str | Path], settings: GenerateSettings, seed: int
) -> tuple[list[Block | str | Path], list[BlockRecord]]:
    found: dict[tuple[str, int], tuple[Block | str | Path, BlockRecord]] = {}
    for source in blocks:
        record = source.record if isinstance(source, Block) else read_record(source)
        key = (record.process, record.number)
        if key in found:
            msg = f"block {record.process}-{record.number:05d} is there twice; give each one once"
            raise StageError(msg)
        found[key] = (source, record)
    ordered = []
    for task in plan(settings, seed):
        if (task.process, task.number) not in found:
            msg = f"block {task.name} is missing; run generate_block for its task"
            raise StageError(msg)
        source, record = found.pop((task.process, task.number))
        made = (record.seed, record.events, record.physics[:8])
        expected = (task.seed, task.events, task.physics[:8])
        if made != expected:
            msg = (
                f"block {task.name} has seed, events and settings {made}, expected {expected}: "
                "it belongs to another sample; generate it again"
            )
            raise StageError(msg)
        ordered.append((source, record))
    if found:
        extra = ", ".join(f"{process}-{number:05d}" for process, number in found)
        msg = f"blocks that are not part of the sample: {extra}; leave them out"
        raise StageError(msg)
    return [source for source, _ in ordered], [record for _, record in ordered]


def _slab(
    sources: Sequence[Block | str | Path],
    starts: IntArray,
    destination: IntArray,
    low: int,
    high: int,
) -> Float32Array:
    rows = np.zeros((high - low, MOMENTA + 1), dtype=np.float32)
    for source, start, stop in zip(sources, starts[:-1], starts[1:], strict=True):
        goes = destination[start:stop]
        here = (goes >= low) & (goes < high)
        if not here.any():
            continue
        block = source if isinstance(source, Block) else read_block(source)
        rows[goes[here] - low, :-1] = block.events[here].reshape(-1, MOMENTA)
        rows[goes[here] - low, -1] = block.label[here]
    return rows


def _processes(records: Sequence[BlockRecord]) -> dict[str, Any]:
    return {
        process.name: _totals(process.label, [r for r in records if r.process == process.name])
        for process in PROCESSES
        if any(record.process == process.name for record in records)
    }


def _attributes(
    records: Sequence[BlockRecord],
    processes: dict[str, Any],
    settings: GenerateSettings,
    seed: int,
) -> dict[str, Any]:
    columns = f"{MAX_CANDIDATES} x (pT [GeV], eta, phi), zero padded"
    common = {
        "columns": columns if settings.hidden else f"{columns}; truth bit",
        "pythia": ", ".join(sorted({record.pythia for record in records})),
        "tnt_coffea": version("tnt-coffea"),
    }
    if settings.hidden:
        return common | {"truth": f"in {KEY}"}
    return common | {
        "processes": json.dumps(processes, sort_keys=True),
        "seed": seed,
        "settings": json.dumps(settings.model_dump(mode="json"), sort_keys=True),
    }


def veto_loss(near: int, next_to: int, passed: int) -> tuple[float, float]:
    """Return the share of triggered events that the parton veto loses, and its uncertainty.

    Extrapolated from triggered events in two steps of equal width just above the
    threshold: downwards their number falls at least as fast as it does between
    these two, like a geometric series. Where it does not fall, both are infinite.

    Parameters
    ----------
    near, next_to
        Triggered events in the first and in the second step.
    passed
        All triggered events.
    """
    if near == 0 or passed == 0:
        # One event at most could have been expected there.
        return 0.0, 1.0 / max(passed, 1)
    if next_to <= near:
        return math.inf, math.inf
    lost = near**2 / (next_to - near)
    by_near = near * (2 * next_to - near) / (next_to - near) ** 2
    by_next = (near / (next_to - near)) ** 2
    error = math.sqrt(by_near**2 * near + by_next**2 * next_to)
    return lost / passed, error / passed


def _totals(label: int, records: Sequence[BlockRecord]) -> dict[str, Any]:
    names = ("n_tried", "n_vetoed", "n_failed_trigger", "n_passed", "n_near_veto", "n_next_to_veto")
    tried, vetoed, failed, passed, near, next_to = (
        sum(getattr(record, name) for record in records) for name in names
    )
    loss, loss_error = veto_loss(near, next_to, passed)
    # Each block's estimate weighs as many events as it was made from.
    weight = np.array([record.n_tried for record in records]) / tried
    section = np.array([record.cross_section_pb for record in records])
    error = np.array([record.cross_section_error_pb for record in records])
    return {
        "label": label,
        "events": sum(record.events for record in records),
        "n_tried": tried,
        "n_vetoed": vetoed,
        "n_failed_trigger": failed,
        "n_passed": passed,
        "trigger_efficiency": passed / tried,
        "veto_loss": loss if math.isfinite(loss) else None,
        "veto_loss_error": loss_error if math.isfinite(loss_error) else None,
        "cross_section_pb": float(weight @ section),
        "cross_section_error_pb": float(np.sqrt(np.sum((weight * error) ** 2))),
    }
