"""How often the gate finds a spurious signal where there is none, and where there is one.

    python benchmarks/spurious_gate.py OUT --toys 200

Alarms are counted on truths that the fit holds: with the functions that compete in a fit, with a
signal of five uncertainties as well, and with the truth's own function alone. Detections are
counted where one function alone is fitted and its bias is above half an uncertainty; there the
rates of p < 5 % and the coverage of CLs, without and with the nuisance parameter, are counted, too.
"At most" is the power of the best possible test at 5 %, that of the truth against the best fit
(Neyman and Pearson): where it is small, the data do not tell. A row that is done is kept, so that a
run that was cut goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from bump_coverage import EDGES, F_TEST, INJECTED, WIDTH, Array, expectation
from scipy.special import ndtr, ndtri

from tnt_coffea import seeds
from tnt_coffea.stats import engine
from tnt_coffea.stats.cls import AsymptoticCls
from tnt_coffea.stats.envelope import (
    Functions,
    Profile,
    asked_orders,
    competing,
    enveloped,
    profiled,
)
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spurious import spurious_fits, with_spurious
from tnt_coffea.stats.validity import background_in_reach

EVENTS = (1_000, 10_000, 100_000, 1_000_000)
MASSES = (2960.0, 3500.0, 4500.0)
STRONG = 5.0
LEAST_BIAS = 0.5
MOST_ALARMS, LEAST_CAUGHT, MOST_P5, LEAST_CLS = 0.05, 0.9, 0.05, 0.93
FIT_ORDERS = (3, 6)


@dataclass(frozen=True)
class Case:
    """A truth, and the orders of the function that is fitted to it.

    Attributes
    ----------
    truth, events, mass
        As in `bump_coverage`.
    orders
        Fewest and most parameters of the dijet function.
    signal
        Signal in the data, in uncertainties.
    """

    truth: str
    events: int
    mass: float
    orders: tuple[int, int]
    signal: float = 0.0

    @property
    def name(self) -> str:
        """Name of its file."""
        low, high = self.orders
        truth = self.truth.replace(" ", "-")
        return f"{truth}-{self.events}-{self.mass:.0f}-{low}-{high}-{self.signal:g}"


@dataclass(frozen=True)
class Row:
    """One line of a table; what was not asked for is None."""

    truth: str
    events: int
    mass: float
    orders: tuple[int, int]
    signal: float
    toys: int
    bias: float
    at_most: float
    flagged: float
    p5: tuple[float, float] | None = None
    cls: tuple[float, float] | None = None


def alarm_cases() -> Iterator[Case]:
    """Yield the truths that the fit holds."""
    for (truth, order), events, mass in itertools.product(
        (("dijet-3", 3), ("dijet-4", 4)), EVENTS, MASSES
    ):
        yield Case(truth, events, mass, FIT_ORDERS)
        yield Case(truth, events, mass, (order, order))
        yield Case(truth, events, mass, FIT_ORDERS, STRONG)


def biased_cases() -> Iterator[Case]:
    """Yield fits of one function to truths that it may not describe."""
    for truth, events, mass, order in itertools.product(
        ("dijet-4", "UA2", "exp of a cubic", "modified dijet"), EVENTS[2:], MASSES, (2, 3)
    ):
        yield Case(truth, events, mass, (order, order))


class Study:
    """The functions of a case, built around its truth."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.expected = expectation(case.truth, case.events)
        self.signal = SignalShape(case.mass, WIDTH).integrals(EDGES)
        low, high = case.orders
        self.own = {f"dijet {n}": self.channels("dijet", n) for n in range(low, high + 1)}
        self.others = {
            f"{family.name} {n}": self.channels(family.name, n)
            for family in FAMILIES.values()
            for n in family.orders
            if n >= min(low, FIT_ORDERS[0]) and not family.reproduction_only
        }
        asimov = [self.expected[None]]
        smooth = self.channels("dijet", 4) if high > low else self.own[f"dijet {low}"]
        null = engine.background_fits(smooth, asimov)
        self.sigma = float(engine.signal_uncertainties(smooth, asimov, null)[0])
        self.near = background_in_reach(smooth, [self.expected])

    def channels(self, family: str, order: int) -> tuple[Channel, ...]:
        """Return the one channel of a function."""
        everywhere = np.ones(self.expected.size, dtype=bool)
        built = FAMILIES[family].build(EDGES, order, self.expected, everywhere)
        background, _ = engine.fitted_background(built, self.expected)
        return (Channel("all", self.expected, self.signal, background),)

    @property
    def bias(self) -> float:
        """Signal that the fit finds in the truth, in uncertainties."""
        return float(profiled(self.own, [self.expected[None]], signed=True).mu[0]) / self.sigma

    @property
    def at_most(self) -> float:
        """Power of the best test at 5 % of the best fit of a function and a signal, or none."""
        best = enveloped(self.own, [self.expected[None]]).best
        least = min(float(fits.nll[0]) for fits in best.fits.values())
        return float(ndtr(np.sqrt(max(0.0, 2 * least)) + ndtri(0.05)))

    def groups(self, counts: Array) -> Iterator[tuple[Functions, Array, Array]]:
        """Yield the functions that compete in some toys, these, and their spurious signals."""
        best, found = (enveloped(f, [counts]).best for f in (self.own, self.others))
        asked = [asked_orders(fits, F_TEST) for fits in (best, found)]
        orders = np.stack([n for each in asked for n in each.values()], axis=1)
        for values in np.unique(orders, axis=0):
            rows = np.flatnonzero((orders == values).all(axis=1))
            kept = self.kept(self.own, {k: int(v[rows[0]]) for k, v in asked[0].items()})
            rest = self.kept(self.others, {k: int(v[rows[0]]) for k, v in asked[1].items()})
            rest = [name for name in rest if name not in kept]
            functions = {name: self.own[name] for name in kept}
            fits = spurious_fits(
                functions,
                {name: self.others[name] for name in rest},
                [counts[rows]],
                _some(best, kept, rows),
                _some(found, rest, rows),
            )
            yield functions, counts[rows], fits.size

    def kept(self, functions: Functions, asked: dict[str, int]) -> list[str]:
        """Return what competes."""
        return competing(functions, asked, float(self.case.events), self.near)

    def toys(self, signal: float, toys: int, seed: int) -> Array:
        """Return counts of toys, shape (toys, bins)."""
        random = seeds.generator(seed, "gate", self.case.name, f"{signal:g}")
        mean = self.expected + signal * self.sigma * self.signal
        return random.poisson(mean, (toys, mean.size)).astype(float)

    def flagged(self, toys: int, seed: int) -> float:
        """Return the share of toys with a spurious signal."""
        counts = self.toys(self.case.signal, toys, seed)
        return float(np.mean(np.concatenate([size > 0 for *_, size in self.groups(counts)])))

    def p5(self, toys: int, seed: int) -> tuple[float, float]:
        """Return how often p < 5 %, without and with the nuisance parameter."""
        found: list[list[bool]] = []
        for functions, counts, sizes in self.groups(self.toys(0.0, toys, seed)):
            for n, size in zip(counts, sizes, strict=True):
                z = [
                    float(enveloped(with_spurious(functions, s), [n[None]]).z[0])
                    for s in dict.fromkeys((0.0, float(size)))
                ]
                found.append([z[0] > -ndtri(0.05), z[-1] > -ndtri(0.05)])
        return _rates(found)

    def cls(self, toys: int, seed: int) -> tuple[float, float]:
        """Return how often CLs of a signal of three uncertainties is above 5 %, likewise."""
        strength, found = INJECTED * self.sigma, []
        for functions, counts, sizes in self.groups(self.toys(INJECTED, toys, seed)):
            for n, size in zip(counts, sizes, strict=True):
                seen = {
                    name: tuple(replace(c, observed=n) for c in channels)
                    for name, channels in functions.items()
                }
                cls = [
                    AsymptoticCls(with_spurious(seen, s)).at(strength).observed
                    for s in dict.fromkeys((0.0, float(size)))
                ]
                found.append([cls[0] > 0.05, cls[-1] > 0.05])
        return _rates(found)


def _some(fits: Profile, names: Sequence[str], rows: Array) -> Profile:
    return fits.of(names).some(rows)


def _rates(found: Sequence[Sequence[bool]]) -> tuple[float, float]:
    without, with_it = np.mean(found, axis=0)
    return float(without), float(with_it)


def row(case: Case, toys: int, seed: int) -> Row:
    """Return one line."""
    study = Study(case)
    biased = case.orders[0] == case.orders[1] and abs(study.bias) > LEAST_BIAS
    return Row(
        **asdict(case),
        toys=toys,
        bias=study.bias,
        at_most=study.at_most,
        flagged=study.flagged(toys, seed),
        p5=study.p5(toys, seed) if biased else None,
        cls=study.cls(toys, seed) if biased else None,
    )


def rows(cases: Iterator[Case], out: Path, toys: int, seed: int) -> Iterator[Row]:
    """Yield all lines; those in the folder are not made again."""
    for case in cases:
        path = out / f"{case.name}-{toys}-{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(asdict(row(case, toys, seed))) + "\n")
        values = json.loads(path.read_text())
        print(values, flush=True)
        yield Row(**values)


def alarms(table: Sequence[Row]) -> str:
    """Return the table of false alarms: a line for a truth and a number of events."""
    lines = ["| truth | events | competing | with a signal | truth's own alone |", "|---" * 5 + "|"]
    for (truth, events), same in itertools.groupby(table, key=lambda r: (r.truth, r.events)):
        found = list(same)
        kinds = (
            [r for r in found if r.orders[0] != r.orders[1] and not r.signal],
            [r for r in found if r.signal],
            [r for r in found if r.orders[0] == r.orders[1]],
        )
        cells = [
            ", ".join(_marked(r.flagged, r.flagged < MOST_ALARMS) for r in kind) for kind in kinds
        ]
        lines.append(f"| {truth} | {events} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def detections(table: Sequence[Row]) -> str:
    """Return the table of biased fits; where the best test catches fewer than 90 % is told."""
    columns = ("truth", "events", "mass", "function", "bias", "caught", "at most")
    columns += ("p < 5 % without", "with", "CLs without", "with")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for r in table:
        if r.p5 is None or r.cls is None:
            continue
        cells = [
            _marked(r.flagged, r.flagged >= LEAST_CAUGHT),
            f"{100 * r.at_most:.0f} %",
            f"{100 * r.p5[0]:.1f} %",
            _marked(r.p5[1], r.p5[1] <= MOST_P5 + np.sqrt(MOST_P5 / r.toys)),
            f"{100 * r.cls[0]:.1f} %",
            _marked(r.cls[1], r.cls[1] >= LEAST_CLS),
        ]
        lines.append(
            f"| {r.truth} | {r.events} | {r.mass:.0f} | dijet {r.orders[0]} | {r.bias:+.2f} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def _marked(rate: float, good: bool) -> str:
    return f"{100 * rate:.1f} %{'' if good else ' **!**'}"


def main() -> None:
    """Make what is missing of the tables, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--toys", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--part", choices=("alarms", "detections"), nargs="*")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {"alarms": (alarm_cases, alarms), "detections": (biased_cases, detections)}
    for name in arguments.part or parts:
        cases, table = parts[name]
        made = list(rows(cases(), arguments.out, arguments.toys, arguments.seed))
        text = table(made)
        print(text)
        (arguments.out / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
