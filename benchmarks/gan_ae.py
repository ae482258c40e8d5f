"""GAN-AE: whether its score follows the mass, and what epsilon and alpha do about it.

    python benchmarks/gan_ae.py --background bg/skim/parts/data/*.parquet \
        --signal sig/skim/parts/data/*.parquet

Skims have tau1, tau2, tau3 and tau32 among their observables. Half of the background events trains,
the other half tests: Pearson's and the distance correlation of score and m_jj, the mean distance
over that from a constant, the mean output of the discriminator on reconstructions, and,
with a signal, its AUC in the window. Truth is in that column alone. The first row is the
distance from the mean, of an autoencoder that has learned nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea.config import MassRange
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.stats.correlations import distance_correlation
from tnt_coffea.training import FeatureSet, Job, backend
from tnt_coffea.training.density_ratio import auc, predicted
from tnt_coffea.training.methods.gan_ae import GanAe, UnitRange

Floats = npt.NDArray[np.floating]

WINDOW = MassRange(low=3300, high=3700)
EPSILONS, ALPHAS = (0.2, 6.0), (0.0, 0.3, 65.0)
"""arXiv:2101.08320 has 0.2 and 0.3, arXiv:2305.15179 has 6 and 65."""
TESTED = 2000
"""Events of a distance correlation, which takes the square of their number."""
COLUMNS = ("cycles", "best", "Pearson", "dist. corr.", "distance", "taken", "AUC")


@dataclass
class Events:
    """Halves of the background; a signal, or none."""

    trained: Sample
    tested: Sample
    signal: Sample | None

    @classmethod
    def of(cls, background: Sample, number: int, signal: Sample | None) -> Events:
        """Return those of so many events to train on, and as many others, by their ids."""
        order = np.argsort(background.event_id)[: 2 * number]
        return cls(*(background.select(np.sort(order[i::2])) for i in (0, 1)), signal)

    def distances(self, features: FeatureSet) -> list[Floats]:
        """Return the distances of tested events and signal from the mean of those trained on."""
        values = features.values(self.trained)
        ranges = UnitRange.of(features.names, values)
        mean = ranges.applied(values).mean(axis=0)
        samples = [self.tested] + ([self.signal] if self.signal else [])
        return [
            np.linalg.norm(ranges.applied(features.values(each)) - mean, axis=1) for each in samples
        ]

    def figures(self, score: Floats, of_signal: Floats | None) -> tuple[str, str, str]:
        """Return Pearson's and the distance correlation with m_jj, and the AUC in the window."""
        mass = self.tested.mass
        rows = slice(None, None, -(-len(mass) // TESTED))
        apart = distance_correlation(
            np.eye(len(mass[rows])), score[rows].astype(float), mass[rows].astype(float)
        )
        area = "-"
        if self.signal is not None and of_signal is not None:
            inside = WINDOW.contains(self.signal.mass)
            area = f"{auc(of_signal[inside], score[WINDOW.contains(mass)]):.3f}"
        return f"{np.corrcoef(score, mass)[0, 1]:.3f}", f"{apart:.3f}", area


def main() -> None:
    """Train with all weights and seeds, and print what comes of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--background", type=Path, nargs="+", required=True)
    parser.add_argument("--signal", type=Path, nargs="+")
    parser.add_argument("--events", type=int, default=8000, help="to train on")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--keep", choices=("best", "last"), default="best")
    parser.add_argument("--epsilon", type=float, nargs="+", default=EPSILONS)
    parser.add_argument("--alpha", type=float, nargs="+", default=ALPHAS)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    signal = read_parts(given.signal) if given.signal else None
    events = Events.of(read_parts(given.background), given.events, signal)
    features = FeatureSet.of(GanAe().features, "event", events.tested)
    console, table = Console(width=120), Table("epsilon", "alpha", "seed", *COLUMNS)
    constant = events.distances(features)
    pearson, apart, area = events.figures(constant[0], constant[-1])
    table.add_row("", "", "", "", "", pearson, apart, "1", "", area)
    changes = {name: getattr(given, name) for name in ("batch", "patience", "keep")}
    optimizer = GanAe().optimizer.model_copy(update=changes)
    for epsilon, alpha, seed in product(given.epsilon, given.alpha, range(1, given.seeds + 1)):
        method = GanAe(epsilon=epsilon, alpha=alpha, cycles=given.cycles, optimizer=optimizer)
        with backend.one_thread():
            scorer = method.train(Job(events.trained, "event", seed))
        score = predicted(scorer, events.tested)
        pearson, apart, area = events.figures(score, signal and predicted(scorer, signal))
        best = int(scorer.summary["best_epoch"])
        row = [f"{epsilon:g}", f"{alpha:g}", str(seed), f"{scorer.summary['epochs']:.0f}"]
        row += [str(best + 1), pearson, apart, f"{score.mean() / constant[0].mean():.2f}"]
        row += [f"{scorer.history['taken_for_events'][best]:.2f}", area]
        table.add_row(*row)
        console.print(*row)
    console.print(table)


if __name__ == "__main__":
    main()
