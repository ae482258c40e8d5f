"""What the order of a transfer factor costs, and what choosing it does to false positives.

    python benchmarks/transfer_orders.py --toys 300

Toys have a cubic ratio of pass to fail, two of them: one rises most where a signal is looked for
without being seen beside it. For each number of events that fail and each rule for the order it
prints the orders taken, how often toys without a signal pass tests at 5 and 1 %, and for toys
with one the median uncertainty of the signal, mean and width of its pull, and the same of the
published form, whose polynomial is taken as exact.
"""

from __future__ import annotations

import argparse
from typing import Any

import hist
import numpy as np
from rich.console import Console
from rich.table import Table

from tnt_coffea import stats
from tnt_coffea.stats.transfer_likelihood import bernstein

EDGES = np.arange(2600.0, 6001.0, 100.0)
X = (0.5 * (EDGES[1:] + EDGES[:-1]) - 2600) / 3400
FIT = stats.SpectrumFit((2600, 6000), bin_width=100)
WIDTH = 150.0
RATIOS = {"A": (4600.0, (0.05, 0.02, 0.07, 0.04)), "B": (3800.0, (0.03, 0.05, 0.025, 0.03))}
RULES: dict[str, dict[str, Any]] = {
    "order 0": {"order": 0},
    "from 0": {"min_order": 0},
    "from 3": {},
    "order 4": {"order": 4},
}


def spectrum(counts: Any) -> Any:
    made = hist.Hist(hist.axis.Variable(EDGES, name="m_jj"))
    made.view()[:] = counts
    return made


def results(
    name: str, events: int, signals: float, rule: dict[str, Any], toys: int, seed: int
) -> list[stats.TransferEstimate]:
    """Return the tests of toys; the same toys for every rule."""
    mass, coefficients = RATIOS[name]
    ratio = bernstein(X, 3) @ np.array(coefficients)
    falling = np.exp(-3 * X)
    rates = events * falling / falling.sum()
    random = np.random.default_rng(seed)
    found = []
    for _ in range(toys):
        mean = rates * ratio + signals * FIT.signal(mass, WIDTH).integrals(EDGES)
        passed, failed = random.poisson(mean), random.poisson(rates)
        one = stats.transfer_factor(
            spectrum(passed), spectrum(failed), mass=mass, width=WIDTH, fit=FIT, toys=0,
            least_goodness=0.0, level=None, **rule,
        )  # fmt: skip
        if isinstance(one, stats.TransferEstimate):
            found.append(one)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, nargs="+", default=[3000, 20_000, 100_000])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    given = parser.parse_args()
    columns = (
        "ratio", "fail", "order", "taken", "p < 5 %", "p < 1 %", "signal", "uncertainty",
        "pull", "two steps: uncertainty", "pull",
    )  # fmt: skip
    table = Table(*columns)
    for name in RATIOS:
        for events in given.events:
            # About four uncertainties.
            signals = 0.6 * np.sqrt(events)
            for rule in given.rules:
                how = (RULES[rule], given.toys)
                null = results(name, events, 0.0, *how, given.seed)
                some = results(name, events, signals, *how, given.seed + 1)
                p_values = np.array([one.p_value for one in null])
                taken = np.bincount([one.order for one in null], minlength=5)
                cells = []
                for parts in (some, [one.two_step for one in some]):
                    sigma = np.array([one.mu_uncertainty for one in parts])
                    pulls = (np.array([one.mu_hat for one in parts]) - signals) / sigma
                    cells += [
                        f"{np.median(sigma):.1f}",
                        f"{pulls.mean():+.2f} ± {len(pulls) ** -0.5:.2f}, width {pulls.std():.2f}",
                    ]
                table.add_row(
                    name, f"{events}", rule, " ".join(map(str, taken)),
                    f"{100 * np.mean(p_values < 0.05):.1f} %",
                    f"{100 * np.mean(p_values < 0.01):.1f} %", f"{signals:.0f}", *cells,
                )  # fmt: skip
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
