"""What the bins of a bump hunt cost: its test beside the unbinned one, on the same events.

    python benchmarks/unbinned_check.py --toys 100

Toys are events of a four-parameter dijet function above 2600 GeV with a signal of about three sigma
at 3500 GeV, 120 GeV wide. Every toy is fitted in bins of several widths, each with the
function that its own F-test asks for, and again without bins and with the same function.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import hist
import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds, stats
from tnt_coffea.stats.background import dijet_function
from tnt_coffea.stats.toys import TRUTH

LOW, HIGH, MASS, WIDTH = 2600.0, 7000.0, 3500.0, 120.0
SIGNALS = {300: 27, 2_000: 60, 100_000: 400}
BINS = (5, 20, 40, 110)
SEED = 20260


def toy(events: int, number: int) -> NDArray[np.float64]:
    random = seeds.generator(SEED, "unbinned", events, number)
    edges = np.arange(LOW, HIGH + 1, 1.0)
    below = np.append(0.0, np.cumsum(dijet_function(edges, 4).expected(np.array(TRUTH))))
    falling = np.interp(random.random(random.poisson(events)), below / below[-1], edges)
    return np.append(falling, random.normal(MASS, WIDTH, random.poisson(SIGNALS[events])))


def row(events: int, bin_width: int, toys: int) -> str:
    fit = stats.SpectrumFit((LOW, HIGH), bin_width=bin_width)
    checks = []
    for number in range(toys):
        masses = toy(events, number)
        spectrum = hist.Hist(hist.axis.Regular(880, LOW, HIGH)).fill(masses)
        result = stats.bump_hunt(spectrum, mass=MASS, width=WIDTH, fit=fit, toys=0)
        checks.append(stats.unbinned_check(masses, result))
    z = np.array([check.z_asymptotic for check in checks])
    less = np.array([check.z_difference for check in checks])
    true = SIGNALS[events]
    pulls = np.array([(check.mu_hat - true) / check.mu_uncertainty for check in checks])
    binned = np.array(
        [(check.binned_mu_hat - true) / check.binned_mu_uncertainty for check in checks]
    )
    cells = (
        f"{events:,}",
        f"{bin_width}",
        f"{z.mean():.3f}",
        f"{(z - less).mean():.3f}",
        f"{less.mean():+.4f} ± {less.std(ddof=1) / np.sqrt(toys):.4f}",
        f"{less.std(ddof=1):.3f}",
        f"{np.abs(less).max():.3f}",
        f"{pulls.mean():+.2f}, {pulls.std(ddof=1):.2f}",
        f"{binned.mean():+.2f}, {binned.std(ddof=1):.2f}",
    )
    return f"| {' | '.join(cells)} |"


def table(toys: int) -> Iterator[str]:
    yield (
        "| events | bins [GeV] | mean Z | binned | mean difference | spread | largest | pull | "
        "binned |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for events in SIGNALS:
        for bin_width in BINS:
            yield row(events, bin_width, toys)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=100)
    for line in table(parser.parse_args().toys):
        print(line, flush=True)
