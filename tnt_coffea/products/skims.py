"""The skim: dijets on disk, those of data and of other roles apart."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import NOMINAL
from tnt_coffea.displays import Displayed
from tnt_coffea.errors import ExecutionError, LeakError, StageError
from tnt_coffea.events.roles import DATA, SIMULATION, is_signal, prior, signal
from tnt_coffea.events.sample import Sample, in_units
from tnt_coffea.events.skim import content_of, read_parts, write_part
from tnt_coffea.filesets import Fileset
from tnt_coffea.products.reading import DAMAGE, damaged, outputs_of
from tnt_coffea.stages import check_files

__all__ = ["Skim", "as_skim", "contents_of"]


@dataclass(frozen=True)
class Skim(Displayed):
    """Dijets on disk, those of data and of other roles apart.

    Attributes
    ----------
    parts
        Parquet parts by data set.
    contents
        SHA-256 of the dijets by role, truth excluded.
    duplicates
        Dijets whose id an earlier one of their role has.
    accounts
        Where every event of the input went, by data set.
    roles
        `data`, `simulation`, `prior:NAME` or `signal:NAME` by data set; those not named here are
        data.
    variations
        Parts of simulated signals with jets that were varied, by data set and variation.
    generated
        Sums of weights of all events of simulated signals before any cut, by data set: `nominal`,
        and of every variation of the weights, in units of 2^-32.
    systematics
        Digest of the variations that simulated signals were skimmed with; None without signals.
    varied
        SHA-256 of all variations of simulated signals, and of their sums of weights, by role.

    Examples
    --------
    >>> from tnt_coffea import Sample
    >>> skim = Skim.from_sample(
    ...     Sample.from_columns(
    ...         m_jj=[3500.0, 2800.0], heavy={"mass": [500.0, 90.0]}, light={"mass": [100.0, 40.0]}
    ...     )
    ... )
    >>> skim.sample()
    <Sample: 2 dijets, labels unknown; event: m_jj; either jet: mass>
    >>> len(skim.paths), list(skim.by_role), skim.accounting.selected
    (1, ['data'], 2)
    >>> skim
    Skim
      data: 2 dijets of 2 events
    >>> len(skim)
    2
    """

    parts: Mapping[str, tuple[Path, ...]]
    contents: Mapping[str, str]
    duplicates: int
    accounts: Mapping[str, Accounting]
    roles: Mapping[str, str] = field(default_factory=dict)
    variations: Mapping[str, Mapping[str, tuple[Path, ...]]] = field(default_factory=dict)
    generated: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    systematics: str | None = None
    varied: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Dijets of the data."""
        return self.accounting.selected

    def __bool__(self) -> bool:
        """Tell that there is a skim, be it without dijets."""
        return True

    def _facts(self) -> dict[str, str]:
        facts = {}
        for dataset, account in self.accounts.items():
            role = self.roles.get(dataset, DATA)
            of = "" if role == dataset else f" ({role})"
            facts[f"{dataset}{of}"] = f"{account.selected} dijets of {account.events} events" + (
                f", {account.n_lost} lost to bad files" if account.n_lost else ""
            )
        if self.duplicates:
            facts["duplicates"] = str(self.duplicates)
        return facts

    @property
    def by_role(self) -> dict[str, tuple[Path, ...]]:
        """All parts by the role of their data set; data come first."""
        found: dict[str, tuple[Path, ...]] = {DATA: ()}
        for dataset, paths in self.parts.items():
            role = self.roles.get(dataset, DATA)
            found[role] = (*found.get(role, ()), *paths)
        return found

    @property
    def for_training(self) -> dict[str, tuple[Path, ...]]:
        """All parts by role without simulated signals for templates, which train nothing."""
        return {role: paths for role, paths in self.by_role.items() if not is_signal(role)}

    @property
    def paths(self) -> list[Path]:
        """The parts with data."""
        return list(self.by_role[DATA])

    @property
    def content(self) -> str:
        """SHA-256 of the data's dijets, truth excluded."""
        return self.contents[DATA]

    @property
    def accounting(self) -> Accounting:
        """Where every event of the data went."""
        return Accounting.summed(
            {
                dataset: one
                for dataset, one in self.accounts.items()
                if self.roles.get(dataset, DATA) == DATA
            }
        )

    def fileset(self, *roles: str) -> Fileset:
        """Return the parts of some roles, those of the data by default, as input of a pass."""
        own = {name: role for name, role in self.roles.items() if name in self.parts}
        every = Fileset.from_paths(self.parts, roles=own)
        return every.of_roles(*roles) if roles else every.searched

    def signal_fileset(self) -> Fileset:
        """Return the parts of simulated signals, those with varied jets too, as input of a pass."""
        roles = {name: role for name, role in self.roles.items() if is_signal(role)}
        files = {
            name: sum(self.variations.get(name, {}).values(), start=self.parts.get(name, ()))
            for name in roles
        }
        files = {name: paths for name, paths in files.items() if paths}
        return Fileset(files, roles={name: roles[name] for name in files})

    def sample(self, role: str = DATA, *, truth: bool = False, numbers: bool = False) -> Sample:
        """Return the dijets of a role in memory; labels and numbers as `read_parts`.

        Raises
        ------
        StageError
            The skim holds no events of this role.
        """
        parts = self.by_role
        if role not in parts:
            msg = f"the skim holds no events of role '{role}', only {', '.join(parts)}"
            raise StageError(msg)
        return read_parts(parts[role], truth=truth, numbers=numbers)

    @classmethod
    def from_sample(
        cls,
        data: Sample,
        *,
        simulation: Sample | None = None,
        priors: Mapping[str, Sample] | None = None,
        signals: Mapping[str, Sample] | None = None,
    ) -> Skim:
        """Return dijets that are in memory as a skim, whose files go when it does.

        Parameters
        ----------
        data
            What is searched.
        simulation
            Background by construction.
        priors
            Simulated signal by the name of its model.
        signals
            Simulated signal for templates by name, without variations; its dijets are taken for
            all events that were generated.

        Raises
        ------
        LeakError
            An event is in two of them.
        """
        samples = {DATA: data}
        samples |= {} if simulation is None else {SIMULATION: simulation}
        samples |= {prior(name): sample for name, sample in (priors or {}).items()}
        samples |= {signal(name): sample for name, sample in (signals or {}).items()}
        folder = Path(mkdtemp(prefix="tnt-coffea-"))
        parts = {}
        for number, (role, sample) in enumerate(samples.items()):
            path = folder / f"{number}.parquet"
            write_part(path, sample)
            parts[role] = (path,)
        accounts = {role: Accounting(len(sample), len(sample)) for role, sample in samples.items()}
        try:
            contents, duplicates = contents_of(parts)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sums = {
            signal(name): {NOMINAL: in_units(own.weight)} for name, own in (signals or {}).items()
        }
        roles = {role: role for role in samples}
        made = cls(parts, contents, duplicates, accounts, roles, generated=sums)
        weakref.finalize(made, _remove, folder, os.getpid())
        return made

    @classmethod
    def load(cls, folder: str | Path) -> Skim:
        """Return the skim in a stage's folder.

        Raises
        ------
        StageError
            The stage is not complete, or one of its parts is gone.
        """
        folder = Path(folder)
        outputs = outputs_of(folder, "skim")
        check_files(folder)
        try:
            parts = {
                str(dataset): tuple(folder / "parts" / name for name in names)
                for dataset, names in outputs["parts"].items()
            }
            gone = [path for paths in parts.values() for path in paths if not path.exists()]
            skim = cls(
                parts,
                {str(role): str(sha256) for role, sha256 in outputs["contents"].items()},
                int(outputs["duplicates"]),
                Accounting.from_dict(outputs["accounting"]).datasets,
                {str(dataset): str(role) for dataset, role in outputs["roles"].items()},
                {
                    str(dataset): {
                        str(variation): tuple(folder / "parts" / name for name in names)
                        for variation, names in own.items()
                    }
                    for dataset, own in outputs.get("variations", {}).items()
                },
                {
                    str(dataset): {str(name): int(value) for name, value in own.items()}
                    for dataset, own in outputs.get("generated", {}).items()
                },
                outputs.get("systematics"),
                {str(role): str(sha256) for role, sha256 in outputs.get("varied", {}).items()},
            )
            gone += [
                path
                for own in skim.variations.values()
                for paths in own.values()
                for path in paths
                if not path.exists()
            ]
            skim.contents[DATA]
        except (*DAMAGE, ExecutionError) as error:
            raise StageError(damaged(folder / "manifest.json", error, "skim")) from error
        if gone:
            msg = f"{gone[0]}: a part of the skim is gone; remove {folder} and skim again"
            raise StageError(msg)
        return skim


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a copy of the skim in a process that was forked owns nothing
        shutil.rmtree(folder, ignore_errors=True)


def as_skim(source: Skim | Sample) -> Skim:
    """Return a skim as it is, and dijets in memory as one that lasts as long as it is held."""
    return Skim.from_sample(source) if isinstance(source, Sample) else source


def contents_of(by_role: Mapping[str, Sequence[Path]]) -> tuple[dict[str, str], int]:
    """Return the SHA-256 of the dijets of every role, and how many are copies of others in it.

    Parameters
    ----------
    by_role
        Parts of one skim by role.

    Raises
    ------
    LeakError
        An event is in two roles: what is trained on simulation or a prior would be scored on
        the same events as data, or background would be called signal.
    """
    contents, duplicates = {}, 0
    ids: dict[str, Any] = {}
    for role, paths in by_role.items():
        contents[role], every = content_of(paths)
        unique = np.unique(every)
        duplicates += len(every) - len(unique)
        for other, known in ids.items():
            if len(shared := np.intersect1d(unique, known, assume_unique=True)):
                msg = (
                    f"{len(shared)} events are both {other} and {role}; no event may have two "
                    "roles: leave them out of one"
                )
                raise LeakError(msg)
        ids[role] = unique
    return contents, duplicates
