"""Memory of trainings against the number of events.

    python benchmarks/training_memory.py [events ...]

A skim of each size is written (few dijets with images as sparse as real ones, repeated with
new ids) and trained on as `tnt-coffea train` does: the driver lays it out and plans; a linear
autoencoder, a labelled classifier on images and boosted trees run in processes of their own,
for one epoch. Printed are the peaks of every process in MB: `private` memory, which nobody
else has and which a limit counts, and `resident`, with the pages of mapped files that the
system takes back when it needs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from training import sample

from tnt_coffea.config import SearchConfig, TrainSettings
from tnt_coffea.events.skim import write_part
from tnt_coffea.training import Schedule, run_task
from tnt_coffea.training.classifiers import Convolutional, Trees
from tnt_coffea.training.methods.autoencoder import Autoencoder
from tnt_coffea.training.methods.feature import Feature
from tnt_coffea.training.methods.tag_n_train import TagNTrain

PART = 2000


def labelled(classifier: Convolutional | Trees) -> TrainSettings:
    """Return a classifier of events that the jets' masses label."""
    tnt = TagNTrain(after="mass", classifier=classifier, mass_window=False)
    return TrainSettings(methods={"mass": Feature(feature="mass"), "tnt": tnt})


SETTINGS = {
    "driver": TrainSettings(),
    "autoencoder": TrainSettings(methods={"autoencoder": Autoencoder()}),
    "classifier": labelled(Convolutional(epochs=1)),
    "trees": labelled(Trees(trees=5)),
}


def main() -> None:
    """Measure all sizes, or one in this process where the first argument is a folder."""
    if len(sys.argv) > 2 and Path(sys.argv[1]).is_dir():
        measure(Path(sys.argv[1]), sys.argv[2])
        return
    for n in map(int, sys.argv[1:] or ("10000", "50000", "200000")):
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), n)
            found: dict[str, Any] = {"events": n}
            for what in SETTINGS:
                command = [sys.executable, __file__, name, what]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found[what] = json.loads(out.splitlines()[-1])
            flat = Path(name, "train").glob("events-*/*")
            found["disk_bytes_per_event"] = sum(path.stat().st_size for path in flat) // n
        print(json.dumps(found), flush=True)


def write(folder: Path, n: int) -> None:
    """Write a skim of n events."""
    some, rng = sample(PART), np.random.default_rng(2)
    for i in range(n // PART):
        ids = rng.integers(0, 2**64, PART, dtype=np.uint64)
        write_part(folder / f"{i:04d}.parquet", replace(some, event_id=ids))


def measure(folder: Path, what: str) -> None:
    """Do one thing in this process and print its peaks."""
    parts = sorted(folder.glob("*.parquet"))
    with peaks() as found:
        schedule = Schedule.planned(parts, SearchConfig(train=SETTINGS[what]), folder / "train")
        for wave in schedule.waves[:-1]:  # what labels, in no time
            schedule.finish(wave, lambda tasks, function: [function(task) for task in tasks])
        tasks = schedule.tasks(schedule.waves[-1]) if what != "driver" else ()
        for task in tasks[:1]:
            run_task(task)
    print(json.dumps(found))


@contextmanager
def peaks() -> Iterator[dict[str, int]]:
    """Give the peaks of private and resident memory in the block [MB]."""
    found: dict[str, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            status = dict(
                line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
            )
            for name, field in (("private", "RssAnon"), ("resident", "VmRSS")):
                now = int(status[field].split()[0]) // 1024
                found[name] = max(found.get(name, 0), now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    main()
