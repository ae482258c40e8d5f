"""Tossed CWoLa SALAD, arXiv:2101.08320, section 4.1.3: what it does to the mass of all jets.

The data are background like the simulation, or that of black box 3 (a shower and a detector of its
own); its graviton is injected at the end, as often as in the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tnt_coffea.config import MassRange
from tnt_coffea.pipeline.studies.claims import Claim, Value, Verdict, worst
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import Found, figures_table
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot, mass_label
from tnt_coffea.reporting.study_figures import curve_bands, mass_ratios, scan, study_plot
from tnt_coffea.training.density_ratio import auc
from tnt_coffea.training.methods.sa_cwola import SaCwola
from tnt_coffea.typing import BoolArray, Float64Array

__all__ = ["EXPERIMENT", "largest_over_smallest"]

_OLYMPICS = "arXiv:2101.08320, section 4.1.3"
_LAMBDAS = {0.0: "lambda-0", 0.5: "lambda-half", 1.0: "lambda-1", 2.0: "lambda-2"}
_KEPT = 0.1
_SLICES = 8
_HEAVY = 1.5
"""Largest over smallest share kept from which sculpting is called heavy; 1.2 is chance here."""
_WINDOW = MassRange(low=3940.0, high=4680.0)
"""The fifth of `train.windows: tossed`, in bins of 20 GeV."""
_GRAVITON = 4200.0
_MILLION = 1_000_000


def _method(strength: float, keep: str = "last", nodes: int = 128) -> dict[str, Any]:
    settings = SaCwola.tossed(strength).model_dump(mode="json")
    settings["classifier"] |= {
        "layers": [nodes] * 4,
        "epochs": 40,
        "optimizer": {**settings["classifier"]["optimizer"], "batch": 500, "keep": keep},
    }
    return settings


_SCAN = {name: _method(strength) for strength, name in _LAMBDAS.items()}
_STOPPED = {"stopped": _method(1.0, "best")}


def largest_over_smallest(kept: BoolArray, mass: Float64Array) -> float:
    """Return the largest over the smallest share kept in eight slices of mass, alike in number.

    Parameters
    ----------
    kept
        (event,) bool.
    mass
        (event,) [GeV].

    Examples
    --------
    >>> mass = np.arange(80.0)
    >>> largest_over_smallest(mass % 2 == 0, mass)
    1.0
    >>> largest_over_smallest((mass % 2 == 0) & (mass < 75), mass) > 1.5
    True
    """
    order = np.argsort(mass, kind="stable")
    shares = [float(np.mean(part)) for part in np.array_split(kept[order], _SLICES)]
    return max(shares) / max(min(shares), 1 / len(mass))


def _measure(trained: TrainedBlock) -> Mapping[str, Any]:
    config, background = trained.config, trained.background
    inside = config.search.fit_range.contains(background.mass)
    background = background.select(inside)
    found = {}
    for name in trained.block.methods:
        score = trained.ranks(name, background).both
        lower, upper = SaCwola.model_validate(_SCAN[_LAMBDAS[0.0]]).sidebands(config.search.window)
        region = config.search.window.contains(background.mass)
        beside = lower.contains(background.mass) | upper.contains(background.mass)
        found[name] = {
            "auc": auc(score[region], score[beside]),
            "spread": largest_over_smallest(score > 1 - _KEPT, background.mass),
        }
    return found


def _number(found: Found, block: str, strength: float, key: str) -> Value:
    return found.measured(block, f"{_LAMBDAS[strength]}/{key}")


def _claims(found: Found) -> list[Claim]:
    spread = _number(found, "box-3-null", 1.0, "spread")
    before, after = (_number(found, "imitated", strength, "auc") for strength in (0.0, 1.0))
    reversed_ = _number(found, "imitated", 2.0, "auc")
    zs = [found.z("box-3", _LAMBDAS[1.0], share) for share in (0.1, 0.01)]
    return [
        Claim(
            "heavy-sculpting",
            _OLYMPICS,
            "all attempts led to heavy sculpting of the background",
            f"of black box 3's background, lambda = 1: largest over smallest share kept in "
            f"{_SLICES} slices of mass above {_HEAVY:g}, at {_KEPT:.0%}",
            str(spread),
            spread.above(_HEAVY),
        ),
        Claim(
            "momenta-over-mass",
            _OLYMPICS,
            "momenta are divided by the mass in an attempt to avoid correlations",
            "lambda = 0: AUC of signal region against sidebands not above 0.5, background alone",
            f"AUC {before}",
            _negated(before.above(0.5)),
            "the trigger's pT over the mass is an edge that moves with it",
        ),
        Claim(
            "tossed-labels",
            _OLYMPICS,
            "simulation similar to the background penalises what is learned of correlations",
            "simulation like the data: AUC at lambda = 1 below that at lambda = 0",
            f"{after} against {before}",
            before.above(after),
        ),
        Claim(
            "reversed-above-one",
            "arXiv:2009.02205, equation 2.3 (its optimum)",
            "background is ranked as by CWoLa below lambda = 1, the other way above it",
            "AUC above 0.5 at lambda = 0, below 0.5 at lambda = 2, simulation like the data",
            f"{before} and {reversed_}",
            worst([before.above(0.5), _negated(reversed_.above(0.5))]),
        ),
        Claim(
            "box-3-not-found",
            _OLYMPICS,
            "black box 3 not found",
            "its graviton as often as in the box, lambda = 1: Z below 3 after 10 % and after 1 %",
            " and ".join(map(str, zs)),
            worst([_negated(z.above(3.0)) for z in zs]),
        ),
    ]


def _negated(verdict: Verdict) -> Verdict:
    if verdict is Verdict.UNDECIDED:
        return verdict
    return Verdict.of(verdict is Verdict.REFUTED)


def _plots(found: Found) -> list[Plot]:
    plots = []
    mass = mass_label("m_multijet")
    for block, what in (
        ("imitated", "background like the simulation"),
        ("box-3-null", "background of black box 3"),
    ):
        figures = found.figures(block)
        shown = {name: figures[name]["sculpting"] for name in (*_SCAN, "stopped")}
        plots.append(
            study_plot(
                f"kept-{block}",
                f"Mass kept, {what}",
                "Share of background kept in slices of the mass of all jets over that in all; no "
                "signal is in the data. Error bars: deviation of repetitions.",
                mass_ratios(shown, x=mass),
                shown,
            )
        )
    labels = {"auc": "AUC, signal region against sidebands", "spread": "largest / smallest share"}
    points = {
        label: {
            block: [
                (strength, (value := _number(found, block, strength, key)).mean, value.sd)
                for strength in _LAMBDAS
            ]
            for block in ("imitated", "box-3-null")
        }
        for key, label in labels.items()
    }
    plots.append(
        study_plot(
            "lambda",
            "Weight of the simulation",
            f"Background alone, out of fold. Right: share kept at {_KEPT:.0%} in {_SLICES} slices "
            "of mass. Bands: deviation of repetitions.",
            scan(points, x=r"$\lambda$", lines=dict(zip(labels.values(), (0.5, 1.0), strict=True))),
            points,
        )
    )
    box = found.figures("box-3")
    curves = {name: box[name] for name in (*_SCAN, "stopped", "m_jj", "heavy mass")}
    plots.append(
        study_plot(
            "box-3",
            "Black box 3 with its truth",
            "Graviton of 4.2 TeV against background in the window. Bands: deviation of "
            "repetitions.",
            curve_bands(curves, found.efficiencies),
            curves,
        )
    )
    return plots


def _tables(found: Found) -> Sequence[StudyTable]:
    rows = []
    for block in ("imitated", "box-3-null", "box-3"):
        for name in EXPERIMENT.block(block).methods:
            cells = (found.measured(block, f"{name}/{key}") for key in ("auc", "spread"))
            rows.append((block, name, *map(str, cells)))
    columns = ("data", "method", "AUC, signal region against sidebands", "largest / smallest share")
    return [
        StudyTable("What is learned of the mass, background alone", columns, tuple(rows)),
        figures_table(found, "box-3", title="Black box 3", selections=(0.1, 0.01)),
    ]


def _notes(found: Found) -> list[str]:
    return [
        "Networks have 4 x 128 nodes, 40 epochs in batches of 500 and their last weights; `wide` "
        "has 4 x 512 as published, and `stopped` the weights of the best loss. The paper's batches "
        "are of 5000 of a million events, with a patience of 250 epochs.",
        "lambda = 0 is CWoLa hunting, and what the code that was committed does: the tossed arrays "
        "are built there and not used.",
    ]


def _edges(window: MassRange) -> dict[str, float]:
    return {"low": window.low, "high": window.high}


EXPERIMENT = Experiment(
    name="tossed",
    title="Tossed CWoLa SALAD and the mass of all jets",
    source=_OLYMPICS,
    pools={
        "background": Pool("rnd-background", _MILLION),
        "simulation": Pool("rnd-background", _MILLION),
        "background:box-3": Pool("blackbox-3", _MILLION, settings={"signal": 0}),
        "signal": Pool("blackbox-3", 50_000, least=4000, settings={"background": 0}),
    },
    settings={
        "skim": {
            "images": None,
            "observables": ("pt", "eta", "mass", "m_multijet"),
            "sequence": {"radius": 0.7, "jets": 10},
        },
        "search": {
            "variable": "m_multijet",
            "window": _edges(_WINDOW),
            "fit_range": {"low": 2800.0, "high": 7000.0},
            "efficiencies": (0.1, 0.01),
        },
        "fit": {"bump": {"mass": _GRAVITON}},
        "train": {"folds": {"outer": 2}},
    },
    blocks=(
        Block(
            "box-3-null",
            {**_SCAN, **_STOPPED, "wide": _method(1.0, nodes=512)},
            background="background:box-3",
            trained_on=("simulation",),
            hunted=False,
        ),
        Block("imitated", {**_SCAN, **_STOPPED}, trained_on=("simulation",), hunted=False),
        Block(
            "box-3",
            {**_SCAN, **_STOPPED},
            Injection(share=3200 / (_MILLION - 3200), within=Within.ALL),
            background="background:box-3",
            trained_on=("simulation",),
        ),
    ),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    measure=_measure,
    scale=0.03,
    repetitions=3,
)
