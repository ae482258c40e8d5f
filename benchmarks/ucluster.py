"""How stable UCluster's clusters are, and how their occupancies change with m_jj; without truth.

    python benchmarks/ucluster.py output/skim --events 8000

The skim needs `skim.constituents`. UCluster is trained with several seeds on the same events;
printed are the occupied clusters, the adjusted Rand index (L. Hubert and P. Arabie, J.
Classification 2 (1985) 193) of every two seeds, and the chi-square of a straight line in m_jj
through the share of every cluster.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import comb
from scipy.stats import chi2

from tnt_coffea.config import MassRange
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training import Job
from tnt_coffea.training.clusters import nearest
from tnt_coffea.training.export import keras_graph
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.training.methods.ucluster import Ucluster

BINS, FEWEST = 10, 200
"""Bins of equal numbers of events in m_jj, and events of a cluster that a line is fitted to."""


def adjusted_rand(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float:
    """Return 1 for the same partition of events, 0 on average for partitions by lot."""
    table = np.zeros((one.max() + 1, two.max() + 1))
    np.add.at(table, (one, two), 1)
    both, rows, columns = (comb(n, 2).sum() for n in (table, table.sum(1), table.sum(0)))
    by_lot = rows * columns / comb(len(one), 2)
    return float((both - by_lot) / ((rows + columns) / 2 - by_lot))


def line_chi2(cluster: npt.NDArray[Any], mass: npt.NDArray[Any]) -> list[float]:
    """Return the p-values of a straight line in m_jj through the share of every full cluster."""
    edges = np.quantile(mass, np.linspace(0, 1, BINS + 1)[1:-1])
    place = np.searchsorted(edges, mass)
    total = np.bincount(place, minlength=BINS)
    x = np.bincount(place, mass) / total
    found = []
    for k in np.flatnonzero(np.bincount(cluster) >= FEWEST):
        share = np.bincount(place[cluster == k], minlength=BINS) / total
        width = np.sqrt(share.mean() * (1 - share.mean()) / total)
        line = np.polynomial.Polynomial.fit(x, share, 1, w=1 / width)
        found.append(float(chi2.sf((((share - line(x)) / width) ** 2).sum(), BINS - 2)))
    return found


def clusters_of(method: Ucluster, sample: Sample, window: MassRange, seed: int) -> Any:
    """Return the cluster of every event, and the history of the training."""
    scorer = method.train(Job(sample, "event", seed, window=window))
    tagger = Tagger(keras_graph(scorer.model).SerializeToString(), "the graph")
    embedded = tagger.latent({each.name: each.read(sample) for each in scorer.inputs})
    return nearest(embedded, np.array(scorer.history["centroids"])), scorer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("skim", type=Path)
    parser.add_argument("--events", type=int, default=8000)
    parser.add_argument("--clusters", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    window = MassRange(low=3300, high=3700)
    method = Ucluster(clusters=args.clusters)
    with TemporaryDirectory() as folder:
        every = mapped_events(args.skim.rglob("*.parquet"), folder)
        sample = every.select(np.arange(min(args.events, len(every))))
        found = []
        for seed in range(1, args.seeds + 1):
            cluster, scorer = clusters_of(method, sample, window, seed)
            p = line_chi2(cluster, sample.mass)
            print(
                f"seed {seed}: {len(set(cluster))} clusters with events, Z after trials "
                f"{scorer.summary['significance']:.2f}, {sum(scorer.seconds):.0f} s; of "
                f"{len(p)} lines {sum(each < 0.05 for each in p)} have p < 0.05, "
                f"least p {min(p):.2g}"
            )
            found.append(cluster)
    for one, two in combinations(range(len(found)), 2):
        index = adjusted_rand(found[one], found[two])
        print(f"adjusted Rand index of seeds {one + 1} and {two + 1}: {index:.2f}")


if __name__ == "__main__":
    main()
