"""Simulated signals as coffea processors: their variations, skimmed, and filled for templates.

Events are clustered once. Jets are reconstructed again only for what changes them, and scored again
where it changes what a tagger takes; variations of weights fill the same scores again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from scipy.special import ndtri

from tnt_coffea.config import (
    NOMINAL,
    SearchConfig,
    SkimSettings,
    SystematicsSettings,
    WeightVariationSettings,
)
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events import skim
from tnt_coffea.events.expressions import Expression
from tnt_coffea.events.identity import uniform
from tnt_coffea.events.particles import Particles, one_an_event
from tnt_coffea.events.roles import checked_name, signal_name
from tnt_coffea.events.sample import Sample, in_units, sample_of
from tnt_coffea.events.selection import EventSelection
from tnt_coffea.events.sources import features_of
from tnt_coffea.events.stored_jets import StoredJets
from tnt_coffea.events.trees import where
from tnt_coffea.jets.clustering import Clusters, find_clusters
from tnt_coffea.jets.corrections import JetCorrections
from tnt_coffea.jets.dijets import dijets_of, select_dijets
from tnt_coffea.jets.momenta import CARTESIAN, momentum_lists
from tnt_coffea.jets.varied import leading_clusters, scaled_clusters, scaled_jets
from tnt_coffea.processors.search import SearchProcessor
from tnt_coffea.processors.skim import (
    PartsProcessor,
    SelectingProcessor,
    as_asked,
    behind,
    coin_of,
    cutflow_of,
    found_in,
    part_name,
    sample_of_jets,
)
from tnt_coffea.stats.signal_histogram import joined
from tnt_coffea.taggers import Ranks, Scores, TaggerSet
from tnt_coffea.typing import BoolArray, Float64Array
from tnt_coffea.visibility import Mark

__all__ = ["SignalProcessor", "SignalSkimProcessor", "VariedEvents", "varied_events"]

_OF_MOMENTA = ("pt", "eta", "phi", "mass", "rescaled_mass", "energy")
_ALL = 2**31
"""More jets than an event has."""


@dataclass(frozen=True)
class VariedEvents:
    """The dijets of a chunk of simulated signal, with all variations.

    Attributes
    ----------
    samples
        Dijets by how the jets were varied, `nominal` first.
    weights
        (dijet,) weights of the nominal dijets by variation of the weights.
    generated
        Sums of weights of all events before any cut, in units of 2^-32: `nominal`, and that of
        every variation of the weights.
    cutflow
        Of the nominal jets.
    """

    samples: Mapping[str, Sample]
    weights: Mapping[str, Float64Array]
    generated: Mapping[str, int]
    cutflow: dict[str, Any]


class _OfSignals(SelectingProcessor):
    """What both processors of simulated signals share."""

    every_path = False  # a signal may have been simulated for one year
    corrections: JetCorrections

    @property
    def columns(self) -> tuple[str, ...]:
        """Branches of a file that are needed beside those that are read anyway."""
        named = (_columns_in(text) for text in self.corrections.settings.columns)
        return tuple(dict.fromkeys((*super().columns, *(one for of in named for one in of))))


class SignalSkimProcessor(_OfSignals, PartsProcessor):
    """Write the dijets of every chunk of simulated signal, a Parquet part a variation of the jets.

    Parameters
    ----------
    settings
        Jets and images.
    systematics
        The variations.
    folder, mark
        As `SkimProcessor`; in the folder of a data set is one for every variation.
    corrections
        Of the same settings, where their files are read already.

    Raises
    ------
    ConfigError
        As `JetCorrections.read`.
    """

    def __init__(
        self,
        settings: SkimSettings,
        systematics: SystematicsSettings,
        folder: str | Path,
        mark: Mark | None = None,
        corrections: JetCorrections | None = None,
    ) -> None:
        super().__init__(settings, folder, mark)
        self.corrections = corrections or JetCorrections.read(systematics)

    def process(self, events: Any) -> dict[str, Any]:
        """Return cutflow, sums of weights and the parts' paths by variation, by data set."""
        meta = events.metadata
        found = varied_events(events, self.settings, self.corrections, self.selection)
        parts: dict[str, set[str]] = {}
        brought: dict[str, bytes] = {}
        for variation, sample in found.samples.items():
            if not len(sample):
                continue
            inner = (checked_name(meta["dataset"]), *(() if variation == NOMINAL else (variation,)))
            part = "/".join((*inner, part_name(meta)))
            weights = found.weights if variation == NOMINAL else None
            write = functools.partial(
                skim.write_part, sample=sample, weights=weights, variation=variation
            )
            brought |= self.kept(part, write)
            parts[variation] = {part}
        return {
            "cutflow": {meta["dataset"]: found.cutflow},
            "parts": {meta["dataset"]: parts},
            "generated": {meta["dataset"]: dict(found.generated)},
            **({"brought": brought} if brought else {}),
        }


class SignalProcessor(_OfSignals):
    """Fill simulated signals with their variations, scored and ranked as the data of their folds.

    Parameters
    ----------
    config
        `skim`, `search` and `systematics` are read.
    taggers
        Tagger sets with quantile maps.
    corrections
        Of `config.systematics`, where their files are read already.

    Raises
    ------
    TaggerError
        As `SearchProcessor`.
    ConfigError
        As `JetCorrections.read`.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, execution, taggers, testing
    >>> from tnt_coffea.events.roles import signal
    >>> from tnt_coffea.products import Skim
    >>> data, simulated = (testing.make_sample(20, pixels=40, kind=kind) for kind in ("a", "b"))
    >>> skimmed = Skim.from_sample(data, signals={"m3500": simulated})
    >>> signals = SignalProcessor(SearchConfig(), taggers.load_set("rnd-3500/tnt"))
    >>> with execution.open_executor("iterative") as executor:
    ...     files = skimmed.fileset(signal("m3500"))
    ...     output, accounting = execution.run(files, signals, executor)
    >>> output["signals"]["tnt"][{"dataset": "m3500", "variation": "nominal"}].sum().value
    20.0
    """

    def __init__(
        self,
        config: SearchConfig,
        taggers: TaggerSet | Iterable[TaggerSet],
        corrections: JetCorrections | None = None,
    ) -> None:
        super().__init__(config.skim)
        self.corrections = corrections or JetCorrections.read(config.systematics)
        self.search = SearchProcessor(config, taggers)

    def process(self, events: Any) -> dict[str, Any]:
        """Return filled bins by tagger set and signal, sums of weights, and the cutflow.

        Raises
        ------
        InputError
            The events are of another role: their metadata name it.
        """
        meta = events.metadata
        name = signal_name(meta.get("role", ""))
        if name is None:
            msg = f"data set '{meta['dataset']}' is of role {meta.get('role')}, no signal:NAME"
            raise InputError(msg)
        found = self._read(events)
        filled: dict[str, Any] = {}
        scored: dict[str, tuple[Sample, Scores]] = {}
        for variation, each in found.samples.items():
            sample = each.with_variable(self.search.config.search.variable)
            weights = found.weights if variation == NOMINAL else {}
            for tagger_set in self.search.taggers:
                scores = tagger_set.score(sample, like=scored.get(tagger_set.name))
                scored.setdefault(tagger_set.name, (sample, scores))  # nominal ones come first
                ranks = tagger_set.ranks(sample, scores=scores)
                counts = self._filled(
                    tagger_set, sample, ranks, {variation: sample.weight, **weights}
                )
                own = filled.setdefault(tagger_set.name, {})
                own[name] = own[name] + counts if name in own else counts
        return {
            "signals": filled,
            "generated": {name: dict(found.generated)},
            "cutflow": {meta["dataset"]: found.cutflow},
        }

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the accumulator with (dataset, variation, ...) histograms by tagger set."""
        counts: Mapping[str, Any] = accumulator.get("signals", {})
        # A direction without a dijet is no mirror image of the other one.
        every = (NOMINAL, *self.corrections.variations)
        made = {
            name: joined({of: filled.histogram("variation", every) for of, filled in own.items()})
            for name, own in counts.items()
        }
        return accumulator | {"signals": made}

    def _read(self, events: Any) -> VariedEvents:
        config = self.search.config
        if not set(events.fields) >= skim.FIELDS:
            return varied_events(events, config.skim, self.corrections, self.selection)
        settings, variation = skim.made_with(events)
        sample = sample_of(events, settings)
        cutflow = cutflow_of({}, len(sample))
        return VariedEvents({variation: sample}, skim.weights_in(events), {}, cutflow)

    def _filled(
        self,
        tagger_set: TaggerSet,
        sample: Sample,
        ranks: Ranks,
        weights: Mapping[str, Float64Array],
    ) -> Any:
        scored = ~np.isnan(ranks.both)
        kept = ranks.select(scored)
        places = [kept.fold, sample.mass[scored], kept.heavy, kept.light]
        filled = [
            self.search.counts(tagger_set, name, places, weight[scored])
            for name, weight in weights.items()
        ]
        return sum(filled[1:], start=filled[0])


def varied_events(
    events: Any,
    settings: SkimSettings,
    corrections: JetCorrections,
    selection: EventSelection | None = None,
) -> VariedEvents:
    """Return the dijets of a chunk of simulated signal with all variations.

    Parameters
    ----------
    events
        NanoEvents of any source with particles, jets or features.
    settings
        Jets, observables and images; or what a table's columns mean.
    corrections
        The variations, of jets and of weights.
    selection
        Filters and own selection; by default those of the settings, read and imported here.

    Raises
    ------
    InputError
        As `reconstructed`; or a column of weights is not there, or not finite.
    ConfigError
        As `JetCorrections.factors`; or jets of a table of features shall vary.
    """
    if skim.made_before(events, settings) is not None:
        msg = (
            f"{where(events)}: a part of a skim does not say what was generated, nor can its jets "
            "vary; give the files of the signal that it was made of"
        )
        raise InputError(msg)
    factors = _factors(events, corrections.settings)
    selection = selection or EventSelection(settings)
    chosen, cuts = selection(events)
    kept = np.logical_and.reduce([np.ones(len(events), dtype=bool), *cuts.values()])
    every = _found(events, settings)
    own = np.asarray(every.weight, np.float64)
    total = own * factors[NOMINAL]
    generated = {name: in_units(own * factor) for name, factor in factors.items()}
    left = {name: (own * factor)[kept] for name, factor in factors.items() if name != NOMINAL}
    found = every if kept.all() else _found(chosen, settings)
    if isinstance(found, Sample):
        if corrections.settings.jets:
            msg = (
                f"{where(events)}: systematics.jets varies jets, and a table of features has none; "
                "give particles or jets, or leave it out"
            )
            raise ConfigError(msg)
        passed = np.ones(len(found), dtype=bool)
        samples, cutflow = {NOMINAL: replace(found, weight=total[kept])}, cutflow_of({}, len(found))
    else:
        found = replace(found, weight=total[kept])
        samples, passed, cutflow = _of_jets(found, settings, corrections, where(events))
    cutflow = behind(selection, cuts, events, cutflow)
    weights = {name: weight[passed] for name, weight in left.items()}
    return VariedEvents(samples, weights, generated, cutflow)


def _found(events: Any, settings: SkimSettings) -> Particles | StoredJets | Sample:
    features = features_of(events, settings)
    return found_in(events, settings) if features is None else features


def _of_jets(
    found: Particles | StoredJets,
    settings: SkimSettings,
    corrections: JetCorrections,
    place: str,
) -> tuple[dict[str, Sample], BoolArray, dict[str, Any]]:
    """Return the dijets by variation, which events have nominal ones, and their cutflow."""
    choice: dict[str, Any] = {
        "coin": coin_of(found.event_id, settings.jets),
        "leading": settings.leading_jets,
    }
    jets: Clusters | ak.Array
    if isinstance(found, Particles):
        jets = find_clusters(found.p4, settings.jets, _ALL)
        per_event, p4 = jets.per_event, jets.p4
    else:
        jets = momentum_lists(as_asked(found, settings, place), "jets")
        per_event, flat = ak.to_numpy(ak.num(jets)), ak.flatten(jets)
        p4 = np.stack([ak.to_numpy(getattr(flat, name)) for name in CARTESIAN])
    normal = _normal(found, per_event, corrections.settings)

    def chosen(energy: Float64Array, mass: Float64Array) -> tuple[Any, Any, Any]:
        """Return dijets, cuts, and particles where there are any."""
        if not isinstance(jets, Clusters):
            return *select_dijets(scaled_jets(jets, energy, mass), settings.jets, **choice), None
        scaled = scaled_clusters(jets, energy, mass)
        varied = leading_clusters(scaled, settings.jets, settings.leading_jets)
        return *dijets_of(varied, settings.jets, **choice), varied.particles

    before, mass = corrections.factors(None, p4, normal)
    nominal, cuts, particles = chosen(before, mass)
    samples: dict[str, Sample] = {}
    samples[NOMINAL], cutflow = sample_of_jets(found, nominal, cuts, settings, particles)
    passed = np.logical_and.reduce(list(cuts.values()))
    for variation in corrections.variations:
        energy, mass = corrections.factors(variation, p4, normal)
        dijets, cuts, particles = chosen(energy, mass)
        if np.array_equal(energy, before) and "soft_drop_mass" not in settings.of_jet:
            kinematic, _ = sample_of_jets(found, dijets, cuts, _kinematic(settings))
            exchanged = _momenta(dijets) != _momenta(nominal)
            samples[variation] = _with_masses(samples[NOMINAL], kinematic, exchanged.any(axis=0))
        else:
            samples[variation], _ = sample_of_jets(found, dijets, cuts, settings, particles)
    return samples, passed, cutflow


def _kinematic(settings: SkimSettings) -> SkimSettings:
    """Return the settings of what a jet's mass has a part in."""
    of_masses = (*_OF_MOMENTA, *(name for name in settings.of_event if name != "m_multijet"))
    lists = ("images", "constituents", "aligned", "splittings", "sequence", "event_image")
    wanted = tuple(name for name in settings.observables if name in of_masses)
    return settings.model_copy(update={**dict.fromkeys(lists), "observables": wanted})


def _momenta(dijets: ak.Array) -> Float64Array:
    """Return (3, event) px, py, pz [GeV] of the heavy jets."""
    return np.stack([ak.to_numpy(getattr(dijets[:, 0], name)) for name in CARTESIAN[:3]])


def _with_masses(nominal: Sample, kinematic: Sample, exchanged: BoolArray) -> Sample:
    """Return nominal dijets with other masses, heavy and light jet exchanged where these want it.

    What is made of constituents alone is not made again.
    """
    rows = np.arange(len(nominal)) + np.where(exchanged, len(nominal), 0)

    def jets_of(values: Mapping[str, Any], concatenate: Any) -> dict[str, Any]:
        found = dict(values)
        for heavy in (name for name in values if name.startswith("heavy_") and exchanged.any()):
            light = f"light_{heavy.removeprefix('heavy_')}"
            both = concatenate([values[heavy], values[light]])
            found[heavy], found[light] = both[rows], both[(rows + len(nominal)) % len(both)]
        return found

    columns = jets_of(nominal.columns, np.concatenate) | dict(kinematic.columns)
    return replace(nominal, columns=columns, lists=jets_of(nominal.lists, ak.concatenate))


def _normal(
    found: Particles | StoredJets, per_event: Any, systematics: SystematicsSettings
) -> dict[str, Float64Array]:
    """Return (jet,) standard normal numbers by resolution: of the event's id and the jet's rank."""
    rank = np.arange(int(per_event.sum())) - np.repeat(np.cumsum(per_event) - per_event, per_event)
    ids = np.repeat(found.event_id, per_event)
    normal = {}
    for name in systematics.jets:
        if systematics.kind(name).is_resolution:
            drawn = np.zeros(len(ids))
            for place in range(int(per_event.max(initial=0))):
                these = rank == place
                drawn[these] = uniform(ids[these], systematics.seed, name, place)
            normal[name] = ndtri(drawn + 2.0**-54)
    return normal


def _factors(events: Any, systematics: SystematicsSettings) -> dict[str, Float64Array]:
    """Return (event,) factors on the events' own weights, `nominal` and by variation."""
    ones = np.ones(len(events))
    nominals = {
        name: ones if own.nominal is None else _column(events, own.nominal, name)
        for name, own in systematics.weights.items()
    }
    found = {NOMINAL: np.prod([ones, *nominals.values()], axis=0)}
    for name, own in systematics.weights.items():
        others = [one for other, one in nominals.items() if other != name]
        rest = np.prod([ones, *others], axis=0)
        if own.members is not None:
            members = _members(events, own, name)
            found |= {f"{name}_{number}": rest * one for number, one in members.items()}
        for direction in ("up", "down"):
            if (column := getattr(own, direction)) is not None:
                found[f"{name}_{direction}"] = rest * _column(events, column, name)
    return found


def _members(events: Any, own: WeightVariationSettings, name: str) -> dict[int, Float64Array]:
    if isinstance(own.members, tuple):
        columns = [_column(events, column, name) for column in own.members]
    else:
        given = _values(events, str(own.members), name)
        absent = given.ndim == 2 and ak.any(ak.is_none(given, axis=-1), axis=None)
        if given.ndim != 2 or absent or ak.any(ak.is_none(given)):
            held = "no value in some events" if given.ndim == 2 else "no lists"
            msg = f"{where(events)}: {own.members} of systematics.weights.{name} holds {held}"
            raise InputError(msg)
        counts = np.unique(ak.to_numpy(ak.num(given)))
        if len(counts) > 1:
            msg = (
                f"{where(events)}: {own.members} of systematics.weights.{name} has lists of "
                f"{counts[0]} to {counts[-1]} factors, expected as many for every event"
            )
            raise InputError(msg)
        table = np.asarray(ak.to_numpy(ak.to_regular(given)), np.float64)
        columns = [_finite(events, column, str(own.members), name) for column in table.T]
        if not len(events):
            columns = [np.zeros(0)] * (1 + max(own.which or (0,)))
    which = range(len(columns)) if own.which is None else own.which
    if beyond := [number for number in which if number >= len(columns)]:
        msg = (
            f"systematics.weights.{name}.which has {beyond[0]}, and {where(events)} has "
            f"{len(columns)} members, from 0 on"
        )
        raise ConfigError(msg)
    return {number: columns[number] for number in which}


def _column(events: Any, text: str, name: str) -> Float64Array:
    what = f"{text} of systematics.weights.{name}"
    values = one_an_event(_values(events, text, name), what, where(events))
    return _finite(events, values.astype(np.float64), text, name)


def _finite(events: Any, values: Float64Array, text: str, name: str) -> Float64Array:
    wrong = ~np.isfinite(values)
    if wrong.any():
        msg = (
            f"{where(events)}: {text} of systematics.weights.{name} is {values[wrong][0]} in event "
            f"{int(np.flatnonzero(wrong)[0])} of these entries; {int(wrong.sum())} such events"
        )
        raise InputError(msg)
    return values


def _values(events: Any, text: str, name: str) -> Any:
    fields = set(events.fields)
    if missing := [column for column in _columns_in(text) if column not in fields]:
        msg = (
            f"{where(events)}: no column {', '.join(missing)}, which systematics.weights.{name} "
            f"asks for; there are {', '.join(sorted(fields)[:12])}"
        )
        raise InputError(msg)
    if text in fields:
        return ak.without_parameters(ak.materialize(events[text]))
    expression = Expression(text)
    columns = {column: ak.materialize(events[column]) for column in expression.columns}
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused afterwards
            return ak.without_parameters(ak.Array(expression(columns, np)))
    except (TypeError, ValueError) as error:  # lists of other lengths, texts
        held = ", ".join(f"{each} of {column.type.content}" for each, column in columns.items())
        msg = (
            f"{where(events)}: {text} of systematics.weights.{name} cannot be calculated of the "
            f"columns {held}"
        )
        raise InputError(msg) from error


def _columns_in(text: str) -> tuple[str, ...]:
    """Return the columns of an expression; one that has another name is a column itself."""
    try:
        return Expression(text).columns or (text,)
    except ConfigError:
        return (text,)
