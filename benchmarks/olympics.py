"""The methods of the LHC Olympics where there is nothing to find, and where there is.

    python benchmarks/olympics.py OUT null --background qcd-*.h5
    python benchmarks/olympics.py OUT injection --background qcd-*.h5 --signal signal.h5

Methods that learn from simulation need `--simulation FILES` or `--prior NAME=FILE` as well, priors
that are called `two-prong` and `three-prong`; without these files they are left out.
`null`: every file is a sample without a signal; each method is trained, searched and fitted on
each. Kept are the p-values of the bump hunt in three selections, and how flat m_jj stays.
`injection`: samples of 100,000 background events with 0.1, 0.3 and 1 % of signal, three disjoint
ones each; kept are Z before and after the selections, and figures against the truth beside
single features. Settings are the defaults of the methods, of `feature_autoencoder_per_jet` those of
its `comparison()`: nothing was chosen on these events.
A refused training is kept as such. Resumable; what came out is in `OUT/MODE.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kstest

from tnt_coffea import Fileset, Resources, SearchConfig, Skim, pipeline, seeds, stats
from tnt_coffea.errors import TntCoffeaError
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.reporting import compare
from tnt_coffea.reporting.evaluation import sculpting
from tnt_coffea.storage import written
from tnt_coffea.training.methods.feature_autoencoder import FeatureAutoencoderPerJet

SKIM = """
skim:
  observables: [pt, eta, phi, mass, tau1, tau2, tau3, tau21, tau32, tau43, tau1_width,
                n_constituents, pt_sum, mass_drop_sum, energy, n_subjets_wide, delta_eta,
                delta_phi, delta_r12, delta_r13, delta_r14, delta_r23, delta_r24, delta_r34]
  constituents: 50
  aligned: 20
  splittings: {most: 30, branches: all, mass_min: 30}
  sequence: {radius: 0.7, jets: 10}
"""
SETTINGS = """
search: {efficiencies: [0.1, 0.03, 0.01]}
fit: {limit: {enabled: false}}
"""
TREES = "{network: trees, features: [rescaled_mass, tau21]}"
METHODS = {
    "heavy mass": ("{kind: event_feature, feature: heavy_mass}",),
    "low tau21": ("{kind: event_feature, feature: -(heavy_tau21 + light_tau21)}",),
    "autoencoder": ("{kind: autoencoder}",),
    "tag_n_train": (
        "{kind: tag_n_train, after: first, classifier: " + TREES + "}",
        "{kind: autoencoder}",
    ),
    "gis": ("{kind: gis}",),
    "gis, decorrelated": ("{kind: gis, decorrelate: true}",),
    "anode": ("{kind: anode}",),
    "buhulaspa": ("{kind: buhulaspa}",),
    "lda": ("{kind: lda}",),
    "gan_ae": ("{kind: gan_ae}",),
    "gan_ae, decorrelated": ("{kind: gan_ae, decorrelate: true}",),
    "vrnn": ("{kind: vrnn}",),
    "regularized_likelihood": ("{kind: regularized_likelihood}",),
    "particle_graph": ("{kind: particle_graph}",),
    "tag_n_train after vrnn": (
        "{kind: tag_n_train, after: first, classifier: " + TREES + "}",
        "{kind: vrnn_per_jet}",
    ),
    "tag_n_train after particle_graph": (
        "{kind: tag_n_train, after: first, classifier: " + TREES + "}",
        "{kind: particle_graph_per_jet}",
    ),
    "ucluster": ("{kind: ucluster}",),
    "pca": ("{kind: pca}",),
    "factorized_topics": ("{kind: factorized_topics}",),
    "feature_autoencoder": ("{kind: feature_autoencoder}",),
    # One network, where the comparison averages twenty.
    "feature_autoencoder_per_jet": (
        json.dumps(FeatureAutoencoderPerJet.comparison().model_dump(mode="json")),
    ),
    "pca of simulation": ("{kind: pca, sample: simulation}",),
    "quak": ("{kind: quak, priors: [two-prong, three-prong]}",),
    "lstm": ("{kind: lstm}",),
    "deep_ensemble, table alone": ("{kind: deep_ensemble, image: false}",),
    "sa_cwola": ("{kind: sa_cwola, classifier: " + TREES + "}",),
}
"""Settings of each, and of the method called `first` where it builds on one."""
SIMULATED = {
    "pca of simulation": ("simulation",),
    "quak": ("priors",),
    "lstm": ("simulation", "priors"),
    "deep_ensemble, table alone": ("simulation", "priors"),
    "sa_cwola": ("simulation",),
}
"""What methods read beside the data."""
PRIORS = ("two-prong", "three-prong")
EFFICIENCIES = (0.1, 0.03, 0.01)
SHARES = (0.001, 0.003, 0.01)
BACKGROUND = 100_000
SEED = 2000
RESOURCES = Resources(executor="iterative", progress=False)
_BATCH = 16


def parts(out: Path, file: str) -> list[Path]:
    """Return the parts of a file's skim, which is made once."""
    folder = out / "pool" / f"{Path(file).absolute().parent.parent.name}-{Path(file).stem}"
    config = SearchConfig.from_text(SKIM)
    skim = pipeline.skim(
        Fileset.from_paths({"data": [file]}),
        config,
        out=folder,
        resources=Resources(executor="futures", workers=2, progress=False),
    )
    return list(skim.paths)


def null_samples(out: Path, arguments: argparse.Namespace) -> dict[str, list[Path]]:
    """Return the parts of every sample by its name."""
    return {Path(f).absolute().parent.parent.name: parts(out, f) for f in arguments.background}


def simulated(out: Path, arguments: argparse.Namespace) -> dict[str, list[Path]]:
    """Return the parts of `simulation` and of every prior, where their files are given."""
    given: dict[str, list[Path]] = {}
    for file in arguments.simulation:
        given.setdefault("simulation", []).extend(parts(out, file))
    for entry in arguments.prior:
        name, _, file = entry.partition("=")
        if name not in PRIORS:
            msg = f"--prior {entry}: priors are {' and '.join(PRIORS)}"
            raise SystemExit(msg)
        given.setdefault(name, []).extend(parts(out, file))
    return given


def injected(paths: Sequence[Path], number: int, share: float) -> Sample:
    """Return background of some parts with a share of signal, the same background for all.

    Parameters
    ----------
    paths
        Of background and of signal.
    number
        Of the sample; no two have an event of signal in common.
    share
        Of signal in all events.
    """
    events = read_parts(paths, truth=True)
    background, signal = (np.flatnonzero(events.label == kind) for kind in (0, 1))
    rng = seeds.generator(SEED, "injection", number)
    wanted = round(BACKGROUND * share / (1 - share))
    chosen = seeds.generator(SEED, "signal").permutation(signal)
    most = round(BACKGROUND * max(SHARES) / (1 - max(SHARES)))
    own = chosen[number * most : number * most + wanted]
    if len(background) < BACKGROUND or len(own) < wanted:
        msg = f"{len(background)} background and {len(signal)} signal events are too few"
        raise SystemExit(msg)
    return events.select(np.sort([*rng.permutation(background)[:BACKGROUND], *own]))


def configured(name: str, seed: int) -> SearchConfig:
    """Return the settings of one search by one method."""
    own, *first = METHODS[name]
    methods = "".join(f"    first: {each}\n" for each in first)
    text = f"seed: {seed}\n{SKIM}{SETTINGS}train:\n  methods:\n{methods}    found: {own}\n"
    return SearchConfig.from_text(text)


def read_beside(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the samples that a method reads beside the data, as `Skim.from_sample` takes them."""
    roles = SIMULATED.get(name, ())
    beside: dict[str, Any] = {}
    if "simulation" in roles:
        beside["simulation"] = read_parts(given["simulation"])
    if "priors" in roles:
        beside["priors"] = {prior: read_parts(given[prior]) for prior in PRIORS}
    return beside


def searched(
    sample: Sample, name: str, seed: int, given: Mapping[str, Any], *, truth: bool
) -> dict[str, Any]:
    """Return what a search of a sample by one method says."""
    config = configured(name, seed)
    started = time.process_time()
    with TemporaryDirectory() as out:
        skim = Skim.from_sample(sample, **read_beside(name, given))
        try:
            taggers = pipeline.train(skim, config, out=out, resources=RESOURCES)
        except TntCoffeaError as error:
            return {"refused": str(error)}
        trained = time.process_time() - started
        histograms = pipeline.search(skim, taggers, config, out=out, resources=RESOURCES)
    found: dict[str, Any] = {"training_cpu_s": trained}
    hist, points = histograms.hists["found"], histograms.points["found"]
    found["before"] = hunted(stats.inclusive_spectrum(hist), config, "before")
    found["after"] = {
        f"{e:g}": hunted(stats.selected_spectrum(hist, points[e]), config, f"{e:g}")
        for e in EFFICIENCIES
    }
    ranks = taggers.sets["found"].ranks(sample)
    in_fit = config.search.fit_range.contains(sample.mass)
    background = in_fit & (sample.label == 0) if truth else in_fit
    found["sculpting_p"] = {
        f"{e:g}": sculpting(e, ranks.both[background], sample.mass[background]).p_value
        for e in EFFICIENCIES
    }
    if truth:
        compared = compare(
            sample, {name: {"1": ranks}}, config.search.window, config.search.fit_range
        )
        found["figures"] = compared.methods[name]["1"].numbers()
        found["uncertainties"] = {
            f"{i.efficiency:g}": i.uncertainty for i in compared.methods[name]["1"].improvements
        }
        found["features"] = {k: each.numbers() for k, each in compared.baselines.items()}
        found["no_better_than_a_feature"] = bool(compared.no_better())
    return found


def hunted(spectrum: Any, config: SearchConfig, name: str) -> dict[str, Any]:
    """Return the bump hunt of a spectrum at the centre of the window."""
    try:
        hunt = stats.bump_hunt(
            spectrum,
            mass=config.signal_mass,
            width=config.fit.bump.width,
            fit=pipeline.spectrum_fit(config),
            seed=seeds.integer(config.seed, "fit", name),
        )
    except TntCoffeaError as error:
        return {"refused": str(error)}
    return {"z": hunt.z, "p_value": hunt.p_value, "calibration": hunt.calibration}


def task(
    paths: Sequence[Path],
    name: str,
    number: int,
    share: float | None,
    given: Mapping[str, Sequence[Path]],
) -> dict[str, Any]:
    """Return one search in a process of its own."""
    if share is None:
        return searched(read_parts(paths), name, SEED + number, given, truth=False)
    return searched(injected(paths, number, share), name, SEED + number, given, truth=True)


def tasks(out: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield every search by its key, with what `task` takes."""
    samples = null_samples(out, arguments)
    given = simulated(out, arguments)
    roles = {"simulation": "simulation" in given, "priors": set(PRIORS) <= set(given)}
    names = [
        name
        for name in arguments.only or METHODS
        if all(roles[role] for role in SIMULATED.get(name, ()))
    ]
    if arguments.mode == "null":
        for number, (sample, paths) in enumerate(samples.items()):
            for name in names:
                yield f"{name} / {sample}", (paths, name, number, None, given)
        return
    signal = parts(out, arguments.signal)
    size = max(1, len(samples) // arguments.samples)
    every = list(samples.values())
    for number in range(arguments.samples):
        own = [path for paths in every[number * size : (number + 1) * size] for path in paths]
        for share in arguments.shares:
            for name in names:
                key = f"{name} / {share:g} / {number}"
                yield key, ([*own, *signal], name, number, share, given)


def summary(mode: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all searches of a method say together."""
    rows: dict[str, list[Any]] = {}
    for key, one in found.items():
        name = key.rpartition(" / ")[0]
        rows.setdefault(name, []).append(one)
    return {name: (nulls if mode == "null" else medians)(each) for name, each in rows.items()}


def nulls(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the uniformity of p-values, large Z, and how often a spectrum was sculpted."""
    done = [row for row in rows if "refused" not in row]
    together: dict[str, Any] = {"samples": len(rows), "refused": len(rows) - len(done)}
    for e in map("{:g}".format, EFFICIENCIES):
        hunts = [row["after"][e] for row in done if "z" in row["after"][e]]
        p = np.array([hunt["p_value"] for hunt in hunts])
        low = p[p < 0.5]  # a deficit has no p-value of its own
        together[e] = {
            "fitted": len(p),
            "above_2": sum(hunt["z"] > 2 for hunt in hunts),
            "largest_z": max((hunt["z"] for hunt in hunts), default=None),
            "below_half": len(low),
            "uniform_p": float(kstest(low / 0.5, "uniform").pvalue) if len(low) else None,
            "sculpted": sum(row["sculpting_p"][e] < 1e-3 for row in done),
            "median_sculpting_p": float(np.median([row["sculpting_p"][e] for row in done]))
            if done
            else None,
        }
    return together


def medians(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return medians, least and largest values over the samples."""
    done = [row for row in rows if "refused" not in row]
    together: dict[str, Any] = {"samples": len(rows), "refused": len(rows) - len(done)}
    if not done:
        return together
    together["no_better_than_a_feature"] = sum(row["no_better_than_a_feature"] for row in done)
    values = {
        "z before": [row["before"].get("z") for row in done],
        **{f"z {e:g}": [row["after"][f"{e:g}"].get("z") for row in done] for e in EFFICIENCIES},
        **{
            f"sic {e:g}": [row["figures"].get(f"improvement_{e:g}") for row in done]
            for e in EFFICIENCIES
        },
        "auc in window": [row["figures"].get("auc_both_in_window") for row in done],
    }
    for name, numbers in values.items():
        known = [x for x in numbers if x is not None]
        together[name] = [float(f(known)) for f in (np.median, min, max)] if known else None
    return together


def table(mode: str, found: Mapping[str, Any]) -> Table:
    """Return a row a method, or a method and share."""
    if mode == "null":
        columns = [f"{what} {e:g}" for e in EFFICIENCIES for what in ("Z > 2", "KS p", "sculpted")]
        shown = Table("method", "samples", "refused", *columns)
        for name, one in found.items():
            cells = []
            for e in map("{:g}".format, EFFICIENCIES):
                ks = one[e]["uniform_p"]
                cells += [f"{one[e]['above_2']}/{one[e]['fitted']}"]
                cells += ["-" if ks is None else f"{ks:.2g}", str(one[e]["sculpted"])]
            shown.add_row(name, str(one["samples"]), str(one["refused"]), *cells)
        return shown
    columns = ["z before", *(f"{w} {e:g}" for w in ("z", "sic") for e in EFFICIENCIES)]
    shown = Table("method / share", "samples", "refused", "no better", *columns)
    for name, one in found.items():
        cells = []
        for column in columns:
            value = one.get(column)
            cells.append("-" if value is None else "{:.1f} ({:.1f}, {:.1f})".format(*value))
        poor = str(one.get("no_better_than_a_feature", "-"))
        shown.add_row(name, str(one["samples"]), str(one["refused"]), poor, *cells)
    return shown


def keep(record: Path, mode: str, found: Mapping[str, Any]) -> None:
    """Write all searches so far, and what they say together."""
    ordered = {key: found[key] for key in sorted(found)}
    content = {
        "settings": {"methods": METHODS, "skim": SKIM, "search": SETTINGS, "seed": SEED},
        "summary": summary(mode, ordered),
        "searches": ordered,
    }
    with written(record) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Run the searches that are not there yet, and write and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("mode", choices=("null", "injection"))
    parser.add_argument("--background", nargs="+", required=True)
    parser.add_argument("--signal", help="for injection")
    parser.add_argument("--simulation", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--prior", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--samples", type=int, default=3, help="of injection")
    parser.add_argument("--shares", type=float, nargs="+", choices=SHARES, default=SHARES)
    parser.add_argument("--only", nargs="+", choices=sorted(METHODS))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.out / f"{arguments.mode}.json"
    found: dict[str, Any] = json.loads(record.read_text())["searches"] if record.exists() else {}
    wanted = [(k, given) for k, given in tasks(arguments.out, arguments) if k not in found]
    # New processes for every few searches: TensorFlow keeps some memory of each network.
    for start in range(0, len(wanted), _BATCH):
        with ProcessPoolExecutor(arguments.workers) as workers:
            batch = wanted[start : start + _BATCH]
            runs = {workers.submit(task, *given): key for key, given in batch}
            for run in as_completed(runs):
                found[runs[run]] = run.result()
                keep(record, arguments.mode, found)
    Console(width=200).print(table(arguments.mode, summary(arguments.mode, found)))


if __name__ == "__main__":
    main()
