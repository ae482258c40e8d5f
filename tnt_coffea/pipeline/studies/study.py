"""A study on disk: trainings that are not repeated, and one summary of numbers, figures and claims.

gaussian/
  study.json      every number, settings, seeds, command, versions, claims
  study.md        the same for readers, with the figures
  *.png           figures
  trainings/      what finished trainings gave, one file each
  manifest.json   last: the study is complete
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tnt_coffea.config import digest
from tnt_coffea.errors import StageError, reason
from tnt_coffea.execution import Resources, map_tasks
from tnt_coffea.pipeline.studies.claims import Claim
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.stages import Stage
from tnt_coffea.storage import stored, written
from tnt_coffea.visibility import check_seen

__all__ = [
    "STUDIES",
    "Study",
    "StudyResult",
    "StudyTable",
    "Training",
    "kept_training",
    "machine",
]

STUDIES = "tnt-coffea-studies"
"""Where studies go."""
_SUMMARY = "study.json"
_DIGITS = 5


@dataclass(frozen=True)
class Training:
    """One training of a study, or a block of them: the unit that is kept and not repeated.

    Attributes
    ----------
    name
        The stem of its file.
    settings
        JSON values that, with its name, decide what it gives.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 of what decides it."""
        return digest([self.name, dict(self.settings)])


@dataclass(frozen=True)
class StudyTable:
    """A table of a study's numbers, as text.

    Attributes
    ----------
    title
        Above it.
    columns
        Their headings.
    rows
        A cell a column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes
    ----------
    title
        Of its page.
    command
        The command line that gives it.
    settings
        JSON values that decide it.
    versions
        Of the packages that computed it.
    numbers
        Every number, JSON values.
    claims
        What the papers say, and whether it holds.
    notes
        What a reader must know.
    cpu_seconds
        Of all trainings [s].
    wall_seconds
        Of the run that wrote it, from first event to last number [s]; what an earlier, killed run
        finished is not in it.
    machine
        Where it ran, in words.
    """

    title: str
    command: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    numbers: Mapping[str, Any]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]
    cpu_seconds: float
    wall_seconds: float = 0.0
    machine: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, numbers with five significant digits."""
        return {
            "title": self.title,
            "command": self.command,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "claims": [claim.to_dict() for claim in self.claims],
            "notes": list(self.notes),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "wall_seconds": round(self.wall_seconds, 1),
            "machine": self.machine,
            "numbers": _rounded(self.numbers),
        }

    @classmethod
    def load(cls, folder: str | Path) -> StudyResult:
        """Return the result in a study's folder.

        Raises
        ------
        StageError
            There is none, or it is damaged.
        """
        path = Path(folder) / _SUMMARY
        try:
            values = json.loads(path.read_text())
            claims = tuple(map(Claim.from_dict, values["claims"]))
            return cls(**values | {"claims": claims, "notes": tuple(values["notes"])})
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            msg = f"{path}: no study can be read: {reason(error)}; run the study again"
            raise StageError(msg) from error


@dataclass(frozen=True)
class Study:
    """The folder of one study.

    Attributes
    ----------
    name
        What the study, and its folder, is called.
    out
        The folder that it lies in.
    settings
        JSON values that decide what it finds.
    """

    name: str
    out: Path
    settings: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.out / self.name

    @cached_property
    def stage(self) -> Stage:
        """Its folder as that of a stage, keyed by the settings."""
        again = "Choose another output folder (--out), or remove it"
        return Stage(f"study {self.name}", self.folder, self.settings, again)

    def standing(self) -> StudyResult | None:
        """Return the complete result in the folder, if it is there as it was written.

        Raises
        ------
        StageError
            The folder holds a study of another configuration.
        """
        if self.stage.finished() is None or not self.stage.intact():
            return None
        return StudyResult.load(self.folder)

    def trained(
        self,
        train: Callable[[Training], dict[str, Any]],
        trainings: Sequence[Training],
        resources: Resources,
    ) -> tuple[dict[str, dict[str, Any]], float]:
        """Return what every training gave, by its name, and the CPU time of all [s].

        Those that an earlier, killed run finished are read, not repeated.

        Parameters
        ----------
        train
            Function of a training to JSON values; at module level, for it runs in workers.
        trainings
            What to train; the longest first.
        resources
            The workers.
        """
        self.stage.begin()
        folder = self.folder / "trainings"
        with stored(folder):
            folder.mkdir(exist_ok=True)
        kept = {training.name: _kept(folder, training) for training in trainings}
        missing = [training for training in trainings if kept[training.name] is None]
        if missing:
            with resources.open() as executor:
                check_seen(executor, folder, "trainings of a study")
                found = map_tasks(
                    _Keeping(train, str(folder.resolve())), missing, executor, "Training"
                )
            kept |= {one.name: values for one, values in zip(missing, found, strict=True)}
        complete = {name: values for name, values in kept.items() if values is not None}
        return (
            {name: values["outcome"] for name, values in complete.items()},
            sum(values["cpu_seconds"] for values in complete.values()),
        )

    def write(
        self, result: StudyResult, plots: Sequence[Plot], tables: Sequence[StudyTable]
    ) -> None:
        """Write numbers, figures and page, and declare the study complete."""
        with stored(self.folder):
            for plot in plots:
                plot.figure.savefig(
                    self.folder / f"{plot.name}.png", metadata={"Software": None}, dpi=110
                )
        with written(self.folder / "study.md") as path:
            path.write_text("\n".join(_page(result, plots, tables)) + "\n")
        with written(self.folder / _SUMMARY) as path:
            text = json.dumps(result.to_dict(), allow_nan=False, separators=(",", ":"))
            path.write_text(text + "\n")
        self.stage.finish({"claims": len(result.claims)})


@dataclass(frozen=True)
class _Keeping:
    """The work function: a training's outcome goes to its file as soon as it is there."""

    train: Callable[[Training], dict[str, Any]]
    folder: str

    def __call__(self, training: Training) -> dict[str, Any]:
        began = time.process_time()
        outcome = self.train(training)
        seconds = round(time.process_time() - began, 2)
        values = {
            "key": training.key,
            "cpu_seconds": seconds,
            "digest": digest(outcome),
            "outcome": outcome,
        }
        with written(_path(Path(self.folder), training)) as path:
            path.write_text(json.dumps(values, allow_nan=False) + "\n")
        return values


def machine() -> str:
    """Return cores, processor and memory in words.

    Examples
    --------
    >>> "core" in machine()
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        processor = next(names, "") or platform.machine()
        pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {pages / 2**30:.0f} GiB of memory"
    except (OSError, ValueError):  # not Linux
        processor, memory = platform.processor() or platform.machine(), ""
    return f"{cores} core{'s' if cores != 1 else ''}, {processor}{memory}"


def _path(folder: Path, training: Training) -> Path:
    return folder / f"{training.name}.json"


def _kept(folder: Path, training: Training) -> dict[str, Any] | None:
    """Return what a file holds of this very training, or None where it has to be made."""
    values = kept_training(_path(folder, training))
    return values if values is not None and values["key"] == training.key else None


def kept_training(path: Path) -> dict[str, Any] | None:
    """Return what the file of a training holds, or None where it is damaged or not there.

    Examples
    --------
    >>> kept_training(Path("nowhere.json")) is None
    True
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        whole = {"key", "cpu_seconds"} <= values.keys()
        whole = whole and values["digest"] == digest(values["outcome"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return values if whole else None


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _page(
    result: StudyResult, plots: Sequence[Plot], tables: Sequence[StudyTable]
) -> Iterator[str]:
    """Give the lines of a study's page as Markdown."""
    yield from (f"# {result.title}", "", f"    {result.command}", "")
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    made = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    yield from (f"Settings: {settings}.", "")
    wall = f"wall time of this run {result.wall_seconds:.0f} s" if result.machine else ""
    took = (f"CPU time of the trainings {result.cpu_seconds:.0f} s", wall, result.machine)
    yield from (f"Cost: {'; '.join(filter(None, took))}.", "")
    yield from (f"Versions: {made}.", "")
    yield from ("## Claims", "")
    yield from _markdown(
        ("claim", "source", "published", "ours", "verdict", "reason"),
        [
            (one.id, one.source, one.published, one.ours, f"**{one.verdict.value}**", one.reason)
            for one in result.claims
        ],
    )
    yield from ("", "Rules of the verdicts, fixed before the run:", "")
    rules: dict[str, list[str]] = {}
    for claim in result.claims:
        rules.setdefault(claim.rule, []).append(claim.id)
    yield from (f"- {', '.join(names)}: {rule}" for rule, names in rules.items())
    for table in tables:
        yield from ("", f"## {table.title}", "")
        yield from _markdown(table.columns, table.rows)
    for plot in plots:
        yield from ("", f"## {plot.title}", "", f"![{plot.alt}]({plot.name}.png)", "", plot.caption)
    if result.notes:
        yield from ("", "## Notes", "", *(f"- {note}" for note in result.notes))


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
