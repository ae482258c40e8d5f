"""Who takes part in the study of the LHC Olympics, in which boxes, and with which settings.

A method enters with one line in `ENTRIES`; one of another package by its entry point
(`tnt_coffea.methods`) under the `kind` that it has there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tnt_coffea import generator, seeds
from tnt_coffea.config import GenerateSettings, SearchConfig, SignalModel
from tnt_coffea.errors import ConfigError
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.training import Method, steps_of

__all__ = [
    "BESIDE",
    "BOXES",
    "ENTRIES",
    "EVENTS",
    "PULLS_BY",
    "Entry",
    "box_settings",
    "configured",
    "entries_named",
    "injected_settings",
    "knowledge",
    "missing",
    "null_settings",
    "skim_settings",
]

EVENTS = 1_000_000
"""Events of a box at scale 1."""
BOXES: Mapping[str, str] = {
    "blackbox-1": "blackbox-1",
    "blackbox-2": "blackbox-2",
    "blackbox-3": "blackbox-3",
    "blind-1": "blackbox",
    "blind-2": "blackbox",
}
"""Data set of each box; those of `blackbox` are drawn from seeds of the study."""
_LEAST = 200
BESIDE: Mapping[str, Pool] = {
    "simulation": Pool("simulation", 400_000, least=500),
    "prior:x500-y100-2prong": Pool("rnd-signal", 40_000, least=200),
    "prior:x500-y100-3prong": Pool("rnd-signal-3prong", 40_000, least=200),
}
"""What is generated beside the boxes, as the sets of research and development that contestants
had: simulated background of another shower, and both signals."""


@dataclass(frozen=True)
class Entry:
    """A method that searches every box.

    Attributes
    ----------
    method
        Its settings, as in `train.methods`.
    builds_on
        Methods that it builds on, by name; they are not searched.
    variables
        Masses in which it searches; of several, the better answer counts, with the trial.
    observables
        Further columns of the skim.
    skim
        Further settings of the skim, such as `{"constituents": 50}`.
    by_default
        Whether it takes part where no method is named.

    Examples
    --------
    >>> Entry({"kind": "pca"}).variables
    ('m_jj',)
    """

    method: Mapping[str, Any]
    builds_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variables: Sequence[str] = ("m_jj",)
    observables: Sequence[str] = ()
    skim: Mapping[str, Any] = field(default_factory=dict)
    by_default: bool = True


_FOUR = {"network": "trees", "features": ("rescaled_mass", "tau21")}
_MANY = {"network": "trees", "features": ("rescaled_mass", "subjettiness")}
_BESIDE = {"by": "morphing", "sideband": 0.8}  # 400 GeV: those of the first window are in the fit
_LOW = {"first": {"kind": "feature", "feature": "tau21", "descending": True}}
_BOTH = "heavy_tau21 + light_tau21"
_SMALL: Mapping[str, Any] = {"batch": 1000, "learning_rate": 0.005}
_RATIO = {
    "network": "dense",
    "features": ("light_mass", "mass_difference", "tau21", "m_jj"),
    "layers": (32, 32),
    "epochs": 15,
    "optimizer": _SMALL,
}
_WEIGHTS = {"dctr": {"kind": "dctr", "classifier": _RATIO, "validation": False}}
_SPLITTINGS = {"splittings": {"most": 30, "branches": "all", "mass_min": 30}}
_TOPICS = {"bins": 20, "starts": 3, "steps": 2000}


def _by_name(method: Mapping[str, Any], **others: Any) -> Entry:
    """Return an entry that takes part where it is named alone."""
    return Entry(method, by_default=False, **others)


ENTRIES: Mapping[str, Entry] = {
    "cwola": Entry({"kind": "cwola", "classifier": _FOUR}),
    "cwola-56": Entry({"kind": "cwola", "classifier": _MANY}, observables=("subjettiness",)),
    "tag-n-train": Entry({"kind": "tag_n_train", "after": "first", "classifier": _FOUR}, _LOW),
    "template": Entry({"kind": "template_classifier", "template": _BESIDE, "classifier": _FOUR}),
    "cwola-three-jets": Entry({"kind": "cwola", "classifier": _FOUR}, variables=("m_jj", "m_jjj")),
    "pca": Entry({"kind": "pca"}, observables=("tau1_width", "tau43")),
    "low-tau21": Entry({"kind": "event_feature", "feature": _BOTH, "descending": True}),
    "factorized-topics": Entry({"kind": "factorized_topics", **_TOPICS}),
    "sa-cwola": Entry({"kind": "sa_cwola", "classifier": _FOUR}),
    "paws": Entry({"kind": "paws", "pairs": 50_000, "epochs": 10}),
    "autoencoder": _by_name({"kind": "autoencoder"}, skim={"images": {}}),
    "cwola-per-jet": _by_name({"kind": "cwola_per_jet", "classifier": _FOUR}),
    "gis": _by_name({"kind": "gis"}),
    "gis-decorrelated": _by_name({"kind": "gis", "decorrelate": True}),
    "lda": _by_name({"kind": "lda"}, skim=_SPLITTINGS),
    "feature-autoencoder": _by_name({"kind": "feature_autoencoder", "optimizer": _SMALL}),
    "quak": _by_name({"kind": "quak"}, observables=("n_constituents", "tau1_width", "tau43")),
    "data-vs-simulation": _by_name({"kind": "data_vs_simulation", "classifier": _FOUR}),
    "salad": _by_name({"kind": "salad", "after": "dctr", "classifier": _FOUR}, builds_on=_WEIGHTS),
}
"""All that can take part, by the name in tables; those `by_default` do where none is named. Those
that read simulated background (`--simulation`) or signals (`--prior`) stay out where there are
none."""
PULLS_BY = "cwola"
"""Who answers boxes of known truth, for the pulls: a method that needs no more than a box."""

EFFICIENCIES = (0.1, 0.01)
"""Shares of events that are selected: the best of figures of merit is near 1 %, and fits of fewer
events in five folds were refused on development events (docs/sensitivity.md)."""
MASSES = tuple(float(mass) for mass in np.arange(3000.0, 5000.0, 150.0))
"""Masses that are tested [GeV]; no signal is further than 0.7 widths from one."""
_OBSERVABLES = ("pt", "eta", "mass", "rescaled_mass", "tau21", "tau32", "m_jjj")
_SETTINGS: Mapping[str, Any] = {
    "search": {"efficiencies": EFFICIENCIES},
    "fit": {
        # One mass more a window, where toys are not needed: 1000 of each at 1 % were most of the
        # cost of a search. The best test of all has its toys in the answer.
        "bump": {"efficiency": 0.1},
        # Toys cannot reach the p-values that many methods' trials ask for: the sum of all tests'
        # p-values bounds the global one, and the best test alone has toys where it needs them.
        "scan": {"masses": MASSES, "toys": 0, "global_over": "all", "each": False},
        # No ABCD estimate: those of every window would all be trials, and one cannot close so well.
        "abcd": {"efficiency": 0.1, "closure_limit": 1e-9},
        "direct": {"efficiency": 0.01, "closure_limit": 1e-9},
        "limit": {"enabled": False},
    },
}


def entries_named(
    names: Sequence[str] = (), entries: Mapping[str, Entry] | None = None
) -> dict[str, Entry]:
    """Return entries by name; without names all that take part by default.

    Raises
    ------
    ConfigError
        There is none of that name.

    Examples
    --------
    >>> list(entries_named(["pca"]))
    ['pca']
    """
    known = ENTRIES if entries is None else entries
    if unknown := [name for name in names if name not in known]:
        msg = f"no entry is called {', '.join(unknown)}; known ones are {', '.join(known)}"
        raise ConfigError(msg)
    chosen = names or [name for name, entry in known.items() if entry.by_default]
    return {name: known[name] for name in chosen}


def box_settings(name: str, scale: float) -> GenerateSettings:
    """Return what a box is generated with.

    S / sqrt(B) decides what can be found, and is kept: a box of s times the events has sqrt(s)
    times the signal. The share of a blind box is drawn, and stays.

    Examples
    --------
    >>> made = box_settings("blackbox-1", 0.25)
    >>> made.signal, made.background + made.signal, made.hidden
    (417, 250000, True)
    """
    settings = generator.dataset_named(BOXES[name]).settings
    events = max(_LEAST, round(scale * EVENTS))
    signal = min(events // 2, round(settings.signal * (events / EVENTS) ** 0.5))
    return settings.model_copy(update={"signal": signal, "background": events - signal})


_INJECTED, _SHARE = 10_000, 0.03
_RANGES = (3200.0, 4500.0), (150.0, 700.0), (80.0, 300.0)
"""Masses of the resonance, X and Y of injected boxes [GeV]: drawn evenly."""


def injected_settings(number: int, seed: int) -> GenerateSettings:
    """Return what a box of known truth is generated with: 3 % of a signal whose masses are drawn.

    Examples
    --------
    >>> made = injected_settings(1, seed=1)
    >>> made.signal, 3200 <= made.resonance_mass <= 4500, made.light_mass <= made.heavy_mass
    (300, True, True)
    """
    rng = seeds.generator(seed, "olympics", "injected", number)
    resonance, heavy, light = (round(float(rng.uniform(*one)), 1) for one in _RANGES)
    signal = round(_SHARE * _INJECTED)
    return GenerateSettings(
        background=_INJECTED - signal,
        signal=signal,
        model=(SignalModel.TWO_PRONG, SignalModel.THREE_PRONG)[int(rng.integers(2))],
        resonance_mass=resonance,
        heavy_mass=max(heavy, light),
        light_mass=min(heavy, light),
        hidden=True,
    )


def null_settings() -> GenerateSettings:
    """Return what a box without signal is generated with: background of a box of known truth.

    Examples
    --------
    >>> null_settings().background, null_settings().signal, null_settings().hidden
    (10000, 0, True)
    """
    return GenerateSettings(background=_INJECTED, signal=0, hidden=True)


def skim_settings(entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return the settings of one skim with all that entries read.

    Examples
    --------
    >>> "tau43" in skim_settings({"pca": ENTRIES["pca"]})["observables"]
    True
    """
    further = (name for entry in entries.values() for name in entry.observables)
    observables = tuple(dict.fromkeys((*_OBSERVABLES, *further)))
    own: dict[str, Any] = {"images": None}
    for entry in entries.values():
        own |= dict(entry.skim)
    return own | {"observables": observables}


def configured(
    name: str,
    entry: Entry,
    variable: str,
    skim: Mapping[str, Any],
    seed: int,
    null_chains: str | None = None,
) -> SearchConfig:
    """Return the settings of one entry's search of a box in one mass.

    `null_chains` is a file of `tnt-coffea null-chains`, made with these settings.
    Methods that depend on a window have four, of 500 GeV from 3 to 5 TeV (section 4.3.1).

    Examples
    --------
    >>> entry = ENTRIES["tag-n-train"]
    >>> config = configured("tag-n-train", entry, "m_jj", skim_settings(ENTRIES), seed=1)
    >>> list(config.train.methods), config.train.windows.value
    (['first', 'tag-n-train'], 'olympics')
    """
    methods = {**entry.builds_on, name: entry.method}
    fits = _SETTINGS["fit"]
    if null_chains is not None:
        fits = {**fits, "bump": {**fits["bump"], "null_chains": null_chains}}
    values = {
        "fit": fits,
        "seed": seed,
        "skim": dict(skim),
        "search": {**_SETTINGS["search"], "variable": variable},
        "train": {"folds": {"outer": 5}, "methods": methods},
    }
    config = SearchConfig.model_validate(values)
    if not any(method.reads.window for method in _methods(config)):
        return config
    values["train"] = {**values["train"], "windows": "olympics"}
    return SearchConfig.model_validate(values)


def _methods(config: SearchConfig) -> list[Method]:
    return [step.method for wave in steps_of(config) for step in wave]


def knowledge(config: SearchConfig) -> str:
    """Return what the methods of a search know beside the data.

    Examples
    --------
    >>> knowledge(configured("paws", ENTRIES["paws"], "m_jj", skim_settings({}), seed=1))
    'signal simulation'
    """
    known = {method.reads.knowledge for method in _methods(config)}
    order = ("signal simulation", "background simulation")
    return next((one for one in order if one in known), "none")


def missing(config: SearchConfig, *, simulation: bool, priors: bool) -> str:
    """Return what the methods of a search read that is not given; empty if nothing is missing.

    Examples
    --------
    >>> config = configured("paws", ENTRIES["paws"], "m_jj", skim_settings({}), seed=1)
    >>> missing(config, simulation=False, priors=False)
    'simulated signals (--prior)'
    """
    reads = [method.reads for method in _methods(config)]
    if any(one.truth for one in reads):
        return "the truth, which no search has"
    if any(one.simulation for one in reads) and not simulation:
        return "simulated background (--simulation)"
    if any(one.priors and not one.without_priors for one in reads) and not priors:
        return "simulated signals (--prior)"
    return ""
