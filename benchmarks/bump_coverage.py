"""How often a background fluctuates into a signal, and how often intervals and limits cover one.

    python benchmarks/bump_coverage.py OUT --toys 1000
    python benchmarks/bump_coverage.py OUT --toys 1000 --most 4 --more 0

Every row is a truth, a number of events and a mass; truths are functions of five kinds, only two of
them of the fitted family. Each toy makes the whole choice that a fit makes: orders up to two more
than its own F-test asks for, the signal fitted as well, compete at every signal strength. With no
signal the formula's p-values are counted, with a signal of three uncertainties pulls, intervals and
CLs. A row that is done is kept, so that a run that was cut goes on. With `--most 4 --more 0` one
function of three or four parameters is fitted, by F-test alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr, ndtri

from tnt_coffea import seeds
from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Fits
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.signals import SignalShape, gaussian
from tnt_coffea.stats.validity import why_not_asymptotic

Array = NDArray[np.float64]

EDGES = np.arange(2600.0, 7001.0, 40.0)
SQRT_S, WIDTH = 13_000.0, 120.0
ORDERS, F_TEST = (3, 4, 5, 6), 0.05
EVENTS = (1_000, 10_000, 100_000, 1_000_000)
MASSES = (2960.0, 3500.0, 4500.0, 6000.0)
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


def expectation(truth: str, events: int) -> Array:
    """Return the expected events in every bin, shape (bins,)."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half = 0.5 * np.diff(EDGES)[:, None]
    mass = 0.5 * (EDGES[1:] + EDGES[:-1])[:, None] + half * nodes
    density = (TRUTHS[truth](mass) * weights * half).sum(axis=1)
    return np.asarray(events * density / density.sum())


@dataclass(frozen=True)
class Row:
    """One line of the table."""

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

    @property
    def off(self) -> tuple[str, ...]:
        """What misses its target, of what a search reports."""
        error = np.sqrt(0.05 * 0.95 / self.toys)
        found = {
            "p5": P5[0] - error < self.p5 < P5[1] + error,
            "p1": P1[0] - 0.5 * error < self.p1 < P1[1] + 0.5 * error,
            "pull_mean": abs(self.pull_mean) < PULL_MEAN,
            "pull_width": abs(self.pull_width - 1) < PULL_WIDTH + 0.7 / np.sqrt(self.toys),
            "covers_68": abs(self.covers_68 - ONE_SIGMA) < COVERS + 2 * error,
            "covers_95": abs(self.covers_95 - TWO_SIGMA) < COVERS,
            "cls": self.cls > LEAST_CLS,
        }
        return tuple(name for name, good in found.items() if not good and self.formula_holds)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Fits of every order to toys, each toy with the orders that compete in it."""

    channels: Sequence[Sequence[Channel]]
    counts: Array
    null: Sequence[Fits]
    best: Sequence[Fits]
    penalty: Array

    @classmethod
    def of(cls, channels: Sequence[Sequence[Channel]], counts: Array, more: int) -> Fitted:
        """Return the fits of toys, mu of either sign, with `more` orders than are asked for."""
        null = [engine.background_fits(one, [counts]) for one in channels]
        best = [
            engine.signal_fits(one, [counts], start, signed=True)
            for one, start in zip(channels, null, strict=True)
        ]
        asked = np.zeros(len(counts), dtype=int)
        growing = np.ones(len(counts), dtype=bool)
        for i in range(1, len(channels)):
            gain = np.maximum(0.0, 2 * (best[i - 1].nll - best[i].nll))
            growing &= chdtrc(1, gain) < F_TEST
            asked[growing] = i
        place, least = np.arange(len(channels))[:, None], 0 if more else asked
        competes = (place >= least) & (place <= asked + more)
        penalty = np.where(competes, 0.5 * np.array(ORDERS[: len(channels)])[:, None], np.inf)
        return cls(channels, counts, null, best, penalty)

    def nll(self, fits: Sequence[Fits]) -> Array:
        """Return the penalised -ln L of every order, shape (orders, toys)."""
        return np.array([one.nll for one in fits]) + self.penalty

    def at(self, mu: float | Array) -> Array:
        """Return the penalised -ln L of the best order at fixed mu, shape (toys,)."""
        fits = []
        for one, start in zip(self.channels, self.best, strict=True):
            fits.append(engine.signal_fits(one, [self.counts], start, mu=float(mu)))
        return np.asarray(self.nll(fits).min(axis=0))

    @property
    def q0(self) -> Array:
        """Test statistic of mu = 0 against mu > 0, shape (toys,)."""
        null, best = self.nll(self.null), self.nll(self.best)
        mu = np.array([one.mu for one in self.best])
        return np.maximum(0.0, 2 * (null.min(axis=0) - np.where(mu > 0, best, null).min(axis=0)))

    def interval(self) -> tuple[Array, Array, Array]:
        """Return mu and the distances to the ends of its 68 % interval, of parabolas."""
        mu = np.array([one.mu for one in self.best])
        sigma = np.array(
            [
                engine.signal_uncertainties(one, [self.counts], fits)
                for one, fits in zip(self.channels, self.best, strict=True)
            ]
        )
        nll = self.nll(self.best)
        rows = np.arange(mu.shape[1])
        chosen = mu[nll.argmin(axis=0), rows]
        left = 1 - 2 * (nll - nll.min(axis=0))
        reach = np.sqrt(np.maximum(left, 0.0)) * sigma
        high = np.where(left >= 0, mu + reach, -np.inf).max(axis=0)
        low = np.where(left >= 0, mu - reach, np.inf).min(axis=0)
        return chosen, chosen - low, high - chosen

    def asimov(self) -> Array:
        """Return the expectation of each toy's best background-only fit, shape (toys, bins)."""
        each = np.array(
            [
                one[0].background.expected(fits.phi[0])
                for one, fits in zip(self.channels, self.null, strict=True)
            ]
        )
        best = self.nll(self.null).argmin(axis=0)
        return np.asarray(each[best, np.arange(each.shape[1])])


def row(truth: str, events: int, mass: float, toys: int, most: int, more: int) -> Row:
    """Return one line of the table."""
    expected, signal = expectation(truth, events), gaussian(EDGES, mass, WIDTH)
    everywhere = np.ones(expected.size, dtype=bool)
    channels = []
    for order in (order for order in ORDERS if order <= most):
        built = FAMILIES["dijet"].build(EDGES, order, expected, everywhere)
        background, _ = engine.fitted_background(built, expected)
        channels.append([Channel("all", expected, signal, background)])
    smooth = engine.background_fits(channels[1], [expected[None]])
    sigma = float(engine.signal_uncertainties(channels[1], [expected[None]], smooth)[0])
    reasons = why_not_asymptotic(channels[1], [expected], SignalShape(mass, WIDTH))
    random = seeds.generator(SEED, "coverage", truth, events, int(mass))
    plain = Fitted.of(channels, random.poisson(expected, (toys, expected.size)).astype(float), more)
    z = np.sqrt(plain.q0)
    strength = INJECTED * sigma
    mean = expected + strength * signal
    found = Fitted.of(channels, random.poisson(mean, (toys, mean.size)).astype(float), more)
    mu, below, above = found.interval()
    pull = (mu - strength) / np.where(mu > strength, below, above)
    at, least = found.at(strength), found.nll(found.best).min(axis=0)
    rise = 2 * (at - least)
    good = np.all([f.converged for f in (*plain.null, *found.null, *found.best)], axis=0)
    return Row(
        truth,
        events,
        mass,
        toys,
        not reasons,
        float(np.mean(z > -ndtri(0.05))),
        float(np.mean(z > -ndtri(0.01))),
        float(np.mean(pull)),
        float(np.std(pull, ddof=1)),
        float(np.mean(rise < 1)),
        float(np.mean(rise < 3.841)),
        float(np.mean(_cls(found, strength, mu, at, least, more) > 0.05)),
        int(np.sum(~good)),
    )


def _cls(found: Fitted, strength: float, mu: Array, at: Array, least: Array, more: int) -> Array:
    """Return CLs of the injected strength in every toy, by the formulae of arXiv:1007.1727."""
    null = found.nll(found.null).min(axis=0)
    q = np.where(mu > strength, 0.0, 2 * (at - np.where(mu > 0, least, null)))
    asimov = Fitted.of(found.channels, found.asimov(), more)
    top = asimov.nll(asimov.null).min(axis=0)
    root_a = np.sqrt(np.maximum(0.0, 2 * (asimov.at(strength) - top)))
    root = np.sqrt(np.maximum(0.0, q))
    statistic = np.where(
        root > root_a, (q - root_a**2) / np.maximum(2 * root_a, 1e-12), root - root_a
    )
    return np.asarray(ndtr(-(statistic + root_a)) / ndtr(-statistic))


def rows(out: Path, toys: int, most: int, more: int) -> Iterator[Row]:
    """Yield all lines; those in the folder are not made again."""
    for truth, events, mass in itertools.product(TRUTHS, EVENTS, MASSES):
        path = out / f"{truth.replace(' ', '-')}-{events}-{mass:.0f}-{toys}-{most}-{more}.json"
        if not path.exists():
            path.write_text(json.dumps(asdict(row(truth, events, mass, toys, most, more))) + "\n")
        yield Row(**json.loads(path.read_text()))


def markdown(table: Sequence[Row]) -> str:
    """Return the table of the documentation; what misses its target is marked."""
    columns = ("truth", "events", "mass", "p < 5 %", "p < 1 %", "pull", "width", "68 %", "95 %")
    lines = [f"| {' | '.join((*columns, 'CLs'))} |", "|---" * (len(columns) + 1) + "|"]
    for one in table:
        values = {
            "p5": f"{100 * one.p5:.1f} %",
            "p1": f"{100 * one.p1:.1f} %",
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
    parser.add_argument("--most", type=int, default=ORDERS[-1], help="most parameters")
    parser.add_argument("--more", type=int, default=2, help="more than the F-test asks for")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = []
    for one in rows(arguments.out, arguments.toys, arguments.most, arguments.more):
        print(json.dumps(asdict(one)), *one.off, flush=True)
        table.append(one)
    judged = [one for one in table if one.formula_holds]
    text = markdown(judged)
    print(text, f"{sum(bool(one.off) for one in judged)} of {len(judged)} rows miss a target")
    (arguments.out / "coverage.md").write_text(text)


if __name__ == "__main__":
    main()
