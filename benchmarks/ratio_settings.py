"""Settings of DCTR's network: how well its weights make simulation look like data it has not seen.

    python benchmarks/ratio_settings.py --data qcd.h5 --simulation other.h5

Half of either sample trains, the other half tests: the AUC of the network beside the window and in
it before and after the weights, the sum of the weights over the number of data, and their
effective share. No truth is read. Means of a few seeds.
"""

from __future__ import annotations

import argparse
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from tnt_coffea import Fileset, Resources, SearchConfig, pipeline, seeds
from tnt_coffea.config import MassRange
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.training import Job, backend
from tnt_coffea.training.classifiers import Dense
from tnt_coffea.training.density_ratio import auc, predicted
from tnt_coffea.training.methods.dctr import Dctr

FEATURES = ("light_mass", "mass_difference", "tau21", "m_jj")
WINDOW = MassRange(low=3300, high=3700)


def networks() -> dict[str, Dense]:
    """Return the settings that are compared: the paper's, and those of the package."""
    return {"paper": Dense.paper(*FEATURES), "package": Dctr().classifier}


def tested(
    network: Dense, trained: tuple[Sample, Sample], held: tuple[Sample, Sample], seed: int
) -> list[float]:
    """Return AUC before, after and sum of weights beside the window and in it; effective share."""
    method = Dctr(classifier=network, validation=False)
    with backend.one_thread():
        job = Job(trained[0], "event", seed, window=WINDOW, simulation=trained[1])
        scorer = method.train(job)
    lower, upper = method.sidebands(WINDOW)
    found = []
    for regions in ((lower, upper), (WINDOW,)):
        data, simulation = (
            sample.select(np.any([r.contains(sample.mass) for r in regions], axis=0))
            for sample in held
        )
        scores, log_w = predicted(scorer, data), predicted(scorer, simulation)
        weights = np.exp(log_w)
        found += [auc(scores, log_w), auc(scores, log_w, weights), weights.sum() / len(data)]
    return [*found, scorer.summary["weight_effective"]]


def main() -> None:
    """Train every network with every seed, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--simulation", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=4)
    arguments = parser.parse_args()
    files = Fileset.from_paths(
        {"data": arguments.data, "simulation": arguments.simulation},
        roles={"simulation": "simulation"},
    )
    config = SearchConfig.from_text("skim: {images: null}")
    with TemporaryDirectory() as out:
        skim = pipeline.skim(files, config, out=out, resources=Resources(progress=False))
        samples = [read_parts(skim.by_role[role]) for role in ("data", "simulation")]
    halves = [seeds.generator(1, "half", i).random(len(s)) < 0.5 for i, s in enumerate(samples)]
    trained, held = (
        (samples[0].select(halves[0] == half), samples[1].select(halves[1] == half))
        for half in (True, False)
    )
    columns = [
        f"{what}, {where}" for where in ("beside", "in") for what in ("before", "after", "sum")
    ]
    table = Table("network", *columns, "effective")
    for name, network in networks().items():
        rows = [tested(network, trained, held, seed) for seed in range(arguments.seeds)]
        table.add_row(name, *(f"{value:.3f}" for value in np.mean(rows, axis=0)))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
