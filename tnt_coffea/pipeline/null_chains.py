"""Whole searches of background with their taggers trained anew: what they say of a p-value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter

from tnt_coffea.config import SearchConfig, TransferSettings, WindowSettings, digest
from tnt_coffea.config.fits import AUTO
from tnt_coffea.errors import ConfigError, InputError, StageError, reason
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_config, noted_sources
from tnt_coffea.stages import flat
from tnt_coffea.storage import written
from tnt_coffea.working_points import Selection, selection_name

__all__ = [
    "BEFORE",
    "Q0",
    "NullChains",
    "decisive_settings",
    "fit_values",
    "hunt_name",
    "null_chains_of",
    "packaged_null_chains",
    "why_no_null_chains",
]

BEFORE = "before"
"""What results call the spectrum of all dijets."""
_EVENTS_FACTOR = 2.0
"""Events of a search over those of null chains, or the other way round, up to which these hold."""
# What a search of other events may have of its own: their format, and which of them are kept.
_OF_THE_SOURCE = {"source", "table", "select"}

Q0 = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
"""The test statistic of a bump hunt, in files."""


@dataclass(frozen=True)
class NullChains:
    """q0 of the bump hunt in whole searches of background, each with taggers of its own.

    Attributes
    ----------
    q0
        Of every search, by test (`hunt_name`): a tagger set's name is its bump hunt, `before` that
        of all dijets; other selections and masses have theirs behind it.
    settings
        What the searches were made with, by dotted names, as far as q0 depends on it; empty
        where nobody said.
    events
        Dijets in the fit range of every search; empty where nobody said.
    made
        Where they are from: numbers of events, how they were drawn, seed, and which had a fit
        that did not converge (they count as they stand), and which were refused and why.
    origin
        Their file, for messages.

    Examples
    --------
    >>> chains = NullChains({"tnt": (0.0, 1.4, 0.2)})
    >>> chains.of("tnt")
    (0.0, 1.4, 0.2)
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    q0: Mapping[str, Annotated[tuple[Q0, ...], Field(min_length=1)]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Annotated[int, Field(gt=0)], ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)
    origin: str = field(default="null chains", compare=False)

    @classmethod
    def collected(cls, folders: Sequence[str | Path]) -> NullChains:
        """Return the null chains of finished searches, each in its folder.

        Raises
        ------
        StageError
            One of them has no result.
        ConfigError
            They were made with different settings, of the same events or with taggers from
            elsewhere, have other tagger sets, or a fit of theirs did not converge.
        """
        if not folders:
            msg = "null chains are made of finished searches: name their folders"
            raise ConfigError(msg)
        settings: dict[str, Any] = {}
        found: dict[str, list[float]] = {}
        of_events: dict[str, Path] = {}
        numbers: list[int] = []
        for i, folder in enumerate(map(Path, folders)):
            config, result = noted_config(folder), SearchResult.load(folder / "fit")
            if config is None:
                msg = f"{folder}: no settings of a search in it (config.yaml)"
                raise StageError(msg)
            if taggers := noted_sources(folder).get("taggers"):
                msg = f"{folder}: searched with the taggers {taggers}: a null chain trains its own"
                raise ConfigError(msg)
            hunts = {BEFORE: result.before, **result.after}
            settings, found = (
                (settings, found) if i else (decisive_settings(config), {n: [] for n in hunts})
            )
            _check_same(settings, decisive_settings(config), f"{folder}: unlike {folders[0]}")
            if hunts.keys() != found.keys():
                msg = f"{folder}: has tagger sets {sorted(result.after)}, and {folders[0]} others"
                raise ConfigError(msg)
            events = str(result.provenance.get("skim", folder))
            if (other := of_events.setdefault(events, folder)) != folder:
                msg = f"{folder}: searches the events of {other}: every chain needs its own"
                raise ConfigError(msg)
            for name, hunt in hunts.items():
                if not hunt.converged:
                    msg = f"{folder}: the fit of '{name}' did not converge: look into it first"
                    raise ConfigError(msg)
                found[name].append(hunt.q0)
            numbers.append(round(sum(sum(own.observed) for own in result.before.channels)))
        q0 = {name: tuple(values) for name, values in found.items()}
        return cls(q0, settings, tuple(numbers))

    @classmethod
    def load(cls, path: str | Path) -> NullChains:
        """Return the null chains in a JSON file.

        Raises
        ------
        InputError
            It cannot be read, or holds something else, a q0 that is not finite for example.
        """
        try:
            values = json.loads(Path(path).read_bytes())
            if not isinstance(values, dict):
                msg = f"it holds {type(values).__name__}, no q0 by tagger set"
                raise ValueError(msg)
            return TypeAdapter(cls).validate_python(values | {"origin": str(path)})
        except (OSError, ValueError, RecursionError) as error:
            msg = (
                f"{path}: no null chains can be read: {reason(error)} (expected "
                '{"q0": {TAGGER SET: [number, ...]}} as `tnt-coffea fit null-chains` writes it)'
            )
            raise InputError(msg) from error

    def save(self, path: str | Path) -> None:
        """Write the null chains as JSON.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        with written(Path(path)) as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Return q0 and settings as JSON values."""
        return {
            "q0": {name: list(values) for name, values in self.q0.items()},
            "settings": dict(self.settings),
            **({"events": list(self.events)} if self.events else {}),
            **({"made": dict(self.made)} if self.made else {}),
        }

    def summary(self) -> str:
        """Return how many chains there are, and of what, as text."""
        number = max(map(len, self.q0.values()))
        lines = [f"null chains: {self.origin}: {number} searches of {', '.join(self.q0)}"]
        lines += [
            f"  {len(self.made[name])} more than these {what}"
            if name == "refused"
            else f"  {len(self.made[name])} of them {what}"
            for name, what in (
                ("unconverged", "have a fit that did not converge; they count as they stand"),
                ("refused", "could not be trained, or make every test, and are left out"),
            )
            if self.made.get(name)
        ]
        for number, why in list(self.made.get("reasons", {}).items())[:1]:
            lines.append(f"  the first, chain {number}: {why}")
        return "\n".join(lines)

    def of(self, name: str) -> tuple[float, ...]:
        """Return the q0 of a tagger set; none of `before` where only selections have them.

        No tagger makes the spectrum of all dijets: there is nothing that could be trained anew.

        Raises
        ------
        ConfigError
            There are none of that set.
        """
        if name not in self.q0 and name != BEFORE:
            msg = f"{self.origin}: no q0 of tagger set '{name}', only of {', '.join(self.q0)}"
            raise ConfigError(msg)
        return tuple(self.q0.get(name, ()))

    def together(self, names: Iterable[str]) -> NDArray[np.float64] | None:
        """Return q0 of several tests in every chain, shape (chains, tests).

        None where a test is not among those of the chains, or they are of different ones.

        Examples
        --------
        >>> chains = NullChains({"before": (0.1, 2.0), "tnt": (0.0, 1.4)})
        >>> chains.together(["before", "tnt"]).max(axis=1).tolist()
        [0.1, 2.0]
        >>> chains.together(["before", "cwola"]) is None
        True
        """
        columns = [self.q0.get(name, ()) for name in names]
        if not columns or not all(columns) or len({len(column) for column in columns}) > 1:
            return None
        return np.transpose(np.array(columns, np.float64))

    def single(self) -> tuple[float, ...]:
        """Return the q0 where they are of one spectrum, for a histogram of no search.

        Raises
        ------
        ConfigError
            They are of several.
        """
        if len(self.q0) > 1:
            msg = f"{self.origin}: holds q0 of {', '.join(self.q0)}, and one spectrum is tested"
            raise ConfigError(msg)
        return next(iter(self.q0.values()))

    def check(
        self, config: SearchConfig, *, of_search: bool = True, events: float | None = None
    ) -> None:
        """Refuse settings that the searches were not made with, as far as they are known.

        Parameters
        ----------
        config
            The settings now.
        of_search
            Whether a search is tested; else a histogram that no tagger selected.
        events
            Dijets in the fit range, where they are known.

        Raises
        ------
        ConfigError
            One differs, or the chains are of another number of events (`unlike_in_events`).
        """
        now = decisive_settings(config)
        if not of_search:
            ours = ("data.", "search.fit_range.", "fit.bump.")
            selection = ("fit.bump.efficiency", "fit.bump.cut")
            now = {n: v for n, v in now.items() if n.startswith(ours) and n not in selection}
        _check_same(self.settings, now, f"{self.origin}: of other settings")
        if of_search and events is not None and (why := self.unlike_in_events(events)):
            msg = f"{self.origin}: {why}"
            raise ConfigError(msg)

    def unlike_in_events(self, events: float) -> str:
        """Return why a search of so many dijets in the fit range has another q0; empty if not.

        How far functions compete, and where toys are needed, depends on the number of events;
        half as many to twice as many are taken for the same.

        Examples
        --------
        >>> chains = NullChains({"tnt": (0.0, 1.4)}, events=(5000, 5100))
        >>> chains.unlike_in_events(4000), chains.unlike_in_events(50_000)
        ('', 'of 5050 dijets in the fit range, and here are 50000')
        """
        if not self.events:
            return ""
        mean = float(np.mean(self.events))
        if mean / _EVENTS_FACTOR <= events <= mean * _EVENTS_FACTOR:
            return ""
        return f"of {mean:.0f} dijets in the fit range, and here are {events:.0f}"

    def unlike(self, config: SearchConfig) -> list[str]:
        """Return the names of settings that differ, those that one side lacks included."""
        now = decisive_settings(config)
        names = sorted(self.settings.keys() | now.keys())
        missing = object()
        return [n for n in names if self.settings.get(n, missing) != now.get(n, missing)]


@cache
def packaged_null_chains() -> Mapping[str, NullChains]:
    """Return the null chains that come with the package, by name.

    Examples
    --------
    >>> all(chains.settings for chains in packaged_null_chains().values())
    True
    """
    folder = files("tnt_coffea.models") / "null-chains"
    found = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return {
        file.name.removesuffix(".json"): NullChains.load(str(file))
        for file in found
        if file.name.endswith(".json")
    }


def hunt_name(
    config: SearchConfig,
    tagger_set: str,
    selection: Selection | None = None,
    mass: float | None = None,
) -> str:
    """Return what null chains call a bump hunt.

    Parameters
    ----------
    config
        The selection and mass of its `fit.bump` go without saying.
    tagger_set
        Its name, or `before`, which has no selection.
    selection, mass
        What was tested [GeV].

    Examples
    --------
    >>> config = SearchConfig()
    >>> hunt_name(config, "tnt", 0.03, 3500.0), hunt_name(config, "tnt", 0.1, 3400.0)
    ('tnt', 'tnt 0.1 at 3400 GeV')
    """
    name = tagger_set
    if selection is not None and selection != config.fit.bump.selection:
        name += f" {selection_name(selection)}"
    if mass is not None and mass != config.signal_mass:
        name += f" at {mass:g} GeV"
    return name


def null_chains_of(config: SearchConfig, events: float | None = None) -> NullChains | None:
    """Return the null chains of a search's settings; None where there are none.

    Parameters
    ----------
    config
        `fit.bump.null_chains` names their file; `auto` takes those of the package that were
        made with the very same settings.
    events
        Dijets in the fit range, where they are known.

    Raises
    ------
    InputError
        The file cannot be read.
    ConfigError
        It is of searches with other settings, or another number of events.
    """
    wanted = config.fit.bump.null_chains
    if wanted is None:
        return None
    if wanted == AUTO:
        same = [one for one in packaged_null_chains().values() if not one.unlike(config)]
        return same[0] if same and not (events and same[0].unlike_in_events(events)) else None
    chains = NullChains.load(wanted)
    chains.check(config, events=events)
    return chains


def why_no_null_chains(config: SearchConfig, events: float) -> str:
    """Return why the package has no null chains of a search; empty where it has, or none is asked.

    Examples
    --------
    >>> why_no_null_chains(SearchConfig.from_text("fit: {bump: {null_chains: null}}"), 5000)
    ''
    """
    if config.fit.bump.null_chains != AUTO:
        return ""
    known = packaged_null_chains()
    unlike = {name: one.unlike(config) for name, one in known.items()}
    for name, settings in unlike.items():
        if not settings:
            why = known[name].unlike_in_events(events)
            return f"the package's null chains '{name}' are {why}" if why else ""
    if not unlike:
        return "the package has no null chains"
    name = min(unlike, key=lambda one: len(unlike[one]))
    return (
        f"the package's null chains are of other settings: {unlike[name][0]} and "
        f"{len(unlike[name]) - 1} more differ from '{name}'"
        if len(unlike[name]) > 1
        else f"the package's null chains '{name}' are of another {unlike[name][0]}"
    )


def fit_values(config: SearchConfig) -> dict[str, Any]:
    """Return the settings of the fits as JSON values, with the content of null chains.

    Raises
    ------
    InputError
        The null chains cannot be read.
    """
    values = config.fit_settings.model_dump(mode="json")
    # A search without them has the same settings as before there were any.
    if config.fit.transfer == TransferSettings():
        del values["transfer"]
    if config.fit.window == WindowSettings():
        del values["window"]
    # It has a stage of its own.
    values["limit"].pop("retrain", None)
    path = config.fit.bump.null_chains
    chains = null_chains_of(config) if path in (None, AUTO) else NullChains.load(path)
    values["bump"]["null_chains"] = None if chains is None else digest(chains.to_dict())
    return values


def decisive_settings(config: SearchConfig) -> dict[str, Any]:
    """Return the settings that decide q0 of a bump hunt on a search's selection."""
    bump = config.fit_settings.bump.model_dump(mode="json", exclude={"toys", "null_chains"})
    search = config.search.model_dump(mode="json", include={"variable", "window", "fit_range"})
    cut = config.search.cuts.get(config.fit.bump.cut or "")
    search["cut"] = None if cut is None else cut.model_dump(mode="json")
    skim = config.skim.model_dump(mode="json", exclude=_OF_THE_SOURCE)
    skim["mass_shift"] = config.skim.mass_shift.model_dump()
    signal = config.fit.signal
    own = {} if signal is None else {"signal": signal.model_dump(mode="json")}
    return flat(
        {
            "data": {"sqrt_s": config.data.sqrt_s},
            "skim": skim,
            "search": search,
            "train": config.train.model_dump(mode="json"),
            "fit": {"bump": bump, **own},
        }
    )


def _check_same(made: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Refuse settings that differ where both know them: older searches lack some."""
    for name in sorted(made.keys() & now.keys()):
        if made[name] != now[name]:
            msg = f"{what}: {name} is {json.dumps(now[name])}, there {json.dumps(made[name])}"
            raise ConfigError(msg)
