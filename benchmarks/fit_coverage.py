"""How often a background fluctuates into a signal: false positives and pulls of the bump hunt.

    python benchmarks/fit_coverage.py OUT --toys 2000 --pool control-output/seed-*/search

Every toy runs the whole choice that a search makes: order of the function by F-test on
the bins outside the signal, fit without and with a signal. Each has a seed of its own, and
its Z and status are stored, whatever they are; fits that failed stay in the denominator
(they count as above the threshold, the worst they can be). Where a search would throw toys
to calibrate its p-value, so does every toy here: 199 of its own background-only fit, fewer
where ten have reached it, because p is above 5 % then. Truths: the fitted family itself, a
four-parameter function fitted with three, another family, and histograms of PYTHIA events
before and after a selection, from a pool of which a toy uses less than 5 %.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.products import Histograms
from tnt_coffea.stats import SpectrumFit, engine, inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.engine import Channel
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.model import chosen_orders, outside_signal
from tnt_coffea.stats.signals import SignalShape, gaussian
from tnt_coffea.stats.spectrum import rebinned
from tnt_coffea.stats.spurious import spurious_signal
from tnt_coffea.stats.validity import SPURIOUS_LIMIT, why_not_asymptotic
from tnt_coffea.working_points import selection_name

Array = NDArray[np.float64]

EDGES = np.arange(2600.0, 7001.0, 40.0)
FIT = SpectrumFit((EDGES[0], EDGES[-1]), bin_width=40.0)
MASS, WIDTH = 3500.0, 120.0
REGIMES = (50_000, 500, 50)
LEVEL, THRESHOLD = 0.05, 1.6448536
MOST_SIGMAS, PULL_MEAN, PULL_WIDTH = 3.0, 0.1, 0.05
INJECTED_SIGMAS = 3.0
POOL_SHARE = 0.05
SEED = 20260
# Toys of a toy: p <= 5 % if at most 9 of 199 reach it.
INNER_ROUNDS = (20, 40, 139)
INNER_REACHED = 10


@dataclass(frozen=True)
class Case:
    """One truth, at one number of events, fitted with some orders of the dijet function."""

    truth: str
    events: int
    orders: tuple[int, int]
    shape: Array

    @property
    def name(self) -> str:
        """The case as text."""
        return f"{self.truth} fitted with dijet {self.orders[0]}-{self.orders[1]}"


def smooth_truths() -> dict[str, Array]:
    everywhere = np.ones(EDGES.size - 1, dtype=bool)
    four = FAMILIES["dijet"].build(EDGES, 4, EDGES[1:], everywhere)
    dijet4 = four.expected(np.array([0.0, 5.0, 10.0, 0.1]))
    dijet4 = 1e6 * dijet4 / dijet4.sum()
    truths = {"dijet-4": dijet4}
    for name, family, order in (("dijet-3", "dijet", 3), ("exponential-4", "exponential", 4)):
        built = FAMILIES[family].build(EDGES, order, dijet4, everywhere)
        fitted, _ = engine.fitted_background(built, dijet4)
        truths[name] = fitted.expected(np.zeros(order))
    return {name: truth / truth.sum() for name, truth in truths.items()}


def pools(folders: Sequence[Path]) -> dict[str, Array]:
    """Return m_jj histograms of generated events, summed over searches, by selection."""
    summed: dict[str, Array] = {}

    def add(name: str, spectrum: Any) -> None:
        counts = rebinned(name, spectrum, FIT).counts
        summed[name] = summed.get(name, np.zeros(EDGES.size - 1)) + counts

    for folder in folders:
        found = Histograms.load(folder)
        add("PYTHIA", inclusive_spectrum(next(iter(found.hists.values()))))
        for name, histogram in found.hists.items():
            for point in found.points[name]:
                spectra = selected_spectrum(histogram, point, per_fold=False)
                add(f"PYTHIA after {name} {selection_name(point.selection)}", spectra["all"])
    return summed


def cases(pool: Mapping[str, Array]) -> Iterator[Case]:
    for name, shape in smooth_truths().items():
        for events in REGIMES:
            for orders in ((3, 4), (3, 3), (2, 4)):
                yield Case(name, events, orders, shape)
    for name, counts in pool.items():
        for events in REGIMES[1:]:
            if events < POOL_SHARE * counts.sum():
                yield Case(name, events, (3, 4), counts / counts.sum())


def toys_of(case: Case, toys: int) -> list[dict[str, Any]]:
    """Return seed, Z, order, status and the pull of an injected signal of every toy."""
    signal = gaussian(EDGES, MASS, WIDTH)
    numbers = [seeds.integer(SEED, case.name, case.events, toy) for toy in range(toys)]
    noise = [np.random.default_rng(number) for number in numbers]
    null = np.array([r.poisson(case.events * case.shape) for r in noise], dtype=float)
    strength = INJECTED_SIGMAS * _sigma(case, signal)
    injected = null + np.array([r.poisson(strength * signal) for r in noise], dtype=float)
    outside = outside_signal(EDGES, SignalShape(MASS, WIDTH))
    # Toys too empty for the smallest function are what a search refuses.
    usable = np.count_nonzero(null[:, outside], axis=1) >= case.orders[0]
    orders = np.zeros(toys, dtype=int)
    orders[usable] = chosen_orders(
        "toys",
        EDGES,
        null[usable],
        outside,
        replace(FIT, min_parameters=case.orders[0], max_parameters=case.orders[1]),
    )
    z, pull = np.full(toys, np.nan), np.full(toys, np.nan)
    good, good_pull = np.zeros(toys, dtype=bool), np.zeros(toys, dtype=bool)
    p_toys, inner = np.full(toys, np.nan), np.zeros(toys, dtype=int)
    for order in sorted(set(orders[usable])):
        rows = np.flatnonzero(orders == order)
        models = _models(case, signal, int(order))
        test = engine.discoveries(models, [null[rows]])
        z[rows], good[rows] = test.z, test.converged
        random = seeds.generator(SEED, case.name, case.events, "inner", int(order))
        p_toys[rows], inner[rows] = calibrated(models, test, random)
        start = engine.background_fits(models, [injected[rows]])
        best = engine.signal_fits(models, [injected[rows]], start, signed=True)
        error = engine.signal_uncertainties(models, [injected[rows]], best)
        pull[rows], good_pull[rows] = (best.mu - strength) / error, best.converged
    return [
        {
            "case": case.name,
            "events": case.events,
            "toy": toy,
            "seed": numbers[toy],
            "order": int(orders[toy]),
            "z": float(z[toy]),
            "p_toys": float(p_toys[toy]),
            "inner_toys": int(inner[toy]),
            "status": "ok" if good[toy] else "failed" if usable[toy] else "refused",
            "pull": float(pull[toy]),
            "pull_status": "ok" if good_pull[toy] else "failed",
        }
        for toy in range(toys)
    ]


def calibrated(
    models: Sequence[Channel], test: engine.Discoveries, random: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Return p of every toy from toys of its own fit, and their number: NaN and 0 without."""
    expected = models[0].background.expected(test.background.phi[0])
    signal = SignalShape(MASS, WIDTH)
    active = np.flatnonzero([bool(why_not_asymptotic(models, [b], signal)) for b in expected])
    p, thrown = np.full(len(expected), np.nan), np.zeros(len(expected), dtype=np.int64)
    reached = np.zeros(len(expected), dtype=np.int64)
    # Whatever is thrown reaches q0 = 0.
    p[active] = 1.0
    active = active[test.q0[active] > 0]
    for size in INNER_ROUNDS:
        counts = random.poisson(np.repeat(expected[active], size, axis=0)).astype(float)
        found = engine.discoveries(models, [counts]).q0.reshape(-1, size)
        reached[active] += np.sum(found >= test.q0[active, None] - 1e-6, axis=1)
        thrown[active] += size
        p[active] = (reached[active] + 1) / (thrown[active] + 1)
        active = active[reached[active] < INNER_REACHED]
    return p, thrown


def summary(case: Case, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    z = np.array([row["z"] for row in rows])
    status = np.array([row["status"] for row in rows])
    # A refused spectrum gives no p-value at all; a failed fit might have given any.
    failed, ok = np.sum(status == "failed"), status == "ok"
    above = np.sum(ok & (z > THRESHOLD)) + failed
    p_toys = np.array([row["p_toys"] for row in rows])
    by_toys = np.isfinite(p_toys)
    reported = np.where(by_toys, p_toys <= LEVEL, z > THRESHOLD)
    rate_reported = float((np.sum(ok & reported) + failed) / len(rows))
    fitted = np.array([row["pull_status"] == "ok" for row in rows])
    pulls = np.array([row["pull"] for row in rows])[fitted]
    rate = float(above / len(rows))
    signal = gaussian(EDGES, MASS, WIDTH)
    sigma = _sigma(case, signal)
    orders = [int(order) for order in sorted({row["order"] for row in rows}) if order]
    gate = {
        str(order): spurious_signal(
            _models(case, signal, order), [case.events * case.shape], case.truth, sigma
        ).relative
        for order in orders
    }
    share = {str(o): float(np.mean([row["order"] == o for row in rows])) for o in orders}
    worst = max((abs(gate[o]) for o in gate if share[o] > 0.05), default=0.0)
    return {
        "case": case.name,
        "events": case.events,
        "toys": len(rows),
        "rate": rate,
        "sigmas": _sigmas(rate, len(rows)),
        "rate_reported": rate_reported,
        "sigmas_reported": _sigmas(rate_reported, len(rows)),
        "by_toys": float(np.mean(by_toys)),
        "failed": int(failed),
        "refused": int(np.sum(status == "refused")),
        "pull_mean": float(pulls.mean()),
        "pull_width": float(pulls.std(ddof=1)),
        "pull_failed": int(np.sum(~fitted)),
        "orders": share,
        "spurious": {order: float(value) for order, value in gate.items()},
        "flagged": bool(worst > SPURIOUS_LIMIT),
    }


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the documentation; pulls are judged where the formulae hold."""
    columns = ("truth and fit", "events", "formula", "off", "toys", "off", "pull mean")
    columns += ("pull width", "failed", "flagged")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for found in results:
        toys = found["by_toys"] > 0.5
        rates = [f"{100 * found['rate']:.2f} %", _marked(found["sigmas"], not toys)]
        rates += [
            f"{100 * found['rate_reported']:.2f} %" if toys else "",
            _marked(found["sigmas_reported"], True) if toys else "",
        ]
        pulls = [
            f"{found['pull_mean']:+.2f}" + _mark(not toys and abs(found["pull_mean"]) > PULL_MEAN),
            f"{found['pull_width']:.2f}"
            + _mark(not toys and abs(found["pull_width"] - 1) > PULL_WIDTH),
        ]
        cells = [found["case"], str(found["events"]), *rates, *pulls, str(found["failed"])]
        lines.append(f"| {' | '.join([*cells, 'yes' if found['flagged'] else 'no'])} |")
    return "\n".join(lines) + "\n"


def _marked(sigmas: float, judged: bool) -> str:
    return f"{sigmas:+.1f}" + _mark(judged and abs(sigmas) > MOST_SIGMAS)


def _mark(off: bool) -> str:
    return " **!**" if off else ""


def _sigmas(rate: float, toys: int) -> float:
    return (rate - LEVEL) / float(np.sqrt(LEVEL * (1 - LEVEL) / toys))


def _models(case: Case, signal: Array, order: int) -> list[Channel]:
    expected = case.events * case.shape
    everywhere = np.ones(expected.size, dtype=bool)
    built = FAMILIES["dijet"].build(EDGES, order, expected, everywhere)
    background, _ = engine.fitted_background(built, expected)
    return [Channel("all", expected, signal, background)]


def _sigma(case: Case, signal: Array) -> float:
    models = _models(case, signal, case.orders[0])
    smooth = models[0].background.expected(np.zeros(case.orders[0]))
    models = [replace(models[0], observed=smooth)]
    null = engine.background_fits(models, [smooth[None]])
    return float(engine.signal_uncertainties(models, [smooth[None]], null)[0])


def main() -> None:
    """Run every case and print and store all toys."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--toys", type=int, default=2000)
    parser.add_argument("--pool", type=Path, nargs="*", default=[], help="folders of searches")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    with (arguments.out / "toys.csv").open("w", newline="") as stream:
        writer: csv.DictWriter[str] | None = None
        for case in cases(pools(arguments.pool)):
            rows = toys_of(case, arguments.toys)
            if writer is None:
                writer = csv.DictWriter(stream, list(rows[0]))
                writer.writeheader()
            writer.writerows(rows)
            found = summary(case, rows)
            results.append(found)
            print(json.dumps(found), flush=True)
    table = markdown(results)
    print(table)
    (arguments.out / "coverage.md").write_text(table)
    (arguments.out / "coverage.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
