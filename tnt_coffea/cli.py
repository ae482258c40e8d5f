"""The command line: a thin echo of the functions in `pipeline`."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tnt_coffea.errors import TntCoffeaError

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources
    from tnt_coffea.pipeline import Outcome

__all__ = ["main"]

Command = TypeVar("Command", bound=Callable[..., Any])


class _Group(click.Group):
    """Lists the commands in the order of a search and turns our errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params.get("debug", False)
        try:
            return super().invoke(ctx)
        except TntCoffeaError as error:
            if debug:
                raise
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.secho("interrupted; the same command goes on where it was cut", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if debug:
                raise
            click.secho(
                f"unexpected error: {type(error).__name__}: {error} "
                "(tnt-coffea --debug shows where; please report it)",
                fg="red",
                err=True,
            )
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="tnt-coffea")
def main(debug: bool) -> None:
    """Search dijet events for new physics without a signal model, by Tag N' Train.

    `demo` makes events and searches them; `run` searches your files. The stages can also
    be run one by one: generate, skim, train, search, fit, report.
    """


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_config = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Settings (YAML); what it leaves out keeps its default.",
)
_seed = click.option("--seed", type=click.IntRange(0), help="Root seed, instead of the settings'.")
_out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("tnt-coffea-output"),
    show_default=True,
    help="Folder of the search, one subfolder a stage.",
)
_machine = _options(
    click.option(
        "--executor",
        default="dask",
        show_default=True,
        help="iterative, futures, dask (processes here), or tcp://scheduler:8786.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        default=lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2,
        show_default="one a core",
        help="Processes that are started here.",
    ),
    click.option("--chunk-size", type=click.IntRange(1), default=1000, show_default=True),
    click.option("--overwrite", is_flag=True, help="Make stages of other settings again."),
    click.option("--skip-bad-files", is_flag=True, help="Leave bad files out and list them."),
    click.option("--quiet", "-q", is_flag=True, help="No progress bars."),
)
_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


def _configured(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `config` and, where it has the options, `resources`."""

    @functools.wraps(command)
    def wrapped(config_path: Path | None, seed: int | None, **rest: Any) -> None:
        config = _read(config_path, seed)
        machine = ("executor", "workers", "chunk_size", "overwrite", "skip_bad_files", "quiet")
        if "executor" in rest:
            rest["resources"] = _resources(**{name: rest.pop(name) for name in machine})
        command(config=config, **rest)

    return _options(_config, _seed)(wrapped)


def _read(path: Path | None, seed: int | None) -> SearchConfig:
    from tnt_coffea.config import SearchConfig

    config = SearchConfig.from_yaml(path) if path else SearchConfig()
    return config if seed is None else config.model_copy(update={"seed": seed})


def _resources(
    executor: str, workers: int, chunk_size: int, overwrite: bool, skip_bad_files: bool, quiet: bool
) -> Resources:
    from tnt_coffea.execution import OnError, Resources

    return Resources(
        executor=executor,
        workers=workers,
        chunk_size=chunk_size,
        progress=not quiet,
        overwrite=overwrite,
        on_error=OnError.SKIP if skip_bad_files else OnError.FAIL,
    )


@main.command()
@_out
@_machine
@_configured
def demo(config: SearchConfig, out: Path, resources: Resources) -> None:
    """Make LHC-Olympics-like events and search them: the whole chain on one machine."""
    from tnt_coffea import pipeline

    _show(pipeline.demo(config, out=out, resources=resources), config)


@main.command()
@_files
@_out
@_machine
@_configured
def run(files: tuple[Path, ...], config: SearchConfig, out: Path, resources: Resources) -> None:
    """Search FILES: skim, train, search, fit, report."""
    from tnt_coffea import pipeline
    from tnt_coffea.filesets import Fileset

    fileset = Fileset.from_paths({"data": files})
    _show(pipeline.run(fileset, config, out=out, resources=resources), config)


@main.command()
@_out
@_machine
@_configured
def generate(config: SearchConfig, out: Path, resources: Resources) -> None:
    """Make events with PYTHIA 8 in the layout of the LHC Olympics."""
    from tnt_coffea import pipeline

    fileset = pipeline.generate(config, out=out, resources=resources)
    click.echo(f"events: {fileset.files['data'][0]}")


@main.command()
@_files
@_out
@_machine
@_configured
def skim(files: tuple[Path, ...], config: SearchConfig, out: Path, resources: Resources) -> None:
    """Cluster jets in FILES and keep dijets, observables and images."""
    from tnt_coffea import pipeline
    from tnt_coffea.filesets import Fileset

    made = pipeline.skim(Fileset.from_paths({"data": files}), config, out=out, resources=resources)
    accounting = made.accounting
    click.echo(
        f"skim: {out / 'skim'}: {accounting.selected} dijets of {accounting.events} events, "
        f"{accounting.n_lost} lost, {made.duplicates} duplicates"
    )


_skim = click.option(
    "--skim",
    "skim_folder",
    type=click.Path(path_type=Path),
    help="Folder of the skim stage.  [default: OUT/skim]",
)
_taggers = click.option(
    "--taggers",
    "taggers_folder",
    type=click.Path(path_type=Path),
    help="Folder with tagger sets, or the name of a packaged one.  [default: OUT/train]",
)


@main.command()
@_skim
@_out
@_machine
@_configured
def train(config: SearchConfig, out: Path, skim_folder: Path | None, resources: Resources) -> None:
    """Train autoencoders and Tag N' Train taggers on a skim, and export them to ONNX."""
    from tnt_coffea import pipeline
    from tnt_coffea.products import Skim

    taggers = pipeline.train(
        Skim.load(skim_folder or out / "skim"), config, out=out, resources=resources
    )
    for name, tagger_set in taggers.sets.items():
        click.echo(f"taggers: {out / 'train' / name}: {len(tagger_set.members)} ONNX files")


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_skim
@_taggers
@_out
@_machine
@_configured
def search(
    files: tuple[Path, ...],
    config: SearchConfig,
    out: Path,
    skim_folder: Path | None,
    taggers_folder: Path | None,
    resources: Resources,
) -> None:
    """Score a skim, or FILES with particles, and fill the histograms."""
    from tnt_coffea import pipeline
    from tnt_coffea.filesets import Fileset
    from tnt_coffea.products import Skim

    source: Any = (
        Fileset.from_paths({"data": files}) if files else Skim.load(skim_folder or out / "skim")
    )
    taggers = _load_taggers(taggers_folder or out / "train")
    made = pipeline.search(source, taggers, config, out=out, resources=resources)
    click.echo(
        f"histograms: {out / 'search' / 'histograms.h5'}: {made.accounting.selected} dijets of "
        f"{made.accounting.events} events"
    )


_hists = click.option(
    "--histograms",
    "search_folder",
    type=click.Path(path_type=Path),
    help="Folder of the search stage.  [default: OUT/search]",
)


@main.command()
@_hists
@_out
@_configured
def fit(config: SearchConfig, out: Path, search_folder: Path | None) -> None:
    """Fit the histograms: bump hunts and ABCD estimates, with p-values."""
    from tnt_coffea import pipeline
    from tnt_coffea.products import Histograms

    result = pipeline.fit(Histograms.load(search_folder or out / "search"), config, out=out)
    click.echo(result.summary())
    click.echo(f"result: {out / 'fit' / 'result.json'}")


@main.command()
@_hists
@_skim
@_taggers
@_out
@_configured
def report(
    config: SearchConfig,
    out: Path,
    search_folder: Path | None,
    skim_folder: Path | None,
    taggers_folder: Path | None,
) -> None:
    """Write the HTML report of a finished search, with an evaluation where truth is known."""
    from tnt_coffea import pipeline
    from tnt_coffea.products import Histograms, Skim
    from tnt_coffea.results import SearchResult

    path = out / "report" / "report.html"
    pipeline.report(
        SearchResult.load(out / "fit" / "result.json"),
        path,
        config,
        Histograms.load(search_folder or out / "search"),
        skim=Skim.load(skim_folder or out / "skim"),
        taggers=_load_taggers(taggers_folder or out / "train"),
        seconds=pipeline.stage_seconds(out),
    )
    click.echo(f"report: {path}")


@main.command()
@_configured
def settings(config: SearchConfig) -> None:
    """Print all settings as YAML, to start a file of your own."""
    click.echo(config.to_yaml(), nl=False)


def _load_taggers(folder: Path) -> Any:
    from tnt_coffea.products import Taggers
    from tnt_coffea.taggers import packaged_taggers

    return Taggers.load(packaged_taggers().get(str(folder), folder))


def _show(outcome: Outcome, config: SearchConfig) -> None:
    from rich.console import Console

    from tnt_coffea.reporting import results_table

    console = Console()
    console.print(results_table(outcome.result, outcome.evaluation, outcome.seconds, config))
    console.print(f"Report with plots: [bold]{outcome.report}[/]", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
