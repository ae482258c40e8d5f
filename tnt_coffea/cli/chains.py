"""Commands that run a whole search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tnt_coffea.cli.options import (
    configured,
    dry_run_option,
    fileset_of,
    machine_options,
    out_option,
    preset_option,
    role_options,
    show_job,
    show_lost,
    show_unlabelled,
    show_warnings,
)

if TYPE_CHECKING:
    from tnt_coffea.chain import Outcome
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources
    from tnt_coffea.filesets import Fileset

__all__ = ["demo", "run"]

resume_option = click.option(
    "--resume",
    is_flag=True,
    help="Go on with the search in OUT: its settings, its files. Complete stages are kept "
    "without it, too, where settings and files are given again.",
)


@click.command()
@out_option
@resume_option
@dry_run_option
@machine_options
@configured
def demo(
    config: SearchConfig, out: Path, resume: bool, dry_run: bool, resources: Resources
) -> None:
    """Make LHC-Olympics-like events and search them: the whole chain on one machine."""
    from tnt_coffea import chain
    from tnt_coffea.products import Taggers

    if resume:
        _must_be_there(out)
    if dry_run:
        chain.check(config, out, resources)
        _show_plan(config, out, resources, None)
        return
    outcome = chain.demo(config, out=out, resources=resources)
    show_warnings(Taggers.load(out / "train"))
    _show(outcome, config)


@click.command()
@click.argument("files", nargs=-1, type=str)
@role_options
@out_option
@resume_option
@dry_run_option
@machine_options
@preset_option
@configured
def run(
    files: tuple[str, ...],
    simulation: tuple[str, ...],
    priors: tuple[str, ...],
    signals: tuple[str, ...],
    config: SearchConfig,
    out: Path,
    resume: bool,
    dry_run: bool,
    resources: Resources,
) -> None:
    """Search FILES: skim, train, search, fit, report."""
    from tnt_coffea import chain
    from tnt_coffea.execution import OnError
    from tnt_coffea.products import Skim, Taggers
    from tnt_coffea.search_folder import noted_files

    if not files and not resume:
        msg = "name the FILES to search, or --resume a search"
        raise click.UsageError(msg)
    if (simulation or priors or signals) and not files:
        msg = (
            "--simulation, --prior and --signal go with the FILES to search, which --resume "
            "remembers"
        )
        raise click.UsageError(msg)
    if resume:
        _must_be_there(out)
    fileset = (
        fileset_of(files, simulation, priors, signals, resources=resources)
        if files
        else noted_files(out, missing_ok=resources.on_error is OnError.SKIP)
    )
    if dry_run:
        chain.check(config, out, resources, fileset)
        _show_plan(config, out, resources, fileset)
        return
    show_unlabelled(fileset, config)
    outcome = chain.run(fileset, config, out=out, resources=resources)
    show_warnings(Taggers.load(out / "train"))
    _show(outcome, config)
    show_lost(Skim.load(out / "skim").accounts, out / "skim" / "manifest.json")


def _must_be_there(out: Path) -> None:
    from tnt_coffea.errors import StageError
    from tnt_coffea.search_folder import noted_config

    if noted_config(out) is None:
        msg = f"{out}: no search to go on with; start one without --resume"
        raise StageError(msg)


def _show(outcome: Outcome, config: SearchConfig) -> None:
    from rich.text import Text

    from tnt_coffea.reporting import results_table, wide_console
    from tnt_coffea.results import BlindedSearch

    if isinstance(outcome.result, BlindedSearch):
        click.echo(outcome.result.summary())
        click.echo(f"Report: {outcome.report}")
        return
    console = wide_console()
    console.print(results_table(outcome.result, outcome.evaluation, outcome.seconds, config))
    if outcome.result.global_p is not None:
        text = outcome.result.global_p.text()
        console.print(f"Everything that was tested: {text}", markup=False, soft_wrap=True)
    if len(outcome.result.trials) > 1:
        for line in outcome.result.trial_lines():
            console.print(line, markup=False, soft_wrap=True)
    console.print(
        Text.assemble("Report with plots: ", (str(outcome.report), "bold")), soft_wrap=True
    )


def _show_plan(
    config: SearchConfig, out: Path, resources: Resources, fileset: Fileset | None
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tnt_coffea.planning import planned
    from tnt_coffea.reporting import wide_console
    from tnt_coffea.reporting.wording import duration

    plan = planned(config, out, resources, fileset)
    table = Table(title=Text(f"What would run in {out}"), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("stage", "state", "work"):
        table.add_column(name)
    table.add_column("about", justify="right")
    for stage in plan:
        time = duration(stage.seconds) if stage.seconds else "-"
        table.add_row(*map(Text, (stage.name, stage.state, stage.work, time)))
    console = wide_console()
    console.print(table)
    console.print(
        f"About {duration(sum(stage.seconds for stage in plan))} with {resources.workers} "
        "processes, from rates of one 2026 server core; nothing was run. Behind the skim, "
        "`tnt-coffea train --dry-run` measures the training on this machine.",
        soft_wrap=True,
    )
    show_job(resources)
