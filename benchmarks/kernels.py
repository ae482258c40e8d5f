"""The kernels' time against named peers, in one run and on the same events.

    python benchmarks/kernels.py events.h5 [more files] [--long] [--json figures.json]

Targets are for the first file, which should hold generated float32 events. All times are CPU times
of one core; README.md beside this file explains the peers and holds a record.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import awkward as ak
import kernel_peers as peers
import numpy as np
from kernel_peers import native_clustering
from kernel_report import (
    BenchmarkReport,
    FileTimes,
    Linearity,
    Machine,
    ScoringTimes,
    interleaved,
    markdown,
)

from tnt_coffea.config import SkimSettings
from tnt_coffea.errors import ExecutionError
from tnt_coffea.events.particles import Particles
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.sources import particles_of, source_of
from tnt_coffea.jets import SparseImages, find_dijets, n_subjettiness, sparse_images
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.processors.skim import reconstructed
from tnt_coffea.storage import written
from tnt_coffea.taggers.store import load, packaged_sets
from tnt_coffea.taggers.tagger import Tagger

CHUNK = 2000
LITERAL_EVENTS = 100
SCORED_EVENTS = 1000
MEMORY_EVENTS = (2000, 10_000)
LINEAR_EVENTS = (1000, 2000, 5000, 10_000)


def benchmark(
    paths: Sequence[str | Path],
    *,
    events: int = 4000,
    repetitions: int = 5,
    chunk: int = CHUNK,
    literal_events: int = LITERAL_EVENTS,
    scored_events: int = SCORED_EVENTS,
    memory_events: Sequence[int] = MEMORY_EVENTS,
    linear_events: Sequence[int] = LINEAR_EVENTS,
    notify: Callable[[str], None] = lambda text: None,
) -> BenchmarkReport:
    """Return all figures of one run, of CPU time on one core.

    Parameters
    ----------
    paths
        Files of any source with particles. Targets, memory and linearity are of the first
        one, which should be generated float32 events; the others stand beside it.
    events
        Events of a file that are timed.
    repetitions
        Rounds, each piece of work once a round; the best of each counts.
    chunk
        Events a chunk, as a worker reads them.
    literal_events
        Events for the literal script, which takes a hundredth of a second for each.
    scored_events
        Events whose jets are scored.
    memory_events
        Numbers of events that pass through the process whose memory is measured; none: not.
    linear_events
        Numbers of events at which the time is taken, up to 10^6 if wanted (a file that has
        fewer is gone through again); none: not.
    notify
        Told what is being measured.

    Raises
    ------
    InputError
        A file cannot be read or has no particles.
    """
    settings = SkimSettings()
    files: list[FileTimes] = []
    for path in map(Path, paths):
        notify(f"timing {path.name}")
        times = _file_times(path, settings, events, repetitions, chunk, literal_events)
        files.append(replace(times, judged=not files))
    first = Path(paths[0])
    scoring = None
    if packaged_sets() and scored_events:
        notify("scoring")
        scoring = _scoring(first, scored_events, chunk, repetitions)
    peak = {}
    if packaged_sets():
        name = _tagger_set()
        for n in memory_events:
            notify(f"memory of a worker, {n} events")
            peak[n] = peak_memory(first, name, n, chunk)
    linearity = None
    if linear_events:
        notify("time over events")
        linearity = _linearity(first, sorted(linear_events), chunk, repetitions)
    return BenchmarkReport(
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        machine=Machine.here(),
        files=tuple(files),
        scoring=scoring,
        peak_memory=peak,
        linearity=linearity,
    )


def _consumed(chain: Callable[[], Iterable[Any]]) -> Callable[[], object]:
    # One chunk alive at a time, as in a worker.
    return lambda: deque(chain(), maxlen=0)


def _linearity(path: Path, numbers: list[int], chunk: int, repetitions: int) -> Linearity:
    chains = {n: Chain(path, n, chunk, SkimSettings()) for n in numbers}
    work = {str(n): (n, _consumed(chain.images)) for n, chain in chains.items()}
    # A long pass averages over the machine by itself.
    short = {name: item for name, item in work.items() if item[0] <= max(LINEAR_EVENTS)}
    times = interleaved(short, repetitions)
    times |= interleaved({name: work[name] for name in work.keys() - short.keys()}, 1)
    return Linearity.of([times[str(n)] for n in numbers])


def _file_times(
    path: Path,
    settings: SkimSettings,
    events: int,
    repetitions: int,
    chunk: int,
    literal_events: int,
) -> FileTimes:
    assert settings.images is not None
    chain = Chain(path, events, chunk, settings)
    particles = [chunk_of.p4 for chunk_of in chain.particles()]
    bare = peers.BareBinding(particles, settings.jets)
    constituents = [
        ak.flatten(find_dijets(chunk_of, settings.jets)[0].constituents) for chunk_of in particles
    ]
    rows = peers.literal_rows(particles, literal_events)
    images = settings.images
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "binding": (events, bare),
        "loaded": (events, _consumed(chain.loaded)),
        "particles": (events, _consumed(chain.particles)),
        "dijets": (events, _consumed(chain.dijets)),
        "images": (events, _consumed(chain.images)),
        "subjettiness": (events, _consumed(chain.subjettiness)),
        "pixels": (events, lambda: [sparse_images(jets, images) for jets in constituents]),
    }
    if literal_events:
        for name, table in peers.literal_tables(rows).items():
            script = partial(peers.literal_images, table, len(rows), settings.jets, images)
            work[name] = (len(rows), script)
    if find_spec("energyflow") is not None:
        jets = _rows(constituents, 2 * literal_events)
        work["energyflow"] = (len(jets) // 2, lambda: peers.energyflow_images(jets, images))
    times = interleaved(work, repetitions)
    with tempfile.TemporaryDirectory() as folder:
        native = native_clustering(*bare.flat(), settings.jets, Path(folder), repetitions)
    if native is not None:
        times["native"] = native[0]
    return FileTimes(f"{path.name} ({_format(chain)})", times)


def _format(chain: Chain) -> str:
    events = next(chain.loaded())
    if "constituent_pt" not in events.fields:
        return "ROOT or Parquet"
    return str(ak.to_numpy(ak.flatten(events.constituent_pt)).dtype)


def _rows(constituents: list[ak.Array], number: int) -> list[Any]:
    jets = [jet for chunk in constituents for jet in chunk[:number]][:number]
    rows = []
    for jet in jets:
        pt, eta, phi = (ak.to_numpy(getattr(jet, name)) for name in ("pt", "eta", "phi"))
        # EnergyFlow knows no seam of phi.
        phi = np.remainder(phi - phi[np.argmax(pt)] + np.pi, 2 * np.pi) - np.pi
        rows.append(np.stack([pt, eta, phi, np.zeros(len(pt))], axis=1))
    return rows


def _tagger_set() -> str:
    sets = list(packaged_sets())
    return next((name for name in sets if name.endswith("/tnt")), sets[0])


def _scoring(path: Path, events: int, chunk: int, repetitions: int) -> ScoringTimes:
    name = _tagger_set()
    taggers = {jet: load(f"{name}/{jet}-0-0") for jet in JETS}
    settings = taggers[JETS[0]].card.skim
    chain = Chain(path, events, max(events, chunk), settings)
    sample = reconstructed(next(chain.loaded()), settings)[0]
    return scoring_times(sample, taggers, repetitions)


SUBJETTINESS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Chain:
    """The processing chain from a file's rows to dijets, images and N-subjettiness, in chunks.

    Attributes
    ----------
    path
        A file of any source with particles.
    n_events
        Rows; a file with fewer is read again from its start.
    chunk
        Rows a chunk.
    settings
        Jets and images.
    """

    path: Path
    n_events: int
    chunk: int
    settings: SkimSettings

    def loaded(self) -> Iterator[Any]:
        """Yield NanoEvents chunk by chunk."""
        source = source_of(self.path)
        rows = source.entries(self.path)
        done = 0
        while done < self.n_events:
            start = done % rows
            stop = min(start + self.chunk, rows, start + self.n_events - done)
            yield source.load(self.path, start, stop, _metadata(self.path, start, stop))
            done += stop - start

    def particles(self) -> Iterator[Particles]:
        """Yield particles with their identities."""
        return map(particles_of, self.loaded())

    def dijets(self) -> Iterator[ak.Array]:
        """Yield (event, 2) jets with constituents."""
        for particles in self.particles():
            yield find_dijets(particles.p4, self.settings.jets)[0]

    def images(self) -> Iterator[SparseImages]:
        """Yield the images of both jets, heavy and light in turns."""
        assert self.settings.images is not None
        for jets in self.dijets():
            yield sparse_images(ak.flatten(jets.constituents), self.settings.images)

    def subjettiness(self) -> Iterator[Any]:
        """Yield (2 * event, N) tau_1 to tau_4 of both jets."""
        for jets in self.dijets():
            yield n_subjettiness(
                ak.flatten(jets.constituents), SUBJETTINESS, radius=self.settings.jets.radius
            )


def _metadata(path: Path, start: int, stop: int) -> dict[str, Any]:
    return {"dataset": "data", "filename": str(path), "entrystart": start, "entrystop": stop}


BATCHES = (8, 16, 32, 64, 128, 256)
"""Batch sizes that ONNX Runtime alone is tried with; its best one counts."""

_ROWS = 2048


def scoring_times(sample: Sample, taggers: dict[str, Tagger], repetitions: int) -> ScoringTimes:
    """Return the time of scoring both jets from the skim, and of ONNX Runtime alone.

    Parameters
    ----------
    sample
        Dijets with images as the taggers want them.
    taggers
        One tagger for `heavy` and one for `light`.
    repetitions
        Rounds; the best of each counts.
    """
    images = {jet: sample.images(jet) for jet in JETS}
    sessions = {jet: _session(taggers[jet].data) for jet in JETS}
    events = len(sample)

    def scored() -> None:
        for jet in JETS:
            for start in range(0, events, _ROWS):
                rows = np.arange(start, min(start + _ROWS, events))
                taggers[jet].score(sample.images(jet, rows))

    def bare(batch: int) -> Callable[[], None]:
        def run() -> None:
            for jet in JETS:
                for start in range(0, events, batch):
                    sessions[jet].run(["score"], {"image": images[jet][start : start + batch]})

        return run

    tried = interleaved({str(batch): (events, bare(batch)) for batch in BATCHES}, repetitions)
    best = min(BATCHES, key=lambda batch: tried[str(batch)].seconds)
    # Against the best one alone, in equal numbers: the best of six tries six times as often.
    times = interleaved({"scored": (events, scored), "bare": (events, bare(best))}, repetitions)
    by_batch = {batch: tried[str(batch)] for batch in BATCHES}
    return ScoringTimes(times["scored"], times["bare"], best, by_batch)


def _session(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


_CHILD = "from kernels import searched; searched({arguments})"


def peak_memory(path: Path, tagger_set: str, events: int, chunk: int) -> float:
    """Return the most memory [MiB] that a process holds that searches a file.

    Parameters
    ----------
    path
        A file of particles; gone through again where it has fewer events than asked for.
    tagger_set
        Name or folder of the set that scores.
    events
        How many events pass through.
    chunk
        Events a work item.

    Raises
    ------
    ExecutionError
        The process failed.
    """
    script = (
        f"from kernels import searched; searched({str(path)!r}, {tagger_set!r}, {events}, {chunk})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        msg = f"{path}: the process whose memory is measured failed: {done.stderr.strip()[-500:]}"
        raise ExecutionError(msg)
    peak: float = json.loads(done.stdout.splitlines()[-1])["peak"]
    return peak


def searched(path: str, tagger_set: str, events: int, chunk: int) -> None:
    """Search a file's events in this process and print its peak memory as JSON."""
    import resource

    from tnt_coffea.config import SearchConfig
    from tnt_coffea.processors import SearchProcessor
    from tnt_coffea.taggers.store import load_set

    taggers = load_set(tagger_set)
    config = SearchConfig(skim=taggers.members[0].tagger.card.skim)
    processor = SearchProcessor(config, taggers)
    filled = 0.0
    for chunk_events in Chain(Path(path), events, chunk, config.skim).loaded():
        found = processor.process(chunk_events)["hists"][taggers.name]
        filled += float(found.histogram().sum(flow=True).value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    print(
        json.dumps({"peak": peak / (2**20 if sys.platform == "darwin" else 2**10), "sum": filled})
    )


SHORT, LONG = (1000, 2000, 5000, 10_000), (1000, 10_000, 100_000, 1_000_000)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help="of any source with particles")
    parser.add_argument("--events", type=int, default=4000, help="of each file that are timed")
    parser.add_argument(
        "--repetitions", type=int, default=5, help="rounds; the best time of each part counts"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out peak memory and the time over events"
    )
    parser.add_argument(
        "--long", action="store_true", help="measure the time over events up to a million"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args(arguments)
    left_out: dict[str, Sequence[int]] = {"memory_events": (), "linear_events": ()}
    growing: dict[str, Sequence[int]] = {"linear_events": LONG if chosen.long else SHORT}
    report = benchmark(
        [path.resolve() for path in chosen.files],
        events=chosen.events,
        repetitions=chosen.repetitions,
        notify=lambda text: print(text, file=sys.stderr),
        **(left_out if chosen.quick else growing),
    )
    print(markdown(report))
    if chosen.json is not None:
        with written(chosen.json) as partial:
            partial.write_text(json.dumps(report.to_dict(), indent=1) + "\n")


if __name__ == "__main__":
    main()
