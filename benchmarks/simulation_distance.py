"""How far a simulation is from the data in the signal region: the AUC of boosted trees.

    python benchmarks/simulation_distance.py --data bg/generate/events.h5 \
        --simulation sim/generate/events.h5

Trees learn to tell background of the data from simulated background by the light jet's mass,
the mass difference and both tau21, in folds of event ids; the AUC is of the fold left out, in
the signal region. They are trained in a wider range of m_jj, in which the simulation is given
the data's spectrum of m_jj, because a signal region of a few thousand events teaches them
little; what they reach with the signal region's events alone is printed beside it.

PRD 104 (2021) 035003 has Herwig++ for simulation, and an AUC of 0.588 (authors' notebook).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea.config import SkimSettings
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.sources import source_of
from tnt_coffea.processors.skim import reconstructed
from tnt_coffea.training.trees import boosted_trees

Floats = npt.NDArray[np.float64]

SETTINGS = SkimSettings(images=None, observables=("mass", "tau21"))
FEATURES = ("light mass", "mass difference", "heavy tau21", "light tau21")
CHUNK = 1000


class Events:
    """What the trees see of the background events of some files, in a range of m_jj."""

    def __init__(self, paths: Sequence[Path], low: float, high: float) -> None:
        parts = []
        for path in paths:
            source = source_of(path)
            entries = source.entries(path)
            for start in range(0, entries, CHUNK):
                stop = min(start + CHUNK, entries)
                where = {"dataset": "data", "filename": str(path), "entrystart": start}
                sample, _ = reconstructed(source.load(path, start, stop, where), SETTINGS)
                chosen = (sample.label != 1) & (sample.m_jj > low) & (sample.m_jj < high)
                parts.append(sample.select(np.flatnonzero(chosen)))
        heavy, light = (
            np.concatenate([part.columns[f"{jet}_mass"] for part in parts])
            for jet in ("heavy", "light")
        )
        taus = [
            np.concatenate([part.columns[f"{jet}_tau21"] for part in parts])
            for jet in ("heavy", "light")
        ]
        self.m_jj: Floats = np.concatenate([part.m_jj for part in parts])
        self.event_id = np.concatenate([part.event_id for part in parts])
        self.features = np.stack([light, heavy - light, *taus], axis=1).astype(np.float32)


def weights_to(data: Floats, simulation: Floats, bins: int = 24) -> Floats:
    """Return weights of simulated events that give them the data's spectrum of m_jj."""
    edges = np.quantile(data, np.linspace(0, 1, bins + 1))
    edges[[0, -1]] = -np.inf, np.inf
    wanted, there = (np.histogram(each, edges)[0] for each in (data, simulation))
    ratio = wanted / np.maximum(there, 1)
    return np.asarray(ratio[np.searchsorted(edges, simulation, side="right") - 1], float)


def held_out_auc(
    data: Events,
    simulation: Events,
    region: tuple[float, float],
    *,
    train_in: tuple[float, float],
    folds: int,
    seed: int,
) -> tuple[float, float, int]:
    """Return the mean AUC of the folds left out in a region, its error, and training events.

    The error is that of the events tested (DeLong), of folds as if they were independent.
    """
    x = np.concatenate([data.features, simulation.features])
    y = np.r_[np.ones(len(data.m_jj)), np.zeros(len(simulation.m_jj))].astype(np.float32)
    m_jj = np.concatenate([data.m_jj, simulation.m_jj])
    ids = np.concatenate([data.event_id, simulation.event_id])
    weight = np.r_[np.ones(len(data.m_jj)), weights_to(data.m_jj, simulation.m_jj)]
    fold = (uniform(ids, seed, "fold") * folds).astype(int)
    kept = uniform(ids, seed, "validation") < 0.1
    usable = (m_jj > train_in[0]) & (m_jj < train_in[1])
    tested = (m_jj > region[0]) & (m_jj < region[1])
    values, variances, trained = [], [], 0
    for number in range(folds):
        training, validation = (
            usable & (fold != number) & (kept == chosen) for chosen in (False, True)
        )
        trees = boosted_trees(
            (x[training], x[validation]),
            (y[training], y[validation]),
            (weight[training], weight[validation]),
            rounds=200,
            leaves=8,
            shrinkage=0.1,
            patience=10,
        )
        left_out = tested & (fold == number)
        value, variance = auc(trees(x[left_out]), y[left_out] == 1)
        values.append(value)
        variances.append(variance)
        trained = int(training.sum())
    return float(np.mean(values)), float(np.sqrt(np.sum(variances)) / folds), trained


def auc(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the area under the ROC curve and its variance (E. R. DeLong, 1988)."""
    first, second = np.sort(scores[positive]), np.sort(scores[~positive])
    above = (placed(first, second) + placed(first, second, "right")) / 2
    below = (placed(second, first) + placed(second, first, "right")) / 2
    value = above.mean()
    return float(value), float(above.var() / len(first) + below.var() / len(second))


def placed(values: Floats, among: Floats, side: str = "left") -> Floats:
    """Return the share of the sorted `among` that lies below each value."""
    return np.asarray(np.searchsorted(among, values, side=side) / len(among), float)  # type: ignore[call-overload]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="event files")
    parser.add_argument("--simulation", type=Path, required=True, nargs="+", help="event files")
    parser.add_argument(
        "--region", type=float, nargs=2, default=(3300.0, 3700.0), help="m_jj tested [GeV]"
    )
    parser.add_argument(
        "--range", type=float, nargs=2, default=(2600.0, 5000.0), help="m_jj trained in [GeV]"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the folds")
    given = parser.parse_args()
    data, simulation = (Events(paths, *given.range) for paths in (given.data, given.simulation))
    region, wide = tuple(given.region), tuple(given.range)
    console = Console(width=100)
    table = Table(title="boosted trees, data against simulation: AUC of the folds left out")
    for name in ("trained in", "events", "tested in", "AUC"):
        table.add_column(name)
    for train_in, tested in ((wide, region), (region, region), (wide, wide)):
        value, error, trained = held_out_auc(
            data, simulation, tested, train_in=train_in, folds=given.folds, seed=given.seed
        )
        texts = (f"{low:g}-{high:g}" for low, high in (train_in, tested))
        table.add_row(next(texts), str(trained), next(texts), f"{value:.4f} +- {error:.4f}")
    console.print(table)
    inside = [(each.m_jj > region[0]) & (each.m_jj < region[1]) for each in (data, simulation)]
    table = Table(title="medians in the region tested, and numbers of events")
    for name in ("", *FEATURES, "in the region", "in the range"):
        table.add_column(name)
    for name, each, here in zip(("data", "simulation"), (data, simulation), inside, strict=True):
        medians = np.median(each.features[here], axis=0)
        counts = (str(int(here.sum())), str(len(here)))
        table.add_row(name, *(f"{median:.3g}" for median in medians), *counts)
    console.print(table)


if __name__ == "__main__":
    main()
