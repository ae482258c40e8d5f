"""Factorized topics: arXiv:2101.08320, section 5.2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tnt_coffea.events.sample import Sample
from tnt_coffea.pipeline.studies.claims import Claim, Value, Verdict, compared
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import Found
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.study_figures import mass_ratios, scan, study_plot
from tnt_coffea.reporting.topic_figures import topics_and_truth
from tnt_coffea.training.density_ratio import auc
from tnt_coffea.training.factorization import (
    Common,
    Factorization,
    Pairs,
    bins_of,
    factorizations,
    toy,
)
from tnt_coffea.typing import Float64Array, IntArray

SHARES = (0.1, 0.01, 0.003, 0.001)
"""S/B of all events."""
MASSES = (100.0, 500.0)
"""Of the two jets of the signal [GeV]."""
NEAR = 30.0
"""Distance of a peak from such a mass, up to which it is found [GeV]."""
BELOW = 0.05
"""How far an area may lie below the published one."""
_HIGH, _BINS = 800.0, 60
_TOPICS = {"kind": "factorized_topics", "bins": _BINS, "high": _HIGH}
_FROBENIUS = {**_TOPICS, "loss": "frobenius"}
_EDGES = np.linspace(0, _HIGH, _BINS + 1)
_CENTRES = 0.5 * (_EDGES[1:] + _EDGES[:-1])
_INNER = _EDGES[1:-1].astype(np.float32)
_TOY_EVENTS = 100_000
TOY_STARTS = {"starts": 10, "steps": 5000}
"""Starts of a toy and most steps of each."""
_SOURCE = "arXiv:2101.08320, section 5.2.2"


def _name(share: float) -> str:
    return f"signal-{share:g}"


def _bins(sample: Sample) -> tuple[IntArray, IntArray]:
    first, second = (
        bins_of(np.asarray(sample.columns[f"{jet}_mass"], np.float32), _INNER)
        for jet in ("heavy", "light")
    )
    return first, second


def _measure(trained: TrainedBlock) -> Mapping[str, Any]:
    sample = trained.tested("signal")
    signal = sample.label == 1
    oracle = _oracle(sample)
    found: dict[str, Any] = {
        "truth": _true_masses(sample),
        "oracle": auc(oracle[signal], oracle[~signal]),
    }
    for name in trained.taggers.sets:
        ranks = trained.ranks(name, sample)
        of_runs = list(_learned(trained, name))
        found[name] = {
            "auc": auc(ranks.both[signal], ranks.both[~signal]),
            "pairs": _area(of_runs, sample, ranks.fold, common="pairs"),
            "unlike": _area(of_runs, sample, ranks.fold, pairs="unlike"),
            **_topics([one for _, one, _ in of_runs], found["truth"]["background"]),
            **{
                key: float(np.mean([history[key] for _, _, history in of_runs]))
                for key in ("starts that disagree", "good starts", "good starts that disagree")
            },
        }
    if trained.block.name == "null":
        found["toy"] = _toys(trained.seed)
    return found


def _learned(
    trained: TrainedBlock, name: str
) -> Iterator[tuple[int, Factorization, Mapping[str, Any]]]:
    """Give the fold scored, the topics and the history of every training of a method."""
    for place, history in trained.taggers.histories.items():
        if place.startswith(f"{name} event/"):
            topics = history["topics"]
            p, f = np.array(topics["p"]).T, np.array(topics["f"])[None]
            yield int(place.rpartition("/")[2].partition("-")[0]), Factorization(p, f), history


def _area(
    of_runs: list[tuple[int, Factorization, Mapping[str, Any]]],
    sample: Sample,
    fold: Any,
    *,
    common: Common = "jets",
    pairs: Pairs = "all",
) -> float:
    """Return the AUC of another score of the same topics, each fold's by its own tagger."""
    first, second = _bins(sample)
    signal, areas = sample.label == 1, []
    for scored, one, history in of_runs:
        table = one.ordered(common).log_ratio(history["effective events"], pairs=pairs)[0]
        score, own = table[first, second], fold == scored
        areas.append(auc(score[own & signal], score[own & ~signal]))
    return float(np.mean(areas))


def _oracle(sample: Sample) -> Float64Array:
    """Return the log ratio of the true histograms in both masses, from the other half of events."""
    first, second = _bins(sample)
    signal, half = sample.label == 1, np.arange(len(sample)) % 2 == 0
    score = np.zeros(len(sample))
    for rows in (half, ~half):
        counts = [np.full((_BINS, _BINS), 0.1) for _ in range(2)]
        for kind, table in zip((signal, ~signal), counts, strict=True):
            np.add.at(table, (first[~rows & kind], second[~rows & kind]), 1)
        # The jets have no order in the topics either.
        ratio = np.log([(t + t.T) / t.sum() for t in counts])
        score[rows] = (ratio[0] - ratio[1])[first[rows], second[rows]]
    return score


def _true_masses(sample: Sample) -> dict[str, list[float]]:
    """Return shares of jets by bin: the light and heavy jet of signal, both of background."""
    first, second = _bins(sample)
    signal = sample.label == 1
    jets = {
        "light": second[signal],
        "heavy": first[signal],
        "background": np.concatenate([first[~signal], second[~signal]]),
    }
    return {k: (np.bincount(v, minlength=_BINS) / max(len(v), 1)).tolist() for k, v in jets.items()}


def _topics(learned: list[Factorization], background: list[float]) -> dict[str, Any]:
    """Return the topics as the paper draws them: background subtracted, in the order of peaks."""
    anomalous, peaks, dips = [], [], []
    for one in learned:
        rest = np.maximum(one.p[:, 1:] - one.p[:, :1], 0)
        rest /= np.maximum(rest.sum(axis=0), 1e-300)
        order = np.argsort(one.peaks(), kind="stable")
        anomalous.append(rest[:, order])
        peaks.append(_CENTRES[one.peaks()[order]])
        at = [int(mass / _HIGH * _BINS) for mass in MASSES]
        dips.append(np.mean([one.p[i, 0] / max(background[i], 1e-9) for i in at]))
    mean = np.mean(anomalous, axis=0)
    found = np.all(np.abs(np.array(peaks) - MASSES) <= NEAR, axis=1)
    return {
        "lower": mean[:, 0].tolist(),
        "upper": mean[:, 1].tolist(),
        "common": np.mean([one.p[:, 0] for one in learned], axis=0).tolist(),
        "peaks found": float(found.mean()),
        "lower peak": float(np.mean([one[0] for one in peaks])),
        "upper peak": float(np.mean([one[1] for one in peaks])),
        "dip": float(np.mean(dips)),
        "not the common pair": float(np.mean([1 - one.common for one in learned])),
    }


def _toys(seed: int) -> dict[str, Any]:
    """Return what comes of toys whose topics are known, without noise and with 100,000 events."""
    found: dict[str, Any] = {}
    for kind in ("anchored", "overlapping"):
        for share in (0.1, 0.01):
            truth = toy(share, anchored=kind == "anchored")
            rng = np.random.default_rng([seed, round(1000 * share)])
            counts = rng.multinomial(_TOY_EVENTS, truth.expected.ravel()).reshape(1, _BINS, _BINS)
            noisy = (counts + counts.swapaxes(1, 2)) / (2 * _TOY_EVENTS)
            cases = [("poisson", truth.expected), ("frobenius", truth.expected)]
            named = [*(("exact", loss, h) for loss, h in cases), ("noisy", "poisson", noisy)]
            for noise, loss, histogram in named:
                starts = factorizations(histogram, 3, rng, loss=loss, **TOY_STARTS)  # type: ignore[arg-type]
                best = min(starts, key=lambda one: one.loss)
                order = [0, *(1 + np.argsort(best.peaks(), kind="stable"))]
                apart = 0.5 * np.abs(best.p[:, order] - truth.p).sum(axis=0)
                found[f"{kind} {share:g} {noise} {loss}"] = {
                    "share": 1 - best.common,
                    "variation": float(apart.max()),
                    "distance": float(np.abs(best.expected - histogram).sum()),
                }
    return found


def _auc(found: Found, share: float, method: str = "topics", key: str = "auc") -> Value:
    return found.measured(_name(share), f"{method}/{key}")


def _claims(found: Found) -> list[Claim]:
    claims = []
    for share, published in zip(SHARES, (0.88, 0.81), strict=False):
        area, least = _auc(found, share), published - BELOW
        claims.append(
            Claim(
                f"auc-{share:g}",
                _SOURCE,
                f"AUC {published:g} with {share:.0%} of signal",
                f"AUC on all events above {least:.2f}, the published value less {BELOW:g}",
                f"{area}; with the true histogram {_oracle_of(found, share)}",
                area.above(least),
            )
        )
    for share in SHARES[:2]:
        seen = _auc(found, share, key="peaks found")
        claims.append(
            Claim(
                f"peaks-{share:g}",
                f"{_SOURCE}, figure 48",
                f"both masses, 100 and 500 GeV, are recovered with {share:.0%} of signal",
                f"both peaks within {NEAR:g} GeV in more than half of the trainings",
                f"share of trainings {seen}; peaks at "
                f"{_auc(found, share, key='lower peak')} and "
                f"{_auc(found, share, key='upper peak')} GeV",
                seen.above(0.5),
            )
        )
    dip = _auc(found, SHARES[0], key="dip")
    claims.append(
        Claim(
            "dips",
            f"{_SOURCE}, figure 48",
            "the background component dips at the masses of the signal's jets",
            f"with {SHARES[0]:.0%} of signal it is below the true one there, the mean of both",
            f"{dip} of the true one",
            compared(1 - dip.mean, dip.error, means=(dip,)),
        )
    )
    high, low = _auc(found, SHARES[0]), _auc(found, SHARES[-1])
    claims.append(
        Claim(
            "fails-below-0.001",
            _SOURCE,
            "performance degrades considerably below 0.1 % of signal",
            f"AUC at {SHARES[-1]:.1%} lower than at {SHARES[0]:.0%} by more than 0.1",
            f"{low} against {high}; at {SHARES[-2]:.1%} {_auc(found, SHARES[-2])}",
            compared(
                high.mean - low.mean - 0.1,
                float(np.hypot(high.error, low.error)),
                means=(high, low),
            ),
        )
    )
    return [*claims, *_toy_claims(found)]


def _oracle_of(found: Found, share: float) -> Value:
    return found.measured(_name(share), "oracle")


def _toy(found: Found, case: str, key: str) -> Value:
    return found.measured("null", f"toy/{case}/{key}")


def _toy_claims(found: Found) -> list[Claim]:
    exact, stuck = (
        [_toy(found, f"anchored {share:g} exact {loss}", "share") for share in (0.1, 0.01)]
        for loss in ("poisson", "frobenius")
    )
    other = _toy(found, "overlapping 0.1 exact poisson", "share")
    distance = _toy(found, "overlapping 0.1 exact poisson", "distance")
    right = all(
        abs(value.mean - share) < 1e-3 for value, share in zip(exact, (0.1, 0.01), strict=True)
    )
    return [
        Claim(
            "fractions-anchored",
            "arXiv:2101.08320, section 5.2.1",
            "the fractions of the topics are recovered",
            "toy whose topics have bins of their own, without noise, Poisson loss: 10 % and 1 % "
            "to 1e-3",
            f"{exact[0]} and {exact[1]}",
            Verdict.of(right) if exact[0].n else Verdict.UNDECIDED,
        ),
        Claim(
            "fractions-frobenius",
            "arXiv:2101.08320, problem 5.1",
            "the Frobenius loss recovers them",
            "the same toy and rule, Frobenius loss",
            f"{stuck[0]} and {stuck[1]}",
            Verdict.of(all(abs(v.mean - s) < 1e-3 for v, s in zip(stuck, (0.1, 0.01), strict=True)))
            if stuck[0].n
            else Verdict.UNDECIDED,
        ),
        Claim(
            "fractions-overlapping",
            "arXiv:2101.08320, section 5.2.1",
            "the fractions of the topics are recovered",
            "toy whose topics overlap, without noise, Poisson loss: 10 % to 0.01",
            f"{other}, with the histogram described to {distance}",
            Verdict.of(abs(other.mean - 0.1) < 0.01) if other.n else Verdict.UNDECIDED,
            "other topics and fractions give the same histogram",
        ),
    ]


def _plots(found: Found) -> list[Plot]:
    panels = {
        f"{share:.0%} of signal": found.block(_name(share))["measured"] for share in SHARES[:2]
    }
    curves = {
        "Poisson loss": ("topics", "auc"),
        "Frobenius loss": ("frobenius", "auc"),
        "most pairs": ("topics", "pairs"),
        "equation 5.9": ("topics", "unlike"),
    }
    everywhere = {
        label: [(s, (v := _auc(found, s, method, key)).mean, v.sd) for s in SHARES]
        for label, (method, key) in curves.items()
    }
    everywhere["true histogram"] = [(s, (v := _oracle_of(found, s)).mean, v.sd) for s in SHARES]
    single = {"Poisson loss": "topics", "Frobenius loss": "frobenius", "heavy mass": "heavy mass"}
    window = {
        label: [(s, (v := found.value(_name(s), method, "auc")).mean, v.sd) for s in SHARES]
        for label, method in single.items()
    }
    points = {"AUC, all events": everywhere, "AUC in the signal region": window}
    masses = {
        f"{share:.1%} of signal": found.figures(_name(share))["topics"]["sculpting"]
        for share in (SHARES[0], SHARES[1])
    } | {"no signal": found.figures("null")["topics"]["sculpting"]}
    return [
        study_plot(
            "topics",
            "Topics and the true masses (figure 48)",
            "Anomalous topics less the common one, and the common topic, beside the true masses. "
            "Bands are standard deviations of the repetitions.",
            topics_and_truth(panels, _EDGES.tolist()),
            panels,
        ),
        study_plot(
            "shares",
            "AUC against the share of signal",
            "Each event is scored out of fold. The true histogram in both masses, known from "
            "labels, is the most that the two masses can give. Most pairs: the common topic is "
            "that of the largest F_kk.",
            scan(points, x="S/B", logarithmic_x=True, lines=dict.fromkeys(points, 0.5)),
            points,
        ),
        study_plot(
            "mass",
            "Background kept against the mass",
            "The score is a cut on both jets' masses and shapes the mass of the event as one does.",
            mass_ratios(masses),
            masses,
        ),
    ]


def _tables(found: Found) -> list[StudyTable]:
    areas = StudyTable(
        "Areas under the ROC curve, all events",
        ("S/B", "Poisson", "Frobenius", "most pairs", "equation 5.9", "true histogram"),
        tuple(
            (
                f"{share:.1%}",
                str(_auc(found, share)),
                str(_auc(found, share, "frobenius")),
                str(_auc(found, share, key="pairs")),
                str(_auc(found, share, key="unlike")),
                str(_oracle_of(found, share)),
            )
            for share in SHARES
        ),
    )
    starts = StudyTable(
        "Starts of a training, 20 each",
        ("S/B", "not the common pair", "good", "that disagree", "good ones that disagree"),
        tuple(
            (
                "none" if block == "null" else block.partition("-")[2],
                *(
                    str(found.measured(block, f"topics/{key}"))
                    for key in (
                        "not the common pair",
                        "good starts",
                        "starts that disagree",
                        "good starts that disagree",
                    )
                ),
            )
            for block in (*map(_name, SHARES), "null")
        ),
    )
    toys = found.block("null")["measured"]["toy"]
    known = StudyTable(
        "Toys whose topics are known",
        ("toy", "share found", "largest total variation of a topic", "distance of the histograms"),
        tuple(
            (case, *(str(_toy(found, case, key)) for key in ("share", "variation", "distance")))
            for case in toys
        ),
    )
    return [areas, starts, known]


def _notes(found: Found) -> list[str]:
    return [
        "Areas are those of all events; those in the window are in study.json.",
        "A start disagrees where its score has an area that differs by more than 0.05 from that "
        "of the best one, with the topics of the best one for the truth: no label is used. Good "
        "starts have a loss within 1 % of the best one's.",
    ]


EXPERIMENT = Experiment(
    name="topics",
    title="Factorized topics of jet masses",
    source="arXiv:2101.08320, section 5.2",
    pools={
        "background": Pool("rnd-background", 1_000_000),
        "signal": Pool("rnd-signal", 200_000),
    },
    settings={
        "skim": {"images": None, "observables": ("mass", "tau21")},
        "search": {"efficiencies": (0.1, 0.01)},
        "train": {"folds": {"outer": 2}},
    },
    blocks=(
        *(
            Block(
                _name(share),
                {"topics": _TOPICS, "frobenius": _FROBENIUS},
                Injection(share=share, within=Within.ALL),
                hunted=False,
            )
            for share in SHARES
        ),
        Block("null", {"topics": _TOPICS}, tested_on=("signal",), hunted=False),
    ),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    measure=_measure,
    scale=0.1,
    repetitions=3,
)
