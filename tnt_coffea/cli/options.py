"""Options of several commands, and the objects that they stand for."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tnt_coffea.accounting import Accounting
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources
    from tnt_coffea.filesets import Fileset
    from tnt_coffea.products import Taggers

__all__ = [
    "configured",
    "configured_by_search",
    "dry_run_option",
    "files_argument",
    "fileset_of",
    "histograms_option",
    "load_taggers",
    "machine_options",
    "named_taggers",
    "options",
    "out_option",
    "preset_option",
    "role_options",
    "search_of",
    "show_job",
    "show_lost",
    "show_unlabelled",
    "show_warnings",
    "simulation_option",
    "skim_option",
    "taggers_option",
    "workers_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
MOST_LOST = 10


def options(*own: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command several options, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(own):
            command = option(command)
        return command

    return decorate


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def _executor() -> str:
    from tnt_coffea.execution import default_executor

    return default_executor()


out_option = click.option(
    "--out",
    type=PATH,
    default=Path("tnt-coffea-output"),
    show_default=True,
    help="Folder of the search, one subfolder a stage.",
)
# Not as paths, which would leave out one of the two slashes of an address.
files_argument = click.argument("files", nargs=-1, required=True, type=str)
simulation_option = click.option(
    "--simulation",
    multiple=True,
    metavar="PATH",
    help="File of simulated background, for methods that learn from it; may be repeated.",
)
role_options = options(
    simulation_option,
    click.option(
        "--prior",
        "priors",
        multiple=True,
        metavar="NAME=PATH",
        help="File of simulated signal of a model called NAME; may be repeated.",
    ),
    click.option(
        "--signal",
        "signals",
        multiple=True,
        metavar="NAME=PATH",
        help="File of simulated signal that templates called NAME are made of, and nothing is "
        "trained on; may be repeated.",
    ),
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would run, with an estimate of the time, and stop."
)
skim_option = click.option(
    "--skim", "skim_folder", type=PATH, help="Folder of the skim stage.  [default: OUT/skim]"
)
taggers_option = click.option(
    "--taggers",
    "taggers_folder",
    type=PATH,
    help="Folder with tagger sets, or the name of a packaged one.  [default: OUT/train]",
)
histograms_option = click.option(
    "--histograms",
    "search_folder",
    type=PATH,
    help="Folder of the search stage.  [default: OUT/search]",
)
preset_option = click.option(
    "--preset", help="Settings that come with the package, instead of --config."
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    default=_cores,
    show_default="one a core",
    help="Processes that are started here.",
)
machine_options = options(
    click.option(
        "--executor",
        default=_executor,
        show_default="dask; futures without it",
        help="iterative, futures, dask (processes here), tcp://scheduler:8786, or the settings of "
        "a batch system (slurm.yaml).",
    ),
    workers_option,
    click.option(
        "--chunk-size",
        type=click.IntRange(1),
        default=1000,
        show_default=True,
        help="Most events in a work item; no result depends on it.",
    ),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Make stages of other settings, or with damaged files, again.",
    ),
    click.option(
        "--skip-bad-files", is_flag=True, help="Leave out bad files and events, and list them."
    ),
    click.option(
        "--wait-for-workers",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        metavar="MINUTES",
        help="How long a pass on Dask waits for a worker that can work.",
    ),
    click.option("--quiet", "-q", is_flag=True, help="No progress bars."),
)


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `config` and, where it has the options, `resources`."""
    return _configured(command, "what it leaves out keeps its default", of_search=False)


def configured_by_search(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command on a finished search `config`: a file changes what it names, no more."""
    return _configured(command, "what it leaves out is as in the search in OUT", of_search=True)


def _configured(
    command: Callable[..., None], left_out: str, *, of_search: bool
) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(config_path: Path | None, seed: int | None, **rest: Any) -> None:
        if sys.stderr.isatty() and not rest.get("quiet"):
            # Before the first import that takes a second.
            click.echo(f"tnt-coffea {click.get_current_context().info_name} ...", err=True)
        histogram, out = rest.get("histogram"), rest.get("out")
        if histogram is not None and out is None:
            out = search_of(histogram)
        config = _config(config_path, rest.pop("preset", None), seed, out, of_search)
        machine = signature(_resources).parameters
        if "executor" in rest:
            rest["resources"] = _resources(**{name: rest.pop(name) for name in machine})
        command(config=config, **rest)

    return options(
        click.option(
            "--config",
            "config_path",
            type=PATH,
            help=f"Settings (YAML); {left_out}.  [default: {_default_settings(command)}]",
        ),
        click.option("--seed", type=click.IntRange(0), help="Root seed, instead of the settings'."),
    )(wrapped)


def _default_settings(command: Callable[..., None]) -> str:
    folder = signature(command).parameters.get("out")
    without = folder is not None and folder.default is not Parameter.empty
    return "the package's" if without else "those of the search in OUT"


def _config(
    path: Path | None, preset: str | None, seed: int | None, out: Path | None, of_search: bool
) -> SearchConfig:
    """Return the settings, and say in one line where they come from."""
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.search_folder import noted_config

    if preset is not None and path is not None:
        msg = "--preset and --config: give one of them"
        raise click.UsageError(msg)
    noted = noted_config(out) if out is not None and (of_search or path is None) else None
    if preset is not None:
        config, origin = SearchConfig.preset(preset), f"preset {preset}"
    elif path is not None:
        config, origin = SearchConfig.from_yaml(path, noted), str(path)
        origin += f", the rest of {out / 'config.yaml'}" if out and noted else ""
    elif out is not None and noted is not None:
        config, origin = noted, f"{out / 'config.yaml'} of the search in it"
    else:
        config, origin = SearchConfig(), "defaults"
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
        origin = f"{origin}, seed {seed}"
    click.echo(f"settings: {origin}", err=True)
    return config


def search_of(histogram: Path) -> Path | None:
    """Return the folder of the search that a histogram, or the folder of histograms, is of."""
    folder = histogram if histogram.is_dir() else histogram.parent
    out = Path(os.path.normpath(folder.absolute())).parent
    own = (folder / "search.json").exists() and (out / "config.yaml").exists()
    # As it was named, where that can be done.
    return (folder.parent if folder.name not in ("", "..") else out) if own else None


def _resources(
    executor: str,
    workers: int,
    chunk_size: int,
    overwrite: bool,
    skip_bad_files: bool,
    wait_for_workers: float,
    quiet: bool,
) -> Resources:
    from tnt_coffea.batch_clusters import BatchSettings, is_batch
    from tnt_coffea.execution import OnError, Resources

    batch = BatchSettings.from_yaml(executor) if is_batch(executor) else None
    if batch is not None:
        workers = batch.most_workers
    return Resources(
        executor=batch or executor,
        workers=workers,
        chunk_size=chunk_size,
        progress=not quiet,
        overwrite=overwrite,
        on_error=OnError.SKIP if skip_bad_files else OnError.FAIL,
        wait_for_workers=wait_for_workers,
    )


def fileset_of(
    files: tuple[str, ...],
    simulation: tuple[str, ...] = (),
    priors: tuple[str, ...] = (),
    signals: tuple[str, ...] = (),
    *,
    resources: Resources | None = None,
) -> Fileset:
    """Return the fileset of files, folders, patterns and lists, one data set a role.

    The data sets of a fileset in JSON keep their names and roles.
    """
    from tnt_coffea.errors import ConfigError
    from tnt_coffea.events.locations import located, paths_of
    from tnt_coffea.events.remote import is_address, shown
    from tnt_coffea.events.roles import DATA, SIMULATION, prior, signal
    from tnt_coffea.execution import OnError
    from tnt_coffea.filesets import Fileset

    paths, roles = located(files)
    given = [(SIMULATION, SIMULATION, word) for word in simulation]
    for option, of_name, texts in (("--prior", prior, priors), ("--signal", signal, signals)):
        for text in texts:
            name, equals, word = text.partition("=")
            if not (name and equals and word) or is_address(name):
                msg = f"{shown(text)!r} is not of the form NAME=PATH"
                raise click.BadParameter(msg, param_hint=option)
            role = of_name(name)
            given.append((role.replace(":", "-"), role, word))
    for dataset, role, word in given:
        if dataset in paths and roles.get(dataset, DATA) != role:
            msg = f"data set '{dataset}' is of role {roles.get(dataset, DATA)} and {role} at once"
            raise ConfigError(msg)
        roles[dataset] = role
        paths[dataset] = (*paths.get(dataset, ()), *paths_of(word))
    skip = resources is not None and resources.on_error is OnError.SKIP
    return Fileset.from_paths(paths, roles=roles, missing_ok=skip)


def named_taggers(folder: Path | None) -> str | None:
    """Return taggers that are not the folder's own as later commands find them."""
    from tnt_coffea.taggers import packaged_taggers

    if folder is None:
        return None
    return str(folder if str(folder) in packaged_taggers() else folder.absolute())


def show_lost(accounts: Mapping[str, Accounting], listed_in: Path) -> None:
    """Say what was left out of a pass, and why, and which triggers some files do not have."""
    for one in accounts.values():
        for path, n in one.absent.items():
            click.echo(
                f"note: {path} is not among the triggers of {n} of {one.events} events: it "
                "accepted none of them",
                err=True,
            )
    lost = [(key, reason) for one in accounts.values() for key, (_, reason) in one.lost.items()]
    for key, reason in lost[:MOST_LOST]:
        click.echo(f"left out: {key}: {reason}")
    if len(lost) > MOST_LOST:
        click.echo(f"left out: {len(lost) - MOST_LOST} more; all are listed in {listed_in}")


def show_job(resources: Resources) -> None:
    """Show the script of a job that a batch system would get, where there is one."""
    from tnt_coffea.batch_clusters import BatchSettings, job_script

    if isinstance(batch := resources.executor, BatchSettings):
        click.echo(f"\nA job of {batch.kind} would be:\n\n{job_script(batch)}", nl=False)


def show_warnings(taggers: Taggers) -> None:
    """Show what the training said against its tagger sets."""
    for name, warnings in taggers.warnings.items():
        for warning in warnings:
            click.echo(f"warning: {name}: {warning}", err=True)


def show_unlabelled(fileset: Fileset, config: SearchConfig) -> None:
    """Say which tables lack the label that the settings name."""
    from tnt_coffea.events.table import without_label

    note = without_label(config.skim, (p for paths in fileset.files.values() for p in paths))
    if note:
        click.echo(f"note: {note}", err=True)


def load_taggers(folder: Path) -> Taggers:
    """Return the tagger sets in a folder, or those of the package by their name."""
    from tnt_coffea.products import Taggers
    from tnt_coffea.taggers import packaged_taggers

    return Taggers.load(packaged_taggers().get(str(folder), folder))
