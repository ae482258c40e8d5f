"""Commands that repeat published studies and compare."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import workers_option

if TYPE_CHECKING:
    from tnt_coffea.execution import Resources
    from tnt_coffea.pipeline.studies import Experiment, StudyResult

__all__ = ["study"]


class _Studies(click.Group):
    """Commands written here, and one for every experiment, made of what it says."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from tnt_coffea.pipeline.studies import experiment_names

        return sorted({*super().list_commands(ctx), *experiment_names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from tnt_coffea.pipeline.studies import experiment_named, experiment_names

        if cmd_name in experiment_names():
            return _command(experiment_named(cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Studies)
def study() -> None:
    """Repeat a published study: its figures, its numbers, and which of its claims hold."""


_out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("tnt-coffea-studies"),
    show_default=True,
    help="Folder of studies, one subfolder a study.",
)
_seed_option = click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Root seed."
)
_quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress bars.")
_epochs_option = click.option(
    "--epochs", type=click.IntRange(1), help="Epochs of every network, for trials; the paper's."
)
_blocks_option = click.option(
    "--blocks",
    multiple=True,
    metavar="PATTERN",
    help="Blocks of such names alone, as 'two-prong-*-56'; what claims miss is undecided. May be "
    "repeated.",
)
_WORD = re.compile(r"[A-Za-z][\w-]*")
_MANY = 8
"""Names that a help lists in full."""
_KINDS = {
    "background": "Events of the data, instead of generated ones",
    "simulation": "Events of the simulation",
    "signal": "Signal events, injected and tested on",
    "prior": "Signal events that methods learn from",
}


def _resources(workers: int, quiet: bool) -> Resources:
    from tnt_coffea.execution import Resources

    return Resources(
        executor="futures" if workers > 1 else "iterative", workers=workers, progress=not quiet
    )


def _show(result: StudyResult, folder: Path) -> None:
    from tnt_coffea.pipeline import studies
    from tnt_coffea.reporting import wide_console

    wide_console().print(studies.claims_table(result.claims))
    for note in result.notes:
        click.echo(f"note: {note}")
    click.echo(f"study: {folder}")


def _command(experiment: Experiment) -> click.Command:
    """Return the command that repeats an experiment, with an option for each kind of events."""
    kinds: dict[str, list[str]] = {}
    for pool in experiment.pools:
        kind, _, which = pool.partition(":")
        kinds.setdefault(kind, []).append(which)

    def repeat(out: Path, workers: int, quiet: bool, **given: Any) -> None:
        from tnt_coffea.pipeline import studies

        files: dict[str, list[str]] = {}
        for kind, names in kinds.items():
            for pool, path in _named(kind, names, given.pop(kind)):
                files.setdefault(pool, []).append(path)
        result = studies.run(
            experiment, files or None, out=out, resources=_resources(workers, quiet), **given
        )
        _show(result, out / experiment.name)

    repeat.__doc__ = (
        f"{experiment.title}: {experiment.source}.\n\n"
        "Numbers (study.json), page (study.md) and figures go to "
        f"OUT/{experiment.name}; a killed study goes on with the same command."
    )
    decorated: Any = repeat
    for option in (
        _quiet_option,
        workers_option,
        *([_blocks_option] if experiment.partial else []),
        _epochs_option,
        _seed_option,
        *(_files_option(kind, names) for kind, names in reversed(kinds.items())),
        click.option(
            "--repetitions",
            type=click.IntRange(2),
            show_default="all that the events give"
            if experiment.own_events
            else str(experiment.repetitions),
            help=f"Samples of {experiment.own_events} dijets, no two with a common one."
            if experiment.own_events
            else "Injections with trainings of their own, of most blocks.",
        ),
        click.option(
            "--scale",
            type=click.FloatRange(0.001, 100),
            show_default=f"{experiment.scale:g}",
            help="Generated events over those of the experiment: "
            + _listed(f"{pool.events} {name}" for name, pool in experiment.pools.items())
            + ".",
        ),
        _out_option,
    ):
        decorated = option(decorated)
    return click.command(experiment.name)(decorated)


def _listed(words: Iterable[str]) -> str:
    """Return words in a row, the middle of many left out."""
    every = list(words)
    if len(every) > _MANY:
        every = [*every[: _MANY - 1], f"... ({len(every) - _MANY} more)", every[-1]]
    return ", ".join(every)


def _files_option(kind: str, names: list[str]) -> Any:
    which = _listed(filter(None, names))
    return click.option(
        f"--{kind}",
        multiple=True,
        metavar="NAME=FILE" if which else "FILE",
        help=_KINDS[kind] + (f"; names: {which}." if which else "."),
    )


def _is_path(value: str) -> bool:
    return Path(value).exists() or not {*"*?["}.isdisjoint(value)


def _named(kind: str, names: list[str], values: Iterable[str]) -> list[tuple[str, str]]:
    """Return (pool, file) of the values of one option."""
    found = []
    for value in values:
        name, equals, path = value.partition("=")
        if equals and name in names and name:
            found.append((f"{kind}:{name}", path))
        elif "" in names and not (equals and _WORD.fullmatch(name) and not _is_path(value)):
            found.append((kind, value))
        else:
            known = list(filter(None, names))
            forms = ["FILE"] * ("" in names)
            forms += [f"NAME=FILE with NAME one of {', '.join(known)}"] * bool(known)
            msg = f"'{value}' names no {kind}: write {' or '.join(forms)}"
            raise click.BadParameter(msg, param_hint=f"--{kind}")
    return found


@study.command()
@_out_option
@click.option(
    "--members",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="Trainings of each curve of figure 2; a quarter of them in scans and supervised.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Numbers of events over those of the paper; their shares stay the same.",
)
@_seed_option
@workers_option
@click.option(
    "--as-published",
    is_flag=True,
    help="As the authors' notebook, where it differs from the text: 100 epochs, batches of 10 %, "
    "lambda 1.05, SALAD with twice the events.",
)
@_quiet_option
def gaussian(
    out: Path,
    members: int,
    scale: float,
    seed: int,
    workers: int,
    as_published: bool,
    quiet: bool,
) -> None:
    """Simulation-assisted decorrelation on Gaussians: arXiv:2009.02205, section III.

    SALAD, SA-CWoLa and their references, trained many times, beside the closed form of each
    optimum. Numbers (study.json), page (study.md) and figures go to OUT/gaussian; a killed study
    goes on with the same command. Some 15 minutes of CPU time.
    """
    from tnt_coffea.pipeline import studies

    result = studies.gaussian(
        out=out,
        members=members,
        scale=scale,
        seed=seed,
        as_published=as_published,
        resources=_resources(workers, quiet),
    )
    _show(result, out / "gaussian")


@study.command("simulation-assisted")
@_out_option
@click.option(
    "--scale",
    type=click.FloatRange(0.01, 10),
    default=0.1,
    show_default=True,
    help="Generated events over those of the paper, a million of data and of simulation.",
)
@click.option("--background", multiple=True, help="Events of the data, instead of generated ones.")
@click.option("--simulation", multiple=True, help="Events of the simulation.")
@click.option("--signal", multiple=True, help="Signal events, the pool of injections.")
@click.option(
    "--more-background", multiple=True, help="Further background as the data's, for optimal CWoLa."
)
@click.option(
    "--repetitions",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="Injections with trainings of their own; a quarter of them without signal and in scans.",
)
@click.option(
    "--keep",
    type=click.Choice(["significance", "sb"]),
    default="significance",
    show_default=True,
    help="What of the paper's signal is kept with fewer events: S/sqrt(B) or S/B.",
)
@click.option(
    "--inner",
    type=click.IntRange(2, 20),
    default=2,
    show_default=True,
    help="Inner folds of methods that label or weight events.",
)
@_seed_option
@_epochs_option
@workers_option
@_quiet_option
def simulation_assisted(
    out: Path,
    scale: float,
    background: tuple[str, ...],
    simulation: tuple[str, ...],
    signal: tuple[str, ...],
    more_background: tuple[str, ...],
    repetitions: int,
    keep: str,
    inner: int,
    seed: int,
    epochs: int | None,
    workers: int,
    quiet: bool,
) -> None:
    """SALAD and SA-CWoLa on dijets: arXiv:2009.02205, IV; arXiv:2101.08320, 4.4 and 4.5.

    Every method, trained again for every injection of signal, and tested out of fold; the fits of
    their spectra with and without signal, and scans over lambda and S/B. Numbers (study.json),
    page (study.md) and figures go to OUT/simulation-assisted; a killed study goes on with the
    same command.
    """
    from tnt_coffea.pipeline import studies

    given = {
        "background": background,
        "simulation": simulation,
        "signal": signal,
        "more-background": more_background,
    }
    result = studies.simulation_assisted(
        given if any(given.values()) else None,
        out=out,
        scale=scale,
        repetitions=repetitions,
        keep=keep,
        inner=inner,
        seed=seed,
        epochs=epochs,
        resources=_resources(workers, quiet),
    )
    _show(result, out / "simulation-assisted")


@study.command()
@_out_option
@click.option(
    "--scale",
    type=click.FloatRange(0.0005, 10),
    default=1.0,
    show_default=True,
    help="Events of a generated box over a million; S/sqrt(B) stays that of the Olympics.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Entry that searches; may be repeated.  [default: those of docs/olympics.md]",
)
@click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="NAME=FILE",
    help="Box to search instead of generated ones; its key is a key.json beside it, if any.",
)
@click.option(
    "--simulation",
    multiple=True,
    metavar="FILE",
    help="Simulated background; beside generated boxes it is generated, too.",
)
@click.option(
    "--prior",
    "priors",
    multiple=True,
    metavar="NAME=FILE",
    help="Simulated signal of a model; beside generated boxes two are generated, too.",
)
@click.option(
    "--null-chains",
    multiple=True,
    metavar="METHOD=FILE",
    help="Table of null chains, made with the settings of the method's searches.",
)
@click.option(
    "--pulls",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Further boxes of known truth (10,000 events), for the pulls of the answers.",
)
@click.option(
    "--nulls",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Further boxes without signal (10,000 events), for the rate of false claims.",
)
@click.option(
    "--simulated",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Signal events simulated for a claim, twice; 0: none, and no number of events.",
)
@_seed_option
@workers_option
@_quiet_option
def olympics(
    out: Path,
    scale: float,
    methods: tuple[str, ...],
    boxes: tuple[str, ...],
    simulation: tuple[str, ...],
    priors: tuple[str, ...],
    null_chains: tuple[str, ...],
    pulls: int,
    nulls: int,
    simulated: int,
    seed: int,
    workers: int,
    quiet: bool,
) -> None:
    """Search the black boxes of the LHC Olympics blind with many methods: arXiv:2101.08320.

    Answers are written with their SHA-256 (answers.json) before any key is read. Numbers
    (study.json), page (study.md), figures and leaderboard.md go to OUT/olympics; a killed study
    goes on with the same command. About an hour on two cores at --scale 0.05.
    """
    from tnt_coffea.pipeline import studies

    models: dict[str, list[str]] = {}
    for name, path in _pairs("--prior", priors):
        models.setdefault(name, []).append(path)
    files = _pairs("--box", boxes)
    if len({name for name, _ in files}) < len(files):
        msg = "two boxes have the same name"
        raise click.BadParameter(msg, param_hint="--box")
    result = studies.olympics(
        dict(files) or None,
        out=out,
        scale=scale,
        methods=methods,
        simulation=simulation,
        priors=models,
        null_chains=dict(_pairs("--null-chains", null_chains)),
        pulls=pulls,
        nulls=nulls,
        simulated=simulated,
        seed=seed,
        resources=_resources(workers, quiet),
    )
    _show(result, out / "olympics")


def _pairs(option: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, file) of every value."""
    found = []
    for value in values:
        name, equals, path = value.partition("=")
        if not (equals and name and path):
            msg = f"'{value}': write NAME=FILE"
            raise click.BadParameter(msg, param_hint=option)
        found.append((name, path))
    return found
