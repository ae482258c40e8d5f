"""CWoLa hunting against an autoencoder over the share of signal: arXiv:2101.08320, section 4.2.

Signal of two jets of 500 GeV. S/sqrt(B) of every point is the paper's at any scale; S/B is quoted
at the paper's number of events. The squared distance from the mean stands beside the autoencoder,
which the paper trains for ten steps, and an autoencoder of 200 epochs beside both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from tnt_coffea.pipeline.studies.claims import Claim, Value, Verdict, compared, worst
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import Found, crossing, figures_table
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.study_figures import curve_bands, scan, study_plot
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.methods.feature_autoencoder import FeatureAutoencoderPerJet

__all__ = ["EXPERIMENT"]

_PAPER = "arXiv:2101.08320, section 4.2"
SHARES = (1.2e-3, 1.8e-3, 2.4e-3, 3e-3, 3.6e-3, 4.2e-3, 5e-3, 6e-3)
"""S/B in the signal region, at the paper's number of events."""
_IN_WINDOW = 128_000
"""Background there: 537,304 events have 2.8-5.2 TeV, and 23.8 % of such generated ones 3.3-3.7."""
_LOW, _HIGH, _BINS = 2800.0, 5200.0, 15
_EDGES = tuple(round(float(edge), 1) for edge in np.geomspace(_LOW, _HIGH, _BINS + 1))
_WINDOW = _EDGES[4], _EDGES[7]
_CUT, _CUTS = 0.003, "autoencoder"
_AUTOENCODER = FeatureAutoencoderPerJet.comparison().model_dump(mode="json")
_NORM = {"kind": "norm", "features": _AUTOENCODER["features"]}
_CWOLA = Cwola.comparison().model_dump(mode="json")
# Fewer events than the paper's in batches that are as much smaller: as many steps.
_CWOLA["classifier"]["optimizer"]["batch"] = 2048
# Ten networks on each of twenty folds would take a night; the better of two is still a choice.
_CWOLA["candidates"] = 2
_SHOWN = {
    "cwola": ("cwola", f"{_CUT:g}"),
    "autoencoder": ("autoencoder", _CUTS),
    "norm": ("autoencoder", _CUTS),
}
"""Block and selection of each method."""


def _blocks() -> tuple[Block, ...]:
    per_jet = {"search": {"cuts": {_CUTS: {"heavy": 0.8, "light": 0.025}}}}
    members = per_jet | {"train": {"members": 4}}
    found = []
    shown = SHARES[-1], 0.0
    for share in (*reversed(SHARES), 0.0):
        signal = Injection(significance=share * math.sqrt(_IN_WINDOW)) if share else None
        found += [
            Block(_name("cwola", share), {"cwola": _CWOLA}, signal, curves=share in shown),
            Block(
                _name("autoencoder", share),
                {"autoencoder": _AUTOENCODER, "norm": _NORM},
                signal,
                settings=members,
                curves=share in shown,
            ),
        ]
    most = Injection(significance=SHARES[-1] * math.sqrt(_IN_WINDOW))
    long = {"long-autoencoder": {**_AUTOENCODER, "epochs": 200}}
    labels = {"kind": "supervised_both_jets", "classifier": _CWOLA["classifier"]}
    return (
        *found,
        Block("long", long, most, settings=per_jet, hunted=False),
        Block("supervised", {"supervised": labels}, Injection(significance=20.0), hunted=False),
    )


def _name(kind: str, share: float) -> str:
    return f"{kind}-{1000 * share:g}"


def _measure(trained: TrainedBlock) -> dict[str, Any]:
    """Return the rank correlation of the autoencoder's error and the norm, for either jet."""
    if "autoencoder" not in trained.taggers.sets:
        return {}
    pair = [trained.ranks(name, trained.data) for name in ("autoencoder", "norm")]
    return {
        jet: float(spearmanr(*(getattr(one, jet) for one in pair)).statistic)
        for jet in ("heavy", "light")
    }


def _z(found: Found, method: str, share: float) -> Value:
    kind, selection = _SHOWN[method]
    return found.z(_name(kind, share), method, selection)


def _figure(found: Found, method: str, share: float, key: str) -> Value:
    kind, selection = _SHOWN[method]
    return found.value(_name(kind, share), method, key.format(selection=selection))


def _crossing(found: Found, of: str) -> tuple[float, float, float, float]:
    """Return the crossing of CWoLa and autoencoder in AUC, SIC at their cuts, or Z."""
    differences = []
    for share in SHARES:
        values = [
            _z(found, name, share) if of == "z" else _figure(found, name, share, of)
            for name in ("cwola", "autoencoder")
        ]
        both = zip(*(value.values for value in values), strict=False)
        differences.append([one - other for one, other in both])
    return crossing(differences, SHARES)


def _claims(found: Found) -> list[Claim]:
    most = SHARES[-1]
    few, many = [s for s in SHARES if s < 3e-3], [s for s in SHARES if s > 3e-3]
    supervised = found.value("supervised", "supervised", "auc")
    auc = {name: _figure(found, name, most, "auc") for name in _SHOWN}
    sic = "selections/{selection}/sic"
    gains = {
        name: [_figure(found, name, share, sic) for share in shares]
        for name, shares in (("cwola", many), ("autoencoder", few))
    }
    jets = [_figure(found, "autoencoder", most, f"auc_{jet}") for jet in ("heavy", "light")]
    flat = [_figure(found, "autoencoder", share, "auc") for share in SHARES]
    spread = max(one.mean for one in flat) - min(one.mean for one in flat)
    null = {name: _z(found, name, 0.0) for name in _SHOWN}
    alike = [found.measured(_name("autoencoder", most), jet) for jet in ("heavy", "light")]
    shown = found.figures(_name("cwola", most))
    single = {
        name: found.value(_name("cwola", most), name, "auc")
        for name in shown
        if name not in (*_SHOWN, "m_jj")
    }
    best = max(single, key=lambda name: single[name].mean)
    at, low, high, share = _crossing(found, sic)
    crosses = 0 < at < math.inf
    return [
        _claim("supervised", "AUC 0.98", "AUC above 0.96", supervised, supervised.above(0.96)),
        _claim(
            "cwola-separates",
            "AUC above 0.9 at the largest S/B",
            f"AUC above 0.9 at S/B {most:.1e}",
            auc["cwola"],
            auc["cwola"].above(0.9),
        ),
        _claim(
            "crossing",
            "the autoencoder is better below S/B 3e-3, CWoLa above",
            "SIC at the paper's cuts crosses between 1.5e-3 and 6e-3",
            f"{at:.2g} (68 %: {low:.2g} to {high:.2g}; {share:.0%} of bootstrap samples cross)",
            Verdict.of(crosses and at >= 1.5e-3)
            if not math.isnan(at) and (low, high) != (0.0, math.inf)
            else Verdict.UNDECIDED,
            "" if crosses else "one of them is better at every S/B that is known",
        ),
        _claim(
            "cwola-gains",
            "CWoLa raises the significance 3 to 8 times above the crossing",
            f"SIC at {_CUT:.1%} above 3 at every S/B from {many[0]:.1e} on",
            "; ".join(map(str, gains["cwola"])),
            worst([one.above(3) for one in gains["cwola"]]),
        ),
        _claim(
            "autoencoder-gains",
            "the autoencoder raises it 2 to 3 times below",
            f"SIC at its cuts above 2 at every S/B up to {few[-1]:.1e}",
            "; ".join(map(str, gains["autoencoder"])),
            worst([one.above(2) for one in gains["autoencoder"]]),
        ),
        _claim(
            "second-jet",
            "the autoencoder of jet 2 is better than that of jet 1",
            "AUC of the light jet above that of the heavy one",
            f"{jets[1]} against {jets[0]}",
            jets[1].above(jets[0]),
        ),
        _claim(
            "flat",
            "the autoencoder does not depend on S/B",
            "its mean AUC within 0.02 at all S/B",
            f"{spread:.3f}",
            Verdict.of(spread < 0.02),
        ),
        _claim(
            "null",
            "no significance without signal",
            "mean Z below 2 after every method's cuts",
            "; ".join(f"{name} {one}" for name, one in null.items()),
            worst([compared(2 - one.mean, one.error, means=(one,)) for one in null.values()]),
        ),
        _claim(
            "untrained",
            "(not in the paper) ten steps leave the squared distance from the mean",
            "rank correlation of the error with |x|^2 above 0.99 for either jet",
            "; ".join(map(str, alike)),
            Verdict.of(min(one.mean for one in alike) > 0.99),
        ),
        _claim(
            "autoencoder-learns",
            "the autoencoder is what finds the signal",
            "AUC of the autoencoder above that of |x|^2",
            f"{auc['autoencoder']} against {auc['norm']}; after 200 epochs "
            f"{found.value('long', 'long-autoencoder', 'auc')}",
            auc["autoencoder"].above(auc["norm"]),
        ),
        _claim(
            "beyond-a-feature",
            "(not in the paper) either method is better than a single feature",
            f"AUC of both above that of the best feature at S/B {most:.1e}",
            f"{best} {single[best]}; CWoLa {auc['cwola']}; autoencoder {auc['autoencoder']}",
            worst([auc[name].above(single[best]) for name in ("cwola", "autoencoder")]),
        ),
    ]


def _claim(
    name: str, published: str, rule: str, ours: object, verdict: Verdict, reason: str = ""
) -> Claim:
    return Claim(name, _PAPER, published, rule, str(ours), verdict, reason)


def _plots(found: Found) -> list[Plot]:
    def points(key: str) -> dict[str, list[tuple[float, float, float]]]:
        every = {
            name: [(1000 * share, _figure(found, name, share, key)) for share in SHARES]
            for name in _SHOWN
        }
        return {name: [(x, v.mean, v.sd) for x, v in ones] for name, ones in every.items()}

    z: dict[str, list[tuple[float, float, float]]] = {}
    for name in _SHOWN:
        values = [(1000 * share, _z(found, name, share)) for share in (0.0, *SHARES)]
        z[name] = [(x, v.mean, v.sd) for x, v in values]
    befores = [(1000 * share, found.z(_name("cwola", share), "cwola")) for share in (0.0, *SHARES)]
    z["before the cuts"] = [(x, v.mean, v.sd) for x, v in befores]
    panels = {
        "AUC in the signal region": points("auc"),
        "SIC at the paper's cuts": points("selections/{selection}/sic"),
        "Z of the window test": z,
    }
    most = SHARES[-1]
    background = found.block(_name("cwola", most))["background"]["mean"]
    curves: Mapping[str, Any] = {
        "CWoLa": found.figures(_name("cwola", most))["cwola"],
        "autoencoder": found.figures(_name("autoencoder", most))["autoencoder"],
        "distance from the mean": found.figures(_name("autoencoder", most))["norm"],
        "autoencoder, 200 epochs": found.figures("long")["long-autoencoder"],
        "supervised": found.figures("supervised")["supervised"],
        "low tau21 of both jets": found.figures(_name("cwola", most))["low tau21"],
    }
    return [
        study_plot(
            "signal-scan",
            "CWoLa and autoencoder against the share of signal (figure 37)",
            "Left: AUC in the signal region; middle: eps_S/sqrt(eps_B) after 0.3 % (CWoLa) and "
            "80 % and 2.5 % of the jets (others); right: Z of the masked window test after them. "
            "S/B at the paper's number of events. Means and deviations of repetitions.",
            scan(panels, x="S/B [per mille]", lines={"AUC in the signal region": 0.5}),
            panels,
        ),
        study_plot(
            "curves",
            f"Curves at S/B {most:.1e}",
            "Background rejection (left) and significance improvement (right) in the signal "
            "region, as far as ten background events are left; means and deviations of "
            "repetitions. Black: random.",
            curve_bands(curves, found.efficiencies, least=10 / background),
            {},
        ),
    ]


def _tables(found: Found) -> list[StudyTable]:
    rows = []
    for share in (0.0, *SHARES):
        cwola = _name("cwola", share)
        signal, background = (
            np.mean(found.block(cwola)[key]["values"]) for key in ("signal", "background")
        )
        row = [f"{share:.1e}", f"{signal / background:.2%}"]
        row += [str(found.z(cwola, "cwola", key="pull")), str(found.z(cwola, "cwola"))]
        row += [str(_z(found, name, share)) for name in _SHOWN]
        rows.append((*row, *(str(_figure(found, name, share, "auc")) for name in _SHOWN)))
    columns = (
        *("S/B of the paper", "S/B here", "pull before", "Z before"),
        *(f"{what}, {name}" for what in ("Z", "AUC") for name in _SHOWN),
    )
    most = SHARES[-1]
    return [
        StudyTable("Against the share of signal", columns, tuple(rows)),
        *(
            figures_table(found, block, title=f"Block {block}")
            for block in (_name("cwola", most), _name("autoencoder", most), "long", "supervised")
        ),
    ]


def _notes(found: Found) -> list[str]:
    names = {"AUC": "auc", "SIC": "selections/{selection}/sic", "Z": "z"}
    crossings = {name: _crossing(found, key) for name, key in names.items()}
    before = found.z(_name("cwola", 0.0), "cwola", key="pull")
    return [
        "Crossings of CWoLa and autoencoder in S/B (0: CWoLa is better everywhere, inf: not at the "
        "largest): "
        + "; ".join(
            f"{name} {at:.2g} ({low:.2g} to {high:.2g})"
            for name, (at, low, high, _) in crossings.items()
        )
        + ". Intervals: 68 % of bootstrap samples of the repetitions.",
        f"S/sqrt(B) is the paper's. Before any cut and without signal the pull of the window is "
        f"{before.mean:.2f}: a fluctuation that is in every Z (the paper's was downward).",
        "CWoLa: the better of 2 networks on each of four inner folds, not of ten, and batches of "
        "2048, not 20480; autoencoders: means of 4, not 20.",
        "The number of constituents stands for that of tracks: the data have no charges.",
    ]


EXPERIMENT = Experiment(
    name="cwola-against-autoencoder",
    title="CWoLa against an autoencoder",
    source=_PAPER,
    pools={
        "background": Pool("rnd-background", 1_000_000),
        "signal": Pool("signal-500-500", 50_000, least=12_000),
    },
    settings={
        "skim": {
            "images": None,
            "observables": _AUTOENCODER["features"],
        },
        "search": {
            "window": {"low": _WINDOW[0], "high": _WINDOW[1]},
            "fit_range": {"low": _LOW, "high": _HIGH},
            "efficiencies": (0.1, 0.01, _CUT),
            "mass_edges": _EDGES,
        },
        "fit": {"bump": {"edges": _EDGES, "max_parameters": 4}, "window": {"enabled": True}},
        "train": {"folds": {"outer": 5}},
    },
    blocks=_blocks(),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    measure=_measure,
    repetitions=3,
)
