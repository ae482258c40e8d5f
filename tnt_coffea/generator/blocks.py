"""Seeded blocks: a sample's content never depends on how many processes make it."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea import seeds
from tnt_coffea.config import GenerateSettings, digest
from tnt_coffea.errors import GeneratorError, StageError
from tnt_coffea.generator.black_box import resolved
from tnt_coffea.generator.detector import MAX_CANDIDATES, Candidates
from tnt_coffea.generator.processes import PROCESSES, early_jet_pt, parton_jet_pt, process_named
from tnt_coffea.generator.pythia import MAX_SEED, Request, accepted_events
from tnt_coffea.storage import written
from tnt_coffea.typing import Float32Array

__all__ = [
    "Block",
    "BlockRecord",
    "BlockTask",
    "generate_block",
    "plan",
    "read_block",
    "read_record",
    "write_block",
]


@dataclass(frozen=True)
class BlockTask:
    """One independent piece of a sample; all that `generate_block` depends on.

    Attributes
    ----------
    settings
        of the whole sample
    process
        name of the process
    number
        of the block within its process, from 0
    events
        accepted events to make
    seed
        of PYTHIA and of the detector
    """

    settings: GenerateSettings
    process: str
    number: int
    events: int
    seed: int

    @property
    def name(self) -> str:
        """A name for files and logs: 'qcd-00012'; of a black box it says nothing."""
        if self.settings.hidden:
            return f"block-{self.seed:09d}"
        return f"{self.process}-{self.number:05d}"

    @property
    def physics(self) -> str:
        """SHA-256 of the settings that shape an event; how many are made does not."""
        sizes = {"background", "signal", "block", "dijet_share", "hidden"}
        return digest(self.settings.model_dump(mode="json", exclude=sizes))


@dataclass(frozen=True)
class BlockRecord:
    """How a block was made.

    Attributes
    ----------
    process, number, seed, physics
        of its task
    events
        accepted events that it holds
    n_tried, n_vetoed, n_failed_trigger, n_passed
        see `pythia.Accepted`
    n_near_veto, n_next_to_veto
        see `pythia.Accepted`
    cross_section_pb, cross_section_error_pb
        of events that pass the trigger
    pythia
        version
    """

    process: str
    number: int
    seed: int
    physics: str
    events: int
    n_tried: int
    n_vetoed: int
    n_failed_trigger: int
    n_passed: int
    n_near_veto: int
    n_next_to_veto: int
    cross_section_pb: float
    cross_section_error_pb: float
    pythia: str


@dataclass(frozen=True, eq=False)
class Block:
    """Accepted events of one process, and their record."""

    record: BlockRecord
    candidates: Candidates

    @property
    def events(self) -> Float32Array:
        """(event, 700, 3) pT [GeV], eta, phi; zeros behind the last candidate."""
        padded = np.zeros((self.record.events, MAX_CANDIDATES, 3), dtype=np.float32)
        padded[np.arange(MAX_CANDIDATES) < self.candidates.counts[:, None]] = (
            self.candidates.momenta
        )
        return padded

    @property
    def label(self) -> npt.NDArray[np.int8]:
        """(event,) 0 background, 1 signal."""
        return np.full(self.record.events, process_named(self.record.process).label, np.int8)

    def summary(self) -> str:
        """Return one line for a log."""
        record = self.record
        return (
            f"{record.process} block {record.number}: {record.events} events, "
            f"{record.n_passed} of {record.n_tried} tried pass the trigger"
        )


def plan(settings: GenerateSettings, seed: int) -> list[BlockTask]:
    """Return the tasks that make a sample together, background first.

    Parameters
    ----------
    settings
        Of the sample; what is in a blind one is drawn here.
    seed
        The root seed.

    Raises
    ------
    ConfigError
        The masses do not allow the signal's decay.
    """
    tasks = []
    settings = resolved(settings, seed)
    for process in PROCESSES:
        wanted = process.events(settings)
        if wanted:
            process.lines(settings)
        for number, start in enumerate(range(0, wanted, settings.block)):
            tasks.append(
                BlockTask(
                    settings=settings,
                    process=process.name,
                    number=number,
                    events=min(settings.block, wanted - start),
                    seed=1 + seeds.integer(seed, "generate", process.name, number) % MAX_SEED,
                )
            )
    return tasks


def generate_block(task: BlockTask) -> Block:
    """Return one block: a pure function of its task.

    Raises
    ------
    MissingExtraError
        PYTHIA is not installed.
    GeneratorError
        PYTHIA refuses the settings, or next to no event passes the trigger.
    """
    settings = task.settings
    request = Request(
        lines=process_named(task.process).lines(settings),
        seed=task.seed,
        events=task.events,
        leading_pt=settings.leading_pt,
        parton_jet_pt=parton_jet_pt(settings),
        detector=settings.detector,
        early_jet_pt=early_jet_pt(process_named(task.process), settings),
        mantissa_bits=settings.mantissa_bits,
    )
    try:
        accepted = accepted_events(request)
    except GeneratorError as error:
        msg = f"block {task.name}: {error}"
        raise GeneratorError(msg) from error
    counts = {
        field.name: getattr(accepted, field.name)
        for field in dataclasses.fields(accepted)
        if field.name != "candidates"
    }
    record = BlockRecord(
        process=task.process,
        number=task.number,
        seed=task.seed,
        physics=task.physics,
        events=task.events,
        **counts,
    )
    return Block(record, accepted.candidates)


def write_block(path: str | Path, block: Block) -> None:
    """Write a block without pickle; the file appears when it is complete.

    The same block gives the same bytes.
    """
    record = json.dumps(dataclasses.asdict(block.record), sort_keys=True).encode()
    with written(Path(path)) as partial, partial.open("wb") as file:
        np.savez(
            file,
            record=np.frombuffer(record, np.uint8),
            counts=block.candidates.counts.astype("<i2"),
            momenta=block.candidates.momenta.astype("<f4"),
        )


def read_block(path: str | Path) -> Block:
    """Return the block in a file.

    Raises
    ------
    StageError
        The file is missing, damaged, or not a block.
    """
    stored = _stored(path, "record", "counts", "momenta")
    candidates = Candidates(stored["counts"].astype(np.int64), stored["momenta"])
    return Block(_record(path, stored), candidates)


def read_record(path: str | Path) -> BlockRecord:
    """Return how the block in a file was made, without reading its events.

    Raises
    ------
    StageError
        The file is missing, damaged, or not a block.
    """
    return _record(path, _stored(path, "record"))


def _stored(path: str | Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    try:
        # Opened here: numpy leaves the file open when it is no valid archive.
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _record(path: str | Path, stored: dict[str, npt.NDArray[Any]]) -> BlockRecord:
    try:
        return BlockRecord(**json.loads(stored["record"].tobytes()))
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | Path, error: Exception) -> StageError:
    return StageError(
        f"{path}: expected a block of generated events, cannot read it ({error}); "
        "delete the file and generate again"
    )
