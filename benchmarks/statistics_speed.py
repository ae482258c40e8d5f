"""Speed of the statistics beside its peers, in one run.

    python benchmarks/statistics_speed.py --markdown statistics.md

Spectra of a four-parameter dijet truth in 110 bins; of some repetitions the one with the least time
of the processor counts, which other work on the machine moves least. pyhf does the same fits as the
numpy engine. pyBumpHunter looks at the same spectrum with as many pseudo-experiments, but takes its
background as exact, where every toy of our scan is fitted again, without and with a signal at every
mass. abcd-pyhf fits the same four counts (`pip install abcd_pyhf`). A peer that is not installed is
left out. `-P` keeps Python from taking coverage.py beside this file for the package of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hist
import numpy as np
from kernel_report import Machine
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.stats import SpectrumFit, abcd, engine, scan, upper_limit
from tnt_coffea.stats.envelope import COMPETING_FROM
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.model import chosen_function
from tnt_coffea.stats.p_values import toys_p_value
from tnt_coffea.stats.pyhf_fit import pyhf_test
from tnt_coffea.stats.scans import hypothesis_tests, prepared_selection
from tnt_coffea.stats.spectrum import Spectrum, rebinned

Array = NDArray[np.float64]

EDGES = np.arange(2600.0, 7001.0, 40.0)
WIDTH = 120.0
FIT = SpectrumFit((EDGES[0], EDGES[-1]))
MASSES = np.arange(3000.0, 5601.0, 100.0)
REGIMES = (50_000, 5000, 500, 50)
COUNTS = {"A": 130, "B": 1000, "C": 1000, "D": 10_000}
PACKAGES = ("tnt-coffea", "numpy", "scipy", "pyhf", "iminuit", "pyBumpHunter", "abcd-pyhf")
SEED = 20261
REPETITIONS = 5
# Functions that are fitted to every toy, by their most parameters; targets [ms].
FUNCTIONS = {"dijet 3": (3, 0.3), "dijet 3 to 5, competing": (5, 0.9)}


@dataclass(frozen=True)
class Row:
    """A figure: what was done, seconds on the clock and of the processor, and its target.

    The target is of the processor's time: the clock's is that of an idle machine.
    """

    work: str
    wall: float
    cpu: float
    unit: str
    result: str
    target: float | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        factor = {"ms": 1e3, "s": 1.0}[self.unit]
        target = verdict = ""
        if self.target is not None:
            target = f"at most {self.target:g} {self.unit}"
            verdict = "met" if factor * self.cpu <= self.target else "**not met**"
        times = (f"{factor * seconds:.3g} {self.unit}" for seconds in (self.wall, self.cpu))
        return self.work, *times, self.result, target, verdict


def timed(work: Callable[[], Any], repetitions: int = 1) -> tuple[Any, float, float]:
    """Return the last outcome, and the best time on the clock and of the processor."""
    walls, cpus, found = [], [], None
    for _ in range(repetitions):
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return found, min(walls), min(cpus)


def spectrum(events: int) -> Any:
    """Return one toy of the truth."""
    four = FAMILIES["dijet"].build(EDGES, 4, EDGES[1:], np.ones(EDGES.size - 1, dtype=bool))
    truth = four.expected(np.array([0.0, 5.0, 10.0, 0.1]))
    counts = np.random.default_rng([SEED, events]).poisson(events * truth / truth.sum())
    histogram = hist.Hist(hist.axis.Variable(EDGES, name="m_jj"))
    histogram.view()[:] = counts
    return histogram


def channels_of(events: int, channels: int) -> tuple[Spectrum, ...]:
    """Return one toy of the truth, its events dealt to some channels."""
    random = np.random.default_rng([SEED, events, channels])
    counts = spectrum(events).values().astype(int)
    dealt = random.multinomial(counts, np.full(channels, 1 / channels)).T.astype(float)
    return tuple(Spectrum(f"fold-{k}", EDGES, counts) for k, counts in enumerate(dealt))


def toy_tests(toys: int, pyhf_toys: int) -> Iterator[Row]:
    """Time the test of one mass in toys: fits without and with a signal."""
    cases = [(events, 1) for events in REGIMES] + [(5000, 5)]
    for events, channels in cases:
        where = f"{events:,} events" + (f" in {channels} channels" if channels > 1 else "")
        data, signal = channels_of(events, channels), FIT.signal(3500.0, WIDTH)
        for name, (most, target) in FUNCTIONS.items():
            if most > 3 and events < COMPETING_FROM:
                continue
            fit = replace(FIT, max_parameters=most)
            chosen = prepared_selection("all", data, [signal], fit)
            counts = engine.toy_counts(chosen.null, toys, np.random.default_rng(SEED))
            tests, wall, cpu = timed(lambda c=chosen, n=counts: hypothesis_tests(c, n), REPETITIONS)
            failed = int(np.sum(~tests[0].converged))
            yield Row(
                f"a toy of {where}, {name}", wall / toys, cpu / toys, "ms",
                f"{toys} toys, {failed} failed", target if channels == 1 else None,
            )  # fmt: skip
            if most > 3:
                continue
            number = max(1, pyhf_toys // channels)
            z, wall, cpu = timed(lambda c=chosen, n=counts, k=number: with_pyhf(c, n, k))
            apart = float(np.max(np.abs(z - tests[0].z[:number])))
            yield Row(
                f"the same with pyhf and Minuit, {where}, {name}", wall / number, cpu / number,
                "ms", f"{number} toys, Z within {apart:.1e}",
            )  # fmt: skip


def with_pyhf(chosen: Any, counts: Sequence[Array], toys: int) -> Array:
    """Return Z of toys by the pyhf model of the hypothesis."""
    (channels,) = chosen.models[0].functions.values()
    found = []
    for toy in range(toys):
        own = [replace(c, observed=n[toy]) for c, n in zip(channels, counts, strict=True)]
        found.append(pyhf_test(own, engine.discovery(own)).test.z)
    return np.array(found)


def scans(toys: int) -> Iterator[Row]:
    """Time the global p-value of a scan, and pyBumpHunter on the same spectrum."""
    histogram = spectrum(5000)
    found, wall, cpu = timed(
        lambda: scan(histogram, masses=MASSES, width=WIDTH, fit=FIT, toys=toys, seed=1), 2
    )
    yield Row(
        f"scan of {len(MASSES)} masses, {toys} toys, 5,000 events", wall, cpu, "s",
        f"global p = {found.p_global:.3g}", 10.0,
    )  # fmt: skip
    if importlib.util.find_spec("pyBumpHunter") is None:
        return
    p_global, wall, cpu = timed(lambda: bump_hunter_p(histogram, toys))
    yield Row(
        f"pyBumpHunter, {toys} pseudo-experiments, same spectrum, background exact", wall, cpu,
        "s", f"global p = {p_global:.3g}",
    )  # fmt: skip


def bump_hunter_p(histogram: Any, toys: int, widths: tuple[int, int] = (2, 8)) -> float:
    """Return the global p-value of pyBumpHunter over intervals of 2 to 8 bins.

    The background-only fit is taken as exact, in data and toys (arXiv:1101.0390,
    arXiv:2208.14760).
    """
    from pyBumpHunter import BumpHunter1D

    spectrum = rebinned("all", histogram, FIT)
    everywhere = np.ones(spectrum.counts.size, dtype=bool)
    built = chosen_function(spectrum, everywhere, FIT)
    fitted, _ = engine.fitted_background(built, spectrum.counts)
    hunter = BumpHunter1D(
        rang=(spectrum.edges[0], spectrum.edges[-1]),
        width_min=widths[0],
        width_max=widths[1],
        npe=toys,
        bins=spectrum.edges,
        nworker=1,
        seed=seeds.integer(1, "stats", "bump_hunter"),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        hunter.bump_scan(
            spectrum.counts, fitted.expected(np.zeros(fitted.parameters)), is_hist=True
        )
    found = np.asarray(hunter.min_Pval_ar, dtype=float)
    return toys_p_value(int(np.sum(found[1:] <= found[0])), toys)


def limits() -> Iterator[Row]:
    """Time CLs limits with their expected bands."""
    cases: tuple[tuple[int, int | None], ...] = (*((n, None) for n in REGIMES), (50, 0))
    for events, toys in cases:
        kind = "" if toys is None else ", formulae only"
        histogram = spectrum(events)
        found, wall, cpu = timed(
            lambda h=histogram, n=toys: upper_limit(h, mass=3500.0, width=WIDTH, fit=FIT, toys=n),
            2,
        )
        yield Row(
            f"CLs limit and band, {events:,} events{kind}", wall, cpu, "s",
            f"{found.observed:.3g} events ({found.calibration})", 5.0,
        )  # fmt: skip


def four_counts() -> Iterator[Row]:
    """Time the test of four counts, and abcd-pyhf on the same ones."""
    values = tuple(COUNTS.values())
    for systematic in (0.0, 0.03):
        found, wall, cpu = timed(lambda s=systematic: abcd(*values, systematic=s), 10)
        name = f"ABCD of {', '.join(map(str, values))}, closure {100 * systematic:g} %"
        yield Row(name, wall, cpu, "ms", f"Z = {found.z:.4f}")
        with contextlib.suppress(ImportError):
            importlib.import_module("abcd_pyhf")
            z, wall, cpu = timed(lambda s=systematic: abcd_pyhf_z(s), 10)
            yield Row(f"abcd-pyhf, closure {100 * systematic:g} %", wall, cpu, "ms", f"Z = {z:.4f}")


def abcd_pyhf_z(systematic: float) -> float:
    """Return sqrt(q0) of abcd-pyhf's own fits, without and with a signal."""
    import pyhf
    from abcd_pyhf import ABCD

    plane = ABCD(COUNTS, {"A": 1, "B": 0, "C": 0, "D": 0}, 0.0, systematic)
    model, data = plane.model, plane.data
    null = plane.bkg_only_fit(return_uncertainties=False)
    best = plane.fit(return_uncertainties=False)
    with contextlib.redirect_stderr(io.StringIO()):
        q0 = sum(
            sign * float(np.ravel(pyhf.infer.mle.twice_nll(np.asarray(at), data, model))[0])
            for sign, at in ((1, null), (-1, best))
        )
    return float(np.sqrt(max(q0, 0.0)))


def versions() -> dict[str, str]:
    """Return the versions of what does the work."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    """Measure, and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--pyhf-toys", type=int, default=40)
    parser.add_argument("--markdown", type=Path, help="write the table there as well")
    chosen = parser.parse_args()
    here = Machine.here()
    here = replace(here, versions={"python": here.versions["python"], **versions()})
    head = ("work", "on the clock", "CPU", "result", "target", "")
    lines = [f"{datetime.now(UTC):%Y-%m-%d}. {here.summary()}", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head))]
    print("\n".join(lines))
    for rows in (
        toy_tests(chosen.toys, chosen.pyhf_toys),
        scans(chosen.toys),
        limits(),
        four_counts(),
    ):
        for row in rows:
            lines.append(f"| {' | '.join(row.cells())} |")
            print(lines[-1], flush=True)
    if chosen.markdown is not None:
        chosen.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
