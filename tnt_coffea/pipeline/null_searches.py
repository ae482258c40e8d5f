"""Whole searches of background, by the thousand: events drawn, taggers trained, spectra fitted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from tnt_coffea import seeds
from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.errors import ConfigError, FitError, InputError, TrainingError
from tnt_coffea.events.roles import DATA
from tnt_coffea.events.sample import Sample, flat_columns, list_columns
from tnt_coffea.events.skim import read_parts, write_part
from tnt_coffea.execution import Resources, map_tasks
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.fitting import scan
from tnt_coffea.pipeline.global_p_values import all_selections, events_in_fit_range
from tnt_coffea.pipeline.null_chains import BEFORE, Q0, NullChains, decisive_settings, hunt_name
from tnt_coffea.pipeline.searching import search
from tnt_coffea.pipeline.skimming import skim
from tnt_coffea.pipeline.training import train
from tnt_coffea.products import Skim
from tnt_coffea.storage import held, written
from tnt_coffea.visibility import check_seen

__all__ = ["MOST_SHARE", "run_null_chains"]

MOST_SHARE = 0.05
"""Of a pool, up to which every chain draws events of its own; larger chains are disjoint parts."""

# What the columns of dijets do not depend on: where the events come from, what else is kept.
_KEPT = {"source", "table", "select", "observables", "images", "constituents", "aligned"}
_KEPT |= {"splittings", "sequence", "event_image"}
_POOL = "pool.parquet"
_NAMES = {"chain_events": "number of events (--events)", "pool_events": "number of events in FILES"}
"""What messages call parts of `NullChains.made`; the others have their own names."""
_SHOWN = 16
"""Characters of a value, or a hash, in a message."""


class _Row(BaseModel):
    """What a chain found, as it is kept until all are made."""

    model_config = ConfigDict(strict=True, extra="forbid")

    of: str = ""  # hash of settings, events and pool
    chain: NonNegativeInt
    events: NonNegativeInt = 0
    converged: bool = True
    q0: dict[str, Q0]
    refused: str = ""


def run_null_chains(
    source: Fileset | Skim | Sample | Sequence[Skim],
    config: SearchConfig,
    *,
    chains: int,
    events: int,
    out: str | Path,
    resources: Resources | None = None,
) -> NullChains:
    """Search background many times, every time with events and taggers of its own.

    Chain i trains, searches and fits `events` dijets of the pool as if they were the data. Below
    5 % of the pool they are drawn anew, none twice in a chain; above, every chain has a part of
    the pool to itself. Every bump hunt of a search is made: all dijets and every selection of
    each tagger set, at the mass of `fit.bump` and those of `fit.scan`. A chain that cannot be
    trained, or lacks a test, is left out and counted.

    Parameters
    ----------
    source
        Background alone: files, which are skimmed once, skims or dijets in memory.
    config
        The search whose p-values the chains give; `seed` is the root of what is drawn.
    chains
        How many there shall be, those of earlier calls included.
    events
        Dijets in each.
    out
        File of the table (`NullChains`). Chains wait in a folder of its name and `.parts` until
        all are made: a call that was cut, or one with more chains, goes on with those there.
    resources
        What may be used; processes share the chains.

    Raises
    ------
    ConfigError
        The pool is too small, lacks what the settings name, or the file holds null chains of
        other settings, events or pools; or no chain could be trained and tested.
    InputError
        The pool or the file cannot be read.

    Source
    ------
    k-fold p-values calibrated by trainings on background: arXiv:2512.13787.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, testing
    >>> config = SearchConfig.from_text(
    ...     "{skim: {images: null, observables: [mass, tau21]}, search: {efficiencies: [0.3]}, "
    ...     "train: {methods: {mass: {kind: feature}}}, fit: {bump: {efficiency: 0.3, "
    ...     "max_parameters: 3, spurious: false}, abcd: {efficiency: 0.3}}}"
    ... )
    >>> pool = testing.make_sample(1500, signal_share=0.0)
    >>> with TemporaryDirectory() as folder:
    ...     made = run_null_chains(pool, config, chains=1, events=1500, out=f"{folder}/null.json")
    >>> sorted(made.q0), len(made.events)
    (['before', 'mass'], 1)
    """
    check_types(config=(config, SearchConfig), resources=(resources, Resources))
    resources, out = resources or Resources(), Path(out)
    parts = out.with_name(f"{out.name}.parts")
    if out.exists():
        NullChains.load(out)  # refused before events are read
    with held(parts):
        pool = _pool(source, config, parts, resources)
        drawn = events < MOST_SHARE * len(pool)
        if not drawn and chains * events > len(pool):
            msg = (
                f"{chains} chains of {events} dijets, each with its own, take {chains * events}, "
                f"and there are {len(pool)} different ones: give more, or so many that a chain is "
                f"less than {100 * MOST_SHARE:g} % of them"
            )
            raise ConfigError(msg)
        made = {
            "chain_events": events,
            "pool": pool.content_hash(),
            "pool_events": len(pool),
            "drawn": "anew by each chain" if drawn else "disjoint",
            "seed": config.seed,
        }
        key = digest([made, decisive_settings(config)])
        rows = _rows_of(out, made, config) | _found(parts, key)
        missing = [i for i in range(chains) if i not in rows]
        if missing:
            write_part(parts / _POOL, pool)
            search_one = _NullSearch(config, str(parts.resolve()), events, drawn, key)
            with resources.open() as executor:
                check_seen(executor, parts, "null chains")
                map_tasks(search_one, missing, executor, "Null chains")
            rows |= _found(parts, key)
        if all(row.refused for row in rows.values()):
            shutil.rmtree(parts, ignore_errors=True)  # other settings begin anew
        table = _table(rows, made, config, str(out))
        table.save(out)
        shutil.rmtree(parts, ignore_errors=True)
    return table


def _pool(
    given: Fileset | Skim | Sample | Sequence[Skim],
    config: SearchConfig,
    parts: Path,
    resources: Resources,
) -> Sample:
    """Return the different dijets of a pool, with the columns that the settings name."""
    if isinstance(given, Fileset):
        given = skim(given, config, out=parts / "skimmed", resources=resources)
    if isinstance(given, Sample):
        source = given
    else:
        skims = [given] if isinstance(given, Skim) else given
        source = read_parts([path for one in skims for path in one.by_role[DATA]])
    ours, theirs = (
        {n: v for n, v in one.model_dump(mode="json").items() if n not in _KEPT}
        for one in (config.skim, source.settings)
    )
    if other := sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)):
        msg = f"the pool was skimmed with another skim.{other[0]} than the settings have"
        raise ConfigError(msg)
    # A table's columns mean what its skim says.
    settings = config.skim if source.settings.table is None else source.settings
    flat, lists = flat_columns(settings), list_columns(settings)
    if missing := [n for n in (*flat, *lists) if n not in {**source.columns, **source.lists}]:
        msg = f"the pool lacks {', '.join(missing)}, which the settings name (skim)"
        raise ConfigError(msg)
    _, first = np.unique(source.event_id, return_index=True)
    unique: Sample = replace(
        source,
        columns={name: source.columns[name] for name in flat},
        lists={name: source.lists[name] for name in lists},
        settings=settings,
        numbers={},
    ).select(first)
    # Truth has no part in it.
    return replace(unique, label=np.full(len(unique), -1, np.int8))


@cache
def _read_pool(path: str) -> Sample:
    return read_parts([path])


@dataclass(frozen=True)
class _NullSearch:
    """The work of one chain, which leaves its row in a file."""

    config: SearchConfig
    folder: str
    events: int
    drawn: bool
    key: str = ""

    def __call__(self, number: int) -> None:
        try:
            row = self.row(number, _read_pool(f"{self.folder}/{_POOL}"))
        except (TrainingError, FitError) as error:  # its seed is fixed: it would fail again
            row = _Row(of=self.key, chain=number, q0={}, refused=" ".join(str(error).split()))
        with written(Path(self.folder) / f"{number}.json") as partial:
            partial.write_text(row.model_dump_json())

    def rows(self, number: int, size: int) -> Any:
        """Return the places of a chain's events in a pool of this size."""
        if self.drawn:
            random = seeds.generator(self.config.seed, "null chains", number)
            return np.sort(random.choice(size, self.events, replace=False, shuffle=False))
        order = seeds.generator(self.config.seed, "null chains").permutation(size)
        return np.sort(order[number * self.events : (number + 1) * self.events])

    def row(self, number: int, pool: Sample) -> _Row:
        """Return q0 of every test, events in the fit range, and whether all fits converged."""
        seed = seeds.integer(self.config.seed, "null chains", number, "search")
        config = self.config.model_copy(update={"seed": seed})
        resources = Resources(progress=False, chunk_size=self.events)
        sample = pool.select(self.rows(number, len(pool)))
        masses = sorted({config.signal_mass, *config.fit.scan.masses})
        # Its own null chains and limits are no part of q0.
        bump = config.fit.bump.model_copy(update={"null_chains": None})
        own = config.model_copy(update={"fit": config.fit.model_copy(update={"bump": bump})})
        with TemporaryDirectory(prefix="tnt-coffea-") as out:
            taken = Skim.from_sample(sample)
            taggers = train(taken, own, out=out, resources=resources)
            histograms = search(taken, taggers, own, out=out, resources=resources)
            selections = all_selections(histograms, own, every=True)
            found = scan(
                histograms,
                own,
                selections,
                before=True,
                in_windows=False,
                masses=masses,
                toys=0,
                cross_check=False,
            )
            inside = events_in_fit_range(histograms, own)
        names = {BEFORE: (BEFORE, None), **selections}
        q0 = {
            hunt_name(config, *names[point.selection], point.mass): round(point.q0 or 0.0, 5)
            for point in found.points
        }
        return _Row(
            of=self.key, chain=number, events=round(inside), converged=found.converged, q0=q0
        )


def _found(parts: Path, key: str) -> dict[int, _Row]:
    """Return the rows of chains that are made; one that is damaged has to be made again.

    Raises
    ------
    ConfigError
        They are of other settings, events or another pool.
    """
    rows = {}
    for path in parts.glob("*.json"):
        with suppress(OSError, ValidationError):
            row = _Row.model_validate_json(path.read_bytes())
            if path.stem == str(row.chain) and (row.refused or (row.q0 and row.events)):
                rows[row.chain] = row
    if other := sum(row.of != key for row in rows.values()):
        msg = (
            f"{parts}: holds {other} chains of a run that was cut, with other settings, --events "
            "or FILES: remove it, or choose another file (--to)"
        )
        raise ConfigError(msg)
    return rows


def _rows_of(out: Path, made: dict[str, Any], config: SearchConfig) -> dict[int, _Row]:
    """Return the chains of an earlier call, which has to be of the same pool and settings."""
    if not out.exists():
        return {}
    known = NullChains.load(out)
    now = decisive_settings(config)
    pairs = [(_NAMES.get(name, name), known.made.get(name), made[name]) for name in made]
    pairs += [(name, known.settings.get(name), now.get(name)) for name in known.unlike(config)]
    for name, there, here in pairs:
        if there != here:
            values = f"{str(there)[:_SHOWN]}, not {str(here)[:_SHOWN]}"
            msg = (
                f"{out}: holds null chains of another {name}, {values}, and these would be added: "
                "choose another file (--to)"
            )
            raise ConfigError(msg)
    numbers = known.made.get("chains", [])
    columns = [*known.q0.values(), known.events, known.made.get("unconverged", [])]
    if {len(column) for column in columns[:-1]} != {len(numbers)}:
        msg = f"{out}: has not one q0 of every test for every chain: choose another file (--to)"
        raise InputError(msg)
    reasons = known.made.get("reasons", {})
    refused = {
        number: _Row(chain=number, q0={}, refused=reasons.get(str(number), "it lacks a test"))
        for number in known.made.get("refused", [])
    }
    return refused | {
        number: _Row(
            chain=number,
            events=known.events[i],
            converged=number not in known.made.get("unconverged", []),
            q0={name: values[i] for name, values in known.q0.items()},
        )
        for i, number in enumerate(numbers)
    }


def _table(
    rows: dict[int, _Row], made: dict[str, Any], config: SearchConfig, origin: str
) -> NullChains:
    """Return the chains of which every test could be made, and the numbers of the others."""
    tests = sorted({name for row in rows.values() for name in row.q0})
    lacking = {
        i: row.refused or f"it lacks the test of {min(set(tests) - set(row.q0))}"
        for i, row in sorted(rows.items())
        if not tests or row.q0.keys() != set(tests)
    }
    whole = [row for i, row in sorted(rows.items()) if i not in lacking]
    if not whole:
        number, why = next(iter(lacking.items()))
        msg = f"{origin}: no null chain could make all tests of the search; chain {number}: {why}"
        raise ConfigError(msg)
    return NullChains(
        {name: tuple(row.q0[name] for row in whole) for name in tests},
        decisive_settings(config),
        tuple(row.events for row in whole),
        made
        | {
            "chains": [row.chain for row in whole],
            "unconverged": [row.chain for row in whole if not row.converged],
            "refused": list(lacking),
            **({"reasons": {str(i): why for i, why in lacking.items()}} if lacking else {}),
        },
        origin,
    )
