"""Searches where there is nothing: whether the p-values of every method are uniform.

A pool of background is cut into samples, no two with a common event. Each is trained on, searched
and fitted by every method as if it were the data: the local p-value of every selection, the global
one of all of them, those of the other tests of `fit`, and the p-value of the search that it quotes.

A further method is one line in `METHODS`; one that cannot be here is one in `LEFT_OUT`, with why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tnt_coffea import seeds, stats
from tnt_coffea.config import MassRange
from tnt_coffea.pipeline.fitting import fit, scan
from tnt_coffea.pipeline.global_p_values import all_selections
from tnt_coffea.pipeline.null_chains import BEFORE
from tnt_coffea.pipeline.studies.claims import Claim, Value, Verdict, compared
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.experiment import Block, Experiment
from tnt_coffea.pipeline.studies.measurement import TrainedBlock
from tnt_coffea.pipeline.studies.numbers import Found
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.products import Histograms
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.reporting.null_figures import cumulative_p_values, small_p_values
from tnt_coffea.reporting.study_figures import study_plot
from tnt_coffea.stats.uniformity import Uniformity, uniformity
from tnt_coffea.working_points import WorkingPoint, selection_name

__all__ = ["EXPERIMENT", "LEFT_OUT", "METHODS", "Searched"]

EVENTS = 3000
"""Dijets of a sample."""
SELECTIONS = (0.1, 0.03)
TOYS = 200
"""Of every scan, for its global p-value."""
FEWEST = 50
"""Samples below which nothing is confirmed: a share of 0.1 is known to 0.04 with so many."""
ALPHA = 0.05
"""Probability that any claim of the study is refuted by chance."""
TREES: Mapping[str, Any] = {"network": "trees", "features": ("rescaled_mass", "tau21")}
FIRST: Mapping[str, Any] = {"kind": "feature", "feature": "tau21", "descending": True}
_FAST: Mapping[str, Any] = {"batch": 200, "learning_rate": 0.003}
_LAST = {**_FAST, "keep": "last"}
_RATIO = {
    "network": "dense",
    "features": ("light_mass", "mass_difference", "tau21", "m_jj"),
    "layers": (16, 16),
    "epochs": 10,
    "optimizer": _FAST,
}
_FLOW = {
    "model": "autoregressive",
    "blocks": 3,
    "hidden": 16,
    "epochs": 5,
    "averaged": 1,
    "optimizer": _LAST,
}
_GIS = {"bins": 6, "knots": 12, "members": 2}
_QUAK = {"layers": (16,), "latent": 2, "flows": 1, "epochs": 5, "optimizer": _FAST}
_SIMULATED = ("simulation",)
_PRIORS = ("prior:two-prong", "prior:three-prong")
_BOTH = (*_SIMULATED, *_PRIORS)


@dataclass(frozen=True)
class Searched:
    """A method and what it is searched with.

    Attributes
    ----------
    settings
        As in `train.methods`, cheap: whether p-values hold does not depend on how well it learns.
    beside
        Methods that it builds on, by name.
    reads
        Pools beside the data.
    repetitions
        Share of the samples.
    """

    settings: Mapping[str, Any]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    repetitions: float = 1.0


def _method(kind: str, **settings: Any) -> Searched:
    return Searched({"kind": kind, **settings})


def _after(kind: str, first: Mapping[str, Any] = FIRST, **settings: Any) -> Searched:
    return Searched({"kind": kind, "after": "first", **settings}, {"first": first})


def _with(reads: tuple[str, ...], kind: str, **settings: Any) -> Searched:
    return Searched({"kind": kind, **settings}, reads=reads)


_CHOICE: Mapping[str, Mapping[str, Any]] = {
    "cwola": {"kind": "cwola", "classifier": TREES},
    "norm": {"kind": "event_norm"},
}
_CHOICE_PER_JET: Mapping[str, Mapping[str, Any]] = {
    "cwola": {"kind": "cwola_per_jet", "classifier": TREES},
    "norm": {"kind": "norm"},
}
_DCTR = {"kind": "dctr", "classifier": _RATIO, "validation": False}
METHODS: Mapping[str, Searched] = {
    "random": _method("random"),
    "event-random": _method("event_random"),
    "feature": _method("feature", feature="tau21", descending=True),
    "event-feature": _method("event_feature", feature="heavy_tau21 + light_tau21", descending=True),
    "norm": _method("norm"),
    "event-norm": _method("event_norm"),
    "pca": _method("pca"),
    "factorized-topics": _method("factorized_topics", bins=20, starts=3, steps=500),
    "autoencoder": _method("autoencoder"),
    "feature-autoencoder": _method("feature_autoencoder", layers=(16,), epochs=5, optimizer=_FAST),
    "feature-autoencoder-per-jet": _method(
        "feature_autoencoder_per_jet", layers=(16,), latent=1, epochs=5, optimizer=_FAST
    ),
    "cwola": _method("cwola", classifier=TREES),
    "cwola-per-jet": _method("cwola_per_jet", classifier=TREES),
    "tag-n-train": _after("tag_n_train", classifier=TREES),
    "same-jet": _after("same_jet", classifier=TREES),
    "best-of": Searched({"kind": "best_of", "of": tuple(_CHOICE)}, _CHOICE),
    "best-of-per-jet": Searched({"kind": "best_of_per_jet", "of": tuple(_CHOICE)}, _CHOICE_PER_JET),
    "template-classifier": _method("template_classifier"),
    "anode": _method("anode", density=_FLOW),
    "gis": _method("gis", density=_GIS),
    "gis-decorrelated": _method("gis", density=_GIS, decorrelate=True),
    "buhulaspa": _method("buhulaspa", layers=(16,), epochs=5),
    "gan-ae": _method("gan_ae", layers=(8,), latent=2, discriminator=(16,), cycles=3),
    "regularized-likelihood": _method(
        "regularized_likelihood",
        manifold=2,
        flow={"layers": 2, "hidden": 16, "epochs": 5, "optimizer": _FAST},
        density=_FLOW,
    ),
    "lda": _method("lda", inference={"epochs": 5, "starts": 2}),
    "ucluster": _method(
        "ucluster", clusters=10, embedding=4, focal_epochs=2, epochs=2, optimizer=_LAST
    ),
    "particle-graph": _method("particle_graph", constituents=10, epochs=2, optimizer=_FAST),
    "particle-graph-per-jet": _method(
        "particle_graph_per_jet", constituents=10, epochs=2, optimizer=_FAST
    ),
    "vrnn": _method("vrnn", epochs=2, optimizer=_FAST),
    "vrnn-per-jet": _method("vrnn_per_jet", epochs=2, optimizer=_FAST),
    "quak-loss": _method("quak_loss", **_QUAK),
    "quak": _with(_PRIORS, "quak", **_QUAK),
    "quak-plane": _with(_PRIORS, "quak_plane", **_QUAK),
    "paws": _with(
        _PRIORS,
        "paws",
        layers=(16,),
        epochs=5,
        pairs=20_000,
        optimizer=_LAST,
        points={
            "two-prong": {"heavy_mass": 500, "light_mass": 100},
            "three-prong": {"heavy_mass": 500, "light_mass": 100, "prongs": 3},
        },
    ),
    "data-vs-simulation": _with(_SIMULATED, "data_vs_simulation", classifier=TREES),
    "sa-cwola": _with(_SIMULATED, "sa_cwola", classifier=TREES),
    "salad": Searched(
        {"kind": "salad", "after": "dctr", "classifier": TREES}, {"dctr": _DCTR}, _SIMULATED
    ),
    "salad-tag-n-train": Searched(
        {"kind": "salad_tag_n_train", "after": "first", "ratio": _RATIO, "classifier": TREES},
        {"first": FIRST},
        _SIMULATED,
    ),
    "lstm": _with(_BOTH, "lstm", cells=(8,), layers=(16,), epochs=2, optimizer=_FAST),
    "deep-ensemble": _with(_BOTH, "deep_ensemble", image=False, trees=50),
    "deep-ensemble-decorrelated": _with(
        _BOTH, "deep_ensemble", image=False, trees=50, decorrelate=True
    ),
}
"""Every method by name, the kind with `-`; of two that sculpt the decorrelated one beside it."""
LEFT_OUT: Mapping[str, str] = {
    "files": "taggers from elsewhere: nothing is trained, so that there is no chain",
    "dctr": "gives weights and no score; it is in the chains of salad",
}
"""Kinds that are not in `METHODS`, and why; references, which read the truth, need no reason."""
USELESS = "with-a-useless-one"
"""The block of a method and a hash, which is a method that adds nothing."""
_PAIR = ("cwola", "event-random")


def _blocks() -> tuple[Block, ...]:
    single = [
        Block(
            name,
            {**one.beside, name: one.settings} if one.beside else {name: one.settings},
            trained_on=one.reads,
            repetitions=one.repetitions,
            hunted=False,
            searched=True,
            labelling=tuple(one.beside),
        )
        for name, one in METHODS.items()
    ]
    pair = {name: METHODS[name].settings for name in _PAIR}
    return (*single, Block(USELESS, pair, hunted=False, searched=True))


def measured(tested: TrainedBlock) -> dict[str, Any]:
    """Return the p-values of a search, and how its selections' efficiency changes in the window.

    `local` by selection (of several methods that of the first, and all dijets), `global` of the
    scan over all of them and all dijets, `search` as `fit` quotes it, `tests` without a spectrum
    by name, `pulls` by selection; None where a test could not be made. Of several methods `alone`
    is the global p-value of the first one by itself.
    """
    histograms, config = tested.histograms, tested.config
    assert histograms is not None
    result = fit(histograms, config)
    every = all_selections(histograms, config, every=True)
    names = list(histograms.hists)

    def scanned(sets: Sequence[str]) -> stats.ScanResult:
        return scan(
            histograms,
            config,
            {name: own for name, own in every.items() if own[0] in sets},
            before=True,
            in_windows=False,
            masses=(config.signal_mass,),
            toys=TOYS,
            seed=seeds.integer(config.seed, "null"),
            cross_check=False,
        )

    found = scanned(names)
    local = {point.selection: _rounded(point.p_local) for point in found.points}
    singles = {"ABCD": result.abcd.get(names[0]), "direct estimate": result.direct.get(names[0])}
    # All dijets are the same whatever the method: in the block of several they are once.
    spectra = {BEFORE: local.get(BEFORE)} if len(names) > 1 else {}
    return {
        "local": spectra
        | {
            selection_name(selection): local.get(name)
            for name, (of, selection) in every.items()
            if of == names[0]
        },
        "global": _rounded(found.p_global),
        "search": None if result.global_p is None else _rounded(result.global_p.p_value),
        "tests": {
            name: _rounded(test.p_value)
            for name, test in singles.items()
            if isinstance(test, stats.AbcdResult | stats.DirectEstimate)
        },
        "pulls": {
            selection_name(point.selection): _pull(histograms, names[0], point, tested)
            for point in histograms.points[names[0]]
        },
        **({} if len(names) == 1 else {"alone": _rounded(scanned(names[:1]).p_global)}),
    }


def _rounded(p: float | None) -> float | None:
    return None if p is None else float(f"{p:.4g}")


def _pull(
    histograms: Histograms, name: str, point: WorkingPoint, tested: TrainedBlock
) -> float | None:
    """Return efficiency in the window minus that beside it, in its standard deviations."""
    search = tested.config.search
    every, kept = (
        _counted(spectra, search.window, search.fit_range)
        for spectra in (
            {"all": stats.inclusive_spectrum(histograms.hists[name])},
            stats.selected_spectrum(histograms.hists[name], point),
        )
    )
    if not (every.all() and kept.any()):
        return None
    share = kept.sum() / every.sum()
    error = np.sqrt(share * (1 - share) * (1 / every).sum())
    return round(float((kept[0] / every[0] - kept[1] / every[1]) / error), 3)


def _counted(
    spectra: Mapping[str, Any], window: MassRange, within: MassRange
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the events in the window, and in the fit range beside it, all folds together."""
    counts = np.zeros(2)
    for spectrum in spectra.values():
        edges, values = spectrum.axes[0].edges, spectrum.values()
        low, high = edges[:-1], edges[1:]
        inside = (low >= window.low) & (high <= window.high)
        beside = (low >= within.low) & (high <= within.high)
        beside &= (high <= window.low) | (low >= window.high)
        counts += values[inside].sum(), values[beside].sum()
    return counts


@dataclass(frozen=True)
class _Test:
    """The p-values of one test of a method over all samples."""

    method: str
    name: str
    p_values: tuple[float, ...]
    asked: int
    pull: Value | None = None

    @property
    def uniform(self) -> Uniformity:
        return uniformity(self.p_values)

    def share(self, below: float) -> tuple[float, float]:
        """Return the share of p-values at or below one, and its standard deviation if uniform."""
        n = len(self.p_values)
        return float(np.mean(np.array(self.p_values) <= below)), float(
            np.sqrt(below * (1 - below) / n)
        )


_LOCAL = tuple(f"{one:g}" for one in SELECTIONS)
_ALL = "all-dijets"
_BOUNDS = ("global", "search")
"""p-values that are right where they are not too small: toys leave the taggers as they are, and
that of the search may be a bound."""


def _tests(found: Found, method: str) -> Iterator[_Test]:
    """Yield the tests of a method that were made in any sample."""
    block = found.block(method)
    values = block.get("measured") or {}
    asked = len(_searched(block))
    for kind, names in (("local", _LOCAL), ("tests", ("ABCD", "direct estimate"))):
        for name in names:
            of = _known((values.get(kind) or {}).get(name))
            if of:
                pull = _known((values.get("pulls") or {}).get(name))
                yield _Test(method, name, of, asked, Value.of(pull) if pull else None)
    for name in _BOUNDS:
        of = _known(values.get(name))
        if of:
            yield _Test(method, name, of, asked)


def _searched(block: Mapping[str, Any]) -> Sequence[Any]:
    """Return a list with an entry for every sample that the method was tried on."""
    background = block.get("background")
    found: Sequence[Any] = background["values"] if background else block.get("refused", ())
    return found


def _known(value: Any) -> tuple[float, ...]:
    values = value["values"] if isinstance(value, Mapping) and "values" in value else ()
    return tuple(one for one in values if one is not None)


def _by_method(found: Found) -> dict[str, list[_Test]]:
    """Return all tests by method, that of all dijets last."""
    blocks = found.numbers["blocks"]
    every = {name: list(_tests(found, name)) for name in blocks if name != USELESS}
    before = (blocks.get(USELESS) or {}).get("measured") or {}
    of = _known((before.get("local") or {}).get(BEFORE))
    return every | ({_ALL: [_Test(_ALL, BEFORE, of, len(of))]} if of else {})


_RULE = (
    "Kolmogorov and Smirnov's distance below p = 1/2{side}, its probability times the number of "
    f"tests: refuted below {ALPHA:g} over the number of claims, undecided below {ALPHA:g} or with "
    f"fewer than {FEWEST} samples, else confirmed"
)


def _claims(found: Found) -> list[Claim]:
    every = _by_method(found)
    number = sum(len(_judged(tests, kind)) > 0 for tests in every.values() for kind in _KINDS)
    claims = [
        _claim(name, kind, chosen, number)
        for kind in _KINDS
        for name, tests in every.items()
        if (chosen := _judged(tests, kind))
    ]
    if USELESS in found.numbers["blocks"]:
        claims.append(_useless(found))
    return claims


_KINDS = {
    "local": ("local p-values of the selections are uniform", ""),
    "other": ("p-values of tests without a spectrum (ABCD, direct estimate) are uniform", ""),
    "global": ("global p-values are never too small", ", small p-values alone"),
}
"""What is claimed of each kind of test, and the side that is looked at."""


def _judged(tests: Sequence[_Test], kind: str) -> list[_Test]:
    kinds = dict.fromkeys((*_LOCAL, BEFORE), "local") | dict.fromkeys(_BOUNDS, "global")
    return [test for test in tests if kinds.get(test.name, "other") == kind]


def _claim(method: str, kind: str, tests: Sequence[_Test], claims: int) -> Claim:
    what, side = _KINDS[kind]
    one_sided = kind == "global"
    by_p = {test: test.uniform.p_too_small if one_sided else test.uniform.p_value for test in tests}
    worst = min(tests, key=lambda test: by_p[test])
    p = min(1.0, len(tests) * by_p[worst])
    verdict = Verdict.CONFIRMED
    if p < ALPHA / claims:
        verdict = Verdict.REFUTED
    elif p < ALPHA or min(len(test.p_values) for test in tests) < FEWEST:
        verdict = Verdict.UNDECIDED
    shares = "; ".join(
        f"{test.name}: {_share(test, 0.1)} of {len(test.p_values)} have p <= 0.1" for test in tests
    )
    return Claim(
        f"{method}-{kind}",
        "arXiv:2512.13787" if one_sided else "arXiv:1007.1727",
        what,
        _RULE.format(side=side),
        f"{shares}; p = {p:.2g}",
        verdict,
        _why(worst, p, one_sided=one_sided),
    )


def _share(test: _Test, below: float) -> str:
    share, error = test.share(below)
    return f"{share:.2f} ± {error:.2f}"


def _why(test: _Test, p: float, *, one_sided: bool) -> str:
    """Return in words what is wrong with p-values, where anything is.

    What looks at one side looks at small ones, however large the others are.
    """
    if p >= ALPHA:
        return ""
    uniform = test.uniform
    words = [
        f"{test.name}: too small"
        if one_sided or uniform.too_small >= uniform.too_large
        else f"{test.name}: too large, {uniform.empty} of {uniform.n} without an excess"
    ]
    if test.pull is not None and test.pull.n > 1:
        pull = test.pull
        words.append(
            f"the efficiency in the window is {pull.mean:+.2f} ± {pull.error:.2f} standard "
            f"deviations off that beside it, with a spread of {pull.sd:.2f}"
        )
    return "; ".join(words)


def _useless(found: Found) -> Claim:
    values = found.block(USELESS).get("measured") or {}
    columns = [(values.get(name) or {}).get("values", ()) for name in ("global", "alone")]
    pairs = [pair for pair in zip(*columns, strict=True) if None not in pair]
    both, alone = (Value.of([pair[i] for pair in pairs]) for i in range(2))
    raised = Value.of([two - one for two, one in pairs])
    return Claim(
        "useless-method",
        "the trials of a search",
        f"{_PAIR[1]} beside {_PAIR[0]} raises the global p-value",
        "the mean difference is above 0 by twice its error",
        f"{both.mean:.3f} together, {alone.mean:.3f} alone, {raised.mean:+.3f} ± "
        f"{raised.error:.3f} in {raised.n} samples",
        compared(raised.mean, raised.error, means=(raised,)),
    )


def _tables(found: Found) -> list[StudyTable]:
    rows = []
    for method, tests in _by_method(found).items():
        for test in tests:
            uniform, pull = test.uniform, test.pull
            rows.append(
                (
                    method,
                    test.name,
                    f"{uniform.n} of {test.asked}",
                    f"{uniform.empty / uniform.n:.2f}",
                    _share(test, 0.1),
                    _share(test, 0.01),
                    f"{uniform.p_value:.2g}",
                    f"{uniform.p_too_small:.2g}",
                    "-" if pull is None else f"{pull.mean:+.2f} ± {pull.error:.2f}",
                    "-" if pull is None else f"{pull.sd:.2f}",
                )
            )
    columns = (
        "method",
        "test",
        "samples",
        "p of 1/2 and more",
        "p <= 0.1",
        "p <= 0.01",
        "uniform",
        "not too small",
        "pull in the window",
        "its spread",
    )
    return [StudyTable("p-values where there is nothing", columns, tuple(rows)), *_refused(found)]


def _refused(found: Found) -> list[StudyTable]:
    """Return the samples that a method could not be trained or fitted on, with the first reason."""
    rows = []
    for name in found.numbers["blocks"]:
        block = found.block(name)
        reasons = [one for one in block.get("refused") or () if one]
        if reasons:
            rows.append((name, str(len(reasons)), reasons[0]))
        local = (block.get("measured") or {}).get("local") or {}
        for selection in _LOCAL:
            unfitted = len(_searched(block)) - len(reasons) - len(_known(local.get(selection)))
            if unfitted:
                why = f"no function is fitted to the spectrum of {selection}"
                rows.append((name, str(unfitted), why))
    columns = ("method", "samples", "the first reason")
    return [StudyTable("Samples that were refused", columns, tuple(rows))] if rows else []


def _plots(found: Found) -> list[Plot]:
    by_test: dict[str, dict[str, tuple[float, ...]]] = {}
    for method, tests in _by_method(found).items():
        for test in tests:
            by_test.setdefault(test.name, {})[method] = test.p_values
    shown = {name: by_test[name] for name in (*_LOCAL, *_BOUNDS) if name in by_test}
    if not shown:
        return []
    verdicts = {claim.id: claim.verdict for claim in _claims(found)}
    refuted = {
        name: [
            method
            for method in methods
            if verdicts.get(f"{method}-{'local' if name in _LOCAL else 'global'}")
            is Verdict.REFUTED
        ]
        for name, methods in shown.items()
    }
    return [
        study_plot(
            "cumulative",
            "Cumulative p-values",
            "Share of samples with a local p-value (selections) or global p-value at or below p, a "
            "line a method; those with a refuted claim are in colour. The band is that of 95 % of "
            "uniform p-values of as many samples, at each p.",
            cumulative_p_values(shown, refuted),
            {name: {one: sorted(p) for one, p in own.items()} for name, own in shown.items()},
        ),
        study_plot(
            "small",
            "Small p-values",
            "Share of samples with a p-value of 0.1 or less, with the standard deviation of a "
            "uniform one.",
            small_p_values(shown, 0.1),
            {},
        ),
    ]


def _notes(found: Found) -> list[str]:
    return [
        "Where the best fit has no signal the p-value says 1/2 or 1, by formula or toys: of "
        "uniform p-values half are there. Tests look at smaller ones alone.",
        f"Local p-values are those of the scan's {TOYS} toys where the formula does not hold: "
        f"none of these is below {1 / (TOYS + 1):.3f}.",
        "Folds train each other's taggers, so that their sum may be over-dispersed. In a "
        "worst-case toy Z was not too wide with two folds, as here, and 1.2 and 1.4 times with 5 "
        "and 10. Toys of histograms leave the taggers as they are; null chains calibrate what "
        "training adds.",
        "The pull is the efficiency in the window minus that beside it, in its standard "
        "deviations: a mean above 0 is sculpting, a spread above 1 is what training adds.",
        f"With {FEWEST} samples a share of 0.1 is known to 0.04; methods may be wrong by less, and "
        "p-values below 0.01 are not looked at.",
        "All methods are searched in the same samples: what one has by chance is in every row.",
        "The simulated signals of methods that learn from them are the same in all samples; "
        "simulated background is not.",
    ]


EXPERIMENT = Experiment(
    name="null",
    title="Searches where there is nothing",
    source="arXiv:2512.13787",
    pools={
        "background": Pool("rnd-background", 100 * EVENTS, least=6 * EVENTS),
        "simulation": Pool("simulation", 100 * EVENTS, least=6 * EVENTS, optional=True),
        "prior:two-prong": Pool("rnd-signal", 2000, least=2000, optional=True),
        "prior:three-prong": Pool("rnd-signal-3prong", 2000, least=2000, optional=True),
    },
    settings={
        "skim": {
            "observables": (
                *("pt", "eta", "phi", "mass", "tau1", "tau2", "tau3", "tau21", "tau32", "tau43"),
                *("tau1_width", "n_constituents", "mass_drop_sum", "energy", "n_subjets_wide"),
                *("delta_eta", "delta_phi", "delta_r12", "delta_r13", "delta_r14", "delta_r23"),
                *("delta_r24", "delta_r34"),
            ),
            "constituents": 20,
            "aligned": 10,
            "splittings": {"most": 20, "branches": "all", "mass_min": 30},
            "sequence": {"radius": 0.7, "jets": 10},
        },
        "search": {"efficiencies": SELECTIONS},
        "fit": {"bump": {"null_chains": None}, "limit": {"enabled": False}},
    },
    blocks=_blocks(),
    claims=_claims,
    plots=_plots,
    tables=_tables,
    notes=_notes,
    measure=measured,
    features={},
    scale=1.0,
    own_events=EVENTS,
)
