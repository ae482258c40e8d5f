"""Events of studies: generated once for all of them, skimmed, and signal injected by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea import generator, seeds
from tnt_coffea.config import GenerateSettings, MassRange, SearchConfig, digest
from tnt_coffea.errors import ConfigError
from tnt_coffea.events.roles import DATA, SIMULATION, prior
from tnt_coffea.events.sample import Sample
from tnt_coffea.execution import Resources
from tnt_coffea.filesets import Fileset
from tnt_coffea.pipeline.generation import generate
from tnt_coffea.pipeline.skimming import skim
from tnt_coffea.products import Skim

__all__ = [
    "Pool",
    "drawn",
    "generated",
    "injected",
    "joined",
    "labelled",
    "own_part",
    "role_of",
    "skimmed",
]

GENERATED = "events"
"""Where generated events go, beside the studies, one folder a data set, size and seed."""


@dataclass(frozen=True)
class Pool:
    """Events that a study draws from.

    Attributes
    ----------
    dataset
        Name in the generator's table.
    events
        How many at scale 1.
    least
        How many at any scale.
    settings
        What of the data set's `generate` settings is different, such as `resonance_mass`.
    optional
        Where files are given the study goes without it, and without the blocks that train on it.
    window_only
        Only its events in the window of the search are used: of a sample that stands for the
        background there, the others would take memory and time for nothing.

    Examples
    --------
    >>> Pool("rnd-signal", 100_000, least=15_000).at(0.1)
    15000
    """

    dataset: str
    events: int
    least: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False
    window_only: bool = False

    def at(self, scale: float) -> int:
        """Return the number of events at a scale."""
        return max(self.least, round(self.events * scale))


def role_of(name: str) -> str:
    """Return the role in the skim of the pool of that name; all but two are priors there.

    Examples
    --------
    >>> role_of("background"), role_of("simulation"), role_of("prior:two-prong")
    ('data', 'simulation', 'prior:prior-two-prong')
    """
    roles = {"background": DATA, "simulation": SIMULATION}
    return roles.get(name) or prior(name.replace(":", "-"))


def generated(
    pools: Mapping[str, Pool], *, out: Path, scale: float, seed: int, resources: Resources
) -> dict[str, list[Path]]:
    """Return generated files of every pool, each with a seed of its own.

    Studies in the same folder share what is of the same pool, data set, size and seed.

    Parameters
    ----------
    pools
        By name.
    out
        Folder of the studies; events go to its subfolder `events`.
    scale, seed, resources
        Of the study.
    """
    found = {}
    for name, pool in pools.items():
        number, own = pool.at(scale), seeds.integer(seed, name)
        whole = generator.dataset_named(pool.dataset).settings
        changed = whole.model_dump() | dict(pool.settings)
        settings = generator.scaled(GenerateSettings.model_validate(changed), number)
        config = SearchConfig.model_validate({"seed": own, "generate": settings.model_dump()})
        stem = f"{pool.dataset}-{number}-{own}"
        stem += f"-{digest(dict(pool.settings))[:8]}" if pool.settings else ""
        made = generate(config, out=out / GENERATED / stem, resources=resources)
        found[name] = [path for paths in made.files.values() for path in paths]
    return found


def skimmed(
    files: Mapping[str, Sequence[str | Path]],
    pools: Mapping[str, Pool],
    settings: Mapping[str, Any],
    *,
    out: Path,
    resources: Resources,
) -> Skim:
    """Return the dijets of all pools in one skim, each in the role of `role_of`.

    Raises
    ------
    ConfigError
        Files of a pool are missing, or of one that the study does not have.
    """
    needed = [name for name, pool in pools.items() if not pool.optional]
    missing = [name for name in needed if not files.get(name)]
    unknown = [name for name in files if name not in pools]
    if unknown:
        msg = f"the study has no events of {', '.join(unknown)}, only of {', '.join(pools)}"
        raise ConfigError(msg)
    if missing:
        flags = ", ".join(dict.fromkeys(f"--{name.partition(':')[0]}" for name in needed))
        msg = (
            f"the study needs files of {', '.join(missing)} as well ({flags}), or none at all: it "
            "then generates them"
        )
        raise ConfigError(msg)
    given = {name: list(paths) for name, paths in files.items() if paths}
    fileset = Fileset.from_paths(
        {name.replace(":", "-"): paths for name, paths in given.items()},
        roles={name.replace(":", "-"): role_of(name) for name in given},
    )
    config = SearchConfig.model_validate({"skim": dict(settings)})
    return skim(fileset, config, out=out, resources=resources)


def labelled(sample: Sample, label: int) -> Sample:
    """Return the events with one label for all: it follows from where they are from.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> labelled(testing.make_sample(3), 1).label.tolist()
    [1, 1, 1]
    """
    return replace(sample, label=np.full(len(sample), label, np.int8))


def joined(first: Sample, second: Sample) -> Sample:
    """Return the events of two samples in the order of their ids.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> both = joined(testing.make_sample(3), testing.make_sample(2, seed=5))
    >>> len(both), bool((both.event_id[1:] > both.event_id[:-1]).all())
    (5, True)
    """
    event_id = np.concatenate([first.event_id, second.event_id])
    order = np.argsort(event_id, kind="stable")

    def both(a: Any, b: Any) -> Any:  # a column at a time: a second copy of all is never there
        return np.concatenate([a, b])[order]

    return replace(
        first,
        event_id=event_id[order],
        weight=both(first.weight, second.weight),
        label=both(first.label, second.label),
        columns={name: both(one, second.columns[name]) for name, one in first.columns.items()},
        lists={
            name: ak.concatenate([one, second.lists[name]])[order]
            for name, one in first.lists.items()
        },
        numbers={},
    )


def injected(
    background: Sample, pool: Sample, wanted: int, *, within: MassRange | None, seed: int
) -> tuple[Sample, Sample]:
    """Return background with signal of a pool, and the signal left over to test on.

    Signal is drawn as it comes, so that its share outside of the range is there too. With the
    same seed, more events contain the fewer.

    Parameters
    ----------
    background, pool
        Labelled events.
    wanted
        Signal events in the range.
    within
        The range in mass; None: anywhere.
    seed
        Of the injection.

    Raises
    ------
    ConfigError
        The pool is too small: half of what it has in the range must be left to test on.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> background, pool = (labelled(testing.make_sample(99, seed=i), i) for i in (0, 1))
    >>> data, left = injected(background, pool, 30, within=None, seed=1)
    >>> int(data.label.sum()), len(left)
    (30, 69)
    """
    chosen, left = drawn(pool, wanted, within=within, seed=seed)
    return joined(background, pool.select(chosen)), pool.select(left)


def own_part(pool: Sample, number: int, events: int, *, seed: int) -> Sample:
    """Return the events that one repetition has to itself: parts of other numbers share none.

    Which they are follows from their ids and the seed.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> parts = [own_part(testing.make_sample(90), i, 30, seed=1) for i in range(3)]
    >>> len(np.unique(np.concatenate([part.event_id for part in parts])))
    90
    """
    order = seeds.generator(seed, "own events").permutation(len(pool))
    return pool.select(np.sort(order[number * events : (number + 1) * events]))


def drawn(
    pool: Sample, wanted: int, *, within: MassRange | None, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows of a pool that `injected` injects, and those of its other events."""
    order = seeds.generator(seed, "injection").permutation(len(pool))
    mass = pool.mass[order]
    counted = np.ones(len(pool), np.bool_) if within is None else within.contains(mass)
    inside = np.cumsum(counted)
    if not len(inside) or wanted > inside[-1] / 2:
        where = "" if within is None else " in the signal region"
        msg = (
            f"{wanted} signal events{where} are to be injected, and the pool "
            f"has {inside[-1] if len(inside) else 0}: give twice as many, or a smaller scale"
        )
        raise ConfigError(msg)
    n = int(np.searchsorted(inside, wanted)) + 1 if wanted else 0
    return np.sort(order[:n]), np.sort(order[n:])
