"""Tag N' Train from 9 to 0.1 % of signal: arXiv:2002.12376, section 4.2 and appendix A.

Trees of two features of a jet are trained on all events, networks of images on a tenth of them;
with 9 % of signal either on the tenth, for there is not as much signal. Shares of signal are the
paper's; every event is scored out of fold, where the paper has a search sample apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import pearsonr

from tnt_coffea.pipeline.studies.claims import Claim, Value, Verdict, compared, worst
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import Found, figures_table
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.study_figures import curve_bands, mass_ratios, scan, study_plot

__all__ = ["EXPERIMENT", "INPUTS", "SHARES"]

_PAPER = "arXiv:2002.12376, section 4.2"
_APPENDIX = "arXiv:2002.12376, appendix A"
SHARES = (0.09, 0.01, 0.003, 0.001)
"""Signal among all events."""
TENTH = "background:tenth"
"""The pool of networks of images, and of 9 % of signal: a million events would need 99,000."""
INPUTS = {"trees": "background", "images": TENTH}
"""What taggers read, and the pool that they are searched in."""
SELECTIONS = (0.1, 0.05, 0.03, 0.01, 0.005, 0.001)
_CUT = 0.03
"""Share kept by the paper's bump hunts (tables 2 and 3)."""
_LOWEST = 0.4
"""Share of a jet's lowest scores: the events that the other jet's efficiency is measured on."""
_SYSTEMATIC = 0.03
"""Of the estimated background, beside its statistics (equation 4.1)."""
_TREES: Mapping[str, Any] = {"network": "trees", "features": ("rescaled_mass", "tau21")}
_FIRST = "autoencoder"
_BUMPS = {  # no selection, autoencoder, CWoLa hunting, TNT + m_jj
    0.003: {"before": 1.4, _FIRST: 3.0, "cwola": 4.8, "tnt-mjj": 5.3},
    0.001: {"before": 0.9, _FIRST: 0.9, "cwola": 1.4, "tnt-mjj": 1.4},
}
"""Z of the paper's bump hunts by share of signal, its tables 2 and 3."""
_COUNTED = {_FIRST: "1.4, 1.7, 2.0, 3.1, 2.3", "tnt": "2.1, 3.2, 5.1, > 10, > 10"}
"""Its observed significances by counting at 1 % of signal, at 10, 5, 3, 1 and 0.5 %, table 1."""
_TABLES = {0.003: " (table 2)", 0.001: " (table 3)"}
"""The paper's table of bump hunts, by share of signal."""


def _methods(inputs: str) -> dict[str, dict[str, Any]]:
    """Return the methods of all shares; references, which need signal events, are not among them.

    Source: arXiv:2002.12376, section 4.1.
    """
    if inputs == "trees":
        own: dict[str, Any] = {"classifier": dict(_TREES)}
        first = {"kind": "feature_autoencoder_per_jet", "features": _TREES["features"]}
    else:
        own, first = {}, {"kind": "autoencoder"}
    tagged = {"kind": "tag_n_train", "after": _FIRST, **own}
    return {
        _FIRST: first,
        "tnt": {**tagged, "mass_window": False},
        "tnt-mjj": tagged,
        "cwola": {"kind": "cwola", "classifier": dict(_TREES)},
    }


def _references(inputs: str, share: float) -> dict[str, dict[str, Any]]:
    """Return the methods that know the truth, where the paper quotes them and signal is enough."""
    own: dict[str, Any] = {"classifier": dict(_TREES)} if inputs == "trees" else {}
    if share == SHARES[0]:
        return {"supervised": {"kind": "supervised", **own}}
    if share == SHARES[1]:
        return {"pure-cwola": {"kind": "pure_cwola", "after": _FIRST, **own}}
    return {}


def _iterated(inputs: str) -> dict[str, dict[str, Any]]:
    """Return the methods of appendix A: each jet's tagger labels its own jet, or the other."""
    methods = _methods(inputs)
    again: dict[str, dict[str, Any]] = {_FIRST: methods[_FIRST]}
    for name, kind in (("tnt", "tag_n_train"), ("same", "same_jet")):
        first = {**methods["tnt"], "kind": kind}
        again |= {name: first, f"{name}-2": {**first, "after": name, "signal_rich": 0.1}}
    return again


def _name(inputs: str, share: float) -> str:
    return f"{inputs}-{1000 * share:g}"


def _injected(share: float) -> Injection | None:
    """Return the injection that makes such a share of all events signal."""
    return Injection(share=share / (1 - share), within=Within.ALL) if share else None


def _blocks() -> tuple[Block, ...]:
    def methods(inputs: str, share: float) -> dict[str, dict[str, Any]]:
        known = _iterated(inputs) if share == SHARES[0] else _methods(inputs)
        return known | _references(inputs, share)

    return tuple(
        Block(
            _name(inputs, share),
            methods(inputs, share),
            _injected(share),
            background=TENTH if share == SHARES[0] else pool,
            hunted=share != SHARES[0],
        )
        for inputs, pool in INPUTS.items()
        for share in (*SHARES, 0.0)
    )


def _measure(trained: TrainedBlock) -> dict[str, Any]:
    """Return figures 4 to 6 and table 1 of every method of two jets.

    Pearson's coefficient of the scores' quantiles on background; at every selection the background
    estimated from the two jets over the true one, and the significance; medians of mass and tau21
    of either jet of the most anomalous 1 %, and of the signal.
    """
    data = trained.data
    true = data.label == 1
    found: dict[str, Any] = {"signal": _medians(data, true)}
    for name, tagger_set in trained.taggers.sets.items():
        if tagger_set.scopes != ("heavy", "light"):
            continue
        ranks = trained.ranks(name, data)
        scored = np.isfinite(ranks.both)
        heavy, light = ranks.heavy, ranks.light
        jets = np.stack([heavy, light])[:, scored & ~true]
        own: dict[str, Any] = {"pearson": float(pearsonr(*jets).statistic)}
        for share in SELECTIONS:
            x = float(np.quantile(ranks.both[scored], 1 - share))
            passed = scored & (ranks.both >= x)
            rates = [
                float(np.mean(one[scored & (other < _LOWEST)] >= x))
                for one, other in ((heavy, light), (light, heavy))
            ]
            counted = [
                int(np.sum((other < _LOWEST) & (one >= x)))
                for one, other in ((heavy, light), (light, heavy))
            ]
            estimate = rates[0] * rates[1] * int(scored.sum())
            relative = float(np.sqrt(sum(1 / max(n, 1) for n in counted) + _SYSTEMATIC**2))
            observed, background = int(passed.sum()), int((passed & ~true).sum())
            spread = float(np.sqrt(observed + (relative * estimate) ** 2))
            own[f"{share:g}"] = {
                "ratio": estimate / background if background else None,
                "z": (observed - estimate) / spread if spread else None,
                "expected": (observed - background) / spread if spread else None,
            }
        top = scored & (ranks.both >= np.quantile(ranks.both[scored], 0.99))
        found[name] = own | {"top": _medians(data, top)}
    return found


def _medians(sample: Any, rows: Any) -> dict[str, float]:
    if not rows.any():
        return {}
    return {
        f"{jet}_{name}": float(np.median(sample.columns[f"{jet}_{name}"][rows]))
        for jet in ("heavy", "light")
        for name in ("mass", "tau21")
    }


def _claims(found: Found) -> list[Claim]:
    return [claim for inputs in INPUTS for claim in _claims_of(found, inputs)]


def _claims_of(found: Found, inputs: str) -> list[Claim]:
    def auc(method: str, share: float) -> Value:
        return found.value(_name(inputs, share), method, "auc_fit")

    def sic(method: str, share: float) -> Value:
        return found.value(_name(inputs, share), method, "max_sic")

    def z(method: str, share: float) -> Value:
        selection = "before" if method == "before" else _CUT
        return found.z(_name(inputs, share), "" if method == "before" else method, selection)

    def measured(share: float, path: str) -> Value:
        return found.measured(_name(inputs, share), path)

    most, middle, few, fewest = SHARES
    claims = [
        _claim(
            f"{inputs}-gains",
            "with 1 % of signal TNT is far better than the autoencoders",
            "max SIC of TNT above that of the autoencoder at 1 %",
            f"{sic('tnt', middle)} against {sic(_FIRST, middle)}",
            sic("tnt", middle).above(sic(_FIRST, middle)),
        ),
        _claim(
            f"{inputs}-window-helps",
            "with 1 % of signal TNT + m_jj is better than TNT",
            "max SIC of TNT + m_jj above that of TNT at 1 %",
            f"{sic('tnt-mjj', middle)} against {sic('tnt', middle)}",
            sic("tnt-mjj", middle).above(sic("tnt", middle)),
        ),
        _claim(
            f"{inputs}-too-little",
            "with 0.3 and 0.1 % TNT is worse than the autoencoder",
            "AUC of TNT below that of the autoencoder at both",
            "; ".join(f"{auc('tnt', one)} against {auc(_FIRST, one)}" for one in (few, fewest)),
            worst([auc(_FIRST, one).above(auc("tnt", one)) for one in (few, fewest)]),
        ),
        _claim(
            f"{inputs}-like-cwola",
            "with 1 and 0.3 % TNT + m_jj is like CWoLa hunting",
            "ratio of their max SIC between 2/3 and 3/2",
            "; ".join(f"{sic('tnt-mjj', one)} and {sic('cwola', one)}" for one in (middle, few)),
            worst([_alike(sic("tnt-mjj", one), sic("cwola", one)) for one in (middle, few)]),
        ),
        _claim(
            f"{inputs}-independent",
            "scores of the two jets stay uncorrelated on background (figure 4)",
            "Pearson's coefficient of their quantiles below 0.1 in size",
            str(measured(middle, "tnt/pearson")),
            _below(measured(middle, "tnt/pearson"), 0.1),
        ),
        _claim(
            f"{inputs}-estimate",
            "the background is estimated quite well, down to 0.1 % of events kept (figure 5)",
            "ratio within 10 % of 1 at 10, 3 and 1 % for TNT with 1 % of signal",
            "; ".join(str(measured(middle, f"tnt/{one:g}/ratio")) for one in (0.1, 0.03, 0.01)),
            worst([_near(measured(middle, f"tnt/{one:g}/ratio")) for one in (0.1, 0.03, 0.01)]),
        ),
        _claim(
            f"{inputs}-null",
            "no bump without signal",
            f"mean Z below 2 at {_CUT:.0%} without signal, every method",
            "; ".join(f"{name} {z(name, 0.0)}" for name in _hunted()),
            worst([_low(z(name, 0.0), 2) for name in _hunted()]),
        ),
        _claim(
            f"{inputs}-same-jet",
            "a jet that labels itself gains nothing, TNT does, twice",
            "with 9 % AUC of same-jet training not above the autoencoder's, that of TNT above, "
            "its second iteration's above the first's",
            f"{auc('same-2', most)}; {auc(_FIRST, most)}; {auc('tnt', most)}; {auc('tnt-2', most)}",
            worst(
                [
                    auc(_FIRST, most).above(auc("same-2", most)),
                    auc("tnt", most).above(auc(_FIRST, most)),
                    auc("tnt-2", most).above(auc("tnt", most)),
                ]
            ),
            source=_APPENDIX,
        ),
    ]
    for share, published in _BUMPS.items():
        ours = {name: z(name, share) for name in published}
        claims.append(
            _claim(
                f"{inputs}-bump-{1000 * share:g}",
                "Z " + ", ".join(f"{name} {value:g}" for name, value in published.items()),
                "Z after TNT + m_jj at least the paper's, beyond the error of the mean",
                ", ".join(f"{name} {value}" for name, value in ours.items()),
                ours["tnt-mjj"].above(published["tnt-mjj"]),
                "the paper searches 300,000 events: S/sqrt(B) of other numbers is another",
            )
        )
    return claims


def _hunted() -> tuple[str, ...]:
    return (_FIRST, "tnt", "tnt-mjj", "cwola")


def _alike(one: Value, other: Value) -> Verdict:
    error = float(np.hypot(one.error, 1.5 * other.error))
    inside = min(1.5 * other.mean - one.mean, one.mean - other.mean / 1.5)
    return compared(inside, error, means=(one, other))


def _below(value: Value, limit: float) -> Verdict:
    return compared(limit - abs(value.mean), value.error, means=(value,))


def _low(value: Value, limit: float) -> Verdict:
    return compared(limit - value.mean, value.error, means=(value,))


def _near(ratio: Value) -> Verdict:
    return compared(0.1 - abs(ratio.mean - 1), ratio.error, means=(ratio,))


def _claim(
    name: str,
    published: str,
    rule: str,
    ours: str,
    verdict: Verdict,
    reason: str = "",
    *,
    source: str = _PAPER,
) -> Claim:
    return Claim(name, source, published, rule, ours, verdict, reason)


def _plots(found: Found) -> list[Plot]:
    plots = []
    for inputs in INPUTS:
        for share in SHARES:
            block = _name(inputs, share)
            own = found.figures(block)
            if not own:
                continue
            curves = {name: own[name] for name in EXPERIMENT.block(block).methods}
            background = found.block(block)["background"]["mean"]
            plots.append(
                study_plot(
                    f"curves-{block}",
                    f"{share:.1%} of signal, {inputs} (figure {7 if share == SHARES[0] else 2})",
                    "Background rejection (left) and significance improvement (right) in the "
                    "window, as far as ten background events are left. Means and deviations.",
                    curve_bands(curves, found.efficiencies, least=10 / background),
                    {},
                )
            )
        figures = found.figures(_name(inputs, SHARES[1]))
        if not figures:
            continue
        plots.append(
            study_plot(
                f"masses-{inputs}",
                f"Background's mass after TNT + m_jj, {inputs} (figure 3)",
                "Share of the background that is kept, by mass, over its mean; 1 % of signal.",
                mass_ratios({"TNT + m_jj": figures["tnt-mjj"]["sculpting"]}),
                {},
            )
        )
        ratios = {
            "estimated over true background": {
                name: _scanned(found, inputs, f"{name}/{{}}/ratio") for name in (_FIRST, "tnt")
            }
        }
        plots.append(
            study_plot(
                f"estimate-{inputs}",
                f"Background estimated from the two jets, {inputs} (figure 5)",
                "Product of the jets' efficiencies where the other jet is in its lowest 40 %, "
                "times all events, over the true background; 1 % of signal.",
                scan(ratios, x="share of events kept [%]", lines=dict.fromkeys(ratios, 1.0)),
                ratios,
            )
        )
    return plots


def _scanned(found: Found, inputs: str, path: str) -> list[tuple[float, float, float]]:
    values = [
        (100 * one, found.measured(_name(inputs, SHARES[1]), path.format(f"{one:g}")))
        for one in SELECTIONS
    ]
    return [(x, value.mean, value.sd) for x, value in values if value.values]


def _tables(found: Found) -> list[StudyTable]:
    tables = []
    for inputs in INPUTS:
        rows = [
            (
                f"{one:.1%}",
                *(
                    str(found.measured(_name(inputs, SHARES[1]), f"{name}/{one:g}/{key}"))
                    for name in (_FIRST, "tnt")
                    for key in ("expected", "z")
                ),
            )
            for one in SELECTIONS
        ]
        columns = ("kept", *(f"{w}, {n}" for n in (_FIRST, "tnt") for w in ("expected", "found")))
        tables.append(
            StudyTable(f"Counting, 1 % of signal, {inputs} (table 1)", columns, tuple(rows))
        )
        shapes = ("heavy_mass", "light_mass", "heavy_tau21", "light_tau21")
        tops = {"signal": "signal", **{n: f"{n}/top" for n in (_FIRST, "tnt", "tnt-mjj")}}
        tables.append(
            StudyTable(
                f"Medians of the most anomalous 1 %, 1 % of signal, {inputs} (figure 6)",
                ("", *shapes),
                tuple(
                    (
                        name,
                        *(
                            str(found.measured(_name(inputs, SHARES[1]), f"{path}/{s}"))
                            for s in shapes
                        ),
                    )
                    for name, path in tops.items()
                ),
            )
        )
        for share in (*SHARES, 0.0):
            tables.append(
                figures_table(
                    found,
                    _name(inputs, share),
                    title=f"{share:.1%} of signal, {inputs}{_TABLES.get(share, '')}",
                    selections=() if share == SHARES[0] else (_CUT,),
                )
            )
    refused = [
        (block.name, str(len(reasons)), reasons[0])
        for block in EXPERIMENT.blocks
        if (reasons := found.refused(block.name))
    ]
    if refused:
        columns = ("block", "repetitions", "the first reason")
        tables.append(StudyTable("What was refused", columns, tuple(refused)))
    return tables


def _notes(found: Found) -> list[str]:
    counted = "; ".join(f"{name} {values}" for name, values in _COUNTED.items())
    return [
        f"Table 1 of the paper, observed, at 10, 5, 3, 1 and 0.5 %: {counted}.",
        "The paper trains on 200,000 events for the autoencoders and for each of three iterations "
        "and searches 300,000; here every event is searched, by taggers of the other folds.",
        "CWoLa hunting has the features of the trees in either row; the paper's classifiers have "
        "images (section 3.2).",
        "Background-rich events are weighted in the jet's mass, the package's default; the paper's "
        "are not.",
    ]


EXPERIMENT = Experiment(
    name="tnt",
    title="Tag N' Train from 9 to 0.1 % of signal",
    source="arXiv:2002.12376, section 4.2 and appendix A",
    pools={
        "background": Pool("rnd-background", 1_000_000),
        TENTH: Pool("rnd-background", 100_000, least=5000),
        "signal": Pool("rnd-signal", 30_000, least=3000),
    },
    settings={"search": {"efficiencies": SELECTIONS}, "train": {"folds": {"outer": 2}}},
    blocks=_blocks(),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    measure=_measure,
    scale=0.05,
    repetitions=3,
    refusals=True,
)
