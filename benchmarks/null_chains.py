r"""How often a p-value is as small as it says where there is nothing: before and after calibration.

    python benchmarks/null_chains.py kfold-2.json kfold-5.json kfold-10.json --plot p-values.svg

Tables of null chains, as `tnt-coffea null-chains` makes them, of searches that differ in the
number of outer folds. Printed is the share of chains with a p-value of at most 1 in 10, 100 and
1000: by the asymptotic formula, and calibrated. For the latter the chains are parted in two,
either half calibrated by the other, so that no chain is compared with itself. Errors are
68 % Clopper-Pearson intervals. `--json` keeps the numbers.

The tables of docs/statistics.md:

    for k in 2 5 10; do tnt-coffea null-chains POOL/skim --config kfold-$k.yaml \
        --chains 2000 --events 10000 --to kfold-$k.json; done

with `skim: {images: null, observables: [mass, tau21]}`, `train: {folds: {outer: K}, methods:
{cwola: {kind: cwola, classifier: {network: trees}}}}` and `fit: {limit: {enabled: false}}`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest, norm

from tnt_coffea.pipeline import NullChains
from tnt_coffea.stats.calibration import from_null_chains

LEVELS = (0.1, 0.01, 0.001)
Array = npt.NDArray[np.float64]


def asymptotic(q0: Array) -> Array:
    """Return p-values by the formula, shape (chains,)."""
    return np.asarray(norm.sf(np.sqrt(q0)))


def calibrated(q0: Array) -> Array:
    """Return p-values of every other chain among the rest, shape (chains,)."""
    halves = q0[::2], q0[1::2]
    found = np.empty_like(q0)
    for first, (tested, chains) in enumerate((halves, halves[::-1])):
        listed = chains.tolist()
        found[first::2] = [from_null_chains(float(q), listed).p_value for q in tested]
    return found


def rates(p_values: Array) -> dict[str, Any]:
    """Return how many p-values are at most each level, with the 68 % interval of their share."""
    found = {}
    for level in LEVELS:
        number = int((p_values <= level).sum())
        interval = binomtest(number, len(p_values)).proportion_ci(0.68)
        share = [number / len(p_values), float(interval.low), float(interval.high)]
        found[f"{level:g}"] = {"number": number, "share_68": share}
    return found


def width(q0: Array) -> float | None:
    """Return the width of Z in the upper tenth of the chains; None where they are too few."""
    return from_null_chains(float(q0.max()) + 1, q0.tolist()).width


def measured(tables: dict[str, NullChains]) -> dict[str, Any]:
    """Return rates before and after calibration by table and test."""
    return {
        name: {
            test: {
                "chains": len(q0),
                "width": width(np.array(q0)),
                "asymptotic": rates(asymptotic(np.array(q0))),
                "calibrated": rates(calibrated(np.array(q0))),
            }
            for test, q0 in table.q0.items()
        }
        for name, table in tables.items()
    }


def plot(tables: dict[str, NullChains], path: Path) -> None:
    """Draw the share of chains against the p-value that they are said to have."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    for axis, title, kind in zip(
        axes, ("asymptotic", "calibrated"), (asymptotic, calibrated), strict=True
    ):
        for name, table in tables.items():
            # Every selection of every method; what is not selected has no folds.
            values = [np.array(q0) for test, q0 in table.q0.items() if test != "before"]
            p = np.sort(np.concatenate([kind(q0) for q0 in values]))
            axis.step(p, np.arange(1, len(p) + 1) / len(p), where="post", label=name)
        axis.plot([1e-4, 0.5], [1e-4, 0.5], color="grey", linestyle=":", label="as said")
        axis.set(xscale="log", yscale="log", xlabel=f"p-value, {title}", xlim=(1e-4, 0.5))
    axes[0].set(ylabel="share of null chains", ylim=(1e-4, 1))
    axes[0].legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Print rates of all tables, and keep them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tables = {path.stem: NullChains.load(path) for path in arguments.tables}
    found = measured(tables)
    shown = Table("table", "test", "chains", "width", "p", "asymptotic", "calibrated")
    for name, tests in found.items():
        for test, own in tests.items():
            wide = "-" if own["width"] is None else f"{own['width']:.2f}"
            for level in map("{:g}".format, LEVELS):
                cells = [
                    "{:.4f} ({:.4f} to {:.4f})".format(*own[kind][level]["share_68"])
                    for kind in ("asymptotic", "calibrated")
                ]
                shown.add_row(name, test, str(own["chains"]), wide, level, *cells)
    Console(width=140).print(shown)
    if arguments.plot:
        plot(tables, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
