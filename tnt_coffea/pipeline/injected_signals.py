"""Simulated signal among the data of a skim: whether it suits them, and skims with some of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import NOMINAL
from tnt_coffea.errors import ConfigError, InputError, LeakError
from tnt_coffea.events.roles import DATA, signal, signal_name
from tnt_coffea.events.sample import Sample, flat_columns, in_units, list_columns
from tnt_coffea.events.skim import content_of, ids_of, settings_of
from tnt_coffea.products import Skim, as_skim

__all__ = ["as_data", "refuse_shared", "signal_of", "with_part", "without_signals"]

_KEPT = {"source", "table", "select", "filters", "observables"}
"""Settings of a skim in which data and simulation may differ; its columns are looked for."""


def without_signals(skim: Skim) -> Skim:
    """Return a skim without simulated signals for templates: no training and no search has them."""
    kept = {d: p for d, p in skim.parts.items() if _role(skim, d) in skim.for_training}
    return Skim(
        kept,
        {role: one for role, one in skim.contents.items() if role in skim.for_training},
        skim.duplicates,
        {dataset: skim.accounts[dataset] for dataset in kept},
        {dataset: _role(skim, dataset) for dataset in kept},
    )


def signal_of(skim: Skim, simulated: Skim | Sample | str) -> tuple[Sample, int]:
    """Return the dijets of a signal, and how many events were produced."""
    if isinstance(simulated, str):
        role, source = signal(simulated), skim
        if role not in skim.by_role:
            known = [name for name in map(signal_name, skim.by_role) if name is not None]
            msg = (
                f"the skim holds no signal '{simulated}', only {', '.join(known) or 'none'}: give "
                "the folder of its skim (--signal FOLDER)"
            )
            raise ConfigError(msg)
    else:
        source = as_skim(simulated)
        roles = [role for role, paths in source.by_role.items() if paths]
        if len(roles) != 1:
            msg = (
                f"the skim of the signal holds events of {len(roles)} roles "
                f"({', '.join(roles) or 'none'}), expected those of one: skim its files alone"
            )
            raise InputError(msg)
        role = roles[0]
    accounts = [one for name, one in source.accounts.items() if _role(source, name) == role]
    return source.sample(role), sum(one.events - one.n_lost for one in accounts)


def as_data(pool: Sample, skim: Skim, name: str) -> Sample:
    """Return the different dijets of a signal as they would be among the data.

    Raises
    ------
    InputError
        They were skimmed in another way, or do not count alike.
    """
    if not skim.paths:
        msg = "the skim holds no data to put a signal into"
        raise InputError(msg)
    settings = settings_of(skim.paths[0])
    ours, theirs = (
        {n: v for n, v in one.model_dump(mode="json").items() if n not in _KEPT}
        for one in (settings, pool.settings)
    )
    flat, lists = flat_columns(settings), list_columns(settings)
    other = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
    missing = [n for n in (*flat, *lists) if n not in {**pool.columns, **pool.lists}]
    if other or missing:
        what = f"with another skim.{other[0]}" if other else f"without {', '.join(missing)}"
        msg = f"signal '{name}' was skimmed {what} than the data: skim it with their settings"
        raise InputError(msg)
    if len(pool) and np.ptp(pool.weight) > 0:
        msg = (
            f"signal '{name}': its weights differ, from {pool.weight.min():g} to "
            f"{pool.weight.max():g}, and events are injected whole; give a sample without weights"
        )
        raise InputError(msg)
    _, first = np.unique(pool.event_id, return_index=True)
    sample: Sample = replace(
        pool,
        weight=np.ones(len(pool)),
        label=np.full(len(pool), -1, np.int8),  # truth has no part in it
        columns={column: pool.columns[column] for column in flat},
        lists={column: pool.lists[column] for column in lists},
        settings=settings,
        numbers={},
    ).select(first)
    return sample


def refuse_shared(sample: Sample, skim: Skim, name: str) -> None:
    """Refuse a signal whose events are among the data, or train taggers as simulation."""
    for role, paths in skim.by_role.items():
        if shared := int(np.isin(sample.event_id, ids_of(paths)).sum()):
            msg = (
                f"signal '{name}': {shared} of its {len(sample)} dijets are also {role}: what is "
                "put among the data, or says what taggers keep, must be no event of theirs"
            )
            raise LeakError(msg)


def with_part(
    skim: Skim, path: Path, dijets: int, role: str, produced: float | None = None
) -> Skim:
    """Return a skim with one more part, of simulated signal where produced events are given."""
    name = role.replace(":", "-")
    while name in skim.parts:
        name += "-"
    paths = (*skim.by_role.get(role, ()), path)
    sums = {} if produced is None else {name: {NOMINAL: in_units(np.array([produced]))}}
    return replace(
        skim,
        parts={**skim.parts, name: (path,)},
        contents={**skim.contents, role: content_of(paths)[0]},
        accounts={**skim.accounts, name: Accounting(dijets, dijets)},
        roles={**skim.roles, name: role},
        generated=sums,
    )


def _role(skim: Skim, dataset: str) -> str:
    return skim.roles.get(dataset, DATA)
