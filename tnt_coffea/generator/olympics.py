"""The generated sample as one file in the layout of the LHC Olympics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import GenerateSettings
from tnt_coffea.errors import StageError
from tnt_coffea.generator.blocks import Block, BlockRecord, plan, read_block, read_record
from tnt_coffea.generator.detector import MAX_CANDIDATES
from tnt_coffea.generator.processes import PROCESSES

__all__ = ["join"]

DATASET = "events"
COLUMNS = 3 * MAX_CANDIDATES + 1
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
    unfinished = path.with_name(path.name + ".part")
    with h5py.File(unfinished, "w") as file:
        data = file.create_dataset(
            DATASET,
            (n, COLUMNS),
            np.float32,
            chunks=(min(_CHUNK, n), COLUMNS) if n else None,
            **(_compression(hdf5plugin) if n else {}),
        )
        for name, value in _attributes(records, settings, seed).items():
            file.attrs[name] = value
        for low in range(0, n, _SLAB):
            high = min(low + _SLAB, n)
            data[low:high] = _slab(sources, starts, destination, low, high)
    unfinished.replace(path)


def _compression(hdf5plugin: Any) -> dict[str, Any]:
    return dict(hdf5plugin.Blosc(cname="zstd", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE))


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
    starts: npt.NDArray[np.int64],
    destination: npt.NDArray[np.int64],
    low: int,
    high: int,
) -> npt.NDArray[np.float32]:
    rows = np.zeros((high - low, COLUMNS), dtype=np.float32)
    for source, start, stop in zip(sources, starts[:-1], starts[1:], strict=True):
        goes = destination[start:stop]
        here = (goes >= low) & (goes < high)
        if not here.any():
            continue
        block = source if isinstance(source, Block) else read_block(source)
        rows[goes[here] - low, :-1] = block.events[here].reshape(-1, COLUMNS - 1)
        rows[goes[here] - low, -1] = block.label[here]
    return rows


def _attributes(
    records: Sequence[BlockRecord], settings: GenerateSettings, seed: int
) -> dict[str, Any]:
    processes = {
        process.name: _totals(process.label, [r for r in records if r.process == process.name])
        for process in PROCESSES
        if any(record.process == process.name for record in records)
    }
    return {
        "columns": f"{MAX_CANDIDATES} x (pT [GeV], eta, phi), zero padded; truth bit",
        "processes": json.dumps(processes, sort_keys=True),
        "pythia": ", ".join(sorted({record.pythia for record in records})),
        "seed": seed,
        "settings": json.dumps(settings.model_dump(mode="json"), sort_keys=True),
        "tnt_coffea": version("tnt-coffea"),
    }


def _totals(label: int, records: Sequence[BlockRecord]) -> dict[str, Any]:
    tried, vetoed, failed, passed = (
        sum(getattr(record, name) for record in records)
        for name in ("n_tried", "n_vetoed", "n_failed_trigger", "n_passed")
    )
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
        "cross_section_pb": float(weight @ section),
        "cross_section_error_pb": float(np.sqrt(np.sum((weight * error) ** 2))),
    }
