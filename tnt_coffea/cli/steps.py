"""Commands that run one stage each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tnt_coffea.cli.options import (
    configured,
    configured_by_search,
    dry_run_option,
    files_argument,
    fileset_of,
    histograms_option,
    load_taggers,
    machine_options,
    named_taggers,
    out_option,
    role_options,
    show_job,
    show_lost,
    show_unlabelled,
    show_warnings,
    simulation_option,
    skim_option,
    taggers_option,
)

if TYPE_CHECKING:
    from tnt_coffea.config import SearchConfig
    from tnt_coffea.execution import Resources

__all__ = ["report", "search", "skim", "train"]


@click.command()
@files_argument
@role_options
@out_option
@machine_options
@configured
def skim(
    files: tuple[str, ...],
    simulation: tuple[str, ...],
    priors: tuple[str, ...],
    signals: tuple[str, ...],
    config: SearchConfig,
    out: Path,
    resources: Resources,
) -> None:
    """Keep the dijets of FILES: cluster jets and make images, or take a table's features."""
    from tnt_coffea import pipeline

    fileset = fileset_of(files, simulation, priors, signals, resources=resources)
    show_unlabelled(fileset, config)
    made = pipeline.skim(fileset, config, out=out, resources=resources)
    accounting = made.accounting
    unopened = len(accounting.unopened)
    left_out = f", {unopened} file{'s' * (unopened > 1)} left out" if unopened else ""
    click.echo(
        f"skim: {out / 'skim'}: {accounting.selected} dijets of {accounting.events} events, "
        f"{accounting.n_lost} lost, {made.duplicates} duplicates{left_out}"
    )
    for dataset, account in made.accounts.items():
        if (role := made.roles.get(dataset, "data")) != "data":
            lost = f", {account.n_lost} lost" if account.n_lost else ""
            click.echo(f"      {role}: {account.selected} dijets of {account.events} events{lost}")
    show_lost(made.accounts, out / "skim" / "manifest.json")


@click.command()
@skim_option
@out_option
@dry_run_option
@machine_options
@configured
def train(
    config: SearchConfig,
    out: Path,
    skim_folder: Path | None,
    dry_run: bool,
    resources: Resources,
) -> None:
    """Train the taggers of `train.methods` on a skim, and export them to ONNX."""
    from tnt_coffea import pipeline
    from tnt_coffea.products import Skim

    skim = Skim.load(skim_folder or out / "skim")
    if dry_run:
        with resources.announced("Timing two epochs of every network"):
            costs = pipeline.training_costs(skim, config, resources=resources)
        click.echo(costs.summary())
        show_job(resources)
        return
    taggers = pipeline.train(skim, config, out=out, resources=resources)
    for name, tagger_set in taggers.sets.items():
        click.echo(f"taggers: {out / 'train' / name}: {len(tagger_set.members)} ONNX files")
    show_warnings(taggers)


@click.command()
@click.argument("files", nargs=-1, type=str)
@simulation_option
@skim_option
@taggers_option
@out_option
@machine_options
@configured
def search(
    files: tuple[str, ...],
    simulation: tuple[str, ...],
    config: SearchConfig,
    out: Path,
    skim_folder: Path | None,
    taggers_folder: Path | None,
    resources: Resources,
) -> None:
    """Score a skim, or FILES with events, and fill the histograms.

    Simulation is read where taggers have weights for it, for the direct estimate.
    """
    from tnt_coffea import pipeline
    from tnt_coffea.products import Skim
    from tnt_coffea.search_folder import note_sources

    if simulation and not files:
        msg = "--simulation goes with FILES; a skim holds its own"
        raise click.UsageError(msg)
    source: Any = (
        fileset_of(files, simulation, resources=resources)
        if files
        else Skim.load(skim_folder or out / "skim")
    )
    taggers = load_taggers(taggers_folder or out / "train")
    made = pipeline.search(source, taggers, config, out=out, resources=resources)
    skim = None if skim_folder is None else str(skim_folder.absolute())
    note_sources(out, named_taggers(taggers_folder), skim)
    click.echo(
        f"histograms: {out / 'search' / 'histograms.h5'}: {made.accounting.selected} dijets of "
        f"{made.accounting.events} events"
    )
    accounts = {"data": made.accounting}
    if made.simulation_accounting is not None:
        accounts["simulation"] = made.simulation_accounting
        click.echo(
            f"simulation: {made.simulation_accounting.selected} weighted dijets, the background "
            f"of {', '.join(made.simulation)}"
        )
    if made.signal_accounting is not None and files:  # a skim has said it of its own
        accounts["signals"] = made.signal_accounting
    show_lost(accounts, out / "search" / "search.json")


@click.command()
@histograms_option
@skim_option
@taggers_option
@out_option
@configured_by_search
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
    from tnt_coffea.search_folder import noted_sources

    histograms = Histograms.load(search_folder or out / "search")
    if config.fit.blind:
        hidden = pipeline.standing_blind_fit(histograms, config, out)
        click.echo(f"report: {pipeline.blind_report(hidden, config, out=out)}")
        return
    result = pipeline.standing_fit(histograms, config, out)
    noted = noted_sources(out)
    taggers = taggers_folder or Path(noted.get("taggers", out / "train"))
    skim = skim_folder or Path(noted.get("skim", out / "skim"))
    # Events that were skimmed on the way to the histograms were not kept.
    kept = skim.exists() or skim_folder is not None or "skim" in noted
    path, _ = pipeline.report_once(
        result,
        config,
        histograms,
        out=out,
        skim=Skim.load(skim) if kept else None,
        taggers=load_taggers(taggers),
        references=pipeline.references_beside(taggers),
    )
    click.echo(f"report: {path}")
