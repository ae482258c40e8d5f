"""What a pass costs as it grows: events, workers, tasks, files and taggers.

    python benchmarks/scale.py events.h5 --events 10000 100000 1000000 --workers 1 2 \
        --tasks 10000 --files 1000 10000 --sets 1 32 --out scale.json

Every measurement runs in a process of its own, whose peak of memory is that of the driver. The
first events of the file are skimmed; larger skims are these repeated with new ids, as many as
asked for. Tagger sets are copies of a packaged one whose first weights were moved, so that every
tagger is another graph. Rates are events by seconds of a process, from the metrics of the pass;
`cpu` is that of the driver and its processes, which a busy machine changes less than `wall`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea import (
    Fileset,
    Resources,
    Sample,
    SearchConfig,
    execution,
    pipeline,
    work_functions,
)
from tnt_coffea.checkpoints import Checkpoints
from tnt_coffea.events.skim import read_parts, write_part
from tnt_coffea.execution import map_tasks
from tnt_coffea.metrics import Metrics, measured, timed
from tnt_coffea.processors import SkimProcessor
from tnt_coffea.products import Skim, Taggers
from tnt_coffea.stages import manifest
from tnt_coffea.taggers import Tagger, TaggerSet, load_set

PART = 10_000
PACKAGED = "rnd-3500/autoencoder"


def main() -> None:
    """Measure all that is asked for, each in a process of its own, and print a table."""
    if sys.argv[1:2] == ["--one"]:
        name, *words = sys.argv[2:]
        print(json.dumps(MEASUREMENTS[name](*words)))
        return
    asked = _arguments()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=asked.scratch) as name:
        folder = Path(name)

        def measure(what: str, *words: object) -> None:
            command = [sys.executable, __file__, "--one", what, *map(str, words)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            row = {"measurement": what, **json.loads(done.stdout.splitlines()[-1])}
            found.append(row)
            print(_line(row), flush=True)
            if asked.out:
                about = {"load": os.getloadavg()[0], "cores": os.cpu_count(), "rows": found}
                asked.out.write_text(json.dumps(about, indent=1) + "\n")

        measure("cost of an item", folder)
        measure("metrics and checkpoints", asked.file, asked.base)
        for executor in asked.executors:
            for workers in asked.workers if executor != "iterative" else [1]:
                measure("tasks", executor, workers, asked.tasks)
        for files in asked.files:
            measure("files", folder / f"files-{files}", files)
        for workers in asked.workers:
            measure("skim", folder / f"base-{workers}", asked.file, asked.base, workers)
        for events in asked.events:
            grown = folder / f"{events}"
            grow(folder / f"base-{asked.workers[0]}" / "skim", grown, events)
            for sets in asked.sets:
                for workers in asked.workers:
                    measure("search", grown, sets, workers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="an LHC Olympics file of generated events")
    for name, default in (
        ("events", [10_000]),
        ("workers", [1, 2]),
        ("sets", [1, 8]),
        ("files", [300]),
    ):
        parser.add_argument(f"--{name}", type=int, nargs="*", default=default)
    parser.add_argument("--executors", nargs="*", default=["iterative", "futures", "dask"])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--base", type=int, default=2000, help="events that are skimmed")
    parser.add_argument("--scratch", type=Path, help="folder for what is made on the way")
    parser.add_argument("--out", type=Path, help="JSON")
    return parser.parse_args()


def _line(row: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


@contextmanager
def cost() -> Iterator[dict[str, float]]:
    """Measure wall and CPU time of a block, and the peak of this process's memory."""

    def cpu() -> float:
        every = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return sum(own.ru_utime + own.ru_stime for own in every)

    found: dict[str, float] = {}
    before, start = cpu(), time.perf_counter()
    yield found
    found["wall_s"] = time.perf_counter() - start
    found["cpu_s"] = cpu() - before
    found["driver_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cost_of_an_item(folder: str) -> dict[str, Any]:
    """Return what measuring and keeping one item costs, in ms, without the work of it."""
    n = 300
    output = {"cutflow": {"data": {"events": 1000, "rejected": {}, "selected": 1000}}}
    checkpoints = Checkpoints(folder, "key")

    def each(function: Callable[[int], object]) -> float:
        start = time.process_time()
        for number in range(n):
            function(number)
        return (time.process_time() - start) / n * 1000

    def measure(number: int) -> None:
        with measured(1000):
            for step in ("reading", "clustering", "observables", "filling"):
                with timed(step):
                    pass

    return {
        "metrics_ms": each(measure),
        "checkpoint_ms": each(lambda number: checkpoints.write(str(number), output)),
        "checkpoint_read_ms": each(lambda number: checkpoints.read(str(number))),
    }


def metrics_and_checkpoints(file: str, base: str) -> dict[str, Any]:
    """Return a skim's CPU time with metrics, and with checkpoints too, over that without.

    The three run in turns, and the least of five counts.
    """
    least: dict[str, float] = {}
    null = contextmanager(_nothing)
    known = work_functions.measured, work_functions.timed
    with tempfile.TemporaryDirectory() as name, Resources(progress=False).open() as opened:
        fileset = Fileset.from_paths(_first(Path(file), Path(name, "events.h5"), int(base)))
        for number in range(6):
            for way in ("without", "metrics", "checkpoints"):
                out = Path(name, f"{way}-{number}")
                (out / "items").mkdir(parents=True)
                measured_by = (null, null) if way == "without" else known
                work_functions.measured, work_functions.timed = measured_by
                kept = Checkpoints(str(out / "items"), "key") if way == "checkpoints" else None
                start = time.process_time()
                execution.run(
                    fileset,
                    SkimProcessor(SearchConfig().skim, out),
                    opened,
                    chunk_size=max(1, int(base) // 4),
                    checkpoints=kept,
                )
                if number:  # the first imports and compiles
                    took = time.process_time() - start
                    least[way] = min(took, least.get(way, took))
    without = least.pop("without")
    return {"without_s": without, **{way: took / without for way, took in least.items()}}


def _nothing(*words: object) -> Iterator[dict[str, Any]]:
    yield {"items": 1, "kept": 0, "events": 0, "seconds": 0.0, "steps": {}}


def _first(file: Path, path: Path, n: int) -> Path:
    """Write the first events of a file."""
    import h5py
    import hdf5plugin  # noqa: F401

    with h5py.File(file) as source, h5py.File(path, "w") as target:
        target["events"] = source["events"][:n]
    return path


def tasks(executor: str, workers: str, n: str) -> dict[str, Any]:
    """Return the overhead of an empty task."""
    with Resources(executor, int(workers), progress=False).open() as opened:
        map_tasks(abs, [1, 2], opened)  # imports, and processes that start
        with cost() as found:
            map_tasks(abs, range(int(n)), opened)
    each = 1000 * found["wall_s"] / int(n)
    return {"executor": executor, "workers": int(workers), "n": int(n), "ms_each": each, **found}


def files(folder: str, n: str) -> dict[str, Any]:
    """Return what a file of one event costs: planning, and the pass."""
    where = Path(folder)
    where.mkdir()
    for number in range(int(n)):
        text = f"m_jj,heavy_mass,light_mass\n{2500 + number % 3000},500,100\n"
        (where / f"{number}.csv").write_text(text)
    with cost() as planning:
        fileset = Fileset.from_paths(sorted(where.iterdir()))
        fileset.noted().content_hashes()
        fileset.items(1000)
    resources = Resources(progress=False)
    with cost() as found:
        pipeline.skim(fileset, SearchConfig(), out=where.with_suffix(".out"), resources=resources)
    planned, made = (1000 * one["wall_s"] / int(n) for one in (planning, found))
    return {"n": int(n), "planning_ms_each": planned, "skim_ms_each": made, **found}


def skim(out: str, file: str, base: str, workers: str) -> dict[str, Any]:
    """Return the rates of a skim with images of the first events of a file."""
    folder = Path(out)
    folder.mkdir(exist_ok=True)
    first = _first(Path(file), folder / "events.h5", int(base))
    resources = Resources("dask", int(workers), progress=False, overwrite=True)
    with cost() as found:
        pipeline.skim(Fileset.from_paths(first), SearchConfig(), out=folder, resources=resources)
    return {"workers": int(workers), **found, **_metrics(folder / "skim")}


def grow(base: Path, folder: Path, events: int) -> None:
    """Write parts with as many dijets, those of a skim repeated under new ids."""
    sample = read_parts(Skim.load(base).paths)
    folder.mkdir()
    random = np.random.default_rng(1)
    for start in range(0, events, PART):
        n = min(PART, events - start)
        part = sample.select(np.resize(np.arange(len(sample)), n))
        ids = random.integers(0, 2**64, n, dtype=np.uint64)
        part = replace(part, columns={**part.columns, "event_id": ids})
        write_part(folder / f"{start}.parquet", part)


def search(parts: str, sets: str, workers: str) -> dict[str, Any]:
    """Return the rates of a search with many sets of taggers, and what the driver holds."""
    folder, config = Path(parts), SearchConfig()
    config = config.model_copy(
        update={"search": config.search.model_copy(update={"efficiencies": (0.1, 0.01)})}
    )
    paths = sorted(folder.glob("*.parquet"))
    first = read_parts(paths[:1])
    taggers = _sets(int(sets), first.select(np.arange(min(len(first), 2000))), config)
    n = sum(len(one.members) for one in taggers.sets.values())
    with tempfile.TemporaryDirectory() as out, cost() as found:
        resources = Resources("dask", int(workers), progress=False)
        histograms = pipeline.search(
            Fileset.from_paths(paths), taggers, config, out=out, resources=resources
        )
        metrics = _metrics(Path(out, "search"))
        stored = sum(path.stat().st_size for path in Path(out, "search").iterdir()) / 1e6
    size = {"events": histograms.accounting.events, "sets": int(sets), "taggers": n}
    return {**size, "workers": int(workers), **found, **metrics, "stored_MB": stored}


def _metrics(stage: Path) -> dict[str, Any]:
    known = manifest(stage)
    if known is None or known.metrics is None:
        return {}
    metrics = Metrics.from_dict(known.metrics)
    steps = {f"{step}_share": metrics.share(step) for step in metrics.steps}
    return {"events_per_s": metrics.events_per_second, "items": metrics.items, **steps}


def _sets(n: int, sample: Sample, config: SearchConfig) -> Taggers:
    first = replace(load_set(PACKAGED), quantiles=None)
    known = config.search
    made: dict[str, TaggerSet] = {}
    for number in range(n):
        members = tuple(
            replace(member, tagger=_moved(member.tagger, number)) for member in first.members
        )
        own = replace(first, name=f"set-{number}", members=members)
        made[own.name] = own.calibrated(sample, known.fit_range, known.efficiencies)
    return Taggers(made, {})


def _moved(tagger: Tagger, number: int) -> Tagger:
    """Return a tagger with its first weights moved a little."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(tagger.data)
    weights = next(one for one in model.graph.initializer if one.data_type == 1)
    values = numpy_helper.to_array(weights) * np.float32(1 + 1e-3 * number)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    return Tagger(model.SerializeToString(), f"set-{number}")


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "cost of an item": cost_of_an_item,
    "metrics and checkpoints": metrics_and_checkpoints,
    "tasks": tasks,
    "files": files,
    "skim": skim,
    "search": search,
}

if __name__ == "__main__":
    main()
