"""How often a background fluctuates into a signal, and how often intervals and limits cover one.

    python benchmarks/bump_coverage.py OUT --toys 1000
    python benchmarks/bump_coverage.py OUT --toys 1000 --choice f-test
    python benchmarks/bump_coverage.py OUT --toys 1000 --choice from-2 --events 50 500

Every row is a truth, a number of events and a mass; truths are functions of five kinds, only two of
them of the fitted family, and with `--pool` histograms of generated events. Each toy chooses the
functions that compete in it as a fit does. With no signal p-values are counted, with a signal of
three uncertainties pulls, intervals and CLs. p-values are the formula's, or where that does not
hold of toys: 199 of each toy's own background-only fit, fewer where ten have reached it, because p
is above 5 % then. A row that is done is kept, so that a run that was cut goes on. With
`--choice f-test` one function of three or four parameters is fitted, with `from-2` functions begin
with two.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri

from tnt_coffea import seeds
from tnt_coffea.products import Histograms
from tnt_coffea.stats import SpectrumFit, engine, inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.envelope import (
    Envelope,
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
from tnt_coffea.stats.spectrum import rebinned
from tnt_coffea.stats.validity import background_in_reach, why_not_asymptotic
from tnt_coffea.working_points import selection_name

Array = NDArray[np.float64]
Choice = Callable[..., list[str]]

EDGES = np.arange(2600.0, 7001.0, 40.0)
SQRT_S, WIDTH = 13_000.0, 120.0
ORDERS, F_TEST = (3, 4, 5, 6), 0.05
EVENTS = (50, 500, 1_000, 10_000, 100_000, 1_000_000)
MASSES = (2960.0, 3500.0, 4500.0, 6000.0)
# Spectra of fewer events have next to none at other masses.
LOW_BELOW, LOW_MASSES = 1_000, (3500.0,)
# A toy of generated events uses no more than this share of them.
POOL_SHARE = 0.05
# Toys of a toy: p <= 5 % if at most 9 of 199 reach it.
INNER_ROUNDS, INNER_REACHED = (20, 40, 139), 10
INJECTED = 3.0
SEED = 20260
# What a row is held to: rates, pulls, coverage of intervals and of CLs.
P5, P1 = (0.035, 0.065), (0.003, 0.017)
PULL_MEAN, PULL_WIDTH, COVERS, LEAST_CLS = 0.15, 0.05, 0.03, 0.93
ONE_SIGMA, TWO_SIGMA = 0.683, 0.954


def _log(m: Array) -> Array:
    return np.log(m / EDGES[0])


TRUTHS: Mapping[str, Callable[[Array], Array]] = {
    "dijet-3": lambda m: (1 - m / SQRT_S) ** 10 * (m / SQRT_S) ** -5,
    "dijet-4": lambda m: (1 - m / SQRT_S) ** 6 * (m / SQRT_S) ** -(6.5 + np.log(m / SQRT_S)),
    "UA2": lambda m: (m / SQRT_S) ** -4 * np.exp(-4 * m / SQRT_S - 8 * (m / SQRT_S) ** 2),
    "exp of a cubic": lambda m: np.exp(-7.2 * _log(m) - _log(m) ** 2 - 2.5 * _log(m) ** 3),
    "modified dijet": lambda m: (
        (1 - (m / SQRT_S) ** (1 / 3)) ** 9 * (m / SQRT_S) ** -(2 + 0.3 * np.log(m / SQRT_S))
    ),
}


def smooth_shape(truth: str) -> Array:
    """Return the integral of a truth in every bin, in any unit, shape (bins,)."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half = 0.5 * np.diff(EDGES)[:, None]
    mass = 0.5 * (EDGES[1:] + EDGES[:-1])[:, None] + half * nodes
    return np.asarray((TRUTHS[truth](mass) * weights * half).sum(axis=1))


def expectation(truth: str, events: int) -> Array:
    """Return the expected events in every bin, shape (bins,)."""
    shape = smooth_shape(truth)
    return events * shape / shape.sum()


def pools(folders: Sequence[Path]) -> dict[str, Array]:
    """Return m_jj histograms of generated events, summed over searches, by selection."""
    summed: dict[str, Array] = {}
    fit = SpectrumFit((EDGES[0], EDGES[-1]), bin_width=40.0)

    def add(name: str, spectrum: Any) -> None:
        summed[name] = summed.get(name, 0.0) + rebinned(name, spectrum, fit).counts

    for folder in folders:
        found = Histograms.load(folder)
        add("PYTHIA", inclusive_spectrum(next(iter(found.hists.values()))))
        for name, histogram in found.hists.items():
            for point in found.points[name]:
                spectra = selected_spectrum(histogram, point, per_fold=False)
                add(f"PYTHIA after {name} {selection_name(point.selection)}", spectra["all"])
    return summed


@dataclass(frozen=True)
class Row:
    """One line of the table; with p-values from toys where the formula does not hold."""

    truth: str
    events: int
    mass: float
    toys: int
    formula_holds: bool
    p5: float
    p1: float
    pull_mean: float
    pull_width: float
    covers_68: float
    covers_95: float
    cls: float
    failed: int
    p5_toys: float | None = None
    p1_toys: float | None = None

    @property
    def judged(self) -> bool:
        """Whether the row has p-values that a search reports."""
        return self.formula_holds or self.p5_toys is not None

    @property
    def reported(self) -> tuple[float, float]:
        """Rates of p < 5 % and p < 1 % as a search has them."""
        if self.p5_toys is None or self.p1_toys is None:
            return self.p5, self.p1
        return self.p5_toys, self.p1_toys

    @property
    def off(self) -> tuple[str, ...]:
        """What misses its target, of what a search reports."""
        error = np.sqrt(0.05 * 0.95 / self.toys)
        p5, p1 = self.reported
        found = {
            "p5": P5[0] - error < p5 < P5[1] + error,
            "p1": P1[0] - 0.5 * error < p1 < P1[1] + 0.5 * error,
            "pull_mean": abs(self.pull_mean) < PULL_MEAN,
            "pull_width": abs(self.pull_width - 1) < PULL_WIDTH + 0.7 / np.sqrt(self.toys),
            "covers_68": abs(self.covers_68 - ONE_SIGMA) < COVERS + 2 * error,
            "covers_95": abs(self.covers_95 - TWO_SIGMA) < COVERS,
            "cls": self.cls > LEAST_CLS,
        }
        if not self.formula_holds:
            found = {name: found[name] for name in ("p5", "p1") if self.judged}
        return tuple(name for name, good in found.items() if not good)


@dataclass(frozen=True, eq=False)
class Group:
    """Toys in which the same functions compete, their counts and their fits."""

    functions: Functions
    counts: list[Array]
    test: Envelope
    signed: Profile

    def at(self, mu: float) -> Profile:
        """Return the fits at one strength."""
        return profiled(self.functions, self.counts, self.signed, mu=mu)

    def interval(self) -> tuple[Array, Array]:
        """Return the distances from mu to the ends of its 68 % interval, of parabolas."""
        mu = np.array([fits.mu for fits in self.signed.fits.values()])
        sigma = np.array(
            [
                engine.signal_uncertainties(channels, self.counts, self.signed.fits[name])
                for name, channels in self.functions.items()
            ]
        )
        left = 1 - 2 * (self.signed.each - self.signed.nll)
        reach = np.sqrt(np.maximum(left, 0.0)) * sigma
        high = np.where(left >= 0, mu + reach, -np.inf).max(axis=0)
        low = np.where(left >= 0, mu - reach, np.inf).min(axis=0)
        return self.signed.mu - low, high - self.signed.mu

    def asimov(self) -> Array:
        """Return the expectation of each toy's best background-only fit, shape (toys, bins)."""
        null = self.test.background
        each = np.array(
            [
                channels[0].background.expected(null.fits[name].phi[0])
                for name, channels in self.functions.items()
            ]
        )
        return np.asarray(each[null.best, np.arange(each.shape[1])])

    def p_values(self, random: np.random.Generator) -> Array:
        """Return p of every toy from toys of its own fit, which keep its functions."""
        expected, q0 = self.asimov(), self.test.q0
        # Whatever is thrown reaches q0 = 0.
        p, active = np.ones(len(q0)), np.flatnonzero(q0 > 0)
        reached, thrown = np.zeros(len(q0), dtype=int), 0
        for size in INNER_ROUNDS:
            if not active.size:
                break
            counts = random.poisson(np.repeat(expected[active], size, axis=0)).astype(float)
            found = enveloped(self.functions, [counts]).q0.reshape(-1, size)
            reached[active] += np.sum(found >= q0[active, None] - 1e-6, axis=1)
            thrown += size
            p[active] = (reached[active] + 1) / (thrown + 1)
            active = active[reached[active] < INNER_REACHED]
        return p


def groups(functions: Functions, counts: Array, choose: Choice) -> Iterator[Group]:
    """Yield the toys by the functions that compete in them."""
    asked = asked_orders(enveloped(functions, [counts]).best, F_TEST)
    orders = np.stack(list(asked.values()), axis=1)
    for values in np.unique(orders, axis=0):
        kept = choose(functions, dict(zip(asked, values.tolist(), strict=True)))
        own = {name: functions[name] for name in kept}
        toys = [counts[(orders == values).all(axis=1)]]
        test = enveloped(own, toys)
        yield Group(own, toys, test, profiled(own, toys, test.best, signed=True))


def row(
    truth: str,
    spectrum: Array,
    events: int,
    mass: float,
    toys: int,
    orders: Sequence[int],
    choose: Choice,
) -> Row:
    """Return one line of the table, of a spectrum as the truth is."""
    expected, shape = events * spectrum / spectrum.sum(), SignalShape(mass, WIDTH)
    signal = shape.integrals(EDGES)
    everywhere = np.ones(expected.size, dtype=bool)
    functions: dict[str, tuple[Channel, ...]] = {}
    for order in orders:
        built = FAMILIES["dijet"].build(EDGES, order, expected, everywhere)
        background, _ = engine.fitted_background(built, expected)
        functions[f"dijet {order}"] = (Channel("all", expected, signal, background),)
    smooth = functions["dijet 4"]
    null = engine.background_fits(smooth, [expected[None]])
    sigma = float(engine.signal_uncertainties(smooth, [expected[None]], null)[0])
    near = background_in_reach(smooth, [expected])
    formula_holds = not why_not_asymptotic(smooth, [expected], shape)
    chosen = partial(choose, near=near, events=float(events))
    random = seeds.generator(SEED, "coverage", truth, events, int(mass))
    inner = seeds.generator(SEED, "coverage", "inner", truth, events, int(mass))
    z, by_toys, pulls, rises, cls, failed = [], [], [], [], [], 0
    counts = random.poisson(expected, (toys, expected.size)).astype(float)
    for group in groups(functions, counts, chosen):
        z.append(group.test.z)
        by_toys.append(np.ones(0) if formula_holds else group.p_values(inner))
        failed += int(np.sum(~group.test.converged))
    strength = INJECTED * sigma
    counts = random.poisson(expected + strength * signal, (toys, expected.size)).astype(float)
    for group in groups(functions, counts, chosen):
        below, above = group.interval()
        mu, at = group.signed.mu, group.at(strength)
        pulls.append((mu - strength) / np.where(mu > strength, below, above))
        rises.append(2 * (at.nll - group.signed.nll))
        cls.append(_cls(group, strength, at))
        failed += int(np.sum(~(group.signed.converged & at.converged)))
    found, p, pull, rise = (np.concatenate(part) for part in (z, by_toys, pulls, rises))
    return Row(
        truth,
        events,
        mass,
        toys,
        formula_holds,
        float(np.mean(found > -ndtri(0.05))),
        float(np.mean(found > -ndtri(0.01))),
        float(np.mean(pull)),
        float(np.std(pull, ddof=1)),
        float(np.mean(rise < 1)),
        float(np.mean(rise < 3.841)),
        float(np.mean(np.concatenate(cls) > 0.05)),
        failed,
        None if formula_holds else float(np.mean(p <= 0.05)),
        None if formula_holds else float(np.mean(p <= 0.01)),
    )


def _cls(group: Group, strength: float, at: Profile) -> Array:
    """Return CLs of the injected strength in every toy, by the formulae of arXiv:1007.1727."""
    mu = group.test.best.mu
    q = np.where(mu > strength, 0.0, np.maximum(0.0, 2 * (at.nll - group.test.best.nll)))
    asimov = [group.asimov()]
    test = enveloped(group.functions, asimov)
    top = profiled(group.functions, asimov, test.best, mu=strength).nll - test.background.nll
    root, root_a = np.sqrt(q), np.sqrt(np.maximum(0.0, 2 * top))
    beyond = (q - root_a**2) / np.maximum(2 * root_a, 1e-12)
    statistic = np.where(root > root_a, beyond, root - root_a)
    return np.asarray(np.exp(log_ndtr(-(statistic + root_a)) - log_ndtr(-statistic)))


def fit_choice(
    functions: Functions, asked: Mapping[str, int], *, events: float, near: float
) -> list[str]:
    """Return the functions that compete in a fit."""
    return competing(functions, asked, events, near)


def f_test_choice(
    functions: Functions, asked: Mapping[str, int], *, events: float, near: float
) -> list[str]:
    """Return the one function of three or four parameters that the F-test takes."""
    return [f"dijet {min(4, asked['dijet'])}"]


CHOICES: Mapping[str, tuple[Sequence[int], Choice]] = {
    "fit": (ORDERS, fit_choice),
    "f-test": (ORDERS, f_test_choice),
    "from-2": ((2, *ORDERS), fit_choice),
}


def rows(
    out: Path, toys: int, choice: str, events: Sequence[int], pool: Mapping[str, Array]
) -> Iterator[Row]:
    """Yield all lines; those in the folder are not made again."""
    shapes = {truth: smooth_shape(truth) for truth in TRUTHS} | dict(pool)
    for (truth, shape), number in itertools.product(shapes.items(), events):
        if truth in pool and number > POOL_SHARE * shape.sum():
            continue
        for mass in MASSES if number >= LOW_BELOW else LOW_MASSES:
            path = out / f"{truth.replace(' ', '-')}-{number}-{mass:.0f}-{toys}-{choice}.json"
            if not path.exists():
                made = row(truth, shape, number, mass, toys, *CHOICES[choice])
                path.write_text(json.dumps(asdict(made)) + "\n")
            yield Row(**json.loads(path.read_text()))


def markdown(table: Sequence[Row]) -> str:
    """Return the table of the documentation; what misses its target is marked.

    Where p-values are from toys, the formula's rate stands beside theirs.
    """
    columns = ("truth", "events", "mass", "p < 5 %", "p < 1 %", "pull", "width", "68 %", "95 %")
    lines = [f"| {' | '.join((*columns, 'CLs'))} |", "|---" * (len(columns) + 1) + "|"]
    for one in table:
        p5, p1 = (f"{100 * rate:.1f} %" for rate in one.reported)
        toys = "" if one.p5_toys is None else f" (formula {100 * one.p5:.1f} %)"
        values = {
            "p5": p5 + toys,
            "p1": p1,
            "pull_mean": f"{one.pull_mean:+.2f}",
            "pull_width": f"{one.pull_width:.2f}",
            "covers_68": f"{100 * one.covers_68:.1f} %",
            "covers_95": f"{100 * one.covers_95:.1f} %",
            "cls": f"{100 * one.cls:.1f} %",
        }
        marked = [f"{text} **!**" if name in one.off else text for name, text in values.items()]
        lines.append(f"| {one.truth} | {one.events} | {one.mass:.0f} | {' | '.join(marked)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make what is missing of the table, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--choice", choices=CHOICES, default="fit", help="of functions")
    parser.add_argument("--events", type=int, nargs="+", default=EVENTS, help="of the spectra")
    parser.add_argument("--pool", type=Path, nargs="+", default=[], help="folders of searches")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = []
    pool = pools(arguments.pool)
    for one in rows(arguments.out, arguments.toys, arguments.choice, arguments.events, pool):
        print(json.dumps(asdict(one)), *one.off, flush=True)
        table.append(one)
    judged = [one for one in table if one.judged]
    text = markdown(judged)
    print(text, f"{sum(bool(one.off) for one in judged)} of {len(judged)} rows miss a target")
    (arguments.out / "coverage.md").write_text(text)


if __name__ == "__main__":
    main()
