"""Generated events against real ones of the LHC Olympics: tests, percentiles, a classifier, plots.

    python benchmarks/generated_events.py tiny.h5 --background rnd.h5 --matched hard.h5 \
        --signal signal.h5 --plots docs/images

`tiny.h5` is the organisers' public sample of 907 background and 93 signal events. Its
background is no random sample of the research-and-development data (docs/data.md), so it
is compared with two generated ones: the default and one of harder scatterings
(`pt_hat_min`). The percentiles are those of the whole data.

Every p-value is printed, failing ones too. One-number quantities are compared by the
two-sample Kolmogorov-Smirnov test. Spectra of candidates are compared by the mean count of
every bin in an event (Hotelling's T squared), because candidates of one event are not
independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the compression filter
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize
from scipy.stats import f, ks_2samp

from tnt_coffea.config import SkimSettings
from tnt_coffea.events import lhco
from tnt_coffea.processors.skim import reconstructed

Floats = npt.NDArray[np.float64]

WINDOW = (3300.0, 3700.0)
PERCENTILES = (5, 16, 50, 84, 95)
# In the window, of the whole research-and-development data (docs/data.md): 74 527 signal
# and 59 600 background events; in brackets the share of all events that lies there.
WHOLE = {
    "signal": ((267, 461, 500, 536, 583), (90, 98, 111, 147, 230), 0.772),
    "background": ((89, 135, 268, 495, 654), (40, 58, 108, 214, 328), 0.121),
}
# arXiv:2101.08320, section 4.2.1: of a million background events, between 2.8 and 5.2 TeV.
WHOLE_RANGE, WHOLE_SHARE = (2800.0, 5200.0), 0.537304
PT_EDGES = np.array([0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 1e9])
ETA_EDGES = np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5])
QUANTITIES = {
    "m_jj": "m_jj [GeV]",
    "leading_pt": "leading jet pT [GeV]",
    "heavy_mass": "heavier jet mass [GeV]",
    "light_mass": "lighter jet mass [GeV]",
    "heavy_tau21": "heavier jet tau21",
    "light_tau21": "lighter jet tau21",
    "heavy_n_constituents": "heavier jet constituents",
    "light_n_constituents": "lighter jet constituents",
    "candidates": "candidates",
}
FOLDS = 5
CHUNK = 1000


class Events:
    """Quantities of the events of one label in some files."""

    def __init__(self, paths: Sequence[Path], label: int) -> None:
        parts = [dijet_columns(path, label) for path in paths]
        self.columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        rows = np.concatenate([rows_of(path, label) for path in paths])
        filled = rows[..., 0] > 0
        self.contiguous = bool(np.all(np.diff(filled.astype(int), axis=1) <= 0))
        self.columns["candidates"] = filled.sum(axis=1).astype(float)
        self.pt_counts = counts_in(rows[..., 0], filled, PT_EDGES)
        self.eta_counts = counts_in(np.abs(rows[..., 1]), filled, ETA_EDGES)
        self.kinds, self.ordered, self.by_pt = order_of(rows, filled)

    @property
    def features(self) -> Floats:
        """(event, feature) what the classifier sees."""
        values = self.columns
        # A jet of one candidate has no mass.
        scales = ("m_jj", "leading_pt", "heavy_mass", "light_mass")
        logs = [np.log(np.maximum(values[name], 1.0)) for name in scales]
        plain = [values[n] for n in QUANTITIES if "tau21" in n or "constituents" in n]
        rest = [np.sqrt(self.kinds), np.sqrt(self.pt_counts), np.sqrt(self.eta_counts)]
        return np.column_stack([*logs, *plain, values["delta_eta"], *rest])


def rows_of(path: Path, label: int) -> npt.NDArray[Any]:
    """Return (event, 700, 3) momenta of one label."""
    with h5py.File(path) as file:
        table = next(t for t in (file.get("events"), file.get("df/block0_values")) if t is not None)
        rows = table[:]
    return rows[rows[:, -1] == label, :2100].reshape(-1, 700, 3)


def dijet_columns(path: Path, label: int) -> dict[str, Floats]:
    """Return the columns of a skim, of one label."""
    parts: list[dict[str, Floats]] = []
    for start in range(0, lhco.entries(path), CHUNK):
        stop = min(start + CHUNK, lhco.entries(path))
        where = {"dataset": "data", "filename": str(path), "entrystart": start}
        events = lhco.load(path, start, stop, where)
        sample, _ = reconstructed(events, SkimSettings())
        parts.append({name: np.asarray(c, float) for name, c in sample.columns.items()})
        parts[-1]["label"] = labels_of(path, start, stop, sample.event_id, events)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    chosen = columns.pop("label") == label
    columns["leading_pt"] = np.maximum(columns["heavy_pt"], columns["light_pt"])
    columns["delta_eta"] = np.abs(columns["heavy_eta"] - columns["light_eta"])
    return {name: column[chosen] for name, column in columns.items()}


def labels_of(path: Path, start: int, stop: int, event_id: npt.NDArray[Any], events: Any) -> Floats:
    """Return the truth bits in the order of the sample."""
    from tnt_coffea.events.sources import particles_of

    particles = particles_of(events)
    of = dict(zip(particles.event_id.tolist(), particles.label.tolist(), strict=True))
    return np.array([of[i] for i in event_id.tolist()], float)


def counts_in(values: Floats, filled: npt.NDArray[np.bool_], edges: Floats) -> Floats:
    """Return (event, bin) how many of an event's candidates lie in each bin."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.stack([(filled & (place == i)).sum(axis=1) for i in range(len(edges) - 1)], 1) * 1.0


def order_of(rows: Floats, filled: npt.NDArray[np.bool_]) -> tuple[Floats, float, float]:
    """Return tracks, neutral hadrons and photons an event, and two shares of events.

    Both kinds of tower stand in ascending eta, up to their size, so that a run ends where
    eta falls by much. The shares: of events with at least three runs, and of events in
    descending pT.
    """
    kinds, sorted_by_pt, complete = [], 0, 0
    for row, n in zip(rows, filled.sum(axis=1), strict=True):
        breaks = np.flatnonzero(np.diff(row[:n, 1]) < -0.6) + 1
        sorted_by_pt += bool(np.all(np.diff(row[:n, 0]) <= 0))
        complete += len(breaks) >= 2
        last = [0, 0, *breaks][-2:]
        kinds.append((last[0], last[1] - last[0], n - last[1]))
    return np.array(kinds, float), complete / len(rows), sorted_by_pt / len(rows)


def hotelling(first: Floats, second: Floats) -> float:
    """Return the p-value that both have the same mean vector."""
    covariance = sum(np.atleast_2d(np.cov(sample.T)) / len(sample) for sample in (first, second))
    difference = first.mean(axis=0) - second.mean(axis=0)
    # Empty bins, and the one that the sum of the others fixes, carry nothing.
    inverse = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    rank, n = np.linalg.matrix_rank(covariance, hermitian=True), min(len(first), len(second))
    # As if all of the covariance were the smaller sample's own, which is nearly so here.
    value = difference @ inverse @ difference * (n - rank) / (rank * (n - 1))
    return float(f.sf(value, rank, n - rank))


def held_out_auc(real: Floats, generated: Floats) -> tuple[float, float]:
    """Return the mean AUC of left-out fifths, and its error if both are the same.

    A logistic regression on standardised features, their squares and products, with a
    ridge fixed beforehand.
    """
    rng = np.random.default_rng(1)
    x = np.concatenate([real, generated])
    y = np.r_[np.ones(len(real)), np.zeros(len(generated))]
    fold = np.concatenate([rng.permutation(len(part)) % FOLDS for part in (real, generated)])
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    upper = np.triu_indices(x.shape[1])
    x = np.concatenate([x, (x[:, :, None] * x[:, None, :])[:, upper[0], upper[1]]], 1).clip(-5, 5)
    found = [
        auc(logistic(x[fold != i], y[fold != i], x[fold == i]), y[fold == i]) for i in range(FOLDS)
    ]
    n, m = len(real), len(generated)
    return float(np.mean(found)), float(np.sqrt((n + m + 1) / (12 * n * m)))


def logistic(x: Floats, y: Floats, new: Floats, ridge: float = 30.0) -> Floats:
    """Return the scores of new events, both classes weighted alike."""
    weight = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    sign = 2 * y - 1

    def loss(beta: Floats) -> tuple[float, Floats]:
        margin = sign * (x @ beta[1:] + beta[0])
        slope = -weight * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        value = weight @ np.logaddexp(0, -margin) + ridge * beta[1:] @ beta[1:] / 2
        return value, np.r_[slope.sum(), x.T @ slope + ridge * beta[1:]]

    beta = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return np.asarray(new @ beta[1:] + beta[0])


def auc(score: Floats, y: Floats) -> float:
    """Return the share of pairs in the right order."""
    rank = np.argsort(np.argsort(score)) + 1.0
    n, m = int(y.sum()), int((1 - y).sum())
    return float((rank[y == 1].sum() - n * (n + 1) / 2) / (n * m))


def compare(
    console: Console, title: str, real: Events, generated: Events, first: str = "real"
) -> None:
    """Print every test of one pair of samples."""
    table = Table(title=title)
    for name in ("quantity", first, "generated", "p"):
        table.add_column(name)
    for name, text in QUANTITIES.items():
        own, other = real.columns[name], generated.columns[name]
        p = ks_2samp(own, other).pvalue
        table.add_row(
            f"{text}, median", f"{np.median(own):.4g}", f"{np.median(other):.4g}", f"{p:.2g}"
        )
    for i, name in enumerate(("tracks", "neutral hadrons", "photons")):
        means = [mean_text(sample.kinds[:, i]) for sample in (real, generated)]
        table.add_row(
            f"{name}, mean", *means, f"{hotelling(real.kinds[:, [i]], generated.kinds[:, [i]]):.2g}"
        )
    for text, name in (("pT spectrum", "pt_counts"), ("|eta| spectrum", "eta_counts")):
        p = hotelling(getattr(real, name), getattr(generated, name))
        table.add_row(f"candidates' {text}", "", "", f"{p:.2g}")
    for text, name in (
        ("padding contiguous, at the end", "contiguous"),
        ("events with three runs in eta", "ordered"),
        ("events sorted in pT", "by_pt"),
    ):
        table.add_row(text, *(f"{getattr(s, name):g}" for s in (real, generated)), "")
    value, error = held_out_auc(real.features, generated.features)
    table.add_row("classifier's AUC, held out", "", f"{value:.3f} +- {error:.3f}", "")
    console.print(table)


def mean_text(values: Floats) -> str:
    """Return a mean with its error."""
    return f"{values.mean():.1f} +- {values.std() / len(values) ** 0.5:.1f}"


def percentiles(console: Console, kind: str, generated: Events) -> None:
    """Print the jets' mass percentiles in the window against the whole data's."""
    heavy, light, share = WHOLE[kind]
    inside = (generated.columns["m_jj"] > WINDOW[0]) & (generated.columns["m_jj"] < WINDOW[1])
    table = Table(title=f"{kind} in {WINDOW[0]:g}-{WINDOW[1]:g} GeV: generated / whole data")
    for name in ("jet", *map(str, PERCENTILES)):
        table.add_column(name)
    rng = np.random.default_rng(1)
    for jet, whole in (("heavy_mass", heavy), ("light_mass", light)):
        mass = generated.columns[jet][inside]
        boots = [np.percentile(rng.choice(mass, mass.size), PERCENTILES) for _ in range(200)]
        found, errors = np.percentile(mass, PERCENTILES), np.std(boots, axis=0)
        cells = zip(found, errors, whole, strict=True)
        table.add_row(jet, *(f"{a:.0f} +- {e:.0f} / {b} = {a / b:.3f}" for a, e, b in cells))
    console.print(table)
    error = (inside.mean() * (1 - inside.mean()) / inside.size) ** 0.5
    console.print(f"share in the window: {inside.mean():.4f} +- {error:.4f}, whole data {share}")


def range_share(console: Console, samples: Sequence[tuple[str, Events]]) -> None:
    """Print the share of the background that the Olympics paper states for the whole data."""
    console.print(f"share in {WHOLE_RANGE} GeV, whole data {WHOLE_SHARE:.4f}")
    for name, sample in samples:
        m_jj = sample.columns["m_jj"]
        share = np.mean((m_jj > WHOLE_RANGE[0]) & (m_jj < WHOLE_RANGE[1]))
        console.print(f"  {name}: {share:.4f} +- {(share * (1 - share) / m_jj.size) ** 0.5:.4f}")


def plot_quantities(path: Path, title: str, real: Events, samples: dict[str, Events]) -> None:
    """Draw real points on generated lines, one panel a quantity."""
    figure, panels = plt.subplots(3, 3, figsize=(11, 8.5), layout="constrained")
    for panel, (name, text) in zip(panels.flat, QUANTITIES.items(), strict=True):
        own = real.columns[name]
        edges = np.linspace(*np.percentile(own, (0.5, 99.5)), 21 if len(own) > 300 else 11)
        draw(panel, edges, own, {key: s.columns[name] for key, s in samples.items()})
        panel.set_xlabel(text)
    panels[0, 0].set_ylabel("share of events")
    panels[0, 0].legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def draw(panel: Any, edges: Floats, real: Floats, generated: dict[str, Floats]) -> None:
    """Draw one panel."""
    counts = np.histogram(real, edges)[0]
    middle = (edges[1:] + edges[:-1]) / 2
    panel.errorbar(
        middle, counts / len(real), np.sqrt(counts) / len(real), fmt="ko", ms=3, label="real"
    )
    for key, values in generated.items():
        panel.stairs(np.histogram(values, edges)[0] / len(values), edges, label=key, lw=1.3)


def plot_candidates(path: Path, rows: Sequence[tuple[str, Events, dict[str, Events]]]) -> None:
    """Draw the mean number of candidates an event, over the real one, by pT and |eta|."""
    figure, panels = plt.subplots(2, 2, figsize=(10, 6), layout="constrained", sharey=True)
    for line, (title, real, samples) in zip(panels, rows, strict=True):
        for panel, name, edges, text in (
            (line[0], "pt_counts", PT_EDGES, "candidate pT [GeV]"),
            (line[1], "eta_counts", ETA_EDGES, "candidate |eta|"),
        ):
            own = getattr(real, name)
            shown = np.where(edges > 1e6, 512, np.where(edges == 0, edges[1] / 2, edges))
            shown = edges if name == "eta_counts" else shown
            error = own.std(axis=0) / len(own) ** 0.5 / own.mean(axis=0)
            panel.stairs(
                1 + error, shown, baseline=1 - error, fill=True, color="0.85", label="real"
            )
            for key, sample in samples.items():
                ratio = getattr(sample, name).mean(axis=0) / own.mean(axis=0)
                panel.stairs(ratio, shown, baseline=None, label=key, lw=1.3)
            panel.set_xlabel(text)
            panel.set_ylim(0.8, 1.2)
            if name == "pt_counts":
                panel.set_xscale("log")
                panel.set_ylabel(f"{title}: generated / real")
        line[0].legend(fontsize=8)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def plot_spectra(path: Path, samples: dict[str, Floats]) -> None:
    """Draw m_jj of the background of every data set, for its turn-on."""
    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    edges = np.arange(1800, 6001, 150.0)
    for key, m_jj in samples.items():
        counts = np.histogram(m_jj, edges)[0]
        line = panel.stairs(counts / len(m_jj), edges, label=f"{key} ({len(m_jj)})", lw=1.3)
        panel.errorbar(
            (edges[1:] + edges[:-1]) / 2,
            counts / len(m_jj),
            np.sqrt(counts) / len(m_jj),
            fmt="none",
            ecolor=line.get_edgecolor(),
            lw=0.6,
        )
    panel.set_yscale("log")
    panel.set_xlabel("m_jj [GeV]")
    panel.set_ylabel("share of events")
    panel.legend(fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def box_m_jj(path: Path) -> Floats:
    """Return m_jj of the background of a file, with the key's truth where it is a box."""
    key = path.with_name("key.json")
    if not key.exists():
        return dijet_columns(path, 0)["m_jj"]
    # Asked for in the table by the user of this script: the box is opened.
    return dijet_columns(path, -1)["m_jj"]


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path, help="the organisers' sample, with truth bit")
    parser.add_argument("--background", type=Path, required=True, nargs="+")
    parser.add_argument("--matched", type=Path, nargs="+", help="background of harder scatterings")
    parser.add_argument("--signal", type=Path, required=True, nargs="+")
    parser.add_argument("--spectrum", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--plots", type=Path, help="folder for data-*.png")
    parser.add_argument(
        "--same", type=Path, nargs="+", help="another file like --background, to compare"
    )
    chosen = parser.parse_args()
    mpl.use("agg")
    console = Console(width=110)
    real = [Events([chosen.real], label) for label in (0, 1)]
    background = {"default": Events(chosen.background, 0)}
    if chosen.matched:
        background["pt_hat_min 1100"] = Events(chosen.matched, 0)
    signal = {"generated": Events(chosen.signal, 1)}
    for name, sample in background.items():
        compare(console, f"background, {name} ({len(sample.kinds)})", real[0], sample)
    compare(console, f"signal ({len(signal['generated'].kinds)})", real[1], signal["generated"])
    percentiles(console, "background", background["default"])
    percentiles(console, "signal", signal["generated"])
    if chosen.same:
        same = Events(chosen.same, 0)
        title = f"background, default, against another ({len(same.kinds)})"
        compare(console, title, same, background["default"], "other")
    range_share(console, [("real, tiny", real[0]), *background.items()])
    if chosen.plots:
        plot_quantities(chosen.plots / "data-background.png", "background", real[0], background)
        plot_quantities(chosen.plots / "data-signal.png", "signal", real[1], signal)
        plot_candidates(
            chosen.plots / "data-candidates.png",
            [("background", real[0], background), ("signal", real[1], signal)],
        )
        spectra = {"default": background["default"].columns["m_jj"]}
        for text in chosen.spectrum:
            name, _, path = text.partition("=")
            spectra[name] = box_m_jj(Path(path))
        plot_spectra(chosen.plots / "data-turn-on.png", spectra)


if __name__ == "__main__":
    main()
