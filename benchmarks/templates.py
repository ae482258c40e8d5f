"""Background templates where features depend on m_jj: what is left of each method's sensitivity.

    python benchmarks/templates.py --background SKIM... --signal SKIM --signals 300 --seeds 5

Every seed draws a third of the background to search, with the signal injected, a third that stands
for independent background of the window (the idealised detector), and a third with the rest of the
signal on which the trained classifiers are scored. Each is trained with the four usual features,
and with Delta R of the two jets, which depends on m_jj, beside them; Tag N' Train, a jet each, with
mass and tau21, and with pT beside them. Jets are tagged by tau21 there, so that nothing but the
last step is trained. What is sculpted: background test events above the cut that keeps 1 % of
them in the window, and their excess there over a fit beside it; without and with the feature.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hist
import numpy as np
from rich.console import Console
from rich.table import Table

from tnt_coffea import seeds, stats
from tnt_coffea.config import MassRange
from tnt_coffea.errors import FitError
from tnt_coffea.events.sample import Sample
from tnt_coffea.events.skim import read_parts
from tnt_coffea.reporting import max_sic
from tnt_coffea.training import Job, Method, Scorer, backend
from tnt_coffea.training.classifiers import Trees
from tnt_coffea.training.labels import Ranking
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.references import OptimalCwola
from tnt_coffea.training.methods.tag_n_train import TagNTrain
from tnt_coffea.training.methods.template_classifier import TemplateClassifier

WINDOW = MassRange(low=3300, high=3700)
FIT = stats.SpectrumFit((2600, 7000), bin_width=40)
EVENT = ("light_mass", "mass_difference", "light_tau21", "heavy_tau21")
JET = ("mass", "tau21")
KEPT = 0.01


def methods(feature: str | None, jet_feature: str | None) -> dict[str, Method]:
    """Return the methods by name, with a further feature of the event and of a jet, if any."""
    event = Trees(features=EVENT if feature is None else (*EVENT, feature))
    jet = Trees(features=JET if jet_feature is None else (*JET, jet_feature))
    tnt = TagNTrain(after="tau21", classifier=jet)
    return {
        "idealised": OptimalCwola(background="more", classifier=event),
        "CWoLa hunting": Cwola(sideband=1.0, classifier=event),
        "template": TemplateClassifier(classifier=event),
        "Tag N' Train": tnt,
        "Tag N' Train, template": TagNTrain.model_validate(
            {**tnt.model_dump(), "reweight": "none", "template": {"by": "morphing"}}
        ),
    }


def joined(*samples: Sample) -> Sample:
    """Return the events of several samples as one, in the order of their ids."""
    first = samples[0]
    every = replace(
        first,
        event_id=np.concatenate([each.event_id for each in samples]),
        weight=np.concatenate([each.weight for each in samples]),
        label=np.concatenate([each.label for each in samples]),
        columns={
            name: np.concatenate([each.columns[name] for each in samples]) for name in first.columns
        },
        numbers={},
    )
    return every.select(np.argsort(every.event_id, kind="stable"))


def drawn(
    background: Sample, signal: Sample, signals: int, seed: int
) -> tuple[Sample, Sample, Sample]:
    """Return the events to search, independent background, and those to test with."""
    rng = seeds.generator(seed, "draw")
    thirds = np.array_split(rng.permutation(len(background)), 3)
    data, more, test = (background.select(np.sort(rows)) for rows in thirds)
    order = rng.permutation(len(signal))
    injected, rest = signal.select(order[:signals]), signal.select(order[signals:])
    return joined(data, injected), more, joined(test, rest)


def rankings(data: Sample) -> Callable[..., list[Ranking]]:
    """Return the order of all events by tau21 of a jet, the lowest last."""

    def of(name: str, jet: str) -> list[Ranking]:
        order = np.argsort(-data.columns[f"{jet}_{name}"], kind="stable")
        return [Ranking(rows=np.arange(len(data)), order=order)]

    return of


def scored(scorer: Scorer, sample: Sample) -> np.ndarray:
    """Return the (event,) scores."""
    assert scorer.predict is not None
    return scorer.predict({"features": scorer.inputs[0].read(sample)})


def event_scores(method: Method, data: Sample, more: Sample, test: Sample, seed: int) -> np.ndarray:
    """Return the (event,) scores of the test events; of two jets the sum of both's shares."""
    total = np.zeros(len(test))
    for scope in method.scopes:
        job = Job(
            data,
            scope,
            seeds.integer(seed, scope),
            window=WINDOW,
            priors={"more": more},
            rankings=rankings(data),
        )
        scores = scored(method.train(job), test)
        total += np.searchsorted(np.sort(scores), scores, side="right") / len(scores)
    return total


def excess(scores: np.ndarray, test: Sample) -> float:
    """Return the window's excess of background over the fit beside it, in uncertainties."""
    background = test.label == 0
    cut = np.quantile(scores[background & WINDOW.contains(test.mass)], 1 - KEPT)
    selected = test.mass[background & (scores > cut)]
    spectrum = hist.Hist(hist.axis.Regular(110, 2600, 7000, name="m_jj"))
    spectrum.fill(selected)
    edges = (WINDOW.low - 20, WINDOW.high - 20)  # whole bins
    try:
        found = stats.masked_window_test(spectrum, window=edges, fit=FIT)
    except FitError:
        return float("nan")
    return (found.observed - found.expected) / float(
        np.hypot(found.uncertainty, np.sqrt(found.expected))
    )


def measured(args: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield a row for every seed, method and set of features."""
    background, signal = (
        read_parts(sorted(p for each in folders for p in each.glob("**/*.parquet")), truth=True)
        for folders in (args.background, [args.signal])
    )
    signal = replace(signal, label=np.ones(len(signal), np.int8))
    for number in range(args.seeds):
        seed = seeds.integer(args.seed, "templates", number)
        data, more, test = drawn(background, signal, args.signals, seed)
        inside = WINDOW.contains(test.mass)
        for shifted in (False, True):
            for name, method in methods(*(("delta_r", "pt") if shifted else (None, None))).items():
                with backend.one_thread():
                    scores = event_scores(method, data, more, test, seed)
                sic = max_sic(scores[inside], test.label[inside] == 1)
                here = WINDOW.contains(data.mass)
                yield {
                    "seed": number,
                    "method": name,
                    "shifted": shifted,
                    "max_sic": sic.value,
                    "z": excess(scores, test),
                    "signal": int((here & (data.label == 1)).sum()),
                    "background": int((here & (data.label == 0)).sum()),
                }


def main() -> None:
    """Measure, and print medians with the 68 % bands of the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--background", type=Path, nargs="+", required=True, help="skims")
    parser.add_argument("--signal", type=Path, required=True, help="a skim")
    parser.add_argument("--signals", type=int, default=300, help="injected; 0: a null")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON lines of all rows")
    args = parser.parse_args()
    rows = []
    for row in measured(args):
        rows.append(row)
        if args.out is not None:
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    signal, background = (np.mean([row[name] for row in rows]) for name in ("signal", "background"))
    title = f"{signal:.0f} signal on {background:.0f} background events in {WINDOW.name} GeV"
    table = Table(title=f"{title}, S/sqrt(B) = {signal / np.sqrt(background):.2f}")
    for column in (
        "method",
        "max SIC",
        "with Delta R or pT",
        "kept",
        "excess without signal [sigma]",
    ):
        table.add_column(column)
    for name in methods(None, None):
        mine = [row for row in rows if row["method"] == name]
        parts = [np.array([r["max_sic"] for r in mine if r["shifted"] is s]) for s in (False, True)]
        bands = [np.quantile(part, (0.16, 0.5, 0.84)) for part in parts]
        shown = [f"{band[1]:.2f} ({band[0]:.2f} to {band[2]:.2f})" for band in bands]
        zs = [np.array([r["z"] for r in mine if r["shifted"] is s]) for s in (False, True)]
        excesses = "; ".join(f"{np.nanmin(z):.1f} to {np.nanmax(z):.1f}" for z in zs)
        table.add_row(name, *shown, f"{bands[1][1] / bands[0][1]:.0%}", excesses)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
