"""Whole searches of background with their taggers trained anew: what they say of a p-value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tnt_coffea.config import SearchConfig, TransferSettings, WindowSettings, digest
from tnt_coffea.errors import ConfigError, InputError, StageError
from tnt_coffea.results import SearchResult
from tnt_coffea.search_folder import noted_config, noted_sources
from tnt_coffea.stages import flat
from tnt_coffea.storage import written

__all__ = ["BEFORE", "NullChains", "fit_values", "null_chains_of"]

BEFORE = "before"
"""What results call the spectrum of all dijets."""
# What a search of other events may have of its own: their format, and which of them are kept.
_OF_THE_SOURCE = {"source", "table", "select"}

_Q0 = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


@dataclass(frozen=True)
class NullChains:
    """q0 of the bump hunt in whole searches of background, each with taggers of its own.

    Attributes
    ----------
    q0
        Of every search, by tagger set; `before` is the spectrum of all dijets.
    settings
        What the searches were made with, by dotted names, as far as q0 depends on it; empty
        where nobody said.
    origin
        Their file, for messages.

    Examples
    --------
    >>> chains = NullChains({"tnt": (0.0, 1.4, 0.2)})
    >>> chains.of("tnt")
    (0.0, 1.4, 0.2)
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    q0: Mapping[str, Annotated[tuple[_Q0, ...], Field(min_length=1)]]
    settings: Mapping[str, Any] = field(default_factory=dict)
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
                (settings, found) if i else (_decisive(config), {n: [] for n in hunts})
            )
            _check_same(settings, _decisive(config), f"{folder}: unlike {folders[0]}")
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
        return cls({name: tuple(values) for name, values in found.items()}, settings)

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
            reason = getattr(error, "strerror", None) or str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                reason = f"{where}: {first['msg']}, got {str(first['input'])[:60]}"
            msg = (
                f"{path}: no null chains can be read: {' '.join(reason.split())} (expected "
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
        }

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

    def check(self, config: SearchConfig, *, of_search: bool = True) -> None:
        """Refuse settings that the searches were not made with, as far as they are known.

        Parameters
        ----------
        config
            The settings now.
        of_search
            Whether a search is tested; else a histogram that no tagger selected.

        Raises
        ------
        ConfigError
            One differs.
        """
        now = _decisive(config)
        if not of_search:
            ours = ("data.", "search.fit_range.", "fit.bump.")
            selection = ("fit.bump.efficiency", "fit.bump.cut")
            now = {n: v for n, v in now.items() if n.startswith(ours) and n not in selection}
        _check_same(self.settings, now, f"{self.origin}: of other settings")


def null_chains_of(config: SearchConfig) -> NullChains | None:
    """Return the null chains that `fit.bump.null_chains` names, checked; None where it is null.

    Raises
    ------
    InputError
        The file cannot be read.
    ConfigError
        It is of searches with other settings.
    """
    if config.fit.bump.null_chains is None:
        return None
    chains = NullChains.load(config.fit.bump.null_chains)
    chains.check(config)
    return chains


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
    path = config.fit.bump.null_chains
    if path is not None:
        values["bump"]["null_chains"] = digest(NullChains.load(path).to_dict())
    return values


def _decisive(config: SearchConfig) -> dict[str, Any]:
    """Return the settings that decide q0 of a bump hunt on a search's selection."""
    bump = config.fit_settings.bump.model_dump(mode="json", exclude={"toys", "null_chains"})
    search = config.search.model_dump(mode="json", include={"variable", "window", "fit_range"})
    cut = config.search.cuts.get(config.fit.bump.cut or "")
    search["cut"] = None if cut is None else cut.model_dump(mode="json")
    skim = config.skim.model_dump(mode="json", exclude=_OF_THE_SOURCE)
    skim["mass_shift"] = config.skim.mass_shift.model_dump()
    return flat(
        {
            "data": {"sqrt_s": config.data.sqrt_s},
            "skim": skim,
            "search": search,
            "train": config.train.model_dump(mode="json"),
            "fit": {"bump": bump},
        }
    )


def _check_same(made: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Refuse settings that differ where both know them: older searches lack some."""
    for name in sorted(made.keys() & now.keys()):
        if made[name] != now[name]:
            msg = f"{what}: {name} is {json.dumps(now[name])}, there {json.dumps(made[name])}"
            raise ConfigError(msg)
