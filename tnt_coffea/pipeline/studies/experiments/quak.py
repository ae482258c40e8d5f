"""QUAK, priors in a search without labels: arXiv:2101.08320, section 5.3.

Networks of background and of two simulated signals, and the losses of signals that are near these
priors and far from them. The paper's ROC curves are hulls of all cuts in the plane of losses,
chosen with the truth; beside them stands one path through the plane that is fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from tnt_coffea.events.sample import Sample
from tnt_coffea.pipeline.studies.claims import Claim, Value, Verdict, worst
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import EFFICIENCIES, Found, figures_table
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import COLOURS, Plot, new_figure, styled
from tnt_coffea.reporting.study_figures import curve_bands, study_plot
from tnt_coffea.training.methods.quak import Quak
from tnt_coffea.typing import BoolArray, Float64Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT", "hull"]

_PAPER = "arXiv:2101.08320, section 5.3"
PRIORS = ("2prong", "3prong")
SIGNALS = {
    "signal:prior": "the two-prong prior's own",
    "signal:2prong": "two prongs, 3500, 500, 100 GeV",
    "signal:500-500": "two prongs, 3500, 500, 500 GeV",
    "signal:3prong": "three prongs, 3500, 500, 100 GeV",
    "signal:3prong-prior": "the three-prong prior's own",
}
"""CountedTests on, from near the two-prong prior to far from it."""
_TWO, _THREE = "signal:2prong", "signal:3prong"
_FEATURES = Quak().features
_NUMBERS = {"1-D": 0, "2-D": 1, "3-D": 2}
"""Priors of each kind of QUAK."""
METHODS: dict[str, dict[str, Any]] = {
    **{name: {"kind": "quak", "priors": PRIORS[:n]} for name, n in _NUMBERS.items()},
    "plane": {"kind": "quak_plane", "priors": PRIORS[:1]},
    "beta-10": {"kind": "quak", "priors": (), "beta": 10.0},
    "norm": {"kind": "event_norm", "features": _FEATURES},
}
_SUPERVISED = {
    "kind": "supervised_both_jets",
    "classifier": {
        "network": "dense",
        # Without masses, as in the paper.
        "features": [name for name in _FEATURES if name != "mass"],
        "layers": (84, 42, 21, 10, 5),
        # Without batch normalisation rectified nodes of so narrow layers die.
        "activations": ("leaky_relu",),
        "dropout": 0.1,
        "epochs": 100,
        "optimizer": {"batch": 200, "beta1": 0.9, "beta2": 0.999, "decay": 0.0, "patience": 10},
    },
}
_BINS, _LOW, _HIGH = 30, -1.0, 3.0
"""Of log10 of a loss in the plane."""
_CUTS = {1: 400, 2: 60, 3: 24}
"""Cuts on each of so many losses that the hull is made of."""


def _blocks() -> tuple[Block, ...]:
    priors = tuple(f"prior:{name}" for name in PRIORS)
    references = [
        Block(
            f"supervised-{signal.removeprefix('signal:')}",
            {"supervised": _SUPERVISED},
            # Labels, which no search has: of the prior, or of the signal itself.
            Injection(pool=signal, share=0.03, within=Within.ALL),
            tested_on=tuple(SIGNALS) if signal == "signal:prior" else (signal,),
            hunted=False,
        )
        for signal in ("signal:prior", _TWO, _THREE)
    ]
    return (
        Block("quak", METHODS, None, trained_on=priors, tested_on=tuple(SIGNALS), hunted=False),
        Block(
            "injected",
            {name: METHODS[name] for name in (*_NUMBERS, "plane")},
            Injection(pool=_TWO, significance=2.0),
            trained_on=priors,
        ),
        *references,
    )


def hull(passed: Float64Array, kept: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the upper convex hull of points (background passed, signal kept), from 0 to 1.

    Examples
    --------
    >>> x, y = hull(np.array([0.2, 0.5]), np.array([0.8, 0.6]))
    >>> x.tolist(), y.tolist()
    ([0.0, 0.2, 1.0], [0.0, 0.8, 1.0])
    """
    x, y = np.append(passed, (0.0, 1.0)), np.append(kept, (0.0, 1.0))
    found: list[tuple[float, float]] = []
    for point in sorted(zip(x.tolist(), y.tolist(), strict=True)):
        while len(found) > 1 and _turn(found[-2], found[-1], point) >= 0:
            found.pop()
        found.append(point)
    passed, kept = np.array(found).T
    return passed, kept


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _losses(trained: TrainedBlock, sample: Sample) -> Float64Array:
    """Return (event, network) losses, each event's by the networks of its own fold."""
    known = trained.taggers.sets["3-D"]
    folds = known.score(sample).fold
    found = np.full((len(sample), 1 + len(PRIORS)), np.nan)
    for member in known.members:
        rows = np.flatnonzero(folds == member.fold)
        inputs = member.tagger.card.inputs[0].read(sample.select(rows))
        found[rows] = member.tagger.latent(inputs)
    return found


def _ranked(losses: Float64Array, folds: Any, background: BoolArray) -> Float64Array:
    """Return ranks of losses among the background of the same fold: background high is good."""
    found = np.empty_like(losses)
    for fold in np.unique(folds):
        own = folds == fold
        for i in range(losses.shape[1]):
            known = np.sort(losses[own & background, i])
            found[own, i] = np.searchsorted(known, losses[own, i]) / len(known)
    found[:, 1:] = 1 - found[:, 1:]
    return found


def _best_cuts(ranks: Float64Array, signal: BoolArray, background: BoolArray) -> dict[str, Any]:
    """Return area and curves of the hull of all cuts on all ranks, chosen with the truth."""
    points = [_cuts(ranks[:, : n + 1], signal, background) for n in range(ranks.shape[1])]
    passed, kept = hull(*np.concatenate(points, axis=1))
    area = float(np.trapezoid(kept, passed))
    eps = np.array(EFFICIENCIES)
    share = np.maximum(np.interp(eps, kept, passed), 1 / max(int(background.sum()), 1))
    improvement = eps / np.sqrt(share)
    return {"auc": area, "rejection": (1 / share).tolist(), "improvement": improvement.tolist()}


def _cuts(ranks: Float64Array, signal: BoolArray, background: BoolArray) -> Float64Array:
    """Return the shares (2, cut) of background and signal above cuts on each of some ranks."""
    steps = np.linspace(0, 1, _CUTS[ranks.shape[1]] + 1)
    steps[-1] = np.inf
    shares = []
    for kind in (background, signal):
        counts, _ = np.histogramdd(np.maximum(ranks[kind], 0), [steps] * ranks.shape[1])
        for axis in range(ranks.shape[1]):
            counts = np.flip(np.cumsum(np.flip(counts, axis), axis), axis)
        shares.append(counts.ravel() / max(int(kind.sum()), 1))
    return np.array(shares)


def _plane(losses: Float64Array) -> list[float]:
    """Return events by log10 of the losses of background and two-prong prior, flat."""
    places = np.clip(np.log10(losses[:, :2]), _LOW, np.nextafter(_HIGH, 0))
    counts, _ = np.histogramdd(places, bins=_BINS, range=[(_LOW, _HIGH)] * 2)
    return [float(count) for count in counts.ravel()]


def _explained(trained: TrainedBlock, method: str) -> dict[str, float]:
    """Return the mean R^2 of every network of a method."""
    cards = [member.tagger.card.history for member in trained.taggers.sets[method].members]
    names = [name for name in cards[0] if name.startswith("r2 ")]
    return {name: float(np.mean([card[name] for card in cards])) for name in names}


def _measure(trained: TrainedBlock) -> dict[str, Any]:
    """Return hulls and planes of every signal, R^2, and how far a collapsed loss is the norm."""
    if trained.block.name != "quak":
        return {}
    found: dict[str, Any] = {"hull": {}, "plane": {}}
    for pool in trained.left:
        sample = trained.tested(pool)
        losses = _losses(trained, sample)
        folds = trained.taggers.sets["3-D"].score(sample).fold
        ranks = _ranked(losses, folds, sample.label == 0)
        inside = trained.window(pool).contains(sample.mass)
        signal, background = (inside & (sample.label == kind) for kind in (1, 0))
        found["hull"][pool] = {
            name: _best_cuts(ranks[:, : n + 1], signal, background) for name, n in _NUMBERS.items()
        }
        found["plane"][pool] = _plane(losses[sample.label == 1])
    background = trained.background
    found["plane"]["background"] = _plane(_losses(trained, background))
    found["explained"] = {name: _explained(trained, name) for name in ("3-D", "beta-10")}
    collapsed, norm = (trained.ranks(name, background).both for name in ("beta-10", "norm"))
    found["spearman"] = float(spearmanr(collapsed, norm).statistic)
    return found


def _auc(found: Found, method: str, signal: str) -> Value:
    return found.value("quak", method, "auc", signal)


def _hull(found: Found, method: str, signal: str) -> Value:
    return found.measured("quak", f"hull/{signal}/{method}/auc")


def _claims(found: Found) -> list[Claim]:
    claims = []
    for more, fewer in (("2-D", "1-D"), ("3-D", "2-D")):
        for signal in (_TWO, _THREE):
            name = f"{more}-above-{fewer}-{signal.removeprefix('signal:')}"
            published = f"{more} QUAK is better than {fewer}, {SIGNALS[signal]}"
            a, b = _auc(found, more, signal), _auc(found, fewer, signal)
            claims.append(
                _claim(name, published, "AUC of the path above", f"{a} against {b}", a.above(b))
            )
            a, b = _hull(found, more, signal), _hull(found, fewer, signal)
            claims.append(
                _claim(
                    f"{name}-hull",
                    published,
                    "AUC of the hull of all cuts above (chosen with the truth, optimistic: more "
                    "losses are never worse)",
                    f"{a} against {b}",
                    a.above(b),
                )
            )
    fixed = {
        signal: found.value("supervised-prior", "supervised", "auc", signal) for signal in SIGNALS
    }
    own = found.value("supervised-3prong", "supervised", "auc")
    two = _auc(found, "2-D", _THREE)
    ratios = {
        signal: max(
            a / b
            for a, b in zip(
                found.figures("quak", signal)["3-D"]["improvement"]["mean"],
                found.figures(_reference(signal), signal)["supervised"]["improvement"]["mean"],
                strict=True,
            )
        )
        for signal in (_TWO, _THREE)
    }
    spread = {name: _falls([_auc(found, "2-D", signal) for signal in SIGNALS]) for name in ("2-D",)}
    spread["supervised"] = _falls(list(fixed.values()))
    explained = found.measured("quak", "explained/3-D/r2 background")
    flat = found.measured("quak", "explained/beta-10/r2 background")
    alike = found.measured("quak", "spearman")
    gain = [_auc(found, "2-D", _THREE), _auc(found, "1-D", _THREE), _auc(found, "3-D", _THREE)]
    return [
        *claims,
        _claim(
            "much-of-the-gain",
            "much of the gain on a three-prong signal is by the two-prong prior",
            "AUC(2-D) - AUC(1-D) above half of AUC(3-D) - AUC(1-D), which is positive",
            f"{gain[0].mean - gain[1].mean:.3f} of {gain[2].mean - gain[1].mean:.3f}",
            worst(
                [gain[2].above(gain[1]), Verdict.of(2 * gain[0].mean > gain[1].mean + gain[2].mean)]
            ),
        ),
        _claim(
            "supervised-abysmal",
            "a classifier of the two-prong prior is abysmal on a three-prong signal",
            "its AUC below that of 2-D QUAK, and below 0.6",
            f"{fixed[_THREE]} against {two}; trained on that signal itself {own}",
            worst([two.above(fixed[_THREE]), Verdict.of(fixed[_THREE].mean < 0.6)]),
        ),
        _claim(
            "stable",
            "2-D QUAK is more stable than the classifier as the signal deviates from the prior",
            "the largest fall of the AUC from the prior's own signal to another is smaller",
            f"{spread['2-D']:.3f} against {spread['supervised']:.3f}",
            Verdict.of(spread["2-D"] < spread["supervised"]),
        ),
        _claim(
            "reaches-supervised",
            "3-D QUAK approaches a classifier of the right signal, and exceeds it in some places",
            "SIC of the path above that of the classifier at a signal efficiency, either signal",
            "; ".join(f"{ratio:.2f} of it" for ratio in ratios.values()),
            Verdict.of(min(ratios.values()) > 1),
        ),
        _claim(
            "beta",
            "beta = 10 for the divergence",
            "R^2 of the background's network above 0.5 with beta = 10",
            f"{flat}; with 0.1 {explained}; its loss has a rank correlation of {alike} with the "
            "squared distance from the mean",
            flat.above(0.5),
            "beside a summed squared error the posterior collapses",
        ),
    ]


def _reference(signal: str) -> str:
    return f"supervised-{signal.removeprefix('signal:')}"


def _falls(values: Sequence[Value]) -> float:
    return values[0].mean - min(value.mean for value in values[1:])


def _claim(
    name: str, published: str, rule: str, ours: str, verdict: Verdict, reason: str = ""
) -> Claim:
    return Claim(name, _PAPER, published, rule, ours, verdict, reason)


@styled
def _plane_panels(found: Found, signals: Sequence[str]) -> Figure:
    """Return contours of background and signals in the plane of the two losses."""
    figure = new_figure(8.4, 4.6)
    middles = np.linspace(_LOW, _HIGH, 2 * _BINS + 1)[1::2]
    planes = found.block("quak")["measured"]["plane"]
    for panel, signal in zip(figure.subplots(1, len(signals), sharey=True), signals, strict=True):
        for colour, name in zip(COLOURS, ("background", signal), strict=False):
            counts = np.array(planes[name]["mean"]).reshape(_BINS, _BINS)
            ordered = np.sort(counts.ravel())[::-1]
            inside = np.cumsum(ordered) / max(ordered.sum(), 1)
            levels = sorted({float(ordered[np.searchsorted(inside, q)]) for q in (0.9, 0.68, 0.3)})
            panel.contour(middles, middles, counts.T, levels, colors=[colour])
            panel.plot([], [], color=colour, label=name.removeprefix("signal:"))
        panel.set(
            xlabel="log10 of the background's loss",
            title=SIGNALS[signal],
        )
        panel.legend(loc="upper left")
    figure.axes[0].set_ylabel("log10 of the two-prong prior's loss")
    return figure


def _plots(found: Found) -> list[Plot]:
    plots = []
    for signal in (_TWO, _THREE):
        figures, short = found.figures("quak", signal), signal.removeprefix("signal:")
        curves: dict[str, Mapping[str, Any]] = {name: figures[name] for name in _NUMBERS}
        curves["supervised on this signal"] = found.figures(_reference(signal))["supervised"]
        plots.append(
            study_plot(
                f"figure-50-left-{short}",
                f"More priors (figure 50, left): {SIGNALS[signal]}",
                "QUAK with no prior, the two-prong one, and both, along the path fixed beforehand; "
                "means and deviations of repetitions, in the signal region.",
                curve_bands(curves, found.efficiencies),
                curves,
            )
        )
        hulls = found.block("quak")["measured"]["hull"][signal]
        both: dict[str, Mapping[str, Any]] = {}
        for name in ("2-D", "3-D"):
            both |= {f"{name}, path": figures[name], f"{name}, hull": hulls[name]}
        plots.append(
            study_plot(
                f"hull-{short}",
                f"Hull of all cuts against the path: {SIGNALS[signal]}",
                "The paper's way takes the convex hull of all cuts in the space of losses, chosen "
                "with the truth on the events that are shown: optimistic, for evaluation only.",
                curve_bands(both, found.efficiencies),
                both,
            )
        )
    right = {}
    for signal in SIGNALS:
        short = signal.removeprefix("signal:")
        right[f"2-D, {short}"] = found.figures("quak", signal)["2-D"]
        right[f"supervised, {short}"] = found.figures("supervised-prior", signal)["supervised"]
    looks = {}
    for i, signal in enumerate(SIGNALS):
        short = signal.removeprefix("signal:")
        for name, line in (("2-D", "-"), ("supervised", (0, (4, 1.5)))):
            looks[f"{name}, {short}"] = (COLOURS[i % len(COLOURS)], line, f"{name}, {short}")
    plots.append(
        study_plot(
            "figure-50-right",
            "QUAK and a classifier of the two-prong prior (figure 50, right)",
            "2-D QUAK (solid) and a network that tells the two-prong prior from background "
            "(dashed), on signals from near the prior to far from it.",
            curve_bands(right, found.efficiencies, looks),
            right,
        )
    )
    plots.append(
        study_plot(
            "plane",
            "The plane of losses",
            "30, 68 and 90 % of the events of background and of a signal.",
            _plane_panels(found, (_TWO, _THREE)),
            found.block("quak")["measured"]["plane"],
        )
    )
    return plots


def _tables(found: Found) -> list[StudyTable]:
    rows = []
    for signal, words in SIGNALS.items():
        cells = [str(_auc(found, name, signal)) for name in (*METHODS,)]
        cells += [str(_hull(found, name, signal)) for name in _NUMBERS]
        cells.append(str(found.value("supervised-prior", "supervised", "auc", signal)))
        rows.append((words, *cells))
    columns = (
        "signal",
        *METHODS,
        *(f"{name}, hull (optimistic)" for name in _NUMBERS),
        "classifier of the two-prong prior",
    )
    explained = found.block("quak")["measured"]["explained"]
    networks = [
        (
            method,
            name.removeprefix("r2 "),
            str(found.measured("quak", f"explained/{method}/{name}")),
        )
        for method, values in explained.items()
        for name in values
    ]
    return [
        StudyTable("AUC in the signal region", columns, tuple(rows)),
        StudyTable("R^2 of the networks", ("method", "network", "R^2"), tuple(networks)),
        figures_table(found, "injected", title="With a signal in the data", selections=(0.1, 0.01)),
    ]


def _notes(found: Found) -> list[str]:
    return [
        "Every QUAK with a prior knows a simulated signal (its card says `signal simulation`): it "
        "is not model-independent.",
        "The path's score is min(rank(L_background), max_k(1 - rank(L_k))), fixed before any "
        "signal is seen. Hulls are chosen with the truth on the events shown.",
        "Classifiers see no mass, as in the paper; without batch normalisation, and at a learning "
        "rate of 1e-3 instead of the code's 1e-5.",
    ]


EXPERIMENT = Experiment(
    name="quak",
    title="QUAK: priors in a search without labels",
    source=_PAPER,
    pools={
        "background": Pool("rnd-background", 1_000_000),
        "prior:2prong": Pool("prior-2prong", 100_000, least=5000),
        "prior:3prong": Pool("prior-3prong", 100_000, least=5000),
        "signal:prior": Pool("prior-2prong", 100_000, least=5000),
        _TWO: Pool("rnd-signal", 100_000, least=5000),
        "signal:500-500": Pool("signal-500-500", 100_000, least=5000),
        _THREE: Pool("rnd-signal-3prong", 100_000, least=5000),
        "signal:3prong-prior": Pool("prior-3prong", 100_000, least=5000),
    },
    settings={
        "skim": {"images": None, "observables": _FEATURES},
        "search": {"efficiencies": (0.1, 0.01)},
        "train": {"folds": {"outer": 2}},
    },
    blocks=_blocks(),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    measure=_measure,
    windows={"signal:prior": (4200.0, 4800.0), "signal:3prong-prior": (4600.0, 5400.0)},
    repetitions=3,
    # Five signals, each with the curves of all: a page of 300 kB has no room for their sculpting.
    kept=(
        *("auc", "auc_fit", "max_sic", "sic_0.01", "sic_0.001", "rejection", "improvement"),
        *("z", "pull"),
    ),
)
