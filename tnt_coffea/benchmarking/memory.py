"""Peak memory of an inference worker, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tnt_coffea.errors import ExecutionError

__all__ = ["peak_memory", "searched"]

_CHILD = "from tnt_coffea.benchmarking.memory import searched; searched({arguments})"


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
    arguments = f"{str(path)!r}, {tagger_set!r}, {events}, {chunk}"
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(arguments=arguments)],
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

    from tnt_coffea.benchmarking.roads import Events
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.processors import SearchProcessor
    from tnt_coffea.taggers.store import load_set

    taggers = load_set(tagger_set)
    config = SearchConfig(skim=taggers.members[0].tagger.card.skim)
    processor = SearchProcessor(config, taggers)
    filled = 0.0
    for chunk_events in Events(Path(path), events, chunk, config.skim).loaded():
        found = processor.process(chunk_events)["hists"][taggers.name]
        filled += float(found.sum(flow=True).value)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    print(
        json.dumps({"peak": peak / (2**20 if sys.platform == "darwin" else 2**10), "sum": filled})
    )
