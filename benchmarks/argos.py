"""Where a training stops: by cross-entropy or by ARGOS, for fewer and fewer signal events.

    python benchmarks/argos.py --background SKIM... --signal SKIM --out runs.json

Every SKIM is the folder of a skim, the background twenty of equal size. A run shuffles them into
data (7), a template of their background (6) and a test (7), injects signal into the data, and
trains one classifier to the end: the window against the independent template (`template`), or
against the sidebands beside it (`cwola`). Its trees, or its epochs, are then cut off by either
figure of the events kept for that, with patience and without. The test alone reads labels: the
largest eps_S / sqrt(eps_B) in its window. Runs that are in the file are not repeated.

With `--choose 8` eight settings of trees drawn by lot are compared instead, each trained to its
end: the one with the best cross-entropy, or the best ARGOS, of the events kept for that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tnt_coffea import seeds
from tnt_coffea.config import MassRange
from tnt_coffea.events.skim import read_parts
from tnt_coffea.reporting.figures_of_merit import max_sic
from tnt_coffea.storage import written
from tnt_coffea.training import Batches, FeatureSet, OptimizerSettings, Standardisation, backend
from tnt_coffea.training.argos import argos_merit
from tnt_coffea.training.fitting import cross_entropy, evaluated, fit
from tnt_coffea.training.trees import FEWEST_TREES, boosted_trees

WINDOW = MassRange(low=3300, high=3700)
SIDEBANDS = (MassRange(low=3100, high=3300), MassRange(low=3700, high=3900))
TAUS = [f"tau{i}{beta}" for beta in ("", "_beta05", "_beta2") for i in range(1, 10)]
FEATURES = {4: ["light_mass", "mass_difference", "tau21"]}
FEATURES[56] = ["light_mass", "mass_difference", *TAUS]
PATIENCE = 5
_EVERY = 5
"""Trees between two test scores of the best one."""

Array = npt.NDArray[Any]
Halves = tuple[Array, Array]
"""Of the events to train on, and of those to choose by."""


def events(folder: Path, features: Sequence[str]) -> tuple[Array, Array]:
    """Return (event, feature) and (event,) masses of a skim's events near the window."""
    sample = read_parts(sorted(folder.glob("**/*.parquet")))
    near = np.any([band.contains(sample.mass) for band in (WINDOW, *SIDEBANDS)], axis=0)
    sample = sample.select(near)
    return FeatureSet.of(features, "event", sample).values(sample), sample.mass


class Run:
    """One injection: two classes split in two, and a test in the window."""

    def __init__(
        self,
        background: Sequence[tuple[Array, Array]],
        signal: tuple[Array, Array],
        *,
        against: str,
        number: int,
        share: float,
        seed: int,
    ) -> None:
        rng = seeds.generator(seed, "injection")
        places = np.split(rng.permutation(len(background)), [7, 13])
        data, template, test = (
            [np.concatenate([background[i][k] for i in some]) for k in (0, 1)] for some in places
        )
        lot, inside = rng.permutation(len(signal[1])), WINDOW.contains(signal[1])
        few, rest = np.split(lot, [round(number / inside.mean())])
        x, mass = (np.concatenate([data[k], signal[k][few]]) for k in (0, 1))
        region = x[WINDOW.contains(mass)]
        others = [template[0][WINDOW.contains(template[1])]]
        if against == "cwola":
            others = [x[band.contains(mass)] for band in SIDEBANDS]
        classes = [(region, 1.0, 1.0), *((each, 0.0, 1 / len(others)) for each in others)]
        held = []
        for each, _, _ in classes:
            held.append(np.arange(len(each)) < round(share * len(each)))
            rng.shuffle(held[-1])

        def halves(values: list[Array]) -> Halves:
            every, kept = np.concatenate(values), np.concatenate(held)
            return every[~kept], every[kept]

        self.x = halves([each for each, _, _ in classes])
        self.y = halves([np.full(len(each), target) for each, target, _ in classes])
        self.w = halves([np.full(len(each), sum_ / len(each)) for each, _, sum_ in classes])
        self.w = self.w[0] / self.w[0].mean(), self.w[1] / self.w[1].mean()
        kinds = test[0][WINDOW.contains(test[1])], signal[0][rest[inside[rest]]]
        self.test = np.concatenate(kinds)
        self.is_signal = np.arange(len(self.test)) >= len(kinds[0])
        self.seed = seed

    def trees(self, rounds: int, **changes: Any) -> tuple[list[float], list[float], list[Array]]:
        """Return validation loss, ARGOS and test scores after every tree."""
        figure, found = argos_merit(self.w[1]), []

        def kept(targets: Any, odds: Any) -> float:
            found.append(figure(targets, odds))
            return float(len(found))  # the last is best: all trees are kept

        settings = {"leaves": 8, "shrinkage": 0.1} | changes
        trees = boosted_trees(
            self.x, self.y, self.w, merit=kept, rounds=rounds, patience=rounds, **settings
        )
        odds = np.cumsum([tree(self.test) for tree in trees.trees], axis=0, dtype=np.float32)
        return list(trees.validation_loss), found, list(odds)

    def network(self, epochs: int) -> tuple[list[float], list[float], list[Array]]:
        """Return validation loss, ARGOS and test scores after every epoch."""
        keras = backend.keras()
        keras.utils.set_random_seed(self.seed)
        standard = Standardisation.of(self.x[0], self.w[0])
        inputs = value = keras.Input((self.x[0].shape[1],), name="features")
        for _ in range(3):
            value = keras.layers.Dense(64, activation="relu")(value)
        value = keras.layers.Dense(1, activation="sigmoid")(value)
        model = keras.Model([inputs], keras.ops.reshape(value, (-1,)))
        parts = []
        for x, y, w in zip(self.x, self.y, self.w, strict=True):
            scaled = standard.applied(x).astype(np.float32)
            readers = [{"features": scaled.__getitem__}]
            none = np.zeros(len(y), np.int64)
            parts.append(Batches(readers, none, np.arange(len(y)), y.astype("f4"), w.astype("f4")))
        shown, scores = standard.applied(self.test).astype(np.float32), []
        history = fit(
            model,
            cross_entropy,
            *parts,
            optimizer=OptimizerSettings(batch=500, beta1=0.9, beta2=0.999, decay=0, keep="last"),
            epochs=epochs,
            seed=self.seed,
            merit=argos_merit(self.w[1]),
            after_epoch=lambda: scores.append(backend.array(evaluated(model, {"features": shown}))),
        )
        return list(history.validation_loss), list(history.merit), scores


def stopped(figures: Sequence[float], first: int, patience: int | None) -> int:
    """Return the place of the smallest figure from a first place on, found with a patience."""
    best = first
    for place in range(first, len(figures)):
        if figures[place] < figures[best]:
            best = place
        elif patience is not None and place - best >= patience:
            break
    return best


def compared(run: Run, network: str, passes: int) -> dict[str, list[float]]:
    """Return trees or epochs kept by every rule, and the improvement on the test."""
    loss, argos, scores = run.trees(passes) if network == "trees" else run.network(passes)
    first = min(FEWEST_TREES, passes) - 1 if network == "trees" else 0
    places = {
        f"{name}{f', patience {patience}' if patience else ''}": stopped(figures, first, patience)
        for name, figures in (("loss", loss), ("argos", np.negative(argos)))
        for patience in (PATIENCE, None)
    }
    places["last"] = passes - 1

    def improvement(place: int) -> float:
        return max_sic(scores[place].astype(np.float64), run.is_signal).value or 0.0

    found = {name: [place + 1, improvement(place)] for name, place in places.items()}
    every = _EVERY if network == "trees" else 1
    best = max(range(first, passes, every), key=improvement)
    return found | {"best by the truth": [best + 1, improvement(best)]}


def settings(number: int) -> list[dict[str, Any]]:
    """Return settings of trees drawn by lot, the same for all runs."""
    rng = seeds.generator(1, "settings")
    return [
        {
            "rounds": int(rng.integers(FEWEST_TREES, 150)),
            "leaves": round(2 ** rng.uniform(1, 5.5)),
            "shrinkage": float(10 ** rng.uniform(-2, -0.1)),
        }
        for _ in range(number)
    ]


def chosen(run: Run, number: int) -> dict[str, list[float]]:
    """Return the setting that every rule takes, counted from 1, and its improvement on the test."""
    found = []
    for each in settings(number):
        loss, argos, scores = run.trees(**each)
        value = max_sic(scores[-1].astype(np.float64), run.is_signal).value or 0.0
        found.append((loss[-1], -argos[-1], value))
    loss, argos, value = np.transpose(found)
    places = {"loss": loss.argmin(), "argos": argos.argmin(), "best by the truth": value.argmax()}
    return {name: [int(i) + 1, value[i]] for name, i in places.items()} | {
        "mean of all": [0, value.mean()]
    }


def main() -> None:
    """Make the runs that are missing, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--background", nargs="+", type=Path, required=True)
    parser.add_argument("--signal", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--network", choices=["trees", "dense"], default="trees")
    parser.add_argument("--features", type=int, choices=FEATURES, default=4)
    parser.add_argument("--against", nargs="+", default=["template", "cwola"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.1, 0.5])
    parser.add_argument("--numbers", nargs="+", type=int, default=[50, 100, 150, 200, 300])
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--injections", type=int, default=5)
    parser.add_argument("--choose", type=int, default=0)
    a = parser.parse_args()
    runs = json.loads(a.out.read_text()) if a.out.exists() else {}
    kind = a.choose or a.network
    cases = product(range(1, a.injections + 1), a.numbers, a.against, a.shares)
    asked = {
        " ".join(map(str, (a.choose or a.network, a.features, *case))): case[::-1] for case in cases
    }
    if set(asked) - set(runs):
        background = [events(folder, FEATURES[a.features]) for folder in a.background]
        signal = events(a.signal, FEATURES[a.features])
    for name, (share, against, number, seed) in asked.items():
        if name not in runs:
            run = Run(background, signal, against=against, number=number, share=share, seed=seed)
            made = chosen(run, a.choose) if a.choose else compared(run, a.network, a.passes)
            runs[name] = made
            with written(a.out) as partial:
                partial.write_text(json.dumps(runs, indent=1))
    rules = list(next(iter(runs.values())))
    for against, share in product(a.against, a.shares):
        what = f"{kind}, {a.features} features, {against}, {share:g} to choose by"
        table = Table("signal", *rules, title=what)
        for number in a.numbers:
            found = np.array(
                [
                    [runs[name][rule] for rule in rules]
                    for name, item in asked.items()
                    if item[:3] == (share, against, number)
                ]
            )
            middle, low, high = (np.quantile(found, q, axis=0) for q in (0.5, 0.16, 0.84))
            cells = [
                f"{m[1]:.1f} [{a[1]:.1f}, {b[1]:.1f}] at {m[0]:.0f}"
                for m, a, b in zip(middle, low, high, strict=True)
            ]
            table.add_row(str(number), *cells)
        Console(width=200).print(table)


if __name__ == "__main__":
    main()
