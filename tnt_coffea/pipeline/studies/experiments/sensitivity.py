"""Sensitivity in the field's own units: a million QCD dijets with 0 to 1000 signal events.

A further method is one line in `GROUPS`, a further set of features one in `FEATURES`. What decides
between methods was chosen on development events, other seeds than those that figures are quoted on.

S/sqrt(B) decides what a search finds, and is kept at any scale: N is the number at a million QCD
dijets, and N x sqrt(events / 10^6) are injected. S/B of every point is in the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from tnt_coffea.pipeline.studies.claims import FEWEST, Claim, Value, Verdict, compared, worst
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment, Injection, Within
from tnt_coffea.pipeline.studies.numbers import Found
from tnt_coffea.pipeline.studies.published import published_curves
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.study_figures import Banded, looks_of, median_scan, study_plot

__all__ = ["EXPERIMENT", "FEATURES", "GROUPS", "NUMBERS", "SIGNALS"]

FOLDS: Mapping[str, Any] = {"outer": 5}
MEMBERS = 1
TREES: Mapping[str, Any] = {"network": "trees"}
"""Folds, members and trees of all methods."""
_TAUS = tuple(f"tau{n}{beta}" for beta in ("_beta05", "", "_beta2") for n in range(1, 10))
FEATURES: Mapping[str, tuple[str, ...]] = {
    "4": ("rescaled_mass", "tau21"),
    "56": ("rescaled_mass", *_TAUS),
}
"""Features of a jet by the number of those of the event; masses over m_jj, for they must not follow
it where sidebands are the background. Energy flow polynomials are a line here."""
GATE = ("light_mass", "mass_difference", "tau21")
"""Features of the literature's supervised classifier, m_J1, m_J2 - m_J1 and tau21 of both jets."""
GATE_TREES: Mapping[str, Any] = {**TREES, "trees": 300, "leaves": 31, "patience": 10}
"""Trees that are told the labels may be larger than those of few signal events."""
SIGNALS = {"two-prong": "signal", "three-prong": "signal:3prong"}
"""Pool of each signal."""
NUMBERS: Mapping[str, tuple[int, ...]] = {
    "two-prong": (1000, 500, 400, 300, 150),
    "three-prong": (1000, 300),
}
"""Signal events of each signal; a further one trains no other again."""
SELECTIONS = (0.1, 0.01, 0.001)
_GATE = "gate"
_FULL = 1_000_000
_INDEPENDENT = "background:independent"


@dataclass(frozen=True)
class Group:
    """Methods that are trained on the same events, in one block.

    Attributes
    ----------
    methods
        As in `train.methods`.
    trained_on
        Pools that they read beside the data.
    repetitions
        Share of those asked for.
    searched
        Whether a search may use them: spectra are fitted, and the null is searched as well.
    """

    methods: Mapping[str, Mapping[str, Any]]
    trained_on: tuple[str, ...] = ()
    repetitions: float = 1.0
    searched: bool = True


_MASSES = (70, 140, 220, 320, 430, 560)
POINTS = {
    f"prior:x{x}-y{y}-{prongs}prong": Pool(
        f"prior-x{x}-y{y}-{prongs}prong", 450, least=100, optional=True
    )
    for x in _MASSES
    for y in _MASSES
    if y <= x
    for prongs in (2, 3)
}
"""Simulated signals of the class that a method is told, masses [GeV] at which none is searched."""
_OF_REGION = {"background": "independent"}
_NO_ESTIMATE = {"by": "morphing", "estimate": False}
"""The study counts on no template: its spectra are fitted."""
_FIRST = "first"
_LOW_TAU21: Mapping[str, Mapping[str, Any]] = {
    _FIRST: {"kind": "feature", "feature": "tau21", "descending": True}
}


def _trees(name: str) -> dict[str, Any]:
    return {"classifier": {**TREES, "features": FEATURES[name]}}


def _ceilings(name: str) -> dict[str, dict[str, Any]]:
    """Return the idealised detectors on one set of features."""
    trees = _trees(name)
    return {
        f"iad-{name}": {"kind": "optimal_cwola", **_OF_REGION, **trees},
        f"iad-jets-{name}": {"kind": "optimal_cwola_per_jet", **_OF_REGION, **trees},
    }


def _with_features(name: str) -> dict[str, Mapping[str, Any]]:
    """Return the methods on one set of features."""
    trees = _trees(name)
    return {
        f"cwola-{name}": {"kind": "cwola", **trees},
        f"template-{name}": {"kind": "template_classifier", "template": _NO_ESTIMATE, **trees},
        **_LOW_TAU21,
        f"tnt-{name}": {"kind": "tag_n_train", "after": _FIRST, **trees},
    }


def _tagged_template(name: str) -> dict[str, Mapping[str, Any]]:
    """Return Tag N' Train with the template of a window for background, on one set of features."""
    tagged = {"kind": "tag_n_train", "after": _FIRST, "reweight": "none", "template": _NO_ESTIMATE}
    return {**_LOW_TAU21, f"tnt-template-{name}": {**tagged, **_trees(name)}}


GROUPS: Mapping[str, Group] = {
    **{
        f"iad-{name}": Group(_ceilings(name), trained_on=(_INDEPENDENT,), searched=False)
        for name in FEATURES
    },
    **{name: Group(_with_features(name)) for name in FEATURES},
    **{f"tnt-template-{name}": Group(_tagged_template(name)) for name in FEATURES},
    "prior": Group({"paws": {"kind": "paws"}}, trained_on=tuple(POINTS), repetitions=0.5),
}
"""Blocks of every point, and the methods of each."""

AGNOSTIC = "cwola-56"
"""The method without a prior that claims are about, named on development events."""
PER_JET = "tnt-56", "iad-jets-56"
"""Tag N' Train and its ceiling."""
PRIOR = "paws"
"""The method that is told a class of signals."""
SELECTION = 0.01
"""Share of events whose Z claims are about: on development events fits of fewer were refused."""
WINDOWS = 10
"""Windows in mass that a search tries (`train.windows: cwola`)."""
TRIALS = (len(SELECTIONS) + 1) * WINDOWS
"""Tests that a search makes with one method: all dijets and every selection, in every window."""


def _name(signal: str, number: int, group: str) -> str:
    return f"{signal}-{number}-{group}" if number else f"null-{group}"


def _group(method: str) -> str:
    return next(name for name, group in GROUPS.items() if method in group.methods)


def _shown() -> list[str]:
    """Return the methods of figures and tables, all but the first tagger."""
    return [name for one in GROUPS.values() for name in one.methods if name != _FIRST]


def _searched() -> list[str]:
    """Return those that a search may use."""
    return [
        name
        for group in GROUPS.values()
        if group.searched
        for name in group.methods
        if name != _FIRST
    ]


def _block(name: str, group: Group, injection: Injection | None = None) -> Block:
    return Block(
        name,
        group.methods,
        injection,
        trained_on=group.trained_on,
        repetitions=group.repetitions,
        labelling=(_FIRST,) if _FIRST in group.methods else (),
        hunted=group.searched,
        curves=False,
    )


def _blocks() -> tuple[Block, ...]:
    found = [
        _block(
            _name(signal, number, name),
            group,
            Injection(SIGNALS[signal], significance=number / _FULL**0.5, within=Within.ALL),
        )
        for signal, numbers in NUMBERS.items()
        for number in numbers
        for name, group in GROUPS.items()
    ]
    null = [_block(_name("", 0, name), own) for name, own in GROUPS.items() if own.searched]
    labels = {"kind": "supervised_both_jets"}
    gate = {
        "supervised-4": {**labels, "classifier": {**GATE_TREES, "features": GATE}},
        "supervised-56": {**labels, "classifier": {**GATE_TREES, "features": FEATURES["56"]}},
    }
    many = Injection(share=0.012, within=Within.ALL)
    return (*found, *null, Block(_GATE, gate, many, repetitions=0.5, hunted=False, curves=False))


def _has(found: Found, signal: str, number: int, method: str) -> bool:
    return _name(signal, number, _group(method)) in found.numbers["blocks"]


def _of_gate(found: Found, method: str, key: str) -> Value:
    return found.value(_GATE, method, key) if _GATE in found.numbers["blocks"] else Value.of([])


def _figure(found: Found, signal: str, number: int, method: str, key: str) -> Value:
    if not _has(found, signal, number, method):
        return Value.of([])
    return found.value(_name(signal, number, _group(method)), method, key, SIGNALS[signal])


def _z(found: Found, signal: str, number: int, method: str, selection: float | str) -> Value:
    if not _has(found, signal, number, method):
        return Value.of([])
    return found.z(_name(signal, number, _group(method)), method, selection)


def _z_global(found: Found, signal: str, number: int, method: str) -> Value:
    """Return Z of the smallest p-value of a method, times the number of tests."""
    if not _has(found, signal, number, method):
        return Value.of([])
    hunted = found.block(_name(signal, number, _group(method)))["hunted"]
    tests = [hunted["before"]["z"], *(one["z"] for one in hunted["methods"][method].values())]
    rows = [one["values"] if isinstance(one, Mapping) else one for one in tests]
    found_z = []
    for values in zip(*rows, strict=True):
        known = [value for value in values if value is not None]
        if known:
            p = min(1.0, TRIALS * float(norm.sf(max(known))))
            found_z.append(max(0.0, float(norm.isf(p))))
    return Value.of(found_z)


def _median(value: Value) -> str:
    if not value.values:
        return "none"
    low, high = value.band
    return f"{value.median:.3g} [{low:.3g}, {high:.3g}]"


def _reaches(value: Value, target: float) -> Verdict:
    """Return whether a median is above a target, beyond twice its error for normal spreads."""
    if not value.values:
        return Verdict.UNDECIDED
    return compared(value.median - target, 1.2533 * value.error, means=(value,))


_RULE = "median over the injections beyond twice its error (1.25 deviations over sqrt(n))"


def _target(
    name: str, published: str, target: float, value: Value, what: str, reason: str = ""
) -> Claim:
    return Claim(
        name,
        "targets of this project",
        published,
        f"{what} at least {target:g}: {_RULE}",
        _median(value),
        _reaches(value, target),
        reason,
    )


def _claims(found: Found) -> list[Claim]:
    def sic(method: str, number: int, key: str = "max_sic", signal: str = "two-prong") -> Value:
        return _figure(found, signal, number, method, key)

    area, gate = (_of_gate(found, "supervised-4", key) for key in ("auc", "max_sic"))
    claims = [
        Claim(
            "gate",
            "arXiv:2109.00546; real LHC Olympics features",
            "supervised trees on m_J1, m_J2 - m_J1 and tau21 of both: AUC 0.97, max SIC 14.7 to 18",
            "AUC above 0.96, max SIC above 14 and below 18",
            f"AUC {area}; max SIC {_median(gate)}",
            worst(
                [area.above(0.96), gate.above(14), compared(18 - gate.mean, gate.error)]
                if gate.n >= FEWEST
                else [Verdict.UNDECIDED]
            ),
        )
    ]
    for number, target, paper in ((1000, 30, "35"), (400, 20, "25"), (300, 15, "19")):
        value = sic("iad-56", number)
        text = f"IAD, trees on 56 features, N = {number}: max SIC {paper} (arXiv:2309.13111)"
        claims.append(_target(f"iad-{number}", text, target, value, "max SIC of iad-56"))
    for number, target, paper in (
        (1000, 20, "none"),
        (500, 14, "14.7"),
        (400, 10, "9.7 to 14"),
    ):
        value = sic(AGNOSTIC, number)
        text = f"CATHODE with trees, N = {number}: max SIC {paper} (arXiv:2511.14832)"
        claims.append(_target(f"agnostic-{number}", text, target, value, f"max SIC of {AGNOSTIC}"))
    for number in (1000, 500):
        own, ceiling = (sic(method, number) for method in PER_JET)
        error = 1.2533 * float(np.hypot(own.error, 0.75 * ceiling.error))
        claims.append(
            Claim(
                f"tag-n-train-{number}",
                "targets of this project",
                f"N = {number}: none; no Tag N' Train is published there",
                f"median max SIC of {PER_JET[0]} at least 0.75 of that of {PER_JET[1]}, beyond "
                "twice the error of the difference",
                f"{_median(own)} against {_median(ceiling)}",
                compared(own.median - 0.75 * ceiling.median, error, means=(own, ceiling)),
            )
        )
    local = _z(found, "two-prong", 1000, AGNOSTIC, SELECTION)
    claims.append(
        _target(
            "whole-chain",
            "1.4 sigma at this S/B in arXiv:2002.12376; 3 sigma from N = 600 on in "
            "arXiv:2512.13787",
            5,
            local,
            f"local Z of {AGNOSTIC} at {SELECTION:.1%}, N = 1000,",
            f"global Z {_median(_z_global(found, 'two-prong', 1000, AGNOSTIC))} with {TRIALS} "
            "trials; taggers trained again on the null are not in either",
        )
    )
    known = _has(found, "two-prong", 150, PRIOR)
    prior = sic(PRIOR, 150, "sic_0.001") if known else Value.of([])
    claims.append(
        _target(
            "prior",
            "PAWS, another signal of the class, S/B 0.1 %: SIC(1e-3) 17.7 (arXiv:2405.08889)",
            10,
            prior,
            "SIC(1e-3) of the method with a prior, N = 150,",
            "" if known else "no simulated signals were given",
        )
    )
    claims.append(
        _target(
            "three-prong",
            "IAD, trees on 56 features, N = 1000: max SIC 28 (arXiv:2309.13111)",
            20,
            sic("iad-56", 1000, signal="three-prong"),
            "max SIC of iad-56 on the three-prong signal",
        )
    )
    nulls = {
        method: _z(found, "", 0, method, SELECTION)
        for method in _searched()
        if _has(found, "", 0, method)
    }
    claims.append(
        Claim(
            "null",
            "nothing is found where nothing is",
            "",
            f"mean local Z at {SELECTION:.1%} without signal below 3, for every method",
            "; ".join(f"{name} {value}" for name, value in nulls.items()),
            worst(
                [compared(3 - one.mean, one.error, means=(one,)) for one in nulls.values()]
                or [Verdict.UNDECIDED]
            ),
            "one background: a fluctuation of it is in every repetition",
        )
    )
    return claims


_Read = Callable[[Found, str, int, str], Value]
_FIGURES = {"max_sic": "max SIC", "sic_0.001": "SIC at 0.1 %", "sic_0.01": "SIC at 1 %"}
_BEFORE = "before any cut"
_X = "signal events N beside a million of background"


def _read(key: str) -> _Read:
    return lambda found, signal, number, method: _figure(found, signal, number, method, key)


def _curves(
    found: Found, methods: Sequence[str], read: _Read, *, null: bool = False
) -> dict[str, dict[str, list[Banded]]]:
    """Return medians with bands by signal and method, of those that have any."""
    panels: dict[str, dict[str, list[Banded]]] = {signal: {} for signal in SIGNALS}
    for signal in SIGNALS:
        for method in methods:
            points = [
                (float(number), value.median, *value.band)
                for number in sorted((*NUMBERS[signal], *([0] if null else [])))
                if _has(found, signal, number, method)
                and (value := read(found, signal, number, method)).values
            ]
            if points:
                panels[signal][method] = points
    return panels


def _plots(found: Found) -> list[Plot]:
    plots = []
    looks = looks_of(_shown()) | {_BEFORE: ("black", "-", _BEFORE)}
    for key in ("max_sic", "sic_0.001"):
        papers = {
            signal: {f"{one.name} ({one.source.split()[0]})": one.points for one in curves}
            for signal in SIGNALS
            if (curves := published_curves(key, signal))
        }
        panels = _curves(found, _shown(), _read(key))
        figure = median_scan(panels, x=_X, y=_FIGURES[key], looks=looks, published=papers)
        plots.append(
            study_plot(
                key.replace("_", "-").replace(".", ""),
                f"{_FIGURES[key]} against the number of signal events",
                "Lines: medians over injections, bands: central 68 %. Grey: published points, on "
                "other events and another detector. Methods whose name begins with iad know the "
                "background of the window: a ceiling, no search.",
                figure,
                {"ours": panels, "published": papers},
            )
        )
    for name, title, read in (
        ("z-local", f"local Z, {SELECTION:.1%} kept", _z_of(SELECTION)),
        ("z-global", f"global Z, {TRIALS} trials", _z_global),
    ):
        panels = _curves(found, _searched(), read, null=True)
        if name == "z-local":
            before = _curves(found, _searched(), _z_of("before"), null=True)
            for signal, own in before.items():
                if own:  # the same whatever the method
                    panels[signal][_BEFORE] = next(iter(own.values()))
        lines = dict.fromkeys(SIGNALS, 3.0)
        plots.append(
            study_plot(
                name,
                f"{title}, against the number of signal events",
                "Of the bump hunt at the end of the chain. Medians over injections into one "
                "background, and the central 68 %; dashed: 3.",
                median_scan(panels, x=_X, y=title, looks=looks, lines=lines),
                panels,
            )
        )
    return plots


def _z_of(selection: float | str) -> _Read:
    return lambda found, signal, number, method: _z(found, signal, number, method, selection)


def _table(
    found: Found, signal: str, title: str, methods: Sequence[str], read: _Read, *, null: bool
) -> StudyTable:
    rows = []
    methods = [m for m in methods if any(_has(found, signal, n, m) for n in NUMBERS[signal])]
    for number in (*NUMBERS[signal], *([0] if null else [])):
        known = [method for method in methods if _has(found, signal, number, method)]
        if not known:
            continue
        block = found.block(_name(signal, number, _group(known[0])))
        injected, s, b = (
            float(np.mean(block[key]["values"])) for key in ("injected", "signal", "background")
        )
        cells = [
            _median(read(found, signal, number, method)) if method in known else "-"
            for method in methods
        ]
        rows.append(
            (str(number), f"{injected:.0f}", f"{s / b:.2%}", f"{s / np.sqrt(b):.2f}", *cells)
        )
    columns = ("N", "injected", "S/B", "S/sqrt(B)", *methods)
    return StudyTable(f"{title}, {signal}", columns, tuple(rows))


def _tables(found: Found) -> list[StudyTable]:
    tables = []
    for signal in SIGNALS:
        tables += [
            _table(found, signal, title, _shown(), _read(key), null=False)
            for key, title in _FIGURES.items()
        ]
        tables += [
            _table(found, signal, title, _searched(), read, null=True)
            for title, read in (
                ("Z before any cut", _z_of("before")),
                *((f"Local Z, {one:.1%} kept", _z_of(one)) for one in SELECTIONS),
                (f"Global Z, {TRIALS} trials", _z_global),
            )
        ]
    if _GATE not in found.numbers["blocks"]:
        return tables
    rows = tuple(
        (name, *(_median(_of_gate(found, name, key)) for key in ("auc", *_FIGURES)))
        for name in found.block(_GATE)["tested"]["signal"]
    )
    columns = ("method", "AUC in the window", *_FIGURES.values())
    return [StudyTable("The gate: labels known", columns, rows), *tables]


def _notes(found: Found) -> list[str]:
    return [
        "N is the number of signal events beside a million of QCD; beside fewer, N x sqrt(events / "
        "10^6) are injected, so that S/sqrt(B) is that of the table and S/B is larger.",
        f"Global Z: the smallest p-value of a method times {TRIALS} (all dijets and "
        f"{len(SELECTIONS)} selections in {WINDOWS} windows), an upper bound of p for tests of "
        "valid local p-values. Taggers trained again on the null are not in it.",
        "Cells are medians over injections with the central 68 %.",
        "Without signal all repetitions have the same events: their spread is that of folds and "
        "trainings alone.",
    ]


EXPERIMENT = Experiment(
    name="sensitivity",
    title="Sensitivity in the field's own units",
    source="arXiv:2309.13111, 2109.00546, 2511.14832, 2410.20537, 2405.08889",
    pools={
        "background": Pool("rnd-background", _FULL),
        # As many as the data have: with fewer, their fluctuations and not the signal set the limit.
        # Without it there is no ceiling.
        _INDEPENDENT: Pool("rnd-background", _FULL, window_only=True, optional=True),
        "signal": Pool("rnd-signal", 30_000, least=3000),
        "signal:3prong": Pool("rnd-signal-3prong", 30_000, least=3000),
        **POINTS,
    },
    settings={
        "skim": {"images": None, "observables": ("mass", "tau21", "tau32", *_TAUS)},
        "search": {"efficiencies": SELECTIONS},
        "train": {"folds": FOLDS, "members": MEMBERS},
    },
    blocks=_blocks(),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    features={},
    kept=("auc", "max_sic", "sic_0.01", "sic_0.001", "z"),
    scale=1.0,
    repetitions=3,
    partial=True,
)
