"""One run of everything: kernels and peers on the same events, in turns."""

from __future__ import annotations

import datetime
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.benchmarking import peers
from tnt_coffea.benchmarking.machine import Machine
from tnt_coffea.benchmarking.memory import peak_memory
from tnt_coffea.benchmarking.native import native_clustering
from tnt_coffea.benchmarking.report import BenchmarkReport, FileTimes, Linearity, ScoringTimes
from tnt_coffea.benchmarking.roads import Events
from tnt_coffea.benchmarking.scoring import scoring_times
from tnt_coffea.benchmarking.timing import interleaved
from tnt_coffea.config import SkimSettings
from tnt_coffea.jets import find_dijets, sparse_images
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.processors.skim import reconstructed
from tnt_coffea.taggers.store import load, packaged_sets

__all__ = ["benchmark"]

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


def _consumed(road: Callable[[], Iterable[Any]]) -> Callable[[], object]:
    # One chunk alive at a time, as in a worker.
    return lambda: deque(road(), maxlen=0)


def _linearity(path: Path, numbers: list[int], chunk: int, repetitions: int) -> Linearity:
    roads = {n: Events(path, n, chunk, SkimSettings()) for n in numbers}
    work = {str(n): (n, _consumed(road.images)) for n, road in roads.items()}
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
    road = Events(path, events, chunk, settings)
    particles = [chunk_of.p4 for chunk_of in road.particles()]
    bare = peers.BareBinding(particles, settings.jets)
    constituents = [
        ak.flatten(find_dijets(chunk_of, settings.jets)[0].constituents) for chunk_of in particles
    ]
    rows = peers.literal_rows(particles, literal_events)
    images = settings.images
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "binding": (events, bare),
        "loaded": (events, _consumed(road.loaded)),
        "particles": (events, _consumed(road.particles)),
        "dijets": (events, _consumed(road.dijets)),
        "images": (events, _consumed(road.images)),
        "subjettiness": (events, _consumed(road.subjettiness)),
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
    return FileTimes(f"{path.name} ({_format(road)})", times)


def _format(road: Events) -> str:
    events = next(road.loaded())
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
    road = Events(path, events, max(events, chunk), settings)
    sample = reconstructed(next(road.loaded()), settings)[0]
    return scoring_times(sample, taggers, repetitions)
