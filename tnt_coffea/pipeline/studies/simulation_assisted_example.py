"""The physics example of simulation-assisted methods: what one repetition trains and measures.

Data are generated background with a few signal events injected, simulation is background of
another shower, and the jets' masses depend on m_jj (`skim.mass_shift`). A repetition has an
injection and a training seed of its own, trains all its methods with the public stage `train`,
and measures out of fold.

Source: arXiv:2009.02205, section IV; arXiv:2101.08320, sections 4.4 and 4.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hist
import numpy as np

from tnt_coffea import seeds, stats
from tnt_coffea.config import MassRange, SearchConfig
from tnt_coffea.errors import FitError
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.pipeline.evaluation import references_beside
from tnt_coffea.pipeline.studies.events import injected, joined, labelled
from tnt_coffea.pipeline.studies.experiment import shortened
from tnt_coffea.pipeline.studies.gaussian_example import performance
from tnt_coffea.pipeline.studies.study import Training
from tnt_coffea.pipeline.training import train
from tnt_coffea.products import Skim, Taggers
from tnt_coffea.stats.p_values import theta_q0
from tnt_coffea.taggers import Ranks, TaggerSet
from tnt_coffea.training.classifiers import Dense
from tnt_coffea.training.density_ratio import WeightSummary, auc
from tnt_coffea.typing import BoolArray, Float64Array

__all__ = [
    "CUTS",
    "FEATURES",
    "FIT",
    "MORE",
    "SHARES",
    "SIDEBANDS",
    "SIGNAL",
    "STRENGTHS",
    "WINDOW",
    "Block",
    "Events",
    "Keep",
    "signal_events",
    "train_block",
]

WINDOW = MassRange(low=3300.0, high=3700.0)
SIDEBANDS = MassRange(low=3000.0, high=3300.0), MassRange(low=3700.0, high=4000.0)
_WIDTH = 20.0
FIT = stats.SpectrumFit((2600.0, 5000.0), bin_width=_WIDTH)
"""The paper has 30 bins of 80 GeV, which have no edges at 3300 and 3700 GeV; these have."""
FEATURES = ("light_mass", "mass_difference", "heavy_tau21", "light_tau21")
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2)
SHARES = (0.06, 0.03, 0.015, 0.0075, 0.004)
"""S/B of the signal region in the scan of SALAD."""
CUTS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Shares of the data in the range of the fit that are kept."""
SIGNAL, MORE = "signal", "more-background"
"""Names of the priors of the skim: the signal, and background that is not searched."""

SHARE, SIGNIFICANCE = 0.0165, 4.06
"""S/B and S/sqrt(B) of the paper's 1000 events in the signal region of its training half."""
FITTED = ("cwola", "sa-cwola", "sa-cwola-negative", "salad", "optimal-cwola")
_EDGES = {
    "light_mass": (300.0, 800.0),
    "mass_difference": (300.0, 1200.0),
    "heavy_tau21": (0.0, 1.0),
    "light_tau21": (0.0, 1.0),
}
_BINS = 40
_WIDE = 80.0


class Keep(StrEnum):
    """What stays as in the paper when there are fewer events."""

    SIGNIFICANCE = "significance"
    SHARE = "sb"


class Block(StrEnum):
    """What a training block is for."""

    INJECTED = "injected"
    NULL = "null"
    STRENGTH = "strength"
    SHARE = "share"
    SUPERVISED = "supervised"
    EARLY = "early"


@dataclass(frozen=True)
class Events:
    """The dijets of a study, with labels that follow from their roles.

    Attributes
    ----------
    background, simulation, signal
        What data are made of, the simulation, and the pool of signal.
    more
        Background of its own for optimal CWoLa; None: it halves the data.
    """

    background: Sample
    simulation: Sample
    signal: Sample
    more: Sample | None = None

    @classmethod
    def of(cls, skim: Skim) -> Events:
        """Return the events of a skim: data, simulation, and priors `signal`, `more-background`."""
        priors = {role: skim.sample(role) for role in skim.by_role if role.startswith("prior:")}
        more = priors.get(f"prior:{MORE}")
        return cls(
            labelled(skim.sample(), 0),
            labelled(skim.sample("simulation"), 0),
            labelled(priors[f"prior:{SIGNAL}"], 1),
            None if more is None else labelled(more, 0),
        )

    @cached_property
    def in_window(self) -> int:
        """Background events of the signal region."""
        return int(WINDOW.contains(self.background.mass).sum())

    def injected(self, wanted: int, seed: int) -> tuple[Sample, Sample]:
        """Return data with so many signal events in the signal region, and the signal left over.

        Signal is drawn from the pool as it comes, so that its share of the sidebands is there too.

        Raises
        ------
        ConfigError
            The pool is too small: half of its signal region has to be left to test on.
        """
        return injected(self.background, self.signal, wanted, within=WINDOW, seed=seed)


def signal_events(events: Events, keep: Keep) -> int:
    """Return how many signal events there are in the signal region, both folds together.

    Parameters
    ----------
    events
        Of the study; the taggers of a fold are trained on half of them.
    keep
        What stays as in the paper.
    """
    half = events.in_window / 2
    return round(2 * (SHARE * half if keep is Keep.SHARE else SIGNIFICANCE * np.sqrt(half)))


def train_block(skim: Skim, training: Training) -> dict[str, Any]:
    """Train the methods of one block and return what they give, JSON values.

    Parameters
    ----------
    skim
        The dijets.
    training
        Its settings: `block`, `repetition`, `seed`, `signal` (events in the signal region),
        `inner`, and what the kind of block needs.
    """
    chosen = training.settings
    events = Events.of(skim)
    seed = seeds.integer(chosen["seed"], chosen["block"], chosen["repetition"])
    block = _Blocks(events, seed, chosen)
    return {
        Block.INJECTED: block.injected,
        Block.NULL: block.null,
        Block.STRENGTH: block.strength,
        Block.SHARE: block.share,
        Block.SUPERVISED: block.supervised,
        Block.EARLY: block.early,
    }[Block(chosen["block"])]()


@dataclass(frozen=True)
class _Blocks:
    """The kinds of blocks of one repetition."""

    events: Events
    seed: int
    chosen: Mapping[str, Any]

    def injected(self) -> dict[str, Any]:
        """All methods with signal injected (figures 3, 4, 6, 11; 40, 42)."""
        return self._all_methods(int(self.chosen["signal"]))

    def null(self) -> dict[str, Any]:
        """All methods without signal (figures 7, 8, 9; 41 right)."""
        return self._all_methods(0)

    def _all_methods(self, signal: int) -> dict[str, Any]:
        data, left = self.events.injected(signal, self.seed)
        simulation = self.events.simulation
        inside = WINDOW.contains(simulation.mass)
        with self._trained(data, _weak(self.events.more is not None)) as taggers:
            tested = _Tested(taggers.sets, data, left)
            weights = _weights(taggers.weights["dctr"], simulation)
            found: dict[str, Any] = {
                "injected": int((data.label == 1).sum()),
                "curves": {name: tested.curve(name) for name in taggers.sets},
                "spectra": {name: tested.spectra(name) for name in FITTED},
                "prediction": {
                    name: _prediction(tested, name, simulation, weights)
                    for name in ("salad", "data-vs-simulation")
                },
                "weights": WeightSummary.of(weights[inside]).to_dict(),
                "largest_log_odds": max(
                    history["largest_log_odds"]
                    for name, history in taggers.histories.items()
                    if name.startswith("sa-cwola-negative ")
                ),
            }
        if not signal:
            found["closure"] = self._closure(weights)
        if self.chosen["repetition"] == 0:
            found["features"] = _histograms(self.events, simulation, weights)
        return found

    def strength(self) -> dict[str, Any]:
        """SA-CWoLa at every lambda (figure 5)."""
        names = {f"sa-cwola-{i}": strength for i, strength in enumerate(STRENGTHS)}
        found = self._curves(
            {name: {"kind": "sa_cwola", "strength": names[name]} for name in names}
        )
        return {"curves": {f"{s:g}": found["curves"][name] for name, s in names.items()}}

    def share(self) -> dict[str, Any]:
        """SALAD, simulation alone and simulation without faults, with so much signal (41 left)."""
        every = _weak(self.events.more is not None)
        return self._curves(
            {name: every[name] for name in ("dctr", "salad", "data-vs-simulation", "optimal-cwola")}
        )

    def _curves(self, methods: Mapping[str, Any]) -> dict[str, Any]:
        data, left = self.events.injected(int(self.chosen["signal"]), self.seed)
        with self._trained(data, methods) as taggers:
            tested = _Tested(taggers.sets, data, left)
            return {"curves": {name: tested.curve(name) for name in taggers.sets}}

    def supervised(self) -> dict[str, Any]:
        """Labels for all features, each alone and each left out (figures 4, 10)."""
        background, signal = (
            sample.select(WINDOW.contains(sample.mass))
            for sample in (self.events.background, self.events.signal)
        )
        chosen: dict[str, tuple[str, ...]] = {"all": FEATURES}
        chosen |= {f"only-{name}": (name,) for name in FEATURES}
        chosen |= {f"without-{name}": tuple(f for f in FEATURES if f != name) for name in FEATURES}
        methods = {name: _supervised(features) for name, features in chosen.items()}
        data = joined(background, signal)
        with self._trained(data, methods, alone=True) as taggers:
            tested = _Tested(taggers.sets, joined(self.events.background, signal), signal)
            return {"curves": {name: tested.curve(name) for name in methods}}

    def early(self) -> dict[str, Any]:
        """Weights of networks that stop early, as `dctr` has them by default (41 right)."""
        simulation = self.events.simulation
        with self._trained(self.events.background, _salad({})) as taggers:
            tested = _Tested(taggers.sets, self.events.background, self.events.signal)
            weights = _weights(taggers.weights["dctr"], simulation)
            return {"prediction": {"salad": _prediction(tested, "salad", simulation, weights)}}

    def _closure(self, weights: Float64Array) -> dict[str, float]:
        """Return the AUC of a classifier of data against simulation, before and after weights.

        A classifier with labels, trained and tested on background of the signal region out of
        fold: first on simulation as it is, then on weighted simulation.
        """
        found = {}
        data = self.events.background.select(WINDOW.contains(self.events.background.mass))
        inside = WINDOW.contains(self.events.simulation.mass)
        for name, weight in (("before", np.ones(len(weights))), ("after", weights)):
            simulation = replace(self.events.simulation, weight=weight).select(inside)
            both = joined(replace(data, label=np.ones_like(data.label)), simulation)
            with self._trained(both, {"closure": _supervised(FEATURES)}, alone=True) as taggers:
                q = taggers.sets["closure"].ranks(both).both
            real = both.label == 1
            found[name] = auc(q[real], q[~real], both.weight[~real])
        return found

    def _trained(
        self, data: Sample, methods: Mapping[str, Any], *, alone: bool = False
    ) -> AbstractContextManager[Taggers]:
        """Return the tagger sets of methods, for as long as the context lasts.

        Without `alone` they may read the simulation and the background that is not searched.
        """
        shorter = shortened(methods, self.chosen.get("epochs"))
        config = SearchConfig.model_validate(
            {
                "seed": self.seed,
                "train": {
                    "folds": {"outer": 2, "inner": self.chosen["inner"]},
                    "methods": {"random": {"kind": "event_random", "features": FEATURES}} | shorter,
                },
                "search": {
                    "window": {"low": WINDOW.low, "high": WINDOW.high},
                    "fit_range": {"low": FIT.range[0], "high": FIT.range[1]},
                },
            }
        )
        more = self.events.more
        roles: dict[str, Any] = {} if alone else {"simulation": self.events.simulation}
        if more is not None and not alone:
            roles["priors"] = {MORE: more}
        return _taggers(Skim.from_sample(data, **roles), config)


@contextmanager
def _taggers(skim: Skim, config: SearchConfig) -> Iterator[Taggers]:
    """Give the trained sets, references among them: nothing here is searched."""
    with TemporaryDirectory(prefix="tnt-coffea-study-") as out:
        found = train(skim, config, out=out, resources=Resources(progress=False))
        references = references_beside(Path(out) / "train")
        beside = {} if references is None else references.sets
        yield replace(found, sets={**found.sets, **beside})


def _weak(more: bool) -> dict[str, Any]:
    """Return the methods of figure 4, and Tag N' Train with and without weighted simulation."""
    of_jet = _network("mass", "tau21")
    return {
        "cwola": {"kind": "cwola", "sideband": 0.75, "classifier": _network(*FEATURES)},
        "sa-cwola": {"kind": "sa_cwola"},
        "sa-cwola-negative": {"kind": "sa_cwola", "form": "negative", "strength": 0.5},
        **_salad(),
        "data-vs-simulation": {"kind": "data_vs_simulation", "classifier": _network(*FEATURES)},
        "optimal-cwola": {
            "kind": "optimal_cwola",
            "background": MORE if more else None,
            "classifier": _network(*FEATURES),
        },
        "autoencoder": {"kind": "feature_autoencoder", "pure": True, "mass_window": True},
        "norm": {"kind": "event_norm", "features": FEATURES},
        "low-tau21": {"kind": "feature", "feature": "tau21", "descending": True},
        "tnt": {"kind": "tag_n_train", "after": "low-tau21", "classifier": of_jet},
        "salad-tnt": {"kind": "salad_tag_n_train", "after": "low-tau21"},
    }


def _salad(dctr: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return SALAD with the paper's weights, of 20 epochs and the last one's, or with others."""
    papers = {"classifier": _network("light_mass", "mass_difference", "tau21", "m_jj")}
    return {
        "dctr": {"kind": "dctr", "validation": False, **(papers if dctr is None else dctr)},
        "salad": {"kind": "salad", "after": "dctr"},
    }


def _supervised(features: Sequence[str]) -> dict[str, Any]:
    return {"kind": "supervised_both_jets", "classifier": _network(*features)}


def _network(*features: str) -> dict[str, Any]:
    """Return the paper's network on features."""
    return Dense.paper(*features).model_dump(mode="json")


class _Tested:
    """Data, and signal that was not injected, ranked out of fold."""

    def __init__(self, sets: Mapping[str, TaggerSet], data: Sample, left: Sample) -> None:
        self.sets, self.data = sets, data
        self.signal = left.select(WINDOW.contains(left.mass))
        self._known: dict[str, Ranks] = {}
        background = data.label == 0
        self.inside = background & WINDOW.contains(data.mass)
        self.beside = background & (
            SIDEBANDS[0].contains(data.mass) | SIDEBANDS[1].contains(data.mass)
        )

    def ranks(self, name: str) -> Ranks:
        """Return the ranks of the data by one set."""
        if name not in self._known:
            self._known[name] = self.sets[name].ranks(self.data)
        return self._known[name]

    def curve(self, name: str) -> dict[str, Any]:
        """Return what a set tells apart, in every fold, and the mean of the folds."""
        ranks, signal = self.ranks(name), self.sets[name].ranks(self.signal)
        of_folds = []
        for fold in np.unique(ranks.fold):
            here = ranks.fold == fold
            of_folds.append(
                performance(
                    signal.both[signal.fold == fold],
                    ranks.both[here & self.inside],
                    ranks.both[here & self.beside],
                )
            )
        return {
            "auc": float(np.mean([one.auc for one in of_folds])),
            "auc_regions": float(np.mean([one.auc_regions for one in of_folds])),
            "passed": [
                float(f"{value:.6g}") for value in np.mean([one.passed for one in of_folds], axis=0)
            ],
        }

    def passing(self, name: str, cut: float) -> BoolArray:
        """Return (event,) whether an event is among the highest of its fold, in the fit's range."""
        ranks, range_ = self.ranks(name), MassRange(low=FIT.range[0], high=FIT.range[1])
        inside, kept = range_.contains(self.data.mass), np.zeros(len(self.data), dtype=np.bool_)
        for fold in np.unique(ranks.fold):
            here = inside & (ranks.fold == fold)
            kept |= here & (ranks.both > np.quantile(ranks.both[here], 1 - cut))
        return kept if cut < 1 else inside

    def spectra(self, name: str) -> list[dict[str, Any]]:
        """Return the window test of the spectrum after every cut, with and without the signal.

        `corrected` takes off what the test finds in background alone, after the same cut: the
        paper's idealised correction, which needs the truth.
        """
        return [self._spectrum(self.passing(name, cut), cut) for cut in CUTS]

    def _spectrum(self, kept: BoolArray, cut: float) -> dict[str, Any]:
        mass, background = self.data.mass, self.data.label == 0
        found: dict[str, Any] = {
            "cut": cut,
            "signal": int((kept & ~background & WINDOW.contains(mass)).sum()),
            "spectrum": np.histogram(mass[kept], _wide_edges())[0].tolist(),
        }
        try:
            tested = _window_test(mass[kept])
            alone = tested if background.all() else _window_test(mass[kept & background])
        except FitError as error:
            return found | {"refused": str(error)}
        residual = alone.observed - alone.expected
        b, sigma = tested.expected, tested.uncertainty
        corrected = tested.observed - residual
        return found | {
            "observed": tested.observed,
            "expected": b,
            "uncertainty": sigma,
            "z": tested.z,
            "pull": _pull(tested.observed, b, sigma),
            "corrected": float(np.sqrt(theta_q0(corrected, b, sigma))),
            "goodness": tested.goodness_of_fit,
            "background": {"pull": _pull(alone.observed, alone.expected, alone.uncertainty)},
        }


def _window_test(mass: Float64Array) -> stats.WindowResult:
    low, high = FIT.range
    axis = hist.axis.Regular(round((high - low) / _WIDTH), low, high, name="m_jj")
    spectrum = hist.Hist(axis, storage=hist.storage.Weight()).fill(mass)
    return stats.masked_window_test(spectrum, window=WINDOW.edges, fit=FIT)


def _pull(observed: float, expected: float, uncertainty: float) -> float:
    """Return the excess in standard deviations of counting and fit."""
    return float((observed - expected) / np.sqrt(expected + uncertainty**2))


def _wide_edges() -> Float64Array:
    return np.arange(FIT.range[0], FIT.range[1] + 1, _WIDE)


def _weights(dctr: TaggerSet, simulation: Sample) -> Float64Array:
    """Return (event,) weights of the simulation, each from networks of the other fold."""
    weights: Float64Array = simulation.weight * np.exp(dctr.log_weights(simulation)["nominal"])
    return weights


def _prediction(
    tested: _Tested, name: str, simulation: Sample, weights: Float64Array
) -> list[dict[str, float]]:
    """Return background of the signal region after cuts, and what simulation predicts.

    Cuts keep a share of the background of each fold; `weighted` sums DCTR's weights,
    `unweighted` simulation normalised to the sidebands.
    """
    ranks, inside = tested.ranks(name), tested.inside
    simulated = tested.sets[name].ranks(simulation)
    region = WINDOW.contains(simulation.mass)
    beside = SIDEBANDS[0].contains(simulation.mass) | SIDEBANDS[1].contains(simulation.mass)
    scale = float(tested.beside.sum() / beside.sum())
    found = []
    for cut in CUTS:
        chosen = np.zeros(len(simulation), dtype=np.bool_)
        observed = 0
        for fold in np.unique(ranks.fold):
            here = inside & (ranks.fold == fold)
            edge = np.quantile(ranks.both[here], 1 - cut) if cut < 1 else -np.inf
            observed += int((ranks.both[here] > edge).sum())
            chosen |= region & (simulated.fold == fold) & (simulated.both > edge)
        found.append(
            {
                "cut": cut,
                "observed": float(observed),
                "weighted": float(weights[chosen].sum()),
                "variance": float((weights[chosen] ** 2).sum()),
                "unweighted": scale * float(chosen.sum()),
            }
        )
    return found


def _histograms(events: Events, simulation: Sample, weights: Float64Array) -> dict[str, Any]:
    """Return the features in the signal region, and the weights there."""
    shown = {
        "data": (events.background, None),
        "simulation": (simulation, None),
        "weighted simulation": (simulation, weights),
        "signal": (events.signal, None),
    }
    found: dict[str, Any] = {}
    for feature, (low, high) in _EDGES.items():
        edges = np.linspace(low, high, _BINS + 1)
        found[feature] = {"edges": edges.tolist()}
        for name, (sample, weight) in shown.items():
            inside = WINDOW.contains(sample.mass)
            own = None if weight is None else weight[inside]
            heights, _ = np.histogram(_values(sample, feature)[inside], edges, weights=own)
            total = inside.sum() if own is None else own.sum()
            found[feature][name] = (heights / total).tolist()
    edges = np.linspace(-3, 3, 61)
    logs = np.log10(weights[WINDOW.contains(simulation.mass)])
    found["weights"] = {
        "edges": edges.tolist(),
        "events": np.histogram(logs, edges)[0].tolist(),
    }
    return found


def _values(sample: Sample, feature: str) -> Float64Array:
    columns = sample.columns
    if feature == "mass_difference":
        return np.asarray(columns["heavy_mass"] - columns["light_mass"], np.float64)
    return np.asarray(columns[feature], np.float64)
