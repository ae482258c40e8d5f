"""What a study is made of: events, blocks of trainings, claims, figures. Nothing here runs.

A study that `run` repeats is one file in `experiments/`, with an `Experiment` called `EXPERIMENT`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from tnt_coffea.config import SearchConfig, digest
from tnt_coffea.errors import ConfigError, reason
from tnt_coffea.pipeline.studies.claims import Claim
from tnt_coffea.pipeline.studies.events import Pool
from tnt_coffea.pipeline.studies.numbers import Found
from tnt_coffea.pipeline.studies.study import StudyTable
from tnt_coffea.reporting.figures import Plot
from tnt_coffea.training.methods import METHODS

if TYPE_CHECKING:
    from tnt_coffea.pipeline.studies.measurement import TrainedBlock

__all__ = ["LOT", "Block", "Experiment", "Injection", "Within", "shortened"]


LOT = "lot"
"""Name of the method that stands beside those of a block."""


class Within(StrEnum):
    """Where signal and background are counted."""

    WINDOW = "window"
    FIT_RANGE = "fit range"
    ALL = "all"


@dataclass(frozen=True)
class Injection:
    """How much signal is put into the background: one of share, significance and number.

    Attributes
    ----------
    pool
        Where the signal comes from.
    share
        S/B.
    significance
        S/sqrt(B): what is kept of a paper with more events.
    number
        Events.
    within
        Where events are counted; beyond it there is signal as it comes.

    Examples
    --------
    >>> Injection(share=0.01).wanted(20_000), Injection(significance=2).wanted(10_000)
    (200, 200)
    """

    pool: str = "signal"
    share: float | None = None
    significance: float | None = None
    number: int | None = None
    within: Within = Within.WINDOW

    def wanted(self, background: int) -> int:
        """Return the number of signal events beside so much background.

        Raises
        ------
        ConfigError
            None, or several, of share, significance and number are given.
        """
        asked = [
            round(value)
            for value in (
                None if self.share is None else self.share * background,
                None if self.significance is None else self.significance * np.sqrt(background),
                self.number,
            )
            if value is not None
        ]
        if len(asked) != 1:
            msg = f"an injection has one of share, significance and number, not {len(asked)}"
            raise ConfigError(msg)
        return asked[0]


@dataclass(frozen=True)
class Block:
    """Methods that are trained on the same data, and what is measured of them.

    Attributes
    ----------
    name
        Of letters, digits and `-`.
    methods
        As in `train.methods`; references, which need the truth, too.
    injection
        Signal in the data; None: background alone.
    background
        The pool that is searched.
    trained_on
        Pools that methods may read beside the data: `simulation`, and priors by their pools.
    tested_on
        Signal pools; the one injected without it, or all where none is.
    repetitions
        Share of those asked for; two at least. Each has an injection and seeds of its own.
    settings
        Sections search, fit and train where they differ from the experiment's.
    hunted
        Whether the data are searched and fitted: Z before and after every selection, of the bump
        hunt, or of counts in the window where the settings have `fit.window` enabled.
    labelling
        Methods that only label events for others: neither searched nor fitted.
    searched
        Whether the data are searched where they are not hunted: histograms for `measure`.
    curves
        Whether curves against the signal efficiency, and the shape that cuts give the mass, are
        kept, or the methods of which they are: many points of a scan do without.
    """

    name: str
    methods: Mapping[str, Mapping[str, Any]]
    injection: Injection | None = None
    background: str = "background"
    trained_on: tuple[str, ...] = ()
    tested_on: tuple[str, ...] = ()
    repetitions: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    hunted: bool = True
    labelling: tuple[str, ...] = ()
    curves: bool | tuple[str, ...] = True
    searched: bool = False

    def has_curves(self, name: str) -> bool:
        """Return whether curves of a method or single feature are kept."""
        return self.curves if isinstance(self.curves, bool) else name in self.curves

    def repeated(self, asked: int) -> int:
        """Return the number of repetitions where so many are asked for."""
        return max(2, round(self.repetitions * asked))


def _nothing(found: Found) -> Sequence[Any]:
    return ()


@dataclass(frozen=True)
class Experiment:
    """A published experiment: a configuration, a table of claims, and a report.

    Functions must be at module level, for blocks are trained in processes of their own.

    Attributes
    ----------
    name
        Of command and folder; that of its module with `-`.
    title
        Of its page; the first line of the command's help.
    source
        What is repeated: 'arXiv:2101.08320, section 4.2'.
    pools
        `background`, `signal`, `simulation` and, for several of a kind, `signal:NAME`,
        `background:NAME` and `prior:NAME` (simulated signal that methods learn from).
        Labels follow from the names: background and simulation 0, the others 1.
    settings
        Sections skim, search, fit and train of the configuration, without methods.
    blocks
        The longest first. Every block and repetition is trained, and kept, by itself: a study
        with more of them trains those that are missing.
    claims, plots, tables, notes
        Functions of what was found.
    measure
        What a block gives beyond the common numbers, JSON values; None: nothing.
    windows
        Masses [GeV] in which signal of a pool is tested; that of `search` without it.
    features
        Expressions of columns, higher more anomalous, shown beside the methods; those of
        `reporting.comparison.BASELINES` always are.
    kept
        Keys that the summary holds of figures and tests, such as `max_sic` and `z`, and of a
        block's own methods alone; all of everything without it. What a training gave stays whole
        in its own file.
    scale, repetitions
        Where the command has none.
    own_events
        Dijets that every repetition has to itself, of the background and of the simulation: no two
        repetitions have one in common, and there are as many as the pools give. 0: all have all.
    refusals
        Whether a repetition that cannot be trained or fitted is kept as `refused`, with the reason,
        as it is where each has events of its own; else it ends the study.
    code
        Who changes what the same settings give raises it.
    partial
        Claims, plots and tables do without blocks that are missing: some of them may be run alone.
    """

    name: str
    title: str
    source: str
    pools: Mapping[str, Pool]
    settings: Mapping[str, Any]
    blocks: tuple[Block, ...]
    claims: Callable[[Found], Sequence[Claim]]
    plots: Callable[[Found], Sequence[Plot]] = _nothing
    tables: Callable[[Found], Sequence[StudyTable]] = _nothing
    notes: Callable[[Found], Sequence[str]] = _nothing
    measure: Callable[[TrainedBlock], Mapping[str, Any]] | None = None
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    features: Mapping[str, str] = field(
        default_factory=lambda: {"low heavy tau21": "0 - heavy_tau21"}
    )
    kept: tuple[str, ...] = ()
    scale: float = 0.1
    repetitions: int = 5
    own_events: int = 0
    refusals: bool = False
    code: int = 1
    partial: bool = False

    def of_blocks(self, patterns: Sequence[str]) -> Experiment:
        """Return the experiment with the blocks of such names alone, as `two-prong-*-56`.

        Raises
        ------
        ConfigError
            No block has a name of a pattern, or the experiment needs all of them.
        """
        if not self.partial:
            msg = f"study {self.name} needs all of its blocks: it cannot be run with some of them"
            raise ConfigError(msg)
        names = [block.name for block in self.blocks]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                msg = f"no block of study {self.name} is like '{pattern}', of {', '.join(names)}"
                raise ConfigError(msg)
        chosen = {name for name in names if any(fnmatchcase(name, one) for one in patterns)}
        return replace(self, blocks=tuple(one for one in self.blocks if one.name in chosen))

    def of_pools(self, given: Collection[str]) -> Experiment:
        """Return the experiment without the blocks that train on pools which are not there."""
        left = tuple(block for block in self.blocks if set(block.trained_on) <= set(given))
        return replace(self, blocks=left)

    def block(self, name: str) -> Block:
        """Return the block of that name."""
        return next(block for block in self.blocks if block.name == name)

    def knowledge(self, block: Block) -> dict[str, str]:
        """Return what every method of a block knows beside the data, in the words of cards.

        References know the truth, which no card of a search says.
        """
        methods = {
            name: METHODS[values["kind"]].model_validate(values)
            for name, values in block.methods.items()
        }
        return {name: _known(name, methods) for name in methods}

    def configured(self, block: Block, seed: int, epochs: int | None = None) -> SearchConfig:
        """Return the settings of a block's stages.

        Parameters
        ----------
        block
            Whose methods are trained.
        seed
            Of a repetition.
        epochs
            Of every network, for trials.

        Raises
        ------
        ConfigError
            They are not possible.
        """
        sections = {
            name: {**self.settings.get(name, {}), **block.settings.get(name, {})}
            for name in ("skim", "search", "fit", "train")
        }
        shares = sections["search"].get("efficiencies")
        if shares:  # every selection is fitted, whatever one of them is named here
            sections["fit"] |= {
                test: {"efficiency": shares[0], **sections["fit"].get(test, {})}
                for test in ("bump", "abcd", "direct")
            }
        # References alone are no search: a hash of the mass stands beside them, and is left out.
        lot = {LOT: {"kind": "random", "features": ("m_jj",)}}
        sections["train"]["methods"] = {**shortened(block.methods, epochs), **lot}
        try:
            return SearchConfig.model_validate({"seed": seed, **sections})
        except ValidationError as error:
            msg = f"study {self.name}, block {block.name}, {reason(error)}"
            raise ConfigError(msg) from error

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the numbers of every block, functions and blocks apart."""
        values = {
            "pools": {name: _decisive(pool) for name, pool in self.pools.items()},
            "settings": self.settings,
            "windows": self.windows,
            "features": self.features,
            "code": self.code,
            **({"own_events": self.own_events} if self.own_events else {}),
        }
        return digest(values)

    def digest_of(self, block: Block) -> str:
        """Return the SHA-256 of what decides a block beside that, repetitions apart."""
        values = _decisive(block)
        values.pop("repetitions")
        return digest(values)


def _known(name: str, methods: Mapping[str, Any]) -> str:
    """Return the most that a method knows, or one that it builds on."""
    method = methods[name]
    own = "truth" if method.reads.truth else method.reads.knowledge
    below = (_known(other, methods) for other in method.builds_on())
    order = ("none", "background simulation", "signal simulation", "truth")
    return max((own, *below), key=order.index)


def _decisive(part: Pool | Block) -> dict[str, Any]:
    # Left out at their defaults: studies from before them stay those of the same configuration.
    later = ("window_only", "labelling", "searched")
    return {key: value for key, value in asdict(part).items() if key not in later or value}


def shortened(
    methods: Mapping[str, Mapping[str, Any]], epochs: int | None
) -> dict[str, dict[str, Any]]:
    """Return methods with another number of epochs, for trials; as they are without one.

    Examples
    --------
    >>> shortened({"found": {"kind": "feature_autoencoder"}}, 2)
    {'found': {'kind': 'feature_autoencoder', 'epochs': 2}}
    """
    if epochs is None:
        return {name: dict(values) for name, values in methods.items()}
    found = {}
    for name, values in methods.items():
        whole = METHODS[values["kind"]].model_validate(values).model_dump(mode="json")
        changed = {key: _shorter(key, one, epochs) for key, one in whole.items()}
        found[name] = dict(values) | {k: v for k, v in changed.items() if v != whole[k]}
    return found


def _shorter(key: str, value: Any, epochs: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _shorter(name, one, epochs) for name, one in value.items()}
    return epochs if key == "epochs" and value is not None else value
