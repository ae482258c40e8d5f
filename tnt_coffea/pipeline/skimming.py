"""The stage `skim`: from particles, jets or features to dijets."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tnt_coffea.accounting import Accounting
from tnt_coffea.config import NOMINAL, SearchConfig, digest
from tnt_coffea.config.signal_points import mass_named
from tnt_coffea.errors import ConfigError, InputError, LeakError
from tnt_coffea.events.roles import is_signal, signal_name
from tnt_coffea.events.skim import content_of, weights_hash
from tnt_coffea.execution import Resources
from tnt_coffea.execution import run as run_pass
from tnt_coffea.filesets import Fileset
from tnt_coffea.jets.corrections import JetCorrections
from tnt_coffea.pipeline.arguments import check_types
from tnt_coffea.pipeline.folders import (
    OUT,
    begun,
    done,
    kept_items,
    note_metrics,
    one_writer,
    skim_stage,
)
from tnt_coffea.products import Skim, contents_of
from tnt_coffea.search_folder import note_files

__all__ = ["check_dijets", "signal_masses", "skim"]


@one_writer
def skim(
    fileset: Fileset,
    config: SearchConfig,
    *,
    out: str | Path = OUT,
    resources: Resources | None = None,
) -> Skim:
    r"""Return the dijets, observables and images of a fileset.

    Parameters
    ----------
    fileset
        Files of any source, with the roles of their data sets.
    config
        `skim` is read, and `systematics` for simulated signals.
    out
        Folder of the search; the dijets go to `skim/parts`.
    resources
        What may be used.

    Raises
    ------
    InputError
        A file cannot be read or holds impossible values, or no event of a role has a dijet.
    ConfigError
        A file with corrections of signals' jets cannot be used, as `JetCorrections.read`; or a
        signal has no mass, as `signal_masses`.
    LeakError
        An event occurs in data sets of two roles.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import Fileset, SearchConfig
    >>> with TemporaryDirectory() as out:
    ...     table = Path(out, "box.csv")
    ...     _ = table.write_text("m_jj,heavy_mass,light_mass\n3500,500,100\n2800,90,40\n")
    ...     dijets = skim(Fileset.from_paths({"data": [table]}), SearchConfig(), out=out)
    ...     dijets.sample()
    <Sample: 2 dijets, labels unknown; event: m_jj; either jet: mass>
    """
    from tnt_coffea.processors import SkimProcessor
    from tnt_coffea.processors.signals import SignalSkimProcessor

    check_types(
        fileset=(fileset, Fileset), config=(config, SearchConfig), resources=(resources, Resources)
    )
    resources = resources or Resources()
    fileset = fileset.read_with(config.skim).noted()
    others, corrections = fileset, None
    if (signals := fileset.of_signals()).files:
        signal_masses(signals, config)
        others = fileset.without_signals()
        corrections = JetCorrections.read(config.systematics)
    stage = skim_stage(fileset, config, out, resources)
    if not done(stage, resources):
        work, made = begun(stage, config) / "parts", stage.folder / "parts"
        note_files(out, fileset)
        if made.exists() and not work.exists():  # killed before it was declared complete
            made.rename(work)
        work.mkdir(exist_ok=True)  # a pass that was killed goes on
        with (
            stage.undone_on_bad_input(),
            resources.open() as executor,
            kept_items(stage) as kept,
        ):
            where = work.resolve(), kept.mark
            passed = functools.partial(
                run_pass,
                executor=executor,
                chunk_size=resources.chunk_size,
                on_error=resources.on_error,
                checkpoints=kept,
            )
            processor = SkimProcessor(config.skim, *where)
            output, accounting = passed(others, processor, description="Skimming")
            parts = {name: sorted(paths) for name, paths in sorted(output.get("parts", {}).items())}
            of_signals: dict[str, Any] = {}
            if corrections is not None:
                output, of_these = passed(
                    fileset.of_signals(),
                    SignalSkimProcessor(config.skim, config.systematics, *where, corrections),
                    description="Skimming signals with their variations",
                )
                accounting = accounting.beside(of_these)
                found = {
                    name: {variation: sorted(paths) for variation, paths in sorted(own.items())}
                    for name, own in sorted(output.get("parts", {}).items())
                }
                parts |= {name: own.pop(NOMINAL) for name, own in found.items() if NOMINAL in own}
                of_signals = {
                    "variations": found,
                    "generated": output.get("generated", {}),
                    "systematics": stage.inputs["systematics"],
                }
            check_dijets(fileset, accounting)
            paths = {d: tuple(work / name for name in names) for d, names in parts.items()}
            roles = {dataset: fileset.role(dataset) for dataset in fileset.files}
            try:
                contents, duplicates = contents_of(Skim(paths, {}, 0, {}, roles).by_role)
            except LeakError as error:
                msg = f"{error} ({_files_by_role(fileset)})"
                raise LeakError(msg) from error
            if of_signals:
                of_signals["varied"] = _varied(paths, roles, work, of_signals)
        varied = (own for of in of_signals.get("variations", {}).values() for own in of.values())
        _remove_others(work, (*parts.values(), *varied))
        shutil.rmtree(made, ignore_errors=True)
        work.rename(made)
        stage.finish(
            {
                "parts": parts,
                "roles": roles,
                "contents": contents,
                "duplicates": duplicates,
                "accounting": accounting.to_dict(),
                **of_signals,
            },
            metrics=accounting.metrics,
        )
        note_metrics(out)
    return Skim.load(stage.folder)


def signal_masses(signals: Fileset, config: SearchConfig) -> dict[str, float]:
    """Return the resonance's mass of every signal [GeV], by name.

    Parameters
    ----------
    signals
        Files of simulated signals for templates alone.
    config
        `systematics.signals` is read.

    Raises
    ------
    ConfigError
        The settings name another signal, or neither they nor its name say a mass.

    Examples
    --------
    >>> signals = Fileset({"a": ()}, roles={"a": "signal:m3500"})
    >>> signal_masses(signals, SearchConfig())
    {'m3500': 3500.0}
    """
    names = sorted({str(signal_name(signals.role(dataset))) for dataset in signals.files})
    said = config.systematics.signals
    if unknown := sorted(set(said) - set(names)):
        msg = (
            f"systematics.signals names {', '.join(unknown)}, and the signals are "
            f"{', '.join(names)}"
        )
        raise ConfigError(msg)
    masses = {name: said[name].mass for name in names if name in said}
    return {name: masses.get(name) or mass_named(name) for name in names}


def _remove_others(work: Path, parts: Iterable[Sequence[str]]) -> None:
    """Remove what a killed pass with other work items has left."""
    known = {work / name for names in parts for name in names}
    for path in sorted(work.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()
        elif path not in known:
            path.unlink()


def check_dijets(fileset: Fileset, accounting: Accounting) -> None:
    """Refuse a role in which no event has a dijet.

    Parameters
    ----------
    fileset
        The files of a pass.
    accounting
        Where its events went, by data set.

    Raises
    ------
    InputError
        There is one; its cuts are named.

    Examples
    --------
    >>> fileset = Fileset({"box": ()})
    >>> check_dijets(fileset, Accounting.summed({"box": Accounting(2, 0, {"two_jets": 2})}))
    Traceback (most recent call last):
        ...
    tnt_coffea.errors.InputError: none of 2 events has a dijet (role data)...
    """
    for role in sorted({fileset.role(dataset) for dataset in fileset.files}):
        account = Accounting.summed(
            {d: accounting.datasets[d] for d in fileset.files if fileset.role(d) == role}
        )
        if not account.selected:
            msg = (
                f"none of {account.events} events has a dijet (role {role}): rejected "
                f"{dict(account.rejected)}, {account.n_lost} lost"
            )
            raise InputError(msg)


def _varied(
    paths: Mapping[str, Sequence[Path]],
    roles: Mapping[str, str],
    work: Path,
    of_signals: Mapping[str, Any],
) -> dict[str, str]:
    """Return the SHA-256 of all variations of simulated signals, and of their sums, by role."""
    found = {}
    for role in sorted(filter(is_signal, set(roles.values()))):
        names = sorted(name for name, own in roles.items() if own == role)
        nominal = [path for name in names for path in paths.get(name, ())]
        varied: dict[str, list[Path]] = {}
        for name in names:
            for variation, parts in of_signals["variations"].get(name, {}).items():
                varied.setdefault(variation, []).extend(work / part for part in parts)
        found[role] = digest(
            [
                weights_hash(nominal),
                {variation: content_of(own)[0] for variation, own in varied.items()},
                [of_signals["generated"].get(name, {}) for name in names],
            ]
        )
    return found


def _files_by_role(fileset: Fileset) -> str:
    by_role: dict[str, list[str]] = {}
    for dataset, paths in fileset.files.items():
        by_role.setdefault(fileset.role(dataset), []).extend(map(str, paths))
    return "; ".join(f"{role}: {', '.join(paths[:4])}" for role, paths in by_role.items())
