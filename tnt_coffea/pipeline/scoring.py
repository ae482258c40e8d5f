"""Scores of single events, and the efficiency of the selections for a signal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import ConfigError, InputError
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.execution import run as run_pass
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.searching import searched_files
from tnt_coffea.products import Skim, Taggers, as_skim
from tnt_coffea.storage import written
from tnt_coffea.working_points import Selection, selection_name

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Efficiency", "SignalEfficiencies", "efficiency", "score"]

BEFORE = "before"
"""What the spectrum of all dijets is called in fits."""


def score(
    source: Skim | Sample | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    *,
    truth: bool = False,
    resources: Resources | None = None,
) -> pyarrow.Table:
    """Return the quantiles of every dijet, each scored out of fold: what a search fills.

    Parameters
    ----------
    source
        A skim, dijets in memory, or files, which are skimmed on the way; of either the data.
    taggers
        Tagger sets with quantile maps.
    config
        `skim` and `search.variable` are read.
    truth
        Whether the labels are a column as well: 1 signal, 0 background, -1 unknown.
    resources
        What may be used.

    Returns
    -------
    pyarrow.Table
        One row a dijet, in the order of the event ids: `dataset`; `run`, `luminosityBlock` and
        `event` where the source has them; `event_id`, `weight`, `m_jj` (or `search.variable`)
        [GeV], `fold`, and by tagger set `NAME_q_heavy` and `NAME_q_light`, in (0, 1), equal to
        each other where a set scores whole events, not a number in folds that it does not score.
        Sets of different folds have a `NAME_fold` each. The metadata `tnt_coffea.scores` are
        JSON: hashes of taggers and settings, what the taggers knew beside the data, and the
        accounting of the pass.

    Raises
    ------
    TaggerError
        A tagger does not fit these jets and images.
    LeakError
        A tagger would score events that had a part in its training.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, Taggers, taggers, testing
    >>> packaged = Taggers.load(taggers.packaged_taggers()["rnd-3500"])
    >>> table = score(testing.make_sample(20, pixels=40), packaged, SearchConfig())
    >>> table.num_rows, table.column_names[-2:]
    (20, ['tnt_q_heavy', 'tnt_q_light'])
    """
    columns, accounting = _scored(source, taggers, config, truth, resources)
    return _table(columns, accounting, taggers, config)


def _scored(
    source: Skim | Sample | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    truth: bool,
    resources: Resources | None,
) -> tuple[dict[str, Any], Accounting]:
    from tnt_coffea.processors import ScoreProcessor

    check_types(
        source=(source, Skim, Sample, Fileset),
        taggers=(taggers, Taggers),
        config=(config, SearchConfig),
        resources=(resources, Resources),
    )
    resources = resources or Resources()
    source, fileset = searched_files(source, config)  # a skim's files go with it
    processor = ScoreProcessor(config, taggers.sets.values(), truth=truth)
    with resources.open() as executor:
        output, accounting = run_pass(
            fileset,
            processor,
            executor,
            chunk_size=resources.chunk_size,
            on_error=resources.on_error,
            description="Scoring",
        )
    if not output["columns"]:
        msg = "no event was read: is there a file with events?"
        raise InputError(msg)
    return output["columns"], accounting


def _table(
    columns: Mapping[str, Any], accounting: Accounting, taggers: Taggers, config: SearchConfig
) -> pyarrow.Table:
    import pyarrow

    made_by = {
        "taggers": {name: tagger_set.digest for name, tagger_set in taggers.sets.items()},
        "knowledge": {name: tagger_set.knowledge for name, tagger_set in taggers.sets.items()},
        "skim": config.skim.digest(),
        "accounting": accounting.to_dict(),
    }
    table = pyarrow.table(dict(columns))
    return table.replace_schema_metadata({"tnt_coffea.scores": json.dumps(made_by)})


@dataclass(frozen=True)
class Efficiency:
    """Share of the signal events, before any selection, that a selection keeps in the fit range.

    Attributes
    ----------
    selection
        What the selection is known by.
    passed, events
        Signal events that pass, and all of them.

    Examples
    --------
    >>> found = Efficiency(0.03, passed=180, events=400)
    >>> found.value, round(found.error, 4)
    (0.45, 0.0249)
    """

    selection: Selection
    passed: int
    events: int

    @property
    def value(self) -> float:
        """Passed / events."""
        return self.passed / self.events

    @property
    def error(self) -> float:
        """Binomial standard deviation, sqrt(e (1 - e) / events)."""
        return float(np.sqrt(self.value * (1 - self.value) / self.events))


@dataclass(frozen=True)
class SignalEfficiencies:
    """Efficiencies of all selections of all tagger sets for one signal.

    Attributes
    ----------
    before
        Of the fit range alone, before any tagger: the spectrum of all dijets.
    sets
        Of every selection, by tagger set.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> all_dijets, best = Efficiency("before", 380, 400), Efficiency(0.03, 180, 400)
    >>> found = SignalEfficiencies(all_dijets, {"tnt": (best,)})
    >>> settings = found.settings(SearchConfig(), luminosity=30.0)
    >>> dict(settings.fit.limit.efficiencies), settings.data.luminosity
    ({'before': 0.95, 'tnt': 0.45}, 30.0)
    """

    before: Efficiency
    sets: Mapping[str, tuple[Efficiency, ...]]

    def at(self, name: str, selection: Selection) -> Efficiency:
        """Return the efficiency of one selection of a tagger set.

        Raises
        ------
        ConfigError
            There is no such tagger set, or no such selection of it.
        """
        for found in self.sets.get(name, ()):
            if found.selection == selection:
                return found
        known = ", ".join(selection_name(found.selection) for found in self.sets.get(name, ()))
        msg = (
            f"no selection {selection_name(selection)} of a tagger set '{name}' was measured, "
            f"{f'only {known}' if known else f'only sets {sorted(self.sets)}'}"
        )
        raise ConfigError(msg)

    def settings(self, config: SearchConfig, luminosity: float | None = None) -> SearchConfig:
        """Return the settings with `fit.limit.efficiencies` of the selection that `bump` fits.

        Parameters
        ----------
        config
            Settings of the search.
        luminosity
            Of the data [1/fb]; that of the settings by default.

        Raises
        ------
        ConfigError
            There is no luminosity, or no event passes at all.
        """
        luminosity = luminosity or config.data.luminosity
        if luminosity is None:
            msg = "a limit on a model needs the luminosity of the data [1/fb]"
            raise ConfigError(msg)
        chosen = {BEFORE: self.before} | {
            name: self.at(name, config.fit.bump.selection) for name in self.sets
        }
        efficiencies = {name: found.value for name, found in chosen.items() if found.passed}
        if not efficiencies:
            msg = f"none of {self.before.events} signal events is in the fit range"
            raise ConfigError(msg)
        values = config.model_dump(mode="json")
        values["fit"]["limit"] |= {"efficiencies": efficiencies}
        values["data"] |= {"luminosity": luminosity}
        return SearchConfig.model_validate(values)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "before": _values(self.before),
            "sets": {name: [_values(each) for each in found] for name, found in self.sets.items()},
        }

    def save(self, path: str | Path) -> None:
        """Write the efficiencies as JSON.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        with written(Path(path)) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    def lines(self) -> Iterator[str]:
        """Give one line of text for every selection."""
        yield _line("all dijets", "fit range", self.before)
        for name, found in self.sets.items():
            for each in found:
                yield _line(name, selection_name(each.selection), each)


def _values(found: Efficiency) -> dict[str, Any]:
    return asdict(found) | {"efficiency": found.value, "error": found.error}


def _line(name: str, selection: str, found: Efficiency) -> str:
    return (
        f"{name} at {selection}: {found.value:.4f} +- {found.error:.4f} "
        f"({found.passed} of {found.events})"
    )


def efficiency(
    source: Skim | Sample | Fileset,
    taggers: Taggers,
    config: SearchConfig,
    *,
    resources: Resources | None = None,
) -> SignalEfficiencies:
    """Return the share of a signal's events that every selection keeps in the fit range.

    It is of all events that the source has, before trigger and jets, so that a limit on the
    signal events of a selection becomes one on the events produced. It holds for these taggers:
    trained on data with more or less signal in them they would be others.

    Parameters
    ----------
    source
        Simulated signal: files, a skim of it, or dijets in memory, which then are all events.
    taggers
        Tagger sets with quantile maps.
    config
        `skim`, `search.variable` and `search.fit_range` are read.
    resources
        What may be used.

    Raises
    ------
    InputError
        There is no event, some are labelled background, or their weights differ: efficiencies
        here count events.
    TaggerError
        A tagger does not fit these jets and images.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, Taggers, taggers, testing
    >>> packaged = Taggers.load(taggers.packaged_taggers()["rnd-3500"])
    >>> signal = testing.make_sample(40, signal_share=1.0, pixels=40)
    >>> found = efficiency(signal, packaged, SearchConfig())
    >>> found.before.value, found.at("tnt", 0.1).events
    (1.0, 40)
    """
    check_types(source=(source, Skim, Sample, Fileset))
    if not isinstance(source, Fileset):
        source = as_skim(source)
    columns, accounting = _scored(source, taggers, _of_simulation(config), True, resources)
    account = source.accounting if isinstance(source, Skim) else accounting
    events = account.events - account.n_lost
    _check_signal(columns, events)
    inside = config.search.fit_range.contains(columns[config.search.variable])
    sets: dict[str, tuple[Efficiency, ...]] = {}
    scored: list[Any] = []
    for name, points in taggers.working_points().items():
        heavy, light = (columns[f"{name}_q_{jet}"] for jet in ("heavy", "light"))
        fold = columns["fold" if "fold" in columns else f"{name}_fold"]
        scored.append(inside & np.isfinite(heavy))
        sets[name] = tuple(
            Efficiency(
                point.selection, int((inside & point.passes(fold, heavy, light)).sum()), events
            )
            for point in points
        )
    # As in fits: the spectrum of all dijets is that of the first set's folds.
    return SignalEfficiencies(Efficiency(BEFORE, int(scored[0].sum()), events), sets)


def _of_simulation(config: SearchConfig) -> SearchConfig:
    # Its file is scored as the data are, but no run of a simulated signal is a certified one.
    filters = config.skim.filters.model_copy(update={"certified_runs": None})
    skim = config.skim.model_copy(update={"filters": filters})
    return config.model_copy(update={"skim": skim})


def _check_signal(columns: Mapping[str, Any], events: int) -> None:
    weight, background = columns["weight"], int((columns["label"] == 0).sum())
    if not events:
        msg = "there is no event to measure an efficiency on"
    elif background:
        msg = (
            f"{background} of {len(weight)} dijets are labelled background; an efficiency is of "
            "signal alone: give a file without them"
        )
    elif len(weight) and np.ptp(weight) > 0:
        msg = (
            f"the weights differ, from {weight.min():g} to {weight.max():g}, and an efficiency "
            "counts events; give a sample without weights"
        )
    else:
        return
    raise InputError(msg)
