"""Boosted trees beside LightGBM and scikit-learn, and attribute bagging, on the events of skims.

    python benchmarks/trees.py --background skims/18* --signal skims/signal --python PEERS/python

Weakly supervised problems on events of the signal region: half of two thirds of the background with
signal of some sigma against the other half without, a tenth held back to choose the number of
trees, and the other events to test on. The features are the masses and tau21 of both jets, or the
masses and tau1 to tau9 at beta 0.5, 1 and 2. For the speed 400,000 events of any mass train. Every
training is a process of its own, of one thread; the libraries take turns. The peers live in an
environment of their own (`--python`: lightgbm, scikit-learn); their trees are written as a graph
too, which has to give their scores. Bagging compares ten members with all features and ten with a
third of them each; `+-` is the spread of the repetitions, and the error of the mean of a gain.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from kernel_report import Machine
from tree_engines import ENGINES

from tnt_coffea import seeds
from tnt_coffea.config import MassRange
from tnt_coffea.events.skim import read_parts
from tnt_coffea.reporting.figures_of_merit import max_sic
from tnt_coffea.taggers.inputs import Columns
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.trees import Tree, boosted_trees

REGION = MassRange(low=3300, high=3700)
TAUS = tuple(f"tau{n}{beta}" for beta in ("", "_beta05", "_beta2") for n in range(1, 10))
SETS = {4: ("mass", "tau21"), 56: ("mass", *TAUS)}
SETTINGS = {"rounds": 100, "leaves": 8, "shrinkage": 0.1, "patience": 5}


class Events:
    """Background and signal of the skims, as named columns."""

    def __init__(self, background: Sequence[Path], signal: Path) -> None:
        names = [f"{jet}_{name}" for jet in ("heavy", "light") for name in (*SETS[56], "tau21")]
        self.names = names
        parts = [read(folder, names) for folder in background]
        self.background, self.mass = (np.concatenate(each) for each in zip(*parts, strict=True))
        self.signal, mass = read(signal, names)
        self.signal = self.signal[REGION.contains(mass)]

    def columns(self, features: int) -> np.ndarray:
        """Return the places of a set of features."""
        names = [f"{jet}_{name}" for jet in ("heavy", "light") for name in SETS[features]]
        return np.array([self.names.index(name) for name in names])


def read(folder: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (event, feature) and (event,) masses of a skim."""
    sample = read_parts(sorted(folder.glob("**/*.parquet")))
    return np.stack([sample.columns[name] for name in names], 1, dtype="f4"), sample.m_jj


def problem(events: Events, features: int, signal: float, seed: int, anywhere: int = 0) -> Any:
    """Return arrays to train on, to hold back and to test on, with the truth of these.

    `signal` is in units of the root of the background beside it. Two thirds of the region's
    background train; with `anywhere`, so many events of any mass.
    """
    random = seeds.generator(seed, "problem")
    inside = np.flatnonzero(REGION.contains(events.mass))
    shown = random.permutation(len(events.mass))[:anywhere] if anywhere else None
    mixed = random.permutation(inside)
    train = mixed[: 2 * len(mixed) // 3] if shown is None else shown
    half = len(train) // 2
    injected, rest = np.split(
        random.permutation(len(events.signal)), [round(signal * np.sqrt(half))]
    )
    columns = events.columns(features)
    x = np.concatenate([events.background[train], events.signal[injected]])[:, columns]
    y = np.concatenate([np.arange(len(train)) < half, np.ones(len(injected))]).astype(float)
    order = random.permutation(len(x))
    test = mixed[2 * len(mixed) // 3 :]
    tested = np.concatenate([events.background[test], events.signal[rest]])[:, columns]
    return x[order], y[order], tested, np.arange(len(tested)) >= len(test)


def split(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a tenth held back."""
    held = random.random(len(x)) < 0.1
    return {"x": x[~held], "y": y[~held], "held": x[held], "y_held": y[held]}


def trained(engine: str, python: str, folder: Path) -> dict[str, float]:
    """Run one engine in a process of its own, and return what it prints."""
    command = [python, str(Path(__file__).with_name("tree_engines.py")), engine, str(folder)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
    if ran.returncode:
        sys.exit(f"{engine}: {ran.stderr}")
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def exported(file: Any, tested: np.ndarray) -> tuple[int, float, float]:
    """Return the bytes of the graph, its largest difference, and microseconds an event."""
    ends = list(accumulate(file["sizes"].tolist()))
    trees = []
    for nodes in np.split(file["nodes"], ends[:-1], axis=1):
        feature, left, right = (nodes[i].astype(np.int64) for i in (0, 2, 3))
        # The largest float32 up to a threshold: float32 features fall on the same side.
        cut = nodes[1].astype(np.float32)
        cut = np.where(cut > nodes[1], np.nextafter(cut, np.float32(-np.inf)), cut)
        trees.append(Tree(feature, cut, left, right, nodes[4].astype(np.float32)))
    graph = Graph(Columns(columns=tuple(f"c{i}" for i in range(tested.shape[1]))))
    odds = graph.add_trees("features", trees, float(file["base"]))
    model = graph.model(graph.flat(graph.add("Sigmoid", odds))).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    began = time.process_time()
    scores = [session.run(["score"], {"features": b})[0] for b in np.split(tested[:6400], 200)]
    micro = (time.process_time() - began) / 6400 * 1e6
    return len(model), float(np.abs(np.concatenate(scores) - file["scores"][:6400]).max()), micro


def rows(events: Events, pythons: dict[str, str], cases: Sequence[Any]) -> Iterator[list[str]]:
    """Yield a row an engine and problem: means over repetitions, and their spread."""
    for features, signal, anywhere, rounds, repetitions in cases:
        found: dict[str, list[Any]] = {engine: [] for engine in pythons}
        for seed in range(repetitions):
            x, y, tested, truth = problem(events, features, signal, seed, anywhere)
            with TemporaryDirectory() as name:
                folder = Path(name)
                given = split(x, y, seeds.generator(seed, "held"))
                np.savez(folder / "problem.npz", test=tested, **given)
                for engine, python in pythons.items():
                    settings = dict(SETTINGS)
                    if rounds:
                        settings |= {"rounds": rounds, "patience": 1000}
                    (folder / "settings.json").write_text(json.dumps(settings))
                    cost = trained(engine, python, folder)
                    with np.load(folder / f"{engine}.npz") as file:
                        size, apart, micro = exported(file, tested)
                        nodes = int(file["sizes"].sum())
                        sic = max_sic(file["scores"], truth).value
                    assert apart < 1e-5, f"{engine}: the graph is {apart} apart"
                    values = [sic, cost["trees"], cost["cpu"], cost["memory"], nodes, size, micro]
                    found[engine].append(values)
        events_shown = f"{anywhere / 1e3:.0f}k anywhere" if anywhere else "region"
        stop = f"{rounds} rounds" if rounds else "stopped early"
        peers = [values for engine, values in found.items() if engine != "ours"]
        least = min((np.mean([v[2] for v in values]) for values in peers), default=np.nan)
        for engine, values in found.items():
            sics = [v[0] for v in values]
            # Events of any mass that train are among those to test on.
            sic = "" if anywhere else f"{np.mean(sics):.2f} +- {np.std(sics, ddof=1):.2f}"
            mean = np.mean([v[1:] for v in values], axis=0)
            yield [
                f"{events_shown}, {signal:g} sigma, {stop}",
                str(features),
                engine,
                sic,
                f"{mean[0]:.0f}",
                f"{mean[1]:.2f}",
                f"{mean[1] / least:.2f}",
                f"{mean[2]:.0f}",
                f"{mean[3]:.0f}",
                f"{mean[4] / 1024:.1f}",
                f"{mean[5]:.1f}",
            ]


def bagging(events: Events, signal: float, repetitions: int) -> Iterator[list[str]]:
    """Yield a row a share of the features: ten members averaged, and each alone."""
    shares = (1.0, 1 / 3)
    found: dict[float, list[list[float]]] = {share: [] for share in shares}
    for seed in range(repetitions):
        x, y, tested, truth = problem(events, 56, signal, seed)
        for share in shares:
            began, scores = time.process_time(), []
            for member in range(10):
                random = seeds.generator(seed, "member", member)
                p = split(x, y, random)
                some = np.sort(random.choice(56, round(share * 56), replace=False))
                ones = np.ones(len(p["y"])), np.ones(len(p["y_held"]))
                shown = p["x"][:, some], p["held"][:, some]
                trees = boosted_trees(shown, (p["y"], p["y_held"]), ones, **SETTINGS)
                scores.append(trees(tested[:, some]))
            cpu = time.process_time() - began
            alone = float(np.mean([max_sic(s, truth).value for s in scores]))
            found[share].append([max_sic(np.mean(scores, axis=0), truth).value, alone, cpu])
    first = np.array(found[1.0])
    for share, values in found.items():
        each = np.array(values)
        gain = each[:, 0] - first[:, 0]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        yield [
            f"{signal:g}",
            f"{share:.2f}",
            f"{each[:, 0].mean():.2f} +- {each[:, 0].std(ddof=1):.2f}",
            f"{gain.mean():+.2f} +- {error:.2f}",
            f"{each[:, 1].mean():.2f}",
            f"{each[:, 2].mean():.1f}",
        ]


def table(head: str, body: Iterator[list[str]]) -> None:
    """Print rows as Markdown, each as soon as it is there."""
    print(head, "|" + " --- |" * (head.count("|") - 1), sep="\n")
    for row in body:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--background", type=Path, nargs="+", required=True, help="skims")
    parser.add_argument("--signal", type=Path, required=True, help="a skim")
    parser.add_argument("--python", help="that of the environment with the peers")
    parser.add_argument("--sigma", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--features", type=int, nargs="+", default=list(SETS))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", choices=("sic", "speed", "bagging"))
    given = parser.parse_args()
    events = Events(given.background, given.signal)
    pythons = {e: sys.executable if e == "ours" else given.python for e in ENGINES}
    pythons = {engine: python for engine, python in pythons.items() if python}
    print(Machine.here().summary(), "", sep="\n")
    n = given.repetitions
    sic = [(f, s, 0, 0, n) for f in given.features for s in given.sigma]
    speed = [(56, 2.0, 400_000, rounds, 1) for rounds in (0, 40, 100)]
    head = "| problem | features | engine | max SIC | trees | CPU s | / best peer | MiB | nodes |"
    head += " ONNX KiB | us/event |"
    if given.only != "bagging":
        cases = {"sic": sic, "speed": speed}.get(given.only, [*speed, *sic])
        table(head, rows(events, pythons, cases))
    if given.only in (None, "bagging"):
        head = "| sigma | share of features | max SIC | gain | a member alone | CPU s |"
        print()
        table(head, (row for s in given.sigma for row in bagging(events, s, n)))


if __name__ == "__main__":
    main()
