"""How many folds and members a search needs: the share of the data that each training sees.

    python benchmarks/data_share.py OUT --background qcd-*.h5 --signal signal.h5

Samples of 100,000 background events with 0.3 % of signal, each of files of its own, are searched
with 2, 5 and 10 outer folds, and 1 and 5 members, by CWoLa hunting and Tag N' Train + m_jj with
boosted trees. The first tagger of Tag N' Train is low tau21, as in `study sensitivity`: its
training costs nothing, whatever the folds. Kept are figures against the truth, ARGOS
(arXiv:2511.14832) of the scores out of fold, which needs no truth, and what a training costs.
Resumable; results are in `OUT/folds.json`.

The rule for the defaults, named before the first run: the number of outer folds with the largest
median ARGOS of Tag N' Train, and the fewest among those that are within half the spread of it.
Members by the same rule at that number.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from olympics import RESOURCES, injected
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, SearchConfig, Skim, pipeline
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.figures_of_merit import max_sic, sic_at
from tnt_coffea.storage import written
from tnt_coffea.training.argos import argos

TREES = {"network": "trees", "features": ["rescaled_mass", "tau21"]}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "cwola": {"found": {"kind": "cwola", "classifier": TREES}},
    "tag_n_train": {
        "first": {"kind": "feature", "feature": "tau21", "descending": True},
        "found": {"kind": "tag_n_train", "after": "first", "classifier": TREES},
    },
}
SKIM = "skim: {images: null, observables: [mass, tau21]}"
SCHEMES = ((2, 1), (5, 1), (10, 1), (5, 5))
"""Outer folds, and members."""
SHARE = 0.003
FILES = 2
"""Of background, a sample; 50,000 events each."""
SEED = 4100


def searched(sample: Sample, method: str, outer: int, members: int, seed: int) -> dict[str, Any]:
    """Return figures of the out-of-fold scores of one method."""
    train = {"methods": METHODS[method], "folds": {"outer": outer}, "members": members}
    config = SearchConfig.model_validate({"seed": seed, "train": train})
    started, cpu = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as out:
        taggers = pipeline.train(
            Skim.from_sample(sample), config, out=Path(out), resources=RESOURCES
        )
        cpu = time.process_time() - cpu
        rank = taggers.sets["found"].ranks(sample).both
    in_fit = config.search.fit_range.contains(sample.mass)
    window = config.search.window.contains(sample.mass)
    score, is_signal = rank[window].astype(float), sample.label[window] == 1
    best = max_sic(score, is_signal)
    return {
        "argos": argos(rank[in_fit & window], rank[in_fit & ~window]).value,
        "max_sic": best.value,
        **{f"sic_{e:g}": sic_at(e, score, is_signal).value for e in (0.1, 0.01, 0.001)},
        "training_cpu_s": cpu,
        "wall_s": time.perf_counter() - started,
    }


def parts(out: Path, file: str) -> list[Path]:
    """Return the parts of a file's skim, which is made once and has what the trees read."""
    folder = out / "pool" / f"{Path(file).absolute().parent.parent.name}-{Path(file).stem}"
    config = SearchConfig.from_text(SKIM)
    fileset = Fileset.from_paths({"data": [file]})
    return list(pipeline.skim(fileset, config, out=folder, resources=RESOURCES).paths)


def task(
    paths: Sequence[Path], method: str, outer: int, members: int, number: int
) -> dict[str, Any]:
    """Return one search in a process of its own."""
    return searched(injected(paths, number, SHARE), method, outer, members, SEED + number)


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return median and half the central 68 % of every figure, by method and scheme."""
    rows: dict[str, list[Any]] = {}
    for key, one in found.items():
        rows.setdefault(key.rpartition(" / ")[0], []).append(one)
    together: dict[str, Any] = {}
    for name, each in rows.items():
        together[name] = {"samples": len(each)}
        for figure in each[0]:
            known = [one[figure] for one in each if one[figure] is not None]
            if known:
                low, middle, high = np.quantile(known, (0.16, 0.5, 0.84))
                together[name][figure] = [float(middle), float(high - low) / 2]
    return together


def main() -> None:
    """Run the searches that are not there yet, and write and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--background", nargs="+", required=True)
    parser.add_argument("--signal", required=True)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.out / "folds.json"
    found: dict[str, Any] = json.loads(record.read_text())["searches"] if record.exists() else {}
    pool = [parts(arguments.out, file) for file in arguments.background]
    signal = parts(arguments.out, arguments.signal)
    with ProcessPoolExecutor(arguments.workers) as workers:
        runs = {}
        for number in range(len(pool) // FILES):
            own = [path for each in pool[number * FILES :][:FILES] for path in each]
            for outer, members in SCHEMES:
                for method in METHODS:
                    key = f"{method} / {outer} folds, {members} members / {number}"
                    if key not in found:
                        given = ([*own, *signal], method, outer, members, number)
                        runs[workers.submit(task, *given)] = key
        for run in as_completed(runs):
            found[runs[run]] = run.result()
            content = {"summary": summary(found), "searches": found}
            with written(record) as partial:
                partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    table = Table("scheme", "samples", "max SIC", "SIC 1 %", "SIC 0.1 %", "ARGOS", "CPU s")
    for name, one in summary(found).items():
        figures = ("max_sic", "sic_0.01", "sic_0.001", "argos", "training_cpu_s")
        cells = ["{:.2f} ± {:.2f}".format(*one[f]) if f in one else "-" for f in figures]
        table.add_row(name, str(one["samples"]), *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
